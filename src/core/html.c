/*
 * html.c
 *		Text as it is written into a page of HTML.
 *
 * What comes out is plain ASCII that no reader of HTML or XML takes for markup,
 * in an element as well as in a quoted attribute, whatever went in and whatever
 * encoding the page is read in.  Characters beyond ASCII are numeric references.
 * What such a reference must not name is replaced: control characters (browsers
 * take 0x80 to 0x9F for those of Windows), noncharacters, and bytes that are no
 * UTF-8.  The white space that names may have is written as blanks.
 */
#include "html.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define REPLACEMENT 0xFFFD

/*
 * The character that begins at from, and how many bytes it takes.  A byte that
 * begins none (RFC 3629) is one by itself.
 */
static uint32_t
decode(const unsigned char *from, size_t length, size_t *taken)
{
	uint32_t	c = from[0];
	uint32_t	lowest;
	size_t		more;

	*taken = 1;
	if (c < 0x80)
		return c;
	if (c >= 0xC2 && c <= 0xDF)
	{
		c &= 0x1F;
		more = 1;
		lowest = 0x80;
	}
	else if (c >= 0xE0 && c <= 0xEF)
	{
		c &= 0x0F;
		more = 2;
		lowest = 0x800;
	}
	else if (c >= 0xF0 && c <= 0xF4)
	{
		c &= 0x07;
		more = 3;
		lowest = 0x10000;
	}
	else
		return REPLACEMENT;
	if (more >= length)
		return REPLACEMENT;
	for (size_t i = 1; i <= more; i++)
	{
		if ((from[i] & 0xC0) != 0x80)
			return REPLACEMENT;
		c = c << 6 | (from[i] & 0x3F);
	}
	if (c < lowest || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
		return REPLACEMENT;
	*taken = more + 1;
	return c;
}

static int
is_forbidden(uint32_t c)
{
	return c < 0x20 || (c >= 0x7F && c <= 0x9F) || (c >= 0xFDD0 && c <= 0xFDEF) ||
		(c & 0xFFFE) == 0xFFFE;
}

static size_t
write_text(char *to, const char *text)
{
	size_t		length = strlen(text);

	memcpy(to, text, length);
	return length;
}

/*
 * Write the text and return how many bytes that were: at most HTML_MAX_ESCAPED.
 */
size_t
html_escape(char *to, const char *from, size_t length)
{
	size_t		n = 0;
	size_t		taken;
	char		reference[16];

	for (size_t i = 0; i < length; i += taken)
	{
		uint32_t	c = decode((const unsigned char *) from + i, length - i, &taken);

		if (c == '&')
			n += write_text(to + n, "&amp;");
		else if (c == '<')
			n += write_text(to + n, "&lt;");
		else if (c == '>')
			n += write_text(to + n, "&gt;");
		else if (c == '"')
			n += write_text(to + n, "&quot;");
		else if (c == '\'')
			n += write_text(to + n, "&#39;");
		else if (c == '\t' || c == '\n' || c == '\r')
			to[n++] = ' ';
		else if (c >= 0x20 && c < 0x7F)
			to[n++] = (char) c;
		else
		{
			snprintf(reference, sizeof(reference), "&#x%X;",
					 (unsigned int) (is_forbidden(c) ? REPLACEMENT : c));
			n += write_text(to + n, reference);
		}
	}
	return n;
}

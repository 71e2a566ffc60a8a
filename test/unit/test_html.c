/*
 * test_html.c
 *		Text in a page of HTML: by example, and that for random bytes what comes
 *		out is ASCII without markup, of which a reader gets back what went in.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/html.h"
#include "random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RANDOM_TEXTS 20000
#define MAX_LENGTH 12

typedef struct Example
{
	const char *text;
	const char *escaped;
} Example;

/*
 * Escape text that is exactly as long as it is, into memory that is exactly as
 * long as it may need, for the sanitizer.
 */
static size_t
escape(char *to, const char *text, size_t length)
{
	char	   *from = malloc(length > 0 ? length : 1);
	char	   *escaped = malloc(length > 0 ? HTML_MAX_ESCAPED(length) : 1);
	size_t		n;

	assert_non_null(from);
	assert_non_null(escaped);
	memcpy(from, text, length);
	n = html_escape(escaped, from, length);
	assert_true(n <= HTML_MAX_ESCAPED(length));
	memcpy(to, escaped, n);
	free(escaped);
	free(from);
	return n;
}

static void
test_examples(void **state)
{
	static const Example examples[] = {
		{"", ""},
		{"acme", "acme"},
		{"<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"},
		{"\" onload='x'", "&quot; onload=&#39;x&#39;"},
		{"a & b &amp; c", "a &amp; b &amp;amp; c"},
		{"a\tb\r\nc", "a b  c"},
		{"\x01\x08\x0b\x1b\x7f", "&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;"},
		/* U+0080 and U+009F, and U+00A0, which is a blank */
		{"\xc2\x80\xc2\x9f\xc2\xa0", "&#xFFFD;&#xFFFD;&#xA0;"},
		/* a with two dots, the sign of the euro, a face */
		{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "&#xE4;&#x20AC;&#x1F600;"},
		/* U+FFFE, U+FFFF, U+FDD0, U+1FFFF and the last of all, which are none */
		{"\xef\xbf\xbe\xef\xbf\xbf\xef\xb7\x90\xf0\x9f\xbf\xbf\xf4\x8f\xbf\xbf",
		"&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;"},
		/* a half of a pair of UTF-16, beyond the last, and slash in two bytes */
		{"\xed\xa0\x80", "&#xFFFD;&#xFFFD;&#xFFFD;"},
		{"\xf4\x90\x80\x80", "&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;"},
		{"\xc0\xaf", "&#xFFFD;&#xFFFD;"},
		{"\xe0\x80\xaf", "&#xFFFD;&#xFFFD;&#xFFFD;"},
		/* what is cut off, and what goes on after it */
		{"\xe2\x82<", "&#xFFFD;&#xFFFD;&lt;"},
		{"x\xe2\x82", "x&#xFFFD;&#xFFFD;"},
		{"\xc3", "&#xFFFD;"},
		{"\xff\xfe", "&#xFFFD;&#xFFFD;"},
	};
	char		escaped[1000];

	for (size_t i = 0; i < COUNT(examples); i++)
	{
		size_t		n = escape(escaped, examples[i].text, strlen(examples[i].text));

		assert_int_equal(n, strlen(examples[i].escaped));
		assert_memory_equal(escaped, examples[i].escaped, n);
	}
	assert_int_equal(escape(escaped, "a\0b", 3), 10);
	assert_memory_equal(escaped, "a&#xFFFD;b", 10);
}

/*
 * A reader of HTML, as far as it has to be: references to characters and to
 * these five.  Returns the character at *at and moves on.
 */
static uint32_t
read_character(const char *page, size_t length, size_t *at)
{
	static const Example names[] = {
		{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"},
	};
	char		c = page[*at];
	char	   *end;
	uint32_t	value;

	assert_true(c >= 0x20 && c < 0x7f);
	assert_null(strchr("<>\"'", c));
	if (c != '&')
	{
		(*at)++;
		return c;
	}
	for (size_t i = 0; i < COUNT(names); i++)
	{
		size_t		n = strlen(names[i].escaped);

		if (length - *at >= n && memcmp(page + *at, names[i].escaped, n) == 0)
		{
			*at += n;
			return names[i].text[0];
		}
	}
	assert_true(length - *at > 4 && memcmp(page + *at, "&#x", 3) == 0);
	value = strtoul(page + *at + 3, &end, 16);
	assert_int_equal(*end, ';');
	*at = end + 1 - page;
	return value;
}

static size_t
encode(char *to, uint32_t c)
{
	if (c < 0x80)
	{
		to[0] = c;
		return 1;
	}
	if (c < 0x800)
	{
		to[0] = 0xC0 | c >> 6;
		to[1] = 0x80 | (c & 0x3F);
		return 2;
	}
	if (c < 0x10000)
	{
		to[0] = 0xE0 | c >> 12;
		to[1] = 0x80 | (c >> 6 & 0x3F);
		to[2] = 0x80 | (c & 0x3F);
		return 3;
	}
	to[0] = 0xF0 | c >> 18;
	to[1] = 0x80 | (c >> 12 & 0x3F);
	to[2] = 0x80 | (c >> 6 & 0x3F);
	to[3] = 0x80 | (c & 0x3F);
	return 4;
}

static void
test_random_characters(void **state)
{
	random_state = 1;
	for (int i = 0; i < RANDOM_TEXTS; i++)
	{
		char		bytes[4 * MAX_LENGTH];
		char		page[HTML_MAX_ESCAPED(sizeof(bytes)) + 1];
		uint32_t	characters[MAX_LENGTH];
		size_t		n = random_below(MAX_LENGTH + 1);
		size_t		length = 0;
		size_t		at = 0;

		for (size_t j = 0; j < n; j++)
		{
			static const uint32_t limits[] = {0x80, 0x100, 0x800, 0x10000, 0x110000};
			uint32_t	c = random_below(limits[random_below(COUNT(limits))]);

			if (c >= 0xD800 && c <= 0xDFFF)
				c = 'x';
			characters[j] = c;
			length += encode(bytes + length, c);
		}
		length = escape(page, bytes, length);
		page[length] = '\0';
		for (size_t j = 0; j < n; j++)
		{
			uint32_t	c = characters[j];
			uint32_t	expected = c;

			if (c == '\t' || c == '\n' || c == '\r')
				expected = ' ';
			else if (c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0xFDD0 && c <= 0xFDEF) ||
					 c % 0x10000 >= 0xFFFE)
				expected = 0xFFFD;
			assert_int_equal(read_character(page, length, &at), expected);
		}
		assert_int_equal(at, length);
	}
}

static void
test_random_bytes(void **state)
{
	random_state = 2;
	for (int i = 0; i < RANDOM_TEXTS; i++)
	{
		char		bytes[MAX_LENGTH];
		char		page[HTML_MAX_ESCAPED(MAX_LENGTH) + 1];
		size_t		length = random_below(MAX_LENGTH + 1);
		size_t		at = 0;

		for (size_t j = 0; j < length; j++)
			bytes[j] = random_below(256);
		length = escape(page, bytes, length);
		page[length] = '\0';
		while (at < length)
			read_character(page, length, &at);
		assert_int_equal(at, length);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_random_characters),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

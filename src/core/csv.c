/*
 * csv.c
 *		Fields of comma-separated values, as RFC 4180 has them.
 *
 * A field with a comma, a quote or an end of line is put in quotes, and quotes
 * in it are doubled.  So is an empty one, since an absent value (null) is
 * written as nothing; and one that begins or ends with a blank, which some
 * readers would cut off.
 */
#include "csv.h"

#include <string.h>

static bool
must_quote(const char *field, size_t length)
{
	if (length == 0 || field[0] == ' ' || field[length - 1] == ' ')
		return true;
	for (size_t i = 0; i < length; i++)
	{
		if (strchr(",\"\r\n", field[i]) != NULL && field[i] != '\0')
			return true;
	}
	return false;
}

/*
 * Write a field and return how many bytes that were: at most CSV_MAX_QUOTED.
 */
size_t
csv_quote(char *to, const char *field, size_t length)
{
	size_t		n = 0;

	if (!must_quote(field, length))
	{
		memcpy(to, field, length);
		return length;
	}
	to[n++] = '"';
	for (size_t i = 0; i < length; i++)
	{
		if (field[i] == '"')
			to[n++] = '"';
		to[n++] = field[i];
	}
	to[n++] = '"';
	return n;
}

/*
 * Would a spreadsheet take a field for a formula?  After blanks and ends of
 * lines, which it may skip, that is what begins with = + - or @, or with one of
 * their full-width forms (in UTF-8), which some take for the same.  Quotes do
 * not help, as they are gone when it looks.
 */
bool
csv_is_formula(const char *field, size_t length)
{
	static const char *const wide[] = {
		"\xef\xbc\x9d", "\xef\xbc\x8b", "\xef\xbc\x8d", "\xef\xbc\xa0"
	};

	while (length > 0 && *field != '\0' && strchr(" \t\r\n", *field) != NULL)
	{
		field++;
		length--;
	}
	if (length > 0 && *field != '\0' && strchr("=+-@", *field) != NULL)
		return true;
	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
	{
		if (length >= 3 && memcmp(field, wide[i], 3) == 0)
			return true;
	}
	return false;
}

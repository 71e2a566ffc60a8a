/*
 * test_csv.c
 *		Fields of comma-separated values: by example, and that a reader written
 *		from RFC 4180 finds in random lines what was put into them; and what a
 *		spreadsheet takes for a formula.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/csv.h"
#include "random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RANDOM_LINES 20000
#define MAX_FIELDS 5
#define MAX_LENGTH 6

typedef struct Example
{
	const char *field;
	const char *quoted;
} Example;

/*
 * Quote a field that is exactly as long as it is, into memory that is exactly
 * as long as it may need, for the sanitizer.
 */
static size_t
quote(char *to, const char *field, size_t length)
{
	char	   *from = malloc(length > 0 ? length : 1);
	char	   *quoted = malloc(CSV_MAX_QUOTED(length));
	size_t		n;

	assert_non_null(from);
	assert_non_null(quoted);
	memcpy(from, field, length);
	n = csv_quote(quoted, from, length);
	assert_true(n <= CSV_MAX_QUOTED(length));
	memcpy(to, quoted, n);
	free(quoted);
	free(from);
	return n;
}

static void
test_examples(void **state)
{
	static const Example examples[] = {
		{"acme", "acme"},
		{"/api/v1", "/api/v1"},
		{"", "\"\""},
		{"a,b", "\"a,b\""},
		{"\"", "\"\"\"\""},
		{"say \"hi\"", "\"say \"\"hi\"\"\""},
		{"two\nlines", "\"two\nlines\""},
		{"two\r\nlines", "\"two\r\nlines\""},
		{"a b", "a b"},
		{" a", "\" a\""},
		{"a ", "\"a \""},
		{"'", "'"},
		{";\t", ";\t"},
		{"\xc3\xa4", "\xc3\xa4"},
	};
	char		line[100];

	for (size_t i = 0; i < COUNT(examples); i++)
	{
		size_t		n = quote(line, examples[i].field, strlen(examples[i].field));

		assert_int_equal(n, strlen(examples[i].quoted));
		assert_memory_equal(line, examples[i].quoted, n);
	}
}

/*
 * Read a field as RFC 4180 defines it and return what comes after it.
 */
static const char *
read_field(const char *p, const char *end, char *field, size_t *length)
{
	*length = 0;
	if (p < end && *p == '"')
	{
		for (p++;; p++)
		{
			assert_true(p < end);
			if (*p == '"')
			{
				p++;
				if (p == end || *p != '"')
					return p;
			}
			field[(*length)++] = *p;
		}
	}
	for (; p < end && *p != ','; p++)
	{
		assert_true(*p != '"' && *p != '\r' && *p != '\n');
		field[(*length)++] = *p;
	}
	return p;
}

static void
test_read_back(void **state)
{
	static const char alphabet[] = "ab \",\r\n";

	for (int i = 0; i < RANDOM_LINES; i++)
	{
		char		fields[MAX_FIELDS][MAX_LENGTH];
		size_t		lengths[MAX_FIELDS];
		char		line[MAX_FIELDS * (CSV_MAX_QUOTED(MAX_LENGTH) + 1)];
		size_t		n = 0;
		size_t		n_fields = 1 + random_below(MAX_FIELDS);
		const char *p = line;

		for (size_t f = 0; f < n_fields; f++)
		{
			lengths[f] = random_below(MAX_LENGTH + 1);
			for (size_t c = 0; c < lengths[f]; c++)
				fields[f][c] = alphabet[random_below(sizeof(alphabet) - 1)];
			if (f > 0)
				line[n++] = ',';
			n += quote(line + n, fields[f], lengths[f]);
		}
		for (size_t f = 0; f < n_fields; f++)
		{
			char		field[MAX_LENGTH + 1];
			size_t		length;

			if (f > 0)
				assert_int_equal(*p++, ',');
			p = read_field(p, line + n, field, &length);
			assert_int_equal(length, lengths[f]);
			assert_memory_equal(field, fields[f], length);
		}
		assert_ptr_equal(p, line + n);
	}
}

static void
test_formulas(void **state)
{
	static const char *const formulas[] = {
		"=1+1", "+1", "-1", "@SUM(A1)", "=", "-", " =1", "\t=1", "\r\n@x",
		"=HYPERLINK(\"http://example.com\")", "\xef\xbc\x9d" "1", " \xef\xbc\xa0"
	};
	static const char *const others[] = {
		"", " ", "\t", "a", "/v1", "a=1", "1-1", "'=1", "\"=1\"", "{\"a\": \"=1\"}",
		"\xef\xbc", "\xef\xbc\x9e", "\xc3\xa4"
	};

	for (size_t i = 0; i < COUNT(formulas); i++)
		assert_true(csv_is_formula(formulas[i], strlen(formulas[i])));
	for (size_t i = 0; i < COUNT(others); i++)
		assert_false(csv_is_formula(others[i], strlen(others[i])));
	/* no more than the length is looked at */
	assert_false(csv_is_formula("=", 0));
	assert_false(csv_is_formula(" =", 1));
	assert_false(csv_is_formula("\xef\xbc\x9d", 2));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_read_back),
		cmocka_unit_test(test_formulas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_pattern.c
 *		Patterns in which * is any text: by example, against a slow model of
 *		what they mean, and that no pattern takes for ever.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/pattern.h"
#include "exact_copy.h"
#include "random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RANDOM_PAIRS 200000
#define RANDOM_LENGTH 9

typedef struct Example
{
	const char *pattern;
	const char *string;
	bool		matches;
} Example;

static bool
match(const char *pattern, size_t pattern_length, const char *string,
	  size_t string_length)
{
	char	   *p = exact_copy(pattern, pattern_length);
	char	   *t = exact_copy(string, string_length);
	bool		result = pattern_match(p, pattern_length, t, string_length);

	free(p);
	free(t);
	return result;
}

static void
assert_examples(const Example *examples, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		const Example *e = &examples[i];

		if (match(e->pattern, strlen(e->pattern),
				  e->string, strlen(e->string)) != e->matches)
			fail_msg("\"%s\" %s \"%s\"", e->pattern,
					 e->matches ? "does not match" : "matches", e->string);
	}
}

static void
test_without_star(void **state)
{
	static const Example examples[] = {
		{"/health", "/health", true},
		{"/health", "/healthz", false},
		{"/health", "/healt", false},
		{"/health", "x/health", false},
		{"/health", "/Health", false},
		{"/health", "", false},
		{"", "", true},
		{"", "/", false},
		/* nothing but * is special */
		{"/a.c", "/abc", false},
		{"/a?c", "/abc", false},
		{"/[ab]", "/a", false},
		{"/a%", "/abc", false},
		{"/\\*", "/*", false},
		{"/users/:id", "/users/:id", true},
		{"/\xC3\xA4", "/\xC3\xA4", true},
		{"/\xC3\xA4", "/\xC3\xB6", false},
	};

	assert_examples(examples, COUNT(examples));
}

static void
test_one_star(void **state)
{
	static const Example examples[] = {
		{"*", "", true},
		{"*", "/", true},
		{"*", "/v1/users/:id", true},
		{"/internal/*", "/internal/", true},
		{"/internal/*", "/internal/a/b", true},
		{"/internal/*", "/internal", false},
		{"/internal/*", "/v1/internal/a", false},
		{"*/health", "/health", true},
		{"*/health", "/v1/health", true},
		{"*/health", "/health/health", true},
		{"*/health", "/healthz", false},
		{"*/health", "health", false},
		{"/v*/health", "/v1/health", true},
		{"/v*/health", "/v/health", true},
		{"/v*/health", "/v1/x/health", true},
		{"/v*/health", "/health", false},
		/* what is before the star is not used again by what is after it */
		{"aba*aba", "aba", false},
		{"aba*aba", "ababa", false},
		{"aba*aba", "abaaba", true},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		/* a star in the text is text */
		{"/*", "/*", true},
		{"*a", "*a", true},
		{"*a", "**", false},
		{"a", "*", false},
		/* half a character is bytes, too */
		{"\xC3*", "\xC3\xA4", true},
		{"*\xA4", "\xC3\xA4", true},
	};

	assert_examples(examples, COUNT(examples));
}

static void
test_several_stars(void **state)
{
	static const Example examples[] = {
		{"**", "", true},
		{"**", "/x", true},
		{"***", "x", true},
		{"/a**", "/a", true},
		{"/a**b", "/ab", true},
		{"/a**b", "/axb", true},
		{"/a**b", "/a", false},
		{"*/health*", "/health", true},
		{"*/health*", "/v1/healthz", true},
		{"*/health*", "/v1/heal", false},
		{"*a*", "a", true},
		{"*a*", "b", false},
		{"*a*a*", "a", false},
		{"*a*a*", "aa", true},
		{"*a*b*", "ba", false},
		{"*a*b*", "xaxbx", true},
		{"/v*/users/*/orders", "/v1/users/:id/orders", true},
		{"/v*/users/*/orders", "/v1/users/:id/orders/:id", false},
		{"/v*/users/*/orders", "/v1/users/orders", false},
		/* the last star has to be gone back to */
		{"*ab", "aab", true},
		{"*aab", "aaab", true},
		{"*abc*abd", "abcabcabd", true},
		{"*a*ab", "aaaab", true},
		{"*ab*", "aaaa", false},
		/* no earlier star has to */
		{"a*b*c", "abbbc", true},
		{"*a*b*c*", "cbabca", true},
		{"*a*b*c*", "cbacba", false},
	};

	assert_examples(examples, COUNT(examples));
}

/* Lengths count, not a zero byte. */
static void
test_zero_bytes(void **state)
{
	assert_true(match("a\0b", 3, "a\0b", 3));
	assert_false(match("a\0b", 3, "a\0c", 3));
	assert_false(match("a\0b", 3, "a", 1));
	assert_true(match("a*b", 3, "a\0\0b", 4));
	assert_true(match("*\0", 2, "ab\0", 3));
	assert_false(match("*", 0, "a", 1));
	assert_true(match("ab", 1, "abc", 1));
}

/*
 * A matcher that goes back to every star would still be running when the
 * universe ends; this one is done at once.
 */
static void
test_steps_are_bounded(void **state)
{
	enum
	{
		STARS = 500, LENGTH = 20000
	};
	char		pattern[2 * STARS + 1];
	char	   *string = malloc(LENGTH);

	assert_non_null(string);
	memset(string, 'a', LENGTH);
	for (int i = 0; i < STARS; i++)
		memcpy(pattern + 2 * i, "*a", 2);
	pattern[2 * STARS] = 'b';

	assert_true(match(pattern, 2 * STARS, string, LENGTH));
	assert_true(match(pattern, 2 * STARS, string, STARS));
	assert_false(match(pattern, 2 * STARS, string, STARS - 1));
	assert_false(match(pattern, 2 * STARS + 1, string, LENGTH));
	string[LENGTH - 1] = 'b';
	assert_true(match(pattern, 2 * STARS + 1, string, LENGTH));

	/* the whole rest of the pattern is tried at each byte of the text */
	memset(pattern, 'a', sizeof(pattern));
	pattern[0] = '*';
	assert_false(match(pattern, sizeof(pattern), string, LENGTH));
	pattern[2 * STARS] = 'b';
	assert_true(match(pattern, sizeof(pattern), string, LENGTH));
	free(string);
}

/* What a pattern means, as it is written in pattern.h. */
static bool
model(const char *pattern, size_t pattern_length, const char *string,
	  size_t string_length)
{
	if (pattern_length == 0)
		return string_length == 0;
	if (pattern[0] != '*')
		return string_length > 0 && pattern[0] == string[0] &&
			model(pattern + 1, pattern_length - 1,
				  string + 1, string_length - 1);
	for (size_t taken = 0; taken <= string_length; taken++)
		if (model(pattern + 1, pattern_length - 1, string + taken,
				  string_length - taken))
			return true;
	return false;
}

static size_t
random_string(char *out, const char *letters)
{
	size_t		length = next_random() % (RANDOM_LENGTH + 1);

	for (size_t i = 0; i < length; i++)
		out[i] = letters[next_random() % strlen(letters)];
	return length;
}

static void
test_same_as_model(void **state)
{
	int			matches = 0;

	random_state = 1;
	for (int i = 0; i < RANDOM_PAIRS; i++)
	{
		char		pattern[RANDOM_LENGTH];
		char		string[RANDOM_LENGTH];
		size_t		pattern_length = random_string(pattern, "aab**");
		size_t		string_length = random_string(string,
												  i % 2 ? "aaab" : "ab*");
		bool		expected = model(pattern, pattern_length,
									 string, string_length);

		if (match(pattern, pattern_length, string, string_length) != expected)
			fail_msg("\"%.*s\" %s \"%.*s\"", (int) pattern_length, pattern,
					 expected ? "does not match" : "matches",
					 (int) string_length, string);
		matches += expected;
	}

	/* neither answer is rare, so that both were tried */
	assert_true(matches >= RANDOM_PAIRS / 10 && matches <= RANDOM_PAIRS * 9 / 10);
}

/* Whatever is put in the place of the stars, the pattern describes it. */
static void
test_any_text_for_star(void **state)
{
	random_state = 2;
	for (int i = 0; i < RANDOM_PAIRS; i++)
	{
		char		pattern[RANDOM_LENGTH];
		char		string[RANDOM_LENGTH * RANDOM_LENGTH];
		size_t		pattern_length = random_string(pattern, "ab*");
		size_t		string_length = 0;

		for (size_t p = 0; p < pattern_length; p++)
		{
			if (pattern[p] == '*')
				string_length += random_string(string + string_length, "ab*");
			else
				string[string_length++] = pattern[p];
		}
		if (!match(pattern, pattern_length, string, string_length))
			fail_msg("\"%.*s\" does not match \"%.*s\"", (int) pattern_length,
					 pattern, (int) string_length, string);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_star),
		cmocka_unit_test(test_one_star),
		cmocka_unit_test(test_several_stars),
		cmocka_unit_test(test_zero_bytes),
		cmocka_unit_test(test_steps_are_bounded),
		cmocka_unit_test(test_same_as_model),
		cmocka_unit_test(test_any_text_for_star),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_memo.c
 *		Texts and what became of them: that what is remembered is what was
 *		kept last, whatever came in between.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/endpoint.h"
#include "core/memo.h"
#include "exact_copy.h"
#include "random.h"

#define TEXTS 5000
#define ROUNDS 200000
#define MOST (MEMO_ROOM + 20)

static Memo memo;

static void
keep(const char *key, unsigned char way, const char *result)
{
	memo_keep(&memo, key, strlen(key), way, result, strlen(result));
}

static void
assert_known(const char *key, unsigned char way, const char *result)
{
	char	   *copy = exact_copy(key, strlen(key));
	size_t		length;
	const char *found = memo_find(&memo, copy, strlen(key), way, &length);

	assert_non_null(found);
	assert_int_equal(length, strlen(result));
	assert_memory_equal(found, result, length);
	free(copy);
}

static void
assert_unknown(const char *key, unsigned char way)
{
	size_t		length;

	assert_null(memo_find(&memo, key, strlen(key), way, &length));
}

static void
test_ways(void **state)
{
	memset(&memo, 0, sizeof(memo));
	assert_unknown("", 0);
	assert_unknown("/a/1", 0);
	keep("/a/1", 1, "/a/:id");
	assert_known("/a/1", 1, "/a/:id");
	assert_unknown("/a/1", 0);
	assert_unknown("/a/", 1);
	assert_unknown("/a/12", 1);
	assert_unknown("/a/2", 1);

	/* another way, and another result, drives it out */
	keep("/a/1", 0, "/a/1");
	assert_known("/a/1", 0, "/a/1");
	assert_unknown("/a/1", 1);
	keep("/a/1", 1, "");
	assert_known("/a/1", 1, "");
	assert_unknown("/a/1", 0);

	/* one of no bytes is not remembered */
	keep("", 0, "");
	assert_unknown("", 0);
}

/* The text itself needs no second place. */
static void
test_same_is_the_text(void **state)
{
	const char *key = "/v1/servers";
	size_t		length;

	memset(&memo, 0, sizeof(memo));
	keep(key, 0, "/v1/servers");
	assert_ptr_equal(memo_find(&memo, key, strlen(key), 0, &length), key);
	assert_int_equal(length, strlen(key));
}

/* Up to the room for both, and not a byte more. */
static void
test_room(void **state)
{
	char		key[MEMO_ROOM + 2];
	char		result[MEMO_ROOM + 2];

	for (size_t n = 1; n <= MEMO_ROOM + 1; n++)
	{
		memset(key, 't', sizeof(key));
		key[n] = '\0';
		memset(&memo, 0, sizeof(memo));
		keep(key, 0, key);
		if (n <= MEMO_ROOM)
			assert_known(key, 0, key);
		else
			assert_unknown(key, 0);
		for (size_t m = 0; m <= MEMO_ROOM + 1; m++)
		{
			memset(result, 'r', sizeof(result));
			result[m] = '\0';
			memset(&memo, 0, sizeof(memo));
			keep(key, 0, result);
			if (n + m <= MEMO_ROOM)
				assert_known(key, 0, result);
			else
				assert_unknown(key, 0);
		}
	}
}

/* What became of a text is made of its bytes alone, so it is known here too. */
static size_t
make_text(uint64_t number, char *key)
{
	static const char *const parts[] = {
		"/v1", "/users", "/42", "/54fadb412c4e40cdbaed9335e4c35a9e", "/", "?q=1",
		"/customers/cus_9s6XKzkNRiz8i3", "/img.png", "/\xE6\x97\xA5", "/x",
		"https://h.example", "/a-b_c", "/12:cancel",
	};
	uint64_t	seed = number;
	size_t		length = 0;

	for (uint64_t n = next_of(&seed) % 8; n > 0; n--)
	{
		const char *part = parts[next_of(&seed) %
								 (sizeof(parts) / sizeof(parts[0]))];

		if (length + strlen(part) > MOST)
			break;
		memcpy(key + length, part, strlen(part));
		length += strlen(part);
	}
	return length;
}

/*
 * Endpoints at random, many more than there are places: with the memo in
 * between they become what they become without it.
 */
static void
test_endpoints(void **state)
{
	size_t		hits = 0;
	size_t		changed = 0;

	random_state = 3;
	memset(&memo, 0, sizeof(memo));
	for (int i = 0; i < ROUNDS; i++)
	{
		/* a few of them often */
		uint64_t	number = random_below(random_below(2) ? 20 : TEXTS);
		unsigned char way = random_below(2);
		char		key[MOST];
		char		out[ENDPOINT_MAX_LENGTH];
		size_t		length = make_text(number, key);
		size_t		out_length = length;
		size_t		known_length;
		char	   *copy = exact_copy(key, length);
		const char *known;

		if (way == 1)
			out_length = endpoint_normalize(key, length, out);
		else
			memcpy(out, key, length);
		known = memo_find(&memo, copy, length, way, &known_length);
		if (known != NULL)
		{
			hits++;
			changed += known != copy;
			assert_int_equal(known_length, out_length);
			assert_memory_equal(known, out, out_length);
		}
		else
			memo_keep(&memo, copy, length, way, out, out_length);
		free(copy);
	}
	assert_true(hits > ROUNDS / 10);
	assert_true(changed > ROUNDS / 100);
	assert_true(hits < ROUNDS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ways),
		cmocka_unit_test(test_same_is_the_text),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_endpoints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_bytes.c
 *		Bytes eight at a time, against loops over them one by one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "exact_copy.h"
#include "random.h"

#define MOST 40
#define RANDOM_TEXTS 200000

static bool
is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7F;
}

static bool
readable_slowly(const char *s, size_t length)
{
	bool		blank = true;

	for (size_t i = 0; i < length; i++)
	{
		if (is_control((unsigned char) s[i]))
			return false;
		if (s[i] != ' ')
			blank = false;
	}
	return !blank;
}

static void
assert_readable_as_slowly(const char *s, size_t length)
{
	char	   *copy = exact_copy(s, length);

	assert_int_equal(bytes_readable(copy, length), readable_slowly(s, length));
	free(copy);
}

/* Each byte at each place of texts of each length, and nothing else in it. */
static void
test_readable_at_any_place(void **state)
{
	for (size_t length = 0; length <= MOST; length++)
		for (size_t at = 0; at < length; at++)
			for (int c = 0; c < 256; c++)
			{
				char		bytes[MOST];

				memset(bytes, ' ', length);
				bytes[at] = (char) c;
				assert_readable_as_slowly(bytes, length);
				memset(bytes, 'x', length);
				bytes[at] = (char) c;
				assert_readable_as_slowly(bytes, length);
			}
	assert_false(bytes_readable("", 0));
}

static void
test_readable_at_random(void **state)
{
	/* about the borders of what is a control character, and beside them */
	static const char some[] = {0x00, 0x01, 0x1E, 0x1F, ' ', '!', '~', 0x7E,
	0x7F, (char) 0x80, (char) 0x9F, (char) 0xA0, (char) 0xFE, (char) 0xFF};

	random_state = 1;
	for (int i = 0; i < RANDOM_TEXTS; i++)
	{
		char		bytes[MOST];
		size_t		length = random_below(MOST + 1);

		memset(bytes, random_below(2) ? ' ' : 'a', length);
		for (uint64_t n = random_below(4); n > 0 && length > 0; n--)
			bytes[random_below(length)] = random_below(2) ?
				some[random_below(sizeof(some))] : (char) next_random();
		assert_readable_as_slowly(bytes, length);
	}
}

static void
test_equal(void **state)
{
	random_state = 2;
	for (size_t length = 0; length <= MOST; length++)
	{
		char		bytes[MOST];
		char	   *a;
		char	   *b;

		for (size_t i = 0; i < length; i++)
			bytes[i] = (char) next_random();
		a = exact_copy(bytes, length);
		b = exact_copy(bytes, length);
		assert_true(bytes_equal(a, b, length));
		for (size_t at = 0; at < length; at++)
			for (int bit = 0; bit < 8; bit++)
			{
				b[at] ^= (char) (1 << bit);
				assert_false(bytes_equal(a, b, length));
				b[at] = a[at];
			}
		free(b);
		free(a);
	}
}

#define HASHES (1 << 20)

/*
 * A hash says all there is of a text: another bit, another length or another
 * seed makes another one, of which about half of the bits differ.
 */
static void
test_hash_of_each_bit(void **state)
{
	char		bytes[MOST];

	for (size_t length = 0; length <= MOST; length++)
	{
		uint64_t	seed = next_random();
		int			differ = 0;
		char	   *s;
		uint64_t	hash;

		for (size_t i = 0; i < length; i++)
			bytes[i] = (char) next_random();
		s = exact_copy(bytes, length);
		hash = bytes_hash(s, length, seed);
		assert_true(hash == bytes_hash(bytes, length, seed));
		assert_true(hash != bytes_hash(bytes, length, seed + 1));
		for (size_t shorter = 0; shorter < length; shorter++)
			assert_true(hash != bytes_hash(bytes, shorter, seed));
		for (size_t bit = 0; bit < 8 * length; bit++)
		{
			s[bit / 8] ^= (char) (1 << bit % 8);
			differ += __builtin_popcountll(hash ^ bytes_hash(s, length, seed));
			s[bit / 8] ^= (char) (1 << bit % 8);
		}
		if (length >= 8)
			assert_in_range(differ, 8 * length * 30, 8 * length * 34);
		free(s);
	}
}

/*
 * Names that differ by a number only are as even in the low bits of their hashes,
 * which choose a list, as random ones.  For those, the squares of how many are in
 * each of as many places as there are names add up to twice their number, and the
 * standard deviation of that is the square root of twice their number.
 */
static void
test_hash_spreads_names(void **state)
{
	static const char *const forms[] = {"%u", "tenant-%u", "user-%08u@example.com"};

	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++)
	{
		uint32_t   *places = calloc(HASHES, sizeof(uint32_t));
		uint64_t	seed = next_random();
		int64_t		squares = 0;

		for (uint32_t i = 0; i < HASHES; i++)
		{
			char		name[MOST];

			snprintf(name, sizeof(name), forms[f], i);
			places[bytes_hash(name, strlen(name), seed) & (HASHES - 1)]++;
		}
		for (uint32_t i = 0; i < HASHES; i++)
			squares += (int64_t) places[i] * places[i];
		assert_in_range(squares, 2 * HASHES - 6 * 1449, 2 * HASHES + 6 * 1449);
		free(places);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readable_at_any_place),
		cmocka_unit_test(test_readable_at_random),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_hash_of_each_bit),
		cmocka_unit_test(test_hash_spreads_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

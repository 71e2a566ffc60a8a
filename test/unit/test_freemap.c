/*
 * test_freemap.c
 *		The map of free numbers, against a plain array.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/freemap.h"
#include "random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Around the ends of words, of each level. */
static const uint32_t sizes[] = {
	1, 2, 3, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 4160, 4161, 10000,
	262143, 262144, 262145, 1000000
};

/* In memory of just its size, that nobody has cleared, for the sanitizer. */
static uint64_t *
new_map(Freemap *map, uint32_t n)
{
	size_t		size = freemap_size(n);
	uint64_t   *words = malloc(size);

	assert_non_null(words);
	memset(words, 0xA5, size);
	memset(map, 0xA5, sizeof(*map));
	freemap_init(map, words, n);
	assert_true(map->n_levels <= FREEMAP_LEVELS);
	return words;
}

static uint32_t
model_next(const bool *taken, uint32_t n, uint32_t number)
{
	while (number < n && taken[number])
		number++;
	return number < n ? number : FREEMAP_NONE;
}

/* An eighth of a byte each and a 63rd more, in whole words of each level. */
static void
test_size(void **state)
{
	assert_int_equal(freemap_size(1), 8);
	assert_int_equal(freemap_size(64), 8);
	assert_int_equal(freemap_size(65), 3 * 8);
	assert_int_equal(freemap_size(4096), 65 * 8);
	assert_int_equal(freemap_size(4097), (65 + 2 + 1) * 8);
	assert_int_equal(freemap_size(UINT32_C(1) << 30),
					 ((1 << 24) + (1 << 18) + (1 << 12) + (1 << 6) + 1) * 8);
	assert_int_equal(freemap_size(UINT32_MAX),
					 ((1 << 26) + (1 << 20) + (1 << 14) + (1 << 8) + 4 + 1) * UINT64_C(8));
}

/* All are found in order, and none beyond the last one. */
static void
test_all_in_order(void **state)
{
	for (size_t s = 0; s < COUNT(sizes); s++)
	{
		Freemap		map;
		uint64_t   *words = new_map(&map, sizes[s]);

		for (uint32_t i = 0; i < sizes[s]; i++)
		{
			assert_int_equal(freemap_next(&map, words, 0), i);
			assert_int_equal(freemap_next(&map, words, i), i);
			freemap_take(&map, words, i);
		}
		assert_int_equal(freemap_next(&map, words, 0), FREEMAP_NONE);
		assert_int_equal(freemap_next(&map, words, sizes[s] - 1), FREEMAP_NONE);
		assert_int_equal(freemap_next(&map, words, sizes[s]), FREEMAP_NONE);
		assert_int_equal(freemap_next(&map, words, UINT32_MAX), FREEMAP_NONE);
		freemap_give(&map, words, sizes[s] / 2);
		assert_int_equal(freemap_next(&map, words, 0), sizes[s] / 2);
		assert_int_equal(freemap_next(&map, words, sizes[s] / 2 + 1), FREEMAP_NONE);
		free(words);
	}
}

/* To and fro, from nearly empty to nearly full. */
static void
test_against_model(void **state)
{
	random_state = 20261127;
	for (size_t s = 0; s < COUNT(sizes); s++)
	{
		uint32_t	n = sizes[s];
		Freemap		map;
		uint64_t   *words = new_map(&map, n);
		bool	   *taken = calloc(n, sizeof(bool));

		assert_non_null(taken);
		for (int i = 0; i < 200000; i++)
		{
			bool		take = random_below(100) < (uint64_t) (i / 20000 % 2 ? 10 : 90);
			uint32_t	number = (uint32_t) random_below(n);

			/* runs of them, so that whole words and more become full */
			for (uint32_t j = 0; j < 100 && number < n; j++, number++)
			{
				if (taken[number] == take)
					continue;
				taken[number] = take;
				if (take)
					freemap_take(&map, words, number);
				else
					freemap_give(&map, words, number);
			}
			if (i % 10 == 0)
			{
				number = (uint32_t) random_below(n);
				assert_int_equal(freemap_next(&map, words, number),
								 model_next(taken, n, number));
			}
		}
		free(taken);
		free(words);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_all_in_order),
		cmocka_unit_test(test_against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

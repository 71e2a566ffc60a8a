/*
 * text_test.h
 *		What the tests of what rewrites texts share: examples, and random
 *		variations of texts.
 */
#ifndef METER_TEXT_TEST_H
#define METER_TEXT_TEST_H

#include <string.h>

#include "random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MUTATIONS 200000
#define MUTATE_MAX_LENGTH 1500

typedef struct Example
{
	const char *original;
	const char *expected;
} Example;

/* Defined by each test: what is tested makes the one text of the other. */
static void assert_becomes(const char *original, size_t length,
						   const char *expected, size_t expected_length);

static void
assert_kept(const char *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_becomes(texts[i], strlen(texts[i]), texts[i], strlen(texts[i]));
}

/* What has become of a text is kept, too. */
static void
assert_examples(const Example *examples, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		const char *expected = examples[i].expected;

		assert_becomes(examples[i].original, strlen(examples[i].original),
					   expected, strlen(expected));
		assert_kept(&expected, 1);
	}
}

/* Put a text, as much of it as there is room for, at position. */
static size_t
insert_text(char *out, size_t length, size_t position, const char *text,
			size_t n)
{
	if (n > MUTATE_MAX_LENGTH - length)
		n = MUTATE_MAX_LENGTH - length;
	memmove(out + position + n, out + position, length - position);
	memcpy(out + position, text, n);
	return length + n;
}

/*
 * Write a mutation of one of the seeds to out, which has room for
 * MUTATE_MAX_LENGTH bytes, and return its length.
 */
static size_t
mutate(const char *const *seeds, size_t nseeds, char *out)
{
	static const char special[] = "/:;,.-_=?&#%@'\"\\ \n{}[]()<>*+aZ09\x80\xC3";
	const char *seed = seeds[random_below(nseeds)];
	size_t		length = insert_text(out, 0, 0, seed, strlen(seed));
	size_t		changes = random_below(8);

	for (size_t i = 0; i < changes; i++)
	{
		size_t		position = random_below(length + 1);
		size_t		n = random_below(length - position + 1);
		char		c = special[random_below(sizeof(special) - 1)];
		char		piece[MUTATE_MAX_LENGTH];

		switch (random_below(6))
		{
			case 0:
				length = insert_text(out, length, position, &c, 1);
				break;
			case 1:
				if (position < length)
					out[position] = c;
				break;
			case 2:
				if (position < length)
					out[position] = (char) next_random();
				break;
			case 3:
				memmove(out + position, out + position + n,
						length - position - n);
				length -= n;
				break;
			case 4:
				memcpy(piece, out + position, n);
				length = insert_text(out, length, random_below(length + 1),
									 piece, n);
				break;
			case 5:
				seed = seeds[random_below(nseeds)];
				length = insert_text(out, length, position, seed, strlen(seed));
				break;
		}
	}
	return length;
}

#endif							/* METER_TEXT_TEST_H */

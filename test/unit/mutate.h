/*
 * mutate.h
 *		Random variations of texts, for the tests of what reads texts.
 *
 * The sequence depends on nothing but random_state, so that a failure comes
 * again in the next run.
 */
#ifndef METER_MUTATE_H
#define METER_MUTATE_H

#include <stdint.h>
#include <string.h>

#define MUTATE_MAX_LENGTH 1500

/* splitmix64 */
static uint64_t random_state;

static uint64_t
next_random(void)
{
	uint64_t	z = (random_state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static size_t
random_below(size_t n)
{
	return n == 0 ? 0 : next_random() % n;
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

#endif							/* METER_MUTATE_H */

/*
 * random.h
 *		Random numbers for the tests.
 *
 * The sequence depends on nothing but random_state, which a test sets before
 * it begins, so that a failure comes again in the next run.
 */
#ifndef METER_RANDOM_H
#define METER_RANDOM_H

#include <stdint.h>

static uint64_t random_state;

/* splitmix64 */
static inline uint64_t
next_of(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static inline uint64_t
next_random(void)
{
	return next_of(&random_state);
}

/* In [0, n), or 0 if that is empty. */
static inline uint64_t
random_below(uint64_t n)
{
	return n == 0 ? 0 : next_random() % n;
}

static inline void
shuffle(double *value, int n)
{
	for (int i = n - 1; i > 0; i--)
	{
		int			j = (int) random_below(i + 1);
		double		other = value[j];

		value[j] = value[i];
		value[i] = other;
	}
}

#endif							/* METER_RANDOM_H */

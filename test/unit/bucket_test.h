/*
 * bucket_test.h
 *		What the tests of limits share.
 */
#ifndef METER_BUCKET_TEST_H
#define METER_BUCKET_TEST_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/bucket.h"
#include "random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Times are microseconds. */
#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define HIGHEST ((BucketAmount) ((unsigned __int128) -1 >> 1))

/* Monotonic clocks begin anywhere. */
#define START (INT64_C(1234567) * SECOND + 891)

#define assert_amount(actual, expected) \
	check_amount((actual), (expected), #actual, __FILE__, __LINE__)

static inline void
check_amount(BucketAmount actual, BucketAmount expected, const char *what,
			 const char *file, int line)
{
	if (actual != expected)
	{
		print_error("%s is %.0Lf, but should be %.0Lf (%.0Lf more)\n", what,
					(long double) actual, (long double) expected,
					(long double) (actual - expected));
		_fail(file, line);
	}
}

static inline BucketAmount
units(int64_t n)
{
	return (BucketAmount) n * BUCKET_UNIT;
}

static inline BucketLimit
rate(int64_t max, int64_t period, int64_t capacity)
{
	BucketLimit limit = {0};

	limit.max = units(max);
	limit.capacity = units(capacity);
	limit.period = period;
	return limit;
}

static inline BucketLimit
calendar(int64_t max)
{
	BucketLimit limit = {0};

	limit.max = limit.capacity = units(max);
	limit.window = true;
	return limit;
}

/* A call with a cost, as the server does it. */
static inline bool
call(Bucket *bucket, const BucketLimit *limit, BucketAmount cost, int64_t now,
	 int64_t window_end)
{
	bucket_advance(bucket, limit, now, window_end);
	if (!bucket_admits(bucket, limit, cost))
		return false;
	bucket_take(bucket, limit, cost);
	return true;
}

/* A call of a token bucket, that costs one. */
static inline bool
hit(Bucket *bucket, const BucketLimit *limit, int64_t now)
{
	return call(bucket, limit, BUCKET_UNIT, now, 0);
}

static inline void
assert_same(const Bucket *bucket, const Bucket *before)
{
	assert_amount(bucket->level, before->level);
	assert_int_equal(bucket->time, before->time);
}

#endif							/* METER_BUCKET_TEST_H */

/*
 * bucket.h
 *		The arithmetic of limits: token buckets and calendar windows.
 *
 * Amounts are whole billionths of a request or of a unit of cost, times are
 * whole microseconds, and both are integers of 128 and 64 bits, so that
 * nothing is ever rounded while it is stored: a bucket does not drift.
 *
 * A token bucket is kept as its debt: how much is taken and not yet refilled.
 * A limit of "max" in "period" refills max / period each microsecond, which is
 * no whole number, so the debt is stored multiplied by the period: an amount a
 * adds a * period, and each microsecond takes off max.  This is GCRA (ITU-T
 * I.371) with the time to come multiplied by max.
 *
 *		debt(t) = max(0, debt(s) - (t - s) * max)			for t >= s
 *		admit a		if and only if	debt + a * period <= capacity * period
 *		remaining	= floor((capacity * period - debt) / period)
 *		retry after	= ceil((debt + a * period - capacity * period) / max)
 *
 * Bounds: amounts are at most BUCKET_MAX_AMOUNT = 10^24 < 2^80, periods at
 * most BUCKET_MAX_PERIOD < 2^42, so a debt and what is added to it are below
 * 2^123.  Times are any, and a refill that does not fit pays off every debt.
 *
 * A calendar window keeps what was used of it, and when it ends.  It moves
 * forward only: a clock that steps back and forth finds the same window again.
 * What was used of it can be more than its capacity, as after that was lowered,
 * and is at most BUCKET_MAX_AMOUNT.
 */
#ifndef METER_CORE_BUCKET_H
#define METER_CORE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/* In structs of any allocator, so not aligned to more than 8. */
typedef __int128 BucketAmount __attribute__((aligned(8)));

#define BUCKET_UNIT INT64_C(1000000000)
#define BUCKET_MAX_UNITS INT64_C(1000000000000000)	/* 10^15 */
#define BUCKET_MAX_AMOUNT ((BucketAmount) BUCKET_MAX_UNITS * BUCKET_UNIT)
#define BUCKET_MAX_PERIOD (INT64_C(31) * 24 * 3600 * 1000000)

/* There is no time after which it will be so. */
#define BUCKET_NEVER INT64_C(-1)

/* What a limit says. */
typedef struct BucketLimit
{
	BucketAmount max;			/* 0 to BUCKET_MAX_AMOUNT: in a period */
	BucketAmount capacity;		/* the same range; of a window, its max */
	int64_t		period;			/* us, 1 to BUCKET_MAX_PERIOD; unused by
								 * windows */
	bool		window;			/* a calendar window, no token bucket */
	bool		unlimited;		/* admits all, and counts what it admits */
} BucketLimit;

/* What was taken.  All zero: nothing yet. */
typedef struct Bucket
{
	BucketAmount level;			/* debt * period; of a window, what is used */
	int64_t		time;			/* us: when the level was that, by a clock
								 * that never goes back; of a window, its end
								 * by the calendar */
} Bucket;

/* One of the limits that a call has to pass. */
typedef struct BucketUse
{
	Bucket	   *bucket;
	const BucketLimit *limit;
	BucketAmount amount;		/* that the call takes, 0 or more */
	bool		shadow;			/* counts, but refuses nothing */
	bool		admitted;		/* set by bucket_take_all() */
} BucketUse;

/*
 * Bring a bucket up to now, for a token bucket; or, for a window, begin a new
 * one that ends at window_end if the last one has ended.  A now before the
 * bucket's time changes nothing.  Also takes off what is above the capacity
 * of a token bucket, as after a limit was lowered.
 */
extern void bucket_advance(Bucket *bucket, const BucketLimit *limit,
						   int64_t now, int64_t window_end);

/*
 * The rest is about buckets that were brought up to now.  bucket_admits() is
 * whether an amount may be taken; an amount above the capacity never is.
 * bucket_give() gives back at most what was taken.
 */
extern bool bucket_admits(const Bucket *bucket, const BucketLimit *limit,
						  BucketAmount amount);
extern void bucket_take(Bucket *bucket, const BucketLimit *limit,
						BucketAmount amount);
extern void bucket_give(Bucket *bucket, const BucketLimit *limit,
						BucketAmount amount);

/*
 * Set what is used of it: of a token bucket at most its capacity unless it is
 * unlimited, of a window at most BUCKET_MAX_AMOUNT.
 */
extern void bucket_set_used(Bucket *bucket, const BucketLimit *limit,
							BucketAmount used);
extern BucketAmount bucket_used(const Bucket *bucket, const BucketLimit *limit);

/* What may still be taken: from 0 to the capacity. */
extern BucketAmount bucket_remaining(const Bucket *bucket,
									 const BucketLimit *limit);

/*
 * Microseconds after which the amount will be admitted if nobody takes
 * anything meanwhile: the least such number, 0 if it is admitted now, or
 * BUCKET_NEVER.  And those until a token bucket is full again.  For windows,
 * now is the time by the calendar.
 */
extern int64_t bucket_retry_after(const Bucket *bucket,
								  const BucketLimit *limit,
								  BucketAmount amount, int64_t now);
extern int64_t bucket_reset_after(const Bucket *bucket,
								  const BucketLimit *limit, int64_t now);

/*
 * The same of a token bucket in seconds, rounded down; where the level is above
 * 2^64, not less than that and up to three more.  Made for each call, so without
 * a long division.  BUCKET_LONGEST_REFILL, some 136 years, is also for ever.
 */
#define BUCKET_LONGEST_REFILL UINT32_MAX

extern uint32_t bucket_refill_seconds(const Bucket *bucket, const BucketLimit *limit);

/* Is nothing taken, so that the bucket says no more than a new one? */
extern bool bucket_is_full(const Bucket *bucket, const BucketLimit *limit);

/*
 * The same limit has got another period: keep the amount that was used.
 */
extern void bucket_change_period(Bucket *bucket, int64_t old_period,
								 int64_t new_period);

/*
 * Take from all buckets if each of those that are no shadows admits its
 * amount, and then from each shadow that admits it too; otherwise from none.
 * Returns whether it was taken; says of each use whether it was admitted.
 */
extern bool bucket_take_all(BucketUse *uses, int n);

#endif							/* METER_CORE_BUCKET_H */

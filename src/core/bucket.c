/*
 * bucket.c
 *		The arithmetic of limits: token buckets and calendar windows.
 *
 * See bucket.h for what is stored, and for the bounds that keep all of this
 * from overflowing.  What decides about a call only multiplies, adds and
 * compares; there are divisions where a number is told to somebody, and where
 * a period changes.
 *
 * But for the passing of time a window is a token bucket with a period of 1:
 * most of the functions need not tell them apart.
 */
#include "core/bucket.h"
#include "core/hot.h"

typedef unsigned __int128 Wide;

_Static_assert(BUCKET_MAX_AMOUNT < (BucketAmount) 1 << 80 &&
			   BUCKET_MAX_PERIOD < INT64_C(1) << 42,
			   "levels must leave room for what is added to them");

/* What amounts are multiplied by where they are stored. */
static inline int64_t
scale_of(const BucketLimit *limit)
{
	return limit->window ? 1 : limit->period;
}

/*
 * The most that can be used.  What is above it is forgotten.  A token bucket
 * would be long in paying that off, and a window ends when it ends: it keeps
 * what was used before its limit was lowered, for when that is raised again.
 */
static inline BucketAmount
most_of(const BucketLimit *limit)
{
	return limit->unlimited || limit->window ? BUCKET_MAX_AMOUNT : limit->capacity;
}

/*
 * A debt after some time.  Any time fits, though its refill may not: that has
 * up to 80 + 64 bits, and one that does not fit 127 bits pays off every debt.
 */
static inline BucketAmount
debt_after(BucketAmount debt, BucketAmount max, uint64_t elapsed)
{
	Wide		low = (Wide) (uint64_t) max * elapsed;
	Wide		high = (Wide) (uint64_t) (max >> 64) * elapsed + (low >> 64);
	BucketAmount refill;

	if (high > INT64_MAX)
		return 0;
	refill = (BucketAmount) (high << 64 | (uint64_t) low);
	return debt > refill ? debt - refill : 0;
}

HOT_PATH void
bucket_advance(Bucket *bucket, const BucketLimit *limit, int64_t now,
			   int64_t window_end)
{
	BucketAmount most = most_of(limit) * scale_of(limit);

	if (limit->window)
	{
		/* With an end that is not later, each call would begin a window. */
		if (now >= bucket->time && window_end > bucket->time)
		{
			bucket->level = 0;
			bucket->time = window_end;
		}
	}
	else if (now > bucket->time)
	{
		/* Two times can be further apart than a signed number says. */
		bucket->level = debt_after(bucket->level, limit->max,
								   (uint64_t) now - (uint64_t) bucket->time);
		bucket->time = now;
	}

	/* After the refill, so that lowering a capacity gives nothing away. */
	if (bucket->level > most)
		bucket->level = most;
}

HOT_PATH bool
bucket_admits(const Bucket *bucket, const BucketLimit *limit,
			  BucketAmount amount)
{
	if (limit->unlimited)
		return true;

	/* First, as the product of an amount above that could overflow. */
	if (amount > limit->capacity)
		return false;
	return bucket->level <= (limit->capacity - amount) * scale_of(limit);
}

/*
 * An amount that was not admitted takes what there is of a token bucket: a debt
 * above the capacity would refuse all calls for longer than the limit says.
 */
HOT_PATH void
bucket_take(Bucket *bucket, const BucketLimit *limit, BucketAmount amount)
{
	int64_t		scale = scale_of(limit);
	BucketAmount most = most_of(limit);

	if (amount > most)
		amount = most;
	bucket->level += amount * scale;
	if (bucket->level > most * scale)
		bucket->level = most * scale;
}

void
bucket_give(Bucket *bucket, const BucketLimit *limit, BucketAmount amount)
{
	if (amount > BUCKET_MAX_AMOUNT)
		amount = BUCKET_MAX_AMOUNT;
	bucket->level -= amount * scale_of(limit);
	if (bucket->level < 0)
		bucket->level = 0;
}

void
bucket_set_used(Bucket *bucket, const BucketLimit *limit, BucketAmount used)
{
	BucketAmount most = most_of(limit);

	if (used > most)
		used = most;
	bucket->level = used > 0 ? used * scale_of(limit) : 0;
}

/*
 * Rounded up, for what remains to be rounded down: they add up to the
 * capacity, and what is used according to this is no less than it was.
 */
HOT_PATH BucketAmount
bucket_used(const Bucket *bucket, const BucketLimit *limit)
{
	int64_t		scale = scale_of(limit);

	return (bucket->level + scale - 1) / scale;
}

BucketAmount
bucket_remaining(const Bucket *bucket, const BucketLimit *limit)
{
	BucketAmount used;

	if (limit->unlimited)
		return limit->capacity;
	used = bucket_used(bucket, limit);
	return used < limit->capacity ? limit->capacity - used : 0;
}

/* From now to a time that may be after all that clocks can show. */
static int64_t
time_until(BucketAmount due, int64_t now)
{
	if (due <= now)
		return 0;
	if (due > INT64_MAX || due - now > INT64_MAX)
		return BUCKET_NEVER;
	return (int64_t) (due - now);
}

/*
 * From now until a token bucket's level has gone down by so much.  Where the
 * clock is behind the bucket, it has to come to the bucket's time first.
 */
static int64_t
time_to_refill(const Bucket *bucket, const BucketLimit *limit,
			   BucketAmount much, int64_t now)
{
	if (limit->max == 0)
		return BUCKET_NEVER;
	return time_until(bucket->time + (much + limit->max - 1) / limit->max,
					  now);
}

int64_t
bucket_retry_after(const Bucket *bucket, const BucketLimit *limit,
				   BucketAmount amount, int64_t now)
{
	if (bucket_admits(bucket, limit, amount))
		return 0;
	if (amount > limit->capacity)
		return BUCKET_NEVER;
	if (limit->window)
		return time_until(bucket->time, now);
	return time_to_refill(bucket, limit, bucket->level -
						  (limit->capacity - amount) * limit->period, now);
}

HOT_PATH int64_t
bucket_reset_after(const Bucket *bucket, const BucketLimit *limit,
				   int64_t now)
{
	if (bucket_is_full(bucket, limit))
		return 0;
	if (limit->window)
		return time_until(bucket->time, now);
	return time_to_refill(bucket, limit, bucket->level, now);
}

/*
 * Of a level with more than 64 bits, and of what it is divided by, the low ones
 * do not count: either there are enough left, or it takes for ever.
 */
HOT_PATH uint32_t
bucket_refill_seconds(const Bucket *bucket, const BucketLimit *limit)
{
	Wide		each = (Wide) limit->max * 1000000;
	uint64_t	high = (uint64_t) (bucket->level >> 64);
	int			shift = high == 0 ? 0 : 64 - __builtin_clzll(high);
	uint64_t	seconds;

	each >>= shift;
	if (each >> 64 != 0)
		return shift > 0;
	if (each == 0)
		return BUCKET_LONGEST_REFILL;
	seconds = (uint64_t) (bucket->level >> shift) / (uint64_t) each;
	if (seconds >= BUCKET_LONGEST_REFILL)
		return BUCKET_LONGEST_REFILL;
	return (uint32_t) seconds + (shift > 0);
}

bool
bucket_is_full(const Bucket *bucket, const BucketLimit *limit)
{
	return bucket->level == 0;
}

/*
 * The only place where something is rounded that stays: what the new period
 * cannot express, up, so that changing it to and fro gives nothing away.
 */
void
bucket_change_period(Bucket *bucket, int64_t old_period, int64_t new_period)
{
	/* In two parts, as the product of a level and a period could overflow. */
	BucketAmount whole = bucket->level / old_period;
	BucketAmount part = bucket->level % old_period;

	bucket->level = whole * new_period +
		(part * new_period + old_period - 1) / old_period;
}

/* No bucket must be in there twice: each is asked before any is taken from. */
HOT_PATH bool
bucket_take_all(BucketUse *uses, int n)
{
	bool		taken = true;

	for (int i = 0; i < n; i++)
	{
		uses[i].admitted = bucket_admits(uses[i].bucket, uses[i].limit,
										 uses[i].amount);
		if (!uses[i].admitted && !uses[i].shadow)
			taken = false;
	}
	if (!taken)
		return false;
	for (int i = 0; i < n; i++)
	{
		if (uses[i].admitted)
			bucket_take(uses[i].bucket, uses[i].limit, uses[i].amount);
	}
	return true;
}

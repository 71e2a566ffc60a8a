/*
 * sketch.c
 *		Percentile sketch: adding and merging, and what a whole one looks like.
 *
 * See sketch.h for the meaning.  What is asked of it is in sketch_query.c, the
 * binary form in sketch_pack.c, the text form in sketch_text.c.
 *
 * The buckets are a sorted sparse array: a tenant's hour of latencies has
 * about a hundred of them, mostly with neighbouring indexes.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/sketch.h"

/*
 * The buckets are cut for an accuracy this much better than promised, so
 * that the rounding errors of log and exp, some 1e-13 of the value, cannot
 * break the promise: at the smallest accuracy the margin is 1e-10.
 */
#define ACCURACY_MARGIN (1.0 - 1.0 / (1 << 20))

static inline double
cut_accuracy(const Sketch *s)
{
	return s->accuracy * ACCURACY_MARGIN;
}

static void
init_store(SketchStore *store)
{
	store->bucket = NULL;
	store->n = 0;
	store->capacity = 0;
	store->shift = 0;
}

SketchStatus
sketch_init(Sketch *s, double accuracy)
{
	double		cut;

	/* Written so that NaN fails. */
	if (!(accuracy >= SKETCH_MIN_ACCURACY && accuracy <= SKETCH_MAX_ACCURACY))
		return SKETCH_BAD_ACCURACY;

	s->accuracy = accuracy;
	cut = cut_accuracy(s);
	s->inv_ln_gamma = 1.0 / (log1p(cut) - log1p(-cut));
	s->count = 0;
	s->zero = 0;
	s->min = 0.0;
	s->max = 0.0;
	init_store(&s->pos);
	init_store(&s->neg);
	exactsum_init(&s->sum);
	return SKETCH_OK;
}

void
sketch_free(Sketch *s)
{
	core_free(s->pos.bucket);
	core_free(s->neg.bucket);
	exactsum_free(&s->sum);
	(void) sketch_init(s, s->accuracy);
}

/* magnitude is finite and at least DBL_MIN. */
static inline int32_t
bucket_index(const Sketch *s, double magnitude)
{
	return (int32_t) ceil(log(magnitude) * s->inv_ln_gamma);
}

/* 2 / (gamma + 1) is 1 - a. */
double
sketch_bucket_estimate(const Sketch *s, int32_t index)
{
	return exp(index / s->inv_ln_gamma) * (1.0 - cut_accuracy(s));
}

static void
reserve_buckets(SketchStore *store, int32_t n)
{
	int32_t		capacity = store->capacity > 0 ? store->capacity : 8;

	if (n <= store->capacity)
		return;

	/*
	 * Doubling suits both the amortised cost and palloc's powers of two.  A
	 * store never has more than some 7.1 million buckets (the whole range of
	 * doubles at the smallest accuracy), so nothing here overflows.
	 */
	while (capacity < n)
		capacity *= 2;
	store->bucket = core_realloc(store->bucket,
								 capacity * sizeof(SketchBucket));
	store->capacity = capacity;
}

/* The position of the first bucket at or above index; n if there is none. */
static int32_t
find_bucket(const SketchStore *store, int32_t index)
{
	const SketchBucket *base = store->bucket;
	int32_t		n = store->n;

	if (n == 0)
		return 0;

	/* A step is a conditional move, not a branch that guesses wrong. */
	while (n > 1)
	{
		int32_t		half = n / 2;

		base += base[half - 1].index < index ? half : 0;
		n -= half;
	}
	return (int32_t) (base - store->bucket) + (base->index < index ? 1 : 0);
}

static void
add_to_store(SketchStore *store, int32_t index, uint64_t times)
{
	int64_t		guess = (int64_t) index - store->shift;
	int32_t		pos;

	/*
	 * Where the indexes between the last one and this one are all there, this
	 * one is as far from the last in the array.  That is so for nearly all
	 * values of a distribution with a dense middle.
	 */
	if (guess >= 0 && guess < store->n && store->bucket[guess].index == index)
	{
		store->bucket[guess].count += times;
		return;
	}

	pos = find_bucket(store, index);
	if (pos < store->n && store->bucket[pos].index == index)
		store->bucket[pos].count += times;
	else
	{
		reserve_buckets(store, store->n + 1);
		memmove(store->bucket + pos + 1, store->bucket + pos,
				(store->n - pos) * sizeof(SketchBucket));
		store->bucket[pos].index = index;
		store->bucket[pos].count = times;
		store->n++;
	}
	store->shift = index - pos;
}

void
sketch_append_bucket(SketchStore *store, int32_t index, uint64_t count)
{
	reserve_buckets(store, store->n + 1);
	store->bucket[store->n].index = index;
	store->bucket[store->n].count = count;
	store->n++;
}

void
sketch_merge_extremes(Sketch *dst, double min, double max)
{
	if (dst->count == 0 || min < dst->min)
		dst->min = min;
	if (dst->count == 0 || max > dst->max)
		dst->max = max;
}

/* Buckets of a store that is asked for whole: ten cache lines of them. */
#define PREFETCH_ALL 40

void
sketch_prefetch(const Sketch *s, double value)
{
	const SketchStore *store = value > 0 ? &s->pos : &s->neg;
	double		magnitude = fabs(value);
	int64_t		guess;

	if (store->n == 0 || !(magnitude >= DBL_MIN && magnitude <= DBL_MAX))
		return;

	/*
	 * A search in a small store may look anywhere; in a large one the value
	 * is likely near where it would be if no bucket was empty.
	 */
	if (store->n <= PREFETCH_ALL)
	{
		for (int32_t i = 0; i < store->n; i += 64 / sizeof(SketchBucket))
			__builtin_prefetch(&store->bucket[i]);
	}
	else
	{
		guess = (int64_t) bucket_index(s, magnitude) - store->shift;
		if (guess < 0)
			guess = 0;
		if (guess >= store->n)
			guess = store->n - 1;
		__builtin_prefetch(&store->bucket[guess]);
	}
	__builtin_prefetch(s->sum.digit);
}

SketchStatus
sketch_add(Sketch *s, double value, uint64_t times)
{
	double		magnitude = fabs(value);

	/* Written so that NaN fails. */
	if (!(magnitude <= DBL_MAX))
		return SKETCH_NOT_FINITE;
	if (times > SKETCH_MAX_COUNT - s->count)
		return SKETCH_COUNT_OVERFLOW;
	if (times == 0)
		return SKETCH_OK;

	/* -0 + 0 is 0: which zero came first must not be told from the bytes. */
	value += 0.0;

	if (magnitude < DBL_MIN)
		s->zero += times;
	else
		add_to_store(value > 0 ? &s->pos : &s->neg,
					 bucket_index(s, magnitude), times);
	exactsum_add(&s->sum, value, times);
	sketch_merge_extremes(s, value, value);
	s->count += times;
	return SKETCH_OK;
}

/*
 * Merge src into dst.  As long as dst has all the buckets of src, as it has
 * after the first few hours of a day, this is a walk along both that adds.
 * At the first one missing, make room at the front of what is left of dst by
 * moving it up by the number of buckets missing, and merge forward from
 * there: the writing position never overtakes the reading one.
 */
void
sketch_merge_store(SketchStore *dst, const SketchBucket *src, int32_t n)
{
	int32_t		i = 0;
	int32_t		j = 0;
	int32_t		missing;
	int32_t		from;
	int32_t		end;

	while (j < n && i < dst->n)
	{
		/* As in add_to_store: a jump where all between are there. */
		int64_t		guess = (int64_t) src[j].index - dst->bucket[i].index + i;

		if (guess > i && guess < dst->n &&
			dst->bucket[guess].index == src[j].index)
			i = (int32_t) guess;
		while (i < dst->n && dst->bucket[i].index < src[j].index)
			i++;
		if (i == dst->n || dst->bucket[i].index != src[j].index)
			break;
		dst->bucket[i++].count += src[j++].count;
	}
	if (j == n)
		return;

	missing = 0;
	from = i;
	for (int32_t k = j; k < n; k++)
	{
		while (from < dst->n && dst->bucket[from].index < src[k].index)
			from++;
		if (from == dst->n || dst->bucket[from].index != src[k].index)
			missing++;
	}

	reserve_buckets(dst, dst->n + missing);
	memmove(dst->bucket + i + missing, dst->bucket + i,
			(dst->n - i) * sizeof(SketchBucket));
	from = i + missing;
	end = dst->n + missing;
	dst->n = end;
	while (j < n)
	{
		if (from == end || src[j].index < dst->bucket[from].index)
			dst->bucket[i++] = src[j++];
		else
		{
			dst->bucket[i] = dst->bucket[from++];
			if (dst->bucket[i].index == src[j].index)
				dst->bucket[i].count += src[j++].count;
			i++;
		}
	}

	/* Here i == from: the rest is where it belongs. */
}

SketchStatus
sketch_merge(Sketch *dst, const Sketch *src)
{
	if (dst->accuracy != src->accuracy)
		return SKETCH_ACCURACY_DIFFERS;
	if (src->count > SKETCH_MAX_COUNT - dst->count)
		return SKETCH_COUNT_OVERFLOW;
	if (src->count == 0)
		return SKETCH_OK;

	sketch_merge_store(&dst->pos, src->pos.bucket, src->pos.n);
	sketch_merge_store(&dst->neg, src->neg.bucket, src->neg.n);
	exactsum_merge(&dst->sum, &src->sum);
	sketch_merge_extremes(dst, src->min, src->max);
	dst->zero += src->zero;
	dst->count += src->count;
	return SKETCH_OK;
}

/*
 * May x be counted in bucket index?  One to either side is allowed, as the
 * last bit of log may differ between machines, and so may the bucket of a
 * value on the border of two.
 */
static bool
near_bucket(const Sketch *s, double x, int32_t index)
{
	int64_t		distance;

	if (!(x >= DBL_MIN && x <= DBL_MAX))
		return false;
	distance = (int64_t) bucket_index(s, x) - index;
	return distance >= -1 && distance <= 1;
}

SketchStatus
sketch_check_shape(const Sketch *s, const SketchShape *shape)
{
	int32_t		first = bucket_index(s, DBL_MIN) - 1;
	int32_t		last = bucket_index(s, DBL_MAX) + 1;
	bool		min_ok;
	bool		max_ok;

	if (shape->neg_n > 0 &&
		(shape->neg_low < first || shape->neg_high > last))
		return SKETCH_BAD_INDEX;
	if (shape->pos_n > 0 &&
		(shape->pos_low < first || shape->pos_high > last))
		return SKETCH_BAD_INDEX;

	if (shape->neg_n > 0)
		min_ok = near_bucket(s, -shape->min, shape->neg_high);
	else if (shape->zero > 0)
		min_ok = fabs(shape->min) < DBL_MIN;
	else
		min_ok = near_bucket(s, shape->min, shape->pos_low);

	if (shape->pos_n > 0)
		max_ok = near_bucket(s, shape->max, shape->pos_high);
	else if (shape->zero > 0)
		max_ok = fabs(shape->max) < DBL_MIN;
	else
		max_ok = near_bucket(s, -shape->max, shape->neg_low);

	if (!min_ok || !max_ok || shape->min > shape->max ||
		(shape->count == 1 && shape->min != shape->max))
		return SKETCH_BAD_EXTREMES;
	return SKETCH_OK;
}

/*
 * |sum| <= count * max(|min|, |max|), compared by the number of bits.  Beyond
 * plausibility this keeps the exact sum within its digits, whatever is
 * merged.
 */
bool
sketch_sum_fits(const ExactSumCanon *sum, const SketchShape *shape)
{
	double		magnitude = fmax(fabs(shape->min), fabs(shape->max));
	int			exponent;
	int			bits;

	if (sum->n == 0)
		return true;
	if (magnitude == 0)
		return false;

	/* magnitude < 2^exponent, count < 2^bits */
	(void) frexp(magnitude, &exponent);
	bits = 64 - __builtin_clzll(shape->count);
	return exactsum_canon_bits(sum) <= exponent - EXACTSUM_UNIT + bits;
}

bool
sketch_mean_fits(const Sketch *s)
{
	double		mean;

	if (sketch_mean(s, &mean) != SKETCH_OK)
		return true;
	return s->min <= mean && mean <= s->max;
}

const char *
sketch_status_text(SketchStatus status)
{
	switch (status)
	{
		case SKETCH_OK:
			return "no error";
		case SKETCH_EMPTY:
			return "the sketch is empty";
		case SKETCH_NOT_FINITE:
			return "the value is not a finite number";
		case SKETCH_BAD_QUANTILE:
			return "the quantile is not between 0 and 1";
		case SKETCH_BAD_ACCURACY:
			return "the accuracy is out of range";
		case SKETCH_ACCURACY_DIFFERS:
			return "the accuracies differ";
		case SKETCH_COUNT_OVERFLOW:
			return "the count is out of range";
		case SKETCH_SUM_OVERFLOW:
			return "the sum is out of range";
		case SKETCH_BAD_VERSION:
			return "the version is unknown";
		case SKETCH_BAD_SYNTAX:
			return "the syntax is wrong";
		case SKETCH_TRUNCATED:
			return "the value is cut short";
		case SKETCH_TRAILING:
			return "there is something after the end of the value";
		case SKETCH_BAD_NUMBER:
			return "a number is malformed or out of range";
		case SKETCH_BAD_COUNT:
			return "the counts do not add up or one is zero";
		case SKETCH_BAD_INDEX:
			return "the bucket indexes are out of order or out of range";
		case SKETCH_BAD_EXTREMES:
			return "the minimum or maximum does not fit the buckets";
		case SKETCH_BAD_SUM:
			return "the sum does not fit the count, minimum and maximum";
	}
	return "unknown error";
}

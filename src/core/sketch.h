/*
 * sketch.h
 *		Percentile sketch with a guaranteed relative accuracy (DDSketch).
 *
 * A sketch summarises a multiset of doubles in a few hundred bytes.  It
 * answers every quantile within a relative error fixed beforehand, and the
 * merge of the sketches of parts is the sketch of the whole, bit for bit,
 * however the parts were cut and in whatever order they are merged.
 * Source: C. Masson, J. E. Rim, H. K. Lee, "DDSketch: A Fast and
 * Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", PVLDB
 * 12(12), 2019.  Unlike there, no bucket is ever collapsed, so the guarantee
 * holds for every quantile; the number of buckets is bounded by the range of
 * doubles, not by a setting.
 *
 * Meaning.  With accuracy a, gamma = (1 + a) / (1 - a).  A positive value x
 * is counted in bucket i = ceil(log_gamma(x)), that is in
 * (gamma^(i-1), gamma^i], and any x in there is within a of the bucket's
 * estimate 2 * gamma^i / (gamma + 1).  Then:
 *
 * - The q-quantile is the order statistic of rank ceil(q * count), as in
 *	 percentile_disc.  The answer e for the true value x satisfies
 *	 |e - x| <= a * |x|.  The lowest and the highest rank are exact: they are
 *	 min and max.  Every answer lies in [min, max].
 * - Negative values are kept in a mirrored store with the same guarantee.
 * - Zero, and everything closer to zero than DBL_MIN (2.2e-308; the
 *	 subnormals), is counted as zero: there the error is absolute, below
 *	 2.3e-308.
 * - There is no largest value: an estimate that would overflow is clamped to
 *	 max like every other.
 * - NaN and the infinities are refused.
 * - count, min, max and the sum are exact, see exactsum.h.  -0 is 0.
 *
 * A sketch is embedded in whatever needs it and owns memory from
 * core/alloc.h once it holds values.  Functions that return a SketchStatus
 * leave the sketch as it was unless they return SKETCH_OK.
 */
#ifndef METER_CORE_SKETCH_H
#define METER_CORE_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/exactsum.h"

#define SKETCH_DEFAULT_ACCURACY 0.01
#define SKETCH_MIN_ACCURACY 0.0001
#define SKETCH_MAX_ACCURACY 0.25

/* A sketch's count fits a bigint. */
#define SKETCH_MAX_COUNT ((uint64_t) INT64_MAX)

typedef enum SketchStatus
{
	SKETCH_OK,

	/* refused by the functions that take values */
	SKETCH_EMPTY,				/* no value, so no answer */
	SKETCH_NOT_FINITE,			/* NaN or infinity */
	SKETCH_BAD_QUANTILE,		/* not between 0 and 1 */
	SKETCH_BAD_ACCURACY,		/* out of range */
	SKETCH_ACCURACY_DIFFERS,	/* cannot merge these two */
	SKETCH_COUNT_OVERFLOW,		/* more than SKETCH_MAX_COUNT values */
	SKETCH_SUM_OVERFLOW,		/* the sum exceeds the largest double */

	/* what can be wrong with a packed sketch or its text */
	SKETCH_BAD_VERSION,
	SKETCH_BAD_SYNTAX,
	SKETCH_TRUNCATED,
	SKETCH_TRAILING,
	SKETCH_BAD_NUMBER,
	SKETCH_BAD_COUNT,
	SKETCH_BAD_INDEX,
	SKETCH_BAD_EXTREMES,
	SKETCH_BAD_SUM
} SketchStatus;

typedef struct SketchBucket
{
	int32_t		index;
	uint64_t	count;
} SketchBucket;

/* Buckets in ascending order of index, none empty. */
typedef struct SketchStore
{
	SketchBucket *bucket;
	int32_t		n;
	int32_t		capacity;
	int32_t		shift;			/* index minus position where last added */
} SketchStore;

typedef struct Sketch
{
	double		accuracy;
	double		inv_ln_gamma;
	uint64_t	count;			/* zero and all buckets */
	uint64_t	zero;
	double		min;			/* min and max are 0 while count is 0 */
	double		max;
	SketchStore pos;
	SketchStore neg;			/* by the magnitude of the value */
	ExactSum	sum;
} Sketch;

/*
 * Make an empty sketch.  Nothing is allocated before the first value.
 * Returns SKETCH_BAD_ACCURACY, or SKETCH_OK.
 */
extern SketchStatus sketch_init(Sketch *s, double accuracy);

/* Give back what the sketch owns; it is an empty sketch afterwards. */
extern void sketch_free(Sketch *s);

/* Add a value a number of times; 0 times is none. */
extern SketchStatus sketch_add(Sketch *s, double value, uint64_t times);

/* Ask for the memory that sketch_add will need, without waiting for it. */
extern void sketch_prefetch(const Sketch *s, double value);

/* dst and src may be the same sketch. */
extern SketchStatus sketch_merge(Sketch *dst, const Sketch *src);

/*
 * What stands for all values of a bucket: 2 * gamma^i / (gamma + 1).  Infinity
 * beyond the range of doubles.
 */
extern double sketch_bucket_estimate(const Sketch *s, int32_t index);

extern SketchStatus sketch_quantile(const Sketch *s, double q,
									double *result);

static inline uint64_t
sketch_count(const Sketch *s)
{
	return s->count;
}

/*
 * The sum and the mean are correctly rounded.  The sum of no values is
 * SKETCH_EMPTY, too: as in SQL, it is not 0.
 */
extern SketchStatus sketch_sum(const Sketch *s, double *result);
extern SketchStatus sketch_mean(const Sketch *s, double *result);
extern SketchStatus sketch_min(const Sketch *s, double *result);
extern SketchStatus sketch_max(const Sketch *s, double *result);

/*
 * How many of the values are <= value, as far as the sketch can tell: the
 * number of ranks whose quantile is <= value.  For a value v > 0 it lies
 * between the true numbers of values <= v / (1 + a) and <= v / (1 - a).
 * Exact below min and from max on.  NaN is SKETCH_NOT_FINITE, infinity is
 * fine.
 */
extern SketchStatus sketch_count_below(const Sketch *s, double value,
									   uint64_t *result);

/*
 * The cumulative histogram of the values: count[i] is how many are <=
 * bound[i], for n bounds in ascending order, none of them NaN.  A bucket of the
 * sketch is counted where its estimate is, also the ones of min and max, which
 * sketch_count_below knows exactly: so the histogram of a merge is the sum of
 * the histograms, and no count becomes less when values are added.  For a bound
 * b > 0 the count lies between the true numbers of values <= b / (1 + a) and
 * <= b / (1 - a).
 */
extern void sketch_histogram(const Sketch *s, const double *bound, int n,
							 uint64_t *count);

/* A short description of a status, without a full stop. */
extern const char *sketch_status_text(SketchStatus status);

/*
 * Binary form (sketch_pack.c).  Equal content packs to equal bytes, on every
 * machine.  sketch_pack writes exactly sketch_pack_size bytes.
 */
extern size_t sketch_pack_size(const Sketch *s);
extern void sketch_pack(const Sketch *s, void *out);

/*
 * Make s from a packed sketch.  Bytes that no sketch packs to are refused; s
 * is then uninitialised.
 */
extern SketchStatus sketch_unpack(Sketch *s, const void *packed, size_t size);

/*
 * Add a packed sketch to dst without making a Sketch of it.  All that memory
 * safety and the guarantees need is checked; whether the sum is plausible
 * only as to its magnitude, which sketch_unpack checks in full.
 */
extern SketchStatus sketch_merge_packed(Sketch *dst, const void *packed,
										size_t size);

/*
 * Text form (sketch_text.c).  sketch_to_text allocates its result.  On
 * failure sketch_from_text leaves s uninitialised and sets *error_at to the
 * offset of the byte where it stopped.
 */
extern char *sketch_to_text(const Sketch *s);
extern SketchStatus sketch_from_text(Sketch *s, const char *text,
									 size_t *error_at);

/*
 * Below: for sketch_pack.c and sketch_text.c only.
 */

/* What is known of a sketch before it is made. */
typedef struct SketchShape
{
	uint64_t	count;
	uint64_t	zero;
	double		min;
	double		max;
	int32_t		neg_n;
	int32_t		neg_low;		/* index of the first and the last bucket */
	int32_t		neg_high;
	int32_t		pos_n;
	int32_t		pos_low;
	int32_t		pos_high;
} SketchShape;

/* Can a sketch of this accuracy look like this?  The count must be right. */
extern SketchStatus sketch_check_shape(const Sketch *s,
									   const SketchShape *shape);

/* Is the sum of possible magnitude? */
extern bool sketch_sum_fits(const ExactSumCanon *sum,
							const SketchShape *shape);

/* Is the mean between min and max? */
extern bool sketch_mean_fits(const Sketch *s);

/* Merge n buckets in ascending order. */
extern void sketch_merge_store(SketchStore *dst, const SketchBucket *src,
							   int32_t n);

/* Add a bucket above all others. */
extern void sketch_append_bucket(SketchStore *store, int32_t index,
								 uint64_t count);

/* Count in the extremes of something that is not empty. */
extern void sketch_merge_extremes(Sketch *dst, double min, double max);

#endif							/* METER_CORE_SKETCH_H */

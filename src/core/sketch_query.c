/*
 * sketch_query.c
 *		Percentile sketch: what is asked of it.
 *
 * See sketch.h for the meaning of the answers.
 */
#include <math.h>

#include "core/sketch.h"

static double
clamp(const Sketch *s, double estimate)
{
	if (estimate < s->min)
		return s->min;
	if (estimate > s->max)
		return s->max;
	return estimate;
}

SketchStatus
sketch_quantile(const Sketch *s, double q, double *result)
{
	double		position;
	uint64_t	rank;
	uint64_t	seen = 0;

	/* Written so that NaN fails. */
	if (!(q >= 0.0 && q <= 1.0))
		return SKETCH_BAD_QUANTILE;
	if (s->count == 0)
		return SKETCH_EMPTY;

	/*
	 * percentile_disc computes the rank like this, in doubles, and takes the
	 * first row for rank 0.  The comparison comes before the conversion, as
	 * the product may be rounded up beyond the count.
	 */
	position = ceil(q * (double) s->count);
	if (position <= 1.0)
	{
		*result = s->min;
		return SKETCH_OK;
	}
	if (position >= (double) s->count)
	{
		*result = s->max;
		return SKETCH_OK;
	}
	rank = (uint64_t) position;

	for (int32_t i = s->neg.n - 1; i >= 0; i--)
	{
		seen += s->neg.bucket[i].count;
		if (seen >= rank)
		{
			*result = clamp(s, -sketch_bucket_estimate(s, s->neg.bucket[i].index));
			return SKETCH_OK;
		}
	}
	seen += s->zero;
	if (seen >= rank)
	{
		*result = clamp(s, 0.0);
		return SKETCH_OK;
	}
	for (int32_t i = 0; i < s->pos.n; i++)
	{
		seen += s->pos.bucket[i].count;
		if (seen >= rank)
		{
			*result = clamp(s, sketch_bucket_estimate(s, s->pos.bucket[i].index));
			return SKETCH_OK;
		}
	}

	/* Not reached, as the buckets add up to the count. */
	*result = s->max;
	return SKETCH_OK;
}

SketchStatus
sketch_sum(const Sketch *s, double *result)
{
	if (s->count == 0)
		return SKETCH_EMPTY;
	*result = exactsum_value(&s->sum);
	return isinf(*result) ? SKETCH_SUM_OVERFLOW : SKETCH_OK;
}

SketchStatus
sketch_mean(const Sketch *s, double *result)
{
	if (s->count == 0)
		return SKETCH_EMPTY;
	*result = exactsum_mean(&s->sum, s->count);
	return SKETCH_OK;
}

SketchStatus
sketch_min(const Sketch *s, double *result)
{
	if (s->count == 0)
		return SKETCH_EMPTY;
	*result = s->min;
	return SKETCH_OK;
}

SketchStatus
sketch_max(const Sketch *s, double *result)
{
	if (s->count == 0)
		return SKETCH_EMPTY;
	*result = s->max;
	return SKETCH_OK;
}

/* The number of leading buckets whose estimate is <= limit. */
static int32_t
buckets_up_to(const Sketch *s, const SketchStore *store, double limit)
{
	int32_t		low = 0;
	int32_t		high = store->n;

	while (low < high)
	{
		int32_t		middle = low + (high - low) / 2;

		if (sketch_bucket_estimate(s, store->bucket[middle].index) <= limit)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

SketchStatus
sketch_count_below(const Sketch *s, double value, uint64_t *result)
{
	uint64_t	count = 0;

	if (isnan(value))
		return SKETCH_NOT_FINITE;

	/* Inside [min, max) clamping does not move a bucket to the other side. */
	if (s->count == 0 || value < s->min)
		*result = 0;
	else if (value >= s->max)
		*result = s->count;
	else
	{
		int32_t		n;

		/* -e <= value is e >= -value: the upper end of the mirrored store. */
		n = buckets_up_to(s, &s->neg, nextafter(-value, -INFINITY));
		for (int32_t i = n; i < s->neg.n; i++)
			count += s->neg.bucket[i].count;
		if (value >= 0)
		{
			count += s->zero;
			n = buckets_up_to(s, &s->pos, value);
			for (int32_t i = 0; i < n; i++)
				count += s->pos.bucket[i].count;
		}

		/* The lowest and the highest rank are known exactly. */
		if (count == 0)
			count = 1;
		if (count == s->count)
			count--;
		*result = count;
	}
	return SKETCH_OK;
}

void
sketch_histogram(const Sketch *s, const double *bound, int n, uint64_t *count)
{
	uint64_t	seen = 0;
	int32_t		neg = s->neg.n;
	int32_t		pos = 0;
	bool		zero = false;

	for (int i = 0; i < n; i++)
	{
		while (neg > 0 &&
			   -sketch_bucket_estimate(s, s->neg.bucket[neg - 1].index) <= bound[i])
			seen += s->neg.bucket[--neg].count;
		if (!zero && bound[i] >= 0)
		{
			seen += s->zero;
			zero = true;
		}
		while (pos < s->pos.n &&
			   sketch_bucket_estimate(s, s->pos.bucket[pos].index) <= bound[i])
			seen += s->pos.bucket[pos++].count;
		count[i] = seen;
	}
}

/*
 * sketch_query.c
 *		SQL functions that ask a meter_sketch: percentiles, counts, sums.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "sketch.h"

static void
error_percentile(double q)
{
	/* the wording of percentile_disc */
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("percentile value %g is not between 0 and 1", q)));
}

/* False if the sketch is empty. */
static bool
get_percentile(const Sketch *s, double q, double *result)
{
	SketchStatus status = sketch_quantile(s, q, result);

	if (status == SKETCH_EMPTY)
		return false;
	if (status == SKETCH_BAD_QUANTILE)
		error_percentile(q);
	sketch_check(status);
	return true;
}

PG_FUNCTION_INFO_V1(meter_percentile);
Datum
meter_percentile(PG_FUNCTION_ARGS)
{
	Sketch		s;
	double		result;

	sketch_from_datum(&s, PG_GETARG_DATUM(0));
	if (!get_percentile(&s, PG_GETARG_FLOAT8(1), &result))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(result);
}

/* An array of the same shape; NULL for NULL. */
PG_FUNCTION_INFO_V1(meter_percentile_array);
Datum
meter_percentile_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);
	Sketch		s;
	Datum	   *datums;
	bool	   *nulls;
	int			n;
	int16		length;
	bool		by_value;
	char		align;

	sketch_from_datum(&s, PG_GETARG_DATUM(0));
	get_typlenbyvalalign(FLOAT8OID, &length, &by_value, &align);
	deconstruct_array(array, FLOAT8OID, length, by_value, align,
					  &datums, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		double		result = 0;

		if (nulls[i])
			continue;
		nulls[i] = !get_percentile(&s, DatumGetFloat8(datums[i]), &result);
		datums[i] = Float8GetDatum(result);
	}
	PG_RETURN_ARRAYTYPE_P(construct_md_array(datums, nulls,
											 ARR_NDIM(array), ARR_DIMS(array),
											 ARR_LBOUND(array), FLOAT8OID,
											 length, by_value, align));
}

PG_FUNCTION_INFO_V1(meter_sketch_count);
Datum
meter_sketch_count(PG_FUNCTION_ARGS)
{
	Sketch		s;

	sketch_from_datum(&s, PG_GETARG_DATUM(0));
	PG_RETURN_INT64((int64) sketch_count(&s));
}

PG_FUNCTION_INFO_V1(meter_sketch_accuracy);
Datum
meter_sketch_accuracy(PG_FUNCTION_ARGS)
{
	Sketch		s;

	sketch_from_datum(&s, PG_GETARG_DATUM(0));
	PG_RETURN_FLOAT8(s.accuracy);
}

/* sum, avg, min and max: NULL if there are no values, as in SQL */
static Datum
answer(FunctionCallInfo fcinfo,
	   SketchStatus (*ask) (const Sketch *s, double *result))
{
	Sketch		s;
	double		result;
	SketchStatus status;

	sketch_from_datum(&s, PG_GETARG_DATUM(0));
	status = ask(&s, &result);
	if (status == SKETCH_EMPTY)
		PG_RETURN_NULL();
	sketch_check(status);
	PG_RETURN_FLOAT8(result);
}

PG_FUNCTION_INFO_V1(meter_sketch_sum);
Datum
meter_sketch_sum(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, sketch_sum);
}

PG_FUNCTION_INFO_V1(meter_sketch_avg);
Datum
meter_sketch_avg(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, sketch_mean);
}

PG_FUNCTION_INFO_V1(meter_sketch_min);
Datum
meter_sketch_min(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, sketch_min);
}

PG_FUNCTION_INFO_V1(meter_sketch_max);
Datum
meter_sketch_max(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, sketch_max);
}

PG_FUNCTION_INFO_V1(meter_sketch_count_below);
Datum
meter_sketch_count_below(PG_FUNCTION_ARGS)
{
	double		value = PG_GETARG_FLOAT8(1);
	Sketch		s;
	uint64_t	result;

	if (isnan(value))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("cannot count the values below NaN")));
	sketch_from_datum(&s, PG_GETARG_DATUM(0));
	sketch_check(sketch_count_below(&s, value, &result));
	PG_RETURN_INT64((int64) result);
}

/*
 * For meter.openmetrics_endpoint and its like, whose bounds are constants.
 */
PG_FUNCTION_INFO_V1(meter_sketch_histogram);
Datum
meter_sketch_histogram(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);
	Datum	   *bounds;
	bool	   *nulls;
	int			n;
	double	   *bound;
	uint64_t   *count;
	Sketch		s;

	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &bounds, &nulls, &n);
	bound = palloc(n * sizeof(double));
	count = palloc(n * sizeof(uint64_t));
	for (int i = 0; i < n; i++)
	{
		bound[i] = nulls[i] ? NAN : DatumGetFloat8(bounds[i]);
		if (isnan(bound[i]) || (i > 0 && bound[i] <= bound[i - 1]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("bounds of a histogram must be numbers in ascending order")));
	}
	sketch_from_datum(&s, PG_GETARG_DATUM(0));
	sketch_histogram(&s, bound, n, count);
	for (int i = 0; i < n; i++)
		bounds[i] = Int64GetDatum((int64) count[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(bounds, n, INT8OID, sizeof(int64),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

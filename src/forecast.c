/*
 * forecast.c
 *		meter.forecast(): what comes next in a series.
 *
 * The methods and what the numbers mean are in core/forecast.h; here are the
 * datums and the errors.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "compat.h"
#include "core/forecast.h"

/* The order of the attributes of meter.forecast_answer. */
enum
{
	ANSWER_LOW,
	ANSWER_EXPECTED,
	ANSWER_HIGH,
	ANSWER_METHOD,
	ANSWER_CONFIDENCE,
	ANSWER_COVERAGE,
	ANSWER_MASE,
	ANSWER_STEPS,
	ANSWER_STEPS_LOW,
	ANSWER_STEPS_HIGH,
	ANSWER_ATTRIBUTES
};

static void
check_range(const char *name, int32 value, int32 low, int32 high)
{
	if (value < low || value > high)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a forecast is out of range: %d", name, value),
				 errdetail("It is between %d and %d.", low, high)));
}

/* NaN is in no range. */
static void
check_part(const char *name, float8 value, bool valid, const char *detail)
{
	if (!valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a forecast is out of range: %g", name, value),
				 errdetail("%s", detail)));
}

static const float8 *
read_history(ArrayType *array, int *n)
{
	const float8 *value;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("history of a forecast must have one dimension")));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("history of a forecast must not contain null"),
				 errhint("A step without usage is 0.")));
	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (*n > FORECAST_MAX_HISTORY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("history of a forecast is too long: %d steps", *n),
				 errdetail("It has at most %d.", FORECAST_MAX_HISTORY)));
	value = (const float8 *) ARR_DATA_PTR(array);
	for (int i = 0; i < *n; i++)
		if (!isfinite(value[i]))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("history of a forecast must be finite"),
					 errdetail("Step %d is %g.", i + 1, value[i])));
	return value;
}

/* One of the three numbers of each step. */
static Datum
steps_of(const ForecastRange *steps, int n, size_t offset)
{
	Datum	   *values = palloc(sizeof(Datum) * n);

	for (int i = 0; i < n; i++)
		values[i] = Float8GetDatum(*(const double *) ((const char *) &steps[i] + offset));
	return PointerGetDatum(construct_array(values, n, FLOAT8OID, sizeof(float8),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * meter.forecast(history double precision[], season, horizon, recent integer,
 *		method text, coverage, running, elapsed, last double precision)
 */
PG_FUNCTION_INFO_V1(meter_forecast);
Datum
meter_forecast(PG_FUNCTION_ARGS)
{
	char	   *method;
	ForecastQuestion question = {0};
	Forecast	answer;
	ForecastRange *steps;
	TupleDesc	desc;
	Datum		values[ANSWER_ATTRIBUTES];
	bool		nulls[ANSWER_ATTRIBUTES] = {false};

	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i) && i != 5)
			PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != ANSWER_ATTRIBUTES)
		elog(ERROR, "unexpected type of a forecast");

	question.history = read_history(PG_GETARG_ARRAYTYPE_P(0), &question.n);
	question.season = PG_GETARG_INT32(1);
	question.horizon = PG_GETARG_INT32(2);
	method = text_to_cstring(PG_GETARG_TEXT_PP(3));
	question.coverage = PG_GETARG_FLOAT8(4);
	question.recent = PG_ARGISNULL(5) ? -1 : PG_GETARG_INT32(5);
	question.running = PG_GETARG_FLOAT8(6);
	question.elapsed = PG_GETARG_FLOAT8(7);
	question.last = PG_GETARG_FLOAT8(8);

	check_range("season", question.season, 1, FORECAST_MAX_SEASON);
	check_range("horizon", question.horizon, 1, FORECAST_MAX_HORIZON);
	if (!PG_ARGISNULL(5))
		check_range("recent", question.recent, 0, FORECAST_MAX_HISTORY);
	if (!forecast_method_of_name(method, &question.method))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown method of forecasts \"%s\"", method),
				 errhint("It is one of auto, run_rate, seasonal, average, linear and holt_winters.")));
	check_part("coverage", question.coverage, question.coverage > 0 && question.coverage < 1,
			   "It is above 0 and below 1, such as 0.8.");
	check_part("running", question.running, isfinite(question.running),
			   "It is finite.");
	check_part("elapsed", question.elapsed, question.elapsed >= 0 && question.elapsed < 1,
			   "It is a part of a step: 0 or more, and below 1.");
	check_part("last", question.last, question.last > 0 && question.last <= 1,
			   "It is a part of a step: above 0, and 1 at most.");

	steps = palloc(sizeof(ForecastRange) * question.horizon);
	forecast_answer(&question, &answer, steps);

	values[ANSWER_LOW] = Float8GetDatum(answer.sum.low);
	values[ANSWER_EXPECTED] = Float8GetDatum(answer.sum.expected);
	values[ANSWER_HIGH] = Float8GetDatum(answer.sum.high);
	values[ANSWER_METHOD] = CStringGetTextDatum(forecast_method_name(answer.method));
	values[ANSWER_CONFIDENCE] = CStringGetTextDatum(answer.confident ? "normal" : "low");
	values[ANSWER_COVERAGE] = Float8GetDatum(question.coverage);
	values[ANSWER_MASE] = Float8GetDatum(answer.mase);
	nulls[ANSWER_MASE] = answer.mase < 0;
	values[ANSWER_STEPS] = steps_of(steps, question.horizon, offsetof(ForecastRange, expected));
	values[ANSWER_STEPS_LOW] = steps_of(steps, question.horizon, offsetof(ForecastRange, low));
	values[ANSWER_STEPS_HIGH] = steps_of(steps, question.horizon, offsetof(ForecastRange, high));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

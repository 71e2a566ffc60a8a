/*
 * amount.c
 *		Amounts of limits as numerics, and numerics as amounts.
 */
#include "postgres.h"

#include "compat.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "amount.h"
#include "core/bytes.h"
#include "core/hot.h"

#define DECIMALS 9				/* of BUCKET_UNIT */

static Numeric
call2(PGFunction function, Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(function, NumericGetDatum(a),
											   NumericGetDatum(b)));
}

static bool
less(Numeric a, Numeric b)
{
	return DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(a),
											NumericGetDatum(b)));
}

/*
 * A numeric that may have the short header of a value in a row.
 */
static AmountProblem
convert(Numeric value, BucketAmount *amount)
{
	Numeric		zero = int64_to_numeric(0);
	Numeric		unit = int64_to_numeric(BUCKET_UNIT);
	Numeric		whole;
	Numeric		rest;

	if (numeric_is_nan(value) || numeric_is_inf(value))
		return AMOUNT_NO_NUMBER;
	if (less(value, zero))
		return AMOUNT_NEGATIVE;
	if (less(int64_to_numeric(BUCKET_MAX_UNITS), value))
		return AMOUNT_TOO_LARGE;
	whole = DatumGetNumeric(DirectFunctionCall2(numeric_trunc,
												NumericGetDatum(value),
												Int32GetDatum(0)));
	rest = call2(numeric_mul, call2(numeric_sub, value, whole), unit);
	*amount = (BucketAmount)
		DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(whole))) * BUCKET_UNIT +
		DatumGetInt64(DirectFunctionCall1(numeric_int8,
										  DirectFunctionCall1(numeric_ceil, NumericGetDatum(rest))));
	return *amount > BUCKET_MAX_AMOUNT ? AMOUNT_TOO_LARGE : AMOUNT_OK;
}

HOT_PATH AmountProblem
amount_from_numeric(Numeric value, BucketAmount *amount)
{
	/* most calls cost the same as the one before */
	static HOT_DATA char last[32];
	static HOT_DATA Size last_size = 0;
	static HOT_DATA BucketAmount last_amount;
	Size		size = VARSIZE_ANY(value);
	AmountProblem problem;

	if (size == last_size && bytes_equal(last, (const char *) value, size))
	{
		*amount = last_amount;
		return AMOUNT_OK;
	}
	problem = convert(value, amount);
	if (problem == AMOUNT_OK && size <= sizeof(last))
	{
		memcpy(last, value, size);
		last_size = size;
		last_amount = *amount;
	}
	return problem;
}

HOT_PATH Numeric
amount_to_numeric(BucketAmount amount)
{
	int64		whole = (int64) (amount / BUCKET_UNIT);
	int64		rest = (int64) (amount % BUCKET_UNIT);

	if (rest == 0)
		return int64_to_numeric(whole);
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
											   NumericGetDatum(call2(numeric_add, int64_to_numeric(whole),
																	 int64_div_fast_to_numeric(rest, DECIMALS)))));
}

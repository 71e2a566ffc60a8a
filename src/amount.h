/*
 * amount.h
 *		Amounts of limits as numerics, and numerics as amounts.
 */
#ifndef METER_AMOUNT_H
#define METER_AMOUNT_H

#include "core/bucket.h"
#include "utils/numeric.h"

typedef enum AmountProblem
{
	AMOUNT_OK,
	AMOUNT_NO_NUMBER,			/* NaN or infinite */
	AMOUNT_NEGATIVE,
	AMOUNT_TOO_LARGE
} AmountProblem;

/* What is beyond the ninth decimal is rounded up. */
extern AmountProblem amount_from_numeric(Numeric value, BucketAmount *amount);

/* Without zeros at the end. */
extern Numeric amount_to_numeric(BucketAmount amount);

#endif							/* METER_AMOUNT_H */

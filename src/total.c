/*
 * total.c
 *		Exact running totals of numerics.
 *
 * All memory is taken from the current memory context, which must be the same
 * in all calls for a total.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "total.h"

/*
 * Keep a copy of value in *kept, with a four-byte header.
 */
void
total_replace(Numeric *kept, const PackedNumeric *value)
{
	Size		size = VARSIZE_ANY_EXHDR(value) + VARHDRSZ;

	if (*kept != NULL && numeric_same(*kept, value))
		return;
	if (*kept == NULL || VARSIZE(*kept) != size)
	{
		if (*kept != NULL)
			pfree(*kept);
		*kept = palloc(size);
		SET_VARSIZE(*kept, size);
	}
	memcpy(VARDATA(*kept), VARDATA_ANY(value), size - VARHDRSZ);
}

static Numeric
add(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add,
											   NumericGetDatum(a),
											   NumericGetDatum(b)));
}

/*
 * Bring the repeated value into the sum.
 */
static void
total_settle(Total *total)
{
	Numeric		part;
	Numeric		old = total->sum;

	if (total->times == 0)
		return;
	if (total->times == 1)
		part = total->repeated;
	else
	{
		Numeric		times = int64_to_numeric(total->times);

		part = DatumGetNumeric(DirectFunctionCall2(numeric_mul,
												   NumericGetDatum(total->repeated),
												   NumericGetDatum(times)));
		pfree(times);
	}
	if (old == NULL)
		total_replace(&total->sum, (PackedNumeric *) part);
	else
	{
		total->sum = add(old, part);
		pfree(old);
	}
	if (part != total->repeated)
		pfree(part);
	total->times = 0;
}

/*
 * Add a value.  Returns whether it differs from the one added before, so that
 * the caller need not look for a new extreme when it does not.
 */
bool
total_add(Total *total, const PackedNumeric *value)
{
	if (total->repeated != NULL && numeric_same(total->repeated, value))
	{
		total->times++;
		return false;
	}
	total_settle(total);
	total_replace(&total->repeated, value);
	total->times = 1;
	return true;
}

/*
 * The total, or NULL when nothing was added.
 */
Numeric
total_get(Total *total)
{
	total_settle(total);
	return total->sum;
}

void
total_merge(Total *total, Total *other)
{
	Numeric		sum = total_get(other);

	if (sum != NULL)
		(void) total_add(total, (PackedNumeric *) sum);
}

/*
 * total.h
 *		Exact running totals of numerics.
 */
#ifndef METER_TOTAL_H
#define METER_TOTAL_H

#include "compat.h"
#include "utils/numeric.h"

/*
 * The sum is what is in sum plus times occurrences of repeated: most events
 * have the quantity the one before had (1), and counting those costs no
 * numeric arithmetic.
 */
typedef struct Total
{
	Numeric		sum;			/* NULL: nothing yet */
	Numeric		repeated;		/* NULL: nothing yet */
	int64		times;
} Total;

/*
 * A numeric as it lies in a row, perhaps with a one-byte header: compared as
 * it is, and unpacked only where it is new.
 */
typedef struct varlena PackedNumeric;

extern bool total_add(Total *total, const PackedNumeric *value);
extern void total_merge(Total *total, Total *other);
extern Numeric total_get(Total *total);
extern void total_replace(Numeric *kept, const PackedNumeric *value);

static inline bool
numeric_same(Numeric a, const PackedNumeric *b)
{
	return VARSIZE(a) - VARHDRSZ == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(b)) == 0;
}

#endif							/* METER_TOTAL_H */

/*
 * plain.h
 *		Values of variable length that are not toasted, or no longer so.
 *
 * The server's macros for any value have an answer for each way of being
 * toasted too, at each place where they are used.
 */
#ifndef METER_PLAIN_H
#define METER_PLAIN_H

#include "compat.h"

/*
 * A value with a header of either kind, detoasted if need be, as by
 * PG_DETOAST_DATUM_PACKED; and one with the long header, as by PG_DETOAST_DATUM.
 */
static inline struct varlena *
plain_packed(Datum value)
{
	struct varlena *pointer = (struct varlena *) DatumGetPointer(value);

	if (likely(VARATT_IS_4B_U(pointer) ||
			   (VARATT_IS_1B(pointer) && !VARATT_IS_1B_E(pointer))))
		return pointer;
	return pg_detoast_datum_packed(pointer);
}

static inline struct varlena *
plain_aligned(Datum value)
{
	struct varlena *pointer = (struct varlena *) DatumGetPointer(value);

	return likely(VARATT_IS_4B_U(pointer)) ? pointer : pg_detoast_datum(pointer);
}

/* Without the header, whether that is a short one or not. */
static inline Size
plain_length(const void *value)
{
	Assert(!VARATT_IS_EXTERNAL(value) && !VARATT_IS_COMPRESSED(value));
	if (likely(VARATT_IS_4B_U(value)))
		return VARSIZE(value) - VARHDRSZ;
	return VARSIZE_SHORT(value) - VARHDRSZ_SHORT;
}

static inline const char *
plain_data(const void *value)
{
	return (const char *) value +
		(likely(VARATT_IS_4B_U(value)) ? VARHDRSZ : VARHDRSZ_SHORT);
}

#endif							/* METER_PLAIN_H */

/*
 * endpoint.c
 *		meter_normalize_endpoint(): the SQL face of core/endpoint.c.
 *
 * Events are normalised in event.c when they are recorded; this function is
 * for those who want to know what an endpoint will be counted as, or to group
 * rows of their own in the same way.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "compat.h"
#include "core/endpoint.h"

PG_FUNCTION_INFO_V1(meter_normalize_endpoint);

Datum
meter_normalize_endpoint(PG_FUNCTION_ARGS)
{
	text	   *endpoint = PG_GETARG_TEXT_PP(0);
	char		normalized[ENDPOINT_MAX_LENGTH];
	size_t		length = endpoint_normalize(VARDATA_ANY(endpoint),
											VARSIZE_ANY_EXHDR(endpoint),
											normalized);

	PG_RETURN_TEXT_P(cstring_to_text_with_len(normalized, length));
}

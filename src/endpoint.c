/*
 * endpoint.c
 *		Endpoints of events, and meter_normalize_endpoint(), the SQL face of
 *		core/endpoint.c.
 *
 * Endpoints are normalised when events are recorded; the function is for
 * those who want to know what an endpoint will be counted as, or to group
 * rows of their own in the same way.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "compat.h"
#include "core/endpoint.h"
#include "core/hot.h"
#include "core/memo.h"
#include "endpoint.h"
#include "event.h"
#include "plain.h"
#include "secret.h"
#include "setting.h"

/*
 * What became of endpoints, as a service has few distinct ones.  It depends on
 * whether they are normalised, and on nothing else that can change.
 */
static Memo memo;

HOT_PATH static pg_noinline text *
form(text *endpoint)
{
	text	   *masked;
	text	   *result;

	/* a mask can be longer than what it hides, but not in what is kept */
	masked = secret_mask_text(secret_clip_text(endpoint, EVENT_MAX_MASKED));
	if (setting_normalize_endpoints)
	{
		char		out[ENDPOINT_MAX_LENGTH];
		Size		length = endpoint_normalize(plain_data(masked),
												plain_length(masked), out);

		result = cstring_to_text_with_len(out, length);
	}
	else
		result = secret_clip_text(masked, ENDPOINT_MAX_LENGTH);

	/* none that hold credentials */
	if (masked == endpoint)
		memo_keep(&memo, plain_data(endpoint), plain_length(endpoint),
				  setting_normalize_endpoints,
				  plain_data(result), plain_length(result));
	return plain_length(result) > 0 ? result : NULL;
}

HOT_PATH text *
endpoint_stored(text *endpoint)
{
	const char *known;
	size_t		length;

	known = memo_find(&memo, plain_data(endpoint), plain_length(endpoint),
					  setting_normalize_endpoints, &length);
	if (known == NULL)
		return form(endpoint);
	if (known == plain_data(endpoint))
		return endpoint;
	return length > 0 ? cstring_to_text_with_len(known, length) : NULL;
}

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

/*
 * dimension.c
 *		The declared dimensions of an event.
 *
 * A metric declares by which keys of the metadata its usage is grouped.  The
 * result is the same bytes for equal values, so that groups can be compared
 * as bytes: keys come in the order of jsonb, and numbers lose trailing zeros.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "compat.h"
#include "dimension.h"

/*
 * The dimensions of the event, or NULL when it has none.  Only scalars are
 * dimensions: null, objects and arrays count as absent, and so do numbers of
 * hundreds of digits.
 */
Jsonb *
dimension_extract(const Metric *metric, Jsonb *metadata)
{
	JsonbInState state = {0};
	bool		any = false;

	if (metric == NULL || metric->ndimensions == 0 || metadata == NULL)
		return NULL;
	for (int i = 0; i < metric->ndimensions; i++)
	{
		char	   *name = metric->dimensions[i];
		JsonbValue	key;
		JsonbValue *value = getKeyJsonValueFromContainer(&metadata->root, name,
														 strlen(name), NULL);

		if (value == NULL)
			continue;
		switch (value->type)
		{
			case jbvString:
				value->val.string.len =
					pg_mbcliplen(value->val.string.val, value->val.string.len,
								 DIMENSION_MAX_LENGTH);
				break;
			case jbvNumeric:
				value->val.numeric =
					DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
														NumericGetDatum(value->val.numeric)));

				/* a key of the index must have room for it */
				if (VARSIZE_ANY(value->val.numeric) > DIMENSION_MAX_LENGTH)
					continue;
				break;
			case jbvBool:
				break;
			default:
				continue;
		}
		if (!any)
			compat_push_jsonb(&state, WJB_BEGIN_OBJECT, NULL);
		any = true;
		key.type = jbvString;
		key.val.string.val = name;
		key.val.string.len = strlen(name);
		compat_push_jsonb(&state, WJB_KEY, &key);
		compat_push_jsonb(&state, WJB_VALUE, value);
	}
	if (!any)
		return NULL;
	compat_push_jsonb(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

PG_FUNCTION_INFO_V1(meter_event_dims);

Datum
meter_event_dims(PG_FUNCTION_ARGS)
{
	Jsonb	   *dims = NULL;

	if (!PG_ARGISNULL(0) && !PG_ARGISNULL(1))
	{
		text	   *name = PG_GETARG_TEXT_PP(0);
		Jsonb	   *metadata = PG_GETARG_JSONB_P(1);

		/* no longer name is in the registry */
		if (VARSIZE_ANY_EXHDR(name) <= METRIC_MAX_LENGTH)
			dims = dimension_extract(metric_lookup(text_to_cstring(name)),
									 metadata);
	}
	if (dims == NULL)
		return DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	PG_RETURN_JSONB_P(dims);
}

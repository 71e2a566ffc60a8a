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

/* What becomes of a value in an event's metadata. */
typedef enum DimensionFate
{
	DIMENSION_KEPT,
	DIMENSION_CUT,				/* a string, to DIMENSION_MAX_LENGTH */
	DIMENSION_ABSENT,			/* no scalar, or null */
	DIMENSION_TOO_LONG			/* a number of hundreds of digits */
} DimensionFate;

/*
 * Make of a value in the metadata that of a dimension.  Only scalars are
 * dimensions: null, objects and arrays count as absent, and so do numbers of
 * hundreds of digits.
 */
static DimensionFate
dimension_value(JsonbValue *value)
{
	int			length;

	switch (value->type)
	{
		case jbvString:
			length = pg_mbcliplen(value->val.string.val, value->val.string.len,
								  DIMENSION_MAX_LENGTH);
			if (length == value->val.string.len)
				return DIMENSION_KEPT;
			value->val.string.len = length;
			return DIMENSION_CUT;
		case jbvNumeric:
			value->val.numeric =
				DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
													NumericGetDatum(value->val.numeric)));

			/* a key of the index must have room for it */
			return VARSIZE_ANY(value->val.numeric) > DIMENSION_MAX_LENGTH ?
				DIMENSION_TOO_LONG : DIMENSION_KEPT;
		case jbvBool:
			return DIMENSION_KEPT;
		default:
			return DIMENSION_ABSENT;
	}
}

/*
 * The dimensions of the event, or NULL when it has none.
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
		DimensionFate fate;

		if (value == NULL)
			continue;
		fate = dimension_value(value);
		if (fate != DIMENSION_KEPT && fate != DIMENSION_CUT)
			continue;
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

/*
 * Complain of a value that is in the dimensions of no event.
 */
static void
dimension_check(const char *name, JsonbValue *value)
{
	switch (dimension_value(value))
	{
		case DIMENSION_KEPT:
			break;
		case DIMENSION_CUT:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value of dimension \"%s\" is longer than %d bytes",
							name, DIMENSION_MAX_LENGTH),
					 errdetail("Of such a value usage has its first %d bytes.",
							   (int) value->val.string.len),
					 errhint("Give these alone.")));
			break;
		case DIMENSION_ABSENT:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value of dimension \"%s\" must be a string, a number or a boolean",
							name),
					 errdetail("It is of type %s, which no usage has.",
							   JsonbTypeName(value)),
					 errhint("A row is for one value of a dimension: write one for each value, or, for whatever value, leave the dimension out.")));
			break;
		case DIMENSION_TOO_LONG:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value of dimension \"%s\" has too many digits",
							name),
					 errdetail("Usage has no number that long.")));
			break;
	}
}

PG_FUNCTION_INFO_V1(meter_dims_check);

/*
 * For constraints: true if there can be usage with these dimensions.  That
 * they are an object is for another constraint.
 */
Datum
meter_dims_check(PG_FUNCTION_ARGS)
{
	Jsonb	   *dims = PG_GETARG_JSONB_P(0);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	if (!JB_ROOT_IS_OBJECT(dims))
		PG_RETURN_BOOL(true);
	iterator = JsonbIteratorInit(&dims->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			dimension_check(name, &value);
	}
	PG_RETURN_BOOL(true);
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

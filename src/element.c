/*
 * element.c
 *		An element of meter_track_batch(): from JSON to an event.
 *
 * Elements are the fields of meter_track() or CloudEvents 1.0
 * (https://github.com/cloudevents/spec): subject is the tenant, type the
 * metric, time the event's time, source and id together the idempotency key,
 * and data holds the fields; what else data holds, and extension attributes,
 * becomes metadata.
 *
 * Nothing about an element may throw: the others have to be stored.  So values
 * are converted with checks of our own before any input function that could
 * raise an error sees them.
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "context.h"
#include "element.h"
#include "metric.h"

/* What a key of an element or of a CloudEvent's data means. */
typedef struct Field
{
	const char *name;
	size_t		offset;			/* in Event, of texts and numerics */
	bool		(*read) (Event *event, size_t offset, const char *name,
						 const JsonbValue *value, EventError *error);
} Field;

static char *
type_name_of(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return "a string";
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return "a boolean";
		case jbvBinary:
			return JsonContainerIsArray(value->val.binary.data) ?
				"an array" : "an object";
		default:
			return "something else";
	}
}

static bool
refuse_type(const char *name, const char *expected, const JsonbValue *value,
			EventError *error)
{
	return event_refuse(error, ERRCODE_INVALID_PARAMETER_VALUE,
						psprintf("%s must be %s", name, expected),
						psprintf("It is %s.", type_name_of(value)), NULL);
}

static bool
read_text(Event *event, size_t offset, const char *name,
		  const JsonbValue *value, EventError *error)
{
	text	  **field = (text **) ((char *) event + offset);

	if (value->type == jbvString)
		*field = cstring_to_text_with_len(value->val.string.val,
										  value->val.string.len);
	else if (value->type == jbvNumeric)
		*field = cstring_to_text(numeric_normalize(value->val.numeric));
	else
		return refuse_type(name, "a string", value, error);
	return true;
}

/*
 * Numbers may come as strings, since JSON libraries often write decimals so.
 * Only plain decimal notation is taken: [+-]digits[.digits][e[+-]dd].
 */
static bool
parse_decimal(const char *s, int length, Numeric *result)
{
	char		buffer[128];
	int			i = 0;
	int			digits = 0;

	if (length == 0 || length >= sizeof(buffer))
		return false;
	memcpy(buffer, s, length);
	buffer[length] = '\0';
	if (buffer[i] == '+' || buffer[i] == '-')
		i++;
	for (; buffer[i] >= '0' && buffer[i] <= '9'; i++)
		digits++;
	if (buffer[i] == '.')
		for (i++; buffer[i] >= '0' && buffer[i] <= '9'; i++)
			digits++;
	if (digits == 0)
		return false;
	if (buffer[i] == 'e' || buffer[i] == 'E')
	{
		int			start;

		i++;
		if (buffer[i] == '+' || buffer[i] == '-')
			i++;
		for (start = i; buffer[i] >= '0' && buffer[i] <= '9'; i++)
			;
		if (i == start || i - start > 3)
			return false;
	}
	if (i != length)
		return false;
	*result = DatumGetNumeric(DirectFunctionCall3(numeric_in,
												  CStringGetDatum(buffer),
												  ObjectIdGetDatum(InvalidOid),
												  Int32GetDatum(-1)));
	return true;
}

static bool
get_numeric(const char *name, const JsonbValue *value, Numeric *result,
			EventError *error)
{
	if (value->type == jbvNumeric)
	{
		/* it points into the array; keep a copy with an aligned header */
		*result = DatumGetNumericCopy(NumericGetDatum(value->val.numeric));
		return true;
	}
	if (value->type == jbvString)
	{
		if (parse_decimal(value->val.string.val, value->val.string.len, result))
			return true;
		return event_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
							psprintf("%s must be a number", name),
							psprintf("It is \"%s\".",
									 pnstrdup(value->val.string.val,
											  pg_mbcliplen(value->val.string.val,
														   value->val.string.len, 64))),
							NULL);
	}
	return refuse_type(name, "a number", value, error);
}

static bool
read_numeric(Event *event, size_t offset, const char *name,
			 const JsonbValue *value, EventError *error)
{
	return get_numeric(name, value, (Numeric *) ((char *) event + offset),
					   error);
}

/* numeric to float8 throws on overflow; this form gives infinity */
static float8
numeric_to_float8(Numeric number)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
											  NumericGetDatum(number)));
}

static bool
read_status(Event *event, size_t offset, const char *name,
			const JsonbValue *value, EventError *error)
{
	Numeric		number;
	float8		status;

	if (!get_numeric(name, value, &number, error))
		return false;
	status = numeric_to_float8(number);
	if (!(status >= 100 && status <= 599) || status != floor(status))
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							psprintf("status %.20s is out of range",
									 numeric_normalize(number)),
							pstrdup("An HTTP status is between 100 and 599."),
							NULL);
	event->status = (int32) status;
	event->has_status = true;
	return true;
}

static bool
read_latency(Event *event, size_t offset, const char *name,
			 const JsonbValue *value, EventError *error)
{
	Numeric		number;

	if (!get_numeric(name, value, &number, error))
		return false;
	event->latency_ms = numeric_to_float8(number);
	event->has_latency = true;
	return true;
}

static bool
read_object(Event *event, size_t offset, const char *name,
			const JsonbValue *value, EventError *error)
{
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return refuse_type(name, "a JSON object", value, error);
	event->metadata = JsonbValueToJsonb(unconstify(JsonbValue *, value));
	return true;
}

/*
 * A time as ISO 8601 writes it.  Uses the server's date parser below the
 * level at which it throws.
 */
static bool
read_time(Event *event, size_t offset, const char *name,
		  const JsonbValue *value, EventError *error)
{
	char		input[MAXDATELEN + 1];
	char		work[MAXDATELEN + MAXDATEFIELDS];
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	int			nfields;
	int			dtype;
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;

	if (value->type != jbvString)
		return refuse_type(name, "a time in a string", value, error);

	/* year first, so that neither DateStyle nor words like "today" matter */
	if (value->val.string.len >= 10 && value->val.string.len < sizeof(input) &&
		isdigit((unsigned char) value->val.string.val[0]) &&
		isdigit((unsigned char) value->val.string.val[1]) &&
		isdigit((unsigned char) value->val.string.val[2]) &&
		isdigit((unsigned char) value->val.string.val[3]) &&
		value->val.string.val[4] == '-')
	{
		memcpy(input, value->val.string.val, value->val.string.len);
		input[value->val.string.len] = '\0';
		if (ParseDateTime(input, work, sizeof(work), fields, types,
						  MAXDATEFIELDS, &nfields) == 0 &&
			compat_decode_datetime(fields, types, nfields, &dtype, &tm, &fsec,
								   &tz) == 0 &&
			dtype == DTK_DATE &&
			tm2timestamp(&tm, fsec, &tz, &event->at) == 0 &&
			IS_VALID_TIMESTAMP(event->at))
		{
			event->has_at = true;
			return true;
		}
	}
	return event_refuse(error, ERRCODE_INVALID_DATETIME_FORMAT,
						psprintf("%s is not a valid time", name),
						psprintf("It is \"%s\".",
								 pnstrdup(value->val.string.val,
										  pg_mbcliplen(value->val.string.val,
													   value->val.string.len, 64))),
						pstrdup("Write it as in 2026-01-31T23:59:59.5Z."));
}

static const Field event_fields[] = {
	{"at", 0, read_time},
	{"cost", offsetof(Event, cost), read_numeric},
	{"endpoint", offsetof(Event, endpoint), read_text},
	{"error_message", offsetof(Event, error_message), read_text},
	{"idempotency_key", offsetof(Event, idempotency_key), read_text},
	{"latency_ms", 0, read_latency},
	{"metadata", 0, read_object},
	{"method", offsetof(Event, method), read_text},
	{"metric", offsetof(Event, metric), read_text},
	{"quantity", offsetof(Event, quantity), read_numeric},
	{"request_id", offsetof(Event, request_id), read_text},
	{"service", offsetof(Event, service), read_text},
	{"status", 0, read_status},
	{"tenant", offsetof(Event, tenant), read_text},
	{"user_id", offsetof(Event, user_id), read_text},
	{NULL}
};

/* Attributes of a CloudEvent; id and source are joined afterwards. */
static const Field cloudevent_fields[] = {
	{"subject", offsetof(Event, tenant), read_text},
	{"time", 0, read_time},
	{"type", offsetof(Event, metric), read_text},
	{NULL}
};

static const Field *
find_field(const Field *fields, const JsonbValue *key)
{
	for (; fields->name != NULL; fields++)
		if (strlen(fields->name) == key->val.string.len &&
			memcmp(fields->name, key->val.string.val, key->val.string.len) == 0)
			return fields;
	return NULL;
}

static bool
key_is(const JsonbValue *key, const char *name)
{
	return strlen(name) == key->val.string.len &&
		memcmp(name, key->val.string.val, key->val.string.len) == 0;
}

/*
 * Collects the keys of an element that are no fields, to become metadata.
 */
typedef struct Extra
{
	JsonbInState state;
	bool		any;
} Extra;

static void
extra_add(Extra *extra, JsonbValue *key, JsonbValue *value)
{
	if (!extra->any)
		compat_push_jsonb(&extra->state, WJB_BEGIN_OBJECT, NULL);
	extra->any = true;
	compat_push_jsonb(&extra->state, WJB_KEY, key);
	compat_push_jsonb(&extra->state, WJB_VALUE, value);
}

/*
 * Read the keys of an object that are in fields; the others go to extra, or
 * are refused when extra is NULL: a misspelt key must not lose data.  JSON
 * null is the same as an absent key.
 */
static bool
read_fields(Event *event, JsonbContainer *object, const Field *fields,
			Extra *extra, const char *const *skip, EventError *error)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	(void) JsonbIteratorNext(&iterator, &key, true);	/* begin of object */
	while ((token = JsonbIteratorNext(&iterator, &key, true)) == WJB_KEY)
	{
		const Field *field = find_field(fields, &key);
		bool		skipped = false;

		(void) JsonbIteratorNext(&iterator, &value, true);
		for (int i = 0; skip != NULL && skip[i] != NULL && !skipped; i++)
			skipped = key_is(&key, skip[i]);
		if (skipped || value.type == jbvNull)
			continue;
		if (field != NULL)
		{
			if (!field->read(event, field->offset, field->name, &value, error))
				return false;
		}
		else if (extra != NULL)
			extra_add(extra, &key, &value);
		else
			return event_refuse(error, ERRCODE_INVALID_PARAMETER_VALUE,
								psprintf("unknown field \"%s\"",
										 pnstrdup(key.val.string.val,
												  pg_mbcliplen(key.val.string.val,
															   key.val.string.len, 64))),
								NULL,
								pstrdup("Fields are named as the arguments of meter_track(); anything else belongs in metadata."));
	}
	return true;
}

static bool
read_cloudevent(Event *event, JsonbContainer *object, EventError *error)
{
	static const char *const handled[] = {
		"specversion", "id", "source", "data", "datacontenttype", "dataschema",
		NULL
	};
	JsonbValue *version = getKeyJsonValueFromContainer(object, "specversion", 11, NULL);
	JsonbValue *id = getKeyJsonValueFromContainer(object, "id", 2, NULL);
	JsonbValue *source = getKeyJsonValueFromContainer(object, "source", 6, NULL);
	JsonbValue *data = getKeyJsonValueFromContainer(object, "data", 4, NULL);
	Extra		extra = {0};

	if (version->type != jbvString || version->val.string.len < 2 ||
		strncmp(version->val.string.val, "1.", 2) != 0)
		return event_refuse(error, ERRCODE_FEATURE_NOT_SUPPORTED,
							pstrdup("CloudEvents specversion must be \"1.0\""),
							NULL, NULL);
	if (id == NULL || id->type != jbvString || id->val.string.len == 0 ||
		source == NULL || source->type != jbvString || source->val.string.len == 0)
		return event_refuse(error, ERRCODE_NULL_VALUE_NOT_ALLOWED,
							pstrdup("a CloudEvent needs id and source"),
							pstrdup("Both must be strings that are not empty."),
							NULL);
	if (!read_fields(event, object, cloudevent_fields, &extra, handled, error))
		return false;
	if (data != NULL && data->type != jbvNull)
	{
		if (data->type != jbvBinary ||
			!JsonContainerIsObject(data->val.binary.data))
			return refuse_type("data", "a JSON object", data, error);
		if (!read_fields(event, data->val.binary.data, event_fields, &extra,
						 NULL, error))
			return false;
	}

	/*
	 * The specification makes source and id together unique.  A key in data
	 * is the sender's explicit choice and wins.
	 */
	if (event->idempotency_key == NULL)
		event->idempotency_key =
			cstring_to_text(psprintf("%.*s#%.*s",
									 source->val.string.len, source->val.string.val,
									 id->val.string.len, id->val.string.val));
	if (extra.any)
	{
		Jsonb	   *others;

		compat_push_jsonb(&extra.state, WJB_END_OBJECT, NULL);
		others = JsonbValueToJsonb(extra.state.result);
		if (event->metadata == NULL)
			event->metadata = others;
		else
			event->metadata =
				DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
												   JsonbPGetDatum(others),
												   JsonbPGetDatum(event->metadata)));
	}
	return true;
}

/*
 * Read and check an element.
 */
void
element_read(Element *element, JsonbValue *value, bool register_metric)
{
	Event	   *event = &element->event;
	JsonbContainer *object;

	memset(element, 0, sizeof(*element));
	element->source = JsonbValueToJsonb(value);
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
	{
		element->valid = refuse_type("an event", "a JSON object", value,
									 &element->error);
		return;
	}
	object = value->val.binary.data;
	event->received_at = GetCurrentTimestamp();
	if (getKeyJsonValueFromContainer(object, "specversion", 11, NULL) != NULL)
		element->valid = read_cloudevent(event, object, &element->error);
	else
		element->valid = read_fields(event, object, event_fields, NULL, NULL,
									 &element->error);
	if (!element->valid)
		return;

	/* the defaults of meter_track() */
	if (event->metric == NULL)
		event->metric = cstring_to_text(METRIC_DEFAULT);
	if (event->quantity == NULL)
		event->quantity = int64_to_numeric(1);
	if (!event->has_at)
		event->at = event->received_at;
	event->has_at = true;
	if (event->tenant != NULL && !context_allows(event->tenant))
		element->valid = context_refuse(event->tenant, "meter_track_batch",
										&element->error);
	else
		element->valid = event_check(event, event->received_at,
									 register_metric, &element->error);
}

/*
 * The tenant of an element that was refused, perhaps before its tenant was
 * read; NULL if it has none.
 */
text *
element_tenant(Jsonb *source)
{
	static const char *const names[] = {"tenant", "subject"};

	for (int i = 0; JB_ROOT_IS_OBJECT(source) && i < lengthof(names); i++)
	{
		JsonbValue *value = getKeyJsonValueFromContainer(&source->root, names[i],
														 strlen(names[i]), NULL);

		if (value != NULL && value->type == jbvString)
			return cstring_to_text_with_len(value->val.string.val,
											value->val.string.len);
	}
	return NULL;
}

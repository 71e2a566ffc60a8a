/*
 * event.c
 *		What makes a usage event acceptable, and the form it is stored in.
 *
 * The same check serves meter_track() (which raises the error), the elements
 * of meter_track_batch() (which reports it) and rows of COPY meter.inbox
 * (where the flush keeps it in meter.rejected_event), so the three paths
 * cannot differ.  It therefore returns the error as data and throws nothing
 * that depends on the event.
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/endpoint.h"
#include "core/hot.h"
#include "event.h"
#include "ignore.h"
#include "metric.h"
#include "partition.h"
#include "secret.h"
#include "setting.h"

/* after all others */
#include "server.h"

/*
 * Fill *error and return false, to be returned by the caller in its turn.
 */
bool
event_refuse(EventError *error, int sqlstate, char *message, char *detail,
			 char *hint)
{
	error->sqlstate = sqlstate;
	error->message = message;
	error->detail = detail;
	error->hint = hint;
	return false;
}

void
event_throw(const EventError *error)
{
	ereport(ERROR,
			(errcode(error->sqlstate),
			 errmsg_internal("%s", error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
}

/*
 * The error as one line, for meter_track_batch() and meter.rejected_event.
 */
char *
event_reason(const EventError *error)
{
	if (error->detail == NULL)
		return error->message;
	return psprintf("%s: %s", error->message, error->detail);
}

/*
 * Is the field a usable name: not blank, not too long, without control
 * characters (which would forge lines in logs and reports)?
 */
HOT_PATH static bool
check_name(const text *value, const char *field, int max_length,
		   EventError *error)
{
	const char *s = VARDATA_ANY(value);
	int			length = VARSIZE_ANY_EXHDR(value);
	bool		blank = true;

	if (length > max_length)
		return event_refuse(error, ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
							psprintf("%s is too long", field),
							psprintf("It has %d bytes; at most %d are allowed.",
									 length, max_length),
							NULL);
	for (int i = 0; i < length; i++)
	{
		if ((unsigned char) s[i] < 0x20 || s[i] == 0x7f)
			return event_refuse(error, ERRCODE_INVALID_PARAMETER_VALUE,
								psprintf("%s contains a control character",
										 field),
								NULL, NULL);
		if (s[i] != ' ')
			blank = false;
	}
	if (blank)
		return event_refuse(error, ERRCODE_INVALID_PARAMETER_VALUE,
							psprintf("%s must not be empty", field),
							NULL, NULL);
	return true;
}

/*
 * An optional name; an empty one counts as absent, as clients often send "".
 */
HOT_PATH static bool
check_optional_name(text **value, const char *field, int max_length,
					EventError *error)
{
	if (*value == NULL)
		return true;
	if (VARSIZE_ANY_EXHDR(*value) == 0)
	{
		*value = NULL;
		return true;
	}
	return check_name(*value, field, max_length, error);
}

/* Bounds of quantities and costs, made once. */
static Numeric number_zero = NULL;
static Numeric number_max = NULL;
static Numeric number_min = NULL;

static Numeric
make_number(const char *literal)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Datum		number = DirectFunctionCall3(numeric_in, CStringGetDatum(literal),
											 ObjectIdGetDatum(InvalidOid),
											 Int32GetDatum(-1));

	MemoryContextSwitchTo(old);
	return DatumGetNumeric(number);
}

/* As it is, to be found without leaving the page. */
static HOT_DATA char number_one[16];
static HOT_DATA Size number_one_size = 0;

static void
remember_one(Numeric one)
{
	if (VARSIZE(one) > sizeof(number_one))
		return;
	memcpy(number_one, one, VARSIZE(one));
	number_one_size = VARSIZE(one);
}

static inline bool
number_less(Numeric a, Numeric b)
{
	return DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(a),
											NumericGetDatum(b)));
}

/*
 * A negative one is refused, if at all, as that of a metric.
 */
HOT_PATH static bool
check_number(Numeric value, const char *field, bool allow_negative,
			 const char *metric, EventError *error)
{
	/* most quantities are 1 */
	if (VARSIZE(value) == number_one_size && hot_equal(value, number_one, number_one_size))
		return true;
	if (number_min == NULL)
	{
		number_zero = make_number("0");
		number_max = make_number(EVENT_MAX_NUMERIC);
		number_min = make_number("-" EVENT_MAX_NUMERIC);
		remember_one(make_number("1"));
	}
	if (numeric_is_nan(value) || numeric_is_inf(value))
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							psprintf("%s must be a finite number", field),
							NULL, NULL);
	if (!number_less(number_min, value) || !number_less(value, number_max))
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							psprintf("%s is out of range", field),
							pstrdup("Its magnitude must be below " EVENT_MAX_NUMERIC "."),
							NULL);
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale,
										  NumericGetDatum(value))) > EVENT_MAX_SCALE)
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							psprintf("%s has too many decimals", field),
							psprintf("At most %d are allowed.", EVENT_MAX_SCALE),
							NULL);
	if (!allow_negative && number_less(value, number_zero))
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							psprintf("%s must not be negative", field),
							psprintf("The %s of metric \"%s\" is %s.", field,
									 metric, numeric_normalize(value)),
							NULL);
	return true;
}

/*
 * Cut a text at a character boundary.
 */
HOT_PATH static text *
clip_text(text *value, int max_length)
{
	const char *s = VARDATA_ANY(value);
	int			length = VARSIZE_ANY_EXHDR(value);

	if (length <= max_length)
		return value;
	return cstring_to_text_with_len(s, pg_mbcliplen(s, length, max_length));
}

/*
 * Is the metric known, or can it become so, and does it allow the quantity?
 * Where nothing of the caller's transaction may matter, registering is left
 * to the flush, which asks again; then event->new_metric is set.
 */
HOT_PATH bool
event_check_metric(Event *event, bool register_metric, EventError *error)
{
	char	   *name;
	const Metric *metric;
	bool		possible;
	bool		allow_negative = false;

	if (event->metric == NULL)
		return event_refuse(error, ERRCODE_NULL_VALUE_NOT_ALLOWED,
							pstrdup("metric must not be null"), NULL, NULL);
	if (!check_name(event->metric, "metric", METRIC_MAX_LENGTH, error))
		return false;
	name = text_to_cstring(event->metric);
	metric = metric_lookup(name);
	if (metric == NULL)
	{
		if (setting_strict_metrics && !metric_is_builtin(name))
			return event_refuse(error, ERRCODE_UNDEFINED_OBJECT,
								psprintf("metric \"%s\" is not registered", name),
								NULL,
								pstrdup("Insert it into meter.metric, or set meter.strict_metrics to off."));
		if (register_metric)
		{
			metric = metric_register(name);
			possible = metric != NULL;
		}
		else
			possible = event->new_metric = metric_can_register();
		if (!possible)
			return event_refuse(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
								psprintf("could not register metric \"%s\": too many metrics", name),
								psprintf("There are already %d metrics.",
										 setting_max_metrics),
								pstrdup("Register it by inserting into meter.metric, or raise meter.max_metrics. What differs from call to call belongs in metadata."));
	}
	if (event->quantity == NULL)
		return event_refuse(error, ERRCODE_NULL_VALUE_NOT_ALLOWED,
							pstrdup("quantity must not be null"), NULL, NULL);
	if (metric != NULL)
		allow_negative = metric->allow_negative;
	return check_number(event->quantity, "quantity", allow_negative,
						name, error);
}

HOT_PATH static bool
check_time(const Event *event, TimestampTz now, EventError *error)
{
	if (!event->has_at)
		return event_refuse(error, ERRCODE_NULL_VALUE_NOT_ALLOWED,
							pstrdup("event time must not be null"), NULL, NULL);
	if (TIMESTAMP_NOT_FINITE(event->at))
		return event_refuse(error, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
							pstrdup("event time must be finite"), NULL, NULL);
	if (event->at < partition_start_time(PARTITION_FIRST_DAY))
		return event_refuse(error, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
							pstrdup("event time is out of range"),
							pstrdup("The log begins with the year 1."), NULL);
	if (event->at > now + setting_max_future_skew * USECS_PER_SEC)
		return event_refuse(error, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
							pstrdup("event time is in the future"),
							psprintf("It is %s; at most %d seconds ahead of the server's clock are allowed.",
									 timestamptz_to_str(event->at),
									 setting_max_future_skew),
							pstrdup("Check the sender's clock and time zone, or raise meter.max_future_skew."));
	return true;
}

/*
 * Is the event young enough to enter the log now?  Asked again at the flush
 * of events that were checked at the call, since the partition they belong to
 * may have been dropped meanwhile, and usage of its day cannot be recomputed.
 */
HOT_PATH bool
event_check_age(const Event *event, TimestampTz now, EventError *error)
{
	if (setting_retention > 0 &&
		event->at < now - setting_retention * USECS_PER_MINUTE)
		return event_refuse(error, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
							pstrdup("event time is older than the retention"),
							psprintf("It is %s; meter.retention is %s.",
									 timestamptz_to_str(event->at),
									 GetConfigOptionByName("meter.retention", NULL, false)),
							pstrdup("Raise meter.retention to load history."));
	return true;
}

static bool
check_metadata_size(const Jsonb *metadata, EventError *error)
{
	if (VARSIZE(metadata) <= EVENT_MAX_METADATA)
		return true;
	return event_refuse(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
						pstrdup("metadata is too large"),
						psprintf("It has %d bytes; at most %d are allowed.",
								 (int) VARSIZE(metadata), EVENT_MAX_METADATA),
						NULL);
}

HOT_PATH static bool
check_metadata(Event *event, EventError *error)
{
	if (event->metadata == NULL)
		return true;
	if (!JB_ROOT_IS_OBJECT(event->metadata))
		return event_refuse(error, ERRCODE_INVALID_PARAMETER_VALUE,
							pstrdup("metadata must be a JSON object"),
							NULL, NULL);
	if (!check_metadata_size(event->metadata, error))
		return false;

	/* a mask can be longer than what it hides */
	event->metadata = secret_mask_jsonb(event->metadata);
	return check_metadata_size(event->metadata, error);
}

HOT_PATH static void
store_endpoint(Event *event)
{
	char		out[ENDPOINT_MAX_LENGTH];
	size_t		length;

	if (event->endpoint == NULL)
		return;

	/* a mask can be longer than what it hides, but not in what is kept */
	event->endpoint = secret_mask_text(clip_text(event->endpoint,
												 EVENT_MAX_MASKED));
	if (setting_normalize_endpoints)
	{
		length = endpoint_normalize(VARDATA_ANY(event->endpoint),
									VARSIZE_ANY_EXHDR(event->endpoint), out);
		event->endpoint = cstring_to_text_with_len(out, length);
	}
	else
		event->endpoint = clip_text(event->endpoint, ENDPOINT_MAX_LENGTH);
	if (VARSIZE_ANY_EXHDR(event->endpoint) == 0)
		event->endpoint = NULL;
}

/*
 * Check an event and bring it into the form that is stored: endpoint
 * normalised, credentials masked, long error messages cut.  Returns false
 * with *error filled when it must be refused.  A metric that is new is
 * registered, if at all, only after all else is found right, and not for an
 * endpoint that is not tracked: then event->ignored is set.
 */
HOT_PATH bool
event_check(Event *event, TimestampTz now, bool register_metric,
			EventError *error)
{
	if (event->tenant == NULL)
		return event_refuse(error, ERRCODE_NULL_VALUE_NOT_ALLOWED,
							pstrdup("tenant must not be null"), NULL, NULL);
	if (!check_name(event->tenant, "tenant", EVENT_MAX_TENANT, error) ||
		!check_optional_name(&event->service, "service", EVENT_MAX_SERVICE, error) ||
		!check_optional_name(&event->method, "method", EVENT_MAX_METHOD, error) ||
		!check_optional_name(&event->user_id, "user_id", EVENT_MAX_USER, error) ||
		!check_optional_name(&event->idempotency_key, "idempotency_key", EVENT_MAX_KEY, error) ||
		!check_optional_name(&event->request_id, "request_id", EVENT_MAX_REQUEST, error))
		return false;
	if (event->has_status && (event->status < 100 || event->status > 599))
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							psprintf("status %d is out of range", event->status),
							pstrdup("An HTTP status is between 100 and 599."),
							NULL);
	if (event->has_latency && !isfinite(event->latency_ms))
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							pstrdup("latency_ms must be a finite number"),
							NULL, NULL);
	if (event->has_latency && event->latency_ms < 0)
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							pstrdup("latency_ms must not be negative"),
							psprintf("It is %g.", event->latency_ms), NULL);
	if (event->has_latency && event->latency_ms > EVENT_MAX_LATENCY)
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							pstrdup("latency_ms is out of range"),
							psprintf("It is %g; at most %g is allowed.",
									 event->latency_ms, EVENT_MAX_LATENCY),
							NULL);
	if (event->cost != NULL &&
		!check_number(event->cost, "cost", true, NULL, error))
		return false;
	if (!check_time(event, now, error) ||
		!event_check_age(event, now, error) ||
		!check_metadata(event, error))
		return false;
	store_endpoint(event);
	event->ignored = ignore_endpoint(event->endpoint);
	if (!event_check_metric(event, register_metric && !event->ignored, error))
		return false;
	if (event->error_message != NULL)
	{
		if (VARSIZE_ANY_EXHDR(event->error_message) == 0)
			event->error_message = NULL;
		else
			event->error_message =
				clip_text(secret_mask_text(clip_text(event->error_message,
													 EVENT_MAX_MASKED)),
						  EVENT_MAX_ERROR);
	}
	return true;
}

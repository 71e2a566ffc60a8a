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

#include "core/bytes.h"
#include "core/hot.h"
#include "endpoint.h"
#include "event.h"
#include "ignore.h"
#include "metric.h"
#include "partition.h"
#include "plain.h"
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
 * Is it a usable name: not blank, not too long, without control characters
 * (which would forge lines in logs and reports)?
 */
HOT_PATH static pg_noinline bool
is_name(const void *value, Size max_length)
{
	Size		length = plain_length(value);

	return length <= max_length && bytes_readable(plain_data(value), length);
}

/*
 * Why it is none.
 */
COLD_PATH static bool
refuse_name(const void *value, const char *field, int max_length,
			EventError *error)
{
	const char *s = VARDATA_ANY(value);
	int			length = VARSIZE_ANY_EXHDR(value);

	if (length > max_length)
		return event_refuse(error, ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
							psprintf("%s is too long", field),
							psprintf("It has %d bytes; at most %d are allowed.",
									 length, max_length),
							NULL);
	for (int i = 0; i < length; i++)
		if ((unsigned char) s[i] < 0x20 || s[i] == 0x7f)
			return event_refuse(error, ERRCODE_INVALID_PARAMETER_VALUE,
								psprintf("%s contains a control character",
										 field),
								NULL, NULL);
	return event_refuse(error, ERRCODE_INVALID_PARAMETER_VALUE,
						psprintf("%s must not be empty", field),
						NULL, NULL);
}

/* Which values are names, and how long they may be; the metric is checked last. */
HOT_CONST static const uint16 max_name_length[EVENT_VALUES] = {
	[EVENT_VALUE(tenant)] = EVENT_MAX_TENANT,
	[EVENT_VALUE(service)] = EVENT_MAX_SERVICE,
	[EVENT_VALUE(method)] = EVENT_MAX_METHOD,
	[EVENT_VALUE(user_id)] = EVENT_MAX_USER,
	[EVENT_VALUE(idempotency_key)] = EVENT_MAX_KEY,
	[EVENT_VALUE(request_id)] = EVENT_MAX_REQUEST,
};

static const char *const name_field[EVENT_VALUES] = {
	[EVENT_VALUE(tenant)] = "tenant",
	[EVENT_VALUE(service)] = "service",
	[EVENT_VALUE(method)] = "method",
	[EVENT_VALUE(user_id)] = "user_id",
	[EVENT_VALUE(idempotency_key)] = "idempotency_key",
	[EVENT_VALUE(request_id)] = "request_id",
};

/*
 * All but the tenant's are optional; an empty one counts as absent, as clients
 * often send "".
 */
static inline bool
check_names(Event *event, EventError *error)
{
	for (int i = 0; i < EVENT_VALUES; i++)
	{
		struct varlena *value = event->values[i];

		if (value == NULL || max_name_length[i] == 0 ||
			is_name(value, max_name_length[i]))
			continue;
		if (plain_length(value) > 0 || i == EVENT_VALUE(tenant))
			return refuse_name(value, name_field[i], max_name_length[i], error);
		event->values[i] = NULL;
	}
	return true;
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

/* The bytes of the number 1; 0 before they are known. */
static HOT_DATA uint64 number_one = 0;

static void
make_numbers(void)
{
	Numeric		one = make_number("1");

	number_zero = make_number("0");
	number_max = make_number(EVENT_MAX_NUMERIC);
	number_min = make_number("-" EVENT_MAX_NUMERIC);
	if (VARSIZE(one) == sizeof(number_one))
		memcpy(&number_one, one, sizeof(number_one));
}

/* Most quantities are. */
static inline bool
is_one(Numeric value)
{
	return VARSIZE(value) == sizeof(number_one) &&
		bytes_load((const char *) value) == number_one;
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
static pg_noinline bool
check_number(Numeric value, const char *field, bool allow_negative,
			 const text *metric, EventError *error)
{
	if (unlikely(number_min == NULL))
		make_numbers();
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
									 text_to_cstring(metric),
									 numeric_normalize(value)),
							NULL);
	return true;
}

/*
 * What metric_lookup() does not know.
 */
static pg_noinline bool
check_new_metric(Event *event, bool register_metric, const Metric **metric,
				 EventError *error)
{
	char	   *name = text_to_cstring(event->metric);
	bool		possible;

	if (setting_strict_metrics && !metric_is_builtin(name))
		return event_refuse(error, ERRCODE_UNDEFINED_OBJECT,
							psprintf("metric \"%s\" is not registered", name),
							NULL,
							pstrdup("Insert it into meter.metric, or set meter.strict_metrics to off."));
	if (register_metric)
	{
		*metric = metric_register(name);
		possible = *metric != NULL;
	}
	else
		possible = event->new_metric = metric_can_register();
	if (!possible)
		return event_refuse(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
							psprintf("could not register metric \"%s\": too many metrics", name),
							psprintf("There are already %d metrics.",
									 setting_max_metrics),
							pstrdup("Register it by inserting into meter.metric, or raise meter.max_metrics. What differs from call to call belongs in metadata."));
	return true;
}

/*
 * Is the metric known, or can it become so, and does it allow the quantity?
 * Where nothing of the caller's transaction may matter, registering is left
 * to the flush, which asks again; then event->new_metric is set.
 */
HOT_PATH bool
event_check_metric(Event *event, bool register_metric, EventError *error)
{
	const Metric *metric;

	if (event->metric == NULL)
		return event_refuse(error, ERRCODE_NULL_VALUE_NOT_ALLOWED,
							pstrdup("metric must not be null"), NULL, NULL);
	if (!is_name(event->metric, METRIC_MAX_LENGTH))
		return refuse_name(event->metric, "metric", METRIC_MAX_LENGTH, error);
	metric = metric_lookup_text(event->metric);
	if (unlikely(metric == NULL) &&
		!check_new_metric(event, register_metric, &metric, error))
		return false;
	if (event->quantity == NULL)
		return event_refuse(error, ERRCODE_NULL_VALUE_NOT_ALLOWED,
							pstrdup("quantity must not be null"), NULL, NULL);
	return likely(is_one(event->quantity)) ||
		check_number(event->quantity, "quantity",
					 metric != NULL && metric->allow_negative,
					 event->metric, error);
}

COLD_PATH static bool
refuse_status(const Event *event, EventError *error)
{
	return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
						psprintf("status %d is out of range", event->status),
						pstrdup("An HTTP status is between 100 and 599."),
						NULL);
}

COLD_PATH static bool
refuse_latency(const Event *event, EventError *error)
{
	if (!isfinite(event->latency_ms))
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							pstrdup("latency_ms must be a finite number"),
							NULL, NULL);
	if (event->latency_ms < 0)
		return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							pstrdup("latency_ms must not be negative"),
							psprintf("It is %g.", event->latency_ms), NULL);
	return event_refuse(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
						pstrdup("latency_ms is out of range"),
						psprintf("It is %g; at most %g is allowed.",
								 event->latency_ms, EVENT_MAX_LATENCY),
						NULL);
}

/*
 * Infinity, too, is either too early or too late.
 */
static inline bool
time_is_right(const Event *event, TimestampTz now)
{
	return event->has_at &&
		event->at >= partition_start_time(PARTITION_FIRST_DAY) &&
		event->at <= now + setting_max_future_skew * USECS_PER_SEC;
}

COLD_PATH static bool
refuse_time(const Event *event, EventError *error)
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
	return event_refuse(error, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
						pstrdup("event time is in the future"),
						psprintf("It is %s; at most %d seconds ahead of the server's clock are allowed.",
								 timestamptz_to_str(event->at),
								 setting_max_future_skew),
						pstrdup("Check the sender's clock and time zone, or raise meter.max_future_skew."));
}

COLD_PATH static bool
refuse_age(const Event *event, EventError *error)
{
	return event_refuse(error, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
						pstrdup("event time is older than the retention"),
						psprintf("It is %s; meter.retention is %s.",
								 timestamptz_to_str(event->at),
								 GetConfigOptionByName("meter.retention", NULL, false)),
						pstrdup("Raise meter.retention to load history."));
}

static inline bool
check_age(const Event *event, TimestampTz now, EventError *error)
{
	return likely(setting_retention <= 0 ||
				  event->at >= now - setting_retention * USECS_PER_MINUTE) ||
		refuse_age(event, error);
}

/*
 * Is the event young enough to enter the log now?  Asked again at the flush
 * of events that were checked at the call, since the partition they belong to
 * may have been dropped meanwhile, and usage of its day cannot be recomputed.
 */
bool
event_check_age(const Event *event, TimestampTz now, EventError *error)
{
	return check_age(event, now, error);
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

static pg_noinline bool
check_metadata(Event *event, EventError *error)
{
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

static pg_noinline void
store_error_message(Event *event)
{
	if (VARSIZE_ANY_EXHDR(event->error_message) == 0)
		event->error_message = NULL;
	else
		event->error_message =
			secret_clip_text(secret_mask_text(secret_clip_text(event->error_message,
															   EVENT_MAX_MASKED)),
							 EVENT_MAX_ERROR);
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
	if (!check_names(event, error))
		return false;
	if (event->has_status && (event->status < 100 || event->status > 599))
		return refuse_status(event, error);

	/* also if it is no number */
	if (event->has_latency &&
		!(event->latency_ms >= 0 && event->latency_ms <= EVENT_MAX_LATENCY))
		return refuse_latency(event, error);
	if (event->cost != NULL && !is_one(event->cost) &&
		!check_number(event->cost, "cost", true, NULL, error))
		return false;
	if (!time_is_right(event, now))
		return refuse_time(event, error);
	if (!check_age(event, now, error) ||
		(event->metadata != NULL && !check_metadata(event, error)))
		return false;
	if (event->endpoint != NULL)
		event->endpoint = endpoint_stored(event->endpoint);
	event->ignored = ignore_endpoint(event->endpoint);
	if (!event_check_metric(event, register_metric && !event->ignored, error))
		return false;
	if (event->error_message != NULL)
		store_error_message(event);
	return true;
}

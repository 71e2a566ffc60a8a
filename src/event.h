/*
 * event.h
 *		One usage event, and what makes it acceptable.
 */
#ifndef METER_EVENT_H
#define METER_EVENT_H

#include "compat.h"
#include "core/hot.h"
#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* Longest texts in bytes; endpoint and error_message are cut, not refused. */
#define EVENT_MAX_TENANT 128
#define EVENT_MAX_SERVICE 64
#define EVENT_MAX_METHOD 16
#define EVENT_MAX_USER 128
#define EVENT_MAX_KEY 255
#define EVENT_MAX_REQUEST 128
#define EVENT_MAX_ERROR 1024
#define EVENT_MAX_MASKED 8192	/* of either, looked at for credentials */
#define EVENT_MAX_METADATA 8192

/*
 * Quantities and costs: magnitude below 10^30 and at most 30 decimals, so that
 * no sum of them, however many, can become too large to compute with.
 */
#define EVENT_MAX_NUMERIC "1e30"
#define EVENT_MAX_SCALE 30

/* A latency beyond this (ms, about 30 years) is a mistake. */
#define EVENT_MAX_LATENCY 1e12

/* What an event has of variable length. */
#define EVENT_VALUES 12

/* An event; NULL pointers and false has_ flags are SQL NULLs. */
typedef struct Event
{
	TimestampTz at;
	TimestampTz received_at;
	int64		corrects;		/* seq of the event it amends, or 0 */
	float8		latency_ms;
	int32		status;
	bool		has_at;
	bool		has_latency;
	bool		has_status;
	bool		voids;			/* an amendment that takes the event out */
	bool		ignored;		/* of an endpoint that is not tracked */
	bool		violation;		/* none, but a violation (violation.c) */
	bool		new_metric;		/* its metric is still to be registered */
	union
	{
		/* in the order of the columns and of meter_track's arguments */
		struct
		{
			text	   *tenant;
			text	   *metric;
			Numeric		quantity;
			text	   *service;
			text	   *endpoint;
			text	   *method;
			text	   *user_id;
			Numeric		cost;
			Jsonb	   *metadata;
			text	   *idempotency_key;
			text	   *request_id;
			text	   *error_message;
		};
		struct varlena *values[EVENT_VALUES];
	};
} Event;

/* Where one of them is in values. */
#define EVENT_VALUE(field) \
	((offsetof(Event, field) - offsetof(Event, values)) / sizeof(struct varlena *))

/* Why an event is refused: raised by meter_track, kept as data elsewhere. */
typedef struct EventError
{
	int			sqlstate;
	char	   *message;
	char	   *detail;			/* or NULL */
	char	   *hint;			/* or NULL */
} EventError;

extern bool event_check(Event *event, TimestampTz now, bool register_metric,
						EventError *error);
extern bool event_check_metric(Event *event, bool register_metric,
							   EventError *error);
extern bool event_check_age(const Event *event, TimestampTz now,
							EventError *error);
COLD_PATH extern bool event_refuse(EventError *error, int sqlstate,
								   char *message, char *detail, char *hint);
pg_noreturn extern void event_throw(const EventError *error);
extern char *event_reason(const EventError *error);

#endif							/* METER_EVENT_H */

/*
 * usage.h
 *		Aggregating events into rows of usage.
 *
 * usage.c		the scan of the events
 * usage_hour.c	groups by hour (meter.usage_hourly)
 * usage_user.c	groups by user and day (meter.usage_user_daily)
 * dirty.c		the hours that must be computed anew
 * gauge.c		the last samples of gauges by month (meter.gauge_last)
 * late.c		the days whose usage changes late (meter.usage_late)
 * fold.c		the cap on groups per tenant and hour
 */
#ifndef METER_USAGE_H
#define METER_USAGE_H

#include "access/tupdesc.h"
#include "core/sketch.h"
#include "keymap.h"
#include "metric.h"
#include "total.h"
#include "users.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

/* A sample of a gauge. */
typedef struct UsageSample
{
	TimestampTz at;
	int64		seq;
	Numeric		level;
} UsageSample;

/* A row of meter.usage_hourly in the making. */
typedef struct UsageHour
{
	PackedKey	key;			/* tenant, hour, metric, service, endpoint,
								 * method, dims */
	TimestampTz hour;
	bool		gauge;
	bool		kept;			/* scratch of fold.c */
	int64		events;
	int64		errors;
	int64		errors_4xx;
	int64		errors_5xx;
	int64		errors_429;
	int64		folded;
	TimestampTz first_at;
	TimestampTz last_at;
	int64		first_seq;
	int64		last_seq;
	Total		quantity;
	Numeric		min;
	Numeric		max;
	Numeric		first;
	Numeric		last;
	Total		cost;
	Users		users;
	UsageSample *samples;		/* of a gauge */
	int			nsamples;
	int			max_samples;
	Sketch		latency;
} UsageHour;

/* A row of meter.usage_user_daily in the making. */
typedef struct UsageUserDay
{
	PackedKey	key;			/* tenant, day, metric, user_id, dims */
	int64		hash;			/* users_hash() of the user */
	int64		events;
	int64		errors;
	TimestampTz first_at;
	TimestampTz last_at;
	Total		quantity;
	Total		cost;
} UsageUserDay;

/* A tenant's hour (or day) that must be computed anew from the events. */
typedef struct UsageDirty
{
	text	   *tenant;
	TimestampTz start;
	bool		corrected;		/* by an amendment; else a gauge's samples
								 * came out of order */
	bool		gauge;			/* what was corrected, or came late, is one */
} UsageDirty;

/* An event as the scan reads it. */
typedef struct UsageEvent
{
	int64		seq;
	TimestampTz at;
	struct varlena *tenant;
	struct varlena *metric;
	PackedNumeric *quantity;
	struct varlena *service;
	struct varlena *endpoint;
	struct varlena *method;
	struct varlena *user_id;
	PackedNumeric *cost;
	int32		status;			/* 0 if none */
	bool		failed;			/* has an error message */
	bool		has_latency;
	float8		latency_ms;
} UsageEvent;

/* A set of them. */
typedef struct UsageDirtySet
{
	MemoryContext context;
	keymap_hash *index;			/* by tenant and start */
	KeyBuffer	key;
	UsageDirty *items;
	int			n;
	int			size;
} UsageDirtySet;

/*
 * An event between the scan and its groups.  Groups take more memory than the
 * caches hold, and most of an event's time would be spent waiting for some
 * ten places of it, one after the other.  So events are collected in a window,
 * and the places that all of them need are asked for first, together.
 */
#define USAGE_WINDOW 32

typedef struct UsagePending
{
	KeyBuffer	hour_key;
	KeyBuffer	user_key;		/* empty without user */
	uint32		hour_hash;
	uint32		user_hash;
	int64		user;			/* users_hash() */
	UsageHour  *guess;			/* most likely the hour's group, or NULL */
	TimestampTz hour;
	bool		gauge;
	bool		is_error;
	int64		seq;
	TimestampTz at;
	PackedNumeric *quantity;
	PackedNumeric *cost;
	int32		status;
	bool		has_latency;
	float8		latency_ms;
} UsagePending;

typedef struct Usage Usage;

/* Called when the groups take more memory than meter.rollup_work_mem. */
typedef void (*UsageFull) (Usage *usage, void *arg);

struct Usage
{
	MemoryContext context;		/* of what outlives the groups */
	MemoryContext group_context;	/* of the groups and their content */
	MemoryContext event_context;	/* of the events in the window */
	Oid			function;		/* one of ours, to find their schema */
	bool		want_hours;
	bool		want_users;
	bool		keep_dirty;		/* collect corrected hours */
	keymap_hash *hours;
	keymap_hash *user_days;
	UsagePending window[USAGE_WINDOW];
	int			npending;
	UsersLibrary users_library;
	HTAB	   *metrics;		/* as they were when first met */
	const Metric *metric;		/* of the last event, or NULL */
	Jsonb	   *no_dims;		/* {} */
	int64		windows;		/* of events, counted so far */
	UsageDirtySet dirty;		/* hours */
	int64		known_upto;		/* events up to here were counted before */
	TimestampTz late_before;	/* usage of earlier hours is noted as late */
	UsageDirtySet late;			/* days */
	UsageFull	full;
	void	   *full_arg;
};

/* What a scan must select, from meter.event or one of its partitions. */
#define USAGE_COLUMNS \
	"seq, at, tenant, metric, quantity, service, endpoint, method, status, " \
	"latency_ms, user_id, cost, metadata, error_message IS NOT NULL, " \
	"corrects, superseded_by IS NOT NULL"

extern Usage *usage_begin(Oid function);
extern void usage_reset(Usage *usage);
extern void usage_scan(Usage *usage, const char *query, int nargs, Oid *types,
					   Datum *values, bool read_only);

/* dirty.c */
extern void dirty_init(UsageDirtySet *set);
extern UsageDirty *dirty_add(UsageDirtySet *set, const text *tenant,
							 TimestampTz start, bool corrected);
extern bool dirty_has(UsageDirtySet *set, const text *tenant,
					  TimestampTz start);

/* usage_hour.c */
extern void usage_hour_key(UsagePending *pending, const UsageEvent *event,
						   const Jsonb *dims);
extern void usage_hour_add_window(Usage *usage);
extern void usage_put_hours(Usage *usage, Tuplestorestate *store,
							TupleDesc desc);
extern UsageHour **usage_sorted_hours(Usage *usage, int *n);
extern UsageHour *usage_hour_group(Usage *usage, const KeyBuffer *key,
								   uint32 hash);
extern void usage_hour_merge(UsageHour *group, UsageHour *other);

/* usage_user.c */
extern void usage_user_key(UsagePending *pending, const UsageEvent *event,
						   const Jsonb *dims);
extern void usage_user_add_window(Usage *usage);
extern void usage_put_user_days(Usage *usage, Tuplestorestate *store,
								TupleDesc desc);

/* fold.c */
extern void usage_fold(Usage *usage);

/* gauge.c */
extern void gauge_write_last(void);
extern void gauge_rebuild_last(const UsageDirtySet *hours);

/* late.c */
extern TimestampTz late_limit(TimestampTz now);
extern void late_note_hour(Usage *usage, const UsageHour *group);
extern void late_write(Usage *usage, int64 upto);

/* Columns of meter.usage_hourly, in the order of usage.sql. */
enum
{
	USAGE_HOUR,
	USAGE_TENANT,
	USAGE_METRIC,
	USAGE_SERVICE,
	USAGE_ENDPOINT,
	USAGE_METHOD,
	USAGE_DIMS,
	USAGE_EVENTS,
	USAGE_SUCCESSES,
	USAGE_ERRORS,
	USAGE_ERRORS_4XX,
	USAGE_ERRORS_5XX,
	USAGE_ERRORS_429,
	USAGE_FOLDED,
	USAGE_FIRST_AT,
	USAGE_LAST_AT,
	USAGE_LAST_SEQ,
	USAGE_QUANTITY,
	USAGE_QUANTITY_MIN,
	USAGE_QUANTITY_MAX,
	USAGE_QUANTITY_FIRST,
	USAGE_QUANTITY_LAST,
	USAGE_QUANTITY_SECONDS,
	USAGE_COST,
	USAGE_LATENCY,
	USAGE_USERS,
	USAGE_HOURLY_COLUMNS
};

static inline TimestampTz
usage_hour_of(TimestampTz at)
{
	TimestampTz rest = at % USECS_PER_HOUR;

	return at - (rest < 0 ? rest + USECS_PER_HOUR : rest);
}

/*
 * Errors are statuses of 400 and more; without a status (calls that are not
 * HTTP) an error message tells.
 */
static inline bool
usage_is_error(const UsageEvent *event)
{
	return event->status >= 400 || (event->status == 0 && event->failed);
}

#endif							/* METER_USAGE_H */

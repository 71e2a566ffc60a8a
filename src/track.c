/*
 * track.c
 *		meter_track(): recording one event.
 *
 * With durability "buffered" the event goes into the queue, where it stays
 * whatever the caller's transaction does: the API call has happened.  With
 * "commit" it goes into meter.inbox in the caller's transaction, together with
 * its idempotency key, and rolls back with it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "context.h"
#include "core/hot.h"
#include "event.h"
#include "idempotency.h"
#include "ignore.h"
#include "inbox.h"
#include "queue.h"
#include "setting.h"
#include "shared.h"
#include "track.h"

/* after all others */
#include "clock.h"
#include "server.h"

/* Arguments of meter_track, in the order of track.sql. */
enum
{
	ARG_TENANT,
	ARG_METRIC,
	ARG_QUANTITY,
	ARG_SERVICE,
	ARG_ENDPOINT,
	ARG_METHOD,
	ARG_STATUS,
	ARG_LATENCY_MS,
	ARG_USER_ID,
	ARG_COST,
	ARG_METADATA,
	ARG_IDEMPOTENCY_KEY,
	ARG_REQUEST_ID,
	ARG_ERROR_MESSAGE,
	ARG_AT
};

StaticAssertDecl(ARG_METHOD - ARG_TENANT == EVENT_VALUE(method) &&
				 ARG_ERROR_MESSAGE - ARG_USER_ID ==
				 EVENT_VALUE(error_message) - EVENT_VALUE(user_id) &&
				 EVENT_VALUE(user_id) == EVENT_VALUE(method) + 1,
				 "an event's values are in the order of the arguments");

/*
 * A value that is toasted or has a short header: of texts that will do.
 */
HOT_PATH static pg_noinline struct varlena *
detoast(int value, struct varlena *datum)
{
	if (value == EVENT_VALUE(quantity) || value == EVENT_VALUE(cost) ||
		value == EVENT_VALUE(metadata))
		return pg_detoast_datum(datum);
	return pg_detoast_datum_packed(datum);
}

HOT_PATH static inline void
event_from_args(Event *event, FunctionCallInfo fcinfo)
{
	memset(event, 0, offsetof(Event, values));
	event->received_at = clock_now();
	event->at = PG_ARGISNULL(ARG_AT) ? event->received_at :
		PG_GETARG_TIMESTAMPTZ(ARG_AT);
	event->has_at = true;
	event->has_status = !PG_ARGISNULL(ARG_STATUS);
	if (event->has_status)
		event->status = PG_GETARG_INT32(ARG_STATUS);
	event->has_latency = !PG_ARGISNULL(ARG_LATENCY_MS);
	if (event->has_latency)
		event->latency_ms = PG_GETARG_FLOAT8(ARG_LATENCY_MS);
	for (int i = 0; i < EVENT_VALUES; i++)
	{
		const NullableDatum *arg = &fcinfo->args[i];
		struct varlena *value;

		/* the status and the latency are in between */
		if (i >= EVENT_VALUE(user_id))
			arg += ARG_USER_ID - ARG_METHOD - 1;
		value = (struct varlena *) DatumGetPointer(arg->value);
		if (arg->isnull)
			value = NULL;
		else if (unlikely(!VARATT_IS_4B_U(value)))
			value = detoast(i, value);
		event->values[i] = value;
	}
}

/*
 * Can events be tracked here and now?  An error says why not.
 */
HOT_PATH void
track_begin(const char *function)
{
	/* recovery, once over, does not come again in the life of a session */
	static HOT_DATA bool recovered = false;

	if (unlikely(IsInParallelMode()))
		PreventCommandIfParallelMode(function);
	if (setting_durability == DURABILITY_COMMIT)
		PreventCommandIfReadOnly(function);
	else if (!shared_available())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("events cannot be buffered, as meter is not preloaded"),
				 errhint("Add meter to \"shared_preload_libraries\" and restart the server, or set meter.durability to commit.")));
	else if (unlikely(!recovered))
	{
		if (RecoveryInProgress())
			ereport(ERROR,
					(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
					 errmsg("cannot execute %s during recovery", function),
					 errdetail("A standby has no log of its own."),
					 errhint("Track events on the primary.")));
		recovered = true;
	}
}

static void
count_ignored(void)
{
	SharedDatabase *database = shared_database(true);

	if (database == NULL)
		return;
	LWLockAcquire(database->lock, LW_EXCLUSIVE);
	database->counters.ignored++;
	LWLockRelease(database->lock);
}

/*
 * There is no room for an event in the queue, so that it will go into the
 * inbox.
 */
COLD_PATH static void
check_fallback(void)
{
	queue_count_fallback();
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("queue of events is full"),
				 errdetail("The transaction is read-only, so that the event cannot be put into meter.inbox instead."),
				 errhint("Look at meter.stats for what keeps the background worker from emptying the queue, or increase meter.queue_size.")));
}

/*
 * Put events into the queue.  Those for which there is no room go into the
 * inbox for the flush to look at, in the caller's transaction.  A call waits
 * for room only once.
 */
static void
store_buffered(Event *const *events, int n)
{
	Event	  **left = NULL;
	int			nleft = 0;

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (queue_put(events[i], nleft == 0))
			continue;
		check_fallback();
		if (left == NULL)
			left = palloc((n - i) * sizeof(Event *));
		left[nleft++] = events[i];
	}
	if (nleft > 0)
		inbox_write(left, nleft, false);
}

COLD_PATH static void
store_committed(Event *const *events, int n, TrackResult *results)
{
	Event	  **fresh = palloc(Max(n, 1) * sizeof(Event *));
	Claim	   *claims = palloc(Max(n, 1) * sizeof(Claim));
	int			nfresh = 0;

	idempotency_claim(events, n, claims);
	for (int i = 0; i < n; i++)
	{
		if (claims[i] == CLAIM_FRESH)
			fresh[nfresh++] = events[i];
		else
			results[i] = TRACK_DUPLICATE;
	}
	if (nfresh > 0)
		inbox_write(fresh, nfresh, true);
	pfree(fresh);
	pfree(claims);
}

/*
 * Store checked events, and say of each what became of it unless it was
 * accepted, as all are taken to be before (TRACK_ACCEPTED is 0).  Buffered ones are
 * all accepted, as their idempotency keys are looked at by the flush.
 */
void
track_store(Event *const *events, int n, TrackResult *results)
{
	Event	  **kept = (Event **) events;
	TrackResult *kept_results = results;
	int			nkept = n;

	if (ignore_list != NULL)
	{
		kept = palloc(Max(n, 1) * sizeof(Event *));
		nkept = 0;
		for (int i = 0; i < n; i++)
		{
			if (events[i]->ignored)
			{
				results[i] = TRACK_IGNORED;
				count_ignored();
			}
			else
				kept[nkept++] = events[i];
		}
		kept_results = palloc(Max(n, 1) * sizeof(TrackResult));
		memset(kept_results, 0, n * sizeof(TrackResult));
	}
	if (setting_durability == DURABILITY_BUFFERED)
		store_buffered(kept, nkept);
	else
		store_committed(kept, nkept, kept_results);
	if (kept_results != results)
		for (int i = 0, k = 0; i < n; i++)
			if (results[i] != TRACK_IGNORED)
				results[i] = kept_results[k++];
}

/*
 * Store one checked event in some other way than by the queue.
 */
static pg_noinline void
store_one(Event *event)
{
	TrackResult result = TRACK_ACCEPTED;

	track_store(&event, 1, &result);
	if (result == TRACK_DUPLICATE)
		ereport(NOTICE,
				(errmsg("event with idempotency key \"%s\" was recorded before and is not counted again",
						text_to_cstring(event->idempotency_key))));
}

/*
 * Check an event, which is received now, and store it, or raise an error.
 */
HOT_PATH void
track_one(Event *event)
{
	EventError	error;

	if (!event_check(event, event->received_at,
					 setting_durability == DURABILITY_COMMIT, &error))
		event_throw(&error);
	if (setting_durability == DURABILITY_COMMIT || event->ignored)
		store_one(event);
	else if (!queue_put(event, true))
	{
		check_fallback();
		inbox_write(&event, 1, false);
	}
}

PG_FUNCTION_INFO_V1(meter_track);

HOT_PATH Datum
meter_track(PG_FUNCTION_ARGS)
{
	Event		event;

	track_begin("meter_track()");
	event_from_args(&event, fcinfo);
	context_check(event.tenant, fcinfo->flinfo->fn_oid);
	track_one(&event);
	PG_RETURN_VOID();
}

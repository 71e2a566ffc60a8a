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

#define TEXT_ARG(n) (PG_ARGISNULL(n) ? NULL : PG_GETARG_TEXT_PP(n))

HOT_PATH static void
event_from_args(Event *event, FunctionCallInfo fcinfo)
{
	memset(event, 0, sizeof(*event));
	event->received_at = GetCurrentTimestamp();
	event->at = PG_ARGISNULL(ARG_AT) ? event->received_at :
		PG_GETARG_TIMESTAMPTZ(ARG_AT);
	event->has_at = true;
	event->tenant = TEXT_ARG(ARG_TENANT);
	event->metric = TEXT_ARG(ARG_METRIC);
	event->quantity = PG_ARGISNULL(ARG_QUANTITY) ? NULL :
		PG_GETARG_NUMERIC(ARG_QUANTITY);
	event->service = TEXT_ARG(ARG_SERVICE);
	event->endpoint = TEXT_ARG(ARG_ENDPOINT);
	event->method = TEXT_ARG(ARG_METHOD);
	event->has_status = !PG_ARGISNULL(ARG_STATUS);
	if (event->has_status)
		event->status = PG_GETARG_INT32(ARG_STATUS);
	event->has_latency = !PG_ARGISNULL(ARG_LATENCY_MS);
	if (event->has_latency)
		event->latency_ms = PG_GETARG_FLOAT8(ARG_LATENCY_MS);
	event->user_id = TEXT_ARG(ARG_USER_ID);
	event->cost = PG_ARGISNULL(ARG_COST) ? NULL : PG_GETARG_NUMERIC(ARG_COST);
	event->metadata = PG_ARGISNULL(ARG_METADATA) ? NULL :
		PG_GETARG_JSONB_P(ARG_METADATA);
	event->idempotency_key = TEXT_ARG(ARG_IDEMPOTENCY_KEY);
	event->request_id = TEXT_ARG(ARG_REQUEST_ID);
	event->error_message = TEXT_ARG(ARG_ERROR_MESSAGE);
}

/*
 * Can events be tracked here and now?  An error says why not.
 */
HOT_PATH void
track_begin(const char *function)
{
	PreventCommandIfParallelMode(function);
	if (setting_durability == DURABILITY_COMMIT)
		PreventCommandIfReadOnly(function);
	else if (!shared_available())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("events cannot be buffered, as meter is not preloaded"),
				 errhint("Add meter to \"shared_preload_libraries\" and restart the server, or set meter.durability to commit.")));
	else if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s during recovery", function),
				 errdetail("A standby has no log of its own."),
				 errhint("Track events on the primary.")));
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
 * Put events into the queue.  Those for which there is no room go into the
 * inbox for the flush to look at, in the caller's transaction.  A call waits
 * for room only once.
 */
HOT_PATH static void
store_buffered(Event *const *events, int n)
{
	Event	  **left = NULL;
	int			nleft = 0;

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (queue_put(events[i], nleft == 0))
			continue;
		queue_count_fallback();
		if (XactReadOnly)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("queue of events is full"),
					 errdetail("The transaction is read-only, so that the event cannot be put into meter.inbox instead."),
					 errhint("Look at meter.stats for what keeps the background worker from emptying the queue, or increase meter.queue_size.")));
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
HOT_PATH void
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
 * Check an event, which is received now, and store it, or raise an error.
 */
HOT_PATH void
track_one(Event *event)
{
	EventError	error;
	TrackResult result = TRACK_ACCEPTED;

	if (!event_check(event, event->received_at,
					 setting_durability == DURABILITY_COMMIT, &error))
		event_throw(&error);
	track_store(&event, 1, &result);
	if (result == TRACK_DUPLICATE)
		ereport(NOTICE,
				(errmsg("event with idempotency key \"%s\" was recorded before and is not counted again",
						text_to_cstring(event->idempotency_key))));
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

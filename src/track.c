/*
 * track.c
 *		meter_track(): recording one event.
 *
 * Commit durability: the event goes into meter.inbox in the caller's
 * transaction, together with its idempotency key, and rolls back with it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "event.h"
#include "idempotency.h"
#include "inbox.h"

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

static void
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

PG_FUNCTION_INFO_V1(meter_track);

Datum
meter_track(PG_FUNCTION_ARGS)
{
	Event		event;
	Event	   *list = &event;
	EventError	error;
	Claim		claim;

	PreventCommandIfReadOnly("meter_track()");
	PreventCommandIfParallelMode("meter_track()");
	event_from_args(&event, fcinfo);
	if (!event_check(&event, &error))
		event_throw(&error);
	idempotency_claim(&list, 1, &claim);
	if (claim == CLAIM_REPEAT)
		ereport(NOTICE,
				(errmsg("event with idempotency key \"%s\" was recorded before and is not counted again",
						text_to_cstring(event.idempotency_key))));
	else
		inbox_write(&list, 1);
	PG_RETURN_VOID();
}

/*
 * correct.c
 *		meter_correct(): correcting events.
 *
 * The log is append-only: a correction appends an amendment, which takes the
 * place of the event it names, and the event is marked superseded by it when
 * the flush appends it.  The amendment has the event's tenant, metric and time,
 * so it is counted in the same hour, which the rollup computes anew.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "context.h"
#include "event.h"
#include "flush.h"
#include "inbox.h"
#include "llm_token.h"
#include "owner.h"

/* Arguments of meter_correct, in the order of correct.sql. */
enum
{
	ARG_TENANT,
	ARG_IDEMPOTENCY_KEY,
	ARG_SEQ,
	ARG_QUANTITY,
	ARG_COST,
	ARG_STATUS,
	ARG_LATENCY_MS,
	ARG_METADATA,
	ARG_VOID
};

/* The event as a row of meter.inbox that corrects it. */
#define CORRECTION_COLUMNS \
	"pg_catalog.clock_timestamp(), e.at, e.latency_ms, e.seq, e.status, true, false, " \
	"e.tenant, e.metric, e.quantity, e.service, e.endpoint, e.method, e.user_id, " \
	"e.cost, e.metadata, e.idempotency_key, e.request_id, e.error_message"

/* A call of a language model has the key together with its tokens. */
#define MAX_EVENTS (1 + LLM_TOKEN_TYPES)

/*
 * Read the events that still count by their key or the one by its position.
 * The key of a call is also that of its tokens, which are wanted only if all
 * is to be void.  Returns how many there are.
 */
static int
find_events(Datum tenant, bool by_key, Datum key_or_seq, bool voids,
			Event *events)
{
	static SPIPlanPtr key_plan = NULL;
	static SPIPlanPtr seq_plan = NULL;
	Datum		args[3];
	Datum		values[INBOX_COLUMNS];
	bool		isnull[INBOX_COLUMNS];
	bool		validated;

	args[0] = tenant;
	args[1] = key_or_seq;
	args[2] = BoolGetDatum(voids);

	/*
	 * All partitions are in the plans, but few are read: compiling them would
	 * take much longer.
	 */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);

	/* the subqueries give the event's time or day, so one partition is read */
	if (by_key)
		owner_plan(&key_plan,
				   "SELECT " CORRECTION_COLUMNS " "
				   "FROM (SELECT k.*, bool_or(k.metric = '" LLM_REQUESTS "') OVER () AS of_call "
				   "  FROM meter.event AS k "
				   "  WHERE k.tenant = $1 AND k.idempotency_key = $2 "
				   "  AND k.at = (SELECT i.at FROM meter.idempotency_key AS i "
				   "              WHERE i.tenant = $1 AND i.key = $2)) AS e "
				   "WHERE e.superseded_by IS NULL "
				   "AND ($3 OR NOT e.of_call OR e.metric <> '" LLM_TOKENS "') "
				   "ORDER BY e.seq",
				   3, TEXTOID, TEXTOID, BOOLOID);
	else
		owner_plan(&seq_plan,
				   "SELECT e.* FROM meter.event_partition AS p "
				   "CROSS JOIN LATERAL (SELECT " CORRECTION_COLUMNS " "
				   "  FROM meter.event AS e "
				   "  WHERE e.tenant = $1 AND e.seq = $2 "
				   "  AND e.at >= p.day::timestamp AT TIME ZONE 'UTC' "
				   "  AND e.at < (p.day + 1)::timestamp AT TIME ZONE 'UTC' "
				   "  AND e.superseded_by IS NULL OFFSET 0) AS e "
				   "WHERE p.first_seq <= $2 AND p.last_seq >= $2",
				   2, TEXTOID, INT8OID);
	if (SPI_execute_plan(by_key ? key_plan : seq_plan, args, NULL, false,
						 by_key ? MAX_EVENTS : 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read an event");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values,
						  isnull);
		inbox_read(values, isnull, &events[i], &validated);
	}
	return (int) SPI_processed;
}

PG_FUNCTION_INFO_V1(meter_correct);

Datum
meter_correct(PG_FUNCTION_ARGS)
{
	OwnerScope	scope;
	FlushResult flushed;
	Event		events[MAX_EVENTS];
	Event	   *event = &events[0];
	Event	   *list[MAX_EVENTS];
	EventError	error;
	bool		by_key = !PG_ARGISNULL(ARG_IDEMPOTENCY_KEY);
	bool		voids = !PG_ARGISNULL(ARG_VOID) && PG_GETARG_BOOL(ARG_VOID);
	int			n;

	PreventCommandIfReadOnly("meter_correct()");
	PreventCommandIfParallelMode("meter_correct()");
	if (PG_ARGISNULL(ARG_TENANT))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant must not be null")));
	if (by_key == !PG_ARGISNULL(ARG_SEQ))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("either idempotency_key or seq must name the event to correct")));

	context_check(PG_GETARG_TEXT_PP(ARG_TENANT), fcinfo->flinfo->fn_oid);
	flush_waiting(true, false, &flushed);
	owner_begin(&scope);
	n = find_events(PG_GETARG_DATUM(ARG_TENANT), by_key,
					by_key ? PG_GETARG_DATUM(ARG_IDEMPOTENCY_KEY) :
					PG_GETARG_DATUM(ARG_SEQ), voids, events);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 by_key ?
				 errmsg("tenant \"%s\" has no event with idempotency key \"%s\" that counts",
						TextDatumGetCString(PG_GETARG_DATUM(ARG_TENANT)),
						TextDatumGetCString(PG_GETARG_DATUM(ARG_IDEMPOTENCY_KEY))) :
				 errmsg("tenant \"%s\" has no event %lld that counts",
						TextDatumGetCString(PG_GETARG_DATUM(ARG_TENANT)),
						(long long) PG_GETARG_INT64(ARG_SEQ)),
				 errdetail("It does not exist, is past meter.retention (its key past meter.dedup_window), or was voided or corrected under another seq.")));
	if (!PG_ARGISNULL(ARG_QUANTITY))
		event->quantity = PG_GETARG_NUMERIC(ARG_QUANTITY);
	if (!PG_ARGISNULL(ARG_COST))
		event->cost = PG_GETARG_NUMERIC(ARG_COST);
	if (!PG_ARGISNULL(ARG_STATUS))
	{
		event->status = PG_GETARG_INT32(ARG_STATUS);
		event->has_status = true;
	}
	if (!PG_ARGISNULL(ARG_LATENCY_MS))
	{
		event->latency_ms = PG_GETARG_FLOAT8(ARG_LATENCY_MS);
		event->has_latency = true;
	}
	if (!PG_ARGISNULL(ARG_METADATA))
		event->metadata = PG_GETARG_JSONB_P(ARG_METADATA);
	for (int i = 0; i < n; i++)
	{
		events[i].voids = voids;
		if (!event_check(&events[i], GetCurrentTimestamp(), true, &error))
			event_throw(&error);
		list[i] = &events[i];
	}
	inbox_write(list, n, true);

	/*
	 * Corrections take turns, by the flush's lock.  One whose snapshot is too
	 * old to see another's must not think that it will be applied: a conflict
	 * on this row makes it fail for its transaction's isolation.
	 */
	if (SPI_execute("UPDATE meter.log_position SET flushed_at = flushed_at",
					false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not lock the end of the log");
	owner_end(&scope);
	PG_RETURN_VOID();
}

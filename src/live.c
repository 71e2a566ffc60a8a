/*
 * live.c
 *		meter.usage_tail(): usage of what is not rolled up yet, for meter.live.
 *
 * Reads with the snapshot of the calling query, so that the hours of
 * meter.usage_hourly and the tail that the query adds to them belong together:
 * no event is in both, and none in neither.
 */
#include "postgres.h"

#include "access/table.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "rollup.h"

/*
 * Events that wait in the inbox.  Amendments are left to the flush, which
 * decides whether they apply.
 */
#define INBOX_QUERY \
	"SELECT 9223372036854775807 AS seq, at, tenant, metric, quantity, service, " \
	"endpoint, method, status, latency_ms, user_id, cost, metadata, " \
	"error_message IS NOT NULL, false, false " \
	"FROM meter.inbox WHERE validated AND corrects IS NULL"

/*
 * Return the rows, as (replaces, usage); only those of dirty hours when they
 * replace, and only the others when they do not.
 */
static void
return_rows(ReturnSetInfo *rsinfo, Usage *usage, Tuplestorestate *rows,
			TupleDesc desc, bool replaces)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (dirty_has(&usage->dirty,
					  DatumGetTextPP(slot->tts_values[USAGE_TENANT]),
					  DatumGetTimestampTz(slot->tts_values[USAGE_HOUR])) != replaces)
			continue;
		values[0] = BoolGetDatum(replaces);
		values[1] = ExecFetchSlotHeapTupleDatum(slot);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		pfree(DatumGetPointer(values[1]));
	}
	ExecDropSingleTupleTableSlot(slot);
}

PG_FUNCTION_INFO_V1(meter_usage_tail);

Datum
meter_usage_tail(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	OwnerScope	scope;
	Usage	   *usage;
	Relation	hourly;
	TupleDesc	desc;
	Tuplestorestate *rows;
	int64		upto;

	InitMaterializedSRF(fcinfo, 0);
	owner_begin(&scope);
	hourly = table_open(owner_relation("usage_hourly"), AccessShareLock);
	desc = RelationGetDescr(hourly);
	usage = usage_begin(fcinfo->flinfo->fn_oid);
	usage->want_hours = true;
	usage->keep_dirty = true;

	upto = rollup_log_end(true);
	rollup_scan(usage, rollup_position(true), upto, true);
	usage_scan(usage, INBOX_QUERY, 0, NULL, NULL, true);
	rows = tuplestore_begin_heap(false, false, work_mem);
	usage_put_hours(usage, rows, desc);
	rollup_find_overlaps(usage, rows, true);
	return_rows(rsinfo, usage, rows, desc, false);
	tuplestore_end(rows);

	if (usage->dirty.n > 0)
	{
		usage_reset(usage);
		usage->keep_dirty = false;
		rollup_scan_dirty(usage, &usage->dirty, USECS_PER_HOUR, upto, true);

		/* of the inbox all is read, and the other hours are left out below */
		usage_scan(usage, INBOX_QUERY, 0, NULL, NULL, true);
		rows = tuplestore_begin_heap(false, false, work_mem);
		usage_put_hours(usage, rows, desc);
		return_rows(rsinfo, usage, rows, desc, true);
		tuplestore_end(rows);
	}
	table_close(hourly, AccessShareLock);
	owner_end(&scope);
	return (Datum) 0;
}

/*
 * live.c
 *		meter.usage_tail(): usage of what is not rolled up yet, for meter.live.
 *
 * Reads with the snapshot of the calling query, so that the hours of
 * meter.usage_hourly and the tail that the query adds to them belong together:
 * no event is in both, and none in neither.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "llm_token.h"
#include "owner.h"
#include "rollup.h"
#include "row_security.h"

/*
 * Events that wait in the inbox.  Amendments are left to the flush, which
 * decides whether they apply.
 */
#define INBOX_QUERY \
	"SELECT 9223372036854775807 AS seq, at, tenant, metric, quantity, service, " \
	"endpoint, method, status, latency_ms, user_id, cost, metadata, " \
	"error_message IS NOT NULL, NULL::bigint, false " \
	"FROM meter.inbox WHERE validated AND corrects IS NULL"

/* The tokens that the flush will append behind calls of language models. */
#define TOKENS_QUERY \
	"SELECT 9223372036854775807 AS seq, i.at, i.tenant, '" LLM_TOKENS "'::text, t.quantity, i.service, " \
	"i.endpoint, i.method, NULL::integer, NULL::double precision, i.user_id, NULL::numeric, t.metadata, " \
	"false, NULL::bigint, false " \
	"FROM meter.inbox AS i CROSS JOIN LATERAL meter.tokens_of_call(i.metadata) AS t " \
	"WHERE i.validated AND i.corrects IS NULL AND i.metric = '" LLM_REQUESTS "'"

/*
 * Add them, those of one tenant or, with NULL, of all.
 */
static void
scan_inbox(Usage *usage, text *tenant)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(tenant)};

	if (tenant == NULL)
	{
		usage_scan(usage, INBOX_QUERY, 0, NULL, NULL, true);
		usage_scan(usage, TOKENS_QUERY, 0, NULL, NULL, true);
	}
	else
	{
		usage_scan(usage, INBOX_QUERY " AND tenant = $1", 1, types, values, true);
		usage_scan(usage, TOKENS_QUERY " AND i.tenant = $1", 1, types, values, true);
	}
}

/* As row security does with meter.usage_hourly. */
static bool
is_shown(ArrayType *visible, text *tenant)
{
	return row_security_shows(visible, VARDATA_ANY(tenant), VARSIZE_ANY_EXHDR(tenant));
}

/*
 * Return the rows, as (replaces, usage); only those of dirty hours when they
 * replace, and only the others when they do not.
 */
static void
return_rows(ReturnSetInfo *rsinfo, Usage *usage, Tuplestorestate *rows,
			TupleDesc desc, bool replaces, ArrayType *visible)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	/* a query over the rows has left a read pointer of its own at their end */
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (!is_shown(visible, DatumGetTextPP(slot->tts_values[USAGE_TENANT])) ||
			dirty_has(&usage->dirty,
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

/*
 * Return a row without events for each dirty hour, as it may have no others:
 * if the last event that counted was voided, the view must still know that
 * what meter.usage_hourly has is replaced.
 */
static void
return_markers(ReturnSetInfo *rsinfo, Usage *usage, TupleDesc desc, ArrayType *visible)
{
	for (int i = 0; i < usage->dirty.n; i++)
	{
		Datum		row[USAGE_HOURLY_COLUMNS];
		bool		isnull[USAGE_HOURLY_COLUMNS];
		Datum		values[2];
		bool		nulls[2] = {false, false};

		if (!is_shown(visible, usage->dirty.items[i].tenant))
			continue;
		memset(isnull, true, sizeof(isnull));
		row[USAGE_HOUR] = TimestampTzGetDatum(usage->dirty.items[i].start);
		row[USAGE_TENANT] = PointerGetDatum(usage->dirty.items[i].tenant);
		row[USAGE_EVENTS] = Int64GetDatum(0);
		isnull[USAGE_HOUR] = isnull[USAGE_TENANT] = isnull[USAGE_EVENTS] = false;
		values[0] = BoolGetDatum(true);
		values[1] = heap_copy_tuple_as_datum(heap_form_tuple(desc, row, isnull),
											 desc);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* The rows made so far, when memory runs out in between. */
typedef struct Tail
{
	Tuplestorestate *rows;
	TupleDesc	desc;
} Tail;

/*
 * Put the groups aside as rows, which the view adds up by their keys.  That is
 * not right for gauges in more than one part, so their hours are read again.
 * In a scope of its own, since the scan whose SPI level it would disturb is
 * still running.
 */
static void
tail_full(Usage *usage, void *arg)
{
	Tail	   *tail = arg;
	OwnerScope	scope;
	keymap_iterator iterator;
	KeymapEntry *entry;

	owner_begin(&scope);
	keymap_start_iterate(usage->hours, &iterator);
	while ((entry = keymap_iterate(usage->hours, &iterator)) != NULL)
	{
		UsageHour  *group = entry->value;
		const char *position = group->key.data;

		if (group->gauge)
			dirty_add(&usage->dirty, (text *) key_get_varlena(&position),
					  group->hour, false);
	}
	usage_put_hours(usage, tail->rows, tail->desc);
	owner_end(&scope);
}

PG_FUNCTION_INFO_V1(meter_usage_tail);

Datum
meter_usage_tail(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	text	   *tenant = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	ArrayType  *visible = row_security_tenants();
	OwnerScope	scope;
	Usage	   *usage;
	Relation	hourly;
	Tail		tail;
	int64		upto;

	InitMaterializedSRF(fcinfo, 0);

	/* who sees one tenant need not read what is of others */
	if (tenant == NULL && visible != NULL && ARR_NDIM(visible) == 1 && ARR_DIMS(visible)[0] == 1)
	{
		Datum	   *only;
		int			n;

		deconstruct_array(visible, TEXTOID, -1, false, TYPALIGN_INT, &only, NULL, &n);
		tenant = DatumGetTextPP(only[0]);
	}
	owner_begin(&scope);
	hourly = table_open(owner_relation("usage_hourly"), AccessShareLock);
	tail.desc = RelationGetDescr(hourly);
	tail.rows = tuplestore_begin_heap(false, false, work_mem);
	usage = usage_begin(fcinfo->flinfo->fn_oid);
	usage->want_hours = true;
	usage->keep_dirty = true;
	usage->full = tail_full;
	usage->full_arg = &tail;

	upto = rollup_log_end(true);
	rollup_scan(usage, rollup_position(true), upto, tenant, true);
	scan_inbox(usage, tenant);
	usage_put_hours(usage, tail.rows, tail.desc);
	rollup_find_overlaps(usage, tail.rows, true);
	return_rows(rsinfo, usage, tail.rows, tail.desc, false, visible);

	if (usage->dirty.n > 0)
	{
		usage_reset(usage);
		usage->keep_dirty = false;
		usage->full = NULL;
		rollup_scan_dirty(usage, &usage->dirty, USECS_PER_HOUR, upto, true);

		/* of the inbox all is read, and the other hours are left out below */
		scan_inbox(usage, tenant);
		tuplestore_clear(tail.rows);
		usage_put_hours(usage, tail.rows, tail.desc);
		return_rows(rsinfo, usage, tail.rows, tail.desc, true, visible);
		return_markers(rsinfo, usage, tail.desc, visible);
	}
	tuplestore_end(tail.rows);
	table_close(hourly, AccessShareLock);
	owner_end(&scope);
	return (Datum) 0;
}

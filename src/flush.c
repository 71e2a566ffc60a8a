/*
 * flush.c
 *		meter_flush(): moving waiting events into the log.
 *
 * The one source so far is meter.inbox.  A row leaves the inbox in the same
 * transaction in which it appears in meter.event, is counted as a repeat or
 * is kept in meter.rejected_event, so it is never lost and never there twice.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "event.h"
#include "flush.h"
#include "idempotency.h"
#include "inbox.h"
#include "log.h"
#include "owner.h"
#include "reject.h"

/* Rows looked at in one go; bounds the memory of a flush. */
#define FLUSH_CHUNK 10000

typedef struct Flush
{
	Log		   *log;
	Relation	inbox;
	Snapshot	snapshot;
	MemoryContext chunk_context;
	int64		duplicates;
	int64		rejected;
} Flush;

/* A row of the inbox on its way. */
typedef struct Waiting
{
	HeapTuple	row;
	Event		event;
	bool		validated;
} Waiting;

/*
 * The row as JSON, without our own columns, for meter.rejected_event; NULL if
 * it is too large to keep.
 */
static Jsonb *
waiting_to_json(HeapTuple row, TupleDesc desc)
{
	Oid			rowtype = desc->tdtypeid;
	Datum		arg = heap_copy_tuple_as_datum(row, desc);
	bool		isnull;
	Jsonb	   *result;
	Size		size = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Datum		value = heap_getattr(row, i + 1, desc, &isnull);

		if (!isnull && TupleDescAttr(desc, i)->attlen == -1)
			size += toast_raw_datum_size(value);
	}
	if (size > REJECT_MAX_EVENT)
		return NULL;
	if (SPI_execute_with_args("SELECT pg_catalog.jsonb_strip_nulls("
							  "pg_catalog.to_jsonb($1) - ARRAY['validated', 'voids'])",
							  1, &rowtype, &arg, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read a rejected event");
	result = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0],
											  SPI_tuptable->tupdesc, 1,
											  &isnull));
	SPI_freetuptable(SPI_tuptable);
	return result;
}

static void
flush_reject(Flush *flush, const Waiting *waiting, const EventError *error)
{
	reject_store(REJECT_INBOX, error, waiting->event.tenant,
				 waiting_to_json(waiting->row, RelationGetDescr(flush->inbox)));
	flush->rejected++;
}

/*
 * Check the rows that nobody has checked yet, drop what is refused or a
 * repeat, and append the rest.
 */
static void
flush_chunk(Flush *flush, Waiting *rows, int nrows)
{
	Event	  **unclaimed = palloc(nrows * sizeof(Event *));
	int		   *owner = palloc(nrows * sizeof(int));
	Claim	   *claims = palloc(nrows * sizeof(Claim));
	bool	   *drop = palloc0(nrows * sizeof(bool));
	EventError	error;
	int			n = 0;

	for (int i = 0; i < nrows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		drop[i] = rows[i].validated ?
			!event_check_age(&rows[i].event, &error) :
			!event_check(&rows[i].event, &error);
		if (drop[i])
			flush_reject(flush, &rows[i], &error);
		else if (!rows[i].validated)
		{
			owner[n] = i;
			unclaimed[n++] = &rows[i].event;
		}
	}
	idempotency_claim(unclaimed, n, claims);
	for (int i = 0; i < n; i++)
		if (claims[i] == CLAIM_REPEAT)
		{
			drop[owner[i]] = true;
			flush->duplicates++;
		}
	for (int i = 0; i < nrows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!drop[i] && !log_append(flush->log, &rows[i].event, &error))
			flush_reject(flush, &rows[i], &error);
	}
}

/*
 * Delete a row of the inbox; false if somebody else has deleted it since the
 * snapshot was taken.
 */
static bool
flush_delete(Flush *flush, ItemPointer tid)
{
	TM_FailureData failure;
	TM_Result	result = table_tuple_delete(flush->inbox, tid,
											GetCurrentCommandId(true),
											flush->snapshot, InvalidSnapshot,
											true, &failure, false);

	if (result == TM_Ok)
		return true;

	/* an older snapshot, which cannot see that it was flushed already */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent delete")));
	return false;
}

/*
 * Take rows out of the inbox, at most FLUSH_CHUNK.
 */
static int
flush_take(Flush *flush, TableScanDesc scan, TupleTableSlot *slot,
		   Waiting *rows)
{
	Datum		values[INBOX_COLUMNS];
	bool		isnull[INBOX_COLUMNS];
	int			n = 0;

	while (n < FLUSH_CHUNK &&
		   table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		Waiting    *waiting = &rows[n++];

		CHECK_FOR_INTERRUPTS();
		waiting->row = ExecCopySlotHeapTuple(slot);
		if (!flush_delete(flush, &slot->tts_tid))
		{
			n--;
			continue;
		}
		heap_deform_tuple(waiting->row, RelationGetDescr(flush->inbox),
						  values, isnull);
		inbox_read(values, isnull, &waiting->event, &waiting->validated);
	}
	return n;
}

static void
flush_inbox(Flush *flush)
{
	TableScanDesc scan;
	TupleTableSlot *slot;
	int			n;

	flush->inbox = table_open(owner_relation("inbox"), RowExclusiveLock);
	if (RelationGetDescr(flush->inbox)->natts != INBOX_COLUMNS)
		elog(ERROR, "meter.inbox does not have the expected columns");

	/* taken under the log's lock, so it sees what the last flush deleted */
	flush->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	slot = table_slot_create(flush->inbox, NULL);
	scan = table_beginscan(flush->inbox, flush->snapshot, 0, NULL);
	do
	{
		MemoryContext old;
		Waiting    *rows;

		MemoryContextReset(flush->chunk_context);
		old = MemoryContextSwitchTo(flush->chunk_context);
		rows = palloc(FLUSH_CHUNK * sizeof(Waiting));
		n = flush_take(flush, scan, slot, rows);
		if (n > 0)
			flush_chunk(flush, rows, n);
		MemoryContextSwitchTo(old);
	} while (n == FLUSH_CHUNK);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(flush->snapshot);
	table_close(flush->inbox, NoLock);
}

/*
 * Move all waiting events into the log, in the current transaction.
 */
void
flush_waiting(FlushResult *result)
{
	OwnerScope	scope;
	Flush		flush = {0};

	owner_begin(&scope);
	flush.log = log_begin();
	flush.chunk_context = AllocSetContextCreate(CurrentMemoryContext,
												"meter flush rows",
												ALLOCSET_DEFAULT_SIZES);
	flush_inbox(&flush);
	log_end(flush.log);
	result->appended = log_appended(flush.log);
	result->duplicates = flush.duplicates;
	result->rejected = flush.rejected;
	owner_end(&scope);
}

PG_FUNCTION_INFO_V1(meter_flush);

Datum
meter_flush(PG_FUNCTION_ARGS)
{
	FlushResult result;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	PreventCommandIfReadOnly("meter_flush()");
	PreventCommandIfParallelMode("meter_flush()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	flush_waiting(&result);
	values[0] = Int64GetDatum(result.appended);
	values[1] = Int64GetDatum(result.duplicates);
	values[2] = Int64GetDatum(result.rejected);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/*
 * flush.c
 *		meter_flush(): moving waiting events into the log.
 *
 * The one source so far is meter.inbox.  A row leaves the inbox in the same
 * transaction in which it appears in meter.event, is counted as a repeat or
 * is kept in meter.rejected_event, so it is never lost and never there twice.
 *
 * All tenants depend on this one writer, so no row may stop it: rows go in
 * chunks, each in a subtransaction, and one that fails is taken apart until
 * the row that is to blame is found and set aside.
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
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "event.h"
#include "flush.h"
#include "idempotency.h"
#include "inbox.h"
#include "log.h"
#include "metric.h"
#include "owner.h"
#include "partition.h"
#include "reject.h"

/* Rows, and bytes of them, dealt with in one go; bound the memory of a flush. */
#define FLUSH_CHUNK_ROWS 10000
#define FLUSH_CHUNK_BYTES (64 * 1024 * 1024)

/* A row of more bytes is refused without being read (ours have some 12 kB). */
#define FLUSH_MAX_ROW (64 * 1024)

/* How long to wait, in ms, for a session that has the same key in its hands. */
#define FLUSH_LOCK_TIMEOUT 1000

/* More rows that fail for reasons of their own are a failure of ours. */
#define FLUSH_MAX_POISON 100

typedef struct Flush
{
	Log		   *log;
	Relation	inbox;
	Snapshot	snapshot;
	MemoryContext chunk_context;
	FlushResult result;
	int			poison;
} Flush;

/* A row of the inbox on its way. */
typedef struct Waiting
{
	HeapTuple	row;
	Size		size;			/* of its values, detoasted */
	Event		event;
	bool		validated;
	bool		drop;
} Waiting;

/*
 * The row as JSON, without our own columns, for meter.rejected_event; NULL if
 * it is too large to keep.
 */
static Jsonb *
waiting_to_json(Flush *flush, const Waiting *waiting)
{
	TupleDesc	desc = RelationGetDescr(flush->inbox);
	MemoryContext context = CurrentMemoryContext;
	Oid			rowtype = desc->tdtypeid;
	Datum		arg;
	bool		isnull;
	Jsonb	   *result;

	if (waiting->size > REJECT_MAX_EVENT)
		return NULL;
	arg = heap_copy_tuple_as_datum(waiting->row, desc);
	if (SPI_execute_with_args("SELECT pg_catalog.jsonb_strip_nulls("
							  "pg_catalog.to_jsonb($1) - ARRAY['validated', 'voids'])",
							  1, &rowtype, &arg, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read a rejected event");
	MemoryContextSwitchTo(context); /* SPI has left its own */
	result = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0],
											  SPI_tuptable->tupdesc, 1,
											  &isnull));
	SPI_freetuptable(SPI_tuptable);
	return result;
}

static void
flush_reject(Flush *flush, Waiting *waiting, const EventError *error)
{
	reject_store(REJECT_INBOX, error, waiting->event.tenant,
				 waiting_to_json(flush, waiting));
	flush->result.rejected++;
	waiting->drop = true;
}

/*
 * The event of the row.  Of a row that is far too large only the tenant is
 * read, to say whose it was.
 */
static bool
waiting_read(Flush *flush, Waiting *waiting, EventError *error)
{
	TupleDesc	desc = RelationGetDescr(flush->inbox);
	Datum		values[INBOX_COLUMNS];
	bool		isnull[INBOX_COLUMNS];
	text	   *tenant;

	heap_deform_tuple(waiting->row, desc, values, isnull);
	if (waiting->size <= FLUSH_MAX_ROW)
	{
		inbox_read(values, isnull, &waiting->event, &waiting->validated);
		return true;
	}
	memset(&waiting->event, 0, sizeof(Event));
	waiting->validated = false;
	if (!isnull[INBOX_TENANT])
	{
		tenant = (text *) PG_DETOAST_DATUM_SLICE(values[INBOX_TENANT], 0,
												 EVENT_MAX_TENANT);
		waiting->event.tenant =
			cstring_to_text_with_len(VARDATA_ANY(tenant),
									 pg_mbcliplen(VARDATA_ANY(tenant),
												  VARSIZE_ANY_EXHDR(tenant),
												  EVENT_MAX_TENANT));
	}
	return event_refuse(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
						pstrdup("event is too large"),
						psprintf("It has %zu bytes; at most %d are read.",
								 waiting->size, FLUSH_MAX_ROW),
						NULL);
}

/*
 * Would the row have to wait for a session that has claimed the same key, or
 * registered the same metric, and has not committed yet, or that reads the log
 * while a partition must be made for the row?  It might.
 */
static bool
might_wait(const Waiting *waiting)
{
	const Event *event = &waiting->event;

	if (event->has_at && !TIMESTAMP_NOT_FINITE(event->at) &&
		!partition_exists(&partition_event, partition_day(event->at)))
		return true;
	return !waiting->validated &&
		(event->idempotency_key != NULL ||
		 (event->metric != NULL &&
		  metric_lookup(text_to_cstring(event->metric)) == NULL));
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
 * By the event's day; within a day in the order in which they came, which is
 * that of the array they are in.
 */
static int
compare_day(const void *pa, const void *pb)
{
	const Waiting *a = *(Waiting *const *) pa;
	const Waiting *b = *(Waiting *const *) pb;
	DateADT		day_a = a->drop ? 0 : partition_day(a->event.at);
	DateADT		day_b = b->drop ? 0 : partition_day(b->event.at);

	if (day_a != day_b)
		return day_a < day_b ? -1 : 1;
	return a < b ? -1 : a > b;
}

/*
 * Take the rows out of the inbox, check those that nobody has checked yet,
 * drop what is refused or a repeat, and append the rest.  With leave_waiting,
 * rows that might have to wait for another session stay where they are.
 */
static void
flush_rows(Flush *flush, Waiting *rows, int nrows, bool leave_waiting)
{
	Event	  **unclaimed = palloc(nrows * sizeof(Event *));
	Waiting   **owner = palloc(nrows * sizeof(Waiting *));
	Claim	   *claims = palloc(nrows * sizeof(Claim));
	Waiting   **order = palloc(nrows * sizeof(Waiting *));
	EventError	error;
	int			n = 0;

	for (int i = 0; i < nrows; i++)
	{
		Waiting    *waiting = &rows[i];
		bool		readable;

		CHECK_FOR_INTERRUPTS();
		readable = waiting_read(flush, waiting, &error);
		waiting->drop = (readable && leave_waiting && might_wait(waiting)) ||
			!flush_delete(flush, &waiting->row->t_self);
		if (waiting->drop)
			continue;

		/* all that can refuse it, before it uses up its idempotency key */
		if (!readable ||
			!(waiting->validated ? event_check_age(&waiting->event, &error) :
			  event_check(&waiting->event, &error)) ||
			!log_check_day(flush->log, &waiting->event, &error))
			flush_reject(flush, waiting, &error);
		else if (!waiting->validated)
		{
			owner[n] = waiting;
			unclaimed[n++] = &waiting->event;
		}
	}
	idempotency_claim(unclaimed, n, claims);
	for (int i = 0; i < n; i++)
		if (claims[i] == CLAIM_REPEAT)
		{
			owner[i]->drop = true;
			flush->result.duplicates++;
		}

	/* day by day, so that each partition is opened once */
	for (int i = 0; i < nrows; i++)
		order[i] = &rows[i];
	qsort(order, nrows, sizeof(Waiting *), compare_day);
	for (int i = 0; i < nrows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!order[i]->drop &&
			!log_append(flush->log, &order[i]->event, &error))
			flush_reject(flush, order[i], &error);
	}
	log_settle(flush->log);
}

/* Keep a row whose event raised an error of its own. */
static void
flush_poison(Flush *flush, Waiting *waiting, const ErrorData *edata)
{
	EventError	error = {edata->sqlerrcode, edata->message, edata->detail, NULL};

	memset(&waiting->event, 0, sizeof(Event));
	if (flush_delete(flush, &waiting->row->t_self))
		flush_reject(flush, waiting, &error);
}

/*
 * Run one of the two in a subtransaction.  Returns NULL if that went well;
 * else nothing of it has happened, and the error is returned.
 */
static ErrorData *
flush_try(Flush *flush, Waiting *rows, int nrows, bool leave_waiting,
		  const ErrorData *poison)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resource_owner = CurrentResourceOwner;
	FlushResult result = flush->result;
	LogMark		mark = log_mark(flush->log);
	ErrorData  *volatile failure = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (poison != NULL)
			flush_poison(flush, rows, poison);
		else
			flush_rows(flush, rows, nrows, leave_waiting);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		failure = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		log_rewind(flush->log, &mark);
		flush->result = result;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resource_owner;
	return failure;
}

/*
 * Is it an error of the event, and not of the server, the transaction or
 * whoever runs it?
 */
static bool
is_poison(const ErrorData *edata)
{
	switch (ERRCODE_TO_CATEGORY(edata->sqlerrcode))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return false;
		default:
			return true;
	}
}

/*
 * Flush rows so that one that cannot be flushed stops no other: if they fail
 * together, their halves are tried, down to the row that fails alone.
 */
static void
flush_chunk(Flush *flush, Waiting *rows, int nrows)
{
	ErrorData  *failure = flush_try(flush, rows, nrows, false, NULL);

	if (failure == NULL)
		return;
	if (failure->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		failure = flush_try(flush, rows, nrows, true, NULL);
		if (failure == NULL)
			return;
	}
	if (!is_poison(failure))
		ReThrowError(failure);
	if (nrows > 1)
	{
		flush_chunk(flush, rows, nrows / 2);
		flush_chunk(flush, rows + nrows / 2, nrows - nrows / 2);
		return;
	}
	if (++flush->poison > FLUSH_MAX_POISON)
		ReThrowError(failure);
	failure = flush_try(flush, rows, 1, false, failure);
	if (failure != NULL)
		ReThrowError(failure);
}

/*
 * The size of a row's values of variable length when they are detoasted.
 */
static Size
row_size(TupleTableSlot *slot)
{
	Size		size = 0;

	slot_getallattrs(slot);
	for (int i = INBOX_TENANT; i < INBOX_COLUMNS; i++)
		if (!slot->tts_isnull[i])
			size += toast_raw_datum_size(slot->tts_values[i]);
	return size;
}

/*
 * Read the next rows of the inbox.  *more becomes false at the last one: a
 * scan that is asked again after its end begins anew.
 */
static int
flush_take(Flush *flush, TableScanDesc scan, TupleTableSlot *slot,
		   Waiting *rows, bool *more)
{
	Size		bytes = 0;
	int			n = 0;

	while (n < FLUSH_CHUNK_ROWS && bytes < FLUSH_CHUNK_BYTES)
	{
		Waiting    *waiting = &rows[n];

		CHECK_FOR_INTERRUPTS();
		*more = table_scan_getnextslot(scan, ForwardScanDirection, slot);
		if (!*more)
			break;
		n++;
		waiting->row = ExecCopySlotHeapTuple(slot);
		waiting->row->t_self = slot->tts_tid;
		waiting->size = row_size(slot);
		bytes += Min(waiting->size, FLUSH_MAX_ROW);
	}
	return n;
}

static void
flush_inbox(Flush *flush)
{
	TableScanDesc scan;
	TupleTableSlot *slot;
	bool		more;

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
		int			n;

		MemoryContextReset(flush->chunk_context);
		old = MemoryContextSwitchTo(flush->chunk_context);
		rows = palloc(FLUSH_CHUNK_ROWS * sizeof(Waiting));
		n = flush_take(flush, scan, slot, rows, &more);
		if (n > 0)
			flush_chunk(flush, rows, n);
		MemoryContextSwitchTo(old);
	} while (more);
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

	/*
	 * Another session may hold an idempotency key or a new metric in its
	 * hands for as long as its transaction is open.  Nobody else's events
	 * shall wait for it.
	 */
	if (LockTimeout == 0 || LockTimeout > FLUSH_LOCK_TIMEOUT)
		(void) set_config_option("lock_timeout", CppAsString2(FLUSH_LOCK_TIMEOUT),
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	flush_inbox(&flush);
	log_end(flush.log);
	flush.result.appended = log_appended(flush.log);
	*result = flush.result;
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

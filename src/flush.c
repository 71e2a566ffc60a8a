/*
 * flush.c
 *		meter_flush(): moving waiting events into the log.
 *
 * Events wait in the queue and in meter.inbox.  An event leaves them in the
 * same transaction in which it appears in meter.event, is counted as a repeat
 * or is kept in meter.rejected_event, so it is never lost and never there
 * twice.
 *
 * All tenants depend on this one writer, so no event may stop it: they go in
 * chunks, each in a subtransaction, and one that fails is taken apart until
 * the event that is to blame is found and set aside.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "event_row.h"
#include "flush.h"
#include "idempotency.h"
#include "inbox.h"
#include "llm_token.h"
#include "log.h"
#include "metric.h"
#include "owner.h"
#include "partition.h"
#include "queue.h"
#include "reject.h"
#include "violation.h"
#include "waiting.h"

/* Events, and bytes of them, dealt with in one go; bound the memory of a flush. */
#define FLUSH_CHUNK_EVENTS 10000
#define FLUSH_CHUNK_BYTES (64 * 1024 * 1024)

/* How long to wait, in ms, for a session that has the same key in its hands. */
#define FLUSH_LOCK_TIMEOUT 1000

/* More events that fail for reasons of their own are a failure of ours. */
#define FLUSH_MAX_POISON 100

typedef struct Flush
{
	Log		   *log;
	Inbox		inbox;
	MemoryContext chunk_context;
	MemoryContext call_context; /* tokens of one call */
	TimestampTz now;
	FlushResult result;
	int			poison;
} Flush;

static void
flush_reject(Flush *flush, Waiting *waiting, const EventError *error)
{
	reject_store(waiting->queued != NULL ? REJECT_QUEUE : REJECT_INBOX, error,
				 waiting->event.tenant,
				 waiting_to_json(waiting, &flush->inbox));
	flush->result.rejected++;
	waiting->drop = true;
}

/*
 * All that can refuse an event, before it uses up its idempotency key.  Of a
 * queued event no more is read than must be.
 */
static bool
flush_check(Flush *flush, Waiting *waiting, EventError *error)
{
	if (!waiting->checked)
		return event_check(&waiting->event, flush->now, true, error) &&
			log_check_day(flush->log, &waiting->event, error);
	if (!event_check_age(&waiting->event, flush->now, error))
		return false;
	if (waiting->queued == NULL)
		return log_check_day(flush->log, &waiting->event, error);

	if (event_row_seq(waiting->queued) & QUEUE_NEW_METRIC)
	{
		(void) waiting_read(waiting, NULL, error);
		if (!event_check_metric(&waiting->event, true, error))
			return false;
	}
	if (!log_day_is_open(flush->log, waiting->event.at))
	{
		(void) waiting_read(waiting, NULL, error);
		return log_check_day(flush->log, &waiting->event, error);
	}
	return true;
}

/*
 * Let an event wait on for another session, where it is in nobody's way: in
 * the inbox.
 */
static void
flush_leave(Flush *flush, Waiting *waiting)
{
	Event	   *event = &waiting->event;

	if (waiting->queued != NULL)
	{
		inbox_write(&event, 1, false);
		flush->result.deferred++;
	}
	flush->result.left++;
	waiting->drop = true;
}

static bool
is_violation(const Waiting *waiting)
{
	return waiting->queued != NULL &&
		(event_row_seq(waiting->queued) & QUEUE_VIOLATION) != 0;
}

/*
 * Take one event from where it waits and decide whether it is to be dropped.
 * With leave_waiting, one that might have to wait for another session stays.
 */
static void
flush_take(Flush *flush, Waiting *waiting, bool leave_waiting)
{
	EventError	error;
	bool		readable = true;

	waiting->drop = false;
	waiting->is_read = false;
	if (is_violation(waiting))
	{
		(void) waiting_read(waiting, NULL, &error);
		violation_store(waiting->event.at, waiting->event.metadata);
		waiting->drop = true;
		return;
	}
	if (waiting->queued == NULL || leave_waiting)
		readable = waiting_read(waiting, &flush->inbox, &error);
	if (readable && leave_waiting && waiting_might_wait(waiting))
		flush_leave(flush, waiting);
	else if (!waiting_remove(waiting, &flush->inbox))
		waiting->drop = true;
	else if (!readable || !flush_check(flush, waiting, &error))
	{
		if (waiting->queued != NULL)
			(void) waiting_read(waiting, NULL, &error);
		flush_reject(flush, waiting, &error);
	}
	else if (waiting->event.ignored)
	{
		flush->result.ignored++;
		waiting->drop = true;
	}
}

static bool
has_key_to_claim(Waiting *waiting)
{
	EventError	error;

	if (waiting->drop || waiting->claimed)
		return false;
	if (waiting->queued != NULL)
	{
		if (!event_row_has(waiting->queued, EVENT_IDEMPOTENCY_KEY))
			return false;
		(void) waiting_read(waiting, NULL, &error);
	}
	return waiting->event.idempotency_key != NULL;
}

/*
 * Append an event and, if it is a call of a language model, its tokens.
 */
static void
flush_append(Flush *flush, Waiting *waiting)
{
	Event		tokens[LLM_TOKEN_TYPES];
	EventError	error;
	int			n = 0;

	if (waiting->queued != NULL && (event_row_seq(waiting->queued) & QUEUE_CALL))
		(void) waiting_read(waiting, NULL, &error);
	if (waiting->is_read && llm_is_call(&waiting->event))
	{
		MemoryContext old;

		/* of a chunk's calls together they would be many */
		MemoryContextReset(flush->call_context);
		old = MemoryContextSwitchTo(flush->call_context);
		n = llm_tokens(&waiting->event, tokens);
		MemoryContextSwitchTo(old);
	}
	if (waiting->queued != NULL)
		log_append_row(flush->log, waiting->queued);
	else if (!log_append(flush->log, &waiting->event, &error))
	{
		flush_reject(flush, waiting, &error);
		return;
	}
	if (n > 0 && metric_lookup(LLM_TOKENS) == NULL)
		(void) metric_register(LLM_TOKENS);
	for (int i = 0; i < n; i++)
		(void) log_append(flush->log, &tokens[i], &error);
}

/*
 * Take the events from where they wait, check those that nobody has checked
 * yet, drop what is refused or a repeat, and append the rest.
 */
static void
flush_events(Flush *flush, Waiting *events, int n, bool leave_waiting)
{
	Event	  **unclaimed = palloc(n * sizeof(Event *));
	Waiting   **owner = palloc(n * sizeof(Waiting *));
	Claim	   *claims = palloc(n * sizeof(Claim));
	Waiting   **order = palloc(n * sizeof(Waiting *));
	int			nunclaimed = 0;

	flush->now = GetCurrentTimestamp();
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		flush_take(flush, &events[i], leave_waiting);
		if (has_key_to_claim(&events[i]))
		{
			owner[nunclaimed] = &events[i];
			unclaimed[nunclaimed++] = &events[i].event;
		}
	}
	idempotency_claim(unclaimed, nunclaimed, claims);
	for (int i = 0; i < nunclaimed; i++)
		if (claims[i] == CLAIM_REPEAT)
		{
			owner[i]->drop = true;
			flush->result.duplicates++;
		}

	/* day by day, so that each partition is opened once */
	for (int i = 0; i < n; i++)
		order[i] = &events[i];
	qsort(order, n, sizeof(Waiting *), waiting_compare_day);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!order[i]->drop)
			flush_append(flush, order[i]);
	}
	log_settle(flush->log);
}

/*
 * Keep an event that raised an error of its own.
 */
static void
flush_poison(Flush *flush, Waiting *waiting, const ErrorData *edata)
{
	EventError	error = {edata->sqlerrcode, edata->message, edata->detail, NULL};
	EventError	unread;

	if (waiting->unreadable)
		memset(&waiting->event, 0, sizeof(Event));
	else
		(void) waiting_read(waiting, &flush->inbox, &unread);
	if (waiting_remove(waiting, &flush->inbox))
		flush_reject(flush, waiting, &error);
}

/*
 * Run one of the two in a subtransaction.  Returns NULL if that went well;
 * else nothing of it has happened, and the error is returned.
 */
static ErrorData *
flush_try(Flush *flush, Waiting *events, int n, bool leave_waiting,
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
			flush_poison(flush, events, poison);
		else
			flush_events(flush, events, n, leave_waiting);
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
 * Flush events so that one that cannot be flushed stops no other: if they fail
 * together, their halves are tried, down to the event that fails alone.
 */
static void
flush_chunk(Flush *flush, Waiting *events, int n)
{
	ErrorData  *failure = flush_try(flush, events, n, false, NULL);

	if (failure == NULL)
		return;
	if (failure->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		failure = flush_try(flush, events, n, true, NULL);
		if (failure == NULL)
			return;
	}
	if (!is_poison(failure))
		ReThrowError(failure);
	if (n > 1)
	{
		flush_chunk(flush, events, n / 2);
		flush_chunk(flush, events + n / 2, n - n / 2);
		return;
	}
	if (++flush->poison > FLUSH_MAX_POISON)
		ReThrowError(failure);
	if (flush_try(flush, events, 1, false, failure) == NULL)
		return;

	/* its content may be what cannot be stored anywhere */
	events->unreadable = true;
	failure = flush_try(flush, events, 1, false, failure);
	if (failure != NULL)
		ReThrowError(failure);
}

/*
 * Move what waits in the queue; returns where its space can be released up
 * to once this has committed, 0 if there is nothing.
 */
static uint64
flush_queue(Flush *flush, bool in_parts)
{
	QueueReader reader;
	bool		more = queue_read_begin(&reader, in_parts);

	if (!more)
		return 0;
	while (more)
	{
		MemoryContext old;
		Waiting    *events;
		Size		bytes = 0;
		int			n = 0;

		MemoryContextReset(flush->chunk_context);
		old = MemoryContextSwitchTo(flush->chunk_context);
		events = palloc(FLUSH_CHUNK_EVENTS * sizeof(Waiting));
		while (n < FLUSH_CHUNK_EVENTS && bytes < FLUSH_CHUNK_BYTES)
		{
			HeapTupleHeader row = queue_read(&reader);

			more = row != NULL;
			if (!more)
				break;
			waiting_from_queue(&events[n], row);
			bytes += events[n++].size;
		}
		if (n > 0)
			flush_chunk(flush, events, n);
		MemoryContextSwitchTo(old);
	}
	queue_read_end(&reader);
	flush->result.discarded = reader.discarded;
	flush->result.lost_bytes = reader.lost_bytes;
	flush->result.more = reader.more;
	return reader.position;
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
read_inbox(TableScanDesc scan, TupleTableSlot *slot, Waiting *events,
		   bool *more)
{
	Size		bytes = 0;
	int			n = 0;

	while (n < FLUSH_CHUNK_EVENTS && bytes < FLUSH_CHUNK_BYTES)
	{
		Waiting    *waiting = &events[n];

		CHECK_FOR_INTERRUPTS();
		*more = table_scan_getnextslot(scan, ForwardScanDirection, slot);
		if (!*more)
			break;
		n++;
		memset(waiting, 0, sizeof(*waiting));
		waiting->row = ExecCopySlotHeapTuple(slot);
		waiting->row->t_self = slot->tts_tid;
		waiting->size = row_size(slot);
		bytes += Min(waiting->size, WAITING_MAX_ROW);
	}
	return n;
}

static void
flush_inbox(Flush *flush)
{
	Inbox	   *inbox = &flush->inbox;
	TableScanDesc scan;
	TupleTableSlot *slot;
	bool		more;

	inbox->relation = table_open(owner_relation("inbox"), RowExclusiveLock);
	if (RelationGetDescr(inbox->relation)->natts != INBOX_COLUMNS)
		elog(ERROR, "meter.inbox does not have the expected columns");

	/* taken under the log's lock, so it sees what the last flush deleted */
	inbox->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	slot = table_slot_create(inbox->relation, NULL);
	scan = compat_beginscan(inbox->relation, inbox->snapshot);
	do
	{
		MemoryContext old;
		Waiting    *events;
		int			n;

		MemoryContextReset(flush->chunk_context);
		old = MemoryContextSwitchTo(flush->chunk_context);
		events = palloc(FLUSH_CHUNK_EVENTS * sizeof(Waiting));
		n = read_inbox(scan, slot, events, &more);
		if (n > 0)
			flush_chunk(flush, events, n);
		MemoryContextSwitchTo(old);

		/* a worker that is to end leaves the rest for the next one */
		if (more && ShutdownRequestPending)
		{
			flush->result.left++;
			break;
		}
	} while (more);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(inbox->snapshot);
	table_close(inbox->relation, NoLock);
}

/*
 * Move waiting events into the log, in the current transaction: those in the
 * inbox only if asked to, and those in the queue all or, with in_parts, so
 * many that their space can soon be given back.
 */
void
flush_waiting(bool with_inbox, bool in_parts, FlushResult *result)
{
	OwnerScope	scope;
	Flush		flush = {0};
	uint64		release;

	owner_begin(&scope);
	flush.log = log_begin();
	flush.chunk_context = AllocSetContextCreate(CurrentMemoryContext,
												"meter flush events",
												ALLOCSET_DEFAULT_SIZES);
	flush.call_context = AllocSetContextCreate(CurrentMemoryContext,
											   "meter flush call",
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
	if (with_inbox)
		flush_inbox(&flush);
	release = flush_queue(&flush, in_parts);
	log_end(flush.log);
	flush.result.appended = log_appended(flush.log);

	/* the worker has not come for the inbox if nobody uses it */
	if (!in_parts || flush.result.appended > 0)
		log_note_use();
	*result = flush.result;
	owner_end(&scope);
	flush_at_commit(release, result);
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
	flush_waiting(true, false, &result);
	values[0] = Int64GetDatum(result.appended);
	values[1] = Int64GetDatum(result.duplicates);
	values[2] = Int64GetDatum(result.rejected);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

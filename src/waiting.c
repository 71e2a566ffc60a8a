/*
 * waiting.c
 *		An event on its way from the queue or the inbox to the log.
 *
 * The flush (flush.c) treats both alike; what is different about them is here.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "compat.h"
#include "event_row.h"
#include "inbox.h"
#include "llm_token.h"
#include "metric.h"
#include "owner.h"
#include "partition.h"
#include "queue.h"
#include "reject.h"
#include "waiting.h"

void
waiting_from_queue(Waiting *waiting, HeapTupleHeader row)
{
	memset(waiting, 0, sizeof(*waiting));
	waiting->queued = row;
	waiting->size = HeapTupleHeaderGetDatumLength(row);
	waiting->checked = true;
	waiting->event.at = event_row_at(row);
	waiting->event.has_at = true;
}

/*
 * The event of the row.  Of a row that is far too large only the tenant is
 * read, to say whose it was.
 */
bool
waiting_read(Waiting *waiting, const Inbox *inbox, EventError *error)
{
	Datum		values[INBOX_COLUMNS];
	bool		isnull[INBOX_COLUMNS];
	text	   *tenant;

	if (waiting->queued != NULL)
	{
		if (!waiting->is_read)
			event_row_read(waiting->queued, queue_row_desc(), &waiting->event);
		waiting->is_read = true;
		return true;
	}
	waiting->is_read = true;
	heap_deform_tuple(waiting->row, RelationGetDescr(inbox->relation),
					  values, isnull);
	if (waiting->size <= WAITING_MAX_ROW)
	{
		inbox_read(values, isnull, &waiting->event, &waiting->checked);
		waiting->claimed = waiting->checked;
		return true;
	}
	memset(&waiting->event, 0, sizeof(Event));
	waiting->checked = waiting->claimed = false;
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
								 waiting->size, WAITING_MAX_ROW),
						NULL);
}

/*
 * Would the event have to wait for a session that has claimed the same key, or
 * registered the same metric, and has not committed yet, or that reads the log
 * while a partition must be made for the event?  It might.  It has been read.
 */
bool
waiting_might_wait(Waiting *waiting)
{
	const Event *event = &waiting->event;

	if (event->has_at && !TIMESTAMP_NOT_FINITE(event->at) &&
		!partition_exists(&partition_event, partition_day(event->at)))
		return true;
	if (llm_is_call(event) && metric_lookup(LLM_TOKENS) == NULL)
		return true;
	return !waiting->claimed &&
		(event->idempotency_key != NULL ||
		 (event->metric != NULL &&
		  metric_lookup(text_to_cstring(event->metric)) == NULL));
}

/*
 * Take the event away from where it waits; false if somebody else has since
 * the snapshot was taken.  The queue forgets it with the commit.
 */
bool
waiting_remove(Waiting *waiting, const Inbox *inbox)
{
	TM_FailureData failure;

	if (waiting->queued != NULL ||
		compat_tuple_delete(inbox->relation, &waiting->row->t_self, inbox->snapshot,
							&failure) == TM_Ok)
		return true;

	/* an older snapshot, which cannot see that it was flushed already */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent delete")));
	return false;
}

/*
 * The row as JSON, without our own columns, for meter.rejected_event; NULL if
 * it is too large to keep.
 */
Jsonb *
waiting_to_json(const Waiting *waiting, const Inbox *inbox)
{
	MemoryContext context = CurrentMemoryContext;
	TupleDesc	desc;
	Datum		arg;
	Oid			rowtype;
	bool		isnull;
	Jsonb	   *result;

	if (waiting->size > REJECT_MAX_EVENT || waiting->unreadable)
		return NULL;
	if (waiting->queued != NULL)
	{
		HeapTupleData tuple;

		tuple.t_len = HeapTupleHeaderGetDatumLength(waiting->queued);
		ItemPointerSetInvalid(&tuple.t_self);
		tuple.t_tableOid = InvalidOid;
		tuple.t_data = waiting->queued;
		desc = queue_row_desc();

		/* as a datum it lacks what only the server's own code can give it */
		arg = heap_copy_tuple_as_datum(&tuple, desc);
	}
	else
	{
		desc = RelationGetDescr(inbox->relation);
		arg = heap_copy_tuple_as_datum(waiting->row, desc);
	}
	rowtype = desc->tdtypeid;
	if (SPI_execute_with_args("SELECT COALESCE(pg_catalog.jsonb_object_agg(e.key, e.value), '{}') "
							  "FROM pg_catalog.jsonb_each(pg_catalog.to_jsonb($1)) AS e "
							  "WHERE e.value <> 'null' AND e.key <> ALL "
							  "(ARRAY['validated', 'voids', 'seq', 'superseded_by'])",
							  1, &rowtype, &arg, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read a rejected event");
	MemoryContextSwitchTo(context); /* SPI has left its own */
	result = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0],
											  SPI_tuptable->tupdesc, 1,
											  &isnull));
	SPI_freetuptable(SPI_tuptable);
	return result;
}

/*
 * By the event's day; within a day in the order in which they came, which is
 * that of the array they are in.
 */
int
waiting_compare_day(const void *pa, const void *pb)
{
	const Waiting *a = *(Waiting *const *) pa;
	const Waiting *b = *(Waiting *const *) pb;
	DateADT		day_a = a->drop ? 0 : partition_day(a->event.at);
	DateADT		day_b = b->drop ? 0 : partition_day(b->event.at);

	if (day_a != day_b)
		return day_a < day_b ? -1 : 1;
	return a < b ? -1 : a > b;
}

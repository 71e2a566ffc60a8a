/*
 * log.c
 *		Appending to the log of events, meter.event.
 *
 * There is one writer at a time: log_begin() takes an advisory lock that is
 * held until the transaction has committed and its rows are visible.  seq is
 * counted on from the row in meter.log_position, read under that lock.  So
 * seq has the order of commit and no gaps, and a reader that has seen all up
 * to n finds everything newer with seq > n; no snapshot can see n + 1 and miss
 * n.  Where the events come from (the inbox, or another source) is the
 * caller's affair.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "lock.h"
#include "log.h"
#include "metric.h"
#include "owner.h"
#include "partition.h"
#include "writer.h"

/* Columns of meter.event, in the order of log.sql. */
enum
{
	EVENT_SEQ,
	EVENT_AT,
	EVENT_RECEIVED_AT,
	EVENT_LATENCY_MS,
	EVENT_CORRECTS,
	EVENT_SUPERSEDED_BY,
	EVENT_STATUS,
	EVENT_TENANT,
	EVENT_METRIC,
	EVENT_QUANTITY,
	EVENT_SERVICE,
	EVENT_ENDPOINT,
	EVENT_METHOD,
	EVENT_USER_ID,
	EVENT_COST,
	EVENT_METADATA,
	EVENT_IDEMPOTENCY_KEY,
	EVENT_REQUEST_ID,
	EVENT_ERROR_MESSAGE,
	EVENT_COLUMNS
};

/*
 * Partitions written at the same time.  Late events may go to many days;
 * beyond this number the writers are closed and opened again.
 */
#define LOG_MAX_WRITERS 16

typedef struct DayWriter
{
	DateADT		day;
	Writer	   *writer;
	int64		events;
	int64		first_seq;
	int64		last_seq;
} DayWriter;

struct Log
{
	int64		start_seq;		/* end of the log before */
	int64		last_seq;		/* end of the log now */
	DateADT		dropped_through;	/* last day whose events are gone */
	MemoryContext context;		/* of the writers */
	int			ndays;
	DayWriter	days[LOG_MAX_WRITERS];	/* most recently used first */
};

/*
 * Become the writer of the log, waiting for another one to commit.  Within an
 * owner scope; in the current memory context.
 */
Log *
log_begin(void)
{
	Log		   *log = palloc0(sizeof(Log));
	bool		isnull;

	log->context = CurrentMemoryContext;
	lock_until_commit(LOCK_FLUSH);
	log->dropped_through = DATEVAL_NOBEGIN;
	if (SPI_execute("SELECT last_seq, dropped_through FROM meter.log_position FOR UPDATE",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.log_position");
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Datum		day;

		log->last_seq = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
		day = SPI_getbinval(row, desc, 2, &isnull);
		if (!isnull)
			log->dropped_through = DatumGetDateADT(day);
	}
	log->start_seq = log->last_seq;
	return log;
}

/*
 * How many events were appended so far.
 */
int64
log_appended(const Log *log)
{
	return log->last_seq - log->start_seq;
}

static void
log_close_writers(Log *log)
{
	static SPIPlanPtr plan = NULL;

	for (int i = 0; i < log->ndays; i++)
	{
		DayWriter  *day = &log->days[i];
		Datum		args[4];

		writer_close(day->writer);
		owner_plan(&plan,
				   "INSERT INTO meter.event_partition AS p (day, events, first_seq, last_seq) "
				   "VALUES ($1, $2, $3, $4) "
				   "ON CONFLICT (day) DO UPDATE "
				   "SET events = p.events + EXCLUDED.events, last_seq = EXCLUDED.last_seq",
				   4, DATEOID, INT8OID, INT8OID, INT8OID);
		args[0] = DateADTGetDatum(day->day);
		args[1] = Int64GetDatum(day->events);
		args[2] = Int64GetDatum(day->first_seq);
		args[3] = Int64GetDatum(day->last_seq);
		if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not update meter.event_partition");
	}
	log->ndays = 0;
}

/*
 * The writer of the partition for that day.
 */
static DayWriter *
log_writer(Log *log, DateADT day)
{
	DayWriter	found;
	MemoryContext old;
	Oid			relid;
	int			i;

	for (i = 0; i < log->ndays; i++)
		if (log->days[i].day == day)
			break;
	if (i == log->ndays)
	{
		if (log->ndays == LOG_MAX_WRITERS)
			log_close_writers(log);
		relid = partition_ensure(&partition_event, day, NULL);
		i = log->ndays++;
		memset(&log->days[i], 0, sizeof(DayWriter));
		old = MemoryContextSwitchTo(log->context);
		log->days[i].writer = writer_open(relid);
		MemoryContextSwitchTo(old);
		log->days[i].day = day;
		log->days[i].first_seq = log->last_seq + 1;
	}
	if (i > 0)
	{
		found = log->days[i];
		memmove(&log->days[1], &log->days[0], i * sizeof(DayWriter));
		log->days[0] = found;
	}
	return &log->days[0];
}

/*
 * Mark the event that an amendment corrects; false if there is none that
 * still counts.
 */
static bool
log_supersede(Log *log, const Event *event, EventError *error)
{
	static SPIPlanPtr plan = NULL;
	Datum		args[4];

	owner_plan(&plan,
			   "UPDATE meter.event SET superseded_by = $1 "
			   "WHERE seq = $2 AND tenant = $3 AND at = $4 AND superseded_by IS NULL",
			   4, INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID);
	args[0] = Int64GetDatum(log->last_seq + 1);
	args[1] = Int64GetDatum(event->corrects);
	args[2] = PointerGetDatum(event->tenant);
	args[3] = TimestampTzGetDatum(event->at);
	if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not mark a corrected event");
	if (SPI_processed == 1)
		return true;
	return event_refuse(error, ERRCODE_NO_DATA_FOUND,
						psprintf("event %lld cannot be corrected",
								 (long long) event->corrects),
						pstrdup("It was corrected before, or is no longer kept."),
						NULL);
}

/*
 * May the event enter its day although the day's other events are gone?  What
 * would make its hour be computed anew may not: all that was rolled up of the
 * dropped events would be lost.
 */
static bool
log_check_dropped(const Event *event, EventError *error)
{
	const Metric *metric;

	if (event->corrects == 0)
	{
		metric = metric_lookup(text_to_cstring(event->metric));
		if (metric == NULL || !metric->gauge)
			return true;
	}
	return event_refuse(error, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
						pstrdup("events of this day were dropped"),
						psprintf("Corrections and samples of gauges are not possible for %s any more.",
								 timestamptz_to_str(event->at)),
						NULL);
}

static inline void
put(TupleTableSlot *slot, int column, void *pointer)
{
	slot->tts_values[column] = PointerGetDatum(pointer);
	slot->tts_isnull[column] = pointer == NULL;
}

/*
 * Append a checked event.  Returns false with *error filled when it is an
 * amendment of an event that cannot be corrected, or comes too late for a day
 * whose partition was dropped.
 */
bool
log_append(Log *log, const Event *event, EventError *error)
{
	DayWriter  *day;
	TupleTableSlot *slot;
	Datum	   *values;
	bool	   *isnull;
	int64		seq;

	if (partition_day(event->at) <= log->dropped_through &&
		!log_check_dropped(event, error))
		return false;
	if (event->corrects != 0)
	{
		/* the corrected event may be among those not yet written */
		log_close_writers(log);
		if (!log_supersede(log, event, error))
			return false;
	}
	day = log_writer(log, partition_day(event->at));
	seq = ++log->last_seq;
	day->events++;
	day->last_seq = seq;

	slot = writer_slot(day->writer);
	if (slot->tts_tupleDescriptor->natts != EVENT_COLUMNS)
		elog(ERROR, "meter.event does not have the expected columns");
	values = slot->tts_values;
	isnull = slot->tts_isnull;
	memset(isnull, false, EVENT_COLUMNS);
	values[EVENT_SEQ] = Int64GetDatum(seq);
	values[EVENT_AT] = TimestampTzGetDatum(event->at);
	values[EVENT_RECEIVED_AT] = TimestampTzGetDatum(event->received_at);
	values[EVENT_LATENCY_MS] = Float8GetDatum(event->latency_ms);
	isnull[EVENT_LATENCY_MS] = !event->has_latency;
	values[EVENT_CORRECTS] = Int64GetDatum(event->corrects);
	isnull[EVENT_CORRECTS] = event->corrects == 0;
	values[EVENT_SUPERSEDED_BY] = Int64GetDatum(seq);
	isnull[EVENT_SUPERSEDED_BY] = !event->voids;
	values[EVENT_STATUS] = Int32GetDatum(event->status);
	isnull[EVENT_STATUS] = !event->has_status;
	put(slot, EVENT_TENANT, event->tenant);
	put(slot, EVENT_METRIC, event->metric);
	put(slot, EVENT_QUANTITY, event->quantity);
	put(slot, EVENT_SERVICE, event->service);
	put(slot, EVENT_ENDPOINT, event->endpoint);
	put(slot, EVENT_METHOD, event->method);
	put(slot, EVENT_USER_ID, event->user_id);
	put(slot, EVENT_COST, event->cost);
	put(slot, EVENT_METADATA, event->metadata);
	put(slot, EVENT_IDEMPOTENCY_KEY, event->idempotency_key);
	put(slot, EVENT_REQUEST_ID, event->request_id);
	put(slot, EVENT_ERROR_MESSAGE, event->error_message);
	writer_store(day->writer);
	return true;
}

/*
 * Write what is left and move the end of the log.
 */
void
log_end(Log *log)
{
	static SPIPlanPtr plan = NULL;
	Datum		args[2];

	log_close_writers(log);
	if (log_appended(log) == 0)
		return;
	owner_plan(&plan,
			   "INSERT INTO meter.log_position (last_seq, flushed_at) VALUES ($1, $2) "
			   "ON CONFLICT (only_row) DO UPDATE "
			   "SET last_seq = EXCLUDED.last_seq, flushed_at = EXCLUDED.flushed_at",
			   2, INT8OID, TIMESTAMPTZOID);
	args[0] = Int64GetDatum(log->last_seq);
	args[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not move the end of the log");
}

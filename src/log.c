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
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "event_row.h"
#include "lock.h"
#include "log.h"
#include "metric.h"
#include "owner.h"
#include "partition.h"
#include "writer.h"

/*
 * Partitions written at the same time.  Late events may go to many days;
 * beyond this number the writer used longest ago is closed.
 */
#define LOG_MAX_WRITERS 16

typedef struct DayWriter
{
	DateADT		day;
	Writer	   *writer;
} DayWriter;

/* What was appended to a day's partition. */
typedef struct LogDay
{
	DateADT		day;
	int64		events;
	int64		first_seq;
	int64		last_seq;
} LogDay;

struct Log
{
	int64		start_seq;		/* end of the log before */
	int64		last_seq;		/* end of the log now */
	DateADT		dropped_through;	/* last day whose events are gone */
	MemoryContext context;		/* of the days */
	int			nwriters;
	DayWriter	writers[LOG_MAX_WRITERS];	/* most recently used first */
	int			ndays;
	int			max_days;
	LogDay	   *days;			/* in ascending order */
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

/*
 * Write what is left to be written.  Must be called before the end of the
 * subtransaction in which events were appended.
 */
void
log_settle(Log *log)
{
	for (int i = 0; i < log->nwriters; i++)
		writer_close(log->writers[i].writer);
	log->nwriters = 0;
}

/*
 * Remember where the log is now; in the current memory context.
 */
LogMark
log_mark(const Log *log)
{
	LogMark		mark = {log->last_seq, log->ndays, NULL};

	mark.days = palloc(Max(1, log->ndays) * sizeof(LogDay));
	if (log->ndays > 0)
		memcpy(mark.days, log->days, log->ndays * sizeof(LogDay));
	return mark;
}

/*
 * Forget what was appended since the mark, by a subtransaction that was rolled
 * back; the tables its writers had open were closed by that.
 */
void
log_rewind(Log *log, const LogMark *mark)
{
	log->last_seq = mark->last_seq;
	log->nwriters = 0;
	log->ndays = mark->ndays;
	if (mark->ndays > 0)
		memcpy(log->days, mark->days, mark->ndays * sizeof(LogDay));
}

/*
 * Count an event of that day.
 */
static void
log_count(Log *log, DateADT day, int64 seq)
{
	int			low = 0;
	int			high = log->ndays;
	LogDay	   *found;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (log->days[middle].day < day)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == log->ndays || log->days[low].day != day)
	{
		if (log->ndays == log->max_days)
		{
			log->max_days = Max(16, 2 * log->max_days);
			log->days = log->days == NULL ?
				MemoryContextAlloc(log->context, log->max_days * sizeof(LogDay)) :
				repalloc(log->days, log->max_days * sizeof(LogDay));
		}
		found = &log->days[low];
		memmove(found + 1, found, (log->ndays - low) * sizeof(LogDay));
		log->ndays++;
		found->day = day;
		found->events = 0;
		found->first_seq = seq;
	}
	found = &log->days[low];
	found->events++;
	found->last_seq = seq;
}

/*
 * The writer of the partition for that day, in the current memory context if
 * it is new.
 */
static Writer *
log_writer(Log *log, DateADT day)
{
	DayWriter	found;
	int			i;

	for (i = 0; i < log->nwriters; i++)
		if (log->writers[i].day == day)
			break;
	if (i == log->nwriters)
	{
		Oid			relid = partition_ensure(&partition_event, day, NULL);

		if (i == LOG_MAX_WRITERS)
			writer_close(log->writers[--i].writer);
		else
			log->nwriters++;
		log->writers[i].day = day;
		log->writers[i].writer = writer_open(relid);
	}
	if (i > 0)
	{
		found = log->writers[i];
		memmove(&log->writers[1], &log->writers[0], i * sizeof(DayWriter));
		log->writers[0] = found;
	}
	return log->writers[0].writer;
}

/*
 * Mark the event that an amendment corrects; false if there is none that
 * still counts.
 */
static bool
log_supersede(Log *log, const Event *event, EventError *error)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
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
	MemoryContextSwitchTo(context); /* SPI has left its own */
	if (SPI_processed == 1)
		return true;
	return event_refuse(error, ERRCODE_NO_DATA_FOUND,
						psprintf("event %lld cannot be corrected",
								 (long long) event->corrects),
						pstrdup("It was corrected before, or is no longer kept."),
						NULL);
}

/*
 * Are the events of that time's day all still there?
 */
bool
log_day_is_open(const Log *log, TimestampTz at)
{
	return partition_day(at) > log->dropped_through;
}

/*
 * May the event enter its day?  Where the day's other events are gone, what
 * would make its hour be computed anew may not: all that was rolled up of the
 * dropped events would be lost.
 */
bool
log_check_day(const Log *log, const Event *event, EventError *error)
{
	const Metric *metric;

	if (log_day_is_open(log, event->at))
		return true;
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

/*
 * Append a checked event.  Returns false with *error filled when it is an
 * amendment of an event that cannot be corrected.
 */
bool
log_append(Log *log, const Event *event, EventError *error)
{
	DateADT		day = partition_day(event->at);
	Writer	   *writer;
	TupleTableSlot *slot;
	int64		seq;

	if (event->corrects != 0)
	{
		/* the corrected event may be among those not yet written */
		log_settle(log);
		if (!log_supersede(log, event, error))
			return false;
	}
	writer = log_writer(log, day);
	seq = ++log->last_seq;
	log_count(log, day, seq);

	slot = writer_slot(writer);
	event_row_check(slot->tts_tupleDescriptor);
	event_row_fill(slot->tts_values, slot->tts_isnull, event, seq);
	writer_store(writer);
	return true;
}

/*
 * Append a checked event that is already a row of meter.event, a composite
 * datum whose first column is not its position yet.
 */
void
log_append_row(Log *log, HeapTupleHeader row)
{
	DateADT		day = partition_day(event_row_at(row));
	Writer	   *writer = log_writer(log, day);
	HeapTupleData tuple;
	TupleTableSlot *slot = writer_slot(writer);
	int64		seq = ++log->last_seq;

	log_count(log, day, seq);
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = slot->tts_tableOid;
	tuple.t_data = row;
	ExecForceStoreHeapTuple(&tuple, slot, false);
	event_row_set_seq(ExecFetchSlotHeapTuple(slot, false, NULL)->t_data, seq);
	writer_stored(writer);
}

/*
 * Add what was appended to meter.event_partition.
 */
static void
log_write_days(Log *log)
{
	static SPIPlanPtr plan = NULL;
	Datum	   *columns[4];
	Oid			types[4] = {DATEOID, INT8OID, INT8OID, INT8OID};
	Datum		args[4];

	for (int c = 0; c < 4; c++)
		columns[c] = palloc(log->ndays * sizeof(Datum));
	for (int i = 0; i < log->ndays; i++)
	{
		columns[0][i] = DateADTGetDatum(log->days[i].day);
		columns[1][i] = Int64GetDatum(log->days[i].events);
		columns[2][i] = Int64GetDatum(log->days[i].first_seq);
		columns[3][i] = Int64GetDatum(log->days[i].last_seq);
	}
	for (int c = 0; c < 4; c++)
		args[c] = PointerGetDatum(construct_array(columns[c], log->ndays, types[c],
												  c == 0 ? 4 : 8,
												  c == 0 ? true : FLOAT8PASSBYVAL,
												  c == 0 ? TYPALIGN_INT : TYPALIGN_DOUBLE));
	owner_plan(&plan,
			   "INSERT INTO meter.event_partition AS p (day, events, first_seq, last_seq) "
			   "SELECT d.day, d.events, d.first_seq, d.last_seq "
			   "FROM unnest($1, $2, $3, $4) AS d(day, events, first_seq, last_seq) "
			   "ON CONFLICT (day) DO UPDATE "
			   "SET events = p.events + EXCLUDED.events, last_seq = EXCLUDED.last_seq",
			   4, DATEARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID);
	if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not update meter.event_partition");
}

/*
 * Write what is left and move the end of the log.
 */
void
log_end(Log *log)
{
	static SPIPlanPtr plan = NULL;
	Datum		args[2];

	log_settle(log);
	if (log_appended(log) == 0)
		return;
	log_write_days(log);
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

/* --- whether the log is in use ------------------------------------------ */

void
log_note_use(void)
{
	if (SPI_execute("INSERT INTO meter.in_use (since) SELECT now() "
					"WHERE NOT EXISTS (SELECT FROM meter.in_use)",
					false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write meter.in_use");
}

bool
log_in_use(void)
{
	OwnerScope	scope;
	bool		in_use;

	owner_begin(&scope);
	if (SPI_execute("SELECT FROM meter.in_use", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.in_use");
	in_use = SPI_processed > 0;
	owner_end(&scope);
	return in_use;
}

/*
 * stats.c
 *		What meter.stats shows of shared memory, and resetting it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "queue.h"
#include "shared.h"

/* Columns of meter.shared_state(), in the order of stats.sql. */
#define STATE_COLUMNS 24

typedef struct StateRow
{
	Datum		values[STATE_COLUMNS];
	bool		nulls[STATE_COLUMNS];
	int			n;
} StateRow;

static void
put_number(StateRow *row, uint64 number)
{
	row->values[row->n++] = Int64GetDatum((int64) number);
}

static void
put_time(StateRow *row, TimestampTz time)
{
	row->nulls[row->n] = time == 0;
	row->values[row->n++] = TimestampTzGetDatum(time);
}

static void
put_text(StateRow *row, const char *text)
{
	row->nulls[row->n] = text[0] == '\0';

	row->values[row->n++] = CStringGetTextDatum(text);
}

static void
put_pid(StateRow *row, pid_t pid)
{
	row->nulls[row->n] = pid == 0;
	row->values[row->n++] = Int32GetDatum(pid);
}

PG_FUNCTION_INFO_V1(meter_shared_state);

Datum
meter_shared_state(PG_FUNCTION_ARGS)
{
	SharedDatabase *database = shared_database(false);
	SharedCounters counters;
	QueueState	queue = {0};
	StateRow	row = {0};
	TupleDesc	desc;
	pid_t		flusher;
	pid_t		roller;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (database == NULL)
	{
		memset(row.nulls, true, sizeof(row.nulls));
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
														  row.values,
														  row.nulls)));
	}
	(void) queue_state(&queue);
	LWLockAcquire(database->lock, LW_SHARED);
	counters = database->counters;
	LWLockRelease(database->lock);
	SpinLockAcquire(&database->mutex);
	flusher = database->pid[SHARED_FLUSHER];
	roller = database->pid[SHARED_ROLLER];
	SpinLockRelease(&database->mutex);

	put_number(&row, counters.queued);
	put_number(&row, counters.fallbacks);
	put_number(&row, counters.ignored);
	put_number(&row, counters.flushed);
	put_number(&row, counters.duplicates);
	put_number(&row, counters.rejected);
	put_number(&row, counters.deferred);
	put_number(&row, counters.violations);
	put_number(&row, counters.discarded);
	put_number(&row, counters.lost_bytes);
	put_number(&row, counters.flushes);
	put_number(&row, counters.rollups);
	put_number(&row, counters.errors);
	put_number(&row, queue.bytes);
	put_number(&row, queue.capacity);
	put_time(&row, queue.oldest);
	put_time(&row, counters.flushed_at);
	put_time(&row, counters.rolled_up_at);
	put_time(&row, counters.maintained_at);
	put_text(&row, counters.error);
	put_time(&row, counters.error_at);
	put_time(&row, counters.reset_at);
	put_pid(&row, flusher);
	put_pid(&row, roller);
	Assert(row.n == STATE_COLUMNS);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  row.values, row.nulls)));
}

PG_FUNCTION_INFO_V1(meter_stats_reset);

Datum
meter_stats_reset(PG_FUNCTION_ARGS)
{
	SharedDatabase *database = shared_database(false);
	TimestampTz maintained_at;

	if (database == NULL)
		PG_RETURN_VOID();
	LWLockAcquire(database->lock, LW_EXCLUSIVE);

	/* not a statistic only: the next maintenance depends on it */
	maintained_at = database->counters.maintained_at;
	memset(&database->counters, 0, sizeof(database->counters));
	database->counters.maintained_at = maintained_at;
	database->counters.reset_at = GetCurrentTimestamp();
	LWLockRelease(database->lock);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(meter_wake);

Datum
meter_wake(PG_FUNCTION_ARGS)
{
	shared_wake_at_commit(false);
	PG_RETURN_BOOL(shared_database(false) != NULL);
}

/*
 * queue.c
 *		The queue of events between meter_track() and the log.
 *
 * Each database has a ring (core/ring.h) in a file named after it in
 * pg_meter.  The first process that needs it after the server's start opens
 * it, which salvages whatever an accident has left; all others attach to it.
 *
 * A record is a row of meter.event as a composite datum.
 * The type's OID tells rows of an extension that was dropped since, which are
 * discarded, from those of the one that is there now.
 *
 * How far a flush has come is written to meter.queue_position in the flush's
 * transaction, and space is released after it has committed.  So what the
 * table says is drained is in the log, and what it does not say is not,
 * whenever the server dies and whichever copy of the file is found then.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "core/hot.h"
#include "event_row.h"
#include "llm_token.h"
#include "owner.h"
#include "queue.h"
#include "setting.h"
#include "shared.h"

/* after all others */
#include "server.h"

/* This process's view of its database's ring. */
static HOT_DATA Ring ring;

/* The row type of meter.event. */
static HOT_DATA Oid row_relation = InvalidOid;
static HOT_DATA Oid row_type = InvalidOid;
static HOT_DATA TupleDesc row_desc = NULL;

/* --- the row type ------------------------------------------------------- */

static void
row_forget(Oid relid)
{
	if (!OidIsValid(relid) || relid == row_relation)
		row_relation = InvalidOid;
}

COLD_PATH static void
read_row_type(void)
{
	Relation	event;
	MemoryContext old;

	event = table_open(owner_relation("event"), AccessShareLock);
	event_row_check(RelationGetDescr(event));
	if (row_desc != NULL)
		FreeTupleDesc(row_desc);
	row_desc = NULL;
	old = MemoryContextSwitchTo(TopMemoryContext);
	row_desc = CreateTupleDescCopy(RelationGetDescr(event));
	MemoryContextSwitchTo(old);
	row_type = event->rd_rel->reltype;
	row_relation = RelationGetRelid(event);
	table_close(event, AccessShareLock);
}

static inline void
row_lookup(void)
{
	if (unlikely(!OidIsValid(row_relation)))
		read_row_type();
}

TupleDesc
queue_row_desc(void)
{
	row_lookup();
	return row_desc;
}

/* --- the file ----------------------------------------------------------- */

void
queue_make_directory(void)
{
	if (MakePGDirectory(QUEUE_DIRECTORY) == 0)
		fsync_fname(".", true);
	else if (errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m",
						QUEUE_DIRECTORY)));
}

/*
 * The queue's file, relative to the data directory, where all processes are.
 */
char *
queue_path(Oid database)
{
	return psprintf("%s/%u", QUEUE_DIRECTORY, database);
}

static bool
file_exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/*
 * The entry of this database, if its queue may have events: also after a
 * restart, when nobody has made one yet.
 */
static SharedDatabase *
database_with_queue(void)
{
	SharedDatabase *database = shared_database(false);

	if (database == NULL && shared_available() &&
		file_exists(queue_path(MyDatabaseId)))
		database = shared_database(true);
	return database;
}

COLD_PATH static bool
open_ring(SharedDatabase *database, bool create, int elevel)
{
	RingReport *report;
	char	   *path;
	uint64		epoch;
	bool		first;
	bool		done;

	path = queue_path(MyDatabaseId);
	if (!create && !file_exists(path))
		return false;
	report = palloc(sizeof(RingReport));
	if (!pg_strong_random(&epoch, sizeof(epoch)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));

	LWLockAcquire(database->lock, LW_EXCLUSIVE);
	first = !database->queue_open;
	if (first)
	{
		queue_make_directory();
		done = ring_open(&ring, path, (uint64) setting_queue_size * 1024,
						 GetSystemIdentifier(), epoch, report);
		database->queue_open = done;
		if (done)
		{
			database->counters.lost_bytes += report->lost;
			database->replay_end = ring_write_position(&ring);
		}
	}
	else
		done = ring_attach(&ring, path, GetSystemIdentifier(), report);
	LWLockRelease(database->lock);

	if (!done)
	{
		errno = report->error;
		ereport(elevel,
				(errcode_for_file_access(),
				 errmsg("could not open the queue of events"),
				 errdetail_internal("%s", report->message),
				 errhint("With meter.durability set to commit, events are tracked without it.")));
		return false;
	}
	if (first)
		ereport(report->outcome == RING_CREATED ||
				(report->outcome == RING_REOPENED && report->records == 0) ? DEBUG1 : LOG,
				(errmsg_internal("%s", report->message)));
	pfree(report);
	pfree(path);
	return true;
}

/*
 * Open the ring, or attach to it if somebody else has since the server's
 * start.  Without create a file that is not there is not made.  False if it
 * is not or cannot be opened; the latter is reported with elevel.
 */
static inline bool
queue_open(SharedDatabase *database, bool create, int elevel)
{
	return likely(ring.header != NULL) || open_ring(database, create, elevel);
}

/* --- writing ------------------------------------------------------------ */

/* A row on its way into the ring. */
typedef struct QueuedRow
{
	HeapTupleHeader header;
	Size		size;
	uint32		crc;
} QueuedRow;

/*
 * Form the row, in memory that stays for the next one unless it is large:
 * what is done here, others need not wait for.
 */
HOT_PATH static void
form_row(QueuedRow *row, const Event *event)
{
	static union
	{
		HeapTupleHeaderData header;
		char		data[4096];
		int64		force_align;
	}			buffer;

	row->header = event_row_form(&buffer, sizeof(buffer), row_type, event,
								 (event->new_metric ? QUEUE_NEW_METRIC : 0) |
								 (event->violation ? QUEUE_VIOLATION : 0) |
								 (llm_is_call(event) ? QUEUE_CALL : 0));
	row->size = HeapTupleHeaderGetDatumLength(row->header);
	row->crc = ring_crc32c(0, row->header, row->size);
}

/*
 * Put the row into the ring.  False if there is no room.  A writer who is
 * stopped while he has the lock stops all others, so this is kept short.
 */
HOT_PATH static bool
put_row(SharedDatabase *database, const QueuedRow *row, bool *urgent)
{
	void	   *space;

	ring_prepare(&ring);
	LWLockAcquire(database->lock, LW_EXCLUSIVE);
	space = ring_reserve(&ring, row->size);
	if (space == NULL)
	{
		LWLockRelease(database->lock);
		return false;
	}
	hot_copy(space, row->header, row->size);
	(void) ring_publish_summed(&ring, row->size, row->crc);
	database->counters.queued++;
	if (ring_used(&ring) > ring_capacity(&ring) / 4)
		*urgent = true;
	LWLockRelease(database->lock);
	return true;
}

static uint32
queue_full_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = compat_wait_event("MeterQueueFull");
	return event;
}

/*
 * Wait for room in the queue, for at most meter.queue_timeout.
 */
COLD_PATH static bool
put_row_patiently(SharedDatabase *database, const QueuedRow *row, bool *urgent)
{
	TimestampTz deadline;
	long		timeout;
	bool		done;

	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										   setting_queue_timeout);
	ConditionVariablePrepareToSleep(&database->released);
	while (!(done = put_row(database, row, urgent)))
	{
		shared_want_flush(database);
		shared_wake_flusher(database);
		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
												  deadline);
		if (timeout <= 0)
			break;
		(void) ConditionVariableTimedSleep(&database->released, timeout,
										   queue_full_event());
	}
	ConditionVariableCancelSleep();
	return done;
}

/*
 * Does it cost so much that budgets must not wait for it?
 */
static pg_noinline bool
costs_much(const Event *event)
{
	return setting_flush_cost_threshold >= 0 &&
		DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
										   NumericGetDatum(event->cost))) >
		setting_flush_cost_threshold;
}

/*
 * Put a checked event into the queue.  False if it is full and, with wait,
 * stays so for meter.queue_timeout.  Once this returns true the event will get into the
 * log, whatever becomes of the caller, his transaction or the server.
 */
HOT_PATH bool
queue_put(const Event *event, bool wait)
{
	SharedDatabase *database = shared_database(true);
	QueuedRow	row;
	bool		urgent = false;

	if (database == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases use meter"),
				 errdetail("There is shared memory for the queues of %d.",
						   setting_max_databases),
				 errhint("Increase meter.max_databases and restart the server, or set meter.durability to commit in this database.")));
	row_lookup();

	/* who would not wait for room can do without the queue */
	if (!queue_open(database, true, wait ? ERROR : DEBUG1))
		return false;
	form_row(&row, event);

	if (event->cost != NULL)
		urgent = costs_much(event);

	if (!put_row(database, &row, &urgent) &&
		!(wait && put_row_patiently(database, &row, &urgent)))
		return false;
	shared_want_flush(database);
	if (urgent)
		shared_wake_flusher(database);
	return true;
}

/*
 * An event goes by another way, as the queue is full.
 */
void
queue_count_fallback(void)
{
	SharedDatabase *database = shared_database(true);

	LWLockAcquire(database->lock, LW_EXCLUSIVE);
	database->counters.fallbacks++;
	LWLockRelease(database->lock);
}

/* --- looking ------------------------------------------------------------ */

/*
 * What waits in the queue; false if this database has none.
 */
bool
queue_state(QueueState *state)
{
	SharedDatabase *database = database_with_queue();
	const void *payload;
	size_t		length;

	if (database == NULL || !queue_open(database, false, WARNING))
		return false;

	/* without writers, what is released meanwhile is not overwritten */
	LWLockAcquire(database->lock, LW_SHARED);
	state->bytes = ring_used(&ring);
	state->capacity = ring_capacity(&ring);
	state->oldest = 0;
	if (ring_peek(&ring, &payload, &length) && length >= EVENT_ROW_HEADER)
		state->oldest = event_row_received_at((HeapTupleHeader) payload);
	LWLockRelease(database->lock);
	return true;
}

/*
 * Is there anything to flush?
 */
bool
queue_waiting(void)
{
	SharedDatabase *database = database_with_queue();

	return database != NULL && queue_open(database, false, ERROR) &&
		ring_used(&ring) > 0;
}

/*
 * Has all been flushed that was in the queue when the server started?
 */
bool
queue_replayed(void)
{
	SharedDatabase *database = database_with_queue();

	return database == NULL || !queue_open(database, false, WARNING) ||
		ring_read_position(&ring) >= database->replay_end;
}

/* --- reading ------------------------------------------------------------ */

/*
 * Where the flushes before have come to, in each epoch of the ring.  What
 * they have committed counts, whatever the transaction's snapshot: the lock
 * of the log's writer is held.
 */
static void
read_drained(QueueReader *reader)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;

	owner_plan(&plan, "SELECT position FROM meter.queue_position WHERE epoch = $1",
			   1, INT8OID);
	for (uint32 i = 0; i < ring.n_epochs; i++)
	{
		Datum		epoch = Int64GetDatum((int64) ring.epoch[i].epoch);
		bool		isnull;

		reader->drained[i] = 0;
		if (SPI_execute_snapshot(plan, &epoch, NULL, GetLatestSnapshot(),
								 InvalidSnapshot, true, false, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not read meter.queue_position");
		if (SPI_processed > 0)
			reader->drained[i] = (uint64)
				DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 1, &isnull));
		SPI_freetuptable(SPI_tuptable);
	}
	MemoryContextSwitchTo(context); /* SPI has left its own */
}

/*
 * Begin to read what waits now, or with in_parts about an eighth of the ring.
 * As the log's only writer, within an owner scope.  False if there is nothing.
 */
bool
queue_read_begin(QueueReader *reader, bool in_parts)
{
	SharedDatabase *database = database_with_queue();

	memset(reader, 0, sizeof(*reader));
	if (database == NULL || !queue_open(database, false, WARNING))
		return false;
	reader->start = reader->position = ring_read_position(&ring);
	reader->end = ring_write_position(&ring);
	if (reader->start == reader->end)
		return false;
	if (in_parts && reader->end - reader->start > ring_capacity(&ring) / 8)
	{
		reader->end = reader->start + ring_capacity(&ring) / 8;
		reader->more = true;
	}
	row_lookup();
	reader->row_type = row_type;
	read_drained(reader);
	return true;
}

static bool
is_drained(const QueueReader *reader, uint64 position)
{
	uint64		epoch = ring_epoch(&ring, position);

	for (uint32 i = 0; i < ring.n_epochs; i++)
		if (ring.epoch[i].epoch == epoch)
			return position <= reader->drained[i];
	return false;
}

/*
 * The next row, or NULL at the end.  It is in the ring, where it stays until
 * the space is released.
 */
HeapTupleHeader
queue_read(QueueReader *reader)
{
	while (reader->position < reader->end)
	{
		uint64		before = reader->position;
		const void *payload;
		size_t		length;

		CHECK_FOR_INTERRUPTS();
		switch (ring_next(&ring, &reader->position, &payload, &length))
		{
			case RING_END:
				return NULL;
			case RING_CORRUPT:
				reader->lost_bytes += reader->position - before;
				ereport(LOG,
						(errcode(ERRCODE_DATA_CORRUPTED),
						 errmsg("queue of events is damaged: skipped " UINT64_FORMAT " bytes",
								reader->position - before)));
				break;
			case RING_RECORD:
				{
					HeapTupleHeader row = (HeapTupleHeader) payload;

					if (is_drained(reader, reader->position))
						break;
					if (length < EVENT_ROW_HEADER ||
						HeapTupleHeaderGetDatumLength(row) != length ||
						HeapTupleHeaderGetTypeId(row) != reader->row_type)
					{
						reader->discarded++;
						break;
					}
					return row;
				}
		}
	}
	return NULL;
}

/*
 * Write down how far the reader has come, in the current transaction, which
 * has to be on disk when the space is released.  A position never moves back,
 * as it would for a file that is older than the table.
 */
void
queue_read_end(QueueReader *reader)
{
	static SPIPlanPtr plan = NULL;

	if (reader->position == reader->start)
		return;
	if (reader->discarded > 0)
		ereport(LOG,
				(errmsg("discarded " UINT64_FORMAT " queued events of an extension that was dropped",
						reader->discarded)));
	owner_plan(&plan,
			   "INSERT INTO meter.queue_position AS q (epoch, position, moved_at) VALUES ($1, $2, $3) "
			   "ON CONFLICT (epoch) DO UPDATE "
			   "SET position = GREATEST(q.position, EXCLUDED.position), "
			   "moved_at = EXCLUDED.moved_at",
			   3, INT8OID, INT8OID, TIMESTAMPTZOID);
	for (uint32 i = 0; i < ring.n_epochs; i++)
	{
		uint64		position = reader->position;
		Datum		args[3];

		if (i + 1 < ring.n_epochs && position > ring.epoch[i + 1].start)
			position = ring.epoch[i + 1].start;
		if (position <= ring.epoch[i].start || position <= reader->start)
			continue;
		args[0] = Int64GetDatum((int64) ring.epoch[i].epoch);
		args[1] = Int64GetDatum((int64) position);
		args[2] = TimestampTzGetDatum(GetCurrentTimestamp());
		if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not write meter.queue_position");
	}
	ForceSyncCommit();
}

/*
 * Give the space up to a position back, whose flush has committed.
 */
void
queue_release(uint64 position)
{
	SharedDatabase *database = shared_database(false);

	/* not if a later flush was faster */
	if (position > ring_read_position(&ring) &&
		ring_release(&ring, position))
		ConditionVariableBroadcast(&database->released);
}

void
queue_init(void)
{
	owner_watch(row_forget);
}

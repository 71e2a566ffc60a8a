/*
 * flush_commit.c
 *		What a flush has to do when its transaction has committed.
 *
 * Only then may the queue's space be given back and the events be counted.
 * meter_flush() can be called several times in a transaction and in its
 * subtransactions, each of which may be rolled back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "flush.h"
#include "queue.h"
#include "shared.h"

/* A flush of the current transaction. */
typedef struct FlushDone
{
	SubTransactionId subid;		/* to which it belongs by now */
	uint64		release;
	FlushResult result;
} FlushDone;

static List *flushes = NIL;		/* in TopTransactionContext */

static void
count(SharedDatabase *database, const FlushResult *result)
{
	SharedCounters *counters = &database->counters;

	LWLockAcquire(database->lock, LW_EXCLUSIVE);
	counters->flushed += result->appended;
	counters->duplicates += result->duplicates;
	counters->rejected += result->rejected;
	counters->ignored += result->ignored;
	counters->deferred += result->deferred;
	counters->discarded += result->discarded;
	counters->lost_bytes += result->lost_bytes;
	counters->flushes++;
	counters->flushed_at = GetCurrentTimestamp();
	LWLockRelease(database->lock);
	if (result->left > 0)
		pg_atomic_write_u32(&database->inbox_filled, 1);
	/* what was rejected is none of the rollup's, but of the alerts' after it */
	if (result->appended + result->rejected > 0 &&
		pg_atomic_exchange_u32(&database->rollup_wanted, 1) == 0)
		shared_wake_launcher();
}

static void
at_xact_end(XactEvent event, void *arg)
{
	ListCell   *cell;

	if (flushes == NIL || event == XACT_EVENT_PRE_COMMIT ||
		event == XACT_EVENT_PRE_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT)
		foreach(cell, flushes)
	{
		FlushDone  *done = lfirst(cell);

		/* who sees the queue empty sees all of it counted */
		count(shared_database(false), &done->result);
		if (done->release != 0)
			queue_release(done->release);
	}
	flushes = NIL;
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId subid,
			   SubTransactionId parent, void *arg)
{
	ListCell   *cell;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(cell, flushes)
	{
		FlushDone  *done = lfirst(cell);

		if (done->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			done->subid = parent;
		else
			flushes = foreach_delete_current(flushes, cell);
	}
}

/*
 * When the current transaction has committed, release the queue's space up to
 * a position (0: nothing) and count what was done.  A session that has never
 * flushed is spared the callbacks in each of its transactions.
 */
void
flush_at_commit(uint64 release, const FlushResult *result)
{
	static bool registered = false;
	MemoryContext old;
	FlushDone  *done;

	if (shared_database(false) == NULL)
		return;
	if (!registered)
	{
		RegisterXactCallback(at_xact_end, NULL);
		RegisterSubXactCallback(at_subxact_end, NULL);
		registered = true;
	}
	old = MemoryContextSwitchTo(TopTransactionContext);
	done = palloc(sizeof(FlushDone));
	done->subid = GetCurrentSubTransactionId();
	done->release = release;
	done->result = *result;
	flushes = lappend(flushes, done);
	MemoryContextSwitchTo(old);
}

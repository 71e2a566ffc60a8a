/*
 * shared.h
 *		What the processes that work for one database share.
 *
 * Shared memory holds a fixed number of entries, one for each database in
 * which meter is used.  It is there only if the server preloads the library.
 */
#ifndef METER_SHARED_H
#define METER_SHARED_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#define SHARED_MAX_ERROR 512

/*
 * What happened since the server's start or the last reset.  Under the
 * database's lock, in exclusive mode to change them.
 */
typedef struct SharedCounters
{
	uint64		queued;			/* events put into the queue */
	uint64		fallbacks;		/* events put into the inbox instead */
	uint64		ignored;		/* events of meter.ignore_endpoints */
	uint64		flushed;		/* events appended to the log */
	uint64		duplicates;		/* repeats that a flush dropped */
	uint64		rejected;		/* events that a flush set aside */
	uint64		deferred;		/* queued events that had to go by the inbox */
	uint64		violations;		/* of isolation */
	uint64		discarded;		/* queued events of a dropped extension */
	uint64		lost_bytes;		/* of damaged queue files */
	uint64		flushes;
	uint64		rollups;
	uint64		errors;			/* of the workers */
	TimestampTz flushed_at;
	TimestampTz rolled_up_at;
	TimestampTz maintained_at;
	TimestampTz error_at;
	TimestampTz reset_at;
	char		error[SHARED_MAX_ERROR];	/* the last one, or "" */
} SharedCounters;

/* The kinds of worker that a database can have, one of each. */
typedef enum SharedWorker
{
	SHARED_FLUSHER,
	SHARED_ROLLER,
	SHARED_WORKERS
} SharedWorker;

typedef struct SharedDatabase
{
	Oid			oid;			/* of the database; InvalidOid: free */
	LWLock	   *lock;			/* writers of the queue, and the counters */
	bool		queue_open;		/* its file was opened since the start; under
								 * lock */
	ConditionVariable released; /* there is room in the queue again */

	/*
	 * The flusher is there, or has been asked for.  It stays set while there
	 * is one, so that whoever queues an event has to look at it only.
	 */
	pg_atomic_uint32 flush_wanted;
	pg_atomic_uint32 flush_urgent;	/* do not sleep */
	pg_atomic_uint32 in_use;	/* somebody has written into the inbox */
	pg_atomic_uint32 maintain_missed;	/* as it was not in use */
	pg_atomic_uint32 inbox_filled;	/* rows were added to meter.inbox */
	pg_atomic_uint32 rollup_wanted; /* events were appended to the log */

	/*
	 * What is known of tenants (tenant.c) is older than their rows if its
	 * generation is; changes counts all changes.
	 */
	pg_atomic_uint32 tenant_generation;
	pg_atomic_uint64 tenant_changes;
	pg_atomic_uint32 tenant_on_standby; /* some was kept when this was one */
	uint64		replay_end;		/* where the queue ended when it was opened;
								 * under lock */

	slock_t		mutex;			/* for what follows */
	pid_t		pid[SHARED_WORKERS];	/* 0: none */
	Latch	   *latch[SHARED_WORKERS];
	bool		failed[SHARED_WORKERS]; /* the last one has not ended by
										 * itself */

	SharedCounters counters;
} SharedDatabase;

extern void shared_init(void);
extern bool shared_available(void);

extern SharedDatabase *shared_database(bool create);
extern SharedDatabase *shared_entry(int i);
extern void shared_forget(SharedDatabase *database);

extern void shared_set_launcher(Latch *latch);
extern void shared_wake_launcher(void);
extern void shared_want_flush(SharedDatabase *database);
extern void shared_wake_flusher(SharedDatabase *database);
extern void shared_wake_at_commit(bool in_use);

#endif							/* METER_SHARED_H */

/*
 * shared.c
 *		Shared memory: an entry for each database in which meter is used.
 *
 * Entries are few (meter.max_databases) and made once, so they are in an
 * array; a backend looks for its own the first time it needs it.  An entry is
 * given back by the launcher alone, after its database was dropped, when
 * nobody can be connected to it any more.
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/hot.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "setting.h"
#include "shared.h"

/* after all others */
#include "server.h"

#define TRANCHE "meter"

typedef struct Shared
{
	LWLock	   *lock;			/* for oid of the entries */
	slock_t		mutex;
	Latch	   *launcher;		/* NULL: there is none now; under mutex */
	SharedDatabase databases[FLEXIBLE_ARRAY_MEMBER];
} Shared;

static HOT_DATA Shared *shared = NULL;
static HOT_DATA SharedDatabase *my_database = NULL;
static bool wake_at_commit = false;
static bool use_at_commit = false;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static Size
shared_size(void)
{
	return add_size(offsetof(Shared, databases),
					mul_size(setting_max_databases, sizeof(SharedDatabase)));
}

static void
shared_request(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(TRANCHE, 1 + setting_max_databases);
}

/* Again after a crash of a backend, when all entries begin anew. */
static void
shared_startup(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("meter", shared_size(), &found);
	if (!found)
	{
		LWLockPadded *locks = GetNamedLWLockTranche(TRANCHE);

		memset(shared, 0, shared_size());
		shared->lock = &locks[0].lock;
		SpinLockInit(&shared->mutex);
		for (int i = 0; i < setting_max_databases; i++)
		{
			SharedDatabase *database = &shared->databases[i];

			database->lock = &locks[1 + i].lock;
			SpinLockInit(&database->mutex);
			ConditionVariableInit(&database->released);
			pg_atomic_init_u32(&database->flush_wanted, 0);
			pg_atomic_init_u32(&database->flush_urgent, 0);
			pg_atomic_init_u32(&database->in_use, 0);
			pg_atomic_init_u32(&database->maintain_missed, 0);
			pg_atomic_init_u32(&database->inbox_filled, 0);
			pg_atomic_init_u32(&database->rollup_wanted, 0);
			pg_atomic_init_u32(&database->tenant_generation, 1);
			pg_atomic_init_u64(&database->tenant_changes, 0);
			pg_atomic_init_u32(&database->tenant_on_standby, 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * Has the server preloaded the library?
 */
HOT_PATH bool
shared_available(void)
{
	return shared != NULL;
}

static SharedDatabase *
find(Oid oid)
{
	for (int i = 0; i < setting_max_databases; i++)
		if (shared->databases[i].oid == oid)
			return &shared->databases[i];
	return NULL;
}

COLD_PATH static SharedDatabase *
enter(bool create)
{
	SharedDatabase *database;

	if (shared == NULL || !OidIsValid(MyDatabaseId))
		return NULL;

	LWLockAcquire(shared->lock, create ? LW_EXCLUSIVE : LW_SHARED);
	database = find(MyDatabaseId);
	if (database == NULL && create)
	{
		database = find(InvalidOid);
		if (database != NULL)
		{
			memset(&database->counters, 0, sizeof(database->counters));
			database->counters.reset_at = GetCurrentTimestamp();
			database->queue_open = false;
			database->replay_end = 0;
			pg_atomic_write_u32(&database->flush_wanted, 0);
			pg_atomic_write_u32(&database->flush_urgent, 0);
			pg_atomic_write_u32(&database->in_use, 0);
			pg_atomic_write_u32(&database->maintain_missed, 0);
			pg_atomic_write_u32(&database->inbox_filled, 1);
			pg_atomic_write_u32(&database->rollup_wanted, 1);
			memset(database->failed, 0, sizeof(database->failed));
			database->oid = MyDatabaseId;
		}
	}
	LWLockRelease(shared->lock);
	my_database = database;
	return database;
}

/*
 * The entry of this backend's database; NULL if it has none, or if there is
 * no shared memory.  With create one is made, if there is a free one.
 */
HOT_PATH SharedDatabase *
shared_database(bool create)
{
	return likely(my_database != NULL) ? my_database : enter(create);
}

/*
 * For the launcher: entry i, NULL beyond the last one.  Free ones have no oid.
 */
SharedDatabase *
shared_entry(int i)
{
	return i < setting_max_databases ? &shared->databases[i] : NULL;
}

/*
 * For the launcher: the database is gone.
 */
void
shared_forget(SharedDatabase *database)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	database->oid = InvalidOid;
	LWLockRelease(shared->lock);
}

void
shared_set_launcher(Latch *latch)
{
	SpinLockAcquire(&shared->mutex);
	shared->launcher = latch;
	SpinLockRelease(&shared->mutex);
}

/*
 * A latch may have got another owner meanwhile, who then looks around for
 * nothing.
 */
void
shared_wake_launcher(void)
{
	Latch	   *latch;

	SpinLockAcquire(&shared->mutex);
	latch = shared->launcher;
	SpinLockRelease(&shared->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

/*
 * Something waits to be flushed: see to it that there is a flusher.
 */
HOT_PATH void
shared_want_flush(SharedDatabase *database)
{
	if (pg_atomic_read_u32(&database->flush_wanted) == 0 &&
		pg_atomic_exchange_u32(&database->flush_wanted, 1) == 0)
		shared_wake_launcher();
}

/*
 * Something waits that should not wait for meter.flush_interval.
 */
void
shared_wake_flusher(SharedDatabase *database)
{
	Latch	   *latch;

	if (pg_atomic_read_u32(&database->flush_urgent) != 0 ||
		pg_atomic_exchange_u32(&database->flush_urgent, 1) != 0)
		return;
	SpinLockAcquire(&database->mutex);
	latch = database->latch[SHARED_FLUSHER];
	SpinLockRelease(&database->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

static void
shared_at_commit(XactEvent event, void *arg)
{
	SharedDatabase *database;

	if (!wake_at_commit || event == XACT_EVENT_PRE_COMMIT ||
		event == XACT_EVENT_PRE_PREPARE)
		return;
	wake_at_commit = false;
	if (event != XACT_EVENT_COMMIT)
		return;
	database = shared_database(false);
	if (database == NULL)
		return;
	if (use_at_commit)
		pg_atomic_write_u32(&database->in_use, 1);
	(void) pg_atomic_exchange_u32(&database->inbox_filled, 1);	/* a barrier */
	shared_want_flush(database);
}

/*
 * When the current transaction has committed there will be something to flush
 * that is not in the queue, or, if the database is not in use by that, at least
 * something to look at.  A session that never has anything is spared the callback
 * in each of its transactions.
 */
void
shared_wake_at_commit(bool in_use)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(shared_at_commit, NULL);
		registered = true;
	}
	if (!wake_at_commit && shared_database(true) != NULL)
	{
		wake_at_commit = true;
		use_at_commit = false;
	}
	if (in_use)
		use_at_commit = true;
}

/*
 * While the server preloads the library.
 */
void
shared_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = shared_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
}

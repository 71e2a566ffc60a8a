/*
 * launcher.c
 *		The background process that starts the others.
 *
 * One launcher, started with the server, starts a flusher for a database when
 * somebody has queued an event there, and a roller when there is something to
 * roll up.  They end when they have nothing to do, so that databases can be
 * dropped and used as templates.  The launcher itself is connected to none.
 *
 * After the server's start it sends a worker to every database once, to find
 * out where the extension is and whether something was left waiting.
 *
 * It also saves what was taken of limits, each meter.save_interval; on a
 * standby, that is all it does.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "account.h"
#include "account_file.h"
#include "compat.h"
#include "queue.h"
#include "setting.h"
#include "shared.h"
#include "worker.h"

/* How often, in ms, the list of databases is looked at, and at the most. */
#define SCAN_INTERVAL (60 * 1000)
#define SCAN_PAUSE 1000

/* Every so many times a database's inbox is looked at without being asked. */
#define SCANS_PER_SWEEP 5

/* Longest pause, in ms, before another attempt to start a worker. */
#define MAX_BACKOFF (60 * 1000)

/* Partitions are made and dropped once a day. */
#define MAINTAIN_INTERVAL (24 * 3600 * 1000L)

/* A worker that the launcher has started. */
typedef struct Run
{
	BackgroundWorkerHandle *handle; /* NULL: it has ended */
	TimestampTz started;
	bool		settled;		/* its end was looked at */
	TimestampTz not_before;
	int			backoff;		/* ms */
} Run;

typedef struct Known
{
	Oid			oid;
	bool		exists;
	bool		invalid;		/* an interrupted DROP DATABASE has left it */
	bool		to_visit;
	Run			runs[SHARED_WORKERS];
} Known;

static List *databases = NIL;	/* of Known */
static MemoryContext launcher_context;
static bool start_failed = false;	/* for want of a process, in this pass */

PGDLLEXPORT void meter_launcher_main(Datum arg);

/* --- what databases there are ------------------------------------------- */

static Known *
find_known(Oid oid)
{
	ListCell   *cell;

	foreach(cell, databases)
	{
		Known	   *known = lfirst(cell);

		if (known->oid == oid)
			return known;
	}
	return NULL;
}

static SharedDatabase *
find_entry(Oid oid)
{
	SharedDatabase *entry;

	for (int i = 0; (entry = shared_entry(i)) != NULL; i++)
		if (entry->oid == oid)
			return entry;
	return NULL;
}

/*
 * The files of queues.
 */
static List *
list_files(void)
{
	List	   *files = NIL;
	DIR		   *directory = AllocateDir(QUEUE_DIRECTORY);
	struct dirent *entry;

	while ((entry = ReadDirExtended(directory, QUEUE_DIRECTORY, LOG)) != NULL)
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			files = lappend(files, pstrdup(entry->d_name));
	FreeDir(directory);
	return files;
}

static bool
has_file(List *files, Oid oid)
{
	ListCell   *cell;

	foreach(cell, files)
		if (strtoul(lfirst(cell), NULL, 10) == oid)
		return true;
	return false;
}

/*
 * Read pg_database.  Databases that do not accept connections are visited
 * only if they have a queue, from the time when they did.
 */
static void
read_databases(List *files)
{
	Relation	relation = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(relation, 0, NULL);
	HeapTuple	tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);
		Known	   *known = find_known(row->oid);

		if (known == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(launcher_context);

			known = palloc0(sizeof(Known));
			known->oid = row->oid;
			known->to_visit = row->datallowconn;
			databases = lappend(databases, known);
			MemoryContextSwitchTo(old);
		}
		known->exists = true;
		known->invalid = row->datconnlimit == -2;	/* not even we may connect */
		if (has_file(files, row->oid))
			known->to_visit = true; /* unless a worker is there already */
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
}

static void
forget_files(List *files)
{
	ListCell   *cell;

	foreach(cell, files)
	{
		const char *name = lfirst(cell);
		char	   *path;

		if (find_known(strtoul(name, NULL, 10)) != NULL)
			continue;
		path = psprintf("%s/%s", QUEUE_DIRECTORY, name);
		if (unlink(path) != 0 && errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not remove file \"%s\": %m", path)));
	}
}

/*
 * Find out what databases there are, and clean up after those that are gone.
 * Files, entries and accounts are listed before the catalog is read: a database
 * that has one existed then, so it is found, or it was dropped.  One that was
 * not used since the server's start can have accounts without an entry.
 */
static void
scan_databases(void)
{
	MemoryContext old = CurrentMemoryContext;
	List	   *files;
	List	   *entries = NIL;
	List	   *counted;
	SharedDatabase *entry;
	ListCell   *cell;
	static int	scans = 0;

	scans++;
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	files = list_files();
	for (int i = 0; (entry = shared_entry(i)) != NULL; i++)
		if (OidIsValid(entry->oid))
			entries = lappend(entries, entry);
	counted = account_databases();
	foreach(cell, databases)
		((Known *) lfirst(cell))->exists = false;
	read_databases(files);

	foreach(cell, databases)
	{
		Known	   *known = lfirst(cell);

		if (known->exists)
			continue;
		databases = foreach_delete_current(databases, cell);
		pfree(known);
	}
	foreach(cell, entries)
	{
		entry = lfirst(cell);
		if (find_known(entry->oid) == NULL)
			shared_forget(entry);
		else if ((scans + foreach_current_index(cell)) % SCANS_PER_SWEEP == 0)
		{
			/*
			 * what nobody has told us of, as of a prepared transaction, or of
			 * jobs of pg_cron that were removed
			 */
			pg_atomic_write_u32(&entry->rollup_wanted, 1);
			pg_atomic_write_u32(&entry->inbox_filled, 1);
			pg_atomic_write_u32(&entry->flush_wanted, 1);
		}
	}
	foreach(cell, counted)
	{
		if (find_known(lfirst_oid(cell)) == NULL)
			account_forget_database(lfirst_oid(cell));
	}
	forget_files(files);
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);
}

/* --- starting workers --------------------------------------------------- */

/*
 * Is there a worker that we have started?
 */
static bool
is_running(Run *run)
{
	pid_t		pid;

	if (run->handle == NULL)
		return false;
	if (GetBackgroundWorkerPid(run->handle, &pid) != BGWH_STOPPED)
		return true;
	pfree(run->handle);
	run->handle = NULL;
	return false;
}

/*
 * Can a worker connect to the database?  Not if it was dropped since the last
 * scan, or is being dropped or copied: who does that has locked it, and would
 * wait for our worker, which would end with an error that helps nobody.
 */
static bool
can_connect(Oid database)
{
	MemoryContext old = CurrentMemoryContext;
	LOCKTAG		tag;
	bool		result;

	StartTransactionCommand();
	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, database, 0);
	result = LockAcquire(&tag, RowExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL &&
		SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);
	return result;
}

static void
start(Known *known, SharedWorker kind, TimestampTz now)
{
	Run		   *run = &known->runs[kind];
	MemoryContext old;

	if (!can_connect(known->oid))
	{
		run->not_before = TimestampTzPlusMilliseconds(now, 1000);
		return;
	}
	old = MemoryContextSwitchTo(launcher_context);
	if (worker_start(known->oid, kind, &run->handle))
	{
		run->started = now;
		run->settled = false;
	}
	else
	{
		run->handle = NULL;
		run->not_before = TimestampTzPlusMilliseconds(now, 1000);
		start_failed = true;
	}
	MemoryContextSwitchTo(old);
}

static void
sooner(TimestampTz *wake, TimestampTz when)
{
	if (when < *wake)
		*wake = when;
}

/*
 * Start a worker of that kind if it is wanted, is not there and may be.  After
 * one that has failed the next one waits a while, longer each time.  One that
 * an earlier launcher has started is there too.
 */
static void
consider(Known *known, SharedDatabase *entry, SharedWorker kind, bool wanted,
		 TimestampTz now, TimestampTz *wake)
{
	Run		   *run = &known->runs[kind];
	bool		there;
	bool		failed;

	SpinLockAcquire(&entry->mutex);
	there = entry->pid[kind] != 0;
	failed = entry->failed[kind];
	SpinLockRelease(&entry->mutex);
	if (is_running(run) || there)
		return;
	if (!run->settled)
	{
		run->settled = true;
		run->backoff = failed ? Min(Max(1000, 2 * run->backoff), MAX_BACKOFF) : 0;
		run->not_before = TimestampTzPlusMilliseconds(now, run->backoff);
	}
	if (!wanted)
		return;
	if (run->not_before > now)
		sooner(wake, run->not_before);
	else
	{
		/* unless it gets so far as to say otherwise */
		SpinLockAcquire(&entry->mutex);
		entry->failed[kind] = true;
		SpinLockRelease(&entry->mutex);
		start(known, kind, now);
		if (run->handle == NULL)
			sooner(wake, run->not_before);
	}
}

/*
 * When the database's roller is due: when there are events to roll up, but not
 * sooner than meter.rollup_interval after the last time, or once a day.
 */
static bool
roller_due(Known *known, SharedDatabase *entry, TimestampTz now,
		   TimestampTz *wake)
{
	TimestampTz due;

	LWLockAcquire(entry->lock, LW_SHARED);
	due = TimestampTzPlusMilliseconds(entry->counters.maintained_at,
									  MAINTAIN_INTERVAL);
	LWLockRelease(entry->lock);

	/* not in use: who uses it first has events to roll up */
	if (pg_atomic_read_u32(&entry->maintain_missed) != 0)
		due = DT_NOEND;
	if (pg_atomic_read_u32(&entry->rollup_wanted) != 0)
		due = Min(due, TimestampTzPlusMilliseconds(known->runs[SHARED_ROLLER].started,
												   setting_rollup_interval * INT64CONST(1000)));
	if (due <= now)
		return true;
	sooner(wake, due);
	return false;
}

/*
 * If a worker could not be started, say so once until all can be again, and
 * let other databases have the first go next time.
 */
static void
report_start_failed(void)
{
	static bool reported = false;
	MemoryContext old;
	Known	   *first;

	if (start_failed && !reported)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start a background worker for meter"),
				 errhint("Increase max_worker_processes. Events wait in the queue meanwhile.")));
	reported = start_failed;
	if (!start_failed)
		return;
	old = MemoryContextSwitchTo(launcher_context);
	first = linitial(databases);
	databases = lappend(list_delete_first(databases), first);
	MemoryContextSwitchTo(old);
}

/*
 * Start what is to be started; returns when to look again.
 */
static TimestampTz
consider_databases(TimestampTz now, TimestampTz wake)
{
	SharedWorker visitor = setting_flush_interval > 0 ? SHARED_FLUSHER : SHARED_ROLLER;
	bool		visiting = false;
	ListCell   *cell;

	if (setting_flush_interval == 0 && setting_rollup_interval == 0)
		return wake;
	start_failed = false;
	foreach(cell, databases)
	{
		Known	   *known = lfirst(cell);
		SharedDatabase *entry = find_entry(known->oid);

		if (known->invalid)
			known->to_visit = false;
		else if (entry != NULL)
		{
			known->to_visit = false;
			consider(known, entry, SHARED_FLUSHER,
					 setting_flush_interval > 0 &&
					 pg_atomic_read_u32(&entry->flush_wanted) != 0, now, &wake);
			consider(known, entry, SHARED_ROLLER,
					 setting_rollup_interval > 0 &&
					 roller_due(known, entry, now, &wake), now, &wake);
		}
		else if (is_running(&known->runs[visitor]))
			visiting = true;
	}

	/* one visit at a time; its end wakes us */
	foreach(cell, databases)
	{
		Known	   *known = lfirst(cell);

		if (visiting || !known->to_visit)
			continue;
		known->to_visit = false;
		visiting = true;
		start(known, visitor, now);
		if (known->runs[visitor].handle == NULL)
		{
			known->to_visit = true;
			sooner(&wake, known->runs[visitor].not_before);
		}
	}
	report_start_failed();
	return wake;
}

/*
 * Is there an entry for a database that we do not know yet?
 */
static bool
has_unknown_entry(void)
{
	SharedDatabase *entry;

	for (int i = 0; (entry = shared_entry(i)) != NULL; i++)
		if (OidIsValid(entry->oid) && find_known(entry->oid) == NULL)
			return true;
	return false;
}

/* --- the process -------------------------------------------------------- */

static void
launcher_gone(int code, Datum arg)
{
	shared_set_launcher(NULL);
}

void
meter_launcher_main(Datum arg)
{
	TimestampTz next_scan = 0;
	TimestampTz last_scan = 0;
	uint32		wait_event;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(launcher_gone, (Datum) 0);
	shared_set_launcher(MyLatch);
	queue_make_directory();
	launcher_context = AllocSetContextCreate(TopMemoryContext, "meter launcher",
											 ALLOCSET_DEFAULT_SIZES);
	wait_event = compat_wait_event("MeterLauncher");

	while (!ShutdownRequestPending)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz wake;

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (RecoveryInProgress())
		{
			/* looks for the end of it */
			wake = account_file_keep(now, TimestampTzPlusMilliseconds(now, SCAN_PAUSE));
			goto sleep;
		}
		if (has_unknown_entry())
			sooner(&next_scan, TimestampTzPlusMilliseconds(last_scan, SCAN_PAUSE));
		if (now >= next_scan)
		{
			pgstat_report_activity(STATE_RUNNING, "looking at databases");
			scan_databases();
			pgstat_report_activity(STATE_IDLE, NULL);
			last_scan = now;
			next_scan = TimestampTzPlusMilliseconds(now, SCAN_INTERVAL);
		}
		wake = account_file_keep(now, consider_databases(now, next_scan));
sleep:
		account_join_pages();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wake)),
						 wait_event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}

	/* not 0, so that it is started again if it is not the server that stops */
	proc_exit(1);
}

/*
 * While the server preloads the library.
 */
void
launcher_init(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_name, "meter launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "meter launcher", sizeof(worker.bgw_type));
	strlcpy(worker.bgw_library_name, "meter", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "meter_launcher_main",
			sizeof(worker.bgw_function_name));
	RegisterBackgroundWorker(&worker);
}

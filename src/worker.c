/*
 * worker.c
 *		The background processes that work in a database.
 *
 * The flusher moves waiting events into the log; the roller rolls the log up,
 * evaluates alerts, and makes and drops partitions.  They are two, so that a
 * long rollup lets no queue fill up.  Each ends when it has had nothing to do
 * for a second, or when the extension is not there.  What fails is logged,
 * shown in meter.stats and tried again, after a pause that grows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "flush.h"
#include "log.h"
#include "queue.h"
#include "schedule.h"
#include "setting.h"
#include "shared.h"
#include "worker.h"

/* A flusher without work stays so long (ms). */
#define LINGER 1000

/*
 * A flusher that always has work ends after this time (ms), for a new one to
 * see what ALTER DATABASE has set, and as nothing should live for ever.
 */
#define MAX_AGE (5 * 60 * 1000)

/* Longest pause, in ms, after an error. */
#define MAX_BACKOFF (30 * 1000)

/* How long to wait for a lock that somebody holds; it is tried again later. */
#define LOCK_TIMEOUT "10s"

/* What a piece of work finds out. */
typedef struct Work
{
	bool		installed;		/* the extension is there */
	bool		in_use;			/* and is used, as far as anybody knows */
	bool		queued;			/* something waits in the queue */
	bool		with_inbox;
	FlushResult flushed;
	bool		called;			/* not left to pg_cron */
	bool		alerts_open;	/* some alert may end without any event */
	char	   *closing;		/* how far the closing of months is; NULL: not
								 * begun, or at its end */
} Work;

static const char *const worker_names[] = {
	[SHARED_FLUSHER] = "meter flusher",
	[SHARED_ROLLER] = "meter roller",
};

static SharedWorker my_kind;
static SharedDatabase *my_entry = NULL;

PGDLLEXPORT void meter_worker_main(Datum arg);

/*
 * Start a worker for a database; false if there are too many.  The launcher
 * is told when it has started and ended.
 */
bool
worker_start(Oid database, SharedWorker kind, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION | COMPAT_BGWORKER_INTERRUPTIBLE;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_name, worker_names[kind], sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, worker_names[kind], sizeof(worker.bgw_type));
	strlcpy(worker.bgw_library_name, "meter", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "meter_worker_main",
			sizeof(worker.bgw_function_name));
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_extra[0] = (char) kind;
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* --- pieces of work ----------------------------------------------------- */

static void
remember_error(void)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	ErrorData  *edata = CopyErrorData();

	MemoryContextSwitchTo(old);
	if (my_entry != NULL)
	{
		LWLockAcquire(my_entry->lock, LW_EXCLUSIVE);
		my_entry->counters.errors++;
		my_entry->counters.error_at = GetCurrentTimestamp();
		strlcpy(my_entry->counters.error, edata->message, SHARED_MAX_ERROR);
		LWLockRelease(my_entry->lock);
	}
	FreeErrorData(edata);
}

/*
 * Is the extension there?  It stays until the end of the transaction: who
 * drops it waits for us, or we have waited for him.
 */
static bool
extension_installed(void)
{
	Oid			oid = get_extension_oid("meter", true);

	if (!OidIsValid(oid))
		return false;
	LockDatabaseObject(ExtensionRelationId, oid, 0, AccessShareLock);
	return get_extension_oid("meter", true) == oid;
}

static void look_piece(Work *work);
static void flush_piece(Work *work);

/*
 * What is in the queue was tracked here, so it is flushed in any case.
 */
static bool
serves_queue(void (*piece) (Work *))
{
	return piece == look_piece || piece == flush_piece;
}

/*
 * Do a piece of work in a transaction of its own; false if it has failed,
 * which is then logged.
 */
static bool
do_work(void (*piece) (Work *), Work *work, const char *activity)
{
	volatile bool done = false;

	pgstat_report_activity(STATE_RUNNING, activity);
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		work->installed = extension_installed();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (work->installed && !work->in_use)
			work->in_use = (my_entry != NULL && pg_atomic_read_u32(&my_entry->in_use) != 0) ||
				log_in_use();
		if (work->installed && (work->in_use || serves_queue(piece)))
			piece(work);
		PopActiveSnapshot();
		CommitTransactionCommand();
		done = true;
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		LWLockReleaseAll();
		remember_error();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	pgstat_report_stat(!done);
	pgstat_report_activity(STATE_IDLE, NULL);
	return done;
}

static void
flush_piece(Work *work)
{
	flush_waiting(work->with_inbox, true, &work->flushed);
}

/*
 * The next step of what meter_close_month() does, of which each is a
 * transaction.
 */
static void
close_piece(Work *work)
{
	Oid			type = TEXTOID;
	Datum		value;
	char	   *next = NULL;
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (work->closing != NULL)
	{
		value = CStringGetTextDatum(work->closing);
		result = SPI_execute_with_args("SELECT meter.close_next($1::pg_catalog.jsonb)",
									   1, &type, &value, NULL, false, 1);
	}
	else if (schedule_has("meter_close_month"))
		result = SPI_execute("SELECT NULL", true, 1);
	else
		result = SPI_execute("SELECT meter.close_begin(NULL) FROM meter.subscription_apply()",
							 false, 1);
	if (result != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not close a month");
	next = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	work->closing = next == NULL ? NULL : MemoryContextStrdup(TopMemoryContext, next);
	SPI_finish();
}

static void
rollup_piece(Work *work)
{
	work->called = schedule_call("meter_rollup");
}

/*
 * Rows of meter.alert that are open are looked at again soon, also if no event
 * comes: "for" goes on, values are no more, silences end.
 */
static void
alert_piece(Work *work)
{
	bool		isnull;

	work->called = schedule_call("meter_evaluate_alerts");
	if (!work->called)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* not read-only, which would not see what was just written */
	if (SPI_execute("SELECT EXISTS (SELECT FROM meter.alert AS a "
					"WHERE a.state OPERATOR(pg_catalog.<>) 'resolved')",
					false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.alert");
	work->alerts_open = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
												   SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
}

static void
budget_piece(Work *work)
{
	work->called = schedule_call("meter_refresh_budgets");
}

static void
outbox_piece(Work *work)
{
	work->called = schedule_call("meter_outbox_fill");
}

static void
maintain_piece(Work *work)
{
	work->called = schedule_call("meter_maintain");
}

/* --- the flusher -------------------------------------------------------- */

/*
 * Wait for ms, or until something is urgent or a setting may have changed.  A
 * latch is also set for nothing, as by the alarm of a lock that was waited for
 * and has long been given: who is woken so goes on waiting, or a flusher would
 * end, and its next one flush, at times nobody has asked for.
 */
static void
worker_sleep(long ms)
{
	static uint32 event = 0;
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	int			woken = 0;

	if (event == 0)
		event = compat_wait_event("MeterWorker");
	while (!ShutdownRequestPending && (woken & WL_TIMEOUT) == 0 &&
		   pg_atomic_read_u32(&my_entry->flush_urgent) == 0)
	{
		/* not longer than was asked for, should the clock be set back */
		long		rest = Min(ms, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end));

		/* woken by others who want us to catch up with what they invalidated? */
		if (woken != 0)
		{
			StartTransactionCommand();
			CommitTransactionCommand();
		}
		woken = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						  rest, event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			break;
	}
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * Is there anything for the flusher?  Opening the queue may fail.
 */
static void
look_piece(Work *work)
{
	work->queued = queue_waiting();
}

static void
run_flusher(void)
{
	TimestampTz born = GetCurrentTimestamp();
	TimestampTz idle_since = born;
	TimestampTz inbox_not_before = 0;
	int			backoff = 0;
	int			inbox_backoff = 0;

	pg_atomic_write_u32(&my_entry->flush_wanted, 1);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		Work		work = {0};
		bool		stopping = ShutdownRequestPending;
		bool		queued;
		bool		unwanted;
		bool		done;

		pg_atomic_write_u32(&my_entry->flush_urgent, 0);
		done = do_work(look_piece, &work, "looking at the queue of events");
		queued = work.queued;

		/* the inbox is as safe as the log; it need not hold up a shutdown */
		if (work.installed && work.in_use && !stopping && now >= inbox_not_before)
			work.with_inbox = pg_atomic_exchange_u32(&my_entry->inbox_filled, 0) != 0;

		/* even if the queue cannot be opened, which has been logged */
		if (work.installed && (queued || work.with_inbox))
		{
			if (!do_work(flush_piece, &work, "flushing events into the log"))
				done = false;
			idle_since = GetCurrentTimestamp();
			if (work.with_inbox && (!done || work.flushed.left > 0))
			{
				pg_atomic_write_u32(&my_entry->inbox_filled, 1);
				inbox_backoff = Min(Max(1000, 2 * inbox_backoff), MAX_BACKOFF);
				inbox_not_before = TimestampTzPlusMilliseconds(now, inbox_backoff);
			}
			else if (work.with_inbox)
				inbox_backoff = 0;
		}
		if (stopping || TimestampDifferenceExceeds(born, now, MAX_AGE))
			break;
		if (!done)
		{
			/* a pause, even if somebody is in a hurry */
			backoff = Min(Max(200, 2 * backoff), MAX_BACKOFF);
			for (TimestampTz end = TimestampTzPlusMilliseconds(now, backoff);
				 !ShutdownRequestPending && GetCurrentTimestamp() < end;)
			{
				pg_atomic_write_u32(&my_entry->flush_urgent, 0);
				worker_sleep(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end));
			}
			continue;
		}
		backoff = 0;
		unwanted = !work.installed || setting_flush_interval == 0 ||
			(!work.in_use && !queued);
		if (unwanted ||
			(!queued && inbox_backoff == 0 &&
			 TimestampDifferenceExceeds(idle_since, now, LINGER)))
		{
			pg_atomic_write_u32(&my_entry->flush_wanted, 0);
			pg_memory_barrier();
			if (!work.installed || setting_flush_interval == 0 ||
				(!queue_waiting() &&
				 (pg_atomic_read_u32(&my_entry->inbox_filled) == 0 ||
				  (!work.in_use && pg_atomic_read_u32(&my_entry->in_use) == 0))))
				break;
			/* somebody was faster, and may have seen us here still */
			pg_atomic_write_u32(&my_entry->flush_wanted, 1);
			continue;
		}
		if (!work.flushed.more)
			worker_sleep(setting_flush_interval);
	}
}

/* --- the roller --------------------------------------------------------- */

static void
run_roller(void)
{
	Work		work = {0};
	TimestampTz maintained_at;

	LWLockAcquire(my_entry->lock, LW_SHARED);
	maintained_at = my_entry->counters.maintained_at;
	LWLockRelease(my_entry->lock);
	if (pg_atomic_exchange_u32(&my_entry->rollup_wanted, 0) != 0)
	{
		if (!do_work(rollup_piece, &work, "rolling events up"))
			pg_atomic_write_u32(&my_entry->rollup_wanted, 1);
		else if (work.called)
		{
			LWLockAcquire(my_entry->lock, LW_EXCLUSIVE);
			my_entry->counters.rollups++;
			my_entry->counters.rolled_up_at = GetCurrentTimestamp();
			LWLockRelease(my_entry->lock);
		}

		/* what fails is made up for the next time */
		if (work.installed)
			(void) do_work(budget_piece, &work, "reckoning what was spent of budgets");
		if (work.installed)
		{
			if (!do_work(alert_piece, &work, "evaluating alerts") || work.alerts_open)
				pg_atomic_write_u32(&my_entry->rollup_wanted, 1);
			(void) do_work(outbox_piece, &work, "filling the outbox of bills");
		}
	}
	if (TimestampDifferenceExceeds(maintained_at, GetCurrentTimestamp(),
								   12 * 3600 * 1000))
	{
		(void) do_work(maintain_piece, &work, "making and dropping partitions");
		while (do_work(close_piece, &work, "closing a month") && work.closing != NULL)
			CHECK_FOR_INTERRUPTS();

		/* where nobody works yet, it is for when somebody does */
		pg_atomic_write_u32(&my_entry->maintain_missed, !work.in_use);
		if (!work.in_use)
			return;

		/* also if it has failed, which is tried again tomorrow */
		LWLockAcquire(my_entry->lock, LW_EXCLUSIVE);
		my_entry->counters.maintained_at = GetCurrentTimestamp();
		LWLockRelease(my_entry->lock);
	}
}

/* --- the process -------------------------------------------------------- */

static void
worker_gone(int code, Datum arg)
{
	SpinLockAcquire(&my_entry->mutex);
	my_entry->pid[my_kind] = 0;
	my_entry->latch[my_kind] = NULL;
	my_entry->failed[my_kind] = code != 0;
	SpinLockRelease(&my_entry->mutex);
	shared_wake_launcher();
}

/*
 * Be the database's one worker of this kind; false if there is one.
 */
static bool
worker_register(void)
{
	bool		first;

	SpinLockAcquire(&my_entry->mutex);
	first = my_entry->pid[my_kind] == 0;
	if (first)
	{
		my_entry->pid[my_kind] = MyProcPid;
		my_entry->latch[my_kind] = MyLatch;
	}
	SpinLockRelease(&my_entry->mutex);
	if (first)
		before_shmem_exit(worker_gone, (Datum) 0);
	return first;
}

static void
set_for_process(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

static void
nothing_piece(Work *work)
{
}

void
meter_worker_main(Datum arg)
{
	Work		work = {0};

	my_kind = (SharedWorker) MyBgworkerEntry->bgw_extra[0];
	pqsignal(SIGHUP, SignalHandlerForConfigReload);

	/* the flusher finishes its work, others can be interrupted */
	if (my_kind == SHARED_FLUSHER)
		pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	else
		pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid,
											  BGWORKER_BYPASS_ALLOWCONN);
	set_for_process("search_path", "pg_catalog, pg_temp");
	set_for_process("lock_timeout", LOCK_TIMEOUT);
	set_for_process("statement_timeout", "0");
	set_for_process("idle_in_transaction_session_timeout", "0");
	set_for_process("default_transaction_isolation", "read committed");
	set_for_process("default_transaction_read_only", "off");
	if (GetConfigOption("transaction_timeout", true, false) != NULL)
		set_for_process("transaction_timeout", "0");	/* since 17 */

	/*
	 * Waiting for a synchronous standby could not be interrupted, and makes
	 * no event safer: a standby has no queue, and the inbox it has.
	 */
	set_for_process("synchronous_commit", "local");

	/* an entry is made where the extension is; elsewhere none is wanted */
	if (!do_work(nothing_piece, &work, "looking for the extension"))
		proc_exit(1);
	my_entry = shared_database(work.installed);
	if (!work.installed && my_entry != NULL)
	{
		pg_atomic_write_u32(&my_entry->flush_wanted, 0);
		pg_atomic_write_u32(&my_entry->rollup_wanted, 0);
		LWLockAcquire(my_entry->lock, LW_EXCLUSIVE);
		my_entry->counters.maintained_at = GetCurrentTimestamp();
		LWLockRelease(my_entry->lock);
		SpinLockAcquire(&my_entry->mutex);
		my_entry->failed[my_kind] = false;
		SpinLockRelease(&my_entry->mutex);
	}
	if (!work.installed || my_entry == NULL || !worker_register())
		proc_exit(0);
	if (my_kind == SHARED_FLUSHER)
		run_flusher();
	else
		run_roller();
	proc_exit(0);
}

/*
 * quota.c
 *		What was used of a calendar window before it was counted in memory.
 *
 * When the bucket of a window is made in mid-window, as after an accident,
 * when a rule is new or when meter is, what was tracked in the window so far
 * is read from the rollups and the tail of the log, as meter.live does.  A
 * bucket that was restored from a file keeps what it has if that is more.
 *
 * While one process reads it, others that need the same tenant's wait for it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account.h"
#include "amount.h"
#include "compat.h"
#include "lock.h"
#include "owner.h"
#include "queue.h"
#include "quota.h"
#include "setting.h"
#include "shared.h"

/* How long, in ms, to wait for what an accident has left in the queue. */
#define REPLAY_TIMEOUT 10000
#define REPLAY_PAUSE 10

void
quota_want(QuotaSeed *seed, const Rule *rule, const RuleSet *among,
		   TimestampTz window_end, uint32 tenant, text *user)
{
	/* one lock at a time, which may be held already */
	if (!seed->locked)
		seed->hash = rule->per_user ?
			tenant ^ account_hash(VARDATA_ANY(user), VARSIZE_ANY_EXHDR(user)) : tenant;

	seed->rule = rule->id;
	seed->what = rule;
	seed->among = among;
	seed->window_end = window_end;
	seed->found = false;
}

static uint32
replay_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = compat_wait_event("MeterQueueReplay");
	return event;
}

/*
 * What was in the queue when the server started belongs to what was used.
 * The flusher is about to move it into the log, if there is one.
 */
static void
await_replay(void)
{
	static int	waited = 0;		/* in all, by this process */
	SharedDatabase *database = shared_database(true);

	if (database == NULL || RecoveryInProgress() || setting_flush_interval == 0)
		return;
	for (; waited < REPLAY_TIMEOUT && !queue_replayed(); waited += REPLAY_PAUSE)
	{
		shared_want_flush(database);
		shared_wake_flusher(database);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 REPLAY_PAUSE, replay_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Patterns of the rules that take calls from this one: these do not count for
 * it in memory, so they must not when it is started.
 */
static Datum
patterns_before(const QuotaSeed *seed)
{
	const RuleSet *set = seed->among;
	Datum	   *patterns = palloc(set->n * sizeof(Datum));
	int			n = 0;

	for (int i = 0; i < set->n; i++)
		if (rule_takes_from(&set->rules[i], seed->what))
			patterns[n++] = CStringGetTextDatum(set->rules[i].pattern);
	return PointerGetDatum(construct_array(patterns, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * First the lock: who gets it looks again whether it was found meanwhile.
 */
void
quota_read(QuotaSeed *seed, text *tenant, text *user)
{
	static SPIPlanPtr plan = NULL;
	LOCKTAG		tag;
	OwnerScope	scope;
	Datum		args[10];
	char		nulls[11] = "          ";
	bool		isnull;
	Datum		used;
	AmountProblem problem = AMOUNT_OK;

	if (!seed->locked)
	{
		await_replay();
		lock_set_tag(&tag, seed->hash, LOCK_KIND_QUOTA);
		(void) LockAcquire(&tag, ExclusiveLock, false, false);
		seed->locked = true;
		return;
	}

	owner_begin(&scope);
	owner_plan(&plan,
			   "SELECT meter.quota_used($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
			   10, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID,
			   TIMESTAMPTZOID, BOOLOID, TEXTARRAYOID);
	args[0] = PointerGetDatum(tenant);
	args[1] = CStringGetTextDatum(seed->what->pattern);
	args[2] = CStringGetTextDatum(seed->what->metric);
	args[3] = CStringGetTextDatum(seed->what->cost ? "cost" : "requests");
	args[4] = PointerGetDatum(user);
	if (!seed->what->per_user)
		nulls[4] = 'n';
	args[5] = CStringGetTextDatum(rule_per_names[seed->what->per]);
	args[6] = TimestampTzGetDatum(seed->window_end);
	args[7] = TimestampTzGetDatum(Max(seed->what->since, account_shared->counting_since));
	args[8] = BoolGetDatum(seed->what->origin == RULE_PLAN);
	args[9] = patterns_before(seed);
	if (SPI_execute_snapshot(plan, args, nulls,
							 IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot(),
							 InvalidSnapshot, true, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read what was used of a quota");
	used = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	seed->used = 0;
	if (!isnull)
		problem = amount_from_numeric(DatumGetNumeric(used), &seed->used);
	if (problem == AMOUNT_TOO_LARGE)
		seed->used = BUCKET_MAX_AMOUNT;
	else if (problem != AMOUNT_OK)
		seed->used = 0;			/* more was given back than taken */
	owner_end(&scope);
	seed->found = true;
}

/*
 * Before the end of the transaction, which may be long.
 */
void
quota_unlock(QuotaSeed *seed)
{
	LOCKTAG		tag;

	lock_set_tag(&tag, seed->hash, LOCK_KIND_QUOTA);
	(void) LockRelease(&tag, ExclusiveLock, false);
	seed->locked = false;
}

List *
quota_resources(text *tenant)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	OwnerScope	scope;
	Datum		args[1] = {PointerGetDatum(tenant)};
	List	   *resources = NIL;

	owner_begin(&scope);
	owner_plan(&plan,
			   "SELECT DISTINCT resource FROM meter.rate_limit "
			   "WHERE kind = 'window' AND (tenant IS NULL OR tenant = $1) ORDER BY resource",
			   1, TEXTOID);
	if (SPI_execute_plan(plan, args, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.rate_limit");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *resource = SPI_getvalue(SPI_tuptable->vals[i],
											SPI_tuptable->tupdesc, 1);
		MemoryContext old = MemoryContextSwitchTo(context);

		resources = lappend(resources, cstring_to_text(resource));
		MemoryContextSwitchTo(old);
	}
	owner_end(&scope);
	return resources;
}

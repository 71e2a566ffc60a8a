/*
 * tenant.c
 *		What limits need to know of a tenant.
 *
 * A tenant's plan, whether it has rules of its own, and when its day and its
 * month end are read from meter.tenant when it is first seen, and kept in its
 * account for all processes.  When the row changes, the transaction that has
 * changed it has the account read anew once it has committed.
 *
 * Who reads could have read before that and keep what he has read after it.
 * So he notes the count of changes before he reads, and keeps nothing if it
 * has moved on: who changes moves it first, and then looks for the account.
 * Both look under the lock of the account's partition.
 *
 * Nobody does that on a standby, or if the transaction was prepared.  There
 * each process listens to invalidations of the tables' relations, and trusts
 * only what was read after the last one, and after it began to listen.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "core/hot.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "rule.h"
#include "tenant.h"

/* after all others */
#include "server.h"

/* So many tenants changed by a transaction are looked for one by one. */
#define MAX_CHANGED 64

/* By the current transaction. */
static HOT_DATA bool all_changed = false;	/* or any */
static HOT_DATA int n_changed = 0;
static char *changed[MAX_CHANGED];
static int	changed_length[MAX_CHANGED];

static Oid	tenant_relid = InvalidOid;
static Oid	rule_relid = InvalidOid;

/* Does this process listen?  Then it trusts what has a later stamp. */
static HOT_DATA bool listening = false;
static HOT_DATA uint32 trusted_after = 0;

static bool
has_changed(void)
{
	return all_changed || n_changed > 0;
}

/* --- reading ------------------------------------------------------------ */

#define FACTS_QUERY \
	"SELECT t.plan, " \
	"EXISTS (SELECT FROM meter.rate_limit AS r WHERE r.tenant = $1), " \
	"(date_trunc('day', l.now) + '1 day') AT TIME ZONE z.zone, " \
	"(date_trunc('month', l.now) + '1 month') AT TIME ZONE z.zone, " \
	"(extract(epoch FROM l.now - $2 AT TIME ZONE 'UTC') / 60)::integer " \
	"FROM (SELECT) AS one LEFT JOIN meter.tenant AS t ON t.tenant = $1 " \
	"CROSS JOIN LATERAL (SELECT meter.known_time_zone(t.time_zone) AS zone) AS z " \
	"CROSS JOIN LATERAL (SELECT $2 AT TIME ZONE z.zone AS now) AS l"

PG_FUNCTION_INFO_V1(meter_known_time_zone);

/*
 * The name of a time zone, or UTC for one that the server does not know (any
 * more), as after an upgrade of its time zone database.  Calls must not fail
 * for that.  The log says so once in each process that meets it: seldom, as
 * what is found out about a tenant is kept for all of them.
 */
Datum
meter_known_time_zone(PG_FUNCTION_ARGS)
{
	static char reported[TZ_STRLEN_MAX + 1] = "";
	char	   *name;

	if (PG_ARGISNULL(0))
		PG_RETURN_TEXT_P(cstring_to_text("UTC"));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (pg_tzset(name) != NULL)
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (strncmp(name, reported, TZ_STRLEN_MAX) != 0)
	{
		strlcpy(reported, name, sizeof(reported));
		ereport(LOG,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known to this server", name),
				 errdetail("Quotas of tenants that have it are counted in UTC."),
				 errhint("Correct meter.tenant.time_zone, or install the time zone database that has this name.")));
	}
	PG_RETURN_TEXT_P(cstring_to_text("UTC"));
}

static uint32
get_minutes(int column)
{
	bool		isnull;
	TimestampTz at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
													   SPI_tuptable->tupdesc,
													   column, &isnull));

	return isnull ? 0 : tenant_minutes(at + USECS_PER_MINUTE - 1);
}

void
tenant_read(SharedDatabase *database, text *tenant, TenantFacts *facts)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	Datum		args[2];
	bool		isnull;
	char	   *name;

	memset(facts, 0, sizeof(*facts));
	facts->changes = pg_atomic_read_u64(&database->tenant_changes);
	facts->generation = pg_atomic_read_u32(&database->tenant_generation);
	pg_memory_barrier();

	/*
	 * What this transaction has not committed is for itself only, and a
	 * parallel query knows only what was there when it began.
	 */
	facts->lasting = !has_changed() && !IsInParallelMode();

	owner_begin(&scope);
	owner_plan(&plan, FACTS_QUERY, 2, TEXTOID, TIMESTAMPTZOID);
	args[0] = PointerGetDatum(tenant);
	args[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (SPI_execute_snapshot(plan, args, NULL,
							 IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot(),
							 InvalidSnapshot, true, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read meter.tenant");
	name = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (name != NULL)
		facts->plan = rule_plan_hash(name, strlen(name));
	facts->default_plan = name == NULL;
	facts->own_rules = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
												  SPI_tuptable->tupdesc, 2, &isnull));
	facts->day_end = get_minutes(3);
	facts->month_end = get_minutes(4);
	facts->utc_offset = (int16) DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
															SPI_tuptable->tupdesc, 5,
															&isnull));
	owner_end(&scope);
}

void
tenant_keep(SharedDatabase *database, Account *account, TenantFacts *facts)
{
	if (!facts->lasting || facts->stamp != 0 ||
		facts->changes != pg_atomic_read_u64(&database->tenant_changes))
		return;
	if (listening && RecoveryInProgress())
		pg_atomic_write_u32(&database->tenant_on_standby, 1);
	facts->stamp = account_new_stamp();
	account->plan = facts->plan;
	account->generation = facts->generation;
	account->stamp = facts->stamp;
	account->day_end = facts->day_end;
	account->month_end = facts->month_end;
	account->utc_offset = facts->utc_offset;
	account->flags = (facts->own_rules ? ACCOUNT_OWN_RULES : 0) |
		(facts->default_plan ? ACCOUNT_DEFAULT_PLAN : 0);
}

/*
 * False if they are not there, or not what they were any more.  Whether its
 * transaction has changed them, a parallel query's worker does not know, but
 * whether it has changed anything.
 */
HOT_PATH bool
tenant_kept(SharedDatabase *database, const Account *account,
			TenantFacts *facts)
{
	/* what a process is for its life; -1: not looked at yet */
	static HOT_DATA int8 worker = -1;

	if (unlikely(worker < 0))
		worker = IsParallelWorker();
	if (account->stamp == 0 || has_changed() ||
		account->generation != pg_atomic_read_u32(&database->tenant_generation) ||
		(listening && (int32) (account->stamp - trusted_after) < 0) ||
		(worker && TransactionIdIsValid(GetTopTransactionIdIfAny())))
		return false;
	facts->plan = account->plan;
	facts->default_plan = (account->flags & ACCOUNT_DEFAULT_PLAN) != 0;
	facts->own_rules = (account->flags & ACCOUNT_OWN_RULES) != 0;
	facts->day_end = account->day_end;
	facts->month_end = account->month_end;
	facts->utc_offset = account->utc_offset;
	facts->stamp = account->stamp;
	return true;
}

/*
 * From its account if they are there, and without keeping them otherwise.
 */
void
tenant_look(SharedDatabase *database, text *tenant, uint32 hash,
			TenantFacts *facts)
{
	AccountKey	key = {0};
	Account    *account;
	bool		known;

	key.hash = hash;
	key.database = database->oid;
	key.name = VARDATA_ANY(tenant);
	key.length = VARSIZE_ANY_EXHDR(tenant);
	account_lock(hash, LW_SHARED);
	account = account_find(account_table, &key);
	known = account != NULL && tenant_kept(database, account, facts);
	account_unlock(hash);
	if (!known)
		tenant_read(database, tenant, facts);
}

/* --- changes ------------------------------------------------------------ */

static void
forget_account(SharedDatabase *database, const char *name, int length)
{
	AccountKey	key = {0};
	Account    *account;

	key.hash = account_hash(name, length);
	key.database = database->oid;
	key.name = name;
	key.length = length;
	account_lock(key.hash, LW_EXCLUSIVE);
	account = account_find(account_table, &key);
	if (account != NULL)
		account->stamp = 0;
	account_unlock(key.hash);
}

static void
forget_changed(void)
{
	for (int i = 0; i < n_changed; i++)
		free(changed[i]);
	n_changed = 0;
	all_changed = false;
}

static void
tenant_at_end(XactEvent event, void *arg)
{
	SharedDatabase *database;

	if (!has_changed() || event == XACT_EVENT_PRE_COMMIT ||
		event == XACT_EVENT_PRE_PREPARE)
		return;
	database = account_table == NULL ? NULL : shared_database(false);
	if (event == XACT_EVENT_COMMIT && database != NULL)
	{
		(void) pg_atomic_fetch_add_u64(&database->tenant_changes, 1);
		if (all_changed)
			(void) pg_atomic_fetch_add_u32(&database->tenant_generation, 1);
		else
			for (int i = 0; i < n_changed; i++)
				forget_account(database, changed[i], changed_length[i]);
	}
	forget_changed();
}

static void
note_change(const char *name, int length)
{
	char	   *copy;

	if (n_changed > 0 && changed_length[n_changed - 1] == length &&
		memcmp(changed[n_changed - 1], name, length) == 0)
		return;
	copy = n_changed < MAX_CHANGED ? malloc(Max(length, 1)) : NULL;
	if (copy == NULL)
	{
		/* also if memory runs out */
		all_changed = true;
		return;
	}
	memcpy(copy, name, length);
	changed[n_changed] = copy;
	changed_length[n_changed++] = length;
}

static void
note_row(TriggerData *trigger, HeapTuple row)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	int			column = SPI_fnumber(desc, "tenant");
	bool		isnull;
	Datum		value;
	text	   *name;

	if (row == NULL || column <= 0 || all_changed)
		return;
	value = heap_getattr(row, column, desc, &isnull);
	if (isnull)
		return;
	name = DatumGetTextPP(value);
	note_change(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

PG_FUNCTION_INFO_V1(meter_tenant_changed);

/*
 * Trigger of meter.tenant, and of meter.rate_limit for the tenants that have
 * rules of their own.  A session that changes neither is spared the callback in
 * each of its transactions.
 */
Datum
meter_tenant_changed(PG_FUNCTION_ARGS)
{
	static bool registered = false;
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"meter_tenant_changed")));
	if (!registered)
	{
		RegisterXactCallback(tenant_at_end, NULL);
		registered = true;
	}
	CacheInvalidateRelcacheByRelid(RelationGetRelid(trigger->tg_relation));
	if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
	{
		all_changed = true;
		return PointerGetDatum(NULL);
	}
	note_row(trigger, trigger->tg_trigtuple);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		note_row(trigger, trigger->tg_newtuple);
	return PointerGetDatum(NULL);
}

/*
 * Who is reading a tenant now must not keep what he has read, either.
 */
static void
trust_no_earlier(SharedDatabase *database)
{
	(void) pg_atomic_fetch_add_u64(&database->tenant_changes, 1);
	trusted_after = account_new_stamp();
}

static void
tenant_invalidated(Oid relid)
{
	if (listening &&
		(!OidIsValid(relid) || relid == tenant_relid || relid == rule_relid))
		trust_no_earlier(shared_database(false));
}

/*
 * What a standby's processes have kept is not to be trusted when it is none any
 * more: they alone have heard of the last changes.
 */
void
tenant_listen(SharedDatabase *database)
{
	bool		on_standby = RecoveryInProgress();

	tenant_relid = owner_relation("tenant");
	rule_relid = owner_relation("rate_limit");
	if (database == NULL)
		return;
	if (!listening && (on_standby || max_prepared_xacts > 0))
	{
		listening = true;
		trust_no_earlier(database);
	}
	if (!on_standby && pg_atomic_read_u32(&database->tenant_on_standby) != 0)
	{
		pg_atomic_write_u32(&database->tenant_on_standby, 0);
		(void) pg_atomic_fetch_add_u64(&database->tenant_changes, 1);
		(void) pg_atomic_fetch_add_u32(&database->tenant_generation, 1);
	}
}

void
tenant_init(void)
{
	owner_watch(tenant_invalidated);
}

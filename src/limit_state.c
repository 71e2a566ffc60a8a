/*
 * limit_state.c
 *		What is taken of limits now: showing it, and setting it back.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "account.h"
#include "amount.h"
#include "context.h"
#include "event.h"
#include "limit.h"
#include "quota.h"
#include "row_security.h"
#include "rule.h"
#include "tenant.h"

/* Rows are returned when there are so many. */
#define ROWS 1000

/* Columns of meter.limit_state(), in the order of limit.sql. */
#define STATE_COLUMNS 9

/* A bucket, copied under its lock. */
typedef struct StateRow
{
	char		tenant[ACCOUNT_MAX_NAME];
	char		user[ACCOUNT_MAX_NAME];
	int			tenant_length;
	int			user_length;	/* -1: the tenant's own */
	uint32		hash;			/* of the tenant */
	bool		known;			/* the facts were in its account */
	TenantFacts facts;
	AccountBucket bucket;
} StateRow;

typedef struct State
{
	ReturnSetInfo *rsinfo;
	StateRow   *rows;
	int			n;
	int			max;
	int64		clock;
	TimestampTz now;
	SharedDatabase *database;
	StateRow   *read;			/* the last one whose facts were read, or NULL */
	ArrayType  *visible;		/* tenants that the user may see, NULL: all */
	MemoryContext context;		/* for one row */
} State;

static bool
copy_account(Account *account, void *arg)
{
	State	   *state = arg;
	Account    *tenant = account;
	bool		is_user = (account->flags & ACCOUNT_USER) != 0;
	AccountBucket *bucket = NULL;

	if (account->database != MyDatabaseId)
		return false;
	if (is_user)
		tenant = account_at(account_table, account->tenant);
	while ((bucket = account_next_bucket(account_table, account, bucket)) != NULL)
	{
		StateRow   *row;

		if (state->n == state->max)
		{
			state->max *= 2;
			state->rows = repalloc_huge(state->rows, state->max * sizeof(StateRow));
		}
		row = &state->rows[state->n++];
		row->tenant_length = account_name(account_table, tenant, row->tenant);
		row->user_length = -1;
		if (is_user)
			row->user_length = account_name(account_table, account, row->user);
		row->hash = tenant->hash;

		/* a tenant's name can be read with the lock of its user, no more */
		row->known = !is_user && tenant_kept(state->database, tenant, &row->facts);
		row->bucket = *bucket;
	}
	return false;
}

/*
 * Nothing is known of a tenant that has not called since the server's start, or
 * since its row was changed.  The rows of a tenant follow one another.
 */
static void
find_facts(State *state, StateRow *row)
{
	if (!row->known)
	{
		if (state->read != NULL && state->read->tenant_length == row->tenant_length &&
			memcmp(state->read->tenant, row->tenant, row->tenant_length) == 0)
			row->facts = state->read->facts;
		else
			tenant_look(state->database,
						cstring_to_text_with_len(row->tenant, row->tenant_length),
						row->hash, &row->facts);
	}
	state->read = row;
}

static int
compare_tenants(const void *a, const void *b)
{
	const StateRow *row = a;
	const StateRow *other = b;

	if (row->hash != other->hash)
		return row->hash < other->hash ? -1 : 1;
	if (row->tenant_length != other->tenant_length)
		return row->tenant_length - other->tenant_length;
	return memcmp(row->tenant, other->tenant, row->tenant_length);
}

/*
 * The rule as it is for this tenant, or NULL if it is gone.
 */
static const Rule *
rule_of(const StateRow *row)
{
	const TenantFacts *facts = &row->facts;
	uint32		plan = facts->default_plan ? rule_default_plan() : facts->plan;
	const RuleSet *set = rule_plan_set(plan);

	if (facts->own_rules)
	{
		const RuleSet *own = facts->stamp == 0 ? NULL :
		rule_tenant_set(row->hash, facts->stamp, plan);

		set = own != NULL ? own :
			rule_read_tenant_set(row->tenant, row->tenant_length, plan,
								 row->hash, facts->stamp);
	}
	return rule_find(set, row->bucket.rule);
}

static void
return_row(State *state, const StateRow *row)
{
	const Rule *rule = rule_of(row);
	Bucket		bucket = row->bucket.bucket;
	Datum		values[STATE_COLUMNS];
	bool		nulls[STATE_COLUMNS] = {false};

	if (rule == NULL || rule->per != row->bucket.per ||
		rule->limit.window != row->bucket.window)
		return;
	if (!rule->limit.window)
		bucket_advance(&bucket, &rule->limit, state->clock, 0);
	else if (bucket.time <= state->now)
		return;					/* of a window that is over */

	values[0] = PointerGetDatum(cstring_to_text_with_len(row->tenant, row->tenant_length));
	nulls[1] = row->user_length < 0;
	if (!nulls[1])
		values[1] = PointerGetDatum(cstring_to_text_with_len(row->user, row->user_length));
	values[2] = Int32GetDatum(rule->id);
	values[3] = CStringGetTextDatum(rule->name);
	nulls[4] = rule->unlimited;
	if (!nulls[4])
		values[4] = NumericGetDatum(amount_to_numeric(rule->limit.capacity));
	values[5] = NumericGetDatum(amount_to_numeric(bucket_used(&bucket, &rule->limit)));
	if (rule->limit.window)
		values[6] = TimestampTzGetDatum(bucket.time);
	else
		values[6] = TimestampTzGetDatum(limit_time_after(state->now,
														 bucket_reset_after(&bucket, &rule->limit,
																			state->clock)));
	values[7] = Int64GetDatum((int64) row->bucket.allowed);
	values[8] = Int64GetDatum((int64) row->bucket.refused);
	tuplestore_putvalues(state->rsinfo->setResult, state->rsinfo->setDesc, values, nulls);
}

static void
return_rows(State *state)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);

	qsort(state->rows, state->n, sizeof(StateRow), compare_tenants);
	for (int i = 0; i < state->n; i++)
	{
		StateRow   *row = &state->rows[i];

		CHECK_FOR_INTERRUPTS();
		if (row_security_shows(state->visible, row->tenant, row->tenant_length))
		{
			find_facts(state, row);

			/* rules may be read for that, and then all are */
			(void) rule_refresh();
			return_row(state, row);
		}
		MemoryContextReset(state->context);
	}
	MemoryContextSwitchTo(old);
	state->n = 0;
	state->read = NULL;
}

static void
return_if_many(void *arg)
{
	State	   *state = arg;

	if (state->n >= ROWS)
		return_rows(state);
}

PG_FUNCTION_INFO_V1(meter_limit_state);

Datum
meter_limit_state(PG_FUNCTION_ARGS)
{
	State		state = {0};

	InitMaterializedSRF(fcinfo, 0);
	if (account_table == NULL)
		return (Datum) 0;
	state.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	state.visible = row_security_tenants();
	state.max = 2 * ROWS;
	state.rows = palloc(state.max * sizeof(StateRow));
	state.clock = account_clock();
	state.now = GetCurrentTimestamp();
	state.context = AllocSetContextCreate(CurrentMemoryContext, "meter limit state",
										  ALLOCSET_DEFAULT_SIZES);
	state.database = shared_database(true);
	if (state.database == NULL)
		return (Datum) 0;		/* nobody in it can have called */
	(void) rule_refresh();
	account_visit(LW_SHARED, copy_account, return_if_many, &state);
	return_rows(&state);
	return (Datum) 0;
}

/* --- setting back ------------------------------------------------------- */

typedef struct Reset
{
	text	   *tenant;
	text	   *user;			/* or NULL: of all users, and the tenant's own */
	bool		all;			/* rules */
	const int32 *rules;
	int			n_rules;
	int64		clock;
	TimestampTz now;
	int64		n;
} Reset;

static bool
is_named(const Account *account, text *name)
{
	char		found[ACCOUNT_MAX_NAME];
	size_t		length = account_name(account_table, account, found);

	return length == VARSIZE_ANY_EXHDR(name) &&
		memcmp(found, VARDATA_ANY(name), length) == 0;
}

static bool
reset_account(Account *account, void *arg)
{
	Reset	   *reset = arg;
	AccountBucket *bucket = NULL;

	if (account->database != MyDatabaseId)
		return false;
	if (account->flags & ACCOUNT_USER)
	{
		if (!is_named(account_at(account_table, account->tenant), reset->tenant) ||
			(reset->user != NULL && !is_named(account, reset->user)))
			return false;
	}
	else if (reset->user != NULL || !is_named(account, reset->tenant))
		return false;

	while ((bucket = account_next_bucket(account_table, account, bucket)) != NULL)
	{
		bool		wanted = reset->all;

		for (int i = 0; i < reset->n_rules && !wanted; i++)
			wanted = reset->rules[i] == bucket->rule;
		if (!wanted)
			continue;
		reset->n += bucket->bucket.level > 0;
		bucket->bucket.level = 0;
		bucket->seeded = bucket->reset = true;
		bucket->full_at = 0;
		if (bucket->window && bucket->bucket.time > reset->now)
			bucket->full_at = (uint32)
				((reset->clock + bucket->bucket.time - reset->now) / USECS_PER_SEC + 2);
	}
	return false;
}

/*
 * Have the counters of all quotas of a tenant in memory: one that is started
 * from the log only when it is next used would not be set back otherwise.
 */
static void
start_quotas(LimitCall *call)
{
	ListCell   *cell;
	LimitResult result;

	foreach(cell, quota_resources(call->tenant))
	{
		CHECK_FOR_INTERRUPTS();
		call->resource = lfirst(cell);
		limit_run(call, &result);
	}
}

PG_FUNCTION_INFO_V1(meter_reset_limit);

/*
 * The buckets of a tenant's users may be anywhere, so all accounts are looked
 * through.
 */
Datum
meter_reset_limit(PG_FUNCTION_ARGS)
{
	Reset		reset = {0};
	LimitCall	call = {LIMIT_STATUS};
	LimitResult result;
	int32		rules[RULE_MAX_MATCHES];

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant must not be null")));
	reset.tenant = PG_GETARG_TEXT_PP(0);
	context_check(reset.tenant, fcinfo->flinfo->fn_oid);
	reset.all = PG_ARGISNULL(1);
	reset.user = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	reset.rules = rules;
	if (VARSIZE_ANY_EXHDR(reset.tenant) == 0 ||
		VARSIZE_ANY_EXHDR(reset.tenant) > EVENT_MAX_TENANT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tenant must have 1 to %d bytes", EVENT_MAX_TENANT)));
	if (reset.user != NULL && (VARSIZE_ANY_EXHDR(reset.user) == 0 ||
							   VARSIZE_ANY_EXHDR(reset.user) > EVENT_MAX_USER))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("user_id must have 1 to %d bytes", EVENT_MAX_USER)));
	call.tenant = reset.tenant;
	call.user = reset.user;
	limit_begin(&call);
	if (reset.all)
		start_quotas(&call);
	else
	{
		call.resource = PG_GETARG_TEXT_PP(1);
		if (VARSIZE_ANY_EXHDR(call.resource) == 0 ||
			VARSIZE_ANY_EXHDR(call.resource) > LIMIT_MAX_RESOURCE)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("resource must have 1 to %d bytes", LIMIT_MAX_RESOURCE)));
		limit_run(&call, &result);
		if (result.match != NULL)
			for (int i = 0; i < result.match->n; i++)
				rules[reset.n_rules++] = result.match->rules[i]->id;
	}
	reset.clock = account_clock();
	reset.now = GetCurrentTimestamp();
	account_visit(LW_EXCLUSIVE, reset_account, NULL, &reset);
	account_note_change();

	/* there is room now */
	pg_atomic_write_u32(&account_shared->searched, 0);
	PG_RETURN_INT64(reset.n);
}

/* --- the table ---------------------------------------------------------- */

PG_FUNCTION_INFO_V1(meter_account_state);

Datum
meter_account_state(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[8];
	bool		nulls[8] = {false};
	uint32		n_free;
	TimestampTz saved_at;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (account_table == NULL)
	{
		memset(nulls, true, sizeof(nulls));
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
	}
	SpinLockAcquire(&account_shared->free_lock);
	n_free = account_table->n_free;
	SpinLockRelease(&account_shared->free_lock);
	SpinLockAcquire(&account_shared->mutex);
	saved_at = account_shared->saved_at;
	SpinLockRelease(&account_shared->mutex);
	values[0] = Int64GetDatum(account_table->n_blocks);
	values[1] = Int64GetDatum(account_table->n_blocks - n_free);
	values[2] = Int64GetDatum((int64) account_table_size(account_table->n_blocks));
	values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&account_shared->evicted));
	values[4] = Int64GetDatum((int64) pg_atomic_read_u64(&account_shared->unmetered));
	values[5] = Int64GetDatum((int64) pg_atomic_read_u64(&account_shared->unroomed));
	values[6] = Int64GetDatum((int64) pg_atomic_read_u64(&account_shared->untracked));
	nulls[7] = saved_at == 0;
	values[7] = TimestampTzGetDatum(saved_at);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

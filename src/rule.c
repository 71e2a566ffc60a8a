/*
 * rule.c
 *		The rules of meter.rate_limit, as this process knows them.
 *
 * Plans and their rules are few, so a process reads all of them when it first
 * needs one, and again after they have changed: statement triggers send a
 * relation cache invalidation, as for meter.metric, which also reaches the
 * sessions of a standby.  Tenants can be many; the rules of one that has some
 * of its own are read when it calls, and kept for a while.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "amount.h"
#include "core/hot.h"
#include "owner.h"
#include "rule.h"
#include "shared.h"
#include "tenant.h"

/* after all others */
#include "server.h"

/* A power of two. */
#define REMEMBERED_TENANTS 256

/* So many times all are read, for one use, if they change meanwhile. */
#define MAX_READS 10

const char *const rule_per_names[RULE_PERS] = {
	"second", "minute", "hour", "day", "month"
};

const char *const rule_mode_names[RULE_MODES] = {"enforce", "soft", "shadow"};

/* Of a token bucket, a month is 30 days. */
const int64 rule_periods[RULE_PERS] = {
	USECS_PER_SEC, USECS_PER_MINUTE, USECS_PER_HOUR, USECS_PER_DAY,
	30 * USECS_PER_DAY
};

/* The rules that a query with these columns gives. */
#define RULE_COLUMNS \
	"r.id, r.resource, r.unit = 'cost', r.per, r.max, r.burst, r.kind = 'window', " \
	"r.per_user, r.mode, r.metric, " \
	"COALESCE(r.name, COALESCE(r.max::text, 'any') || ' ' || r.unit || '/' || r.per || " \
	"CASE WHEN r.resource = '*' THEN '' ELSE ' of ' || r.resource END || " \
	"CASE WHEN r.per_user THEN ' by user' ELSE '' END), r.changed_at"

enum
{
	COLUMN_ID = 1,
	COLUMN_RESOURCE,
	COLUMN_COST,
	COLUMN_PER,
	COLUMN_MAX,
	COLUMN_BURST,
	COLUMN_WINDOW,
	COLUMN_PER_USER,
	COLUMN_MODE,
	COLUMN_METRIC,
	COLUMN_NAME,
	COLUMN_SINCE,
	COLUMN_PLAN,
	COLUMN_ORIGIN
};

/* A request is whole, so a part of one that is admitted is one. */
#define SCALED(column) \
	"CASE WHEN r." column " IS NOT NULL THEN trim_scale(LEAST(1000000000000000, " \
	"CASE r.unit WHEN 'requests' THEN ceil(r." column " * p.multiplier) " \
	"ELSE r." column " * p.multiplier END)) END"

#define PLAN_QUERY \
	"SELECT " RULE_COLUMNS ", r.plan, 1 FROM meter.rate_limit AS r " \
	"WHERE r.plan IS NOT NULL " \
	"UNION ALL " \
	"SELECT " RULE_COLUMNS ", r.of_plan, 0 FROM (" \
	"  SELECT p.plan AS of_plan, r.id, r.resource, r.unit, r.per, " \
	"  " SCALED("max") " AS max, " SCALED("burst") " AS burst, " \
	"  r.kind, r.per_user, r.mode, r.metric, r.name, r.changed_at " \
	"  FROM meter.rate_limit AS r CROSS JOIN (" \
	"    SELECT plan, multiplier FROM meter.plan UNION ALL SELECT NULL, 1) AS p " \
	"  WHERE r.tenant IS NULL AND r.plan IS NULL) AS r " \
	"ORDER BY 13"

#define TENANT_QUERY \
	"SELECT " RULE_COLUMNS ", NULL::text, 2 FROM meter.rate_limit AS r " \
	"WHERE r.tenant = $1"

typedef struct RememberedTenant
{
	uint32		stamp;			/* 0: nothing */
	MemoryContext context;		/* of the set */
	RuleSet    *set;
} RememberedTenant;

typedef struct Rules
{
	bool		provisional;	/* not to be kept beyond a parallel query */
	int			n_sets;
	RuleSet   **sets;			/* the first one is of no plan */
	RememberedTenant *tenants;	/* REMEMBERED_TENANTS of them, once there was
								 * one: so that what each call looks at is
								 * close together */
} Rules;

static MemoryContext rule_context = NULL;
static HOT_DATA Rules *rules = NULL;
static HOT_DATA bool rules_valid = false;
static HOT_DATA uint64 rule_generation = 0;
static Oid	rule_relid = InvalidOid;
static Oid	plan_relid = InvalidOid;

static HOT_DATA uint32 default_plan_hash = 0;

/* --- plans -------------------------------------------------------------- */

/*
 * Never 0, which is no plan.
 */
uint32
rule_plan_hash(const char *plan, int length)
{
	uint32		hash = hash_bytes((const unsigned char *) plan, length);

	return hash != 0 ? hash : 1;
}

void
rule_assign_default_plan(const char *newval, void *extra)
{
	default_plan_hash = newval == NULL || newval[0] == '\0' ? 0 :
		rule_plan_hash(newval, strlen(newval));
}

HOT_PATH uint32
rule_default_plan(void)
{
	return default_plan_hash;
}

/* --- reading ------------------------------------------------------------ */

static void
rule_forget(Oid relid)
{
	if (OidIsValid(relid) && relid != rule_relid && relid != plan_relid)
		return;
	rules_valid = false;
	rule_generation++;
}

void
rule_init(void)
{
	owner_watch(rule_forget);
}

/*
 * More of the pattern is literal, or all of it.
 */
static int
specificity_of(const char *pattern)
{
	int			literal = 0;
	bool		exact = true;

	for (const char *p = pattern; *p != '\0'; p++)
	{
		if (*p == '*')
			exact = false;
		else
			literal++;
	}
	return 2 * literal + (exact ? 1 : 0);
}

static Datum
get(HeapTuple row, int column, bool *isnull)
{
	return SPI_getbinval(row, SPI_tuptable->tupdesc, column, isnull);
}

static char *
get_string(HeapTuple row, int column)
{
	bool		isnull;

	return TextDatumGetCString(get(row, column, &isnull));
}

static int
index_of(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	elog(ERROR, "unexpected value \"%s\" in meter.rate_limit", name);
}

static BucketAmount
get_amount(HeapTuple row, int column, bool *isnull)
{
	Datum		value = get(row, column, isnull);
	BucketAmount amount = 0;

	if (!*isnull && amount_from_numeric(DatumGetNumeric(value), &amount) != AMOUNT_OK)
		elog(ERROR, "unexpected amount in meter.rate_limit");
	return amount;
}

/*
 * Fill a rule from a row of SPI's result, with strings in the current context.
 */
static void
read_rule(Rule *rule, HeapTuple row)
{
	bool		isnull;
	bool		no_max;
	bool		no_burst;
	BucketAmount burst;

	memset(rule, 0, sizeof(*rule));
	rule->id = DatumGetInt32(get(row, COLUMN_ID, &isnull));
	rule->pattern = get_string(row, COLUMN_RESOURCE);
	rule->specificity = specificity_of(rule->pattern);
	rule->cost = DatumGetBool(get(row, COLUMN_COST, &isnull));
	rule->per = index_of(get_string(row, COLUMN_PER), rule_per_names, RULE_PERS);
	rule->limit.max = get_amount(row, COLUMN_MAX, &no_max);
	burst = get_amount(row, COLUMN_BURST, &no_burst);
	rule->unlimited = no_max;
	rule->limit.capacity = no_burst ? rule->limit.max : burst;
	rule->limit.period = rule_periods[rule->per];
	rule->limit.window = DatumGetBool(get(row, COLUMN_WINDOW, &isnull));
	rule->per_user = DatumGetBool(get(row, COLUMN_PER_USER, &isnull));
	rule->mode = index_of(get_string(row, COLUMN_MODE), rule_mode_names, RULE_MODES);
	rule->limit.unlimited = no_max || rule->mode == RULE_SOFT;
	rule->metric = get_string(row, COLUMN_METRIC);
	rule->name = get_string(row, COLUMN_NAME);
	rule->since = DatumGetTimestampTz(get(row, COLUMN_SINCE, &isnull));
	rule->origin = DatumGetInt32(get(row, COLUMN_ORIGIN, &isnull));
}

/*
 * Run a query as of now, within an owner scope.  In a parallel query there is
 * only the snapshot that it began with.
 */
static void
read_now(SPIPlanPtr plan, Datum *args)
{
	Snapshot	snapshot = IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot();

	if (SPI_execute_snapshot(plan, args, NULL, snapshot, InvalidSnapshot,
							 true, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.rate_limit");
}

static RuleSet *
find_set(uint32 plan)
{
	for (int i = 0; i < rules->n_sets; i++)
		if (rules->sets[i]->plan == plan)
			return rules->sets[i];
	return NULL;
}

/*
 * The set of a plan, made if there is none.  Rows come in the order of plans,
 * so that a name unlike the last one's with the hash of an earlier one shows
 * that two plans have it.
 */
static RuleSet *
set_of_plan(HeapTuple row, char **last_name)
{
	bool		isnull;
	Datum		name = get(row, COLUMN_PLAN, &isnull);
	char	   *plan = isnull ? NULL : TextDatumGetCString(name);
	uint32		hash = isnull ? 0 : rule_plan_hash(plan, strlen(plan));
	RuleSet    *set = find_set(hash);

	if (plan != NULL && (*last_name == NULL || strcmp(plan, *last_name) != 0) &&
		set != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("plan \"%s\" cannot be told from another one", plan),
				 errdetail("The hashes of their names are the same."),
				 errhint("Rename one of them.")));
	*last_name = plan;
	if (set == NULL)
	{
		set = palloc0(sizeof(RuleSet));
		set->plan = hash;
		set->rules = palloc(sizeof(Rule));
		rules->sets = repalloc(rules->sets, (rules->n_sets + 1) * sizeof(RuleSet *));
		rules->sets[rules->n_sets++] = set;
	}
	return set;
}

static void
find_all(RuleSet *set)
{
	rule_find_match(set, "*", 1, &set->all);
}

static void
add_rule(RuleSet *set, HeapTuple row)
{
	set->rules = repalloc(set->rules, (set->n + 1) * sizeof(Rule));
	read_rule(&set->rules[set->n++], row);
}

COLD_PATH static void
read_rules(void)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext old;
	OwnerScope	scope;
	char	   *last_name = NULL;
	uint64		generation;

	rules = NULL;
	rules_valid = false;
	if (rule_context == NULL)
		rule_context = AllocSetContextCreate(CacheMemoryContext, "meter rules",
											 ALLOCSET_DEFAULT_SIZES);
	owner_begin(&scope);
	owner_plan(&plan, PLAN_QUERY, 0);

	/*
	 * Reading may itself bring an invalidation; then read again, but not for
	 * ever if a server is made to forget all the time.
	 */
	for (int tries = 0; tries < MAX_READS; tries++)
	{
		rule_relid = owner_relation("rate_limit");
		plan_relid = owner_relation("plan");
		tenant_listen(shared_database(true));
		generation = rule_generation;
		read_now(plan, NULL);
		if (generation == rule_generation)
			break;
	}

	rule_forget_matches(NULL);
	MemoryContextReset(rule_context);
	old = MemoryContextSwitchTo(rule_context);
	rules = palloc0(sizeof(Rules));
	rules->provisional = IsInParallelMode();
	rules->sets = palloc(sizeof(RuleSet *));
	rules->sets[rules->n_sets++] = palloc0(sizeof(RuleSet));
	rules->sets[0]->rules = palloc(sizeof(Rule));
	for (uint64 i = 0; i < SPI_processed; i++)
		add_rule(set_of_plan(SPI_tuptable->vals[i], &last_name),
				 SPI_tuptable->vals[i]);
	for (int i = 0; i < rules->n_sets; i++)
		find_all(rules->sets[i]);
	MemoryContextSwitchTo(old);
	rules_valid = true;
	owner_end(&scope);
}

HOT_PATH bool
rule_refresh(void)
{
	/* so that a change counts from the next call on; costs next to nothing */
	AcceptInvalidationMessages();
	if (rules != NULL && rules_valid &&
		(!rules->provisional || IsInParallelMode()))
		return false;
	read_rules();
	return true;
}

HOT_PATH const RuleSet *
rule_plan_set(uint32 plan)
{
	RuleSet    *set = plan != 0 ? find_set(plan) : NULL;

	return set != NULL ? set : rules->sets[0];
}

/* --- tenants with rules of their own ------------------------------------ */

const RuleSet *
rule_tenant_set(uint32 hash, uint32 stamp, uint32 plan)
{
	RememberedTenant *tenant;

	if (rules->tenants == NULL)
		return NULL;
	tenant = &rules->tenants[hash % REMEMBERED_TENANTS];

	/* a stamp is of one tenant */
	return tenant->stamp == stamp && tenant->set->plan == plan ? tenant->set : NULL;
}

static void
forget_tenant(RememberedTenant *tenant)
{
	if (tenant->set != NULL)
		rule_forget_matches(tenant->set);
	tenant->stamp = 0;
	tenant->set = NULL;
	if (tenant->context != NULL)
		MemoryContextDelete(tenant->context);
	tenant->context = NULL;
}

/*
 * Read them, together with those of the tenant's plan.  With a stamp they are
 * remembered, otherwise they are in the current context.
 */
const RuleSet *
rule_read_tenant_set(const char *tenant, int length, uint32 plan,
					 uint32 hash, uint32 stamp)
{
	static SPIPlanPtr own_plan = NULL;
	const RuleSet *base = rule_plan_set(plan);
	RememberedTenant *place;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;
	OwnerScope	scope;
	RuleSet    *set;
	Datum		args[1];

	if (rules->tenants == NULL)
		rules->tenants = MemoryContextAllocZero(rule_context,
												REMEMBERED_TENANTS * sizeof(RememberedTenant));
	place = &rules->tenants[hash % REMEMBERED_TENANTS];
	if (stamp != 0)
	{
		forget_tenant(place);
		context = place->context =
			AllocSetContextCreate(rule_context, "meter rules of a tenant",
								  ALLOCSET_SMALL_SIZES);
	}
	owner_begin(&scope);
	owner_plan(&own_plan, TENANT_QUERY, 1, TEXTOID);
	args[0] = PointerGetDatum(cstring_to_text_with_len(tenant, length));
	read_now(own_plan, args);
	old = MemoryContextSwitchTo(context);
	set = palloc0(sizeof(RuleSet));
	set->plan = plan;
	set->rules = palloc((base->n + SPI_processed + 1) * sizeof(Rule));
	memcpy(set->rules, base->rules, base->n * sizeof(Rule));
	set->n = base->n;
	for (uint64 i = 0; i < SPI_processed; i++)
		read_rule(&set->rules[set->n++], SPI_tuptable->vals[i]);
	find_all(set);
	MemoryContextSwitchTo(old);
	owner_end(&scope);
	if (stamp != 0)
	{
		place->stamp = stamp;
		place->set = set;
	}
	return set;
}

const Rule *
rule_find(const RuleSet *set, int32 id)
{
	for (int i = 0; i < set->n; i++)
		if (set->rules[i].id == id)
			return &set->rules[i];
	return NULL;
}

bool
rule_is_of_plan(int32 id)
{
	for (int i = 0; i < rules->n_sets; i++)
		if (rule_find(rules->sets[i], id) != NULL)
			return true;
	return false;
}

/* --- changes ------------------------------------------------------------ */

PG_FUNCTION_INFO_V1(meter_rule_changed);

/*
 * Statement trigger: make every process read the rules again.
 */
Datum
meter_rule_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"meter_rule_changed")));
	CacheInvalidateRelcacheByRelid(RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation));
	return PointerGetDatum(NULL);
}

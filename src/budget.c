/*
 * budget.c
 *		What was spent of budgets, and calls that are refused as it is all.
 *
 * The rollup adds the costs of what it rolls up to meter.budget_spend in its
 * own transaction, so that a threshold is known to be crossed as soon as the
 * usage that crosses it is visible.  The rest is SQL, in budget_count.sql.
 *
 * Blocks are few, so a process reads all of them when it first decides about a
 * call, and again after they have changed, as it does with rules.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "budget.h"
#include "core/hot.h"
#include "owner.h"
#include "rollup.h"

/* --- the rollup --------------------------------------------------------- */

/* Are there any budgets, and are costs to be added, or all to be counted? */
static bool has_budgets;
static bool count_anew;

/*
 * Costs of rows of hours, to periods of budgets of a kind.
 */
#define ADD_COSTS(budgets) \
	"SELECT b.budget_id, b.tenant, w.period_from, u.metric, u.quantity, u.cost " \
	"FROM " ROLLUP_HOURS " AS u " \
	"JOIN meter.budget AS b ON " budgets \
	" JOIN meter.budget_period AS w ON w.budget_id = b.budget_id" \
	" AND u.hour >= w.period_from AND u.hour < w.period_to " \
	"WHERE b.basis = 'cost' AND u.cost IS NOT NULL "

#define ADD \
	"INSERT INTO meter.budget_spend AS s (budget_id, tenant, period_from, metric, quantity, spent) " \
	"SELECT a.budget_id, a.tenant, a.period_from, a.metric, sum(a.quantity), sum(a.cost) FROM (" \
	ADD_COSTS("b.tenant = u.tenant AND b.service IS NULL") "UNION ALL " \
	ADD_COSTS("b.tenant = u.tenant AND b.service = u.service") "UNION ALL " \
	ADD_COSTS("b.tenant IS NULL AND b.service = u.service") \
	") AS a GROUP BY a.budget_id, a.tenant, a.period_from, a.metric " \
	"ON CONFLICT (budget_id, period_from, metric) DO UPDATE SET" \
	" quantity = s.quantity + EXCLUDED.quantity, spent = s.spent + EXCLUDED.spent"

#define STALE \
	"INSERT INTO meter.budget_stale (tenant) " \
	"SELECT DISTINCT u.tenant FROM " ROLLUP_HOURS " AS u " \
	"JOIN meter.budget AS b ON b.tenant = u.tenant WHERE b.basis = 'charge'"

void
budget_begin(int64 after)
{
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(after);
	bool		isnull;

	if (SPI_execute_with_args("SELECT EXISTS (SELECT FROM meter.budget), NOT EXISTS "
							  "(SELECT FROM meter.budget_position WHERE last_seq = $1)",
							  1, &type, &value, NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read meter.budget");
	has_budgets = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc, 1, &isnull));
	count_anew = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 2, &isnull));
}

void
budget_add(void)
{
	if (!has_budgets)
		return;
	if (!count_anew && SPI_execute(ADD, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write meter.budget_spend");
	if (SPI_execute(STALE, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write meter.budget_stale");
}

void
budget_finish(int64 upto, const UsageDirtySet *anew)
{
	Oid			types[4] = {INT8OID, BOOLOID, TEXTARRAYOID, TIMESTAMPTZOID};
	Datum		values[4];
	char		nulls[4] = {' ', ' ', 'n', 'n'};
	TimestampTz min,
				max;

	values[0] = Int64GetDatum(upto);
	values[1] = BoolGetDatum(count_anew);
	values[2] = values[3] = (Datum) 0;
	if (has_budgets && anew->n > 0)
	{
		values[2] = PointerGetDatum(dirty_tenants(anew->items, anew->n));
		(void) dirty_starts(anew->items, anew->n, &min, &max);
		values[3] = TimestampTzGetDatum(min);
		nulls[2] = nulls[3] = ' ';
	}
	if (SPI_execute_with_args("SELECT meter.budget_rolled_up($1, $2, $3, $4)",
							  4, types, values, nulls, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not write meter.budget_position");
}

/* --- changes of budgets ------------------------------------------------- */

PG_FUNCTION_INFO_V1(meter_refresh_budgets);

Datum
meter_refresh_budgets(PG_FUNCTION_ARGS)
{
	OwnerScope	scope;
	bool		isnull;
	int64		refreshed;

	PreventCommandIfReadOnly("meter_refresh_budgets()");
	PreventCommandIfParallelMode("meter_refresh_budgets()");
	owner_begin(&scope);
	if (SPI_execute("SELECT meter.budget_refresh()", false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not refresh meter.budget");
	refreshed = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 1, &isnull));
	owner_end(&scope);
	PG_RETURN_INT64(refreshed);
}

/*
 * An array of budgets, by a query that gives one; NULL if there are none.
 */
static Datum
budget_ids(const char *query, char *null)
{
	bool		isnull;
	Datum		ids;

	if (SPI_execute(query, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not read meter.budget");
	ids = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	*null = isnull ? 'n' : ' ';
	return ids;
}

PG_FUNCTION_INFO_V1(meter_budget_changed);

/*
 * Statement trigger: who may change budgets need not be able to write what was
 * spent.
 */
Datum
meter_budget_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Oid			types[2] = {UUIDARRAYOID, UUIDARRAYOID};
	Datum		values[2] = {0, 0};
	char		nulls[2] = {'n', 'n'};
	OwnerScope	scope;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"meter_budget_changed")));
	owner_begin(&scope);
	if (SPI_register_trigger_data(trigger) != SPI_OK_TD_REGISTER)
		elog(ERROR, "could not see what has changed in meter.budget");
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		values[0] = budget_ids("SELECT array_agg(DISTINCT w.budget_id) FROM meter.budget_period AS w",
							   &nulls[0]);
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		values[0] = budget_ids("SELECT array_agg(o.budget_id) FROM old_budget AS o", &nulls[0]);
	else if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		/* of which it is not the same any more that is spent */
		values[0] = budget_ids("SELECT array_agg(o.budget_id) FROM old_budget AS o "
							   "LEFT JOIN new_budget AS n ON n.budget_id = o.budget_id "
							   "WHERE (n.budget_id, n.tenant, n.service, n.period, n.basis, n.currency)"
							   " IS DISTINCT FROM (o.budget_id, o.tenant, o.service, o.period, o.basis, o.currency)",
							   &nulls[0]);
		values[1] = budget_ids("SELECT array_agg(n.budget_id) FROM new_budget AS n", &nulls[1]);
	}
	if (SPI_execute_with_args("SELECT meter.budget_follow($1, $2)",
							  2, types, values, nulls, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not follow meter.budget");
	owner_end(&scope);
	return PointerGetDatum(NULL);
}

/* --- refusing calls ----------------------------------------------------- */

typedef struct BudgetBlock
{
	const char *tenant;			/* or NULL: all */
	int			tenant_length;
	const char *service;		/* or NULL: all */
	int			service_length;
	TimestampTz until;
} BudgetBlock;

static MemoryContext block_context = NULL;
static Oid	block_relid = InvalidOid;
static HOT_DATA bool blocks_valid = false;
static HOT_DATA bool blocks_provisional = false;	/* as rules are in a
													 * parallel query */
static HOT_DATA uint64 block_generation = 0;

/* Those for all tenants, then those of each, by the names' bytes. */
static HOT_DATA BudgetBlock *blocks = NULL;
static HOT_DATA int n_blocks = 0;
static HOT_DATA int n_for_all = 0;

static void
block_forget(Oid relid)
{
	if (OidIsValid(relid) && relid != block_relid)
		return;
	blocks_valid = false;
	block_generation++;
}

void
budget_init(void)
{
	owner_watch(block_forget);
}

static int
compare_names(const char *a, int a_length, const char *b, int b_length)
{
	int			order = memcmp(a, b, Min(a_length, b_length));

	return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

static int
compare_blocks(const void *pa, const void *pb)
{
	const BudgetBlock *a = pa;
	const BudgetBlock *b = pb;

	if (a->tenant == NULL || b->tenant == NULL)
		return (a->tenant != NULL) - (b->tenant != NULL);
	return compare_names(a->tenant, a->tenant_length, b->tenant, b->tenant_length);
}

static const char *
block_name(HeapTuple row, int column, int *length)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, SPI_tuptable->tupdesc, column, &isnull);
	char	   *name = isnull ? NULL : TextDatumGetCString(value);

	*length = isnull ? 0 : strlen(name);
	return name;
}

static void
read_blocks(void)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	MemoryContext old;
	uint64		generation;
	bool		isnull;

	/* whatever fails leaves none, and those not valid */
	blocks_valid = false;
	n_blocks = n_for_all = 0;
	if (block_context == NULL)
		block_context = AllocSetContextCreate(CacheMemoryContext, "meter budget blocks",
											  ALLOCSET_SMALL_SIZES);
	owner_begin(&scope);
	owner_plan(&plan, "SELECT tenant, service, until FROM meter.budget_block", 0);
	block_relid = owner_relation("budget_block");

	/* a change meanwhile makes the next call read them again */
	generation = block_generation;
	if (SPI_execute_snapshot(plan, NULL, NULL,
							 IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot(),
							 InvalidSnapshot, true, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.budget_block");
	MemoryContextReset(block_context);
	old = MemoryContextSwitchTo(block_context);
	blocks = palloc_extended(Max(SPI_processed, 1) * sizeof(BudgetBlock), MCXT_ALLOC_HUGE);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		BudgetBlock *block = &blocks[i];

		block->tenant = block_name(row, 1, &block->tenant_length);
		block->service = block_name(row, 2, &block->service_length);
		block->until = DatumGetTimestampTz(SPI_getbinval(row, SPI_tuptable->tupdesc,
														 3, &isnull));
		if (block->tenant == NULL)
			n_for_all++;
	}
	MemoryContextSwitchTo(old);
	n_blocks = SPI_processed;
	qsort(blocks, n_blocks, sizeof(BudgetBlock), compare_blocks);
	blocks_provisional = IsInParallelMode();
	blocks_valid = generation == block_generation;
	owner_end(&scope);
}

static inline bool
blocks_known(void)
{
	return blocks_valid && (!blocks_provisional || IsInParallelMode());
}

/*
 * Is it the resource of the service's name, or one below it?
 */
static bool
is_of_service(const BudgetBlock *block, const char *resource, int length)
{
	return block->service == NULL ||
		(length >= block->service_length &&
		 memcmp(resource, block->service, block->service_length) == 0 &&
		 (length == block->service_length || resource[block->service_length] == '/'));
}

COLD_PATH static TimestampTz
look_for_block(const text *tenant, const text *resource)
{
	const char *name = VARDATA_ANY(tenant);
	int			length = VARSIZE_ANY_EXHDR(tenant);
	const char *what = VARDATA_ANY(resource);
	int			what_length = VARSIZE_ANY_EXHDR(resource);
	TimestampTz until = 0;
	int			low,
				high;

	if (!blocks_known())
		read_blocks();
	for (int i = 0; i < n_for_all; i++)
		if (is_of_service(&blocks[i], what, what_length))
			until = Max(until, blocks[i].until);
	low = n_for_all;
	high = n_blocks;
	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (compare_names(blocks[middle].tenant, blocks[middle].tenant_length,
						  name, length) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (int i = low; i < n_blocks &&
		 compare_names(blocks[i].tenant, blocks[i].tenant_length, name, length) == 0; i++)
		if (is_of_service(&blocks[i], what, what_length))
			until = Max(until, blocks[i].until);

	/* a period that is over blocks nothing, whether that was noted or not */
	return until > 0 && until > GetCurrentTimestamp() ? until : 0;
}

HOT_PATH TimestampTz
budget_blocked_until(const text *tenant, const text *resource)
{
	return likely(n_blocks == 0 && blocks_known()) ? 0 : look_for_block(tenant, resource);
}

/*
 * metric.c
 *		The registry of metrics, cached in each backend.
 *
 * Every tracked event asks whether its metric is known and which quantities
 * it allows, so the rows of meter.metric are cached by name.  A statement
 * trigger on the table sends a relation cache invalidation, which empties the
 * cache of every backend before its next look-up; the same happens in the
 * writing session itself, also when its transaction rolls back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "core/bytes.h"
#include "core/hot.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "llm_token.h"
#include "metric.h"
#include "owner.h"
#include "plain.h"
#include "setting.h"

/* after all others */
#include "server.h"

static HOT_DATA HTAB *metric_cache = NULL;
static HOT_DATA const Metric *metric_last = NULL;	/* of the cache: found
													 * last */
static MemoryContext metric_context = NULL;
static Oid	metric_relid = InvalidOid;

/* meter.max_metrics was found reached, so a new metric need not be tried. */
static bool metric_full = false;
static int	metric_full_at = 0;

/* Counts invalidations, to notice one that arrives while a row is read. */
static uint64 metric_generation = 0;

static void
metric_forget(Oid relid)
{
	if (OidIsValid(relid) && relid != metric_relid)
		return;
	metric_generation++;
	metric_full = false;
	metric_cache = NULL;
	metric_last = NULL;
	metric_relid = InvalidOid;
	if (metric_context != NULL)
		MemoryContextReset(metric_context);
}

void
metric_init(void)
{
	owner_watch(metric_forget);
}

static void
metric_make_cache(void)
{
	HASHCTL		ctl;

	/* may process invalidations, so it goes first */
	Oid			relid = owner_relation("metric");

	if (metric_context == NULL)
		metric_context = AllocSetContextCreate(CacheMemoryContext,
											   "meter metrics",
											   ALLOCSET_SMALL_SIZES);
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = METRIC_MAX_LENGTH + 1;
	ctl.entrysize = sizeof(Metric);
	ctl.hcxt = metric_context;
	metric_cache = hash_create("meter metrics", 64, &ctl,
							   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	metric_relid = relid;
}

/*
 * Fill a metric from the row SPI has just read, strings in context.
 */
static void
metric_from_row(Metric *metric, HeapTuple row, TupleDesc desc,
				MemoryContext context)
{
	bool		isnull;
	Datum		dimensions;
	Datum	   *values;
	int			n;

	metric->gauge = DatumGetBool(SPI_getbinval(row, desc, 1, &isnull));
	metric->allow_negative = DatumGetBool(SPI_getbinval(row, desc, 2, &isnull));
	dimensions = SPI_getbinval(row, desc, 3, &isnull);
	deconstruct_array(DatumGetArrayTypeP(dimensions), TEXTOID, -1, false,
					  TYPALIGN_INT, &values, NULL, &n);
	metric->ndimensions = Min(n, METRIC_MAX_DIMENSIONS);
	for (int i = 0; i < metric->ndimensions; i++)
		metric->dimensions[i] = MemoryContextStrdup(context,
													TextDatumGetCString(values[i]));
}

COLD_PATH static const Metric *
read_metric(const char *name)
{
	static SPIPlanPtr plan = NULL;
	static Metric uncached;
	MemoryContext caller = CurrentMemoryContext;
	bool		in_parallel = IsInParallelMode();
	OwnerScope	scope;
	Datum		args[1];
	Metric	   *metric;
	uint64		generation;

	owner_begin(&scope);
	owner_plan(&plan,
			   "SELECT kind = 'gauge', allow_negative, "
			   "       ARRAY(SELECT d FROM pg_catalog.unnest(dimensions) AS d "
			   "             ORDER BY pg_catalog.octet_length(d), d COLLATE \"C\") "
			   "FROM meter.metric WHERE metric = $1",
			   1, TEXTOID);
	args[0] = CStringGetTextDatum(name);

	/*
	 * Reading may itself bring an invalidation; then read again, so that what
	 * is cached is never older than what the invalidation announced.
	 */
	do
	{
		if (metric_cache == NULL)
			metric_make_cache();
		generation = metric_generation;

		/*
		 * Not with the transaction's snapshot: what it shows may be older
		 * than an invalidation that is already dealt with, and would stay in
		 * the cache.  A parallel query has no other, so then it is not put
		 * there.
		 */
		if (SPI_execute_snapshot(plan, args, NULL,
								 in_parallel ? GetActiveSnapshot() : GetLatestSnapshot(),
								 InvalidSnapshot, true, false, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not read meter.metric");
	} while (generation != metric_generation || metric_cache == NULL);

	if (SPI_processed == 0)
		metric = NULL;
	else
	{
		Metric		filled;

		memset(&filled, 0, sizeof(filled));
		metric_from_row(&filled, SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
						in_parallel ? caller : metric_context);
		strlcpy(filled.name, name, sizeof(filled.name));
		metric = in_parallel ? &uncached :
			hash_search(metric_cache, name, HASH_ENTER, NULL);
		*metric = filled;
	}
	owner_end(&scope);
	return metric;
}

static const Metric *
look_up(const char *name)
{
	const Metric *metric;

	/* most are of the one before */
	if (metric_last != NULL && hot_same(metric_last->name, name))
		return metric_last;
	if (metric_cache != NULL)
	{
		metric = hash_search(metric_cache, name, HASH_FIND, NULL);
		if (metric != NULL)
			return metric_last = metric;
	}
	return read_metric(name);
}

/*
 * The metric of this name (at most METRIC_MAX_LENGTH bytes), or NULL when it
 * is not registered.  Valid until the next catalog access.
 */
const Metric *
metric_lookup(const char *name)
{
	AcceptInvalidationMessages();
	return look_up(name);
}

HOT_PATH const Metric *
metric_lookup_text(const text *name)
{
	Size		length = plain_length(name);

	/* so that a change counts from the next call on; costs next to nothing */
	AcceptInvalidationMessages();

	Assert(length <= METRIC_MAX_LENGTH);
	if (likely(metric_last != NULL && metric_last->name[length] == '\0' &&
			   bytes_equal(metric_last->name, plain_data(name), length)))
		return metric_last;
	return look_up(text_to_cstring(name));
}

/*
 * Is there room for one more metric?  Within an owner scope.
 */
static bool
metric_count_allows(void)
{
	static SPIPlanPtr plan = NULL;
	bool		isnull;

	owner_plan(&plan, "SELECT pg_catalog.count(*) FROM meter.metric", 0);

	/* of this statement's as well */
	if (SPI_execute_snapshot(plan, NULL, NULL, GetLatestSnapshot(),
							 InvalidSnapshot, true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not count metrics");
	metric_full = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											  SPI_tuptable->tupdesc, 1,
											  &isnull)) >= setting_max_metrics;
	metric_full_at = setting_max_metrics;
	return !metric_full;
}

/*
 * May a metric be registered on first use?  No, when meter.max_metrics is
 * reached.
 */
bool
metric_can_register(void)
{
	OwnerScope	scope;
	bool		result;

	if (metric_full && metric_full_at == setting_max_metrics)
		return false;
	owner_begin(&scope);
	result = metric_count_allows();
	owner_end(&scope);
	return result;
}

/*
 * Is it a metric that the extension itself writes, or the default one?  These
 * are known also in strict mode.
 */
bool
metric_is_builtin(const char *name)
{
	return strcmp(name, METRIC_DEFAULT) == 0 ||
		strcmp(name, LLM_REQUESTS) == 0 || strcmp(name, LLM_TOKENS) == 0;
}

/*
 * Register a metric on first use, as a counter.  Rolls back with the caller.
 * Returns NULL when meter.max_metrics is reached.
 */
const Metric *
metric_register(const char *name)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	Datum		args[1];
	bool		allowed;

	if (metric_full && metric_full_at == setting_max_metrics)
		return NULL;
	owner_begin(&scope);

	/* the insert would invalidate every cache even if it inserted nothing */
	allowed = metric_count_allows();
	if (allowed)
	{
		owner_plan(&plan,
				   "INSERT INTO meter.metric (metric, unit, dimensions, description) "
				   "SELECT n.metric, b.unit, COALESCE(b.dimensions, '{}'), b.description "
				   "FROM (VALUES ($1)) AS n(metric) "
				   "LEFT JOIN meter.builtin_metric AS b ON b.metric = n.metric "
				   "ON CONFLICT (metric) DO NOTHING",
				   1, TEXTOID);
		args[0] = CStringGetTextDatum(name);
		if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not register a metric");
	}
	owner_end(&scope);
	return allowed ? metric_lookup(name) : NULL;
}

PG_FUNCTION_INFO_V1(meter_metric_changed);

/*
 * Statement trigger of meter.metric: make every backend read it again.
 */
Datum
meter_metric_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"meter_metric_changed")));
	CacheInvalidateRelcacheByRelid(RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation));
	return PointerGetDatum(NULL);
}

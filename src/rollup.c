/*
 * rollup.c
 *		meter_rollup(): moving the log's events into usage.
 *
 * The rollup is a consumer of the log.  It locks its row in meter.consumer,
 * reads the events after its position, merges them into the tables and moves
 * its position, all in one transaction: whatever is interrupted is as if it
 * had not begun, and what is done twice finds nothing to do.
 *
 * Most of usage can be merged.  Two things cannot, and then the tenant's hour
 * is computed anew from its events: a correction, since a sketch forgets
 * nothing, and samples of a gauge that are older than those already rolled up
 * in their hour, since the time between samples must be weighted in order.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "access/table.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "partition.h"
#include "rollup.h"

/* The name of the rollup among the log's consumers. */
#define ROLLUP_CONSUMER "rollup"

/* The names under which rows in the making are visible to SQL. */
#define HOURS_RELATION "usage_batch"
#define USERS_RELATION "user_batch"

/* Hours that are computed anew in one go; bounds the memory it takes. */
#define RECOMPUTE_HOURS 1000

/* Distinct months of a batch; late events may belong to several. */
typedef struct Months
{
	DateADT    *starts;
	int			n;
	int			size;
} Months;

static int64
select_int64(const char *query, bool read_only)
{
	bool		isnull;
	int64		result = 0;

	if (SPI_execute(query, read_only, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed: %s", query);
	if (SPI_processed > 0)
		result = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return result;
}

/*
 * How far the rollup has come, and where the log ends.
 */
int64
rollup_position(bool read_only)
{
	return select_int64("SELECT last_seq FROM meter.consumer WHERE name = '"
						ROLLUP_CONSUMER "'", read_only);
}

int64
rollup_log_end(bool read_only)
{
	return select_int64("SELECT last_seq FROM meter.log_position", read_only);
}

/*
 * Aggregate the events with after < seq <= upto.  Only the partitions that
 * have any are opened.
 */
void
rollup_scan(Usage *usage, int64 after, int64 upto, bool read_only)
{
	Oid			types[2] = {INT8OID, INT8OID};
	Datum		values[2];
	char		nulls[3] = "  ";
	DateADT    *days;
	uint64		ndays;

	values[0] = Int64GetDatum(after);
	values[1] = Int64GetDatum(upto);
	if (SPI_execute_with_args("SELECT day FROM meter.event_partition "
							  "WHERE last_seq > $1 AND first_seq <= $2 ORDER BY day",
							  2, types, values, nulls, read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.event_partition");
	ndays = SPI_processed;
	days = palloc((ndays + 1) * sizeof(DateADT));
	for (uint64 i = 0; i < ndays; i++)
	{
		bool		isnull;

		days[i] = DatumGetDateADT(SPI_getbinval(SPI_tuptable->vals[i],
												SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);

	for (uint64 i = 0; i < ndays; i++)
		usage_scan(usage,
				   psprintf("SELECT " USAGE_COLUMNS " FROM meter.%s "
							"WHERE seq > $1 AND seq <= $2 "
							"AND (superseded_by IS NULL OR corrects IS NOT NULL)",
							partition_name(&partition_event, days[i])),
				   2, types, values, read_only);
	pfree(days);
}

static ArrayType *
dirty_tenants(const UsageDirty *dirty, int n)
{
	Datum	   *tenants = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
		tenants[i] = PointerGetDatum(dirty[i].tenant);
	return construct_array(tenants, n, TEXTOID, -1, false, TYPALIGN_INT);
}

static ArrayType *
dirty_starts(const UsageDirty *dirty, int n, TimestampTz *min, TimestampTz *max)
{
	Datum	   *starts = palloc(n * sizeof(Datum));

	*min = *max = dirty[0].start;
	for (int i = 0; i < n; i++)
	{
		starts[i] = TimestampTzGetDatum(dirty[i].start);
		*min = Min(*min, dirty[i].start);
		*max = Max(*max, dirty[i].start);
	}
	return construct_array(starts, n, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL,
						   TYPALIGN_DOUBLE);
}

static int
compare_dirty(const void *a, const void *b)
{
	TimestampTz sa = ((const UsageDirty *) a)->start;
	TimestampTz sb = ((const UsageDirty *) b)->start;

	return sa < sb ? -1 : sa > sb;
}

/*
 * Aggregate all events of some tenants' hours or days, as span says (us), up
 * to a position of the log.
 */
void
rollup_scan_dirty(Usage *usage, const UsageDirtySet *dirty, int64 span,
				  int64 upto, bool read_only)
{
	UsageDirty *sorted = palloc_extended(dirty->n * sizeof(UsageDirty),
										 MCXT_ALLOC_HUGE);
	Oid			schema = get_rel_namespace(owner_relation("event"));
	int			next;

	memcpy(sorted, dirty->items, dirty->n * sizeof(UsageDirty));
	qsort(sorted, dirty->n, sizeof(UsageDirty), compare_dirty);
	for (int i = 0; i < dirty->n; i = next)
	{
		DateADT		day = partition_day(sorted[i].start);
		char	   *partition = partition_name(&partition_event, day);
		Oid			types[5] = {TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT8OID,
		TIMESTAMPTZOID, TIMESTAMPTZOID};
		Datum		values[5];
		TimestampTz min,
					max;

		for (next = i; next < dirty->n && partition_day(sorted[next].start) == day; next++)
			;
		if (!OidIsValid(get_relname_relid(partition, schema)))
			continue;
		values[0] = PointerGetDatum(dirty_tenants(&sorted[i], next - i));
		values[1] = PointerGetDatum(dirty_starts(&sorted[i], next - i, &min, &max));
		values[2] = Int64GetDatum(upto);
		values[3] = TimestampTzGetDatum(min);
		values[4] = TimestampTzGetDatum(max + span);
		usage_scan(usage,
				   psprintf("SELECT " USAGE_COLUMNS " FROM meter.%s AS e "
							"WHERE superseded_by IS NULL AND seq <= $3 "
							"AND at >= $4 AND at < $5 "
							"AND EXISTS (SELECT FROM unnest($1, $2) AS d(tenant, start) "
							"            WHERE e.tenant = d.tenant AND e.at >= d.start "
							"            AND e.at < d.start + '%d hours'::interval)",
							partition, (int) (span / USECS_PER_HOUR)),
				   5, types, values, read_only);
	}
	pfree(sorted);
}

/*
 * Make rows in the making visible to SPI as a relation with the columns of
 * a table.
 */
static void
register_rows(const char *name, Oid relid, Tuplestorestate *rows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = pstrdup(name);
	enr->md.reliddesc = relid;
	enr->md.tupdesc = NULL;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = tuplestore_tuple_count(rows);
	enr->reldata = rows;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register relation \"%s\"", name);
}

static bool
usage_has_gauges(Usage *usage)
{
	keymap_iterator iterator;
	KeymapEntry *entry;

	keymap_start_iterate(usage->hours, &iterator);
	while ((entry = keymap_iterate(usage->hours, &iterator)) != NULL)
		if (((UsageHour *) entry->value)->gauge)
			return true;
	return false;
}

/*
 * Mark the hours in which a gauge has samples older than its last one in
 * meter.usage_hourly.  LATERAL with OFFSET 0 makes it one index lookup per
 * row, whatever the planner thinks of a relation it has no statistics of.
 */
void
rollup_find_overlaps(Usage *usage, Tuplestorestate *hours, bool read_only)
{
	if (!usage_has_gauges(usage))
		return;
	register_rows(HOURS_RELATION, owner_relation("usage_hourly"), hours);
	if (SPI_execute("SELECT DISTINCT b.tenant, b.hour "
					"FROM " HOURS_RELATION " AS b CROSS JOIN LATERAL ("
					"  SELECT u.last_at FROM meter.usage_hourly AS u"
					"  WHERE u.tenant = b.tenant AND u.hour = b.hour"
					"  AND u.metric = b.metric AND u.dims = b.dims"
					"  AND u.service IS NOT DISTINCT FROM b.service"
					"  AND u.endpoint IS NOT DISTINCT FROM b.endpoint"
					"  AND u.method IS NOT DISTINCT FROM b.method OFFSET 0) AS u "
					"WHERE b.quantity_seconds IS NOT NULL AND b.first_at < u.last_at",
					read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not compare samples");
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		dirty_add(&usage->dirty,
				  DatumGetTextPP(SPI_getbinval(tuple, desc, 1, &isnull)),
				  DatumGetTimestampTz(SPI_getbinval(tuple, desc, 2, &isnull)),
				  false);
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_unregister_relation(HOURS_RELATION);
}

static void
months_add(Months *months, DateADT day)
{
	DateADT		start = partition_month(day);

	for (int i = months->n - 1; i >= 0; i--)
		if (months->starts[i] == start)
			return;
	if (months->n == months->size)
	{
		months->size = Max(8, 2 * months->size);
		months->starts = months->starts == NULL ?
			palloc(months->size * sizeof(DateADT)) :
			repalloc(months->starts, months->size * sizeof(DateADT));
	}
	months->starts[months->n++] = start;
}

/*
 * Run a statement for each month, in which %s is the month's partition and $1
 * and $2 are its bounds, of the partition key's type.
 */
static void
for_each_month(const PartitionedTable *table, const Months *months,
			   const char *statement)
{
	for (int i = 0; i < months->n; i++)
	{
		DateADT		start = months->starts[i];
		DateADT		end = partition_next_month(start);
		Oid			type = table->by_date ? DATEOID : TIMESTAMPTZOID;
		Oid			types[2] = {type, type};
		Datum		values[2];

		partition_ensure(table, start, NULL);
		values[0] = table->by_date ? DateADTGetDatum(start) :
			TimestampTzGetDatum(partition_start_time(start));
		values[1] = table->by_date ? DateADTGetDatum(end) :
			TimestampTzGetDatum(partition_start_time(end));
		if (SPI_execute_with_args(psprintf(statement, partition_name(table, start)),
								  2, types, values, NULL, false, 0) < 0)
			elog(ERROR, "could not write usage");
	}
}

static Tuplestorestate *
make_rows(Usage *usage, Oid relid,
		  void (*put) (Usage *, Tuplestorestate *, TupleDesc))
{
	Relation	rel = table_open(relid, AccessShareLock);
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);

	put(usage, rows, RelationGetDescr(rel));
	table_close(rel, NoLock);
	return rows;
}

static void
write_hours(Usage *usage)
{
	Oid			relid = owner_relation("usage_hourly");
	Tuplestorestate *rows;
	Months		months = {0};
	keymap_iterator iterator;
	KeymapEntry *entry;
	char	   *extension_schema;

	if (usage->hours->members == 0)
		return;
	usage_fold(usage);
	keymap_start_iterate(usage->hours, &iterator);
	while ((entry = keymap_iterate(usage->hours, &iterator)) != NULL)
		months_add(&months, partition_day(((UsageHour *) entry->value)->hour));

	rows = make_rows(usage, relid, usage_put_hours);
	rollup_find_overlaps(usage, rows, false);

	extension_schema = get_namespace_name(get_func_namespace(usage->function));
	register_rows(HOURS_RELATION, relid, rows);
	for_each_month(&partition_usage_hourly, &months,
				   psprintf("INSERT INTO meter.%%1$s AS u "
							"SELECT * FROM " HOURS_RELATION " AS b "
							"WHERE b.hour >= $1 AND b.hour < $2 "
							"ON CONFLICT (tenant, hour, metric, service, endpoint, method, dims) "
							"DO UPDATE SET "
							"events = u.events + EXCLUDED.events, "
							"successes = u.successes + EXCLUDED.successes, "
							"errors = u.errors + EXCLUDED.errors, "
							"errors_4xx = u.errors_4xx + EXCLUDED.errors_4xx, "
							"errors_5xx = u.errors_5xx + EXCLUDED.errors_5xx, "
							"errors_429 = u.errors_429 + EXCLUDED.errors_429, "
							"folded = u.folded + EXCLUDED.folded, "
							"first_at = LEAST(u.first_at, EXCLUDED.first_at), "
							"last_at = GREATEST(u.last_at, EXCLUDED.last_at), "
							"quantity = u.quantity + EXCLUDED.quantity, "
							"quantity_min = LEAST(u.quantity_min, EXCLUDED.quantity_min), "
							"quantity_max = GREATEST(u.quantity_max, EXCLUDED.quantity_max), "
							"quantity_first = CASE WHEN EXCLUDED.first_at < u.first_at "
							"  THEN EXCLUDED.quantity_first ELSE u.quantity_first END, "
							"quantity_last = CASE WHEN EXCLUDED.last_at >= u.last_at "
							"  THEN EXCLUDED.quantity_last ELSE u.quantity_last END, "
							"quantity_seconds = u.quantity_seconds + EXCLUDED.quantity_seconds"
							"  + u.quantity_last * extract(epoch FROM EXCLUDED.first_at - u.last_at), "
							"cost = COALESCE(u.cost + EXCLUDED.cost, u.cost, EXCLUDED.cost), "
							"latency = %s.meter_sketch_union(u.latency, EXCLUDED.latency), "
							"users = meter.users_union(u.users, EXCLUDED.users)",
							quote_identifier(extension_schema)));
	SPI_unregister_relation(HOURS_RELATION);
	tuplestore_end(rows);
}

static void
write_user_days(Usage *usage)
{
	Oid			relid = owner_relation("usage_user_daily");
	Tuplestorestate *rows;
	Months		months = {0};
	keymap_iterator iterator;
	KeymapEntry *entry;

	if (usage->user_days->members == 0)
		return;
	keymap_start_iterate(usage->user_days, &iterator);
	while ((entry = keymap_iterate(usage->user_days, &iterator)) != NULL)
		months_add(&months,
				   partition_day(((UsageUserDay *) entry->value)->first_at));
	rows = make_rows(usage, relid, usage_put_user_days);
	register_rows(USERS_RELATION, relid, rows);
	for_each_month(&partition_usage_user_daily, &months,
				   "INSERT INTO meter.%1$s AS u "
				   "SELECT * FROM " USERS_RELATION " AS b "
				   "WHERE b.day >= $1 AND b.day < $2 "
				   "ON CONFLICT (tenant, day, metric, user_id) DO UPDATE SET "
				   "events = u.events + EXCLUDED.events, "
				   "errors = u.errors + EXCLUDED.errors, "
				   "first_at = LEAST(u.first_at, EXCLUDED.first_at), "
				   "last_at = GREATEST(u.last_at, EXCLUDED.last_at), "
				   "quantity = u.quantity + EXCLUDED.quantity, "
				   "cost = COALESCE(u.cost + EXCLUDED.cost, u.cost, EXCLUDED.cost)");
	SPI_unregister_relation(USERS_RELATION);
	tuplestore_end(rows);
}

/*
 * Merge the groups into the tables.  In a scope of its own, since it is also
 * called while a scan is running, whose SPI level must not be disturbed.
 */
static void
write_usage(Usage *usage, void *arg)
{
	OwnerScope	scope;

	owner_begin(&scope);
	write_hours(usage);
	write_user_days(usage);
	owner_end(&scope);
}

static void
execute_for_dirty(const char *statement, const UsageDirtySet *dirty)
{
	Oid			types[4] = {TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID};
	Datum		values[4];
	TimestampTz min,
				max;

	values[0] = PointerGetDatum(dirty_tenants(dirty->items, dirty->n));
	values[1] = PointerGetDatum(dirty_starts(dirty->items, dirty->n, &min, &max));
	values[2] = TimestampTzGetDatum(min);
	values[3] = TimestampTzGetDatum(max);
	if (SPI_execute_with_args(statement, 4, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not remove usage that is computed anew");
}

/*
 * Compute the dirty hours, and the days of users in which there was a
 * correction, from the events up to a position.
 */
static void
recompute_dirty(Usage *usage, int64 upto)
{
	UsageDirtySet *hours = &usage->dirty;
	UsageDirtySet days;

	if (hours->n == 0)
		return;
	execute_for_dirty("DELETE FROM meter.usage_hourly AS u "
					  "USING unnest($1, $2) AS d(tenant, hour) "
					  "WHERE u.tenant = d.tenant AND u.hour = d.hour "
					  "AND u.hour >= $3 AND u.hour <= $4",
					  hours);
	usage->keep_dirty = false;
	usage->want_users = false;

	/* an hour is written once, not in parts whose samples may overlap */
	usage->full = NULL;
	for (int i = 0; i < hours->n; i += RECOMPUTE_HOURS)
	{
		UsageDirtySet part = *hours;

		part.items = &hours->items[i];
		part.n = Min(RECOMPUTE_HOURS, hours->n - i);
		rollup_scan_dirty(usage, &part, USECS_PER_HOUR, upto, false);
		write_usage(usage, NULL);
		usage_reset(usage);
	}
	usage->full = write_usage;

	dirty_init(&days);
	for (int i = 0; i < hours->n; i++)
		if (hours->items[i].corrected)
			dirty_add(&days, hours->items[i].tenant,
					  partition_start_time(partition_day(hours->items[i].start)),
					  true);
	if (days.n == 0)
		return;
	execute_for_dirty("DELETE FROM meter.usage_user_daily AS u "
					  "USING unnest($1, $2) AS d(tenant, midnight) "
					  "WHERE u.tenant = d.tenant "
					  "AND u.day = (d.midnight AT TIME ZONE 'UTC')::date "
					  "AND u.day >= ($3 AT TIME ZONE 'UTC')::date "
					  "AND u.day <= ($4 AT TIME ZONE 'UTC')::date",
					  &days);
	usage->want_users = true;
	usage->want_hours = false;
	rollup_scan_dirty(usage, &days, USECS_PER_DAY, upto, false);
	write_usage(usage, NULL);
}

/*
 * Lock the rollup's row, making it at the first time.
 */
static int64
lock_position(void)
{
	if (SPI_execute("INSERT INTO meter.consumer (name) VALUES ('" ROLLUP_CONSUMER "') "
					"ON CONFLICT (name) DO NOTHING", false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not register the rollup");
	return select_int64("SELECT last_seq FROM meter.consumer "
						"WHERE name = '" ROLLUP_CONSUMER "' FOR UPDATE", false);
}

static void
move_position(int64 upto)
{
	Oid			types[2] = {INT8OID, TIMESTAMPTZOID};
	Datum		values[2];

	values[0] = Int64GetDatum(upto);
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (SPI_execute_with_args("UPDATE meter.consumer SET last_seq = $1, moved_at = $2 "
							  "WHERE name = '" ROLLUP_CONSUMER "'",
							  2, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not move the rollup's position");
}

PG_FUNCTION_INFO_V1(meter_rollup);

Datum
meter_rollup(PG_FUNCTION_ARGS)
{
	OwnerScope	scope;
	int64		after;
	int64		upto;

	PreventCommandIfReadOnly("meter_rollup()");
	PreventCommandIfParallelMode("meter_rollup()");
	owner_begin(&scope);

	/* the scans have nothing to gain from compiling */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	after = lock_position();
	upto = rollup_log_end(false);
	if (upto > after)
	{
		Usage	   *usage = usage_begin(fcinfo->flinfo->fn_oid);

		usage->want_hours = true;
		usage->want_users = true;
		usage->keep_dirty = true;
		usage->full = write_usage;
		rollup_scan(usage, after, upto, false);
		write_usage(usage, NULL);
		usage_reset(usage);
		recompute_dirty(usage, upto);
		move_position(upto);
	}
	owner_end(&scope);
	PG_RETURN_INT64(upto > after ? upto - after : 0);
}

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
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "budget.h"
#include "log.h"
#include "openmetrics.h"
#include "owner.h"
#include "partition.h"
#include "recent.h"
#include "rollup.h"

/* The name under which rows of users in the making are visible to SQL. */
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
 * and $2 are its bounds, of the partition key's type.  Rows that it returns
 * are tenants and hours that must be computed anew.
 */
static void
for_each_month(Usage *usage, const PartitionedTable *table,
			   const Months *months, const char *statement)
{
	for (int i = 0; i < months->n; i++)
	{
		DateADT		start = months->starts[i];
		DateADT		end = partition_next_month(start);
		int			result;
		Oid			type = table->by_date ? DATEOID : TIMESTAMPTZOID;
		Oid			types[2] = {type, type};
		Datum		values[2];

		partition_ensure(table, start, NULL);
		values[0] = table->by_date ? DateADTGetDatum(start) :
			TimestampTzGetDatum(partition_start_time(start));
		values[1] = table->by_date ? DateADTGetDatum(end) :
			TimestampTzGetDatum(partition_start_time(end));
		result = SPI_execute_with_args(psprintf(statement, partition_name(table, start)),
									   2, types, values, NULL, false, 0);
		if (result < 0)
			elog(ERROR, "could not write usage");
		if (result == SPI_OK_SELECT)
			rollup_mark_selected(usage);
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
	bool		gauges;

	if (usage->hours->members == 0)
		return;
	keymap_start_iterate(usage->hours, &iterator);
	while ((entry = keymap_iterate(usage->hours, &iterator)) != NULL)
	{
		months_add(&months, partition_day(((UsageHour *) entry->value)->hour));
		late_note_hour(usage, entry->value);
	}

	/* before the table is locked, so that whoever makes partitions can go on */
	for (int i = 0; i < months.n; i++)
		partition_ensure(&partition_usage_hourly, months.starts[i], NULL);
	usage_fold(usage);

	rows = make_rows(usage, relid, usage_put_hours);

	/*
	 * Where a gauge's samples are not later than those before, or were no
	 * gauge's before, the integral is made NaN and the hour is reported, to
	 * be computed anew.
	 */
	gauges = rollup_has_gauges(usage);
	extension_schema = get_namespace_name(get_func_namespace(usage->function));
	rollup_register(ROLLUP_HOURS, relid, rows);
	for_each_month(usage, &partition_usage_hourly, &months,
				   psprintf("%s INSERT INTO meter.%%1$s AS u "
							"SELECT * FROM " ROLLUP_HOURS " AS b "
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
							"last_seq = CASE WHEN EXCLUDED.last_at >= u.last_at "
							"  THEN EXCLUDED.last_seq ELSE u.last_seq END, "
							"quantity = u.quantity + EXCLUDED.quantity, "
							"quantity_min = LEAST(u.quantity_min, EXCLUDED.quantity_min), "
							"quantity_max = GREATEST(u.quantity_max, EXCLUDED.quantity_max), "
							"quantity_first = CASE WHEN EXCLUDED.first_at < u.first_at "
							"  THEN EXCLUDED.quantity_first ELSE u.quantity_first END, "
							"quantity_last = CASE WHEN EXCLUDED.last_at >= u.last_at "
							"  THEN EXCLUDED.quantity_last ELSE u.quantity_last END, "
							"quantity_seconds = CASE"
							"  WHEN EXCLUDED.first_at < u.last_at OR u.quantity_seconds IS NULL"
							"  THEN EXCLUDED.quantity_seconds * 'NaN'"
							"  ELSE u.quantity_seconds + EXCLUDED.quantity_seconds"
							"  + u.quantity_last * extract(epoch FROM EXCLUDED.first_at - u.last_at) END, "
							"cost = COALESCE(u.cost + EXCLUDED.cost, u.cost, EXCLUDED.cost), "
							"latency = %s.meter_sketch_union(u.latency, EXCLUDED.latency), "
							"users = meter.users_union(u.users, EXCLUDED.users) %s",
							gauges ? "WITH written AS (" : "",
							quote_identifier(extension_schema),
							gauges ? "RETURNING tenant, hour, quantity_seconds) "
							"SELECT DISTINCT tenant, hour FROM written "
							"WHERE quantity_seconds = 'NaN'" : ""));
	if (gauges)
		gauge_write_last();
	budget_add();
	if (usage->keep_dirty)
	{
		recent_add(extension_schema);
		openmetrics_add(extension_schema);
	}
	SPI_unregister_relation(ROLLUP_HOURS);
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
	rollup_register(USERS_RELATION, relid, rows);
	for_each_month(usage, &partition_usage_user_daily, &months,
				   "INSERT INTO meter.%1$s AS u "
				   "SELECT * FROM " USERS_RELATION " AS b "
				   "WHERE b.day >= $1 AND b.day < $2 "
				   "ON CONFLICT (tenant, day, metric, user_id, dims) DO UPDATE SET "
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

	/* by time, so that few partitions are read more than once */
	qsort(hours->items, hours->n, sizeof(UsageDirty), dirty_compare);

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
	gauge_rebuild_last(hours);

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
	return rollup_select("SELECT last_seq FROM meter.consumer "
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
	log_note_use();
	after = lock_position();
	upto = rollup_log_end(false);
	if (upto > after)
	{
		Usage	   *usage = usage_begin(fcinfo->flinfo->fn_oid);

		budget_begin(after);
		openmetrics_begin(after);
		usage->want_hours = true;
		usage->want_users = true;
		usage->keep_dirty = true;
		usage->full = write_usage;
		usage->known_upto = after;
		usage->late_before = late_limit(GetCurrentTimestamp());
		rollup_scan(usage, after, upto, NULL, false);
		write_usage(usage, NULL);
		usage_reset(usage);
		recompute_dirty(usage, upto);
		late_write(usage, upto);
		budget_finish(upto, &usage->dirty);
		recent_fold();
		openmetrics_finish(upto);
		move_position(upto);
	}
	owner_end(&scope);
	PG_RETURN_INT64(upto > after ? upto - after : 0);
}

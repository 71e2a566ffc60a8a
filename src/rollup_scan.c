/*
 * rollup_scan.c
 *		Reading the part of the log that is not rolled up yet.
 *
 * Shared by the rollup (rollup.c) and meter.live (live.c).  With read_only a
 * function sees what the active snapshot sees.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "partition.h"
#include "rollup.h"

/*
 * The number that a query gives, or 0 if it gives no row.
 */
int64
rollup_select(const char *query, bool read_only)
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
	return rollup_select("SELECT last_seq FROM meter.consumer WHERE name = '"
						 ROLLUP_CONSUMER "'", read_only);
}

int64
rollup_log_end(bool read_only)
{
	return rollup_select("SELECT last_seq FROM meter.log_position", read_only);
}

/*
 * Aggregate the events with after < seq <= upto, of one tenant or, with NULL,
 * of all.  Only the partitions that have any are opened.
 */
void
rollup_scan(Usage *usage, int64 after, int64 upto, text *tenant,
			bool read_only)
{
	Oid			types[3] = {INT8OID, INT8OID, TEXTOID};
	Datum		values[3];
	char		nulls[3] = "  ";
	DateADT    *days;
	uint64		ndays;

	values[0] = Int64GetDatum(after);
	values[1] = Int64GetDatum(upto);
	values[2] = PointerGetDatum(tenant);
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
							"AND (superseded_by IS NULL OR corrects IS NOT NULL)%s",
							partition_name(&partition_event, days[i]),
							tenant == NULL ? "" : " AND tenant = $3"),
				   tenant == NULL ? 2 : 3, types, values, read_only);
	pfree(days);
}

/*
 * Run what follows without nested loops where there is another way, until
 * AtEOXact_GUC(): of tables that grow by the second and of rows in the making
 * the planner has no statistics, and takes them for small.
 */
static int
avoid_nested_loops(void)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("enable_nestloop", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/*
 * The tenants of some dirty hours as a text[], and their starts as a
 * timestamptz[] with its least and greatest element.
 */
ArrayType *
dirty_tenants(const UsageDirty *dirty, int n)
{
	Datum	   *tenants = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
		tenants[i] = PointerGetDatum(dirty[i].tenant);
	return construct_array(tenants, n, TEXTOID, -1, false, TYPALIGN_INT);
}

ArrayType *
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

int
dirty_compare(const void *a, const void *b)
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
	int			level = avoid_nested_loops();
	int			next;

	memcpy(sorted, dirty->items, dirty->n * sizeof(UsageDirty));
	qsort(sorted, dirty->n, sizeof(UsageDirty), dirty_compare);
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
	AtEOXact_GUC(true, level);
	pfree(sorted);
}

/*
 * Make rows in the making visible to SPI as a relation with the columns of
 * a table.
 */
void
rollup_register(const char *name, Oid relid, Tuplestorestate *rows)
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

bool
rollup_has_gauges(Usage *usage)
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
 * Mark the tenants and hours that SPI has just selected as dirty.
 */
void
rollup_mark_selected(Usage *usage)
{
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
}

/*
 * Mark the hours in which a gauge has samples older than its last one in
 * meter.usage_hourly.  The rows of its hour are looked up once for all the
 * groups of a metric (LATERAL with OFFSET 0 makes it an index lookup), and
 * then joined by a hash of what tells the groups apart.
 */
void
rollup_find_overlaps(Usage *usage, Tuplestorestate *hours, bool read_only)
{
	int			level;

	if (!rollup_has_gauges(usage))
		return;
	level = avoid_nested_loops();
	rollup_register(ROLLUP_HOURS, owner_relation("usage_hourly"), hours);
	if (SPI_execute("WITH gauge AS MATERIALIZED ("
					"  SELECT DISTINCT tenant, hour, metric FROM " ROLLUP_HOURS
					"  WHERE quantity_seconds IS NOT NULL"
					"), known AS MATERIALIZED ("
					"  SELECT u.* FROM gauge AS g CROSS JOIN LATERAL ("
					"    SELECT u.tenant, u.hour, u.metric, u.service, u.endpoint, u.method, u.dims,"
					"      u.last_at, u.quantity_seconds"
					"    FROM meter.usage_hourly AS u"
					"    WHERE u.tenant = g.tenant AND u.hour = g.hour AND u.metric = g.metric"
					"    OFFSET 0) AS u"
					") "
					"SELECT DISTINCT b.tenant, b.hour "
					"FROM " ROLLUP_HOURS " AS b JOIN known AS u "
					"ON u.tenant = b.tenant AND u.hour = b.hour "
					"AND u.metric = b.metric AND u.dims = b.dims "
					"AND COALESCE(u.service, '') = COALESCE(b.service, '') "
					"AND COALESCE(u.endpoint, '') = COALESCE(b.endpoint, '') "
					"AND COALESCE(u.method, '') = COALESCE(b.method, '') "
					"WHERE b.quantity_seconds IS NOT NULL "
					"AND (b.first_at < u.last_at OR u.quantity_seconds IS NULL)",
					read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not compare samples");
	rollup_mark_selected(usage);
	SPI_unregister_relation(ROLLUP_HOURS);
	AtEOXact_GUC(true, level);
}

/*
 * partition.c
 *		Partitions of the log (by day) and of the rollups (by month).
 *
 * Bounds are days and months of UTC, whatever the TimeZone of the session.
 * Partitions are made outside of CREATE EXTENSION, so they do not belong to
 * the extension and pg_dump saves them as tables with their data.  For that to
 * restore, the partitioned tables themselves must have no indexes: a restore
 * attaches the partitions before it builds indexes, and attaching to a parent
 * with an index would build it at once, under the name pg_dump uses later.
 * So each partition carries its own indexes, which serve queries just as well.
 *
 * Each also has a replica identity: without one, a publication of all tables
 * would turn every update of ours into an error.  And each has row security
 * without a policy, which shows no rows but to the owner: the policy of its
 * parent does not hold for who reads the partition itself, as a GRANT ON ALL
 * TABLES would let them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "lock.h"
#include "owner.h"
#include "partition.h"

/* How long the lock for making a partition is tried for. */
#define PARTITION_LOCK_SECONDS 1

const PartitionedTable partition_event = {
	.name = "event",
	.is_log = true,
	.details = "CREATE UNIQUE INDEX %1$s_seq ON meter.%1$s (seq);"
	"CREATE INDEX %1$s_at ON meter.%1$s USING brin (at) WITH (autosummarize = on);"
	"ALTER TABLE meter.%1$s REPLICA IDENTITY USING INDEX %1$s_seq;"
	"ALTER TABLE meter.%1$s ENABLE ROW LEVEL SECURITY",
};

const PartitionedTable partition_usage_hourly = {
	.name = "usage_hourly",
	.by_month = true,
	.details = "CREATE UNIQUE INDEX %1$s_key ON meter.%1$s"
	" (tenant, hour, metric, service, endpoint, method, dims) NULLS NOT DISTINCT;"
	"CREATE INDEX %1$s_gauge ON meter.%1$s (tenant, metric, hour)"
	" WHERE quantity_seconds IS NOT NULL;"
	"ALTER TABLE meter.%1$s REPLICA IDENTITY FULL;"
	"ALTER TABLE meter.%1$s ENABLE ROW LEVEL SECURITY",
};

const PartitionedTable partition_usage_user_daily = {
	.name = "usage_user_daily",
	.by_month = true,
	.by_date = true,
	.details = "CREATE UNIQUE INDEX %1$s_key ON meter.%1$s"
	" (tenant, day, metric, user_id, dims);"
	"ALTER TABLE meter.%1$s REPLICA IDENTITY USING INDEX %1$s_key;"
	"ALTER TABLE meter.%1$s ENABLE ROW LEVEL SECURITY",
};

DateADT
partition_day(TimestampTz at)
{
	/* the epoch of timestamptz is 2000-01-01 00:00 UTC; round down */
	return (at >= 0) ? at / USECS_PER_DAY : -((-at - 1) / USECS_PER_DAY) - 1;
}

DateADT
partition_month(DateADT day)
{
	int			y,
				m,
				d;

	j2date(day + POSTGRES_EPOCH_JDATE, &y, &m, &d);
	return day - (d - 1);
}

DateADT
partition_next_month(DateADT day)
{
	return partition_month(partition_month(day) + 31);
}

/*
 * The name of the partition that starts on that day, in schema meter.
 */
char *
partition_name(const PartitionedTable *table, DateADT start)
{
	int			y,
				m,
				d;

	j2date(start + POSTGRES_EPOCH_JDATE, &y, &m, &d);
	return table->by_month ? psprintf("%s_p%04d%02d", table->name, y, m) :
		psprintf("%s_p%04d%02d%02d", table->name, y, m, d);
}

/*
 * A bound as a literal of the key's type.
 */
static char *
partition_bound(const PartitionedTable *table, DateADT day)
{
	int			y,
				m,
				d;

	j2date(day + POSTGRES_EPOCH_JDATE, &y, &m, &d);
	return psprintf(table->by_date ? "'%04d-%02d-%02d'" :
					"'%04d-%02d-%02d 00:00:00+00'", y, m, d);
}

static void
execute(const char *sql)
{
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "SPI_execute failed: %s", sql);
}

static void
set_for_now(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

static void
partition_create(const PartitionedTable *table, const char *name, DateADT start)
{
	DateADT		end = table->by_month ? partition_next_month(start) : start + 1;
	int			save_nestlevel = NewGUCNestLevel();

	/*
	 * Bounds are written year first, and no setting may read them otherwise;
	 * nor may a session decide for all others where and how rows are stored.
	 */
	set_for_now("datestyle", "ISO, YMD");
	set_for_now("default_tablespace", "");
	set_for_now("default_table_access_method", "heap");

	/*
	 * Attaching itself would let readers of the parent go on.  But one that
	 * was planned before it and takes its snapshot after our commit would
	 * read the new rows of the other partitions and not those of this one,
	 * and a consumer of the log would never come back for them.  So readers
	 * and we exclude each other.
	 */
	if (table->is_log &&
		!lock_patiently(owner_relation(table->name), PARTITION_LOCK_SECONDS))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock table \"meter.%s\" to make a partition",
						table->name),
				 errdetail("Another transaction is reading it."),
				 errhint("meter_maintain() makes partitions ahead. Otherwise try again when that transaction has ended.")));
	execute(psprintf("CREATE TABLE meter.%s (LIKE meter.%s INCLUDING ALL)",
					 name, table->name));
	execute(psprintf(table->details, name));
	execute(psprintf("ALTER TABLE meter.%s ATTACH PARTITION meter.%s FOR VALUES FROM (%s) TO (%s)",
					 table->name, name, partition_bound(table, start),
					 partition_bound(table, end)));
	AtEOXact_GUC(true, save_nestlevel);
}

/*
 * Is there such a partition already?
 */
bool
partition_exists(const PartitionedTable *table, DateADT start)
{
	return OidIsValid(get_relname_relid(partition_name(table, start),
										get_namespace_oid("meter", false)));
}

/*
 * The partition that starts on that day, made if there is none.  Must be
 * called within an owner scope, and without a reference to the parent held.
 */
Oid
partition_ensure(const PartitionedTable *table, DateADT start, bool *created)
{
	Oid			schema = get_namespace_oid("meter", false);
	char	   *name = partition_name(table, start);
	Oid			relid = get_relname_relid(name, schema);

	if (created != NULL)
		*created = false;
	if (OidIsValid(relid) && get_rel_relispartition(relid))
		return relid;

	/* one session at a time makes partitions; it may have made this one */
	lock_until_commit(LOCK_PARTITION);
	AcceptInvalidationMessages();
	relid = get_relname_relid(name, schema);
	if (OidIsValid(relid) && !get_rel_relispartition(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"meter.%s\" is not a partition of \"meter.%s\"",
						name, table->name),
				 errdetail("A partition of this name is needed for new rows."),
				 errhint("Attach the table again, or give it another name.")));
	if (!OidIsValid(relid))
	{
		partition_create(table, name, start);
		relid = get_relname_relid(name, schema);
		if (created != NULL)
			*created = true;
	}
	return relid;
}

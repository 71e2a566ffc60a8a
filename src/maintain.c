/*
 * maintain.c
 *		meter_maintain(): partitions, what has expired, plans that are due, and
 *		samples of storage.
 *
 * The flush and the rollup make the partitions they need; making them ahead
 * only keeps that work out of their way.  Dropping is done here alone.
 */
#include "postgres.h"

#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "lock.h"
#include "owner.h"
#include "partition.h"
#include "setting.h"

/* Days for which partitions are made ahead. */
#define MAINTAIN_DAYS_AHEAD 7

/* How long the lock for dropping partitions is tried for. */
#define MAINTAIN_LOCK_SECONDS 3

static void
report(ReturnSetInfo *rsinfo, const char *action, const char *object,
	   const char *detail)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = CStringGetTextDatum(action);
	values[1] = CStringGetTextDatum(psprintf("meter.%s", object));
	if (detail != NULL)
		values[2] = CStringGetTextDatum(detail);
	nulls[2] = detail == NULL;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Make a partition.  *busy becomes true when the log cannot be locked; then it
 * is not waited for again.
 */
static void
make_partition(ReturnSetInfo *rsinfo, const PartitionedTable *table,
			   DateADT start, bool *busy)
{
	bool		created;

	if (partition_exists(table, start))
		return;
	if (table->is_log && !*busy)
		*busy = !lock_patiently(owner_relation(table->name),
								MAINTAIN_LOCK_SECONDS);
	if (table->is_log && *busy)
	{
		report(rsinfo, "busy", partition_name(table, start),
			   "another transaction is reading meter.event; the next run tries again");
		return;
	}
	partition_ensure(table, start, &created);
	if (created)
		report(rsinfo, "created", partition_name(table, start), NULL);
}

static void
make_partitions(ReturnSetInfo *rsinfo)
{
	DateADT		today = partition_day(GetCurrentTimestamp());
	DateADT		month = partition_month(today);
	bool		busy = false;

	for (DateADT day = today; day <= today + MAINTAIN_DAYS_AHEAD; day++)
		make_partition(rsinfo, &partition_event, day, &busy);
	make_partition(rsinfo, &partition_usage_hourly, month, &busy);
	make_partition(rsinfo, &partition_usage_hourly, partition_next_month(month), &busy);
	make_partition(rsinfo, &partition_usage_user_daily, month, &busy);
	make_partition(rsinfo, &partition_usage_user_daily, partition_next_month(month), &busy);
}

/*
 * Run a statement with one parameter and report how many rows it deleted.
 */
static void
delete_expired(ReturnSetInfo *rsinfo, const char *object, const char *statement,
			   TimestampTz before)
{
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(before);

	if (SPI_execute_with_args(statement, 1, &type, &value, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete from meter.%s", object);
	if (SPI_processed > 0)
		report(rsinfo, "deleted", object,
			   psprintf("rows: " UINT64_FORMAT, SPI_processed));
}

/*
 * The lowest position among the consumers of the log, and the last position
 * in a day's partition: the partition may go when the former has reached the
 * latter.  A log that nobody has read yet is not dropped.
 */
static bool
partition_unread(DateADT day)
{
	static SPIPlanPtr plan = NULL;
	Datum		value = DateADTGetDatum(day);
	bool		isnull;

	owner_plan(&plan,
			   "SELECT EXISTS (SELECT FROM meter.event_partition AS p "
			   "WHERE p.day = $1 AND p.last_seq > "
			   "COALESCE((SELECT pg_catalog.min(c.last_seq) FROM meter.consumer AS c), 0))",
			   1, DATEOID);

	/*
	 * what a flush has committed while we waited counts, whatever our
	 * snapshot
	 */
	if (SPI_execute_snapshot(plan, &value, NULL, GetLatestSnapshot(),
							 InvalidSnapshot, true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.consumer");
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, 1, &isnull));
}

static void
drop_partition(ReturnSetInfo *rsinfo, const char *name, DateADT day)
{
	Oid			type = DATEOID;
	Datum		value = DateADTGetDatum(day);

	if (SPI_execute(psprintf("DROP TABLE meter.%s", quote_identifier(name)),
					false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not drop meter.%s", name);
	if (SPI_execute_with_args("DELETE FROM meter.event_partition WHERE day = $1",
							  1, &type, &value, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete from meter.event_partition");

	/* a partition without events was dropped before the log had any */
	if (SPI_execute_with_args("UPDATE meter.log_position "
							  "SET dropped_through = GREATEST(dropped_through, $1)",
							  1, &type, &value, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not update meter.log_position");
	report(rsinfo, "dropped", name, NULL);
}

/*
 * Drop the partitions of days that ended before the retention.  Events that
 * old are refused, also by the flush, so none can arrive later.
 *
 * All of meter.event is locked from the first drop to commit.  So what has to
 * be waited for is waited for before that, and a partition that is in use is
 * then left for the next run at once.
 */
static void
drop_partitions(ReturnSetInfo *rsinfo, TimestampTz before)
{
	Oid			parent = owner_relation("event");
	List	   *children = find_inheritance_children(parent, NoLock);
	ListCell   *cell;
	bool		locked = false;
	bool		tried = false;
	bool		unread;

	foreach(cell, children)
	{
		Oid			relid = lfirst_oid(cell);
		char	   *name = get_rel_name(relid);
		int			y,
					m,
					d,
					length;
		DateADT		day;

		if (name == NULL ||
			sscanf(name, "event_p%4d%2d%2d%n", &y, &m, &d, &length) != 3 ||
			name[length] != '\0')
			continue;
		day = date2j(y, m, d) - POSTGRES_EPOCH_JDATE;
		if (partition_start_time(day + 1) > before)
			continue;
		unread = partition_unread(day);
		if (!unread && !tried)
		{
			locked = lock_patiently(parent, MAINTAIN_LOCK_SECONDS);
			tried = true;
		}
		if (!unread && locked &&
			ConditionalLockRelationOid(relid, AccessExclusiveLock))
		{
			/* ask again, now that no flush can add to it any more */
			unread = partition_unread(day);
			if (!unread)
			{
				drop_partition(rsinfo, name, day);
				continue;
			}
		}
		if (unread)
			report(rsinfo, "unread", name,
				   "a consumer in meter.consumer has not read it");
		else
			report(rsinfo, "busy", name,
				   "another transaction holds a lock on it or on meter.event; the next run tries again");
	}
}

static void
apply_subscriptions(ReturnSetInfo *rsinfo)
{
	bool		isnull;
	int64		applied;

	if (SPI_execute("SELECT meter.subscription_apply()", false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not apply meter.subscription");
	applied = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	if (applied > 0)
		report(rsinfo, "changed", "tenant",
			   psprintf("plans of tenants: " INT64_FORMAT, applied));
}

/*
 * What has gone to the payment provider, of hours for which no event can come
 * any more.
 */
static void
forget_outbox(ReturnSetInfo *rsinfo, TimestampTz before)
{
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(before);
	bool		isnull;
	int64		deleted;

	if (SPI_execute_with_args("SELECT meter.outbox_forget($1)", 1, &type, &value,
							  NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not delete from meter.billing_outbox");
	deleted = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	if (deleted > 0)
		report(rsinfo, "deleted", "billing_outbox",
			   psprintf("rows: " INT64_FORMAT, deleted));
}

/*
 * Once a day.  It takes a while where there are many files, so it comes before
 * anything that others may wait for.
 */
static void
sample_storage(ReturnSetInfo *rsinfo, const char *schema)
{
	bool		isnull;

	if (SPI_execute("SELECT FROM meter.storage_sample "
					"WHERE day = (pg_catalog.now() AT TIME ZONE 'UTC')::date AND tenant IS NULL",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.storage_sample");
	if (SPI_processed > 0)
		return;
	if (SPI_execute(psprintf("SELECT %s.meter_sample_storage()", quote_identifier(schema)),
					false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not fill meter.storage_sample");
	report(rsinfo, "sampled", "storage_sample",
		   psprintf("rows: " INT64_FORMAT,
					DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
												SPI_tuptable->tupdesc, 1, &isnull))));
}

PG_FUNCTION_INFO_V1(meter_maintain);

Datum
meter_maintain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	OwnerScope	scope;
	TimestampTz now = GetCurrentTimestamp();

	PreventCommandIfReadOnly("meter_maintain()");
	PreventCommandIfParallelMode("meter_maintain()");
	InitMaterializedSRF(fcinfo, 0);
	owner_begin(&scope);
	sample_storage(rsinfo, get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid)));
	make_partitions(rsinfo);
	apply_subscriptions(rsinfo);
	delete_expired(rsinfo, "idempotency_key",
				   "DELETE FROM meter.idempotency_key WHERE seen_at < $1",
				   now - setting_dedup_window * USECS_PER_MINUTE);
	if (setting_retention > 0)
	{
		TimestampTz before = now - setting_retention * USECS_PER_MINUTE;

		delete_expired(rsinfo, "rejected_event",
					   "DELETE FROM meter.rejected_event WHERE rejected_at < $1",
					   before);
		delete_expired(rsinfo, "isolation_violation",
					   "DELETE FROM meter.isolation_violation WHERE at < $1",
					   before);
		delete_expired(rsinfo, "alert",
					   "DELETE FROM meter.alert WHERE state = 'resolved' AND resolved_at < $1",
					   before);
		delete_expired(rsinfo, "incident",
					   "DELETE FROM meter.incident WHERE status = 'resolved' AND resolved_at < $1",
					   before);
		delete_expired(rsinfo, "notification",
					   "DELETE FROM meter.notification WHERE created_at < $1",
					   before);
		delete_expired(rsinfo, "silence",
					   "DELETE FROM meter.silence WHERE ends_at < $1",
					   before);
		forget_outbox(rsinfo, before);

		/* last, since its locks are held to commit */
		drop_partitions(rsinfo, before);
	}
	owner_end(&scope);
	return (Datum) 0;
}

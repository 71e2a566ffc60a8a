/*
 * late.c
 *		Days whose usage changes late, meter.usage_late.
 *
 * Whoever has taken a decision by the totals of a time that is over, as a bill
 * does, must learn that they have changed since.  So the rollup notes a
 * tenant's day when it adds to an hour that ended an hour ago or earlier, and
 * when it computes such an hour anew, with its position in the log.  What comes
 * in time is looked at no further.
 *
 * A gauge's sample changes the level up to the next sample, perhaps months
 * later; its row stands for all days from its own on.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "partition.h"
#include "rollup.h"

/*
 * Hours that begin before this are over for an hour or longer.
 */
TimestampTz
late_limit(TimestampTz now)
{
	return usage_hour_of(now) - USECS_PER_HOUR;
}

static void
late_note(Usage *usage, const text *tenant, TimestampTz hour, bool gauge)
{
	dirty_add(&usage->late, tenant, partition_start_time(partition_day(hour)),
			  false)->gauge |= gauge;
}

/*
 * Note a group that is about to be written.
 */
void
late_note_hour(Usage *usage, const UsageHour *group)
{
	const char *position = group->key.data;
	text	   *tenant;

	if (group->hour >= usage->late_before)
		return;
	tenant = (text *) key_get_varlena(&position);
	late_note(usage, tenant, group->hour, group->gauge);
	pfree(tenant);
}

/*
 * Write the days down, also those of the hours that were computed anew, which
 * may have no events any more.
 */
void
late_write(Usage *usage, int64 upto)
{
	Oid			types[4] = {TEXTARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID,
	INT8OID};
	Datum		values[4];
	Datum	   *gauges;
	TimestampTz min,
				max;

	for (int i = 0; i < usage->dirty.n; i++)
	{
		const UsageDirty *hour = &usage->dirty.items[i];

		if (hour->start < usage->late_before)
			late_note(usage, hour->tenant, hour->start, hour->gauge);
	}
	if (usage->late.n == 0)
		return;
	gauges = MemoryContextAllocHuge(CurrentMemoryContext,
									usage->late.n * sizeof(Datum));
	for (int i = 0; i < usage->late.n; i++)
		gauges[i] = BoolGetDatum(usage->late.items[i].gauge);
	values[0] = PointerGetDatum(dirty_tenants(usage->late.items, usage->late.n));
	values[1] = PointerGetDatum(dirty_starts(usage->late.items, usage->late.n,
											 &min, &max));
	values[2] = PointerGetDatum(construct_array(gauges, usage->late.n, BOOLOID,
												1, true, TYPALIGN_CHAR));
	values[3] = Int64GetDatum(upto);
	if (SPI_execute_with_args("INSERT INTO meter.usage_late AS l (tenant, day, last_day, seq) "
							  "SELECT n.tenant, d.day,"
							  "  CASE WHEN n.gauge THEN 'infinity' ELSE d.day END, $4 "
							  "FROM unnest($1, $2, $3) AS n(tenant, midnight, gauge) "
							  "CROSS JOIN LATERAL"
							  "  (SELECT (n.midnight AT TIME ZONE 'UTC')::date AS day) AS d "
							  "ORDER BY n.tenant, d.day "
							  "ON CONFLICT (tenant, day) DO UPDATE SET"
							  "  last_day = GREATEST(l.last_day, EXCLUDED.last_day),"
							  "  seq = EXCLUDED.seq",
							  4, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write meter.usage_late");
}

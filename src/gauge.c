/*
 * gauge.c
 *		The last sample of each gauge in each month, meter.gauge_last.
 *
 * A level holds until the next sample, however long ago it was taken.  To know
 * what level a month begins with, nobody shall have to read the hours of all
 * months before; so the rollup keeps the last sample of each group and month.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "partition.h"
#include "rollup.h"

/* The last samples of rows of meter.usage_hourly that are given as %s. */
#define LAST_SAMPLES \
	"INSERT INTO meter.gauge_last AS g (tenant, metric, month, service, endpoint, method, dims," \
	"  last_at, last_seq, level) " \
	"SELECT DISTINCT ON (h.tenant, h.metric, m.month, h.service, h.endpoint, h.method, h.dims)" \
	"  h.tenant, h.metric, m.month, h.service, h.endpoint, h.method, h.dims," \
	"  h.last_at, h.last_seq, h.quantity_last " \
	"FROM %s CROSS JOIN LATERAL" \
	"  (SELECT date_trunc('month', h.hour AT TIME ZONE 'UTC')::date AS month) AS m " \
	"WHERE h.quantity_seconds IS NOT NULL %s " \
	"ORDER BY h.tenant, h.metric, m.month, h.service, h.endpoint, h.method, h.dims, h.hour DESC " \
	"ON CONFLICT (tenant, metric, month, service, endpoint, method, dims) DO UPDATE SET" \
	"  last_at = EXCLUDED.last_at, last_seq = EXCLUDED.last_seq, level = EXCLUDED.level " \
	"WHERE EXCLUDED.last_at >= g.last_at"

/*
 * Take over the last samples of the hours in the making.  They may be older
 * than what is known; at the same instant, the sample later in the log holds,
 * which is one of this batch.
 */
void
gauge_write_last(void)
{
	if (SPI_execute(psprintf(LAST_SAMPLES, ROLLUP_HOURS " AS h", ""),
					false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write meter.gauge_last");
}

/*
 * Hours have been computed anew, some since a gauge was corrected: what was
 * the last sample of its month may not count any more.
 */
void
gauge_rebuild_last(const UsageDirtySet *hours)
{
	UsageDirtySet months;
	Oid			types[4] = {TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID};
	Datum		values[4];
	TimestampTz min,
				max;

	dirty_init(&months);
	for (int i = 0; i < hours->n; i++)
		if (hours->items[i].corrected && hours->items[i].gauge)
			dirty_add(&months, hours->items[i].tenant,
					  partition_start_time(partition_month(partition_day(hours->items[i].start))),
					  true);
	if (months.n == 0)
		return;
	values[0] = PointerGetDatum(dirty_tenants(months.items, months.n));
	values[1] = PointerGetDatum(dirty_starts(months.items, months.n, &min, &max));
	values[2] = TimestampTzGetDatum(min);
	values[3] = TimestampTzGetDatum(partition_start_time(partition_next_month(partition_day(max))));
	if (SPI_execute_with_args("DELETE FROM meter.gauge_last AS g "
							  "USING unnest($1, $2) AS d(tenant, month) "
							  "WHERE g.tenant = d.tenant "
							  "AND g.month = (d.month AT TIME ZONE 'UTC')::date",
							  2, types, values, NULL, false, 0) != SPI_OK_DELETE ||
		SPI_execute_with_args(psprintf(LAST_SAMPLES,
									   "meter.usage_hourly AS h",
									   "AND h.hour >= $3 AND h.hour < $4 "
									   "AND EXISTS (SELECT FROM unnest($1, $2) AS d(tenant, month)"
									   "  WHERE h.tenant = d.tenant"
									   "  AND date_trunc('month', h.hour, 'UTC') = d.month)"),
							  4, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write meter.gauge_last anew");
}

/*
 * recent.c
 *		The last hours of usage, by which alerts are measured.
 *
 * The rollup has its batch at hand, by tenant, service, endpoint and more; this
 * adds it up to rows of meter.usage_recent.  A batch is of the minute since the
 * last rollup as a rule, so the time of its last event tells which five minutes
 * it belongs to.
 *
 * And it notes when the last event was of what somebody waits for.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "owner.h"
#include "recent.h"
#include "rollup.h"

/* recent.sql folds by the same three hours. */
#define ADD \
	"INSERT INTO meter.usage_recent AS r (bucket, is_hour, tenant, service, requests," \
	" errors, errors_4xx, errors_429, cost, latency) " \
	"SELECT CASE WHEN t.is_hour THEN u.hour ELSE date_bin('5 minutes', u.last_at, '2000-01-01Z') END," \
	" t.is_hour, u.tenant, u.service," \
	" COALESCE(sum(u.events) FILTER (WHERE u.metric = 'api_requests'), 0)," \
	" COALESCE(sum(u.errors) FILTER (WHERE u.metric = 'api_requests'), 0)," \
	" COALESCE(sum(u.errors_4xx) FILTER (WHERE u.metric = 'api_requests'), 0)," \
	" COALESCE(sum(u.errors_429) FILTER (WHERE u.metric = 'api_requests'), 0)," \
	" COALESCE(sum(u.cost), 0)," \
	" %1$s.meter_sketch_merge(u.latency) FILTER (WHERE u.metric = 'api_requests') " \
	"FROM " ROLLUP_HOURS " AS u CROSS JOIN LATERAL (" \
	" SELECT u.last_at < date_trunc('hour', now(), 'UTC') - interval '3 hours' AS is_hour) AS t " \
	"WHERE (u.metric = 'api_requests' OR u.cost IS NOT NULL)" \
	" AND u.hour >= date_trunc('hour', now(), 'UTC') - interval '75 hours' " \
	"GROUP BY 1, 2, 3, 4 " \
	"ON CONFLICT (bucket, is_hour, tenant, service) DO UPDATE SET" \
	" requests = r.requests + EXCLUDED.requests," \
	" errors = r.errors + EXCLUDED.errors," \
	" errors_4xx = r.errors_4xx + EXCLUDED.errors_4xx," \
	" errors_429 = r.errors_429 + EXCLUDED.errors_429," \
	" cost = r.cost + EXCLUDED.cost," \
	" latency = %1$s.meter_sketch_union(r.latency, EXCLUDED.latency)"

/* meter.usage_last_follow() begins and ends with a metric. */
#define ADD_LAST \
	"INSERT INTO meter.usage_last AS l (metric, tenant, service, last_at) " \
	"SELECT u.metric, u.tenant, u.service, max(u.last_at) " \
	"FROM " ROLLUP_HOURS " AS u " \
	"WHERE u.metric IN (SELECT m.metric FROM meter.usage_last_metric AS m) " \
	"GROUP BY u.metric, u.tenant, u.service " \
	"ON CONFLICT (metric, tenant, service) DO UPDATE SET last_at = EXCLUDED.last_at " \
	"WHERE EXCLUDED.last_at > l.last_at"

void
recent_add(const char *schema)
{
	if (SPI_execute(psprintf(ADD, quote_identifier(schema)), false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write meter.usage_recent");
	if (SPI_execute(ADD_LAST, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write meter.usage_last");
}

void
recent_fold(void)
{
	if (SPI_execute("SELECT meter.recent_fold(now())", false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not fold meter.usage_recent");
}

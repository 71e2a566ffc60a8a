/*
 * openmetrics.c
 *		Running totals for monitoring systems.
 *
 * The rollup has its batch at hand, by tenant, service, endpoint and more; this
 * adds it up by the labels of each kind of total in meter.openmetrics_total.
 * What becomes of these is in openmetrics.sql.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "openmetrics.h"
#include "owner.h"
#include "rollup.h"
#include "setting.h"

/*
 * A row of the batch is of several kinds at once; of those that carry only
 * costs, as other metrics do, calls are 0.  A quantity that may go down is no
 * counter's.  Columns as in meter.openmetrics_total.
 */
#define ADD \
	"SELECT meter.openmetrics_count(array_agg(ROW(b.*)::meter.openmetrics_total), $1, now()) FROM (" \
	"SELECT k.kind, k.labels, false, sum(u.events)::bigint AS recent, 0::float8, now()," \
	" COALESCE(sum(u.events) FILTER (WHERE k.called), 0)::bigint," \
	" COALESCE(sum(u.errors_4xx - u.errors_429) FILTER (WHERE k.called), 0)::bigint," \
	" COALESCE(sum(u.errors_429) FILTER (WHERE k.called), 0)::bigint," \
	" COALESCE(sum(u.errors - u.errors_4xx) FILTER (WHERE k.called), 0)::bigint," \
	" COALESCE(sum(u.cost) FILTER (WHERE u.cost > 0), 0)," \
	" COALESCE(sum(u.quantity) FILTER (WHERE k.kind = 'usage'), 0)," \
	" COALESCE(sum(u.quantity) FILTER (WHERE k.token_type = 'input'), 0)," \
	" COALESCE(sum(u.quantity) FILTER (WHERE k.token_type = 'cached'), 0)," \
	" COALESCE(sum(u.quantity) FILTER (WHERE k.token_type = 'cache_creation'), 0)," \
	" COALESCE(sum(u.quantity) FILTER (WHERE k.token_type = 'output'), 0)," \
	" %1$s.meter_sketch_merge(u.latency) FILTER (WHERE k.called AND k.timed) " \
	"FROM " ROLLUP_HOURS " AS u CROSS JOIN LATERAL (" \
	" SELECT 'service' AS kind, ARRAY[u.tenant, COALESCE(u.service, '')] AS labels," \
	"  u.metric = 'api_requests' AS called, false AS timed, NULL AS token_type" \
	"  WHERE u.metric = 'api_requests' OR u.cost IS NOT NULL" \
	" UNION ALL" \
	" SELECT 'endpoint', ARRAY[COALESCE(u.service, ''), COALESCE(u.endpoint, ''), COALESCE(u.method, '')]," \
	"  u.metric = 'api_requests', true, NULL" \
	"  WHERE u.metric = 'api_requests' OR u.cost IS NOT NULL" \
	" UNION ALL" \
	" SELECT 'usage', ARRAY[u.tenant, u.metric], false, false, NULL" \
	"  WHERE u.quantity_seconds IS NULL AND u.quantity_min >= 0" \
	" UNION ALL" \
	" SELECT 'model', ARRAY[COALESCE(u.dims ->> 'provider', ''), COALESCE(u.dims ->> 'model', '')]," \
	"  u.metric = 'llm_requests', true," \
	"  CASE WHEN u.metric = 'llm_tokens' AND u.quantity_min >= 0 THEN u.dims ->> 'token_type' END" \
	"  WHERE u.metric = 'llm_requests' OR u.metric = 'llm_tokens') AS k " \
	"GROUP BY k.kind, k.labels) AS b"

/* Whether this rollup's events are new to the totals. */
static bool counting;

void
openmetrics_begin(int64 after)
{
	counting = after >= rollup_select("SELECT last_seq FROM meter.openmetrics_position", false);
}

void
openmetrics_add(const char *schema)
{
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(setting_max_label_sets)};

	if (counting &&
		SPI_execute_with_args(psprintf(ADD, quote_identifier(schema)),
							  1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not write meter.openmetrics_total");
}

void
openmetrics_finish(int64 upto)
{
	Oid			types[2] = {INT8OID, INT4OID};
	Datum		values[2] = {Int64GetDatum(upto), Int32GetDatum(setting_max_label_sets)};

	if (SPI_execute_with_args("SELECT meter.openmetrics_finish($1, $2, now())",
							  2, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not write meter.openmetrics_total");
}

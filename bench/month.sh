# shellcheck shell=bash
#
# bench/month.sh: percentiles of a month.
#
# p95 of each tenant from the month's hourly rows, by merging their sketches,
# against percentile_disc over the raw events, both in meter.event and in a
# table that has nothing but the two columns the query needs.  Says also how
# far the former is off.

# shellcheck disable=SC2154		# from run.sh
days=30
per_day=$((24 * 28 * 1000 / divisor))
tuned="SET work_mem = '1GB'; SET jit = off;"
from="date_trunc('day', now(), 'UTC') - interval '$days days'"

month_raw()
{
	say "SELECT tenant, percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_ms) FROM $1 GROUP BY tenant;"
}

month_ours="SELECT tenant, meter_percentile(meter_sketch_merge(latency), 0.95)
	FROM meter.usage_hourly GROUP BY tenant;"

sql -c "CALL bench.reset()"
loaded=$SECONDS
for ((day = 0; day < days; day++)); do
	sql -f - <<-SQL
		SELECT setseed($day / 100.0) \\g /dev/null
		INSERT INTO meter.inbox (at, latency_ms, status, tenant, metric, quantity, service,
			endpoint, method, user_id, cost, request_id, error_message)
		SELECT * FROM bench.events($per_day, $from + interval '$day days', '1 day', 4, 7, 10, false);
		SELECT meter_flush() \\g /dev/null
		TRUNCATE meter.inbox;
		SELECT meter_rollup() \\g /dev/null
	SQL
done
loaded=$((SECONDS - loaded))
sql -f - <<-'SQL'
	CREATE TABLE bench.latency AS SELECT tenant, latency_ms FROM meter.event;
	VACUUM ANALYZE;
SQL

for ((round = 0; round <= rounds; round++)); do
	measure "meter_sketch_merge of the hourly rows" "$round" <<<"$month_ours"
	measure "raw, two columns" "$round" < <(month_raw bench.latency)
	measure "raw, two columns, tuned" "$round" < <(say "$tuned"; month_raw bench.latency)
	measure "raw, meter.event" "$round" < <(month_raw meter.event)
	measure "raw, meter.event, tuned" "$round" < <(say "$tuned"; month_raw meter.event)
done
report "p95 of a month by tenant: $((days * per_day)) raw events, $(sql -At -c 'SELECT count(*)
	FROM meter.usage_hourly') hourly rows, 4 tenants, 7 endpoints" $((days * per_day)) \
	"meter_sketch_merge of the hourly rows" time "meter_sketch_merge of the hourly rows" \
	"raw, two columns" "raw, two columns, tuned" "raw, meter.event" "raw, meter.event, tuned"

sql -P title="How far off percentiles of the merged sketches are" -P footer=off -f - <<-'SQL'
	WITH raw AS (
		SELECT tenant, percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ms) AS exact
		FROM bench.latency GROUP BY tenant
	), merged AS (
		SELECT tenant, meter_percentile(meter_sketch_merge(latency), ARRAY[0.5, 0.95, 0.99]) AS ours
		FROM meter.usage_hourly GROUP BY tenant
	)
	SELECT p.name AS percentile,
		round((100 * max(abs(p.ours / p.exact - 1)))::numeric, 2) AS "largest error in %",
		max(abs(p.ours / p.exact - 1)) <= 0.01 AS "within 1 %"
	FROM raw JOIN merged USING (tenant)
	CROSS JOIN LATERAL unnest(ARRAY['p50', 'p95', 'p99'], exact, ours) AS p(name, exact, ours)
	GROUP BY p.name ORDER BY p.name;
SQL
sql -P title="Size" -P footer=off -f - <<-'SQL'
	SELECT pg_size_pretty(sum(pg_table_size(c.oid)) FILTER (WHERE c.relname ~ '^event_p\d')) AS "meter.event",
		pg_size_pretty(sum(pg_table_size(c.oid)) FILTER (WHERE c.relname ~ '^usage_hourly_p\d')) AS "meter.usage_hourly",
		pg_size_pretty(sum(pg_table_size(c.oid)) FILTER (WHERE c.relname = 'latency')) AS "two columns"
	FROM pg_class AS c WHERE c.relkind = 'r';
SQL
say "Making, flushing and rolling up these events took $loaded s."
sql -c "DROP TABLE bench.latency" -c "CALL bench.reset()"

# shellcheck shell=bash
#
# bench/dashboard.sh: the dashboard.
#
# meter_dashboard() of a thousand tenants with a row of usage for each hour of 31
# days, against the sum of the plain queries of views and tables that have what
# its sections show, one after the other in one session: of all 31 days, and of
# the last seven, with the seven before them to compare with.  Percentiles of more
# than an hour and distinct users are in no view, so these queries merge the
# columns of meter.usage_hourly, once each.  There are 60 budgets, limits that all
# tenants have asked for, and alerts.

# shellcheck disable=SC2154		# from run.sh
tenants=$((1000 / divisor))

sql -v n="$tenants" -f - <<-'SQL'
	SET meter.retention = 0;
	SET client_min_messages = warning;
	DROP EXTENSION meter CASCADE;
	CREATE EXTENSION meter CASCADE;
	CREATE TABLE bench.dashboard_at AS SELECT date_trunc('hour', now(), 'UTC') AS hour;
	-- partitions
	INSERT INTO meter.inbox (tenant, at, user_id)
	SELECT 'other', a.hour - d * interval '1 day', 'user' FROM bench.dashboard_at AS a, generate_series(0, 31) AS d;
	SELECT meter_flush() \g /dev/null
	SELECT meter_rollup() \g /dev/null
	CREATE TABLE bench.sketch AS
	SELECT j, meter_sketch_agg(20 + (j * 37 + x * 101) % 400) AS latency,
		meter.users_of(array_agg(hashint8extended(j * 3 + x % 4, 0))) AS users
	FROM generate_series(0, 9) AS j, generate_series(1, 120) AS x GROUP BY j;
	INSERT INTO meter.usage_hourly (hour, tenant, metric, service, endpoint, method, dims, events, successes, errors,
		errors_4xx, errors_5xx, errors_429, folded, first_at, last_at, last_seq, quantity, quantity_min, quantity_max,
		quantity_first, quantity_last, cost, latency, users)
	SELECT a.hour - h * interval '1 hour', 'tenant-' || i, 'api_requests', 'api', '/v1/' || i % 20, 'GET', '{}',
		120 + i % 7, 118 + i % 7, 2, 1, 1, 0, 0, a.hour - h * interval '1 hour',
		a.hour - h * interval '1 hour' + interval '59 minutes', 1, 120, 1, 1, 1, 1, 0.2, l.latency, l.users
	FROM bench.dashboard_at AS a
	CROSS JOIN generate_series(31 * 24 - 1, 0, -1) AS h
	CROSS JOIN generate_series(1, :n) AS i
	JOIN bench.sketch AS l ON l.j = i % 10
	-- as the rollup leaves them
	ORDER BY h DESC, i;
	INSERT INTO meter.usage_user_daily (day, tenant, metric, user_id, dims, events, errors, first_at, last_at, quantity, cost)
	SELECT d.day, 'tenant-' || i, 'api_requests', 'user-' || u, '{}', 900 + u, 10, d.day, d.day + interval '23 hours', 900, 1.6
	FROM bench.dashboard_at AS a
	CROSS JOIN LATERAL generate_series((a.hour AT TIME ZONE 'UTC')::date - 30, (a.hour AT TIME ZONE 'UTC')::date, interval '1 day') AS d (day)
	CROSS JOIN generate_series(1, :n) AS i CROSS JOIN generate_series(1, 3) AS u;
	INSERT INTO meter.tenant (tenant) SELECT 'tenant-' || i FROM generate_series(1, :n) AS i;
	INSERT INTO meter.budget (tenant, service, amount)
	SELECT 'tenant-' || i, NULL, 50 + i FROM generate_series(1, least(50, :n)) AS i
	UNION ALL
	SELECT 'tenant-' || i, 'api', 100 + i FROM generate_series(1, 10) AS i;
	SELECT meter_refresh_budgets() \g /dev/null
	INSERT INTO meter.rate_limit (per, max) VALUES ('hour', 1000);
	SELECT count(meter_allow('tenant-' || i, '*')) FROM generate_series(1, :n) AS i, generate_series(1, 20) \g /dev/null
	SELECT meter_evaluate_alerts() \g /dev/null
	VACUUM ANALYZE;
SQL

# plain DAYS: the queries
plain()
{
	cat <<-SQL
		\set ON_ERROR_STOP 1
		SET jit = off;
		SELECT hour - interval '$1 days' + interval '1 hour' AS "from", hour + interval '1 hour' AS "to",
			hour - interval '$1 days' * 2 + interval '1 hour' AS before FROM bench.dashboard_at \gset
		-- figures and tenants
		SELECT tenant, sum(events) AS requests, sum(errors), sum(errors_429), sum(cost), meter.users_count(hll_union_agg(users)),
			meter_percentile(meter_sketch_merge(latency), '{0.5,0.95,0.99}'::double precision[])
		FROM meter.usage_hourly WHERE hour >= :'from' AND hour < :'to' GROUP BY tenant ORDER BY requests DESC;
		-- the time before
		SELECT sum(events), sum(errors), meter_percentile(meter_sketch_merge(latency), 0.95)
		FROM meter.usage_hourly WHERE metric = 'api_requests' AND hour >= :'before' AND hour < :'from';
		-- over time
		SELECT hour, sum(events), sum(errors), sum(errors_4xx), sum(errors_429), sum(cost),
			meter_percentile(meter_sketch_merge(latency), '{0.5,0.95,0.99}'::double precision[])
		FROM meter.usage_hourly WHERE hour >= :'from' AND hour < :'to' GROUP BY hour ORDER BY hour;
		-- endpoints
		SELECT service, endpoint, method, sum(events) AS requests, sum(errors), sum(cost),
			meter_percentile(meter_sketch_merge(latency), '{0.5,0.95,0.99}'::double precision[])
		FROM meter.usage_hourly WHERE hour >= :'from' AND hour < :'to' GROUP BY service, endpoint, method
		ORDER BY requests DESC LIMIT 10;
		-- users
		SELECT tenant, user_id, sum(requests) AS requests, sum(errors), sum(cost) FROM meter.top_users
		WHERE day >= (:'from'::timestamptz AT TIME ZONE 'UTC')::date GROUP BY tenant, user_id ORDER BY requests DESC LIMIT 10;
		-- cost
		SELECT * FROM meter_project(NULL);
		SELECT (hour AT TIME ZONE 'UTC')::date, sum(cost) FROM meter.usage_hourly
		WHERE hour >= date_trunc('month', now(), 'UTC') GROUP BY 1 ORDER BY 1;
		SELECT * FROM meter.budget_status;
		SELECT * FROM meter.cost_projection;
		-- now
		SELECT * FROM meter.rate_limit_status ORDER BY used_percent DESC;
		SELECT * FROM meter.alert WHERE state = 'firing';
		SELECT * FROM meter.incident WHERE status <> 'resolved';
		SELECT * FROM meter.tenant_health ORDER BY score LIMIT 6;
		SELECT meter_health();
		SELECT * FROM meter.stats;
	SQL
}

# page DAYS
page()
{
	say "SELECT meter_dashboard(hour - interval '$1 days' + interval '1 hour', hour + interval '1 hour') FROM bench.dashboard_at;"
}

for ((round = 0; round <= rounds; round++)); do
	for days in 31 7; do
		plain "$days" | measure "queries of $days days" "$round"
		page "$days" | measure "page of $days days" "$round"
	done
done
report "Dashboard of $(spaced "$tenants") tenants: time" "$((tenants * 31 * 24))" "queries of 31 days" time \
	"queries of 31 days" "page of 31 days" "queries of 7 days" "page of 7 days"
sql -P title="What was read, and what it came to" -P footer=off -c "SELECT (SELECT count(*) FROM meter.usage_hourly) AS hours,
	(SELECT count(*) FROM meter.usage_user_daily) AS days_of_users, length(meter_dashboard()) AS bytes"
report_targets -v days31="queries of 31 days" -v days7="queries of 7 days" <<-'SQL'
	(1, 'time of the page in that of its queries, 31 days', :'days31', 'speed', 'page of 31 days', '<=', 1.5),
	(2, 'time of the page in that of its queries, 7 days', :'days7', 'speed', 'page of 7 days', '<=', 1.5)
SQL
sql -c "DROP TABLE bench.dashboard_at, bench.sketch"

# shellcheck shell=bash
#
# bench/alert.sh: evaluating all alerts.
#
# meter_evaluate_alerts() of ten thousand tenants with all the rules that are
# built in, an objective (meter.slo) for each tenant and two for all, against a
# single GROUP BY tenant and service of the hours of meter.usage_hourly that its
# longest window has, which are those of three days.  What is normal is learnt once
# a day, from ten days; that evaluation is measured by itself, against the GROUP
# BY of these three days and ten days.  Tenants have one row an hour: with more,
# the GROUP BY has more to read, and the evaluation reads its own table, of one row
# for a tenant and service.  Then all tenants have errors, so that alerts begin,
# with their incidents and notifications.

# shellcheck disable=SC2154		# from run.sh
tenants=$((10000 / divisor))

sql -v n="$tenants" -f - <<-'SQL'
	SET meter.retention = 0;
	SET client_min_messages = warning;
	DROP EXTENSION meter CASCADE;
	CREATE EXTENSION meter CASCADE;
	CREATE TABLE bench.alert_at AS SELECT date_trunc('hour', now(), 'UTC') - interval '23 minutes' AS at;
	-- partitions
	INSERT INTO meter.inbox (tenant, at)
	SELECT 'other', a.at - d * interval '1 day' FROM bench.alert_at AS a, generate_series(0, 29) AS d;
	SELECT meter_flush() \g /dev/null
	SELECT meter_rollup() \g /dev/null
	CREATE TABLE bench.sketch AS
	SELECT j, meter_sketch_agg(20 + (j * 37 + x * 101) % 400) AS of_hour, meter_sketch_agg(20 + (j * 37 + x * 101) % 400) FILTER (WHERE x <= 30) AS of_minutes
	FROM generate_series(0, 9) AS j, generate_series(1, 120) AS x GROUP BY j;
	INSERT INTO meter.usage_hourly (hour, tenant, metric, service, endpoint, dims, events, successes, errors, errors_4xx,
		errors_5xx, errors_429, folded, first_at, last_at, last_seq, quantity, quantity_min, quantity_max, quantity_first,
		quantity_last, cost, latency)
	SELECT h.hour, 'tenant-' || i, 'api_requests', 'api', '/v1/servers', '{}', 120 + i % 7, 118 + i % 7, 2, 1, 0, 0, 0,
		h.hour, h.hour + interval '59 minutes', 1, 120, 1, 1, 1, 1, 0.2, l.of_hour
	FROM bench.alert_at AS a
	CROSS JOIN LATERAL (
		SELECT d.day + k * interval '1 hour' AS hour
		FROM (
			SELECT date_trunc('day', a.at, 'UTC') - d * interval '1 day' AS day
			FROM unnest('{0,1,2,3,4,5,6,7,14,21,28}'::integer[]) AS d
		) AS d, generate_series(0, 23) AS k
		WHERE d.day + k * interval '1 hour' <= a.at
	) AS h
	CROSS JOIN generate_series(1, :n) AS i
	JOIN bench.sketch AS l ON l.j = i % 10
	-- as the rollup leaves them
	ORDER BY h.hour, i;
	INSERT INTO meter.usage_recent (bucket, is_hour, tenant, service, requests, errors, errors_4xx, errors_429, cost, latency)
	SELECT b.bucket, false, 'tenant-' || i, 'api', 30 + i % 5, 0, 0, 0, 0.02, l.of_minutes
	FROM bench.alert_at AS a
	CROSS JOIN LATERAL generate_series(date_trunc('hour', a.at, 'UTC') - interval '3 hours', a.at, interval '5 minutes') AS b (bucket)
	CROSS JOIN generate_series(1, :n) AS i
	JOIN bench.sketch AS l ON l.j = i % 10
	UNION ALL
	SELECT b.bucket, true, 'tenant-' || i, 'api', 120 + i % 7, 0, 0, 0, 0.2, l.of_hour
	FROM bench.alert_at AS a
	CROSS JOIN LATERAL generate_series(date_trunc('hour', a.at, 'UTC') - interval '75 hours',
		date_trunc('hour', a.at, 'UTC') - interval '4 hours', interval '1 hour') AS b (bucket)
	CROSS JOIN generate_series(1, :n) AS i
	JOIN bench.sketch AS l ON l.j = i % 10;
	INSERT INTO meter.slo (slo, tenant, target) SELECT 'tenant-' || i, 'tenant-' || i, 99.9 FROM generate_series(1, :n) AS i;
	INSERT INTO meter.slo (slo, service, kind, target, latency_ms) VALUES
		('all', NULL, 'availability', 99.9, NULL), ('fast', 'api', 'latency', 95, 500);
	VACUUM ANALYZE;
SQL

plain="SET jit = off; SET max_parallel_workers_per_gather = 0; SET work_mem = '64MB';"
of_three_days="SELECT tenant, service, sum(events), sum(errors), sum(errors_4xx), sum(errors_429), sum(cost), meter_sketch_merge(latency)
	FROM meter.usage_hourly
	WHERE hour >= (SELECT date_trunc('hour', at, 'UTC') FROM bench.alert_at) - interval '72 hours'
	GROUP BY tenant, service"
of_ten_days="SELECT tenant, service, extract(hour FROM hour AT TIME ZONE 'UTC'), sum(events), sum(cost)
	FROM meter.usage_hourly
	WHERE hour < (SELECT date_trunc('day', at, 'UTC') FROM bench.alert_at)
	GROUP BY 1, 2, 3"
evaluate="$plain SELECT meter_evaluate_alerts(at) FROM bench.alert_at;"

for ((round = 0; round <= rounds; round++)); do
	measure "GROUP BY of three days" "$round" <<<"$plain $of_three_days;"
	measure "GROUP BY of three and ten days" "$round" <<<"$plain $of_three_days; $of_ten_days;"
	sql -c "TRUNCATE meter.alert, meter.incident, meter.incident_update, meter.notification, meter.usage_normal, meter.usage_normal_day"
	measure "all rules, the first time of a day" "$round" <<<"$evaluate"
	sql -c "VACUUM ANALYZE meter.usage_normal"
	measure "all rules" "$round" <<<"$evaluate"
	sql -f - <<-'SQL'
		UPDATE meter.usage_recent SET errors = requests WHERE NOT is_hour;
		VACUUM ANALYZE meter.usage_recent;
	SQL
	measure "all rules, alerts of all tenants begin" "$round" <<<"$evaluate"
	measure "all rules, these go on" "$round" <<<"$evaluate"
	sql -P title="Round $round" -P footer=off -c "SELECT state, count(*) FROM meter.alert GROUP BY state"
	sql -f - <<-'SQL'
		UPDATE meter.usage_recent SET errors = 0 WHERE NOT is_hour;
		VACUUM ANALYZE meter.usage_recent;
	SQL
done
report "All rules, $(spaced "$tenants") tenants: time of the evaluation" "$tenants" "all rules" time "all rules" \
	"all rules, the first time of a day" "all rules, alerts of all tenants begin" "all rules, these go on" \
	"GROUP BY of three days" "GROUP BY of three and ten days"
sql -P title="What was evaluated" -P footer=off -c "SELECT count(*) AS values, count(DISTINCT rule) AS rules, count(DISTINCT tenant) AS tenants,
	(SELECT count(*) FROM meter.usage_hourly) AS hours, (SELECT count(*) FROM meter.usage_recent) AS recent
	FROM bench.alert_at AS a, meter.alert_measure(a.at)"
report_targets -v three="GROUP BY of three days" <<-'SQL'
	(1, 'GROUP BYs of the same hours in the time of all rules', :'three', 'speed', 'all rules', '<=', 3)
SQL
sql -c "DROP TABLE bench.alert_at, bench.sketch"

-- examples/demo/report.sql: what an operator looks at, from the views of meter.

\pset footer off
\pset null '-'

\echo
\echo 'Latency per hour, tenant and endpoint (ms): the last three hours, the five busiest endpoints of each'
SELECT to_char(hour, 'MM-DD HH24:MI') AS hour, left(tenant, 12) AS tenant, method,
	left(endpoint, 34) AS endpoint, requests, errors, round(error_rate, 1) AS "err %",
	round(p50::numeric, 1) AS p50, round(p95::numeric, 1) AS p95, round(p99::numeric, 1) AS p99,
	round(unique_users::numeric) AS users
FROM (
	SELECT *, row_number() OVER (PARTITION BY hour, tenant ORDER BY requests DESC, endpoint, method) AS place,
		dense_rank() OVER (ORDER BY hour DESC) AS hours_ago
	FROM meter.endpoint_stats
	WHERE endpoint IS NOT NULL AND endpoint <> ''
) AS e
WHERE hours_ago <= 3 AND place <= 5
ORDER BY e.hour DESC, e.tenant, place
LIMIT 45;

\echo
\echo 'Daily report per service'
SELECT day, left(tenant, 12) AS tenant, service, requests, round(unique_users::numeric) AS users,
	round(cost, 4) AS cost, round(latency_avg::numeric, 1) AS avg, round(p50::numeric, 1) AS p50,
	round(p95::numeric, 1) AS p95, round(p99::numeric, 1) AS p99, errors,
	round(error_rate, 1) AS "err %"
FROM meter.service_daily
WHERE requests > 0
ORDER BY service_daily.day DESC, requests DESC, service_daily.tenant, service
LIMIT 30;

\echo
\echo 'Busiest users of the last day with traffic'
SELECT day, left(tenant, 12) AS tenant, rank, left(user_id, 12) AS "user", requests, errors,
	round(error_rate, 1) AS "err %", round(cost, 4) AS cost,
	to_char(last_seen, 'HH24:MI:SS') AS last_seen
FROM meter.top_users
WHERE day = (SELECT max(day) FROM meter.top_users) AND rank <= 3
ORDER BY top_users.tenant, rank
LIMIT 24;

SELECT EXISTS (SELECT FROM meter.metric WHERE metric = 'storage_gb') AS has_storage \gset
\if :has_storage
\echo
\echo 'Levels: storage, time-weighted'
SELECT day, left(tenant, 12) AS tenant, metric, round(quantity_min, 1) AS min,
	round(quantity_max, 1) AS max, round(quantity_last, 1) AS last,
	round(time_weighted, 1) AS average, round(unit_hours) AS "GB-hours"
FROM meter.usage_daily
WHERE metric = 'storage_gb'
ORDER BY day DESC, usage_daily.tenant
LIMIT 10;
\endif

\echo
\echo 'Refused events'
SELECT source, sqlstate, left(reason, 72) AS reason, count(*) AS events, to_char(max(rejected_at), 'YYYY-MM-DD HH24:MI') AS last
FROM meter.rejected_event
GROUP BY 1, 2, 3
ORDER BY events DESC, reason;

\echo
SELECT (SELECT count(*) FROM meter.event) AS accepted,
	(SELECT count(*) FROM meter.rejected_event) AS rejected,
	(SELECT count(*) FROM meter.usage_hourly) AS "rows in usage_hourly",
	(SELECT count(*) FROM meter.inbox) AS "waiting in the inbox";

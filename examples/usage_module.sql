-- usage_module.sql: the usage pages of a web application
--
-- Run it in a database of its own:
--
--	createdb usage
--	psql -d usage -c 'CREATE EXTENSION meter CASCADE' -f usage_module.sql
--
-- A web application tracks each call of its API, has plans with limits and
-- monthly quotas, shows customers and operators what was used, exports it, and
-- watches its own health.  Each of its pages is one statement:
--
--	GET  /usage/stats                     meter_usage_stats()
--	POST /usage/time-series               meter_time_series()
--	GET  /usage/rate-limit                meter_check() that takes nothing
--	GET  /usage/quota                     meter_quota()
--	POST /usage/export                    meter_export()
--	GET  /usage/endpoints/:endpoint/analytics  meter_endpoint_analytics()
--	GET  /usage/top-users                 meter_top_users()
--	GET  /usage/system-metrics            meter_system_metrics()
--	GET  /usage/health                    meter_health()

-- Nothing has to be scheduled on a server that preloads meter: its background
-- worker rolls up and evaluates alerts each minute (where such applications check
-- health every 5 minutes, alerts every 30 and aggregate every hour), quotas begin
-- anew by the calendar, and events older than 90 days go once a day.  Elsewhere
-- meter_schedule() has pg_cron do it, maintenance at 3:00.

SET timezone = 'UTC';
-- January is past, and stays so; an application leaves it at 90 days, after which
-- the background worker removes events, once a day
SET meter.retention = 0;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET meter.retention = 0', current_database()); END $$;

-- --- plans and limits ----------------------------------------------------------

-- free 1 000 a month and 100 an hour, starter 10 000 and 500, pro 100 000 and
-- 2 000, enterprise without limits; quotas begin anew on the first
SELECT meter_load_preset('monthly') AS rules;
-- 100 calls in 60 seconds for everybody, and fewer of endpoints that cost more
INSERT INTO meter.rate_limit (resource, per, max) VALUES ('*', 'minute', 100),
	('*/api/expensive-operation', 'minute', 10), ('POST /api/bulk-operation', 'minute', 5);
INSERT INTO meter.tenant (tenant, plan, time_zone, started_on) VALUES ('tenant-123', 'starter', 'UTC', '2026-01-01'), ('small-shop', 'free', 'UTC', '2026-01-01');

-- health checks and scrapes are not worth an event
SET meter.ignore_endpoints = '/health, /metrics';
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET meter.ignore_endpoints = %L', current_database(), '/health, /metrics'); END $$;
SELECT meter_track('tenant-123', endpoint => '/health', method => 'GET', status => 200);
SELECT ignored FROM meter.stats;

-- --- before and after each call -------------------------------------------------

-- Before: may it go through?  What is asked becomes the header fields of the
-- answer; the times are to be like 2024-01-15T10:00:00Z.
SELECT (d).allowed, (d).rule, (d).remaining, h.fields ?& ARRAY['X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset',
	'X-Quota-Limit', 'X-Quota-Remaining', 'X-Quota-Reset'] AS headers, h.fields ->> 'X-Quota-Reset' ~ '^\d{4}-\d\d-01T00:00:00Z$' AS on_the_first
FROM meter_check('tenant-123', 'GET /api/users', user_id => 'user-1') AS d, LATERAL (SELECT meter_headers(d, 'iso')) AS h(fields);
-- After: what became of it.  Keys and tokens never get into the log.
SELECT meter_track('tenant-123', endpoint => '/api/users?api_key=sk_live_4eC39HqLyjWDarjtT1zdp7dc', method => 'GET', status => 200,
	latency_ms => 45, user_id => 'user-1', metadata => '{"filtered": true, "password": "hunter2"}',
	error_message => 'Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc');
-- the sixth bulk operation within a minute is refused
SELECT count(*) FILTER (WHERE meter_allow('tenant-123', 'POST /api/bulk-operation')) AS allowed FROM generate_series(1, 6);
-- and the eleventh of what is expensive, by whichever method
SELECT count(*) FILTER (WHERE meter_allow('tenant-123', m || ' /api/expensive-operation')) AS allowed
FROM generate_series(1, 6) AS i, unnest('{GET,POST}'::text[]) AS m;
-- what is used of a feature, besides calls: a metric of its own
INSERT INTO meter.metric (metric, unit, dimensions) VALUES ('feature_usage', 'use', '{feature}');
SELECT meter_track('tenant-123', 'feature_usage', user_id => 'user-1', metadata => '{"feature": "pdf-export"}');

-- --- January -------------------------------------------------------------------

-- Ten calls a day: six of /api/users in 45 ms, three of /api/orders in 120 ms, of
-- which the last one fails, and one of /api/reports in 3 200 ms, which costs
-- 0.002.  On the 15th one order is not found.
SELECT count(meter_track('tenant-123', service => 'api',
	endpoint => CASE WHEN i < 6 THEN '/api/users' WHEN i < 9 THEN '/api/orders' ELSE '/api/reports' END,
	method => CASE WHEN i < 6 OR i = 9 THEN 'GET' ELSE 'POST' END,
	status => CASE WHEN i = 8 THEN 500 WHEN d = 15 AND i = 6 THEN 404 ELSE 200 END,
	latency_ms => CASE WHEN i < 6 THEN 45 WHEN i < 9 THEN 120 ELSE 3200 END,
	cost => CASE WHEN i = 9 THEN 0.002 END, user_id => 'user-' || 1 + i % 4,
	at => timestamptz '2026-01-01 09:00' + (d - 1) * interval '1 day' + i * interval '30 minutes')) AS calls
FROM generate_series(1, 31) AS d, generate_series(0, 9) AS i;
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0 AS rolled_up;

-- GET /usage/stats?groupBy=day, of a customer and of one of its users.  A day has
-- 10 calls, 1 error and (6 * 45 + 3 * 120 + 3200) / 10 = 383 ms; the 15th 2 errors.
SELECT at::date AS day, requests, successes, errors, error_rate, latency_avg, cost, unique_users
FROM meter_usage_stats('tenant-123', '2026-01-14', '2026-01-17', group_by => 'day');
-- user-1 has calls 0, 4 and 8 of each day, so 31 of 93 fail
SELECT requests, errors, error_rate FROM meter_usage_stats('tenant-123', '2026-01-01', '2026-02-01', 'user-1', 'total');
-- by endpoint: 186, 93 and 31
SELECT "group" AS endpoint, requests, errors, latency_avg FROM meter_usage_stats('tenant-123', '2026-01-01', '2026-02-01', group_by => 'endpoint');

-- POST /usage/time-series: a chart without gaps, here by two hours
SELECT at, events, errors FROM meter_time_series('api_requests', '2026-01-15 08:00', '2026-01-15 16:00', '2 hours', filter => '{"tenant": "tenant-123"}');

-- GET /usage/endpoints/%2Fapi%2Forders/analytics: 93 calls, 31 + 1 errors
SELECT method, requests, errors, error_rate, latency_avg, latency_max, peak_requests, unique_users
FROM meter_endpoint_analytics('tenant-123', '/api/orders', '2026-01-01', '2026-02-01');

-- POST /usage/export, as CSV and as JSON
SELECT meter_export('usage_daily', '2026-01-15', '2026-01-16');
SELECT line::jsonb -> 'endpoint' AS endpoint, line::jsonb -> 'events' AS events FROM (SELECT meter_export('usage_daily', '2026-01-15', '2026-01-16', 'jsonl')) AS e(line);

-- GET /usage/top-users, for operators; user-2 pays for the reports
SELECT rank, user_id, requests, errors FROM meter_top_users('2026-01-01', '2026-02-01', 'tenant-123', 3);

-- --- health, alerts, incidents ---------------------------------------------------

-- degraded above 10 % of errors, unhealthy above 25 %
INSERT INTO meter.health_threshold ("check", degraded, unhealthy) VALUES ('server_error_rate', 10, 25), ('error_rate', 10, NULL);
UPDATE meter.alert_rule SET threshold = 10, resolve_below = 8 WHERE rule = 'error rate';
UPDATE meter.alert_rule SET threshold = 25, resolve_below = 20 WHERE rule = 'error rate critical';
-- something is wrong: 12 of 80 orders fail
SELECT count(meter_track('tenant-123', service => 'api', endpoint => '/api/orders', method => 'POST', latency_ms => 245,
	status => CASE WHEN i <= 12 THEN 500 ELSE 200 END, user_id => 'user-' || 1 + i % 4)) AS calls
FROM generate_series(1, 80) AS i;
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0 AS rolled_up;
-- GET /usage/health, which needs no login.  The background worker looks at it each
-- minute, and the call costs little enough for a load balancer.
SELECT h ->> 'status' AS status, jsonb_object_keys(h -> 'metrics') AS metric FROM meter_health() AS h ORDER BY metric;
-- GET /usage/system-metrics
SELECT active_endpoints > 0 AS endpoints, requests_per_minute > 0 AS requests, alerts_firing FROM meter_system_metrics();

-- and reports have become slow: 3 200 ms on average, where 3 000 is the threshold
SELECT count(meter_track('tenant-123', service => 'reports', endpoint => '/api/reports', method => 'GET', status => 200, latency_ms => 3200,
	user_id => 'user-2')) AS calls
FROM generate_series(1, 60);
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0 AS rolled_up;
-- Alerts, each once, as events of channel meter and for the application's pages
SELECT fired FROM meter_evaluate_alerts();
SELECT tenant, severity, title FROM meter.alert WHERE state = 'firing' ORDER BY tenant, threshold;
SELECT DISTINCT kind FROM meter.notification ORDER BY kind;
-- the incident was opened by that; somebody takes care of it
SELECT tenant, service, severity, status FROM meter.incident ORDER BY tenant, service;
SELECT meter_acknowledge(alert_id, 'ops@example.com', 'a database was slow') FROM meter.alert WHERE rule = 'error rate';

-- all is well again: 12 errors of 480
SELECT count(meter_track('tenant-123', service => 'api', endpoint => '/api/orders', method => 'POST', latency_ms => 120, status => 200,
	user_id => 'user-1')) AS calls
FROM generate_series(1, 400);
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0 AS rolled_up;
SELECT resolved FROM meter_evaluate_alerts();
SELECT u.n, u.kind, u.message FROM meter.incident AS i JOIN meter.incident_update AS u USING (incident_id) WHERE i.service = 'api' ORDER BY u.n;
SELECT meter_health() ->> 'status' AS status;

-- --- quotas --------------------------------------------------------------------

-- small-shop has used 960 of its 1 000 this month.
SELECT count(meter_track('small-shop', endpoint => '/api/users', method => 'GET', status => 200, latency_ms => 40, user_id => 'owner',
	at => GREATEST(date_trunc('month', now(), 'UTC'), now() - interval '1 hour'))) AS calls
FROM generate_series(1, 960);
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0 AS rolled_up;
-- GET /usage/quota
SELECT rule, "limit", used, remaining, percent, warning FROM meter_quota('small-shop');
-- GET /usage/rate-limit: what the next call would meet, without taking anything
SELECT (d).allowed, (d).rule, (d)."limit", (d).remaining, (d).quota_remaining, (d).warning FROM meter_check('small-shop', '*', 0) AS d;
-- who should be asked to upgrade, and to what
SELECT t.tenant, q.percent, (SELECT r.plan FROM meter.rate_limit AS r WHERE r.kind = 'window' AND r.tenant IS NULL AND r.max > q."limit" ORDER BY r.max LIMIT 1) AS next_plan
FROM meter.tenant AS t CROSS JOIN LATERAL meter_quota(t.tenant) AS q WHERE q.warning >= 80;
-- Each level is told of once.  There is an event of channel meter for it, too,
-- from which an application makes a prompt.
SELECT fired FROM meter_evaluate_alerts();
SELECT severity, title FROM meter.alert WHERE signal = 'quota' AND state = 'firing' ORDER BY threshold;
SELECT fired FROM meter_evaluate_alerts();

-- --- events for other services ---------------------------------------------------

-- api.health.degraded, api.quota.warning and their like are told on channel meter,
-- above.  api.usage.tracked is the log itself: a consumer locks its row, looks how
-- long the log is, reads what has come up to there, and notes that in the
-- transaction of what it does with it, so nothing is missed and nothing comes twice.
INSERT INTO meter.consumer (name) VALUES ('usage events');
BEGIN;
SELECT last_seq AS low FROM meter.consumer WHERE name = 'usage events' FOR UPDATE \gset
SELECT last_seq AS high FROM meter.log_position \gset
SELECT count(jsonb_build_object('event', 'api.usage.tracked', 'tenant', tenant, 'endpoint', endpoint, 'status', status, 'at', at)) AS events
FROM meter.event WHERE seq > :low AND seq <= :high;
UPDATE meter.consumer SET last_seq = :high, moved_at = now() WHERE name = 'usage events';
COMMIT;

-- --- what else it asks for --------------------------------------------------------

-- Bills: calls beyond those of the plan, so a price
INSERT INTO meter.price (price, plan, metric, model, params, included, unit) VALUES
	('API calls', 'starter', 'api_requests', 'per_unit', '{"unit_amount": "0.01"}', 300, 'call');
-- 310 in January, of which 300 are included
SELECT price, quantity, billed_quantity, amount FROM meter_bill('tenant-123', '2026-01-01') WHERE kind = 'usage';
-- Objectives: 99 % are to be answered; of the last 30 days' 480, 12 were not
INSERT INTO meter.slo (slo, tenant, service, target) VALUES ('orders answered', 'tenant-123', 'api', 99);
SELECT slo, requests, bad, good_percent, met FROM meter.slo_status;

-- what an application's pages show: meter_usage_stats() and its like, and meter_quota()
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;
\set SHOW_CONTEXT never

-- By hand.  acme on 1 March: 10:05 GET /a 200 (10 ms, ann, cost 1), 10:20 GET /a 500 (30 ms, bob), 11:00 POST /a 201 (20 ms, ann),
-- 11:30 GET /b 429, and tokens that cost 4; on 3 March GET /a 200 (40 ms, eve).  zeta: one of ann's on 1 March.
INSERT INTO meter.inbox (at, tenant, metric, service, endpoint, method, status, latency_ms, user_id, cost) VALUES
	('2026-03-01 10:05', 'acme', 'api_requests', 'web', '/a', 'GET', 200, 10, 'ann', 1),
	('2026-03-01 10:20', 'acme', 'api_requests', 'web', '/a', 'GET', 500, 30, 'bob', NULL),
	('2026-03-01 11:00', 'acme', 'api_requests', 'web', '/a', 'POST', 201, 20, 'ann', NULL),
	('2026-03-01 11:30', 'acme', 'api_requests', 'web', '/b', 'GET', 429, NULL, NULL, NULL),
	('2026-03-01 12:00', 'acme', 'tokens', 'llm', '/chat', 'POST', NULL, NULL, 'ann', 4),
	('2026-03-03 09:00', 'acme', 'api_requests', 'web', '/a', 'GET', 200, 40, 'eve', NULL),
	('2026-03-01 10:00', 'zeta', 'api_requests', 'web', '/a', 'GET', 200, 5, 'ann', NULL);
SELECT appended FROM meter_flush();

-- from the log as well as from the totals
CREATE VIEW answers AS
SELECT 1 AS n, 'day' AS by, s.* FROM meter_usage_stats('acme', '2026-03-01', '2026-03-04') AS s
UNION ALL SELECT 2, 'endpoint', s.* FROM meter_usage_stats('acme', '2026-03-01', '2026-03-04', group_by => 'endpoint') AS s
UNION ALL SELECT 3, 'service', s.* FROM meter_usage_stats('acme', '2026-03-01', '2026-03-04', group_by => 'service') AS s
UNION ALL SELECT 4, 'method', s.* FROM meter_usage_stats('acme', '2026-03-01', '2026-03-04', group_by => 'method') AS s
UNION ALL SELECT 5, 'total', s.* FROM meter_usage_stats('acme', '2026-03-01', '2026-03-04', group_by => 'total') AS s
UNION ALL SELECT 6, 'hour', s.* FROM meter_usage_stats('acme', '2026-03-01 10:00', '2026-03-01 13:00', group_by => 'hour') AS s;
CREATE TABLE before AS SELECT * FROM answers;
SELECT meter_rollup();
SELECT by, at, "group", requests, successes AS good, errors, refused, error_rate AS rate, cost, unique_users AS users, latency_avg AS avg, p50, p95 FROM answers
ORDER BY n, at, requests DESC, "group";
SELECT count(*) FROM (TABLE before EXCEPT ALL TABLE answers) AS lost;
-- of a user
SELECT u.user_id, g.by, s.at, s.requests, s.errors, s.refused, s.cost, s.unique_users FROM (VALUES ('ann'), ('nobody')) AS u(user_id)
CROSS JOIN (VALUES ('day'), ('total')) AS g(by)
CROSS JOIN LATERAL meter_usage_stats('acme', '2026-03-01', '2026-03-03', u.user_id, g.by) AS s ORDER BY u.user_id, g.by, s.at;
-- no hour begins in that time
SELECT count(*) FROM meter_usage_stats('acme', '2026-03-01 10:10', '2026-03-01 10:40', group_by => 'hour');
-- without any
SELECT at, requests, error_rate, cost, unique_users, p95 FROM meter_usage_stats('nobody', '2026-03-01', '2026-03-02', group_by => 'total');
SELECT count(*) FROM meter_usage_stats('nobody', '2026-03-01', '2026-03-02', group_by => 'endpoint');
-- days of the session's time zone: 10:05 UTC is 00:05 of the next day in Kiritimati
SET timezone = 'Pacific/Kiritimati';
SELECT at, requests FROM meter_usage_stats('acme', '2026-03-01', '2026-03-05');
SET timezone = 'UTC';

-- by the index, also where the tenant is not known before
PREPARE of_tenant (text) AS SELECT * FROM meter_usage_stats($1, '2026-03-01', '2026-03-04');
CREATE FUNCTION plan_lines() RETURNS SETOF text LANGUAGE plpgsql
AS $$BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) EXECUTE of_tenant(NULL)'; END$$;
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SELECT count(*) > 0 AS by_index FROM plan_lines() AS l WHERE l ~ 'Index Cond: .*tenant = \$1.*hour';
RESET enable_seqscan;
RESET plan_cache_mode;
DROP FUNCTION plan_lines();
DEALLOCATE of_tenant;

-- an endpoint, as it was called
SELECT service, method, requests, successes, errors, errors_4xx, errors_5xx, refused, error_rate, cost, unique_users, latency_avg, latency_min, latency_max, requests_per_hour,
	peak_hour, peak_requests, first_at, last_at
FROM meter_endpoint_analytics('acme', '/a?x=1', '2026-03-01', '2026-03-04') \gx
-- 2 requests in the one hour that begins in that time, and in two
SELECT method, requests, requests_per_hour FROM meter_endpoint_analytics('acme', '/a', '2026-03-01 10:00', '2026-03-01 10:30');
SELECT method, requests, requests_per_hour FROM meter_endpoint_analytics('acme', '/a', '2026-03-01 08:30', '2026-03-01 11:00');
SELECT method, requests FROM meter_endpoint_analytics(NULL, '/a', '2026-03-01', '2026-03-02');
SELECT count(*) FROM meter_endpoint_analytics('acme', '/none', '2026-03-01', '2026-03-04');
-- and as it is, where it was recorded so, and none
SET meter.normalize_endpoints = off;
SELECT meter_track('raw', endpoint => e, at => '2026-03-05') FROM unnest(ARRAY['/users/42', '/users/43', NULL]) AS e;
RESET meter.normalize_endpoints;
SELECT appended FROM meter_flush();
SELECT e, requests FROM unnest(ARRAY['/users/42', '/users/:id', NULL]) AS e CROSS JOIN LATERAL meter_endpoint_analytics('raw', e, '2026-03-05', '2026-03-06');

-- users: ann has 2 requests and costs of 5, the others one
SELECT * FROM meter_top_users('2026-03-01', '2026-03-04', 'acme');
SELECT rank, tenant, user_id, requests FROM meter_top_users('2026-03-01', '2026-03-04', "limit" => 2);
SELECT count(*) FROM meter_top_users('2026-03-01', '2026-03-04', NULL, NULL);
SELECT user_id FROM meter_top_users('2026-03-02', '2026-03-03 09:00');

-- the platform: 20 requests of the last minutes, of which 5 were refused and 3 of the 15 others failed, 2 of these by the server
SELECT count(meter_track('acme', service => 'web', endpoint => '/x' || i % 2, method => 'GET', latency_ms => 100, cost => 0.5,
	status => CASE WHEN i <= 5 THEN 429 WHEN i <= 7 THEN 500 WHEN i = 8 THEN 404 ELSE 200 END)) FROM generate_series(1, 20) AS i;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT requests_per_minute, error_rate, server_error_rate, refused_rate, latency_avg, active_endpoints, queue_bytes, alerts_firing, incidents_open FROM meter_system_metrics();
-- of today, unless midnight has come between
SELECT (tenants_today, requests_today, cost_today) IN ((1, 20, 10.0), (0, 0, NULL)) AS today FROM meter_system_metrics();

-- quotas
INSERT INTO meter.plan (plan, multiplier) VALUES ('double', 2);
INSERT INTO meter.tenant (tenant, plan, time_zone) VALUES ('quo', 'double', 'UTC');
INSERT INTO meter.rate_limit (tenant, resource, unit, per, max, kind, per_user, mode) VALUES
	(NULL, '*', 'requests', 'day', 10, 'window', false, 'enforce'), ('quo', 'openai', 'requests', 'day', 4, 'window', false, 'soft'),
	('quo', '*', 'cost', 'month', 8, 'window', false, 'enforce'), ('quo', '*', 'requests', 'month', 5, 'window', true, 'enforce'),
	('quo', 'POST /free*', 'requests', 'day', NULL, 'window', false, 'enforce'), ('quo', '*', 'requests', 'minute', 100, 'bucket', false, 'enforce'),
	('other', '*', 'requests', 'month', 7, 'window', false, 'enforce'), ('quo', 'off', 'requests', 'day', 0, 'window', false, 'shadow');
CREATE VIEW quotas AS SELECT rule, unit, per_user, mode, "limit", used, remaining, percent, warning FROM meter_quota('quo');
SELECT * FROM quotas ORDER BY rule;
-- 2 for openai, 1 of ann's, 1 free: those of * are ann's one only, as the two others have rules of their own
SELECT (meter_check('quo', 'openai', 3)).allowed, (meter_check('quo', 'openai', 3)).allowed, (meter_check('quo', '/x', 0.5, 'ann')).allowed,
	(meter_check('quo', 'POST /free/1')).allowed;
SELECT * FROM quotas ORDER BY rule;
SELECT rule, "limit", used FROM meter_quota('quo', 'ann') WHERE per_user;
SELECT rule, "limit", used FROM meter_quota('quo', 'bob') WHERE per_user;
-- it is what the next call meets, also of what was tracked before there was a rule
SELECT q.remaining = d.quota_remaining AND q.reset_at = d.quota_reset FROM meter_check('other', '*', 0) AS d JOIN meter_quota('other') AS q ON q.rule = d.quota_rule;
SELECT rule FROM meter_quota('new') ORDER BY rule;
-- asking takes nothing
SELECT sum(used) FROM meter_quota('new');
-- a budget that refuses all calls changes none of it
CREATE TEMP TABLE quota_before AS SELECT * FROM quotas;
INSERT INTO meter.budget (tenant, amount, hard_limit) VALUES ('quo', 1, true);
INSERT INTO meter.inbox (tenant, cost) VALUES ('quo', 2);
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0;
SELECT allowed, reason FROM meter_check('quo', 'openai', 0);
SELECT count(*), count(b.rule) AS same FROM quotas AS q LEFT JOIN quota_before AS b ON q IS NOT DISTINCT FROM b;
-- nor does it keep limits from being set back
SELECT meter_reset_limit('quo', 'openai') AS rules;
SELECT used FROM quotas WHERE rule LIKE '%openai%';
DELETE FROM meter.budget;

-- who may
CREATE ROLE regress_stats_app;
CREATE ROLE regress_stats_analyst;
SELECT meter_grant('regress_stats_app', 'app'), meter_grant('regress_stats_analyst', 'analyst');
SET ROLE regress_stats_app;
SELECT count(*) FROM meter_quota('quo');
SELECT meter_usage_stats('acme', '2026-03-01', '2026-03-04');
SET ROLE regress_stats_analyst;
SELECT count(*) FROM meter_quota('quo');
SELECT count(*) FROM meter_usage_stats('acme', '2026-03-01', '2026-03-04');
SELECT count(*) FROM meter_endpoint_analytics('acme', '/a', '2026-03-01', '2026-03-04');
SELECT count(*) FROM meter_top_users('2026-03-01', '2026-03-04');
SELECT count(*) FROM meter_system_metrics();
RESET ROLE;

-- without steps, any time is short enough
SELECT count(*) FROM meter_usage_stats('acme', '0001-01-01', '20000-01-01', group_by => 'total');
SELECT count(*) FROM meter_usage_stats('nobody', '4714-11-24 00:00Z BC', '294276-12-31 23:00Z', group_by => 'endpoint');

-- what is refused
SELECT meter_usage_stats(NULL, '2026-03-01', '2026-03-04');
SELECT meter_usage_stats('acme', '2026-03-01', '2026-03-04', group_by => NULL);
SELECT meter_usage_stats('acme', '2026-03-01', '2026-03-04', group_by => 'year');
SELECT meter_usage_stats('acme', '2026-03-01', '2026-03-04', 'ann', 'endpoint');
SELECT meter_usage_stats('acme', '2026-03-04', '2026-03-01');
SELECT meter_usage_stats('acme', NULL, '2026-03-01', group_by => 'total');
SELECT meter_endpoint_analytics('acme', '/a', 'infinity', '2026-03-01');
SELECT meter_endpoint_analytics('acme', '/a', '2026-03-01', '2026-03-01');
SELECT meter_top_users('2026-03-04', '2026-03-01');
SELECT meter_top_users('2026-03-01', '2026-03-04', "limit" => -1);
SELECT meter_quota(NULL);
SELECT meter_quota('');
SELECT meter_quota('acme', repeat('x', 129));

DROP VIEW quotas, answers;
DROP TABLE before;
DROP OWNED BY regress_stats_app, regress_stats_analyst;
DROP ROLE regress_stats_app, regress_stats_analyst;

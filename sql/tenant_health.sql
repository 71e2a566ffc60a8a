-- how well tenants are, and who may be about to leave
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'America/Los_Angeles';
SET meter.retention = 0;

-- Nothing is known yet.
SELECT count(*) FROM meter.tenant_health;

INSERT INTO meter.metric (metric, kind) VALUES ('storage_gb', 'gauge');
INSERT INTO meter.tenant (tenant, created_at, status) VALUES ('good', '2026-01-01', 'active'), ('held', '2026-01-01', 'suspended'),
	('left', '2026-01-01', 'cancelled'), ('never', '2026-01-01', 'active'), ('new', '2026-04-08', 'active'), ('not yet', '2026-05-01', 'active');
-- As of 10 April 12:30 the last 7 days are those from 3 April 13:00 on.  Requests by week, the last one first.
CREATE TABLE plan_of (tenant text, weeks int[]);
INSERT INTO plan_of VALUES ('good', '{100,100,100,100,100}'), ('held', '{100,100,100,100,100}'), ('left', '{100,100,100,100,100}'),
	('fall', '{80,200,200,200,200}'), ('dip', '{140,200,200,200,200}'), ('noise', '{14,20,20,20,20}'),
	('waves', '{100,200,100,200,100}'), ('silent', '{0,50,50,50,50}'), ('sparse', '{0,1,1,1,1}'), ('idle', '{0,0,0,0,5}'),
	-- began late in a week, with less: does not count, so that a fall to less than that is not awaited
	('begun', '{40,100,100,100,8}'), ('begun later', '{40,100,100,8}'), ('whole', '{40,100,100,8}'), ('just begun', '{0,9}'),
	('fresh', '{30}'), ('young', '{10,30}'), ('back', '{40,10,0,10}'), ('dirty', '{90}');
INSERT INTO meter.inbox (at, tenant, status, latency_ms)
SELECT timestamptz '2026-04-08 10:00+00' - (i - 1) * interval '7 days', p.tenant, 200, 100
FROM plan_of AS p, unnest(p.weeks) WITH ORDINALITY AS w (n, i), generate_series(1, w.n)
-- 11 of 200 failed: 5.5 %, half way from 1 to 10: 15 of 30 points
UNION ALL SELECT '2026-04-08 10:00+00', 'errors', CASE WHEN i <= 11 THEN 500 ELSE 200 END, 100 FROM generate_series(1, 200) AS i
-- 10 of 100 were refused, 10 %: 15 points; 9 of the other 90 failed, 10 %: 30 points
UNION ALL SELECT '2026-04-08 10:00+00', 'mixed', CASE WHEN i <= 10 THEN 429 WHEN i <= 19 THEN 404 ELSE 200 END, 100 FROM generate_series(1, 100) AS i
-- 4400 ms, 4 fifths of the way from 2000 to 5000: 12 of 15 points
UNION ALL SELECT '2026-04-08 10:00+00', 'slow', 200, 4400 FROM generate_series(1, 50) AS i
-- of 30 requests, 19 latencies are too few to say
UNION ALL SELECT '2026-04-08 10:00+00', 'untimed', 200, CASE WHEN i <= 19 THEN 9000 END FROM generate_series(1, 30) AS i
-- too few to say
UNION ALL SELECT '2026-04-08 10:00+00', 'few', 500, 9000 FROM generate_series(1, 19) AS i
-- everything: 10 of 40 refused, 15 of 30 failed, 6 s, down by 80 %, violations: 15 + 30 + 15 + 30 + 20 = 110 points
UNION ALL SELECT '2026-04-08 10:00+00', 'bad', CASE WHEN i <= 10 THEN 429 WHEN i <= 25 THEN 500 ELSE 200 END, 6000 FROM generate_series(1, 40) AS i
UNION ALL SELECT timestamptz '2026-04-01 10:00+00' - i % 4 * interval '7 days', 'bad', 200, 100 FROM generate_series(1, 800) AS i
-- the first day of a week, and the hour after it
UNION ALL SELECT '2026-03-14 12:59+00', 'whole', 200, 100
UNION ALL SELECT '2026-03-14 13:00+00', 'begun later', 200, 100
-- at the edges, hours of which clocks were changed between: 2 in the last 7 days, and 1, 0, 0 and 1 in the weeks before
UNION ALL SELECT t, 'edge', 200, 100 FROM (VALUES (timestamptz '2026-04-10 12:59+00'), ('2026-04-10 13:00+00'), ('2026-04-03 13:00+00'),
	('2026-04-03 12:59:59.999999+00'), ('2026-03-06 13:00+00'), ('2026-03-06 12:59+00')) AS e (t);
INSERT INTO meter.inbox (at, tenant, metric, quantity)
SELECT timestamptz '2026-04-08 10:00+00', 'tokens only', 'tokens', 1000 FROM generate_series(1, 3)
UNION ALL SELECT '2026-04-08 10:00+00', 'gauge only', 'storage_gb', 7;
SELECT * FROM meter_flush();
SELECT meter_rollup();
-- 10 of 100 events of dirty were rejected: 10 %, 10 points
INSERT INTO meter.rejected_event (rejected_at, source, sqlstate, reason, tenant, event)
SELECT t, 'batch', '22023', 'bad', 'dirty', '{}' FROM generate_series(1, 10), (VALUES (timestamptz '2026-04-09 00:00+00')) AS v (t)
UNION ALL VALUES (timestamptz '2026-04-03 12:30+00', 'batch', '22023', 'bad', 'dirty', '{}'::jsonb), ('2026-04-10 12:31+00', 'batch', '22023', 'bad', 'dirty', '{}');
INSERT INTO meter.isolation_violation (at, tenant, foreign_tenant, command, refused)
VALUES ('2026-04-09 00:00+00', 'bad', 'good', 'SELECT', true), ('2026-04-09 00:00+00', 'bad', 'good', 'SELECT', true), ('2026-04-01 00:00+00', 'good', 'bad', 'SELECT', true);

SELECT tenant, score, status, churn_risk, requests, error_rate AS errors, refused_rate AS refused, latency_p95 AS p95, rejected, violations,
	week_events AS week, normal_events AS normal, change_percent AS change, last_event_at AT TIME ZONE 'UTC' AS last_event
FROM meter.tenant_health('2026-04-10 12:30+00') ORDER BY tenant;
SELECT h.tenant, r ->> 'reason' AS reason, r ->> 'points' AS points, r ->> 'value' AS value, r ->> 'message' AS message
FROM meter.tenant_health('2026-04-10 12:30+00') AS h, jsonb_array_elements(h.reasons) WITH ORDINALITY AS r (r, n) ORDER BY tenant, n;
SELECT bool_and(h.score = greatest(0, 100 - COALESCE((SELECT sum((r ->> 'points')::int) FROM jsonb_array_elements(h.reasons) AS r), 0))) AS adds_up
FROM meter.tenant_health('2026-04-10 12:30+00') AS h;
-- against raw events
SELECT count(*), bool_and(h.week_events = e.events AND h.requests = e.requests) AS same
FROM meter.tenant_health('2026-04-10 12:30+00') AS h
JOIN (SELECT tenant, count(*) FILTER (WHERE at >= '2026-04-03 13:00+00') AS events,
		count(*) FILTER (WHERE at >= '2026-04-03 13:00+00' AND metric = 'api_requests') AS requests
	FROM meter.event WHERE metric <> 'storage_gb' AND at < '2026-04-10 13:00+00' GROUP BY tenant) AS e ON e.tenant = h.tenant;
-- a week later who has stopped is at risk; who is 35 days gone and unknown, is gone
SELECT tenant, churn_risk, week_events AS week, normal_events AS normal FROM meter.tenant_health('2026-04-17 12:30+00')
WHERE tenant IN ('good', 'young', 'sparse', 'idle', 'new', 'noise') ORDER BY tenant;
SELECT tenant, score, churn_risk, reasons #>> '{0,message}' AS reason FROM meter.tenant_health('2026-06-17 12:30+00') ORDER BY tenant;

-- Who may: not a tenant.
CREATE ROLE regress_tenant_health;
SELECT meter_grant('regress_tenant_health', 'tenant');
SET ROLE regress_tenant_health;
SELECT count(*) FROM meter.tenant_health;
SELECT count(*) FROM meter.tenant_health('2026-04-10 12:30+00');
RESET ROLE;
SELECT meter_grant('regress_tenant_health', 'analyst');
SET ROLE regress_tenant_health;
SELECT count(*) FROM meter.tenant_health('2026-04-10 12:30+00');
SELECT count(*) > 0 FROM meter.tenant_health;
SELECT meter_set_tenant('good');
SELECT tenant, score FROM meter.tenant_health('2026-04-10 12:30+00');
SELECT meter_set_tenant(NULL);
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_tenant_health;
DROP ROLE regress_tenant_health;
DROP TABLE plan_of;

-- growth of requests and tenants, and who has too much or too little
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'America/Los_Angeles';
SET meter.retention = 0;

-- Nothing is known yet.
SELECT * FROM meter.request_growth;
SELECT * FROM meter.tenant_growth;
SELECT * FROM meter.provisioning;

-- acme calls twice a day in January, 3 times in February and March, 4 times in April, each at midnight UTC, and 5 times
-- more on 10 April at 06:10; gap in January and April, stopped in February, march in March, fresh on 10 April at 06:20.
INSERT INTO meter.metric (metric, kind, dimensions) VALUES ('storage_gb', 'gauge', '{}'), ('tokens', 'counter', '{}');
INSERT INTO meter.inbox (at, tenant)
SELECT d, 'acme' FROM (VALUES (timestamptz '2026-01-01 00:00+00', 31, 2), ('2026-02-01 00:00+00', 28, 3),
		('2026-03-01 00:00+00', 31, 3), ('2026-04-01 00:00+00', 10, 4)) AS m (first, days, times),
	generate_series(0, days - 1) AS i, generate_series(1, times), LATERAL (SELECT first + i * interval '24 hours' AS d) AS d
UNION ALL SELECT '2026-04-10 06:10+00', 'acme' FROM generate_series(1, 5)
UNION ALL SELECT '2026-01-15 12:00+00', 'gap' FROM generate_series(1, 10)
UNION ALL SELECT '2026-04-01 12:00+00', 'gap' FROM generate_series(1, 5)
UNION ALL SELECT '2026-02-20 12:00+00', 'stopped' FROM generate_series(1, 8)
UNION ALL SELECT '2026-03-05 12:00+00', 'march' FROM generate_series(1, 6)
UNION ALL SELECT '2026-03-20 12:00+00', 'march' FROM generate_series(1, 4)
UNION ALL SELECT '2026-04-10 06:20+00', 'fresh';
-- of other metrics: a tenant, but no request; a gauge, which is neither
INSERT INTO meter.inbox (at, tenant, metric, quantity) VALUES
	('2026-03-20 12:00+00', 'llm', 'tokens', 100), ('2026-03-20 12:00+00', 'sampled', 'storage_gb', 7);
SELECT * FROM meter_flush();
SELECT meter_rollup();

-- January: 62 in 31 days. February: 84, against 62 35.48 % more, and by day 3 against 2. March: 93 against 84, by day
-- the same. April is not over: in its first 222 hours 40, 40 / 9.25 = 4.32 by day, and in those of March 30.
SELECT * FROM meter.request_growth('2026-04-10 06:30+00') WHERE tenant = 'acme' ORDER BY month;
SELECT * FROM meter.request_growth('2026-04-10 06:30+00') WHERE tenant <> 'acme' ORDER BY tenant, month;
-- two months, the first of which knows the one before
SELECT * FROM meter.request_growth('2026-04-10 06:30+00', 2) WHERE tenant = 'acme' ORDER BY month;
-- in a month's first hour there is nothing to compare yet
SELECT * FROM meter.request_growth('2026-04-01 00:30+00', 1) WHERE tenant = 'acme';
-- after 30.5 days of March, all of February: 93 against 84, by day 93 / 30.5 against 3: 1.64 % more
SELECT * FROM meter.request_growth('2026-03-31 12:00+00', 1) WHERE tenant = 'acme';
-- the month is UTC's
SELECT month, requests FROM meter.request_growth('2026-03-31 18:30-07', 1) WHERE tenant = 'acme';
SELECT count(*) FROM meter.request_growth('2026-04-10 06:30+00', 0);

-- January: acme, gap. February: acme, stopped. March: acme, march, llm. April: acme, gap, fresh; before 06:00 on the
-- 10th acme and gap, against acme and march in as many hours of March.
SELECT * FROM meter.tenant_growth('2026-04-10 06:30+00') ORDER BY month;
-- after March, llm and march are lost
SELECT * FROM meter.tenant_growth('2026-05-01 00:00+00', 2) ORDER BY month;
-- against plain SQL over raw events
WITH active AS (
	SELECT DISTINCT date_trunc('month', at AT TIME ZONE 'UTC')::date AS month, tenant FROM meter.event WHERE metric <> 'storage_gb'
)
SELECT count(*), bool_and(g.active_tenants = (SELECT count(*) FROM active AS a WHERE a.month = g.month)
	AND g.lost_tenants IS NOT DISTINCT FROM (SELECT count(*) FROM active AS a WHERE a.month = g.month - interval '1 month'
		AND NOT EXISTS (SELECT FROM active AS b WHERE b.tenant = a.tenant AND b.month = g.month))) AS same
FROM meter.tenant_growth('2026-05-20 00:00+00') AS g WHERE g.complete;

-- Bad limits.
\set VERBOSITY terse
INSERT INTO meter.gauge_limit (metric) VALUES ('memory_gb');
INSERT INTO meter.gauge_limit (metric, max, max_metric) VALUES ('memory_gb', 1, 'memory_max_gb');
INSERT INTO meter.gauge_limit (metric, max_metric) VALUES ('memory_gb', 'memory_gb');
INSERT INTO meter.gauge_limit (metric, max) VALUES ('memory_gb', 0);
INSERT INTO meter.gauge_limit (metric, max) VALUES ('memory_gb', 'NaN');
INSERT INTO meter.gauge_limit (metric, max) VALUES ('', 1);
INSERT INTO meter.gauge_limit (metric, tenant, max) VALUES ('memory_gb', '', 1);
INSERT INTO meter.plan (plan) VALUES ('pro');
INSERT INTO meter.gauge_limit (metric, plan, max) VALUES ('memory_gb', 'unknown', 1);
INSERT INTO meter.gauge_limit (metric, plan, tenant, max) VALUES ('memory_gb', 'pro', 'acme', 1);
INSERT INTO meter.gauge_limit (metric, max, low_percent) VALUES ('memory_gb', 1, 80);
INSERT INTO meter.gauge_limit (metric, max, high_percent) VALUES ('memory_gb', 1, 'NaN');
INSERT INTO meter.gauge_limit (metric, max) VALUES ('memory_gb', 1), ('memory_gb', 2);
\set VERBOSITY default

-- Of a counter, and of what is not there yet.
BEGIN;
INSERT INTO meter.metric (metric, kind) VALUES ('bytes_sent', 'counter'), ('memory_gb', 'gauge');
INSERT INTO meter.gauge_limit (metric, max) VALUES ('bytes_sent', 1);
INSERT INTO meter.gauge_limit (metric, max_metric) VALUES ('memory_gb', 'memory_limit_gb');
ROLLBACK;

-- Levels, worked by hand for the seven days from 3 April 00:00 on: 168 hours.
INSERT INTO meter.metric (metric, kind, unit, dimensions) VALUES ('memory_gb', 'gauge', 'GB', '{host}'),
	('cpu', 'gauge', 'core', '{}'), ('cpu_max', 'gauge', 'core', '{}'), ('unlimited', 'gauge', NULL, '{}');
INSERT INTO meter.gauge_limit (metric, plan, tenant, max, low_percent) VALUES
	('memory_gb', NULL, NULL, 10, 30), ('memory_gb', 'pro', NULL, 20, 30), ('memory_gb', NULL, 'own', 4, 20);
INSERT INTO meter.gauge_limit (metric, max_metric) VALUES ('cpu', 'cpu_max');
INSERT INTO meter.tenant (tenant, plan) VALUES ('on pro', 'pro'), ('own', 'pro');
INSERT INTO meter.inbox (at, tenant, metric, quantity, metadata) VALUES
	-- 2 on host a, and 4 on host b for half of the time: 4 of 10, and at most 6
	('2026-03-01 10:00+00', 'acme', 'memory_gb', 2, '{"host": "a"}'),
	('2026-04-03 00:00+00', 'acme', 'memory_gb', 4, '{"host": "b"}'),
	('2026-04-06 12:00+00', 'acme', 'memory_gb', 0, '{"host": "b"}'),
	-- 1 of 10
	('2026-03-31 23:59+00', 'low', 'memory_gb', 1, NULL),
	-- 1 of 10, and 9 for an hour: 1 + 8 / 168 = 1.0476
	('2026-03-01 10:00+00', 'bursty', 'memory_gb', 1, NULL),
	('2026-04-05 12:00+00', 'bursty', 'memory_gb', 9, NULL),
	('2026-04-05 13:00+00', 'bursty', 'memory_gb', 1, NULL),
	('2026-03-01 10:00+00', 'high', 'memory_gb', 9, NULL),
	-- of 20 with the plan; of 4 with a limit of its own, which counts as low below 20 %
	('2026-03-01 10:00+00', 'on pro', 'memory_gb', 9, NULL),
	('2026-03-01 10:00+00', 'own', 'memory_gb', 1, NULL),
	-- not for a day yet
	('2026-04-09 12:00+00', 'recent', 'memory_gb', 9, NULL),
	-- 5 from 00:30 on and 3 more from 00:45 on: 11700 in the 1800 seconds of the first hour, then 8 for 47 hours:
	-- (11700 + 8 * 169200) / 171000 = 7.9842, in 47.5 hours
	('2026-04-08 00:30+00', 'begun', 'memory_gb', 5, '{"host": "a"}'),
	('2026-04-08 00:45+00', 'begun', 'memory_gb', 3, '{"host": "b"}'),
	-- 3 of 4, and of 12 in the second half: 3 of 8 = 37.5 %, at most 75 %
	('2026-03-20 00:00+00', 'paired', 'cpu', 3, NULL),
	('2026-03-20 00:00+00', 'paired', 'cpu_max', 4, NULL),
	('2026-04-06 12:00+00', 'paired', 'cpu_max', 12, NULL),
	-- without the other gauge, or with it on the last day only, or with a limit of 0
	('2026-03-20 00:00+00', 'unpaired', 'cpu', 3, NULL),
	('2026-03-20 00:00+00', 'late pair', 'cpu', 3, NULL),
	('2026-04-09 00:00+00', 'late pair', 'cpu_max', 3, NULL),
	('2026-03-20 00:00+00', 'zero pair', 'cpu', 3, NULL),
	('2026-03-20 00:00+00', 'zero pair', 'cpu_max', 0, NULL),
	('2026-03-20 00:00+00', 'acme', 'unlimited', 3, NULL),
	-- after it
	('2026-04-10 00:00+00', 'low', 'memory_gb', 100, NULL), ('2026-04-10 00:00+00', 'after', 'memory_gb', 1, NULL);
SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM meter.provisioning('2026-04-10 00:00+00') ORDER BY metric, tenant;
-- an hour later low has had 1 for 167 hours and 100 for 1: 267 / 168
SELECT * FROM meter.provisioning('2026-04-10 01:00+00') WHERE tenant = 'low';
-- whoever is gone does not keep his last level
BEGIN;
UPDATE meter.tenant SET status = 'cancelled' WHERE tenant = 'own';
SELECT tenant FROM meter.provisioning('2026-04-10 00:00+00') WHERE tenant IN ('own', 'on pro');
ROLLBACK;
-- the same levels as those of meter.gauge_level
SELECT count(*), bool_and(l.level_seconds = g.level_seconds AND l.seconds = g.seconds) AS same
FROM meter.gauge_load(ARRAY['memory_gb', 'cpu', 'cpu_max'], '2026-04-03 00:00+00', '2026-04-10 00:00+00') AS l
FULL JOIN (
	SELECT tenant, metric, hour, max(seconds) AS seconds, sum(level_seconds) AS level_seconds FROM meter.gauge_level
	WHERE metric <> 'unlimited' AND metric <> 'storage_gb' AND hour >= '2026-04-03 00:00+00' AND hour < '2026-04-10 00:00+00'
	GROUP BY tenant, metric, hour) AS g ON g.tenant = l.tenant AND g.metric = l.metric AND g.hour = l.hour;
-- from the first half of an hour to its last sample, too
SELECT metric, hour AT TIME ZONE 'UTC' AS hour, seconds, level_seconds
FROM meter.gauge_load(ARRAY['memory_gb'], '2026-04-08 00:00+00', '2026-04-08 02:00+00') WHERE tenant = 'begun' ORDER BY hour;

-- Who may; a tenant sees its own.
CREATE ROLE regress_capacity_analyst;
CREATE ROLE regress_capacity_tenant;
SELECT meter_grant('regress_capacity_analyst', 'analyst');
SELECT meter_grant('regress_capacity_tenant', 'tenant');
INSERT INTO meter.tenant (tenant, role_name) VALUES ('gap', 'regress_capacity_tenant');
SET ROLE regress_capacity_analyst;
SELECT count(*) FROM meter.request_growth('2026-04-10 06:30+00');
SELECT count(*) FROM meter.tenant_growth('2026-04-10 06:30+00');
SELECT count(*) FROM meter.provisioning('2026-04-10 00:00+00');
SELECT count(*) >= 0 FROM meter.request_growth, meter.tenant_growth, meter.provisioning;
INSERT INTO meter.gauge_limit (metric, max) VALUES ('x', 1);
RESET ROLE;
SET ROLE regress_capacity_tenant;
SELECT tenant, month, requests FROM meter.request_growth('2026-04-10 06:30+00') ORDER BY month;
SELECT count(*) FROM meter.tenant_growth;
SELECT count(*) FROM meter.provisioning;
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_capacity_analyst, regress_capacity_tenant;
DELETE FROM meter.tenant WHERE tenant = 'gap';
DROP ROLE regress_capacity_analyst, regress_capacity_tenant;

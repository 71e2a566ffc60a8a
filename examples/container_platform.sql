-- container_platform.sql: containers metered every five minutes, with budgets
--
-- Run it in a database of its own:
--
--	createdb containers
--	psql -d containers -c 'CREATE EXTENSION meter CASCADE' -f container_platform.sql
--
-- A platform runs the containers of teams' projects. A collector asks the cloud
-- every five minutes what each project has used; here it is made up. Each project
-- is a tenant. It pays for CPU, memory, egress and requests, and has a budget,
-- of which its team is told at 80 and at 100 %. Nothing is ever suspended.

-- the months are past, and stay so; for the background worker, too
SET meter.retention = 0;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET meter.retention = 0', current_database()); END $$;
SET timezone = 'UTC';

-- --- what is metered ----------------------------------------------------------

-- CPU-seconds, egress and requests add up. Memory is a level: each sample holds
-- until the next one.
INSERT INTO meter.metric (metric, kind, unit, description) VALUES
	('cpu_seconds', 'counter', 's', 'vCPU time of all tasks'),
	('memory_gb', 'gauge', 'GB', 'memory of all tasks'),
	('egress_gb', 'counter', 'GB', 'outbound transfer'),
	('api_requests', 'counter', 'request', 'requests through the load balancer')
ON CONFLICT (metric) DO UPDATE SET unit = EXCLUDED.unit, description = EXCLUDED.description;

INSERT INTO meter.tenant (tenant, started_on) VALUES ('web', '2026-08-01'), ('batch', '2026-08-01');

-- $0.05 for a vCPU-hour, $0.005 for a GB-hour of memory, $0.09 for a GB of
-- egress, $0.40 for a million requests
INSERT INTO meter.price (price, metric, aggregation, model, params, divisor, unit) VALUES
	('CPU', 'cpu_seconds', 'sum', 'per_unit', '{"unit_amount": "0.05"}', 3600, 'vCPU-hour'),
	('Memory', 'memory_gb', 'time_weighted', 'per_unit', '{"unit_amount": "0.005"}', 1, 'GB-hour'),
	('Egress', 'egress_gb', 'sum', 'per_unit', '{"unit_amount": "0.09"}', 1, 'GB'),
	('Requests', 'api_requests', 'sum', 'per_unit', '{"unit_amount": "0.40"}', 1000000, 'million requests');

-- --- a month of samples: September --------------------------------------------

-- web: 2 vCPUs half busy and 4 GB all month, in each five minutes 300 s of CPU,
-- 0.01 GB of egress and 2 500 requests. batch: 8 vCPUs and 16 GB from midnight to
-- 2 o'clock, 2 400 s of CPU in each five minutes, and no memory otherwise.
-- September has 8 640 times five minutes, 720 of them are batch's.
SELECT count(meter_track(v.tenant, v.metric, v.quantity, at => s.at)) AS samples
FROM generate_series(timestamptz '2026-09-01', '2026-09-30 23:55', interval '5 minutes') AS s(at)
CROSS JOIN LATERAL (SELECT extract(hour FROM s.at) < 2 AS is_night) AS n
CROSS JOIN LATERAL (VALUES
	('web', 'cpu_seconds', 300), ('web', 'memory_gb', 4), ('web', 'egress_gb', 0.01), ('web', 'api_requests', 2500),
	('batch', 'cpu_seconds', CASE WHEN n.is_night THEN 2400 END),
	('batch', 'memory_gb', CASE WHEN n.is_night THEN 16 ELSE 0 END)
) AS v(tenant, metric, quantity)
WHERE v.quantity IS NOT NULL;
-- and nothing any more
SELECT count(meter_track(v.tenant, 'memory_gb', 0, at => '2026-10-01')) FROM (VALUES ('web'), ('batch')) AS v(tenant);
SELECT appended FROM meter_flush();
SELECT meter_rollup();

-- Usage by day, as the page of a project shows it
SELECT day, metric, quantity, round(time_weighted, 2) AS average, round(unit_hours, 2) AS unit_hours
FROM meter.usage_daily WHERE tenant = 'batch' AND day = '2026-09-10' ORDER BY metric;

-- The bills, worked out by hand:
--
--	            web                                     batch
--	CPU         8 640 * 300 / 3 600 = 720 h  36.00      720 * 2 400 / 3 600 = 480 h    24.00
--	Memory      720 h * 4 GB = 2 880         14.40      30 * 2 h * 16 GB = 960          4.80
--	Egress      8 640 * 0.01 = 86.4           7.776
--	Requests    8 640 * 2 500 = 21.6 million  8.64
--	total                                    66.82 (7.78 for egress)                   28.80
CALL meter_close_month('2026-09-01');
SELECT tenant, price, billed_quantity, unit, amount FROM meter.bill_line WHERE amount <> 0 ORDER BY tenant, price;
SELECT tenant, total FROM meter.bill ORDER BY tenant;

-- --- budgets --------------------------------------------------------------------

-- By what the project pays, 100 a month unless it has set another. hard_limit is
-- false: services go on, whatever is spent, and people decide.
INSERT INTO meter.budget (tenant, amount, basis, thresholds, description) VALUES
	('web', 100, 'charge', '{80,100}', 'default limit'),
	('batch', 40, 'charge', '{80,100}', 'set by the team');

-- This month so far: web has used 1 200 vCPU-hours (60) and 283 GB of egress
-- (25.47); batch 900 vCPU-hours (45).
SELECT meter_track('web', 'cpu_seconds', 1200 * 3600), meter_track('web', 'egress_gb', 283), meter_track('batch', 'cpu_seconds', 900 * 3600);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT meter_refresh_budgets();

-- What GET /projects/:id/budget answers
SELECT jsonb_pretty(jsonb_build_object('projectId', tenant, 'used', round(spent, 2), 'limit', amount,
	'remaining', round(remaining, 2), 'percentUsed', round(percent, 1), 'status', status, 'suspended', blocked,
	'breakdown', breakdown))
FROM meter.budget_status WHERE tenant = 'web';

-- The background worker evaluates alerts each minute. web is warned at 80 %; batch
-- has passed 80 and 100 %.
SELECT fired FROM meter_evaluate_alerts();
SELECT tenant, severity, title FROM meter.alert WHERE signal = 'budget' AND state = 'firing' ORDER BY tenant, threshold;
SELECT tenant, severity, kind, title FROM meter.notification ORDER BY tenant, title;

-- Looking again tells nothing twice. What somebody has read is not new any more.
SELECT fired FROM meter_evaluate_alerts();
SELECT count(meter_mark_read(notification_id)) AS read FROM meter.notification WHERE tenant = 'web';
SELECT tenant, count(*) AS unread FROM meter.notification WHERE read_at IS NULL GROUP BY tenant;

-- Nothing is suspended.
SELECT tenant, meter_allow(tenant) AS goes_on FROM meter.tenant ORDER BY tenant;

-- The team of batch raises its budget: the alerts are over.
UPDATE meter.budget SET amount = 200 WHERE tenant = 'batch';
SELECT resolved FROM meter_evaluate_alerts();
SELECT tenant, threshold, state, reason FROM meter.alert WHERE signal = 'budget' ORDER BY tenant, threshold;

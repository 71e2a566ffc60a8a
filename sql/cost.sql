-- Costs by component, and margins
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

-- Nothing at all.
SELECT * FROM meter.cost_allocation;
SELECT * FROM meter.cost_margin;
SELECT count(*) FROM meter.cost(NULL);

-- Bad rates.
\set VERBOSITY terse
INSERT INTO meter.cost_rate (component, metric, rate) VALUES ('', 'm', 1);
INSERT INTO meter.cost_rate (component, metric, rate) VALUES ('c', E'm\n', 1);
INSERT INTO meter.cost_rate (component, metric, rate) VALUES ('c', 'm', -1);
INSERT INTO meter.cost_rate (component, metric, rate) VALUES ('c', 'm', 'NaN');
INSERT INTO meter.cost_rate (component, metric, rate, divisor) VALUES ('c', 'm', 1, 0);
INSERT INTO meter.cost_rate (component, metric, rate, divisor) VALUES ('c', 'm', 1, 'Infinity');
INSERT INTO meter.cost_rate (component, metric, rate, aggregation) VALUES ('c', 'm', 1, 'max');
INSERT INTO meter.cost_rate (component, metric, rate, dims) VALUES ('c', 'm', 1, '"x"');
INSERT INTO meter.cost_rate (component, metric, rate, dims) VALUES ('c', 'm', 1, '{"region": ["eu", "us"]}');
INSERT INTO meter.cost_rate (component, metric, rate, currency) VALUES ('c', 'm', 1, 'usd');
INSERT INTO meter.cost_rate (component, metric, rate, valid_from, valid_to) VALUES ('c', 'm', 1, '2026-02-01', '2026-02-01');
\set VERBOSITY default

-- A hosting platform: CPU-seconds at $0.05 the CPU-hour, memory at $0.01 the GB-hour, storage at
-- $0.10 the GB-month of 730 hours, traffic at $0.05 the GB (of 1073741824 bytes), which from
-- 16 September on is $0.04, and but $0.01 in the region eu until the 20th.
INSERT INTO meter.metric (metric, kind, dimensions) VALUES
	('cpu_seconds', 'counter', '{}'), ('memory_gb', 'gauge', '{host}'), ('storage_gb', 'gauge', '{}'),
	('egress_bytes', 'counter', '{region}'), ('api_requests', 'counter', '{}');
INSERT INTO meter.cost_rate (component, metric, aggregation, dims, unit, divisor, rate, valid_from, valid_to) VALUES
	('compute', 'cpu_seconds', 'sum', '{}', 'CPU-hour', 3600, 0.05, '2000-01-01', NULL),
	('compute', 'memory_gb', 'unit_hours', '{}', 'GB-hour', 1, 0.01, '2000-01-01', NULL),
	('storage', 'storage_gb', 'unit_hours', '{}', 'GB-month', 730, 0.10, '2000-01-01', NULL),
	('network', 'egress_bytes', 'sum', '{}', 'GB', 1073741824, 0.05, '2000-01-01', NULL),
	('network', 'egress_bytes', 'sum', '{}', 'GB', 1073741824, 0.04, '2026-09-16', NULL),
	('network', 'egress_bytes', 'sum', '{"region": "eu"}', 'GB', 1073741824, 0.01, '2026-09-16', '2026-09-20'),
	('support', 'api_requests', 'count', '{}', 'request', 1000, 0.002, '2026-01-01', NULL);
INSERT INTO meter.cost_rate (component, metric, aggregation, rate, currency) VALUES ('llm', 'api_requests', 'cost', 1, 'EUR');

-- Of a metric of the other kind, and of one that is not there yet.
BEGIN;
\set VERBOSITY terse
INSERT INTO meter.cost_rate (component, metric, aggregation, rate) VALUES ('c', 'cpu_seconds', 'unit_hours', 1);
INSERT INTO meter.cost_rate (component, metric, aggregation, rate) VALUES ('c', 'memory_gb', 'sum', 1);
INSERT INTO meter.cost_rate (component, metric, aggregation, rate) VALUES ('c', 'memory_gb', 'count', 1);
INSERT INTO meter.cost_rate (component, metric, aggregation, rate) VALUES ('c', 'memory_gb', 'cost', 1);
INSERT INTO meter.cost_rate (component, metric, aggregation, rate) VALUES ('c', 'disk', 'sum', 1);
INSERT INTO meter.cost_rate (component, metric, aggregation, rate) VALUES ('c', 'disk', 'unit_hours', 1);
\set VERBOSITY default
UPDATE meter.cost_rate SET aggregation = 'sum' WHERE component = 'compute' AND metric = 'memory_gb';
ROLLBACK;

INSERT INTO meter.tenant (tenant, time_zone, billing_anchor, created_at) VALUES
	('acme', 'UTC', 1, '2026-01-01'), ('bolt', 'Asia/Kolkata', 1, '2026-01-01'), ('late', 'UTC', 31, '2026-01-01');

-- acme: 7200 CPU-seconds on 10 September = 2 CPU-hours = $0.10, 1800 on 1 October = 0.5 = $0.025.
SELECT meter_track('acme', 'cpu_seconds', 7200, at => '2026-09-10 10:30+00');
SELECT meter_track('acme', 'cpu_seconds', 1800, at => '2026-10-01 00:00+00');
-- 4 GB of memory on host a from 30 September 12:00 on, 6 GB from 18:00 on, none from 1 October
-- 06:00 on; 1 GB on host b from 30 September 23:30 until 1 October 00:15.
-- September: 4 * 6 + 6 * 6 + 1 * 0.5 = 60.5 GB-hours = $0.605; October: 6 * 6 + 0.25 = 36.25 = $0.3625.
SELECT meter_track('acme', 'memory_gb', 4, at => '2026-09-30 12:00+00', metadata => '{"host": "a"}');
SELECT meter_track('acme', 'memory_gb', 6, at => '2026-09-30 18:00+00', metadata => '{"host": "a"}');
SELECT meter_track('acme', 'memory_gb', 0, at => '2026-10-01 06:00+00', metadata => '{"host": "a"}');
SELECT meter_track('acme', 'memory_gb', 1, at => '2026-09-30 23:30+00', metadata => '{"host": "b"}');
SELECT meter_track('acme', 'memory_gb', 0, at => '2026-10-01 00:15+00', metadata => '{"host": "b"}');
-- 73 GB of storage from 1 August to 1 October, that is 744 hours of August and 720 of September,
-- with two samples in its last hour.  August: 73 * 744 / 730 = 74.4 GB-months = $7.44; September: 72 = $7.20.
SELECT meter_track('acme', 'storage_gb', 73, at => '2026-08-01 00:00+00');
SELECT meter_track('acme', 'storage_gb', 73, at => '2026-09-30 23:10+00');
SELECT meter_track('acme', 'storage_gb', 73, at => '2026-09-30 23:50+00');
SELECT meter_track('acme', 'storage_gb', 0, at => '2026-10-01 00:00+00');
-- 3 GB out of eu on the 15th at 0.05 = $0.15; 2 GB out of eu on the 16th at 0.04 + 0.01 = $0.10;
-- 1 GB out of us on the 16th at 0.04; 1 GB out of eu on the 20th at 0.04.  In all $0.33.
SELECT meter_track('acme', 'egress_bytes', g * 1073741824::numeric, at => a, metadata => jsonb_build_object('region', r))
FROM (VALUES (3, '2026-09-15 23:59:59+00'::timestamptz, 'eu'), (2, '2026-09-16 00:00+00', 'eu'), (1, '2026-09-16 00:00+00', 'us'),
	(1, '2026-09-20 00:00+00', 'eu')) AS v (g, a, r);
-- 2500 requests at $0.002 a thousand = $0.005, which carry costs of EUR 0.25 in all.
SELECT count(meter_track('acme', quantity => 2, cost => CASE WHEN i <= 10 THEN 0.025 END, at => '2026-09-05 12:00+00')) FROM generate_series(1, 2500) AS i;

-- bolt, in India (UTC+5:30): September begins on 31 August at 18:30 UTC.  1 CPU-hour at 18:00 UTC
-- is August's, as the whole hour is; 2 at 19:00 are September's; 4 on 30 September 18:00 are, too,
-- as that hour began in it; 8 at 19:00 are October's.
SELECT meter_track('bolt', 'cpu_seconds', h * 3600, at => a) FROM (VALUES (1, '2026-08-31 18:45+00'::timestamptz),
	(2, '2026-08-31 19:45+00'), (4, '2026-09-30 18:45+00'), (8, '2026-09-30 19:45+00')) AS v (h, a);
-- late, whose periods begin on the last days: September's on 30 September, until 31 October.
SELECT meter_track('late', 'cpu_seconds', h * 3600, at => a) FROM (VALUES (1, '2026-09-29 23:00+00'::timestamptz),
	(2, '2026-09-30 00:00+00'), (4, '2026-10-30 23:00+00'), (8, '2026-10-31 00:00+00')) AS v (h, a);
-- of somebody without a row: months of UTC
SELECT meter_track('other', 'cpu_seconds', h * 3600, at => a) FROM (VALUES (1, '2026-08-31 23:00+00'::timestamptz),
	(2, '2026-09-01 00:00+00'), (4, '2026-09-30 23:00+00'), (8, '2026-10-01 00:00+00')) AS v (h, a);
SELECT appended FROM meter_flush();
SELECT meter_rollup();

SELECT tenant, component, metric, dims, valid_from, trim_scale(quantity) AS quantity, unit, rate, currency, trim_scale(cost) AS cost
FROM meter.cost('2026-09-17') ORDER BY 1, 2, 3, 4, 5;
SELECT tenant, month, component, currency, trim_scale(cost) AS cost FROM meter.cost_allocation
WHERE month BETWEEN '2026-07-01' AND '2026-10-01' ORDER BY 1, 2, 3;
-- the same whatever the session's time zone
SET timezone = 'America/Los_Angeles';
SELECT tenant, month, component, currency, trim_scale(cost) AS cost FROM meter.cost_allocation
WHERE month = '2026-09-01' AND tenant IN ('acme', 'bolt') ORDER BY 1, 2, 3;
SET timezone = 'UTC';
-- all of a gauge's hours are somewhere: what the months have is what gauge_level has
SELECT (SELECT sum(quantity) FROM meter.cost_month() AS m, meter.cost(m.month) WHERE metric = 'memory_gb')
	= (SELECT sum(level_seconds) / 3600 FROM meter.gauge_level WHERE metric = 'memory_gb') AS same;
-- a level that still holds goes on to now
SELECT meter_track('still', 'memory_gb', 1, at => now() - interval '90 minutes');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT round(sum(quantity), 2) FROM meter.cost_month() AS m, meter.cost(m.month) WHERE tenant = 'still';

-- Of the month that is asked for, only the partitions of its usage are read: up to 30 September, as
-- there is a tenant whose period of August ends then.
CREATE FUNCTION rows_read() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
		SELECT * FROM meter.cost_allocation WHERE month = ''2026-08-01''' LOOP
		IF line ~ 'usage_hourly_p2026(09|10|08).*actual' THEN
			RETURN NEXT regexp_replace(line, '^.*(usage_hourly_p[0-9]+).*', '\1');
		END IF;
	END LOOP;
END
$$;
SELECT DISTINCT rows_read() ORDER BY 1;

-- Margins: acme's bill of September is EUR 12.00 with tax 2.00; a dollar is EUR 0.9 since 2 September
-- (0.5 before, 7 from October on).  Costs: 0.705 + 0.33 + 7.2 + 0.005 = $8.24 = EUR 7.416, and
-- EUR 0.25 of the calls: 7.666.  Margin 10 - 7.666 = 2.334, which are 23.34 %.
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('USD', 'EUR', '2026-01-01', 0.5), ('USD', 'EUR', '2026-09-02', 0.9), ('USD', 'EUR', '2026-10-01', 7);
INSERT INTO meter.bill (tenant, month, revision, status, period_from, period_to, currency, subtotal, discount, credit, tax, total, lines, finalized_at, voided_at, void_reason) VALUES
	('acme', '2026-09-01', 1, 'void', '2026-09-01', '2026-10-01', 'EUR', 99, 0, 0, 0, 99, 0, NULL, now(), 'wrong'),
	('acme', '2026-09-01', 2, 'final', '2026-09-01', '2026-10-01', 'EUR', 10, 0, 0, 2, 12, 0, now(), NULL, NULL),
	-- there is no rate into francs
	('bolt', '2026-09-01', 1, 'draft', '2026-08-31 18:30+00', '2026-09-30 18:30+00', 'CHF', 5, 0, 0, 0, 5, 0, NULL, NULL, NULL),
	-- one without costs, and one that is nothing
	('free', '2026-09-01', 1, 'final', '2026-09-01', '2026-10-01', 'USD', 3, 0, 0, 0, 3, 0, now(), NULL, NULL),
	('other', '2026-09-01', 1, 'final', '2026-09-01', '2026-10-01', 'USD', 0, 0, 0, 0, 0, 0, now(), NULL, NULL);
SELECT tenant, month, currency, trim_scale(cost) AS cost, revenue, trim_scale(margin) AS margin, margin_percent
FROM meter.cost_margin WHERE month = '2026-09-01' ORDER BY 1, 3;

-- a time zone that the server does not know any more counts as UTC, and keeps no other's costs back:
-- acme's of September are $8.24 and EUR 0.25 as before, since its zone was UTC
SELECT currency, trim_scale(sum(cost)) AS cost FROM meter.cost_allocation
WHERE tenant = 'acme' AND month = '2026-09-01' GROUP BY 1 ORDER BY 1;
ALTER TABLE meter.tenant DISABLE TRIGGER tenant_time_zone_check;
UPDATE meter.tenant SET time_zone = 'Mars/Olympus' WHERE tenant = 'acme';
SELECT currency, trim_scale(sum(cost)) AS cost FROM meter.cost_allocation
WHERE tenant = 'acme' AND month = '2026-09-01' GROUP BY 1 ORDER BY 1;

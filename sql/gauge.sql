-- gauges: levels that hold until the next sample
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

INSERT INTO meter.metric (metric, kind, unit) VALUES ('storage_gb', 'gauge', 'GB');

-- worked by hand: 10 from 10:00, 20 from 10:30, 40 from 10:45; none in hour 11; 8 from 12:15 to now
SELECT meter_track('acme', 'storage_gb', 10, at => '2026-03-01 10:00+00');
SELECT meter_track('acme', 'storage_gb', 20, at => '2026-03-01 10:30+00');
SELECT meter_track('acme', 'storage_gb', 40, at => '2026-03-01 10:45+00');
SELECT meter_track('acme', 'storage_gb', 8, at => '2026-03-01 12:15+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT hour, events, quantity_first, quantity_last, quantity_min, quantity_max, quantity_seconds FROM meter.usage_hourly ORDER BY hour;
-- hour 10: (10*30 + 20*15 + 40*15) / 60 = 20; hour 11: 40; hour 12: (40*15 + 8*45) / 60 = 16; hour 13: 8
SELECT hour, samples, round(quantity_avg, 4) AS avg, quantity_max AS max, quantity_last AS last,
	round(time_weighted, 4) AS time_weighted, round(unit_hours, 4) AS unit_hours
FROM meter.gauge_hourly WHERE hour < '2026-03-01 15:00+00' ORDER BY hour;
-- the day: from 10:00 to 24:00; 20 + 40 + 16 + 11 * 8 = 164 GB-hours in 14 hours
SELECT day, events, quantity_avg, quantity_max, quantity_last, round(time_weighted, 6) AS time_weighted, round(unit_hours, 6) AS unit_hours
FROM meter.usage_daily WHERE day <= '2026-03-02' ORDER BY day;
-- the month: 164 on the first day, and 8 * 24 on each of 30 more; the next month: 8 * 24 * 30
SELECT month, events, quantity_last, round(unit_hours, 6) AS unit_hours, round(time_weighted, 6) AS time_weighted
FROM meter.usage_monthly WHERE month <= '2026-04-01' ORDER BY month;

-- samples in later rollups, in order: the hour is merged
SELECT meter_track('acme', 'storage_gb', 16, at => '2026-03-01 12:45+00');
SELECT meter_track('acme', 'storage_gb', 0, at => '2026-03-01 13:00+00');
SELECT appended FROM meter_flush();
-- before the rollup, meter.live knows: 8 * 30 minutes
SELECT hour, events, quantity_last, quantity_seconds FROM meter.live ORDER BY hour;
SELECT meter_rollup();
SELECT hour, events, quantity_last, quantity_seconds FROM meter.usage_hourly ORDER BY hour;
-- a sample older than the last one: the hour is computed anew, 8 * 15 + 100 * 15 minutes
SELECT meter_track('acme', 'storage_gb', 100, at => '2026-03-01 12:30+00');
SELECT appended FROM meter_flush();
SELECT hour, events, quantity_last, quantity_seconds FROM meter.live WHERE hour = '2026-03-01 12:00+00';
SELECT meter_rollup();
SELECT hour, events, quantity_last, quantity_seconds FROM meter.usage_hourly WHERE hour = '2026-03-01 12:00+00';
-- hour 12: (40*15 + 8*15 + 100*15 + 16*15) / 60 = 41; then 0 for ever
SELECT hour, samples, round(time_weighted, 4) AS time_weighted FROM meter.gauge_hourly
WHERE hour BETWEEN '2026-03-01 12:00+00' AND '2026-03-01 14:00+00' ORDER BY hour;

-- samples of the same instant: the later one holds
SELECT meter_track('acme', 'storage_gb', 1, at => '2026-03-01 13:30+00');
SELECT meter_track('acme', 'storage_gb', 2, at => '2026-03-01 13:30+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT quantity_last FROM meter.usage_hourly WHERE hour = '2026-03-01 13:00+00';

-- a late sample in an hour without any splits the gap
SELECT meter_track('acme', 'storage_gb', 4, at => '2026-03-01 11:30+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT hour, round(time_weighted, 4) AS time_weighted FROM meter.gauge_hourly
WHERE hour BETWEEN '2026-03-01 11:00+00' AND '2026-03-01 12:00+00' ORDER BY hour;

-- random samples in random order and batches against a brute-force integral
INSERT INTO meter.metric (metric, kind) VALUES ('load', 'gauge');
SELECT setseed(0.25);
CREATE TEMP TABLE sample AS
SELECT i, timestamptz '2026-02-10 00:00+00' + round(random() * 36 * 3600) * interval '1 second' AS at,
	round((random() * 100)::numeric, 2) AS level, 't' || i % 3 AS tenant
FROM generate_series(1, 600) AS i;
CREATE PROCEDURE step(lo int, hi int) LANGUAGE sql AS $$
	INSERT INTO meter.inbox (at, tenant, metric, quantity) SELECT at, tenant, 'load', level FROM sample WHERE i BETWEEN lo AND hi ORDER BY i;
	SELECT * FROM meter_flush();
	SELECT meter_rollup();
$$;
CALL step(1, 100); CALL step(101, 101); CALL step(102, 300); CALL step(301, 600);
WITH held AS (
	SELECT tenant, at, level, lead(at, 1, '2026-02-12 00:00+00') OVER (PARTITION BY tenant ORDER BY at, i) AS until FROM sample
), brute AS (
	SELECT h.hour, held.tenant, sum(level * extract(epoch FROM LEAST(until, h.hour + interval '1 hour') - GREATEST(at, h.hour))) AS level_seconds
	FROM generate_series('2026-02-10 00:00+00'::timestamptz, '2026-02-11 23:00+00', '1 hour') AS h(hour)
	JOIN held ON at < h.hour + interval '1 hour' AND until > h.hour
	GROUP BY 1, 2
)
SELECT count(*), bool_and(b.level_seconds = l.level_seconds) FROM brute AS b
JOIN meter.gauge_level AS l USING (hour, tenant) WHERE l.metric = 'load';
DROP PROCEDURE step;

-- the cap on groups leaves gauges alone: 20 and 30 for half an hour each are two levels
SET meter.max_groups_per_hour = 1;
INSERT INTO meter.inbox (at, tenant, metric, quantity, endpoint) VALUES
	('2026-03-08 10:00+00', 'cap', 'level', 20, '/a'), ('2026-03-08 10:30+00', 'cap', 'level', 0, '/a'),
	('2026-03-08 10:00+00', 'cap', 'level', 30, '/b'), ('2026-03-08 10:30+00', 'cap', 'level', 0, '/b');
INSERT INTO meter.metric (metric, kind) VALUES ('level', 'gauge');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT endpoint, quantity_seconds, folded FROM meter.usage_hourly WHERE tenant = 'cap' ORDER BY endpoint;
RESET meter.max_groups_per_hour;

-- the same with so little memory that groups are written many times, in parts
SET meter.rollup_work_mem = '1MB';
CREATE TEMP TABLE many AS
SELECT timestamptz '2026-02-20 00:00+00' + (i * 7919 % 43200) * interval '1 second' AS at,
	(i * 31 % 97)::numeric AS level, 't' || i % 40 AS tenant FROM generate_series(1, 20000) AS i;
INSERT INTO meter.inbox (at, tenant, metric, quantity) SELECT at, tenant, 'level', level FROM many;
SELECT appended FROM meter_flush();
CREATE TEMP TABLE tail AS SELECT hour, tenant, quantity_seconds FROM meter.live WHERE metric = 'level';
SELECT meter_rollup();
SELECT count(*) FROM (SELECT hour, tenant, quantity_seconds FROM meter.usage_hourly WHERE metric = 'level' EXCEPT TABLE tail) AS differing;
WITH brute AS (
	SELECT tenant, sum(level * extract(epoch FROM until - at)) AS level_seconds
	FROM (SELECT tenant, at, level, lead(at) OVER (PARTITION BY tenant ORDER BY at, seq) AS until
	      FROM (SELECT tenant, at, quantity AS level, seq FROM meter.event WHERE metric = 'level' AND tenant <> 'cap') AS e) AS h
	WHERE until IS NOT NULL GROUP BY 1
)
SELECT count(*), bool_and(b.level_seconds = l.level_seconds) FROM brute AS b
JOIN (SELECT tenant, sum(quantity_seconds) + sum(gap) AS level_seconds
      FROM (SELECT tenant, quantity_seconds, COALESCE(quantity_last * extract(epoch FROM lead(first_at) OVER (PARTITION BY tenant ORDER BY hour) - last_at), 0) AS gap
            FROM meter.usage_hourly WHERE metric = 'level' AND tenant <> 'cap') AS u GROUP BY 1) AS l USING (tenant);
RESET meter.rollup_work_mem;

-- a counter that becomes a gauge in mid-hour: the hour is computed anew
SELECT meter_track('turn', 'turning', 4, at => '2026-03-09 10:00+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
UPDATE meter.metric SET kind = 'gauge' WHERE metric = 'turning';
SELECT meter_track('turn', 'turning', 6, at => '2026-03-09 10:10+00');
SELECT appended FROM meter_flush();
SELECT events, quantity_seconds FROM meter.live WHERE tenant = 'turn';
SELECT meter_rollup();
-- 4 for 600 seconds
SELECT events, quantity_seconds FROM meter.usage_hourly WHERE tenant = 'turn';

-- One that has become a gauge has no levels in the hours before, and bills of none, until the rollup is
-- started again.  4 for two hours, then 6 for the 540 hours of March that are left: of 744 on average
-- (4 * 2 + 6 * 540) / 744 = 4.365591...
INSERT INTO meter.tenant (tenant, started_on, time_zone) VALUES ('seated', '2026-03-01', 'UTC');
SELECT meter_track('seated', 'seats', 4, at => '2026-03-09 10:00+00');
SELECT meter_track('seated', 'seats', 6, at => '2026-03-09 12:00+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0;
INSERT INTO meter.price (price, metric, aggregation, model, params) VALUES ('seats', 'seats', 'weighted_avg', 'per_unit', '{"unit_amount": 1}');
UPDATE meter.metric SET kind = 'gauge', description = 'how many there are' WHERE metric = 'seats';
SELECT quantity FROM meter.billing_usage('2026-03-01', '{seated}');
BEGIN;
SELECT FROM meter.consumer WHERE name = 'rollup' FOR UPDATE;
TRUNCATE meter.usage_hourly, meter.usage_user_daily, meter.gauge_last;
UPDATE meter.consumer SET last_seq = 0 WHERE name = 'rollup';
SELECT meter_rollup() > 0;
COMMIT;
SELECT round(quantity, 6) FROM meter.billing_usage('2026-03-01', '{seated}');
-- back again: the sum of samples stays; what is no change of the kind, or of a metric without usage, is nothing
UPDATE meter.metric SET kind = 'counter' WHERE metric = 'seats';
UPDATE meter.metric SET kind = 'counter', unit = 'seat' WHERE metric = 'seats';
INSERT INTO meter.metric (metric) VALUES ('fresh');
UPDATE meter.metric SET kind = 'gauge' WHERE metric = 'fresh';
SELECT meter.metric_kind_changed();

-- what each gauge has now: its last sample, of this month or the one before; in one transaction, so that no month ends
BEGIN;
INSERT INTO meter.inbox (at, tenant, metric, quantity, service, endpoint)
SELECT date_trunc('month', now(), 'UTC') + v.since, 'present', 'level', v.level, v.service, v.endpoint
FROM (VALUES (interval '-1 month -1 microsecond', 2, 's', '/gone'), ('-1 month', 1, 's', '/first'),
	('-1 day', 3, 's', '/both'), ('0', 4, 's', '/both'), ('-1 day', 6, 't', '/both'), ('0', 5, NULL, NULL)) AS v(since, level, service, endpoint);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT service, endpoint, method, dims, level, last_at >= date_trunc('month', now(), 'UTC') AS this_month
FROM meter.gauge_now WHERE tenant = 'present' AND metric = 'level' ORDER BY service, endpoint;
COMMIT;

-- What alerts are measured by: recent usage, what is normal, and each signal
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET meter.retention = 0;
SET meter.durability = 'commit';

--
-- usage_recent, as the rollup writes it
--
BEGIN;
SELECT count(meter_track('t' || i % 2, service => CASE WHEN i % 5 > 0 THEN 's' || i % 3 END, latency_ms => i,
	status => (ARRAY[200, 404, 429, 500, 200])[1 + i % 5], cost => i % 4 * 0.5, user_id => 'u' || i % 7))
FROM generate_series(1, 300) AS i;
SELECT count(meter_track('t0', metric => 'llm_tokens', quantity => 5, cost => 0.25, service => 's0', latency_ms => 100000)) FROM generate_series(1, 8);
SELECT meter_track('t1', metric => 'llm_tokens', quantity => 5);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT count(meter_track('t0', service => 's0', latency_ms => 7, status => 200)) FROM generate_series(1, 3);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
-- nothing in plain SQL over the log is otherwise
WITH raw AS (
	SELECT tenant, service, count(*) FILTER (WHERE metric = 'api_requests') AS requests,
		count(*) FILTER (WHERE metric = 'api_requests' AND status >= 400) AS errors,
		count(*) FILTER (WHERE metric = 'api_requests' AND status BETWEEN 400 AND 499) AS errors_4xx,
		count(*) FILTER (WHERE metric = 'api_requests' AND status = 429) AS errors_429,
		COALESCE(sum(cost), 0) AS cost, count(latency_ms) FILTER (WHERE metric = 'api_requests') AS timed,
		max(latency_ms) FILTER (WHERE metric = 'api_requests') AS slowest
	FROM meter.event WHERE metric = 'api_requests' OR cost IS NOT NULL GROUP BY 1, 2
), recent AS (
	SELECT tenant, service, sum(requests), sum(errors), sum(errors_4xx), sum(errors_429), sum(cost),
		meter_sketch_count(meter_sketch_merge(latency)), meter_sketch_max(meter_sketch_merge(latency))
	FROM meter.usage_recent WHERE NOT is_hour GROUP BY 1, 2
)
SELECT (SELECT count(*) FROM raw), (SELECT count(*) FROM recent),
	(SELECT count(*) FROM (SELECT * FROM raw EXCEPT SELECT * FROM recent) AS d) AS different;
SELECT bool_and(bucket <= now() AND bucket > now() - interval '5 minutes') FROM meter.usage_recent;
-- what is older than three hours is of an hour, what is older than three days is left out
SELECT meter_track('t0', service => 'old', at => now() - interval '30 hours'), meter_track('t0', service => 'ancient', at => now() - interval '80 hours');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT service, is_hour, bucket = date_trunc('hour', now() - interval '30 hours'), requests FROM meter.usage_recent WHERE service IN ('old', 'ancient');
ROLLBACK;

--
-- Folding five minutes into hours
--
INSERT INTO meter.usage_recent
SELECT g, false, 'a', CASE WHEN g < '2026-03-10 10:00' THEN 's' END, 10, 3, 2, 1, 0.5, meter_sketch_agg(x)
FROM generate_series(timestamptz '2026-03-10 09:30', '2026-03-10 13:25', '5 minutes') AS g, (VALUES (1.0), (100.0)) AS v(x)
GROUP BY g;
SELECT meter.recent_fold('2026-03-10 13:29');
SELECT bucket, is_hour, service, requests, errors, errors_4xx, errors_429, cost, meter_sketch_count(latency) AS timed
FROM meter.usage_recent WHERE bucket <= '2026-03-10 10:00' ORDER BY 1;
SELECT is_hour, count(*), sum(requests) FROM meter.usage_recent GROUP BY 1 ORDER BY 1;
SELECT meter.recent_fold('2026-03-10 14:00');
SELECT is_hour, count(*), sum(requests), sum(cost), sum(meter_sketch_count(latency)) FROM meter.usage_recent GROUP BY 1 ORDER BY 1;
-- hours are kept for three days and three hours
SELECT meter.recent_fold('2026-03-13 15:00');
SELECT is_hour, min(bucket), count(*), sum(requests) FROM meter.usage_recent GROUP BY 1 ORDER BY 1;
INSERT INTO meter.usage_recent VALUES ('2026-03-10 00:00', false, 'x', NULL, 1, 0, 0, 0, 0, NULL);
SELECT meter.recent_fold('2026-03-20 00:00');
SELECT count(*) FROM meter.usage_recent;

--
-- What is normal.  Tuesday, 10 March 2026. "weekly" has 100, 400, 200 and 300 at
-- 12:00 in the four weeks before, and nothing at 13:00 in one of them; "daily" has
-- three days only, with 10, 30 and 20; "new" two; "gone" was there in one week.
--
SELECT count(meter_track('x', at => d)) FROM unnest('{2026-02-10, 2026-03-01}'::timestamptz[]) AS d;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
TRUNCATE meter.usage_hourly, meter.usage_recent;
CREATE FUNCTION used(at timestamptz, tenant text, n bigint, cost numeric DEFAULT NULL, service text DEFAULT 's') RETURNS void
LANGUAGE sql AS $$
	INSERT INTO meter.usage_hourly (hour, tenant, metric, service, endpoint, dims, events, successes, errors, errors_4xx,
		errors_5xx, errors_429, folded, first_at, last_at, last_seq, quantity, quantity_min, quantity_max,
		quantity_first, quantity_last, cost)
	SELECT at, tenant, 'api_requests', service, e, '{}', n / 2, n / 2, 0, 0, 0, 0, 0, at, at, 1, n / 2, 1, 1, 1, 1, cost / 2
	FROM unnest('{/a, /b}'::text[]) AS e $$;
SELECT used('2026-03-03 12:00', 'weekly', 100, 1), used('2026-02-24 12:00', 'weekly', 400, 4),
	used('2026-02-17 12:00', 'weekly', 200, 2), used('2026-02-10 12:00', 'weekly', 300, 30),
	used('2026-03-03 13:00', 'weekly', 10), used('2026-02-24 13:00', 'weekly', 20), used('2026-02-17 13:00', 'weekly', 40),
	-- another weekday says nothing of it
	used('2026-03-09 12:00', 'weekly', 90000),
	used('2026-03-09 12:00', 'daily', 10), used('2026-03-08 12:00', 'daily', 30), used('2026-03-05 12:00', 'daily', 20, service => NULL),
	used('2026-03-06 12:00', 'daily', 20),
	used('2026-03-09 12:00', 'new', 10), used('2026-03-08 12:00', 'new', 10), used('2026-02-10 12:00', 'gone', 10);
SELECT meter.normal_learn('2026-03-10');
SELECT hour_of_day, tenant, service, requests, cost, days FROM meter.usage_normal WHERE hour_of_day IN (11, 12, 13) ORDER BY tenant, 1;
SELECT count(*) FROM meter.usage_normal;
-- once a day only; of the day before it is kept, of others it is not
SELECT used('2026-03-03 12:00', 'late', 100);
SELECT meter.normal_learn('2026-03-10');
SELECT count(*) FROM meter.usage_normal WHERE tenant = 'late';
-- unless the rollup has told that usage of one of the ten days has changed; of "daily"
-- nobody has told.  It waits for a hundred times as long as it took.
BEGIN;
SELECT used('2026-02-24 12:00', 'late', 300);
UPDATE meter.usage_hourly SET events = 1000 WHERE tenant = 'daily';
UPDATE meter.usage_normal_day SET seq = 1, took = '0';
SELECT meter.usage_position();
TRUNCATE meter.usage_late;
INSERT INTO meter.usage_late VALUES ('late', '2026-03-02', '2026-03-02', 2), ('late', '2026-03-10', '2026-03-10', 2), ('late', '2026-03-09', '2026-03-09', 1);
SELECT meter.normal_learn('2026-03-10');
SELECT count(*) FROM meter.usage_normal WHERE tenant = 'late';
INSERT INTO meter.usage_late VALUES ('late', '2026-03-03', '2026-03-03', 2);
UPDATE meter.usage_normal_day SET took = '1 hour';
SELECT meter.normal_learn('2026-03-10');
SELECT count(*) FROM meter.usage_normal WHERE tenant = 'late';
UPDATE meter.usage_normal_day SET learnt_at = learnt_at - interval '100 hours';
SELECT meter.normal_learn('2026-03-10');
SELECT tenant, service, requests FROM meter.usage_normal WHERE hour_of_day = 12 ORDER BY tenant, service;
SELECT seq, clock_timestamp() - learnt_at < '1 hour' AS learnt, took > '0' AND took < '1 hour' AS took FROM meter.usage_normal_day;
-- and that once
UPDATE meter.usage_normal_day SET took = '0';
DELETE FROM meter.usage_normal;
SELECT meter.normal_learn('2026-03-10');
SELECT count(*) FROM meter.usage_normal;
ROLLBACK;
-- history that is loaded when today was learnt already: half a dollar an hour is normal
BEGIN;
UPDATE meter.alert_rule SET enabled = rule = 'cost spike';
SELECT meter_track('x');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT fired FROM meter_evaluate_alerts();
SELECT count(*) > 0 AS learnt, (SELECT count(*) FROM meter.usage_normal WHERE tenant = 'spiky') AS normal FROM meter.usage_normal_day;
SELECT count(meter_track('spiky', cost => 0.5, at => h.hour)) FROM generate_series(now() - interval '7 days', now() - interval '1 hour', interval '1 hour') AS h(hour);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT meter_track('spiky', cost => 6);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
UPDATE meter.usage_normal_day SET took = '0';
SELECT fired FROM meter_evaluate_alerts();
-- the half dollar of an hour ago may be in it
SELECT rule, tenant, value BETWEEN 12 AND 13 AS twelve_times FROM meter.alert;
ROLLBACK;
SELECT meter.normal_learn('2026-03-11');
SELECT day, count(*) FROM meter.usage_normal GROUP BY 1 ORDER BY 1;
SELECT meter.normal_learn('2026-03-25');
SELECT day, count(*) FROM meter.usage_normal_day GROUP BY 1 ORDER BY 1;

--
-- Signals of usage, as of 12:30.  The last hour is of 12:00 and of 11:00, for which 0 is
-- normal: of "weekly" that of 12:00 counts, which is 250 requests and 3 of cost.
--
SELECT meter.normal_learn('2026-03-10');
INSERT INTO meter.alert_rule (rule, signal, threshold, "window", min_events, params) VALUES
	('server errors', 'server_error_rate', 5, '15 minutes', 50, '{"min_errors": 10}');
UPDATE meter.alert_rule SET enabled = signal = ANY ('{error_rate,server_error_rate,latency_p95,latency_avg,rate_429,request_spike,cost_spike}');
CREATE FUNCTION recent(at timestamptz, tenant text, requests bigint, errors bigint DEFAULT 0, errors_4xx bigint DEFAULT 0,
	errors_429 bigint DEFAULT 0, cost numeric DEFAULT 0, latencies double precision[] DEFAULT NULL) RETURNS void
LANGUAGE sql AS $$
	INSERT INTO meter.usage_recent SELECT at, false, tenant, 's', requests, errors, errors_4xx, errors_429, cost,
		(SELECT meter_sketch_agg(l) FROM unnest(latencies) AS l) $$;
-- 60 + 440 + 500 requests in the last hour: 4 times the normal; cost 1.2 + 17.2 = 6.13 times
SELECT recent('2026-03-10 11:35', 'weekly', 60, cost => 1.2), recent('2026-03-10 12:10', 'weekly', 440, cost => 17.2),
	recent('2026-03-10 12:30', 'weekly', 500);
-- 12:15 is in the last quarter of an hour, 12:05 is not.  20 + 6 errors of 200, of which 6
-- were refused: 20 of 194 are 10.31 %, refused are 3 %.  15 were the client's fault, the
-- refused among them: 11 of the server are 5.67 %
SELECT recent('2026-03-10 12:05', 'failing', 1000, 1000), recent('2026-03-10 12:15', 'failing', 100, 26, 15, 6), recent('2026-03-10 12:25', 'failing', 100);
-- too few to tell
SELECT recent('2026-03-10 12:25', 'small', 49, 49);
SELECT recent('2026-03-10 12:25', 'limited', 100, 50, 50, 50);
-- 9 of 50 are 18 %, but it takes 10: nine tenths of the thresholds, 4.5 and 9 %; of the refused, too
SELECT recent('2026-03-10 12:25', 'nine', 50, 9), recent('2026-03-10 12:25', 'nine refused', 50, 9, 9, 9), recent('2026-03-10 12:25', 'ten', 50, 10);
-- 9 of the server, among 30 errors of 50: nine tenths of 5 % for these alone
SELECT recent('2026-03-10 12:25', 'nine server', 50, 30, 21);
-- 94 of 10 ms and 6 of 6 s: p95 6 s, average 369.4
SELECT recent('2026-03-10 12:25', 'slow', 100, latencies => array_fill(10::float8, '{94}') || array_fill(6000::float8, '{6}'));
-- what is to come counts not at all
SELECT recent('2026-03-10 12:35', 'future', 100, 100);
SELECT rule, tenant, service, value, detail FROM meter.signal_usage('2026-03-10 12:30') WHERE value > 0 ORDER BY tenant, rule;
-- only of the tenant and service that a rule is for
UPDATE meter.alert_rule SET tenant = 'failing' WHERE rule = 'error rate';
UPDATE meter.alert_rule SET service = 'other' WHERE rule = 'error rate critical';
SELECT rule, tenant, value FROM meter.signal_usage('2026-03-10 12:30') WHERE rule LIKE 'error%' ORDER BY 2, 1;
SELECT * FROM meter.signal_usage('2026-03-20 12:30');
UPDATE meter.alert_rule SET tenant = NULL, service = NULL;

--
-- Objectives.  99.9 %: the error budget is 0.1 %.
--
\set VERBOSITY terse
INSERT INTO meter.slo (slo, target) VALUES ('', 99);
INSERT INTO meter.slo (slo, target) VALUES ('x', 100);
INSERT INTO meter.slo (slo, target) VALUES ('x', 'NaN');
INSERT INTO meter.slo (slo, target, kind) VALUES ('x', 99, 'speed');
INSERT INTO meter.slo (slo, target, kind) VALUES ('x', 99, 'latency');
INSERT INTO meter.slo (slo, target, latency_ms) VALUES ('x', 99, 200);
INSERT INTO meter.slo (slo, target, days) VALUES ('x', 99, 0);
\set VERBOSITY default
TRUNCATE meter.usage_recent;
INSERT INTO meter.slo (slo, tenant, kind, target, latency_ms) VALUES
	('all', NULL, 'availability', 99.9, NULL), ('a fast', 'a', 'latency', 95, 200), ('b', 'b', 'availability', 99, NULL);
UPDATE meter.alert_rule SET enabled = signal = 'burn_rate';
-- a: 1000 requests in 5 minutes, of which 20 failed and 30 were the client's fault; 8 of 100 slow.
-- b: 12 of 1000 failed.  An hour ago 10000 of a, of which 100 failed, and two days ago 100000, of which 5 did.
SELECT recent('2026-03-10 12:25', 'a', 1000, 50, 30, latencies => array_fill(10::float8, '{92}') || array_fill(900::float8, '{8}')),
	recent('2026-03-10 12:25', 'b', 1000, 12), recent('2026-03-10 11:40', 'a', 10000, 100);
INSERT INTO meter.usage_recent VALUES ('2026-03-08 12:00', true, 'a', 's', 100000, 5, 0, 0, 0, NULL);
-- all in 5 minutes: 32 of 2000 are 1.6 %, 16 times; in an hour 132 of 12000 are 1.1 %, 11 times; in 3 days
-- 137 of 112000, 1.22 times.  "a fast": 8 of 100 with 5 allowed, 1.6 times.  b: 1.2 % of 1 %, 1.2 times
SELECT rule, tenant, detail ->> 'slo' AS slo, value, detail ->> 'long_rate' AS long, detail ->> 'short_rate' AS short, detail ->> 'requests' AS requests
FROM meter.signal_burn_rate('2026-03-10 12:29') ORDER BY 3, 1;
SELECT count(*) FROM meter.signal_burn_rate('2026-03-20 12:30');
SELECT * FROM meter.slo_status ORDER BY slo;   -- no requests are neither good nor bad
-- as of now: 1000 requests, of which 2 failed: twice what is allowed
BEGIN;
SELECT count(meter_track('a', service => 's', status => CASE WHEN i <= 2 THEN 503 WHEN i < 10 THEN 404 ELSE 200 END,
	latency_ms => CASE WHEN i <= 10 THEN 500 ELSE 20 END)) FROM generate_series(1, 1000) AS i;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM meter.slo_status ORDER BY slo;
ROLLBACK;

--
-- Signals of state
--
UPDATE meter.alert_rule SET enabled = signal = ANY ('{budget,quota,storage_growth,rejected_events,isolation_violation,pipeline_lag}');
INSERT INTO meter.storage_sample (day, tenant, bytes) VALUES
	('2026-03-03', 'a', 10000000), ('2026-03-10', 'a', 31000000), ('2026-03-10', 'b', 31000000), ('2026-03-03', 'c', 100), ('2026-03-10', 'c', 900),
	('2026-03-03', NULL, 100000000), ('2026-03-09', NULL, 150000000), ('2026-03-02', NULL, 75000000);
INSERT INTO meter.rejected_event (tenant, rejected_at, reason, source, sqlstate, event) SELECT 'a', '2026-03-10 12:00', 'x', 'batch', '22023', '{}' FROM generate_series(1, 12);
INSERT INTO meter.isolation_violation (at, tenant, foreign_tenant, command, refused) VALUES
	('2026-03-10 12:28', 'a', 'b', 'SELECT', true), ('2026-03-10 12:00', 'a', 'b', 'SELECT', true);
INSERT INTO meter.inbox (tenant, received_at) VALUES ('a', '2026-03-10 12:10');
SELECT rule, tenant, value, detail FROM meter.signal_state('2026-03-10 12:30') ORDER BY 1, 2;
TRUNCATE meter.inbox;
SELECT rule, value FROM meter.signal_state('2026-03-10 12:30') WHERE rule = 'pipeline stale';
-- a quota of 10 a month, of which 8 are used, and a budget of 100, of which 80 are spent
BEGIN;
INSERT INTO meter.rate_limit (tenant, kind, per, max, name) VALUES ('q', 'window', 'month', 10, 'ten a month');
SELECT count(*) FILTER (WHERE meter_allow('q')) FROM generate_series(1, 8);
INSERT INTO meter.budget (tenant, service, amount) VALUES ('q', 's', 100);
SELECT meter_track('q', service => 's', cost => 80);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT rule, tenant, service, value, detail ->> 'threshold' AS threshold, detail ->> 'severity' AS severity,
	detail ->> 'quota' AS quota, detail ->> 'spent' AS spent
FROM meter.signal_state(now()) WHERE tenant = 'q' ORDER BY 1, 5;
-- Levels.  The queue of a/s is 70 (an endpoint) + 40 (another, a month ago) + 15 (a method): 125,
-- of a/t 7, of b (no service) 200, of "gone" 999, but it is cancelled, and of "old" 500, two months ago.
-- Only the last sample of each counts.  Of a/s the hosts x and y of one region have 30 and 20 (dims).
INSERT INTO meter.metric (metric, kind, unit, dimensions) VALUES
	('queue', 'gauge', 'jobs', '{}'), ('cpu', 'gauge', NULL, '{region,host}');
INSERT INTO meter.tenant (tenant, status) VALUES ('gone', 'cancelled');
SELECT meter_track('a', 'queue', 900, service => 's', endpoint => '/e', at => now() - interval '2 minutes'),
	meter_track('a', 'queue', 70, service => 's', endpoint => '/e', at => now() - interval '1 minute'),
	meter_track('a', 'queue', 40, service => 's', endpoint => '/f', at => date_trunc('month', now()) - interval '1 day'),
	meter_track('a', 'queue', 15, service => 's', endpoint => '/e', method => 'GET'),
	meter_track('a', 'queue', 7, service => 't'), meter_track('b', 'queue', 200), meter_track('gone', 'queue', 999),
	meter_track('old', 'queue', 500, at => now() - interval '63 days');
SELECT count(meter_track('a', 'cpu', q, service => 's', metadata => jsonb_build_object('region', r, 'host', h)))
FROM (VALUES (30, 'eu', 'x'), (20, 'eu', 'y'), (99, 'us', 'z')) AS v(q, r, h);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
UPDATE meter.alert_rule SET enabled = false;
INSERT INTO meter.alert_rule (rule, signal, threshold, tenant, service, params) VALUES
	('queues', 'gauge_level', 100, NULL, NULL, '{"metric": "queue"}'),
	('queue of a/t', 'gauge_level', 7, 'a', 't', '{"metric": "queue"}'),
	('europe', 'gauge_level', 50, NULL, NULL, '{"metric": "cpu", "dims": {"region": "eu"}}'),
	('host x', 'gauge_level', 50, 'a', NULL, '{"metric": "cpu", "dims": {"region": "eu", "host": "x"}}'),
	('host of none', 'gauge_level', 1, NULL, NULL, '{"metric": "cpu", "dims": {"host": "w"}}'),
	('no gauge', 'gauge_level', 1, NULL, NULL, '{"metric": "api_requests"}');
SELECT rule, tenant, service, value, detail FROM meter.signal_state(now()) ORDER BY 1, 2, 3;
-- of named tenants only
DELETE FROM meter.alert_rule WHERE signal = 'gauge_level' AND tenant IS NULL;
SELECT rule, tenant, service, value FROM meter.signal_state(now()) ORDER BY 1, 2, 3;
-- over for as long as the rule says, and then not any more
INSERT INTO meter.alert_rule (rule, signal, threshold, for_duration, params) VALUES
	('for 10 minutes', 'gauge_level', 200, '10 minutes', '{"metric": "queue"}');
DELETE FROM meter.alert_rule WHERE rule = 'queue of a/t';
SELECT fired, pending FROM meter_evaluate_alerts(now() - interval '10 minutes 1 second');
SELECT fired, pending FROM meter_evaluate_alerts(now() - interval '1 minute');
SELECT fired, pending FROM meter_evaluate_alerts(now());
SELECT rule, state, title FROM meter.alert;
SELECT kind, title FROM meter.notification;
SELECT meter_track('b', 'queue', 199);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT resolved FROM meter_evaluate_alerts(now());
TRUNCATE meter.alert, meter.incident, meter.incident_update, meter.notification, meter.alert_evaluation CASCADE;
DELETE FROM meter.alert_rule WHERE signal = 'gauge_level';

-- What has stopped.  Jobs of a/nightly, three hours ago and before; of "gone", but it is
-- cancelled; and of "old", eight days ago.  Requests are others.
SELECT meter_track('a', 'job', service => 'nightly', at => now() - interval '3 hours'),
	meter_track('a', 'job', service => 'nightly', at => now() - interval '2 days'),
	meter_track('a', 'job', at => now() - interval '7 days' + interval '1 second'),
	meter_track('gone', 'job', service => 'nightly', at => now() - interval '3 hours'),
	meter_track('old', 'job', service => 'nightly', at => now() - interval '8 days'),
	meter_track('a', service => 'nightly', at => now() - interval '2 hours');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
-- with no rule nothing is noted
SELECT count(*) FROM meter.signal_no_usage(now());
SELECT (SELECT count(*) FROM meter.usage_last) AS last, (SELECT count(*) FROM meter.usage_last_metric) AS metrics;
INSERT INTO meter.alert_rule (rule, signal, threshold, tenant, service, params) VALUES
	('no job', 'no_usage', 10800, NULL, NULL, '{"metric": "job"}'),
	('nightly', 'no_usage', 7201, NULL, 'nightly', '{}'),
	('old', 'no_usage', 604800, 'old', 'nightly', '{"metric": "job"}'),
	('never', 'no_usage', 60, 'a', 'never', '{}'),
	('gone', 'no_usage', 60, 'gone', 'nightly', '{"metric": "job"}');
SELECT rule, tenant, service, value, detail FROM meter.signal_no_usage(now()) ORDER BY 1, 2, 3;
-- from then on the rollup notes it, but what comes late is not the last; a value is no
-- better than what is rolled up, and an event waits since an hour
SELECT meter_track('a', 'job', service => 'nightly', at => now() - interval '100 minutes'),
	meter_track('a', 'job', service => 'nightly', at => now() - interval '5 hours'),
	meter_track('b', 'job', at => now() - interval '1 minute'),
	meter_track('a', service => 'nightly', at => now() - interval '4 hours'),
	meter_track('a', 'backup', service => 'nightly', at => now() - interval '90 minutes');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT rule, tenant, service, value FROM meter.signal_no_usage(now()) WHERE rule IN ('no job', 'nightly') ORDER BY 1, 2, 3;
INSERT INTO meter.inbox (tenant, received_at) VALUES ('b', now() - interval '1 hour');
SELECT rule, tenant, service, value FROM meter.signal_no_usage(now()) WHERE rule IN ('no job', 'nightly') ORDER BY 1, 2, 3;
-- nor of whom nothing is known, when it has waited for an hour
UPDATE meter.inbox SET received_at = now() - interval '59 minutes';
SELECT rule, value FROM meter.signal_no_usage(now()) WHERE rule IN ('never', 'old') ORDER BY 1;
UPDATE meter.inbox SET received_at = now() - interval '1 hour';
SELECT rule, value FROM meter.signal_no_usage(now()) WHERE rule IN ('never', 'old') ORDER BY 1;
TRUNCATE meter.inbox;
-- an alert comes, and ends with the next event; what was seven days ago is forgotten
SELECT fired FROM meter_evaluate_alerts(now() - interval '5 minutes');
SELECT rule, state, title FROM meter.alert ORDER BY 1;
DELETE FROM meter.alert_rule WHERE rule IN ('old', 'never', 'nightly');
UPDATE meter.alert_rule SET threshold = 6000 WHERE rule = 'no job';
SELECT fired FROM meter_evaluate_alerts(now());
SELECT rule, tenant, service, title FROM meter.alert WHERE state = 'firing' ORDER BY service;
SELECT meter_track('a', 'job', service => 'nightly', at => now() - interval '2 seconds');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT resolved FROM meter_evaluate_alerts(now());
SELECT state, reason, value FROM meter.alert WHERE service = 'nightly' AND rule = 'no job';
SELECT count(*) FROM meter.signal_no_usage(now() + interval '2 seconds');
SELECT metric, tenant, service, now() - last_at AS ago FROM meter.usage_last ORDER BY 1, 2, 3;
-- with the rule its metric ends
UPDATE meter.alert_rule SET enabled = false WHERE rule IN ('no job', 'gone');
SELECT count(*) FROM meter.signal_no_usage(now());
SELECT (SELECT count(*) FROM meter.usage_last) AS last, (SELECT count(*) FROM meter.usage_last_metric) AS metrics;
TRUNCATE meter.alert, meter.incident, meter.incident_update, meter.notification, meter.alert_evaluation CASCADE;
DELETE FROM meter.alert_rule WHERE signal = 'no_usage';
-- all together, and what comes of it
UPDATE meter.alert_rule SET enabled = true;
SELECT fired, resolved, firing FROM meter_evaluate_alerts(now());
SELECT rule, severity, tenant, service, state, title FROM meter.alert ORDER BY 1, 2;
-- nor does another time zone make another period of it
SET LOCAL timezone = 'Asia/Tokyo';
SELECT fired, resolved, firing FROM meter_evaluate_alerts(now());
-- the budget is raised: its alert is over
UPDATE meter.budget SET amount = 1000;
SELECT fired, resolved, firing FROM meter_evaluate_alerts(now());
SELECT rule, state, reason FROM meter.alert ORDER BY 1, 2;
ROLLBACK;
SELECT meter_reset_limit('q');
DROP EXTENSION meter CASCADE;
DROP FUNCTION used, recent;

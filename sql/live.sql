-- meter.live: always current
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

CREATE VIEW now_live AS SELECT hour, tenant, endpoint, events, errors, quantity, quantity_min, quantity_max,
	quantity_first, quantity_last, cost, meter_sketch_count(latency) AS latencies, meter.users_count(users) AS users
FROM meter.live;
SELECT * FROM now_live;

-- in the inbox, in the log, and rolled up: the same answer
SELECT meter_track('acme', quantity => 3, endpoint => '/a', status => 200, latency_ms => 5, user_id => 'u1', cost => 0.1, at => '2026-03-01 10:10+00');
SELECT meter_track('acme', quantity => 1, endpoint => '/a', status => 500, latency_ms => 7, user_id => 'u2', at => '2026-03-01 10:20+00');
SELECT * FROM now_live;
SELECT appended FROM meter_flush();
SELECT * FROM now_live;
SELECT meter_rollup();
SELECT * FROM now_live;

-- parts in all three places are added up
SELECT meter_track('acme', quantity => 2, endpoint => '/a', status => 200, latency_ms => 9, user_id => 'u1', cost => 0.2, at => '2026-03-01 10:05+00');
SELECT meter_track('acme', quantity => 2, endpoint => '/b', at => '2026-03-01 11:05+00');
SELECT appended FROM meter_flush();
SELECT meter_track('acme', quantity => 9, endpoint => '/a', user_id => 'u3', at => '2026-03-01 10:50+00');
SELECT meter_track('zeta', quantity => 5, endpoint => '/a', at => '2026-03-01 10:50+00');
SELECT * FROM now_live ORDER BY hour, tenant, endpoint;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM now_live ORDER BY hour, tenant, endpoint;

-- rows of the bulk path count once the flush has checked them
COPY meter.inbox (at, tenant, quantity) FROM STDIN;
2026-03-01 12:00+00	acme	100
2026-03-01 12:00+00	\N	100
\.
SELECT sum(quantity) FROM meter.live WHERE hour = '2026-03-01 12:00+00';
SELECT * FROM meter_flush();
SELECT sum(quantity) FROM meter.live WHERE hour = '2026-03-01 12:00+00';

-- live equals a rollup, on random events with corrections, for every column
SELECT setseed(0.75);
INSERT INTO meter.metric (metric, kind) VALUES ('level', 'gauge');
CREATE PROCEDURE add_events(n int) LANGUAGE sql AS $$
	INSERT INTO meter.inbox (at, tenant, metric, quantity, endpoint, latency_ms, user_id, cost, idempotency_key)
	SELECT timestamptz '2026-03-03 00:00+00' + random() * interval '4 hours', 't' || (random() * 2)::int,
		(ARRAY['api_requests', 'level'])[1 + (random() < 0.4)::int], (random() * 9)::int, '/e' || chr(97 + (random() * 3)::int), random() * 100,
		'u' || (random() * 5)::int, random()::numeric(6, 4), 'k' || random()
	FROM generate_series(1, n);
	SELECT * FROM meter_flush();
$$;
CALL add_events(500);
SELECT meter_rollup() > 0;
CALL add_events(200);
DO $$
BEGIN
	PERFORM meter_correct(tenant, idempotency_key, quantity => 99, void => seq % 3 = 0)
	FROM (SELECT * FROM meter.event WHERE idempotency_key IS NOT NULL ORDER BY seq LIMIT 20) AS e;
END
$$;
SELECT appended FROM meter_flush();
CREATE TEMP TABLE before AS SELECT * FROM meter.live;
SELECT meter_rollup() > 0;
SELECT count(*) > 20 AS many, (SELECT count(*) FROM before) = count(*) AS as_many FROM meter.usage_hourly;
SELECT count(*) FROM (
	SELECT hour, tenant, metric, service, endpoint, method, dims, events, successes, errors, first_at, last_at, quantity,
		quantity_min, quantity_max, quantity_first, quantity_last, quantity_seconds, cost, latency::text, users::text FROM before
	EXCEPT
	SELECT hour, tenant, metric, service, endpoint, method, dims, events, successes, errors, first_at, last_at, quantity,
		quantity_min, quantity_max, quantity_first, quantity_last, quantity_seconds, cost, latency::text, users::text FROM meter.usage_hourly) AS differing;
-- and a rollup equals plain SQL over the events that count
SELECT count(*) FROM (
	SELECT date_trunc('hour', at, 'UTC'), tenant, metric, endpoint, count(*), sum(quantity), min(quantity), max(quantity),
		(array_agg(quantity ORDER BY at, seq))[1], (array_agg(quantity ORDER BY at DESC, seq DESC))[1], sum(cost)
	FROM meter.event WHERE superseded_by IS NULL GROUP BY 1, 2, 3, 4
	EXCEPT
	SELECT hour, tenant, metric, endpoint, events, quantity, quantity_min, quantity_max, quantity_first, quantity_last, cost
	FROM meter.usage_hourly) AS differing;

DROP VIEW now_live;
DROP PROCEDURE add_events;

-- a tail larger than the memory for it, with many users and with gauges in more than one part
INSERT INTO meter.inbox (at, tenant, endpoint, user_id, metric, quantity)
SELECT timestamptz '2026-03-04 00:00+00' + (i % 7200) * interval '1 second', 'big', '/x/' || chr(97 + i % 26), 'user' || i,
	CASE WHEN i % 10 = 0 THEN 'level' ELSE 'api_requests' END, i % 13
FROM generate_series(1, 40000) AS i;
SELECT appended FROM meter_flush();
SET meter.rollup_work_mem = '1MB';
CREATE TEMP TABLE big AS SELECT hour, metric, endpoint, sum(events) AS events, sum(quantity) AS quantity, sum(quantity_seconds) AS seconds,
	bool_and(meter.users_count(users) > 40) AS users FROM meter.live WHERE tenant = 'big' GROUP BY 1, 2, 3;
SELECT count(*), sum(events), sum(quantity), bool_and(users) FROM big;
SELECT meter_rollup() > 0;
RESET meter.rollup_work_mem;
SELECT count(*) FROM (
	SELECT hour, metric, endpoint, events, quantity, quantity_seconds FROM meter.usage_hourly WHERE tenant = 'big'
	EXCEPT SELECT hour, metric, endpoint, events, quantity, seconds FROM big) AS differing;

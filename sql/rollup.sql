-- meter_rollup(): every column against plain SQL over the events
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

INSERT INTO meter.metric (metric, dimensions) VALUES ('tokens', ARRAY['model', 'region']);
SELECT setseed(0.5);

-- 20 000 events of 5 tenants over two months, in random order, in several flushes and rollups
CREATE TEMP TABLE raw AS
SELECT i, timestamptz '2026-03-30 00:00+00' + random() * interval '3 days' AS at,
	'tenant' || (random() * 4)::int AS tenant,
	(ARRAY['api_requests', 'tokens'])[1 + (random() < 0.3)::int] AS metric,
	round((random() * 1000)::numeric, 3) AS quantity,
	(ARRAY['api', 'openai', NULL])[1 + (random() * 2)::int] AS service,
	(ARRAY['/a', '/b', '/c/:id', NULL])[1 + (random() * 3)::int] AS endpoint,
	(ARRAY['GET', 'POST', NULL])[1 + (random() * 2)::int] AS method,
	(ARRAY[200, 201, 302, 400, 404, 429, 429, 500, 503, NULL])[1 + (random() * 9)::int] AS status,
	CASE WHEN random() < 0.9 THEN exp(random() * 10 - 2) END AS latency_ms,
	CASE WHEN random() < 0.8 THEN 'user' || (random() * 30)::int END AS user_id,
	CASE WHEN random() < 0.5 THEN round((random() / 10)::numeric, 6) END AS cost,
	CASE WHEN random() < 0.7 THEN jsonb_build_object('model', (ARRAY['gpt-4', 'gpt-4o-mini'])[1 + (random())::int],
		'region', (random() * 2)::int, 'other', random()) END AS metadata,
	CASE WHEN random() < 0.1 THEN 'broken' END AS error_message
FROM generate_series(1, 20000) AS i;

CREATE PROCEDURE load(lo int, hi int) LANGUAGE sql AS $$
	INSERT INTO meter.inbox (at, tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id,
		cost, metadata, error_message)
	SELECT at, tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata,
		error_message FROM raw WHERE i BETWEEN lo AND hi;
$$;
CALL load(1, 9000);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
CALL load(9001, 9001);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
CALL load(9002, 20000);
SELECT appended FROM meter_flush();
-- little memory: groups are written out many times
SET meter.rollup_work_mem = '1MB';
SELECT meter_rollup();
RESET meter.rollup_work_mem;
SELECT meter_rollup();

CREATE TEMP VIEW expected AS
SELECT date_trunc('hour', at, 'UTC') AS hour, tenant, metric, service, endpoint, method,
	CASE WHEN metric = 'tokens' AND metadata IS NOT NULL
		THEN jsonb_build_object('model', metadata -> 'model', 'region', metadata -> 'region') ELSE '{}' END AS dims,
	count(*) AS events,
	count(*) - count(*) FILTER (WHERE status >= 400 OR status IS NULL AND error_message IS NOT NULL) AS successes,
	count(*) FILTER (WHERE status >= 400 OR status IS NULL AND error_message IS NOT NULL) AS errors,
	count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS errors_4xx,
	count(*) FILTER (WHERE status >= 500) AS errors_5xx,
	count(*) FILTER (WHERE status = 429) AS errors_429,
	0::bigint AS folded,
	min(at) AS first_at, max(at) AS last_at,
	sum(quantity) AS quantity, min(quantity) AS quantity_min, max(quantity) AS quantity_max,
	(array_agg(quantity ORDER BY at))[1] AS quantity_first,
	(array_agg(quantity ORDER BY at DESC))[1] AS quantity_last,
	NULL::numeric AS quantity_seconds,
	sum(cost) AS cost,
	count(latency_ms) AS latencies
FROM raw GROUP BY 1, 2, 3, 4, 5, 6, 7;
CREATE TEMP VIEW actual AS
SELECT hour, tenant, metric, service, endpoint, method, dims, events, successes, errors, errors_4xx, errors_5xx,
	errors_429, folded, first_at, last_at, quantity, quantity_min, quantity_max, quantity_first, quantity_last,
	quantity_seconds, cost, COALESCE(meter_sketch_count(latency), 0) AS latencies
FROM meter.usage_hourly;
SELECT count(*) > 1000 AS many_groups, sum(events) FROM expected;
SELECT count(*) FROM (TABLE expected EXCEPT TABLE actual) AS missing;
SELECT count(*) FROM (TABLE actual EXCEPT TABLE expected) AS superfluous;
SELECT count(*) = (SELECT count(*) FROM expected) AS as_many FROM actual;

-- percentiles of a day: within 1 % of the order statistic
SELECT bool_and(abs(meter_percentile(d.latency, q) - r.exact) <= 0.01 * r.exact), count(*)
FROM (SELECT (hour AT TIME ZONE 'UTC')::date AS day, tenant, meter_sketch_merge(latency) AS latency
      FROM meter.usage_hourly GROUP BY 1, 2) AS d
JOIN (SELECT (at AT TIME ZONE 'UTC')::date AS day, tenant, q, percentile_disc(q) WITHIN GROUP (ORDER BY latency_ms) AS exact
      FROM raw, unnest(ARRAY[0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1]) AS q GROUP BY 1, 2, 3) AS r USING (day, tenant);

-- users: exact sets by day, and hll, which is exact for so few
SELECT count(*) FROM (
	SELECT (at AT TIME ZONE 'UTC')::date, tenant, metric, user_id,
		CASE WHEN metric = 'tokens' AND metadata IS NOT NULL THEN metadata - 'other' ELSE '{}' END, count(*),
		count(*) FILTER (WHERE status >= 400 OR status IS NULL AND error_message IS NOT NULL),
		min(at), max(at), sum(quantity), sum(cost)
	FROM raw WHERE user_id IS NOT NULL GROUP BY 1, 2, 3, 4, 5
	EXCEPT SELECT day, tenant, metric, user_id, dims, events, errors, first_at, last_at, quantity, cost
	FROM meter.usage_user_daily) AS missing;
SELECT count(*) = (SELECT count(*) FROM (SELECT DISTINCT (at AT TIME ZONE 'UTC')::date, tenant, metric, user_id,
		CASE WHEN metric = 'tokens' AND metadata IS NOT NULL THEN metadata - 'other' ELSE '{}' END
	FROM raw WHERE user_id IS NOT NULL) AS d) AS as_many FROM meter.usage_user_daily;
SELECT bool_and(h.users = r.users), count(*) FROM
	(SELECT hour, tenant, metric, dims, service, endpoint, method, meter.users_count(users) AS users FROM meter.usage_hourly) AS h
	JOIN (SELECT hour, tenant, metric, dims, service, endpoint, method, count(DISTINCT user_id) AS users
	      FROM (SELECT date_trunc('hour', at, 'UTC') AS hour, tenant, metric, CASE WHEN metric = 'tokens' AND metadata IS NOT NULL
		      THEN jsonb_build_object('model', metadata -> 'model', 'region', metadata -> 'region') ELSE '{}' END AS dims,
		      service, endpoint, method, user_id FROM raw) AS r GROUP BY 1, 2, 3, 4, 5, 6, 7) AS r
	ON (h.hour, h.tenant, h.metric, h.dims) = (r.hour, r.tenant, r.metric, r.dims)
	AND h.service IS NOT DISTINCT FROM r.service AND h.endpoint IS NOT DISTINCT FROM r.endpoint
	AND h.method IS NOT DISTINCT FROM r.method;

-- a partition a month
SELECT tableoid::regclass, sum(events) FROM meter.usage_hourly GROUP BY 1 ORDER BY tableoid::regclass::text COLLATE "C";
SELECT name, last_seq FROM meter.consumer;

-- a rollup that rolls back has not happened
SELECT meter_track('late', at => '2026-03-30 05:00+00');
SELECT appended FROM meter_flush();
BEGIN;
SELECT meter_rollup();
ROLLBACK;
SELECT count(*) FROM meter.usage_hourly WHERE tenant = 'late';
SELECT meter_rollup();
SELECT hour, events FROM meter.usage_hourly WHERE tenant = 'late';
DROP PROCEDURE load;

-- many users in one group: hll, within its error
INSERT INTO meter.inbox (at, tenant, user_id) SELECT '2026-03-05 10:00+00', 'crowd', 'user' || i FROM generate_series(1, 20000) AS i;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT meter.users_count(users) BETWEEN 18000 AND 22000 AS near FROM meter.usage_hourly WHERE tenant = 'crowd';
SELECT count(*) FROM meter.usage_user_daily WHERE tenant = 'crowd';

-- dimensions: only declared ones, only scalars, equal numbers are one group
SELECT meter_track('dim', 'tokens', 1, metadata => '{"model": "a", "region": 1, "x": 1}', at => '2026-03-05 10:00+00');
SELECT meter_track('dim', 'tokens', 2, metadata => '{"model": "a", "region": 1.00}', at => '2026-03-05 10:00+00');
SELECT meter_track('dim', 'tokens', 4, metadata => '{"model": ["a"], "region": null}', at => '2026-03-05 10:00+00');
SELECT meter_track('dim', 'tokens', 8, metadata => '{"model": true}', at => '2026-03-05 10:00+00');
SELECT meter_track('dim', 'tokens', 16, metadata => jsonb_build_object('model', repeat('ü', 100)), at => '2026-03-05 10:00+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT CASE WHEN octet_length(dims ->> 'model') > 100 THEN '(128 bytes)' ELSE dims::text END AS dims, quantity,
	octet_length(dims ->> 'model') AS length
FROM meter.usage_hourly WHERE tenant = 'dim' ORDER BY quantity;

-- the cap on groups: existing groups stay, totals are kept, what is folded is counted
SET meter.max_groups_per_hour = 5;
INSERT INTO meter.inbox (at, tenant, endpoint, method, user_id, latency_ms, cost)
SELECT '2026-03-06 10:00+00', 'cap', '/e' || chr(96 + i % 3 + 1), 'GET', 'u' || i % 7, i, 0.5 FROM generate_series(1, 30) AS i;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
INSERT INTO meter.inbox (at, tenant, endpoint, method, user_id, latency_ms, cost)
SELECT '2026-03-06 10:00+00', 'cap', '/f' || chr(96 + j), 'GET', 'u' || i % 7, i, 0.5
FROM generate_series(1, 20) AS j, generate_series(1, CASE WHEN j IN (4, 9) THEN 10 ELSE 2 END) AS i;
INSERT INTO meter.inbox (at, tenant, endpoint, method) VALUES ('2026-03-06 10:00+00', 'cap', '/ea', 'GET');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT endpoint, method, events, folded, cost, meter_sketch_count(latency) AS latencies, meter.users_count(users) AS users
FROM meter.usage_hourly WHERE tenant = 'cap' ORDER BY endpoint;
SELECT sum(events), sum(cost), sum(folded) FROM meter.usage_hourly WHERE tenant = 'cap';
-- dimensions that run away are folded too: 5 groups, 5 for their dimensions, 1 for the rest
INSERT INTO meter.inbox (at, tenant, metric, endpoint, metadata)
SELECT '2026-03-06 11:00+00', 'cap', 'tokens', '/x', jsonb_build_object('model', 'm' || i) FROM generate_series(1, 40) AS i;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT count(*), sum(events), sum(folded), sum(events) FILTER (WHERE dims ? '(other)') AS no_dims
FROM meter.usage_hourly WHERE tenant = 'cap' AND hour = '2026-03-06 11:00+00';
RESET meter.max_groups_per_hour;

-- a number of thousands of digits is no dimension, since no index has room for it
INSERT INTO meter.inbox (at, tenant, metric, metadata)
SELECT '2026-03-07 10:00+00', 'digits', 'tokens', jsonb_build_object('model', repeat('7', 7000)::numeric);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT dims, events FROM meter.usage_hourly WHERE tenant = 'digits';

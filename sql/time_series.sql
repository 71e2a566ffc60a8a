-- meter_time_series(): usage by time, without gaps
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;
\set VERBOSITY terse

-- before anything was tracked, and of what nobody has heard
SELECT at, events, errors, error_rate, quantity, cost, unique_users, p95 FROM meter_time_series('api_requests', '2026-03-01', '2026-03-01 02:00');
SELECT meter_time_series('tokens', '2026-03-01', '2026-03-02');

-- Five days around the change of clocks in Berlin (2026-03-29 01:00 UTC), by seven minutes, of two metrics, one of them with dimensions.
INSERT INTO meter.metric (metric, dimensions) VALUES ('tokens', '{model,stream,n}');
INSERT INTO meter.inbox (at, tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata)
SELECT timestamptz '2026-03-27 20:03+00' + i * interval '7 minutes', (ARRAY['acme', 'zeta'])[1 + i % 2],
	CASE WHEN i % 3 = 0 THEN 'tokens' ELSE 'api_requests' END, i % 11, CASE WHEN i % 5 > 0 THEN 's' || i % 5 END,
	'/v1/' || (ARRAY['users', 'orders'])[1 + i % 4 / 2], 'GET', CASE WHEN i % 13 = 0 THEN 500 WHEN i % 17 = 0 THEN 429 ELSE 200 END,
	1 + i * 37 % 900, 'u' || i % 23, CASE WHEN i % 2 = 0 THEN 0.001 * i END,
	CASE WHEN i % 3 = 0 THEN jsonb_build_object('model', (ARRAY['m1', 'm2'])[1 + i / 3 % 2], 'stream', i % 4 = 0) END
FROM generate_series(0, 1000) AS i;
-- the first 800 are in the totals, 100 in the log, 101 in the inbox, checked
CREATE TABLE later AS SELECT * FROM meter.inbox WHERE at >= timestamptz '2026-03-27 20:03+00' + 800 * interval '7 minutes';
DELETE FROM meter.inbox AS i USING later AS l WHERE i.at = l.at;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
INSERT INTO meter.inbox (at, tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata)
SELECT at, tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata FROM later ORDER BY at LIMIT 100;
SELECT appended FROM meter_flush();
SET meter.durability = commit;
SELECT count(meter_track(tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata, at => at))
FROM (SELECT * FROM later ORDER BY at OFFSET 100) AS l;

-- What it has to be, from the events: steps by the calendar in a time zone, of hours that are UTC's.
CREATE VIEW raw AS
SELECT at, tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata FROM meter.event
UNION ALL
SELECT at, tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata FROM meter.inbox;
SELECT count(*) FROM raw;
CREATE FUNCTION wanted(of_metric text, "from" timestamptz, "to" timestamptz, unit text, zone text, of_tenant text)
RETURNS TABLE (at timestamptz, events bigint, errors bigint, refused bigint, quantity numeric, lowest numeric, highest numeric, cost numeric, users bigint, p95 double precision)
LANGUAGE SQL AS $$
	SELECT date_trunc(unit, date_trunc('hour', r.at) AT TIME ZONE zone) AT TIME ZONE zone, count(*), count(*) FILTER (WHERE status >= 400),
		count(*) FILTER (WHERE status = 429), sum(quantity), min(quantity), max(quantity), sum(cost), count(DISTINCT user_id),
		percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_ms)
	FROM raw AS r
	WHERE metric = of_metric AND date_trunc('hour', r.at) >= "from" AND date_trunc('hour', r.at) < "to" AND (of_tenant IS NULL OR tenant = of_tenant)
	GROUP BY 1
$$;
-- no difference in any of these, and as many steps as the calendar has
SELECT c.*, count(s.at) AS steps, sum(s.events) AS events,
	count(*) FILTER (WHERE (COALESCE(w.events, 0), COALESCE(w.errors, 0), COALESCE(w.refused, 0), COALESCE(w.quantity, 0), COALESCE(w.users, 0))
			IS DISTINCT FROM (s.events, s.errors, s.refused, s.quantity, s.unique_users)
		OR (w.lowest, w.highest, w.cost) IS DISTINCT FROM (s.quantity_min, s.quantity_max, s.cost)
		OR abs(w.p95 - s.p95) > 0.01 * w.p95 OR (w.p95 IS NULL) <> (s.p95 IS NULL)) AS wrong
FROM (VALUES
	('api_requests', '2026-03-27', '2026-04-02', 'day', 'UTC', NULL),
	('api_requests', '2026-03-27', '2026-04-02', 'day', 'Europe/Berlin', 'acme'),
	('tokens', '2026-03-28 10:30', '2026-03-30 12:00', 'day', 'America/New_York', 'zeta'),
	('tokens', '2026-03-01', '2026-04-02', 'day', 'Asia/Kathmandu', NULL),
	('api_requests', '2026-03-20', '2026-04-12', 'week', 'Europe/Berlin', NULL),
	('api_requests', '2026-01-01', '2026-06-01', 'month', 'Asia/Tokyo', NULL),
	('api_requests', '2026-03-27 12:00', '2026-04-02', 'hour', 'UTC', 'zeta')
) AS c (metric, f, t, unit, zone, tenant)
CROSS JOIN LATERAL meter_time_series(c.metric, c.f::timestamptz, c.t::timestamptz, ('1 ' || c.unit)::interval,
	filter => CASE WHEN c.tenant IS NULL THEN '{}' ELSE jsonb_build_object('tenant', c.tenant) END, time_zone => c.zone) AS s
LEFT JOIN LATERAL wanted(c.metric, c.f::timestamptz, c.t::timestamptz, c.unit, c.zone, c.tenant) AS w ON w.at = s.at
GROUP BY c.metric, c.f, c.t, c.unit, c.zone, c.tenant ORDER BY c.unit, c.zone;

-- the day of 23 hours
SELECT at, lead(at) OVER (ORDER BY at) - at AS long FROM meter_time_series('api_requests', '2026-03-28', '2026-03-31', '1 day', time_zone => 'Europe/Berlin');
-- In the Azores, at one in the morning clocks are put back to midnight: the first and the second belong to that day.
SELECT at, lead(at) OVER (ORDER BY at) - at AS long FROM meter_time_series('api_requests', '2025-10-25 00:00', '2025-10-27 02:00', '1 day', time_zone => 'Atlantic/Azores');
-- steps of several: hours from the first one, days from the first one, weeks from a Monday, quarters and years of the calendar
SELECT array_agg(at ORDER BY at) FROM meter_time_series('api_requests', '2026-03-28 09:10', '2026-03-29', '6 hours');
SELECT array_agg(at ORDER BY at) FROM meter_time_series('api_requests', '2026-03-28 09:10', '2026-04-03', '2 days');
SELECT array_agg(at ORDER BY at) FROM meter_time_series('api_requests', '2026-03-28 09:10', '2026-04-13', '7 days');
SELECT array_agg(at ORDER BY at) FROM meter_time_series('api_requests', '2026-02-10', '2026-08-01', '3 months');
SELECT array_agg(at ORDER BY at) FROM meter_time_series('api_requests', '2025-02-10', '2026-08-01', '1 year');

-- Groups: a row for each step and group, and together what is without groups.
SELECT g.name, count(*), count(DISTINCT s."group") AS groups, count(*) FILTER (WHERE s."group" IS NULL) AS without, sum(s.events) AS events
FROM unnest('{tenant,service,endpoint,method,model,stream,n}'::text[]) AS g(name)
CROSS JOIN LATERAL meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', g.name) AS s GROUP BY g.name ORDER BY g.name;
SELECT s."group", sum(s.events) AS events, sum(s.quantity) AS quantity, r.n, r.q
FROM meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', 'model', '{"tenant": "acme", "stream": true}') AS s
JOIN (SELECT metadata ->> 'model' AS model, count(*) AS n, sum(quantity) AS q FROM raw WHERE metric = 'tokens' AND tenant = 'acme'
	AND metadata @> '{"stream": true}' GROUP BY 1) AS r ON r.model = s."group" GROUP BY s."group", r.n, r.q ORDER BY 1;
-- filters: of a name, of none, of a dimension that no event has
SELECT f.filter, (SELECT sum(s.events) FROM meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', filter => f.filter::jsonb) AS s) AS events,
	(SELECT count(*) FROM raw AS r WHERE r.metric = 'tokens' AND CASE f.filter
		WHEN '{"service": "s3"}' THEN r.service = 's3' WHEN '{"service": null}' THEN r.service IS NULL
		WHEN '{"endpoint": "/v1/orders", "model": "m1"}' THEN r.endpoint = '/v1/orders' AND r.metadata ->> 'model' = 'm1'
		WHEN '{"n": null}' THEN true WHEN '{"n": 5}' THEN false WHEN '{"stream": false}' THEN r.metadata ->> 'stream' = 'false' END) AS wanted
FROM unnest(ARRAY['{"service": "s3"}', '{"service": null}', '{"endpoint": "/v1/orders", "model": "m1"}', '{"n": null}', '{"n": 5}', '{"stream": false}']) AS f(filter);

-- A gauge: 10 from 06:00 to 12:00 and 30 from then on, so the day has 6 * 10 + 12 * 30 = 420 in 18 hours.
INSERT INTO meter.metric (metric, kind) VALUES ('gb', 'gauge');
INSERT INTO meter.inbox (tenant, metric, quantity, at) VALUES ('acme', 'gb', 10, '2026-03-10 06:00'), ('acme', 'gb', 30, '2026-03-10 12:00');
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0;
SELECT at, events, quantity_min, quantity_max, round(time_weighted, 4) AS time_weighted FROM meter_time_series('gb', '2026-03-09', '2026-03-12', '1 day');
-- Of several all are added: 4 from 06:00 and 6 from 06:30 to 12:00, then 6 and 2; another tenant's 20 from 09:00 on.
-- acme has 0.5 * 4 + 5.5 * 10 + 12 * 8 = 153 in 18 hours, beta 15 * 20 = 300; together 453 in 18.
INSERT INTO meter.metric (metric, kind, dimensions) VALUES ('tasks', 'gauge', '{part}');
INSERT INTO meter.inbox (tenant, metric, quantity, at, metadata) VALUES ('acme', 'tasks', 4, '2026-03-10 06:00', '{"part": "web"}'),
	('acme', 'tasks', 6, '2026-03-10 06:30', '{"part": "job"}'), ('acme', 'tasks', 2, '2026-03-10 12:00', '{"part": "web"}'),
	('beta', 'tasks', 20, '2026-03-10 09:00', NULL);
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0;
SELECT g.by, s."group", round(s.time_weighted, 4) AS time_weighted, round(w.level, 4) AS wanted
FROM (VALUES (NULL, '{}', NULL, 453 / 18.0), (NULL, '{"tenant": "acme"}', NULL, 153 / 18.0), (NULL, '{"part": "job"}', NULL, 6),
	('tenant', '{}', 'acme', 153 / 18.0), ('tenant', '{}', 'beta', 20),
	('part', '{"tenant": "acme"}', 'web', (6 * 4 + 12 * 2) / 18.0), ('part', '{"tenant": "acme"}', 'job', 6)) AS w(by, filter, "group", level)
JOIN LATERAL (SELECT w.by) AS g ON true
JOIN LATERAL meter_time_series('tasks', '2026-03-10', '2026-03-11', '1 day', w.by, w.filter::jsonb) AS s ON s."group" IS NOT DISTINCT FROM w."group"
ORDER BY w.by NULLS FIRST, w.filter, w."group";
-- an hour in which the second begins, and one of which both are known
SELECT at, time_weighted FROM meter_time_series('tasks', '2026-03-10 06:00', '2026-03-10 08:00', filter => '{"tenant": "acme"}');

-- who may: analysts all, a tenant's role its own
CREATE ROLE regress_series_analyst;
CREATE ROLE regress_series_acme;
SELECT meter_grant('regress_series_analyst', 'analyst'), meter_grant('regress_series_acme', 'tenant');
INSERT INTO meter.tenant (tenant, role_name) VALUES ('acme', 'regress_series_acme');
SET ROLE regress_series_analyst;
SELECT sum(events) FROM meter_time_series('api_requests', '2026-03-27', '2026-04-02', '1 day');
SET ROLE regress_series_acme;
SELECT "group", sum(events) FROM meter_time_series('api_requests', '2026-03-27', '2026-04-02', '1 day', 'tenant') GROUP BY 1;
RESET ROLE;
SELECT count(*) FROM raw WHERE metric = 'api_requests' AND tenant = 'acme';
REVOKE ALL ON ALL TABLES IN SCHEMA meter FROM regress_series_acme;
SET ROLE regress_series_acme;
SELECT meter_time_series('api_requests', '2026-03-27', '2026-04-02');
RESET ROLE;

-- what is refused
\set VERBOSITY sqlstate
SELECT meter_time_series(NULL, '2026-03-27', '2026-04-02');
SELECT meter_time_series('tokens', NULL, '2026-04-02');
SELECT meter_time_series('tokens', '2026-03-27', NULL);
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', NULL);
SELECT meter_time_series('tokens', '-infinity', '2026-04-02');
SELECT meter_time_series('tokens', '2026-03-27', 'infinity');
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT meter_time_series('tokens', '2026-04-02', '2026-04-02');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '30 minutes');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '0');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '-1 day');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day 1 hour');
SELECT meter_time_series('tokens', '0001-03-27', '2026-04-02', '1 hour');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', time_zone => 'Mars/Olympus');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 hour', time_zone => 'Mars/Olympus');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', 'user_id');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', 'model', '[]');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', 'model', 'null');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', 'model', '{"status": 200}');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', 'model', '{"service": 5}');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', 'model', '{"model": ["m1"]}');
SELECT meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', 'model', '{"tenant": null}');
SELECT meter.series_fits(1000, 1000), meter.series_fits(1000, 1001);
-- no filter is none
SELECT count(*) FROM meter_time_series('tokens', '2026-03-27', '2026-04-02', '1 day', NULL, NULL);

DROP OWNED BY regress_series_analyst, regress_series_acme;
DROP ROLE regress_series_analyst, regress_series_acme;
DROP FUNCTION wanted;
DROP VIEW raw;
DROP TABLE later;

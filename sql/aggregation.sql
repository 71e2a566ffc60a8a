-- meter.billing_usage(): every aggregation against plain SQL over the events
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET meter.retention = 0;

INSERT INTO meter.metric (metric, kind, dimensions, allow_negative) VALUES
	('calls', 'counter', '{model,region}', false), ('balance', 'counter', '{}', true),
	('disk', 'gauge', '{server}', false), ('flow', 'gauge', '{}', true);

-- Tenants whose months begin at full hours (UTC) and between them, one of them in
-- the middle of the month; in New York clocks change on 8 March.
INSERT INTO meter.plan (plan) VALUES ('early'), ('late');
INSERT INTO meter.tenant (tenant, plan, time_zone, started_on, billing_anchor) VALUES
	('utc', 'late', 'UTC', '2026-01-01', 1), ('york', 'late', 'America/New_York', '2026-01-01', 1),
	('india', 'late', 'Asia/Kolkata', '2026-01-01', 1), ('nepal', 'late', 'Asia/Kathmandu', '2026-01-01', 15),
	('rare', 'late', 'Asia/Kolkata', '2026-01-01', 1), ('none', 'late', 'UTC', '2026-01-01', 1);
INSERT INTO meter.subscription (tenant, valid_from, plan)
SELECT tenant, day, s.plan FROM meter.tenant, (VALUES ('early', date '2026-01-01'), ('late', '2026-03-20')) AS s(plan, day)
ON CONFLICT DO NOTHING;

-- Events from January to May, a third of them at full minutes or hours, in
-- several batches, some late; then corrections, of which some void.
SELECT setseed(0.25);
CREATE PROCEDURE load(n int, since timestamptz, span interval) LANGUAGE sql AS $$
	INSERT INTO meter.inbox (at, tenant, metric, quantity, service, endpoint, user_id, cost, metadata, idempotency_key)
	SELECT date_trunc((ARRAY['hour', 'minute', 'microseconds'])[1 + i % 3], since + random() * span),
		(ARRAY['utc', 'york', 'india', 'nepal'])[1 + floor(random() * 4)::int], m.metric,
		CASE m.metric WHEN 'calls' THEN 1 + floor(random() * 5)
			WHEN 'balance' THEN round((random() * 100 - 50)::numeric, 3)
			WHEN 'disk' THEN round((random() * 1000)::numeric, 2) ELSE floor(random() * 20) - 10 END,
		(ARRAY['api', NULL])[1 + i % 2],
		CASE WHEN m.metric <> 'flow' THEN (ARRAY['/a', NULL])[1 + floor(random() * 2)::int] END,
		CASE WHEN random() < 0.9 THEN 'u' || floor(random() * 40) END,
		CASE WHEN random() < 0.6 THEN round((random() / 10)::numeric, 6) END,
		CASE m.metric WHEN 'calls' THEN jsonb_build_object('model', (ARRAY['small', 'large'])[1 + floor(random() * 2)::int],
				'region', floor(random() * 2), 'trace', random())
			WHEN 'disk' THEN jsonb_build_object('server', 's' || floor(random() * 2)) END,
		'k' || random()
	FROM generate_series(1, n) AS i
	CROSS JOIN LATERAL (SELECT (ARRAY['calls', 'calls', 'balance', 'disk', 'flow'])[1 + i % 5] AS metric) AS m;
	SELECT * FROM meter_flush();
	SELECT meter_rollup();
$$;
CALL load(800, '2026-01-10 00:00+00', '30 days');
CALL load(3200, '2026-02-25 00:00+00', '60 days');
CALL load(800, '2026-02-26 00:00+00', '50 days');
DO $$
BEGIN
	PERFORM meter_correct(tenant, idempotency_key, quantity => 7, void => seq % 3 = 0)
	FROM (SELECT * FROM meter.event WHERE seq % 17 = 0 ORDER BY seq) AS e;
END
$$;
-- one with a level from before, and little else; half an hour of its March is in February (UTC)
SELECT meter_track('rare', 'disk', 100, metadata => '{"server": "s1"}', user_id => 'u1', at => '2026-01-05 10:00+00');
SELECT meter_track('rare', 'disk', 30, metadata => '{"server": "s0"}', at => '2026-02-28 18:15+00');
SELECT meter_track('rare', 'disk', 40, metadata => '{"server": "s0"}', at => '2026-02-28 18:30+00');
SELECT meter_track('rare', 'calls', 3, metadata => '{"model": "small"}', at => '2026-02-28 18:29:59.999999+00');
SELECT meter_track('rare', 'calls', 5, metadata => '{"model": "small"}', cost => 0.5, user_id => 'u1', at => '2026-02-28 18:30+00');
SELECT meter_track('rare', 'calls', 7, metadata => '{"model": "small"}', user_id => 'u2', at => '2026-03-31 18:30+00');
SELECT appended > 0 FROM meter_flush();
SELECT meter_rollup() > 0;

-- All aggregations of all metrics with and without dimensions: for the month, for
-- a part that begins in it, and for one that begins and ends with a plan.
CREATE TEMP TABLE wanted AS
SELECT m.metric, m.dims::jsonb, a.aggregation, a.percentile, a.model
FROM (VALUES ('calls', '{}'), ('calls', '{"model": "small"}'), ('calls', '{"model": "large", "region": 1.0}'), ('balance', '{}'),
	('disk', '{}'), ('disk', '{"server": "s1"}'), ('flow', '{}')) AS m(metric, dims)
CROSS JOIN (VALUES ('count', NULL, 'per_unit'), ('sum', NULL, 'per_unit'), ('min', NULL, 'per_unit'), ('max', NULL, 'per_unit'),
	('avg', NULL, 'per_unit'), ('last', NULL, 'per_unit'), ('unique', NULL, 'per_unit'), ('time_weighted', NULL, 'per_unit'),
	('weighted_avg', NULL, 'per_unit'), ('percentile', 0, 'per_unit'), ('percentile', 4, 'per_unit'), ('percentile', 50, 'per_unit'),
	('percentile', 95, 'per_unit'), ('percentile', 100, 'per_unit'), ('sum', NULL, 'dynamic'), ('sum', NULL, 'percentage')) AS a(aggregation, percentile, model);
CREATE TEMP VIEW params AS SELECT * FROM (VALUES ('per_unit', '{"unit_amount": 1}'::jsonb), ('dynamic', '{}'), ('percentage', '{"rate_percent": 1}')) AS p(model, params);
-- also those that mean nothing
SET client_min_messages = error;
INSERT INTO meter.price (price, plan, metric, dims, aggregation, percentile, model, params, valid_from, valid_to)
SELECT 'p' || row_number() OVER (), t.plan, metric, dims, aggregation, percentile, model, params, t.valid_from, t.valid_to
FROM wanted JOIN params USING (model)
JOIN (VALUES (NULL, date '2026-01-01', NULL::date), (NULL, '2026-03-28', '2026-03-29'), ('late', '2026-01-01', NULL)) AS t(plan, valid_from, valid_to)
	ON t.valid_to IS NULL AND t.plan IS NULL OR aggregation <> 'percentile' OR percentile = 95;
RESET client_min_messages;

-- what is to be found, by plain SQL
CREATE TEMP TABLE seg AS
SELECT row_number() OVER ()::int AS no, s.tenant, s.price_id, s.from_at, s.to_at, p.metric, p.dims, p.aggregation, p.percentile, p.model,
	m.kind = 'gauge' AS gauge, extract(epoch FROM b.period_to - b.period_from) AS period_seconds
FROM meter.billing_price('2026-03-01') AS s JOIN meter.price AS p USING (price_id) JOIN meter.metric AS m USING (metric)
JOIN meter.billing_period('2026-03-01') AS b ON b.tenant = s.tenant;
SELECT tenant, from_at, to_at, count(*) FROM seg GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
-- the events that count, of gauges with the time until which they hold
CREATE TEMP TABLE counted AS
SELECT seq, at, tenant, metric, quantity, cost, user_id, COALESCE(metadata - 'trace', '{}') AS dims,
	CASE WHEN metric = ANY ('{disk,flow}') THEN lead(at, 1, 'infinity') OVER (
		PARTITION BY tenant, metric, service, endpoint, method, metadata - 'trace' ORDER BY at, seq) ELSE at END AS until
FROM meter.event WHERE superseded_by IS NULL;
CREATE TEMP TABLE period AS SELECT DISTINCT ON (tenant, metric, dims, from_at, to_at) no AS period, tenant, metric, dims, from_at, to_at, gauge FROM seg;
CREATE TEMP TABLE inside AS
SELECT p.period, p.from_at, p.to_at, p.gauge, c.seq, c.at, c.until, c.quantity, c.cost, c.user_id FROM period AS p
JOIN counted AS c ON c.tenant = p.tenant AND c.metric = p.metric AND c.dims @> p.dims AND c.at < p.to_at
	AND (c.at >= p.from_at OR c.until > p.from_at);
-- what each of them adds to each hour it touches
CREATE TEMP TABLE touched AS
SELECT period, hour, CASE WHEN gauge
	THEN quantity * extract(epoch FROM LEAST(until, to_at, hour + interval '1 hour') - GREATEST(at, from_at, hour))
	ELSE quantity END AS level
FROM inside
CROSS JOIN LATERAL generate_series(date_trunc('hour', GREATEST(at, from_at), 'UTC'),
	CASE WHEN gauge THEN LEAST(until, to_at) - interval '1 microsecond' ELSE at END, '1 hour') AS h(hour);
CREATE TEMP TABLE hourly AS
SELECT p.period, h.hour, COALESCE(t.level, 0) / CASE WHEN gauge
	THEN extract(epoch FROM LEAST(to_at, h.hour + interval '1 hour') - GREATEST(from_at, h.hour)) ELSE 1 END AS level
FROM period AS p
CROSS JOIN LATERAL generate_series(date_trunc('hour', from_at, 'UTC'), to_at - interval '1 microsecond', '1 hour') AS h(hour)
LEFT JOIN (SELECT period, hour, sum(level) AS level FROM touched GROUP BY 1, 2) AS t ON t.period = p.period AND t.hour = h.hour;
CREATE TEMP TABLE brute AS
WITH e AS (
	SELECT period, count(*) AS n, sum(quantity), sum(cost) AS cost, count(DISTINCT user_id) AS users,
		array_agg(quantity ORDER BY at, seq) AS list
	FROM inside WHERE at >= from_at GROUP BY period
), l AS (
	SELECT period, min(quantity), max(quantity), (array_agg(quantity ORDER BY at DESC, seq DESC))[1] AS last,
		sum(quantity * extract(epoch FROM LEAST(until, to_at) - GREATEST(at, from_at))) FILTER (WHERE gauge) AS level_seconds
	FROM inside GROUP BY period
), d AS (
	SELECT h.period, p.p, percentile_disc(p.p::float8 / 100) WITHIN GROUP (ORDER BY level) AS disc
	FROM hourly AS h, (VALUES (0), (4), (50), (95), (100)) AS p(p)
	WHERE EXISTS (SELECT FROM inside AS i WHERE i.period = h.period) GROUP BY 1, 2
)
SELECT s.no, CASE
	WHEN s.model = 'dynamic' THEN COALESCE(e.cost, 0)
	WHEN s.aggregation = 'count' THEN COALESCE(e.n, 0)
	WHEN s.aggregation = 'sum' THEN COALESCE(e.sum, 0)
	WHEN s.aggregation = 'avg' THEN e.sum / NULLIF(e.n, 0)
	WHEN s.aggregation = 'unique' THEN COALESCE(e.users, 0)
	WHEN s.aggregation = 'min' THEN l.min
	WHEN s.aggregation = 'max' THEN l.max
	WHEN s.aggregation = 'last' THEN l.last
	WHEN s.aggregation = 'time_weighted' THEN l.level_seconds / 3600
	WHEN s.aggregation = 'weighted_avg' THEN l.level_seconds / period_seconds
	WHEN s.aggregation = 'percentile' THEN d.disc END AS quantity,
	CASE WHEN s.model = 'percentage' THEN COALESCE(e.list, '{}') END AS events
FROM seg AS s
JOIN period AS p USING (tenant, metric, dims, from_at, to_at)
LEFT JOIN e ON e.period = p.period LEFT JOIN l ON l.period = p.period LEFT JOIN d ON d.period = p.period AND d.p = s.percentile;

CREATE TEMP TABLE actual AS SELECT * FROM meter.billing_usage('2026-03-01');
CREATE TEMP VIEW compared AS
SELECT s.*, b.quantity AS expected, a.quantity, b.events AS expected_events, a.events,
	-- a quotient has more digits than "/" gives
	round(a.quantity, 12) IS DISTINCT FROM round(b.quantity, 12) OR a.events IS DISTINCT FROM b.events AS wrong
FROM seg AS s JOIN brute AS b USING (no) LEFT JOIN actual AS a USING (tenant, price_id, from_at);
SELECT (SELECT count(*) FROM actual) = (SELECT count(*) FROM seg) AS as_many,
	(SELECT count(*) FROM actual JOIN seg USING (tenant, price_id, from_at, to_at)) = (SELECT count(*) FROM seg) AS the_same;
SELECT aggregation, model, gauge, count(*), count(DISTINCT quantity) > 8 AS many, count(*) FILTER (WHERE wrong) AS wrong
FROM compared GROUP BY 1, 2, 3 ORDER BY 3, 1, 2;

-- some tenants: the same as of all; by index and not
SELECT count(*), count(*) FILTER (WHERE to_jsonb(u) IS DISTINCT FROM to_jsonb(a)) AS wrong
FROM meter.billing_usage('2026-03-31', ARRAY['india', 'york', 'nobody']) AS u JOIN actual AS a USING (tenant, price_id, from_at);
SELECT count(*) FROM meter.billing_usage('2026-03-01', ARRAY['nobody']);
SELECT count(*) FROM meter.billing_usage('2026-03-01', '{}');
SELECT count(*) FROM meter.billing_usage(NULL);
-- without usage: 0 for count, sum and unique, null for the others, and no events
SELECT aggregation, model, quantity, events, count(*) FROM compared WHERE tenant = 'none' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2;
-- the level from January, and what was set at the first moment of March
SELECT aggregation, dims, quantity FROM compared
WHERE tenant = 'rare' AND metric = 'disk' AND from_at = '2026-02-28 18:30+00' AND aggregation = ANY ('{count,avg,min,max,last}')
ORDER BY 1, dims::text;
SELECT aggregation, quantity FROM compared
WHERE tenant = 'rare' AND metric = 'calls' AND dims = '{}' AND model = 'per_unit' AND from_at = '2026-02-28 18:30+00' AND percentile IS NULL ORDER BY 1;

-- What is not rolled up does not count, neither in full hours nor in those that are
-- read from the log: an event, an amendment and what it takes the place of.
SELECT meter_track('rare', 'calls', 1000, metadata => '{"model": "small"}', at => '2026-02-28 18:40+00');
SELECT meter_track('rare', 'disk', 1000, metadata => '{"server": "s1"}', at => '2026-03-10 10:00+00');
SELECT meter_correct('rare', seq => (SELECT seq FROM meter.event WHERE tenant = 'rare' AND quantity = 5), quantity => 6);
SELECT meter_correct('utc', seq => (SELECT min(seq) FROM meter.event WHERE tenant = 'utc' AND metric = 'calls' AND superseded_by IS NULL
	AND at > '2026-03-02'), void => true);
SELECT appended FROM meter_flush();
SELECT count(*) FROM (SELECT * FROM meter.billing_usage('2026-03-01') EXCEPT TABLE actual) AS differing;
SELECT meter_rollup();
CREATE TEMP TABLE changed AS
SELECT s.tenant, s.metric, s.aggregation, s.model, s.from_at, a.quantity AS was, u.quantity, u.events
FROM meter.billing_usage('2026-03-01') AS u JOIN actual AS a USING (tenant, price_id, from_at) JOIN seg AS s USING (tenant, price_id, from_at)
WHERE u.quantity IS DISTINCT FROM a.quantity OR u.events IS DISTINCT FROM a.events;
SELECT DISTINCT tenant, metric FROM changed ORDER BY 1, 2;
SELECT DISTINCT metric, aggregation, model, round(was, 4) AS was, round(quantity, 4) AS quantity, events FROM changed
WHERE tenant = 'rare' AND from_at < '2026-03-01' AND aggregation = ANY ('{count,sum,min,max,last}') ORDER BY 1, 2, 3, 4, 5;

DELETE FROM meter.price;
CREATE PROCEDURE add_price(price text, metric text, aggregation text, dims jsonb DEFAULT '{}', percentile numeric DEFAULT NULL, model text DEFAULT 'per_unit')
LANGUAGE sql AS $$
	INSERT INTO meter.price (price, metric, aggregation, dims, percentile, model, params)
	SELECT add_price.price, add_price.metric, add_price.aggregation, add_price.dims, add_price.percentile, model, params
	FROM params WHERE model = add_price.model
$$;
CREATE VIEW usage AS SELECT p.price, u.tenant, u.quantity, u.events
	FROM meter.billing_usage('2026-03-01') AS u JOIN meter.price AS p USING (price_id);

-- Worked by hand: 2500 from 5 March on are 27/31 * 2500 = 2177.41935... over March, and 27 * 24 * 2500 unit-hours;
-- in New York, whose March has an hour less, 2500 * (27 * 24 - 1) / (31 * 24 - 1) = 2176.98519...
INSERT INTO meter.metric (metric, kind) VALUES ('level', 'gauge'), ('burst', 'gauge');
INSERT INTO meter.tenant (tenant, time_zone, started_on) VALUES ('kolkata', 'Asia/Kolkata', '2026-01-01'), ('newyork', 'America/New_York', '2026-01-01');
CALL add_price('average', 'level', 'weighted_avg');
CALL add_price('unit-hours', 'level', 'time_weighted');
CALL add_price('highest', 'level', 'max');
SELECT meter_track('utc', 'level', 2500, at => '2026-03-05 00:00+00');
SELECT meter_track('kolkata', 'level', 2500, at => timestamp '2026-03-05 00:00' AT TIME ZONE 'Asia/Kolkata');
SELECT meter_track('newyork', 'level', 2500, at => timestamp '2026-03-05 00:00' AT TIME ZONE 'America/New_York');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT price, tenant, round(quantity, 9) AS quantity FROM usage WHERE quantity IS NOT NULL ORDER BY price, tenant;
-- it holds in May, which nothing was tracked in, and not in February
SELECT p.price, u.tenant, round(u.quantity, 9) AS quantity FROM meter.price AS p JOIN meter.billing_usage('2026-05-01') AS u USING (price_id)
WHERE u.quantity IS NOT NULL ORDER BY price, tenant;
SELECT count(*) FROM meter.billing_usage('2026-02-01') WHERE quantity IS NOT NULL;

-- Of two groups with samples of the same time, the later one in the log is the last.
DELETE FROM meter.price;
INSERT INTO meter.tenant (tenant, started_on) VALUES ('tie', '2026-01-01');
CALL add_price('last', 'calls', 'last');
SELECT meter_track('tie', 'calls', 1, endpoint => '/z', at => '2026-03-05 10:00+00');
SELECT meter_track('tie', 'calls', 2, endpoint => '/a', at => '2026-03-05 10:00+00');
SELECT meter_track('tie', 'calls', 3, endpoint => '/m', at => '2026-03-05 09:59+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT price, quantity FROM usage WHERE tenant = 'tie';
SELECT meter_track('tie', 'calls', 4, endpoint => '/z', at => '2026-03-05 10:00+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT price, quantity FROM usage WHERE tenant = 'tie';
-- an amendment takes a new position
SELECT meter_correct('tie', seq => (SELECT seq FROM meter.event WHERE tenant = 'tie' AND quantity = 2), quantity => 2.5);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT price, quantity FROM usage WHERE tenant = 'tie';

-- Refused calls, with quantity 0 as by meter_allow() and one with 1, which is a quantity all the same: 3 calls, of 1, 2 and 3.
-- In India the month begins half past an hour, which is read from the log.
DELETE FROM meter.price;
INSERT INTO meter.tenant (tenant, time_zone, started_on) VALUES ('turned', 'UTC', '2026-01-01'), ('turned half', 'Asia/Kolkata', '2026-01-01');
CALL add_price('calls', 'calls', 'count');
CALL add_price('quantity', 'calls', 'sum');
INSERT INTO meter.price (price, metric, model, params) VALUES ('each', 'calls', 'percentage', '{"rate_percent": 1, "fixed_amount": 0.5}');
INSERT INTO meter.inbox (at, tenant, metric, quantity, status)
SELECT timestamptz '2026-02-28 18:30+00' + o + i * interval '1 minute', t, 'calls', q, s
FROM (VALUES ('turned', interval '2 days'), ('turned half', '0')) AS t(t, o),
	(VALUES (0, 0, 429), (1, 1, 200), (2, 0, 429), (3, 2, 200), (4, 0, 429), (5, 3, 404), (6, 1, 429)) AS v(i, q, s);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT tenant, price, quantity, events FROM usage WHERE tenant LIKE 'turned%' ORDER BY tenant, price;

-- Burstable: of 31 * 24 = 744 hours 37 are 5 % (37.2), so with 37 busy hours the 95th percentile is what
-- is idle, and with 38 the lowest of the busy ones.
DELETE FROM meter.price;
CALL add_price('egress', 'bytes', 'percentile', percentile => 95);
CALL add_price('throughput', 'burst', 'percentile', percentile => 95);
INSERT INTO meter.inbox (at, tenant, metric, quantity)
SELECT timestamptz '2026-03-02 00:00+00' + i * interval '3 hours', 'tie', m, 100 + i FROM generate_series(1, 37) AS i, (VALUES ('bytes'), ('burst')) AS m(m);
INSERT INTO meter.inbox (at, tenant, metric, quantity)
SELECT timestamptz '2026-03-02 01:00+00' + i * interval '3 hours', 'tie', 'burst', 2 FROM generate_series(0, 37) AS i;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT price, quantity FROM usage WHERE tenant = 'tie' ORDER BY price;
SELECT meter_track('tie', 'bytes', 50, at => '2026-03-20 10:10+00'), meter_track('tie', 'bytes', 45, at => '2026-03-20 10:50+00'),
	meter_track('tie', 'burst', 190, at => '2026-03-20 10:00+00'), meter_track('tie', 'burst', 2, at => '2026-03-20 10:30+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
-- 50 + 45; (190 + 2) / 2
SELECT price, quantity FROM usage WHERE tenant = 'tie' ORDER BY price;

-- Dimensions beyond the cap on groups are folded: who asks for one has it all the same, from the log of that hour.
DELETE FROM meter.price;
SET meter.max_groups_per_hour = 2;
INSERT INTO meter.inbox (at, tenant, metric, quantity, endpoint, user_id, metadata)
SELECT '2026-03-06 10:00+00', 'tie', 'calls', i, '/x' || i, 'user' || i, jsonb_build_object('model', 'm' || i % 20) FROM generate_series(1, 40) AS i;
SELECT meter_track('tie', 'calls', 1000, user_id => 'user9', at => '2026-03-06 11:00+00', metadata => '{"model": "m7"}');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
RESET meter.max_groups_per_hour;
SELECT hour, dims, events, folded FROM meter.usage_hourly WHERE tenant = 'tie' AND dims = '{"(other)": true}';
CALL add_price('m7', 'calls', 'sum', '{"model": "m7"}');
CALL add_price('events of m7', 'calls', 'count', '{"model": "m7"}');
CALL add_price('users of m7', 'calls', 'unique', '{"model": "m7"}');
CALL add_price('95 % of m7', 'calls', 'percentile', '{"model": "m7"}', 100);
CALL add_price('each of m7', 'calls', 'sum', '{"model": "m7"}', model => 'percentage');
CALL add_price('all', 'calls', 'count');
-- 7 + 27 + 1000
SELECT price, quantity, events FROM usage WHERE tenant = 'tie' ORDER BY price;

-- The running month counts up to now: a level is carried to now, hours to come are none, and the average is by the whole month.
DELETE FROM meter.price;
CALL add_price('average', 'level', 'weighted_avg');
CALL add_price('unit-hours', 'level', 'time_weighted');
CALL add_price('percentile', 'level', 'percentile', percentile => 100);
CALL add_price('calls', 'calls', 'sum');
INSERT INTO meter.tenant (tenant, started_on) VALUES ('now', '2026-01-01');
SELECT meter_track('now', 'level', 10, at => '2026-03-01 00:00+00');
SELECT meter_track('now', 'calls', 3, at => now());
SELECT appended FROM meter_flush();
SELECT meter_rollup();
WITH month AS (
	SELECT date_trunc('month', now(), 'UTC') AS from_at, date_trunc('month', date_trunc('month', now(), 'UTC') + interval '40 days', 'UTC') AS to_at
)
SELECT p.price, CASE p.price
	WHEN 'average' THEN round(u.quantity, 12) = round(10 * extract(epoch FROM now() - m.from_at) / extract(epoch FROM m.to_at - m.from_at), 12)
	WHEN 'unit-hours' THEN round(u.quantity, 12) = round(10 * extract(epoch FROM now() - m.from_at) / 3600, 12)
	WHEN 'percentile' THEN u.quantity <= 10
	ELSE u.quantity >= 0 END AS ok
FROM month AS m CROSS JOIN meter.billing_usage((now() AT TIME ZONE 'UTC')::date, ARRAY['now']) AS u JOIN meter.price AS p USING (price_id) ORDER BY p.price;
-- of a month to come nothing is known
SELECT p.price, u.quantity FROM meter.billing_usage('2200-01-01', ARRAY['now']) AS u JOIN meter.price AS p USING (price_id) ORDER BY p.price;

\set SHOW_CONTEXT never
-- When the log of a month is gone, whole hours are known; what has to be read from the log is an error that tells which day.
DELETE FROM meter.price;
CALL add_price('calls', 'calls', 'sum');
CALL add_price('users', 'calls', 'unique');
SELECT m.tenant, price, day FROM meter.billing_usage_missing('2026-03-01') AS m JOIN meter.price USING (price_id) ORDER BY 1, 2, 3;
SET meter.retention = '1d';
SELECT count(*) FILTER (WHERE action = 'dropped') > 80 AS dropped FROM meter_maintain();
SET meter.retention = 0;
SELECT * FROM meter.billing_usage('2026-03-01', ARRAY['rare']);
SELECT m.tenant, price, day FROM meter.billing_usage_missing('2026-03-01') AS m JOIN meter.price USING (price_id) ORDER BY 1, 2, 3;
SELECT u.tenant, price, quantity > 0 AS some FROM meter.billing_usage('2026-03-01', ARRAY['utc', 'york']) AS u JOIN meter.price USING (price_id) ORDER BY 1, 2;
SELECT u.tenant, a.quantity = u.quantity AS the_same FROM meter.billing_usage('2026-03-01', ARRAY['york']) AS u JOIN meter.price USING (price_id)
JOIN compared AS a ON a.tenant = u.tenant AND a.from_at = u.from_at AND a.to_at = u.to_at AND a.aggregation = 'sum' AND a.model = 'per_unit' AND a.metric = 'calls' AND a.dims = '{}'
WHERE price = 'calls';
CALL add_price('each', 'calls', 'sum', model => 'percentage');
SELECT * FROM meter.billing_usage('2026-03-01', ARRAY['york']);
SELECT m.tenant, price, min(day), max(day) FROM meter.billing_usage_missing('2026-03-01', ARRAY['york', 'none', 'rare']) AS m JOIN meter.price USING (price_id)
GROUP BY 1, 2 ORDER BY 1, 2;
DELETE FROM meter.price WHERE price = 'each';

-- who may ask
CREATE ROLE regress_analyst;
CREATE ROLE regress_nobody;
SELECT meter_grant('regress_analyst', 'analyst');
SELECT meter_grant('regress_nobody', 'app');
SET ROLE regress_analyst;
SELECT price, quantity > 0 AS some FROM meter.billing_usage('2026-03-01', ARRAY['utc']) JOIN meter.price USING (price_id) ORDER BY price;
SELECT count(*) FROM meter.billing_usage_missing('2026-03-01');
SELECT meter.usage_position() > 0;
RESET ROLE;
SET ROLE regress_nobody;
SELECT count(*) FROM meter.billing_usage('2026-03-01');
RESET ROLE;
DROP OWNED BY regress_analyst, regress_nobody;
DROP ROLE regress_analyst, regress_nobody;
DROP PROCEDURE load;
DROP PROCEDURE add_price;

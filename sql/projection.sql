-- meter_project(): what a period will have cost when it ends
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'America/New_York';
SET meter.retention = 0;
\pset null (null)
\set SHOW_CONTEXT never

-- Costs of acme from 1 August on: 10 a weekday and 4 a day at weekends, of openai; 1 a day of mail.  Once, on
-- 19 August, 500 of batch; on 25 August 40 of openai were taken back.  New has begun today, 1 September.
INSERT INTO meter.metric (metric, allow_negative) VALUES ('tokens', true);
INSERT INTO meter.inbox (tenant, metric, service, cost, at)
SELECT 'acme', 'api_requests', 'openai', CASE WHEN extract(isodow FROM d) < 6 THEN 10 ELSE 4 END, (d + interval '12 hours') AT TIME ZONE 'UTC'
FROM generate_series('2026-08-01'::timestamp, '2026-09-10', '1 day') AS d
UNION ALL
SELECT 'acme', 'mails', 'mail', 1, (d + interval '3 hours') AT TIME ZONE 'UTC'
FROM generate_series('2026-08-01'::timestamp, '2026-09-10', '1 day') AS d
UNION ALL
SELECT 'acme', 'tokens', 'batch', 500, '2026-08-19 15:00+00'
UNION ALL
SELECT 'new', 'api_requests', 'openai', 5, '2026-09-01 02:00+00';
SELECT appended FROM meter_flush();
SELECT meter_rollup();

-- 1 to 10 September are 8 weekdays and 2 days of a weekend: 88.  September has 22 and 8: 252, and 30 of mail.
SELECT basis, currency, period_from AT TIME ZONE 'UTC' AS "from", until AT TIME ZONE 'UTC' AS until, current, low, expected, high,
	method, confidence, coverage, mase
FROM meter_project('acme', 'openai', at => '2026-09-11 00:00+00');
SELECT current, expected FROM meter_project('acme', 'mail', at => '2026-09-11 00:00+00');
-- Run rate: 88 / 10 * 30 = 264.  Half a day later, with nothing more, 88 / 10.5 * 30 = 251.428...
SELECT current, low < expected AS low, expected, high > expected AS high, method, mase
FROM meter_project('acme', 'openai', method => 'run_rate', at => '2026-09-11 00:00+00');
SELECT current, round(expected, 6) AS expected FROM meter_project('acme', 'openai', method => 'run_rate', at => '2026-09-11 12:00+00');
-- Until another instant: 11 is a Friday, until the end of the 14th, a Monday, 10 + 4 + 4 + 10 more; half of the
-- 11th is half of its 10.  And into October: 252 and 1 and 2 October.
SELECT current, expected FROM meter_project('acme', 'openai', until => '2026-09-15 00:00+00', at => '2026-09-11 00:00+00');
SELECT current, expected FROM meter_project('acme', 'openai', until => '2026-09-11 12:00+00', at => '2026-09-11 00:00+00');
SELECT current, expected FROM meter_project('acme', 'openai', until => '2026-10-03 00:00+00', at => '2026-09-11 00:00+00');
SELECT current, low, expected, high, method FROM meter_project('acme', 'openai', until => '2026-09-11 00:00+00', at => '2026-09-11 00:00+00');
-- What was spent once is not expected again, but makes it less sure: 252 + 30 = 282.
SELECT current, expected BETWEEN 282 * 0.9 AND 282 * 1.1 AS expected, low <= 282 AND high >= 282 AS between
FROM meter_project('acme', at => '2026-09-11 00:00+00');
SELECT current, expected FROM meter_project('acme', 'batch', at => '2026-08-25 00:00+00') WHERE current = 500 AND low = 500 AND expected < 1500;

-- The first day of a month goes by what was before.
SELECT current, expected FROM meter_project('acme', 'openai', at => '2026-09-01 00:00+00');
SELECT current, expected FROM meter_project('acme', 'openai', at => '2026-09-01 00:00:01+00') WHERE expected BETWEEN 250 AND 254;
-- A run rate knows nothing then, and takes all there is: 31 days of August with 21 and 10 were 250, of 30 days 241.935...
SELECT current, round(expected, 6) AS expected FROM meter_project('acme', 'openai', method => 'run_rate', at => '2026-09-01 00:00+00');
-- Without history it is all there is: 5 in a quarter of a day are 600 in 30 days, which is not sure at all.
SELECT current, low, expected, high > 1200 AS high, method, confidence FROM meter_project('new', at => '2026-09-01 06:00+00');
-- 5 in the first two hours and one second: as if they were three, 5 + 5 / (7201 / 86400) * (30 - 7201 / 86400) = 1799.75
SELECT current, round(expected, 2) AS expected FROM meter_project('new', at => '2026-09-01 02:00:01+00');
-- Nobody, nothing and nowhere.
SELECT basis, current, low, expected, high, method, confidence FROM meter_project('nobody', at => '2026-09-11 00:00+00');
SELECT current, expected, method FROM meter_project('acme', 'nothing', at => '2026-09-11 00:00+00');
SELECT current, expected FROM meter_project('acme', at => '2030-01-01 00:00+00');
-- All tenants: 5 of new more.  All that is spent by then is 88 + 10 + 5.
SELECT basis, current FROM meter_project(NULL, 'openai', at => '2026-09-11 00:00+00');
SELECT basis, current FROM meter_project(NULL, at => '2026-09-11 00:00+00');
-- All methods, and always the same.
SELECT m, p.method, p.current, p.low <= p.expected AND p.expected <= p.high AS "order", p.expected BETWEEN 230 AND 290 AS sane,
	(SELECT q = p FROM meter_project('acme', 'openai', method => m, at => '2026-09-11 00:00+00') AS q) AS same
FROM unnest('{auto,run_rate,seasonal,average,linear,holt_winters}'::text[]) AS m
CROSS JOIN LATERAL meter_project('acme', 'openai', method => m, at => '2026-09-11 00:00+00') AS p;

-- A correction: the 40 of 25 August are given back, that day has -30.  Nothing is different in what is to come.
SELECT meter_track('acme', 'tokens', -1, service => 'openai', cost => -40, at => '2026-08-25 10:00+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT current, expected BETWEEN 252 * 0.9 AND 252 * 1.1 AS expected FROM meter_project('acme', 'openai', at => '2026-09-11 00:00+00');

--
-- Prices: the whole period's quantity is rated
--
INSERT INTO meter.metric (metric, kind, dimensions) VALUES ('gb', 'gauge', '{}'), ('vm', 'gauge', '{}'), ('calls', 'counter', '{region}');
INSERT INTO meter.tenant (tenant, started_on, time_zone, billing_anchor) VALUES
	('shop', '2026-01-01', 'UTC', 1), ('bolt', '2026-01-01', 'Asia/Kolkata', 15);
-- shop, from 20 July to 10 September, every day: 10 calls of 3 by 2 new users of the month at a cost of 0.1, one fee of 100.
-- 4 GB since 1 August, 2 machines since 1 September.  bolt: the same calls.
INSERT INTO meter.inbox (tenant, metric, quantity, cost, user_id, metadata, at)
SELECT t, 'calls', 3, 0.1, 'u' || (extract(day FROM d)::integer * 2 + i % 2), jsonb_build_object('region', CASE WHEN i < 4 THEN 'eu' ELSE 'us' END),
	(d + i * interval '1 hour') AT TIME ZONE 'UTC'
FROM unnest('{shop,bolt}'::text[]) AS t, generate_series('2026-07-20'::timestamp, '2026-09-10', '1 day') AS d, generate_series(0, 9) AS i
UNION ALL
SELECT 'shop', 'fees', 100, NULL, NULL, NULL, d AT TIME ZONE 'UTC' FROM generate_series('2026-07-20'::timestamp, '2026-09-10', '1 day') AS d
UNION ALL
SELECT 'shop', m, q, NULL, NULL, NULL, a FROM (VALUES ('gb', 4, '2026-08-01 00:00+00'::timestamptz), ('vm', 2, '2026-09-01 00:00+00')) AS v(m, q, a);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
INSERT INTO meter.price (price, tenant, metric, aggregation, percentile, model, params, included, max_amount, divisor, dims) VALUES
	-- 300 calls in September: 20 at 1 and 280 at 0.5 = 160; of the first 100, 20 + 40 = 60
	('graduated', 'shop', 'calls', 'count', NULL, 'graduated', '{"tiers": [{"up_to": 20, "unit_amount": 1}, {"unit_amount": 0.5}]}', 0, NULL, 1, '{}'),
	-- 300 at once at 0.1 = 30, while 100 are 100 at 1 = 100
	('volume', 'shop', 'calls', 'count', NULL, 'volume', '{"tiers": [{"up_to": 200, "unit_amount": 1}, {"unit_amount": 0.1}]}', 0, NULL, 1, '{}'),
	-- 900 are 9 hundreds, without 5 of them that are included 4; now 3 are all included
	('included', 'shop', 'calls', 'sum', NULL, 'per_unit', '{"unit_amount": 1}', 5, NULL, 100, '{}'),
	('capped', 'shop', 'calls', 'sum', NULL, 'per_unit', '{"unit_amount": 1}', 0, 500, 1, '{}'),
	-- 4 of 10 calls
	('eu', 'shop', 'calls', 'count', NULL, 'per_unit', '{"unit_amount": 1}', 0, NULL, 1, '{"region": "eu"}'),
	('flat', 'shop', 'calls', 'count', NULL, 'flat', '{"amount": 7}', 0, NULL, 1, '{}'),
	-- costs of 1 a day, twice
	('dynamic', 'shop', 'calls', 'sum', NULL, 'dynamic', '{"markup": 2}', 0, NULL, 1, '{}'),
	-- 2 % of 100 and 0.3 for each of 30
	('fee', 'shop', 'fees', 'sum', NULL, 'percentage', '{"rate_percent": 2, "fixed_amount": 0.3}', 0, NULL, 1, '{}'),
	-- two that were not there in the month come each day: 20 by now, and 60 as in the 30 days of August before its last
	('users', 'shop', 'calls', 'unique', NULL, 'per_unit', '{"unit_amount": 1}', 0, NULL, 1, '{}'),
	-- 4 GB: 960 GB-hours by now, 2880 then; of the month's average, a third, and 4
	('gb_hours', 'shop', 'gb', 'time_weighted', NULL, 'per_unit', '{"unit_amount": 1}', 0, NULL, 1, '{}'),
	('gb_avg', 'shop', 'gb', 'weighted_avg', NULL, 'per_unit', '{"unit_amount": 1}', 0, NULL, 1, '{}'),
	-- these stay
	('avg', 'shop', 'calls', 'avg', NULL, 'per_unit', '{"unit_amount": 1}', 0, NULL, 1, '{}'),
	('max', 'shop', 'calls', 'max', NULL, 'per_unit', '{"unit_amount": 1}', 0, NULL, 1, '{}'),
	('last', 'shop', 'vm', 'last', NULL, 'per_unit', '{"unit_amount": 1}', 0, NULL, 1, '{}'),
	('p95', 'shop', 'calls', 'percentile', 95, 'per_unit', '{"unit_amount": 1}', 0, NULL, 1, '{}'),
	('unused', 'shop', 'never', 'sum', NULL, 'per_unit', '{"unit_amount": 1}', 0, NULL, 1, '{}');
SELECT d.price, d.quantity, d.expected_quantity, d.current, d.low, d.expected, d.high, d.method
FROM meter_project('shop', at => '2026-09-11 00:00+00') AS p
CROSS JOIN LATERAL jsonb_each(p.details) AS e(price, detail)
CROSS JOIN LATERAL jsonb_to_record(e.detail || jsonb_build_object('price', e.price)) AS d (price text, quantity numeric,
	expected_quantity numeric, current numeric, low numeric, expected numeric, high numeric, method text)
WHERE p.basis = 'charge' ORDER BY 1;
-- The sum of them; low is where only the 20 users stay that there are, high where no discount is had.
SELECT basis, currency, round(current, 6) AS current, low, expected, high, method, confidence FROM meter_project('shop', at => '2026-09-11 00:00+00');

-- At the end it is what the bill has: of August, at its last moment.
SELECT round(p.current, 4) AS current, round(p.expected, 4) AS expected, b.billed
FROM meter_project('shop', at => '2026-08-31 23:59:59.999999+00') AS p,
	(SELECT sum(amount) AS billed FROM meter_bill('shop', '2026-08-01') WHERE kind = 'usage') AS b
WHERE p.basis = 'charge';

-- Into the next month, in which steps begin anew: to 15 October, 300 calls and 150 more, of which 20 at 1 and
-- 130 at 0.5 are 85; 500 at most and 450; and 4 GB for half of October are 4 * 360 / 744.
SELECT e.price, e.detail -> 'expected_quantity' AS quantity, e.detail -> 'expected' AS expected
FROM meter_project('shop', until => '2026-10-16 00:00+00', at => '2026-09-11 00:00+00') AS p
CROSS JOIN LATERAL jsonb_each(p.details) AS e(price, detail)
WHERE p.basis = 'charge' AND e.price IN ('graduated', 'capped', 'gb_avg', 'flat', 'avg') ORDER BY 1;

-- A price that ends and one that follows: calls of the first 20 days at 1 and of the last 10 at 2 are 200 + 200, now 100.
-- A period of India's from 15 August to 15 September: 270 calls by now; what is left are 4 days without 5:30 hours, in
-- which there were 10 a day: 307.708...
INSERT INTO meter.price (price, tenant, metric, aggregation, model, params, valid_from, valid_to) VALUES
	('calls', 'bolt', 'calls', 'count', 'per_unit', '{"unit_amount": 1}', '2026-01-01', NULL),
	('step', 'shop', 'calls', 'count', 'per_unit', '{"unit_amount": 1}', '2026-01-01', '2026-09-21'),
	('step', 'shop', 'calls', 'count', 'per_unit', '{"unit_amount": 2}', '2026-09-21', NULL);
SELECT e.detail
FROM meter_project('shop', at => '2026-09-11 00:00+00') AS p, jsonb_each(p.details) AS e(price, detail) WHERE e.price = 'step';
SELECT basis, period_from AT TIME ZONE 'UTC' AS "from", until AT TIME ZONE 'UTC' AS until, current, round(expected, 3) AS expected
FROM meter_project('bolt', at => '2026-09-11 00:00+00');

-- Users of the time before are those of 30 days, whatever clocks did here in March: on 2 March one came, and one more until
-- the end; now there is one after a day.
INSERT INTO meter.tenant (tenant, started_on) VALUES ('club', '2026-01-01');
INSERT INTO meter.price (price, tenant, metric, aggregation, model, params) VALUES ('users', 'club', 'calls', 'unique', 'per_unit', '{"unit_amount": 1}');
SELECT count(meter_track('club', 'calls', user_id => u, at => a)) FROM (VALUES ('a', '2026-03-02 00:30+00'::timestamptz),
	('b', '2026-03-20 10:00+00'), ('b', '2026-04-01 10:00+00')) AS v (u, a);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT current, expected FROM meter_project('club', at => '2026-04-02 00:00+00') WHERE basis = 'charge';

-- In Havana November begins with the second midnight of its first day, when clocks are set back: 24 a day until 9 October
-- are 216, and 31 times 24 in October.  In the hour between, 24.5 of the 25 hours of 31 October are over: 216 / 30.98 * 31;
-- until then it is 24 * 0.5 / 25 less.
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('cuba', 'America/Havana');
INSERT INTO meter.inbox (tenant, cost, at)
SELECT 'cuba', 24, d AT TIME ZONE 'America/Havana' FROM generate_series('2020-08-01 12:00'::timestamp, '2020-10-09 12:00', '1 day') AS d;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT period_from AT TIME ZONE 'UTC' AS "from", until AT TIME ZONE 'UTC' AS until, current, expected
FROM meter_project('cuba', at => '2020-10-10 04:00+00');
SELECT current, round(expected, 6) AS expected FROM meter_project('cuba', method => 'run_rate', at => '2020-11-01 04:30+00');
SELECT current, expected FROM meter_project('cuba', until => '2020-11-01 04:30+00', at => '2020-10-10 04:00+00');

-- A series has the days of its own time zone, whatever others begin with: 28 July to 10 September.
SELECT min(d.day), max(d.day), count(*) FROM meter.projection_daily(ARRAY[
	ROW(1, 'shop', 'calls', '{}', false, 'events', 'UTC', '2026-10-01 00:00+00', '2026-11-01 00:00+00'),
	ROW(2, 'shop', 'calls', '{}', false, 'events', 'America/New_York', '2026-10-01 04:00+00', '2026-11-01 04:00+00')
	]::meter.projection_key[], '2026-10-20 02:00+00') AS d WHERE d.key = 1;

-- Another currency is that of the bill.
UPDATE meter.tenant SET currency = 'EUR' WHERE tenant = 'bolt';
SELECT meter_project('bolt', at => '2026-09-11 00:00+00');
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('USD', 'EUR', '2026-01-01', 0.5);
SELECT basis, currency, current, round(expected, 3) AS expected FROM meter_project('bolt', at => '2026-09-11 00:00+00');

--
-- Budgets
--
INSERT INTO meter.budget (budget_id, tenant, service, amount, currency, basis) VALUES
	('00000000-0000-0000-0000-000000000001', 'acme', 'openai', 252, 'USD', 'cost'),
	('00000000-0000-0000-0000-000000000002', NULL, 'mail', 300, 'USD', 'cost'),
	('00000000-0000-0000-0000-000000000003', 'bolt', NULL, 300, 'EUR', 'charge'),
	('00000000-0000-0000-0000-000000000004', 'nobody', NULL, 300, 'USD', 'charge'),
	('00000000-0000-0000-0000-000000000005', 'shop', NULL, 30, 'USD', 'cost');
INSERT INTO meter.budget (tenant, period, amount) VALUES ('acme', 'day', 10);
SELECT right(budget_id::text, 1) AS budget, (answer).basis, (answer).current, round((answer).expected) AS expected
FROM meter.budget_projection('2026-09-11 00:00+00') ORDER BY 1;
-- What nothing else tells the currency of is in that of the budgets of costs, if they have one: of all, of a tenant's
-- own and those for all tenants; not once they differ, nor where a plan or a price of a model has one.
BEGIN;
UPDATE meter.budget SET currency = 'GBP' WHERE basis = 'cost';
SELECT t, meter.projection_currency(t, '2026-09-11') FROM unnest('{NULL,acme,elsewhere,bolt}'::text[]) AS t;
UPDATE meter.budget SET currency = 'EUR' WHERE tenant = 'shop';
SELECT t, meter.projection_currency(t, '2026-09-11') FROM unnest('{NULL,acme,shop,bolt}'::text[]) AS t;
INSERT INTO meter.model_price (provider, model, valid_from, input_price, output_price, currency) VALUES ('p', 'm', '-infinity', 0, 0, 'CHF');
SELECT meter.projection_currency(NULL, '2026-09-11');
ROLLBACK;
-- One that cannot be rated does not keep the others from it.
DELETE FROM meter.fx_rate;
INSERT INTO meter.budget (budget_id, tenant, amount, basis) VALUES ('00000000-0000-0000-0000-000000000006', 'shop', 1, 'charge');
SELECT right(budget_id::text, 1) AS budget, (answer).basis, (answer).current > 0 AS current
FROM meter.budget_projection('2026-09-11 00:00+00') ORDER BY 1;

-- The view is of now: 10 a day for eight weeks until yesterday, so that the month will have 10 for each of its days, but
-- for what today is short of.  Twice that is enough, 2 % more is a close thing, and 5 % less is not enough.
DELETE FROM meter.budget;
INSERT INTO meter.inbox (tenant, metric, cost, at)
SELECT t, 'api_requests', 10, d AT TIME ZONE 'UTC'
FROM unnest('{ok,warning,over}'::text[]) AS t,
	generate_series(date_trunc('day', now() AT TIME ZONE 'UTC') - interval '56 days', (now() AT TIME ZONE 'UTC') - interval '1 day', '1 day') AS d;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
INSERT INTO meter.budget (tenant, amount)
SELECT t, a * 10 * extract(day FROM date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month - 1 day')
FROM (VALUES ('ok', 2), ('warning', 1.02), ('over', 0.95)) AS v(t, a);
INSERT INTO meter.budget (tenant, amount, basis) VALUES ('ok', 100, 'charge'), ('unknown', 100, 'cost');
SELECT tenant, basis, status, low <= projected_spend AND projected_spend <= high AS "order", percent > 0 AS percent, confidence
FROM meter.cost_projection ORDER BY 1, 2;

--
-- Errors
--
SELECT meter_project('acme', method => 'magic');
SELECT meter_project('acme', method => NULL);
SELECT meter_project('acme', at => NULL);
SELECT meter_project('acme', at => 'infinity');
SELECT meter_project('acme', until => '2026-09-10 00:00+00', at => '2026-09-11 00:00+00');
SELECT meter_project('acme', until => '2028-09-10 00:00+00', at => '2026-09-11 00:00+00');
SELECT meter_project('acme', until => 'infinity', at => '2026-09-11 00:00+00');

-- Who may: analysts, and nobody else.
CREATE ROLE regress_projection;
SELECT meter_grant('regress_projection', 'analyst');
SET ROLE regress_projection;
SELECT basis, current FROM meter_project('shop', at => '2026-09-11 00:00+00') WHERE basis = 'cost';
SELECT count(*) FROM meter.cost_projection;
RESET ROLE;
DROP OWNED BY regress_projection;
SET ROLE regress_projection;
SELECT meter_project('shop');
RESET ROLE;
DROP ROLE regress_projection;

-- Budgets: what was spent, thresholds, calls that are refused
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

-- Periods: a month from the anchor day on, or from the last day of a month that
-- is too short; days and months in a time zone, with and without daylight saving.
SELECT * FROM (VALUES
	('month', 'UTC', 1, '2026-02-28 23:59:59+00'), ('month', 'UTC', 1, '2026-03-01 00:00:00+00'),
	('month', 'UTC', 15, '2026-03-14 12:00:00+00'), ('month', 'UTC', 15, '2026-03-15 00:00:00+00'),
	('month', 'UTC', 31, '2026-02-27 23:00:00+00'), ('month', 'UTC', 31, '2026-02-28 00:00:00+00'),
	('month', 'UTC', 31, '2026-03-30 23:00:00+00'), ('month', 'UTC', 31, '2026-03-31 00:00:00+00'),
	('month', 'Europe/Berlin', 1, '2026-03-31 21:59:59+00'), ('month', 'Europe/Berlin', 1, '2026-03-31 22:00:00+00'),
	('day', 'Europe/Berlin', 1, '2026-03-29 12:00:00+00'), ('day', 'America/New_York', 9, '2026-11-01 04:30:00+00'),
	('day', 'Asia/Kolkata', 1, '2026-11-01 18:29:00+00'),
	-- where clocks have midnight twice, a day and a month begin with the second
	('month', 'America/Havana', 1, '2020-11-01 04:30:00+00'), ('month', 'America/Havana', 1, '2020-11-01 05:00:00+00'),
	('day', 'Atlantic/Azores', 1, '2026-10-25 00:30:00+00')) AS v(period, zone, anchor, at)
CROSS JOIN LATERAL meter.budget_bounds(v.period, v.zone, v.anchor, v.at::timestamptz) AS b;
-- every instant is in the period that is said, and periods leave no gap
SELECT count(*), count(*) FILTER (WHERE g.at >= b.period_from AND g.at < b.period_to
	AND n.period_from = b.period_to AND l.period_to = b.period_from) AS right
FROM (VALUES (1), (2), (28), (29), (30), (31)) AS a(anchor)
CROSS JOIN (VALUES ('month'), ('day')) AS p(period)
CROSS JOIN (VALUES ('Europe/Berlin', interval '7 hours'), ('America/Havana', '30 minutes')) AS z(zone, step)
CROSS JOIN generate_series('2024-01-01 00:30+00'::timestamptz, '2025-03-05', z.step) AS g(at)
CROSS JOIN LATERAL meter.budget_bounds(p.period, z.zone, a.anchor, g.at) AS b
CROSS JOIN LATERAL meter.budget_bounds(p.period, z.zone, a.anchor, b.period_to) AS n
CROSS JOIN LATERAL meter.budget_bounds(p.period, z.zone, a.anchor, b.period_from - interval '1 second') AS l;

-- Bad budgets.
\set VERBOSITY terse
INSERT INTO meter.budget (amount) VALUES (1);
INSERT INTO meter.budget (tenant, amount) VALUES ('', 1);
INSERT INTO meter.budget (service, amount) VALUES (E'a\nb', 1);
INSERT INTO meter.budget (tenant, amount) VALUES ('a', 0);
INSERT INTO meter.budget (tenant, amount) VALUES ('a', 'NaN');
INSERT INTO meter.budget (tenant, amount, period) VALUES ('a', 1, 'week');
INSERT INTO meter.budget (tenant, amount, currency) VALUES ('a', 1, 'usd');
INSERT INTO meter.budget (tenant, amount, basis) VALUES ('a', 1, 'price');
INSERT INTO meter.budget (tenant, amount, thresholds) VALUES ('a', 1, '{90,75}');
INSERT INTO meter.budget (tenant, amount, thresholds) VALUES ('a', 1, '{0}');
INSERT INTO meter.budget (tenant, amount, thresholds) VALUES ('a', 1, '{50,NULL}');
INSERT INTO meter.budget (tenant, amount, thresholds) VALUES ('a', 1, '{{50},{60}}');
INSERT INTO meter.budget (tenant, service, amount, basis) VALUES ('a', 's', 1, 'charge');
INSERT INTO meter.budget (tenant, amount, basis, period) VALUES ('a', 1, 'charge', 'day');
\set VERBOSITY default
SELECT * FROM meter.budget_status;

-- All in one transaction, whose now() is in one day and month.
BEGIN;
SET LOCAL meter.durability = 'commit';
CREATE VIEW status AS SELECT tenant, service, period, spent, remaining, percent, status, blocked, breakdown
FROM meter.budget_status ORDER BY tenant NULLS FIRST, service NULLS FIRST, period;
CREATE FUNCTION roll() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM meter_flush(), meter_rollup();
END $$;
INSERT INTO meter.budget (tenant, service, period, amount) VALUES
	(NULL, 'openai', 'month', 300), ('a', NULL, 'day', 40), ('a', 'openai', 'month', 100);
-- 30 of a on openai, 5 on email, 200 of b on openai; usage without a cost costs nothing
SELECT meter_track('a', service => 'openai', cost => 20);
SELECT meter_track('a', service => 'openai', metric => 'llm_tokens', quantity => 1000, cost => 10);
SELECT meter_track('a', service => 'email', cost => 5);
SELECT meter_track('a', service => 'openai', quantity => 7);
SELECT meter_track('b', service => 'openai', cost => 200, idempotency_key => 'large');
SELECT roll();
SELECT * FROM status;
SELECT b.tenant, b.service, c.threshold, c.spent, c.amount FROM meter.budget_crossing AS c JOIN meter.budget AS b USING (budget_id) ORDER BY 1 NULLS FIRST, 2, 3;
-- what is rolled up is added: 3 to a, which has 38 of 40; each threshold once
SELECT meter_track('a', service => 'email', cost => 3);
SELECT roll();
SELECT meter_track('a', service => 'email', cost => 0.5);
SELECT roll();
SELECT b.tenant, b.service, c.threshold, c.spent, c.amount FROM meter.budget_crossing AS c JOIN meter.budget AS b USING (budget_id) ORDER BY 1 NULLS FIRST, 2, 3;
-- a new budget knows what was spent before it; nothing is refused without a hard limit
INSERT INTO meter.budget (tenant, service, amount) VALUES ('a', 'email', 8);
SELECT spent, percent, status, blocked, breakdown FROM status WHERE tenant = 'a' AND service = 'email';
SELECT allowed, reason FROM meter_check('a', 'email');

-- A hard limit: for the service, and what is below it.
UPDATE meter.budget SET hard_limit = true WHERE tenant = 'a' AND service = 'email';
SELECT spent, status, blocked FROM status WHERE tenant = 'a' AND service = 'email';
SELECT r AS resource, (c).allowed, (c).reason, (c).retry_after = period_to - clock.at AS until_the_end
FROM unnest(ARRAY['email', 'email/send', 'emails', 'openai', '*']) AS r
CROSS JOIN LATERAL meter_check('a', r) AS c
CROSS JOIN LATERAL (SELECT period_to FROM meter.budget_status WHERE tenant = 'a' AND service = 'email') AS p
CROSS JOIN LATERAL (SELECT p.period_to - (c).retry_after AS at) AS clock;
SELECT meter_allow('b', 'email');
-- who only looks is told, too; what is given back is no call
SELECT allowed, reason FROM meter_check('a', 'email', 0);
SELECT meter_refund('a', 'email');
SAVEPOINT refused;
\set VERBOSITY sqlstate
SELECT meter_require('a', 'email');
\set VERBOSITY default
ROLLBACK TO refused;
SELECT h ? 'Retry-After' FROM meter_headers(meter_check('a', 'email')) AS h;
-- It is lifted when the budget is raised, and what was crossed can be crossed again.
UPDATE meter.budget SET amount = 10 WHERE tenant = 'a' AND service = 'email';
SELECT allowed, reason FROM meter_check('a', 'email');
SELECT percent, status, blocked FROM status WHERE tenant = 'a' AND service = 'email';
SELECT c.threshold FROM meter.budget_crossing AS c JOIN meter.budget AS b USING (budget_id) WHERE b.tenant = 'a' AND b.service = 'email';
SELECT meter_track('a', service => 'email', cost => 1.5);
SELECT roll();
SELECT allowed, reason FROM meter_check('a', 'email/x');
SELECT c.threshold, c.spent, c.amount FROM meter.budget_crossing AS c JOIN meter.budget AS b USING (budget_id) WHERE b.tenant = 'a' AND b.service = 'email' ORDER BY 1;
-- One without tenant refuses the service to all; one without service all to the tenant.
UPDATE meter.budget SET hard_limit = true, amount = 230 WHERE tenant IS NULL;
SELECT t, r, (meter_check(t, r)).reason FROM unnest(ARRAY['a', 'b', 'c']) AS t, unnest(ARRAY['openai', 'other']) AS r;
INSERT INTO meter.budget (tenant, amount, hard_limit) VALUES ('b', 200, true);
SELECT (meter_check('b', 'other')).reason, (meter_check('c', 'other')).reason;
-- lifted when what was spent is corrected: 200 were 20
SELECT meter_correct('b', 'large', cost => 20);
SELECT roll();
SELECT * FROM status;
SELECT (meter_check('b', 'other')).reason, (meter_check('b', 'openai')).reason;
-- or when it is no hard limit any more, or gone
UPDATE meter.budget SET amount = 20, hard_limit = true WHERE tenant = 'b';
SELECT (meter_check('b')).reason;
UPDATE meter.budget SET hard_limit = false WHERE tenant = 'b';
SELECT (meter_check('b')).reason;
UPDATE meter.budget SET hard_limit = true WHERE tenant = 'b';
SELECT (meter_check('b')).reason;
SAVEPOINT kept;
DELETE FROM meter.budget WHERE tenant = 'b';
SELECT (meter_check('b')).reason;
ROLLBACK TO kept;
SELECT (meter_check('b')).reason;

-- In the first hour of a day it is as if that hour were over: 1 of 24.  It is that hour now in one of these zones.
INSERT INTO meter.tenant (tenant, time_zone)
SELECT 'early', 'Etc/GMT' || to_char(CASE WHEN h > 12 THEN h - 24 ELSE h END, 'FMSG99') FROM extract(hour FROM now() AT TIME ZONE 'UTC') AS h;
INSERT INTO meter.budget (tenant, period, amount) VALUES ('early', 'day', 100);
SELECT meter_track('early', cost => 1, at => now());
SELECT roll();
SELECT spent, trim_scale(projected) AS projected FROM meter.budget_status WHERE tenant = 'early';
DELETE FROM meter.budget WHERE tenant = 'early';

-- All of it is what the log says.
SELECT count(*), count(*) FILTER (WHERE s.spent = (
	SELECT COALESCE(sum(e.cost), 0) FROM meter.event AS e
	WHERE (e.tenant = b.tenant OR b.tenant IS NULL) AND (e.service = b.service OR b.service IS NULL)
		AND e.superseded_by IS NULL AND e.at >= b.period_from AND e.at < b.period_to)) AS right
FROM meter.budget_now AS b JOIN meter.budget_status AS s USING (budget_id);

-- The next period, as if all had been one before: nothing is blocked as soon as
-- the old one is over, and thresholds are crossed again.
UPDATE meter.budget_block SET until = now() - interval '1 second';
SELECT (meter_check('b')).reason, (meter_check('a', 'email')).reason;
UPDATE meter.budget_period SET period_from = period_from - interval '40 days', period_to = period_to - interval '40 days';
UPDATE meter.budget_spend SET period_from = period_from - interval '40 days';
UPDATE meter.budget_crossing SET period_from = period_from - interval '40 days';
SELECT tenant, service, period, spent FROM status;
SELECT meter_track('c');
SELECT roll();
SELECT tenant, service, period, spent, blocked FROM status;
SELECT b.tenant, b.service, c.threshold, count(*) FROM meter.budget_crossing AS c JOIN meter.budget AS b USING (budget_id)
GROUP BY 1, 2, 3 ORDER BY 1 NULLS FIRST, 2 NULLS FIRST, 3;

-- If what was counted is not up to where the rollup begins, all is counted anew.
UPDATE meter.budget_spend SET spent = 1000000;
UPDATE meter.budget_position SET last_seq = last_seq - 1;
SELECT meter_track('c', service => 'openai', cost => 1);
SELECT roll();
SELECT tenant, service, period, spent FROM status;
-- another budget by the same name is counted as what it is now
UPDATE meter.budget SET service = 'email' WHERE tenant IS NULL;
SELECT spent, breakdown FROM status WHERE tenant IS NULL;
DELETE FROM meter.budget WHERE tenant = 'a';
SELECT count(*) FROM meter.budget_spend WHERE tenant = 'a';
SELECT count(*) FROM meter.budget_period WHERE tenant = 'a';
SELECT count(*) FROM meter.budget_crossing WHERE tenant = 'a';
COMMIT;

-- Charges: 100 calls are included, 20 more are charged at 0.5, 1 GB at 2.
BEGIN;
SET LOCAL meter.durability = 'commit';
INSERT INTO meter.tenant (tenant, started_on) VALUES ('p', '2000-01-01'), ('q', '2000-01-01');
INSERT INTO meter.price (price, metric, model, params, included) VALUES
	('calls', 'calls', 'per_unit', '{"unit_amount": 0.5}', 100), ('gb', 'gb', 'per_unit', '{"unit_amount": 2}', 0);
INSERT INTO meter.budget (tenant, amount, basis, currency, hard_limit) VALUES ('p', 13, 'charge', 'USD', true), ('q', 100, 'charge', 'EUR', false);
SELECT meter_track('p', 'calls', 120), meter_track('p', 'gb', 1), meter_track('q', 'calls', 200);
SELECT roll();
SET LOCAL client_min_messages = error;
SELECT meter_refresh_budgets();
RESET client_min_messages;
SELECT tenant, spent, percent, status, blocked, breakdown FROM status WHERE tenant IN ('p', 'q');
SELECT tenant, regexp_replace(error, ' on .*', '') FROM meter.budget_status WHERE error IS NOT NULL;
-- nothing new, nothing to do; with an exchange rate and new usage it is known
SELECT meter_refresh_budgets();
INSERT INTO meter.fx_rate VALUES ('USD', 'EUR', '2000-01-01', 0.9);
SELECT meter_track('q', 'calls', 1), meter_track('p', 'calls', 2);
SELECT roll();
SELECT (meter_check('p')).reason;
SELECT meter_refresh_budgets();
SELECT tenant, spent, percent, status, blocked, error FROM meter.budget_status WHERE tenant IN ('p', 'q') ORDER BY 1;
SELECT (meter_check('p')).reason;
COMMIT;

-- What several prices charge was used once: 100 of m1 and 20 of m2 are 120 tokens, for which 120 * 1 + 100 * 0.5 + 1 (flat)
-- + 0.01 * 100 for the largest are 172; 10 in at 2 and 20 out at 3 are 80, for 30 of traffic.
BEGIN;
SET LOCAL meter.durability = 'commit';
INSERT INTO meter.metric (metric, dimensions) VALUES ('tokens', '{model}'), ('traffic', '{kind}');
INSERT INTO meter.tenant (tenant, started_on) VALUES ('several', '2000-01-01');
INSERT INTO meter.price (price, tenant, metric, dims, aggregation, model, params) VALUES
	('all', 'several', 'tokens', '{}', 'sum', 'per_unit', '{"unit_amount": 1}'),
	('m1', 'several', 'tokens', '{"model": "m1"}', 'sum', 'per_unit', '{"unit_amount": 0.5}'),
	('fee', 'several', 'tokens', '{}', 'sum', 'flat', '{"amount": 1}'),
	('largest', 'several', 'tokens', '{}', 'max', 'per_unit', '{"unit_amount": 0.01}'),
	('in', 'several', 'traffic', '{"kind": "in"}', 'sum', 'per_unit', '{"unit_amount": 2}'),
	('out', 'several', 'traffic', '{"kind": "out"}', 'sum', 'per_unit', '{"unit_amount": 3}');
INSERT INTO meter.budget (tenant, amount, basis) VALUES ('several', 1000, 'charge');
SELECT meter_track('several', 'tokens', 100, metadata => '{"model": "m1"}'), meter_track('several', 'tokens', 20, metadata => '{"model": "m2"}'),
	meter_track('several', 'traffic', 10, metadata => '{"kind": "in"}'), meter_track('several', 'traffic', 20, metadata => '{"kind": "out"}');
SELECT roll();
SELECT meter_refresh_budgets() > 0 AS refreshed;
SELECT spent, breakdown FROM meter.budget_status WHERE tenant = 'several';
ROLLBACK;
-- prices of plans that follow one another charge different usage: 100 seven days ago and 150 now are 250, for 100 * 1 + 150 * 2
BEGIN;
SET LOCAL meter.durability = 'commit';
INSERT INTO meter.plan (plan) VALUES ('before'), ('after');
INSERT INTO meter.tenant (tenant, plan, started_on, billing_anchor)
SELECT 'changed', 'before', '2000-01-01', extract(day FROM (now() AT TIME ZONE 'UTC') - interval '10 days');
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('changed', '2000-01-01', 'before'),
	('changed', ((now() AT TIME ZONE 'UTC') - interval '3 days')::date, 'after') ON CONFLICT DO NOTHING;
INSERT INTO meter.price (price, plan, tenant, metric, model, params) VALUES ('calls before', 'before', NULL, 'hits', 'per_unit', '{"unit_amount": 1}'),
	('calls after', 'after', NULL, 'hits', 'per_unit', '{"unit_amount": 2}');
INSERT INTO meter.budget (tenant, amount, basis) VALUES ('changed', 1000, 'charge');
SELECT meter_track('changed', 'hits', 100, at => now() - interval '7 days'), meter_track('changed', 'hits', 150);
SELECT roll();
SELECT meter_refresh_budgets() > 0 AS refreshed;
SELECT spent, breakdown -> 'hits' AS hits FROM meter.budget_status WHERE tenant = 'changed';
ROLLBACK;

-- One whose usage needs events that are gone, as half an hour off UTC where its month
-- begins, does not keep the others from being rated: 10 more at 0.5.
SET meter.durability = 'commit';
INSERT INTO meter.tenant (tenant, started_on, time_zone, billing_anchor)
SELECT 'r', '2000-01-01', 'Asia/Kolkata', extract(day FROM (now() AT TIME ZONE 'Asia/Kolkata') - interval '10 days');
SELECT meter_track('r', 'calls', 1, at => period_from) FROM meter.billing_period((now() AT TIME ZONE 'Asia/Kolkata' - interval '10 days')::date, '{r}');
SELECT roll();
SET meter.retention = '2d';
SELECT count(*) FILTER (WHERE action = 'dropped') > 0 AS dropped FROM meter_maintain();
RESET meter.retention;
INSERT INTO meter.budget (tenant, amount, basis, currency) VALUES ('r', 100, 'charge', 'USD');
SELECT meter_track('p', 'calls', 10);
SELECT roll();
SET client_min_messages = error;
SELECT meter_refresh_budgets() > 0 AS refreshed;
RESET client_min_messages;
SELECT tenant, spent, regexp_replace(error, 'of [-0-9]+ are', 'of ... are') AS error FROM meter.budget_status WHERE tenant IN ('p', 'r') ORDER BY 1;
RESET meter.durability;

DROP EXTENSION meter CASCADE;
DROP FUNCTION roll;

-- meter_compare_plans(): what tenants would owe on other plans
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'America/Los_Angeles';
SET meter.retention = 0;

SELECT * FROM meter_compare_plans('2026-04-01');
\set VERBOSITY terse
SELECT * FROM meter_compare_plans(NULL);
SELECT * FROM meter_compare_plans('infinity');
SELECT * FROM meter_compare_plans('2026-04-01', plans => '{nothing}');
\set VERBOSITY default

-- starter: 10.00 a month and 0.02 a call.  pro: 50.00, 5000 calls included, and 0.01 a call beyond.
-- flat: 60.00 whatever is used.  commit: nothing a month, 0.015 a call, but at least 45.00 and at most
-- 70.00.  free has no version, so nobody is told of it.  A storage price holds for all: 0.10 a GB-month.
INSERT INTO meter.plan (plan) VALUES ('starter'), ('pro'), ('flat'), ('commit'), ('free'), ('euro');
INSERT INTO meter.plan_version (plan, base_price, currency, min_amount, max_amount) VALUES
	('starter', 10, 'USD', NULL, NULL), ('pro', 50, 'USD', NULL, NULL), ('flat', 60, 'USD', NULL, NULL),
	('commit', 0, 'USD', 45, 70), ('euro', 40, 'EUR', NULL, NULL);
INSERT INTO meter.metric (metric, kind, dimensions) VALUES ('api_requests', 'counter', '{}'), ('storage_gb', 'gauge', '{}');
INSERT INTO meter.price (price, plan, tenant, metric, aggregation, model, params, included) VALUES
	('api', 'starter', NULL, 'api_requests', 'sum', 'per_unit', '{"unit_amount": 0.02}', 0),
	('api', 'pro', NULL, 'api_requests', 'sum', 'per_unit', '{"unit_amount": 0.01}', 5000),
	('api', 'commit', NULL, 'api_requests', 'sum', 'per_unit', '{"unit_amount": 0.015}', 0),
	('api', NULL, 'vip', 'api_requests', 'sum', 'per_unit', '{"unit_amount": 0.001}', 0),
	('fee', 'starter', NULL, 'api_requests', 'sum', 'percentage', '{"rate_percent": 1, "fixed_amount": 0.5}', 0),
	('storage', NULL, NULL, 'storage_gb', 'weighted_avg', 'per_unit', '{"unit_amount": 0.10}', 0);
INSERT INTO meter.tenant (tenant, plan, started_on, currency, billing_anchor, time_zone) VALUES
	('small', 'starter', '2026-01-01', NULL, 1, 'UTC'), ('big', 'starter', '2026-01-01', NULL, 1, 'UTC'),
	('vip', 'pro', '2026-01-01', NULL, 1, 'UTC'), ('half', 'starter', '2026-04-16', NULL, 1, 'UTC'),
	('pound', 'flat', '2026-01-01', 'GBP', 1, 'UTC'), ('gone', 'pro', '2026-01-01', NULL, 1, 'UTC'),
	('none', NULL, '2026-01-01', NULL, 1, 'UTC'), ('free', 'free', '2026-01-01', NULL, 1, 'UTC'),
	('kol', 'commit', '2026-01-01', NULL, 15, 'Asia/Kolkata');
UPDATE meter.tenant SET status = 'cancelled' WHERE tenant = 'gone';
-- a pound is 2 dollars on the last day of April, 4 before
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('USD', 'GBP', '2026-01-01', 0.25), ('USD', 'GBP', '2026-04-30', 0.5),
	('USD', 'GBP', '2026-05-01', 9);
SELECT count(meter_track(t, quantity => q, at => a)) FROM (VALUES
	('small', 500, '2026-04-10 12:00+00'::timestamptz), ('big', 4000, '2026-04-10 12:00+00'), ('big', 2000, '2026-04-11 12:00+00'),
	('big', 9999, '2026-05-01 00:00+00'), ('vip', 6000, '2026-04-10 12:00+00'), ('half', 3000, '2026-04-20 12:00+00'),
	('half', 777, '2026-04-15 12:00+00'), ('pound', 6000, '2026-04-10 12:00+00'), ('free', 100, '2026-04-10 12:00+00'),
	('kol', 2000, '2026-04-14 18:30+00'), ('kol', 1000, '2026-04-14 18:29:59+00'), ('kol', 3000, '2026-05-14 18:29:59+00')) AS v (t, q, a);
-- big has 20 GB for all of April
SELECT meter_track('big', 'storage_gb', 20, at => '2026-03-31 23:00+00'), meter_track('big', 'storage_gb', 0, at => '2026-05-01 00:00+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();

-- small: starter 10 + 500 * 0.02 + fee 500 * 0.01 + 0.5 = 10 + 10 + 5.50; pro 50; flat 60; commit 500 * 0.015 = 7.50, at least 45.
-- big, 6000 calls and 20 GB: starter 10 + 120 + (40 + 0.5) + (20 + 0.5) + 2; pro 50 + 1000 * 0.01 + 2; flat 60 + 2;
-- commit 90 + 2, at most 70.
-- vip has its own price of calls everywhere, 6: starter 10 + 6 + 60 + 0.5; pro 50 + 6; flat 60 + 6; commit 6, at least 45.
-- half, 15 of 30 days, 3000 calls: starter 5 + 60 + 30.50; pro 25 + 500 * 0.01, as 2500 are included; flat 30;
-- commit 45, at most 35 and at least 22.50.
-- pound, half of the dollars: starter (10 + 120 + 60.50) / 2; pro (50 + 10) / 2; flat 30; commit 45, at most 35.
-- kol, from 15 April to 15 May in India, 5000 calls: starter 10 + 100 + 51; pro 50; flat 60; commit 75, at most 70.
-- free, 100 calls: on its own plan nothing; starter 10 + 2 + 1.50.
-- euro is left out: there is no rate.  gone and none have no plan.
SELECT tenant, plan, is_current, currency, trim_scale(base) AS base, trim_scale(usage) AS usage, trim_scale(adjustment) AS adjustment,
	trim_scale(amount) AS amount, fits
FROM meter_compare_plans('2026-04-17') ORDER BY tenant, plan COLLATE "C";
-- with a rate, and as few as are asked for: pro 50 USD; euro 40 EUR = 60 USD
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'USD', '2026-01-01', 1.5);
SELECT tenant, plan, is_current, amount FROM meter_compare_plans('2026-04-01', '{small,none,nobody}', '{euro,pro,free}') ORDER BY tenant, plan COLLATE "C";

-- A tenth off, then 5 off: small starter 25.50 - 2.55 - 5; commit 7.50 - 0.75 - 5, at least 45.
INSERT INTO meter.coupon (coupon, percent) VALUES ('TENTH', 10);
INSERT INTO meter.coupon (coupon, amount, currency) VALUES ('FIVE', 5, 'USD'), ('FRANC', 5, 'CHF');
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from) VALUES ('small', 'TENTH', '2026-01-01'), ('small', 'FIVE', '2026-01-01');
SELECT plan, base, usage, trim_scale(adjustment) AS adjustment, trim_scale(amount) AS amount
FROM meter_compare_plans('2026-04-01', '{small}') WHERE plan IN ('starter', 'commit') ORDER BY plan;

-- A brute-force model: the tenant has the plan since it started, and its bill is previewed; with euro it
-- would be in another currency.
CREATE FUNCTION previewed(of_tenant text, with_plan text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE amount numeric;
BEGIN
	BEGIN
		DELETE FROM meter.subscription AS s WHERE s.tenant = of_tenant;
		PERFORM set_config('session_replication_role', 'replica', true);
		UPDATE meter.tenant AS t SET plan = with_plan WHERE t.tenant = of_tenant;
		SELECT COALESCE(sum(b.amount), 0) INTO amount FROM meter_bill(of_tenant, '2026-04-01') AS b WHERE b.kind NOT IN ('tax', 'credit', 'delta');
		RAISE EXCEPTION 'undo' USING ERRCODE = 'UN000';
	EXCEPTION WHEN SQLSTATE 'UN000' THEN
		RETURN amount;
	END;
END
$$;
SELECT count(*), count(*) FILTER (WHERE c.amount = previewed(c.tenant, c.plan)) AS same
FROM meter_compare_plans('2026-04-01') AS c WHERE c.plan <> 'euro';
SELECT * FROM meter_compare_plans('2026-04-01') AS c WHERE c.plan <> 'euro' AND c.amount IS DISTINCT FROM previewed(c.tenant, c.plan);

-- What a final bill holds fast does not matter to what would be.
SET meter.bill_grace = 0;
SET client_min_messages = warning;
CALL meter_close_month('2026-04-01');
RESET client_min_messages;
SELECT status, count(*) FROM meter.bill GROUP BY status;
SELECT c.tenant, trim_scale(c.amount) AS amount, trim_scale(b.amount) AS billed
FROM meter_compare_plans('2026-04-01') AS c
LEFT JOIN LATERAL (SELECT sum(l.amount) AS amount FROM meter.bill_line AS l WHERE l.tenant = c.tenant AND l.month = '2026-04-01') AS b ON true
WHERE c.is_current ORDER BY c.tenant;
UPDATE meter.price SET params = '{"unit_amount": 0.03}' WHERE plan = 'starter' AND price = 'api';
SELECT plan, amount FROM meter_compare_plans('2026-04-01', '{big}') WHERE plan IN ('starter', 'pro') ORDER BY plan;

-- A plan that was changed in the middle is compared as if it had been had all the time; versions are
-- prorated.  pro is 50 up to 15 April and 80 from the 16th on: 25 + 40 for small.
INSERT INTO meter.plan_version (plan, valid_from, base_price) VALUES ('pro', '2026-04-16', 80);
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('small', '2026-01-01', 'flat'), ('small', '2026-04-21', 'starter');
SELECT plan, is_current, base FROM meter_compare_plans('2026-04-01', '{small}') ORDER BY plan;
-- A trial is not charged on any plan: the first 20 of April's 30 days, so a third of 60 is.
UPDATE meter.plan_version SET trial_days = 20 WHERE plan = 'flat';
INSERT INTO meter.tenant (tenant, plan, started_on) VALUES ('new', 'flat', '2026-04-01');
SELECT plan, base FROM meter_compare_plans('2026-04-01', '{new}') ORDER BY plan;

-- Who was gone from the 6th to the 20th is charged for 15 of 30 days on any plan, as his bill says, and for what he has used
-- on them: 20 calls at 0.03 and 1 % of 10 and 10, and 0.5 for each.
BEGIN;
UPDATE meter.plan_version SET trial_days = 0 WHERE plan = 'flat';
INSERT INTO meter.tenant (tenant, plan, started_on) VALUES ('back', 'flat', '2026-01-01');
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('back', '2026-01-01', 'flat'), ('back', '2026-04-06', NULL), ('back', '2026-04-21', 'flat');
SELECT count(meter_track('back', quantity => 10, at => a)) FROM unnest(ARRAY['2026-04-05 12:00+00', '2026-04-10 12:00+00', '2026-04-21 12:00+00']::timestamptz[]) AS a;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT plan, is_current, base, trim_scale(usage) AS usage, trim_scale(amount) AS amount,
	CASE WHEN is_current THEN (SELECT sum(b.amount) FROM meter_bill('back', '2026-04-01') AS b) END AS billed
FROM meter_compare_plans('2026-04-01', '{back}', '{starter}') ORDER BY plan;
ROLLBACK;

-- Who cannot be rated keeps no other from it: a coupon in francs.
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from) VALUES ('big', 'FRANC', '2026-01-01');
SELECT DISTINCT tenant FROM meter_compare_plans('2026-04-01') ORDER BY 1;

-- Limits.  busy: 30 calls at 12:10 and 20 at 12:50 of one day, 25 on another, 5 of which are refused.
INSERT INTO meter.tenant (tenant, plan, started_on, time_zone) VALUES ('busy', 'flat', '2026-01-01', 'Asia/Kolkata');
SELECT count(meter_track('busy', quantity => CASE s WHEN 429 THEN 0 ELSE 1 END, at => a, status => s)) FROM (VALUES (30, '2026-04-10 12:10+00'::timestamptz, 200),
	(20, '2026-04-10 12:50+00', 200), (20, '2026-04-20 12:00+00', 200), (5, '2026-04-20 12:00+00', 429)) AS v (n, a, s)
CROSS JOIN LATERAL generate_series(1, n);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
-- 50 in an hour, 50 on a day, 70 in the month.  Each limit is first just enough and then one too few.
CREATE FUNCTION fits(per text, max numeric, kind text DEFAULT 'window', burst numeric DEFAULT NULL, mode text DEFAULT 'enforce')
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE answer boolean;
BEGIN
	INSERT INTO meter.rate_limit (plan, per, max, kind, burst, mode) VALUES ('pro', per, max, kind, burst, mode);
	SELECT c.fits INTO answer FROM meter_compare_plans('2026-04-01', '{busy}', '{pro}') AS c WHERE c.plan = 'pro';
	DELETE FROM meter.rate_limit WHERE plan = 'pro';
	RETURN answer;
END
$$;
SELECT fits('month', 70), fits('month', 69), fits('day', 50), fits('day', 49), fits('hour', 50), fits('hour', 49);
-- buckets: 40 and a burst of 10; 40 and, without one, another 40; 60 minutes; nothing; any amount; told of only
SELECT fits('hour', 40, 'bucket', 10), fits('hour', 40, 'bucket', 9), fits('hour', 25, 'bucket'), fits('minute', 1, 'window'),
	fits('minute', 0, 'window'), fits('month', NULL), fits('month', 1, 'window', NULL, 'soft');
-- 4 recorded as one on the third day: 71 events, and 74 calls if each of these was one, whatever is refused
INSERT INTO meter.inbox (tenant, quantity, at) VALUES ('busy', 4, '2026-04-21 12:00+00');
INSERT INTO meter.inbox (tenant, quantity, status, at) SELECT 'busy', 0, 429, '2026-04-21 12:00+00' FROM generate_series(1, 9);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT fits('month', 74), fits('month', 73), fits('month', 71), fits('month', 70), fits('hour', 50), fits('hour', 3), fits('day', 50);
SELECT meter_correct('busy', seq => seq, void => true) FROM meter.event WHERE tenant = 'busy' AND quantity = 4;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
-- for all, times the multiplier 2 of pro: 35 * 2 in a month; the plan's own comes before, and the tenant's before that
UPDATE meter.plan SET multiplier = 2 WHERE plan = 'pro';
INSERT INTO meter.rate_limit (per, max, kind) VALUES ('month', 35, 'window');
SELECT plan, fits FROM meter_compare_plans('2026-04-01', '{busy}', '{pro,starter}') ORDER BY plan;
SELECT fits('month', 69);
INSERT INTO meter.rate_limit (tenant, per, max, kind) VALUES ('busy', 'month', 70, 'window');
SELECT fits('month', 69);
-- also if it only warns
UPDATE meter.rate_limit SET max = 1, mode = 'soft' WHERE tenant = 'busy';
SELECT fits('month', 69);

-- An analyst may compare, an application not.
CREATE ROLE regress_compare_analyst;
CREATE ROLE regress_compare_app;
SELECT meter_grant('regress_compare_analyst', 'analyst'), meter_grant('regress_compare_app', 'app');
SET ROLE regress_compare_analyst;
SELECT plan, amount FROM meter_compare_plans('2026-04-01', '{vip}', '{pro}') ORDER BY plan;
SET ROLE regress_compare_app;
SELECT plan, amount FROM meter_compare_plans('2026-04-01', '{vip}', '{pro}');
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_compare_analyst, regress_compare_app;
DROP ROLE regress_compare_analyst, regress_compare_app;

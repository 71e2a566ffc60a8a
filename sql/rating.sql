-- rating: what a period comes to, in bills worked by hand
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET meter.retention = 0;

--
-- Steps of a line
--
SELECT n, r, d, trim_scale(meter.bill_round(n, r, d)) AS rounded
FROM (VALUES (1.4, 'ceil', 0), (-1.4, 'ceil', 0), (2, 'ceil', 0), (1.4, 'floor', 0), (-1.4, 'floor', 0),
	(1.5, 'round', 0), (2.5, 'round', 0), (-1.5, 'round', 0), (1.25, 'round', 1), (1234, 'ceil', -2), (1299, 'floor', -2),
	(1250, 'round', -2), (0.0000000000001, 'ceil', 12), (0.1234567890129, 'floor', 12), (1.4, 'none', 0),
	(0, 'ceil', -3), (1000, 'ceil', -3)) AS t (n, r, d);
-- a part never exceeds the whole; a third of three times as much is exact again
SELECT round(meter.bill_part(100, 15, 31), 40) AS part, meter.bill_part(100, 31, 31) AS whole, meter.bill_part(100, 32, 31) AS more,
	meter.bill_part(NULL, 1, 2) AS nothing, meter.bill_decimals(meter.bill_quotient(1, 3) * 3) AS one,
	meter.bill_decimals(meter.bill_quotient(1, 3) * 0.015) AS half;
-- what is included covers the first events: 10 of the first, 5 of the second
SELECT meter.bill_events('{10, 20, 30}', 1, 'none', 0, 15), meter.bill_events('{10, 20, 30}', 1, 'none', 0, 10),
	meter.bill_events('{10, 20, 30}', 1, 'none', 0, 60), meter.bill_events('{10, 20, 30}', 10, 'none', 0, 0)::numeric(8, 2)[],
	meter.bill_events('{10, 25, 31}', 10, 'ceil', 0, 2)::numeric(8, 2)[], meter.bill_events('{}', 1, 'none', 0, 5);

--
-- Steps of a bill.  200: 10 % off is 180, 25 % off that is 135, 15 off is 120, at
-- most 110, at least 115, a credit of 40, and a tax of 20 % on the 75 that are left.
--
SELECT step, kind, before, amount_exact, amount
FROM meter.bill_fold(200, 2, '[{"kind": "coupon", "percent": 10}, {"kind": "coupon", "percent": 25}, {"kind": "coupon", "amount": 15},
	{"kind": "maximum", "amount": 110}, {"kind": "minimum", "amount": 115}, {"kind": "credit", "amount": 40}, {"kind": "tax", "percent": 20}]');
-- each is rounded before the next: 0.05 - 0.01 (a tenth is 0.005, half away from zero) - 0.004, which is 0.00
SELECT step, kind, before, amount_exact, amount
FROM meter.bill_fold(0.05, 2, '[{"kind": "coupon", "percent": 10}, {"kind": "coupon", "percent": 10}]');
-- coupons and credits do not go below 0; below 0 they do nothing, but tax does
SELECT step, kind, before, amount_exact, amount
FROM meter.bill_fold(30, 2, '[{"kind": "coupon", "percent": 100}, {"kind": "coupon", "amount": 5}, {"kind": "credit", "amount": 5}, {"kind": "tax", "percent": 20}]');
SELECT step, kind, before, amount_exact, amount
FROM meter.bill_fold(-70, 2, '[{"kind": "coupon", "percent": 10}, {"kind": "coupon", "amount": 5}, {"kind": "maximum", "amount": 0}, {"kind": "credit", "amount": 5}, {"kind": "tax", "percent": 20}]');
SELECT count(*) FROM meter.bill_fold(30, 2, '[]');

--
-- Bills of March 2025, which has 31 days
--
INSERT INTO meter.metric (metric, kind, dimensions) VALUES ('calls', 'counter', '{model}'), ('payments', 'counter', '{}'), ('level', 'gauge', '{}');
INSERT INTO meter.plan (plan) VALUES ('empty'), ('hundred'), ('basic'), ('pro'), ('trial'), ('least'), ('most'), ('euro');
INSERT INTO meter.plan_version (plan, base_price, currency, trial_days, min_amount, max_amount) VALUES
	('hundred', 100, 'USD', 0, NULL, NULL), ('basic', 31, 'USD', 0, NULL, NULL), ('pro', 62, 'USD', 0, NULL, NULL),
	('trial', 31, 'USD', 10, NULL, NULL), ('least', 0, 'USD', 0, 31, NULL), ('most', 0, 'USD', 0, NULL, 62), ('euro', 31, 'EUR', 0, 31, 62);

CREATE FUNCTION rating_tenant(tenant text, plan text DEFAULT 'empty', started_on date DEFAULT '2025-01-01', tax numeric DEFAULT 0,
	currency text DEFAULT NULL, zone text DEFAULT 'UTC', anchor integer DEFAULT 1) RETURNS void
LANGUAGE SQL AS $$
INSERT INTO meter.tenant (tenant, plan, started_on, tax_percent, currency, time_zone, billing_anchor)
VALUES (tenant, plan, started_on, tax, currency, zone, anchor);
$$;
CREATE FUNCTION rating_used(tenant text, quantity numeric, at timestamptz DEFAULT '2025-03-20', metric text DEFAULT 'calls', cost numeric DEFAULT NULL)
RETURNS void
LANGUAGE SQL AS $$
SELECT meter_track(tenant, metric, quantity, at => at, cost => cost);
$$;
CREATE FUNCTION rating_bill(tenant text, month date DEFAULT '2025-03-01', OUT kind text, OUT price text, OUT quantity numeric, OUT billed numeric,
	OUT exact numeric, OUT amount numeric, OUT currency text, OUT why jsonb) RETURNS SETOF record
LANGUAGE SQL AS $$
SELECT b.kind, b.price, b.quantity, b.billed_quantity, round(b.amount_exact, 6), b.amount, b.currency,
	b.details - 'terms' - 'tiers' - 'version' - 'charge' - 'base_price'
FROM meter_bill(tenant, month) AS b ORDER BY b.line;
$$;

-- 1400 with conversion /1000 and ceil is 2, included 0.5, at 10: 15
SELECT rating_tenant('units'), rating_used('units', 1400);
INSERT INTO meter.price (tenant, price, metric, model, params, unit, divisor, rounding, included)
VALUES ('units', 'calls', 'calls', 'per_unit', '{"unit_amount": 10}', '1000 calls', 1000, 'ceil', 0.5);

-- unit price 10, 50 % discount, maximum 100.  27 units: 270, - 135, - 35
SELECT rating_tenant('capped'), rating_used('capped', 27);
INSERT INTO meter.price (tenant, price, metric, model, params, discount_percent, max_amount)
VALUES ('capped', 'calls', 'calls', 'per_unit', '{"unit_amount": 10}', 50, 100);

-- minimum 31: 12 units at 1 and 19 more; unused, all of it; and nothing for what has no level
SELECT rating_tenant('floored'), rating_used('floored', 12);
INSERT INTO meter.price (tenant, price, metric, aggregation, model, params, min_amount) VALUES
	('floored', 'calls', 'calls', 'sum', 'per_unit', '{"unit_amount": 1}', 31),
	('floored', 'largest', 'payments', 'max', 'per_unit', '{"unit_amount": 1}', 31),
	('floored', 'payments', 'payments', 'sum', 'per_unit', '{"unit_amount": 1}', 31);

-- 2.99 %, at least 1.75, at most 12, of 10, 80 and 10000: 1.75 + 2.392 + 12
SELECT rating_tenant('percent'), rating_used('percent', 10, '2025-03-20', 'payments'), rating_used('percent', 80, '2025-03-20 00:00:01', 'payments'),
	rating_used('percent', 10000, '2025-03-20 00:00:02', 'payments');
INSERT INTO meter.price (tenant, price, metric, model, params) VALUES ('percent', 'fee', 'payments', 'percentage',
	'{"rate_percent": 2.99, "per_transaction_min_amount": 1.75, "per_transaction_max_amount": 12}');
-- in hundreds, of which 0.5 are included: 0.1 and 0.4 of the second are free; 1 % of 0.4 and of 100
INSERT INTO meter.price (tenant, price, metric, model, params, divisor, included) VALUES ('percent', 'hundreds', 'payments', 'percentage',
	'{"rate_percent": 1}', 100, 0.5);

-- 10.101 + 9.019 = 19.12
SELECT rating_tenant('passed on'), rating_used('passed on', 1, cost => 10.101), rating_used('passed on', 1, cost => 9.019);
INSERT INTO meter.price (tenant, price, metric, model, params) VALUES ('passed on', 'cost', 'calls', 'dynamic', '{}');

SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM rating_bill('units');
SELECT jsonb_pretty(details) AS details FROM meter_bill('units', '2025-03-31');
SELECT * FROM rating_bill('capped');
SELECT * FROM rating_bill('floored');
SELECT * FROM rating_bill('percent');
SELECT * FROM rating_bill('passed on');

--
-- Parts of a period
--
-- 100 for 15 of 31 days: 48.387; 31 included become 15, a flat 62 becomes 30, a
-- minimum of 31 becomes 15 and a maximum of 62 becomes 30, unless the price says
-- otherwise
SELECT rating_tenant('half', 'hundred', '2025-03-17'), rating_used('half', 45);
INSERT INTO meter.price (tenant, price, metric, model, params, included, min_amount, max_amount, prorate)
SELECT 'half', name || CASE WHEN prorate THEN '' ELSE ', whole' END, metric, model, params, included, low, high, prorate
FROM (VALUES ('included', 'calls', 'per_unit', '{"unit_amount": 1}'::jsonb, 31, NULL, NULL),
		('flat', 'calls', 'flat', '{"amount": 62}', 0, NULL, NULL),
		('least', 'payments', 'per_unit', '{"unit_amount": 1}', 0, 31, NULL),
		('most', 'calls', 'per_unit', '{"unit_amount": 2}', 0, NULL, 62)) AS p (name, metric, model, params, included, low, high),
	unnest(ARRAY[true, false]) AS prorate;
-- 31 a month for 10 days is 10, 62 for the other 21 is 42
SELECT rating_tenant('changed', 'pro');
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('changed', '2025-01-01', 'basic'), ('changed', '2025-03-11', 'pro');
-- cancelled after 10 days; April is not billed
SELECT rating_tenant('cancelled', 'basic');
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('cancelled', '2025-01-01', 'basic'), ('cancelled', '2025-03-11', NULL);
-- 10 days of trial: 21 days of 31 are left, and what was used before costs nothing
SELECT rating_tenant('tried', 'trial', '2025-03-01'), rating_used('tried', 1000, '2025-03-10 23:59:59'), rating_used('tried', 1, '2025-03-11');
INSERT INTO meter.price (tenant, price, metric, model, params) VALUES ('tried', 'calls', 'calls', 'per_unit', '{"unit_amount": 1}');
-- from the 15th to the 15th, in New York, where March has a day of 23 hours:
-- from the 25th of March on it is 21 of 31 days, and all of them have 24 hours
SELECT rating_tenant('anchored', 'basic', '2025-03-25', zone => 'America/New_York', anchor => 15);
-- all of March there has 743 hours, of which 15 days are 360, and the first 16 are 383
SELECT rating_tenant('summer', 'hundred', '2025-03-17', zone => 'America/New_York');

-- an average of 3, 3 and 4 at 0.0015, and 20 minutes at 0.015 an hour, are half a cent each
SELECT rating_tenant('thirds'), rating_used('thirds', 3), rating_used('thirds', 3), rating_used('thirds', 4),
	rating_used('thirds', 1, '2025-03-20 00:00', 'level'), rating_used('thirds', 0, '2025-03-20 00:20', 'level');
INSERT INTO meter.price (tenant, price, metric, aggregation, model, params) VALUES
	('thirds', 'average', 'calls', 'avg', 'per_unit', '{"unit_amount": 0.0015}'), ('thirds', 'hours', 'level', 'time_weighted', 'per_unit', '{"unit_amount": 0.015}');

SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM rating_bill('thirds');
SELECT * FROM rating_bill('half');
SELECT * FROM rating_bill('changed');
SELECT * FROM rating_bill('cancelled');
SELECT * FROM rating_bill('cancelled', '2025-04-01');
SELECT * FROM rating_bill('tried');
SELECT * FROM rating_bill('anchored');
SELECT * FROM rating_bill('summer');

--
-- Currencies.  Halves go away from zero, to the digits of the currency; the rate
-- is that of the period's last day, the 31st.
--
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES
	('EUR', 'USD', '2025-01-01', 1.05), ('EUR', 'USD', '2025-03-31', 1.08), ('EUR', 'USD', '2025-04-01', 1.10), ('USD', 'JPY', '2025-01-01', 150);
SELECT rating_tenant('yen', currency => 'JPY'), rating_tenant('dinar', currency => 'KWD'), rating_tenant('dollar', 'euro', currency => 'USD'),
	rating_tenant('euro', 'euro', '2025-03-17'), rating_tenant('franc', currency => 'CHF');
SELECT rating_used(t, 12.5) FROM unnest(ARRAY['yen', 'dinar', 'dollar', 'franc']) AS t;
INSERT INTO meter.price (tenant, price, metric, model, params, currency) VALUES
	('yen', 'calls', 'calls', 'per_unit', '{"unit_amount": 1}', 'JPY'), ('yen', 'dollars', 'calls', 'per_unit', '{"unit_amount": 0.01}', 'USD'),
	('dinar', 'calls', 'calls', 'per_unit', '{"unit_amount": 0.00004}', 'KWD'), ('dollar', 'calls', 'calls', 'per_unit', '{"unit_amount": 1}', 'EUR'),
	('franc', 'calls', 'calls', 'per_unit', '{"unit_amount": 1}', 'USD');
SELECT * FROM meter_flush();
SELECT meter_rollup();
-- 12.5 yen and 0.125 dollars, 18.75 yen
SELECT * FROM rating_bill('yen');
-- 0.0005 dinars
SELECT * FROM rating_bill('dinar');
-- 31 euros are 33.48 dollars and 12.5 are 13.50, together 46.98 of 66.96 at most
SELECT * FROM rating_bill('dollar');
-- 15 of 31 days: 15, which is the minimum
SELECT * FROM rating_bill('euro');
SELECT * FROM rating_bill('franc');

--
-- The whole bill
--
-- 4 used; the minimum for 15 of 31 days is 15
SELECT rating_tenant('least', 'least', '2025-03-17'), rating_used('least', 4);
-- 100 used; at most 62
SELECT rating_tenant('most', 'most'), rating_used('most', 100);
-- 16 days without a maximum: none
SELECT rating_tenant('mixed', 'most'), rating_used('mixed', 100);
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('mixed', '2025-01-01', 'empty'), ('mixed', '2025-03-17', 'most');
-- 200, less a fifth, less a tenth of what is left, less 50, which is above the minimum of 31, and tax
SELECT rating_tenant('coupons', 'least', tax => 19), rating_used('coupons', 200);
-- more off than there is, in another currency: 10 euros are 10.80; the coupon does not count for the minimum of 31
SELECT rating_tenant('gift', 'least'), rating_used('gift', 8);
INSERT INTO meter.price (tenant, price, metric, model, params)
SELECT t, 'calls', 'calls', 'per_unit', '{"unit_amount": 1}' FROM unnest(ARRAY['least', 'most', 'mixed', 'coupons', 'gift']) AS t;
INSERT INTO meter.coupon (coupon, percent, amount, currency) VALUES ('a tenth', 10, NULL, NULL), ('a fifth', 20, NULL, NULL),
	('fifty', NULL, 50, 'USD'), ('ten euros', NULL, 10, 'EUR');
INSERT INTO meter.coupon (coupon, percent, valid_from, valid_to) VALUES ('over', 50, '2025-01-01', '2025-03-31'), ('to come', 50, '2025-04-01', NULL);
-- what was given first comes first
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from, periods) VALUES ('coupons', 'fifty', '2025-01-01', NULL),
	('coupons', 'a tenth', '2025-03-31', 1), ('coupons', 'a fifth', '2025-04-01', 1), ('coupons', 'over', '2025-01-01', NULL),
	('coupons', 'to come', '2025-01-01', NULL), ('gift', 'ten euros', '2025-02-15', 2);
UPDATE meter.tenant_coupon SET valid_from = '2025-02-28', periods = 2 WHERE coupon = 'a fifth';
SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM rating_bill('least');
SELECT * FROM rating_bill('most');
SELECT * FROM rating_bill('mixed');
-- a fifth off 200 is 40, a tenth off 160 is 16, 144 - 50 = 94
SELECT * FROM rating_bill('coupons');
SELECT * FROM rating_bill('gift');
-- in April the first period of one and the second of another are over
SELECT kind, price, amount FROM rating_bill('coupons', '2025-04-01');
SELECT kind, price, amount FROM rating_bill('gift', '2025-04-01');
-- from the 15th to the 15th, a coupon of the 14th belongs to the period before
SELECT rating_tenant('early', 'basic', anchor => 15);
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from, periods) VALUES ('early', 'a tenth', '2025-03-14', 1), ('early', 'a fifth', '2025-03-15', 1);
SELECT m, kind, price, amount FROM unnest(ARRAY['2025-02-01', '2025-03-01', '2025-04-01']::date[]) AS m, rating_bill('early', m) WHERE kind = 'coupon';

-- Credits, in the order of priority, expiry and age; one has expired, one is to come.
-- 100 and a tax of 20 %: 5 of the first (which has expired to the right day), 30 of the
-- second, 21.60 for 20 euros, and 43.40 of the last
SELECT rating_tenant('credits', 'hundred', tax => 20);
INSERT INTO meter.credit (tenant, credit_id, amount, currency, priority, valid_from, expires_on, reason, created_at) VALUES
	('credits', '00000000-0000-0000-0000-000000000001', 5, 'USD', 1, '2025-01-01', '2025-04-01', 'last day', '2025-01-05'),
	('credits', '00000000-0000-0000-0000-000000000002', 30, 'USD', 2, '2025-01-01', '2026-01-01', 'expires first', '2025-01-04'),
	('credits', '00000000-0000-0000-0000-000000000003', 20, 'EUR', 2, '2025-03-31', NULL, 'older', '2025-01-02'),
	('credits', '00000000-0000-0000-0000-000000000004', 100, 'USD', 2, '2025-01-01', NULL, 'younger', '2025-01-03'),
	('credits', '00000000-0000-0000-0000-000000000005', 100, 'USD', 3, '2025-01-01', NULL, 'not needed', '2025-01-01'),
	('credits', '00000000-0000-0000-0000-000000000006', 100, 'USD', 1, '2025-01-01', '2025-03-31', 'expired', '2025-01-01'),
	('credits', '00000000-0000-0000-0000-000000000007', 100, 'USD', 1, '2025-04-01', NULL, 'to come', '2025-01-01');
SELECT * FROM rating_bill('credits');

--
-- Who has no bill, and other questions
--
SELECT rating_tenant('nothing');
SELECT count(*) FROM meter_bill('nothing', '2025-03-01');
SELECT count(*) FROM meter_bill('half', '2025-02-01');
SELECT meter_bill_json('half', '2025-02-01');
SELECT count(*) FROM meter_bill(NULL, '2025-03-01');
\set VERBOSITY terse
SELECT * FROM meter_bill('nobody', '2025-03-01');
\echo :LAST_ERROR_SQLSTATE
SELECT meter_bill_json('nobody', '2025-03-01');
SELECT * FROM meter_bill('half', 'infinity');
\set VERBOSITY default
SELECT meter_bill_json('nothing', '2025-03-17');
SELECT jsonb_pretty(meter_bill_json('credits', '2025-03-17') #- '{lines}') AS bill;
SELECT jsonb_pretty(meter_bill_json('units', '2025-03-17') #- '{lines,0,details}') AS bill;

-- all tenants at once are the same as one by one, and lines add up
SELECT count(DISTINCT tenant) AS tenants, count(*) AS lines,
	count(*) FILTER (WHERE b.line IS NULL) AS different
FROM meter.bill_rate('2025-03-01', ARRAY(SELECT tenant FROM meter.tenant WHERE tenant <> 'franc')) AS r
LEFT JOIN LATERAL meter_bill(r.tenant, r.month) AS b ON b.line = r.line AND b.amount = r.amount AND b.details = r.details
	AND b.amount = round(round(b.amount_exact, 30), meter.currency_digits(b.currency));

DROP FUNCTION rating_tenant, rating_used, rating_bill;

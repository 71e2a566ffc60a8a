-- delta: late usage and corrections of earlier bills
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET meter.retention = 0;
SET meter.bill_grace = 0;

INSERT INTO meter.plan (plan) VALUES ('empty'), ('least'), ('most');
INSERT INTO meter.plan_version (plan, min_amount, max_amount) VALUES ('least', 50, NULL), ('most', NULL, 100);
INSERT INTO meter.tenant (tenant, plan, started_on, tax_percent, currency) VALUES ('volume', 'empty', '2025-01-01', 20, NULL),
	('capped', 'empty', '2025-01-01', 0, NULL), ('least', 'least', '2025-01-01', 0, NULL), ('most', 'most', '2025-01-01', 0, NULL),
	('coupon', 'empty', '2025-01-01', 0, NULL), ('frozen', 'empty', '2025-01-01', 0, 'EUR'), ('quiet', 'empty', '2025-01-01', 0, NULL);
INSERT INTO meter.price (tenant, price, metric, model, params, discount_percent, max_amount)
SELECT tenant, 'calls', 'calls', 'per_unit', '{"unit_amount": 10}'::jsonb, CASE tenant WHEN 'capped' THEN 50 ELSE 0 END, CASE tenant WHEN 'capped' THEN 100 END
FROM meter.tenant WHERE tenant <> 'volume'
UNION ALL
SELECT 'volume', 'calls', 'calls', 'volume',
	'{"tiers": [{"up_to": 5, "flat_amount": 100}, {"up_to": 10, "flat_amount": 150}, {"up_to": 15, "unit_amount": 10}, {"unit_amount": 5}]}', 0, NULL;
INSERT INTO meter.coupon (coupon, percent, amount, currency) VALUES ('a tenth', 10, NULL, NULL), ('ten', NULL, 10, 'USD');
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from, periods) VALUES ('coupon', 'a tenth', '2025-01-01', 1), ('coupon', 'ten', '2025-01-01', 1);
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('USD', 'EUR', '2025-01-01', 0.5), ('USD', 'EUR', '2025-02-01', 0.8), ('EUR', 'USD', '2025-01-01', 2), ('EUR', 'USD', '2025-02-01', 1.25);

CREATE FUNCTION used(tenant text, quantity numeric, at timestamptz, key text DEFAULT NULL) RETURNS void LANGUAGE SQL AS $$
SELECT meter_track(tenant, 'calls', quantity, at => at, idempotency_key => key);
$$;
CREATE FUNCTION flushed() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM meter_flush();
	RETURN meter_rollup();
END
$$;
CREATE VIEW lines AS
SELECT l.tenant, to_char(l.month, 'YYYY-MM') AS month, l.revision AS rev, l.kind, l.price, l.metric, to_char(l.for_month, 'YYYY-MM') AS for_month, l.quantity,
	l.billed_quantity AS billed, l.amount, b.currency, b.status, l.details - 'terms' - 'lines' - 'tiers' - 'charge' AS why
FROM meter.bill_line AS l JOIN meter.bill AS b USING (tenant, month, revision)
ORDER BY l.tenant COLLATE "C", l.month, l.revision, l.line;

-- 15 units: 150.  20 units: 200, half of it off, and the rest as much as there is at
-- most.  2 units at 10 and 30 more; 12 units, and 20 off.  10 units: 100, less 10, less
-- 10: 80.  4 units at 10 dollars: 20 euros, the dollar being half a euro in January.
SELECT used('volume', 15, '2025-01-10', 'k1'), used('capped', 7, '2025-01-10'), used('least', 2, '2025-01-10'), used('most', 12, '2025-01-10'),
	used('coupon', 10, '2025-01-10'), used('frozen', 4, '2025-01-10'), used('quiet', 1, '2025-01-10');
SELECT flushed();
CALL meter_close_month('2025-01-01');
SELECT tenant, kind, price, quantity, amount, currency, why FROM lines;
SELECT count(*) AS late FROM meter.bill_late('2025-02-01', ARRAY(SELECT tenant FROM meter.tenant));

-- One more: 16 at 5 are 80, which is 70 less, and the tax of it.  20 more when 35 were
-- billed: 65 more.  One more below the minimum: nothing, as the minimum is 10 less.
-- One more beyond the maximum: nothing.  One more: 10, of which a tenth is off again.
SELECT used('volume', 1, '2025-01-31 23:00'), used('capped', 20, '2025-01-11'), used('least', 1, '2025-01-11'), used('most', 1, '2025-01-11'),
	used('coupon', 1, '2025-01-11'), used('frozen', 1, '2025-01-11');
SELECT flushed();
SELECT * FROM meter.bill_late('2025-02-01', ARRAY(SELECT tenant FROM meter.tenant)) ORDER BY tenant;
-- What the prices, plans and coupons are now does not matter for January, nor does the
-- currency, though what is due is then 5 euros at 1.25 dollars.
UPDATE meter.price SET params = '{"unit_amount": 1000}', max_amount = NULL WHERE tenant NOT IN ('volume', 'frozen');
UPDATE meter.plan_version SET min_amount = 7000, max_amount = 7000;
UPDATE meter.coupon SET percent = 99 WHERE coupon = 'a tenth';
DELETE FROM meter.tenant_coupon;
UPDATE meter.tenant SET currency = 'USD' WHERE tenant = 'frozen';
SELECT line, kind, price, for_month, quantity, billed_quantity, amount, currency FROM meter_bill('volume', '2025-02-01');
SELECT jsonb_pretty(details) FROM meter_bill('volume', '2025-02-01') WHERE kind = 'delta';
UPDATE meter.price SET params = '{"unit_amount": 10}' WHERE tenant <> 'volume';
UPDATE meter.plan_version SET min_amount = NULL, max_amount = NULL;
CALL meter_close_month('2025-02-01');
SELECT tenant, kind, price, for_month, quantity, billed, amount, currency, why FROM lines WHERE month = '2025-02';
-- which is looked at no more
SELECT count(*) AS late FROM meter.bill_late('2025-03-01', ARRAY(SELECT tenant FROM meter.tenant));

-- Corrections, two months back: 15 of volume's 16 units were none.  1 unit costs 100, 80
-- were billed, in two bills.
SELECT meter_correct('volume', idempotency_key => 'k1', void => true);
SELECT flushed();
CALL meter_close_month('2025-03-01');
SELECT tenant, kind, price, for_month, quantity, billed, amount, why FROM lines WHERE month = '2025-03';
-- and once more, three months back, with something for March
SELECT used('volume', 2, '2025-01-12'), used('volume', 5, '2025-03-12'), used('capped', 1, '2025-03-12');
SELECT flushed();
CALL meter_close_month('2025-04-01');
SELECT tenant, kind, price, for_month, quantity, billed, amount, why FROM lines WHERE month = '2025-04';
-- 3 units in January are 100 as well
SELECT for_month, sum(amount) FROM lines WHERE tenant = 'volume' AND kind IN ('usage', 'delta') AND status = 'final' GROUP BY 1 ORDER BY 1;

-- A bill with deltas is voided: the next one for that month has them again
SELECT used('volume', 3, '2025-04-12');
SELECT flushed();
SELECT meter_void_bill('volume', '2025-04-30', 'test');
CALL meter_close_month('2025-04-01');
SELECT rev, status, kind, for_month, quantity, amount FROM lines WHERE tenant = 'volume' AND month = '2025-04';
-- A bill is voided for which others have billed deltas: the new one takes these back.
-- January has 1 + 2 units: 100, and -70 was billed in February, 20 in March and 0 in April.
SELECT meter_void_bill('volume', '2025-01-01', 'test');
CALL meter_close_month('2025-01-01');
SELECT rev, status, kind, for_month, quantity, amount FROM lines WHERE tenant = 'volume' AND month = '2025-01';
CALL meter_close_month('2025-05-01');
SELECT tenant, kind, for_month, amount FROM lines WHERE month = '2025-05' AND kind <> 'usage';
SELECT for_month, sum(amount) FROM lines WHERE tenant = 'volume' AND kind IN ('usage', 'delta') AND status = 'final' GROUP BY 1 ORDER BY 1;

-- A draft has no delta: it is rated anew itself
SET meter.bill_grace = '1000000d';
CALL meter_close_month('2025-06-01');
SELECT used('quiet', 5, '2025-06-12');
SELECT flushed();
SELECT count(*) AS late FROM meter.bill_late('2025-07-01', ARRAY(SELECT tenant FROM meter.tenant));
SET meter.bill_grace = 0;
CALL meter_close_month('2025-07-01');
CALL meter_close_month('2025-06-01');
SELECT month, kind, for_month, quantity, amount FROM lines WHERE tenant = 'quiet' AND month >= '2025-06';

-- A price that is gone goes on holding for what is over, 1 more at 10; one that was added
-- is not billed for that, but all else is
SELECT used('quiet', 1, '2025-07-12'), used('most', 1, '2025-07-12');
SELECT flushed();
DELETE FROM meter.price WHERE tenant = 'quiet';
INSERT INTO meter.price (tenant, price, metric, model, params) VALUES ('quiet', 'other', 'calls', 'per_unit', '{"unit_amount": 3}'),
	('most', 'other', 'calls', 'per_unit', '{"unit_amount": 3}');
CALL meter_close_month('2025-08-01');
SELECT tenant, kind, price, for_month, quantity, amount FROM lines WHERE tenant IN ('quiet', 'most') AND month = '2025-08';

-- Another period: what is late for the old one is 1 more at 10 of August, a half off
UPDATE meter.tenant SET billing_anchor = 15 WHERE tenant = 'capped';
SELECT used('capped', 1, '2025-08-12');
SELECT flushed();
SELECT kind, for_month, quantity, amount FROM meter_bill('capped', '2025-09-01');

-- What was billed stays what it was, whatever has become of the price and of the plan:
-- 2 more at 10 each.  What is to be counted otherwise, for less of the month, or is new
-- is so in the months that follow.
INSERT INTO meter.metric (metric, kind) VALUES ('disk', 'gauge');
INSERT INTO meter.tenant (tenant, plan, started_on)
SELECT t, 'empty', '2025-09-01' FROM unnest('{counted,ended,left,added,renamed}'::text[]) AS t;
INSERT INTO meter.price (tenant, price, metric, model, params)
SELECT t, 'calls', 'calls', 'per_unit', '{"unit_amount": 10}' FROM unnest('{counted,ended,left,added,renamed}'::text[]) AS t;
INSERT INTO meter.price (tenant, price, metric, aggregation, model, params) VALUES ('added', 'highest', 'disk', 'max', 'per_unit', '{"unit_amount": 7}');
SELECT count(used(t, 3, '2025-09-20')) FROM unnest('{counted,ended,left,added,renamed}'::text[]) AS t;
SELECT flushed();
CALL meter_close_month('2025-09-01');
SELECT count(used(t, 2, '2025-09-10')) FROM unnest('{counted,ended,left,added,renamed}'::text[]) AS t;
SELECT meter_track('added', 'disk', 5, at => '2025-09-10');
SELECT flushed();
UPDATE meter.price SET aggregation = 'count' WHERE tenant = 'counted';
UPDATE meter.price SET valid_to = '2025-09-15' WHERE tenant = 'ended';
UPDATE meter.price SET price = 'requests', metric = 'requests' WHERE tenant = 'renamed';
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('left', '2025-09-01', 'empty'), ('left', '2025-09-15', NULL), ('left', '2025-10-01', 'empty');
-- the highest level had nothing to say then, 5 at 7; that of calls is new
INSERT INTO meter.price (tenant, price, metric, aggregation, model, params) VALUES ('added', 'highest calls', 'calls', 'max', 'per_unit', '{"unit_amount": 7}');
CALL meter_close_month('2025-10-01');
SELECT tenant, kind, price, metric, for_month, quantity, amount FROM lines WHERE month = '2025-10' AND tenant IN ('counted', 'ended', 'left', 'added', 'renamed');

-- A bill with a delta that is voided after the next one was made: whichever comes next
-- has the delta again, and after that none
CALL meter_close_month('2025-11-01');
SELECT meter_void_bill('ended', '2025-10-01', 'test');
SELECT kind, for_month, quantity, amount FROM meter_bill('ended', '2025-12-01');
CALL meter_close_month('2025-10-01');
SELECT rev, status, kind, for_month, quantity, amount FROM lines WHERE tenant = 'ended' AND month = '2025-10';
SELECT kind, for_month, quantity, amount FROM meter_bill('ended', '2025-12-01');

-- A month that is billed anew in another currency: 5 units are 25 euros at 0.5, and what
-- was billed for 2 of them, 20 dollars, is 10 euros, which are taken back.  1 more is 5.
SELECT meter_void_bill('counted', '2025-09-01', 'test');
UPDATE meter.tenant SET currency = 'EUR' WHERE tenant = 'counted';
UPDATE meter.price SET aggregation = 'sum' WHERE tenant = 'counted';
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('USD', 'EUR', '2025-09-01', 0.5);
CALL meter_close_month('2025-09-01');
SELECT rev, status, currency, kind, for_month, quantity, amount, why FROM lines WHERE tenant = 'counted' AND month = '2025-09';
SELECT used('counted', 1, '2025-09-11');
SELECT flushed();
SELECT kind, for_month, quantity, amount, currency FROM meter_bill('counted', '2025-12-01');

-- What needs events that are gone, as in a time zone half an hour off, is not billed
-- any more, and all else is
INSERT INTO meter.tenant (tenant, plan, started_on, time_zone) VALUES ('kolkata', 'empty', '2025-09-01', 'Asia/Kolkata');
INSERT INTO meter.price (tenant, price, metric, model, params) VALUES ('kolkata', 'calls', 'calls', 'per_unit', '{"unit_amount": 10}');
SELECT used('kolkata', 3, '2025-08-31 18:40'), used('kolkata', 3, '2025-10-20');
SELECT flushed();
CALL meter_close_month('2025-09-01');
SET meter.retention = '1d';
SELECT count(*) > 0 AS dropped FROM meter_maintain();
SET meter.retention = 0;
SELECT used('kolkata', 1, '2025-09-11');
SELECT flushed();
CALL meter_close_month('2025-10-01');
SELECT kind, for_month, quantity, amount FROM lines WHERE tenant = 'kolkata' AND month = '2025-10';

-- All bills add up, and each month has been billed as it is
SELECT count(*) AS wrong FROM meter.bill AS b
WHERE b.total <> (SELECT COALESCE(sum(l.amount), 0) FROM meter.bill_line AS l WHERE (l.tenant, l.month, l.revision) = (b.tenant, b.month, b.revision));

DROP VIEW lines;
DROP FUNCTION used, flushed;
RESET client_min_messages;

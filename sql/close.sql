-- close: drafts, final bills, credits, voiding
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET meter.retention = 0;

-- without prices nobody has asked for bills, except by naming a month
CALL meter_close_month();
INSERT INTO meter.tenant (tenant, started_on) VALUES ('acme', '2025-03-01');
CALL meter_close_month(NULL);
SELECT count(*) FROM meter.bill;

-- what cannot be closed
\set VERBOSITY terse
CALL meter_close_month('infinity');
CALL meter_close_month('2999-12-31');
\echo :LAST_ERROR_SQLSTATE
-- where it cannot commit: in a block, one that a client makes of several statements, a function, and
-- a block that catches errors
\set VERBOSITY default
\set SHOW_CONTEXT never
BEGIN;
CALL meter_close_month('2025-03-01');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SET timezone = 'UTC'\; CALL meter_close_month('2025-03-01');
CREATE FUNCTION closes() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL meter_close_month('2025-03-01'); END $$;
SELECT closes();
DO $$
BEGIN
	CALL meter_close_month('2025-03-01');
EXCEPTION WHEN division_by_zero THEN
	NULL;
END
$$;
SELECT meter.close_can_commit();
DROP FUNCTION closes;
\set SHOW_CONTEXT errors
\set VERBOSITY terse
-- and where it can: in a block without handlers, which comes to its own error
DO $$ BEGIN CALL meter_close_month('2999-12-31'); END $$;
SET default_transaction_isolation = 'repeatable read';
CALL meter_close_month('2025-03-01');
RESET default_transaction_isolation;
SELECT meter.close_next(NULL);
\set VERBOSITY default
SELECT count(*) FROM meter.bill;

--
-- Drafts.  100 for March; 120 calls, of which 100 are included, at 2
--
INSERT INTO meter.plan (plan) VALUES ('basic');
INSERT INTO meter.plan_version (plan, base_price) VALUES ('basic', 100);
UPDATE meter.tenant SET plan = 'basic', tax_percent = 10;
TRUNCATE meter.subscription;
INSERT INTO meter.tenant (tenant, plan, started_on, currency) VALUES ('beta', 'basic', '2025-03-17', 'EUR'), ('gamma', 'basic', '2025-04-01', NULL);
INSERT INTO meter.price (price, metric, model, params, included, rollover_min, rollover_max)
VALUES ('calls', 'calls', 'per_unit', '{"unit_amount": 2}', 100, 5, 20);
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('USD', 'EUR', '2025-01-01', 0.5);
SELECT meter_track('acme', 'calls', 120, at => '2025-03-10');
SELECT * FROM meter_flush();
SELECT meter_rollup();
SET meter.bill_grace = '1000000d';
CALL meter_close_month('2025-03-31');
CREATE VIEW bills AS
SELECT tenant, to_char(month, 'YYYY-MM') AS month, revision AS rev, status, currency, subtotal, discount, credit, tax, total, lines, position,
	finalized_at IS NOT NULL AS finalized
FROM meter.bill;
SELECT * FROM bills ORDER BY tenant, month, rev;
SELECT tenant, line, kind, quantity, billed_quantity, amount FROM meter.bill_line ORDER BY tenant, line;
SELECT bill_id AS acme_id FROM meter.bill WHERE tenant = 'acme' \gset
-- the bill is what is shown
SELECT line, kind, amount, currency FROM meter_bill('acme', '2025-03-15');
SELECT meter_bill_json('acme', '2025-03-15') - 'lines' - 'bill_id';
SELECT month, tenants, ended, drafts, final, void, missing, total_by_currency FROM meter.close_progress WHERE month = '2025-03-01';

-- late usage counts with the next call: 150 calls, 100 of them at 2; the draft stays the same one
SELECT meter_track('acme', 'calls', 30, at => '2025-03-31 23:59:59');
SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT total FROM bills WHERE tenant = 'acme';
CALL meter_close_month('2025-03-01');
SELECT *, (SELECT bill_id FROM meter.bill WHERE tenant = b.tenant) = :'acme_id' AS same FROM bills AS b WHERE tenant = 'acme';
SELECT count(*), sum(amount) FROM meter.bill_line WHERE tenant = 'acme';

-- a draft can be changed by who owns the table, which the next call undoes
UPDATE meter.bill_line SET amount = 5 WHERE tenant = 'acme' AND kind = 'usage';
CALL meter_close_month('2025-03-01');
SELECT sum(amount) FROM meter.bill_line WHERE tenant = 'acme';

--
-- Final, once the grace has passed, and then nothing changes it
--
SET meter.bill_grace = 0;
CALL meter_close_month('2025-03-01');
SELECT * FROM bills ORDER BY tenant, month, rev;
CREATE TABLE before AS SELECT b::text AS bill, (SELECT array_agg(l ORDER BY l.line)::text FROM meter.bill_line AS l WHERE l.tenant = b.tenant) AS lines FROM meter.bill AS b;
SELECT meter_track('acme', 'calls', 1000, at => '2025-03-31 23:59:59');
SELECT * FROM meter_flush();
SELECT meter_rollup();
UPDATE meter.price SET params = '{"unit_amount": 3}';
CALL meter_close_month('2025-03-01');
UPDATE meter.price SET params = '{"unit_amount": 2}';
SELECT count(*) AS same FROM before AS o JOIN (SELECT b::text AS bill, (SELECT array_agg(l ORDER BY l.line)::text FROM meter.bill_line AS l WHERE l.tenant = b.tenant) AS lines
	FROM meter.bill AS b) AS n USING (bill, lines);
SELECT month, tenants, ended, drafts, final, void, missing, total_by_currency FROM meter.close_progress WHERE month = '2025-03-01';

UPDATE meter.bill SET total = total WHERE tenant = 'acme';
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
UPDATE meter.bill SET status = 'draft' WHERE tenant = 'acme';
UPDATE meter.bill SET status = 'void', voided_at = now(), void_reason = 'by hand' WHERE tenant = 'acme';
DELETE FROM meter.bill;
TRUNCATE meter.bill, meter.bill_line;
TRUNCATE meter.bill_line;
UPDATE meter.bill_line SET amount = amount WHERE tenant = 'beta';
UPDATE meter.bill_line SET line = line + 10 WHERE tenant = 'beta';
DELETE FROM meter.bill_line WHERE kind = 'tax';
INSERT INTO meter.bill_line (tenant, month, revision, line, kind, for_month, amount_exact, amount, details)
VALUES ('acme', '2025-03-01', 1, 99, 'credit', '2025-03-01', -5, -5, '{}');
\set VERBOSITY default
-- nor as a row of another bill
INSERT INTO meter.bill (tenant, month, revision, status, period_from, period_to, currency, subtotal, discount, credit, tax, total, lines)
VALUES ('gamma', '2025-03-01', 1, 'draft', '2025-03-01', '2025-04-01', 'USD', 0, 0, 0, 0, 0, 1);
INSERT INTO meter.bill_line (tenant, month, revision, line, kind, for_month, amount_exact, amount, details)
VALUES ('gamma', '2025-03-01', 1, 99, 'credit', '2025-03-01', -5, -5, '{}');
\set VERBOSITY terse
UPDATE meter.bill_line SET tenant = 'acme' WHERE tenant = 'gamma';
\set VERBOSITY default
DELETE FROM meter.bill_line WHERE tenant = 'gamma';
DELETE FROM meter.bill WHERE tenant = 'gamma';
SELECT count(*) AS same FROM before AS o JOIN (SELECT b::text AS bill, (SELECT array_agg(l ORDER BY l.line)::text FROM meter.bill_line AS l WHERE l.tenant = b.tenant) AS lines
	FROM meter.bill AS b) AS n USING (bill, lines);
-- one bill for a month
\set VERBOSITY terse
INSERT INTO meter.bill (tenant, month, revision, status, period_from, period_to, currency, subtotal, discount, credit, tax, total, lines)
VALUES ('acme', '2025-03-01', 2, 'draft', '2025-03-01', '2025-04-01', 'USD', 0, 0, 0, 0, 0, 0);
INSERT INTO meter.bill (tenant, month, revision, status, period_from, period_to, currency, subtotal, discount, credit, tax, total, lines)
VALUES ('x', '2025-03-01', 1, 'draft', '2025-03-01', '2025-04-01', 'USD', 1, 0, 0, 0, 2, 0);
INSERT INTO meter.bill (tenant, month, revision, status, period_from, period_to, currency, subtotal, discount, credit, tax, total, lines)
VALUES ('x', '2025-03-02', 1, 'draft', '2025-03-01', '2025-04-01', 'USD', 1, 0, 0, 0, 1, 0);
\set VERBOSITY default

--
-- Voiding: the bill stays, and the month can be billed anew, with all 1150 calls
--
\set VERBOSITY terse
SELECT meter_void_bill('acme', '2025-03-01', '');
SELECT meter_void_bill('acme', '2025-03-01', E' \n');
SELECT meter_void_bill('acme', '2025-03-01', NULL);
SELECT meter_void_bill('acme', NULL, 'no month');
SELECT meter_void_bill(NULL, '2025-03-01', 'no tenant');
SELECT meter_void_bill('acme', '2025-02-28', 'no bill');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
SELECT meter_void_bill('acme', '2025-03-31', 'wrong price');
SELECT tenant, status, total, void_reason, voided_at > finalized_at AS voided FROM meter.bill ORDER BY tenant;
\set VERBOSITY terse
SELECT meter_void_bill('acme', '2025-03-31', 'again');
UPDATE meter.bill SET status = 'final' WHERE status = 'void';
DELETE FROM meter.bill WHERE status = 'void';
DELETE FROM meter.bill_line WHERE tenant = 'acme';
\set VERBOSITY default
-- now it is a preview again
SELECT line, kind, quantity, amount FROM meter_bill('acme', '2025-03-15');
CALL meter_close_month('2025-03-01');
SELECT * FROM bills ORDER BY tenant, month, rev;
SELECT month, tenants, ended, drafts, final, void, missing, total_by_currency FROM meter.close_progress WHERE month = '2025-03-01';

--
-- What is included and not used is carried over: at least 5 and at most 20 of it.
-- beta used none of 100 * 15/31 = 48.39: 20.  acme used all: 5 of April's 105.
--
SELECT tenant, details -> 'included' AS included, details -> 'carry_over' AS carry_over FROM meter.bill_line
WHERE kind = 'usage' AND revision = (SELECT max(revision) FROM meter.bill AS b WHERE b.tenant = bill_line.tenant) ORDER BY tenant;
SELECT meter_track(t, 'calls', 110, at => '2025-04-10') FROM unnest(ARRAY['acme', 'beta']) AS t;
SELECT * FROM meter_flush();
SELECT meter_rollup();
CALL meter_close_month('2025-04-01');
SELECT tenant, quantity, billed_quantity, amount, details -> 'carried_over' AS carried_over, details -> 'carry_over' AS carry_over FROM meter.bill_line
WHERE kind = 'usage' AND month = '2025-04-01' ORDER BY tenant;

--
-- Credits.  Of 100 (priority 1) and 100 (priority 2), 120 are used: 0 and 80 are left.
--
INSERT INTO meter.tenant (tenant, started_on) VALUES ('credits', '2025-05-01'), ('euros', '2025-05-01');
INSERT INTO meter.credit (tenant, credit_id, amount, currency, priority) VALUES
	('credits', '00000000-0000-0000-0000-000000000001', 100, 'USD', 2), ('credits', '00000000-0000-0000-0000-000000000002', 100, 'USD', 1),
	('euros', '00000000-0000-0000-0000-000000000003', 100, 'EUR', 1);
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'USD', '2025-01-01', 1.07);
SELECT meter_track('credits', 'calls', 160, at => '2025-05-10'), meter_track('euros', 'calls', 110, at => '2025-05-10');
SELECT * FROM meter_flush();
SELECT meter_rollup();
SET meter.bill_grace = '1000000d';
CALL meter_close_month('2025-05-01');
SELECT tenant, priority, currency, used, "left" FROM meter.credit_balance ORDER BY tenant, priority;
-- a draft that is rated anew has not used them twice; 20 dollars are 18.69 euros
CALL meter_close_month('2025-05-01');
SET meter.bill_grace = 0;
CALL meter_close_month('2025-05-01');
CALL meter_close_month('2025-05-01');
SELECT tenant, priority, currency, used, "left" FROM meter.credit_balance ORDER BY tenant, priority;
SELECT tenant, credit, total FROM bills WHERE month = '2025-05' ORDER BY tenant;
-- June uses what is left of the second
SELECT meter_track('credits', 'calls', 150, at => '2025-06-10');
SELECT * FROM meter_flush();
SELECT meter_rollup();
CALL meter_close_month('2025-06-01');
SELECT tenant, subtotal, credit, total FROM bills WHERE month = '2025-06' AND tenant = 'credits';
-- voided, a bill gives back what it has used
SELECT meter_void_bill('credits', '2025-05-01', 'a gift');
SELECT tenant, priority, currency, used, "left" FROM meter.credit_balance WHERE tenant = 'credits' ORDER BY tenant, priority;
CALL meter_close_month('2025-05-01');
SELECT tenant, rev, status, subtotal, credit, total FROM bills WHERE month = '2025-05' AND tenant = 'credits' ORDER BY rev;

--
-- Who cannot be billed does not keep others from having their bills
--
INSERT INTO meter.tenant (tenant, started_on, currency) SELECT 'franc' || n, '2025-07-01', CASE n WHEN 3 THEN 'CHF' WHEN 6 THEN 'XTS' END FROM generate_series(1, 8) AS n;
\set SHOW_CONTEXT never
CALL meter_close_month('2025-07-01');
\set SHOW_CONTEXT errors
SELECT count(*) FILTER (WHERE tenant LIKE 'franc%') AS francs, count(*) FROM bills WHERE month = '2025-07';
SELECT tenants, ended, final, missing FROM meter.close_progress WHERE month = '2025-07-01';
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('USD', 'CHF', '2025-01-01', 0.9);
DELETE FROM meter.tenant WHERE tenant = 'franc6';
CALL meter_close_month('2025-07-01');
SELECT tenants, ended, final, missing FROM meter.close_progress WHERE month = '2025-07-01';

--
-- More than a thousand, and all bills add up
--
INSERT INTO meter.tenant (tenant, started_on, plan) SELECT 'many' || n, '2025-08-01', 'basic' FROM generate_series(1, 2000) AS n;
CALL meter_close_month('2025-08-01');
SELECT count(*), count(DISTINCT tenant), sum(total) FILTER (WHERE tenant LIKE 'many%') AS total FROM bills WHERE month = '2025-08';
SELECT count(*) AS wrong
FROM meter.bill AS b
LEFT JOIN (SELECT tenant, month, revision, count(*) AS lines, sum(amount) AS total, max(line) AS last FROM meter.bill_line GROUP BY 1, 2, 3) AS l
	USING (tenant, month, revision)
WHERE (b.total, b.lines, b.lines) IS DISTINCT FROM (COALESCE(l.total, 0), COALESCE(l.lines, 0), COALESCE(l.last, 0))
	OR b.total <> round(b.total, meter.currency_digits(b.currency));

--
-- Without a month: the last period that is over, and drafts
--
DELETE FROM meter.tenant WHERE tenant LIKE 'many%' OR tenant LIKE 'franc%' OR tenant IN ('credits', 'euros', 'gamma');
SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month')::date AS last_month \gset
INSERT INTO meter.tenant (tenant, started_on, created_at) VALUES ('new', '2025-08-01', :'last_month'::date - 400);
SET meter.bill_grace = '1000000d';
CALL meter_close_month('2025-09-01');
SET client_min_messages = warning;
SET meter.bill_grace = 0;
-- whoever is being set up is given time
INSERT INTO meter.tenant (tenant, started_on) VALUES ('fresh', '2025-08-01');
CALL meter_close_month();
SELECT count(*) FROM meter.bill WHERE tenant = 'fresh';
DELETE FROM meter.tenant WHERE tenant = 'fresh';
-- of one that has no bills yet, the last month; of the others also the one before, and the drafts of September are final
SELECT tenant, (extract(year FROM age(:'last_month', month)) * 12 + extract(month FROM age(:'last_month', month)))::integer AS months_ago
FROM meter.bill WHERE month >= :'last_month'::date - interval '2 months' ORDER BY tenant, month;
SELECT tenant, status FROM bills WHERE month = '2025-09' ORDER BY tenant;
SELECT count(*) AS bills FROM meter.bill \gset
CALL meter_close_month();
SELECT count(*) - :bills AS more FROM meter.bill;
-- what was voided is not made again unless one says so
SELECT meter_void_bill('new', :'last_month', 'not yet');
CALL meter_close_month();
SELECT count(*) - :bills AS more FROM meter.bill;
CALL meter_close_month(:'last_month');
SELECT count(*) - :bills AS more FROM meter.bill;
RESET client_min_messages;
DROP VIEW bills;
DROP TABLE before;

--
-- Who may do what: administrators close and void, and cannot write bills otherwise;
-- analysts read and preview; applications do none of it
--
CREATE ROLE regress_bill_admin;
CREATE ROLE regress_bill_analyst;
CREATE ROLE regress_bill_app;
SELECT meter_grant('regress_bill_admin', 'admin'), meter_grant('regress_bill_analyst', 'analyst'), meter_grant('regress_bill_app', 'app');
\set VERBOSITY terse
SET ROLE regress_bill_admin;
CALL meter_close_month('2025-10-01');
SELECT meter_void_bill('acme', '2025-10-01', 'test');
CALL meter_close_month('2025-10-01');
UPDATE meter.bill SET total = 0;
INSERT INTO meter.bill_line (tenant, month, revision, line, kind, for_month, amount_exact, amount, details)
VALUES ('acme', '2025-10-01', 2, 99, 'credit', '2025-10-01', -5, -5, '{}');
DELETE FROM meter.credit_use;
RESET ROLE;
SET ROLE regress_bill_analyst;
SELECT kind, amount FROM meter_bill('acme', '2025-10-01');
SELECT kind, amount FROM meter_bill('acme', '2025-11-01');
SELECT meter_bill_json('acme', '2025-11-01') -> 'total' AS total;
SELECT final, missing FROM meter.close_progress WHERE month = '2025-10-01';
CALL meter_close_month('2025-11-01');
SELECT meter_void_bill('acme', '2025-10-01', 'test');
RESET ROLE;
SET ROLE regress_bill_app;
SELECT kind, amount FROM meter_bill('acme', '2025-10-01');
CALL meter_close_month('2025-11-01');
RESET ROLE;
\set VERBOSITY default
DROP OWNED BY regress_bill_admin, regress_bill_analyst, regress_bill_app;
DROP ROLE regress_bill_admin, regress_bill_analyst, regress_bill_app;

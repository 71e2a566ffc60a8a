-- the history of plans: changes, cancellation, return, what is to come
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

-- One transaction, so that all of it happens on one day, whichever it is.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE FUNCTION pg_temp.today(zone text DEFAULT 'UTC') RETURNS date LANGUAGE SQL STABLE
RETURN (now() AT TIME ZONE zone)::date;
-- with days counted from today
CREATE VIEW pg_temp.history AS
SELECT s.tenant, s.valid_from - pg_temp.today(COALESCE(t.time_zone, 'UTC')) AS day, s.plan, s.planless
FROM meter.subscription AS s LEFT JOIN meter.tenant AS t USING (tenant);
INSERT INTO meter.plan (plan) VALUES ('free'), ('pro'), ('big');

-- a new tenant has no history, and none before it starts
INSERT INTO meter.tenant (tenant, plan) VALUES ('new', 'free');
UPDATE meter.tenant SET plan = 'pro' WHERE tenant = 'new';
INSERT INTO meter.tenant (tenant, plan, started_on) VALUES ('starts later', 'free', pg_temp.today() + 5);
UPDATE meter.tenant SET plan = 'pro' WHERE tenant = 'starts later';
UPDATE meter.tenant SET status = 'cancelled' WHERE tenant = 'starts later';
SELECT count(*) FROM meter.subscription;

-- a change leaves what was before, and of several on a day the last one counts
INSERT INTO meter.tenant (tenant, plan, started_on) VALUES ('acme', 'free', pg_temp.today() - 10);
UPDATE meter.tenant SET plan = 'pro' WHERE tenant = 'acme';
SELECT * FROM pg_temp.history ORDER BY tenant, day;
UPDATE meter.tenant SET plan = 'big' WHERE tenant = 'acme';
SELECT * FROM pg_temp.history ORDER BY tenant, day;
INSERT INTO meter.tenant (tenant, plan) VALUES ('acme', 'free') ON CONFLICT (tenant) DO UPDATE SET plan = EXCLUDED.plan;
SELECT * FROM pg_temp.history ORDER BY tenant, day;

-- what is no change of the plan
UPDATE meter.tenant SET plan = 'free', currency = 'EUR', billing_anchor = 3, time_zone = 'Europe/Paris' WHERE tenant = 'acme';
UPDATE meter.tenant SET status = 'suspended' WHERE tenant = 'acme';
UPDATE meter.tenant SET status = 'active', time_zone = 'UTC' WHERE tenant = 'acme';
SELECT count(*) FROM meter.subscription;

-- cancellation; a plan given meanwhile holds with the return
DELETE FROM meter.subscription WHERE tenant = 'acme' AND valid_from = pg_temp.today();
UPDATE meter.tenant SET status = 'cancelled' WHERE tenant = 'acme';
SELECT * FROM pg_temp.history ORDER BY tenant, day;
UPDATE meter.tenant SET plan = 'pro' WHERE tenant = 'acme';
SELECT * FROM pg_temp.history ORDER BY tenant, day;
UPDATE meter.tenant SET status = 'active' WHERE tenant = 'acme';
SELECT * FROM pg_temp.history ORDER BY tenant, day;
-- return of one who was never anything but cancelled
INSERT INTO meter.tenant (tenant, plan, started_on, status) VALUES ('back', 'free', pg_temp.today() - 10, 'cancelled');
UPDATE meter.tenant SET plan = 'pro' WHERE tenant = 'back';
SELECT count(*) FROM meter.subscription WHERE tenant = 'back' AND plan IS NOT NULL;
UPDATE meter.tenant SET status = 'active' WHERE tenant = 'back';
SELECT * FROM pg_temp.history WHERE tenant = 'back' ORDER BY day;

-- without a plan one is a customer all the same, until cancelled
INSERT INTO meter.tenant (tenant, started_on) VALUES ('planless', pg_temp.today() - 10), ('planless 2', pg_temp.today() - 10);
UPDATE meter.tenant SET plan = 'pro' WHERE tenant = 'planless';
UPDATE meter.tenant SET status = 'cancelled' WHERE tenant = 'planless 2';
SELECT * FROM pg_temp.history WHERE tenant LIKE 'planless%' ORDER BY tenant, day;
UPDATE meter.tenant SET plan = NULL WHERE tenant = 'planless';
UPDATE meter.tenant SET status = 'active' WHERE tenant = 'planless 2';
SELECT * FROM pg_temp.history WHERE tenant LIKE 'planless%' ORDER BY tenant, day;

-- other names: of a plan, of a tenant
UPDATE meter.plan SET plan = 'team' WHERE plan = 'pro';
SELECT * FROM pg_temp.history WHERE tenant = 'acme' ORDER BY day;
SELECT count(*) FROM meter.subscription WHERE tenant = 'new';
UPDATE meter.tenant SET tenant = 'acme inc' WHERE tenant = 'acme';
SELECT * FROM pg_temp.history WHERE tenant LIKE 'acme%' ORDER BY day;
-- together with a change of the plan
INSERT INTO meter.tenant (tenant, plan, started_on) VALUES ('one', 'free', pg_temp.today() - 10);
UPDATE meter.tenant SET plan = 'team' WHERE tenant = 'one';
UPDATE meter.tenant SET tenant = 'two', plan = 'big' WHERE tenant = 'one';
SELECT * FROM pg_temp.history WHERE tenant IN ('one', 'two') ORDER BY day;
INSERT INTO meter.tenant (tenant, plan, started_on) VALUES ('three', 'free', pg_temp.today() - 10);
UPDATE meter.tenant SET tenant = 'four', plan = 'big' WHERE tenant = 'three';
SELECT * FROM pg_temp.history WHERE tenant IN ('three', 'four') ORDER BY day;
DELETE FROM meter.tenant WHERE tenant IN ('two', 'four');

-- of many tenants at once, each finds its own history by index
ANALYZE meter.subscription;
INSERT INTO meter.tenant (tenant, plan, started_on) SELECT 'many ' || i, 'free', pg_temp.today() - 10 FROM generate_series(1, 500) AS i;
SELECT seq_tup_read AS seq_tup_read_before FROM pg_stat_xact_user_tables WHERE relid = 'meter.subscription'::regclass \gset
UPDATE meter.tenant SET plan = 'big' WHERE tenant LIKE 'many %';
SELECT seq_tup_read - :seq_tup_read_before AS read FROM pg_stat_xact_user_tables WHERE relid = 'meter.subscription'::regclass;
SELECT day, plan, count(*) FROM pg_temp.history WHERE tenant LIKE 'many %' GROUP BY day, plan ORDER BY day;
DELETE FROM meter.tenant WHERE tenant LIKE 'many %';

-- a tenant that is deleted has no history any more
DELETE FROM meter.tenant WHERE tenant LIKE 'planless%' OR tenant IN ('back', 'new', 'starts later');
SELECT * FROM pg_temp.history ORDER BY tenant, day;

-- today is where the tenant is: here it is never the same day
INSERT INTO meter.tenant (tenant, plan, started_on, time_zone) VALUES
	('east', 'free', '2020-01-01', 'Pacific/Kiritimati'), ('west', 'free', '2020-01-01', 'Etc/GMT+12');
UPDATE meter.tenant SET plan = 'big' WHERE tenant IN ('east', 'west');
SELECT tenant, day, plan FROM pg_temp.history WHERE tenant IN ('east', 'west') AND day > -1000 ORDER BY tenant;
SELECT max(valid_from) - min(valid_from) BETWEEN 1 AND 2 AS days_apart FROM meter.subscription
WHERE tenant IN ('east', 'west') AND plan = 'big';
TRUNCATE meter.tenant;
SELECT count(*) FROM meter.subscription;

-- meter_change_plan(): now
INSERT INTO meter.tenant (tenant, plan, started_on) VALUES ('acme', 'free', pg_temp.today() - 10);
SELECT meter_change_plan('acme', 'team') - pg_temp.today() AS day;
SELECT tenant, plan, status FROM meter.tenant;
SELECT * FROM pg_temp.history ORDER BY day;
-- later: the tenant's row stays as it is
SELECT meter_change_plan('acme', 'big', pg_temp.today() + 5) - pg_temp.today() AS day;
SELECT meter_change_plan('acme', NULL, pg_temp.today() + 9) - pg_temp.today() AS day;
SELECT tenant, plan, status FROM meter.tenant;
SELECT * FROM pg_temp.history ORDER BY day;
-- what is the case already is not written again; a plan for today leaves what is to come
SELECT meter_change_plan('acme', 'big', pg_temp.today() + 7) - pg_temp.today() AS day;
SELECT meter_change_plan('acme', 'free', pg_temp.today()) - pg_temp.today() AS day;
SELECT * FROM pg_temp.history ORDER BY day;
-- cancelled, with all that was to come, and back
SELECT meter_change_plan('acme', NULL) - pg_temp.today() AS day;
SELECT tenant, plan, status FROM meter.tenant;
SELECT * FROM pg_temp.history ORDER BY day;
SELECT meter_change_plan('acme', 'team') - pg_temp.today() AS day;
SELECT tenant, plan, status FROM meter.tenant;
SELECT * FROM pg_temp.history ORDER BY day;
-- a suspended tenant stays suspended
UPDATE meter.tenant SET status = 'suspended';
SELECT meter_change_plan('acme', 'big') - pg_temp.today() AS day;
SELECT tenant, plan, status FROM meter.tenant;
-- the first change is one to come; and one who has not started begins with it
INSERT INTO meter.tenant (tenant, plan, started_on) VALUES ('later', 'free', pg_temp.today() - 10), ('future', 'free', pg_temp.today() + 20);
SELECT meter_change_plan('later', 'big', pg_temp.today() + 1) - pg_temp.today() AS day;
SELECT meter_change_plan('future', 'big') - pg_temp.today() AS day;
SELECT * FROM pg_temp.history WHERE tenant <> 'acme' ORDER BY tenant, day;
SELECT tenant, plan FROM meter.tenant WHERE tenant = 'future';

-- what is wrong
SELECT meter_change_plan('nobody', 'big');
SELECT meter_change_plan(NULL, 'big');
SELECT meter_change_plan('acme', 'gold');
\set VERBOSITY terse
SELECT meter_change_plan('acme', 'free', '2020-01-01');
SELECT meter_change_plan('acme', 'free', 'infinity');
SELECT meter_change_plan('acme', 'free', '-infinity');
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('acme', '2020-01-01', 'gold');
INSERT INTO meter.subscription (tenant, valid_from, plan, planless) VALUES ('acme', '2020-01-01', 'big', true);
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('acme', 'infinity', 'big');
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('', '2020-01-01', 'big');
INSERT INTO meter.subscription (tenant, plan) VALUES ('acme', 'big');
DELETE FROM meter.plan WHERE plan = 'free';
SELECT meter.subscription_changed();
\set VERBOSITY default

-- what is due is put into meter.tenant, and what is put there is no change
TRUNCATE meter.tenant;
INSERT INTO meter.tenant (tenant, plan, status) VALUES
	('to big', 'free', 'active'), ('ends', 'free', 'active'), ('returns', 'free', 'cancelled'), ('has it', 'big', 'suspended'),
	('to none', 'free', 'active'), ('is to come', 'free', 'active'), ('no history', 'free', 'active'), ('to big, suspended', 'free', 'suspended');
INSERT INTO meter.subscription (tenant, valid_from, plan, planless)
SELECT tenant, pg_temp.today() + day, plan, planless
FROM (VALUES ('to big', -50, 'free', false), ('to big', -1, 'big', false), ('to big', 1, 'free', false), ('ends', 0, NULL, false),
	('returns', -3, 'team', false), ('has it', -3, 'big', false), ('to none', -3, NULL, true), ('is to come', 1, 'big', false),
	('ends', 8, 'big', false), ('to big, suspended', 0, 'big', false), ('nobody', -3, 'big', false)) AS v (tenant, day, plan, planless);
SELECT action, object, detail FROM meter_maintain() WHERE object = 'meter.tenant';
SELECT tenant, plan, status FROM meter.tenant ORDER BY tenant;
SELECT count(*) FROM meter.subscription;
SELECT meter.subscription_apply();
-- a plan given before what was due is put there counts as well
SELECT meter_change_plan('to big', 'free', pg_temp.today()) - pg_temp.today() AS day;
UPDATE meter.subscription SET plan = 'team' WHERE tenant = 'to big' AND valid_from = pg_temp.today();
SELECT tenant, plan FROM meter.tenant WHERE tenant = 'to big';
SELECT meter_change_plan('to big', 'free') - pg_temp.today() AS day;
SELECT meter.subscription_apply();
SELECT * FROM pg_temp.history WHERE tenant = 'to big' ORDER BY day;

-- as a restore does: both tables, in whichever order, stay as they are
CREATE TEMP TABLE t AS SELECT * FROM meter.tenant;
CREATE TEMP TABLE s AS SELECT * FROM meter.subscription;
TRUNCATE meter.tenant;
INSERT INTO meter.tenant SELECT * FROM t;
INSERT INTO meter.subscription SELECT * FROM s WHERE tenant <> 'nobody';
DELETE FROM meter.tenant;
INSERT INTO meter.subscription SELECT * FROM s;
INSERT INTO meter.tenant SELECT * FROM t;
SELECT count(*) FROM (SELECT * FROM meter.subscription EXCEPT SELECT * FROM s) AS d;
SELECT count(*) = (SELECT count(*) FROM s) AS same FROM meter.subscription;
-- as logical replication does: the rows of both tables come from elsewhere
SET LOCAL session_replication_role = replica;
UPDATE meter.tenant SET plan = 'team', status = 'active' WHERE tenant IN ('ends', 'no history');
DELETE FROM meter.tenant WHERE tenant = 'to big';
SELECT count(*) FROM (SELECT * FROM meter.subscription EXCEPT SELECT * FROM s) AS d;
SELECT count(*) = (SELECT count(*) FROM s) AS same FROM meter.subscription;
COMMIT;

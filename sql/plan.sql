-- plans: names, multipliers
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

INSERT INTO meter.plan (plan) VALUES ('free');
INSERT INTO meter.plan (plan, multiplier, description) VALUES
	('pro', 2.5, 'for teams'), (repeat('x', 64), 0.000000001, NULL), ('größer', 1000000, NULL);
SELECT plan, multiplier, description, now() - created_at < '1 minute' AS just_now FROM meter.plan WHERE plan = 'free';
SELECT left(plan, 8) AS plan, multiplier, description FROM meter.plan ORDER BY plan;

-- zeros at the end are no decimals
INSERT INTO meter.plan (plan, multiplier) VALUES ('zeros', 1.5000000000);

-- what cannot be a plan
\set VERBOSITY terse
INSERT INTO meter.plan (plan) VALUES (NULL);
INSERT INTO meter.plan (plan) VALUES ('');
INSERT INTO meter.plan (plan) VALUES ('  ');
INSERT INTO meter.plan (plan) VALUES (repeat('x', 65));
INSERT INTO meter.plan (plan) VALUES (repeat('ö', 33));
INSERT INTO meter.plan (plan) VALUES (E'a\tb');
INSERT INTO meter.plan (plan) VALUES ('free');
INSERT INTO meter.plan (plan, multiplier) VALUES ('p', NULL);
INSERT INTO meter.plan (plan, multiplier) VALUES ('p', 0);
INSERT INTO meter.plan (plan, multiplier) VALUES ('p', -1);
INSERT INTO meter.plan (plan, multiplier) VALUES ('p', 1000000.1);
INSERT INTO meter.plan (plan, multiplier) VALUES ('p', 0.0000000001);
INSERT INTO meter.plan (plan, multiplier) VALUES ('p', 'NaN');
INSERT INTO meter.plan (plan, multiplier) VALUES ('p', 'Infinity');

-- the name is the plan: another name moves tenants and rules along
INSERT INTO meter.tenant (tenant, plan) VALUES ('acme', 'pro');
INSERT INTO meter.rate_limit (plan, per, max) VALUES ('pro', 'minute', 5), ('free', 'minute', 1);
UPDATE meter.plan SET plan = 'team' WHERE plan = 'pro';
SELECT tenant, plan FROM meter.tenant;
SELECT plan, per, max FROM meter.rate_limit ORDER BY id;

-- a plan that a tenant has stays, another one goes with its rules
DELETE FROM meter.plan WHERE plan = 'team';
DELETE FROM meter.plan WHERE plan = 'free';
SELECT plan, per, max FROM meter.rate_limit ORDER BY id;

-- the trigger function is nothing to call
SELECT meter_rule_changed();

-- versions: what a plan costs since when
\set VERBOSITY default
SET datestyle = 'ISO, YMD';
INSERT INTO meter.plan_version (plan) VALUES ('team');
INSERT INTO meter.plan_version (plan, valid_from, base_price, currency, trial_days, min_amount, max_amount) VALUES
	('team', '2026-01-01', 19.99, 'EUR', 14, 50, 5000), ('team', '2026-07-01', 29.99, 'EUR', 0, 50, 50);
INSERT INTO meter.plan_version AS v (plan, valid_from, base_price) VALUES ('team', '2026-07-01', 24.99)
ON CONFLICT (plan, valid_from) DO UPDATE SET base_price = EXCLUDED.base_price;
SELECT * FROM meter.plan_version ORDER BY plan, valid_from;
\set VERBOSITY terse
INSERT INTO meter.plan_version (plan) VALUES (NULL);
INSERT INTO meter.plan_version (plan) VALUES ('gold');
INSERT INTO meter.plan_version (plan) VALUES ('team');
INSERT INTO meter.plan_version (plan, valid_from) VALUES ('team', '-infinity');
INSERT INTO meter.plan_version (plan, valid_from) VALUES ('team', 'infinity');
INSERT INTO meter.plan_version (plan, valid_from, base_price) VALUES ('team', '2027-01-01', -1);
INSERT INTO meter.plan_version (plan, valid_from, base_price) VALUES ('team', '2027-01-01', 'NaN');
INSERT INTO meter.plan_version (plan, valid_from, base_price) VALUES ('team', '2027-01-01', 'Infinity');
INSERT INTO meter.plan_version (plan, valid_from, currency) VALUES ('team', '2027-01-01', 'eur');
INSERT INTO meter.plan_version (plan, valid_from, currency) VALUES ('team', '2027-01-01', 'EURO');
INSERT INTO meter.plan_version (plan, valid_from, currency) VALUES ('team', '2027-01-01', NULL);
INSERT INTO meter.plan_version (plan, valid_from, trial_days) VALUES ('team', '2027-01-01', -1);
INSERT INTO meter.plan_version (plan, valid_from, trial_days) VALUES ('team', '2027-01-01', 3661);
INSERT INTO meter.plan_version (plan, valid_from, min_amount) VALUES ('team', '2027-01-01', -1);
INSERT INTO meter.plan_version (plan, valid_from, min_amount) VALUES ('team', '2027-01-01', 'NaN');
INSERT INTO meter.plan_version (plan, valid_from, max_amount) VALUES ('team', '2027-01-01', -1);
INSERT INTO meter.plan_version (plan, valid_from, max_amount) VALUES ('team', '2027-01-01', 'Infinity');
INSERT INTO meter.plan_version (plan, valid_from, min_amount, max_amount) VALUES ('team', '2027-01-01', 2, 1);
-- they follow the plan
UPDATE meter.plan SET plan = 'crew' WHERE plan = 'team';
DELETE FROM meter.tenant;
SELECT plan, count(*) FROM meter.plan_version GROUP BY plan;
DELETE FROM meter.plan WHERE plan = 'crew';
SELECT count(*) FROM meter.plan_version;

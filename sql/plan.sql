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

-- rules: what can be a limit
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
INSERT INTO meter.plan (plan) VALUES ('free'), ('pro');

-- defaults
INSERT INTO meter.rate_limit (per, max) VALUES ('minute', 100);
SELECT key, value FROM meter.rate_limit AS r, jsonb_each(to_jsonb(r) - '{created_at,changed_at,id}'::text[]) ORDER BY key COLLATE "C";
SELECT now() - created_at < '1 minute' AS just_now FROM meter.rate_limit;

-- everything at its bounds
INSERT INTO meter.rate_limit (tenant, resource, unit, per, max, burst, kind, per_user, mode, metric, name) VALUES
	(repeat('t', 128), repeat('r', 255), 'cost', 'second', 1000000000000000, 0, 'bucket', true, 'shadow',
		repeat('m', 64), repeat('n', 64)),
	('acme', 'POST /api/*', 'cost', 'hour', 0.000000001, 999999999999999.999999999, 'bucket', false, 'enforce', 'm', 'n'),
	('acme', '*', 'cost', 'day', 1.5000000000, NULL, 'window', false, 'soft', 'm', 'a "quoted" \ name'),
	('acme', '*', 'requests', 'month', NULL, NULL, 'window', false, 'enforce', 'm', NULL),
	('acme', '*', 'requests', 'day', 0, NULL, 'window', true, 'shadow', 'm', NULL),
	('acme', '*', 'requests', 'second', 1000000000000000, 1000000000000000, 'bucket', false, 'enforce', 'm', NULL),
	('acme', '*', 'requests', 'minute', 10.0, 5.0, 'bucket', false, 'enforce', 'm', NULL);
INSERT INTO meter.rate_limit (plan, per, max) VALUES ('free', 'minute', 10), ('pro', 'minute', 100);
SELECT row_number() OVER (ORDER BY id) AS id, left(tenant, 4) AS tenant, plan, left(resource, 11) AS resource, unit, per, max, burst, kind, per_user, mode
FROM meter.rate_limit ORDER BY id;

-- one rule for the same thing
\set VERBOSITY terse
INSERT INTO meter.rate_limit (per, max) VALUES ('minute', 5);
INSERT INTO meter.rate_limit (plan, per, max) VALUES ('pro', 'minute', 5);
INSERT INTO meter.rate_limit (tenant, per, max, kind) VALUES ('acme', 'minute', 5, 'window');
INSERT INTO meter.rate_limit (tenant, per, max, per_user) VALUES ('acme', 'minute', 5, true);
INSERT INTO meter.rate_limit (plan, per, max, unit) VALUES ('pro', 'minute', 5, 'cost');

-- what cannot be a rule: the constraint names what is wrong
INSERT INTO meter.rate_limit (id, per, max) VALUES (7, 'hour', 5);
INSERT INTO meter.rate_limit (tenant, plan, per, max) VALUES ('acme', 'pro', 'hour', 5);
INSERT INTO meter.rate_limit (tenant, per, max) VALUES ('', 'hour', 5);
INSERT INTO meter.rate_limit (tenant, per, max) VALUES (repeat('x', 129), 'hour', 5);
INSERT INTO meter.rate_limit (tenant, per, max) VALUES (E'a\nb', 'hour', 5);
INSERT INTO meter.rate_limit (plan, per, max) VALUES ('gold', 'hour', 5);
INSERT INTO meter.rate_limit (resource, per, max) VALUES (NULL, 'hour', 5);
INSERT INTO meter.rate_limit (resource, per, max) VALUES ('', 'hour', 5);
INSERT INTO meter.rate_limit (resource, per, max) VALUES (repeat('x', 256), 'hour', 5);
INSERT INTO meter.rate_limit (resource, per, max) VALUES (E'a\tb', 'hour', 5);
INSERT INTO meter.rate_limit (unit, per, max) VALUES ('tokens', 'hour', 5);
INSERT INTO meter.rate_limit (max) VALUES (5);
\set VERBOSITY default
\set SHOW_CONTEXT never
INSERT INTO meter.rate_limit (per, max) VALUES ('week', 5);
\set SHOW_CONTEXT errors
\set VERBOSITY terse
INSERT INTO meter.rate_limit (per, max) VALUES ('hour', -1);
INSERT INTO meter.rate_limit (per, max) VALUES ('hour', 1000000000000001);
INSERT INTO meter.rate_limit (per, max) VALUES ('hour', 'NaN');
INSERT INTO meter.rate_limit (per, max) VALUES ('hour', 'Infinity');
INSERT INTO meter.rate_limit (per, max) VALUES ('hour', 0.5);
INSERT INTO meter.rate_limit (unit, per, max) VALUES ('cost', 'hour', 0.0000000001);
INSERT INTO meter.rate_limit (per, max, burst) VALUES ('hour', 5, -1);
INSERT INTO meter.rate_limit (per, max, burst) VALUES ('hour', 5, 1000000000000001);
INSERT INTO meter.rate_limit (per, max, burst) VALUES ('hour', 5, 0.5);
INSERT INTO meter.rate_limit (unit, per, max, burst) VALUES ('cost', 'hour', 5, 0.0000000001);
INSERT INTO meter.rate_limit (per, max, burst, kind) VALUES ('hour', 5, 5, 'window');
INSERT INTO meter.rate_limit (per, max, kind) VALUES ('hour', 5, 'sliding');
INSERT INTO meter.rate_limit (per, max, mode) VALUES ('hour', 5, 'warn');
INSERT INTO meter.rate_limit (per, max, mode) VALUES ('hour', 5, 'soft');
INSERT INTO meter.rate_limit (per, max, metric) VALUES ('hour', 5, '');
INSERT INTO meter.rate_limit (per, max, metric) VALUES ('hour', 5, repeat('x', 65));
INSERT INTO meter.rate_limit (per, max, name) VALUES ('hour', 5, '');
INSERT INTO meter.rate_limit (per, max, name) VALUES ('hour', 5, ' ');
INSERT INTO meter.rate_limit (per, max, name) VALUES ('hour', 5, 'größer');
INSERT INTO meter.rate_limit (per, max, name) VALUES ('hour', 5, repeat('x', 65));
INSERT INTO meter.rate_limit (per, max, name) VALUES ('hour', 5, E'a\r\nSet-Cookie: b');
SELECT count(*) FROM meter.rate_limit;

-- changes are checked, too
UPDATE meter.rate_limit SET kind = 'window' WHERE plan = 'pro' AND per = 'minute' AND unit = 'requests';
UPDATE meter.rate_limit SET burst = 10 WHERE plan = 'pro' AND per = 'minute' AND unit = 'requests';
UPDATE meter.rate_limit SET tenant = 'acme' WHERE plan = 'pro';
DELETE FROM meter.rate_limit WHERE tenant = 'acme';
TRUNCATE meter.rate_limit;

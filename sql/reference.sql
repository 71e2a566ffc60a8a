-- foreign keys: what a row refers to must be there, but a restore may bring it later
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;

-- every foreign key of the extension is checked by its trigger and not its own
SELECT c.conname, c.confrelid::regclass AS refers_to,
	string_agg(g.tgname, ' ') FILTER (WHERE NOT g.tgisinternal) AS checked_by,
	count(*) FILTER (WHERE g.tgisinternal AND g.tgenabled = 'O') AS own
FROM pg_constraint AS c
JOIN pg_trigger AS g ON g.tgrelid = c.conrelid
	AND (g.tgconstraint = c.oid OR g.tgfoid = 'meter.reference_check'::regproc AND position(c.conname::text::bytea IN g.tgargs) > 0)
WHERE c.contype = 'f' AND c.connamespace = 'meter'::regnamespace
GROUP BY c.oid ORDER BY 1;

-- as long as there are no plans at all, as in a restore
INSERT INTO meter.tenant (tenant, plan) VALUES ('early', 'pro');
INSERT INTO meter.price (price, plan, metric, model, params) VALUES ('api', 'pro', 'm', 'flat', '{"amount": 1}');
INSERT INTO meter.plan (plan) VALUES ('pro'), ('free');

-- from then on
INSERT INTO meter.tenant (tenant, plan) VALUES ('late', 'gold');
INSERT INTO meter.price (price, plan, metric, model, params) VALUES ('api', 'gold', 'm', 'flat', '{"amount": 1}');
\set VERBOSITY terse
UPDATE meter.tenant SET plan = 'gold';
UPDATE meter.tenant SET plan = NULL;
UPDATE meter.tenant SET plan = 'free';
INSERT INTO meter.tenant (tenant, plan) VALUES ('early', 'free') ON CONFLICT (tenant) DO UPDATE SET plan = 'gold';
INSERT INTO meter.tenant (tenant, plan) SELECT 'many ' || i, CASE WHEN i < 100 THEN 'pro' ELSE 'gold' END FROM generate_series(1, 100) AS i;
WITH plan AS (INSERT INTO meter.plan (plan) VALUES ('team') RETURNING plan)
INSERT INTO meter.tenant (tenant, plan) SELECT 'both at once', plan FROM plan;
INSERT INTO meter.tenant (tenant, plan) VALUES ('none', NULL);
SELECT tenant, plan FROM meter.tenant ORDER BY tenant;

-- deletes and other names
DELETE FROM meter.plan WHERE plan = 'free';
UPDATE meter.plan SET plan = 'fine' WHERE plan = 'free';
SELECT tenant, plan FROM meter.tenant ORDER BY tenant;
TRUNCATE meter.plan;
DELETE FROM meter.plan WHERE plan = 'pro';
SELECT count(*) FROM meter.price;
SELECT meter.reference_check();

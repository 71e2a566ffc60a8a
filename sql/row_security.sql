-- who works for a tenant sees only its rows of meter's own tables
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

-- Every table with a tenant has a policy, and every view asks as its reader.
SELECT c.oid::regclass FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = 'meter'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
	AND a.attname = 'tenant' AND NOT (c.relrowsecurity AND EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid));
SELECT c.oid::regclass FROM pg_class AS c WHERE c.relnamespace = 'meter'::regnamespace AND c.relkind = 'v'
	AND NOT COALESCE('security_invoker=true' = ANY (c.reloptions), false);

CREATE ROLE regress_rows_a;
CREATE ROLE regress_rows_b;
CREATE ROLE regress_rows_both;
CREATE ROLE regress_rows_analyst;
CREATE ROLE regress_rows_nobody;
GRANT regress_rows_a, regress_rows_b TO regress_rows_both;
INSERT INTO meter.tenant (tenant, role_name) VALUES ('a', 'regress_rows_a'), ('b', 'regress_rows_b');
INSERT INTO meter.credit (tenant, amount, currency) VALUES ('a', 5, 'USD'), ('b', 7, 'USD');
SELECT meter_grant('regress_rows_a', 'tenant');
SELECT meter_grant('regress_rows_b', 'tenant');
SELECT meter_grant('regress_rows_analyst', 'analyst');
SELECT meter_grant('regress_rows_nobody', 'tenant');
SELECT count(meter_track(t, endpoint => '/x', user_id => 'u', latency_ms => 5)) FROM unnest(ARRAY['a', 'a', 'b', 'c']) AS t;
SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT count(meter_track(t)) FROM unnest(ARRAY['a', 'b']) AS t;
INSERT INTO meter.rate_limit (per, max) VALUES ('day', 10);
SELECT count(meter_check(t)) FROM unnest(ARRAY['a', 'b']) AS t;

CREATE VIEW seen AS
SELECT 1 AS n, 'event' AS what, tenant, count(*) FROM meter.event GROUP BY tenant UNION ALL
SELECT 2, 'usage_daily', tenant, sum(events) FROM meter.usage_daily GROUP BY tenant UNION ALL
SELECT 3, 'endpoint_stats', tenant, sum(requests) FROM meter.endpoint_stats GROUP BY tenant UNION ALL
SELECT 4, 'top_users', tenant, sum(requests) FROM meter.top_users GROUP BY tenant UNION ALL
SELECT 5, 'credit_balance', tenant, sum(amount) FROM meter.credit_balance GROUP BY tenant;
ALTER VIEW seen SET (security_invoker = true);
GRANT SELECT ON seen TO PUBLIC;

SET ROLE regress_rows_a;
SELECT * FROM seen ORDER BY n, tenant;
SELECT meter.visible_tenants();
SELECT * FROM meter.tenant;
SELECT * FROM meter.rate_limit_status;
-- its own only
SELECT (usage).tenant, (usage).events FROM meter.usage_tail();
SELECT * FROM meter.isolation_violation;
SELECT meter_track('a');
DELETE FROM meter.event;
SET row_security = off;
SELECT count(*) FROM meter.event;
RESET row_security;
-- what is in an own schema, or has an operator of its own, is not let at other rows
CREATE FUNCTION pg_temp.leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0001
AS 'BEGIN RAISE NOTICE ''saw %'', t; RETURN true; END';
SELECT count(*) FROM meter.event WHERE pg_temp.leak(tenant) AND tenant = 'a';
DROP FUNCTION pg_temp.leak(text);
RESET ROLE;

SET ROLE regress_rows_both;
SELECT * FROM seen WHERE n < 3 ORDER BY n, tenant;
RESET ROLE;
SET ROLE regress_rows_nobody;
SELECT * FROM seen ORDER BY n, tenant;
SELECT meter.visible_tenants();
RESET ROLE;

-- An analyst sees all, or what the context has.
SET ROLE regress_rows_analyst;
SELECT * FROM seen ORDER BY n, tenant;
SELECT tenant, sum(events) FROM meter.live GROUP BY tenant ORDER BY tenant;
SELECT meter_set_tenant('b');
SELECT * FROM seen ORDER BY n, tenant;
SELECT tenant, sum(events) FROM meter.live GROUP BY tenant ORDER BY tenant;
SELECT tenant, allowed FROM meter.rate_limit_status;
SELECT tenant, allowed FROM meter.limit_state();
SELECT tenant FROM meter.tenant;
SELECT meter_set_tenant(NULL);
RESET ROLE;

-- A context narrows what a role sees, and never widens it: a does not see b,
-- who belongs to both sees b, and who belongs to none works for any.
SELECT meter_set_tenant('b');
SET ROLE regress_rows_a;
SELECT meter.visible_tenants();
SELECT * FROM seen ORDER BY n, tenant;
SET ROLE regress_rows_both;
SELECT meter.visible_tenants();
SELECT * FROM seen WHERE n < 3 ORDER BY n, tenant;
SET ROLE regress_rows_nobody;
SELECT meter.visible_tenants();
SELECT * FROM seen WHERE n < 3 ORDER BY n, tenant;
RESET ROLE;
SELECT meter_set_tenant(NULL);

-- What is sent on channel "meter" tells of all, so only who sees all may listen.
SET ROLE regress_rows_analyst;
LISTEN meter;
UNLISTEN meter;
SET ROLE regress_rows_a;
LISTEN meter;
DO $$ BEGIN EXECUTE 'LISTEN meter'; END $$;
LISTEN "Meter";
UNLISTEN *;
SET ROLE regress_rows_nobody;
LISTEN meter;
RESET ROLE;
LISTEN meter;
UNLISTEN meter;

-- No partition can be read past its parent.
SELECT count(*) > 0, bool_or(has_table_privilege('regress_rows_analyst', c.oid, 'SELECT')
	OR has_table_privilege('regress_rows_a', c.oid, 'SELECT'))
FROM pg_class AS c WHERE c.relnamespace = 'meter'::regnamespace AND c.relispartition;
-- Also not by who was let at all tables; the owner finds rows there.
GRANT SELECT ON ALL TABLES IN SCHEMA meter TO regress_rows_a, regress_rows_analyst;
SELECT format('CREATE TEMP VIEW partitions WITH (security_invoker) AS %s; GRANT SELECT ON partitions TO PUBLIC',
	string_agg(format('SELECT tenant FROM %s', c.oid::regclass), ' UNION ALL ')) AS make
FROM pg_class AS c WHERE c.relnamespace = 'meter'::regnamespace AND c.relispartition AND c.relkind = 'r' \gset
:make;
SELECT count(*) > 0 AS owner FROM partitions;
SET ROLE regress_rows_a;
SELECT count(*) FROM partitions;
SELECT tenant, count(*) FROM meter.event GROUP BY tenant;
SET ROLE regress_rows_analyst;
SELECT count(*) FROM partitions;
SELECT tenant, count(*) FROM meter.event GROUP BY tenant ORDER BY tenant;
RESET ROLE;

-- Nor is it told by a plan how many rows are hidden, if the guard looks; who sees
-- all is shown it.
SET meter.isolation = enforce;
SET ROLE regress_rows_a;
SELECT count(*) FROM meter.event;
EXPLAIN ANALYZE SELECT * FROM meter.event WHERE tenant = 'b';
EXPLAIN SELECT * FROM meter.usage_daily;
DO $$ BEGIN EXECUTE 'EXPLAIN (COSTS OFF) DELETE FROM meter.credit'; END $$;
SELECT seq_tup_read FROM pg_stat_xact_user_tables;
SET ROLE regress_rows_nobody;
EXPLAIN SELECT * FROM meter.event;
SET ROLE regress_rows_analyst;
DO $$ BEGIN EXECUTE 'EXPLAIN ANALYZE SELECT * FROM meter.event'; END $$;
SELECT meter_set_tenant('b');
DO $$ BEGIN EXECUTE 'EXPLAIN ANALYZE SELECT * FROM meter.event'; END $$;
SELECT meter_set_tenant(NULL);
RESET ROLE;
SET meter.isolation = log;
SET ROLE regress_rows_a;
DO $$ BEGIN EXECUTE 'EXPLAIN SELECT * FROM meter.bill'; END $$;
RESET ROLE;
RESET meter.isolation;
SELECT count(*) FROM meter_flush();
SELECT tenant, foreign_tenant, command, object_type, object, refused FROM meter.isolation_violation ORDER BY at;

SET client_min_messages = warning;
DROP VIEW seen, partitions;
DROP EXTENSION meter CASCADE;
DROP ROLE regress_rows_a, regress_rows_b, regress_rows_both, regress_rows_analyst, regress_rows_nobody;

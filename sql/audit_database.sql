-- meter_isolation_audit(), rules 16 to 19: event triggers, replication, foreign
-- servers, jobs and extensions
SET client_min_messages = error;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
SET meter.retention = 0;

CREATE ROLE regress_audit_a;
CREATE ROLE regress_audit_b;
CREATE SCHEMA audit_a AUTHORIZATION regress_audit_a;
CREATE SCHEMA audit_b AUTHORIZATION regress_audit_b;
CREATE SCHEMA audit_c;
CREATE SCHEMA audit_shared;

-- where there is no tenant with a schema, there is nobody to be kept apart
CREATE FUNCTION audit_shared.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER audit_ddl ON sql_drop EXECUTE FUNCTION audit_shared.on_ddl();
CREATE PUBLICATION audit_all FOR ALL TABLES;
SELECT count(*) FROM meter_isolation_audit(NULL, 'info') WHERE rule < 20;
DROP EVENT TRIGGER audit_ddl;
DROP PUBLICATION audit_all;

INSERT INTO meter.tenant (tenant, schema_name, role_name) VALUES
	('a', 'audit_a', 'regress_audit_a'), ('b', 'audit_b', 'regress_audit_b'), ('c', 'audit_c', NULL);
CREATE TABLE audit_a.t (id integer);
CREATE TABLE audit_a."T" (id integer);
CREATE TABLE audit_b.t (id integer);
CREATE TABLE audit_c.t (id integer);
CREATE TABLE audit_shared.t (id integer);

-- What is found of a leak, and what is left once its remedy was run.  The
-- twin must be clean: it may depend on its own schema and on the shared one.
CREATE FUNCTION leak(plant text, twin text)
RETURNS TABLE (rule integer, name text, severity text, tenant text, other_tenant text, object text, detail text, remedy text, is_left bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	cure text;
BEGIN
	EXECUTE twin;
	CREATE TEMPORARY TABLE was ON COMMIT DROP AS SELECT * FROM meter_isolation_audit(NULL, 'info') WHERE rule < 20;
	IF EXISTS (SELECT FROM was) THEN
		RAISE EXCEPTION 'not clean: %', (SELECT string_agg(w::text, E'\n') FROM was AS w);
	END IF;
	EXECUTE plant;
	INSERT INTO was SELECT * FROM meter_isolation_audit(NULL, 'info') WHERE rule < 20;
	FOR cure IN SELECT DISTINCT remedy FROM was LOOP
		EXECUTE cure;
	END LOOP;
	RETURN QUERY SELECT w.rule, w.name, w.severity, w.tenant, w.other_tenant, w.object, w.detail, w.remedy, l.n
	FROM was AS w, (SELECT count(*) FROM meter_isolation_audit(NULL, 'info') WHERE rule < 20) AS l(n);
	DROP TABLE was;
END
$$;
\pset format unaligned
\pset tuples_only

-- 16: event triggers
SELECT * FROM leak($$ CREATE EVENT TRIGGER audit_ddl ON ddl_command_end EXECUTE FUNCTION audit_shared.on_ddl() $$,
	$$ CREATE EVENT TRIGGER audit_off ON ddl_command_end EXECUTE FUNCTION audit_shared.on_ddl(); ALTER EVENT TRIGGER audit_off DISABLE $$);
SELECT * FROM leak($$ CREATE EVENT TRIGGER "audit DDL" ON ddl_command_end EXECUTE FUNCTION audit_a.on_ddl() $$,
	$$ CREATE FUNCTION audit_a.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END' $$);
DROP EVENT TRIGGER audit_off;

-- 17: publications
SELECT * FROM leak($$ CREATE PUBLICATION audit_all FOR ALL TABLES $$, $$ CREATE PUBLICATION audit_one FOR TABLE audit_a.t, audit_a."T", audit_shared.t $$);
SELECT * FROM leak($$ CREATE PUBLICATION audit_mixed FOR TABLE audit_a.t, audit_a."T", audit_b.t, audit_shared.t $$, $$ CREATE PUBLICATION audit_none $$);
SELECT * FROM leak($$ CREATE PUBLICATION audit_schemas FOR TABLES IN SCHEMA audit_a, audit_c, TABLE audit_b.t $$, $$ CREATE PUBLICATION audit_schema FOR TABLES IN SCHEMA audit_b, audit_shared $$);
DROP PUBLICATION audit_one, audit_none, audit_schema, audit_mixed, audit_schemas;
-- a subscription knows its tables once it has been connected
CREATE SUBSCRIPTION audit_one CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
CREATE SUBSCRIPTION audit_two CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
SELECT * FROM leak(
	$$ INSERT INTO pg_subscription_rel SELECT s.oid, r, 'i' FROM pg_subscription AS s, unnest(ARRAY['audit_a.t', 'audit_b.t']::regclass[]) AS r WHERE subname = 'audit_two' $$,
	$$ SET LOCAL allow_system_table_mods = on;
	   INSERT INTO pg_subscription_rel SELECT s.oid, r, 'i' FROM pg_subscription AS s, unnest(ARRAY['audit_a.t', 'audit_shared.t']::regclass[]) AS r WHERE subname = 'audit_one' $$);
ALTER SUBSCRIPTION audit_one SET (slot_name = NONE);
DROP SUBSCRIPTION audit_one;

-- 18: foreign tables, servers, user mappings, dblink
CREATE FOREIGN DATA WRAPPER audit_fdw;
CREATE SERVER audit_server FOREIGN DATA WRAPPER audit_fdw OPTIONS (host 'db.example.com', dbname 'contrib_regression');
SELECT * FROM leak($$ CREATE FOREIGN TABLE audit_a.far (id integer) SERVER audit_server OPTIONS (schema_name 'audit_b', table_name 't') $$,
	$$ CREATE FOREIGN TABLE audit_a.twin_far (id integer) SERVER audit_server OPTIONS (schema_name 'audit_a', table_name 't');
	   CREATE FOREIGN TABLE audit_a.twin_far2 (id integer) SERVER audit_server OPTIONS (schema_name 'audit_shared', table_name 'audit_b') $$);
SELECT * FROM leak($$ CREATE FOREIGN TABLE audit_shared.far (id integer) SERVER audit_server OPTIONS (schema_name 'audit_b', table_name 't') $$, $$ SELECT $$);
SELECT * FROM leak($$ CREATE FOREIGN TABLE audit_shared.far (id integer) SERVER audit_server OPTIONS (schema_name 'audit_b', table_name 't'); GRANT SELECT ON audit_shared.far TO PUBLIC $$,
	$$ GRANT USAGE ON SCHEMA audit_shared TO regress_audit_a $$);
SELECT * FROM leak($$ CREATE SERVER "audit loop" FOREIGN DATA WRAPPER audit_fdw OPTIONS (host 'localhost', dbname 'contrib_regression') $$,
	$$ CREATE SERVER audit_else FOREIGN DATA WRAPPER audit_fdw OPTIONS (host 'localhost', dbname 'other');
	   CREATE SERVER audit_port FOREIGN DATA WRAPPER audit_fdw OPTIONS (port '1', dbname 'contrib_regression') $$);
SELECT * FROM leak($$ CREATE USER MAPPING FOR PUBLIC SERVER audit_server OPTIONS (user 'postgres') $$,
	$$ CREATE USER MAPPING FOR regress_audit_a SERVER audit_server OPTIONS (user 'a') $$);
SELECT * FROM leak($$ CREATE FUNCTION audit_a.dial() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM dblink_exec(''x'', ''DELETE FROM t''); END' $$,
	$$ CREATE FUNCTION audit_a.twin_dial() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM my_dblink_exec(''x''); END' $$);
DROP FOREIGN DATA WRAPPER audit_fdw CASCADE;
CREATE EXTENSION dblink SCHEMA audit_shared;
SELECT rule, severity, tenant, object, detail, remedy LIKE '%REVOKE EXECUTE ON FUNCTION audit_shared.dblink(text,text) FROM PUBLIC%' FROM meter_isolation_audit() WHERE rule < 20;
DO $$ BEGIN EXECUTE (SELECT remedy FROM meter_isolation_audit() WHERE rule = 18); END $$;
SELECT count(*) FROM meter_isolation_audit() WHERE rule < 20;
DROP EXTENSION dblink;

-- 19: jobs, of whose numbers nothing is certain
CREATE EXTENSION pg_cron;
CREATE FUNCTION jobs() RETURNS TABLE (rule integer, severity text, tenant text, other_tenant text, job text, detail text) LANGUAGE sql AS $$
	SELECT a.rule, a.severity, a.tenant, a.other_tenant, j.jobname, a.detail
	FROM meter_isolation_audit(NULL, 'info') AS a
	JOIN cron.job AS j ON a.object = format('job %s of pg_cron', j.jobid)
	WHERE a.rule < 20 ORDER BY a.rule, a.tenant $$;
SELECT FROM cron.schedule('twin', '0 0 30 2 *', 'DELETE FROM audit_a.t');
SELECT FROM cron.schedule('twin shared', '0 0 30 2 *', 'DELETE FROM audit_a.t; DELETE FROM audit_shared.t');
SELECT FROM cron.schedule('twin role', '0 0 30 2 *', 'DELETE FROM audit_a.t');
UPDATE cron.job SET username = 'regress_audit_a' WHERE jobname = 'twin role';
SELECT count(*) FROM meter_isolation_audit(NULL, 'info') WHERE rule < 20;
SELECT FROM cron.schedule('mixed', '0 0 30 2 *', 'DELETE FROM audit_a.t; DELETE FROM audit_b.t');
SELECT * FROM jobs();
SELECT DISTINCT remedy AS cure FROM meter_isolation_audit() WHERE rule = 19 \gset
SELECT * FROM (SELECT :'cure' ~ '^SELECT cron.unschedule\([0-9]+\)$') AS c;
:cure;
SELECT FROM cron.schedule('role', '0 0 30 2 *', 'SELECT count(*) FROM "audit_b".t');
UPDATE cron.job SET username = 'regress_audit_a' WHERE jobname = 'role';
SELECT * FROM jobs();
SELECT DISTINCT remedy AS cure FROM meter_isolation_audit() WHERE rule = 19 \gset
:cure;
SELECT jobname FROM cron.job WHERE jobname ~ 'twin|mixed|role' ORDER BY 1;
SELECT count(*) FROM meter_isolation_audit(NULL, 'info') WHERE rule < 20;
-- whoever may call it, but not see the jobs, is told of the rest
SELECT FROM cron.schedule('mixed', '0 0 30 2 *', 'DELETE FROM audit_a.t; DELETE FROM audit_b.t');
CREATE PUBLICATION audit_all FOR ALL TABLES;
CREATE ROLE regress_audit_admin;
SELECT meter_grant('regress_audit_admin', 'admin');
SELECT rule FROM meter_isolation_audit() WHERE rule < 20;
SET ROLE regress_audit_admin;
SELECT rule FROM meter_isolation_audit() WHERE rule < 20;
RESET ROLE;
DROP OWNED BY regress_audit_admin;
DROP ROLE regress_audit_admin;
DROP PUBLICATION audit_all;
DROP FUNCTION jobs();
DROP EXTENSION pg_cron;
-- extensions
SELECT * FROM leak($$ CREATE EXTENSION dblink SCHEMA audit_a; REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA audit_a FROM PUBLIC $$, $$ SELECT $$);
DROP EXTENSION dblink;

DROP SCHEMA audit_a, audit_b, audit_c, audit_shared CASCADE;
DROP FUNCTION leak(text, text);
DROP EXTENSION meter;
DROP ROLE regress_audit_a, regress_audit_b;

-- meter_isolation_audit(), rule 15: functions whose text names another tenant's
-- schema; and the arguments of meter_isolation_audit()
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
SET meter.retention = 0;

CREATE ROLE regress_audit_a;
CREATE ROLE regress_audit_b;
CREATE SCHEMA audit_a AUTHORIZATION regress_audit_a;
CREATE SCHEMA audit_b AUTHORIZATION regress_audit_b;
CREATE SCHEMA "audit ""C" AUTHORIZATION regress_audit_b;
CREATE SCHEMA audit_shared;
INSERT INTO meter.tenant (tenant, schema_name, role_name) VALUES
	('a', 'audit_a', 'regress_audit_a'), ('b', 'audit_b', 'regress_audit_b'), ('c', 'audit "C', NULL);

-- the names in a text
CREATE FUNCTION names(text) RETURNS text LANGUAGE sql RETURN (
	SELECT string_agg(n, ' | ' ORDER BY n COLLATE "C") FROM meter.audit_names($1) AS n);
SELECT names(t) FROM (VALUES ('SELECT 1'), ('SELECT * FROM Audit_B.secret'), ('SELECT * FROM "Audit_B".secret'), ('SELECT * FROM "audit ""C".secret'),
	('SELECT * FROM a . b /* why */ . c -- so' || E'\n' || '.d'), ('EXECUTE format(''TABLE %I.secret'', ''audit_b'')'),
	('EXECUTE ''TABLE audit_b.secret'''), ('EXECUTE ''EXECUTE ''''TABLE audit_b.secret'''''''), ('SET search_path TO audit_b, public'),
	('SET LOCAL search_path = "audit ""C"; SELECT 1'), ('PERFORM set_config(''search_path'', ''audit_b, public'', true)'),
	('SET search_path TO ''audit_b'''), ('SELECT audit_b FROM t'), ('SELECT 1 + .5'), ('SELECT größe.x, x$1.y'), ('SELECT GRÖßE.x'), (''), (NULL)) AS v(t);

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

SELECT * FROM leak($$ CREATE FUNCTION audit_a.peek() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM audit_b.secret); END' $$,
	$$ CREATE FUNCTION audit_a.twin() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM audit_a.secret, audit_shared.secret, audit_bb.secret); END' $$);
SELECT * FROM leak($$ CREATE PROCEDURE audit_a.peek() LANGUAGE plpgsql AS 'BEGIN DELETE FROM "audit ""C"  . secret; END' $$,
	$$ CREATE PROCEDURE audit_a.twin_p() LANGUAGE plpgsql AS 'BEGIN DELETE FROM "AUDIT_B".secret; DELETE FROM "audit C".secret; END' $$);
SELECT * FROM leak($$ CREATE FUNCTION audit_a.dynamic() RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE format(''DROP TABLE %I.%I'', ''audit_b'', ''secret''); END' $$, $$ SELECT $$);
SELECT * FROM leak($$ CREATE FUNCTION audit_a.path() RETURNS void LANGUAGE plpgsql AS 'BEGIN SET LOCAL search_path TO audit_b; DELETE FROM secret; END' $$, $$ SELECT $$);
SELECT * FROM leak($$ CREATE FUNCTION audit_a.config() RETURNS bigint LANGUAGE sql SET search_path = public, audit_b AS 'SELECT 1::bigint' $$,
	$$ CREATE FUNCTION audit_a.twin_config() RETURNS bigint LANGUAGE sql SET search_path = audit_a, audit_shared AS 'SELECT 1::bigint' $$);
SELECT * FROM leak($$ CREATE FUNCTION audit_a.both() RETURNS bigint LANGUAGE sql AS 'SELECT 1 FROM audit_b.x, "audit ""C".x' $$, $$ SET LOCAL check_function_bodies = off $$);
-- dynamic statements of which nothing is known
SELECT * FROM leak($$ CREATE FUNCTION audit_a.unknown(what text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE what; END' $$,
	$$ CREATE FUNCTION audit_shared.twin_unknown(what text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE what; END' $$);
-- shared functions: nobody may use the schema; then only the tenant itself; then another
SELECT * FROM leak($$ CREATE FUNCTION audit_shared.peek() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM audit_b.secret); END' $$, $$ SELECT $$);
SELECT * FROM leak($$ CREATE FUNCTION audit_shared.peek() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM audit_b.secret); END' $$,
	$$ GRANT USAGE ON SCHEMA audit_shared TO regress_audit_b $$);
SELECT * FROM leak($$ CREATE FUNCTION audit_shared.peek() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM audit_b.secret); END' $$,
	$$ GRANT USAGE ON SCHEMA audit_shared TO regress_audit_a $$);

-- whose findings: the one who reaches, or is reached; from which severity on
CREATE FUNCTION audit_a.peek() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM audit_b.secret); END';
CREATE FUNCTION audit_a.unknown(what text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE what; END';
CREATE VIEW audit_a.moods AS SELECT 1 AS x;
CREATE VIEW "audit ""C".v AS SELECT * FROM audit_a.moods;
CREATE FUNCTION audit_shared.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER audit_all ON sql_drop EXECUTE FUNCTION audit_shared.on_ddl();
UPDATE meter.tenant SET role_name = 'regress_audit_none' WHERE tenant = 'c';
INSERT INTO meter.tenant (tenant, schema_name) VALUES ('it''s gone', 'audit none');
SELECT severity, rule, tenant, other_tenant, object FROM meter_isolation_audit() WHERE rule < 20;
SELECT severity, rule, tenant, other_tenant, object FROM meter_isolation_audit('a') WHERE rule < 20;
SELECT severity, rule, tenant, other_tenant, object FROM meter_isolation_audit('b') WHERE rule < 20;
SELECT severity, rule, tenant, other_tenant, object FROM meter_isolation_audit(min_severity => 'critical') WHERE rule < 20;
SELECT severity, rule, tenant, other_tenant, object FROM meter_isolation_audit(min_severity => 'info') WHERE rule < 20;
SELECT severity, rule, tenant, other_tenant, object FROM meter_isolation_audit('a', 'info') WHERE rule = 15;
SELECT rule, object, detail, remedy FROM meter_isolation_audit() WHERE rule = 0;
SELECT remedy FROM meter_isolation_audit() WHERE rule = 0 \gexec
SELECT count(*) FROM meter_isolation_audit() WHERE rule = 0;
SELECT explanation FROM meter_isolation_audit() WHERE rule = 16;
DROP EVENT TRIGGER audit_all;
SELECT meter_isolation_audit('nobody');
SELECT meter_isolation_audit('');
SELECT meter_isolation_audit(min_severity => 'bad');
SELECT meter_isolation_audit(min_severity => NULL);
SELECT meter_isolation_audit(''' OR true --', '''');

-- each rule has a name of its own, a severity and an explanation
SELECT count(*), min(rule), max(rule), count(DISTINCT name), count(DISTINCT explanation), bool_and(severity IN ('critical', 'warning', 'info')), bool_and(is_static IS NOT NULL)
FROM meter.isolation_rule;
SELECT rule, name FROM meter.isolation_rule WHERE NOT is_static ORDER BY rule;

DROP SCHEMA audit_a, audit_b, "audit ""C", audit_shared CASCADE;
DROP FUNCTION leak(text, text), names(text);
DROP EXTENSION meter;
DROP ROLE regress_audit_a, regress_audit_b;

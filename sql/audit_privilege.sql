-- meter_isolation_audit(), rules 20 to 31: rights, owners and memberships
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
SET meter.retention = 0;
\pset format unaligned
\pset tuples_only

SELECT meter_create_tenant('a', NULL, 'audit_a', 'regress_audit_a'), meter_create_tenant('b', NULL, 'audit_b', 'regress_audit_b'),
	meter_create_tenant('c', NULL, 'audit "C', 'regress audit "C');
CREATE ROLE regress_audit_app LOGIN;
CREATE ROLE regress_audit_group;
CREATE ROLE regress_audit_b_login LOGIN;
CREATE ROLE regress_audit_dba CREATEROLE CREATEDB BYPASSRLS;
GRANT pg_read_all_data, regress_audit_a TO regress_audit_dba;
GRANT regress_audit_group TO regress_audit_b;
GRANT regress_audit_b TO regress_audit_b_login;
SET ROLE regress_audit_a;
CREATE TABLE audit_a.secret (id int PRIMARY KEY, name text, n serial);
CREATE TYPE audit_a.mood AS ENUM ('good', 'bad');
CREATE FUNCTION audit_a.f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE VIEW audit_a.v AS SELECT id FROM audit_a.secret;
CREATE SEQUENCE audit_a.s;
RESET ROLE;
GRANT USAGE ON SCHEMA audit_a TO regress_audit_dba;

-- tenants as meter_create_tenant() makes them, with the objects they make, are
-- clean, though an application works for all; this database's own TEMPORARY and
-- CONNECT, and the application, are for information
GRANT regress_audit_a, regress_audit_b, "regress audit ""C" TO regress_audit_app;
GRANT SELECT ON audit_a.secret TO regress_audit_app, regress_audit_dba, regress_audit_a;
SELECT * FROM meter_isolation_audit();
SELECT rule, severity, tenant, object, detail FROM meter_isolation_audit(NULL, 'info');
REVOKE regress_audit_a, regress_audit_b, "regress audit ""C" FROM regress_audit_app;
REVOKE TEMPORARY, CONNECT ON DATABASE contrib_regression FROM PUBLIC;
REVOKE USAGE ON SCHEMA audit_a FROM regress_audit_dba;
SELECT * FROM meter_isolation_audit(NULL, 'info');

-- what is found of a leak, and what is left once its remedies were run
CREATE FUNCTION leak(VARIADIC plant text[])
RETURNS TABLE (rule integer, severity text, tenant text, other_tenant text, object text, detail text, remedy text, is_left bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	command text;
BEGIN
	FOREACH command IN ARRAY plant LOOP
		EXECUTE command;
	END LOOP;
	CREATE TEMPORARY TABLE was ON COMMIT DROP AS SELECT * FROM meter_isolation_audit(NULL, 'info');
	FOR command IN SELECT DISTINCT remedy FROM was LOOP
		EXECUTE command;
	END LOOP;
	RETURN QUERY SELECT w.rule, w.severity, w.tenant, w.other_tenant, w.object,
		replace(w.detail, 'rights of ' || quote_ident(current_user), 'rights of me'),
		replace(w.remedy, 'GRANTED BY ' || quote_ident(current_user), 'GRANTED BY me'), l.n
	FROM was AS w, (SELECT count(*) FROM meter_isolation_audit(NULL, 'info')) AS l(n);
	DROP TABLE was;
END
$$;

-- 20: everybody
SELECT * FROM leak('GRANT SELECT, INSERT ON audit_a.secret TO PUBLIC');
SELECT * FROM leak('GRANT UPDATE (name) ON audit_a.secret TO PUBLIC');
SELECT * FROM leak('GRANT USAGE ON SEQUENCE audit_a.s TO PUBLIC');
SELECT * FROM leak('GRANT EXECUTE ON FUNCTION audit_a.f TO PUBLIC');
SELECT * FROM leak('CREATE FUNCTION audit_a.g(int, text) RETURNS int LANGUAGE plpgsql AS ''BEGIN RETURN 1; END''');
SELECT * FROM leak('CREATE PROCEDURE "audit ""C"."P"() LANGUAGE plpgsql AS ''BEGIN END''');
SELECT * FROM leak('GRANT USAGE ON TYPE audit_a.mood TO PUBLIC');
SELECT * FROM leak('GRANT USAGE ON SCHEMA audit_a TO PUBLIC', 'GRANT EXECUTE ON FUNCTION audit_a.f TO PUBLIC',
	'GRANT USAGE ON TYPE audit_a.mood TO PUBLIC');

-- 21: another tenant, by itself, by its login or by a group
SELECT * FROM leak('GRANT SELECT ON audit_a.secret TO regress_audit_b');
SELECT * FROM leak('GRANT SELECT (id) ON audit_a.secret TO "regress audit ""C"');
SELECT * FROM leak('GRANT SELECT ON audit_a.v TO regress_audit_group');
SELECT * FROM leak('GRANT EXECUTE ON FUNCTION audit_a.f TO regress_audit_b_login');
SELECT * FROM leak('GRANT SELECT ON audit_a.secret TO meter_tenant');

-- 22: objects that are still to be made
SELECT * FROM leak('ALTER DEFAULT PRIVILEGES FOR ROLE regress_audit_a GRANT SELECT ON TABLES TO PUBLIC');
SELECT * FROM leak('ALTER DEFAULT PRIVILEGES FOR ROLE regress_audit_a IN SCHEMA audit_a GRANT INSERT, SELECT ON TABLES TO regress_audit_b');
SELECT * FROM leak('ALTER DEFAULT PRIVILEGES FOR ROLE regress_audit_a GRANT EXECUTE ON FUNCTIONS TO PUBLIC');
SELECT * FROM leak('ALTER DEFAULT PRIVILEGES FOR ROLE regress_audit_a GRANT SELECT ON TABLES TO regress_audit_app, regress_audit_a');

-- 23: schemas
SELECT * FROM leak('GRANT USAGE ON SCHEMA audit_a TO PUBLIC');
SELECT * FROM leak('GRANT USAGE, CREATE ON SCHEMA audit_a TO regress_audit_b');
SELECT * FROM leak('GRANT USAGE ON SCHEMA audit_a TO regress_audit_app');
SELECT * FROM leak('GRANT CREATE ON SCHEMA public TO PUBLIC');
SELECT * FROM leak('GRANT CREATE ON SCHEMA public TO regress_audit_a');
SELECT has_schema_privilege('regress_audit_a', 'public', 'USAGE');

-- 24: owners
SELECT * FROM leak('ALTER TABLE audit_a.secret OWNER TO regress_audit_b');
SELECT * FROM leak('ALTER FUNCTION audit_a.f OWNER TO regress_audit_app');
SELECT * FROM leak('CREATE DOMAIN audit_a.d AS int', 'ALTER DOMAIN audit_a.d OWNER TO regress_audit_b', 'REVOKE ALL ON TYPE audit_a.d FROM PUBLIC');
SELECT * FROM leak('ALTER SCHEMA audit_a OWNER TO regress_audit_b', 'REVOKE ALL ON SCHEMA audit_a FROM regress_audit_a');

-- 25: membership
SELECT * FROM leak('GRANT regress_audit_a TO regress_audit_group');

-- 26: attributes
SELECT * FROM leak('ALTER ROLE regress_audit_a BYPASSRLS CREATEDB');
SELECT * FROM leak('ALTER ROLE "regress audit ""C" SUPERUSER REPLICATION CREATEROLE');
SELECT * FROM leak('ALTER ROLE regress_audit_b_login CREATEDB');
SELECT * FROM leak('ALTER ROLE regress_audit_group CREATEROLE');
ALTER ROLE regress_audit_group NOCREATEROLE;
GRANT regress_audit_group TO regress_audit_b;

-- 27: predefined roles
SELECT * FROM leak('GRANT pg_monitor TO regress_audit_a');
SELECT * FROM leak('GRANT pg_read_all_data TO regress_audit_group');
SELECT * FROM leak('GRANT pg_checkpoint TO "regress audit ""C"');

-- 28: one login for several
SELECT * FROM leak('GRANT regress_audit_a, regress_audit_b TO regress_audit_app');

-- 29: grant option
SELECT * FROM leak('GRANT SELECT ON audit_a.secret TO regress_audit_app WITH GRANT OPTION');
SELECT * FROM leak('GRANT EXECUTE ON FUNCTION audit_a.f TO regress_audit_group WITH GRANT OPTION');
-- what its holder has handed on, goes with it
SELECT * FROM leak('GRANT USAGE ON SCHEMA audit_a TO regress_audit_app', 'GRANT SELECT ON audit_a.secret TO regress_audit_app WITH GRANT OPTION',
	'SET ROLE regress_audit_app', 'GRANT SELECT ON audit_a.secret TO regress_audit_b', 'RESET ROLE');
SELECT a.grantee::regrole, a.grantor::regrole, a.is_grantable FROM pg_class, aclexplode(relacl) AS a
WHERE oid = 'audit_a.secret'::regclass AND a.privilege_type = 'SELECT';

-- 30: the database
SELECT * FROM leak('GRANT CREATE ON DATABASE contrib_regression TO PUBLIC');
SELECT * FROM leak('GRANT TEMPORARY ON DATABASE contrib_regression TO PUBLIC');
SELECT * FROM leak('GRANT CREATE ON DATABASE contrib_regression TO regress_audit_a');
SELECT * FROM leak('ALTER DATABASE contrib_regression OWNER TO regress_audit_a');

-- 31: other rights
SELECT * FROM leak('GRANT CREATE ON TABLESPACE pg_default TO PUBLIC');
SELECT lo_create(424242);
SELECT * FROM leak('GRANT SELECT ON LARGE OBJECT 424242 TO PUBLIC');
SELECT * FROM leak('GRANT UPDATE ON LARGE OBJECT 424242 TO regress_audit_a');
SELECT lo_unlink(424242);
SELECT * FROM leak('GRANT SET ON PARAMETER log_statement TO regress_audit_a');
SELECT * FROM leak('GRANT ALTER SYSTEM ON PARAMETER log_statement TO PUBLIC');
SELECT * FROM leak('CREATE FUNCTION audit_a.untrusted(int, int) RETURNS int LANGUAGE internal AS ''int4pl''', 'REVOKE ALL ON FUNCTION audit_a.untrusted FROM PUBLIC');

-- as one tenant's findings
GRANT SELECT ON audit_a.secret TO regress_audit_b;
SELECT rule, tenant, other_tenant FROM meter_isolation_audit('a');
SELECT rule, tenant, other_tenant FROM meter_isolation_audit('b');
SELECT rule, tenant, other_tenant FROM meter_isolation_audit('c');

DROP FUNCTION leak(text[]);
GRANT TEMPORARY, CONNECT ON DATABASE contrib_regression TO PUBLIC;
DROP EXTENSION meter CASCADE;
DROP SCHEMA audit_a, audit_b, "audit ""C" CASCADE;
DROP OWNED BY regress_audit_a;
DROP OWNED BY regress_audit_b;
DROP OWNED BY "regress audit ""C";
DROP OWNED BY regress_audit_app;
DROP OWNED BY regress_audit_group;
DROP OWNED BY regress_audit_b_login;
DROP OWNED BY regress_audit_dba;
DROP OWNED BY meter_tenant;
DROP ROLE regress_audit_a, regress_audit_b, "regress audit ""C", regress_audit_app, regress_audit_group, regress_audit_b_login, regress_audit_dba;

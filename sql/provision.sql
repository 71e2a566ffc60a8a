-- tenants with a schema and a role of their own
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
\set VERBOSITY terse
SET meter.isolation = enforce;
INSERT INTO meter.plan (plan) VALUES ('pro');

SELECT meter.default_schema_name('acme'), meter.default_schema_name('Ünï "x"');
-- 63 bytes are the most; two long names that begin alike stay two
SELECT octet_length(n::text), n LIKE 'tenant\_%' FROM (SELECT meter.default_schema_name(repeat('x', 56) || x) AS n
	FROM (VALUES (''), ('y'), ('z')) AS v(x)) AS s;
SELECT count(DISTINCT meter.default_schema_name(repeat('é', 60) || x)) FROM (VALUES ('y'), ('z')) AS v(x);

SELECT meter_create_tenant('regress acme', 'pro', currency => 'EUR', time_zone => 'Europe/Paris', customer => 'cus_1');
SELECT tenant, plan, schema_name, role_name, currency, time_zone, customer, status FROM meter.tenant;
SELECT nspowner::regrole, nspacl FROM pg_namespace WHERE nspname = 'tenant_regress acme';
SELECT rolcanlogin, rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = 'tenant_regress acme';
SELECT pg_has_role('tenant_regress acme', 'meter_tenant', 'USAGE');
SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = '"tenant_regress acme"'::regrole;

-- What the role makes is nobody else's.
SET ROLE "tenant_regress acme";
CREATE TABLE "tenant_regress acme".t (id int);
CREATE FUNCTION "tenant_regress acme".f() RETURNS int LANGUAGE sql RETURN 1;
CREATE TYPE "tenant_regress acme".e AS ENUM ('x');
RESET ROLE;
CREATE ROLE regress_other;
SELECT has_schema_privilege('regress_other', 'tenant_regress acme', 'USAGE, CREATE'),
	has_table_privilege('regress_other', '"tenant_regress acme".t', 'SELECT, INSERT'),
	has_function_privilege('regress_other', '"tenant_regress acme".f()', 'EXECUTE'),
	has_type_privilege('regress_other', '"tenant_regress acme".e', 'USAGE');

-- Metered before: the row is kept, and gets what it lacks.
INSERT INTO meter.tenant (tenant, plan, time_zone, billing_anchor) VALUES ('regress_before', 'pro', 'Asia/Tokyo', 15);
SELECT meter_create_tenant('regress_before', role_name => 'regress_other', schema_name => 'Regress before');
SELECT tenant, plan, time_zone, billing_anchor, schema_name, role_name FROM meter.tenant WHERE tenant = 'regress_before';

-- Names that are taken or cannot be
SELECT meter_create_tenant('regress acme');
SELECT meter_create_tenant('regress_x', schema_name => 'tenant_regress acme');
SELECT meter_create_tenant('regress_x', role_name => 'regress_other');
SELECT meter_create_tenant('regress_x', schema_name => 'public');
SELECT meter_create_tenant('regress_x', schema_name => 'meter');
SELECT meter_create_tenant('regress_x', schema_name => 'pg_x');
SELECT meter_create_tenant('regress_x', schema_name => '');
SELECT meter_create_tenant('regress_x', role_name => 'pg_monitor');
SELECT meter_create_tenant('regress_x', role_name => 'public');
SELECT meter_create_tenant('');
SELECT meter_create_tenant(NULL);
SELECT meter_create_tenant('regress_x', 'unknown');
SELECT meter_create_tenant('regress_x', time_zone => 'Mars');
SELECT meter_create_tenant('regress_x', currency => 'euro');
CREATE ROLE regress_strong CREATEROLE BYPASSRLS;
-- nor one that gets at such rights, or at another tenant, or through which others get at the tenant
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE ROLE regress_member IN ROLE regress_strong;
SELECT meter_create_tenant('regress_x', role_name => 'regress_strong');
SELECT meter_create_tenant('regress_x', role_name => 'regress_member');
REVOKE regress_strong FROM regress_member;
GRANT pg_read_all_data TO regress_member;
SELECT meter_create_tenant('regress_x', role_name => 'regress_member');
REVOKE pg_read_all_data FROM regress_member;
GRANT regress_other TO regress_member;
SELECT meter_create_tenant('regress_x', role_name => 'regress_member');
REVOKE regress_other FROM regress_member;
GRANT regress_member TO regress_other;
SELECT meter_create_tenant('regress_x', role_name => 'regress_member');
\set VERBOSITY terse
SELECT meter_create_tenant('regress_x', role_name => 'meter_tenant');
DROP ROLE regress_member;
DROP ROLE regress_strong;
CREATE ROLE tenant_regress_x;
SELECT meter_create_tenant('regress_x');
DROP ROLE tenant_regress_x;
CREATE SCHEMA tenant_regress_x;
SELECT meter_create_tenant('regress_x');
DROP SCHEMA tenant_regress_x;
SELECT count(*) FROM meter.tenant;
SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%regress\_x';
SELECT count(*) FROM pg_roles WHERE rolname LIKE '%regress\_x';

-- Names are not SQL.
SELECT meter_create_tenant('regress''; DROP TABLE meter.plan; --"');
SELECT schema_name FROM meter.tenant WHERE tenant LIKE '%DROP%';
SELECT meter_drop_tenant('regress''; DROP TABLE meter.plan; --"', 'drop');

-- Many: all or none
SELECT meter_create_tenants(ARRAY['regress_1', 'regress_2', 'regress_2'], 'pro');
SELECT meter_create_tenants(ARRAY['regress_3', 'regress_1']);
SELECT meter_create_tenants(ARRAY[]::text[]);
SELECT tenant FROM meter.tenant WHERE tenant LIKE 'regress\__' ORDER BY tenant;

SELECT meter_create_tenants(ARRAY(SELECT 'regress_many' || g FROM generate_series(1, 201) AS g));
SELECT count(*) FROM meter.tenant JOIN pg_namespace ON nspname = schema_name JOIN pg_roles ON rolname = role_name
WHERE tenant LIKE 'regress\_many%';
-- Names of which the archive's would be too long, at the same time
SELECT meter.archive_name('tenant_a', '2026-01-02 03:04:05.6+02'),
	octet_length(meter.archive_name(('tenant_' || repeat('é', 27))::name, '2026-01-02')::text);
SELECT meter_create_tenants(ARRAY['regress_' || repeat('x', 40) || '1', 'regress_' || repeat('x', 40) || '2']);
SET client_min_messages = warning;
SELECT count(meter_drop_tenant(tenant)) FROM meter.tenant WHERE tenant LIKE 'regress\_x%';
RESET client_min_messages;
SELECT count(*) FROM pg_namespace WHERE nspname ~ '^archived_\d{14}_[0-9a-f]{16}_tenant_regress_x+$' AND octet_length(nspname::text) = 63;

-- Dropping: what is there is told first, and others' objects are not dropped.
CREATE TABLE tenant_regress_1.t (g integer);
CREATE VIEW tenant_regress_2.v AS SELECT * FROM tenant_regress_1.t;
SELECT meter_drop_tenant('regress_1', 'drop');
DROP VIEW tenant_regress_2.v;
SELECT meter_drop_tenant('regress_1', 'drop');
SELECT tenant, schema_name, role_name, status FROM meter.tenant WHERE tenant = 'regress_1';
SELECT to_regrole('tenant_regress_1'), to_regnamespace('tenant_regress_1');
SELECT meter_drop_tenant('regress_1', 'drop');
SELECT meter_drop_tenant('regress_nobody');
SELECT meter_drop_tenant('regress_2', 'burn');
SELECT meter_drop_tenant('regress_2', NULL);
SELECT meter_drop_tenant(NULL);

-- All kinds are counted, rows where they are known: 10 in each partition, and
-- those of unknown are not.
SELECT meter_create_tenant('regress_kinds');
SET search_path = tenant_regress_kinds, public;
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (11);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (11) TO (21);
INSERT INTO parted SELECT generate_series(1, 20);
ANALYZE parted;
CREATE TABLE unknown (id serial, t text) WITH (autovacuum_enabled = off);
INSERT INTO unknown (t) VALUES ('x');
CREATE VIEW v AS SELECT * FROM parted;
CREATE TYPE mood AS ENUM ('good');
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1;
CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE PROCEDURE p() LANGUAGE sql AS '';
CREATE COLLATION c (LOCALE = 'C');
CREATE TEXT SEARCH DICTIONARY one (TEMPLATE = simple);
CREATE TEXT SEARCH DICTIONARY two (TEMPLATE = simple);
RESET search_path;
SELECT regexp_replace(c, '[0-9]+ (kB|bytes)$', 'SIZE') FROM meter.schema_content('tenant_regress_kinds') AS c;

-- What others have of it, by columns, defaults, triggers, functions, keys, casts
-- or at one remove, is not dropped with it; what the tenant has of others is.
CREATE SCHEMA regress_shared;
CREATE TABLE regress_shared.base (id int PRIMARY KEY);
CREATE TABLE tenant_regress_kinds.own (id int PRIMARY KEY REFERENCES regress_shared.base);
CREATE CAST (tenant_regress_kinds.pair AS tenant_regress_kinds.mood) WITH INOUT;
SELECT * FROM meter.schema_dependents('tenant_regress_kinds');
CREATE TABLE regress_shared.t (id int DEFAULT tenant_regress_kinds.f(), m tenant_regress_kinds.mood,
	k int REFERENCES tenant_regress_kinds.own, c text COLLATE tenant_regress_kinds.c);
CREATE TRIGGER g BEFORE INSERT ON regress_shared.t FOR EACH ROW EXECUTE FUNCTION tenant_regress_kinds.g();
CREATE INDEX by_mood ON regress_shared.t (m);
CREATE FUNCTION regress_shared.h(tenant_regress_kinds.pair) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE VIEW tenant_regress_kinds.w AS SELECT tenant_regress_kinds.f() AS x;
CREATE VIEW regress_shared.w AS SELECT * FROM tenant_regress_kinds.w;
ALTER SEQUENCE tenant_regress_kinds.unknown_id_seq OWNED BY NONE;
CREATE SEQUENCE regress_shared.s OWNED BY NONE;
ALTER TABLE tenant_regress_kinds.unknown ALTER id SET DEFAULT nextval('regress_shared.s');
SELECT d FROM meter.schema_dependents('tenant_regress_kinds') AS d ORDER BY d COLLATE "C";
SELECT meter_drop_tenant('regress_kinds', 'drop');
SELECT count(*) FROM pg_attribute WHERE attrelid = 'regress_shared.t'::regclass AND attnum > 0 AND NOT attisdropped;
DROP TABLE regress_shared.t;
DROP VIEW regress_shared.w;
DROP FUNCTION regress_shared.h;
SELECT * FROM meter.schema_dependents('tenant_regress_kinds');

-- Archiving: it is all there, but not for the tenant's role.
CREATE TABLE tenant_regress_2.t (id int);
ALTER TABLE tenant_regress_2.t OWNER TO tenant_regress_2;
SET client_min_messages = warning;
SELECT meter_drop_tenant('regress_2');
RESET client_min_messages;
SELECT tenant, schema_name, role_name, status FROM meter.tenant WHERE tenant = 'regress_2';
SELECT regexp_replace(nspname, '\d{14}', 'TIME'), nspowner = current_user::regrole,
	has_schema_privilege('tenant_regress_2', oid, 'USAGE')
FROM pg_namespace WHERE nspname LIKE 'archived%tenant\_regress\_2';
SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 'tenant_regress_2'::regrole;
-- The role is the tenant's still, and who belongs to it works for nobody else.
CREATE ROLE regress_member IN ROLE tenant_regress_2;
SELECT meter_grant('regress_member', 'app');
SET ROLE regress_member;
SELECT meter_set_tenant('regress_5');
SELECT meter_current_tenant();
RESET ROLE;
DROP OWNED BY regress_member;
DROP ROLE regress_member;
-- The tenant returns, with its role, which has the archived table still, and goes.
SELECT meter_create_tenant('regress_2');
SELECT status FROM meter.tenant WHERE tenant = 'regress_2';
SELECT meter_drop_tenant('regress_2', 'drop');
SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname LIKE 'archived%tenant\_regress\_2' AND c.relname = 't' AND c.relowner = 'tenant_regress_2'::regrole;

-- Whoever had rights on the schema has none on the archive.
SELECT meter_create_tenant('regress_5');
CREATE ROLE "regress Reader";
GRANT USAGE ON SCHEMA tenant_regress_5 TO "regress Reader", PUBLIC;
SET client_min_messages = warning;
SELECT meter_drop_tenant('regress_5');
RESET client_min_messages;
SELECT has_schema_privilege('regress Reader', oid, 'USAGE') FROM pg_namespace WHERE nspname LIKE 'archived%tenant\_regress\_5';
DROP ROLE "regress Reader";

-- Adopting what is there
CREATE ROLE regress_owner;
CREATE SCHEMA regress_app_a AUTHORIZATION regress_owner;
CREATE SCHEMA regress_app_b;
CREATE SCHEMA "regress_app_c d";
INSERT INTO meter.tenant (tenant, plan) VALUES ('b', 'pro');
SELECT * FROM meter_adopt_tenants('regress_app_%');
SELECT * FROM meter_adopt_tenants('regress_app_%');
SELECT tenant, plan, schema_name, role_name FROM meter.tenant WHERE schema_name LIKE 'regress_app%' ORDER BY tenant;
SELECT * FROM meter_adopt_tenants('tenant_regress');
SELECT * FROM meter_adopt_tenants('%_%');
SELECT * FROM meter_adopt_tenants(NULL);
SELECT * FROM meter_adopt_tenants('regress_no_%');
-- never what is not a tenant's, nor what is archived
SELECT count(*) FROM meter_adopt_tenants('%tenant_regress_5');
SELECT * FROM meter_adopt_tenants('%') WHERE schema_name IN ('public', 'meter', 'information_schema') OR schema_name LIKE 'pg\_%';

SET client_min_messages = warning;
DO $$
DECLARE
	command text;
BEGIN
	FOR command IN
		SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
		WHERE nspname LIKE 'archived%' OR nspname LIKE 'tenant\_regress%' OR nspname ILIKE 'regress%'
		UNION ALL SELECT 'DROP EXTENSION meter CASCADE'
		UNION ALL SELECT format('DROP OWNED BY %1$I; DROP ROLE %1$I', rolname) FROM pg_roles
		WHERE rolname LIKE 'tenant\_regress%' OR rolname IN ('regress_owner', 'regress_other', 'meter_tenant')
	LOOP
		EXECUTE command;
	END LOOP;
END $$;

-- meter_isolation_audit(), rules 32 to 38: functions, views and settings
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
SET meter.retention = 0;
\pset format unaligned
\pset tuples_only

-- names in a search_path
SELECT string_agg(place || ' ' || name, ' | ' ORDER BY place) FROM meter.audit_path('"$user", Public,"A ""b, c",pg_temp');
SELECT count(*) FROM meter.audit_path('');

SELECT meter_create_tenant('a', NULL, 'audit_a', 'regress_audit_a'), meter_create_tenant('b', NULL, 'audit_b', 'regress_audit_b');
CREATE ROLE regress_audit_app LOGIN;
CREATE ROLE regress_audit_weak;
CREATE SCHEMA audit_open;
GRANT USAGE, CREATE ON SCHEMA audit_open TO regress_audit_weak;

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
	CREATE TEMPORARY TABLE was ON COMMIT DROP AS SELECT * FROM meter_isolation_audit(NULL, 'info') WHERE rule <> 30;
	FOR command IN SELECT DISTINCT remedy FROM was LOOP
		EXECUTE command;
	END LOOP;
	RETURN QUERY SELECT w.rule, w.severity, w.tenant, w.other_tenant, w.object,
		replace(w.detail, 'rights of ' || quote_ident(current_user), 'rights of me'),
		replace(w.remedy, 'GRANTED BY ' || quote_ident(current_user), 'GRANTED BY me'), l.n
	FROM was AS w, (SELECT count(*) FROM meter_isolation_audit(NULL, 'info') WHERE rule <> 30) AS l(n);
	DROP TABLE was;
END
$$;

-- clean twins of all that follows
SET ROLE regress_audit_a;
CREATE TABLE audit_a.secret (id int, name text);
ALTER TABLE audit_a.secret ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE VIEW audit_a.own AS SELECT id FROM audit_a.secret WHERE id > 1;
CREATE FUNCTION audit_a.pinned() RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit_a, pg_temp AS 'BEGIN RETURN 1; END';
CREATE FUNCTION audit_a.parsed() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1;
CREATE FUNCTION audit_a.invoker() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
RESET ROLE;
CREATE VIEW audit_a.invoked WITH (security_invoker) AS SELECT id FROM audit_a.secret WHERE id > 1;
CREATE VIEW audit_a.barrier WITH (security_invoker, security_barrier = on) AS SELECT id FROM audit_a.secret WHERE id > 1;
CREATE TABLE public.shared (id int);
ALTER ROLE regress_audit_app SET search_path = audit_a, public;
SELECT * FROM leak('SELECT');

-- 32 and 33: SECURITY DEFINER
SELECT * FROM leak('CREATE FUNCTION audit_a.f() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS ''BEGIN RETURN 1; END''', 'REVOKE ALL ON FUNCTION audit_a.f FROM PUBLIC');
SELECT * FROM leak('ALTER FUNCTION audit_a.pinned RESET search_path');
SELECT * FROM leak('ALTER FUNCTION audit_a.pinned SET search_path = audit_a');
SELECT * FROM leak('ALTER FUNCTION audit_a.pinned SET search_path = pg_temp, audit_a');
SELECT * FROM leak('ALTER FUNCTION audit_a.pinned SET search_path = ''''');
SELECT * FROM leak('ALTER FUNCTION audit_a.pinned SET search_path = audit_a, audit_open, pg_temp');
SELECT * FROM leak('ALTER FUNCTION audit_a.pinned SET search_path = "$user", audit_a, pg_temp');
SELECT * FROM leak('CREATE FUNCTION public.definer() RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS ''BEGIN RETURN 1; END''');
SELECT * FROM leak('GRANT EXECUTE ON FUNCTION audit_a.pinned TO PUBLIC');

-- 34: views and LEAKPROOF
SELECT * FROM leak('CREATE VIEW audit_a.strong AS SELECT id FROM audit_a.secret');
SELECT * FROM leak('GRANT SELECT ON audit_a.own TO regress_audit_app');
SELECT * FROM leak('ALTER FUNCTION audit_a.invoker LEAKPROOF');
SELECT * FROM leak('CREATE FUNCTION public.proof() RETURNS int LANGUAGE sql LEAKPROOF RETURN 1');

-- 35: settings
SELECT * FROM leak('ALTER ROLE regress_audit_app SET search_path = audit_a, "audit_b"');
SELECT * FROM leak('ALTER ROLE regress_audit_a IN DATABASE contrib_regression SET search_path = audit_b');
ALTER ROLE regress_audit_a IN DATABASE contrib_regression SET search_path = audit_a, public;
SELECT * FROM leak('ALTER DATABASE contrib_regression SET search_path = audit_a');
SELECT * FROM leak('ALTER ROLE regress_audit_a SET role = regress_audit_b');
SELECT * FROM leak('ALTER ROLE regress_audit_a SET row_security = off');

-- 36: row security that does not hold
SELECT * FROM leak('ALTER TABLE audit_a.secret NO FORCE ROW LEVEL SECURITY');
SELECT * FROM leak('CREATE POLICY p ON audit_a.secret USING (true)', 'ALTER TABLE audit_a.secret DISABLE ROW LEVEL SECURITY');

-- 38: functions named like meter's, whatever their arguments; worse if they are the
-- tenant's own, who may change them.  Other names of meter's kind are not found, nor
-- are those in schemas that no context looks in.
CREATE FUNCTION audit_a.meter_tracked() RETURNS int LANGUAGE sql RETURN 1;
REVOKE ALL ON FUNCTION audit_a.meter_tracked FROM PUBLIC;
CREATE FUNCTION audit_open.meter_check(text) RETURNS bool LANGUAGE sql RETURN true;
SELECT rule, severity, tenant, other_tenant, object, replace(detail, quote_ident(current_user), 'me') AS detail, regexp_replace(remedy, '[0-9]+$', 'oid') AS remedy, is_left
FROM (
	SELECT * FROM leak('CREATE FUNCTION audit_a.meter_check(varchar) RETURNS bool LANGUAGE sql RETURN true', 'ALTER FUNCTION audit_a.meter_check OWNER TO regress_audit_a',
		'REVOKE ALL ON FUNCTION audit_a.meter_check FROM PUBLIC')
	UNION ALL
	SELECT * FROM leak('CREATE PROCEDURE audit_b.meter_track() LANGUAGE sql AS ''''', 'REVOKE ALL ON PROCEDURE audit_b.meter_track FROM PUBLIC')
) AS l;

-- 37: the same name
CREATE TABLE public.secret (id int);
SELECT rule, severity, tenant, other_tenant, object, detail, regexp_replace(remedy, '[0-9]+', 'oid'), is_left
FROM (SELECT * FROM leak('SELECT')) AS l;

DROP FUNCTION leak(text[]);
DROP EXTENSION meter CASCADE;
DROP SCHEMA audit_a, audit_b, audit_open CASCADE;
DO $$ BEGIN EXECUTE (SELECT string_agg(format('DROP TABLE public.%I', relname), ';') FROM pg_class WHERE relname LIKE 'secret\_shared\_%'); END $$;
DROP TABLE public.shared;
DROP FUNCTION public.definer, public.proof;
DROP OWNED BY regress_audit_a;
DROP OWNED BY regress_audit_b;
DROP OWNED BY regress_audit_app;
DROP OWNED BY regress_audit_weak;
DROP OWNED BY meter_tenant;
DROP ROLE regress_audit_a, regress_audit_b, regress_audit_app, regress_audit_weak;

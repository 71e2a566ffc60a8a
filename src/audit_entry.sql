-- audit_entry.sql: all that the rules of the audit find

-- What meter.tenant names and the database does not have.  The schema of a
-- tenant who has left may be gone.
CREATE FUNCTION meter.audit_missing() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 0, NULL, t.tenant, NULL, format('schema %I', t.schema_name), 'There is no such schema.',
		format('UPDATE meter.tenant SET schema_name = NULL WHERE tenant = %L', t.tenant)
	FROM meter.tenant AS t
	WHERE t.schema_name IS NOT NULL AND NOT EXISTS (
		SELECT FROM pg_namespace AS n WHERE n.nspname = t.schema_name)
	UNION ALL
	SELECT 0, NULL, t.tenant, NULL, format('role %I', t.role_name), 'There is no such role.',
		format('UPDATE meter.tenant SET role_name = NULL WHERE tenant = %L', t.tenant)
	FROM meter.tenant AS t
	WHERE t.role_name IS NOT NULL AND NOT EXISTS (
		SELECT FROM pg_roles AS r WHERE r.rolname = t.role_name)
$$;
COMMENT ON FUNCTION meter.audit_missing() IS
'Rule 0 of the audit: schemas and roles of tenants that do not exist';

CREATE FUNCTION meter.audit_check(of_tenant text, min_severity text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF of_tenant IS NOT NULL AND NOT EXISTS (
			SELECT FROM meter.tenant AS t WHERE t.tenant = of_tenant) THEN
		RAISE EXCEPTION 'tenant "%" does not exist', of_tenant
			USING ERRCODE = 'undefined_object',
				HINT = 'The tenants that are audited are those in meter.tenant.';
	END IF;
	IF (min_severity = ANY (ARRAY['critical', 'warning', 'info'])) IS NOT TRUE THEN
		RAISE EXCEPTION 'unknown severity "%"', min_severity
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'It is one of critical, warning and info.';
	END IF;
END
$$;
COMMENT ON FUNCTION meter.audit_check(text, text) IS
'Refuses arguments of meter_isolation_audit() that mean nothing. Errors: 42704 for a tenant who is not in meter.tenant, 22023 for another severity';

CREATE FUNCTION @extschema@.meter_isolation_audit(tenant text DEFAULT NULL, min_severity text DEFAULT 'warning')
RETURNS TABLE (rule integer, name text, severity text, tenant text, other_tenant text,
	object text, detail text, explanation text, remedy text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
-- each query runs once: compiling takes longer than it saves
SET jit = off
AS $$
	SELECT meter.audit_check($1, $2);
	SELECT f.rule, r.name, s.severity, f.tenant, f.other_tenant, f.object, f.detail, r.explanation, f.remedy
	FROM (
		SELECT * FROM meter.audit_missing()
		UNION ALL SELECT * FROM meter.audit_dependency()
		UNION ALL SELECT * FROM meter.audit_body()
		UNION ALL SELECT * FROM meter.audit_database()
		UNION ALL SELECT * FROM meter.audit_privilege()
		UNION ALL SELECT * FROM meter.audit_code()
	) AS f
	JOIN meter.isolation_rule AS r ON r.rule = f.rule
	CROSS JOIN LATERAL (SELECT COALESCE(f.severity, r.severity)) AS s(severity)
	WHERE ($1 IS NULL OR $1 IN (f.tenant, f.other_tenant))
		AND array_position(ARRAY['critical', 'warning', 'info'], s.severity)
			<= array_position(ARRAY['critical', 'warning', 'info'], $2)
	ORDER BY array_position(ARRAY['critical', 'warning', 'info'], s.severity), f.rule,
		f.tenant COLLATE "C", f.object COLLATE "C", f.other_tenant COLLATE "C", f.detail COLLATE "C"
$$;
COMMENT ON FUNCTION @extschema@.meter_isolation_audit(text, text) IS
'What in the catalogs of this database lets one tenant reach what is another''s: one row per finding, the worst first, of one tenant (as the one who reaches or is reached) or of all and the database, from min_severity (critical, warning, info) up; remedy is SQL that ends the finding. To be called by a superuser, who alone sees all of it. Errors: 42704 for an unknown tenant, 22023 for an unknown severity';

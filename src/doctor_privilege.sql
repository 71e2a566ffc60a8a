-- doctor_privilege.sql: who may do what he should not

CREATE FUNCTION meter.doctor_grant() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH member AS MATERIALIZED (
		SELECT d.classid, d.objid
		FROM pg_extension AS e
		JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
		WHERE e.extname = 'meter'
	), granted AS (
		SELECT format('SCHEMA %I', n.nspname) AS object, a.privilege_type, NULL::name AS attname
		FROM pg_namespace AS n
		CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
		WHERE a.grantee = 0 AND (n.nspname = 'meter' OR a.privilege_type = 'CREATE' AND n.oid = (
			SELECT e.extnamespace FROM pg_extension AS e WHERE e.extname = 'meter'))
		UNION ALL
		SELECT format('%s %s', CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass), a.privilege_type, NULL
		FROM pg_class AS c
		CROSS JOIN LATERAL aclexplode(c.relacl) AS a
		WHERE c.relnamespace = 'meter'::regnamespace AND a.grantee = 0
		UNION ALL
		SELECT format('TABLE %s', c.oid::regclass), a.privilege_type, t.attname
		FROM pg_class AS c
		JOIN pg_attribute AS t ON t.attrelid = c.oid AND NOT t.attisdropped
		CROSS JOIN LATERAL aclexplode(t.attacl) AS a
		WHERE c.relnamespace = 'meter'::regnamespace AND a.grantee = 0
		UNION ALL
		-- without a list, everybody may
		SELECT format('ROUTINE %s', p.oid::regprocedure), a.privilege_type, NULL
		FROM member AS m
		JOIN pg_proc AS p ON p.oid = m.objid
		CROSS JOIN LATERAL aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) AS a
		WHERE m.classid = 'pg_proc'::regclass AND a.grantee = 0
	)
	SELECT 'public_grant', NULL, lower(split_part(g.object, ' ', 1)) || substr(g.object, position(' ' IN g.object)),
		format('Everybody has %s on it.', string_agg(g.privilege, ', ' ORDER BY g.privilege)),
		format('REVOKE %s ON %s FROM PUBLIC;', string_agg(g.privilege, ', ' ORDER BY g.privilege), g.object)
	FROM (
		SELECT g.object, g.privilege_type || COALESCE(' (' || string_agg(quote_ident(g.attname), ', ' ORDER BY g.attname) || ')', '') AS privilege
		FROM granted AS g
		GROUP BY g.object, g.privilege_type, g.attname IS NULL
	) AS g
	GROUP BY g.object
	UNION ALL
	SELECT 'partition_grant', NULL, format('table %s', c.oid::regclass),
		format('%s has %s on it, which is a partition.', r.name, string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)),
		format('REVOKE ALL ON %s FROM %s;', c.oid::regclass, r.name)
	FROM pg_class AS c
	CROSS JOIN LATERAL aclexplode(c.relacl) AS a
	CROSS JOIN LATERAL (SELECT a.grantee::regrole::text AS name) AS r
	WHERE c.relnamespace = 'meter'::regnamespace AND c.relispartition AND a.grantee <> ALL (ARRAY[c.relowner, 0])
	GROUP BY c.oid, r.name
$$;
COMMENT ON FUNCTION meter.doctor_grant() IS
'Part of meter_doctor(): rights that everybody has on meter, and rights on partitions';

CREATE FUNCTION meter.doctor_row_security() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'row_security', NULL, format('table %s', c.oid::regclass), 'Its row security is off.',
		format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', c.oid::regclass)
	FROM pg_class AS c
	WHERE c.relnamespace = 'meter'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
		AND (EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid)
			OR EXISTS (SELECT FROM pg_inherits AS i JOIN pg_policy AS p ON p.polrelid = i.inhparent WHERE i.inhrelid = c.oid))
	UNION ALL
	SELECT 'row_security', NULL, format('view %s', c.oid::regclass), 'It reads with the rights of its owner, for whom no policy holds.',
		format('ALTER VIEW %s SET (security_invoker = true);', c.oid::regclass)
	FROM pg_extension AS e
	JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
		AND d.classid = 'pg_class'::regclass
	JOIN pg_class AS c ON c.oid = d.objid
	WHERE e.extname = 'meter' AND c.relkind = 'v'
		AND (c.reloptions::text ~* 'security_invoker=(true|on|yes|1)') IS NOT TRUE
	UNION ALL
	-- analysts see all in any case
	SELECT 'bypass_rls', NULL, format('role %I', r.rolname),
		CASE WHEN r.rolsuper THEN 'It works for tenants, and is a superuser.' ELSE 'It works for tenants, and has BYPASSRLS.' END,
		format('ALTER ROLE %I %s;', r.rolname, CASE WHEN r.rolsuper THEN 'NOSUPERUSER NOBYPASSRLS' ELSE 'NOBYPASSRLS' END)
	FROM pg_roles AS r
	WHERE (r.rolsuper OR r.rolbypassrls) AND (
		EXISTS (SELECT FROM meter.tenant AS t WHERE t.role_name = r.rolname)
		OR EXISTS (SELECT FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
			WHERE m.member = r.oid AND (g.rolname = 'meter_tenant' OR EXISTS (SELECT FROM meter.tenant AS t WHERE t.role_name = g.rolname)))
		OR NOT r.rolsuper AND has_table_privilege(r.oid, 'meter.event', 'SELECT')
			AND has_function_privilege(r.oid, '@extschema@.meter_current_tenant()', 'EXECUTE')
			AND NOT has_function_privilege(r.oid, 'meter.sees_all_tenants()', 'EXECUTE'))
$$;
COMMENT ON FUNCTION meter.doctor_row_security() IS
'Part of meter_doctor(): whether row security keeps tenants'' rows apart';

CREATE FUNCTION meter.doctor_isolation() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'isolation_off', NULL, 'meter.isolation',
		format('It is off, though %s.', meter.doctor_count(t.tenants, 'tenant has a schema of its own', 'tenants have schemas of their own')),
		meter.doctor_set_here('meter.isolation', 'log')
	FROM (SELECT count(*) AS tenants FROM meter.tenant_schema) AS t
	WHERE t.tenants > 0 AND current_setting('meter.isolation', true) = 'off'
	UNION ALL
	SELECT 'isolation_audit', CASE WHEN a.critical > 0 THEN 'critical' END, 'meter_isolation_audit()',
		format('The audit has %s and %s.', meter.doctor_count(a.critical, 'critical finding', 'critical findings'),
			meter.doctor_count(a.warnings, 'warning', 'warnings')),
		E'SELECT DISTINCT remedy FROM @extschema@.meter_isolation_audit() \\gexec\n'
			'-- read them before; run it again where one waits for another'
	FROM (
		SELECT count(*) FILTER (WHERE f.severity = 'critical') AS critical, count(*) FILTER (WHERE f.severity = 'warning') AS warnings
		FROM (SELECT WHERE EXISTS (SELECT FROM meter.tenant_schema)) AS s
		CROSS JOIN LATERAL @extschema@.meter_isolation_audit() AS f
	) AS a
	WHERE a.critical + a.warnings > 0
$$;
COMMENT ON FUNCTION meter.doctor_isolation() IS
'Part of meter_doctor(): whether tenants who have schemas are kept apart';

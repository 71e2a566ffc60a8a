-- audit_code.sql: code and settings by which a tenant's session gets elsewhere
--
-- Rules 32 to 34 are about tenants' functions and views, and about the shared
-- ones, which all tenants may be able to call.  What extensions brought along is
-- their authors' and their installer's business.

-- The schemas a search_path names, in its order; "$user" is one name among them.
CREATE FUNCTION meter.audit_path(setting text) RETURNS TABLE (place bigint, name text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT m.place, CASE WHEN starts_with(m.word[1], '"')
		THEN replace(substr(m.word[1], 2, length(m.word[1]) - 2), '""', '"') ELSE lower(m.word[1]) END
	FROM regexp_matches($1, '"(?:[^"]|"")*"|[^",[:space:]]+', 'g') WITH ORDINALITY AS m(word, place)
	WHERE m.word[1] <> '""'
$$;
COMMENT ON FUNCTION meter.audit_path(text) IS
'The names in a value of search_path, unquoted, in their order';

-- Who may make objects in a schema, superusers apart.  pg_database_owner is
-- whoever owns this database.
CREATE FUNCTION meter.audit_writer() RETURNS TABLE (schema oid, role oid)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT n.oid, w.role
	FROM pg_namespace AS n
	CROSS JOIN LATERAL (
		SELECT n.nspowner
		UNION SELECT a.grantee FROM aclexplode(n.nspacl) AS a WHERE a.privilege_type = 'CREATE') AS g(role)
	CROSS JOIN LATERAL (SELECT CASE WHEN g.role = to_regrole('pg_database_owner')
		THEN (SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database()) ELSE g.role END) AS w(role)
	LEFT JOIN pg_roles AS r ON r.oid = w.role
	WHERE r.rolsuper IS NOT TRUE
$$;
COMMENT ON FUNCTION meter.audit_writer() IS
'Who may make objects in each schema (0: PUBLIC), superusers apart';

-- Rules 32 and 33.  A body that was parsed when the function was made looks up
-- nothing any more.
CREATE FUNCTION meter.audit_definer() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH function AS MATERIALIZED (
		SELECT p.oid, s.tenant, s.role, p.proowner, p.pronamespace, p.proacl, p.prosqlbody IS NULL AS is_text,
			(SELECT substr(c, length('search_path=') + 1) FROM unnest(p.proconfig) AS c
				WHERE starts_with(c, 'search_path=')) AS path,
			-- rights on a schema are needed to call what is in it by name
			s.tenant IS NULL OR EXISTS (SELECT FROM aclexplode(n.nspacl) AS a WHERE a.grantee = 0) AS is_open
		FROM pg_proc AS p
		JOIN pg_namespace AS n ON n.oid = p.pronamespace
			AND n.nspname <> ALL (ARRAY['information_schema', 'meter']::name[]) AND n.nspname NOT LIKE 'pg\_%'
		LEFT JOIN meter.tenant_schema AS s ON s.schema = p.pronamespace
		WHERE p.prosecdef AND EXISTS (SELECT FROM meter.tenant_schema)
			AND NOT EXISTS (SELECT FROM pg_depend AS d
				WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
	), writer AS MATERIALIZED (
		SELECT * FROM meter.audit_writer()
	), searched AS MATERIALIZED (
		SELECT f.oid, i.place, i.name, max(i.place) OVER (PARTITION BY f.oid) AS places,
			i.name <> 'pg_temp' AND (i.name = '$user' OR EXISTS (
				SELECT FROM writer AS w WHERE w.schema = n.oid AND w.role <> f.proowner)) AS is_writable
		FROM function AS f
		CROSS JOIN LATERAL meter.audit_path(f.path) AS i
		LEFT JOIN pg_namespace AS n ON n.nspname = i.name
	), judged AS (
		SELECT f.oid, f.tenant, f.role, f.proowner, f.path, bool_or(s.is_writable) AS is_writable,
			bool_or(s.name = 'pg_temp' AND s.place = s.places) AS is_temp_last,
			string_agg(quote_ident(s.name), ', ' ORDER BY s.place) FILTER (WHERE s.is_writable) AS writable,
			-- the function's own schema, where none was said, if that is safe
			COALESCE(string_agg(quote_ident(s.name), ', ' ORDER BY s.place) FILTER (WHERE NOT s.is_writable AND s.name <> 'pg_temp'),
				CASE WHEN f.path IS NULL AND NOT EXISTS (SELECT FROM writer AS w
					WHERE w.schema = f.pronamespace AND w.role <> f.proowner) THEN f.pronamespace::regnamespace::text END,
				'pg_catalog') AS safe
		FROM function AS f
		LEFT JOIN searched AS s ON s.oid = f.oid
		WHERE f.is_text
		GROUP BY f.oid, f.tenant, f.role, f.proowner, f.pronamespace, f.path
	)
	SELECT 32, CASE WHEN j.proowner = j.role OR (j.path IS NOT NULL AND j.is_writable IS NOT TRUE) THEN 'warning' END,
		j.tenant, NULL, meter.object_identity('pg_proc'::regclass, j.oid, 0),
		CASE WHEN j.path IS NULL THEN 'It has no search_path of its own.'
			WHEN j.is_writable THEN format('Others than its owner may make objects in %s, in its search_path.', j.writable)
			ELSE 'Its search_path does not end with pg_temp, so that temporary tables come first.' END,
		format('ALTER ROUTINE %s SET search_path = %s, pg_temp', j.oid::regprocedure, j.safe)
	FROM judged AS j
	WHERE j.path IS NULL OR j.is_writable OR j.is_temp_last IS NOT TRUE
	UNION ALL
	SELECT 33, CASE WHEN NOT f.is_open THEN 'warning' END, f.tenant, NULL,
		meter.object_identity('pg_proc'::regclass, f.oid, 0),
		format('It runs with the rights of %s.', f.proowner::regrole),
		meter.audit_revoke('pg_proc'::regclass, f.oid, 0, 0, f.proowner, a.grantor, false)
	FROM function AS f
	CROSS JOIN LATERAL aclexplode(COALESCE(f.proacl, acldefault('f', f.proowner))) AS a
	WHERE a.grantee = 0
$$;
COMMENT ON FUNCTION meter.audit_definer() IS
'Rules 32 and 33 of the audit: SECURITY DEFINER functions';

-- Rule 34.
CREATE FUNCTION meter.audit_view() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH option AS MATERIALIZED (
		SELECT c.oid, s.tenant, s.role, c.relowner, c.relacl,
			COALESCE((SELECT bool_or(o.option_value::boolean) FROM pg_options_to_table(c.reloptions) AS o
				WHERE o.option_name = 'security_invoker'), false) AS is_invoker,
			COALESCE((SELECT bool_or(o.option_value::boolean) FROM pg_options_to_table(c.reloptions) AS o
				WHERE o.option_name = 'security_barrier'), false) AS is_barrier
		FROM pg_class AS c
		JOIN meter.tenant_schema AS s ON s.schema = c.relnamespace
		WHERE c.relkind = 'v'
	)
	SELECT 34, NULL, o.tenant, NULL, meter.object_identity('pg_class'::regclass, o.oid, 0),
		format('The view reads with the rights of %s.', o.relowner::regrole),
		format('ALTER VIEW %s SET (security_invoker = true)', o.oid::regclass)
	FROM option AS o
	WHERE NOT o.is_invoker AND o.relowner <> o.role
	UNION ALL
	-- a function in a query may be called on rows before the view leaves them out
	SELECT 34, NULL, o.tenant, NULL, meter.object_identity('pg_class'::regclass, o.oid, 0),
		'The view filters rows for others than its owner, and is no security_barrier.',
		format('ALTER VIEW %s SET (security_barrier = true)', o.oid::regclass)
	FROM option AS o
	WHERE NOT o.is_invoker AND NOT o.is_barrier
		AND EXISTS (SELECT FROM aclexplode(o.relacl) AS a
			WHERE a.grantee <> o.relowner AND a.privilege_type = 'SELECT')
		AND pg_get_viewdef(o.oid) ~ '\mWHERE\M'
	UNION ALL
	SELECT 34, NULL, s.tenant, NULL, meter.object_identity('pg_proc'::regclass, p.oid, 0),
		'It is LEAKPROOF, so that it is called on rows which row security or a view leaves out.',
		format('ALTER FUNCTION %s NOT LEAKPROOF', p.oid::regprocedure)
	FROM pg_proc AS p
	JOIN pg_namespace AS n ON n.oid = p.pronamespace
		AND n.nspname <> ALL (ARRAY['information_schema', 'meter']::name[]) AND n.nspname NOT LIKE 'pg\_%'
	LEFT JOIN meter.tenant_schema AS s ON s.schema = p.pronamespace
	WHERE p.proleakproof AND EXISTS (SELECT FROM meter.tenant_schema)
		AND NOT EXISTS (SELECT FROM pg_depend AS d
			WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
$$;
COMMENT ON FUNCTION meter.audit_view() IS
'Rule 34 of the audit: views with the rights of another, views that filter, and LEAKPROOF functions';

-- Rule 35.
CREATE FUNCTION meter.audit_setting() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH worker AS MATERIALIZED (
		SELECT * FROM meter.audit_worker()
	), setting AS MATERIALIZED (
		SELECT w.tenant, d.setrole, split_part(c, '=', 1) AS name, substr(c, strpos(c, '=') + 1) AS value,
			CASE WHEN d.setrole <> 0 THEN format('role %s%s', d.setrole::regrole, ' in database ' || quote_ident(b.datname))
				WHEN b.oid IS NOT NULL THEN format('database %I', b.datname) ELSE 'all roles' END AS object,
			CASE WHEN d.setrole <> 0 THEN format('ALTER ROLE %s%s', d.setrole::regrole, ' IN DATABASE ' || quote_ident(b.datname))
				WHEN b.oid IS NOT NULL THEN format('ALTER DATABASE %I', b.datname) ELSE 'ALTER ROLE ALL' END AS alter
		FROM pg_db_role_setting AS d
		CROSS JOIN LATERAL unnest(d.setconfig) AS c
		LEFT JOIN pg_database AS b ON b.oid = d.setdatabase
		LEFT JOIN worker AS w ON w.role = d.setrole
		WHERE (d.setdatabase = 0 OR b.datname = current_database()) AND EXISTS (SELECT FROM meter.tenant_schema)
	), named AS (
		SELECT s.tenant, s.setrole, s.object, s.alter, count(DISTINCT t.tenant) AS tenants,
			min(t.tenant) FILTER (WHERE t.tenant IS DISTINCT FROM s.tenant) AS other,
			string_agg(DISTINCT quote_ident(t.schema_name), ', ') AS schemas
		FROM setting AS s
		CROSS JOIN LATERAL meter.audit_path(s.value) AS p
		JOIN meter.tenant_schema AS t ON t.schema_name::text = p.name
		WHERE s.name = 'search_path'
		GROUP BY s.tenant, s.setrole, s.object, s.alter
	)
	SELECT 35, CASE WHEN n.tenants = 1 AND n.tenant IS NULL THEN 'warning' END,
		COALESCE(n.tenant, n.other), CASE WHEN n.tenant IS NOT NULL THEN n.other END, n.object,
		format('search_path names %s.', n.schemas), n.alter || ' RESET search_path'
	FROM named AS n
	WHERE n.other IS NOT NULL AND (n.tenants > 1 OR n.tenant IS NOT NULL OR n.setrole = 0)
	UNION ALL
	SELECT 35, NULL, COALESCE(s.tenant, t.tenant), CASE WHEN s.tenant IS NOT NULL THEN t.tenant END, s.object,
		format('Sessions work as %s.', s.value), s.alter || ' RESET role'
	FROM setting AS s
	LEFT JOIN pg_roles AS r ON r.rolname = s.value
	LEFT JOIN worker AS t ON t.role = r.oid
	WHERE s.name = 'role' AND s.value <> 'none' AND s.setrole IS DISTINCT FROM r.oid
		AND (s.setrole = 0 OR (s.tenant IS NOT NULL AND t.tenant IS DISTINCT FROM s.tenant))
	UNION ALL
	SELECT 35, 'warning', s.tenant, NULL, s.object, 'row_security is off.', s.alter || ' RESET row_security'
	FROM setting AS s
	WHERE s.name = 'row_security' AND lower(s.value) = ANY (ARRAY['off', 'false', 'no', '0', 'f', 'n', 'of'])
		AND (s.tenant IS NOT NULL OR s.setrole = 0)
$$;
COMMENT ON FUNCTION meter.audit_setting() IS
'Rule 35 of the audit: settings of roles and of the database that lead to another tenant';

-- Rules 36 and 37.
CREATE FUNCTION meter.audit_table() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 36, NULL, w.tenant, NULL, meter.object_identity('pg_class'::regclass, c.oid, 0),
		CASE WHEN c.relrowsecurity THEN format('Its owner %s is not held by its policies.', c.relowner::regrole)
			ELSE 'It has policies, but row-level security is not enabled.' END,
		format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', c.oid::regclass)
	FROM pg_class AS c
	JOIN meter.audit_worker() AS w ON w.role = c.relowner
	WHERE c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
		AND (c.relrowsecurity OR EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid))
	UNION ALL
	SELECT 37, NULL, s.tenant, NULL, meter.object_identity('pg_class'::regclass, c.oid, 0),
		format('%s has the same name.', p.oid::regclass),
		format('ALTER TABLE IF EXISTS public.%I RENAME TO %I', p.relname, left(p.relname::text, 40) || '_shared_' || p.oid)
	FROM pg_class AS p
	JOIN pg_class AS c ON c.relname = p.relname AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	JOIN meter.tenant_schema AS s ON s.schema = c.relnamespace
	WHERE p.relnamespace = to_regnamespace('public') AND p.relkind IN ('r', 'p', 'v', 'm', 'f')
		AND NOT EXISTS (SELECT FROM pg_depend AS d
			WHERE d.classid = 'pg_class'::regclass AND d.objid = p.oid AND d.deptype = 'e')
$$;
COMMENT ON FUNCTION meter.audit_table() IS
'Rules 36 and 37 of the audit: row-level security that does not hold for the owner, and names that are also in public';

-- Rule 38.  In a context's search_path the tenant's schema comes first, then
-- public, and that of meter's functions last.  Whatever its arguments are, a
-- function of the same name may be what a call fits best.
CREATE FUNCTION meter.audit_shadow() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH own AS MATERIALIZED (
		SELECT p.oid, p.proname, p.pronamespace
		FROM pg_extension AS e
		JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
			AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		JOIN pg_proc AS p ON p.oid = d.objid
		WHERE e.extname = 'meter' AND p.pronamespace = e.extnamespace
	)
	SELECT 38, CASE WHEN NOT EXISTS (SELECT FROM meter.audit_worker() AS w
			WHERE w.tenant = s.tenant AND w.role = p.proowner) THEN 'warning' END,
		s.tenant, NULL, meter.object_identity('pg_proc'::regclass, p.oid, 0),
		format('It is found before %s, and belongs to %s.', o.name, p.proowner::regrole),
		format('ALTER ROUTINE %s RENAME TO %I', p.oid::regprocedure, left(p.proname::text, 40) || '_shadow_' || p.oid)
	FROM (SELECT m.proname, m.pronamespace, min(format('%I.%I()', m.pronamespace::regnamespace, m.proname)) AS name
		FROM own AS m GROUP BY m.proname, m.pronamespace) AS o
	JOIN pg_proc AS p ON p.proname = o.proname AND p.pronamespace <> o.pronamespace
		AND p.oid NOT IN (SELECT m.oid FROM own AS m)
	LEFT JOIN meter.tenant_schema AS s ON s.schema = p.pronamespace
	WHERE s.tenant IS NOT NULL
		OR (p.pronamespace = to_regnamespace('public') AND EXISTS (SELECT FROM meter.tenant_schema))
$$;
COMMENT ON FUNCTION meter.audit_shadow() IS
'Rule 38 of the audit: functions that are called instead of meter''s';

CREATE FUNCTION meter.audit_code() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT * FROM meter.audit_definer()
	UNION ALL SELECT * FROM meter.audit_view()
	UNION ALL SELECT * FROM meter.audit_setting()
	UNION ALL SELECT * FROM meter.audit_table()
	UNION ALL SELECT * FROM meter.audit_shadow()
$$;
COMMENT ON FUNCTION meter.audit_code() IS
'Rules 32 to 38 of the audit: functions, views, settings and tables of tenants';

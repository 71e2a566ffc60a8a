-- audit_body.sql: what functions name in their text
--
-- The body of a function that is a string leaves nothing in pg_depend.  So the
-- text is read, as the text it is, with its comments and the strings in it,
-- since those may be statements: naming a schema there that is another tenant's
-- is a finding, whatever the text does with it.

-- A name before a dot; a string, or an item of a list in one, that is nothing
-- but a name, as format() and set_config() take it; and what search_path is set
-- to.  A string is whatever is between two quotes, which finds those within
-- strings as well.  In a name may be all that is not ASCII, in any locale, and
-- only ASCII is folded, as the parser does it.
CREATE FUNCTION meter.audit_names(text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT DISTINCT CASE WHEN starts_with(n.name, '"') THEN replace(trim(BOTH '"' FROM n.name), '""', '"')
		ELSE lower(n.name COLLATE "C") END
	FROM (
		SELECT m[1] FROM regexp_matches($1,
			'("(?:[^"]|"")+"|[^\x01-\x23\x25-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]+)(?:\s|/\*(?:[^*]|\*+[^*/])*\*+/|--[^\n]*\n)*\.', 'g') AS m
		UNION ALL
		SELECT i FROM regexp_matches($1, '''([^'']{1,255})(?='')', 'g') AS m,
			LATERAL regexp_split_to_table(m[1], ',') AS i
		UNION ALL
		SELECT i FROM regexp_matches($1, 'search_path\s*(?:=|\mto\M)\s*([^;'')]+)', 'gi') AS m,
			LATERAL regexp_split_to_table(m[1], ',') AS i
	) AS t(name)
	CROSS JOIN LATERAL (SELECT trim(BOTH E' \t\r\n' FROM t.name)) AS n(name)
$$;
COMMENT ON FUNCTION meter.audit_names(text) IS
'What in the text of a function may be the name of a schema, folded as SQL folds names';

CREATE FUNCTION meter.audit_body() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH function AS MATERIALIZED (
		SELECT p.oid, s.tenant, p.prosrc, l.lanname, c.path
		FROM pg_proc AS p
		JOIN pg_namespace AS n ON n.oid = p.pronamespace
		JOIN pg_language AS l ON l.oid = p.prolang
		LEFT JOIN meter.tenant_schema AS s ON s.schema = p.pronamespace
		LEFT JOIN LATERAL (SELECT c FROM unnest(p.proconfig) AS c WHERE c LIKE 'search\_path=%') AS c(path) ON true
		WHERE n.nspname <> 'information_schema' AND n.nspname <> 'meter' AND n.nspname NOT LIKE 'pg\_%'
			AND p.prokind <> 'a' AND l.lanname NOT IN ('internal', 'c')
			AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
				AND d.deptype = 'e')
	), text AS MATERIALIZED (
		-- tenants' functions are often copies
		SELECT t.text, s.tenant, s.schema_name
		FROM (SELECT f.prosrc FROM function AS f UNION SELECT f.path FROM function AS f) AS t(text)
		CROSS JOIN LATERAL meter.audit_names(t.text) AS n
		JOIN meter.tenant_schema AS s ON s.schema_name::text = n
	), named AS MATERIALIZED (
		SELECT u.oid, u.tenant, t.tenant AS other_tenant, t.schema_name, bool_and(u.by_path) AS by_path
		FROM (SELECT f.oid, f.tenant, f.prosrc, false FROM function AS f
			UNION ALL SELECT f.oid, f.tenant, f.path, true FROM function AS f) AS u(oid, tenant, text, by_path)
		JOIN text AS t ON t.text = u.text
		WHERE t.tenant IS DISTINCT FROM u.tenant
		GROUP BY u.oid, u.tenant, t.tenant, t.schema_name
	), reach AS MATERIALIZED (
		SELECT n.oid, meter.audit_reach('pg_proc'::regclass, n.oid) AS tenants
		FROM (SELECT DISTINCT oid FROM named WHERE tenant IS NULL) AS n
	), finding AS (
		SELECT n.oid, CASE WHEN n.tenant IS NULL AND r.tenants <@ ARRAY[n.other_tenant] THEN 'info' END AS severity,
			COALESCE(n.tenant, n.other_tenant) AS tenant, CASE WHEN n.tenant IS NOT NULL THEN n.other_tenant END AS other_tenant,
			format(CASE WHEN n.by_path THEN 'Its search_path names the schema %I.'
				ELSE 'Its text names the schema %I.' END, n.schema_name) AS detail
		FROM named AS n
		LEFT JOIN reach AS r ON r.oid = n.oid
		UNION ALL
		SELECT f.oid, 'info', f.tenant, NULL, 'It executes statements that it puts together when it runs.'
		FROM function AS f
		WHERE f.tenant IS NOT NULL AND f.lanname = 'plpgsql' AND f.prosrc ~* '\mexecute\M'
			AND NOT EXISTS (SELECT FROM named AS n WHERE n.oid = f.oid)
	)
	SELECT 15, f.severity, f.tenant, f.other_tenant, meter.object_identity('pg_proc'::regclass, f.oid, 0), f.detail,
		format('DROP ROUTINE IF EXISTS %s', f.oid::regprocedure)
	FROM finding AS f
$$;
COMMENT ON FUNCTION meter.audit_body() IS
'Rule 15 of the audit: functions whose text or search_path names another tenant''s schema, shared ones that another tenant may execute among them; as info, shared ones that none may, and those of tenants that execute what they put together';

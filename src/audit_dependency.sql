-- audit_dependency.sql: what of a tenant depends on what is another tenant's

-- SQL that ends a dependency: the object that depends is dropped, or, where
-- that would be its column with all it holds, the column is freed of what it
-- depends on.
CREATE FUNCTION meter.audit_remedy(classid oid, objid oid, objsubid integer, refclassid oid, refobjid oid)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		-- a column: of another type, or with the default collation
		WHEN c.relkind IN ('r', 'p', 'f', 'c') AND $3 > 0 THEN
			format('%sALTER %s %s ALTER %s %I TYPE %s',
				CASE WHEN a.atthasdef AND a.attgenerated = ''
					THEN format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT; ', c.oid::regclass, a.attname) END,
				CASE c.relkind WHEN 'c' THEN 'TYPE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
				c.oid::regclass, CASE c.relkind WHEN 'c' THEN 'ATTRIBUTE' ELSE 'COLUMN' END, a.attname,
				CASE WHEN $4 = 'pg_collation'::regclass
						THEN format('%s COLLATE pg_catalog."default"', format_type(a.atttypid, a.atttypmod))
					WHEN c.relkind IN ('r', 'p') THEN format('%s USING %I::text::%1$s', n.type, a.attname)
					ELSE n.type END)
		WHEN c.relkind IN ('r', 'p', 'f') AND $4 = 'pg_class'::regclass THEN
			format(CASE WHEN c.relispartition THEN 'ALTER TABLE %s DETACH PARTITION %s'
				ELSE 'ALTER TABLE %2$s NO INHERIT %1$s' END, $5::regclass, c.oid::regclass)
		WHEN c.relkind IN ('r', 'p') AND $4 = 'pg_type'::regclass THEN
			format('ALTER TABLE %s NOT OF', c.oid::regclass)
		-- a partition key cannot be changed: what it uses is to be nobody's
		WHEN c.relkind IN ('r', 'p') THEN
			(SELECT format('ALTER %s %s OWNER TO CURRENT_USER; ALTER %1$s %2$s SET SCHEMA public', upper(o.type), o.identity)
				FROM pg_identify_object($4, $5, 0) AS o)
		WHEN c.relkind = 'S' THEN format('ALTER SEQUENCE %s OWNED BY NONE', c.oid::regclass)
		WHEN k.conrelid <> 0 THEN
			format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', k.conrelid::regclass, k.conname)
		WHEN k.contypid <> 0 THEN
			format('ALTER DOMAIN %s DROP CONSTRAINT IF EXISTS %I', k.contypid::regtype, k.conname)
		WHEN d.oid IS NOT NULL THEN
			format('ALTER TABLE %s %s', d.adrelid::regclass, CASE a.attgenerated
				WHEN '' THEN format('ALTER COLUMN %I DROP DEFAULT', a.attname)
				WHEN 's' THEN format('ALTER COLUMN %I DROP EXPRESSION IF EXISTS', a.attname)
				ELSE format('DROP COLUMN %I', a.attname) END)
		WHEN w.rulename = '_RETURN' THEN
			format('DROP %s IF EXISTS %s', CASE v.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, v.oid::regclass)
		WHEN t.typtype = 'd' AND $4 = 'pg_proc'::regclass THEN
			format('ALTER DOMAIN %s DROP DEFAULT', t.oid::regtype)
		WHEN f.oid IS NOT NULL THEN
			(SELECT format('DROP OPERATOR FAMILY IF EXISTS %s', o.identity)
				FROM pg_identify_object('pg_opfamily'::regclass, f.oid, 0) AS o)
		ELSE (SELECT format('DROP %s IF EXISTS %s', upper(CASE o.type WHEN 'statistics object' THEN 'statistics' ELSE o.type END), o.identity)
			FROM pg_identify_object($1, $2, 0) AS o)
	END
	FROM (VALUES (1)) AS one
	LEFT JOIN pg_class AS c ON $1 = 'pg_class'::regclass AND c.oid = $2
	LEFT JOIN pg_attrdef AS d ON $1 = 'pg_attrdef'::regclass AND d.oid = $2
	LEFT JOIN pg_attribute AS a ON a.attrelid = COALESCE(d.adrelid, c.oid) AND a.attnum = COALESCE(d.adnum, $3)
		AND a.attnum > 0
	LEFT JOIN pg_type AS y ON y.oid = a.atttypid
	LEFT JOIN pg_type AS e ON e.oid = y.typelem AND y.typcategory = 'A'
	-- a domain becomes what it is made of, unless that is also foreign
	LEFT JOIN pg_type AS b ON b.oid = COALESCE(e.oid, y.oid) AND b.typtype = 'd'
	CROSS JOIN LATERAL (SELECT CASE
			WHEN b.oid IS NOT NULL AND EXISTS (SELECT FROM pg_type AS u
				WHERE u.oid = b.typbasetype AND u.typnamespace = 'pg_catalog'::regnamespace)
				THEN format_type(b.typbasetype, b.typtypmod) ELSE 'text' END
			|| CASE WHEN e.oid IS NOT NULL THEN '[]' ELSE '' END) AS n(type)
	-- an index may be that of a constraint, which pg_depend finds fastest
	LEFT JOIN pg_depend AS i ON i.classid = $1 AND i.objid = $2 AND i.objsubid = 0 AND c.relkind IN ('i', 'I')
		AND i.refclassid = 'pg_constraint'::regclass AND i.deptype = 'i'
	LEFT JOIN pg_constraint AS k ON k.oid = CASE WHEN $1 = 'pg_constraint'::regclass THEN $2 ELSE i.refobjid END
	LEFT JOIN pg_rewrite AS w ON $1 = 'pg_rewrite'::regclass AND w.oid = $2
	LEFT JOIN pg_class AS v ON v.oid = w.ev_class
	LEFT JOIN pg_type AS t ON $1 = 'pg_type'::regclass AND t.oid = $2
	LEFT JOIN pg_opfamily AS f ON f.oid = COALESCE(
		(SELECT o.amopfamily FROM pg_amop AS o WHERE $1 = 'pg_amop'::regclass AND o.oid = $2),
		(SELECT p.amprocfamily FROM pg_amproc AS p WHERE $1 = 'pg_amproc'::regclass AND p.oid = $2))
$$;
COMMENT ON FUNCTION meter.audit_remedy(oid, oid, integer, oid, oid) IS
'SQL that ends the dependency of one object (classid, objid, objsubid, as in pg_depend) on another (refclassid, refobjid)';

-- The dependencies that lead out of a schema and into a tenant's, each with the
-- rule that it is a finding of, and the object a user knows it by: a view
-- rather than its rule, a column rather than its default.  What pg_depend calls
-- internal, or a matter of partitions, is a part of something that has a
-- dependency of its own; only who owns a sequence is told by nothing else.
CREATE FUNCTION meter.audit_edge()
RETURNS TABLE (rule integer, tenant text, other_tenant text, object_class oid, object_id oid, object_sub integer,
	classid oid, objid oid, objsubid integer, refclassid oid, refobjid oid)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH object AS MATERIALIZED (
		SELECT o.classid, o.objid, o.schema, s.tenant
		FROM meter.schema_object AS o
		JOIN pg_namespace AS n ON n.oid = o.schema
		LEFT JOIN meter.tenant_schema AS s ON s.schema = o.schema
		WHERE n.nspname <> 'information_schema' AND n.nspname <> 'meter' AND n.nspname NOT LIKE 'pg\_%'
	), edge AS MATERIALIZED (
		SELECT DISTINCT f.tenant, t.tenant AS other_tenant, d.classid, d.objid, d.objsubid, d.refclassid, d.refobjid, d.deptype
		FROM pg_depend AS d
		JOIN object AS f ON f.classid = d.classid AND f.objid = d.objid
		JOIN object AS t ON t.classid = d.refclassid AND t.objid = d.refobjid
		WHERE t.tenant IS NOT NULL AND f.schema <> t.schema
	)
	SELECT CASE
		WHEN k.contype = 'f' THEN 1
		WHEN v.relkind = 'v' OR c.relkind = 'v' THEN 2
		WHEN v.relkind = 'm' OR c.relkind = 'm' THEN 3
		WHEN w.oid IS NOT NULL THEN 4
		WHEN g.oid IS NOT NULL OR k.contype = 't' THEN 7
		WHEN p.oid IS NOT NULL THEN 10
		WHEN e.classid = 'pg_statistic_ext'::regclass THEN 13
		WHEN k.oid IS NOT NULL THEN 8
		WHEN e.classid <> ALL (ARRAY['pg_class', 'pg_attrdef', 'pg_type', 'pg_proc']::regclass[]) THEN 12
		WHEN e.refclassid = 'pg_type'::regclass THEN 11
		WHEN e.refclassid <> ALL (ARRAY['pg_class', 'pg_proc']::regclass[]) THEN 12
		WHEN c.relkind = 'S' OR r.relkind = 'S' AND d.oid IS NOT NULL THEN 9
		WHEN c.relispartition AND r.relkind = 'p' THEN 6
		WHEN c.oid IS NOT NULL AND r.oid IS NOT NULL THEN 5
		WHEN e.classid = 'pg_proc'::regclass THEN 14
		WHEN y.typtype <> 'd' THEN 12
		ELSE 8
	END,
	e.tenant, e.other_tenant,
	CASE WHEN d.oid IS NOT NULL OR v.oid IS NOT NULL THEN 'pg_class'::regclass
		WHEN m.family IS NOT NULL THEN 'pg_opfamily'::regclass ELSE e.classid END,
	COALESCE(v.oid, d.adrelid, m.family, e.objid),
	CASE WHEN c.relkind IN ('v', 'm') THEN 0 ELSE COALESCE(d.adnum, e.objsubid) END,
	e.classid, e.objid, e.objsubid, e.refclassid, e.refobjid
	FROM edge AS e
	LEFT JOIN pg_class AS c ON e.classid = 'pg_class'::regclass AND c.oid = e.objid
	LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = e.objsubid AND e.objsubid > 0
	LEFT JOIN pg_type AS y ON e.classid = 'pg_type'::regclass AND y.oid = e.objid
	LEFT JOIN pg_constraint AS k ON e.classid = 'pg_constraint'::regclass AND k.oid = e.objid
	LEFT JOIN pg_attrdef AS d ON e.classid = 'pg_attrdef'::regclass AND d.oid = e.objid
	LEFT JOIN pg_trigger AS g ON e.classid = 'pg_trigger'::regclass AND g.oid = e.objid
	LEFT JOIN pg_policy AS p ON e.classid = 'pg_policy'::regclass AND p.oid = e.objid
	LEFT JOIN pg_rewrite AS w ON e.classid = 'pg_rewrite'::regclass AND w.oid = e.objid
	LEFT JOIN pg_class AS v ON v.oid = w.ev_class AND w.rulename = '_RETURN'
	LEFT JOIN (SELECT 'pg_amop'::regclass, oid, amopfamily FROM pg_amop
		UNION ALL SELECT 'pg_amproc'::regclass, oid, amprocfamily FROM pg_amproc) AS m(classid, objid, family)
		ON m.classid = e.classid AND m.objid = e.objid
	LEFT JOIN pg_class AS r ON e.refclassid = 'pg_class'::regclass AND r.oid = e.refobjid
	WHERE (e.deptype IN ('n', 'a') OR c.relkind = 'S')
		-- what a parent table hands down follows the parent
		AND a.attislocal IS NOT FALSE AND COALESCE(k.conparentid, 0) = 0 AND COALESCE(g.tgparentid, 0) = 0
		-- a foreign key also depends on the index of the key
		AND NOT (k.contype IS NOT DISTINCT FROM 'f' AND r.relkind IN ('i', 'I'))
$$;
COMMENT ON FUNCTION meter.audit_edge() IS
'Dependencies that lead into a tenant''s schema (other_tenant) from another tenant''s (tenant) or from a shared one (tenant null): the rule, the object as shown, and the two ends as in pg_depend';

-- Whom a shared object lets in: a view, a function, or the parent of a table.
CREATE FUNCTION meter.audit_reach(classid oid, objid oid) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT COALESCE(array_agg(s.tenant ORDER BY s.tenant), '{}')
	FROM (SELECT relnamespace FROM pg_class WHERE $1 = 'pg_class'::regclass AND oid = $2
		UNION ALL SELECT pronamespace FROM pg_proc WHERE $1 = 'pg_proc'::regclass AND oid = $2) AS o(schema)
	JOIN meter.tenant_schema AS s ON has_schema_privilege(s.role, o.schema, 'USAGE')
		AND CASE WHEN $1 = 'pg_class'::regclass THEN has_any_column_privilege(s.role, $2, 'SELECT')
			ELSE has_function_privilege(s.role, $2, 'EXECUTE') END
$$;
COMMENT ON FUNCTION meter.audit_reach(oid, oid) IS
'The tenants whose role may read a relation or execute a function (classid, objid, as in pg_depend)';

CREATE FUNCTION meter.audit_dependency() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH edge AS MATERIALIZED (
		SELECT e.rule, e.tenant, e.other_tenant, e.object_class, e.object_id, e.object_sub,
			string_agg(DISTINCT meter.object_identity(e.refclassid, e.refobjid, 0), ', ') AS used,
			(array_agg(meter.audit_remedy(e.classid, e.objid, e.objsubid, e.refclassid, e.refobjid)
				ORDER BY e.classid, e.refclassid))[1] AS remedy
		FROM meter.audit_edge() AS e
		GROUP BY e.rule, e.tenant, e.other_tenant, e.object_class, e.object_id, e.object_sub
	), child AS MATERIALIZED (
		SELECT s.tenant, c.oid, c.relispartition, p.oid AS parent
		FROM pg_inherits AS i
		JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relkind NOT IN ('i', 'I')
		JOIN meter.tenant_schema AS s ON s.schema = c.relnamespace
		JOIN pg_class AS p ON p.oid = i.inhparent
		WHERE NOT EXISTS (SELECT FROM meter.tenant_schema AS o WHERE o.schema = p.relnamespace)
	), reach AS MATERIALIZED (
		SELECT o.classid, o.objid, meter.audit_reach(o.classid, o.objid) AS tenants
		FROM (SELECT e.object_class, e.object_id FROM edge AS e WHERE e.tenant IS NULL AND e.rule IN (2, 3, 14)
			UNION SELECT 'pg_class'::regclass, c.parent FROM child AS c) AS o(classid, objid)
	)
	SELECT e.rule,
		CASE WHEN e.tenant IS NOT NULL THEN NULL
			WHEN r.tenants <> '{}' AND r.tenants <> ARRAY[e.other_tenant] THEN 'warning'
			ELSE 'info' END,
		COALESCE(e.tenant, e.other_tenant), CASE WHEN e.tenant IS NOT NULL THEN e.other_tenant END,
		meter.object_identity(e.object_class, e.object_id, e.object_sub),
		CASE WHEN e.tenant IS NOT NULL THEN format('It depends on %s.', e.used)
			ELSE format('It is in no tenant''s schema, and depends on %s.', e.used) END,
		e.remedy
	FROM edge AS e
	LEFT JOIN reach AS r ON r.classid = e.object_class AND r.objid = e.object_id AND e.tenant IS NULL
	UNION ALL
	SELECT CASE WHEN c.relispartition THEN 6 ELSE 5 END,
		CASE WHEN r.tenants <> '{}' AND r.tenants <> ARRAY[c.tenant] THEN 'warning' ELSE 'info' END,
		c.tenant, NULL, meter.object_identity('pg_class'::regclass, c.oid, 0),
		format('Who may read %s, which is in no tenant''s schema, reads its rows.', c.parent::regclass),
		meter.audit_remedy('pg_class'::regclass, c.oid, 0, 'pg_class'::regclass, c.parent)
	FROM child AS c
	JOIN reach AS r ON r.classid = 'pg_class'::regclass AND r.objid = c.parent
$$;
COMMENT ON FUNCTION meter.audit_dependency() IS
'Rules 1 to 14 of the audit: dependencies between tenants, and of shared objects on a tenant''s, which are a warning if another tenant may use them and info if not';

-- audit_privilege.sql: who has rights on what is a tenant's
--
-- Roles work for a tenant (audit_worker), and have the rights of all roles that
-- they belong to (audit_role).  Each membership counts, also one that inherits
-- nothing: SET ROLE, or the admin option, is enough to get at the rights.

-- Those who reach several tenants' roles are a pooled application, and those who
-- may make roles are an administrator: they work for nobody in particular.
CREATE FUNCTION meter.audit_worker() RETURNS TABLE (tenant text, role oid, is_member boolean)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE up(role, tenant) AS (
		SELECT r.oid, t.tenant
		FROM meter.tenant AS t JOIN pg_roles AS r ON r.rolname = t.role_name
		UNION
		SELECT m.member, u.tenant FROM up AS u JOIN pg_auth_members AS m ON m.roleid = u.role
	)
	SELECT t.tenant, r.oid, false
	FROM meter.tenant AS t JOIN pg_roles AS r ON r.rolname = t.role_name
	UNION ALL
	SELECT min(u.tenant), u.role, true
	FROM up AS u
	JOIN pg_roles AS r ON r.oid = u.role AND NOT r.rolsuper AND NOT r.rolcreaterole
	WHERE NOT EXISTS (SELECT FROM meter.tenant AS t WHERE t.role_name = r.rolname)
	GROUP BY u.role
	HAVING count(*) = 1
$$;
COMMENT ON FUNCTION meter.audit_worker() IS
'Who works for one tenant: its role, and the members (is_member) of that role that are of no other tenant''s, superusers and those with CREATEROLE apart';

CREATE FUNCTION meter.audit_role()
RETURNS TABLE (tenant text, worker oid, is_member boolean, role oid)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE down(tenant, worker, is_member, role) AS (
		SELECT w.tenant, w.role, w.is_member, w.role FROM meter.audit_worker() AS w
		UNION
		SELECT d.tenant, d.worker, d.is_member, m.roleid
		FROM down AS d JOIN pg_auth_members AS m ON m.member = d.role
	)
	SELECT * FROM down
$$;
COMMENT ON FUNCTION meter.audit_role() IS
'The roles whose rights those who work for a tenant have: their own and those they belong to, directly or not';

-- Row types of tables and array types have the rights of what they are made of,
-- so theirs count only if somebody has set them.
CREATE FUNCTION meter.audit_grant()
RETURNS TABLE (tenant text, role oid, schema oid, classid oid, objid oid, objsubid integer, definer boolean,
	owner oid, grantor oid, grantee oid, grantable boolean, privileges text)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT s.tenant, s.role, s.schema, o.classid, o.objid, o.objsubid, o.definer, o.owner,
		a.grantor, a.grantee, bool_or(a.is_grantable), string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
	FROM (
		SELECT 'pg_class'::regclass, c.oid, 0, false, c.relnamespace, c.relowner, c.relacl
		FROM pg_class AS c WHERE c.relacl IS NOT NULL
		UNION ALL
		SELECT 'pg_class'::regclass, c.oid, a.attnum, false, c.relnamespace, c.relowner, a.attacl
		FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
		WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
		UNION ALL
		SELECT 'pg_proc'::regclass, p.oid, 0, p.prosecdef, p.pronamespace, p.proowner,
			COALESCE(p.proacl, acldefault('f', p.proowner))
		FROM pg_proc AS p
		UNION ALL
		SELECT 'pg_type'::regclass, t.oid, 0, false, t.typnamespace, t.typowner,
			COALESCE(t.typacl, acldefault('T', t.typowner))
		FROM pg_type AS t
		LEFT JOIN pg_class AS c ON c.oid = t.typrelid
		WHERE t.typacl IS NOT NULL
			OR (t.typcategory <> 'A' AND t.typtype <> 'm' AND (c.oid IS NULL OR c.relkind = 'c'))
	) AS o(classid, objid, objsubid, definer, schema, owner, acl)
	JOIN meter.tenant_schema AS s ON s.schema = o.schema
	CROSS JOIN LATERAL aclexplode(o.acl) AS a
	WHERE a.grantee <> o.owner
	GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
$$;
COMMENT ON FUNCTION meter.audit_grant() IS
'The rights on objects in tenants'' schemas of others than the objects'' owners, the default ones among them';

-- REVOKE names a function or type by other words than ALTER and DROP do.  What
-- others than the owner have granted, only they or the loss of their grant
-- option can take back.
CREATE FUNCTION meter.audit_revoke(classid oid, objid oid, objsubid integer, grantee oid, owner oid, grantor oid,
	option_only boolean)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('REVOKE %sALL%s ON %s FROM %s CASCADE',
		CASE WHEN $7 OR $6 <> $5 THEN 'GRANT OPTION FOR ' END,
		CASE WHEN $3 > 0 THEN (SELECT format(' (%I)', a.attname) FROM pg_attribute AS a
			WHERE a.attrelid = $2 AND a.attnum = $3) END,
		CASE $1
			WHEN 'pg_proc'::regclass THEN format('ROUTINE %s', $2::regprocedure)
			WHEN 'pg_type'::regclass THEN format('TYPE %s', $2::regtype)
			WHEN 'pg_namespace'::regclass THEN format('SCHEMA %s', $2::regnamespace)
			ELSE (SELECT format('%s %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass)
				FROM pg_class AS c WHERE c.oid = $2) END,
		CASE WHEN $6 <> $5 AND NOT $7 THEN $6::regrole::text
			WHEN $4 = 0 THEN 'PUBLIC' ELSE $4::regrole::text END)
$$;
COMMENT ON FUNCTION meter.audit_revoke(oid, oid, integer, oid, oid, oid, boolean) IS
'SQL that takes back what a grantor has given to a grantee (0: PUBLIC) on an object (classid, objid, objsubid, as in pg_depend), or its grant option only';

-- Rules 20, 21, 23 and 29.
CREATE FUNCTION meter.audit_acl() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH reach AS MATERIALIZED (
		SELECT r.role, min(r.tenant) AS first, max(r.tenant) AS last, count(DISTINCT r.tenant) AS tenants
		FROM meter.audit_role() AS r GROUP BY r.role
	), right_of AS MATERIALIZED (
		SELECT * FROM meter.audit_grant()
		UNION ALL
		SELECT s.tenant, s.role, s.schema, 'pg_namespace'::regclass, s.schema, 0, false, n.nspowner,
			a.grantor, a.grantee, bool_or(a.is_grantable), string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
		FROM meter.tenant_schema AS s
		JOIN pg_namespace AS n ON n.oid = s.schema
		CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
		WHERE a.grantee <> n.nspowner
		GROUP BY 1, 2, 3, 5, 8, 9, 10
	), open AS (
		SELECT DISTINCT r.objid AS schema FROM right_of AS r
		WHERE r.classid = 'pg_namespace'::regclass AND r.grantee = 0
	)
	-- a right on a function or type needs the schema's, and one on a sequence does not
	SELECT CASE r.classid WHEN 'pg_namespace'::regclass THEN 23 ELSE 20 END,
		CASE WHEN r.classid = 'pg_proc'::regclass AND o.schema IS NULL THEN 'warning'
			WHEN r.classid = 'pg_type'::regclass AND o.schema IS NULL THEN 'info'
			WHEN r.classid = 'pg_type'::regclass THEN 'warning' END,
		r.tenant, NULL, meter.object_identity(r.classid, r.objid, r.objsubid),
		format('Everybody has %s.', r.privileges),
		meter.audit_revoke(r.classid, r.objid, r.objsubid, 0, r.owner, r.grantor, false)
	FROM right_of AS r
	LEFT JOIN open AS o ON o.schema = r.schema
	WHERE r.grantee = 0 AND NOT r.definer
	UNION ALL
	-- a group that all tenants belong to is one finding
	SELECT CASE r.classid WHEN 'pg_namespace'::regclass THEN 23 ELSE 21 END, NULL,
		r.tenant, t.other, meter.object_identity(r.classid, r.objid, r.objsubid),
		format('%s has %s%s.', r.grantee::regrole, r.privileges,
			CASE WHEN g.tenants > 1 THEN format(', with the rights of which %s tenants work', g.tenants) END),
		meter.audit_revoke(r.classid, r.objid, r.objsubid, r.grantee, r.owner, r.grantor, false)
	FROM right_of AS r
	JOIN reach AS g ON g.role = r.grantee
	CROSS JOIN LATERAL (SELECT CASE WHEN g.first <> r.tenant THEN g.first ELSE g.last END) AS t(other)
	WHERE t.other <> r.tenant AND r.grantee IS DISTINCT FROM r.role
	UNION ALL
	SELECT 23, 'info', r.tenant, NULL, meter.object_identity(r.classid, r.objid, 0),
		format('%s has %s.', r.grantee::regrole, r.privileges),
		meter.audit_revoke(r.classid, r.objid, 0, r.grantee, r.owner, r.grantor, false)
	FROM right_of AS r
	JOIN pg_roles AS o ON o.oid = r.grantee AND NOT o.rolsuper
	LEFT JOIN reach AS g ON g.role = r.grantee
	WHERE r.classid = 'pg_namespace'::regclass AND g.role IS NULL
	UNION ALL
	SELECT 29, NULL, r.tenant, NULL, meter.object_identity(r.classid, r.objid, r.objsubid),
		format('%s may hand on %s.', r.grantee::regrole, r.privileges),
		meter.audit_revoke(r.classid, r.objid, r.objsubid, r.grantee, r.owner, r.grantor, true)
	FROM right_of AS r
	JOIN pg_roles AS o ON o.oid = r.grantee AND NOT o.rolsuper
	WHERE r.grantable AND r.grantee IS DISTINCT FROM r.role
	UNION ALL
	-- shared schemas, of which a tenant that may make objects there makes use for others
	SELECT 23, CASE WHEN a.grantee <> 0 THEN 'warning' END, CASE WHEN g.tenants = 1 THEN g.first END, NULL,
		meter.object_identity('pg_namespace'::regclass, n.oid, 0),
		format('%s may make objects in it, which is no tenant''s schema.',
			CASE a.grantee WHEN 0 THEN 'Everybody' ELSE a.grantee::regrole::text END),
		meter.audit_revoke('pg_namespace'::regclass, n.oid, 0, a.grantee, n.nspowner, a.grantor, false)
			|| CASE WHEN a.grantee = 0 AND a.grantor = n.nspowner AND n.nspname = 'public'
				THEN '; GRANT USAGE ON SCHEMA public TO PUBLIC' ELSE '' END
	FROM pg_namespace AS n
	CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
	LEFT JOIN reach AS g ON g.role = a.grantee
	WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner AND (a.grantee = 0 OR g.role IS NOT NULL)
		AND n.nspname NOT LIKE 'pg\_%' AND EXISTS (SELECT FROM meter.tenant_schema)
		AND NOT EXISTS (SELECT FROM meter.tenant_schema AS s WHERE s.schema = n.oid)
$$;
COMMENT ON FUNCTION meter.audit_acl() IS
'Rules 20, 21, 23 and 29 of the audit: rights on tenants'' schemas and what is in them';

-- Rules 25 to 28.  What a membership gives is taken away where it begins: at
-- the grant to the last role on the way that is not itself part of the server.
CREATE FUNCTION meter.audit_membership() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH reach AS MATERIALIZED (
		SELECT * FROM meter.audit_role()
	), given AS MATERIALIZED (
		SELECT r.tenant, r.worker, r.is_member, m.roleid AS role, string_agg(DISTINCT
			format('REVOKE %s FROM %s%s CASCADE', m.roleid::regrole, m.member::regrole,
				' GRANTED BY ' || g.oid::regrole::text), '; ') AS remedy
		FROM reach AS r
		JOIN pg_auth_members AS m ON m.member = r.role
		LEFT JOIN pg_roles AS g ON g.oid = m.grantor
		JOIN pg_roles AS b ON b.oid = m.member AND NOT starts_with(b.rolname::text, 'pg_')
		GROUP BY 1, 2, 3, 4
	), tenant_role AS MATERIALIZED (
		SELECT t.tenant, r.oid FROM meter.tenant AS t JOIN pg_roles AS r ON r.rolname = t.role_name
	)
	SELECT 25, NULL, g.tenant, t.tenant, format('role %s', g.worker::regrole),
		format('It is a member of %s.', t.oid::regrole), g.remedy
	FROM given AS g
	JOIN tenant_role AS t ON t.oid = g.role AND t.tenant <> g.tenant
	UNION ALL
	SELECT 26, CASE WHEN r.is_member THEN 'warning' END, r.tenant, NULL, format('role %s', r.worker::regrole),
		CASE WHEN r.role = r.worker THEN format('It has %s.', array_to_string(a.attributes, ', '))
			ELSE format('It is a member of %s, which has %s.', r.role::regrole, array_to_string(a.attributes, ', ')) END,
		CASE WHEN r.role = r.worker THEN format('ALTER ROLE %s NO%s', r.worker::regrole, array_to_string(a.attributes, ' NO'))
			ELSE g.remedy END
	FROM reach AS r
	JOIN pg_roles AS o ON o.oid = r.role
	CROSS JOIN LATERAL (SELECT array_remove(ARRAY[
		CASE WHEN o.rolsuper THEN 'SUPERUSER' END, CASE WHEN o.rolbypassrls THEN 'BYPASSRLS' END,
		CASE WHEN o.rolreplication THEN 'REPLICATION' END, CASE WHEN o.rolcreaterole THEN 'CREATEROLE' END,
		CASE WHEN o.rolcreatedb THEN 'CREATEDB' END], NULL)) AS a(attributes)
	LEFT JOIN given AS g ON g.worker = r.worker AND g.tenant = r.tenant AND g.role = r.role
	WHERE a.attributes <> '{}'
		-- another's role is told of as a membership, and so is one's own to its members
		AND (r.role = r.worker OR NOT EXISTS (SELECT FROM tenant_role AS t WHERE t.oid = r.role))
	UNION ALL
	SELECT 27, CASE WHEN g.is_member OR p.rolname = ANY (ARRAY['pg_checkpoint', 'pg_read_all_settings',
			'pg_use_reserved_connections', 'pg_signal_autovacuum_worker']::name[]) THEN 'warning' END,
		g.tenant, NULL, format('role %s', g.worker::regrole), format('It is a member of %s.', g.role::regrole), g.remedy
	FROM given AS g
	JOIN pg_roles AS p ON p.oid = g.role AND starts_with(p.rolname::text, 'pg_')
	UNION ALL
	SELECT 28, NULL, NULL, NULL, format('role %s', r.oid::regrole),
		format('It logs in, and is a member of %s tenants'' roles.', count(DISTINCT t.tenant)),
		string_agg(DISTINCT format('REVOKE %s FROM %s%s CASCADE', m.roleid::regrole, m.member::regrole,
			' GRANTED BY ' || g.oid::regrole::text), '; ')
	FROM pg_roles AS r
	JOIN pg_auth_members AS m ON m.member = r.oid
	JOIN tenant_role AS t ON t.oid = m.roleid
	LEFT JOIN pg_roles AS g ON g.oid = m.grantor
	WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT EXISTS (SELECT FROM tenant_role AS o WHERE o.oid = r.oid)
	GROUP BY r.oid
	HAVING count(DISTINCT t.tenant) > 1
$$;
COMMENT ON FUNCTION meter.audit_membership() IS
'Rules 25 to 28 of the audit: what tenants'' roles are and belong to, and who belongs to several';

-- Rules 22 and 24.  Objects of the superuser who made the database cluster are
-- not noted in pg_shdepend: those let in no tenant.
CREATE FUNCTION meter.audit_owner() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH reach AS MATERIALIZED (
		SELECT r.role, min(r.tenant) AS first, max(r.tenant) AS last FROM meter.audit_role() AS r GROUP BY r.role
	), kind(objtype, word) AS (
		VALUES ('r'::"char", 'TABLES'), ('S', 'SEQUENCES'), ('f', 'FUNCTIONS'), ('T', 'TYPES'), ('n', 'SCHEMAS'), ('L', 'LARGE OBJECTS')
	), given AS MATERIALIZED (
		SELECT COALESCE(s.tenant, w.tenant) AS tenant, d.defaclrole, d.defaclnamespace, k.word, a.grantee,
			string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS privileges
		FROM pg_default_acl AS d
		JOIN kind AS k ON k.objtype = d.defaclobjtype
		LEFT JOIN meter.tenant_schema AS s ON s.schema = d.defaclnamespace
		LEFT JOIN meter.audit_worker() AS w ON w.role = d.defaclrole
		CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
		WHERE a.grantee <> d.defaclrole AND (s.tenant IS NOT NULL OR w.tenant IS NOT NULL)
		GROUP BY 1, 2, 3, 4, 5
	)
	SELECT 22, NULL, g.tenant, t.other, format('default privileges of %s on %s%s', g.defaclrole::regrole, lower(g.word),
			CASE WHEN g.defaclnamespace <> 0 THEN format(' in schema %s', g.defaclnamespace::regnamespace) END),
		format('%s will have %s.', CASE g.grantee WHEN 0 THEN 'Everybody' ELSE g.grantee::regrole::text END, g.privileges),
		format('ALTER DEFAULT PRIVILEGES FOR ROLE %s%s REVOKE ALL ON %s FROM %s', g.defaclrole::regrole,
			CASE WHEN g.defaclnamespace <> 0 THEN format(' IN SCHEMA %s', g.defaclnamespace::regnamespace) END,
			g.word, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END)
	FROM given AS g
	LEFT JOIN reach AS r ON r.role = g.grantee
	CROSS JOIN LATERAL (SELECT CASE WHEN r.first <> g.tenant THEN r.first ELSE NULLIF(r.last, g.tenant) END) AS t(other)
	WHERE g.grantee = 0 OR t.other IS NOT NULL
	UNION ALL
	-- what the server gives to everybody unless told not to
	SELECT 22, k.severity, s.tenant, NULL, format('default privileges of %s on %s', s.role::regrole, lower(k.word)),
		format('Everybody will have %s, as there are no others.', k.privilege),
		format('ALTER DEFAULT PRIVILEGES FOR ROLE %s REVOKE %s ON %s FROM PUBLIC', s.role::regrole, k.privilege, k.word)
	FROM meter.tenant_schema AS s
	CROSS JOIN (VALUES ('f'::"char", 'FUNCTIONS', 'EXECUTE', NULL), ('T', 'TYPES', 'USAGE', 'info'))
		AS k(objtype, word, privilege, severity)
	WHERE s.role IS NOT NULL AND NOT EXISTS (SELECT FROM pg_default_acl AS d
		WHERE d.defaclrole = s.role AND d.defaclnamespace = 0 AND d.defaclobjtype = k.objtype)
	UNION ALL
	SELECT 24, CASE WHEN t.other IS NULL THEN 'info' END, s.tenant, t.other, o.type || ' ' || o.identity,
		format('It belongs to %s.', d.refobjid::regrole),
		format('ALTER %s %s OWNER TO %s',
			upper(CASE o.type WHEN 'statistics object' THEN 'statistics' WHEN 'composite type' THEN 'type' ELSE o.type END),
			o.identity, COALESCE(s.role::regrole::text, 'CURRENT_USER'))
	FROM (
		SELECT b.classid, b.objid, b.schema FROM meter.schema_object AS b
		UNION ALL SELECT 'pg_namespace'::regclass, x.schema, x.schema FROM meter.tenant_schema AS x
	) AS b
	JOIN meter.tenant_schema AS s ON s.schema = b.schema
	JOIN pg_shdepend AS d ON d.classid = b.classid AND d.objid = b.objid AND d.objsubid = 0 AND d.deptype = 'o'
		AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
	JOIN pg_roles AS r ON r.oid = d.refobjid
	LEFT JOIN reach AS e ON e.role = d.refobjid
	CROSS JOIN LATERAL (SELECT CASE WHEN e.first <> s.tenant THEN e.first ELSE NULLIF(e.last, s.tenant) END) AS t(other)
	CROSS JOIN LATERAL pg_identify_object(b.classid, b.objid, 0) AS o
	WHERE d.refobjid IS DISTINCT FROM s.role AND (t.other IS NOT NULL OR (s.role IS NOT NULL AND NOT r.rolsuper))
		-- the owner of a column's sequence is that of the table
		AND NOT EXISTS (SELECT FROM pg_depend AS p JOIN pg_class AS c ON c.oid = p.objid AND c.relkind = 'S'
			WHERE p.classid = 'pg_class'::regclass AND b.classid = 'pg_class'::regclass AND p.objid = b.objid
				AND p.refclassid = 'pg_class'::regclass AND p.refobjsubid > 0 AND p.deptype IN ('a', 'i'))
$$;
COMMENT ON FUNCTION meter.audit_owner() IS
'Rules 22 and 24 of the audit: default privileges, and owners of what is in tenants'' schemas';

-- Rules 30 and 31.
CREATE FUNCTION meter.audit_shared_right() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH reach AS MATERIALIZED (
		SELECT r.role, min(r.tenant) AS first, count(DISTINCT r.tenant) AS tenants FROM meter.audit_role() AS r GROUP BY r.role
	), right_of AS MATERIALIZED (
		SELECT o.rule, o.object, o.target, a.grantee, a.privilege_type, CASE WHEN g.tenants = 1 THEN g.first END AS tenant
		FROM (
			SELECT 30, format('database %I', d.datname), format('DATABASE %I', d.datname), d.datdba,
				COALESCE(d.datacl, acldefault('d', d.datdba))
			FROM pg_database AS d WHERE d.datname = current_database()
			UNION ALL
			SELECT 31, format('tablespace %I', s.spcname), format('TABLESPACE %I', s.spcname), s.spcowner, s.spcacl
			FROM pg_tablespace AS s
			UNION ALL
			SELECT 31, format('large object %s', l.oid), format('LARGE OBJECT %s', l.oid), l.lomowner, l.lomacl
			FROM pg_largeobject_metadata AS l
			UNION ALL
			SELECT 31, format('parameter %s', p.parname), format('PARAMETER %s', p.parname), 10, p.paracl
			FROM pg_parameter_acl AS p
		) AS o(rule, object, target, owner, acl)
		CROSS JOIN LATERAL aclexplode(o.acl) AS a
		LEFT JOIN reach AS g ON g.role = a.grantee
		WHERE a.grantee <> o.owner AND (a.grantee = 0 OR g.role IS NOT NULL)
			AND EXISTS (SELECT FROM meter.tenant_schema)
	)
	SELECT r.rule, CASE
			WHEN r.privilege_type = 'CREATE' AND r.rule = 30 AND r.grantee = 0 THEN 'critical'
			WHEN r.privilege_type = 'ALTER SYSTEM' THEN 'critical'
			WHEN r.privilege_type = ANY (ARRAY['TEMPORARY', 'CONNECT']) THEN 'info' END,
		r.tenant, NULL, r.object,
		format('%s has %s.', CASE r.grantee WHEN 0 THEN 'Everybody' ELSE r.grantee::regrole::text END, r.privilege_type),
		format('REVOKE %s ON %s FROM %s CASCADE', r.privilege_type, r.target,
			CASE r.grantee WHEN 0 THEN 'PUBLIC' ELSE r.grantee::regrole::text END)
	FROM right_of AS r
	UNION ALL
	SELECT 30, 'critical', g.first, NULL, format('database %I', d.datname),
		format('It belongs to %s, as whom a tenant works.', d.datdba::regrole),
		format('ALTER DATABASE %I OWNER TO CURRENT_USER', d.datname)
	FROM pg_database AS d
	JOIN reach AS g ON g.role = d.datdba
	WHERE d.datname = current_database()
	UNION ALL
	-- only a superuser makes these, for what no right on the database stops
	SELECT 31, NULL, s.tenant, NULL, meter.object_identity('pg_proc'::regclass, p.oid, 0),
		format('It is written in %I, an untrusted language.', l.lanname),
		format('DROP ROUTINE IF EXISTS %s CASCADE', p.oid::regprocedure)
	FROM pg_proc AS p
	JOIN meter.tenant_schema AS s ON s.schema = p.pronamespace
	JOIN pg_language AS l ON l.oid = p.prolang AND NOT l.lanpltrusted
	WHERE p.prokind <> 'a' AND NOT EXISTS (SELECT FROM pg_depend AS d
		WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
$$;
COMMENT ON FUNCTION meter.audit_shared_right() IS
'Rules 30 and 31 of the audit: rights on the database, tablespaces, large objects and settings, and functions in untrusted languages';

CREATE FUNCTION meter.audit_privilege() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT * FROM meter.audit_acl()
	UNION ALL SELECT * FROM meter.audit_owner()
	UNION ALL SELECT * FROM meter.audit_membership()
	UNION ALL SELECT * FROM meter.audit_shared_right()
$$;
COMMENT ON FUNCTION meter.audit_privilege() IS
'Rules 20 to 31 of the audit: rights on what is a tenant''s, and of the roles that tenants work as';

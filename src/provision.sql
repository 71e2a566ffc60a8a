-- provision.sql: a schema and a role for each tenant

-- The default name of a tenant's schema and role.  One that is too long for an
-- identifier is cut, which the cast does, behind a hash of all of it, so that two
-- do not clash.
CREATE FUNCTION meter.default_schema_name(tenant text) RETURNS name
LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN octet_length(tenant) <= 56 THEN ('tenant_' || tenant)::name
	ELSE ('tenant_' || left(md5(tenant), 16) || '_' || tenant)::name END;
COMMENT ON FUNCTION meter.default_schema_name(text) IS
'The name of the schema and the role that meter_create_tenant() makes for a tenant: tenant_ and its name, or if that is above 63 bytes a hash of it and its beginning';

-- A right for each tenant on each table would be a long list on each, so that
-- there is one role which has the rights, and to which tenants' roles belong.
-- Roles are of all databases together.
CREATE FUNCTION meter.make_tenant_group() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF to_regrole('meter_tenant') IS NULL THEN
		BEGIN
			CREATE ROLE meter_tenant NOLOGIN;
			COMMENT ON ROLE meter_tenant IS 'what all tenants may do with meter';
		EXCEPTION WHEN duplicate_object OR unique_violation THEN
			NULL;			-- by another session, of this or another database
		END;
	END IF;
	IF NOT has_table_privilege('meter_tenant', 'meter.bill_line', 'SELECT') THEN
		PERFORM @extschema@.meter_grant('meter_tenant', 'tenant');
	END IF;
END
$$;
COMMENT ON FUNCTION meter.make_tenant_group() IS
'Make the role meter_tenant, if it is not there, and give it what meter_grant(..., ''tenant'') gives';

-- Why a role that is there cannot be a tenant's; null: it can.  Memberships count
-- whether they inherit or not, since SET ROLE makes use of them, and also the
-- other way round: who belongs to a tenant's role works for that tenant.
CREATE FUNCTION meter.role_obstacle(of_tenant text, role oid) RETURNS text
LANGUAGE SQL STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
	SELECT o.obstacle
	FROM (
		SELECT 1, r.oid <> $2, r.rolname, format(CASE
				WHEN r.oid = $2 THEN 'It has %2$s, and could reach what is other tenants''.'
				WHEN a.attribute IS NOT NULL THEN 'It belongs to %1$s, which has %2$s.'
				WHEN t.tenant IS NOT NULL THEN 'It belongs to %1$s, the role of tenant "%3$s".'
				ELSE 'It belongs to the predefined role %1$s.' END, r.rolname, a.attribute, t.tenant)
		FROM pg_roles AS r
		CROSS JOIN LATERAL (SELECT CASE
			WHEN r.rolsuper THEN 'SUPERUSER'
			WHEN r.rolbypassrls THEN 'BYPASSRLS'
			WHEN r.rolreplication THEN 'REPLICATION'
			WHEN r.rolcreaterole THEN 'CREATEROLE'
			WHEN r.rolcreatedb THEN 'CREATEDB' END) AS a(attribute)
		LEFT JOIN meter.tenant AS t ON t.role_name = r.rolname AND t.tenant <> $1
		WHERE pg_has_role($2, r.oid, 'MEMBER')
			AND (a.attribute IS NOT NULL OR t.tenant IS NOT NULL OR starts_with(r.rolname::text, 'pg_'))
		UNION ALL
		SELECT 2, true, r.rolname, format('%s, the role of tenant "%s", belongs to it.', r.rolname, t.tenant)
		FROM meter.tenant AS t
		JOIN pg_roles AS r ON r.rolname = t.role_name AND NOT r.rolsuper
		WHERE t.tenant <> $1 AND pg_has_role(r.oid, $2, 'MEMBER')
	) AS o(direction, is_other, rolname, obstacle)
	ORDER BY o.direction, o.is_other, o.rolname LIMIT 1;
END;
COMMENT ON FUNCTION meter.role_obstacle(text, oid) IS
'Why a role cannot be that of a tenant: it could reach what is other tenants'', or they what is its. Null: it can';

CREATE FUNCTION @extschema@.meter_create_tenant(
	tenant text,
	plan text DEFAULT NULL,
	schema_name name DEFAULT NULL,
	role_name name DEFAULT NULL,
	time_zone text DEFAULT NULL,
	currency text DEFAULT NULL,
	customer text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	new_schema CONSTANT name := coalesce($3, meter.default_schema_name($1));
	-- of a tenant that returns, the role that it has had
	kept_role CONSTANT name := (SELECT t.role_name FROM meter.tenant AS t WHERE t.tenant = $1);
	new_role CONSTANT name := coalesce($4, kept_role, meter.default_schema_name($1));
	found_role oid;
	other text;
	obstacle text;
BEGIN
	IF $1 IS NULL THEN
		RAISE EXCEPTION 'tenant must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	SELECT t.tenant INTO other FROM meter.tenant AS t WHERE t.tenant = $1 AND t.schema_name IS NOT NULL;
	IF FOUND THEN
		RAISE EXCEPTION 'tenant "%" has a schema already', $1 USING ERRCODE = 'duplicate_object',
			HINT = 'meter_drop_tenant() archives or drops it.';
	END IF;
	SELECT t.tenant INTO other FROM meter.tenant AS t WHERE t.tenant <> $1
		AND (t.schema_name = new_schema OR t.role_name = new_role);
	IF FOUND THEN
		RAISE EXCEPTION 'schema "%" or role "%" is that of another tenant', new_schema, new_role
			USING ERRCODE = 'duplicate_object', DETAIL = format('It belongs to tenant "%s".', other);
	END IF;
	IF to_regnamespace(quote_ident(new_schema)) IS NOT NULL THEN
		RAISE EXCEPTION 'schema "%" exists already', new_schema USING ERRCODE = 'duplicate_schema',
			HINT = 'Give another schema_name, or have the schema adopted with meter_adopt_tenants().';
	END IF;
	SELECT r.oid INTO found_role FROM pg_roles AS r WHERE r.rolname = new_role;
	IF found_role IS NOT NULL AND $4 IS NULL AND kept_role IS NULL THEN
		RAISE EXCEPTION 'role "%" exists already', new_role USING ERRCODE = 'duplicate_object',
			HINT = 'Give it as role_name if it shall be the tenant''s, or give another.';
	END IF;
	obstacle := meter.role_obstacle($1, found_role);
	IF obstacle IS NOT NULL AND NOT starts_with(new_role::text, 'pg_') THEN
		RAISE EXCEPTION 'role "%" cannot be a tenant''s', new_role
			USING ERRCODE = 'invalid_parameter_value', DETAIL = obstacle;
	END IF;

	-- first, as its constraints know which names cannot be
	INSERT INTO meter.tenant AS t (tenant, plan, schema_name, role_name, time_zone, currency, customer)
	VALUES ($1, $2, new_schema, new_role, coalesce($5, 'UTC'), $6, $7)
	ON CONFLICT (tenant) DO UPDATE SET
		plan = coalesce(EXCLUDED.plan, t.plan),
		schema_name = EXCLUDED.schema_name, role_name = EXCLUDED.role_name,
		time_zone = CASE WHEN $5 IS NULL THEN t.time_zone ELSE EXCLUDED.time_zone END,
		currency = coalesce(EXCLUDED.currency, t.currency),
		customer = coalesce(EXCLUDED.customer, t.customer),
		-- as meter_change_plan() has it for those who return
		status = CASE t.status WHEN 'cancelled' THEN 'active' ELSE t.status END
	WHERE t.schema_name IS NULL;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'tenant "%" has a schema already', $1 USING ERRCODE = 'duplicate_object',
			DETAIL = 'Another session has made it just now.';
	END IF;
	IF found_role IS NULL THEN
		EXECUTE format('CREATE ROLE %I NOLOGIN', new_role);
		EXECUTE format('COMMENT ON ROLE %I IS %L', new_role, meter.made_role_comment());
	END IF;
	EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', new_schema, new_role);
	EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC', new_role);
	EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE USAGE ON TYPES FROM PUBLIC', new_role);
	EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = %I, public',
		new_role, current_database(), new_schema);
	PERFORM meter.make_tenant_group();
	IF NOT pg_has_role(new_role, 'meter_tenant', 'USAGE') THEN
		EXECUTE format('GRANT meter_tenant TO %I', new_role);
	END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_create_tenant(text, text, name, name, text, text, text) IS
'Make a tenant with a schema and a role of its own: the row in meter.tenant, or what it lacks, the schema, which the role owns, default privileges without PUBLIC, search_path, and rights on the tenant''s own usage. schema_name, role_name: default tenant_ and its name; the role is made (NOLOGIN) unless one is given that exists. Errors: 42710 and 42P06 for names that are taken, 22023 for a role that could reach others'', 23514 for names that cannot be, 23503 for an unknown plan';

CREATE FUNCTION meter.made_role_comment() RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN 'tenant''s role, made by meter';
COMMENT ON FUNCTION meter.made_role_comment() IS
'The comment by which meter_drop_tenant() knows the roles that meter_create_tenant() has made';

CREATE FUNCTION @extschema@.meter_create_tenants(tenants text[], plan text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	all_tenants CONSTANT text[] := ARRAY(SELECT DISTINCT t FROM unnest($1) AS t ORDER BY t);
	made integer := 0;
	new_tenant text;
BEGIN
	FOREACH new_tenant IN ARRAY all_tenants LOOP
		PERFORM @extschema@.meter_create_tenant(new_tenant, $2);
		made := made + 1;
		IF made % 100 = 0 OR made = cardinality(all_tenants) THEN
			RAISE NOTICE '% of % tenants made', made, cardinality(all_tenants);
		END IF;
	END LOOP;
	RETURN made;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_create_tenants(text[], text) IS
'Make many tenants of a plan, as meter_create_tenant() does, all or none; tells how far it is. Returns how many. Errors as there';

-- What there is in a schema, by kind, for the one who drops it.  Rows of
-- partitioned tables are those of their partitions.
CREATE FUNCTION meter.schema_content(schema_name name) RETURNS SETOF text
LANGUAGE SQL STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT format('%s %s', k.objects, CASE WHEN k.objects = 1 THEN k.kind
			ELSE regexp_replace(regexp_replace(k.kind || 's', 'sss$', 'sses'), 'ys$', 'ies') END)
		|| CASE WHEN k.stored > 0 THEN format(', about %s rows%s, %s', k.row_estimate,
			CASE WHEN k.unknown > 0 THEN format(' and those of %s never analyzed', k.unknown) END,
			pg_size_pretty(k.bytes)) ELSE '' END
	FROM (
		SELECT o.type, count(*), count(c.oid),
			coalesce(sum(c.reltuples::bigint) FILTER (WHERE c.reltuples >= 0), 0),
			count(*) FILTER (WHERE c.reltuples < 0 AND pg_relation_size(c.oid) > 0),
			coalesce(sum(pg_total_relation_size(c.oid)), 0)
		FROM pg_namespace AS n
		JOIN pg_depend AS d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
		CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) AS o
		LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'm')
		WHERE n.nspname = $1
		GROUP BY o.type
	) AS k(kind, objects, stored, row_estimate, unknown, bytes)
	ORDER BY k.kind COLLATE "C";
END;
COMMENT ON FUNCTION meter.schema_content(name) IS
'What is in a schema, a line for each kind of object: number, and of tables and materialized views also the estimated rows and the size with indexes';

-- All that CASCADE would take along, from one object to the next, as far as it
-- is in other schemas: their columns, functions, constraints, ...  What has no
-- schema (a cast, an extension) leads further.  An extension goes with any of
-- its members.
CREATE FUNCTION meter.schema_dependents(schema_name name) RETURNS SETOF text
LANGUAGE SQL STABLE PARALLEL SAFE
BEGIN ATOMIC
	WITH RECURSIVE dropped(classid, objid, objsubid, home) AS (
		SELECT 'pg_namespace'::regclass::oid, n.oid, 0, NULL::oid FROM pg_namespace AS n WHERE n.nspname = $1
		UNION
		SELECT d.classid, d.objid, d.objsubid, nullif(nullif(CASE d.classid
			WHEN 'pg_class'::regclass THEN (SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = d.objid)
			WHEN 'pg_constraint'::regclass THEN (SELECT k.connamespace FROM pg_constraint AS k WHERE k.oid = d.objid)
			WHEN 'pg_attrdef'::regclass THEN (SELECT c.relnamespace FROM pg_attrdef AS a
				JOIN pg_class AS c ON c.oid = a.adrelid WHERE a.oid = d.objid)
			WHEN 'pg_rewrite'::regclass THEN (SELECT c.relnamespace FROM pg_rewrite AS w
				JOIN pg_class AS c ON c.oid = w.ev_class WHERE w.oid = d.objid)
			WHEN 'pg_policy'::regclass THEN (SELECT c.relnamespace FROM pg_policy AS p
				JOIN pg_class AS c ON c.oid = p.polrelid WHERE p.oid = d.objid)
			-- those of foreign keys are on both tables, and the constraint's
			WHEN 'pg_trigger'::regclass THEN (SELECT c.relnamespace FROM pg_trigger AS g
				JOIN pg_class AS c ON c.oid = g.tgrelid WHERE g.oid = d.objid AND NOT g.tgisinternal)
			ELSE (SELECT m.oid FROM pg_identify_object(d.classid, d.objid, 0) AS i
				JOIN pg_namespace AS m ON m.nspname = i.schema) END,
			n.oid), 'pg_toast'::regnamespace)
		FROM dropped AS x
		JOIN pg_namespace AS n ON n.nspname = $1
		CROSS JOIN LATERAL (
			SELECT p.classid, p.objid, p.objsubid FROM pg_depend AS p
			WHERE p.refclassid = x.classid AND p.refobjid = x.objid
				AND (x.objsubid = 0 OR p.refobjsubid = x.objsubid)
			UNION ALL
			SELECT p.refclassid, p.refobjid, 0 FROM pg_depend AS p
			WHERE p.classid = x.classid AND p.objid = x.objid AND p.deptype = 'e') AS d
		WHERE x.home IS NULL
	)
	SELECT pg_describe_object(x.classid, x.objid, x.objsubid) FROM dropped AS x WHERE x.home IS NOT NULL;
END;
COMMENT ON FUNCTION meter.schema_dependents(name) IS
'Objects in other schemas that would be dropped with a schema';

-- What would be too long is cut, which the cast does, behind a hash of all of it,
-- so that many can be archived at the same time.
CREATE FUNCTION meter.archive_name(schema_name name, at timestamptz) RETURNS name
LANGUAGE SQL STABLE STRICT PARALLEL SAFE
RETURN ('archived_' || to_char(at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS_')
	|| CASE WHEN octet_length(schema_name::text) > 39 THEN left(md5(schema_name::text), 16) || '_' ELSE '' END
	|| schema_name)::name;
COMMENT ON FUNCTION meter.archive_name(name, timestamptz) IS
'The name of a tenant''s schema that is archived: archived_, the time in UTC, _ and its name, or if that is above 63 bytes a hash of it and its beginning';

CREATE FUNCTION @extschema@.meter_drop_tenant(tenant text, mode text DEFAULT 'archive') RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	old meter.tenant;
	archive name;
	role oid;
	grantees text;
	content text;
	dependents text[];
	owned bigint;
	made boolean;
BEGIN
	IF $1 IS NULL THEN
		RAISE EXCEPTION 'tenant must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF ($2 = ANY (ARRAY['archive', 'drop'])) IS NOT TRUE THEN
		RAISE EXCEPTION 'unknown mode "%"', coalesce($2, 'NULL') USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is archive or drop.';
	END IF;
	SELECT t.* INTO old FROM meter.tenant AS t WHERE t.tenant = $1 FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'tenant "%" does not exist', $1 USING ERRCODE = 'undefined_object';
	END IF;
	IF old.schema_name IS NULL THEN
		RAISE EXCEPTION 'tenant "%" has no schema', $1
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'To end its subscription, set meter.tenant.status to cancelled.';
	END IF;
	role := to_regrole(quote_ident(old.role_name));
	made := coalesce(shobj_description(role, 'pg_authid') = meter.made_role_comment(), false);
	IF to_regnamespace(quote_ident(old.schema_name)) IS NULL THEN
		RAISE NOTICE 'schema "%" does not exist', old.schema_name;
	ELSIF $2 = 'archive' THEN
		archive := meter.archive_name(old.schema_name, clock_timestamp());
		EXECUTE format('ALTER SCHEMA %I RENAME TO %I', old.schema_name, archive);
		EXECUTE format('ALTER SCHEMA %I OWNER TO CURRENT_USER', archive);
		SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ', ')
		INTO grantees
		FROM pg_namespace AS n CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
		WHERE n.nspname = archive AND a.grantee <> n.nspowner;
		IF grantees IS NOT NULL THEN
			EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %s CASCADE', archive, grantees);
		END IF;
		RAISE NOTICE 'schema "%" is archived as "%"', old.schema_name, archive;
	ELSE
		dependents := ARRAY(SELECT d FROM meter.schema_dependents(old.schema_name) AS d ORDER BY d LIMIT 11);
		IF cardinality(dependents) > 0 THEN
			RAISE EXCEPTION 'schema "%" cannot be dropped, because objects of other schemas depend on it', old.schema_name
				USING ERRCODE = 'dependent_objects_still_exist',
					DETAIL = array_to_string(dependents[1:10], E'\n'),
					HINT = 'meter_isolation_audit() says what to do about them.';
		END IF;
		FOR content IN SELECT c FROM meter.schema_content(old.schema_name) AS c LOOP
			RAISE NOTICE 'schema "%": %', old.schema_name, content;
		END LOOP;
		EXECUTE format('DROP SCHEMA %I CASCADE', old.schema_name);
	END IF;
	-- a role that stays is the tenant's still: whoever logs in by it works for nobody else
	UPDATE meter.tenant AS t SET schema_name = NULL, status = 'cancelled',
		role_name = CASE WHEN role IS NOT NULL THEN t.role_name END
	WHERE t.tenant = $1;
	IF role IS NULL THEN
		RETURN;
	END IF;
	EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET search_path', old.role_name, current_database());
	IF NOT made THEN
		RETURN;
	END IF;
	EXECUTE format('ALTER ROLE %I NOLOGIN', old.role_name);
	IF $2 = 'archive' THEN
		RETURN;
	END IF;
	-- DROP OWNED would drop what it has elsewhere, an archived schema's tables for one
	SELECT count(*) INTO owned FROM pg_shdepend AS d
	WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = role AND d.deptype = 'o'
		AND d.classid <> 'pg_default_acl'::regclass;
	IF owned > 0 THEN
		RAISE NOTICE 'role "%" stays, as it owns other objects (%)', old.role_name, owned;
		RETURN;
	END IF;
	EXECUTE format('DROP OWNED BY %I', old.role_name);
	BEGIN
		EXECUTE format('DROP ROLE %I', old.role_name);
		UPDATE meter.tenant AS t SET role_name = NULL WHERE t.tenant = $1;
	EXCEPTION WHEN dependent_objects_still_exist THEN
		RAISE NOTICE 'role "%" stays, as it has rights in another database', old.role_name;
	END;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_drop_tenant(text, text) IS
'End a tenant: its subscription is cancelled, its usage and bills stay. mode archive: its schema is renamed to archived_TIME_NAME and taken from its role; drop: what is in it is told in NOTICEs, and it is dropped, with the role if meter_create_tenant() has made it and it owns nothing else. A role that stays is the tenant''s still, and cannot log in if meter_create_tenant() has made it. Errors: 22004 for null, 42704 for an unknown tenant, 55000 for one without schema, 2BP01 if others'' objects depend on the schema, 22023 for another mode';

CREATE FUNCTION @extschema@.meter_adopt_tenants(
	pattern text,
	plan text DEFAULT NULL,
	OUT tenant text,
	OUT schema_name name,
	OUT role_name name,
	OUT action text)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	prefix CONSTANT text := split_part($1, '%', 1);
	suffix CONSTANT text := split_part($1, '%', 2);
BEGIN
	IF $1 IS NULL OR length($1) - length(replace($1, '%', '')) <> 1 THEN
		RAISE EXCEPTION 'invalid pattern "%"', coalesce($1, 'NULL') USING ERRCODE = 'invalid_parameter_value',
			DETAIL = 'A pattern has one %, which stands for the tenant''s name.',
			HINT = 'For example tenant_%.';
	END IF;
	RETURN QUERY
	WITH matched AS (
		SELECT substr(n.nspname::text, length(prefix) + 1,
				length(n.nspname::text) - length(prefix) - length(suffix)) AS name,
			n.nspname, n.nspowner
		FROM pg_namespace AS n
		WHERE starts_with(n.nspname::text, prefix) AND right(n.nspname::text, length(suffix)) = suffix
			AND length(n.nspname::text) > length(prefix) + length(suffix)
			AND NOT starts_with(n.nspname::text, 'pg_')
			AND n.nspname <> ALL (ARRAY['meter', 'public', 'information_schema']::name[])
			AND (n.nspname !~ '^archived_[0-9]{14}_' OR starts_with(prefix, 'archived_'))
			-- nor what is an extension's, or where our own functions are
			AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_namespace'::regclass
				AND d.objid = n.oid AND d.deptype = 'e')
			AND NOT EXISTS (SELECT FROM pg_extension AS e WHERE e.extnamespace = n.oid AND e.extname = 'meter')
	), candidate AS (
		SELECT m.name, m.nspname, t.tenant IS NOT NULL AS known, t.schema_name AS has,
			s.tenant AS owner,
			CASE WHEN NOT r.rolsuper AND NOT starts_with(r.rolname::text, 'pg_') AND r.rolname <> 'meter_tenant'
				AND count(*) OVER (PARTITION BY m.nspowner) = 1
				AND NOT EXISTS (SELECT FROM meter.tenant AS o WHERE o.role_name = r.rolname AND o.tenant <> m.name)
				THEN r.rolname END AS role
		FROM matched AS m
		JOIN pg_roles AS r ON r.oid = m.nspowner
		LEFT JOIN meter.tenant AS t ON t.tenant = m.name
		LEFT JOIN meter.tenant AS s ON s.schema_name = m.nspname
	), adopted AS (
		INSERT INTO meter.tenant AS t (tenant, plan, schema_name, role_name)
		SELECT c.name, $2, c.nspname, c.role FROM candidate AS c
		WHERE c.owner IS NULL AND c.has IS NULL
		ON CONFLICT (tenant) DO UPDATE SET plan = coalesce(t.plan, EXCLUDED.plan),
			schema_name = EXCLUDED.schema_name, role_name = coalesce(t.role_name, EXCLUDED.role_name)
		RETURNING t.tenant, t.role_name
	)
	SELECT c.name, c.nspname, coalesce(a.role_name, c.role),
		CASE WHEN a.tenant IS NOT NULL THEN 'adopted'
			WHEN c.owner = c.name THEN 'adopted before'
			WHEN c.owner IS NOT NULL THEN format('skipped: it is the schema of tenant %s', c.owner)
			ELSE format('skipped: the tenant has schema %s', c.has) END
	FROM candidate AS c LEFT JOIN adopted AS a ON a.tenant = c.name
	ORDER BY c.name;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_adopt_tenants(text, text) IS
'Make tenants of the schemas that are there. pattern: of their names, with one % in place of the tenant''s name, all else as it is; plan: of those that have none. A schema''s owner becomes the tenant''s role if it owns no other of these and is no superuser. Changes no right; meter_isolation_audit() then says which should be. Returns what became of each schema. Errors: 22023 for a pattern, 23503 for an unknown plan';

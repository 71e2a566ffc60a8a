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
	new_role CONSTANT name := coalesce($4, meter.default_schema_name($1));
	found_role pg_roles;
	other text;
	privilege text;
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
	SELECT r.* INTO found_role FROM pg_roles AS r WHERE r.rolname = new_role;
	IF FOUND AND $4 IS NULL THEN
		RAISE EXCEPTION 'role "%" exists already', new_role USING ERRCODE = 'duplicate_object',
			HINT = 'Give it as role_name if it shall be the tenant''s, or give another.';
	ELSIF FOUND THEN
		privilege := CASE WHEN found_role.rolsuper THEN 'SUPERUSER'
			WHEN found_role.rolbypassrls THEN 'BYPASSRLS'
			WHEN found_role.rolreplication THEN 'REPLICATION'
			WHEN found_role.rolcreaterole THEN 'CREATEROLE'
			WHEN found_role.rolcreatedb THEN 'CREATEDB' END;
		IF privilege IS NOT NULL THEN
			RAISE EXCEPTION 'role "%" cannot be a tenant''s', new_role
				USING ERRCODE = 'invalid_parameter_value',
					DETAIL = format('It has %s, and could reach what is other tenants''.', privilege);
		END IF;
	END IF;

	-- first, as its constraints know which names cannot be
	INSERT INTO meter.tenant AS t (tenant, plan, schema_name, role_name, time_zone, currency, customer)
	VALUES ($1, $2, new_schema, new_role, coalesce($5, 'UTC'), $6, $7)
	ON CONFLICT (tenant) DO UPDATE SET
		plan = coalesce(EXCLUDED.plan, t.plan),
		schema_name = EXCLUDED.schema_name, role_name = EXCLUDED.role_name,
		time_zone = CASE WHEN $5 IS NULL THEN t.time_zone ELSE EXCLUDED.time_zone END,
		currency = coalesce(EXCLUDED.currency, t.currency),
		customer = coalesce(EXCLUDED.customer, t.customer);
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

-- What there is in a schema, by kind, for the one who drops it.
CREATE FUNCTION meter.schema_content(schema_name name, OUT kind text, OUT objects bigint, OUT row_estimate bigint, OUT bytes bigint)
RETURNS SETOF record
LANGUAGE SQL STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE c.relkind WHEN 'r' THEN 'tables' WHEN 'p' THEN 'partitioned tables' WHEN 'v' THEN 'views'
			WHEN 'm' THEN 'materialized views' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'foreign tables'
			ELSE 'other relations' END,
		count(*), sum(greatest(c.reltuples, 0))::bigint,
		sum(CASE WHEN c.relkind IN ('r', 'm') THEN pg_total_relation_size(c.oid) ELSE 0 END)::bigint
	FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
	WHERE n.nspname = $1 AND c.relkind NOT IN ('i', 'I', 't', 'c')
	GROUP BY 1
	UNION ALL
	SELECT 'functions', count(*), NULL, NULL
	FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
	WHERE n.nspname = $1 HAVING count(*) > 0;
END;
COMMENT ON FUNCTION meter.schema_content(name) IS
'What is in a schema: number, estimated rows and bytes of its objects, by kind';

-- Objects elsewhere that would be dropped with the schema.
CREATE FUNCTION meter.schema_dependents(schema_name name) RETURNS SETOF text
LANGUAGE SQL STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0)
	FROM pg_namespace AS n
	JOIN pg_class AS c ON c.relnamespace = n.oid
	JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
	LEFT JOIN pg_rewrite AS w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
	LEFT JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
	JOIN pg_class AS o ON o.oid = coalesce(w.ev_class, k.conrelid,
		CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END)
	JOIN pg_namespace AS m ON m.oid = o.relnamespace
	WHERE n.nspname = $1 AND m.oid <> n.oid AND m.nspname <> 'pg_toast';
END;
COMMENT ON FUNCTION meter.schema_dependents(name) IS
'Objects in other schemas that depend on relations of a schema';

CREATE FUNCTION @extschema@.meter_drop_tenant(tenant text, mode text DEFAULT 'archive') RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	old meter.tenant;
	archive name;
	content record;
	dependents text[];
	made boolean;
BEGIN
	IF $2 <> ALL (ARRAY['archive', 'drop']) THEN
		RAISE EXCEPTION 'unknown mode "%"', $2 USING ERRCODE = 'invalid_parameter_value',
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
	made := old.role_name IS NOT NULL AND EXISTS (
		SELECT FROM pg_roles AS r WHERE r.rolname = old.role_name
			AND shobj_description(r.oid, 'pg_authid') = meter.made_role_comment());
	IF to_regnamespace(quote_ident(old.schema_name)) IS NULL THEN
		RAISE NOTICE 'schema "%" does not exist', old.schema_name;
	ELSIF $2 = 'archive' THEN
		-- what is too long is cut by the cast
		archive := ('archived_' || to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS') || '_'
			|| old.schema_name)::name;
		EXECUTE format('ALTER SCHEMA %I RENAME TO %I', old.schema_name, archive);
		EXECUTE format('ALTER SCHEMA %I OWNER TO CURRENT_USER', archive);
		EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', archive);
		IF to_regrole(quote_ident(old.role_name)) IS NOT NULL THEN
			EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', archive, old.role_name);
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
		FOR content IN SELECT * FROM meter.schema_content(old.schema_name) ORDER BY kind LOOP
			RAISE NOTICE 'schema "%": % %, about % rows, %', old.schema_name, content.objects, content.kind,
				coalesce(content.row_estimate, 0), pg_size_pretty(coalesce(content.bytes, 0));
		END LOOP;
		EXECUTE format('DROP SCHEMA %I CASCADE', old.schema_name);
	END IF;
	UPDATE meter.tenant AS t SET schema_name = NULL, role_name = NULL, status = 'cancelled' WHERE t.tenant = $1;
	IF made AND $2 = 'drop' THEN
		EXECUTE format('DROP OWNED BY %I', old.role_name);
		BEGIN
			EXECUTE format('DROP ROLE %I', old.role_name);
		EXCEPTION WHEN dependent_objects_still_exist THEN
			RAISE NOTICE 'role "%" stays, as it has something in another database', old.role_name;
		END;
	ELSIF made THEN
		EXECUTE format('ALTER ROLE %I NOLOGIN', old.role_name);
	END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_drop_tenant(text, text) IS
'End a tenant: its subscription is cancelled, its usage and bills stay. mode archive: its schema is renamed to archived_TIME_NAME and taken from its role; drop: what is in it is told in NOTICEs, and it is dropped, with the role if meter_create_tenant() has made it. Errors: 42704 for an unknown tenant, 55000 for one without schema, 2BP01 if others'' objects depend on the schema, 22023 for another mode';

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
	), candidate AS (
		SELECT m.name, m.nspname, t.tenant IS NOT NULL AS known, t.schema_name AS has,
			s.tenant AS owner,
			CASE WHEN NOT r.rolsuper AND NOT starts_with(r.rolname::text, 'pg_')
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

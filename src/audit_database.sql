-- audit_database.sql: what is no tenant's and works on the objects of several

CREATE FUNCTION meter.audit_replication() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 17, NULL, NULL, NULL, format('publication %I', p.pubname), 'It is for all tables.',
		format('DROP PUBLICATION %I', p.pubname)
	FROM pg_publication AS p
	WHERE p.puballtables AND EXISTS (SELECT FROM meter.tenant_schema)
	UNION ALL
	(WITH member AS MATERIALIZED (
		SELECT s.tenant, format('publication %I', p.pubname) AS object,
			format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname,
				string_agg(r.prrelid::regclass::text, ', ' ORDER BY r.prrelid)) AS remedy
		FROM pg_publication AS p
		JOIN pg_publication_rel AS r ON r.prpubid = p.oid
		JOIN pg_class AS c ON c.oid = r.prrelid
		JOIN meter.tenant_schema AS s ON s.schema = c.relnamespace
		GROUP BY s.tenant, p.pubname
		UNION ALL
		SELECT s.tenant, format('publication %I', p.pubname),
			format('ALTER PUBLICATION %I DROP TABLES IN SCHEMA %I', p.pubname, s.schema_name)
		FROM pg_publication AS p
		JOIN pg_publication_namespace AS n ON n.pnpubid = p.oid
		JOIN meter.tenant_schema AS s ON s.schema = n.pnnspid
		UNION ALL
		SELECT DISTINCT s.tenant, format('subscription %I', p.subname),
			-- if the publisher is there no more, the slot cannot be dropped with it
			format('ALTER SUBSCRIPTION %I DISABLE; ALTER SUBSCRIPTION %1$I SET (slot_name = NONE); DROP SUBSCRIPTION %1$I',
				p.subname)
		FROM pg_subscription AS p
		JOIN pg_subscription_rel AS r ON r.srsubid = p.oid
		JOIN pg_class AS c ON c.oid = r.srrelid
		JOIN meter.tenant_schema AS s ON s.schema = c.relnamespace
	), tenant AS MATERIALIZED (
		SELECT m.tenant, m.object, string_agg(m.remedy, '; ' ORDER BY m.remedy) AS remedy,
			count(*) OVER (PARTITION BY m.object) AS tenants,
			first_value(m.tenant) OVER w AS first, lead(m.tenant) OVER w AS next
		FROM member AS m
		GROUP BY m.tenant, m.object
		WINDOW w AS (PARTITION BY m.object ORDER BY m.tenant)
	)
	SELECT 17, NULL, t.tenant, CASE WHEN t.first = t.tenant THEN t.next ELSE t.first END, t.object,
		format('It has tables of %s tenants.', t.tenants), t.remedy
	FROM tenant AS t
	WHERE t.tenants > 1)
$$;
COMMENT ON FUNCTION meter.audit_replication() IS
'Rule 17 of the audit: publications for all tables, and publications and subscriptions that mix tenants';

CREATE FUNCTION meter.audit_foreign() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH reading AS MATERIALIZED (
		SELECT c.oid, f.tenant, t.tenant AS other_tenant, t.schema_name
		FROM pg_foreign_table AS ft
		CROSS JOIN LATERAL pg_options_to_table(ft.ftoptions) AS o
		JOIN pg_class AS c ON c.oid = ft.ftrelid
		JOIN meter.tenant_schema AS t ON t.schema_name::text = o.option_value
		LEFT JOIN meter.tenant_schema AS f ON f.schema = c.relnamespace
		WHERE o.option_name IN ('schema_name', 'schema') AND t.tenant IS DISTINCT FROM f.tenant
	)
	SELECT 18, CASE WHEN r.tenant IS NOT NULL THEN 'critical'
			WHEN meter.audit_reach('pg_class'::regclass, r.oid) <@ ARRAY[r.other_tenant] THEN 'info' END,
		COALESCE(r.tenant, r.other_tenant), CASE WHEN r.tenant IS NOT NULL THEN r.other_tenant END,
		meter.object_identity('pg_class'::regclass, r.oid, 0),
		format('It is a table in a schema %I of its server.', r.schema_name),
		format('DROP FOREIGN TABLE %s', r.oid::regclass)
	FROM reading AS r
	UNION ALL
	SELECT 18, NULL, NULL, NULL, format('server %I', s.srvname), 'It leads back into this database.',
		format('DROP SERVER %I CASCADE', s.srvname)
	FROM pg_foreign_server AS s
	CROSS JOIN LATERAL (
		SELECT max(o.option_value) FILTER (WHERE o.option_name = 'dbname') AS dbname,
			max(o.option_value) FILTER (WHERE o.option_name IN ('host', 'hostaddr')) AS host,
			max(o.option_value) FILTER (WHERE o.option_name = 'port') AS port
		FROM pg_options_to_table(s.srvoptions) AS o) AS o
	WHERE o.dbname = current_database()
		AND (o.host IS NULL OR o.host IN ('localhost', '127.0.0.1', '::1') OR starts_with(o.host, '/'))
		AND (o.port IS NULL OR o.port = current_setting('port'))
	UNION ALL
	SELECT 18, NULL, NULL, NULL, format('user mapping for PUBLIC on server %I', m.srvname),
		'Everybody who may use the server works there as one user.',
		format('DROP USER MAPPING FOR PUBLIC SERVER %I', m.srvname)
	FROM pg_user_mappings AS m
	WHERE m.umuser = 0
	UNION ALL
	SELECT 18, NULL, NULL, NULL, format('extension %I', e.extname),
		'Everybody may execute its functions, which open connections of their own.',
		string_agg(format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', p.oid::regprocedure), '; ' ORDER BY p.oid)
	FROM pg_extension AS e
	JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
		AND d.classid = 'pg_proc'::regclass
	JOIN pg_proc AS p ON p.oid = d.objid
	WHERE e.extname = 'dblink' AND starts_with(p.proname, 'dblink') AND has_function_privilege('public', p.oid, 'EXECUTE')
	GROUP BY e.extname
	UNION ALL
	SELECT 18, NULL, s.tenant, NULL, meter.object_identity('pg_proc'::regclass, p.oid, 0), 'Its text names dblink.',
		format('DROP ROUTINE IF EXISTS %s', p.oid::regprocedure)
	FROM pg_proc AS p
	JOIN meter.tenant_schema AS s ON s.schema = p.pronamespace
	WHERE p.prosrc ~* '\mdblink' AND NOT EXISTS (SELECT FROM pg_depend AS d
		WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
$$;
COMMENT ON FUNCTION meter.audit_foreign() IS
'Rule 18 of the audit: foreign tables of another tenant''s schema, servers that lead back into this database, user mappings for everybody, and dblink';

-- pg_cron need not be there, nor open to the caller.
CREATE FUNCTION meter.audit_job() RETURNS SETOF meter.isolation_finding
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (
			SELECT FROM pg_extension AS e
			JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
				AND d.classid = 'pg_class'::regclass
			JOIN pg_class AS c ON c.oid = d.objid AND c.relname = 'job'
			JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'cron'
			WHERE e.extname = 'pg_cron' AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')) THEN
		RETURN;
	END IF;
	RETURN QUERY EXECUTE $query$
		WITH job AS MATERIALIZED (
			SELECT j.jobid, j.command, t.tenant
			FROM cron.job AS j
			LEFT JOIN meter.tenant AS t ON t.role_name::text = j.username
			WHERE j.database = current_database()
		), named AS MATERIALIZED (
			SELECT j.jobid, j.tenant, s.tenant AS other_tenant, s.schema_name,
				count(*) OVER (PARTITION BY j.jobid) AS tenants,
				first_value(s.tenant) OVER w AS first, lead(s.tenant) OVER w AS next
			FROM job AS j
			CROSS JOIN LATERAL meter.audit_names(j.command) AS n
			JOIN meter.tenant_schema AS s ON s.schema_name::text = n
			WHERE j.tenant IS DISTINCT FROM s.tenant
			WINDOW w AS (PARTITION BY j.jobid ORDER BY s.tenant)
		)
		SELECT 19, NULL::text, COALESCE(n.tenant, n.other_tenant),
			CASE WHEN n.tenant IS NOT NULL THEN n.other_tenant WHEN n.first = n.other_tenant THEN n.next ELSE n.first END,
			format('job %s of pg_cron', n.jobid),
			CASE WHEN n.tenant IS NOT NULL THEN format('The tenant''s role runs it, and it names the schema %I.', n.schema_name)
				ELSE format('It names the schemas of %s tenants.', n.tenants) END,
			format('SELECT cron.unschedule(%s)', n.jobid)
		FROM named AS n
		WHERE n.tenant IS NOT NULL OR n.tenants > 1
	$query$;
END
$$;
COMMENT ON FUNCTION meter.audit_job() IS
'Jobs of pg_cron that a tenant''s role runs on another''s schema, or that name the schemas of several tenants: rule 19 of the audit';

CREATE FUNCTION meter.audit_database() RETURNS SETOF meter.isolation_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	-- those of extensions come with what a superuser has installed
	SELECT 16, CASE WHEN s.tenant IS NOT NULL THEN 'critical'
			WHEN EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_event_trigger'::regclass
				AND d.objid = e.oid AND d.deptype = 'e') THEN 'info' END,
		s.tenant, NULL, format('event trigger %I', e.evtname),
		format('It calls %s for all tenants.', p.oid::regprocedure), format('DROP EVENT TRIGGER %I', e.evtname)
	FROM pg_event_trigger AS e
	JOIN pg_proc AS p ON p.oid = e.evtfoid
	LEFT JOIN meter.tenant_schema AS s ON s.schema = p.pronamespace
	WHERE e.evtenabled <> 'D' AND EXISTS (SELECT FROM meter.tenant_schema)
	UNION ALL SELECT * FROM meter.audit_replication()
	UNION ALL SELECT * FROM meter.audit_foreign()
	UNION ALL SELECT * FROM meter.audit_job()
	UNION ALL
	(WITH object AS MATERIALIZED (
		SELECT s.tenant, o.classid, o.objid
		FROM meter.schema_object AS o
		JOIN meter.tenant_schema AS s ON s.schema = o.schema
	)
	SELECT 19, NULL, m.tenant, NULL, format('extension %I', e.extname), 'It has objects in the tenant''s schema.',
		CASE WHEN e.extrelocatable THEN format('ALTER EXTENSION %I SET SCHEMA public', e.extname)
			ELSE format('DROP EXTENSION %I CASCADE', e.extname) END
	FROM pg_extension AS e
	JOIN (
		SELECT x.oid, s.tenant
		FROM pg_extension AS x
		JOIN meter.tenant_schema AS s ON s.schema = x.extnamespace
		UNION
		-- one look into an index for each object: how many objects extensions have,
		-- the planner guesses so low that it would go through all objects for each
		SELECT d.refobjid, o.tenant
		FROM object AS o
		CROSS JOIN LATERAL (
			SELECT d.refobjid
			FROM pg_depend AS d
			WHERE d.classid = o.classid AND d.objid = o.objid
				AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
			OFFSET 0) AS d
	) AS m ON m.oid = e.oid)
$$;
COMMENT ON FUNCTION meter.audit_database() IS
'Rules 16 to 19 of the audit: event triggers, replication, foreign servers, jobs and extensions';

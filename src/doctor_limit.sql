-- doctor_limit.sql: tenants, plans and limits that do not do what they are for

CREATE FUNCTION meter.doctor_tenant() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE billing AS MATERIALIZED (
		SELECT EXISTS (SELECT FROM meter.price) OR EXISTS (SELECT FROM meter.plan_version) AS used,
			date_trunc('month', now(), 'UTC') - interval '1 month' AS since
	), seen(tenant) AS (
		-- from one tenant to the next by the indexes, as reading all usage would take long
		(SELECT u.tenant FROM meter.usage_hourly AS u
			WHERE u.hour >= (SELECT b.since FROM billing AS b WHERE b.used)
			ORDER BY u.tenant LIMIT 1)
		UNION ALL
		SELECT (SELECT u.tenant FROM meter.usage_hourly AS u
			WHERE u.hour >= (SELECT b.since FROM billing AS b) AND u.tenant > s.tenant
			ORDER BY u.tenant LIMIT 1)
		FROM seen AS s
		WHERE s.tenant IS NOT NULL
	)
	SELECT 'default_plan', NULL, 'meter.default_plan', format('There is no plan "%s".', d.plan),
		format('INSERT INTO meter.plan (plan) VALUES (%L);', d.plan)
	FROM (SELECT current_setting('meter.default_plan', true) AS plan) AS d
	WHERE d.plan <> '' AND NOT EXISTS (SELECT FROM meter.plan AS p WHERE p.plan = d.plan)
	UNION ALL
	SELECT 'tenant_no_plan', NULL, 'meter.tenant',
		format('%s no plan: %s.', meter.doctor_count(t.tenants, 'tenant has', 'tenants have'), meter.doctor_list(t.names)),
		format('UPDATE meter.tenant SET plan = %L WHERE plan IS NULL AND status <> ''cancelled'';',
			-- the one that most tenants have
			COALESCE((SELECT q.plan FROM meter.tenant AS q WHERE q.plan IS NOT NULL GROUP BY q.plan ORDER BY count(*) DESC, q.plan LIMIT 1),
				(SELECT p.plan FROM meter.plan AS p ORDER BY p.created_at, p.plan LIMIT 1)))
	FROM (
		SELECT count(*) AS tenants, array_agg(t.tenant ORDER BY t.tenant) AS names
		FROM meter.tenant AS t
		WHERE t.plan IS NULL AND t.status <> 'cancelled'
			-- planless on purpose
			AND NOT EXISTS (SELECT FROM meter.subscription AS s WHERE s.tenant = t.tenant AND s.planless)
			AND NOT EXISTS (SELECT FROM meter.rate_limit AS l WHERE l.tenant = t.tenant)
			AND NOT EXISTS (SELECT FROM meter.price AS p WHERE p.tenant = t.tenant)
	) AS t
	WHERE t.tenants > 0 AND COALESCE(current_setting('meter.default_plan', true), '') = ''
		AND EXISTS (SELECT FROM meter.plan AS p)
	UNION ALL
	SELECT 'tenant_unknown', NULL, 'meter.tenant',
		format('%s usage and no row in meter.tenant, so that there are no bills: %s.',
			meter.doctor_count(s.tenants, 'tenant has', 'tenants have'), meter.doctor_list(s.names)),
		format(E'INSERT INTO meter.tenant (tenant)\nSELECT DISTINCT tenant FROM meter.usage_hourly WHERE hour >= %L\nON CONFLICT DO NOTHING;',
			(SELECT to_char(b.since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI"Z"') FROM billing AS b))
	FROM (
		SELECT count(*) AS tenants, array_agg(s.tenant ORDER BY s.tenant) AS names
		FROM seen AS s
		WHERE s.tenant IS NOT NULL AND NOT EXISTS (SELECT FROM meter.tenant AS t WHERE t.tenant = s.tenant)
	) AS s
	WHERE s.tenants > 0
	UNION ALL
	SELECT 'tenant_time_zone', NULL, 'meter.tenant',
		format('There is no time zone "%s" on this server, for %s: %s.', t.time_zone,
			meter.doctor_count(count(*), 'tenant', 'tenants'), meter.doctor_list(array_agg(t.tenant ORDER BY t.tenant))),
		format('UPDATE meter.tenant SET time_zone = ''UTC'' WHERE time_zone = %L;', t.time_zone)
	FROM meter.tenant AS t
	WHERE lower(t.time_zone) <> 'utc'
	GROUP BY t.time_zone
	HAVING lower(meter.known_time_zone(t.time_zone)) <> lower(t.time_zone)
$$;
COMMENT ON FUNCTION meter.doctor_tenant() IS
'Part of meter_doctor(): tenants of whom less is known than limits and bills need';

-- Among rules of the same unit, time and per_user, only those of the same pattern
-- can always hide one another: what a pattern that is more specific matches, the
-- other one matches, too, and more besides.
CREATE FUNCTION meter.doctor_limit() RETURNS SETOF meter.doctor_finding
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
	WITH subscriber AS MATERIALIZED (
		SELECT t.tenant, COALESCE(t.plan, NULLIF(current_setting('meter.default_plan', true), '')) AS plan
		FROM meter.tenant AS t
	), held AS MATERIALIZED (
		SELECT s.plan FROM subscriber AS s WHERE s.plan IS NOT NULL
		UNION
		SELECT s.plan FROM meter.subscription AS s WHERE s.plan IS NOT NULL AND s.valid_from >= now()::date
		UNION
		SELECT NULLIF(current_setting('meter.default_plan', true), '')
	), rule AS MATERIALIZED (
		SELECT r.*, ROW(r.resource, r.unit, r.per, r.per_user) AS key FROM meter.rate_limit AS r
	)
	SELECT 'plan_unused', NULL, format('plan %s', r.plan),
		format('No tenant has the plan, so %s for nobody.', meter.doctor_count(count(*), 'limit is', 'limits are')),
		format(E'-- or give it to somebody: SELECT @extschema@.meter_change_plan(..., %L);\nDELETE FROM meter.rate_limit WHERE plan = %1$L;', r.plan)
	FROM rule AS r
	WHERE r.plan IS NOT NULL AND EXISTS (SELECT FROM subscriber AS s WHERE s.plan IS NOT NULL)
		AND NOT EXISTS (SELECT FROM held AS h WHERE h.plan = r.plan)
	GROUP BY r.plan
	UNION ALL
	SELECT 'rule_hidden', NULL, format('rate_limit %s', r.id),
		CASE WHEN r.plan IS NOT NULL
			THEN format('The limit of plan "%s" for %s per %s of "%s" holds for nobody: each of its tenants has one of its own.', r.plan, r.unit, r.per, r.resource)
			ELSE format('The limit for all tenants for %s per %s of "%s" holds for nobody: each plan, also the default one, has one of its own.', r.unit, r.per, r.resource) END,
		format('DELETE FROM meter.rate_limit WHERE id = %s;', r.id)
	FROM rule AS r
	WHERE r.tenant IS NULL AND CASE WHEN r.plan IS NOT NULL
		THEN EXISTS (SELECT FROM subscriber AS s WHERE s.plan = r.plan)
			AND r.plan IS DISTINCT FROM NULLIF(current_setting('meter.default_plan', true), '')
			AND NOT EXISTS (
				SELECT FROM subscriber AS s
				WHERE s.plan = r.plan AND NOT EXISTS (SELECT FROM rule AS o WHERE o.tenant = s.tenant AND o.key = r.key))
		-- a tenant without a row has the default plan
		ELSE COALESCE(current_setting('meter.default_plan', true), '') <> ''
			AND NOT EXISTS (
				SELECT FROM held AS h
				WHERE h.plan IS NOT NULL AND NOT EXISTS (SELECT FROM rule AS o WHERE o.plan = h.plan AND o.key = r.key)) END
	UNION ALL
	SELECT 'limit_memory', CASE WHEN m.unmetered + m.refused_full = 0 THEN 'info' END, 'meter.limit_memory',
		CASE WHEN m.unmetered + m.refused_full > 0
			THEN format('There was no room to count %s since the start of the server.', meter.doctor_count(m.unmetered + m.refused_full, 'call', 'calls'))
			ELSE format('%s of %s blocks of memory for what is taken of limits are in use.', m.blocks_used, m.blocks) END,
		meter.doctor_set('meter.limit_memory', format('%skB', LEAST(4 * meter.doctor_setting('meter.limit_memory'), 2147483647)), true)
	FROM meter.limit_stats AS m
	-- who has taken nothing makes room for others, so full memory that was full before is no trouble
	WHERE m.unmetered + m.refused_full > 0 OR m.blocks_used >= 0.9 * m.blocks AND m.evicted = 0
$$;
COMMENT ON FUNCTION meter.doctor_limit() IS
'Part of meter_doctor(): limits that hold for nobody, and room to count them';

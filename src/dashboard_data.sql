-- dashboard_data.sql: what the dashboard is made of
--
-- Functions that return tables read meter.usage_hourly once: hours from from_at on
-- and before to_at, of one tenant or with null of all.  They are inlined into
-- dashboard_read_*(), so that arguments are constants of the scan, which may then
-- be a parallel one.

CREATE TYPE meter.dashboard_point AS (
	at timestamptz,
	requests bigint,
	successes bigint,
	client_errors bigint,
	refused bigint,
	server_errors bigint,
	p50 double precision,
	p95 double precision,
	p99 double precision,
	cost numeric
);
COMMENT ON TYPE meter.dashboard_point IS
'Requests of a time: all, those that were no errors, client errors without 429, refused (429), other errors, and percentiles of latencies in milliseconds; and the cost of all metrics';

CREATE TYPE meter.dashboard_row AS (
	name text,
	detail text,
	requests bigint,
	errors bigint,
	users bigint,
	p50 double precision,
	p95 double precision,
	p99 double precision,
	cost numeric
);
COMMENT ON TYPE meter.dashboard_row IS
'A row of a table of the dashboard: an endpoint with its method and service, a tenant, or a user with its tenant';

CREATE TYPE meter.dashboard_total AS (
	requests bigint,
	errors bigint,
	refused bigint,
	users bigint,
	tenants bigint,
	p50 double precision,
	p95 double precision,
	p99 double precision,
	cost numeric,
	top meter.dashboard_row[]
);
COMMENT ON TYPE meter.dashboard_total IS
'The figures of all that the dashboard is about, and its tenants with most requests';

-- hll is in whatever schema it was installed in, see usage.sql
SELECT pg_catalog.set_config('search_path',
	pg_catalog.format('pg_catalog, %s', extnamespace::regnamespace), true)
FROM pg_catalog.pg_extension WHERE extname = 'hll';

CREATE FUNCTION meter.dashboard_tenants(from_at timestamptz, to_at timestamptz, of_tenant text)
RETURNS TABLE (tenant text, requests bigint, errors bigint, refused bigint, users bigint,
	latency @extschema@.meter_sketch, cost numeric)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT u.tenant,
		COALESCE(sum(u.events) FILTER (WHERE u.metric = 'api_requests'), 0)::bigint,
		COALESCE(sum(u.errors) FILTER (WHERE u.metric = 'api_requests'), 0)::bigint,
		COALESCE(sum(u.errors_429) FILTER (WHERE u.metric = 'api_requests'), 0)::bigint,
		meter.users_count(hll_union_agg(u.users)),
		@extschema@.meter_sketch_merge(u.latency) FILTER (WHERE u.metric = 'api_requests'),
		sum(u.cost)
	FROM meter.usage_hourly AS u
	WHERE u.hour >= from_at AND u.hour < to_at AND (of_tenant IS NULL OR u.tenant = of_tenant)
	GROUP BY u.tenant;
END;
COMMENT ON FUNCTION meter.dashboard_tenants(timestamptz, timestamptz, text) IS
'Tenants: requests, errors and latencies of the metric api_requests, users and cost of all metrics';

SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE FUNCTION meter.dashboard_endpoints(from_at timestamptz, to_at timestamptz, of_tenant text)
RETURNS TABLE (service text, endpoint text, method text, requests bigint, errors bigint,
	latency @extschema@.meter_sketch, cost numeric)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT u.service, u.endpoint, u.method,
		sum(u.events) FILTER (WHERE u.metric = 'api_requests')::bigint,
		sum(u.errors) FILTER (WHERE u.metric = 'api_requests')::bigint,
		@extschema@.meter_sketch_merge(u.latency) FILTER (WHERE u.metric = 'api_requests'), sum(u.cost)
	FROM meter.usage_hourly AS u
	WHERE u.hour >= from_at AND u.hour < to_at AND (of_tenant IS NULL OR u.tenant = of_tenant)
	GROUP BY u.service, u.endpoint, u.method
	HAVING count(*) FILTER (WHERE u.metric = 'api_requests') > 0;
END;
COMMENT ON FUNCTION meter.dashboard_endpoints(timestamptz, timestamptz, text) IS
'Endpoints that have requests: requests, errors and latencies of the metric api_requests, cost of all metrics';

CREATE FUNCTION meter.dashboard_times(from_at timestamptz, to_at timestamptz, of_tenant text, step interval)
RETURNS TABLE (at timestamptz, requests bigint, errors bigint, errors_4xx bigint, errors_429 bigint,
	latency @extschema@.meter_sketch, cost numeric)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 200
BEGIN ATOMIC
	SELECT date_bin(step, u.hour, timestamptz '2000-01-01 00:00Z'),
		COALESCE(sum(u.events) FILTER (WHERE u.metric = 'api_requests'), 0)::bigint,
		COALESCE(sum(u.errors) FILTER (WHERE u.metric = 'api_requests'), 0)::bigint,
		COALESCE(sum(u.errors_4xx) FILTER (WHERE u.metric = 'api_requests'), 0)::bigint,
		COALESCE(sum(u.errors_429) FILTER (WHERE u.metric = 'api_requests'), 0)::bigint,
		@extschema@.meter_sketch_merge(u.latency) FILTER (WHERE u.metric = 'api_requests'), sum(u.cost)
	FROM meter.usage_hourly AS u
	WHERE u.hour >= from_at AND u.hour < to_at AND (of_tenant IS NULL OR u.tenant = of_tenant)
	GROUP BY 1;
END;
COMMENT ON FUNCTION meter.dashboard_times(timestamptz, timestamptz, text, interval) IS
'Steps of time that have usage: requests, errors and latencies of the metric api_requests, cost of all metrics';

CREATE FUNCTION meter.dashboard_read_total(from_at timestamptz, to_at timestamptz, of_tenant text)
RETURNS meter.dashboard_total
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
	total meter.dashboard_total;
BEGIN
	WITH tenant AS MATERIALIZED (
		SELECT * FROM meter.dashboard_tenants(from_at, to_at, of_tenant)
	), best AS (
		SELECT t.tenant, t.requests, t.errors, t.users, t.cost,
			@extschema@.meter_percentile(t.latency, '{0.5,0.95,0.99}'::double precision[]) AS p
		FROM tenant AS t
		ORDER BY t.requests DESC, t.cost DESC NULLS LAST, t.tenant
		LIMIT 10
	)
	SELECT s.requests, s.errors, s.refused, s.users, s.tenants, s.p[1], s.p[2], s.p[3], s.cost,
		ARRAY(SELECT ROW(b.tenant, NULL, b.requests, b.errors, b.users, b.p[1], b.p[2], b.p[3], b.cost)::meter.dashboard_row
			FROM best AS b ORDER BY b.requests DESC, b.cost DESC NULLS LAST, b.tenant)
	INTO total
	FROM (
		SELECT COALESCE(sum(t.requests), 0)::bigint AS requests, COALESCE(sum(t.errors), 0)::bigint AS errors,
			COALESCE(sum(t.refused), 0)::bigint AS refused, COALESCE(sum(t.users), 0)::bigint AS users,
			count(*) AS tenants, sum(t.cost) AS cost,
			@extschema@.meter_percentile(@extschema@.meter_sketch_merge(t.latency), '{0.5,0.95,0.99}'::double precision[]) AS p
		FROM tenant AS t
	) AS s;
	RETURN total;
END
$$;
COMMENT ON FUNCTION meter.dashboard_read_total(timestamptz, timestamptz, text) IS
'The figures of the dashboard, and its ten tenants with most requests';

-- Of the time before: no users, which take longest.
CREATE FUNCTION meter.dashboard_read_before(from_at timestamptz, to_at timestamptz, of_tenant text)
RETURNS meter.dashboard_total
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
	total meter.dashboard_total;
BEGIN
	SELECT sum(u.events)::bigint, sum(u.errors)::bigint,
		@extschema@.meter_percentile(@extschema@.meter_sketch_merge(u.latency), 0.95)
	INTO total.requests, total.errors, total.p95
	FROM meter.usage_hourly AS u
	WHERE u.metric = 'api_requests' AND u.hour >= from_at AND u.hour < to_at
		AND (of_tenant IS NULL OR u.tenant = of_tenant);
	RETURN total;
END
$$;
COMMENT ON FUNCTION meter.dashboard_read_before(timestamptz, timestamptz, text) IS
'What the figures of the dashboard are compared with: requests, errors and 95th percentile; null without any';

CREATE FUNCTION meter.dashboard_read_points(from_at timestamptz, to_at timestamptz, of_tenant text, step interval)
RETURNS meter.dashboard_point[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
BEGIN
	RETURN ARRAY(
		SELECT ROW(g.at, COALESCE(t.requests, 0), COALESCE(t.requests - t.errors, 0), COALESCE(t.errors_4xx - t.errors_429, 0),
			COALESCE(t.errors_429, 0), COALESCE(t.errors - t.errors_4xx, 0), t.p[1], t.p[2], t.p[3], t.cost)::meter.dashboard_point
		FROM generate_series(date_bin(step, from_at, '2000-01-01 00:00Z'), to_at - interval '1 microsecond', step) AS g (at)
		LEFT JOIN (
			SELECT d.*, @extschema@.meter_percentile(d.latency, '{0.5,0.95,0.99}'::double precision[]) AS p
			FROM meter.dashboard_times(from_at, to_at, of_tenant, step) AS d
		) AS t ON t.at = g.at
		ORDER BY g.at);
END
$$;
COMMENT ON FUNCTION meter.dashboard_read_points(timestamptz, timestamptz, text, interval) IS
'The steps of time of the dashboard''s charts, in order, also those without requests';

CREATE FUNCTION meter.dashboard_read_endpoints(from_at timestamptz, to_at timestamptz, of_tenant text,
	OUT endpoints bigint, OUT top meter.dashboard_row[])
RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
BEGIN
	SELECT COALESCE(max(e.endpoints), 0), COALESCE(array_agg(
			ROW(concat_ws(' ', e.method, COALESCE(e.endpoint, '(no endpoint)')), e.service, e.requests, e.errors, NULL,
				e.p[1], e.p[2], e.p[3], e.cost)::meter.dashboard_row
			ORDER BY e.requests DESC, e.service, e.endpoint, e.method), '{}')
	INTO endpoints, top
	FROM (
		SELECT b.*, @extschema@.meter_percentile(b.latency, '{0.5,0.95,0.99}'::double precision[]) AS p
		FROM (
			SELECT u.*, count(*) OVER () AS endpoints,
				row_number() OVER (ORDER BY u.requests DESC, u.service, u.endpoint, u.method) AS n
			FROM meter.dashboard_endpoints(from_at, to_at, of_tenant) AS u
		) AS b
		WHERE b.n <= 10
	) AS e;
END
$$;
COMMENT ON FUNCTION meter.dashboard_read_endpoints(timestamptz, timestamptz, text) IS
'How many endpoints there are, and the ten with most requests';

CREATE FUNCTION meter.dashboard_read_users(from_at timestamptz, to_at timestamptz, of_tenant text)
RETURNS meter.dashboard_row[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
BEGIN
	RETURN ARRAY(
		SELECT ROW(d.user_id, d.tenant, d.requests, d.errors, NULL, NULL, NULL, NULL, d.cost)::meter.dashboard_row
		FROM @extschema@.meter_top_users(from_at, to_at, of_tenant) AS d
		ORDER BY d.requests DESC, d.cost DESC NULLS LAST, d.tenant, d.user_id);
END
$$;
COMMENT ON FUNCTION meter.dashboard_read_users(timestamptz, timestamptz, text) IS
'The ten users with most requests, of whole days (UTC)';

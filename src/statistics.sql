-- statistics.sql: what an application's own pages show of usage

-- hll is in whatever schema it was installed in, see usage.sql
SELECT pg_catalog.set_config('search_path',
	pg_catalog.format('pg_catalog, %s', extnamespace::regnamespace), true)
FROM pg_catalog.pg_extension WHERE extname = 'hll';

CREATE FUNCTION meter.stats_grouping(tenant text, group_by text, user_id text) RETURNS interval
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF tenant IS NULL OR group_by IS NULL THEN
		RAISE EXCEPTION '% must not be null', CASE WHEN tenant IS NULL THEN 'tenant' ELSE 'group_by' END
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF group_by <> ALL (ARRAY['hour', 'day', 'week', 'month', 'service', 'endpoint', 'method', 'total']) THEN
		RAISE EXCEPTION 'cannot group by "%"', group_by USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is one of hour, day, week, month, service, endpoint, method and total.';
	END IF;
	IF user_id IS NOT NULL AND group_by = ANY (ARRAY['hour', 'service', 'endpoint', 'method']) THEN
		RAISE EXCEPTION 'usage of a user is not known by %', group_by USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For a user it is one of day, week, month and total.';
	END IF;
	RETURN CASE WHEN group_by = ANY (ARRAY['hour', 'day', 'week', 'month']) THEN ('1 ' || group_by)::interval END;
END
$$;
COMMENT ON FUNCTION meter.stats_grouping(text, text, text) IS
'Part of meter_usage_stats(): the step of time by which it groups, or null; errors as there';

CREATE FUNCTION @extschema@.meter_usage_stats(tenant text, "from" timestamptz, "to" timestamptz,
	user_id text DEFAULT NULL, group_by text DEFAULT 'day')
RETURNS TABLE (at timestamptz, "group" text, requests bigint, successes bigint, errors bigint, refused bigint,
	error_rate numeric, cost numeric, unique_users bigint, latency_avg double precision, p50 double precision,
	p95 double precision, p99 double precision)
LANGUAGE SQL STABLE PARALLEL RESTRICTED ROWS 31
BEGIN ATOMIC
	WITH argument AS MATERIALIZED (
		SELECT g.step, CASE WHEN g.step IS NOT NULL THEN meter.series_starts(meter_usage_stats."from", meter_usage_stats."to",
				g.step, CASE WHEN meter_usage_stats.user_id IS NOT NULL THEN 'UTC' END)
			WHEN meter.span_checked(meter_usage_stats."from", meter_usage_stats."to") THEN NULL END AS starts
		FROM (SELECT meter.stats_grouping(meter_usage_stats.tenant, meter_usage_stats.group_by,
			meter_usage_stats.user_id) AS step) AS g
	), part AS (
		SELECT u.hour AS at,
			CASE meter_usage_stats.group_by WHEN 'service' THEN u.service WHEN 'endpoint' THEN u.endpoint
				WHEN 'method' THEN u.method END AS "group",
			u.metric = 'api_requests' AS is_request, u.events, u.errors, u.errors_429 AS refused, u.cost, u.users,
			u.latency
		FROM meter.usage_span(meter_usage_stats.tenant, NULL, meter_usage_stats."from", meter_usage_stats."to") AS u
		-- said once more, for the index also where the tenant is no constant
		WHERE meter_usage_stats.user_id IS NULL AND u.tenant = meter_usage_stats.tenant
		UNION ALL
		SELECT d.day::timestamp AT TIME ZONE 'UTC', NULL, d.metric = 'api_requests', d.events, d.errors, NULL, d.cost,
			NULL, NULL
		FROM meter.usage_user_daily AS d
		WHERE d.tenant = meter_usage_stats.tenant AND d.user_id = meter_usage_stats.user_id
			AND d.day >= (meter_usage_stats."from" AT TIME ZONE 'UTC')::date
			AND d.day < meter_usage_stats."to" AT TIME ZONE 'UTC'
	), point AS (
		SELECT CASE WHEN a.step IS NOT NULL THEN width_bucket(p.at, a.starts) ELSE 0 END AS n, p."group",
			COALESCE(sum(p.events) FILTER (WHERE p.is_request), 0)::bigint AS requests,
			COALESCE(sum(p.errors) FILTER (WHERE p.is_request), 0)::bigint AS errors,
			sum(p.refused) FILTER (WHERE p.is_request)::bigint AS refused,
			sum(p.cost) AS cost, hll_union_agg(p.users) AS users,
			@extschema@.meter_sketch_merge(p.latency) FILTER (WHERE p.is_request) AS latency
		FROM part AS p
		CROSS JOIN argument AS a
		GROUP BY 1, 2
	)
	SELECT a.starts[s.n], p."group", COALESCE(p.requests, 0), COALESCE(p.requests - p.errors, 0),
		COALESCE(p.errors, 0),
		CASE WHEN meter_usage_stats.user_id IS NULL THEN COALESCE(p.refused, 0) END,
		round(100.0 * p.errors / NULLIF(p.requests, 0), 2), p.cost,
		CASE WHEN meter_usage_stats.user_id IS NULL THEN meter.users_count(p.users) END,
		@extschema@.meter_sketch_avg(p.latency), @extschema@.meter_percentile(p.latency, 0.5),
		@extschema@.meter_percentile(p.latency, 0.95), @extschema@.meter_percentile(p.latency, 0.99)
	FROM argument AS a
	LEFT JOIN LATERAL generate_subscripts(a.starts, 1) AS s(n) ON a.step IS NOT NULL
	-- a join with OR could not use a hash
	LEFT JOIN point AS p ON p.n = COALESCE(s.n, 0)
	WHERE CASE WHEN a.step IS NOT NULL THEN s.n IS NOT NULL
		ELSE p.requests IS NOT NULL OR meter_usage_stats.group_by = 'total' END
	ORDER BY s.n, 3 DESC, p."group";
END;
COMMENT ON FUNCTION @extschema@.meter_usage_stats(text, timestamptz, timestamptz, text, text) IS
'A tenant''s usage of the hours that begin from one time to, and without, another, up to now: by hour, day, week or month of the session''s time zone (a row for each, also without usage), by service, endpoint or method (most requests first), or in total. Requests, errors and latencies (ms) are of the metric api_requests, costs and distinct users of all; refused are the errors with status 429. Of one user of whole days (UTC), by day, week or month of UTC, or in total, as rolled up; refused, users and latencies are then null. Errors: 22004 for null, 22008 for an infinite time, 22023 for another group_by or if from is not before to, 54000 for more than 10000 rows';

CREATE FUNCTION @extschema@.meter_endpoint_analytics(tenant text, endpoint text, "from" timestamptz, "to" timestamptz)
RETURNS TABLE (service text, method text, requests bigint, successes bigint, errors bigint, errors_4xx bigint,
	errors_5xx bigint, refused bigint, error_rate numeric, cost numeric, unique_users bigint,
	latency_avg double precision, latency_min double precision, latency_max double precision,
	p50 double precision, p95 double precision, p99 double precision,
	requests_per_hour numeric, peak_hour timestamptz, peak_requests bigint,
	first_at timestamptz, last_at timestamptz)
LANGUAGE SQL STABLE PARALLEL RESTRICTED ROWS 5
BEGIN ATOMIC
	WITH span AS MATERIALIZED (
		SELECT u.hour, u.service, u.method, sum(u.events) AS events, sum(u.successes) AS successes,
			sum(u.errors) AS errors, sum(u.errors_4xx) AS errors_4xx, sum(u.errors_5xx) AS errors_5xx,
			sum(u.errors_429) AS errors_429, sum(u.cost) AS cost, hll_union_agg(u.users) AS users,
			@extschema@.meter_sketch_merge(u.latency) AS latency, min(u.first_at) AS first_at, max(u.last_at) AS last_at
		FROM meter.usage_span(meter_endpoint_analytics.tenant, 'api_requests', meter_endpoint_analytics."from",
			meter_endpoint_analytics."to") AS u
		WHERE (u.endpoint = ANY (ARRAY[meter_endpoint_analytics.endpoint,
				@extschema@.meter_normalize_endpoint(meter_endpoint_analytics.endpoint)])
				OR meter_endpoint_analytics.endpoint IS NULL AND u.endpoint IS NULL)
			AND meter.span_checked(meter_endpoint_analytics."from", meter_endpoint_analytics."to")
		GROUP BY u.hour, u.service, u.method
	), total AS (
		SELECT s.service, s.method, sum(s.events)::bigint AS requests, sum(s.successes)::bigint AS successes,
			sum(s.errors)::bigint AS errors, sum(s.errors_4xx)::bigint AS errors_4xx,
			sum(s.errors_5xx)::bigint AS errors_5xx, sum(s.errors_429)::bigint AS refused, sum(s.cost) AS cost,
			hll_union_agg(s.users) AS users, @extschema@.meter_sketch_merge(s.latency) AS latency,
			(array_agg(s.hour ORDER BY s.events DESC, s.hour))[1] AS peak_hour, max(s.events)::bigint AS peak_requests,
			min(s.first_at) AS first_at, max(s.last_at) AS last_at
		FROM span AS s
		GROUP BY s.service, s.method
	)
	SELECT t.service, t.method, t.requests, t.successes, t.errors, t.errors_4xx, t.errors_5xx, t.refused,
		round(100.0 * t.errors / t.requests, 2), t.cost, meter.users_count(t.users),
		@extschema@.meter_sketch_avg(t.latency), @extschema@.meter_percentile(t.latency, 0),
		@extschema@.meter_percentile(t.latency, 1), @extschema@.meter_percentile(t.latency, 0.5),
		@extschema@.meter_percentile(t.latency, 0.95), @extschema@.meter_percentile(t.latency, 0.99),
		-- of whole hours, as the requests are, and of the time that is over, which may be none
		round(t.requests / NULLIF(GREATEST(extract(epoch FROM
			LEAST(date_trunc('hour', LEAST(meter_endpoint_analytics."to", now()) + interval '3599.999999 s', 'UTC'), now())
			- date_trunc('hour', meter_endpoint_analytics."from" + interval '3599.999999 s', 'UTC')), 0) / 3600, 0), 2),
		t.peak_hour, t.peak_requests, t.first_at, t.last_at
	FROM total AS t
	ORDER BY t.requests DESC, t.service, t.method;
END;
COMMENT ON FUNCTION @extschema@.meter_endpoint_analytics(text, text, timestamptz, timestamptz) IS
'How an endpoint of a tenant, or with null of all tenants, behaves in the hours that begin from one time to, and without, another, up to now: a row for each service and method, most requests first; rates in percent, latencies in milliseconds, requests_per_hour on average over these hours, as far as they are over. The endpoint is looked for as it is given and as meter_normalize_endpoint() has it; null: requests without one. Errors: 22004 for a null time, 22008 for an infinite one, 22023 if from is not before to';

SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE FUNCTION @extschema@.meter_top_users("from" timestamptz, "to" timestamptz, tenant text DEFAULT NULL,
	"limit" integer DEFAULT 10)
RETURNS TABLE (rank bigint, tenant text, user_id text, requests bigint, errors bigint, error_rate numeric,
	cost numeric, first_seen timestamptz, last_seen timestamptz)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
	SELECT rank() OVER (ORDER BY u.requests DESC), u.tenant, u.user_id, u.requests, u.errors,
		round(100.0 * u.errors / NULLIF(u.requests, 0), 2), u.cost, u.first_seen, u.last_seen
	FROM (
		SELECT d.tenant, d.user_id,
			COALESCE(sum(d.events) FILTER (WHERE d.metric = 'api_requests'), 0)::bigint AS requests,
			COALESCE(sum(d.errors) FILTER (WHERE d.metric = 'api_requests'), 0)::bigint AS errors,
			sum(d.cost) AS cost, min(d.first_at) AS first_seen, max(d.last_at) AS last_seen
		FROM meter.usage_user_daily AS d
		WHERE d.day >= (meter_top_users."from" AT TIME ZONE 'UTC')::date
			AND d.day < meter_top_users."to" AT TIME ZONE 'UTC'
			AND (meter_top_users.tenant IS NULL OR d.tenant = meter_top_users.tenant)
		GROUP BY d.tenant, d.user_id
	) AS u
	ORDER BY u.requests DESC, u.cost DESC NULLS LAST, u.tenant, u.user_id
	-- which is looked at also where no row can be in such a span
	LIMIT CASE WHEN meter.span_checked(meter_top_users."from", meter_top_users."to") THEN meter_top_users."limit" END;
END;
COMMENT ON FUNCTION @extschema@.meter_top_users(timestamptz, timestamptz, text, integer) IS
'The users of a tenant, or with null of all tenants, with most requests, and of the same with the highest costs, on the days (UTC) from that of one time to that of another, which is left out if it is midnight: as many as limit says, or with null all. As rolled up. Requests and errors are of the metric api_requests, costs of all. Errors: 22004 for a null time, 22008 for an infinite one, 22023 if from is not before to, 2201W for a negative limit';

-- Minutes are in the log only, since the totals are of hours.
CREATE FUNCTION @extschema@.meter_system_metrics()
RETURNS TABLE (requests_per_minute numeric, error_rate numeric, server_error_rate numeric, refused_rate numeric,
	latency_avg numeric, latency_p95 numeric, active_endpoints bigint, tenants_today bigint, requests_today bigint,
	cost_today numeric, queue_bytes bigint, queue_percent numeric, flush_lag interval,
	rollup_lag interval, alerts_firing bigint, incidents_open bigint)
LANGUAGE SQL STABLE PARALLEL RESTRICTED ROWS 1
BEGIN ATOMIC
	SELECT round(COALESCE(w.requests, 0) / 5.0, 2), round(100.0 * w.errors / NULLIF(w.served, 0), 2),
		round(100.0 * w.server_errors / NULLIF(w.served, 0), 2), round(100.0 * w.refused / NULLIF(w.requests, 0), 2),
		round(w.latency_avg::numeric, 2), round(w.latency_p95::numeric, 2), COALESCE(w.endpoints, 0),
		t.tenants, t.requests, t.cost, s.queue_bytes,
		round(100.0 * s.queue_bytes / NULLIF(s.queue_capacity, 0), 2), s.flush_lag, s.rollup_lag,
		(SELECT count(*) FROM meter.alert AS a WHERE a.state = 'firing'),
		(SELECT count(*) FROM meter.incident AS i WHERE i.status <> 'resolved')
	FROM meter.health_window(now()) AS w
	CROSS JOIN (
		-- whose index is by time, where meter.usage_hourly's is by tenant
		SELECT count(DISTINCT r.tenant) AS tenants, sum(r.cost) AS cost,
			COALESCE(sum(r.requests), 0)::bigint AS requests
		FROM meter.usage_recent AS r
		WHERE r.bucket >= date_trunc('day', now(), 'UTC')
	) AS t
	CROSS JOIN meter.stats AS s;
END;
COMMENT ON FUNCTION @extschema@.meter_system_metrics() IS
'How the whole platform does, in one row: requests of the last five minutes in the log, as meter_health() looks at them (rates in percent, latencies in ms); tenants, requests and costs of today (UTC) as meter.usage_recent has them; bytes that wait in the queue (null if meter is not preloaded) and how far log and totals are behind; firing alerts and open incidents';

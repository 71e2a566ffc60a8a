-- time_series.sql: usage by time, without gaps, for charts

-- What the functions of this file and of statistics.sql add up.  It is inlined,
-- so that constants reach the partitions and indexes; the parts of an hour need
-- not be one row, since all that is done with them can be merged.
CREATE FUNCTION meter.usage_span(of_tenant text, of_metric text, "from" timestamptz, "to" timestamptz)
RETURNS SETOF meter.usage_hourly
LANGUAGE SQL STABLE PARALLEL RESTRICTED ROWS 10000
BEGIN ATOMIC
	WITH tail AS MATERIALIZED (
		SELECT t.replaces, (t.usage).* FROM meter.usage_tail(usage_span.of_tenant) AS t
	)
	SELECT h.*
	FROM meter.usage_hourly AS h
	WHERE h.hour >= usage_span."from" AND h.hour < usage_span."to"
		AND (usage_span.of_tenant IS NULL OR h.tenant = usage_span.of_tenant)
		AND (usage_span.of_metric IS NULL OR h.metric = usage_span.of_metric)
		AND NOT EXISTS (SELECT FROM tail AS t WHERE t.replaces AND t.tenant = h.tenant AND t.hour = h.hour)
	UNION ALL
	SELECT t.hour, t.tenant, t.metric, t.service, t.endpoint, t.method, t.dims,
		t.events, t.successes, t.errors, t.errors_4xx, t.errors_5xx, t.errors_429, t.folded,
		t.first_at, t.last_at, t.last_seq,
		t.quantity, t.quantity_min, t.quantity_max, t.quantity_first, t.quantity_last,
		t.quantity_seconds, t.cost, t.latency, t.users
	FROM tail AS t
	WHERE t.events > 0 AND t.hour >= usage_span."from" AND t.hour < usage_span."to"
		AND (usage_span.of_tenant IS NULL OR t.tenant = usage_span.of_tenant)
		AND (usage_span.of_metric IS NULL OR t.metric = usage_span.of_metric);
END;
COMMENT ON FUNCTION meter.usage_span(text, text, timestamptz, timestamptz) IS
'Usage of the hours that begin from one time to, and without, another, up to now: rows of meter.usage_hourly, and of what is not rolled up yet, of which an hour may have both; of one tenant and metric, or with null of all';

CREATE FUNCTION meter.span_checked("from" timestamptz, "to" timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF "from" IS NULL OR "to" IS NULL THEN
		RAISE EXCEPTION '% must not be null', CASE WHEN "from" IS NULL THEN 'from' ELSE 'to' END
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF NOT isfinite("from") OR NOT isfinite("to") THEN
		RAISE EXCEPTION 'from and to must be finite' USING ERRCODE = 'datetime_field_overflow';
	END IF;
	IF "from" >= "to" THEN
		RAISE EXCEPTION 'from must be before to' USING ERRCODE = 'invalid_parameter_value',
			DETAIL = format('From is %s, to is %s.', "from", "to");
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION meter.span_checked(timestamptz, timestamptz) IS
'True, or an error: 22004 if one of the times is null, 22008 if it is infinite, 22023 if the first is not before the second';

CREATE FUNCTION meter.series_starts("from" timestamptz, "to" timestamptz, step interval, time_zone text)
RETURNS timestamptz[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	max_steps CONSTANT integer := 10000;
	months CONSTANT integer := extract(year FROM step) * 12 + extract(month FROM step);
	days CONSTANT integer := extract(day FROM step);
	seconds CONSTANT numeric := extract(epoch FROM step - make_interval(months => months, days => days));
	unit CONSTANT text := CASE
		WHEN months > 0 AND months % 12 = 0 THEN 'year'
		WHEN months > 0 AND months % 3 = 0 THEN 'quarter'
		WHEN months > 0 THEN 'month'
		WHEN days > 0 AND days % 7 = 0 THEN 'week'
		WHEN days > 0 THEN 'day' END;
	zone CONSTANT text := COALESCE(time_zone, current_setting('TimeZone'));
	starts timestamptz[];
BEGIN
	PERFORM meter.span_checked("from", "to");
	-- also of hours, which do not ask for it
	PERFORM timezone(zone, "from");
	IF step IS NULL THEN
		RAISE EXCEPTION 'step must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF months < 0 OR days < 0 OR seconds < 0
		OR (months > 0)::integer + (days > 0)::integer + (seconds > 0)::integer <> 1
		OR seconds % 3600 <> 0 THEN
		RAISE EXCEPTION 'step % is not possible', step USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is a number of whole hours, days, weeks, months or years, as ''1 hour'' or ''7 days''.';
	END IF;
	-- before it is made
	IF extract(epoch FROM "to" - "from") / (months * 2592000.0 + days * 86400 + seconds) > max_steps THEN
		RAISE EXCEPTION 'too many steps' USING ERRCODE = 'program_limit_exceeded',
			DETAIL = format('At most %s are possible.', max_steps), HINT = 'Take a longer step, or less time.';
	END IF;
	IF seconds > 0 THEN
		SELECT array_agg(s.at ORDER BY s.at) INTO starts
		FROM generate_series(date_trunc('hour', "from" + interval '3599.999999 s', 'UTC'), "to" - interval '1 microsecond', step) AS s(at);
	ELSE
		-- Days of 23 and 25 hours are one step each, so they are counted by the calendar.
		-- Where midnight comes twice, as in the Azores, a day begins with the first.
		SELECT array_agg(s.at ORDER BY s.at) INTO starts
		FROM (
			SELECT DISTINCT CASE WHEN (m.at - interval '1 hour') AT TIME ZONE zone = d.local
				THEN m.at - interval '1 hour' ELSE m.at END AS at
			FROM generate_series(date_trunc(unit, "from" AT TIME ZONE zone),
				("to" - interval '1 microsecond') AT TIME ZONE zone, step) AS d(local)
			CROSS JOIN LATERAL (SELECT d.local AT TIME ZONE zone) AS m(at)
		) AS s
		WHERE s.at < "to";
	END IF;
	RETURN starts;
END
$$;
COMMENT ON FUNCTION meter.series_starts(timestamptz, timestamptz, interval, text) IS
'Part of meter_time_series(): the beginnings of its steps; errors as there';

CREATE FUNCTION meter.series_checked(metric text, group_by text, filter jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	dimensions text[];
	names text[] := ARRAY['tenant', 'service', 'endpoint', 'method'];
	wrong text;
BEGIN
	IF metric IS NULL THEN
		RAISE EXCEPTION 'metric must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	SELECT m.dimensions INTO dimensions FROM meter.metric AS m WHERE m.metric = series_checked.metric;
	-- that of meter_track(), which may not have been called yet
	IF NOT FOUND AND metric <> 'api_requests' THEN
		RAISE EXCEPTION 'metric "%" is not registered', metric USING ERRCODE = 'undefined_object',
			HINT = 'meter.metric has those that are.';
	END IF;
	names := names || dimensions;
	IF group_by <> ALL (names) THEN
		RAISE EXCEPTION 'cannot group by "%"', group_by USING ERRCODE = 'invalid_parameter_value',
			HINT = format('It is one of %s.', array_to_string(names, ', '));
	END IF;
	IF jsonb_typeof(filter) <> 'object' THEN
		RAISE EXCEPTION 'filter must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT f.key INTO wrong FROM jsonb_each(filter) AS f WHERE f.key <> ALL (names) ORDER BY f.key LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'cannot filter by "%"', wrong USING ERRCODE = 'invalid_parameter_value',
			HINT = format('It is one of %s.', array_to_string(names, ', '));
	END IF;
	SELECT f.key INTO wrong FROM jsonb_each(filter) AS f
	WHERE jsonb_typeof(f.value) = ANY (ARRAY['object', 'array'])
		OR jsonb_typeof(f.value) <> 'string' AND f.key = 'tenant'
		OR jsonb_typeof(f.value) <> ALL (ARRAY['string', 'null']) AND f.key = ANY (ARRAY['service', 'endpoint', 'method'])
	ORDER BY f.key LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'filter "%" has a value of a wrong type', wrong USING ERRCODE = 'invalid_parameter_value',
			DETAIL = format('It is of type %s.', jsonb_typeof(filter -> wrong)),
			HINT = 'It is a string, of dimensions also a number or a boolean; null, but of a tenant, is what has none.';
	END IF;
	RETURN COALESCE(filter, '{}');
END
$$;
COMMENT ON FUNCTION meter.series_checked(text, text, jsonb) IS
'Part of meter_time_series(): its filter, if that, its metric and what it groups by are possible; errors as there';

CREATE FUNCTION meter.series_fits(steps integer, groups bigint) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF steps * groups > 1000000 THEN
		RAISE EXCEPTION 'too many rows' USING ERRCODE = 'program_limit_exceeded',
			DETAIL = format('%s steps of %s groups are more than 1000000 rows.', steps, groups),
			HINT = 'Filter, or take a longer step.';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION meter.series_fits(integer, bigint) IS
'Part of meter_time_series(): true, or the error that there would be too many rows';

-- hll is in whatever schema it was installed in, see usage.sql
SELECT pg_catalog.set_config('search_path',
	pg_catalog.format('pg_catalog, %s', extnamespace::regnamespace), true)
FROM pg_catalog.pg_extension WHERE extname = 'hll';

CREATE FUNCTION @extschema@.meter_time_series(metric text, "from" timestamptz, "to" timestamptz,
	step interval DEFAULT '1 hour', group_by text DEFAULT NULL, filter jsonb DEFAULT '{}',
	time_zone text DEFAULT NULL)
RETURNS TABLE (at timestamptz, "group" text, events bigint, errors bigint, refused bigint, error_rate numeric,
	quantity numeric, quantity_min numeric, quantity_max numeric, time_weighted numeric,
	cost numeric, unique_users bigint, latency_avg double precision, p50 double precision, p95 double precision,
	p99 double precision)
LANGUAGE SQL STABLE PARALLEL RESTRICTED ROWS 1000
BEGIN ATOMIC
	WITH argument AS MATERIALIZED (
		SELECT meter.series_starts(meter_time_series."from", meter_time_series."to", meter_time_series.step,
				meter_time_series.time_zone) AS starts,
			meter.series_checked(meter_time_series.metric, meter_time_series.group_by,
				meter_time_series.filter) AS filter,
			-- null, so that rows need not be looked at for nothing
			CASE WHEN jsonb_typeof(meter_time_series.filter) = 'object' THEN
				NULLIF(meter_time_series.filter - '{tenant,service,endpoint,method}'::text[], '{}') END AS dims
	), part AS (
		-- which of the two a row is of is known when it is planned, so each is read by
		-- whom it is for
		SELECT false AS is_level, u.hour, u.tenant, u.service, u.endpoint, u.method, u.dims, u.events, u.errors, u.errors_429,
			u.quantity, u.quantity_min, u.quantity_max, u.cost, u.latency, u.users,
			NULL::numeric AS seconds, NULL::numeric AS level_seconds
		FROM meter.usage_span(meter_time_series.filter ->> 'tenant', meter_time_series.metric,
			meter_time_series."from", meter_time_series."to") AS u
		UNION ALL
		SELECT true, g.hour, g.tenant, g.service, g.endpoint, g.method, g.dims, 0, 0, 0,
			NULL, NULL, NULL, NULL, NULL, NULL, g.seconds, g.level_seconds
		FROM meter.gauge_level AS g
		WHERE EXISTS (SELECT FROM meter.metric AS m WHERE m.metric = meter_time_series.metric AND m.kind = 'gauge')
			AND g.metric = meter_time_series.metric
			AND g.hour >= meter_time_series."from" AND g.hour < meter_time_series."to"
			AND (meter_time_series.filter ->> 'tenant' IS NULL
				OR g.tenant = (meter_time_series.filter ->> 'tenant'))
	), grouped AS NOT MATERIALIZED (
		SELECT width_bucket(p.hour, a.starts) AS n,
			CASE meter_time_series.group_by WHEN 'tenant' THEN p.tenant WHEN 'service' THEN p.service
				WHEN 'endpoint' THEN p.endpoint WHEN 'method' THEN p.method
				ELSE p.dims ->> meter_time_series.group_by END AS "group",
			p.*
		FROM part AS p
		CROSS JOIN argument AS a
		WHERE (NOT a.filter ? 'service' OR p.service IS NOT DISTINCT FROM (a.filter ->> 'service'))
			AND (NOT a.filter ? 'endpoint' OR p.endpoint IS NOT DISTINCT FROM (a.filter ->> 'endpoint'))
			AND (NOT a.filter ? 'method' OR p.method IS NOT DISTINCT FROM (a.filter ->> 'method'))
			AND (a.dims IS NULL OR NOT EXISTS (
				SELECT FROM jsonb_each(a.dims) AS f
				WHERE (p.dims ->> f.key) IS DISTINCT FROM (f.value #>> '{}')))
	), point AS (
		SELECT g.n, g."group",
			sum(g.events)::bigint AS events, sum(g.errors)::bigint AS errors, sum(g.errors_429)::bigint AS refused,
			sum(g.quantity) AS quantity, min(g.quantity_min) AS quantity_min, max(g.quantity_max) AS quantity_max,
			sum(g.cost) AS cost, hll_union_agg(g.users) AS users,
			@extschema@.meter_sketch_merge(g.latency) AS latency
		FROM grouped AS g
		WHERE NOT g.is_level
		GROUP BY g.n, g."group"
	), level AS (
		-- Levels of several gauges are added, as bills do.  Each is known from its first
		-- sample on, so in an hour that of all is for as long as the first of them.
		SELECT h.n, h."group", sum(h.level_seconds) / NULLIF(sum(h.seconds), 0) AS time_weighted
		FROM (
			SELECT g.n, g."group", g.hour, max(g.seconds) AS seconds, sum(g.level_seconds) AS level_seconds
			FROM grouped AS g
			WHERE g.is_level
			GROUP BY g.n, g."group", g.hour
		) AS h
		GROUP BY h.n, h."group"
	), shown AS MATERIALIZED (
		SELECT p."group" FROM point AS p
		UNION
		SELECT l."group" FROM level AS l
		UNION
		SELECT NULL WHERE meter_time_series.group_by IS NULL
	)
	SELECT a.starts[s.n], k."group",
		COALESCE(p.events, 0), COALESCE(p.errors, 0), COALESCE(p.refused, 0),
		round(100.0 * p.errors / NULLIF(p.events, 0), 2),
		COALESCE(p.quantity, 0), p.quantity_min, p.quantity_max, l.time_weighted,
		p.cost, meter.users_count(p.users),
		@extschema@.meter_sketch_avg(p.latency),
		@extschema@.meter_percentile(p.latency, 0.5), @extschema@.meter_percentile(p.latency, 0.95),
		@extschema@.meter_percentile(p.latency, 0.99)
	FROM argument AS a
	CROSS JOIN LATERAL generate_subscripts(a.starts, 1) AS s(n)
	CROSS JOIN shown AS k
	-- a join by IS NOT DISTINCT FROM could not use a hash
	LEFT JOIN point AS p ON p.n = s.n AND COALESCE('=' || p."group", '') = COALESCE('=' || k."group", '')
	LEFT JOIN level AS l ON l.n = s.n AND COALESCE('=' || l."group", '') = COALESCE('=' || k."group", '')
	WHERE meter.series_fits(cardinality(a.starts), (SELECT count(*) FROM shown))
	ORDER BY s.n, k."group" NULLS LAST;
END;
COMMENT ON FUNCTION @extschema@.meter_time_series(text, timestamptz, timestamptz, interval, text, jsonb, text) IS
'Usage of a metric by time, of the hours that begin from one time to, and without, another, up to now: a row for each step, also where there was none. step is a number of whole hours, or of days, weeks, months or years of the time zone (default: the session''s); an hour, which is one of UTC, belongs to the step in which it begins, and days, weeks, months and years are those of the calendar, of which the first can begin before. group_by is tenant, service, endpoint, method or a dimension of the metric: then there is a row for each step and group. filter is an object with values of the same, null for none. error_rate in percent, latencies in milliseconds; quantity is the sum, time_weighted the level of a gauge, of several added. Errors: 22004 for null, 22008 for an infinite time, 42704 for an unknown metric, 22023 for another step, group_by, filter or time zone or if from is not before to, 54000 for more than 10000 steps or 1000000 rows';

SET LOCAL search_path TO pg_catalog, pg_temp;

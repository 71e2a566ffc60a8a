-- segment.sql: how much was used of a metric in a time, by any aggregation

CREATE TYPE meter.usage_segment AS (
	no integer,
	tenant text COLLATE "C",
	price_id uuid,
	metric text COLLATE "C",
	dims jsonb,
	filtered boolean,
	aggregation text,
	percentile numeric,
	model text,
	gauge boolean,
	period_seconds numeric,
	from_at timestamptz,
	to_at timestamptz,
	first_hour timestamptz,
	last_hour timestamptz
);
COMMENT ON TYPE meter.usage_segment IS
'What is to be aggregated: a metric of a tenant, of events with these dimensions, from from_at up to to_at; a number tells the segments apart. first_hour and last_hour are the bounds of the full hours (UTC) in it. What is narrowed to a part of an hour is a segment, too. filtered is whether dims are to be looked at';

CREATE FUNCTION meter.segment_of(no integer, tenant text, price_id uuid, metric text, dims jsonb, aggregation text,
	percentile numeric, model text, gauge boolean, period_seconds numeric, from_at timestamptz, to_at timestamptz)
RETURNS meter.usage_segment
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN ROW(no, tenant, price_id, metric, dims, dims <> '{}', aggregation, percentile, model, gauge, period_seconds,
	from_at, to_at, date_trunc('hour', from_at - interval '1 microsecond', 'UTC') + interval '1 hour',
	date_trunc('hour', to_at, 'UTC'))::meter.usage_segment;
COMMENT ON FUNCTION meter.segment_of(integer, text, uuid, text, jsonb, text, numeric, text, boolean, numeric,
	timestamptz, timestamptz) IS
'A meter.usage_segment, with what follows from its bounds and dimensions';

-- The queries below are planned for the segments they are called with: a few are
-- looked up by index, thousands are joined to a whole month at once.  That is
-- why they are handed from function to function as arrays, whose length the
-- planner knows, and why no plan is kept.

-- What the rollup does not tell of segments: of hours that are not full, in which
-- a segment begins or ends in time zones that are not whole hours off; and of
-- hours with so many dimensions that the rollup has folded some, for those who ask
-- for certain ones.  Gauges are not folded, but to know the level that a segment
-- begins with, all of their samples in its first hour are needed.  Hours without
-- usage are left out.
CREATE FUNCTION meter.segment_cut(segments meter.usage_segment[], for_levels boolean,
	OUT pieces meter.usage_segment[], OUT hours timestamptz[])
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
DECLARE
	low timestamptz;
	high timestamptz;
	cut meter.usage_segment[] := ARRAY(SELECT s FROM unnest(segments) AS s
		WHERE s.from_at < s.first_hour OR s.last_hour < s.to_at);
	filtered meter.usage_segment[] := ARRAY(SELECT s FROM unnest(segments) AS s
		WHERE s.filtered AND NOT for_levels);
BEGIN
	IF cut = '{}' AND filtered = '{}' THEN
		RETURN;
	END IF;
	SELECT min(date_trunc('hour', s.from_at, 'UTC')), max(s.to_at) INTO low, high
	FROM unnest(cut || filtered) AS s;
	WITH piece AS MATERIALIZED (
		SELECT s.*, date_trunc('hour', p.from_at, 'UTC') AS hour,
			CASE WHEN for_levels THEN date_trunc('hour', p.from_at, 'UTC') ELSE p.from_at END AS piece_from,
			p.to_at AS piece_to
		FROM unnest(cut) AS s
		CROSS JOIN LATERAL (
			SELECT s.from_at, LEAST(s.first_hour, s.to_at)
			WHERE s.from_at < s.first_hour
			UNION ALL
			SELECT s.last_hour, s.to_at
			WHERE s.last_hour < s.to_at AND s.last_hour >= s.first_hour
		) AS p(from_at, to_at)
	), used AS MATERIALIZED (
		SELECT d.tenant, d.metric, d.hour
		FROM (SELECT DISTINCT tenant, metric, hour FROM piece) AS d
		CROSS JOIN LATERAL (
			SELECT FROM meter.usage_hourly AS h
			WHERE h.tenant = d.tenant AND h.hour = d.hour AND h.metric = d.metric
				AND h.hour >= low AND h.hour < high
				AND (NOT for_levels OR h.quantity_seconds IS NOT NULL)
			LIMIT 1) AS h
	), narrowed AS (
		SELECT p.no, p.tenant, p.price_id, p.metric, p.dims, p.filtered, p.aggregation, p.percentile, p.model,
			p.gauge, p.period_seconds, p.piece_from, p.piece_to, p.first_hour, p.last_hour, p.hour
		FROM piece AS p
		JOIN used AS u ON u.tenant = p.tenant AND u.metric = p.metric AND u.hour = p.hour
		UNION ALL
		SELECT s.no, s.tenant, s.price_id, s.metric, s.dims, s.filtered, s.aggregation, s.percentile, s.model,
			s.gauge, s.period_seconds, h.hour, h.hour + interval '1 hour', s.first_hour, s.last_hour, h.hour
		FROM unnest(filtered) AS s
		JOIN meter.usage_hourly AS h ON h.tenant = s.tenant AND h.metric = s.metric
			AND h.hour >= s.first_hour AND h.hour < s.last_hour
		WHERE h.folded > 0 AND h.dims = '{"(other)": true}' AND h.hour >= low AND h.hour < high
	)
	SELECT array_agg(ROW(n.no, n.tenant, n.price_id, n.metric, n.dims, n.filtered, n.aggregation, n.percentile,
			n.model, n.gauge, n.period_seconds, n.piece_from, n.piece_to, n.first_hour,
			n.last_hour)::meter.usage_segment),
		array_agg(DISTINCT n.hour)
	INTO pieces, hours
	FROM narrowed AS n;
END
$$;
COMMENT ON FUNCTION meter.segment_cut(meter.usage_segment[], boolean) IS
'The parts of segments that are not full hours (UTC), or hours whose dimensions were folded, and have usage, and those hours, which are to be read from the log; for levels from the beginning of the hour';

-- The events of segments in the given hours, as far as they are rolled up: so they
-- fit the hours of meter.usage_hourly, whatever has been appended or corrected
-- since.
CREATE FUNCTION meter.segment_event(segments meter.usage_segment[], hours timestamptz[])
RETURNS TABLE (no integer, at timestamptz, seq bigint, quantity numeric, cost numeric,
	service text, endpoint text, method text, dims jsonb, refused boolean)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	rolled_up bigint := meter.usage_position();
	dropped date := (SELECT dropped_through FROM meter.log_position);
	missing date;
	low timestamptz;
	high timestamptz;
	tenants text[];
	metrics text[];
BEGIN
	SELECT min(h.hour), max(h.hour) + interval '1 hour',
		min((h.hour AT TIME ZONE 'UTC')::date) FILTER (WHERE (h.hour AT TIME ZONE 'UTC')::date <= dropped)
	INTO low, high, missing
	FROM unnest(hours) AS h(hour);
	IF low IS NULL THEN
		RETURN;
	END IF;
	IF missing IS NOT NULL THEN
		RAISE EXCEPTION 'the events of % are not kept any more', missing
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'They are needed for a price by event, a time zone that is not whole hours off UTC, or dimensions that were folded.',
				HINT = 'meter.billing_usage_missing() lists the tenants. Raise meter.retention to keep events longer.';
	END IF;
	SELECT array_agg(DISTINCT s.tenant), array_agg(DISTINCT s.metric) INTO tenants, metrics
	FROM unnest(segments) AS s;
	RETURN QUERY
	SELECT s.no, e.at, e.seq, e.quantity, e.cost, e.service, e.endpoint, e.method, e.dims, e.refused
	FROM unnest(hours) AS h(hour)
	CROSS JOIN LATERAL (
		SELECT v.tenant, v.metric, v.at, v.seq, v.quantity, v.cost, v.service, v.endpoint, v.method,
			meter.event_dims(v.metric, v.metadata) AS dims, v.status IS NOT DISTINCT FROM 429 AS refused
		FROM meter.event AS v
		WHERE v.at >= h.hour AND v.at < h.hour + interval '1 hour'
			AND v.at >= low AND v.at < high
			AND v.tenant = ANY (tenants) AND v.metric = ANY (metrics)
			AND v.seq <= rolled_up AND (v.superseded_by IS NULL OR v.superseded_by > rolled_up)
		OFFSET 0) AS e
	JOIN unnest(segments) AS s ON s.tenant = e.tenant AND s.metric = e.metric
		AND e.at >= s.from_at AND e.at < s.to_at AND (NOT s.filtered OR e.dims @> s.dims);
END
$$;
COMMENT ON FUNCTION meter.segment_event(meter.usage_segment[], timestamptz[]) IS
'The events of segments in the given hours (UTC) that are rolled up and count, read from the log. Errors: 55000 if the events of one of these days were dropped';

-- Gauges: samples with how long they hold.  A row is one sample or, of a full
-- hour, all of a group from its first to its last, over which the level is
-- integrated already.  What is before the segment is there for the level that
-- is carried into it.
CREATE FUNCTION meter.segment_sample(segments meter.usage_segment[])
RETURNS TABLE (no integer, first_at timestamptz, last_at timestamptz, until timestamptz,
	last_seq bigint, level numeric, level_seconds numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	low timestamptz;
	high timestamptz;
	later_low timestamptz;
	later_high timestamptz;
	pieces meter.usage_segment[];
	hours timestamptz[];
	-- of these, the level at the beginning may come from the same month
	later meter.usage_segment[] := ARRAY(SELECT s FROM unnest(segments) AS s
		WHERE s.from_at > date_trunc('month', s.from_at, 'UTC'));
BEGIN
	SELECT min(s.first_hour), max(s.last_hour) INTO low, high FROM unnest(segments) AS s;
	IF low IS NULL THEN
		RETURN;
	END IF;
	SELECT date_trunc('month', min(s.from_at), 'UTC'), max(s.from_at) INTO later_low, later_high
	FROM unnest(later) AS s;
	SELECT c.pieces, c.hours INTO pieces, hours FROM meter.segment_cut(segments, true) AS c;
	RETURN QUERY
	WITH earlier AS (
		SELECT s.no, g.service, g.endpoint, g.method, g.dims, g.last_at, g.last_seq, g.level
		FROM unnest(segments) AS s
		JOIN meter.gauge_last AS g ON g.tenant = s.tenant AND g.metric = s.metric
			AND g.month < date_trunc('month', s.from_at AT TIME ZONE 'UTC')::date
			AND (NOT s.filtered OR g.dims @> s.dims)
		UNION ALL
		SELECT s.no, h.service, h.endpoint, h.method, h.dims, h.last_at, h.last_seq, h.quantity_last
		FROM unnest(later) AS s
		JOIN meter.usage_hourly AS h ON h.tenant = s.tenant AND h.metric = s.metric
			AND h.quantity_seconds IS NOT NULL
			AND h.hour >= date_trunc('month', s.from_at, 'UTC') AND h.hour + interval '1 hour' <= s.from_at
			AND (NOT s.filtered OR h.dims @> s.dims)
		WHERE h.hour >= later_low AND h.hour < later_high
	), carried AS (
		SELECT DISTINCT ON (no, service, endpoint, method, dims) *
		FROM earlier
		ORDER BY no, service, endpoint, method, dims, last_at DESC
	), sample AS (
		SELECT no, service, endpoint, method, dims, last_at AS first_at, last_at, last_seq, level,
			0::numeric AS level_seconds
		FROM carried
		UNION ALL
		SELECT s.no, h.service, h.endpoint, h.method, h.dims, h.first_at, h.last_at, h.last_seq,
			h.quantity_last, h.quantity_seconds
		FROM unnest(segments) AS s
		JOIN meter.usage_hourly AS h ON h.tenant = s.tenant AND h.metric = s.metric
			AND h.quantity_seconds IS NOT NULL
			AND h.hour >= s.first_hour AND h.hour < s.last_hour
			AND (NOT s.filtered OR h.dims @> s.dims)
		WHERE h.hour >= low AND h.hour < high
		UNION ALL
		SELECT e.no, e.service, e.endpoint, e.method, e.dims, e.at, e.at, e.seq, e.quantity, 0
		FROM meter.segment_event(pieces, hours) AS e
	)
	SELECT no, first_at, last_at,
		GREATEST(last_at, COALESCE(lead(first_at) OVER (
			PARTITION BY no, service, endpoint, method, dims ORDER BY first_at, last_seq), now())),
		last_seq, level, level_seconds
	FROM sample;
END
$$;
COMMENT ON FUNCTION meter.segment_sample(meter.usage_segment[]) IS
'Samples of gauges of segments, also those before that carry into them: from first_at to last_at the level is integrated in level_seconds, then it is level until the next sample, or now. Errors: as of meter.segment_event()';

CREATE FUNCTION meter.segment_level(segments meter.usage_segment[])
RETURNS TABLE (no integer, level_seconds numeric, carried_min numeric, carried_max numeric, carried_last numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT s.no,
		sum(p.seconds * h.level + CASE WHEN h.first_at >= s.from_at THEN h.level_seconds ELSE 0 END),
		min(h.level) FILTER (WHERE h.last_at < s.from_at),
		max(h.level) FILTER (WHERE h.last_at < s.from_at),
		(max(ARRAY[extract(epoch FROM h.last_at), h.last_seq, h.level]) FILTER (WHERE h.last_at < s.from_at))[3]
	FROM unnest(segments) AS s
	JOIN meter.segment_sample(segments) AS h ON h.no = s.no
	CROSS JOIN LATERAL (
		SELECT GREATEST(extract(epoch FROM LEAST(h.until, s.to_at) - GREATEST(h.last_at, s.from_at)), 0)
	) AS p(seconds)
	WHERE h.last_at < s.to_at AND (h.first_at >= s.from_at OR p.seconds > 0)
	GROUP BY s.no;
END
$$;
COMMENT ON FUNCTION meter.segment_level(meter.usage_segment[]) IS
'Gauges of segments: level times seconds, and the lowest, the highest and the last level that was carried into the segment, null without. No row for a segment without level. Errors: as of meter.segment_event()';

-- Sums and extremes of samples, from full hours and from the events of the others.
CREATE FUNCTION meter.segment_total(segments meter.usage_segment[])
RETURNS TABLE (no integer, quantity numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	low timestamptz;
	high timestamptz;
	pieces meter.usage_segment[];
	hours timestamptz[];
BEGIN
	SELECT min(s.first_hour), max(s.last_hour) INTO low, high FROM unnest(segments) AS s;
	IF low IS NULL THEN
		RETURN;
	END IF;
	SELECT c.pieces, c.hours INTO pieces, hours FROM meter.segment_cut(segments, false) AS c;
	RETURN QUERY
	WITH part AS (
		SELECT s.no, sum(h.events) AS events, sum(h.errors_429) AS refused, sum(h.quantity) AS quantity, sum(h.cost) AS cost,
			min(h.quantity_min) AS quantity_min, max(h.quantity_max) AS quantity_max,
			-- ordered by time, then by position; unlike array_agg(... ORDER BY) it needs no sort
			max(CASE WHEN s.aggregation = 'last'
				THEN ARRAY[extract(epoch FROM h.last_at), h.last_seq, h.quantity_last] END) AS last
		FROM unnest(segments) AS s
		JOIN meter.usage_hourly AS h ON h.tenant = s.tenant AND h.metric = s.metric
			AND h.hour >= s.first_hour AND h.hour < s.last_hour
			AND (NOT s.filtered OR h.dims @> s.dims AND NOT EXISTS (
				SELECT FROM unnest(pieces) AS p WHERE p.no = s.no AND p.from_at = h.hour))
		WHERE h.hour >= low AND h.hour < high
		GROUP BY s.no
		UNION ALL
		SELECT e.no, count(*), count(*) FILTER (WHERE e.refused), sum(e.quantity), sum(e.cost), min(e.quantity), max(e.quantity),
			max(ARRAY[extract(epoch FROM e.at), e.seq, e.quantity])
		FROM meter.segment_event(pieces, hours) AS e
		GROUP BY e.no
	), total AS (
		SELECT no, sum(events) AS events, sum(refused) AS refused, sum(quantity) AS quantity, sum(cost) AS cost,
			min(quantity_min) AS quantity_min, max(quantity_max) AS quantity_max, max(last) AS last
		FROM part
		GROUP BY no
	)
	SELECT s.no, CASE
		WHEN s.model = 'dynamic' THEN COALESCE(t.cost, 0)
		WHEN s.aggregation = 'count' THEN COALESCE(t.events - t.refused, 0)
		WHEN s.aggregation = 'sum' THEN COALESCE(t.quantity, 0)
		WHEN s.aggregation = 'avg' THEN meter.bill_quotient(t.quantity, NULLIF(t.events, 0))
		WHEN s.aggregation = 'min' THEN LEAST(t.quantity_min, l.carried_min)
		WHEN s.aggregation = 'max' THEN GREATEST(t.quantity_max, l.carried_max)
		WHEN s.aggregation = 'last' THEN COALESCE(t.last[3], l.carried_last)
		END
	FROM unnest(segments) AS s
	LEFT JOIN total AS t ON t.no = s.no
	LEFT JOIN meter.segment_level(ARRAY(
		SELECT g FROM unnest(segments) AS g
		WHERE g.gauge AND g.model IS DISTINCT FROM 'dynamic'
			AND g.aggregation = ANY (ARRAY['min', 'max', 'last']))) AS l ON l.no = s.no;
END
$$;
COMMENT ON FUNCTION meter.segment_total(meter.usage_segment[]) IS
'count (of events that were not refused), sum, min, max, avg and last of segments, or the cost that the events carry for the model dynamic. Without usage 0 for count, sum and cost, null for the others; the level of a gauge that carries into a segment counts for min, max and last. Errors: as of meter.segment_event()';

-- Burstable billing: the level of every hour, in ascending order.  Hours without
-- usage are not stored, so their zeros are put where they belong by counting.
CREATE FUNCTION meter.segment_percentile(segments meter.usage_segment[])
RETURNS TABLE (no integer, quantity numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	low timestamptz;
	high timestamptz;
	counters meter.usage_segment[] := ARRAY(SELECT s FROM unnest(segments) AS s WHERE NOT s.gauge);
	gauges meter.usage_segment[] := ARRAY(SELECT s FROM unnest(segments) AS s WHERE s.gauge);
	pieces meter.usage_segment[];
	hours timestamptz[];
BEGIN
	SELECT min(s.first_hour), max(s.last_hour) INTO low, high FROM unnest(segments) AS s;
	IF low IS NULL THEN
		RETURN;
	END IF;
	SELECT c.pieces, c.hours INTO pieces, hours FROM meter.segment_cut(counters, false) AS c;
	RETURN QUERY
	WITH sample AS MATERIALIZED (
		SELECT g.no, g.from_at, g.to_at, h.first_at, h.last_at, h.until, h.level, h.level_seconds
		FROM unnest(gauges) AS g
		JOIN meter.segment_sample(gauges) AS h ON h.no = g.no
		WHERE h.last_at < g.to_at
	), hourly AS (
		SELECT s.no, h.hour, sum(h.quantity) AS value
		FROM unnest(counters) AS s
		JOIN meter.usage_hourly AS h ON h.tenant = s.tenant AND h.metric = s.metric
			AND h.hour >= s.first_hour AND h.hour < s.last_hour
			AND (NOT s.filtered OR h.dims @> s.dims AND NOT EXISTS (
				SELECT FROM unnest(pieces) AS p WHERE p.no = s.no AND p.from_at = h.hour))
		WHERE h.hour >= low AND h.hour < high
		GROUP BY s.no, h.hour
		UNION ALL
		SELECT e.no, date_trunc('hour', e.at, 'UTC'), sum(e.quantity)
		FROM meter.segment_event(pieces, hours) AS e
		GROUP BY 1, 2
		UNION ALL
		SELECT s.no, l.hour, meter.bill_quotient(sum(l.level_seconds),
			extract(epoch FROM LEAST(l.hour + interval '1 hour', s.to_at) - GREATEST(l.hour, s.from_at)))
		FROM unnest(gauges) AS s
		JOIN (
			SELECT h.no, date_trunc('hour', h.first_at, 'UTC') AS hour, h.level_seconds
			FROM sample AS h
			WHERE h.first_at >= h.from_at
			UNION ALL
			SELECT h.no, i.hour, h.level * extract(epoch FROM LEAST(h.until, h.to_at, i.hour + interval '1 hour')
				- GREATEST(h.last_at, h.from_at, i.hour))
			FROM sample AS h
			CROSS JOIN LATERAL generate_series(date_trunc('hour', GREATEST(h.last_at, h.from_at), 'UTC'),
				LEAST(h.until, h.to_at) - interval '1 microsecond', interval '1 hour') AS i(hour)
			WHERE h.until > h.from_at
		) AS l ON l.no = s.no
		GROUP BY s.no, s.from_at, s.to_at, l.hour
	), counted AS (
		SELECT s.no, s.percentile, u.used, GREATEST(n.hours - u.used, 0) AS unused
		FROM unnest(segments) AS s
		JOIN (SELECT no, count(*) AS used FROM hourly GROUP BY no) AS u ON u.no = s.no
		CROSS JOIN LATERAL (
			SELECT 1 + extract(epoch FROM
				date_trunc('hour', LEAST(s.to_at, now()) - interval '1 microsecond', 'UTC')
				- date_trunc('hour', s.from_at, 'UTC')) / 3600
		) AS n(hours)
	), ranked AS (
		SELECT c.no, h.value,
			row_number() OVER (PARTITION BY c.no ORDER BY h.value)
				+ CASE WHEN h.value < 0 THEN 0 ELSE c.unused END AS rank,
			GREATEST(ceil(c.percentile * (c.used + c.unused) / 100), 1) AS wanted
		FROM counted AS c
		JOIN hourly AS h ON h.no = c.no
	)
	SELECT no, COALESCE(trim_scale(max(value) FILTER (WHERE rank = wanted)), 0)
	FROM ranked
	GROUP BY no;
END
$$;
COMMENT ON FUNCTION meter.segment_percentile(meter.usage_segment[]) IS
'Percentile of segments over the hours (UTC) up to now, as percentile_disc does it: of a counter the sums of the hours, of a gauge their time-weighted averages, and 0 for hours without any. No row for a segment without usage. Errors: as of meter.segment_event()';

-- A day (UTC) that a segment shares counts by when the user came first and last;
-- a segment has at least one bound outside of it, being a day long or longer.
CREATE FUNCTION meter.segment_user(segments meter.usage_segment[])
RETURNS TABLE (no integer, quantity numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	low date;
	high date;
BEGIN
	SELECT min((s.from_at AT TIME ZONE 'UTC')::date), max((s.to_at AT TIME ZONE 'UTC')::date) INTO low, high
	FROM unnest(segments) AS s;
	IF low IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY
	SELECT s.no, COALESCE(c.users, 0)::numeric
	FROM unnest(segments) AS s
	LEFT JOIN (
		SELECT d.no, count(*) AS users
		FROM (
			SELECT DISTINCT s.no, u.user_id
			FROM unnest(segments) AS s
			JOIN meter.usage_user_daily AS u ON u.tenant = s.tenant AND u.metric = s.metric AND (NOT s.filtered OR u.dims @> s.dims)
				AND u.day >= (s.from_at AT TIME ZONE 'UTC')::date AND u.day <= (s.to_at AT TIME ZONE 'UTC')::date
				AND u.last_at >= s.from_at AND u.first_at < s.to_at
			WHERE u.day >= low AND u.day <= high
		) AS d
		GROUP BY d.no
	) AS c ON c.no = s.no;
END
$$;
COMMENT ON FUNCTION meter.segment_user(meter.usage_segment[]) IS
'Number of distinct users of segments, exact; segments must be a day long or longer';

CREATE FUNCTION meter.segment_hours(segments meter.usage_segment[]) RETURNS timestamptz[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
DECLARE
	low timestamptz;
	high timestamptz;
BEGIN
	SELECT min(date_trunc('hour', s.from_at, 'UTC')), max(s.to_at) INTO low, high FROM unnest(segments) AS s;
	RETURN ARRAY(
		SELECT DISTINCT h.hour
		FROM unnest(segments) AS s
		JOIN meter.usage_hourly AS h ON h.tenant = s.tenant AND h.metric = s.metric
			AND (NOT s.filtered OR h.dims @> s.dims OR h.dims = '{"(other)": true}')
			AND h.hour >= date_trunc('hour', s.from_at, 'UTC') AND h.hour < s.to_at
		WHERE h.hour >= low AND h.hour < high
		ORDER BY h.hour);
END
$$;
COMMENT ON FUNCTION meter.segment_hours(meter.usage_segment[]) IS
'The hours (UTC) in which segments have usage, or may have';

CREATE FUNCTION meter.segment_usage(segments meter.usage_segment[])
RETURNS TABLE (no integer, quantity numeric, events numeric[])
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	totals meter.usage_segment[] := ARRAY(SELECT s FROM unnest(segments) AS s
		WHERE s.model IS NOT DISTINCT FROM 'dynamic'
			OR s.aggregation = ANY (ARRAY['count', 'sum', 'min', 'max', 'avg', 'last']));
	others meter.usage_segment[] := ARRAY(SELECT s FROM unnest(segments) AS s WHERE s.model IS DISTINCT FROM 'dynamic');
	by_event meter.usage_segment[] := ARRAY(SELECT s FROM unnest(segments) AS s WHERE s.model = 'percentage');
BEGIN
	RETURN QUERY
	SELECT s.no, q.quantity, CASE WHEN s.model = 'percentage' THEN COALESCE(v.events, '{}') END
	FROM unnest(segments) AS s
	LEFT JOIN (
		SELECT t.no, t.quantity FROM meter.segment_total(totals) AS t
		UNION ALL
		SELECT t.no, t.quantity
		FROM meter.segment_user(ARRAY(SELECT o FROM unnest(others) AS o WHERE o.aggregation = 'unique')) AS t
		UNION ALL
		SELECT t.no, t.quantity
		FROM meter.segment_percentile(ARRAY(SELECT o FROM unnest(others) AS o WHERE o.aggregation = 'percentile')) AS t
		UNION ALL
		SELECT o.no, meter.bill_quotient(t.level_seconds,
			CASE o.aggregation WHEN 'time_weighted' THEN 3600 ELSE o.period_seconds END)
		FROM unnest(others) AS o
		JOIN meter.segment_level(ARRAY(
			SELECT o FROM unnest(others) AS o
			WHERE o.aggregation = ANY (ARRAY['time_weighted', 'weighted_avg']))) AS t ON t.no = o.no
	) AS q ON q.no = s.no
	LEFT JOIN (
		SELECT e.no, array_agg(e.quantity ORDER BY e.at, e.seq) AS events
		FROM meter.segment_event(by_event, meter.segment_hours(by_event)) AS e
		-- a refused call costs nothing, not even what each event costs
		WHERE NOT (e.refused AND e.quantity = 0)
		GROUP BY e.no
	) AS v ON v.no = s.no;
END
$$;
COMMENT ON FUNCTION meter.segment_usage(meter.usage_segment[]) IS
'The quantity of each segment by its aggregation and, for the model percentage, the values of its events in their order. Errors: as of meter.segment_event()';

CREATE FUNCTION meter.segment_missing(segments meter.usage_segment[])
RETURNS TABLE (tenant text, price_id uuid, day date)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	low timestamptz := (SELECT date_trunc('day', min(s.from_at), 'UTC') FROM unnest(segments) AS s);
	kept timestamptz := (SELECT (l.dropped_through + 1)::timestamp AT TIME ZONE 'UTC' FROM meter.log_position AS l);
BEGIN
	RETURN QUERY
	SELECT DISTINCT m.tenant, m.price_id, (m.at AT TIME ZONE 'UTC')::date
	FROM (
		SELECT p.tenant, p.price_id, p.from_at AS at
		FROM meter.segment_cut(ARRAY(
			SELECT s FROM unnest(segments) AS s
			WHERE s.aggregation <> 'unique' AND s.from_at < kept), false) AS c
		CROSS JOIN LATERAL unnest(c.pieces) AS p
		WHERE p.from_at < kept
		UNION ALL
		SELECT s.tenant, s.price_id, h.hour
		FROM unnest(segments) AS s
		JOIN meter.usage_hourly AS h ON h.tenant = s.tenant AND h.metric = s.metric
			AND (NOT s.filtered OR h.dims @> s.dims OR h.dims = '{"(other)": true}')
			AND h.hour >= date_trunc('hour', s.from_at, 'UTC') AND h.hour < s.to_at
		WHERE s.model = 'percentage' AND h.hour >= low AND h.hour < kept
	) AS m;
END
$$;
COMMENT ON FUNCTION meter.segment_missing(meter.usage_segment[]) IS
'Days (UTC) whose events were dropped and without which meter.segment_usage() cannot tell the usage of these segments';

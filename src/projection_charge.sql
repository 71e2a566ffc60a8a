-- projection_charge.sql: what tenants' prices will make of their usage
--
-- Not the money is projected but the usage, price by price, which is then rated
-- as for a bill: so steps of a price, what is included, a minimum and a maximum
-- are what they will be for the whole period.  Sums, counts and costs that events
-- carry go by days, and so do the hours of a level; a number of distinct users
-- goes by what the month before has added; what is neither more nor less for
-- going on longer, such as an average, stays as it is.

CREATE TYPE meter.projection_segment AS (
	no integer,
	month date,
	running boolean,
	time_zone text,
	period_from timestamptz,
	until timestamptz,
	asked_until timestamptz,
	kind text,
	key integer,
	segment meter.usage_segment
);
COMMENT ON TYPE meter.projection_segment IS
'A price of a tenant in a billing period: a number, the month of the period, and whether it is the running one; the tenant''s time zone, when its running period began, until when the price is to be projected, and all of the tenant''s; by what kind of series, and which, null if its quantity stays as it is';

CREATE TYPE meter.projection_key AS (
	key integer,
	tenant text COLLATE "C",
	metric text COLLATE "C",
	dims jsonb,
	filtered boolean,
	kind text,
	time_zone text,
	period_from timestamptz,
	until timestamptz
);
COMMENT ON TYPE meter.projection_key IS
'A series by which quantities are projected: of a tenant, a metric and dimensions; kind is events, quantity, cost or level. A number tells the series apart';

CREATE FUNCTION meter.projection_daily(keys meter.projection_key[], at timestamptz)
RETURNS TABLE (key integer, day date, quantity numeric, events numeric)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	low timestamptz := (SELECT min(p.known_from) FROM unnest(keys) AS k
		CROSS JOIN LATERAL meter.projection_steps(projection_daily.at, k.until, k.time_zone) AS p);
	counters meter.projection_key[] := ARRAY(SELECT k FROM unnest(keys) AS k WHERE k.kind <> 'level');
	levels meter.projection_key[] := ARRAY(SELECT k FROM unnest(keys) AS k WHERE k.kind = 'level');
BEGIN
	RETURN QUERY
	WITH zone AS MATERIALIZED (
		SELECT z.time_zone, meter.projection_midnights(projection_daily.at, z.time_zone) AS midnights,
			meter.billing_day(projection_daily.at, z.time_zone) - meter.projection_days() - 1 AS day_0
		FROM (SELECT DISTINCT k.time_zone FROM unnest(keys) AS k) AS z
	), counted AS (
		SELECT k.key, z.day_0, width_bucket(h.hour, z.midnights) AS n,
			sum(CASE k.kind WHEN 'quantity' THEN h.quantity WHEN 'cost' THEN h.cost ELSE h.events - h.errors_429 END) AS quantity,
			sum(h.events - h.errors_429) AS events
		FROM unnest(counters) AS k
		JOIN zone AS z ON z.time_zone = k.time_zone
		JOIN meter.usage_hourly AS h ON h.tenant = k.tenant AND h.metric = k.metric
			AND (NOT k.filtered OR h.dims @> k.dims)
		WHERE h.hour >= low AND h.hour < projection_daily.at
		GROUP BY 1, 2, 3
	), carried AS (
		SELECT DISTINCT ON (k.key, g.service, g.endpoint, g.method, g.dims)
			k.key, g.service, g.endpoint, g.method, g.dims, g.last_at AS first_at, g.last_at, g.level,
			0::numeric AS level_seconds
		FROM unnest(levels) AS k
		JOIN meter.gauge_last AS g ON g.tenant = k.tenant AND g.metric = k.metric
			AND (NOT k.filtered OR g.dims @> k.dims)
		WHERE g.last_at < low
		ORDER BY k.key, g.service, g.endpoint, g.method, g.dims, g.last_at DESC
	), sample AS (
		SELECT * FROM carried
		UNION ALL
		SELECT k.key, h.service, h.endpoint, h.method, h.dims, h.first_at, h.last_at, h.quantity_last, h.quantity_seconds
		FROM unnest(levels) AS k
		JOIN meter.usage_hourly AS h ON h.tenant = k.tenant AND h.metric = k.metric
			AND h.quantity_seconds IS NOT NULL AND (NOT k.filtered OR h.dims @> k.dims)
		WHERE h.hour >= low AND h.hour < projection_daily.at
	), held AS (
		SELECT s.key, z.day_0, z.midnights, s.first_at, s.level, s.level_seconds,
			GREATEST(s.last_at, z.midnights[1]) AS held_from,
			COALESCE(lead(s.first_at) OVER (PARTITION BY s.key, s.service, s.endpoint, s.method, s.dims
				ORDER BY s.last_at), projection_daily.at) AS held_to
		FROM sample AS s
		JOIN unnest(levels) AS k ON k.key = s.key
		JOIN zone AS z ON z.time_zone = k.time_zone
	)
	SELECT c.key, c.day_0 + c.n, c.quantity, c.events
	FROM counted AS c
	-- before the first day of this time zone
	WHERE c.n > 0
	UNION ALL
	SELECT l.key, l.day_0 + l.n, sum(l.seconds), NULL
	FROM (
		SELECT h.key, h.day_0, width_bucket(h.first_at, h.midnights) AS n, h.level_seconds AS seconds
		FROM held AS h
		UNION ALL
		-- each sample holds until the next one, on every day that this touches
		SELECT h.key, h.day_0, n, h.level * extract(epoch FROM
			LEAST(h.held_to, h.midnights[n + 1]) - GREATEST(h.held_from, h.midnights[n]))
		FROM held AS h
		CROSS JOIN LATERAL generate_series(width_bucket(h.held_from, h.midnights),
			width_bucket(h.held_to - interval '1 microsecond', h.midnights)) AS g(n)
		WHERE h.held_to > h.held_from
	) AS l
	WHERE l.n > 0
	GROUP BY l.key, l.day_0, l.n;
END
$$;
COMMENT ON FUNCTION meter.projection_daily(meter.projection_key[], timestamptz) IS
'The quantities of series on each day with any, as far as projections go back, up to an instant: numbers of events, quantities, costs, or levels times seconds; and the number of events';

CREATE FUNCTION meter.projection_key_forecast(keys meter.projection_key[], at timestamptz, method text)
RETURNS TABLE (key integer, answer meter.forecast_answer, elapsed double precision, last double precision, today date,
	mean numeric)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH daily AS MATERIALIZED (
		SELECT d.* FROM meter.projection_daily(keys, projection_key_forecast.at) AS d
	), known AS (
		SELECT k.key, k.until, p.today, p.elapsed, p.horizon, p.last,
			(k.period_from AT TIME ZONE k.time_zone)::date AS first_day,
			sum(d.quantity) FILTER (WHERE d.day = p.today) AS running,
			sum(d.quantity) / NULLIF(sum(d.events), 0) AS mean,
			LEAST(min(d.day), CASE WHEN projection_key_forecast.method = 'run_rate'
				THEN (k.period_from AT TIME ZONE k.time_zone)::date END) AS since
		FROM unnest(keys) AS k
		CROSS JOIN LATERAL meter.projection_steps(projection_key_forecast.at, k.until, k.time_zone) AS p
		LEFT JOIN daily AS d ON d.key = k.key
		GROUP BY k.key, k.until, k.period_from, k.time_zone, p.today, p.elapsed, p.horizon, p.last
	), series AS (
		SELECT k.key, array_agg(COALESCE(d.quantity, 0)::double precision ORDER BY g.i) AS history
		FROM known AS k
		CROSS JOIN LATERAL generate_series(0, k.today - 1 - k.since) AS g(i)
		LEFT JOIN daily AS d ON d.key = k.key AND d.day = k.since + g.i
		GROUP BY k.key
	)
	SELECT k.key, meter.forecast(COALESCE(s.history, '{}'), 7, k.horizon, projection_key_forecast.method, 0.8,
			k.today - k.first_day, COALESCE(k.running, 0)::double precision, k.elapsed, k.last),
		k.elapsed, k.last, k.today, k.mean
	FROM known AS k
	LEFT JOIN series AS s ON s.key = k.key
	WHERE k.until > projection_key_forecast.at;
END
$$;
COMMENT ON FUNCTION meter.projection_key_forecast(meter.projection_key[], timestamptz, text) IS
'Forecasts of series from an instant on, as far as each is asked for; and the mean quantity of an event. Errors: those of meter.forecast()';

-- Users who come for the first time in a period get fewer as it goes on.  How
-- many are still to come, of those there are, is taken from the period before.
CREATE FUNCTION meter.projection_users(segments meter.usage_segment[], at timestamptz, until timestamptz[])
RETURNS TABLE (no integer, low numeric, expected numeric, high numeric)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	first date := (SELECT min((s.from_at - (s.to_at - s.from_at)) AT TIME ZONE 'UTC')::date FROM unnest(segments) AS s);
	final date := (projection_users.at AT TIME ZONE 'UTC')::date;
BEGIN
	RETURN QUERY
	WITH asked AS MATERIALIZED (
		SELECT s.*, LEAST(u.until, s.to_at) AS until,
			(s.from_at - (s.to_at - s.from_at)) AS before_from,
			GREATEST(projection_users.at - s.from_at, interval '0') AS gone
		FROM unnest(segments, projection_users.until) AS u(no, tenant, price_id, metric, dims, filtered, aggregation, percentile,
			model, gauge, period_seconds, from_at, to_at, first_hour, last_hour, until)
		CROSS JOIN LATERAL (SELECT u.no, u.tenant, u.metric, u.dims, u.filtered, u.from_at, u.to_at) AS s
	), came AS (
		-- the first time of each user in the period, and in the one before
		SELECT s.no, v.user_id, u.this,
			min(GREATEST(v.first_at, CASE WHEN u.this THEN s.from_at ELSE s.before_from END)) AS came_at
		FROM asked AS s
		CROSS JOIN (VALUES (true), (false)) AS u(this)
		JOIN meter.usage_user_daily AS v ON v.tenant = s.tenant AND v.metric = s.metric
			AND (NOT s.filtered OR v.dims @> s.dims)
			AND CASE WHEN u.this THEN v.last_at >= s.from_at AND v.first_at < LEAST(projection_users.at, s.to_at)
				ELSE v.last_at >= s.before_from AND v.first_at < s.from_at END
		WHERE v.day >= first AND v.day <= final
		GROUP BY s.no, v.user_id, u.this
	), counted AS (
		SELECT s.no,
			count(c.came_at) FILTER (WHERE c.this) AS known,
			count(c.came_at) FILTER (WHERE c.this AND c.came_at >= projection_users.at - interval '7 days') AS lately,
			count(c.came_at) FILTER (WHERE NOT c.this AND c.came_at < s.before_from + s.gone) AS before_then,
			count(c.came_at) FILTER (WHERE NOT c.this AND c.came_at < s.before_from + (s.until - s.from_at)) AS before_all,
			-- in days; a rate of less than a day is not known
			GREATEST(extract(epoch FROM s.until - projection_users.at), 0) / 86400 AS days,
			LEAST(GREATEST(extract(epoch FROM s.gone) / 86400, 1), 7) AS lately_days
		FROM asked AS s
		LEFT JOIN came AS c ON c.no = s.no
		GROUP BY s.no, s.until, s.gone, s.from_at
	)
	SELECT c.no, c.known::numeric,
		round(c.known + CASE
			WHEN c.days = 0 THEN 0
			WHEN c.known = 0 AND c.before_then = 0 THEN c.before_all
			WHEN c.before_then > 0 THEN c.known::numeric * (c.before_all - c.before_then) / c.before_then
			ELSE c.lately / c.lately_days * c.days / 2 END),
		round(c.known + CASE
			WHEN c.days = 0 THEN 0
			ELSE GREATEST(c.lately / c.lately_days * c.days, c.before_all - c.known,
				c.known::numeric * (c.before_all - c.before_then) / NULLIF(c.before_then, 0)) END)
	FROM counted AS c;
END
$$;
COMMENT ON FUNCTION meter.projection_users(meter.usage_segment[], timestamptz, timestamptz[]) IS
'How many distinct users segments will have at an instant each: at least those there are; expected by how the period before, of the same length, went on, or without one half of what the last seven days would add; at most what they would add';

CREATE FUNCTION meter.projection_segments(of_tenants text[], at timestamptz, until timestamptz)
RETURNS meter.projection_segment[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN ARRAY(
		WITH span AS MATERIALIZED (
			SELECT t.tenant, z.time_zone, b.month, b.period_from, COALESCE(projection_segments.until, b.period_to) AS until
			FROM meter.tenant AS t
			CROSS JOIN LATERAL (SELECT meter.known_time_zone(t.time_zone) AS time_zone OFFSET 0) AS z
			CROSS JOIN LATERAL meter.budget_bounds('month', z.time_zone, t.billing_anchor, projection_segments.at) AS b
			WHERE t.tenant = ANY (of_tenants)
		), monthly AS (
			SELECT m.month::date AS month, array_agg(s.tenant) AS tenants
			FROM span AS s
			CROSS JOIN LATERAL generate_series(s.month::timestamp, s.until AT TIME ZONE s.time_zone, interval '1 month') AS m(month)
			GROUP BY m.month
		), priced AS (
			SELECT m.month, m.month = s.month AS running, s.time_zone, s.period_from, s.until AS asked_until,
				LEAST(s.until, g.to_at) AS until, g AS segment, g.tenant, g.metric, g.dims,
				CASE WHEN g.model = 'dynamic' THEN 'cost'
					WHEN g.aggregation = 'count' THEN 'events'
					WHEN g.aggregation = 'sum' THEN 'quantity'
					WHEN g.aggregation = ANY (ARRAY['time_weighted', 'weighted_avg']) THEN 'level' END AS kind
			FROM monthly AS m
			CROSS JOIN LATERAL unnest(meter.billing_segment(m.month, m.tenants)) AS g
			JOIN span AS s ON s.tenant = g.tenant
			WHERE g.from_at < s.until
		)
		SELECT ROW((row_number() OVER ())::integer, p.month, p.running, p.time_zone, p.period_from, p.until, p.asked_until,
			p.kind, CASE WHEN p.kind IS NOT NULL AND p.until > projection_segments.at
				THEN (dense_rank() OVER (ORDER BY p.tenant, p.metric, p.dims, p.kind))::integer END,
			p.segment)::meter.projection_segment
		FROM priced AS p);
END
$$;
COMMENT ON FUNCTION meter.projection_segments(text[], timestamptz, timestamptz) IS
'What prices of tenants are to be projected: those of the billing period that an instant is in, and of the ones that follow until another; null is the end of that period';

-- What is known of each segment at the instant, and what is expected of it.
CREATE FUNCTION meter.projection_quantity(projected meter.projection_segment[], at timestamptz, method text)
RETURNS TABLE (no integer, known numeric, low numeric, expected numeric, high numeric, events numeric[], mean numeric,
	answer meter.forecast_answer)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	-- hours are known as a whole
	hour CONSTANT timestamptz := date_trunc('hour', at + interval '1 hour' - interval '1 microsecond', 'UTC');
	begun meter.usage_segment[] := ARRAY(
		SELECT ROW(p.no, s.tenant, s.price_id, s.metric, s.dims, s.filtered, s.aggregation, s.percentile, s.model, s.gauge,
			s.period_seconds, s.from_at, LEAST(s.to_at, hour), s.first_hour, LEAST(s.last_hour, hour))::meter.usage_segment
		FROM unnest(projected) AS p
		CROSS JOIN LATERAL (SELECT (p.segment).*) AS s
		WHERE s.from_at < hour);
	keys meter.projection_key[] := ARRAY(
		SELECT ROW(p.key, s.tenant, s.metric, s.dims, s.filtered, p.kind, p.time_zone, p.period_from,
			max(p.until))::meter.projection_key
		FROM unnest(projected) AS p
		CROSS JOIN LATERAL (SELECT (p.segment).*) AS s
		WHERE p.key IS NOT NULL
		GROUP BY p.key, s.tenant, s.metric, s.dims, s.filtered, p.kind, p.time_zone, p.period_from);
	users meter.projection_segment[] := ARRAY(
		SELECT p FROM unnest(projected) AS p WHERE (p.segment).aggregation = 'unique');
BEGIN
	RETURN QUERY
	WITH usage AS MATERIALIZED (
		SELECT u.* FROM meter.segment_usage(begun) AS u
	), forecast AS MATERIALIZED (
		SELECT f.* FROM meter.projection_key_forecast(keys, projection_quantity.at, projection_quantity.method) AS f
	), person AS (
		SELECT u.*
		FROM meter.projection_users(
			ARRAY(SELECT ROW(p.no, s.tenant, s.price_id, s.metric, s.dims, s.filtered, s.aggregation, s.percentile, s.model,
				s.gauge, s.period_seconds, s.from_at, s.to_at, s.first_hour, s.last_hour)::meter.usage_segment
				FROM unnest(users) AS p CROSS JOIN LATERAL (SELECT (p.segment).*) AS s ORDER BY p.no),
			projection_quantity.at, ARRAY(SELECT p.until FROM unnest(users) AS p ORDER BY p.no)) AS u
	), segment AS MATERIALIZED (
		SELECT p.no, p.month, p.key, p.until, s.tenant, s.price_id, s.aggregation, s.model, s.period_seconds, s.from_at,
			CASE s.aggregation WHEN 'time_weighted' THEN 3600 WHEN 'weighted_avg' THEN s.period_seconds ELSE 1 END AS per,
			u.quantity, u.events
		FROM unnest(projected) AS p
		CROSS JOIN LATERAL (SELECT (p.segment).*) AS s
		LEFT JOIN usage AS u ON u.no = p.no
	), share AS (
		-- a price that changes, or a period that ends, has a part of what is to come
		SELECT g.no, CASE WHEN sum(d.whole * d.step) > 0 THEN sum(d.part * d.step) / sum(d.whole * d.step)
			ELSE sum(d.part) / sum(d.whole) END AS share
		FROM segment AS g
		JOIN unnest(keys) AS k ON k.key = g.key
		JOIN forecast AS f ON f.key = g.key
		CROSS JOIN LATERAL (
			SELECT w.step, extract(epoch FROM LEAST(e.until, k.until) - e.since)::double precision AS whole,
				GREATEST(extract(epoch FROM LEAST(e.until, g.until) - GREATEST(e.since, g.from_at)), 0)::double precision AS part
			FROM unnest((f.answer).steps) WITH ORDINALITY AS w(step, n)
			CROSS JOIN LATERAL (
				SELECT GREATEST((f.today + w.n::integer - 1)::timestamp AT TIME ZONE k.time_zone, projection_quantity.at) AS since,
					(f.today + w.n::integer)::timestamp AT TIME ZONE k.time_zone AS until
			) AS e
		) AS d
		WHERE g.from_at > projection_quantity.at OR g.until < k.until
		GROUP BY g.no
	), held AS (
		-- what stays as it is goes on in the next period
		SELECT DISTINCT ON (g.tenant, g.price_id) g.tenant, g.price_id, g.quantity
		FROM segment AS g
		WHERE g.quantity IS NOT NULL AND g.from_at < hour
		ORDER BY g.tenant, g.price_id, g.from_at DESC
	)
	SELECT g.no, g.known,
		CASE WHEN g.key IS NOT NULL THEN g.known + x.low WHEN g.aggregation = 'unique' THEN g.low ELSE g.stays END,
		CASE WHEN g.key IS NOT NULL THEN g.known + x.expected WHEN g.aggregation = 'unique' THEN g.expected ELSE g.stays END,
		CASE WHEN g.key IS NOT NULL THEN g.known + x.high WHEN g.aggregation = 'unique' THEN g.high ELSE g.stays END,
		g.events, g.mean, g.answer
	FROM (
		SELECT g.no, g.key, g.aggregation, g.per, g.events, f.mean, f.answer, COALESCE(s.share, 1) AS share,
			u.low, GREATEST(u.expected, u.low) AS expected, GREATEST(u.high, u.expected, u.low) AS high,
			-- a level that there is none of yet
			CASE WHEN g.quantity IS NULL AND (g.model = 'dynamic' OR g.aggregation = ANY (ARRAY['count', 'sum', 'unique'])
				OR (f.answer).high > 0) THEN 0 ELSE g.quantity END AS known,
			CASE WHEN g.from_at < hour THEN g.quantity ELSE h.quantity END AS stays
		FROM segment AS g
		LEFT JOIN forecast AS f ON f.key = g.key
		LEFT JOIN share AS s ON s.no = g.no
		LEFT JOIN person AS u ON u.no = g.no
		LEFT JOIN held AS h ON h.tenant = g.tenant AND h.price_id = g.price_id
	) AS g
	CROSS JOIN LATERAL (
		SELECT COALESCE(((g.answer).low * g.share)::numeric / g.per, 0) AS low,
			COALESCE(((g.answer).expected * g.share)::numeric / g.per, 0) AS expected,
			COALESCE(((g.answer).high * g.share)::numeric / g.per, 0) AS high
	) AS x;
END
$$;
COMMENT ON FUNCTION meter.projection_quantity(meter.projection_segment[], timestamptz, text) IS
'The quantities of prices, by their aggregation: known at an instant, and low, expected and high at the end; for the model percentage the values of the events, and their mean; and the forecast that the quantity goes by, null if it stays as it is. Errors: those of meter.forecast() and meter.segment_event()';

CREATE FUNCTION meter.projection_charge(of_tenants text[], at timestamptz, until timestamptz, method text)
RETURNS TABLE (tenant text, answer meter.projection)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	projected meter.projection_segment[] := meter.projection_segments(of_tenants, at, until);
BEGIN
	RETURN QUERY
	WITH piece AS MATERIALIZED (
		SELECT p.month, p.running, p.period_from, p.asked_until, s.tenant, s.price_id, s.model, s.from_at, s.to_at, q.*
		FROM unnest(projected) AS p
		CROSS JOIN LATERAL (SELECT (p.segment).*) AS s
		JOIN meter.projection_quantity(projected, projection_charge.at, projection_charge.method) AS q ON q.no = p.no
	), monthly AS MATERIALIZED (
		SELECT m.month, meter.bill_periods(m.month, m.tenants) AS periods
		FROM (SELECT p.month, array_agg(DISTINCT p.tenant) AS tenants FROM piece AS p GROUP BY p.month) AS m
	), line AS MATERIALIZED (
		-- rated once for each month and each of the four
		SELECT n.month, n.scenario, l.tenant, l.price_id, l.price, l.from_at, l.quantity, l.amount_exact
		FROM (
			SELECT m.month, m.periods, c.scenario, ARRAY(
				SELECT ROW(p.tenant, p.price_id, p.from_at, p.to_at, v.quantity,
					CASE WHEN p.model = 'percentage' THEN COALESCE(p.events, '{}') || CASE WHEN e.n > 0
						THEN array_fill((v.quantity - p.known) / e.n, ARRAY[e.n]) ELSE '{}' END END)::meter.bill_quantity
				FROM piece AS p
				CROSS JOIN LATERAL (
					SELECT CASE c.scenario WHEN 'known' THEN p.known WHEN 'low' THEN p.low
						WHEN 'expected' THEN p.expected ELSE p.high END AS quantity
				) AS v
				CROSS JOIN LATERAL (
					-- events that are to come are as large as they were on average
					SELECT LEAST(round((v.quantity - p.known) / NULLIF(p.mean, 0)), 1000000)::integer AS n
				) AS e
				WHERE p.month = m.month AND (p.running OR c.scenario <> 'known')) AS quantities
			FROM monthly AS m
			CROSS JOIN unnest(ARRAY['known', 'low', 'expected', 'high']) AS c(scenario)
			OFFSET 0
		) AS n
		CROSS JOIN LATERAL meter.bill_rate(n.month, n.periods, n.quantities, false) AS l
	), priced AS (
		SELECT l.tenant, l.month, l.price_id, l.price, p.running, p.period_from, p.asked_until, (p.answer).method, (p.answer).confidence,
			(p.answer).mase, c.currency,
			COALESCE(max(l.quantity) FILTER (WHERE l.scenario = 'known' AND p.running), 0) AS known,
			max(l.quantity) FILTER (WHERE l.scenario = 'expected') AS expected,
			COALESCE(max(l.amount_exact) FILTER (WHERE l.scenario = 'known' AND p.running), 0) AS current,
			-- more may cost less, by a discount for volume
			COALESCE(min(l.amount_exact) FILTER (WHERE l.scenario <> 'known'), 0) AS low_amount,
			COALESCE(max(l.amount_exact) FILTER (WHERE l.scenario = 'expected'), 0) AS expected_amount,
			COALESCE(max(l.amount_exact) FILTER (WHERE l.scenario <> 'known'), 0) AS high_amount
		FROM line AS l
		JOIN piece AS p ON p.tenant = l.tenant AND p.month = l.month AND p.price_id = l.price_id AND p.from_at = l.from_at
		JOIN (SELECT m.month, (unnest(m.periods)).* FROM monthly AS m) AS c ON c.month = l.month AND c.tenant = l.tenant
		GROUP BY l.tenant, l.month, l.price_id, l.price, l.from_at, p.running, p.period_from, p.asked_until, 8, 9, 10, c.currency
	), named AS (
		SELECT p.tenant, p.currency, p.period_from, p.asked_until, p.price,
			sum(p.current) AS current, sum(p.low_amount) AS low, sum(p.expected_amount) AS expected, sum(p.high_amount) AS high,
			sum(p.known) AS quantity, sum(p.expected) AS expected_quantity,
			(array_agg(p.method ORDER BY p.expected_amount DESC, p.month) FILTER (WHERE p.method IS NOT NULL))[1] AS method,
			(array_agg(p.mase ORDER BY p.expected_amount DESC, p.month) FILTER (WHERE p.method IS NOT NULL))[1] AS mase,
			bool_or(p.confidence = 'low' AND p.high_amount > p.current) AS unsure
		FROM priced AS p
		GROUP BY p.tenant, p.currency, p.period_from, p.asked_until, p.price
	)
	SELECT n.tenant, ROW('charge', n.currency, n.period_from, n.asked_until,
		trim_scale(sum(n.current)), trim_scale(round(sum(n.low), 10)), trim_scale(round(sum(n.expected), 10)),
		trim_scale(round(sum(n.high), 10)),
		(array_agg(n.method ORDER BY n.expected DESC, n.price) FILTER (WHERE n.method IS NOT NULL))[1],
		CASE WHEN bool_or(n.unsure) THEN 'low' ELSE 'normal' END, 0.8,
		round((array_agg(n.mase ORDER BY n.expected DESC, n.price) FILTER (WHERE n.method IS NOT NULL))[1]::numeric, 3),
		jsonb_object_agg(n.price, jsonb_strip_nulls(jsonb_build_object(
			'quantity', trim_scale(n.quantity), 'expected_quantity', trim_scale(round(n.expected_quantity, 10)),
			'current', trim_scale(n.current), 'low', trim_scale(round(n.low, 10)), 'expected', trim_scale(round(n.expected, 10)),
			'high', trim_scale(round(n.high, 10)), 'method', n.method))))::meter.projection
	FROM named AS n
	GROUP BY n.tenant, n.currency, n.period_from, n.asked_until;
END
$$;
COMMENT ON FUNCTION meter.projection_charge(text[], timestamptz, timestamptz, text) IS
'What the prices of tenants will make of their usage in the billing period that an instant is in, and in those that follow until another; null is the end of that period. As on bills, without base prices, coupons, credits and tax. Low and high are those of prices that are all low or all high together; method and mase those of the price that is most of it, details has each price. No row for a tenant without prices. Errors: those of meter.forecast(), meter.segment_event() and meter.fx()';

-- --- what is asked for --------------------------------------------------------

CREATE FUNCTION @extschema@.meter_project(tenant text, service text DEFAULT NULL, until timestamptz DEFAULT NULL,
	method text DEFAULT 'auto', at timestamptz DEFAULT now())
RETURNS SETOF meter.projection
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	subject meter.projection_subject;
	problem text;
	charged boolean := false;
BEGIN
	IF meter_project.method IS NULL OR meter_project.at IS NULL THEN
		RAISE EXCEPTION '% must not be null', CASE WHEN meter_project.method IS NULL THEN 'method' ELSE 'at' END
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM meter.forecast('{}', method => meter_project.method);
	problem := CASE WHEN NOT isfinite(meter_project.at) THEN '"at" is not finite'
		WHEN meter_project.until < meter_project.at THEN '"until" is before "at"'
		WHEN meter_project.until > meter_project.at + interval '366 days' THEN '"until" is more than 366 days after "at"' END;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION 'cannot project until %', COALESCE(meter_project.until::text, 'the end of the period')
			USING ERRCODE = 'invalid_parameter_value', DETAIL = problem || '.';
	END IF;
	SELECT 1, meter_project.tenant, meter_project.service, z.time_zone, b.period_from, COALESCE(meter_project.until, b.period_to)
	INTO subject
	FROM (SELECT) AS one
	LEFT JOIN meter.tenant AS t ON t.tenant = meter_project.tenant
	CROSS JOIN LATERAL (SELECT meter.known_time_zone(t.time_zone) AS time_zone OFFSET 0) AS z
	CROSS JOIN LATERAL meter.budget_bounds('month', z.time_zone, COALESCE(t.billing_anchor, 1), meter_project.at) AS b;

	IF meter_project.tenant IS NOT NULL AND meter_project.service IS NULL THEN
		RETURN QUERY
		SELECT (c.answer).*
		FROM meter.projection_charge(ARRAY[meter_project.tenant], meter_project.at, meter_project.until,
			meter_project.method) AS c;
		charged := FOUND;
	END IF;
	RETURN QUERY
	SELECT (meter.projection_of_cost(meter.projection_currency(meter_project.tenant, meter_project.at), subject.period_from,
		subject.until, c.current, c.answer)).*
	FROM meter.projection_cost(ARRAY[subject], meter_project.at, meter_project.method) AS c
	WHERE c.costs OR NOT charged;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_project(text, text, timestamptz, text, timestamptz) IS
'What a tenant''s billing period will have cost when it ends: a row with basis charge, what its prices will make of its usage, if it has prices, and one with basis cost, what its events will have cost, if they carry costs. Arguments: the tenant, null for the costs of all in a month of UTC; a service, null for all, whose costs are projected only; the instant until which, null for the end of the billing period; the method: auto, run_rate, seasonal, average, linear or holt_winters; the instant from which it is looked at, of hours of usage that began before it. Errors: 22004 for null, 22023 for an unknown method or an instant out of range, those of meter.segment_event() and meter.fx()';

-- One tenant that cannot be rated shall not keep all others from being seen.
CREATE FUNCTION meter.budget_projection(at timestamptz DEFAULT now())
RETURNS TABLE (budget_id uuid, answer meter.projection)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
	subjects meter.projection_subject[];
	budgets uuid[];
	charged text[];
	first integer := 1;
	size integer;
BEGIN
	SELECT array_agg(b.budget_id ORDER BY b.no),
		array_agg(ROW(b.no, b.tenant, b.service, b.time_zone, b.period_from, b.period_to)::meter.projection_subject ORDER BY b.no)
	INTO budgets, subjects
	FROM (
		SELECT (row_number() OVER ())::integer AS no, b.budget_id, b.tenant, b.service, z.time_zone, p.period_from, p.period_to
		FROM meter.budget AS b
		LEFT JOIN meter.tenant AS t ON t.tenant = b.tenant
		CROSS JOIN LATERAL (SELECT meter.known_time_zone(t.time_zone) AS time_zone OFFSET 0) AS z
		CROSS JOIN LATERAL meter.budget_bounds('month', z.time_zone, COALESCE(t.billing_anchor, 1), budget_projection.at) AS p
		WHERE b.basis = 'cost' AND b.period = 'month'
	) AS b;
	RETURN QUERY
	SELECT b.budget_id, meter.projection_of_cost(b.currency, s.period_from, s.until, c.current, c.answer)
	FROM meter.projection_cost(subjects, budget_projection.at, 'auto') AS c
	JOIN unnest(subjects) AS s ON s.no = c.no
	JOIN meter.budget AS b ON b.budget_id = budgets[c.no];

	-- those last that could not be rated when that was last tried; new ones are searched for by halves
	SELECT array_agg(b.tenant ORDER BY w.error IS NOT NULL, b.tenant), count(*) FILTER (WHERE w.error IS NULL)
	INTO charged, size
	FROM meter.budget_now AS b
	LEFT JOIN meter.budget_period AS w ON w.budget_id = b.budget_id AND w.period_from = b.period_from
	WHERE b.basis = 'charge';
	WHILE first <= cardinality(charged) LOOP
		size := LEAST(GREATEST(size, 1), cardinality(charged) - first + 1);
		BEGIN
			RETURN QUERY
			SELECT b.budget_id, c.answer
			FROM meter.projection_charge(charged[first : first + size - 1], budget_projection.at, NULL, 'auto') AS c
			JOIN meter.budget AS b ON b.tenant = c.tenant AND b.basis = 'charge' AND b.period = 'month';
			first := first + size;
			size := size * 2;
		EXCEPTION WHEN data_exception OR object_not_in_prerequisite_state THEN
			IF size = 1 THEN
				first := first + 1;
			END IF;
			size := size / 2;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION meter.budget_projection(timestamptz) IS
'Projections of what budgets of months are for, until the end of their period, as they were at an instant. No row for a budget of charges of a tenant that has no prices, or whose usage cannot be rated, as for want of an exchange rate';

CREATE VIEW meter.cost_projection AS
SELECT b.budget_id, b.tenant, b.service, b.basis, b.currency, (p.answer).period_from, (p.answer).until AS period_to,
	v.current AS current_spend, v.expected AS projected_spend, v.low, v.high, b.amount AS budget,
	round(100 * v.expected / b.amount, 2) AS percent,
	CASE WHEN v.expected > b.amount THEN 'OVER BUDGET'
		WHEN v.expected > b.amount * 0.9 THEN 'WARNING'
		WHEN v.expected IS NOT NULL THEN 'OK' END AS status,
	(p.answer).method, (p.answer).confidence, (p.answer).coverage, (p.answer).details
FROM meter.budget AS b
LEFT JOIN meter.budget_projection() AS p ON p.budget_id = b.budget_id
LEFT JOIN LATERAL (
	SELECT r.rate FROM meter.fx_rate AS r
	WHERE r.base = (p.answer).currency AND r.quote = b.currency AND r.valid_from <= (now() AT TIME ZONE 'UTC')::date
	ORDER BY r.valid_from DESC LIMIT 1
) AS f ON true
CROSS JOIN LATERAL (
	SELECT CASE WHEN b.basis = 'cost' OR (p.answer).currency = b.currency THEN 1 ELSE f.rate END AS rate
) AS x
CROSS JOIN LATERAL (
	SELECT trim_scale((p.answer).current * x.rate) AS current, trim_scale((p.answer).low * x.rate) AS low,
		trim_scale((p.answer).expected * x.rate) AS expected, trim_scale((p.answer).high * x.rate) AS high
) AS v
WHERE b.period = 'month';
COMMENT ON VIEW meter.cost_projection IS
'Will each budget of a month last? What is spent, what will be when the period ends (projected_spend, with low and high), the budget, projected_spend in percent of it, and status: OVER BUDGET if it is more, WARNING if it is more than 90 percent, otherwise OK; in the currency of the budget. Null where it cannot be told: a tenant without prices, or without an exchange rate';

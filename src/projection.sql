-- projection.sql: what a period will have cost when it ends
--
-- Usage is taken by days of the tenant's time zone.  Those that are over are the
-- history of a forecast, see forecast.sql; of the one that is running, what it
-- has had so far and how much of it is over.  Hours of UTC belong to the day in
-- which they begin, and count from their beginning on.

CREATE TYPE meter.projection AS (
	basis text,
	currency text,
	period_from timestamptz,
	until timestamptz,
	current numeric,
	low numeric,
	expected numeric,
	high numeric,
	method text,
	confidence text,
	coverage numeric,
	mase numeric,
	details jsonb
);
COMMENT ON TYPE meter.projection IS
'What a period will have cost: basis (cost: what events carry; charge: what prices make of usage), currency, beginning of the period and instant up to which it is projected; current, which is there already, and low, expected and high of all until then, with the coverage of that interval; the method of the forecast, confidence (normal, or low with less than two weeks of history), mase, the error of the method in the back-test in that of the seasonal naive; details, an object for people';

CREATE TYPE meter.projection_subject AS (
	no integer,
	tenant text COLLATE "C",
	service text COLLATE "C",
	time_zone text,
	period_from timestamptz,
	until timestamptz
);
COMMENT ON TYPE meter.projection_subject IS
'Of whom a cost is to be projected: a tenant, null for all; a service, null for all; and which time, in which time zone. A number tells them apart';

-- Twelve weeks: enough to know weekdays and trends, and recent enough to matter.
CREATE FUNCTION meter.projection_days() RETURNS integer
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN 84;
COMMENT ON FUNCTION meter.projection_days() IS
'How many days of history projections go by';

CREATE FUNCTION meter.projection_steps(at timestamptz, until timestamptz, time_zone text)
RETURNS TABLE (today date, known_from timestamptz, elapsed double precision, horizon integer, last double precision)
LANGUAGE SQL IMMUTABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
	SELECT d.today, (d.today - meter.projection_days())::timestamp AT TIME ZONE time_zone,
		extract(epoch FROM at - d.today::timestamp AT TIME ZONE time_zone)
			/ extract(epoch FROM (d.today + 1)::timestamp AT TIME ZONE time_zone - d.today::timestamp AT TIME ZONE time_zone),
		d.final - d.today + 1,
		extract(epoch FROM until - d.final::timestamp AT TIME ZONE time_zone)
			/ extract(epoch FROM (d.final + 1)::timestamp AT TIME ZONE time_zone - d.final::timestamp AT TIME ZONE time_zone)
	FROM (
		SELECT meter.billing_day(at, time_zone) AS today,
			meter.billing_day(until - interval '1 microsecond', time_zone) AS final
		OFFSET 0
	) AS d;
END;
COMMENT ON FUNCTION meter.projection_steps(timestamptz, timestamptz, text) IS
'The days from an instant until another in a time zone: the first one, when the history of a projection begins, the part of the first day that is over, how many there are, and the part of the last one that is asked for';

-- Each hour is looked up in them: to ask the time zone for its day takes longer
-- than all the rest.
CREATE FUNCTION meter.projection_midnights(at timestamptz, time_zone text) RETURNS timestamptz[]
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN (
	SELECT array_agg((d.today - i)::timestamp AT TIME ZONE time_zone ORDER BY i DESC)
	FROM (SELECT meter.billing_day(at, time_zone) AS today OFFSET 0) AS d
	CROSS JOIN generate_series(0, meter.projection_days()) AS g(i));
COMMENT ON FUNCTION meter.projection_midnights(timestamptz, text) IS
'When the days that projections from an instant on go by begin in a time zone, the first one first and that of the instant last';

-- A run rate is that of the period, so its days without usage count; what goes
-- by weeks begins with the first usage there is.
CREATE FUNCTION meter.projection_cost(subjects meter.projection_subject[], at timestamptz, method text)
RETURNS TABLE (no integer, costs boolean, current numeric, answer meter.forecast_answer)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	low timestamptz := (SELECT min(p.known_from)
		FROM unnest(subjects) AS s
		CROSS JOIN LATERAL meter.projection_steps(projection_cost.at, s.until, s.time_zone) AS p);
BEGIN
	RETURN QUERY
	WITH zone AS (
		SELECT z.time_zone, meter.projection_midnights(projection_cost.at, z.time_zone) AS midnights
		FROM (SELECT DISTINCT s.time_zone FROM unnest(subjects) AS s) AS z
		OFFSET 0
	), subject AS MATERIALIZED (
		SELECT s.*, p.*, (s.period_from AT TIME ZONE s.time_zone)::date AS first_day, z.midnights
		FROM unnest(subjects) AS s
		JOIN zone AS z ON z.time_zone = s.time_zone
		CROSS JOIN LATERAL meter.projection_steps(projection_cost.at, s.until, s.time_zone) AS p
	), used AS (
		SELECT s.no, width_bucket(u.hour, s.midnights) AS n, u.cost
		FROM subject AS s
		JOIN meter.usage_hourly AS u ON u.tenant = s.tenant AND (u.service = s.service OR s.service IS NULL)
		WHERE u.cost IS NOT NULL AND u.hour >= low AND u.hour < projection_cost.at
		UNION ALL
		SELECT s.no, width_bucket(u.hour, s.midnights), u.cost
		FROM subject AS s
		JOIN meter.usage_hourly AS u ON u.service = s.service
		WHERE s.tenant IS NULL AND u.cost IS NOT NULL AND u.hour >= low AND u.hour < projection_cost.at
		UNION ALL
		SELECT s.no, width_bucket(u.hour, s.midnights), u.cost
		FROM subject AS s
		CROSS JOIN meter.usage_hourly AS u
		WHERE s.tenant IS NULL AND s.service IS NULL
			AND u.cost IS NOT NULL AND u.hour >= low AND u.hour < projection_cost.at
	), summed AS (
		SELECT u.no, u.n, sum(u.cost) AS cost FROM used AS u GROUP BY u.no, u.n
	), daily AS MATERIALIZED (
		-- the last one is today; what is before the first one is of other time zones
		SELECT s.no, s.today - cardinality(s.midnights) + d.n AS day, d.cost
		FROM summed AS d
		JOIN subject AS s ON s.no = d.no
		WHERE d.n > 0
	), known AS (
		SELECT s.no, s.today, s.elapsed, s.horizon, s.last, s.first_day, s.until,
			sum(d.cost) FILTER (WHERE d.day >= s.first_day) AS current,
			sum(d.cost) FILTER (WHERE d.day = s.today) AS running,
			LEAST(min(d.day), CASE WHEN projection_cost.method = 'run_rate' THEN s.first_day END) AS since,
			count(d.day) > 0 AS costs
		FROM subject AS s
		LEFT JOIN daily AS d ON d.no = s.no
		GROUP BY s.no, s.today, s.elapsed, s.horizon, s.last, s.first_day, s.until
	), series AS (
		SELECT k.no, array_agg(COALESCE(d.cost, 0)::double precision ORDER BY g.i) AS history
		FROM known AS k
		CROSS JOIN LATERAL generate_series(0, k.today - 1 - k.since) AS g(i)
		LEFT JOIN daily AS d ON d.no = k.no AND d.day = k.since + g.i
		GROUP BY k.no
	)
	SELECT k.no, k.costs, COALESCE(k.current, 0), CASE WHEN k.until > projection_cost.at THEN
		meter.forecast(COALESCE(s.history, '{}'), 7, k.horizon, projection_cost.method, 0.8,
			k.today - k.first_day, COALESCE(k.running, 0)::double precision, k.elapsed, k.last) END
	FROM known AS k
	LEFT JOIN series AS s ON s.no = k.no;
END
$$;
COMMENT ON FUNCTION meter.projection_cost(meter.projection_subject[], timestamptz, text) IS
'What events of subjects will have cost: whether there are any with costs, what they cost from the beginning of the period until the instant, and the forecast of what comes from then on, null if nothing does. Errors: those of meter.forecast()';

CREATE FUNCTION meter.projection_currency(of_tenant text, at timestamptz) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN COALESCE(
	(SELECT p.currency FROM meter.model_price AS p LIMIT 1),
	(SELECT t.currency FROM meter.tenant AS t WHERE t.tenant = of_tenant),
	(SELECT v.currency FROM meter.tenant AS t
		JOIN meter.plan_version AS v ON v.plan = t.plan AND v.valid_from <= (at AT TIME ZONE 'UTC')::date
		WHERE t.tenant = of_tenant ORDER BY v.valid_from DESC LIMIT 1),
	(SELECT min(b.currency) FROM meter.budget AS b
		WHERE b.basis = 'cost' AND (b.tenant IS NULL OR of_tenant IS NULL OR b.tenant = of_tenant)
		HAVING count(DISTINCT b.currency) = 1),
	'USD');
COMMENT ON FUNCTION meter.projection_currency(text, timestamptz) IS
'The currency in which events of a tenant, null for all, carry their costs: that of meter.model_price, or else the tenant''s, or else that of its plan at an instant, or else the one that budgets of costs are in, or else USD';

CREATE FUNCTION meter.projection_of_cost(currency text, period_from timestamptz, until timestamptz, current numeric,
	answer meter.forecast_answer)
RETURNS meter.projection
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN ROW('cost', currency, period_from, until,
	trim_scale(current),
	trim_scale(current + COALESCE(round((answer).low::numeric, 10), 0)),
	trim_scale(current + COALESCE(round((answer).expected::numeric, 10), 0)),
	trim_scale(current + COALESCE(round((answer).high::numeric, 10), 0)),
	(answer).method, COALESCE((answer).confidence, 'normal'), 0.8, round((answer).mase::numeric, 3),
	'{}'::jsonb)::meter.projection;
COMMENT ON FUNCTION meter.projection_of_cost(text, timestamptz, timestamptz, numeric, meter.forecast_answer) IS
'The projection of a cost, given its currency, the period, what was spent and the forecast of what comes, null if nothing does';

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

CREATE FUNCTION meter.projection_steps(at timestamptz, until timestamptz, time_zone text,
	OUT today date, OUT known_from timestamptz, OUT elapsed double precision, OUT horizon integer, OUT last double precision)
RETURNS record
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT d.today, (d.today - meter.projection_days())::timestamp AT TIME ZONE time_zone,
		extract(epoch FROM at - d.today::timestamp AT TIME ZONE time_zone)
			/ extract(epoch FROM (d.today + 1)::timestamp AT TIME ZONE time_zone - d.today::timestamp AT TIME ZONE time_zone),
		d.final - d.today + 1,
		extract(epoch FROM until - d.final::timestamp AT TIME ZONE time_zone)
			/ extract(epoch FROM (d.final + 1)::timestamp AT TIME ZONE time_zone - d.final::timestamp AT TIME ZONE time_zone)
	FROM (
		SELECT (at AT TIME ZONE time_zone)::date AS today,
			((until - interval '1 microsecond') AT TIME ZONE time_zone)::date AS final
	) AS d;
END;
COMMENT ON FUNCTION meter.projection_steps(timestamptz, timestamptz, text) IS
'The days from an instant until another in a time zone: the first one, when the history of a projection begins, the part of the first day that is over, how many there are, and the part of the last one that is asked for';

-- A run rate is that of the period, so its days without usage count; what goes
-- by weeks begins with the first usage there is.
CREATE FUNCTION meter.projection_cost(subjects meter.projection_subject[], at timestamptz, method text)
RETURNS TABLE (no integer, costs boolean, current numeric, answer meter.forecast_answer)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	low timestamptz := (SELECT min(LEAST(p.known_from, s.period_from))
		FROM unnest(subjects) AS s
		CROSS JOIN LATERAL meter.projection_steps(projection_cost.at, s.until, s.time_zone) AS p);
BEGIN
	RETURN QUERY
	WITH subject AS MATERIALIZED (
		SELECT s.*, p.*, (s.period_from AT TIME ZONE s.time_zone)::date AS first_day
		FROM unnest(subjects) AS s
		CROSS JOIN LATERAL meter.projection_steps(projection_cost.at, s.until, s.time_zone) AS p
	), used AS (
		SELECT s.no, u.hour, u.cost
		FROM subject AS s
		JOIN meter.usage_hourly AS u ON u.tenant = s.tenant AND (u.service = s.service OR s.service IS NULL)
		WHERE u.cost IS NOT NULL AND u.hour >= low AND u.hour < projection_cost.at
		UNION ALL
		SELECT s.no, u.hour, u.cost
		FROM subject AS s
		JOIN meter.usage_hourly AS u ON u.service = s.service
		WHERE s.tenant IS NULL AND u.cost IS NOT NULL AND u.hour >= low AND u.hour < projection_cost.at
		UNION ALL
		SELECT s.no, u.hour, u.cost
		FROM subject AS s
		CROSS JOIN meter.usage_hourly AS u
		WHERE s.tenant IS NULL AND s.service IS NULL
			AND u.cost IS NOT NULL AND u.hour >= low AND u.hour < projection_cost.at
	), hourly AS (
		-- time zones are looked at once an hour, not once a group
		SELECT u.no, u.hour, sum(u.cost) AS cost FROM used AS u GROUP BY u.no, u.hour
	), daily AS MATERIALIZED (
		SELECT s.no, (h.hour AT TIME ZONE s.time_zone)::date AS day,
			sum(h.cost) FILTER (WHERE h.hour >= s.known_from) AS cost,
			sum(h.cost) FILTER (WHERE h.hour >= s.period_from) AS current
		FROM hourly AS h
		JOIN subject AS s ON s.no = h.no
		GROUP BY s.no, 2
	), known AS (
		SELECT s.no, s.today, s.elapsed, s.horizon, s.last, s.first_day, s.until,
			sum(d.current) AS current,
			sum(d.cost) FILTER (WHERE d.day = s.today) AS running,
			LEAST(min(d.day) FILTER (WHERE d.cost IS NOT NULL),
				CASE WHEN projection_cost.method = 'run_rate' THEN s.first_day END) AS since,
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

CREATE FUNCTION meter.projection_of_cost(period_from timestamptz, until timestamptz, current numeric,
	answer meter.forecast_answer)
RETURNS meter.projection
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN ROW('cost', COALESCE((SELECT p.currency FROM meter.model_price AS p LIMIT 1), 'USD'), period_from, until,
	trim_scale(current),
	trim_scale(current + COALESCE(round((answer).low::numeric, 10), 0)),
	trim_scale(current + COALESCE(round((answer).expected::numeric, 10), 0)),
	trim_scale(current + COALESCE(round((answer).high::numeric, 10), 0)),
	(answer).method, COALESCE((answer).confidence, 'normal'), 0.8, round((answer).mase::numeric, 3),
	'{}'::jsonb)::meter.projection;
COMMENT ON FUNCTION meter.projection_of_cost(timestamptz, timestamptz, numeric, meter.forecast_answer) IS
'The projection of a cost, given the period, what was spent and the forecast of what comes, null if nothing does. Costs of events are in the currency of meter.model_price, or else in USD';

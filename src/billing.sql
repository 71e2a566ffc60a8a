-- billing.sql: who is billed for which time, by which plan and which prices
--
-- All of it is reckoned in days of the tenant's calendar, where a month has a
-- first day in every time zone, and made instants of at the very end: a day
-- begins at its local midnight; where clocks skip that, right after; where they
-- have it twice, with the second.

CREATE FUNCTION meter.billing_day(at timestamptz, time_zone text) RETURNS date
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN (at AT TIME ZONE time_zone)::date
	- CASE WHEN (at AT TIME ZONE time_zone)::date::timestamp AT TIME ZONE time_zone > at THEN 1 ELSE 0 END;
COMMENT ON FUNCTION meter.billing_day(timestamptz, text) IS
'The day that an instant belongs to, of days as billing has them in a time zone: where clocks have midnight twice, the hour between belongs to the day before';

CREATE FUNCTION meter.billing_span(month date, tenants text[] DEFAULT NULL)
RETURNS TABLE (tenant text, month date, period_from date, period_to date, time_zone text,
	currency text, tax_percent numeric, plan text, from_day date, to_day date, charged_from date)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	WITH calendar AS (
		SELECT f.first, (f.first + interval '1 month')::date AS next,
			(f.first + interval '2 months')::date AS after_next
		FROM (SELECT date_trunc('month', billing_span.month::timestamp)::date AS first
			WHERE isfinite(billing_span.month)) AS f
	), chosen AS (
		SELECT t.* FROM meter.tenant AS t WHERE billing_span.tenants IS NULL
		UNION ALL
		SELECT t.* FROM meter.tenant AS t WHERE t.tenant = ANY (billing_span.tenants)
	), of_tenant AS (
		SELECT t.tenant, c.first AS month,
			least(c.first + (t.billing_anchor - 1), c.next - 1) AS period_from,
			least(c.next + (t.billing_anchor - 1), c.after_next - 1) AS period_to,
			meter.known_time_zone(t.time_zone) AS time_zone, t.currency, t.tax_percent, t.plan, t.status,
			COALESCE(t.started_on, (t.created_at AT TIME ZONE meter.known_time_zone(t.time_zone))::date) AS starts_on
		FROM calendar AS c CROSS JOIN chosen AS t
	), history AS (
		SELECT t.*, s.valid_from, s.plan AS had, s.plan IS NOT NULL OR s.planless AS billed
		FROM of_tenant AS t JOIN meter.subscription AS s ON s.tenant = t.tenant
		UNION ALL
		SELECT t.*, t.starts_on, t.plan, true
		FROM of_tenant AS t
		WHERE t.status <> 'cancelled'
			AND NOT EXISTS (SELECT FROM meter.subscription AS s WHERE s.tenant = t.tenant)
	), changed AS (
		SELECT h.*, lag(h.had) OVER w AS had_before, lag(h.billed) OVER w AS billed_before,
			min(h.valid_from) FILTER (WHERE h.had IS NOT NULL) OVER w AS first_day
		FROM history AS h
		WINDOW w AS (PARTITION BY h.tenant ORDER BY h.valid_from)
	), version AS (
		SELECT v.plan, v.currency, v.trial_days, v.valid_from, COALESCE(
			lead(v.valid_from) OVER (PARTITION BY v.plan ORDER BY v.valid_from), 'infinity') AS valid_to
		FROM meter.plan_version AS v
	), span AS (
		SELECT h.*, lead(h.valid_from) OVER w AS valid_to,
			-- the first subscription's, from its beginning on
			max(h.valid_from + v.trial_days) OVER w AS trial_ends
		FROM changed AS h
		LEFT JOIN version AS v ON h.valid_from = h.first_day AND v.plan = h.had
			AND h.valid_from >= v.valid_from AND h.valid_from < v.valid_to
		WHERE h.billed_before IS NULL OR h.billed <> h.billed_before
			OR h.had IS DISTINCT FROM h.had_before
		WINDOW w AS (PARTITION BY h.tenant ORDER BY h.valid_from)
	), clipped AS (
		SELECT s.*, greatest(s.valid_from, s.period_from) AS from_day, least(s.valid_to, s.period_to) AS to_day,
			greatest(s.valid_from, s.period_from, s.trial_ends) AS charged_from,
			last_value(s.had) OVER w AS last_plan,
			last_value(least(s.valid_to, s.period_to)) OVER w - 1 AS last_day
		FROM span AS s
		WHERE s.billed AND s.valid_from < s.period_to
			AND (s.valid_to IS NULL OR s.valid_to > s.period_from)
		WINDOW w AS (PARTITION BY s.tenant ORDER BY s.valid_from
			ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
	)
	SELECT c.tenant, c.month, c.period_from, c.period_to, c.time_zone,
		COALESCE(c.currency, v.currency, 'USD'), c.tax_percent, c.had, c.from_day, c.to_day,
		c.charged_from
	FROM clipped AS c
	LEFT JOIN version AS v ON v.plan = c.last_plan
		AND c.last_day >= v.valid_from AND c.last_day < v.valid_to;
END;
COMMENT ON FUNCTION meter.billing_span(date, text[]) IS
'Part of meter.billing_period(), meter.billing_plan() and meter.billing_price(): the days of the billing period of a month in which each tenant was subscribed, split where the plan changes; charged_from is the first day after the trial and may be after to_day. Each to is the first day that is not of it any more. Arguments: any day of the month; the tenants, null for all of meter.tenant';

CREATE FUNCTION meter.billing_period(month date, tenants text[] DEFAULT NULL)
RETURNS TABLE (tenant text, month date, period_from timestamptz, period_to timestamptz,
	served_from timestamptz, served_to timestamptz, time_zone text, currency text, tax_percent numeric)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	SELECT p.tenant, p.month,
		p.period_from::timestamp AT TIME ZONE p.time_zone,
		p.period_to::timestamp AT TIME ZONE p.time_zone,
		p.served_from::timestamp AT TIME ZONE p.time_zone,
		p.served_to::timestamp AT TIME ZONE p.time_zone,
		p.time_zone, p.currency, p.tax_percent
	FROM (
		SELECT s.tenant, s.month, s.period_from, s.period_to, s.time_zone, s.currency, s.tax_percent,
			min(s.from_day) AS served_from, max(s.to_day) AS served_to
		FROM meter.billing_span(billing_period.month, billing_period.tenants) AS s
		GROUP BY s.tenant, s.month, s.period_from, s.period_to, s.time_zone, s.currency, s.tax_percent
	) AS p;
END;
COMMENT ON FUNCTION meter.billing_period(date, text[]) IS
'The billing periods that begin in a month, of each tenant of meter.tenant that is subscribed in it: from the tenant''s anchor day to that of the next month, in its time zone. served_from and served_to are when its subscription begins and ends in it; currency is that of the bill: the tenant''s, or else that of its last plan in the period, or else USD. Arguments: any day of the month; the tenants, null for all';

CREATE FUNCTION meter.billing_plan(month date, tenants text[] DEFAULT NULL)
RETURNS TABLE (tenant text, plan text, version date, base_price numeric, currency text,
	min_amount numeric, max_amount numeric, from_at timestamptz, to_at timestamptz)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	WITH version AS (
		SELECT v.plan, v.valid_from AS version, v.base_price, v.currency, v.min_amount, v.max_amount,
			v.valid_from, COALESCE(lead(v.valid_from) OVER (PARTITION BY v.plan ORDER BY v.valid_from),
				'infinity') AS valid_to
		FROM meter.plan_version AS v
		UNION ALL
		-- before the first one, or without any
		SELECT p.plan, NULL, 0, NULL, NULL, NULL, '-infinity',
			COALESCE((SELECT min(v.valid_from) FROM meter.plan_version AS v WHERE v.plan = p.plan), 'infinity')
		FROM meter.plan AS p
	), segment AS (
		SELECT s.tenant, s.time_zone, v.plan, v.version, v.base_price,
			COALESCE(v.currency, s.currency) AS currency, v.min_amount, v.max_amount,
			greatest(s.charged_from, v.valid_from) AS from_day, least(s.to_day, v.valid_to) AS to_day
		FROM meter.billing_span(billing_plan.month, billing_plan.tenants) AS s
		JOIN version AS v ON v.plan = s.plan AND v.valid_from < s.to_day AND v.valid_to > s.charged_from
		WHERE s.charged_from < s.to_day
	)
	SELECT s.tenant, s.plan, s.version, s.base_price, s.currency, s.min_amount, s.max_amount,
		s.from_day::timestamp AT TIME ZONE s.time_zone, s.to_day::timestamp AT TIME ZONE s.time_zone
	FROM segment AS s;
END;
COMMENT ON FUNCTION meter.billing_plan(date, text[]) IS
'Which plan, in which version, each tenant had when in its billing period of a month, after its trial. version is valid_from of meter.plan_version; where a plan has none, it is null, base_price 0 and currency that of the bill. Arguments: any day of the month; the tenants, null for all';

CREATE TYPE meter.billing_stay AS (
	tenant text COLLATE "C",
	time_zone text,
	plan text COLLATE "C",
	from_day date,
	to_day date
);
COMMENT ON TYPE meter.billing_stay IS
'Days that a tenant is charged for by a plan, null by none, and its time zone; to_day is the first day that is not of it any more';

-- Planned anew each time, as for one tenant indexes serve that for all would be a
-- burden; and never compiled, as how many rows come of so many ranges is a guess,
-- and compiling would take longer than all the rest.
CREATE FUNCTION meter.billing_stay_price(stays meter.billing_stay[])
RETURNS TABLE (tenant text, price_id uuid, price text, from_at timestamptz, to_at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 60000
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH span AS MATERIALIZED (
		SELECT s.tenant, s.time_zone, COALESCE(s.plan, '') COLLATE "C" AS plan,
			daterange(s.from_day, s.to_day) AS days, count(*) OVER (PARTITION BY s.tenant) AS spans
		FROM unnest(stays) AS s
	), billed_plan AS MATERIALIZED (
		SELECT DISTINCT s.plan FROM span AS s
	), of_plan AS MATERIALIZED (
		-- of each plan, and for all where the plan has none of that name; '' is no plan
		SELECT q.plan, p.price_id, p.price, daterange(p.valid_from, p.valid_to) AS days
		FROM billed_plan AS q
		JOIN meter.price AS p ON p.plan = q.plan
		UNION ALL
		SELECT q.plan, p.price_id, p.price, r.days
		FROM billed_plan AS q
		JOIN meter.price AS p ON p.plan IS NULL AND p.tenant IS NULL
		CROSS JOIN LATERAL (
			SELECT unnest(datemultirange(daterange(p.valid_from, p.valid_to))
				- COALESCE(range_agg(daterange(b.valid_from, b.valid_to)), '{}')) AS days
			FROM meter.price AS b
			WHERE b.plan = q.plan AND b.price = p.price
		) AS r
	), own AS MATERIALIZED (
		SELECT p.tenant, p.price, range_agg(daterange(p.valid_from, p.valid_to)) AS days
		FROM meter.price AS p
		WHERE p.tenant IN (SELECT s.tenant FROM span AS s)
		GROUP BY p.tenant, p.price
	), held AS MATERIALIZED (
		SELECT s.tenant, s.time_zone, s.spans, p.price_id, p.price,
			s.days * daterange(p.valid_from, p.valid_to) AS days
		FROM span AS s
		JOIN meter.price AS p ON p.tenant = s.tenant
		WHERE s.days && daterange(p.valid_from, p.valid_to)
		UNION ALL
		SELECT s.tenant, s.time_zone, s.spans, p.price_id, p.price, s.days * p.days
		FROM span AS s
		JOIN of_plan AS p ON p.plan = s.plan
		WHERE s.days && p.days
			AND NOT EXISTS (SELECT FROM own AS o WHERE o.tenant = s.tenant AND o.price = p.price)
		UNION ALL
		SELECT s.tenant, s.time_zone, s.spans, p.price_id, p.price,
			unnest(datemultirange(s.days * p.days) - o.days)
		FROM span AS s
		JOIN of_plan AS p ON p.plan = s.plan
		JOIN own AS o ON o.tenant = s.tenant AND o.price = p.price
	), segment AS (
		SELECT h.tenant, h.time_zone, h.price_id, h.price, h.days
		FROM held AS h WHERE h.spans = 1
		UNION ALL
		-- a price that stays when the plan changes has one segment
		SELECT h.tenant, h.time_zone, h.price_id, h.price, unnest(range_agg(h.days))
		FROM held AS h WHERE h.spans > 1
		GROUP BY h.tenant, h.time_zone, h.price_id, h.price
	)
	SELECT s.tenant, s.price_id, s.price,
		lower(s.days)::timestamp AT TIME ZONE s.time_zone, upper(s.days)::timestamp AT TIME ZONE s.time_zone
	FROM segment AS s;
END
$$;
COMMENT ON FUNCTION meter.billing_stay_price(meter.billing_stay[]) IS
'Which prices hold for tenants when, on the plans and days they are charged for; of the prices of one name, at every moment that of the tenant, or else that of its plan, or else that for all';

CREATE FUNCTION meter.billing_price(month date, tenants text[] DEFAULT NULL)
RETURNS TABLE (tenant text, price_id uuid, price text, from_at timestamptz, to_at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 60000
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT p.tenant, p.price_id, p.price, p.from_at, p.to_at
	FROM meter.billing_stay_price(ARRAY(
		SELECT ROW(s.tenant, s.time_zone, s.plan, s.charged_from, s.to_day)::meter.billing_stay
		FROM meter.billing_span(billing_price.month, billing_price.tenants) AS s
		WHERE s.charged_from < s.to_day)) AS p;
END
$$;
COMMENT ON FUNCTION meter.billing_price(date, text[]) IS
'Which prices held for each tenant when in its billing period of a month, after its trial; of the prices of one name, at every moment that of the tenant, or else that of its plan, or else that for all. Arguments: any day of the month; the tenants, null for all';

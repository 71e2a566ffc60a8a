-- compare.sql: what a tenant would owe for a period on other plans

CREATE TYPE meter.compare_price AS (
	plan text COLLATE "C",
	tenant text COLLATE "C",
	price_id uuid,
	from_at timestamptz,
	to_at timestamptz
);
COMMENT ON TYPE meter.compare_price IS
'A time in which a price would hold for a tenant if it had the plan';

CREATE FUNCTION meter.compare_fx_known(base text, quote text, on_day date) RETURNS boolean
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN base = quote OR EXISTS (
	SELECT FROM meter.fx_rate AS r
	WHERE r.base = compare_fx_known.base AND r.quote = compare_fx_known.quote
		AND r.valid_from <= compare_fx_known.on_day);
COMMENT ON FUNCTION meter.compare_fx_known(text, text, date) IS
'Is there an exchange rate on a day? Where there is none, meter.fx() is an error';

CREATE TYPE meter.compare_quantity AS (
	plan text COLLATE "C",
	quantity meter.bill_quantity
);
COMMENT ON TYPE meter.compare_quantity IS
'How much was used of what a price of a plan is for';

-- Usage of hours knows the rate that was reached in an hour or longer, so a limit
-- by the minute is taken to admit sixty times as much in an hour: a plan that
-- fits by this may still refuse calls that come all at once.
CREATE FUNCTION meter.compare_fits(stays meter.billing_stay[], plans text[])
RETURNS TABLE (tenant text, plan text, fits boolean)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	low timestamptz := (SELECT min(s.from_day::timestamp AT TIME ZONE s.time_zone) FROM unnest(stays) AS s);
	high timestamptz := (SELECT max(s.to_day::timestamp AT TIME ZONE s.time_zone) FROM unnest(stays) AS s);
BEGIN
	RETURN QUERY
	WITH stay AS MATERIALIZED (
		SELECT s.tenant, s.time_zone, s.from_day::timestamp AT TIME ZONE s.time_zone AS from_at,
			s.to_day::timestamp AT TIME ZONE s.time_zone AS to_at
		FROM unnest(stays) AS s
	), offered AS (
		SELECT p.plan, p.multiplier FROM meter.plan AS p WHERE p.plan = ANY (plans)
	), candidate AS (
		SELECT s.tenant, o.plan, r.per, r.metric, r.kind, r.mode,
			CASE WHEN num_nonnulls(r.tenant, r.plan) = 0 THEN ceil(r.max * o.multiplier) ELSE r.max END AS max,
			CASE WHEN num_nonnulls(r.tenant, r.plan) = 0 THEN ceil(r.burst * o.multiplier) ELSE r.burst END AS burst,
			row_number() OVER (PARTITION BY s.tenant, o.plan, r.per
				ORDER BY r.tenant IS NULL, r.plan IS NULL) AS rank
		FROM stay AS s
		CROSS JOIN offered AS o
		JOIN meter.rate_limit AS r ON r.tenant = s.tenant OR r.plan = o.plan OR num_nonnulls(r.tenant, r.plan) = 0
		WHERE r.resource = '*' AND r.unit = 'requests' AND NOT r.per_user
	), rule AS MATERIALIZED (
		SELECT c.tenant, c.plan, c.per, c.metric,
			c.max * CASE c.per WHEN 'second' THEN 3600 WHEN 'minute' THEN 60 ELSE 1 END
				+ CASE WHEN c.kind = 'bucket' THEN COALESCE(c.burst, c.max) ELSE 0 END AS admits
		FROM candidate AS c
		-- what only warns still takes the place of a rule that is less specific
		WHERE c.rank = 1 AND c.max IS NOT NULL AND c.mode = 'enforce'
	), hourly AS (
		-- several requests that were recorded as one event were several calls, or one
		-- that counts as several: that cannot be told.  A refused one has a quantity of 0.
		SELECT s.tenant, s.time_zone, h.metric, h.hour, sum(h.events - h.errors_429) AS calls,
			CASE WHEN h.metric = 'api_requests' THEN sum(h.quantity) END AS quantity
		FROM stay AS s
		JOIN meter.usage_hourly AS h ON h.tenant = s.tenant AND h.hour >= s.from_at AND h.hour < s.to_at
		WHERE h.hour >= low AND h.hour < high AND h.metric IN (SELECT r.metric FROM rule AS r)
		GROUP BY s.tenant, s.time_zone, h.metric, h.hour
	), daily AS (
		SELECT h.tenant, h.metric, (h.hour AT TIME ZONE h.time_zone)::date AS day, sum(h.calls) AS calls,
			max(h.calls) AS of_hour, sum(h.quantity) AS quantity, max(h.quantity) AS quantity_of_hour
		FROM hourly AS h
		GROUP BY h.tenant, h.metric, (h.hour AT TIME ZONE h.time_zone)::date
	), peak AS (
		SELECT d.tenant, d.metric, max(d.of_hour) AS of_hour, max(d.calls) AS of_day, sum(d.calls) AS of_month,
			max(d.quantity_of_hour) AS quantity_of_hour, max(d.quantity) AS quantity_of_day, sum(d.quantity) AS quantity_of_month
		FROM daily AS d
		GROUP BY d.tenant, d.metric
	)
	SELECT s.tenant, o.plan, CASE
		WHEN bool_or(CASE r.per WHEN 'month' THEN p.of_month WHEN 'day' THEN p.of_day ELSE p.of_hour END > r.admits) THEN false
		WHEN bool_or(CASE r.per WHEN 'month' THEN p.quantity_of_month WHEN 'day' THEN p.quantity_of_day
			ELSE p.quantity_of_hour END > r.admits) THEN NULL
		ELSE true END
	FROM stay AS s
	CROSS JOIN offered AS o
	LEFT JOIN rule AS r ON r.tenant = s.tenant AND r.plan = o.plan
	LEFT JOIN peak AS p ON p.tenant = r.tenant AND p.metric = r.metric
	GROUP BY s.tenant, o.plan;
END
$$;
COMMENT ON FUNCTION meter.compare_fits(meter.billing_stay[], text[]) IS
'Would the limits of plans for all resources, on requests, have admitted the busiest hour, the busiest day and all of the days that are given? Null if they would have admitted as many as there are events, but not their quantity';

-- The same functions as bills go through, with other plans: which prices hold,
-- what was used of them, what that costs.  Plans mostly have prices for the same
-- metrics, so usage is aggregated once for all of them.
CREATE FUNCTION @extschema@.meter_compare_plans(month date, tenants text[] DEFAULT NULL, plans text[] DEFAULT NULL)
RETURNS TABLE (tenant text, plan text, is_current boolean, currency text, base numeric, usage numeric,
	adjustment numeric, amount numeric, fits boolean)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	of_month date := date_trunc('month', meter_compare_plans.month::timestamp)::date;
	unknown text;
	offered text[];
	stays meter.billing_stay[];
	periods meter.bill_period[];
	held meter.compare_price[];
	segments meter.usage_segment[];
	charged text[];
	quantities meter.compare_quantity[];
BEGIN
	IF of_month IS NULL OR NOT isfinite(of_month) THEN
		RAISE EXCEPTION 'month must be a date' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT u.plan INTO unknown FROM unnest(plans) AS u(plan)
	WHERE NOT EXISTS (SELECT FROM meter.plan AS p WHERE p.plan = u.plan) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'there is no plan "%"', unknown
			USING ERRCODE = 'invalid_parameter_value', HINT = 'The table meter.plan has the plans.';
	END IF;
	offered := ARRAY(SELECT p.plan FROM meter.plan AS p
		WHERE p.plan = ANY (plans) OR (plans IS NULL
			AND EXISTS (SELECT FROM meter.plan_version AS v WHERE v.plan = p.plan)));

	-- who has a plan, and the days that are charged, whichever plans they were; one
	-- who was gone for a time has two stays
	stays := ARRAY(
		SELECT ROW(t.tenant, s.time_zone, t.plan, min(s.charged_from), max(s.to_day))::meter.billing_stay
		FROM (
			SELECT b.*, count(*) FILTER (WHERE b.came_back) OVER (PARTITION BY b.tenant ORDER BY b.from_day) AS stay
			FROM (
				SELECT s.*, lag(s.to_day) OVER (PARTITION BY s.tenant ORDER BY s.from_day) < s.from_day AS came_back
				FROM meter.billing_span(of_month, meter_compare_plans.tenants) AS s
			) AS b
		) AS s
		JOIN meter.tenant AS t ON t.tenant = s.tenant
		WHERE t.plan IS NOT NULL AND t.status <> 'cancelled'
		GROUP BY t.tenant, s.time_zone, t.plan, s.stay
		HAVING min(s.charged_from) < max(s.to_day));
	-- what would be, not what a final bill holds fast
	periods := ARRAY(
		SELECT ROW(p.tenant, p.period_from, p.period_to, p.seconds, p.last_day, p.currency, p.digits,
			p.tax_percent, false)::meter.bill_period
		FROM unnest(meter.bill_periods(of_month, ARRAY(SELECT s.tenant FROM unnest(stays) AS s))) AS p
		WHERE NOT EXISTS (
			SELECT FROM meter.tenant_coupon AS g
			JOIN meter.coupon AS c ON c.coupon = g.coupon
			WHERE g.tenant = p.tenant AND NOT meter.compare_fx_known(c.currency, p.currency, p.last_day)));
	periods := ARRAY(
		SELECT p FROM unnest(periods) AS p
		WHERE p.tenant <> ALL (ARRAY(
			SELECT s.tenant FROM meter.bill_plans(of_month, ARRAY(SELECT q.tenant FROM unnest(periods) AS q)) AS s
			JOIN unnest(periods) AS q ON q.tenant = s.tenant
			WHERE num_nonnulls(s.min_amount, s.max_amount) > 0
				AND NOT meter.compare_fx_known(s.currency, q.currency, q.last_day))));

	held := ARRAY(
		SELECT ROW(q.plan, h.tenant, h.price_id, h.from_at, h.to_at)::meter.compare_price
		FROM (SELECT unnest(offered) UNION SELECT s.plan FROM unnest(stays) AS s) AS q(plan)
		CROSS JOIN LATERAL meter.billing_stay_price(ARRAY(
			SELECT ROW(s.tenant, s.time_zone, q.plan, s.from_day, s.to_day)::meter.billing_stay
			FROM unnest(stays) AS s
			WHERE q.plan = ANY (offered) OR s.plan = q.plan)) AS h);

	segments := meter.segment_of_price(ARRAY(
		SELECT ROW(h.tenant, (array_agg(h.price_id ORDER BY h.price_id))[1], h.from_at, h.to_at,
			p.seconds)::meter.price_span
		FROM unnest(held) AS h
		JOIN meter.price AS c ON c.price_id = h.price_id
		JOIN unnest(periods) AS p ON p.tenant = h.tenant
		GROUP BY h.tenant, h.from_at, h.to_at, p.seconds, c.metric, c.dims, c.aggregation, c.percentile,
			c.model = 'dynamic', c.model = 'percentage'));
	-- whose usage cannot be told any more
	charged := ARRAY(
		SELECT p.tenant FROM unnest(periods) AS p
		EXCEPT SELECT m.tenant FROM meter.segment_missing(segments) AS m);
	segments := ARRAY(SELECT s FROM unnest(segments) AS s WHERE s.tenant = ANY (charged));
	periods := ARRAY(SELECT p FROM unnest(periods) AS p WHERE p.tenant = ANY (charged));

	quantities := ARRAY(
		WITH used AS MATERIALIZED (
			SELECT s.tenant, s.from_at, s.to_at, s.metric, s.dims, s.aggregation, s.percentile,
				s.model = 'dynamic' AS dynamic, s.model = 'percentage' AS by_event, u.quantity, u.events
			FROM unnest(segments) AS s
			JOIN meter.segment_usage(segments) AS u ON u.no = s.no
		)
		SELECT ROW(h.plan, ROW(h.tenant, h.price_id, h.from_at, h.to_at, u.quantity, u.events)::meter.bill_quantity)::meter.compare_quantity
		FROM unnest(held) AS h
		JOIN meter.price AS c ON c.price_id = h.price_id
		JOIN used AS u ON u.tenant = h.tenant AND u.from_at = h.from_at AND u.to_at = h.to_at
			AND u.metric = c.metric AND u.dims = c.dims AND u.aggregation = c.aggregation
			AND u.percentile IS NOT DISTINCT FROM c.percentile
			AND u.dynamic = (c.model = 'dynamic') AND u.by_event = (c.model = 'percentage'));

	RETURN QUERY
	WITH quantity AS MATERIALIZED (
		SELECT q.plan, (q.quantity).tenant, q.quantity FROM unnest(quantities) AS q
	), version AS (
		SELECT v.plan, v.base_price, v.currency, v.min_amount, v.max_amount, v.valid_from,
			COALESCE(lead(v.valid_from) OVER (PARTITION BY v.plan ORDER BY v.valid_from), 'infinity') AS valid_to
		FROM meter.plan_version AS v
	), foreign_price AS MATERIALIZED (
		-- what there is no exchange rate for
		SELECT h.plan, h.tenant
		FROM unnest(held) AS h
		JOIN meter.price AS c ON c.price_id = h.price_id
		JOIN unnest(periods) AS p ON p.tenant = h.tenant
		WHERE c.currency <> p.currency AND NOT meter.compare_fx_known(c.currency, p.currency, p.last_day)
		UNION
		SELECT v.plan, s.tenant
		FROM unnest(stays) AS s
		JOIN unnest(periods) AS p ON p.tenant = s.tenant
		JOIN version AS v ON v.valid_from < s.to_day AND v.valid_to > s.from_day
		WHERE v.currency <> p.currency AND NOT meter.compare_fx_known(v.currency, p.currency, p.last_day)
	), subject AS MATERIALIZED (
		SELECT s.tenant, s.time_zone, s.from_day, s.to_day, q.plan, q.plan = s.plan AS is_current,
			p.seconds, p.last_day, p.currency, p.digits
		FROM unnest(stays) AS s
		JOIN unnest(periods) AS p ON p.tenant = s.tenant
		CROSS JOIN LATERAL (SELECT unnest(offered) UNION SELECT s.plan) AS q(plan)
		WHERE (q.plan, s.tenant) NOT IN (SELECT f.plan, f.tenant FROM foreign_price AS f)
	), fee AS (
		SELECT s.tenant, s.plan,
			sum(round(meter.bill_decimals(meter.bill_part(v.base_price, x.seconds, s.seconds) * x.rate), s.digits)) AS base,
			sum(meter.bill_part(v.min_amount, x.seconds, s.seconds) * x.rate) AS min_amount,
			CASE WHEN bool_and(v.max_amount IS NOT NULL) AND min(v.valid_from) <= min(s.from_day)
				THEN sum(meter.bill_part(v.max_amount, x.seconds, s.seconds) * x.rate) END AS max_amount
		FROM subject AS s
		JOIN version AS v ON v.plan = s.plan AND v.valid_from < s.to_day AND v.valid_to > s.from_day
		CROSS JOIN LATERAL (
			SELECT trim_scale(extract(epoch FROM LEAST(v.valid_to, s.to_day)::timestamp AT TIME ZONE s.time_zone
					- GREATEST(v.valid_from, s.from_day)::timestamp AT TIME ZONE s.time_zone)) AS seconds,
				meter.fx(v.currency, s.currency, s.last_day, 'plan', s.plan) AS rate
			OFFSET 0) AS x
		GROUP BY s.tenant, s.plan
	), line AS (
		SELECT q.plan, l.tenant, sum(l.amount) AS amount
		FROM (SELECT DISTINCT s.plan FROM subject AS s) AS q
		CROSS JOIN LATERAL meter.bill_rate(of_month,
			ARRAY(SELECT p FROM unnest(periods) AS p
				WHERE p.tenant IN (SELECT s.tenant FROM subject AS s WHERE s.plan = q.plan)),
			ARRAY(SELECT h.quantity FROM quantity AS h
				WHERE h.plan = q.plan AND h.tenant IN (SELECT s.tenant FROM subject AS s WHERE s.plan = q.plan)), false) AS l
		GROUP BY q.plan, l.tenant
	), coupon AS (
		SELECT s.tenant, jsonb_agg(e.step ORDER BY e.n) AS steps
		FROM meter.bill_steps(of_month, periods) AS s
		CROSS JOIN LATERAL jsonb_array_elements(s.steps) WITH ORDINALITY AS e(step, n)
		WHERE e.step ->> 'kind' = 'coupon'
		GROUP BY s.tenant
	), total AS (
		SELECT s.tenant, s.plan, s.is_current, s.currency, s.digits,
			COALESCE(f.base, 0) AS base, COALESCE(l.amount, 0) AS usage,
			COALESCE(c.steps, '[]')
				|| CASE WHEN f.max_amount IS NOT NULL THEN jsonb_build_object('kind', 'maximum',
					'amount', meter.bill_decimals(f.max_amount)) ELSE '[]' END
				|| CASE WHEN f.min_amount > 0 THEN jsonb_build_object('kind', 'minimum',
					'amount', meter.bill_decimals(f.min_amount)) ELSE '[]' END AS steps
		FROM (SELECT DISTINCT s.tenant, s.plan, s.is_current, s.currency, s.digits FROM subject AS s) AS s
		LEFT JOIN fee AS f ON f.tenant = s.tenant AND f.plan = s.plan
		LEFT JOIN line AS l ON l.tenant = s.tenant AND l.plan = s.plan
		LEFT JOIN coupon AS c ON c.tenant = s.tenant
	)
	SELECT t.tenant, t.plan, t.is_current, t.currency, t.base, t.usage, a.adjustment, t.base + t.usage + a.adjustment,
		f.fits
	FROM total AS t
	CROSS JOIN LATERAL (
		SELECT COALESCE(sum(b.amount), 0) AS adjustment FROM meter.bill_fold(t.base + t.usage, t.digits, t.steps) AS b
	) AS a
	JOIN meter.compare_fits(ARRAY(SELECT s FROM unnest(stays) AS s WHERE s.tenant = ANY (charged)),
		ARRAY(SELECT unnest(offered) UNION SELECT s.plan FROM unnest(stays) AS s)) AS f
		ON f.tenant = t.tenant AND f.plan = t.plan;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_compare_plans(date, text[], text[]) IS
'What tenants would owe for their billing period of a month, without credits and tax, had they had another plan in it: their usage rated by the prices that would have held. base is the price of the plan, usage what the prices come to, adjustment what coupons, maximum and minimum of the bill take or add, amount all of it, in the currency of the tenant''s bill; is_current tells of the plan that the tenant has; fits is false where limits of the plan on requests would not have admitted the calls, null where that cannot be told. Arguments: any day of the month; the tenants, null for all that have a plan; the plans, null for all that have a version, besides those that tenants have. Left out is what cannot be rated for want of an exchange rate or of events that were dropped. Errors: 22023 for an unknown plan or no month';

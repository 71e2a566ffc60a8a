-- rating.sql: what a tenant owes for a period
--
-- Everything here works for any number of tenants at once.  A preview asks for
-- one and the closing of a month for a thousand, so what is previewed is what is
-- billed.
--
-- Amounts are exact as long as they are products and sums.  A quotient, of which
-- there are three, an average, the conversion of a unit and a part of a period, has
-- 40 decimals or more.  What is then rounded to the currency's digits is rounded to
-- 30 decimals before, so that a quotient that was to be a half is one.

-- --- steps of a line ---------------------------------------------------------

CREATE FUNCTION meter.bill_quotient(dividend numeric, divisor numeric) RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN divisor = 1 THEN dividend
	ELSE dividend * 1.0000000000000000000000000000000000000000 / divisor END;
COMMENT ON FUNCTION meter.bill_quotient(numeric, numeric) IS
'Quotient of two numbers, with 40 decimals or more';

CREATE FUNCTION meter.bill_part(amount numeric, seconds numeric, of_seconds numeric) RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN seconds >= of_seconds THEN amount
	ELSE meter.bill_quotient(amount * seconds, of_seconds) END;
COMMENT ON FUNCTION meter.bill_part(numeric, numeric, numeric) IS
'The part of an amount or a quantity for so many seconds of a period; never more than all of it';

CREATE FUNCTION meter.bill_decimals(amount numeric) RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN trim_scale(round(amount, 30));
COMMENT ON FUNCTION meter.bill_decimals(numeric) IS
'A number with 30 decimals at most, as bills show it and round it to the digits of the currency';

CREATE FUNCTION meter.bill_round(quantity numeric, rounding text, digits integer) RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN rounding = 'round' THEN round(quantity, digits)
	WHEN rounding = 'ceil' AND trunc(quantity, digits) < quantity THEN trunc(quantity, digits) + power(10::numeric, -digits)
	WHEN rounding = 'floor' AND trunc(quantity, digits) > quantity THEN trunc(quantity, digits) - power(10::numeric, -digits)
	WHEN rounding = 'none' THEN quantity
	ELSE trunc(quantity, digits) END;
COMMENT ON FUNCTION meter.bill_round(numeric, text, integer) IS
'A quantity rounded as a price wants it: none, round (halves away from zero), ceil or floor, to so many decimals; below 0, to tens, hundreds and so on';

CREATE FUNCTION meter.bill_events(events numeric[], divisor numeric, rounding text, digits integer, included numeric)
RETURNS numeric[]
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN (
	SELECT COALESCE(array_agg(LEAST(e.value, e.total - included) ORDER BY e.n), '{}')
	FROM (
		SELECT r.n, r.value, sum(r.value) OVER (ORDER BY r.n) AS total
		FROM (
			SELECT u.n, meter.bill_round(meter.bill_quotient(u.value, divisor), rounding, digits) AS value
			FROM unnest(events) WITH ORDINALITY AS u(value, n)
		) AS r
	) AS e
	WHERE included = 0 OR e.total > included
);
COMMENT ON FUNCTION meter.bill_events(numeric[], numeric, text, integer, numeric) IS
'Values of events, each converted and rounded, without those that the included quantity covers: the first ones, and a part of the one that exceeds it';

-- --- steps of a whole bill ---------------------------------------------------

CREATE FUNCTION meter.bill_fold(start numeric, digits integer, steps jsonb)
RETURNS TABLE (step integer, kind text, before numeric, amount_exact numeric, amount numeric, details jsonb)
LANGUAGE SQL IMMUTABLE PARALLEL SAFE ROWS 4
BEGIN ATOMIC
	WITH RECURSIVE fold AS (
		SELECT 0 AS n, start AS "left", NULL::numeric AS before, NULL::numeric AS exact, NULL::numeric AS rounded,
			NULL::jsonb AS done
		UNION ALL
		SELECT f.n + 1, f."left" + a.rounded, f."left", e.exact, a.rounded, s.step
		FROM fold AS f
		CROSS JOIN LATERAL (SELECT steps -> f.n AS step OFFSET 0) AS s
		CROSS JOIN LATERAL (
			SELECT meter.bill_decimals(CASE
				WHEN s.step ->> 'kind' = 'tax' THEN f."left" * (s.step ->> 'percent')::numeric * 0.01
				WHEN s.step ->> 'kind' = 'minimum' THEN GREATEST((s.step ->> 'amount')::numeric - f."left", 0)
				WHEN s.step ->> 'kind' = 'maximum' THEN LEAST((s.step ->> 'amount')::numeric - f."left", 0)
				-- of coupons and credits
				WHEN f."left" <= 0 THEN 0
				WHEN s.step ? 'percent' THEN f."left" * (s.step ->> 'percent')::numeric * -0.01
				ELSE - LEAST((s.step ->> 'amount')::numeric, f."left") END) AS exact OFFSET 0
		) AS e
		CROSS JOIN LATERAL (SELECT round(e.exact, digits) AS rounded OFFSET 0) AS a
		WHERE f.n < jsonb_array_length(steps)
	)
	SELECT f.n, f.done ->> 'kind', f.before, f.exact, f.rounded, f.done
	FROM fold AS f WHERE f.n > 0;
END;
COMMENT ON FUNCTION meter.bill_fold(numeric, integer, jsonb) IS
'Take an amount through the steps of a bill, each an object with kind coupon (percent or amount), maximum, minimum or credit (amount) or tax (percent): what each step adds, of what it is before it, and rounded to so many digits. Coupons and credits never go below 0';

-- --- what holds for a bill ---------------------------------------------------

-- Handed from function to function as an array: who a period is of is a query of
-- its own, and is asked once.
CREATE TYPE meter.bill_period AS (
	tenant text COLLATE "C",
	period_from timestamptz,
	period_to timestamptz,
	seconds numeric,
	last_day date,
	currency text COLLATE "C",
	digits integer,
	tax_percent numeric,
	is_final boolean
);
COMMENT ON TYPE meter.bill_period IS
'A tenant''s billing period: its bounds, its length, its last day in the tenant''s time zone, the currency of its bill and that one''s digits, the tenant''s tax, and whether there is a final bill';

CREATE FUNCTION meter.bill_periods(of_month date, of_tenants text[]) RETURNS meter.bill_period[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN ARRAY(
		SELECT ROW(p.tenant, p.period_from, p.period_to, trim_scale(extract(epoch FROM p.period_to - p.period_from)),
			(p.period_to AT TIME ZONE p.time_zone)::date - 1, c.currency, meter.currency_digits(c.currency),
			p.tax_percent, b.tenant IS NOT NULL)::meter.bill_period
		FROM meter.billing_period(of_month, of_tenants) AS p
		LEFT JOIN meter.bill AS b ON b.tenant = p.tenant AND b.month = of_month AND b.status = 'final'
			AND b.tenant = ANY (of_tenants)
		CROSS JOIN LATERAL (SELECT COALESCE(b.currency, p.currency) AS currency OFFSET 0) AS c);
END
$$;
COMMENT ON FUNCTION meter.bill_periods(date, text[]) IS
'The billing periods of tenants that begin in a month. The currency is that of the final bill if there is one, otherwise the one that a bill would have';

-- A function of its own, so that its callers are planned for many rows.
CREATE FUNCTION meter.bill_plans(of_month date, of_tenants text[])
RETURNS TABLE (tenant text, plan text, version date, base_price numeric, currency text, min_amount numeric,
	max_amount numeric, from_at timestamptz, to_at timestamptz, seconds numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT s.tenant, s.plan, s.version, s.base_price, s.currency, s.min_amount, s.max_amount, s.from_at, s.to_at,
		trim_scale(extract(epoch FROM s.to_at - s.from_at))
	FROM meter.billing_plan(of_month, of_tenants) AS s;
END
$$;
COMMENT ON FUNCTION meter.bill_plans(date, text[]) IS
'Which plans tenants had when in a period, as meter.billing_plan() says it, and for how many seconds';

CREATE FUNCTION meter.bill_steps(of_month date, periods meter.bill_period[])
RETURNS TABLE (tenant text, steps jsonb)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	tenants CONSTANT text[] := ARRAY(SELECT p.tenant FROM unnest(periods) AS p);
BEGIN
	RETURN QUERY
	WITH period AS MATERIALIZED (
		SELECT p.* FROM unnest(periods) AS p
	), coupon AS (
		SELECT g.tenant, c.coupon, c.percent, c.amount, c.currency, p.currency AS bill_currency, p.last_day,
			g.valid_from, g.periods,
			-- the month whose period has the first day
			(date_trunc('month', g.valid_from::timestamp) - CASE
				WHEN extract(day FROM g.valid_from) < LEAST(t.billing_anchor,
					extract(day FROM date_trunc('month', g.valid_from::timestamp) + interval '1 month -1 day'))
				THEN interval '1 month' ELSE interval '0' END)::date AS first_month
		FROM meter.tenant_coupon AS g
		JOIN meter.coupon AS c ON c.coupon = g.coupon
		JOIN period AS p ON p.tenant = g.tenant
		JOIN meter.tenant AS t ON t.tenant = g.tenant
		WHERE g.tenant = ANY (tenants) AND NOT p.is_final
			AND c.valid_from <= p.last_day AND (c.valid_to > p.last_day OR c.valid_to IS NULL)
	), plan AS (
		SELECT s.tenant,
			sum(meter.bill_part(s.min_amount, s.seconds, p.seconds) * s.rate) AS min_amount,
			sum(meter.bill_part(s.max_amount, s.seconds, p.seconds) * s.rate) AS max_amount,
			bool_and(s.max_amount IS NOT NULL) AS has_max
		FROM period AS p
		JOIN (
			SELECT s.tenant, s.min_amount, s.max_amount, s.seconds,
				CASE WHEN s.currency = p.currency OR num_nonnulls(s.min_amount, s.max_amount) = 0 THEN 1
					ELSE meter.fx(s.currency, p.currency, p.last_day, 'plan', s.plan) END AS rate
			FROM meter.bill_plans(of_month, tenants) AS s
			JOIN period AS p ON p.tenant = s.tenant
			WHERE NOT p.is_final
			OFFSET 0
		) AS s ON s.tenant = p.tenant
		GROUP BY s.tenant
	), step AS (
		SELECT c.tenant, CASE WHEN c.percent IS NULL THEN 2 ELSE 1 END AS rank, c.valid_from, c.coupon,
			jsonb_strip_nulls(jsonb_build_object('kind', 'coupon', 'coupon', c.coupon,
				'percent', trim_scale(c.percent),
				'amount', CASE WHEN c.currency = c.bill_currency THEN trim_scale(c.amount)
					WHEN c.amount IS NOT NULL THEN
						meter.bill_decimals(c.amount
							* meter.fx(c.currency, c.bill_currency, c.last_day, 'coupon', c.coupon)) END)) AS step
		FROM coupon AS c
		WHERE of_month >= c.first_month
			AND (of_month < c.first_month + c.periods * interval '1 month' OR c.periods IS NULL)
		UNION ALL
		SELECT p.tenant, 3, NULL, NULL,
			jsonb_build_object('kind', 'maximum', 'amount', meter.bill_decimals(p.max_amount))
		FROM plan AS p WHERE p.has_max
		UNION ALL
		SELECT p.tenant, 4, NULL, NULL,
			jsonb_build_object('kind', 'minimum', 'amount', meter.bill_decimals(p.min_amount))
		FROM plan AS p WHERE p.min_amount > 0
	)
	SELECT s.tenant, jsonb_agg(s.step ORDER BY s.rank, s.valid_from, s.coupon)
	FROM step AS s GROUP BY s.tenant
	UNION ALL
	-- what held for a final bill goes on holding for it
	SELECT b.tenant, b.steps
	FROM meter.bill AS b
	WHERE b.tenant = ANY (tenants) AND b.month = of_month AND b.status = 'final'
		AND b.tenant IN (SELECT p.tenant FROM period AS p WHERE p.is_final);
END
$$;
COMMENT ON FUNCTION meter.bill_steps(date, meter.bill_period[]) IS
'Coupons, maximum and minimum that hold for bills of a month, in their order: percentages, amounts, the plans'' maximum and minimum for the part of the period in which they were had. Tenants without any have no row';

-- --- lines -------------------------------------------------------------------

CREATE FUNCTION meter.bill_base(of_month date, periods meter.bill_period[]) RETURNS SETOF meter.bill_line
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	tenants CONSTANT text[] := ARRAY(SELECT p.tenant FROM unnest(periods) AS p);
BEGIN
	RETURN QUERY
	SELECT s.tenant, of_month, NULL::integer, NULL::integer, 'base'::text COLLATE "C", s.plan, NULL::uuid,
		NULL::text COLLATE "C", NULL::jsonb, s.from_at, s.to_at, of_month, NULL::numeric, NULL::numeric, NULL::text,
		a.exact, round(a.exact, p.digits),
		jsonb_strip_nulls(jsonb_build_object(
			'base_price', s.base_price, 'version', s.version,
			'seconds', CASE WHEN s.seconds < p.seconds THEN s.seconds END,
			'period_seconds', CASE WHEN s.seconds < p.seconds THEN p.seconds END,
			'fx', CASE WHEN s.currency <> p.currency THEN jsonb_build_object(
				'from', s.currency, 'to', p.currency, 'day', p.last_day, 'rate', t.rate) END))
	FROM meter.bill_plans(of_month, tenants) AS s
	JOIN unnest(periods) AS p ON p.tenant = s.tenant
	CROSS JOIN LATERAL (
		SELECT CASE WHEN s.currency = p.currency THEN 1
			ELSE meter.fx(s.currency, p.currency, p.last_day, 'plan', s.plan) END AS rate
		OFFSET 0) AS t
	CROSS JOIN LATERAL (
		SELECT meter.bill_decimals(meter.bill_part(s.base_price, s.seconds, p.seconds) * t.rate) AS exact
		OFFSET 0) AS a
	WHERE s.base_price > 0 AND NOT p.is_final
	UNION ALL
	SELECT l.*
	FROM meter.bill AS b
	JOIN meter.bill_line AS l ON l.tenant = b.tenant AND l.month = b.month AND l.revision = b.revision
	WHERE b.tenant = ANY (tenants) AND b.month = of_month AND b.status = 'final' AND l.kind = 'base';
END
$$;
COMMENT ON FUNCTION meter.bill_base(date, meter.bill_period[]) IS
'The lines of bills for the base prices of plans, each for the part of the period in which the tenant had the plan; of a final bill, those that it has';

-- What was used may be what there is, or what is expected.
CREATE TYPE meter.bill_quantity AS (
	tenant text COLLATE "C",
	price_id uuid,
	from_at timestamptz,
	to_at timestamptz,
	quantity numeric,
	events numeric[]
);
COMMENT ON TYPE meter.bill_quantity IS
'How much was used of what a price is for, as of meter.billing_usage()';

CREATE FUNCTION meter.bill_rate(of_month date, periods meter.bill_period[], quantities meter.bill_quantity[],
	explained boolean DEFAULT true)
RETURNS SETOF meter.bill_line
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	tenants CONSTANT text[] := ARRAY(SELECT p.tenant FROM unnest(periods) AS p);
BEGIN
	RETURN QUERY
	WITH period AS MATERIALIZED (
		SELECT p.* FROM unnest(periods) AS p
	), used AS MATERIALIZED (
		SELECT u.* FROM unnest(quantities) AS u
	), billed AS MATERIALIZED (
		SELECT l.*
		FROM meter.bill AS b
		JOIN meter.bill_line AS l ON l.tenant = b.tenant AND l.month = b.month AND l.revision = b.revision
		WHERE b.tenant = ANY (tenants) AND b.month = of_month AND b.status = 'final' AND l.kind = 'usage'
			-- not for what would have been otherwise
			AND b.tenant IN (SELECT p.tenant FROM period AS p WHERE p.is_final)
	), known AS MATERIALIZED (
		-- for a final bill, prices go on being what they were
		SELECT l.tenant, l.price_id, (array_agg(l.details -> 'terms'))[1] AS terms,
			min(l.price) AS price, min(l.metric) AS metric, (array_agg(l.dims))[1] AS dims, min(l.unit) AS unit,
			sum((l.details ->> 'carried_over')::numeric) AS carried
		FROM billed AS l GROUP BY l.tenant, l.price_id
	), carried AS MATERIALIZED (
		SELECT l.tenant, l.price, sum((l.details ->> 'carry_over')::numeric) AS quantity
		FROM meter.bill AS b
		JOIN meter.bill_line AS l ON l.tenant = b.tenant AND l.month = b.month AND l.revision = b.revision
		WHERE b.tenant = ANY (tenants) AND b.month = (of_month - interval '1 month')::date AND b.status <> 'void'
			AND l.kind = 'usage' AND l.to_at = b.period_to AND l.details ? 'carry_over'
		GROUP BY l.tenant, l.price
	)
	SELECT u.tenant, of_month, NULL::integer, NULL::integer, 'usage'::text COLLATE "C", COALESCE(k.price, c.price),
		u.price_id, COALESCE(k.metric, c.metric), COALESCE(k.dims, c.dims), u.from_at, u.to_at, of_month,
		meter.bill_decimals(COALESCE(u.quantity, 0)), meter.bill_decimals(charged.quantity),
		CASE WHEN k.terms IS NULL THEN c.unit ELSE k.unit END,
		a.exact, round(a.exact, p.digits),
		CASE WHEN NOT explained THEN '{}' ELSE jsonb_strip_nulls(jsonb_build_object(
			'seconds', CASE WHEN x.seconds < p.seconds THEN x.seconds END,
			'period_seconds', CASE WHEN x.seconds < p.seconds THEN p.seconds END,
			'converted', CASE WHEN t.divisor <> 1 THEN meter.bill_decimals(x.converted) END,
			'rounded', CASE WHEN t.rounding <> 'none' THEN meter.bill_decimals(r.rounded) END,
			'included', meter.bill_decimals(nullif(r.included, 0)),
			'carried_over', meter.bill_decimals(nullif(x.carried, 0)),
			'tiers', CASE WHEN u.quantity IS NULL THEN NULL
				WHEN t.model = 'percentage' THEN (SELECT jsonb_agg(to_jsonb(e) - 'step' ORDER BY e.step)
					FROM @extschema@.meter_explain_charge_events(t.model, t.params, charged.events) AS e)
				ELSE (SELECT jsonb_agg(to_jsonb(e) - 'step' ORDER BY e.step)
					FROM @extschema@.meter_explain_charge(t.model, t.params, charged.quantity) AS e) END,
			'charge', meter.bill_decimals(m.charge),
			'discount', meter.bill_decimals(nullif(d.amount - m.charge, 0)),
			'maximum', meter.bill_decimals(nullif(h.amount - d.amount, 0)),
			'minimum', meter.bill_decimals(nullif(l.amount - h.amount, 0)),
			'fx', CASE WHEN t.currency <> p.currency THEN jsonb_build_object(
				'from', t.currency, 'to', p.currency, 'day', p.last_day, 'rate', x.rate) END,
			'carry_over', CASE WHEN num_nonnulls(t.rollover_min, t.rollover_max) > 0 THEN
				meter.bill_decimals(nullif(LEAST(t.rollover_max,
					GREATEST(t.rollover_min, r.included + x.carried - r.rounded, 0)), 0)) END))
		|| jsonb_build_object('terms', COALESCE(k.terms, jsonb_build_object(
			'aggregation', t.aggregation, 'percentile', t.percentile,
			'model', t.model, 'params', t.params, 'divisor', t.divisor,
			'rounding', t.rounding, 'rounding_digits', t.rounding_digits, 'included', t.included,
			'rollover_min', t.rollover_min, 'rollover_max', t.rollover_max,
			'discount_percent', t.discount_percent, 'min_amount', t.min_amount, 'max_amount', t.max_amount,
			'prorate', t.prorate, 'currency', t.currency, 'fx_rate', x.rate))) END
	FROM used AS u
	JOIN period AS p ON p.tenant = u.tenant
	LEFT JOIN meter.price AS c ON c.price_id = u.price_id
	LEFT JOIN known AS k ON k.tenant = u.tenant AND k.price_id = u.price_id
	LEFT JOIN carried AS o ON o.tenant = u.tenant AND o.price = c.price
	CROSS JOIN LATERAL jsonb_populate_record(CASE WHEN k.terms IS NULL THEN c END, k.terms) AS t
	CROSS JOIN LATERAL (
		SELECT CASE WHEN k.terms IS NOT NULL THEN (k.terms ->> 'fx_rate')::numeric
				WHEN c.currency = p.currency THEN 1
				ELSE meter.fx(c.currency, p.currency, p.last_day, 'price', c.price) END AS rate,
			LEAST(trim_scale(extract(epoch FROM u.to_at - u.from_at)), p.seconds) AS seconds,
			-- null is a price whose aggregation has nothing to say
			meter.bill_quotient(COALESCE(u.quantity, 0), t.divisor) AS converted,
			COALESCE(CASE WHEN u.from_at > p.period_from THEN 0
				WHEN p.is_final THEN k.carried ELSE o.quantity END, 0) AS carried
		OFFSET 0) AS x
	CROSS JOIN LATERAL (
		SELECT CASE WHEN t.rounding = 'none' THEN x.converted
				WHEN u.events IS NOT NULL THEN (
					SELECT COALESCE(sum(e.value), 0)
					FROM unnest(meter.bill_events(u.events, t.divisor, t.rounding, t.rounding_digits, 0)) AS e(value))
				ELSE meter.bill_round(x.converted, t.rounding, t.rounding_digits) END AS rounded,
			CASE WHEN t.prorate THEN x.seconds ELSE p.seconds END AS seconds,
			meter.bill_part(t.included, CASE WHEN t.prorate THEN x.seconds ELSE p.seconds END, p.seconds) AS included
		OFFSET 0) AS r
	CROSS JOIN LATERAL (
		SELECT GREATEST(r.rounded - r.included - x.carried, 0) AS quantity,
			CASE WHEN t.model <> 'percentage' THEN NULL
				WHEN t.divisor = 1 AND t.rounding = 'none' AND r.included + x.carried = 0
				THEN COALESCE(u.events, '{}')
				ELSE meter.bill_events(COALESCE(u.events, '{}'), t.divisor, t.rounding, t.rounding_digits,
					r.included + x.carried) END AS events
		OFFSET 0) AS charged
	CROSS JOIN LATERAL (
		SELECT CASE WHEN u.quantity IS NULL THEN 0
			WHEN t.model = 'percentage' THEN @extschema@.meter_charge_events(t.model, t.params, charged.events)
			WHEN t.model = 'flat' THEN meter.bill_part(
				@extschema@.meter_charge(t.model, t.params, charged.quantity), r.seconds, p.seconds)
			ELSE @extschema@.meter_charge(t.model, t.params, charged.quantity) END AS charge
		OFFSET 0) AS m
	CROSS JOIN LATERAL (
		SELECT CASE WHEN t.discount_percent = 0 THEN m.charge
			ELSE m.charge * (100 - t.discount_percent) * 0.01 END AS amount
		OFFSET 0) AS d
	CROSS JOIN LATERAL (
		SELECT LEAST(d.amount, meter.bill_part(t.max_amount, r.seconds, p.seconds)) AS amount
		OFFSET 0) AS h
	CROSS JOIN LATERAL (
		SELECT GREATEST(h.amount, CASE WHEN u.quantity IS NOT NULL
			THEN meter.bill_part(t.min_amount, r.seconds, p.seconds) END) AS amount
		OFFSET 0) AS l
	CROSS JOIN LATERAL (SELECT meter.bill_decimals(l.amount * x.rate) AS exact OFFSET 0) AS a
	WHERE u.quantity IS NOT NULL OR k.terms IS NOT NULL;
END
$$;
COMMENT ON FUNCTION meter.bill_rate(date, meter.bill_period[], meter.bill_quantity[], boolean) IS
'The lines of bills for quantities of usage: of each price the quantity, converted, rounded, without what is included, charged, discounted, within its maximum and minimum, and in the currency of the bill. For a month that has a final bill, with the terms of that bill. Without explained, details are empty, which takes half the time';

-- What a final bill has counted is in its lines, whatever has become of its prices,
-- plans and periods since.  A price that had nothing to say then has no line, and
-- is asked again.
CREATE FUNCTION meter.bill_segments(of_month date, periods meter.bill_period[]) RETURNS meter.usage_segment[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	segments CONSTANT meter.usage_segment[] := meter.billing_segment(of_month, ARRAY(
		SELECT p.tenant FROM unnest(periods) AS p));
BEGIN
	IF NOT EXISTS (SELECT FROM unnest(periods) AS p WHERE p.is_final) THEN
		RETURN segments;
	END IF;
	RETURN ARRAY(
		WITH final AS MATERIALIZED (
			SELECT b.tenant, b.month, b.revision, b.rated_at, p.period_from, p.period_to, p.seconds
			FROM unnest(periods) AS p
			JOIN meter.bill AS b ON b.tenant = p.tenant AND b.month = of_month AND b.status = 'final'
			WHERE p.is_final
		), billed AS MATERIALIZED (
			SELECT l.tenant, l.price_id, l.metric, l.dims, l.details -> 'terms' AS terms, l.from_at, l.to_at, f.seconds
			FROM final AS f
			JOIN meter.bill_line AS l ON l.tenant = f.tenant AND l.month = f.month AND l.revision = f.revision
			WHERE l.kind = 'usage'
		), counted AS (
			SELECT s.tenant, s.price_id, s.metric, s.dims, s.aggregation, s.percentile, s.model, s.gauge,
				s.period_seconds, s.from_at, s.to_at
			FROM unnest(segments) AS s
			LEFT JOIN final AS f ON f.tenant = s.tenant
			LEFT JOIN meter.price AS c ON c.price_id = s.price_id
			WHERE f.tenant IS NULL OR (s.aggregation <> ALL (ARRAY['count', 'sum', 'unique'])
				AND c.created_at <= f.rated_at AND s.from_at >= f.period_from AND s.to_at <= f.period_to
				AND NOT EXISTS (SELECT FROM billed AS l WHERE l.tenant = s.tenant AND l.price_id = s.price_id))
			UNION ALL
			SELECT l.tenant, l.price_id, l.metric, l.dims, l.terms ->> 'aggregation', (l.terms ->> 'percentile')::numeric,
				l.terms ->> 'model', COALESCE(m.kind = 'gauge', false), l.seconds, l.from_at, l.to_at
			FROM billed AS l
			LEFT JOIN meter.metric AS m ON m.metric = l.metric
		)
		SELECT meter.segment_of((row_number() OVER ())::integer, c.tenant, c.price_id, c.metric, c.dims, c.aggregation,
			c.percentile, c.model, c.gauge, c.period_seconds, c.from_at, c.to_at)
		FROM counted AS c);
END
$$;
COMMENT ON FUNCTION meter.bill_segments(date, meter.bill_period[]) IS
'What is to be aggregated for bills of a month; for those that are final, what they have counted, as they have counted it';

CREATE FUNCTION meter.bill_usage(of_month date, periods meter.bill_period[]) RETURNS SETOF meter.bill_line
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	segments CONSTANT meter.usage_segment[] := meter.bill_segments(of_month, periods);
BEGIN
	RETURN QUERY
	SELECT l.* FROM meter.bill_rate(of_month, periods, ARRAY(
		SELECT ROW(s.tenant, s.price_id, s.from_at, s.to_at, u.quantity, u.events)::meter.bill_quantity
		FROM unnest(segments) AS s
		JOIN meter.segment_usage(segments) AS u ON u.no = s.no)) AS l;
END
$$;
COMMENT ON FUNCTION meter.bill_usage(date, meter.bill_period[]) IS
'The lines of bills for usage: of each price the quantity, converted, rounded, without what is included, charged, discounted, within its maximum and minimum, and in the currency of the bill. For a month that has a final bill, with the terms of that bill and all usage that is known now';

CREATE FUNCTION meter.bill_own(of_month date, periods meter.bill_period[]) RETURNS SETOF meter.bill_line
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	WITH own AS MATERIALIZED (
		SELECT l.* FROM meter.bill_base(of_month, periods) AS l
		UNION ALL
		SELECT l.* FROM meter.bill_usage(of_month, periods) AS l
	)
	SELECT l.* FROM own AS l
	UNION ALL
	SELECT p.tenant, of_month, NULL::integer, f.step, f.kind, f.details ->> 'coupon', NULL::uuid, NULL::text,
		NULL::jsonb, p.period_from, p.period_to, of_month, NULL::numeric, NULL::numeric, NULL::text,
		f.amount_exact, f.amount, f.details - 'kind' - 'coupon' || jsonb_build_object('before', f.before)
	FROM meter.bill_steps(of_month, periods) AS s
	JOIN unnest(periods) AS p ON p.tenant = s.tenant
	LEFT JOIN (SELECT l.tenant, sum(l.amount) AS amount FROM own AS l GROUP BY l.tenant) AS o ON o.tenant = s.tenant
	CROSS JOIN LATERAL meter.bill_fold(COALESCE(o.amount, 0), p.digits, s.steps) AS f
	WHERE f.amount <> 0;
END
$$;
COMMENT ON FUNCTION meter.bill_own(date, meter.bill_period[]) IS
'The lines of bills for their own period: base prices and usage, and then coupons, maximum and minimum of the bill. For a month that has a final bill, as it would be now';

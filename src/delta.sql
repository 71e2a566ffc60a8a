-- delta.sql: what an earlier bill has not billed yet
--
-- A final bill does not change.  What it would be now, less what was billed for
-- it already, goes onto the tenant's next bill, line by line.  That is
-- computed from all that is known, and not from what came late, so it is right
-- however often and in whatever order things came, and also if a bill in between
-- was voided.  What came late only tells which bills to look at.

CREATE FUNCTION meter.bill_late(of_month date, of_tenants text[])
RETURNS TABLE (tenant text, for_month date)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT DISTINCT b.tenant, b.month
	FROM meter.usage_late AS u
	JOIN meter.bill AS b ON b.tenant = u.tenant
	WHERE u.tenant = ANY (of_tenants)
		AND b.tenant = ANY (of_tenants) AND b.month < of_month AND b.status = 'final'
		AND u.day <= (b.period_to AT TIME ZONE 'UTC')::date
		AND u.last_day >= (b.period_from AT TIME ZONE 'UTC')::date
		-- a later bill has looked at all earlier ones
		AND u.seq > (SELECT max(l.position) FROM meter.bill AS l
			WHERE l.tenant = b.tenant AND l.month >= b.month AND l.month <> of_month AND l.status = 'final')
	UNION
	-- what a bill had billed for an earlier month, and was voided after all later
	-- ones had looked
	SELECT DISTINCT v.tenant, l.for_month
	FROM meter.bill AS v
	JOIN meter.bill_line AS l ON l.tenant = v.tenant AND l.month = v.month AND l.revision = v.revision
	JOIN meter.bill AS b ON b.tenant = v.tenant AND b.month = l.for_month AND b.status = 'final'
	WHERE v.tenant = ANY (of_tenants) AND v.status = 'void'
		AND l.kind = 'delta' AND l.for_month < of_month
		AND v.voided_at > ALL (SELECT o.rated_at FROM meter.bill AS o
			WHERE o.tenant = v.tenant AND o.month > l.for_month AND o.month <> of_month AND o.status = 'final')
	UNION
	-- a bill that was voided, for which a later one has billed something
	SELECT DISTINCT l.tenant, l.for_month
	FROM meter.bill AS b
	JOIN meter.bill_line AS l ON l.tenant = b.tenant AND l.month = b.month AND l.revision = b.revision
	WHERE b.tenant = ANY (of_tenants) AND b.month > of_month AND b.status <> 'void'
		AND l.kind = 'delta' AND l.for_month = of_month;
END
$$;
COMMENT ON FUNCTION meter.bill_late(date, text[]) IS
'The earlier months that bills of a month have to look at again, since usage has come late or was corrected after the final bill, or a bill that had billed that was voided; and the month itself if a later bill has billed something for it already, as when it was voided and is billed anew';

-- What needs events that are not kept any more is left out: no bill waits for it.
CREATE FUNCTION meter.bill_late_periods(of_month date, of_tenants text[], for_months date[])
RETURNS TABLE (for_month date, periods meter.bill_period[])
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	gone text[];
	missing record;
BEGIN
	FOR for_month, periods IN
		-- a final bill's period has the bounds it had, also if the tenant's time zone or
		-- anchor was changed since
		SELECT m.for_month, array_agg(CASE WHEN b.tenant IS NULL THEN p
			ELSE ROW(p.tenant, b.period_from, b.period_to, trim_scale(extract(epoch FROM b.period_to - b.period_from)),
				p.last_day, p.currency, p.digits, p.tax_percent, p.is_final)::meter.bill_period END)
		FROM (
			SELECT u.for_month, array_agg(u.tenant) AS tenants
			FROM unnest(of_tenants, for_months) AS u(tenant, for_month)
			GROUP BY u.for_month
		) AS m
		CROSS JOIN LATERAL unnest(meter.bill_periods(m.for_month, m.tenants)) AS p
		LEFT JOIN meter.bill AS b ON b.tenant = p.tenant AND b.month = m.for_month AND b.status = 'final'
		GROUP BY m.for_month
	LOOP
		IF for_month <> of_month THEN
			gone := '{}';
			FOR missing IN
				SELECT m.tenant, min(m.day) AS day
				FROM meter.segment_missing(meter.bill_segments(for_month, periods)) AS m
				GROUP BY m.tenant
			LOOP
				RAISE WARNING 'what is late for the bill of tenant "%" for % cannot be billed', missing.tenant,
					to_char(for_month, 'YYYY-MM')
					USING DETAIL = format('The events of %s, which it takes, are not kept any more.', missing.day),
						HINT = 'Raise meter.retention to keep events longer.';
				gone := gone || missing.tenant;
			END LOOP;
			IF gone <> '{}' THEN
				periods := ARRAY(SELECT p FROM unnest(periods) AS p WHERE p.tenant <> ALL (gone));
			END IF;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION meter.bill_late_periods(date, text[], date[]) IS
'The periods of earlier months that bills of a month have to look at again, of tenants and months in pairs, without those that need events that were dropped, with a warning of each';

CREATE FUNCTION meter.bill_delta(of_month date, periods meter.bill_period[]) RETURNS SETOF meter.bill_line
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	tenants text[];
	months date[];
BEGIN
	SELECT array_agg(l.tenant), array_agg(l.for_month) INTO tenants, months
	FROM meter.bill_late(of_month, ARRAY(SELECT p.tenant FROM unnest(periods) AS p)) AS l;
	IF tenants IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY
	WITH late AS MATERIALIZED (
		SELECT p.for_month, p.periods FROM meter.bill_late_periods(of_month, tenants, months) AS p
	), part AS (
		-- as it would be now
		SELECT l.tenant, l.for_month, b.currency, l.kind AS what, l.price, l.price_id, l.metric, l.dims, l.unit,
			l.from_at, l.to_at, l.quantity, l.billed_quantity, l.amount, l.details - 'terms' AS details, true AS is_now
		FROM late AS m
		CROSS JOIN LATERAL meter.bill_own(m.for_month, m.periods) AS l
		JOIN meter.bill AS b ON b.tenant = l.tenant AND b.month = m.for_month AND b.status = 'final'
		WHERE m.for_month <> of_month
		UNION ALL
		-- as it was billed, by its own bill and by others; the one that is being made
		-- bills its month as it is now, so what others have billed for that is too much
		SELECT l.tenant, l.for_month, CASE WHEN x.amount IS NULL THEN b.currency ELSE x.currency END,
			CASE WHEN l.kind = 'delta' THEN l.details ->> 'of' ELSE l.kind END,
			l.price, l.price_id, l.metric, l.dims, l.unit, l.from_at, l.to_at, l.quantity, l.billed_quantity,
			COALESCE(x.amount, l.amount), NULL, false
		FROM late AS m
		CROSS JOIN LATERAL unnest(m.periods) AS a
		JOIN meter.bill AS b ON b.tenant = a.tenant AND b.month >= m.for_month
		JOIN meter.bill_line AS l ON l.tenant = b.tenant AND l.month = b.month AND l.revision = b.revision
			AND l.for_month = m.for_month
		-- of a delta in another currency, what it is in that of the bill it is for
		CROSS JOIN LATERAL (
			SELECT (l.details #>> '{fx,amount}')::numeric AS amount, l.details #>> '{fx,from}' AS currency) AS x
		WHERE b.status <> 'void' AND b.month <> of_month
			AND l.kind <> ALL (ARRAY['credit', 'tax'])
	), delta AS (
		-- a month that was billed anew in another currency has both
		SELECT p.tenant, p.for_month, p.currency, p.what, p.price_id,
			CASE WHEN p.what <> 'usage' THEN p.price END AS name,
			(array_agg(p.price ORDER BY p.is_now DESC))[1] AS price,
			(array_agg(p.metric ORDER BY p.is_now DESC))[1] AS metric,
			(array_agg(p.dims ORDER BY p.is_now DESC))[1] AS dims,
			(array_agg(p.unit ORDER BY p.is_now DESC))[1] AS unit,
			min(p.from_at) AS from_at, max(p.to_at) AS to_at,
			COALESCE(sum(p.amount) FILTER (WHERE p.is_now), 0) AS now_amount,
			COALESCE(sum(p.amount) FILTER (WHERE NOT p.is_now), 0) AS billed_amount,
			sum(p.quantity) FILTER (WHERE p.is_now) AS now_quantity,
			sum(p.quantity) FILTER (WHERE NOT p.is_now) AS billed_quantity,
			sum(p.billed_quantity) FILTER (WHERE p.is_now) AS now_charged,
			sum(p.billed_quantity) FILTER (WHERE NOT p.is_now) AS billed_charged,
			jsonb_agg(p.details ORDER BY p.from_at) FILTER (WHERE p.is_now) AS details
		FROM part AS p
		GROUP BY 1, 2, 3, 4, 5, 6
	)
	SELECT d.tenant, of_month, NULL::integer, NULL::integer, 'delta'::text COLLATE "C", d.price, d.price_id,
		d.metric, d.dims, d.from_at, d.to_at, d.for_month,
		CASE WHEN num_nonnulls(d.now_quantity, d.billed_quantity) > 0 THEN
			trim_scale(COALESCE(d.now_quantity, 0) - COALESCE(d.billed_quantity, 0)) END,
		CASE WHEN num_nonnulls(d.now_charged, d.billed_charged) > 0 THEN
			trim_scale(COALESCE(d.now_charged, 0) - COALESCE(d.billed_charged, 0)) END,
		d.unit, x.exact, round(x.exact, p.digits),
		jsonb_strip_nulls(jsonb_build_object('of', d.what,
			'now', CASE WHEN d.for_month <> of_month THEN
				jsonb_build_object('quantity', trim_scale(d.now_quantity), 'amount', d.now_amount) END,
			'billed', jsonb_build_object('quantity', trim_scale(d.billed_quantity), 'amount', d.billed_amount),
			'lines', d.details,
			'fx', CASE WHEN p.currency <> d.currency THEN jsonb_build_object('from', d.currency, 'to', p.currency,
				'day', p.last_day, 'rate', r.rate, 'amount', d.now_amount - d.billed_amount) END))
	FROM delta AS d
	JOIN unnest(periods) AS p ON p.tenant = d.tenant
	-- only where there is something to convert
	CROSS JOIN LATERAL (
		SELECT CASE WHEN p.currency <> d.currency AND d.now_amount <> d.billed_amount
			THEN meter.fx(d.currency, p.currency, p.last_day, 'what has changed of the bill of',
				to_char(d.for_month, 'YYYY-MM')) ELSE 1 END AS rate
		OFFSET 0) AS r
	CROSS JOIN LATERAL (
		SELECT meter.bill_decimals((d.now_amount - d.billed_amount) * r.rate) AS exact OFFSET 0) AS x
	WHERE d.now_amount <> d.billed_amount AND round(x.exact, p.digits) <> 0;
END
$$;
COMMENT ON FUNCTION meter.bill_delta(date, meter.bill_period[]) IS
'The lines of bills of a month for earlier months: what each line of these would be with all that is known now, less what was billed for it so far';

-- --- all of a bill -----------------------------------------------------------

CREATE FUNCTION meter.bill_rate(of_month date, of_tenants text[]) RETURNS SETOF meter.bill_line
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = auto
SET jit = off
AS $$
DECLARE
	kinds CONSTANT text[] := ARRAY['base', 'usage', 'coupon', 'maximum', 'minimum', 'delta', 'credit', 'tax'];
	periods meter.bill_period[];
	tenants text[];
	problem text;
	detail text;
	hint text;
BEGIN
	-- For a few tenants, planning takes longer than anything else, so plans are
	-- kept; for a thousand, a plan for so many is worth it.  Ends with the function.
	PERFORM set_config('plan_cache_mode',
		CASE WHEN cardinality(of_tenants) < 10 THEN 'force_generic_plan' ELSE 'force_custom_plan' END, true);
	periods := meter.bill_periods(of_month, of_tenants);
	tenants := ARRAY(SELECT p.tenant FROM unnest(periods) AS p);
	RETURN QUERY
	WITH charged AS MATERIALIZED (
		SELECT l.* FROM meter.bill_own(of_month, periods) AS l
		UNION ALL
		SELECT l.* FROM meter.bill_delta(of_month, periods) AS l
	), period AS MATERIALIZED (
		SELECT p.* FROM unnest(periods) AS p
	), credit AS (
		SELECT c.tenant, jsonb_agg(jsonb_strip_nulls(jsonb_build_object('kind', 'credit', 'credit_id', c.credit_id,
			'reason', c.reason, 'amount', trunc(c.available * r.rate, p.digits), 'available', c.available,
			'currency', c.currency, 'rate', r.rate))
			ORDER BY c.priority, c.expires_on, c.created_at, c.credit_id) AS steps
		FROM (
			SELECT c.*, c.amount - COALESCE((
				SELECT sum(u.amount) FROM meter.credit_use AS u
				WHERE u.tenant = c.tenant AND u.credit_id = c.credit_id AND u.month <> of_month), 0) AS available
			FROM meter.credit AS c
			WHERE c.tenant = ANY (tenants)
			OFFSET 0
		) AS c
		JOIN period AS p ON p.tenant = c.tenant
		CROSS JOIN LATERAL (
			SELECT CASE WHEN c.currency = p.currency THEN 1
				ELSE meter.fx(c.currency, p.currency, p.last_day, 'credit', COALESCE(c.reason, c.credit_id::text)) END AS rate
			OFFSET 0) AS r
		WHERE c.available > 0 AND c.valid_from <= p.last_day AND (c.expires_on > p.last_day OR c.expires_on IS NULL)
		GROUP BY c.tenant
	), line AS (
		SELECT l.* FROM charged AS l
		UNION ALL
		SELECT p.tenant, of_month, NULL::integer, f.step, f.kind, f.details ->> 'reason', NULL::uuid, NULL::text,
			NULL::jsonb, p.period_from, p.period_to, of_month, NULL::numeric, NULL::numeric, NULL::text,
			f.amount_exact, f.amount,
			CASE WHEN f.kind = 'tax' THEN f.details - 'kind'
				ELSE jsonb_build_object('credit_id', f.details -> 'credit_id', 'currency', f.details -> 'currency',
					'rate', f.details -> 'rate', 'available', f.details -> 'available', 'used', u.used) END
			|| jsonb_build_object('before', f.before)
		FROM period AS p
		LEFT JOIN (SELECT l.tenant, sum(l.amount) AS amount FROM charged AS l GROUP BY l.tenant) AS o
			ON o.tenant = p.tenant
		LEFT JOIN credit AS c ON c.tenant = p.tenant
		CROSS JOIN LATERAL meter.bill_fold(COALESCE(o.amount, 0), p.digits,
			COALESCE(c.steps, '[]') || CASE WHEN p.tax_percent > 0
				THEN jsonb_build_array(jsonb_build_object('kind', 'tax', 'percent', trim_scale(p.tax_percent)))
				ELSE '[]' END) AS f
		-- in the currency of the credit; one that is used up is so to the last digit
		CROSS JOIN LATERAL (
			SELECT CASE WHEN f.kind <> 'credit' THEN NULL
				WHEN - f.amount = (f.details ->> 'amount')::numeric THEN (f.details ->> 'available')::numeric
				ELSE LEAST((f.details ->> 'available')::numeric, round(meter.bill_decimals(
						meter.bill_quotient(- f.amount, (f.details ->> 'rate')::numeric)),
					meter.currency_digits(f.details ->> 'currency'))) END AS used
			OFFSET 0) AS u
		WHERE f.amount <> 0
	)
	SELECT l.tenant, l.month, l.revision,
		(row_number() OVER (PARTITION BY l.tenant
			ORDER BY array_position(kinds, l.kind), l.for_month, array_position(kinds, l.details ->> 'of'), l.line,
				CASE WHEN l.kind = 'base' THEN l.from_at END, l.price, l.from_at, l.price_id))::integer,
		l.kind, l.price, l.price_id, l.metric, l.dims, l.from_at, l.to_at, l.for_month, l.quantity,
		l.billed_quantity, l.unit, l.amount_exact, l.amount, l.details
	FROM line AS l
	ORDER BY l.tenant;
EXCEPTION WHEN data_exception OR object_not_in_prerequisite_state THEN
	-- the same without pages of queries as its context
	GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	IF hint = '' THEN
		RAISE;
	ELSIF detail = '' THEN
		RAISE EXCEPTION '%', problem USING ERRCODE = SQLSTATE, HINT = hint;
	END IF;
	RAISE EXCEPTION '%', problem USING ERRCODE = SQLSTATE, DETAIL = detail, HINT = hint;
END
$$;
COMMENT ON FUNCTION meter.bill_rate(date, text[]) IS
'The lines of bills of a month as they would be now, numbered: those for the period, those for late usage and corrections of earlier months, then credits and tax. Errors: 22023 if a rate of exchange is missing';

-- --- asking for a bill -------------------------------------------------------

CREATE FUNCTION @extschema@.meter_bill(tenant text, month date)
RETURNS TABLE (line integer, kind text, price text, metric text, dims jsonb, from_at timestamptz, to_at timestamptz,
	for_month date, quantity numeric, billed_quantity numeric, unit text, amount_exact numeric, amount numeric,
	currency text, details jsonb)
LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	of_month CONSTANT date := date_trunc('month', meter_bill.month::timestamp)::date;
	bill meter.bill;
BEGIN
	IF NOT isfinite(meter_bill.month) THEN
		RAISE EXCEPTION 'month must be finite' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT b.* INTO bill FROM meter.bill AS b
	WHERE b.tenant = meter_bill.tenant AND b.month = of_month AND b.status <> 'void';
	IF FOUND THEN
		RETURN QUERY
		SELECT l.line, l.kind, l.price, l.metric, l.dims, l.from_at, l.to_at, l.for_month, l.quantity,
			l.billed_quantity, l.unit, l.amount_exact, l.amount, bill.currency, l.details
		FROM meter.bill_line AS l
		WHERE l.tenant = bill.tenant AND l.month = bill.month AND l.revision = bill.revision
		ORDER BY l.line;
		RETURN;
	END IF;
	IF NOT EXISTS (SELECT FROM meter.tenant AS t WHERE t.tenant = meter_bill.tenant) THEN
		RAISE EXCEPTION 'there is no tenant "%"', meter_bill.tenant
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Add it to meter.tenant.';
	END IF;
	RETURN QUERY
	SELECT l.line, l.kind, l.price, l.metric, l.dims, l.from_at, l.to_at, l.for_month, l.quantity,
		l.billed_quantity, l.unit, l.amount_exact, l.amount, p.currency, l.details
	FROM meter.bill_rate(of_month, ARRAY[meter_bill.tenant]) AS l
	CROSS JOIN unnest(meter.bill_periods(of_month, ARRAY[meter_bill.tenant])) AS p
	ORDER BY l.line;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_bill(text, date) IS
'The lines of a tenant''s bill of the month that the date is in: those of the draft or final bill if the month is closed, otherwise as they would be if it ended now. No rows for a month in which the tenant is not billed. Errors: 22023 for an unknown tenant or if a rate of exchange is missing';

CREATE FUNCTION @extschema@.meter_bill_json(tenant text, month date) RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
	of_month CONSTANT date := date_trunc('month', meter_bill_json.month::timestamp)::date;
	bill meter.bill;
	lines jsonb;
	digits integer;
BEGIN
	SELECT b.* INTO bill FROM meter.bill AS b
	WHERE b.tenant = meter_bill_json.tenant AND b.month = of_month AND b.status <> 'void';
	IF NOT FOUND THEN
		-- also says who is unknown
		SELECT p.period_from, p.period_to, p.currency INTO bill.period_from, bill.period_to, bill.currency
		FROM unnest(meter.bill_periods(of_month, ARRAY[meter_bill_json.tenant])) AS p;
	END IF;
	digits := meter.currency_digits(bill.currency);
	SELECT COALESCE(jsonb_agg(to_jsonb(l) - 'currency' ORDER BY l.line), '[]'),
		round(COALESCE(sum(l.amount) FILTER (WHERE l.kind = ANY (ARRAY['base', 'usage', 'minimum', 'delta'])), 0), digits),
		round(COALESCE(sum(l.amount) FILTER (WHERE l.kind = ANY (ARRAY['coupon', 'maximum'])), 0), digits),
		round(COALESCE(sum(l.amount) FILTER (WHERE l.kind = 'credit'), 0), digits),
		round(COALESCE(sum(l.amount) FILTER (WHERE l.kind = 'tax'), 0), digits),
		round(COALESCE(sum(l.amount), 0), digits)
	INTO lines, bill.subtotal, bill.discount, bill.credit, bill.tax, bill.total
	FROM @extschema@.meter_bill(meter_bill_json.tenant, of_month) AS l;
	IF bill.currency IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN jsonb_build_object(
		'tenant', meter_bill_json.tenant,
		'customer', (SELECT t.customer FROM meter.tenant AS t WHERE t.tenant = meter_bill_json.tenant),
		'month', to_char(of_month, 'YYYY-MM'),
		'bill_id', bill.bill_id,
		'revision', bill.revision,
		'status', COALESCE(bill.status, 'preview'),
		'period_from', bill.period_from,
		'period_to', bill.period_to,
		'currency', bill.currency,
		'lines', lines,
		'subtotal', bill.subtotal,
		'discount', bill.discount,
		'credit', bill.credit,
		'tax', bill.tax,
		'total', bill.total,
		'finalized_at', bill.finalized_at);
END
$$;
COMMENT ON FUNCTION @extschema@.meter_bill_json(text, date) IS
'A tenant''s bill as JSON: what meter.bill has of it, and its lines as meter_bill() has them. Times are in UTC; status is preview if the month is not closed yet. Null for a month in which the tenant is not billed. Errors: as of meter_bill()';

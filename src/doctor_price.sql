-- doctor_price.sql: prices, bills and what goes to the payment provider

CREATE FUNCTION meter.doctor_price() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
	WITH today AS MATERIALIZED (
		SELECT now()::date AS day
	), price AS MATERIALIZED (
		SELECT p.*, daterange(p.valid_from, p.valid_to) AS days,
			lead(p.price_id) OVER w AS next_id, lead(p.valid_from) OVER w AS next_from
		FROM meter.price AS p
		WINDOW w AS (PARTITION BY p.price, p.plan, p.tenant ORDER BY p.valid_from)
	), gap AS (
		SELECT p.*, daterange(p.valid_to, p.next_from) AS gap
		FROM price AS p
		WHERE p.valid_to < p.next_from AND p.next_from > (SELECT t.day FROM today AS t) - 31
	), bill AS MATERIALIZED (
		SELECT t.tenant, t.plan, COALESCE(t.currency, v.currency, 'USD') AS currency, v.currency AS plan_currency
		FROM meter.tenant AS t
		LEFT JOIN LATERAL (
			SELECT v.currency FROM meter.plan_version AS v
			WHERE v.plan = t.plan AND v.valid_from <= (SELECT d.day FROM today AS d)
			ORDER BY v.valid_from DESC LIMIT 1
		) AS v ON true
		WHERE t.status <> 'cancelled'
	), current AS MATERIALIZED (
		SELECT p.* FROM price AS p WHERE p.days @> (SELECT t.day FROM today AS t)
	), converted AS (
		SELECT b.tenant, p.currency AS base, b.currency AS quote, format('price "%s"', p.price) AS what
		FROM bill AS b
		JOIN current AS p ON p.tenant = b.tenant
		UNION ALL
		SELECT b.tenant, p.currency, b.currency, format('price "%s"', p.price)
		FROM bill AS b
		JOIN current AS p ON p.plan = b.plan AND p.currency <> b.currency
		WHERE NOT EXISTS (SELECT FROM current AS o WHERE o.tenant = b.tenant AND o.price = p.price)
		UNION ALL
		SELECT b.tenant, p.currency, b.currency, format('price "%s"', p.price)
		FROM bill AS b
		JOIN current AS p ON p.plan IS NULL AND p.tenant IS NULL AND p.currency <> b.currency
		WHERE NOT EXISTS (SELECT FROM current AS o WHERE o.price = p.price AND (o.tenant = b.tenant OR o.plan = b.plan))
		UNION ALL
		SELECT b.tenant, b.plan_currency, b.currency, format('plan "%s"', b.plan)
		FROM bill AS b
		UNION ALL
		SELECT b.tenant, c.currency, b.currency, 'credits'
		FROM bill AS b
		JOIN meter.credit AS c ON c.tenant = b.tenant
		UNION ALL
		SELECT g.tenant, p.currency, g.currency, 'budgets'
		FROM meter.budget AS g
		JOIN bill AS b ON b.tenant = g.tenant
		JOIN current AS p ON p.tenant = b.tenant OR p.plan = b.plan OR p.plan IS NULL AND p.tenant IS NULL
		WHERE g.basis = 'charge'
	)
	SELECT 'plan_no_price', NULL, format('plan %s', p.plan),
		format('%s the plan, and it has neither a price nor a version; nor is there a price for all.',
			meter.doctor_count(t.tenants, 'tenant has', 'tenants have')),
		format(E'-- or give it a price: see meter.price\nINSERT INTO meter.plan_version (plan, base_price) VALUES (%L, 0);', p.plan)
	FROM meter.plan AS p
	CROSS JOIN LATERAL (SELECT count(*) AS tenants FROM bill AS b WHERE b.plan = p.plan) AS t
	WHERE t.tenants > 0 AND (EXISTS (SELECT FROM price) OR EXISTS (SELECT FROM meter.plan_version))
		AND NOT EXISTS (SELECT FROM meter.plan_version AS v WHERE v.plan = p.plan)
		AND NOT EXISTS (SELECT FROM price AS q WHERE q.plan = p.plan OR q.plan IS NULL AND q.tenant IS NULL)
	UNION ALL
	SELECT 'price_gap', NULL, concat_ws(' ', 'price', g.price, 'of', COALESCE('plan ' || g.plan, 'tenant ' || g.tenant, 'all')),
		format('It does not hold from %s to %s.', lower(g.gap), upper(g.gap) - 1),
		format('UPDATE meter.price SET valid_to = %L WHERE price_id = %L;', g.next_from, g.price_id)
	FROM gap AS g
	-- where a tenant has no price of its own that of its plan holds, or that for all
	WHERE NOT EXISTS (
		SELECT FROM (
			SELECT range_agg(p.days) AS days FROM price AS p
			WHERE p.price = g.price AND (p.plan IS NULL AND p.tenant IS NULL
				OR g.tenant IS NOT NULL AND p.plan = (SELECT t.plan FROM meter.tenant AS t WHERE t.tenant = g.tenant))
		) AS c
		WHERE g.gap <@ c.days)
	UNION ALL
	SELECT 'price_overlap', NULL, concat_ws(' ', 'price', q.price, 'of', COALESCE('plan ' || q.plan, 'tenant ' || q.tenant, 'all')),
		format('The same usage of metric "%s" is charged by %s.', q.metric, meter.doctor_list(array_agg(DISTINCT p.price ORDER BY p.price))),
		CASE WHEN q.valid_from < t.day THEN format('UPDATE meter.price SET valid_to = %L WHERE price_id = %L;', t.day, q.price_id)
			ELSE format('DELETE FROM meter.price WHERE price_id = %L;', q.price_id) END
	FROM today AS t
	CROSS JOIN price AS p
	JOIN price AS q ON q.metric = p.metric AND q.dims = p.dims AND q.aggregation = p.aggregation
		AND q.plan IS NOT DISTINCT FROM p.plan AND q.tenant IS NOT DISTINCT FROM p.tenant
		AND q.percentile IS NOT DISTINCT FROM p.percentile
		AND (p.created_at, p.price) < (q.created_at, q.price) AND p.price <> q.price
		AND p.days * q.days && daterange(t.day, NULL)
	-- a fee beside what is charged by usage is no second charge
	WHERE p.model <> 'flat' AND q.model <> 'flat'
	GROUP BY t.day, q.price_id, q.price, q.plan, q.tenant, q.metric, q.valid_from
	UNION ALL
	SELECT 'fx_rate', NULL, format('%s to %s', c.base, c.quote),
		format('There is no rate for today, which %s: %s; for %s.', meter.doctor_count(count(DISTINCT c.tenant), 'tenant needs', 'tenants need'),
			meter.doctor_list(array_agg(DISTINCT c.tenant ORDER BY c.tenant)), meter.doctor_list(array_agg(DISTINCT c.what ORDER BY c.what))),
		CASE WHEN i.rate IS NULL THEN E'\\prompt ''rate: '' rate\n' ELSE E'-- from the rate of the other direction\n' END
			|| format('INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES (%L, %L, %L, %s);', c.base, c.quote,
				(SELECT t.day FROM today AS t) - 62, COALESCE(round(1 / i.rate, 10)::text, ':''rate'''))
	FROM converted AS c
	LEFT JOIN LATERAL (
		SELECT r.rate FROM meter.fx_rate AS r
		WHERE r.base = c.quote AND r.quote = c.base
		ORDER BY r.valid_from DESC LIMIT 1
	) AS i ON true
	WHERE c.base <> c.quote AND NOT EXISTS (
		SELECT FROM meter.fx_rate AS r
		WHERE r.base = c.base AND r.quote = c.quote AND r.valid_from <= (SELECT t.day FROM today AS t))
	GROUP BY c.base, c.quote, i.rate
	UNION ALL
	SELECT 'model_price', NULL, format('model %s', concat_ws(' ', m.provider, m.model)),
		format('%s recorded at cost 0 in 31 days, and it has no price.', meter.doctor_count(m.calls, 'call of it was', 'calls of it were')),
		E'\\prompt ''price of an input token: '' input_price\n\\prompt ''price of an output token: '' output_price\n'
			|| format('INSERT INTO meter.model_price (provider, model, valid_from, input_price, output_price, currency) VALUES (%s, %L, ''-infinity'', :''input_price'', :''output_price'', %L);',
				COALESCE(quote_literal(m.provider), ':''provider'''), m.model,
				COALESCE((SELECT p.currency FROM meter.model_price AS p LIMIT 1), 'USD'))
	FROM (
		SELECT u.dims ->> 'provider' AS provider, u.dims ->> 'model' AS model, sum(u.events)::bigint AS calls
		FROM meter.usage_hourly AS u
		WHERE u.metric = 'llm_requests' AND u.dims @> '{"unpriced": true}'
			AND u.hour >= (SELECT date_trunc('hour', now()) - interval '31 days')
			AND EXISTS (SELECT FROM meter.metric AS m WHERE m.metric = 'llm_requests')
		GROUP BY u.dims ->> 'provider', u.dims ->> 'model'
	) AS m
	WHERE NOT EXISTS (
		SELECT FROM meter.model_price AS p
		WHERE p.model = m.model AND (p.provider = m.provider OR m.provider IS NULL) AND p.valid_from <= now())
$$;
COMMENT ON FUNCTION meter.doctor_price() IS
'Part of meter_doctor(): prices, rates of exchange and prices of models that are missing or too many';

CREATE FUNCTION meter.doctor_bill() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
	-- as meter_close_month() without a month would make them, if it ran every day
	SELECT 'month_unclosed', NULL, format('month %s', to_char(p.month, 'YYYY-MM')),
		format('%s no bill of it: %s.', meter.doctor_count(count(*), 'tenant has', 'tenants have'),
			meter.doctor_list(array_agg(p.tenant ORDER BY p.tenant))),
		format('CALL @extschema@.meter_close_month(%L);', p.month)
	FROM (
		SELECT LEAST((SELECT min(p.created_at) FROM meter.price AS p),
			(SELECT min(p.created_at) FROM meter.plan AS p JOIN meter.plan_version AS v ON v.plan = p.plan)) AS since
	) AS s
	CROSS JOIN generate_series(1, 2) AS n(n)
	CROSS JOIN LATERAL meter.billing_period((date_trunc('month', now()) - n.n * interval '1 month')::date, NULL) AS p
	JOIN meter.tenant AS t ON t.tenant = p.tenant
	WHERE s.since < now() - interval '2 days' AND p.period_to < now() - interval '2 days'
		AND NOT EXISTS (SELECT FROM meter.bill AS b WHERE b.tenant = p.tenant AND b.month = p.month)
		AND (EXISTS (SELECT FROM meter.bill AS b WHERE b.tenant = p.tenant AND b.month < p.month)
			OR p.period_to + interval '1 month' > now()
				AND t.created_at + meter.close_grace() < now() - interval '2 days')
	GROUP BY p.month
	UNION ALL
	SELECT 'bill_draft', NULL, format('month %s', to_char(b.month, 'YYYY-MM')),
		format('%s not final: of %s.', meter.doctor_count(count(*), 'bill of it is', 'bills of it are'),
			meter.doctor_list(array_agg(b.tenant ORDER BY b.tenant))),
		format('CALL @extschema@.meter_close_month(%L);', b.month)
	FROM meter.bill AS b
	WHERE b.status = 'draft' AND b.period_to + meter.close_grace() < now() - interval '2 days'
	GROUP BY b.month
$$;
COMMENT ON FUNCTION meter.doctor_bill() IS
'Part of meter_doctor(): bills that are missing or not final';

CREATE FUNCTION meter.doctor_outbox() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
	SELECT 'outbox_customer', NULL, format('tenant %s', h.tenant),
		format('%s held back.', meter.doctor_count(count(DISTINCT h.hour), 'hour of its usage is', 'hours of its usage are')),
		format(E'\\prompt ''customer: '' customer\nUPDATE meter.tenant SET customer = :''customer'' WHERE tenant = %L;\nSELECT @extschema@.meter_outbox_fill();', h.tenant)
	FROM meter.outbox_hour AS h
	JOIN meter.outbox_meter AS m ON m.event_name = h.event_name AND m.enabled
	JOIN meter.tenant AS t ON t.tenant = h.tenant
	WHERE h.value <> h.sent + h.moved AND h.held = 'customer' AND t.customer IS NULL
	GROUP BY h.tenant
	UNION ALL
	SELECT 'outbox_unclaimed', NULL, 'meter.billing_outbox',
		format('%s, the first since %s.', meter.doctor_count(o.waiting, 'row waits', 'rows wait'), to_char(o.since, 'YYYY-MM-DD HH24:MI "UTC"')),
		'-- start a worker that claims, sends and acknowledges: see examples/outbox/worker.sh'
	FROM (
		SELECT count(*) AS waiting, min(b.due_at) AS since
		FROM meter.billing_outbox AS b
		WHERE b.state = 'pending' AND b.due_at < now() - interval '1 hour' AND b.expires_at > now()
	) AS o
	WHERE o.waiting > 0
	UNION ALL
	SELECT 'outbox_dead', NULL, format('outbox_meter %s', b.event_name),
		meter.doctor_count(count(*), 'row was given up', 'rows were given up')
			|| COALESCE('; the last error: ' || (array_agg(b.error ORDER BY b.ended_at DESC) FILTER (WHERE b.error IS NOT NULL))[1], '.'),
		E'-- when you have made sure that the provider does not have them\n'
			|| format('SELECT @extschema@.meter_outbox_retry(ARRAY(SELECT identifier FROM meter.billing_outbox WHERE state = ''dead'' AND event_name = %L));',
				b.event_name)
			|| E'\n-- those that are too old to be sent: bill them by hand\n'
			|| format('DELETE FROM meter.billing_outbox WHERE state = ''dead'' AND event_name = %L RETURNING tenant, hour, value;', b.event_name)
	FROM meter.billing_outbox AS b
	WHERE b.state = 'dead'
	GROUP BY b.event_name
$$;
COMMENT ON FUNCTION meter.doctor_outbox() IS
'Part of meter_doctor(): usage that the payment provider does not get';

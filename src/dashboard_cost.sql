-- dashboard_cost.sql: the sections of the dashboard about money

CREATE FUNCTION meter.dashboard_read_cost(of_tenant text) RETURNS meter.projection[]
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
BEGIN
	IF has_function_privilege('@extschema@.meter_project(text, text, timestamptz, text, timestamptz)', 'EXECUTE') THEN
		BEGIN
			RETURN ARRAY(SELECT p FROM @extschema@.meter_project(of_tenant) AS p ORDER BY p.basis);
		EXCEPTION WHEN data_exception OR object_not_in_prerequisite_state THEN
			-- prices that cannot be applied shall not keep all else from being seen
			RETURN ARRAY(
				SELECT meter.projection_of_cost(meter.projection_currency(t.tenant, now()), b.period_from, b.period_to, c.current, c.answer)
				FROM meter.tenant AS t
				CROSS JOIN LATERAL (SELECT meter.known_time_zone(t.time_zone) AS time_zone OFFSET 0) AS z
				CROSS JOIN LATERAL meter.budget_bounds('month', z.time_zone, t.billing_anchor, now()) AS b
				CROSS JOIN LATERAL meter.projection_cost(ARRAY[
					ROW(1, t.tenant, NULL, z.time_zone, b.period_from, b.period_to)::meter.projection_subject], now(), 'auto') AS c
				WHERE t.tenant = of_tenant);
		END;
	END IF;
	-- a tenant's role sees what was spent, and not in which currency costs are
	RETURN ARRAY(
		SELECT ROW('cost', (SELECT b.currency FROM meter.budget AS b WHERE b.basis = 'cost' LIMIT 1), b.period_from, b.period_to,
			COALESCE((SELECT sum(u.cost) FROM meter.usage_hourly AS u
				WHERE u.hour >= b.period_from AND u.hour < now() AND (of_tenant IS NULL OR u.tenant = of_tenant)), 0),
			NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::meter.projection
		FROM (SELECT) AS one
		LEFT JOIN meter.tenant AS t ON t.tenant = of_tenant
		CROSS JOIN LATERAL (SELECT meter.known_time_zone(t.time_zone) AS time_zone OFFSET 0) AS z
		CROSS JOIN LATERAL meter.budget_bounds('month', z.time_zone, COALESCE(t.billing_anchor, 1), now()) AS b);
END
$$;
COMMENT ON FUNCTION meter.dashboard_read_cost(text) IS
'What the running month has cost and will have, of a tenant or of all: the rows of meter_project(), without charges if prices cannot be applied, or for who may not call it, what it has cost';

CREATE FUNCTION meter.dashboard_cost(costs meter.projection[], of_tenant text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
	cost meter.projection := (SELECT c FROM unnest(costs) AS c WHERE c.basis = 'cost');
	charge meter.projection := (SELECT c FROM unnest(costs) AS c WHERE c.basis = 'charge');
	budget numeric := (SELECT b.amount FROM meter.budget AS b
		WHERE b.tenant = of_tenant AND b.service IS NULL AND b.period = 'month' AND b.basis = 'cost');
	-- a tenant's month begins and ends in its time zone, and so do its days
	zone text := meter.known_time_zone((SELECT t.time_zone FROM meter.tenant AS t WHERE t.tenant = of_tenant));
	first_day date := (COALESCE(cost.period_from, charge.period_from) AT TIME ZONE zone)::date;
	seconds numeric;
	width numeric;
	x_now numeric;
	scale record;
	plot text;
BEGIN
	IF cost IS NULL AND charge IS NULL OR charge IS NULL AND cost.current = 0 THEN
		RETURN meter.dashboard_card('s7', 'Cost this month', NULL, meter.dashboard_empty('Nothing has cost anything this month'));
	END IF;
	IF cost.current IS NOT NULL THEN
		seconds := extract(epoch FROM cost.until - cost.period_from);
		x_now := least(1000, 1000 * extract(epoch FROM now() - cost.period_from) / seconds);
		width := 86400 * 1000 / seconds;
		SELECT * INTO scale FROM meter.chart_scale(greatest(cost.current, cost.high, budget), false);
		SELECT format('%s<path class="f-cost" d="%s" /><path class="l l-now" d="M%s 0V100" /><path class="l l-expected" d="%s" /><path class="l l-cost" d="%s" />%s%s',
			CASE WHEN cost.expected IS NOT NULL THEN format('<path class="f-expected" d="%s" />', meter.chart_band(ARRAY[x_now, 1000],
				ARRAY[cost.current, cost.low], ARRAY[cost.current, cost.high], scale.top)) END,
			meter.chart_band(0 || s.x, 0 || s.zero, 0 || s.total, scale.top), round(x_now, 1),
			meter.chart_line(ARRAY[x_now, 1000], ARRAY[cost.current, cost.expected], scale.top),
			meter.chart_line(0 || s.x, 0 || s.total, scale.top),
			CASE WHEN budget IS NOT NULL THEN format('<path class="l l-budget" d="M0 %sH1000"><title>Budget %s</title></path>',
				meter.chart_y(budget, scale.top), meter.html_money(budget, cost.currency)) END,
			meter.chart_hits(s.left, width, s.titles))
		INTO plot
		FROM (
			SELECT array_agg(least((d.n + 1) * width, x_now) ORDER BY d.n) AS x, array_agg(d.n * width ORDER BY d.n) AS "left",
				array_agg(0::numeric ORDER BY d.n) AS zero, array_agg(d.total ORDER BY d.n) AS total,
				array_agg(format('%s&#10;%s, in all %s', to_char(first_day + d.n::integer, 'Dy FMDD Mon'),
					meter.html_money(d.cost, cost.currency), meter.html_money(d.total, cost.currency)) ORDER BY d.n) AS titles
			FROM (
				SELECT g.n::numeric AS n, COALESCE(c.cost, 0) AS cost, COALESCE(sum(c.cost) OVER (ORDER BY g.n), 0) AS total
				FROM generate_series(0, (least(now(), cost.until - interval '1 microsecond') AT TIME ZONE zone)::date - first_day) AS g (n)
				LEFT JOIN (
					SELECT (h.hour AT TIME ZONE zone)::date - first_day AS n, sum(h.cost) AS cost
					FROM (
						SELECT u.hour, sum(u.cost) AS cost
						FROM meter.usage_hourly AS u
						WHERE u.cost IS NOT NULL AND u.hour >= cost.period_from AND u.hour < least(now(), cost.until)
							AND (of_tenant IS NULL OR u.tenant = of_tenant)
						GROUP BY u.hour
					) AS h
					GROUP BY 1
				) AS c ON c.n = g.n
			) AS d
		) AS s;
		plot := meter.chart_plot(plot, cost.period_from, cost.until, scale.top, scale.step, COALESCE(cost.currency, ''),
			format('Line of the cost of the month: %s until now%s', meter.html_money(cost.current, cost.currency),
				CASE WHEN cost.expected IS NOT NULL THEN format(', %s expected at its end', meter.html_money(cost.expected, cost.currency)) END));
	END IF;
	RETURN meter.dashboard_card('s7', 'Cost this month', format('%s&#8211;%s', to_char(first_day, 'FMDD Mon'),
			to_char((COALESCE(cost.until, charge.until) - interval '1 second') AT TIME ZONE zone, 'FMDD Mon YYYY'))
			|| CASE WHEN cost.method IS NOT NULL THEN format('; forecast: %s%s', replace(meter.html(cost.method), '_', ' '),
				CASE cost.confidence WHEN 'low' THEN ', less than two weeks of history' ELSE '' END) ELSE '' END,
		concat_ws(E'\n', format('<dl class="sums">%s</dl>', concat(
			CASE WHEN cost.current IS NOT NULL THEN format('<div><dt>Cost so far</dt><dd>%s</dd></div>', meter.html_money(cost.current, cost.currency)) END,
			CASE WHEN cost.expected IS NOT NULL THEN format('<div><dt>Projected</dt><dd>%s <small>%s&#8211;%s (80%%)</small></dd></div>',
				meter.html_money(cost.expected, cost.currency), meter.html_money(cost.low, cost.currency), meter.html_money(cost.high, cost.currency)) END,
			CASE WHEN plot IS NOT NULL AND budget IS NOT NULL THEN format('<div><dt>Budget <i class="k-budget"></i></dt><dd>%s</dd></div>',
				meter.html_money(budget, cost.currency)) END,
			CASE WHEN charge.current IS NOT NULL THEN format('<div><dt>Charges so far</dt><dd>%s</dd></div>', meter.html_money(charge.current, charge.currency)) END,
			CASE WHEN charge.expected IS NOT NULL THEN format('<div><dt>Charges projected</dt><dd>%s <small>%s&#8211;%s</small></dd></div>',
				meter.html_money(charge.expected, charge.currency), meter.html_money(charge.low, charge.currency), meter.html_money(charge.high, charge.currency)) END)),
			plot));
END
$$;
COMMENT ON FUNCTION meter.dashboard_cost(meter.projection[], text) IS
'What the running month costs, day by day, with its projection and the tenant''s budget; days are those of the tenant''s time zone';

CREATE FUNCTION meter.dashboard_budgets(of_tenant text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
	at_end jsonb := '{}';
	shown text;
	budgets bigint;
	over bigint;
BEGIN
	IF has_table_privilege('meter.cost_projection', 'SELECT') THEN
		at_end := COALESCE((SELECT jsonb_object_agg(p.budget_id, p.projected_spend) FROM meter.cost_projection AS p
			WHERE p.projected_spend IS NOT NULL AND (of_tenant IS NULL OR p.tenant = of_tenant)), '{}');
	END IF;
	SELECT count(*), count(*) FILTER (WHERE b.percent >= 75),
		string_agg(format(E'\n<li><span class="name">%s</span><span><b>%s</b> <span class="pill %s">%s</span></span>%s<span class="under wide-row"><data value="%s">%s</data> of %s%s</span></li>',
			concat_ws(' &#183; ', CASE WHEN of_tenant IS NULL THEN meter.html(COALESCE(b.tenant, 'All tenants')) END,
				CASE WHEN b.service IS NOT NULL THEN meter.html(b.service) WHEN of_tenant IS NOT NULL THEN 'All services' END),
			meter.html_percent(b.percent), CASE WHEN b.blocked OR b.status = 'exceeded' OR b.percent >= 90 THEN 'bad'
				WHEN b.status = 'warning' OR b.expected > b.amount THEN 'warn' ELSE 'good' END,
			CASE WHEN b.blocked THEN 'calls refused' WHEN b.status = 'ok' AND b.expected > b.amount THEN 'over at the end' ELSE b.status END,
			meter.chart_level(b.percent, 100 * b.expected / b.amount, format('%s of the budget is spent', meter.html_percent(b.percent))),
			trim_scale(b.spent), meter.html_money(b.spent, b.currency), meter.html_money(b.amount, b.currency)
				|| CASE b.period WHEN 'day' THEN ' today' ELSE '' END || CASE b.basis WHEN 'charge' THEN ' (charges)' ELSE '' END,
			CASE WHEN b.expected IS NOT NULL THEN format('; %s projected (%s)', meter.html_money(b.expected, b.currency),
				meter.html_percent(100 * b.expected / b.amount)) END), '' ORDER BY b.n) FILTER (WHERE b.n <= 6)
	INTO budgets, over, shown
	FROM (
		SELECT s.*, COALESCE((at_end ->> s.budget_id::text)::numeric, s.projected) AS expected,
			row_number() OVER (ORDER BY s.percent DESC, s.tenant, s.service, s.period) AS n
		FROM meter.budget_status AS s
		WHERE of_tenant IS NULL OR s.tenant = of_tenant
	) AS b;
	RETURN meter.dashboard_card('s5 budgets', 'Budgets', CASE WHEN budgets > 0 THEN
			format('%s of %s at 75%% or more; marks at 75 and 90%%', meter.html_number(over), meter.html_number(budgets)) END,
		CASE WHEN shown IS NULL THEN meter.dashboard_empty('No budget is set') ELSE format('<ul class="list">%s</ul>', shown) END);
END
$$;
COMMENT ON FUNCTION meter.dashboard_budgets(text) IS
'The six budgets of which most is spent, with what is projected';

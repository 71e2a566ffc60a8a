-- dashboard_usage.sql: the sections of the dashboard about usage

CREATE FUNCTION meter.dashboard_figures(total meter.dashboard_total, before meter.dashboard_total,
	points meter.dashboard_point[], endpoints bigint, of_tenant text, costs meter.projection[])
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rate numeric := round(100 * total.errors::numeric / NULLIF(total.requests, 0), 2);
	rate_before numeric := round(100 * before.errors::numeric / NULLIF(before.requests, 0), 2);
	cost meter.projection := (SELECT c FROM unnest(costs) AS c WHERE c.basis = 'cost');
	requests numeric[];
	rates numeric[];
	latencies numeric[];
BEGIN
	SELECT array_agg(p.requests ORDER BY p.at), array_agg(100.0 * (p.requests - p.successes) / NULLIF(p.requests, 0) ORDER BY p.at),
		array_agg(p.p95::numeric ORDER BY p.at)
	INTO requests, rates, latencies
	FROM unnest(points) AS p;
	RETURN concat_ws(E'\n',
		meter.dashboard_figure('requests', 'Requests', total.requests, meter.html_number(total.requests),
			meter.dashboard_change(total.requests, before.requests, false, 0), meter.chart_spark(requests)),
		meter.dashboard_figure('error_rate', 'Error rate', rate, meter.html_percent(rate),
			meter.dashboard_change(rate, rate_before, true, 1), meter.chart_spark(rates)),
		meter.dashboard_figure('p95', 'Latency, 95th percentile', total.p95::numeric, meter.html_ms(total.p95),
			meter.dashboard_change(total.p95::numeric, before.p95::numeric, false, 1), meter.chart_spark(latencies)),
		meter.dashboard_figure('refused', 'Refused (429)', total.refused, meter.html_number(total.refused),
			format('%s of all requests', meter.html_percent(100 * total.refused::numeric / NULLIF(total.requests, 0))),
			meter.chart_spark(ARRAY(SELECT p.refused::numeric FROM unnest(points) AS p ORDER BY p.at))),
		meter.dashboard_figure('users', 'Active users', total.users, meter.html_number(total.users),
			CASE WHEN of_tenant IS NULL THEN format('of <data id="tenants" value="%s">%s</data> %s', total.tenants,
				meter.html_number(total.tenants), CASE WHEN total.tenants = 1 THEN 'tenant' ELSE 'tenants' END)
				ELSE format('of <data id="endpoints" value="%s">%s</data> %s', endpoints, meter.html_number(endpoints),
				CASE WHEN endpoints = 1 THEN 'endpoint' ELSE 'endpoints' END) END,
			meter.chart_spark('{}')),
		meter.dashboard_figure('cost', 'Cost, month to date', cost.current, meter.html_money(cost.current, cost.currency),
			CASE WHEN cost.expected IS NOT NULL THEN format('<b class="up">%s</b> projected', meter.html_money(cost.expected, cost.currency)) END,
			meter.chart_spark(ARRAY(SELECT COALESCE(p.cost, 0) FROM unnest(points) AS p ORDER BY p.at))));
END
$$;
COMMENT ON FUNCTION meter.dashboard_figures(meter.dashboard_total, meter.dashboard_total, meter.dashboard_point[], bigint, text, meter.projection[]) IS
'The headline figures';

CREATE FUNCTION meter.dashboard_when(at timestamptz, step interval) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN to_char(at AT TIME ZONE 'UTC', CASE WHEN step >= interval '1 day' THEN 'Dy FMDD Mon YYYY' ELSE 'Dy FMDD Mon, HH24:MI' END)
	|| CASE WHEN step > interval '1 day' THEN to_char((at + step - interval '1 day') AT TIME ZONE 'UTC', '" to "FMDD Mon')
		WHEN step < interval '1 day' THEN to_char((at + step) AT TIME ZONE 'UTC', '"&#8211;"HH24:MI')
		ELSE '' END;
COMMENT ON FUNCTION meter.dashboard_when(timestamptz, interval) IS
'A step of time, in words (UTC)';

CREATE FUNCTION meter.dashboard_requests(points meter.dashboard_point[], step interval) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	from_at timestamptz := points[1].at;
	to_at timestamptz := points[cardinality(points)].at + step;
	width numeric := 1000.0 / cardinality(points);
	bar numeric := width * 0.84;
	per text := CASE step WHEN '1 hour' THEN 'hour' WHEN '6 hours' THEN '6 hours' WHEN '1 day' THEN 'day' ELSE '7 days' END;
	scale record;
	plot text;
	requests numeric;
	peak numeric;
BEGIN
	SELECT sum(p.requests), max(p.requests) INTO requests, peak FROM unnest(points) AS p;
	IF requests = 0 THEN
		RETURN meter.dashboard_card('s8 tall', 'Requests', NULL, meter.dashboard_empty('No requests in this time'));
	END IF;
	SELECT * INTO scale FROM meter.chart_scale(peak, true);
	SELECT format('<path class="b-ok" d="%s" /><path class="b-client" d="%s" /><path class="b-refused" d="%s" /><path class="b-server" d="%s" />%s',
		meter.chart_bars(array_agg(q.x ORDER BY q.n), bar, array_agg(0::numeric ORDER BY q.n), array_agg(q.a ORDER BY q.n), scale.top),
		meter.chart_bars(array_agg(q.x ORDER BY q.n), bar, array_agg(q.a ORDER BY q.n), array_agg(q.b ORDER BY q.n), scale.top),
		meter.chart_bars(array_agg(q.x ORDER BY q.n), bar, array_agg(q.b ORDER BY q.n), array_agg(q.c ORDER BY q.n), scale.top),
		meter.chart_bars(array_agg(q.x ORDER BY q.n), bar, array_agg(q.c ORDER BY q.n), array_agg(q.requests::numeric ORDER BY q.n), scale.top),
		meter.chart_hits(array_agg(q.x ORDER BY q.n), width, array_agg(format(
			'%s&#10;%s requests&#10;client errors: %s&#10;refused: %s&#10;server errors: %s', meter.dashboard_when(q.at, step),
			meter.html_number(q.requests), meter.html_number(q.client_errors), meter.html_number(q.refused),
			meter.html_number(q.server_errors)) ORDER BY q.n)))
	INTO plot
	FROM (
		SELECT u.n, (u.n - 1) * width AS x, u.at, u.requests, u.client_errors, u.refused, u.server_errors,
			u.successes::numeric AS a, (u.successes + u.client_errors)::numeric AS b,
			(u.successes + u.client_errors + u.refused)::numeric AS c
		FROM unnest(points) WITH ORDINALITY AS u (at, requests, successes, client_errors, refused, server_errors, p50, p95, p99, cost, n)
	) AS q;
	RETURN meter.dashboard_card('s8 tall', 'Requests per ' || per,
		meter.dashboard_legend('{ok,client,refused,server}', '{Successful,"Client errors (4xx)","Refused (429)","Server errors"}'),
		meter.chart_plot(plot, from_at, to_at, scale.top, scale.step, '',
			format('Bars of requests per %s: %s in all, %s at most', per, meter.html_number(requests), meter.html_number(peak))));
END
$$;
COMMENT ON FUNCTION meter.dashboard_requests(meter.dashboard_point[], interval) IS
'The chart of requests over time, by what became of them';

-- Where percentiles are far apart, lines of the fast ones would lie on the axis.
CREATE FUNCTION meter.dashboard_latency(points meter.dashboard_point[], step interval) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	from_at timestamptz := points[1].at;
	to_at timestamptz := points[cardinality(points)].at + step;
	width numeric := 1000.0 / cardinality(points);
	scale record;
	plot text;
	slowest numeric;
	fastest numeric;
	decade integer;
BEGIN
	SELECT max(p.p99)::numeric, min(NULLIF(p.p50, 0))::numeric INTO slowest, fastest FROM unnest(points) AS p;
	IF slowest IS NULL THEN
		RETURN meter.dashboard_card('s7', 'Latency', NULL, meter.dashboard_empty('No latencies in this time'));
	END IF;
	IF slowest > 25 * fastest THEN
		decade := greatest(-3, floor(log(fastest)));
		SELECT greatest(1, ceil(log(slowest)) - decade) AS top, 1::numeric AS step INTO scale;
	ELSE
		SELECT * INTO scale FROM meter.chart_scale(slowest, false);
	END IF;
	SELECT format('<path class="f-99" d="%s" /><path class="f-95" d="%s" /><path class="l l-p99" d="%s" /><path class="l l-p95" d="%s" /><path class="l l-p50" d="%s" />%s',
		meter.chart_band(q.x, q.p95, q.p99, scale.top), meter.chart_band(q.x, q.p50, q.p95, scale.top),
		meter.chart_line(q.x, q.p99, scale.top), meter.chart_line(q.x, q.p95, scale.top), meter.chart_line(q.x, q.p50, scale.top),
		meter.chart_hits(q.left, width, q.titles))
	INTO plot
	FROM (
		SELECT array_agg((u.n - 0.5) * width ORDER BY u.n) AS x, array_agg((u.n - 1) * width ORDER BY u.n) AS "left",
			array_agg(meter.chart_value(u.p50::numeric, decade) ORDER BY u.n) AS p50,
			array_agg(meter.chart_value(u.p95::numeric, decade) ORDER BY u.n) AS p95,
			array_agg(meter.chart_value(u.p99::numeric, decade) ORDER BY u.n) AS p99,
			array_agg(format('%s&#10;p50 %s&#10;p95 %s&#10;p99 %s', meter.dashboard_when(u.at, step),
				meter.html_ms(u.p50), meter.html_ms(u.p95), meter.html_ms(u.p99)) ORDER BY u.n) AS titles
		FROM unnest(points) WITH ORDINALITY AS u (at, requests, successes, client_errors, refused, server_errors, p50, p95, p99, cost, n)
	) AS q;
	RETURN meter.dashboard_card('s7', 'Latency' || CASE WHEN decade IS NULL THEN '' ELSE ', logarithmic' END, meter.dashboard_legend('{p50,p95,p99}', '{"p50 (median)",p95,p99}'),
		meter.chart_plot(plot, from_at, to_at, scale.top, scale.step, 'ms',
			format('Lines of the 50th, 95th and 99th percentile of latencies; the highest is %s', meter.html_ms(slowest::double precision)), decade));
END
$$;
COMMENT ON FUNCTION meter.dashboard_latency(meter.dashboard_point[], interval) IS
'The chart of percentiles of latencies over time';

CREATE FUNCTION meter.dashboard_failures(points meter.dashboard_point[], step interval) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	from_at timestamptz := points[1].at;
	to_at timestamptz := points[cardinality(points)].at + step;
	width numeric := 1000.0 / cardinality(points);
	scale record;
	plot text;
	worst record;
BEGIN
	SELECT p.at, 100.0 * (p.requests - p.successes) / p.requests AS rate INTO worst
	FROM unnest(points) AS p WHERE p.requests > 0 ORDER BY rate DESC, p.at LIMIT 1;
	IF worst IS NULL THEN
		RETURN meter.dashboard_card('s5', 'Error rate', NULL, meter.dashboard_empty('No requests in this time'));
	END IF;
	SELECT * INTO scale FROM meter.chart_scale(greatest(worst.rate, 1), false);
	SELECT format('<path class="f-error" d="%s" /><path class="l l-error" d="%s" />%s',
		meter.chart_band(q.x, q.zero, q.rate, scale.top), meter.chart_line(q.x, q.rate, scale.top),
		meter.chart_hits(q.left, width, q.titles))
	INTO plot
	FROM (
		SELECT array_agg((u.n - 0.5) * width ORDER BY u.n) AS x, array_agg((u.n - 1) * width ORDER BY u.n) AS "left",
			array_agg(0::numeric ORDER BY u.n) AS zero, array_agg(u.rate ORDER BY u.n) AS rate,
			array_agg(format('%s&#10;%s of %s requests', meter.dashboard_when(u.at, step), meter.html_percent(u.rate),
				meter.html_number(u.requests)) ORDER BY u.n) AS titles
		FROM (
			SELECT p.n, p.at, p.requests, 100.0 * (p.requests - p.successes) / NULLIF(p.requests, 0) AS rate
			FROM unnest(points) WITH ORDINALITY AS p (at, requests, successes, client_errors, refused, server_errors, p50, p95, p99, cost, n)
		) AS u
	) AS q;
	RETURN meter.dashboard_card('s5', 'Error rate', format('at most %s, %s', meter.html_percent(worst.rate),
			meter.dashboard_when(worst.at, step)),
		meter.chart_plot(plot, from_at, to_at, scale.top, scale.step, '%',
			format('Line of the error rate; the highest is %s', meter.html_percent(worst.rate))));
END
$$;
COMMENT ON FUNCTION meter.dashboard_failures(meter.dashboard_point[], interval) IS
'The chart of the error rate over time';

CREATE FUNCTION meter.dashboard_endpoint_table(endpoints meter.dashboard_row[], currency text) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN meter.dashboard_card('endpoints', 'Top endpoints', 'by requests', CASE WHEN endpoints = '{}' THEN
	meter.dashboard_empty('No requests in this time') ELSE (
	SELECT format('<table><thead><tr><th scope="col">Endpoint</th><th scope="col" class="share wide"></th><th scope="col" class="nn">Requests</th>'
		'<th scope="col" class="n">Errors</th><th scope="col" class="n wide">p50</th><th scope="col" class="n">p95</th>'
		'<th scope="col" class="n wide">p99</th><th scope="col" class="nn wide">Cost</th></tr></thead><tbody>%s</tbody></table>',
		string_agg(format(E'\n<tr><td><span class="name mono" title="%1$s">%1$s</span><span class="under">%2$s</span></td>%3$s'
			'<td><data value="%4$s">%5$s</data></td>%6$s<td class="wide">%7$s</td><td>%8$s</td><td class="wide">%9$s</td><td class="wide">%10$s</td></tr>',
			meter.html(e.name), meter.html(e.detail), meter.dashboard_share(e.requests, (endpoints[1]).requests),
			e.requests, meter.html_number(e.requests), meter.dashboard_errors(e.requests, e.errors, ''),
			meter.html_ms(e.p50), meter.html_ms(e.p95), meter.html_ms(e.p99), meter.html_money(e.cost, currency)), '' ORDER BY e.n))
	FROM unnest(endpoints) WITH ORDINALITY AS e (name, detail, requests, errors, users, p50, p95, p99, cost, n)) END);
COMMENT ON FUNCTION meter.dashboard_endpoint_table(meter.dashboard_row[], text) IS
'The table of endpoints';

CREATE FUNCTION meter.dashboard_tenant_table(shown meter.dashboard_row[], currency text) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN meter.dashboard_card('s7 tenants', 'Top tenants', 'by requests', CASE WHEN shown = '{}' THEN
	meter.dashboard_empty('No usage in this time') ELSE (
	SELECT format('<table><thead><tr><th scope="col">Tenant</th><th scope="col" class="share wide"></th><th scope="col" class="nn">Requests</th>'
		'<th scope="col" class="n">Errors</th><th scope="col" class="n">p95</th><th scope="col" class="n wide">Users</th>'
		'<th scope="col" class="nn wide">Cost</th></tr></thead><tbody>%s</tbody></table>',
		string_agg(format(E'\n<tr><td><span class="name" title="%1$s">%1$s</span></td>%2$s'
			'<td><data value="%3$s">%4$s</data></td>%5$s<td>%6$s</td><td class="wide">%7$s</td><td class="wide">%8$s</td></tr>',
			meter.html(t.name), meter.dashboard_share(t.requests, (shown[1]).requests), t.requests, meter.html_number(t.requests),
			meter.dashboard_errors(t.requests, t.errors, ''), meter.html_ms(t.p95), meter.html_number(t.users),
			meter.html_money(t.cost, currency)), '' ORDER BY t.n))
	FROM unnest(shown) WITH ORDINALITY AS t (name, detail, requests, errors, users, p50, p95, p99, cost, n)) END);
COMMENT ON FUNCTION meter.dashboard_tenant_table(meter.dashboard_row[], text) IS
'The table of tenants';

CREATE FUNCTION meter.dashboard_user_table(users meter.dashboard_row[], of_tenant text, currency text) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN meter.dashboard_card(CASE WHEN of_tenant IS NULL THEN 's5 users' ELSE 'users' END, 'Top users', 'by requests, whole days',
	CASE WHEN users = '{}' THEN meter.dashboard_empty('No users in this time') ELSE (
	SELECT format('<table><thead><tr><th scope="col">User</th><th scope="col" class="nn">Requests</th><th scope="col" class="n">Errors</th>'
		'<th scope="col" class="nn wide">Cost</th></tr></thead><tbody>%s</tbody></table>',
		string_agg(format(E'\n<tr><td><span class="name" title="%1$s">%1$s%2$s</span></td><td><data value="%3$s">%4$s</data></td>%5$s<td class="wide">%6$s</td></tr>',
			meter.html(u.name), CASE WHEN of_tenant IS NULL THEN format(' <span class="of">%s</span>', meter.html(u.detail)) END,
			u.requests, meter.html_number(u.requests), meter.dashboard_errors(u.requests, u.errors, ''),
			meter.html_money(u.cost, currency)), '' ORDER BY u.n))
	FROM unnest(users) WITH ORDINALITY AS u (name, detail, requests, errors, users, p50, p95, p99, cost, n)) END);
COMMENT ON FUNCTION meter.dashboard_user_table(meter.dashboard_row[], text, text) IS
'The table of users';

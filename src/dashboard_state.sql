-- dashboard_state.sql: the sections of the dashboard about what is going on now

CREATE FUNCTION meter.dashboard_limits(of_tenant text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	shown text;
	limits bigint;
	near bigint;
BEGIN
	SELECT count(*), count(*) FILTER (WHERE l.used_percent >= 75),
		string_agg(format(E'\n<li><span class="name">%s</span><b>%s</b>%s<span class="under wide-row">%s of %s %s per %s%s%s</span></li>',
			concat_ws(' &#183; ', meter.html(l.tenant), meter.html(l.user_id), format('<span class="soft">%s</span>', meter.html(l.rule))),
			meter.html_percent(l.used_percent),
			meter.chart_level(l.used_percent, NULL, format('%s of the limit is used', meter.html_percent(l.used_percent))),
			meter.html_short(round(l.used, 2)), meter.html_short(l."limit"), CASE l.unit WHEN 'requests' THEN 'requests' ELSE 'of cost' END, meter.html(l.per),
			CASE WHEN l.reset_at > now() THEN format('; free in %s', meter.html_span(l.reset_at - now())) END,
			CASE WHEN l.refused > 0 THEN format('; %s refused', meter.html_number(l.refused)) END), '' ORDER BY l.n)
			FILTER (WHERE l.n <= 6 AND l.used_percent >= 50)
	INTO limits, near, shown
	FROM (
		SELECT s.*, row_number() OVER (ORDER BY s.used_percent DESC, s.tenant, s.rule_id, s.user_id) AS n
		FROM meter.rate_limit_status AS s
		WHERE s."limit" > 0 AND (of_tenant IS NULL OR s.tenant = of_tenant)
	) AS l;
	RETURN meter.dashboard_card('s6 limits', 'Limits close to exhaustion', CASE WHEN limits > 0 THEN
			format('%s of %s at 75%% or more; marks at 75 and 90%%', meter.html_number(near), meter.html_number(limits)) END,
		CASE WHEN shown IS NOT NULL THEN format('<ul class="list">%s</ul>', shown)
			WHEN limits > 0 THEN meter.dashboard_empty('Less than half of every limit is used')
			ELSE meter.dashboard_empty('No call has asked for a limit yet') END);
END
$$;
COMMENT ON FUNCTION meter.dashboard_limits(text) IS
'The six limits of which most is used, if that is half or more';

CREATE FUNCTION meter.dashboard_alerts(of_tenant text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	alerts text;
	firing bigint;
	things bigint;
	incidents text;
	open bigint := 0;
BEGIN
	SELECT COALESCE(sum(a.alerts), 0), count(*),
		string_agg(format(E'\n<li class="%s"><span class="name wrap wide-row">%s</span><span class="under wide-row">%s</span></li>',
			meter.html(a.severity), meter.html(a.title), concat_ws(' &#183; ', meter.html(a.severity), meter.html(a.tenant),
				meter.html(a.service), 'for ' || meter.html_span(now() - a.fired_at),
				CASE WHEN a.acknowledged_at IS NOT NULL THEN 'taken care of' END)), '' ORDER BY a.n) FILTER (WHERE a.n <= 4)
	INTO firing, things, alerts
	FROM (
		SELECT w.*, row_number() OVER (ORDER BY meter.severity_rank(w.severity) DESC, w.fired_at DESC, w.signal, w.tenant, w.service, w.subject) AS n
		FROM (
			-- several rules may say the same of one thing
			SELECT DISTINCT ON (l.signal, l.tenant, l.service) l.*, count(*) OVER (PARTITION BY l.signal, l.tenant, l.service) AS alerts
			FROM meter.alert AS l
			WHERE l.state = 'firing' AND NOT l.silenced AND (of_tenant IS NULL OR l.tenant = of_tenant)
			ORDER BY l.signal, l.tenant, l.service, meter.severity_rank(l.severity) DESC, l.threshold DESC, l.rule, l.subject
		) AS w
	) AS a;
	IF has_table_privilege('meter.incident', 'SELECT') THEN
		SELECT count(*),
			string_agg(format(E'\n<li class="%s"><span class="name wrap wide-row">%s</span><span class="under wide-row">%s</span></li>',
				meter.html(i.severity), meter.html(i.title), concat_ws(' &#183; ', meter.html(i.tenant), meter.html(i.service),
					'for ' || meter.html_span(now() - i.opened_at),
					CASE i.status WHEN 'acknowledged' THEN 'taken care of by ' || meter.html(i.acknowledged_by) END)),
				'' ORDER BY i.n) FILTER (WHERE i.n <= 2)
		INTO open, incidents
		FROM (
			SELECT c.*, row_number() OVER (ORDER BY meter.severity_rank(c.severity) DESC, c.opened_at DESC, c.incident_id) AS n
			FROM meter.incident AS c
			WHERE c.status <> 'resolved' AND (of_tenant IS NULL OR c.tenant = of_tenant)
		) AS i;
	END IF;
	RETURN meter.dashboard_card('s4 alerts', 'Alerts', CASE WHEN firing > 0 THEN
			format('<span class="pill bad">%s firing</span>', meter.html_number(firing)) ELSE '<span class="pill good">none</span>' END,
		concat(CASE WHEN alerts IS NULL THEN meter.dashboard_empty('No alert fires') ELSE format('<ul class="list dots">%s</ul>', alerts) END,
			CASE WHEN things > 4 THEN format('<p class="note more">and %s more</p>', meter.html_number(things - 4)) END,
			CASE WHEN open > 0 THEN format(E'\n<h3>Open incidents: %s</h3><ul class="list dots incidents">%s</ul>',
				meter.html_number(open), incidents) END));
END
$$;
COMMENT ON FUNCTION meter.dashboard_alerts(text) IS
'Alerts that fire and are not silenced, and incidents that are not resolved, worst first';

CREATE FUNCTION meter.dashboard_health(of_tenant text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
	shown text;
	tenants bigint;
	healthy bigint;
	degraded bigint;
	unhealthy bigint;
	at_risk bigint;
BEGIN
	SELECT count(*), count(*) FILTER (WHERE h.status = 'healthy'), count(*) FILTER (WHERE h.status = 'degraded'),
		count(*) FILTER (WHERE h.status = 'unhealthy'), count(*) FILTER (WHERE h.churn_risk = 'high'),
		string_agg(format(E'\n<li><span class="name">%s</span><span>%s<span class="pill score %s" title="%s">%s</span></span><span class="under wide-row wrap">%s</span></li>',
			meter.html(h.tenant), CASE WHEN h.churn_risk <> 'low' THEN format('<span class="pill %s">may leave</span> ',
				CASE h.churn_risk WHEN 'high' THEN 'bad' ELSE 'warn' END) END,
			CASE h.status WHEN 'healthy' THEN 'good' WHEN 'degraded' THEN 'warn' ELSE 'bad' END, meter.html(h.status), h.score,
			COALESCE((SELECT string_agg(meter.html(r.reason ->> 'message'), '; ' ORDER BY r.n)
				FROM jsonb_array_elements(h.reasons) WITH ORDINALITY AS r (reason, n) WHERE r.n <= 2), 'nothing to complain of')),
			'' ORDER BY h.n) FILTER (WHERE h.n <= 6)
	INTO tenants, healthy, degraded, unhealthy, at_risk, shown
	FROM (
		SELECT t.*, row_number() OVER (ORDER BY t.score, t.week_events DESC, t.tenant) AS n
		FROM meter.tenant_health AS t
		WHERE of_tenant IS NULL OR t.tenant = of_tenant
	) AS h;
	RETURN meter.dashboard_card('s6 health', 'Tenant health', 'last 7 days' || CASE WHEN at_risk > 0 THEN
			format('; %s may leave', meter.html_number(at_risk)) ELSE '' END,
		CASE WHEN tenants = 0 THEN meter.dashboard_empty('No tenant is known') ELSE concat(
			CASE WHEN of_tenant IS NULL THEN format('<div class="split" role="img" aria-label="%s healthy, %s degraded, %s unhealthy">'
				'<i class="k-good" style="width:%s%%"></i><i class="k-warn" style="width:%s%%"></i><i class="k-bad" style="width:%s%%"></i></div>%s<div style="height:14px"></div>',
				healthy, degraded, unhealthy, round(100.0 * healthy / tenants, 2), round(100.0 * degraded / tenants, 2), round(100.0 * unhealthy / tenants, 2),
				meter.dashboard_legend('{good,warn,bad}', ARRAY[format('%s healthy', meter.html_number(healthy)),
					format('%s degraded', meter.html_number(degraded)), format('%s unhealthy', meter.html_number(unhealthy))])) END,
			format('<ul class="list">%s</ul>', shown)) END);
END
$$;
COMMENT ON FUNCTION meter.dashboard_health(text) IS
'How many tenants are well, and the six that are least';

CREATE FUNCTION meter.dashboard_pipeline() RETURNS text
LANGUAGE SQL STABLE PARALLEL RESTRICTED
RETURN (
	SELECT meter.dashboard_card('pipeline', 'Pipeline', 'from the call to the totals', concat(
		format('<dl class="pipe"><div><dt>Queue</dt><dd>%s</dd></div><div><dt>Flush lag</dt><dd>%s<small>flushed %s</small></dd></div>'
			'<div><dt>Rollup lag</dt><dd>%s<small><data value="%s">%s</data> events behind</small></dd></div>'
			'<div><dt>Events flushed</dt><dd>%s<small>%s duplicates dropped</small></dd></div>'
			'<div><dt>Rejected</dt><dd>%s<small>events refused, kept with the reason</small></dd></div>'
			'<div><dt>Errors of the worker</dt><dd>%s<small>%s</small></dd></div></dl>',
			CASE WHEN s.queue_capacity IS NULL THEN '&#8211;<small>meter is not preloaded</small>'
				ELSE format('%s<small>of %s</small>', CASE WHEN s.queue_capacity > 0 THEN meter.html_percent(100 * s.queue_bytes::numeric / s.queue_capacity) ELSE '0%' END,
					meter.html(pg_size_pretty(s.queue_capacity))) END,
			CASE WHEN s.flush_lag IS NULL THEN 'none' ELSE meter.html_span(s.flush_lag) END,
			CASE WHEN s.flushed_at IS NULL THEN 'not yet' ELSE meter.html_span(clock_timestamp() - s.flushed_at) || ' ago' END,
			CASE WHEN s.rollup_lag IS NULL THEN 'none' ELSE meter.html_span(s.rollup_lag) END,
			s.rollup_behind, meter.html_number(s.rollup_behind),
			meter.html_number(s.flushed), meter.html_number(s.duplicates), meter.html_number(s.rejected),
			meter.html_number(s.errors), CASE WHEN s.last_error_at IS NULL THEN 'none since the start'
				ELSE 'the last ' || meter.html_span(clock_timestamp() - s.last_error_at) || ' ago' END),
		CASE WHEN s.last_error IS NOT NULL THEN format('<p class="alarm">%s</p>', meter.html(left(s.last_error, 500))) END))
	FROM meter.stats AS s);
COMMENT ON FUNCTION meter.dashboard_pipeline() IS
'Whether events are getting through: meter.stats';

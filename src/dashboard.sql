-- dashboard.sql: what there is to see, on one page
--
-- The page is made with the rights of who asks for it: row security holds, and
-- sections that it may not read are left out.  It loads nothing from elsewhere.

CREATE FUNCTION meter.dashboard_head(of_tenant text, from_at timestamptz, to_at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	status text;
BEGIN
	IF of_tenant IS NULL AND has_function_privilege('@extschema@.meter_health(timestamptz)', 'EXECUTE') THEN
		status := @extschema@.meter_health() ->> 'status';
	END IF;
	RETURN format(E'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />\n<meta name="viewport" content="width=device-width, initial-scale=1" />\n'
		'<meta name="color-scheme" content="light dark" />\n<meta name="referrer" content="no-referrer" />\n<title>%s &#183; meter</title>\n'
		'<link rel="icon" href="data:," />\n<style>%s</style>\n</head>\n<body>\n'
		'<header>\n<h1><small>meter</small>%s</h1>\n<p class="when">%s<b>%s</b> to <b>%s</b> UTC<br />made %s</p>\n</header>\n<main>',
		meter.html(COALESCE(of_tenant, 'API dashboard')), meter.dashboard_style(), meter.html(COALESCE(of_tenant, 'API dashboard')),
		CASE WHEN status IS NOT NULL THEN format('<span id="status" class="pill %s">%s</span> ',
			CASE status WHEN 'healthy' THEN 'good' WHEN 'degraded' THEN 'warn' ELSE 'bad' END, meter.html(status)) END,
		to_char(from_at AT TIME ZONE 'UTC', 'FMDD Mon YYYY HH24:MI'), to_char(to_at AT TIME ZONE 'UTC', 'FMDD Mon YYYY HH24:MI'),
		meter.html_time(now()));
END
$$;
COMMENT ON FUNCTION meter.dashboard_head(text, timestamptz, timestamptz) IS
'The beginning of the page, up to its sections';

CREATE FUNCTION @extschema@.meter_dashboard("from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL, tenant text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
	to_at timestamptz := COALESCE("to", now());
	-- whole hours: those that begin before its end, from the one that it begins in
	from_at timestamptz;
	of_tenant text := meter_dashboard.tenant;
	visible text[] := meter.visible_tenants();
	step interval;
	problem text;
	total meter.dashboard_total;
	points meter.dashboard_point[];
	endpoint record;
	costs meter.projection[];
	currency text;
BEGIN
	IF NOT isfinite(to_at) OR NOT isfinite("from") THEN
		RAISE EXCEPTION '"%" must be finite', CASE WHEN isfinite(to_at) THEN 'from' ELSE 'to' END
			USING ERRCODE = 'datetime_field_overflow';
	END IF;
	problem := CASE WHEN "from" >= to_at THEN format('"from" is not before "to" (%s).', to_at)
		WHEN "from" < to_at - interval '366 days' THEN format('"from" is more than 366 days before "to" (%s).', to_at) END;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION 'cannot show usage from %', "from"
			USING ERRCODE = 'invalid_parameter_value', DETAIL = problem;
	END IF;
	IF of_tenant IS NOT NULL AND (octet_length(of_tenant) NOT BETWEEN 1 AND 255 OR of_tenant !~ '[^ ]') THEN
		RAISE EXCEPTION '"tenant" must have 1 to 255 bytes'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for all tenants.';
	END IF;
	IF visible IS NOT NULL THEN
		of_tenant := COALESCE(of_tenant, CASE WHEN cardinality(visible) = 1 THEN visible[1] END);
		IF of_tenant IS NOT NULL AND of_tenant <> ALL (visible) THEN
			RAISE EXCEPTION 'permission denied for tenant "%"', of_tenant
				USING ERRCODE = 'insufficient_privilege';
		END IF;
	END IF;
	from_at := date_trunc('hour', COALESCE("from", date_trunc('hour', to_at - interval '1 microsecond') - interval '167 hours'));
	step := CASE WHEN to_at - from_at <= interval '8 days' THEN interval '1 hour'
		WHEN to_at - from_at <= interval '40 days' THEN interval '6 hours'
		WHEN to_at - from_at <= interval '200 days' THEN interval '1 day' ELSE interval '7 days' END;

	total := meter.dashboard_read_total(from_at, to_at, of_tenant);
	points := meter.dashboard_read_points(from_at, to_at, of_tenant, step);
	endpoint := meter.dashboard_read_endpoints(from_at, to_at, of_tenant);
	costs := meter.dashboard_read_cost(of_tenant);
	currency := (SELECT c.currency FROM unnest(costs) AS c WHERE c.basis = 'cost');
	RETURN concat_ws(E'\n',
		meter.dashboard_head(of_tenant, from_at, to_at),
		meter.dashboard_figures(total, meter.dashboard_read_before(from_at - (to_at - from_at), from_at, of_tenant),
			points, endpoint.endpoints, of_tenant, costs),
		meter.dashboard_requests(points, step),
		meter.dashboard_alerts(of_tenant),
		meter.dashboard_latency(points, step),
		meter.dashboard_failures(points, step),
		meter.dashboard_cost(costs, of_tenant),
		meter.dashboard_budgets(of_tenant),
		meter.dashboard_endpoint_table(endpoint.top, currency),
		CASE WHEN of_tenant IS NULL THEN meter.dashboard_tenant_table(total.top, currency) END,
		meter.dashboard_user_table(meter.dashboard_read_users(from_at, to_at, of_tenant), of_tenant, currency),
		CASE WHEN has_table_privilege('meter.rate_limit_status', 'SELECT') THEN meter.dashboard_limits(of_tenant) END,
		CASE WHEN has_table_privilege('meter.tenant_health', 'SELECT') THEN meter.dashboard_health(of_tenant) END,
		CASE WHEN of_tenant IS NULL AND has_table_privilege('meter.stats', 'SELECT') THEN meter.dashboard_pipeline() END,
		E'</main>\n<footer>Totals are of whole hours (UTC), as of the last rollup.</footer>\n</body>\n</html>');
END
$$;
COMMENT ON FUNCTION @extschema@.meter_dashboard(timestamptz, timestamptz, text) IS
'A page of HTML, complete in itself, about the hours (UTC) from the one that from is in until to, null: seven days until now; of one tenant, or with null of all that the caller may see. Usage, errors and latencies over time, endpoints, tenants, users, the cost of the running month with its projection, budgets, limits, alerts, incidents, health and the pipeline; sections of which the caller may not read the views are left out. Errors: 22008 for an infinite time, 22023 for from that is not before to or more than 366 days before it or for an empty tenant, 42501 for a tenant that the caller may not see';

-- quota.sql: what was used of a calendar window

CREATE FUNCTION meter.resource_matches(resource text, service text, endpoint text, method text)
RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'meter_resource_matches';
COMMENT ON FUNCTION meter.resource_matches(text, text, text, text) IS
'Is usage of that service, endpoint and method what a rule''s pattern of resources is about? The pattern is compared with the service, the endpoint, and method and endpoint with a blank between them; * is all usage';

-- Whole hours are in the rollups.  Where a window begins within one, as in time
-- zones that are half an hour off, the log has what is before the window.
-- Usage by user is in the rollups by day only, and not by resource, so for a
-- user the log is read.
CREATE FUNCTION meter.quota_used(of_tenant text, resource text, of_metric text, unit text,
	of_user text, per text, window_end timestamptz) RETURNS numeric
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	zone text := COALESCE((SELECT t.time_zone FROM meter.tenant AS t WHERE t.tenant = of_tenant), 'UTC');
	starts timestamptz := CASE WHEN per IN ('day', 'month')
		THEN (window_end AT TIME ZONE zone - ('1 ' || per)::interval) AT TIME ZONE zone
		ELSE window_end - ('1 ' || per)::interval END;
	first_hour timestamptz := date_trunc('hour', starts, 'UTC');
	requests numeric;
	cost numeric;
	requests_before numeric;
	cost_before numeric;
BEGIN
	IF of_user IS NOT NULL OR per IN ('second', 'minute') THEN
		SELECT count(*), COALESCE(sum(e.cost), 0) INTO requests, cost
		FROM (
			SELECT e.tenant, e.metric, e.at, e.status, e.cost, e.user_id, e.service, e.endpoint, e.method
			FROM meter.event AS e
			WHERE e.superseded_by IS NULL
			UNION ALL
			SELECT i.tenant, COALESCE(i.metric, 'api_requests'), i.at, i.status, i.cost, i.user_id,
				i.service, i.endpoint, i.method
			FROM meter.inbox AS i
			WHERE i.validated AND i.corrects IS NULL
		) AS e
		WHERE e.tenant = of_tenant AND e.metric = of_metric
			AND e.at >= starts AND e.at < window_end
			AND (of_user IS NULL OR e.user_id = of_user)
			AND (e.status IS NULL OR e.status <> 429 OR unit = 'cost')
			AND meter.resource_matches(resource, e.service, e.endpoint, e.method);
	ELSE
		WITH tail AS MATERIALIZED (
			SELECT t.replaces, (t.usage).* FROM meter.usage_tail(of_tenant) AS t
		), used AS (
			SELECT h.hour, h.events - h.errors_429 AS requests, h.cost, h.service, h.endpoint, h.method
			FROM meter.usage_hourly AS h
			WHERE h.tenant = of_tenant AND h.metric = of_metric
				AND h.hour >= first_hour AND h.hour < window_end
				AND NOT EXISTS (SELECT FROM tail AS t WHERE t.replaces AND t.hour = h.hour)
			UNION ALL
			SELECT t.hour, t.events - t.errors_429, t.cost, t.service, t.endpoint, t.method
			FROM tail AS t
			WHERE t.tenant = of_tenant AND t.metric = of_metric AND t.events > 0
				AND t.hour >= first_hour AND t.hour < window_end
		)
		SELECT COALESCE(sum(u.requests), 0), COALESCE(sum(u.cost), 0) INTO requests, cost
		FROM used AS u
		WHERE meter.resource_matches(resource, u.service, u.endpoint, u.method);
		IF first_hour < starts THEN
			SELECT count(*) FILTER (WHERE e.status IS DISTINCT FROM 429), COALESCE(sum(e.cost), 0)
			INTO requests_before, cost_before
			FROM meter.event AS e
			WHERE e.tenant = of_tenant AND e.metric = of_metric AND e.superseded_by IS NULL
				AND e.at >= first_hour AND e.at < starts
				AND meter.resource_matches(resource, e.service, e.endpoint, e.method);
			requests := requests - requests_before;
			cost := cost - cost_before;
		END IF;
	END IF;
	RETURN CASE unit WHEN 'cost' THEN cost ELSE requests END;
END
$$;
COMMENT ON FUNCTION meter.quota_used(text, text, text, text, text, text, timestamptz) IS
'What was tracked of a tenant (of one user, or null for all) for a resource and a metric in the calendar''s window (second, minute, hour, day or month, in the tenant''s time zone) that ends then: the cost, or the requests, of which refused ones (429) do not count';

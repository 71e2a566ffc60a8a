-- quota.sql: what was used of a calendar window

-- Costs, for what else is asked of an event to be looked at first.
CREATE FUNCTION meter.resource_matches(resource text, service text, endpoint text, method text)
RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'meter_resource_matches';
COMMENT ON FUNCTION meter.resource_matches(text, text, text, text) IS
'Is usage of that service, endpoint and method what a rule''s pattern of resources is about? The pattern is compared with the service, the endpoint, and method and endpoint with a blank between them; * is all usage';

CREATE FUNCTION meter.resource_matches_any(resources text[], service text, endpoint text, method text)
RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE COST 50 AS 'MODULE_PATHNAME', 'meter_resource_matches_any';
COMMENT ON FUNCTION meter.resource_matches_any(text[], text, text, text) IS
'Does meter.resource_matches() hold for any of these patterns?';

-- Whole hours are in the rollups.  What a window has of other hours is read from
-- the log: its beginning and its end, in time zones that are not whole hours
-- off, or all of it.  Usage by user is in the rollups by day only, and not by
-- resource, so for a user the log is read.  That is slow, and users are many: so
-- it is not done where every call of the window was counted in memory, as the
-- rule was the tenant's already when the window began.  What reads the log has
-- each of its days in its plan: compiling that would take longer than reading.
CREATE FUNCTION meter.quota_used(of_tenant text, resource text, of_metric text, unit text,
	of_user text, per text, window_end timestamptz, counted_from timestamptz DEFAULT NULL,
	by_plan boolean DEFAULT false, but_of text[] DEFAULT '{}') RETURNS numeric
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
	zone text := meter.known_time_zone((SELECT t.time_zone FROM meter.tenant AS t WHERE t.tenant = of_tenant));
	-- by the middle of the last day: where clocks change at midnight, that may be
	-- no local time, or be one twice
	starts timestamptz := CASE WHEN per = ANY (ARRAY['day', 'month'])
		THEN date_trunc(per, (window_end - interval '12 hours') AT TIME ZONE zone) AT TIME ZONE zone
		ELSE window_end - ('1 ' || per)::interval END;
	first_hour timestamptz := date_trunc('hour', starts - interval '1 microsecond', 'UTC') + interval '1 hour';
	last_hour timestamptz := date_trunc('hour', window_end, 'UTC');
	used_requests numeric := 0;
	used_cost numeric := 0;
BEGIN
	-- An hour, as what is committed later counts from then on only.  With another
	-- plan, rules of that may have counted before, also in the place of one for all.
	IF of_user IS NOT NULL AND starts >= counted_from + interval '1 hour'
		AND NOT EXISTS (SELECT FROM meter.tenant AS t WHERE t.tenant = of_tenant
			AND starts < t.changed_at + interval '1 hour')
		AND (NOT by_plan OR EXISTS (SELECT FROM meter.tenant AS t WHERE t.tenant = of_tenant
			AND t.plan IS NOT NULL)) THEN
		RETURN 0;
	END IF;
	IF of_user IS NOT NULL OR first_hour >= last_hour THEN
		first_hour := window_end;
		last_hour := window_end;
	ELSE
		WITH tail AS MATERIALIZED (
			SELECT t.replaces, (t.usage).* FROM meter.usage_tail(of_tenant) AS t
		), used AS (
			SELECT h.events - h.errors_429 AS requests, h.cost, h.service, h.endpoint, h.method
			FROM meter.usage_hourly AS h
			WHERE h.tenant = of_tenant AND h.metric = of_metric
				AND h.hour >= first_hour AND h.hour < last_hour
				AND NOT EXISTS (SELECT FROM tail AS t WHERE t.replaces AND t.hour = h.hour)
			UNION ALL
			SELECT t.events - t.errors_429, t.cost, t.service, t.endpoint, t.method
			FROM tail AS t
			WHERE t.tenant = of_tenant AND t.metric = of_metric AND t.events > 0
				AND t.hour >= first_hour AND t.hour < last_hour
		)
		SELECT COALESCE(sum(u.requests), 0), COALESCE(sum(u.cost), 0) INTO used_requests, used_cost
		FROM used AS u
		WHERE meter.resource_matches(resource, u.service, u.endpoint, u.method)
			AND meter.resource_matches_any(but_of, u.service, u.endpoint, u.method) IS NOT TRUE;
	END IF;
	IF starts < first_hour OR last_hour < window_end THEN
		SELECT used_requests + count(*) FILTER (WHERE e.status IS DISTINCT FROM 429),
			used_cost + COALESCE(sum(e.cost), 0)
		INTO used_requests, used_cost
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
			AND (e.at >= starts AND e.at < first_hour OR e.at >= last_hour AND e.at < window_end)
			AND (of_user IS NULL OR e.user_id = of_user)
			AND meter.resource_matches(resource, e.service, e.endpoint, e.method)
			AND meter.resource_matches_any(but_of, e.service, e.endpoint, e.method) IS NOT TRUE;
	END IF;
	RETURN CASE unit WHEN 'cost' THEN used_cost ELSE used_requests END;
END
$$;
COMMENT ON FUNCTION meter.quota_used(text, text, text, text, text, text, timestamptz, timestamptz, boolean, text[]) IS
'What was tracked of a tenant (of one user, or null for all) for a resource, but not for any of those in but_of, and a metric in the calendar''s window (second, minute, hour, day or month, in the tenant''s time zone) that ends then: the cost, or the requests, of which refused ones (429) do not count. Of a user''s window that began an hour or more after counted_from and after the tenant''s row was last changed, 0, as all of it was counted in memory; for a rule of a plan (by_plan) that is so only if the row names a plan';

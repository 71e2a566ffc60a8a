-- tenant_health.sql: how well each tenant is, and who may be about to leave

-- Weeks are seven days up to the running hour: 0 is the last one.  One scan, and
-- all is grouped by tenant, so that a condition on it reaches the usage.
CREATE FUNCTION meter.tenant_health(at timestamptz)
RETURNS TABLE (tenant text, score integer, status text, churn_risk text, reasons jsonb, requests bigint,
	error_rate numeric, refused_rate numeric, latency_p95 numeric, rejected bigint, violations bigint,
	week_events bigint, normal_events numeric, change_percent numeric, last_event_at timestamptz)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	SELECT s.tenant, s.score,
		CASE WHEN s.score >= 75 THEN 'healthy' WHEN s.score >= 50 THEN 'degraded' ELSE 'unhealthy' END,
		s.churn_risk, s.reasons, s.requests, s.error_rate, s.refused_rate, s.latency_p95, s.rejected, s.violations,
		s.week_events, s.normal_events, s.change_percent, s.last_event_at
	FROM (
		SELECT c.*, greatest(0, 100 - COALESCE(p.points, 0))::integer AS score, COALESCE(p.reasons, '[]') AS reasons
		FROM (
			SELECT m.*,
				CASE
					WHEN m.used_before IS NULL AND m.week_events = 0
						THEN CASE WHEN m.known_since < tenant_health.at - interval '168 hours' THEN 'high' END
					WHEN m.week_events = 0 AND (m.normal_events >= 9 OR m.idle_before) THEN 'high'
					WHEN m.used_before IS NULL OR m.whole_weeks < 3 THEN NULL
					-- below all weeks before, and by more than chance
					WHEN m.week_events < m.lowest_events AND m.week_events < m.normal_events - 3 * sqrt(m.normal_events)
						AND m.change_percent <= -25
						THEN CASE WHEN m.change_percent <= -50 THEN 'high' ELSE 'medium' END
					ELSE 'low'
				END AS churn_risk
			FROM (
				SELECT u.tenant, u.known_since, u.requests, u.last_event_at, u.used_before, f.whole_weeks,
					CASE WHEN u.requests - u.refused >= 20
						THEN round(100.0 * u.errors / (u.requests - u.refused), 2) END AS error_rate,
					CASE WHEN u.requests >= 20 THEN round(100.0 * u.refused / u.requests, 2) END AS refused_rate,
					CASE WHEN @extschema@.meter_sketch_count(u.latency) >= 20
						THEN round(@extschema@.meter_percentile(u.latency, 0.95)::numeric, 2) END AS latency_p95,
					COALESCE(r.rejected, 0) AS rejected, COALESCE(v.violations, 0) AS violations,
					CASE WHEN u.week_events + r.rejected >= 20
						THEN round(100.0 * r.rejected / (u.week_events + r.rejected), 2) END AS rejected_rate,
					u.week_events, n.normal::numeric AS normal_events, n.lowest AS lowest_events,
					u.weeks[1] = 0 AS idle_before,
					round(100 * (u.week_events - n.normal::numeric) / NULLIF(n.normal, 0)::numeric, 2) AS change_percent
				FROM (
					SELECT w.tenant, min(w.known_since) AS known_since, max(w.last_at) AS last_event_at,
						COALESCE(sum(w.events) FILTER (WHERE w.week = 0), 0)::bigint AS week_events,
						ARRAY[
							COALESCE(sum(w.events) FILTER (WHERE w.week = 1), 0)::bigint,
							COALESCE(sum(w.events) FILTER (WHERE w.week = 2), 0)::bigint,
							COALESCE(sum(w.events) FILTER (WHERE w.week = 3), 0)::bigint,
							COALESCE(sum(w.events) FILTER (WHERE w.week = 4), 0)::bigint] AS weeks,
						-- the week in which it is first seen
						NULLIF(max(w.week) FILTER (WHERE w.events > 0), 0) AS used_before,
						min(w.hour) FILTER (WHERE w.events > 0) AS first_hour,
						COALESCE(sum(w.events) FILTER (WHERE w.week = 0 AND w.metric = 'api_requests'), 0)::bigint AS requests,
						COALESCE(sum(w.refused) FILTER (WHERE w.week = 0 AND w.metric = 'api_requests'), 0)::bigint AS refused,
						COALESCE(sum(w.errors - w.refused) FILTER (WHERE w.week = 0 AND w.metric = 'api_requests'), 0)::bigint AS errors,
						@extschema@.meter_sketch_merge(w.latency) FILTER (WHERE w.week = 0 AND w.metric = 'api_requests') AS latency
					FROM (
						SELECT u.tenant, u.metric, NULL::timestamptz AS known_since, u.hour, u.last_at, u.events, u.errors,
							u.errors_429 AS refused, CASE WHEN u.hour >= c.weeks[4] THEN u.latency END AS latency,
							4 - width_bucket(u.hour, c.weeks) AS week
						FROM (
							-- in hours, as days are longer or shorter where clocks change
							SELECT ARRAY[w.first - interval '504 hours', w.first - interval '336 hours',
								w.first - interval '168 hours', w.first] AS weeks
							FROM (SELECT date_trunc('hour', tenant_health.at, 'UTC') - interval '167 hours' AS first) AS w
							-- reckoned once, and not for each row
							OFFSET 0
						) AS c
						CROSS JOIN meter.usage_hourly AS u
						WHERE u.quantity_seconds IS NULL
							AND u.hour > date_trunc('hour', tenant_health.at, 'UTC') - interval '840 hours'
							AND u.hour <= tenant_health.at
						UNION ALL
						SELECT t.tenant, NULL, t.created_at, NULL, NULL, 0, 0, 0, NULL, NULL
						FROM meter.tenant AS t
						WHERE t.created_at <= tenant_health.at
					) AS w
					GROUP BY w.tenant
				) AS u
				LEFT JOIN (
					SELECT e.tenant, count(*) AS rejected
					FROM meter.rejected_event AS e
					WHERE e.rejected_at > tenant_health.at - interval '168 hours' AND e.rejected_at <= tenant_health.at
					GROUP BY e.tenant
				) AS r ON r.tenant = u.tenant
				LEFT JOIN (
					SELECT i.tenant, count(*) AS violations
					FROM meter.isolation_violation AS i
					WHERE i.at > tenant_health.at - interval '168 hours' AND i.at <= tenant_health.at
					GROUP BY i.tenant
				) AS v ON v.tenant = u.tenant
				LEFT JOIN meter.tenant AS t ON t.tenant = u.tenant
				-- Who begins in the midst of a week has used less in it: it counts if
				-- it is used on its first day, as by who was there before.
				CROSS JOIN LATERAL (
					SELECT u.used_before - CASE WHEN u.first_hour >= date_trunc('hour', tenant_health.at, 'UTC')
						- interval '143 hours' - u.used_before * interval '168 hours' THEN 1 ELSE 0 END AS whole_weeks
				) AS f
				CROSS JOIN LATERAL (
					SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY e.events::double precision) AS normal,
						min(e.events) AS lowest
					-- if there is no other, that one will do
					FROM unnest(u.weeks[1:greatest(f.whole_weeks, CASE WHEN u.used_before = 1 THEN 1 END)]) AS e (events)
				) AS n
				WHERE t.status IS DISTINCT FROM 'cancelled'
			) AS m
		) AS c
		CROSS JOIN LATERAL (
			SELECT sum(l.points) AS points,
				jsonb_agg(jsonb_build_object('reason', l.reason, 'points', l.points, 'value', trim_scale(l.value),
					'message', format(l.message, trim_scale(l.value))) ORDER BY l.points DESC, l.reason) AS reasons
			FROM (
				-- none up to "good", all from "bad" on, and evenly between
				SELECT b.reason, b.value, b.message,
					round(b.most * least(1, greatest(0, (b.value - b.good) / (b.bad - b.good)))) AS points
				FROM (VALUES
					('errors', c.error_rate, 1::numeric, 10::numeric, 30::numeric, '%s %% of the requests of the last 7 days failed'),
					('latency', c.latency_p95, 2000, 5000, 15, '5 %% of the requests of the last 7 days took longer than %s ms'),
					('refused', c.refused_rate, 1, 10, 15, '%s %% of the requests of the last 7 days were refused (429)'),
					('rejected', c.rejected_rate, 1, 10, 10, '%s %% of the events of the last 7 days were rejected'),
					('violations', c.violations, 0, 1, 20, 'sessions of the tenant reached %s times for what is another tenant''s in the last 7 days')
				) AS b (reason, value, good, bad, most, message)
				UNION ALL
				SELECT 'usage', COALESCE(c.change_percent, -100),
					CASE WHEN c.week_events > 0 THEN 'usage of the last 7 days has changed by %s %% against the median of the weeks before'
						WHEN c.used_before IS NULL THEN 'no usage in the last 35 days'
						ELSE 'no usage in the last 7 days' END,
					CASE c.churn_risk WHEN 'high' THEN 30 WHEN 'medium' THEN 15 END
			) AS l
			WHERE l.points > 0
		) AS p
	) AS s;
END;
COMMENT ON FUNCTION meter.tenant_health(timestamptz) IS
'What meter.tenant_health says, as of another time; what a gauge samples does not count as usage';

-- The collation of the tables, for a condition on the tenant to find their indexes.
CREATE VIEW meter.tenant_health AS
SELECT h.tenant COLLATE "C" AS tenant, h.score, h.status, h.churn_risk, h.reasons, h.requests, h.error_rate, h.refused_rate,
	h.latency_p95, h.rejected, h.violations, h.week_events, h.normal_events, h.change_percent, h.last_event_at
FROM meter.tenant_health(now()) AS h;
COMMENT ON VIEW meter.tenant_health IS
'How well is each tenant, and which may be about to leave? Tenants of meter.tenant that are not cancelled, and others with usage in the last 35 days';
COMMENT ON COLUMN meter.tenant_health.tenant IS 'the tenant';
COMMENT ON COLUMN meter.tenant_health.score IS '100 less the points of all reasons, at least 0';
COMMENT ON COLUMN meter.tenant_health.status IS 'healthy from 75 on, degraded from 50 on, else unhealthy';
COMMENT ON COLUMN meter.tenant_health.churn_risk IS
'high: no usage any more, or at most half of the normal week''s; medium: at most three quarters; else low; null for who is not known long enough. Less than the normal counts only if it is below every week before, and by more than chance';
COMMENT ON COLUMN meter.tenant_health.reasons IS
'what points were taken for, most first: reason (errors, latency, refused, rejected, violations, usage), points, value and a message for people';
COMMENT ON COLUMN meter.tenant_health.requests IS 'requests (metric api_requests) of the last 7 days';
COMMENT ON COLUMN meter.tenant_health.error_rate IS
'of the requests that were not refused, those that failed in percent; null for less than 20';
COMMENT ON COLUMN meter.tenant_health.refused_rate IS 'requests that were refused (429) in percent; null for less than 20 requests';
COMMENT ON COLUMN meter.tenant_health.latency_p95 IS
'95th percentile of the requests'' latencies in milliseconds; null for less than 20 latencies';
COMMENT ON COLUMN meter.tenant_health.rejected IS 'events of the last 7 days in meter.rejected_event';
COMMENT ON COLUMN meter.tenant_health.violations IS
'rows of the last 7 days in meter.isolation_violation of sessions that worked for the tenant';
COMMENT ON COLUMN meter.tenant_health.week_events IS 'events of counters of the last 7 days';
COMMENT ON COLUMN meter.tenant_health.normal_events IS
'median of the four weeks before, or of those since it is first seen; the first of these only if it is seen on its first day, or if there is no other; null if it is not seen before';
COMMENT ON COLUMN meter.tenant_health.change_percent IS 'the last 7 days against that, in percent';
COMMENT ON COLUMN meter.tenant_health.last_event_at IS 'time of the last event of a counter in 35 days';

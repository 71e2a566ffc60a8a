-- signal.sql: what alerts measure

CREATE FUNCTION meter.alert_measure(at timestamptz)
RETURNS TABLE (rule text, tenant text, service text, value numeric, detail jsonb)
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT r.rule, e.tenant, NULL::text, count(*)::numeric, NULL::jsonb
	FROM meter.alert_rule AS r
	JOIN meter.rejected_event AS e ON e.rejected_at > alert_measure.at - r."window" AND e.rejected_at <= alert_measure.at
		AND (r.tenant IS NULL OR e.tenant = r.tenant)
	WHERE r.enabled AND r.signal = 'rejected_events'
	GROUP BY r.rule, e.tenant
	UNION ALL
	SELECT r.rule, v.tenant, NULL, count(*), NULL
	FROM meter.alert_rule AS r
	JOIN meter.isolation_violation AS v ON v.at > alert_measure.at - r."window" AND v.at <= alert_measure.at
		AND (r.tenant IS NULL OR v.tenant = r.tenant)
	WHERE r.enabled AND r.signal = 'isolation_violation'
	GROUP BY r.rule, v.tenant
	UNION ALL
	SELECT r.rule, u.tenant, u.service, round(100.0 * sum(u.errors) / sum(u.events), 2),
		jsonb_build_object('events', sum(u.events), 'errors', sum(u.errors))
	FROM meter.alert_rule AS r
	JOIN meter.usage_hourly AS u ON u.hour > date_trunc('hour', alert_measure.at, 'UTC') - r."window"
		AND u.hour <= alert_measure.at AND u.metric = 'api_requests'
		AND (r.tenant IS NULL OR u.tenant = r.tenant) AND (r.service IS NULL OR u.service = r.service)
	WHERE r.enabled AND r.signal = 'error_rate'
	GROUP BY r.rule, r.min_events, u.tenant, u.service
	HAVING sum(u.events) >= GREATEST(r.min_events, 1);
END;
COMMENT ON FUNCTION meter.alert_measure(timestamptz) IS
'The value of each enabled rule of meter.alert_rule for each tenant and service that it is about, as of an instant; none: there are no data';

INSERT INTO meter.alert_rule (rule, signal, severity, threshold, "window", min_events, description) VALUES
	('error rate', 'error_rate', 'warning', 5, '1 hour', 100, 'more than 5 % of a service''s requests fail'),
	('error rate critical', 'error_rate', 'critical', 10, '1 hour', 100, 'more than 10 % of a service''s requests fail'),
	('rejected events', 'rejected_events', 'warning', 10, '1 hour', 0, 'events of a tenant are refused'),
	('isolation violation', 'isolation_violation', 'critical', 1, '5 minutes', 0, 'somebody has tried to reach what is another tenant''s');

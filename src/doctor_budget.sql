-- doctor_budget.sql: budgets without data, and alerts that nobody gets

CREATE FUNCTION meter.doctor_budget() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH silent AS MATERIALIZED (
		SELECT b.* FROM meter.budget AS b
		WHERE b.basis = 'cost' AND b.created_at < now() - interval '1 day'
			AND NOT EXISTS (SELECT FROM meter.budget_spend AS s WHERE s.budget_id = b.budget_id AND s.spent > 0)
	)
	SELECT 'budget_no_data', NULL, format('budget %s', concat_ws(' on ', s.tenant, s.service)),
		'There is usage' || COALESCE(' of tenant "' || s.tenant || '"', '') || COALESCE(' of service "' || s.service || '"', '')
			|| ', and no event of it carries a cost.',
		CASE WHEN s.tenant IS NOT NULL AND s.service IS NULL AND s.period = 'month'
			THEN E'-- or pass cost to meter_track(); by prices:\n'
				|| format('UPDATE meter.budget SET basis = ''charge'' WHERE budget_id = %L;', s.budget_id)
			ELSE E'-- or pass cost to meter_track()\n' || format('DELETE FROM meter.budget WHERE budget_id = %L;', s.budget_id) END
	FROM silent AS s
	-- of a tenant by an index, of a service alone by reading on until there is some
	WHERE CASE WHEN s.tenant IS NOT NULL
		THEN EXISTS (
			SELECT FROM meter.usage_hourly AS u
			WHERE u.tenant = s.tenant AND u.hour >= date_trunc('hour', now()) - interval '31 days'
				AND (s.service IS NULL OR u.service = s.service))
		ELSE EXISTS (
			SELECT FROM meter.usage_hourly AS u
			WHERE u.service = s.service AND u.hour >= date_trunc('hour', now()) - interval '31 days') END
	UNION ALL
	SELECT 'budget_error', NULL, format('budget %s', concat_ws(' on ', b.tenant, b.service)),
		format('Its charges could not be reckoned: %s', p.error),
		E'-- when that is mended\n' || format('INSERT INTO meter.budget_stale (tenant) VALUES (%L);', b.tenant)
			|| E'\nSELECT @extschema@.meter_refresh_budgets();'
	FROM meter.budget_period AS p
	JOIN meter.budget AS b ON b.budget_id = p.budget_id
	WHERE p.error IS NOT NULL AND p.period_to > now()
$$;
COMMENT ON FUNCTION meter.doctor_budget() IS
'Part of meter_doctor(): budgets of which nothing is known';

CREATE FUNCTION meter.doctor_alert() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
	-- without events nothing needs to be evaluated
	SELECT 'alert_evaluation', NULL, 'meter_evaluate_alerts()',
		COALESCE('Alerts were last evaluated at ' || to_char(e.evaluated_at, 'YYYY-MM-DD HH24:MI "UTC"') || ', and there was usage since.',
			'Alerts were never evaluated.'),
		'SELECT * FROM @extschema@.meter_evaluate_alerts();'
	FROM (SELECT min(u.since) AS since FROM meter.in_use AS u) AS u
	LEFT JOIN meter.alert_evaluation AS e ON true
	WHERE GREATEST(u.since, e.evaluated_at) < now() - interval '3 hours'
		AND EXISTS (SELECT FROM meter.alert_rule AS r WHERE r.enabled)
		AND EXISTS (
			SELECT FROM meter.usage_hourly AS h
			WHERE h.hour >= GREATEST(u.since, e.evaluated_at) AND h.hour < date_trunc('hour', now()) - interval '1 hour')
	UNION ALL
	SELECT 'alert_rule_off', NULL, format('alert_rule %s', r.rule), format('There is no alert for: %s', COALESCE(r.description, r.signal)),
		format('UPDATE meter.alert_rule SET enabled = true WHERE rule = %L;', r.rule)
	FROM meter.alert_rule AS r
	WHERE NOT r.enabled
	UNION ALL
	SELECT 'alert_rule_mute', NULL, format('alert_rule %s', r.rule),
		CASE WHEN r.signal = 'burn_rate' THEN format('No objective in meter.slo is for %s.',
				concat_ws(' and ', 'tenant "' || r.tenant || '"', 'service "' || r.service || '"'))
			WHEN r.signal = 'pipeline_lag' THEN 'The signal pipeline_lag is of the whole database, and the rule is for a tenant or service.'
			WHEN r.signal = 'gauge_level' THEN format('The signal gauge_level is of gauges, and "%s" is none.', r.params ->> 'metric')
			ELSE format('The signal %s is not by service, and the rule is for service "%s".', r.signal, r.service) END,
		CASE WHEN r.signal = 'pipeline_lag' THEN format('UPDATE meter.alert_rule SET tenant = NULL, service = NULL WHERE rule = %L;', r.rule)
			WHEN r.signal = ANY (ARRAY['burn_rate', 'gauge_level']) THEN format('DELETE FROM meter.alert_rule WHERE rule = %L;', r.rule)
			ELSE format('UPDATE meter.alert_rule SET service = NULL WHERE rule = %L;', r.rule) END
	FROM meter.alert_rule AS r
	WHERE r.enabled AND CASE
		WHEN r.signal = 'pipeline_lag' THEN num_nonnulls(r.tenant, r.service) > 0
		WHEN r.signal = ANY (ARRAY['quota', 'storage_growth', 'rejected_events', 'isolation_violation']) THEN r.service IS NOT NULL
		WHEN r.signal = 'gauge_level' THEN EXISTS (
			SELECT FROM meter.metric AS m WHERE m.metric = r.params ->> 'metric' AND m.kind <> 'gauge')
		WHEN r.signal = 'burn_rate' THEN num_nonnulls(r.tenant, r.service) > 0 AND NOT EXISTS (
			SELECT FROM meter.slo AS o
			WHERE (o.tenant = r.tenant OR r.tenant IS NULL OR o.tenant IS NULL)
				AND (o.service = r.service OR r.service IS NULL OR o.service IS NULL)) END
$$;
COMMENT ON FUNCTION meter.doctor_alert() IS
'Part of meter_doctor(): alerts that are not evaluated, are off, or can never be';

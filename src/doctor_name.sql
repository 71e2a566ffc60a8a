-- doctor_name.sql: names in the configuration that nobody has, as if misspelt, or
-- that are not of what they are taken for

CREATE FUNCTION meter.doctor_name() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH named AS MATERIALIZED (
		SELECT 'rate_limit' AS relation, format('id = %s', r.id) AS key, r.id::text AS name, r.tenant, NULL::text AS service,
			-- that is where the counter of a window begins; of requests of the API it may be before the first one
			CASE WHEN r.kind = 'window' THEN NULLIF(r.metric, 'api_requests') END AS metric, '{}'::jsonb AS dims,
			-- the kind that the metric has to be of, and why
			NULL::text AS kind, NULL::text AS aggregation, NULL::text AS model
		FROM meter.rate_limit AS r
		UNION ALL
		SELECT 'price', format('price_id = %L', p.price_id), p.price, p.tenant, NULL, NULLIF(p.metric, 'api_requests'), p.dims,
			meter.aggregation_kind(p.aggregation, p.model), p.aggregation, p.model
		FROM meter.price AS p
		UNION ALL
		SELECT 'budget', format('budget_id = %L', b.budget_id), concat_ws(' on ', b.tenant, b.service), b.tenant, b.service, NULL, '{}', NULL, NULL, NULL
		FROM meter.budget AS b
		UNION ALL
		SELECT 'alert_rule', format('rule = %L', r.rule), r.rule, r.tenant, r.service,
			NULLIF(r.params ->> 'metric', 'api_requests'), COALESCE(r.params -> 'dims', '{}'),
			CASE r.signal WHEN 'gauge_level' THEN 'gauge' END, NULL, NULL
		FROM meter.alert_rule AS r
		WHERE r.enabled
		UNION ALL
		SELECT 'slo', format('slo = %L', o.slo), o.slo, o.tenant, o.service, NULL, '{}', NULL, NULL, NULL
		FROM meter.slo AS o
		UNION ALL
		SELECT 'gauge_limit', format('gauge_limit_id = %L', g.gauge_limit_id), g.metric, m.tenant, NULL, m.metric, '{}', 'gauge', NULL, NULL
		FROM meter.gauge_limit AS g
		CROSS JOIN LATERAL (VALUES (g.metric, g.tenant), (g.max_metric, NULL)) AS m(metric, tenant)
		WHERE m.metric IS NOT NULL
		UNION ALL
		SELECT 'outbox_meter', format('event_name = %L', m.event_name), m.event_name, NULL, NULL, NULLIF(m.metric, 'api_requests'), m.dims,
			meter.aggregation_kind(m.aggregation), m.aggregation, NULL
		FROM meter.outbox_meter AS m
		WHERE m.enabled
		UNION ALL
		SELECT 'cost_rate', format('(component, metric, dims, aggregation, valid_from) = (%L, %L, %L, %L, %L)',
				c.component, c.metric, c.dims, c.aggregation, c.valid_from), c.component, NULL, NULL, NULLIF(c.metric, 'api_requests'), c.dims,
			meter.aggregation_kind(c.aggregation), c.aggregation, NULL
		FROM meter.cost_rate AS c
	), tenant AS MATERIALIZED (
		SELECT n.tenant FROM (SELECT DISTINCT n.tenant FROM named AS n WHERE n.tenant IS NOT NULL) AS n
		WHERE NOT EXISTS (SELECT FROM meter.tenant AS t WHERE t.tenant = n.tenant)
			AND NOT EXISTS (SELECT FROM meter.usage_hourly AS u WHERE u.tenant = n.tenant)
	), metric AS MATERIALIZED (
		SELECT m.metric, m.dimensions FROM meter.metric AS m
		UNION ALL
		SELECT b.metric, b.dimensions FROM meter.builtin_metric AS b
		WHERE NOT EXISTS (SELECT FROM meter.metric AS m WHERE m.metric = b.metric)
	), used AS MATERIALIZED (
		-- one look at all usage of a month, if there is any name to look for
		SELECT DISTINCT u.metric, u.service FROM meter.usage_hourly AS u
		WHERE u.hour >= (SELECT date_trunc('hour', now()) - interval '31 days')
	), since AS MATERIALIZED (
		SELECT COALESCE(min(u.since) < now() - interval '1 day', false) AS long FROM meter.in_use AS u
	)
	SELECT 'unknown_tenant', NULL, format('%s %s', n.relation, n.name),
		format('There is no tenant "%s": neither in meter.tenant, nor with any usage.', n.tenant),
		format('DELETE FROM meter.%s WHERE %s;', n.relation, n.key)
	FROM named AS n
	JOIN tenant AS t ON t.tenant = n.tenant
	UNION ALL
	SELECT 'unknown_service', NULL, format('%s %s', n.relation, n.name),
		format('There was no usage of a service "%s" for 31 days.', n.service),
		format('DELETE FROM meter.%s WHERE %s;', n.relation, n.key)
	FROM named AS n
	WHERE n.service IS NOT NULL AND (SELECT s.long FROM since AS s)
		AND NOT EXISTS (SELECT FROM used AS u WHERE u.service = n.service)
	UNION ALL
	SELECT 'unknown_metric', NULL, format('%s %s', n.relation, n.name), format('There is no metric "%s".', n.metric),
		format(E'-- or, if it is misspelt: UPDATE meter.%s SET %s = ... WHERE %s;\n',
				n.relation, CASE WHEN n.relation = 'alert_rule' THEN 'params'
					-- which is named for its metric
					WHEN n.relation = 'gauge_limit' AND n.metric <> n.name THEN 'max_metric' ELSE 'metric' END, n.key)
			-- as a counter it would register itself
			|| CASE WHEN EXISTS (SELECT FROM named AS o WHERE o.metric = n.metric AND o.kind = 'gauge')
				THEN format('INSERT INTO meter.metric (metric, kind) VALUES (%L, ''gauge'') ON CONFLICT DO NOTHING;', n.metric)
				ELSE format('INSERT INTO meter.metric (metric) VALUES (%L) ON CONFLICT DO NOTHING;', n.metric) END
	FROM named AS n
	WHERE n.metric IS NOT NULL AND NOT EXISTS (SELECT FROM metric AS m WHERE m.metric = n.metric)
	UNION ALL
	SELECT 'unused_metric', NULL, format('price %s', p.price), format('There was no usage of metric "%s" for 31 days.', p.metric),
		format('UPDATE meter.price SET valid_to = CURRENT_DATE WHERE price_id = %L;', p.price_id)
	FROM meter.price AS p
	JOIN metric AS m ON m.metric = p.metric
	WHERE p.model <> 'flat' AND (SELECT s.long FROM since AS s)
		AND p.valid_from < now()::date - 31 AND COALESCE(p.valid_to > now()::date, true)
		AND NOT EXISTS (SELECT FROM used AS u WHERE u.metric = p.metric)
	UNION ALL
	SELECT 'unknown_dimension', NULL, format('%s %s', n.relation, n.name),
		format('Metric "%s" has no dimension %s.', n.metric, string_agg(format('"%s"', k.dim), ', ' ORDER BY k.dim)),
		format('UPDATE meter.metric SET dimensions = dimensions || %L::text[] WHERE metric = %L;', array_agg(k.dim ORDER BY k.dim), n.metric)
	FROM (
		SELECT n.relation, n.key, n.name, COALESCE(n.metric, 'api_requests') AS metric, n.dims FROM named AS n
		WHERE n.dims <> '{}'
	) AS n
	JOIN meter.metric AS m ON m.metric = n.metric
	CROSS JOIN LATERAL jsonb_object_keys(n.dims) AS k(dim)
	WHERE k.dim <> ALL (m.dimensions)
	GROUP BY n.relation, n.key, n.name, n.metric
	UNION ALL
	SELECT 'metric_kind', NULL, format('%s %s', n.relation, n.name),
		CASE n.kind WHEN 'gauge' THEN format('Metric "%s" is a counter, and so has no levels: the row finds nothing.', n.metric)
			ELSE format('Metric "%s" is a gauge: the %s of its samples depends on how often they are sent.', n.metric, n.aggregation) END,
		CASE
			WHEN n.kind = 'gauge' AND NOT n.counts THEN
				E'-- or, if it is no level that is sent, take another metric or aggregation\n'
				'-- hours that are rolled up have no levels even then, and are billed as none, until all totals are computed anew: see "Starting again" in doc/rollup.md\n'
				|| format('UPDATE meter.metric SET kind = ''gauge'' WHERE metric = %L;', n.metric)
			WHEN n.kind = 'gauge' AND n.relation IN ('price', 'cost_rate') THEN
				E'-- or take another metric, which is a gauge; what this one counts is counted by others, too\n'
				|| format('UPDATE meter.%s SET aggregation = ''sum'' WHERE %s;', n.relation, n.key)
			WHEN n.relation = 'price' AND n.model <> 'percentage' THEN
				E'-- or time_weighted, for unit-hours, max, or percentile\n'
				|| format('UPDATE meter.price SET aggregation = ''weighted_avg'' WHERE %s;', n.key)
			WHEN n.relation = 'cost_rate' THEN
				E'-- its unit, divisor and rate have to be those of unit-hours\n'
				|| format('UPDATE meter.cost_rate SET aggregation = ''unit_hours'' WHERE %s;', n.key)
			WHEN n.relation = 'outbox_meter' THEN format('UPDATE meter.outbox_meter SET enabled = false WHERE %s;', n.key)
			ELSE format('DELETE FROM meter.%s WHERE %s;', n.relation, n.key)
		END
	FROM (
		SELECT n.*, EXISTS (SELECT FROM meter.builtin_metric AS b WHERE b.metric = n.metric) OR n.metric = 'api_requests'
				OR EXISTS (SELECT FROM named AS o WHERE o.metric = n.metric AND o.kind = 'counter') AS counts
		FROM (
			SELECT n.relation, n.key, n.name, COALESCE(n.metric, 'api_requests') AS metric, n.kind, n.aggregation, n.model
			FROM named AS n
			-- those that cannot fire are alert_rule_mute
			WHERE n.kind IS NOT NULL AND n.relation <> 'alert_rule'
		) AS n
	) AS n
	JOIN meter.metric AS m ON m.metric = n.metric
	WHERE m.kind <> n.kind
$$;
COMMENT ON FUNCTION meter.doctor_name() IS
'Part of meter_doctor(): tenants, services, metrics and dimensions that the configuration names and that are not there, and metrics that are of another kind';

-- openmetrics_text.sql: meter_metrics(), the text that is scraped
--
-- As OpenMetrics 1.0 has it: metrics of a family together, with their type, unit
-- and help before them; counters are samples with _total, and the last line is
-- "# EOF".

CREATE VIEW meter.openmetrics_family AS
SELECT f.place, f.family, f.type, f.unit, f.help
FROM (VALUES
	(1, 'meter_build_info', 'gauge', NULL, 'Version of the extension and of the server'),
	(2, 'meter_requests', 'counter', NULL, 'Requests by tenant and service'),
	(3, 'meter_errors', 'counter', NULL, 'Requests that were errors of the client, refused (429) or errors of the server'),
	(4, 'meter_cost', 'counter', NULL, 'Cost that events carried, by tenant and service'),
	(5, 'meter_usage', 'counter', NULL, 'Quantities of each metric by tenant, in the unit of the metric'),
	(6, 'meter_level_current', 'gauge', NULL, 'Levels of gauges by tenant and service, in the unit of the metric'),
	(7, 'meter_endpoint_requests', 'counter', NULL, 'Requests by endpoint'),
	(8, 'meter_endpoint_errors', 'counter', NULL, 'Requests by endpoint that were errors of the client, refused (429) or errors of the server'),
	(9, 'meter_endpoint_cost', 'counter', NULL, 'Cost that events carried, by endpoint'),
	(10, 'meter_endpoint_duration_seconds', 'histogram', 'seconds', 'Latency of requests by endpoint'),
	(11, 'meter_llm_requests', 'counter', NULL, 'Calls of language models'),
	(12, 'meter_llm_errors', 'counter', NULL, 'Calls of language models that were errors'),
	(13, 'meter_llm_cost', 'counter', NULL, 'Cost of calls of language models'),
	(14, 'meter_llm_tokens', 'counter', NULL, 'Tokens of language models by type'),
	(15, 'meter_llm_duration_seconds', 'histogram', 'seconds', 'Latency of calls of language models'),
	(16, 'meter_limit_allowed', 'counter', NULL, 'Calls that a limit let through'),
	(17, 'meter_limit_refused', 'counter', NULL, 'Calls that a limit refused'),
	(18, 'meter_limiter_blocks', 'gauge', NULL, 'Blocks of memory for limits'),
	(19, 'meter_limiter_free_blocks', 'gauge', NULL, 'Blocks of memory for limits that are free'),
	(20, 'meter_limiter_evicted', 'counter', NULL, 'Idle tenants and users that have made room for others'),
	(21, 'meter_limiter_unmetered', 'counter', NULL, 'Calls let through uncounted as there was no room'),
	(22, 'meter_limiter_refused_full', 'counter', NULL, 'Calls refused as there was no room'),
	(23, 'meter_limiter_untracked', 'counter', NULL, 'Refused calls that got into no log'),
	(24, 'meter_budget_amount', 'gauge', NULL, 'Amount of a budget'),
	(25, 'meter_budget_spent', 'gauge', NULL, 'What is spent of a budget in its current period'),
	(26, 'meter_budget_used_ratio', 'gauge', 'ratio', 'Part of a budget that is spent'),
	(27, 'meter_budgets_in_state', 'gauge', NULL, 'Budgets by state'),
	(28, 'meter_alerts_firing', 'gauge', NULL, 'Alerts that fire'),
	(29, 'meter_health_state', 'gauge', NULL, 'Checks of the health: 0 healthy, 1 degraded, 2 unhealthy'),
	(30, 'meter_tenants_in_status', 'gauge', NULL, 'Tenants by status'),
	(31, 'meter_pipeline_queued', 'counter', NULL, 'Events put into the queue'),
	(32, 'meter_pipeline_flushed', 'counter', NULL, 'Events appended to the log'),
	(33, 'meter_pipeline_duplicates', 'counter', NULL, 'Repeats of idempotency keys that a flush dropped'),
	(34, 'meter_pipeline_rejected', 'counter', NULL, 'Events that a flush refused'),
	(35, 'meter_pipeline_fallbacks', 'counter', NULL, 'Events put into the inbox as the queue was full'),
	(36, 'meter_pipeline_deferred', 'counter', NULL, 'Queued events that had to go through the inbox'),
	(37, 'meter_pipeline_ignored', 'counter', NULL, 'Events not tracked because of meter.ignore_endpoints'),
	(38, 'meter_pipeline_discarded', 'counter', NULL, 'Queued events discarded as the extension had been dropped'),
	(39, 'meter_pipeline_lost_bytes', 'counter', 'bytes', 'Bytes of the queue found damaged'),
	(40, 'meter_pipeline_flushes', 'counter', NULL, 'Flushes'),
	(41, 'meter_pipeline_rollups', 'counter', NULL, 'Rollups by the background worker'),
	(42, 'meter_pipeline_errors', 'counter', NULL, 'Errors of the background worker'),
	(43, 'meter_isolation_violations', 'counter', NULL, 'Violations of the isolation of tenants'),
	(44, 'meter_pipeline_queue_bytes', 'gauge', 'bytes', 'Bytes of the queue in use'),
	(45, 'meter_pipeline_queue_capacity_bytes', 'gauge', 'bytes', 'Bytes that the queue can hold'),
	(46, 'meter_pipeline_flush_lag_seconds', 'gauge', 'seconds', 'Age of the oldest event that waits for the log'),
	(47, 'meter_pipeline_rollup_lag_seconds', 'gauge', 'seconds', 'Age of the oldest event that is not rolled up'),
	(48, 'meter_pipeline_rollup_behind_events', 'gauge', NULL, 'Events of the log that are not rolled up'),
	(49, 'meter_pipeline_flushed_timestamp_seconds', 'gauge', 'seconds', 'When the last flush committed'),
	(50, 'meter_pipeline_rolled_up_timestamp_seconds', 'gauge', 'seconds', 'When events were rolled up last')
) AS f (place, family, type, unit, help);
COMMENT ON VIEW meter.openmetrics_family IS
'The families of metrics that meter_metrics() tells of, in its order, with type, unit and help as OpenMetrics has them';

CREATE FUNCTION meter.openmetrics_histogram(bounds double precision[], buckets bigint[], sum double precision, count bigint)
RETURNS TABLE (suffix text, le text, part integer, value text)
LANGUAGE SQL IMMUTABLE PARALLEL SAFE ROWS 16
BEGIN ATOMIC
	SELECT '_bucket', CASE WHEN b.bound = trunc(b.bound) THEN b.bound::text || '.0' ELSE b.bound::text END,
		b.part::integer, b.count::text
	FROM unnest(openmetrics_histogram.bounds, openmetrics_histogram.buckets) WITH ORDINALITY AS b (bound, count, part)
	UNION ALL
	SELECT '_bucket', '+Inf', 1000, openmetrics_histogram.count::text
	UNION ALL
	SELECT '_count', NULL, 1001, openmetrics_histogram.count::text
	UNION ALL
	SELECT '_sum', NULL, 1002, openmetrics_histogram.sum::text;
END;
COMMENT ON FUNCTION meter.openmetrics_histogram(double precision[], bigint[], double precision, bigint) IS
'Part of meter.openmetrics_sample: the samples of a histogram';

-- The older text format, which some collectors still read, would have no type
-- info: so meter_build_info is a gauge.
CREATE VIEW meter.openmetrics_sample AS
SELECT s.family, s.suffix, s.labels, s.le, s.part, s.value
FROM (
	SELECT v.family, v.suffix, ARRAY['tenant', r.tenant, 'service', r.service] AS labels, NULL::text AS le, 0 AS part, v.value::text AS value
	FROM meter.openmetrics_service AS r
	CROSS JOIN LATERAL (VALUES ('meter_requests', '_total', r.requests::numeric),
		('meter_cost', '_total', trim_scale(r.cost))) AS v (family, suffix, value)
	UNION ALL
	SELECT 'meter_errors', '_total', ARRAY['tenant', r.tenant, 'service', r.service, 'reason', r.reason], NULL, 0, r.errors::text
	FROM meter.openmetrics_service_error AS r
	UNION ALL
	SELECT 'meter_usage', '_total', ARRAY['tenant', r.tenant, 'metric', r.metric], NULL, 0, trim_scale(r.quantity)::text
	FROM meter.openmetrics_usage AS r
	UNION ALL
	SELECT 'meter_level_current', '', ARRAY['tenant', r.tenant, 'service', r.service, 'metric', r.metric], NULL, 0,
		trim_scale(r.level)::text
	FROM meter.openmetrics_level AS r
	UNION ALL
	SELECT v.family, v.suffix, ARRAY['service', r.service, 'endpoint', r.endpoint, 'method', r.method], v.le, v.part, v.value
	FROM meter.openmetrics_endpoint AS r
	CROSS JOIN LATERAL (
		VALUES ('meter_endpoint_requests', '_total', NULL::text, 0, r.requests::text),
			('meter_endpoint_cost', '_total', NULL, 0, trim_scale(r.cost)::text)
		UNION ALL
		SELECT 'meter_endpoint_duration_seconds', h.suffix, h.le, h.part, h.value
		FROM meter.openmetrics_histogram(r.duration_seconds, r.duration_seconds_bucket,
			r.duration_seconds_sum, r.duration_seconds_count) AS h
	) AS v (family, suffix, le, part, value)
	UNION ALL
	SELECT 'meter_endpoint_errors', '_total',
		ARRAY['service', r.service, 'endpoint', r.endpoint, 'method', r.method, 'reason', r.reason], NULL, 0, r.errors::text
	FROM meter.openmetrics_endpoint_error AS r
	UNION ALL
	SELECT v.family, v.suffix, ARRAY['provider', r.provider, 'model', r.model], v.le, v.part, v.value
	FROM meter.openmetrics_model AS r
	CROSS JOIN LATERAL (
		VALUES ('meter_llm_requests', '_total', NULL::text, 0, r.requests::text),
			('meter_llm_errors', '_total', NULL, 0, r.errors::text),
			('meter_llm_cost', '_total', NULL, 0, trim_scale(r.cost)::text)
		UNION ALL
		SELECT 'meter_llm_duration_seconds', h.suffix, h.le, h.part, h.value
		FROM meter.openmetrics_histogram(r.duration_seconds, r.duration_seconds_bucket,
			r.duration_seconds_sum, r.duration_seconds_count) AS h
	) AS v (family, suffix, le, part, value)
	UNION ALL
	SELECT 'meter_llm_tokens', '_total', ARRAY['provider', r.provider, 'model', r.model, 'type', r.type], NULL, 0,
		trim_scale(r.tokens)::text
	FROM meter.openmetrics_model_token AS r
	UNION ALL
	SELECT v.family, '_total', ARRAY['rule', r.rule, 'tenant', r.tenant, 'plan', r.plan, 'resource', r.resource, 'per', r.per],
		NULL, 0, v.value::text
	FROM meter.openmetrics_limit AS r
	CROSS JOIN LATERAL (VALUES ('meter_limit_allowed', r.allowed), ('meter_limit_refused', r.refused)) AS v (family, value)
	UNION ALL
	SELECT v.family, v.suffix, '{}', NULL, 0, v.value::text
	FROM meter.openmetrics_limiter AS r
	CROSS JOIN LATERAL (VALUES ('meter_limiter_blocks', '', r.blocks), ('meter_limiter_free_blocks', '', r.free_blocks),
		('meter_limiter_evicted', '_total', r.evicted), ('meter_limiter_unmetered', '_total', r.unmetered),
		('meter_limiter_refused_full', '_total', r.refused_full),
		('meter_limiter_untracked', '_total', r.untracked)) AS v (family, suffix, value)
	UNION ALL
	SELECT v.family, '', ARRAY['budget', r.budget, 'tenant', r.tenant, 'service', r.service, 'period', r.period,
		'currency', r.currency], NULL, 0, trim_scale(v.value)::text
	FROM meter.openmetrics_budget AS r
	CROSS JOIN LATERAL (VALUES ('meter_budget_amount', r.amount), ('meter_budget_spent', r.spent),
		('meter_budget_used_ratio', r.used_ratio)) AS v (family, value)
	UNION ALL
	SELECT 'meter_budgets_in_state', '', ARRAY['state', r.state], NULL, 0, r.budgets::text
	FROM meter.openmetrics_budget_state AS r
	UNION ALL
	SELECT 'meter_alerts_firing', '', ARRAY['rule', r.rule, 'severity', r.severity], NULL, 0, r.alerts::text
	FROM meter.openmetrics_alert AS r
	UNION ALL
	SELECT 'meter_health_state', '', ARRAY['check', r."check"], NULL, 0, r.state::text
	FROM meter.openmetrics_health AS r
	UNION ALL
	SELECT 'meter_tenants_in_status', '', ARRAY['status', r.status], NULL, 0, r.tenants::text
	FROM meter.openmetrics_tenant AS r
	UNION ALL
	SELECT v.family, v.suffix, '{}', NULL, 0, trim_scale(v.value)::text
	FROM meter.openmetrics_pipeline AS r
	CROSS JOIN LATERAL (VALUES ('meter_pipeline_queued', '_total', r.queued::numeric),
		('meter_pipeline_flushed', '_total', r.flushed), ('meter_pipeline_duplicates', '_total', r.duplicates),
		('meter_pipeline_rejected', '_total', r.rejected), ('meter_pipeline_fallbacks', '_total', r.fallbacks),
		('meter_pipeline_deferred', '_total', r.deferred), ('meter_pipeline_ignored', '_total', r.ignored),
		('meter_pipeline_discarded', '_total', r.discarded), ('meter_pipeline_lost_bytes', '_total', r.lost_bytes),
		('meter_pipeline_flushes', '_total', r.flushes), ('meter_pipeline_rollups', '_total', r.rollups),
		('meter_pipeline_errors', '_total', r.errors), ('meter_isolation_violations', '_total', r.violations),
		('meter_pipeline_queue_bytes', '', r.queue_bytes),
		('meter_pipeline_queue_capacity_bytes', '', r.queue_capacity_bytes),
		('meter_pipeline_flush_lag_seconds', '', r.flush_lag_seconds),
		('meter_pipeline_rollup_lag_seconds', '', r.rollup_lag_seconds),
		('meter_pipeline_rollup_behind_events', '', r.rollup_behind_events),
		('meter_pipeline_flushed_timestamp_seconds', '', r.flushed_timestamp_seconds),
		('meter_pipeline_rolled_up_timestamp_seconds', '', r.rolled_up_timestamp_seconds)
	) AS v (family, suffix, value)
	UNION ALL
	SELECT 'meter_build_info', '', ARRAY['version', r.version, 'server_version', r.server_version], NULL, 0, r.info::text
	FROM meter.openmetrics_info AS r
) AS s
WHERE s.value IS NOT NULL;
COMMENT ON VIEW meter.openmetrics_sample IS
'The samples of meter_metrics(): family of meter.openmetrics_family, what the name of the sample has behind it, names and values of the labels in turn, upper bound of a bucket, place in a histogram, and value';

CREATE FUNCTION meter.openmetrics_labels(labels text[]) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
-- an empty value is the same as no label
RETURN (SELECT '{' || string_agg(labels[i] || '="'
		|| replace(replace(replace(labels[i + 1], '\', '\\'), '"', '\"'), E'\n', '\n') || '"', ',' ORDER BY i) || '}'
	FROM generate_series(1, cardinality(labels), 2) AS i
	WHERE labels[i + 1] <> '');
COMMENT ON FUNCTION meter.openmetrics_labels(text[]) IS
'Labels, names and values in turn, as OpenMetrics has them; null if there are none';

CREATE FUNCTION meter.openmetrics_text() RETURNS text
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT COALESCE(string_agg(f.text, '' ORDER BY f.place), '') || E'# EOF\n'
	FROM (
		SELECT h.place, format(E'# TYPE %1$s %2$s\n%3$s# HELP %1$s %4$s\n', h.family, h.type,
			E'# UNIT ' || h.family || ' ' || h.unit || E'\n', h.help)
			|| string_agg(h.family || s.suffix || COALESCE(l.text, '') || ' ' || s.value || E'\n', ''
				ORDER BY s.labels COLLATE "C", s.part) AS text
		FROM meter.openmetrics_sample AS s
		JOIN meter.openmetrics_family AS h ON h.family = s.family
		CROSS JOIN LATERAL meter.openmetrics_labels(s.labels || CASE WHEN s.le IS NULL THEN '{}' ELSE ARRAY['le', s.le] END) AS l (text)
		GROUP BY h.place, h.family, h.type, h.unit, h.help
	) AS f;
END;
COMMENT ON FUNCTION meter.openmetrics_text() IS 'Part of meter_metrics(): the text';

CREATE FUNCTION @extschema@.meter_metrics() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET jit = off
SET extra_float_digits = 1
AS $$
BEGIN
	IF meter.visible_tenants() IS NOT NULL THEN
		RAISE EXCEPTION 'metrics are for those who see all tenants'
			USING ERRCODE = 'insufficient_privilege',
				HINT = 'Scrape with a role that meter_grant() gave the privileges of analyst or admin, without a tenant''s context.';
	END IF;
	RETURN meter.openmetrics_text();
END
$$;
COMMENT ON FUNCTION @extschema@.meter_metrics() IS
'All that a monitoring system is to scrape, in the text format of OpenMetrics 1.0: requests, errors, cost and usage by tenant and service, latency histograms, language models, limits, budgets, alerts, health and the pipeline. Counters move with meter_rollup(). Errors: 42501 for those who do not see all tenants';

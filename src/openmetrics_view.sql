-- openmetrics_view.sql: the rows that meter_metrics() and exporters tell of
--
-- One view for each set of labels; exporters for Prometheus query them, and
-- meter_metrics() makes text of them.  Times are in seconds here, as is the custom
-- there.

CREATE FUNCTION meter.openmetrics_bounds() RETURNS double precision[]
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN '{0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10,30,60}'::double precision[];
COMMENT ON FUNCTION meter.openmetrics_bounds() IS
'Upper bounds of the buckets of latency histograms, in seconds';

CREATE FUNCTION meter.openmetrics_buckets(latency @extschema@.meter_sketch) RETURNS bigint[]
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN COALESCE(@extschema@.meter_sketch_histogram(latency,
	'{5,10,25,50,100,250,500,1000,2500,5000,10000,30000,60000}'::double precision[]),
	'{0,0,0,0,0,0,0,0,0,0,0,0,0}'::bigint[]);
COMMENT ON FUNCTION meter.openmetrics_buckets(@extschema@.meter_sketch) IS
'For each bound of meter.openmetrics_bounds() how many latencies, in milliseconds, are not above it';

CREATE FUNCTION meter.openmetrics_label_sets() RETURNS integer
LANGUAGE SQL STABLE PARALLEL SAFE
-- a session that has not called meter yet does not know the parameter
RETURN COALESCE(NULLIF(current_setting('meter.max_label_sets', true), ''), '100')::integer;
COMMENT ON FUNCTION meter.openmetrics_label_sets() IS 'How many sets of labels of each kind monitoring is shown: meter.max_label_sets';

CREATE VIEW meter.openmetrics_service AS
SELECT t.labels[1] AS tenant, t.labels[2] AS service, t.calls AS requests, t.cost
FROM meter.openmetrics_total AS t
WHERE t.kind = 'service' AND t.shown;
COMMENT ON VIEW meter.openmetrics_service IS
'Counters by tenant and service: requests (metric api_requests) and cost (of all metrics). Those that are not among the busiest are added up in (other)';

CREATE VIEW meter.openmetrics_service_error AS
SELECT t.labels[1] AS tenant, t.labels[2] AS service, e.reason, e.errors
FROM meter.openmetrics_total AS t
CROSS JOIN LATERAL (VALUES ('client', t.errors_4xx), ('refused', t.errors_429), ('server', t.errors_5xx)) AS e (reason, errors)
WHERE t.kind = 'service' AND t.shown;
COMMENT ON VIEW meter.openmetrics_service_error IS
'Counters by tenant, service and reason: requests that were errors of the client (4xx), refused (429) or errors of the server (5xx, or no status but an error message)';

CREATE VIEW meter.openmetrics_usage AS
SELECT t.labels[1] AS tenant, t.labels[2] AS metric, t.quantity
FROM meter.openmetrics_total AS t
WHERE t.kind = 'usage' AND t.shown;
COMMENT ON VIEW meter.openmetrics_usage IS
'Counters by tenant and metric: quantities, in the unit of the metric. Gauges are left out, and batches in which a quantity is negative';

-- Levels of different metrics cannot be compared: so the highest of each come first.
CREATE VIEW meter.openmetrics_level AS
SELECT CASE WHEN p.shown THEN p.tenant ELSE '(other)' END AS tenant,
	CASE WHEN p.shown THEN p.service ELSE '(other)' END AS service, p.metric, sum(p.level) AS level
FROM (
	SELECT s.*, row_number() OVER (ORDER BY s.place, s.metric) <= meter.openmetrics_label_sets() AS shown
	FROM (
		SELECT g.tenant, COALESCE(g.service, '') AS service, g.metric, sum(g.level) AS level,
			row_number() OVER (PARTITION BY g.metric ORDER BY sum(g.level) DESC, g.tenant, g.service) AS place
		FROM meter.gauge_now AS g
		WHERE (SELECT meter.visible_tenants()) IS NULL
		GROUP BY g.tenant, g.service, g.metric
	) AS s
) AS p
GROUP BY 1, 2, p.metric;
COMMENT ON VIEW meter.openmetrics_level IS
'Levels of gauges by tenant, service and metric, those of all endpoints and dimensions added up, as meter.gauge_now has them';

CREATE VIEW meter.openmetrics_endpoint AS
SELECT t.labels[1] AS service, t.labels[2] AS endpoint, t.labels[3] AS method, t.calls AS requests, t.cost,
	meter.openmetrics_bounds() AS duration_seconds,
	meter.openmetrics_buckets(t.latency) AS duration_seconds_bucket,
	COALESCE(@extschema@.meter_sketch_sum(t.latency), 0) / 1000 AS duration_seconds_sum,
	COALESCE(@extschema@.meter_sketch_count(t.latency), 0) AS duration_seconds_count
FROM meter.openmetrics_total AS t
WHERE t.kind = 'endpoint' AND t.shown;
COMMENT ON VIEW meter.openmetrics_endpoint IS
'Counters by service, endpoint and method: requests (metric api_requests), cost (of all metrics), and the latencies of the requests as a histogram: upper bounds of its buckets in seconds, cumulative counts, sum and count';

CREATE VIEW meter.openmetrics_endpoint_error AS
SELECT t.labels[1] AS service, t.labels[2] AS endpoint, t.labels[3] AS method, e.reason, e.errors
FROM meter.openmetrics_total AS t
CROSS JOIN LATERAL (VALUES ('client', t.errors_4xx), ('refused', t.errors_429), ('server', t.errors_5xx)) AS e (reason, errors)
WHERE t.kind = 'endpoint' AND t.shown;
COMMENT ON VIEW meter.openmetrics_endpoint_error IS
'Counters by service, endpoint, method and reason, as those of meter.openmetrics_service_error';

CREATE VIEW meter.openmetrics_model AS
SELECT t.labels[1] AS provider, t.labels[2] AS model, t.calls AS requests,
	t.errors_4xx + t.errors_429 + t.errors_5xx AS errors, t.cost,
	meter.openmetrics_bounds() AS duration_seconds,
	meter.openmetrics_buckets(t.latency) AS duration_seconds_bucket,
	COALESCE(@extschema@.meter_sketch_sum(t.latency), 0) / 1000 AS duration_seconds_sum,
	COALESCE(@extschema@.meter_sketch_count(t.latency), 0) AS duration_seconds_count
FROM meter.openmetrics_total AS t
WHERE t.kind = 'model' AND t.shown;
COMMENT ON VIEW meter.openmetrics_model IS
'Counters by provider and model: calls of language models (meter_track_llm), those that were errors, cost, and latencies as in meter.openmetrics_endpoint';

CREATE VIEW meter.openmetrics_model_token AS
SELECT t.labels[1] AS provider, t.labels[2] AS model, k.type, k.tokens
FROM meter.openmetrics_total AS t
CROSS JOIN LATERAL (VALUES ('input', t.tokens_input), ('cached', t.tokens_cached),
	('cache_creation', t.tokens_cache_creation), ('output', t.tokens_output)) AS k (type, tokens)
WHERE t.kind = 'model' AND t.shown;
COMMENT ON VIEW meter.openmetrics_model_token IS
'Counters by provider, model and type of token (input, cached, cache_creation, output): tokens';

CREATE VIEW meter.openmetrics_limit AS
SELECT t.labels[1] AS rule, t.labels[2] AS tenant, t.labels[3] AS plan, t.labels[4] AS resource, t.labels[5] AS per,
	t.calls AS allowed, t.errors_429 AS refused
FROM meter.openmetrics_total AS t
WHERE t.kind = 'limit' AND t.shown;
COMMENT ON VIEW meter.openmetrics_limit IS
'Counters by rule (meter.rate_limit.id), its tenant or plan, resource and window: calls that it let through and that it refused, or would have as a shadow. Those of meter.rate_limit_status, as far as they are still there when events are rolled up';

-- What meter.budget_status says of amounts and states, by the periods that the
-- rollup has begun: to reckon the bounds of a thousand takes longer than all else.
CREATE VIEW meter.openmetrics_budget_used AS
SELECT b.budget_id, b.tenant, b.service, b.period, b.currency, b.amount, b.thresholds, COALESCE(u.spent, 0) AS spent
FROM meter.budget AS b
LEFT JOIN (
	SELECT m.budget_id, sum(m.spent) AS spent
	FROM (
		SELECT w.budget_id, max(w.period_from) AS period_from
		FROM meter.budget_period AS w
		WHERE w.period_from <= now() AND w.period_to > now()
		GROUP BY w.budget_id
	) AS c
	JOIN meter.budget_spend AS m ON m.budget_id = c.budget_id AND m.period_from = c.period_from
	GROUP BY m.budget_id
) AS u ON u.budget_id = b.budget_id
WHERE (SELECT meter.visible_tenants()) IS NULL;
COMMENT ON VIEW meter.openmetrics_budget_used IS
'Part of meter.openmetrics_budget: budgets, and what is spent of them in the current period, as of the last rollup';

CREATE VIEW meter.openmetrics_budget AS
SELECT b.budget_id::text AS budget, COALESCE(b.tenant, '') AS tenant, COALESCE(b.service, '') AS service,
	b.period, COALESCE(b.currency, '') AS currency, b.amount, b.spent, b.used_ratio
FROM (
	SELECT u.*, u.spent / u.amount AS used_ratio,
		row_number() OVER (ORDER BY u.spent / u.amount DESC, u.budget_id) AS place
	FROM meter.openmetrics_budget_used AS u
) AS b
WHERE b.place <= meter.openmetrics_label_sets();
COMMENT ON VIEW meter.openmetrics_budget IS
'By budget: its amount, what is spent of it in the current period, and that as a ratio. Of the budgets that are used most; meter.openmetrics_budget_state counts all';

CREATE VIEW meter.openmetrics_budget_state AS
SELECT k.state, CASE k.state WHEN 'ok' THEN c.all_of_them - c.warning - c.exceeded
	WHEN 'warning' THEN c.warning ELSE c.exceeded END AS budgets
FROM (VALUES ('ok'), ('warning'), ('exceeded')) AS k (state)
CROSS JOIN (
	SELECT count(*) AS all_of_them, count(*) FILTER (WHERE u.spent >= u.amount) AS exceeded,
		count(*) FILTER (WHERE u.spent < u.amount
			AND u.spent * 100 >= u.amount * u.thresholds[array_lower(u.thresholds, 1)]) AS warning
	FROM meter.openmetrics_budget_used AS u
) AS c
WHERE (SELECT meter.visible_tenants()) IS NULL;
COMMENT ON VIEW meter.openmetrics_budget_state IS
'How many budgets are ok, at a threshold (warning) and exceeded';

CREATE VIEW meter.openmetrics_alert AS
SELECT a.rule, a.severity, sum(a.alerts)::bigint AS alerts
FROM (
	SELECT CASE WHEN row_number() OVER (ORDER BY count(*) DESC, f.rule, f.severity) <= meter.openmetrics_label_sets()
			THEN f.rule ELSE '(other)' END AS rule,
		f.severity, count(*) AS alerts
	FROM meter.alert AS f
	WHERE f.state = 'firing'
	GROUP BY f.rule, f.severity
) AS a
WHERE (SELECT meter.visible_tenants()) IS NULL
GROUP BY a.rule, a.severity;
COMMENT ON VIEW meter.openmetrics_alert IS
'How many alerts fire now, by rule of meter.alert_rule and severity';

CREATE VIEW meter.openmetrics_pipeline AS
SELECT s.queued, s.flushed, s.duplicates, s.rejected, s.fallbacks, s.deferred, s.ignored, s.discarded, s.lost_bytes,
	s.flushes, s.rollups, s.errors, s.violations, s.queue_bytes, s.queue_capacity AS queue_capacity_bytes,
	extract(epoch FROM s.flush_lag) AS flush_lag_seconds,
	extract(epoch FROM s.rollup_lag) AS rollup_lag_seconds,
	s.rollup_behind AS rollup_behind_events,
	extract(epoch FROM s.flushed_at) AS flushed_timestamp_seconds,
	(SELECT extract(epoch FROM c.moved_at) FROM meter.consumer AS c WHERE c.name = 'rollup') AS rolled_up_timestamp_seconds
FROM meter.stats AS s
WHERE (SELECT meter.visible_tenants()) IS NULL;
COMMENT ON VIEW meter.openmetrics_pipeline IS
'One row: the counters of meter.stats, which begin anew when the server does, and what waits';

CREATE VIEW meter.openmetrics_limiter AS
SELECT s.blocks - s.blocks_used AS free_blocks, s.blocks, s.evicted, s.unmetered, s.refused_full, s.untracked
FROM meter.limit_stats AS s
WHERE (SELECT meter.visible_tenants()) IS NULL AND s.blocks IS NOT NULL;
COMMENT ON VIEW meter.openmetrics_limiter IS
'One row, if the server preloads meter: the memory of limits (meter.limit_stats), of all databases of the server';

CREATE VIEW meter.openmetrics_tenant AS
SELECT t.status, count(*) AS tenants
FROM meter.tenant AS t
WHERE (SELECT meter.visible_tenants()) IS NULL
GROUP BY t.status;
COMMENT ON VIEW meter.openmetrics_tenant IS 'How many tenants there are in meter.tenant, by status';

-- The rollup has the last minutes at hand, so nothing of the log is read, as
-- meter_health() does.
CREATE VIEW meter.openmetrics_health AS
WITH recent AS MATERIALIZED (
	SELECT sum(r.requests - r.errors_429) AS served, sum(r.errors - r.errors_429) AS errors,
		sum(r.errors - r.errors_4xx) AS server_errors, @extschema@.meter_sketch_merge(r.latency) AS latency
	FROM meter.usage_recent AS r
	WHERE r.bucket >= date_bin('5 minutes', now(), '2000-01-01Z') - interval '5 minutes' AND NOT r.is_hour
), measured AS (
	SELECT v."check", v.value
	FROM recent AS r
	CROSS JOIN LATERAL (VALUES
		('error_rate', CASE WHEN r.served >= 20 THEN 100 * r.errors / r.served END),
		('server_error_rate', CASE WHEN r.served >= 20 THEN 100 * r.server_errors / r.served END),
		('latency_avg', CASE WHEN @extschema@.meter_sketch_count(r.latency) >= 20
			THEN @extschema@.meter_sketch_avg(r.latency)::numeric END),
		('latency_p95', CASE WHEN @extschema@.meter_sketch_count(r.latency) >= 20
			THEN @extschema@.meter_percentile(r.latency, 0.95)::numeric END)
	) AS v ("check", value)
	UNION ALL
	SELECT v."check", v.value
	FROM meter.openmetrics_pipeline AS p
	CROSS JOIN LATERAL (VALUES
		('flush_lag', p.flush_lag_seconds), ('rollup_lag', p.rollup_lag_seconds),
		('queue_percent', 100.0 * p.queue_bytes / NULLIF(p.queue_capacity_bytes, 0))
	) AS v ("check", value)
)
SELECT c."check", CASE WHEN m.value > c.unhealthy THEN 2 WHEN m.value > c.degraded THEN 1 ELSE 0 END AS state
FROM meter.health_check AS c
JOIN measured AS m ON m."check" = c."check"
WHERE (SELECT meter.visible_tenants()) IS NULL;
COMMENT ON VIEW meter.openmetrics_health IS
'Are the checks of meter.health_check well? 0 healthy, 1 degraded, 2 unhealthy, by the requests that were rolled up in the last five to ten minutes; with fewer than 20 of them their rates and latencies are no reason';

CREATE VIEW meter.openmetrics_info AS
SELECT e.extversion AS version, current_setting('server_version') AS server_version, 1 AS info
FROM pg_catalog.pg_extension AS e
WHERE e.extname = 'meter' AND (SELECT meter.visible_tenants()) IS NULL;
COMMENT ON VIEW meter.openmetrics_info IS 'One row: the version of the extension and that of the server';

-- report.sql: the views that people look at

-- hll is in whatever schema it was installed in, see usage.sql
SELECT pg_catalog.set_config('search_path',
	pg_catalog.format('pg_catalog, %s', extnamespace::regnamespace), true)
FROM pg_catalog.pg_extension WHERE extname = 'hll';

-- Hours of usage and, for gauges, the levels of all hours they hold in: what
-- days and months are made of.
CREATE VIEW meter.usage_part AS
SELECT hour, tenant, metric, service, endpoint, method, dims,
	events, successes, errors, errors_4xx, errors_5xx, errors_429, folded,
	last_at, quantity, quantity_min, quantity_max, quantity_last, cost, latency, users,
	NULL::numeric AS seconds, NULL::numeric AS level_seconds
FROM meter.usage_hourly
UNION ALL
SELECT hour, tenant, metric, service, endpoint, method, dims,
	0, 0, 0, 0, 0, 0, 0,
	NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
	seconds, level_seconds
FROM meter.gauge_level;
COMMENT ON VIEW meter.usage_part IS
'What usage_daily and usage_monthly add up: the rows of usage_hourly and, for gauges, the levels of gauge_level';

CREATE VIEW meter.usage_daily AS
SELECT (hour AT TIME ZONE 'UTC')::date AS day,
	tenant, metric, service, endpoint, method, dims,
	sum(events)::bigint AS events,
	sum(successes)::bigint AS successes,
	sum(errors)::bigint AS errors,
	sum(errors_4xx)::bigint AS errors_4xx,
	sum(errors_5xx)::bigint AS errors_5xx,
	sum(errors_429)::bigint AS errors_429,
	round(100 * sum(errors) / NULLIF(sum(events), 0), 2) AS error_rate,
	sum(folded)::bigint AS folded,
	sum(quantity) AS quantity,
	sum(quantity) / NULLIF(sum(events), 0) AS quantity_avg,
	min(quantity_min) AS quantity_min,
	max(quantity_max) AS quantity_max,
	(array_agg(quantity_last ORDER BY last_at DESC) FILTER (WHERE last_at IS NOT NULL))[1] AS quantity_last,
	sum(level_seconds) / NULLIF(sum(seconds), 0) AS time_weighted,
	sum(level_seconds) / 3600 AS unit_hours,
	sum(cost) AS cost,
	@extschema@.meter_sketch_merge(latency) AS latency,
	@extschema@.meter_sketch_avg(@extschema@.meter_sketch_merge(latency)) AS latency_avg,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.5) AS p50,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.95) AS p95,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.99) AS p99,
	meter.users_count(hll_union_agg(users)) AS unique_users,
	hll_union_agg(users) AS users
FROM meter.usage_part
GROUP BY (hour AT TIME ZONE 'UTC')::date, tenant, metric, service, endpoint, method, dims;
COMMENT ON VIEW meter.usage_daily IS
'How much was used each day (UTC)? By tenant, metric, service, endpoint, method and dimensions; error_rate in percent, latencies in milliseconds; for gauges the time-weighted average and unit-hours of the day, also for days without a sample. Merged from hours';

CREATE VIEW meter.usage_monthly AS
SELECT date_trunc('month', hour AT TIME ZONE 'UTC')::date AS month,
	tenant, metric, service, endpoint, method, dims,
	sum(events)::bigint AS events,
	sum(successes)::bigint AS successes,
	sum(errors)::bigint AS errors,
	sum(errors_4xx)::bigint AS errors_4xx,
	sum(errors_5xx)::bigint AS errors_5xx,
	sum(errors_429)::bigint AS errors_429,
	round(100 * sum(errors) / NULLIF(sum(events), 0), 2) AS error_rate,
	sum(folded)::bigint AS folded,
	sum(quantity) AS quantity,
	sum(quantity) / NULLIF(sum(events), 0) AS quantity_avg,
	min(quantity_min) AS quantity_min,
	max(quantity_max) AS quantity_max,
	(array_agg(quantity_last ORDER BY last_at DESC) FILTER (WHERE last_at IS NOT NULL))[1] AS quantity_last,
	sum(level_seconds) / NULLIF(sum(seconds), 0) AS time_weighted,
	sum(level_seconds) / 3600 AS unit_hours,
	sum(cost) AS cost,
	@extschema@.meter_sketch_merge(latency) AS latency,
	@extschema@.meter_sketch_avg(@extschema@.meter_sketch_merge(latency)) AS latency_avg,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.5) AS p50,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.95) AS p95,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.99) AS p99,
	meter.users_count(hll_union_agg(users)) AS unique_users,
	hll_union_agg(users) AS users
FROM meter.usage_part
GROUP BY date_trunc('month', hour AT TIME ZONE 'UTC')::date, tenant, metric, service, endpoint, method, dims;
COMMENT ON VIEW meter.usage_monthly IS
'How much was used each month (UTC)? The columns are those of usage_daily';

CREATE VIEW meter.endpoint_stats AS
SELECT hour, tenant, service, endpoint, method,
	sum(events)::bigint AS requests,
	sum(errors)::bigint AS errors,
	round(100 * sum(errors) / sum(events), 2) AS error_rate,
	@extschema@.meter_sketch_avg(@extschema@.meter_sketch_merge(latency)) AS latency_avg,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.5) AS p50,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.95) AS p95,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.99) AS p99,
	meter.users_count(hll_union_agg(users)) AS unique_users,
	sum(cost) AS cost
FROM meter.usage_hourly
WHERE metric = 'api_requests'
GROUP BY hour, tenant, service, endpoint, method;
COMMENT ON VIEW meter.endpoint_stats IS
'How does each endpoint behave, hour by hour? Requests (metric api_requests), errors, error rate in percent, latency percentiles in milliseconds, distinct users and cost';

CREATE VIEW meter.service_daily AS
SELECT (hour AT TIME ZONE 'UTC')::date AS day,
	tenant, service,
	COALESCE(sum(events) FILTER (WHERE metric = 'api_requests'), 0)::bigint AS requests,
	meter.users_count(hll_union_agg(users)) AS unique_users,
	sum(cost) AS cost,
	@extschema@.meter_sketch_avg(@extschema@.meter_sketch_merge(latency)) AS latency_avg,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.5) AS p50,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.95) AS p95,
	@extschema@.meter_percentile(@extschema@.meter_sketch_merge(latency), 0.99) AS p99,
	COALESCE(sum(errors) FILTER (WHERE metric = 'api_requests'), 0)::bigint AS errors,
	round(100 * sum(errors) FILTER (WHERE metric = 'api_requests')
		/ NULLIF(sum(events) FILTER (WHERE metric = 'api_requests'), 0), 2) AS error_rate
FROM meter.usage_hourly
GROUP BY (hour AT TIME ZONE 'UTC')::date, tenant, service;
COMMENT ON VIEW meter.service_daily IS
'What did each service do and cost each day (UTC)? Requests and errors are those of the metric api_requests; users, cost and latencies are of all metrics of the service';

CREATE VIEW meter.top_users AS
SELECT day, tenant, user_id,
	rank() OVER (PARTITION BY day, tenant ORDER BY requests DESC) AS rank,
	requests, errors, error_rate, cost, first_seen, last_seen
FROM (
	SELECT day, tenant, user_id,
		COALESCE(sum(events) FILTER (WHERE metric = 'api_requests'), 0)::bigint AS requests,
		COALESCE(sum(errors) FILTER (WHERE metric = 'api_requests'), 0)::bigint AS errors,
		round(100 * sum(errors) FILTER (WHERE metric = 'api_requests')
			/ NULLIF(sum(events) FILTER (WHERE metric = 'api_requests'), 0), 2) AS error_rate,
		sum(cost) AS cost,
		min(first_at) AS first_seen,
		max(last_at) AS last_seen
	FROM meter.usage_user_daily
	GROUP BY day, tenant, user_id
) AS u;
COMMENT ON VIEW meter.top_users IS
'Who calls most? Each tenant''s users by day (UTC), ranked by requests, with errors, cost and when they were first and last seen that day';

SET LOCAL search_path TO pg_catalog, pg_temp;

-- health.sql: is the API well, in one JSON document?

CREATE TABLE meter.health_threshold (
	"check" text COLLATE "C" NOT NULL
		CONSTRAINT health_threshold_check_check CHECK (
			meter.word_check("check", 'health_threshold_check_check',
				ARRAY['error_rate', 'server_error_rate', 'latency_avg', 'latency_p95', 'flush_lag', 'rollup_lag',
				'queue_percent'])),
	-- NaN is above Infinity
	degraded numeric
		CONSTRAINT health_threshold_degraded_check CHECK (degraded >= 0 AND degraded < 'Infinity'),
	unhealthy numeric
		CONSTRAINT health_threshold_unhealthy_check CHECK (unhealthy >= 0 AND unhealthy < 'Infinity'),
	PRIMARY KEY ("check"),
	CONSTRAINT health_threshold_order_check CHECK (unhealthy >= degraded)
);
COMMENT ON TABLE meter.health_threshold IS
'Thresholds of meter_health() that are not to be the built-in ones; meter.health_check shows those in force';
COMMENT ON COLUMN meter.health_threshold."check" IS
'error_rate, server_error_rate, latency_avg, latency_p95, flush_lag, rollup_lag or queue_percent';
COMMENT ON COLUMN meter.health_threshold.degraded IS 'above it the status is degraded; null: never for this check';
COMMENT ON COLUMN meter.health_threshold.unhealthy IS 'above it the status is unhealthy; null: never for this check';
SELECT pg_catalog.pg_extension_config_dump('meter.health_threshold', '');

-- What a client does wrong, and a late total, are no reason for a load balancer
-- to take an instance out, so only errors of the server are unhealthy.
CREATE VIEW meter.health_check AS
SELECT b."check",
	CASE WHEN t."check" IS NULL THEN b.degraded ELSE t.degraded END AS degraded,
	CASE WHEN t."check" IS NULL THEN b.unhealthy ELSE t.unhealthy END AS unhealthy,
	b.unit, b.description
FROM (VALUES
	('error_rate', 10::numeric, NULL::numeric, '%', 'error rate'),
	('server_error_rate', 5, 25, '%', 'server error rate'),
	('latency_avg', 3000, NULL, 'ms', 'average response time'),
	('latency_p95', 5000, NULL, 'ms', '95th percentile of response times'),
	('flush_lag', 60, NULL, 's', 'age of the oldest event that waits for the log'),
	('rollup_lag', 600, NULL, 's', 'age of the oldest event that is not rolled up'),
	('queue_percent', 50, NULL, '%', 'use of the queue')
) AS b ("check", degraded, unhealthy, unit, description)
LEFT JOIN meter.health_threshold AS t ON t."check" = b."check";
COMMENT ON VIEW meter.health_check IS
'What does meter_health() look at, and from when on is it degraded or unhealthy? The built-in thresholds, or those of meter.health_threshold';
COMMENT ON COLUMN meter.health_check."check" IS 'name';
COMMENT ON COLUMN meter.health_check.degraded IS 'above it the status is degraded; null: never';
COMMENT ON COLUMN meter.health_check.unhealthy IS 'above it the status is unhealthy; null: never';
COMMENT ON COLUMN meter.health_check.unit IS '%, ms or s';
COMMENT ON COLUMN meter.health_check.description IS 'what it is, for people';

-- From the log, since the totals are of hours.  Refused calls were not served,
-- so they are no errors, and what the others are a percentage of.
CREATE FUNCTION meter.health_window(at timestamptz)
RETURNS TABLE (requests bigint, served bigint, refused bigint, errors bigint, server_errors bigint,
	timed bigint, latency_avg double precision, latency_p95 double precision, endpoints bigint)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
	SELECT w.requests, w.requests - w.refused, w.refused, w.errors, w.server_errors, w.timed,
		w.latency_avg, @extschema@.meter_percentile(w.latency, 0.95), w.endpoints
	FROM (
		SELECT sum(g.requests)::bigint AS requests, sum(g.refused)::bigint AS refused,
			sum(g.errors)::bigint AS errors, sum(g.server_errors)::bigint AS server_errors,
			sum(g.timed)::bigint AS timed, sum(g.latency_sum) / NULLIF(sum(g.timed), 0) AS latency_avg,
			@extschema@.meter_sketch_merge(g.latency) AS latency,
			count(*) FILTER (WHERE g.endpoint IS NOT NULL) AS endpoints
		FROM (
			SELECT e.service, e.endpoint,
				count(*) AS requests,
				count(*) FILTER (WHERE e.status = 429) AS refused,
				count(*) FILTER (WHERE e.status >= 400 AND e.status <> 429
					OR e.status IS NULL AND e.error_message IS NOT NULL) AS errors,
				count(*) FILTER (WHERE e.status >= 500
					OR e.status IS NULL AND e.error_message IS NOT NULL) AS server_errors,
				count(e.latency_ms) FILTER (WHERE e.status IS DISTINCT FROM 429) AS timed,
				sum(e.latency_ms) FILTER (WHERE e.status IS DISTINCT FROM 429) AS latency_sum,
				@extschema@.meter_sketch_agg(e.latency_ms) FILTER (WHERE e.status IS DISTINCT FROM 429) AS latency
			FROM meter.event AS e
			WHERE e.metric = 'api_requests' AND e.superseded_by IS NULL
				AND e.at > health_window.at - interval '5 minutes' AND e.at <= health_window.at
			GROUP BY e.service, e.endpoint
		) AS g
	) AS w;
END;
COMMENT ON FUNCTION meter.health_window(timestamptz) IS
'Part of meter_health(): requests (metric api_requests) of the five minutes up to that time, those that were served and refused (429), errors of the served ones and those of the server (5xx, or no status but an error message), latencies in milliseconds, and distinct endpoints; nulls for none';

CREATE FUNCTION meter.health(at timestamptz) RETURNS SETOF jsonb
LANGUAGE SQL STABLE PARALLEL RESTRICTED ROWS 1
BEGIN ATOMIC
	WITH measured AS MATERIALIZED (
		SELECT COALESCE(w.requests, 0) AS requests, COALESCE(w.endpoints, 0) AS endpoints,
			round(100.0 * w.errors / NULLIF(w.served, 0), 2) AS error_rate,
			round(100.0 * w.server_errors / NULLIF(w.served, 0), 2) AS server_error_rate,
			round(100.0 * w.refused / NULLIF(w.requests, 0), 2) AS refused_rate,
			round(w.latency_avg::numeric, 2) AS latency_avg, round(w.latency_p95::numeric, 2) AS latency_p95,
			w.served, w.timed, p.*
		FROM meter.health_window(health.at) AS w
		LEFT JOIN (
			SELECT round(extract(epoch FROM s.flush_lag), 3) AS flush_lag,
				round(extract(epoch FROM s.rollup_lag), 3) AS rollup_lag,
				round(100.0 * s.queue_bytes / NULLIF(s.queue_capacity, 0), 2) AS queue_percent
			FROM meter.stats AS s
			-- it says how things are now
			WHERE health.at > now() - interval '5 minutes'
		) AS p ON true
	), issue AS (
		SELECT c."check", c.description, c.unit, v.value, v.value > c.unhealthy IS TRUE AS unhealthy,
			CASE WHEN v.value > c.unhealthy THEN c.unhealthy ELSE c.degraded END AS threshold
		FROM measured AS m
		CROSS JOIN LATERAL (VALUES
			-- a call or two that fail at night are no illness of the platform
			('error_rate', CASE WHEN m.served >= 20 THEN m.error_rate END),
			('server_error_rate', CASE WHEN m.served >= 20 THEN m.server_error_rate END),
			('latency_avg', CASE WHEN m.timed >= 20 THEN m.latency_avg END),
			('latency_p95', CASE WHEN m.timed >= 20 THEN m.latency_p95 END),
			('flush_lag', m.flush_lag), ('rollup_lag', m.rollup_lag), ('queue_percent', m.queue_percent)
		) AS v ("check", value)
		JOIN meter.health_check AS c ON c."check" = v."check"
		WHERE v.value > c.degraded OR v.value > c.unhealthy
	), found AS (
		SELECT bool_or(i.unhealthy) AS unhealthy,
			jsonb_agg(jsonb_build_object(
				'check', i."check", 'severity', CASE WHEN i.unhealthy THEN 'unhealthy' ELSE 'degraded' END,
				'value', trim_scale(i.value), 'threshold', trim_scale(i.threshold), 'unit', i.unit,
				'message', format('%s is %s %s, above %s %s', i.description, trim_scale(i.value), i.unit,
					trim_scale(i.threshold), i.unit)) ORDER BY i.unhealthy DESC, i."check") AS issues
		FROM issue AS i
	)
	SELECT jsonb_build_object(
		'status', CASE WHEN f.unhealthy THEN 'unhealthy' WHEN f.issues IS NOT NULL THEN 'degraded' ELSE 'healthy' END,
		'at', to_char(health.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
		'metrics', jsonb_build_object(
			'requestsPerMinute', trim_scale(round(m.requests / 5.0, 2)),
			'errorRate', COALESCE(trim_scale(m.error_rate), 0),
			'serverErrorRate', COALESCE(trim_scale(m.server_error_rate), 0),
			'refusedRate', COALESCE(trim_scale(m.refused_rate), 0),
			'averageResponseTime', trim_scale(m.latency_avg),
			'p95ResponseTime', trim_scale(m.latency_p95),
			'activeEndpoints', m.endpoints,
			'flushLag', trim_scale(m.flush_lag),
			'rollupLag', trim_scale(m.rollup_lag),
			'queuePercent', trim_scale(m.queue_percent)),
		'issues', COALESCE(f.issues, '[]'))
	FROM measured AS m
	CROSS JOIN found AS f;
END;
COMMENT ON FUNCTION meter.health(timestamptz) IS
'What meter_health() returns, for who may read meter''s tables';

CREATE FUNCTION @extschema@.meter_health(at timestamptz DEFAULT now()) RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_health(timestamptz) IS
'Is the API well? status (healthy, degraded or unhealthy), metrics of the five minutes up to that time (requestsPerMinute, errorRate, serverErrorRate and refusedRate in percent, averageResponseTime and p95ResponseTime in milliseconds, activeEndpoints; flushLag and rollupLag in seconds and queuePercent as they are now, null for a time in the past) and issues: which checks of meter.health_check are above their threshold. Rates and times are judged from 20 requests on. Errors: 22004 for null, 22008 for an infinite time';

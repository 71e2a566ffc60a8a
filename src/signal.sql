-- signal.sql: what alert rules compare with their thresholds
--
-- Each function gives the values of all enabled rules of its signals, for each
-- tenant and service that a rule is about.  Rules are few and tenants many, so
-- usage is read once for all rules, and summed up once for each window.  A day is
-- 24 hours, and periods read the same, whatever the time zone of who evaluates.

CREATE FUNCTION meter.signal_usage(at timestamptz)
RETURNS TABLE (rule text, tenant text, service text, value numeric, detail jsonb)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10000
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	hour CONSTANT timestamptz := date_trunc('hour', at, 'UTC');
BEGIN
	IF EXISTS (SELECT FROM meter.alert_rule AS r WHERE r.enabled AND r.signal = ANY (ARRAY['request_spike', 'cost_spike'])) THEN
		PERFORM meter.normal_learn(((hour - interval '1 hour') AT TIME ZONE 'UTC')::date);
		PERFORM meter.normal_learn((hour AT TIME ZONE 'UTC')::date);
	END IF;
	RETURN QUERY
	WITH enabled AS MATERIALIZED (
		SELECT r.rule, r.signal, r.threshold, GREATEST(r.min_events, 1) AS min_events, r.tenant, r.service,
			-- a spike is one of an hour
			CASE WHEN r.signal = ANY (ARRAY['request_spike', 'cost_spike']) THEN interval '1 hour' ELSE r."window" END AS span,
			COALESCE((r.params ->> 'min_cost')::double precision, 0) AS min_cost,
			(r.params ->> 'min_errors')::numeric AS min_errors
		FROM meter.alert_rule AS r
		WHERE r.enabled AND r.signal = ANY (ARRAY['error_rate', 'server_error_rate', 'latency_p95', 'latency_avg',
			'rate_429', 'request_spike', 'cost_spike'])
	), span AS (
		SELECT e.span, bool_or(e.signal = ANY (ARRAY['latency_p95', 'latency_avg'])) AS with_latency
		FROM enabled AS e GROUP BY e.span
	), summed AS MATERIALIZED (
		SELECT s.span, u.tenant, u.service, sum(u.requests) AS requests, sum(u.errors) AS errors,
			sum(u.errors - u.errors_4xx) AS server_errors, sum(u.errors_429) AS refused, sum(u.cost) AS cost,
			@extschema@.meter_sketch_merge(u.latency) FILTER (WHERE s.with_latency) AS latency
		FROM span AS s
		JOIN meter.usage_recent AS u ON u.bucket <= at AND u.bucket > at - s.span - CASE WHEN u.is_hour
			THEN interval '1 hour' ELSE interval '5 minutes' END
		WHERE u.bucket > at - (SELECT max(s.span) FROM span AS s) - interval '1 hour'
		GROUP BY s.span, u.tenant, u.service
	), measured AS MATERIALIZED (
		SELECT m.*, l.*, n.requests AS normal_requests, n.cost AS normal_cost
		FROM (
			SELECT s.*, (100.0 * (s.errors - s.refused) / NULLIF(s.requests - s.refused, 0))::numeric AS error_rate,
				(100.0 * s.server_errors / NULLIF(s.requests - s.refused, 0))::numeric AS server_error_rate,
				(100.0 * s.refused / NULLIF(s.requests, 0))::numeric AS rate_429,
				@extschema@.meter_percentile(s.latency, 0.95) AS latency_p95,
				@extschema@.meter_sketch_avg(s.latency) AS latency_avg
			FROM summed AS s
		) AS m
		CROSS JOIN LATERAL (SELECT @extschema@.meter_sketch_count(m.latency) AS timed) AS l
		LEFT JOIN (
			-- What is not known of either hour is not normal at all.  The last sixty minutes
			-- are partly of this hour and partly of the one before, but nothing says how an
			-- hour's usage lies in it: of a daily job it is all in the first minutes.
			SELECT n.tenant, n.service, max(n.requests) AS requests, max(n.cost) AS cost
			FROM meter.usage_normal AS n
			WHERE (n.day, n.hour_of_day) = ((hour AT TIME ZONE 'UTC')::date,
					extract(hour FROM hour AT TIME ZONE 'UTC')::integer)
				OR (n.day, n.hour_of_day) = (((hour - interval '1 hour') AT TIME ZONE 'UTC')::date,
					extract(hour FROM (hour - interval '1 hour') AT TIME ZONE 'UTC')::integer)
			GROUP BY n.tenant, n.service
			HAVING count(*) = 2
		) AS n ON m.span = interval '1 hour' AND n.tenant = m.tenant AND COALESCE(n.service, '') = COALESCE(m.service, '')
	), valued AS (
		SELECT e.rule, e.signal, e.threshold, m.*,
			CASE e.signal
				-- Fewer errors than min_errors are below the threshold, whatever their rate is;
				-- that is a value, so that an alert ends.
				WHEN 'error_rate' THEN CASE WHEN m.requests - m.refused >= e.min_events THEN
					LEAST(m.error_rate, CASE WHEN m.errors - m.refused < e.min_errors
						THEN trunc(e.threshold * (m.errors - m.refused) / e.min_errors, 2) END) END
				WHEN 'server_error_rate' THEN CASE WHEN m.requests - m.refused >= e.min_events THEN
					LEAST(m.server_error_rate, CASE WHEN m.server_errors < e.min_errors
						THEN trunc(e.threshold * m.server_errors / e.min_errors, 2) END) END
				WHEN 'rate_429' THEN CASE WHEN m.requests >= e.min_events THEN
					LEAST(m.rate_429, CASE WHEN m.refused < e.min_errors
						THEN trunc(e.threshold * m.refused / e.min_errors, 2) END) END
				WHEN 'latency_p95' THEN CASE WHEN m.timed >= e.min_events THEN m.latency_p95::numeric END
				WHEN 'latency_avg' THEN CASE WHEN m.timed >= e.min_events THEN m.latency_avg::numeric END
				-- where nothing is normal, one request or unit of cost is
				WHEN 'request_spike' THEN CASE WHEN m.requests >= e.min_events
					THEN (m.requests / GREATEST(m.normal_requests, 1))::numeric END
				WHEN 'cost_spike' THEN CASE WHEN m.cost > 0 AND m.cost >= e.min_cost
					THEN (m.cost / GREATEST(m.normal_cost, CASE WHEN e.min_cost > 0 THEN e.min_cost / 10 ELSE 1e-9 END))::numeric END
			END AS value
		FROM enabled AS e
		JOIN measured AS m ON m.span = e.span
			AND (e.tenant = m.tenant OR e.tenant IS NULL) AND (e.service = m.service OR e.service IS NULL)
		WHERE e.signal <> ALL (ARRAY['request_spike', 'cost_spike']) OR m.normal_requests IS NOT NULL
	)
	SELECT v.rule, v.tenant, v.service, round(v.value, 2),
		CASE WHEN v.value >= v.threshold THEN jsonb_strip_nulls(jsonb_build_object('requests', v.requests, 'errors', v.errors,
			'server_errors', CASE WHEN v.signal = 'server_error_rate' THEN v.server_errors END, 'refused', v.refused, 'cost', trim_scale(v.cost), 'normal_requests', round(v.normal_requests::numeric, 1),
			'normal_cost', trim_scale(round(v.normal_cost::numeric, 6)))) END
	FROM valued AS v
	WHERE v.value IS NOT NULL;
END
$$;
COMMENT ON FUNCTION meter.signal_usage(timestamptz) IS
'The signals error_rate and server_error_rate (percent of requests that were not refused), rate_429 (percent), latency_p95 and latency_avg (ms), of the rule''s window up to an instant, and request_spike and cost_spike (multiple of what is normal), of the last hour';

-- A row belongs to the windows that are longer than it is old, so it is added up by
-- the shortest of these, and each window is the sum of what is of no longer ones.
-- The planner takes each sketch to be 8 kB, and would sort all rows.
CREATE FUNCTION meter.signal_burn_rate(at timestamptz)
RETURNS TABLE (rule text, tenant text, service text, value numeric, detail jsonb)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 100
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '256MB'
SET enable_sort = off
AS $$
#variable_conflict use_column
DECLARE
	spans interval[];
	with_latency boolean;
	of_all boolean;
BEGIN
	SELECT array_agg(DISTINCT w.span ORDER BY w.span) INTO spans
	FROM meter.alert_rule AS r
	CROSS JOIN LATERAL (VALUES (r."window"), ((r.params ->> 'short_window')::interval)) AS w (span)
	WHERE r.enabled AND r.signal = 'burn_rate';
	SELECT bool_or(o.kind = 'latency'), bool_or(o.tenant IS NULL) INTO with_latency, of_all FROM meter.slo AS o;
	IF spans IS NULL OR of_all IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY
	WITH enabled AS MATERIALIZED (
		SELECT r.rule, r.tenant, r.service, GREATEST(r.min_events, 1) AS min_events, r."window" AS long,
			(r.params ->> 'short_window')::interval AS short
		FROM meter.alert_rule AS r
		WHERE r.enabled AND r.signal = 'burn_rate'
	), part AS MATERIALIZED (
		SELECT u.tenant, u.service, u.band, sum(u.requests)::bigint AS requests, sum(u.errors - u.errors_4xx)::bigint AS bad,
			@extschema@.meter_sketch_merge(u.latency) AS latency
		FROM (
			SELECT r.tenant, r.service, r.requests, r.errors, r.errors_4xx,
				width_bucket(at - r.bucket - CASE WHEN r.is_hour THEN interval '1 hour' ELSE interval '5 minutes' END, spans) AS band,
				CASE WHEN with_latency THEN r.latency END AS latency
			FROM meter.usage_recent AS r
			WHERE r.bucket <= at AND r.bucket > at - spans[cardinality(spans)] - interval '1 hour'
				AND (of_all OR r.tenant IN (SELECT o.tenant FROM meter.slo AS o))
		) AS u
		WHERE u.band < cardinality(spans)
		GROUP BY u.tenant, u.service, u.band
	), everyone AS (
		SELECT p.service, p.band, sum(p.requests)::bigint AS requests, sum(p.bad)::bigint AS bad,
			@extschema@.meter_sketch_merge(p.latency) AS latency
		FROM part AS p
		WHERE of_all
		GROUP BY p.service, p.band
	), matched AS (
		-- two joins, so that many objectives of tenants are found by hashing
		SELECT o.slo, o.kind, o.latency_ms, p.band, p.requests, p.bad, p.latency
		FROM part AS p
		JOIN meter.slo AS o ON o.tenant = p.tenant
		WHERE o.service = p.service OR o.service IS NULL
		UNION ALL
		SELECT o.slo, o.kind, o.latency_ms, e.band, e.requests, e.bad, e.latency
		FROM everyone AS e
		JOIN meter.slo AS o ON o.tenant IS NULL AND (o.service = e.service OR o.service IS NULL)
	), banded AS MATERIALIZED (
		SELECT m.slo, m.band,
			sum(CASE WHEN m.kind = 'latency' THEN @extschema@.meter_sketch_count(m.latency) ELSE m.requests END) AS requests,
			sum(CASE WHEN m.kind = 'latency' THEN @extschema@.meter_sketch_count(m.latency)
					- @extschema@.meter_sketch_count_below(m.latency, m.latency_ms::double precision)
				ELSE m.bad END) AS bad
		FROM matched AS m GROUP BY m.slo, m.band
	), burnt AS MATERIALIZED (
		SELECT o.slo, o.tenant, o.service, s.span, sum(b.requests) AS requests, sum(b.bad) AS bad,
			sum(b.bad) / NULLIF(sum(b.requests) * (1 - o.target / 100), 0) AS rate
		FROM unnest(spans) WITH ORDINALITY AS s (span, n)
		JOIN banded AS b ON b.band < s.n
		JOIN meter.slo AS o ON o.slo = b.slo
		GROUP BY o.slo, o.tenant, o.service, o.target, s.span
	)
	-- the short window tells that it still goes on
	SELECT e.rule, l.tenant, l.service, round(LEAST(l.rate, s.rate), 2),
		jsonb_build_object('subject', l.slo, 'slo', l.slo, 'title', format('error budget of %s burns %s times as fast as allowed',
			l.slo, round(LEAST(l.rate, s.rate), 1)), 'requests', l.requests, 'bad', l.bad,
			'long_rate', round(l.rate, 2), 'short_rate', round(s.rate, 2))
	FROM enabled AS e
	JOIN burnt AS l ON l.span = e.long
	JOIN burnt AS s ON s.slo = l.slo AND s.span = e.short
	WHERE l.requests >= e.min_events AND s.rate IS NOT NULL
		AND (e.tenant = l.tenant OR e.tenant IS NULL) AND (e.service = l.service OR e.service IS NULL);
END
$$;
COMMENT ON FUNCTION meter.signal_burn_rate(timestamptz) IS
'The signal burn_rate: for each objective of meter.slo how many times as fast as allowed its error budget is used up, the lower one of the rates in the rule''s window and in its parameter short_window';

CREATE FUNCTION meter.oldest_waiting() RETURNS timestamptz
LANGUAGE SQL VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT LEAST(
		(SELECT s.oldest_queued_at FROM meter.shared_state() AS s),
		(SELECT min(i.received_at) FROM meter.inbox AS i),
		(SELECT e.received_at FROM meter.event AS e
		 WHERE e.seq = (SELECT c.last_seq + 1 FROM meter.consumer AS c WHERE c.name = 'rollup') LIMIT 1));
END;
COMMENT ON FUNCTION meter.oldest_waiting() IS
'Since when the oldest event waits for the log or the rollup; null: none does';

CREATE FUNCTION meter.signal_no_usage(at timestamptz)
RETURNS TABLE (rule text, tenant text, service text, value numeric, detail jsonb)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1000
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	longest CONSTANT interval := '7 days';
	metrics CONSTANT text[] := ARRAY(SELECT DISTINCT COALESCE(r.params ->> 'metric', 'api_requests')
		FROM meter.alert_rule AS r WHERE r.enabled AND r.signal = 'no_usage');
	-- nothing is known of what came after that
	known_until timestamptz;
BEGIN
	IF metrics <> '{}' OR EXISTS (SELECT FROM meter.usage_last_metric) THEN
		PERFORM meter.usage_last_follow(metrics, at - longest);
	END IF;
	IF metrics = '{}' THEN
		RETURN;
	END IF;
	known_until := LEAST(at, meter.oldest_waiting());
	RETURN QUERY
	WITH enabled AS MATERIALIZED (
		SELECT r.rule, r.threshold, r.tenant, r.service, m.metric
		FROM meter.alert_rule AS r
		JOIN meter.usage_last_metric AS m ON m.metric = COALESCE(r.params ->> 'metric', 'api_requests')
		WHERE r.enabled AND r.signal = 'no_usage'
	), quiet AS (
		SELECT e.rule, e.threshold, e.metric, l.tenant, l.service,
			GREATEST(0, floor(extract(epoch FROM known_until - l.last_at))) AS seconds
		FROM enabled AS e
		JOIN meter.usage_last AS l ON l.metric = e.metric
			AND (l.tenant = e.tenant OR e.tenant IS NULL) AND (l.service = e.service OR e.service IS NULL)
		WHERE l.last_at > at - longest
		UNION ALL
		-- who is named is missed also after that, or if it never was
		SELECT e.rule, e.threshold, e.metric, e.tenant, e.service, floor(extract(epoch FROM longest))
		FROM enabled AS e
		-- but not while what came lately is not known
		WHERE e.tenant IS NOT NULL AND e.service IS NOT NULL AND known_until > at - interval '1 hour' AND NOT EXISTS (
			SELECT FROM meter.usage_last AS l
			WHERE l.metric = e.metric AND l.tenant = e.tenant AND l.service = e.service AND l.last_at > at - longest)
	)
	SELECT q.rule, q.tenant, q.service, q.seconds,
		CASE WHEN q.seconds >= q.threshold THEN jsonb_build_object('metric', q.metric, 'title',
			format('no %s of %s for %s s (threshold %s)', q.metric, concat_ws('/', q.tenant, q.service),
				q.seconds, trim_scale(q.threshold))) END
	FROM quiet AS q
	WHERE NOT EXISTS (SELECT FROM meter.tenant AS t WHERE t.tenant = q.tenant AND t.status = 'cancelled');
END
$$;
COMMENT ON FUNCTION meter.signal_no_usage(timestamptz) IS
'The signal no_usage: seconds since the last event of a metric, of each tenant and service with one in the last seven days, as of the last rollup; of a tenant and service that a rule names, 604800 without one';

CREATE FUNCTION meter.signal_state(at timestamptz)
RETURNS TABLE (rule text, tenant text, service text, value numeric, detail jsonb)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	gauges text[];
	-- null: all
	gauge_tenants text[];
BEGIN
	IF EXISTS (SELECT FROM meter.alert_rule AS r WHERE r.enabled AND r.signal = 'budget') THEN
		RETURN QUERY
		-- what was crossed stays so for the period, even if what was spent is corrected
		SELECT r.rule, b.tenant, b.service,
			CASE WHEN c.budget_id IS NULL THEN LEAST(s.percent, u.threshold - 0.01) ELSE GREATEST(s.percent, u.threshold) END,
			jsonb_build_object('subject', concat_ws(':', b.budget_id, u.threshold),
				'threshold', u.threshold, 'severity', CASE WHEN u.threshold >= 90 THEN 'critical' ELSE 'warning' END,
				'period', s.period_from, 'budget_id', b.budget_id, 'spent', s.spent, 'amount', s.amount, 'currency', s.currency)
		FROM meter.alert_rule AS r
		JOIN meter.budget AS b ON (b.tenant = r.tenant OR r.tenant IS NULL) AND (b.service = r.service OR r.service IS NULL)
		JOIN meter.budget_status AS s ON s.budget_id = b.budget_id
		CROSS JOIN LATERAL unnest(b.thresholds) AS u(threshold)
		LEFT JOIN meter.budget_crossing AS c ON c.budget_id = b.budget_id AND c.period_from = s.period_from
			AND c.threshold = u.threshold
		WHERE r.enabled AND r.signal = 'budget';
	END IF;

	IF EXISTS (SELECT FROM meter.alert_rule AS r WHERE r.enabled AND r.signal = 'quota') THEN
		RETURN QUERY
		WITH status AS MATERIALIZED (
			SELECT s.* FROM meter.rate_limit_status AS s
			WHERE s.kind = 'window' AND s.user_id IS NULL AND s."limit" > 0 AND s.mode <> 'shadow'
				AND s.per = ANY (ARRAY['day', 'month'])
		)
		SELECT r.rule, s.tenant, NULL::text, s.used_percent,
			jsonb_build_object('subject', s.rule_id, 'period', s.reset_at, 'quota', s.rule, 'used', trim_scale(s.used),
				'limit', trim_scale(s."limit"))
		FROM meter.alert_rule AS r
		JOIN status AS s ON s.tenant = r.tenant OR r.tenant IS NULL
		WHERE r.enabled AND r.signal = 'quota' AND r.service IS NULL;
	END IF;

	SELECT array_agg(r.params ->> 'metric'), CASE WHEN bool_and(r.tenant IS NOT NULL) THEN array_agg(r.tenant) END
	INTO gauges, gauge_tenants
	FROM meter.alert_rule AS r WHERE r.enabled AND r.signal = 'gauge_level';
	IF gauges IS NOT NULL THEN
		RETURN QUERY
		WITH last AS MATERIALIZED (
			SELECT l.tenant, l.metric, l.service, l.dims, l.level
			FROM meter.gauge_now AS l
			WHERE l.metric = ANY (gauges) AND (gauge_tenants IS NULL OR l.tenant = ANY (gauge_tenants))
		), summed AS (
			SELECT r.rule, r.threshold, r.params, l.tenant, l.service, l.metric, sum(l.level) AS level
			FROM meter.alert_rule AS r
			JOIN last AS l ON l.metric = r.params ->> 'metric'
				AND (l.tenant = r.tenant OR r.tenant IS NULL) AND (l.service = r.service OR r.service IS NULL)
				AND l.dims @> COALESCE(r.params -> 'dims', '{}')
			WHERE r.enabled AND r.signal = 'gauge_level'
				-- whose levels would stay as they were
				AND NOT EXISTS (SELECT FROM meter.tenant AS t WHERE t.tenant = l.tenant AND t.status = 'cancelled')
			GROUP BY r.rule, l.tenant, l.service, l.metric
		)
		SELECT s.rule, s.tenant, s.service, s.level,
			CASE WHEN s.level >= s.threshold THEN s.params || jsonb_build_object('title',
				format('%s of %s: %s (threshold %s)', concat_ws(' ', s.metric, s.params ->> 'dims'), concat_ws('/', s.tenant, s.service),
					concat_ws(' ', trim_scale(round(s.level, 2)), m.unit), trim_scale(s.threshold))) END
		FROM summed AS s
		LEFT JOIN meter.metric AS m ON m.metric = s.metric;
	END IF;

	RETURN QUERY
	SELECT r.rule, n.tenant, NULL::text,
		round(100.0 * (n.bytes - b.bytes) / NULLIF(b.bytes, 0), 2),
		jsonb_build_object('bytes', n.bytes, 'before', b.bytes, 'day', n.day, 'since', b.day)
	FROM meter.alert_rule AS r
	CROSS JOIN LATERAL (
		SELECT DISTINCT ON (s.tenant) s.tenant, s.day, s.bytes FROM meter.storage_sample AS s
		WHERE s.day <= (at AT TIME ZONE 'UTC')::date AND s.day > (at AT TIME ZONE 'UTC')::date - 3
			AND (s.tenant = r.tenant OR r.tenant IS NULL)
		ORDER BY s.tenant, s.day DESC
	) AS n
	JOIN meter.storage_sample AS b ON b.tenant IS NOT DISTINCT FROM n.tenant AND b.day = ((n.day - r."window")::date)
	WHERE r.enabled AND r.signal = 'storage_growth' AND r.service IS NULL
		AND n.bytes >= COALESCE((r.params ->> 'min_bytes')::numeric, 0);

	RETURN QUERY
	WITH waiting AS MATERIALIZED (
		SELECT GREATEST(0, extract(epoch FROM at - meter.oldest_waiting())) AS seconds
		WHERE EXISTS (SELECT FROM meter.alert_rule AS r WHERE r.enabled AND r.signal = 'pipeline_lag')
	)
	SELECT r.rule, NULL::text, NULL::text, round(COALESCE(w.seconds, 0)), NULL::jsonb
	FROM meter.alert_rule AS r CROSS JOIN waiting AS w
	WHERE r.enabled AND r.signal = 'pipeline_lag' AND r.tenant IS NULL AND r.service IS NULL;

	RETURN QUERY
	SELECT r.rule, e.tenant, NULL::text, count(*)::numeric, NULL::jsonb
	FROM meter.alert_rule AS r
	JOIN meter.rejected_event AS e ON e.rejected_at > at - r."window" AND e.rejected_at <= at
		AND (e.tenant = r.tenant OR r.tenant IS NULL)
	WHERE r.enabled AND r.signal = 'rejected_events' AND r.service IS NULL
	GROUP BY r.rule, e.tenant
	UNION ALL
	SELECT r.rule, v.tenant, NULL, count(*), NULL
	FROM meter.alert_rule AS r
	JOIN meter.isolation_violation AS v ON v.at > signal_state.at - r."window" AND v.at <= signal_state.at
		AND (v.tenant = r.tenant OR r.tenant IS NULL)
	WHERE r.enabled AND r.signal = 'isolation_violation' AND r.service IS NULL
	GROUP BY r.rule, v.tenant;
END
$$;
COMMENT ON FUNCTION meter.signal_state(timestamptz) IS
'The signals budget and quota (percent used now), gauge_level (the level now, as of the last rollup), storage_growth (percent in the rule''s window, by samples), pipeline_lag (seconds that the oldest event has waited for log or rollup), rejected_events and isolation_violation (how many in the window)';

CREATE FUNCTION meter.alert_measure(at timestamptz)
RETURNS TABLE (rule text, tenant text, service text, value numeric, detail jsonb)
LANGUAGE SQL VOLATILE PARALLEL UNSAFE ROWS 10000
BEGIN ATOMIC
	SELECT u.* FROM meter.signal_usage(alert_measure.at) AS u
	UNION ALL
	SELECT b.* FROM meter.signal_burn_rate(alert_measure.at) AS b
	UNION ALL
	SELECT n.* FROM meter.signal_no_usage(alert_measure.at) AS n
	UNION ALL
	SELECT s.* FROM meter.signal_state(alert_measure.at) AS s;
END;
COMMENT ON FUNCTION meter.alert_measure(timestamptz) IS
'The value of each enabled rule of meter.alert_rule for each tenant and service that it is about, as of an instant; none: there are no data. What detail has as subject, threshold, severity, title and period goes before what the rule says';

INSERT INTO meter.alert_rule (rule, signal, severity, threshold, resolve_below, "window", for_duration, min_events, params,
	description) VALUES
	('budget', 'budget', 'warning', 75, NULL, '1 hour', '0', 0, '{}', 'a threshold of a budget is reached; critical from 90 % on'),
	('quota 80', 'quota', 'info', 80, NULL, '1 hour', '0', 0, '{}', '80 % of a day''s or month''s quota are used'),
	('quota 90', 'quota', 'warning', 90, NULL, '1 hour', '0', 0, '{}', '90 % of a day''s or month''s quota are used'),
	('quota 95', 'quota', 'warning', 95, NULL, '1 hour', '0', 0, '{}', '95 % of a day''s or month''s quota are used'),
	('quota exceeded', 'quota', 'critical', 100, NULL, '1 hour', '0', 0, '{}', 'a day''s or month''s quota is used up'),
	('error rate', 'error_rate', 'warning', 5, 4, '15 minutes', '0', 50, '{"min_errors": 10}', '5 % of the requests to a service fail'),
	('error rate critical', 'error_rate', 'critical', 10, 8, '15 minutes', '0', 50, '{"min_errors": 10}', '10 % of the requests to a service fail'),
	('latency p95', 'latency_p95', 'warning', 2000, 1600, '15 minutes', '0', 50, '{}', 'one in twenty requests takes 2 s or longer'),
	('latency p95 critical', 'latency_p95', 'critical', 5000, 4000, '15 minutes', '0', 50, '{}', 'one in twenty requests takes 5 s or longer'),
	('slow responses', 'latency_avg', 'warning', 3000, 2500, '15 minutes', '0', 50, '{}', 'requests take 3 s on average'),
	('rate limited', 'rate_429', 'warning', 10, 5, '15 minutes', '0', 50, '{"min_errors": 10}', '10 % of the requests are refused by a limit'),
	('request spike', 'request_spike', 'warning', 3, 2, '1 hour', '0', 100, '{}', '3 times the requests that are normal in this hour'),
	('cost spike', 'cost_spike', 'critical', 5, 3, '1 hour', '0', 0, '{"min_cost": 1}', '5 times the cost that is normal in this hour'),
	('storage growth', 'storage_growth', 'warning', 200, NULL, '7 days', '0', 0, '{"min_bytes": 10485760}', 'storage has grown by 200 % in 7 days'),
	('pipeline stale', 'pipeline_lag', 'critical', 600, 120, '1 hour', '0', 0, '{}', 'events have waited for 10 minutes for the log or the rollup'),
	('rejected events', 'rejected_events', 'warning', 10, NULL, '1 hour', '0', 0, '{}', 'ten events of a tenant were rejected in an hour'),
	('isolation violation', 'isolation_violation', 'critical', 1, NULL, '5 minutes', '0', 0, '{}', 'somebody has tried to reach what is another tenant''s'),
	('burn rate 1h', 'burn_rate', 'critical', 14.4, NULL, '1 hour', '0', 100, '{"short_window": "5 minutes"}', 'the error budget of 30 days would be used up in 2 days'),
	('burn rate 6h', 'burn_rate', 'critical', 6, NULL, '6 hours', '0', 100, '{"short_window": "30 minutes"}', 'the error budget of 30 days would be used up in 5 days'),
	('burn rate 1d', 'burn_rate', 'warning', 3, NULL, '1 day', '0', 100, '{"short_window": "2 hours"}', 'the error budget of 30 days would be used up in 10 days'),
	('burn rate 3d', 'burn_rate', 'warning', 1, NULL, '3 days', '0', 100, '{"short_window": "6 hours"}', 'the error budget of 30 days will be used up');

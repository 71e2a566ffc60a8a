-- recent.sql: the last hours by five minutes, the last days by hour
--
-- Alerts look at minutes, and at all tenants at once, where meter.usage_hourly
-- has hours, and many rows for each.  So the rollup keeps a small table besides:
-- tenant and service only, and no longer than any window of an alert.

CREATE TABLE meter.usage_recent (
	bucket timestamptz NOT NULL,
	is_hour boolean NOT NULL,
	tenant text COLLATE "C" NOT NULL,
	service text COLLATE "C",
	requests bigint NOT NULL,
	errors bigint NOT NULL,
	errors_4xx bigint NOT NULL,
	errors_429 bigint NOT NULL,
	cost numeric NOT NULL,
	latency @extschema@.meter_sketch,
	CONSTRAINT usage_recent_key UNIQUE NULLS NOT DISTINCT (bucket, is_hour, tenant, service)
) WITH (fillfactor = 70);
-- no column of the index may be null for USING INDEX
ALTER TABLE meter.usage_recent REPLICA IDENTITY FULL;
COMMENT ON TABLE meter.usage_recent IS
'Requests (metric api_requests) and costs (of all metrics) by tenant and service: of the last three hours by five minutes, of the last three days by hour. What alerts are measured by; written by meter_rollup(), an event belongs to the time of the last one that was rolled up with it; corrections do not change it';
COMMENT ON COLUMN meter.usage_recent.bucket IS 'beginning of the five minutes or of the hour, UTC';
COMMENT ON COLUMN meter.usage_recent.is_hour IS 'whether it is an hour';
COMMENT ON COLUMN meter.usage_recent.tenant IS 'who has called';
COMMENT ON COLUMN meter.usage_recent.service IS 'what was called; null: no service was given';
COMMENT ON COLUMN meter.usage_recent.requests IS 'events of the metric api_requests';
COMMENT ON COLUMN meter.usage_recent.errors IS 'requests that were errors';
COMMENT ON COLUMN meter.usage_recent.errors_4xx IS 'of these, with status 400 to 499';
COMMENT ON COLUMN meter.usage_recent.errors_429 IS 'of these, with status 429';
COMMENT ON COLUMN meter.usage_recent.cost IS 'sum of costs';
COMMENT ON COLUMN meter.usage_recent.latency IS 'latencies of requests in milliseconds, null if none had one';

CREATE FUNCTION meter.recent_fold(at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	hours_before CONSTANT timestamptz := date_trunc('hour', at, 'UTC') - interval '3 hours';
BEGIN
	IF EXISTS (SELECT FROM meter.usage_recent AS r WHERE r.bucket < hours_before AND NOT r.is_hour) THEN
		WITH old AS (
			DELETE FROM meter.usage_recent AS r WHERE r.bucket < hours_before AND NOT r.is_hour
			RETURNING r.*
		)
		INSERT INTO meter.usage_recent AS r (bucket, is_hour, tenant, service, requests, errors, errors_4xx, errors_429,
			cost, latency)
		SELECT date_trunc('hour', o.bucket, 'UTC'), true, o.tenant, o.service, sum(o.requests), sum(o.errors),
			sum(o.errors_4xx), sum(o.errors_429), sum(o.cost), @extschema@.meter_sketch_merge(o.latency)
		FROM old AS o
		GROUP BY 1, o.tenant, o.service
		ON CONFLICT (bucket, is_hour, tenant, service) DO UPDATE SET
			requests = r.requests + EXCLUDED.requests, errors = r.errors + EXCLUDED.errors,
			errors_4xx = r.errors_4xx + EXCLUDED.errors_4xx, errors_429 = r.errors_429 + EXCLUDED.errors_429,
			cost = r.cost + EXCLUDED.cost, latency = @extschema@.meter_sketch_union(r.latency, EXCLUDED.latency);
		DELETE FROM meter.usage_recent AS r WHERE r.bucket < hours_before - interval '72 hours';
	END IF;
END
$$;
COMMENT ON FUNCTION meter.recent_fold(timestamptz) IS
'Part of meter_rollup(): make hours of the five minutes that are older than three hours, and forget hours that are older than three days, as of an instant';

-- --- the last event of a metric -----------------------------------------------

-- Of the metrics that a rule asks for only, so that a rollup of others costs nothing.
CREATE TABLE meter.usage_last_metric (
	metric text COLLATE "C" PRIMARY KEY
);
COMMENT ON TABLE meter.usage_last_metric IS
'Metrics whose last events meter.usage_last has: those of enabled rules with the signal no_usage, as of the last evaluation';
COMMENT ON COLUMN meter.usage_last_metric.metric IS 'the metric';

CREATE TABLE meter.usage_last (
	metric text COLLATE "C" NOT NULL,
	tenant text COLLATE "C" NOT NULL,
	service text COLLATE "C",
	last_at timestamptz NOT NULL,
	CONSTRAINT usage_last_key UNIQUE NULLS NOT DISTINCT (metric, tenant, service)
) WITH (fillfactor = 70);
-- no column of the index may be null for USING INDEX
ALTER TABLE meter.usage_last REPLICA IDENTITY FULL;
COMMENT ON TABLE meter.usage_last IS
'When was the last event of each metric of meter.usage_last_metric, by tenant and service, if it was in the last seven days? Written by meter_rollup(); corrections do not change it';
COMMENT ON COLUMN meter.usage_last.metric IS 'what was metered';
COMMENT ON COLUMN meter.usage_last.tenant IS 'whose event it was';
COMMENT ON COLUMN meter.usage_last.service IS 'of which service; null: no service was given';
COMMENT ON COLUMN meter.usage_last.last_at IS 'time of the last event';

-- A rollup that is on its way does not see a metric that is new, nor do we see what
-- it writes.  So what is here changes only while there is none, and may wait until
-- the next time.
CREATE FUNCTION meter.usage_last_follow(metrics text[], since timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
	known CONSTANT text[] := ARRAY(SELECT m.metric FROM meter.usage_last_metric AS m);
	added text[] := ARRAY(SELECT DISTINCT a.metric FROM unnest(metrics) AS a (metric) WHERE a.metric <> ALL (known));
BEGIN
	IF added = '{}' AND known <@ metrics
		AND NOT EXISTS (SELECT FROM meter.usage_last AS l WHERE l.last_at <= since) THEN
		RETURN;
	END IF;
	PERFORM FROM meter.consumer AS c WHERE c.name = 'rollup' FOR UPDATE SKIP LOCKED;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	DELETE FROM meter.usage_last_metric AS m WHERE m.metric <> ALL (metrics);
	DELETE FROM meter.usage_last AS l WHERE l.metric <> ALL (metrics) OR l.last_at <= since;
	IF added <> '{}' THEN
		INSERT INTO meter.usage_last_metric (metric) SELECT unnest(added);
		INSERT INTO meter.usage_last AS l (metric, tenant, service, last_at)
		SELECT u.metric, u.tenant, u.service, max(u.last_at)
		FROM meter.usage_hourly AS u
		WHERE u.metric = ANY (added) AND u.hour > since - interval '1 hour' AND u.last_at > since
		GROUP BY u.metric, u.tenant, u.service;
	END IF;
END
$$;
COMMENT ON FUNCTION meter.usage_last_follow(text[], timestamptz) IS
'Have meter.usage_last be of these metrics, with what meter.usage_hourly has of those that are new, and of events after an instant; while meter_rollup() runs, or if it never has, nothing changes';

-- --- what is normal ----------------------------------------------------------

CREATE TABLE meter.usage_normal (
	day date NOT NULL,
	hour_of_day integer NOT NULL,
	tenant text COLLATE "C" NOT NULL,
	service text COLLATE "C",
	requests double precision NOT NULL,
	cost double precision NOT NULL,
	days integer NOT NULL,
	CONSTRAINT usage_normal_key UNIQUE NULLS NOT DISTINCT (day, hour_of_day, tenant, service)
);
-- no column of the index may be null for USING INDEX
ALTER TABLE meter.usage_normal REPLICA IDENTITY FULL;
COMMENT ON TABLE meter.usage_normal IS
'What is normal in the hours of today: the median of the same hour of the same weekday in the four weeks before, or where there are less than two of these, of the ten days that are looked at, if there are three. Learnt from meter.usage_hourly once a day, and anew of tenants whose usage of these days has changed since';
COMMENT ON COLUMN meter.usage_normal.day IS 'for which day, UTC';
COMMENT ON COLUMN meter.usage_normal.hour_of_day IS 'for which of its hours, 0 to 23';
COMMENT ON COLUMN meter.usage_normal.tenant IS 'whose usage';
COMMENT ON COLUMN meter.usage_normal.service IS 'of which service';
COMMENT ON COLUMN meter.usage_normal.requests IS 'requests that are normal in that hour';
COMMENT ON COLUMN meter.usage_normal.cost IS 'cost that is normal in that hour';
COMMENT ON COLUMN meter.usage_normal.days IS 'of how many days it is the median';

CREATE TABLE meter.usage_normal_day (
	day date PRIMARY KEY,
	seq bigint NOT NULL,
	learnt_at timestamptz NOT NULL,
	took interval NOT NULL
);
COMMENT ON TABLE meter.usage_normal_day IS 'For which days meter.usage_normal was learnt';
COMMENT ON COLUMN meter.usage_normal_day.day IS 'the day';
COMMENT ON COLUMN meter.usage_normal_day.seq IS
'position of the log up to which usage was rolled up then; what has changed later has a higher one in meter.usage_late';
COMMENT ON COLUMN meter.usage_normal_day.learnt_at IS 'when, the last time';
COMMENT ON COLUMN meter.usage_normal_day.took IS 'how long that took';

-- History can come when a day was learnt already: it was loaded, events were late,
-- or were corrected.  The tenants of whom that is so are learnt anew, but so that it
-- takes no more than a hundredth of the time.
CREATE FUNCTION meter.normal_learn(of_day date) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET work_mem = '256MB'
SET plan_cache_mode = force_custom_plan
SET enable_mergejoin = off
AS $$
DECLARE
	-- days before
	sample CONSTANT integer[] := '{1,2,3,4,5,6,7,14,21,28}';
	weekly CONSTANT integer := (1 << 7) | (1 << 14) | (1 << 21) | (1 << 28);
	began CONSTANT timestamptz := clock_timestamp();
	-- before usage is read, so that nothing is missed
	upto CONSTANT bigint := meter.usage_position();
	known meter.usage_normal_day;
	-- null: all
	tenants text[];
BEGIN
	INSERT INTO meter.usage_normal_day AS d (day, seq, learnt_at, took) VALUES (of_day, upto, began, '0')
	ON CONFLICT (day) DO NOTHING;
	IF FOUND THEN
		DELETE FROM meter.usage_normal AS n WHERE n.day NOT BETWEEN of_day - 1 AND of_day + 1;
		DELETE FROM meter.usage_normal_day AS d WHERE d.day NOT BETWEEN of_day - 1 AND of_day + 1;
	ELSE
		SELECT d.* INTO known FROM meter.usage_normal_day AS d WHERE d.day = of_day;
		IF began < known.learnt_at + 100 * known.took THEN
			RETURN;
		END IF;
		SELECT array_agg(DISTINCT l.tenant) INTO tenants
		FROM meter.usage_late AS l
		WHERE l.day = ANY (ARRAY(SELECT of_day - d.k FROM unnest(sample) AS d (k))) AND l.seq > known.seq;
		IF tenants IS NULL THEN
			RETURN;
		END IF;
		UPDATE meter.usage_normal_day AS d SET seq = upto WHERE d.day = of_day AND d.seq = known.seq;
		IF NOT FOUND THEN
			RETURN;
		END IF;
		DELETE FROM meter.usage_normal AS n WHERE n.day = of_day AND n.tenant = ANY (tenants);
	END IF;
	INSERT INTO meter.usage_normal (day, hour_of_day, tenant, service, requests, cost, days)
	WITH used AS MATERIALIZED (
		SELECT u.hour, u.tenant, u.service,
			COALESCE(sum(u.events) FILTER (WHERE u.metric = 'api_requests'), 0)::double precision AS requests,
			COALESCE(sum(u.cost), 0)::double precision AS cost
		FROM meter.usage_hourly AS u
		WHERE (u.metric = 'api_requests' OR u.cost IS NOT NULL) AND (tenants IS NULL OR u.tenant = ANY (tenants))
			AND u.hour >= (of_day - 28)::timestamp AT TIME ZONE 'UTC' AND u.hour < of_day::timestamp AT TIME ZONE 'UTC'
			AND of_day - (u.hour AT TIME ZONE 'UTC')::date = ANY (sample)
		GROUP BY u.tenant, u.service, u.hour
	), present AS (
		-- on a day without anything at all it was not there yet; a bit for each day
		SELECT u.tenant, u.service, bit_or(1 << (of_day - (u.hour AT TIME ZONE 'UTC')::date)) AS days
		FROM used AS u
		GROUP BY u.tenant, u.service
	), chosen AS (
		SELECT p.tenant, p.service, d.k
		FROM present AS p
		CROSS JOIN unnest(sample) AS d (k)
		WHERE p.days & (1 << d.k) <> 0 AND CASE WHEN bit_count((p.days & weekly)::bit(32)) >= 2 THEN d.k % 7 = 0
			ELSE bit_count(p.days::bit(32)) >= 3 END
	)
	SELECT of_day, h.hour, c.tenant, c.service,
		percentile_cont(0.5) WITHIN GROUP (ORDER BY COALESCE(u.requests, 0)),
		percentile_cont(0.5) WITHIN GROUP (ORDER BY COALESCE(u.cost, 0)), count(*)
	FROM chosen AS c
	CROSS JOIN generate_series(0, 23) AS h(hour)
	LEFT JOIN used AS u ON u.tenant = c.tenant AND COALESCE(u.service, '') = COALESCE(c.service, '')
		AND u.hour = (of_day - c.k)::timestamp AT TIME ZONE 'UTC' + h.hour * interval '1 hour'
	GROUP BY h.hour, c.tenant, c.service;
	UPDATE meter.usage_normal_day AS d SET learnt_at = clock_timestamp(), took = clock_timestamp() - began
	WHERE d.day = of_day;
END
$$;
COMMENT ON FUNCTION meter.normal_learn(date) IS
'Learn what is normal in the hours of a day, unless that is known, and forget what was of other days; of a day that is known, learn it anew of the tenants whose usage of the days before has changed since, unless the last time was less than a hundred times as long ago as it took';

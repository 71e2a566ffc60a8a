# shellcheck shell=bash
#
# bench/detect.sh: do alerts tell what is wrong, and nothing else?
#
# Six weeks of forty tenants whose requests have hours of the day, days of the
# week, and noise: a factor of each hour and of each five minutes (log-normal,
# sigma 0.25 and 0.15), and that of counting; 0.5 to 2 % of them fail, mostly by
# their own fault (4xx), but for bursts.  25 are busy
# (450 to 7500 requests an hour), 10 are small (a tenth and less of that), and 5 have a
# job once a day, which makes thousands of requests in the first ten minutes of its
# hour.  In the last two weeks incidents are planted at the busy ones, at most one a
# day of a tenant.  As time goes on, each five minutes are written to
# meter.usage_recent and each hour that is over to meter.usage_hourly, as the rollup
# does, and meter_evaluate_alerts() is called: it sees what it would have seen then.
# A pipeline that is stale is a row that waits in meter.inbox.
#
# An incident is detected if an alert of its kind of its tenant fires while it
# lasts or within 15 minutes of its end; an alert is false if it fires while there
# is no incident of its tenant that explains it, nor has been within its window.
# All rules that are built in count, and each tenant has an objective of 99 %.

# shellcheck disable=SC2154		# from run.sh
if [ "$divisor" -eq 1 ]; then days=14; else days=2; fi

sql -v days="$days" -v seed="${SEED:-0.42}" -f - <<-'SQL'
	SET meter.retention = 0;
	SET client_min_messages = warning;
	DROP EXTENSION meter CASCADE;
	CREATE EXTENSION meter CASCADE;
	SELECT setseed(:seed) \g /dev/null

	CREATE TABLE bench.span AS
	SELECT date_trunc('day', now(), 'UTC') - :days * interval '1 day' AS first, date_trunc('day', now(), 'UTC') AS last;
	-- partitions
	INSERT INTO meter.inbox (tenant, at)
	SELECT 'other', s.last - d * interval '1 day' FROM bench.span AS s, generate_series(0, 28 + :days) AS d;
	SELECT meter_flush() \g /dev/null
	SELECT meter_rollup() \g /dev/null

	CREATE FUNCTION bench.normal() RETURNS double precision LANGUAGE sql VOLATILE AS
	'SELECT sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())';
	CREATE TABLE bench.site AS
	SELECT 'tenant-' || i AS tenant, CASE WHEN i <= 25 THEN 1500 * exp(random() * ln(5)) ELSE 30 * exp(random() * ln(10)) END AS per_hour,
		i <= 25 AS is_busy, CASE WHEN i > 35 THEN 2000 + 4000 * random() ELSE 0 END AS job, 0.005 + 0.015 * random() AS error_rate,
		0.8 + 0.15 * random() AS client_errors, 0.001 * exp(random() * ln(20)) AS cost, 80 + 120 * random() AS latency,
		floor(random() * 24)::integer AS shift, 0.3 + 0.7 * random() AS weekend
	FROM generate_series(1, 40) AS i;
	INSERT INTO meter.slo (slo, tenant, target) SELECT tenant, tenant, 99 FROM bench.site;

	-- each at another day of another tenant
	CREATE TABLE bench.planted AS
	WITH slot AS (
		SELECT s.tenant, d.day, row_number() OVER (ORDER BY random()) AS n
		FROM bench.site AS s, generate_series(0, :days - 1) AS d (day)
		WHERE s.is_busy
	), kind AS (
		SELECT k.kind, row_number() OVER () AS n
		FROM (VALUES ('request spike', 20), ('cost spike', 20), ('error burst', 20), ('latency shift', 10), ('stale pipeline', 10)) AS k (kind, n),
			generate_series(1, greatest(1, k.n * :days / 14)) AS i
	)
	SELECT k.kind, CASE WHEN k.kind <> 'stale pipeline' THEN s.tenant END AS tenant, f.starts_at,
		f.starts_at + CASE WHEN k.kind ~ 'spike' THEN interval '1 hour' + random() * interval '2 hours'
			ELSE interval '20 minutes' + random() * interval '40 minutes' END AS ends_at,
		CASE k.kind WHEN 'request spike' THEN 4 + 6 * random() WHEN 'cost spike' THEN 7 + 13 * random()
			WHEN 'error burst' THEN 0.15 + 0.35 * random() WHEN 'latency shift' THEN 10 + 20 * random() END AS size
	FROM kind AS k
	JOIN slot AS s ON s.n = k.n
	CROSS JOIN bench.span AS p
	CROSS JOIN LATERAL (
		-- pipelines at times that do not overlap: by their number
		SELECT p.first + CASE WHEN k.kind = 'stale pipeline'
			THEN (k.n % greatest(1, 10 * :days / 14)) * interval '30 hours' ELSE s.day * interval '1 day' END
			+ interval '1 hour' + random() * interval '19 hours' AS starts_at
	) AS f;

	-- the days of each site begin at another hour
	CREATE FUNCTION bench.load(site bench.site, at timestamptz) RETURNS double precision LANGUAGE sql STABLE AS $$
		SELECT site.per_hour * (0.65 - 0.35 * cos(2 * pi() * (extract(hour FROM l.at) + extract(minute FROM l.at) / 60) / 24))
			* CASE WHEN extract(isodow FROM l.at) >= 6 THEN site.weekend ELSE 1 END
			-- by five minutes, of which the job takes two
			+ CASE WHEN extract(hour FROM l.at) = 2 AND extract(minute FROM l.at) < 10 THEN site.job * 6 ELSE 0 END
		FROM (SELECT (at AT TIME ZONE 'UTC') + site.shift * interval '1 hour' AS at) AS l
	$$;
	CREATE TABLE bench.hour_noise AS
	SELECT s.tenant, h.hour, exp(0.25 * bench.normal()) AS noise
	FROM bench.site AS s, bench.span AS p,
		LATERAL generate_series(p.first - interval '28 days', p.last, interval '1 hour') AS h (hour);
	CREATE UNIQUE INDEX ON bench.hour_noise (tenant, hour);

	CREATE TABLE bench.traffic AS
	SELECT b.bucket, s.tenant, r.requests, e.errors, round(e.errors * CASE WHEN x.kind IS NULL THEN s.client_errors ELSE 0.1 END)::integer AS errors_4xx,
		(r.requests * s.cost * (1 + 0.05 * bench.normal()) * COALESCE(c.size, 1))::numeric(20, 6) AS cost,
		CASE WHEN b.bucket >= p.first - interval '3 hours' THEN (
			SELECT meter_sketch_agg(s.latency * COALESCE(l.size, 1) * exp(0.6 * bench.normal()) + 0 * x)
			FROM generate_series(1, least(r.requests, 60)) AS x) END AS latency
	FROM bench.span AS p
	CROSS JOIN LATERAL generate_series(p.first - interval '28 days', p.last - interval '5 minutes', interval '5 minutes') AS b (bucket)
	CROSS JOIN bench.site AS s
	JOIN bench.hour_noise AS n ON n.tenant = s.tenant AND n.hour = date_trunc('hour', b.bucket)
	LEFT JOIN bench.planted AS q ON q.kind = 'request spike' AND q.tenant = s.tenant AND b.bucket >= q.starts_at AND b.bucket < q.ends_at
	LEFT JOIN bench.planted AS c ON c.kind = 'cost spike' AND c.tenant = s.tenant AND b.bucket >= c.starts_at AND b.bucket < c.ends_at
	LEFT JOIN bench.planted AS x ON x.kind = 'error burst' AND x.tenant = s.tenant AND b.bucket >= x.starts_at AND b.bucket < x.ends_at
	LEFT JOIN bench.planted AS l ON l.kind = 'latency shift' AND l.tenant = s.tenant AND b.bucket >= l.starts_at AND b.bucket < l.ends_at
	CROSS JOIN LATERAL (
		SELECT bench.load(s, b.bucket) / 12 * n.noise * exp(0.15 * bench.normal()) * COALESCE(q.size, 1) AS mean
	) AS m
	CROSS JOIN LATERAL (SELECT greatest(0, round(m.mean + sqrt(m.mean) * bench.normal()))::integer AS requests) AS r
	CROSS JOIN LATERAL (SELECT r.requests * COALESCE(x.size, s.error_rate) AS mean) AS f
	CROSS JOIN LATERAL (SELECT least(r.requests, greatest(0, round(f.mean + sqrt(f.mean) * bench.normal())))::integer AS errors) AS e;
	CREATE INDEX ON bench.traffic (bucket);
	ANALYZE;

	CREATE PROCEDURE bench.write_hours(from_at timestamptz, to_at timestamptz) LANGUAGE sql AS $$
		INSERT INTO meter.usage_hourly (hour, tenant, metric, service, dims, events, successes, errors, errors_4xx, errors_5xx,
			errors_429, folded, first_at, last_at, last_seq, quantity, quantity_min, quantity_max, quantity_first, quantity_last, cost, latency)
		SELECT date_trunc('hour', t.bucket), t.tenant, 'api_requests', 'api', '{}', sum(t.requests), sum(t.requests - t.errors), sum(t.errors),
			sum(t.errors_4xx), sum(t.errors - t.errors_4xx), 0, 0, min(t.bucket), max(t.bucket), 1, sum(t.requests), 1, 1, 1, 1, sum(t.cost),
			meter_sketch_merge(t.latency)
		FROM bench.traffic AS t
		WHERE t.bucket >= from_at AND t.bucket < to_at
		GROUP BY 1, 2
	$$;
	CREATE PROCEDURE bench.write_minutes(from_at timestamptz, to_at timestamptz) LANGUAGE sql AS $$
		INSERT INTO meter.usage_recent (bucket, is_hour, tenant, service, requests, errors, errors_4xx, errors_429, cost, latency)
		SELECT t.bucket, false, t.tenant, 'api', t.requests, t.errors, t.errors_4xx, 0, t.cost, t.latency
		FROM bench.traffic AS t
		WHERE t.bucket >= from_at AND t.bucket < to_at
	$$;
	CREATE PROCEDURE bench.live() LANGUAGE plpgsql AS $$
	DECLARE
		now_at timestamptz;
		last_at timestamptz;
	BEGIN
		SELECT s.first, s.last INTO now_at, last_at FROM bench.span AS s;
		CALL bench.write_hours(now_at - interval '28 days', now_at);
		CALL bench.write_minutes(now_at - interval '72 hours', now_at);
		WHILE now_at < last_at LOOP
			now_at := now_at + interval '5 minutes';
			CALL bench.write_minutes(now_at - interval '5 minutes', now_at);
			IF now_at = date_trunc('hour', now_at) THEN
				CALL bench.write_hours(now_at - interval '1 hour', now_at);
			END IF;
			PERFORM meter.recent_fold(now_at);
			DELETE FROM meter.inbox;
			INSERT INTO meter.inbox (tenant, at)
			SELECT 'other', p.starts_at FROM bench.planted AS p
			WHERE p.kind = 'stale pipeline' AND p.starts_at <= now_at AND p.ends_at > now_at;
			UPDATE meter.inbox SET received_at = at;
			PERFORM FROM meter_evaluate_alerts(now_at);
			COMMIT;
		END LOOP;
	END $$;
SQL
started=$SECONDS
sql -c "CALL bench.live()"
say "$((days * 288)) evaluations of 40 tenants took $((SECONDS - started)) s"

sql -v figure="$figure" -v days="$days" -P footer=off -f - <<-'SQL'
	CREATE TABLE bench.found AS
	SELECT p.kind, p.tenant, p.starts_at, p.ends_at, min(a.fired_at) AS fired_at
	FROM bench.planted AS p
	LEFT JOIN meter.alert AS a ON a.tenant IS NOT DISTINCT FROM p.tenant
		AND a.fired_at >= p.starts_at AND a.fired_at <= p.ends_at + interval '15 minutes'
		AND a.signal = ANY (CASE p.kind WHEN 'request spike' THEN ARRAY['request_spike'] WHEN 'cost spike' THEN ARRAY['cost_spike']
			WHEN 'error burst' THEN ARRAY['error_rate'] WHEN 'latency shift' THEN ARRAY['latency_p95'] ELSE ARRAY['pipeline_lag'] END)
	GROUP BY p.kind, p.tenant, p.starts_at, p.ends_at;
	CREATE TABLE bench.false_alarm AS
	SELECT a.rule, a.signal, a.tenant, a.fired_at, a.peak
	FROM meter.alert AS a
	WHERE a.fired_at IS NOT NULL AND NOT EXISTS (
		SELECT FROM bench.planted AS p
		WHERE p.tenant IS NOT DISTINCT FROM a.tenant AND a.fired_at >= p.starts_at
			AND CASE p.kind
				WHEN 'request spike' THEN a.signal = ANY (ARRAY['request_spike', 'cost_spike']) AND a.fired_at <= p.ends_at + interval '1 hour'
				WHEN 'cost spike' THEN a.signal = 'cost_spike' AND a.fired_at <= p.ends_at + interval '1 hour'
				WHEN 'error burst' THEN a.signal = 'error_rate' AND a.fired_at <= p.ends_at + interval '20 minutes'
					OR a.signal = 'burn_rate' AND a.fired_at <= p.ends_at + interval '6 hours'
				WHEN 'latency shift' THEN a.signal = ANY (ARRAY['latency_p95', 'latency_avg']) AND a.fired_at <= p.ends_at + interval '20 minutes'
				ELSE a.signal = 'pipeline_lag' AND a.fired_at <= p.ends_at + interval '5 minutes'
			END);

	SELECT f.kind AS "planted", count(*) AS "number", count(f.fired_at) AS "detected",
		round(count(f.fired_at)::numeric / count(*), 3) AS "recall",
		round(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM f.fired_at - f.starts_at) / 60)::numeric) AS "minutes until then",
		round(max(extract(epoch FROM f.fired_at - f.starts_at) / 60)) AS "at most"
	FROM bench.found AS f GROUP BY f.kind
	UNION ALL
	SELECT 'all', count(*), count(f.fired_at), round(count(f.fired_at)::numeric / count(*), 3), NULL, NULL FROM bench.found AS f
	ORDER BY 2, 1;
	SELECT a.rule, count(*) AS "alerts", count(f.rule) AS "false" FROM meter.alert AS a
	LEFT JOIN bench.false_alarm AS f ON f.rule = a.rule AND f.tenant IS NOT DISTINCT FROM a.tenant AND f.fired_at = a.fired_at
	WHERE a.fired_at IS NOT NULL GROUP BY a.rule ORDER BY a.rule;

	INSERT INTO bench.detail (figure, variant, round, measure, value)
	SELECT :'figure', 'alerts', 1, 'recall', count(f.fired_at)::double precision / count(*) FROM bench.found AS f
	UNION ALL
	SELECT :'figure', 'alerts', 1, 'false', count(*) * 7.0 / :days FROM bench.false_alarm;
SQL
report_targets <<-'SQL'
	(1, 'recall', 'alerts', 'recall', NULL, '>=', 0.95),
	(2, 'false alarms per week, of 40 tenants', 'alerts', 'false', NULL, '<=', 1)
SQL
sql -c "DROP TABLE bench.span, bench.hour_noise, bench.planted, bench.traffic, bench.found, bench.false_alarm" \
	-c "DROP PROCEDURE bench.live(), bench.write_hours(timestamptz, timestamptz), bench.write_minutes(timestamptz, timestamptz)" \
	-c "DROP FUNCTION bench.load(bench.site, timestamptz), bench.normal()" -c "DROP TABLE bench.site"

-- capacity.sql: how requests and tenants grow, and who has too much or too little

-- A month that is not over is compared with as many whole hours of the month
-- before: requests_to_date and days are those of whole hours.  One scan, and all
-- windows are by tenant, so that a condition on the tenant reaches it.
CREATE FUNCTION meter.request_growth(at timestamptz, months integer DEFAULT 13)
RETURNS TABLE (tenant text, month date, complete boolean, requests bigint, requests_per_day numeric,
	previous_requests bigint, growth_percent numeric, daily_growth_percent numeric)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	SELECT g.tenant, g.month::date, g.month < g.this_month, g.requests,
		round(g.counted / NULLIF(g.days, 0), 2), g.previous,
		round(100 * (g.counted - g.previous) / NULLIF(g.previous, 0)::numeric, 2),
		round(100 * (g.counted / NULLIF(g.days, 0) * g.previous_days / NULLIF(g.previous, 0) - 1), 2)
	FROM (
		SELECT s.tenant, m.month, s.this_month,
			CASE WHEN m.month = s.month THEN s.requests ELSE 0 END AS requests,
			-- what is compared
			CASE WHEN m.month > s.month THEN 0 WHEN m.month = s.this_month THEN s.to_date ELSE s.requests END AS counted,
			CASE WHEN m.month = s.this_month THEN s.elapsed
				ELSE extract(epoch FROM m.month + interval '1 month' - m.month) END / 86400 AS days,
			CASE
				WHEN m.month > s.month + interval '1 month' THEN 0
				WHEN m.month > s.month AND m.month = s.this_month THEN s.to_date
				WHEN m.month > s.month THEN s.requests
				WHEN s.last_month < m.month - interval '1 month' THEN 0
				WHEN m.month = s.this_month THEN s.last_to_date
				ELSE s.last_requests
			END AS previous,
			CASE WHEN m.month = s.this_month
				THEN least(s.elapsed, extract(epoch FROM m.month - (m.month - interval '1 month')))
				ELSE extract(epoch FROM m.month - (m.month - interval '1 month'))
			END / 86400 AS previous_days
		FROM (
			SELECT u.tenant, u.month, u.requests, u.to_date, u.this_month, u.elapsed,
				lag(u.month) OVER in_order AS last_month,
				lag(u.requests) OVER in_order AS last_requests,
				lag(u.to_date) OVER in_order AS last_to_date,
				lead(u.month) OVER in_order AS next_month
			FROM (
				SELECT h.tenant, h.month, c.this_month, c.elapsed, sum(h.events)::bigint AS requests,
					COALESCE(sum(h.events) FILTER (
						WHERE extract(epoch FROM h.hour - h.month) < c.elapsed), 0)::bigint AS to_date
				FROM (
					SELECT date_trunc('month', request_growth.at AT TIME ZONE 'UTC') AS this_month,
						extract(epoch FROM date_trunc('hour', request_growth.at AT TIME ZONE 'UTC')
							- date_trunc('month', request_growth.at AT TIME ZONE 'UTC')) AS elapsed
				) AS c
				CROSS JOIN (
					SELECT u.tenant, u.hour AT TIME ZONE 'UTC' AS hour,
						date_trunc('month', u.hour AT TIME ZONE 'UTC') AS month, u.events
					FROM meter.usage_hourly AS u
					WHERE u.metric = 'api_requests' AND u.hour <= request_growth.at
						-- one more, which the first is compared with
						AND u.hour >= (date_trunc('month', request_growth.at AT TIME ZONE 'UTC')
							- make_interval(months => request_growth.months)) AT TIME ZONE 'UTC'
				) AS h
				GROUP BY h.tenant, h.month, c.this_month, c.elapsed
			) AS u
			WINDOW in_order AS (PARTITION BY u.tenant ORDER BY u.month)
		) AS s
		-- this month, and those without requests that follow it
		CROSS JOIN LATERAL generate_series(s.month,
			COALESCE(s.next_month, s.this_month + interval '1 month') - interval '1 month', interval '1 month') AS m (month)
	) AS g
	WHERE g.month > g.this_month - make_interval(months => request_growth.months);
END;
COMMENT ON FUNCTION meter.request_growth(timestamptz, integer) IS
'What meter.request_growth says, as of another time and for the last so many months';

-- The collation of the tables, for a condition on the tenant to find their indexes.
CREATE VIEW meter.request_growth AS
SELECT g.tenant COLLATE "C" AS tenant, g.month, g.complete, g.requests, g.requests_per_day, g.previous_requests,
	g.growth_percent, g.daily_growth_percent
FROM meter.request_growth(now()) AS g;
COMMENT ON VIEW meter.request_growth IS
'How do each tenant''s requests (metric api_requests) grow, month over month (UTC)? The last 13 months, from the tenant''s first one on; a month without requests has 0';
COMMENT ON COLUMN meter.request_growth.tenant IS 'the tenant';
COMMENT ON COLUMN meter.request_growth.month IS 'first day of the month, UTC';
COMMENT ON COLUMN meter.request_growth.complete IS 'whether it is over';
COMMENT ON COLUMN meter.request_growth.requests IS 'requests; of the running month, until now';
COMMENT ON COLUMN meter.request_growth.requests_per_day IS 'requests by day; of the running month, in its whole hours';
COMMENT ON COLUMN meter.request_growth.previous_requests IS
'requests in the month before; for the running month, in as many hours of it; null in the first month';
COMMENT ON COLUMN meter.request_growth.growth_percent IS
'growth against that in percent; of the running month, of its whole hours; null if that is 0 or null';
COMMENT ON COLUMN meter.request_growth.daily_growth_percent IS
'the same for requests by day, which months of different length do not distort';

-- Samples of gauges say nothing of a tenant's activity: the platform takes them.
CREATE FUNCTION meter.tenant_growth(at timestamptz, months integer DEFAULT 13)
RETURNS TABLE (month date, complete boolean, active_tenants bigint, new_tenants bigint, returned_tenants bigint,
	lost_tenants bigint, previous_tenants bigint, growth_percent numeric, requests bigint)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 13
BEGIN ATOMIC
	SELECT g.month::date, g.month < g.this_month, g.active, g.started, g.returned,
		CASE WHEN g.month < g.this_month THEN g.lost END, g.previous,
		round(100 * (CASE WHEN g.month < g.this_month THEN g.active ELSE g.active_to_date END - g.previous)
			/ NULLIF(g.previous, 0)::numeric, 2),
		g.requests
	FROM (
		SELECT e.month, e.this_month,
			count(*) FILTER (WHERE e.active) AS active,
			count(*) FILTER (WHERE e.active AND e.to_date) AS active_to_date,
			count(*) FILTER (WHERE e.active AND e.last_month IS NULL) AS started,
			count(*) FILTER (WHERE e.active AND e.last_month < e.month - interval '1 month') AS returned,
			count(*) FILTER (WHERE NOT e.active AND e.next_month IS DISTINCT FROM e.month) AS lost,
			count(*) FILTER (WHERE NOT e.active AND (e.month < e.this_month OR e.to_date)) AS previous,
			COALESCE(sum(e.requests) FILTER (WHERE e.active), 0)::bigint AS requests
		FROM (
			-- a tenant counts in its month, and as one of the month before in the next one
			SELECT u.this_month, u.last_month, u.next_month, u.to_date, u.requests, m.month, m.active
			FROM (
				SELECT t.tenant, t.month, t.this_month, t.to_date, t.requests,
					lag(t.month) OVER in_order AS last_month, lead(t.month) OVER in_order AS next_month
				FROM (
					SELECT h.tenant, h.month, c.this_month,
						bool_or(extract(epoch FROM h.hour - h.month) < c.elapsed) AS to_date,
						sum(h.events) FILTER (WHERE h.metric = 'api_requests') AS requests
					FROM (
						SELECT date_trunc('month', tenant_growth.at AT TIME ZONE 'UTC') AS this_month,
							extract(epoch FROM date_trunc('hour', tenant_growth.at AT TIME ZONE 'UTC')
								- date_trunc('month', tenant_growth.at AT TIME ZONE 'UTC')) AS elapsed
					) AS c
					CROSS JOIN (
						SELECT u.tenant, u.metric, u.hour AT TIME ZONE 'UTC' AS hour,
							date_trunc('month', u.hour AT TIME ZONE 'UTC') AS month, u.events
						FROM meter.usage_hourly AS u
						WHERE u.quantity_seconds IS NULL AND u.events > 0 AND u.hour <= tenant_growth.at
							AND u.hour >= (date_trunc('month', tenant_growth.at AT TIME ZONE 'UTC')
								- make_interval(months => tenant_growth.months)) AT TIME ZONE 'UTC'
					) AS h
					GROUP BY h.tenant, h.month, c.this_month, c.elapsed
				) AS t
				WINDOW in_order AS (PARTITION BY t.tenant ORDER BY t.month)
			) AS u
			CROSS JOIN LATERAL (VALUES (u.month, true), (u.month + interval '1 month', false)) AS m (month, active)
		) AS e
		WHERE e.month <= e.this_month AND e.month > e.this_month - make_interval(months => tenant_growth.months)
		GROUP BY e.month, e.this_month
	) AS g;
END;
COMMENT ON FUNCTION meter.tenant_growth(timestamptz, integer) IS
'What meter.tenant_growth says, as of another time and for the last so many months';

CREATE VIEW meter.tenant_growth AS
SELECT g.* FROM meter.tenant_growth(now()) AS g;
COMMENT ON VIEW meter.tenant_growth IS
'How many tenants use the platform, month by month (UTC), and how many come and go? Of the last 13 months; a tenant is active if it has events of a counter';
COMMENT ON COLUMN meter.tenant_growth.month IS 'first day of the month, UTC';
COMMENT ON COLUMN meter.tenant_growth.complete IS 'whether it is over';
COMMENT ON COLUMN meter.tenant_growth.active_tenants IS 'tenants that were active';
COMMENT ON COLUMN meter.tenant_growth.new_tenants IS 'of these, those that were not in the months before, as far as is looked back';
COMMENT ON COLUMN meter.tenant_growth.returned_tenants IS 'of these, those that were not in the month before, but earlier';
COMMENT ON COLUMN meter.tenant_growth.lost_tenants IS
'tenants that were active in the month before and not in this one; null while it is not over';
COMMENT ON COLUMN meter.tenant_growth.previous_tenants IS
'tenants that were active in the month before; for the running month, in as many hours of it';
COMMENT ON COLUMN meter.tenant_growth.growth_percent IS
'growth of active tenants against that in percent; of the running month, in its whole hours';
COMMENT ON COLUMN meter.tenant_growth.requests IS 'requests (metric api_requests) of all';

-- As meter.gauge_level, for a time that is known from the start, so that nothing
-- older than its month is read.
CREATE FUNCTION meter.gauge_load(of_metrics text[], from_hour timestamptz, to_at timestamptz)
RETURNS TABLE (tenant text, metric text, hour timestamptz, seconds numeric, level_seconds numeric)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	SELECT p.tenant, p.metric, p.hour, max(p.seconds), sum(p.level_seconds)
	FROM (
		SELECT h.tenant, h.metric, h.service, h.endpoint, h.method, h.dims, l.hour,
			sum(l.seconds) AS seconds, sum(l.level_seconds) AS level_seconds
		FROM (
			SELECT s.*, greatest(s.last_at, COALESCE(lead(s.first_at) OVER (
					PARTITION BY s.tenant, s.metric, s.service, s.endpoint, s.method, s.dims
					ORDER BY s.last_at), gauge_load.to_at)) AS until
			FROM (
				-- the levels that the month begins with
				SELECT * FROM (
					SELECT DISTINCT ON (g.tenant, g.metric, g.service, g.endpoint, g.method, g.dims)
						g.tenant, g.metric, g.service, g.endpoint, g.method, g.dims, NULL::timestamptz AS hour,
						g.last_at AS first_at, g.last_at, g.level AS quantity_last, 0::numeric AS quantity_seconds
					FROM meter.gauge_last AS g
					WHERE g.metric = ANY (gauge_load.of_metrics)
						AND g.month < (date_trunc('month', gauge_load.from_hour AT TIME ZONE 'UTC'))::date
					ORDER BY g.tenant, g.metric, g.service, g.endpoint, g.method, g.dims, g.month DESC
				) AS earlier
				UNION ALL
				SELECT u.tenant, u.metric, u.service, u.endpoint, u.method, u.dims, u.hour, u.first_at,
					u.last_at, u.quantity_last, u.quantity_seconds
				FROM meter.usage_hourly AS u
				WHERE u.quantity_seconds IS NOT NULL AND u.metric = ANY (gauge_load.of_metrics)
					AND u.hour >= date_trunc('month', gauge_load.from_hour AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
					AND u.hour < gauge_load.to_at
			) AS s
		) AS h
		CROSS JOIN LATERAL (
			-- from the first sample of an hour to its last
			SELECT h.hour, extract(epoch FROM h.last_at - h.first_at) AS seconds, h.quantity_seconds AS level_seconds
			WHERE h.hour >= gauge_load.from_hour
			UNION ALL
			-- from there to the next one
			SELECT g.hour, t.seconds, t.seconds * h.quantity_last
			FROM generate_series(greatest(date_trunc('hour', h.last_at, 'UTC'), gauge_load.from_hour),
				least(h.until, gauge_load.to_at), interval '1 hour') AS g (hour)
			CROSS JOIN LATERAL (
				SELECT extract(epoch FROM least(h.until, g.hour + interval '1 hour', gauge_load.to_at)
					- greatest(h.last_at, g.hour)) AS seconds
			) AS t
			WHERE t.seconds > 0
		) AS l
		GROUP BY h.tenant, h.metric, h.service, h.endpoint, h.method, h.dims, l.hour
	) AS p
	GROUP BY p.tenant, p.metric, p.hour;
END;
COMMENT ON FUNCTION meter.gauge_load(text[], timestamptz, timestamptz) IS
'Part of meter.provisioning: the level of each tenant''s gauges of these metrics, all dimensions together, in each hour from one hour to a time: for how many seconds there was one, and the level integrated over them';

CREATE FUNCTION meter.provisioning(at timestamptz)
RETURNS TABLE (tenant text, metric text, status text, percent numeric, peak_percent numeric,
	used numeric, available numeric, unit text, hours numeric)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	WITH load AS MATERIALIZED (
		SELECT l.tenant, l.metric, l.hour, l.seconds, l.level_seconds
		FROM meter.gauge_load(
			ARRAY(SELECT g.metric FROM meter.gauge_limit AS g
				UNION SELECT g.max_metric FROM meter.gauge_limit AS g WHERE g.max_metric IS NOT NULL),
			date_trunc('hour', provisioning.at, 'UTC') - interval '168 hours', provisioning.at) AS l
		WHERE l.seconds > 0
	), rule AS (
		SELECT DISTINCT ON (l.tenant, l.metric)
			l.tenant, l.metric, g.max, g.max_metric, g.low_percent, g.high_percent
		FROM (SELECT DISTINCT l.tenant, l.metric FROM load AS l) AS l
		LEFT JOIN meter.tenant AS t ON t.tenant = l.tenant
		JOIN meter.gauge_limit AS g ON g.metric = l.metric
			AND (g.tenant = l.tenant OR g.plan = t.plan OR g.tenant IS NULL AND g.plan IS NULL)
		-- whose last samples would hold for ever
		WHERE t.status IS DISTINCT FROM 'cancelled'
		ORDER BY l.tenant, l.metric, g.tenant NULLS LAST, g.plan NULLS LAST
	), hourly AS (
		SELECT r.tenant, r.metric, r.low_percent, r.high_percent, u.seconds, u.level_seconds,
			u.seconds * COALESCE(r.max, m.level_seconds / m.seconds) AS max_seconds
		FROM rule AS r
		JOIN load AS u ON u.tenant = r.tenant AND u.metric = r.metric
		LEFT JOIN load AS m ON m.tenant = r.tenant AND m.metric = r.max_metric AND m.hour = u.hour
	)
	SELECT s.tenant, s.metric,
		CASE
			WHEN s.hours < 24 OR s.percent IS NULL THEN NULL
			WHEN s.percent > s.high_percent THEN 'under-provisioned'
			WHEN s.percent < s.low_percent AND s.peak_percent <= s.high_percent THEN 'over-provisioned'
			ELSE 'ok'
		END,
		round(s.percent, 2), round(s.peak_percent, 2), round(s.used, 4), round(s.available, 4), m.unit, round(s.hours, 2)
	FROM (
		SELECT h.tenant, h.metric, h.low_percent, h.high_percent,
			100 * sum(h.level_seconds) / NULLIF(sum(h.max_seconds), 0) AS percent,
			max(100 * h.level_seconds / NULLIF(h.max_seconds, 0)) AS peak_percent,
			sum(h.level_seconds) / sum(h.seconds) AS used,
			sum(h.max_seconds) / sum(h.seconds) AS available,
			sum(h.seconds) / 3600 AS hours
		FROM hourly AS h
		WHERE h.max_seconds IS NOT NULL
		GROUP BY h.tenant, h.metric, h.low_percent, h.high_percent
	) AS s
	LEFT JOIN meter.metric AS m ON m.metric = s.metric;
END;
COMMENT ON FUNCTION meter.provisioning(timestamptz) IS
'What meter.provisioning says, as of another time; give a whole hour';

CREATE VIEW meter.provisioning AS
SELECT p.* FROM meter.provisioning(now()) AS p;
COMMENT ON VIEW meter.provisioning IS
'Which tenants have more than they use, and which less than they need? The levels of the last seven days of each gauge that has a limit in meter.gauge_limit, all dimensions together; without tenants that are cancelled';
COMMENT ON COLUMN meter.provisioning.tenant IS 'the tenant';
COMMENT ON COLUMN meter.provisioning.metric IS 'the gauge';
COMMENT ON COLUMN meter.provisioning.status IS
'under-provisioned: percent is above the limit''s high_percent; over-provisioned: it is below low_percent, and peak_percent not above high_percent; else ok; null for less than 24 hours, or if nothing is available';
COMMENT ON COLUMN meter.provisioning.percent IS 'how much of what is available is used, time-weighted average';
COMMENT ON COLUMN meter.provisioning.peak_percent IS 'the same in the hour in which it was highest';
COMMENT ON COLUMN meter.provisioning.used IS 'time-weighted average of what is used, in the gauge''s unit';
COMMENT ON COLUMN meter.provisioning.available IS 'the limit; of a limit that is a gauge, its time-weighted average';
COMMENT ON COLUMN meter.provisioning.unit IS 'unit of the gauge';
COMMENT ON COLUMN meter.provisioning.hours IS 'hours of the seven days for which there is a level, and a limit';

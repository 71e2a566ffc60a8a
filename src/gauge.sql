-- gauge.sql: levels that hold until the next sample

CREATE TABLE meter.gauge_last (
	tenant text COLLATE "C" NOT NULL,
	metric text COLLATE "C" NOT NULL,
	month date NOT NULL CONSTRAINT gauge_last_month_check CHECK (extract(day FROM month) = 1),
	service text COLLATE "C",
	endpoint text COLLATE "C",
	method text COLLATE "C",
	dims jsonb NOT NULL,
	last_at timestamptz NOT NULL,
	last_seq bigint NOT NULL,
	level numeric NOT NULL
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX gauge_last_key ON meter.gauge_last
	(tenant, metric, month, service, endpoint, method, dims) NULLS NOT DISTINCT;
-- no column of the index may be null for USING INDEX
ALTER TABLE meter.gauge_last REPLICA IDENTITY FULL;
COMMENT ON TABLE meter.gauge_last IS
'The last sample of each gauge in each month (UTC) that has any, written by meter_rollup(): the level that a later time begins with is found without reading all hours before it';
COMMENT ON COLUMN meter.gauge_last.tenant IS 'who is metered';
COMMENT ON COLUMN meter.gauge_last.metric IS 'what is metered';
COMMENT ON COLUMN meter.gauge_last.month IS 'first day of the month, UTC';
COMMENT ON COLUMN meter.gauge_last.service IS 'service of the gauge; null: none was given';
COMMENT ON COLUMN meter.gauge_last.endpoint IS 'route';
COMMENT ON COLUMN meter.gauge_last.method IS 'HTTP method';
COMMENT ON COLUMN meter.gauge_last.dims IS 'the metric''s declared dimensions, from metadata';
COMMENT ON COLUMN meter.gauge_last.last_at IS 'time of the last sample';
COMMENT ON COLUMN meter.gauge_last.last_seq IS 'its position in the log';
COMMENT ON COLUMN meter.gauge_last.level IS 'its level, which holds until the next sample';
SELECT pg_catalog.pg_extension_config_dump('meter.gauge_last', '');

CREATE VIEW meter.gauge_level AS
WITH sampled AS NOT MATERIALIZED (
	SELECT hour, tenant, metric, service, endpoint, method, dims,
		first_at, last_at, quantity_last, quantity_seconds,
		lead(first_at) OVER (
			PARTITION BY tenant, metric, service, endpoint, method, dims
			ORDER BY hour) AS next_at
	FROM meter.usage_hourly
	WHERE quantity_seconds IS NOT NULL
), held AS (
	SELECT s.*, GREATEST(COALESCE(s.next_at, now()), s.last_at) AS until
	FROM sampled AS s
)
SELECT hour, tenant, metric, service, endpoint, method, dims,
	sum(seconds) AS seconds,
	sum(level_seconds) AS level_seconds
FROM (
	-- within the hour, from its first sample to its last
	SELECT hour, tenant, metric, service, endpoint, method, dims,
		extract(epoch FROM last_at - first_at) AS seconds,
		quantity_seconds AS level_seconds
	FROM sampled
	UNION ALL
	-- from the last sample to the next one, in each hour that this touches
	SELECT g.hour, h.tenant, h.metric, h.service, h.endpoint, h.method, h.dims,
		p.seconds, p.seconds * h.quantity_last
	FROM held AS h
	CROSS JOIN LATERAL generate_series(h.hour, h.until, '1 hour'::interval) AS g(hour)
	CROSS JOIN LATERAL (
		SELECT extract(epoch FROM LEAST(h.until, g.hour + '1 hour'::interval)
			- GREATEST(h.last_at, g.hour)) AS seconds) AS p
) AS part
WHERE seconds > 0 OR level_seconds <> 0
GROUP BY hour, tenant, metric, service, endpoint, method, dims;
COMMENT ON VIEW meter.gauge_level IS
'What level did each gauge have in each hour? Every sample holds until the next one, across hours and months, the last one until now; hours without samples are there, too. seconds is how much of the hour is covered, level_seconds the level integrated over it: their quotient is the time-weighted average, level_seconds / 3600 are unit-hours such as GB-hours';

CREATE VIEW meter.gauge_hourly AS
SELECT l.hour, l.tenant, l.metric, l.service, l.endpoint, l.method, l.dims,
	COALESCE(u.events, 0) AS samples,
	u.quantity / u.events AS quantity_avg,
	u.quantity_min,
	u.quantity_max,
	u.quantity_last,
	l.level_seconds / NULLIF(l.seconds, 0) AS time_weighted,
	l.level_seconds / 3600 AS unit_hours
FROM meter.gauge_level AS l
LEFT JOIN meter.usage_hourly AS u
	ON u.hour = l.hour AND u.tenant = l.tenant AND u.metric = l.metric AND u.dims = l.dims
	AND u.service IS NOT DISTINCT FROM l.service
	AND u.endpoint IS NOT DISTINCT FROM l.endpoint
	AND u.method IS NOT DISTINCT FROM l.method
	AND u.quantity_seconds IS NOT NULL;
COMMENT ON VIEW meter.gauge_hourly IS
'How did each gauge move, hour by hour? Samples with their average, minimum, maximum and last value, and the time-weighted average in which each sample holds until the next, also across hours without samples';

CREATE VIEW meter.gauge_now AS
SELECT DISTINCT ON (l.tenant, l.metric, l.service, l.endpoint, l.method, l.dims)
	l.tenant, l.metric, l.service, l.endpoint, l.method, l.dims, l.last_at, l.level
FROM meter.gauge_last AS l
WHERE l.month >= (date_trunc('month', now() AT TIME ZONE 'UTC') - '1 month'::interval)::date
ORDER BY l.tenant, l.metric, l.service, l.endpoint, l.method, l.dims, l.month DESC;
COMMENT ON VIEW meter.gauge_now IS
'What level has each gauge now? Its last sample, as of the last rollup. Gauges without one since the beginning of last month (UTC) are left out: what sent them may be long gone';

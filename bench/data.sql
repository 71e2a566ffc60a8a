-- bench/data.sql: the events that the benchmarks are made of
--
-- The same in every run: the random numbers are seeded, one tenant's and one
-- user's share is as large as another's.  Latencies are log-normal (median
-- 33 ms), 4 % of the events are errors, a fifth have a cost.

CREATE SCHEMA bench;

CREATE TABLE bench.result (
	figure text NOT NULL,
	variant text NOT NULL,
	round integer NOT NULL,
	seconds double precision NOT NULL,
	cpu double precision,
	PRIMARY KEY (figure, variant, round)
);

-- what was measured besides the time
CREATE TABLE bench.detail (
	figure text NOT NULL,
	variant text NOT NULL,
	round integer NOT NULL,
	measure text NOT NULL,
	value double precision NOT NULL,
	PRIMARY KEY (figure, variant, round, measure)
);

-- Rows for meter.inbox.  With varied, no two quantities and costs in a row are
-- the same.
CREATE FUNCTION bench.events(n integer, start timestamptz, span interval,
	tenants integer, endpoints integer, users integer, varied boolean)
RETURNS TABLE (at timestamptz, latency_ms double precision, status integer,
	tenant text, metric text, quantity numeric, service text, endpoint text,
	method text, user_id text, cost numeric, request_id text, error_message text)
LANGUAGE sql VOLATILE
AS $$
	SELECT start + span * ((i - 1)::double precision / n),
		exp(3.5 + 0.8 * sqrt(-2 * ln(1 - r.normal)) * cos(2 * pi() * r.angle)),
		CASE WHEN r.status < 0.96 THEN 200 WHEN r.status < 0.98 THEN 404
			WHEN r.status < 0.99 THEN 429 ELSE 503 END,
		'tenant-' || to_char(k.tenant, 'FM0000'),
		'api_requests',
		CASE WHEN varied THEN 1 + i % 4999 ELSE 1 END,
		'api',
		'/v1/' || (ARRAY['accounts', 'alerts', 'backups', 'buckets', 'domains',
			'events', 'files', 'images', 'invoices', 'keys', 'messages', 'networks',
			'orders', 'projects', 'reports', 'servers', 'sessions', 'teams', 'tokens',
			'volumes'])[k.endpoint + 1],
		CASE WHEN k.endpoint % 4 = 0 THEN 'POST' ELSE 'GET' END,
		'user-' || k.tenant || '-' || floor(r.person * users)::integer,
		CASE WHEN r.cost < 0.2 THEN
			CASE WHEN varied THEN (1 + i % 9973) * 0.000001 ELSE 0.0025 END END,
		to_char(i, 'FM0000000000'),
		CASE WHEN r.status >= 0.99 THEN 'upstream timed out' END
	FROM (
		SELECT i, random() AS normal, random() AS angle, random() AS status,
			random() AS person, random() AS cost, random() AS tenant, random() AS endpoint
		FROM generate_series(1, n) AS i
	) AS r
	CROSS JOIN LATERAL (
		SELECT floor(r.tenant * tenants)::integer AS tenant,
			floor(r.endpoint * endpoints)::integer AS endpoint
	) AS k
$$;

-- Empties whatever the benchmarks fill.
CREATE PROCEDURE bench.reset()
LANGUAGE sql
AS $$
	TRUNCATE meter.inbox, meter.event, meter.event_partition, meter.log_position,
		meter.consumer, meter.idempotency_key, meter.rejected_event,
		meter.usage_hourly, meter.usage_user_daily, meter.usage_late, meter.gauge_last
$$;

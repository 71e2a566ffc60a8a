-- examples/demo/traffic.sql: thirty days of traffic of eight tenants, ending now.
--
-- Made set-based and from a fixed seed, so that two runs differ only by the
-- hour of the day they are made at.  The shape is that of real traffic: a day
-- and night curve in each tenant's time zone, quiet weekends, log-normal
-- latencies per endpoint, few users who make most calls, a tenant whose usage has
-- fallen, and two incidents, one of which is going on.

SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT setseed(0.2026) \g /dev/null

INSERT INTO meter.metric (metric, kind, unit, dimensions, description) VALUES
	('api_requests', 'counter', 'request', '{}', 'calls of the platform''s own API'),
	('llm_tokens', 'counter', 'token', '{model}', 'tokens of language models, in and out'),
	('emails', 'counter', 'message', '{}', 'messages sent'),
	('storage_gb', 'gauge', 'GB', '{region}', 'storage in use');

-- Peak calls per hour, hours ahead of UTC, number of users.
CREATE TEMP TABLE tenant (tenant text, peak double precision, utc_offset integer, users integer);
INSERT INTO tenant VALUES
	('acme', 420, 0, 120),
	('globex', 280, -5, 60),
	('initech', 190, 1, 45),
	('umbrella', 110, 9, 25),
	('hooli', 70, -8, 12),
	('stark', 55, -5, 9),
	('tyrell', 48, 0, 14),
	('wonka', 36, 1, 6);

-- {uuid}, {hex} and {n} become ids, which meter folds into :id again.
-- Of a route that is metered by another quantity than requests, quantity is the
-- median of a log-normal.
CREATE TEMP TABLE route (service text, metric text, method text, path text, share double precision,
	median_ms double precision, spread double precision, quantity double precision, unit_cost numeric);
INSERT INTO route VALUES
	('api', 'api_requests', 'GET', '/v2/{hex}/servers/detail', 24, 45, 0.45, 1, 0.00002),
	('api', 'api_requests', 'GET', '/v2/{hex}/servers/{uuid}', 18, 22, 0.40, 1, 0.00002),
	('api', 'api_requests', 'POST', '/v2/{hex}/servers', 3, 420, 0.55, 1, 0.0004),
	('api', 'api_requests', 'DELETE', '/v2/{hex}/servers/{uuid}', 2, 160, 0.50, 1, 0.0001),
	('api', 'api_requests', 'GET', '/api/v1/users/{n}', 15, 9, 0.35, 1, 0.00001),
	('api', 'api_requests', 'GET', '/api/v1/orders?page={n}&size=50', 11, 70, 0.60, 1, 0.00003),
	('api', 'api_requests', 'POST', '/api/v1/orders', 6, 130, 0.50, 1, 0.0001),
	('api', 'api_requests', 'GET', '/api/v1/search?q=invoice', 5, 210, 0.80, 1, 0.0002),
	('openai', 'llm_tokens', 'POST', '/v1/chat/completions', 8, 1900, 0.55, 900, 0.000009),
	('openai', 'llm_tokens', 'POST', '/v1/embeddings', 4, 160, 0.35, 350, 0.0000002),
	('email', 'emails', 'POST', '/v3/mail/send', 4, 95, 0.40, 1, 0.0011);

CREATE TEMP VIEW route_range AS
SELECT *, sum(share) OVER routes - share AS low, sum(share) OVER routes AS high
FROM route
WINDOW routes AS (ORDER BY service, path, method);

-- The number of calls in each quarter of an hour, and for each call its dice.
CREATE TEMP TABLE call AS
SELECT q.at + random() * interval '15 minutes' AS at, q.tenant, q.users, q.incident,
	100 * random() AS route_dice, 100 * random() AS status_dice, random() AS user_dice,
	-- Box and Muller's normal deviates
	sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS speed,
	sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS size
FROM (
	SELECT at, tenant, users,
		tenant = 'initech' AND at >= now() - interval '20 hours'
			AND at < now() - interval '18 hours' AS incident,
		peak / 4 * (0.85 + 0.3 * random())
			* (0.15 + 0.85 * exp(-power((extract(hour FROM local_time) + extract(minute FROM local_time) / 60 - 14) / 5, 2)))
			* CASE WHEN extract(isodow FROM local_time) > 5 THEN 0.45 ELSE 1 END
			* CASE WHEN tenant = 'umbrella' AND at > now() - interval '7 days' THEN 0.1 ELSE 1 END AS calls
	FROM tenant,
		generate_series(now() - interval '30 days', now() - interval '15 minutes',
			interval '15 minutes') AS at,
		LATERAL (SELECT at + utc_offset * interval '1 hour') AS l (local_time)
) AS q, generate_series(1, q.calls::integer)
UNION ALL
-- a client that tries again and again, since a third of its calls fail
SELECT now() - random() * interval '35 minutes', 'globex', 60, true,
	r.low, 40 * random(), random(),
	sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()),
	sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())
FROM route_range AS r, generate_series(1, 180)
WHERE r.path = '/v1/chat/completions';

-- What the dice say.
CREATE TEMP TABLE request AS
SELECT at, tenant, incident, metric, service, method, status, median_ms, spread, speed,
	greatest(1, round(CASE WHEN quantity = 1 THEN 1 ELSE quantity * exp(0.6 * size) END))::numeric AS amount,
	unit_cost,
	replace(replace(replace(path,
		'{uuid}', gen_random_uuid()::text),
		'{hex}', md5(tenant)),
		'{n}', (1 + floor(9000 * user_dice))::text) AS endpoint,
	-- few users make most calls
	format('user-%s', 1 + floor(users * user_dice ^ 3)) AS user_id,
	format('req-%s', gen_random_uuid()) AS request_id,
	CASE metric WHEN 'llm_tokens' THEN jsonb_build_object('model',
		CASE WHEN path LIKE '%embeddings' THEN 'text-embedding-3-small' ELSE 'gpt-4o-mini' END) END AS metadata
FROM (
	SELECT *, CASE
		WHEN incident AND status_dice < 14 THEN 503
		WHEN status_dice < 0.2 THEN 500
		WHEN status_dice < 0.3 THEN 502
		WHEN status_dice < 0.4 THEN 504
		WHEN status_dice < 1.2 THEN 429
		WHEN status_dice < 2.2 THEN 404
		WHEN status_dice < 2.7 THEN 401
		WHEN status_dice < 3.2 THEN 422
		WHEN method = 'POST' AND service = 'api' THEN 201
		WHEN method = 'POST' AND service = 'email' THEN 202
		WHEN method = 'DELETE' THEN 204
		ELSE 200 END AS status
	FROM call JOIN route_range ON route_dice >= low AND route_dice < high
) AS c;

-- Every call is a request; what is metered by another quantity, such as
-- tokens, is a second event that carries the cost.
INSERT INTO meter.inbox (at, tenant, metric, quantity, service, endpoint, method, status,
	latency_ms, user_id, cost, request_id, metadata, error_message)
SELECT at, tenant, 'api_requests', 1, service, endpoint, method, status,
	round((median_ms * exp(spread * speed)
		* CASE WHEN incident THEN 2.5 ELSE 1 END
		* CASE WHEN status >= 500 THEN 3 WHEN status >= 400 THEN 0.2 ELSE 1 END)::numeric, 3),
	user_id,
	CASE WHEN metric = 'api_requests' AND status < 400 THEN unit_cost END,
	request_id, metadata,
	CASE
		-- what clients log by mistake: meter masks it
		WHEN status = 502 THEN 'upstream refused Authorization: Bearer ' || md5(request_id)
		WHEN status >= 500 THEN 'timeout after 30 s'
		WHEN status = 429 THEN 'too many requests'
	END
FROM request
UNION ALL
SELECT at, tenant, metric, amount, service, endpoint, method, NULL,
	NULL, user_id, amount * unit_cost, request_id, metadata, NULL
FROM request
WHERE metric <> 'api_requests' AND status < 400
ORDER BY at;

-- Storage is a level, not a count: a sample each quarter of an hour.
INSERT INTO meter.inbox (at, tenant, metric, quantity, service, metadata)
SELECT at, tenant, 'storage_gb',
	round((peak * 0.2 + extract(epoch FROM at - (now() - interval '30 days')) / 3600 * peak / 2000
		+ random() * 2)::numeric, 3),
	'storage', jsonb_build_object('region', CASE WHEN utc_offset < 0 THEN 'us-east' ELSE 'eu-west' END)
FROM tenant,
	generate_series(now() - interval '30 days', now(), interval '15 minutes') AS at
ORDER BY at;

-- What clients get wrong: the flush refuses these rows and says why.
INSERT INTO meter.inbox (at, tenant, endpoint, method, status, latency_ms, quantity)
SELECT now() - n * interval '1 minute',
	CASE WHEN n % 5 = 0 THEN '' ELSE 'acme' END, '/api/v1/orders', 'GET',
	CASE WHEN n % 5 = 1 THEN 999 ELSE 200 END,
	CASE WHEN n % 5 = 2 THEN -1 ELSE 20 END,
	CASE WHEN n % 5 = 3 THEN 'NaN'::numeric ELSE 1 END
FROM generate_series(0, 49) AS n
WHERE n % 5 < 4;

-- One call at a time, as an application does it.
SELECT meter_track('acme', endpoint => '/api/v1/users/42?verbose=1', method => 'GET', status => 200,
	latency_ms => 11.5, user_id => 'user-1', service => 'api') \g /dev/null
SELECT meter_track('globex', 'llm_tokens', 1250, service => 'openai', endpoint => '/v1/chat/completions',
	method => 'POST', user_id => 'user-7', cost => 0.00075, metadata => '{"model": "gpt-4o-mini"}',
	idempotency_key => 'chat-0001') \g /dev/null
-- the same key again: a retry of the client, counted once
SELECT meter_track('globex', 'llm_tokens', 1250, service => 'openai', endpoint => '/v1/chat/completions',
	method => 'POST', user_id => 'user-7', cost => 0.00075, metadata => '{"model": "gpt-4o-mini"}',
	idempotency_key => 'chat-0001') \g /dev/null

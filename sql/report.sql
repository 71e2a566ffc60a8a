-- the views that people look at
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

INSERT INTO meter.metric (metric, dimensions) VALUES ('tokens', ARRAY['model']);
INSERT INTO meter.inbox (at, tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata) VALUES
	('2026-03-01 10:01+00', 'acme', 'api_requests', 1, 'api', '/v1/users/1', 'GET', 200, 10, 'ann', 0.01, NULL),
	('2026-03-01 10:02+00', 'acme', 'api_requests', 1, 'api', '/v1/users/2', 'GET', 200, 20, 'bob', 0.01, NULL),
	('2026-03-01 10:03+00', 'acme', 'api_requests', 1, 'api', '/v1/users/3', 'GET', 500, 30, 'ann', 0.01, NULL),
	('2026-03-01 10:04+00', 'acme', 'api_requests', 1, 'api', '/v1/users/3', 'POST', 429, 40, 'ann', 0.01, NULL),
	('2026-03-01 23:59+00', 'acme', 'api_requests', 1, 'openai', '/v1/chat', 'POST', 200, 1000, 'bob', 0.50, NULL),
	('2026-03-01 23:59+00', 'acme', 'tokens', 1200, 'openai', '/v1/chat', 'POST', 200, NULL, 'eve', 0.25, '{"model": "gpt-4"}'),
	('2026-03-02 00:00+00', 'acme', 'api_requests', 1, 'openai', '/v1/chat', 'POST', 200, 2000, 'bob', 0.50, NULL),
	('2026-03-01 10:00+00', 'zeta', 'api_requests', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT day, tenant, metric, service, endpoint, method, dims, events, errors, error_rate, quantity, cost, latency_avg, p50, p95, unique_users
FROM meter.usage_daily ORDER BY day, tenant, metric, service, endpoint, method;
SELECT month, tenant, metric, service, endpoint, method, events, successes, errors, errors_4xx, errors_5xx, errors_429, quantity, cost, unique_users
FROM meter.usage_monthly ORDER BY month, tenant, metric, service, endpoint, method;
SELECT * FROM meter.endpoint_stats ORDER BY hour, tenant, service, endpoint, method;
SELECT * FROM meter.service_daily ORDER BY day, tenant, service;
SELECT * FROM meter.top_users ORDER BY day, tenant, rank, user_id;

-- days are merges of hours: the same bytes as a sketch of the raw latencies
SELECT (SELECT meter_sketch_merge(latency) FROM meter.usage_daily WHERE tenant = 'acme')
	= (SELECT meter_sketch_agg(latency_ms) FROM meter.event WHERE tenant = 'acme') AS exact;

-- what comes out can be calculated with as it is
SELECT p95 - p50 AS spread, p95 / latency_avg > 1 AS skewed, errors * 100 / requests AS percent
FROM meter.endpoint_stats WHERE endpoint = '/v1/users/:id' AND method = 'GET';

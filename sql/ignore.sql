-- meter.ignore_endpoints: calls that are not tracked
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

-- what has been ignored since the last look
CREATE TABLE seen (ignored bigint);
INSERT INTO seen SELECT COALESCE(ignored, 0) FROM meter.stats;
CREATE FUNCTION ignored() RETURNS bigint LANGUAGE sql AS $$
	UPDATE seen SET ignored = s.ignored FROM meter.stats AS s, (SELECT ignored AS before FROM seen) AS b
	RETURNING s.ignored - b.before
$$;
-- which of some endpoints are tracked
CREATE FUNCTION tracked(endpoints text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	result text[];
BEGIN
	TRUNCATE meter.inbox;
	PERFORM meter_track('acme', endpoint => e) FROM unnest(endpoints) AS e;
	result := ARRAY(SELECT endpoint FROM meter.inbox ORDER BY endpoint COLLATE "C");
	TRUNCATE meter.inbox;
	RETURN result;
END
$$;

-- nothing is, unless it is set
SHOW meter.ignore_endpoints;
SELECT tracked('{/health, /, *, ""}');
SELECT ignored();

-- exact, and as the endpoint is stored: without host, query and identifiers
SET meter.ignore_endpoints = '/health';
SELECT tracked('{/health, /healthz, /Health, /v1/health, /health/live, /heal, /}');
SELECT tracked('{/health/, //health, "/health?verbose=1", "/health#x", "https://api.example.com:8443/health", health}');
SELECT ignored();
SET meter.ignore_endpoints = '/users/:id';
SELECT tracked('{/users/12, /users/38101a0b-2096-447d-96ea-a692162415ae, /users/12/orders, /users/me, /users}');
SET meter.ignore_endpoints = '/users/12';
SELECT tracked('{/users/12}');
SET meter.normalize_endpoints = off;
SELECT tracked('{/users/12, /users/123, /users/12?page=2}');
-- a backslash takes nothing from the star; credentials are masked before
SET meter.ignore_endpoints = '/login?token=\*';
SELECT tracked('{/login?token=abcdef12345}');
SET meter.ignore_endpoints = '/login?token=***';
SELECT tracked('{/login?token=abcdef12345}');
RESET meter.normalize_endpoints;
SELECT ignored();

-- * is any text, also none; nothing else is special
SET meter.ignore_endpoints = '/internal/*';
SELECT tracked('{/internal, /internal/a, /internal/a/b, /v1/internal/a, /internals}');
SET meter.ignore_endpoints = '*/health';
SELECT tracked('{/health, /v1/health, /v1/health/live, /healthz}');
SET meter.ignore_endpoints = '/v*/*/health*';
SELECT tracked('{/v1/a/health, /v1/a/b/healthz, /v1/health, /a/v1/b/health}');
SET meter.ignore_endpoints = '/a.c, /[ab], /%, /a?c, "/q"';
SELECT tracked('{/abc, /a, /b, /a.c, /[ab], /q}');
SET meter.ignore_endpoints = '/größe*';
SELECT tracked('{/größe, /größen, /grösse}');
SELECT ignored();

-- everything, but for calls that have no endpoint
SET meter.ignore_endpoints = '*';
SELECT tracked('{/, /a, a}');
SELECT meter_track('acme', request_id => 'no endpoint');
SELECT meter_track('acme', request_id => 'empty endpoint', endpoint => '');
SELECT request_id, endpoint FROM meter.inbox ORDER BY request_id;
SELECT ignored();

-- several patterns; blanks around them do not count, within them they do
SET meter.ignore_endpoints = '/health,/metrics';
SELECT tracked('{/health, /metrics, "/health,/metrics", /x}');
SET meter.ignore_endpoints = E'  /health ,\t/metrics\n,/a b ,  */x  ';
SHOW meter.ignore_endpoints;
SELECT tracked('{/health, /metrics, /a b, /ab, /a, /v1/x, /x, /y}');
-- the first, the last, and one in the middle of many
SELECT set_config('meter.ignore_endpoints', string_agg('/e/x' || i, ','), false) IS NOT NULL FROM generate_series(1000, 1999) AS i;
SET meter.normalize_endpoints = off;
SELECT tracked('{/e/x999, /e/x1000, /e/x1500, /e/x1999, /e/x2000, /e/x1}');
RESET meter.normalize_endpoints;
SELECT ignored();
-- blanks alone are no pattern
SET meter.ignore_endpoints = E' \t\n ';
SELECT tracked('{/health}');

-- bad lists; the setting stays what it was
SET meter.ignore_endpoints = '/health';
SET meter.ignore_endpoints = '/a,';
SET meter.ignore_endpoints = ',/a';
SET meter.ignore_endpoints = '/a,,/b';
SET meter.ignore_endpoints = '/a, ,/b';
SET meter.ignore_endpoints = ',';
SET meter.ignore_endpoints = '/a', '/b';
SET meter.ignore_endpoints = E'/a,\n';
SHOW meter.ignore_endpoints;
SELECT tracked('{/health, /a}');
ALTER ROLE CURRENT_USER SET meter.ignore_endpoints = '/a,,/b';
CREATE FUNCTION with_setting() RETURNS int LANGUAGE sql SET meter.ignore_endpoints = '' AS 'SELECT 1';
ALTER FUNCTION with_setting SET meter.ignore_endpoints = '/a,,/b';
DROP FUNCTION with_setting;

-- it ends with its transaction or savepoint, and can be unset
BEGIN;
SET LOCAL meter.ignore_endpoints = '/local';
SELECT tracked('{/health, /local}');
SAVEPOINT s;
SET LOCAL meter.ignore_endpoints = '';
SELECT tracked('{/health, /local}');
ROLLBACK TO s;
SELECT tracked('{/health, /local}');
COMMIT;
SELECT tracked('{/health, /local}');
SET meter.ignore_endpoints = '';
SELECT tracked('{/health, /local}');
SET meter.ignore_endpoints = '/health';
RESET meter.ignore_endpoints;
SELECT tracked('{/health, /local}');
-- it is not the application's to set
CREATE ROLE regress_ignore;
SET ROLE regress_ignore;
SET meter.ignore_endpoints = '*';
RESET ROLE;
DROP ROLE regress_ignore;

-- an ignored call is checked like any other, and uses up no idempotency key
SELECT ignored() IS NOT NULL;
SET meter.ignore_endpoints = '/health';
SELECT meter_track('acme', endpoint => '/health', status => 99);
SELECT meter_track('acme', endpoint => '/health', idempotency_key => 'k');
SELECT count(*) FROM meter.idempotency_key;
SELECT meter_track('acme', endpoint => '/a', request_id => 'counts', idempotency_key => 'k');
-- it is counted even if its transaction is rolled back
BEGIN;
SELECT meter_track('acme', endpoint => '/health');
ROLLBACK;
SELECT ignored();
SELECT * FROM meter_track_batch('[
	{"tenant": "acme", "endpoint": "/health", "request_id": "1"},
	{"tenant": "acme", "endpoint": "/a", "request_id": "2", "idempotency_key": "k"},
	{"tenant": "acme", "endpoint": "/a", "request_id": "3", "idempotency_key": "l"},
	{"tenant": "acme", "endpoint": "/health", "request_id": "4", "idempotency_key": "l"},
	{"tenant": "acme", "endpoint": "/health", "request_id": "5", "status": 99},
	{"tenant": "acme", "endpoint": "/health?x=1", "request_id": "6", "idempotency_key": "m"},
	{"tenant": "acme", "request_id": "7", "idempotency_key": "m"},
	{"specversion": "1.0", "id": "e-1", "source": "/gateway", "type": "t", "subject": "acme", "data": {"endpoint": "/health"}}
]');
SELECT ignored();
-- all of a batch
SELECT * FROM meter_track_batch('[{"tenant": "acme", "endpoint": "/health"}, {"tenant": "acme", "endpoint": "/health"}]');
SELECT ignored();
SELECT * FROM meter_flush();
SELECT request_id, endpoint FROM meter.event ORDER BY seq;
SELECT tenant, key, repeats FROM meter.idempotency_key ORDER BY key;

-- with the queue nothing is queued
SET meter.durability = buffered;
SELECT queued FROM meter.stats \gset
SELECT meter_track('acme', endpoint => '/health');
BEGIN READ ONLY;
SELECT meter_track('acme', endpoint => '/health');
COMMIT;
SELECT * FROM meter_track_batch('[
	{"tenant": "acme", "endpoint": "/health"},
	{"tenant": "acme", "endpoint": "/a", "request_id": "queued"},
	{"tenant": "", "endpoint": "/health"},
	{"tenant": "acme", "endpoint": "/health"}
]');
SELECT queued - :queued AS queued FROM meter.stats;
SELECT ignored();
-- what is queued already was tracked
SELECT meter_track('acme', endpoint => '/a', request_id => 'queued before');
SET meter.ignore_endpoints = '/a';
SELECT * FROM meter_flush();
SELECT ignored();
RESET meter.durability;
-- and so is what waits in the inbox since it was tracked
SET meter.ignore_endpoints = '';
SELECT meter_track('acme', endpoint => '/a', request_id => 'tracked before');
SET meter.ignore_endpoints = '/a';
SELECT * FROM meter_flush();
SELECT request_id FROM meter.event WHERE request_id LIKE '%before' ORDER BY seq;

-- rows of COPY are looked at by the flush
SET meter.ignore_endpoints = '/health, */metrics';
COPY meter.inbox (tenant, endpoint, status, request_id, idempotency_key) FROM STDIN;
acme	/health	200	1	\N
acme	https://api.example.com/health?x=1	200	2	c
acme	/v1/metrics	200	3	\N
acme	/v1/users/7	200	4	c
acme	\N	200	5	\N
acme	/health	99	6	\N
acme	/healthz	200	7	c
\.
SELECT ignored();
BEGIN;
SELECT * FROM meter_flush();
SELECT count(*) FROM meter.inbox;
ROLLBACK;
SELECT ignored();
SELECT * FROM meter_flush();
SELECT ignored();
SELECT request_id, endpoint FROM meter.event ORDER BY seq DESC LIMIT 2;
SELECT key, repeats FROM meter.idempotency_key WHERE key = 'c';
SELECT event ->> 'request_id' AS request_id, sqlstate FROM meter.rejected_event WHERE source = 'inbox';
SELECT count(*) FROM meter.inbox;
-- a flush of ignored rows only
INSERT INTO meter.inbox (tenant, endpoint) VALUES ('acme', '/health'), ('acme', '/metrics');
SELECT last_seq FROM meter.log_position \gset
SELECT * FROM meter_flush();
SELECT last_seq - :last_seq AS appended FROM meter.log_position;
SELECT ignored();
SELECT * FROM meter_flush();
RESET meter.ignore_endpoints;
DROP TABLE seen;
DROP FUNCTION ignored, tracked;

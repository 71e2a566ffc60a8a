-- the queue: what is tracked with meter.durability = buffered, and its flush; track.sql has what is refused
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

-- the settings
SELECT name, setting, unit, context, min_val, max_val, enumvals, boot_val FROM pg_settings
WHERE name IN ('meter.durability', 'meter.flush_cost_threshold', 'meter.flush_interval', 'meter.ignore_endpoints',
	'meter.max_databases', 'meter.queue_size', 'meter.queue_timeout', 'meter.rollup_interval')
ORDER BY name;
SHOW meter.durability;
SHOW meter.queue_size;
SHOW meter.queue_timeout;
SET meter.queue_timeout = '2s';
SHOW meter.queue_timeout;
RESET meter.queue_timeout;
SET meter.durability = sometimes;
SET meter.durability = on;
SET meter.queue_timeout = soon;
SET meter.flush_cost_threshold = NaN;
SET meter.flush_interval = 1;
SET meter.rollup_interval = 1;
SET meter.queue_size = '1GB';
SET meter.max_databases = 1;
-- how a range is written differs between versions
\set VERBOSITY sqlstate
SET meter.queue_timeout = -1;
SET meter.queue_timeout = '2h';
SET meter.flush_cost_threshold = -2;
\set VERBOSITY default

-- for a transaction, a function, a role and a database
BEGIN;
SET LOCAL meter.durability = buffered;
SELECT meter_track('local', request_id => 'queued');
COMMIT;
SHOW meter.durability;
SELECT meter_track('local', request_id => 'committed');
CREATE FUNCTION track_buffered(request text) RETURNS void LANGUAGE sql SET meter.durability = buffered
AS $$ SELECT meter_track('local', request_id => request) $$;
SELECT track_buffered('by function');
SELECT request_id FROM meter.inbox;
SELECT * FROM meter_flush();
SELECT seq, request_id FROM meter.event ORDER BY seq;

CREATE ROLE regress_queue LOGIN;
SELECT meter_grant('regress_queue', 'app');
ALTER ROLE regress_queue SET meter.durability = buffered;
SELECT current_user AS superuser, current_database() AS database \gset
\c - regress_queue
SHOW meter.durability;
-- what bounds others is not the application's to set, where its own events wait is
SET meter.flush_cost_threshold = 0;
SET meter.ignore_endpoints = '';
SELECT meter_track('role', request_id => 'queued by a role');
SET meter.durability = commit;
SELECT meter_track('role', request_id => 'committed by a role');
SELECT * FROM meter_flush();
\c - :superuser
SHOW meter.durability;
ALTER DATABASE :database SET meter.durability = buffered;
\c - -
SHOW meter.durability;
SELECT source FROM pg_settings WHERE name = 'meter.durability';
SELECT meter_track('role', request_id => 'queued in a database');
ALTER DATABASE :database RESET meter.durability;
\c - -
-- another session's events are there for this one
SHOW meter.durability;
SET timezone = 'UTC';
SET meter.retention = 0;
SELECT * FROM meter_flush();
SELECT seq, request_id FROM meter.event WHERE tenant = 'role' ORDER BY seq;
DROP OWNED BY regress_queue;
DROP ROLE regress_queue;
DROP FUNCTION track_buffered;

-- an event arrives as in commit mode, column by column
CREATE TABLE sample (
	n int GENERATED ALWAYS AS IDENTITY,
	tenant text DEFAULT 'acme', metric text DEFAULT 'm', quantity numeric DEFAULT 1,
	service text, endpoint text, method text, status int, latency_ms float8, user_id text, cost numeric,
	metadata jsonb, idempotency_key text, request_id text, error_message text);
-- nothing, everything, and each alone
INSERT INTO sample DEFAULT VALUES;
INSERT INTO sample (tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata,
	idempotency_key, request_id, error_message)
VALUES ('acme', 'all', 2.50, 'shop', 'https://api.example.com/v2/users/12345/orders?page=2', 'GET', 503, 45.25, 'u1',
	0.0025, '{"region": "eu", "n": [1, 2.0, null, {"deep": true}]}', 'k-1', 'r-1', 'failed: Authorization: Bearer abcdef1234567890abcdef');
INSERT INTO sample (service) VALUES ('s');
INSERT INTO sample (endpoint) VALUES ('/e');
INSERT INTO sample (method) VALUES ('M');
INSERT INTO sample (status) VALUES (100), (599);
INSERT INTO sample (latency_ms) VALUES (0), ('-0'), (1e-300), (0.1), (1e12);
INSERT INTO sample (user_id) VALUES ('u');
INSERT INTO sample (cost) VALUES (1);
INSERT INTO sample (metadata) VALUES ('{}');
INSERT INTO sample (idempotency_key) VALUES ('k');
INSERT INTO sample (request_id) VALUES ('r');
INSERT INTO sample (error_message) VALUES ('e');
-- empty is absent
INSERT INTO sample (service, endpoint, method, user_id, idempotency_key, request_id, error_message) VALUES ('', '', '', '', '', '', '');
-- numbers of few and of many digits; their scale is kept
INSERT INTO sample (quantity, cost) VALUES
	(0, 0), (0.00, -0.00), (1.10, -1.10), (1e29, -1e29), (1e30 - 1, -1e30 + 1), (1e-30, -1e-30), (10000, 9999), (0.0001, 1e4),
	(999999999999999999999999999999.999999999999999999999999999999, -999999999999999999999999999999.999999999999999999999999999999);
-- texts around the length at which their header grows, and as long as they may be
INSERT INTO sample (user_id, idempotency_key, request_id, error_message)
SELECT repeat('u', i), repeat('k', i), repeat('r', i), repeat('e', i) FROM generate_series(124, 128) AS i;
INSERT INTO sample (tenant, metric, service, endpoint, method, user_id, idempotency_key, request_id, error_message) VALUES
	(repeat('t', 128), repeat('m', 64), repeat('s', 64), repeat('/part', 1000), repeat('M', 16), repeat('u', 128), repeat('k', 255),
	 repeat('r', 128), repeat('error ', 1000)),
	(repeat('ж', 64), repeat('数', 21), repeat('🙂', 16), '/' || repeat('é', 400), repeat('é', 8), repeat('ß', 64), repeat('ш', 127),
	 repeat('日', 42), repeat('語', 1000));
-- metadata: credentials, unicode, and nearly 8 kB, also such as cannot be compressed
INSERT INTO sample (metadata) VALUES
	('{"password": "hunter2", "nested": {"api_key": "x"}, "input_tokens": 7}'),
	('{"ключ": "значение", "emoji": "🙂", "escaped": "\u00e9\n\""}'),
	('{"number": 123456789012345678901234567890.12345678901234567890}'),
	(jsonb_build_object('k', repeat('x', 8175)));
INSERT INTO sample (metadata) SELECT jsonb_object_agg(md5(i::text), md5('v' || i)) FROM generate_series(1, 110) AS i;
CREATE FUNCTION track_samples() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM meter_track(tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata,
		idempotency_key, request_id, error_message, '2026-03-01 00:00+00'::timestamptz + n * interval '1 minute')
	FROM sample ORDER BY n;
END
$$;
SELECT count(*), max(octet_length(metadata::text)) FROM sample;
TRUNCATE meter.event, meter.event_partition, meter.log_position, meter.idempotency_key;
SELECT track_samples();
SELECT appended FROM meter_flush();
CREATE TABLE committed AS SELECT * FROM meter.event;
TRUNCATE meter.event, meter.event_partition, meter.log_position, meter.idempotency_key;
SET meter.durability = buffered;
SELECT clock_timestamp() AS before \gset
SELECT track_samples();
SELECT clock_timestamp() AS after \gset
SELECT count(*) FROM meter.inbox;
SELECT appended FROM meter_flush();
SELECT key AS column, count(c.value) AS values, count(*) FILTER (WHERE c.value IS DISTINCT FROM q.value) AS different
FROM committed JOIN meter.event USING (seq),
	LATERAL (SELECT * FROM jsonb_each_text(to_jsonb(committed)) WITH ORDINALITY) AS c
	JOIN LATERAL jsonb_each_text(to_jsonb(event)) AS q USING (key)
GROUP BY key ORDER BY key COLLATE "C";
SELECT count(*), bool_and(received_at BETWEEN :'before' AND :'after') FROM meter.event;
-- the indexes know them
SET enable_seqscan = off;
SELECT count(*), bool_and(tableoid = 'meter.event_p20260301'::regclass)
FROM generate_series(1, 40) AS i, LATERAL (SELECT tableoid FROM meter.event WHERE seq = i) AS e;
RESET enable_seqscan;
SELECT seq, at, tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata,
	idempotency_key, request_id, error_message, corrects, superseded_by
FROM meter.event WHERE seq = 2 \gx
DROP TABLE sample, committed;
DROP FUNCTION track_samples;

-- an event stays queued whatever becomes of its transaction
BEGIN;
SELECT meter_track('acme', request_id => 'rolled back');
ROLLBACK;
BEGIN;
SELECT meter_track('acme', request_id => 'before savepoint');
SAVEPOINT s;
SELECT meter_track('acme', request_id => 'after savepoint');
ROLLBACK TO s;
SELECT meter_track('acme', request_id => 'after rollback');
COMMIT;
SELECT meter_track('acme', request_id => 'failed statement'), 1 / (random() * 0)::int;
DO $$
BEGIN
	PERFORM meter_track('acme', request_id => 'caught');
	RAISE EXCEPTION 'some error';
EXCEPTION WHEN OTHERS THEN
	NULL;
END
$$;
BEGIN READ ONLY;
SELECT meter_track('acme', request_id => 'read only');
SELECT result FROM meter_track_batch('[{"tenant": "acme", "request_id": "read only batch"}]');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE;
SELECT meter_track('acme', request_id => 'serializable');
COMMIT;
SELECT count(*) FROM meter.inbox;
SELECT * FROM meter_flush();
SELECT seq, request_id FROM meter.event WHERE tenant = 'acme' AND at >= '2026-03-02' ORDER BY seq;
-- commit mode and the flush cannot do without writing
BEGIN READ ONLY;
SET LOCAL meter.durability = commit;
SELECT meter_track('acme');
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM meter_flush();
ROLLBACK;

-- a new metric is registered by the flush, even if its caller rolled back
TRUNCATE meter.event, meter.event_partition, meter.log_position;
BEGIN;
SELECT meter_track('acme', 'fresh', 2);
SELECT meter_track('acme', 'fresh', 3);
SELECT count(*) FROM meter.metric WHERE metric = 'fresh';
ROLLBACK;
SELECT count(*) FROM meter.metric WHERE metric = 'fresh';
BEGIN;
SELECT * FROM meter_flush();
SELECT metric, kind, dimensions, allow_negative FROM meter.metric WHERE metric = 'fresh';
ROLLBACK;
SELECT count(*) FROM meter.metric WHERE metric = 'fresh';
SELECT * FROM meter_flush();
SELECT metric, kind, dimensions, allow_negative FROM meter.metric WHERE metric = 'fresh';
SELECT seq, metric, quantity FROM meter.event ORDER BY seq;
-- what a metric allows is asked at the call
SELECT meter_track('acme', 'fresh', -1);
UPDATE meter.metric SET allow_negative = true WHERE metric = 'fresh';
SELECT meter_track('acme', 'fresh', -1);
-- so are meter.strict_metrics and meter.max_metrics; the default metric is always known
SET meter.strict_metrics = on;
SELECT meter_track('acme', 'unheard');
DELETE FROM meter.metric WHERE metric = 'api_requests';
SELECT meter_track('acme', request_id => 'default metric');
RESET meter.strict_metrics;
SELECT count(*) AS metrics FROM meter.metric \gset
SET meter.max_metrics = :metrics;
SELECT meter_track('acme', 'one_too_many');
SELECT meter_track('acme', 'fresh', 4);
RESET meter.max_metrics;
SELECT * FROM meter_flush();
SELECT seq, metric, quantity FROM meter.event WHERE seq > 2 ORDER BY seq;
-- and again at the flush, of metrics that were new at the call: here there is room for one
SELECT meter_track('acme', 'first', request_id => '1');
SELECT meter_track('acme', 'second', request_id => '2');
SELECT meter_track('acme', 'first', request_id => '3');
SELECT count(*) + 1 AS metrics FROM meter.metric \gset
SET meter.max_metrics = :metrics;
SELECT * FROM meter_flush();
RESET meter.max_metrics;
SELECT meter_track('acme', 'third', request_id => '4');
SET meter.strict_metrics = on;
SELECT * FROM meter_flush();
RESET meter.strict_metrics;
SELECT metric, request_id FROM meter.event WHERE request_id IS NOT NULL ORDER BY seq;
SELECT source, sqlstate, regexp_replace(reason, '[0-9]+', '<n>') AS reason, tenant, event - 'at' - 'received_at' AS event
FROM meter.rejected_event ORDER BY rejected_at;
SELECT metric FROM meter.metric WHERE metric IN ('first', 'second', 'third', 'unheard', 'one_too_many');

-- idempotency keys are looked at by the flush: the first event with a key counts
TRUNCATE meter.event, meter.event_partition, meter.log_position, meter.rejected_event, meter.idempotency_key;
SELECT meter_track('acme', request_id => '1', idempotency_key => 'k');
SELECT meter_track('acme', request_id => '2', idempotency_key => 'k');
SELECT meter_track('zeta', request_id => '3', idempotency_key => 'k');
SELECT meter_track('acme', request_id => '4', idempotency_key => 'k');
SELECT count(*) FROM meter.idempotency_key;
SELECT * FROM meter_flush();
SELECT meter_track('acme', request_id => '5', idempotency_key => 'k');
SELECT meter_track('acme', request_id => '6', idempotency_key => 'l');
SELECT * FROM meter_flush();
SELECT tenant, key, repeats FROM meter.idempotency_key ORDER BY tenant, key;
-- claimed in commit mode, before and after the flush
SET meter.durability = commit;
SELECT meter_track('acme', request_id => '7', idempotency_key => 'c');
SET meter.durability = buffered;
SELECT meter_track('acme', request_id => '8', idempotency_key => 'c');
SELECT * FROM meter_flush();
SELECT meter_track('acme', request_id => '9', idempotency_key => 'c');
SELECT * FROM meter_flush();
-- claimed by a queued event; while that is queued only, commit mode is first
SET meter.durability = commit;
SELECT meter_track('acme', request_id => '10', idempotency_key => 'k');
SET meter.durability = buffered;
SELECT meter_track('acme', request_id => '11', idempotency_key => 'm');
SET meter.durability = commit;
SELECT meter_track('acme', request_id => '12', idempotency_key => 'm');
SET meter.durability = buffered;
SELECT * FROM meter_flush();
-- in bulk and in the queue
COPY meter.inbox (tenant, request_id, idempotency_key) FROM STDIN;
acme	13	b
acme	14	k
\.
SELECT meter_track('acme', request_id => '15', idempotency_key => 'b');
SELECT * FROM meter_flush();
-- after the window the key can be used again, but only once
UPDATE meter.idempotency_key SET seen_at = now() - interval '36 days' WHERE key = 'k';
SELECT meter_track('acme', request_id => '16', idempotency_key => 'k');
SELECT meter_track('acme', request_id => '17', idempotency_key => 'k');
SELECT * FROM meter_flush();
SELECT tenant, request_id, idempotency_key FROM meter.event ORDER BY seq;
SELECT tenant, key, repeats FROM meter.idempotency_key ORDER BY tenant, key;
-- a queued event can be corrected by its key at once
SELECT meter_track('acme', quantity => 5, idempotency_key => 'x');
SELECT meter_correct('acme', 'x', quantity => 6);
SELECT * FROM meter_flush();
SELECT quantity, superseded_by - seq AS superseded_by_next, seq - corrects AS corrects_last
FROM meter.event WHERE idempotency_key = 'x' ORDER BY seq;

-- a flush that rolls back has not happened
TRUNCATE meter.event, meter.event_partition, meter.log_position, meter.idempotency_key;
SELECT meter_track('acme', request_id => '1', idempotency_key => 'k');
SELECT meter_track('acme', request_id => '2', idempotency_key => 'k');
BEGIN;
SELECT * FROM meter_flush();
SELECT * FROM meter_flush();
SELECT request_id FROM meter.event;
ROLLBACK;
SELECT count(*) FROM meter.event;
SELECT count(*) FROM meter.idempotency_key;
SELECT * FROM meter_flush();
SELECT * FROM meter_flush();
SELECT request_id FROM meter.event;
-- several in a transaction and in its savepoints: each event is there once
BEGIN;
SELECT meter_track('acme', request_id => '3');
SELECT * FROM meter_flush();
SELECT meter_track('acme', request_id => '4');
SAVEPOINT s;
SELECT * FROM meter_flush();
ROLLBACK TO s;
SELECT meter_track('acme', request_id => '5');
SELECT * FROM meter_flush();
SAVEPOINT s;
SELECT meter_track('acme', request_id => '6');
SELECT * FROM meter_flush();
RELEASE s;
SELECT * FROM meter_flush();
COMMIT;
SELECT * FROM meter_flush();
-- the last is rolled back, so that the next transaction finds what it has left
BEGIN;
SELECT meter_track('acme', request_id => '7');
SELECT * FROM meter_flush();
SELECT meter_track('acme', request_id => '8');
SAVEPOINT s;
SELECT * FROM meter_flush();
ROLLBACK TO s;
COMMIT;
SELECT meter_track('acme', request_id => '9');
SELECT * FROM meter_flush();
-- only the first is rolled back
BEGIN;
SELECT meter_track('acme', request_id => '10');
SAVEPOINT s;
SELECT * FROM meter_flush();
ROLLBACK TO s;
COMMIT;
SELECT meter_track('acme', request_id => '11');
SELECT f.appended, meter_track('acme', request_id => '12'), g.appended, h.appended
FROM meter_flush() AS f, LATERAL (SELECT appended FROM meter_flush() WHERE f.appended > 0) AS g,
	LATERAL (SELECT appended FROM meter_flush() WHERE g.appended >= 0) AS h;
SELECT * FROM meter_flush();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM meter.event;
SELECT meter_track('acme', request_id => '13');
SELECT * FROM meter_flush();
SELECT meter_track('acme', request_id => '14');
SELECT * FROM meter_flush();
SELECT count(*) FROM meter.event;
COMMIT;
SELECT seq, request_id FROM meter.event ORDER BY seq;

-- what was young enough at the call may be too old at the flush
TRUNCATE meter.event, meter.event_partition, meter.log_position;
SELECT meter_track('acme', request_id => 'old', endpoint => '/users/1?page=2', idempotency_key => 'old', cost => 0.50,
	metadata => '{"token": "secret", "n": 1}', at => now() - interval '10 days');
SELECT meter_track('acme', request_id => 'young', at => now() - interval '4 days');
SET meter.retention = '5d';
SELECT * FROM meter_flush();
SET meter.retention = 0;
SELECT request_id FROM meter.event;
SELECT source, sqlstate, regexp_replace(reason, 'It is .*;', 'It is <time>;') AS reason, tenant,
	event - 'at' - 'received_at' AS event, event ? 'at' AND event ? 'received_at' AS has_times
FROM meter.rejected_event;
-- its key is not used up
SELECT count(*) FROM meter.idempotency_key WHERE key = 'old';
-- a day whose events were dropped takes no samples of gauges any more
TRUNCATE meter.rejected_event;
INSERT INTO meter.metric (metric, kind) VALUES ('level', 'gauge');
UPDATE meter.log_position SET dropped_through = '2026-01-15';
SELECT meter_track('acme', 'level', 1, at => '2026-01-15 23:59:59+00');
SELECT meter_track('acme', 'level', 2, at => '2026-01-16 00:00:00+00');
SELECT meter_track('acme', 'fresh', 3, at => '2026-01-15 23:59:59+00');
SELECT * FROM meter_flush();
SELECT metric, quantity FROM meter.event WHERE seq > 1 ORDER BY seq;
SELECT source, sqlstate, reason, event ->> 'metric' AS metric FROM meter.rejected_event;

-- an event that cannot be stored is found among the others and stops none of them
TRUNCATE meter.event, meter.event_partition, meter.log_position, meter.rejected_event;
CREATE UNIQUE INDEX only_once ON meter.event_p20260301 (request_id);
DO $$
BEGIN
	PERFORM meter_track('acme', request_id => 'r' || i % 40, at => '2026-03-01 10:00+00') FROM generate_series(1, 50) AS i;
END
$$;
SELECT * FROM meter_flush();
SELECT count(*), count(DISTINCT request_id), max(seq) FROM meter.event;
SELECT source, sqlstate, count(*), min(event ->> 'tenant') AS tenant, count(DISTINCT event ->> 'request_id') AS events
FROM meter.rejected_event GROUP BY 1, 2;
DROP INDEX meter.only_once;
-- one that the server cannot store yet waits on
ALTER TABLE meter.event DETACH PARTITION meter.event_p20260301;
SELECT meter_track('acme', request_id => 'waits', at => '2026-03-01 10:00+00');
SELECT meter_track('acme', request_id => 'waits, too');
SELECT * FROM meter_flush();
SELECT * FROM meter_flush();
ALTER TABLE meter.event ATTACH PARTITION meter.event_p20260301 FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-03-02 00:00+00');
SELECT * FROM meter_flush();
SELECT * FROM meter_flush();
SELECT seq, request_id FROM meter.event WHERE seq > 40 ORDER BY seq;

-- more events than are dealt with in one go, of many days, some of whose partitions are new
TRUNCATE meter.event, meter.event_partition, meter.log_position, meter.rejected_event;
DO $$
BEGIN
	PERFORM meter_track('days', quantity => i, idempotency_key => CASE WHEN i % 5 = 0 THEN 'k' || i % 10000 END,
		at => timestamptz '2026-03-01 00:00+00' + (i * 7 % 40) * interval '1 day')
	FROM generate_series(1, 25000) AS i;
END
$$;
-- keys: the multiples of 5 below 10000 are new, and come again up to 25000
SELECT * FROM meter_flush();
SELECT count(*), count(DISTINCT quantity), sum(quantity), count(DISTINCT tableoid) AS partitions FROM meter.event;
SELECT sum(i) FROM generate_series(1, 25000) AS i WHERE i % 5 <> 0 OR i <= 10000;
SELECT min(seq), max(seq), count(DISTINCT seq) FROM meter.event;
SELECT bool_and(p.events = e.n AND p.first_seq = e.lo AND p.last_seq = e.hi)
FROM meter.event_partition AS p
FULL JOIN (SELECT (at AT TIME ZONE 'UTC')::date AS day, count(*) AS n, min(seq) AS lo, max(seq) AS hi
	FROM meter.event GROUP BY 1) AS e USING (day);

-- batches: what is valid is accepted, as nobody has looked at its key yet
TRUNCATE meter.event, meter.event_partition, meter.log_position, meter.idempotency_key, meter.rejected_event;
SELECT meter_track('acme', request_id => '1', idempotency_key => 'k');
SELECT * FROM meter_flush();
SET meter.ignore_endpoints = '/health';
SELECT * FROM meter_track_batch('[
	{"tenant": "acme", "request_id": "2", "idempotency_key": "k"},
	{"tenant": "acme", "request_id": "3", "idempotency_key": "l", "quantity": "2.50", "at": "2026-03-04T05:06:07.123456Z"},
	{"tenant": "acme", "request_id": "4", "idempotency_key": "l"},
	{"tenant": "acme", "request_id": "5", "status": 99},
	{"tenant": "acme", "request_id": "6", "endpoint": "/health?x=1"},
	{"tenant": "acme", "request_id": "7", "endpoint": "/health", "quantity": -1},
	{"tenant": "acme", "request_id": "8", "metric": "new in a batch"},
	{"specversion": "1.0", "id": "e-1", "source": "/gateway", "type": "tokens", "subject": "acme", "data": {"model": "m"}},
	17
]');
RESET meter.ignore_endpoints;
SELECT * FROM meter_flush();
SELECT request_id, metric, quantity, idempotency_key, metadata FROM meter.event ORDER BY seq;
SELECT source, sqlstate, event FROM meter.rejected_event ORDER BY rejected_at;
SELECT * FROM meter_track_batch('[]');
-- the accepted stay if the caller rolls back, the refused are kept only if he commits
TRUNCATE meter.rejected_event;
BEGIN;
SELECT result FROM meter_track_batch('[{"tenant": "acme", "request_id": "9"}, {"tenant": ""}]');
ROLLBACK;
SELECT count(*) FROM meter.rejected_event;
-- where the refused cannot be kept nothing is queued
\set SHOW_CONTEXT never
BEGIN READ ONLY;
SELECT result FROM meter_track_batch('[{"tenant": "acme", "request_id": "10"}, {"tenant": ""}]');
ROLLBACK;
SELECT * FROM meter_flush();
SELECT request_id FROM meter.event ORDER BY seq DESC LIMIT 1;

-- rows have what was tracked, whatever of it is there and however long it is
SET meter.normalize_endpoints = off;
CREATE FUNCTION pg_temp.some(i integer, salt integer, longest integer) RETURNS text
RETURN CASE WHEN abs(hashint4extended(i, salt) % 3) > 0
	THEN repeat('p', (1 + abs(hashint4extended(i, salt + 1) % longest))::integer) END;
CREATE TEMPORARY TABLE sent AS
SELECT (i || coalesce(pg_temp.some(i, 10, 120), '')) COLLATE "C" AS tenant,
	coalesce(pg_temp.some(i, 20, 60), 'm') AS metric,
	coalesce((length(pg_temp.some(i, 30, 60)) ^ 9)::numeric, 1) AS quantity,
	pg_temp.some(i, 40, 64) AS service, '/' || pg_temp.some(i, 50, 500) AS endpoint,
	pg_temp.some(i, 60, 16) AS method, 100 + length(pg_temp.some(i, 70, 499)) AS status,
	length(pg_temp.some(i, 80, 1000))::double precision / 7 AS latency_ms,
	pg_temp.some(i, 90, 128) AS user_id, length(pg_temp.some(i, 100, 1000))::numeric / 7::numeric ^ 9 AS cost,
	jsonb_build_object('k', pg_temp.some(i, 110, 5000)) AS metadata,
	i || pg_temp.some(i, 120, 250) AS idempotency_key, pg_temp.some(i, 130, 128) AS request_id,
	pg_temp.some(i, 140, 1024) AS error_message,
	timestamptz '2026-03-04 05:06:07Z' + i * interval '1 second' AS at
FROM generate_series(1, 2000) AS i;
SET meter.max_metrics = 100;
SELECT count(meter_track(tenant, metric, quantity, service, endpoint, method, status, latency_ms,
	user_id, cost, metadata, idempotency_key, request_id, error_message, at)) FROM sent;
SELECT * FROM meter_flush();
SELECT count(*), count(*) FILTER (WHERE e::text = s::text) AS same,
	count(*) FILTER (WHERE pg_column_size(e.error_message) > 126) > 0 AS long, count(e.service) < 2000 AS nulls
FROM (SELECT tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata,
		idempotency_key, request_id, error_message, at FROM meter.event) AS e
JOIN sent AS s USING (tenant, at);
RESET meter.max_metrics;
RESET meter.normalize_endpoints;

-- an event is flushed with the extension in which it was tracked, or not at all
SELECT meter_track('acme', request_id => 'of the dropped one');
SET client_min_messages = warning;
DROP EXTENSION meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SELECT meter_track('acme', request_id => 'of the new one');
SELECT * FROM meter_flush();
SELECT request_id FROM meter.event;

-- nothing is left waiting
SELECT * FROM meter_flush();
SELECT queue_bytes FROM meter.stats;

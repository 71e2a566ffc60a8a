-- idempotency keys: unique per tenant within meter.dedup_window
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

SELECT meter_track('acme', idempotency_key => 'k');
SELECT meter_track('acme', idempotency_key => 'k');
SELECT meter_track('zeta', idempotency_key => 'k');
SELECT count(*) FROM meter.inbox;
SELECT tenant, key, repeats FROM meter.idempotency_key ORDER BY tenant;

-- a key belongs to the transaction: after a rollback it is free
BEGIN;
SELECT meter_track('acme', idempotency_key => 'r');
ROLLBACK;
SELECT meter_track('acme', idempotency_key => 'r');
BEGIN;
SELECT meter_track('acme', idempotency_key => 's');
SAVEPOINT p;
SELECT meter_track('acme', idempotency_key => 't');
ROLLBACK TO p;
COMMIT;
SELECT key FROM meter.idempotency_key WHERE tenant = 'acme' ORDER BY key;
SELECT idempotency_key FROM meter.inbox WHERE tenant = 'acme' ORDER BY idempotency_key;

-- after the window the key can be used again
UPDATE meter.idempotency_key SET seen_at = now() - interval '36 days' WHERE key = 'k';
SELECT meter_track('acme', idempotency_key => 'k');
SELECT meter_track('acme', idempotency_key => 'k');
SET meter.dedup_window = '1h';
UPDATE meter.idempotency_key SET seen_at = now() - interval '2 hours' WHERE key = 'k';
SELECT meter_track('acme', idempotency_key => 'k');
RESET meter.dedup_window;
SELECT tenant, repeats FROM meter.idempotency_key WHERE key = 'k' ORDER BY tenant;

-- a refused event does not use up its key
SELECT result FROM meter_track_batch('[{"tenant": "acme", "idempotency_key": "x", "status": 1}]');
SELECT result FROM meter_track_batch('[{"tenant": "acme", "idempotency_key": "x", "status": 200}]');

-- in bulk: repeats within a batch, of an earlier one, and of tracked events; every one is counted
SELECT * FROM meter_flush();
COPY meter.inbox (at, tenant, idempotency_key) FROM STDIN;
2026-03-01 10:00+00	acme	x
2026-03-01 10:00+00	acme	y
2026-03-01 10:00+00	acme	y
2026-03-01 10:00+00	acme	y
2026-03-01 10:00+00	zeta	y
\.
SELECT * FROM meter_flush();
SELECT tenant, key, repeats FROM meter.idempotency_key WHERE key IN ('x', 'y') ORDER BY tenant, key;
SELECT count(*) FROM meter.event WHERE idempotency_key IN ('x', 'y');

-- a large batch in two orders, half of it known
SELECT count(*) FILTER (WHERE result = 'accepted') AS accepted, count(*) FILTER (WHERE result = 'duplicate') AS duplicates
FROM meter_track_batch((SELECT jsonb_agg(jsonb_build_object('tenant', 'big', 'idempotency_key', 'k' || i)) FROM generate_series(1, 2000) AS i));
SELECT count(*) FILTER (WHERE result = 'accepted') AS accepted, count(*) FILTER (WHERE result = 'duplicate') AS duplicates
FROM meter_track_batch((SELECT jsonb_agg(jsonb_build_object('tenant', 'big', 'idempotency_key', 'k' || i)) FROM generate_series(3000, 1001, -1) AS i));

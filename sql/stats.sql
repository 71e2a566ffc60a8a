-- meter.stats: what is counted and what waits; meter_stats_reset(), meter_wake()
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = 'meter.stats'::regclass AND attnum > 0 ORDER BY attnum;
SELECT count(*) FROM meter.stats;

-- what was counted since the last look; other tests have counted as well
CREATE TABLE seen AS SELECT * FROM meter.stats;
CREATE FUNCTION counted() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	SELECT string_agg(key || ' +' || n.value::bigint - b.value::bigint, ', ' ORDER BY key COLLATE "C") INTO result
	FROM meter.stats, seen, LATERAL jsonb_each_text(to_jsonb(stats)) AS n JOIN LATERAL jsonb_each_text(to_jsonb(seen)) AS b USING (key)
	WHERE key IN ('queued', 'fallbacks', 'ignored', 'flushed', 'duplicates', 'rejected', 'deferred', 'discarded', 'lost_bytes',
		'flushes', 'rollups', 'errors') AND n.value <> b.value;
	DELETE FROM seen;
	INSERT INTO seen SELECT * FROM meter.stats;
	RETURN result;
END
$$;
SELECT counted();

-- an empty log and nothing waiting
SELECT queue_bytes, oldest_queued_age, flush_lag, rollup_behind, rollup_lag, errors IS NOT NULL AS has_errors,
	flusher_pid, roller_pid, stats_reset <= now() AS was_reset
FROM meter.stats;

-- queued, also by a transaction that rolls back
SET meter.durability = buffered;
SELECT clock_timestamp() AS before \gset
SELECT meter_track('acme', request_id => '1', idempotency_key => 'k');
BEGIN;
SELECT meter_track('acme', request_id => '2', idempotency_key => 'k');
ROLLBACK;
SELECT result FROM meter_track_batch('[{"tenant": "acme", "request_id": "3"}, {"tenant": ""}]');
SELECT counted();
SELECT queue_bytes > 0 AND queue_bytes < 4096 AS bytes, queue_capacity, rollup_behind,
	oldest_queued_age BETWEEN '0' AND clock_timestamp() - :'before'::timestamptz AS queued_age,
	flush_lag BETWEEN oldest_queued_age AND clock_timestamp() - :'before'::timestamptz AS lag
FROM meter.stats;

-- in the inbox
SET meter.durability = commit;
SELECT meter_track('acme', request_id => '4', idempotency_key => 'l');
INSERT INTO meter.inbox (tenant, status, idempotency_key) VALUES ('acme', 99, NULL), ('acme', 200, 'l');
SELECT counted();
UPDATE meter.inbox SET received_at = now() - interval '1 hour' WHERE request_id = '4';
SELECT oldest_queued_age < '1 hour' AS queued_age, flush_lag BETWEEN '1 hour' AND '2 hours' AS lag FROM meter.stats;

-- a flush counts when it has committed
BEGIN;
SELECT * FROM meter_flush();
SELECT counted();
SELECT queue_bytes > 0 AS bytes, oldest_queued_age IS NOT NULL AS age FROM meter.stats;
ROLLBACK;
SELECT counted();
SELECT * FROM meter_flush();
SELECT counted();
SELECT queue_bytes, oldest_queued_age, flush_lag, rollup_behind, rollup_lag BETWEEN '1 hour' AND '2 hours' AS rollup_lag,
	flushed_at BETWEEN :'before' AND clock_timestamp() AS flushed_now
FROM meter.stats;
-- also one that finds nothing
SELECT * FROM meter_flush();
SELECT counted();

-- those of rolled-back savepoints do not count
SET meter.durability = buffered;
BEGIN;
SELECT meter_track('acme', request_id => '5');
SAVEPOINT s;
SELECT appended FROM meter_flush();
ROLLBACK TO s;
SELECT meter_track('acme', request_id => '6');
SAVEPOINT s;
SELECT appended FROM meter_flush();
SAVEPOINT t;
SELECT meter_track('acme', request_id => '7');
SELECT appended FROM meter_flush();
RELEASE s;
SELECT meter_track('acme', request_id => '8');
SAVEPOINT s;
SELECT appended FROM meter_flush();
ROLLBACK TO s;
COMMIT;
SELECT counted();
SELECT queue_bytes > 0 AS bytes, oldest_queued_age IS NOT NULL AS age FROM meter.stats;
SELECT appended FROM meter_flush();
SELECT counted();
-- nor do those that fail
CREATE FUNCTION failing_flush() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM meter_flush();
	RAISE EXCEPTION 'no';
EXCEPTION WHEN raise_exception THEN
	RETURN -1;
END
$$;
SELECT meter_track('acme', request_id => '9');
SELECT failing_flush();
SELECT counted();
SELECT appended FROM meter_flush();
SELECT counted();
DROP FUNCTION failing_flush;

-- the rollup
SELECT rollup_behind = (SELECT count(*) FROM meter.event) AS behind_all FROM meter.stats;
SELECT meter_rollup();
SELECT rollup_behind, rollup_lag FROM meter.stats;
SELECT meter_track('acme');
SELECT appended FROM meter_flush();
SELECT rollup_behind, rollup_lag BETWEEN '0' AND '1 hour' AS rollup_lag FROM meter.stats;
SELECT meter_rollup();
-- counts those of the worker only
SELECT counted();

-- ignored at the call and by the flush
SET meter.ignore_endpoints = '/health';
SELECT meter_track('acme', endpoint => '/health');
INSERT INTO meter.inbox (tenant, endpoint) VALUES ('acme', '/health');
SELECT counted();
SELECT appended FROM meter_flush();
SELECT counted();
RESET meter.ignore_endpoints;

-- events of a dropped extension
SELECT meter_track('acme');
SELECT meter_track('acme');
SET client_min_messages = warning;
DROP EXTENSION meter;
CREATE EXTENSION meter;
RESET client_min_messages;
SELECT queue_bytes > 0 AS bytes, oldest_queued_age IS NOT NULL AS age FROM meter.stats;
SELECT * FROM meter_flush();
SELECT counted();
SELECT queue_bytes FROM meter.stats;

-- meter_stats_reset() is no part of a transaction, and takes nothing from the queue
SELECT meter_track('acme', request_id => 'after reset');
SELECT queue_bytes AS bytes, COALESCE(maintained_at::text, 'never') AS maintained, clock_timestamp() AS before FROM meter.stats \gset
BEGIN;
SELECT meter_stats_reset();
ROLLBACK;
SELECT queued, fallbacks, ignored, flushed, duplicates, rejected, deferred, discarded, lost_bytes, flushes, rollups, errors,
	flushed_at, rolled_up_at, last_error, last_error_at, stats_reset >= :'before' AS reset_now, queue_bytes = :bytes AS same_bytes,
	COALESCE(maintained_at::text, 'never') = :'maintained' AS same_maintained, oldest_queued_age IS NOT NULL AS age
FROM meter.stats \gx
SELECT * FROM meter_flush();
SELECT queued, flushed, flushes, flushed_at >= :'before' AS flushed_now FROM meter.stats;

-- meter_wake() says whether there is a worker to wake; those of this server have been told to do nothing
SELECT meter_wake();
BEGIN;
SELECT meter_wake(), meter_wake();
SAVEPOINT s;
SELECT meter_wake();
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT meter_wake();
ROLLBACK;
BEGIN READ ONLY;
SELECT meter_wake();
COMMIT;

-- who may
CREATE ROLE regress_stats;
SET ROLE regress_stats;
SELECT queued FROM meter.stats;
SELECT meter_stats_reset();
SELECT meter_wake();
RESET ROLE;
SELECT meter_grant('regress_stats', 'analyst');
SET ROLE regress_stats;
SELECT queued, flushed FROM meter.stats;
SELECT meter_stats_reset();
SELECT meter_wake();
RESET ROLE;
SELECT meter_grant('regress_stats', 'admin');
SET ROLE regress_stats;
SELECT meter_wake();
SELECT meter_stats_reset();
SELECT queued, flushed FROM meter.stats;
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_stats;
DROP ROLE regress_stats;
RESET client_min_messages;
DROP TABLE seen;
DROP FUNCTION counted;
SELECT * FROM meter_flush();

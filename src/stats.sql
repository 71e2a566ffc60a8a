-- stats.sql: what the queue and the background worker are doing

CREATE FUNCTION meter.shared_state(
	OUT queued bigint,
	OUT fallbacks bigint,
	OUT ignored bigint,
	OUT flushed bigint,
	OUT duplicates bigint,
	OUT rejected bigint,
	OUT deferred bigint,
	OUT violations bigint,
	OUT discarded bigint,
	OUT lost_bytes bigint,
	OUT flushes bigint,
	OUT rollups bigint,
	OUT errors bigint,
	OUT queue_bytes bigint,
	OUT queue_capacity bigint,
	OUT oldest_queued_at timestamptz,
	OUT flushed_at timestamptz,
	OUT rolled_up_at timestamptz,
	OUT maintained_at timestamptz,
	OUT last_error text,
	OUT last_error_at timestamptz,
	OUT stats_reset timestamptz,
	OUT flusher_pid integer,
	OUT roller_pid integer)
RETURNS record
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'meter_shared_state';
COMMENT ON FUNCTION meter.shared_state() IS
'What shared memory has of this database, for meter.stats; all null if the server does not preload meter or nothing was tracked here since its start';

CREATE VIEW meter.stats AS
SELECT
	s.queued, s.fallbacks, s.ignored, s.flushed, s.duplicates, s.rejected,
	s.deferred, s.discarded, s.lost_bytes, s.violations,
	s.queue_bytes, s.queue_capacity,
	pg_catalog.clock_timestamp() - s.oldest_queued_at AS oldest_queued_age,
	GREATEST(pg_catalog.clock_timestamp() - LEAST(s.oldest_queued_at, i.oldest), '0') AS flush_lag,
	l.last_seq - l.rolled_up AS rollup_behind,
	GREATEST(pg_catalog.clock_timestamp() - (
		SELECT e.received_at FROM meter.event AS e
		WHERE e.seq OPERATOR(pg_catalog.=) (l.rolled_up OPERATOR(pg_catalog.+) 1)
		LIMIT 1
	), '0') AS rollup_lag,
	s.flushes, s.rollups, s.flushed_at, s.rolled_up_at, s.maintained_at,
	s.errors, s.last_error, s.last_error_at,
	s.flusher_pid, s.roller_pid, s.stats_reset
FROM meter.shared_state() AS s
CROSS JOIN (SELECT pg_catalog.min(received_at) AS oldest FROM meter.inbox) AS i
CROSS JOIN (
	SELECT
		COALESCE((SELECT last_seq FROM meter.log_position), 0) AS last_seq,
		COALESCE((SELECT last_seq FROM meter.consumer WHERE name OPERATOR(pg_catalog.=) 'rollup'), 0) AS rolled_up
) AS l;
COMMENT ON VIEW meter.stats IS
'Are events getting through? One row: what this database''s queue, flusher and roller have done since stats_reset, and what waits now';
COMMENT ON COLUMN meter.stats.queued IS 'events put into the queue';
COMMENT ON COLUMN meter.stats.fallbacks IS 'events put into meter.inbox instead, as the queue stayed full for meter.queue_timeout; with those refused for that in a read-only transaction';
COMMENT ON COLUMN meter.stats.ignored IS 'events not tracked because of meter.ignore_endpoints';
COMMENT ON COLUMN meter.stats.flushed IS 'events appended to the log';
COMMENT ON COLUMN meter.stats.duplicates IS 'repeats of idempotency keys that a flush dropped';
COMMENT ON COLUMN meter.stats.rejected IS 'events that a flush put into meter.rejected_event';
COMMENT ON COLUMN meter.stats.deferred IS 'queued events moved to meter.inbox, as the log was locked or another transaction had their key or metric';
COMMENT ON COLUMN meter.stats.discarded IS 'queued events discarded, as the extension had been dropped since';
COMMENT ON COLUMN meter.stats.violations IS 'violations of tenants'' isolation (meter.isolation_violation)';
COMMENT ON COLUMN meter.stats.lost_bytes IS 'bytes of the queue''s file found damaged';
COMMENT ON COLUMN meter.stats.queue_bytes IS 'bytes of the queue in use';
COMMENT ON COLUMN meter.stats.queue_capacity IS 'bytes the queue can hold: meter.queue_size; 0 before its first event';
COMMENT ON COLUMN meter.stats.oldest_queued_age IS 'since when the oldest event in the queue waits';
COMMENT ON COLUMN meter.stats.flush_lag IS 'since when the oldest event in queue or inbox waits';
COMMENT ON COLUMN meter.stats.rollup_behind IS 'events of the log that are not rolled up';
COMMENT ON COLUMN meter.stats.rollup_lag IS 'how long ago the first of these was received';
COMMENT ON COLUMN meter.stats.flushes IS 'flushes, by the worker or by meter_flush()';
COMMENT ON COLUMN meter.stats.rollups IS 'rollups by the worker';
COMMENT ON COLUMN meter.stats.flushed_at IS 'when the last flush committed';
COMMENT ON COLUMN meter.stats.rolled_up_at IS 'when the last rollup by the worker committed';
COMMENT ON COLUMN meter.stats.maintained_at IS 'when the worker last looked after partitions';
COMMENT ON COLUMN meter.stats.errors IS 'errors of the workers; what failed is tried again';
COMMENT ON COLUMN meter.stats.last_error IS 'the last of these';
COMMENT ON COLUMN meter.stats.last_error_at IS 'when it happened';
COMMENT ON COLUMN meter.stats.flusher_pid IS 'process that is flushing; null while there is nothing to do';
COMMENT ON COLUMN meter.stats.roller_pid IS 'process that is rolling up; null while there is nothing to do';
COMMENT ON COLUMN meter.stats.stats_reset IS 'since when this is counted: the server''s start, or meter_stats_reset()';

CREATE FUNCTION @extschema@.meter_stats_reset() RETURNS void
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_stats_reset() IS
'Set the counters of meter.stats in this database to zero';

CREATE FUNCTION @extschema@.meter_wake() RETURNS boolean
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_wake() IS
'Have the background worker look at this database once the current transaction has committed. Returns whether the server has one: it must preload meter';

-- the worker learns of the new extension
DO $$ BEGIN PERFORM @extschema@.meter_wake(); END $$;

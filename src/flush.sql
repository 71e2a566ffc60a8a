-- flush.sql: moving waiting events into the log

CREATE FUNCTION @extschema@.meter_flush(
	OUT appended bigint,
	OUT duplicates bigint,
	OUT rejected bigint)
RETURNS record
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_flush() IS
'Move the events that wait in the queue and in meter.inbox to the end of the log, meter.event, as the background worker does every meter.flush_interval; waits for another flush to commit. Returns how many events were appended, how many repeats of idempotency keys were dropped, and how many were refused and kept in meter.rejected_event. Repeats that were dropped at the call, with meter.durability = commit, are not among these. Errors: 25006 (standby or read-only transaction), 55P03 (a table is locked), 55000 (a table has the name of a partition but is not attached)';

-- flush.sql: moving waiting events into the log

CREATE FUNCTION @extschema@.meter_flush(
	OUT appended bigint,
	OUT duplicates bigint,
	OUT rejected bigint)
RETURNS record
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_flush() IS
'Move the events that wait in meter.inbox to the end of the log, meter.event; waits for another flush to commit. Returns how many events were appended, how many repeats of idempotency keys were dropped, and how many were refused and kept in meter.rejected_event. Repeats of meter_track() and meter_track_batch() were dropped at the call and are not among these';

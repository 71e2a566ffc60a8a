-- batch.sql: tracking many events in one call

CREATE FUNCTION @extschema@.meter_track_batch(
	events jsonb,
	OUT element integer,
	OUT result text,
	OUT sqlstate text,
	OUT reason text)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_track_batch(jsonb) IS
'Record a JSON array of events, each an object with the argument names of meter_track() as keys or a CloudEvent (specversion, id, source, type, subject, time, data). Returns for each element, counted from 1, accepted, duplicate (with meter.durability = commit; with buffered the flush drops repeats), ignored (meter.ignore_endpoints) or rejected with SQLSTATE and reason; a rejected element is kept in meter.rejected_event and does not hinder the others. Errors: 22023 if the argument is neither an array nor an object, and 25006, 53000, 53400 and 55000 as meter_track()';

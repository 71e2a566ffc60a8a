-- maintain.sql: partitions, what has expired, plans that are due, and samples of storage

CREATE FUNCTION @extschema@.meter_maintain(
	OUT action text,
	OUT object text,
	OUT detail text)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_maintain() IS
'Make the partitions of the days and months to come, drop partitions of meter.event past meter.retention that every consumer has read, and delete idempotency keys past meter.dedup_window and refused events, alerts that are over, with their incidents, notifications and silences, and what was sent of the outbox, past meter.retention. Give tenants the plans whose day has come, and sample how large the database and the tenants'' schemas are (meter_sample_storage), once a day. Returns what was done; run it daily. A partition that is in use (busy) or not yet read (unread) is left for the next run';

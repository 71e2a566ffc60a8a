-- reject.sql: events that were refused

CREATE TABLE meter.rejected_event (
	rejected_at timestamptz NOT NULL,
	source text NOT NULL CHECK (source = ANY (ARRAY['inbox', 'batch', 'queue'])),
	sqlstate text NOT NULL,
	reason text NOT NULL,
	tenant text COLLATE "C",
	event jsonb NOT NULL
);
COMMENT ON TABLE meter.rejected_event IS
'Events that were refused after their sender could be told by an error: rows of COPY meter.inbox, elements of meter_track_batch() and queued events that a flush could not store. Kept for meter.retention; mend one and send it again';
COMMENT ON COLUMN meter.rejected_event.rejected_at IS 'when it was refused';
COMMENT ON COLUMN meter.rejected_event.source IS 'inbox or queue (found by the flush) or batch (meter_track_batch)';
COMMENT ON COLUMN meter.rejected_event.sqlstate IS 'SQLSTATE of the reason: what meter_track() would have raised, or what happened in the flush';
COMMENT ON COLUMN meter.rejected_event.reason IS 'what is wrong with it';
COMMENT ON COLUMN meter.rejected_event.tenant IS 'the tenant, if it had one';
COMMENT ON COLUMN meter.rejected_event.event IS 'the event as it came, credentials masked';
ALTER TABLE meter.rejected_event REPLICA IDENTITY FULL;
CREATE INDEX rejected_event_rejected_at_idx ON meter.rejected_event (rejected_at);
SELECT pg_catalog.pg_extension_config_dump('meter.rejected_event', '');

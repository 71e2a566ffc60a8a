-- inbox.sql: where events wait for the flush

CREATE TABLE meter.inbox (
	received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	at timestamptz DEFAULT clock_timestamp(),
	latency_ms double precision,
	corrects bigint,
	status integer,
	validated boolean NOT NULL DEFAULT false,
	voids boolean NOT NULL DEFAULT false,
	tenant text,
	metric text DEFAULT 'api_requests',
	quantity numeric DEFAULT 1,
	service text,
	endpoint text,
	method text,
	user_id text,
	cost numeric,
	metadata jsonb,
	idempotency_key text,
	request_id text,
	error_message text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
	autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,
	autovacuum_analyze_threshold = 100000);
COMMENT ON TABLE meter.inbox IS
'Events on their way to the log. With meter.durability = commit, meter_track() and meter_track_batch() write here in the caller''s transaction; COPY meter.inbox (at, tenant, endpoint, ...) FROM ... is the bulk path. meter_flush() moves the rows to meter.event, or to meter.rejected_event with the reason';
COMMENT ON COLUMN meter.inbox.received_at IS 'when the row came in';
COMMENT ON COLUMN meter.inbox.at IS 'when the call happened; now, if not given';
COMMENT ON COLUMN meter.inbox.latency_ms IS 'duration of the call in milliseconds';
COMMENT ON COLUMN meter.inbox.corrects IS 'set by meter_correct(): seq of the event to take the place of';
COMMENT ON COLUMN meter.inbox.status IS 'HTTP status';
COMMENT ON COLUMN meter.inbox.validated IS
'whether the row was checked when it was written; rows from COPY are checked by the flush';
COMMENT ON COLUMN meter.inbox.voids IS 'set by meter_correct(): the corrected event shall not count at all';
COMMENT ON COLUMN meter.inbox.tenant IS 'who is metered';
COMMENT ON COLUMN meter.inbox.metric IS 'what is metered';
COMMENT ON COLUMN meter.inbox.quantity IS 'how much';
COMMENT ON COLUMN meter.inbox.service IS 'service or upstream API that was called';
COMMENT ON COLUMN meter.inbox.endpoint IS 'route or URL; the flush normalises it';
COMMENT ON COLUMN meter.inbox.method IS 'HTTP method or operation';
COMMENT ON COLUMN meter.inbox.user_id IS 'the tenant''s user who made the call';
COMMENT ON COLUMN meter.inbox.cost IS 'what the call cost';
COMMENT ON COLUMN meter.inbox.metadata IS 'anything else, a JSON object';
COMMENT ON COLUMN meter.inbox.idempotency_key IS 'unique per tenant within meter.dedup_window';
COMMENT ON COLUMN meter.inbox.request_id IS 'the caller''s id of the request';
COMMENT ON COLUMN meter.inbox.error_message IS 'what went wrong';

-- COPY has nothing else that could tell the background worker
CREATE FUNCTION @extschema@.meter_inbox_filled() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_inbox_filled() IS
'Trigger of meter.inbox: has the background worker flush it when the transaction has committed';

CREATE TRIGGER filled AFTER INSERT ON meter.inbox
FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.meter_inbox_filled();

ALTER TABLE meter.inbox REPLICA IDENTITY FULL;
SELECT pg_catalog.pg_extension_config_dump('meter.inbox', '');

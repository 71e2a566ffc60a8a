-- log.sql: the log of events and its readers

CREATE TABLE meter.event (
	seq bigint NOT NULL,
	at timestamptz NOT NULL,
	received_at timestamptz NOT NULL,
	latency_ms double precision,
	corrects bigint,
	superseded_by bigint,
	status integer,
	tenant text COLLATE "C" NOT NULL,
	metric text COLLATE "C" NOT NULL,
	quantity numeric NOT NULL,
	service text COLLATE "C",
	endpoint text COLLATE "C",
	method text COLLATE "C",
	user_id text COLLATE "C",
	cost numeric,
	metadata jsonb,
	idempotency_key text COLLATE "C",
	request_id text COLLATE "C",
	error_message text
) PARTITION BY RANGE (at);
COMMENT ON TABLE meter.event IS
'The log of events, written by the flush alone (meter_flush() or the background worker); partitioned by day (UTC) of the event''s time. Its keys and indexes are on the partitions, so that pg_dump can restore them';
COMMENT ON COLUMN meter.event.seq IS
'position in the log: without gaps, in the order of commit, so a reader of seq > n misses nothing';
COMMENT ON COLUMN meter.event.at IS 'when the call happened';
COMMENT ON COLUMN meter.event.received_at IS 'when the event reached the database: when meter_track() was called, or when the row of COPY came in';
COMMENT ON COLUMN meter.event.latency_ms IS 'duration of the call in milliseconds';
COMMENT ON COLUMN meter.event.corrects IS 'for an amendment: seq of the event it takes the place of';
COMMENT ON COLUMN meter.event.superseded_by IS
'seq of the amendment that took this event''s place; such an event no longer counts. A voiding amendment supersedes itself';
COMMENT ON COLUMN meter.event.status IS 'HTTP status, 100 to 599';
COMMENT ON COLUMN meter.event.tenant IS 'who is metered';
COMMENT ON COLUMN meter.event.metric IS 'what is metered, see meter.metric';
COMMENT ON COLUMN meter.event.quantity IS 'how much: added up for a counter, a level for a gauge';
COMMENT ON COLUMN meter.event.service IS 'service or upstream API that was called';
COMMENT ON COLUMN meter.event.endpoint IS 'route, with identifiers replaced by :id';
COMMENT ON COLUMN meter.event.method IS 'HTTP method or operation';
COMMENT ON COLUMN meter.event.user_id IS 'the tenant''s user who made the call';
COMMENT ON COLUMN meter.event.cost IS 'what the call cost, in the tenant''s currency';
COMMENT ON COLUMN meter.event.metadata IS 'anything else, a JSON object of at most 8 kB';
COMMENT ON COLUMN meter.event.idempotency_key IS 'unique per tenant within meter.dedup_window';
COMMENT ON COLUMN meter.event.request_id IS 'the caller''s id of the request';
COMMENT ON COLUMN meter.event.error_message IS 'what went wrong, credentials masked';

CREATE TABLE meter.event_partition (
	day date NOT NULL,
	events bigint NOT NULL,
	first_seq bigint NOT NULL,
	last_seq bigint NOT NULL,
	PRIMARY KEY (day)
);
COMMENT ON TABLE meter.event_partition IS
'Which positions of the log each daily partition holds, so that a reader of seq > n opens only the partitions that have any; written by meter_flush()';
COMMENT ON COLUMN meter.event_partition.day IS 'day (UTC) of the partition';
COMMENT ON COLUMN meter.event_partition.events IS 'events in it';
COMMENT ON COLUMN meter.event_partition.first_seq IS 'lowest seq in it';
COMMENT ON COLUMN meter.event_partition.last_seq IS 'highest seq in it';
SELECT pg_catalog.pg_extension_config_dump('meter.event_partition', '');

CREATE TABLE meter.log_position (
	only_row boolean NOT NULL DEFAULT true CHECK (only_row),
	last_seq bigint NOT NULL,
	flushed_at timestamptz NOT NULL,
	dropped_through date,
	PRIMARY KEY (only_row)
);
COMMENT ON TABLE meter.log_position IS
'The end of the log: one row once there is an event. It is a row and not a sequence so that it moves with the events'' transaction, has no gaps and is right after a restore';
COMMENT ON COLUMN meter.log_position.only_row IS 'always true: there is one row';
COMMENT ON COLUMN meter.log_position.last_seq IS 'seq of the last event';
COMMENT ON COLUMN meter.log_position.flushed_at IS 'when events were last appended';
COMMENT ON COLUMN meter.log_position.dropped_through IS
'the last day (UTC) whose partition was dropped; hours up to there cannot be computed anew, so they take no corrections and no samples of gauges';
SELECT pg_catalog.pg_extension_config_dump('meter.log_position', '');

-- Without it, the worker would work in a database that is being restored, on
-- what is there so far: it would roll up events whose usage is to be restored.
CREATE TABLE meter.in_use (
	since timestamptz NOT NULL
);
COMMENT ON TABLE meter.in_use IS
'There is a row as soon as anybody has tracked an event, flushed or rolled up in this database. It is not in dumps; until there is one, the background worker leaves the database alone, as it may be in the middle of a restore';
COMMENT ON COLUMN meter.in_use.since IS 'when that was';

CREATE TABLE meter.consumer (
	name text COLLATE "C" NOT NULL CHECK (name <> ''),
	last_seq bigint NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
	moved_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (name)
);
COMMENT ON TABLE meter.consumer IS
'How far each reader of the log has come. A reader locks its row, reads meter.event with seq > last_seq, does its work and moves last_seq, all in one transaction. Partitions with events that some consumer has not read are not dropped';
COMMENT ON COLUMN meter.consumer.name IS 'name of the reader; rollup is meter_rollup()';
COMMENT ON COLUMN meter.consumer.last_seq IS 'the last seq it has dealt with';
COMMENT ON COLUMN meter.consumer.moved_at IS 'when it last moved';
SELECT pg_catalog.pg_extension_config_dump('meter.consumer', '');

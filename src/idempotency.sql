-- idempotency.sql: keys of events that must not count twice

CREATE TABLE meter.idempotency_key (
	tenant text COLLATE "C" NOT NULL,
	key text COLLATE "C" NOT NULL,
	seen_at timestamptz NOT NULL,
	at timestamptz NOT NULL,
	repeats bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant, key)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE meter.idempotency_key IS
'Idempotency keys seen within meter.dedup_window; an event whose key is here is dropped and counted';
COMMENT ON COLUMN meter.idempotency_key.tenant IS 'the tenant whose key it is';
COMMENT ON COLUMN meter.idempotency_key.key IS 'the key';
COMMENT ON COLUMN meter.idempotency_key.seen_at IS 'when it was first seen; the window starts here';
COMMENT ON COLUMN meter.idempotency_key.at IS 'time of the event that has it';
COMMENT ON COLUMN meter.idempotency_key.repeats IS 'how many repeats were dropped';
CREATE INDEX idempotency_key_seen_at_idx ON meter.idempotency_key USING brin (seen_at);
SELECT pg_catalog.pg_extension_config_dump('meter.idempotency_key', '');

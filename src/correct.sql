-- correct.sql: correcting events

CREATE FUNCTION @extschema@.meter_correct(
	tenant text,
	idempotency_key text DEFAULT NULL,
	seq bigint DEFAULT NULL,
	quantity numeric DEFAULT NULL,
	cost numeric DEFAULT NULL,
	status integer DEFAULT NULL,
	latency_ms double precision DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	void boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_correct(text, text, bigint, numeric, numeric, integer,
	double precision, jsonb, boolean) IS
'Correct an event, named by its idempotency_key or its seq: an amendment with the given values, and the event''s own where null, is appended to the log and takes its place; with void the event no longer counts, and if it is a call of a language model named by its key, neither do its tokens. The original stays, marked superseded. Flushes first; the amendment takes effect with the next flush and rollup. Errors: 22023 (neither or both of key and seq), P0002 (no such event that counts), and those of meter_track()';

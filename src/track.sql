-- track.sql: tracking one event

CREATE FUNCTION @extschema@.meter_track(
	tenant text,
	metric text DEFAULT 'api_requests',
	quantity numeric DEFAULT 1,
	service text DEFAULT NULL,
	endpoint text DEFAULT NULL,
	method text DEFAULT NULL,
	status integer DEFAULT NULL,
	latency_ms double precision DEFAULT NULL,
	user_id text DEFAULT NULL,
	cost numeric DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	request_id text DEFAULT NULL,
	error_message text DEFAULT NULL,
	at timestamptz DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_track(text, text, numeric, text, text, text, integer,
	double precision, text, numeric, jsonb, text, text, text, timestamptz) IS
'Record one usage event of a tenant in the current transaction; call it with named notation: SELECT meter_track(''acme'', endpoint => ''/v1/users'', method => ''GET'', status => 200, latency_ms => 45). at defaults to now. A repeat of an idempotency_key is dropped with a NOTICE. Errors: 22004 (missing), 22001 (too long), 22003 (number out of range), 22008 (time out of range), 22023 (otherwise invalid), 42704 (metric not registered), 54000 (too large or too many)';

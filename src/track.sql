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
'Record one usage event of a tenant; call it with named notation: SELECT meter_track(''acme'', endpoint => ''/v1/users'', method => ''GET'', status => 200, latency_ms => 45). at defaults to now. With meter.durability = buffered, the default if the server preloads meter, the event is in the queue when the call returns and stays if the transaction rolls back, and a repeat of an idempotency_key is dropped by the flush; with commit it is part of the current transaction, and a repeat is dropped with a NOTICE. Errors: 22004 (missing), 22001 (too long), 22003 (number out of range), 22008 (time out of range), 22023 (otherwise invalid), 42704 (metric not registered), 54000 (too large or too many), 25006 (standby; with commit also a read-only transaction), 53000 (queue full in a read-only transaction), 53400 (more databases than meter.max_databases), 55000 (buffered and not preloaded)';

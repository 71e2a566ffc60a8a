-- llm.sql: tracking calls of language models, with their cost

CREATE FUNCTION @extschema@.meter_track_llm(
	tenant text,
	provider text,
	model text,
	input_tokens bigint,
	output_tokens bigint,
	cached_tokens bigint DEFAULT 0,
	service text DEFAULT NULL,
	endpoint text DEFAULT NULL,
	method text DEFAULT NULL,
	status integer DEFAULT NULL,
	latency_ms double precision DEFAULT NULL,
	user_id text DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	request_id text DEFAULT NULL,
	error_message text DEFAULT NULL,
	at timestamptz DEFAULT NULL,
	cache_creation_tokens bigint DEFAULT 0)
RETURNS numeric
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_track_llm(text, text, text, bigint, bigint, bigint, text, text, text,
	integer, double precision, text, jsonb, text, text, text, timestamptz, bigint) IS
'Record one call of a language model and return what it costs by the prices of meter.model_price at its time, exactly. input_tokens are all of them: cached_tokens, read from the provider''s cache, and cache_creation_tokens, written to it, are parts of them. provider may be null if only one has a model of this name. The call is an event of metric llm_requests with quantity 1, the cost, and provider, model and tokens in its metadata; when it enters the log, its tokens follow as events of metric llm_tokens, by model and token_type (input, cached, cache_creation, output; each token in one of them). The other arguments, and where the event is when the call returns, are as in meter_track(). Errors: 22004 (missing), 22003 (tokens below 0), 22023 (more cached tokens than input tokens; no price and meter.unknown_model is error; several providers), and those of meter_track()';

CREATE FUNCTION @extschema@.meter_llm_cost(
	provider text,
	model text,
	input_tokens bigint,
	output_tokens bigint,
	cached_tokens bigint DEFAULT 0,
	at timestamptz DEFAULT now(),
	cache_creation_tokens bigint DEFAULT 0)
RETURNS numeric
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_llm_cost(text, text, bigint, bigint, bigint, timestamptz, bigint) IS
'What a call of a language model costs, as meter_track_llm() would record it at that time, without recording anything; cost 0 if there is no price and meter.unknown_model is zero. Errors as there';

CREATE VIEW meter.unknown_model AS
SELECT tenant, dims ->> 'provider' AS provider, dims ->> 'model' AS model,
	sum(events)::bigint AS calls, min(first_at) AS first_at, max(last_at) AS last_at
FROM meter.usage_hourly
WHERE metric = 'llm_requests' AND dims @> '{"unpriced": true}'
GROUP BY tenant, dims ->> 'provider', dims ->> 'model';
COMMENT ON VIEW meter.unknown_model IS
'Which models were called for which there was no price, and so at cost 0 (meter.unknown_model = zero)? From meter.usage_hourly';
COMMENT ON COLUMN meter.unknown_model.tenant IS 'who called';
COMMENT ON COLUMN meter.unknown_model.provider IS 'provider that the call named; null: none';
COMMENT ON COLUMN meter.unknown_model.model IS 'model that the call named';
COMMENT ON COLUMN meter.unknown_model.calls IS 'calls without a price that still count';
COMMENT ON COLUMN meter.unknown_model.first_at IS 'time of the first one';
COMMENT ON COLUMN meter.unknown_model.last_at IS 'time of the last one';

-- metric.sql: the registry of metrics

CREATE TABLE meter.metric (
	metric text COLLATE "C" NOT NULL
		CONSTRAINT metric_name_check CHECK (octet_length(metric) BETWEEN 1 AND 64
			AND metric !~ '[[:cntrl:]]' AND metric ~ '[^ ]'),
	kind text NOT NULL DEFAULT 'counter'
		CONSTRAINT metric_kind_check CHECK (kind = ANY (ARRAY['counter', 'gauge'])),
	unit text,
	dimensions text[] NOT NULL DEFAULT '{}'
		CONSTRAINT metric_dimensions_check CHECK (
			cardinality(dimensions) <= 8
			AND array_position(dimensions, NULL) IS NULL
			AND array_position(dimensions, '') IS NULL
			AND octet_length(array_to_string(dimensions, '')) <= 512),
	allow_negative boolean NOT NULL DEFAULT false,
	description text,
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (metric)
);
COMMENT ON TABLE meter.metric IS
'What can be metered: one row per metric; unless meter.strict_metrics is on, a metric is registered as a counter when it is first used';
COMMENT ON COLUMN meter.metric.metric IS 'name, at most 64 bytes';
COMMENT ON COLUMN meter.metric.kind IS
'counter: quantities add up; gauge: each quantity is a level that holds until the next sample';
COMMENT ON COLUMN meter.metric.unit IS 'unit of the quantity, for people';
COMMENT ON COLUMN meter.metric.dimensions IS
'keys of an event''s metadata by which usage is grouped, at most 8';
COMMENT ON COLUMN meter.metric.allow_negative IS 'whether a quantity may be below zero';
COMMENT ON COLUMN meter.metric.description IS 'what is counted, for people';
COMMENT ON COLUMN meter.metric.created_at IS 'when the metric was registered';

CREATE FUNCTION @extschema@.meter_metric_changed() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_metric_changed() IS
'Trigger of meter.metric: makes every session read the registry again';

CREATE TRIGGER metric_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON meter.metric
FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.meter_metric_changed();

SELECT pg_catalog.pg_extension_config_dump('meter.metric', '');

CREATE FUNCTION meter.tokens_of_call(of_call jsonb, OUT quantity numeric, OUT metadata jsonb)
RETURNS SETOF record
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 2 AS 'MODULE_PATHNAME', 'meter_tokens_of_call';
COMMENT ON FUNCTION meter.tokens_of_call(jsonb) IS
'The events of metric llm_tokens that follow an event of metric llm_requests with this metadata: their quantities and their metadata';

-- Not rows of meter.metric from the start, which a dump would bring again.
CREATE VIEW meter.builtin_metric AS
SELECT b.metric, b.unit, b.dimensions, b.description
FROM (VALUES
	('llm_requests', 'call', ARRAY['provider', 'model', 'unpriced'],
		'calls of language models, with their cost (meter_track_llm)'),
	('llm_tokens', 'token', ARRAY['provider', 'model', 'token_type', 'unpriced'],
		'tokens of language models: input, cached, cache_creation, output (meter_track_llm)')
) AS b(metric, unit, dimensions, description);
COMMENT ON VIEW meter.builtin_metric IS
'How metrics that have a meaning of their own are registered in meter.metric on first use, if they are not there';
COMMENT ON COLUMN meter.builtin_metric.metric IS 'name';
COMMENT ON COLUMN meter.builtin_metric.unit IS 'unit of the quantity, for people';
COMMENT ON COLUMN meter.builtin_metric.dimensions IS 'keys of an event''s metadata by which usage is grouped';
COMMENT ON COLUMN meter.builtin_metric.description IS 'what is counted, for people';

CREATE FUNCTION meter.event_dims(metric text, metadata jsonb) RETURNS jsonb
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'meter_event_dims';
COMMENT ON FUNCTION meter.event_dims(text, jsonb) IS
'The declared dimensions of an event of that metric, from its metadata, as meter_rollup() groups by them; {} if it has none';

CREATE FUNCTION meter.dims_check(dims jsonb) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'meter_dims_check';
COMMENT ON FUNCTION meter.dims_check(jsonb) IS
'True if there can be usage with these dimensions, for constraints. Errors: 22023, naming the dimension whose value no usage has: a list, an object, null, or what is longer than a dimension may be';

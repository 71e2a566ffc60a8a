-- metric.sql: the registry of metrics

CREATE TABLE meter.metric (
	metric text COLLATE "C" NOT NULL
		CONSTRAINT metric_name_check CHECK (octet_length(metric) BETWEEN 1 AND 64
			AND metric !~ '[[:cntrl:]]' AND metric ~ '[^ ]'),
	kind text NOT NULL DEFAULT 'counter'
		CONSTRAINT metric_kind_check CHECK (
			meter.word_check(kind, 'metric_kind_check', ARRAY['counter', 'gauge'])),
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

CREATE FUNCTION meter.metric_kind_changed() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM meter.usage_hourly AS u WHERE u.metric = NEW.metric) THEN
		RAISE WARNING 'metric "%" has usage already, of a %', NEW.metric, OLD.kind
			USING DETAIL = CASE NEW.kind
				WHEN 'gauge' THEN 'Hours that are rolled up have no level, so what asks for levels finds nothing in them, until a new sample comes.'
				ELSE 'Hours that are rolled up have the sum of their samples as quantity.' END,
				HINT = 'To have the totals computed anew, as of the new kind, from the events that are kept, start the rollup again, as doc/rollup.md says.';
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.metric_kind_changed() IS
'Trigger of meter.metric: warns of usage that was rolled up while the metric was of another kind';

CREATE TRIGGER metric_kind_changed
AFTER UPDATE OF kind ON meter.metric
FOR EACH ROW WHEN (OLD.kind <> NEW.kind AND OLD.metric = NEW.metric)
EXECUTE FUNCTION meter.metric_kind_changed();

-- A fee, and the cost that events carry, are not of quantities.  An average of
-- samples is right if they are evenly spaced, their sum or number is not.
CREATE FUNCTION meter.aggregation_kind(aggregation text, model text DEFAULT NULL) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN aggregation = ANY (ARRAY['time_weighted', 'weighted_avg', 'unit_hours']) THEN 'gauge'
	WHEN aggregation = ANY (ARRAY['sum', 'count'])
		AND (model = ANY (ARRAY['flat', 'dynamic'])) IS NOT TRUE THEN 'counter'
END;
COMMENT ON FUNCTION meter.aggregation_kind(text, text) IS
'The kind of metric that an aggregation of a price, by its model, of a cost rate or of a meter of the payment provider is for; null if it is for both';

-- No error: metrics can be registered later, or be of another kind then, and a
-- restore brings tables in any order.  For that also no warning of a metric that is
-- not there: a restore shows warnings, but no notices.
CREATE FUNCTION meter.kind_fits() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	written CONSTANT jsonb := to_jsonb(NEW);
	who CONSTANT text := format('Row "%s" of meter.%s', written ->> TG_ARGV[0], TG_TABLE_NAME);
	-- what has no aggregation is of levels
	wanted CONSTANT text := CASE WHEN written ? 'aggregation'
		THEN meter.aggregation_kind(written ->> 'aggregation', written ->> 'model') ELSE 'gauge' END;
	unfit record;
BEGIN
	FOR unfit IN
		SELECT n.metric, m.kind
		FROM (VALUES (written ->> 'metric'), (written ->> 'max_metric')) AS n(metric)
		LEFT JOIN meter.metric AS m ON m.metric = n.metric
		WHERE n.metric IS NOT NULL AND m.kind IS DISTINCT FROM wanted
	LOOP
		IF wanted = 'gauge' AND unfit.kind IS NULL THEN
			RAISE NOTICE 'metric "%" is not registered', unfit.metric
				USING DETAIL = who || ' asks for levels of a gauge, and its first event would register it as a counter.',
					HINT = format('Register it before that: INSERT INTO meter.metric (metric, kind) VALUES (%L, ''gauge'');', unfit.metric);
		ELSIF wanted = 'gauge' THEN
			RAISE WARNING 'metric "%" is a counter, and not a gauge', unfit.metric
				USING DETAIL = who || ' asks for levels, which a counter does not have, so it finds nothing.',
					HINT = 'If it is a level that is sent, set "kind" in meter.metric to gauge, best before the first event; otherwise take another metric'
						|| CASE WHEN written ? 'aggregation' THEN ' or aggregation.' ELSE '.' END;
		ELSIF unfit.kind = 'gauge' AND wanted = 'counter' THEN
			RAISE WARNING 'metric "%" is a gauge, and not a counter', unfit.metric
				USING DETAIL = format('%s asks for the %s of samples, which depends on how often they are sent.', who, written ->> 'aggregation'),
					HINT = CASE TG_TABLE_NAME
						WHEN 'price' THEN 'Aggregations of levels are weighted_avg, time_weighted, min, max, last and percentile.'
						ELSE 'The aggregation of levels is unit_hours.' END;
		END IF;
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.kind_fits() IS
'Trigger of tables that ask for usage of a metric: warns if the metric is not of the kind that the row is for. Argument: the column that names the row';

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

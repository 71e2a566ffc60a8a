-- prices: what can be one, and what is wrong with the others
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET datestyle = 'ISO, YMD';
INSERT INTO meter.plan (plan) VALUES ('free'), ('pro');
INSERT INTO meter.metric (metric, dimensions) VALUES ('tokens', '{model,region}'), ('calls', '{}');

-- all defaults, and all columns
INSERT INTO meter.price (price, metric, model, params) VALUES ('calls', 'calls', 'per_unit', '{"unit_amount": "0.001"}');
INSERT INTO meter.price (price, plan, metric, dims, aggregation, percentile, model, params, unit, divisor, rounding,
	rounding_digits, included, rollover_min, rollover_max, discount_percent, min_amount, max_amount, prorate, currency,
	valid_from, valid_to, description)
VALUES ('bandwidth', 'pro', 'tokens', '{"model": "gpt-4", "region": "eu"}', 'percentile', 95, 'graduated',
	'{"tiers": [{"up_to": 10, "unit_amount": 1}, {"up_to": null, "unit_amount": 0.5}]}', 'Mbit/s', 1000000, 'ceil',
	-3, 5, 1, 2, 10, 0, 1000, false, 'EUR', '2026-01-01', '2027-01-01', 'burstable');
\x on
SELECT p.*, NULL AS price_id, NULL AS created_at FROM (SELECT price, plan, tenant, metric, dims, aggregation, percentile, model,
	params, unit, divisor, rounding, rounding_digits, included, rollover_min, rollover_max, discount_percent, min_amount,
	max_amount, prorate, currency, valid_from, valid_to, description FROM meter.price ORDER BY price) AS p;
\x off

-- a price again: another one, and the same by ON CONFLICT
INSERT INTO meter.price (price, metric, model, params) VALUES ('calls', 'calls', 'flat', '{"amount": 5}')
ON CONFLICT (price, plan, tenant, valid_from) DO UPDATE SET model = EXCLUDED.model, params = EXCLUDED.params;
SELECT price, model, params FROM meter.price WHERE price = 'calls';

-- parameters: the error names the one that is wrong
INSERT INTO meter.price (price, metric, model, params) VALUES ('p', 'm', 'graduated',
	'{"tiers": [{"up_to": 10, "unit_amount": 1}, {"up_to": 5, "unit_amount": 1}, {"unit_amount": 1}]}');
INSERT INTO meter.price (price, metric, model, params) VALUES ('p', 'm', 'per_unit', '{"unit_amont": 1}');
\set VERBOSITY terse
INSERT INTO meter.price (price, metric, model, params) VALUES ('p', 'm', 'per_unit', '{"unit_amount": -1}');
INSERT INTO meter.price (price, metric, model, params) VALUES ('p', 'm', 'per_unit', '{"unit_amount": "NaN"}');
INSERT INTO meter.price (price, metric, model, params) VALUES ('p', 'm', 'per_unit', '[]');
INSERT INTO meter.price (price, metric, model, params) VALUES ('p', 'm', 'package', '{"package_amount": 1}');
INSERT INTO meter.price (price, metric, model, params) VALUES ('p', 'm', 'per_hour', '{"unit_amount": 1}');
INSERT INTO meter.price (price, metric, model, params) VALUES ('p', 'm', NULL, '{}');
INSERT INTO meter.price (price, metric, model, params) VALUES ('p', 'm', 'flat', NULL);
UPDATE meter.price SET params = '{"amount": "five"}' WHERE price = 'calls';
COPY meter.price (price, metric, model, params) FROM STDIN;
p	m	flat	{"amount": 1, "per": "month"}
\.

-- each of the other columns
CREATE TEMP TABLE good AS SELECT * FROM jsonb_each('{"price": "p", "metric": "m", "model": "flat", "params": {"amount": 1}}');
CREATE FUNCTION pg_temp.add(extra jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	row jsonb := (SELECT jsonb_object_agg(key, value) FROM good) || extra;
	columns text := (SELECT string_agg(quote_ident(k), ', ') FROM jsonb_object_keys(row) AS k);
	reason text;
BEGIN
	EXECUTE format('INSERT INTO meter.price (%1$s) SELECT %1$s FROM jsonb_populate_record(NULL::meter.price, $1)', columns)
	USING row;
	DELETE FROM meter.price WHERE price = row ->> 'price';
	RETURN 'taken';
EXCEPTION WHEN check_violation OR not_null_violation OR foreign_key_violation OR exclusion_violation THEN
	GET STACKED DIAGNOSTICS reason = CONSTRAINT_NAME;
	RETURN SQLSTATE || ' ' || COALESCE(NULLIF(reason, ''), SQLERRM);
END
$$;
SELECT left(x, 64) AS extra, pg_temp.add(x::jsonb) FROM unnest(ARRAY[
	'{}',
	'{"price": ""}', '{"price": " "}', '{"price": "a\tb"}', format('{"price": "%s"}', repeat('ö', 32)), format('{"price": "%s"}', repeat('x', 65)),
	'{"metric": ""}', '{"metric": null}', format('{"metric": "%s"}', repeat('x', 65)),
	'{"plan": "gold"}', '{"plan": "pro"}', '{"plan": "pro", "tenant": "acme"}',
	'{"tenant": ""}', '{"tenant": "acme"}', format('{"tenant": "%s"}', repeat('x', 129)),
	'{"dims": []}', '{"dims": "model"}', '{"dims": null}', '{"dims": {"model": "gpt-4"}}', format('{"dims": {"model": "%s"}}', repeat('x', 8200)),
	'{"aggregation": "median"}', '{"aggregation": null}', '{"aggregation": "unique"}', '{"aggregation": "time_weighted"}',
	'{"aggregation": "percentile"}', '{"aggregation": "percentile", "percentile": 99.9}',
	'{"aggregation": "percentile", "percentile": 100.1}', '{"aggregation": "percentile", "percentile": -1}',
	'{"aggregation": "percentile", "percentile": "NaN"}', '{"aggregation": "max", "percentile": 95}',
	'{"model": "dynamic", "params": {}}', '{"model": "dynamic", "params": {}, "aggregation": "max"}',
	'{"model": "percentage", "params": {"rate_percent": 1}, "aggregation": "count"}',
	'{"unit": ""}', '{"unit": "GB"}',
	'{"divisor": 0}', '{"divisor": -1}', '{"divisor": "NaN"}', '{"divisor": "Infinity"}', '{"divisor": 0.001}',
	'{"rounding": "up"}', '{"rounding": "floor"}', '{"rounding_digits": -12}', '{"rounding_digits": 13}', '{"rounding_digits": -13}',
	'{"included": -1}', '{"included": "NaN"}', '{"included": "Infinity"}', '{"included": 0.5}',
	'{"rollover_min": -1}', '{"rollover_max": -1}', '{"rollover_min": "NaN"}', '{"rollover_max": "Infinity"}', '{"rollover_min": 2, "rollover_max": 1}',
	'{"rollover_min": 2, "rollover_max": 2}', '{"rollover_min": 2}',
	'{"discount_percent": -1}', '{"discount_percent": 100}', '{"discount_percent": 100.01}', '{"discount_percent": "NaN"}',
	'{"min_amount": -1}', '{"min_amount": "NaN"}', '{"max_amount": "Infinity"}', '{"max_amount": -1}',
	'{"min_amount": 2, "max_amount": 1}', '{"min_amount": 2, "max_amount": 2}',
	'{"currency": "eur"}', '{"currency": "EURO"}', '{"currency": "JPY"}', '{"prorate": null}',
	'{"valid_from": "infinity"}', '{"valid_from": "-infinity"}', '{"valid_to": "infinity"}', '{"valid_from": null}',
	'{"valid_from": "2026-01-01", "valid_to": "2026-01-01"}', '{"valid_from": "2026-01-01", "valid_to": "2026-01-02"}'
]) WITH ORDINALITY AS t (x, n) ORDER BY n;

-- what is none of the words, and which there are
DO $$
DECLARE
	of_table text;
	of_column text;
	of_constraint text;
	detail text;
	hint text;
BEGIN
	INSERT INTO meter.price (price, metric, model, params, aggregation) VALUES ('p', 'm', 'flat', '{"amount": 1}', 'median');
EXCEPTION WHEN check_violation THEN
	GET STACKED DIAGNOSTICS of_table = TABLE_NAME, of_column = COLUMN_NAME, of_constraint = CONSTRAINT_NAME,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RAISE INFO E'%\n%\n%\n% % %', SQLERRM, detail, hint, of_table, of_column, of_constraint;
END
$$;
\set VERBOSITY terse

-- two prices of the same name for the same tenants never hold at once
INSERT INTO meter.price (price, metric, model, params, valid_from, valid_to) VALUES
	('once', 'm', 'flat', '{"amount": 1}', '2026-01-01', '2026-02-01'),
	('once', 'm', 'flat', '{"amount": 2}', '2026-03-01', NULL);
INSERT INTO meter.price (price, plan, metric, model, params, valid_from) VALUES ('once', 'pro', 'm', 'flat', '{"amount": 3}', '2026-01-15');
INSERT INTO meter.price (price, plan, metric, model, params, valid_from) VALUES ('once', 'free', 'm', 'flat', '{"amount": 3}', '2026-01-15');
INSERT INTO meter.price (price, tenant, metric, model, params, valid_from) VALUES ('once', 'pro', 'm', 'flat', '{"amount": 3}', '2026-01-15');
INSERT INTO meter.price (price, metric, model, params, valid_from, valid_to) VALUES ('once', 'm', 'flat', '{"amount": 1}', '2026-02-01', '2026-03-01');
\set VERBOSITY default
INSERT INTO meter.price (price, metric, model, params, valid_from, valid_to) VALUES ('once', 'm', 'flat', '{"amount": 1}', '2026-01-31', '2026-02-10');
\set VERBOSITY terse
INSERT INTO meter.price (price, plan, metric, model, params, valid_from) VALUES ('once', 'pro', 'm', 'flat', '{"amount": 4}', '2027-01-15');
INSERT INTO meter.price (price, tenant, metric, model, params, valid_from, valid_to) VALUES ('once', 'pro', 'm', 'flat', '{"amount": 4}', '2026-01-01', '2026-01-16');
UPDATE meter.price SET valid_to = NULL WHERE price = 'once' AND valid_from = '2026-02-01';
-- the way to change a price: end the one that holds, begin another
BEGIN;
UPDATE meter.price SET valid_to = '2026-06-01' WHERE price = 'once' AND plan = 'pro' AND valid_to IS NULL;
INSERT INTO meter.price (price, plan, metric, model, params, valid_from) VALUES ('once', 'pro', 'm', 'flat', '{"amount": 4}', '2026-06-01');
COMMIT;
SELECT price, plan, tenant, params, valid_from, valid_to FROM meter.price WHERE price = 'once'
ORDER BY plan NULLS FIRST, tenant NULLS FIRST, valid_from;

-- a value that no usage has: the rollup keeps strings up to 128 bytes, numbers and booleans, and no more
\set VERBOSITY default
INSERT INTO meter.price (price, metric, dims, model, params) VALUES ('list', 'tokens', '{"region": "eu", "model": ["a", "b"]}', 'flat', '{"amount": 1}');
\set VERBOSITY terse
INSERT INTO meter.price (price, metric, dims, model, params) VALUES ('null', 'tokens', '{"model": null}', 'flat', '{"amount": 1}');
INSERT INTO meter.price (price, metric, dims, model, params) VALUES ('object', 'tokens', '{"model": {"name": "a"}}', 'flat', '{"amount": 1}');
INSERT INTO meter.price (price, metric, dims, model, params) VALUES ('empty', 'tokens', '{"model": []}', 'flat', '{"amount": 1}');
\set VERBOSITY default
INSERT INTO meter.price (price, metric, dims, model, params)
VALUES ('long', 'tokens', jsonb_build_object('model', 'x' || repeat('ö', 64)), 'flat', '{"amount": 1}');
INSERT INTO meter.price (price, metric, dims, model, params)
VALUES ('digits', 'tokens', jsonb_build_object('model', repeat('1', 400)::numeric), 'flat', '{"amount": 1}');
\set VERBOSITY terse
UPDATE meter.price SET dims = '{"model": ["a"]}' WHERE price = 'calls';
-- whatever is taken comes out of metadata as it is, and whatever is refused does not
SELECT left(v.value::text, 20) AS value, meter.event_dims('tokens', jsonb_build_object('model', v.value)) @> jsonb_build_object('model', v.value) AS kept
FROM (VALUES ('"a"'::jsonb), ('""'), ('1'), ('1.50'), ('-0.0'), ('true'), ('false'),
	(to_jsonb(repeat('ö', 64))), (to_jsonb(repeat('1', 200)::numeric)), ('{"a": 1}'), ('{}'), ('[]'), ('["a"]'), ('null'),
	(to_jsonb('x' || repeat('ö', 64))), (to_jsonb(repeat('1', 400)::numeric))) AS v(value);
SELECT bool_and(meter.dims_check(jsonb_build_object('k', v.value))) AS taken
FROM (VALUES ('"a"'::jsonb), ('""'), ('1'), ('1.50'), ('-0.0'), ('true'), ('false'),
	(to_jsonb(repeat('ö', 64))), (to_jsonb(repeat('1', 200)::numeric))) AS v(value);

-- a dimension that the metric does not have
\set VERBOSITY default
INSERT INTO meter.price (price, metric, dims, model, params) VALUES ('dims', 'tokens', '{"model": "a", "zone": 1, "area": 2}', 'flat', '{"amount": 1}');
\set VERBOSITY terse
UPDATE meter.price SET metric = 'calls', dims = '{"model": "a"}' WHERE price = 'dims';
UPDATE meter.price SET metric = 'later' WHERE price = 'dims';
UPDATE meter.price SET metric = 'tokens' WHERE price = 'dims';

-- a metric of the other kind: a warning, and of one that is not there yet a notice
INSERT INTO meter.metric (metric, kind) VALUES ('seats', 'gauge');
\set VERBOSITY default
INSERT INTO meter.price (price, metric, aggregation, model, params) VALUES ('level', 'calls', 'weighted_avg', 'per_unit', '{"unit_amount": 1}');
INSERT INTO meter.price (price, metric, model, params) VALUES ('seats', 'seats', 'per_unit', '{"unit_amount": 1}');
INSERT INTO meter.price (price, metric, aggregation, model, params) VALUES ('space', 'space', 'time_weighted', 'per_unit', '{"unit_amount": 1}');
\set VERBOSITY terse
UPDATE meter.price SET metric = 'calls' WHERE price = 'space';
UPDATE meter.price SET aggregation = 'count' WHERE price = 'seats';
UPDATE meter.price SET description = 'no other' WHERE price = 'seats';
-- model and aggregation of a gauge, and of a counter
DELETE FROM meter.price WHERE price IN ('level', 'seats', 'space');
DO $$
DECLARE
	asked record;
BEGIN
	FOR asked IN
		SELECT m.metric, a.aggregation, CASE a.aggregation WHEN 'percentile' THEN 95 END AS percentile, c.model, c.params
		FROM unnest(ARRAY['calls', 'seats']) WITH ORDINALITY AS m(metric, n)
		CROSS JOIN unnest(ARRAY['count', 'sum', 'min', 'max', 'avg', 'last', 'unique', 'time_weighted', 'weighted_avg', 'percentile'])
			WITH ORDINALITY AS a(aggregation, n)
		CROSS JOIN (VALUES ('per_unit', '{"unit_amount": 1}'::jsonb), ('flat', '{"amount": 1}'), ('dynamic', '{}'), ('percentage', '{"rate_percent": 1}'))
			AS c(model, params)
		WHERE a.aggregation = 'sum' OR c.model IN ('per_unit', 'flat')
		ORDER BY m.n, a.n, c.model
	LOOP
		RAISE INFO '% of % by %', asked.aggregation, asked.metric, asked.model;
		INSERT INTO meter.price (price, metric, aggregation, percentile, model, params)
		VALUES ('kind', asked.metric, asked.aggregation, asked.percentile, asked.model, asked.params);
		DELETE FROM meter.price WHERE price = 'kind';
	END LOOP;
END
$$;
SELECT meter.kind_fits();

-- the plan's name goes along, and prices of a plan go with it
UPDATE meter.plan SET plan = 'team' WHERE plan = 'pro';
DELETE FROM meter.plan WHERE plan = 'free';
SELECT price, plan, count(*) FROM meter.price WHERE plan IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2;
SELECT meter.price_dims_declared();

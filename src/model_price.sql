-- model_price.sql: what the tokens of language models cost us

CREATE TABLE meter.model_price (
	provider text COLLATE "C" NOT NULL
		CONSTRAINT model_price_provider_check CHECK (octet_length(provider) BETWEEN 1 AND 64
			AND provider !~ '[[:cntrl:]]' AND provider ~ '[^ ]'),
	model text COLLATE "C" NOT NULL
		CONSTRAINT model_price_model_check CHECK (octet_length(model) BETWEEN 1 AND 128
			AND model !~ '[[:cntrl:]]' AND model ~ '[^ ]'),
	valid_from timestamptz NOT NULL DEFAULT now()
		CONSTRAINT model_price_valid_from_check CHECK (valid_from < 'infinity'),
	above_tokens bigint NOT NULL DEFAULT 0
		CONSTRAINT model_price_above_tokens_check CHECK (above_tokens >= 0),
	input_price numeric
		CONSTRAINT model_price_input_price_check CHECK (input_price >= 0
			AND input_price < 1000000000 AND min_scale(input_price) <= 30),
	output_price numeric
		CONSTRAINT model_price_output_price_check CHECK (output_price >= 0
			AND output_price < 1000000000 AND min_scale(output_price) <= 30),
	cached_price numeric
		CONSTRAINT model_price_cached_price_check CHECK (cached_price >= 0
			AND cached_price < 1000000000 AND min_scale(cached_price) <= 30),
	cache_creation_price numeric
		CONSTRAINT model_price_cache_creation_price_check CHECK (cache_creation_price >= 0
			AND cache_creation_price < 1000000000 AND min_scale(cache_creation_price) <= 30),
	mode text,
	currency text NOT NULL DEFAULT 'USD'
		CONSTRAINT model_price_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
	extra jsonb NOT NULL DEFAULT '{}'
		CONSTRAINT model_price_extra_check CHECK (jsonb_typeof(extra) = 'object'),
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (model, provider, valid_from, above_tokens),
	CONSTRAINT model_price_check CHECK (num_nonnulls(input_price, output_price) > 0)
);
COMMENT ON TABLE meter.model_price IS
'What a token of a language model costs us. A model''s prices hold from valid_from to the next valid_from of the same provider and model, for events of that time; of the rows of one valid_from that with the highest above_tokens below the number of a call''s input tokens holds, for all tokens of the call';
COMMENT ON COLUMN meter.model_price.provider IS 'who sells the model, at most 64 bytes';
COMMENT ON COLUMN meter.model_price.model IS 'name of the model, at most 128 bytes';
COMMENT ON COLUMN meter.model_price.valid_from IS 'from when on the prices hold; -infinity is since ever';
COMMENT ON COLUMN meter.model_price.above_tokens IS
'the row is for calls with more input tokens than this; 0 is for all calls, and each valid_from needs such a row';
COMMENT ON COLUMN meter.model_price.input_price IS 'price of an input token; null: none, a call with such tokens has no price';
COMMENT ON COLUMN meter.model_price.output_price IS 'price of an output token; null: none, a call with such tokens has no price';
COMMENT ON COLUMN meter.model_price.cached_price IS 'price of an input token read from the provider''s cache; null: that of an input token';
COMMENT ON COLUMN meter.model_price.cache_creation_price IS 'price of an input token written to the provider''s cache; null: that of an input token';
COMMENT ON COLUMN meter.model_price.mode IS 'what the model does (chat, embedding, ...), for people';
COMMENT ON COLUMN meter.model_price.currency IS
'currency of the prices, the same in all rows: costs of events are plain numbers, which can only be added up if they are in one currency';
COMMENT ON COLUMN meter.model_price.extra IS 'what else a price list says of the model, such as max_input_tokens';
COMMENT ON COLUMN meter.model_price.created_at IS 'when the row was added';

CREATE FUNCTION @extschema@.meter_model_price_changed() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_model_price_changed() IS
'Trigger of meter.model_price: makes every session read the prices again, and writers take turns';

CREATE TRIGGER model_price_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON meter.model_price
FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.meter_model_price_changed();

-- also for what logical replication brings
ALTER TABLE meter.model_price ENABLE ALWAYS TRIGGER model_price_changed;

CREATE FUNCTION meter.model_price_one_currency() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	currencies text;
BEGIN
	-- writers take turns, by the other trigger, whose name comes first
	SELECT string_agg(c.currency, ', ' ORDER BY c.currency) INTO currencies
	FROM (SELECT DISTINCT currency FROM meter.model_price) AS c
	HAVING count(*) > 1;
	IF currencies IS NOT NULL THEN
		RAISE EXCEPTION 'prices of models must all be in one currency'
			USING ERRCODE = 'check_violation',
				DETAIL = format('They are in %s.', currencies),
				HINT = 'Convert them: costs of events are plain numbers, which are added up.';
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.model_price_one_currency() IS
'Trigger of meter.model_price: all prices are in one currency';

CREATE TRIGGER model_price_one_currency
AFTER INSERT OR UPDATE OF currency ON meter.model_price
FOR EACH STATEMENT EXECUTE FUNCTION meter.model_price_one_currency();

SELECT pg_catalog.pg_extension_config_dump('meter.model_price', '');

-- The work of meter_import_model_prices().  Of rows made of JSON the planner
-- takes the few that pass a condition for one, and would loop over them; what
-- it then says of the cost is no reason to compile.
CREATE FUNCTION meter.model_price_import(
	prices jsonb,
	since timestamptz,
	in_currency text)
RETURNS TABLE (provider text, model text, action text, reason text)
LANGUAGE SQL VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
SET jit = off
AS $$
	WITH entry AS MATERIALIZED (
		SELECT e.key AS model, e.value ->> 'litellm_provider' AS provider, e.value AS object,
			CASE
				WHEN e.key = 'sample_spec' THEN 'describes the format'
				WHEN jsonb_typeof(e.value) <> 'object' THEN 'is not an object'
				WHEN octet_length(e.key) NOT BETWEEN 1 AND 128 THEN 'model is empty or longer than 128 bytes'
				WHEN e.key ~ '[[:cntrl:]]' OR e.key !~ '[^ ]' THEN 'model is not a name'
				WHEN jsonb_typeof(e.value -> 'litellm_provider') IS DISTINCT FROM 'string' THEN
					'litellm_provider is not a string'
				WHEN octet_length(e.value ->> 'litellm_provider') NOT BETWEEN 1 AND 64 THEN
					'litellm_provider is empty or longer than 64 bytes'
				WHEN e.value ->> 'litellm_provider' ~ '[[:cntrl:]]' OR e.value ->> 'litellm_provider' !~ '[^ ]' THEN
					'litellm_provider is not a name'
			END AS reason
		FROM jsonb_each(prices) AS e
	),
	field AS MATERIALIZED (
		SELECT n.model, f.key, f.value, regexp_match(f.key, '^(input_cost_per_token|output_cost_per_token|'
			'cache_read_input_token_cost|cache_creation_input_token_cost)(?:_above_(\d{1,12})(k?)_tokens)?$') AS price
		FROM entry AS n
		CROSS JOIN jsonb_each(n.object) AS f
		WHERE n.reason IS NULL
	),
	-- prices, and those above a number of tokens, as keys of an entry
	keyed AS MATERIALIZED (
		SELECT f.model, f.key, f.value, f.price[1] AS kind,
			COALESCE(f.price[2]::bigint * CASE f.price[3] WHEN 'k' THEN 1000 ELSE 1 END, 0) AS above_tokens
		FROM field AS f
		WHERE f.price IS NOT NULL AND f.value <> 'null'
	),
	-- tiers as a list of objects, which may also be of something else
	listed AS MATERIALIZED (
		SELECT n.model, t.tier, t.tier -> 'range' -> 0 AS starts
		FROM entry AS n
		CROSS JOIN jsonb_array_elements(CASE jsonb_typeof(n.object -> 'tiered_pricing')
			WHEN 'array' THEN n.object -> 'tiered_pricing' ELSE '[]' END) AS t(tier)
		WHERE n.reason IS NULL AND jsonb_typeof(t.tier) = 'object'
			AND t.tier ?| ARRAY['input_cost_per_token', 'output_cost_per_token']
	),
	price AS MATERIALIZED (
		SELECT k.model, k.key, k.value #>> '{}' AS value, jsonb_typeof(k.value) AS type
		FROM keyed AS k
		UNION ALL
		SELECT l.model, 'tiered_pricing.' || f.key, f.value #>> '{}', jsonb_typeof(f.value)
		FROM listed AS l
		CROSS JOIN jsonb_each(l.tier) AS f
		WHERE f.key = ANY (ARRAY['input_cost_per_token', 'output_cost_per_token',
			'cache_read_input_token_cost', 'cache_creation_input_token_cost']) AND f.value <> 'null'
	),
	-- the first thing that is wrong with a price of an entry
	fault AS MATERIALIZED (
		SELECT f.model, min(f.reason COLLATE "C") AS reason
		FROM (
			SELECT p.model, CASE
				-- or a string that is one, of no more digits than can be read in any case
				WHEN p.type <> 'number' AND NOT (p.type = 'string' AND octet_length(p.value) <= 1000
						AND p.value ~ '^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?$')
					THEN p.key || ' is not a number'
				WHEN p.value::numeric < 0 THEN p.key || ' is negative'
				WHEN p.value::numeric >= 1000000000 THEN p.key || ' is too large'
				WHEN min_scale(p.value::numeric) > 30 THEN p.key || ' has more than 30 decimals'
			END AS reason
			FROM price AS p
			UNION ALL
			SELECT l.model, 'tiered_pricing has a range without a whole number of tokens to begin with'
			FROM listed AS l
			WHERE CASE WHEN jsonb_typeof(l.starts) = 'number' THEN
				l.starts::numeric < 0 OR l.starts::numeric >= 1000000000000
				OR l.starts::numeric <> trunc(l.starts::numeric) ELSE true END
			UNION ALL
			SELECT l.model, 'tiered_pricing has two ranges that begin with the same number of tokens'
			FROM listed AS l
			GROUP BY l.model, l.starts HAVING count(*) > 1
		) AS f
		WHERE f.reason IS NOT NULL
		GROUP BY f.model
	),
	sound AS MATERIALIZED (
		SELECT n.model, n.provider, n.object, n.model IN (SELECT l.model FROM listed AS l) AS is_listed
		FROM entry AS n
		WHERE n.reason IS NULL AND NOT EXISTS (SELECT FROM fault AS f WHERE f.model = n.model)
	),
	tier AS (
		-- above a number of tokens, each price is that of the highest number it is named for;
		-- of two keys with the same number, such as 128000 and 128k, that of the first in order of bytes
		SELECT s.model, t.above_tokens,
			(array_agg(k.value #>> '{}' ORDER BY k.above_tokens DESC, k.key COLLATE "C")
				FILTER (WHERE k.kind = 'input_cost_per_token'))[1]::numeric AS input_price,
			(array_agg(k.value #>> '{}' ORDER BY k.above_tokens DESC, k.key COLLATE "C")
				FILTER (WHERE k.kind = 'output_cost_per_token'))[1]::numeric AS output_price,
			(array_agg(k.value #>> '{}' ORDER BY k.above_tokens DESC, k.key COLLATE "C")
				FILTER (WHERE k.kind = 'cache_read_input_token_cost'))[1]::numeric AS cached_price,
			(array_agg(k.value #>> '{}' ORDER BY k.above_tokens DESC, k.key COLLATE "C")
				FILTER (WHERE k.kind = 'cache_creation_input_token_cost'))[1]::numeric AS cache_creation_price
		FROM sound AS s
		JOIN (SELECT DISTINCT k.model, k.above_tokens FROM keyed AS k) AS t ON t.model = s.model
		JOIN keyed AS k ON k.model = t.model AND k.above_tokens <= t.above_tokens
		WHERE NOT s.is_listed
		GROUP BY s.model, t.above_tokens
		UNION ALL
		-- of a list, the lowest tier is for what is below it too
		SELECT s.model, CASE WHEN l.starts::numeric = min(l.starts::numeric) OVER (PARTITION BY l.model)
				THEN 0 ELSE l.starts::bigint END,
			COALESCE(l.tier ->> 'input_cost_per_token', s.object ->> 'input_cost_per_token')::numeric,
			COALESCE(l.tier ->> 'output_cost_per_token', s.object ->> 'output_cost_per_token')::numeric,
			(l.tier ->> 'cache_read_input_token_cost')::numeric,
			(l.tier ->> 'cache_creation_input_token_cost')::numeric
		FROM sound AS s
		JOIN listed AS l ON l.model = s.model
	),
	-- what is in no column of its own
	other AS MATERIALIZED (
		SELECT s.model, COALESCE(jsonb_object_agg(f.key, f.value) FILTER (WHERE f.key IS NOT NULL), '{}') AS extra,
			'not charged: ' || string_agg(f.key, ', ' ORDER BY f.key COLLATE "C")
				FILTER (WHERE f.key ~ '(cost|pricing)' AND f.value <> ALL (ARRAY['null', '0']::jsonb[])) AS reason
		FROM sound AS s
		LEFT JOIN field AS f ON f.model = s.model AND f.price IS NULL
			AND f.key <> ALL (ARRAY['litellm_provider', 'mode']) AND NOT (f.key = 'tiered_pricing' AND s.is_listed)
		GROUP BY s.model
	),
	wanted AS MATERIALIZED (
		SELECT s.model, s.provider, t.above_tokens, t.input_price, t.output_price, t.cached_price,
			t.cache_creation_price, s.object ->> 'mode' AS mode,
			CASE t.above_tokens WHEN 0 THEN o.extra ELSE '{}' END AS extra
		FROM sound AS s
		JOIN tier AS t ON t.model = s.model
		JOIN other AS o ON o.model = s.model
		WHERE num_nonnulls(t.input_price, t.output_price) > 0
			AND EXISTS (SELECT FROM tier AS b WHERE b.model = s.model AND b.above_tokens = 0
				AND num_nonnulls(b.input_price, b.output_price) > 0)
	),
	-- the prices of a model as one value: as wanted, and as they are at that time
	target AS (
		SELECT w.model, w.provider, jsonb_agg(jsonb_build_array(w.above_tokens, w.input_price, w.output_price,
			w.cached_price, w.cache_creation_price, w.mode, w.extra, in_currency) ORDER BY w.above_tokens) AS prices
		FROM wanted AS w
		GROUP BY w.model, w.provider
	),
	present AS (
		SELECT p.model, p.provider, jsonb_agg(jsonb_build_array(p.above_tokens, p.input_price, p.output_price,
			p.cached_price, p.cache_creation_price, p.mode, p.extra, p.currency) ORDER BY p.above_tokens) AS prices
		FROM meter.model_price AS p
		JOIN (SELECT h.model, h.provider, max(h.valid_from) AS valid_from
			FROM meter.model_price AS h
			WHERE h.valid_from <= since
			GROUP BY h.model, h.provider) AS l
			ON l.model = p.model AND l.provider = p.provider AND l.valid_from = p.valid_from
		GROUP BY p.model, p.provider
	),
	decided AS MATERIALIZED (
		SELECT n.model, CASE WHEN n.reason IS NULL OR jsonb_typeof(n.object) = 'object' THEN n.provider END AS provider,
			CASE
				WHEN w.model IS NULL THEN 'skipped'
				WHEN p.model IS NULL THEN 'added'
				WHEN p.prices = w.prices THEN 'unchanged'
				ELSE 'changed'
			END AS action,
			CASE WHEN w.model IS NULL THEN COALESCE(n.reason, f.reason, 'no price per token') ELSE o.reason END AS reason
		FROM entry AS n
		LEFT JOIN fault AS f ON f.model = n.model
		LEFT JOIN other AS o ON o.model = n.model
		LEFT JOIN target AS w ON w.model = n.model
		LEFT JOIN present AS p ON p.model = w.model AND p.provider = w.provider
	),
	written AS (
		INSERT INTO meter.model_price (provider, model, valid_from, above_tokens, input_price, output_price,
			cached_price, cache_creation_price, mode, currency, extra)
		SELECT w.provider, w.model, since, w.above_tokens, trim_scale(w.input_price), trim_scale(w.output_price),
			trim_scale(w.cached_price), trim_scale(w.cache_creation_price), w.mode, in_currency, w.extra
		FROM wanted AS w
		JOIN decided AS d ON d.model = w.model AND d.action = ANY (ARRAY['added', 'changed'])
		ON CONFLICT (model, provider, valid_from, above_tokens) DO UPDATE
		SET input_price = EXCLUDED.input_price, output_price = EXCLUDED.output_price,
			cached_price = EXCLUDED.cached_price, cache_creation_price = EXCLUDED.cache_creation_price,
			mode = EXCLUDED.mode, currency = EXCLUDED.currency, extra = EXCLUDED.extra
	),
	-- tiers that prices of the very same time had before
	removed AS (
		DELETE FROM meter.model_price AS p
		USING decided AS d
		WHERE d.action = 'changed' AND p.model = d.model AND p.provider = d.provider AND p.valid_from = since
			AND NOT EXISTS (SELECT FROM wanted AS w WHERE w.model = p.model AND w.above_tokens = p.above_tokens)
	)
	SELECT d.provider, d.model, d.action, d.reason
	FROM decided AS d
	ORDER BY d.model COLLATE "C";
$$;
COMMENT ON FUNCTION meter.model_price_import(jsonb, timestamptz, text) IS
'The work of meter_import_model_prices(), whose arguments are checked';

CREATE FUNCTION @extschema@.meter_import_model_prices(
	prices jsonb,
	valid_from timestamptz DEFAULT now(),
	currency text DEFAULT 'USD')
RETURNS TABLE (provider text, model text, action text, reason text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF num_nulls(prices, meter_import_model_prices.valid_from, meter_import_model_prices.currency) > 0 THEN
		RAISE EXCEPTION '% must not be null', CASE WHEN prices IS NULL THEN 'prices'
			WHEN meter_import_model_prices.valid_from IS NULL THEN 'valid_from' ELSE 'currency' END
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF jsonb_typeof(prices) <> 'object' THEN
		RAISE EXCEPTION 'prices must be a JSON object'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Its keys are names of models, its values objects with litellm_provider, input_cost_per_token and so on.';
	END IF;

	-- Another import, whose rows this one has to compare with, comes first; so does
	-- who has changed prices and may still register the metrics by a call.
	LOCK TABLE meter.model_price IN SHARE ROW EXCLUSIVE MODE;

	-- so that prices of bills can name them before the first call
	INSERT INTO meter.metric (metric, unit, dimensions, description)
	SELECT b.metric, b.unit, b.dimensions, b.description
	FROM meter.builtin_metric AS b
	WHERE NOT EXISTS (SELECT FROM meter.metric AS m WHERE m.metric = b.metric)
	ON CONFLICT DO NOTHING;
	RETURN QUERY SELECT i.provider, i.model, i.action, i.reason
	FROM meter.model_price_import(prices, meter_import_model_prices.valid_from,
		meter_import_model_prices.currency) AS i;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_import_model_prices(jsonb, timestamptz, text) IS
'Read a price list in the format of litellm''s model_prices_and_context_window.json into meter.model_price: prices that differ from those in force at valid_from hold from then on. Returns a row for each entry: added, changed, unchanged or skipped, with the reason; for an entry that is not skipped the reason names prices of other things than tokens, or of other conditions, which meter_track_llm() does not charge. An entry that is wrong does not hinder the others. Models that are not in the list stay as they are. Errors: 22004 for null, 22023 if prices is no object, 23514 for a currency that is none or not that of the other prices';

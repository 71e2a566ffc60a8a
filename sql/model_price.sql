-- prices of language models: the import of a price list, times, tiers, what is refused
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\pset null '-'

-- a list as it is published; JSON numbers such as 3e-05 become exact numerics
SELECT * FROM meter_import_model_prices($${
	"sample_spec": {"litellm_provider": "one of ...", "input_cost_per_token": 0.0, "max_tokens": "set to ..."},
	"gpt-4": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 3e-05, "output_cost_per_token": 6e-05},
	"gpt-4o-mini": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07,
		"output_cost_per_token": 6e-07, "cache_read_input_token_cost": 7.5e-08, "max_input_tokens": 128000,
		"supports_vision": true, "input_cost_per_token_batches": 7.5e-08},
	"claude": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06,
		"output_cost_per_token": 1.5e-05, "cache_creation_input_token_cost": 3.75e-06,
		"cache_read_input_token_cost": 3e-07, "input_cost_per_token_above_200k_tokens": 6e-06,
		"output_cost_per_token_above_200k_tokens": 2.25e-05,
		"cache_creation_input_token_cost_above_200k_tokens": 7.5e-06,
		"cache_read_input_token_cost_above_200k_tokens": 6e-07,
		"cache_creation_input_token_cost_above_1hr": 6e-06},
	"gemini": {"litellm_provider": "vertex_ai", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
		"cache_read_input_token_cost": null, "input_cost_per_token_above_128k_tokens": 4e-06,
		"output_cost_per_token_above_512_tokens": 3e-06},
	"qwen": {"litellm_provider": "dashscope", "output_cost_per_token": 4e-07, "tiered_pricing": [
		{"range": [32000, 128000.0], "input_cost_per_token": 3e-07, "output_cost_per_token": 1e-06},
		{"range": [0, 32e3], "input_cost_per_token": 1e-07, "cache_read_input_token_cost": 2e-08}]},
	"search": {"litellm_provider": "firecrawl", "mode": "search", "tiered_pricing": [
		{"max_results_range": [1, 10], "input_cost_per_query": 0.00166}]},
	"embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08, "output_cost_per_token": 0.0},
	"free": {"litellm_provider": "local", "input_cost_per_token": 0, "output_cost_per_token": 0},
	"azure/gpt-4": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 2.9999999999999997e-05,
		"output_cost_per_token": 0.00006000},
	"aiml/dall-e-3": {"litellm_provider": "aiml", "mode": "image_generation", "output_cost_per_image": 0.052}
}$$, '2024-01-01');
SELECT provider, model, above_tokens AS above, input_price, output_price, cached_price AS cached,
	cache_creation_price AS creation, mode, currency
FROM meter.model_price ORDER BY model, above_tokens;
SELECT model, above_tokens, valid_from, extra FROM meter.model_price WHERE extra <> '{}' ORDER BY model;
SELECT metric, unit, dimensions FROM meter.metric ORDER BY metric;

-- again, also with numbers written in another way, nothing changes
SELECT * FROM meter_import_model_prices($${
	"gpt-4": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0000300, "output_cost_per_token": 60e-6},
	"gpt-4o-mini": {"supports_vision": true, "litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07,
		"output_cost_per_token": 6e-07, "cache_read_input_token_cost": 7.5e-08, "max_input_tokens": 128000,
		"input_cost_per_token_batches": 7.5e-08}
}$$, '2024-02-01');
SELECT count(*), count(DISTINCT (provider, model)) FROM meter.model_price;

-- changes hold from their time on; a model that is not in a list stays
SELECT * FROM meter_import_model_prices($${
	"gpt-4": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-05, "output_cost_per_token": 3e-05},
	"gpt-5": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05}
}$$, '2024-03-01');
-- the same time once more: the prices of that time are replaced, and its tiers
SELECT action FROM meter_import_model_prices($${
	"gpt-5": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
		"input_cost_per_token_above_272k_tokens": 2.5e-06}
}$$, '2024-03-01');
SELECT action FROM meter_import_model_prices($${
	"gpt-5": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05}
}$$, '2024-03-01');
-- earlier than what is there
SELECT action FROM meter_import_model_prices($${
	"gpt-4": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 6e-05, "output_cost_per_token": 12e-05}
}$$, '2023-06-01');
SELECT model, valid_from, lead(valid_from) OVER (PARTITION BY provider, model, above_tokens ORDER BY valid_from) AS valid_to,
	above_tokens AS above, input_price, output_price
FROM meter.model_price WHERE model IN ('gpt-4', 'gpt-5') ORDER BY model, valid_from;

-- what is wrong is reported, one reason each, and not imported; the others are
SELECT * FROM meter_import_model_prices($${
	"ok": {"litellm_provider": "p", "input_cost_per_token": 1e-6},
	"negative": {"litellm_provider": "p", "input_cost_per_token": -1e-6, "output_cost_per_token": 1e-6},
	"text": {"litellm_provider": "p", "input_cost_per_token": "free", "output_cost_per_token": 1e-6},
	"boolean": {"litellm_provider": "p", "input_cost_per_token": 1e-6, "output_cost_per_token": true},
	"null": {"litellm_provider": "p", "input_cost_per_token": null},
	"array": [1, 2],
	"number": 5,
	"nothing": null,
	"empty": {},
	"": {"litellm_provider": "p", "input_cost_per_token": 1e-6},
	"no provider": {"input_cost_per_token": 1e-6},
	"empty provider": {"litellm_provider": "", "input_cost_per_token": 1e-6},
	"odd provider": {"litellm_provider": ["p"], "input_cost_per_token": 1e-6},
	"line\nfeed": {"litellm_provider": "p", "input_cost_per_token": 1e-6},
	"too large": {"litellm_provider": "p", "input_cost_per_token": 1e9},
	"too fine": {"litellm_provider": "p", "input_cost_per_token": 1e-31},
	"huge exponent": {"litellm_provider": "p", "output_cost_per_token": 1e1000},
	"tier only": {"litellm_provider": "p", "input_cost_per_token_above_128k_tokens": 1e-6},
	"bad tier": {"litellm_provider": "p", "input_cost_per_token": 1e-6, "input_cost_per_token_above_128k_tokens": "x"},
	"bad cache": {"litellm_provider": "p", "input_cost_per_token": 1e-6, "cache_read_input_token_cost": -1},
	"bad list": {"litellm_provider": "p", "tiered_pricing": [{"input_cost_per_token": 1e-6}]},
	"half range": {"litellm_provider": "p", "tiered_pricing": [{"input_cost_per_token": 1e-6, "range": [0.5, 3]}]},
	"same range": {"litellm_provider": "p", "tiered_pricing": [{"input_cost_per_token": 1e-6, "range": [0, 3]},
		{"input_cost_per_token": 2e-6, "range": [0.0, 4]}]},
	"odd list": {"litellm_provider": "p", "input_cost_per_token": 1e-6, "tiered_pricing": "none"},
	"names": {"litellm_provider": "p", "input_cost_per_token": 1e-6, "tiered_pricing": ["input_cost_per_token"]},
	"list of names": {"litellm_provider": "p", "input_cost_per_token": 1e-6, "tiered_pricing": [["input_cost_per_token"]]}
}$$, '2024-04-01');
SELECT provider, model, input_price, extra FROM meter.model_price WHERE valid_from = '2024-04-01' ORDER BY model;
SELECT left(model, 4) || '..', octet_length(model), action, reason FROM meter_import_model_prices(jsonb_build_object(
	repeat('m', 128), '{"litellm_provider": "p", "input_cost_per_token": 1}'::jsonb,
	repeat('n', 129), '{"litellm_provider": "p", "input_cost_per_token": 1}'::jsonb,
	'long', jsonb_build_object('litellm_provider', repeat('p', 65), 'input_cost_per_token', 1)), '2024-04-01');
SELECT count(*) FROM meter_import_model_prices('{}', '2024-04-01');

-- a string that is a number is that number, and the same price again is no change
SELECT model, action, reason FROM meter_import_model_prices($${
	"texts": {"litellm_provider": "p", "input_cost_per_token": "1e-6", "output_cost_per_token": "0.0000020", "cache_read_input_token_cost": "+.25E-6",
		"cache_creation_input_token_cost": "3.", "input_cost_per_token_above_128k_tokens": "4e-06"},
	"text tiers": {"litellm_provider": "p", "output_cost_per_token": "5e-6",
		"tiered_pricing": [{"input_cost_per_token": "1e-6", "range": [0, 3]}, {"input_cost_per_token": 2e-6, "range": [3, 9]}]},
	"text negative": {"litellm_provider": "p", "input_cost_per_token": "-1e-6"},
	"text large": {"litellm_provider": "p", "input_cost_per_token": "1e999"},
	"text huge": {"litellm_provider": "p", "input_cost_per_token": "1e99999999"},
	"text fine": {"litellm_provider": "p", "input_cost_per_token": "1e-31"},
	"text nan": {"litellm_provider": "p", "input_cost_per_token": "NaN"},
	"text infinity": {"litellm_provider": "p", "input_cost_per_token": "Infinity"},
	"text empty": {"litellm_provider": "p", "input_cost_per_token": ""},
	"text blank": {"litellm_provider": "p", "input_cost_per_token": " 1"},
	"text hex": {"litellm_provider": "p", "input_cost_per_token": "0x10"},
	"text dot": {"litellm_provider": "p", "input_cost_per_token": "."},
	"text comma": {"litellm_provider": "p", "input_cost_per_token": "1,5"},
	"text lines": {"litellm_provider": "p", "input_cost_per_token": "1\n2"},
	"text last line": {"litellm_provider": "p", "input_cost_per_token": "1\n"},
	"text array": {"litellm_provider": "p", "input_cost_per_token": ["1"]}
}$$, '2024-04-02');
SELECT model, above_tokens, input_price, output_price, cached_price, cache_creation_price FROM meter.model_price
WHERE valid_from = '2024-04-02' ORDER BY model, above_tokens;
SELECT action, reason FROM meter_import_model_prices($${
	"texts": {"litellm_provider": "p", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 0.25e-6,
		"cache_creation_input_token_cost": 3, "input_cost_per_token_above_128k_tokens": 4e-6}}$$, '2024-04-02');
DELETE FROM meter.model_price WHERE valid_from = '2024-04-02';

-- two keys for the same number of tokens: that which is first in order of bytes, 128000 before 128k
BEGIN;
SELECT action FROM meter_import_model_prices($${
	"twice": {"litellm_provider": "p", "input_cost_per_token": 1, "input_cost_per_token_above_0_tokens": 5,
		"input_cost_per_token_above_128k_tokens": 3, "input_cost_per_token_above_128000_tokens": 2}
}$$, '2024-04-01');
SELECT above_tokens, input_price FROM meter.model_price WHERE model = 'twice' ORDER BY above_tokens;
ROLLBACK;

-- all in one currency
\set VERBOSITY terse
SELECT action FROM meter_import_model_prices('{"m": {"litellm_provider": "p", "input_cost_per_token": 1}}', '2024-04-01', 'EUR');
UPDATE meter.model_price SET currency = 'EUR' WHERE model = 'gpt-4';
BEGIN;
UPDATE meter.model_price SET currency = 'EUR';
SELECT action FROM meter_import_model_prices('{"m": {"litellm_provider": "p", "input_cost_per_token": 1}}', '2024-04-01', 'EUR');
ROLLBACK;

SELECT meter_import_model_prices(NULL);
SELECT meter_import_model_prices('{}', NULL);
SELECT meter_import_model_prices('{}', now(), NULL);
SELECT meter_import_model_prices('[]');
SELECT meter_import_model_prices('"gpt-4"');
SELECT meter_import_model_prices('{"m": {"litellm_provider": "p", "input_cost_per_token": 1}}', 'infinity');
SELECT meter_import_model_prices('{"m": {"litellm_provider": "p", "input_cost_per_token": 1}}', now(), 'usd');

-- by hand
INSERT INTO meter.model_price (provider, model, input_price) VALUES ('', 'm', 1);
INSERT INTO meter.model_price (provider, model, input_price) VALUES ('p', '  ', 1);
INSERT INTO meter.model_price (provider, model, input_price) VALUES ('p', 'm', -1);
INSERT INTO meter.model_price (provider, model, input_price) VALUES ('p', 'm', 'NaN');
INSERT INTO meter.model_price (provider, model, input_price) VALUES ('p', 'm', 'Infinity');
INSERT INTO meter.model_price (provider, model, output_price) VALUES ('p', 'm', 1e9);
INSERT INTO meter.model_price (provider, model, output_price, cached_price) VALUES ('p', 'm', 1, 1e-31);
INSERT INTO meter.model_price (provider, model, output_price, cache_creation_price) VALUES ('p', 'm', 1, -1);
INSERT INTO meter.model_price (provider, model) VALUES ('p', 'm');
INSERT INTO meter.model_price (provider, model, input_price, currency) VALUES ('p', 'm', 1, 'usd');
INSERT INTO meter.model_price (provider, model, input_price, above_tokens) VALUES ('p', 'm', 1, -1);
INSERT INTO meter.model_price (provider, model, input_price, extra) VALUES ('p', 'm', 1, '[]');
INSERT INTO meter.model_price (provider, model, input_price, valid_from) VALUES ('p', 'm', 1, 'infinity');

-- the trigger functions are nothing to call
SELECT meter_model_price_changed();
SELECT meter.model_price_one_currency();

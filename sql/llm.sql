-- calls of language models: what they cost, what is recorded, every error
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET meter.retention = 0;
\pset null '-'

SELECT count(*) FROM meter_import_model_prices($${
	"gpt-4": {"litellm_provider": "openai", "input_cost_per_token": 3e-05, "output_cost_per_token": 6e-05},
	"gpt-4o-mini": {"litellm_provider": "openai", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07,
		"cache_read_input_token_cost": 7.5e-08},
	"claude": {"litellm_provider": "anthropic", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
		"cache_creation_input_token_cost": 3.75e-06, "cache_read_input_token_cost": 3e-07,
		"input_cost_per_token_above_200k_tokens": 6e-06, "output_cost_per_token_above_200k_tokens": 2.25e-05,
		"cache_read_input_token_cost_above_200k_tokens": 6e-07},
	"embed": {"litellm_provider": "openai", "input_cost_per_token": 2e-08},
	"azure/gpt-4": {"litellm_provider": "azure", "input_cost_per_token": 4e-05, "output_cost_per_token": 8e-05}
}$$, '2024-01-01');
SELECT count(*) FROM meter_import_model_prices($${
	"gpt-4": {"litellm_provider": "openai", "input_cost_per_token": 1e-05, "output_cost_per_token": 3e-05}
}$$, '2024-03-01');
INSERT INTO meter.model_price (provider, model, valid_from, input_price, output_price) VALUES
	('ours', 'claude', '-infinity', 0.5, 0.25),
	('ours', 'plain', '-infinity', 0.1, 0.2);
-- prices from some number of tokens on only
INSERT INTO meter.model_price (provider, model, valid_from, above_tokens, input_price, output_price) VALUES
	('ours', 'large', '-infinity', 100, 0.1, 0.2);

-- what a call costs
SELECT at, meter_llm_cost('openai', 'gpt-4', 1000, 100, at => at)
FROM unnest(ARRAY['2024-01-01', '2024-02-29 23:59:59.999999', '2024-03-01', '2025-01-01']::timestamptz[]) AS at;
-- 1000 * 0.00003 + 100 * 0.00006 = 0.036; 1000 * 0.00001 + 100 * 0.00003 = 0.013 since March
SELECT meter_llm_cost('openai', 'gpt-4', 1000, 100) = 0.013 AS now;
-- (1000 - 400) * 0.00000015 + 400 * 0.000000075 + 100 * 0.0000006 = 0.00009 + 0.00003 + 0.00006
SELECT meter_llm_cost('openai', 'gpt-4o-mini', 1000, 100, 400);
-- without a price of cached tokens they cost what the others do
SELECT meter_llm_cost('openai', 'gpt-4', 1000, 100, 400), meter_llm_cost('openai', 'gpt-4', 1000, 100, 1000);
-- (1000 - 300 - 200) * 0.000003 + 300 * 0.0000003 + 200 * 0.00000375 + 10 * 0.000015
-- = 0.0015 + 0.00009 + 0.00075 + 0.00015
SELECT meter_llm_cost('anthropic', 'claude', 1000, 10, 300, cache_creation_tokens => 200);
-- the tier is that of all input tokens, and for all tokens: at 200000 the lower one,
-- 200000 * 0.000003 + 10 * 0.000015 = 0.60015; at 200001 the higher one, and creation has no price of its own in it:
-- (200001 - 1000 - 1) * 0.000006 + 1000 * 0.0000006 + 1 * 0.00000375 + 10 * 0.0000225
-- = 1.194 + 0.0006 + 0.00000375 + 0.000225
SELECT meter_llm_cost('anthropic', 'claude', 200000, 10),
	meter_llm_cost('anthropic', 'claude', 200001, 10, 1000, cache_creation_tokens => 1);
-- no tokens; none of a kind that has no price
SELECT meter_llm_cost('openai', 'gpt-4', 0, 0), meter_llm_cost('openai', 'embed', 7, 0);
-- exact at any size: 9223372036854775807 * 0.00001 + 9223372036854775807 * 0.00003
SELECT meter_llm_cost('openai', 'gpt-4', 9223372036854775807, 9223372036854775807);
-- without a provider; with a provider that price lists put in front of the name
SELECT meter_llm_cost(NULL, 'gpt-4o-mini', 1000, 0), meter_llm_cost('', 'gpt-4o-mini', 1000, 0);
SELECT meter_llm_cost('azure', 'gpt-4', 1, 1), meter_llm_cost('azure', 'azure/gpt-4', 1, 1),
	meter_llm_cost(NULL, 'azure/gpt-4', 1, 1);
SELECT meter_llm_cost('ours', 'claude', 1, 1, at => '-infinity'), meter_llm_cost('ours', 'claude', 1, 1, at => NULL);
SELECT meter_llm_cost('ours', 'large', 101, 1);

-- a call is one event until it enters the log
SELECT meter_track_llm('acme', 'openai', 'gpt-4', 4808, 10, service => 'chat', endpoint => '/v1/chat/42', method => 'POST',
	status => 200, latency_ms => 812.5, user_id => 'ann', metadata => '{"project": "x", "model": "other", "input_tokens": 1}',
	idempotency_key => 'c1', request_id => 'r1', at => '2024-02-10 10:00');
SELECT meter_track_llm('acme', NULL, 'claude-2', 10, 20, at => '2024-02-10 10:01');
SELECT meter_track_llm('acme', 'anthropic', 'claude', 1000, 10, 300, cache_creation_tokens => 200, at => '2024-02-10 10:02');
SELECT meter_track_llm('acme', 'openai', 'embed', 7, 0, status => 500, error_message => 'broken', at => '2024-02-10 10:03');
SELECT meter_track_llm('acme', 'openai', 'gpt-4', 0, 0, at => '2024-02-10 10:04');
SELECT metric, quantity, cost, validated, metadata FROM meter.inbox ORDER BY at;
-- usage up to now has its tokens already, and the flush and the rollup change nothing of it
CREATE TABLE live AS
SELECT hour, tenant, metric, service, endpoint, dims, events, errors, first_at, quantity, cost, users FROM meter.live;
SELECT metric, count(*), sum(events) AS events, sum(quantity) AS quantity FROM live GROUP BY metric ORDER BY metric;
SELECT count(*) FROM meter.usage_tail('acme');
SELECT * FROM meter_flush();
SELECT seq, at, metric, quantity AS n, cost, status, latency_ms AS ms, user_id, idempotency_key AS key, request_id AS request,
	error_message AS error, metadata
FROM meter.event ORDER BY seq;
SELECT service, endpoint, method, count(*) FROM meter.event WHERE request_id = 'r1' GROUP BY 1, 2, 3;

-- the totals: requests with their cost, tokens by type
SELECT meter_rollup();
SELECT metric, dims, events, errors, quantity, cost FROM meter.usage_hourly ORDER BY metric, dims, cost;
SELECT count(*) FROM (SELECT live::text FROM live
	EXCEPT SELECT u::text FROM (
		SELECT hour, tenant, metric, service, endpoint, dims, events, errors, first_at, quantity, cost, users
		FROM meter.usage_hourly) AS u) AS differs;

-- a repeat is dropped as a whole, whatever it says, here at the call and there at the flush
SELECT meter_track_llm('acme', 'openai', 'gpt-4', 4808, 10, 7, idempotency_key => 'c1', at => '2024-02-10 10:05');
INSERT INTO meter.inbox (tenant, metric, idempotency_key, metadata, at)
VALUES ('acme', 'llm_requests', 'c1', '{"model": "gpt-4", "input_tokens": 5, "cached_tokens": 1}', '2024-02-10 10:05');
SELECT * FROM meter_flush();

-- a call is void with its tokens; other values are of the call alone
SELECT meter_correct('acme', 'c1', cost => 0.1);
SELECT * FROM meter_flush();
SELECT seq, metric, quantity, cost, corrects, superseded_by FROM meter.event WHERE idempotency_key = 'c1' ORDER BY seq;
SELECT meter_correct('acme', 'c1', void => true);
SELECT * FROM meter_flush();
SELECT seq, metric, quantity, cost, corrects, superseded_by FROM meter.event WHERE idempotency_key = 'c1' ORDER BY seq;
SELECT meter_rollup();
SELECT metric, dims, events, quantity, cost FROM meter.usage_hourly WHERE dims @> '{"model": "gpt-4"}' ORDER BY metric, dims;
SELECT meter_correct('acme', 'c1', void => true);

-- by seq it is the call only: then its key names nothing to correct, but its tokens can still be voided
SELECT meter_track_llm('void', 'openai', 'gpt-4', 7, 8, idempotency_key => 'v', at => '2024-02-10 10:00');
SELECT appended FROM meter_flush();
SELECT meter_correct('void', seq => (SELECT max(seq) FROM meter.event WHERE tenant = 'void' AND metric = 'llm_requests'), void => true);
SELECT appended FROM meter_flush();
SELECT meter_correct('void', 'v', quantity => 1);
SELECT meter_correct('void', 'v', void => true);
SELECT appended FROM meter_flush();
SELECT count(*), count(*) FILTER (WHERE superseded_by IS NULL) AS counting FROM meter.event WHERE tenant = 'void';
-- tokens that were tracked by hand are an event like any other
SELECT meter_track('void', 'llm_tokens', 5, idempotency_key => 'w', at => '2024-02-10 10:00');
SELECT meter_correct('void', 'w', quantity => 6);
SELECT appended FROM meter_flush();
SELECT quantity FROM meter.event WHERE idempotency_key = 'w' AND superseded_by IS NULL;

-- calls from elsewhere have tokens too, as far as their metadata make sense
SELECT element, result FROM meter_track_batch('[
	{"tenant": "other", "metric": "llm_requests", "at": "2024-02-11 00:00Z", "cost": 0.5,
	 "metadata": {"provider": "p", "model": "m", "input_tokens": 10, "output_tokens": 3.0, "cached_tokens": 4, "team": {"a": [1]}}},
	{"tenant": "other", "metric": "llm_requests", "at": "2024-02-11 00:01Z",
	 "metadata": {"input_tokens": -1, "output_tokens": 1.5, "cached_tokens": 3}},
	{"tenant": "other", "metric": "llm_requests", "at": "2024-02-11 00:02Z",
	 "metadata": {"input_tokens": 5, "output_tokens": "7", "cached_tokens": 3, "cache_creation_tokens": 9}},
	{"tenant": "other", "metric": "llm_requests", "at": "2024-02-11 00:03Z",
	 "metadata": {"input_tokens": 9223372036854775808, "output_tokens": 9223372036854775807}},
	{"tenant": "other", "metric": "llm_requests", "at": "2024-02-11 00:04Z"}
]');
-- of COPY, and what had no room in the queue
INSERT INTO meter.inbox (tenant, metric, metadata, at, latency_ms, status)
VALUES ('other', 'llm_requests', '{"model": "m", "input_tokens": 8, "cache_creation_tokens": 8}', '2024-02-11 00:05Z', 5, 200);
SELECT * FROM meter_flush();
SELECT at, metric, quantity, cost, metadata FROM meter.event WHERE tenant = 'other' ORDER BY seq;

-- an ignored endpoint
SET meter.ignore_endpoints = '/v1/test';
SELECT meter_track_llm('acme', 'ours', 'plain', 1, 1, endpoint => '/v1/test');
RESET meter.ignore_endpoints;
SELECT count(*) FROM meter.inbox;

-- models without a price, at cost 0
SET meter.unknown_model = 'zero';
SELECT meter_llm_cost('openai', 'gpt-9', 1, 1);
SELECT meter_track_llm('acme', 'openai', 'gpt-9', 100, 5, metadata => '{"unpriced": false}', at => '2024-02-12 10:00', idempotency_key => 'u1');
SELECT meter_track_llm('acme', NULL, 'gpt-9', 100, 5, at => '2024-02-12 11:00');
SELECT meter_track_llm('acme', NULL, 'gpt-9', 100, 5, at => '2024-02-12 11:30');
-- before its first price; tokens of a kind that has none; below the lowest tier
SELECT meter_track_llm('zeta', 'openai', 'gpt-4', 100, 5, at => '2023-12-31 23:59');
SELECT meter_track_llm('zeta', 'openai', 'embed', 100, 5, at => '2024-02-12 10:00');
SELECT meter_track_llm('zeta', 'ours', 'large', 100, 5, at => '2024-02-12 10:00');
RESET meter.unknown_model;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM meter.unknown_model ORDER BY tenant, provider, model;
SELECT metadata FROM meter.event WHERE idempotency_key = 'u1' ORDER BY seq;
SELECT dims, quantity, cost FROM meter.usage_hourly WHERE metric = 'llm_tokens' AND tenant = 'zeta' ORDER BY hour, dims;
-- once there is a price: correct what was recorded without
INSERT INTO meter.model_price (provider, model, valid_from, input_price, output_price)
VALUES ('openai', 'gpt-9', '2024-01-01', 0.5, 1);
SELECT count(meter_correct(e.tenant, seq => e.seq, metadata => e.metadata - 'unpriced',
	cost => meter_llm_cost(e.metadata ->> 'provider', e.metadata ->> 'model', (e.metadata ->> 'input_tokens')::bigint,
		(e.metadata ->> 'output_tokens')::bigint, COALESCE((e.metadata ->> 'cached_tokens')::bigint, 0), e.at)))
FROM meter.event AS e
WHERE metric = 'llm_requests' AND metadata @> '{"unpriced": true, "model": "gpt-9"}' AND superseded_by IS NULL;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT tenant, provider, model, calls FROM meter.unknown_model ORDER BY tenant, provider, model;
-- 3 * (100 * 0.5 + 5 * 1)
SELECT sum(events) AS events, sum(cost) AS cost FROM meter.usage_hourly WHERE metric = 'llm_requests' AND dims ->> 'model' = 'gpt-9';

-- a change of prices counts from the next call on, and not if it is rolled back
SELECT meter_llm_cost('ours', 'plain', 1, 1);
BEGIN;
UPDATE meter.model_price SET input_price = 7 WHERE model = 'plain';
SELECT meter_llm_cost('ours', 'plain', 1, 1);
ROLLBACK;
SELECT meter_llm_cost('ours', 'plain', 1, 1);
DELETE FROM meter.model_price WHERE model = 'plain';
SELECT meter_llm_cost('ours', 'plain', 1, 1);
INSERT INTO meter.model_price (provider, model, valid_from, input_price, output_price) VALUES ('ours', 'plain', '-infinity', 2, 3);
SELECT meter_llm_cost('ours', 'plain', 1, 1);
-- more names than are remembered
SELECT count(DISTINCT meter_llm_cost('ours', 'plain', i, 0)), count(*) FROM generate_series(1, 5) AS i;
SET meter.unknown_model = 'zero';
SELECT sum(meter_llm_cost('ours', 'made up ' || i, i, 0)) FROM generate_series(1, 2500) AS i;
RESET meter.unknown_model;
SELECT meter_llm_cost('ours', 'plain', 1, 1);

-- strict metrics know these, and their rows in meter.metric come back by themselves
SET meter.strict_metrics = on;
DELETE FROM meter.metric WHERE metric LIKE 'llm%';
SELECT meter_track_llm('strict', 'ours', 'plain', 1, 1, at => '2024-02-13');
RESET meter.strict_metrics;
SELECT metric FROM meter.metric WHERE metric LIKE 'llm%' ORDER BY metric;
SELECT appended FROM meter_flush();
SELECT metric, dimensions FROM meter.metric WHERE metric LIKE 'llm%' ORDER BY metric;

-- bad input: one error each, whether the event is to be committed or buffered, and nothing is stored
TRUNCATE meter.inbox;
CREATE FUNCTION outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	detail := regexp_replace(detail, 'It is [0-9]{4}-[^;]*;', 'It is <time>;');
	RETURN concat_ws(E'\n    ', state || ': ' || message, NULLIF(detail, ''), NULLIF(hint, ''));
END
$$;
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	committed text; buffered text;
BEGIN
	SET LOCAL meter.durability = commit;
	committed := outcome(statement);
	SET LOCAL meter.durability = buffered;
	buffered := outcome(statement);
	RETURN CASE WHEN committed = buffered THEN committed
		ELSE concat_ws(E'\n', committed, 'but buffered, ' || buffered) END;
END
$$;
\pset format unaligned
\pset tuples_only on
SELECT try($$SELECT meter_track_llm(NULL, 'ours', 'plain', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('', 'ours', 'plain', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', NULL, 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', '', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', repeat('m', 129), 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', repeat('p', 65), 'plain', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', E'pl\nain', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', E'ou\trs', 'plain', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', NULL, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, NULL)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, NULL)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', -1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, -1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, -1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, cache_creation_tokens => -9223372036854775808)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 5, 2)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 5, 5, 3, cache_creation_tokens => 3)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 9223372036854775807, 5, 9223372036854775807, cache_creation_tokens => 9223372036854775807)$$);
SELECT try($$SELECT meter_track_llm('a', 'openai', 'gpt-99', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', NULL, 'gpt-99', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'nobody', 'gpt-4', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'nobody', 'claude', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', NULL, 'claude', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'openai', 'gpt-4', 1, 1, at => '2023-12-31 23:59:59+00')$$);
SELECT try($$SELECT meter_track_llm('a', 'openai', 'embed', 1, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'large', 100, 1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, metadata => '[]')$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, metadata => jsonb_build_object('x', repeat('x', 8192)))$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, status => 99)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, latency_ms => -1)$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, service => repeat('s', 65))$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, idempotency_key => repeat('k', 256))$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, at => now() + interval '1 hour')$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, at => 'infinity')$$);
SELECT try($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1, at => '-infinity')$$);
SELECT try($$SET LOCAL meter.unknown_model = 'ignore'$$);
SELECT count(*) FROM meter.inbox;
SELECT outcome($$SET TRANSACTION READ ONLY; SELECT meter_track_llm('a', 'ours', 'plain', 1, 1)$$);
-- who may do what: the setting and prices are not for those who track
CREATE ROLE regress_llm_app;
CREATE ROLE regress_llm_analyst;
CREATE ROLE regress_llm_admin;
SELECT meter_grant('regress_llm_app', 'app'), meter_grant('regress_llm_analyst', 'analyst'), meter_grant('regress_llm_admin', 'admin');
SET ROLE regress_llm_app;
SELECT outcome($$SET meter.unknown_model = 'zero'$$);
SELECT outcome($$SELECT count(*) FROM meter.model_price$$);
SELECT outcome($$SELECT meter_import_model_prices('{}')$$);
SELECT meter_track_llm('a', 'ours', 'plain', 1, 1), meter_llm_cost('ours', 'plain', 1, 1);
SET ROLE regress_llm_analyst;
SELECT outcome($$SELECT meter_track_llm('a', 'ours', 'plain', 1, 1)$$);
SELECT outcome($$SELECT meter_import_model_prices('{}')$$);
SELECT outcome($$DELETE FROM meter.model_price$$);
SELECT meter_llm_cost('ours', 'plain', 1, 1), count(*) FROM meter.unknown_model;
SET ROLE regress_llm_admin;
SELECT action FROM meter_import_model_prices('{"gpt-4": {"litellm_provider": "openai", "input_cost_per_token": 1}}', '2024-05-01');
SELECT action FROM meter_import_model_prices('{"gpt-4": {"litellm_provider": "openai", "input_cost_per_token": 2}}', '2024-05-01');
DELETE FROM meter.model_price WHERE model = 'gpt-4';
SELECT outcome($$SELECT meter_llm_cost('openai', 'gpt-4', 1, 1)$$);
RESET ROLE;
SELECT count(*) FROM meter.inbox;
SET client_min_messages = warning;
DROP OWNED BY regress_llm_app, regress_llm_analyst, regress_llm_admin;
DROP ROLE regress_llm_app, regress_llm_analyst, regress_llm_admin;

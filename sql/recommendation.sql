-- meter.recommendation: what could be had for less
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'SQL, DMY';
SET meter.retention = 0;
SET meter.bill_grace = 0;

-- Nothing at all, and what is not understood.
SELECT * FROM meter.recommendation;
\set VERBOSITY terse
SELECT * FROM meter_recommendations('{model,weather}');
SELECT * FROM meter_recommendations(ARRAY['model', NULL]);
SELECT * FROM meter_recommendations(period => NULL);
SELECT * FROM meter_recommendations(period => '0');
SELECT * FROM meter_recommendations(period => '366 days', at => '2026-04-01');
SELECT * FROM meter_recommendations(period => '365 days', at => '2026-04-01');
SELECT * FROM meter_recommendations(small_tokens => 0);
SELECT * FROM meter_recommendations(cache_for => '1 month');
SELECT * FROM meter_recommendations(cache_for => '0.5 seconds');
SELECT * FROM meter_recommendations(payload_bytes => -1);
SELECT * FROM meter_recommendations(at => 'infinity');
SELECT * FROM meter_recommendations(at => NULL);
\set VERBOSITY default

-- --- models: gpt-4 is cheaper from 16 March on.
INSERT INTO meter.model_price (provider, model, valid_from, above_tokens, input_price, output_price, cached_price, mode) VALUES
	('openai', 'gpt-4', '2026-01-01', 0, 0.00003, 0.00006, NULL, 'chat'),
	('openai', 'gpt-4', '2026-03-16', 0, 0.00001, 0.00003, NULL, 'chat'),
	('openai', 'gpt-4o-mini', '2026-01-01', 0, 0.00000015, 0.0000006, 0.000000075, 'chat'),
	('openai', 'gpt-nano', '2026-01-01', 0, 0.00000001, 0.00000001, NULL, 'chat'),
	('openai', 'embed', '2026-01-01', 0, 0.00000002, 0.00000002, NULL, 'embedding'),
	('azure', 'azure/dear', '2026-01-01', 0, 0.01, 0.01, NULL, NULL),
	('azure', 'azure/tiered', '2026-01-01', 0, 0.001, 0.001, NULL, NULL),
	('azure', 'azure/tiered', '2026-01-01', 100, 0.02, 0.001, NULL, NULL),
	('azure', 'noout', '2026-01-01', 0, 0.0001, NULL, NULL, NULL);
SELECT count(meter_track_llm(t, p, m, i, o, c, service => 'chat', at => a)) FROM (VALUES
	-- acme, small ones: 3 * (500 * 0.00003 + 100 * 0.00006) = 0.063 before the 16th, and then 2 * (0.005 + 0.003) = 0.016;
	-- by gpt-4o-mini 5 * (500 * 0.00000015 + 100 * 0.0000006) = 5 * 0.000135 = 0.000675.  Saving 0.079 - 0.000675 = 0.078325.
	-- gpt-nano would be cheaper still, but nobody calls it, and embed is something else.
	('acme', 'openai', 'gpt-4', 500, 100, 0, '2026-03-10 10:00+00'::timestamptz), ('acme', 'openai', 'gpt-4', 500, 100, 0, '2026-03-10 10:00+00'),
	('acme', 'openai', 'gpt-4', 500, 100, 0, '2026-03-15 23:59:59+00'), ('acme', 'openai', 'gpt-4', 500, 100, 0, '2026-03-16 00:00+00'),
	('acme', 'openai', 'gpt-4', 500, 100, 0, '2026-03-20 10:00+00'),
	-- not small, not in the period
	('acme', 'openai', 'gpt-4', 901, 100, 0, '2026-03-10 10:00+00'), ('acme', 'openai', 'gpt-4', 500, 100, 0, '2026-03-01 23:59:59+00'),
	('acme', 'openai', 'gpt-4', 500, 100, 0, '2026-04-01 00:00+00'),
	('acme', 'openai', 'embed', 500, 0, 0, '2026-03-10 10:00+00'), ('bolt', 'openai', 'gpt-4o-mini', 10, 10, 0, '2026-03-30 10:00+00'),
	-- bolt, with 400 of 500 tokens cached: 500 * 0.00003 + 500 * 0.00006 = 0.045, as gpt-4 has no price for them;
	-- by gpt-4o-mini 100 * 0.00000015 + 400 * 0.000000075 + 500 * 0.0000006 = 0.000345.  Saving 0.044655.
	('bolt', 'openai', 'gpt-4', 500, 500, 400, '2026-03-02 00:00+00'),
	-- cora: 100 * 0.01 = 1; by tiered 0.1, by noout 0.01.  Saving 0.99.
	('cora', 'azure', 'dear', 100, 0, 0, '2026-03-10 10:00+00'),
	-- dora: 50 * 0.01 + 10 * 0.01 = 0.6; noout has no price for output; by tiered 0.05 + 0.01.  Saving 0.54.
	('dora', 'azure', 'dear', 50, 10, 0, '2026-03-10 10:00+00'),
	-- eve: 1.01 + 1.02 = 2.03; by tiered 0.101 + (101 * 0.02 + 0.001 = 2.021) = 2.122, which is more
	('eve', 'azure', 'dear', 100, 1, 0, '2026-03-10 10:00+00'), ('eve', 'azure', 'dear', 101, 1, 0, '2026-03-10 10:00+00'),
	-- ours: 10 * 0.001, by noout 10 * 0.0001: saving 0.009; noout itself is the cheapest
	('ours', 'azure', 'tiered', 10, 0, 0, '2026-03-10 10:00+00'), ('ours', 'azure', 'noout', 10, 0, 0, '2026-03-10 10:00+00')
	) AS v (t, p, m, i, o, c, a);
-- what looks like a call and is not
SELECT meter_track('acme', 'llm_requests', cost => 5, at => '2026-03-10 10:00+00',
	metadata => '{"provider": "openai", "model": "gpt-4", "input_tokens": "many", "output_tokens": 5}');
SELECT meter_track('acme', 'llm_requests', cost => 5, at => '2026-03-10 10:00+00');
SELECT appended > 0 FROM meter_flush();
SELECT meter_rollup() > 0;
SELECT tenant, service, title, saving, currency, evidence FROM meter_recommendations('{model}', at => '2026-04-01') ORDER BY tenant, title;
-- up to 99 tokens: ours and dora; up to 1001: acme's large one is 0.02703 + 0.006 = 0.03303 more, 0.00013515 + 0.00006 by mini
SELECT tenant, saving FROM meter_recommendations('{model}', small_tokens => 99, at => '2026-04-01') ORDER BY tenant;
SELECT 0.078325 + 0.03303 - 0.00019515 AS expected, saving FROM meter_recommendations('{model}', small_tokens => 1001, at => '2026-04-01') WHERE tenant = 'acme';
-- 15 days of it: the 17th to the 31st
SELECT tenant, saving, evidence -> 'calls' AS calls FROM meter_recommendations('{model}', '15 days', at => '2026-04-01') ORDER BY tenant;

-- --- repeated requests
INSERT INTO meter.tenant (tenant, currency, started_on) VALUES ('gina', 'EUR', '2026-04-01');
SELECT count(meter_track(t, service => s, endpoint => e, method => m, status => c, cost => x, at => a, metadata => d)) FROM (VALUES
	-- gina: q = a three times on the 10th and once on the 11th, q = b once: 2 of 5 were repeated, 0.01 of 0.025
	('gina', 'maps', '/geocode', 'GET', 200, 0.005, '2026-03-10 00:00+00'::timestamptz, '{"q": "a"}'::jsonb),
	('gina', 'maps', '/geocode', 'GET', 200, 0.005, '2026-03-10 12:00+00', '{"q": "a"}'), ('gina', 'maps', '/geocode', 'GET', NULL, 0.005, '2026-03-10 23:59:59+00', '{"q": "a"}'),
	('gina', 'maps', '/geocode', 'GET', 200, 0.005, '2026-03-11 00:00+00', '{"q": "a"}'), ('gina', 'maps', '/geocode', 'GET', 200, 0.005, '2026-03-11 00:00+00', '{"q": "b"}'),
	-- an error, nothing to tell by, no cost, and what is no question
	('gina', 'maps', '/geocode', 'GET', 500, 0.005, '2026-03-11 00:00+00', '{"q": "b"}'), ('gina', 'maps', '/geocode', 'GET', 200, 0.005, '2026-03-11 00:00+00', NULL),
	('gina', 'maps', '/geocode', 'GET', 200, NULL, '2026-03-11 00:00+00', '{"q": "b"}'), ('gina', 'mail', '/send', 'POST', 200, 0.1, '2026-03-11 00:00+00', '{"template": "welcome"}'),
	('gina', 'mail', '/send', 'POST', 200, 0.1, '2026-03-11 00:00+00', '{"template": "welcome"}'),
	-- by hash, whatever else and whichever method: 0.3 and 0.1, of which the dearer one is needed
	('gina', 'ask', '/ask', 'POST', 200, 0.3, '2026-03-11 09:00+00', '{"request_hash": "h", "n": 1}'), ('gina', 'ask', '/ask', 'POST', 200, 0.1, '2026-03-11 10:00+00', '{"request_hash": "h", "n": 2}'),
	('gina', 'ask', '/ask', 'POST', 200, 0.1, '2026-03-11 10:00+00', '{"request_hash": "i", "n": 2}')) AS v (t, s, e, m, c, x, a, d);
-- hal: the same prompt twice, one of them of another model; 100 * 0.00000015 = 0.000015 is saved.  Without anything
-- that tells of the prompt, as acme above, nothing is.
SELECT count(meter_track_llm('hal', 'openai', m, 100, 0, metadata => '{"prompt": "hello"}', at => '2026-03-10 10:00+00'))
FROM unnest(ARRAY['gpt-4o-mini', 'gpt-4o-mini', 'gpt-4']) AS m;
SELECT appended > 0 FROM meter_flush();
SELECT meter_rollup() > 0;
SELECT tenant, service, title, saving, currency, evidence FROM meter_recommendations('{cache}', at => '2026-04-01') ORDER BY tenant, title;
-- where no tenant or plan has a currency, costs are in that of the models' prices
BEGIN;
UPDATE meter.tenant SET currency = NULL WHERE tenant = 'gina';
UPDATE meter.model_price SET currency = 'GBP';
SELECT DISTINCT tenant, currency FROM meter_recommendations('{cache}', at => '2026-04-01') ORDER BY tenant;
ROLLBACK;
-- no two are in one hour; of the windows of 10 days from 2000 on, number 956 is from 5 to 14 March (26 years and 7 leap
-- days are 9497 days, and 63 more) and has all four of q = a, of which three are saved
SELECT tenant, service, saving FROM meter_recommendations('{cache}', cache_for => '1 hour', at => '2026-04-01') ORDER BY tenant, service;
SELECT tenant, service, saving FROM meter_recommendations('{cache}', cache_for => '10 days', at => '2026-04-01') ORDER BY tenant, service;

-- --- commitments and plans, of March
INSERT INTO meter.plan (plan) VALUES ('starter'), ('commit'), ('pro'), ('tiny');
INSERT INTO meter.plan_version (plan, base_price, min_amount) VALUES ('starter', 10, NULL), ('commit', 0, 45), ('pro', 50, NULL), ('tiny', 1, NULL);
INSERT INTO meter.rate_limit (plan, per, max, kind) VALUES ('tiny', 'month', 3, 'window');
INSERT INTO meter.price (price, plan, tenant, metric, model, params, min_amount, currency) VALUES
	('calls', 'starter', NULL, 'calls', 'per_unit', '{"unit_amount": 0.02}', NULL, 'USD'),
	('calls', 'commit', NULL, 'calls', 'per_unit', '{"unit_amount": 0.015}', NULL, 'USD'),
	('tickets', NULL, 'rita', 'tickets', 'per_unit', '{"unit_amount": 0.1}', 12, 'EUR');
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'USD', '2026-01-01', 1.5);
INSERT INTO meter.tenant (tenant, plan, started_on, billing_anchor) VALUES ('peter', 'commit', '2026-01-01', 1), ('quinn', 'starter', '2026-01-01', 1),
	('rita', 'pro', '2026-01-01', 1), ('sam', 'starter', '2026-01-01', 20);
SELECT count(meter_track(t, m, q, at => a)) FROM (VALUES
	-- peter: 500 * 0.015 = 7.50 of 45, so 37.50 are for nothing; starter 10 + 10 = 20; tiny 1
	('peter', 'calls', 500, '2026-03-10 10:00+00'::timestamptz),
	-- quinn: 10 + 3000 * 0.02 = 70; commit 45; pro 50; tiny 1, but 4 calls of the API are more than its 3
	('quinn', 'calls', 3000, '2026-03-10 10:00+00'), ('quinn', 'api_requests', 1, '2026-03-10 10:00+00'), ('quinn', 'api_requests', 1, '2026-03-10 10:00+00'),
	('quinn', 'api_requests', 1, '2026-03-10 10:00+00'), ('quinn', 'api_requests', 1, '2026-03-10 10:00+00'),
	-- rita: 20 tickets are EUR 2, at least 12: EUR 10 = $15 for nothing, on any plan; pro is 50, tiny 1
	('rita', 'tickets', 20, '2026-03-10 10:00+00'),
	-- sam: from 20 February to 20 March, 100 calls = 10 + 2; tiny 1; 9999 on the 20th are of the next period
	('sam', 'calls', 100, '2026-03-19 23:59:59+00'), ('sam', 'calls', 9999, '2026-03-20 00:00+00')) AS v (t, m, q, a);
SELECT appended > 0 FROM meter_flush();
SELECT meter_rollup() > 0;
SELECT tenant, title, saving, currency, evidence FROM meter_recommendations('{plan}', at => '2026-04-01') ORDER BY tenant;
-- a moment before, March is not over; in February nothing was used: commit 45, at most starter 10, tiny 1
SELECT tenant, title, evidence -> 'month' AS month FROM meter_recommendations('{plan}', at => '2026-03-31 23:59:59') ORDER BY tenant;
SELECT count(*) FROM meter_recommendations('{commitment}', at => '2026-04-01');
-- peter's credits: 45 of 100 are used by the bill of March; the other ends later
INSERT INTO meter.credit (tenant, amount, expires_on, reason) VALUES ('peter', 100, '2026-05-01', 'gift'), ('peter', 7, '2026-05-02', 'later');
SET client_min_messages = warning;
CALL meter_close_month('2026-03-01');
RESET client_min_messages;
SELECT tenant, title, saving, currency, evidence - 'credit_id' AS evidence FROM meter_recommendations('{commitment}', at => '2026-04-01') ORDER BY tenant, title;
SELECT tenant, title FROM meter_recommendations('{commitment}', at => '2026-05-01') WHERE title ~ 'credit' ORDER BY tenant, title;
-- who is gone has nothing to lower
BEGIN;
UPDATE meter.tenant SET status = 'cancelled' WHERE tenant = 'peter';
SELECT tenant, title FROM meter_recommendations('{commitment}', at => '2026-04-01') ORDER BY tenant, title;
ROLLBACK;
-- a bill of three months ago tells of no more
SELECT count(*) FROM meter_recommendations('{commitment}', at => '2026-07-01');
SELECT meter_void_bill('peter', '2026-03-01', 'test');
SELECT tenant, title FROM meter_recommendations('{commitment}', at => '2026-04-01') WHERE title !~ 'credit' ORDER BY tenant;

-- --- payloads: over 1048576 bytes
INSERT INTO meter.metric (metric, unit) VALUES ('egress', 'bytes'), ('egress_bytes', NULL), ('files', 'file');
SELECT count(meter_track('tess', x, q, service => 'web', endpoint => e, method => 'GET', at => '2026-03-10 10:00+00', metadata => d)) FROM (VALUES
	('api_requests', 1, '/export', '{"response_bytes": 5200000}'::jsonb), ('api_requests', 1, '/export', '{"response_bytes": 100}'), ('api_requests', 1, '/export', NULL),
	('api_requests', 1, '/small', '{"bytes": 1048576}'), ('api_requests', 1, '/upload', '{"request_bytes": 1048577, "response_bytes": 5}'),
	('api_requests', 1, '/text', '{"bytes": "2000000"}'), ('api_requests', 1, NULL, '{"bytes": 2000000}'),
	('egress', 3000000, '/files', NULL), ('egress', 500000, '/files', NULL), ('egress_bytes', 1048576, '/other', NULL), ('files', 2000000, '/many', NULL)) AS v (x, q, e, d);
SELECT appended > 0 FROM meter_flush();
SELECT meter_rollup() > 0;
SELECT tenant, service, title, saving, currency, evidence FROM meter_recommendations('{payload}', at => '2026-04-01') ORDER BY title;
SELECT count(*) FROM meter_recommendations('{payload}', payload_bytes => 1048575, at => '2026-04-01');

-- --- versions of the API
INSERT INTO meter.api_version (version, deprecated_on, sunset_on, successor, migration_guide) VALUES ('v3', NULL, NULL, NULL, NULL),
	('v2', '2027-01-01', NULL, 'v3', NULL), ('v1', '2025-12-03', '2026-06-01', 'v3', 'https://docs.example.com/v1'), ('v0', '2025-01-01', '2025-07-01', NULL, NULL);
SELECT count(meter_track(t, service => 'web', endpoint => e, method => 'GET', user_id => u, at => '2026-03-10 10:00+00')) FROM (VALUES
	('uma', '/v1/a', 'x'), ('uma', '/v1/b', 'x'), ('uma', '/v1/b', 'y'), ('uma', '/v0/a', NULL), ('uma', '/v2/a', NULL), ('uma', '/v3/a', NULL), ('vic', '/v1/a', NULL)) AS v (t, e, u);
SELECT appended > 0 FROM meter_flush();
SELECT meter_rollup() > 0;
SELECT tenant, title, saving, evidence FROM meter_recommendations('{api_version}', at => '2026-04-01') ORDER BY tenant, title;
SELECT tenant, title FROM meter_recommendations('{api_version}', '30 days', at => '2026-03-10 10:00+00') ORDER BY tenant, title;

-- all kinds are in one list, which is what the view has of now
SELECT kind, count(*), sum(saving) FROM meter_recommendations(at => '2026-04-01') GROUP BY kind ORDER BY kind;
SELECT count(*) FROM (SELECT * FROM meter.recommendation EXCEPT SELECT * FROM meter_recommendations()) AS d;

-- An analyst sees it, in a context that of a tenant; an application and a tenant do not.
CREATE ROLE regress_advice_analyst;
CREATE ROLE regress_advice_app;
CREATE ROLE regress_advice_tenant;
SELECT meter_grant('regress_advice_analyst', 'analyst'), meter_grant('regress_advice_app', 'app'), meter_grant('regress_advice_tenant', 'tenant');
SET ROLE regress_advice_analyst;
SELECT kind, count(*), sum(saving) FROM meter_recommendations(at => '2026-04-01') GROUP BY kind ORDER BY kind;
SELECT count(*) >= 0 AS reads FROM meter.recommendation;
SELECT meter_set_tenant('quinn');
SELECT kind, tenant, saving FROM meter_recommendations(at => '2026-04-01') ORDER BY kind;
RESET ROLE;
SET ROLE regress_advice_app;
SELECT count(*) FROM meter.recommendation;
SET ROLE regress_advice_tenant;
SELECT count(*) FROM meter.recommendation;
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_advice_analyst, regress_advice_app, regress_advice_tenant;
DROP ROLE regress_advice_analyst, regress_advice_app, regress_advice_tenant;

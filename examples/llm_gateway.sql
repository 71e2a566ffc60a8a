-- llm_gateway.sql: a gateway to language models, with the cost of everything
--
-- Run it in a database of its own:
--
--	createdb llm
--	psql -d llm -c 'CREATE EXTENSION meter CASCADE' -f llm_gateway.sql
--
-- Teams call models of several providers through one gateway. It records each
-- call with its tokens, and what itself takes of CPU and memory. Wanted are the
-- costs by endpoint, provider, model and team, by day, week and month; budgets,
-- and who is told when they are used up; and where money can be saved.

-- the months are past, and stay so; for the background worker, too
SET meter.retention = 0;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET meter.retention = 0', current_database()); END $$;
SET timezone = 'UTC';

-- --- prices --------------------------------------------------------------------

-- The format is that of the widely used model_prices_and_context_window.json; of
-- GPT-4o-mini a million tokens cost $0.15 in and $0.60 out, of Claude $3 and $15.
SELECT * FROM meter_import_model_prices('{
	"gpt-4": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 3e-05, "output_cost_per_token": 6e-05},
	"gpt-4o-mini": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07,
		"output_cost_per_token": 6e-07, "cache_read_input_token_cost": 7.5e-08},
	"text-embedding-3-small": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08, "output_cost_per_token": 0},
	"claude": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05}
}', '2026-01-01');

-- The next month's list: what has changed holds from then on, and each call costs
-- what it did on its day.
SELECT * FROM meter_import_model_prices('{
	"gpt-4": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-05, "output_cost_per_token": 3e-05},
	"claude": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05},
	"dall-e-3": {"litellm_provider": "openai", "mode": "image_generation", "output_cost_per_image": 0.04}
}', '2026-10-01');

-- --- one call ------------------------------------------------------------------

-- One function records the request, the call of the provider and the tokens, and
-- returns the cost: 100 tokens in and 50 out are 0.000015 + 0.00003 = 0.000045.
SELECT meter_track_llm('support', 'openai', 'gpt-4o-mini', input_tokens => 100, output_tokens => 50, service => 'openai',
	endpoint => '/v1/chat', method => 'POST', status => 200, latency_ms => 640, user_id => 'ann', at => '2026-08-31 10:00') AS cost;

-- What is not priced by tokens, such as an image, brings its cost.
SELECT meter_track('support', 'llm_requests', service => 'openai', endpoint => '/v1/images', method => 'POST', status => 200,
	cost => 0.001, user_id => 'ann', metadata => '{"provider": "openai", "model": "dall-e-3"}', at => '2026-08-31 10:05');

-- --- a month and a half of calls -----------------------------------------------

-- Each hour of September and of the first two weeks of October, support chats with
-- two models, and search has texts summed up and embedded. On the ninth of October
-- a loop sends ten times as much to Claude for eight hours.
SELECT count(meter_track_llm(v.team, v.provider, v.model, v.input, v.output, service => v.provider, endpoint => v.endpoint,
	method => 'POST', status => 200, latency_ms => v.latency_ms, user_id => v.team || ' bot', at => h.hour)) AS calls
FROM generate_series(timestamptz '2026-09-01', '2026-10-14 23:00', interval '1 hour') AS h(hour)
CROSS JOIN LATERAL (SELECT CASE WHEN h.hour >= '2026-10-09 09:00' AND h.hour < '2026-10-09 17:00' THEN 10 ELSE 1 END AS times) AS l
CROSS JOIN LATERAL (VALUES
	('support', 'openai', 'gpt-4o-mini', '/v1/chat', 20000, 5000, 900),
	('support', 'anthropic', 'claude', '/v1/chat', 4000 * l.times, 1000 * l.times, 2100),
	('search', 'openai', 'gpt-4', '/v1/summaries', 500, 100, 3000),
	('search', 'openai', 'text-embedding-3-small', '/v1/embeddings', 50000, 0, 150)
) AS v(team, provider, model, endpoint, input, output, latency_ms);

-- What the gateway takes: two pods, a with 2 cores and 4 GiB, and b with 2 GiB and
-- half a core at night, 1.5 from eight o'clock on. CPU and memory are levels: a
-- sample holds until the next one. At the end both are gone.
INSERT INTO meter.metric (metric, kind, unit, dimensions, description) VALUES
	('cpu_usage_cores', 'gauge', 'core', '{pod}', 'CPU in use'),
	('memory_usage_bytes', 'gauge', 'byte', '{pod}', 'memory in use');
SELECT count(meter_track('gateway', v.metric, v.level, metadata => jsonb_build_object('pod', v.pod), at => h.hour)) AS samples
FROM generate_series(timestamptz '2026-09-01', '2026-10-15', interval '1 hour') AS h(hour)
CROSS JOIN LATERAL (VALUES
	('a', 'cpu_usage_cores', 2), ('a', 'memory_usage_bytes', 4 * 1024 ^ 3),
	('b', 'cpu_usage_cores', CASE WHEN extract(hour FROM h.hour) < 8 THEN 0.5 ELSE 1.5 END), ('b', 'memory_usage_bytes', 2 * 1024 ^ 3)
) AS g(pod, metric, level)
CROSS JOIN LATERAL (SELECT g.pod, g.metric, CASE WHEN h.hour < '2026-10-15' THEN g.level::numeric ELSE 0 END AS level) AS v;
SELECT appended FROM meter_flush();
SELECT meter_rollup();

-- --- what does it cost? --------------------------------------------------------

-- September has 720 hours. By hand, a call of
--
--	gpt-4o-mini   20 000 * 0.00000015 + 5 000 * 0.0000006 = 0.006     720 * 0.006 =  4.32
--	claude         4 000 * 0.000003   + 1 000 * 0.000015  = 0.027     720 * 0.027 = 19.44
--	gpt-4            500 * 0.00003    +   100 * 0.00006   = 0.021     720 * 0.021 = 15.12
--	embedding     50 000 * 0.00000002                     = 0.001     720 * 0.001 =  0.72
--	                                                                               39.60
-- In October gpt-4 is 500 * 0.00001 + 100 * 0.00003 = 0.008.

-- By endpoint, the most expensive first
SELECT endpoint, sum(events) AS calls, sum(cost) AS cost, round(sum(cost) / sum(events), 6) AS per_call
FROM meter.usage_monthly WHERE metric = 'llm_requests' AND month = '2026-09-01' GROUP BY endpoint ORDER BY cost DESC;

-- By provider and model, with the tokens
SELECT dims ->> 'provider' AS provider, dims ->> 'model' AS model, sum(events) FILTER (WHERE metric = 'llm_requests') AS calls,
	sum(quantity) FILTER (WHERE dims ->> 'token_type' = 'input') AS input_tokens,
	sum(quantity) FILTER (WHERE dims ->> 'token_type' = 'output') AS output_tokens, sum(cost) AS cost
FROM meter.usage_monthly WHERE metric IN ('llm_requests', 'llm_tokens') AND month = '2026-09-01' GROUP BY 1, 2 ORDER BY cost DESC;

-- Of one hour, in all and by endpoint, and the tokens a second of each model
SELECT COALESCE(endpoint, 'all') AS endpoint, sum(cost) AS cost
FROM meter.usage_hourly WHERE metric = 'llm_requests' AND hour = '2026-09-30 23:00' GROUP BY ROLLUP (endpoint) ORDER BY cost DESC;
SELECT dims ->> 'provider' AS provider, dims ->> 'model' AS model, round(sum(quantity) / 3600, 2) AS tokens_per_second
FROM meter.usage_hourly WHERE metric = 'llm_tokens' AND hour = '2026-09-30 23:00' GROUP BY 1, 2 ORDER BY 3 DESC;

-- By team
SELECT tenant AS team, sum(cost) AS cost FROM meter.usage_monthly
WHERE metric = 'llm_requests' AND month = '2026-09-01' GROUP BY 1 ORDER BY 1;

-- By day, week and month: a day of September is 1.32, one of October 1.008, and the
-- ninth has 8 * 9 * 0.027 = 1.944 on top of that
SELECT day, sum(cost) AS cost FROM meter.usage_daily
WHERE metric = 'llm_requests' AND day BETWEEN '2026-10-08' AND '2026-10-10' GROUP BY day ORDER BY day;
SELECT unit, date_trunc(unit, day)::date AS from_day, sum(cost) AS cost
FROM meter.usage_daily CROSS JOIN unnest(ARRAY['week', 'month']) AS unit
WHERE metric = 'llm_requests' AND day >= '2026-09-01' GROUP BY 1, 2 ORDER BY 1, 2;

-- Spikes: days that cost twice the average of the seven days before, or more. That
-- day was 2.952, and those before it 1.008 each.
SELECT day, cost, normal, round(cost / normal, 2) AS times
FROM (
	SELECT day, sum(cost) AS cost, round(avg(sum(cost)) OVER (ORDER BY day ROWS BETWEEN 7 PRECEDING AND 1 PRECEDING), 3) AS normal
	FROM meter.usage_daily WHERE metric = 'llm_requests' AND day >= '2026-09-01' GROUP BY day
) AS d
WHERE cost >= 2 * normal;

-- And what it was
SELECT tenant AS team, endpoint, dims ->> 'model' AS model, sum(cost) AS cost
FROM meter.usage_daily WHERE metric = 'llm_requests' AND day = '2026-10-09' GROUP BY 1, 2, 3 ORDER BY cost DESC LIMIT 1;

-- --- what does the gateway itself cost? ----------------------------------------

-- $0.04 for a core-hour, $0.005 for a GiB-hour; of models, what the calls cost
INSERT INTO meter.cost_rate (component, metric, aggregation, unit, divisor, rate) VALUES
	('cpu', 'cpu_usage_cores', 'unit_hours', 'core-hour', 1, 0.04),
	('memory', 'memory_usage_bytes', 'unit_hours', 'GiB-hour', 1024 ^ 3, 0.005),
	('models', 'llm_requests', 'cost', 'USD', 1, 1);

-- Pod a has 2 cores for 720 hours, b 8 * 0.5 + 16 * 1.5 = 28 core-hours on each of
-- 30 days: 1 440 + 840 = 2 280 core-hours are 91.20. 6 GiB for 720 hours are 4 320
-- GiB-hours, or 21.60. The average is 3.17 cores.
SELECT tenant, component, round(quantity, 2) AS quantity, unit, round(cost, 2) AS cost
FROM meter.cost('2026-09-01') ORDER BY tenant, component;
SELECT round(sum(time_weighted), 2) AS cores, round(sum(time_weighted) * 720 * 0.04, 2) AS cost FROM meter.usage_monthly
WHERE metric = 'cpu_usage_cores' AND month = '2026-09-01';

-- Is that the right size? There are 8 cores and 32 GiB: 39.58 and 18.75 % are used.
INSERT INTO meter.gauge_limit (metric, max) VALUES ('cpu_usage_cores', 8), ('memory_usage_bytes', 32 * 1024 ^ 3);
SELECT metric, status, percent, peak_percent FROM meter.provisioning('2026-10-01') ORDER BY metric;

-- --- what could be had for less? -----------------------------------------------

-- Small requests to an expensive model: 600 tokens cost 0.021 with gpt-4, and with
-- gpt-4o-mini 500 * 0.00000015 + 100 * 0.0000006 = 0.000135, 720 times in September.
SELECT tenant AS team, title, saving FROM meter_recommendations('{model}', '30 days', at => '2026-10-01');

-- The same question again: a hash of the prompt tells. One of ten calls for
-- 1 000 * 0.00000015 + 200 * 0.0000006 = 0.00027 is needed.
SELECT count(meter_track_llm('support', 'openai', 'gpt-4o-mini', 1000, 200, service => 'openai', endpoint => '/v1/chat', method => 'POST',
	status => 200, metadata => '{"prompt_hash": "9b74c9897bac770f"}', at => timestamptz '2026-08-31 12:00' + i * interval '1 minute'))
FROM generate_series(1, 10) AS i;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT tenant AS team, title, saving FROM meter_recommendations('{cache}', '1 day', at => '2026-09-01');

-- --- a spike, told at once -----------------------------------------------------

-- Half a dollar an hour is normal, for a week; what costs five times that in an hour is
-- told. Here it is 6 dollars. The background worker evaluates alerts each
-- minute, and learns once a day what is normal.
SELECT count(meter_track('support', 'llm_requests', service => 'mistral', endpoint => '/v1/batch', cost => 0.5,
	metadata => '{"provider": "mistral", "model": "small"}', at => h.hour)) AS calls
FROM generate_series(now() - interval '7 days', now() - interval '1 hour', interval '1 hour') AS h(hour);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT count(meter_track('support', 'llm_requests', service => 'mistral', endpoint => '/v1/batch', cost => 1,
	metadata => '{"provider": "mistral", "model": "small"}')) AS calls FROM generate_series(1, 6);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT fired FROM meter_evaluate_alerts();
SELECT tenant AS team, service, severity, value >= 5 AS at_least_five_times FROM meter.alert WHERE signal = 'cost_spike' AND state = 'firing';

-- --- budgets -------------------------------------------------------------------

-- In dollars a month for each provider, and for search a day, after which it has to wait
INSERT INTO meter.budget (service, amount, thresholds, description) VALUES
	('openai', 12, '{75,90,100}', 'all teams'), ('anthropic', 20, '{75,90,100}', 'all teams');
INSERT INTO meter.budget (tenant, period, amount, hard_limit, description) VALUES ('search', 'day', 5, true, 'stops runaway jobs');

-- Will October last? 14 of 31 days have passed. By hand:
--
--	           so far                      at the end of the month     of
--	openai     14 * 0.36 = 5.04            5.04 / 14 * 31   = 11.16    12   WARNING
--	anthropic  14 * 0.648 + 1.944 = 11.016  11.016 / 14 * 31 = 24.39    20   OVER BUDGET
SELECT b.service, p.current, round(p.expected, 2) AS projected, b.amount AS budget, round(100 * p.expected / b.amount, 1) AS percent,
	CASE WHEN p.expected > b.amount THEN 'OVER BUDGET' WHEN p.expected > 0.9 * b.amount THEN 'WARNING' ELSE 'OK' END AS status
FROM meter.budget AS b
CROSS JOIN LATERAL meter_project(NULL, b.service, '2026-11-01', 'run_rate', '2026-10-15') AS p
WHERE b.service IS NOT NULL ORDER BY percent DESC;

-- This month: 600 000 tokens in and 120 000 out of gpt-4 are 6 + 3.60, a million each
-- of Claude 3 + 15
SELECT meter_track_llm('search', 'openai', 'gpt-4', 600000, 120000, service => 'openai', endpoint => '/v1/summaries') AS openai,
	meter_track_llm('support', 'anthropic', 'claude', 1000000, 1000000, service => 'anthropic', endpoint => '/v1/chat') AS anthropic;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT tenant AS team, service, period, amount, spent, percent, status, blocked FROM meter.budget_status ORDER BY amount;

-- Each threshold is told once.
SELECT fired FROM meter_evaluate_alerts();
SELECT tenant AS team, service, threshold, severity, title FROM meter.alert WHERE signal = 'budget' ORDER BY tenant, service, threshold;

-- The gateway asks before each call: search has spent its day, support has not.
SELECT tenant, (d).allowed, (d).reason
FROM (SELECT tenant, meter_check(tenant, 'openai') AS d FROM unnest(ARRAY['search', 'support']) AS tenant) AS c;

-- What a call will cost is not known before. Take what it can at most, of one dollar a
-- day, and give back the rest: 4 000 tokens in and 4 096 out are 0.07344, 500 out 0.0195.
INSERT INTO meter.rate_limit (tenant, resource, unit, per, max, kind) VALUES ('support', 'anthropic', 'cost', 'day', 1, 'window');
SELECT allowed, remaining FROM meter_check('support', 'anthropic', cost => meter_llm_cost('anthropic', 'claude', 4000, 4096));
SELECT meter_refund('support', 'anthropic', cost => meter_llm_cost('anthropic', 'claude', 4000, 4096)
	- meter_track_llm('support', 'anthropic', 'claude', 4000, 500, service => 'anthropic', endpoint => '/v1/chat'));
SELECT allowed, remaining FROM meter_check('support', 'anthropic', cost => 0);

-- --- where are my figures? -----------------------------------------------------

-- Are events getting through, and is what should be metered registered?
SELECT rollup_behind, errors FROM meter.stats;
SELECT metric, kind, unit, dimensions FROM meter.metric ORDER BY metric;

-- What was refused, and why
SELECT result, reason FROM meter_track_batch('[{"tenant": "support", "metric": "llm_requests", "service": "openai", "status": 999}]');
SELECT source, sqlstate, reason FROM meter.rejected_event;

-- Which models were called that have no price: here at cost 0, and an error otherwise
SET meter.unknown_model = zero;
SELECT meter_track_llm('search', 'openai', 'gpt-9', 1000, 100, service => 'openai', at => '2026-10-14 12:00') AS cost;
RESET meter.unknown_model;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT tenant AS team, provider, model, calls FROM meter.unknown_model;

-- Dashboards of all of this are in monitoring/grafana.

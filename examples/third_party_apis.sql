-- third_party_apis.sql: an application on paid APIs, with budgets and projections
--
-- Run it in a database of its own:
--
--	createdb apis
--	psql -d apis -c 'CREATE EXTENSION meter CASCADE' -f third_party_apis.sql
--
-- An application calls services that cost money: a language model, a database, a
-- sender of emails, one of messages, and its hosting. Each has a monthly budget.
-- Whoever is responsible is told at 75 and 90 %, and wants to know by the tenth
-- of the month how it will end.

-- the months are past, and stay so; for the background worker, too
SET meter.retention = 0;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET meter.retention = 0', current_database()); END $$;
SET timezone = 'UTC';

-- --- budgets and limits --------------------------------------------------------

-- In pounds a month, of all users of the application together
INSERT INTO meter.budget (service, amount, currency, thresholds, description) VALUES
	('openai', 300, 'GBP', '{75,90,100}', 'language model'),
	('database', 500, 'GBP', '{75,90,100}', 'database, authentication, storage'),
	('email', 100, 'GBP', '{75,90,100}', 'transactional emails'),
	('sms', 150, 'GBP', '{75,90,100}', 'messages'),
	('hosting', 200, 'GBP', '{75,90,100}', 'hosting and functions');

-- 60 calls of the model a minute, 1 000 an hour, 10 000 and 10 of cost a day, and
-- so on; by the user's plan a part or a multiple of that
SELECT meter_load_preset('services') AS rules;
INSERT INTO meter.tenant (tenant, plan) VALUES ('app', 'professional');
SELECT (d).allowed, (d).rule, (d).remaining FROM meter_check('app', 'openai', 0.03, 'user 1') AS d;

-- --- how will the month end? ---------------------------------------------------

-- August, September and nine days of October, a call every hour: costs in a day
-- are openai 11, database 15.50, email 2, sms 4 and hosting 6.
SELECT count(meter_track('app', service => v.service, cost => v.cost, latency_ms => v.latency_ms, user_id => 'user 1', at => h.hour)) AS calls
FROM generate_series(timestamptz '2026-08-01', '2026-10-09 23:00', interval '1 hour') AS h(hour)
CROSS JOIN (VALUES ('openai', 11 / 24.0, 900), ('database', 15.50 / 24.0, 20), ('email', 2 / 24.0, 120), ('sms', 4 / 24.0, 300),
	('hosting', 6 / 24.0, 45)) AS v(service, cost, latency_ms);
SELECT appended FROM meter_flush();
SELECT meter_rollup();

-- At the beginning of the tenth, nine of 31 days have passed. By hand:
--
--	          so far         at the end       of
--	openai    9 * 11 = 99    31 * 11 = 341    300   OVER BUDGET
--	database  139.50         480.50           500   WARNING (96.1 %)
--	hosting   54             186              200   WARNING (93.0 %)
--	sms       36             124              150   OK (82.7 %)
--	email     18             62               100   OK (62.0 %)
SELECT b.service, round(p.current, 2) AS current, round(p.expected, 2) AS projected, b.amount AS budget,
	round(100 * p.expected / b.amount, 1) AS percent,
	CASE WHEN p.expected > b.amount THEN 'OVER BUDGET' WHEN p.expected > 0.9 * b.amount THEN 'WARNING' ELSE 'OK' END AS status
FROM meter.budget AS b
CROSS JOIN LATERAL meter_project(NULL, b.service, '2026-11-01', at => '2026-10-10') AS p
ORDER BY percent DESC;

-- For the month that runs now, meter.cost_projection has the same for all budgets.
SELECT service, budget, status FROM meter.cost_projection ORDER BY service;

-- --- this month ------------------------------------------------------------------

-- 240 on the model, which is 80 %, and 141 on messages, 94 %; the rest is fine
SELECT meter_track('app', service => v.service, cost => v.cost, latency_ms => 250, user_id => 'user 2')
FROM (VALUES ('openai', 240), ('database', 100), ('email', 3.5), ('sms', 141), ('hosting', 50)) AS v(service, cost);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT service, amount, spent, percent, status FROM meter.budget_status ORDER BY percent DESC;

-- The background worker evaluates alerts each minute and sends each once, on
-- channel meter, too: LISTEN meter.
SELECT fired FROM meter_evaluate_alerts();
SELECT service, threshold, severity, title FROM meter.alert WHERE signal = 'budget' ORDER BY service, threshold;
SELECT fired FROM meter_evaluate_alerts();

-- --- what did it do? -----------------------------------------------------------

-- By day and service: requests, users, cost, latencies with p95 and p99, errors
SELECT day, service, requests, unique_users, round(cost, 2) AS cost, latency_avg::integer AS latency_avg, p95::integer AS p95, errors, error_rate
FROM meter.service_daily WHERE day = '2026-10-09' ORDER BY cost DESC;

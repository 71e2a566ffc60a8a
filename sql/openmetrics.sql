-- meter_metrics(): what a monitoring system scrapes
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

-- what is in the text but for what is of this server and this minute
CREATE VIEW scraped AS
SELECT line FROM regexp_split_to_table(meter_metrics(), '\n') WITH ORDINALITY AS l (line, n)
WHERE line !~ 'meter_(build_info|pipeline|limiter|isolation)' ORDER BY n;
CREATE VIEW ends_well AS
SELECT meter_metrics() ~ E'^# TYPE [^\n]*\n.*\n# EOF\n$' AS ends_well;
TABLE ends_well;
TABLE scraped;

-- 4 requests of acme to shop: 3 of them take 3, 30 and 300 ms, one fails after 2 s;
-- two without service or latency, one refused; a model's call of 100 + 10 tokens
SELECT meter_import_model_prices('{"gpt-4": {"litellm_provider": "openai",
	"input_cost_per_token": 3e-05, "output_cost_per_token": 6e-05}}', '2026-01-01');
INSERT INTO meter.inbox (at, tenant, service, endpoint, method, status, latency_ms, cost)
SELECT '2026-03-01 10:10+00', 'acme', 'shop', '/v1/orders', 'GET', 200, l, 0.25 FROM unnest('{3,30,300}'::float8[]) AS l;
INSERT INTO meter.inbox (at, tenant, service, endpoint, method, status, latency_ms)
VALUES ('2026-03-01 10:11+00', 'acme', 'shop', '/v1/orders', 'GET', 503, 2000);
INSERT INTO meter.inbox (at, tenant, status) VALUES ('2026-03-01 10:12+00', 'globex', 404), ('2026-03-01 10:12+00', 'globex', 429);
SELECT meter_track_llm('acme', 'openai', 'gpt-4', 100, 10, cached_tokens => 40, service => 'ai', endpoint => '/v1/chat',
	latency_ms => 1500, status => 200, at => '2026-03-01 10:13+00');
INSERT INTO meter.metric (metric, kind, allow_negative) VALUES ('disk_gb', 'gauge', false), ('points', 'counter', true);
SELECT meter_track('acme', 'points', 7, at => '2026-03-01 10:14+00');
SELECT meter_track('globex', 'points', -7, at => '2026-03-01 10:14+00');
SELECT * FROM meter_flush();
-- nothing is counted before it is rolled up
SELECT count(*) FROM meter.openmetrics_total;
SELECT meter_rollup();
-- ranking is for this test to do, whatever time it is
UPDATE meter.openmetrics_position SET ranked_at = 'infinity';
TABLE scraped;
TABLE ends_well;
SELECT meter_rollup();

-- What was counted stays: a correction, a call that is void, and late events; the
-- hour is computed anew, and the counters have the late event only.
CREATE TABLE before AS TABLE meter.openmetrics_total;
CREATE VIEW grown AS
SELECT t.kind, t.labels, t.calls - COALESCE(b.calls, 0) AS calls, t.cost - COALESCE(b.cost, 0) AS cost,
	t.quantity - COALESCE(b.quantity, 0) AS quantity,
	meter_sketch_count(t.latency) - COALESCE(meter_sketch_count(b.latency), 0) AS latencies
FROM meter.openmetrics_total AS t LEFT JOIN before AS b USING (kind, labels)
WHERE (t.calls, t.cost, t.quantity) IS DISTINCT FROM (b.calls, b.cost, b.quantity)
ORDER BY t.kind, t.labels;
SELECT meter_correct(tenant, seq => seq, quantity => 5, cost => 9) FROM meter.event WHERE latency_ms = 30;
SELECT meter_correct(tenant, seq => seq, void => true) FROM meter.event WHERE latency_ms = 300;
SELECT meter_track('acme', service => 'shop', endpoint => '/v1/orders', method => 'GET', status => 200, latency_ms => 40,
	cost => 0.5, at => '2026-03-01 10:15+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT events, quantity, cost FROM meter.usage_hourly WHERE service = 'shop';
TABLE grown;

-- what is corrected before it was rolled up counts as it is then
DROP TABLE before CASCADE;
CREATE TABLE before AS TABLE meter.openmetrics_total;
CREATE VIEW grown AS
SELECT t.kind, t.labels, t.calls - COALESCE(b.calls, 0) AS calls, t.cost - COALESCE(b.cost, 0) AS cost,
	t.quantity - COALESCE(b.quantity, 0) AS quantity,
	meter_sketch_count(t.latency) - COALESCE(meter_sketch_count(b.latency), 0) AS latencies
FROM meter.openmetrics_total AS t LEFT JOIN before AS b USING (kind, labels)
WHERE (t.calls, t.cost, t.quantity) IS DISTINCT FROM (b.calls, b.cost, b.quantity)
ORDER BY t.kind, t.labels;

SELECT meter_track('acme', service => 'shop', endpoint => '/v1/orders', method => 'GET', latency_ms => 50, cost => 1,
	idempotency_key => n, at => '2026-03-01 10:15+00') FROM unnest('{x,y,z}'::text[]) AS n;
SELECT appended FROM meter_flush();
SELECT meter_correct('acme', 'x', cost => 2);
SELECT meter_correct('acme', 'y', void => true);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
TABLE grown;

-- starting again, as the manual has it: all is rolled up once more, and counted no more
BEGIN;
SELECT last_seq > 0 FROM meter.consumer WHERE name = 'rollup' FOR UPDATE;
TRUNCATE meter.usage_hourly, meter.usage_user_daily, meter.gauge_last;
UPDATE meter.consumer SET last_seq = 0 WHERE name = 'rollup';
UPDATE before SET (calls, cost, quantity, latency) = (SELECT calls, cost, quantity, latency FROM meter.openmetrics_total AS t WHERE (t.kind, t.labels) = (before.kind, before.labels));
SELECT meter_rollup();
COMMIT;
TABLE grown;
SELECT meter_track('acme', service => 'shop', endpoint => '/v1/orders', method => 'GET', status => 200, at => '2026-03-01 10:16+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
TABLE grown;
DROP TABLE before CASCADE;

-- Buckets against the latencies themselves: 2000 log-normal ones in ten rollups.
-- Each count lies between those at 1 % below and above the bound, the histogram is
-- the sum of those of its parts, and it only grows.
SELECT setseed(0.5);
CREATE TABLE latency AS
SELECT n, n % 10 AS part, exp(random() * 9 - 1) AS ms FROM generate_series(1, 2000) AS n;
CREATE TABLE seen (part int, bound float8, count bigint);
CREATE PROCEDURE add_part(of_part int) LANGUAGE sql AS $$
	INSERT INTO meter.inbox (at, tenant, endpoint, latency_ms)
	SELECT '2026-03-02 10:00+00', 'acme', '/random', l.ms FROM latency AS l WHERE l.part = of_part;
	SELECT * FROM meter_flush();
	SELECT meter_rollup();
	INSERT INTO seen
	SELECT of_part, b.bound, b.count FROM meter.openmetrics_endpoint AS e, unnest(duration_seconds, duration_seconds_bucket) AS b (bound, count)
	WHERE endpoint = '/random';
$$;
DO $$ BEGIN FOR part IN 0 .. 9 LOOP CALL add_part(part); END LOOP; END $$;
SELECT s.bound, s.count BETWEEN count(*) FILTER (WHERE l.ms <= s.bound * 1000 / 1.01)
	AND count(*) FILTER (WHERE l.ms <= s.bound * 1000 / 0.99) AS right
FROM seen AS s, latency AS l WHERE s.part = 9 GROUP BY s.bound, s.count ORDER BY s.bound;
SELECT bool_and(count >= before) AS grows, bool_and(count >= lower) AS cumulative
FROM (SELECT count, lag(count, 1, 0) OVER (PARTITION BY bound ORDER BY part) AS before,
		lag(count, 1, 0) OVER (PARTITION BY part ORDER BY bound) AS lower FROM seen) AS s;
SELECT e.duration_seconds_count, abs(e.duration_seconds_sum / sum(l.ms / 1000) - 1) < 1e-12 AS sum_is_exact
FROM meter.openmetrics_endpoint AS e, latency AS l WHERE e.endpoint = '/random' GROUP BY 1, e.duration_seconds_sum;
SELECT count(*) AS wrong FROM seen AS s JOIN LATERAL (
	SELECT b.bound, sum(b.count) AS count
	FROM (SELECT meter.openmetrics_buckets(meter_sketch_agg(ms)) AS buckets FROM latency GROUP BY part) AS p,
		unnest(meter.openmetrics_bounds(), p.buckets) AS b (bound, count) GROUP BY b.bound) AS b ON b.bound = s.bound
WHERE s.part = 9 AND b.count <> s.count;
SELECT meter.openmetrics_bounds() = (SELECT array_agg(ms / 1000) FROM unnest('{5,10,25,50,100,250,500,1000,2500,5000,10000,30000,60000}'::float8[]) AS ms) AS same_bounds;

-- labels
SELECT meter.openmetrics_labels(ARRAY['a', E'x\n"\\', 'b', '', 'c', '}{,=']);
SELECT meter.openmetrics_labels(ARRAY['a', '']) IS NULL, meter.openmetrics_labels('{}') IS NULL;

-- so many sets of labels have series: the first that come, and of those that come
-- together the busiest
TRUNCATE meter.openmetrics_total;
SET meter.max_label_sets = 2;
-- no hour ends here but by hand
UPDATE meter.openmetrics_position SET ranked_at = 'infinity';
CREATE VIEW shown AS SELECT tenant, requests FROM meter.openmetrics_service ORDER BY tenant COLLATE "C";
CREATE PROCEDURE add_requests(counts jsonb) LANGUAGE sql AS $$
	INSERT INTO meter.inbox (at, tenant)
	SELECT '2026-03-03 10:00+00', c.key FROM jsonb_each_text(counts) AS c, generate_series(1, c.value::int);
	SELECT * FROM meter_flush();
	SELECT meter_rollup();
$$;
CALL add_requests('{"a": 2, "b": 5, "c": 3, "d": 1}');
TABLE shown;
CALL add_requests('{"a": 10, "c": 2, "e": 20}');
TABLE shown;
-- with the next hour the busiest are: e 20, a 12, b 5, c 5, d 1
SELECT meter.openmetrics_rank(2, now());
SELECT labels[1] AS tenant, shown, recent, score FROM meter.openmetrics_total WHERE kind = 'service' ORDER BY score DESC, labels;
TABLE shown;
CALL add_requests('{"a": 1, "b": 1, "e": 4}');
TABLE shown;
-- b is back at what it had: its 5; and no series has become less meanwhile
CALL add_requests('{"b": 100}');
SELECT meter.openmetrics_rank(2, now());
TABLE shown;
-- all requests are in one of them
SELECT (SELECT sum(calls) FROM meter.openmetrics_total WHERE kind = 'service') AS counted,
	(SELECT count(*) FROM meter.event WHERE at >= '2026-03-03') AS tracked;
-- forgotten when idle: those not shown soon, those shown after 30 days
SELECT meter.openmetrics_rank(2, now()), meter.openmetrics_rank(2, now()), meter.openmetrics_rank(2, now()), meter.openmetrics_rank(2, now());
SELECT labels[1] AS tenant, shown FROM meter.openmetrics_total WHERE kind = 'service' ORDER BY labels;
SELECT meter.openmetrics_rank(2, now() + '31 days');
SELECT labels[1] AS tenant, shown FROM meter.openmetrics_total WHERE kind = 'service' ORDER BY labels;
SET meter.max_label_sets = 0;
CALL add_requests('{"a": 1, "b": 1}');
SELECT meter.openmetrics_rank(0, now());
TABLE shown;
RESET meter.max_label_sets;
SET meter.max_label_sets = -1;

-- limits: 3 of 5 calls go through, and of one rule per user of two users
TRUNCATE meter.openmetrics_total;
INSERT INTO meter.rate_limit (tenant, resource, per, max, kind) VALUES ('lim', '*', 'month', 3, 'window');
INSERT INTO meter.rate_limit (resource, per, max, kind, per_user) VALUES ('/u', 'month', 1, 'window', true);
SELECT count(*) FILTER (WHERE meter_allow('lim')) FROM generate_series(1, 5);
SELECT meter_allow('other', '/u', user_id => u) FROM unnest('{x,y,x}'::text[]) AS u;
CALL add_requests('{"lim": 1}');
SELECT tenant, plan, resource, per, allowed, refused FROM meter.openmetrics_limit ORDER BY resource;
CALL add_requests('{"lim": 1}');
SELECT meter_allow('lim');
CALL add_requests('{"lim": 1}');
SELECT tenant, plan, resource, per, allowed, refused FROM meter.openmetrics_limit ORDER BY resource;
-- when shared memory has forgotten some, it is not known what came meanwhile
UPDATE meter.openmetrics_rule SET refused = 1000;
CALL add_requests('{"lim": 1}');
SELECT meter_allow('lim');
CALL add_requests('{"lim": 1}');
SELECT tenant, allowed, refused FROM meter.openmetrics_limit ORDER BY resource;

-- budgets, of which the one used most comes first, alerts, tenants and levels
INSERT INTO meter.tenant (tenant, status) VALUES ('acme', 'active'), ('globex', 'active'), ('gone', 'cancelled');
INSERT INTO meter.budget (budget_id, tenant, amount, currency) VALUES
	('00000000-0000-0000-0000-000000000001', 'acme', 100, 'USD'), ('00000000-0000-0000-0000-000000000002', 'globex', 4, 'USD'),
	('00000000-0000-0000-0000-000000000003', 'gone', 10, 'EUR');
INSERT INTO meter.inbox (at, tenant, cost) VALUES (now(), 'acme', 80), (now(), 'globex', 5);
INSERT INTO meter.inbox (at, tenant, service, metric, quantity, endpoint) VALUES (now(), 'acme', 'db', 'disk_gb', 12, '/a'),
	(now(), 'acme', 'db', 'disk_gb', 8, '/b'), (now(), 'globex', 'db', 'disk_gb', 3.5, '/a');
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0;
INSERT INTO meter.alert (rule, signal, tenant, severity, state, title, value, peak, threshold, started_at, measured_at)
SELECT r, 'error_rate', t, s, f, 't', 1, 1, 1, now(), now()
FROM (VALUES ('r1', 'a', 'warning', 'firing'), ('r1', 'b', 'warning', 'firing'), ('r2', 'a', 'critical', 'firing'),
	('r2', 'b', 'critical', 'pending'), ('r2', 'c', 'critical', 'resolved')) AS a (r, t, s, f);
CREATE VIEW gauges AS SELECT line FROM scraped WHERE line ~ '^meter_(budget|alerts|tenants|level)';
TABLE gauges;
SELECT count(*) AS differ FROM meter.openmetrics_budget AS o JOIN meter.budget_status AS s ON s.budget_id::text = o.budget
WHERE (o.amount, o.spent) <> (s.amount, s.spent);
SET meter.max_label_sets = 1;
TABLE gauges;
RESET meter.max_label_sets;

-- health: of 40 requests 24 were served and 4 failed, all in 6 s; that is 16.67 %
-- of errors, above 10, and of the server, above 5; the average is above 3 s and p95 above 5
TRUNCATE meter.usage_recent;
SELECT meter_track('h', status => s, latency_ms => CASE WHEN s <> 429 THEN 6000 END)
FROM (SELECT CASE WHEN n <= 16 THEN 429 WHEN n <= 20 THEN 500 ELSE 200 END AS s FROM generate_series(1, 40) AS n) AS c;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT "check", state FROM meter.openmetrics_health ORDER BY "check";
INSERT INTO meter.health_threshold ("check", degraded, unhealthy) VALUES ('server_error_rate', 1, 15), ('error_rate', 20, NULL);
SELECT "check", state FROM meter.openmetrics_health WHERE "check" ~ 'error' ORDER BY "check";

-- every family is told of in the text or has no sample, and no sample has no family
SELECT s.family FROM meter.openmetrics_sample AS s LEFT JOIN meter.openmetrics_family AS f USING (family) WHERE f.family IS NULL;
SELECT f.family FROM meter.openmetrics_family AS f WHERE NOT EXISTS (SELECT FROM meter.openmetrics_sample AS s WHERE s.family = f.family) ORDER BY f.family;
SELECT f.family, f.unit FROM meter.openmetrics_family AS f WHERE f.unit IS NOT NULL AND f.family !~ (f.unit || '$');
SELECT count(*) = count(DISTINCT (family, suffix, labels, le)) AS no_sample_twice FROM meter.openmetrics_sample;

-- who may: those who see all tenants
CREATE ROLE regress_analyst;
CREATE ROLE regress_app;
CREATE ROLE regress_tenant;
SELECT meter_grant('regress_analyst', 'analyst'), meter_grant('regress_app', 'app'), meter_grant('regress_tenant', 'tenant');
SET ROLE regress_analyst;
SELECT count(*) > 100 AS analyst FROM regexp_split_to_table(meter_metrics(), '\n');
SELECT meter_set_tenant('acme');
SELECT meter_metrics();
SELECT count(*) FROM meter.openmetrics_service;
SELECT count(*) FROM meter.openmetrics_sample;
RESET ROLE;
SELECT meter_set_tenant(NULL);
SET ROLE regress_analyst;
SELECT meter.openmetrics_rank(1, now());
SELECT meter.openmetrics_count(NULL, 1, now());
RESET ROLE;
SET ROLE regress_app;
SELECT meter_metrics();
SELECT count(*) FROM meter.openmetrics_service;
RESET ROLE;
SET ROLE regress_tenant;
SELECT meter_metrics();
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_analyst, regress_app, regress_tenant;
DROP ROLE regress_analyst, regress_app, regress_tenant;

-- bounds of a histogram
SELECT meter_sketch_histogram(meter_sketch_agg(x), '{-3,0,2,4}') FROM unnest('{-5,-2,0,0,1,3,9}'::float8[]) AS x;
SELECT meter_sketch_histogram('accuracy=0.01 count=0', '{}');
SELECT meter_sketch_histogram('accuracy=0.01 count=0', '{1,1}');
SELECT meter_sketch_histogram('accuracy=0.01 count=0', '{1,NaN}');
SELECT meter_sketch_histogram('accuracy=0.01 count=0', '{1,NULL}');

DROP TABLE seen;

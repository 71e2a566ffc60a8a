-- meter_doctor(): each check is provoked, and its remedy is run.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS pg_cron CASCADE;
DROP EXTENSION IF EXISTS meter CASCADE;
DROP EXTENSION IF EXISTS hll CASCADE;
-- one that is not the newest
SELECT v.version AS older_hll FROM pg_available_extension_versions AS v
JOIN pg_available_extensions AS a USING (name)
WHERE name = 'hll' AND string_to_array(v.version, '.')::integer[] < string_to_array(a.default_version, '.')::integer[]
ORDER BY string_to_array(v.version, '.')::integer[] DESC LIMIT 1 \gset
CREATE EXTENSION hll VERSION :'older_hll';
CREATE EXTENSION pg_cron;
CREATE EXTENSION meter;
CREATE TABLE regress_found ("check" text PRIMARY KEY);

-- Times, versions and what has numbers of its own are left out.  What is in
-- "but" is known and not of interest.
\set but '{}'
\set look 'WITH f AS (SELECT * FROM meter_doctor() WHERE "check" <> ALL (:''but'')), s AS (INSERT INTO regress_found SELECT DISTINCT "check" FROM f ON CONFLICT DO NOTHING) SELECT "check", severity, regexp_replace(object, ''_p[0-9]+|[0-9]{4}-[0-9]{2}$'', ''#'') AS object, regexp_replace(finding, ''[0-9]{2,4}-[0-9]{2}(-[0-9]{2,4})?( [0-9:]+ UTC)?|[0-9:.]*[0-9]{2}:[0-9]{2}(\\.[0-9]+)?|_p[0-9]+|[0-9]{7,}|[0-9]+\\.[0-9]+|[0-9.]+ [kMG]?B\\M'', ''#'', ''g'') AS finding FROM f;'
-- The session has read the files anew before its last command, once the server has told it to.
\set reread 'SELECT format(''SELECT pg_sleep(0.1) WHERE pg_conf_load_time() < %L'', clock_timestamp()) FROM pg_reload_conf(), generate_series(1, 600)'
\getenv dir PG_ABS_BUILDDIR
\set file :dir '/results/doctor_remedy.sql'

-- This server is one for tests; pg_regress has switched fsync off on the command line.
:look
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') \g (format=unaligned tuples_only=on) :file
\i :file
-- the server takes it over as soon as it can; pg_cron cannot connect here, should a minute begin now
\o /dev/null
\set ECHO errors
:reread \gexec
\set ECHO all
\o
\set but '{job_failed}'
:look
SELECT meter_unschedule();
-- The background worker is off, and pg_cron must not interfere.
\set but '{unscheduled,durability}'

-- Versions: what is on disk cannot be changed here.
SELECT "check", severity, object, finding, remedy FROM meter.doctor_version('1.0', '1.0', '1.0', 150015);
SELECT "check", severity, object, finding, remedy FROM meter.doctor_version('1.0', '1.0', '1.0', 190000);
SELECT "check", severity, object, finding, remedy FROM meter.doctor_version('1.0', '1.1', '1.1', 140013);
SELECT "check", severity, object, finding, remedy FROM meter.doctor_version('1.1', '1.0', '1.1', 200001);
UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'meter';
:look
UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'meter';
INSERT INTO regress_found VALUES ('server_version');

-- Compiling: not everywhere, not with what costs less, and not if it is off.
SELECT * FROM meter.doctor_jit(true, true, 0) \gx
SELECT count(*) AS none FROM (VALUES (true, true, 1e15), (true, true, -1), (true, false, 0), (false, true, 0)) AS v(has_jit, jit, above),
	LATERAL meter.doctor_jit(v.has_jit, v.jit, v.above::double precision) AS f;
ALTER DATABASE contrib_regression SET jit = on;
ALTER DATABASE contrib_regression SET jit_above_cost = 0;
\c
SET client_min_messages = warning;
SELECT s.has_jit = pg_jit_available() AS known, s.has_jit = EXISTS (SELECT FROM meter_doctor() AS f WHERE f."check" = 'jit') AS told
FROM meter.doctor_server() AS s;
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" = 'jit' \g (format=unaligned tuples_only=on) :file
\i :file
\set ECHO all
\c
SET client_min_messages = warning;
:look
ALTER DATABASE contrib_regression RESET jit;
ALTER DATABASE contrib_regression RESET jit_above_cost;
\c
SET client_min_messages = warning;
INSERT INTO regress_found VALUES ('jit');

-- Jobs of pg_cron that never run by themselves: one is off, one has failed, and one is none of ours.
SELECT cron.schedule('one', '0 0 30 2 *', 'SELECT public.meter_rollup()') AS one \gset
SELECT cron.schedule('two', '0 0 30 2 *', 'SELECT public.meter_flush()') AS two \gset
SELECT cron.schedule('three', '0 0 30 2 *', 'SELECT 1 / 0') AS three \gset
SELECT cron.schedule('four', '0 0 30 2 *', 'SELECT meter_flush(); DROP TABLE regress_found') AS four \gset
SELECT cron.alter_job(:one, active => false);
INSERT INTO cron.job_run_details (jobid, runid, database, username, command, status, return_message)
VALUES (:two, 1000001, current_database(), current_user, 'SELECT public.meter_flush()', 'succeeded', '1 row'),
	(:two, 1000002, current_database(), current_user, 'SELECT public.meter_flush()', 'failed', E'ERROR:  permission denied\n'),
	(:two, 1000003, current_database(), current_user, 'SELECT public.meter_flush()', 'running', NULL),
	(:three, 1000004, current_database(), current_user, 'SELECT 1 / 0', 'failed', 'ERROR:  division by zero'),
	(:four, 1000005, current_database(), current_user, 'SELECT meter_flush(); DROP TABLE regress_found', 'failed', 'ERROR:  too bad');
SELECT "check", regexp_replace(object, '[0-9]+', '#') AS object, finding FROM meter_doctor() WHERE "check" <> ALL (:'but');
-- what others have put into a job is in no remedy
SELECT remedy FROM meter_doctor() WHERE finding ~ 'too bad';
SELECT cron.unschedule(:four);
INSERT INTO regress_found VALUES ('job_failed');
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') ORDER BY finding \g (format=unaligned tuples_only=on) :file
\i :file
\set ECHO all
INSERT INTO cron.job_run_details (jobid, runid, database, username, command, status, return_message)
VALUES (:two, 1000006, current_database(), current_user, 'SELECT public.meter_flush()', 'succeeded', '1 row');
:look
-- what is scheduled, and what of it is needed
SELECT object, finding, remedy FROM meter_doctor() WHERE "check" = 'unscheduled';
INSERT INTO meter.budget (tenant, amount) VALUES ('acme', 1);
INSERT INTO meter.outbox_meter (event_name, metric) VALUES ('api', 'api_requests');
INSERT INTO meter.plan (plan) VALUES ('free');
INSERT INTO meter.plan_version (plan) VALUES ('free');
SELECT object FROM meter_doctor() WHERE "check" = 'unscheduled';
DELETE FROM meter.outbox_meter;
DELETE FROM meter.budget;
DELETE FROM meter.plan;
DROP EXTENSION pg_cron;

-- The server again.
ALTER SYSTEM SET autovacuum = off;
SELECT pg_reload_conf();
\o /dev/null
\set ECHO errors
:reread \gexec
\set ECHO all
\o
ALTER TABLE meter.metric SET (autovacuum_enabled = off);
UPDATE pg_class SET relfrozenxid = ((pg_current_xact_id()::text::bigint + 4294967296 - 1200000000) % 4294967296)::text::xid
WHERE oid = 'meter.plan'::regclass;
UPDATE pg_class SET relfrozenxid = ((pg_current_xact_id()::text::bigint + 4294967296 - 400000000) % 4294967296)::text::xid
WHERE oid = 'meter.metric'::regclass;
SELECT meter_track('acme', service => 'api');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
UPDATE meter.log_position SET flushed_at = now() + interval '1 hour';
:look
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') \g (format=unaligned tuples_only=on) :file
\i :file
SELECT meter_track('acme', service => 'api');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
\o /dev/null
\set ECHO errors
:reread \gexec
\set ECHO all
\o
:look

-- Partitions.
SELECT format('event_p%s', to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')) AS today \gset
SELECT format('usage_user_daily_p%s', to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')) AS month \gset
UPDATE meter.in_use SET since = now() - interval '3 days';
:look
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" = 'maintenance' \g (format=unaligned tuples_only=on) :file
\o /dev/null
\i :file
\o
\set ECHO all
SELECT meter_track('acme', service => 'api', user_id => 'ann');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
:look
ALTER TABLE meter.event DETACH PARTITION meter.:today;
ALTER TABLE meter.usage_user_daily DETACH PARTITION meter.:month;
CREATE TABLE meter.event_default PARTITION OF meter.event DEFAULT;
CREATE TABLE meter.usage_default PARTITION OF meter.usage_hourly DEFAULT;
INSERT INTO meter.event (seq, at, received_at, tenant, metric, quantity) VALUES (999, '1999-01-01', '1999-01-01', 'acme', 'api_requests', 1);
UPDATE meter.storage_sample SET day = day - 3;
:look
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') ORDER BY "check" = 'partition_default' DESC \g (format=unaligned tuples_only=on) :file
\o /dev/null
\i :file
\o
\set ECHO all
DROP TABLE meter.event_default, meter.usage_default;
:look
SELECT count(*) FROM meter.event;

-- Events on their way.
INSERT INTO meter.metric (metric) SELECT 'm' || i FROM generate_series(1, 8) AS i;
ALTER DATABASE contrib_regression SET meter.max_metrics = 10;
ALTER DATABASE contrib_regression SET meter.max_groups_per_hour = 1;
ALTER DATABASE contrib_regression SET meter.retention = '30d';
ALTER DATABASE contrib_regression SET meter.dedup_window = '1h';
\c
\getenv dir PG_ABS_BUILDDIR
SET client_min_messages = warning;
SELECT meter_track('acme', service => 'api', endpoint => '/' || i, idempotency_key => 'k' || i) FROM generate_series(1, 3) AS i;
COPY meter.inbox (tenant, quantity) FROM STDIN;
acme	-1
acme	-2
	1
\.
SELECT appended, rejected FROM meter_flush();
SELECT meter_rollup();
SELECT meter_track('acme', service => 'api');
SELECT appended FROM meter_flush();
UPDATE meter.event SET received_at = now() - interval '20 minutes' WHERE seq = (SELECT last_seq FROM meter.log_position);
SELECT meter_track('acme', service => 'api');
UPDATE meter.inbox SET received_at = now() - interval '20 minutes';
INSERT INTO meter.consumer (name, last_seq, moved_at) VALUES ('gone', 2, now() - interval '2 days'), ('young', 2, now()), ('ahead', 1000, now());
INSERT INTO meter.price (price_id, price, metric, model, params)
VALUES ('00000000-0000-0000-0000-000000000001', 'calls', 'api_requests', 'per_unit', '{"unit_amount": 1}');
INSERT INTO meter.tenant (tenant) VALUES ('acme');
:look
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" IN ('rejected_events', 'flush_lag', 'rollup_lag') \g (format=unaligned tuples_only=on) :file
\o /dev/null
\i :file
\o
\set ECHO all
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') \g (format=unaligned tuples_only=on) :file
\i :file
\c
SET client_min_messages = warning;
-- a limit by user and month needs the events of a month
:look
DELETE FROM meter.price;
SET meter.retention = '20d';
INSERT INTO meter.rate_limit (id, per_user, per, kind, max) OVERRIDING SYSTEM VALUE VALUES (1, true, 'month', 'window', 5);
SELECT finding, remedy FROM meter_doctor() WHERE "check" = 'retention';
DELETE FROM meter.rate_limit;
ALTER DATABASE contrib_regression RESET ALL;
\c
SET client_min_messages = warning;

-- Who may do what.
CREATE ROLE regress_doctor NOLOGIN BYPASSRLS;
CREATE ROLE regress_tenant NOLOGIN;
CREATE ROLE regress_backup NOLOGIN BYPASSRLS;
SELECT meter_grant('regress_tenant', 'tenant');
GRANT regress_tenant TO regress_doctor;
GRANT pg_read_all_data TO regress_backup;
SELECT format('usage_hourly_p%s', to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')) AS month \gset
GRANT SELECT ON meter.:month TO regress_tenant;
GRANT USAGE ON SCHEMA meter TO PUBLIC;
GRANT CREATE ON SCHEMA public TO PUBLIC;
GRANT SELECT, INSERT ON meter.bill TO PUBLIC;
GRANT SELECT (tenant, plan), UPDATE (plan) ON meter.tenant TO PUBLIC;
GRANT EXECUTE ON FUNCTION meter_flush() TO PUBLIC;
ALTER TABLE meter.bill DISABLE ROW LEVEL SECURITY;
ALTER VIEW meter.live RESET (security_invoker);
:look
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but' || '{partition_grant}'::text[]) \g (format=unaligned tuples_only=on) :file
\i :file
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') \g (format=unaligned tuples_only=on) :file
\i :file
\set ECHO all
:look
-- tenants with schemas
CREATE SCHEMA regress_acme;
CREATE SCHEMA regress_bolt;
INSERT INTO meter.tenant (tenant, schema_name, role_name) VALUES ('bolt', 'regress_bolt', 'regress_tenant');
UPDATE meter.tenant SET schema_name = 'regress_acme' WHERE tenant = 'acme';
CREATE TABLE regress_bolt.customer (id integer PRIMARY KEY);
CREATE TABLE regress_acme.lead (id integer CONSTRAINT lead_fkey REFERENCES regress_bolt.customer);
ALTER ROLE regress_tenant SUPERUSER;
SELECT "check", severity, object, finding FROM meter_doctor() WHERE "check" IN ('bypass_rls', 'isolation_off');
SELECT "check", severity, object FROM meter_doctor() WHERE "check" = 'isolation_audit';
INSERT INTO regress_found VALUES ('isolation_off'), ('isolation_audit');
\set ECHO errors
\o /dev/null
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') \g (format=unaligned tuples_only=on) :file
\i :file
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') \g (format=unaligned tuples_only=on) :file
\i :file
\o
\set ECHO all
\c
SET client_min_messages = warning;
:look
SHOW meter.isolation;
DELETE FROM meter.tenant WHERE tenant = 'bolt';
UPDATE meter.tenant SET schema_name = NULL;
DROP SCHEMA regress_acme, regress_bolt CASCADE;
ALTER DATABASE contrib_regression RESET meter.isolation;
DROP OWNED BY regress_tenant, regress_doctor, regress_backup;
DROP ROLE regress_tenant, regress_doctor, regress_backup;
\c
SET client_min_messages = warning;

-- Tenants, plans and limits.
INSERT INTO meter.plan (plan) VALUES ('free'), ('pro'), ('gold');
INSERT INTO meter.plan_version (plan) VALUES ('free');
UPDATE meter.tenant SET plan = 'free' WHERE tenant = 'acme';
INSERT INTO meter.tenant (tenant, plan) VALUES ('bolt', 'pro'), ('cora', 'pro'), ('dora', 'pro');
INSERT INTO meter.plan_version (plan) VALUES ('pro');
INSERT INTO meter.tenant (tenant) SELECT 'none ' || i FROM generate_series(1, 5) AS i;
ALTER TABLE meter.tenant DISABLE TRIGGER tenant_time_zone_check;
UPDATE meter.tenant SET time_zone = 'Mars/Olympus' WHERE tenant IN ('bolt', 'cora');
ALTER TABLE meter.tenant ENABLE TRIGGER tenant_time_zone_check;
INSERT INTO meter.rate_limit (id, tenant, plan, resource, per, max) OVERRIDING SYSTEM VALUE VALUES
	(1, NULL, 'gold', '*', 'hour', 5),
	-- not hidden: it holds for who comes
	(2, NULL, 'pro', '*', 'hour', 5), (3, 'bolt', NULL, '*', 'hour', 6), (4, 'cora', NULL, '*', 'hour', 6), (5, 'dora', NULL, '*', 'hour', 6),
	-- not hidden: that of another pattern is another one
	(6, NULL, NULL, 'a*', 'day', 5), (7, NULL, 'free', 'a*', 'day', 6), (8, NULL, 'pro', 'a', 'day', 6),
	-- not hidden: who has no plan has it
	(10, NULL, NULL, '*', 'day', 5), (11, NULL, 'free', '*', 'day', 5), (12, NULL, 'pro', '*', 'day', 5);
SELECT meter_track('erin', service => 'api'), meter_track('fred', service => 'api');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
:look
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" = 'tenant_unknown' \g (format=unaligned tuples_only=on) :file
\i :file
\set ECHO all
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') \g (format=unaligned tuples_only=on) :file
\i :file
:look
SELECT tenant, plan, time_zone FROM meter.tenant ORDER BY tenant;
-- with a default plan, nobody is left for the limit for all
SET meter.default_plan = 'free';
:look
SELECT remedy FROM meter_doctor() WHERE "check" = 'rule_hidden' \g (format=unaligned tuples_only=on) :file
\i :file
:look
SET meter.default_plan = 'silver';
:look
SELECT remedy FROM meter_doctor() WHERE "check" = 'default_plan' \g (format=unaligned tuples_only=on) :file
\i :file
:look
RESET meter.default_plan;
DELETE FROM meter.rate_limit;

-- Names that nobody has.
INSERT INTO meter.rate_limit (id, tenant, per, max, kind, metric) OVERRIDING SYSTEM VALUE
VALUES (1, 'acne', 'hour', 5, 'bucket', 'no_matter'), (2, NULL, 'hour', 5, 'window', 'tokenz'), (3, NULL, 'day', 5, 'window', 'api_requests');
INSERT INTO meter.metric (metric, dimensions) VALUES ('tokens', '{model}');
INSERT INTO meter.price (price_id, price, tenant, metric, model, params, dims) VALUES
	('00000000-0000-0000-0000-000000000001', 'calls', NULL, 'api_requests', 'per_unit', '{"unit_amount": 1}', '{}'),
	('00000000-0000-0000-0000-000000000002', 'tokens', 'acme', 'tokens', 'per_unit', '{"unit_amount": 1}', '{"region": "eu", "model": "x", "zone": 1}'),
	('00000000-0000-0000-0000-000000000003', 'images', 'none', 'images', 'per_unit', '{"unit_amount": 1}', '{}'),
	('00000000-0000-0000-0000-000000000004', 'support', NULL, 'm1', 'flat', '{"amount": 1}', '{}');
INSERT INTO meter.budget (budget_id, tenant, service, amount) VALUES
	('00000000-0000-0000-0000-000000000005', 'acne', NULL, 5),
	('00000000-0000-0000-0000-000000000006', 'acme', 'apy', 5),
	('00000000-0000-0000-0000-000000000007', NULL, 'api', 5);
INSERT INTO meter.alert_rule (rule, signal, threshold, tenant, service) VALUES
	('slow', 'latency_avg', 5, 'acme', 'web'), ('mute lag', 'pipeline_lag', 5, 'acme', NULL),
	('mute quota', 'quota', 5, NULL, 'api');
INSERT INTO meter.alert_rule (rule, signal, threshold, tenant, params) VALUES ('mute burn', 'burn_rate', 5, 'bolt', '{"short_window": "5 minutes"}'),
	('mute level', 'gauge_level', 5, NULL, '{"metric": "tokens"}'), ('odd level', 'gauge_level', 5, NULL, '{"metric": "dusk"}'),
	('odd part', 'gauge_level', 5, NULL, '{"metric": "cpu", "dims": {"zone": 1}}');
INSERT INTO meter.metric (metric, kind) VALUES ('cpu', 'gauge');
INSERT INTO meter.slo (slo, tenant, target) VALUES ('erin', 'erik', 99);
INSERT INTO meter.gauge_limit (gauge_limit_id, metric, max_metric) VALUES ('00000000-0000-0000-0000-000000000008', 'disk', 'space');
INSERT INTO meter.cost_rate (component, metric, rate) VALUES ('network', 'traffic', 1);
INSERT INTO meter.outbox_meter (event_name, metric) VALUES ('sms', 'sms');
UPDATE meter.alert_rule SET enabled = false WHERE rule = 'slow responses';
:look
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') \g (format=unaligned tuples_only=on) :file
\i :file
:look
DELETE FROM meter.outbox_meter;
DELETE FROM meter.budget;
DELETE FROM meter.alert_rule WHERE NOT builtin;
DELETE FROM meter.gauge_limit;
DELETE FROM meter.cost_rate;
DELETE FROM meter.rate_limit;
DELETE FROM meter.price;

-- Metrics of the other kind: seats and room are counters and should be gauges, visits is one that
-- others count; disk_gb is a gauge, and waiting has become one.
SET client_min_messages = error;
INSERT INTO meter.metric (metric, kind) VALUES ('seats', 'counter'), ('room', 'counter'), ('visits', 'counter'), ('waiting', 'counter'), ('disk_gb', 'gauge');
INSERT INTO meter.price (price_id, price, metric, aggregation, model, params) VALUES
	('00000000-0000-0000-0000-000000000001', 'seats', 'seats', 'weighted_avg', 'per_unit', '{"unit_amount": 1}'),
	('00000000-0000-0000-0000-000000000002', 'visits', 'visits', 'sum', 'per_unit', '{"unit_amount": 1}'),
	('00000000-0000-0000-0000-000000000003', 'visitors', 'visits', 'time_weighted', 'per_unit', '{"unit_amount": 1}'),
	('00000000-0000-0000-0000-000000000004', 'disk', 'disk_gb', 'sum', 'per_unit', '{"unit_amount": 1}'),
	('00000000-0000-0000-0000-000000000005', 'disk share', 'disk_gb', 'sum', 'percentage', '{"rate_percent": 1}'),
	('00000000-0000-0000-0000-000000000006', 'disk fee', 'disk_gb', 'sum', 'flat', '{"amount": 1}'),
	('00000000-0000-0000-0000-000000000007', 'disk peak', 'disk_gb', 'max', 'per_unit', '{"unit_amount": 1}');
INSERT INTO meter.gauge_limit (gauge_limit_id, metric, max_metric) VALUES ('00000000-0000-0000-0000-000000000008', 'disk_gb', 'room');
INSERT INTO meter.cost_rate (component, metric, aggregation, rate) VALUES
	('storage', 'disk_gb', 'count', 1), ('compute', 'api_requests', 'unit_hours', 1), ('web', 'visits', 'cost', 1);
INSERT INTO meter.outbox_meter (event_name, metric) VALUES ('queue', 'waiting');
UPDATE meter.metric SET kind = 'gauge' WHERE metric = 'waiting';
SET client_min_messages = warning;
:look
SELECT remedy FROM meter_doctor() WHERE "check" = 'metric_kind' \g (format=unaligned tuples_only=on) :file
\i :file
SELECT metric, kind FROM meter.metric WHERE metric IN ('seats', 'room', 'visits', 'disk_gb') ORDER BY metric;
SELECT price, aggregation FROM meter.price ORDER BY price;
SELECT component, aggregation FROM meter.cost_rate ORDER BY component;
:look
DELETE FROM meter.outbox_meter;
DELETE FROM meter.gauge_limit;
DELETE FROM meter.cost_rate;
DELETE FROM meter.rate_limit;
DELETE FROM meter.price;

-- Prices.  The days are far away: what was, was billed.
DELETE FROM meter.plan_version;
INSERT INTO meter.price (price_id, price, plan, tenant, metric, model, params, valid_from, valid_to, created_at, currency) VALUES
	-- a gap of nine days, and one that the price for all fills
	('00000000-0000-0000-0000-000000000001', 'calls', 'pro', NULL, 'api_requests', 'per_unit', '{"unit_amount": 1}', '2000-01-01', '2999-01-01', '2026-01-01', 'USD'),
	('00000000-0000-0000-0000-000000000002', 'calls', 'pro', NULL, 'api_requests', 'per_unit', '{"unit_amount": 2}', '2999-01-10', NULL, '2026-01-01', 'USD'),
	('00000000-0000-0000-0000-000000000003', 'extra', NULL, 'acme', 'api_requests', 'graduated', '{"tiers": [{"up_to": null, "unit_amount": 2}]}', '2000-01-01', '2999-01-01', '2026-01-01', 'EUR'),
	('00000000-0000-0000-0000-000000000004', 'extra', NULL, 'acme', 'api_requests', 'graduated', '{"tiers": [{"up_to": null, "unit_amount": 2}]}', '2999-01-10', NULL, '2026-01-01', 'EUR'),
	('00000000-0000-0000-0000-000000000005', 'extra', 'free', NULL, 'api_requests', 'per_unit', '{"unit_amount": 3}', '2998-01-01', NULL, '2026-01-02', 'USD'),
	-- the same usage twice, and a fee besides
	('00000000-0000-0000-0000-000000000006', 'more calls', 'pro', NULL, 'api_requests', 'per_unit', '{"unit_amount": 3}', '2000-01-01', NULL, '2026-01-03', 'USD'),
	('00000000-0000-0000-0000-000000000007', 'fee', 'pro', NULL, 'api_requests', 'flat', '{"amount": 3}', '2000-01-01', NULL, '2026-01-04', 'USD');
UPDATE meter.tenant SET plan = 'gold' WHERE tenant = 'erin';
UPDATE meter.tenant SET currency = 'GBP' WHERE tenant IN ('bolt', 'cora');
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('GBP', 'USD', '2000-01-01', 1.25);
SET meter.unknown_model = zero;
SELECT meter_track_llm('acme', 'openai', 'gpt-x', 10, 10);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
:look
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') AND remedy NOT LIKE '%prompt%' \g (format=unaligned tuples_only=on) :file
\i :file
\set ECHO all
SELECT price_id, valid_to FROM meter.price WHERE price IN ('calls', 'more calls') AND valid_to > '2990-01-01' ORDER BY price_id;
SELECT base, quote, rate FROM meter.fx_rate ORDER BY base, quote;
SELECT remedy FROM meter_doctor() WHERE "check" = 'fx_rate' \g (format=unaligned tuples_only=on) :file
\set ECHO errors
\i :file
1.1
\set ECHO all
SELECT remedy FROM meter_doctor() WHERE "check" = 'model_price' \g (format=unaligned tuples_only=on) :file
\i :file
0.000001
0.000002
SELECT base, quote, rate FROM meter.fx_rate ORDER BY base, quote;
SELECT provider, model, input_price, output_price FROM meter.model_price;
:look
DELETE FROM meter.price;
DELETE FROM meter.fx_rate;

-- Bills.
INSERT INTO meter.plan_version (plan, base_price) VALUES ('free', 5), ('pro', 7), ('gold', 9) ON CONFLICT DO NOTHING;
DELETE FROM meter.tenant WHERE tenant NOT IN ('acme', 'bolt', 'erin', 'fred');
UPDATE meter.tenant SET time_zone = 'UTC', currency = 'USD';
-- who has just set up prices or tenants is given time
:look
UPDATE meter.plan SET created_at = now() - interval '400 days';
UPDATE meter.tenant SET created_at = now() - interval '400 days' WHERE tenant = 'acme';
-- a period that has been over for six days, whatever day it is
UPDATE meter.tenant SET billing_anchor = extract(day FROM now() AT TIME ZONE 'UTC' - interval '6 days');
:look
SET meter.bill_grace = '30d';
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" = 'month_unclosed' \g (format=unaligned tuples_only=on) :file
\i :file
\set ECHO all
RESET meter.bill_grace;
SELECT tenant, status FROM meter.bill;
:look
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" = 'bill_draft' \g (format=unaligned tuples_only=on) :file
\i :file
\set ECHO all
SELECT tenant, status FROM meter.bill;
:look

-- The payment provider.
INSERT INTO meter.outbox_meter (event_name, metric, since) VALUES ('api', 'api_requests', '2026-01-01');
INSERT INTO meter.outbox_hour (event_name, tenant, hour, value, held) VALUES
	('api', 'acme', date_trunc('hour', now()) - interval '3 hours', 5, 'customer'),
	('api', 'acme', date_trunc('hour', now()) - interval '4 hours', 5, 'customer'),
	('api', 'acme', date_trunc('hour', now()) - interval '5 hours', 5, 'fraction');
INSERT INTO meter.billing_outbox (identifier, event_name, tenant, hour, version, customer, value, state, due_at, expires_at, ended_at, error) VALUES
	('a', 'api', 'bolt', now() - interval '3 hours', 1, 'c', 1, 'pending', now() - interval '2 hours', now() + interval '1 hour', NULL, NULL),
	('b', 'api', 'bolt', now() - interval '4 hours', 1, 'c', 1, 'pending', now() - interval '1 minute', now() + interval '1 hour', NULL, NULL),
	('c', 'api', 'bolt', now() - interval '5 hours', 1, 'c', 1, 'dead', now(), now(), now() - interval '2 hours', 'no such customer'),
	('d', 'api', 'bolt', now() - interval '6 hours', 1, 'c', 1, 'dead', now(), now(), now() - interval '1 hour', NULL),
	('e', 'api', 'bolt', now() - interval '99 days', 1, 'c', 1, 'dead', now(), now(), now() - interval '50 days', 'late');
:look
\set ECHO errors
SELECT remedy FROM meter_doctor() WHERE "check" = 'outbox_customer' \g (format=unaligned tuples_only=on) :file
\o /dev/null
\i :file
cus_1
\o
\set ECHO all
SELECT tenant, customer FROM meter.tenant WHERE customer IS NOT NULL;
SELECT remedy FROM meter_doctor() WHERE "check" = 'outbox_dead' \g (format=unaligned tuples_only=on) :file
\set ECHO errors
\o /dev/null
\i :file
\o
\set ECHO all
SELECT identifier, state FROM meter.billing_outbox ORDER BY identifier;
-- what the worker does
SELECT count(*) FROM meter_outbox_claim(100);
:look
DELETE FROM meter.outbox_hour;
DELETE FROM meter.billing_outbox;
DELETE FROM meter.outbox_meter;

-- Budgets and alerts.
INSERT INTO meter.budget (budget_id, tenant, service, amount, basis, currency, created_at) VALUES
	('00000000-0000-0000-0000-000000000001', 'acme', NULL, 5, 'cost', 'USD', now() - interval '2 days'),
	('00000000-0000-0000-0000-000000000002', 'acme', 'api', 5, 'cost', 'USD', now() - interval '2 days'),
	('00000000-0000-0000-0000-000000000003', 'bolt', NULL, 5, 'cost', 'USD', now() - interval '2 days'),
	('00000000-0000-0000-0000-000000000004', 'bolt', NULL, 5, 'charge', 'CHF', now()),
	('00000000-0000-0000-0000-000000000005', NULL, 'api', 5, 'cost', 'USD', now());
INSERT INTO meter.price (price, plan, metric, model, params) VALUES ('calls', 'pro', 'api_requests', 'per_unit', '{"unit_amount": 1}');
SELECT meter_track('bolt', cost => 0.5, at => now() - interval '3 hours');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SET client_min_messages = error;
SELECT meter_refresh_budgets();
SET client_min_messages = warning;
UPDATE meter.in_use SET since = now() - interval '5 hours';
:look
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('USD', 'CHF', '2000-01-01', 0.9);
SELECT remedy FROM meter_doctor() WHERE "check" <> ALL (:'but') \g (format=unaligned tuples_only=on) :file
\i :file
:look
-- there was usage three hours ago
UPDATE meter.alert_evaluation SET evaluated_at = now() - interval '10 hours';
:look
-- without usage since, alerts need not be evaluated
UPDATE meter.alert_evaluation SET evaluated_at = now() - interval '2 hours';
:look

-- An analyst may ask, an application may not.
CREATE ROLE regress_analyst;
CREATE ROLE regress_app;
SELECT meter_grant('regress_analyst', 'analyst');
SELECT meter_grant('regress_app', 'app');
UPDATE meter.alert_rule SET enabled = false WHERE rule = 'quota 80';
SET ROLE regress_analyst;
SELECT "check", severity, object, finding, remedy FROM meter_doctor() WHERE "check" <> ALL (:'but');
SELECT count(*) FROM meter.doctor();
-- but not while it works for a tenant, as findings name others
SELECT meter_set_tenant('acme');
SELECT count(*) FROM meter_doctor();
SELECT meter_set_tenant(NULL);
SET ROLE regress_app;
SELECT count(*) FROM meter_doctor();
RESET ROLE;
DROP OWNED BY regress_analyst, regress_app;
DROP ROLE regress_analyst, regress_app;

-- Each check was found, but for those that need a server of their own.
SELECT c."check" FROM meter.doctor_check AS c
WHERE NOT EXISTS (SELECT FROM regress_found AS f WHERE f."check" = c."check") ORDER BY c.place;
SELECT f."check" FROM regress_found AS f
WHERE NOT EXISTS (SELECT FROM meter.doctor_check AS c WHERE c."check" = f."check") ORDER BY f."check";

-- This server as it was.
DROP TABLE regress_found;
ALTER SYSTEM RESET ALL;
SELECT pg_reload_conf();

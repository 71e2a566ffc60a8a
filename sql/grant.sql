-- meter_grant(): sets of privileges
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
-- its lines change with every set of privileges
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET meter.retention = 0;

CREATE ROLE regress_app;
CREATE ROLE regress_analyst;
CREATE ROLE regress_admin;
CREATE ROLE regress_nobody;
SELECT meter_grant('regress_app', 'app');
SELECT meter_grant('regress_analyst', 'analyst');
SELECT meter_grant('regress_admin', 'admin');
SELECT meter_grant('regress_nobody', 'everything');
SELECT meter_grant('regress_missing', 'app');

SET ROLE regress_nobody;
SELECT meter_track('acme');
SELECT * FROM meter.live;
RESET ROLE;

SET ROLE regress_app;
SELECT meter_track('acme', 'new_metric', 1, idempotency_key => 'k', at => now());
SELECT result FROM meter_track_batch('[{"tenant": "acme"}, {"tenant": ""}]');
COPY meter.inbox (tenant) FROM STDIN;
acme
\.
INSERT INTO meter.inbox (tenant, validated) VALUES ('acme', true);
SELECT count(*) FROM meter.inbox;
SELECT count(*) FROM meter.event;
SELECT * FROM meter_flush();
SELECT meter_rollup();
SET meter.strict_metrics = on;
SELECT meter_headers(jsonb_populate_record(NULL::meter.decision, '{"rule": "r", "limit": 5, "remaining": 4.5}'));
SELECT meter_allow('acme'), (meter_check('acme')).reason, (meter_require('acme')).reason;
SELECT meter_refund('acme');
SELECT meter_reset_limit('acme');
SELECT count(*) FROM meter.rate_limit;
SELECT count(*) FROM meter.rate_limit_status;
SELECT meter_load_preset('tiered');
SELECT count(*) FROM meter.price;
SELECT count(*) FROM meter.credit_balance;
SELECT count(*) FROM meter.billing_price('2026-01-01');
SELECT meter_change_plan('acme', NULL);
RESET ROLE;

SET ROLE regress_admin;
SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT count(*) > 0 FROM meter_maintain();
INSERT INTO meter.metric (metric) VALUES ('by_admin');
DELETE FROM meter.rejected_event;
DELETE FROM meter.event;
SELECT meter_load_preset('tiered');
INSERT INTO meter.plan (plan) VALUES ('by_admin');
UPDATE meter.plan SET multiplier = 2 WHERE plan = 'by_admin';
INSERT INTO meter.tenant (tenant, plan, time_zone) VALUES ('acme', 'by_admin', 'Europe/Paris');
UPDATE meter.tenant SET time_zone = 'Asia/Tokyo' WHERE tenant = 'acme';
INSERT INTO meter.rate_limit (tenant, per, max) VALUES ('acme', 'hour', 5);
UPDATE meter.rate_limit SET max = 6 WHERE tenant = 'acme';
UPDATE meter.plan SET plan = 'renamed' WHERE plan = 'by_admin';
DELETE FROM meter.rate_limit WHERE tenant = 'acme';
INSERT INTO meter.plan_version (plan, base_price) VALUES ('renamed', 5);
UPDATE meter.plan_version SET base_price = 6 WHERE plan = 'renamed';
UPDATE meter.tenant SET status = 'cancelled', started_on = '2026-01-01' WHERE tenant = 'acme';
SELECT meter_change_plan('acme', 'renamed') IS NOT NULL AS changed;
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('acme', '2025-01-01', 'renamed');
SELECT meter.subscription_apply();
INSERT INTO meter.price (price, tenant, metric, model, params) VALUES ('api', 'acme', 'api_requests', 'flat', '{"amount": 5}');
UPDATE meter.price SET valid_to = '2030-01-01' WHERE price = 'api';
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'USD', '2026-01-01', 1.1);
INSERT INTO meter.credit (tenant, amount) VALUES ('acme', 5);
INSERT INTO meter.coupon (coupon, percent) VALUES ('SPRING', 10);
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from) VALUES ('acme', 'SPRING', '2026-01-01');
INSERT INTO meter.credit_use SELECT tenant, credit_id, '2026-01-01', 1, 5 FROM meter.credit;
SELECT tenant, plan, base_price FROM meter.billing_plan('2025-06-01');
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('by_admin', 'rejected_events', 1);
UPDATE meter.alert_rule SET enabled = false;
SELECT meter_silence(rule => 'by_admin') IS NOT NULL AS silenced;
SELECT * FROM meter_evaluate_alerts();
DELETE FROM meter.silence;
DELETE FROM meter.tenant_coupon;
DELETE FROM meter.coupon;
DELETE FROM meter.fx_rate;
DELETE FROM meter.plan_version;
DELETE FROM meter.tenant WHERE plan = 'renamed';
DELETE FROM meter.plan WHERE plan = 'renamed';
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, per, max, burst) VALUES ('limited', 'hour', 0, 5);
SELECT meter_allow('limited'), meter_reset_limit('limited'), meter_allow('limited');
RESET ROLE;

SET ROLE regress_analyst;
SELECT metric, sum(events), count(p50) FROM meter.usage_daily GROUP BY metric ORDER BY metric;
SELECT sum(events) FROM meter.live;
SELECT count(*) FROM meter.event;
SELECT meter_percentile(meter_sketch_agg(1), 0.5);
SELECT count(*), sum(max) FROM meter.rate_limit;
SELECT meter_headers(jsonb_populate_record(NULL::meter.decision, '{"rule": "r", "limit": 5, "remaining": 4.5}'));
SELECT tenant, remaining FROM meter.rate_limit_status;
SELECT count(*) FROM meter.limit_stats;
SELECT meter_track('acme');
SELECT meter_allow('acme');
SELECT meter_rollup();
SELECT tenant, used, b.left FROM meter.credit_balance AS b;
SELECT meter.currency_digits('JPY'), meter.fx('EUR', 'EUR', '2026-01-01');
SELECT count(*) FROM meter.billing_period('2026-01-01');
SELECT count(*) FROM meter.billing_plan('2026-01-01');
SELECT count(*) FROM meter.billing_price('2026-01-01');
SELECT count(*) FROM meter.alert_rule WHERE rule = 'by_admin';
SELECT count(*) FROM meter.alert_signal, meter.alert, meter.incident, meter.incident_update, meter.notification, meter.silence;
UPDATE meter.alert_rule SET enabled = true;
SELECT meter_silence(rule => 'by_admin');
UPDATE meter.price SET params = '{"amount": 6}';
UPDATE meter.subscription SET plan = NULL;
INSERT INTO meter.credit (tenant, amount) VALUES ('acme', 5);
SELECT meter_change_plan('acme', NULL);
SELECT meter.subscription_apply();
INSERT INTO meter.plan (plan) VALUES ('by_analyst');
DELETE FROM meter.rate_limit;
SELECT meter_load_preset('monthly');
RESET ROLE;

-- who may call what of the limits and prices
SELECT DISTINCT p.proname,
	has_function_privilege('regress_app', p.oid, 'EXECUTE') AS app,
	has_function_privilege('regress_analyst', p.oid, 'EXECUTE') AS analyst,
	has_function_privilege('regress_admin', p.oid, 'EXECUTE') AS admin
FROM pg_proc AS p
JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
WHERE p.proname = ANY ('{meter_check,meter_allow,meter_require,meter_refund,meter_headers,meter_reset_limit,
	limit_state,account_state,quota_used,known_time_zone,resource_matches,resource_matches_any,meter_load_preset,meter_grant,
	meter_evaluate_alerts,meter_acknowledge,meter_silence,meter_mark_read,
	meter_change_plan,subscription_apply,billing_span,billing_period,billing_plan,billing_price,currency_digits,fx}') OR p.prorettype = 'trigger'::regtype
ORDER BY p.proname;

SET client_min_messages = warning;
DROP OWNED BY regress_app, regress_analyst, regress_admin, regress_nobody;
DROP ROLE regress_app, regress_analyst, regress_admin, regress_nobody;

-- nothing is executable by PUBLIC, and everything says what it is for
SELECT p.oid::regprocedure FROM pg_proc AS p
JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
WHERE has_function_privilege('public', p.oid, 'execute');
SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend AS d
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
	AND d.classid NOT IN ('pg_type'::regclass, 'pg_rewrite'::regclass)
	AND obj_description(d.objid, d.classid::regclass::name) IS NULL
ORDER BY 1;
SELECT c.oid::regclass, a.attname FROM pg_class AS c
JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND col_description(c.oid, a.attnum) IS NULL;

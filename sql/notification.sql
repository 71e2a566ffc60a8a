-- notifications: what is told of alerts, to whom, and what was read
\getenv dir PG_ABS_SRCDIR
\set set_up :dir '/sql/set_up/alert.sql'
\set ECHO none
\i :set_up
\set ECHO all
INSERT INTO meter.alert_rule (rule, signal, severity, threshold)
SELECT signal || '_' || severity, signal, severity, threshold
FROM (SELECT signal FROM meter.alert_signal WHERE signal <> ALL ('{burn_rate,gauge_level}')) AS s
CROSS JOIN (VALUES ('warning', 80), ('critical', 100)) AS v(severity, threshold);
INSERT INTO meter.alert_rule (rule, signal, severity, threshold, params)
VALUES ('burn_rate_warning', 'burn_rate', 'warning', 80, '{"short_window": "1 hour"}'),
	('gauge_level_warning', 'gauge_level', 'warning', 80, '{"metric": "disk"}');

-- As which event each signal is told, and how it ends: health that has recovered
-- says so once for each tenant and service.
DO $$ BEGIN
	PERFORM step(0, VARIADIC array_agg(rule || ' a 100')) FROM meter.alert_rule;
END $$;
SELECT body ->> 'rule' AS rule, severity, kind FROM meter.notification ORDER BY rule;
SELECT title FROM meter.notification WHERE severity = 'warning' ORDER BY signal;
DELETE FROM meter.notification;
DO $$ BEGIN
	PERFORM step(1, VARIADIC array_agg(rule || ' a 1')) FROM meter.alert_rule;
END $$;
SELECT body ->> 'rule' AS rule, severity, kind, title FROM meter.notification ORDER BY rule;
SELECT count(*), count(DISTINCT body ->> 'alert_id') FROM meter.notification;
DELETE FROM meter.notification;
-- while another alert of health fires, it has not recovered
SELECT step(2, 'error_rate_warning a/s 90', 'latency_p95_warning a/s 90', 'error_rate_warning b/s 90');
SELECT step(3, 'error_rate_warning a/s 1', 'latency_p95_warning a/s 90', 'error_rate_warning b/s 1');
SELECT step(4, 'latency_p95_warning a/s 1');
SELECT created_at, tenant, kind, body ->> 'rule' AS rule FROM meter.notification ORDER BY created_at, tenant, rule;

-- All of an event
SELECT jsonb_pretty(body - 'alert_id' - 'incident_id') AS body, body ->> 'alert_id' = a.alert_id::text AS alert,
	body ->> 'incident_id' = a.incident_id::text AS incident
FROM meter.notification JOIN meter.alert AS a ON a.alert_id::text = body ->> 'alert_id'
WHERE created_at = t(4);
DELETE FROM meter.notification;
-- no news: another period, and what has ended while it was silenced all the time
SELECT step(5, 'budget_warning a 90 {"period":"1","subject":"x","threshold":75,"more":[1]}');
SELECT step(6, 'budget_warning a 10 {"period":"2","subject":"x","threshold":75}');
SELECT jsonb_pretty(body - 'alert_id' - 'incident_id') AS body FROM meter.notification;
SELECT rule, state, told FROM meter.alert WHERE period IS NOT NULL;
DELETE FROM meter.notification;
SELECT count(*) FROM meter.incident WHERE status <> 'resolved';

-- Events are below 8000 bytes, whatever is in them; the table has all of it.
SELECT length(meter.event_payload(jsonb_build_object('event', 'e', 'detail', repeat('x', l)))) FROM unnest(ARRAY[7000, 7900]) AS l;
SELECT meter.event_payload(jsonb_build_object('event', 'e', 'title', repeat(chr(233), 3950), 'detail', repeat('x', 5), 'subject', 's'));
SELECT step(7, 'budget_warning ' || repeat('"', 128) || '/' || repeat('\', 64) || ' 90 ' ||
	replace(jsonb_build_object('title', repeat('t', 9000), 'subject', repeat('\', 200), 'threshold', 75,
		'more', repeat('m', 9000))::text, ' ', ''));
SELECT octet_length(body::text), octet_length(meter.event_payload(body)) < 8000, meter.event_payload(body)::jsonb ? 'title'
FROM meter.notification;
DELETE FROM meter.notification;

-- Who sees and reads what
CREATE ROLE regress_notification;
CREATE ROLE regress_notification_analyst;
INSERT INTO meter.tenant (tenant, role_name) VALUES ('a', 'regress_notification'), ('b', NULL);
SELECT meter_grant('regress_notification', 'tenant');
SELECT meter_grant('regress_notification_analyst', 'analyst');
SELECT step(8, 'error_rate_warning a 90', 'error_rate_warning b 90', 'pipeline_lag_warning / 90', 'isolation_violation_warning a 90');
SELECT step(9, 'error_rate_warning a 1', 'isolation_violation_warning a 1');
SELECT notification_id AS mine FROM meter.notification WHERE tenant = 'a' AND kind = 'api.health.degraded' \gset
SELECT notification_id AS others FROM meter.notification WHERE tenant = 'b' \gset
SELECT tenant, kind FROM meter.notification ORDER BY tenant, created_at, kind;
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET ROLE regress_notification;
SELECT tenant, kind, read_at IS NOT NULL AS read FROM meter.notification ORDER BY created_at;
SELECT rule, state FROM meter.alert WHERE started_at = t(8);
SELECT meter_mark_read(:'mine');
SELECT meter_mark_read(:'mine');
DO $$ BEGIN PERFORM meter_mark_read(n) FROM (SELECT '00000000-0000-0000-0000-000000000000'::uuid) AS n(n); END $$;
SELECT count(*) FROM meter.notification WHERE read_at IS NOT NULL;
UPDATE meter.notification SET title = '';
DELETE FROM meter.notification;
SELECT * FROM meter.incident;
SELECT meter_evaluate_alerts();
SELECT meter_silence('a');
RESET ROLE;
-- another tenant's is none
SELECT set_config('test.others', :'others', false) IS NOT NULL AS set;
SET ROLE regress_notification;
DO $$ BEGIN PERFORM meter_mark_read(current_setting('test.others')::uuid); EXCEPTION WHEN undefined_object THEN
	RAISE NOTICE '%', regexp_replace(SQLERRM, '[-0-9a-f]{36}', '...'); END $$;
RESET ROLE;
SET ROLE regress_notification_analyst;
SELECT count(*) FROM meter.notification;
SELECT meter_mark_read(:'mine');
RESET ROLE;
SELECT meter_mark_read(NULL);
SELECT read_at IS NOT NULL AS read, count(*) FROM meter.notification GROUP BY 1 ORDER BY 1;

SET client_min_messages = warning;
DROP FUNCTION step(numeric, text[]), t(numeric);
DROP EXTENSION meter CASCADE;
DROP TABLE measured;
DROP ROLE regress_notification, regress_notification_analyst;

-- incidents: which alerts they take in, and what their timeline says
\getenv dir PG_ABS_SRCDIR
\set set_up :dir '/sql/set_up/alert.sql'
\set ECHO none
\i :set_up
\set ECHO all
INSERT INTO meter.alert_rule (rule, signal, severity, threshold) VALUES
	('note', 'quota', 'info', 80), ('warn', 'error_rate', 'warning', 5), ('crit', 'error_rate', 'critical', 10),
	('slow', 'latency_p95', 'warning', 2000), ('stale', 'pipeline_lag', 'critical', 300);
CREATE VIEW incidents AS
SELECT concat_ws('/', tenant, service) AS whose, severity, status, title, to_char(opened_at, 'MI') AS opened,
	to_char(resolved_at, 'MI') AS resolved, acknowledged_by
FROM meter.incident;
-- who has acknowledged did it now
CREATE VIEW timeline AS
SELECT concat_ws('/', i.tenant, i.service) AS whose, to_char(i.opened_at, 'MI') AS opened, u.n,
	CASE WHEN u."by" IS NULL THEN to_char(u.at, 'MI') END AS at, u.kind, u.severity, a.rule, u.message, u."by"
FROM meter.incident_update AS u JOIN meter.incident AS i USING (incident_id) LEFT JOIN meter.alert AS a USING (alert_id)
ORDER BY whose, i.opened_at, u.n;

-- One for each tenant and service, and none of what is only information
SELECT step(0, 'note a/s 85', 'warn a/s 6', 'slow a/s 2500', 'warn a/t 7', 'warn b/s 8', 'stale / 400');
SELECT * FROM incidents ORDER BY whose;
SELECT rule, concat_ws('/', tenant, service) AS whose, incident_id IS NOT NULL AS has FROM meter.alert ORDER BY 2, 1;
-- It gets worse: the same incident, with severity and title of the worst.
SELECT step(1, 'note a/s 85', 'warn a/s 12', 'crit a/s 12', 'slow a/s 2500', 'warn a/t 7', 'warn b/s 8', 'stale / 400');
SELECT * FROM incidents ORDER BY whose;
-- It gets better again: not the incident.  Others are over.
SELECT step(2, 'note a/s 85', 'warn a/s 6', 'crit a/s 6', 'slow a/s 10', 'warn a/t 1', 'warn b/s 8', 'stale / 0');
SELECT * FROM incidents ORDER BY whose;

-- Somebody takes care of it; once.
SELECT alert_id AS warn FROM meter.alert WHERE rule = 'warn' AND tenant = 'a' AND state = 'firing' \gset
SELECT alert_id AS note FROM meter.alert WHERE rule = 'note' \gset
SELECT meter_acknowledge(:'warn', 'ann', 'looking');
SELECT meter_acknowledge(:'warn', 'bob');
SELECT meter_acknowledge(:'warn', 'bob', 'found it');
SELECT meter_acknowledge(:'note', note => 'there is no incident');
SELECT rule, acknowledged_by = session_user AS mine, acknowledged_by, acknowledged_at > now() - interval '1 hour' AS now
FROM meter.alert WHERE acknowledged_at IS NOT NULL AND rule = 'warn';
SELECT acknowledged_by = session_user AS mine FROM meter.alert WHERE rule = 'note';
SELECT * FROM incidents WHERE whose = 'a/s';
-- another alert has somebody look at it again
SELECT step(3, 'note a/s 85', 'warn a/s 6', 'slow a/s 3000', 'warn b/s 8');
SELECT * FROM incidents WHERE whose = 'a/s';
-- a rule that is deleted ends its alert; the last one ends the incident
DELETE FROM meter.alert_rule WHERE rule = 'slow';
SELECT step(4, 'note a/s 85', 'warn a/s 1', 'warn b/s 8');
SELECT * FROM incidents WHERE whose = 'a/s';
-- the next one is another incident
SELECT step(5, 'note a/s 85', 'warn a/s 9', 'warn b/s 8');
SELECT * FROM incidents WHERE whose = 'a/s' ORDER BY opened;
SELECT * FROM timeline;
-- at one instant: an alert ends and another begins
SELECT step(6, 'warn a/s 1', 'crit b/s 11', 'warn b/s 1');
SELECT * FROM incidents WHERE whose = 'b/s' OR opened = '05' ORDER BY whose;
SELECT * FROM timeline WHERE whose = 'b/s';

-- What cannot be
\set SHOW_CONTEXT never
SELECT meter_acknowledge('00000000-0000-0000-0000-000000000000');
SELECT meter_acknowledge(NULL);
\set VERBOSITY terse
DO $$ BEGIN PERFORM meter_acknowledge((SELECT alert_id FROM meter.alert WHERE rule = 'crit' AND tenant = 'a'));
EXCEPTION WHEN object_not_in_prerequisite_state THEN RAISE NOTICE '%', regexp_replace(SQLERRM, '[-0-9a-f]{36}', '...'); END $$;
UPDATE meter.alert_rule SET for_duration = '1 hour';
SELECT step(7, 'warn z 6');
DO $$ BEGIN PERFORM meter_acknowledge((SELECT alert_id FROM meter.alert WHERE tenant = 'z'));
EXCEPTION WHEN object_not_in_prerequisite_state THEN RAISE NOTICE '%', regexp_replace(SQLERRM, '[-0-9a-f]{36}', '...'); END $$;
-- an open incident of each tenant and service is one
INSERT INTO meter.incident (tenant, service, severity, title, opened_at) SELECT tenant, service, severity, title, opened_at
FROM meter.incident WHERE status <> 'resolved';

-- Tenants do not see what is no tenant's.
CREATE ROLE regress_incident;
INSERT INTO meter.tenant (tenant, role_name) VALUES ('b', 'regress_incident');
GRANT USAGE ON SCHEMA meter TO regress_incident;
GRANT SELECT ON meter.incident, meter.incident_update TO regress_incident;
SELECT meter_grant('regress_incident', 'tenant');
SET ROLE regress_incident;
SELECT DISTINCT tenant FROM meter.incident;
SELECT DISTINCT tenant FROM meter.incident_update;
SELECT meter_acknowledge(NULL);
RESET ROLE;

SET client_min_messages = warning;
DROP VIEW incidents, timeline;
SET client_min_messages = warning;
DROP FUNCTION step(numeric, text[]), t(numeric);
DROP EXTENSION meter CASCADE;
DROP TABLE measured;
DROP ROLE regress_incident;

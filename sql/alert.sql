-- alerts: how they begin and end, by values that are given here
\getenv dir PG_ABS_SRCDIR
\set set_up :dir '/sql/set_up/alert.sql'
\set ECHO none
\i :set_up
\set ECHO all
CREATE VIEW alerts AS
SELECT rule, concat_ws('/', tenant, service) AS whose, subject, severity, state, value, peak, threshold,
	to_char(started_at, 'MI') AS started, to_char(fired_at, 'MI') AS fired, to_char(resolved_at, 'MI') AS resolved, reason
FROM meter.alert;

-- One rule with everything: 10 or more for 5 minutes, until below 8.
INSERT INTO meter.alert_rule (rule, signal, severity, threshold, resolve_below, for_duration)
VALUES ('r', 'error_rate', 'warning', 10, 8, '5 minutes');
SELECT step(0, 'r a/s 9.99');
-- at the threshold it is pending; what stops being there for a minute begins anew
SELECT step(1, 'r a/s 10');
SELECT * FROM alerts;
SELECT step(2, 'r a/s 9');
SELECT * FROM alerts;
SELECT step(3, 'r a/s 12');
SELECT step(4, 'r a/s 15');
-- 4:59 is not 5 minutes, 5:00 is
SELECT step(7 + 59 / 60.0, 'r a/s 11');
SELECT * FROM alerts;
SELECT step(8, 'r a/s 11');
SELECT * FROM alerts;
-- the same instant again changes nothing
SELECT step(8);
-- between 8 and 10 it goes on, and does not begin again
SELECT step(9, 'r a/s 8');
SELECT step(10, 'r a/s 20');
SELECT * FROM alerts;
SELECT step(11, 'r a/s 7.99');
SELECT * FROM alerts;
-- the next time is another alert
SELECT step(12, 'r a/s 9');
SELECT step(13, 'r a/s 10');
SELECT step(20, 'r a/s 10');
SELECT * FROM alerts ORDER BY started;
SELECT count(DISTINCT alert_id) FROM meter.alert;
SELECT step(21, 'r a/s 0');

-- Without for: at once.  Tenant and service can be missing; each is another alert.
DELETE FROM meter.alert;
UPDATE meter.alert_rule SET for_duration = '0', resolve_below = NULL;
SELECT step(22, 'r a/s 10', 'r a/t 11', 'r a 12', 'r / 13', 'r b/s 9');
SELECT * FROM alerts ORDER BY whose;
-- without resolve_below: until it is below the threshold
SELECT step(23, 'r a/s 10', 'r a/t 9.99', 'r a 9.99', 'r / 9.99', 'r b/s 10');
SELECT * FROM alerts ORDER BY whose;

-- Without a value, also null and NaN, it goes on for no_data_after, 15 minutes.
SELECT step(24, 'r a/s null', 'r b/s NaN');
SELECT step(30, 'r b/s 10');
SELECT step(37);
SELECT step(38);
SELECT * FROM alerts WHERE whose IN ('a/s', 'b/s') ORDER BY whose;
-- What is pending is gone at once.
UPDATE meter.alert_rule SET for_duration = '5 minutes';
SELECT step(39, 'r c 10');
SELECT step(40);
SELECT count(*) FROM alerts WHERE whose = 'c';

-- A rule that is disabled, deleted, or about another signal, ends its alerts.
DELETE FROM meter.alert;
UPDATE meter.alert_rule SET for_duration = '0';
INSERT INTO meter.alert_rule (rule, signal, threshold, for_duration) VALUES
	('disabled', 'error_rate', 5, '0'), ('deleted', 'error_rate', 5, '0'), ('other', 'error_rate', 5, '0'),
	('pending', 'error_rate', 5, '1 hour'), ('unused', 'error_rate', 5, '0');
SELECT step(41, 'disabled a 5', 'deleted a 5', 'other a 5', 'pending a 5', 'r a 10');
UPDATE meter.alert_rule SET enabled = false WHERE rule IN ('disabled', 'pending');
DELETE FROM meter.alert_rule WHERE rule = 'deleted';
UPDATE meter.alert_rule SET signal = 'latency_p95' WHERE rule = 'other';
-- values of rules that are not enabled or not there are not looked at
SELECT step(42, 'disabled a 5', 'deleted a 5', 'other a 6', 'pending a 5', 'r a 10', 'nothing a 99');
SELECT * FROM alerts ORDER BY rule, resolved;
-- a rule that is changed is so from the next time on
UPDATE meter.alert_rule SET threshold = 11 WHERE rule = 'r';
SELECT step(43, 'r a 10', 'other a 6');
SELECT * FROM alerts WHERE rule = 'r';

-- Several of a tenant: detail has the subject, and what else is its own.
DELETE FROM meter.alert;
DELETE FROM meter.alert_rule;
INSERT INTO meter.alert_rule (rule, signal, severity, threshold) VALUES ('b', 'budget', 'info', 0);
SELECT step(44, 'b a 80 {"subject":"x75","threshold":75,"period":"1"}',
	'b a 80 {"subject":"x90","threshold":90,"period":"1","severity":"warning"}',
	'b a 80 {"subject":"x100","threshold":100,"period":"1","severity":"critical"}');
SELECT * FROM alerts;
SELECT step(45, 'b a 95 {"subject":"x75","threshold":75,"period":"1"}',
	'b a 95 {"subject":"x90","threshold":90,"period":"1","severity":"warning"}',
	'b a 95 {"subject":"x100","threshold":100,"period":"1","severity":"critical"}');
SELECT * FROM alerts ORDER BY threshold;
-- the next period: 75 is reached again, which is another alert; 90 is not
SELECT step(46, 'b a 76 {"subject":"x75","threshold":75,"period":"2"}',
	'b a 76 {"subject":"x90","threshold":90,"period":"2","severity":"warning"}',
	'b a 76 {"subject":"x100","threshold":100,"period":"2","severity":"critical"}');
SELECT * FROM alerts ORDER BY threshold, started;
-- a long subject, one that is there twice of which the higher value counts, a severity that is none
SELECT step(47, 'b a 76 {"subject":"x75","threshold":75,"period":"2"}',
	format('b a 5 {"subject":"%s","severity":"huge"}', repeat('s', 300)), 'b b 1', 'b b 3', 'b b 2', 'b c Infinity');
SELECT * FROM alerts WHERE started = '47' ORDER BY whose;
SELECT title FROM meter.alert WHERE started_at = t(47) ORDER BY tenant;

-- What cannot be
\set SHOW_CONTEXT never
SELECT meter_evaluate_alerts(NULL);
SELECT meter_evaluate_alerts('infinity');
\set VERBOSITY terse
DO $$ BEGIN PERFORM meter_evaluate_alerts(clock_timestamp() + interval '1 day'); EXCEPTION WHEN invalid_parameter_value THEN
	RAISE NOTICE '%', regexp_replace(SQLERRM, 'as of .*', 'as of tomorrow'); END $$;
\set VERBOSITY default
SELECT meter_evaluate_alerts(t(46));
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT meter_evaluate_alerts(t(48));
ROLLBACK;
INSERT INTO meter.tenant (tenant) VALUES ('a');
CREATE ROLE regress_alert;
SELECT meter_grant('regress_alert', 'admin');
GRANT SELECT ON measured TO regress_alert;
SET ROLE regress_alert;
SELECT meter_set_tenant('a');
SELECT meter_evaluate_alerts(t(48));
SELECT meter_set_tenant(NULL);
SELECT * FROM meter_evaluate_alerts(t(48));
RESET ROLE;
-- where the clock was far ahead, it goes on as soon as it is right
UPDATE meter.alert_evaluation SET evaluated_at = clock_timestamp() + interval '1 year';
SELECT step(49);
SELECT evaluated_at FROM meter.alert_evaluation;

-- Without the argument it is now.
SELECT fired, resolved, pending, firing FROM meter_evaluate_alerts();
SELECT evaluated_at = now() FROM meter.alert_evaluation;
BEGIN;
SELECT evaluated_at < now() FROM meter.alert_evaluation;
SELECT fired, resolved, pending, firing FROM meter_evaluate_alerts();
SELECT evaluated_at = now() FROM meter.alert_evaluation;
COMMIT;

SET client_min_messages = warning;
DROP VIEW alerts;
DROP FUNCTION step(numeric, text[]), t(numeric);
DROP EXTENSION meter CASCADE;
DROP TABLE measured;
DROP ROLE regress_alert;

-- silences: what is kept quiet, and what is told afterwards
\getenv dir PG_ABS_SRCDIR
\set set_up :dir '/sql/set_up/alert.sql'
\set ECHO none
\i :set_up
\set ECHO all
CREATE VIEW alerts AS
SELECT rule, concat_ws('/', tenant, service) AS whose, state, silenced, told, incident_id IS NOT NULL AS incident
FROM meter.alert;
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('err', 'error_rate', 10), ('err high', 'error_rate', 20), ('slow', 'latency_avg', 10);

-- Which alerts match which silence, of all that can be given
SELECT meter_silence(tenant => 'a', at => t(0)) IS NOT NULL AS made;
SELECT a.*, meter.is_silenced(a.rule, a.tenant, a.service, t(0)) FROM (VALUES
	('err', 'a', NULL), ('err', 'a', 's'), ('err', 'b', 's'), ('err', NULL, 's')) AS a(rule, tenant, service);
-- from its first instant, inclusive, for an hour, exclusive
SELECT m, meter.is_silenced('err', 'a', 's', t(m)) FROM unnest(ARRAY[-0.1, 0, 59.9, 60]) AS m;
DELETE FROM meter.silence;
SELECT meter_silence(rule => 'err', service => 's', duration => '1 minute', at => t(0)) IS NOT NULL AS made;
SELECT a.*, meter.is_silenced(a.rule, a.tenant, a.service, t(0)) FROM (VALUES
	('err', 'a', NULL), ('err', 'a', 's'), ('err high', 'a', 's'), ('err', 'a', 't'), ('err', NULL, 's')) AS a(rule, tenant, service);
DELETE FROM meter.silence;
SELECT meter_silence(rule => 'err*', at => t(0)) IS NOT NULL AS made;
SELECT a.*, meter.is_silenced(a.rule, NULL, NULL, t(0)) FROM (VALUES ('err'), ('err high'), ('slow'), ('er')) AS a(rule);
SELECT meter_silence(rule => '*', at => t(0), reason => 'all', "by" => 'me', duration => '2 hours') IS NOT NULL AS made;
SELECT meter.is_silenced('anything', NULL, NULL, t(0));
SELECT tenant, rule, service, starts_at, ends_at, created_by = session_user AS mine, created_by = 'me' AS named, reason
FROM meter.silence ORDER BY ends_at;
DELETE FROM meter.silence;

-- Silenced when it fires: neither incident nor notification; told when the silence is over.
SELECT meter_silence('a', duration => '10 minutes', at => t(0)) IS NOT NULL AS made;
SELECT step(0, 'err a/s 10', 'err b/s 10');
SELECT * FROM alerts ORDER BY whose;
SELECT tenant, kind FROM meter.notification;
SELECT step(9, 'err a/s 10', 'err b/s 10');
SELECT count(*) FROM meter.notification;
SELECT step(10, 'err a/s 10', 'err b/s 10');
SELECT * FROM alerts ORDER BY whose;
SELECT tenant, kind, body ->> 'at' AS at FROM meter.notification ORDER BY tenant;
-- Silenced after it was told: it is not told again, and its end is told.
SELECT meter_silence('b', duration => '10 minutes', at => t(11)) IS NOT NULL AS made;
SELECT step(12, 'err a/s 10', 'err b/s 10');
SELECT step(13, 'err a/s 10', 'err b/s 9');
SELECT * FROM alerts ORDER BY whose;
SELECT tenant, kind FROM meter.notification ORDER BY tenant, created_at;
-- Over before the silence is: nothing was ever told.
SELECT step(14, 'err a/s 10', 'err b/s 10');
SELECT step(15, 'err a/s 10', 'err b/s 9');
SELECT step(30, 'err a/s 10', 'err b/s 9');
SELECT * FROM alerts WHERE whose = 'b/s' ORDER BY told;
SELECT tenant, count(*) FROM meter.notification GROUP BY tenant ORDER BY tenant;
SELECT tenant, status FROM meter.incident ORDER BY tenant;
-- A silence that is ended early
SELECT meter_silence(rule => 'slow', duration => '1 day', at => t(31)) IS NOT NULL AS made;
SELECT step(32, 'slow a/s 10', 'err a/s 10');
UPDATE meter.silence SET ends_at = t(33) WHERE rule = 'slow';
SELECT step(33, 'slow a/s 10', 'err a/s 10');
SELECT * FROM alerts WHERE rule = 'slow';

-- What cannot be
\set SHOW_CONTEXT never
SELECT meter_silence();
SELECT meter_silence('a', duration => '0');
SELECT meter_silence('a', duration => '-1 hour');
SELECT meter_silence('a', duration => NULL);
SELECT meter_silence('a', duration => '11 years');
SELECT meter_silence('a', at => NULL);
SELECT meter_silence('a', at => 'infinity');
SELECT meter_silence('a', rule => 'errr');
\set VERBOSITY terse
SELECT meter_silence('');
SELECT meter_silence(service => repeat('s', 65));
INSERT INTO meter.silence (tenant, starts_at, ends_at) VALUES ('a', t(1), t(0));
INSERT INTO meter.silence (starts_at, ends_at) VALUES (t(1), t(2));

SET client_min_messages = warning;
DROP VIEW alerts;
SET client_min_messages = warning;
DROP FUNCTION step(numeric, text[]), t(numeric);
DROP EXTENSION meter CASCADE;
DROP TABLE measured;

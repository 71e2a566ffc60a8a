-- rules of alerts: what a row may be, and what a dump has of them
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

-- What has come with the extension is as it came, and each signal is known.
SELECT bool_and(builtin), bool_and(enabled), count(changed_at), bool_and(description IS NOT NULL) FROM meter.alert_rule;
SELECT signal FROM meter.alert_rule EXCEPT SELECT signal FROM meter.alert_signal;

-- Defaults
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('mine', 'error_rate', 5);
SELECT * FROM meter.alert_rule WHERE NOT builtin;

-- What is refused
\set VERBOSITY terse
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('', 'error_rate', 5);
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES (repeat('x', 65), 'error_rate', 5);
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('all*', 'error_rate', 5);
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('mine', 'error_rate', 5);
INSERT INTO meter.alert_rule (rule, signal) VALUES ('r', 'error_rate');
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('r', 'error_rate', 'NaN');
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('r', 'error_rate', 'Infinity');
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('r', 'error_rate', -1);
INSERT INTO meter.alert_rule (rule, signal, threshold, severity) VALUES ('r', 'error_rate', 5, 'page');
INSERT INTO meter.alert_rule (rule, signal, threshold, resolve_below) VALUES ('r', 'error_rate', 5, 6);
INSERT INTO meter.alert_rule (rule, signal, threshold, resolve_below) VALUES ('r', 'error_rate', 5, 'NaN');
INSERT INTO meter.alert_rule (rule, signal, threshold, "window") VALUES ('r', 'error_rate', 5, '10 seconds');
INSERT INTO meter.alert_rule (rule, signal, threshold, for_duration) VALUES ('r', 'error_rate', 5, '-1 second');
INSERT INTO meter.alert_rule (rule, signal, threshold, no_data_after) VALUES ('r', 'error_rate', 5, '1 year');
INSERT INTO meter.alert_rule (rule, signal, threshold, min_events) VALUES ('r', 'error_rate', 5, -1);
INSERT INTO meter.alert_rule (rule, signal, threshold, tenant) VALUES ('r', 'error_rate', 5, '');
INSERT INTO meter.alert_rule (rule, signal, threshold, service) VALUES ('r', 'error_rate', 5, '');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'error_rate', 5, '[]');
\set VERBOSITY default
\set SHOW_CONTEXT never
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('r', 'weather', 5);
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('r', NULL, 5);
UPDATE meter.alert_rule SET signal = 'Error_rate' WHERE rule = 'mine';
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'error_rate', 5, '{"min_error": 1, "endpoint": "/x"}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'quota', 5, '{"min_errors": 1}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'error_rate', 5, '{"min_errors": 1, "short_window": "5 minutes"}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'error_rate', 5, '{"min_errors": 1}');
UPDATE meter.alert_rule SET signal = 'latency_avg' WHERE rule = 'r';
DELETE FROM meter.alert_rule WHERE rule = 'r';
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('r', 'burn_rate', 14.4);
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'burn_rate', 14.4, '{"short_window": 300}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'burn_rate', 14.4, '{"short_window": "59 seconds"}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'burn_rate', 14.4, '{"short_window": "soon"}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'burn_rate', 14.4, '{"short_window": null}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'burn_rate', 14.4, '{"short_window": "2 hours"}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('r', 'burn_rate', 14.4, '{"short_window": "5 minutes"}');
UPDATE meter.alert_rule SET "window" = '1 minute' WHERE rule = 'r';
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('s', 'error_rate', 5, '{"min_errors": "many"}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('s', 'cost_spike', 5, '{"min_cost": -1}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('s', 'storage_growth', 5, '{"min_bytes": null}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('s', 'cost_spike', 5, '{"min_cost": 1e400}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('s', 'error_rate', 5, '{"min_errors": "5"}');
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('s', 'gauge_level', 5);
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('s', 'gauge_level', 5, '{"metric": 5}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('s', 'gauge_level', 5, '{"metric": " "}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('s', 'gauge_level', 5, '{"metric": "cpu", "dims": "eu"}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('s', 'gauge_level', 5, '{"metric": "cpu", "dims": {"region": ["eu"]}}');
INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('s', 'gauge_level', 5, '{"metric": "cpu", "dims": {"region": null}}');
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES ('s', 'no_usage', 604801);

-- A dump carries what was added or changed.
SELECT extcondition[array_position(extconfig, 'meter.alert_rule'::regclass::oid)] FROM pg_extension WHERE extname = 'meter';
SELECT min(rule) AS one FROM meter.alert_rule WHERE builtin \gset
UPDATE meter.alert_rule SET threshold = threshold WHERE rule = :'one';
SELECT count(*), count(changed_at) FROM meter.alert_rule WHERE NOT builtin OR changed_at IS NOT NULL;
UPDATE meter.alert_rule SET enabled = false WHERE rule = :'one';
SELECT count(*), count(changed_at) FROM meter.alert_rule WHERE NOT builtin OR changed_at IS NOT NULL;

-- Where a dump is restored, the rules that are built in are there already.
CREATE TEMP TABLE saved AS SELECT * FROM meter.alert_rule WHERE rule = :'one';
SET client_min_messages = warning;
DROP EXTENSION meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SELECT enabled, changed_at IS NULL FROM meter.alert_rule WHERE rule = :'one';
INSERT INTO meter.alert_rule SELECT * FROM saved;
SELECT r.enabled, r.changed_at = s.changed_at FROM meter.alert_rule AS r JOIN saved AS s USING (rule);
-- but nobody's rule is replaced by another of its name
\set VERBOSITY terse
INSERT INTO meter.alert_rule (rule, signal, threshold) VALUES (:'one', 'error_rate', 5);
DROP TABLE saved;

-- the registry of metrics: first use, strict mode, limits, constraints
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

-- registered as a counter on first use
SELECT meter_track('acme');
SELECT meter_track('acme', 'tokens', 12);
SELECT metric, kind, dimensions, allow_negative FROM meter.metric ORDER BY metric;

-- registration rolls back with its caller
BEGIN;
SELECT meter_track('acme', 'fleeting', 1);
ROLLBACK;
SELECT count(*) FROM meter.metric WHERE metric = 'fleeting';
SELECT meter_track('acme', 'fleeting', 1);
SELECT count(*) FROM meter.metric WHERE metric = 'fleeting';

-- strict mode knows registered metrics and the default one
SET meter.strict_metrics = on;
SELECT meter_track('acme', 'unheard', 1);
SELECT meter_track('acme', 'tokens', 1);
DELETE FROM meter.metric WHERE metric = 'api_requests';
SELECT meter_track('acme');
RESET meter.strict_metrics;

-- a change takes effect with the next call
SELECT meter_track('acme', 'tokens', -1);
UPDATE meter.metric SET allow_negative = true WHERE metric = 'tokens';
SELECT meter_track('acme', 'tokens', -1);
BEGIN;
UPDATE meter.metric SET allow_negative = false WHERE metric = 'tokens';
SAVEPOINT s;
SELECT meter_track('acme', 'tokens', -1);
ROLLBACK;
SELECT meter_track('acme', 'tokens', -1);

-- too many metrics by first use, but not by hand
SET meter.max_metrics = 3;
SELECT meter_track('acme', 'one_too_many', 1);
INSERT INTO meter.metric (metric) VALUES ('by_hand');
SELECT meter_track('acme', 'by_hand', 1);
RESET meter.max_metrics;

-- what cannot be a metric
\set VERBOSITY terse
INSERT INTO meter.metric (metric) VALUES ('');
INSERT INTO meter.metric (metric) VALUES ('  ');
INSERT INTO meter.metric (metric) VALUES (repeat('x', 65));
INSERT INTO meter.metric (metric) VALUES (E'a\nb');
INSERT INTO meter.metric (metric, kind) VALUES ('m', 'histogram');
INSERT INTO meter.metric (metric, dimensions) VALUES ('m', ARRAY['a', NULL]);
INSERT INTO meter.metric (metric, dimensions) VALUES ('m', ARRAY['']);
INSERT INTO meter.metric (metric, dimensions)
SELECT 'm', array_agg('d' || i) FROM generate_series(1, 9) AS i;

-- the trigger function is nothing to call
SELECT meter_metric_changed();

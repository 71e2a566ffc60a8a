-- meter_correct(): amendments take the place of events
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

SET meter.retention = 0;
SELECT meter_track('acme', quantity => 10, cost => 1.00, latency_ms => 100, status => 500, user_id => 'u1',
	idempotency_key => 'k1', at => '2026-03-01 10:15+00');
SELECT meter_track('acme', quantity => 20, cost => 2.00, latency_ms => 900, user_id => 'u2', at => '2026-03-01 10:30+00');
SELECT meter_track('acme', quantity => 40, at => '2026-03-01 11:30+00');
SELECT meter_track('zeta', quantity => 80, at => '2026-03-01 10:30+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
CREATE VIEW hours AS SELECT hour, tenant, events, errors, quantity, quantity_max, cost,
	meter_sketch_max(latency) AS latency_max, meter.users_count(users) AS users FROM meter.usage_hourly;
SELECT * FROM hours ORDER BY hour, tenant;

-- by key: what is not given stays; nothing changes before the flush
SELECT meter_correct('acme', 'k1', quantity => 5, status => 200);
SELECT sum(quantity) FROM meter.live WHERE tenant = 'acme';
SELECT appended FROM meter_flush();
SELECT seq, corrects, superseded_by, quantity, cost, status, user_id, idempotency_key FROM meter.event ORDER BY seq;
SELECT sum(quantity) FROM meter.live WHERE tenant = 'acme';
SELECT meter_rollup();
SELECT * FROM hours ORDER BY hour, tenant;

-- by position, and without having been rolled up
SELECT meter_correct('acme', seq => 2, latency_ms => 50, cost => 0.5);
SELECT meter_correct('acme', seq => 3, quantity => 41);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM hours ORDER BY hour, tenant;
SELECT user_id, events, errors, quantity, cost FROM meter.usage_user_daily ORDER BY user_id;

-- a correction of a correction, by key
SELECT meter_correct('acme', 'k1', quantity => 6);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT sum(quantity) FROM meter.usage_hourly WHERE tenant = 'acme';

-- void: it no longer counts, and cannot be corrected again
SELECT meter_correct('acme', 'k1', void => true);
SELECT appended FROM meter_flush();
SELECT sum(quantity), sum(events) FROM meter.live WHERE tenant = 'acme';
SELECT meter_rollup();
SELECT * FROM hours ORDER BY hour, tenant;
SELECT user_id, events, quantity FROM meter.usage_user_daily ORDER BY user_id;
SELECT meter_correct('acme', 'k1', quantity => 1);

-- an event that still waits in the inbox is flushed first
SELECT meter_track('acme', quantity => 7, idempotency_key => 'k2', at => '2026-03-01 12:00+00');
SELECT meter_correct('acme', 'k2', quantity => 8);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT quantity FROM meter.usage_hourly WHERE hour = '2026-03-01 12:00+00';

-- the same event twice before a flush: the second finds it taken
SELECT meter_correct('acme', 'k2', quantity => 9);
BEGIN;
INSERT INTO meter.inbox SELECT i.* FROM meter.inbox AS i WHERE corrects IS NOT NULL;
COMMIT;
SELECT * FROM meter_flush();
SELECT sqlstate, reason FROM meter.rejected_event;
SELECT meter_rollup();
SELECT quantity FROM meter.usage_hourly WHERE hour = '2026-03-01 12:00+00';

-- errors
SELECT meter_correct('acme');
SELECT meter_correct('acme', 'k1', 5);
SELECT meter_correct(NULL, 'k1');
SELECT meter_correct('acme', 'unknown', quantity => 1);
SELECT meter_correct('acme', seq => 999, quantity => 1);
SELECT meter_correct('zeta', 'k2', quantity => 1);
SELECT meter_correct('zeta', seq => 3, quantity => 1);
SELECT meter_correct('acme', 'k2', quantity => -1);
SELECT meter_correct('acme', 'k2', status => 1000);
DROP VIEW hours;

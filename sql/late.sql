-- meter.usage_late: days whose usage changes late; meter.gauge_last: levels that months begin with
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET meter.retention = 0;

INSERT INTO meter.metric (metric, kind, dimensions) VALUES ('calls', 'counter', '{}'), ('disk', 'gauge', '{server}');
SELECT meter.usage_position();

-- what comes in time is not noted, also if it comes twice to an hour
SELECT meter_track('prompt', 'calls', at => now());
SELECT meter_track('prompt', 'disk', 5, at => now());
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT meter_track('prompt', 'calls', at => now());
SELECT meter_track('prompt', 'disk', 6, at => now());
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT meter_correct('prompt', seq => 1, quantity => 7);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM meter.usage_late;
-- an hour that ended less than an hour ago is in time, too; one that ended an hour ago is not
SELECT meter_track('edge', 'calls', at => date_trunc('hour', now(), 'UTC') - interval '1 minute');
SELECT meter_track('edge', 'calls', at => date_trunc('hour', now(), 'UTC') - interval '61 minutes');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
-- if another hour has ended since, the first is late as well
SELECT tenant, count(*) BETWEEN 1 AND 2 AS one, min(seq), max(seq), bool_and(last_day = day) AS a_day
FROM meter.usage_late GROUP BY tenant;
TRUNCATE meter.usage_late;

-- two months back and more: each tenant's days, with the position of the rollup
SELECT meter_track('acme', 'calls', 1, idempotency_key => 'a1', at => '2026-01-31 23:59:59+00');
SELECT meter_track('acme', 'calls', 2, idempotency_key => 'a2', at => '2026-02-01 00:00+00');
SELECT meter_track('acme', 'calls', 4, at => '2026-02-01 23:00+00');
SELECT meter_track('zeta', 'calls', 8, at => '2026-02-10 10:00+00');
SELECT appended FROM meter_flush();
BEGIN;
SELECT meter_rollup();
ROLLBACK;
SELECT count(*) FROM meter.usage_late;
SELECT meter_rollup();
SELECT meter_rollup();
SELECT meter.usage_position();
SELECT * FROM meter.usage_late ORDER BY tenant, day;

-- later ones move the position of the days they touch
SELECT meter_track('acme', 'calls', 16, at => '2026-02-01 10:00+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM meter.usage_late ORDER BY tenant, day;
-- a correction, and one that leaves nothing of its hour
SELECT meter_correct('acme', 'a1', quantity => 3);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT meter_correct('zeta', seq => (SELECT seq FROM meter.event WHERE tenant = 'zeta'), void => true);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT count(*) FROM meter.usage_hourly WHERE tenant = 'zeta';
SELECT * FROM meter.usage_late ORDER BY tenant, day;
-- what has changed since a position: days of acme's January and zeta's February
SELECT tenant, date_trunc('month', day)::date AS month, max(seq) FROM meter.usage_late WHERE seq > 12 GROUP BY 1, 2 ORDER BY 1, 2;

-- gauges: all later days may have changed
SELECT meter_track('acme', 'disk', 10, metadata => '{"server": 1}', idempotency_key => 'd1', at => '2025-12-05 10:00+00');
SELECT meter_track('acme', 'disk', 20, metadata => '{"server": 2}', idempotency_key => 'd2', at => '2026-01-05 10:00+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT day, last_day, seq FROM meter.usage_late WHERE tenant = 'acme' ORDER BY day;
CREATE VIEW last AS SELECT tenant, month, dims ->> 'server' AS server, endpoint, last_at, last_seq, level
	FROM meter.gauge_last WHERE tenant <> 'prompt' ORDER BY tenant, month, 3, endpoint;
SELECT * FROM last;
-- newer samples take over, older ones do not; of the same time, the later one in the log
SELECT meter_track('acme', 'disk', 11, metadata => '{"server": 1}', idempotency_key => 'd3', at => '2025-12-30 10:00+00');
SELECT meter_track('acme', 'disk', 12, metadata => '{"server": 1}', at => '2025-12-01 10:00+00');
SELECT meter_track('acme', 'disk', 21, metadata => '{"server": 2}', at => '2026-01-05 10:00+00');
SELECT meter_track('acme', 'disk', 22, endpoint => '/x', at => '2026-01-05 10:00+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM last;
-- the last one of its month is voided: the one before is the last; then that is corrected
SELECT meter_correct('acme', 'd3', void => true);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM last WHERE month = '2025-12-01';
SELECT meter_correct('acme', 'd1', quantity => 13);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM last WHERE month = '2025-12-01';
SELECT day, last_day, seq FROM meter.usage_late WHERE tenant = 'acme' AND day < '2026-01-01' ORDER BY day;
-- nothing is left of a month
SELECT meter_correct('acme', seq => (SELECT seq FROM meter.event WHERE metric = 'disk' AND quantity = 12), void => true);
SELECT meter_correct('acme', 'd1', void => true);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT * FROM last;

-- random samples, corrections and batches: always what plain SQL finds
SELECT setseed(0.5);
CREATE PROCEDURE step(n int) LANGUAGE sql AS $$
	INSERT INTO meter.inbox (at, tenant, metric, quantity, endpoint, metadata, idempotency_key)
	SELECT timestamptz '2026-03-30 00:00+00' + floor(random() * 96) * interval '1 hour', 'r' || floor(random() * 2), 'disk',
		floor(random() * 9), (ARRAY['/a', NULL])[1 + (random() < 0.5)::int], jsonb_build_object('server', (random() < 0.5)), 'k' || random()
	FROM generate_series(1, n);
	SELECT * FROM meter_flush();
	SELECT meter_rollup();
$$;
CREATE VIEW wrong AS
WITH raw AS (
	SELECT DISTINCT ON (1, 2, 3, 4) tenant, date_trunc('month', at AT TIME ZONE 'UTC')::date, endpoint, metadata, at, seq, quantity FROM meter.event
	WHERE superseded_by IS NULL AND tenant ~ '^r' ORDER BY 1, 2, 3, 4, at DESC, seq DESC
), known AS (
	SELECT tenant, month, endpoint, dims, last_at, last_seq, level FROM meter.gauge_last WHERE tenant ~ '^r'
)
(TABLE raw EXCEPT TABLE known) UNION ALL (TABLE known EXCEPT TABLE raw);
CALL step(100);
CALL step(1);
CALL step(50);
SELECT (SELECT count(*) FROM wrong) AS wrong, count(*) > 8 AS many FROM meter.gauge_last WHERE tenant ~ '^r';
DO $$
BEGIN
	PERFORM meter_correct(e.tenant, idempotency_key, quantity => 99, void => e.seq % 2 = 0)
	FROM (SELECT l.tenant, (SELECT idempotency_key FROM meter.event AS x WHERE x.seq = last_seq) , last_seq AS seq
	      FROM meter.gauge_last AS l WHERE tenant ~ '^r') AS e;
END
$$;
CALL step(3);
SELECT (SELECT count(*) FROM wrong) AS wrong, count(*) > 8 AS many FROM meter.gauge_last WHERE tenant ~ '^r';

-- and the same after starting again
BEGIN;
TRUNCATE meter.usage_hourly, meter.usage_user_daily, meter.gauge_last;
UPDATE meter.consumer SET last_seq = 0 WHERE name = 'rollup';
SELECT meter_rollup() > 0;
COMMIT;
SELECT (SELECT count(*) FROM wrong) AS wrong, count(*) > 8 AS many FROM meter.gauge_last WHERE tenant ~ '^r';

-- what cannot be
INSERT INTO meter.usage_late VALUES ('x', '2026-01-02', '2026-01-01', 1);
INSERT INTO meter.usage_late VALUES ('x', '2026-01-02', '2026-01-02', 0);
INSERT INTO meter.gauge_last (tenant, metric, month, dims, last_at, last_seq, level) VALUES ('x', 'y', '2026-01-02', '{}', '2026-01-02 10:00+00', 1, 1);
DROP PROCEDURE step(int);
DROP VIEW wrong, last;

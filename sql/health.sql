-- meter_health(): is the API well?
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'America/Los_Angeles';
SET meter.retention = 0;

-- Nothing is known yet.
SELECT jsonb_pretty(meter_health('2026-04-10 12:00+00'));
TABLE meter.health_check;

-- Bad input.
SELECT meter_health(NULL);
SELECT meter_health('infinity');
SELECT meter_health('-infinity');
\set VERBOSITY terse
INSERT INTO meter.health_threshold VALUES ('mood', 1, 2);
INSERT INTO meter.health_threshold VALUES ('error_rate', -1, 2);
INSERT INTO meter.health_threshold VALUES ('error_rate', 1, 'NaN');
INSERT INTO meter.health_threshold VALUES ('error_rate', 3, 2);
\set VERBOSITY default

INSERT INTO meter.inbox (at, tenant, service, endpoint, method, status, latency_ms, error_message)
-- until 12:00: 40 requests, 8 a minute, of which 4 were refused; 6 of the other 36 failed, 16.67 %;
-- (20 * 100 + 10 * 200 + 6 * 1000) / 36 = 277.78 ms, the 95th percentile is 1000; 3 endpoints
SELECT timestamptz '2026-04-10 11:55:00.000001+00' + i * interval '1 second', 'acme', 'api', '/v1/a', 'GET', 200, 100, NULL
FROM generate_series(0, 19) AS i
UNION ALL SELECT '2026-04-10 11:58+00', 'bolt', 'api', '/v1/b', 'GET', 200, 200, NULL FROM generate_series(1, 10)
UNION ALL SELECT '2026-04-10 12:00+00', 'bolt', 'api', '/v1/b', 'POST', 500, 1000, NULL FROM generate_series(1, 6)
UNION ALL SELECT '2026-04-10 11:59+00', 'bolt', 'api', '/v1/c', 'GET', 429, 1, NULL FROM generate_series(1, 4)
-- before and after it
UNION ALL SELECT '2026-04-10 11:55+00', 'acme', 'api', '/v1/x', 'GET', 500, 9999, NULL FROM generate_series(1, 50)
UNION ALL SELECT '2026-04-10 12:00:00.000001+00', 'acme', 'api', '/v1/x', 'GET', 500, 9999, NULL FROM generate_series(1, 50)
-- until 13:00: 6 of 20 failed, 2 of them without a status
UNION ALL SELECT '2026-04-10 13:00+00', 'acme', NULL, '/v1/a', 'GET', CASE WHEN i < 5 THEN 503 WHEN i > 6 THEN 200 END, 100,
	CASE WHEN i IN (5, 6) THEN 'connection reset' END FROM generate_series(1, 20) AS i
-- until 14:00: 5 requests, all of which failed
UNION ALL SELECT '2026-04-10 14:00+00', 'acme', NULL, '/v1/a', 'GET', 503, 9000, NULL FROM generate_series(1, 5)
-- until 15:00: half of the requests was wrong
UNION ALL SELECT '2026-04-10 15:00+00', 'acme', NULL, NULL, NULL, CASE WHEN i % 2 = 0 THEN 404 ELSE 200 END, NULL, NULL
FROM generate_series(1, 20) AS i
-- until 16:00: slow
UNION ALL SELECT '2026-04-10 16:00+00', 'acme', NULL, '/v1/a', 'GET', 200, 6000, NULL FROM generate_series(1, 20) AS i
-- until 17:00: well
UNION ALL SELECT '2026-04-10 17:00+00', 'acme', NULL, '/v1/a', 'GET', 200, 50, NULL FROM generate_series(1, 7) AS i;
-- no request
INSERT INTO meter.inbox (at, tenant, metric, status) VALUES ('2026-04-10 11:59+00', 'acme', 'tokens', 500);
SELECT meter_track('acme', endpoint => '/v1/late', status => 500, idempotency_key => 'k', at => '2026-04-10 17:00+00');
SELECT * FROM meter_flush();
SELECT meter_correct('acme', 'k', status => 200);
SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT jsonb_pretty(meter_health('2026-04-10 12:00+00'));
-- the window moves on by 11 seconds: 9 of the 20, the other 20, and 50 more: 79 in 5 minutes
SELECT meter_health('2026-04-10 12:00:11+00') #> '{metrics,requestsPerMinute}';
SELECT t AT TIME ZONE 'UTC' AS at, h ->> 'status' AS status, h #>> '{metrics,errorRate}' AS errors,
	h #>> '{metrics,serverErrorRate}' AS server_errors, h #>> '{metrics,p95ResponseTime}' AS p95,
	h #>> '{metrics,activeEndpoints}' AS endpoints, i ->> 'check' AS "check", i ->> 'severity' AS severity, i ->> 'message' AS message
FROM generate_series(timestamptz '2026-04-10 13:00+00', '2026-04-10 17:00+00', '1 hour') AS t, meter_health(t) AS h
LEFT JOIN jsonb_array_elements(h -> 'issues') AS i ON true ORDER BY t, i ->> 'check';

-- Thresholds of one's own: one check never, others sooner.
INSERT INTO meter.health_threshold VALUES ('server_error_rate', NULL, NULL), ('latency_avg', 100, 200), ('error_rate', NULL, 20);
SELECT "check", degraded, unhealthy FROM meter.health_check ORDER BY "check";
SELECT h ->> 'status' AS status, h -> 'issues' AS issues FROM meter_health('2026-04-10 12:00+00') AS h;
SELECT h ->> 'status' AS status, h #> '{issues,0,check}' AS "check" FROM meter_health('2026-04-10 13:00+00') AS h;
DELETE FROM meter.health_threshold;

-- Now: nothing waits.  What has waited for two minutes is late, and so is what was not rolled up for twenty.
SELECT h ->> 'status' AS status, h #> '{metrics,flushLag}' AS flush, h #> '{metrics,rollupLag}' AS rollup FROM meter_health() AS h;
SELECT meter_track('acme');
UPDATE meter.inbox SET received_at = now() - interval '2 minutes';
SELECT h ->> 'status' AS status, (h #>> '{metrics,flushLag}')::numeric BETWEEN 120 AND 180 AS flush, h #> '{issues,0,check}' AS "check"
FROM meter_health() AS h;
-- of the past it says nothing
SELECT meter_health(now() - interval '6 minutes') #> '{metrics,flushLag}';
UPDATE meter.inbox SET received_at = now() - interval '20 minutes';
SELECT appended FROM meter_flush();
SELECT h ->> 'status' AS status, h #> '{metrics,flushLag}' AS flush, h #> '{issues,0,check}' AS "check" FROM meter_health() AS h;
SELECT meter_rollup();
SELECT h ->> 'status' AS status, h #> '{metrics,requestsPerMinute}' AS per_minute FROM meter_health() AS h;
BEGIN READ ONLY;
SELECT meter_health() ->> 'status';
COMMIT;

-- Who may: an application, which sees no more, whatever its context and search_path.
CREATE ROLE regress_health;
SET ROLE regress_health;
SELECT meter_health('2026-04-10 12:00+00');
RESET ROLE;
SELECT meter_grant('regress_health', 'app');
INSERT INTO meter.tenant (tenant) VALUES ('acme');
SET ROLE regress_health;
CREATE TEMP TABLE event (at timestamptz);
CREATE TEMP TABLE stats (flush_lag interval);
SET search_path = pg_temp, public, pg_catalog;
SELECT meter_health('2026-04-10 12:00+00') #> '{metrics,requestsPerMinute}';
SELECT meter_set_tenant('acme');
SELECT meter_health('2026-04-10 12:00+00') #> '{metrics,requestsPerMinute}';
SELECT meter_set_tenant(NULL);
RESET search_path;
SELECT * FROM meter.health('2026-04-10 12:00+00');
SELECT * FROM meter.health_check;
RESET ROLE;
SELECT meter_grant('regress_health', 'analyst');
SET ROLE regress_health;
SELECT h ->> 'status' FROM meter.health('2026-04-10 12:00+00') AS h;
INSERT INTO meter.health_threshold VALUES ('latency_avg', 100, 200);
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_health;
DROP ROLE regress_health;

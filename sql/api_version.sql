-- Versions of the API: headers of deprecation, and who still calls what
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'Asia/Kolkata';
SET datestyle = 'ISO';
SET meter.retention = 0;

SELECT * FROM meter.api_version_usage;

-- Bad rows.
\set VERBOSITY terse
INSERT INTO meter.api_version (version) VALUES ('');
INSERT INTO meter.api_version (version) VALUES (E'v1\r\nX-Evil: 1');
INSERT INTO meter.api_version (version) VALUES ('v1 ');
INSERT INTO meter.api_version (version) VALUES ('v' || chr(252));
INSERT INTO meter.api_version (version) VALUES (repeat('v', 65));
INSERT INTO meter.api_version (version, deprecated_on) VALUES ('v1', 'infinity');
INSERT INTO meter.api_version (version, announced_on, deprecated_on) VALUES ('v1', '2026-01-02', '2026-01-01');
INSERT INTO meter.api_version (version, deprecated_on, sunset_on) VALUES ('v1', '2026-01-02', '2026-01-01');
INSERT INTO meter.api_version (version, sunset_on) VALUES ('v1', '2026-01-01');
INSERT INTO meter.api_version (version, successor) VALUES ('v1', 'v1');
INSERT INTO meter.api_version (version, successor) VALUES ('v1', 'v2');
INSERT INTO meter.api_version (version, migration_guide) VALUES ('v1', 'javascript:alert(1)');
INSERT INTO meter.api_version (version, migration_guide) VALUES ('v1', 'https://a/>; rel="self"');
INSERT INTO meter.api_version (version, migration_guide) VALUES ('v1', E'https://a/\r\nX-Evil: 1');
INSERT INTO meter.api_version (version, migration_guide) VALUES ('v1', 'https://a/' || repeat('x', 2039));
\set VERBOSITY default

-- v1 is deprecated from 3 December 2025 on, which was announced 90 days before, on 4 September
-- (26 days of September, 31, 30 and 3), and gone 180 days later, on 1 June 2026 (29 days of
-- December, 31, 28, 31, 30, 31 are 180 and lead to 1 June).
SELECT date '2025-12-03' - 90, date '2025-12-03' + 180;
INSERT INTO meter.api_version (version, announced_on, deprecated_on, sunset_on, successor, migration_guide) VALUES
	('v3', NULL, NULL, NULL, NULL, NULL),
	('v2', '2026-01-01', '2027-01-01', NULL, 'v3', NULL),
	('v1', '2025-09-04', '2025-12-03', '2026-06-01', 'v3', 'https://docs.chom.app/api/v1-to-v2'),
	('v0', NULL, '2024-01-01', '2024-02-29', NULL, '/docs/v0#gone'),
	('legacy', '2024-01-01', NULL, NULL, NULL, '/docs/legacy');

CREATE FUNCTION headers(version text, at timestamptz) RETURNS TABLE (field text, value text)
LANGUAGE SQL BEGIN ATOMIC
	SELECT key, h.value FROM jsonb_each_text(meter_headers(NULL, version => version, at => at)) AS h
	ORDER BY key COLLATE "C";
END;
\pset tuples_only on
\pset format unaligned
\pset fieldsep ': '
-- not announced; announced; deprecated; gone: to the second, in UTC.
-- 1764720000 is 2025-12-03 00:00 UTC: 20425 days of 86400 s; 20425 = 55 * 365 + 14 leap days + 336
SELECT * FROM headers('v1', '2025-09-03 23:59:59.999999+00');
SELECT * FROM headers('v1', '2025-09-04 00:00+00');
SELECT * FROM headers('v1', '2025-12-02 23:59:59+00');
SELECT * FROM headers('v1', '2025-12-03 00:00+00');
SELECT * FROM headers('v1', '2026-06-01 00:00+00') WHERE field ~ 'Depr|Sunset';
-- no page; no announcement, which is one at once; not yet known when
SELECT * FROM headers('v2', '2026-02-01');
SELECT * FROM headers('v0', '2023-01-01');
SELECT * FROM headers('legacy', '2026-02-01');
-- nothing to tell; not known; what must not get into a header; none
SELECT * FROM headers('v3', '2026-02-01');
SELECT * FROM headers('v9', '2026-02-01');
SELECT * FROM headers(E' v1\r\nX-Evil: 1' || chr(252), '2026-02-01');
SELECT * FROM headers(repeat('v', 70), '2026-02-01');
SELECT * FROM headers('', '2026-02-01');
SELECT meter_headers(NULL, 'epoch', NULL, '2026-02-01');
-- no instant is now
SELECT meter_headers(NULL, version => 'v0', at => NULL) = meter_headers(NULL, version => 'v0') AS same;
SELECT meter.api_version_status('2025-09-04', '2025-12-03', '2026-06-01', NULL);
-- the names of days and months do not depend on the locale
SELECT value FROM headers('v1', '2026-02-01') WHERE field = 'Sunset';
-- with a decision
SELECT jsonb_pretty(meter_headers(jsonb_populate_record(NULL::meter.decision,
	'{"allowed": true, "rule": "r", "limit": 5, "remaining": 4}'), 'iso', 'v1', '2026-02-01'));
-- two arguments are as before
SELECT meter_headers(jsonb_populate_record(NULL::meter.decision, '{"rule": "r", "limit": 5, "remaining": 4.5}'), 'iso');
\pset tuples_only off
\pset format aligned

-- What version a call is of.
SELECT dims, endpoint, meter.api_version_of(dims, endpoint) FROM (VALUES
	('{"api_version": "2024-10-01", "version": "b"}'::jsonb, '/v1/x'), ('{"version": "b"}', '/v1/x'), ('{}', '/v1/x'),
	('{}', '/api/v2.1/x'), ('{}', '/api/V3'), ('{}', '/video/v'), ('{}', '/v1x/y'), ('{}', 'v1/x'), ('{}', '/v1beta/x'),
	('{}', '/v1/x/v2'), ('{"version": null}', NULL)) AS v (dims, endpoint);

-- acme calls v1 three times, twice by u1 and with one error, and v3 by the dimension; bolt calls v1
-- once, 31 days before; both call what has no version, or none that is declared.
INSERT INTO meter.metric (metric, dimensions) VALUES ('api_requests', '{api_version}'), ('other', '{api_version}');
SELECT count(meter_track(t, service => s, endpoint => e, method => m, status => c, user_id => u, at => a, metadata => d))
FROM (VALUES
	('acme', 'web', '/api/v1/orders', 'GET', 200, 'u1', '2026-03-10 10:00+00'::timestamptz, NULL::jsonb),
	('acme', 'web', '/api/v1/orders', 'GET', 500, 'u1', '2026-03-11 10:30+00', NULL),
	('acme', 'web', '/api/v1/orders', 'GET', 200, 'u2', '2026-03-12 11:00+00', NULL),
	('acme', 'web', '/orders', 'POST', 201, 'u2', '2026-03-12 11:00+00', '{"api_version": "v3"}'),
	('acme', 'web', '/orders', 'POST', 201, 'u2', '2026-03-12 11:00+00', '{"api_version": "v8"}'),
	('acme', 'web', '/health', 'GET', 200, NULL, '2026-03-12 11:00+00', NULL),
	('bolt', NULL, '/v1/x', NULL, 200, 'u1', '2026-02-12 11:59+00', NULL)) AS v (t, s, e, m, c, u, a, d);
SELECT meter_track('acme', 'other', 1, endpoint => '/api/v1/orders', at => '2026-03-12 11:00+00', metadata => '{"api_version": "v1"}');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SET timezone = 'UTC';
SELECT * FROM meter_api_version_usage(at => '2026-03-14 12:00+00') ORDER BY version, tenant;
-- 31 days before; before the hour of the last call; what was gone then already
SELECT version, status, tenant, requests, errors, unique_users, last_at
FROM meter_api_version_usage('31 days', '2026-03-12 11:00+00') ORDER BY 1, 3;
SELECT version, status, tenant FROM meter_api_version_usage('1 year', '2026-06-01') WHERE version = 'v1' ORDER BY 3;
SELECT * FROM meter_api_version_usage(NULL, '2026-06-01');

-- only partitions of the period are read
CREATE FUNCTION partitions_read() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
		SELECT * FROM meter_api_version_usage(at => ''2026-03-31'')' LOOP
		IF line ~ 'usage_hourly_p[0-9]+.*actual' THEN
			RETURN NEXT regexp_replace(line, '^.*(usage_hourly_p[0-9]+).*', '\1');
		END IF;
	END LOOP;
END
$$;
SELECT DISTINCT partitions_read() ORDER BY 1;

-- A version that gets another name, or goes.
UPDATE meter.api_version SET version = 'v4' WHERE version = 'v3';
SELECT version, successor FROM meter.api_version WHERE successor IS NOT NULL ORDER BY 1;
DELETE FROM meter.api_version WHERE version = 'v4';
SELECT count(*) FROM meter.api_version WHERE successor IS NOT NULL;

-- Who sees what: an application the versions, a tenant its own calls.
CREATE ROLE regress_version_app;
CREATE ROLE regress_version_acme;
CREATE ROLE regress_version_analyst;
CREATE ROLE regress_version_admin;
SELECT meter_grant('regress_version_app', 'app'), meter_grant('regress_version_acme', 'tenant'),
	meter_grant('regress_version_analyst', 'analyst'), meter_grant('regress_version_admin', 'admin');
INSERT INTO meter.tenant (tenant, role_name) VALUES ('acme', 'regress_version_acme');
SET ROLE regress_version_app;
SELECT meter_headers(NULL, version => 'v1', at => '2026-02-01') ->> 'X-API-Sunset' AS sunset;
SELECT count(*) FROM meter.api_version_usage;
INSERT INTO meter.api_version (version) VALUES ('v5');
SET ROLE regress_version_acme;
SELECT version, tenant, requests FROM meter_api_version_usage('1 year', '2026-06-01') ORDER BY 1, 2;
SELECT count(*) FROM meter.api_version_usage WHERE tenant <> 'acme';
SET ROLE regress_version_analyst;
SELECT version, tenant, requests FROM meter_api_version_usage('1 year', '2026-06-01') ORDER BY 1, 2;
SELECT count(*) >= 0 AS reads FROM meter.api_version_usage;
UPDATE meter.api_version SET sunset_on = '2027-01-01';
SET ROLE regress_version_admin;
INSERT INTO meter.api_version (version) VALUES ('v5');
UPDATE meter.api_version SET deprecated_on = '2027-01-01' WHERE version = 'v5';
DELETE FROM meter.api_version WHERE version = 'v5';
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_version_app, regress_version_acme, regress_version_analyst, regress_version_admin;
DROP ROLE regress_version_app, regress_version_acme, regress_version_analyst, regress_version_admin;

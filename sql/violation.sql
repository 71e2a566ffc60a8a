-- violations of isolation: how they are recorded
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

-- Queries are kept without what may be secret in them.
SELECT q, meter.mask_query(q) FROM (VALUES
	('SELECT ''a''''b'', 1.5, -3, E''x\n'', $$do$$, $a$b$a$, x''1f'', b''01'', U&''x'''),
	('SELECT "Id", a.b::text FROM t /* secret */ -- secret' || E'\n' || '  WHERE  a=$1 AND x IN (1,2)'),
	('INSERT INTO t VALUES (''geheim'')'),
	('SELECT ''not ended'),
	(''), ('   -- only this')) AS v(q);
-- Where it depends on standard_conforming_strings what is a string, it ends: the
-- fourth could go on with geheim as a name.  The others fail as what they are not.
CREATE TEMPORARY TABLE masked AS SELECT q, meter.mask_query(q) FROM (VALUES
	('SELECT ''\'' OR v = ''geheim'''),
	('SELECT a FROM t WHERE p = ''c:\'' AND b'),
	('SELECT ''\'', ''geheim\'''),
	('SELECT a FROM t WHERE p = ''\'' /* '' geheim '''' */'),
	('SELECT a FROM t WHERE p ~ ''\d'' AND b = 2')) AS v(q);
SELECT * FROM masked;
-- It is the same whatever is set; since 19 nothing else can be.
DO $$ BEGIN
	PERFORM set_config('standard_conforming_strings', 'off', false);
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
END $$;
SELECT count(*) FROM masked WHERE meter.mask_query(q) = mask_query;
RESET standard_conforming_strings;
DROP TABLE masked;
SELECT octet_length(meter.mask_query(repeat('SELECT 1; ', 1000)));
SELECT meter.mask_query(NULL) IS NULL;

INSERT INTO meter.tenant (tenant, schema_name) VALUES ('a', 'vio_a'), ('b', 'vio_b');
CREATE SCHEMA vio_a;
CREATE SCHEMA vio_b;
CREATE TABLE vio_b.secret AS SELECT 'x' AS v;
SELECT meter_set_tenant('a');

-- It stays though the transaction is rolled back; by the queue also here, where
-- events are part of the transaction.
SET meter.isolation = log;
BEGIN;
SELECT count(*) FROM vio_b.secret WHERE v = 'geheim';
ROLLBACK;
SET meter.isolation = enforce;
UPDATE vio_b.secret SET v = 'geheim';
-- once in what the client has sent, however often it is tried
DO $$
BEGIN
	FOR i IN 1 .. 10 LOOP
		BEGIN
			PERFORM FROM vio_b.secret;
		EXCEPTION WHEN insufficient_privilege THEN
		END;
	END LOOP;
END $$;
SELECT meter_track('b');
SELECT count(*) FROM meter.isolation_violation;
SELECT * FROM meter_flush();
SELECT tenant, foreign_tenant, object_type, object, command, query, refused
FROM meter.isolation_violation ORDER BY at;
SELECT role = session_user, client_address, application_name, pid = pg_backend_pid(), at > now() - interval '1 minute'
FROM meter.isolation_violation LIMIT 1;
SELECT violations FROM meter.stats;
SELECT tenant, foreign_tenant, violations, refused, objects FROM meter.isolation_summary;

-- It is no event, and nobody can make one by tracking.
SELECT meter_track('a', 'isolation_violation', metadata => '{"role": "x", "command": "SELECT", "refused": "true"}');
SELECT * FROM meter_flush();
SELECT count(*) FROM meter.isolation_violation;
SELECT metric, quantity FROM meter.event;

-- It is kept as long as events are.
UPDATE meter.isolation_violation SET at = at - interval '100 days' WHERE command = 'SELECT';
SELECT count(*) > 0 FROM meter_maintain();
SELECT count(*) FROM meter.isolation_violation;

-- Decoys hide nothing: of one statement 1 000 objects and 100 calls are kept,
-- whatever the calls name as a tenant.  41 tables and 100 calls here; the counter
-- has all 41 + 120.
SET client_min_messages = warning;
SELECT meter_stats_reset();
TRUNCATE meter.isolation_violation;
RESET client_min_messages;
SELECT meter_set_tenant('b');
DO $$ BEGIN FOR i IN 1 .. 40 LOOP EXECUTE format('CREATE TABLE vio_b.t%s ()', i); END LOOP; END $$;
SELECT meter_set_tenant('a');
DO $$
BEGIN
	FOR i IN 1 .. 120 LOOP
		BEGIN
			PERFORM meter_track('nobody' || i);
		EXCEPTION WHEN insufficient_privilege THEN
		END;
	END LOOP;
	FOR i IN 1 .. 40 LOOP
		BEGIN
			EXECUTE format('SELECT FROM vio_b.t%s', i);
		EXCEPTION WHEN insufficient_privilege THEN
		END;
	END LOOP;
	BEGIN
		PERFORM FROM vio_b.secret;
	EXCEPTION WHEN insufficient_privilege THEN
	END;
END $$;
SELECT * FROM meter_flush();
SELECT object IS NULL AS call, count(*), count(*) FILTER (WHERE object = 'vio_b.secret') AS secret
FROM meter.isolation_violation GROUP BY 1 ORDER BY 1;
SELECT violations FROM meter.stats;

-- A name that no tenant can have is cut to the 128 bytes of the longest (2
-- digits and 42 characters of 3), and stops no flush: neither of it nor of what else waits.
TRUNCATE meter.isolation_violation;
DO $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		BEGIN
			PERFORM meter_track(i || repeat('€', 9000));
		EXCEPTION WHEN insufficient_privilege THEN
		END;
	END LOOP;
END $$;
DO $$
BEGIN
	FOR i IN 101 .. 110 LOOP
		BEGIN
			PERFORM meter_track(i || repeat('€', 9000));
		EXCEPTION WHEN insufficient_privilege THEN
		END;
	END LOOP;
END $$;
SELECT meter_track('a');
SELECT * FROM meter_flush();
SELECT count(*), max(octet_length(foreign_tenant)), bool_and(foreign_tenant ~ '^[0-9]+€+$')
FROM meter.isolation_violation;

SELECT meter_set_tenant(NULL);
SET client_min_messages = warning;
DROP SCHEMA vio_a, vio_b CASCADE;

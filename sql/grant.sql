-- meter_grant(): three sets of privileges
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

CREATE ROLE regress_app;
CREATE ROLE regress_analyst;
CREATE ROLE regress_admin;
CREATE ROLE regress_nobody;
SELECT meter_grant('regress_app', 'app');
SELECT meter_grant('regress_analyst', 'analyst');
SELECT meter_grant('regress_admin', 'admin');
SELECT meter_grant('regress_nobody', 'everything');
SELECT meter_grant('regress_missing', 'app');

SET ROLE regress_nobody;
SELECT meter_track('acme');
SELECT * FROM meter.live;
RESET ROLE;

SET ROLE regress_app;
SELECT meter_track('acme', 'new_metric', 1, idempotency_key => 'k', at => now());
SELECT result FROM meter_track_batch('[{"tenant": "acme"}, {"tenant": ""}]');
COPY meter.inbox (tenant) FROM STDIN;
acme
\.
INSERT INTO meter.inbox (tenant, validated) VALUES ('acme', true);
SELECT count(*) FROM meter.inbox;
SELECT count(*) FROM meter.event;
SELECT * FROM meter_flush();
SELECT meter_rollup();
SET meter.strict_metrics = on;
RESET ROLE;

SET ROLE regress_admin;
SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT count(*) > 0 FROM meter_maintain();
INSERT INTO meter.metric (metric) VALUES ('by_admin');
DELETE FROM meter.rejected_event;
DELETE FROM meter.event;
RESET ROLE;

SET ROLE regress_analyst;
SELECT metric, sum(events), count(p50) FROM meter.usage_daily GROUP BY metric ORDER BY metric;
SELECT sum(events) FROM meter.live;
SELECT count(*) FROM meter.event;
SELECT meter_percentile(meter_sketch_agg(1), 0.5);
SELECT meter_track('acme');
SELECT meter_rollup();
RESET ROLE;

SET client_min_messages = warning;
DROP OWNED BY regress_app, regress_analyst, regress_admin, regress_nobody;
DROP ROLE regress_app, regress_analyst, regress_admin, regress_nobody;

-- nothing is executable by PUBLIC, and everything says what it is for
SELECT p.oid::regprocedure FROM pg_proc AS p
JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
WHERE has_function_privilege('public', p.oid, 'execute');
SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend AS d
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
	AND d.classid NOT IN ('pg_type'::regclass, 'pg_rewrite'::regclass)
	AND obj_description(d.objid, d.classid::regclass::name) IS NULL
ORDER BY 1;
SELECT c.oid::regclass, a.attname FROM pg_class AS c
JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND col_description(c.oid, a.attnum) IS NULL;

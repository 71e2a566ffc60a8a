-- sizes of the database and of tenants' schemas, their growth, and when a limit is reached
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

-- Nothing is known yet.
SELECT * FROM meter.storage_growth;
SELECT * FROM meter_forecast_storage();

-- Bad input.
\set VERBOSITY default
SELECT * FROM meter_forecast_storage(0);
SELECT * FROM meter_forecast_storage(-5, 'acme');
SELECT * FROM meter_forecast_storage(100, 'nobody');
SELECT * FROM meter_forecast_storage(at => NULL);
SELECT * FROM meter_forecast_storage(at => 'infinity');
\set VERBOSITY terse
INSERT INTO meter.storage_sample VALUES ('infinity', 'acme', 1);
INSERT INTO meter.storage_sample VALUES ('2026-01-01', 'acme', -1);
INSERT INTO meter.storage_sample VALUES ('2026-01-01', NULL, 1), ('2026-01-01', NULL, 1);
\set VERBOSITY default

-- What is measured: the same as the server says of each relation.
CREATE SCHEMA regress_storage_a;
CREATE SCHEMA regress_storage_b;
CREATE SCHEMA regress_storage_empty;
INSERT INTO meter.tenant (tenant, schema_name) VALUES ('a', 'regress_storage_a'), ('b', 'regress_storage_b'),
	('empty', 'regress_storage_empty'), ('gone', 'regress_storage_gone'), ('none', NULL);
CREATE TABLE regress_storage_a.big (id int PRIMARY KEY, body text, part int) WITH (autovacuum_enabled = off);
ALTER TABLE regress_storage_a.big ALTER body SET STORAGE EXTERNAL;
INSERT INTO regress_storage_a.big SELECT i, repeat('x', 5000), i FROM generate_series(1, 300) AS i;
CREATE INDEX ON regress_storage_a.big (part);
CREATE MATERIALIZED VIEW regress_storage_a.sum AS SELECT count(*) FROM regress_storage_a.big;
CREATE SEQUENCE regress_storage_a.numbers;
CREATE TABLE regress_storage_a.parted (n int) PARTITION BY RANGE (n);
CREATE TABLE regress_storage_a.parted_1 PARTITION OF regress_storage_a.parted FOR VALUES FROM (0) TO (1000);
INSERT INTO regress_storage_a.parted SELECT * FROM generate_series(0, 999);
CREATE UNLOGGED TABLE regress_storage_b.small (n int);
INSERT INTO regress_storage_b.small VALUES (1);
-- one transaction, as the day is that of the transaction
BEGIN;
SELECT pg_database_size(current_database()) AS before \gset
SELECT meter_sample_storage();
SELECT pg_database_size(current_database()) AS after \gset
SELECT s.tenant, s.bytes = (
		SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c
		WHERE c.relnamespace = t.schema_name::regnamespace AND c.relkind IN ('r', 'm', 'S')) AS same,
	s.day = (now() AT TIME ZONE 'UTC')::date AS today
FROM meter.storage_sample AS s JOIN meter.tenant AS t ON t.tenant = s.tenant
WHERE s.bytes > 0 ORDER BY s.tenant;
SELECT tenant, bytes FROM meter.storage_sample WHERE bytes = 0;
-- the server counts the same files, some of which have grown meanwhile, or were cut by autovacuum
SELECT count(*), bool_and(bytes BETWEEN least(:before, :after) - 1000000 AND greatest(:before, :after) + 1000000) AS near
FROM meter.storage_sample WHERE tenant IS NULL;
-- again: the same rows
SELECT meter_sample_storage(), (SELECT count(*) FROM meter.storage_sample);
COMMIT;
-- no such tablespace
SELECT count(*) FROM meter.storage_files(1);

DELETE FROM meter.storage_sample;
-- meter_maintain() samples once a day.
BEGIN;
SELECT action, object, detail FROM meter_maintain() WHERE object = 'meter.storage_sample';
SELECT action, object, detail FROM meter_maintain() WHERE object = 'meter.storage_sample';
COMMIT;
SELECT count(*) FROM meter.storage_sample;

-- Growth, worked by hand.
DELETE FROM meter.storage_sample;
INSERT INTO meter.storage_sample (day, tenant, bytes)
-- line: 1000000 and 1000 a day more from 1 to 28 March: on the 28th 1027000, a week 7000
SELECT date '2026-03-01' + i, 'line', 1000000 + 1000 * i FROM generate_series(0, 27) AS i
UNION ALL
-- the same with a load of 5000000 bytes on the 10th that was taken back on the 11th
SELECT date '2026-03-01' + i, 'spike', 1000000 + 1000 * i + CASE i WHEN 9 THEN 5000000 ELSE 0 END FROM generate_series(0, 27) AS i
UNION ALL
-- shrinks by 500 a day
SELECT date '2026-03-01' + i, 'less', 100000 - 500 * i FROM generate_series(0, 27) AS i
UNION ALL
SELECT date '2026-03-01' + i, 'flat', 4096 FROM generate_series(0, 27) AS i
UNION ALL
-- two samples, 9 days apart: 9000 / 9 = 1000 a day, 7000 a week; against a week ago, 19000 - 10000 = 90 %
VALUES (date '2026-03-19', 'two', 10000), ('2026-03-28', 'two', 19000), ('2026-03-28', 'one', 5000),
-- slopes 1000 / 1, 4000 / 2 and 5000 / 3: the median is 1666.67, a week 11667; nothing of a week ago
	('2026-03-25', 'three', 0), ('2026-03-26', 'three', 1000), ('2026-03-28', 'three', 5000),
-- from nothing: no percentage
	('2026-03-01', 'born', 0), ('2026-03-28', 'born', 2700),
-- older than 28 days
	('2026-02-28', 'old', 1000), ('2026-02-01', NULL, 1);
INSERT INTO meter.storage_sample (day, tenant, bytes)
-- the database: 10 GB, 100 MB a day
SELECT date '2026-03-15' + i, NULL, 10737418240 + 104857600::bigint * i FROM generate_series(0, 13) AS i;
SELECT tenant, bytes, sampled_on, samples, days, growth_per_week, week_percent
FROM meter.storage_growth('2026-03-28 12:00+00') ORDER BY tenant;
-- as of the 14th: 13000 more, and 7000 / 1006000 = 0.70 % in a week; spike: still a line
SELECT tenant, bytes, sampled_on, samples, days, growth_per_week, week_percent
FROM meter.storage_growth('2026-03-14 00:00+00') WHERE tenant IN ('line', 'spike') ORDER BY tenant;
-- the day before is another one in UTC
SELECT sampled_on FROM meter.storage_growth('2026-03-14 01:00+02') WHERE tenant = 'line';

-- The database has 10737418240 + 13 * 104857600 = 12100567040 bytes on the 28th; up to 20 GB, 21474836480, there are
-- 9374269440 / 104857600 = 89.4 days, so the limit is reached on the 90th day after 28 March: 26 June.
SELECT * FROM meter_forecast_storage(21474836480, at => '2026-03-28 12:00+00');
SELECT * FROM meter_forecast_storage(at => '2026-03-28 12:00+00');
-- line: (1100000 - 1027000) / 1000 = 73 days: 9 June
SELECT * FROM meter_forecast_storage(1100000, 'line', '2026-03-28 12:00+00');
SELECT * FROM meter_forecast_storage(1100000, 'spike', '2026-03-28 12:00+00');
-- reached; exactly reached; never; not in a hundred years
SELECT tenant, f.* FROM (VALUES ('line', 1000000), ('line', 1027000), ('less', 200000), ('flat', 5000), ('one', 6000),
	('two', 20500), ('line', 9223372036854775807)) AS t (tenant, upto),
	meter_forecast_storage(upto, tenant, '2026-03-28 12:00+00') AS f;
-- known, and not sampled
SELECT * FROM meter_forecast_storage(100, 'none', '2026-03-28 12:00+00');
SELECT * FROM meter_forecast_storage(100, 'old', '2026-03-28 12:00+00');

-- Against plain SQL: the median of slopes of noisy series.
INSERT INTO meter.storage_sample (day, tenant, bytes)
SELECT date '2026-03-01' + i, 'n' || t, 1000000 + (t * 300 - 2000) * i + (i * i * 7919 + t * 104729) % 20011
FROM generate_series(1, 20) AS t, generate_series(0, 27) AS i WHERE (i * t) % 5 <> 1;
SELECT count(*), bool_and(g.growth_per_week = m.per_week) AS same
FROM meter.storage_growth('2026-03-28 12:00+00') AS g
JOIN LATERAL (
	SELECT round(7 * percentile_cont(0.5) WITHIN GROUP (ORDER BY (b.bytes - a.bytes)::float8 / (b.day - a.day)))::bigint AS per_week
	FROM meter.storage_sample AS a JOIN meter.storage_sample AS b ON a.tenant = b.tenant AND a.day < b.day
	WHERE a.tenant = g.tenant) AS m ON true
WHERE g.tenant LIKE 'n_%' AND g.tenant <> 'none';

-- Who may.
CREATE ROLE regress_storage;
SELECT meter_grant('regress_storage', 'analyst');
SET ROLE regress_storage;
SELECT count(*) FROM meter.storage_growth('2026-03-28 12:00+00');
SELECT count(*) FROM meter.storage_growth;
SELECT days_until_limit FROM meter_forecast_storage(1100000, 'line', '2026-03-28 12:00+00');
SELECT meter_sample_storage();
SELECT * FROM meter.storage_files(1);
RESET ROLE;
SELECT meter_grant('regress_storage', 'admin');
SET ROLE regress_storage;
DELETE FROM meter.storage_sample;
SELECT meter_sample_storage();
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_storage;
DROP ROLE regress_storage;
DROP SCHEMA regress_storage_a, regress_storage_b, regress_storage_empty CASCADE;

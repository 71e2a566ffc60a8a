-- tenants: names, plans, time zones
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
INSERT INTO meter.plan (plan) VALUES ('free'), ('pro');

INSERT INTO meter.tenant (tenant) VALUES ('acme');
INSERT INTO meter.tenant (tenant, plan, time_zone) VALUES
	('globex', 'pro', 'Asia/Tokyo'), ('hooli', 'free', 'america/new_york'), (repeat('x', 128), NULL, 'Etc/GMT+12');
SELECT tenant, plan, time_zone, now() - created_at < '1 minute' AS just_now FROM meter.tenant WHERE tenant = 'acme';
SELECT left(tenant, 8) AS tenant, plan, time_zone FROM meter.tenant ORDER BY tenant;

-- time zones that are known, and nothing of the session changes
SET timezone = 'Asia/Kolkata';
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('utc', 'UTC'), ('gmt', 'GMT'), ('etc', 'Etc/UTC'),
	('fixed', 'Etc/GMT-14'), ('dashes', 'America/Port-au-Prince'),
	('three', 'America/Argentina/Buenos_Aires');
SHOW timezone;
BEGIN;
SET LOCAL timezone = 'Europe/Paris';
UPDATE meter.tenant SET time_zone = 'Europe/London' WHERE tenant = 'acme';
SHOW timezone;
COMMIT;
SHOW timezone;
SELECT tenant, time_zone FROM meter.tenant WHERE tenant = 'acme';
SET timezone = 'UTC';

-- those that are not
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'Mars/Olympus');
\set VERBOSITY terse
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', NULL);
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', '');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'Europe/Londn');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'Europe');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', ' UTC');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', '../../../etc/passwd');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'default');
-- what SET timezone takes all the same: offsets, POSIX's form, what counts as a number
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', '2');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', '-5.5');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'UTC+2');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', '<+02>-2');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'Europe/Londn5');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'Etc/GMT+20');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'INTERVAL ''2'' HOUR');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'NaN');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'infinity');
-- abbreviations, also those that are names of zones
\set VERBOSITY default
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'PDT');
\set VERBOSITY terse
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'CET');
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('zone', 'est');
UPDATE meter.tenant SET time_zone = 'Mars/Olympus' WHERE tenant = 'acme';
COPY meter.tenant (tenant, time_zone) FROM STDIN;
zone	Mars/Olympus
\.
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('acme', 'UTC')
ON CONFLICT (tenant) DO UPDATE SET time_zone = 'Mars/Olympus';
SELECT time_zone FROM meter.tenant WHERE tenant = 'acme';

-- names that are not known any more stand for UTC
SELECT name, meter.known_time_zone(name) FROM unnest(ARRAY['Asia/Tokyo', 'asia/tokyo', 'UTC', 'Mars/Olympus', '', NULL]) AS name;
SELECT meter.known_time_zone(repeat('x', 1000));

-- what cannot be a tenant
INSERT INTO meter.tenant (tenant) VALUES (NULL);
INSERT INTO meter.tenant (tenant) VALUES ('');
INSERT INTO meter.tenant (tenant) VALUES (' ');
INSERT INTO meter.tenant (tenant) VALUES (repeat('x', 129));
INSERT INTO meter.tenant (tenant) VALUES (E'a\nb');
INSERT INTO meter.tenant (tenant) VALUES (E'a\x7f');
INSERT INTO meter.tenant (tenant) VALUES ('acme');
INSERT INTO meter.tenant (tenant, plan) VALUES ('new', 'gold');

-- the trigger functions are nothing to call
SELECT meter_tenant_changed();
SELECT meter.tenant_time_zone_check();
TRUNCATE meter.tenant;
SELECT count(*) FROM meter.tenant;

-- what bills need
\set VERBOSITY default
SET datestyle = 'ISO, YMD';
INSERT INTO meter.tenant (tenant) VALUES ('plain');
INSERT INTO meter.tenant (tenant, plan, status, started_on, billing_anchor, currency, tax_percent, customer) VALUES
	('full', 'pro', 'suspended', '2026-01-31', 31, 'EUR', 19.6, 'cus_123'), ('most', NULL, 'cancelled', '1999-12-31', 1, 'JPY', 100, repeat('x', 255));
SELECT tenant, plan, status, started_on, billing_anchor, currency, tax_percent, left(customer, 10) AS customer FROM meter.tenant ORDER BY tenant;
\set VERBOSITY terse
UPDATE meter.tenant SET status = 'deleted' WHERE tenant = 'plain';
UPDATE meter.tenant SET status = NULL WHERE tenant = 'plain';
UPDATE meter.tenant SET started_on = 'infinity' WHERE tenant = 'plain';
UPDATE meter.tenant SET started_on = '-infinity' WHERE tenant = 'plain';
UPDATE meter.tenant SET billing_anchor = 0 WHERE tenant = 'plain';
UPDATE meter.tenant SET billing_anchor = 32 WHERE tenant = 'plain';
UPDATE meter.tenant SET billing_anchor = NULL WHERE tenant = 'plain';
UPDATE meter.tenant SET currency = 'euro' WHERE tenant = 'plain';
UPDATE meter.tenant SET currency = '' WHERE tenant = 'plain';
UPDATE meter.tenant SET tax_percent = -1 WHERE tenant = 'plain';
UPDATE meter.tenant SET tax_percent = 100.1 WHERE tenant = 'plain';
UPDATE meter.tenant SET tax_percent = 'NaN' WHERE tenant = 'plain';
UPDATE meter.tenant SET tax_percent = NULL WHERE tenant = 'plain';
UPDATE meter.tenant SET customer = '' WHERE tenant = 'plain';
UPDATE meter.tenant SET customer = repeat('x', 256) WHERE tenant = 'plain';
UPDATE meter.tenant SET customer = E'cus\n1' WHERE tenant = 'plain';

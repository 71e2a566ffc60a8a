-- hosting_platform.sql: a hosting platform's prices, a month of usage, its bills
--
-- Run it in a database of its own:
--
--	createdb hosting
--	psql -d hosting -c 'CREATE EXTENSION meter CASCADE' -f hosting_platform.sql
--
-- The platform has three tiers. Whatever the tier, it charges for storage,
-- virtual servers and outbound transfer; API requests have a price by tier.

-- the months are past, and stay so; for the background worker, too
SET meter.retention = 0;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET meter.retention = 0', current_database()); END $$;
SET timezone = 'UTC';

-- --- what is metered ----------------------------------------------------------

-- Storage is a level: each sample holds until the next one. The others add up.
INSERT INTO meter.metric (metric, kind, unit, description) VALUES
	('api_requests', 'counter', 'request', 'calls of the API'),
	('storage_gb', 'gauge', 'GB', 'storage in use'),
	('vps_hours', 'counter', 'h', 'virtual servers that ran, hour by hour'),
	('transfer_gb', 'counter', 'GB', 'outbound transfer')
ON CONFLICT (metric) DO UPDATE SET unit = EXCLUDED.unit, description = EXCLUDED.description;

-- --- tiers and prices ---------------------------------------------------------

INSERT INTO meter.plan (plan, description) VALUES
	('free', 'to try it'), ('pro', 'for businesses'), ('enterprise', 'for large ones');
INSERT INTO meter.plan_version (plan, base_price, currency) VALUES
	('free', 0, 'USD'), ('pro', 29, 'USD'), ('enterprise', 299, 'USD');

-- API requests: what is included, and what each one beyond costs. Those of the
-- free tier are refused beyond (see meter.rate_limit below), so they cost nothing.
INSERT INTO meter.price (price, plan, metric, model, params, included, unit) VALUES
	('API requests', 'free', 'api_requests', 'per_unit', '{"unit_amount": 0}', 10000, 'request'),
	('API requests', 'pro', 'api_requests', 'per_unit', '{"unit_amount": "0.001"}', 100000, 'request'),
	('API requests', 'enterprise', 'api_requests', 'per_unit', '{"unit_amount": "0.0005"}', 1000000, 'request');

-- $0.10 for a GB-month: the month's average, weighted by time
INSERT INTO meter.price (price, metric, aggregation, model, params, unit) VALUES
	('Storage', 'storage_gb', 'weighted_avg', 'per_unit', '{"unit_amount": "0.10"}', 'GB-month');

-- $5 for a VPS-month, which has 730 hours
INSERT INTO meter.price (price, metric, model, params, divisor, unit) VALUES
	('Virtual servers', 'vps_hours', 'per_unit', '{"unit_amount": 5}', 730, 'VPS-month');

-- $0.05 for a GB
INSERT INTO meter.price (price, metric, model, params, unit) VALUES
	('Outbound transfer', 'transfer_gb', 'per_unit', '{"unit_amount": "0.05"}', 'GB');

INSERT INTO meter.rate_limit (plan, kind, per, max, name) VALUES
	('free', 'window', 'month', 10000, 'requests of the free tier');

-- --- three tenants and their September ----------------------------------------

INSERT INTO meter.tenant (tenant, plan, started_on) VALUES
	('blog', 'free', '2026-08-01'),
	('shop', 'pro', '2026-08-01'),
	('bank', 'enterprise', '2026-08-01');

-- Requests, as a gateway reports them once an hour: 720 hours of September.
-- blog 720 * 10 = 7 200; shop 720 * 190 + 700 = 137 500;
-- bank 720 * 1 736 + 80 = 1 250 000
SELECT count(meter_track(v.tenant, 'api_requests', v.requests,
	endpoint => '/api/v1/vps', method => 'GET', at => h.hour)) AS reports
FROM generate_series(timestamptz '2026-09-01', '2026-09-30 23:00', interval '1 hour') AS h(hour)
CROSS JOIN (VALUES ('blog', 10), ('shop', 190), ('bank', 1736)) AS v(tenant, requests);
SELECT count(meter_track(v.tenant, 'api_requests', v.requests,
	endpoint => '/api/v1/vps', method => 'POST', at => '2026-09-30 23:59:59')) AS reports
FROM (VALUES ('shop', 700), ('bank', 80)) AS v(tenant, requests);

-- Storage. blog: 2 GB all month. shop: 40 GB, and 70 from the 16th on.
-- bank: 500 GB, 800 from the 11th and 650 from the 21st on.
SELECT count(meter_track(v.tenant, 'storage_gb', v.gb, at => v.at)) AS samples
FROM (VALUES
	('blog', 2, timestamptz '2026-08-20'),
	('shop', 40, '2026-08-20'), ('shop', 70, '2026-09-16'),
	('bank', 500, '2026-08-20'), ('bank', 800, '2026-09-11'), ('bank', 650, '2026-09-21')
) AS v(tenant, gb, at);

-- Virtual servers. shop: one all month, and a second one for 100 hours: 820.
-- bank: ten all month: 7 200.
SELECT count(meter_track(v.tenant, 'vps_hours', v.servers, at => h.hour)) AS hours
FROM generate_series(timestamptz '2026-09-01', '2026-09-30 23:00', interval '1 hour') AS h(hour)
CROSS JOIN LATERAL (VALUES
	('shop', CASE WHEN h.hour < timestamptz '2026-09-01' + interval '100 hours' THEN 2 ELSE 1 END),
	('bank', 10)
) AS v(tenant, servers);

-- Outbound transfer: blog 1.5 GB, shop 120.4 GB, bank 3 333.3 GB.
SELECT count(meter_track(v.tenant, 'transfer_gb', v.gb, at => v.at)) AS transfers
FROM (VALUES
	('blog', 1.5, timestamptz '2026-09-10 12:00'),
	('shop', 100.4, '2026-09-05 08:00'), ('shop', 20, '2026-09-25 20:00'),
	('bank', 3333.3, '2026-09-15 00:00')
) AS v(tenant, gb, at);

SELECT appended FROM meter_flush();
SELECT meter_rollup();

-- --- the bills ----------------------------------------------------------------

-- A preview, at any time, also while the month runs. By hand:
--
--	                   blog                shop                      bank
--	base               0                   29                        299
--	API requests       7 200 of 10 000     37 500 * 0.001            250 000 * 0.0005
--	                   0                   37.50                     125.00
--	Storage            2 * 0.10            (40 + 70) / 2 * 0.10      (500 + 800 + 650) / 3 * 0.10
--	                   0.20                5.50                      65.00
--	Virtual servers    none                820 / 730 * 5             7 200 / 730 * 5
--	                   0                   5.616... = 5.62           49.315... = 49.32
--	Outbound transfer  1.5 * 0.05 = 0.075  120.4 * 0.05              3 333.3 * 0.05 = 166.665
--	                   0.08                6.02                      166.67
--	total              0.28                83.64                     704.99
SELECT kind, price, quantity, billed_quantity, unit, amount
FROM meter_bill('shop', '2026-09-01') ORDER BY line;

-- Close the month: for all tenants at once. The grace for late usage has passed,
-- so the bills are final.
CALL meter_close_month('2026-09-01');

SELECT tenant, status, currency, total FROM meter.bill WHERE month = '2026-09-01' ORDER BY total;

SELECT tenant, price, billed_quantity, unit, amount
FROM meter.bill_line WHERE month = '2026-09-01' AND amount <> 0 ORDER BY tenant, line;

-- A final bill stays as it is. What comes late is on the next one: shop has made
-- 2 500 requests more, which cost 2 500 * 0.001 = 2.50.
SELECT meter_track('shop', 'api_requests', 2500, at => '2026-09-30 12:00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT kind, price, for_month, billed_quantity, amount
FROM meter_bill('shop', '2026-10-01') WHERE kind = 'delta' ORDER BY line;

-- --- each tenant in its own schema ---------------------------------------------

-- Schemas tenant_blog, tenant_shop and tenant_bank, with a role for each. (Roles
-- are the whole server's: drop them with meter_drop_tenant('blog', 'drop').)
SELECT meter_create_tenant(tenant) FROM meter.tenant ORDER BY tenant;

CREATE TABLE tenant_shop.site (site text PRIMARY KEY);
INSERT INTO tenant_shop.site VALUES ('shop.example'), ('blog.shop.example');
CREATE TABLE tenant_bank.site (site text PRIMARY KEY);
INSERT INTO tenant_bank.site VALUES ('bank.example');

-- In postgresql.conf, for all sessions:
SET meter.isolation = enforce;

-- What the middleware does for each request, in the place of SET search_path.
BEGIN;
SELECT meter_set_tenant('shop', local => true);
SELECT count(*) AS sites FROM site;
COMMIT;

-- A query with a wrong schema does not get through, and is recorded.
DO $$
BEGIN
	PERFORM meter_set_tenant('shop', local => true);
	PERFORM site FROM tenant_bank.site;
EXCEPTION WHEN insufficient_privilege THEN
	RAISE NOTICE '%', SQLERRM;
END
$$;
SELECT appended FROM meter_flush();
SELECT tenant, foreign_tenant, object, command, refused FROM meter.isolation_violation;

-- Nothing in the catalogs leads from one tenant to another.
SELECT count(*) AS leaks FROM meter_isolation_audit();

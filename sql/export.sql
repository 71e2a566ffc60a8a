-- meter_export(): CSV and JSON, COPY of views, and the view meter.focus
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;
-- the views of costs take longer to compile than to read
SET jit = off;
\pset format unaligned
\pset tuples_only on

-- What cannot be exported.
SELECT meter_export('tenants', '2026-01-01', '2027-01-01');
SELECT meter_export('usage_hourly; DROP TABLE meter.event', '2026-01-01', '2027-01-01');
SELECT meter_export('usage_hourly', '2026-01-01', '2027-01-01', 'xml');
SELECT meter_export(NULL, '2026-01-01', '2027-01-01');
SELECT meter_export('bills', NULL, '2027-01-01');
SELECT meter_export('bills', '2026-01-01', NULL);
SELECT meter_export('bills', '2026-01-01', '2027-01-01', NULL);
SELECT meter_export('bills', '2026-01-01', '2026-01-01');
SELECT meter_export('bills', 'infinity', '-infinity');
-- Nothing: a header, and no object.
SELECT meter_export(w, '2026-01-01', '2027-01-01') FROM unnest('{events,usage_hourly,usage_daily,usage_monthly,users_daily,bills,bill_lines,costs,focus,alerts,incidents}'::text[]) AS w;
SELECT meter_export(w, '2026-01-01', '2027-01-01', 'jsonl') FROM unnest('{events,usage_hourly,usage_daily,usage_monthly,users_daily,bills,bill_lines,costs,focus,alerts,incidents}'::text[]) AS w;

-- Fields that need quotes; null is nothing.
INSERT INTO meter.metric (metric, kind, dimensions) VALUES ('tokens', 'counter', '{model,region}'), ('gb', 'gauge', '{}');
UPDATE meter.metric SET unit = 'token' WHERE metric = 'tokens';
SELECT meter_track('a,b', 'tokens', 1.50, at => '2026-03-01 00:30+00', service => 'say "hi"', endpoint => '/x', status => 200, cost => 0.010,
	metadata => '{"model": "gpt-4", "region": "eu"}');
SELECT meter_track('a,b', 'tokens', 2, at => '2026-03-01 00:59:59.999999+00', service => 'say "hi"', endpoint => '/x', status => 500,
	metadata => '{"model": "gpt-4", "region": "eu"}');
SELECT meter_track(E'line\\x', 'tokens', 3, at => '2026-03-31 23:30+00', endpoint => 'ä', user_id => 'u');
SELECT meter_track('late', 'tokens', 4, at => '2026-04-01 00:00+00');
SELECT meter_track('late', 'gb', 10, at => '2026-03-31 12:00+00');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT meter_export('usage_hourly', '2026-03-01', '2026-04-01');
SELECT meter_export('usage_hourly', '2026-03-01', '2026-04-01', 'jsonl');
SELECT meter_export('usage_daily', '2026-03-31', '2026-04-02');
-- A month: 2 events of 3.50 of one group, 1 of 3, and the level of 10 for the last 12 hours of March.
SELECT meter_export('usage_monthly', '2026-03-01', '2026-04-01');
SELECT meter_export('users_daily', '2026-03-01', '2026-04-01');
-- One tenant; none is no error.
SELECT meter_export('usage_daily', '2026-03-01', '2026-04-02', 'csv', 'late');
SELECT meter_export('usage_daily', '2026-03-01', '2026-04-02', 'jsonl', tenant => 'nobody');
-- Events, by their position; when they came in is cut off.
SELECT meter_track('=tenant', 'tokens', 1, at => '2025-07-01 10:00:00.000001+00', service => '=1+1', endpoint => '/x', method => 'GET', user_id => '-1',
	error_message => E'@two\nlines, "a" \\', latency_ms => 12.3456, idempotency_key => '+k', request_id => E'a b', metadata => '{"model": "=1", "n": 1.10}');
SELECT appended FROM meter_flush();
SELECT meter_correct('=tenant', '+k', quantity => 0.5);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT regexp_replace(meter_export('events', '2025-07-01 10:00:00.000001+00', '2025-07-01 10:00:00.000002+00'), ',[^,]*$', '');
SELECT regexp_replace(meter_export('events', '2025-07-01', '2025-07-02', 'jsonl'), ',"received_at":"[^"]*Z"}$', '}');
-- All events, whatever the bounds, and a line of JSON is one line.
SELECT count(*), count(*) FILTER (WHERE l ~ '[[:cntrl:]]') FROM meter_export('events', '-infinity', 'infinity', 'jsonl') AS l;
-- A spreadsheet gets no formulas; numbers and JSON are what they were.
SELECT regexp_replace(meter_export('events', '2025-07-01', '2025-07-02', 'spreadsheet', '=tenant'), ',[^,]*$', '') LIMIT 2;
SELECT meter_export('usage_hourly', '2025-07-01', '2025-07-02', 'spreadsheet');
-- Latencies of an hour, of a day and of a month: the average is exact, percentiles are within 1 %, as
-- 1 to 100 ms have 50, 95 and 99; digits do not depend on settings.
SELECT count(*) FROM (SELECT meter_track('slow', latency_ms => i, user_id => 'u' || i % 7, at => '2025-08-01 12:00+00') FROM generate_series(1, 100) AS i) AS x;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SET extra_float_digits = 0;
SELECT w, l ->> 'unique_users' AS users, l ->> 'latency_avg' AS avg, abs((l ->> 'p50')::numeric - 50) <= 0.5 AS p50,
	abs((l ->> 'p95')::numeric - 95) <= 0.95 AS p95, abs((l ->> 'p99')::numeric - 99) <= 0.99 AS p99
FROM unnest('{usage_hourly,usage_daily,usage_monthly}'::text[]) AS w,
	LATERAL (SELECT meter_export(w, '2025-08-01', '2025-09-01', 'jsonl', 'slow')::jsonb AS l) AS x;
RESET extra_float_digits;
-- Times are those of UTC, and numbers what they are, whatever the session has; bounds are the session's.
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SELECT meter_export('usage_hourly', '01.03.2026 09:00', '01.03.2026 10:00');
SELECT count(*) FROM meter_export('usage_hourly', '01.04.2026', '01.05.2026', 'jsonl');
RESET datestyle;
SET timezone = 'UTC';
-- Another search_path and objects of the same names change nothing.
CREATE SCHEMA evil;
CREATE FUNCTION evil.to_char(timestamp, text) RETURNS text LANGUAGE SQL AS $$SELECT 'evil'$$;
SET search_path = evil, pg_catalog, public;
SELECT meter_export('usage_hourly', '2026-03-31', '2026-04-01');
RESET search_path;
DROP FUNCTION evil.to_char;
DROP SCHEMA evil;
-- Only so many of the lines, and several at the same time.
SELECT meter_export('usage_hourly', '2026-01-01', '2027-01-01') LIMIT 2;
SELECT count(*) FROM pg_cursors;
SELECT count(*) FROM (SELECT meter_export('usage_hourly', '2026-01-01', '2027-01-01'), meter_export('usage_daily', '2026-01-01', '2026-03-02')) AS x;
SELECT count(*) FROM pg_cursors;
BEGIN;
DECLARE c CURSOR FOR SELECT meter_export('usage_hourly', '2026-01-01', '2027-01-01');
FETCH 1 FROM c;
SELECT count(*) FROM pg_cursors;
CLOSE c;
SELECT count(*) FROM pg_cursors;
ROLLBACK;
-- More than a batch.
SELECT count(*) FROM (SELECT meter_track('many', 'tokens', i, at => '2025-01-01'::timestamptz + i * interval '1 hour') FROM generate_series(1, 2500) AS i) AS x;
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT count(*), count(DISTINCT l), sum((l::jsonb ->> 'quantity')::numeric) FROM (SELECT meter_export('usage_hourly', '2025-01-01', '2026-01-01', 'jsonl') AS l) AS x;
SELECT count(*) FROM meter_export('usage_hourly', '2025-01-01', '2026-01-01');

-- Memory stays what it is, in COPY and with cursors: the backend's, looked at now and then, while
-- many times as much is exported.  What a sort takes is work_mem.
CREATE FUNCTION peak() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	n bigint := current_setting('test.n')::bigint + 1;
BEGIN
	PERFORM set_config('test.n', n::text, false);
	IF n % 1000 = 1 THEN
		PERFORM set_config('test.peak', GREATEST(current_setting('test.peak')::bigint,
			(SELECT sum(total_bytes) FROM pg_backend_memory_contexts))::text, false);
	END IF;
END
$$;
INSERT INTO meter.usage_hourly (hour, tenant, metric, service, endpoint, dims, events, successes, errors, errors_4xx, errors_5xx, errors_429, folded,
	first_at, last_at, last_seq, quantity, quantity_min, quantity_max, quantity_first, quantity_last)
SELECT '2026-03-05', 't' || i, 'tokens', repeat('s', 200), '/x', '{}', 1, 1, 0, 0, 0, 0, 0, '2026-03-05', '2026-03-05', 0, 1, 1, 1, 1, 1
FROM generate_series(1, 50000) AS i;
SELECT set_config('test.n', '0', false), set_config('test.peak', '0', false);
COPY (SELECT meter_export('usage_hourly', '2026-03-05', '2026-03-06', 'jsonl', 't1'), peak()) TO '/dev/null';
SELECT set_config('test.before', current_setting('test.peak'), false) > '0' AS known, set_config('test.n', '0', false);
COPY (SELECT meter_export('usage_hourly', '2026-03-05', '2026-03-06', 'jsonl'), peak()) TO '/dev/null';
SELECT current_setting('test.n') AS lines, current_setting('test.peak')::bigint - current_setting('test.before')::bigint < 8 * 1048576 AS flat;
SELECT sum(octet_length(l)) > 25 * 1048576 AS much FROM meter_export('usage_hourly', '2026-03-05', '2026-03-06', 'jsonl') AS l;
SELECT set_config('test.n', '0', false), set_config('test.peak', '0', false);
BEGIN;
DECLARE c CURSOR FOR SELECT meter_export('usage_hourly', '2026-03-05', '2026-03-06'), peak();
MOVE 1 FROM c;
SELECT set_config('test.before', current_setting('test.peak'), false) > '0' AS known, set_config('test.n', '0', false);
MOVE ALL FROM c;
SELECT current_setting('test.n') AS lines, current_setting('test.peak')::bigint - current_setting('test.before')::bigint < 8 * 1048576 AS flat;
-- a savepoint that is rolled back takes the rows with it that were to be read in it
CLOSE c;
DECLARE c CURSOR FOR SELECT meter_export('usage_hourly', '2026-03-05', '2026-03-06');
SAVEPOINT s;
MOVE 1 FROM c;
ROLLBACK TO s;
MOVE ALL FROM c;
ROLLBACK;
DELETE FROM meter.usage_hourly WHERE hour = '2026-03-05';
DROP FUNCTION peak();

-- COPY of lines into a file: what is written is what was exported, where no field has an end of line.
CREATE TEMP TABLE exported AS SELECT meter_export('usage_hourly', '-infinity', 'infinity', f) AS line FROM unnest('{csv,jsonl}'::text[]) AS f;
SELECT current_setting('data_directory') || '/meter_export.test' AS file \gset
COPY (SELECT line FROM exported) TO :'file' WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02');
SELECT pg_read_file(:'file') = (SELECT string_agg(line || E'\n', '') FROM exported) AS same;
COPY (SELECT 1 WHERE false) TO :'file';

-- Bills, as closing a month writes them.
INSERT INTO meter.bill (tenant, month, revision, bill_id, status, period_from, period_to, currency, subtotal, discount, credit, tax, total, lines,
	created_at, finalized_at, voided_at, void_reason) VALUES
	('acme', '2026-03-01', 1, '00000000-0000-0000-0000-000000000001', 'void', '2026-03-01', '2026-04-01', 'USD', 1, 0, 0, 0, 1, 1,
		'2026-04-01 01:00', NULL, '2026-04-02', 'wrong, "all" of it'),
	('acme', '2026-03-01', 2, '00000000-0000-0000-0000-000000000002', 'final', '2026-03-01', '2026-04-01', 'USD', 112.35, -10, -2.35, 20, 120, 6,
		'2026-04-02 01:00', '2026-04-04', NULL, NULL),
	('bolt', '2026-03-01', 1, '00000000-0000-0000-0000-000000000003', 'draft', '2026-02-28 18:30+00', '2026-03-31 18:30+00', 'INR', 5, 0, 0, 0, 5, 1,
		'2026-04-01 01:00', NULL, NULL, NULL);
INSERT INTO meter.bill_line (tenant, month, revision, line, kind, price, price_id, metric, dims, from_at, to_at, for_month, quantity, billed_quantity, unit, amount_exact, amount, details) VALUES
	('acme', '2026-03-01', 1, 1, 'usage', 'x', NULL, 'tokens', '{}', '2026-03-01', '2026-04-01', '2026-03-01', 1, 1, NULL, 1, 1, '{}'),
	('acme', '2026-03-01', 2, 1, 'base', 'pro', NULL, NULL, NULL, '2026-03-01', '2026-04-01', '2026-03-01', NULL, NULL, NULL, 100, 100, '{}'),
	('acme', '2026-03-01', 2, 2, 'usage', 'gpt, large', '00000000-0000-0000-0000-00000000000a', 'tokens', '{"region": "eu"}', '2026-03-01', '2026-04-01', '2026-03-01',
		20345, 20.345, 'thousand tokens', 12.345, 12.35, '{}'),
	('acme', '2026-03-01', 2, 3, 'delta', 'gpt, large', '00000000-0000-0000-0000-00000000000a', 'tokens', '{}', '2026-02-01', '2026-03-01', '2026-02-01',
		-5, -0.005, 'thousand tokens', 0, 0, '{}'),
	('acme', '2026-03-01', 2, 4, 'coupon', 'WELCOME', NULL, NULL, NULL, NULL, NULL, '2026-03-01', NULL, NULL, NULL, -10, -10, '{}'),
	('acme', '2026-03-01', 2, 5, 'credit', 'sorry', NULL, NULL, NULL, NULL, NULL, '2026-03-01', NULL, NULL, NULL, -2.35, -2.35, '{}'),
	('acme', '2026-03-01', 2, 6, 'tax', NULL, NULL, NULL, NULL, NULL, NULL, '2026-03-01', NULL, NULL, NULL, 20, 20, '{}'),
	('bolt', '2026-03-01', 1, 1, 'minimum', NULL, NULL, NULL, NULL, '2026-02-28 18:30+00', '2026-03-31 18:30+00', '2026-03-01', NULL, NULL, NULL, 5, 5, '{}');
SELECT meter_export('bills', '2026-03-01', '2026-04-01');
SELECT meter_export('bills', '2026-03-01', '2026-04-01', 'jsonl');
SELECT meter_export('bill_lines', '2026-03-01', '2026-04-01');
SELECT count(*) FROM meter_export('bill_lines', '2026-03-02', '2026-04-01', 'jsonl');
SELECT w, count(*), count(*) FILTER (WHERE l ~ '"(tenant|BillingAccountId)":"bolt"') FROM unnest('{bills,bill_lines,focus}'::text[]) AS w,
	LATERAL meter_export(w, '2026-03-01', '2026-04-01', 'jsonl', 'bolt') AS l GROUP BY w ORDER BY w;
INSERT INTO meter.cost_rate (component, metric, rate) VALUES ('llm, large', 'tokens', 0.5);
SELECT meter_export('costs', '2026-03-01', '2026-05-01');
SELECT meter_export('costs', '2026-03-01', '2026-05-01', 'jsonl', 'late');

-- Alerts and incidents, by when they began, in whatever time zone.
INSERT INTO meter.incident (incident_id, tenant, service, severity, status, title, opened_at) VALUES
	('00000000-0000-0000-0000-0000000000c1', 'acme', NULL, 'critical', 'open', '=errors', '2026-03-01 00:00:30+00'),
	('00000000-0000-0000-0000-0000000000c2', NULL, 's', 'warning', 'open', 'slow, very', '2026-03-31 23:59:59+00');
INSERT INTO meter.alert (alert_id, rule, signal, tenant, service, severity, state, title, value, peak, threshold, started_at, measured_at, fired_at, incident_id) VALUES
	('00000000-0000-0000-0000-0000000000a1', 'errors', 'error_rate', 'acme', NULL, 'critical', 'firing', '=errors', 12.50, 20, 10,
		'2026-03-01 00:00+00', '2026-03-01 00:05+00', '2026-03-01 00:00:30+00', '00000000-0000-0000-0000-0000000000c1');
SET timezone = 'Asia/Kathmandu';
SELECT meter_export(w, '2026-03-01 05:45', '2026-04-01 05:44:59') FROM unnest('{alerts,incidents}'::text[]) AS w;
SELECT meter_export(w, '2026-03-01 05:45', '2026-04-01 05:45', 'jsonl') FROM unnest('{alerts,incidents}'::text[]) AS w;
SELECT meter_export(w, '2026-03-01', '2026-05-01', 'spreadsheet', 'acme') FROM unnest('{alerts,incidents}'::text[]) AS w;
SET timezone = 'UTC';

-- FOCUS: the columns that version 1.1 wants of everybody, all there and none of them null, but for
-- ChargeClass, and PricingQuantity and PricingUnit of what has no price.
SELECT c FROM unnest('{BilledCost,BillingAccountId,BillingAccountName,BillingCurrency,BillingPeriodEnd,BillingPeriodStart,
	ChargeCategory,ChargeClass,ChargeDescription,ChargePeriodEnd,ChargePeriodStart,ContractedCost,EffectiveCost,InvoiceIssuerName,
	ListCost,PricingQuantity,PricingUnit,ProviderName,PublisherName,ServiceCategory,ServiceName}'::text[]) AS c
WHERE c NOT IN (SELECT attname FROM pg_attribute WHERE attrelid = 'meter.focus'::regclass);
SELECT f."x_Line", n.key FROM meter.focus AS f CROSS JOIN LATERAL jsonb_each(to_jsonb(f)) AS n
WHERE n.value = 'null' AND n.key IN ('BilledCost', 'BillingAccountId', 'BillingAccountName', 'BillingCurrency', 'BillingPeriodEnd', 'BillingPeriodStart',
	'ChargeCategory', 'ChargeDescription', 'ChargePeriodEnd', 'ChargePeriodStart', 'ContractedCost', 'EffectiveCost', 'InvoiceIssuerName',
	'ListCost', 'ProviderName', 'PublisherName', 'ServiceCategory', 'ServiceName');
-- What else version 1.1 says must (not) be null, by ChargeCategory and ChargeClass, and which values
-- go together; bolt's draft has a correction of each kind of line, and a filter, too.
BEGIN;
INSERT INTO meter.bill_line (tenant, month, revision, line, kind, price, price_id, metric, dims, from_at, to_at, for_month,
	quantity, billed_quantity, unit, amount_exact, amount, details) VALUES
	('bolt', '2026-03-01', 1, 2, 'delta', 'pro', NULL, NULL, NULL, '2026-02-01', '2026-03-01', '2026-02-01', NULL, NULL, NULL, 1, 1, '{"of": "base"}'),
	('bolt', '2026-03-01', 1, 3, 'delta', 'WELCOME', NULL, NULL, NULL, '2026-02-01', '2026-03-01', '2026-02-01', NULL, NULL, NULL, -1, -1, '{"of": "coupon"}'),
	('bolt', '2026-03-01', 1, 4, 'delta', NULL, NULL, NULL, NULL, '2026-02-01', '2026-03-01', '2026-02-01', NULL, NULL, NULL, 1, 1, '{"of": "minimum"}'),
	('bolt', '2026-03-01', 1, 5, 'usage', 'gpt', '00000000-0000-0000-0000-00000000000a', 'tokens', '{"region": "eu", "tier": 1}', '2026-03-01', '2026-04-01', '2026-03-01',
		7, 7, NULL, 7, 7, '{}');
SELECT f."BillingAccountId", f."x_Line", r.broken FROM meter.focus AS f
CROSS JOIN LATERAL (SELECT f."ChargeClass" IS NULL AND f."ChargeCategory" IN ('Usage', 'Purchase') AS priced,
	f."ChargeCategory" = 'Tax' AS tax, f."ChargeCategory" = 'Usage' AS used) AS c
CROSS JOIN LATERAL (VALUES
	('ChargeCategory', f."ChargeCategory" IN ('Usage', 'Purchase', 'Tax', 'Credit', 'Adjustment')),
	('ChargeClass', f."ChargeClass" IS NULL OR f."ChargeClass" = 'Correction'),
	('ChargeFrequency', f."ChargeFrequency" IN ('One-Time', 'Recurring', 'Usage-Based')
		AND NOT (f."ChargeCategory" = 'Purchase' AND f."ChargeFrequency" = 'Usage-Based')),
	('PricingCategory', (f."PricingCategory" IS NOT NULL OR NOT c.priced) AND (f."PricingCategory" IS NULL OR NOT c.tax)),
	('PricingQuantity', (f."PricingQuantity" IS NOT NULL OR NOT c.priced) AND (f."PricingQuantity" IS NULL OR NOT c.tax)
		AND (f."PricingQuantity" >= 0 OR f."ChargeClass" = 'Correction') IS NOT FALSE),
	('PricingUnit', (f."PricingUnit" IS NOT NULL OR NOT c.priced) AND (f."PricingUnit" IS NULL OR NOT c.tax)),
	('SkuId', (f."SkuId" IS NOT NULL OR NOT c.priced) AND (f."SkuId" IS NULL OR NOT c.tax)),
	('SkuPriceId', (f."SkuPriceId" IS NOT NULL OR NOT c.priced) AND (f."SkuPriceId" IS NULL OR NOT c.tax)),
	('SkuMeter', (f."SkuMeter" IS NULL) = (f."SkuId" IS NULL)),
	('ConsumedQuantity', (f."ConsumedQuantity" IS NOT NULL OR NOT (c.priced AND c.used)) AND (f."ConsumedQuantity" IS NULL OR c.used)),
	('ConsumedUnit', (f."ConsumedUnit" IS NOT NULL OR NOT (c.priced AND c.used)) AND (f."ConsumedUnit" IS NULL OR c.used)),
	('RegionName', (f."RegionName" IS NULL) = (f."RegionId" IS NULL)),
	('Tags', NOT EXISTS (SELECT FROM jsonb_each(f."Tags") AS t WHERE jsonb_typeof(t.value) IN ('array', 'object')))
) AS r (broken, holds)
WHERE r.holds IS NOT TRUE ORDER BY 1, 2, 3;
SELECT "x_Line", "ChargeCategory", "ChargeClass", "ChargeFrequency", "SkuId", "SkuMeter", "SkuPriceId", "RegionId", "Tags"
FROM meter.focus WHERE "BillingAccountId" = 'bolt' AND "x_Month" = '2026-03-01' ORDER BY 1;
ROLLBACK;
SELECT sum("BilledCost") FROM meter.focus WHERE "BillingAccountId" = 'acme';
SELECT DISTINCT "ProviderName" = current_database(), "PublisherName" = current_database(), "InvoiceIssuerName" = current_database() FROM meter.focus;
INSERT INTO meter.focus_provider (provider_name, invoice_issuer_name) VALUES ('Example Cloud', 'Example Billing');
INSERT INTO meter.focus_provider (provider_name) VALUES ('Another');
INSERT INTO meter.focus_provider (only_row, provider_name) VALUES (false, 'Another');
INSERT INTO meter.focus_service (metric, service_name, service_category) VALUES ('tokens', 'Language models', 'AI and Machine Learning');
INSERT INTO meter.focus_service (metric, service_name, service_category) VALUES ('gb', 'Disks', 'Disks');
SELECT meter_export('focus', '2026-03-01', '2026-04-01');
SELECT meter_export('focus', '2026-03-01', '2026-04-01', 'jsonl') LIMIT 1;

-- A bill that closing has made: 100 for the plan, 7 tokens at 0.50, and 20 % tax: 124.20.  The
-- tokens cost us 3.50, so 100 of 103.50 are left.
INSERT INTO meter.plan (plan) VALUES ('pro');
INSERT INTO meter.plan_version (plan, base_price) VALUES ('pro', 100);
INSERT INTO meter.price (price, plan, metric, model, params) VALUES ('gpt', 'pro', 'tokens', 'per_unit', '{"unit_amount": 0.5}');
INSERT INTO meter.tenant (tenant, plan, started_on, tax_percent) VALUES ('real', 'pro', '2026-01-01', 20);
SELECT meter_track('real', 'tokens', 7, at => '2026-03-10');
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SET client_min_messages = warning;
CALL meter_close_month('2026-03-01');
RESET client_min_messages;
SELECT "BilledCost", "ChargeCategory", "ChargeDescription", "PricingQuantity", "PricingUnit", "ConsumedQuantity", "ConsumedUnit", "ServiceName", "SkuId"
FROM meter.focus WHERE "BillingAccountId" = 'real' AND "x_Month" = '2026-03-01' ORDER BY "x_Line";
SELECT b.total = sum(f."BilledCost") AS adds_up FROM meter.bill AS b JOIN meter.focus AS f ON f."InvoiceId" = b.bill_id::text WHERE b.tenant = 'real' GROUP BY b.total;
SELECT trim_scale(cost), revenue, trim_scale(margin), margin_percent FROM meter.cost_margin WHERE tenant = 'real' AND month = '2026-03-01';

-- Only who may read them may export them.
CREATE ROLE regress_analyst;
CREATE ROLE regress_app;
SELECT meter_grant('regress_analyst', 'analyst');
SELECT meter_grant('regress_app', 'app');
SET ROLE regress_analyst;
SELECT count(*) FROM unnest('{events,usage_hourly,usage_daily,usage_monthly,users_daily,bills,bill_lines,costs,focus,alerts,incidents}'::text[]) AS w, meter_export(w, '2026-01-01', '2026-02-01');
SELECT count(*) FROM meter.cost_margin;
RESET ROLE;
-- Every view can be copied out, by who may read it, as text, CSV and, for another server, as binary.
GRANT pg_write_server_files TO regress_analyst;
SET ROLE regress_analyst;
DO $$
DECLARE
	v regclass;
	format text;
BEGIN
	FOR v IN SELECT oid FROM pg_class WHERE relnamespace = 'meter'::regnamespace AND relkind = 'v' ORDER BY relname
	LOOP
		FOREACH format IN ARRAY ARRAY['text', 'csv', 'binary']
		LOOP
			EXECUTE format('COPY (SELECT * FROM %s) TO ''/dev/null'' WITH (FORMAT %s)', v, format);
		END LOOP;
	END LOOP;
END
$$;
RESET ROLE;
REVOKE pg_write_server_files FROM regress_analyst;
REVOKE SELECT ON meter.bill FROM regress_analyst;
SET ROLE regress_analyst;
\set VERBOSITY terse
SELECT meter_export('bills', '2026-01-01', '2026-02-01');
\set VERBOSITY default
RESET ROLE;
SET ROLE regress_app;
SELECT meter_export('usage_hourly', '2026-01-01', '2026-02-01');
RESET ROLE;
DROP OWNED BY regress_analyst, regress_app;
DROP ROLE regress_analyst, regress_app;

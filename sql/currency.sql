-- currencies: their digits, and rates between them
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET datestyle = 'ISO, YMD';

-- ISO 4217, list one
SELECT c AS currency, meter.currency_digits(c) AS digits
FROM unnest(ARRAY['EUR', 'USD', 'GBP', 'JPY', 'KRW', 'CLP', 'BHD', 'KWD', 'TND', 'CLF', 'UYW', 'XYZ', NULL]) AS c;
SELECT meter.currency_digits(c) AS digits, count(*), string_agg(c, ' ' ORDER BY c COLLATE "C") AS currencies
FROM unnest(ARRAY['BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV',
	'XAF', 'XOF', 'XPF', 'BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND', 'CLF', 'UYW', 'CHF', 'INR', 'MGA', 'MRU']) AS c
GROUP BY 1 ORDER BY 1;

INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES
	('EUR', 'USD', '2026-01-01', 1.10), ('EUR', 'USD', '2026-03-01', 1.20), ('USD', 'JPY', '2026-01-01', 150);
SELECT d AS day, meter.fx('EUR', 'USD', d::date)
FROM unnest(ARRAY['2026-01-01', '2026-02-28', '2026-03-01', '2030-01-01']) AS d;
SELECT meter.fx('EUR', 'EUR', '1999-01-01') AS same, meter.fx('EUR', NULL, '2026-01-01') IS NULL AS none;
INSERT INTO meter.fx_rate AS r (base, quote, valid_from, rate) VALUES ('EUR', 'USD', '2026-03-01', 1.25)
ON CONFLICT (base, quote, valid_from) DO UPDATE SET rate = EXCLUDED.rate;
SELECT meter.fx('EUR', 'USD', '2026-03-15');

-- before the first rate, the other direction, and by way of a third currency: no
SELECT meter.fx('EUR', 'USD', '2025-12-31');
SELECT meter.fx('EUR', 'USD', '2025-12-31', 'price', 'calls');
\set VERBOSITY terse
SELECT meter.fx('USD', 'EUR', '2026-03-01');
SELECT meter.fx('EUR', 'JPY', '2026-03-01');
SELECT meter.fx('eur', 'USD', '2026-03-01');

-- what cannot be a rate
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('eur', 'USD', '2026-01-01', 1);
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'US$', '2026-01-01', 1);
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'EUR', '2026-01-01', 1);
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'CHF', '2026-01-01', 0);
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'CHF', '2026-01-01', -1);
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'CHF', '2026-01-01', 'NaN');
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'CHF', '2026-01-01', 'Infinity');
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'CHF', '-infinity', 1);
INSERT INTO meter.fx_rate (base, quote, rate) VALUES ('EUR', 'CHF', 1);
INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'USD', '2026-01-01', 1);

-- A bill tells what needs the rate that is missing.
INSERT INTO meter.plan (plan) VALUES ('base'), ('least');
INSERT INTO meter.plan_version (plan, base_price, min_amount, currency) VALUES ('base', 5, NULL, 'GBP'), ('least', 0, 5, 'GBP');
INSERT INTO meter.tenant (tenant, plan, currency, started_on) VALUES
	('of base', 'base', 'EUR', '2026-02-01'), ('of least', 'least', 'EUR', '2026-02-01'), ('of price', NULL, 'EUR', '2026-02-01'),
	('of coupon', NULL, 'EUR', '2026-02-01'), ('of credit', NULL, 'EUR', '2026-02-01'), ('of gift', NULL, 'EUR', '2026-02-01');
INSERT INTO meter.price (price, tenant, metric, model, params, currency) VALUES ('all calls', 'of price', 'calls', 'per_unit', '{"unit_amount": 1}', 'GBP');
INSERT INTO meter.coupon (coupon, amount, currency) VALUES ('WELCOME', 5, 'GBP');
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from) VALUES ('of coupon', 'WELCOME', '2026-02-01');
INSERT INTO meter.credit (tenant, credit_id, amount, currency, valid_from, reason) VALUES
	('of credit', '00000000-0000-0000-0000-000000000001', 5, 'GBP', '2026-02-01', NULL),
	('of gift', '00000000-0000-0000-0000-000000000002', 5, 'GBP', '2026-02-01', 'goodwill');
\set VERBOSITY default
\set SHOW_CONTEXT never
DO $$
DECLARE
	who text;
	detail text;
BEGIN
	FOR who IN SELECT t.tenant FROM meter.tenant AS t ORDER BY t.tenant LOOP
		BEGIN
			PERFORM FROM meter_bill(who, '2026-02-01');
			RAISE INFO '%: a bill', who;
		EXCEPTION WHEN invalid_parameter_value THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			RAISE INFO '%: %. %', who, SQLERRM, detail;
		END;
	END LOOP;
END
$$;

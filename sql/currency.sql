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

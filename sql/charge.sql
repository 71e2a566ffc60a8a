SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS meter CASCADE;
RESET client_min_messages;

-- Charge models: worked examples, every error, and random prices against the
-- same models written in SQL.

--
-- Worked examples
--
SELECT meter_charge('flat', '{"amount": 49.99}', q) AS flat
FROM unnest(ARRAY[0, 7, 1000000]) AS q;
SELECT meter_charge('per_unit', '{"unit_amount": 5.12345}', 10) AS per_unit;
SELECT meter_charge('dynamic', '{}', 10.101 + 9.019) AS dynamic,
       meter_charge_events('dynamic', '{"markup": 1}', '{10.101, 9.019}') AS events,
       meter_charge('dynamic', '{"markup": 1.2}', 19.12) AS with_markup;

\set graduated '''{"tiers": [{"up_to": 10, "unit_amount": 10, "flat_amount": 2}, {"up_to": 20, "unit_amount": 5, "flat_amount": 3}, {"up_to": null, "unit_amount": 5, "flat_amount": 3}]}'''
SELECT q, meter_charge('graduated', :graduated, q) AS graduated
FROM unnest(ARRAY[0, 10, 11, 21]) AS q;
\set volume '''{"tiers": [{"up_to": 100, "unit_amount": 2, "flat_amount": 10}, {"up_to": 200, "unit_amount": 1}, {"unit_amount": 0.5, "flat_amount": 50}]}'''
SELECT q, meter_charge('volume', :volume, q) AS volume
FROM unnest(ARRAY[0, 100, 100.5, 101, 300]) AS q;
SELECT free, meter_charge('package', jsonb_build_object('package_size', 10, 'package_amount', 100, 'free_units', free), 121) AS package
FROM unnest(ARRAY[0, 10, 200, NULL]) AS free;
SELECT fixed, meter_charge_events('percentage', jsonb_build_object('rate_percent', 2.99, 'fixed_amount', fixed,
         'per_transaction_min_amount', 1.75, 'per_transaction_max_amount', 12), '{10, 80, 10000}') AS percentage
FROM unnest(ARRAY[0, 2]) AS fixed;
\set graduated_percentage '''{"tiers": [{"up_to": 10, "rate_percent": 1, "flat_amount": 200}, {"up_to": 20, "rate_percent": 2, "flat_amount": 300}, {"up_to": null, "rate_percent": 3, "flat_amount": 400}]}'''
SELECT q, meter_charge('graduated_percentage', :graduated_percentage, q) AS graduated_percentage
FROM unnest(ARRAY[11, 21]) AS q;

-- usage that comes late: what it costs with it, less what it cost before
SELECT meter_charge('volume', p, 16) - meter_charge('volume', p, 15) AS delta
FROM (VALUES ('{"tiers": [{"up_to": 5, "flat_amount": 100}, {"up_to": 10, "flat_amount": 150}, {"up_to": 15, "unit_amount": 10}, {"up_to": null, "unit_amount": 5}]}'::jsonb)) AS t (p);

-- the order of steps: unit price 10, 50 % discount, at most 100, 35 billed before
SELECT gross, gross * 0.5 - gross AS discount, least(gross * 0.5, 100 - 35) - gross * 0.5 AS capped,
       least(gross * 0.5, 100 - 35) AS net
FROM (SELECT meter_charge('per_unit', '{"unit_amount": 10}', 20) AS gross) AS t;
-- 1400 in thousands begun, half of one included
SELECT meter_charge('per_unit', '{"unit_amount": 10}', ceil(1400 / 1000.0) - 0.5) AS converted;

--
-- What the explanation says
--
SELECT * FROM meter_explain_charge('flat', '{"amount": 49.99}', 7);
SELECT * FROM meter_explain_charge('per_unit', '{"unit_amount": "5.12345"}', 10);
SELECT * FROM meter_explain_charge('graduated', :graduated, 0);
SELECT * FROM meter_explain_charge('graduated', :graduated, 10);
SELECT * FROM meter_explain_charge('graduated', :graduated, 21);
SELECT * FROM meter_explain_charge('graduated', '{"tiers": [{"unit_amount": 3}]}', 2.50);
SELECT * FROM meter_explain_charge('volume', :volume, 150);
SELECT * FROM meter_explain_charge('package', '{"package_size": 10, "package_amount": 100, "free_units": 10}', 121);
SELECT * FROM meter_explain_charge('package', '{"package_size": 10, "package_amount": 100, "free_units": 10}', 7);
SELECT * FROM meter_explain_charge('graduated_percentage', :graduated_percentage, 21);
SELECT * FROM meter_explain_charge('dynamic', '{"markup": 1.2}', 19.12);
SELECT * FROM meter_explain_charge('percentage', '{"rate_percent": 2.9, "fixed_amount": 0.3}', 100);
SELECT * FROM meter_explain_charge_events('percentage', '{"rate_percent": 2.99, "fixed_amount": 2, "per_transaction_min_amount": 3, "per_transaction_max_amount": 12, "free_amount": 15}', '{10, 25, 80, 10000}');
SELECT * FROM meter_explain_charge_events('percentage', '{"rate_percent": 1, "free_events": 3}', '{10, 10}');
SELECT * FROM meter_explain_charge_events('graduated', :graduated, '{10, 10, 1}');

--
-- Percentage: what is free
--
SELECT n, events, meter_charge_events('percentage', p, events) AS amount
FROM (VALUES
    (1, '{"rate_percent": 1, "fixed_amount": 5}'::jsonb, '{}'::numeric[]),
    (2, '{"rate_percent": 1, "fixed_amount": 5}', '{0}'),
    -- the first events
    (3, '{"rate_percent": 1, "fixed_amount": 5, "free_events": 2}', '{100, 100}'),
    (4, '{"rate_percent": 1, "fixed_amount": 5, "free_events": 2}', '{100, 100, 100}'),
    (5, '{"rate_percent": 1, "fixed_amount": 5, "free_events": 0}', '{100}'),
    -- the first amount: up to it, and beyond
    (6, '{"rate_percent": 1, "fixed_amount": 5, "free_amount": 15}', '{5, 10}'),
    (7, '{"rate_percent": 1, "fixed_amount": 5, "free_amount": 15}', '{5, 11}'),
    (8, '{"rate_percent": 1, "fixed_amount": 5, "free_amount": 15}', '{5, 10, 0}'),
    (9, '{"rate_percent": 1, "fixed_amount": 5, "free_amount": 15}', '{0, 0, 0}'),
    (10, '{"rate_percent": 1, "fixed_amount": 5, "free_amount": 0}', '{0, 1}'),
    (11, '{"rate_percent": 1, "fixed_amount": 5, "free_amount": 15}', '{40}'),
    -- whichever ends first
    (12, '{"rate_percent": 1, "fixed_amount": 5, "free_events": 1, "free_amount": 15}', '{4, 4}'),
    (13, '{"rate_percent": 1, "fixed_amount": 5, "free_events": 3, "free_amount": 15}', '{10, 10, 1}'),
    (14, '{"rate_percent": 1, "fixed_amount": 5, "free_events": 0, "free_amount": 15}', '{4}'),
    (15, '{"rate_percent": 1, "free_events": 1e400}', '{100, 100}'),
    -- clamped after the fixed amount, and only what is not free
    (16, '{"rate_percent": 1, "fixed_amount": 1, "per_transaction_min_amount": 2.5}', '{100, 150, 151}'),
    (17, '{"rate_percent": 1, "fixed_amount": 1, "per_transaction_max_amount": 2.5}', '{100, 150, 151}'),
    (18, '{"rate_percent": 1, "per_transaction_min_amount": 2, "per_transaction_max_amount": 2}', '{100, 200, 300}'),
    (19, '{"rate_percent": 1, "per_transaction_min_amount": 2, "free_events": 1}', '{100, 100}'),
    (20, '{"rate_percent": 1, "per_transaction_max_amount": 0}', '{100, 100}'),
    -- what is below 0 counts as 0
    (21, '{"rate_percent": 1, "fixed_amount": 5, "free_amount": 15}', '{-10, 15, 1}'),
    (22, '{"rate_percent": 1, "fixed_amount": 5}', '{-10}'),
    -- an array of any shape
    (23, '{"rate_percent": 1, "fixed_amount": 5}', '[2:3][0:1]={{1,2},{3,4}}')
) AS t (n, p, events) ORDER BY n;
-- one quantity is one event
SELECT q, meter_charge('percentage', p, q) = meter_charge_events('percentage', p, ARRAY[q]) AS same,
       meter_charge('percentage', p, q) AS amount
FROM (VALUES ('{"rate_percent": 1, "fixed_amount": 5, "free_amount": 15}'::jsonb)) AS t (p),
     unnest(ARRAY[-1, 0, 15, 16]) AS q;
-- of other models the sum is charged, in which what is negative counts
SELECT model, meter_charge_events(model, p, '{3, -1, 8.5}') = meter_charge(model, p, 10.5) AS sum,
       meter_charge_events(model, p, '{}') = meter_charge(model, p, 0) AS none,
       meter_charge_events(model, p, '{5, -6}') = meter_charge(model, p, 0) AS below_zero
FROM (VALUES ('flat', '{"amount": 3}'::jsonb), ('per_unit', '{"unit_amount": 3}'), ('graduated', :graduated),
      ('volume', :volume), ('package', '{"package_size": 2, "package_amount": 3}'),
      ('graduated_percentage', :graduated_percentage), ('dynamic', '{"markup": 3}')) AS t (model, p);

--
-- Boundaries
--

-- bounds belong to the tier that they end
SELECT q, meter_charge('graduated', :graduated, q) AS graduated, meter_charge('volume', :volume, 10 * q) AS volume
FROM unnest(ARRAY[-5, 0, 1e-20, 9.99, 10, 10 + 1e-20, 19.999, 20, 20.001]) AS q;
-- a first tier up to 0 is what no usage costs
SELECT q, meter_charge('graduated', p, q) AS graduated, meter_charge('volume', p, q) AS volume
FROM (VALUES ('{"tiers": [{"up_to": 0, "unit_amount": 0}, {"up_to": null, "unit_amount": 1, "flat_amount": 10}]}'::jsonb)) AS t (p),
     unnest(ARRAY[-1, 0, 0.5]) AS q;
-- a quantity below 0 costs what 0 costs
SELECT model, meter_charge(model, p, -3) = meter_charge(model, p, 0) AS same, meter_charge(model, p, -3) AS amount,
       (SELECT sum(amount) FROM meter_explain_charge(model, p, -3)) AS explained
FROM (VALUES ('flat', '{"amount": 3}'::jsonb), ('per_unit', '{"unit_amount": 3}'), ('graduated', :graduated),
      ('volume', :volume), ('package', '{"package_size": 2, "package_amount": 3}'),
      ('percentage', '{"rate_percent": 1, "fixed_amount": 5}'),
      ('graduated_percentage', :graduated_percentage), ('dynamic', '{"markup": 3}')) AS t (model, p);
-- packages: exactly full, hardly begun, and where a rounded quotient is wrong
SELECT q, meter_charge('package', '{"package_size": 10, "package_amount": 15}', q) AS tens,
       meter_charge('package', '{"package_size": 0.1, "package_amount": 1}', q) AS tenths
FROM unnest(ARRAY[0, 1e-30, 1, 9, 10, 10 + 1e-30, 11, 30]) AS q;
SELECT meter_charge('package', '{"package_size": 3, "package_amount": 1}', 3 + 1e-40) AS exact,
       ceil((3 + 1e-40) / 3) AS rounded;
SELECT meter_charge('package', '{"package_size": 3, "package_amount": 1, "free_units": 4}', 4 + 1e-40) AS begun,
       meter_charge('package', '{"package_size": "1e-6", "package_amount": "1e-6"}', 1e15 + 1e-7) AS many;
-- nothing is rounded, and no zeros are added
SELECT meter_charge('per_unit', '{"unit_amount": "0.000000000000000000000000000000000000000000000000012"}', 1e-60) AS tiny;
SELECT meter_charge('per_unit', '{"unit_amount": "0.0000002500"}', 1e40 + 1) AS huge;
SELECT meter_charge('graduated', '{"tiers": [{"up_to": 1e40, "unit_amount": 1e-30}, {"unit_amount": "1e-50"}]}', 1e60 + 0.5) AS graduated;
SELECT meter_charge('percentage', '{"rate_percent": "1e-40"}', 1e20) = 1e-22 AS percent;
SELECT meter_charge('per_unit', jsonb_build_object('unit_amount', 1e1000 + 1e-1000), 1e1000 + 1e-1000)
       = (1e1000 + 1e-1000) * (1e1000 + 1e-1000) AS thousand_digits;
-- how a number is written does not matter
SELECT DISTINCT meter_charge('per_unit', p, q) AS amount
FROM unnest(ARRAY['{"unit_amount": 2.5}', '{"unit_amount": 2.500}', '{"unit_amount": "2.5"}', '{"unit_amount": "+02.50"}',
       '{"unit_amount": "25e-1"}', '{"unit_amount": ".25E+1"}', '{"unit_amount": "2500.e-003"}']::jsonb[]) AS p,
     unnest(ARRAY[4, 4.000]) AS q;
-- null is the same as leaving it out
SELECT meter_charge('package', '{"package_size": 10, "package_amount": 1, "free_units": null}', 11) AS package,
       meter_charge('percentage', '{"rate_percent": 1, "fixed_amount": null, "free_events": null, "free_amount": null,
         "per_transaction_min_amount": null, "per_transaction_max_amount": null}', 100) AS percentage,
       meter_charge('volume', '{"tiers": [{"up_to": null, "unit_amount": null, "flat_amount": 7}]}', 1) AS volume;

-- NULL
SELECT meter_charge(NULL, '{}', 1) IS NULL AS model, meter_charge('flat', NULL, 1) IS NULL AS params,
       meter_charge('flat', '{}', NULL) IS NULL AS quantity, meter_charge_events('flat', '{}', NULL) IS NULL AS events,
       meter_charge_check('flat', NULL) IS NULL AS "check",
       (SELECT count(*) FROM meter_explain_charge('flat', '{}', NULL)) AS explained;

--
-- Random prices against the models in SQL.  A tier is written as the part of
-- the quantity that lies in it; a tier of a volume as the only one whose bounds
-- enclose the quantity; packages are counted.
--
SELECT setseed(0.42);
CREATE TABLE charge_case AS
SELECT n, q,
       jsonb_build_object('tiers', tiers) AS tiers,
       jsonb_build_object('tiers', (SELECT jsonb_agg(t - 'unit_amount' || jsonb_build_object('rate_percent', t -> 'unit_amount') ORDER BY i)
                                    FROM jsonb_array_elements(tiers) WITH ORDINALITY AS t (t, i))) AS percent_tiers,
       jsonb_build_object('package_size', size, 'package_amount', price, 'free_units', free) AS package,
       size, price, free
FROM (SELECT n, CASE (random() * 5)::int WHEN 0 THEN 0 WHEN 1 THEN round((random() * 50)::numeric, 6)
             WHEN 2 THEN 10 * (random() * 6)::int ELSE round((random() * 50)::numeric) END AS q,
             (1 + (random() * 40)::int) / CASE WHEN random() < 0.5 THEN 1 ELSE 8.0 END AS size,
             round((random() * 10)::numeric, (random() * 6)::int) AS price,
             (random() * 20)::int / 2.0 AS free,
             1 + (random() * 6)::int AS ntiers
      FROM generate_series(1, 5000) AS n) AS c,
     LATERAL (SELECT jsonb_agg(jsonb_build_object(
                  'up_to', CASE WHEN i < ntiers THEN CASE WHEN n % 2 = 0 THEN 10 * i ELSE 5.25 * i END END,
                  'unit_amount', round((random() * 10)::numeric, (random() * 8)::int),
                  'flat_amount', (random() * 3)::int) ORDER BY i) AS tiers
              FROM generate_series(1, ntiers) AS i) AS t;
CREATE VIEW charge_tier AS
SELECT n, q, i,
       (t ->> 'unit_amount')::numeric AS unit_amount, (t ->> 'flat_amount')::numeric AS flat_amount,
       coalesce((t ->> 'up_to')::numeric, 'Infinity') AS upper,
       coalesce(lag((t ->> 'up_to')::numeric) OVER (PARTITION BY n ORDER BY i), 0) AS lower
FROM charge_case, jsonb_array_elements(tiers -> 'tiers') WITH ORDINALITY AS t (t, i);

SELECT count(*) AS cases, count(DISTINCT q) > 500 AS many_quantities,
       count(*) FILTER (WHERE meter_charge('graduated', tiers, q) = graduated) AS graduated,
       count(*) FILTER (WHERE meter_charge('graduated_percentage', percent_tiers, q) = graduated_percentage) AS graduated_percentage,
       count(*) FILTER (WHERE meter_charge('volume', tiers, q) = volume) AS volume,
       count(*) FILTER (WHERE meter_charge('package', package, q) = price *
           (SELECT min(k) FROM generate_series(0, 500) AS k WHERE k * size >= q - free)) AS package
FROM charge_case
JOIN (SELECT n,
             sum((least(q, upper) - lower) * unit_amount + flat_amount) FILTER (WHERE i = 1 OR q > lower) AS graduated,
             sum((least(q, upper) - lower) * unit_amount / 100 + flat_amount) FILTER (WHERE i = 1 OR q > lower) AS graduated_percentage,
             sum(q * unit_amount + flat_amount) FILTER (WHERE q <= upper AND (i = 1 OR q > lower)) AS volume
      FROM charge_tier GROUP BY n) AS model USING (n);

-- events: what is free by running totals
CREATE TABLE charge_event_case AS
SELECT n, events,
       jsonb_build_object('rate_percent', rate, 'fixed_amount', fixed, 'free_events', free_events, 'free_amount', free_amount,
           'per_transaction_min_amount', low, 'per_transaction_max_amount', low + 3) AS params,
       rate, fixed, free_events, free_amount, low
FROM (SELECT n, round((random() * 5)::numeric, 2) AS rate, (random() * 3)::int / 2.0 AS fixed,
             CASE WHEN random() < 0.5 THEN (random() * 5)::int END AS free_events,
             CASE WHEN random() < 0.5 THEN (random() * 100)::int END AS free_amount,
             CASE WHEN random() < 0.5 THEN (random() * 4)::int / 4.0 END AS low
      FROM generate_series(1, 2000) AS n) AS c,
     LATERAL (SELECT coalesce(array_agg(round((random() * 60 + 0 * i)::numeric, (random() * 3)::int)), '{}') AS events
              FROM generate_series(1, n % 9) AS i) AS e;
SELECT count(*) AS cases,
       count(*) FILTER (WHERE meter_charge_events('percentage', params, events) = amount) AS percentage
FROM charge_event_case,
     LATERAL (SELECT coalesce(sum(least(greatest(charged * rate / 100 + fixed, low), low + 3)), 0) AS amount
              FROM (SELECT CASE WHEN num_nonnulls(free_events, free_amount) = 0 OR i > free_events
                                     OR total - v >= free_amount THEN v
                               WHEN total > free_amount THEN total - free_amount END AS charged
                    FROM (SELECT v, i, sum(v) OVER (ORDER BY i) AS total
                          FROM unnest(events) WITH ORDINALITY AS e (v, i)) AS e) AS e
              WHERE charged IS NOT NULL) AS model;

-- and the explanation adds up, each row by itself and all rows
SELECT model, count(*) AS cases,
       count(*) FILTER (WHERE total = meter_charge(model, params, q)) AS adds_up,
       count(*) FILTER (WHERE rows_right) AS rows_right
FROM (SELECT model, params, q FROM charge_case,
             LATERAL (VALUES ('flat', jsonb_build_object('amount', price)), ('per_unit', jsonb_build_object('unit_amount', price)),
                             ('dynamic', jsonb_build_object('markup', price)), ('graduated', tiers), ('volume', tiers),
                             ('graduated_percentage', percent_tiers), ('package', package)) AS t (model, params)
      UNION ALL
      SELECT 'percentage', params, v FROM charge_event_case, unnest(events || ARRAY[0, 7]) AS v) AS t,
     LATERAL (SELECT sum(amount) AS total, bool_and(amount = units * unit_amount + flat_amount AND step = i) AS rows_right
              FROM meter_explain_charge(model, params, q)
                   WITH ORDINALITY AS e (step, label, units, unit_amount, flat_amount, amount, i)) AS e
GROUP BY model ORDER BY model COLLATE "C";
SELECT count(*) AS cases,
       count(*) FILTER (WHERE total = meter_charge_events('percentage', params, events)) AS adds_up,
       count(*) FILTER (WHERE rows_right) AS rows_right
FROM charge_event_case,
     LATERAL (SELECT sum(amount) AS total, bool_and(amount = units * unit_amount + flat_amount) AS rows_right
              FROM meter_explain_charge_events('percentage', params, events)) AS e;
-- more events than are computed in one go
SELECT meter_charge_events('percentage', p, e) = 2 * 5 + 4988 * 3 AS clamped, meter_charge_events('percentage', p - 'free_events' - 'per_transaction_min_amount' - 'per_transaction_max_amount', e) = sum / 100 AS plain
FROM (VALUES ('{"rate_percent": 1, "free_events": 10, "per_transaction_min_amount": 3, "per_transaction_max_amount": 5}'::jsonb)) AS t (p),
     (SELECT array_agg(CASE WHEN i IN (2000, 4000) THEN 10000 + i ELSE 0.01 * i END ORDER BY i) AS e,
             sum(CASE WHEN i IN (2000, 4000) THEN 10000 + i ELSE 0.01 * i END) AS sum
      FROM generate_series(1, 5000) AS i) AS e;

--
-- A call remembers prices that it has read, and must not take one for another
--
CREATE TABLE charge_price (id integer PRIMARY KEY, model text, params jsonb);
INSERT INTO charge_price
SELECT i, 'per_unit', jsonb_build_object('unit_amount', i) FROM generate_series(1, 40) AS i
UNION ALL
-- as long as one another, and longer than what is stored in the row
SELECT 40 + i, CASE WHEN i % 2 = 0 THEN 'volume' ELSE 'graduated' END,
       (SELECT jsonb_build_object('tiers', jsonb_agg(jsonb_build_object('up_to', nullif(k, 1000), 'unit_amount', (i * k) % 10) ORDER BY k))
        FROM generate_series(1, 1000) AS k)
FROM generate_series(1, 9) AS i;
SELECT bool_or(pg_column_size(params) < 100) AS short, bool_or(pg_column_size(params) > 2000) AS long FROM charge_price;
SELECT count(*), count(*) FILTER (WHERE once = again) AS same, sum(once) FILTER (WHERE id <= 40) AS per_unit,
       sum(once) FILTER (WHERE id > 40) AS tiers
FROM (SELECT id, meter_charge(model, params, q) AS once,
             (SELECT sum(amount) FROM meter_explain_charge(model, params, q)) AS again
      FROM unnest(ARRAY[1.5, 200, 30]) AS q, charge_price ORDER BY q, (id * 7) % 50) AS t;
SELECT sum(meter_charge(model, params, 7)) FROM charge_price WHERE id <= 40;
-- also after an error, and after more prices than it remembers
DO $$
DECLARE
    amounts numeric[];
    p jsonb;
BEGIN
    FOR i IN 1..100 LOOP
        p := jsonb_build_object(CASE WHEN i % 3 = 0 THEN 'unit_price' ELSE 'unit_amount' END, i % 30);
        BEGIN
            amounts[i] := meter_charge('per_unit', p, 2);
        EXCEPTION WHEN invalid_parameter_value THEN
            amounts[i] := -1;
        END;
    END LOOP;
    RAISE NOTICE '% right, % wrong',
        (SELECT count(*) FROM unnest(amounts) WITH ORDINALITY AS a (a, i) WHERE a = CASE WHEN i % 3 = 0 THEN -1 ELSE 2 * (i % 30) END),
        (SELECT count(*) FROM unnest(amounts) WITH ORDINALITY AS a (a, i) WHERE a <> CASE WHEN i % 3 = 0 THEN -1 ELSE 2 * (i % 30) END);
END
$$;
-- in parallel
ALTER TABLE charge_case SET (parallel_workers = 2);
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT sum(meter_charge('graduated', tiers, q)) FROM charge_case;
SELECT sum(meter_charge('graduated', tiers, q)) AS parallel FROM charge_case \gset
SET max_parallel_workers_per_gather = 0;
SELECT sum(meter_charge('graduated', tiers, q)) = :parallel AS parallel FROM charge_case;
RESET max_parallel_workers_per_gather;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

--
-- Errors.  All are found before anything is computed, so a constraint finds
-- them when a price is written.
--
SELECT meter_charge_check('graduated', :graduated) AS right;
CREATE TABLE charge_checked (model text, params jsonb, CHECK (meter_charge_check(model, params)));
INSERT INTO charge_checked VALUES ('per_unit', '{"unit_amount": 1}'), ('volume', :volume);
INSERT INTO charge_checked VALUES ('per_unit', '{"unit_amount": "1,50"}');
\echo :LAST_ERROR_SQLSTATE
UPDATE charge_checked SET model = 'dynamic' WHERE model = 'volume';
\echo :LAST_ERROR_SQLSTATE

CREATE FUNCTION charge_error(model text, params text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
BEGIN
    PERFORM meter_charge_check(model, params::jsonb);
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    RETURN format('%s %s%s%s', state, message, E'\n      ' || nullif(detail, ''), E'\n      ' || nullif(hint, ''));
END
$$;
\pset tuples_only on
\pset format unaligned
-- models
SELECT charge_error(m, '{}') FROM unnest(ARRAY['', 'tiered', 'Flat', 'flat ', repeat(chr(233), 50)]) WITH ORDINALITY AS t (m, i) ORDER BY i;
-- the object
SELECT charge_error('flat', p) FROM unnest(ARRAY['null', '1', '"amount"', '[]', '[{"amount": 1}]', '{}', '{"amount": null}']) WITH ORDINALITY AS t (p, i) ORDER BY i;
-- missing, and unknown, in each model
SELECT charge_error(m, '{}')
FROM unnest(ARRAY['per_unit', 'graduated', 'volume', 'package', 'percentage', 'graduated_percentage', 'dynamic']) WITH ORDINALITY AS t (m, i) ORDER BY i;
SELECT charge_error(m, '{"price": 1}')
FROM unnest(ARRAY['flat', 'per_unit', 'graduated', 'volume', 'package', 'percentage', 'graduated_percentage', 'dynamic']) WITH ORDINALITY AS t (m, i) ORDER BY i;
SELECT charge_error('package', p) FROM unnest(ARRAY['{"package_size": 1}', '{"package_amount": 1}', '{"package_size": 1, "package_amount": 1, "free_unit": 1}']) WITH ORDINALITY AS t (p, i) ORDER BY i;
-- numbers
SELECT charge_error('per_unit', format('{"unit_amount": %s}', v))
FROM unnest(ARRAY['true', '[]', '{}', '""', '" 1"', '"1 "', '"-"', '"."', '"1e"', '"1e+"', '"1e10000"', '"1.2.3"', '"1,5"', '"0x10"', '"1_000"',
       '"NaN"', '"Infinity"', '"-inf"', '"ten"', '"' || repeat('1', 2001) || '"', '"' || repeat(chr(223), 70) || '"',
       '-1', '"-0.5"', '-1e-900', '"-1e9999"', '0', '-0', '1e-1000', '1e-1001', '"1e-1001"', '12.500']) WITH ORDINALITY AS t (v, i) ORDER BY i;
SELECT charge_error('package', p) FROM unnest(ARRAY['{"package_size": 0, "package_amount": 1}', '{"package_size": -1, "package_amount": 1}', '{"package_size": 1, "package_amount": -1}',
       '{"package_size": 1, "package_amount": 1, "free_units": -1}']) WITH ORDINALITY AS t (p, i) ORDER BY i;
SELECT charge_error('percentage', ('{"rate_percent": 1}'::jsonb || p)::text)
FROM unnest(ARRAY['{"free_events": 1.5}', '{"free_events": "2.0"}', '{"free_events": -1}', '{"free_amount": -1}', '{"fixed_amount": -1}', '{"rate_percent": -1}',
       '{"per_transaction_min_amount": 2, "per_transaction_max_amount": 1.5}', '{"per_transaction_min_amount": 2, "per_transaction_max_amount": 2}']::jsonb[]) WITH ORDINALITY AS t (p, i) ORDER BY i;
SELECT charge_error('dynamic', p) FROM unnest(ARRAY['{"markup": -1}', '{"markup": "20%"}']) WITH ORDINALITY AS t (p, i) ORDER BY i;
-- tiers
SELECT charge_error('graduated', format('{"tiers": %s}', t))
FROM unnest(ARRAY['5', '{}', '"[]"', '[]', 'null', '[5]', '[{"unit_amount": 1, "up_to": 5}, []]', '[[]]',
       '[{}]', '[{"up_to": null}]', '[{"up_to": 5, "unit_amount": 1}]',
       '[{"unit_amount": 1}, {"unit_amount": 1}]', '[{"up_to": null, "unit_amount": 1}, {"up_to": 5, "unit_amount": 1}]',
       '[{"up_to": 5, "unit_amount": 1}, {"up_to": 10, "unit_amount": 1}]',
       '[{"up_to": 5, "unit_amount": 1}, {"up_to": 5, "unit_amount": 1}, {"unit_amount": 1}]',
       '[{"up_to": 5, "unit_amount": 1}, {"up_to": 4.99, "unit_amount": 1}, {"unit_amount": 1}]',
       '[{"up_to": -5, "unit_amount": 1}, {"unit_amount": 1}]', '[{"up_to": 0, "unit_amount": 1}, {"unit_amount": 1}]',
       '[{"up_to": "inf", "unit_amount": 1}]',
       '[{"up_to": 5, "unit_amount": 1}, {"unit_amount": -1}]', '[{"up_to": 5, "unit_amount": 1}, {"flat_amount": "x"}]',
       '[{"up_to": 5, "unit_price": 1}, {"unit_amount": 1}]', '[{"up_to": 5, "unit_amount": 1}, {"rate_percent": 1}]']) WITH ORDINALITY AS t (t, i) ORDER BY i;
SELECT charge_error('volume', '{"tiers": [{"up_to": 5}, {"unit_amount": 1}]}');
SELECT charge_error('graduated_percentage', format('{"tiers": %s}', t))
FROM unnest(ARRAY['[{}]', '[{"unit_amount": 1}]', '[{"rate_percent": "1%"}]']) WITH ORDINALITY AS t (t, i) ORDER BY i;
SELECT charge_error('graduated', '{"tiers": [{"unit_amount": 1}], "currency": "EUR"}');
\pset tuples_only off
\pset format aligned

-- quantities
SELECT meter_charge('flat', '{"amount": 1}', 'NaN');
\echo :LAST_ERROR_SQLSTATE
SELECT meter_charge('per_unit', '{"unit_amount": 1}', 'Infinity');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM meter_explain_charge('per_unit', '{"unit_amount": 1}', '-Infinity');
\echo :LAST_ERROR_SQLSTATE
SELECT meter_charge('per_unit', '{"unit_amount": 1}', 1e-1001);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_charge_events('percentage', '{"rate_percent": 1}', '{1, NaN}');
\echo :LAST_ERROR_SQLSTATE
SELECT meter_charge_events('per_unit', '{"unit_amount": 1}', '{1, NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM meter_explain_charge_events('percentage', '{"rate_percent": 1}', '{1, NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT meter_charge('per_unit', '{"unit_amount": 1e100000}', 1e100000);
\echo :LAST_ERROR_SQLSTATE

-- named arguments
SELECT meter_charge(model => 'flat', params => '{"amount": 1}', quantity => 2) AS charge,
       meter_charge_events(model => 'flat', params => '{"amount": 1}', events => '{}') AS events,
       meter_charge_check(model => 'flat', params => '{"amount": 1}') AS "check";

-- who tracks and who reads may ask for prices
CREATE ROLE regress_charge_app;
CREATE ROLE regress_charge_analyst;
SELECT meter_grant('regress_charge_app', 'app'), meter_grant('regress_charge_analyst', 'analyst');
SELECT p.proname, has_function_privilege('regress_charge_app', p.oid, 'EXECUTE') AS app,
       has_function_privilege('regress_charge_analyst', p.oid, 'EXECUTE') AS analyst
FROM pg_proc AS p
JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
WHERE p.proname ~ '^meter_.*charge' ORDER BY p.proname COLLATE "C";
DROP OWNED BY regress_charge_app, regress_charge_analyst;
DROP ROLE regress_charge_app, regress_charge_analyst;

DROP FUNCTION charge_error;
DROP TABLE charge_checked, charge_price, charge_event_case;
DROP VIEW charge_tier;
DROP TABLE charge_case;

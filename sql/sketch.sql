SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS meter CASCADE;
RESET client_min_messages;

-- Percentile sketches against percentile_disc and exact sums over the same
-- rows.

--
-- Text form
--
SELECT meter_sketch_agg(v) FROM (VALUES (1.0), (9.0), (9.0)) AS t (v);
SELECT meter_sketch_agg(v) FROM (VALUES (0.0), ('-0'::float8), (-2.5), (1)) AS t (v);
-- subnormals count as zero, but not in min, max and sum
SELECT meter_sketch_agg(v) FROM (VALUES (5e-324), (-1.5e-323)) AS t (v);
SELECT split_part(meter_sketch_agg(v, 0.1)::text, ' sum=', 1) AS huge
FROM (VALUES (1.7e308), (-1.7e308), (1)) AS t (v);
SELECT 'accuracy=0.01 count=0'::meter_sketch;
SELECT 'accuracy=1e-2 count=2 zero=0 min=1.0 max=9e0 sum=0x0Ap0 neg=[] pos=[0:1,110:1]'::meter_sketch;
SELECT 'accuracy=0.01 count=2 zero=0 min=1 max=9 sum=0x5p1 neg=[] pos=[0:1,110:1]'
       = meter_sketch_agg(v) AS equal
FROM (VALUES (9.0), (1.0)) AS t (v);

--
-- Every quantile within the accuracy of the order statistic.  The values are
-- spread evenly over (0, 1) in a scattered order, then shaped.
--
CREATE TABLE sketch_value (shape text, i integer, x double precision);
INSERT INTO sketch_value
SELECT shape, i,
       CASE shape
            WHEN 'uniform' THEN 100 * u
            WHEN 'exponential' THEN -20 * ln(u)
            WHEN 'heavy tail' THEN 10 / power(u, 0.8)
            WHEN 'bimodal' THEN CASE WHEN i % 10 = 0 THEN 3000 + 400 * u ELSE 5 + u END
            WHEN 'negative' THEN 20 * ln(u)
            WHEN 'mixed' THEN CASE WHEN i % 7 = 0 THEN 0 ELSE 50 * (u - 0.4) END
            WHEN 'wide' THEN power(10::float8, 600 * u - 300)
            WHEN 'single' THEN 42.5
       END
FROM unnest(ARRAY['uniform', 'exponential', 'heavy tail', 'bimodal', 'negative', 'mixed', 'wide', 'single']) AS shape,
     LATERAL (SELECT i, ((i * 7919) % 10007) / 10007.0::float8 AS u
              FROM generate_series(1, CASE shape WHEN 'single' THEN 1 ELSE 10006 END) AS i) AS t;

WITH s AS (
     SELECT shape, accuracy,
            array_agg(x) AS x,
            meter_sketch_agg(x, accuracy) AS sketch
     FROM sketch_value, (VALUES (0.0001::float8), (0.01), (0.05), (0.25)) AS a (accuracy)
     GROUP BY shape, accuracy
), compared AS (
     SELECT shape, accuracy, q,
            meter_percentile(sketch, q) AS estimate,
            (SELECT percentile_disc(q) WITHIN GROUP (ORDER BY v) FROM unnest(x) AS v) AS truth
     FROM s, unnest(ARRAY[0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1]::float8[]) AS q
)
SELECT shape, count(*),
       bool_and(abs(estimate - truth) <= accuracy * abs(truth)) AS within_accuracy,
       bool_and(estimate = truth) FILTER (WHERE q = 0 OR q = 1) AS ends_exact
FROM compared GROUP BY shape ORDER BY shape COLLATE "C";

-- without an accuracy it is 0.01
SELECT meter_sketch_accuracy(meter_sketch_agg(x)),
       meter_sketch_agg(x) = meter_sketch_agg(x, 0.01) AS equal
FROM sketch_value WHERE shape = 'exponential';

-- one at a time or several at once, in any shape
SELECT meter_percentile(s, 0.5) = (meter_percentile(s, ARRAY[0.5, 0.99]))[1] AS first,
       meter_percentile(s, 0.99) = (meter_percentile(s, ARRAY[0.5, 0.99]))[2] AS second
FROM (SELECT meter_sketch_agg(x) AS s FROM sketch_value WHERE shape = 'uniform') AS t;
SELECT meter_percentile(s, ARRAY[0, NULL, 1]::float8[]) AS with_null,
       meter_percentile(s, '[2:3][0:1]={{0,1},{NULL,0}}'::float8[]) AS shaped,
       meter_percentile(s, '{}'::float8[]) AS none,
       meter_percentile(s, NULL::float8) AS "null",
       meter_percentile(NULL, 0.5) AS no_sketch
FROM (SELECT meter_sketch_agg(x) AS s FROM (VALUES (1.5), (2), (7.25)) AS t (x)) AS t;

--
-- Count, sum, mean and extremes are exact: sixteenths up to a million add up
-- without error in numeric.
--
CREATE TABLE sketch_hit (
    hour integer, tenant integer, latency_ms double precision
) WITH (parallel_workers = 2);
INSERT INTO sketch_hit
SELECT i % 24, i % 5,
       CASE WHEN i % 11 = 3 THEN NULL ELSE ((i::bigint * 7919) % 1000003) / 16.0 * (1 + i % 24) END
FROM generate_series(1, 60000) AS i;
ANALYZE sketch_hit;

SELECT meter_sketch_count(s) = n AS count,
       meter_sketch_sum(s) = total AS sum,
       abs(meter_sketch_avg(s) - total / n) <= 1e-15 * total / n AS avg,
       meter_sketch_min(s) = low AS min,
       meter_sketch_max(s) = high AS max
FROM (SELECT meter_sketch_agg(latency_ms) AS s, count(latency_ms) AS n,
             sum(latency_ms::numeric)::float8 AS total,
             min(latency_ms) AS low, max(latency_ms) AS high
      FROM sketch_hit) AS t;

-- where float8 loses everything, and does so differently in every order
SELECT meter_sketch_sum(meter_sketch_agg(x ORDER BY x)) AS ascending,
       meter_sketch_sum(meter_sketch_agg(x ORDER BY x DESC)) AS descending,
       meter_sketch_avg(meter_sketch_agg(x)) AS avg
FROM (VALUES (1e300), (1), (-1e300), (1e-300), (0.5)) AS t (x);
-- a mean is never out of range
SELECT meter_sketch_avg(meter_sketch_agg(x)) FROM (VALUES (1.7e308), (1.7e308)) AS t (x);

--
-- Merging
--
CREATE TABLE sketch_hourly AS
SELECT hour, tenant, meter_sketch_agg(latency_ms) AS latency
FROM sketch_hit GROUP BY hour, tenant;

-- hours make a day, in whatever order and grouping
SELECT (SELECT meter_sketch_agg(latency_ms) FROM sketch_hit) AS whole \gset
SELECT meter_sketch_merge(latency) = :'whole' AS any_order,
       meter_sketch_merge(latency ORDER BY hour, tenant) = :'whole' AS by_hour,
       meter_sketch_merge(latency ORDER BY tenant DESC, hour DESC) = :'whole' AS by_tenant
FROM sketch_hourly;
SELECT meter_sketch_merge(latency) = :'whole' AS days_of_tenants
FROM (SELECT meter_sketch_merge(latency) AS latency FROM sketch_hourly GROUP BY tenant) AS t;
SELECT meter_sketch_merge(latency) <> :'whole' AS part_differs
FROM sketch_hourly WHERE hour > 0;

-- the percentile of the merge is right, the mean of percentiles is not
SELECT abs(merged - truth) <= 0.01 * truth AS merged_right,
       abs(averaged - truth) <= 0.1 * truth AS averaged_right
FROM (SELECT meter_percentile(meter_sketch_merge(latency), 0.99) AS merged,
             avg(meter_percentile(latency, 0.99)) AS averaged FROM sketch_hourly) AS s,
     (SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY latency_ms) AS truth FROM sketch_hit) AS t;

SELECT meter_sketch_union(a, b) = meter_sketch_union(b, a) AS commutes,
       meter_sketch_union(a, b) AS "union",
       meter_sketch_union(a, NULL) = a AS left_only,
       meter_sketch_union(NULL, b) = b AS right_only,
       meter_sketch_union(NULL, NULL) IS NULL AS neither
FROM (SELECT meter_sketch_agg(x) FILTER (WHERE x < 3) AS a, meter_sketch_agg(x) FILTER (WHERE x >= 3) AS b
      FROM generate_series(1, 4) AS x) AS t;
SELECT meter_sketch_union(s, s) = meter_sketch_merge(s) OVER () AS with_itself
FROM (SELECT meter_sketch_agg(x) AS s FROM generate_series(1, 4) AS x) AS t, generate_series(1, 2);

-- a sketch of many buckets is toasted, and a short one is not aligned
CREATE TABLE sketch_stored (a "char", s meter_sketch);
INSERT INTO sketch_stored
SELECT 'x', meter_sketch_agg(x, 0.0001) FROM sketch_value WHERE shape = 'wide'
UNION ALL
SELECT 'y', meter_sketch_agg(x, 0.0001) FROM generate_series(1, 3) AS x;
SELECT a, meter_sketch_count(s), pg_column_size(s) < 100 AS short,
       octet_length(meter_sketch_send(s)) > 10000 AS long
FROM sketch_stored ORDER BY a;
SELECT meter_sketch_count(meter_sketch_merge(s)) FROM sketch_stored;
SELECT s = s::text::meter_sketch AS through_text FROM sketch_stored ORDER BY a;

-- 100000 latencies are less than 2 kB
SELECT octet_length(meter_sketch_send(meter_sketch_agg(exp(3 + 2.5 * sin(i) * cos(sqrt(i)))))) < 2048 AS small
FROM generate_series(1, 100000) AS i;

--
-- Parallel aggregation comes to the same bytes
--
SET max_parallel_workers_per_gather = 0;
SELECT meter_sketch_agg(latency_ms) AS serial FROM sketch_hit \gset
SELECT meter_sketch_merge(latency) AS serial_merge FROM sketch_hourly \gset
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
ALTER TABLE sketch_hourly SET (parallel_workers = 2);
EXPLAIN (COSTS OFF) SELECT meter_sketch_agg(latency_ms) FROM sketch_hit;
SELECT meter_sketch_agg(latency_ms) = :'serial' AS agg,
       meter_sketch_agg(latency_ms, 0.01) = :'serial' AS agg_accuracy
FROM sketch_hit;
EXPLAIN (COSTS OFF) SELECT meter_sketch_merge(latency) FROM sketch_hourly;
SELECT meter_sketch_merge(latency) = :'serial_merge' AS merge FROM sketch_hourly;
-- workers that see nothing but NULL
SELECT meter_sketch_agg(latency_ms) IS NULL AS nothing FROM sketch_hit WHERE latency_ms IS NULL;
SELECT meter_sketch_agg(latency_ms) FROM sketch_hit WHERE latency_ms < 20;
RESET max_parallel_workers_per_gather;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

--
-- As window aggregates
--
SELECT x,
       meter_sketch_count(meter_sketch_agg(x) OVER so_far) AS so_far,
       meter_sketch_sum(meter_sketch_agg(x) OVER so_far) AS sum_so_far,
       meter_percentile(meter_sketch_agg(x) OVER around, 1) AS max_around,
       meter_sketch_agg(x) OVER around
           = (SELECT meter_sketch_agg(y) FROM generate_series(greatest(x - 1, 1), least(x + 1, 6)) AS y) AS same_around
FROM generate_series(1, 6) AS x
WINDOW so_far AS (ORDER BY x),
       around AS (ORDER BY x ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)
ORDER BY x;
SELECT hour, meter_sketch_count(meter_sketch_merge(latency) OVER (ORDER BY hour ROWS 2 PRECEDING)) AS three_hours
FROM sketch_hourly WHERE tenant = 1 AND hour < 5 ORDER BY hour;

--
-- No values
--
SELECT meter_sketch_agg(x) IS NULL AS agg, meter_sketch_agg(x, 0.05) IS NULL AS agg_accuracy
FROM (VALUES (NULL::float8), (NULL)) AS t (x);
SELECT meter_sketch_merge(NULL::meter_sketch) IS NULL AS merge FROM generate_series(1, 3);
SELECT meter_sketch_agg(x) IS NULL AS no_rows FROM generate_series(1, 0) AS x;
SELECT meter_sketch_count(s) AS count, meter_sketch_sum(s) AS sum, meter_sketch_avg(s) AS avg,
       meter_sketch_min(s) AS min, meter_sketch_max(s) AS max, meter_sketch_accuracy(s) AS accuracy,
       meter_percentile(s, 0.5) AS p50, meter_percentile(s, ARRAY[0, 1]) AS ends,
       meter_sketch_count_below(s, 1) AS below
FROM (VALUES ('accuracy=0.05 count=0'::meter_sketch)) AS t (s);
SELECT meter_sketch_union('accuracy=0.01 count=0', s) = s AS empty_is_neutral
FROM (SELECT meter_sketch_agg(x) AS s FROM generate_series(1, 9) AS x) AS t;

--
-- Histogram
--
SELECT bound, meter_sketch_count_below(s, bound) AS below,
       meter_sketch_count_below(s, bound) BETWEEN low AND high AS right
FROM (SELECT meter_sketch_agg(x) AS s, array_agg(x) AS values FROM sketch_value WHERE shape = 'mixed') AS t,
     unnest(ARRAY['-Infinity', -20.1, -5, 0, 0.001, 17, 29.9, 30, 'Infinity']::float8[]) AS bound,
     LATERAL (SELECT count(*) FILTER (WHERE v <= bound / (1 + 0.01 * sign(bound))) AS low,
                     count(*) FILTER (WHERE v <= bound / (1 - 0.01 * sign(bound))) AS high
              FROM unnest(values) AS v) AS truth
ORDER BY bound;

--
-- Equality
--
SELECT a = a AS same, a = b AS "=", a <> b AS "<>", a = NULL AS "null"
FROM (SELECT meter_sketch_agg(x) AS a, meter_sketch_agg(x, 0.02) AS b FROM generate_series(1, 9) AS x) AS t;

--
-- Errors
--
SELECT meter_sketch_agg(x) FROM (VALUES (1), ('NaN'::float8)) AS t (x);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_agg(x) FROM (VALUES ('Infinity'::float8)) AS t (x);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_agg(x, 0.02) FROM (VALUES (1), ('-Infinity'::float8)) AS t (x);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_agg(1, 0);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_agg(1, 0.3);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_agg(1, 'NaN');
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_agg(1, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_agg(1, a) FROM (VALUES (0.01), (0.02)) AS t (a);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_merge(s) FROM (SELECT meter_sketch_agg(1, a) AS s FROM (VALUES (0.01), (0.02)) AS t (a) GROUP BY a ORDER BY a) AS t;
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_union('accuracy=0.01 count=0', 'accuracy=0.02 count=0');
\echo :LAST_ERROR_SQLSTATE
SELECT meter_percentile('accuracy=0.01 count=0', 1.01);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_percentile('accuracy=0.01 count=0', -0.5);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_percentile('accuracy=0.01 count=0', 'NaN'::float8);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_percentile('accuracy=0.01 count=0', ARRAY[0.5, NULL, 95]);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_count_below('accuracy=0.01 count=0', 'NaN');
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_sum(meter_sketch_agg(x)) FROM (VALUES (1.7e308), (1.7e308)) AS t (x);
\echo :LAST_ERROR_SQLSTATE
SELECT meter_sketch_union(s, s)
FROM (VALUES ('accuracy=0.01 count=9223372036854775807 zero=9223372036854775807 min=0 max=0 sum=0x0p0 neg=[] pos=[]'::meter_sketch)) AS t (s);
\echo :LAST_ERROR_SQLSTATE

-- malformed text
SELECT ''::meter_sketch;
\echo :LAST_ERROR_SQLSTATE
SELECT 'accuracy=0.01 count=x'::meter_sketch;
SELECT 'accuracy=0.5 count=0'::meter_sketch;
SELECT 'accuracy=0.01 count=1'::meter_sketch;
SELECT 'accuracy=0.01 count=9223372036854775808'::meter_sketch;
SELECT 'accuracy=0.01 count=1 zero=0 min=Infinity max=1 sum=0x1p0 neg=[] pos=[0:1]'::meter_sketch;
SELECT 'accuracy=0.01 count=1 zero=0 min=1 max=1 sum=0x1p0 neg=[] pos=[0:0]'::meter_sketch;
SELECT 'accuracy=0.01 count=2 zero=0 min=1 max=1 sum=0x1p1 neg=[] pos=[0:1]'::meter_sketch;
SELECT 'accuracy=0.01 count=2 zero=0 min=1 max=1 sum=0x1p1 neg=[] pos=[0:1,0:1]'::meter_sketch;
SELECT 'accuracy=0.01 count=1 zero=0 min=1 max=1 sum=0x1p0 neg=[] pos=[9:1]'::meter_sketch;
SELECT 'accuracy=0.01 count=1 zero=0 min=1 max=1 sum=0x3p0 neg=[] pos=[0:1]'::meter_sketch;
SELECT 'accuracy=0.01 count=1 zero=0 min=1 max=1 sum=1 neg=[] pos=[0:1]'::meter_sketch;
SELECT 'accuracy=0.01 count=1 zero=0 min=1 max=1 sum=0x1p0 neg=[] pos=[0:1] '::meter_sketch;
\echo :LAST_ERROR_SQLSTATE

--
-- Binary form: out and back, and what is malformed is refused.  A bytea of
-- the same bytes has the same binary form.
--
CREATE TABLE sketch_copy (s meter_sketch);
SELECT current_setting('data_directory') || '/pg_stat_tmp/meter_sketch.copy' AS file \gset
COPY (SELECT latency FROM sketch_hourly) TO :'file' (FORMAT binary);
COPY sketch_copy FROM :'file' (FORMAT binary);
SELECT count(*), meter_sketch_merge(s) = :'serial_merge' AS equal FROM sketch_copy;
TRUNCATE sketch_copy;
-- accuracy 0.01, one value 1.0
SELECT meter_sketch_send(meter_sketch_agg(1)) AS bytes \gset
SELECT :'bytes' AS bytes;
COPY (SELECT :'bytes'::bytea) TO :'file' (FORMAT binary);
COPY sketch_copy FROM :'file' (FORMAT binary);
COPY (SELECT set_byte(:'bytes'::bytea, 0, 2)) TO :'file' (FORMAT binary);
COPY sketch_copy FROM :'file' (FORMAT binary);
\echo :LAST_ERROR_SQLSTATE
COPY (SELECT substr(:'bytes'::bytea, 1, 20)) TO :'file' (FORMAT binary);
COPY sketch_copy FROM :'file' (FORMAT binary);
COPY (SELECT :'bytes'::bytea || '\x00') TO :'file' (FORMAT binary);
COPY sketch_copy FROM :'file' (FORMAT binary);
COPY (SELECT ''::bytea) TO :'file' (FORMAT binary);
COPY sketch_copy FROM :'file' (FORMAT binary);
COPY (SELECT set_byte(:'bytes'::bytea, 12, 8)) TO :'file' (FORMAT binary);
COPY sketch_copy FROM :'file' (FORMAT binary);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sketch_copy;

DROP TABLE sketch_value, sketch_hit, sketch_hourly, sketch_stored, sketch_copy;

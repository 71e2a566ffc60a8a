-- meter.forecast(): what comes next in a series
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS meter CASCADE;
RESET client_min_messages;
SET extra_float_digits = 0;

-- The run rate: (10 + 20 + 30) / 3 = 20, four steps are 80.  Three steps are too few to be sure.
SELECT expected, low < 80 AND high > 80 AS between, method, confidence, coverage, mase, steps
FROM meter.forecast('{10,20,30}', horizon => 4, method => 'run_rate');
-- Of the last two and of half a step with 11, (20 + 30 + 11) / 2.5 = 24.4; half of the first step and
-- a quarter of the last remain of four: 2.75 * 24.4 = 67.1.
SELECT expected, steps FROM meter.forecast('{10,20,30}', 7, 4, 'run_rate', 0.8, 2, 11, 0.5, 0.25);
-- What is too short for a method is a run rate, too.
SELECT expected, method, confidence FROM meter.forecast('{10,20,30}', horizon => 4, method => 'holt_winters');
-- Seasons of two: 1 and 2 by turns.
SELECT expected, steps, method, confidence FROM meter.forecast('{1,2,1,2}', 2, 5, 'seasonal');
-- The means of 1, 3 and of 2, 6: 2 and 4.
SELECT expected, steps FROM meter.forecast('{1,2,3,6}', 2, 3, 'average');
-- A line without a season, 3 + 2t: 23, 25, 27.
SELECT expected, steps, low = expected AND high = expected AS sure
FROM meter.forecast('{3,5,7,9,11,13,15,17,19,21}', 1, 3, 'linear');
SELECT round(expected::numeric, 6) AS expected FROM meter.forecast('{3,5,7,9,11,13,15,17,19,21}', 1, 3, 'holt_winters');
-- Nothing.
SELECT * FROM meter.forecast('{}', horizon => 2);
SELECT expected, high FROM meter.forecast(array_fill(0::float8, ARRAY[60]));
-- Nothing but half a day with 5: 10 a day, and 1.5 days of it remain.
SELECT expected, method, confidence FROM meter.forecast('{}', horizon => 2, running => 5, elapsed => 0.5);

-- Eight weeks of 100 a day and 40 at weekends.  Whatever repeats exactly is said exactly, with no
-- doubt: 30 days that begin on a Monday are 22 weekdays and 8 days of weekends, 2520.
SELECT low, expected, high, method, confidence, mase
FROM meter.forecast((SELECT array_agg(CASE WHEN t % 7 < 5 THEN 100 ELSE 40 END ORDER BY t) FROM generate_series(0, 55) AS t)::float8[]);
-- With noise of up to 20 either way, which is a fifth of a day: of 30 days it is much less.
WITH noisy AS (
	SELECT array_agg(CASE WHEN t % 7 < 5 THEN 100 ELSE 40 END + (t * t * 31 + t * 17) % 41 - 20 ORDER BY t)::float8[] AS history
	FROM generate_series(0, 55) AS t
)
SELECT f.expected BETWEEN 2520 * 0.97 AND 2520 * 1.03 AS near, f.low BETWEEN 2520 * 0.9 AND 2520 AS low,
	f.high BETWEEN 2520 AND 2520 * 1.1 AS high, f.mase < 1 AS better, f.confidence,
	cardinality(f.steps) AS steps, f.steps_low[1] < f.steps[1] AND f.steps[1] < f.steps_high[1] AS step,
	meter.forecast(n.history) = f AS same
FROM noisy AS n CROSS JOIN LATERAL meter.forecast(n.history) AS f;

-- Every method, on anything: finite, in order, and not below 0.
SELECT m AS method, count(*) AS series, bool_and(f.low >= 0 AND f.low <= f.expected AND f.expected <= f.high AND f.high < 'Infinity') AS sane
FROM unnest('{run_rate,seasonal,average,linear,holt_winters,auto}'::text[]) AS m
CROSS JOIN generate_series(0, 40, 4) AS n
CROSS JOIN unnest('{1e-320,1,1e308}'::float8[]) AS size
CROSS JOIN LATERAL (SELECT array_agg(size * (((t * t * 7 + n) % 11) / 11.0) ORDER BY t) FROM generate_series(1, n) AS t) AS h (history)
CROSS JOIN LATERAL meter.forecast(COALESCE(h.history, '{}'), 7, 20, m) AS f
GROUP BY m ORDER BY m;

-- Null is null, and what is wrong is said.
SELECT meter.forecast(NULL) IS NULL AS history, meter.forecast('{1}', method => NULL) IS NULL AS method;
SELECT meter.forecast('{1,NULL}');
SELECT meter.forecast('{1,NaN}');
SELECT meter.forecast('{1,2,-Infinity}');
SELECT meter.forecast('{{1,2},{3,4}}');
SELECT meter.forecast(array_fill(1::float8, ARRAY[10001]));
SELECT meter.forecast('{1}', season => 0);
SELECT meter.forecast('{1}', season => 1001);
SELECT meter.forecast('{1}', horizon => 0);
SELECT meter.forecast('{1}', horizon => 10001);
SELECT meter.forecast('{1}', recent => -1);
SELECT meter.forecast('{1}', method => 'magic');
SELECT meter.forecast('{1}', coverage => 1);
SELECT meter.forecast('{1}', coverage => 'NaN');
SELECT meter.forecast('{1}', running => 'Infinity');
SELECT meter.forecast('{1}', elapsed => 1);
SELECT meter.forecast('{1}', last => 0);
-- The largest of all questions.
SELECT cardinality(steps), expected > 0 AS expected
FROM meter.forecast((SELECT array_agg(t % 24 ORDER BY t)::float8[] FROM generate_series(1, 10000) AS t), 24, 10000, 'holt_winters');

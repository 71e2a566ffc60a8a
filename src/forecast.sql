-- forecast.sql: what comes next in a series of equal steps

CREATE TYPE meter.forecast_answer AS (
	low double precision,
	expected double precision,
	high double precision,
	method text,
	confidence text,
	coverage double precision,
	mase double precision,
	steps double precision[],
	steps_low double precision[],
	steps_high double precision[]
);
COMMENT ON TYPE meter.forecast_answer IS
'A forecast: low, expected and high of the sum of what is asked for, with the coverage of that interval; the method that was used; confidence, normal or, with less than two seasons of history, low; mase, its mean absolute error in the back-test in those of the seasonal naive, null if there was none; and expected, low and high of each whole step';

CREATE FUNCTION meter.forecast(history double precision[], season integer DEFAULT 7, horizon integer DEFAULT 30,
	method text DEFAULT 'auto', coverage double precision DEFAULT 0.8, recent integer DEFAULT NULL,
	running double precision DEFAULT 0, elapsed double precision DEFAULT 0, last double precision DEFAULT 1)
RETURNS meter.forecast_answer
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'meter_forecast';
COMMENT ON FUNCTION meter.forecast(double precision[], integer, integer, text, double precision, integer, double precision, double precision, double precision) IS
'What comes next in a series of equal steps, such as daily usage, oldest first. Arguments: the history; steps of a season, 1 for none; steps that are asked for; method: auto, run_rate, seasonal, average, linear or holt_winters; coverage of the interval; of how many of the last steps the run rate is, null for all; what the step that is running has had so far, and the part of it that is over; the part of the last step that is asked for. Null for another null. The answer is always finite, always the same, and not below 0 unless the history is. Errors: 22004 for null in the history, 22003 for NaN or infinity in it, 2202E for more dimensions, 22023 for an unknown method or a value out of range';

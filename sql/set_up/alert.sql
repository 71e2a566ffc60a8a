-- what the tests of alerts have in common: a clock, and values that the test gives
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'iso';

-- In the place of what is measured: what the test says.
CREATE TABLE measured (at timestamptz, rule text, tenant text, service text, value numeric, detail jsonb);
CREATE OR REPLACE FUNCTION meter.alert_measure(at timestamptz)
RETURNS TABLE (rule text, tenant text, service text, value numeric, detail jsonb)
LANGUAGE SQL STABLE
AS 'SELECT m.rule, m.tenant, m.service, m.value, m.detail FROM public.measured AS m WHERE m.at = alert_measure.at';
DELETE FROM meter.alert_rule;

-- A minute of 2025-01-01 at which values are measured, and what comes of it.
CREATE FUNCTION t(minute numeric) RETURNS timestamptz LANGUAGE SQL
RETURN timestamptz '2025-01-01 00:00:00+00' + minute * interval '1 minute';
CREATE FUNCTION step(minute numeric, VARIADIC given text[] DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result record;
BEGIN
	-- rule tenant/service value detail
	INSERT INTO measured
	SELECT t(minute), p[1], NULLIF(split_part(p[2], '/', 1), ''), NULLIF(split_part(p[2], '/', 2), ''),
		NULLIF(p[3], 'null')::numeric, p[4]::jsonb
	FROM unnest(given) AS g, string_to_array(g, ' ') AS p;
	SELECT * INTO result FROM meter_evaluate_alerts(t(minute));
	RETURN format('fired %s, resolved %s; pending %s, firing %s', result.fired, result.resolved, result.pending, result.firing);
END $$;

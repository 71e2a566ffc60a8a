-- preset.sql: limits to begin with

CREATE FUNCTION @extschema@.meter_load_preset(preset text) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	added integer;
BEGIN
	IF (preset = ANY (ARRAY['monthly', 'services', 'tiered'])) IS NOT TRUE THEN
		RAISE EXCEPTION 'unknown preset %', COALESCE('"' || preset || '"', 'NULL')
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'It is one of monthly, services and tiered.';
	END IF;

	-- where the plans say no more than their names, those that are there stay
	INSERT INTO meter.plan AS p (plan, multiplier)
	SELECT v.plan, v.multiplier
	FROM (VALUES
		('monthly', 'free', 1),
		('monthly', 'starter', 1),
		('monthly', 'pro', 1),
		('monthly', 'enterprise', 1),
		('services', 'free', 0.1),
		('services', 'starter', 0.5),
		('services', 'professional', 1),
		('services', 'scale', 2),
		('services', 'enterprise', 5),
		('tiered', 'free', 1),
		('tiered', 'pro', 1),
		('tiered', 'enterprise', 1)
	) AS v (preset, plan, multiplier)
	WHERE v.preset = meter_load_preset.preset
	ON CONFLICT (plan) DO UPDATE SET multiplier = EXCLUDED.multiplier
	WHERE meter_load_preset.preset = 'services' AND p.multiplier <> EXCLUDED.multiplier;

	INSERT INTO meter.rate_limit (plan, resource, unit, per, kind, max, description)
	SELECT v.plan, v.resource, v.unit, v.per, v.kind, v.max, 'preset ' || v.preset
	FROM (VALUES
		('monthly', 'free', '*', 'requests', 'month', 'window', 1000),
		('monthly', 'free', '*', 'requests', 'hour', 'bucket', 100),
		('monthly', 'starter', '*', 'requests', 'month', 'window', 10000),
		('monthly', 'starter', '*', 'requests', 'hour', 'bucket', 500),
		('monthly', 'pro', '*', 'requests', 'month', 'window', 100000),
		('monthly', 'pro', '*', 'requests', 'hour', 'bucket', 2000),
		('monthly', 'enterprise', '*', 'requests', 'month', 'window', NULL),
		('monthly', 'enterprise', '*', 'requests', 'hour', 'bucket', NULL),
		('services', NULL, 'openai', 'requests', 'minute', 'bucket', 60),
		('services', NULL, 'openai', 'requests', 'hour', 'bucket', 1000),
		('services', NULL, 'openai', 'requests', 'day', 'window', 10000),
		('services', NULL, 'openai', 'cost', 'day', 'window', 10),
		('services', NULL, 'email', 'requests', 'minute', 'bucket', 10),
		('services', NULL, 'email', 'requests', 'hour', 'bucket', 500),
		('services', NULL, 'email', 'requests', 'day', 'window', 5000),
		('services', NULL, 'sms', 'requests', 'minute', 'bucket', 5),
		('services', NULL, 'sms', 'requests', 'hour', 'bucket', 100),
		('services', NULL, 'sms', 'requests', 'day', 'window', 1000),
		('tiered', 'free', '*', 'requests', 'minute', 'bucket', 100),
		('tiered', 'free', '*', 'requests', 'day', 'window', 10000),
		('tiered', 'pro', '*', 'requests', 'minute', 'bucket', 500),
		('tiered', 'pro', '*', 'requests', 'day', 'window', 100000),
		('tiered', 'enterprise', '*', 'requests', 'minute', 'bucket', 2000),
		('tiered', 'enterprise', '*', 'requests', 'day', 'window', 1000000)
	) AS v (preset, plan, resource, unit, per, kind, max)
	WHERE v.preset = meter_load_preset.preset
	ON CONFLICT DO NOTHING;
	GET DIAGNOSTICS added = ROW_COUNT;
	RETURN added;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_load_preset(text) IS
'Add plans and limits to begin with and return the number of rules added: tiered (free, pro, enterprise by minute and day), monthly (free, starter, pro, enterprise by hour and month) or services (openai, email, sms, scaled by the multipliers of five plans). Rules that are there stay as they are. Errors: 22023 for null or another preset';

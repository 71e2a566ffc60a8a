-- meter_load_preset(): limits to begin with
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;

SELECT meter_load_preset('tiered');
SELECT plan, multiplier FROM meter.plan ORDER BY plan;
SELECT plan, resource, unit, max, per, kind, burst, per_user, mode, metric, description
FROM meter.rate_limit ORDER BY id;

SELECT meter_load_preset('monthly');
SELECT plan, multiplier FROM meter.plan ORDER BY plan;
SELECT plan, resource, unit, max, per, kind, burst, per_user, mode, metric
FROM meter.rate_limit WHERE description = 'preset monthly' ORDER BY id;

SELECT meter_load_preset('services');
SELECT plan, multiplier FROM meter.plan ORDER BY multiplier, plan;
SELECT plan, resource, unit, max, per, kind, burst, per_user, mode, metric
FROM meter.rate_limit WHERE description = 'preset services' ORDER BY id;

-- again: nothing is added twice
SELECT preset, meter_load_preset(preset) FROM unnest(ARRAY['tiered', 'monthly', 'services']) AS preset;
SELECT count(*) FROM meter.rate_limit;

-- what was changed by hand stays, what is missing is added; the multipliers are set
UPDATE meter.rate_limit SET max = 70, kind = 'window' WHERE resource = 'openai' AND per = 'minute';
DELETE FROM meter.rate_limit WHERE resource = 'sms';
UPDATE meter.plan SET multiplier = 3, description = 'ours' WHERE plan = 'free';
DELETE FROM meter.plan WHERE plan = 'scale';
SELECT meter_load_preset('services');
SELECT resource, unit, max, per, kind FROM meter.rate_limit
WHERE description = 'preset services' AND (resource = 'sms' OR per = 'minute') ORDER BY resource, per, unit;
SELECT plan, multiplier, description FROM meter.plan ORDER BY multiplier, plan;

-- the other presets leave multipliers alone
UPDATE meter.plan SET multiplier = 3 WHERE plan = 'free';
SELECT meter_load_preset('tiered'), meter_load_preset('monthly');
SELECT multiplier FROM meter.plan WHERE plan = 'free';

SELECT meter_load_preset(NULL);
SELECT meter_load_preset('');
\set SHOW_CONTEXT never
SELECT meter_load_preset('Tiered');

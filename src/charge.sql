-- charge.sql: what a quantity costs

CREATE FUNCTION @extschema@.meter_charge(model text, params jsonb, quantity numeric)
RETURNS numeric
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_charge(text, jsonb, numeric) IS
'What a quantity costs by a charge model, exact and not rounded: flat, per_unit, graduated, volume, package, percentage (of one event), graduated_percentage or dynamic. A quantity below 0 costs what 0 costs. Errors: 22023 for another model or a parameter that is wrong, 22003 for a quantity that is not finite or has more than 1000 decimals';

CREATE FUNCTION @extschema@.meter_charge_events(model text, params jsonb, events numeric[])
RETURNS numeric
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_charge_events(text, jsonb, numeric[]) IS
'What events cost by a charge model, given their values in the order in which they happened: by percentage each of them, after the free ones; by all other models their sum. Errors: as of meter_charge(), 22004 for a value that is null';

CREATE FUNCTION @extschema@.meter_charge_check(model text, params jsonb)
RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_charge_check(text, jsonb) IS
'True if the parameters are right for the charge model, for constraints. Errors: 22023, naming the parameter that is wrong';

CREATE FUNCTION @extschema@.meter_explain_charge(model text, params jsonb, quantity numeric)
RETURNS TABLE (step integer, label text, units numeric, unit_amount numeric, flat_amount numeric,
	amount numeric)
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 5
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_explain_charge(text, jsonb, numeric) IS
'The tiers or steps of which meter_charge() is the sum; in each row amount is units * unit_amount + flat_amount. Errors: as of meter_charge()';

CREATE FUNCTION @extschema@.meter_explain_charge_events(model text, params jsonb, events numeric[])
RETURNS TABLE (step integer, label text, units numeric, unit_amount numeric, flat_amount numeric,
	amount numeric)
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 5
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_explain_charge_events(text, jsonb, numeric[]) IS
'The steps of which meter_charge_events() is the sum, all events taken together; in each row amount is units * unit_amount + flat_amount. Errors: as of meter_charge_events()';

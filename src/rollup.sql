-- rollup.sql: moving the log's events into usage

CREATE FUNCTION @extschema@.meter_rollup() RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_rollup() IS
'Add the events of the log that were not rolled up yet to meter.usage_hourly and meter.usage_user_daily, each exactly once, and return their number; run it as often as you like. Waits for another rollup to commit. Late events go to the hour they belong to; hours with corrections are computed anew';

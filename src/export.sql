-- export.sql: usage, bills and costs for other programs

CREATE FUNCTION @extschema@.meter_export(
	what text,
	"from" timestamptz,
	"to" timestamptz,
	format text DEFAULT 'csv')
RETURNS SETOF text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED ROWS 100000
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_export(text, timestamptz, timestamptz, text) IS
'Lines of comma-separated values with a header (csv, as RFC 4180 has them, without the ends of the lines) or of JSON objects (jsonl) from one time to, and without, another: usage_hourly, usage_daily (by day of UTC), bills, bill_lines and focus (by the month of the bill) or costs (by month). Days and months are those that begin in that time, as dates of the session''s time zone. Called in the select list, it reads as it goes; it needs SELECT on what is exported. Errors: 22023 for another what or format';

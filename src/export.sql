-- export.sql: events, usage, bills, costs and alerts for other programs

CREATE FUNCTION meter.export_latency(latency @extschema@.meter_sketch) RETURNS double precision[]
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN latency IS NOT NULL THEN array_prepend(@extschema@.meter_sketch_avg(latency),
	@extschema@.meter_percentile(latency, ARRAY[0.5, 0.95, 0.99]::double precision[])) END;
COMMENT ON FUNCTION meter.export_latency(@extschema@.meter_sketch) IS
'Part of meter_export(): average and percentiles 50, 95 and 99 of latencies, or null';

CREATE FUNCTION @extschema@.meter_export(
	what text,
	"from" timestamptz,
	"to" timestamptz,
	format text DEFAULT 'csv',
	tenant text DEFAULT NULL)
RETURNS SETOF text
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100000
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_export(text, timestamptz, timestamptz, text, text) IS
'Lines of comma-separated values with a header (csv, as RFC 4180 has them, without the ends of the lines; spreadsheet, the same with an apostrophe before texts that a spreadsheet would take for formulas) or of JSON objects (jsonl) from one time to, and without, another, of one tenant or, with null, of all that the caller may see: events, usage_hourly, usage_daily and users_daily (by day of UTC), usage_monthly (by month of UTC), bills, bill_lines and focus (by the month of the bill), costs (by month), alerts and incidents (by when they began). Days and months are compared with the dates of these times in the session''s time zone. Called in the select list, it reads as it goes; it needs SELECT on what is exported. Errors: 22004 for null, 22023 for another what or format or if from is not before to';

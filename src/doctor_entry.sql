-- doctor_entry.sql: all that the checks of meter_doctor() find

CREATE FUNCTION meter.doctor() RETURNS SETOF meter.doctor_finding
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
SET intervalstyle = 'postgres'
AS $$
	SELECT f."check", s.severity, f.object, f.finding, f.remedy
	FROM (
		SELECT * FROM meter.doctor_process()
		UNION ALL SELECT * FROM meter.doctor_machine()
		UNION ALL SELECT * FROM meter.doctor_partition()
		UNION ALL SELECT * FROM meter.doctor_flow()
		UNION ALL SELECT * FROM meter.doctor_grant()
		UNION ALL SELECT * FROM meter.doctor_row_security()
		UNION ALL SELECT * FROM meter.doctor_isolation()
		UNION ALL SELECT * FROM meter.doctor_tenant()
		UNION ALL SELECT * FROM meter.doctor_limit()
		UNION ALL SELECT * FROM meter.doctor_name()
		UNION ALL SELECT * FROM meter.doctor_price()
		UNION ALL SELECT * FROM meter.doctor_bill()
		UNION ALL SELECT * FROM meter.doctor_outbox()
		UNION ALL SELECT * FROM meter.doctor_budget()
		UNION ALL SELECT * FROM meter.doctor_alert()
	) AS f
	-- a check that is in no list would be told of all the same
	LEFT JOIN meter.doctor_check AS c ON c."check" = f."check"
	CROSS JOIN LATERAL (SELECT COALESCE(f.severity, c.severity, 'warning')) AS s(severity)
	ORDER BY array_position(ARRAY['critical', 'warning', 'info'], s.severity), c.place,
		f.object COLLATE "C", f.finding COLLATE "C"
$$;
COMMENT ON FUNCTION meter.doctor() IS
'The work of meter_doctor(), for who may read all it looks at';

CREATE FUNCTION @extschema@.meter_doctor(
	OUT "check" text,
	OUT severity text,
	OUT object text,
	OUT finding text,
	OUT remedy text)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_doctor() IS
'What is misconfigured? A row for each finding, the worst first, and none if all is well: the check (see meter.doctor_check), severity (critical, warning or info), the object, what is wrong with it, and the remedy, lines for psql that end it. Errors: 42501 for those who do not see all tenants';

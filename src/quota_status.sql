-- quota_status.sql: what is left of quotas, for a customer's page

CREATE FUNCTION meter.quota_state(tenant text, user_id text,
	OUT rule text,
	OUT resource text,
	OUT unit text,
	OUT per text,
	OUT per_user boolean,
	OUT mode text,
	OUT "limit" numeric,
	OUT used numeric,
	OUT reset_at timestamptz,
	OUT warning integer)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 5 AS 'MODULE_PATHNAME', 'meter_quota_state';
COMMENT ON FUNCTION meter.quota_state(text, text) IS
'Part of meter_quota(): the calendar windows that hold for a tenant and, unless it is null, a user, and how much of each is used';

CREATE FUNCTION @extschema@.meter_quota(tenant text, user_id text DEFAULT NULL)
RETURNS TABLE (rule text, resource text, unit text, per text, per_user boolean, mode text,
	"limit" numeric, used numeric, remaining numeric, percent numeric, reset_at timestamptz, warning integer)
LANGUAGE SQL VOLATILE PARALLEL RESTRICTED ROWS 5
BEGIN ATOMIC
	SELECT s.rule, s.resource, s.unit, s.per, s.per_user, s.mode, s."limit", s.used,
		CASE WHEN s."limit" IS NOT NULL THEN GREATEST(s."limit" - s.used, 0) END, round(100 * s.used / NULLIF(s."limit", 0), 2), s.reset_at, s.warning
	FROM meter.quota_state(meter_quota.tenant, meter_quota.user_id) AS s
	ORDER BY s.reset_at, s.resource, s.unit, s.per_user;
END;
COMMENT ON FUNCTION @extschema@.meter_quota(text, text) IS
'What is left of a tenant''s quotas, and with a user of those that each user has to himself: a row for each rule of kind window that holds for the tenant, with how much it admits (null: any amount), what is used and remains, the percentage used (null for a limit of 0), when it begins anew, and the warning level that is reached (80, 90, 95 or 100, or null). Takes nothing. Errors: 22004 for a null tenant, 22023 for an empty or too long name, 42501 for another tenant than the context''s, 55000 if meter is not preloaded';

-- tenant.sql: what is known of each tenant

CREATE TABLE meter.tenant (
	tenant text COLLATE "C" NOT NULL
		CONSTRAINT tenant_name_check CHECK (octet_length(tenant) BETWEEN 1 AND 128
			AND tenant !~ '[[:cntrl:]]' AND tenant ~ '[^ ]'),
	plan text COLLATE "C"
		CONSTRAINT tenant_plan_fkey REFERENCES meter.plan ON UPDATE CASCADE,
	time_zone text NOT NULL DEFAULT 'UTC',
	created_at timestamptz NOT NULL DEFAULT now(),
	changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	status text COLLATE "C" NOT NULL DEFAULT 'active'
		CONSTRAINT tenant_status_check CHECK (
			meter.word_check(status, 'tenant_status_check', ARRAY['active', 'suspended', 'cancelled'])),
	started_on date
		CONSTRAINT tenant_started_on_check CHECK (isfinite(started_on)),
	billing_anchor smallint NOT NULL DEFAULT 1
		CONSTRAINT tenant_billing_anchor_check CHECK (billing_anchor BETWEEN 1 AND 31),
	currency text COLLATE "C"
		CONSTRAINT tenant_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
	tax_percent numeric NOT NULL DEFAULT 0
		CONSTRAINT tenant_tax_percent_check CHECK (tax_percent BETWEEN 0 AND 100),
	customer text
		CONSTRAINT tenant_customer_check CHECK (octet_length(customer) BETWEEN 1 AND 255
			AND customer !~ '[[:cntrl:]]' AND customer ~ '[^ ]'),
	schema_name name
		CONSTRAINT tenant_schema_name_key UNIQUE
		CONSTRAINT tenant_schema_name_check CHECK (schema_name <> ''
			AND schema_name <> ALL (ARRAY['meter', 'information_schema', 'public']::name[])
			AND NOT starts_with(schema_name::text, 'pg_')),
	role_name name
		CONSTRAINT tenant_role_name_key UNIQUE
		CONSTRAINT tenant_role_name_check CHECK (role_name <> ''
			AND role_name <> ALL (ARRAY['public', 'meter_tenant']::name[])
			AND NOT starts_with(role_name::text, 'pg_')),
	PRIMARY KEY (tenant)
);
COMMENT ON TABLE meter.tenant IS
'Tenants of whom more is to be known than their name: their plan and time zone, and what bills need. A tenant without a row can be metered and limited all the same, but has no bills';
COMMENT ON COLUMN meter.tenant.tenant IS 'name, as in meter.event: at most 128 bytes';
COMMENT ON COLUMN meter.tenant.plan IS 'the tenant''s plan, whose limits hold; null is none';
COMMENT ON COLUMN meter.tenant.time_zone IS
'time zone of the tenant''s days and months, in which calendar quotas and billing periods begin, a name of pg_timezone_names';
COMMENT ON COLUMN meter.tenant.created_at IS 'when the tenant was added';
COMMENT ON COLUMN meter.tenant.changed_at IS 'when the row was last changed';
COMMENT ON COLUMN meter.tenant.status IS
'active; suspended, which is billed all the same; or cancelled, which ends the subscription on the day it is set';
COMMENT ON COLUMN meter.tenant.started_on IS
'first day that is billed, in the tenant''s time zone; null: that of created_at';
COMMENT ON COLUMN meter.tenant.billing_anchor IS
'day of the month on which billing periods begin, 1 to 31; in a shorter month its last day';
COMMENT ON COLUMN meter.tenant.currency IS
'ISO 4217 code of the currency of the tenant''s bills; null: that of its plan, or else USD';
COMMENT ON COLUMN meter.tenant.tax_percent IS 'tax on the tenant''s bills, in percent, 0 to 100';
COMMENT ON COLUMN meter.tenant.customer IS 'what the payment provider calls the tenant, 1 to 255 bytes';
COMMENT ON COLUMN meter.tenant.schema_name IS
'schema whose objects are the tenant''s alone; null: none. What isolation keeps others away from';
COMMENT ON COLUMN meter.tenant.role_name IS
'role that is the tenant''s alone; null: none. Whoever works as that role works for the tenant';

-- A time zone shall mean the same everywhere, so what SET timezone and AT TIME
-- ZONE take otherwise is refused: an offset, which knows no daylight saving
-- time; POSIX's way to write one, in which UTC+2 is two hours west; and an
-- abbreviation, which AT TIME ZONE takes for an offset even if there is a zone
-- of that name.  The first two need digits, and a name with digits is rare, so
-- only those are looked for among all names, which reads every file of the time
-- zone database.  The setting ends with the function.
CREATE FUNCTION meter.tenant_time_zone_check() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
	unknown CONSTANT text := 'There is no time zone of that name.';
	problem text;
BEGIN
	IF NEW.time_zone ~ '[0-9]' AND NOT EXISTS (
			SELECT FROM pg_timezone_names WHERE lower(name) = lower(NEW.time_zone))
		-- to SET, these are numbers of hours
		OR lower(NEW.time_zone) = ANY (ARRAY['inf', 'infinity', 'nan']) THEN
		problem := unknown;
	ELSIF upper(NEW.time_zone) <> ALL (ARRAY['UTC', 'GMT']) AND EXISTS (
			SELECT FROM pg_timezone_abbrevs WHERE abbrev = upper(NEW.time_zone)) THEN
		problem := 'It is an abbreviation, which has no daylight saving time.';
	ELSIF NEW.time_zone IS NOT NULL THEN
		BEGIN
			PERFORM set_config('timezone', NEW.time_zone, true);
		EXCEPTION WHEN invalid_parameter_value THEN
			problem := unknown;
		END;
	END IF;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION 'invalid time zone "%"', NEW.time_zone
			USING ERRCODE = 'invalid_parameter_value', DETAIL = problem,
				HINT = 'The view pg_timezone_names lists the names.',
				SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = 'time_zone';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION meter.tenant_time_zone_check() IS
'Trigger of meter.tenant: refuses what is no name of a time zone. Errors: 22023';

-- A name that was one when the row was written need not be one for ever, nor on
-- each standby.
CREATE FUNCTION meter.known_time_zone(name text) RETURNS text
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'meter_known_time_zone';
COMMENT ON FUNCTION meter.known_time_zone(text) IS
'The name of a time zone; UTC for null and for a name that the server does not know, of which its log then tells';

CREATE TRIGGER tenant_time_zone_check
BEFORE INSERT OR UPDATE OF time_zone ON meter.tenant
FOR EACH ROW EXECUTE FUNCTION meter.tenant_time_zone_check();

-- Also of meter.rate_limit: quotas have to know since when a rule is what it is
-- for a tenant.
CREATE FUNCTION meter.row_changed() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	NEW.changed_at := clock_timestamp();
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION meter.row_changed() IS
'Trigger of meter.tenant and meter.rate_limit: notes in changed_at when a row was changed';

CREATE TRIGGER tenant_row_changed
BEFORE UPDATE ON meter.tenant
FOR EACH ROW EXECUTE FUNCTION meter.row_changed();

CREATE FUNCTION @extschema@.meter_tenant_changed() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_tenant_changed() IS
'Trigger of meter.tenant and meter.rate_limit: has what is known of the tenant read again';

CREATE TRIGGER tenant_changed
AFTER INSERT OR UPDATE OR DELETE ON meter.tenant
FOR EACH ROW EXECUTE FUNCTION @extschema@.meter_tenant_changed();

CREATE TRIGGER tenant_truncated
AFTER TRUNCATE ON meter.tenant
FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.meter_tenant_changed();

-- also for what logical replication brings
ALTER TABLE meter.tenant ENABLE ALWAYS TRIGGER tenant_changed;
ALTER TABLE meter.tenant ENABLE ALWAYS TRIGGER tenant_truncated;

SELECT pg_catalog.pg_extension_config_dump('meter.tenant', '');

-- silence.sql: alerts that nobody wants to hear of for a while

CREATE TABLE meter.silence (
	silence_id uuid NOT NULL DEFAULT gen_random_uuid(),
	tenant text COLLATE "C"
		CONSTRAINT silence_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 128),
	rule text COLLATE "C"
		CONSTRAINT silence_rule_check CHECK (octet_length(rule) BETWEEN 1 AND 64),
	service text COLLATE "C"
		CONSTRAINT silence_service_check CHECK (octet_length(service) BETWEEN 1 AND 64),
	starts_at timestamptz NOT NULL DEFAULT now(),
	ends_at timestamptz NOT NULL,
	created_by text NOT NULL DEFAULT session_user,
	reason text,
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (silence_id),
	CONSTRAINT silence_matcher_check CHECK (num_nonnulls(tenant, rule, service) >= 1),
	CONSTRAINT silence_ends_at_check CHECK (ends_at >= starts_at)
);
COMMENT ON TABLE meter.silence IS
'Which alerts are kept quiet, and from when to when? An alert that all of tenant, rule and service of a row match is recorded, but opens no incident and is not told; if it fires still when the silence has ended, it is then. To end a silence, update ends_at';
COMMENT ON COLUMN meter.silence.silence_id IS 'id';
COMMENT ON COLUMN meter.silence.tenant IS 'the alert''s tenant; null: any, or none';
COMMENT ON COLUMN meter.silence.rule IS
'the alert''s rule, or with * at the end how its name begins, so that * is every rule; null: any';
COMMENT ON COLUMN meter.silence.service IS 'the alert''s service; null: any, or none';
COMMENT ON COLUMN meter.silence.starts_at IS 'from when on, inclusive';
COMMENT ON COLUMN meter.silence.ends_at IS 'until when, exclusive';
COMMENT ON COLUMN meter.silence.created_by IS 'who wanted it';
COMMENT ON COLUMN meter.silence.reason IS 'why';
COMMENT ON COLUMN meter.silence.created_at IS 'when it was made';
CREATE INDEX silence_ends_at_idx ON meter.silence (ends_at);
SELECT pg_catalog.pg_extension_config_dump('meter.silence', '');

CREATE FUNCTION meter.is_silenced(of_rule text, of_tenant text, of_service text, at timestamptz)
RETURNS boolean
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN EXISTS (
	SELECT FROM meter.silence AS s
	WHERE s.starts_at <= at AND at < s.ends_at
		AND (s.tenant IS NULL OR s.tenant = of_tenant)
		AND (s.service IS NULL OR s.service = of_service)
		AND (s.rule IS NULL OR s.rule = of_rule
			OR right(s.rule, 1) = '*' AND starts_with(of_rule, left(s.rule, -1))));
COMMENT ON FUNCTION meter.is_silenced(text, text, text, timestamptz) IS
'Is an alert of that rule, tenant (null: none) and service (null: none) silenced then? See meter.silence';

CREATE FUNCTION @extschema@.meter_silence(tenant text DEFAULT NULL, rule text DEFAULT NULL,
	service text DEFAULT NULL, duration interval DEFAULT '1 hour', reason text DEFAULT NULL,
	"by" text DEFAULT session_user, at timestamptz DEFAULT now())
RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	id uuid;
BEGIN
	IF num_nonnulls(meter_silence.tenant, meter_silence.rule, meter_silence.service) = 0 THEN
		RAISE EXCEPTION 'a silence needs a tenant, a rule or a service'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'The rule * is every rule.';
	END IF;
	IF duration IS NULL OR duration <= interval '0' OR duration > interval '10 years' THEN
		RAISE EXCEPTION 'invalid duration of a silence: %', COALESCE(duration::text, 'null')
			USING ERRCODE = 'invalid_parameter_value', DETAIL = 'It must be above 0 and at most 10 years.';
	END IF;
	IF at IS NULL OR NOT isfinite(at) THEN
		RAISE EXCEPTION 'invalid beginning of a silence: %', COALESCE(at::text, 'null')
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	-- a rule may yet be made, but a name that is none now is rather a mistake
	IF right(meter_silence.rule, 1) <> '*'
		AND NOT EXISTS (SELECT FROM meter.alert_rule AS r WHERE r.rule = meter_silence.rule) THEN
		RAISE EXCEPTION 'alert rule "%" does not exist', meter_silence.rule
			USING ERRCODE = 'undefined_object', HINT = 'Rules are rows of meter.alert_rule.';
	END IF;
	INSERT INTO meter.silence (tenant, rule, service, starts_at, ends_at, created_by, reason)
	VALUES (meter_silence.tenant, meter_silence.rule, meter_silence.service, at, at + duration,
		COALESCE("by", session_user), meter_silence.reason)
	RETURNING silence_id INTO id;
	RETURN id;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_silence(text, text, text, interval, text, text, timestamptz) IS
'Keep alerts of a tenant, a rule (* at its end is any text) and a service quiet, from an instant on for a while, and return the id of the row in meter.silence; at least one of the three has to be given. Errors: 22023 if none is, and for a duration that is not above 0 or above 10 years, 42704 for an unknown rule, 23514 for a name that is too long';

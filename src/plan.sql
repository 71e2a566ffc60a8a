-- plan.sql: plans, which limits are made for

CREATE TABLE meter.plan (
	plan text COLLATE "C" NOT NULL
		CONSTRAINT plan_name_check CHECK (octet_length(plan) BETWEEN 1 AND 64
			AND plan !~ '[[:cntrl:]]' AND plan ~ '[^ ]'),
	multiplier numeric NOT NULL DEFAULT 1
		CONSTRAINT plan_multiplier_check CHECK (multiplier > 0 AND multiplier <= 1000000
			AND min_scale(multiplier) <= 9),
	description text,
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (plan)
);
COMMENT ON TABLE meter.plan IS
'What tenants subscribe to: one row per plan. Limits of a plan are rows of meter.rate_limit; its multiplier scales the limits that are for all tenants';
COMMENT ON COLUMN meter.plan.plan IS 'name, at most 64 bytes';
COMMENT ON COLUMN meter.plan.multiplier IS
'by what the limits for all tenants are multiplied for tenants of this plan; above 0, at most 1000000, at most 9 decimals';
COMMENT ON COLUMN meter.plan.description IS 'what the plan is, for people';
COMMENT ON COLUMN meter.plan.created_at IS 'when the plan was added';

CREATE FUNCTION @extschema@.meter_rule_changed() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_rule_changed() IS
'Trigger of meter.plan and meter.rate_limit: makes every session read the rules again';

CREATE TRIGGER plan_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON meter.plan
FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.meter_rule_changed();

-- also for what logical replication brings
ALTER TABLE meter.plan ENABLE ALWAYS TRIGGER plan_changed;

SELECT pg_catalog.pg_extension_config_dump('meter.plan', '');

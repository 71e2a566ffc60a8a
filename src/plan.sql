-- plan.sql: plans, which limits and prices are made for

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

CREATE TABLE meter.plan_version (
	plan text COLLATE "C" NOT NULL
		CONSTRAINT plan_version_plan_fkey REFERENCES meter.plan ON UPDATE CASCADE ON DELETE CASCADE,
	valid_from date NOT NULL DEFAULT '2000-01-01'
		CONSTRAINT plan_version_valid_from_check CHECK (isfinite(valid_from)),
	base_price numeric NOT NULL DEFAULT 0
		CONSTRAINT plan_version_base_price_check CHECK (base_price >= 0 AND base_price < 'Infinity'),
	currency text COLLATE "C" NOT NULL DEFAULT 'USD'
		CONSTRAINT plan_version_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
	trial_days integer NOT NULL DEFAULT 0
		CONSTRAINT plan_version_trial_days_check CHECK (trial_days BETWEEN 0 AND 3660),
	min_amount numeric
		CONSTRAINT plan_version_min_amount_check CHECK (min_amount >= 0 AND min_amount < 'Infinity'),
	max_amount numeric
		CONSTRAINT plan_version_max_amount_check CHECK (max_amount >= 0 AND max_amount < 'Infinity'),
	PRIMARY KEY (plan, valid_from),
	CONSTRAINT plan_version_min_max_check CHECK (min_amount <= max_amount)
);
COMMENT ON TABLE meter.plan_version IS
'What a plan costs, and since when: on a day, the version with the latest valid_from that is not after it is in force. A plan without one costs nothing by itself';
COMMENT ON COLUMN meter.plan_version.plan IS 'the plan';
COMMENT ON COLUMN meter.plan_version.valid_from IS
'first day, in the time zone of each tenant; until the next version begins';
COMMENT ON COLUMN meter.plan_version.base_price IS 'what the plan costs for a whole period, whatever is used';
COMMENT ON COLUMN meter.plan_version.currency IS
'ISO 4217 code of the currency of base_price, min_amount and max_amount, and of the bills of tenants that have none of their own';
COMMENT ON COLUMN meter.plan_version.trial_days IS
'days, 0 to 3660, from the beginning of a tenant''s first subscription, for which nothing is charged, if it begins in this version';
COMMENT ON COLUMN meter.plan_version.min_amount IS 'what a bill for a whole period comes to at least; null: nothing';
COMMENT ON COLUMN meter.plan_version.max_amount IS 'what a bill for a whole period comes to at most; null: any amount';

SELECT pg_catalog.pg_extension_config_dump('meter.plan_version', '');

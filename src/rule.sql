-- rule.sql: what limits there are

CREATE TABLE meter.rate_limit (
	id integer GENERATED ALWAYS AS IDENTITY
		CONSTRAINT rate_limit_id_check CHECK (id > 0),
	tenant text COLLATE "C"
		CONSTRAINT rate_limit_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 128
			AND tenant !~ '[[:cntrl:]]' AND tenant ~ '[^ ]'),
	plan text COLLATE "C"
		CONSTRAINT rate_limit_plan_fkey REFERENCES meter.plan ON UPDATE CASCADE ON DELETE CASCADE,
	resource text COLLATE "C" NOT NULL DEFAULT '*'
		CONSTRAINT rate_limit_resource_check CHECK (octet_length(resource) BETWEEN 1 AND 255
			AND resource !~ '[[:cntrl:]]'),
	unit text COLLATE "C" NOT NULL DEFAULT 'requests'
		CONSTRAINT rate_limit_unit_check CHECK (
			meter.word_check(unit, 'rate_limit_unit_check', ARRAY['requests', 'cost'])),
	per text COLLATE "C" NOT NULL
		CONSTRAINT rate_limit_per_check CHECK (
			meter.word_check(per, 'rate_limit_per_check', ARRAY['second', 'minute', 'hour', 'day', 'month'])),
	max numeric
		CONSTRAINT rate_limit_max_check CHECK (max >= 0 AND max <= 1000000000000000
			AND min_scale(max) <= 9),
	burst numeric
		CONSTRAINT rate_limit_burst_check CHECK (burst >= 0 AND burst <= 1000000000000000
			AND min_scale(burst) <= 9),
	kind text COLLATE "C" NOT NULL DEFAULT 'bucket'
		CONSTRAINT rate_limit_kind_check CHECK (
			meter.word_check(kind, 'rate_limit_kind_check', ARRAY['bucket', 'window'])),
	per_user boolean NOT NULL DEFAULT false,
	mode text COLLATE "C" NOT NULL DEFAULT 'enforce'
		CONSTRAINT rate_limit_mode_check CHECK (
			meter.word_check(mode, 'rate_limit_mode_check', ARRAY['enforce', 'soft', 'shadow'])),
	metric text COLLATE "C" NOT NULL DEFAULT 'api_requests'
		CONSTRAINT rate_limit_metric_check CHECK (octet_length(metric) BETWEEN 1 AND 64
			AND metric !~ '[[:cntrl:]]' AND metric ~ '[^ ]'),
	-- goes into HTTP headers
	name text COLLATE "C"
		CONSTRAINT rate_limit_name_check CHECK (octet_length(name) <= 64
			AND name ~ '^[ -~]+$' AND name ~ '[^ ]'),
	description text,
	created_at timestamptz NOT NULL DEFAULT now(),
	changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (id),
	UNIQUE NULLS NOT DISTINCT (tenant, plan, resource, unit, per, per_user),
	CONSTRAINT rate_limit_tenant_or_plan_check CHECK (num_nonnulls(tenant, plan) <= 1),
	CONSTRAINT rate_limit_max_whole_check CHECK (unit <> 'requests' OR max = trunc(max)),
	CONSTRAINT rate_limit_burst_whole_check CHECK (unit <> 'requests' OR burst = trunc(burst)),
	CONSTRAINT rate_limit_burst_needs_bucket_check CHECK (burst IS NULL OR kind = 'bucket'),
	CONSTRAINT rate_limit_soft_needs_window_check CHECK (mode <> 'soft' OR kind = 'window')
);
COMMENT ON TABLE meter.rate_limit IS
'What limits there are: one row per rule, for one tenant, one plan or, with neither, all tenants. Of the rules that hold for a call, all have to admit it';
COMMENT ON COLUMN meter.rate_limit.id IS 'number of the rule';
COMMENT ON COLUMN meter.rate_limit.tenant IS 'the tenant for whom the rule is';
COMMENT ON COLUMN meter.rate_limit.plan IS
'the plan for which the rule is; with neither tenant nor plan it is for all tenants, multiplied by meter.plan.multiplier';
COMMENT ON COLUMN meter.rate_limit.resource IS
'what is limited: a pattern in which * is any text, 1 to 255 bytes';
COMMENT ON COLUMN meter.rate_limit.unit IS
'what counts: requests, or their cost';
COMMENT ON COLUMN meter.rate_limit.per IS 'second, minute, hour, day or month';
COMMENT ON COLUMN meter.rate_limit.max IS
'how much is admitted in that time, 0 to 10^15, a whole number of requests or at most 9 decimals of cost; null: any amount';
COMMENT ON COLUMN meter.rate_limit.burst IS
'how much is admitted at once by a bucket that is full, in the same range; null: max';
COMMENT ON COLUMN meter.rate_limit.kind IS
'bucket: refills continuously; window: begins anew with each second, minute, hour, day or month of the calendar';
COMMENT ON COLUMN meter.rate_limit.per_user IS
'whether each of the tenant''s users has the limit to himself; then it holds only for calls with a user';
COMMENT ON COLUMN meter.rate_limit.mode IS
'enforce: calls beyond the limit are refused; soft: they are admitted with a warning, for windows only; shadow: it is decided and counted only';
COMMENT ON COLUMN meter.rate_limit.metric IS
'metric of the usage from which the counter of a window is started';
COMMENT ON COLUMN meter.rate_limit.name IS
'name of the rule in decisions and HTTP headers, at most 64 printable ASCII characters; null: made from the rule';
COMMENT ON COLUMN meter.rate_limit.description IS 'what the rule is for, for people';
COMMENT ON COLUMN meter.rate_limit.created_at IS 'when the rule was added';
COMMENT ON COLUMN meter.rate_limit.changed_at IS 'when the rule was last changed';
COMMENT ON SEQUENCE meter.rate_limit_id_seq IS 'numbers of rules';

-- What was counted is kept by the number of the rule.  So numbers begin anywhere
-- up to 2^28, and are not those of an extension that was dropped.
SELECT pg_catalog.setval('meter.rate_limit_id_seq',
	('x' || right(gen_random_uuid()::text, 7))::bit(28)::integer + 1, false);

CREATE TRIGGER rule_row_changed
BEFORE UPDATE ON meter.rate_limit
FOR EACH ROW EXECUTE FUNCTION meter.row_changed();

CREATE TRIGGER rule_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON meter.rate_limit
FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.meter_rule_changed();

-- whose tenants then have rules of their own, or not any more
CREATE TRIGGER rule_tenant_changed
AFTER INSERT OR UPDATE OR DELETE ON meter.rate_limit
FOR EACH ROW EXECUTE FUNCTION @extschema@.meter_tenant_changed();
CREATE TRIGGER rule_tenant_truncated
AFTER TRUNCATE ON meter.rate_limit
FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.meter_tenant_changed();

-- also for what logical replication brings
ALTER TABLE meter.rate_limit ENABLE ALWAYS TRIGGER rule_changed;
ALTER TABLE meter.rate_limit ENABLE ALWAYS TRIGGER rule_tenant_changed;
ALTER TABLE meter.rate_limit ENABLE ALWAYS TRIGGER rule_tenant_truncated;

SELECT pg_catalog.pg_extension_config_dump('meter.rate_limit', '');
SELECT pg_catalog.pg_extension_config_dump('meter.rate_limit_id_seq', '');

-- gauge_limit.sql: how much of what a gauge measures there is to use

CREATE TABLE meter.gauge_limit (
	gauge_limit_id uuid NOT NULL DEFAULT gen_random_uuid(),
	metric text COLLATE "C" NOT NULL
		CONSTRAINT gauge_limit_metric_check CHECK (octet_length(metric) BETWEEN 1 AND 64
			AND metric !~ '[[:cntrl:]]' AND metric ~ '[^ ]'),
	plan text COLLATE "C"
		CONSTRAINT gauge_limit_plan_fkey REFERENCES meter.plan ON UPDATE CASCADE ON DELETE CASCADE,
	tenant text COLLATE "C"
		CONSTRAINT gauge_limit_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 128
			AND tenant !~ '[[:cntrl:]]' AND tenant ~ '[^ ]'),
	-- NaN is above Infinity
	max numeric
		CONSTRAINT gauge_limit_max_check CHECK (max > 0 AND max < 'Infinity'),
	max_metric text COLLATE "C"
		CONSTRAINT gauge_limit_max_metric_check CHECK (octet_length(max_metric) BETWEEN 1 AND 64
			AND max_metric !~ '[[:cntrl:]]' AND max_metric ~ '[^ ]' AND max_metric <> metric),
	low_percent numeric NOT NULL DEFAULT 30
		CONSTRAINT gauge_limit_low_percent_check CHECK (low_percent >= 0),
	high_percent numeric NOT NULL DEFAULT 80
		CONSTRAINT gauge_limit_high_percent_check CHECK (high_percent < 'Infinity'),
	description text,
	PRIMARY KEY (gauge_limit_id),
	CONSTRAINT gauge_limit_key UNIQUE NULLS NOT DISTINCT (metric, plan, tenant),
	CONSTRAINT gauge_limit_plan_or_tenant_check CHECK (plan IS NULL OR tenant IS NULL),
	CONSTRAINT gauge_limit_max_or_metric_check CHECK (num_nonnulls(max, max_metric) = 1),
	CONSTRAINT gauge_limit_low_high_check CHECK (low_percent < high_percent)
);
COMMENT ON TABLE meter.gauge_limit IS
'How much there is of what a gauge measures: for one tenant, else for a plan, else for all. What meter.provisioning compares usage with';
COMMENT ON COLUMN meter.gauge_limit.gauge_limit_id IS 'id of the row';
COMMENT ON COLUMN meter.gauge_limit.metric IS 'the gauge of what is used, such as memory_gb';
COMMENT ON COLUMN meter.gauge_limit.plan IS 'for tenants of this plan that have no row of their own';
COMMENT ON COLUMN meter.gauge_limit.tenant IS
'for this tenant, whatever its plan; with plan and tenant null, for all that have no other row';
COMMENT ON COLUMN meter.gauge_limit.max IS 'how much there is, in the gauge''s unit, above 0; either this or max_metric';
COMMENT ON COLUMN meter.gauge_limit.max_metric IS
'the gauge that tells how much there is, such as memory_limit_gb, in the same unit';
COMMENT ON COLUMN meter.gauge_limit.low_percent IS 'below it, on average, a tenant is over-provisioned; 30 unless given';
COMMENT ON COLUMN meter.gauge_limit.high_percent IS 'above it, on average, a tenant is under-provisioned; 80 unless given';
COMMENT ON COLUMN meter.gauge_limit.description IS 'for people';
SELECT pg_catalog.pg_extension_config_dump('meter.gauge_limit', '');

CREATE TRIGGER gauge_limit_kind_fits
AFTER INSERT OR UPDATE OF metric, max_metric ON meter.gauge_limit
FOR EACH ROW EXECUTE FUNCTION meter.kind_fits('metric');

-- price.sql: what usage costs whom

-- Equality of several columns, some null, for an exclusion constraint: GiST has
-- no operators for text, but has them for ranges of anything.
CREATE TYPE meter.key_range AS RANGE (SUBTYPE = text[], COLLATION = pg_catalog."C");
COMMENT ON TYPE meter.key_range IS 'a key of several columns, as a range of nothing but it';
COMMENT ON TYPE meter.key_multirange IS 'several of meter.key_range; not used';
COMMENT ON FUNCTION meter.key_range(text[], text[]) IS 'a range of keys, without the upper one';
COMMENT ON FUNCTION meter.key_range(text[], text[], text) IS 'a range of keys';
COMMENT ON FUNCTION meter.key_multirange() IS 'no range of keys';
COMMENT ON FUNCTION meter.key_multirange(meter.key_range) IS 'one range of keys';
COMMENT ON FUNCTION meter.key_multirange(VARIADIC meter.key_range[]) IS 'ranges of keys';
COMMENT ON CAST (meter.key_range AS meter.key_multirange) IS 'one range of keys';

CREATE TABLE meter.price (
	price_id uuid NOT NULL DEFAULT gen_random_uuid(),
	price text COLLATE "C" NOT NULL
		CONSTRAINT price_name_check CHECK (octet_length(price) BETWEEN 1 AND 64
			AND price !~ '[[:cntrl:]]' AND price ~ '[^ ]'),
	plan text COLLATE "C"
		CONSTRAINT price_plan_fkey REFERENCES meter.plan ON UPDATE CASCADE ON DELETE CASCADE,
	tenant text COLLATE "C"
		CONSTRAINT price_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 128
			AND tenant !~ '[[:cntrl:]]' AND tenant ~ '[^ ]'),
	metric text COLLATE "C" NOT NULL
		CONSTRAINT price_metric_check CHECK (octet_length(metric) BETWEEN 1 AND 64
			AND metric !~ '[[:cntrl:]]' AND metric ~ '[^ ]'),
	dims jsonb NOT NULL DEFAULT '{}'
		CONSTRAINT price_dims_check CHECK (jsonb_typeof(dims) = 'object'
			AND octet_length(dims::text) <= 8192 AND meter.dims_check(dims)),
	aggregation text COLLATE "C" NOT NULL DEFAULT 'sum'
		CONSTRAINT price_aggregation_check CHECK (
			meter.word_check(aggregation, 'price_aggregation_check',
				ARRAY['count', 'sum', 'min', 'max', 'avg', 'last', 'unique', 'time_weighted', 'weighted_avg',
				'percentile'])),
	percentile numeric
		CONSTRAINT price_percentile_check CHECK (percentile BETWEEN 0 AND 100),
	model text COLLATE "C" NOT NULL,
	params jsonb NOT NULL,
	unit text
		CONSTRAINT price_unit_check CHECK (octet_length(unit) BETWEEN 1 AND 64
			AND unit !~ '[[:cntrl:]]' AND unit ~ '[^ ]'),
	divisor numeric NOT NULL DEFAULT 1
		CONSTRAINT price_divisor_check CHECK (divisor > 0 AND divisor < 'Infinity'),
	rounding text COLLATE "C" NOT NULL DEFAULT 'none'
		CONSTRAINT price_rounding_check CHECK (
			meter.word_check(rounding, 'price_rounding_check', ARRAY['none', 'round', 'ceil', 'floor'])),
	rounding_digits integer NOT NULL DEFAULT 0
		CONSTRAINT price_rounding_digits_check CHECK (rounding_digits BETWEEN -12 AND 12),
	included numeric NOT NULL DEFAULT 0
		CONSTRAINT price_included_check CHECK (included >= 0 AND included < 'Infinity'),
	rollover_min numeric
		CONSTRAINT price_rollover_min_check CHECK (rollover_min >= 0 AND rollover_min < 'Infinity'),
	rollover_max numeric
		CONSTRAINT price_rollover_max_check CHECK (rollover_max >= 0 AND rollover_max < 'Infinity'),
	discount_percent numeric NOT NULL DEFAULT 0
		CONSTRAINT price_discount_percent_check CHECK (discount_percent BETWEEN 0 AND 100),
	min_amount numeric
		CONSTRAINT price_min_amount_check CHECK (min_amount >= 0 AND min_amount < 'Infinity'),
	max_amount numeric
		CONSTRAINT price_max_amount_check CHECK (max_amount >= 0 AND max_amount < 'Infinity'),
	prorate boolean NOT NULL DEFAULT true,
	currency text COLLATE "C" NOT NULL DEFAULT 'USD'
		CONSTRAINT price_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
	valid_from date NOT NULL DEFAULT '2000-01-01'
		CONSTRAINT price_valid_from_check CHECK (isfinite(valid_from)),
	valid_to date
		CONSTRAINT price_valid_to_check CHECK (isfinite(valid_to) AND valid_to > valid_from),
	description text,
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (price_id),
	CONSTRAINT price_key UNIQUE NULLS NOT DISTINCT (price, plan, tenant, valid_from),
	CONSTRAINT price_valid_overlap EXCLUDE USING gist (
		meter.key_range(ARRAY[price, plan, tenant], ARRAY[price, plan, tenant], '[]') WITH =,
		daterange(valid_from, valid_to) WITH &&),
	CONSTRAINT price_plan_or_tenant_check CHECK (num_nonnulls(plan, tenant) <= 1),
	CONSTRAINT price_aggregation_percentile_check CHECK (
		(aggregation = 'percentile') = (percentile IS NOT NULL)),
	-- these two make something of each event
	CONSTRAINT price_model_aggregation_check CHECK (
		model <> ALL (ARRAY['percentage', 'dynamic']) OR aggregation = 'sum'),
	CONSTRAINT price_rollover_check CHECK (rollover_min <= rollover_max),
	CONSTRAINT price_min_max_check CHECK (min_amount <= max_amount),
	-- is true or an error that names the parameter
	CONSTRAINT price_params_check CHECK (@extschema@.meter_charge_check(model, params))
);
COMMENT ON TABLE meter.price IS
'What usage costs: one row per price, for one tenant, one plan or, with neither, all tenants, and for a time. Of the prices of one name, at every moment that of the tenant holds, or else that of its plan, or else that for all';
COMMENT ON COLUMN meter.price.price_id IS 'names the row, also on bills';
COMMENT ON COLUMN meter.price.price IS 'what the line of a bill is for, at most 64 bytes';
COMMENT ON COLUMN meter.price.plan IS 'the plan for which the price is';
COMMENT ON COLUMN meter.price.tenant IS
'the tenant for whom the price is; with neither tenant nor plan it is for all tenants, also those without a plan';
COMMENT ON COLUMN meter.price.metric IS 'metric of the usage';
COMMENT ON COLUMN meter.price.dims IS
'dimensions that usage has to have, as a JSON object such as {"model": "gpt-4"}; {} is all usage of the metric';
COMMENT ON COLUMN meter.price.aggregation IS
'what is made of the usage of a period: count, sum, min, max, avg, last, unique (users), time_weighted (level times hours), weighted_avg (the same by the hours of the period) or percentile';
COMMENT ON COLUMN meter.price.percentile IS
'which percentile, 0 to 100, with aggregation percentile only';
COMMENT ON COLUMN meter.price.model IS 'charge model, as of meter_charge()';
COMMENT ON COLUMN meter.price.params IS 'its parameters, as of meter_charge()';
COMMENT ON COLUMN meter.price.unit IS 'unit of the converted quantity, for people';
COMMENT ON COLUMN meter.price.divisor IS 'by what the quantity is divided to convert it, above 0';
COMMENT ON COLUMN meter.price.rounding IS
'how the converted quantity is rounded: none, round (halves away from zero), ceil or floor';
COMMENT ON COLUMN meter.price.rounding_digits IS
'to how many decimals it is rounded, -12 to 12; -3 is whole thousands';
COMMENT ON COLUMN meter.price.included IS
'how much of a periods quantity costs nothing, in converted units';
COMMENT ON COLUMN meter.price.rollover_min IS
'of what is included and not used, so much is carried over into the next period at least; with neither this nor rollover_max, nothing is';
COMMENT ON COLUMN meter.price.rollover_max IS
'and so much at most; null: all of it, if rollover_min is not null';
COMMENT ON COLUMN meter.price.discount_percent IS
'discount on what the model charges, in percent, 0 to 100';
COMMENT ON COLUMN meter.price.min_amount IS 'what a period costs at least; null: nothing';
COMMENT ON COLUMN meter.price.max_amount IS 'what a period costs at most; null: any amount';
COMMENT ON COLUMN meter.price.prorate IS
'whether a part of a period has that part of included, of a flat fee, of min_amount and of max_amount; otherwise it has all';
COMMENT ON COLUMN meter.price.currency IS 'ISO 4217 code of the currency of all amounts';
COMMENT ON COLUMN meter.price.valid_from IS 'first day, in the time zone of each tenant';
COMMENT ON COLUMN meter.price.valid_to IS
'first day on which it does not hold any more; null: it does not end';
COMMENT ON COLUMN meter.price.description IS 'what the price is, for people';
COMMENT ON COLUMN meter.price.created_at IS 'when the price was added';

CREATE INDEX price_tenant_idx ON meter.price (tenant) WHERE tenant IS NOT NULL;
CREATE INDEX price_plan_idx ON meter.price (plan) WHERE plan IS NOT NULL;
CREATE INDEX price_all_idx ON meter.price (price) WHERE plan IS NULL AND tenant IS NULL;

SELECT pg_catalog.pg_extension_config_dump('meter.price', '');

-- No error: dimensions can be declared later, and a restore brings tables in any
-- order.
CREATE FUNCTION meter.price_dims_declared() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	undeclared text;
BEGIN
	SELECT k.dim INTO undeclared
	FROM meter.metric AS m CROSS JOIN jsonb_object_keys(NEW.dims) AS k (dim)
	WHERE m.metric = NEW.metric AND k.dim <> ALL (m.dimensions)
	ORDER BY k.dim LIMIT 1;
	IF FOUND THEN
		RAISE WARNING 'metric "%" has no dimension "%"', NEW.metric, undeclared
			USING DETAIL = format('No usage has what "dims" of price "%s" asks for.', NEW.price),
				HINT = 'Add the dimension to meter.metric, or remove it from the price.';
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.price_dims_declared() IS
'Trigger of meter.price: warns of dimensions that the metric does not have';

CREATE TRIGGER price_dims_declared
AFTER INSERT OR UPDATE OF metric, dims ON meter.price
FOR EACH ROW WHEN (NEW.dims <> '{}')
EXECUTE FUNCTION meter.price_dims_declared();

CREATE TRIGGER price_kind_fits
AFTER INSERT OR UPDATE OF metric, aggregation, model ON meter.price
FOR EACH ROW EXECUTE FUNCTION meter.kind_fits('price');

-- coupon.sql: discounts on whole bills

CREATE TABLE meter.coupon (
	coupon text COLLATE "C" NOT NULL
		CONSTRAINT coupon_name_check CHECK (octet_length(coupon) BETWEEN 1 AND 64
			AND coupon !~ '[[:cntrl:]]' AND coupon ~ '[^ ]'),
	percent numeric
		CONSTRAINT coupon_percent_check CHECK (percent > 0 AND percent <= 100),
	amount numeric
		CONSTRAINT coupon_amount_check CHECK (amount > 0 AND amount < 'Infinity'),
	currency text COLLATE "C"
		CONSTRAINT coupon_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
	valid_from date NOT NULL DEFAULT '2000-01-01'
		CONSTRAINT coupon_valid_from_check CHECK (isfinite(valid_from)),
	valid_to date
		CONSTRAINT coupon_valid_to_check CHECK (isfinite(valid_to) AND valid_to > valid_from),
	description text,
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (coupon),
	CONSTRAINT coupon_percent_or_amount_check CHECK (num_nonnulls(percent, amount) = 1),
	CONSTRAINT coupon_amount_currency_check CHECK ((amount IS NULL) = (currency IS NULL))
);
COMMENT ON TABLE meter.coupon IS
'Discounts on whole bills, each either a percentage or an amount; meter.tenant_coupon says who has them';
COMMENT ON COLUMN meter.coupon.coupon IS 'name, at most 64 bytes';
COMMENT ON COLUMN meter.coupon.percent IS 'discount in percent, above 0, at most 100';
COMMENT ON COLUMN meter.coupon.amount IS 'discount of each bill, above 0';
COMMENT ON COLUMN meter.coupon.currency IS 'ISO 4217 code of the currency of the amount';
COMMENT ON COLUMN meter.coupon.valid_from IS 'first day of the coupon';
COMMENT ON COLUMN meter.coupon.valid_to IS 'first day on which it does not hold any more; null: it does not end';
COMMENT ON COLUMN meter.coupon.description IS 'what the coupon is, for people';
COMMENT ON COLUMN meter.coupon.created_at IS 'when the coupon was added';

SELECT pg_catalog.pg_extension_config_dump('meter.coupon', '');

CREATE TABLE meter.tenant_coupon (
	tenant text COLLATE "C" NOT NULL
		CONSTRAINT tenant_coupon_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 128
			AND tenant !~ '[[:cntrl:]]' AND tenant ~ '[^ ]'),
	coupon text COLLATE "C" NOT NULL
		CONSTRAINT tenant_coupon_coupon_fkey REFERENCES meter.coupon ON UPDATE CASCADE,
	valid_from date NOT NULL
		CONSTRAINT tenant_coupon_valid_from_check CHECK (isfinite(valid_from)),
	periods integer
		CONSTRAINT tenant_coupon_periods_check CHECK (periods > 0),
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (tenant, coupon)
);
COMMENT ON TABLE meter.tenant_coupon IS 'Which tenants have which coupons, and for how long';
COMMENT ON COLUMN meter.tenant_coupon.tenant IS 'the tenant, at most 128 bytes';
COMMENT ON COLUMN meter.tenant_coupon.coupon IS 'the coupon';
COMMENT ON COLUMN meter.tenant_coupon.valid_from IS 'first day on which the tenant has it';
COMMENT ON COLUMN meter.tenant_coupon.periods IS 'for how many bills; null: any number';
COMMENT ON COLUMN meter.tenant_coupon.created_at IS 'when the tenant was given it';

SELECT pg_catalog.pg_extension_config_dump('meter.tenant_coupon', '');

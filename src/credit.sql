-- credit.sql: amounts that bills are paid from first

CREATE TABLE meter.credit (
	tenant text COLLATE "C" NOT NULL
		CONSTRAINT credit_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 128
			AND tenant !~ '[[:cntrl:]]' AND tenant ~ '[^ ]'),
	credit_id uuid NOT NULL DEFAULT gen_random_uuid(),
	amount numeric NOT NULL
		CONSTRAINT credit_amount_check CHECK (amount > 0 AND amount < 'Infinity'),
	currency text COLLATE "C" NOT NULL DEFAULT 'USD'
		CONSTRAINT credit_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
	priority integer NOT NULL DEFAULT 100,
	valid_from date NOT NULL DEFAULT '2000-01-01'
		CONSTRAINT credit_valid_from_check CHECK (isfinite(valid_from)),
	expires_on date
		CONSTRAINT credit_expires_on_check CHECK (isfinite(expires_on) AND expires_on > valid_from),
	reason text,
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (tenant, credit_id)
);
COMMENT ON TABLE meter.credit IS
'Credits and grants: amounts that a tenant''s bills are paid from. Those with the lowest priority are used first, of these the first to expire, of these the first that was given, and then by credit_id';
COMMENT ON COLUMN meter.credit.tenant IS 'the tenant, at most 128 bytes';
COMMENT ON COLUMN meter.credit.credit_id IS 'names the credit, together with the tenant';
COMMENT ON COLUMN meter.credit.amount IS 'what was given, above 0';
COMMENT ON COLUMN meter.credit.currency IS 'ISO 4217 code of the currency of the amount';
COMMENT ON COLUMN meter.credit.priority IS 'the lowest is used first';
COMMENT ON COLUMN meter.credit.valid_from IS 'first day on which it can be used';
COMMENT ON COLUMN meter.credit.expires_on IS 'first day on which it cannot be used any more; null: it does not expire';
COMMENT ON COLUMN meter.credit.reason IS 'what it was given for, for people';
COMMENT ON COLUMN meter.credit.created_at IS 'when it was given';

SELECT pg_catalog.pg_extension_config_dump('meter.credit', '');

CREATE TABLE meter.credit_use (
	tenant text COLLATE "C" NOT NULL,
	credit_id uuid NOT NULL,
	month date NOT NULL
		CONSTRAINT credit_use_month_check CHECK (isfinite(month) AND extract(day FROM month) = 1),
	revision integer NOT NULL
		CONSTRAINT credit_use_revision_check CHECK (revision > 0),
	amount numeric NOT NULL
		CONSTRAINT credit_use_amount_check CHECK (amount >= 0 AND amount < 'Infinity'),
	PRIMARY KEY (tenant, credit_id, month, revision)
);
COMMENT ON TABLE meter.credit_use IS
'What bills have used of credits: written when a month is closed';
COMMENT ON COLUMN meter.credit_use.tenant IS 'the tenant';
COMMENT ON COLUMN meter.credit_use.credit_id IS 'the credit that was used';
COMMENT ON COLUMN meter.credit_use.month IS 'first day of the month of the bill';
COMMENT ON COLUMN meter.credit_use.revision IS 'revision of the bill';
COMMENT ON COLUMN meter.credit_use.amount IS 'what was used, in the currency of the credit';

SELECT pg_catalog.pg_extension_config_dump('meter.credit_use', '');

CREATE VIEW meter.credit_balance AS
SELECT c.tenant, c.credit_id, c.amount, c.currency, c.priority, c.valid_from, c.expires_on, c.reason,
	c.created_at, COALESCE(u.used, 0) AS used, c.amount - COALESCE(u.used, 0) AS "left"
FROM meter.credit AS c
LEFT JOIN (
	SELECT tenant, credit_id, sum(amount) AS used
	FROM meter.credit_use
	GROUP BY tenant, credit_id
) AS u ON u.tenant = c.tenant AND u.credit_id = c.credit_id;
COMMENT ON VIEW meter.credit_balance IS
'What is left of each credit: its columns, used (by bills so far) and left, in its currency';

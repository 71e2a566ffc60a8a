-- focus.sql: bills as a FOCUS dataset
--
-- FOCUS is the FinOps Foundation's Open Cost and Usage Specification: columns in
-- which customers read the bills of all their providers.  Names and values are
-- those of version 1.1; of 1.2 there is InvoiceId.

CREATE TABLE meter.focus_provider (
	only_row boolean NOT NULL DEFAULT true
		CONSTRAINT focus_provider_only_row_check CHECK (only_row),
	provider_name text NOT NULL
		CONSTRAINT focus_provider_provider_name_check CHECK (provider_name ~ '[^ ]'),
	publisher_name text
		CONSTRAINT focus_provider_publisher_name_check CHECK (publisher_name ~ '[^ ]'),
	invoice_issuer_name text
		CONSTRAINT focus_provider_invoice_issuer_name_check CHECK (invoice_issuer_name ~ '[^ ]'),
	PRIMARY KEY (only_row)
);
COMMENT ON TABLE meter.focus_provider IS
'Who is the provider in meter.focus: at most one row; without it, the name of the database';
COMMENT ON COLUMN meter.focus_provider.only_row IS 'always true: there is one row';
COMMENT ON COLUMN meter.focus_provider.provider_name IS 'who makes the services available';
COMMENT ON COLUMN meter.focus_provider.publisher_name IS 'who has made them; null: the provider';
COMMENT ON COLUMN meter.focus_provider.invoice_issuer_name IS 'who sends the bills; null: the provider';
SELECT pg_catalog.pg_extension_config_dump('meter.focus_provider', '');

CREATE TABLE meter.focus_service (
	metric text COLLATE "C" NOT NULL
		CONSTRAINT focus_service_metric_check CHECK (octet_length(metric) BETWEEN 1 AND 64
			AND metric !~ '[[:cntrl:]]' AND metric ~ '[^ ]'),
	service_name text NOT NULL
		CONSTRAINT focus_service_service_name_check CHECK (service_name ~ '[^ ]'),
	service_category text NOT NULL DEFAULT 'Other'
		CONSTRAINT focus_service_service_category_check CHECK (
			meter.word_check(service_category, 'focus_service_service_category_check',
				ARRAY['AI and Machine Learning', 'Analytics', 'Business Applications', 'Compute', 'Databases',
				'Developer Tools', 'Identity', 'Integration', 'Internet of Things', 'Management and Governance',
				'Media', 'Migration', 'Mobile', 'Multicloud', 'Networking', 'Other', 'Security', 'Storage', 'Web'])),
	PRIMARY KEY (metric)
);
COMMENT ON TABLE meter.focus_service IS
'To which service a metric belongs in meter.focus; without a row, the service has the metric''s name and the category Other';
COMMENT ON COLUMN meter.focus_service.metric IS 'the metric, at most 64 bytes';
COMMENT ON COLUMN meter.focus_service.service_name IS 'name of the service, for people';
COMMENT ON COLUMN meter.focus_service.service_category IS 'category, one of those that FOCUS has';
SELECT pg_catalog.pg_extension_config_dump('meter.focus_service', '');

CREATE VIEW meter.focus AS
SELECT
	l.amount AS "BilledCost",
	l.tenant AS "BillingAccountId",
	l.tenant AS "BillingAccountName",
	b.currency AS "BillingCurrency",
	b.period_to AS "BillingPeriodEnd",
	b.period_from AS "BillingPeriodStart",
	k.category AS "ChargeCategory",
	CASE l.kind WHEN 'delta' THEN 'Correction' END AS "ChargeClass",
	concat_ws(' ', CASE l.kind WHEN 'usage' THEN NULL WHEN 'base' THEN 'plan' ELSE l.kind END,
		COALESCE(l.price, l.metric),
		CASE WHEN l.kind = 'delta' THEN 'of ' || to_char(l.for_month, 'YYYY-MM') END,
		CASE WHEN l.dims <> '{}' THEN l.dims::text END) AS "ChargeDescription",
	k.frequency AS "ChargeFrequency",
	COALESCE(l.to_at, b.period_to) AS "ChargePeriodEnd",
	COALESCE(l.from_at, b.period_from) AS "ChargePeriodStart",
	CASE WHEN k.category = 'Usage' THEN l.quantity END AS "ConsumedQuantity",
	CASE WHEN k.category = 'Usage' AND l.quantity IS NOT NULL
		THEN COALESCE(m.unit, l.metric) END AS "ConsumedUnit",
	l.amount AS "ContractedCost",
	l.amount AS "EffectiveCost",
	CASE b.status WHEN 'final' THEN b.bill_id::text END AS "InvoiceId",
	COALESCE(p.invoice_issuer_name, p.provider_name, current_database()::text) AS "InvoiceIssuerName",
	l.amount AS "ListCost",
	CASE WHEN k.category = ANY (ARRAY['Usage', 'Purchase']) THEN 'Standard' END AS "PricingCategory",
	CASE k.category
		WHEN 'Usage' THEN COALESCE(l.billed_quantity, l.quantity)
		WHEN 'Purchase' THEN COALESCE(l.billed_quantity, l.quantity, 1)
	END AS "PricingQuantity",
	CASE k.category
		WHEN 'Usage' THEN COALESCE(l.unit, m.unit, l.metric)
		WHEN 'Purchase' THEN COALESCE(l.unit, 'Months')
	END AS "PricingUnit",
	COALESCE(p.provider_name, current_database()::text) AS "ProviderName",
	COALESCE(p.publisher_name, p.provider_name, current_database()::text) AS "PublisherName",
	g.region AS "RegionId",
	g.region AS "RegionName",
	COALESCE(s.service_category, 'Other') AS "ServiceCategory",
	COALESCE(s.service_name, l.metric, p.provider_name, current_database()::text) AS "ServiceName",
	u.sku AS "SkuId",
	CASE WHEN u.sku IS NOT NULL THEN COALESCE(l.metric, 'plan') END AS "SkuMeter",
	CASE WHEN u.sku IS NOT NULL THEN COALESCE(l.price_id::text, u.sku) END AS "SkuPriceId",
	g.tags AS "Tags",
	b.status AS "x_BillStatus",
	l.kind AS "x_Kind",
	l.line AS "x_Line",
	l.metric AS "x_Metric",
	l.month AS "x_Month"
FROM meter.bill_line AS l
JOIN meter.bill AS b ON b.tenant = l.tenant AND b.month = l.month AND b.revision = l.revision
JOIN (VALUES
	('base', 'Purchase', 'Recurring'),
	('usage', 'Usage', 'Usage-Based'),
	('minimum', 'Adjustment', 'One-Time'),
	('maximum', 'Adjustment', 'One-Time'),
	('coupon', 'Credit', 'One-Time'),
	('credit', 'Credit', 'One-Time'),
	('tax', 'Tax', 'One-Time')
) AS k (kind, category, frequency)
	-- a correction is of the category of what it corrects
	ON k.kind = CASE WHEN l.kind = 'delta' THEN COALESCE(l.details ->> 'of', 'usage') ELSE l.kind END
-- only what is used or bought has a place in a price list
CROSS JOIN LATERAL (
	SELECT CASE WHEN k.category = ANY (ARRAY['Usage', 'Purchase']) THEN l.price END AS sku
) AS u
CROSS JOIN LATERAL (
	SELECT COALESCE(jsonb_object_agg(d.key, d.value), '{}') AS tags,
		min(d.value #>> '{}') FILTER (WHERE d.key = 'region') AS region
	FROM jsonb_each(l.dims) AS d
) AS g
LEFT JOIN meter.metric AS m ON m.metric = l.metric
LEFT JOIN meter.focus_service AS s ON s.metric = l.metric
LEFT JOIN meter.focus_provider AS p ON true
WHERE b.status <> 'void';
COMMENT ON VIEW meter.focus IS
'What were tenants charged, in the columns of FOCUS (FinOps Open Cost and Usage Specification 1.1)? One row for each line of a bill that is not void; those of meter that FOCUS does not have begin with x_';

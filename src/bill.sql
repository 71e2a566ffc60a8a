-- bill.sql: bills and their lines

CREATE TABLE meter.bill (
	tenant text COLLATE "C" NOT NULL
		CONSTRAINT bill_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 128),
	month date NOT NULL
		CONSTRAINT bill_month_check CHECK (extract(day FROM month) = 1),
	revision integer NOT NULL
		CONSTRAINT bill_revision_check CHECK (revision > 0),
	bill_id uuid NOT NULL DEFAULT gen_random_uuid(),
	status text COLLATE "C" NOT NULL
		CONSTRAINT bill_status_check CHECK (status = ANY (ARRAY['draft', 'final', 'void'])),
	period_from timestamptz NOT NULL,
	period_to timestamptz NOT NULL,
	currency text COLLATE "C" NOT NULL
		CONSTRAINT bill_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
	subtotal numeric NOT NULL
		CONSTRAINT bill_subtotal_check CHECK (subtotal > '-Infinity' AND subtotal < 'Infinity'),
	discount numeric NOT NULL
		CONSTRAINT bill_discount_check CHECK (discount <= 0 AND discount > '-Infinity'),
	credit numeric NOT NULL
		CONSTRAINT bill_credit_check CHECK (credit <= 0 AND credit > '-Infinity'),
	tax numeric NOT NULL
		CONSTRAINT bill_tax_check CHECK (tax > '-Infinity' AND tax < 'Infinity'),
	total numeric NOT NULL,
	lines integer NOT NULL
		CONSTRAINT bill_lines_check CHECK (lines >= 0),
	steps jsonb NOT NULL DEFAULT '[]'
		CONSTRAINT bill_steps_check CHECK (jsonb_typeof(steps) = 'array'),
	position bigint NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL DEFAULT now(),
	rated_at timestamptz NOT NULL DEFAULT now(),
	finalized_at timestamptz,
	voided_at timestamptz,
	void_reason text,
	PRIMARY KEY (tenant, month, revision),
	CONSTRAINT bill_period_check CHECK (period_from < period_to),
	CONSTRAINT bill_total_check CHECK (total = subtotal + discount + credit + tax),
	CONSTRAINT bill_final_check CHECK (status <> 'final' OR finalized_at IS NOT NULL),
	CONSTRAINT bill_void_check CHECK ((status = 'void') = (voided_at IS NOT NULL)
		AND (status = 'void') = (void_reason IS NOT NULL))
);
COMMENT ON TABLE meter.bill IS
'Bills: what each tenant owes for a month. A draft is rated anew each time its month is closed; a final bill and its lines refuse every change, and only meter_void_bill() ends them';
COMMENT ON COLUMN meter.bill.tenant IS 'who is billed';
COMMENT ON COLUMN meter.bill.month IS 'first day of the calendar month in which the period begins';
COMMENT ON COLUMN meter.bill.revision IS
'1, or one more than that of the bill that was voided; at most one revision is not void';
COMMENT ON COLUMN meter.bill.bill_id IS 'names the bill, for other systems';
COMMENT ON COLUMN meter.bill.status IS 'draft, final or void';
COMMENT ON COLUMN meter.bill.period_from IS 'beginning of the period';
COMMENT ON COLUMN meter.bill.period_to IS 'end of the period, exclusive';
COMMENT ON COLUMN meter.bill.currency IS 'ISO 4217 code of the currency of all amounts';
COMMENT ON COLUMN meter.bill.subtotal IS 'sum of the lines base, usage, minimum and delta';
COMMENT ON COLUMN meter.bill.discount IS 'sum of the lines coupon and maximum, 0 or less';
COMMENT ON COLUMN meter.bill.credit IS 'sum of the lines credit, 0 or less';
COMMENT ON COLUMN meter.bill.tax IS 'the line tax';
COMMENT ON COLUMN meter.bill.total IS 'sum of all lines: what is due; below 0 it is owed to the tenant';
COMMENT ON COLUMN meter.bill.lines IS 'number of lines';
COMMENT ON COLUMN meter.bill.steps IS
'coupons, maximum and minimum that held for the bill, in their order, with amounts in its currency; those without effect have no line';
COMMENT ON COLUMN meter.bill.position IS
'position of the rollup in the log when the bill was rated: what comes after it is late';
COMMENT ON COLUMN meter.bill.created_at IS 'when the draft was made';
COMMENT ON COLUMN meter.bill.rated_at IS 'when it was last rated';
COMMENT ON COLUMN meter.bill.finalized_at IS 'when it became final';
COMMENT ON COLUMN meter.bill.voided_at IS 'when it was voided';
COMMENT ON COLUMN meter.bill.void_reason IS 'why it was voided';

-- whoever closes a month, and however often: one bill
CREATE UNIQUE INDEX bill_one ON meter.bill (tenant, month) WHERE status <> 'void';
COMMENT ON INDEX meter.bill_one IS 'a tenant has one bill for a month that is not void';
-- drafts are few, and looked for each day
CREATE INDEX bill_draft ON meter.bill (month) WHERE status = 'draft';
COMMENT ON INDEX meter.bill_draft IS 'months that have drafts';

SELECT pg_catalog.pg_extension_config_dump('meter.bill', '');

CREATE TABLE meter.bill_line (
	tenant text COLLATE "C" NOT NULL,
	month date NOT NULL,
	revision integer NOT NULL,
	line integer NOT NULL
		CONSTRAINT bill_line_line_check CHECK (line > 0),
	kind text COLLATE "C" NOT NULL
		CONSTRAINT bill_line_kind_check CHECK (kind = ANY (ARRAY[
			'base', 'usage', 'coupon', 'maximum', 'minimum', 'delta', 'credit', 'tax'])),
	price text COLLATE "C",
	price_id uuid,
	metric text COLLATE "C",
	dims jsonb,
	from_at timestamptz,
	to_at timestamptz,
	for_month date NOT NULL,
	quantity numeric,
	billed_quantity numeric,
	unit text,
	amount_exact numeric NOT NULL
		CONSTRAINT bill_line_amount_exact_check CHECK (
			amount_exact > '-Infinity' AND amount_exact < 'Infinity'),
	amount numeric NOT NULL
		CONSTRAINT bill_line_amount_check CHECK (amount > '-Infinity' AND amount < 'Infinity'),
	details jsonb NOT NULL
		CONSTRAINT bill_line_details_check CHECK (jsonb_typeof(details) = 'object'),
	PRIMARY KEY (tenant, month, revision, line),
	CONSTRAINT bill_line_for_month_check CHECK (for_month <= month)
);
COMMENT ON TABLE meter.bill_line IS
'Lines of bills, which add up to the bill''s total. Each is rounded once to the digits of the currency, half away from zero';
COMMENT ON COLUMN meter.bill_line.tenant IS 'who is billed';
COMMENT ON COLUMN meter.bill_line.month IS 'month of the bill';
COMMENT ON COLUMN meter.bill_line.revision IS 'revision of the bill';
COMMENT ON COLUMN meter.bill_line.line IS 'number of the line, from 1';
COMMENT ON COLUMN meter.bill_line.kind IS
'base (price of a plan), usage, coupon, maximum and minimum (of the plan, for the whole bill), delta (late usage and corrections of an earlier bill), credit or tax';
COMMENT ON COLUMN meter.bill_line.price IS
'what the line is for: the name of the price, of the plan (base) or of the coupon; of a credit the reason';
COMMENT ON COLUMN meter.bill_line.price_id IS 'the price in meter.price';
COMMENT ON COLUMN meter.bill_line.metric IS 'metric of the usage';
COMMENT ON COLUMN meter.bill_line.dims IS 'which of the metric''s usage was counted; {} is all';
COMMENT ON COLUMN meter.bill_line.from_at IS 'beginning of what is billed';
COMMENT ON COLUMN meter.bill_line.to_at IS 'end of what is billed, exclusive';
COMMENT ON COLUMN meter.bill_line.for_month IS
'month of the bill that the line is for: an earlier one for a delta, otherwise the bill''s own';
COMMENT ON COLUMN meter.bill_line.quantity IS
'quantity as aggregated from the usage; of a delta, by how much it has changed';
COMMENT ON COLUMN meter.bill_line.billed_quantity IS
'quantity that is charged: converted, rounded, without what is included; of a delta, by how much it has changed';
COMMENT ON COLUMN meter.bill_line.unit IS 'unit of the quantity that is charged, for people';
COMMENT ON COLUMN meter.bill_line.amount_exact IS 'amount before it is rounded, up to 30 decimals';
COMMENT ON COLUMN meter.bill_line.amount IS 'amount, in the currency of the bill';
COMMENT ON COLUMN meter.bill_line.details IS
'how the amount comes about, step by step, and the terms of the price as they were';

SELECT pg_catalog.pg_extension_config_dump('meter.bill_line', '');

-- --- what cannot be changed --------------------------------------------------

CREATE FUNCTION meter.bill_is_voided() RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'meter_bill_is_voided';
COMMENT ON FUNCTION meter.bill_is_voided() IS
'Is it meter_void_bill() that is changing a bill?';

CREATE FUNCTION meter.bill_is_final() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF OLD.status <> 'draft' AND NOT (TG_OP = 'UPDATE' AND OLD.status = 'final' AND meter.bill_is_voided()) THEN
		RAISE EXCEPTION 'bill of tenant "%" for % is %', OLD.tenant, to_char(OLD.month, 'YYYY-MM'), OLD.status
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'A bill that is final or void does not change.',
				HINT = 'Late usage and corrections become lines of the next bill. To bill the month anew, call meter_void_bill() and then meter_close_month().',
				SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
	END IF;
	RETURN CASE TG_OP WHEN 'UPDATE' THEN NEW ELSE OLD END;
END
$$;
COMMENT ON FUNCTION meter.bill_is_final() IS
'Trigger of meter.bill: refuses to change or delete what is no draft. Errors: 55000';

CREATE TRIGGER bill_is_final
BEFORE UPDATE OR DELETE ON meter.bill
FOR EACH ROW EXECUTE FUNCTION meter.bill_is_final();

-- By statement, since a month has many lines.  A line can be added to a final
-- bill only where it has lost one, as when a dump is restored.
CREATE FUNCTION meter.bill_line_is_final() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	final meter.bill;
BEGIN
	IF TG_OP <> 'INSERT' THEN
		SELECT b.* INTO final
		FROM old_line AS l
		JOIN meter.bill AS b ON b.tenant = l.tenant AND b.month = l.month AND b.revision = l.revision
		WHERE b.status <> 'draft' LIMIT 1;
	END IF;
	IF TG_OP <> 'DELETE' AND final IS NULL THEN
		SELECT b.* INTO final
		FROM new_line AS l
		JOIN meter.bill AS b ON b.tenant = l.tenant AND b.month = l.month AND b.revision = l.revision
		WHERE b.status <> 'draft' AND (TG_OP = 'UPDATE' OR l.line > b.lines) LIMIT 1;
	END IF;
	IF final.tenant IS NOT NULL THEN
		RAISE EXCEPTION 'bill of tenant "%" for % is %', final.tenant, to_char(final.month, 'YYYY-MM'), final.status
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'The lines of a bill that is final or void do not change.',
				HINT = 'Late usage and corrections become lines of the next bill. To bill the month anew, call meter_void_bill() and then meter_close_month().',
				SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.bill_line_is_final() IS
'Trigger of meter.bill_line: refuses to change, delete or add lines of bills that are no drafts. Errors: 55000';

CREATE TRIGGER bill_line_inserted
AFTER INSERT ON meter.bill_line REFERENCING NEW TABLE AS new_line
FOR EACH STATEMENT EXECUTE FUNCTION meter.bill_line_is_final();
CREATE TRIGGER bill_line_updated
AFTER UPDATE ON meter.bill_line REFERENCING OLD TABLE AS old_line NEW TABLE AS new_line
FOR EACH STATEMENT EXECUTE FUNCTION meter.bill_line_is_final();
CREATE TRIGGER bill_line_deleted
AFTER DELETE ON meter.bill_line REFERENCING OLD TABLE AS old_line
FOR EACH STATEMENT EXECUTE FUNCTION meter.bill_line_is_final();

CREATE FUNCTION meter.bill_truncated() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM meter.bill AS b WHERE b.status <> 'draft') THEN
		RAISE EXCEPTION 'cannot truncate %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'There are bills that are final or void, which do not change.',
				SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.bill_truncated() IS
'Trigger of meter.bill and meter.bill_line: refuses TRUNCATE while there are bills that are no drafts. Errors: 55000';

CREATE TRIGGER bill_truncated
BEFORE TRUNCATE ON meter.bill
FOR EACH STATEMENT EXECUTE FUNCTION meter.bill_truncated();
CREATE TRIGGER bill_line_truncated
BEFORE TRUNCATE ON meter.bill_line
FOR EACH STATEMENT EXECUTE FUNCTION meter.bill_truncated();

CREATE FUNCTION @extschema@.meter_void_bill(tenant text, month date, reason text) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_void_bill(text, date, text) IS
'Void a tenant''s bill, draft or final, of the month that the date is in, and say why. It stays as it was, with status void, and gives back the credits it has used; the next meter_close_month() of that month makes a new one. Errors: P0002 if there is no bill, 22004 for null, 22023 for an empty reason';

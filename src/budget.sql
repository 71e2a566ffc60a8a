-- budget.sql: what may be spent, and what has been

CREATE FUNCTION meter.budget_thresholds_valid(thresholds numeric[]) RETURNS boolean
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN COALESCE(array_ndims(thresholds), 1) = 1 AND NOT EXISTS (
	SELECT FROM unnest(thresholds) WITH ORDINALITY AS u(threshold, n)
	WHERE (u.threshold > 0 AND u.threshold <= 1000) IS NOT TRUE
		OR u.threshold <= thresholds[u.n::integer - 1 + array_lower(thresholds, 1) - 1]);
COMMENT ON FUNCTION meter.budget_thresholds_valid(numeric[]) IS
'Are these the thresholds of a budget: percentages above 0 and up to 1000, each above the one before?';

CREATE TABLE meter.budget (
	budget_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	tenant text COLLATE "C"
		CONSTRAINT budget_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 255
			AND tenant !~ '[[:cntrl:]]' AND tenant ~ '[^ ]'),
	service text COLLATE "C"
		CONSTRAINT budget_service_check CHECK (octet_length(service) BETWEEN 1 AND 255
			AND service !~ '[[:cntrl:]]' AND service ~ '[^ ]'),
	period text COLLATE "C" NOT NULL DEFAULT 'month'
		CONSTRAINT budget_period_check CHECK (
			meter.word_check(period, 'budget_period_check', ARRAY['month', 'day'])),
	amount numeric NOT NULL
		CONSTRAINT budget_amount_check CHECK (amount > 0 AND amount < 'Infinity'),
	currency text COLLATE "C" NOT NULL DEFAULT 'USD'
		CONSTRAINT budget_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
	basis text COLLATE "C" NOT NULL DEFAULT 'cost'
		CONSTRAINT budget_basis_check CHECK (
			meter.word_check(basis, 'budget_basis_check', ARRAY['cost', 'charge'])),
	thresholds numeric[] NOT NULL DEFAULT '{75,90,100}'
		CONSTRAINT budget_thresholds_check CHECK (meter.budget_thresholds_valid(thresholds)),
	hard_limit boolean NOT NULL DEFAULT false,
	description text,
	created_at timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT budget_key UNIQUE NULLS NOT DISTINCT (tenant, service, period, basis),
	CONSTRAINT budget_subject_check CHECK (num_nonnulls(tenant, service) > 0),
	-- prices know tenants and months, but no services
	CONSTRAINT budget_charge_check CHECK (basis <> 'charge'
		OR (tenant IS NOT NULL AND service IS NULL AND period = 'month'))
);
COMMENT ON TABLE meter.budget IS
'What may be spent in a month or a day: by a tenant, on a service, or by a tenant on a service. How much has been is in meter.budget_status';
COMMENT ON COLUMN meter.budget.budget_id IS 'names the budget';
COMMENT ON COLUMN meter.budget.tenant IS 'who spends; null: all tenants together';
COMMENT ON COLUMN meter.budget.service IS 'what it is spent on; null: all services';
COMMENT ON COLUMN meter.budget.period IS
'month: the tenant''s billing period; day: a day in its time zone. Calendar month and day of UTC where there is no row in meter.tenant';
COMMENT ON COLUMN meter.budget.amount IS 'what may be spent in a period, above 0';
COMMENT ON COLUMN meter.budget.currency IS
'ISO 4217 code of the currency of the amount; of a budget of costs, that in which events carry their costs';
COMMENT ON COLUMN meter.budget.basis IS
'cost: what is spent is the costs that events carry; charge: what the tenant''s prices make of its usage, as on its bill, without base price, coupons, credits and tax; of a tenant''s month only';
COMMENT ON COLUMN meter.budget.thresholds IS
'percentages of the amount that are told of, once in a period, in rising order';
COMMENT ON COLUMN meter.budget.hard_limit IS
'whether meter_check() refuses calls, with reason budget, from when the amount is spent until it is raised or the period ends: of the tenant, or of a service for the resource of its name and those below it (service/...). Nothing is ever refused without it';
COMMENT ON COLUMN meter.budget.description IS 'what the budget is for, for people';
COMMENT ON COLUMN meter.budget.created_at IS 'when the budget was added';
SELECT pg_catalog.pg_extension_config_dump('meter.budget', '');

-- A period is counted once, and then what is rolled up is added to it.
CREATE TABLE meter.budget_period (
	budget_id uuid NOT NULL,
	tenant text COLLATE "C",
	period_from timestamptz NOT NULL,
	period_to timestamptz NOT NULL,
	counted_at timestamptz NOT NULL,
	error text,
	PRIMARY KEY (budget_id, period_from)
);
-- periods that are over stay, and each rollup looks for those that are not
CREATE INDEX budget_period_end ON meter.budget_period (period_to);
COMMENT ON TABLE meter.budget_period IS
'The periods of budgets for which it is known what was spent';
COMMENT ON COLUMN meter.budget_period.budget_id IS 'the budget';
COMMENT ON COLUMN meter.budget_period.tenant IS 'the budget''s tenant';
COMMENT ON COLUMN meter.budget_period.period_from IS 'beginning of the period';
COMMENT ON COLUMN meter.budget_period.period_to IS 'end of the period, exclusive';
COMMENT ON COLUMN meter.budget_period.counted_at IS
'when it was last counted as a whole: costs once, charges each time there is new usage';
COMMENT ON COLUMN meter.budget_period.error IS 'why charges could not be reckoned then; null: they could';

CREATE TABLE meter.budget_spend (
	budget_id uuid NOT NULL,
	tenant text COLLATE "C",
	period_from timestamptz NOT NULL,
	metric text COLLATE "C" NOT NULL,
	quantity numeric NOT NULL,
	spent numeric NOT NULL,
	PRIMARY KEY (budget_id, period_from, metric)
);
COMMENT ON TABLE meter.budget_spend IS
'What was spent of each budget in its periods, by metric; kept up to date with meter.usage_hourly by meter_rollup() and meter_refresh_budgets()';
COMMENT ON COLUMN meter.budget_spend.budget_id IS 'the budget';
COMMENT ON COLUMN meter.budget_spend.tenant IS 'the budget''s tenant';
COMMENT ON COLUMN meter.budget_spend.period_from IS 'beginning of the period';
COMMENT ON COLUMN meter.budget_spend.metric IS 'what it was spent on';
COMMENT ON COLUMN meter.budget_spend.quantity IS 'quantity of it: of a budget of charges as it is priced, in the price''s unit';
COMMENT ON COLUMN meter.budget_spend.spent IS 'amount, in the currency of the budget, not rounded';

CREATE TABLE meter.budget_crossing (
	budget_id uuid NOT NULL,
	tenant text COLLATE "C",
	period_from timestamptz NOT NULL,
	threshold numeric NOT NULL,
	crossed_at timestamptz NOT NULL,
	spent numeric NOT NULL,
	amount numeric NOT NULL,
	PRIMARY KEY (budget_id, period_from, threshold)
);
COMMENT ON TABLE meter.budget_crossing IS
'Which thresholds of a budget were reached in a period: one row each, however often the budget is looked at. If a higher amount puts what was spent below a threshold again, its row goes';
COMMENT ON COLUMN meter.budget_crossing.budget_id IS 'the budget';
COMMENT ON COLUMN meter.budget_crossing.tenant IS 'the budget''s tenant';
COMMENT ON COLUMN meter.budget_crossing.period_from IS 'beginning of the period';
COMMENT ON COLUMN meter.budget_crossing.threshold IS 'the percentage that was reached';
COMMENT ON COLUMN meter.budget_crossing.crossed_at IS 'when that was found';
COMMENT ON COLUMN meter.budget_crossing.spent IS 'what was spent then';
COMMENT ON COLUMN meter.budget_crossing.amount IS 'the amount of the budget then';
SELECT pg_catalog.pg_extension_config_dump('meter.budget_crossing', '');

CREATE TABLE meter.budget_block (
	budget_id uuid PRIMARY KEY,
	tenant text COLLATE "C",
	service text COLLATE "C",
	until timestamptz NOT NULL
);
COMMENT ON TABLE meter.budget_block IS
'Budgets with a hard limit that are spent: what meter_check() refuses';
COMMENT ON COLUMN meter.budget_block.budget_id IS 'the budget';
COMMENT ON COLUMN meter.budget_block.tenant IS 'whose calls; null: those of all tenants';
COMMENT ON COLUMN meter.budget_block.service IS 'calls for which resource, or one below it; null: all';
COMMENT ON COLUMN meter.budget_block.until IS 'when the period ends, and with it the block';

-- who decides about calls reads them again
CREATE TRIGGER budget_block_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON meter.budget_block
FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.meter_rule_changed();
ALTER TABLE meter.budget_block ENABLE ALWAYS TRIGGER budget_block_changed;

-- A set of one row, so that it becomes part of the query that asks: to be called
-- for each budget takes ten times as long.
CREATE FUNCTION meter.budget_bounds(period text, time_zone text, anchor integer, at timestamptz)
RETURNS TABLE (month date, period_from timestamptz, period_to timestamptz)
LANGUAGE SQL IMMUTABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
	SELECT m.month,
		(CASE WHEN period = 'day' THEN m.day ELSE least(m.month + (anchor - 1), m.next - 1) END)::timestamp AT TIME ZONE time_zone,
		(CASE WHEN period = 'day' THEN m.day + 1
			ELSE least(m.next + (anchor - 1), (m.next + interval '1 month')::date - 1) END)::timestamp AT TIME ZONE time_zone
	FROM (
		SELECT f.day, f.month, (f.month + interval '1 month')::date AS next
		FROM (
			-- before its anchor day, a month belongs to the period before
			SELECT l.day, (l.first - CASE WHEN l.day < least(l.first + (anchor - 1), (l.first + interval '1 month')::date - 1)
				THEN interval '1 month' ELSE interval '0' END)::date AS month
			FROM (
				SELECT d.day, date_trunc('month', d.day::timestamp)::date AS first
				FROM (SELECT meter.billing_day(at, time_zone) AS day OFFSET 0) AS d
			) AS l
			OFFSET 0
		) AS f
	) AS m;
END;
COMMENT ON FUNCTION meter.budget_bounds(text, text, integer, timestamptz) IS
'The period of a budget that an instant is in, month or day: the month that names a billing period, its beginning and its end, given time zone and anchor day';

CREATE VIEW meter.budget_now AS
SELECT b.*, p.month, p.period_from, p.period_to
FROM meter.budget AS b
LEFT JOIN meter.tenant AS t ON t.tenant = b.tenant
CROSS JOIN LATERAL (SELECT meter.known_time_zone(t.time_zone) AS time_zone OFFSET 0) AS z
CROSS JOIN LATERAL meter.budget_bounds(b.period, z.time_zone, COALESCE(t.billing_anchor, 1), now()) AS p;
COMMENT ON VIEW meter.budget_now IS
'Part of meter.budget_status: budgets and the period that each is in';

CREATE VIEW meter.budget_status AS
SELECT b.budget_id, b.tenant, b.service, b.period, b.period_from, b.period_to, b.basis, b.currency, b.amount,
	s.spent, trim_scale(b.amount - s.spent) AS remaining,
	round(100 * s.spent / b.amount, 2) AS percent,
	round(s.spent * (extract(epoch FROM b.period_to - b.period_from)
		/ greatest(extract(epoch FROM now() - b.period_from), 3600)), 10) AS projected,
	CASE WHEN s.spent >= b.amount THEN 'exceeded'
		WHEN s.spent * 100 >= b.amount * b.thresholds[array_lower(b.thresholds, 1)] THEN 'warning'
		ELSE 'ok' END AS status,
	b.hard_limit,
	EXISTS (SELECT FROM meter.budget_block AS k WHERE k.budget_id = b.budget_id AND k.until > now()) AS blocked,
	s.breakdown, w.counted_at AS updated_at, w.error
FROM meter.budget_now AS b
LEFT JOIN meter.budget_period AS w ON w.budget_id = b.budget_id AND w.period_from = b.period_from
CROSS JOIN LATERAL (
	SELECT trim_scale(COALESCE(sum(m.spent), 0)) AS spent,
		COALESCE(jsonb_object_agg(m.metric, jsonb_build_object('spent', trim_scale(m.spent), 'quantity', trim_scale(m.quantity))), '{}') AS breakdown
	FROM meter.budget_spend AS m
	WHERE m.budget_id = b.budget_id AND m.period_from = b.period_from
) AS s;
COMMENT ON VIEW meter.budget_status IS
'How much of each budget is spent? One row per budget, for its current period: spent, remaining, percent of the amount, projected (what will be spent by the end if it goes on like this), status (ok, warning from the first threshold on, exceeded), blocked (calls are refused), and breakdown, an object by metric. As of the last rollup';
COMMENT ON COLUMN meter.budget_status.projected IS
'run rate: what was spent, by the part of the period that has passed, an hour at least; meter.cost_projection knows more';
COMMENT ON COLUMN meter.budget_status.updated_at IS 'when the period was last counted as a whole; null: not yet';
COMMENT ON COLUMN meter.budget_status.error IS 'why charges could not be reckoned, if so; spent is then what it was before';

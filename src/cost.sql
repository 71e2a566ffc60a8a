-- cost.sql: what tenants cost us, and what is left of what they pay

CREATE TABLE meter.cost_rate (
	component text COLLATE "C" NOT NULL
		CONSTRAINT cost_rate_component_check CHECK (octet_length(component) BETWEEN 1 AND 64
			AND component !~ '[[:cntrl:]]' AND component ~ '[^ ]'),
	metric text COLLATE "C" NOT NULL
		CONSTRAINT cost_rate_metric_check CHECK (octet_length(metric) BETWEEN 1 AND 64
			AND metric !~ '[[:cntrl:]]' AND metric ~ '[^ ]'),
	dims jsonb NOT NULL DEFAULT '{}'
		CONSTRAINT cost_rate_dims_check CHECK (jsonb_typeof(dims) = 'object'
			AND meter.dims_check(dims)),
	aggregation text COLLATE "C" NOT NULL DEFAULT 'sum'
		CONSTRAINT cost_rate_aggregation_check CHECK (
			meter.word_check(aggregation, 'cost_rate_aggregation_check', ARRAY['sum', 'count', 'cost', 'unit_hours'])),
	unit text,
	-- NaN is above Infinity
	divisor numeric NOT NULL DEFAULT 1
		CONSTRAINT cost_rate_divisor_check CHECK (divisor > 0 AND divisor < 'Infinity'),
	rate numeric NOT NULL
		CONSTRAINT cost_rate_rate_check CHECK (rate >= 0 AND rate < 'Infinity'),
	currency text COLLATE "C" NOT NULL DEFAULT 'USD'
		CONSTRAINT cost_rate_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
	valid_from date NOT NULL DEFAULT '2000-01-01'
		CONSTRAINT cost_rate_valid_from_check CHECK (isfinite(valid_from)),
	valid_to date
		CONSTRAINT cost_rate_valid_to_check CHECK (isfinite(valid_to) AND valid_to > valid_from),
	description text,
	PRIMARY KEY (component, metric, dims, aggregation, valid_from)
);
COMMENT ON TABLE meter.cost_rate IS
'What usage costs us: one row per component (such as compute, storage or network), metric, filter and aggregation, from a day (UTC) on. A row holds until valid_to or until the next one of the same begins';
COMMENT ON COLUMN meter.cost_rate.component IS 'what the cost is for, at most 64 bytes';
COMMENT ON COLUMN meter.cost_rate.metric IS 'the metric whose usage costs';
COMMENT ON COLUMN meter.cost_rate.dims IS 'usage counts if its dims contain these; {} is all';
COMMENT ON COLUMN meter.cost_rate.aggregation IS
'sum: of the quantities of a counter; count: of events; cost: of the costs that events carry; unit_hours: of a gauge, its level times hours, such as GB-hours';
COMMENT ON COLUMN meter.cost_rate.unit IS 'unit that the rate is for, for people';
COMMENT ON COLUMN meter.cost_rate.divisor IS
'how many of the metric''s units are one of these, such as 3600 for CPU-seconds that cost by the CPU-hour; above 0';
COMMENT ON COLUMN meter.cost_rate.rate IS 'what one unit costs, 0 or more';
COMMENT ON COLUMN meter.cost_rate.currency IS 'ISO 4217 code of the currency of the rate';
COMMENT ON COLUMN meter.cost_rate.valid_from IS 'first day, UTC';
COMMENT ON COLUMN meter.cost_rate.valid_to IS 'first day, UTC, on which it holds no more; null: until another one begins';
COMMENT ON COLUMN meter.cost_rate.description IS 'where the rate comes from, for people';
SELECT pg_catalog.pg_extension_config_dump('meter.cost_rate', '');

CREATE TRIGGER cost_rate_kind_fits
AFTER INSERT OR UPDATE OF metric, aggregation ON meter.cost_rate
FOR EACH ROW EXECUTE FUNCTION meter.kind_fits('component');

-- In hours of UTC: an hour that a period's or a rate's first instant cuts in two
-- belongs to the time in which it began, but the time that the last sample of a
-- gauge holds on is split to the second.
CREATE FUNCTION meter.cost(of_month date)
RETURNS TABLE (tenant text, component text, metric text, dims jsonb, aggregation text,
	valid_from date, quantity numeric, unit text, rate numeric, currency text, cost numeric)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	WITH calendar AS (
		SELECT f.first, (f.first + interval '1 month')::date AS next,
			(f.first + interval '2 months')::date AS after_next
		FROM (SELECT date_trunc('month', cost.of_month::timestamp)::date AS first
			WHERE isfinite(cost.of_month)) AS f
	), period AS MATERIALIZED (
		SELECT t.tenant,
			least(c.first + (t.billing_anchor - 1), c.next - 1)::timestamp AT TIME ZONE meter.known_time_zone(t.time_zone) AS from_at,
			least(c.next + (t.billing_anchor - 1), c.after_next - 1)::timestamp AT TIME ZONE meter.known_time_zone(t.time_zone) AS to_at
		FROM calendar AS c CROSS JOIN meter.tenant AS t
	), utc AS (
		SELECT c.first::timestamp AT TIME ZONE 'UTC' AS from_at, c.next::timestamp AT TIME ZONE 'UTC' AS to_at
		FROM calendar AS c
	), bounds AS (
		SELECT least(u.from_at, min(p.from_at)) AS low,
			date_trunc('month', least(u.from_at, min(p.from_at)), 'UTC') AS low_month,
			greatest(u.to_at, max(p.to_at)) AS high
		FROM utc AS u LEFT JOIN period AS p ON true
		GROUP BY u.from_at, u.to_at
	), rates AS MATERIALIZED (
		-- a gauge's quantities are level times seconds here
		SELECT r.*, r.divisor * CASE r.aggregation WHEN 'unit_hours' THEN 3600 ELSE 1 END AS per,
			r.valid_from::timestamp AT TIME ZONE 'UTC' AS from_at,
			COALESCE(least(r.valid_to, lead(r.valid_from) OVER (
				PARTITION BY r.component, r.metric, r.dims, r.aggregation ORDER BY r.valid_from)),
				'infinity')::timestamp AT TIME ZONE 'UTC' AS to_at
		FROM meter.cost_rate AS r
	), earlier AS (
		-- what levels the months that are read begin with
		SELECT DISTINCT ON (g.tenant, g.metric, g.service, g.endpoint, g.method, g.dims)
			g.tenant, g.metric, g.service, g.endpoint, g.method, g.dims, NULL::timestamptz AS hour,
			g.last_at AS first_at, g.last_at, g.level AS quantity_last, 0::numeric AS quantity_seconds
		FROM meter.gauge_last AS g
		WHERE g.metric IN (SELECT r.metric FROM rates AS r WHERE r.aggregation = 'unit_hours')
			AND g.month < (SELECT (b.low_month AT TIME ZONE 'UTC')::date FROM bounds AS b)
		ORDER BY g.tenant, g.metric, g.service, g.endpoint, g.method, g.dims, g.month DESC
	), used AS (
		SELECT u.tenant, r.component, r.metric, r.dims, r.aggregation, r.valid_from,
			CASE r.aggregation
				WHEN 'sum' THEN u.quantity
				WHEN 'count' THEN u.events::numeric
				ELSE u.cost
			END AS quantity
		FROM meter.usage_hourly AS u
		JOIN rates AS r ON r.metric = u.metric AND r.aggregation <> 'unit_hours'
			AND u.hour >= r.from_at AND u.hour < r.to_at AND u.dims @> r.dims
		CROSS JOIN utc AS d
		LEFT JOIN period AS p ON p.tenant = u.tenant
		WHERE u.hour >= (SELECT b.low FROM bounds AS b) AND u.hour < (SELECT b.high FROM bounds AS b)
			AND u.hour >= COALESCE(p.from_at, d.from_at) AND u.hour < COALESCE(p.to_at, d.to_at)
		UNION ALL
		SELECT h.tenant, r.component, r.metric, r.dims, r.aggregation, r.valid_from,
			CASE WHEN h.hour >= s.from_at AND h.hour < s.to_at THEN h.quantity_seconds ELSE 0 END
				+ h.quantity_last * greatest(0, extract(epoch FROM
					least(h.until, s.to_at) - greatest(h.last_at, s.from_at)))
		FROM (
			-- each sample holds until the next one, the last one until now
			SELECT u.tenant, u.metric, u.dims, u.hour, u.last_at, u.quantity_last, u.quantity_seconds,
				greatest(u.last_at, COALESCE(lead(u.first_at) OVER (
					PARTITION BY u.tenant, u.metric, u.service, u.endpoint, u.method, u.dims
					ORDER BY u.last_at), now())) AS until
			FROM (
				SELECT * FROM earlier
				UNION ALL
				SELECT u.tenant, u.metric, u.service, u.endpoint, u.method, u.dims, u.hour, u.first_at,
					u.last_at, u.quantity_last, u.quantity_seconds
				FROM meter.usage_hourly AS u
				WHERE u.quantity_seconds IS NOT NULL
					AND u.metric IN (SELECT r.metric FROM rates AS r WHERE r.aggregation = 'unit_hours')
					AND u.hour >= (SELECT b.low_month FROM bounds AS b) AND u.hour < (SELECT b.high FROM bounds AS b)
			) AS u
		) AS h
		JOIN rates AS r ON r.metric = h.metric AND r.aggregation = 'unit_hours' AND h.dims @> r.dims
		CROSS JOIN utc AS d
		LEFT JOIN period AS p ON p.tenant = h.tenant
		CROSS JOIN LATERAL (
			SELECT greatest(r.from_at, COALESCE(p.from_at, d.from_at)) AS from_at,
				least(r.to_at, COALESCE(p.to_at, d.to_at)) AS to_at
		) AS s
		WHERE s.from_at < s.to_at
			AND (h.until > s.from_at OR h.hour >= s.from_at) AND (h.hour < s.to_at OR h.hour IS NULL)
	), summed AS (
		SELECT u.tenant, u.component, u.metric, u.dims, u.aggregation, u.valid_from,
			sum(u.quantity) AS quantity
		FROM used AS u
		GROUP BY u.tenant, u.component, u.metric, u.dims, u.aggregation, u.valid_from
	)
	SELECT s.tenant, s.component, s.metric, s.dims, s.aggregation, s.valid_from,
		s.quantity / r.per, r.unit, r.rate, r.currency, s.quantity * r.rate / r.per
	FROM summed AS s
	JOIN rates AS r ON r.component = s.component AND r.metric = s.metric AND r.dims = s.dims
		AND r.aggregation = s.aggregation AND r.valid_from = s.valid_from
	WHERE s.quantity <> 0;
END;
COMMENT ON FUNCTION meter.cost(date) IS
'What each tenant''s usage in its billing period of a month has cost by each rate of meter.cost_rate: quantity in the rate''s unit, and quantity times rate. Tenants without a row in meter.tenant have calendar months of UTC. Not rounded. Argument: any day of the month';

-- Months in which there is usage, or may still be levels of gauges: partitions
-- are there for nothing else.  A period that began in the month before the first
-- partition's may have usage in it.
CREATE FUNCTION meter.cost_month() RETURNS TABLE (month date)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 24
BEGIN ATOMIC
	SELECT g.month::date
	FROM (
		SELECT min(to_date(substring(c.relname FROM '_p([0-9]{6})$'), 'YYYYMM')) AS first
		FROM pg_catalog.pg_inherits AS i
		JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'meter.usage_hourly'::regclass
	) AS p
	CROSS JOIN LATERAL generate_series((p.first - interval '1 month')::timestamp,
		(now() AT TIME ZONE 'UTC') + interval '14 hours', interval '1 month') AS g (month);
END;
COMMENT ON FUNCTION meter.cost_month() IS
'Part of meter.cost_allocation: the months for which there can be costs';

CREATE VIEW meter.cost_allocation AS
SELECT c.tenant, m.month, c.component, c.currency, sum(c.cost) AS cost
FROM meter.cost_month() AS m
CROSS JOIN LATERAL meter.cost(m.month) AS c
GROUP BY c.tenant, m.month, c.component, c.currency;
COMMENT ON VIEW meter.cost_allocation IS
'What does each tenant cost us? By month (the tenant''s billing period that begins in it) and component, by the rates of meter.cost_rate, not rounded; give a month, and only its usage is read. meter.cost(month) has the quantities';

-- In the currency of the bill, by the rate of the month's last day; without a
-- bill, in that of the costs, which may then be several rows.
CREATE VIEW meter.cost_margin AS
SELECT tenant, month, currency, cost, revenue, revenue - cost AS margin,
	round(100 * (revenue - cost) / NULLIF(revenue, 0), 2) AS margin_percent
FROM (
	SELECT tenant, month, currency,
		CASE WHEN NOT bool_or(cost IS NULL) THEN sum(cost) END AS cost,
		sum(revenue) AS revenue
	FROM (
		SELECT c.tenant, c.month, COALESCE(b.currency, c.currency) AS currency,
			c.cost * CASE WHEN COALESCE(b.currency, c.currency) = c.currency THEN 1 ELSE f.rate END AS cost,
			NULL::numeric AS revenue
		FROM meter.cost_allocation AS c
		LEFT JOIN meter.bill AS b ON b.tenant = c.tenant AND b.month = c.month AND b.status <> 'void'
		LEFT JOIN LATERAL (
			SELECT r.rate FROM meter.fx_rate AS r
			WHERE r.base = c.currency AND r.quote = b.currency
				AND r.valid_from < (c.month + interval '1 month')::date
			ORDER BY r.valid_from DESC LIMIT 1
		) AS f ON true
		UNION ALL
		SELECT b.tenant, b.month, b.currency, 0, b.total - b.tax
		FROM meter.bill AS b
		WHERE b.status <> 'void'
	) AS part
	GROUP BY tenant, month, currency
) AS total;
COMMENT ON VIEW meter.cost_margin IS
'What is left of what each tenant pays? By month: the costs of meter.cost_allocation, the revenue (total without tax of the bill that is not void, null if there is none yet), what is left of it, and that in percent of the revenue; in the currency of the bill. Cost and margin are null where meter.fx_rate has no rate from the costs'' currency into the bill''s';

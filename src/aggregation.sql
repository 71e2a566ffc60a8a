-- aggregation.sql: how much was used of what a price is for

CREATE TYPE meter.price_span AS (
	tenant text COLLATE "C",
	price_id uuid,
	from_at timestamptz,
	to_at timestamptz,
	period_seconds numeric
);
COMMENT ON TYPE meter.price_span IS
'A time in which a price holds for a tenant, and the length of the billing period that it is in';

CREATE FUNCTION meter.segment_of_price(spans meter.price_span[]) RETURNS meter.usage_segment[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
BEGIN
	RETURN (
		SELECT array_agg(meter.segment_of(s.row_number, s.tenant, s.price_id, s.metric, s.dims, s.aggregation,
			s.percentile, s.model, s.gauge, s.period_seconds, s.from_at, s.to_at))
		FROM (
			SELECT row_number() OVER ()::integer, s.tenant, s.price_id, p.metric, p.dims, p.aggregation, p.percentile,
				p.model, COALESCE(m.kind = 'gauge', false) AS gauge, s.period_seconds, s.from_at, s.to_at
			FROM unnest(spans) AS s
			JOIN meter.price AS p ON p.price_id = s.price_id
			LEFT JOIN meter.metric AS m ON m.metric = p.metric
		) AS s
	);
END
$$;
COMMENT ON FUNCTION meter.segment_of_price(meter.price_span[]) IS
'What is to be aggregated for prices: a segment for each time in which one holds for a tenant; null for none';

CREATE FUNCTION meter.billing_segment(month date, tenants text[] DEFAULT NULL) RETURNS meter.usage_segment[]
LANGUAGE SQL STABLE PARALLEL RESTRICTED
RETURN meter.segment_of_price(ARRAY(
	SELECT ROW(s.tenant, s.price_id, s.from_at, s.to_at,
		extract(epoch FROM b.period_to - b.period_from))::meter.price_span
	FROM meter.billing_price($1, $2) AS s
	JOIN meter.billing_period($1, $2) AS b ON b.tenant = s.tenant
));
COMMENT ON FUNCTION meter.billing_segment(date, text[]) IS
'What is to be aggregated for the bills of a month, of some tenants or with null of all: the segments of meter.billing_price() with what their prices are for';

CREATE FUNCTION meter.billing_usage(month date, tenants text[] DEFAULT NULL)
RETURNS TABLE (tenant text, price_id uuid, from_at timestamptz, to_at timestamptz, quantity numeric, events numeric[])
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	segments meter.usage_segment[] := meter.billing_segment(month, tenants);
BEGIN
	RETURN QUERY
	SELECT s.tenant, s.price_id, s.from_at, s.to_at, u.quantity, u.events
	FROM unnest(segments) AS s
	JOIN meter.segment_usage(segments) AS u ON u.no = s.no;
END
$$;
COMMENT ON FUNCTION meter.billing_usage(date, text[]) IS
'What was used for each row of meter.billing_price(), by the price''s aggregation, of what is rolled up (see meter.usage_position()): quantity, null where there is nothing to charge, and for the model percentage the values of the events in their order. For the model dynamic the quantity is the cost that the events carry. Errors: 55000 if events that have to be read one by one were dropped';

CREATE FUNCTION meter.billing_usage_missing(month date, tenants text[] DEFAULT NULL)
RETURNS TABLE (tenant text, price_id uuid, day date)
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT m.tenant, m.price_id, m.day
	FROM meter.segment_missing(meter.billing_segment(billing_usage_missing.month, billing_usage_missing.tenants)) AS m;
END;
COMMENT ON FUNCTION meter.billing_usage_missing(date, text[]) IS
'Days (UTC) whose events were dropped and without which meter.billing_usage() cannot tell the usage of these tenants and prices';

-- recommendation.sql: what could be had for less, with what is known of it
--
-- A saving is what the usage of a time that is over would have cost less: counted,
-- or rated once more.  Where nothing of the kind can be reckoned it is null.
--
-- What the metadata of one event say does not help to read the next one's, so that
-- to memoize it would only take time, and memory more than once.

CREATE TYPE meter.advice AS (
	kind text,
	tenant text COLLATE "C",
	service text COLLATE "C",
	title text,
	saving numeric,
	currency text,
	evidence jsonb
);
COMMENT ON TYPE meter.advice IS 'A row of meter_recommendations()';

CREATE FUNCTION meter.advice_number(metadata jsonb, key text) RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(metadata -> key) = 'number' THEN (metadata ->> key)::numeric END;
COMMENT ON FUNCTION meter.advice_number(jsonb, text) IS
'A number in the metadata of an event; null if there is none, or something else';

CREATE FUNCTION meter.advice_currency(of_tenants text[], on_day date)
RETURNS TABLE (tenant text, currency text)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT t.tenant, COALESCE(t.currency, v.currency)
	FROM meter.tenant AS t
	LEFT JOIN LATERAL (
		SELECT v.currency FROM meter.plan_version AS v
		WHERE v.plan = t.plan AND v.valid_from <= on_day
		ORDER BY v.valid_from DESC LIMIT 1
	) AS v ON true
	WHERE t.tenant = ANY (of_tenants);
END;
COMMENT ON FUNCTION meter.advice_currency(text[], date) IS
'The currency of the costs that events of tenants carry: that of the tenant, or else of its plan, or else null';

-- --- expensive models for small requests ---------------------------------------

-- What calls cost is a sum of products, so calls that have the same prices are
-- added up before they are rated: those between two changes of prices, and
-- between two numbers of tokens from which on others hold.
CREATE FUNCTION meter.advice_model(from_at timestamptz, to_at timestamptz, small_tokens bigint)
RETURNS SETOF meter.advice
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET enable_memoize = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	changes timestamptz[] := ARRAY(
		SELECT DISTINCT p.valid_from FROM meter.model_price AS p
		WHERE p.valid_from > advice_model.from_at AND p.valid_from < advice_model.to_at ORDER BY 1);
	-- the least numbers of tokens in each tier but the first
	tiers numeric[] := ARRAY(
		SELECT DISTINCT p.above_tokens::numeric + 1 FROM meter.model_price AS p
		WHERE p.above_tokens > 0 AND p.above_tokens < advice_model.small_tokens ORDER BY 1);
	of_currency text := (SELECT p.currency FROM meter.model_price AS p LIMIT 1);
BEGIN
	IF of_currency IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY
	WITH call AS MATERIALIZED (
		SELECT e.tenant, e.service, e.metadata ->> 'provider' AS provider, e.metadata ->> 'model' AS model,
			n.input + n.output <= advice_model.small_tokens AS small,
			width_bucket(e.at, changes) AS change, width_bucket(n.input, tiers) AS tier,
			count(*) AS calls, sum(e.cost) AS cost, sum(n.input - n.cached - n.creation) AS plain, sum(n.input) AS input,
			sum(n.cached) AS cached, sum(n.creation) AS creation, sum(n.output) AS output
		FROM meter.event AS e
		CROSS JOIN LATERAL (
			SELECT meter.advice_number(e.metadata, 'input_tokens') AS input,
				meter.advice_number(e.metadata, 'output_tokens') AS output,
				COALESCE(meter.advice_number(e.metadata, 'cached_tokens'), 0) AS cached,
				COALESCE(meter.advice_number(e.metadata, 'cache_creation_tokens'), 0) AS creation
			OFFSET 0
		) AS n
		WHERE e.metric = 'llm_requests' AND e.at >= advice_model.from_at AND e.at < advice_model.to_at
			AND e.superseded_by IS NULL AND e.cost > 0 AND n.input + n.output > 0
		GROUP BY 1, 2, 3, 4, 5, 6, 7
	), used AS (
		-- models are compared with those that somebody calls
		SELECT m.provider, m.model, COALESCE(
			(SELECT p.model FROM meter.model_price AS p WHERE p.provider = m.provider AND p.model = m.model LIMIT 1),
			m.provider || '/' || m.model) AS priced_as
		FROM (SELECT DISTINCT c.provider, c.model FROM call AS c) AS m
	), priced AS MATERIALIZED (
		SELECT u.provider, u.model, t.change, t.tier, p.mode, p.input_price, p.output_price,
			COALESCE(p.cached_price, p.input_price) AS cached_price,
			COALESCE(p.cache_creation_price, p.input_price) AS creation_price
		FROM (SELECT DISTINCT c.change, c.tier FROM call AS c WHERE c.small) AS t
		CROSS JOIN used AS u
		CROSS JOIN LATERAL (
			SELECT p.* FROM meter.model_price AS p
			WHERE p.provider = u.provider AND p.model = u.priced_as
				AND p.above_tokens <= CASE WHEN t.tier = 0 THEN 0 ELSE tiers[t.tier] - 1 END
				AND p.valid_from = (
					SELECT max(q.valid_from) FROM meter.model_price AS q
					WHERE q.provider = u.provider AND q.model = u.priced_as
						AND q.valid_from <= CASE WHEN t.change = 0 THEN advice_model.from_at ELSE changes[t.change] END)
			ORDER BY p.above_tokens DESC LIMIT 1
		) AS p
	), asked AS (
		SELECT c.tenant, c.service, c.provider, c.model, sum(c.calls) AS calls,
			sum(c.calls) FILTER (WHERE c.small) AS small_calls
		FROM call AS c
		GROUP BY c.tenant, c.service, c.provider, c.model
	), rated AS (
		SELECT c.tenant, c.service, c.provider, c.model, a.model AS use_model, sum(c.calls) AS calls,
			sum(c.input) AS input, sum(c.output) AS output, sum(c.cost) AS cost,
			sum(c.plain * r.input + c.cached * r.cached + c.creation * r.creation + c.output * r.output) AS cost_with
		FROM call AS c
		JOIN priced AS o ON o.provider = c.provider AND o.model = c.model AND o.change = c.change AND o.tier = c.tier
		JOIN priced AS a ON a.provider = c.provider AND a.model <> c.model AND a.change = c.change AND a.tier = c.tier
			AND a.mode IS NOT DISTINCT FROM o.mode
		CROSS JOIN LATERAL (
			-- null where there are tokens that it has no price for
			SELECT CASE WHEN c.plain = 0 THEN 0 ELSE a.input_price END AS input,
				CASE WHEN c.cached = 0 THEN 0 ELSE a.cached_price END AS cached,
				CASE WHEN c.creation = 0 THEN 0 ELSE a.creation_price END AS creation,
				CASE WHEN c.output = 0 THEN 0 ELSE a.output_price END AS output
		) AS r
		WHERE c.small
		GROUP BY c.tenant, c.service, c.provider, c.model, a.model
		HAVING bool_and(num_nulls(r.input, r.cached, r.creation, r.output) = 0)
	), best AS (
		SELECT DISTINCT ON (r.tenant, r.service, r.provider, r.model) r.*, s.calls AS all_calls
		FROM rated AS r
		-- what it could do for some of the calls only is no saving that is known
		JOIN asked AS s ON s.tenant = r.tenant AND s.service IS NOT DISTINCT FROM r.service
			AND s.provider = r.provider AND s.model = r.model AND s.small_calls = r.calls
		WHERE r.cost_with < r.cost
		ORDER BY r.tenant, r.service, r.provider, r.model, r.cost_with, r.use_model
	)
	SELECT 'model', b.tenant, b.service, format('Use %s instead of %s for small requests', b.use_model, b.model),
		trim_scale(b.cost - b.cost_with), of_currency,
		jsonb_build_object('provider', b.provider, 'model', b.model, 'use_model', b.use_model,
			'small_tokens', advice_model.small_tokens, 'calls', b.calls, 'all_calls', b.all_calls,
			'input_tokens', b.input, 'output_tokens', b.output,
			'cost', trim_scale(b.cost), 'cost_with', trim_scale(b.cost_with))
	FROM best AS b;
END
$$;
COMMENT ON FUNCTION meter.advice_model(timestamptz, timestamptz, bigint) IS
'Part of meter_recommendations(): small calls of language models, rated by the prices that held at their time for the cheapest other model of the same provider and mode that is called, too';

-- --- requests that are repeated ------------------------------------------------

-- Of requests that are the same and fall into the same window one has to be made:
-- the most expensive, so that no saving is promised that may not be had.  They are
-- sorted by a hash of 128 bits, which is most of the work.
CREATE FUNCTION meter.advice_cache(from_at timestamptz, to_at timestamptz, cache_for interval)
RETURNS SETOF meter.advice
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET enable_memoize = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	model_currency text := (SELECT p.currency FROM meter.model_price AS p LIMIT 1);
BEGIN
	RETURN QUERY
	WITH same AS (
		SELECT hashtextextended(i.request, 0) AS request_0, hashtextextended(i.request, 1) AS request_1, e.tenant, e.service,
			e.metric, e.endpoint, e.method, i.hashed, date_bin(advice_cache.cache_for, e.at, '2000-01-01 00:00+00') AS kept_from,
			count(*) AS calls, sum(e.cost) AS cost, max(e.cost) AS first_cost
		FROM meter.event AS e
		CROSS JOIN LATERAL (
			SELECT COALESCE(e.metadata ->> 'request_hash', e.metadata ->> 'prompt_hash',
				e.metadata ->> 'content_hash', e.metadata ->> 'hash') AS hash
			OFFSET 0
		) AS k
		CROSS JOIN LATERAL (
			SELECT k.hash IS NOT NULL AS hashed, CASE
				WHEN k.hash IS NOT NULL THEN
					jsonb_build_array(k.hash, e.metadata -> 'provider', e.metadata -> 'model')::text
				-- numbers of tokens alone do not tell what was asked
				WHEN e.metric = 'llm_requests' THEN CASE WHEN e.metadata - ARRAY['provider', 'model', 'input_tokens',
					'output_tokens', 'cached_tokens', 'cache_creation_tokens', 'unpriced'] <> '{}' THEN e.metadata::text END
				WHEN e.metadata <> '{}' AND COALESCE(e.method, 'GET') = ANY (ARRAY['GET', 'HEAD', 'QUERY'])
				THEN e.metadata::text END AS request
			OFFSET 0
		) AS i
		WHERE e.at >= advice_cache.from_at AND e.at < advice_cache.to_at AND e.superseded_by IS NULL
			AND e.cost > 0 AND e.metadata IS NOT NULL
			AND COALESCE(e.status < 400, e.error_message IS NULL) AND i.request IS NOT NULL
		GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
	), request AS (
		SELECT s.tenant, s.service, s.metric, s.endpoint, s.method, s.hashed, count(*) AS windows, sum(s.calls) AS calls,
			sum(s.cost) AS cost, sum(s.cost - s.first_cost) AS saving
		FROM same AS s
		GROUP BY s.request_0, s.request_1, s.tenant, s.service, s.metric, s.endpoint, s.method, s.hashed
	), repeated AS (
		SELECT s.tenant, s.service, s.metric, s.endpoint, s.method, sum(s.calls) AS calls,
			sum(s.calls - s.windows) AS repeated, count(*) AS requests, bool_and(s.hashed) AS hashed,
			sum(s.cost) AS cost, sum(s.saving) AS saving
		FROM request AS s
		GROUP BY s.tenant, s.service, s.metric, s.endpoint, s.method
		HAVING sum(s.calls) > sum(s.windows)
	)
	SELECT 'cache', r.tenant, r.service, format('Cache %s: %s of %s requests were repeated',
			COALESCE(NULLIF(concat_ws(' ', r.method, r.endpoint), ''), r.service, r.metric), r.repeated, r.calls),
		trim_scale(r.saving),
		COALESCE(CASE WHEN r.metric <> 'llm_requests' THEN c.currency END, model_currency, 'USD'),
		jsonb_strip_nulls(jsonb_build_object('metric', r.metric, 'endpoint', r.endpoint, 'method', r.method,
			'cache_seconds', trim_scale(extract(epoch FROM advice_cache.cache_for)), 'same_by', CASE WHEN r.hashed THEN 'hash' ELSE 'metadata' END,
			'calls', r.calls, 'repeated', r.repeated, 'different', r.requests,
			'percent', round(100 * r.repeated / r.calls, 2), 'cost', trim_scale(r.cost)))
	FROM repeated AS r
	LEFT JOIN meter.advice_currency(ARRAY(SELECT DISTINCT s.tenant FROM repeated AS s),
		(advice_cache.to_at AT TIME ZONE 'UTC')::date) AS c ON c.tenant = r.tenant
	WHERE r.saving > 0;
END
$$;
COMMENT ON FUNCTION meter.advice_cache(timestamptz, timestamptz, interval) IS
'Part of meter_recommendations(): requests that cost something and were made again, as the hash in their metadata, or all of their metadata, was the same';

-- --- commitments that were not used ---------------------------------------------

CREATE FUNCTION meter.advice_commitment(at timestamptz) RETURNS SETOF meter.advice
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH gone AS (
		SELECT t.tenant FROM meter.tenant AS t WHERE t.status = 'cancelled'
	), last_bill AS (
		SELECT DISTINCT ON (b.tenant) b.*
		FROM meter.bill AS b
		WHERE b.tenant NOT IN (SELECT g.tenant FROM gone AS g) AND b.status <> 'void' AND b.period_to <= advice_commitment.at
			AND b.period_to > advice_commitment.at - interval '3 months'
		ORDER BY b.tenant, b.month DESC
	), unused AS (
		SELECT b.tenant, b.month, b.currency, l.line, l.price,
			CASE WHEN l.kind = 'minimum' THEN l.amount
				ELSE round((l.details ->> 'minimum')::numeric * (l.details -> 'terms' ->> 'fx_rate')::numeric,
					meter.currency_digits(b.currency)) END AS amount,
			CASE WHEN l.kind = 'minimum' THEN (l.details ->> 'amount')::numeric ELSE l.amount END AS committed
		FROM last_bill AS b
		JOIN meter.bill_line AS l ON l.tenant = b.tenant AND l.month = b.month AND l.revision = b.revision
		WHERE l.kind = 'minimum' OR (l.kind = 'usage' AND l.details ? 'minimum')
	)
	SELECT 'commitment', u.tenant, NULL::text, format('Lower the commitment: %s %s of the bill of %s bought no usage',
			sum(u.amount), u.currency, to_char(u.month, 'YYYY-MM')),
		sum(u.amount), u.currency,
		jsonb_build_object('month', u.month, 'lines', jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
			'line', u.line, 'price', u.price, 'committed', trim_scale(u.committed), 'unused', u.amount)) ORDER BY u.line))
	FROM unused AS u
	GROUP BY u.tenant, u.month, u.currency
	HAVING sum(u.amount) > 0
	UNION ALL
	SELECT 'commitment', c.tenant, NULL, format('Use the credit that ends with %s: %s %s are left',
			to_char(c.expires_on - 1, 'YYYY-MM-DD'), trim_scale(c.left), c.currency),
		trim_scale(c.left), c.currency,
		jsonb_strip_nulls(jsonb_build_object('credit_id', c.credit_id, 'amount', trim_scale(c.amount),
			'used', trim_scale(c.used), 'expires_on', c.expires_on, 'reason', c.reason))
	FROM meter.credit_balance AS c
	WHERE c.tenant NOT IN (SELECT g.tenant FROM gone AS g) AND c.left > 0 AND c.valid_from <= (advice_commitment.at AT TIME ZONE 'UTC')::date
		AND c.expires_on > (advice_commitment.at AT TIME ZONE 'UTC')::date
		AND c.expires_on <= (advice_commitment.at AT TIME ZONE 'UTC')::date + 30;
END
$$;
COMMENT ON FUNCTION meter.advice_commitment(timestamptz) IS
'Part of meter_recommendations(): what each tenant''s last bill that is not older than three months charged as minimum, of the whole bill or of a price, beyond its usage; and what is left of credits that end within 30 days. Not of tenants that are cancelled';

-- --- plans ----------------------------------------------------------------------

CREATE FUNCTION meter.advice_plan(at timestamptz) RETURNS SETOF meter.advice
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 100
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
	-- wherever a tenant is, its last period began in one of these
	latest date := date_trunc('month', (advice_plan.at AT TIME ZONE 'UTC') + interval '14 hours' - interval '1 month')::date;
	earlier date := (latest - interval '1 month')::date;
	of_latest text[] := ARRAY(
		SELECT p.tenant FROM meter.billing_period(latest) AS p WHERE p.period_to <= advice_plan.at);
	of_earlier text[] := ARRAY(
		SELECT p.tenant FROM meter.billing_period(earlier) AS p
		WHERE p.period_to <= advice_plan.at AND p.tenant <> ALL (of_latest));
BEGIN
	RETURN QUERY
	WITH compared AS MATERIALIZED (
		SELECT latest AS month, c.* FROM @extschema@.meter_compare_plans(latest, of_latest) AS c
		UNION ALL
		SELECT earlier, c.* FROM @extschema@.meter_compare_plans(earlier, of_earlier) AS c
	), best AS (
		SELECT DISTINCT ON (c.tenant) c.*
		FROM compared AS c
		WHERE NOT c.is_current AND c.fits
		ORDER BY c.tenant, c.amount, c.plan
	), listed AS (
		SELECT c.tenant, jsonb_agg(jsonb_build_object('plan', c.plan, 'amount', c.amount, 'fits', c.fits)
			ORDER BY c.amount, c.plan) AS plans
		FROM compared AS c
		GROUP BY c.tenant
	)
	SELECT 'plan', c.tenant, NULL::text, format('Change from plan %s to %s: %s instead of %s %s for %s',
			c.plan, b.plan, b.amount, c.amount, c.currency, to_char(c.month, 'YYYY-MM')),
		c.amount - b.amount, c.currency,
		jsonb_build_object('month', c.month, 'plan', c.plan, 'use_plan', b.plan, 'amount', c.amount,
			'amount_with', b.amount, 'plans', l.plans)
	FROM compared AS c
	JOIN best AS b ON b.tenant = c.tenant
	JOIN listed AS l ON l.tenant = c.tenant
	WHERE c.is_current AND b.amount < c.amount;
END
$$;
COMMENT ON FUNCTION meter.advice_plan(timestamptz) IS
'Part of meter_recommendations(): tenants whose last billing period would have been cheaper on another plan that has a version and admits their calls, by meter_compare_plans()';

-- --- payloads and versions of the API --------------------------------------------

CREATE FUNCTION meter.advice_payload(from_at timestamptz, to_at timestamptz, payload_bytes bigint)
RETURNS SETOF meter.advice
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
SET enable_memoize = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH large AS (
		SELECT e.tenant, e.service, e.endpoint, e.method, 'metadata' AS found_in, count(*) AS calls,
			count(*) FILTER (WHERE n.bytes > advice_payload.payload_bytes) AS large_calls,
			max(n.bytes) AS largest, sum(n.bytes) AS bytes
		FROM meter.event AS e
		CROSS JOIN LATERAL (
			SELECT GREATEST(meter.advice_number(e.metadata, 'response_bytes'),
				meter.advice_number(e.metadata, 'request_bytes'), meter.advice_number(e.metadata, 'bytes')) AS bytes
			OFFSET 0
		) AS n
		WHERE e.at >= advice_payload.from_at AND e.at < advice_payload.to_at AND e.superseded_by IS NULL
			AND e.endpoint IS NOT NULL AND e.metadata ?| ARRAY['response_bytes', 'request_bytes', 'bytes']
			AND n.bytes IS NOT NULL
		GROUP BY e.tenant, e.service, e.endpoint, e.method
		HAVING max(n.bytes) > advice_payload.payload_bytes
		UNION ALL
		-- a counter of bytes has them as its quantity; how many calls were large is not known of hours
		SELECT h.tenant, h.service, h.endpoint, h.method, h.metric, sum(h.events), NULL, max(h.quantity_max), sum(h.quantity)
		FROM meter.usage_hourly AS h
		JOIN meter.metric AS m ON m.metric = h.metric AND m.kind = 'counter'
			AND (m.metric ~ '_bytes$' OR lower(m.unit) = ANY (ARRAY['byte', 'bytes']))
		WHERE h.hour >= advice_payload.from_at AND h.hour < advice_payload.to_at AND h.endpoint IS NOT NULL
		GROUP BY h.tenant, h.service, h.endpoint, h.method, h.metric
		HAVING max(h.quantity_max) > advice_payload.payload_bytes
	)
	SELECT 'payload', l.tenant, l.service, format('Paginate, compress or select fields of %s: up to %s MB in a call',
			concat_ws(' ', l.method, l.endpoint), round(l.largest / 1000000, 1)),
		NULL::numeric, NULL::text,
		jsonb_strip_nulls(jsonb_build_object('endpoint', l.endpoint, 'method', l.method, 'found_in', l.found_in,
			'payload_bytes', advice_payload.payload_bytes, 'calls', l.calls, 'large_calls', l.large_calls,
			'largest_bytes', trim_scale(l.largest), 'bytes', trim_scale(l.bytes)))
	FROM large AS l;
END
$$;
COMMENT ON FUNCTION meter.advice_payload(timestamptz, timestamptz, bigint) IS
'Part of meter_recommendations(): endpoints with calls of more bytes, as response_bytes, request_bytes or bytes in the metadata or the quantity of a counter of bytes says';

CREATE FUNCTION meter.advice_api_version(period interval, at timestamptz) RETURNS SETOF meter.advice
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	SELECT 'api_version', u.tenant, NULL::text, format('Move from version %s of the API%s%s', u.version,
			' to ' || u.successor, CASE WHEN u.status = 'sunset' THEN ', which is gone since ' ELSE ' before ' END
			|| to_char(u.sunset_on, 'YYYY-MM-DD')),
		NULL::numeric, NULL::text,
		jsonb_strip_nulls(jsonb_build_object('version', u.version, 'status', u.status, 'use_version', u.successor,
			'deprecated_on', v.deprecated_on, 'sunset_on', u.sunset_on,
			'days_left', u.sunset_on - (advice_api_version.at AT TIME ZONE 'UTC')::date,
			'migration_guide', v.migration_guide, 'requests', sum(u.requests), 'last_at', max(u.last_at),
			'endpoints', jsonb_agg(jsonb_strip_nulls(jsonb_build_object('service', u.service, 'endpoint', u.endpoint,
				'method', u.method, 'requests', u.requests, 'unique_users', u.unique_users))
				ORDER BY u.requests DESC, u.service, u.endpoint, u.method)))
	FROM @extschema@.meter_api_version_usage(advice_api_version.period, advice_api_version.at) AS u
	JOIN meter.api_version AS v ON v.version = u.version
	WHERE u.status = ANY (ARRAY['deprecated', 'sunset'])
	GROUP BY u.tenant, u.version, u.status, u.successor, u.sunset_on, v.deprecated_on, v.migration_guide;
END;
COMMENT ON FUNCTION meter.advice_api_version(interval, timestamptz) IS
'Part of meter_recommendations(): who calls versions of the API that are deprecated or gone';

-- --- all of it --------------------------------------------------------------------

CREATE FUNCTION @extschema@.meter_recommendations(
	kinds text[] DEFAULT NULL,
	period interval DEFAULT '30 days',
	small_tokens bigint DEFAULT 1000,
	cache_for interval DEFAULT '1 day',
	payload_bytes bigint DEFAULT 1048576,
	at timestamptz DEFAULT now())
RETURNS TABLE (kind text, tenant text, service text, title text, saving numeric, currency text, evidence jsonb)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	all_kinds CONSTANT text[] := ARRAY['model', 'cache', 'commitment', 'plan', 'payload', 'api_version'];
	wanted text[] := COALESCE(meter_recommendations.kinds, all_kinds);
	to_at timestamptz := meter_recommendations.at;
	from_at timestamptz;
	problem text;
BEGIN
	problem := CASE
		WHEN num_nulls(period, small_tokens, cache_for, payload_bytes, to_at) > 0 THEN
			(SELECT a.name || ' must not be null' FROM (VALUES ('period', period IS NULL), ('small_tokens', small_tokens IS NULL),
				('cache_for', cache_for IS NULL), ('payload_bytes', payload_bytes IS NULL), ('at', to_at IS NULL))
				AS a(name, missing) WHERE a.missing LIMIT 1)
		WHEN array_position(wanted, NULL) IS NOT NULL THEN 'kinds must not be null'
		WHEN NOT wanted <@ all_kinds THEN format('unknown kind of recommendation "%s"',
			(SELECT k FROM unnest(wanted) AS k WHERE k <> ALL (all_kinds) LIMIT 1))
		WHEN NOT isfinite(to_at) THEN 'at must be finite'
		WHEN period <= interval '0' OR to_at - period < to_at - interval '1 year' THEN 'period must be longer than 0 and at most 1 year'
		WHEN small_tokens <= 0 THEN 'small_tokens must be above 0'
		WHEN cache_for < interval '1 second' OR extract(year FROM cache_for) <> 0 OR extract(month FROM cache_for) <> 0 THEN
			'cache_for must be a second or longer and have no months'
		WHEN payload_bytes < 0 THEN 'payload_bytes must not be below 0'
	END;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION '%', problem USING ERRCODE = CASE WHEN problem ~ 'null$' THEN 'null_value_not_allowed'
				ELSE 'invalid_parameter_value' END,
			HINT = CASE WHEN problem ~ '^unknown' THEN 'It is one of ' || array_to_string(all_kinds, ', ') || '.'
				ELSE 'The defaults are those of the view meter.recommendation.' END;
	END IF;
	from_at := to_at - period;
	IF 'model' = ANY (wanted) THEN
		RETURN QUERY SELECT a.* FROM meter.advice_model(from_at, to_at, small_tokens) AS a;
	END IF;
	IF 'cache' = ANY (wanted) THEN
		RETURN QUERY SELECT a.* FROM meter.advice_cache(from_at, to_at, cache_for) AS a;
	END IF;
	IF 'commitment' = ANY (wanted) THEN
		RETURN QUERY SELECT a.* FROM meter.advice_commitment(to_at) AS a;
	END IF;
	IF 'plan' = ANY (wanted) THEN
		RETURN QUERY SELECT a.* FROM meter.advice_plan(to_at) AS a;
	END IF;
	IF 'payload' = ANY (wanted) THEN
		RETURN QUERY SELECT a.* FROM meter.advice_payload(from_at, to_at, payload_bytes) AS a;
	END IF;
	IF 'api_version' = ANY (wanted) THEN
		RETURN QUERY SELECT a.* FROM meter.advice_api_version(period, to_at) AS a;
	END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_recommendations(text[], interval, bigint, interval, bigint, timestamptz) IS
'What could be had for less. kind is model (expensive models for small requests), cache (requests that are repeated), commitment (minimum that is paid without usage; credits that end), plan (another plan would be cheaper), payload (endpoints with large payloads) or api_version (deprecated versions that are called); saving is what the period would have cost less, of a plan or a commitment the last billing period, null where that cannot be told; evidence says how it comes about. Arguments: the kinds, null for all; how long before at is looked at; up to how many tokens a call is small; how long a cache would keep an answer, in windows from 2000-01-01 UTC on; from how many bytes on a payload is large; the instant. Errors: 22004 for null, 22023 for an unknown kind or a value out of range';

CREATE VIEW meter.recommendation AS
SELECT r.kind, r.tenant, r.service, r.title, r.saving, r.currency, r.evidence
FROM @extschema@.meter_recommendations() AS r;
COMMENT ON VIEW meter.recommendation IS
'What could be had for less? Of the last 30 days and the last bills, as meter_recommendations() tells of any time and of single kinds; saving is null where it cannot be told';

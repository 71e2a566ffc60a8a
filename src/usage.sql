-- usage.sql: usage by hour, and by user and day

CREATE TABLE meter.usage_hourly (
	hour timestamptz NOT NULL,
	tenant text COLLATE "C" NOT NULL,
	metric text COLLATE "C" NOT NULL,
	service text COLLATE "C",
	endpoint text COLLATE "C",
	method text COLLATE "C",
	dims jsonb NOT NULL,
	events bigint NOT NULL,
	successes bigint NOT NULL,
	errors bigint NOT NULL,
	errors_4xx bigint NOT NULL,
	errors_5xx bigint NOT NULL,
	errors_429 bigint NOT NULL,
	folded bigint NOT NULL,
	first_at timestamptz NOT NULL,
	last_at timestamptz NOT NULL,
	last_seq bigint NOT NULL,
	quantity numeric NOT NULL,
	quantity_min numeric NOT NULL,
	quantity_max numeric NOT NULL,
	quantity_first numeric NOT NULL,
	quantity_last numeric NOT NULL,
	quantity_seconds numeric,
	cost numeric,
	latency @extschema@.meter_sketch
) PARTITION BY RANGE (hour);

DO $$
BEGIN
	EXECUTE pg_catalog.format('ALTER TABLE meter.usage_hourly ADD COLUMN users %s.hll',
		(SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'hll'));
END
$$;

-- hll is in whatever schema it was installed in.  Statements that call its
-- functions stand between these two settings; that schema comes last.
SELECT pg_catalog.set_config('search_path',
	pg_catalog.format('pg_catalog, %s', extnamespace::regnamespace), true)
FROM pg_catalog.pg_extension WHERE extname = 'hll';

CREATE FUNCTION meter.users_union(a hll, b hll) RETURNS hll
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN COALESCE(hll_union(a, b), a, b);
COMMENT ON FUNCTION meter.users_union(hll, hll) IS
'Union of two sets of users, either of which may be null';

CREATE FUNCTION meter.users_of(hashes bigint[]) RETURNS hll
LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE
RETURN (SELECT hll_add_agg(h.hash::hll_hashval) FROM unnest(hashes) AS h(hash));
COMMENT ON FUNCTION meter.users_of(bigint[]) IS
'Set of users from the hashes of their names (hll_hash_text)';

CREATE FUNCTION meter.users_count(users hll) RETURNS bigint
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN COALESCE(round(hll_cardinality(users)::numeric), 0)::bigint;
COMMENT ON FUNCTION meter.users_count(hll) IS
'Number of distinct users in a set: exact up to 160, within about 2.3 % (one standard error) beyond; 0 for null';

SET LOCAL search_path TO pg_catalog, pg_temp;

COMMENT ON TABLE meter.usage_hourly IS
'Usage by hour and group (tenant, metric, service, endpoint, method, dims), written by meter_rollup(); every column can be merged over hours. Partitioned by month (UTC)';
COMMENT ON COLUMN meter.usage_hourly.hour IS 'start of the hour, UTC';
COMMENT ON COLUMN meter.usage_hourly.tenant IS 'who is metered';
COMMENT ON COLUMN meter.usage_hourly.metric IS 'what is metered';
COMMENT ON COLUMN meter.usage_hourly.service IS 'service; (other) for folded groups';
COMMENT ON COLUMN meter.usage_hourly.endpoint IS 'route; (other) for folded groups';
COMMENT ON COLUMN meter.usage_hourly.method IS 'HTTP method; (other) for folded groups';
COMMENT ON COLUMN meter.usage_hourly.dims IS 'the metric''s declared dimensions, from metadata';
COMMENT ON COLUMN meter.usage_hourly.events IS 'number of events';
COMMENT ON COLUMN meter.usage_hourly.successes IS 'events that were no errors';
COMMENT ON COLUMN meter.usage_hourly.errors IS
'events with a status of 400 or more, or without status but with an error message';
COMMENT ON COLUMN meter.usage_hourly.errors_4xx IS 'events with status 400 to 499';
COMMENT ON COLUMN meter.usage_hourly.errors_5xx IS 'events with status 500 to 599';
COMMENT ON COLUMN meter.usage_hourly.errors_429 IS 'events with status 429; also among errors_4xx';
COMMENT ON COLUMN meter.usage_hourly.folded IS
'events of groups beyond meter.max_groups_per_hour that were folded into this one';
COMMENT ON COLUMN meter.usage_hourly.first_at IS 'time of the first event';
COMMENT ON COLUMN meter.usage_hourly.last_at IS 'time of the last event';
COMMENT ON COLUMN meter.usage_hourly.last_seq IS
'position of the last event in the log; of events of the same time the last one is that of the highest position';
COMMENT ON COLUMN meter.usage_hourly.quantity IS 'sum of quantities';
COMMENT ON COLUMN meter.usage_hourly.quantity_min IS 'lowest quantity';
COMMENT ON COLUMN meter.usage_hourly.quantity_max IS 'highest quantity';
COMMENT ON COLUMN meter.usage_hourly.quantity_first IS 'quantity of the first event';
COMMENT ON COLUMN meter.usage_hourly.quantity_last IS 'quantity of the last event';
COMMENT ON COLUMN meter.usage_hourly.quantity_seconds IS
'for a gauge: its level times seconds, from the first sample of the hour to the last';
COMMENT ON COLUMN meter.usage_hourly.cost IS 'sum of costs, null if no event had one';
COMMENT ON COLUMN meter.usage_hourly.latency IS 'latencies in milliseconds, null if no event had one';
COMMENT ON COLUMN meter.usage_hourly.users IS 'set of distinct users, null if no event had one';

CREATE TABLE meter.usage_user_daily (
	day date NOT NULL,
	tenant text COLLATE "C" NOT NULL,
	metric text COLLATE "C" NOT NULL,
	user_id text COLLATE "C" NOT NULL,
	dims jsonb NOT NULL,
	events bigint NOT NULL,
	errors bigint NOT NULL,
	first_at timestamptz NOT NULL,
	last_at timestamptz NOT NULL,
	quantity numeric NOT NULL,
	cost numeric
) PARTITION BY RANGE (day);
COMMENT ON TABLE meter.usage_user_daily IS
'Usage by day (UTC), tenant, metric, user and dimensions, exact; written by meter_rollup(). Partitioned by month';
COMMENT ON COLUMN meter.usage_user_daily.day IS 'day, UTC';
COMMENT ON COLUMN meter.usage_user_daily.tenant IS 'who is metered';
COMMENT ON COLUMN meter.usage_user_daily.metric IS 'what is metered';
COMMENT ON COLUMN meter.usage_user_daily.user_id IS 'the tenant''s user';
COMMENT ON COLUMN meter.usage_user_daily.dims IS 'the metric''s declared dimensions, from metadata';
COMMENT ON COLUMN meter.usage_user_daily.events IS 'number of events';
COMMENT ON COLUMN meter.usage_user_daily.errors IS 'events that were errors';
COMMENT ON COLUMN meter.usage_user_daily.first_at IS 'time of the first event';
COMMENT ON COLUMN meter.usage_user_daily.last_at IS 'time of the last event';
COMMENT ON COLUMN meter.usage_user_daily.quantity IS 'sum of quantities';
COMMENT ON COLUMN meter.usage_user_daily.cost IS 'sum of costs, null if no event had one';

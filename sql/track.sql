-- meter_track(): what is stored, and every error
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

SELECT meter_track('acme', endpoint => 'https://api.example.com/v2/users/12345/orders?page=2', method => 'GET',
	status => 200, latency_ms => 45.25, user_id => 'u1', cost => 0.0025, service => 'shop',
	metadata => '{"region": "eu", "n": 1}', request_id => 'r-1', at => now() - interval '1 hour');
SELECT meter_track('acme', error_message => 'call failed: Authorization: Bearer abcdef1234567890abcdef',
	metadata => '{"password": "hunter2", "nested": {"api_key": "x"}, "input_tokens": 7}');
SELECT meter_track('acme', 'tokens', 0.000000000000000000000000000001);

-- an event is in the caller's transaction
BEGIN;
SELECT meter_track('acme', 'lost', 1);
ROLLBACK;

SELECT tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata,
	request_id, error_message, validated, now() - at < interval '1 minute' AS at_is_now
FROM meter.inbox ORDER BY metric, status;

-- empty optional names are absent
SELECT meter_track('empty', service => '', endpoint => '', method => '', user_id => '', request_id => '',
	idempotency_key => '', error_message => '');
SELECT num_nulls(service, endpoint, method, user_id, request_id, idempotency_key, error_message)
FROM meter.inbox WHERE tenant = 'empty';

-- without normalisation the endpoint is kept, but not its credentials, and not at any length
SET meter.normalize_endpoints = off;
SELECT meter_track('raw', endpoint => '/v2/users/12345?api_key=abcdef&page=2');
SELECT endpoint FROM meter.inbox WHERE tenant = 'raw';
SELECT meter_track('long', endpoint => repeat('ä', 400), error_message => repeat('é', 1000));
SELECT octet_length(endpoint), char_length(endpoint), octet_length(error_message) FROM meter.inbox WHERE tenant = 'long';
RESET meter.normalize_endpoints;

-- endpoints that come again and again, and many others between them, become what each is by itself,
-- whatever the setting was the time before
CREATE TEMP TABLE route AS
SELECT i, i % 3 <> 0 AS normalized,
	CASE k % 7
		WHEN 0 THEN '/v1/things/' || k
		WHEN 1 THEN '/v1/' || md5(k::text) || '/x'
		WHEN 2 THEN '/word' || repeat('x', k % 150)
		WHEN 3 THEN '/v1/login?token=secret' || k
		WHEN 4 THEN '?q=' || k
		WHEN 5 THEN '/' || repeat('é', k % 80) || '/' || k
		ELSE '/1' || repeat('/' || k % 10, k % 50)
	END AS e
FROM generate_series(1, 6000) AS i, LATERAL (SELECT i * 31 % CASE WHEN i % 2 = 0 THEN 20 ELSE 2900 END AS k) AS o;
SELECT count(*) FROM (
	SELECT set_config('meter.normalize_endpoints', normalized::text, false),
		meter_track('route', endpoint => e, request_id => i::text)
	FROM route) AS o;
RESET meter.normalize_endpoints;
WITH expected AS (
	SELECT i, e, normalized, CASE WHEN normalized THEN meter_normalize_endpoint(e)
		ELSE regexp_replace(e, 'token=.*', 'token=***') END AS endpoint
	FROM route
)
SELECT count(DISTINCT e) > 1000 AS many, count(*) FILTER (WHERE normalized AND x.endpoint <> e) > 1000 AS changed,
	count(*) FILTER (WHERE i.endpoint IS DISTINCT FROM NULLIF(x.endpoint, '')) AS wrong
FROM expected AS x JOIN meter.inbox AS i ON i.tenant = 'route' AND i.request_id = x.i::text;
DROP TABLE route;

-- bad input: one error each, with its SQLSTATE, whether an event is to be committed or buffered, and
-- nothing is stored
TRUNCATE meter.inbox;
\set VERBOSITY verbose
\set SHOW_CONTEXT never
\set ON_ERROR_STOP 0
CREATE FUNCTION outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	-- times differ from run to run
	detail := regexp_replace(detail, 'It is [0-9]{4}-[^;]*;', 'It is <time>;');
	RETURN concat_ws(E'\n    ', state || ': ' || message, NULLIF(detail, ''), NULLIF(hint, ''));
END
$$;
-- the same in both modes, or it is shown twice
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	committed text; buffered text;
BEGIN
	SET LOCAL meter.durability = commit;
	committed := outcome(statement);
	SET LOCAL meter.durability = buffered;
	buffered := outcome(statement);
	RETURN CASE WHEN committed = buffered THEN committed
		ELSE concat_ws(E'\n', committed, 'but buffered, ' || buffered) END;
END
$$;
\pset format unaligned
\pset tuples_only on
SELECT try($$SELECT meter_track(NULL)$$);
SELECT try($$SELECT meter_track('')$$);
SELECT try($$SELECT meter_track('   ')$$);
SELECT try($$SELECT meter_track(repeat('t', 129))$$);
SELECT try($$SELECT meter_track(repeat('t', 128))$$);
SELECT try($$SELECT meter_track(E'a\nb')$$);
SELECT try($$SELECT meter_track('a', metric => NULL)$$);
SELECT try($$SELECT meter_track('a', metric => '')$$);
SELECT try($$SELECT meter_track('a', metric => repeat('m', 65))$$);
SELECT try($$SELECT meter_track('a', quantity => NULL)$$);
SELECT try($$SELECT meter_track('a', quantity => 'NaN')$$);
SELECT try($$SELECT meter_track('a', quantity => 'Infinity')$$);
SELECT try($$SELECT meter_track('a', quantity => '-Infinity')$$);
SELECT try($$SELECT meter_track('a', quantity => -0.5)$$);
SELECT try($$SELECT meter_track('a', 'never heard of', -0.5)$$);
SELECT try($$SELECT meter_track('a', quantity => repeat('7', 200)::numeric)$$);
SELECT try($$SELECT meter_track('a', quantity => 1e30)$$);
SELECT try($$SELECT meter_track('a', quantity => 1e30 - 1)$$);
SELECT try($$SELECT meter_track('a', quantity => 1e131071)$$);
SELECT try($$SELECT meter_track('a', quantity => 1e-31)$$);
SELECT try($$SELECT meter_track('a', cost => 1e-31)$$);
SELECT try($$SELECT meter_track('a', cost => -1e30)$$);
SELECT try($$SELECT meter_track('a', latency_ms => 1e13)$$);
SELECT try($$SELECT meter_track('a', service => repeat('s', 65))$$);
SELECT try($$SELECT meter_track('a', service => E'\t')$$);
SELECT try($$SELECT meter_track('a', method => repeat('M', 17))$$);
SELECT try($$SELECT meter_track('a', user_id => repeat('u', 129))$$);
SELECT try($$SELECT meter_track('a', idempotency_key => repeat('k', 256))$$);
SELECT try($$SELECT meter_track('a', request_id => repeat('r', 129))$$);
SELECT try($$SELECT meter_track('a', status => 99)$$);
SELECT try($$SELECT meter_track('a', status => 600)$$);
SELECT try($$SELECT meter_track('a', status => -1)$$);
SELECT try($$SELECT meter_track('a', latency_ms => -0.001)$$);
SELECT try($$SELECT meter_track('a', latency_ms => 'NaN')$$);
SELECT try($$SELECT meter_track('a', latency_ms => 'Infinity')$$);
SELECT try($$SELECT meter_track('a', cost => 'NaN')$$);
SELECT try($$SELECT meter_track('a', cost => 'Infinity')$$);
SELECT try($$SELECT meter_track('a', cost => repeat('7', 200)::numeric)$$);
SELECT try($$SELECT meter_track('a', metadata => '[1, 2]')$$);
SELECT try($$SELECT meter_track('a', metadata => '"text"')$$);
SELECT try($$SELECT meter_track('a', metadata => jsonb_build_object('k', repeat('x', 8176)))$$);
SELECT try($$SELECT meter_track('a', at => now() + interval '6 minutes')$$);
SELECT try($$SELECT meter_track('a', at => now() + interval '4 minutes')$$);
SELECT try($$SELECT meter_track('a', at => now() - interval '91 days')$$);
SELECT try($$SELECT meter_track('a', at => now() - interval '89 days')$$);
SELECT try($$SELECT meter_track('a', at => 'infinity')$$);
SELECT try($$SELECT meter_track('a', at => '-infinity')$$);
SELECT try($$SELECT meter_track('a', at => '0001-12-31 BC')$$);
SELECT try($$SET meter.max_future_skew = '1h'; SELECT meter_track('a', at => now() + interval '6 minutes'); RESET meter.max_future_skew$$);
SELECT try($$SET meter.retention = 0; SELECT meter_track('a', at => '2001-02-03'); RESET meter.retention$$);
SELECT try($$SET meter.retention = 0; SELECT meter_track('a', at => '0001-12-31 BC'); RESET meter.retention$$);
SELECT try($$SET meter.retention = 0; SELECT meter_track('a', at => '0001-01-01 00:00+00'); RESET meter.retention$$);
SELECT try($$SELECT meter_track('a', quantity => 0, latency_ms => 0, status => 100)$$);
SELECT try($$SELECT meter_track('a', status => 599, cost => -1)$$);
SELECT try($$SELECT meter_track_batch('5')$$);
SELECT try($$SET meter.rentention = 0$$);
SELECT count(*) FROM meter.inbox;
SELECT metric FROM meter.metric WHERE metric = 'never heard of';
-- nothing of what was accepted can stop the flush or the rollup
SET meter.retention = 0;
SELECT * FROM meter_flush();
SELECT meter_rollup();
DROP FUNCTION try, outcome;

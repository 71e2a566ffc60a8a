-- examples/middleware/postgrest.sql: limits and tracking in front of PostgREST.
--
-- A function that PostgREST 12 or later calls in each transaction before the
-- request's own query:
--
--	db-pre-request = "meter_hook.pre_request"
--
-- Run it as superuser in the database that has meter, with the roles that
-- requests have instead of web_anon and web_user.  The schema must not be in
-- db-schemas, or the function could be called as an endpoint.

-- Owns the function, which has its privileges: those who call the API need none.
CREATE ROLE meter_hook NOLOGIN;
SELECT meter_grant('meter_hook', 'app');

CREATE SCHEMA meter_hook;
GRANT USAGE ON SCHEMA meter_hook TO meter_hook, web_anon, web_user;

CREATE FUNCTION meter_hook.pre_request() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	claims jsonb := NULLIF(current_setting('request.jwt.claims', true), '')::jsonb;
	tenant text := COALESCE(claims ->> 'tenant', 'anonymous');
	user_id text := claims ->> 'sub';
	method text := current_setting('request.method', true);
	-- %6F and o are the same to PostgREST
	path text := regexp_replace(to_json(current_setting('request.path', true))::text,
		'%([2-7][0-9A-Fa-f])', '\\u00\1', 'g')::json #>> '{}';
	decision meter.decision;
	headers jsonb;
BEGIN
	BEGIN
		decision := public.meter_check(tenant,
			left(replace(method, 'HEAD', 'GET') || ' ' || path, 512), user_id => user_id);
		-- one that is refused has been tracked by meter_check()
		IF decision.allowed THEN
			PERFORM public.meter_track(tenant, endpoint => path, method => method, user_id => user_id);
		END IF;
	EXCEPTION WHEN OTHERS THEN
		-- class 22: what was passed is wrong, such as a tenant that is too long
		IF SQLSTATE LIKE '22%' THEN
			RAISE;
		END IF;
		-- let it go on; to refuse it instead: RAISE
		RAISE WARNING 'meter: %', SQLERRM;
		RETURN;
	END;

	headers := public.meter_headers(decision);
	IF NOT decision.allowed THEN
		RAISE SQLSTATE 'PGRST' USING
			MESSAGE = json_build_object('code', 'PT429',
				'message', CASE decision.reason WHEN 'quota' THEN 'quota exceeded' ELSE 'rate limit exceeded' END,
				'details', decision.rule)::text,
			DETAIL = json_build_object('status', 429, 'headers', headers)::text;
	END IF;
	PERFORM set_config('response.headers',
		(SELECT jsonb_agg(jsonb_build_object(key, value)) FROM jsonb_each(headers))::text, true);
END
$$;
COMMENT ON FUNCTION meter_hook.pre_request() IS
'For db-pre-request of PostgREST: asks meter whether the request may go on, sets the response headers, tracks it';

ALTER FUNCTION meter_hook.pre_request() OWNER TO meter_hook;
REVOKE ALL ON FUNCTION meter_hook.pre_request() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION meter_hook.pre_request() TO web_anon, web_user;

-- decision.sql: what a limit has decided, and how HTTP says so

CREATE TYPE meter.decision AS (
	allowed boolean,
	rule text,
	"limit" numeric,
	remaining numeric,
	reset_at timestamptz,
	retry_after interval,
	quota_limit numeric,
	quota_remaining numeric,
	quota_reset timestamptz,
	reason text,
	warning integer,
	unit text,
	period interval,
	quota_rule text,
	quota_period interval
);
COMMENT ON TYPE meter.decision IS
'What meter_check() has decided about a call. Of several rules of a kind, the one that has the least left is told of: rule to period are about a bucket, quota_* about a calendar window';
COMMENT ON COLUMN meter.decision.allowed IS 'whether the call may go on';
COMMENT ON COLUMN meter.decision.rule IS 'name of the rule; null: there is none';
COMMENT ON COLUMN meter.decision."limit" IS 'how much is admitted at once, when nothing is taken; null: any amount';
COMMENT ON COLUMN meter.decision.remaining IS 'how much would be admitted now, after this call';
COMMENT ON COLUMN meter.decision.reset_at IS 'when all of the limit will be there again, if nothing is taken';
COMMENT ON COLUMN meter.decision.retry_after IS
'after which time the call would be admitted, if nothing else is taken; one second if there was no room to count it; null: it is admitted, or never will be';
COMMENT ON COLUMN meter.decision.quota_limit IS 'how much is admitted in the calendar window; null: any amount';
COMMENT ON COLUMN meter.decision.quota_remaining IS 'how much is left of it, after this call';
COMMENT ON COLUMN meter.decision.quota_reset IS 'when the window ends and the quota begins anew';
COMMENT ON COLUMN meter.decision.reason IS
'ok; no_rule: nothing limits the call; rate: a bucket is empty; quota: a calendar quota is used up; too_costly: more than the limit ever admits at once; full: there was no room to keep count; budget: a budget with a hard limit is spent, and retry_after is the rest of its period';
COMMENT ON COLUMN meter.decision.warning IS
'80, 90, 95 or 100: the percentage that the use of the quota has reached; null: less';
COMMENT ON COLUMN meter.decision.unit IS 'what the rule counts: requests or cost';
COMMENT ON COLUMN meter.decision.period IS 'the time that the limit is for';
COMMENT ON COLUMN meter.decision.quota_rule IS 'name of the rule of the quota; null: there is none';
COMMENT ON COLUMN meter.decision.quota_period IS 'length of the calendar window';

-- Parts of meter_headers().  With cast operands, || is immutable, so that they
-- are inlined.

CREATE FUNCTION meter.header_whole(number numeric) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN number > 0 THEN floor(number)::text WHEN number <= 0 THEN '0' END;
COMMENT ON FUNCTION meter.header_whole(numeric) IS
'Part of meter_headers(): the number rounded down, at least 0';

-- Not now(): the decision may be younger than the transaction.
CREATE FUNCTION meter.header_time(at timestamptz, form text) RETURNS text
LANGUAGE SQL VOLATILE PARALLEL SAFE
RETURN CASE
	WHEN NOT isfinite(at) THEN NULL
	WHEN form = 'epoch' THEN ceil(extract(epoch FROM at))::text
	WHEN form = 'iso' THEN to_char(to_timestamp(ceil(extract(epoch FROM at))::double precision)
		AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
	WHEN form = 'delta' AND at IS NOT NULL THEN
		GREATEST(ceil(extract(epoch FROM at) - extract(epoch FROM clock_timestamp())), 0)::text
END;
COMMENT ON FUNCTION meter.header_time(timestamptz, text) IS
'Part of meter_headers(): the instant in one of its forms, in whole seconds rounded up';

CREATE FUNCTION meter.header_name(name text) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN '"' || replace(replace(regexp_replace(name COLLATE "C", '[^ -~]', '?', 'g'),
	'\', '\\'), '"', '\"') || '"';
COMMENT ON FUNCTION meter.header_name(text) IS
'Part of meter_headers(): the name as a string of a structured field (RFC 9651), with ? for what that cannot have';

-- The largest integer of a structured field has 15 digits.
CREATE FUNCTION meter.header_policy(name text, max numeric, period interval) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN meter.header_name(name) || ';q=' || meter.header_whole(LEAST(max, 999999999999999))
	|| CASE WHEN extract(epoch FROM period) >= 1
		THEN ';w=' || floor(extract(epoch FROM period))::text ELSE '' END;
COMMENT ON FUNCTION meter.header_policy(text, numeric, interval) IS
'Part of meter_headers(): a member of the field RateLimit-Policy';

CREATE FUNCTION meter.header_limit(name text, remaining numeric, reset_at timestamptz) RETURNS text
LANGUAGE SQL VOLATILE PARALLEL SAFE
RETURN meter.header_name(name) || ';r=' || meter.header_whole(LEAST(remaining, 999999999999999))
	|| COALESCE(';t=' || meter.header_time(reset_at, 'delta'), '');
COMMENT ON FUNCTION meter.header_limit(text, numeric, timestamptz) IS
'Part of meter_headers(): a member of the field RateLimit';

-- PL/pgSQL keeps the plan from one statement to the next.
CREATE FUNCTION @extschema@.meter_headers(decision meter.decision, reset text DEFAULT 'epoch',
	version text DEFAULT NULL, at timestamptz DEFAULT now())
RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rate boolean := decision."limit" IS NOT NULL;
	quota boolean := decision.quota_limit IS NOT NULL;
	name text := COALESCE(decision.rule, 'default');
	quota_name text := COALESCE(decision.quota_rule, 'quota');
	-- a name must not come twice
	quota_too boolean := quota AND NOT (rate AND name = quota_name);
	retry_after text;
	of_version jsonb := '{}';
BEGIN
	IF reset IS NULL OR reset <> ALL (ARRAY['epoch', 'iso', 'delta']) THEN
		RAISE EXCEPTION 'unknown form of reset times "%"', reset
			USING ERRCODE = 'invalid_parameter_value', HINT = 'It is one of epoch, iso and delta.';
	END IF;
	IF NOT decision.allowed AND decision.retry_after IS NOT NULL THEN
		retry_after := GREATEST(ceil(extract(epoch FROM decision.retry_after)), 1)::text;
	END IF;
	IF version IS NOT NULL THEN
		of_version := meter.header_version(version, COALESCE(at, now()));
	END IF;
	RETURN of_version || jsonb_strip_nulls(jsonb_build_object(
		'X-RateLimit-Limit', trim_scale(decision."limit")::text,
		'X-RateLimit-Remaining', CASE WHEN rate THEN meter.header_whole(decision.remaining) END,
		'X-RateLimit-Reset', CASE WHEN rate THEN meter.header_time(decision.reset_at, reset) END,
		'X-RateLimit-Retry-After', retry_after,
		'Retry-After', retry_after,
		'X-Quota-Limit', trim_scale(decision.quota_limit)::text,
		'X-Quota-Remaining', CASE WHEN quota THEN meter.header_whole(decision.quota_remaining) END,
		'X-Quota-Reset', CASE WHEN quota THEN meter.header_time(decision.quota_reset, reset) END,
		'RateLimit-Policy', NULLIF(concat_ws(', ',
			CASE WHEN rate THEN meter.header_policy(name, decision."limit", decision.period) END,
			CASE WHEN quota_too THEN
				meter.header_policy(quota_name, decision.quota_limit, decision.quota_period) END), ''),
		'RateLimit', NULLIF(concat_ws(', ',
			CASE WHEN rate THEN
				meter.header_limit(name, decision.remaining, decision.reset_at) END,
			CASE WHEN quota_too THEN
				meter.header_limit(quota_name, decision.quota_remaining, decision.quota_reset) END), '')));
END
$$;
COMMENT ON FUNCTION @extschema@.meter_headers(meter.decision, text, text, timestamptz) IS
'HTTP response headers for a decision, a JSON object of strings: X-RateLimit-*, X-Quota-*, Retry-After, RateLimit and RateLimit-Policy, as far as there is such a limit. reset says how X-*-Reset is written: epoch (seconds since 1970), iso (2024-01-15T10:00:00Z) or delta (seconds from now). version is the version of the API that was called: then there is X-API-Version too and, by meter.api_version at the instant at, X-API-Deprecated, X-API-Sunset, X-API-Migration-Guide, Deprecation (RFC 9745), Sunset (RFC 8594) and Link. Errors: 22023 for another reset';

-- api_version.sql: versions of the API, and who still calls which

CREATE TABLE meter.api_version (
	-- goes into HTTP headers
	version text COLLATE "C" NOT NULL
		CONSTRAINT api_version_version_check CHECK (octet_length(version) <= 64
			AND version ~ '^[!-~]([ -~]*[!-~])?$'),
	announced_on date
		CONSTRAINT api_version_announced_on_check CHECK (
			announced_on BETWEEN '1970-01-01' AND '9999-12-31'),
	deprecated_on date
		CONSTRAINT api_version_deprecated_on_check CHECK (
			deprecated_on BETWEEN '1970-01-01' AND '9999-12-31'),
	sunset_on date
		CONSTRAINT api_version_sunset_on_check CHECK (sunset_on BETWEEN '1970-01-01' AND '9999-12-31'),
	successor text COLLATE "C",
	-- goes into a Link between < and >, and so has no character that a URI does not have
	migration_guide text COLLATE "C"
		CONSTRAINT api_version_migration_guide_check CHECK (octet_length(migration_guide) <= 2048
			AND migration_guide ~ '^(https?://|/)[!-~]*$' AND migration_guide !~ '[<>"\\^`{|}]'),
	description text,
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (version),
	CONSTRAINT api_version_order_check CHECK (announced_on <= deprecated_on AND deprecated_on <= sunset_on),
	-- so that the order above is one without gaps
	CONSTRAINT api_version_deprecated_first_check CHECK (sunset_on IS NULL OR deprecated_on IS NOT NULL),
	CONSTRAINT api_version_successor_check CHECK (successor <> version)
);
COMMENT ON TABLE meter.api_version IS
'Versions of the API: when it is made known that one will be deprecated, when it is, and when it is gone. Days begin at midnight UTC';
COMMENT ON COLUMN meter.api_version.version IS
'name, as in paths and as events carry it: at most 64 printable ASCII characters';
COMMENT ON COLUMN meter.api_version.announced_on IS
'from which day on responses tell of the deprecation; null: as soon as deprecated_on is set';
COMMENT ON COLUMN meter.api_version.deprecated_on IS
'from which day on nobody should begin to use it; null: it is not deprecated';
COMMENT ON COLUMN meter.api_version.sunset_on IS
'from which day on it will not answer any more; null: that is not decided';
COMMENT ON COLUMN meter.api_version.successor IS 'the version to go over to';
COMMENT ON COLUMN meter.api_version.migration_guide IS
'address of a page that says how: an http or https URL, or a path that begins with /, at most 2048 characters';
COMMENT ON COLUMN meter.api_version.description IS 'what the version is, for people';
COMMENT ON COLUMN meter.api_version.created_at IS 'when the row was added';

-- for when a version is deleted or gets another name
CREATE INDEX api_version_successor_idx ON meter.api_version (successor);

SELECT pg_catalog.pg_extension_config_dump('meter.api_version', '');

-- What a foreign key would do: pg_dump warns of one of a table to itself.
CREATE FUNCTION meter.api_version_follow() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE meter.api_version AS v SET successor = CASE TG_OP WHEN 'UPDATE' THEN NEW.version END
	WHERE v.successor = OLD.version;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.api_version_follow() IS
'Trigger of meter.api_version: successor follows the version that it names, when that gets another name or is deleted';
CREATE TRIGGER api_version_renamed
AFTER UPDATE OF version ON meter.api_version
FOR EACH ROW WHEN (OLD.version <> NEW.version) EXECUTE FUNCTION meter.api_version_follow();
CREATE TRIGGER api_version_deleted
AFTER DELETE ON meter.api_version
FOR EACH ROW EXECUTE FUNCTION meter.api_version_follow();

-- at the end of a statement, so that a COPY can have them in any order
CREATE FUNCTION meter.api_version_successor_check() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	missing text;
BEGIN
	SELECT v.successor INTO missing FROM meter.api_version AS v
	WHERE v.successor IS NOT NULL AND NOT EXISTS (SELECT FROM meter.api_version AS s WHERE s.version = v.successor)
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'successor "%" is no version of the API', missing
			USING ERRCODE = 'foreign_key_violation', HINT = 'Versions are rows of meter.api_version.',
				SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = 'successor';
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.api_version_successor_check() IS
'Trigger of meter.api_version: a successor is one of its versions. Errors: 23503';
CREATE TRIGGER api_version_successor_check
AFTER INSERT OR UPDATE ON meter.api_version
FOR EACH STATEMENT EXECUTE FUNCTION meter.api_version_successor_check();

CREATE FUNCTION meter.api_version_begins(day date) RETURNS timestamptz
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN day::timestamp AT TIME ZONE 'UTC';
COMMENT ON FUNCTION meter.api_version_begins(date) IS
'The instant at which a day of meter.api_version begins: midnight UTC';

CREATE FUNCTION meter.api_version_status(announced_on date, deprecated_on date, sunset_on date, at timestamptz)
RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN meter.api_version_begins(sunset_on) <= at THEN 'sunset'
	WHEN meter.api_version_begins(deprecated_on) <= at THEN 'deprecated'
	WHEN meter.api_version_begins(COALESCE(announced_on, CASE WHEN deprecated_on IS NOT NULL THEN '1970-01-01'::date END)) <= at
		THEN 'announced'
	ELSE 'current'
END;
COMMENT ON FUNCTION meter.api_version_status(date, date, date, timestamptz) IS
'What a version is at an instant: current, announced (that it will be deprecated is known), deprecated, or sunset (it is gone). Arguments: the days of meter.api_version, the instant';

-- Dimensions first: a path can name the version of something else.
CREATE FUNCTION meter.api_version_of(dims jsonb, endpoint text) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN COALESCE(dims ->> 'api_version', dims ->> 'version',
	substring(endpoint COLLATE "C" FROM '/([vV][0-9]{1,8}(?:\.[0-9]{1,8}){0,2})(?:/|$)'));
COMMENT ON FUNCTION meter.api_version_of(jsonb, text) IS
'The version of the API that a group of usage belongs to: its dimension api_version, or else version, or else the first part of its path that looks like v2 or v1.1; null: none of them';

-- hll is in whatever schema it was installed in, see usage.sql
SELECT pg_catalog.set_config('search_path',
	pg_catalog.format('pg_catalog, %s', extnamespace::regnamespace), true)
FROM pg_catalog.pg_extension WHERE extname = 'hll';

CREATE FUNCTION @extschema@.meter_api_version_usage(period interval DEFAULT '30 days', at timestamptz DEFAULT now())
RETURNS TABLE (version text, status text, sunset_on date, successor text, tenant text, service text,
	endpoint text, method text, requests bigint, errors bigint, unique_users bigint,
	first_at timestamptz, last_at timestamptz)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT u.version, CASE WHEN v.version IS NOT NULL
			THEN meter.api_version_status(v.announced_on, v.deprecated_on, v.sunset_on, at) END,
		v.sunset_on, v.successor, u.tenant, u.service, u.endpoint, u.method, u.requests, u.errors,
		u.unique_users, u.first_at, u.last_at
	FROM (
		SELECT meter.api_version_of(h.dims, h.endpoint) AS version, h.tenant, h.service, h.endpoint, h.method,
			sum(h.events)::bigint AS requests, sum(h.errors)::bigint AS errors,
			meter.users_count(hll_union_agg(h.users)) AS unique_users,
			min(h.first_at) AS first_at, max(h.last_at) AS last_at
		FROM meter.usage_hourly AS h
		WHERE h.metric = 'api_requests' AND h.hour >= at - period AND h.hour < at
			AND meter.api_version_of(h.dims, h.endpoint) IS NOT NULL
		GROUP BY 1, h.tenant, h.service, h.endpoint, h.method
	) AS u
	LEFT JOIN meter.api_version AS v ON v.version = u.version;
END;
SET LOCAL search_path TO pg_catalog, pg_temp;
COMMENT ON FUNCTION @extschema@.meter_api_version_usage(interval, timestamptz) IS
'Who calls which version of the API: calls (metric api_requests) of the hours (UTC) that begin in the period before an instant, by version, tenant, service, endpoint and method, from meter.usage_hourly. The version is the dimension api_version or version of the events, or else part of the path, such as v2 of /api/v2/orders; calls without any are left out. status is null for versions that meter.api_version does not have';

CREATE VIEW meter.api_version_usage AS
SELECT u.version, u.status, u.sunset_on, u.successor, u.tenant, u.service, u.endpoint, u.method,
	u.requests, u.errors, u.unique_users, u.first_at, u.last_at
FROM @extschema@.meter_api_version_usage() AS u;
COMMENT ON VIEW meter.api_version_usage IS
'Who still calls which version of the API? The last 30 days, as meter_api_version_usage() tells of any time; status is current, announced, deprecated or sunset, and null for versions that are not in meter.api_version';

-- Another part of meter_headers(), which looks nothing up without a version.
CREATE FUNCTION meter.header_version(version text, at timestamptz) RETURNS jsonb
LANGUAGE SQL STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT jsonb_strip_nulls(jsonb_build_object(
		'X-API-Version', NULLIF(btrim(regexp_replace("left"(header_version.version, 64) COLLATE "C",
			'[^ -~]', '?', 'g')), ''),
		'X-API-Deprecated', CASE WHEN s.status = ANY (ARRAY['deprecated', 'sunset']) THEN 'true' END,
		'X-API-Sunset', CASE WHEN s.told THEN meter.header_time(meter.api_version_begins(v.sunset_on), 'iso') END,
		'X-API-Migration-Guide', CASE WHEN s.told THEN v.migration_guide END,
		'Deprecation', CASE WHEN s.told THEN
			'@' || meter.header_time(meter.api_version_begins(v.deprecated_on), 'epoch') END,
		-- the names of days and months are English in every locale
		'Sunset', CASE WHEN s.told THEN
			to_char(v.sunset_on::timestamp, 'Dy, DD Mon YYYY HH24:MI:SS "GMT"') END,
		'Link', CASE WHEN s.told AND v.migration_guide IS NOT NULL THEN
			'<' || v.migration_guide || '>; rel="deprecation"'
			|| CASE WHEN v.sunset_on IS NOT NULL THEN ', <' || v.migration_guide || '>; rel="sunset"' ELSE '' END
			END))
	FROM (VALUES (1)) AS one (row)
	LEFT JOIN meter.api_version AS v ON v.version = header_version.version
	CROSS JOIN LATERAL (
		SELECT s.status, s.status <> 'current' AS told
		FROM (SELECT meter.api_version_status(v.announced_on, v.deprecated_on, v.sunset_on, at) AS status) AS s
	) AS s;
END;
COMMENT ON FUNCTION meter.header_version(text, timestamptz) IS
'Part of meter_headers(): the headers for a version of the API, at an instant; of a version that is not in meter.api_version, its name alone';

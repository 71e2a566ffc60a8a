-- storage.sql: how large the database and its tenants' schemas are, day by day

CREATE TABLE meter.storage_sample (
	day date NOT NULL
		CONSTRAINT storage_sample_day_check CHECK (isfinite(day)),
	tenant text COLLATE "C",
	bytes bigint NOT NULL
		CONSTRAINT storage_sample_bytes_check CHECK (bytes >= 0),
	CONSTRAINT storage_sample_key UNIQUE NULLS NOT DISTINCT (day, tenant)
);
-- no column of the index may be null for USING INDEX
ALTER TABLE meter.storage_sample REPLICA IDENTITY FULL;
COMMENT ON TABLE meter.storage_sample IS
'How large were the database and each tenant''s schema? One row per day and tenant, written by meter_sample_storage(), which meter_maintain() calls daily. Kept until it is deleted';
COMMENT ON COLUMN meter.storage_sample.day IS 'day, UTC';
COMMENT ON COLUMN meter.storage_sample.tenant IS
'whose schema (meter.tenant.schema_name) it is; null: the whole database';
COMMENT ON COLUMN meter.storage_sample.bytes IS
'bytes on disk: tables, their indexes and TOAST, materialized views and sequences';
SELECT pg_catalog.pg_extension_config_dump('meter.storage_sample', '');

-- Not pg_total_relation_size(), which waits for whoever has a table locked, for
-- the time of a migration or a REINDEX.
CREATE FUNCTION meter.storage_files(tablespace oid, OUT filenode oid, OUT bytes bigint)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 10000 AS 'MODULE_PATHNAME', 'meter_storage_files';
COMMENT ON FUNCTION meter.storage_files(oid) IS
'The files that this database has in a tablespace, with their sizes and the pg_class.relfilenode that they belong to, null for other files; a table has several. Takes no locks';

CREATE FUNCTION @extschema@.meter_sample_storage() RETURNS bigint
LANGUAGE SQL VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	WITH file AS MATERIALIZED (
		SELECT s.oid AS tablespace, f.filenode, sum(f.bytes)::bigint AS bytes
		FROM pg_catalog.pg_tablespace AS s
		CROSS JOIN LATERAL meter.storage_files(s.oid) AS f
		WHERE s.spcname <> 'pg_global'
		GROUP BY s.oid, f.filenode
	), relation AS (
		-- an index has the schema of its table; of TOAST, the table is looked for
		SELECT COALESCE(t.relnamespace, c.relnamespace) AS schema, c.relfilenode AS filenode,
			CASE c.reltablespace WHEN 0 THEN d.dattablespace ELSE c.reltablespace END AS tablespace
		FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_database AS d ON d.datname = current_database()
		LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid AND c.relnamespace = 'pg_toast'::regnamespace
		LEFT JOIN pg_catalog.pg_class AS t ON t.reltoastrelid = COALESCE(i.indrelid, c.oid)
			AND c.relnamespace = 'pg_toast'::regnamespace
		WHERE c.relfilenode <> 0
	), sample AS (
		SELECT NULL::text AS tenant, COALESCE(sum(f.bytes), 0)::bigint AS bytes
		FROM file AS f
		UNION ALL
		SELECT t.tenant, COALESCE(sum(f.bytes), 0)::bigint
		FROM meter.tenant AS t
		JOIN pg_catalog.pg_namespace AS n ON n.nspname = t.schema_name
		LEFT JOIN relation AS r ON r.schema = n.oid
		LEFT JOIN file AS f ON f.tablespace = r.tablespace AND f.filenode = r.filenode
		GROUP BY t.tenant
	), written AS (
		INSERT INTO meter.storage_sample AS was (day, tenant, bytes)
		SELECT (now() AT TIME ZONE 'UTC')::date, s.tenant, s.bytes
		FROM sample AS s
		-- so that two at a time wait for each other, and cannot lock each other out
		ORDER BY s.tenant
		ON CONFLICT (day, tenant) DO UPDATE SET bytes = EXCLUDED.bytes
		RETURNING 1
	)
	SELECT count(*) FROM written;
END;
COMMENT ON FUNCTION @extschema@.meter_sample_storage() IS
'Measure the database and the schemas of tenants, and write today''s rows of meter.storage_sample, or write them anew. Returns how many. meter_maintain() calls it once a day';

-- By the median of the slopes between any two days (Theil and Sen), which a load
-- or a clean-up of one day does not move.
CREATE FUNCTION meter.storage_growth(at timestamptz)
RETURNS TABLE (tenant text, bytes bigint, sampled_on date, samples bigint, days integer,
	growth_per_day double precision, growth_per_week bigint, week_percent numeric)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	SELECT h.tenant, h.sizes[1], h.on_days[1], h.samples, h.on_days[1] - h.first_day,
		g.per_day, round(g.per_day * 7)::bigint,
		round(100 * (h.sizes[1] - w.bytes) / NULLIF(w.bytes, 0)::numeric, 2)
	FROM (
		SELECT s.tenant, count(*) AS samples, min(s.day) AS first_day,
			array_agg(s.day ORDER BY s.day DESC) AS on_days, array_agg(s.bytes ORDER BY s.day DESC) AS sizes
		FROM meter.storage_sample AS s
		WHERE s.day <= (storage_growth.at AT TIME ZONE 'UTC')::date
			AND s.day > (storage_growth.at AT TIME ZONE 'UTC')::date - 28
		GROUP BY s.tenant
	) AS h
	CROSS JOIN LATERAL (
		SELECT percentile_cont(0.5) WITHIN GROUP (
			ORDER BY (b.bytes - a.bytes)::double precision / (b.day - a.day)) AS per_day
		FROM unnest(h.on_days, h.sizes) AS a (day, bytes)
		JOIN unnest(h.on_days, h.sizes) AS b (day, bytes) ON b.day > a.day
	) AS g
	LEFT JOIN LATERAL (
		SELECT a.bytes FROM unnest(h.on_days, h.sizes) AS a (day, bytes)
		WHERE a.day <= h.on_days[1] - 7
		ORDER BY a.day DESC LIMIT 1
	) AS w ON true;
END;
COMMENT ON FUNCTION meter.storage_growth(timestamptz) IS
'What meter.storage_growth says, as of another time';

CREATE VIEW meter.storage_growth AS
SELECT g.tenant, g.bytes, g.sampled_on, g.samples, g.days, g.growth_per_week, g.week_percent
FROM meter.storage_growth(now()) AS g;
COMMENT ON VIEW meter.storage_growth IS
'How fast do the database and the tenants'' schemas grow? From the samples of the last 28 days (meter.storage_sample)';
COMMENT ON COLUMN meter.storage_growth.tenant IS 'whose schema it is; null: the whole database';
COMMENT ON COLUMN meter.storage_growth.bytes IS 'size on the last day that was sampled';
COMMENT ON COLUMN meter.storage_growth.sampled_on IS 'that day, UTC';
COMMENT ON COLUMN meter.storage_growth.samples IS 'days of the last 28 that were sampled';
COMMENT ON COLUMN meter.storage_growth.days IS 'days between the first and the last of them';
COMMENT ON COLUMN meter.storage_growth.growth_per_week IS
'bytes a week: seven times the median of the slopes between any two samples; negative for what shrinks, null of a single sample';
COMMENT ON COLUMN meter.storage_growth.week_percent IS
'growth against the sample of seven days before, or the last one before that, in percent; null if there is none or it was 0';

CREATE FUNCTION @extschema@.meter_forecast_storage(limit_bytes bigint DEFAULT NULL, tenant text DEFAULT NULL,
	at timestamptz DEFAULT now())
RETURNS TABLE (bytes bigint, sampled_on date, samples bigint, growth_per_week bigint, week_percent numeric,
	days_until_limit numeric, limit_on date, confidence text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF limit_bytes <= 0 THEN
		RAISE EXCEPTION 'limit_bytes must be above 0'
			USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', limit_bytes);
	ELSIF at IS NULL OR NOT isfinite(at) THEN
		RAISE EXCEPTION 'at must be a time'
			USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', COALESCE(at::text, 'null'));
	ELSIF tenant IS NOT NULL
		AND NOT EXISTS (SELECT FROM meter.tenant AS t WHERE t.tenant = meter_forecast_storage.tenant)
		AND NOT EXISTS (SELECT FROM meter.storage_sample AS s WHERE s.tenant = meter_forecast_storage.tenant) THEN
		RAISE EXCEPTION 'unknown tenant "%"', tenant
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'It has neither a row in meter.tenant nor one in meter.storage_sample.';
	END IF;
	RETURN QUERY
	SELECT g.bytes, g.sampled_on, g.samples, g.growth_per_week, g.week_percent, l.days,
		-- not in a time that is past all planning, if it can be told at all
		CASE WHEN l.days < 36525 THEN g.sampled_on + ceil(l.days)::integer END,
		CASE WHEN g.days >= 13 AND g.samples >= 7 THEN 'normal' ELSE 'low' END
	FROM meter.storage_growth(at) AS g
	CROSS JOIN LATERAL (
		SELECT CASE
			WHEN g.bytes >= limit_bytes THEN 0
			WHEN g.growth_per_day > 0 THEN round(((limit_bytes - g.bytes) / g.growth_per_day)::numeric, 1)
		END AS days
	) AS l
	WHERE g.tenant IS NOT DISTINCT FROM meter_forecast_storage.tenant;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_forecast_storage(bigint, text, timestamptz) IS
'How large is the database (tenant null) or a tenant''s schema, how fast does it grow, and in how many days from the last sample on will it reach that many bytes? days_until_limit is 0 if it has, and null without a limit, of a single sample, and of what does not grow; limit_on is null beyond a hundred years. confidence is low for less than 7 samples or 14 days. No row if nothing was sampled in the 28 days before at. Errors: 22023 for a limit that is not above 0, an unknown tenant, and for at null or infinite';

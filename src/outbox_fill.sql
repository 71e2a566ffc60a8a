-- outbox_fill.sql: from closed hours to rows for the payment provider

-- A consumer of the log: it needs to know which hours late events and
-- corrections have touched since they were looked at.  What they are now is
-- read from the totals, never added up here, so looking at an hour once more
-- than needed changes nothing.
CREATE FUNCTION meter.outbox_look() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
	low bigint;
	high bigint;
	is_new boolean;
	first_hour timestamptz;
	last_hour timestamptz;
	seen_hour timestamptz;
BEGIN
	INSERT INTO meter.consumer (name) VALUES ('outbox') ON CONFLICT (name) DO NOTHING;
	is_new := FOUND;
	SELECT c.last_seq INTO STRICT low FROM meter.consumer AS c WHERE c.name = 'outbox' FOR UPDATE;
	-- before the totals are read: what they have beyond this is seen again
	SELECT COALESCE(max(c.last_seq), 0) INTO high FROM meter.consumer AS c WHERE c.name = 'rollup';
	IF is_new THEN
		UPDATE meter.outbox_meter SET looked_through = NULL WHERE looked_through IS NOT NULL;
		low := high;
	END IF;

	SELECT min(COALESCE(m.looked_through, GREATEST(m.since, m.forgotten_before))),
		max(date_trunc('hour', now() - m.grace, 'UTC')), max(m.looked_through)
	INTO first_hour, last_hour, seen_hour
	FROM meter.outbox_meter AS m WHERE m.enabled;
	IF first_hour >= last_hour THEN
		-- nothing has closed, and the planner shall know that
		first_hour := NULL;
	END IF;

	WITH meters AS MATERIALIZED (
		SELECT m.event_name, m.metric, m.dims, m.aggregation, m.multiplier, m.looked_through,
			GREATEST(m.since, m.forgotten_before) AS since,
			date_trunc('hour', now() - m.grace, 'UTC') AS closed
		FROM meter.outbox_meter AS m
		WHERE m.enabled
	), touched AS MATERIALIZED (
		SELECT DISTINCT e.tenant, e.metric, date_trunc('hour', e.at, 'UTC') AS hour
		FROM meter.event_partition AS p
		CROSS JOIN LATERAL (
			SELECT e.tenant, e.metric, e.at
			FROM meter.event AS e
			WHERE e.at >= p.day::timestamp AT TIME ZONE 'UTC'
				AND e.at < (p.day + 1)::timestamp AT TIME ZONE 'UTC'
				AND e.seq > low AND e.seq <= high
			OFFSET 0
		) AS e
		WHERE p.last_seq > low AND p.first_seq <= high AND p.day::timestamp AT TIME ZONE 'UTC' < seen_hour
			AND e.at < seen_hour AND e.metric IN (SELECT m.metric FROM meters AS m)
	), hours AS (
		-- closed since the last time
		SELECT m.event_name, u.tenant, u.hour,
			CASE m.aggregation WHEN 'sum' THEN u.quantity ELSE u.events - u.errors_429 END * m.multiplier AS value,
			false AS known
		FROM meter.usage_hourly AS u
		JOIN meters AS m ON m.metric = u.metric AND u.dims @> m.dims
			AND u.hour >= COALESCE(m.looked_through, m.since) AND u.hour < m.closed
		WHERE u.hour >= first_hour AND u.hour < last_hour
		UNION ALL
		-- closed before, but touched since
		SELECT m.event_name, t.tenant, t.hour,
			COALESCE((
				SELECT sum(CASE m.aggregation WHEN 'sum' THEN u.quantity ELSE u.events - u.errors_429 END)
				FROM meter.usage_hourly AS u
				WHERE u.tenant = t.tenant AND u.hour = t.hour AND u.metric = t.metric AND u.dims @> m.dims
			), 0) * m.multiplier, true
		FROM touched AS t
		JOIN meters AS m ON m.metric = t.metric AND t.hour >= m.since AND t.hour < m.looked_through
		UNION ALL
		-- of a meter that is looked at as a whole, hours that may have no usage any more
		SELECT h.event_name, h.tenant, h.hour, 0, true
		FROM meters AS m
		JOIN meter.outbox_hour AS h ON h.event_name = m.event_name
			AND h.hour >= m.since AND h.hour < m.closed
		WHERE m.looked_through IS NULL
	), summed AS (
		SELECT h.event_name, h.tenant, h.hour, sum(h.value) AS value, bool_or(h.known) AS known
		FROM hours AS h
		GROUP BY h.event_name, h.tenant, h.hour
	)
	INSERT INTO meter.outbox_hour AS o (event_name, tenant, hour, value)
	SELECT s.event_name, s.tenant, s.hour, s.value
	FROM summed AS s
	WHERE s.value <> 0 OR s.known
	ON CONFLICT (event_name, tenant, hour) DO UPDATE SET value = EXCLUDED.value, held = NULL
	WHERE o.value <> EXCLUDED.value;

	-- back, too, if the rollup was set back to begin anew
	UPDATE meter.consumer SET last_seq = high, moved_at = now() WHERE name = 'outbox';
	UPDATE meter.outbox_meter AS m
	SET looked_through = date_trunc('hour', now() - m.grace, 'UTC')
	WHERE m.enabled
		AND date_trunc('hour', now() - m.grace, 'UTC') > COALESCE(m.looked_through, '-infinity');
END
$$;
COMMENT ON FUNCTION meter.outbox_look() IS
'Part of meter_outbox_fill(): bring meter.outbox_hour.value up to date for hours that have closed, or have been touched, since the last time';

-- Nobody has seen a row that was never claimed, so it can be taken back instead
-- of being corrected.  One that is just being claimed is locked, and stays.
CREATE FUNCTION meter.outbox_withdraw() RETURNS void
LANGUAGE SQL VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	WITH unseen AS MATERIALIZED (
		SELECT o.identifier, o.event_name, o.tenant, o.hour, o.value
		FROM meter.outbox_hour AS h
		JOIN meter.billing_outbox AS o ON o.event_name = h.event_name AND o.tenant = h.tenant AND o.hour = h.hour
		JOIN meter.outbox_meter AS m ON m.event_name = h.event_name AND m.enabled
		WHERE h.held IS NULL AND h.value <> h.sent + h.moved AND h.value < h.sent + h.moved
			AND o.state = 'pending' AND o.first_claimed_at IS NULL
		FOR UPDATE OF o SKIP LOCKED
	), withdrawn AS (
		UPDATE meter.billing_outbox AS o
		SET state = 'withdrawn', ended_at = clock_timestamp()
		FROM unseen AS u
		WHERE o.identifier = u.identifier
	)
	UPDATE meter.outbox_hour AS h
	SET sent = h.sent - u.value
	FROM (
		SELECT u.event_name, u.tenant, u.hour, sum(u.value) AS value
		FROM unseen AS u
		GROUP BY u.event_name, u.tenant, u.hour
	) AS u
	WHERE h.event_name = u.event_name AND h.tenant = u.tenant AND h.hour = u.hour;
END;
COMMENT ON FUNCTION meter.outbox_withdraw() IS
'Part of meter_outbox_fill(): take back rows that nobody has claimed, of hours that now have less usage than was sent';

CREATE FUNCTION meter.outbox_identifier(event_name text, tenant text, hour timestamptz, version integer)
RETURNS text
LANGUAGE SQL STABLE STRICT PARALLEL SAFE
RETURN 'meter-' || to_char(hour AT TIME ZONE 'UTC', 'YYYYMMDDHH24') || '-'
	|| left(encode(sha256(convert_to(jsonb_build_array(event_name, tenant)::text, 'UTF8')), 'hex'), 40)
	|| '-' || version;
COMMENT ON FUNCTION meter.outbox_identifier(text, text, timestamptz, integer) IS
'Idempotency key of a row of meter.billing_outbox: meter-HOUR-HASH-VERSION, at most 69 characters';

-- For each tenant and meter with something new: what is left of each hour
-- (open, or free of what is held back) is first netted, if it is below zero,
-- against what is above, and then cut to the decimals that the provider takes,
-- where the rest goes into the next hour with something to send.  carried is the
-- sum of what is to be sent up to and with an hour.  All hours go through all
-- steps in one order: joining them again would be guesswork for the planner.
CREATE FUNCTION meter.outbox_send() RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
	added bigint;
BEGIN
	WITH pairs AS (
		SELECT h.event_name, h.tenant
		FROM meter.outbox_hour AS h
		WHERE h.held IS NULL AND h.value <> h.sent + h.moved
		UNION
		-- one look into the index for each, however much is held back of others
		SELECT m.event_name, t.tenant
		FROM meter.tenant AS t
		CROSS JOIN meter.outbox_meter AS m
		CROSS JOIN LATERAL (
			SELECT FROM meter.outbox_hour AS h
			WHERE h.event_name = m.event_name AND h.tenant = t.tenant
				AND h.value <> h.sent + h.moved AND h.held = 'customer'
			LIMIT 1
		) AS h
		WHERE t.customer IS NOT NULL AND m.enabled
	), open AS MATERIALIZED (
		SELECT h.event_name, h.tenant, h.hour, h.version, h.value - h.sent - h.moved AS open,
			m.digits, m.negative, h.hour + m.max_age AS expires_at, t.customer,
			CASE
				WHEN h.hour + m.max_age <= now()
					AND (h.value > h.sent + h.moved OR m.negative = 'send') THEN 'age'
				WHEN t.customer IS NULL THEN 'customer'
			END AS held
		FROM pairs AS p
		JOIN meter.outbox_meter AS m ON m.event_name = p.event_name AND m.enabled
		LEFT JOIN meter.tenant AS t ON t.tenant = p.tenant
		JOIN meter.outbox_hour AS h ON h.event_name = p.event_name AND h.tenant = p.tenant
			AND h.value <> h.sent + h.moved
			AND (h.held IS NULL OR h.held = ANY (ARRAY['negative', 'fraction'])
				OR h.held = 'customer' AND t.customer IS NOT NULL)
	), added_up AS (
		SELECT o.*, sum(GREATEST(o.free, 0)) OVER upto AS above, sum(GREATEST(-o.free, 0)) OVER upto AS below,
			CASE WHEN o.negative = 'send' THEN 0 ELSE LEAST(
				sum(GREATEST(o.free, 0)) OVER pair, sum(GREATEST(-o.free, 0)) OVER pair) END AS to_net
		FROM (
			SELECT o.*, CASE WHEN o.held IS NULL THEN o.open ELSE 0 END AS free
			FROM open AS o
		) AS o
		WINDOW pair AS (PARTITION BY o.event_name, o.tenant),
			upto AS (PARTITION BY o.event_name, o.tenant ORDER BY o.hour)
	), netted AS (
		SELECT a.*, CASE
				WHEN a.free > 0 THEN LEAST(a.free, GREATEST(0, a.to_net - (a.above - a.free)))
				ELSE -LEAST(-a.free, GREATEST(0, a.to_net - (a.below + a.free)))
			END AS net
		FROM added_up AS a
	), carried AS (
		SELECT n.*, sum(n.to_send) OVER upto AS carried,
			n.hour = max(n.hour) FILTER (WHERE n.to_send <> 0) OVER pair AS is_last
		FROM (
			SELECT n.*, CASE WHEN n.negative = 'send' THEN n.free ELSE GREATEST(n.free - n.net, 0) END AS to_send
			FROM netted AS n
		) AS n
		WINDOW pair AS (PARTITION BY n.event_name, n.tenant),
			upto AS (PARTITION BY n.event_name, n.tenant ORDER BY n.hour)
	), cut AS (
		SELECT c.*,
			trunc(c.carried, c.digits) - trunc(c.carried - c.to_send, c.digits) AS whole,
			c.carried - trunc(c.carried, c.digits) AS rest,
			c.carried - c.to_send - trunc(c.carried - c.to_send, c.digits) AS rest_before
		FROM carried AS c
	), settled AS (
		SELECT c.event_name, c.tenant, c.hour, c.version, c.customer, c.expires_at, c.whole,
			c.net + CASE WHEN c.to_send = 0 THEN 0 WHEN c.is_last THEN -c.rest_before ELSE c.rest - c.rest_before END AS moved,
			CASE
				WHEN c.held IS NOT NULL THEN c.held
				WHEN c.negative = 'net' AND c.free < c.net THEN 'negative'
				WHEN c.to_send <> 0 AND c.is_last AND c.rest <> 0 THEN 'fraction'
			END AS held
		FROM cut AS c
	), made AS (
		INSERT INTO meter.billing_outbox (identifier, event_name, tenant, hour, version, customer,
			value, due_at, expires_at)
		SELECT meter.outbox_identifier(s.event_name, s.tenant, s.hour, s.version + 1),
			s.event_name, s.tenant, s.hour, s.version + 1, s.customer, s.whole, now(), s.expires_at
		FROM settled AS s
		WHERE s.whole <> 0
		RETURNING identifier
	), noted AS (
		UPDATE meter.outbox_hour AS h
		SET sent = h.sent + s.whole, moved = h.moved + s.moved, held = s.held,
			version = h.version + CASE WHEN s.whole <> 0 THEN 1 ELSE 0 END
		FROM settled AS s
		WHERE h.event_name = s.event_name AND h.tenant = s.tenant AND h.hour = s.hour
			AND (s.whole <> 0 OR s.moved <> 0 OR h.held IS DISTINCT FROM s.held)
	)
	SELECT count(*) INTO added FROM made;
	RETURN added;
END
$$;
COMMENT ON FUNCTION meter.outbox_send() IS
'Part of meter_outbox_fill(): make rows of meter.billing_outbox of what is left of the hours, and return how many';

CREATE FUNCTION @extschema@.meter_outbox_fill() RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	added bigint := 0;
BEGIN
	IF EXISTS (SELECT FROM meter.outbox_meter AS m WHERE m.enabled) THEN
		PERFORM meter.outbox_look();
		PERFORM meter.outbox_withdraw();
		added := meter.outbox_send();
	ELSE
		-- a consumer that reads no more would keep the log from being dropped
		DELETE FROM meter.consumer WHERE name = 'outbox';
	END IF;

	UPDATE meter.billing_outbox AS o
	SET state = 'dead', ended_at = clock_timestamp(),
		error = concat_ws('; ', 'not acknowledged in time, or too often', o.error)
	WHERE o.state = 'pending' AND o.expires_at <= now() AND o.due_at <= now();
	RETURN added;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_outbox_fill() IS
'Make rows of meter.billing_outbox for the payment provider of the hours that have closed, and of what late usage and corrections have changed in hours before, and return how many. Run it as often as you like; it takes turns with others. Rows that can no longer be sent become dead';

CREATE FUNCTION meter.outbox_forget(before timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	deleted bigint;
	deleted_hours bigint;
BEGIN
	DELETE FROM meter.billing_outbox AS o
	WHERE o.state = ANY (ARRAY['sent', 'withdrawn']) AND o.ended_at < before AND o.hour < before;
	GET DIAGNOSTICS deleted = ROW_COUNT;
	-- no event can come for such an hour; but if it did, all of it would be sent again
	UPDATE meter.outbox_meter AS m
	SET forgotten_before = before
	WHERE m.forgotten_before < before AND EXISTS (SELECT FROM meter.outbox_hour AS h
		WHERE h.event_name = m.event_name AND h.hour < before AND h.value = h.sent + h.moved);
	DELETE FROM meter.outbox_hour AS h
	WHERE h.hour < before AND h.value = h.sent + h.moved
		AND NOT EXISTS (SELECT FROM meter.billing_outbox AS o
			WHERE o.event_name = h.event_name AND o.tenant = h.tenant AND o.hour = h.hour);
	GET DIAGNOSTICS deleted_hours = ROW_COUNT;
	RETURN deleted + deleted_hours;
END
$$;
COMMENT ON FUNCTION meter.outbox_forget(timestamptz) IS
'Part of meter_maintain(): delete acknowledged rows of meter.billing_outbox, and settled hours of meter.outbox_hour, before that time, and return how many';

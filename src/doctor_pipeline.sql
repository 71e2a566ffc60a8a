-- doctor_pipeline.sql: what keeps events from getting into log and totals

CREATE FUNCTION meter.doctor_partition() RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
	WITH parent AS MATERIALIZED (
		SELECT p.*, ('meter.' || p.name)::regclass AS oid
		FROM (VALUES ('event', 'YYYYMMDD', interval '1 day'), ('usage_hourly', 'YYYYMM', interval '1 month'),
			('usage_user_daily', 'YYYYMM', interval '1 month')) AS p(name, form, span)
	), wanted AS (
		-- only where meter has been at work for long enough to have made them
		SELECT p.name, p.oid, format('%s_p%s', p.name, to_char(d.day, p.form)) AS partition
		FROM parent AS p
		CROSS JOIN LATERAL generate_series(date_trunc('day', now()), date_trunc('day', now()) + interval '1 day', interval '1 day') AS d(day)
		WHERE p.span = interval '1 day' AND EXISTS (SELECT FROM meter.in_use AS u WHERE u.since < now() - interval '2 days')
		UNION ALL
		SELECT p.name, p.oid, format('%s_p%s', p.name, to_char(m.month, p.form))
		FROM parent AS p
		CROSS JOIN LATERAL generate_series(date_trunc('month', now()), date_trunc('month', now()) + interval '1 month', interval '1 month') AS m(month)
		WHERE p.span = interval '1 month' AND EXISTS (SELECT FROM meter.in_use AS u WHERE u.since < now() - interval '2 days')
	), partition AS MATERIALIZED (
		SELECT c.oid, c.relname, p.name, p.oid AS parent, p.form, p.span, i.inhrelid IS NOT NULL AS attached,
			to_timestamp(substr(c.relname::text, length(p.name) + 3), p.form) AS starts
		FROM parent AS p
		JOIN pg_class AS c ON c.relnamespace = 'meter'::regnamespace AND c.relkind = 'r'
			AND c.relname ~ format('^%s_p[0-9]{%s}$', p.name, length(p.form))
		LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid AND i.inhparent = p.oid
	)
	SELECT 'partition_missing', NULL, format('table meter.%s', w.name),
		format('There is no %s.', meter.doctor_list(array_agg(w.partition ORDER BY w.partition))),
		'SELECT * FROM @extschema@.meter_maintain();'
	FROM wanted AS w
	WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = 'meter'::regnamespace AND c.relname = w.partition)
	GROUP BY w.name
	UNION ALL
	SELECT 'partition_detached', NULL, format('table %s', p.oid::regclass),
		format('It is not a partition of meter.%s, and so nothing of %s can be stored.', p.name,
			to_char(p.starts, CASE WHEN p.span = interval '1 day' THEN 'YYYY-MM-DD' ELSE 'YYYY-MM' END)),
		format('ALTER TABLE meter.%I ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L);', p.name, p.oid::regclass, b.low, b.high)
	FROM partition AS p
	CROSS JOIN LATERAL (
		SELECT CASE WHEN p.name = 'usage_user_daily' THEN p.starts::date::text ELSE to_char(p.starts, 'YYYY-MM-DD HH24:MI:SS"+00"') END AS low,
			CASE WHEN p.name = 'usage_user_daily' THEN (p.starts + p.span)::date::text
				ELSE to_char(p.starts + p.span, 'YYYY-MM-DD HH24:MI:SS"+00"') END AS high
	) AS b
	WHERE NOT p.attached
	UNION ALL
	SELECT 'partition_default', CASE WHEN r.has_rows THEN 'critical' END, format('table %s', t.partdefid::regclass),
		CASE WHEN r.has_rows THEN format('It is the default partition of meter.%s and has rows, so the partitions of their time cannot be made.', p.name)
			ELSE format('It is the default partition of meter.%s.', p.name) END,
		format('ALTER TABLE meter.%I DETACH PARTITION %s;', p.name, t.partdefid::regclass)
			|| CASE WHEN r.has_rows THEN E'\n-- its rows stay in it and are in no report; track them again through meter.inbox' ELSE '' END
	FROM parent AS p
	JOIN pg_partitioned_table AS t ON t.partrelid = p.oid AND t.partdefid <> 0
	CROSS JOIN LATERAL (
		SELECT pg_relation_size(t.partdefid) > 0 AS has_rows
	) AS r
	UNION ALL
	SELECT 'maintenance', NULL, 'meter_maintain()',
		COALESCE('It has last run on ' || to_char(max(g.day), 'YYYY-MM-DD') || '.', 'It has not run yet.'),
		'SELECT * FROM @extschema@.meter_maintain();'
	FROM meter.storage_sample AS g
	HAVING COALESCE(max(g.day), '-infinity') < (now() AT TIME ZONE 'UTC')::date - 2
		AND EXISTS (SELECT FROM meter.in_use AS u WHERE u.since < now() - interval '2 days')
$$;
COMMENT ON FUNCTION meter.doctor_partition() IS
'Part of meter_doctor(): whether partitions are there, and maintained';

CREATE FUNCTION meter.doctor_flow() RETURNS SETOF meter.doctor_finding
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
	WITH stats AS MATERIALIZED (
		SELECT t.* FROM meter.stats AS t
	), log AS MATERIALIZED (
		SELECT COALESCE(max(p.last_seq), 0) AS last_seq FROM meter.log_position AS p
	)
	SELECT 'flush_lag', NULL, 'meter_flush()',
		format('Events have waited for the log for %s.', date_trunc('second', t.flush_lag))
			|| COALESCE(' Process ' || t.flusher_pid || ', which flushes, waits for process ' || b.pids[1] || '.', ''),
		COALESCE('SELECT pg_terminate_backend(' || b.pids[1] || E');\n', '') || 'SELECT * FROM @extschema@.meter_flush();'
	FROM stats AS t
	LEFT JOIN LATERAL (SELECT pg_blocking_pids(t.flusher_pid) AS pids) AS b ON cardinality(b.pids) > 0 AND b.pids[1] <> 0
	-- who flushes with pg_cron does so each minute at the most
	WHERE t.flush_lag > CASE WHEN meter.doctor_setting('meter.flush_interval') BETWEEN 1 AND 10000
		THEN interval '1 minute' ELSE interval '10 minutes' END
	UNION ALL
	SELECT 'rollup_lag', NULL, 'meter_rollup()',
		format('%s not in the totals, the first for %s.', meter.doctor_count(t.rollup_behind, 'event of the log is', 'events of the log are'),
			date_trunc('second', t.rollup_lag)),
		'SELECT @extschema@.meter_rollup();'
	FROM stats AS t
	WHERE t.rollup_lag > GREATEST(interval '10 minutes', 3 * interval '1 second' * COALESCE(meter.doctor_setting('meter.rollup_interval'), 0))
	UNION ALL
	SELECT 'consumer_behind', NULL, format('consumer %I', c.name),
		format('It is at %s of %s since %s.', c.last_seq, l.last_seq, to_char(c.moved_at, 'YYYY-MM-DD HH24:MI "UTC"')),
		format(E'-- if nothing reads the log by this name any more\nDELETE FROM meter.consumer WHERE name = %L;', c.name)
	FROM meter.consumer AS c
	CROSS JOIN log AS l
	WHERE c.name <> 'rollup' AND c.last_seq < l.last_seq AND c.moved_at < now() - interval '1 day'
	UNION ALL
	SELECT 'consumer_ahead', NULL, format('consumer %I', c.name),
		format('It is at %s, and the log ends at %s.', c.last_seq, l.last_seq),
		format('UPDATE meter.consumer SET last_seq = %s WHERE name = %L;', l.last_seq, c.name)
	FROM meter.consumer AS c
	CROSS JOIN log AS l
	WHERE c.last_seq > l.last_seq
	UNION ALL
	SELECT 'queue_small', NULL, 'meter.queue_size',
		CASE WHEN t.fallbacks > 0 THEN format('The queue of %s was full %s since %s.', pg_size_pretty(t.queue_capacity),
				CASE WHEN t.fallbacks = 1 THEN 'for an event' ELSE format('for %s events', t.fallbacks) END,
				to_char(t.stats_reset, 'YYYY-MM-DD HH24:MI "UTC"'))
			ELSE format('The queue of %s is more than half full.', pg_size_pretty(t.queue_capacity)) END,
		CASE WHEN t.queue_capacity < 8::bigint << 30
			THEN meter.doctor_set('meter.queue_size', format('%skB', LEAST(4 * t.queue_capacity, 8::bigint << 30) / 1024), true)
			ELSE E'-- the queue cannot be larger: see what the flush waits for\nSELECT @extschema@.meter_stats_reset();' END
	FROM stats AS t
	WHERE t.fallbacks > 0 OR t.queue_bytes > t.queue_capacity / 2
	UNION ALL
	SELECT 'queue_damaged', NULL, 'pg_meter',
		format('%s of the queue''s file were lost; the damaged file is in the directory pg_meter.', pg_size_pretty(t.lost_bytes)),
		E'-- when you have looked at the file\nSELECT @extschema@.meter_stats_reset();'
	FROM stats AS t
	WHERE t.lost_bytes > 0
	UNION ALL
	SELECT 'rejected_events', NULL, 'meter.rejected_event',
		format('%s in 24 hours, the most with: %s', meter.doctor_count(r.events, 'event was refused', 'events were refused'), r.reason),
		E'-- shows and removes them; mend them and send them again\n'
			'DELETE FROM meter.rejected_event WHERE rejected_at > now() - interval ''1 day'' RETURNING source, sqlstate, reason, tenant, event;'
	FROM (
		SELECT count(*) AS events, mode() WITHIN GROUP (ORDER BY e.reason) AS reason
		FROM meter.rejected_event AS e
		WHERE e.rejected_at > now() - interval '1 day'
	) AS r
	WHERE r.events > 0
	UNION ALL
	SELECT 'metric_cap', NULL, 'meter.max_metrics',
		format('%s are registered, and from %s on no further one is by first use.',
			meter.doctor_count(m.metrics, 'metric', 'metrics'), m.most),
		meter.doctor_set_here('meter.max_metrics', LEAST(2 * m.metrics + 1000, 1000000)::text)
	FROM (
		SELECT count(*) AS metrics, meter.doctor_setting('meter.max_metrics') AS most FROM meter.metric
	) AS m
	WHERE m.metrics >= 0.9 * m.most AND m.most > 0 AND current_setting('meter.strict_metrics') = 'off'
	UNION ALL
	SELECT 'group_cap', NULL, 'meter.max_groups_per_hour',
		format('%s folded into (other) within a day, of %s.', meter.doctor_count(g.folded, 'event was', 'events were'),
			meter.doctor_list(g.tenants)),
		meter.doctor_set_here('meter.max_groups_per_hour',
			LEAST(4 * meter.doctor_setting('meter.max_groups_per_hour'), 1000000)::text)
	FROM (
		SELECT sum(f.folded)::bigint AS folded, array_agg(f.tenant ORDER BY f.folded DESC, f.tenant) AS tenants
		FROM (
			SELECT h.tenant, sum(h.folded) AS folded
			FROM (
				SELECT u.tenant, u.hour, sum(u.folded) AS folded
				FROM meter.usage_hourly AS u
				WHERE u.hour > (SELECT now() - interval '1 day') AND u.folded > 0
				GROUP BY u.tenant, u.hour
			) AS h
			-- as many as there may be now, too
			WHERE (SELECT count(*) FROM meter.usage_hourly AS u WHERE u.tenant = h.tenant AND u.hour = h.hour)
				>= meter.doctor_setting('meter.max_groups_per_hour')
			GROUP BY h.tenant
		) AS f
	) AS g
	WHERE g.folded > 0
	UNION ALL
	SELECT 'retention', NULL, 'meter.retention',
		format('Events are kept for %s, and %s.', justify_hours(r.kept), CASE WHEN r.billed
			THEN format('a bill is final %s after its month began', r.needed)
			ELSE 'a limit by user and month counts the events of its month' END),
		meter.doctor_set_here('meter.retention', format('%sd', ceil(extract(epoch FROM r.needed) / 86400) + 1))
	FROM (
		SELECT r.kept, b.billed, CASE WHEN b.billed THEN interval '31 days' + meter.close_grace() ELSE interval '31 days' END AS needed
		FROM (SELECT make_interval(mins => meter.doctor_setting('meter.retention')::integer) AS kept) AS r
		CROSS JOIN (SELECT EXISTS (SELECT FROM meter.price) AS billed,
			EXISTS (SELECT FROM meter.rate_limit AS l WHERE l.per_user AND l.per = 'month' AND l.kind = 'window') AS limited) AS b
		WHERE r.kept > interval '0' AND (b.billed OR b.limited)
	) AS r
	WHERE r.kept < r.needed
	UNION ALL
	SELECT 'dedup_window', NULL, 'meter.dedup_window',
		format('An idempotency key is forgotten after %s.', d.kept), meter.doctor_set_here('meter.dedup_window', '35d')
	FROM (SELECT make_interval(mins => meter.doctor_setting('meter.dedup_window')::integer) AS kept) AS d
	WHERE d.kept < interval '1 day' AND EXISTS (SELECT FROM meter.idempotency_key)
$$;
COMMENT ON FUNCTION meter.doctor_flow() IS
'Part of meter_doctor(): whether events get into log and totals in time, and none is lost or forgotten too early';

-- doctor_server.sql: what is wrong with the server, for meter

-- pg_cron need not be there.
CREATE FUNCTION meter.doctor_job()
RETURNS TABLE (jobid bigint, command text, schedule text, active boolean, status text, message text)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'pg_cron') OR to_regclass('cron.job') IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY EXECUTE 'SELECT j.jobid, j.command, j.schedule, j.active, '
		|| CASE WHEN to_regclass('cron.job_run_details') IS NULL
			THEN 'NULL::text, NULL::text FROM cron.job AS j'
			-- its history is never short: nobody but the user deletes from it
			ELSE 'd.status, d.return_message FROM cron.job AS j LEFT JOIN LATERAL ('
				'SELECT r.status, r.return_message FROM cron.job_run_details AS r '
				'WHERE r.jobid = j.jobid AND r.status IN (''failed'', ''succeeded'') '
				'AND r.runid > (SELECT max(m.runid) - 20000 FROM cron.job_run_details AS m) '
				'ORDER BY r.runid DESC LIMIT 1) AS d ON true' END
		|| ' WHERE j.database = current_database() AND j.command ~ ''\mmeter_[a-z]''';
END
$$;
COMMENT ON FUNCTION meter.doctor_job() IS
'Part of meter_doctor(): jobs of pg_cron in this database that call meter, and how the last of their runs has ended, as far back as 20000 runs of all jobs; none without pg_cron';

-- All four are arguments, so that each can be tried.
CREATE FUNCTION meter.doctor_version(library text, installed text, available text, server integer)
RETURNS SETOF meter.doctor_finding
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'library_version', NULL, 'extension meter',
		format('The extension in this database is of version %s, and the files that are installed are of %s.', installed, available),
		'ALTER EXTENSION meter UPDATE;'
	WHERE installed <> available
	UNION ALL
	SELECT 'library_version', NULL, 'library meter',
		format('The server has loaded the library of version %s, and the files that are installed are of %s.', library, available),
		'-- restart the server'
	WHERE library <> available
	UNION ALL
	SELECT 'server_version', CASE WHEN server < 150000 THEN 'critical' END,
		format('PostgreSQL %s', server / 10000),
		CASE WHEN server < 150000 THEN 'meter needs PostgreSQL 15 or later.'
			ELSE 'This meter supports PostgreSQL 15 to 19.' END,
		CASE WHEN server < 150000 THEN '-- upgrade PostgreSQL to a version from 15 to 19'
			ELSE '-- install a release of meter that names this version among those it supports' END
	WHERE server / 10000 NOT BETWEEN 15 AND 19
$$;
COMMENT ON FUNCTION meter.doctor_version(text, text, text, integer) IS
'Part of meter_doctor(): whether versions go together: of the library that is loaded, the extension in the database, the files on disk, and the server (as server_version_num has it)';

-- The planner compiles what it takes for expensive.  Views with sketches are, by
-- its estimate, long before they take as long as being compiled.  EXPLAIN is not
-- for functions that are STABLE.
CREATE FUNCTION meter.doctor_jit(has_jit boolean, jit boolean, jit_above_cost double precision)
RETURNS SETOF meter.doctor_finding
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	plan json;
BEGIN
	IF NOT has_jit OR NOT jit OR jit_above_cost < 0 THEN
		RETURN;
	END IF;
	EXECUTE 'EXPLAIN (FORMAT JSON) SELECT * FROM meter.usage_daily' INTO plan;
	IF (plan #>> '{0,Plan,Total Cost}')::double precision <= jit_above_cost THEN
		RETURN;
	END IF;
	RETURN QUERY SELECT 'jit', NULL, 'jit',
		'jit is on, and meter.usage_daily costs more than jit_above_cost: queries of it and of larger views are compiled each time, which can take seconds more than to read them.',
		meter.doctor_set_here('jit', 'off') || E'\n-- or only for the roles that read: ALTER ROLE name SET jit = off;';
END
$$;
COMMENT ON FUNCTION meter.doctor_jit(boolean, boolean, double precision) IS
'Part of meter_doctor(): whether queries of views are compiled, where the server can do that, by its parameters of the same names';

-- What has to be done again and again, who does it, and what shows that somebody
-- has done it of late: there are other schedulers than pg_cron.
CREATE FUNCTION meter.doctor_process() RETURNS SETOF meter.doctor_finding
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
	WITH server AS MATERIALIZED (
		SELECT s.preloaded, s.databases, s.has_entry,
			COALESCE(meter.doctor_setting('meter.flush_interval'), 0) > 0 AS flushes,
			COALESCE(meter.doctor_setting('meter.rollup_interval'), 0) > 0 AS rolls_up,
			EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'pg_cron') AS has_cron
		FROM meter.doctor_server() AS s
	), job AS MATERIALIZED (
		SELECT j.* FROM meter.doctor_job() AS j
	), work AS (
		SELECT w.*, EXISTS (SELECT FROM job AS j WHERE j.active AND strpos(j.command, w.function) > 0) AS scheduled
		FROM server AS s
		CROSS JOIN LATERAL (VALUES
			('meter_flush', 'critical', 'moves events into the log', s.flushes, 'meter.flush_interval', '200ms', true,
				(SELECT p.flushed_at > now() - interval '1 day' FROM meter.log_position AS p)),
			('meter_rollup', NULL, 'brings events into the totals', s.rolls_up, 'meter.rollup_interval', '60s', true,
				(SELECT c.moved_at > now() - interval '1 day' FROM meter.consumer AS c WHERE c.name = 'rollup')),
			('meter_maintain', NULL, 'drops old events and puts changes of plans into force', s.rolls_up, 'meter.rollup_interval', '60s', true,
				(SELECT max(g.day) > (now() AT TIME ZONE 'UTC')::date - 2 FROM meter.storage_sample AS g)),
			('meter_evaluate_alerts', NULL, 'looks after alerts', s.rolls_up, 'meter.rollup_interval', '60s',
				EXISTS (SELECT FROM meter.alert_rule AS r WHERE r.enabled),
				(SELECT max(e.evaluated_at) > now() - interval '1 hour' FROM meter.alert_evaluation AS e)),
			('meter_refresh_budgets', NULL, 'counts what is spent of budgets', s.rolls_up, 'meter.rollup_interval', '60s',
				EXISTS (SELECT FROM meter.budget AS b),
				(SELECT max(p.counted_at) > now() - interval '1 day' FROM meter.budget_period AS p)),
			('meter_outbox_fill', NULL, 'prepares usage for the payment provider', s.rolls_up, 'meter.rollup_interval', '60s',
				EXISTS (SELECT FROM meter.outbox_meter AS m WHERE m.enabled),
				(SELECT max(m.looked_through) > now() - interval '1 day' FROM meter.outbox_meter AS m)),
			('meter_close_month', NULL, 'makes bills', s.rolls_up, 'meter.rollup_interval', '60s',
				EXISTS (SELECT FROM meter.price AS p) OR EXISTS (SELECT FROM meter.plan_version AS v),
				(SELECT max(b.rated_at) > now() - interval '32 days' FROM meter.bill AS b))
		) AS w(function, severity, does, by_worker, setting, usual, needed, seen)
	)
	SELECT 'not_preloaded', CASE WHEN EXISTS (SELECT FROM meter.rate_limit) THEN 'critical'
			WHEN EXISTS (SELECT FROM job AS j WHERE j.active) THEN 'info' END,
		'shared_preload_libraries',
		CASE WHEN EXISTS (SELECT FROM meter.rate_limit)
			THEN 'The server does not preload meter, so meter_check() fails, though there are limits in meter.rate_limit.'
			ELSE 'The server does not preload meter, so there are no limits, no queue and no background worker.' END,
		meter.doctor_preload()
	FROM server AS s
	WHERE NOT s.preloaded
	UNION ALL
	SELECT 'unscheduled', w.severity, w.function || '()',
		format('Nobody calls %s(), which %s: the background worker does not%s, and pg_cron has no active job for it in this database.',
			w.function, w.does, CASE WHEN s.preloaded THEN format(', as %s is 0', w.setting) ELSE ', as the server does not preload meter' END),
		CASE WHEN s.has_cron THEN 'SELECT * FROM @extschema@.meter_schedule();'
			WHEN s.preloaded THEN meter.doctor_set(w.setting, w.usual, false)
			ELSE meter.doctor_preload() END
	FROM server AS s
	CROSS JOIN work AS w
	WHERE w.needed AND NOT w.by_worker AND NOT w.scheduled AND w.seen IS NOT TRUE AND NOT pg_is_in_recovery()
	UNION ALL
	SELECT 'job_failed', NULL, format('job %s of pg_cron', j.jobid),
		CASE WHEN NOT j.active THEN format('The job is off: %s', j.command)
			ELSE format('Its last run has failed: %s: %s', j.command, COALESCE(btrim(j.message, E' \n'), 'no message')) END,
		CASE WHEN NOT j.active THEN format('SELECT cron.alter_job(%s, active => true);', j.jobid)
			-- never the job's text: who makes a job need not be who runs remedies
			ELSE CASE WHEN c.call IS NULL THEN E'-- run what the job runs, as its user, and mend what is wrong'
					ELSE c.call || E'\n-- shows the error, unless that is in the job''s user or database' END
				|| E'\n-- the finding ends with the job''s next run that succeeds' END
	FROM job AS j
	LEFT JOIN LATERAL (
		SELECT format(CASE m.function WHEN 'meter_close_month' THEN 'CALL @extschema@.%s();' ELSE 'SELECT * FROM @extschema@.%s();' END,
			m.function) AS call
		FROM (SELECT (regexp_match(j.command, '^\s*(?:select|select\s+\*\s+from|call)\s+(?:\w+\.)?(meter_\w+)\(\)\s*;?\s*$', 'i'))[1] AS function) AS m
		WHERE m.function IN (SELECT w.function FROM work AS w)
	) AS c ON true
	WHERE NOT j.active OR j.status = 'failed'
	UNION ALL
	SELECT 'worker_slots', NULL, 'max_worker_processes',
		CASE WHEN p.launchers = 0 THEN 'The process "meter launcher" is not there: the server had none left when it started.'
			ELSE format('All %s processes for background work are taken.', p.most) END,
		meter.doctor_set('max_worker_processes', (p.most + 8)::text, true)
	FROM server AS s
	CROSS JOIN (
		SELECT count(*) FILTER (WHERE a.backend_type = 'meter launcher') AS launchers,
			count(*) FILTER (WHERE a.backend_type <> ALL (ARRAY['client backend', 'autovacuum launcher', 'autovacuum worker',
				'archiver', 'background writer', 'checkpointer', 'startup', 'walreceiver', 'walsender', 'walwriter',
				'slotsync worker', 'walsummarizer', 'io worker', 'standalone backend', 'logger',
				'dead-end client backend', 'datachecksums launcher', 'datachecksums worker'])) AS taken,
			meter.doctor_setting('max_worker_processes') AS most
		FROM pg_stat_activity AS a
	) AS p
	-- a server that has just started has its launcher in a moment
	WHERE s.preloaded AND (p.taken >= p.most OR p.launchers = 0 AND now() > pg_postmaster_start_time() + '10 seconds'::interval)
	UNION ALL
	SELECT 'max_databases', NULL, format('database %I', current_database()),
		format('%s databases have taken all of meter.max_databases, so this one has neither a queue nor a background worker.', s.databases),
		meter.doctor_set('meter.max_databases', (2 * s.databases)::text, true)
	FROM server AS s
	WHERE s.preloaded AND NOT s.has_entry AND s.databases >= meter.doctor_setting('meter.max_databases')
	UNION ALL
	SELECT 'worker_error', NULL, 'background worker',
		format('%s since %s; the last one at %s: %s', meter.doctor_count(t.errors, 'error', 'errors'),
			to_char(t.stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'),
			to_char(t.last_error_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'), t.last_error),
		E'-- what the worker does: an error shows here, too\nSELECT * FROM @extschema@.meter_flush();\nSELECT @extschema@.meter_rollup();\n'
			'SELECT * FROM @extschema@.meter_maintain();\nSELECT @extschema@.meter_stats_reset();'
	FROM meter.stats AS t
	WHERE t.last_error_at > now() - interval '1 hour'
$$;
COMMENT ON FUNCTION meter.doctor_process() IS
'Part of meter_doctor(): whether somebody does what has to be done again and again, and can';

CREATE FUNCTION meter.doctor_machine() RETURNS SETOF meter.doctor_finding
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT v.* FROM meter.doctor_server() AS s
	CROSS JOIN LATERAL (SELECT e.extversion, a.default_version
		FROM pg_extension AS e
		JOIN pg_available_extensions AS a ON a.name = e.extname
		WHERE e.extname = 'meter') AS e
	CROSS JOIN LATERAL meter.doctor_version(s.version, e.extversion, e.default_version,
		meter.doctor_setting('server_version_num')::integer) AS v
	UNION ALL
	-- as it is in a new session: meter_doctor() has it off
	SELECT j.* FROM meter.doctor_server() AS s
	CROSS JOIN LATERAL meter.doctor_jit(s.has_jit,
		(SELECT g.reset_val::boolean FROM pg_settings AS g WHERE g.name = 'jit'),
		(SELECT g.reset_val::double precision FROM pg_settings AS g WHERE g.name = 'jit_above_cost')) AS j
	UNION ALL
	-- what a session has set for itself is its own affair
	SELECT 'durability', CASE WHEN g.name = 'synchronous_commit' THEN 'warning' END, g.name,
		CASE g.name WHEN 'fsync' THEN 'fsync is off: after a crash of the machine the database may be damaged beyond repair.'
			WHEN 'full_page_writes' THEN 'full_page_writes is off: after a crash of the machine pages may be half old and half new.'
			ELSE 'synchronous_commit is off: after a crash, transactions of the last moments are gone, though their commit was confirmed.' END,
		CASE WHEN g.source IN ('command line', 'environment variable')
			THEN format('-- start the server without the option that sets it: %s', g.name)
			WHEN g.source = 'database'
			THEN format(E'ALTER DATABASE %I RESET %I;\n-- holds in sessions that begin from now on', current_database(), g.name)
			WHEN g.source = 'user' THEN format(E'ALTER ROLE %I RESET %I;\n-- holds in sessions that begin from now on', session_user, g.name)
			WHEN g.source = 'database user' THEN format(E'ALTER ROLE %I IN DATABASE %I RESET %I;\n-- holds in sessions that begin from now on',
				session_user, current_database(), g.name)
			ELSE meter.doctor_set(g.name, 'on', false) END
	FROM pg_settings AS g
	WHERE g.name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND g.setting = 'off' AND g.source <> 'session'
	UNION ALL
	SELECT 'autovacuum', NULL, g.name, format('%s is off.', g.name), meter.doctor_set(g.name, 'on', false)
	FROM pg_settings AS g
	WHERE g.name IN ('autovacuum', 'track_counts') AND g.setting = 'off' AND g.source <> 'session'
	UNION ALL
	SELECT 'autovacuum', NULL, format('table %s', c.oid::regclass), 'Autovacuum is off for the table.',
		format('ALTER TABLE %s RESET (autovacuum_enabled);', c.oid::regclass)
	FROM pg_class AS c
	WHERE c.relnamespace = 'meter'::regnamespace AND c.reloptions::text ~* 'autovacuum_enabled=(false|off|no|0)'
	UNION ALL
	SELECT 'wraparound', CASE WHEN t.age > 1000000000 THEN 'critical' END, format('table %s', t.oid::regclass),
		format('The table was last frozen %s transactions ago; autovacuum should have done that after %s, and the server stops writing after 2 billion.',
			t.age, t.due),
		format('VACUUM (FREEZE) %s;', t.oid::regclass)
	FROM (
		SELECT c.oid, age(c.relfrozenxid) AS age, meter.doctor_setting('autovacuum_freeze_max_age') AS due
		FROM pg_class AS c
		WHERE c.relnamespace = 'meter'::regnamespace AND c.relkind = 'r'
	) AS t
	WHERE t.age > 1.5 * t.due
	UNION ALL
	SELECT 'hll', NULL, 'extension hll', format('It is of version %s, and the files that are installed are of %s.', e.extversion, a.default_version),
		'ALTER EXTENSION hll UPDATE;'
	FROM pg_extension AS e
	JOIN pg_available_extensions AS a ON a.name = e.extname
	WHERE e.extname = 'hll' AND e.extversion <> a.default_version
	UNION ALL
	SELECT 'clock', NULL, 'clock of the machine',
		format('It is %s now, and the log was last written at %s.', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
			to_char(p.flushed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')),
		'-- have the machine''s clock set by NTP; the finding ends with the first flush of an event after that'
	FROM meter.log_position AS p
	WHERE p.flushed_at > clock_timestamp() + interval '1 minute'
	UNION ALL
	SELECT 'disk_space', NULL, 'directory pg_meter',
		format('%s are free, and the queue''s file takes %s.', pg_size_pretty(s.free_bytes), pg_size_pretty(s.needed)),
		meter.doctor_set('meter.queue_size', format('%skB',
			GREATEST(256, power(2, floor(log(2.0, GREATEST(s.free_bytes / 2048, 256)::numeric)))::bigint)), true)
	FROM (
		SELECT s.free_bytes, s.preloaded, s.queue_file_bytes, 1024 * meter.doctor_setting('meter.queue_size') AS needed
		FROM meter.doctor_server() AS s
	) AS s
	WHERE s.preloaded AND s.queue_file_bytes IS NULL AND s.free_bytes < s.needed
	UNION ALL
	SELECT 'standby', NULL, 'this server',
		'It is a standby: meter_check() works and counts for this server alone, and nothing is tracked, flushed or rolled up here. Limits are saved, and all else begins with a promotion.',
		'-- nothing needs to be done; track events on the primary'
	WHERE pg_is_in_recovery()
$$;
COMMENT ON FUNCTION meter.doctor_machine() IS
'Part of meter_doctor(): versions, and settings of the server and the machine';

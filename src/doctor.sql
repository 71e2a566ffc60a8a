-- doctor.sql: what is misconfigured, and how that is cured
--
-- Each check is one query over all rows that it is about, in one of the
-- doctor_*.sql, together with others of the same thing.  What they have in common
-- is here, and all of them together are in doctor_entry.sql.

CREATE TYPE meter.doctor_finding AS (
	"check" text,
	severity text,
	object text,
	finding text,
	remedy text
);
COMMENT ON TYPE meter.doctor_finding IS
'What a check of meter_doctor() has found: with which object, what is wrong, and what ends it; severity null is that of the check';

CREATE VIEW meter.doctor_check AS
SELECT v.place::integer AS place, v."check", v.severity, v.explanation
FROM (VALUES
	-- the server
	(101, 'not_preloaded', 'warning', 'The server does not preload the library, so there are no limits, no queue and no background worker.'),
	(102, 'library_version', 'critical', 'The library that the server has loaded, the extension in this database and the files on disk are not of one version.'),
	(103, 'server_version', 'warning', 'meter does not support this version of PostgreSQL.'),
	(104, 'unscheduled', 'warning', 'Nobody does a piece of work that has to be done again and again: neither the background worker nor a job of pg_cron.'),
	(105, 'job_failed', 'warning', 'A job of pg_cron that calls meter is off or has failed the last time.'),
	(106, 'worker_slots', 'critical', 'There is no process left for meter''s background worker.'),
	(107, 'max_databases', 'critical', 'There is no shared memory left for this database.'),
	(108, 'worker_error', 'warning', 'The background worker has failed within the last hour.'),
	(109, 'durability', 'critical', 'A setting of the server lets a crash lose what was committed, bills among it.'),
	(110, 'autovacuum', 'warning', 'Dead rows of meter''s tables are not removed, and nothing is known of their contents.'),
	(111, 'wraparound', 'warning', 'A table of meter has not been frozen for long, and the server stops writing when its transaction numbers are used up.'),
	(112, 'hll', 'warning', 'The extension hll, which counts distinct users, is older than its files.'),
	(113, 'clock', 'critical', 'The clock of the machine was set back, or was ahead: there are times in the future.'),
	(114, 'disk_space', 'critical', 'There is less room on the disk than the queue''s file needs, which is made with the first event.'),
	(115, 'standby', 'info', 'This server is a standby.'),
	(116, 'jit', 'info', 'PostgreSQL compiles the queries of meter''s views, which takes longer than it saves.'),
	-- events on their way
	(201, 'partition_missing', 'warning', 'Partitions of the days to come are missing.'),
	(202, 'partition_detached', 'critical', 'A table has the name of a partition and is not attached, so nothing of its time can be stored.'),
	(203, 'partition_default', 'warning', 'There is a default partition. With rows in it, the partition of their time cannot be made.'),
	(204, 'maintenance', 'warning', 'Maintenance has not run for two days: old events are kept, and changes of plans do not come into force.'),
	(205, 'flush_lag', 'critical', 'Events wait too long for the log.'),
	(206, 'rollup_lag', 'warning', 'Events of the log are not in the totals.'),
	(207, 'consumer_behind', 'warning', 'A reader of the log has not moved for a day, and keeps partitions from being dropped.'),
	(208, 'consumer_ahead', 'critical', 'A reader of the log is beyond its end, and so will miss events.'),
	(209, 'queue_small', 'warning', 'The queue was full, and events had to go through meter.inbox.'),
	(210, 'queue_damaged', 'warning', 'A file of the queue was damaged, and events in it were lost.'),
	(211, 'rejected_events', 'warning', 'Events were refused within the last day.'),
	(212, 'metric_cap', 'warning', 'There are nearly as many metrics as meter.max_metrics lets be registered by first use.'),
	(213, 'group_cap', 'info', 'Usage of the last day was folded into (other), as a tenant had more groups than meter.max_groups_per_hour.'),
	(214, 'retention', 'warning', 'Events are dropped before the bill of their month is final, or quotas of a month by user have ended.'),
	(215, 'dedup_window', 'info', 'Idempotency keys are forgotten within a day, so that a sender who retries longer is counted twice.'),
	-- who may do what
	(301, 'public_grant', 'critical', 'Everybody has a right on the schema meter, on something in it or on a function of meter.'),
	(302, 'partition_grant', 'warning', 'A role has a right on a partition itself, which the policy of its parent does not guard.'),
	(303, 'row_security', 'critical', 'Row security of a table or view of meter was switched off, so that a tenant''s role sees other tenants'' rows.'),
	(304, 'bypass_rls', 'critical', 'Row security does not hold for a role that works for tenants.'),
	(305, 'isolation_off', 'warning', 'Tenants have schemas of their own, and nothing looks at who reaches into whose.'),
	(306, 'isolation_audit', 'warning', 'The audit of isolation has findings.'),
	-- tenants and limits
	(401, 'default_plan', 'warning', 'meter.default_plan names a plan that does not exist.'),
	(402, 'tenant_no_plan', 'warning', 'Tenants have no plan, though there are plans.'),
	(403, 'tenant_unknown', 'warning', 'Tenants have usage and no row in meter.tenant, so that they are never billed.'),
	(404, 'tenant_time_zone', 'warning', 'The server does not know the time zone of tenants, and takes UTC.'),
	(405, 'plan_unused', 'info', 'There are limits of a plan that no tenant has.'),
	(406, 'rule_hidden', 'info', 'A limit for all tenants holds for nobody, as each plan has one of its own for the same.'),
	(407, 'limit_memory', 'warning', 'There was no room to count calls, or there is hardly any left.'),
	-- names that nobody has
	(501, 'unknown_tenant', 'warning', 'A row of the configuration is for a tenant of whom nobody has heard.'),
	(502, 'unknown_service', 'warning', 'A row of the configuration is for a service that had no usage for a month.'),
	(503, 'unknown_metric', 'warning', 'A row of the configuration is for a metric that is not registered.'),
	(504, 'unused_metric', 'info', 'A price is for a metric that had no usage for a month.'),
	(505, 'unknown_dimension', 'warning', 'A row of the configuration asks for a dimension that its metric does not have, and so for usage that there cannot be.'),
	(506, 'metric_kind', 'warning', 'A row of the configuration asks for levels of a counter, which has none, or for a sum of a gauge, which means nothing.'),
	-- prices and bills
	(601, 'plan_no_price', 'info', 'Tenants have a plan that costs nothing: it has neither a price nor a version.'),
	(602, 'price_gap', 'warning', 'Between two prices of a name there are days on which none holds.'),
	(603, 'price_overlap', 'info', 'Two prices charge the same usage of the same tenants on the same days.'),
	(604, 'fx_rate', 'critical', 'A rate of exchange is missing, so bills cannot be made or charges not be reckoned.'),
	(605, 'model_price', 'warning', 'Calls of a language model were recorded at cost 0, as it has no price.'),
	(606, 'month_unclosed', 'critical', 'A billing period is over, its grace too, and tenants have no bill of it.'),
	(607, 'bill_draft', 'warning', 'Bills whose grace is over are drafts still.'),
	(608, 'outbox_customer', 'warning', 'Usage is not sent to the payment provider, as the tenant has no customer there.'),
	(609, 'outbox_unclaimed', 'warning', 'Usage for the payment provider waits, and nobody sends it.'),
	(610, 'outbox_dead', 'critical', 'Usage for the payment provider was given up.'),
	-- budgets and alerts
	(701, 'budget_no_data', 'warning', 'Nothing was ever spent of a budget, though its tenant or service has usage.'),
	(702, 'budget_error', 'warning', 'What was spent of a budget cannot be reckoned.'),
	(703, 'alert_evaluation', 'warning', 'Alerts are not evaluated.'),
	(704, 'alert_rule_off', 'info', 'An alert rule is off.'),
	(705, 'alert_rule_mute', 'warning', 'An alert rule can never fire, as its signal has no values of a tenant, service or metric.')
) AS v(place, "check", severity, explanation);
COMMENT ON VIEW meter.doctor_check IS
'What does meter_doctor() look at?';
COMMENT ON COLUMN meter.doctor_check.place IS 'where its findings come among those of the same severity; the hundreds are what it is about';
COMMENT ON COLUMN meter.doctor_check."check" IS 'name of the check';
COMMENT ON COLUMN meter.doctor_check.severity IS
'critical: events, money or tenants'' rows are lost or open; warning: something does not work as it was meant to; info: to be known. A finding may be worse or less bad, where it says why';
COMMENT ON COLUMN meter.doctor_check.explanation IS 'what is wrong, and what comes of it';

CREATE FUNCTION meter.doctor_server(
	OUT version text,
	OUT preloaded boolean,
	OUT databases integer,
	OUT has_entry boolean,
	OUT free_bytes bigint,
	OUT queue_file_bytes bigint,
	OUT has_jit boolean)
RETURNS record
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'meter_doctor_server';
COMMENT ON FUNCTION meter.doctor_server() IS
'Part of meter_doctor(): version of the library that runs, whether the server preloads it, how many databases have a place in its shared memory and whether this one has, bytes that are free where the files of queues are, size of this database''s, null if it is not there yet, and whether the server can compile queries';

-- The settings of meter are there as soon as its library is loaded, which the
-- functions in C see to.
CREATE FUNCTION meter.doctor_setting(setting text) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT s.setting::bigint FROM pg_settings AS s WHERE s.name = $1 AND s.vartype = 'integer'
$$;
COMMENT ON FUNCTION meter.doctor_setting(text) IS
'A parameter that is a whole number, in its unit; null if the server does not have it';

CREATE FUNCTION meter.doctor_list(names text[]) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN array_to_string(names[:3], ', ')
	|| CASE WHEN cardinality(names) > 3 THEN format(' and %s more', cardinality(names) - 3) ELSE '' END;
COMMENT ON FUNCTION meter.doctor_list(text[]) IS
'The first three names, and how many more there are, for people';

CREATE FUNCTION meter.doctor_count(n bigint, one text, many text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN format('%s %s', n, CASE WHEN n = 1 THEN one ELSE many END);
COMMENT ON FUNCTION meter.doctor_count(bigint, text, text) IS
'A number of things, for people';

-- ALTER SYSTEM must be a statement of its own, so each remedy has one on a line.
CREATE FUNCTION meter.doctor_set(setting text, value text, by_restart boolean) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN format(E'ALTER SYSTEM SET %s = %L;\n%s', setting, value,
	CASE WHEN by_restart THEN '-- and restart the server' ELSE 'SELECT pg_reload_conf();' END);
COMMENT ON FUNCTION meter.doctor_set(text, text, boolean) IS
'SQL that sets a parameter of the server, by a reload or a restart';

CREATE FUNCTION meter.doctor_set_here(setting text, value text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN format(E'ALTER DATABASE %I SET %s = %L;\n-- holds in sessions that begin from now on',
	current_database(), setting, value);
COMMENT ON FUNCTION meter.doctor_set_here(text, text) IS
'SQL that sets a parameter of this database';

-- The line of shared_preload_libraries that has meter in it, too.
CREATE FUNCTION meter.doctor_preload() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(E'ALTER SYSTEM SET shared_preload_libraries = %s;\n-- and restart the server',
		string_agg(quote_literal(l.library), ', ' ORDER BY l.place))
	FROM (
		SELECT trim(BOTH ' "' FROM u.library) AS library, u.place
		FROM regexp_split_to_table(current_setting('shared_preload_libraries'), ',') WITH ORDINALITY AS u(library, place)
		UNION ALL
		SELECT 'meter', 1000000
	) AS l
	WHERE l.library <> '' AND (l.place = 1000000 OR l.library <> 'meter')
$$;
COMMENT ON FUNCTION meter.doctor_preload() IS
'SQL that adds meter to what the server preloads';

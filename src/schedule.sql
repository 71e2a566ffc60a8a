-- schedule.sql: background jobs

CREATE FUNCTION @extschema@.meter_schedule(
	rollup text DEFAULT '* * * * *',
	maintain text DEFAULT '0 3 * * *',
	close text DEFAULT '0 4 * * *',
	OUT job text,
	OUT schedule text,
	OUT command text)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_schedule(text, text, text) IS
'Register the background jobs with pg_cron, as the current user: flush, rollup, budgets, alerts and outbox (each minute), maintenance (daily at 03:00) and the closing of months (daily at 04:00), with other schedules if given in cron''s form. Calling it again changes the schedules of the jobs that are there. Errors: 22004 for null, 55000 where pg_cron is missing';

CREATE FUNCTION @extschema@.meter_unschedule() RETURNS integer
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_unschedule() IS
'Remove the current user''s jobs that meter_schedule() registered in pg_cron and return how many there were. Errors: 55000 where pg_cron is missing';

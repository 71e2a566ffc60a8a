-- meter_schedule(): without pg_cron in this database it says what to do; test/t has the real one
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

CREATE DATABASE regress_no_cron;
\c regress_no_cron
SET client_min_messages = warning;
CREATE EXTENSION meter CASCADE;
SELECT * FROM meter_schedule();
SELECT meter_unschedule();
\c contrib_regression
DROP DATABASE regress_no_cron;

SET client_min_messages = warning;
CREATE EXTENSION pg_cron;
RESET client_min_messages;
SELECT * FROM meter_schedule();
SELECT jobname, schedule, command, username = current_user AS mine FROM cron.job ORDER BY jobname;
SELECT * FROM meter_schedule(rollup => '*/5 * * * *');
SELECT jobname, schedule FROM cron.job ORDER BY jobname;
-- newer versions of pg_cron add a hint
\set VERBOSITY terse
SELECT * FROM meter_schedule(rollup => 'now and then');
\set VERBOSITY default
-- null does not leave out a job
SELECT * FROM meter_schedule(close => NULL);
SELECT jobname, schedule FROM cron.job ORDER BY jobname;
SELECT meter_unschedule();
SELECT count(*) FROM cron.job;
SELECT meter_unschedule();
DROP EXTENSION pg_cron;

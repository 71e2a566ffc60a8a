-- role.sql: the role that Grafana logs in as
--
-- Run it as superuser in the database that has meter, and then give the role a
-- password with \password grafana.  Whoever may query a data source of Grafana
-- can send it any SQL, whatever a dashboard asks: what they can do is what this
-- role can.  It reads what meter has, of all tenants, and writes nothing.

CREATE ROLE grafana LOGIN NOINHERIT CONNECTION LIMIT 20;
SELECT meter_grant('grafana', 'analyst');

-- What a session can change again, so no protection, but against mistakes.
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '60s';
ALTER ROLE grafana SET idle_in_transaction_session_timeout = '60s';
-- Compiling the queries of panels takes longer than running them.
ALTER ROLE grafana SET jit = off;
-- Without it, a backslash would end the quoting of a variable's value.
ALTER ROLE grafana SET standard_conforming_strings = on;

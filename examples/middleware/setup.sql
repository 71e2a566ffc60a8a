-- examples/middleware/setup.sql: the role of the middleware, and limits to try
-- it with.
--
-- Run it as superuser in the database that has meter.  The first part is what
-- every API needs; the second makes two tenants of two plans and a limit of one
-- endpoint, for the examples beside this file.

-- May ask for limits and track events, and nothing else.  An answer takes less
-- than a millisecond, so that after a second something is wrong.
CREATE ROLE api_meter LOGIN;
SELECT meter_grant('api_meter', 'app');
ALTER ROLE api_meter SET statement_timeout = '1s';

-- To try it with: 100 requests a minute for hooli, 500 for acme, and 5 a minute
-- of one endpoint for everybody.
SELECT meter_load_preset('tiered');
INSERT INTO meter.tenant (tenant, plan) VALUES ('acme', 'pro'), ('hooli', 'free');
INSERT INTO meter.rate_limit (resource, per, max) VALUES ('POST /api/bulk', 'minute', 5);

-- meter_check() and its relatives: may this call go through?
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
\set VERBOSITY terse

-- Most rules here are buckets with a burst and without refill (max 0), so that no time shows.
-- Windows are in a time zone in which it is neither shortly before nor shortly after midnight.
SELECT CASE WHEN extract(hour FROM now()) BETWEEN 6 AND 17 THEN 'Etc/UTC' ELSE 'Etc/GMT-12' END AS zone \gset
-- what a decision says, but for times
CREATE FUNCTION checked(tenant text, resource text DEFAULT '*', cost numeric DEFAULT 1, user_id text DEFAULT NULL,
	OUT allowed boolean, OUT reason text, OUT rule text, OUT "limit" numeric, OUT remaining numeric,
	OUT quota_rule text, OUT quota_limit numeric, OUT quota_remaining numeric, OUT warning integer)
LANGUAGE SQL BEGIN ATOMIC
	SELECT d.allowed, d.reason, d.rule, d."limit", d.remaining, d.quota_rule, d.quota_limit, d.quota_remaining, d.warning
	FROM meter_check(tenant, resource, cost, user_id) AS d;
END;
CREATE VIEW status AS
SELECT tenant, user_id, rule, "limit", used, remaining, used_percent AS percent, allowed, refused
FROM meter.rate_limit_status ORDER BY tenant, user_id NULLS FIRST, rule_id;

-- nothing limits
SELECT * FROM meter_check('acme') \gx
SELECT meter_allow('acme'), meter_headers(meter_require('acme'));
SELECT meter_refund('acme');
SELECT * FROM status;

-- arguments: one error each, the same of all four functions, or they are all shown
CREATE FUNCTION outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n    ', state || ': ' || message, NULLIF(detail, ''), NULLIF(hint, ''));
END
$$;
CREATE FUNCTION try(arguments text) RETURNS SETOF text LANGUAGE SQL BEGIN ATOMIC
	SELECT DISTINCT outcome('SELECT ' || f || '(' || arguments || ')')
	FROM unnest('{meter_check, meter_allow, meter_require, meter_refund}'::text[]) AS f;
END;
\pset format unaligned
\pset tuples_only on
SELECT try('NULL');
SELECT try($$''$$);
SELECT try($$repeat('t', 128)$$);
SELECT try($$repeat('t', 129)$$);
SELECT try($$repeat('ü', 65)$$);
SELECT try($$'acme', NULL$$);
SELECT try($$'acme', ''$$);
SELECT try($$'acme', repeat('r', 2048)$$);
SELECT try($$'acme', repeat('r', 2049)$$);
SELECT try($$'acme', '*', NULL$$);
SELECT try($$'acme', '*', 'NaN'$$);
SELECT try($$'acme', '*', 'Infinity'$$);
SELECT try($$'acme', '*', '-Infinity'$$);
SELECT try($$'acme', '*', -1$$);
SELECT try($$'acme', '*', -0.0000000000001$$);
SELECT try($$'acme', '*', 0$$);
SELECT try($$'acme', '*', 0.0000000000001$$);
SELECT try($$'acme', '*', 1000000000000000$$);
SELECT try($$'acme', '*', 1000000000000000.000000001$$);
SELECT try($$'acme', '*', 1e20$$);
SELECT try($$'acme', '*', 1, NULL$$);
SELECT try($$'acme', '*', 1, ''$$);
SELECT try($$'acme', '*', 1, repeat('u', 128)$$);
SELECT try($$'acme', '*', 1, repeat('u', 129)$$);
SELECT outcome('SELECT meter_reset_limit(NULL)');
SELECT outcome($$SELECT meter_reset_limit('')$$);
SELECT outcome($$SELECT meter_reset_limit(repeat('t', 129))$$);
SELECT outcome($$SELECT meter_reset_limit('acme', NULL, '')$$);
SELECT outcome($$SELECT meter_reset_limit('acme', NULL, repeat('u', 129))$$);
SELECT outcome($$SELECT meter_reset_limit('acme', NULL, NULL)$$);
\pset tuples_only off
\pset format aligned

-- a bucket: three at once, then none.  Cost 0 looks and takes nothing, whether there is something or not.
INSERT INTO meter.rate_limit (per, max, burst) VALUES ('month', 0, 3);
SELECT * FROM checked('acme', cost => 0);
SELECT * FROM status;
SELECT c.* FROM generate_series(1, 5) AS i, LATERAL checked('acme', cost => 1 + 0 * i) AS c;
SELECT * FROM checked('acme', cost => 0);
SELECT meter_allow('acme'), meter_allow('acme', cost => 0), meter_allow('globex'), meter_allow('globex', cost => 0);
SELECT * FROM meter_check('acme') \gx
-- one was let through of globex, three of acme; of acme three were refused, the looks are not counted
SELECT * FROM status;

-- the cost makes no difference where requests are counted
SELECT * FROM checked('hooli', cost => 1000000);
SELECT * FROM checked('hooli', cost => 0.000000001);

-- an error for who wants one; PostgREST makes HTTP status 429 of its SQLSTATE
\set VERBOSITY default
SELECT meter_require('acme');
SELECT outcome($$SELECT meter_require('acme')$$);
SELECT outcome($$SELECT meter_require('acme', cost => 0)$$);
SELECT allowed, reason, remaining FROM meter_require('hooli');
\set VERBOSITY terse

-- what was taken stays taken if the transaction fails
BEGIN;
SELECT allowed, remaining FROM meter_check('initech');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT allowed, remaining FROM meter_check('initech');
ROLLBACK TO s;
SELECT allowed, remaining FROM meter_check('initech', cost => 0);
COMMIT;
-- also in a read-only one
BEGIN READ ONLY;
SELECT allowed, remaining FROM meter_check('initech');
SELECT allowed, remaining FROM meter_check('initech');
COMMIT;

-- it refills: 20 a minute is one each 3 s
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, resource, per, max, burst) VALUES ('refill', 'a', 'minute', 20, 1);
SELECT meter_allow('refill', 'a') AS first, meter_allow('refill', 'a') AS second, (meter_check('refill', 'a')).retry_after \gset
SELECT :'first' AS first, :'second' AS second, :'retry_after' > '0' AND :'retry_after'::interval <= '3 s' AS retry_after,
	pg_sleep_for(:'retry_after'), meter_allow('refill', 'a') AS third;
INSERT INTO meter.rate_limit (tenant, resource, per, max) VALUES ('refill', 'b', 'hour', 60);
SELECT d.remaining, d.retry_after, d.period, d.reset_at - clock_timestamp() BETWEEN '0' AND '1 min' AS reset_at
FROM meter_check('refill', 'b') AS d;
SELECT count(*) FILTER (WHERE meter_allow('refill', 'b')) FROM generate_series(2, 60);
SELECT d.allowed, d.reason, d.retry_after BETWEEN '0' AND '1 min' AS retry_after,
	d.reset_at - clock_timestamp() BETWEEN '58 min' AND '60 min' AS reset_at
FROM meter_check('refill', 'b', 0) AS d;
SELECT substring(outcome($$SELECT meter_require('refill', 'b', 0)$$) FROM 'Retry after (\d+) seconds\.')::int BETWEEN 1 AND 60 AS retry_after;
-- until it is full again, it takes longer than the calendar goes: 3558398 months of 30 days
INSERT INTO meter.rate_limit (tenant, unit, per, max, burst) VALUES ('patient', 'cost', 'month', 1, 1000000000000000);
SELECT allowed, remaining, reset_at FROM meter_check('patient', cost => 3558398);
SELECT reset_at FROM meter.rate_limit_status WHERE tenant = 'patient';
TRUNCATE meter.rate_limit;

-- which rules hold: of the same unit, time and per_user the most specific pattern
INSERT INTO meter.plan (plan, multiplier) VALUES ('free', 0.1), ('pro', 1), ('scale', 2.5), ('none', 1);
INSERT INTO meter.tenant (tenant, plan, time_zone) VALUES
	('free', 'free', :'zone'), ('pro', 'pro', :'zone'), ('scale', 'scale', :'zone'), ('none', 'none', :'zone'), ('no plan', NULL, :'zone');
INSERT INTO meter.rate_limit (resource, per, max, burst, name) VALUES
	('*', 'month', 0, 100, 'any'),
	('POST *', 'month', 0, 101, 'any post'),
	('POST /api/*', 'month', 0, 102, 'api post'),
	('POST /api/bulk', 'month', 0, 103, 'bulk'),
	('*/api/bulk', 'month', 0, 104, 'any bulk'),
	('openai', 'month', 0, 105, 'openai'),
	('openai*', 'month', 0, 106, 'openai and more'),
	('*a', 'month', 0, 107, 'ends in a');
SELECT resource, (checked('no plan', resource)).rule
FROM unnest('{*, GET /api/bulk, POST /x, POST /api, POST /api/, POST /api/x, POST /api/bulk, PUT /api/bulk, POST /api/bulk/x,
	openai, openai-eu, openaia, OpenAI, a, pasta, Ä, "POST  /api/bulk"}'::text[]) AS resource;
SELECT rule, used, allowed FROM meter.rate_limit_status WHERE tenant = 'no plan' ORDER BY rule_id;

-- of the same pattern the tenant's rule before that of his plan before that for all; another time or unit is another limit
INSERT INTO meter.rate_limit (plan, tenant, resource, per, max, burst, name) VALUES
	('pro', NULL, '*', 'month', 0, 200, 'any of pro'),
	('pro', NULL, 'openai', 'month', 0, 205, 'openai of pro'),
	(NULL, 'pro', '*', 'month', 0, 300, 'any of the tenant'),
	(NULL, 'new', 'openai', 'month', 0, 305, 'openai of the tenant');
SELECT tenant, resource, (checked(tenant, resource)).rule
FROM unnest('{no plan, none, pro, new, stranger}'::text[]) AS tenant, unnest('{*, openai, POST /api/bulk}'::text[]) AS resource;

-- multipliers: 0.1 of 5 is one, 2.5 of 5 is thirteen, and of rules for all only.  A bucket's burst is scaled as well.
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (resource, per, max, burst) VALUES ('sms', 'minute', 5, NULL), ('email', 'month', 0, 7);
INSERT INTO meter.rate_limit (resource, unit, per, max, kind) VALUES ('openai', 'cost', 'day', 10, 'window'), ('gpu', 'requests', 'day', NULL, 'window');
INSERT INTO meter.rate_limit (plan, resource, per, max) VALUES ('free', 'fax', 'minute', 5);
SELECT tenant, resource, c.rule, c."limit", c.remaining, c.quota_rule, c.quota_limit
FROM unnest('{no plan, free, scale, pro}'::text[]) AS tenant, unnest('{sms, email, openai, gpu, fax}'::text[]) AS resource,
	LATERAL checked(tenant, resource, 0) AS c;
SELECT meter_allow('free', 'sms'), meter_allow('free', 'sms');
-- another multiplier, another limit; what was used stays
UPDATE meter.plan SET multiplier = 0.5 WHERE plan = 'free';
SELECT rule, "limit", remaining, allowed FROM checked('free', 'sms');

-- the plan of tenants that have none
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (plan, per, max, burst, name) VALUES ('free', 'month', 0, 10, 'free'), ('pro', 'month', 0, 20, 'pro');
SELECT (checked('no plan')).reason, (checked('stranger')).reason, (checked('none')).reason;
SET meter.default_plan = 'free';
SELECT (checked('no plan')).rule, (checked('stranger')).rule, (checked('none')).reason, (checked('pro')).rule;
SET meter.default_plan = 'no such plan';
SELECT (checked('no plan')).reason, (checked('stranger')).reason, (checked('pro')).rule;
SET meter.default_plan = 'pro';
SELECT * FROM checked('stranger');
-- of a tenant with rules of its own as well
INSERT INTO meter.rate_limit (tenant, per, max, burst, name) VALUES ('stranger', 'day', 0, 5, 'own');
SELECT * FROM checked('stranger');
RESET meter.default_plan;
SELECT * FROM checked('stranger');
SELECT rule, used FROM status WHERE tenant IN ('stranger', 'no plan');

-- cost: up to nine decimals, exactly; what is more is rounded up
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, resource, unit, per, max, burst) VALUES
	('spender', '*', 'cost', 'month', 0, 1), ('spender', 'day', 'cost', 'day', 0, 12.5);
SELECT * FROM checked('spender', cost => 0.1);
SELECT count(*) FILTER (WHERE meter_allow('spender', cost => 0.1)) FROM generate_series(1, 8);
SELECT * FROM checked('spender', cost => 0.1);
SELECT * FROM checked('spender', cost => 0.000000001);
SELECT meter_refund('spender', cost => 0.5);
SELECT * FROM checked('spender', cost => 0.123456789);
SELECT * FROM checked('spender', cost => 0.0000000000001);
SELECT * FROM checked('spender', cost => 0.376543211);
SELECT * FROM checked('spender', cost => 0.37654321);
-- a cost of exactly what is there; more than there ever is will never be admitted
SELECT meter_reset_limit('spender');
SELECT * FROM checked('spender', cost => 1);
SELECT * FROM checked('spender', cost => 1.000000001);
SELECT * FROM checked('spender', cost => 1000000000000000);
SELECT meter_reset_limit('spender');
SELECT * FROM checked('spender', cost => 1.000000001);
SELECT outcome($$SELECT meter_require('spender', cost => 2)$$);
SELECT allowed, reason, retry_after IS NULL AS never FROM meter_check('spender', cost => 2);
SELECT * FROM status;
-- nothing at all is more than a limit of nothing
INSERT INTO meter.rate_limit (tenant, per, max) VALUES ('locked out', 'minute', 0);
SELECT * FROM checked('locked out');
SELECT allowed, retry_after FROM meter_check('locked out');

-- several rules: all admit a call and are charged, or none is
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, unit, per, max, burst) VALUES
	('multi', 'requests', 'month', 0, 4), ('multi', 'requests', 'day', 0, 3), ('multi', 'cost', 'month', 0, 10);
SELECT c.* FROM unnest('{6, 5, 1, 1, 0.5}'::numeric[]) AS cost, LATERAL checked('multi', cost => cost) AS c;
-- 6, 1 and 1 were let through; 5 was too much, 0.5 the fourth of three a day
SELECT * FROM status;
-- the rule with the least left for its size is told of: 1 of 4 are left of the month, 0 of 3 of the day, 2 of 10 of the cost
SELECT rule, remaining FROM checked('multi', cost => 0);
UPDATE meter.rate_limit SET burst = 9 WHERE per = 'day';
SELECT rule, remaining FROM checked('multi', cost => 0);

-- each user has it to himself, and the tenant's limit holds for all of them; without a user it is the tenant's alone
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, per, max, burst, per_user) VALUES ('users', 'month', 0, 5, false), ('users', 'month', 0, 2, true);
SELECT user_id, c.* FROM unnest('{ann, ann, ann, bob, NULL, cat, NULL}'::text[]) WITH ORDINALITY AS u (user_id, n),
	LATERAL checked('users', user_id => user_id) AS c ORDER BY n;
-- ann's third was refused by hers, what came after cat by the tenant's
SELECT * FROM status;
-- who is refused by both waits for the longer time, which is for ever here; of who has not been there, only the tenant's is known
INSERT INTO meter.rate_limit (tenant, per, max, burst, per_user) VALUES ('waiting', 'day', 1, 1, false), ('waiting', 'month', 0, 1, true);
SELECT user_id, d.allowed, d.reason, d.retry_after > '23 hours' AS retry_after
FROM unnest('{ann, ann, bob}'::text[]) WITH ORDINALITY AS u (user_id, n), LATERAL meter_check('waiting', user_id => user_id) AS d ORDER BY n;
SELECT user_id, rule, allowed, refused FROM status WHERE tenant = 'waiting';
-- a user of the same name of another tenant is somebody else
INSERT INTO meter.rate_limit (tenant, per, max, burst, per_user) VALUES ('others', 'month', 0, 2, true);
SELECT * FROM checked('others', user_id => 'ann');
SELECT * FROM checked('others');
-- a user of a tenant without such rules changes nothing
SELECT * FROM checked('stranger', user_id => 'ann');

-- shadow: decides and counts, refuses nothing, and is not told of
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, per, max, burst, mode) VALUES ('shadow', 'month', 0, 2, 'shadow');
SELECT c.* FROM generate_series(1, 5) AS i, LATERAL checked('shadow', cost => 1 + 0 * i) AS c;
SELECT * FROM status;
-- beside one that refuses: what that refuses takes nothing of the shadow, and does not count there
INSERT INTO meter.rate_limit (tenant, per, max, burst) VALUES ('shadow', 'day', 0, 2);
SELECT c.* FROM generate_series(1, 3) AS i, LATERAL checked('shadow', cost => 1 + 0 * i) AS c;
SELECT * FROM status;
UPDATE meter.rate_limit SET mode = 'enforce', burst = 3 WHERE mode = 'shadow';
SELECT * FROM checked('shadow', cost => 0);

-- unlimited: admits any amount, counts, and takes the place of a less specific rule
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, resource, per, max) VALUES ('any', '*', 'minute', 0), ('any', 'vip', 'minute', NULL);
SELECT allowed, reason FROM checked('any');
SELECT * FROM checked('any', 'vip');
SELECT count(*) FILTER (WHERE meter_allow('any', 'vip')) FROM generate_series(1, 1000);
SELECT rule, "limit", used, remaining, percent, allowed, refused FROM status;
SELECT meter_headers(meter_check('any', 'vip'));

-- calendar windows
TRUNCATE meter.rate_limit;
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('quota', :'zone'), ('soft', :'zone'), ('both', :'zone');
INSERT INTO meter.rate_limit (tenant, per, max, kind) VALUES ('quota', 'month', 20, 'window'), ('soft', 'month', 20, 'window'), ('soft', 'day', 40, 'window');
UPDATE meter.rate_limit SET mode = 'soft' WHERE tenant = 'soft';
-- warnings from 16, 18, 19 and 20 of 20 on
SELECT count(*) FILTER (WHERE meter_allow('quota')) FROM generate_series(1, 14);
SELECT i, c.* FROM generate_series(15, 22) AS i, LATERAL checked('quota', cost => 1 + 0 * i) AS c;
SELECT d.allowed, d.unit, d.period, d.quota_period, d.reset_at = d.quota_reset AS same_reset,
	d.quota_reset = (date_trunc('month', now() AT TIME ZONE :'zone') + interval '1 month') AT TIME ZONE :'zone' AS quota_reset,
	d.retry_after BETWEEN d.quota_reset - clock_timestamp() AND d.quota_reset - now() AS retry_after
FROM meter_check('quota') AS d;
SELECT clock_timestamp() AS before, outcome($$SELECT meter_require('quota')$$) AS error \gset
SELECT regexp_replace(:'error', '\d+ seconds', '<seconds> seconds') AS error,
	substring(:'error' FROM '(\d+) seconds')::int BETWEEN extract(epoch FROM d.quota_reset - clock_timestamp())
		AND extract(epoch FROM d.quota_reset - :'before'::timestamptz) + 1 AS seconds
FROM meter_check('quota', cost => 0) AS d;
-- a soft one goes on; what it has left is never less than nothing
SELECT count(*) FILTER (WHERE meter_allow('soft')) FROM generate_series(1, 14);
SELECT i, c.* FROM generate_series(15, 22) AS i, LATERAL checked('soft', cost => 1 + 0 * i) AS c;
-- of quota 20 were let through and 4 refused, the two above among them; of soft 22 of 20 are 110 %
SELECT * FROM status WHERE tenant IN ('quota', 'soft');

-- a bucket and a window: each is told of, and what refuses decides the reason
INSERT INTO meter.rate_limit (tenant, per, max, burst, kind) VALUES ('both', 'hour', 0, 3, 'bucket'), ('both', 'day', 2, NULL, 'window');
SELECT c.* FROM generate_series(1, 3) AS i, LATERAL checked('both', cost => 1 + 0 * i) AS c;
UPDATE meter.rate_limit SET max = 4 WHERE tenant = 'both' AND kind = 'window';
SELECT c.* FROM generate_series(1, 2) AS i, LATERAL checked('both', cost => 1 + 0 * i) AS c;
-- both: the longer wait counts, and the bucket's never ends
UPDATE meter.rate_limit SET max = 3 WHERE tenant = 'both' AND kind = 'window';
SELECT allowed, reason, rule, quota_rule, retry_after FROM meter_check('both');
SELECT outcome($$SELECT meter_require('both')$$);

-- headers of decisions
INSERT INTO meter.rate_limit (tenant, per, max, burst, kind) VALUES ('headers', 'hour', 2, NULL, 'bucket'), ('headers', 'month', 3, NULL, 'window');
CREATE FUNCTION headers(tenant text) RETURNS TABLE (field text, value text) LANGUAGE SQL BEGIN ATOMIC
	SELECT key, regexp_replace(CASE WHEN key ~ 'Reset' THEN 'a time' ELSE value END, 't=\d+', 't=<seconds>', 'g')
	FROM jsonb_each_text(meter_headers(meter_check(tenant))) ORDER BY key COLLATE "C";
END;
SELECT * FROM headers('headers');
SELECT meter_allow('headers');
SELECT field, CASE WHEN field ~ 'After' THEN (value::int BETWEEN 1740 AND 1800)::text ELSE value END AS value FROM headers('headers');
-- refused by the window: the names of the two are not mixed up
UPDATE meter.rate_limit SET max = 2 WHERE tenant = 'headers' AND kind = 'window';
UPDATE meter.rate_limit SET max = 100 WHERE tenant = 'headers' AND kind = 'bucket';
SELECT field, CASE WHEN field ~ 'After' THEN (value::int BETWEEN left_over - 1 AND left_over + 60)::text ELSE value END AS value
FROM headers('headers'), LATERAL (SELECT extract(epoch FROM date_trunc('month', clock_timestamp(), 'UTC') + interval '1 month' - clock_timestamp())) AS month(left_over);

-- giving back: never more than was taken, and as little as was taken by who looked
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, unit, per, max, burst, per_user) VALUES
	('refund', 'requests', 'month', 0, 3, false), ('refund', 'cost', 'month', 0, 10, false), ('refund', 'requests', 'month', 0, 2, true);
SELECT meter_allow('refund', cost => 4, user_id => 'ann'), meter_allow('refund', cost => 4);
SELECT meter_refund('refund', cost => 0);
SELECT * FROM status;
SELECT meter_refund('refund', cost => 1.5, user_id => 'ann');
SELECT * FROM status;
SELECT meter_refund('refund', cost => 1000);
SELECT meter_refund('refund', cost => 1000);
SELECT * FROM status;
-- to who had nothing taken, it is nothing
SELECT meter_refund('refund', user_id => 'bob');
SELECT * FROM checked('refund', user_id => 'bob', cost => 0);

-- setting back: all, what holds for a resource, of one user
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, resource, per, max, burst, per_user) VALUES ('reset', '*', 'month', 0, 3, false),
	('reset', 'sms', 'month', 0, 3, false), ('reset', '*', 'month', 0, 3, true), ('reset', 'sms', 'month', 0, 3, true);
CREATE PROCEDURE use_up() LANGUAGE SQL BEGIN ATOMIC
	SELECT meter_allow('reset', resource, user_id => user_id)
	FROM unnest('{*, *, sms}'::text[]) AS resource, unnest('{ann, bob}'::text[]) AS user_id;
END;
CALL use_up();
SELECT user_id, rule, used, allowed, refused FROM status;
SELECT meter_reset_limit('reset', user_id => 'ann');
SELECT user_id, rule, used, allowed, refused FROM status;
SELECT meter_reset_limit('reset');
SELECT user_id, rule, used FROM status WHERE used > 0;
CALL use_up();
SELECT meter_reset_limit('reset', 'sms', 'bob');
SELECT user_id, rule, used FROM status;
SELECT meter_reset_limit('reset', 'sms');
SELECT user_id, rule, used FROM status;
SELECT meter_reset_limit('reset', '*');
SELECT user_id, rule, used FROM status WHERE used > 0;
-- of who is not known nothing
SELECT meter_reset_limit('never heard of'), meter_reset_limit('reset', user_id => 'never heard of');
-- a window as well
INSERT INTO meter.rate_limit (tenant, per, max, kind) VALUES ('quota', 'month', 2, 'window');
SELECT meter_allow('quota'), meter_allow('quota'), meter_allow('quota');
SELECT meter_reset_limit('quota') > 0 AS some;
SELECT * FROM checked('quota');

-- changes of rules, tenants and plans count from the next call on, and what was used stays
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, per, max, burst) VALUES ('change', 'month', 0, 3);
SELECT meter_allow('change'), meter_allow('change');
UPDATE meter.rate_limit SET burst = 10;
SELECT "limit", remaining FROM checked('change', cost => 0);
UPDATE meter.rate_limit SET burst = 1;
SELECT "limit", remaining, allowed FROM checked('change', cost => 0);
UPDATE meter.rate_limit SET burst = 10;
SELECT "limit", remaining FROM checked('change', cost => 0);
-- another time, another kind
UPDATE meter.rate_limit SET per = 'day';
SELECT "limit", remaining FROM checked('change', cost => 0);
UPDATE meter.rate_limit SET per = 'month', kind = 'window', max = 10, burst = NULL;
SELECT quota_limit, quota_remaining FROM checked('change', cost => 0);
UPDATE meter.rate_limit SET kind = 'bucket', max = 0, burst = 10;
SELECT "limit", remaining FROM checked('change', cost => 0);
-- a window has been used as much as it was, also if that is more than a lower limit; 80 of 50 are 160 %, of 90 88.9 %
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('lowered', :'zone');
INSERT INTO meter.rate_limit (tenant, per, max, kind) VALUES ('lowered', 'month', 100, 'window');
SELECT count(*) FILTER (WHERE meter_allow('lowered')) FROM generate_series(1, 80);
UPDATE meter.rate_limit SET max = 50 WHERE tenant = 'lowered';
SELECT allowed, reason, quota_limit, quota_remaining, warning FROM checked('lowered');
SELECT field, value FROM headers('lowered') WHERE field ~ '^X-Quota-(Limit|Remaining)';
SELECT "limit", used, remaining, percent FROM status WHERE tenant = 'lowered';
SELECT meter_refund('lowered');
SELECT allowed, reason, quota_limit, quota_remaining, warning FROM checked('lowered');
UPDATE meter.rate_limit SET max = 90 WHERE tenant = 'lowered';
SELECT allowed, reason, quota_limit, quota_remaining, warning FROM checked('lowered');
SELECT "limit", used, remaining, percent FROM status WHERE tenant = 'lowered';
DELETE FROM meter.rate_limit WHERE tenant = 'lowered';
-- in the transaction that makes them, and not if it fails
BEGIN;
UPDATE meter.rate_limit SET burst = 20;
SELECT "limit" FROM checked('change', cost => 0);
INSERT INTO meter.rate_limit (tenant, per, max, burst) VALUES ('other', 'month', 0, 3);
INSERT INTO meter.tenant (tenant, plan) VALUES ('change', 'free');
INSERT INTO meter.rate_limit (plan, resource, per, max, burst) VALUES ('free', 'sms', 'month', 0, 7);
SELECT "limit" FROM checked('other');
SELECT "limit" FROM checked('change', 'sms');
ROLLBACK;
SELECT "limit" FROM checked('change', cost => 0);
SELECT reason FROM checked('other');
SELECT "limit" FROM checked('change', 'sms');
-- a tenant's plan
INSERT INTO meter.rate_limit (plan, per, max, burst) VALUES ('free', 'month', 0, 7), ('pro', 'month', 0, 8);
INSERT INTO meter.tenant (tenant, plan) VALUES ('mover', 'free');
SELECT "limit", remaining FROM checked('mover');
UPDATE meter.tenant SET plan = 'pro' WHERE tenant = 'mover';
SELECT rule, "limit", used FROM status WHERE tenant = 'mover';
SELECT "limit", remaining FROM checked('mover');
-- back again: it was not forgotten
UPDATE meter.tenant SET plan = 'free' WHERE tenant = 'mover';
SELECT rule, "limit", used FROM status WHERE tenant = 'mover';
SELECT "limit", remaining FROM checked('mover');
DELETE FROM meter.tenant WHERE tenant = 'mover';
SELECT reason FROM checked('mover');
-- rules that are gone are shown no more
DELETE FROM meter.rate_limit WHERE plan IS NOT NULL;
SELECT tenant, rule FROM status;

-- a time zone that the server does not know any more: as UTC, and the log says so once
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, per, max, kind) VALUES ('lost', 'month', 20, 'window'), ('lost', 'hour', 30, 'window');
ALTER TABLE meter.tenant DISABLE TRIGGER tenant_time_zone_check;
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('lost', 'Mars/Olympus');
ALTER TABLE meter.tenant ENABLE TRIGGER tenant_time_zone_check;
SET client_min_messages = log;
\set VERBOSITY default
SELECT d.allowed, d.reason, d.quota_limit, d.quota_remaining,
	d.quota_reset = (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC' AS quota_reset
FROM meter_check('lost') AS d;
UPDATE meter.tenant SET plan = 'free' WHERE tenant = 'lost';
SELECT meter_allow('lost');
SELECT meter.quota_used('lost', '*', 'api_requests', 'requests', NULL, 'day', '2026-03-11 00:00Z');
\set VERBOSITY terse
RESET client_min_messages;
UPDATE meter.tenant SET time_zone = 'Asia/Tokyo' WHERE tenant = 'lost';
SELECT meter_allow('lost');

-- names: of the rule, else made from it
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, resource, unit, per, max, kind, per_user, name) VALUES
	('names', 'a', 'requests', 'second', 5, 'bucket', false, NULL), ('names', 'b', 'cost', 'minute', 0.5, 'bucket', false, NULL),
	('names', '*', 'cost', 'day', 0.000000001, 'window', true, NULL), ('names', 'c', 'requests', 'hour', 7, 'bucket', false, 'seven');
SELECT resource, c.rule, c.quota_rule FROM unnest('{a, b, c}'::text[]) AS resource, LATERAL checked('names', resource, 0, 'ann') AS c;

-- what the views are made of
SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = 'meter.rate_limit_status'::regclass AND attnum > 0 ORDER BY attnum;
SELECT resource, unit, per, kind, mode, "limit", used, remaining, used_percent, reset_at - now() < '1 day' AS reset_at
FROM meter.rate_limit_status WHERE user_id = 'ann';
SELECT attname FROM pg_attribute WHERE attrelid IN ('meter.rate_limit_status'::regclass, 'meter.limit_stats'::regclass)
	AND attnum > 0 AND col_description(attrelid, attnum) IS NULL;
SELECT blocks * 128 < bytes AS blocks, bytes > 0 AS bytes, blocks_used > 10 AS used, evicted >= 0 AS evicted,
	unmetered, refused_full, untracked >= 0 AS untracked, saved_at IS NULL OR saved_at <= now() AS saved
FROM meter.limit_stats;

-- refused calls are events: of the metric api_requests, with status 429 and no quantity
SELECT * FROM meter_flush() \g /dev/null
SELECT count(*) > 0 AS so_far, count(*) FILTER (WHERE quantity <> 0 OR metric <> 'api_requests' OR status <> 429) AS unlike FROM meter.event;
TRUNCATE meter.rate_limit;
INSERT INTO meter.rate_limit (tenant, per, max) VALUES ('refused', 'day', 0), ('globex', 'day', 0);
SELECT count(*) FILTER (WHERE NOT meter_allow('refused', resource, 2.5, 'ann')) AS refused
FROM unnest('{*, openai, /v1/users/42, POST /v1/users/42?x=1, GET /, "a b", "POST relative", TOOLONGFORAMETHOD /x}'::text[]) AS resource;
SELECT meter_allow('refused', repeat('s', 65)), meter_allow('refused', cost => 0);
BEGIN;
SELECT allowed FROM meter_check('globex', 'openai');
SELECT meter_require('globex', 'openai');
ROLLBACK;
SELECT appended FROM meter_flush();
SELECT tenant, metric, quantity, status, left(service, 20) AS service, endpoint, method, user_id, cost, at > now() - interval '1 minute' AS now
FROM meter.event WHERE tenant IN ('refused', 'globex') ORDER BY seq;
SELECT meter_rollup() > 0;
SELECT tenant, sum(events) AS events, sum(errors_429) AS refused, sum(quantity) AS quantity FROM meter.usage_hourly
WHERE tenant IN ('refused', 'globex') GROUP BY tenant ORDER BY tenant;
-- switched off, or not to be tracked at all
SELECT untracked FROM meter.limit_stats \gset
SET meter.track_refused = off;
SELECT meter_allow('refused');
RESET meter.track_refused;
SET meter.ignore_endpoints = '/health';
SELECT meter_allow('refused', 'GET /health'), meter_allow('refused', '/health'), meter_allow('refused', 'GET /healthy');
RESET meter.ignore_endpoints;
-- what can be no event: it is refused all the same
INSERT INTO meter.rate_limit (per, max) VALUES ('day', 0);
SELECT meter_allow('  '), meter_allow(E'a\nb');
SELECT appended FROM meter_flush();
SELECT untracked - :untracked AS untracked FROM meter.limit_stats;
SELECT allowed, refused FROM status WHERE tenant = 'refused';

-- a parameter that bounds what is let through is not the application's to set
CREATE ROLE regress_limit;
SET ROLE regress_limit;
SET meter.default_plan = 'pro';
SET meter.on_full = deny;
SET meter.track_refused = off;
SET meter.limit_memory = '1GB';
SET meter.save_interval = 0;
RESET ROLE;
DROP ROLE regress_limit;
SET meter.on_full = maybe;
SET meter.limit_memory = '1GB';
SET meter.save_interval = 0;
DROP VIEW status;
DROP PROCEDURE use_up;
DROP FUNCTION checked, outcome, try, headers;

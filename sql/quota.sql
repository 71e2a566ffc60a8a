-- meter.quota_used(): what was used of a calendar window; windows that begin from it; meter.usage_tail() of a tenant
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;
\set VERBOSITY terse

-- which usage a pattern is about: the service, the endpoint, or method and endpoint.  An event of
CREATE TABLE usage (n integer, service text, endpoint text, method text);
INSERT INTO usage VALUES
	(1, NULL, NULL, NULL),
	(2, 'openai', NULL, NULL),
	(3, NULL, '/api/x', NULL),
	(4, NULL, '/api/x', 'POST'),
	(5, 'openai', '/api/x', 'POST'),
	(6, NULL, NULL, 'POST'),
	(7, '', '', ''),
	(8, 'größe', '/größe', 'GET');
-- is among these
SELECT pattern, array_agg(n ORDER BY n) FILTER (WHERE meter.resource_matches(pattern, service, endpoint, method)) AS matches,
	array_agg(n ORDER BY n) FILTER (WHERE meter.resource_matches(pattern, service, endpoint, method) IS NULL) AS unknown
FROM unnest(ARRAY['*', '**', '', 'openai', 'open*', '*ai', 'OpenAI', '/api/*', '/api/x', '/api', 'POST /api/*', 'POST /api/x', 'POST*',
	'POST', '* /api/x', '*/api/x', '*x', ' ', '* *', 'GET /größe', 'gr*e', 'gr__e', '%', NULL]) WITH ORDINALITY AS p (pattern, i), usage
GROUP BY pattern, i ORDER BY i;
SELECT patterns, array_agg(n ORDER BY n) FILTER (WHERE meter.resource_matches_any(patterns, service, endpoint, method)) AS matches,
	array_agg(n ORDER BY n) FILTER (WHERE meter.resource_matches_any(patterns, service, endpoint, method) IS NULL) AS unknown
FROM (VALUES (1, '{}'::text[]), (2, '{*ai}'), (3, '{openai, POST *}'), (4, '{NULL, GET *}'), (5, '{sms, fax}'), (6, NULL)) AS p (i, patterns), usage
GROUP BY patterns, i ORDER BY i;
DROP TABLE usage;

-- by hand: eight events on one day in Tokyo, where a day is from 15:00 UTC on
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('acme', 'Asia/Tokyo');
SELECT meter_track('acme', at => '2026-03-09 14:59:59.999999Z', cost => 1000, user_id => 'ann');
SELECT meter_track('acme', at => '2026-03-09 15:00Z', cost => 1, user_id => 'ann');
SELECT meter_track('acme', at => '2026-03-09 15:00:30Z', service => 'openai', cost => 2, user_id => 'bob');
SELECT meter_track('acme', at => '2026-03-10 10:00Z', service => 'openai', endpoint => '/v1/x', method => 'POST', user_id => 'ann');
SELECT meter_track('acme', at => '2026-03-10 10:20Z', endpoint => '/v1/x', method => 'POST', cost => 4.5, status => 200);
SELECT meter_track('acme', at => '2026-03-10 10:20Z', endpoint => '/v1/x', method => 'POST', cost => 8, status => 429, user_id => 'ann');
SELECT meter_track('acme', at => '2026-03-10 10:20Z', endpoint => '/v1/x', method => 'GET', cost => 16, status => 500);
SELECT meter_track('acme', 'tokens', 700, at => '2026-03-10 10:20Z', service => 'openai', cost => 32, user_id => 'ann');
SELECT meter_track('acme', at => '2026-03-10 15:00Z', cost => 1000, user_id => 'ann');
SELECT meter_track('globex', at => '2026-03-10 10:20Z', service => 'openai', cost => 64, user_id => 'ann');
-- tenant acme, the day that ends on 2026-03-10 15:00Z: requests without the refused one, cost with it
CREATE VIEW by_hand AS
SELECT label, meter.quota_used('acme', resource, metric, 'requests', user_id, per, until) AS requests,
	meter.quota_used('acme', resource, metric, 'cost', user_id, per, until) AS cost
FROM (VALUES
	(1, 'day: 1 + 2 + 4.5 + 8 + 16', '*', 'api_requests', NULL, 'day', timestamptz '2026-03-10 15:00Z'),
	(2, 'of openai: 2', 'openai', 'api_requests', NULL, 'day', '2026-03-10 15:00Z'),
	(3, 'of POST /v1/*: 4.5 + 8', 'POST /v1/*', 'api_requests', NULL, 'day', '2026-03-10 15:00Z'),
	(4, 'of /v1/x: 4.5 + 8 + 16', '/v1/x', 'api_requests', NULL, 'day', '2026-03-10 15:00Z'),
	(5, 'of ann: 1 + 8', '*', 'api_requests', 'ann', 'day', '2026-03-10 15:00Z'),
	(6, 'of ann and openai', 'openai', 'api_requests', 'ann', 'day', '2026-03-10 15:00Z'),
	(7, 'tokens: 32', '*', 'tokens', NULL, 'day', '2026-03-10 15:00Z'),
	(8, 'tokens of ann and openai: 32', 'openai', 'tokens', 'ann', 'day', '2026-03-10 15:00Z'),
	(9, 'day before: 1000', '*', 'api_requests', NULL, 'day', '2026-03-09 15:00Z'),
	(10, 'hour: 4.5 + 8 + 16', '*', 'api_requests', NULL, 'hour', '2026-03-10 11:00Z'),
	(11, 'minute: 1 + 2', '*', 'api_requests', NULL, 'minute', '2026-03-09 15:01Z'),
	(12, 'second: 2', '*', 'api_requests', NULL, 'second', '2026-03-09 15:00:31Z'),
	(13, 'month: 2031.5', '*', 'api_requests', NULL, 'month', '2026-03-31 15:00Z'),
	(14, 'next month', '*', 'api_requests', NULL, 'month', '2026-04-30 15:00Z'),
	(15, 'no such resource', 'sms', 'api_requests', NULL, 'month', '2026-03-31 15:00Z')
) AS v (n, label, resource, metric, user_id, per, until) ORDER BY n;
-- in the inbox
SELECT * FROM by_hand;
CREATE TEMP TABLE in_inbox AS SELECT * FROM by_hand;
-- and the same in the log, and in the totals
SELECT appended FROM meter_flush();
SELECT * FROM by_hand EXCEPT ALL SELECT * FROM in_inbox;
SELECT meter_rollup() > 0;
SELECT * FROM by_hand EXCEPT ALL SELECT * FROM in_inbox;
-- but of what others are about: 1 + 4.5 + 8 + 16, then 1 + 16, of ann 1, and nothing
SELECT but_of, meter.quota_used('acme', '*', 'api_requests', 'requests', user_id, 'day', '2026-03-10 15:00Z', but_of => but_of) AS requests,
	meter.quota_used('acme', '*', 'api_requests', 'cost', user_id, 'day', '2026-03-10 15:00Z', but_of => but_of) AS cost
FROM (VALUES (1, '{openai}'::text[], NULL), (2, '{openai, POST *}', NULL), (3, '{POST *}', 'ann'), (4, '{sms, *}', NULL)) AS v (n, but_of, user_id) ORDER BY n;
-- a tenant without row has days of UTC
SELECT meter.quota_used('globex', '*', 'api_requests', 'cost', NULL, 'day', '2026-03-11 00:00Z') AS day,
	meter.quota_used('globex', '*', 'api_requests', 'cost', NULL, 'day', '2026-03-10 00:00Z') AS before;

-- the same as plain SQL over all events that count, for tenants of whole, half and quarter hours and of days of 23 and 25
-- hours, in the totals, in the log and in the inbox
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('utc', 'UTC'), ('india', 'Asia/Kolkata'), ('nepal', 'Asia/Kathmandu'),
	('new york', 'America/New_York'), ('cairo', 'Africa/Cairo');
SELECT setseed(0.5);
CREATE PROCEDURE add_events(n integer) LANGUAGE SQL AS $$
	SELECT meter_track('utc', (ARRAY['api_requests', 'tokens'])[1 + (random() < 0.2)::int], service => (ARRAY['openai', 'sms', NULL])[1 + (random() * 2)::int],
		endpoint => '/v1/' || chr(97 + (random() * 2)::int), method => (ARRAY['GET', 'POST', NULL])[1 + (random() * 2)::int],
		status => (ARRAY[200, 404, 429, NULL])[1 + (random() * 3)::int], cost => CASE WHEN random() < 0.5 THEN random()::numeric(6, 4) END,
		user_id => 'u' || (random() * 2)::int, at => from_at + random() * interval '30 hours' + i * interval '0', idempotency_key => 'k' || random())
	FROM generate_series(1, n) AS i, unnest(ARRAY[timestamptz '2026-03-07 22:00Z', '2026-03-30 22:00Z', '2026-04-22 20:00Z', '2026-10-31 20:00Z']) AS from_at;
$$;
CALL add_events(40);
CREATE PROCEDURE for_all() LANGUAGE SQL AS $$
	INSERT INTO meter.inbox SELECT i.received_at, i.at, i.latency_ms, i.corrects, i.status, i.validated, i.voids, t.tenant, i.metric, i.quantity,
		i.service, i.endpoint, i.method, i.user_id, i.cost, i.metadata, NULL, i.request_id, i.error_message
	FROM meter.inbox AS i, meter.tenant AS t WHERE i.tenant = 'utc' AND t.tenant NOT IN ('utc', 'acme')
$$;
CALL for_all();
SELECT appended FROM meter_flush();
SELECT meter_rollup();
CALL add_events(20);
CALL for_all();
SELECT appended FROM meter_flush();
-- corrected and void, so that whole hours are counted anew
SELECT count(meter_correct(tenant, idempotency_key, cost => 7.25, status => CASE WHEN seq % 4 = 1 THEN 429 END, void => seq % 4 = 2))
FROM meter.event WHERE tenant = 'utc' AND seq % 50 < 10 AND idempotency_key IS NOT NULL AND superseded_by IS NULL;
SELECT appended > 0 FROM meter_flush();
CALL add_events(10);
CALL for_all();
SELECT count(*) AS waiting FROM meter.inbox;
CREATE TEMP TABLE event AS
SELECT tenant, metric, at, status, cost, user_id, service, endpoint, method FROM meter.event WHERE superseded_by IS NULL
UNION ALL SELECT tenant, metric, at, status, cost, user_id, service, endpoint, method FROM meter.inbox;
-- windows that some events are in
CREATE TEMP TABLE win AS
SELECT DISTINCT tenant, per, CASE WHEN per IN ('day', 'month') THEN b.begins AT TIME ZONE time_zone ELSE at - (at AT TIME ZONE time_zone - b.begins) END AS begins,
	CASE WHEN per IN ('day', 'month') THEN (b.begins + ('1 ' || per)::interval) AT TIME ZONE time_zone
		ELSE at - (at AT TIME ZONE time_zone - b.begins) + ('1 ' || per)::interval END AS ends
FROM meter.tenant JOIN (SELECT tenant, at, row_number() OVER (PARTITION BY tenant ORDER BY at) AS n FROM event) AS e USING (tenant),
	unnest('{second, minute, hour, day, month}'::text[]) AS per,
	LATERAL (SELECT date_trunc(per, e.at AT TIME ZONE time_zone)) AS b (begins)
WHERE per IN ('day', 'month') OR n % 60 = 0;
SELECT tenant, count(*) FILTER (WHERE per = 'month') AS months, count(*) FILTER (WHERE per = 'day') AS days,
	count(*) FILTER (WHERE ends - begins = '23 hours') AS short, count(*) FILTER (WHERE ends - begins = '25 hours') AS long
FROM win GROUP BY tenant ORDER BY tenant;
CREATE TEMP TABLE compared AS
SELECT w.*, resource, user_id, unit, meter.quota_used(w.tenant, resource, 'api_requests', unit, user_id, per, ends) AS used,
	(SELECT CASE unit WHEN 'cost' THEN COALESCE(sum(e.cost), 0) ELSE count(*) FILTER (WHERE e.status IS DISTINCT FROM 429) END
	 FROM event AS e WHERE e.tenant = w.tenant AND e.metric = 'api_requests' AND e.at >= w.begins AND e.at < w.ends
		AND (u.user_id IS NULL OR e.user_id = u.user_id)
		AND (resource = '*' OR e.service LIKE replace(resource, '*', '%') OR e.endpoint LIKE replace(resource, '*', '%')
			OR e.method || ' ' || e.endpoint LIKE replace(resource, '*', '%'))) AS expected
FROM win AS w, unnest('{*, openai, GET *, *a}'::text[]) AS resource, unnest('{NULL, u1}'::text[]) AS u (user_id),
	unnest('{requests, cost}'::text[]) AS unit;
SELECT count(*) > 1000 AS many, count(*) FILTER (WHERE used > 0) > 500 AS used, count(*) FILTER (WHERE used IS DISTINCT FROM expected) AS differing
FROM compared;
SELECT * FROM compared WHERE used IS DISTINCT FROM expected ORDER BY 1, 2, 3, 4, 5, 6, 7 LIMIT 10;

-- and as meter.live, where windows are of whole hours
CREATE TEMP TABLE live AS SELECT * FROM meter.live;
SELECT count(*) > 100 AS many, count(*) FILTER (WHERE used IS DISTINCT FROM (
	SELECT COALESCE(sum(CASE c.unit WHEN 'cost' THEN l.cost ELSE l.events - l.errors_429 END), 0) FROM live AS l
	WHERE l.tenant = c.tenant AND l.metric = 'api_requests' AND l.hour >= c.begins AND l.hour < c.ends
		AND meter.resource_matches(c.resource, l.service, l.endpoint, l.method))) AS differing
FROM compared AS c WHERE user_id IS NULL AND per IN ('hour', 'day', 'month') AND date_trunc('hour', begins, 'UTC') = begins;
-- the tail of one tenant is that of all, but for the others
CREATE TEMP TABLE tail AS SELECT (t.usage).tenant, t::text FROM meter.usage_tail() AS t;
SELECT v.tenant, count(replaces) > 0 AS has_tail, count(*) FILTER (WHERE replaces) > 0 AS replaces,
	array_agg(t::text ORDER BY t::text) FILTER (WHERE replaces IS NOT NULL)
		IS NOT DISTINCT FROM (SELECT array_agg(tail.t ORDER BY tail.t) FROM tail WHERE tail.tenant = v.tenant) AS same
FROM unnest('{acme, utc, india, new york, nobody}'::text[]) AS v (tenant) LEFT JOIN LATERAL meter.usage_tail(v.tenant) AS t ON true
GROUP BY v.tenant ORDER BY v.tenant;
SELECT count(*) = (SELECT sum(n) FROM meter.tenant, LATERAL (SELECT count(*) FROM meter.usage_tail(tenant)) AS t (n)) AS together
FROM meter.usage_tail(NULL);
-- all of it after a rollup, too
SELECT appended FROM meter_flush();
SELECT meter_rollup() > 0;
SELECT count(*) FROM meter.usage_tail('utc');
SELECT count(*) AS differing FROM compared
WHERE used IS DISTINCT FROM meter.quota_used(tenant, resource, 'api_requests', unit, user_id, per, ends);
DROP VIEW by_hand;
DROP PROCEDURE add_events, for_all;

-- A window begins from what was tracked in it before its rule was there, or before it was first asked for.  It is
-- neither shortly before nor shortly after midnight there.
TRUNCATE meter.tenant;
SELECT CASE WHEN extract(hour FROM now()) BETWEEN 6 AND 17 THEN 'Etc/UTC' ELSE 'Etc/GMT-12' END AS zone \gset
INSERT INTO meter.plan (plan) VALUES ('free'), ('pro');
INSERT INTO meter.tenant (tenant, plan, time_zone)
SELECT tenant, 'free', :'zone' FROM unnest('{late, cost, team, beyond, over, upgrader, refuser}'::text[]) AS tenant;
CREATE FUNCTION checked(tenant text, resource text DEFAULT '*', cost numeric DEFAULT 0, user_id text DEFAULT NULL,
	OUT allowed boolean, OUT reason text, OUT quota_rule text, OUT quota_limit numeric, OUT quota_remaining numeric, OUT warning integer)
LANGUAGE SQL BEGIN ATOMIC
	SELECT d.allowed, d.reason, d.quota_rule, d.quota_limit, d.quota_remaining, d.warning FROM meter_check(tenant, resource, cost, user_id) AS d;
END;
-- three in the totals, two in the log, one in the inbox; besides them one refused, and one of another metric
CREATE PROCEDURE track(of_tenant text) LANGUAGE SQL BEGIN ATOMIC
	SELECT meter_track(of_tenant, service => 'openai', user_id => 'ann', cost => 0.5), meter_track(of_tenant, user_id => 'bob', cost => 0.25),
		meter_track(of_tenant, endpoint => '/x', method => 'GET', status => 500), meter_track(of_tenant, status => 429, user_id => 'ann', cost => 0.125);
	SELECT * FROM meter_flush();
	SELECT meter_rollup();
	SELECT meter_track(of_tenant, endpoint => '/y', method => 'GET', cost => 1), meter_track(of_tenant, service => 'openai', user_id => 'ann', cost => 2),
		meter_track(of_tenant, 'tokens', 100, service => 'openai', user_id => 'ann', cost => 4);
	SELECT * FROM meter_flush();
	SELECT meter_track(of_tenant, endpoint => '/y', method => 'POST', cost => 8, user_id => 'bob');
END;
CALL track('late');
INSERT INTO meter.rate_limit (tenant, resource, per, kind, max, metric, name) VALUES
	('late', '*', 'day', 'window', 100, 'api_requests', 'all'), ('late', '*', 'month', 'window', 101, 'api_requests', 'month'),
	('late', 'openai', 'day', 'window', 200, 'api_requests', 'openai'), ('late', 'GET *', 'day', 'window', 300, 'api_requests', 'get'),
	('late', 'POST /y', 'day', 'window', 400, 'api_requests', 'post'), ('late', 'openai', 'month', 'window', 500, 'tokens', 'tokens'),
	('late', 'POST /y', 'month', 'window', NULL, 'api_requests', 'any');
-- Of six, two of openai, two of GET and one of POST /y leave one for all by day, and three by month, where the rule for openai is
-- about tokens, of which there is one; what is unlimited begins with nothing.  The one with the least left for its size is told of:
-- of GET /x that is the month of all, with 98 of 101 before 298 of 300.
SELECT resource, c.* FROM unnest('{*, openai, GET /x, POST /y}'::text[]) AS resource, LATERAL checked('late', resource) AS c;
SELECT rule, used, remaining, used_percent FROM meter.rate_limit_status WHERE tenant = 'late' ORDER BY rule_id;
-- together what meter.live has, but for what was refused
SELECT sum(events - errors_429) FROM meter.live WHERE tenant = 'late' AND metric = 'api_requests';
-- from then on what is asked for counts, and not what is tracked
SELECT meter_track('late'), meter_track('late');
SELECT quota_remaining FROM checked('late', cost => 1);
-- cost: 0.25 + 0.125 + 1 + 8 of all, 0.5 + 2 of openai, and 4 of tokens
CALL track('cost');
INSERT INTO meter.rate_limit (tenant, resource, unit, per, kind, max, metric) VALUES ('cost', '*', 'cost', 'day', 'window', 12.5, 'api_requests'),
	('cost', 'openai', 'cost', 'day', 'window', 2.75, 'api_requests'), ('cost', 'openai', 'cost', 'month', 'window', 4.25, 'tokens');
SELECT resource, c.* FROM unnest('{*, openai}'::text[]) AS resource, LATERAL checked('cost', resource, 0.5) AS c;
-- the first call has taken 0.5 of the day's; the second one has taken nothing
SELECT rule, used FROM meter.rate_limit_status WHERE tenant = 'cost' ORDER BY rule_id;
-- each user's: of ann two requests and 0.5 + 0.125 + 2, of bob two and 0.25 + 8; and nothing of cat
CALL track('team');
INSERT INTO meter.rate_limit (tenant, resource, unit, per, kind, max, per_user) VALUES ('team', '*', 'requests', 'day', 'window', 10, true),
	('team', 'money', 'cost', 'month', 'window', 10, true), ('team', 'openai', 'requests', 'month', 'window', 9, true);
SELECT user_id, resource, c.* FROM unnest('{ann, bob, cat, NULL}'::text[]) AS user_id, unnest('{*, openai}'::text[]) AS resource,
	LATERAL checked('team', resource, 0, user_id) AS c;
UPDATE meter.rate_limit SET resource = '*' WHERE resource = 'money';
SELECT user_id, rule, used FROM meter.rate_limit_status WHERE tenant = 'team' ORDER BY user_id, rule;
SELECT user_id, c.* FROM unnest('{ann, bob, cat}'::text[]) AS user_id, LATERAL checked('team', '*', 0, user_id) AS c;
SELECT user_id, used FROM meter.rate_limit_status WHERE tenant = 'team' AND unit = 'cost' ORDER BY user_id;
-- more than there is: used up, and of a soft one told of; one that only looks is started as well
CALL track('over');
CALL track('beyond');
INSERT INTO meter.rate_limit (tenant, per, kind, max, mode) VALUES ('over', 'day', 'window', 5, 'enforce'), ('beyond', 'day', 'window', 5, 'soft');
SELECT * FROM checked('over');
SELECT * FROM checked('beyond');
SELECT * FROM checked('beyond', cost => 1);
SELECT tenant, used, remaining, used_percent, allowed, refused FROM meter.rate_limit_status WHERE tenant IN ('over', 'beyond') ORDER BY tenant;
-- it stays used when the limit is raised
UPDATE meter.rate_limit SET max = 10 WHERE tenant = 'over';
SELECT * FROM checked('over');
UPDATE meter.rate_limit SET max = 5 WHERE tenant = 'over';
-- set back, and that holds
SELECT meter_reset_limit('over');
SELECT * FROM checked('over', cost => 1);
-- another plan's quota has what was used already
CALL track('upgrader');
INSERT INTO meter.rate_limit (plan, per, kind, max) VALUES ('free', 'month', 'window', 10), ('pro', 'month', 'window', 1000);
SELECT * FROM checked('upgrader');
UPDATE meter.tenant SET plan = 'pro' WHERE tenant = 'upgrader';
SELECT * FROM checked('upgrader');
-- what a limit has refused is no usage
UPDATE meter.tenant SET plan = NULL WHERE tenant = 'refuser';
INSERT INTO meter.rate_limit (tenant, per, kind, max) VALUES ('refuser', 'hour', 'bucket', 0);
SELECT count(*) FILTER (WHERE meter_allow('refuser')) FROM generate_series(1, 5);
SELECT appended > 4 FROM meter_flush();
SELECT sum(events) AS events, sum(errors_429) AS refused FROM meter.live WHERE tenant = 'refuser';
DELETE FROM meter.rate_limit WHERE tenant = 'refuser';
INSERT INTO meter.rate_limit (tenant, per, kind, max) VALUES ('refuser', 'day', 'window', 10);
SELECT * FROM checked('refuser');
-- within a transaction what it has tracked itself counts as well
BEGIN;
SELECT meter_track('upgrader'), meter_track('upgrader');
INSERT INTO meter.rate_limit (tenant, per, kind, max) VALUES ('upgrader', 'day', 'window', 50);
SELECT * FROM checked('upgrader');
ROLLBACK;
SELECT * FROM checked('upgrader');

-- of a user's window nothing is looked for if all of it was counted in memory: the
-- rule was what it is, and the tenant's, an hour before the window began
SELECT date_trunc('day', now(), 'UTC') AS starts \gset
SELECT count(meter_track('counted', user_id => 'u', at => :'starts')) FROM generate_series(1, 3);
PREPARE counted(interval, boolean) AS
SELECT meter.quota_used('counted', '*', 'api_requests', 'requests', 'u', 'day', :'starts'::timestamptz + interval '24 hours',
	:'starts'::timestamptz - $1, $2) AS used;
EXECUTE counted(NULL, false);
EXECUTE counted('59 minutes', false);
EXECUTE counted('1 hour', false);
-- for who has no plan of his own, another one may have been the default
EXECUTE counted('1 hour', true);
INSERT INTO meter.tenant (tenant, plan, changed_at) VALUES ('counted', 'free', :'starts'::timestamptz - interval '1 hour');
EXECUTE counted('1 hour', true);
UPDATE meter.tenant SET plan = 'pro' WHERE tenant = 'counted';
EXECUTE counted('1 hour', true);
-- nor for a rule for all, in the place of which one of that plan may have been
EXECUTE counted('1 hour', false);
SELECT clock_timestamp() - changed_at < interval '1 minute' AS just_now FROM meter.tenant WHERE tenant = 'counted';
-- a rule knows when it was changed
INSERT INTO meter.rate_limit (tenant, per, max, changed_at) VALUES ('counted', 'day', 5, :'starts');
UPDATE meter.rate_limit SET max = 6 WHERE tenant = 'counted';
SELECT clock_timestamp() - changed_at < interval '1 minute' AS just_now FROM meter.rate_limit WHERE tenant = 'counted';
DEALLOCATE counted;

-- A window begins with what was counted of it in memory: a call counts for one rule of each unit, time and per_user.  The same calls
-- of two tenants, three of each resource, by two users and without one: of one they are asked for, and of the other tracked.
TRUNCATE meter.rate_limit;
INSERT INTO meter.tenant (tenant, plan, time_zone) VALUES ('asked', 'pro', :'zone'), ('tracked', 'pro', :'zone');
INSERT INTO meter.rate_limit (plan, resource, unit, per, kind, max, mode, per_user, name) VALUES
	(NULL, '*', 'requests', 'day', 'window', 1000, 'enforce', false, 'all'),
	(NULL, 'GET /v1/x', 'requests', 'day', 'window', NULL, 'enforce', false, 'unlimited'),
	(NULL, 'fax', 'requests', 'day', 'bucket', 1000, 'shadow', false, 'fax'),
	('pro', 'openai', 'requests', 'day', 'window', 1000, 'enforce', false, 'openai'),
	('pro', 'POST *', 'requests', 'day', 'bucket', 1000, 'enforce', false, 'post'),
	('pro', '*ai', 'requests', 'day', 'window', 1000, 'shadow', false, 'ai'),
	(NULL, '*', 'cost', 'month', 'window', 100000, 'enforce', false, 'all cost'),
	('pro', 'POST /v1/x', 'cost', 'month', 'window', 100000, 'enforce', false, 'post cost'),
	(NULL, '*', 'requests', 'month', 'window', 1000, 'enforce', true, 'each'),
	('pro', 'openai', 'requests', 'month', 'window', 1000, 'enforce', true, 'each openai');
INSERT INTO meter.rate_limit (tenant, resource, unit, per, kind, max, mode, name)
SELECT tenant, v.* FROM unnest('{asked, tracked}'::text[]) AS tenant, (VALUES
	('*/v1/*', 'requests', 'day', 'window', 1000, 'enforce', 'v1'), ('sms', 'cost', 'month', 'window', 20, 'soft', 'sms cost')) AS v;
CREATE TEMP TABLE calls AS
SELECT * FROM (VALUES ('*', 1, NULL, NULL, NULL), ('openai', 2, 'openai', NULL, NULL), ('xai', 4, 'xai', NULL, NULL), ('sms', 8, 'sms', NULL, NULL),
	('/v1/x', 16, NULL, NULL, '/v1/x'), ('GET /v1/x', 32, NULL, 'GET', '/v1/x'), ('POST /v1/x', 64, NULL, 'POST', '/v1/x'),
	('POST /v2', 128, NULL, 'POST', '/v2'), ('PUT /v1/y', 256, NULL, 'PUT', '/v1/y'), ('fax', 512, 'fax', NULL, NULL)
) AS v (resource, cost, service, method, endpoint), (VALUES (1, 'ann'), (2, 'bob'), (3, NULL)) AS u (n, user_id);
SELECT count(meter_allow('asked', resource, cost, user_id)) FROM calls;
-- a third of it in the totals, one in the log and one in the inbox
SELECT count(meter_track('tracked', service => service, method => method, endpoint => endpoint, cost => cost, user_id => user_id)) FROM calls WHERE n = 1;
SELECT * FROM meter_flush() \g /dev/null
SELECT meter_rollup() > 0;
SELECT count(meter_track('tracked', service => service, method => method, endpoint => endpoint, cost => cost, user_id => user_id)) FROM calls WHERE n = 2;
SELECT * FROM meter_flush() \g /dev/null
SELECT count(meter_track('tracked', service => service, method => method, endpoint => endpoint, cost => cost, user_id => user_id)) FROM calls WHERE n = 3;
SELECT count(meter_allow('tracked', resource, 0, user_id)) FROM calls;
-- Three times each: of the ten resources, openai, xai (ai), /v1/x and PUT /v1/y (v1), GET /v1/x (unlimited), POST /v1/x and POST /v2 (post)
-- and fax are not for all, but * and sms are.  Of the cost, 1023 in all, 64 and 8.  Each user has nine besides openai.
SELECT rule, user_id, max(used) FILTER (WHERE tenant = 'asked') AS asked, max(used) FILTER (WHERE tenant = 'tracked') AS tracked
FROM meter.rate_limit_status WHERE tenant = ANY ('{asked, tracked}') AND kind = 'window' AND "limit" IS NOT NULL
GROUP BY rule, user_id ORDER BY rule, user_id;
DROP TABLE calls;

DROP PROCEDURE track;
DROP FUNCTION checked;

-- who is billed for which time, by which plan and which prices
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
-- compiling the models below would take longer than all the rest
SET jit = off;

-- periods: anchor days, also where the month is too short for them
INSERT INTO meter.tenant (tenant, started_on, billing_anchor) VALUES
	('first', '2020-01-01', 1), ('middle', '2020-01-01', 15), ('last', '2020-01-01', 31), ('thirty', '2020-01-01', 30);
SELECT m.day AS month, p.tenant, p.period_from, p.period_to
FROM unnest(ARRAY['2024-01-01', '2024-02-29', '2026-02-14', '2026-03-31', '2026-04-01', '2026-12-31']::date[]) AS m (day)
CROSS JOIN meter.billing_period(m.day, '{middle,last,thirty}') AS p
ORDER BY p.month, p.tenant;
-- for every anchor day and month, a period ends where the next one begins, and
-- begins in its month
INSERT INTO meter.tenant (tenant, started_on, billing_anchor, time_zone)
SELECT 'anchor ' || a || z, '2015-01-01', a, z
FROM generate_series(1, 31) AS a,
	unnest(ARRAY['UTC', 'Europe/Berlin', 'America/St_Johns', 'Asia/Kolkata', 'Pacific/Chatham']) AS z;
WITH period AS MATERIALIZED (
	SELECT p.* FROM generate_series(timestamp '2023-12-01', '2025-12-01', '1 month') AS m (month)
	CROSS JOIN meter.billing_period(m.month::date) AS p
	WHERE p.tenant LIKE 'anchor%'
)
SELECT count(*) AS periods, count(DISTINCT p.tenant) AS tenants,
	count(*) FILTER (WHERE p.period_to <> n.period_from) AS not_contiguous,
	count(*) FILTER (WHERE date_trunc('month', p.period_from AT TIME ZONE p.time_zone) <> p.month) AS elsewhere,
	count(*) FILTER (WHERE (p.period_from AT TIME ZONE p.time_zone)::time <> '00:00') AS not_at_midnight,
	min((p.period_to AT TIME ZONE p.time_zone) - (p.period_from AT TIME ZONE p.time_zone)) AS shortest,
	max((p.period_to AT TIME ZONE p.time_zone) - (p.period_from AT TIME ZONE p.time_zone)) AS longest
FROM period AS p JOIN period AS n ON n.tenant = p.tenant AND n.month = p.month + interval '1 month';
DELETE FROM meter.tenant;

-- time zones: with half hours and three quarters; where clocks change in the
-- month (a month of 743 hours); where they skip midnight, or have it twice
INSERT INTO meter.tenant (tenant, started_on, billing_anchor, time_zone) VALUES
	('Berlin', '2015-01-01', 1, 'Europe/Berlin'), ('Kolkata', '2015-01-01', 1, 'Asia/Kolkata'),
	('Kathmandu', '2015-01-01', 1, 'Asia/Kathmandu'), ('St. John''s', '2015-01-01', 1, 'America/St_Johns'),
	('Havana', '2015-01-01', 4, 'America/Havana'), ('Sao Paulo', '2015-01-01', 4, 'America/Sao_Paulo');
SELECT p.tenant, p.period_from, p.period_to, p.period_to - p.period_from AS length
FROM meter.billing_period('2018-03-15') AS p WHERE p.tenant NOT IN ('Havana', 'Sao Paulo') ORDER BY p.tenant;
SELECT p.tenant, p.period_from, p.period_from AT TIME ZONE p.time_zone AS local
FROM meter.billing_period('2018-11-15') AS p WHERE p.tenant IN ('Havana', 'Sao Paulo') ORDER BY p.tenant;
DELETE FROM meter.tenant;

-- who is billed, and for what part of March 2026
INSERT INTO meter.plan (plan) VALUES ('free'), ('pro'), ('big'), ('trial');
INSERT INTO meter.tenant (tenant, plan, started_on, status) VALUES
	('all of it', 'pro', '2026-01-01', 'active'),
	('suspended', 'pro', '2026-01-01', 'suspended'),
	('no plan', NULL, '2026-01-01', 'active'),
	('begins', 'pro', '2026-03-10', 'active'),
	('begins on its last day', 'pro', '2026-03-31', 'active'),
	('begins after it', 'pro', '2026-04-01', 'active'),
	('cancelled', 'pro', '2026-01-01', 'cancelled'),
	('ends', 'pro', '2026-01-01', 'cancelled'),
	('ended before', 'pro', '2026-01-01', 'cancelled'),
	('ends on its first day', 'pro', '2026-01-01', 'cancelled'),
	('returns', 'pro', '2026-01-01', 'active'),
	('returns in it', 'pro', '2026-01-01', 'active'),
	('goes and comes', 'pro', '2026-01-01', 'active'),
	('changes', 'big', '2026-01-01', 'active'),
	('loses its plan', NULL, '2026-01-01', 'active'),
	('ends for one day', 'pro', '2026-01-01', 'active');
INSERT INTO meter.tenant (tenant, plan, created_at, time_zone) VALUES
	('created', 'pro', '2026-03-09 18:29:59+00', 'Asia/Kolkata'),
	('created later', 'pro', '2026-03-09 18:30+00', 'Asia/Kolkata');
INSERT INTO meter.subscription (tenant, valid_from, plan, planless) VALUES
	('ends', '2026-01-01', 'pro', false), ('ends', '2026-03-20', NULL, false),
	('ended before', '2026-01-01', 'pro', false), ('ended before', '2026-02-28', NULL, false),
	('ends on its first day', '2026-01-01', 'pro', false), ('ends on its first day', '2026-03-01', NULL, false),
	('returns', '2025-01-01', 'pro', false), ('returns', '2025-06-01', NULL, false), ('returns', '2026-02-20', 'free', false),
	('returns in it', '2025-01-01', 'pro', false), ('returns in it', '2025-06-01', NULL, false), ('returns in it', '2026-03-20', 'free', false),
	('goes and comes', '2026-01-01', 'pro', false), ('goes and comes', '2026-03-05', NULL, false), ('goes and comes', '2026-03-25', 'free', false),
	('changes', '2026-01-01', 'free', false), ('changes', '2026-03-11', 'pro', false), ('changes', '2026-03-21', 'big', false),
	('loses its plan', '2026-01-01', 'pro', false), ('loses its plan', '2026-03-15', NULL, true),
	('ends for one day', '2026-01-01', 'pro', false), ('ends for one day', '2026-03-31', NULL, false), ('ends for one day', '2026-04-01', 'pro', false);
SELECT p.tenant, p.month, p.served_from, p.served_to, p.currency, p.tax_percent
FROM meter.billing_period('2026-03-17') AS p ORDER BY p.tenant;

-- lists of tenants: twice the same, unknown ones, none; no month
SELECT p.tenant FROM meter.billing_period('2026-03-01', '{ends,nobody,ends,changes,NULL}') AS p ORDER BY p.tenant;
SELECT count(*) FROM meter.billing_period('2026-03-01', '{}') AS p;
SELECT count(*) FROM meter.billing_period(NULL) AS p;
SELECT count(*) FROM meter.billing_period('infinity') AS p;
SELECT count(*) FROM meter.billing_plan('-infinity') AS p;
SELECT count(*) FROM meter.billing_price(NULL, NULL) AS p;

-- plans: without versions, or before the first, nothing is known but the plan
SELECT p.* FROM meter.billing_plan('2026-03-17', ARRAY['all of it', 'no plan', 'goes and comes', 'changes', 'loses its plan']) AS p
ORDER BY p.tenant, p.from_at;
INSERT INTO meter.plan_version (plan, valid_from, base_price, currency, trial_days, min_amount, max_amount) VALUES
	('pro', '2025-01-01', 20, 'EUR', 0, NULL, NULL), ('pro', '2026-03-15', 25, 'GBP', 0, 5, 500),
	('pro', '2026-04-01', 30, 'JPY', 0, NULL, NULL), ('big', '2026-03-25', 100, 'CHF', 0, NULL, NULL);
SELECT p.* FROM meter.billing_plan('2026-03-17', ARRAY['all of it', 'no plan', 'goes and comes', 'changes', 'loses its plan']) AS p
ORDER BY p.tenant, p.from_at;
-- rows that change nothing split nothing
INSERT INTO meter.subscription (tenant, valid_from, plan) VALUES ('changes', '2026-03-12', 'pro'), ('changes', '2026-03-22', 'big');
SELECT p.tenant, p.plan, p.version, p.from_at, p.to_at FROM meter.billing_plan('2026-03-17', '{changes}') AS p ORDER BY p.from_at;

-- the currency of a bill: the tenant's, or that of its last plan, or USD
UPDATE meter.tenant SET currency = 'SEK', tax_percent = 25 WHERE tenant = 'changes';
SELECT p.tenant, p.currency, p.tax_percent FROM meter.billing_period('2026-03-17',
	ARRAY['changes', 'ends', 'no plan', 'begins', 'returns', 'goes and comes', 'loses its plan']) AS p ORDER BY p.tenant;

-- trials: from the first subscription on, once, by the version of that day
INSERT INTO meter.plan_version (plan, valid_from, base_price, trial_days) VALUES
	('trial', '2026-01-01', 10, 14), ('trial', '2026-04-01', 10, 0);
INSERT INTO meter.tenant (tenant, plan, started_on) VALUES
	('t over month''s end', 'trial', '2026-03-25'), ('t in the month', 'trial', '2026-03-01'),
	('t none any more', 'trial', '2026-04-01'), ('t changes', 'trial', '2026-03-25'),
	('t returns', 'trial', '2026-01-01'), ('t comes to it', 'trial', '2026-01-01'), ('t was planless', 'trial', '2026-01-01');
INSERT INTO meter.subscription (tenant, valid_from, plan, planless) VALUES
	('t changes', '2026-03-25', 'trial', false), ('t changes', '2026-03-30', 'pro', false),
	('t returns', '2026-01-01', 'trial', false), ('t returns', '2026-01-10', NULL, false), ('t returns', '2026-03-25', 'trial', false),
	('t comes to it', '2026-01-01', 'free', false), ('t comes to it', '2026-03-25', 'trial', false),
	('t was planless', '2026-01-01', NULL, true), ('t was planless', '2026-03-25', 'trial', false);
SELECT p.tenant, p.served_from, p.served_to FROM meter.billing_period('2026-03-01') AS p WHERE p.tenant LIKE 't %' ORDER BY p.tenant;
SELECT p.tenant, p.plan, p.version, p.from_at, p.to_at
FROM (SELECT * FROM meter.billing_plan('2026-03-01') UNION ALL SELECT * FROM meter.billing_plan('2026-04-01')) AS p
WHERE p.tenant LIKE 't %' ORDER BY p.tenant, p.from_at;

-- prices: of the tenant, or its plan, or for all
INSERT INTO meter.price (price_id, price, plan, tenant, metric, model, params, valid_from, valid_to) VALUES
	('00000000-0000-0000-0000-00000000000a', 'api', NULL, NULL, 'api_requests', 'flat', '{"amount": 1}', DEFAULT, NULL),
	('00000000-0000-0000-0000-0000000000f1', 'api', 'pro', NULL, 'api_requests', 'flat', '{"amount": 1}', '2026-03-08', '2026-03-24'),
	('00000000-0000-0000-0000-0000000000f2', 'api', 'pro', NULL, 'api_requests', 'flat', '{"amount": 1}', '2026-03-26', NULL),
	('00000000-0000-0000-0000-0000000000e1', 'api', NULL, 'all of it', 'api_requests', 'flat', '{"amount": 1}', '2026-03-12', '2026-03-14'),
	('00000000-0000-0000-0000-0000000000e2', 'api', NULL, 'all of it', 'api_requests', 'flat', '{"amount": 1}', '2026-03-14', '2026-03-16'),
	('00000000-0000-0000-0000-0000000000e3', 'own', NULL, 'all of it', 'api_requests', 'flat', '{"amount": 1}', '2026-03-31', '2026-06-01'),
	('00000000-0000-0000-0000-0000000000e4', 'own', NULL, 'all of it', 'api_requests', 'flat', '{"amount": 1}', '2026-01-01', '2026-03-01'),
	('00000000-0000-0000-0000-0000000000b1', 'storage', 'big', NULL, 'storage', 'flat', '{"amount": 1}', DEFAULT, NULL);
SELECT p.tenant, right(p.price_id::text, 2) AS id, p.price, p.from_at, p.to_at
FROM meter.billing_price('2026-03-01', ARRAY['all of it', 'no plan', 'goes and comes', 'changes', 'loses its plan', 't changes', 'created']) AS p
ORDER BY p.tenant, p.price, p.from_at;
-- a price that holds on is one segment, and one that begins anew is two
INSERT INTO meter.price (price_id, price, plan, tenant, metric, model, params, valid_from, valid_to) VALUES
	('00000000-0000-0000-0000-0000000000f3', 'calls', 'pro', NULL, 'api_requests', 'flat', '{"amount": 1}', '2026-01-01', '2026-03-10'),
	('00000000-0000-0000-0000-0000000000f4', 'calls', 'pro', NULL, 'api_requests', 'flat', '{"amount": 1}', '2026-03-10', '2026-03-20');
SELECT p.tenant, right(p.price_id::text, 2) AS id, p.price, p.from_at, p.to_at
FROM meter.billing_price('2026-03-01', ARRAY['all of it', 'changes', 'loses its plan']) AS p
WHERE p.price = 'calls'
ORDER BY p.tenant, p.price, p.from_at;

-- a tenant that is deleted has no bills; what comes under its name begins anew
DELETE FROM meter.tenant WHERE tenant = 'changes';
SELECT count(*) FROM meter.billing_period('2026-03-01', '{changes}');
SELECT count(*) FROM meter.subscription WHERE tenant = 'changes';
INSERT INTO meter.tenant (tenant, plan, started_on) VALUES ('changes', 'pro', '2026-03-28');
SELECT p.tenant, p.plan, p.version, p.from_at, p.to_at FROM meter.billing_plan('2026-03-17', '{changes}') AS p;

-- Against a model that looks at one day after the other.  Numbers that look
-- random are made of MD5.
CREATE FUNCTION pg_temp.pick(what text, n integer) RETURNS integer LANGUAGE SQL IMMUTABLE
RETURN ('x' || left(md5(what), 7))::bit(28)::integer % n;
TRUNCATE meter.tenant;
DELETE FROM meter.price;
INSERT INTO meter.plan (plan) SELECT 'p' || i FROM generate_series(0, 4) AS i;
INSERT INTO meter.plan_version (plan, valid_from, base_price, trial_days)
SELECT 'p' || i, date '2025-06-01' + pg_temp.pick('version' || i || j, 500), 1, pg_temp.pick('trial' || i || j, 3) * 20
FROM generate_series(1, 4) AS i, generate_series(1, 4) AS j;
INSERT INTO meter.tenant (tenant, plan, time_zone, billing_anchor, started_on, status)
SELECT 't' || i, CASE WHEN i % 7 <> 0 THEN 'p' || pg_temp.pick('plan' || i, 5) END,
	(ARRAY['UTC', 'Europe/Berlin', 'America/St_Johns', 'Asia/Kolkata', 'Pacific/Apia'])[1 + i % 5],
	CASE i % 4 WHEN 0 THEN 1 WHEN 1 THEN 31 ELSE 1 + pg_temp.pick('anchor' || i, 31) END,
	date '2025-10-01' + pg_temp.pick('start' || i, 250),
	CASE WHEN i % 11 = 0 THEN 'cancelled' ELSE 'active' END
FROM generate_series(1, 48) AS i;
INSERT INTO meter.subscription (tenant, valid_from, plan, planless)
SELECT t, day, plan, plan IS NULL AND pg_temp.pick('planless' || t || day, 3) = 0
FROM (SELECT DISTINCT ON (1, 2) 't' || i AS t, date '2025-11-01' + pg_temp.pick('from' || i || '.' || j, 240) AS day,
		CASE WHEN pg_temp.pick('no' || i || '.' || j, 4) > 0 THEN 'p' || pg_temp.pick('s' || i || '.' || j, 5) END AS plan
	FROM generate_series(1, 48) AS i, generate_series(1, 7) AS j
	WHERE i % 3 > 0 AND j <= 1 + pg_temp.pick('rows' || i, 7)
	ORDER BY 1, 2, j) AS s;
-- up to four prices in a row of each name for all, each plan, and some tenants
INSERT INTO meter.price (price, plan, tenant, metric, model, params, valid_from, valid_to)
SELECT name, CASE WHEN who LIKE 'p%' THEN who END, CASE WHEN who LIKE 't%' THEN who END, 'm', 'flat', '{"amount": 1}', day, ends
FROM (SELECT name, who, day, CASE WHEN pg_temp.pick('gap' || name || who || day, 3) = 0 THEN day + 1 + pg_temp.pick('len' || name || who || day, 20)
			ELSE next END AS ends, next
	FROM (SELECT name, who, day, lead(day) OVER (PARTITION BY name, who ORDER BY day) AS next
		FROM (SELECT DISTINCT 'n' || n AS name, w.who, date '2025-10-15' + pg_temp.pick('price' || n || w.who || j, 260) AS day
			FROM generate_series(1, 4) AS n, generate_series(1, 4) AS j,
				(SELECT 'all' UNION ALL SELECT 'p' || i FROM generate_series(0, 4) AS i
				UNION ALL SELECT 't' || i FROM generate_series(1, 48) AS i WHERE i % 2 = 0) AS w (who)
			WHERE pg_temp.pick('has' || n || w.who, 3) > 0) AS d) AS d) AS p
WHERE next IS NULL OR ends <= next;
SELECT (SELECT count(*) > 80 FROM meter.subscription) AS history, (SELECT count(*) > 150 FROM meter.price) AS prices;

CREATE TEMP TABLE model_day AS
SELECT m.month, t.tenant, d.day, state.plan, trial.day IS NULL AS charged
FROM (SELECT month::date AS month, (month + interval '1 month')::date AS next
	FROM generate_series(timestamp '2025-11-01', '2026-04-01', '1 month') AS month) AS m
CROSS JOIN meter.tenant AS t
CROSS JOIN LATERAL (
	-- days since the last one of the month with a number up to the anchor
	SELECT day::date AS day
	FROM generate_series(m.month::timestamp, m.month + interval '2 months', '1 day') AS day
	WHERE day >= (SELECT max(x) FROM generate_series(m.month::timestamp, m.next - 1, '1 day') AS x
			WHERE extract(day FROM x) <= t.billing_anchor)
		AND day < (SELECT max(x) FROM generate_series(m.next::timestamp, m.next + interval '1 month - 1 day', '1 day') AS x
			WHERE extract(day FROM x) <= t.billing_anchor)) AS d
CROSS JOIN LATERAL (
	SELECT s.plan, s.plan IS NOT NULL OR s.planless AS billed
	FROM (SELECT valid_from, plan, planless FROM meter.subscription AS s WHERE s.tenant = t.tenant
		UNION ALL
		SELECT t.started_on, t.plan, t.plan IS NULL WHERE t.status <> 'cancelled'
			AND t.tenant NOT IN (SELECT tenant FROM meter.subscription)) AS s
	WHERE s.valid_from <= d.day ORDER BY s.valid_from DESC LIMIT 1) AS state
LEFT JOIN LATERAL (
	SELECT f.day
	FROM (SELECT day, plan FROM (SELECT valid_from AS day, plan FROM meter.subscription AS s WHERE s.tenant = t.tenant
				UNION ALL SELECT t.started_on, t.plan WHERE t.tenant NOT IN (SELECT tenant FROM meter.subscription)) AS s
		WHERE plan IS NOT NULL ORDER BY day LIMIT 1) AS f
	CROSS JOIN LATERAL (SELECT trial_days FROM meter.plan_version AS v
		WHERE v.plan = f.plan AND v.valid_from <= f.day ORDER BY v.valid_from DESC LIMIT 1) AS v
	WHERE d.day BETWEEN f.day AND f.day + v.trial_days - 1) AS trial ON true
WHERE state.billed;
SELECT count(*) > 3000 AS days, count(*) FILTER (WHERE NOT charged) > 100 AS in_trial, count(*) FILTER (WHERE plan IS NULL) > 100 AS planless
FROM model_day;

-- periods
SELECT count(*) AS compared, count(*) FILTER (WHERE a.tenant IS NULL) AS missing, count(*) FILTER (WHERE b.tenant IS NULL) AS too_many
FROM (SELECT month, tenant, min(day) AS day, max(day) + 1 AS ends FROM model_day GROUP BY 1, 2) AS b
FULL JOIN (SELECT p.month, p.tenant, (p.served_from AT TIME ZONE p.time_zone)::date AS day, (p.served_to AT TIME ZONE p.time_zone)::date AS ends
	FROM (SELECT DISTINCT month FROM model_day) AS m CROSS JOIN meter.billing_period(m.month) AS p) AS a
ON a.month = b.month AND a.tenant = b.tenant AND a.day = b.day AND a.ends = b.ends;

-- plans and versions
CREATE TEMP TABLE got_plan AS
SELECT m.month, p.*, t.time_zone
FROM (SELECT DISTINCT month FROM model_day) AS m CROSS JOIN meter.billing_plan(m.month) AS p JOIN meter.tenant AS t USING (tenant);
SELECT count(*) > 2000 AS compared, count(*) FILTER (WHERE a.tenant IS NULL) AS missing, count(*) FILTER (WHERE b.tenant IS NULL) AS too_many
FROM (SELECT m.month, m.tenant, m.day, m.plan, COALESCE((SELECT max(v.valid_from) FROM meter.plan_version AS v
			WHERE v.plan = m.plan AND v.valid_from <= m.day), '-infinity') AS version
	FROM model_day AS m WHERE m.plan IS NOT NULL AND m.charged) AS b
FULL JOIN (SELECT g.month, g.tenant, day::date AS day, g.plan, COALESCE(g.version, '-infinity') AS version
	FROM got_plan AS g CROSS JOIN LATERAL generate_series(
		date_trunc('day', g.from_at AT TIME ZONE g.time_zone), (g.to_at AT TIME ZONE g.time_zone) - interval '1 second', '1 day') AS day) AS a
ON a.month = b.month AND a.tenant = b.tenant AND a.day = b.day AND a.plan = b.plan AND a.version = b.version;
SELECT count(*) AS split_for_nothing FROM got_plan AS a JOIN got_plan AS b
	ON b.month = a.month AND b.tenant = a.tenant AND b.plan = a.plan AND b.version IS NOT DISTINCT FROM a.version AND b.from_at = a.to_at;

-- prices
CREATE TEMP TABLE got_price AS
SELECT m.month, p.*, t.time_zone
FROM (SELECT DISTINCT month FROM model_day) AS m CROSS JOIN meter.billing_price(m.month) AS p JOIN meter.tenant AS t USING (tenant);
SELECT count(*) > 6000 AS compared, count(*) FILTER (WHERE a.tenant IS NULL) AS missing, count(*) FILTER (WHERE b.tenant IS NULL) AS too_many
FROM (SELECT m.month, m.tenant, m.day, w.price, w.price_id
	FROM model_day AS m
	CROSS JOIN (SELECT DISTINCT price FROM meter.price) AS n
	CROSS JOIN LATERAL (SELECT p.price, p.price_id FROM meter.price AS p
		WHERE p.price = n.price AND p.valid_from <= m.day AND (p.valid_to IS NULL OR p.valid_to > m.day)
			AND (p.tenant = m.tenant OR p.plan = m.plan OR p.tenant IS NULL AND p.plan IS NULL)
		ORDER BY p.tenant IS NULL, p.plan IS NULL LIMIT 1) AS w
	WHERE m.charged) AS b
FULL JOIN (SELECT g.month, g.tenant, day::date AS day, g.price, g.price_id
	FROM got_price AS g CROSS JOIN LATERAL generate_series(
		date_trunc('day', g.from_at AT TIME ZONE g.time_zone), (g.to_at AT TIME ZONE g.time_zone) - interval '1 second', '1 day') AS day) AS a
ON a.month = b.month AND a.tenant = b.tenant AND a.day = b.day AND a.price_id = b.price_id AND a.price = b.price;
SELECT count(*) AS split_for_nothing FROM got_price AS a JOIN got_price AS b
	ON b.month = a.month AND b.tenant = a.tenant AND b.price_id = a.price_id AND b.from_at = a.to_at;
SELECT count(*) AS overlapping FROM got_price AS a JOIN got_price AS b
	ON b.month = a.month AND b.tenant = a.tenant AND b.price = a.price AND (b.price_id, b.from_at) <> (a.price_id, a.from_at)
	AND b.from_at < a.to_at AND a.from_at < b.to_at;

-- one tenant at a time, it is the same
SELECT count(*) > 100 AS compared, count(*) FILTER (WHERE a.tenant IS NULL) AS missing, count(*) FILTER (WHERE b.tenant IS NULL) AS too_many
FROM meter.billing_price('2026-02-01') AS b
FULL JOIN (SELECT p.* FROM meter.tenant AS t CROSS JOIN meter.billing_price('2026-02-01', ARRAY[t.tenant]) AS p) AS a
ON a.tenant = b.tenant AND a.price_id = b.price_id AND a.from_at = b.from_at AND a.to_at = b.to_at;
-- the session's time zone and dates change nothing
CREATE TEMP TABLE in_utc AS SELECT * FROM meter.billing_price('2026-02-01');
SET timezone = 'Pacific/Kiritimati';
SET datestyle = 'SQL, DMY';
SELECT count(*) FROM (SELECT * FROM meter.billing_price('2026-02-01') EXCEPT SELECT * FROM in_utc) AS d;

-- a time zone that the server does not know any more counts as UTC
ALTER TABLE meter.tenant DISABLE TRIGGER tenant_time_zone_check;
INSERT INTO meter.tenant (tenant, time_zone, started_on) VALUES ('lost', 'Mars/Olympus', '2026-01-01');
SELECT period_from AT TIME ZONE 'UTC' AS from_utc, period_to AT TIME ZONE 'UTC' AS to_utc, time_zone
FROM meter.billing_period('2026-03-15', '{lost}');

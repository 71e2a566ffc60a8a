-- The outbox: closed hours for a payment provider, claimed, acknowledged, corrected
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

-- All hours are told by how many there are from 20 hours ago on.
CREATE TABLE start AS SELECT date_trunc('hour', now()) - interval '20 hours' AS base;
SELECT base FROM start \gset
CREATE FUNCTION track(tenant text, metric text, quantity numeric, hours integer, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
RETURNS void LANGUAGE SQL AS $$
	SELECT meter_track($1, $2, $3, at => (SELECT base FROM start) + $4 * interval '1 hour' + interval '7 minutes',
		idempotency_key => $5, metadata => $6)
$$;
CREATE FUNCTION fill() RETURNS bigint LANGUAGE SQL AS $$
	SELECT meter_flush();
	SELECT meter_rollup();
	SELECT meter_outbox_fill();
$$;
CREATE VIEW outbox AS
SELECT event_name, tenant, (extract(epoch FROM hour - (SELECT base FROM start)) / 3600)::integer AS h,
	version AS v, customer, value, state, attempts AS tries, worker, error
FROM meter.billing_outbox;
CREATE VIEW held AS
SELECT event_name, tenant, (extract(epoch FROM hour - (SELECT base FROM start)) / 3600)::integer AS h,
	value, reason
FROM meter.outbox_held;
-- Is every hour settled or held back, and is what was moved between hours nothing in all?
CREATE VIEW wrong AS
SELECT 'hour' AS what, event_name, tenant FROM meter.outbox_hour
WHERE value <> sent + moved AND held IS NULL
UNION ALL
SELECT 'moved', event_name, tenant FROM meter.outbox_hour
GROUP BY event_name, tenant HAVING sum(moved) <> 0
UNION ALL
SELECT 'sent', h.event_name, h.tenant FROM meter.outbox_hour AS h
WHERE h.sent <> COALESCE((SELECT sum(o.value) FROM meter.billing_outbox AS o
	WHERE o.event_name = h.event_name AND o.tenant = h.tenant AND o.hour = h.hour AND o.state <> 'withdrawn'), 0)
UNION ALL
SELECT 'value', m.event_name, u.tenant
FROM meter.outbox_meter AS m JOIN meter.usage_hourly AS u ON u.metric = m.metric AND u.dims @> m.dims AND u.hour < m.looked_through AND u.hour >= m.since
LEFT JOIN meter.outbox_hour AS h ON h.event_name = m.event_name AND h.tenant = u.tenant AND h.hour = u.hour
GROUP BY m.event_name, u.tenant, u.hour, h.value, m.aggregation, m.multiplier
HAVING COALESCE(h.value, 0) <> m.multiplier * CASE m.aggregation WHEN 'sum' THEN sum(u.quantity) ELSE sum(u.events - u.errors_429) END;

INSERT INTO meter.metric (metric, kind, dimensions, allow_negative) VALUES
	('api_requests', 'counter', '{}', false), ('tokens', 'counter', '{model}', false), ('gb', 'counter', '{}', true), ('level', 'gauge', '{}', false);
INSERT INTO meter.tenant (tenant, customer) VALUES ('acme', 'cus_acme'), ('bolt', 'cus_bolt'), ('poor', NULL);

-- nothing is set up: nothing is sent, and the log is not held up
SELECT track('acme', 'api_requests', 1, 0);
SELECT fill();
SELECT name FROM meter.consumer;

-- Bad set-ups.
\set VERBOSITY terse
INSERT INTO meter.outbox_meter (event_name, metric) VALUES ('', 'api_requests');
INSERT INTO meter.outbox_meter (event_name, metric) VALUES (repeat('x', 101), 'api_requests');
INSERT INTO meter.outbox_meter (event_name, metric) VALUES ('e', '');
INSERT INTO meter.outbox_meter (event_name, metric, dims) VALUES ('e', 'm', '[]');
INSERT INTO meter.outbox_meter (event_name, metric, dims) VALUES ('e', 'm', '{"model": null}');
INSERT INTO meter.outbox_meter (event_name, metric, aggregation) VALUES ('e', 'm', 'max');
INSERT INTO meter.outbox_meter (event_name, metric, multiplier) VALUES ('e', 'm', 'NaN');
INSERT INTO meter.outbox_meter (event_name, metric, multiplier) VALUES ('e', 'm', 0);
INSERT INTO meter.outbox_meter (event_name, metric, digits) VALUES ('e', 'm', 13);
INSERT INTO meter.outbox_meter (event_name, metric, negative) VALUES ('e', 'm', 'ignore');
INSERT INTO meter.outbox_meter (event_name, metric, grace) VALUES ('e', 'm', '-1 hour');
INSERT INTO meter.outbox_meter (event_name, metric, since) VALUES ('e', 'm', 'infinity');
INSERT INTO meter.outbox_meter (event_name, metric, max_attempts) VALUES ('e', 'm', 0);
INSERT INTO meter.outbox_meter (event_name, metric) VALUES ('e', 'level');
\set VERBOSITY default
INSERT INTO meter.outbox_meter (event_name, metric) VALUES ('e', 'level');

-- With those above, 2 of acme in hour 0 and 3 in hour 1.  With 31 hours of grace none of them is
-- closed.
SELECT track('acme', 'api_requests', 1, 0), track('acme', 'api_requests', 2, 1), track('acme', 'api_requests', 1, 1, 'a1'),
	track('bolt', 'api_requests', 5, 1), track('poor', 'api_requests', 7, 1), track('nobody', 'api_requests', 8, 1);
INSERT INTO meter.outbox_meter (event_name, metric, since, grace) VALUES ('calls', 'api_requests', :'base', '31 hours');
SELECT fill();
SELECT name FROM meter.consumer ORDER BY name;
-- with an hour of grace, all are; two tenants have no customer
UPDATE meter.outbox_meter SET grace = '1 hour';
SELECT fill();
SELECT fill();
SELECT * FROM outbox ORDER BY h, tenant;
SELECT * FROM held ORDER BY tenant, h;
SELECT * FROM meter.outbox_held WHERE tenant = 'poor' AND hour <> :'base'::timestamptz + interval '1 hour';
SELECT * FROM wrong;
-- the tenant gets a customer
UPDATE meter.tenant SET customer = 'cus_poor' WHERE tenant = 'poor';
SELECT fill();
SELECT * FROM outbox WHERE tenant = 'poor';

-- The key is what it says: sha256 of ["calls", "acme"], by sha256sum.
SELECT meter.outbox_identifier('calls', 'acme', '2026-11-24 06:00:00+00', 3);
SET timezone = 'Asia/Kolkata';
SELECT meter.outbox_identifier('calls', 'acme', '2026-11-24 06:00:00+00', 3);
RESET timezone;
SET timezone = 'UTC';
SELECT bool_and(identifier = meter.outbox_identifier(event_name, tenant, hour, version)), max(length(identifier)) FROM meter.billing_outbox;

-- Claims: the oldest first, with the fields of the provider.
SELECT event_name, "timestamp" = extract(epoch FROM hour) AS at_hour, payload, tenant, value, attempt
FROM meter_outbox_claim(2, worker => 'w1');
SELECT event_name, payload, value, attempt FROM meter_outbox_claim(10, '1 hour', 'w2');
SELECT count(*) FROM meter_outbox_claim(10);
SELECT * FROM outbox ORDER BY h, tenant;
SELECT meter_outbox_claim(0);
SELECT meter_outbox_claim(NULL);
SELECT meter_outbox_claim(10001);
SELECT meter_outbox_claim(1, '0');
SELECT meter_outbox_claim(1, '2 days');
SELECT meter_outbox_claim(1, NULL);

-- Acknowledging: once, and only what was claimed.
SELECT identifier AS a0 FROM meter.billing_outbox WHERE tenant = 'acme' AND hour = :'base' \gset
SELECT identifier AS a1 FROM meter.billing_outbox WHERE tenant = 'acme' AND hour > :'base' \gset
SELECT identifier AS b1 FROM meter.billing_outbox WHERE tenant = 'bolt' \gset
SELECT identifier AS p1 FROM meter.billing_outbox WHERE tenant = 'poor' \gset
SELECT meter_outbox_ack(ARRAY[:'a0', :'a1', 'no such row', NULL]);
SELECT meter_outbox_ack(ARRAY[:'a0', :'a1']);
SELECT meter_outbox_ack('{}'), meter_outbox_ack(NULL);
SELECT * FROM outbox WHERE state = 'sent' ORDER BY h;

-- A lease that runs out: the row can be claimed again, and acknowledged by either.
UPDATE meter.billing_outbox SET due_at = now() - interval '1 second' WHERE identifier = :'b1';
SELECT tenant, attempt FROM meter_outbox_claim(10, worker => 'w3');
SELECT meter_outbox_fail(:'b1', 'too late', worker => 'w2');
SELECT meter_outbox_ack(ARRAY[:'b1']);
SELECT meter_outbox_fail(:'b1', 'too late');
SELECT meter_outbox_fail('no such row', 'x') IS NULL AS unknown;
SELECT meter_outbox_fail(:'p1', 'x', '-1 second');

-- Failing: a pause that doubles from 15 seconds, or what the provider asks for.
CREATE FUNCTION pause(identifier text) RETURNS numeric LANGUAGE SQL AS $$
	SELECT ceil(extract(epoch FROM due_at - clock_timestamp()) / 15) * 15 FROM meter.billing_outbox WHERE identifier = $1
$$;
SELECT meter_outbox_fail(:'p1', 'HTTP 500', worker => 'w2');
SELECT * FROM outbox WHERE tenant = 'poor';
SELECT count(*) FROM meter_outbox_claim(10);
SELECT pause(:'p1');
UPDATE meter.billing_outbox SET due_at = now() WHERE identifier = :'p1';
SELECT attempt FROM meter_outbox_claim(10);
SELECT meter_outbox_fail(:'p1', 'HTTP 500');
SELECT pause(:'p1');
UPDATE meter.billing_outbox SET due_at = now(), attempts = 9 WHERE identifier = :'p1';
SELECT attempt FROM meter_outbox_claim(10);
SELECT meter_outbox_fail(:'p1', 'HTTP 429', '1 minute');
SELECT pause(:'p1');
UPDATE meter.billing_outbox SET due_at = now() WHERE identifier = :'p1';
SELECT attempt FROM meter_outbox_claim(10);
SELECT meter_outbox_fail(:'p1', 'HTTP 503');
SELECT pause(:'p1');
-- dead after max_attempts, which the next one is
UPDATE meter.outbox_meter SET max_attempts = 12;
UPDATE meter.billing_outbox SET due_at = now() WHERE identifier = :'p1';
SELECT attempt FROM meter_outbox_claim(10);
SELECT meter_outbox_fail(:'p1', repeat('long ', 300));
SELECT state, length(error), due_at > now() AS due FROM meter.billing_outbox WHERE identifier = :'p1';
SELECT count(*) FROM meter_outbox_claim(10);
SELECT event_name, tenant, value, reason, left(detail, 9) AS detail, identifier = :'p1' AS same FROM meter.outbox_held WHERE tenant = 'poor';
-- sent again by hand
SELECT meter_outbox_retry(ARRAY[:'p1', :'a0']);
SELECT attempt FROM meter_outbox_claim(10);
-- dead, but the provider had it after all
UPDATE meter.billing_outbox SET state = 'dead' WHERE identifier = :'p1';
SELECT meter_outbox_ack(ARRAY[:'p1']);
SELECT * FROM wrong;

-- Late usage: only the difference goes out, as a further version.
SELECT track('acme', 'api_requests', 4, 1), track('bolt', 'api_requests', 1, 0);
SELECT fill();
SELECT * FROM outbox WHERE state = 'pending' ORDER BY h;
SELECT * FROM wrong;
-- Nobody has claimed the 4 when a correction (1 becomes 0) makes 3 of it: it is taken back.
SELECT meter_correct('acme', 'a1', quantity => 0);
SELECT fill();
SELECT * FROM outbox WHERE tenant = 'acme' ORDER BY h, v;
SELECT count(*) FROM meter_outbox_claim(10);
SELECT meter_outbox_ack(array_agg(identifier)) FROM meter.billing_outbox;

-- Too much was sent: hour 1 has 2 + 0 + 4 = 6, which were acknowledged.  The 4 are voided, so
-- 4 too many were sent; 3 in hour 2 make up for 3 of them, and of 5 in hour 3, 4 go out.
SELECT seq FROM meter.event WHERE tenant = 'acme' AND quantity = 4 \gset
SELECT meter_correct('acme', seq => :seq, void => true);
SELECT fill();
SELECT * FROM held WHERE tenant = 'acme';
SELECT track('acme', 'api_requests', 3, 2);
SELECT fill();
SELECT * FROM held WHERE tenant = 'acme';
SELECT track('acme', 'api_requests', 5, 3);
SELECT fill();
SELECT * FROM held WHERE tenant = 'acme';
SELECT * FROM outbox WHERE tenant = 'acme' ORDER BY h, v;
SELECT (extract(epoch FROM hour - :'base') / 3600)::integer AS h, value, sent, moved FROM meter.outbox_hour WHERE tenant = 'acme' ORDER BY 1;
SELECT * FROM wrong;

-- A filter, a count, and a unit of the provider's own with fractions: tokens of gpt-4 in
-- thousands, with one decimal.  1234 -> 1.234: 1.2 goes out, .034 is left; 1280 -> 1.280 and
-- .034 are 1.314: 1.3, and .014 is left; 3990 -> 3.990 + .014 = 4.004: 4.0, and .004 is left.
INSERT INTO meter.outbox_meter (event_name, metric, dims, aggregation, multiplier, digits, since, customer_key, value_key) VALUES
	('gpt4_ktokens', 'tokens', '{"model": "gpt-4"}', 'sum', 0.001, 1, :'base', 'customer', 'n'),
	('token_calls', 'tokens', '{}', 'count', 1, 0, :'base', 'stripe_customer_id', 'value');
SELECT track('acme', 'tokens', 1234, 0, metadata => '{"model": "gpt-4"}'), track('acme', 'tokens', 1280, 2, metadata => '{"model": "gpt-4"}'),
	track('acme', 'tokens', 10000, 2, metadata => '{"model": "mini"}'), track('acme', 'tokens', 3990, 5, metadata => '{"model": "gpt-4"}');
-- calls that were refused are not counted
INSERT INTO meter.inbox (at, tenant, metric, quantity, status) SELECT :'base'::timestamptz + h * interval '1 hour', 'acme', 'tokens', 0, 429
FROM (VALUES (0), (3)) AS v(h);
SELECT fill();
SELECT event_name, h, v, value FROM outbox WHERE event_name LIKE '%tok%' ORDER BY 1, 2;
SELECT * FROM held WHERE event_name LIKE '%tok%';
SELECT * FROM wrong;
SELECT payload FROM meter_outbox_claim(10) WHERE event_name = 'gpt4_ktokens';
-- a late hour between them takes up the rest: .096 + .004 = .1
SELECT track('acme', 'tokens', 96, 4, metadata => '{"model": "gpt-4"}');
SELECT fill();
SELECT event_name, h, v, value FROM outbox WHERE event_name = 'gpt4_ktokens' ORDER BY 1, 2;
SELECT * FROM held WHERE event_name LIKE '%tok%';
SELECT * FROM wrong;

-- Negative values, for a provider that takes them, and a metric that has them.
INSERT INTO meter.outbox_meter (event_name, metric, negative, since) VALUES ('gb_send', 'gb', 'send', :'base'), ('gb_net', 'gb', 'net', :'base');
SELECT track('acme', 'gb', 10, 0), track('acme', 'gb', -4, 1), track('acme', 'gb', -8, 2), track('acme', 'gb', 5, 3);
SELECT fill();
SELECT event_name, h, v, value FROM outbox WHERE event_name LIKE 'gb%' ORDER BY 1, 2;
SELECT event_name, (extract(epoch FROM hour - :'base') / 3600)::integer AS h, value, sent, moved FROM meter.outbox_hour
WHERE event_name LIKE 'gb%' ORDER BY 1, 2;
SELECT * FROM wrong;

-- What is too old for the provider is held back, until the meter allows for more.
INSERT INTO meter.outbox_meter (event_name, metric, since, max_age) VALUES ('old', 'api_requests', :'base', '18 hours 30 minutes');
SELECT fill() > 0;
SELECT event_name, tenant, h, value FROM outbox WHERE event_name = 'old' AND h <> 2 ORDER BY 1, 2;
SELECT event_name, tenant, h, value, reason FROM held WHERE event_name = 'old' AND tenant <> 'nobody' AND h < 2 ORDER BY 2, 3;
UPDATE meter.outbox_meter SET max_age = '34 days' WHERE event_name = 'old';
SELECT fill() > 0;
SELECT event_name, tenant, h, value FROM outbox WHERE event_name = 'old' ORDER BY 2, 3;
SELECT * FROM held WHERE event_name = 'old' ORDER BY 2, 3;
-- A row whose time has run out is not claimed any more, and dead at the next filling.  The last
-- claim that is allowed ends it with its lease, and the first one a day later, when the provider
-- may have forgotten its identifier.
SELECT count(*) FROM meter.billing_outbox WHERE event_name = 'old' AND state = 'pending';
UPDATE meter.billing_outbox SET expires_at = now() WHERE event_name = 'old' AND tenant = 'acme';
UPDATE meter.billing_outbox SET attempts = 19 WHERE event_name = 'old' AND tenant = 'bolt';
SELECT count(*), count(DISTINCT tenant) FROM meter_outbox_claim(100) WHERE event_name = 'old' AND tenant = 'acme';
SELECT attempts, expires_at - due_at BETWEEN interval '-1 second' AND interval '1 second' AS with_the_lease
FROM meter.billing_outbox WHERE event_name = 'old' AND tenant = 'bolt';
UPDATE meter.billing_outbox SET due_at = now(), expires_at = now() WHERE event_name = 'old' AND tenant = 'bolt';
SELECT expires_at - first_claimed_at BETWEEN interval '22:59:59' AND interval '23:00:01' AS a_day FROM meter.billing_outbox WHERE event_name = 'old' AND tenant = 'poor';
SELECT fill();
SELECT tenant, h, state, error FROM outbox WHERE event_name = 'old' ORDER BY 1, 2;
SELECT meter_outbox_retry(array_agg(identifier)) FROM meter.billing_outbox WHERE event_name = 'old' AND tenant = 'acme';
UPDATE meter.outbox_meter SET max_age = '15 hours' WHERE event_name = 'old';
SELECT meter_outbox_retry(array_agg(identifier)) FROM meter.billing_outbox WHERE event_name = 'old' AND tenant = 'bolt';

-- What was counted cannot be changed once it was sent, nor can the meter go.
UPDATE meter.outbox_meter SET multiplier = 2 WHERE event_name = 'calls';
UPDATE meter.outbox_meter SET dims = '{"a": 1}' WHERE event_name = 'calls';
DELETE FROM meter.outbox_meter WHERE event_name = 'calls';
INSERT INTO meter.outbox_meter (event_name, metric) VALUES ('unused', 'api_requests');
UPDATE meter.outbox_meter SET multiplier = 2 WHERE event_name = 'unused';
DELETE FROM meter.outbox_meter WHERE event_name = 'unused';
-- switched off, it sends nothing; on again, it sends what has been left out
UPDATE meter.outbox_meter SET enabled = false;
SELECT track('bolt', 'api_requests', 6, 4);
SELECT fill();
SELECT name FROM meter.consumer;
UPDATE meter.outbox_meter SET enabled = true WHERE event_name = 'calls';
SELECT fill();
SELECT * FROM outbox WHERE event_name = 'calls' AND tenant = 'bolt' ORDER BY h;
-- hours whose usage has gone altogether: all of it is too much
SELECT seq FROM meter.event WHERE tenant = 'bolt' AND quantity = 6 \gset
SELECT count(*) FROM meter_outbox_claim(100) WHERE tenant = 'bolt' AND event_name = 'calls';
SELECT meter_correct('bolt', seq => :seq, void => true);
SELECT fill();
SELECT * FROM held WHERE event_name = 'calls' AND tenant = 'bolt';
SELECT * FROM wrong WHERE what <> 'hour' OR event_name = 'calls';

-- Retention: what was acknowledged goes, with its settled hours, and never comes back.
SELECT count(*) FROM meter_outbox_claim(1000);
SELECT meter_outbox_ack(array_agg(identifier)) > 0 FROM meter.billing_outbox;
UPDATE meter.billing_outbox SET ended_at = now() - interval '1 day' WHERE state = 'sent';
SELECT count(*) > 0 AS some FROM meter.billing_outbox WHERE event_name = 'calls' AND tenant = 'poor';
SET meter.retention = '18h';
SELECT object FROM meter_maintain() WHERE object = 'meter.billing_outbox';
SET meter.retention = 0;
SELECT event_name, tenant, h, v, state FROM outbox WHERE event_name = 'calls' AND h < 2 ORDER BY 1, 2;
SELECT event_name, forgotten_before > :'base' AS forgotten FROM meter.outbox_meter WHERE event_name IN ('calls', 'unused');
SELECT tenant, (extract(epoch FROM hour - :'base') / 3600)::integer AS h, value FROM meter.outbox_hour
WHERE event_name = 'calls' AND hour < :'base'::timestamptz + interval '2 hours' ORDER BY 1;
SELECT track('acme', 'api_requests', 1, 0);
UPDATE meter.outbox_meter SET since = :'base' WHERE event_name = 'calls';
SELECT fill();
SELECT count(*) FROM outbox WHERE event_name = 'calls' AND h = 0 AND tenant = 'acme';

-- Who may: the admin all of it, the analyst may look, and a worker needs no more than this.
CREATE ROLE regress_admin;
CREATE ROLE regress_analyst;
CREATE ROLE regress_worker;
SELECT meter_grant('regress_admin', 'admin');
SELECT meter_grant('regress_analyst', 'analyst');
GRANT USAGE ON SCHEMA meter TO regress_worker;
GRANT SELECT, UPDATE ON meter.billing_outbox TO regress_worker;
GRANT SELECT ON meter.outbox_meter TO regress_worker;
GRANT EXECUTE ON FUNCTION meter_outbox_claim, meter_outbox_ack, meter_outbox_fail TO regress_worker;
GRANT EXECUTE ON FUNCTION meter.visible_tenants, meter.sees_all_tenants TO regress_worker;
SET ROLE regress_admin;
INSERT INTO meter.outbox_meter (event_name, metric, since) VALUES ('by_admin', 'api_requests', :'base'::timestamptz + interval '3 hours');
UPDATE meter.outbox_meter SET enabled = false WHERE event_name <> 'by_admin';
SELECT meter_outbox_fill();
SELECT count(*) FROM meter_outbox_claim(1);
SELECT meter_outbox_ack('{}'), meter_outbox_fail('x', 'x'), meter_outbox_retry('{}');
UPDATE meter.billing_outbox SET due_at = now() WHERE event_name = 'by_admin';
RESET ROLE;
SET ROLE regress_analyst;
SELECT count(*) FROM meter.outbox_held WHERE event_name = 'by_admin';
SELECT count(*) FROM meter_outbox_claim(1);
SELECT meter_outbox_fill();
UPDATE meter.billing_outbox SET value = 0;
RESET ROLE;
SET ROLE regress_worker;
SELECT meter_outbox_ack(array_agg(identifier)) FROM meter_outbox_claim(10);
SELECT meter_outbox_fail('x', 'x');
SELECT meter_outbox_fill();
RESET ROLE;
DROP OWNED BY regress_admin, regress_analyst, regress_worker;
DROP ROLE regress_admin, regress_analyst, regress_worker;

-- The dashboard: text in a page, charts, the page itself, who may see it
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
SET meter.retention = 0;

-- Text: markup, quotes, control characters, what is no character, other alphabets.
SELECT meter.html(t.text) FROM (VALUES (1, '<script>alert(1)</script>'), (2, $$" onload='x' & &amp;$$), (3, E'a\tb\nc\rd'),
	(4, E'\x01\x1b\x7f'), (5, E'\u0085\uFFFE\uFDD0'), (6, E'\u00E4\u20AC\U0001F600'), (7, ''), (8, NULL)) AS t (n, text) ORDER BY t.n;
SELECT length(meter.html(repeat('<', 100000)));
SELECT meter.html(repeat('x', 1000)) = repeat('x', 1000) AS same;

-- Numbers.
SELECT v AS value, meter.html_number(v) AS number, meter.html_short(v) AS short, meter.html_percent(v) AS percent,
	meter.html_ms(v::double precision) AS ms, meter.html_money(v, 'USD') AS usd, meter.html_money(v, 'JPY') AS jpy
FROM unnest('{0,0.00012,0.0456,0.5,1,9.994,12.345,999.6,1234.5,45678,999960,1234567,98765432101,NULL}'::numeric[]) WITH ORDINALITY AS u (v, n)
ORDER BY u.n;
-- the largest that an event may carry, a million times
SELECT meter.html_number(123456789e30), meter.html_money(-123456789e30, 'USD');
SELECT meter.html_money(-5, 'EUR'), meter.html_money(5, 'CHF'), meter.html_money(5, NULL), meter.html_money(5, '<b>');
SELECT string_agg(meter.html_span(s), ' ' ORDER BY n) FROM unnest('{0,0.24,59.7,90,3600,100000,172800,NULL}'::numeric[]) WITH ORDINALITY AS u (v, n)
CROSS JOIN LATERAL (SELECT v * interval '1 second') AS x (s);
SELECT meter.html_time('2020-05-04 10:07+02'), meter.html_time(NULL);

-- Axes: 1, 2, 2.5 or 5 times a power of ten, about four lines, and the peak below the top.
SELECT p AS peak, s.*, w.* FROM unnest('{0,0.3,1,3,7,10,11,99,100,101,1234567,NULL}'::numeric[]) WITH ORDINALITY AS u (p, n)
CROSS JOIN LATERAL meter.chart_scale(p, false) AS s CROSS JOIN LATERAL meter.chart_scale(p, true) AS w (whole_top, whole_step) ORDER BY u.n;
-- a random walk over peaks finds none above the top, nor more than five lines
SELECT count(*) FILTER (WHERE s.top < p OR s.top / s.step > 5 OR s.top % s.step <> 0) AS wrong
FROM generate_series(1, 3000) AS g (i) CROSS JOIN LATERAL (SELECT round(1.013 ^ i, 3)) AS x (p) CROSS JOIN LATERAL meter.chart_scale(p, false) AS s;
SELECT string_agg(label, ' ' ORDER BY at) FROM meter.chart_ticks('2020-05-04 00:00Z', '2020-05-04 08:00Z');
SELECT string_agg(label, ' ' ORDER BY at) FROM meter.chart_ticks('2020-05-04 09:00Z', '2020-05-06 09:00Z');
SELECT string_agg(label, ' ' ORDER BY at) FROM meter.chart_ticks('2020-05-04 09:00Z', '2020-05-11 09:00Z');
SELECT string_agg(label, ' ' ORDER BY at) FROM meter.chart_ticks('2020-05-01 00:00Z', '2020-06-01 00:00Z');
SELECT string_agg(label, ' ' ORDER BY at) FROM meter.chart_ticks('2019-05-05 00:00Z', '2020-05-05 00:00Z');
-- 100 is the bottom; a gap breaks a line and a band
SELECT meter.chart_line('{0,10,20,30}', '{0,5,NULL,10}', 10);
SELECT meter.chart_band('{0,10,20,30}', '{0,0,NULL,0}', '{0,5,7,10}', 10);
SELECT meter.chart_bars('{0,500}', 400, '{0,2}', '{4,2}', 8);
SELECT meter.chart_line('{}', '{}', 1) = '' AS line, meter.chart_band('{0}', '{NULL}', '{NULL}', 1) = '' AS band;
-- from 10 ms on; below it is on the axis, and what is not known stays so
SELECT meter.chart_value(v, 1) FROM unnest('{1000,10,5,0,NULL}'::numeric[]) AS v;
-- 75 and 90 % of 100, and of 125 %, which is as long as the bar then
SELECT meter.chart_level(80, 95.5, 'x');
SELECT meter.chart_level(125, NULL, 'x');

-- The month of a tenant in New York, and its days: the hour from 04:00 UTC on is the first of 10 March, and what came before it was the ninth.
INSERT INTO meter.tenant (tenant, time_zone) VALUES ('york', 'America/New_York');
SELECT count(meter_track('york', cost => c, at => at)) FROM (VALUES (timestamptz '2020-03-10 03:30Z', 5), ('2020-03-10 04:30Z', 7)) AS v (at, c);
SELECT appended FROM meter_flush();
SELECT meter_rollup();
SELECT m[1] FROM meter.dashboard_cost(ARRAY[ROW('cost', 'USD', '2020-03-01 05:00Z', '2020-04-01 04:00Z', 12, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::meter.projection], 'york') AS page
CROSS JOIN LATERAL regexp_matches(page, '<p class="note">.*?</p>|(?:Mon 9|Tue 10|Tue 31) Mar[^<]*', 'g') AS m;
DELETE FROM meter.tenant;

-- Bad arguments.
SELECT meter_dashboard('infinity');
SELECT meter_dashboard("to" => '-infinity');
SELECT meter_dashboard('2020-05-04', '2020-05-04');
SELECT meter_dashboard('2020-05-05', '2020-05-04');
SELECT meter_dashboard('2019-05-03', '2020-05-04');
SELECT meter_dashboard(tenant => '');
SELECT meter_dashboard(tenant => ' ');
SELECT meter_dashboard(tenant => repeat('x', 256));
\set VERBOSITY sqlstate
SELECT meter_dashboard('infinity');
SELECT meter_dashboard('2020-05-05', '2020-05-04');
\set VERBOSITY default

-- Nothing at all: each section says so.
CREATE TEMP TABLE page (n integer, page xml);
INSERT INTO page SELECT 0, xmlparse(document meter_dashboard('2020-05-04', '2020-05-05'));
SELECT unnest(xpath('//h2/text()', page)) AS title FROM page WHERE n = 0;
SELECT unnest(xpath('//p[@class="empty"]/text()', page)) AS empty FROM page WHERE n = 0;
SELECT unnest(xpath('//p[@class="value"]//text()', page)) AS figure FROM page WHERE n = 0;

-- acme: 10:00 to 11:00 of 4 May, latencies 10, 20, ... 80 ms, 8 requests: 5 successes, a 404, a 429 and a 503;
-- 12:00 to 13:00 two successes of 1000 ms of a strange endpoint; and 2 of cost for tokens of the first one.
-- A tenant with a strange name: 3 requests, two users; the day before, 4 requests of acme, one of which failed.
SELECT count(meter_track('acme', service => 'api', endpoint => '/v1/a', method => 'GET', latency_ms => 10 * i,
	status => (ARRAY[200, 200, 200, 200, 201, 404, 429, 503])[i], user_id => 'u' || i % 3, at => '2020-05-04 10:30Z')) FROM generate_series(1, 8) AS i;
SELECT count(meter_track('acme', service => E'<i>&"\u00E4', endpoint => '<script>alert(1)</script>', method => 'GET', latency_ms => 1000,
	status => 200, user_id => $$'"><img src=x>$$, at => '2020-05-04 12:30Z')) FROM generate_series(1, 2) AS i;
SELECT meter_track('acme', 'tokens', 500, service => 'api', endpoint => '/v1/a', method => 'GET', user_id => 'u1', cost => 2, at => '2020-05-04 10:31Z');
SELECT count(meter_track($$<b>"x" & 'y'</b>$$, endpoint => '/v1/b', method => 'GET', status => 200, user_id => 'v' || i % 2, cost => 0.25,
	at => '2020-05-04 12:30Z')) FROM generate_series(1, 3) AS i;
SELECT count(meter_track('acme', endpoint => '/v1/a', method => 'GET', status => CASE i WHEN 1 THEN 500 ELSE 200 END, latency_ms => 10,
	at => '2020-05-03 12:30Z')) FROM generate_series(1, 4) AS i;
SELECT meter_flush() IS NOT NULL, meter_rollup() > 0;

INSERT INTO page SELECT 1, xmlparse(document meter_dashboard('2020-05-04', '2020-05-05'));
-- 13 requests against 4; 3 of 13 and 1 of 4 failed (23.08 and 25 %); p95 of 10 latencies against 10 ms; users u0, u1, u2, the strange one, v0, v1
SELECT id, value FROM page, XMLTABLE('//data[@id]' PASSING page COLUMNS id text PATH '@id', value text PATH '@value') WHERE n = 1;
SELECT (SELECT value FROM page, XMLTABLE('//data[@id="p95"]' PASSING page COLUMNS value double precision PATH '@value') WHERE n = 1)
	= (SELECT meter_percentile(meter_sketch_merge(latency), 0.95) FROM meter.usage_hourly WHERE hour >= '2020-05-04') AS "p95 is that of the hours";
SELECT unnest(xpath('//p[@class="change"]', page)) AS change FROM page WHERE n = 1;
-- endpoints, tenants and users, as the views have them
SELECT t.* FROM page, XMLTABLE('//section[contains(@class, "endpoints")]//tbody/tr' PASSING page COLUMNS
	name text PATH 'td[1]/span[1]', service text PATH 'td[1]/span[2]', requests text PATH 'td[3]', errors text PATH 'td[4]',
	p50 text PATH 'td[5]', p99 text PATH 'td[7]', cost text PATH 'td[8]') AS t WHERE n = 1;
SELECT service, endpoint, sum(requests) AS requests, sum(errors) AS errors FROM meter.endpoint_stats WHERE hour >= '2020-05-04' GROUP BY 1, 2 ORDER BY 3 DESC;
SELECT t.* FROM page, XMLTABLE('//section[contains(@class, "tenants")]//tbody/tr' PASSING page COLUMNS
	name text PATH 'td[1]', requests text PATH 'td[3]', errors text PATH 'td[4]', users text PATH 'td[6]', cost text PATH 'td[7]') AS t WHERE n = 1;
SELECT tenant, sum(requests) AS requests, sum(cost) AS cost FROM meter.service_daily WHERE day = '2020-05-04' GROUP BY tenant ORDER BY 2 DESC;
SELECT t.* FROM page, XMLTABLE('//section[contains(@class, "users")]//tbody/tr' PASSING page COLUMNS
	name text PATH 'td[1]', requests text PATH 'td[2]', errors text PATH 'td[3]') AS t WHERE n = 1;
SELECT tenant, user_id, sum(requests) AS requests FROM meter.top_users WHERE day = '2020-05-04' GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2;
-- the hours of the chart
SELECT unnest(xpath('//section[contains(@class, "s8")]//title/text()', page)) AS hour FROM page WHERE n = 1 OFFSET 10 LIMIT 3;
SELECT cardinality(xpath('//section[contains(@class, "s8")]//rect', page)) AS hours FROM page WHERE n = 1;
-- what data could have brought in
SELECT cardinality(xpath('//script | //img | //i[text()] | //section//b[contains(text(), "x")] | //*[@onload]', page)) AS elements FROM page WHERE n = 1;
-- no element loads anything, all text is ASCII, all images and bars have a label
SELECT unnest(xpath('//@src | //@href', page)) AS loads FROM page WHERE n = 1;
SELECT octet_length(page::text) = length(page::text) AS ascii,
	cardinality(xpath('//*[@role="img"][not(@aria-label)] | //svg[not(@role) and not(@aria-hidden)]', page)) AS without_label FROM page WHERE n = 1;

-- Whole hours, from the one that from is in until the one before to.
SELECT * FROM XMLTABLE('//data[@id="requests"]' PASSING xmlparse(document meter_dashboard('2020-05-04 10:59', '2020-05-04 12:00')) COLUMNS requests integer PATH '@value');
SELECT * FROM XMLTABLE('//data[@id="requests"]' PASSING xmlparse(document meter_dashboard('2020-05-04 11:00', '2020-05-04 12:00:00.000001')) COLUMNS requests integer PATH '@value');
-- steps of one hour, six hours, a day and seven days; the steps cover the time
SELECT d AS days, cardinality(xpath('//section[contains(@class, "s8")]//rect', xmlparse(document meter_dashboard('2020-05-05'::timestamptz - d * interval '1 day', '2020-05-05')))) AS steps
FROM unnest('{1,8,9,40,41,200,201,366}'::integer[]) AS d;
-- the same in every time zone and with every style of dates, at one time
BEGIN;
SELECT md5(meter_dashboard('2020-05-04Z', '2020-05-05Z', 'acme')) AS utc \gset
SET timezone = 'America/New_York';
SET datestyle = 'SQL, DMY';
SET extra_float_digits = 0;
SELECT md5(meter_dashboard('2020-05-04Z', '2020-05-05Z', 'acme')) = :'utc' AS same;
COMMIT;
RESET datestyle;
RESET extra_float_digits;
SET timezone = 'UTC';

-- One tenant: its figures only.
INSERT INTO page SELECT 2, xmlparse(document meter_dashboard('2020-05-04', '2020-05-05', $$<b>"x" & 'y'</b>$$));
SELECT unnest(xpath('//head/title/text() | //h1/text() | //h2/text()', page)) AS title FROM page WHERE n = 2;
SELECT id, value FROM page, XMLTABLE('//data[@id]' PASSING page COLUMNS id text PATH '@id', value text PATH '@value') WHERE n = 2;
SELECT page::text ~ 'acme|script' AS of_others FROM page WHERE n = 2;
SELECT (xpath('//data[@id="requests"]/@value', xmlparse(document meter_dashboard('2020-05-04', '2020-05-05', 'nobody'))))[1] AS of_nobody;

-- Prices that cannot be applied, for want of an exchange rate, keep nothing else from being seen.
INSERT INTO meter.tenant (tenant, currency, started_on) VALUES ('euro', 'EUR', '2020-01-01');
INSERT INTO meter.price (price, tenant, metric, model, params, currency) VALUES ('calls', 'euro', 'api_requests', 'per_unit', '{"unit_amount": 1}', 'USD');
SELECT meter_track('euro', cost => 0.5, at => now());
SELECT meter_flush() IS NOT NULL, meter_rollup() > 0;
\set VERBOSITY sqlstate
SELECT count(*) FROM meter_project('euro');
\set VERBOSITY default
SELECT value FROM XMLTABLE('//data[@id="cost"]' PASSING xmlparse(document meter_dashboard(tenant => 'euro')) COLUMNS value numeric PATH '@value');

-- Who may see it.
CREATE ROLE regress_app;
CREATE ROLE regress_analyst;
CREATE ROLE regress_acme;
CREATE ROLE regress_none;
SELECT meter_grant('regress_app', 'app'), meter_grant('regress_analyst', 'analyst'), meter_grant('regress_acme', 'tenant'), meter_grant('regress_none', 'tenant');
INSERT INTO meter.tenant (tenant, role_name) VALUES ('acme', 'regress_acme');
SET ROLE regress_app;
SELECT meter_dashboard();
SET ROLE regress_analyst;
SELECT (xpath('//data[@id="requests"]/@value', page))[1] AS requests, cardinality(xpath('//h2', page)) AS sections
FROM (SELECT xmlparse(document meter_dashboard('2020-05-04', '2020-05-05')) AS page) AS p;
-- a tenant's role sees its own, with or without its name, and no sections about the platform
SET ROLE regress_acme;
SELECT (xpath('//h1/text()', page))[1] AS title, (xpath('//data[@id="requests"]/@value', page))[1] AS requests, page::text ~ '>v0|/v1/b|&lt;b' AS of_others
FROM unnest('{acme,NULL}'::text[]) AS t CROSS JOIN LATERAL (SELECT xmlparse(document meter_dashboard('2020-05-04', '2020-05-05', t)) AS page) AS p;
SELECT unnest(xpath('//h2/text()', xmlparse(document meter_dashboard('2020-05-04', '2020-05-05')))) AS section;
SELECT meter_dashboard('2020-05-04', '2020-05-05', $$<b>"x" & 'y'</b>$$);
-- nor does a role of no tenant, or a context of one
SET ROLE regress_none;
SELECT (xpath('//data[@id="requests"]/@value', xmlparse(document meter_dashboard('2020-05-04', '2020-05-05'))))[1] AS requests;
SELECT meter_dashboard('2020-05-04', '2020-05-05', 'acme');
SET ROLE regress_analyst;
BEGIN;
SELECT meter_set_tenant('acme', local => true) IS NOT NULL AS set;
SELECT (xpath('//data[@id="requests"]/@value', xmlparse(document meter_dashboard('2020-05-04', '2020-05-05'))))[1] AS requests;
SELECT meter_dashboard(tenant => 'other');
ROLLBACK;
RESET ROLE;

SET client_min_messages = warning;
DROP OWNED BY regress_app, regress_analyst, regress_acme, regress_none;
DROP ROLE regress_app, regress_analyst, regress_acme, regress_none;

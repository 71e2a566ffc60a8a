-- meter_maintain(): partitions made ahead, expired data dropped
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

SELECT action, count(*) FROM meter_maintain() GROUP BY action ORDER BY action;
SELECT count(*) FROM meter_maintain();
-- today and seven days, this month and the next one
SELECT bool_and(to_regclass('meter.event_p' || to_char(now() AT TIME ZONE 'UTC' + i * interval '1 day', 'YYYYMMDD')) IS NOT NULL)
FROM generate_series(0, 7) AS i;
SELECT count(*) FROM pg_inherits WHERE inhparent IN ('meter.usage_hourly'::regclass, 'meter.usage_user_daily'::regclass);
SELECT bool_and(i.n = 2) FROM pg_inherits AS h, LATERAL (SELECT count(*) AS n FROM pg_index WHERE indrelid = inhrelid) AS i
WHERE inhparent = 'meter.event'::regclass;

-- old partitions go once they are past the retention and every consumer has read them
SELECT meter_track('acme', at => now() - interval '50 days');
SELECT meter_track('acme', at => now() - interval '20 days');
SELECT meter_track('acme', at => now());
SELECT appended FROM meter_flush();
SET meter.retention = '30d';
SELECT action, detail FROM meter_maintain();
SELECT meter_rollup();
INSERT INTO meter.consumer (name) VALUES ('slow');
SELECT action, detail FROM meter_maintain();
UPDATE meter.consumer SET last_seq = 3 WHERE name = 'slow';
SELECT action, object = 'meter.event_p' || to_char((now() - interval '50 days') AT TIME ZONE 'UTC', 'YYYYMMDD') AS that_day FROM meter_maintain();
SELECT count(*), min(seq) FROM meter.event;
SELECT count(*), min(first_seq) FROM meter.event_partition;
SELECT count(*) FROM meter_maintain();
-- what was rolled up stays
SELECT sum(events) FROM meter.usage_hourly;
-- the day of the retention's edge stays as long as any of it is young enough
SET meter.retention = '20d';
SELECT count(*) FROM meter_maintain();
-- alerts that were over before that go, with their incidents, notifications and silences
INSERT INTO meter.incident (incident_id, severity, status, title, opened_at, resolved_at) VALUES
	('00000000-0000-0000-0000-000000000001', 'warning', 'resolved', 'old', now() - interval '50 days', now() - interval '21 days'),
	('00000000-0000-0000-0000-000000000002', 'warning', 'resolved', 'new', now() - interval '50 days', now() - interval '19 days'),
	('00000000-0000-0000-0000-000000000003', 'warning', 'open', 'open', now() - interval '50 days', NULL);
INSERT INTO meter.incident_update (incident_id, n, at, kind) SELECT incident_id, 1, opened_at, 'fired' FROM meter.incident;
INSERT INTO meter.alert (rule, signal, severity, state, title, value, peak, threshold, started_at, measured_at, resolved_at)
SELECT title, 'error_rate', severity, CASE status WHEN 'open' THEN 'firing' ELSE status END, title, 1, 1, 1, opened_at, opened_at, resolved_at
FROM meter.incident;
INSERT INTO meter.notification (severity, kind, signal, title, body, created_at)
SELECT 'info', 'e', 'error_rate', d, '{}', now() - d * interval '1 day' FROM unnest(ARRAY[19, 21]) AS d;
INSERT INTO meter.silence (tenant, starts_at, ends_at) SELECT d, now() - interval '50 days', now() - d * interval '1 day'
FROM unnest(ARRAY[19, 21]) AS d;
SELECT * FROM meter_maintain();
SELECT i.title, u.n, a.state FROM meter.incident AS i JOIN meter.incident_update AS u USING (incident_id)
JOIN meter.alert AS a ON a.rule = i.title ORDER BY i.title;
SELECT title FROM meter.notification;
SELECT tenant FROM meter.silence;
SELECT count(*) FROM meter.incident_update;
-- 0 keeps everything
SET meter.retention = 0;
SELECT count(*) FROM meter_maintain();

-- idempotency keys and refused events expire
RESET meter.retention;
SELECT meter_track('acme', idempotency_key => 'old');
SELECT meter_track('acme', idempotency_key => 'new');
UPDATE meter.idempotency_key SET seen_at = now() - interval '36 days' WHERE key = 'old';
SELECT result FROM meter_track_batch('[{"tenant": ""}, {"tenant": ""}]');
UPDATE meter.rejected_event SET rejected_at = now() - interval '91 days' WHERE ctid = '(0,1)';
SELECT * FROM meter_maintain();
SELECT key FROM meter.idempotency_key;
SELECT count(*) FROM meter.rejected_event;

-- what was dropped and rolled up is not lost when the retention is raised again: its hours take
-- counters, but nothing that would have to compute them anew
INSERT INTO meter.metric (metric, kind) VALUES ('level', 'gauge');
SELECT meter_track('back', quantity => 100, at => date_trunc('hour', now() - interval '29 days'));
SELECT meter_track('back', 'level', 7, at => date_trunc('hour', now() - interval '29 days'));
SELECT appended FROM meter_flush();
SELECT meter_rollup();
UPDATE meter.consumer SET last_seq = 1000 WHERE name = 'slow';
SET meter.retention = '20d';
SELECT count(*) > 0 FROM meter_maintain() WHERE action = 'dropped';
SELECT dropped_through = ((now() - interval '29 days') AT TIME ZONE 'UTC')::date FROM meter.log_position;
SET meter.retention = '60d';
SELECT meter_track('back', quantity => 5, idempotency_key => 'b', at => date_trunc('hour', now() - interval '29 days'));
SELECT meter_track('back', 'level', 3, at => date_trunc('hour', now() - interval '29 days'));
SELECT * FROM meter_flush();
SELECT meter_correct('back', 'b', quantity => 6);
SELECT * FROM meter_flush();
SELECT meter_rollup();
SELECT metric, events, quantity FROM meter.usage_hourly WHERE tenant = 'back' ORDER BY metric;
SELECT sqlstate, regexp_replace(reason, 'for .* any more', 'for <time> any more') AS reason FROM meter.rejected_event WHERE tenant = 'back';

-- other tables of the schema, and partitions that are none of ours, are left alone
CREATE TABLE meter.event_notes (n int);
SET meter.retention = '1min';
SELECT object FROM meter_maintain() WHERE object LIKE '%notes%';
DROP TABLE meter.event_notes;

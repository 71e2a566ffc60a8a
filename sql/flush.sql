-- COPY meter.inbox and meter_flush(): order, checks of the bulk path, what is refused
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

SET meter.retention = 0;
COPY meter.inbox (at, tenant, endpoint, method, status, latency_ms, quantity, idempotency_key, metadata) FROM STDIN;
2026-03-01 10:00:00+00	acme	/v1/users/1	GET	200	10	1	\N	\N
2026-03-01 11:00:00+00	acme	/v1/users/2?token=abcdefghij	GET	200	20	1	a	{"password": "x"}
2026-03-02 12:00:00+00	acme	/v1/users/3	GET	500	30	1	b	\N
2026-03-02 12:00:00+00	acme	/v1/users/3	GET	500	30	1	b	\N
2026-03-02 12:00:00+00	\N	/v1/users/4	GET	200	40	1	\N	\N
2026-03-02 12:00:00+00		/v1/users/4	GET	200	40	1	\N	\N
\N	acme	/v1/users/4	GET	200	40	1	\N	\N
2026-03-02 12:00:00+00	acme	/v1/users/4	GET	1200	40	1	\N	\N
2026-03-02 12:00:00+00	acme	/v1/users/4	GET	200	-40	1	\N	\N
2026-03-02 12:00:00+00	acme	/v1/users/4	GET	200	NaN	1	\N	\N
2026-03-02 12:00:00+00	acme	/v1/users/4	GET	200	40	NaN	\N	\N
2026-03-02 12:00:00+00	acme	/v1/users/4	GET	200	40	-7	\N	{"secret": "s3cr3t"}
2026-03-02 12:00:00+00	acme	/v1/users/4	GET	200	40	\N	\N	\N
2026-03-02 12:00:00+00	acme	/v1/users/4	GET	200	40	1	\N	[1]
2126-03-02 12:00:00+00	acme	/v1/users/4	GET	200	40	1	\N	\N
infinity	acme	/v1/users/4	GET	200	40	1	\N	\N
2026-03-01 09:00:00+00	zeta	/v1/users/5	GET	200	50	1	\N	\N
\.
SELECT * FROM meter_flush();
SELECT * FROM meter_flush();
SELECT seq, at, tenant, endpoint, status, latency_ms, idempotency_key, metadata, corrects, superseded_by
FROM meter.event ORDER BY seq;
SELECT source, sqlstate, regexp_replace(reason, 'It is .*', 'It is <value>') AS reason, tenant, event ->> 'endpoint' AS endpoint
FROM meter.rejected_event ORDER BY rejected_at;
SELECT event - 'received_at' AS event FROM meter.rejected_event WHERE reason LIKE 'quantity must not be neg%';
SELECT count(*) FROM meter.inbox;
-- a row too large to keep is kept without its content
INSERT INTO meter.inbox (tenant, status, error_message) VALUES ('acme', 1, repeat('x', 1000000));
SELECT * FROM meter_flush();
SELECT tenant, event FROM meter.rejected_event WHERE event = '{}';
SELECT * FROM meter.event_partition ORDER BY day;
SELECT last_seq FROM meter.log_position;

-- what is tracked goes to the end of the log; a key of the bulk path is known to it
SELECT meter_track('acme', at => '2026-02-28 23:59:59.999999+00');
SELECT meter_track('acme', at => '2026-03-01 00:00:00+00');
SELECT meter_track('acme', idempotency_key => 'a');
SELECT * FROM meter_flush();
SELECT seq, at, tableoid::regclass FROM meter.event WHERE seq > 4 ORDER BY seq;
SELECT * FROM meter.event_partition ORDER BY day;

-- a day is a day of UTC in every time zone and date style, also before 2000
SET timezone = 'Pacific/Kiritimati';
SET datestyle = 'German';
SELECT meter_track('acme', at => '1999-12-31 23:59:59.5+00');
SELECT meter_track('acme', at => '2000-01-01 00:00:00+00');
SELECT appended FROM meter_flush();
SELECT seq, tableoid::regclass FROM meter.event WHERE seq > 6 ORDER BY seq;
RESET datestyle;
SET timezone = 'UTC';

-- an event that was young enough when it was tracked, but is not any more
SELECT meter_track('acme', at => now() - interval '10 days');
SET meter.retention = '5d';
SELECT * FROM meter_flush();
SELECT count(*) FROM meter.rejected_event WHERE reason LIKE 'event time is older than the retention%';
SET meter.retention = 0;

-- a flush that rolls back has not happened
SELECT meter_track('acme', at => '2026-03-01 00:00:00+00');
BEGIN;
SELECT * FROM meter_flush();
ROLLBACK;
SELECT count(*) FROM meter.inbox;
SELECT * FROM meter_flush();

-- many days at once, more than are kept open, and in many orders
INSERT INTO meter.inbox (at, tenant) SELECT timestamptz '2026-05-01 00:00+00' + (i * 7 % 40) * interval '1 day', 'days'
FROM generate_series(1, 4000) AS i;
SELECT * FROM meter_flush();
SELECT count(*), count(DISTINCT seq), max(seq) - min(seq) + 1 AS span, count(DISTINCT tableoid) AS partitions
FROM meter.event WHERE tenant = 'days';
SELECT bool_and(p.events = e.n AND p.first_seq = e.lo AND p.last_seq = e.hi)
FROM meter.event_partition AS p
JOIN (SELECT (at AT TIME ZONE 'UTC')::date AS day, count(*) AS n, min(seq) AS lo, max(seq) AS hi
      FROM meter.event GROUP BY 1) AS e USING (day);

-- a name of ours that is taken by a table that is no partition
ALTER TABLE meter.event DETACH PARTITION meter.event_p20260301;
SELECT meter_track('acme', at => '2026-03-01 10:00+00');
SELECT * FROM meter_flush();
ALTER TABLE meter.event ATTACH PARTITION meter.event_p20260301 FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-03-02 00:00+00');
SELECT * FROM meter_flush();

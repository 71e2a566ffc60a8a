-- examples/demo/replay.sql: requests from a CSV file into the inbox.
--
-- Run by run.sh with the file as standard input.  Columns, in this order:
-- at, tenant, user_id, request_id, method, endpoint, status, bytes, latency_ms.
-- Times without a zone are UTC.  A line that meter cannot accept, such as one
-- without tenant, is not lost: the flush puts it into meter.rejected_event.

SET timezone = 'UTC';

CREATE TEMP TABLE request (
	at timestamptz,
	tenant text,
	user_id text,
	request_id text,
	method text,
	endpoint text,
	status integer,
	bytes bigint,
	latency_ms double precision
);

\copy request FROM pstdin WITH (FORMAT csv, HEADER)

INSERT INTO meter.inbox (at, tenant, metric, service, endpoint, method, status,
	latency_ms, user_id, request_id, metadata)
SELECT at, tenant, 'api_requests', 'api', endpoint, method, status,
	latency_ms, user_id, request_id, jsonb_build_object('bytes', bytes)
FROM request;

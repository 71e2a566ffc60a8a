-- meter_track_batch(): JSON events and CloudEvents, each with its own result
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';

SELECT * FROM meter_track_batch('[
	{"tenant": "acme", "endpoint": "/v1/users/42", "method": "GET", "status": 200, "latency_ms": 12.5,
	 "user_id": "u1", "cost": "0.0004", "service": "api", "request_id": "r1", "metadata": {"region": "eu"}},
	{"tenant": "acme", "metric": "tokens", "quantity": 1500},
	{"tenant": "acme", "quantity": "2.50", "status": "404", "error_message": "token=abcdef12345"},
	{"tenant": "acme", "idempotency_key": "k1"},
	{"tenant": "acme", "idempotency_key": "k1"},
	{"tenant": "other", "idempotency_key": "k1"},
	{"tenant": "acme", "user_id": 17, "service": null}
]');
SELECT tenant, metric, quantity, service, endpoint, method, status, latency_ms, user_id, cost, metadata,
	request_id, error_message, idempotency_key
FROM meter.inbox ORDER BY metric, quantity, tenant, idempotency_key, user_id;

-- a key seen in an earlier call, and a single object
SELECT * FROM meter_track_batch('{"tenant": "acme", "idempotency_key": "k1"}');
SELECT tenant, key, repeats FROM meter.idempotency_key ORDER BY tenant, key;

-- bad elements are told and kept, the good one between them is stored
TRUNCATE meter.inbox;
SELECT * FROM meter_track_batch('[
	{"tenent": "acme"},
	{"endpoint": "/x"},
	{"tenant": ""},
	{"tenant": 5, "quantity": true},
	{"tenant": "acme", "quantity": "12abc"},
	{"tenant": "acme", "quantity": "1e1000000"},
	{"tenant": "acme", "quantity": ""},
	{"tenant": "acme", "quantity": "NaN"},
	{"tenant": "acme", "quantity": -1},
	{"tenant": "acme", "quantity": []},
	{"tenant": "good", "quantity": "1e2"},
	{"tenant": "acme", "status": 200.5},
	{"tenant": "acme", "status": "abc"},
	{"tenant": "acme", "status": 1e400},
	{"tenant": "acme", "latency_ms": 1e400},
	{"tenant": "acme", "latency_ms": -1},
	{"tenant": "acme", "at": "yesterday"},
	{"tenant": "acme", "at": "2026-02-30T00:00:00Z"},
	{"tenant": "acme", "at": 1700000000},
	{"tenant": "acme", "at": "infinity"},
	{"tenant": "acme", "metadata": []},
	{"tenant": "acme", "metadata": "x"},
	"text",
	17,
	null,
	[]
]');
SELECT tenant, quantity FROM meter.inbox;
SELECT source, sqlstate, reason, tenant, event FROM meter.rejected_event ORDER BY rejected_at, reason LIMIT 5;
SELECT count(*) FROM meter.rejected_event;

-- CloudEvents: subject is the tenant, type the metric, source and id the key
TRUNCATE meter.inbox, meter.rejected_event;
SET meter.retention = 0;
SELECT * FROM meter_track_batch('[
	{"specversion": "1.0", "id": "e-1", "source": "/gateway", "type": "tokens", "subject": "acme",
	 "time": "2026-03-04T05:06:07.123456Z", "datacontenttype": "application/json", "traceparent": "00-abc",
	 "data": {"quantity": 42, "endpoint": "/v1/chat", "model": "gpt-4", "metadata": {"region": "us"}}},
	{"specversion": "1.0", "id": "e-1", "source": "/gateway", "type": "tokens", "subject": "acme"},
	{"specversion": "1.0", "id": "e-1", "source": "/elsewhere", "type": "tokens", "subject": "acme", "data": null},
	{"specversion": "0.3", "id": "e-2", "source": "/gateway", "type": "tokens", "subject": "acme"},
	{"specversion": "1.0", "id": "", "source": "/gateway", "type": "tokens", "subject": "acme"},
	{"specversion": "1.0", "source": "/gateway", "type": "tokens", "subject": "acme"},
	{"specversion": "1.0", "id": "e-3", "source": "/gateway", "type": "tokens"},
	{"specversion": "1.0", "id": "e-4", "source": "/gateway", "type": "tokens", "subject": "acme", "data": "x"},
	{"specversion": "1.0", "id": "e-5", "source": "/gateway", "type": "tokens", "subject": "acme", "time": "noon"}
]');
SELECT tenant, metric, quantity, endpoint, idempotency_key, metadata FROM meter.inbox ORDER BY idempotency_key DESC;
SELECT at FROM meter.inbox WHERE idempotency_key = '/gateway#e-1';

-- what is no batch at all
SELECT * FROM meter_track_batch('5');
SELECT * FROM meter_track_batch('"x"');
SELECT * FROM meter_track_batch('[]');
SELECT * FROM meter_track_batch(NULL);

-- all of a batch rolls back with its caller
TRUNCATE meter.inbox;
BEGIN;
SELECT result FROM meter_track_batch('[{"tenant": "acme", "idempotency_key": "k9"}]');
ROLLBACK;
SELECT result FROM meter_track_batch('[{"tenant": "acme", "idempotency_key": "k9"}]');

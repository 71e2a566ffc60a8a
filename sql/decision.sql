-- meter.decision and meter_headers(): what HTTP is told
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'Asia/Kolkata';

SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'meter.decision'::regclass ORDER BY attnum;
SELECT attname FROM pg_attribute
WHERE attrelid = 'meter.decision'::regclass AND col_description(attrelid, attnum) IS NULL;

CREATE FUNCTION headers(decision jsonb, reset text DEFAULT 'epoch') RETURNS TABLE (field text, value text)
LANGUAGE SQL BEGIN ATOMIC
	SELECT key, value
	FROM jsonb_each_text(meter_headers(jsonb_populate_record(NULL::meter.decision, decision), reset))
	ORDER BY key COLLATE "C";
END;
\pset tuples_only on
\pset format unaligned
\pset fieldsep ': '

-- allowed.  2024-01-15 10:00 UTC is 1705312800; all times are rounded up, what remains is rounded down
\set allowed '{"allowed": true, "rule": "per-minute", "limit": 100, "remaining": 99.7, "reset_at": "2024-01-15T09:59:59.2Z", "reason": "ok", "unit": "requests", "period": "1 minute"}'
SELECT * FROM headers(:'allowed');
SELECT * FROM headers(:'allowed', 'iso') WHERE field ~ 'Reset';
SELECT * FROM headers(:'allowed', 'delta') WHERE field ~ 'Reset';
-- a whole second stays
SELECT * FROM headers(:'allowed'::jsonb || '{"reset_at": "2024-01-15T10:00:00Z"}', 'epoch') WHERE field ~ 'Reset';
SELECT * FROM headers(:'allowed'::jsonb || '{"reset_at": "2024-01-15T10:00:00Z"}', 'iso') WHERE field ~ 'Reset';
SELECT * FROM headers(:'allowed'::jsonb || '{"reset_at": "2024-12-31T23:59:59.000001Z"}', 'iso') WHERE field ~ 'Reset';

-- seconds from now
SELECT * FROM headers(:'allowed'::jsonb || jsonb_build_object('reset_at', clock_timestamp() + '29.9 s'), 'delta');
BEGIN;
SELECT pg_sleep(0.2);
SELECT * FROM headers(:'allowed'::jsonb || jsonb_build_object('reset_at', clock_timestamp() + '29.9 s'), 'delta')
WHERE field ~ 'Reset';
COMMIT;

-- refused: when to try again, at least a second
\set refused '{"allowed": false, "rule": "per-minute", "limit": 100, "remaining": 0.3, "reset_at": "2024-01-15T10:00:59.8Z", "retry_after": "00:00:00.42", "reason": "rate", "unit": "requests", "period": "1 minute"}'
SELECT * FROM headers(:'refused');
SELECT * FROM headers(:'refused'::jsonb || '{"retry_after": "00:00:00"}') WHERE field ~ 'Retry';
SELECT * FROM headers(:'refused'::jsonb || '{"retry_after": "00:00:12"}') WHERE field ~ 'Retry';
SELECT * FROM headers(:'refused'::jsonb || '{"retry_after": "00:00:12.000001"}') WHERE field ~ 'Retry';
SELECT * FROM headers(:'refused'::jsonb || '{"retry_after": "2 days 03:00:00"}') WHERE field ~ 'Retry';
-- never, and not refused
SELECT * FROM headers(:'refused'::jsonb || '{"retry_after": null, "reason": "too_costly"}') WHERE field ~ 'Retry';
SELECT * FROM headers(:'refused'::jsonb || '{"allowed": true}') WHERE field ~ 'Retry';

-- a quota only; a month of the calendar counts as 30 days
\set quota '{"allowed": true, "quota_limit": 10000, "quota_remaining": 500, "quota_reset": "2024-02-01T00:00:00+09", "reason": "ok", "warning": 95, "quota_rule": "per-month", "quota_period": "1 mon"}'
SELECT * FROM headers(:'quota');
SELECT * FROM headers(:'quota', 'iso') WHERE field ~ 'Reset';
SELECT * FROM headers(:'quota'::jsonb || '{"allowed": false, "quota_remaining": 0, "reason": "quota", "retry_after": "13:00:00"}');
-- a soft one that is exceeded
SELECT * FROM headers(:'quota'::jsonb || '{"quota_remaining": -20, "warning": 100}') WHERE field ~ 'emaining|^RateLimit$';

-- both
SELECT * FROM headers(:'quota'::jsonb || :'allowed'::jsonb);
-- the same rule is told of once
SELECT * FROM headers(:'quota'::jsonb || :'allowed'::jsonb || '{"quota_rule": "per-minute"}') WHERE field ~ '^RateLimit';

-- nothing limits, or to any amount
SELECT meter_headers(NULL);
SELECT meter_headers(jsonb_populate_record(NULL::meter.decision, '{"allowed": true, "reason": "no_rule"}'));
SELECT * FROM headers('{"allowed": true, "rule": "per-hour", "remaining": null, "reset_at": "2024-01-15T10:00:00Z", "reason": "ok", "period": "1 hour", "quota_rule": "per-month", "quota_reset": "2024-02-01T00:00:00Z", "quota_period": "1 mon"}');
SELECT * FROM headers(:'quota'::jsonb || '{"rule": "per-hour", "period": "1 hour", "reset_at": "2024-01-15T10:00:00Z"}');
-- nothing at all is admitted
SELECT * FROM headers(:'refused'::jsonb || '{"limit": 0, "remaining": 0, "reset_at": null, "retry_after": null}');

-- cost: decimals in the limit, without zeros at the end
SELECT * FROM headers('{"allowed": true, "rule": "spend", "limit": 12.50, "remaining": 11.999999999, "reset_at": "2024-01-15T10:00:00Z", "reason": "ok", "unit": "cost", "period": "1 hour", "quota_rule": "spend-day", "quota_limit": 10.000000000, "quota_remaining": 9.75, "quota_reset": "2024-01-16T00:00:00Z", "quota_period": "1 day"}');
SELECT * FROM headers('{"allowed": true, "rule": "spend", "limit": 0.05, "remaining": 0.02, "reset_at": "2024-01-15T10:00:00Z", "reason": "ok", "unit": "cost", "period": "1 second"}');

-- names as quoted strings; unknown ones; the largest integer of structured fields
SELECT * FROM headers(:'allowed'::jsonb || '{"rule": "a \"b\" \\ c"}') WHERE field ~ '^RateLimit';
SELECT * FROM headers(:'allowed'::jsonb || '{"rule": "größer\n日本"}') WHERE field ~ '^RateLimit';
SELECT * FROM headers(:'allowed'::jsonb || '{"rule": null, "period": null, "reset_at": null}');
SELECT * FROM headers(:'quota'::jsonb || '{"quota_rule": null, "quota_period": "00:00:00.5"}') WHERE field ~ '^RateLimit';
SELECT * FROM headers(:'allowed'::jsonb || '{"limit": 1000000000000000, "remaining": 1000000000000000}');
SELECT * FROM headers(:'allowed'::jsonb || '{"reset_at": "infinity"}');

-- values are strings
SELECT DISTINCT jsonb_typeof(value) FROM jsonb_each(meter_headers(jsonb_populate_record(NULL::meter.decision, :'refused')));

-- another form of reset times is an error, also when there are none
\set VERBOSITY terse
SELECT meter_headers(NULL, 'http');
SELECT meter_headers(NULL, NULL);
SELECT * FROM headers(:'allowed', 'EPOCH');

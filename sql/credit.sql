-- credits: what can be one, and what is left of it
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET datestyle = 'ISO, YMD';

INSERT INTO meter.credit (tenant, credit_id, amount, currency, priority, valid_from, expires_on, reason) VALUES
	('acme', '00000000-0000-0000-0000-000000000001', 100, 'EUR', 1, '2026-01-01', '2027-01-01', 'sorry'),
	('acme', '00000000-0000-0000-0000-000000000002', 100, 'EUR', DEFAULT, DEFAULT, NULL, NULL),
	('hooli', '00000000-0000-0000-0000-000000000001', 0.001, DEFAULT, -5, DEFAULT, NULL, NULL);
INSERT INTO meter.credit (tenant, amount) VALUES ('globex', 5);
INSERT INTO meter.credit_use (tenant, credit_id, month, revision, amount) VALUES
	('acme', '00000000-0000-0000-0000-000000000001', '2026-01-01', 1, 60.5),
	('acme', '00000000-0000-0000-0000-000000000001', '2026-02-01', 1, 39.5),
	('acme', '00000000-0000-0000-0000-000000000002', '2026-02-01', 1, 20),
	('hooli', '00000000-0000-0000-0000-000000000002', '2026-02-01', 1, 7);
SELECT tenant, right(credit_id::text, 1) AS id, amount, currency, priority, valid_from, expires_on, reason, used, b.left
FROM meter.credit_balance AS b WHERE tenant <> 'globex' ORDER BY tenant, credit_id;
SELECT tenant, used, b.left, now() - created_at < '1 minute' AS just_now FROM meter.credit_balance AS b WHERE tenant = 'globex';

-- what cannot be a credit
\set VERBOSITY terse
INSERT INTO meter.credit (tenant, amount) VALUES ('', 5);
INSERT INTO meter.credit (tenant, amount) VALUES (NULL, 5);
INSERT INTO meter.credit (tenant, amount) VALUES ('acme', 0);
INSERT INTO meter.credit (tenant, amount) VALUES ('acme', -5);
INSERT INTO meter.credit (tenant, amount) VALUES ('acme', 'NaN');
INSERT INTO meter.credit (tenant, amount) VALUES ('acme', 'Infinity');
INSERT INTO meter.credit (tenant, amount, currency) VALUES ('acme', 5, 'Eur');
INSERT INTO meter.credit (tenant, amount, valid_from, expires_on) VALUES ('acme', 5, '2026-01-01', '2026-01-01');
INSERT INTO meter.credit (tenant, amount, expires_on) VALUES ('acme', 5, 'infinity');
INSERT INTO meter.credit (tenant, amount, valid_from) VALUES ('acme', 5, '-infinity');
INSERT INTO meter.credit (tenant, credit_id, amount) VALUES ('acme', '00000000-0000-0000-0000-000000000001', 5);

-- nor a use of one
INSERT INTO meter.credit_use (tenant, credit_id, month, revision, amount) VALUES ('acme', gen_random_uuid(), '2026-01-02', 1, 1);
INSERT INTO meter.credit_use (tenant, credit_id, month, revision, amount) VALUES ('acme', gen_random_uuid(), 'infinity', 1, 1);
INSERT INTO meter.credit_use (tenant, credit_id, month, revision, amount) VALUES ('acme', gen_random_uuid(), '2026-01-01', 0, 1);
INSERT INTO meter.credit_use (tenant, credit_id, month, revision, amount) VALUES ('acme', gen_random_uuid(), '2026-01-01', 1, -1);
INSERT INTO meter.credit_use (tenant, credit_id, month, revision, amount) VALUES ('acme', gen_random_uuid(), '2026-01-01', 1, 'NaN');
INSERT INTO meter.credit_use (tenant, credit_id, month, revision, amount) VALUES ('acme', '00000000-0000-0000-0000-000000000001', '2026-01-01', 1, 1);

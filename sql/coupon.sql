-- coupons: what can be one, and who has it
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET datestyle = 'ISO, YMD';

INSERT INTO meter.coupon (coupon, percent, amount, currency, valid_from, valid_to, description) VALUES
	('SPRING', 10, NULL, NULL, '2026-03-01', '2026-06-01', 'ten percent'),
	('WELCOME', NULL, 5, 'EUR', DEFAULT, NULL, NULL),
	('ALL', 100, NULL, NULL, DEFAULT, NULL, NULL);
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from, periods) VALUES
	('acme', 'SPRING', '2026-03-10', 3), ('acme', 'WELCOME', '2026-01-01', NULL), ('hooli', 'SPRING', '2026-04-01', 1);
SELECT c.coupon, c.percent, c.amount, c.currency, c.valid_from, c.valid_to, c.description FROM meter.coupon AS c ORDER BY c.coupon;
SELECT t.tenant, t.coupon, t.valid_from, t.periods FROM meter.tenant_coupon AS t ORDER BY t.tenant, t.coupon;

-- another name goes along; one that somebody has stays
UPDATE meter.coupon SET coupon = 'HELLO' WHERE coupon = 'WELCOME';
SELECT t.tenant, t.coupon FROM meter.tenant_coupon AS t ORDER BY t.tenant, t.coupon;
DELETE FROM meter.coupon WHERE coupon = 'HELLO';
DELETE FROM meter.coupon WHERE coupon = 'ALL';

-- what cannot be a coupon
\set VERBOSITY terse
INSERT INTO meter.coupon (coupon, percent) VALUES ('', 10);
INSERT INTO meter.coupon (coupon, percent) VALUES (repeat('x', 65), 10);
INSERT INTO meter.coupon (coupon, percent) VALUES ('SPRING', 10);
INSERT INTO meter.coupon (coupon) VALUES ('X');
INSERT INTO meter.coupon (coupon, percent, amount, currency) VALUES ('X', 10, 5, 'EUR');
INSERT INTO meter.coupon (coupon, amount) VALUES ('X', 5);
INSERT INTO meter.coupon (coupon, percent, currency) VALUES ('X', 10, 'EUR');
INSERT INTO meter.coupon (coupon, percent) VALUES ('X', 0);
INSERT INTO meter.coupon (coupon, percent) VALUES ('X', 100.5);
INSERT INTO meter.coupon (coupon, percent) VALUES ('X', 'NaN');
INSERT INTO meter.coupon (coupon, amount, currency) VALUES ('X', 0, 'EUR');
INSERT INTO meter.coupon (coupon, amount, currency) VALUES ('X', 'NaN', 'EUR');
INSERT INTO meter.coupon (coupon, amount, currency) VALUES ('X', 5, 'euro');
INSERT INTO meter.coupon (coupon, percent, valid_from, valid_to) VALUES ('X', 10, '2026-01-02', '2026-01-02');
INSERT INTO meter.coupon (coupon, percent, valid_from) VALUES ('X', 10, '-infinity');
INSERT INTO meter.coupon (coupon, percent, valid_to) VALUES ('X', 10, 'infinity');

-- nor be had
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from) VALUES ('', 'SPRING', '2026-03-01');
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from) VALUES ('acme', 'SPRING', '2026-03-01');
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from) VALUES ('acme', 'AUTUMN', '2026-03-01');
INSERT INTO meter.tenant_coupon (tenant, coupon) VALUES ('globex', 'SPRING');
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from, periods) VALUES ('globex', 'SPRING', '2026-03-01', 0);
INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from) VALUES ('globex', 'SPRING', 'infinity');

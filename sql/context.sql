-- The tenant for which a session works (src/context.c).
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
RESET client_min_messages;
SET timezone = 'UTC';
INSERT INTO meter.tenant (tenant, schema_name, role_name) VALUES
	('ctx a', 'Context A', 'regress_context_a'), ('ctx_b', 'context_b', 'regress_context_b'),
	('ctx_c', NULL, NULL);
CREATE ROLE regress_context_a;
CREATE ROLE regress_context_b;
CREATE ROLE regress_context_app;
CREATE ROLE regress_context_both;
CREATE ROLE regress_context_one;
GRANT regress_context_a, regress_context_b TO regress_context_both;
GRANT regress_context_a TO regress_context_one;
GRANT EXECUTE ON FUNCTION meter_set_tenant, meter_current_tenant TO PUBLIC;

-- There is none at first, and one can be set and ended.
SELECT meter_current_tenant(), current_setting('meter.tenant');
SELECT meter_set_tenant('ctx a');
SELECT meter_current_tenant(), current_setting('meter.tenant'), current_setting('search_path');
SELECT meter_set_tenant('ctx_c');
SELECT meter_current_tenant(), current_setting('search_path');
SELECT meter_set_tenant(NULL);
SELECT meter_current_tenant(), current_setting('search_path');
SELECT meter_set_tenant('nobody');
SELECT meter_set_tenant('');
SELECT meter_set_tenant('ctx_b', '');
SELECT meter_current_tenant();

-- It is part of the transaction, as SET is, also of a part of it.
BEGIN;
SELECT meter_set_tenant('ctx a');
SAVEPOINT s;
SELECT meter_set_tenant('ctx_b');
SELECT meter_current_tenant(), current_setting('search_path');
ROLLBACK TO s;
SELECT meter_current_tenant(), current_setting('search_path');
ROLLBACK;
SELECT meter_current_tenant(), current_setting('search_path');
SELECT meter_set_tenant('ctx a');
BEGIN;
SELECT meter_set_tenant('ctx_b', local => true);
SELECT meter_current_tenant(), current_setting('search_path');
COMMIT;
SELECT meter_current_tenant(), current_setting('search_path');

-- Nothing else sets it.
SET meter.tenant = 'ctx_b';
SELECT set_config('meter.tenant', 'ctx_b', true);
ALTER ROLE regress_context_app SET meter.tenant = 'ctx_b';
SET ROLE regress_context_app;
SET meter.tenant = 'ctx_b';
RESET meter.tenant;
SELECT set_config('meter.tenant', NULL, false);
RESET ROLE;
SELECT meter_current_tenant();

-- RESET ALL and DISCARD ALL end one without a token ...
RESET ALL;
SELECT meter_current_tenant(), current_setting('search_path');
SELECT meter_set_tenant('ctx a');
DISCARD ALL;
SELECT meter_current_tenant(), current_setting('search_path');

-- ... and not one with a token, which also keeps its search_path.
SELECT meter_set_tenant('ctx a', 'secret');
SELECT meter_set_tenant('ctx_b');
SELECT meter_set_tenant('ctx_b', 'Secret');
SELECT meter_set_tenant('ctx_b', local => true);
SELECT meter_set_tenant(NULL);
RESET ALL;
DISCARD ALL;
SELECT meter_current_tenant(), current_setting('search_path');
BEGIN;
SELECT meter_set_tenant('ctx_b', 'secret', true);
SELECT meter_current_tenant();
SELECT meter_set_tenant('ctx a');
ROLLBACK;
SELECT meter_current_tenant();
SELECT meter_set_tenant(NULL, 'secret');
SELECT meter_current_tenant(), current_setting('search_path');

-- The role says which tenant it is; who is of a tenant can be of no other.
SET ROLE regress_context_a;
SELECT meter_current_tenant();
SELECT meter_set_tenant('ctx_b');
SELECT meter_set_tenant('ctx a');
SELECT meter_set_tenant(NULL);
SELECT meter_current_tenant();
SET ROLE regress_context_one;
SELECT meter_current_tenant();
SET ROLE regress_context_both;
SELECT meter_current_tenant();
SELECT meter_set_tenant('ctx_b');
SELECT meter_current_tenant();
SELECT meter_set_tenant('ctx_c');
SELECT meter_set_tenant(NULL);
RESET ROLE;
REVOKE regress_context_a FROM regress_context_one;
SET ROLE regress_context_one;
SELECT meter_current_tenant();
SET ROLE regress_context_app;
SELECT meter_set_tenant('ctx_c');
SELECT meter_set_tenant(NULL);
RESET ROLE;
UPDATE meter.tenant SET role_name = 'regress_context_one' WHERE tenant = 'ctx_c';
SET ROLE regress_context_one;
SELECT meter_current_tenant();
RESET ROLE;

-- Who belongs to several may work for these only, also without a context.
GRANT EXECUTE ON FUNCTION meter_track(text, text, numeric, text, text, text, integer, double precision, text, numeric, jsonb, text, text, text, timestamptz) TO regress_context_both;
GRANT EXECUTE ON FUNCTION meter_track_batch(jsonb) TO regress_context_both;
SET ROLE regress_context_both;
SELECT meter_track('ctx a'), meter_track('ctx_b'), meter_track('ctx a');
SELECT meter_track('ctx_c');
SELECT meter_track('nobody');
SELECT element, result, sqlstate, reason FROM meter_track_batch('[{"tenant": "ctx a"}, {"tenant": "ctx_c"}]');
RESET ROLE;
UPDATE meter.tenant SET role_name = NULL WHERE tenant = 'ctx_b';
UPDATE meter.tenant SET role_name = 'regress_context_b' WHERE tenant = 'ctx_c';
SET ROLE regress_context_both;
SELECT meter_track('ctx_c');
SELECT meter_track('ctx_b');
RESET ROLE;
UPDATE meter.tenant SET role_name = NULL WHERE tenant = 'ctx_c';
UPDATE meter.tenant SET role_name = 'regress_context_b' WHERE tenant = 'ctx_b';
UPDATE meter.tenant SET role_name = 'regress_context_one' WHERE tenant = 'ctx_c';
SELECT tenant FROM meter.inbox WHERE tenant LIKE 'ctx%';
DELETE FROM meter.inbox WHERE tenant LIKE 'ctx%';
DELETE FROM meter.rejected_event WHERE tenant LIKE 'ctx%';

-- SET ROLE to a role of all tenants' roles lets nobody out of his tenant, but
-- one to a role that he has besides does.
CREATE ROLE regress_context_group;
GRANT regress_context_group TO regress_context_a, regress_context_b;
CREATE ROLE regress_context_login IN ROLE regress_context_a, regress_context_app;
SET SESSION AUTHORIZATION regress_context_login;
SELECT meter_current_tenant();
SET ROLE regress_context_group;
SELECT meter_current_tenant();
SELECT meter_set_tenant('ctx_b');
SELECT meter_set_tenant('ctx a');
SELECT meter_set_tenant(NULL);
SET ROLE regress_context_app;
SELECT meter_current_tenant();
SELECT meter_set_tenant('ctx_b');
SELECT meter_set_tenant(NULL);
SET SESSION AUTHORIZATION regress_context_both;
SET ROLE regress_context_group;
SELECT meter_current_tenant();
SELECT meter_set_tenant('ctx_c');
SELECT meter_set_tenant('ctx_b');
SELECT meter_set_tenant(NULL);
RESET SESSION AUTHORIZATION;
SET ROLE regress_context_group;
SELECT meter_current_tenant();
SELECT meter_set_tenant('ctx_b');
SELECT meter_set_tenant(NULL);
RESET ROLE;
DROP ROLE regress_context_group, regress_context_login;

-- A SECURITY DEFINER function works for the tenant of its caller.
CREATE FUNCTION context_definer() RETURNS text LANGUAGE plpgsql SECURITY DEFINER
AS 'BEGIN RETURN current_user::text || '' for '' || public.meter_current_tenant(); END';
ALTER FUNCTION context_definer() OWNER TO regress_context_b;
SET ROLE regress_context_a;
SELECT context_definer();
RESET ROLE;

-- A parallel query's workers know it.
SELECT meter_set_tenant('ctx a');
SELECT set_config(CASE WHEN current_setting('server_version_num')::integer < 160000
	THEN 'force_parallel_mode' ELSE 'debug_parallel_query' END, 'on', false);
SELECT meter_current_tenant();
SELECT set_config(CASE WHEN current_setting('server_version_num')::integer < 160000
	THEN 'force_parallel_mode' ELSE 'debug_parallel_query' END, 'off', false);

-- Calls for other tenants are refused, whatever meter.isolation is.
SELECT meter_track('ctx a');
SELECT meter_track('ctx_b');
SELECT element, result, sqlstate, reason FROM meter_track_batch('[{"tenant": "ctx a"}, {"tenant": "ctx_b"}, {"tenant": "ctx"}]');
SELECT meter_track_llm('ctx_b', 'openai', 'gpt-4', 1, 1);
SELECT (meter_check('ctx a')).allowed;
SELECT meter_check('ctx_b');
SELECT meter_allow('ctx_b');
SELECT meter_require('ctx_b');
SELECT meter_refund('ctx_b');
SELECT meter_reset_limit('ctx_b');
SELECT meter_correct('ctx_b', seq => 1, void => true);
SELECT meter_void_bill('ctx_b', '2026-09-01', 'wrong');
SELECT meter_set_tenant(NULL);
SELECT tenant FROM meter.inbox WHERE tenant LIKE 'ctx%';

DELETE FROM meter.inbox WHERE tenant LIKE 'ctx%';
DELETE FROM meter.rejected_event WHERE tenant LIKE 'ctx%';
DELETE FROM meter.tenant WHERE tenant LIKE 'ctx%';
DROP FUNCTION context_definer();
REVOKE EXECUTE ON FUNCTION meter_set_tenant, meter_current_tenant FROM PUBLIC;
DROP OWNED BY regress_context_both;
DROP ROLE regress_context_a, regress_context_b, regress_context_app, regress_context_both, regress_context_one;

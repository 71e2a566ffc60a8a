-- context.sql: for which tenant a session works

CREATE FUNCTION @extschema@.meter_set_tenant(
	tenant text,
	token text DEFAULT NULL,
	local boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_set_tenant(text, text, boolean) IS
'Have the session work for a tenant from now on: sets the context and search_path. tenant: of meter.tenant, null ends the context; token: nobody without it can change the context again; local: until the end of the transaction. Errors: 42704 for an unknown tenant, 42501 with the wrong token or for a role of another tenant';

CREATE FUNCTION @extschema@.meter_current_tenant() RETURNS text
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_current_tenant() IS
'The tenant for which the session works: that of meter_set_tenant(), or else the only one whose role the session''s user is or belongs to; null: none';

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

-- What of meter's own tables the user sees; see row_security.sql.
CREATE FUNCTION meter.visible_tenants() RETURNS text[]
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'meter_visible_tenants';
COMMENT ON FUNCTION meter.visible_tenants() IS
'Tenants whose usage and bills the user may see: with a context that tenant; null, which is all, for superusers and who may execute meter.sees_all_tenants(); otherwise those whose role the user is or belongs to';

CREATE FUNCTION meter.sees_all_tenants() RETURNS boolean
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN true;
COMMENT ON FUNCTION meter.sees_all_tenants() IS
'Who may execute this sees the rows of all tenants while there is no context: meter_grant() lets analysts and admins. Returns true';

-- endpoint.sql: route templates of API calls

CREATE FUNCTION @extschema@.meter_normalize_endpoint(endpoint text) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_normalize_endpoint(text) IS
'The route template of an endpoint, as meter_track() stores it when meter.normalize_endpoints is on: without scheme, host, query string and trailing slash, and with :id for every path segment that is an identifier';

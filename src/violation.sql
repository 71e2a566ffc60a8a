-- violation.sql: attempts to reach what is another tenant's

CREATE TABLE meter.isolation_violation (
	at timestamptz NOT NULL,
	role text,
	tenant text COLLATE "C",
	foreign_tenant text COLLATE "C",
	object_type text,
	object text,
	command text NOT NULL,
	query text,
	refused boolean NOT NULL,
	client_address inet,
	application_name text,
	pid integer
);
COMMENT ON TABLE meter.isolation_violation IS
'Who has tried to reach what is another tenant''s? One row for each object that a statement reached, or tried to; also of statements that were rolled back. Kept for meter.retention';
COMMENT ON COLUMN meter.isolation_violation.at IS 'when it was';
COMMENT ON COLUMN meter.isolation_violation.role IS 'who has logged in';
COMMENT ON COLUMN meter.isolation_violation.tenant IS 'tenant for which the session worked; null: none';
COMMENT ON COLUMN meter.isolation_violation.foreign_tenant IS 'whose the object is; null: not known, as of meter.inbox, of statistics and of rows that row security hides';
COMMENT ON COLUMN meter.isolation_violation.object_type IS 'kind of the object, as of pg_identify_object(); null of a call for another tenant';
COMMENT ON COLUMN meter.isolation_violation.object IS 'the object, as of pg_identify_object()';
COMMENT ON COLUMN meter.isolation_violation.command IS 'SELECT, COPY, ALTER TABLE, ..., or the function that was called for another tenant';
COMMENT ON COLUMN meter.isolation_violation.query IS 'what the client has sent, constants replaced by ?, at most 4 kB';
COMMENT ON COLUMN meter.isolation_violation.refused IS 'whether it failed for that; else it was only recorded (meter.isolation = log)';
COMMENT ON COLUMN meter.isolation_violation.client_address IS 'where the client is; null: on the same machine';
COMMENT ON COLUMN meter.isolation_violation.application_name IS 'what the client calls itself';
COMMENT ON COLUMN meter.isolation_violation.pid IS 'the server''s process';
ALTER TABLE meter.isolation_violation REPLICA IDENTITY FULL;
CREATE INDEX isolation_violation_at_idx ON meter.isolation_violation (at);
SELECT pg_catalog.pg_extension_config_dump('meter.isolation_violation', '');

CREATE VIEW meter.isolation_summary WITH (security_invoker) AS
SELECT
	(v.at AT TIME ZONE 'UTC')::date AS day, v.tenant, v.foreign_tenant, v.role,
	pg_catalog.count(*) AS violations,
	pg_catalog.count(*) FILTER (WHERE v.refused) AS refused,
	pg_catalog.count(DISTINCT v.object) AS objects,
	pg_catalog.min(v.at) AS first_at,
	pg_catalog.max(v.at) AS last_at
FROM meter.isolation_violation AS v
GROUP BY 1, v.tenant, v.foreign_tenant, v.role;
COMMENT ON VIEW meter.isolation_summary IS
'Which tenants'' sessions have reached for whose objects, by day (UTC) and role';

CREATE FUNCTION meter.mask_query(query text) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'meter_mask_query';
COMMENT ON FUNCTION meter.mask_query(text) IS
'A query as meter.isolation_violation keeps it: constants replaced by ?, without comments';

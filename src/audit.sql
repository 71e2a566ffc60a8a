-- audit.sql: what in the catalogs lets one tenant reach what is another's
--
-- Each rule of meter.isolation_rule is looked for by one of the queries in
-- audit_dependency.sql, audit_privilege.sql and audit_code.sql, over all
-- tenants at once.  They have in common who owns what, which is here.

CREATE TYPE meter.isolation_finding AS (
	rule integer,
	severity text,
	tenant text,
	other_tenant text,
	object text,
	detail text,
	remedy text
);
COMMENT ON TYPE meter.isolation_finding IS
'What a rule of the audit has found: whose object lets whom in, and the SQL that ends it; severity null is that of the rule';

CREATE VIEW meter.tenant_schema WITH (security_invoker) AS
SELECT t.tenant, n.oid AS schema, n.nspname AS schema_name, n.nspowner AS schema_owner,
	r.oid AS role, t.role_name
FROM meter.tenant AS t
JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) t.schema_name
LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname OPERATOR(pg_catalog.=) t.role_name;
COMMENT ON VIEW meter.tenant_schema IS
'Which schemas are whose: tenants with a schema that is there, and the role that is theirs alone';

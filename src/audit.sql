-- audit.sql: what in the catalogs lets one tenant reach what is another's
--
-- Each rule of meter.isolation_rule is looked for by one of the queries in
-- audit_dependency.sql, audit_body.sql, audit_database.sql, audit_privilege.sql
-- and audit_code.sql, over all tenants at once.  They have in common who owns
-- what, which is here.

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

CREATE VIEW meter.isolation_rule WITH (security_invoker) AS
SELECT v.rule, v.name, v.severity, v.explanation, v.is_static
FROM (VALUES
	(0, 'missing', 'warning', true,
		'The tenant''s schema or role does not exist, so nothing of the tenant is kept apart.'),
	(1, 'foreign key', 'critical', true,
		'A foreign key tells which keys another tenant''s table has, also after all rights on it were taken away, since it is checked with the rights of the tables'' owners.'),
	(2, 'view', 'critical', true,
		'A view reads another tenant''s objects with the rights of its owner.'),
	(3, 'materialized view', 'critical', true,
		'A materialized view keeps a copy of another tenant''s rows, which no right on the original guards.'),
	(4, 'rule', 'critical', true,
		'A rewrite rule turns a statement on one tenant''s table into one on another''s.'),
	(5, 'inheritance', 'critical', true,
		'Who may read the parent table reads the rows of its children, with no right on them.'),
	(6, 'partition', 'critical', true,
		'Who may read or write a partitioned table reads and writes its partitions, with no right on them.'),
	(7, 'trigger', 'critical', true,
		'A trigger hands each row to a function that is another tenant''s, which its owner may replace at any time.'),
	(8, 'expression', 'warning', true,
		'A default, generated column, CHECK constraint, index or partition key calls another tenant''s function, which sees the values and decides on them.'),
	(9, 'sequence', 'warning', true,
		'A sequence is shared by two tenants: it tells one how many rows the other inserts, and each can exhaust it.'),
	(10, 'policy', 'critical', true,
		'Which rows a row-level security policy shows hangs on another tenant''s objects.'),
	(11, 'type', 'warning', true,
		'A column, function or type is of a type that is another tenant''s, who may change or drop it.'),
	(12, 'operator', 'warning', true,
		'An operator, cast, collation or text search object is another tenant''s, whose code runs wherever it is used.'),
	(13, 'statistics', 'critical', true,
		'A statistics object holds samples and most common values of another tenant''s table.'),
	(14, 'function', 'critical', true,
		'A function depends on another tenant''s objects by its SQL-standard body, a default of an argument or a support function.'),
	(15, 'function text', 'warning', false,
		'A function''s text names another tenant''s schema, or puts statements together when it runs. The catalogs do not record what such a text uses, so this is a reading of the text.'),
	(16, 'event trigger', 'warning', true,
		'An event trigger sees the data definition statements of all tenants.'),
	(17, 'replication', 'critical', true,
		'A publication or subscription carries the rows of several tenants to whoever may use it.'),
	(18, 'foreign server', 'warning', false,
		'A foreign table, user mapping or connection made by a function reaches past the rights of its user. What is on the other side, this database does not know.'),
	(19, 'extension', 'warning', false,
		'A scheduled job works on several tenants, or an extension has its objects in a tenant''s schema.'),
	(20, 'public grant', 'critical', true,
		'Everybody has a right on a tenant''s object.'),
	(21, 'tenant grant', 'critical', true,
		'Another tenant''s role has a right on a tenant''s object or on a column of it.'),
	(22, 'default privileges', 'warning', true,
		'Objects made from now on will be open to everybody or to another tenant.'),
	(23, 'schema rights', 'critical', true,
		'Others than the tenant may use its schema or make objects in it, or everybody may make objects in a shared schema.'),
	(24, 'owner', 'critical', true,
		'An object in a tenant''s schema belongs to another tenant, who may do anything with it.'),
	(25, 'membership', 'critical', true,
		'One tenant''s role is a member of another''s.'),
	(26, 'role attributes', 'critical', true,
		'The tenant''s role has an attribute that no right stops: superuser, BYPASSRLS, REPLICATION, CREATEROLE or CREATEDB.'),
	(27, 'predefined role', 'critical', true,
		'The tenant''s role is a member of a predefined role that reads, writes or sees what is not the tenant''s.'),
	(28, 'shared login', 'info', false,
		'One role logs in for several tenants: between them stands only the session''s context, and each sees the others'' statements in pg_stat_activity.'),
	(29, 'grant option', 'warning', true,
		'Who is not the tenant may hand on rights on the tenant''s objects.'),
	(30, 'database rights', 'warning', true,
		'Everybody, or a tenant''s role, has a right on the database as a whole.'),
	(31, 'other rights', 'warning', true,
		'A right on a tablespace, large object, untrusted language or setting is held by everybody or by a tenant''s role.'),
	(32, 'definer search_path', 'critical', true,
		'A SECURITY DEFINER function looks its names up where its caller may plant objects, which then run with the rights of its owner.'),
	(33, 'definer execute', 'critical', true,
		'Everybody may execute a SECURITY DEFINER function, which has the rights of its owner.'),
	(34, 'view rights', 'warning', true,
		'A view or function lets its caller see what the caller has no right on, or learn of rows that it filters out.'),
	(35, 'role settings', 'critical', true,
		'A setting of a role or database puts a session into several tenants'' schemas or another''s, or changes its role or row_security.'),
	(36, 'row security', 'warning', true,
		'Row-level security of a table does not hold for its owner, as whom the tenant works.'),
	(37, 'shadowed table', 'warning', true,
		'A table of the same name is in the schema public, and is used instead of the tenant''s when a session''s search_path is lost.'),
	(38, 'shadowed function', 'critical', true,
		'A function is named like one of meter''s, and comes before it in the search_path of the tenant''s context: whoever calls that without its schema calls this one, which decides and does with the caller''s rights what it likes.')
) AS v(rule, name, severity, is_static, explanation);
COMMENT ON VIEW meter.isolation_rule IS
'What meter_isolation_audit() looks for: the number of each rule, its name, how bad a finding is unless it says otherwise (critical, warning, info), why, and whether the catalogs are certain of it (is_static)';

-- What pg_depend names, and the schema it is in, also of what is in one only as
-- a part of something else.
CREATE VIEW meter.schema_object WITH (security_invoker) AS
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid AS classid, oid AS objid, relnamespace AS schema
FROM pg_catalog.pg_class
UNION ALL
SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typnamespace FROM pg_catalog.pg_type
UNION ALL
SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, pronamespace FROM pg_catalog.pg_proc
UNION ALL
SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, oid, connamespace FROM pg_catalog.pg_constraint
UNION ALL
SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, oid, stxnamespace FROM pg_catalog.pg_statistic_ext
UNION ALL
SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oprnamespace FROM pg_catalog.pg_operator
UNION ALL
SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, oid, collnamespace FROM pg_catalog.pg_collation
UNION ALL
SELECT 'pg_catalog.pg_conversion'::pg_catalog.regclass, oid, connamespace FROM pg_catalog.pg_conversion
UNION ALL
SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass, oid, opcnamespace FROM pg_catalog.pg_opclass
UNION ALL
SELECT 'pg_catalog.pg_opfamily'::pg_catalog.regclass, oid, opfnamespace FROM pg_catalog.pg_opfamily
UNION ALL
SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass, oid, cfgnamespace FROM pg_catalog.pg_ts_config
UNION ALL
SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, oid, dictnamespace FROM pg_catalog.pg_ts_dict
UNION ALL
SELECT 'pg_catalog.pg_ts_parser'::pg_catalog.regclass, oid, prsnamespace FROM pg_catalog.pg_ts_parser
UNION ALL
SELECT 'pg_catalog.pg_ts_template'::pg_catalog.regclass, oid, tmplnamespace FROM pg_catalog.pg_ts_template
UNION ALL
SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, p.oid, c.relnamespace
FROM pg_catalog.pg_rewrite AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.ev_class
UNION ALL
SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, p.oid, c.relnamespace
FROM pg_catalog.pg_trigger AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.tgrelid
UNION ALL
SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, p.oid, c.relnamespace
FROM pg_catalog.pg_attrdef AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.adrelid
UNION ALL
SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid, c.relnamespace
FROM pg_catalog.pg_policy AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid
UNION ALL
SELECT 'pg_catalog.pg_amop'::pg_catalog.regclass, p.oid, f.opfnamespace
FROM pg_catalog.pg_amop AS p JOIN pg_catalog.pg_opfamily AS f ON f.oid = p.amopfamily
UNION ALL
SELECT 'pg_catalog.pg_amproc'::pg_catalog.regclass, p.oid, f.opfnamespace
FROM pg_catalog.pg_amproc AS p JOIN pg_catalog.pg_opfamily AS f ON f.oid = p.amprocfamily
UNION ALL
SELECT 'pg_catalog.pg_transform'::pg_catalog.regclass, p.oid, t.typnamespace
FROM pg_catalog.pg_transform AS p JOIN pg_catalog.pg_type AS t ON t.oid = p.trftype
UNION ALL
-- a cast is in no schema: it is the business of whoever has the type that it casts
SELECT 'pg_catalog.pg_cast'::pg_catalog.regclass, p.oid, t.typnamespace
FROM pg_catalog.pg_cast AS p JOIN pg_catalog.pg_type AS t ON t.oid = p.castsource;
COMMENT ON VIEW meter.schema_object IS
'The schema of each object: classid and objid as in pg_depend';

CREATE FUNCTION meter.object_identity(classid oid, objid oid, objsubid integer) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT o.type || ' ' || o.identity FROM pg_catalog.pg_identify_object(classid, objid, objsubid) AS o);
COMMENT ON FUNCTION meter.object_identity(oid, oid, integer) IS
'An object''s kind and qualified, quoted name, the arguments as in pg_depend';

-- row_security.sql: who works for a tenant sees only its rows

-- Every table with a tenant, but for meter.inbox, which nobody reads, and into
-- which COPY could not write any more.  Rows without a tenant, as prices of a
-- plan, are everybody's.  The sub-selects are evaluated once in a query.
DO $$
DECLARE
	relation regclass;
BEGIN
	FOR relation IN
		SELECT c.oid FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
		WHERE c.relnamespace = 'meter'::pg_catalog.regnamespace AND a.attname = 'tenant'
			AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'inbox'
	LOOP
		EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
		EXECUTE pg_catalog.format('CREATE POLICY visible ON %s USING (tenant IS NULL'
			' OR (SELECT meter.visible_tenants()) IS NULL'
			' OR tenant OPERATOR(pg_catalog.=) ANY ((SELECT meter.visible_tenants())::pg_catalog.text[]))', relation);
		EXECUTE pg_catalog.format('COMMENT ON POLICY visible ON %s IS %L', relation,
			'The rows of the tenants that the user may see: meter.visible_tenants()');
	END LOOP;

	-- so that it holds through views, too
	FOR relation IN
		SELECT c.oid FROM pg_catalog.pg_class AS c
		WHERE c.relnamespace = 'meter'::pg_catalog.regnamespace AND c.relkind = 'v'
	LOOP
		EXECUTE pg_catalog.format('ALTER VIEW %s SET (security_invoker = true)', relation);
	END LOOP;
END
$$;

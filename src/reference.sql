-- reference.sql: foreign keys that a restore by several jobs can fill in any order

CREATE FUNCTION meter.reference_check() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'meter_reference_check';
COMMENT ON FUNCTION meter.reference_check() IS
'Trigger of tables with a foreign key, in place of the key''s own: what a row refers to must be there, unless there is nothing at all in that table. pg_restore with several jobs fills a table that is referred to at once, but may do so after the other. Errors: 23503';

-- All foreign keys of the extension, each of one column.
DO $$
DECLARE
	reference record;
	own_trigger name;
BEGIN
	FOR reference IN
		SELECT c.oid, c.conname, n.nspname, t.relname, a.attname, rt.relname AS referred, ra.attname AS key
		FROM pg_catalog.pg_constraint AS c
		JOIN pg_catalog.pg_class AS t ON t.oid = c.conrelid
		JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace AND n.nspname = 'meter'
		JOIN pg_catalog.pg_class AS rt ON rt.oid = c.confrelid AND rt.relnamespace = n.oid
		JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND c.conkey = ARRAY[a.attnum]
		JOIN pg_catalog.pg_attribute AS ra ON ra.attrelid = rt.oid AND c.confkey = ARRAY[ra.attnum]
		WHERE c.contype = 'f'
	LOOP
		FOR own_trigger IN
			SELECT g.tgname FROM pg_catalog.pg_trigger AS g
			WHERE g.tgconstraint = reference.oid
				AND g.tgfoid = ANY (ARRAY['pg_catalog."RI_FKey_check_ins"', 'pg_catalog."RI_FKey_check_upd"']::pg_catalog.regproc[])
		LOOP
			EXECUTE pg_catalog.format('ALTER TABLE %I.%I DISABLE TRIGGER %I',
				reference.nspname, reference.relname, own_trigger);
		END LOOP;
		EXECUTE pg_catalog.format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OF %I ON %I.%I'
			' FOR EACH ROW EXECUTE FUNCTION meter.reference_check(%L, %L, %L, %L)',
			reference.relname || '_' || reference.attname || '_referred',
			reference.attname, reference.nspname, reference.relname,
			reference.attname, reference.referred, reference.key, reference.conname);
	END LOOP;
END
$$;

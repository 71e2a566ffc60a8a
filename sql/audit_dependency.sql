-- meter_isolation_audit(), rules 1 to 14: what depends on another tenant's objects.
-- One leak at a time, with clean twins beside it, which are found to be clean
-- before it is planted; then its remedy is run, and nothing is found any more.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS meter CASCADE;
CREATE EXTENSION meter CASCADE;
SET meter.retention = 0;

CREATE ROLE regress_audit_a;
CREATE ROLE regress_audit_b;
CREATE SCHEMA audit_a AUTHORIZATION regress_audit_a;
CREATE SCHEMA "audit B" AUTHORIZATION regress_audit_b;
CREATE SCHEMA audit_shared;
INSERT INTO meter.tenant (tenant, schema_name, role_name) VALUES
	('a', 'audit_a', 'regress_audit_a'), ('b', 'audit B', 'regress_audit_b'), ('plain', NULL, NULL);

-- what there is to depend on: the same in both schemas and in a shared one
CREATE PROCEDURE furnish() LANGUAGE plpgsql AS $$
BEGIN
	CREATE TABLE secret (id integer PRIMARY KEY, v text);
	CREATE TABLE parent (id integer, v text);
	CREATE TABLE parted (id integer, v text) PARTITION BY LIST (id);
	CREATE SEQUENCE seq;
	CREATE TYPE mood AS ENUM ('good', 'bad');
	CREATE TYPE pair AS (x integer, y integer);
	CREATE DOMAIN price AS numeric(9, 2) CHECK (VALUE > 0);
	CREATE FUNCTION yes(integer) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN $1 > 0;
	CREATE FUNCTION twice(integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN 2 * $1;
	CREATE FUNCTION on_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE COLLATION german (LOCALE = 'C');
	CREATE OPERATOR ### (LEFTARG = integer, RIGHTARG = integer, FUNCTION = pg_catalog.int4pl);
	CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = pg_catalog.simple);
	CREATE OPERATOR CLASS ops FOR TYPE integer USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =,
		OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(integer, integer);
END
$$;
BEGIN;
SET LOCAL search_path = audit_a; CALL public.furnish();
SET LOCAL search_path = "audit B"; CALL public.furnish();
SET LOCAL search_path = audit_shared; CALL public.furnish();
COMMIT;

-- What is found of a leak, and what is left once its remedy was run.  The
-- twin must be clean: it may depend on its own schema and on the shared one.
CREATE FUNCTION leak(plant text, twin text)
RETURNS TABLE (rule integer, name text, severity text, tenant text, other_tenant text, object text, detail text, remedy text, is_left bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	cure text;
BEGIN
	EXECUTE twin;
	CREATE TEMPORARY TABLE was ON COMMIT DROP AS SELECT * FROM meter_isolation_audit(NULL, 'info') WHERE rule < 20;
	IF EXISTS (SELECT FROM was) THEN
		RAISE EXCEPTION 'not clean: %', (SELECT string_agg(w::text, E'\n') FROM was AS w);
	END IF;
	EXECUTE plant;
	INSERT INTO was SELECT * FROM meter_isolation_audit(NULL, 'info') WHERE rule < 20;
	FOR cure IN SELECT DISTINCT remedy FROM was LOOP
		EXECUTE cure;
	END LOOP;
	RETURN QUERY SELECT w.rule, w.name, w.severity, w.tenant, w.other_tenant, w.object, w.detail, w.remedy, l.n
	FROM was AS w, (SELECT count(*) FROM meter_isolation_audit(NULL, 'info') WHERE rule < 20) AS l(n);
	DROP TABLE was;
END
$$;
SELECT rule, severity, tenant, object FROM meter_isolation_audit(NULL, 'info') WHERE rule < 20;
\pset format unaligned
\pset tuples_only

-- 1: foreign keys
SELECT * FROM leak(
	$$ CREATE TABLE audit_a.probe (id integer CONSTRAINT oracle REFERENCES "audit B".secret, own integer REFERENCES audit_a.secret) $$,
	$$ CREATE TABLE audit_a.twin (id integer REFERENCES audit_a.secret, s integer REFERENCES audit_shared.secret) $$);
-- of a partitioned table, as one
SELECT * FROM leak(
	$$ ALTER TABLE audit_a.orders ADD FOREIGN KEY (id) REFERENCES "audit B".secret $$,
	$$ CREATE TABLE audit_a.orders (id integer) PARTITION BY LIST (id);
	   CREATE TABLE audit_a.orders_1 PARTITION OF audit_a.orders FOR VALUES IN (1);
	   CREATE TABLE audit_a.orders_2 PARTITION OF audit_a.orders FOR VALUES IN (2) $$);
-- a shared table that points to a tenant's
SELECT * FROM leak(
	$$ ALTER TABLE audit_shared.parent ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES "audit B".secret $$,
	$$ ALTER TABLE audit_shared.parent ADD FOREIGN KEY (id) REFERENCES audit_shared.secret $$);

-- 2: views, also by a function, and one that nothing but a subquery gives away
SELECT * FROM leak(
	$$ CREATE VIEW audit_a."All Rows" AS SELECT id FROM audit_a.secret WHERE id IN (SELECT id FROM "audit B".secret) $$,
	$$ CREATE VIEW audit_a.twin_view AS SELECT id FROM audit_a.secret UNION ALL SELECT id FROM audit_shared.secret $$);
SELECT * FROM leak(
	$$ CREATE VIEW audit_a.doubled AS SELECT "audit B".twice(id) AS id FROM audit_a.secret $$,
	$$ CREATE VIEW audit_a.twin_doubled AS SELECT audit_a.twice(audit_shared.twice(id)) AS id FROM audit_a.secret $$);
SELECT * FROM leak($$ CREATE VIEW audit_a.moods AS SELECT 'good'::"audit B".mood AS mood $$,
	$$ CREATE VIEW audit_a.twin_moods AS SELECT 'good'::audit_a.mood AS mood $$);
-- a shared view: nobody may read it; the tenant itself may; another may
SELECT * FROM leak($$ CREATE VIEW audit_shared.rows AS SELECT * FROM "audit B".secret $$, $$ SELECT $$);
SELECT * FROM leak($$ CREATE VIEW audit_shared.rows AS SELECT * FROM "audit B".secret; GRANT SELECT ON audit_shared.rows TO regress_audit_b $$,
	$$ GRANT USAGE ON SCHEMA audit_shared TO regress_audit_b $$);
SELECT * FROM leak($$ CREATE VIEW audit_shared.rows AS SELECT * FROM "audit B".secret; GRANT SELECT ON audit_shared.rows TO PUBLIC $$,
	$$ GRANT USAGE ON SCHEMA audit_shared TO regress_audit_a $$);

-- 3: materialized views
SELECT * FROM leak($$ CREATE MATERIALIZED VIEW audit_a.copy AS SELECT * FROM "audit B".secret $$,
	$$ CREATE MATERIALIZED VIEW audit_a.twin_copy AS SELECT * FROM audit_a.secret $$);

-- 4: rules, in both directions
SELECT * FROM leak($$ CREATE RULE tee AS ON INSERT TO "audit B".secret DO ALSO INSERT INTO audit_a.parent VALUES (NEW.id, NEW.v) $$,
	$$ CREATE RULE twin AS ON INSERT TO "audit B".secret DO ALSO INSERT INTO "audit B".parent VALUES (NEW.id, NEW.v) $$);
SELECT * FROM leak($$ CREATE RULE pull AS ON DELETE TO audit_a.parent DO INSTEAD DELETE FROM "audit B".secret $$,
	$$ CREATE RULE twin AS ON DELETE TO audit_a.parent DO INSTEAD DELETE FROM audit_a.secret $$);

-- 5: inheritance: the readers of the parent read the child
SELECT * FROM leak($$ CREATE TABLE "audit B".child (more text) INHERITS (audit_a.parent) $$,
	$$ CREATE TABLE "audit B".twin_child () INHERITS ("audit B".parent) $$);
SELECT * FROM leak($$ CREATE TABLE audit_a.child () INHERITS (audit_shared.parent) $$, $$ SELECT $$);
SELECT * FROM leak($$ CREATE TABLE audit_a.child2 () INHERITS (audit_shared.parent); GRANT SELECT ON audit_shared.parent TO regress_audit_b $$, $$ SELECT $$);

-- 6: partitions
SELECT * FROM leak($$ CREATE TABLE "audit B".part PARTITION OF audit_a.parted FOR VALUES IN (1) $$,
	$$ CREATE TABLE audit_a.twin_part PARTITION OF audit_a.parted FOR VALUES IN (2) $$);
SELECT * FROM leak($$ CREATE TABLE audit_a.part PARTITION OF audit_shared.parted FOR VALUES IN (1) $$, $$ SELECT $$);

-- 7: triggers: the function; WHEN; a constraint trigger that watches another table
SELECT * FROM leak($$ CREATE TRIGGER spy AFTER INSERT ON audit_a.secret FOR EACH ROW EXECUTE FUNCTION "audit B".on_row() $$,
	$$ CREATE TRIGGER twin AFTER INSERT ON audit_a.secret FOR EACH ROW EXECUTE FUNCTION audit_a.on_row();
	   CREATE TRIGGER twin2 AFTER INSERT ON audit_a.secret FOR EACH ROW EXECUTE FUNCTION audit_shared.on_row() $$);
SELECT * FROM leak($$ CREATE TRIGGER spy AFTER INSERT ON audit_a.secret FOR EACH ROW WHEN ("audit B".yes(NEW.id)) EXECUTE FUNCTION audit_a.on_row() $$,
	$$ CREATE TRIGGER twin3 AFTER INSERT ON audit_a.secret FOR EACH ROW WHEN (audit_a.yes(NEW.id)) EXECUTE FUNCTION audit_a.on_row() $$);
SELECT * FROM leak($$ CREATE TRIGGER spy AFTER INSERT ON audit_a.orders FOR EACH ROW EXECUTE FUNCTION "audit B".on_row() $$,
	$$ CREATE TRIGGER twin AFTER INSERT ON audit_a.orders FOR EACH ROW EXECUTE FUNCTION audit_a.on_row() $$);
SELECT * FROM leak($$ CREATE CONSTRAINT TRIGGER spy AFTER INSERT ON audit_a.secret FROM "audit B".secret FOR EACH ROW EXECUTE FUNCTION audit_a.on_row() $$,
	$$ CREATE CONSTRAINT TRIGGER twin4 AFTER INSERT ON audit_a.secret FROM audit_a.parent FOR EACH ROW EXECUTE FUNCTION audit_a.on_row() $$);

-- 8: expressions
SELECT * FROM leak($$ CREATE TABLE audit_a.d (id integer, x integer DEFAULT "audit B".twice(1)) $$,
	$$ CREATE TABLE audit_a.twin_d (id integer, x integer DEFAULT audit_a.twice(audit_shared.twice(1))) $$);
SELECT * FROM leak($$ CREATE TABLE audit_a.g (id integer, x integer GENERATED ALWAYS AS ("audit B".twice(id)) STORED) $$,
	$$ CREATE TABLE audit_a.twin_g (id integer, x integer GENERATED ALWAYS AS (audit_a.twice(id)) STORED) $$);
SELECT * FROM leak($$ CREATE TABLE audit_a.c (id integer CONSTRAINT allowed CHECK ("audit B".yes(id))) $$,
	$$ CREATE TABLE audit_a.twin_c (id integer CHECK (audit_a.yes(id))) $$);
SELECT * FROM leak($$ CREATE INDEX by_twice ON audit_a.secret ("audit B".twice(id)) $$,
	$$ CREATE INDEX twin_by_twice ON audit_a.secret (audit_a.twice(id)) $$);
SELECT * FROM leak($$ CREATE INDEX partly ON audit_a.secret (id) WHERE "audit B".yes(id) $$,
	$$ CREATE INDEX twin_partly ON audit_a.secret (id) WHERE audit_a.yes(id) $$);
SELECT * FROM leak($$ CREATE TABLE audit_a.p (id integer) PARTITION BY LIST ("audit B".twice(id)) $$,
	$$ CREATE TABLE audit_a.twin_p (id integer) PARTITION BY LIST (audit_a.twice(id)) $$);
DROP TABLE audit_a.p;
ALTER FUNCTION public.twice(integer) SET SCHEMA "audit B";
SELECT * FROM leak($$ CREATE DOMAIN audit_a.even AS integer CONSTRAINT ok CHECK ("audit B".yes(VALUE)) $$,
	$$ CREATE DOMAIN audit_a.twin_even AS integer CHECK (audit_a.yes(VALUE)) $$);
SELECT * FROM leak($$ CREATE DOMAIN audit_a.two AS integer DEFAULT "audit B".twice(1) $$,
	$$ CREATE DOMAIN audit_a.twin_two AS integer DEFAULT audit_a.twice(1) $$);
-- an exclusion constraint by a foreign function
SELECT * FROM leak($$ CREATE TABLE audit_a.x (id integer, CONSTRAINT excl EXCLUDE (("audit B".twice(id)) WITH =)) $$,
	$$ CREATE TABLE audit_a.twin_x (id integer, EXCLUDE ((audit_a.twice(id)) WITH =)) $$);

-- 9: sequences.  One that a column owns is in the column's schema, unless
-- somebody has worked on the catalogs.
SELECT * FROM leak($$ CREATE TABLE audit_a.n (id integer DEFAULT nextval('"audit B".seq')) $$,
	$$ CREATE TABLE audit_a.twin_n (id integer DEFAULT nextval('audit_a.seq'), i integer GENERATED ALWAYS AS IDENTITY, s serial) $$);
SELECT * FROM leak(
	$$ SET LOCAL allow_system_table_mods = on;
	   UPDATE pg_class SET relnamespace = '"audit B"'::regnamespace WHERE oid = 'audit_a.moved'::regclass $$,
	$$ CREATE SEQUENCE audit_a.moved OWNED BY audit_a.secret.id $$);

-- 10: policies
SELECT * FROM leak($$ CREATE POLICY spy ON audit_a.secret USING (id IN (SELECT s.id FROM "audit B".secret AS s)) $$,
	$$ CREATE POLICY twin ON audit_a.secret USING (id IN (SELECT p.id FROM audit_a.parent AS p)) $$);
SELECT * FROM leak($$ CREATE POLICY spy ON audit_a.secret WITH CHECK ("audit B".yes(id)) $$,
	$$ CREATE POLICY twin2 ON audit_a.secret WITH CHECK (audit_a.yes(id)) $$);

-- 11: types.  Columns keep what is in them.
SELECT * FROM leak(
	$$ CREATE TABLE audit_a.t (id integer, m "audit B".mood DEFAULT 'bad', ms "audit B".mood[], p "audit B".price, r "audit B".pair);
	   INSERT INTO audit_a.t VALUES (1, 'good', '{good,bad}', 1.5, '(1,2)') $$,
	$$ CREATE TABLE audit_a.twin_t (m audit_a.mood DEFAULT 'bad', ms audit_a.mood[], p audit_shared.price, r audit_a.pair) $$);
SELECT * FROM audit_a.t;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'audit_a.t'::regclass AND attnum > 0 ORDER BY attnum;
SELECT * FROM leak($$ CREATE FUNCTION audit_a.how("audit B".mood) RETURNS integer LANGUAGE sql RETURN 1 $$,
	$$ CREATE FUNCTION audit_a.twin_how(audit_a.mood) RETURNS integer LANGUAGE sql RETURN 1 $$);
SELECT * FROM leak($$ CREATE DOMAIN audit_a.low AS "audit B".price CHECK (VALUE < 5) $$,
	$$ CREATE DOMAIN audit_a.twin_low AS audit_a.price CHECK (VALUE < 5) $$);
SELECT * FROM leak($$ CREATE TYPE audit_a.both AS (m "audit B".mood) $$, $$ CREATE TYPE audit_a.twin_both AS (m audit_a.mood) $$);
SELECT * FROM leak($$ CREATE TABLE audit_a.typed OF "audit B".pair $$, $$ CREATE TABLE audit_a.twin_typed OF audit_a.pair $$);

-- 12: operators, casts, collations, text search
SELECT * FROM leak($$ CREATE TABLE audit_a.l (v text COLLATE "audit B".german) $$, $$ CREATE TABLE audit_a.twin_l (v text COLLATE audit_a.german) $$);
SELECT * FROM leak($$ CREATE INDEX by_v ON audit_a.secret (v COLLATE "audit B".german) $$, $$ CREATE INDEX twin_by_v ON audit_a.secret (v COLLATE audit_a.german) $$);
SELECT * FROM leak($$ CREATE INDEX by_ops ON audit_a.secret (id "audit B".ops) $$, $$ CREATE INDEX twin_by_ops ON audit_a.secret (id audit_a.ops) $$);
SELECT * FROM leak($$ CREATE OPERATOR audit_a.@@@ (RIGHTARG = integer, FUNCTION = "audit B".twice) $$, $$ CREATE OPERATOR audit_a.@@@@ (RIGHTARG = integer, FUNCTION = audit_a.twice) $$);
SELECT * FROM leak($$ CREATE CAST (audit_a.mood AS "audit B".mood) WITH INOUT $$, $$ CREATE CAST (audit_a.mood AS audit_a.pair) WITH INOUT $$);
SELECT * FROM leak(
	$$ CREATE TEXT SEARCH CONFIGURATION audit_a.search (COPY = pg_catalog.simple);
	   ALTER TEXT SEARCH CONFIGURATION audit_a.search ALTER MAPPING FOR word WITH "audit B".words $$,
	$$ CREATE TEXT SEARCH CONFIGURATION audit_a.twin_search (COPY = pg_catalog.simple);
	   ALTER TEXT SEARCH CONFIGURATION audit_a.twin_search ALTER MAPPING FOR word WITH audit_a.words $$);
SELECT * FROM leak(
	$$ CREATE OPERATOR CLASS audit_a.mine FOR TYPE integer USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =,
		OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 "audit B".cmp(integer, integer) $$,
	$$ CREATE FUNCTION "audit B".cmp(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN $1 - $2 $$);
-- also in an expression
SELECT * FROM leak($$ CREATE TABLE audit_a.o (id integer DEFAULT 1 OPERATOR("audit B".###) 2) $$, $$ CREATE TABLE audit_a.twin_o (id integer DEFAULT 1 OPERATOR(audit_a.###) 2) $$);

-- 13: statistics
SELECT * FROM leak($$ CREATE STATISTICS audit_a.spy ON id, v FROM "audit B".secret $$, $$ CREATE STATISTICS audit_a.twin ON id, v FROM audit_a.secret $$);

-- 14: functions with bodies that are parsed, defaults of arguments
SELECT * FROM leak($$ CREATE FUNCTION audit_a.peek() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM "audit B".secret; END $$,
	$$ CREATE FUNCTION audit_a.twin_peek() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM audit_a.secret, audit_shared.secret AS s; END $$);
SELECT * FROM leak($$ CREATE FUNCTION audit_a.arg(integer DEFAULT "audit B".twice(1)) RETURNS integer LANGUAGE sql RETURN $1 $$,
	$$ CREATE FUNCTION audit_a.twin_arg(integer DEFAULT audit_a.twice(1)) RETURNS integer LANGUAGE sql RETURN $1 $$);
SELECT * FROM leak($$ CREATE AGGREGATE audit_a.agg(integer) (SFUNC = "audit B".add, STYPE = integer) $$,
	$$ CREATE FUNCTION "audit B".add(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN $1 + $2;
	   CREATE AGGREGATE audit_a.twin_agg(integer) (SFUNC = pg_catalog.int4pl, STYPE = integer) $$);
SELECT * FROM leak($$ CREATE PROCEDURE audit_a.wipe() LANGUAGE sql BEGIN ATOMIC DELETE FROM "audit B".secret; END $$,
	$$ CREATE PROCEDURE audit_a.twin_wipe() LANGUAGE sql BEGIN ATOMIC DELETE FROM audit_a.secret; END $$);
-- shared functions: everybody may execute what is made, and both may use the schema
SELECT * FROM leak($$ CREATE FUNCTION audit_shared.peek() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM "audit B".secret; END $$, $$ SELECT $$);
SELECT * FROM leak($$ CREATE FUNCTION audit_shared.peek() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM "audit B".secret; END;
	REVOKE EXECUTE ON FUNCTION audit_shared.peek() FROM PUBLIC $$, $$ SELECT $$);

DROP SCHEMA audit_a, "audit B", audit_shared CASCADE;
DROP FUNCTION leak(text, text);
DROP PROCEDURE furnish();
DROP EXTENSION meter;
DROP ROLE regress_audit_a, regress_audit_b;

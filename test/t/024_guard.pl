# 024_guard.pl: the guard, one attempt for each way into another tenant's schema.
#
# Tenants a and b have the same objects in their schemas.  Each attempt is made
# in the context of tenant a on what is b's: with meter.isolation = log it must
# succeed and be recorded, though its transaction is rolled back; with enforce it
# must fail and be recorded.  The same on what is a's must do neither.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask session start_node $by_hand);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('guard', "${by_hand}wal_level = logical\nlog_min_messages = fatal\n");
ask(q{CREATE EXTENSION meter CASCADE; CREATE EXTENSION postgres_fdw;
	CREATE SCHEMA shared;
	CREATE TABLE shared.s (id int);
	CREATE TABLE shared.part (id int, t text) PARTITION BY LIST (t);
	CREATE TABLE shared.parent (id int);
	CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw});
for my $tenant ('a', 'b')
{
	my $s = "t$tenant";
	ask(qq{
		CREATE SCHEMA $s;
		INSERT INTO meter.tenant (tenant, schema_name) VALUES ('$tenant', '$s');
		CREATE TABLE $s.secret (id int PRIMARY KEY, v text);
		INSERT INTO $s.secret VALUES (1, '$tenant');
		CREATE TABLE $s.other (id int);
		CREATE SEQUENCE $s.seq;
		CREATE TYPE $s.kind AS ENUM ('x');
		CREATE DOMAIN $s.dom AS int;
		CREATE FUNCTION $s.f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
		CREATE FUNCTION $s.trig() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE PROCEDURE $s.p() LANGUAGE plpgsql AS 'BEGIN END';
		CREATE MATERIALIZED VIEW $s.mv AS SELECT 1 AS x;
		CREATE FUNCTION shared.guard_$s() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE FUNCTION shared.pol_$s() RETURNS boolean LANGUAGE sql AS 'SELECT true';
		CREATE TABLE $s.guarded (id int);
		CREATE TRIGGER trig BEFORE INSERT ON $s.guarded FOR EACH ROW EXECUTE FUNCTION shared.guard_$s();
		CREATE POLICY pol ON $s.guarded USING (shared.pol_$s());
		CREATE RULE ru AS ON DELETE TO $s.guarded DO ALSO SELECT 1;
		CREATE TYPE $s.comp AS (x int);
		CREATE CAST ($s.comp AS text) WITH INOUT;
		CREATE VIEW shared.v_$s AS SELECT * FROM $s.secret;
		CREATE VIEW shared.vv_$s AS SELECT * FROM shared.v_$s;
		CREATE FUNCTION shared.sql_$s() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM $s.secret';
		CREATE FUNCTION shared.atomic_$s() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM $s.secret; END;
		CREATE FUNCTION shared.pl_$s() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
			AS 'BEGIN RETURN (SELECT count(*) FROM $s.secret); END';
		CREATE FUNCTION shared.dynamic_$s() RETURNS bigint LANGUAGE plpgsql
			AS 'DECLARE n bigint; BEGIN EXECUTE ''SELECT count(*) FROM '' || ''$s.secret'' INTO n; RETURN n; END';
		CREATE FUNCTION shared.touch_$s() RETURNS trigger LANGUAGE plpgsql
			AS 'BEGIN PERFORM * FROM $s.secret; RETURN NEW; END';
		CREATE TABLE shared.triggered_$s (id int);
		CREATE TRIGGER touch BEFORE INSERT ON shared.triggered_$s FOR EACH ROW EXECUTE FUNCTION shared.touch_$s();
		CREATE TABLE shared.ruled_$s (id int);
		CREATE RULE r AS ON INSERT TO shared.ruled_$s DO ALSO DELETE FROM $s.secret;
		CREATE TABLE shared.keyed_$s (id int REFERENCES $s.secret);
		CREATE TABLE $s.part PARTITION OF shared.part FOR VALUES IN ('$s');
		CREATE TABLE shared.parent_$s (id int);
		CREATE TABLE $s.child () INHERITS (shared.parent_$s);
		CREATE FOREIGN TABLE $s.remote (id int) SERVER here OPTIONS (schema_name 'shared', table_name 's')});
}
ask('CREATE TABLE shared.loose (id int, t text)');

# Attempts: [what it is, the object that is told, SQL, options].  TB is the
# schema that is reached.  Those that cannot be in a transaction say so.
my @attempts = (
	[ 'SELECT', 'TB.secret', 'SELECT * FROM TB.secret' ],
	[ 'TABLE', 'TB.secret', 'TABLE TB.secret' ],
	[ 'SELECT ... FOR UPDATE', 'TB.secret', 'SELECT * FROM TB.secret FOR UPDATE' ],
	[ 'a sub-select', 'TB.secret', 'SELECT (SELECT count(*) FROM TB.secret)' ],
	[ 'WITH', 'TB.secret', 'WITH x AS (DELETE FROM TB.secret RETURNING *) SELECT * FROM x' ],
	[ 'INSERT', 'TB.secret', 'INSERT INTO TB.secret VALUES (2)' ],
	[ 'INSERT ... SELECT', 'TB.secret', 'INSERT INTO shared.s SELECT id FROM TB.secret' ],
	[ 'INSERT ... ON CONFLICT', 'TB.secret', 'INSERT INTO TB.secret VALUES (1) ON CONFLICT DO NOTHING' ],
	[ 'UPDATE', 'TB.secret', q{UPDATE TB.secret SET v = 'z'} ],
	[ 'DELETE', 'TB.secret', 'DELETE FROM TB.secret' ],
	[ 'MERGE', 'TB.secret', 'MERGE INTO TB.secret AS t USING shared.s ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (3)' ],
	[ 'a view', 'TB.secret', 'SELECT * FROM shared.v_TB' ],
	[ 'INSERT through a view', 'TB.secret', 'INSERT INTO shared.v_TB VALUES (5)' ],
	[ 'a view of a view', 'TB.secret', 'SELECT * FROM shared.vv_TB' ],
	[ 'a materialized view', 'TB.mv', 'SELECT * FROM TB.mv' ],
	[ 'a function in SQL', 'TB.secret', 'SELECT shared.sql_TB()' ],
	[ 'a function BEGIN ATOMIC', 'TB.secret', 'SELECT shared.atomic_TB()' ],
	[ 'a function in PL/pgSQL, SECURITY DEFINER', 'TB.secret', 'SELECT shared.pl_TB()' ],
	[ 'dynamic SQL', 'TB.secret', 'SELECT shared.dynamic_TB()' ],
	[ 'a function of the tenant', 'TB.f()', 'SELECT TB.f()' ],
	[ 'a procedure of the tenant', 'TB.p()', 'CALL TB.p()' ],
	[ 'a trigger', 'TB.secret', 'INSERT INTO shared.triggered_TB VALUES (1)' ],
	[ 'a rule', 'TB.secret', 'INSERT INTO shared.ruled_TB VALUES (1)' ],
	[ 'a foreign key', 'TB.secret', 'INSERT INTO shared.keyed_TB VALUES (1)' ],
	[ 'a prepared statement', 'TB.secret', 'EXECUTE prepared', { before => 'PREPARE prepared AS SELECT * FROM TB.secret; EXECUTE prepared; EXECUTE prepared; EXECUTE prepared; EXECUTE prepared; EXECUTE prepared; EXECUTE prepared; EXECUTE prepared' } ],
	[ 'COPY TO', 'TB.secret', 'COPY TB.secret TO STDOUT' ],
	[ 'COPY of a query', 'TB.secret', 'COPY (SELECT * FROM TB.secret) TO STDOUT' ],
	[ 'COPY FROM', 'TB.secret', q{COPY TB.secret FROM '/dev/null'} ],
	[ 'TRUNCATE', 'TB.other', 'TRUNCATE TB.other' ],
	[ 'TRUNCATE ... CASCADE', 'TB.secret', 'TRUNCATE TB.secret CASCADE' ],
	[ 'LOCK', 'TB.secret', 'LOCK TABLE TB.secret IN ACCESS SHARE MODE' ],
	[ 'EXPLAIN', 'TB.secret', 'EXPLAIN SELECT * FROM TB.secret' ],
	[ 'EXPLAIN ANALYZE', 'TB.secret', 'EXPLAIN ANALYZE SELECT * FROM TB.secret' ],
	[ 'DECLARE CURSOR', 'TB.secret', 'DECLARE c CURSOR FOR SELECT * FROM TB.secret' ],
	[ 'DO', 'TB.secret', 'DO $$ BEGIN PERFORM * FROM TB.secret; END $$' ],
	[ 'a loop in PL/pgSQL', 'TB.secret', 'DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM TB.secret LOOP END LOOP; END $$' ],
	[ 'SELECT of a partitioned table', 'TB.part', 'SELECT * FROM shared.part' , { also => 'ta.part' } ],
	[ 'INSERT routed to a partition', 'TB.part', q{INSERT INTO shared.part VALUES (1, 'TB')}, { shared => 1 } ],
	[ 'UPDATE that moves a row to a partition', 'TB.part', q{UPDATE shared.part SET t = 'TB' WHERE t = 'ta'}, { shared => 1 } ],
	[ 'COPY routed to partitions', 'TB.part', q{COPY shared.part FROM '/dev/null'}, { shared => 1 } ],
	[ 'inheritance', 'TB.child', 'SELECT * FROM shared.parent_TB' ],
	[ 'the sequence of nextval()', 'TB.seq', q{SELECT nextval('TB.seq')} ],
	[ 'a sequence as a table', 'TB.seq', 'SELECT * FROM TB.seq' ],
	[ 'a foreign table', 'TB.remote', 'EXPLAIN SELECT * FROM TB.remote' ],
	[ 'CREATE TABLE', 'TB.made', 'CREATE TABLE TB.made (id int)' ],
	[ 'CREATE VIEW in the schema', 'TB.made', 'CREATE VIEW TB.made AS SELECT 1 AS x' ],
	[ 'CREATE FUNCTION in the schema', 'TB.made()', q{CREATE FUNCTION TB.made() RETURNS int LANGUAGE sql AS 'SELECT 1'} ],
	[ 'CREATE TYPE in the schema', 'TB.made', q{CREATE TYPE TB.made AS ENUM ('y')} ],
	[ 'CREATE SEQUENCE in the schema', 'TB.made', 'CREATE SEQUENCE TB.made' ],
	[ 'CREATE VIEW', 'TB.secret', 'CREATE VIEW ta.made AS SELECT * FROM TB.secret' ],
	[ 'CREATE MATERIALIZED VIEW', 'TB.secret', 'CREATE MATERIALIZED VIEW ta.made AS SELECT * FROM TB.secret' ],
	[ 'CREATE TABLE AS', 'TB.secret', 'CREATE TABLE ta.made AS SELECT * FROM TB.secret' ],
	[ 'CREATE TABLE AS ... WITH NO DATA', 'TB.secret', 'CREATE VIEW ta.made AS SELECT * FROM TB.secret WHERE false' ],
	[ 'SELECT INTO', 'TB.secret', 'SELECT * INTO ta.made FROM TB.secret' ],
	[ 'LIKE', 'TB.secret', 'CREATE TABLE ta.made (LIKE TB.secret)' ],
	[ 'INHERITS', 'TB.secret', 'CREATE TABLE ta.made () INHERITS (TB.secret)' ],
	[ 'PARTITION OF', 'TB.parted', q{CREATE TABLE TB.parted (id int) PARTITION BY LIST (id); CREATE TABLE ta.made PARTITION OF TB.parted FOR VALUES IN (1)} ],
	[ 'REFERENCES', 'TB.secret', 'CREATE TABLE ta.made (id int REFERENCES TB.secret)' ],
	[ 'ADD FOREIGN KEY', 'TB.secret', 'ALTER TABLE ta.other ADD FOREIGN KEY (id) REFERENCES TB.secret' ],
	[ 'DEFAULT nextval()', 'TB.seq', q{CREATE TABLE ta.made (id int DEFAULT nextval('TB.seq'))} ],
	[ 'SET DEFAULT nextval()', 'TB.seq', q{ALTER TABLE ta.other ALTER id SET DEFAULT nextval('TB.seq')} ],
	[ 'CHECK with a function', 'TB.f()', 'ALTER TABLE ta.other ADD CHECK (id > TB.f())' ],
	[ 'a column of a type', 'TB.kind', 'CREATE TABLE ta.made (k TB.kind)' ],
	[ 'a column of a domain', 'TB.dom', 'ALTER TABLE ta.other ADD k TB.dom' ],
	[ 'a function BEGIN ATOMIC on it', 'TB.secret', 'CREATE FUNCTION ta.made() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM TB.secret; END' ],
	[ 'a trigger with a function', 'TB.trig()', 'CREATE TRIGGER made BEFORE INSERT ON ta.other FOR EACH ROW EXECUTE FUNCTION TB.trig()' ],
	[ 'a trigger on a table', 'TB.other', 'CREATE TRIGGER made BEFORE INSERT ON TB.other FOR EACH ROW EXECUTE FUNCTION shared.touch_ta()' ],
	[ 'CREATE RULE', 'TB.other', 'CREATE RULE made AS ON INSERT TO TB.other DO NOTHING' ],
	[ 'a rule that writes to a table', 'TB.other', 'CREATE RULE made AS ON INSERT TO ta.other DO ALSO DELETE FROM TB.other', { other => 1 } ],
	[ 'CREATE POLICY', 'TB.other', 'CREATE POLICY made ON TB.other' ],
	[ 'a policy that reads a table', 'TB.secret', 'CREATE POLICY made ON ta.other USING (id IN (SELECT id FROM TB.secret))' ],
	[ 'CREATE INDEX', 'TB.secret', 'CREATE INDEX ON TB.secret (v)' ],
	[ 'CREATE STATISTICS', 'TB.secret', 'CREATE STATISTICS ta.made ON id, v FROM TB.secret' ],
	[ 'CREATE PUBLICATION', 'TB.secret', 'CREATE PUBLICATION made FOR TABLE TB.secret' ],
	[ 'CREATE PUBLICATION of a schema', '"?TB"?', 'CREATE PUBLICATION made FOR TABLES IN SCHEMA TB' ],
	[ 'ALTER TABLE', 'TB.secret', 'ALTER TABLE TB.secret ADD x int' ],
	[ 'ATTACH PARTITION', 'TB.other', 'CREATE TABLE ta.parted (id int) PARTITION BY LIST (id); ALTER TABLE ta.parted ATTACH PARTITION TB.other FOR VALUES IN (1)' ],
	[ 'INHERIT', 'TB.other', 'CREATE TABLE ta.heir (id int); ALTER TABLE ta.heir INHERIT TB.other' ],
	[ 'RENAME', 'TB.secret', 'ALTER TABLE TB.secret RENAME TO made' ],
	[ 'RENAME COLUMN', 'TB.secret', 'ALTER TABLE TB.secret RENAME v TO w' ],
	[ 'OWNER TO', 'TB.secret', 'ALTER TABLE TB.secret OWNER TO CURRENT_USER' ],
	[ 'SET SCHEMA into it', '(TB.loose|TB)', 'ALTER TABLE shared.loose SET SCHEMA TB' ],
	[ 'SET SCHEMA out of it', 'TB.other', 'ALTER TABLE TB.other SET SCHEMA shared', { twin => 0 } ],
	[ 'ALTER SEQUENCE', 'TB.seq', 'ALTER SEQUENCE TB.seq RESTART' ],
	[ 'ALTER FUNCTION', 'TB.f()', 'ALTER FUNCTION TB.f() STRICT' ],
	[ 'ALTER TYPE', 'TB.kind', q{ALTER TYPE TB.kind RENAME TO made} ],
	[ 'ALTER SCHEMA', 'TB', 'ALTER SCHEMA TB RENAME TO made' ],
	[ 'DROP TABLE', 'TB.other', 'DROP TABLE TB.other' ],
	[ 'DROP TABLE that others depend on', 'TB.secret', 'DROP TABLE TB.secret CASCADE' ],
	[ 'DROP VIEW elsewhere CASCADE', 'TB.depends', 'CREATE VIEW TB.depends AS SELECT * FROM shared.vv_TB; DROP VIEW shared.vv_TB CASCADE' ],
	[ 'DROP FUNCTION', 'TB.f()', 'DROP FUNCTION TB.f()' ],
	[ 'DROP SEQUENCE', 'TB.seq', 'DROP SEQUENCE TB.seq' ],
	[ 'DROP TYPE', 'TB.kind', 'DROP TYPE TB.kind' ],
	[ 'DROP SCHEMA', 'TB', 'DROP SCHEMA TB CASCADE' ],
	[ 'DROP TRIGGER', 'TB.guarded', 'DROP TRIGGER trig ON TB.guarded' ],
	[ 'DROP POLICY', 'TB.guarded', 'DROP POLICY pol ON TB.guarded' ],
	[ 'DROP RULE', 'TB.guarded', 'DROP RULE ru ON TB.guarded' ],
	[ 'DROP CAST', 'TB.comp', 'DROP CAST (TB.comp AS text)' ],
	[ 'DROP of a function, and by CASCADE of a trigger', 'TB.guarded', 'DROP FUNCTION shared.guard_TB() CASCADE' ],
	[ 'DROP of a function, and by CASCADE of a policy', 'TB.guarded', 'DROP FUNCTION shared.pol_TB() CASCADE' ],
	[ 'TRIGGER ... DEPENDS ON EXTENSION', 'TB.guarded', 'ALTER TRIGGER trig ON TB.guarded DEPENDS ON EXTENSION postgres_fdw' ],
	[ 'FUNCTION ... DEPENDS ON EXTENSION', 'TB.f()', 'ALTER FUNCTION TB.f() DEPENDS ON EXTENSION postgres_fdw' ],
	[ 'ALTER EXTENSION ADD', 'TB.other', 'ALTER EXTENSION postgres_fdw ADD TABLE TB.other' ],
	[ 'COMMENT ON TABLE', 'TB.secret', q{COMMENT ON TABLE TB.secret IS 'x'} ],
	[ 'COMMENT ON COLUMN', 'TB.secret', q{COMMENT ON COLUMN TB.secret.v IS 'x'} ],
	[ 'COMMENT ON FUNCTION', 'TB.f()', q{COMMENT ON FUNCTION TB.f() IS 'x'} ],
	[ 'COMMENT ON SCHEMA', 'TB', q{COMMENT ON SCHEMA TB IS 'x'} ],
	[ 'COMMENT ON CONSTRAINT', 'TB.secret', q{COMMENT ON CONSTRAINT secret_pkey ON TB.secret IS 'x'} ],
	[ 'GRANT', 'TB.secret', 'GRANT SELECT ON TB.secret TO PUBLIC' ],
	[ 'GRANT on a column', 'TB.secret', 'GRANT SELECT (v) ON TB.secret TO PUBLIC' ],
	[ 'REVOKE', 'TB.secret', 'REVOKE ALL ON TB.secret FROM PUBLIC' ],
	[ 'GRANT ON SCHEMA', 'TB', 'GRANT USAGE ON SCHEMA TB TO PUBLIC' ],
	[ 'GRANT ON ALL TABLES', 'TB', 'GRANT SELECT ON ALL TABLES IN SCHEMA TB TO PUBLIC' ],
	[ 'GRANT ON FUNCTION', 'TB.f()', 'GRANT EXECUTE ON FUNCTION TB.f() TO PUBLIC' ],
	[ 'GRANT ON TYPE', 'TB.kind', 'GRANT USAGE ON TYPE TB.kind TO PUBLIC' ],
	[ 'ALTER DEFAULT PRIVILEGES', 'TB', 'ALTER DEFAULT PRIVILEGES IN SCHEMA TB GRANT SELECT ON TABLES TO PUBLIC' ],
	[ 'REFRESH MATERIALIZED VIEW', 'TB.mv', 'REFRESH MATERIALIZED VIEW TB.mv' ],
	[ 'VACUUM', 'TB.secret', 'VACUUM TB.secret', { alone => 1 } ],
	[ 'ANALYZE', 'TB.secret', 'ANALYZE TB.secret' ],
	[ 'CLUSTER', 'TB.secret', 'CLUSTER TB.secret USING secret_pkey' ],
	[ 'REINDEX TABLE', 'TB.secret', 'REINDEX TABLE TB.secret' ],
	[ 'REINDEX INDEX', 'TB.secret_pkey', 'REINDEX INDEX TB.secret_pkey' ],
	[ 'REINDEX SCHEMA', 'TB', 'REINDEX SCHEMA TB', { alone => 1 } ],
	[ 'CREATE FOREIGN TABLE', 'TB', q{CREATE FOREIGN TABLE ta.made (id int) SERVER here OPTIONS (schema_name 'TB', table_name 'secret')} ],
	[ 'ALTER FOREIGN TABLE', 'TB', q{ALTER FOREIGN TABLE ta.remote OPTIONS (SET schema_name 'TB')} ],
	[ 'IMPORT FOREIGN SCHEMA', 'TB', 'IMPORT FOREIGN SCHEMA TB FROM SERVER here INTO shared', { fails => 1 } ],
);

# What was recorded since the last time: objects, and whether all were refused.
sub recorded
{
	ask('SELECT meter_flush()');
	my $rows = ask(q{WITH gone AS (DELETE FROM meter.isolation_violation RETURNING *)
		SELECT tenant, foreign_tenant, refused, object FROM gone ORDER BY at});
	return [ map { [ split /\|/, $_, 4 ] } split /\n/, $rows ];
}

sub attempt
{
	my ($mode, $schema, $sql, $options) = @_;
	my $before = $options->{before} // '';
	my $text = $options->{alone} ? $sql : "BEGIN;\n$sql;\nROLLBACK";
	$_ =~ s/TB/$schema/g for $before, $text;
	return session(qq{$before;
		SELECT meter_set_tenant('a');
		SET meter.isolation = $mode;
		$text;
		SET meter.isolation = off});
}

for my $attempt (@attempts)
{
	my ($what, $object, $sql, $options) = @$attempt;
	my $expected = $object =~ s/TB/tb/gr;
	$expected = quotemeta $expected if $expected =~ /\(\)$/;

	my $out = attempt('log', 'tb', $sql, $options);
	my $rows = recorded();
	ok($options->{fails} || $out !~ /ERROR/, "$what: succeeds with log") or diag($out);
	ok((grep { $_->[0] eq 'a' && $_->[1] eq 'b' && $_->[2] eq 'f' && $_->[3] =~ /^$expected$/ } @$rows),
		"$what: is recorded") or diag($out, explain $rows);

	$out = attempt('enforce', 'tb', $sql, $options);
	$rows = recorded();
	like($out, qr/ERROR:  42501: access to .* is not allowed in the context of tenant "a"/, "$what: fails with enforce");
	ok(@$rows == 1 && $rows->[0][2] eq 't' && $rows->[0][1] eq 'b', "$what: is recorded as refused") or diag(explain $rows);
	unlike($out, qr/tenant "b"/, "$what: does not tell whose it is");

	next if $options->{shared} || $options->{also} || ($options->{twin} // 1) == 0;
	$out = attempt('enforce', 'ta', $sql, $options);
	$rows = recorded();
	ok($out !~ /42501/ && @$rows == 0, "$what: one's own is free") or diag($out, explain $rows);
}

# What outlives its context

my $out = session(q{SELECT meter_set_tenant('a'); SET meter.isolation = enforce;
	CREATE TEMPORARY TABLE mine AS SELECT 'of a' AS secret;
	BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT 'of a'; COMMIT;
	SELECT count(*) FROM mine; FETCH held; MOVE BACKWARD ALL IN held;
	SELECT meter_set_tenant('b');
	SELECT secret FROM mine; FETCH held; INSERT INTO mine VALUES (1); DROP TABLE mine; COPY mine TO STDOUT});
is(() = $out =~ /of a/g, 1, 'only the context in which they were made reads a temporary table and a held cursor');
is(() = $out =~ /42501: access to/g, 5, 'the other one is refused');
is_deeply([ map { $_->[3] } @{ recorded() } ], [ 'pg_temp.mine', 'held', ('pg_temp.mine') x 3 ], 'each time');

# What a session has looked at under one context it looks at again under another

my $both = 'EXECUTE p; EXECUTE u';
$out = session(qq{SET meter.isolation = enforce; SET meter.isolation_require_context = on;
	PREPARE p AS SELECT 'of ' || v FROM ta.secret; PREPARE u AS UPDATE ta.secret SET v = v;
	SELECT meter_set_tenant('a'); $both; $both;
	SELECT meter_set_tenant('b'); $both; $both;
	BEGIN; SELECT meter_set_tenant('a', local => true); $both; COMMIT; $both;
	BEGIN; SELECT meter_set_tenant('a'); $both; ROLLBACK; $both;
	SELECT meter_set_tenant('a'); $both;
	BEGIN; SAVEPOINT s; SELECT meter_set_tenant('b'); EXECUTE p; ROLLBACK TO s; $both; COMMIT;
	SELECT meter_set_tenant(NULL); $both});
is(() = $out =~ /^of a\n/mg, 6, 'tables that a session knows are their tenant\'s');
is(() = $out =~ /42501: access to table ta.secret is not allowed in the context of tenant "b"/g, 4 + 2 + 2 + 1,
	'whatever context was there before, and also that of a transaction which has ended');
is(() = $out =~ /42501: access to table ta.secret is not allowed without a tenant's context/g, 2, 'or none at all');
is(@{ recorded() }, 11, 'each time it is recorded');

# Cursors whose rows are fetched after the context has changed, whoever opened them

$out = session(q{CREATE FUNCTION shared.opened(c refcursor) RETURNS refcursor LANGUAGE plpgsql
		AS 'BEGIN OPEN c FOR SELECT v FROM ta.secret; RETURN c; END';
	SELECT meter_set_tenant('a'); SET meter.isolation = enforce;
	BEGIN; DECLARE declared CURSOR FOR SELECT v FROM ta.secret; FETCH declared;
	DECLARE kept CURSOR FOR SELECT v FROM ta.secret; SELECT shared.opened('opened'); FETCH opened; SELECT shared.opened('other');
	SELECT meter_set_tenant('b', local => true);
	SAVEPOINT s; FETCH BACKWARD declared; ROLLBACK TO s; FETCH BACKWARD opened; ROLLBACK TO s;
	DO $$ DECLARE c refcursor := 'other'; r text; BEGIN FETCH c INTO r; RAISE '%', r; END $$; ROLLBACK TO s;
	DO $$ DECLARE r text; BEGIN
		FOR r IN SELECT v FROM tb.secret, generate_series(1, 60) LOOP PERFORM meter_set_tenant('a'); END LOOP;
	END $$; ROLLBACK TO s;
	SELECT meter_set_tenant('a', local => true); FETCH kept; COMMIT});
is(() = $out =~ /^a$/gm, 3, 'the rows of an open cursor are of its context') or diag($out);
is(() = $out =~ /42501: access to table ta.secret/g, 3, 'and are not fetched in another') or diag($out);
is(() = $out =~ /42501: access to table tb.secret/g, 1, 'nor goes a loop over them on') or diag($out);
is(@{ recorded() }, 4, 'which is recorded');

# Values in statistics, of which there is only one table for all

ask('ANALYZE tb.secret; CREATE STATISTICS tb.stat (mcv) ON id, v FROM tb.secret; ANALYZE tb.secret');
$out = session(q{SELECT meter_set_tenant('a'); SET meter.isolation = enforce;
	SELECT most_common_vals FROM pg_stats WHERE schemaname = 'tb';
	SELECT most_common_vals FROM pg_stats_ext WHERE schemaname = 'tb';
	SELECT stavalues1 FROM pg_statistic; SELECT relname FROM pg_class WHERE relname = 'pg_statistic';
	SELECT meter_set_tenant(NULL); SELECT 'all', count(*) > 0 FROM pg_stats;
	SET meter.isolation_require_context = on; SELECT 'none', count(*) FROM pg_stats});
like($out, qr/(42501: access to table pg_catalog.pg_statistic is.*){2}/s, 'statistics are not read in a context');
like($out, qr/42501: access to table pg_catalog.pg_statistic_ext_data is/, 'nor are extended ones');
like($out, qr/^all\|t$/m, 'but without one');
like($out, qr/42501: access to table pg_catalog.pg_statistic is not allowed without/, 'unless one is required');
unlike($out, qr/^none/m, 'then they are not');
is_deeply([ map { $_->[3] } @{ recorded() } ],
	[ map { "pg_catalog.$_" } 'pg_statistic', 'pg_statistic_ext_data', 'pg_statistic', 'pg_statistic' ], 'which is recorded');

# Without a context

$out = session(q{SET meter.isolation = enforce; SELECT count(*) FROM tb.secret;
	SET meter.isolation_require_context = on; SELECT 'no', count(*) FROM tb.secret; SELECT 'yes', count(*) FROM shared.s;
	SET meter.isolation_exempt_roles = 'somebody, postgres'; SELECT 'exempt', count(*) FROM tb.secret});
like($out, qr/42501: access to table tb.secret is not allowed without a tenant's context/, 'a context can be required');
unlike($out, qr/^no/m, 'then there is no other way');
like($out, qr/^yes\|/m, 'to what is a tenant\'s, and only that');
my $user = ask('SELECT session_user');
is(@{ recorded() }, $user eq 'postgres' ? 1 : 2, 'it is recorded');

# Exempt roles, and who is not

ask(q{CREATE ROLE app LOGIN; CREATE ROLE backup LOGIN; GRANT USAGE ON SCHEMA ta, tb TO app, backup;
	GRANT SELECT ON ta.secret, tb.secret TO app, backup; SELECT meter_grant('app', 'app'); SELECT meter_grant('backup', 'app')});
for my $role ('app', 'backup')
{
	$out = session(qq{SET meter.isolation = enforce; SET meter.isolation_exempt_roles = 'backup';
		SET SESSION AUTHORIZATION $role;
		SELECT meter_set_tenant('a'); SELECT v FROM tb.secret; SELECT v FROM ta.secret});
	($role eq 'app' ? \&like : \&unlike)->($out, qr/42501/, "$role is looked at, or not");
	like($out, qr/^a$/m, "$role reads what is its own");
}
recorded();

# An application cannot get out of its context

ask('ALTER ROLE app SET meter.isolation = enforce');
my ($status, $stdout, $stderr) = $node->psql('postgres', q{\set VERBOSITY verbose
	SELECT meter_set_tenant('a', 'token');
	SET meter.isolation = off; SET meter.isolation_exempt_roles = 'app'; SET meter.tenant = 'b';
	SELECT meter_set_tenant('b'); SELECT meter_set_tenant(NULL); DISCARD ALL; RESET ALL;
	SELECT v FROM tb.secret; SELECT meter_current_tenant()},
	on_error_stop => 0, extra_params => [ '-U', 'app' ]);
$out = "$stdout\n$stderr";
is(() = $out =~ /42501: permission denied to set parameter/g, 3, 'settings are not the application\'s');
is(() = $out =~ /42501: the context of tenant "a" cannot be changed without its token/g, 2, 'nor is a context with a token');
like($out, qr/42501: access to table tb.secret/, 'it does not get out');
recorded();

# The log's own entrance

$out = session(q{SELECT meter_set_tenant('a'); SET meter.isolation = enforce;
	INSERT INTO meter.inbox (tenant) VALUES ('b'); WITH i AS (INSERT INTO meter.inbox (tenant) VALUES ('b')) SELECT 1;
	COPY meter.inbox (tenant) FROM '/dev/null'; SELECT meter_track('a'); SELECT meter_track('b')});
is(() = $out =~ /42501: access to table meter.inbox/g, 3, 'rows of meter.inbox could be of any tenant');
like($out, qr/42501: tenant "b" is not the tenant of the context/, 'a call for another tenant is refused');
is(ask('SELECT count(*) FROM meter.inbox'), '1', 'one\'s own goes through');
ask('CREATE FUNCTION shared.forge() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$INSERT INTO meter.inbox (tenant) VALUES (\'b\')$$');
like(session(q{SELECT meter_set_tenant('a'); SET meter.isolation = enforce; SELECT shared.forge()}),
	qr/42501: access to table meter.inbox/, 'not even a SECURITY DEFINER function writes there');
ok((grep { $_->[1] eq 'b' } @{ recorded() }), 'and is recorded');

# meter.tenant follows names, in a session with and without a context

ask('ALTER SCHEMA tb RENAME TO "t B"; CREATE ROLE "old"; UPDATE meter.tenant SET role_name = \'old\' WHERE tenant = \'b\'; ALTER ROLE "old" RENAME TO "new"');
is(ask(q{SELECT schema_name, role_name FROM meter.tenant WHERE tenant = 'b'}), 't B|new', 'meter.tenant follows names');
like(session(q{SELECT meter_set_tenant('a'); SET meter.isolation = enforce; SELECT * FROM "t B".secret}),
	qr/42501: access to table "t B".secret/, 'and so does the guard');

# A session that knows a schema learns of a change

my $psql = $node->background_psql('postgres', on_error_stop => 0) if $node->can('background_psql');
SKIP:
{
	skip 'no background_psql', 1 unless $psql && $psql->can('query');
	$psql->query(q{SELECT meter_set_tenant('a'); SET meter.isolation = enforce; SELECT count(*) FROM shared.s});
	ask(q{INSERT INTO meter.tenant (tenant, schema_name) VALUES ('c', 'shared')});
	$psql->query('SELECT count(*) FROM shared.s');
	like($psql->{stderr} // '', qr/access to table shared.s/, 'of a new tenant');
	$psql->quit;
}

# off

$out = session(q{SELECT meter_set_tenant('a'); SELECT v FROM "t B".secret});
like($out, qr/^b$/m, 'without meter.isolation nothing is looked at');

done_testing();

# 029_explain.pl: the guard on what tells of rows that row security hides.
#
# Tenant a has 3 rows of a shared table, and b has 1000.  Whatever shows a of a
# plan, or counts what was read, is recorded with meter.isolation = log, though
# its transaction is rolled back, and fails with enforce.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask session start_node $by_hand);
use Test::More;

my $node = start_node('explain', "${by_hand}session_preload_libraries = 'auto_explain'\n");
ask(q{CREATE EXTENSION meter CASCADE;
	CREATE ROLE ra; CREATE ROLE rb; CREATE ROLE twofold; GRANT ra, rb TO twofold;
	CREATE ROLE analyst; CREATE ROLE watcher; GRANT pg_read_all_stats TO watcher; CREATE ROLE developer;
	CREATE SCHEMA ta AUTHORIZATION ra;
	INSERT INTO meter.tenant (tenant, schema_name, role_name) VALUES ('a', 'ta', 'ra'), ('b', NULL, 'rb');
	SELECT meter_grant('ra', 'tenant'), meter_grant('rb', 'tenant'), meter_grant('analyst', 'analyst'),
		meter_grant('watcher', 'tenant'), meter_grant('developer', 'tenant');
	GRANT EXECUTE ON FUNCTION meter_set_tenant, meter_current_tenant TO PUBLIC;
	CREATE SCHEMA shared; GRANT USAGE ON SCHEMA shared, ta TO PUBLIC; GRANT CREATE ON SCHEMA shared TO ra;
	CREATE TABLE shared.things (tenant text, n int);
	INSERT INTO shared.things SELECT CASE WHEN i < 4 THEN 'a' ELSE 'b' END, i FROM generate_series(1, 1003) AS i;
	ANALYZE shared.things;
	ALTER TABLE shared.things ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON shared.things USING (tenant = meter_current_tenant());
	CREATE POLICY analyst ON shared.things TO analyst USING (true);
	CREATE TABLE shared.parted (tenant text, n int) PARTITION BY RANGE (n);
	CREATE TABLE shared.part PARTITION OF shared.parted DEFAULT;
	ALTER TABLE shared.part ENABLE ROW LEVEL SECURITY;
	CREATE TABLE shared.open (n int);
	CREATE TABLE shared.triggered (n int);
	CREATE TABLE ta.staff (name text, n int); ALTER TABLE ta.staff ENABLE ROW LEVEL SECURITY; ALTER TABLE ta.staff FORCE ROW LEVEL SECURITY;
	CREATE POLICY own ON ta.staff USING (name = current_user);
	CREATE VIEW shared.as_reader WITH (security_invoker) AS SELECT * FROM shared.things;
	CREATE VIEW shared.as_owner AS SELECT * FROM shared.things;
	CREATE FUNCTION shared.inlined() RETURNS SETOF shared.things LANGUAGE sql STABLE AS 'SELECT * FROM shared.things';
	CREATE FUNCTION shared.called() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT count(*) FROM shared.things WHERE tenant = 'b'); END$$;
	CREATE FUNCTION shared.definer() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN RETURN (SELECT count(*) FROM shared.things WHERE tenant = 'a'); END$$;
	CREATE FUNCTION shared.deeper() RETURNS bigint LANGUAGE plpgsql AS $$DECLARE n bigint; BEGIN EXECUTE 'CALL shared.deep(0)' INTO n; RETURN n; END$$;
	CREATE PROCEDURE shared.deep(INOUT n bigint) LANGUAGE plpgsql AS $$BEGIN n := (SELECT count(*) FROM shared.things); END$$;
	CREATE FUNCTION shared.touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM * FROM shared.things; RETURN NEW; END$$;
	CREATE TRIGGER touch BEFORE INSERT ON shared.triggered FOR EACH ROW EXECUTE FUNCTION shared.touch();
	CREATE FUNCTION shared.explained() RETURNS SETOF text LANGUAGE plpgsql AS $$BEGIN RETURN QUERY EXECUTE 'EXPLAIN ANALYZE SELECT * FROM shared.things'; END$$;
	CREATE FUNCTION shared.looped() RETURNS text LANGUAGE plpgsql AS $$DECLARE r text; BEGIN FOR r IN EXPLAIN SELECT * FROM shared.things LOOP RETURN r; END LOOP; END$$;
	GRANT ALL ON ALL TABLES IN SCHEMA shared, ta TO PUBLIC;
	SELECT meter_track('a'), meter_track('b'); SELECT meter_flush(); SELECT meter_rollup()});

# What was recorded since the last time: tenant, command, object, refused.
sub recorded
{
	ask('SELECT meter_flush()');
	return ask(q{WITH gone AS (DELETE FROM meter.isolation_violation RETURNING *)
		SELECT string_agg(concat_ws(' ', COALESCE(tenant, '-'), command, object_type, object, refused), E'\n' ORDER BY at) FROM gone});
}

# In a session of a role, with settings that only superusers make.
sub as_role
{
	my ($role, $mode, $sql, $settings) = @_;
	my $text = $sql =~ /^BEGIN/ ? $sql : "BEGIN;\n$sql;\nROLLBACK";
	return session('SET meter.isolation = ' . $mode . ";\n" . ($settings // '') . ";\nSET SESSION AUTHORIZATION $role;\n$text");
}

my $print = 'SET debug_print_plan = on; SET client_min_messages = log;';
my @told = (
	[ 'EXPLAIN', q{EXPLAIN SELECT * FROM shared.things WHERE tenant = 'b'} ],
	[ 'EXPLAIN (COSTS OFF)', 'EXPLAIN (COSTS OFF) SELECT * FROM shared.things' ],
	[ 'EXPLAIN ANALYZE', q{EXPLAIN ANALYZE SELECT * FROM shared.things WHERE tenant = 'b'} ],
	[ 'a sub-select', 'EXPLAIN SELECT (SELECT count(*) FROM shared.things)' ],
	[ 'WITH', 'EXPLAIN ANALYZE WITH t AS MATERIALIZED (SELECT * FROM shared.things) SELECT * FROM t' ],
	[ 'a join', 'EXPLAIN SELECT * FROM shared.open JOIN shared.things USING (n)' ],
	[ 'what is never read', 'EXPLAIN SELECT * FROM (SELECT * FROM shared.things) AS t WHERE false' ],
	[ 'UPDATE', 'EXPLAIN ANALYZE UPDATE shared.things SET n = n' ],
	[ 'DELETE', 'EXPLAIN DELETE FROM shared.things' ],
	[ 'INSERT ... SELECT', 'EXPLAIN INSERT INTO shared.open SELECT n FROM shared.things' ],
	[ 'a prepared statement', 'PREPARE p AS SELECT * FROM shared.things; EXPLAIN EXECUTE p' ],
	[ 'a prepared statement, analyzed', 'PREPARE p(text) AS SELECT * FROM shared.things WHERE tenant = $1; EXPLAIN ANALYZE EXECUTE p($$b$$)' ],
	[ 'DECLARE CURSOR', 'EXPLAIN DECLARE c CURSOR FOR SELECT * FROM shared.things' ],
	[ 'CREATE TABLE AS', 'EXPLAIN CREATE TABLE ta.made AS SELECT * FROM shared.things' ],
	[ 'CREATE TABLE AS, analyzed', 'EXPLAIN ANALYZE CREATE TABLE ta.made AS SELECT * FROM shared.things' ],
	[ 'CREATE TABLE AS EXECUTE', 'PREPARE p AS SELECT * FROM shared.things; EXPLAIN ANALYZE CREATE TABLE ta.made AS EXECUTE p' ],
	[ 'CREATE MATERIALIZED VIEW', 'EXPLAIN CREATE MATERIALIZED VIEW ta.made AS SELECT * FROM shared.things' ],
	[ 'a view that asks as its reader', 'EXPLAIN ANALYZE SELECT * FROM shared.as_reader' ],
	[ 'a function that is inlined', 'EXPLAIN SELECT * FROM shared.inlined()' ],
	[ 'a function that is called', 'EXPLAIN (ANALYZE, BUFFERS) SELECT shared.called()' ],
	[ 'what that calls', 'EXPLAIN ANALYZE SELECT shared.deeper()' ],
	[ 'a trigger', 'EXPLAIN ANALYZE INSERT INTO shared.triggered VALUES (1)' ],
	[ 'EXPLAIN in a function', 'SELECT shared.explained()' ],
	[ 'EXPLAIN in a loop', 'SELECT shared.looped()' ],
	[ 'EXPLAIN in DO', q{DO $$ DECLARE r text; BEGIN EXECUTE 'EXPLAIN SELECT * FROM shared.things' INTO r; RAISE NOTICE '%', r; END $$} ],
	[ 'debug_print_plan', "$print SELECT count(*) FROM shared.things", 'debug_print_plan', 'shared.things' ],
	[ 'debug_print_plan in a function', "$print SELECT shared.called()", 'debug_print_plan', 'shared.things' ],
	[ 'the log', q{EXPLAIN ANALYZE SELECT * FROM meter.event WHERE tenant = 'b'}, 'EXPLAIN', 'meter.event' ],
	[ 'usage', 'EXPLAIN SELECT * FROM meter.usage_hourly', 'EXPLAIN', 'meter.usage_hourly' ],
	[ 'a view on usage', 'EXPLAIN SELECT * FROM meter.usage_daily', 'EXPLAIN', 'meter.usage_hourly', 1 ],
);
for my $told (@told)
{
	my ($what, $sql, $command, $object, $more) = @$told;
	$command //= 'EXPLAIN';
	$object //= 'shared.things';
	my $out = as_role('ra', 'log', $sql);
	unlike($out, qr/ERROR/, "$what: succeeds with log");
	like($out, qr/cost=|Scan|:aliasname things/, "$what: shows a plan");
	like(recorded(), $more ? qr/^a \Q$command table $object\E f$/m : qr/\Aa \Q$command table $object\E f\z/, "$what: is recorded");
	$out = as_role('ra', 'enforce', $sql);
	like($out, qr/ERROR:  42501: access to table \Q$object is not allowed with $command\E\nDETAIL:  Row security hides rows of it, and a plan tells how many\.\nHINT:/,
		"$what: fails with enforce");
	unlike($out, qr/cost=|Scan|:aliasname things/, "$what: shows nothing");
	is(recorded(), "a $command table $object t", "$what: is recorded as refused");
}

# What was read is counted, also what was hidden.

for my $counter (
	[ 'pg_stat_get_tuples_returned', 'SELECT seq_tup_read FROM pg_stat_user_tables' ],
	[ 'pg_stat_get_tuples_fetched', 'SELECT idx_tup_fetch FROM pg_stat_all_indexes' ],
	[ 'pg_stat_get_xact_tuples_returned', 'SELECT seq_tup_read FROM pg_stat_xact_user_tables' ],
	[ 'pg_stat_get_xact_tuples_fetched', q{SELECT pg_stat_get_xact_tuples_fetched('shared.things'::regclass)} ],
	[ 'pg_stat_get_blocks_fetched', 'SELECT heap_blks_read FROM pg_statio_user_tables' ],
	[ 'pg_stat_get_blocks_hit', q{SELECT pg_stat_get_blocks_hit('shared.things'::regclass)} ],
	[ 'pg_stat_get_xact_blocks_fetched', q{SELECT pg_stat_get_xact_blocks_fetched('shared.things'::regclass)} ],
	[ 'pg_stat_get_xact_blocks_hit', q{DO $$ BEGIN PERFORM pg_stat_get_xact_blocks_hit('shared.things'::regclass); END $$} ])
{
	my ($function, $sql) = @$counter;
	my $out = as_role('ra', 'log', $sql);
	unlike($out, qr/ERROR/, "$function(): succeeds with log");
	like(recorded(), qr/^a EXECUTE function pg_catalog\.\Q$function(oid)\E f$/m, "$function(): is recorded");
	$out = as_role('ra', 'enforce', $sql);
	like($out, qr/ERROR:  42501: access to function pg_catalog\.\Q$function(oid)\E is not allowed in the context of tenant "a"/,
		"$function(): fails with enforce");
	is(recorded(), "a EXECUTE function pg_catalog.$function(oid) t", "$function(): is recorded as refused");
}
is(as_role('ra', 'enforce', q{SELECT relname FROM pg_stat_user_tables WHERE relname = 'things'}), "things\n", 'names are not counters');

# What stays as it is: [what, role, SQL, what is to come, settings].

my $require = 'SET meter.isolation_require_context = on';
my $removed = qr/Rows Removed by Filter: 1000/;
for my $free (
	[ 'a query', 'ra', 'SELECT count(*) FROM shared.things', qr/^3$/m ],
	[ 'a query after an EXPLAIN that was refused', 'ra', q{DO $$ BEGIN EXECUTE 'EXPLAIN SELECT * FROM shared.things';
		EXCEPTION WHEN insufficient_privilege THEN END $$; SELECT shared.called()}, qr/^0$/m, '', 1 ],
	[ 'EXPLAIN of another table', 'ra', 'EXPLAIN ANALYZE SELECT * FROM shared.open', qr/Seq Scan/ ],
	[ 'EXPLAIN of a table whose partitions have row security', 'ra', 'EXPLAIN ANALYZE SELECT * FROM shared.parted', qr/Scan/ ],
	[ 'EXPLAIN of VALUES', 'ra', 'EXPLAIN ANALYZE VALUES (1), (2)', qr/Values Scan/ ],
	[ 'EXPLAIN of INSERT', 'ra', q{EXPLAIN INSERT INTO shared.things VALUES ('a', 1)}, qr/Insert on things/ ],
	[ 'EXPLAIN of a call that is not made', 'ra', 'EXPLAIN SELECT shared.called()', qr/Result/ ],
	[ 'EXPLAIN of a view that asks as its owner', 'ra', 'EXPLAIN SELECT * FROM shared.as_owner', qr/Seq Scan/ ],
	[ 'EXPLAIN of a SECURITY DEFINER function', 'ra', 'EXPLAIN ANALYZE SELECT shared.definer()', qr/Result/ ],
	[ 'EXPLAIN of what is hidden in the own schema', 'ra', 'EXPLAIN ANALYZE SELECT * FROM ta.staff', qr/Seq Scan/ ],
	[ 'debug_print_plan for the server log', 'ra', 'SET debug_print_plan = on; SELECT count(*) FROM shared.things', qr/^3$/m ],
	[ 'auto_explain', 'ra', 'SELECT shared.called()', qr/^0$/m,
		'SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on; SET auto_explain.log_nested_statements = on' ],
	[ 'a role that is exempt', 'ra', 'EXPLAIN ANALYZE SELECT * FROM shared.things', $removed, q{SET meter.isolation_exempt_roles = 'ra'} ],
	[ 'an analyst', 'analyst', 'EXPLAIN ANALYZE SELECT * FROM meter.event', qr/actual/ ],
	[ 'an analyst, where a context is required', 'analyst', 'EXPLAIN ANALYZE SELECT * FROM meter.event; EXPLAIN SELECT * FROM shared.things', qr/actual.*Seq Scan/s, $require ],
	[ 'a role of no tenant, of a table that is not of meter', 'developer', 'EXPLAIN ANALYZE SELECT * FROM shared.things', qr/actual/ ],
	[ 'a superuser with a context', ask('SELECT current_user'), 'EXPLAIN ANALYZE SELECT * FROM shared.things', qr/rows=1003/, q{SELECT meter_set_tenant('a')} ],
	[ 'counters without a context', 'developer', 'SELECT count(*) FROM pg_stat_xact_user_tables', qr/^\d+$/m ],
	[ 'counters for who may read statistics', 'watcher', q{SELECT meter_set_tenant('a'); SELECT sum(seq_tup_read) >= 0 FROM pg_stat_user_tables}, qr/^t$/m ])
{
	my ($what, $role, $sql, $expected, $settings, $some) = @$free;
	my $out = as_role($role, 'enforce', $sql, $settings);
	like($out, $expected, "$what: is free");
	unlike($out, qr/ERROR|LOG:/, "$what: without an error");
	my $rows = recorded();
	is($rows, '', "$what: is not recorded") unless $some;
}
is(ask('SELECT current_setting(\'meter.isolation\')'), 'off', 'the guard is off elsewhere');
like(as_role('ra', 'off', 'EXPLAIN ANALYZE SELECT * FROM shared.things; SELECT count(*) > 0 FROM pg_stat_xact_user_tables'), qr/1000.*^t$/ms,
	'without meter.isolation nothing is looked at');

# Without a context: whoever does not see all tenants does not see plans of meter's
# tables, and, where a context is required, of no others.

for my $role ('twofold', 'developer')
{
	my $out = as_role($role, 'enforce', 'SELECT count(*) FROM meter.event; EXPLAIN SELECT * FROM meter.event');
	like($out, qr/42501: access to table meter.event is not allowed with EXPLAIN/, "$role is not shown plans of meter's tables without a context");
	is(recorded(), '- EXPLAIN table meter.event t', 'which is recorded');
}
for my $sql ('EXPLAIN SELECT * FROM shared.things', 'SELECT seq_tup_read FROM pg_stat_user_tables')
{
	like(as_role('developer', 'enforce', $sql, $require), qr/42501: access to/, "$sql: is refused where a context is required");
	like(recorded(), qr/\A- .* t\z/, 'which is recorded');
}

# An analyst who works for a tenant is held to it.

like(as_role('analyst', 'enforce', q{SELECT meter_set_tenant('a'); EXPLAIN SELECT * FROM meter.event}),
	qr/42501: access to table meter.event is not allowed with EXPLAIN/, 'an analyst with a context is held to it');
recorded();

# A database that does not have the extension, where the library is loaded

$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
like(session(q{CREATE TABLE rls (n int); ALTER TABLE rls ENABLE ROW LEVEL SECURITY; GRANT SELECT ON rls TO developer;
	SET meter.isolation = enforce; SET meter.isolation_require_context = on; SET ROLE developer; EXPLAIN ANALYZE SELECT * FROM rls}, 'elsewhere'),
	qr/Result.*actual/, 'is free');

done_testing();

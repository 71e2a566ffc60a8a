# 026_isolation_name.pl: names that look like SQL, and an application that may do
# nothing else.
#
# Whatever a tenant, user, resource or endpoint is called, it stays a name, in
# calls of an application and where tenants are made.  The application may track
# and ask for limits, and nothing besides.  Then the database is dumped and
# restored, and isolates as before.
use strict;
use warnings;
use utf8;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node $by_hand);
use PostgreSQL::Test::Utils;
use Test::More;

my $tempdir = PostgreSQL::Test::Utils::tempdir;
my $node = start_node('names', "${by_hand}meter.track_refused = off\n");
ask(q{CREATE EXTENSION meter CASCADE; CREATE ROLE app LOGIN; SELECT meter_grant('app', 'app');
	CREATE TABLE canary (id int); INSERT INTO canary VALUES (1);
	SELECT meter_load_preset('tiered')});

my @names = (
	q{'; DROP TABLE canary; --}, q{"; DROP TABLE canary; --}, q{$$; DROP TABLE canary; $$}, q{') ; DELETE FROM canary; --},
	q{x' OR '1'='1}, q{%I %s %L %1$I}, q{\\'; DROP TABLE canary; --}, q{:name :'name'}, q{${HOME} `id`}, q{../../etc/passwd},
	q{tenant".secret}, q{public.canary}, q{pg_catalog}, q{NULL}, q{*}, q{{"a": 1}}, q{ leading and trailing }, q{Ünï cödé 租户},
	q{a.b.c}, q{"quoted"}, ('x' x 128));

sub run
{
	my ($name, $sql, $user) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 1,
		extra_params => [ '-v', "name=$name", $user ? ('-U', $user) : () ]);
	return $status == 0 ? $out : "$err";
}

my $made = 0;
for my $name (@names)
{
	my $calls = q{
		SELECT meter_track(:'name', endpoint => '/' || :'name', method => left(:'name', 4), service => left(:'name', 20),
			user_id => :'name', metadata => jsonb_build_object('a', :'name'), request_id => :'name',
			error_message => :'name', idempotency_key => :'name');
		SELECT result FROM meter_track_batch(jsonb_build_array(jsonb_build_object('tenant', :'name', 'user_id', :'name',
			'endpoint', '/' || :'name')));
		SELECT (meter_check(:'name', :'name', 1, :'name')).allowed, meter_allow(:'name', 'POST /' || :'name');
		SELECT meter_refund(:'name', :'name')};
	is(run($name, $calls, 'app'), "\naccepted\nt|t\n", "an application calls with the name " . $name =~ s/[^ -~]/?/gr);

	is(run($name, q{SELECT meter_create_tenant(:'name'); SELECT meter_set_tenant(:'name');
			SELECT meter_current_tenant() = :'name', current_schema() = meter.default_schema_name(:'name')}),
		"\n\nt|t", "there is a tenant of that name");
	$made++;
	is(run($name, q{SET meter.isolation = enforce; SELECT meter_set_tenant(:'name'); CREATE TABLE mine (v text);
			INSERT INTO mine VALUES (:'name'); SELECT v = :'name' FROM mine}),
		"\nt", 'which works in its schema');
	like(run($name, q{SELECT count(*) FROM meter_isolation_audit(:'name')}), qr/^\d+$/, 'and can be audited');
}
is(ask('SELECT count(*) FROM canary'), '1', 'no name was executed');
is(ask('SELECT count(*) FROM meter.tenant'), $made, 'all tenants are there');
is(ask('SELECT count(DISTINCT schema_name) FROM meter.tenant JOIN pg_namespace ON nspname = schema_name'), $made,
	'each in its own schema');
ask('SELECT meter_flush(); SELECT meter_rollup()');
is(ask('SELECT count(DISTINCT tenant) FROM meter.event'), $made, 'and metered by its name');
is(ask('SELECT count(*) FROM meter.event WHERE user_id <> tenant'), '0', 'as it was given');

# One of them reaches for another, and is told so, whatever they are called

my ($one, $other) = @names[0, 1];
my ($status, $out, $err) = $node->psql('postgres', q{SET meter.isolation = enforce; SELECT meter_set_tenant(:'one');
		SELECT format('SELECT * FROM %I.mine', meter.default_schema_name(:'other')) \gexec},
	extra_params => [ '-v', "one=$one", '-v', "other=$other" ]);
like($err, qr/ERROR:  access to table .*mine is not allowed in the context of tenant "\Q$one\E"/, 'a tenant reaches for another');
ask('SELECT meter_flush()');
is(ask('SELECT count(*) FROM meter.isolation_violation'), '1', 'it is recorded');
is($node->safe_psql('postgres', q{SELECT tenant = :'one' AND foreign_tenant = :'other' FROM meter.isolation_violation},
	extra_params => [ '-v', "one=$one", '-v', "other=$other" ]), 't', 'with both names');

# An application can do nothing else

my $refused = 0;
my @functions = split /\n/, ask(q{SELECT p.oid::regprocedure FROM pg_proc AS p
	JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
	WHERE has_function_privilege('app', p.oid, 'EXECUTE') ORDER BY 1::text});
is_deeply([ grep { !/^(meter_(track|track_batch|track_llm|llm_cost|check|allow|require|refund|headers|set_tenant|current_tenant|normalize_endpoint|charge|explain_charge|charge_events|explain_charge_events|charge_check|health|quota)|meter\.(header_\w+|quota_state|api_version_begins|api_version_status))\(/ } @functions ],
	[], 'an application may execute what applications need');
is(ask(q{SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class AS c
	WHERE c.relnamespace = 'meter'::regnamespace AND (has_any_column_privilege('app', c.oid, 'UPDATE, REFERENCES')
		OR c.relname <> 'api_version' AND has_any_column_privilege('app', c.oid, 'SELECT')
		OR has_table_privilege('app', c.oid, 'DELETE, TRUNCATE, TRIGGER')
		OR c.relname <> 'inbox' AND has_any_column_privilege('app', c.oid, 'INSERT'))}), '',
	'and has no right on any table but that to fill the inbox');

# Dumped and restored, it isolates as before

command_ok([ 'pg_dump', '-Fc', '-f', "$tempdir/dump", $node->connstr('postgres') ], 'it is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), "$tempdir/dump" ], 'and restored');
is($node->safe_psql('restored', 'SELECT count(*) FROM meter.tenant JOIN pg_namespace ON nspname = schema_name'), $made,
	'all tenants are there again');
is($node->safe_psql('restored', 'SELECT count(*) FROM meter.isolation_violation'), '1', 'and violations');
is($node->safe_psql('restored', q{SELECT string_agg(rule || ' ' || tenant || ' ' || object, E'\n') FROM meter_isolation_audit() WHERE rule <> 22 AND rule <> 24}), '',
	'the audit finds nothing new');
($status, $out, $err) = $node->psql('restored', q{SET meter.isolation = enforce; SELECT meter_set_tenant(:'one');
		SELECT format('SELECT * FROM %I.mine', meter.default_schema_name(:'other')) \gexec},
	extra_params => [ '-v', "one=$one", '-v', "other=$other" ]);
like($err, qr/is not allowed in the context/, 'the guard is there');
is($node->safe_psql('restored', q{SET ROLE meter_tenant; SELECT count(*) FROM meter.event}), '0',
	'and so is row security');
is($node->safe_psql('restored', q{SELECT format('SET ROLE %I', role_name) FROM meter.tenant WHERE tenant = 'NULL' \gexec
	SELECT count(*) FROM meter.event}), '2', 'by which a tenant sees its own rows');

done_testing();

# 023_context.pl: the context of a session through a real PgBouncer.
#
# Clients of four tenants share fewer connections than there are tenants.  In
# each tenant's schema is a table "item" of which every row says whose it is;
# all statements name it without its schema.  PgBouncer is the one that the
# variable PGBOUNCER names, or that is in the PATH.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use MeterTest qw(ask close_session in_session start_node wait_for_flush);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my ($bouncer) = grep { -x $_ } $ENV{PGBOUNCER} || (), map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'there is no PgBouncer' if !$bouncer;

my $node = start_node('context', q{shared_preload_libraries = 'meter'
meter.isolation = enforce
meter.isolation_require_context = on
meter.isolation_exempt_roles = 'postgres'
});
ask(q{CREATE EXTENSION meter CASCADE; CREATE ROLE app LOGIN;
	SELECT meter_grant('app', 'app'); GRANT pg_read_all_data TO app});
ask(qq{CREATE SCHEMA "s $_"; CREATE TABLE "s $_".item (owner text NOT NULL, by text);
	INSERT INTO "s $_".item VALUES ('t$_', 'first');
	GRANT INSERT ON "s $_".item TO app; GRANT USAGE ON SCHEMA "s $_" TO app;
	INSERT INTO meter.tenant (tenant, schema_name) VALUES ('t$_', 's $_')}) for 1 .. 4;

# --- PgBouncer ----------------------------------------------------------------

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $server = 'host=' . $node->host . ' port=' . $node->port . ' dbname=postgres user=app';
append_to_file("$dir/pgbouncer.ini", qq{[databases]
transaction = $server pool_mode=transaction pool_size=3
session = $server pool_mode=session pool_size=1
[pgbouncer]
listen_addr =
unix_socket_dir = $dir
listen_port = $port
auth_type = any
logfile = $dir/log
max_client_conn = 100
query_wait_timeout = 60
});
my $pooler = IPC::Run::start([ $bouncer, "$dir/pgbouncer.ini" ], '<', \undef,
	'>', "$dir/out", '2>&1');

END
{
	local $?;		# of the test
	$pooler->kill_kill if $pooler;
}

sub connection
{
	my ($database) = @_;
	return "host=$dir port=$port dbname=$database user=app";
}

# A client of the pooler, for in_session().
sub client
{
	my ($database) = @_;
	my $client = { in => '', out => '' };
	$client->{timer} = IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	$client->{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', connection($database) ],
		'<', \$client->{in}, '>', \$client->{out}, '2>&1', $client->{timer});
	return $client;
}

my $tries = 10 * $PostgreSQL::Test::Utils::timeout_default;
usleep(100_000)
  while $tries-- > 0 && system('psql', '-XAtqc', 'SELECT', '-o', '/dev/null', '-d', connection('transaction')) != 0;

# --- pooling of transactions ----------------------------------------------------

# Three of eight clients at a time have a transaction open, as many as there are
# connections; which, and in which order they commit, is drawn.
srand 42;
my @clients = map { client('transaction') } 0 .. 7;
$clients[$_]{tenant} = 't' . (1 + $_ % 4) for 0 .. 7;
my (%served, %items, @wrong, @left);
my $rounds = 60;

for my $round (1 .. $rounds)
{
	my @open = (sort { $a->[0] <=> $b->[0] } map { [ rand, $_ ] } @clients)[ 0 .. 2 ];

	for my $client (map { $_->[1] } @open)
	{
		in_session($client, "BEGIN; SELECT meter_set_tenant('$client->{tenant}', local => true)");
	}
	for my $client (map { $_->[1] } reverse @open)
	{
		my $out = in_session($client, q{SELECT string_agg(DISTINCT owner, ' '), meter_current_tenant(),
				pg_backend_pid() FROM item;
			INSERT INTO item SELECT meter_current_tenant(), 'interleaved';
			SELECT meter_track(meter_current_tenant())});
		my ($seen, $current, $pid) = $out =~ /^(\S+)\|(\S+)\|(\d+)\n\n?$/ or push @wrong, $out;
		$served{$pid // ''}{$client->{tenant}} = 1;
		push @wrong, $out if ($seen // '') ne $client->{tenant} || ($current // '') ne $client->{tenant};
	}
	for my $client (map { $_->[1] } @open)
	{
		# every fifth is rolled back
		my $end = $round % 5 == 0 ? 'ROLLBACK' : 'COMMIT';
		my $out = in_session($client, "$end; SELECT meter_current_tenant(), current_setting('search_path')");
		push @left, $out if $out ne "|\"\$user\", public\n";
		$items{$client->{tenant}}++ if $end eq 'COMMIT';
	}
}
is("@wrong", '', 'in each transaction the tenant is the one that it has set');
is("@left", '', 'and none is left behind it');
is(scalar keys %served, 3, 'three connections have served eight clients');
is(join(' ', map { join ',', sort keys %$_ } values %served), join(' ', ('t1,t2,t3,t4') x 3),
	'each of them clients of all tenants');
is(ask(join ' UNION ALL ', map { qq{SELECT owner, count(*) FROM "s $_".item WHERE by = 'interleaved' GROUP BY 1} } 1 .. 4),
	join("\n", map { "t$_|$items{qq{t$_}}" } 1 .. 4), 'each row is in the schema of its tenant');

like(in_session($clients[0], 'SELECT * FROM item'), qr/relation "item" does not exist/,
	'outside of these transactions no tenant\'s table is found');
like(in_session($clients[0], 'SELECT * FROM "s 1".item'), qr/not allowed without a tenant's context/,
	'and none can be named');
like(in_session($clients[0], q{BEGIN; SELECT meter_set_tenant('t1', local => true); SELECT * FROM "s 2".item}),
	qr/not allowed in the context of tenant "t1"/, 'nor another tenant\'s in one');
in_session($clients[0], 'ROLLBACK');
like(in_session($clients[0], q{BEGIN; SELECT meter_set_tenant('t1', 'token', true); SELECT meter_set_tenant('t2', local => true)}),
	qr/cannot be changed without its token/, 'a token keeps it for the transaction');
is(in_session($clients[0], q{ROLLBACK; BEGIN; SELECT meter_set_tenant('t2', local => true); SELECT owner FROM item LIMIT 1; COMMIT}),
	"\nt2\n", 'and no longer');
is(in_session($clients[0], q{BEGIN; SELECT meter_set_tenant('t1', 'token', true); RESET ALL; SHOW search_path;
	COMMIT; SHOW search_path}), qq{\n"s 1", public\n"\$user", public\n},
	'RESET ALL leaves its search_path within, and none behind');
is(in_session($clients[0], q{SELECT meter_set_tenant('t3', local => true)\; SELECT owner FROM item LIMIT 1}),
	"\nt3\n", 'statements sent as one are a transaction, too');
close_session($_) for @clients;

# Also under a load: what a client means to be is compared with where it went.
my $script = "$dir/load.sql";
append_to_file($script, q{\set n random(1, 4)
BEGIN;
SELECT meter_set_tenant('t' || :n, local => true);
INSERT INTO item VALUES ('t' || :n, 'load');
SELECT 1 / (count(*) FILTER (WHERE owner = 't' || :n) = count(*))::integer FROM item;
COMMIT;
});
my ($out, $errors);
my $done = IPC::Run::run([ 'pgbench', '-n', '-c', 8, '-t', 100, '-f', $script, connection('transaction') ],
	'>', \$out, '2>', \$errors);
ok($done && $out =~ m{processed: 800/800}, 'eight clients at work at the same time see no other tenant\'s rows')
  or diag("$out\n$errors");
is(ask(join ' UNION ALL ', map { qq{SELECT count(*) FROM "s $_".item WHERE owner <> 't$_'} } 1 .. 4),
	join("\n", (0) x 4), 'nor write any');
is(ask('SELECT sum(n) FROM (' . join(' UNION ALL ', map { qq{SELECT count(*) AS n FROM "s $_".item WHERE by = 'load'} } 1 .. 4) . ') AS x'),
	800, 'all of which are there');

# --- pooling of sessions ----------------------------------------------------------

my $first = client('session');
my $pid = in_session($first, 'SELECT pg_backend_pid()');
in_session($first, q{SELECT meter_set_tenant('t1')});
is(in_session($first, q{SELECT DISTINCT owner, meter_current_tenant() FROM item}), "t1|t1\n",
	'a context of the session lasts');
close_session($first);
my $second = client('session');
is(in_session($second, q{SELECT pg_backend_pid()}), $pid, 'the next client has the same connection');
is(in_session($second, q{SELECT meter_current_tenant(), current_setting('search_path')}),
	"|\"\$user\", public\n", 'whose context has ended by DISCARD ALL');

in_session($second, q{SELECT meter_set_tenant('t2', 'token')});
close_session($second);
my $third = client('session');
is(in_session($third, q{SELECT pg_backend_pid()}), $pid, 'and so has the next');
is(in_session($third, q{SELECT DISTINCT owner, meter_current_tenant() FROM item}), "t2|t2\n",
	'a context with a token has not ended, and its search_path is there again');
like(in_session($third, q{SELECT meter_set_tenant('t3')}), qr/cannot be changed without its token/,
	'who does not have the token cannot change it');
like(in_session($third, q{SELECT * FROM "s 3".item}), qr/not allowed in the context of tenant "t2"/,
	'and gets at no other tenant\'s table');
is(in_session($third, q{SELECT meter_set_tenant('t3', 'token'); SELECT DISTINCT owner FROM item}), "\nt3\n",
	'who has it can');
in_session($third, q{SELECT meter_set_tenant(NULL, 'token')});
close_session($third);
my $fourth = client('session');
is(in_session($fourth, q{SELECT pg_backend_pid(), meter_current_tenant()}), ($pid =~ s/\n//r) . "|\n",
	'or end it');
close_session($fourth);

# --- who belongs to a tenant ------------------------------------------------------

ask(q{CREATE ROLE r1; UPDATE meter.tenant SET role_name = 'r1' WHERE tenant = 't1'; GRANT r1 TO app});
my $bound = client('session');
is(in_session($bound, 'SELECT meter_current_tenant()'), "t1\n", 'its context is implied');
for my $tenant ('t2', 'nobody')
{
	like(in_session($bound, "SELECT meter_set_tenant('$tenant')"), qr/role "app" may not work for tenant "$tenant"/,
		"and is told the same of another tenant and of none: $tenant");
}
close_session($bound);

# What was tracked inside of these transactions stays where they rolled back.
wait_for_flush();
is(ask('SELECT count(*), count(DISTINCT tenant) FROM meter.event'), 3 * $rounds . '|4',
	'all events are tracked, each of its tenant');
is(ask('SELECT count(*) > 0, bool_and(refused) FROM meter.isolation_violation'), 't|t',
	'the attempts on other tenants are recorded');

done_testing();

# 025_violation.pl: violations of isolation are kept, whatever happens.
#
# The statement that is caught is rolled back, its session may be killed, and so
# may the server, before anything was flushed.  Without preload, where there is
# no queue, a background worker keeps the violation.  A standby enforces, too,
# and has its log.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask close_session in_session kill_server ok_until open_session session start_again start_node);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('violation', q{
shared_preload_libraries = 'meter'
meter.flush_interval = 0
meter.rollup_interval = 0
meter.isolation = enforce
max_wal_senders = 4
wal_level = replica
}, allows_streaming => 1);

my $schema = q{CREATE EXTENSION meter CASCADE;
	CREATE SCHEMA ta; CREATE SCHEMA tb; CREATE TABLE tb.secret (v text);
	INSERT INTO meter.tenant (tenant, schema_name) VALUES ('a', 'ta'), ('b', 'tb')};
ask($schema);

# What is kept: the object, the command, and whether it was refused.
sub kept
{
	return ask('SELECT object, command, refused, query FROM meter.isolation_violation ORDER BY at', @_);
}

# By the queue, over a crash

like(session(q{BEGIN; SELECT meter_set_tenant('a'); INSERT INTO tb.secret VALUES ('geheim'); ROLLBACK}),
	qr/42501: access to table tb.secret/, 'a statement is caught');
is(kept(), '', 'what was caught waits in the queue');
kill_server();
start_again();
ask('SELECT meter_flush()');
is(kept(), 'tb.secret|INSERT|t|INSERT INTO tb.secret VALUES (?);', 'and survives kill -9 of the server');
is(ask('SELECT count(*) FROM meter.event'), '0', 'it is no event');
ask('SELECT meter_flush()');
is(ask('SELECT count(*) FROM meter.isolation_violation'), '1', 'it is kept once');

# At once, and who listens is told, where the flusher works

ask('ALTER SYSTEM SET meter.flush_interval = 200');
ask('SELECT pg_reload_conf()');
my $caught = open_session();
my $out = in_session($caught, q{LISTEN meter; SELECT meter_set_tenant('a'); SET application_name = 'app';
	SELECT v FROM tb.secret});
my $tries = 10 * $PostgreSQL::Test::Utils::timeout_default;
$out .= in_session($caught, 'SELECT pg_sleep(0.1)') while $out !~ /^Asynchronous notification/m && $tries-- > 0;
close_session($caught);
like($out, qr/Asynchronous notification "meter" with payload "\{.*"event": "api.isolation.violation".*"foreign_tenant": "b"/,
	'a notification is sent');
like($out, qr/"tenant": "a"/, 'with who it was');
ok_until(q{SELECT count(*) = 2 FROM meter.isolation_violation}, 'it is kept by the flusher');
is(ask(q{SELECT role = session_user, application_name, client_address IS NULL
	FROM meter.isolation_violation WHERE command = 'SELECT'}), 't|app|t', 'with where it came from');

# Of 8 sessions at once, none is lost

my @sessions = map { my $n = $_; IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-f', '-' ],
	'<', \ join("\n", "SELECT meter_set_tenant('a');", map { "SELECT v AS v_${n}_$_ FROM tb.secret;" } 1 .. 50),
	'>', \ my $o, '2>', \ my $e) } 1 .. 8;
$_->finish for @sessions;
ok_until(q{SELECT count(*) = 402 FROM meter.isolation_violation}, '400 statements of 8 sessions are all kept');
is(ask(q{SELECT count(DISTINCT query) FROM meter.isolation_violation WHERE query LIKE '%AS v_%'}), '400', 'each of them');

# A standby enforces, and its log tells

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
like(session(q{SELECT meter_set_tenant('a'); SELECT v FROM tb.secret; SELECT meter_current_tenant()}, $standby),
	qr/a\n.*42501: access to table tb.secret/s, 'a standby enforces');
like(slurp_file($standby->logfile), qr/refused isolation violation.*\n.*A session of tenant "a" reached table tb.secret of tenant "b" with SELECT/,
	'and its log tells');
ask(q{INSERT INTO meter.tenant (tenant, schema_name) VALUES ('c', 'tc'); CREATE SCHEMA tc; CREATE TABLE tc.t ()});
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
like(session(q{SELECT meter_set_tenant('a'); SELECT FROM tc.t}, $standby), qr/42501: access to table tc.t/,
	'it learns of new tenants');
$standby->stop;

# Without preload

my $plain = start_node('plain', "meter.isolation = enforce\n");
ask($schema, $plain);
like(session(q{BEGIN; SELECT meter_set_tenant('a'); DELETE FROM tb.secret WHERE v = 'geheim'; ROLLBACK}, $plain),
	qr/42501: access to table tb.secret/, 'without preload, a statement is caught');
is(kept($plain), 'tb.secret|DELETE|t|DELETE FROM tb.secret WHERE v = ?;', 'and kept by a worker');
like(session(q{LISTEN meter; SELECT meter_set_tenant('a'); SELECT v FROM tb.secret; SELECT 1}, $plain),
	qr/api.isolation.violation/, 'and told');

# No statement_timeout cuts that short; nor do the database's defaults stop the
# worker

ask('ALTER DATABASE postgres SET default_transaction_read_only = on', $plain);
my $before_timeouts = -s $plain->logfile;
my ($sent, $ended, $refused) = (0, 0, 0);
# how far one gets in a few milliseconds depends on what else the machine does
while ($refused < 9 && $sent < 20 * 18)
{
	session(join(';', q{SELECT meter_set_tenant('a')},
		map { my $ms = $_; "SET statement_timeout = '${ms}ms'", map { "SELECT v AS ms_${ms}_$_ FROM tb.secret" } 1 .. 3 }
			1, 2, 3, 5, 10, 100), $plain);
	$sent += 18;

	# What was cancelled even before it was refused has reached nothing
	my $timeouts = slurp_file($plain->logfile, $before_timeouts);
	$ended = () = $timeouts =~ /ERROR:  (?:access to table tb.secret|canceling statement due to statement timeout)[^\n]*\n(?:[^\n]*DETAIL:[^\n]*\n)?[^\n]*STATEMENT:  SELECT v AS ms_/g;
	$refused = () = $timeouts =~ /LOG:  refused isolation violation/g;
}
is($ended, $sent, 'all statements with short timeouts are refused or cancelled');
cmp_ok($refused, '>=', 9, 'those with more time are refused');
is(ask(q{SELECT count(*) FROM meter.isolation_violation WHERE query LIKE '%AS ms\_%'}, $plain), $refused,
	'and what was refused is kept, also where transactions are read-only');
$plain->append_conf('postgresql.conf', "max_worker_processes = 0\n");
$plain->restart;
like(session(q{SELECT meter_set_tenant('a'); SELECT v FROM tb.secret}, $plain),
	qr/42501: access to table tb.secret/, 'without workers, too');
like(slurp_file($plain->logfile), qr/an isolation violation is in the server log only/, 'the log tells where it is');
$plain->stop;

done_testing();

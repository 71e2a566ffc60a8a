# 030_budget.pl: budgets, with everything that really runs.
#
# What was spent has to be what the log says, however rollups, changes of
# budgets, crashes and restores come together; and a hard limit has to reach
# every session by the rollup that sees it crossed, also on a standby, and leave
# when it is lifted.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(
  ask close_session daytime_zone in_session kill_server ok_until open_session session start_again
  start_node start_sql wait_for_flush wait_until
);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('budget', q{
shared_preload_libraries = 'meter'
meter.flush_interval = '20ms'
meter.rollup_interval = '1s'
max_worker_processes = 20
}, allows_streaming => 1);
ask('CREATE EXTENSION meter CASCADE');
my $zone = daytime_zone();
ask("INSERT INTO meter.tenant (tenant, time_zone) SELECT 't' || i, '$zone' FROM generate_series(0, 9) AS i");

# How many budgets say something else than plain SQL over the log.
my $wrong = q{
	SELECT count(*) FROM meter.budget_status AS b WHERE b.basis = 'cost' AND b.spent IS DISTINCT FROM (
		SELECT COALESCE(sum(e.cost), 0) FROM meter.event AS e
		WHERE (e.tenant = b.tenant OR b.tenant IS NULL) AND (e.service = b.service OR b.service IS NULL)
			AND e.superseded_by IS NULL
			AND date_trunc('hour', e.at, 'UTC') >= b.period_from AND date_trunc('hour', e.at, 'UTC') < b.period_to)};

sub rolled_up
{
	my ($where) = @_;
	wait_for_flush($where);
	wait_until('SELECT rollup_behind = 0 FROM meter.stats', 'all is rolled up', $where);
	return;
}

# The roller, and sessions that are there already

ask(q{INSERT INTO meter.budget (tenant, amount, hard_limit) VALUES ('t1', 10, true);
	INSERT INTO meter.budget (tenant, amount) VALUES ('t2', 10)});
my $session = open_session();
is(in_session($session, q{SELECT reason FROM meter_check('t1')}), "no_rule\n", 'a session may call');
ask(q{SELECT meter_track('t1', cost => 6), meter_track('t2', cost => 60)});
rolled_up();
is(in_session($session, q{SELECT reason FROM meter_check('t1')}), "no_rule\n", 'it may as long as there is some left');
ask(q{SELECT meter_track('t1', cost => 4)});
ok_until(q{SELECT NOT meter_allow('t1')}, 'the roller has calls refused when all is spent');
is(in_session($session, q{SELECT reason FROM meter_check('t1')}), "budget\n", 'in a session that has asked before, too');
is(ask(q{SELECT reason FROM meter_check('t2')}), 'no_rule', 'and not without a hard limit');
is(ask($wrong), 0, 'what was spent is what the log says');
like(session(q{SELECT meter_require('t1')}), qr/ERROR:  PT429: budget exceeded for "t1"\nHINT:  Retry after \d+ seconds/,
	'the error says why, and when to come back');
rolled_up();
is(ask(q{SELECT sum(errors_429) > 0 FROM meter.usage_hourly WHERE tenant = 't1'}), 't', 'refused calls are tracked');

# A standby

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('budget_standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
my $reader = open_session($standby);
is(in_session($reader, q{SELECT reason FROM meter_check('t1')}), "budget\n", 'a standby refuses, too');
ask(q{UPDATE meter.budget SET amount = 100 WHERE tenant = 't1'});
is(in_session($session, q{SELECT reason FROM meter_check('t1')}), "no_rule\n", 'who raises it lets calls through at once');
ok_until(q{SELECT meter_allow('t1')}, 'on the standby, too', $standby);
is(in_session($reader, q{SELECT reason FROM meter_check('t1')}), "no_rule\n", 'in the session that was there');
close_session($reader);
$standby->stop;

# What is not committed blocks nobody

my $other = open_session();
in_session($other, 'BEGIN');
in_session($other, q{INSERT INTO meter.budget (tenant, service, amount, hard_limit) VALUES ('t1', NULL, 1, true)
	ON CONFLICT (tenant, service, period, basis) DO UPDATE SET amount = 1});
is(in_session($other, q{SELECT reason FROM meter_check('t1')}), "budget\n", 'a transaction sees its own change');
is(in_session($session, q{SELECT reason FROM meter_check('t1')}), "no_rule\n", 'others do not');
in_session($other, 'ROLLBACK');
is(in_session($other, q{SELECT reason FROM meter_check('t1')}), "no_rule\n", 'nor does it once it is rolled back');
close_session($other);
close_session($session);

# Races: four sessions track, one changes budgets, and the roller rolls up

my @load = map {
	start_sql("load$_", map {
		"SELECT count(meter_track('t' || i % 10, service => 's' || i % 3, cost => i % 7 * 0.01)) FROM generate_series(1, 2000) AS i" } 1 .. 5)
} 1 .. 4;
for my $i (1 .. 40)
{
	ask("DELETE FROM meter.budget WHERE tenant = 't" . $i % 10 . "';
		INSERT INTO meter.budget (tenant, service, amount) VALUES ('t" . $i % 10 . "', 's" . $i % 3 . "', 1), ('t"
		  . $i % 10 . "', NULL, 5)");
	ask('INSERT INTO meter.budget (service, amount) VALUES (\'s' . $i % 3 . '\', 7) ON CONFLICT (tenant, service, period, basis) DO UPDATE SET amount = EXCLUDED.amount + 1');
}
ok($_->{run}->finish, 'tracking goes on while budgets change') for @load;
rolled_up();
is(ask($wrong), 0, 'nothing is missed or added twice');
is(ask(q{SELECT count(*) FROM meter.budget_status AS s JOIN meter.budget AS b USING (budget_id)
		WHERE (SELECT count(*) FROM meter.budget_crossing AS c WHERE c.budget_id = b.budget_id AND c.period_from = s.period_from)
			<> (SELECT count(*) FROM unnest(b.thresholds) AS u(threshold) WHERE s.spent * 100 >= b.amount * u.threshold)}),
	0, 'exactly the thresholds that were reached are noted');

# A crash in the middle of it

my $crashing = start_sql('crashing', map { "SELECT count(meter_track('t' || i % 10, service => 's' || i % 3, cost => 0.01)) FROM generate_series(1, 2000) AS i" } 1 .. 50);
wait_until(q{SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'crashing'}, 'the load runs');
wait_until(q{SELECT flushed > 1000 FROM meter.stats}, 'some of it is in the log');
kill_server();
$crashing->{run}->finish;
start_again();
ask(q{SELECT meter_track('t3', cost => 1)});
rolled_up();
is(ask($wrong), 0, 'after a crash, what was spent is what the log says');

# Dump and restore

ask(q{UPDATE meter.budget SET amount = 0.5, hard_limit = true WHERE tenant = 't3' AND service IS NULL;
	SELECT meter_refresh_budgets()});
my $crossed = q{SELECT budget_id, period_from, threshold, crossed_at FROM meter.budget_crossing ORDER BY 1, 2, 3};
my $crossings = ask($crossed);
my $dump = PostgreSQL::Test::Utils::tempdir . '/budget.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
ask('CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
ask(q{SELECT meter_track('t4', cost => 1)}, 'restored');
rolled_up('restored');
ask('SELECT meter_refresh_budgets()', 'restored');
is(ask($wrong, 'restored'), 0, 'a restored database counts what was spent before');
is(ask(q{SELECT reason FROM meter_check('t3')}, 'restored'), 'budget', 'and refuses what was refused');
my $restored = ask($crossed, 'restored');
is(scalar(grep { index("$restored\n", "$_\n") < 0 } split /\n/, $crossings), 0, 'no threshold is crossed again');

done_testing();

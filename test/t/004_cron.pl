# 004_cron.pl: the background jobs, run by a real pg_cron.
#
# meter_schedule() registers the jobs; that they then really flush, roll up and
# make partitions is seen only by waiting for pg_cron to run them.  Its two
# ways of running jobs are tested side by side: connections, here as a role
# that is not a superuser, and background workers, here with the functions in a
# schema whose name must be quoted.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask session start_node $by_hand);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('cron', "${by_hand}max_worker_processes = 20");

if (ask(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'}) eq '0')
{
	$node->stop;
	plan skip_all => 'pg_cron is not installed';
}

# Without pg_cron

ask('CREATE EXTENSION meter CASCADE');
for my $function ('meter_schedule', 'meter_unschedule')
{
	my $error = session("SELECT $function()");
	like($error, qr/ERROR:  55000: extension "pg_cron" is not installed in this database/,
		"$function() without pg_cron is refused");
	like($error, qr/HINT: .*pg_cron to "shared_preload_libraries".*"cron.database_name" to "postgres"/,
		"and $function() says how to get it");
}

# pg_cron is loaded but not created, or is in another database

$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'meter,pg_cron'
cron.database_name = 'postgres'
cron.host = '} . $node->host . q{'
});
$node->restart;
like(session('SELECT meter_schedule()'),
	qr/HINT:  pg_cron runs in database "postgres"\. Run CREATE EXTENSION pg_cron here/,
	'where pg_cron is loaded the hint is to create the extension');
ask('CREATE EXTENSION pg_cron; CREATE DATABASE other');
ask('CREATE EXTENSION meter CASCADE', 'other');
like(session('SELECT meter_schedule()', 'other'),
	qr/55000: .*\n.*pg_cron runs in database "postgres".*cron\.schedule_in_database/,
	'in another database the hint is to schedule from there');

# Registering

my $schema = ask(q{SELECT quote_ident(n.nspname) FROM pg_extension AS e
	JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE extname = 'meter'});
my $jobs = q{SELECT jobname, schedule, username, database, active FROM cron.job ORDER BY jobname};

ask(q{
	CREATE ROLE operator LOGIN;
	SELECT meter_grant('operator', 'admin');
	GRANT USAGE ON SCHEMA cron TO operator;
	SELECT cron.schedule('somebody else''s', '0 0 1 1 *', 'SELECT 1')});
my $others = ask($jobs);

my @mine = ('meter flush|* * * * *', 'meter rollup|* * * * *', 'meter budgets|* * * * *', 'meter alerts|* * * * *', 'meter outbox|* * * * *', 'meter maintain|0 3 * * *', 'meter close|0 4 * * *');

# The jobs as they must be in cron.job: these and the others.
sub expected_jobs
{
	return join("\n", sort(map { "$_|operator|postgres|t" } @_)) . "\n$others";
}

is( ask('SET ROLE operator; SELECT job, schedule, command FROM meter_schedule()'),
	"$mine[0]|SELECT $schema.meter_flush()\n$mine[1]|SELECT $schema.meter_rollup()\n"
	  . "$mine[2]|SELECT $schema.meter_refresh_budgets()\n$mine[3]|SELECT $schema.meter_evaluate_alerts()\n"
	  . "$mine[4]|SELECT $schema.meter_outbox_fill()\n"
	  . "$mine[5]|SELECT $schema.meter_maintain()\n$mine[6]|CALL $schema.meter_close_month()",
	'meter_schedule() returns what it registered');
is(ask($jobs), expected_jobs(@mine), 'the jobs are there, as the role that called');
ask('SET ROLE operator; SELECT meter_schedule()');
is(ask($jobs), expected_jobs(@mine), 'calling it again adds nothing');
ask(q{SET ROLE operator; SELECT meter_schedule('*/5 * * * *', maintain => '30 2 * * *', close => '30 5 * * *')});
@mine = ('meter flush|*/5 * * * *', 'meter rollup|*/5 * * * *', 'meter budgets|*/5 * * * *', 'meter alerts|*/5 * * * *', 'meter outbox|*/5 * * * *', 'meter maintain|30 2 * * *', 'meter close|30 5 * * *');
is(ask($jobs), expected_jobs(@mine), 'calling it with other schedules changes them');
like(session(q{SELECT meter_schedule('every now and then')}),
	qr/ERROR: .*invalid schedule/, 'a wrong schedule is refused');
is(ask($jobs), expected_jobs(@mine), 'and changes nothing');
is(ask('SELECT meter_unschedule()'), '0', 'the jobs of another role are not removed');
is(ask('SET ROLE operator; SELECT meter_unschedule()'), scalar(@mine), 'meter_unschedule() removes all of them');
is(ask($jobs), $others, 'and no others');
is(ask('SET ROLE operator; SELECT meter_unschedule()'), '0', 'then there is nothing to remove');

# Running

my $workers = start_node('workers', $by_hand . q{
shared_preload_libraries = 'pg_cron,meter'
max_worker_processes = 20
cron.database_name = 'postgres'
cron.use_background_workers = on
});
ask(q{CREATE EXTENSION pg_cron; CREATE SCHEMA "My App";
	CREATE EXTENSION hll; CREATE EXTENSION meter SCHEMA "My App"}, $workers);

# pg_cron can run jobs each second since 1.5, else each minute
my $often = session(q{BEGIN; SELECT cron.schedule('probe', '1 seconds', 'SELECT 1'); ROLLBACK},
	$workers) =~ /ERROR/ ? '* * * * *' : '1 seconds';
note "the schedule is $often";

# The jobs run at the same time, in any order.  So that the first run of each
# has something to do, there are events that wait and events in the log.
for ([ $node, $schema ], [ $workers, '"My App"' ])
{
	my ($on, $functions) = @$_;
	ask(qq{SELECT $functions.meter_track('acme', quantity => i) FROM generate_series(1, 60) AS i}, $on);
	ask("SELECT $functions.meter_flush()", $on);
	ask(qq{SELECT $functions.meter_track('acme', quantity => i) FROM generate_series(61, 100) AS i}, $on);
	# a thousand tenants are a transaction of the closing of a month
	ask(q{INSERT INTO meter.plan (plan) VALUES ('basic'); INSERT INTO meter.plan_version (plan, base_price) VALUES ('basic', 10);
		INSERT INTO meter.tenant (tenant, plan, started_on, created_at) SELECT 't' || i, 'basic', '2025-01-01', '2025-01-01' FROM generate_series(1, 1001) AS i}, $on);
	ask(($on == $node ? 'SET ROLE operator; ' : '')
		. "SELECT $functions.meter_schedule('$often', '$often', '$often')", $on);
}

for ([ $node, 'over connections, as a role without other privileges' ],
	[ $workers, 'in background workers, with a schema that is quoted' ])
{
	my ($on, $how) = @$_;
	ok( $on->poll_query_until('postgres',
			'SELECT last_seq = 100 AND NOT EXISTS (SELECT FROM meter.inbox) FROM meter.log_position'),
		"$how: the flush job flushes");
	ok( $on->poll_query_until('postgres', q{
			SELECT sum(u.events) = c.last_seq AND c.last_seq IN (60, 100)
			FROM meter.usage_hourly AS u CROSS JOIN meter.consumer AS c WHERE c.name = 'rollup' GROUP BY c.last_seq}),
		"$how: the rollup job rolls up");
	ok( $on->poll_query_until('postgres', q{
			SELECT to_regclass('meter.event_p'
				|| to_char((now() AT TIME ZONE 'UTC')::date + 5, 'YYYYMMDD')) IS NOT NULL}),
		"$how: the maintenance job makes partitions ahead");
	ok( $on->poll_query_until('postgres', 'SELECT count(*) = 1001 AND sum(total) = 10010 FROM meter.bill'),
		"$how: the closing job makes bills");
	ok( $on->poll_query_until('postgres', 'SELECT count(*) = 1 FROM meter.alert_evaluation'),
		"$how: the job of alerts evaluates them");
	is(ask('SELECT sum(events), sum(quantity) FROM meter.live', $on), '100|5050', "$how: nothing is lost");
	is( ask(q{SELECT count(*) FROM cron.job_run_details WHERE status = 'failed'}, $on),
		'0', "$how: no run failed")
	  or diag ask('SELECT command, return_message FROM cron.job_run_details', $on);
}

# The manual's look at them, which its own test cannot run as it does not wait for
# minutes: the rows it shows, in any order, as jobs take turns as they end, and its
# sum, which is of one event there
my ($statements, $shown) = slurp_file("$FindBin::RealBin/../../doc/schedule.md") =~
  /^Whether they run.*?^```sql\n(.*?)^```\n\n^```text\n(.*?)^```/ms;
my @shown = map { s/ *\| */|/gr =~ s/^ +| +$//gr =~ s/public\./$schema./r } grep { /meter_/ } split /\n/, $shown;
is(scalar(@shown), 4, 'the manual shows four runs');
ok( $node->poll_query_until('postgres', q{SELECT count(*) >= 4 FROM cron.job_run_details
			WHERE command ~ 'flush|rollup' AND status = 'succeeded'}),
	'there are as many');
my @found = split /\n/, ask($statements);
is(pop @found, ask('SELECT last_seq FROM meter.consumer WHERE name = \'rollup\''), 'and its sum is that of all events');
my (%found, %shown);
@found{@found} = @shown{@shown} = ();
is(scalar(@found), 4, 'its statement finds four');
is_deeply([ sort keys %found ], [ sort keys %shown ], 'and they are as it shows them');
is(ask('SET ROLE operator; SELECT meter_unschedule()'), scalar(@mine), 'the jobs are removed');
is(ask('SELECT "My App".meter_unschedule()', $workers), scalar(@mine), 'also where the schema is quoted');

$workers->stop;
$node->stop;
done_testing();

# 012_worker.pl: the background processes.
#
# They make buffered events appear in the log, and usage in the totals, with
# nobody calling anything.  They must come when there is something to do and go
# when there is not, get along with everything else that goes on in a server
# (locks, dropped extensions and databases, restarts, pg_cron), and no event
# may stop them.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(
  ask close_session continue_process in_session insist ok_until open_session session start_node
  stop_process $flusher_sleeps
);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = start_node('worker', q{
shared_preload_libraries = 'meter'
meter.queue_size = '256kB'
meter.rollup_interval = '1s'
max_worker_processes = 20
autovacuum = off
log_statement = none
log_line_prefix = '%m [%p] %b '
});

sub set_interval
{
	my ($interval) = @_;
	ask("ALTER SYSTEM SET meter.flush_interval = '$interval'");
	$node->reload;

	# when a new session knows it, those there have been told
	$node->poll_query_until('postgres', 'SHOW meter.flush_interval', $interval)
	  or die 'the setting was not read';
	return;
}

# The time of most events: a partition that no midnight changes.
my $day = ask(q{SELECT (now() AT TIME ZONE 'UTC')::date - 1});
my $at = "at => '$day 12:00:00 UTC'";

# The n events of a name: request_id is the name and a number.
sub track
{
	my ($name, $n, $more, $database) = @_;
	$more = $more ? ", $more" : '';
	return ask("SELECT count(meter_track('acme', request_id => '$name ' || i, $at$more))
		FROM generate_series(1, $n) AS i", $database);
}

# Is true when exactly these are in the log, each once.
sub logged
{
	my ($name, $n) = @_;
	return "SELECT count(*) = $n AND count(DISTINCT request_id) = $n
		FROM meter.event WHERE request_id LIKE '$name %'";
}

# Does it become true long before the launcher looks at all databases, which it
# does once in a minute?  Half of that is plenty for what takes no second.
sub soon
{
	my ($sql, $database) = @_;
	for (1 .. 200)
	{
		return 1 if ask($sql, $database) eq 't';
		usleep(100_000);
	}
	return 0;
}

# Has all that waits flushed.
sub urge
{
	my ($database) = @_;
	ask(q{SET meter.flush_cost_threshold = 0; SELECT meter_track('acme', request_id => 'urgent', cost => 1)},
		$database);
	return;
}

# Who was woken and has not noticed yet still looks asleep, but has something to do.
my $flusher_rests = "SELECT queue_bytes = 0 AND ($flusher_sleeps) FROM meter.stats";

# What a worker says that finds no database, or whose database goes meanwhile.
my $database_gone = qr/FATAL:  database (\d+|"\w+") does not exist/;

my $nobody_works = q{SELECT count(*) = 0 FROM pg_stat_activity
	WHERE backend_type IN ('meter flusher', 'meter roller')};

# --- left to itself ----------------------------------------------------------

ok_until(q{SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'meter launcher' AND datname IS NULL AND (wait_event = 'MeterLauncher'
			OR current_setting('server_version_num')::int < 170000 AND wait_event = 'Extension')},
	'there is a launcher, which waits');
ask('CREATE EXTENSION meter CASCADE');
track('first', 1000);
ok_until(logged('first', 1000), 'what is tracked is flushed');
ok_until(q{SELECT COALESCE(sum(events), 0) = 1000 FROM meter.usage_hourly}, 'and rolled up');
ok_until(q{SELECT maintained_at IS NOT NULL FROM meter.stats}, 'maintenance is done');
is( ask(q{SELECT to_regclass('meter.event_p' || to_char((now() AT TIME ZONE 'UTC')::date + 5, 'YYYYMMDD'))
		IS NOT NULL}),
	't', 'which makes partitions ahead');
ok_until($nobody_works, 'then the workers end');
is( ask(q{SELECT queued, fallbacks, flushed, duplicates, rejected, deferred, discarded, lost_bytes, queue_bytes,
			oldest_queued_age, flush_lag, rollup_behind, errors, last_error, flusher_pid, roller_pid
		FROM meter.stats}),
	'1000|0|1000|0|0|0|0|0|0||00:00:00|0|0|||', 'meter.stats shows all that');
is( ask(q{SELECT flushes > 0, rollups > 0, flushed_at > stats_reset, rolled_up_at > stats_reset FROM meter.stats}),
	't|t|t|t', 'and when it was done');

ask("COPY meter.inbox (tenant, request_id) FROM STDIN;\nacme\tcopy 1\nacme\tcopy 2\n\\.\n");
ok_until(logged('copy', 2), 'what COPY meter.inbox brings is flushed');
ask(q{SET meter.durability = commit;
	SELECT meter_track('acme', request_id => 'commit 1');
	SELECT * FROM meter_track_batch('[{"tenant": "acme", "request_id": "commit 2"}]')});
ok_until(logged('commit', 2), 'so is what was tracked with meter.durability = commit');

ask('SELECT meter_stats_reset()');
track('repeat', 10, q{idempotency_key => 'key ' || i % 3});
ok_until('SELECT duplicates = 7 FROM meter.stats', 'repeated keys are dropped and counted');
is(ask(q{SELECT count(*), count(DISTINCT idempotency_key) FROM meter.event WHERE request_id LIKE 'repeat %'}),
	'3|3', 'one event is left of each key');
track('late', 1, q{idempotency_key => 'key 1'});
ok_until('SELECT duplicates = 8 FROM meter.stats', 'also when the key was flushed before');

# --- locks of others ---------------------------------------------------------

# Someone reads the log, and an event needs a new partition

my $holder = open_session();
my $old = "at => timestamptz '$day 12:00:00 UTC' - interval '60 days'";
in_session($holder, 'BEGIN; LOCK TABLE meter.event IN ACCESS SHARE MODE');
ask("SELECT meter_track('acme', request_id => 'partition 1', $old)");
track('beside', 5);
ok_until(logged('beside', 5), 'with the log locked for a new partition, other events go on');
ok_until('SELECT deferred = 1 FROM meter.stats', 'an event that needs one is put off');
is(ask("SELECT request_id, tenant, at = timestamptz '$day 12:00:00 UTC' - interval '60 days', validated
		FROM meter.inbox"),
	'partition 1|acme|t|f', 'and waits in the inbox');
in_session($holder, 'COMMIT');
ok_until(logged('partition', 1), 'when the reader is done it gets in');

# Someone has the key in his hands

for (['COMMIT', 'the open transaction', 0], ['ROLLBACK', 'the queue', 1])
{
	my ($end, $whose, $counted) = @$_;
	my $name = lc $end;
	ask('SELECT meter_stats_reset()');
	in_session($holder, qq{SET meter.durability = commit; BEGIN;
		SELECT meter_track('acme', request_id => '$name of the open transaction', idempotency_key => '$name');
		SELECT meter_track('acme', 'metric of $name', request_id => '$name of the metric')});
	ask(qq{SELECT meter_track('acme', request_id => '$name of the queue', idempotency_key => '$name');
		SELECT meter_track('acme', 'metric of $name', request_id => 'metric $name')});
	track("beside $name", 5);
	ok_until(logged("beside $name", 5), 'with a key in an open transaction, other events go on');
	ok_until(q{SELECT deferred = 2 FROM meter.stats}, 'those with the key or its new metric are put off');
	in_session($holder, $end);
	ok_until(q{SELECT NOT EXISTS (SELECT FROM meter.inbox) AND queue_bytes = 0 FROM meter.stats},
		"after $end they are not");
	is(ask(qq{SELECT request_id FROM meter.event WHERE idempotency_key = '$name'}),
		"$name of $whose", "the key is that of $whose");
	ok_until("SELECT duplicates = 1 - $counted FROM meter.stats", 'a repeat is counted');
	is(ask(qq{SELECT count(*) FROM meter.event WHERE metric = 'metric of $name'}), 2 - $counted,
		'the events of the metric are there');
}
is(ask('SELECT errors FROM meter.stats'), '0', 'none of this is an error');
close_session($holder);

# --- what is urgent ----------------------------------------------------------

set_interval('1h');
urge();
ok_until($flusher_rests, 'the flusher sleeps for meter.flush_interval');
ask('SELECT meter_stats_reset()');
track('patient', 5);
is(ask('SELECT queue_bytes > 0, flushes FROM meter.stats'), 't|0', 'events wait meanwhile');
ask(q{SET meter.flush_cost_threshold = 10; SELECT meter_track('acme', request_id => 'dear 1', cost => 10.5)});
ok_until(logged('dear', 1), 'one above meter.flush_cost_threshold is flushed at once');
is(ask(logged('patient', 5)), 't', 'together with those before it');
ok_until($flusher_rests, 'the flusher sleeps again');
track('quarter', 1000);
ok_until('SELECT queue_bytes <= queue_capacity / 4 FROM meter.stats', 'so is a queue that is full by a quarter');
is(ask('SELECT fallbacks FROM meter.stats'), '0', 'long before it is full');

# --- events that cannot be stored --------------------------------------------

# Poison: an index on an expression that fails for some.
urge();
ok_until($flusher_rests, 'the flusher sleeps');
my $partition = 'meter.event_p' . $day =~ s/-//gr;
ask("CREATE INDEX poison ON $partition ((1 / (1 - (request_id LIKE 'poison%')::int)))");
ask('SELECT meter_stats_reset()');
track('before', 40);
track('poison', 1);
track('after', 40);
urge();
ok_until(q{SELECT rejected = 1 FROM meter.stats}, 'an event that cannot be stored is set aside');
is( ask(q{SELECT source, sqlstate, reason, tenant, event ->> 'request_id' FROM meter.rejected_event}),
	'queue|22012|division by zero|acme|poison 1', 'with the reason');
ok_until(logged('before', 40), 'those before it in its batch are in the log');
ok_until(logged('after', 40), 'and those after it');
is(ask('SELECT flushes, errors FROM meter.stats'), '1|0', 'in one flush');

track('some', 20);
track('poison', 3);
track('more', 33);
track('poison', 2);
urge();
ok_until(q{SELECT rejected = 6 FROM meter.stats}, 'so are several in a batch');
is( ask(q{SELECT event ->> 'request_id', count(*) FROM meter.rejected_event GROUP BY 1 ORDER BY 1}),
	"poison 1|3\npoison 2|2\npoison 3|1", 'just these');
ok_until(logged('some', 20), 'the others are in the log');
ok_until(logged('more', 33), 'all of them');

# If very many cannot be stored it is not their fault
track('poison', 101);
track('good', 1);
urge();
ok_until(q{SELECT errors > 0 FROM meter.stats}, 'with more than a hundred the flush fails');
is(ask('SELECT last_error, last_error_at IS NOT NULL, rejected FROM meter.stats'), 'division by zero|t|6',
	'meter.stats says why');
# Between two attempts: one under way would go on without the index.  The next
# one waits, and the alarm it has set for that rings when it has long flushed.
my $flusher = ask('SELECT flusher_pid FROM meter.stats');
ask('BEGIN; SELECT FROM meter.log_position FOR UPDATE; SELECT pg_sleep(0.7); DROP INDEX meter.poison; COMMIT');
ok_until(logged('poison', 101), 'all are stored when the fault is repaired');
ok_until(logged('good', 1), 'those without fault, too');
ok_until('SELECT queue_bytes = 0 FROM meter.stats', 'and leave the queue');
usleep(1_500_000);
is(ask('SELECT flusher_pid FROM meter.stats'), $flusher, 'and the flusher sleeps on, though the alarm has rung');

# --- starting and stopping ---------------------------------------------------

# With the launcher stopped nobody can come in the flusher's place

ok_until($flusher_rests, 'the flusher sleeps');
$flusher = ask('SELECT flusher_pid FROM meter.stats');
track('terminated', 10);
stop_process(ask(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'meter launcher'}));
ask("SELECT pg_terminate_backend($flusher)");
ok_until(logged('terminated', 10), 'a flusher that is terminated flushes once more');
ok_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $flusher", 'then it is gone');
is(ask('SELECT flusher_pid IS NULL, queue_bytes FROM meter.stats'), 't|0', 'as meter.stats says');
track('alone', 10);
continue_process();
ok_until(logged('alone', 10), 'another one comes when it is needed');
ok_until("SELECT flusher_pid <> $flusher FROM meter.stats", 'it is another process');

ok_until($flusher_rests, 'it sleeps');
track('shutdown', 10);
$node->stop('fast');
$node->start;
ok_until(logged('shutdown', 10), 'what was tracked just before a fast shutdown is in the log');
track('immediate', 10);
$node->stop('immediate');
$node->start;
ok_until(logged('immediate', 10), 'also after an immediate one');

# --- a dropped extension -----------------------------------------------------

ask('CREATE DATABASE dropping');
ask('CREATE EXTENSION meter CASCADE', 'dropping');

track('new', 1, undef, 'dropping');
set_interval('200ms');
ok(soon(logged('new', 1), 'dropping'), 'a new database gets a flusher');
ok_until(logged('new', 1), 'in the end it does', 'dropping');
set_interval('1h');
urge('dropping');
ok_until($flusher_rests, 'its flusher sleeps', 'dropping');

my $user = open_session('dropping');
in_session($user, qq{SELECT meter_track('acme', request_id => 'lost 1', $at)});
track('lost', 2, undef, 'dropping');
# a roller that is due would come, to find nothing
ok_until('SELECT rollup_behind = 0 AND roller_pid IS NULL FROM meter.stats', 'the roller is done', $_)
  for 'postgres', 'dropping';
ask('DROP EXTENSION meter', 'dropping');
my $log_offset = -s $node->logfile;
set_interval('200ms');
ok_until($nobody_works, 'without the extension there is no flusher');
like(in_session($user, q{SELECT meter_track('acme')}), qr/ERROR:  function meter_track\(unknown\) does not exist/,
	'nor a function to track with');
my $seen = 0;
for (1 .. 30)
{
	usleep(100_000);
	$seen++ if ask($nobody_works) eq 'f';
}
is($seen, 0, 'and none comes back');
unlike(slurp_file($node->logfile, $log_offset), qr/meter (launcher|flusher|roller) (ERROR|FATAL|PANIC)/,
	'there is nothing wrong in the log');

$log_offset = -s $node->logfile;
ask('CREATE EXTENSION meter', 'dropping');
ok_until('SELECT discarded = 3 FROM meter.stats', 'with a new extension its old events are discarded', 'dropping');
$node->wait_for_log(qr/meter flusher LOG:  discarded 3 queued events of an extension that was dropped/, $log_offset);
like(in_session($user, qq{SELECT meter_track('acme', request_id => 'again 1', $at)}), qr/^\s*$/,
	'the session from before can track');
in_session($user, qq{SELECT meter_track('acme', request_id => 'again 2', $at)});
close_session($user);
ok_until(logged('again', 2), 'new events are flushed', 'dropping');
is(ask('SELECT count(*) FROM meter.event', 'dropping'), '2', 'and no old ones');

# --- several databases -------------------------------------------------------

my $files = $node->data_dir . '/pg_meter';
track('drop', 10, undef, 'dropping');
my $oid = ask(q{SELECT oid FROM pg_database WHERE datname = 'dropping'});
ok(-e "$files/$oid", 'a database has a file');

is(insist('DROP DATABASE dropping'), "\n", 'a database can be dropped just after an event was tracked in it');

# While the database is locked no flusher can come; then one must soon.  Stopped,
# the launcher cannot send one before.
ask('CREATE DATABASE vanishing');
ask('CREATE EXTENSION meter CASCADE', 'vanishing');
track('vanishing', 1, undef, 'vanishing');
ok_until(logged('vanishing', 1), 'events are tracked in a database', 'vanishing');
ok_until($nobody_works, 'nobody works there');
stop_process(ask(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'meter launcher'}));
track('locked', 1, undef, 'vanishing');
my $renamer = open_session();
is(in_session($renamer, 'BEGIN; ALTER DATABASE vanishing RENAME TO vanished'), '', 'the database is locked');
continue_process();
usleep(500_000);
in_session($renamer, 'ROLLBACK');
close_session($renamer);
ok(soon(logged('locked', 1), 'vanishing'), 'when it is not locked any more it gets a flusher');
ok_until(logged('locked', 1), 'in the end it does', 'vanishing');
ok_until($nobody_works, 'nobody works there');

# Where the launcher starts a flusher while the database is being dropped, that
# finds none; the next thing is to see that it is gone, not to try again.
$log_offset = -s $node->logfile;
my $last = open_session('vanishing');
in_session($last, 'SELECT 1');
my $drop = open_session();
$drop->{in} .= "DROP DATABASE vanishing;\n";
$drop->{run}->pump_nb;
ok_until(q{SELECT count(*) = 1 FROM pg_locks JOIN pg_database AS d ON d.oid = objid
		WHERE classid = 'pg_database'::regclass AND datname = 'vanishing'
			AND mode = 'AccessExclusiveLock' AND granted},
	'the database is being dropped');
in_session($last, qq{SELECT meter_track('acme', request_id => 'vanishing 2', $at)});
close_session($last);
close_session($drop);
like($drop->{out}, qr/^(ERROR:  database "vanishing" is being accessed by other users.*)?$/s,
	'it is dropped, unless that took too long');
session('DROP DATABASE IF EXISTS vanishing');
usleep(2_500_000);
my @failed = slurp_file($node->logfile, $log_offset) =~ /$database_gone/g;
note scalar(@failed) . ' workers came too late';
cmp_ok(scalar(@failed), '<=', 1, 'the launcher does not try for long to start a flusher there');

ask('CREATE DATABASE original');
ask('CREATE EXTENSION meter CASCADE', 'original');
track('original', 10, undef, 'original');
ok_until(logged('original', 10), 'events are tracked in another database', 'original');
track('template', 10, undef, 'original');
is(insist('CREATE DATABASE copy TEMPLATE original'), "\n", 'which can be a template at once');
ok_until(logged('template', 10), 'what waited there is not lost', 'original');
is(ask(logged('original', 10), 'copy'), 't', 'the copy has its log');

my @both = map { open_session($_) } 'original', 'copy';
for my $session (@both)
{
	$session->{out} = '';
	$session->{in} .= qq{SELECT count(meter_track('acme', request_id => current_database() || ' both ' || i, $at))
		FROM generate_series(1, 500) AS i;\n\\echo (done)\n};
}
for my $session (@both)
{
	$session->{run}->pump until $session->{out} =~ /\(done\)\n/;
	close_session($session);
}
for my $database ('original', 'copy')
{
	ok_until(logged("$database both", 500), "events of $database are in its log", $database);
	is(ask(q{SELECT count(*) FROM meter.event WHERE request_id LIKE '% both %'}, $database), '500',
		'and no others');
	ok_until('SELECT flushed >= 500 AND fallbacks = 0 FROM meter.stats', 'each has its own counters', $database);
}

# More databases than there is room for; the file of the dropped one goes

$node->append_conf('postgresql.conf', 'meter.max_databases = 1');
$node->restart;
my $tries = 10 * $PostgreSQL::Test::Utils::timeout_default;
usleep(100_000) while -e "$files/$oid" && $tries-- > 0;
ok(!-e "$files/$oid", 'the file of a dropped database is removed');
my @refused;
for my $database ('postgres', 'original', 'copy')
{
	my $out = session(qq{SELECT meter_track('acme', request_id => 'limit 1', $at)}, $database);
	if ($out =~ /ERROR/)
	{
		push @refused, $database;
		like($out, qr/ERROR:  53400: too many databases use meter\nDETAIL:  .* of 1\.\nHINT:  Increase meter\.max_databases.*meter\.durability to commit/,
			'beyond meter.max_databases there is an error');
		unlike(session(qq{SET meter.durability = commit; SELECT meter_track('acme', request_id => 'limit 1', $at);
				SELECT meter_flush()}, $database), qr/ERROR/, 'but meter.durability = commit works');
		is(ask('SELECT queued FROM meter.stats', $database), '', 'meter.stats has nothing to show');
	}
	ok_until(logged('limit', 1), "the event of $database is in its log", $database);
}
is(scalar(@refused), 2, 'one database has a queue');
$node->append_conf('postgresql.conf', 'meter.max_databases = 8');
$node->restart;

# --- statistics --------------------------------------------------------------

track('statistics', 5, undef, 'copy');
track('statistics', 5);
ok_until('SELECT flushed = 5 AND rollup_behind = 0 FROM meter.stats', 'events are counted');
ok_until($nobody_works, 'nobody works');
my $maintained_at = ask('SELECT maintained_at FROM meter.stats');
my $reset_at = ask('SELECT stats_reset FROM meter.stats');
ask('SELECT meter_stats_reset()');
is( ask(qq{SELECT queued, fallbacks, ignored, flushed, duplicates, rejected, deferred, discarded, lost_bytes,
			flushes, rollups, errors, flushed_at, rolled_up_at, last_error, last_error_at,
			stats_reset > '$reset_at', maintained_at = '$maintained_at' FROM meter.stats}),
	'0|0|0|0|0|0|0|0|0|0|0|0|||||t|t', 'meter_stats_reset() sets the counters to zero');
is(ask('SELECT queued FROM meter.stats', 'copy'), '5', 'of this database only');

# --- pg_cron -----------------------------------------------------------------

SKIP:
{
	skip 'pg_cron is not installed', 6
	  if ask(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'}) eq '0';

	$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pg_cron,meter'
cron.database_name = 'postgres'
});
	$node->restart;
	ask('CREATE EXTENSION pg_cron');
	ask(q{SELECT meter_schedule('0 0 29 2 *', '0 0 29 2 *')});
	my $rolled_up = 'SELECT last_seq FROM meter.consumer WHERE name = \'rollup\'';
	my $before = ask($rolled_up);

	# the other database's roller tells that there was time for this one's
	for my $round (1, 2)
	{
		track("cron $round", 10, undef, $_) for 'postgres', 'original';
		ok_until(logged("cron $round", 10), 'events are flushed where pg_cron does the rollup');
		ok_until(q{SELECT rollup_behind = 0 FROM meter.stats}, 'elsewhere the roller does it', 'original');
	}
	is(ask($rolled_up), $before, 'where pg_cron does it the roller leaves it to that');
	ask('SELECT meter_unschedule()');
	track('without cron', 10);
	ok_until(q{SELECT rollup_behind = 0 FROM meter.stats}, 'when that is unscheduled the roller does it again');
}

$node->stop;

# The fault that was no event's own, rollers that a shutdown interrupts, and
# workers whose database was dropped while they started
is( join("\n", grep { /meter (launcher|flusher|roller) (WARNING|ERROR|FATAL|PANIC)/
			&& !/meter flusher ERROR:  division by zero/ && !/$database_gone/
			&& !/FATAL:  terminating background worker .* due to administrator command/ }
		split /\n/, slurp_file($node->logfile)),
	'', 'nothing else went wrong');
done_testing();

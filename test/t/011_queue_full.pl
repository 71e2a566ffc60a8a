# 011_queue_full.pl: no room, in the queue or on disk.
#
# A queue fills up when the flusher cannot keep up or cannot write.  Then a call
# waits a little, and its event goes by the inbox; where that is not possible
# either it gets an error.  Whatever happens, an event whose call returned is in
# the log exactly once when there is room again, and no other is.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(
  ask continue_process ok_until session start_node start_sql stop_process wait_for_flush
  wait_for_session wait_until $flusher_sleeps
);
use PostgreSQL::Test::Utils;
use Test::More;

# The flusher sleeps until something is urgent, so that it does nothing on its
# own while it is about to be stopped.
my $node = start_node('full', q{
shared_preload_libraries = 'meter'
meter.queue_size = '256kB'
meter.flush_interval = '1h'
meter.rollup_interval = 0
autovacuum = off
log_statement = none
log_line_prefix = '%m [%p] %b '
});

# The events that must be in the log once each, by their request_id.
my %expected;

sub expect
{
	$expected{$_} = 1 for @_;
	return;
}

# Events that are not in the log exactly as often as they must be.
sub wrong_events
{
	my ($database) = @_;
	my %logged;
	$logged{$_}++ for split /\n/, ask('SELECT request_id FROM meter.event', $database);
	return join ' ', sort grep { ($logged{$_} // 0) != ($expected{$_} // 0) }
	  keys %{ { %logged, %expected } };
}

# --- a flusher that does nothing ---------------------------------------------

# Stopped in its sleep, it holds no lock.
sub stop_flusher
{
	wait_until($flusher_sleeps, 'the flusher sleeps');
	stop_process(ask('SELECT flusher_pid FROM meter.stats'));
	return;
}

ask('CREATE EXTENSION meter CASCADE');
ask(q{SELECT meter_track('a', request_id => 'first'); SELECT meter_flush()});
expect('first');
stop_flusher();
ask('SELECT meter_stats_reset()');

# As long as there is room, nothing of the caller's transaction matters

unlike(session(q{BEGIN READ ONLY; SELECT meter_track('a', request_id => 'read only'); COMMIT}),
	qr/ERROR/, 'a read-only transaction can track');
ask(q{BEGIN; SELECT meter_track('a', request_id => 'rolled back'); ROLLBACK});
like( session(q{SELECT meter_track('a', request_id => 'then an error'), 1 / quantity
		FROM (SELECT 0 AS quantity OFFSET 0) AS q}),
	qr/22012: division by zero/, 'a statement fails after its call');
expect('read only', 'rolled back', 'then an error');
is(ask('SELECT queued, fallbacks FROM meter.stats'), '3|0', 'all three are queued');

# Filling it up, with the smallest of all events here

ask(q{SET meter.queue_timeout = 0;
	SELECT count(meter_track('a', request_id => 'f' || i)) FROM generate_series(1000, 4999) AS i});
expect(map { "f$_" } 1000 .. 4999);
my ($queued, $fallbacks, $waiting, $bytes, $capacity) = split /\|/, ask(q{
	SELECT queued, fallbacks, (SELECT count(*) FROM meter.inbox), queue_bytes, queue_capacity
	FROM meter.stats});
cmp_ok($fallbacks, '>', 0, 'the queue gets full');
is($queued + $fallbacks, 4003, 'each event is queued or counted as a fallback');
is($waiting, $fallbacks, 'those for which there was no room are in the inbox');
is($capacity, 256 * 1024, 'the queue has the size that was set');
cmp_ok($bytes, '>', $capacity - 1024, 'and is full');

# When it is full

my $track = q{SELECT meter_track('a tenant with a long name', request_id => '%s')};
is( ask(sprintf(qq{SET meter.queue_timeout = '300ms';
		SELECT clock_timestamp() AS before \\gset
		SELECT FROM ($track OFFSET 0) AS t;
		SELECT clock_timestamp() - :'before' >= '300 ms'}, 'waited')) =~ s/^\n//r,
	't', 'a call waits for meter.queue_timeout');
expect('waited');
is( ask('SELECT fallbacks, (SELECT count(*) FROM meter.inbox) FROM meter.stats'),
	($fallbacks + 1) . '|' . ($waiting + 1), 'then its event goes into the inbox and is counted');

my $out = session(sprintf("SET meter.queue_timeout = 0; BEGIN READ ONLY; $track; COMMIT", 'refused'));
like($out, qr/ERROR:  53000: queue of events is full/, 'in a read-only transaction that is an error');
like($out, qr/DETAIL:  The transaction is read-only.*\nHINT:  Look at meter\.stats.*meter\.queue_size/,
	'which says what to do');
ask(sprintf("SET meter.queue_timeout = 0; BEGIN; $track; ROLLBACK", 'rolled back from the inbox'));
is(ask('SELECT count(*) FROM meter.inbox'), $waiting + 1,
	'what went into the inbox is rolled back with its transaction');
like( session(sprintf("SET meter.queue_timeout = '1h'; SET statement_timeout = '100ms'; $track", 'cancelled')),
	qr/ERROR:  57014/, 'a call that waits can be cancelled');

# A batch is one call: it must not wait as often as it has events
$out = session(q{SET meter.queue_timeout = '1s'; SET statement_timeout = '50s';
	SELECT count(*) FROM meter_track_batch((SELECT jsonb_agg(jsonb_build_object(
		'tenant', 'a tenant with a long name', 'request_id', 'batch ' || i)) FROM generate_series(1, 60) AS i))
	WHERE result = 'accepted'});
like($out, qr/^60$/m, 'a batch waits once');
expect(map { "batch $_" } 1 .. 60) if $out !~ /ERROR/;

# Room again

my $patient = start_sql('patient', sprintf("SET meter.queue_timeout = '1h'; $track", 'patient'));
expect('patient');
wait_for_session($patient, q{wait_event = CASE WHEN current_setting('server_version_num')::int < 170000
	THEN 'Extension' ELSE 'MeterQueueFull' END}, 'a call waits');
$fallbacks = ask('SELECT fallbacks FROM meter.stats');
continue_process();
ok($patient->{run}->finish, 'a call that waits goes on when there is room')
  or diag $patient->{output};
is(ask('SELECT fallbacks FROM meter.stats'), $fallbacks, 'by the queue');

# that one may have to wait for the next flush
ask(q{SET meter.flush_cost_threshold = 0; SELECT meter_track('a', request_id => 'last', cost => 1)});
expect('last');
wait_for_flush();
is(wrong_events(), '', 'each event whose call returned is in the log once, and no other');
ok_until('SELECT flushed = (SELECT count(*) FROM meter.event) - 1 FROM meter.stats',
	'meter.stats counts all since its reset');
is(ask('SELECT errors, last_error, rejected, deferred FROM meter.stats'), '0||0|0', 'and nothing went wrong');

# --- a full disk -------------------------------------------------------------

my $disk = $ENV{METER_SMALL_DISK};

# Takes all the room there is.
sub fill_disk
{
	open my $file, '>', "$disk/filler" or die "could not create $disk/filler: $!";
	for my $block (1 << 20, 4096)
	{
		my $zeros = "\0" x $block;
		while (defined syswrite $file, $zeros) { }
	}
	close $file;
	return;
}

SKIP:
{
	skip 'there is no small file system: test/run.sh was not started by root, or may not mount', 15
	  if !$disk;

	# The database has no room, but the queue's file is elsewhere

	my %before = %expected;
	%expected = ();
	mkdir "$disk/space" or die "could not create $disk/space: $!";
	ask("CREATE TABLESPACE small LOCATION '$disk/space'");
	ask('CREATE DATABASE small TABLESPACE small');
	ask(q{ALTER SYSTEM SET meter.flush_interval = '50ms'});
	$node->reload;
	ask('CREATE EXTENSION meter CASCADE', 'small');
	ask(q{SELECT meter_track('a', request_id => 'first')}, 'small');
	expect('first');
	wait_until('SELECT count(*) = 1 FROM meter.event', 'the first event is flushed', 'small');
	fill_disk();

	# Each call is a transaction, and psql says of each that it has returned
	my $log_offset = -s $node->logfile;
	my $calls = "$PostgreSQL::Test::Utils::tmp_check/calls.sql";
	append_to_file($calls, join '', "SET meter.queue_timeout = 0;\n",
		map { "SELECT meter_track('a', request_id => 'n$_');\n\\echo did n$_\n" } 1 .. 20000);
	my ($status, $stdout, $stderr) =
	  $node->psql('small', "\\set VERBOSITY verbose\n\\i $calls", on_error_stop => 1);
	my @done = $stdout =~ /^did (n\d+)$/mg;
	expect(@done);
	note scalar(@done) . ' calls returned before the first error';
	cmp_ok(scalar(@done), '>', 500, 'calls succeed while the queue has room');
	like($stderr, qr/ERROR:  53100: could not extend file .*No space left on device/,
		'then the error of the inbox is the caller\'s');
	is(ask('SELECT fallbacks > 0, queue_bytes > queue_capacity - 1024 FROM meter.stats', 'small'),
		't|t', 'when the queue was full');

	my $pid = ask('SELECT flusher_pid FROM meter.stats', 'small');
	$node->wait_for_log(qr/meter flusher ERROR:  could not extend file .*No space left on device/,
		$log_offset);
	pass('the flusher logs the error');
	my ($errors, $first_at) = split /\|/, ask('SELECT errors, last_error_at FROM meter.stats', 'small');
	wait_until("SELECT errors >= $errors + 2 FROM meter.stats", 'the flusher has tried again', 'small');
	like(ask('SELECT last_error FROM meter.stats', 'small'),
		qr/^could not extend file .*: No space left on device$/, 'meter.stats shows it');
	is(ask('SELECT flusher_pid FROM meter.stats', 'small'), $pid,
		'it is still the same process that tries again');

	# After n errors the next pause is twice as long as that before, from 0.2 s
	# on; slower is always possible, half as long allows for the error's own time.
	is( ask(qq{SELECT last_error_at - '$first_at' > interval '0.1 s' * (2 ^ errors - 2 ^ $errors) / 2
			FROM meter.stats}, 'small'),
		't', 'the pauses get longer')
	  or diag ask("SELECT errors, last_error_at, '$errors errors at $first_at' FROM meter.stats", 'small');
	like(session(q{SET meter.durability = commit; SELECT meter_track('a', request_id => 'commit')}, 'small'),
		qr/ERROR:  53100/, 'meter.durability = commit has the same error');

	unlink "$disk/filler";
	wait_for_flush('small');
	is(wrong_events('small'), '', 'with room again, each event whose call returned is in the log once');
	ask('DROP DATABASE small');
	ask('DROP TABLESPACE small');

	# The queue's file has no room, but the database has

	%expected = %before;
	my $directory = $node->data_dir . '/pg_meter';
	$node->stop;
	rename $directory, "$directory.old" or die "could not rename $directory: $!";
	mkdir "$disk/queue" or die "could not create $disk/queue: $!";
	symlink "$disk/queue", $directory or die "could not create $directory: $!";
	fill_disk();
	$node->start;

	my $no_queue = qr/ERROR:  53100: could not open the queue of events\n.*No space left on device\nHINT:  .*meter\.durability set to commit/;
	$out = session(q{
		SELECT meter_track('a', request_id => 'no file');
		SELECT meter_track('a', request_id => 'no file again');
		SET meter.durability = commit;
		SELECT meter_track('a', request_id => 'committed')});
	like($out, qr/$no_queue.*$no_queue/s, 'where the file cannot be made each call has the error');
	is(scalar(() = $out =~ /ERROR/g), 2, 'and meter.durability = commit does without it');
	wait_until(q{SELECT count(*) = 1 FROM meter.event WHERE request_id = 'committed'},
		'that one is flushed');
	expect('committed');
	is(join(' ', grep { !/^\./ } slurp_dir("$disk/queue")), '', 'no half of a file is left');
	is(ask('SELECT queue_bytes, queue_capacity FROM meter.stats'), '0|0', 'meter.stats can be read');

	unlink "$disk/filler";
	ask(q{SELECT meter_track('a', request_id => 'there is room')});
	expect('there is room');
	wait_until(q{SELECT count(*) = 1 FROM meter.event WHERE request_id = 'there is room'},
		'it is flushed');
	is(wrong_events(), '', 'with room again, buffered works');
	like(slurp_dir("$disk/queue") - 2, qr/^1$/, 'in the directory that the link names');
}

$node->stop;
done_testing();

# 009_queue_crash.pl: kill -9 and damaged files with events in the queue.
#
# With durability "buffered" an event is safe when meter_track() has returned,
# though nothing was committed: it is in a file that all processes map, and is
# moved to the log later, together with how far the queue was emptied.  So
# whatever is killed, and whenever, each event whose call had returned must be
# in the log exactly once, and one whose call had not may be there, but once.
#
# Clients are psqls that print the number of each event after its call; what
# they have printed is what had returned.  The queue is made small or large, so
# that it goes around many times, gets full, is resized with events in it, or
# has many events waiting when it is killed.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(
  ask kill_child kill_server start_again start_clients start_node start_sql
  wait_for_flush wait_for_session wait_until $log_is_whole
);
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 8;
my $tempdir = PostgreSQL::Test::Utils::tempdir;

my $node = start_node('queue', q{
shared_preload_libraries = 'meter'
meter.flush_interval = 200
meter.queue_size = 256kB
meter.rollup_interval = 0
restart_after_crash = on
autovacuum = off
log_statement = none
wal_level = replica
max_wal_senders = 2
max_wal_size = 1GB
work_mem = 64MB
synchronous_standby_names = ''
});

# Changes the configuration of a server that is down, or will be asked to
# reload it.
sub configure
{
	my (%settings) = @_;
	$node->adjust_conf('postgresql.conf', $_, $settings{$_}) for sort keys %settings;
	return;
}

ask(q{
	CREATE EXTENSION meter CASCADE;
	CREATE TABLE returned (id text);
});
my $database = ask(q{SELECT oid FROM pg_database WHERE datname = 'postgres'});
my $queue_file = $node->data_dir . "/pg_meter/$database";

# Tracking

# What each client does.  Events are of many lengths, so that records end
# everywhere in the queue.
my $script = "$tempdir/track.sql";
append_to_file($script, join '', "\\o /dev/null\n", (map {
	my $filler = 'x' x ($_ * 7919 % 300);
	"SELECT meter_track('t', error_message => '$filler', request_id => :'run' || '-$_');\n\\echo :run-$_\n"
} 1 .. 30_000), "SELECT pg_sleep(600);\n");

# Waits for the clients, whose server is gone, and notes what has returned.
sub finish_load
{
	my (@load) = @_;
	my @errors;
	for my $client (@load)
	{
		$client->{run}->finish;
		push @errors, grep { /ERROR/ } split /\n/, slurp_file($client->{errors});
	}
	is(join("\n", @errors), '', 'no call has failed but for the loss of the server');
	return;
}

sub note_returned
{
	my (@load) = @_;
	ask(join ';', map { "COPY returned FROM '$_->{output}'" } @load);
	return;
}

# Tracks many events in one call, which returns.
sub track_bulk
{
	my ($run, $events) = @_;
	ask("SELECT count(meter_track('t', error_message => repeat('x', i % 100), request_id => '$run-' || i))
		FROM generate_series(1, $events) AS i");
	ask("SET synchronous_commit = local;
		INSERT INTO returned SELECT '$run-' || i FROM generate_series(1, $events) AS i");
	return;
}

# Killing

# Returns the flusher's process as soon as it flushes and the condition is
# true.  Should that be over before it is seen, another process, for what must
# hold in any case to be checked.
sub flusher_at_work
{
	my ($condition) = @_;
	my $pid = ask("SELECT flusher_at_work(\$\$$condition\$\$)");
	return $pid if $pid ne '' && kill 0, $pid;
	note $pid eq '' ? 'no flush was seen' : 'the flusher has ended meanwhile';
	return ask(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'meter launcher'});
}

ask(q{
	CREATE FUNCTION flusher_at_work(condition text) RETURNS integer LANGUAGE plpgsql AS $$
	DECLARE
		found integer;
	BEGIN
		FOR i IN 1 .. 3000 LOOP
			PERFORM pg_stat_clear_snapshot();
			EXECUTE 'SELECT pid FROM pg_stat_activity WHERE backend_type = ''meter flusher'''
				' AND state = ''active'' AND query = ''flushing events into the log'' AND ' || condition
				INTO found;
			EXIT WHEN found IS NOT NULL;
			PERFORM pg_sleep(0.001);
		END LOOP;
		RETURN found;
	END $$});

# Has a flush of events stopped between its commit and the release of the
# queue's space, as a commit that waits for a standby is in the WAL already.
# Returns the session, its process and the events' run.  The server may take a
# while to hear that there shall be a standby; what is flushed in the meantime
# is flushed.  The flusher, which does not wait for standbys, is off then.
sub stop_at_commit
{
	my ($name) = @_;
	my $sql = q{SELECT pid FROM pg_stat_activity
		WHERE application_name = 'flush' AND wait_event = 'SyncRep'};
	configure('synchronous_standby_names' => q{'nobody'}, 'meter.flush_interval' => 0);
	$node->restart;
	for my $i (1 .. 1000)
	{
		track_bulk("$name$i", 1000);
		my $session = start_sql('flush', 'SELECT meter_flush()');
		wait_until("SELECT queue_bytes = 0 OR EXISTS ($sql) FROM meter.stats",
			'a flush has ended or waits');
		my $pid = ask($sql);
		return ($session, $pid, "$name$i") if $pid ne '';
		$session->{run}->finish;
	}
	die 'no flush waits for a standby';
}

# Checking

# Each client had one call in its hands when it was stopped.
my $lost_doubled_invented = q{
	WITH logged AS MATERIALIZED (
		SELECT request_id AS id, count(*) AS times FROM meter.event GROUP BY 1)
	SELECT (SELECT count(*) FROM returned AS r FULL JOIN logged AS l USING (id)
			WHERE l.id IS NULL) AS lost,
		(SELECT count(*) FROM logged WHERE times > 1) AS doubled,
		(SELECT count(*) FROM (
			SELECT FROM logged AS l LEFT JOIN returned AS r USING (id) WHERE r.id IS NULL
			GROUP BY split_part(id, '-', 1) HAVING count(*) > 1) AS d) AS invented};

sub check_all
{
	my ($when) = @_;
	wait_for_flush();
	is(ask($log_is_whole), 't', "$when: the log has no gap and ends at its position");
	is(ask($lost_doubled_invented), '0|0|0',
		"$when: each event whose call had returned is in the log exactly once, others at most once");
	is( ask('SELECT lost_bytes, discarded, (SELECT count(*) FROM meter.rejected_event) FROM meter.stats'),
		'0|0|0', "$when: the queue was whole, and no event was refused");
	return;
}

# The number in a row of meter.event: a text with its length in front of it.
# Other bytes that look like one have another length before them.
sub event_id
{
	my ($row) = @_;
	while ($row =~ /(?<=(.))(?=[a-z][a-z0-9]*-\d)/gs)
	{
		my $id = substr $row, pos $row, (ord($1) >> 1) - 1;
		return $id if $id =~ /^[a-z][a-z0-9]*-\d+\z/;
	}
	die 'a row without a number';
}

# The queue's file, read by its description in doc/ring.md: what waits in it,
# in order, as the records' places in the file and the events' numbers.
sub read_queue
{
	my $bytes = slurp_file($queue_file);
	my ($capacity) = unpack 'Q', substr($bytes, 24, 8);
	my ($write) = unpack 'Q', substr($bytes, 512, 8);
	my ($position) = unpack 'Q', substr($bytes, 768, 8);
	my @records;
	while ($position < $write)
	{
		my $offset = 4096 + $position % $capacity;
		my ($length) = unpack 'L', substr($bytes, $offset, 4);
		if ($length & 0x80000000)
		{
			$position += (($length & 0x7fffffff) + 1) * 8;
			next;
		}
		my $size = (8 + $length + 7) & ~7;
		push @records, { offset => $offset, size => $size, id => event_id(substr $bytes, $offset, $size) };
		$position += $size;
	}
	return @records;
}

# A first event makes the queue and a partition.
track_bulk('first', 1);
check_all('at first');

# kill -9 of the whole server

for my $round (1 .. 10)
{
	my @load = start_clients($clients, $script, 300 * $round);
	kill_server(postmaster_first => $round % 2);
	finish_load(@load);
	my $waiting = read_queue();
	note "$waiting events waited";
	configure('meter.queue_size' => '8MB') if $round == 5;
	start_again();
	note_returned(@load);
	check_all("server killed, round $round");
}

# kill -9 of one client's backend

configure('meter.queue_size' => '16MB');
$node->restart;
for my $client (1, $clients)
{
	my @load = start_clients($clients, $script, 1000);
	kill_child(ask("SELECT pid FROM pg_stat_activity WHERE application_name = 'client$client'"));
	finish_load(@load);
	note_returned(@load);
	check_all("backend of client $client killed");
}

# kill -9 of the flusher

# Wherever it is in a flush, under load.
for my $round (1 .. 3)
{
	my @load = start_clients($clients, $script, 1000);
	kill_child(flusher_at_work('true'));
	finish_load(@load);
	note_returned(@load);
	check_all("flusher killed at work, round $round");
}

# When it has appended a part of what it has begun with: with much in the
# queue before there is a flusher.
configure('meter.flush_interval' => 0);
$node->restart;
track_bulk('part', 20_000);
my $log_size = q{SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits
	WHERE inhparent = 'meter.event'::regclass};
my $some_more = ask($log_size) + 100_000;
configure('meter.flush_interval' => 200);
$node->reload;
kill_child(flusher_at_work("($log_size) > $some_more"));
check_all('flusher killed in the middle of much');

# When it has appended everything, but not written how far it came: that
# waits for a lock.
my $holder = start_sql('holder', 'BEGIN', 'LOCK TABLE meter.queue_position IN SHARE MODE',
	'SELECT pg_sleep(600)');
wait_for_session($holder, q{wait_event = 'PgSleep'}, 'the table is locked');
my $last_seq = ask('SELECT last_seq FROM meter.log_position');
track_bulk('locked', 1000);
wait_until(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'meter flusher'
		AND wait_event_type = 'Lock'}, 'the flusher waits for the lock');
is(ask('SELECT last_seq FROM meter.log_position'), $last_seq, 'a flush waits before its end');
kill_child(ask(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'meter flusher'}));
$holder->{run}->finish;
check_all('flusher killed before it has written its position');

# When it has committed, but not released the queue's space.
my ($session, $pid, $run) = stop_at_commit('committed');
kill_child($pid);
$session->{run}->finish;
is(scalar(grep { $_->{id} =~ /^$run-/ } read_queue()), 1000, 'events of a flush that has committed are in the queue');
is(ask("SELECT count(*) FROM meter.event WHERE request_id LIKE '$run-%'"), '1000', 'and in the log');
configure('synchronous_standby_names' => q{''}, 'meter.flush_interval' => 200);
$node->reload;
check_all('flush killed when it had committed');

# The same for the whole server; and with more events behind those.
($session, $pid, $run) = stop_at_commit('done');
track_bulk('waiting', 1000);
kill_server();
$session->{run}->finish;
configure('synchronous_standby_names' => q{''}, 'meter.flush_interval' => 200);
my @ids = map { $_->{id} } read_queue();
is(scalar(grep { /^$run-/ } @ids), 1000, 'flushed events are in the queue');
is(scalar(grep { /^waiting-/ } @ids), 1000, 'and others behind them');
start_again();
check_all('server killed when a flush had committed');

# Idempotency keys

# A client that does not know whether its call has got through calls again.
sub track_keys
{
	my ($run) = @_;
	ask("SELECT count(meter_track('t', idempotency_key => 'k' || i, request_id => '$run-' || i))
		FROM generate_series(1, 100) AS i");
	return;
}

configure('meter.flush_interval' => 0);
$node->restart;
track_keys('try1');
kill_server();
start_again();
track_keys('try2');
kill_server();
is(scalar(grep { $_->{id} =~ /^try/ } read_queue()), 200, 'repeats of keys wait in the queue');
configure('meter.flush_interval' => 200);
start_again();
wait_for_flush();
is(ask('SELECT duplicates FROM meter.stats'), '100', 'repeats in the queue are dropped');
kill_server();
start_again();
track_keys('try3');
wait_for_flush();
is(ask('SELECT duplicates FROM meter.stats'), '100', 'and so are repeats of what is in the log');
is( ask(q{SELECT count(*), count(DISTINCT idempotency_key), min(split_part(request_id, '-', 1)),
		max(split_part(request_id, '-', 1)) FROM meter.event WHERE idempotency_key IS NOT NULL}),
	'100|100|try1|try1', 'each key is in the log once, as it came first');
ask(q{INSERT INTO returned SELECT 'try1-' || i FROM generate_series(1, 100) AS i});
check_all('keys repeated after kills');

# Shutdown

for my $mode ('immediate', 'fast')
{
	my @load = start_clients($clients, $script, 1000);
	$node->stop($mode);
	finish_load(@load);
	$node->start;
	note_returned(@load);
	check_all("$mode shutdown");
}

# Clients that wait for a standby that is not there give up when the server is
# shut down.  The flusher must not wait for one at all.
configure('synchronous_standby_names' => q{'nobody'});
$node->restart;
track_bulk('alone', 1000);
check_all('flush without a standby');
track_bulk('shutdown', 1000);
ok($node->stop('fast', fail_ok => 1), 'fast shutdown without a standby')
  or $node->stop('immediate');
configure('synchronous_standby_names' => q{''});
$node->start;
check_all('after that shutdown');

# Damage

# Each does something to the file while the server is down, and returns the
# numbers of those waiting events that are whole then.
my $contents;
my @damages = (
	{
		name => 'records overwritten',
		log => qr/has damaged records: kept 497 whole records, lost [1-9]\d* bytes/,
		damage => sub {
			my @records = @_;
			my %bad = map { $_ => 1 } 100, 300, 301;
			for my $i (keys %bad)
			{
				substr $contents, $records[$i]{offset} + 20, 10, 'Z' x 10;
			}
			return map { $records[$_]{id} } grep { !$bad{$_} } 0 .. $#records;
		}
	},
	{
		name => 'file cut short',
		log => qr/is shorter or longer than it was made: kept \d+ whole records, lost [1-9]\d* bytes/,
		damage => sub {
			my @records = @_;
			my $end = $records[250]{offset} + 50;
			$contents = substr $contents, 0, $end;
			return map { $_->{id} } grep { $_->{offset} + $_->{size} <= $end } @records;
		}
	},
	{
		name => 'file replaced by rubbish',
		log => qr/is not a queue file: made a new one/,
		damage => sub {
			$contents = "This is no queue.\n" x 20_000;
			return ();
		}
	},
	{
		name => 'empty file',
		log => qr/is shorter or longer than it was made: made a new one/,
		damage => sub {
			$contents = '';
			return ();
		}
	});

my $number = 0;
for my $case (@damages)
{
	my $name = $case->{name};
	my $run = 'damage' . ++$number;
	my $log_offset = -s $node->logfile;

	$node->stop;
	configure('meter.flush_interval' => 0, 'meter.queue_size' => '256kB');
	$node->start;
	ask("SELECT count(meter_track('t', error_message => repeat('x', i % 100), request_id => '$run-' || i))
		FROM generate_series(1, 500) AS i");
	$node->stop;
	my @records = read_queue();
	is(scalar(@records), 500, "$name: events wait while the server is down");

	$contents = slurp_file($queue_file);
	my @whole = $case->{damage}->(@records);
	open my $file, '>:raw', $queue_file or die "$queue_file: $!";
	print $file $contents;
	close $file;
	configure('meter.flush_interval' => 200);
	$node->start;
	wait_for_flush();
	$node->wait_for_log(
		qr{LOG:  queue file "pg_meter/$database" $case->{log}.* set the old file aside as "pg_meter/$database\.damaged\.$number"},
		$log_offset);
	ok(slurp_file("$queue_file.damaged.$number") eq $contents, "$name: the file is kept as it was");
	is( ask("SELECT string_agg(request_id, ' ' ORDER BY seq) FROM meter.event WHERE request_id LIKE '$run-%'"),
		join(' ', @whole), "$name: all " . @whole . ' events that were whole are in the log');
	is( ask('SELECT lost_bytes > 0 FROM meter.stats'),
		$case->{log} =~ /lost/ ? 't' : 'f', "$name: what was lost is counted");

	ask("INSERT INTO returned SELECT request_id FROM meter.event WHERE request_id LIKE '$run-%'");
	track_bulk("after$number", 500);
	wait_for_flush();
	is(ask($log_is_whole), 't', "$name: the log has no gap and ends at its position");
	is(ask($lost_doubled_invented), '0|0|0', "$name: later events and those before are in the log once");
}

$node->restart;
check_all('after a restart with a new file');

$node->stop;
done_testing();

# 010_queue_copy.pl: copies of the data directory, with the queue in it.
#
# A base backup copies the queue's file at another moment than the tables, and
# while it is written.  The copy may have events in its queue that are in its
# log, too, and goes on at positions at which the primary went on otherwise.
# No event may be in the copy's log twice, and those that must be there must
# be there; the same for a standby that is promoted, whose log has moved on for
# long since its queue was copied.
#
# What may be missing in a copy: events that came to the primary after the
# queue's file had been copied and were not in the log at the backup's end.
# They were in the queue of the primary only, which is not in the WAL.  So a
# copy has everything whose call had returned when the backup began, and
# everything that was in the log when it ended.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 4;
my $tempdir = PostgreSQL::Test::Utils::tempdir;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
shared_preload_libraries = 'meter'
meter.flush_interval = 50
meter.queue_size = 256kB
meter.rollup_interval = 0
autovacuum = off
log_statement = none
max_connections = 30
shared_buffers = 32MB
max_wal_size = 1GB
wal_keep_size = 1GB
work_mem = 64MB
});
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION meter CASCADE');
my $database = $primary->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'postgres'});

sub ask
{
	my ($node, $sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sub wait_until
{
	my ($node, $sql, $what) = @_;
	$node->poll_query_until('postgres', $sql)
	  or die "timed out waiting until $what";
	return;
}

# With 0 the flusher that is there ends.
sub set_flush_interval
{
	my ($node, $interval) = @_;
	$node->adjust_conf('postgresql.conf', 'meter.flush_interval', $interval);
	$node->reload;
	return;
}

sub wait_for_flush
{
	my ($node) = @_;
	# what leaves the queue may go into the inbox, but not the other way round
	wait_until($node, 'SELECT queue_bytes = 0 FROM meter.stats', 'the queue is empty');
	wait_until($node, 'SELECT NOT EXISTS (SELECT FROM meter.inbox)', 'the inbox is empty');
	return;
}

# Tracking

# What each client does until it is told to stop: as fast as it can, or with
# pauses, so that it has something to do for long.
my $script = "$tempdir/track.sql";
open my $file, '>', $script or die "$script: $!";
print $file "\\o /dev/null\n";
for my $i (1 .. 30_000)
{
	print $file "SELECT meter_track('t', user_id => '" . 'x' x ($i * 7919 % 120)
	  . "', request_id => :'run' || '-$i') FROM pg_sleep(:pause);\n";
}
print $file "SELECT pg_sleep(600);\n";
close $file;

my $runs = 0;

# Starts the clients and waits until all are at work and so many more events
# have been tracked.
sub start_load
{
	my ($events, $pause) = @_;
	my $queued = ask($primary, 'SELECT queued + fallbacks FROM meter.stats') || 0;
	my @load;
	$runs++;
	for my $client (1 .. $clients)
	{
		push @load,
		  IPC::Run::start(
			[
				'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', "run=c${client}r$runs",
				'-v', "pause=$pause", '-f', $script, '-d', $primary->connstr('postgres') . " application_name=client$client"
			],
			'<', \undef, '>', "$tempdir/c${client}r$runs.out", '2>&1');
	}
	wait_until($primary, "SELECT (SELECT count(*) = $clients FROM pg_stat_activity
			WHERE application_name LIKE 'client%' AND query LIKE '%meter_track%')
		AND (SELECT queued + fallbacks >= $queued + $events FROM meter.stats)", 'the clients are at work');
	return @load;
}

sub stop_load
{
	my (@load) = @_;
	ask($primary, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name LIKE 'client%'});
	$_->finish for @load;
	return;
}

# Tracks some events in one call, which returns.
sub track
{
	my ($node, $run, $events) = @_;
	ask($node, "SELECT count(meter_track('t', request_id => '$run-' || i)) FROM generate_series(1, $events) AS i");
	return;
}

# Checking

my $log_is_whole = q{
	SELECT count(*) = count(DISTINCT seq) AND count(*) = max(seq) AND min(seq) = 1
		AND count(*) = (SELECT last_seq FROM meter.log_position)
		AND count(*) = (SELECT sum(events) FROM meter.event_partition)
	FROM meter.event};

my $doubled = q{SELECT count(*) FROM (
	SELECT FROM meter.event GROUP BY request_id HAVING count(*) > 1) AS d};

sub check_log
{
	my ($node, $when) = @_;
	wait_for_flush($node);
	is(ask($node, $log_is_whole), 't', "$when: the log has no gap and ends at its position");
	is(ask($node, $doubled), '0', "$when: no event is in the log twice");
	is(ask($node, 'SELECT count(*) FROM meter.rejected_event'), '0', "$when: no event was refused");
	return;
}

# How many events of a run are in the log.
sub logged
{
	my ($node, $run) = @_;
	return ask($node, "SELECT count(*) FROM meter.event WHERE request_id LIKE '$run-%'");
}

# The log up to an event, in one word.
sub fingerprint
{
	my ($node, $last_seq) = @_;
	return ask($node, "SELECT count(*), md5(string_agg(request_id, ',' ORDER BY seq)) FROM meter.event
		WHERE seq <= $last_seq");
}

# Events in the copy's log that were not tracked on the copy, for strangers().
sub export_log
{
	my ($copy) = @_;
	my $path = "$tempdir/" . $copy->name . '.log';
	ask($copy, "COPY (SELECT request_id FROM meter.event WHERE request_id NOT LIKE 'copy%') TO '$path'");
	return $path;
}

# Those of them that are not in the primary's log.
sub strangers
{
	my ($path) = @_;
	return ask($primary, "CREATE TEMPORARY TABLE logged (id text);
		COPY logged FROM '$path';
		SELECT count(*) FROM (SELECT id FROM logged EXCEPT SELECT request_id FROM meter.event) AS d");
}

sub queue_file
{
	my ($node) = @_;
	return $node->data_dir . "/pg_meter/$database";
}

# Bytes that wait in the queue, by the two positions in its file (doc/ring.md).
sub waiting_bytes
{
	my ($node) = @_;
	my $bytes = slurp_file(queue_file($node));
	return unpack('Q', substr($bytes, 512, 8)) - unpack('Q', substr($bytes, 768, 8));
}

# A backup while events are tracked and flushed

my @load = start_load(3000, 0);
track($primary, 'early', 500);
my $early_header = substr slurp_file(queue_file($primary)), 0, 4096;
my $queued = ask($primary, 'SELECT queued FROM meter.stats');
wait_until($primary, "SELECT queued > $queued + 5000 FROM meter.stats", 'the queue has gone around');
track($primary, 'before', 500);
my $last_seq = ask($primary, 'SELECT last_seq FROM meter.log_position');
$primary->backup('busy');
ok(ask($primary, 'SELECT last_seq FROM meter.log_position') > $last_seq,
	'events were flushed during the backup');
stop_load(@load);
wait_for_flush($primary);

# At first only what recovery brings, without what waits in its queue.
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($primary, 'busy');
$copy->adjust_conf('postgresql.conf', 'meter.flush_interval', 0);
$copy->start;
my $recovered = ask($copy, 'SELECT last_seq FROM meter.log_position');
ok($recovered >= $last_seq, 'the copy has what was in the log before the backup');
is(ask($copy, $log_is_whole), 't', 'the log of the copy is whole');
is(fingerprint($copy, $recovered), fingerprint($primary, $recovered),
	'and is that of the primary up to there');

set_flush_interval($copy, 50);
check_log($copy, 'copy of a busy primary');
is(fingerprint($copy, $recovered), fingerprint($primary, $recovered), 'its log was not changed');
is(logged($copy, 'before'), '500', 'the copy has all whose call had returned before the backup');
is(strangers(export_log($copy)), '0', 'and none that the primary does not have');

track($copy, 'copy1', 1000);
check_log($copy, 'tracking on the copy');
is(logged($copy, 'copy1'), '1000', 'events tracked on the copy are in its log');
my $events = ask($copy, 'SELECT count(*) FROM meter.event');
$copy->restart;
track($copy, 'copy2', 1000);
check_log($copy, 'the copy started again');
is(ask($copy, 'SELECT count(*) FROM meter.event'), $events + 1000, 'nothing comes again from its queue');
$copy->stop;

# A backup that took so long that the queue's file began to be copied when
# "early" had come, and ended to be when the queue had gone around: the
# positions in it are of events that have been overwritten.  They were in the
# log before.
my $torn = PostgreSQL::Test::Cluster->new('torn');
$torn->init_from_backup($primary, 'busy');
open $file, '+<:raw', queue_file($torn) or die queue_file($torn) . ": $!";
print $file $early_header;
close $file;
$torn->start;
track($torn, 'copy1', 1000);
check_log($torn, 'copy with a torn queue');
is(fingerprint($torn, $recovered), fingerprint($primary, $recovered), 'its log goes on from that of the primary');
is(logged($torn, 'early'), '500', 'it has all whose call had returned before the backup');
is(logged($torn, 'copy1'), '1000', 'and all that were tracked on it');
is(strangers(export_log($torn)), '0', 'and none that the primary does not have');
$torn->stop;
note grep { /queue file/ } split /^/, slurp_file($torn->logfile);

# A backup while events are tracked and none is flushed

# In a larger queue, which holds them all.
$primary->adjust_conf('postgresql.conf', 'meter.queue_size', '16MB');
$primary->adjust_conf('postgresql.conf', 'meter.flush_interval', 0);
$primary->restart;
$last_seq = ask($primary, 'SELECT last_seq FROM meter.log_position');
@load = start_load(1000, 0.005);
track($primary, 'queued', 500);
$primary->backup('queued');
track($primary, 'after', 500);
is(ask($primary, 'SELECT last_seq FROM meter.log_position'), $last_seq, 'nothing was flushed during the backup');

# Not a standby: what waits is in no other place than the queue's file.
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($primary, 'queued');
ok(waiting_bytes($restored) > 0, 'events wait in the file that was copied');
$restored->adjust_conf('postgresql.conf', 'meter.flush_interval', 50);
$restored->start;
check_log($restored, 'copy with events in the queue');
is(logged($restored, 'queued'), '500', 'events that waited when the backup began are in the log of the copy');
is(fingerprint($restored, $last_seq), fingerprint($primary, $last_seq), 'behind those of the primary');
track($restored, 'copy1', 1000);
check_log($restored, 'tracking on the copy with events in the queue');
$events = ask($restored, 'SELECT count(*) FROM meter.event');
$restored->restart;
check_log($restored, 'that copy started again');
is(ask($restored, 'SELECT count(*) FROM meter.event'), $events, 'nothing comes again from its queue');
is(logged($restored, 'copy1'), '1000', 'events tracked on that copy are in its log');
my $restored_log = export_log($restored);
$restored->stop;

# A standby

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'queued', has_streaming => 1);
ok(waiting_bytes($standby) > 0, 'events wait in the file of the standby');
$standby->adjust_conf('postgresql.conf', 'meter.flush_interval', 50);
$standby->start;

# They come to the standby's log as rows now.
set_flush_interval($primary, 50);
wait_until($primary, q{SELECT count(*) = 500 FROM meter.event WHERE request_id LIKE 'after-%'},
	'what had been queued is flushed');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(logged($standby, 'queued'), '500', 'the standby has replayed the flush of what waits in its file');

my $contents = slurp_file(queue_file($standby));
for my $sql (
	q{SELECT meter_track('t', request_id => 'copy-standby')},
	q{SET meter.durability = buffered; SELECT meter_track('t', request_id => 'copy-standby')})
{
	my ($status, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	like($err, qr/ERROR:  25006: cannot execute meter_track\(\) during recovery/, "refused on the standby: $sql");
}
is(ask($standby, 'SHOW meter.durability'), 'buffered', 'which is for buffered events');
is(ask($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'meter%'}),
	'0', 'no process of meter is there');
is(ask($standby, 'SELECT count(*), count(queued) >= 0 FROM meter.stats'), '1|t', 'meter.stats can be read');
ok(slurp_file(queue_file($standby)) eq $contents, 'the standby leaves its queue alone');

# The queue of the primary begins a new epoch, and that of the standby's file
# is over; it must not be forgotten.
stop_load(@load);
$primary->restart;
@load = start_load(500, 0.005);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

# Promotion, while the primary goes on
my $before = ask($standby, 'SELECT last_seq FROM meter.log_position');
my $log = fingerprint($standby, $before);
note ask($primary, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%meter_track%'
	AND application_name LIKE 'client%'}), ' clients are at work';
$standby->promote;
wait_until($standby, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'meter launcher'},
	'the launcher has started');
track($standby, 'copy1', 1000);
check_log($standby, 'promoted standby');
is(fingerprint($standby, $before), $log, 'all that was in the log before the promotion is there once');
is(logged($standby, 'copy1'), '1000', 'events tracked after the promotion are in the log');
is(logged($standby, $_), '500', "events $_ are in the log once") for qw(before queued after);
is(waiting_bytes($standby), 0, 'nothing is left in the queue');

stop_load(@load);
check_log($primary, 'the old primary');
is(strangers($restored_log), '0', 'the copy with events in its queue had none that the primary does not have');
is(strangers(export_log($standby)), '0', 'and neither has the standby');

$events = ask($standby, 'SELECT count(*) FROM meter.event');
$standby->restart;
track($standby, 'copy2', 1000);
check_log($standby, 'the promoted standby started again');
is(ask($standby, 'SELECT count(*) FROM meter.event'), $events + 1000, 'nothing comes again from its queue');

$standby->stop;
$primary->stop;
done_testing();

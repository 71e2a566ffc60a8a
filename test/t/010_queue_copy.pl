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

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask session start_clients start_node wait_for_flush wait_until $log_is_whole);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 4;
my $tempdir = PostgreSQL::Test::Utils::tempdir;

my $primary = start_node('primary', q{
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
}, allows_streaming => 1);
ask('CREATE EXTENSION meter CASCADE');
my $database = ask(q{SELECT oid FROM pg_database WHERE datname = 'postgres'});

# With 0 the flusher that is there ends.
sub set_flush_interval
{
	my ($interval, $node) = @_;
	$node->adjust_conf('postgresql.conf', 'meter.flush_interval', $interval);
	$node->reload;
	return;
}

# Tracking

# What each client does until it is told to stop, again and again under another
# name: as fast as it can, or with pauses.
my $script = "$tempdir/track.sql";
append_to_file($script, join '', "\\o /dev/null\n", (map {
	my $user = 'x' x ($_ * 7919 % 120);
	"SELECT meter_track('t', user_id => '$user', request_id => :'run' || '-$_') FROM pg_sleep(:pause);\n"
} 1 .. 30_000), "\\set run :run x\n\\i $script\n");

# Starts the clients and waits until all are at work and so many more events
# have been tracked.
sub start_load
{
	my ($events, $pause) = @_;
	my $queued = ask('SELECT queued + fallbacks FROM meter.stats') || 0;
	return start_clients($clients, $script, $queued + $events, pause => $pause);
}

sub stop_load
{
	my (@load) = @_;
	ask(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name LIKE 'client%'}, $primary);
	$_->{run}->finish for @load;
	return;
}

# Tracks some events in one call, which returns.
sub track
{
	my ($run, $events, $node) = @_;
	ask("SELECT count(meter_track('t', request_id => '$run-' || i)) FROM generate_series(1, $events) AS i", $node);
	return;
}

# Checking

my $doubled = q{SELECT count(*) FROM (
	SELECT FROM meter.event GROUP BY request_id HAVING count(*) > 1) AS d};

sub check_log
{
	my ($when, $node) = @_;
	wait_for_flush($node);
	is(ask($log_is_whole, $node), 't', "$when: the log has no gap and ends at its position");
	is(ask($doubled, $node), '0', "$when: no event is in the log twice");
	is(ask('SELECT count(*) FROM meter.rejected_event', $node), '0', "$when: no event was refused");
	return;
}

# How many events of a run are in the log.
sub logged
{
	my ($run, $node) = @_;
	return ask("SELECT count(*) FROM meter.event WHERE request_id LIKE '$run-%'", $node);
}

# The log up to an event, in one word.
sub fingerprint
{
	my ($last_seq, $node) = @_;
	return ask("SELECT count(*), md5(string_agg(request_id, ',' ORDER BY seq)) FROM meter.event
		WHERE seq <= $last_seq", $node);
}

# Events in the copy's log that were not tracked on the copy, for strangers().
sub export_log
{
	my ($copy) = @_;
	my $path = "$tempdir/" . $copy->name . '.log';
	ask("COPY (SELECT request_id FROM meter.event WHERE request_id NOT LIKE 'copy%') TO '$path'", $copy);
	return $path;
}

# Those of them that are not in the primary's log.
sub strangers
{
	my ($path) = @_;
	return ask("CREATE TEMPORARY TABLE logged (id text);
		COPY logged FROM '$path';
		SELECT count(*) FROM (SELECT id FROM logged EXCEPT SELECT request_id FROM meter.event) AS d", $primary);
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
track('early', 500, $primary);
my $early_header = substr slurp_file(queue_file($primary)), 0, 4096;
my $queued = ask('SELECT queued FROM meter.stats', $primary);
wait_until("SELECT queued > $queued + 5000 FROM meter.stats", 'the queue has gone around', $primary);
track('before', 500, $primary);
my $last_seq = ask('SELECT last_seq FROM meter.log_position', $primary);
$primary->backup('busy');
ok(ask('SELECT last_seq FROM meter.log_position', $primary) > $last_seq,
	'events were flushed during the backup');
stop_load(@load);
wait_for_flush($primary);

# At first only what recovery brings, without what waits in its queue.
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($primary, 'busy');
$copy->adjust_conf('postgresql.conf', 'meter.flush_interval', 0);
$copy->start;
my $recovered = ask('SELECT last_seq FROM meter.log_position', $copy);
ok($recovered >= $last_seq, 'the copy has what was in the log before the backup');
is(ask($log_is_whole, $copy), 't', 'the log of the copy is whole');
is(fingerprint($recovered, $copy), fingerprint($recovered, $primary),
	'and is that of the primary up to there');

set_flush_interval(50, $copy);
check_log('copy of a busy primary', $copy);
is(fingerprint($recovered, $copy), fingerprint($recovered, $primary), 'its log was not changed');
is(logged('before', $copy), '500', 'the copy has all whose call had returned before the backup');
is(strangers(export_log($copy)), '0', 'and none that the primary does not have');

track('copy1', 1000, $copy);
check_log('tracking on the copy', $copy);
is(logged('copy1', $copy), '1000', 'events tracked on the copy are in its log');
my $events = ask('SELECT count(*) FROM meter.event', $copy);
$copy->restart;
track('copy2', 1000, $copy);
check_log('the copy started again', $copy);
is(ask('SELECT count(*) FROM meter.event', $copy), $events + 1000, 'nothing comes again from its queue');
$copy->stop;

# A backup that took so long that the queue's file began to be copied when
# "early" had come, and ended to be when the queue had gone around: the
# positions in it are of events that have been overwritten.  They were in the
# log before.
my $torn = PostgreSQL::Test::Cluster->new('torn');
$torn->init_from_backup($primary, 'busy');
open my $file, '+<:raw', queue_file($torn) or die queue_file($torn) . ": $!";
print $file $early_header;
close $file;
$torn->start;
track('copy1', 1000, $torn);
check_log('copy with a torn queue', $torn);
is(fingerprint($recovered, $torn), fingerprint($recovered, $primary), 'its log goes on from that of the primary');
is(logged('early', $torn), '500', 'it has all whose call had returned before the backup');
is(logged('copy1', $torn), '1000', 'and all that were tracked on it');
is(strangers(export_log($torn)), '0', 'and none that the primary does not have');
$torn->stop;
note grep { /queue file/ } split /^/, slurp_file($torn->logfile);

# A backup while events are tracked and none is flushed

# In a larger queue, which holds them all.
$primary->adjust_conf('postgresql.conf', 'meter.queue_size', '16MB');
$primary->adjust_conf('postgresql.conf', 'meter.flush_interval', 0);
$primary->restart;
$last_seq = ask('SELECT last_seq FROM meter.log_position', $primary);
@load = start_load(1000, 0.005);
track('queued', 500, $primary);
$primary->backup('queued');
track('after', 500, $primary);
is(ask('SELECT last_seq FROM meter.log_position', $primary), $last_seq, 'nothing was flushed during the backup');

# Not a standby: what waits is in no other place than the queue's file.
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($primary, 'queued');
ok(waiting_bytes($restored) > 0, 'events wait in the file that was copied');
$restored->adjust_conf('postgresql.conf', 'meter.flush_interval', 50);
$restored->start;
check_log('copy with events in the queue', $restored);
is(logged('queued', $restored), '500', 'events that waited when the backup began are in the log of the copy');
is(fingerprint($last_seq, $restored), fingerprint($last_seq, $primary), 'behind those of the primary');
track('copy1', 1000, $restored);
check_log('tracking on the copy with events in the queue', $restored);
$events = ask('SELECT count(*) FROM meter.event', $restored);
$restored->restart;
check_log('that copy started again', $restored);
is(ask('SELECT count(*) FROM meter.event', $restored), $events, 'nothing comes again from its queue');
is(logged('copy1', $restored), '1000', 'events tracked on that copy are in its log');
my $restored_log = export_log($restored);
$restored->stop;

# A standby

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'queued', has_streaming => 1);
ok(waiting_bytes($standby) > 0, 'events wait in the file of the standby');
$standby->adjust_conf('postgresql.conf', 'meter.flush_interval', 50);
$standby->start;

# They come to the standby's log as rows now.
set_flush_interval(50, $primary);
wait_until(q{SELECT count(*) = 500 FROM meter.event WHERE request_id LIKE 'after-%'},
	'what had been queued is flushed', $primary);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(logged('queued', $standby), '500', 'the standby has replayed the flush of what waits in its file');

my $contents = slurp_file(queue_file($standby));
for my $sql (
	q{SELECT meter_track('t', request_id => 'copy-standby')},
	q{SET meter.durability = buffered; SELECT meter_track('t', request_id => 'copy-standby')})
{
	like(session($sql, $standby), qr/ERROR:  25006: cannot execute meter_track\(\) during recovery/, "refused on the standby: $sql");
}
is(ask('SHOW meter.durability', $standby), 'buffered', 'which is for buffered events');
is(ask(q{SELECT string_agg(backend_type, ' ') FROM pg_stat_activity WHERE backend_type LIKE 'meter%'}, $standby),
	'meter launcher', 'of the processes of meter only the one that saves limits is there');
is(ask('SELECT count(*), count(queued) >= 0 FROM meter.stats', $standby), '1|t', 'meter.stats can be read');
ok(slurp_file(queue_file($standby)) eq $contents, 'the standby leaves its queue alone');

# The queue of the primary begins a new epoch, and that of the standby's file
# is over; it must not be forgotten.
stop_load(@load);
$primary->restart;
@load = start_load(500, 0.005);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

# Promotion, while the primary goes on
my $before = ask('SELECT last_seq FROM meter.log_position', $standby);
my $log = fingerprint($before, $standby);
note ask(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%meter_track%'
	AND application_name LIKE 'client%'}, $primary), ' clients are at work';
$standby->promote;
wait_until(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'meter launcher'},
	'the launcher has started', $standby);
track('copy1', 1000, $standby);
check_log('promoted standby', $standby);
is(fingerprint($before, $standby), $log, 'all that was in the log before the promotion is there once');
is(logged('copy1', $standby), '1000', 'events tracked after the promotion are in the log');
is(logged($_, $standby), '500', "events $_ are in the log once") for qw(before queued after);
is(waiting_bytes($standby), 0, 'nothing is left in the queue');

stop_load(@load);
check_log('the old primary', $primary);
is(strangers($restored_log), '0', 'the copy with events in its queue had none that the primary does not have');
is(strangers(export_log($standby)), '0', 'and neither has the standby');

$events = ask('SELECT count(*) FROM meter.event', $standby);
$standby->restart;
track('copy2', 1000, $standby);
check_log('the promoted standby started again', $standby);
is(ask('SELECT count(*) FROM meter.event', $standby), $events + 1000, 'nothing comes again from its queue');

$standby->stop;
$primary->stop;
done_testing();

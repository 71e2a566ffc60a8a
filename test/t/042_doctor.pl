# 042_doctor.pl: what meter_doctor() finds of servers, each with its remedy run.
#
# What needs a server of its own, or one that is started again: sql/doctor.sql has
# the other checks, and names those that are here.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask ok_until start_node wait_until);
use PostgreSQL::Test::Utils;
use Test::More;

my $doctor = 'SELECT "check", severity, object, finding FROM meter_doctor()';
my %needed = map { $_ => 1 } qw(not_preloaded worker_slots max_databases worker_error disk_space
  standby queue_small queue_damaged limit_memory);

# What is found, by check; a test of the checks of which there are findings.
sub found
{
	my ($node, $database, $checks, $what) = @_;
	my %found;

	for my $row (split /\n/, $node->safe_psql($database, $doctor))
	{
		my ($check, @rest) = split /\|/, $row;
		$found{$check} = join '|', @rest;
		delete $needed{$check};
	}
	is(join(' ', sort keys %found), $checks, $what);
	return \%found;
}

# Runs the remedies of a check, as psql runs a file.
sub cure
{
	my ($node, $database, $check) = @_;
	my $file = $node->basedir . '/remedy.sql';

	append_to_file($file, '');
	open my $out, '>', $file or die $!;
	print $out $node->safe_psql($database, qq{SELECT remedy FROM meter_doctor() WHERE "check" = '$check'}), "\n";
	close $out;
	$node->safe_psql($database, "\\i $file");
}

# --- nothing is preloaded ---------------------------------------------------------

my $bare = start_node('doctor', "shared_preload_libraries = 'auto_explain'\nfsync = on\njit = off\n", allows_streaming => 1);
ask('CREATE EXTENSION meter CASCADE');
my $findings = found($bare, 'postgres', 'not_preloaded unscheduled', 'without preload nobody does the work');
is($findings->{not_preloaded},
	'warning|shared_preload_libraries|The server does not preload meter, so there are no limits, no queue and no background worker.',
	'which is a warning');
ask(q{INSERT INTO meter.rate_limit (per, max) VALUES ('hour', 5)});
like(found($bare, 'postgres', 'not_preloaded unscheduled', 'with limits')->{not_preloaded},
	qr/^critical\|.*meter_check\(\) fails/, 'it is critical');
is( ask(q{SELECT DISTINCT remedy FROM meter_doctor() WHERE "check" IN ('not_preloaded', 'unscheduled')}),
	"ALTER SYSTEM SET shared_preload_libraries = 'auto_explain', 'meter';\n-- and restart the server",
	'one line ends all of it, and keeps what else is preloaded');
cure($bare, 'postgres', 'not_preloaded');
$bare->restart;
ok_until(q{SELECT NOT EXISTS (SELECT FROM meter_doctor())}, 'after the remedy and a restart all is well');

# --- the worker is off -------------------------------------------------------------

ask('ALTER SYSTEM SET meter.flush_interval = 0');
ask('ALTER SYSTEM SET meter.rollup_interval = 0');
ask('SELECT pg_reload_conf()');
wait_until(q{SELECT count(*) = 4 FROM meter_doctor() WHERE "check" = 'unscheduled'}, 'the worker is off');
cure($bare, 'postgres', 'unscheduled');
ok_until(q{SELECT NOT EXISTS (SELECT FROM meter_doctor())}, 'the settings put it on again');

# --- errors of the worker ------------------------------------------------------------

my $day = ask(q{SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')});
ask(qq{CREATE TABLE meter.event_p$day (LIKE meter.event)});
ask(qq{SELECT meter_track('acme', at => '$day 00:00Z')});
wait_until(q{SELECT errors > 0 FROM meter.stats}, 'the flusher has failed');
like(found($bare, 'postgres', 'partition_detached worker_error', 'a table in the place of a partition stops the flush')->{worker_error},
	qr/^warning\|background worker\|[0-9]+ errors? since .*event_p[0-9]{8}/, 'the error is told');
cure($bare, 'postgres', 'partition_detached');
cure($bare, 'postgres', 'row_security');
cure($bare, 'postgres', 'worker_error');
ok_until(q{SELECT NOT EXISTS (SELECT FROM meter_doctor())}, 'the remedies mend it');
is(ask('SELECT count(*) FROM meter.event'), '1', 'and the event is there');

# --- too few processes, databases, memory ---------------------------------------------

$bare->append_conf('postgresql.conf', q{
max_worker_processes = 1
max_logical_replication_workers = 0
max_parallel_workers = 0
meter.max_databases = 1
meter.limit_memory = '64kB'
meter.queue_size = '256kB'
meter.queue_timeout = 0
});
$bare->restart;
wait_until(q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'meter launcher')}, 'there is a launcher', $bare);
ask(q{SELECT meter_track('acme', metadata => jsonb_build_object('x', repeat('x', 4000))) FROM generate_series(1, 100) AS i});
ask(q{SELECT meter_allow('tenant ' || i) FROM generate_series(1, 2000) AS i});
$bare->safe_psql('postgres', 'CREATE DATABASE other');
$bare->safe_psql('other', 'CREATE EXTENSION meter CASCADE');
$findings = found($bare, 'postgres', 'limit_memory queue_small worker_slots', 'all that is too small is found');
is($findings->{worker_slots}, 'critical|max_worker_processes|All 1 processes for background work are taken.', 'processes');
like($findings->{limit_memory}, qr/^warning\|meter.limit_memory\|There was no room to count 1[0-9]{3} calls/, 'memory of limits');
like($findings->{queue_small}, qr/^warning\|meter.queue_size\|The queue of 256 kB was full for [0-9]+ events since/, 'the queue');
found($bare, 'other', 'limit_memory max_databases worker_slots', 'another database has no place');
cure($bare, 'postgres', 'worker_slots');
cure($bare, 'postgres', 'limit_memory');
cure($bare, 'postgres', 'queue_small');
cure($bare, 'other', 'max_databases');
$bare->restart;
is( ask(q{SELECT name, setting FROM pg_settings
		WHERE name IN ('max_worker_processes', 'meter.limit_memory', 'meter.max_databases', 'meter.queue_size') ORDER BY name}),
	"max_worker_processes|9\nmeter.limit_memory|256\nmeter.max_databases|2\nmeter.queue_size|1024",
	'the remedies make room');
ok_until(q{SELECT NOT EXISTS (SELECT FROM meter_doctor())}, 'after a restart all is well');
ok_until(q{SELECT NOT EXISTS (SELECT FROM meter_doctor())}, 'also in the other database', 'other');

$bare->append_conf('postgresql.conf', "max_worker_processes = 0\n");
$bare->safe_psql('postgres', 'ALTER SYSTEM RESET max_worker_processes');
$bare->restart;
wait_until(q{SELECT now() > pg_postmaster_start_time() + interval '10 seconds'}, 'there should be a launcher', $bare);
like(found($bare, 'postgres', 'worker_slots', 'without any process there is no launcher')->{worker_slots},
	qr/meter launcher/, 'which is told');
cure($bare, 'postgres', 'worker_slots');
$bare->restart;
ok_until(q{SELECT NOT EXISTS (SELECT FROM meter_doctor())}, 'with the remedy it is there');

# --- a damaged queue -----------------------------------------------------------------

ask('ALTER SYSTEM SET meter.flush_interval = 0');
ask('SELECT pg_reload_conf()');
wait_until(q{SELECT flusher_pid IS NULL FROM meter.stats}, 'the flusher has ended');
ask(q{SELECT meter_track('acme', metadata => '{"damage": "here"}') FROM generate_series(1, 3)});
my $oid = ask('SELECT oid FROM pg_database WHERE datname = current_database()');
$bare->stop;
my $queue = $bare->data_dir . "/pg_meter/$oid";
my $bytes = slurp_file($queue);
my $at = index $bytes, 'damage';
ok($at > 0, 'the queue has the events');
substr($bytes, $at, 6) = 'demage';
open my $file, '>:raw', $queue or die $!;
print $file $bytes;
close $file;
$bare->start;
ask('ALTER SYSTEM RESET meter.flush_interval');
ask('SELECT pg_reload_conf()');
wait_until(q{SELECT lost_bytes > 0 FROM meter.stats}, 'the queue was opened');
found($bare, 'postgres', 'queue_damaged', 'damage of the queue is found');
cure($bare, 'postgres', 'queue_damaged');
found($bare, 'postgres', '', 'and forgotten');

# --- a standby -------------------------------------------------------------------------

$bare->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($bare, 'copy', has_streaming => 1);
$standby->start;
like(found($standby, 'postgres', 'standby', 'a standby says that it is one')->{standby}, qr/^info\|/, 'as information');
$standby->promote;
is($standby->safe_psql('postgres', q{SELECT string_agg("check", ' ') FROM meter_doctor() WHERE "check" = 'standby'}), '',
	'and after its promotion it does not');
$standby->stop;

# --- a small disk ------------------------------------------------------------------------

SKIP:
{
	my $disk = $ENV{METER_SMALL_DISK};

	if (!$disk)
	{
		delete $needed{disk_space};
		skip 'no small file system', 4;
	}
	my $small = start_node('small', "shared_preload_libraries = 'meter'\nmeter.queue_size = '1GB'\nfsync = on\njit = off\n");
	$small->safe_psql('postgres', 'CREATE EXTENSION meter CASCADE');
	$small->stop;
	my $directory = $small->data_dir . '/pg_meter';
	rename $directory, "$directory.kept" if -d $directory;
	mkdir "$disk/doctor";
	symlink "$disk/doctor", $directory or die $!;
	$small->start;
	like(found($small, 'postgres', 'disk_space', 'the queue would not fit')->{disk_space},
		qr/^critical\|directory pg_meter\|.* are free, and the queue's file takes 1024 MB/, 'which is told');
	cure($small, 'postgres', 'disk_space');
	$small->restart;
	found($small, 'postgres', '', 'with the remedy it would');
	$small->safe_psql('postgres', q{SELECT meter_track('acme')});
	is($small->safe_psql('postgres', q{SELECT queued FROM meter.stats}), '1', 'and does');
	$small->stop;
	unlink glob "$disk/doctor/*";
	rmdir "$disk/doctor";
}

is(join(' ', sort keys %needed), '', 'each check was provoked');

# --- the manual has all of them ------------------------------------------------------------

my $page = slurp_file("$FindBin::RealBin/../../doc/doctor.md");
is( join("\n", $page =~ /^(\| `[a-z_]+` \| (?:critical|warning|info) \| .*)$/mg),
	ask(q{SELECT format('| `%s` | %s | %s |', "check", severity, explanation) FROM meter.doctor_check ORDER BY place}),
	'doc/doctor.md lists the checks as they are');

done_testing();

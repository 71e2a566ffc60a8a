# 020_limit_memory.pl: the memory of limits with small pages, and with huge ones
# that the kernel makes.
#
# Whether a kernel can make them, and finds the memory for it, is not for a test
# to say; what is counted has to be the same in any case.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask kill_child ok_until start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('memory', q{
shared_preload_libraries = 'meter'
huge_pages = try
meter.limit_memory = '16MB'
meter.save_interval = 1
meter.flush_interval = 0
meter.rollup_interval = 0
restart_after_crash = on
autovacuum = off
});
ask('CREATE EXTENSION meter CASCADE');
ask(q{INSERT INTO meter.rate_limit (per, max, burst) VALUES ('day', 0, 3)});

# Sizes in kB of the shared mappings of files without a name, and what is joined
# in them, as a process sees it that has looked at all accounts.
sub mappings
{
	my %found = (joined => 0);
	my $name = '';
	my $smaps = ask(q{WITH s AS MATERIALIZED (SELECT count(*) FROM meter.rate_limit_status)
		SELECT pg_read_file('/proc/self/smaps') FROM s});
	for (split /\n/, $smaps)
	{
		$name = $1 if /^[0-9a-f]+-[0-9a-f]+ .... \S+ \S+ \S+ *(.*)$/;
		$found{size}{$1} = 1 if $name =~ m{^/dev/zero} && /^Size: +([0-9]+) kB/;
		$found{joined} += $1 if $name =~ m{^/dev/zero} && /^ShmemPmdMapped: +([0-9]+) kB/;
	}
	return \%found;
}

# All calls of 20 000 tenants together, and how many of them are let through.
sub call_all
{
	return ask(q{SELECT count(*), count(*) FILTER (WHERE meter_allow('tenant ' || i)) FROM generate_series(1, 20000) AS i});
}

my $used = q{SELECT count(*), sum(used), min(used), max(used) FROM meter.rate_limit_status WHERE tenant <> 'last'};

is(call_all(), '20000|20000', 'calls of many tenants are let through');
is(ask($used), '20000|20000|1|1', 'and counted');
my $mappings = mappings();
ok($mappings->{size}{16384}, 'the accounts have a mapping of their own, of whole huge pages');
ok_until(q{SELECT saved_at > now() - interval '1 hour' FROM meter.limit_stats}, 'they are saved');
note 'joined into huge pages: ' . mappings()->{joined} . ' kB';

# The postmaster keeps its mapping when a backend crashes, and what is in it is
# of no use then
ask(q{SELECT meter_allow('tenant ' || i) FROM generate_series(1, 20000) AS i});
my $called = ask('SELECT clock_timestamp()');
# all of them may have been saved by then, and without a change nothing is saved
ask(q{SELECT meter_allow('last')});
ok_until(qq{SELECT saved_at > '$called' FROM meter.limit_stats}, 'and saved again');
kill_child(ask(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'}));
ok_until(q{SELECT count(*) >= 20000 FROM meter.rate_limit_status}, 'after a crash they are what was saved');
is(ask($used), '20000|40000|2|2', 'to the last call, as it was saved since');
ok(mappings()->{size}{16384}, 'in a mapping of their own again');

for my $huge_pages ('off', 'try')
{
	$node->adjust_conf('postgresql.conf', 'huge_pages', $huge_pages);
	$node->restart;
	is(ask($used), '20000|40000|2|2', "with huge_pages = $huge_pages the accounts are what they were");
	is( mappings()->{size}{16384} ? 'own' : 'shared', $huge_pages eq 'off' ? 'shared' : 'own',
		'and where they are to be');
	is(mappings()->{joined}, 0, 'none is joined') if $huge_pages eq 'off';
}
is(call_all(), '20000|20000', 'calls are let through as long as there are some');
is(call_all(), '20000|0', 'and no longer');
$node->stop;
done_testing();

# 019_outbox.pl: usage on its way to a payment provider, with real workers.
#
# Four workers, which are the example examples/outbox/worker.sh, send the rows
# of the outbox to a provider, which is a file that they append to.  One is
# killed with kill -9 in the middle of its work, and while they are at it, late
# events and corrections come.  The provider must have got every row, no row
# twice but what the dead worker had claimed, none from two workers at the same
# time; and by the identifiers, of each hour what the raw log has of it.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask ok_until start_node wait_until $by_hand);
use POSIX qw(setsid);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = start_node('outbox', "${by_hand}timezone = 'Asia/Kathmandu'");
my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $got = "$dir/provider.log";
# who is not run for half of it may send a row that is another's by then
my $lease = 16;

# The provider: it notes when a call begins and ends.  Of some rows it refuses
# the first call.
append_to_file("$dir/provider.sh", <<"END");
#!/bin/bash
printf '%s begin %s %s %s\\n' "\$EPOCHREALTIME" "\$METER_OUTBOX_WORKER" "\$1" "\$*" >>'$got'
[[ \$1 != *7-[0-9]* ]] || [ -e "$dir/seen-\$1" ] || { touch "$dir/seen-\$1"; status=75; }
sleep 0.02
printf '%s end %s %s %s\\n' "\$EPOCHREALTIME" "\$METER_OUTBOX_WORKER" "\$1" "\${status:-0}" >>'$got'
exit \${status:-0}
END
chmod 0755, "$dir/provider.sh";
append_to_file($got, '');

# Starts a worker in a process group of its own.
sub start_worker
{
	my ($name) = @_;
	my $pid = fork() // die 'cannot fork';
	return $pid if $pid;
	setsid();
	$ENV{PGHOST} = $node->host;
	$ENV{PGPORT} = $node->port;
	$ENV{PGDATABASE} = 'postgres';
	$ENV{METER_OUTBOX_WORKER} = $name;
	$ENV{METER_OUTBOX_SEND} = "$dir/provider.sh";
	$ENV{METER_OUTBOX_BATCH} = 9;
	$ENV{METER_OUTBOX_LEASE} = $lease;
	$ENV{METER_OUTBOX_RETRY} = 1;
	$ENV{METER_OUTBOX_PAUSE} = 1;
	open STDOUT, '>>', "$dir/$name.log";
	open STDERR, '>>&', \*STDOUT;
	exec 'bash', "$FindBin::RealBin/../../examples/outbox/worker.sh";
	die 'cannot start a worker';
}

# How many calls the provider has got, of one worker or of all.
sub calls
{
	my ($name) = @_;
	$name //= '\S+';
	return scalar(() = slurp_file($got) =~ /begin $name /g);
}

sub wait_for_calls
{
	my ($calls, $name) = @_;
	my $tries = 20 * $PostgreSQL::Test::Utils::timeout_default;
	usleep(50_000) while calls($name) < $calls && $tries-- > 0;
	cmp_ok(calls($name), '>=', $calls, "the provider has got $calls calls" . ($name ? " of $name" : ''));
	return;
}

# Usage: six tenants, of whom one has no customer, in 30 hours that are over.
ask(q{
	CREATE EXTENSION meter CASCADE;
	SET meter.retention = 0;
	INSERT INTO meter.metric (metric, dimensions) VALUES ('api_requests', '{}'), ('tokens', '{model}');
	INSERT INTO meter.tenant (tenant, customer) SELECT 'tenant ' || t, NULLIF('cus_' || t, 'cus_6')
	FROM generate_series(1, 6) AS t;
	INSERT INTO meter.outbox_meter (event_name, metric, dims, aggregation, negative, since) VALUES
		('calls', 'api_requests', '{}', 'count', 'send', now() - interval '10 days'),
		('tokens', 'tokens', '{"model": "a"}', 'sum', 'send', now() - interval '10 days'),
		('netted', 'api_requests', '{}', 'sum', 'net', now() - interval '10 days');
	CREATE FUNCTION track(events integer, salt integer) RETURNS void LANGUAGE sql AS $$
		SELECT meter_track('tenant ' || 1 + (i / 7) % 6,
			CASE WHEN i % 3 = 0 THEN 'api_requests' ELSE 'tokens' END, 1 + i % 7,
			at => date_trunc('hour', now(), 'UTC') - (3 + (i / 3 + salt) % 30) * interval '1 hour' + (i % 60) * interval '1 minute',
			idempotency_key => salt || ' ' || i,
			metadata => CASE WHEN i % 3 > 0 THEN jsonb_build_object('model', CASE WHEN i % 5 = 0 THEN 'b' ELSE 'a' END) END)
		FROM generate_series(1, events) AS i
	$$;
	CREATE FUNCTION fill() RETURNS bigint LANGUAGE sql AS $$
		SELECT meter_flush(); SELECT meter_rollup(); SELECT meter_outbox_fill()
	$$;
	SELECT track(3000, 1);
	SELECT fill()});
cmp_ok(ask('SELECT count(*) FROM meter.billing_outbox'), '>', 300, 'there are rows to send');

my %worker = map { $_ => start_worker($_) } qw(ann bob cid dan);
wait_for_calls(60);

# Late events and corrections, of hours that were sent and of such that are just
# being sent.
ask(q{
	SELECT track(60, 2);
	SELECT meter_correct(tenant, seq => seq, quantity => quantity + 2) FROM (
		SELECT tenant, seq, quantity FROM meter.event WHERE seq % 41 = 0 ORDER BY seq) AS e;
	SELECT meter_correct(tenant, seq => seq, void => true) FROM (
		SELECT tenant, seq FROM meter.event WHERE seq % 37 = 0 AND superseded_by IS NULL AND corrects IS NULL ORDER BY seq) AS e;
	SELECT fill()});
wait_for_calls(20, 'bob');
kill 'KILL', -$worker{bob};
waitpid $worker{bob}, 0;
my $killed_at = Time::HiRes::time();
my %claimed_by_bob = map { $_ => 1 } split /\n/,
  ask(q{SELECT identifier FROM meter.billing_outbox WHERE state = 'pending' AND worker = 'bob'});
ask(q{
	SELECT track(60, 3);
	UPDATE meter.tenant SET customer = 'cus_6' WHERE tenant = 'tenant 6';
	SELECT fill()});
ok_until(q{SELECT count(*) = 0 FROM meter.billing_outbox WHERE state = 'pending'}, 'all rows are sent in the end');
is(ask(q{SELECT count(*) FROM meter.billing_outbox WHERE state = 'dead'}), 0, 'none is given up');

for my $name (qw(ann cid dan))
{
	kill 'TERM', $worker{$name};
	waitpid $worker{$name}, 0;
	is($?, 0, "$name ends when asked to");
}

# What the provider has got.
my (%calls, %taken);
for (split /\n/, slurp_file($got))
{
	my ($at, $what, $name, $identifier, $rest) = split / /, $_, 5;
	if ($what eq 'begin')
	{
		push @{ $calls{$identifier} }, { begin => $at, worker => $name, fields => $rest };
	}
	else
	{
		my ($call) = grep { $_->{worker} eq $name && !defined $_->{end} } @{ $calls{$identifier} };
		@$call{qw(end status)} = ($at, $rest);
		$taken{$identifier}++ if $rest == 0;
	}
}
is(join(' ', sort keys %taken),
	join(' ', sort split /\n/, ask(q{SELECT identifier FROM meter.billing_outbox WHERE state = 'sent'})),
	'the provider has taken the rows that were sent, and no others');
is(join(' ', grep { $taken{$_} > 1 && !$claimed_by_bob{$_} } sort keys %taken),
	'', 'only rows that the dead worker had claimed were taken twice');
my @at_once;
for my $identifier (sort keys %calls)
{
	my @of = sort { $a->{begin} <=> $b->{begin} } @{ $calls{$identifier} };
	for my $i (1 .. $#of)
	{
		my $end = $of[ $i - 1 ]{end} // $killed_at;
		push @at_once, $identifier if $of[$i]{begin} < $end;
	}
}
is("@at_once", '', 'no row was being sent by two workers at the same time');
ok((grep { @{ $calls{$_} } > 1 } keys %calls) > 0, 'some rows were sent again');
is(join(' ', grep { /7-\d+$/ && @{ $calls{$_} } < 2 } sort keys %calls), '', 'as were those that were refused at first');

# The values by identifier, as the provider adds them up, against the raw log.
ask('CREATE TABLE provider (identifier text PRIMARY KEY, event_name text, at bigint, customer text, value numeric)');
my @rows;
for my $identifier (sort keys %taken)
{
	my ($id, $event, $at, %field) = split /[ =]/, $calls{$identifier}[0]{fields};
	push @rows, "('$id', '$event', $at, '$field{stripe_customer_id}', $field{value})";
}
ask('INSERT INTO provider VALUES ' . join ', ', @rows);
my $raw = q{
	SELECT 'cus_' || right(tenant, 1) AS customer, extract(epoch FROM date_trunc('hour', at, 'UTC')) AS at, event_name, value
	FROM (
		SELECT tenant, at, 'calls' AS event_name, 1 AS value FROM meter.event WHERE metric = 'api_requests' AND superseded_by IS NULL
		UNION ALL
		SELECT tenant, at, 'netted', quantity FROM meter.event WHERE metric = 'api_requests' AND superseded_by IS NULL
		UNION ALL
		SELECT tenant, at, 'tokens', quantity FROM meter.event
		WHERE metric = 'tokens' AND metadata ->> 'model' = 'a' AND superseded_by IS NULL
	) AS e};
is( ask(qq{WITH raw AS ($raw), d AS (
			SELECT customer, at, event_name, sum(value) FROM raw WHERE event_name <> 'netted' GROUP BY 1, 2, 3),
		p AS (SELECT customer, at, event_name, sum(value) FROM provider WHERE event_name <> 'netted' GROUP BY 1, 2, 3 HAVING sum(value) <> 0)
		SELECT count(*) || ' ' || (SELECT count(*) FROM p) - (SELECT count(*) FROM d) FROM (
			(SELECT * FROM d EXCEPT SELECT * FROM p) UNION ALL (SELECT * FROM p EXCEPT SELECT * FROM d)) AS x}),
	'0 0', 'the provider has of each hour what the log has, where it takes negative values');
is( ask(qq{WITH raw AS ($raw), d AS (
			SELECT customer, sum(value) FROM raw WHERE event_name = 'netted' GROUP BY 1),
		p AS (SELECT customer, sum(value) + COALESCE((SELECT sum(h.value) FROM meter.outbox_held AS h
				WHERE h.event_name = 'netted' AND 'cus_' || right(h.tenant, 1) = customer), 0)
			FROM provider WHERE event_name = 'netted' GROUP BY 1)
		SELECT count(*) FROM (
			(SELECT * FROM d EXCEPT SELECT * FROM p) UNION ALL (SELECT * FROM p EXCEPT SELECT * FROM d)) AS x}),
	0, 'and of each customer what the log has, with what is held back, where it does not');
is(ask(q{SELECT count(*) FROM provider WHERE event_name = 'netted' AND value <= 0}), 0, 'and gets no negative values there');
is(ask(q{SELECT count(*) FROM meter.outbox_held WHERE reason <> 'negative'}), 0, 'nothing else is held back');

# The row of a restored dump is not sent again: the state goes along.
my $dump = "$dir/outbox.sql";
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'a dump is made');
ask('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'and restored');
is(ask('SELECT meter_outbox_fill()', 'restored'), 0, 'in the restored database there is nothing to send');
is( ask(q{SELECT count(*) FROM meter.billing_outbox}, 'restored'),
	ask(q{SELECT count(*) FROM meter.billing_outbox}), 'and it knows what was sent');

# The background worker fills the outbox by itself.
$node->append_conf('postgresql.conf', "meter.rollup_interval = 1s\nmeter.flush_interval = 100ms\nmeter.durability = buffered");
$node->restart;
ask(q{SELECT meter_track('tenant 1', quantity => 1000, at => now() - interval '3 hours')});
ok_until(q{SELECT count(*) = 1 FROM meter.billing_outbox WHERE event_name = 'netted' AND value > 500 AND state = 'pending'},
	'the background worker fills the outbox');

$node->stop;
done_testing();

# 031_alert.pl: alerts, evaluated by many at once and by one that is killed.
#
# Each crossing of a threshold makes one alert, one incident and one
# notification, whoever evaluates: pg_cron, the background worker and people can
# do it at the same time.  A model of each tenant's state, kept here, says how
# many there have to be.  An evaluation that ends in the middle, by kill -9 or
# otherwise, leaves nothing, and the next one makes up for it.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(
  answer_of ask at_once close_session in_session kill_child ok_until open_session start_node
  tell_session wait_until $by_hand
);
use Test::More;

my $node = start_node('alert', "${by_hand}restart_after_crash = on\n");
ask(q{
	CREATE EXTENSION meter CASCADE;
	DELETE FROM meter.alert_rule;
	INSERT INTO meter.alert_rule (rule, signal, threshold, resolve_below) VALUES ('r', 'error_rate', 10, 8);
	CREATE TABLE measured (tenant text, value numeric);
	-- in the place of what is measured
	CREATE OR REPLACE FUNCTION meter.alert_measure(at timestamptz)
	RETURNS TABLE (rule text, tenant text, service text, value numeric, detail jsonb)
	LANGUAGE SQL STABLE AS $$SELECT 'r', m.tenant, NULL, m.value, NULL::jsonb FROM public.measured AS m$$});

my $listener = open_session();
in_session($listener, 'LISTEN meter');

# What the listener has got since the last time: "tenant state" of each.
sub heard
{
	my $heard = in_session($listener, 'SELECT');
	my @events;
	for my $payload ($heard =~ /^Asynchronous notification "meter" with payload "(.*)" received/mg)
	{
		my ($tenant) = $payload =~ /"tenant": "(\w+)"/;
		my ($state) = $payload =~ /"state": "(\w+)"/;
		push @events, "$tenant $state";
	}
	return @events;
}

# --- many at once ------------------------------------------------------------

# A generator of our own, so that each run is the same.
my $seed = 4711;
sub random
{
	$seed = ($seed * 1103515245 + 12345) % 2**31;
	return int($seed / 65536) % $_[0];
}

my $rounds = 25;
my @tenants = map { "t$_" } 1 .. 20;
my (%firing, @expected, @got);
my ($fired, $resolved, $wrong) = (0, 0, 0);
my @sessions = map { open_session() } 1 .. 6;

for my $round (1 .. $rounds)
{
	my %value = map { $_ => random(20) } @tenants;
	ask('TRUNCATE measured; INSERT INTO measured VALUES ' . join ', ', map { "('$_', $value{$_})" } @tenants);
	my ($begins, $ends) = (0, 0);
	for my $tenant (@tenants)
	{
		if (!$firing{$tenant} && $value{$tenant} >= 10)
		{
			$firing{$tenant} = 1;
			$begins++;
			push @expected, "$tenant firing";
		}
		elsif ($firing{$tenant} && $value{$tenant} < 8)
		{
			$firing{$tenant} = 0;
			$ends++;
			push @expected, "$tenant resolved";
		}
	}
	my ($f, $r) = (0, 0);
	for (at_once(\@sessions, 'SELECT fired, resolved FROM meter_evaluate_alerts()'))
	{
		/^(\d+)\|(\d+)$/m or die "no evaluation: $_";
		$f += $1;
		$r += $2;
	}
	$wrong++ if $f != $begins || $r != $ends;
	$fired += $f;
	$resolved += $r;
	push @got, heard();
}
cmp_ok($fired, '>', 100, "there were crossings: $fired up, $resolved down");
is($wrong, 0, 'in each round each crossing was made by one session');
is(join(', ', sort @got), join(', ', sort @expected), 'each was notified once');
is(ask('SELECT count(*), count(*) FILTER (WHERE state = \'resolved\') FROM meter.alert'), "$fired|$resolved",
	'there is an alert for each');
is(ask('SELECT count(*), count(*) FILTER (WHERE status = \'resolved\') FROM meter.incident'), "$fired|$resolved",
	'and an incident, as each tenant has one alert');
is(ask('SELECT count(*) FROM meter.notification'), $fired + $resolved, 'and a row for each notification');
is(ask(q{SELECT count(*) FROM (SELECT incident_id, array_agg(kind ORDER BY n) AS kinds, array_agg(n ORDER BY n) AS ns
			FROM meter.incident_update GROUP BY incident_id) AS u
		WHERE NOT (kinds = '{fired}' AND ns = '{1}' OR kinds = '{fired,recovered,resolved}' AND ns = '{1,2,3}')}),
	'0', 'every timeline is in order');
is(ask(q{SELECT string_agg(tenant, ' ' ORDER BY tenant COLLATE "C") FROM meter.alert WHERE state = 'firing'}),
	join(' ', sort grep { $firing{$_} } @tenants), 'those fire that have to');
close_session($_) for @sessions;

# --- one that does not come to its end ---------------------------------------

my $state = q{SELECT (SELECT count(*) FROM meter.alert), (SELECT count(*) FROM meter.incident),
	(SELECT count(*) FROM meter.incident_update), (SELECT count(*) FROM meter.notification)};

# An evaluation that has written its alert and waits to write the notification,
# and one that waits for it.
sub stuck
{
	my ($holder, $first, $second) = map { open_session() } 1 .. 3;
	in_session($holder, 'BEGIN; LOCK TABLE meter.notification IN ACCESS EXCLUSIVE MODE');
	in_session($_, "SET application_name = 'evaluation'") for $first, $second;
	my ($pid) = in_session($first, 'SELECT pg_backend_pid()') =~ /(\d+)/;
	tell_session($first, 'SELECT fired FROM meter_evaluate_alerts()');
	wait_until("SELECT count(*) = 1 FROM pg_locks WHERE pid = $pid AND NOT granted
		AND relation = 'meter.notification'::regclass", 'the evaluation has come so far');
	tell_session($second, 'SELECT fired FROM meter_evaluate_alerts()');
	wait_until(q{SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name = 'evaluation'
		AND wait_event_type = 'Lock'}, 'the other one waits, too');
	return ($holder, $first, $second, $pid);
}

ask('TRUNCATE measured; DELETE FROM meter.alert; DELETE FROM meter.incident; DELETE FROM meter.notification');
ask(q{INSERT INTO measured VALUES ('x', 10)});

# Ended by somebody: the one that waits does its work.
my ($holder, $first, $second, $pid) = stuck();
ask("SELECT pg_terminate_backend($pid)");
wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", 'it has ended');
in_session($holder, 'COMMIT');
like(answer_of($second), qr/^1$/m, 'of an evaluation that was terminated, the next one does the work');
is(ask($state), '1|1|1|1', 'once');
is(join(', ', heard()), 'x firing', 'and tells of it once');
close_session($_) for $holder, $second;

# kill -9, of which the server restarts.
ask(q{UPDATE measured SET value = 0});
($holder, $first, $second, $pid) = stuck();
kill_child($pid);
is(ask($state), '1|1|1|1', 'of an evaluation that was killed nothing is left');
is(ask(q{SELECT state, told FROM meter.alert}), 'firing|firing', 'the alert fires still');
$listener = open_session();
in_session($listener, 'LISTEN meter');
is(ask('SELECT resolved FROM meter_evaluate_alerts()'), '1', 'the next one makes up for it');
is(ask($state), '1|1|3|2', 'once');
is(join(', ', heard()), 'x resolved', 'and tells of it once');
close_session($listener);

# When the end has been told, also the server's end does not have it told again.
ask(q{UPDATE measured SET value = 12});
is(ask('SELECT fired FROM meter_evaluate_alerts()'), '1', 'the next crossing');
$node->stop('immediate');
$node->start;
is(ask('SELECT fired FROM meter_evaluate_alerts()'), '0', 'does not fire again after a crash');
is(ask($state), '2|2|4|3', 'there is one alert, incident and notification more');

# --- with somebody who acknowledges ------------------------------------------

# While an evaluation ends an alert nobody can acknowledge it; then it is over.
my ($evaluation, $person) = (open_session(), open_session());
my $alert = ask(q{SELECT alert_id FROM meter.alert WHERE state = 'firing'});
ask(q{UPDATE measured SET value = 0});
in_session($evaluation, 'BEGIN; SELECT meter_evaluate_alerts()');
tell_session($person, "SET application_name = 'person'; SELECT meter_acknowledge('$alert')");
wait_until(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'person' AND wait_event_type = 'Lock'},
	'who acknowledges waits');
in_session($evaluation, 'COMMIT');
like(answer_of($person), qr/ERROR:  alert .* is resolved/, 'an alert that was ended meanwhile cannot be acknowledged');
is(ask(q{SELECT status FROM meter.incident ORDER BY opened_at DESC LIMIT 1}), 'resolved', 'its incident is over');
close_session($_) for $evaluation, $person;

# --- what has stopped --------------------------------------------------------

# A rollup that is on its way when a rule comes does not know that its events are
# waited for: so they are looked up when it has ended.
my $rollup = open_session();
ask(q{INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('quiet', 'no_usage', 3600, '{"metric": "job"}')});
ask(q{SELECT meter_track('busy', 'job'), meter_track('late', 'job', at => now() - interval '2 hours'); SELECT meter_flush()});
in_session($rollup, 'BEGIN; SELECT meter_rollup()');
is(ask('SELECT count(*) FROM meter.signal_no_usage(now())'), '0', 'while a rollup runs, nothing is said of a new rule');
is(ask('SELECT count(*) FROM meter.usage_last_metric'), '0', 'nor noted');
in_session($rollup, 'COMMIT');
is(ask('SELECT tenant, value >= 7200 FROM meter.signal_no_usage(now()) ORDER BY 1'), "busy|f\nlate|t", 'then its events count');
# and when it is known to the rollup, it is found while one runs
ask(q{SELECT meter_track('late', 'job'); SELECT meter_flush()});
in_session($rollup, 'BEGIN; SELECT meter_rollup()');
is(ask(q{SELECT value >= 7200 FROM meter.signal_no_usage(now()) WHERE tenant = 'late'}), 't', 'as of the last rollup');
in_session($rollup, 'COMMIT');
is(ask(q{SELECT value < 7200 FROM meter.signal_no_usage(now()) WHERE tenant = 'late'}), 't', 'as of the next one');
ask(q{DELETE FROM meter.alert_rule WHERE rule = 'quiet'});
close_session($rollup);

# --- the background worker ---------------------------------------------------

# It evaluates after the rollup, and goes on while an alert is open, though no
# event comes.
ask(q{UPDATE measured SET value = 15; UPDATE meter.alert_rule SET for_duration = '2 seconds';
	ALTER SYSTEM SET meter.rollup_interval = '1s'; ALTER SYSTEM SET meter.flush_interval = '100ms'});
$node->reload;
ask(q{SELECT meter_track('acme')});
ok_until(q{SELECT EXISTS (SELECT FROM meter.alert WHERE state = 'firing')}, 'the worker has an alert fire after its time');
is(ask(q{SELECT fired_at - started_at >= '2 seconds', silenced, told FROM meter.alert WHERE state = 'firing'}), 't|f|firing',
	'not before');
ask(q{UPDATE measured SET value = 0});
ok_until(q{SELECT NOT EXISTS (SELECT FROM meter.alert WHERE state <> 'resolved')}, 'and ends it when it is over');
# what fails keeps nothing else from being done
ask(q{CREATE OR REPLACE FUNCTION meter.alert_measure(at timestamptz)
	RETURNS TABLE (rule text, tenant text, service text, value numeric, detail jsonb)
	LANGUAGE SQL STABLE AS $$SELECT 'r', 't', NULL, 1 / 0.0, NULL::jsonb$$; SELECT meter_stats_reset()});
ask(q{SELECT meter_track('after')});
ok_until(q{SELECT last_error = 'division by zero' FROM meter.stats}, 'an evaluation that fails is told in meter.stats');
ok_until(q{SELECT EXISTS (SELECT FROM meter.usage_hourly WHERE tenant = 'after')}, 'and is not in the way of the rollup');

$node->stop;
done_testing();

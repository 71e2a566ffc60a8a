# 002_order.pl: many writers, flushers, rollups and a reader at the same time.
#
# Writers keep transactions open for random times, roll some of them back, use
# meter_track(), meter_track_batch() and COPY, and share idempotency keys;
# sessions race to flush and to roll up; a consumer reads seq > n all the while.
# In other designs (see the sequences, timestamps and watermarks of rollup
# tables) such a reader loses a few per cent of the events.  Here it must see
# each event exactly once and in order, and the log must hold exactly what was
# committed, of each key one event.
#
# What the writers do is planned here, so that what must come of it is known
# without asking the server.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node start_script wait_until $by_hand $log_is_whole $wrong_totals);
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{METER_SEED} || time;
srand($seed);
note "METER_SEED=$seed repeats the plan";

my $WRITERS = 12;
my $TRANSACTIONS = 250;		# of each writer
my $KEYS = 1500;

my $node = start_node('order', $by_hand . q{
max_connections = 40
log_statement = none
deadlock_timeout = '200ms'
});

# Starts psql in the background.
my $sessions = 0;

sub start_psql
{
	my ($script) = @_;
	my $name = 'session' . ++$sessions;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name.sql";
	append_to_file($file, $script);
	return start_script($name, $file);
}

ask(q{
	CREATE EXTENSION meter CASCADE;
	-- else who uses a metric first makes all others wait for his commit
	INSERT INTO meter.metric (metric) VALUES ('api_requests'), ('tokens');
	CREATE TABLE stop (what text PRIMARY KEY);

	-- A consumer as the comment of meter.consumer describes it; it records what
	-- it saw in the order in which it saw it.
	CREATE TABLE seen (n bigserial PRIMARY KEY, seq bigint, request_id text, batch bigint);
	INSERT INTO meter.consumer (name) VALUES ('reader');
	CREATE PROCEDURE consume() LANGUAGE plpgsql AS $$
	DECLARE
		position bigint;
		found_any boolean;
		stopping boolean;
		batch bigint := 0;
	BEGIN
		LOOP
			batch := batch + 1;
			stopping := EXISTS (SELECT FROM stop WHERE what = 'reader');
			COMMIT;
			SELECT last_seq INTO position FROM meter.consumer WHERE name = 'reader' FOR UPDATE;
			INSERT INTO seen (seq, request_id, batch)
				SELECT seq, request_id, batch FROM meter.event WHERE seq > position ORDER BY seq;
			found_any := FOUND;
			UPDATE meter.consumer SET last_seq = (SELECT max(seq) FROM seen)
				WHERE name = 'reader' AND found_any;
			COMMIT;
			EXIT WHEN stopping AND NOT found_any;
		END LOOP;
	END $$;

	CREATE PROCEDURE flush_and_flush() LANGUAGE plpgsql AS $$
	BEGIN
		WHILE NOT EXISTS (SELECT FROM stop WHERE what = 'flush') LOOP
			PERFORM meter_flush();
			-- now and then the flush itself does not commit
			IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
			PERFORM pg_sleep(random() * 0.01);
			COMMIT;
		END LOOP;
	END $$;

	-- corrects events at random, of few, so that others correct the same; more
	-- often where none has come too late yet, for want of a flush in between
	CREATE TABLE result (what text);
	CREATE PROCEDURE correct_and_correct(times integer) LANGUAGE plpgsql AS $$
	DECLARE
		what text;
	BEGIN
		FOR i IN 1 .. 100 * times LOOP
			EXIT WHEN i > times AND EXISTS (SELECT FROM result AS r WHERE r.what = 'too late');
			what := 'accepted';
			BEGIN
				PERFORM meter_correct('acme', seq => 1 + (random() * 60)::bigint,
					quantity => i, cost => random()::numeric, void => random() < 0.3);
			EXCEPTION WHEN no_data_found THEN
				what := 'too late';
			END;
			INSERT INTO result VALUES (what);
			PERFORM pg_sleep(random() * 0.002);
			-- new events of the same hours, between the corrections
			PERFORM meter_track('acme', at => now() - random() * interval '1 hour');
			COMMIT;
		END LOOP;
	END $$;

	CREATE PROCEDURE roll_and_roll() LANGUAGE plpgsql AS $$
	BEGIN
		WHILE NOT EXISTS (SELECT FROM stop WHERE what = 'rollup') LOOP
			PERFORM meter_rollup();
			IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
			PERFORM pg_sleep(random() * 0.02);
			COMMIT;
		END LOOP;
	END $$;
});

# The plan: for each writer a script, and what will have been committed.

my %committed;			# request_id => [tenant, key or '', quantity]
my %submitted;			# tenant key => how many committed events have it
my %rolled_back;		# request_id => 1
my $next = 0;

# Events of one transaction, keys in ascending order: two transactions that
# claim the same keys in different order deadlock, as with any unique index.
sub plan_events
{
	my ($how_many) = @_;
	my @keys = sort map { sprintf 'k%04d', int rand $KEYS } 1 .. $how_many;
	return map {
		{
			id => 'r' . ++$next,
			tenant => 'acme',
			metric => rand() < 0.7 ? 'api_requests' : 'tokens',
			quantity => 1 + int rand 5,
			status => (200, 404, 500)[ int rand 3 ],
			latency => 1 + int rand 900,
			user => 'u' . int rand 40,
			late => rand() < 0.1 ? 86400 + int rand 86400 : int rand 3600,
			key => rand() < 0.5 ? $_ : ''
		}
	} @keys;
}

sub track_sql
{
	my ($e) = @_;
	return sprintf(
		"SELECT meter_track('%s', '%s', %d, status => %d, latency_ms => %d, user_id => '%s',"
		  . " request_id => '%s', idempotency_key => NULLIF('%s', ''), at => now() - interval '%d s');\n",
		@$e{qw(tenant metric quantity status latency user id key late)});
}

sub batch_sql
{
	my $elements = join ",\n", map {
		sprintf(
			"jsonb_build_object('tenant', '%s', 'metric', '%s', 'quantity', %d, 'status', %d,"
			  . " 'latency_ms', %d, 'user_id', '%s', 'request_id', '%s',"
			  . " 'idempotency_key', NULLIF('%s', ''), 'at', now() - interval '%d s')",
			@$_{qw(tenant metric quantity status latency user id key late)})
	} @_;
	return "SELECT count(*) FILTER (WHERE result = 'rejected') FROM meter_track_batch(jsonb_build_array($elements));\n";
}

sub copy_sql
{
	my $rows = join '', map {
		my $at = $_->{late} ? time - $_->{late} : time;
		join("\t",
			@$_{qw(tenant metric quantity status latency user id)},
			$_->{key} eq '' ? '\\N' : $_->{key},
			scalar(gmtime $at) . ' UTC')
		  . "\n"
	} @_;
	return "COPY meter.inbox (tenant, metric, quantity, status, latency_ms, user_id, request_id,"
	  . " idempotency_key, at) FROM STDIN;\n$rows\\.\n";
}

my @scripts;
for my $writer (0 .. $WRITERS - 1)
{
	my $script = "SET client_min_messages = warning;\n";
	for (1 .. $TRANSACTIONS)
	{
		my $kind = $writer % 3;
		my @events = plan_events($kind == 0 ? 1 + int rand 3 : 1 + int rand 12);
		my $rollback = rand() < 0.15;
		my $hold = rand() < 0.5 ? 0 : rand 0.015;

		$script .= "BEGIN;\n";
		$script .=
		    $kind == 0 ? join('', map { track_sql($_) } @events)
		  : $kind == 1 ? batch_sql(@events)
		  : copy_sql(@events);
		$script .= "SELECT pg_sleep($hold);\n" if $hold;
		$script .= $rollback ? "ROLLBACK;\n" : "COMMIT;\n";
		for my $e (@events)
		{
			if ($rollback) { $rolled_back{ $e->{id} } = 1; next; }
			$committed{ $e->{id} } = $e;
			$submitted{ $e->{key} }++ if $e->{key} ne '';
		}
	}
	push @scripts, $script;
}

# The race

my @flushers = map { start_psql('CALL flush_and_flush()') } 1 .. 3;
my @rollups = map { start_psql('CALL roll_and_roll()') } 1 .. 2;
my $reader = start_psql('CALL consume()');
wait_until(q{SELECT count(*) = 6 FROM pg_stat_activity WHERE query LIKE 'CALL %'},
	'the flushers, rollups and the reader are at work');
my @writers = map { start_psql($_) } @scripts;

sub finish_all
{
	my ($what, @sessions) = @_;
	my $failed = grep { !$_->{run}->finish } @sessions;
	is($failed, 0, "$what without an error");
	for (map { slurp_file($_->{errors}) } @sessions)
	{
		diag $_ if /ERROR|FATAL|PANIC/;
	}
	return;
}

finish_all('the writers end', @writers);
ask(q{INSERT INTO stop VALUES ('flush'), ('rollup')});
finish_all('the flushers end', @flushers);
finish_all('the rollups end', @rollups);
my $flushes = ask('SELECT count(DISTINCT xmin::text) FROM meter.event');
ask('SELECT meter_flush()');
ask(q{INSERT INTO stop VALUES ('reader')});
finish_all('the reader ends', $reader);

# The log

my @log = map { [ split /\|/, $_, -1 ] } split /\n/,
  ask(q{SELECT seq, request_id, COALESCE(idempotency_key, ''), tenant, metric, quantity, status,
	latency_ms, user_id FROM meter.event ORDER BY seq});
my (%count, %key_count);
my $as_sent = 0;
for my $row (@log)
{
	my ($seq, $id, $key, @fields) = @$row;
	$count{$id}++;
	$key_count{$key}++ if $key ne '';
	my $e = $committed{$id} or next;
	$as_sent++ if join('|', $key, @fields) eq
	  join('|', @$e{qw(key tenant metric quantity status latency user)});
}
my @without_key = grep { $committed{$_}{key} eq '' } keys %committed;
my $expected = @without_key + keys %submitted;

cmp_ok($flushes, '>', 1, 'the flushers worked while the others wrote');
cmp_ok(scalar(keys %rolled_back), '>', 100, 'the plan rolls transactions back');
cmp_ok(scalar(grep { $_ > 1 } values %submitted), '>', 100, 'the plan repeats keys');
is(scalar(grep { ($count{$_} // 0) != 1 } @without_key),
	0, 'each committed event without a key is in the log exactly once');
is(scalar(grep { ($key_count{$_} // 0) != 1 } keys %submitted),
	0, 'each committed key is in the log exactly once');
is(scalar(grep { $count{$_} } keys %rolled_back), 0, 'nothing that was rolled back is in the log');
is(scalar(@log), $expected, 'there is nothing else in the log');
is($as_sent, $expected, 'every event is as it was sent');
is( join(',', map { $_->[0] } @log),
	join(',', 1 .. $expected),
	'seq counts from 1 without a gap');
is(ask('SELECT last_seq FROM meter.log_position'), $expected, 'the log ends at its position');
is(ask('SELECT count(*) FROM meter.inbox'), '0', 'the inbox is empty');

# Keys

my $submissions = 0;
$submissions += $_ for values %submitted;
is( ask('SELECT count(*), sum(repeats) FROM meter.idempotency_key'),
	keys(%submitted) . '|' . ($submissions - keys %submitted),
	'each committed key is known, and every other use of it was counted as a repeat');

# The reader

is( ask(q{SELECT string_agg(seq || ' ' || request_id, ',' ORDER BY n) FROM seen}),
	join(',', map { "$_->[0] $_->[1]" } @log),
	'the reader saw each event exactly once and in order');
cmp_ok(ask('SELECT count(DISTINCT batch) FROM seen'), '>', 1, 'it read while the others wrote');

# The totals

sub totals_are_right
{
	my ($when) = @_;
	is(ask($wrong_totals), '0', $when);
	return;
}

ask('SELECT meter_rollup()');
is( ask(q{SELECT sum(events), (SELECT last_seq FROM meter.consumer WHERE name = 'rollup')
		FROM meter.usage_hourly}),
	"$expected|$expected", 'the rollups counted each event once');
totals_are_right('the totals are those of the raw events');
is(ask('SELECT meter_rollup()'), '0', 'nothing is left to roll up');
totals_are_right('and another rollup changes nothing');

# Corrections: the same few events, from several sessions, while others flush
# and roll up.  Of each event at most one correction takes effect.

ask(q{DELETE FROM stop});
@flushers = map { start_psql('CALL flush_and_flush()') } 1 .. 2;
@rollups = map { start_psql('CALL roll_and_roll()') } 1 .. 2;
finish_all('corrections end', map { start_psql('CALL correct_and_correct(50)') } 1 .. 4);
ask(q{INSERT INTO stop VALUES ('flush'), ('rollup')});
finish_all('the flushers end', @flushers);
finish_all('the rollups end', @rollups);
ask('SELECT meter_flush(); SELECT meter_rollup()');

is( ask(q{SELECT count(*) FROM meter.event AS e
		LEFT JOIN meter.event AS a ON a.seq = e.superseded_by
		WHERE e.superseded_by IS NOT NULL AND e.superseded_by <> e.seq
		AND a.corrects IS DISTINCT FROM e.seq}),
	'0', 'what is superseded is so by its own correction');
is( ask(q{SELECT count(*) FROM meter.event AS a LEFT JOIN meter.event AS e ON e.seq = a.corrects
		WHERE a.corrects IS NOT NULL AND e.superseded_by IS DISTINCT FROM a.seq}),
	'0', 'each correction in the log supersedes what it corrects');
is( ask(q{SELECT count(corrects) = count(DISTINCT corrects) FROM meter.event}),
	't', 'no event was corrected twice');
is( ask(q{SELECT (SELECT count(*) FROM result WHERE what = 'accepted')
		= (SELECT count(corrects) FROM meter.event)
		+ (SELECT count(*) FROM meter.rejected_event WHERE reason LIKE 'event % cannot be corrected%')}),
	't', 'each accepted correction is in the log or among the rejected events');
cmp_ok(ask(q{SELECT count(*) FROM result WHERE what = 'too late'}),
	'>', 0, 'some came too late and were told so');
is(ask($log_is_whole), 't', 'the log still has no gap');
totals_are_right('the totals follow the corrections');

$node->stop;
done_testing();

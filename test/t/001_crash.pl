# 001_crash.pl: kill -9 in the middle of a flush or a rollup.
#
# A flush moves events out of the inbox into the log, a rollup moves them into
# the totals; each is one transaction together with its position.  So whenever
# a backend, or the whole server, is killed, the next run must find each
# event exactly once: none lost, none counted twice, the log without a gap.
# What was sent is kept in a plain table; totals are compared with aggregates
# of plain SQL over the raw events.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(
  ask kill_child kill_server start_again start_node start_sql wait_for_session $by_hand
  $log_is_whole $wrong_totals
);
use PostgreSQL::Test::Utils;
use Test::More;

# Little memory makes a rollup write many times; without vacuum tables only
# grow, so that their size tells how far a flush or a rollup has come.
my $node = start_node('crash', $by_hand . q{
restart_after_crash = on
autovacuum = off
meter.rollup_work_mem = '1MB'
log_statement = none
max_wal_size = '1GB'
work_mem = '64MB'
});

# Crash recovery

# kill -9 of the session's backend; the postmaster then restarts the server.
sub kill_backend
{
	my ($session) = @_;
	kill_child(ask("SELECT pid FROM pg_stat_activity WHERE application_name = '$session->{name}'"));
	$session->{run}->finish;
	return 1;
}

# kill -9 of all there is.
sub kill_all
{
	my ($session) = @_;
	kill_server(postmaster_first => 1);
	$session->{run}->finish;
	start_again();
	return 1;
}

# Sending events

ask(q{
	CREATE EXTENSION meter CASCADE;
	CREATE TABLE sent (
		id bigint PRIMARY KEY, at timestamptz, tenant text, metric text, quantity numeric,
		endpoint text, status integer, latency_ms float8, user_id text, cost numeric, key text);
	CREATE TABLE base AS SELECT date_trunc('day', now(), 'UTC') AS day;
	CREATE FUNCTION send(first bigint, last bigint) RETURNS void LANGUAGE sql AS $$
		-- two hours on each of three days, every 50th event a repeat of the one before
		INSERT INTO sent
		SELECT i, (SELECT day FROM base) - (1 + i % 3) * interval '1 day'
			+ (i * 7919 % 7200) * interval '1 second',
			't' || i % 10, CASE WHEN i % 4 = 0 THEN 'tokens' ELSE 'api_requests' END, i % 5,
			'/v1/e' || i % 307, (ARRAY[200, 201, NULL, 404, 429, 500])[1 + i % 6],
			CASE WHEN i % 7 > 0 THEN i % 1000 END, CASE WHEN i % 3 > 0 THEN 'u' || i % 90 END,
			CASE WHEN i % 2 = 0 THEN i % 100 * 0.001 END,
			CASE WHEN i % 50 < 2 THEN 'k' || i / 50 END
		FROM generate_series(first, last) AS i;
		UPDATE sent SET tenant = 't0' WHERE key IS NOT NULL AND id BETWEEN first AND last;
		-- one in ten as meter_track() does it, the others as COPY does
		SELECT count(meter_track(tenant, metric, quantity, endpoint => endpoint, status => status,
			latency_ms => latency_ms, user_id => user_id, cost => cost, idempotency_key => key,
			request_id => id::text, at => at))
		FROM sent WHERE id BETWEEN first AND last AND id % 100 < 10;
		INSERT INTO meter.inbox (at, tenant, metric, quantity, endpoint, status, latency_ms,
			user_id, cost, idempotency_key, request_id)
		SELECT at, tenant, metric, quantity, endpoint, status, latency_ms, user_id, cost, key, id
		FROM sent WHERE id BETWEEN first AND last AND id % 100 >= 10 ORDER BY id;
	$$});

# Checking

# Events that were sent and are not in the log exactly once as they were sent,
# or are in it without having been sent.  Of those with the same key one counts.
my $lost_or_doubled = q{
	WITH expected AS (
		SELECT DISTINCT ON (COALESCE(key, id::text)) COALESCE(key, id::text) AS id,
			at, tenant, metric, quantity, endpoint, status, latency_ms, user_id, cost
		FROM sent WHERE key IS NULL
		UNION ALL
		SELECT DISTINCT key, NULL::timestamptz, tenant, NULL, NULL::numeric, NULL, NULL::int,
			NULL::float8, NULL, NULL::numeric
		FROM sent WHERE key IS NOT NULL
	), logged AS (
		SELECT request_id AS id, at, tenant, metric, quantity, endpoint, status, latency_ms,
			user_id, cost
		FROM meter.event WHERE idempotency_key IS NULL
		UNION ALL
		SELECT idempotency_key, NULL, tenant, NULL, NULL, NULL, NULL, NULL, NULL, NULL
		FROM meter.event WHERE idempotency_key IS NOT NULL
	)
	SELECT count(*) FROM (
		(SELECT * FROM expected EXCEPT ALL SELECT * FROM logged)
		UNION ALL
		(SELECT * FROM logged EXCEPT ALL SELECT * FROM expected)) AS d};

sub check_all
{
	my ($when) = @_;
	is(ask('SELECT count(*) FROM meter.inbox'), '0', "$when, the inbox is empty");
	is(ask($log_is_whole), 't', "$when, the log has no gap and ends at its position");
	is(ask($lost_or_doubled), '0', "$when, each event that was sent is in the log exactly once");
	is( ask(q{SELECT c.last_seq = l.last_seq FROM meter.consumer AS c, meter.log_position AS l
			WHERE c.name = 'rollup'}),
		't', "$when, the rollup is at the end of the log");
	is(ask($wrong_totals), '0', "$when, all totals are those of the raw events");
	return;
}

# What a crash of an unfinished flush or rollup must not have changed.
my $state = q{
	SELECT (SELECT count(*) FROM meter.inbox), (SELECT last_seq FROM meter.log_position),
		(SELECT count(*) FROM meter.event), (SELECT sum(events) FROM meter.event_partition),
		(SELECT count(*) FROM meter.idempotency_key),
		(SELECT last_seq FROM meter.consumer WHERE name = 'rollup'),
		(SELECT sum(events) FROM meter.usage_hourly),
		(SELECT sum(events) FROM meter.usage_user_daily)};

# Waits until the partitions of a table have grown by so many bytes or the
# session called victim is done, and sleeps.
ask(q{
	CREATE FUNCTION size(relation regclass) RETURNS numeric LANGUAGE sql AS
		'SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = relation';
	CREATE PROCEDURE watch(relation regclass, upto numeric) LANGUAGE plpgsql AS $$
	BEGIN
		WHILE size(relation) < upto AND EXISTS (SELECT FROM pg_stat_activity
			WHERE application_name = 'victim' AND wait_event IS DISTINCT FROM 'PgSleep')
		LOOP
			PERFORM pg_sleep(0.001);
			COMMIT;
		END LOOP;
	END $$});

# Runs a function in the background and kills it as soon as it has written so
# many bytes.  Should it be done before that is seen, there was no crash in the
# middle, and only what must hold in either case is checked.
sub kill_after_writing
{
	my ($function, $table, $bytes, $kill) = @_;
	my $before = ask($state);
	my $size = ask("SELECT size('meter.$table')");
	my $session = start_sql('victim', "SELECT $function()", 'SELECT pg_sleep(600)');
	wait_for_session($session, q{state = 'active'}, 'the victim is at work');
	ask("CALL watch('meter.$table', $size + $bytes)");
	$kill->($session);
	my $after = ask($state);
	note "$function was killed when it had already committed" if $after ne $before;
	is(ask($log_is_whole), 't', "$function killed after writing $bytes bytes: the log is whole");
	return;
}

# A first few events make the partitions, and totals to add to.
ask('SET client_min_messages = warning; SELECT send(0, 9999); SELECT meter_flush(); SELECT meter_rollup()');
check_all('at first');

# kill -9 of the backend

ask('SET client_min_messages = warning; SELECT send(10000, 129999)');
kill_after_writing('meter_flush', 'event', $_, \&kill_backend) for 100_000, 3_000_000, 6_000_000;

# A flush that waits, in the last of its chunks, for the holder of a key
# that one of its events has.  The crash rolls the holder back, too.  It waits
# no longer than a second, so it begins again until it is killed.
ask(q{
	INSERT INTO sent (id, at, tenant, metric, quantity, endpoint, key)
	SELECT -1, day, 't0', 'api_requests', 1, '/v1/e0', 'held' FROM base;
	INSERT INTO meter.inbox (at, tenant, quantity, endpoint, idempotency_key, request_id)
	SELECT at, tenant, quantity, endpoint, key, id FROM sent WHERE id = -1});
my $before = ask($state);
my $holder = start_sql('holder', 'BEGIN',
	q{SELECT meter_track('t0', idempotency_key => 'held', request_id => 'never committed')},
	'SELECT pg_sleep(600)');
wait_for_session($holder, q{wait_event = 'PgSleep'}, 'a key is held');
my $victim = start_sql('victim', q{DO $$ BEGIN
	LOOP
		BEGIN
			PERFORM meter_flush();
			RAISE EXCEPTION 'not to be committed';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END LOOP; END $$});
wait_for_session($victim, q{wait_event = 'transactionid'}, 'the flush waits for the key');
ok(kill_backend($victim), 'a flush that has appended most of its events is killed');
$holder->{run}->finish;
is(ask($state), $before, 'nothing of it is there after recovery');
is(ask($log_is_whole), 't', 'the log is whole');

ask('SELECT meter_flush()');
is(ask($lost_or_doubled), '0', 'the next flush appends everything exactly once');
is(ask(q{SELECT count(*) FROM meter.event WHERE request_id = 'never committed'}),
	'0', 'an event that was not committed before the crash is not there');

kill_after_writing('meter_rollup', 'usage_hourly', $_, \&kill_backend) for 0, 300_000, 3_000_000;

# A rollup that waits in the middle of its writing for a locked row.
ask('SET client_min_messages = warning; SELECT send(130000, 139999); SELECT meter_flush()');
$before = ask($state);
$holder = start_sql('holder', 'BEGIN',
	q{SELECT count(*) FROM (SELECT FROM meter.usage_hourly
		WHERE tenant = 't7' AND endpoint = '/v1/e7' FOR UPDATE) AS u},
	'SELECT pg_sleep(600)');
wait_for_session($holder, q{wait_event = 'PgSleep'}, 'a total is locked');
$victim = start_sql('victim', 'SELECT meter_rollup()');
wait_for_session($victim, q{wait_event = 'transactionid'}, 'the rollup waits for the row');
ok(kill_backend($victim), 'a rollup that has written some of its totals is killed');
$holder->{run}->finish;
is(ask($state), $before, 'nothing of it is there after recovery');

ask('SELECT meter_rollup()');
check_all('after crashes of backends');

# kill -9 of the server

ask('SET client_min_messages = warning; SELECT send(140000, 209999)');
kill_after_writing('meter_flush', 'event', $_, \&kill_all) for 1_000_000, 3_000_000;
ask('SELECT meter_flush()');
is(ask($lost_or_doubled), '0', 'after crashes of the server, a flush appends everything exactly once');
kill_after_writing('meter_rollup', 'usage_hourly', $_, \&kill_all) for 0, 1_000_000;
ask('SELECT meter_rollup()');
check_all('after crashes of the server');

# Events whose commit was acknowledged just before the crash wait in the inbox.
ask('SET client_min_messages = warning; SELECT send(210000, 210999)');
$victim = start_sql('victim', 'SELECT pg_sleep(600)');
wait_for_session($victim, q{wait_event = 'PgSleep'}, 'a session is idle');
kill_all($victim);
ask('SELECT meter_flush(); SELECT meter_rollup()');
check_all('after a crash with events waiting');

$node->stop;
done_testing();

# 005_standby.pl: a streaming standby.
#
# A hot standby is where analysts go: live totals, views and percentiles must
# answer there and be those of the primary.  What writes must be refused with
# the error that drivers and poolers know (25006).  After promotion, tracking
# and rollups go on as if nothing had happened.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask session start_node $by_hand $wrong_totals);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = start_node('primary', $by_hand, allows_streaming => 1);
ask(q{
	CREATE EXTENSION meter CASCADE;
	CREATE ROLE analyst;
	SELECT meter_grant('analyst', 'analyst');
	INSERT INTO meter.metric (metric, kind, dimensions) VALUES
		('tokens', 'counter', '{model}'), ('storage', 'gauge', '{}')});
$primary->backup('backup');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

sub on_primary
{
	my ($sql) = @_;
	return ask($sql, $primary);
}

sub on_standby
{
	my ($sql) = @_;
	return ask($sql, $standby);
}

# Everything that can be read; what counts up to now is cut to what is the same
# at any time.
my @readable = (
	'SELECT * FROM meter.live ORDER BY hour, tenant, metric, service, endpoint, method, dims',
	'SELECT * FROM meter.usage_hourly ORDER BY hour, tenant, metric, service, endpoint, method, dims',
	q{SELECT day, tenant, metric, events, error_rate, p50, p95, p99, latency, unique_users
		FROM meter.usage_daily WHERE events > 0 ORDER BY 1, 2, 3, 4, 5, 6},
	q{SELECT month, tenant, metric, dims, sum(events), sum(cost), max(p99) FROM meter.usage_monthly
		GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4},
	'SELECT * FROM meter.endpoint_stats ORDER BY hour, tenant, service, endpoint, method',
	'SELECT * FROM meter.service_daily ORDER BY day, tenant, service',
	'SELECT * FROM meter.top_users ORDER BY day, tenant, rank, user_id',
	q{SELECT hour, tenant, samples, quantity_avg, quantity_last FROM meter.gauge_hourly
		WHERE samples > 0 ORDER BY 1, 2},
	'SELECT * FROM meter.event ORDER BY seq',
	'SELECT * FROM meter.inbox ORDER BY received_at, request_id');

sub compare
{
	my ($when) = @_;
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	for my $sql (@readable)
	{
		my ($what) = $sql =~ /FROM (meter\.\w+)/;
		is(on_standby($sql), on_primary($sql), "$when: $what is the same on the standby");
	}
	is( on_standby('SELECT sum(events) FROM meter.live'),
		on_primary('SELECT (SELECT count(*) FROM meter.event WHERE superseded_by IS NULL)
			+ (SELECT count(*) FROM meter.inbox WHERE validated AND corrects IS NULL)'),
		"$when: the live totals on the standby have all events");
	return;
}

sub track
{
	my ($first, $last) = @_;
	on_primary(qq{
		SELECT count(meter_track('t' || i % 3, (ARRAY['api_requests', 'tokens', 'storage'])[1 + i % 3],
			i % 11, service => 's' || i % 2, endpoint => '/v1/e' || i % 4, status => 200 + i % 2 * 300,
			latency_ms => i * 1.7, user_id => 'u' || i % 20, cost => i * 0.01,
			metadata => jsonb_build_object('model', 'm' || i % 2), request_id => 'r' || i,
			idempotency_key => 'k' || i, at => now() - i % 100 * interval '13 minutes'))
		FROM generate_series($first, $last) AS i});
	return;
}

# Each part of what live totals are made of

track(1, 300);
compare('only waiting');
on_primary('SELECT meter_flush()');
compare('only in the log');
on_primary('SELECT meter_rollup()');
compare('rolled up');
track(301, 400);
on_primary('SELECT meter_flush()');
on_primary(q{SELECT meter_correct('t0', idempotency_key => 'k3', quantity => 1000);
	SELECT meter_flush()});
track(401, 450);
# a metric that the standby's sessions have not seen
on_primary(q{SELECT meter_track('t0', 'first used now', latency_ms => 5)});
compare('rolled up, in the log, corrected and waiting');

is( on_standby(q{SET ROLE analyst; SELECT count(*) > 0, max(p99) > 0 FROM meter.usage_daily}),
	't|t', 'an analyst can read views and percentiles');
is( on_standby(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT sum(events) > 0 FROM meter.live; COMMIT}),
	't', 'live totals can be read in a repeatable read transaction');
like(on_standby(q{SELECT meter_health() ->> 'status'}), qr/^(healthy|degraded)$/, 'health can be asked for');

# What people look at

on_primary(q{INSERT INTO meter.rate_limit (resource, unit, per, max, kind) VALUES ('*', 'requests', 'day', 500, 'window')});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
for my $sql (
	q{SELECT * FROM meter_time_series('api_requests', date_trunc('day', now(), 'UTC') - interval '2 days',
		date_trunc('day', now(), 'UTC') + interval '1 day', '1 day', 'tenant', time_zone => 'UTC')},
	q{SELECT * FROM meter_usage_stats('t0', date_trunc('day', now(), 'UTC') - interval '2 days',
		date_trunc('day', now(), 'UTC') + interval '1 day', group_by => 'endpoint')},
	q{SELECT * FROM meter_top_users(now() - interval '2 days', now() + interval '1 day')},
	q{SELECT resource, "limit" FROM meter_quota('t0')},
	q{SELECT regexp_replace(line, '.* ', '') FROM regexp_split_to_table(meter_metrics(), '\n') AS line
		WHERE line ~ '^meter_(requests|errors|usage|cost|endpoint)'},
	q{SELECT (regexp_match(meter_dashboard(), '<data id="requests" value="(\d+)">'))[1]::integer})
{
	my ($what) = $sql =~ /(meter_\w+)\(/;
	my $here = on_standby($sql);
	is($here, on_primary($sql), "$what: the same on the standby");
	isnt($here, '', "$what: it has rows");
}

# What writes

for my $sql (
	q{SELECT meter_track('t0')},
	q{SELECT meter_track_batch('[{"tenant": "t0"}]')},
	'SELECT meter_flush()',
	'SELECT meter_rollup()',
	q{SELECT meter_correct('t0', seq => 1, void => true)},
	'SELECT * FROM meter_maintain()',
	'SELECT meter_sample_storage()',
	q{COPY meter.inbox (tenant) FROM PROGRAM 'echo t0'})
{
	like(session($sql, $standby), qr/ERROR:  25006: cannot execute [\w ]+(\(\))? (FROM )?(in a read-only transaction|during recovery)/,
		"refused on the standby: $sql");
	like(session("BEGIN READ ONLY; $sql", $primary), qr/ERROR:  25006: cannot execute /, "and in a read-only transaction: $sql");
}

# Promotion

my $last = on_primary('SELECT last_seq FROM meter.log_position');
my $waiting = on_primary('SELECT count(*) FROM meter.inbox');
is($waiting, '51', 'some events wait when the primary is lost');
$primary->stop('immediate');
$standby->promote;

is( on_standby(q{SELECT meter_track('t1', request_id => 'after', latency_ms => 7); SELECT meter_flush()}),
	"\n(" . ($waiting + 1) . ',0,0)', 'waiting events and a new one are flushed after promotion');
is( on_standby('SELECT count(*), min(seq), max(seq), count(DISTINCT seq) FROM meter.event'),
	join('|', $last + $waiting + 1, 1, $last + $waiting + 1, $last + $waiting + 1),
	'seq goes on without a gap');
my ($status, $out, $err) =
  $standby->psql('postgres', q{SELECT meter_track('t1', idempotency_key => 'k1')});
like($err, qr/recorded before/, 'a key that the primary knew is a repeat');
on_standby('SELECT meter_rollup()');
is(on_standby($wrong_totals), '0', 'all totals are those of the raw events');
is(on_standby('SELECT sum(quantity) FROM meter.live'),
	on_standby('SELECT sum(quantity) FROM meter.event WHERE superseded_by IS NULL'),
	'and so are the live totals');
like(on_standby(q{SELECT DISTINCT action FROM meter_maintain() WHERE action <> 'sampled'}), qr/^created$/, 'maintenance works');

$standby->stop;
done_testing();

# 006_nopreload.pl: without shared_preload_libraries.
#
# Where the server cannot be restarted, or on a managed service, the library is
# loaded by the first function that needs it.  Everything that needs no shared
# memory must work all the same.  Settings may then have been given with ALTER
# DATABASE or ALTER ROLE before the library, which defines them, is loaded: they
# must hold, and a role without privileges must not get in one of its own.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('nopreload', '');

# What a session prints on both channels.
sub session
{
	my ($sql, %as) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', $sql, on_error_stop => 0,
		defined $as{user} ? (extra_params => [ '-U', $as{user} ]) : ());
	return "$stdout\n$stderr";
}

is(ask('SHOW shared_preload_libraries'), '', 'nothing is preloaded');
ask('CREATE EXTENSION meter CASCADE');

# Each in a session of its own, in which the library is loaded by the call

ask(q{SELECT meter_track('acme', endpoint => '/v2/servers/7?x=1', method => 'GET',
	status => 200, latency_ms => 45, user_id => 'ann', cost => 0.5, idempotency_key => 'k1')});
is( ask(q{SELECT * FROM meter_track_batch('[
		{"tenant": "acme", "quantity": 2, "status": 503, "latency_ms": 100, "user_id": "bob"},
		{"tenant": "acme", "idempotency_key": "k1"},
		{"tenant": "acme", "status": 1000}]')}),
	"1|accepted||\n2|duplicate||\n3|rejected|22003|status 1000 is out of range: An HTTP status is between 100 and 599.",
	'meter_track_batch() answers for each event');
ask("COPY meter.inbox (tenant, quantity, latency_ms) FROM STDIN;\nacme\t4\t400\nacme\t-1\t\\N\n\\.\n");
my $live = 'SELECT sum(events), sum(quantity), sum(errors), sum(cost) FROM meter.live';
is(ask($live), '2|3|1|0.5', 'the live totals have what was checked at the call');
is(ask('SELECT * FROM meter_flush()'), '3|0|1', 'meter_flush() appends, and rejects a negative quantity');
is(ask($live), '3|7|1|0.5', 'the live totals have what the flush has checked');
is(ask('SELECT meter_rollup()'), '3', 'meter_rollup() counts');
is(ask($live), '3|7|1|0.5', 'the live totals are the same after the rollup');
is( ask('SELECT endpoint, sum(events), sum(quantity) FROM meter.usage_hourly GROUP BY 1 ORDER BY 1'),
	"/v2/servers/:id|1|1\n|2|6", 'usage is by endpoint, without its identifiers');
is( ask('SELECT round(max(p99)), sum(unique_users) FROM meter.usage_monthly WHERE endpoint IS NULL'),
	ask(q{SELECT round(x.p), 1 FROM (SELECT meter_percentile(meter_sketch_agg(l), 0.99) AS p
		FROM (VALUES (100.0::float8), (400)) AS v(l)) AS x}),
	'percentiles and users can be asked for');
like(ask(q{SELECT meter_percentile(meter_sketch_agg(l), 0.99)
		FROM (VALUES (100.0::float8), (400)) AS v(l)}),
	qr/^(39[6-9]|40[0-4])/, 'within one per cent');
ask(q{SELECT meter_correct('acme', idempotency_key => 'k1', quantity => 10)});
ask('SELECT meter_flush(); SELECT meter_rollup()');
is(ask('SELECT sum(quantity) FROM meter.usage_hourly'), '16', 'meter_correct() corrects');
is( ask('SELECT DISTINCT action FROM meter_maintain() ORDER BY action'), "created\nsampled",
	'meter_maintain() makes partitions and samples storage');
is( ask(q{SELECT meter_health() ->> 'status', meter_health() #>> '{metrics,flushLag}',
		meter_health() #>> '{metrics,queuePercent}' IS NULL}),
	'healthy|0|t', 'meter_health() knows all but the queue');
is(ask(q{SELECT meter_normalize_endpoint('https://api.example.com/a/123?b=c')}),
	'/a/:id', 'meter_normalize_endpoint() normalises');
like(session('SELECT meter_schedule()'), qr/extension "pg_cron" is not installed/,
	'meter_schedule() says what it needs');

like(session("\\set VERBOSITY verbose\nSET meter.durability = buffered; SELECT meter_track('acme')"),
	qr/ERROR:  55000: events cannot be buffered, as meter is not preloaded\nHINT: .*shared_preload_libraries.*meter\.durability to commit/,
	'there is no queue');

# What people look at says what there is

ask(q{SELECT meter_track('looked_at', endpoint => '/v1/a', status => 200, latency_ms => 3); SELECT meter_flush(); SELECT meter_rollup()});
like(ask('SELECT meter_dashboard()'), qr{looked_at.*meter is not preloaded.*</html>\s*$}s, 'the dashboard says that there is no queue');
like(ask('SELECT meter_metrics()'), qr/^meter_requests_total\{tenant="looked_at"\} 1\n.*^# EOF$/ms, 'metrics are told');
is(ask(q{SELECT events FROM meter_time_series('api_requests', date_trunc('hour', now(), 'UTC') - interval '1 hour',
	now() + interval '1 hour', filter => '{"tenant": "looked_at"}') WHERE events > 0}), '1', 'and series');
is(ask(q{SELECT queue_bytes IS NULL, requests_today = (SELECT count(*) FROM meter.event
		WHERE metric = 'api_requests' AND superseded_by IS NULL AND at >= date_trunc('day', now(), 'UTC')) FROM meter_system_metrics()}),
	't|t', 'and the system');

# Settings, known before the library is loaded

ask(q{
	CREATE ROLE app LOGIN;
	CREATE ROLE strict LOGIN;
	SELECT meter_grant('app', 'app');
	SELECT meter_grant('strict', 'app');
	ALTER DATABASE postgres SET meter.retention = '2d';
	ALTER ROLE strict SET meter.strict_metrics = on;
	ALTER ROLE strict SET meter.normalize_endpoints = off});
my $old = q{SELECT meter_track('acme', at => now() - interval '3 days')};
my $new_metric = q{SELECT meter_track('acme', 'unheard_of')};
for my $user ('app', 'strict')
{
	like(session($old, user => $user), qr/ERROR:  event time is older than the retention/,
		"the database's setting holds for $user");
}
like(session($new_metric, user => 'strict'),
	qr/metric "unheard_of" is not registered/, q{a role's setting holds for it});
unlike(session($new_metric, user => 'app'), qr/ERROR/, 'and not for another');
ask(q{UPDATE meter.metric SET allow_negative = true WHERE metric = 'unheard_of'});
unlike(session(q{SELECT meter_track('acme', 'unheard_of', -1)}, user => 'app'), qr/ERROR/,
	'the new metric can be configured');

# A setting of a role's own, made before the library is there to refuse it

for my $set ('SET meter.retention = 0', q{SELECT set_config('meter.retention', '0', false)},
	'BEGIN; SET LOCAL meter.retention = 0')
{
	my $out = session("$set; $old;", user => 'app');
	like($out, qr/(WARNING|ERROR):  permission denied to set parameter "meter.retention"/,
		"refused when the library is loaded: $set");
	like($out, qr/event time is older than the retention/, 'and without effect');
}
like(session(q{ALTER ROLE app SET meter.retention = 0}, user => 'app'),
	qr/permission denied to set parameter "meter.retention"/, 'a role cannot set it for its next sessions');
{
	# PostgreSQL then knows nothing of the database's setting, as the option
	# was in its place; what holds is the default of 90 days
	local $ENV{PGOPTIONS} = '-c meter.retention=0';
	my $out = session(q{SELECT meter_track('acme', at => now() - interval '91 days')}, user => 'app');
	like($out, qr/event time is older than the retention/, 'nor when it connects');
}

# A superuser can, and what is wrong is refused as soon as it is seen
unlike(session("SET meter.retention = 0; $old;"), qr/ERROR|WARNING/, 'a superuser can set it');
like(session(q{SET meter.retention = 'for ever'; SELECT meter_flush(); SHOW meter.retention}),
	qr/WARNING:  invalid value for parameter "meter.retention"/,
	'a value that makes no sense is refused when the library is loaded');
like(session('SELECT meter_flush(); SET meter.retension = 0'),
	qr/invalid configuration parameter name "meter.retension"/,
	'a misspelt setting is refused once the library is loaded');

$node->stop;
done_testing();

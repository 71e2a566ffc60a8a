# 037_usage_module.pl: the worked example of a web application's usage pages.
#
# examples/usage_module.sql runs as its first lines say, on a server that
# preloads meter.  What its pages show has to be what is worked out by hand in
# its comments, and what plain SQL says of the raw events.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $example = "$FindBin::RealBin/../../examples/usage_module.sql";
# nothing in the background, so that each step is taken by the example alone
my $node = start_node('usage', "shared_preload_libraries = 'meter'\nmeter.flush_interval = 0\nmeter.rollup_interval = 0\n");
ask('CREATE EXTENSION meter CASCADE');
my ($status, $stdout, $stderr) = $node->psql('postgres', undef,
	on_error_stop => 1, extra_params => [ '-f', $example ]);
is($status, 0, 'the example runs') or diag $stderr;
is($stderr, '', 'and says nothing');

# what the comments say
like($stdout, qr/^t\|100 requests\/minute\|99\|t\|t$/m, 'headers, and quotas that end on the first');
like($stdout, qr/^5\n10$/m, 'five bulk operations and ten expensive ones are let through');
like($stdout, qr/^2026-01-14\|10\|9\|1\|10\.00\|383\|0\.002\|4\n2026-01-15\|10\|8\|2\|20\.00\|383\|0\.002\|4$/m, 'statistics by day');
like($stdout, qr/^93\|31\|33\.33$/m, 'of a user');
like($stdout, qr{^/api/users\|186\|0\|45\n/api/orders\|93\|32\|120\n/api/reports\|31\|0\|3200$}m, 'by endpoint');
like($stdout, qr/^POST\|93\|32\|34\.41\|120\|120\|2\|3$/m, 'of an endpoint');
like($stdout, qr/^1\|user-2\|93\|0\n1\|user-1\|93\|31\n3\|user-3\|62\|1$/m, 'of users');
like($stdout, qr/^1000 requests\/month\|1000\|960\|40\|96\.00\|95$/m, 'what is left');
like($stdout, qr/^3\ninfo\|quota.*threshold 80\)\nwarning\|.*threshold 90\)\nwarning\|quota used of small-shop: 96 % \(threshold 95\)\n0$/m, 'of which it is told once');
like($stdout, qr/^small-shop\|96\.00\|starter$/m, 'who should upgrade');
like($stdout, qr/^API calls\|310\|10\|0\.10$/m, 'the bill of January');
like($stdout, qr/^orders answered\|480\|12\|97\.5000\|f$/m, 'an objective');
like($stdout, qr/^degraded\|serverErrorRate$/m, 'health is degraded');
like($stdout, qr/^healthy$/m, 'and recovers');
is( ask(q{SELECT rule, value, threshold FROM meter.alert WHERE service = 'reports' ORDER BY rule}),
	"latency p95|3200.00|2000\nslow responses|3200.00|3000", 'slow responses are told of');

# what the raw events say
is( ask(q{SELECT day, requests, errors, p95::integer FROM (
		SELECT at::date AS day, requests, errors, p95 FROM meter_usage_stats('tenant-123', '2026-01-01', '2026-02-01')) AS s ORDER BY day}),
	ask(q{SELECT (at AT TIME ZONE 'UTC')::date AS day, count(*), count(*) FILTER (WHERE status >= 400),
			percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_ms)::integer
		FROM meter.event WHERE tenant = 'tenant-123' AND metric = 'api_requests' AND at < '2026-02-01Z' GROUP BY 1 ORDER BY 1}),
	'each day of January');
is(ask(q{SELECT count(*) FROM meter_usage_stats('tenant-123', '2026-01-01', '2026-02-01')}), 31, 'of which there are 31');
is( ask(q{SELECT endpoint, metadata, error_message FROM meter.event WHERE metadata ? 'filtered'}) =~ /sk_live|eyJ|hunter2/, '',
	'keys, tokens and passwords are not in the log');
is(ask(q{SELECT count(*) FROM meter.event WHERE endpoint = '/health'}), 0, 'nor are health checks');
is(ask(q{SELECT count(*) FROM meter.event WHERE endpoint = '/api/bulk-operation' AND status = 429}), 1, 'but the refused call is');
is( ask(q{SELECT tenant, severity, count(*) FROM meter.notification WHERE kind LIKE 'api.quota.%' GROUP BY 1, 2 ORDER BY 1, 2}),
	"small-shop|info|1\nsmall-shop|warning|2", 'each level of a quota is told of once');
is( ask(q{SELECT string_agg(DISTINCT kind, ' ' ORDER BY kind) FROM meter.notification}),
	'api.health.degraded api.health.recovered api.quota.warning', 'and so are illness and recovery');
is(ask(q{SELECT count(*) FROM meter.event WHERE seq > (SELECT last_seq FROM meter.consumer WHERE name = 'usage events')}), 0, 'each event was handed on');
like($stdout, qr/^@{[ask('SELECT count(*) FROM meter.event')]}$/m, 'once');

# an event that comes while the consumer is at work waits for its next run
my ($consumer) = slurp_file($example) =~ /^(BEGIN;\n(?:.*\n)*?COMMIT;\n)/m;
$consumer =~ s{^(?=UPDATE)}{\\! psql -Xq -d postgres -c "SELECT meter_track('late')" -c "SELECT meter_flush()" >/dev/null\n}m;
is(ask($consumer), '0', 'a consumer that has read all');
is(ask($consumer =~ s/^\\!.*\n//mr), '1', 'reads later what has come meanwhile');

is(ask(q{SELECT service, status FROM meter.incident WHERE tenant = 'tenant-123' ORDER BY service}), "api|resolved\nreports|open", 'one incident is over');
$node->stop;
done_testing();

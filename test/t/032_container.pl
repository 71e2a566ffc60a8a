# 032_container.pl: the worked example of a container platform.
#
# examples/container_platform.sql runs as its first lines say, on a server that
# preloads meter.  Bills and budgets have to be what is worked out by hand there,
# and once more in plain SQL over the samples here.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node);
use Test::More;

my $example = "$FindBin::RealBin/../../examples/container_platform.sql";
# nothing in the background, so that each step is taken by the example alone
my $node = start_node('containers', "shared_preload_libraries = 'meter'\nmeter.flush_interval = 0\nmeter.rollup_interval = 0\n");
ask('CREATE EXTENSION meter CASCADE');
my ($status, $stdout, $stderr) = $node->psql('postgres', undef,
	on_error_stop => 1, extra_params => [ '-f', $example ]);
is($status, 0, 'the example runs') or diag $stderr;
is_deeply([ map { s/^psql:\S+ //r } split /\n/, $stderr ],
	['NOTICE:  closing 2026-09: 2 tenants, 2 bills'], 'and says nothing but which month it closes');

is(ask('SELECT tenant, status, total FROM meter.bill ORDER BY tenant'), "batch|final|28.80\nweb|final|66.82",
	'the totals are those of the comments');
is( ask(q{SELECT tenant, price, billed_quantity, amount FROM meter.bill_line WHERE amount <> 0 ORDER BY 1, 2}),
	"batch|CPU|480|24.00\nbatch|Memory|960|4.80\nweb|CPU|720|36.00\nweb|Egress|86.4|7.78\nweb|Memory|2880|14.40\nweb|Requests|21.6|8.64",
	'so are the lines');

# Each level of memory holds for five minutes, the last one to the end of the month.
is( ask(q{
	SELECT tenant, round(sum(quantity * CASE metric WHEN 'cpu_seconds' THEN 0.05 / 3600 WHEN 'egress_gb' THEN 0.09
			WHEN 'api_requests' THEN 0.40 / 1000000 WHEN 'memory_gb' THEN 0.005 / 12 END), 2)
	FROM meter.event WHERE at < '2026-10-01Z' GROUP BY 1 ORDER BY 1}),
	"batch|28.80\nweb|66.82", 'and so is what plain SQL makes of the samples');

is( ask(q{SELECT tenant, spent, amount, percent, status, blocked FROM meter.budget_status ORDER BY tenant}),
	"batch|45|200|22.50|ok|f\nweb|85.47|100|85.47|warning|f", 'budgets say what was spent, and block nothing');
like($stdout, qr/"used": 85\.47.*"suspended": false/s, 'as the answer of the API says');
is( ask(q{SELECT tenant, threshold, severity, state, reason FROM meter.alert WHERE signal = 'budget' ORDER BY 1, 2}),
	"batch|80|warning|resolved|recovered\nbatch|100|critical|resolved|recovered\nweb|80|warning|firing|",
	'each threshold was told of once, and is over when the budget is raised');
is( ask(q{SELECT tenant, kind, count(*), count(read_at) FROM meter.notification WHERE severity <> 'info' GROUP BY 1, 2 ORDER BY 1, 2}),
	"batch|api.budget.exceeded|1|0\nbatch|api.budget.warning|1|0\nweb|api.budget.warning|1|1", 'and notified of once');
is(ask(q{SELECT string_agg(meter_allow(tenant)::text, ' ') FROM meter.tenant}), 'true true', 'nothing is suspended');
$node->stop;
done_testing();

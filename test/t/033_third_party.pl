# 033_third_party.pl: the worked example of an application on paid APIs.
#
# examples/third_party_apis.sql runs as its first lines say, on a server that
# preloads meter.  What months will cost, and which budgets warn, has to be what
# is worked out by hand there, and what plain SQL says of the raw events.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node);
use Test::More;

my $example = "$FindBin::RealBin/../../examples/third_party_apis.sql";
# nothing in the background, so that each step is taken by the example alone
my $node = start_node('apis', "shared_preload_libraries = 'meter'\nmeter.flush_interval = 0\nmeter.rollup_interval = 0\n");
ask('CREATE EXTENSION meter CASCADE');
my ($status, $stdout, $stderr) = $node->psql('postgres', undef,
	on_error_stop => 1, extra_params => [ '-f', $example ]);
is($status, 0, 'the example runs') or diag $stderr;
is($stderr, '', 'and says nothing');

like($stdout, qr/^openai\|99\.00\|341\.00\|300\|113\.7\|OVER\ BUDGET\n
	database\|139\.50\|480\.50\|500\|96\.1\|WARNING\nhosting\|54\.00\|186\.00\|200\|93\.0\|WARNING\n
	sms\|36\.00\|124\.00\|150\|82\.7\|OK\nemail\|18\.00\|62\.00\|100\|62\.0\|OK$/mx, 'projections are those of the comments');

# The plain rate, as such an application would ask its log for it.
is( ask(q{
	SELECT b.service, round(sum(e.cost) / 9 * 31, 2) FROM meter.budget AS b
	JOIN meter.event AS e ON e.service = b.service AND e.at >= '2026-10-01Z' AND e.at < '2026-10-10Z' GROUP BY 1 ORDER BY 1}),
	ask(q{SELECT b.service, round(p.expected, 2) FROM meter.budget AS b
		CROSS JOIN LATERAL meter_project(NULL, b.service, '2026-11-01', 'run_rate', '2026-10-10') AS p ORDER BY 1}),
	'and so is the plain rate of the events');

is( ask(q{SELECT service, spent, percent, status, hard_limit FROM meter.budget_status ORDER BY service}),
	"database|100|20.00|ok|f\nemail|3.5|3.50|ok|f\nhosting|50|25.00|ok|f\nopenai|240|80.00|warning|f\nsms|141|94.00|warning|f",
	'budgets say what was spent this month');
is( ask(q{SELECT service, threshold, severity FROM meter.alert WHERE signal = 'budget' AND state = 'firing' ORDER BY 1, 2}),
	"openai|75|warning\nsms|75|warning\nsms|90|critical", 'each threshold that was reached is told of');
is(ask(q{SELECT count(*) FROM meter.notification WHERE kind LIKE 'api.budget.%'}), 3, 'once');
is(ask(q{SELECT meter_allow('app', 'sms')}), 't', 'nothing is refused, as no budget has a hard limit');
is(ask(q{SELECT count(*) FROM meter.cost_projection}), 5, 'the running month has a projection of each budget');
$node->stop;
done_testing();

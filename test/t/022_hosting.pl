# 022_hosting.pl: the worked example of a hosting platform.
#
# examples/hosting_platform.sql runs as its first lines say, on a server that
# preloads meter.  What the bills have to be is worked out by hand there, and
# once more in plain SQL over the raw events here.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node);
use Test::More;

my $example = "$FindBin::RealBin/../../examples/hosting_platform.sql";
# without the roller, which would make October's bills if it came after September's
my $node = start_node('hosting', "shared_preload_libraries = 'meter'\nmeter.rollup_interval = 0\n");
ask('CREATE EXTENSION meter CASCADE');
my ($status, $stdout, $stderr) = $node->psql('postgres', undef,
	on_error_stop => 1, extra_params => [ '-f', $example ]);
is($status, 0, 'the example runs');
is_deeply([ map { s/^psql:\S+ //r } split /\n/, $stderr ],
	[ 'NOTICE:  closing 2026-09: 3 tenants, 3 bills',
		'NOTICE:  access to table tenant_bank.site is not allowed in the context of tenant "shop"' ],
	'and says nothing but which month it closes, and what the guard refuses');

is(ask('SELECT tenant, status, currency, total FROM meter.bill ORDER BY total'),
	"blog|final|USD|0.28\nshop|final|USD|83.64\nbank|final|USD|704.99", 'the totals are those of the comments');
is( ask(q{SELECT l.tenant, l.price, l.amount FROM meter.bill_line AS l WHERE l.month = '2026-09-01'
		AND l.tenant = 'bank' ORDER BY l.amount}),
	"bank|Virtual servers|49.32\nbank|Storage|65.00\nbank|API requests|125.00\nbank|Outbound transfer|166.67\nbank|enterprise|299.00",
	'so are the lines');

# Of the events without the one that came late: sums, and the levels of storage
# held from each sample, or the beginning of the month, to the next one.
is( ask(q{
	WITH event AS (
		SELECT tenant, metric, quantity, at FROM meter.event
		WHERE at >= '2026-08-01Z' AND at < '2026-10-01Z' AND NOT (metric = 'api_requests' AND quantity = 2500)
	), sum AS (
		SELECT tenant, metric, sum(quantity) AS quantity FROM event
		WHERE at >= '2026-09-01Z' AND metric <> 'storage_gb' GROUP BY 1, 2
	), level AS (
		SELECT tenant, quantity, greatest(at, '2026-09-01Z') AS from_at,
			lead(at, 1, '2026-10-01Z') OVER (PARTITION BY tenant ORDER BY at) AS to_at
		FROM event WHERE metric = 'storage_gb'
	), storage AS (
		SELECT tenant, sum(quantity * extract(epoch FROM to_at - from_at)) / (30 * 86400) AS quantity
		FROM level WHERE to_at > '2026-09-01Z' GROUP BY 1
	), tier(tenant, base, included, price) AS (
		VALUES ('blog', 0, 10000, 0), ('shop', 29, 100000, 0.001), ('bank', 299, 1000000, 0.0005)
	)
	SELECT t.tenant, t.base
		+ round(greatest(r.quantity - t.included, 0) * t.price, 2)
		+ round(s.quantity * 0.10, 2)
		+ round(COALESCE(v.quantity, 0) / 730.0 * 5, 2)
		+ round(o.quantity * 0.05, 2)
	FROM tier AS t
	JOIN sum AS r ON r.tenant = t.tenant AND r.metric = 'api_requests'
	JOIN storage AS s ON s.tenant = t.tenant
	LEFT JOIN sum AS v ON v.tenant = t.tenant AND v.metric = 'vps_hours'
	JOIN sum AS o ON o.tenant = t.tenant AND o.metric = 'transfer_gb'
	ORDER BY 2}),
	ask('SELECT tenant, total FROM meter.bill ORDER BY total'), 'and so is what plain SQL makes of the events');

is( ask(q{SELECT kind, price, for_month, billed_quantity, amount FROM meter_bill('shop', '2026-10-01')
		WHERE kind = 'delta'}),
	'delta|API requests|2026-09-01|2500|2.50', 'what came late is on the next bill');
is( ask(q{SELECT sum((x).amount) = (SELECT amount FROM meter.bill_line WHERE tenant = 'shop' AND price = 'API requests'
			AND month = '2026-09-01')
		FROM (SELECT meter_explain_charge('per_unit', '{"unit_amount": "0.001"}', 37500) AS x) AS e}),
	't', 'a line is explained by meter_explain_charge()');

# Each tenant in its own schema

is(ask('SELECT string_agg(schema_name, $$ $$ ORDER BY tenant) FROM meter.tenant'),
	'tenant_bank tenant_blog tenant_shop', 'each tenant has a schema');
is(ask('SELECT tenant, foreign_tenant, object, command, refused FROM meter.isolation_violation'),
	'shop|bank|tenant_bank.site|SELECT|t', 'a query with a wrong schema was refused and recorded');
is(ask('SELECT count(*) FROM meter_isolation_audit()'), '0', 'the audit finds nothing');
is(ask('SET ROLE tenant_shop; SELECT DISTINCT tenant FROM meter.bill_line'), 'shop', 'a tenant sees its own bill');
$node->stop;
done_testing();

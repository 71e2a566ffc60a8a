# 038_llm_gateway.pl: the worked example of a gateway to language models.
#
# examples/llm_gateway.sql runs as its first lines say, on a server that preloads
# meter.  What it prints has to be what is worked out by hand there, and what plain
# SQL makes of the raw events.  Then a real price list and the calls of a real
# service go through the same gateway, against arithmetic of integers.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use MeterTest qw(ask start_node $log_is_whole $wrong_totals);
use Test::More;

my $example = "$FindBin::RealBin/../../examples/llm_gateway.sql";
# nothing in the background, so that each step is taken by the example alone
my $node = start_node('llm_gateway', "shared_preload_libraries = 'meter'\nmeter.flush_interval = 0\nmeter.rollup_interval = 0\n");
ask('CREATE EXTENSION meter CASCADE');
my ($status, $stdout, $stderr) = $node->psql('postgres', undef,
	on_error_stop => 1, extra_params => [ '-f', $example ]);
is($status, 0, 'the example runs') or diag $stderr;
is($stderr, '', 'and says nothing');

# Lines one behind the other.
sub prints
{
	my ($text, $what) = @_;
	my $lines = $text =~ s/^\t+//gmr;
	ok(index("\n$stdout\n", "\n$lines\n") >= 0, $what) or diag "$lines\nis not in\n$stdout";
	return;
}

# Where alerts were evaluated before the history came, its spike is found all the same.
$node->safe_psql('postgres', 'CREATE DATABASE evaluated');
$node->safe_psql('evaluated', q{CREATE EXTENSION meter CASCADE; SELECT meter_track('x'); SELECT meter_flush(); SELECT meter_rollup();
	SELECT meter_evaluate_alerts(); SELECT 1 / count(*) FROM meter.usage_normal_day});
($status, my $again) = $node->psql('evaluated', undef, on_error_stop => 1, extra_params => [ '-f', $example ]);
is($status, 0, 'the example runs again');
like($again, qr/^support\|mistral\|critical\|t$/m, 'a spike is told though what is normal was learnt before');

# --- what is worked out by hand ------------------------------------------------

prints("anthropic|claude|unchanged|\nopenai|dall-e-3|skipped|no price per token\nopenai|gpt-4|changed|",
	'the second list says what has changed');
prints('0.000045', 'a call of 100 and 50 tokens costs that');
prints("/v1/chat|1440|23.760|0.016500\n/v1/summaries|720|15.120|0.021000\n/v1/embeddings|720|0.720|0.001000", 'costs by endpoint');
prints("anthropic|claude|720|2880000|720000|19.440\nopenai|gpt-4|720|360000|72000|15.120
	openai|gpt-4o-mini|720|14400000|3600000|4.320\nopenai|text-embedding-3-small|720|36000000||0.720", 'costs and tokens by model');
prints("all|0.055\n/v1/chat|0.033\n/v1/summaries|0.021\n/v1/embeddings|0.001", 'costs of an hour');
prints("openai|text-embedding-3-small|13.89\nopenai|gpt-4o-mini|6.94\nanthropic|claude|1.39\nopenai|gpt-4|0.17", 'tokens a second');
prints("search|15.840\nsupport|23.760", 'costs by team');
prints("2026-10-08|1.008\n2026-10-09|2.952\n2026-10-10|1.008", 'costs by day');
prints("month|2026-09-01|39.600\nmonth|2026-10-01|16.056\nweek|2026-08-31|7.920\nweek|2026-09-07|9.240\nweek|2026-09-14|9.240
	week|2026-09-21|9.240\nweek|2026-09-28|7.992\nweek|2026-10-05|9.000\nweek|2026-10-12|3.024", 'costs by week and month');
prints("2026-10-09|2.952|1.008|2.93\nsupport|/v1/chat|claude|2.592", 'the spike, and what it was');
prints("gateway|cpu|2280.00|core-hour|91.20\ngateway|memory|4320.00|GiB-hour|21.60
	search|models|15.84|USD|15.84\nsupport|models|23.76|USD|23.76\n3.17|91.20", 'what the gateway itself costs');
prints("cpu_usage_cores|ok|39.58|43.75\nmemory_usage_bytes|over-provisioned|18.75|18.75", 'and whether it has the right size');
prints('search|Use gpt-4o-mini instead of gpt-4 for small requests|15.0228', 'a cheaper model');
prints('support|Cache POST /v1/chat: 9 of 10 requests were repeated|0.00243', 'a cache');
prints('support|mistral|critical|t', 'a spike is told at once');
prints("anthropic|11.016|24.39|20|122.0|OVER BUDGET\nopenai|5.04|11.16|12|93.0|WARNING", 'whether budgets will last');
prints("search||day|5|9.6|192.00|exceeded|t\n|openai|month|12|9.6|80.00|warning|f\n|anthropic|month|20|18|90.00|warning|f", 'what is spent of them');
prints("search|f|budget\nsupport|t|no_rule", 'who has spent its day has to wait');
prints("t|0.92656\n\nt|0.9805", 'what a call did not need is given back');
prints('search|openai|gpt-9|1', 'a model without a price is found');

is( ask(q{SELECT tenant, service, threshold, severity FROM meter.alert WHERE signal = 'budget' AND state = 'firing' ORDER BY 1, 2, 3}),
	"search||75|warning\nsearch||90|critical\nsearch||100|critical\n|anthropic|75|warning\n|anthropic|90|critical\n|openai|75|warning",
	'each threshold that was reached is told of');
is(ask(q{SELECT count(*), count(DISTINCT title) FROM meter.notification WHERE signal = 'budget'}), '6|6', 'once');
is(ask(q{SELECT count(*) FROM meter.notification WHERE signal = 'cost_spike' AND title LIKE '%mistral%'}), '1', 'and so is the spike');

# --- and what plain SQL says -----------------------------------------------------

# By the tokens of the calls and the prices in the comments, without meter's.
is( ask(q{
	SELECT count(*) FILTER (WHERE cost = (metadata ->> 'input_tokens')::numeric * p.input + (metadata ->> 'output_tokens')::numeric * p.output), count(*)
	FROM meter.event AS e
	JOIN (VALUES ('gpt-4', '2026-01-01Z'::timestamptz, '2026-10-01Z'::timestamptz, 0.00003, 0.00006), ('gpt-4', '2026-10-01Z', 'infinity', 0.00001, 0.00003),
		('gpt-4o-mini', '2026-01-01Z', 'infinity', 0.00000015, 0.0000006), ('claude', '2026-01-01Z', 'infinity', 0.000003, 0.000015),
		('text-embedding-3-small', '2026-01-01Z', 'infinity', 0.00000002, 0)) AS p(model, since, until, input, output)
		ON p.model = e.metadata ->> 'model' AND e.at >= p.since AND e.at < p.until
	WHERE e.metric = 'llm_requests'}), '4238|4238', 'each call costs what the price of its day makes of its tokens');
is( ask(q{
	SELECT metric, count(*) FROM (
		SELECT metric, quantity * extract(epoch FROM lead(at) OVER (PARTITION BY metric, metadata ->> 'pod' ORDER BY at) - at) / 3600 AS hours
		FROM meter.event WHERE tenant = 'gateway' AND at < '2026-10-01 01:00Z') AS s
	GROUP BY metric HAVING round(sum(hours) * CASE metric WHEN 'cpu_usage_cores' THEN 0.04 ELSE 0.005 / 1024 ^ 3 END::numeric, 6)
		= (SELECT round(sum(cost), 6) FROM meter.cost('2026-09-01') AS c WHERE c.metric = s.metric) ORDER BY 1}),
	"cpu_usage_cores|1442\nmemory_usage_bytes|1442", 'levels cost what their samples make');
is(ask($wrong_totals), '0', 'all totals are those of the raw events');

# --- a real list, and a real service's calls ---------------------------------------

SKIP:
{
	my $data = $ENV{METER_DATA};
	skip 'METER_DATA names no directory with the data', 1
	  unless defined $data && -r "$data/azure_llm_code.csv" && -r "$data/llm_prices.json";

	my $json = do { local $/; open my $in, '<', "$data/llm_prices.json" or die $!; <$in> };
	my $prices = decode_json($json);
	# in 10^-10 dollars a token, whole numbers for the models here
	my %price = map { my $p = $prices->{$_}; $_ => [ map { sprintf '%.0f', 1e10 * $p->{"${_}_cost_per_token"} } qw(input output) ] }
	  qw(gpt-4 gpt-3.5-turbo gpt-4o-mini claude);
	is_deeply(\%price, { 'gpt-4' => [ 300000, 600000 ], 'gpt-3.5-turbo' => [ 10000, 20000 ], 'gpt-4o-mini' => [ 1500, 6000 ], claude => [ 30000, 150000 ] },
		'the list has the prices that are known of these models');
	is( ask("SELECT model, action, reason FROM meter_import_model_prices(\$list\$$json\$list\$, '2023-01-01')"),
		join("\n", 'ai21.jamba-1-5-mini-v1:0|added|', 'aiml/dall-e-3|skipped|no price per token', 'claude|added|', 'gpt-3.5-turbo|added|',
			'gpt-4|added|', 'gpt-4o-mini|added|', 'us.writer.palmyra-x5-v1:0|added|'), 'and is imported');

	# Each call in turn by another model and endpoint: what each has to cost, in whole numbers.
	my @route = ([ 'openai', 'gpt-3.5-turbo', '/v1/completions' ], [ 'openai', 'gpt-4o-mini', '/v1/chat' ],
		[ 'anthropic', 'claude', '/v1/chat' ], [ 'openai', 'gpt-4', '/v1/completions' ]);
	my (%endpoint, %model, %hour, $small, $small_cost, $small_with, @calls);
	open my $in, '<', "$data/azure_llm_code.csv" or die $!;
	<$in>;
	while (<$in>)
	{
		my ($at, $input, $output) = /^(\S+ \S+?),(\d+),(\d+)\s*$/ or die "line $.: $_";
		my ($provider, $model, $endpoint) = @{ $route[ @calls % @route ] };
		my $cost = $input * $price{$model}[0] + $output * $price{$model}[1];
		push @calls, join ',', $at, $input, $output, $provider, $model, $endpoint;
		$_->[0]++, $_->[1] += $cost for $endpoint{$endpoint} //= [], $hour{ substr $at, 0, 13 } //= [];
		my $m = $model{"$provider|$model"} //= [];
		$m->[0]++, $m->[1] += $input, $m->[2] += $output, $m->[3] += $cost;
		next if $model ne 'gpt-4' || $input + $output > 1000;
		$small++;
		$small_cost += $cost;
		$small_with += $input * $price{'gpt-4o-mini'}[0] + $output * $price{'gpt-4o-mini'}[1];
	}
	close $in;
	is(scalar @calls, 8819, 'the file has 8819 requests');

	my $file = "$PostgreSQL::Test::Utils::tmp_check/calls.csv";
	open my $out, '>', $file or die $!;
	print $out map { "$_\n" } @calls;
	close $out;
	ask(qq{
		CREATE TABLE call (at timestamp, input bigint, output bigint, provider text, model text, endpoint text);
		COPY call FROM '$file' WITH (FORMAT csv);
		SET timezone = 'UTC';
		SELECT count(meter_track_llm('azure', provider, model, input, output, service => provider, endpoint => endpoint, method => 'POST', at => at))
		FROM call;
		SELECT meter_flush();
		SELECT meter_rollup()});

	# Without the zeros at the end, of a whole number of 10^-10 dollars.
	my $dollars = sub { my $n = sprintf '%011d', $_[0]; $n =~ s/(\d{10})$/.$1/; $n =~ s/\.?0+$//; $n };
	is( ask(q{SELECT endpoint, sum(events), trim_scale(sum(cost)) FROM meter.usage_monthly
			WHERE tenant = 'azure' AND metric = 'llm_requests' GROUP BY 1 ORDER BY 1}),
		join("\n", map { join '|', $_, $endpoint{$_}[0], $dollars->($endpoint{$_}[1]) } sort keys %endpoint), 'costs by endpoint, to the last digit');
	is( ask(q{SELECT dims ->> 'provider', dims ->> 'model', sum(events) FILTER (WHERE metric = 'llm_requests'),
				sum(quantity) FILTER (WHERE dims ->> 'token_type' = 'input'), sum(quantity) FILTER (WHERE dims ->> 'token_type' = 'output'),
				trim_scale(sum(cost))
			FROM meter.usage_monthly WHERE tenant = 'azure' GROUP BY 1, 2 ORDER BY 1, 2}),
		join("\n", map { join '|', $_, @{ $model{$_} }[ 0 .. 2 ], $dollars->($model{$_}[3]) } sort keys %model), 'calls, tokens and costs by model');
	is( ask(q{SELECT to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24'), sum(events), trim_scale(sum(cost)) FROM meter.usage_hourly
			WHERE tenant = 'azure' AND metric = 'llm_requests' GROUP BY hour ORDER BY hour}),
		join("\n", map { join '|', $_, $hour{$_}[0], $dollars->($hour{$_}[1]) } sort keys %hour), 'costs by hour');
	is( ask(q{SELECT trim_scale(sum(cost)) FROM meter.cost('2023-11-01') WHERE tenant = 'azure' AND component = 'models'}),
		$dollars->($endpoint{'/v1/chat'}[1] + $endpoint{'/v1/completions'}[1]), 'what the models have cost in the month');
	is( ask(q{SELECT evidence ->> 'calls', trim_scale(saving) FROM meter_recommendations('{model}', '30 days', at => '2023-12-01')
			WHERE tenant = 'azure' AND evidence ->> 'model' = 'gpt-4'}),
		"$small|" . $dollars->($small_cost - $small_with), 'what small requests to gpt-4 would have cost less');
	is(ask($wrong_totals), '0', 'all totals are those of the raw events');
}
is(ask($log_is_whole), 't', 'the log is whole');
$node->stop;
done_testing();

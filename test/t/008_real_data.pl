# 008_real_data.pl: real traffic through the whole pipeline, against plain SQL
# over the same files.
#
# openstack_api.csv is the API log of a cloud, in which some lines lack a
# tenant; azure_llm_code.csv is the log of an LLM service, one line per request
# with its tokens.  The files are not part of the project: METER_DATA names the
# directory that holds them, and without it there is nothing to test here.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use MeterTest qw(ask start_node $by_hand);
use PostgreSQL::Test::Utils;
use Test::More;

my $data = $ENV{METER_DATA};
plan skip_all => 'METER_DATA names no directory with the data'
  unless defined $data && -r "$data/openstack_api.csv" && -r "$data/azure_llm_code.csv";

my $node = start_node('real', "${by_hand}timezone = 'UTC'\nmeter.retention = 0");
ask('CREATE EXTENSION meter CASCADE');

# --- the cloud's API log, through the demo's replay ---------------------------

$node->command_ok(
	[
		'sh', '-c',
		'exec psql -X -q -v ON_ERROR_STOP=1 -f examples/demo/replay.sql "$1" < "$2"',
		'sh', $node->connstr('postgres'), "$data/openstack_api.csv"
	],
	'the replay loads the file');
is(ask('SELECT * FROM meter_flush()'), '809|0|208',
	'809 requests enter the log, 208 are refused');
is(ask('SELECT meter_rollup()'), '809', 'and all of them are rolled up');
is(ask('SELECT reason, count(*) FROM meter.rejected_event GROUP BY 1'),
	'tenant must not be null|208',
	'a request is refused because it has no tenant');

# The file again, as it is, with identifiers replaced by regular expressions.
ask(qq{
	CREATE TABLE csv (at timestamp, tenant text, user_id text, request_id text, method text,
		endpoint text, status int, bytes bigint, latency_ms float8);
	COPY csv FROM '$data/openstack_api.csv' WITH (FORMAT csv, HEADER);
	CREATE VIEW request AS
	SELECT date_trunc('hour', at AT TIME ZONE 'UTC', 'UTC') AS hour, tenant, method,
		rtrim(regexp_replace(regexp_replace(regexp_replace(endpoint, '[?].*', ''),
			'/([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=/|\$)', '/:id', 'g'),
			'/flavors/[0-9]+\$', '/flavors/:id'), '/') AS endpoint,
		status, latency_ms, user_id, bytes
	FROM csv WHERE tenant IS NOT NULL;
});
is(ask('SELECT count(*), count(*) FILTER (WHERE tenant IS NULL) FROM csv'),
	'1017|208', 'the file has 1017 requests, 208 without tenant');

is( ask(q{
		WITH ours AS (
			SELECT hour, tenant, method, endpoint, requests, errors, unique_users FROM meter.endpoint_stats
		), theirs AS (
			SELECT hour, tenant, method, endpoint, count(*), count(*) FILTER (WHERE status >= 400),
				count(DISTINCT user_id)
			FROM request GROUP BY 1, 2, 3, 4
		)
		SELECT (SELECT count(*) FROM theirs), (SELECT count(*) FROM (TABLE ours EXCEPT TABLE theirs) a),
			(SELECT count(*) FROM (TABLE theirs EXCEPT TABLE ours) b)}),
	'8|0|0',
	'requests, errors and users of every hour and endpoint equal plain SQL');

is( ask(q{
		SELECT count(*), count(*) FILTER (WHERE abs(ours.value - theirs.exact) > 0.01 * theirs.exact)
		FROM (SELECT hour, tenant, method, endpoint, q,
			(ARRAY[p50, p95, p99])[i] AS value
			FROM meter.endpoint_stats, unnest(ARRAY[0.5, 0.95, 0.99]) WITH ORDINALITY AS u(q, i)) AS ours
		JOIN (SELECT hour, tenant, method, endpoint, q,
			percentile_disc(q) WITHIN GROUP (ORDER BY latency_ms) AS exact
			FROM request, unnest(ARRAY[0.5, 0.95, 0.99]) AS q GROUP BY 1, 2, 3, 4, 5) AS theirs
		USING (hour, tenant, method, endpoint, q)}),
	'24|0',
	'every percentile is within 1 % of percentile_disc');
is( ask(q{
		SELECT bool_and(abs(latency_avg - mean) < 1e-9 * mean), count(*)
		FROM meter.endpoint_stats JOIN (SELECT hour, tenant, method, endpoint, avg(latency_ms::numeric)::float8 AS mean
			FROM request GROUP BY 1, 2, 3, 4) AS r USING (hour, tenant, method, endpoint)}),
	't|8',
	'averages are exact');
is( ask(q{SELECT sum((metadata ->> 'bytes')::bigint) = (SELECT sum(bytes) FROM request) FROM meter.event}),
	't', 'what else a request carries is kept');

# --- the LLM service's tokens, as two metrics, in batches ---------------------

open(my $csv, '<', "$data/azure_llm_code.csv") or die $!;
my $header = <$csv>;
my ($requests, $input, $output, $sent) = (0, 0, 0, 0);
my @batch;
my @statements;
while (my $line = <$csv>)
{
	$line =~ s/\s+$//;
	my ($time, $in, $out) = split /,/, $line;
	$requests++;
	$input += $in;
	$output += $out;

	# as a CloudEvent, and as fields
	push @batch,
	  {
		specversion => '1.0', id => "$requests", source => '/llm', type => 'tokens_input',
		subject => 'azure', time => "${time}Z", data => { quantity => $in + 0, model => 'code' }
	  },
	  {
		tenant => 'azure', metric => 'tokens_output', at => "${time}Z", quantity => "$out",
		idempotency_key => "out-$requests"
	  };
	if (@batch >= 1000 || eof($csv))
	{
		my $json = encode_json(\@batch);
		die 'quoting' if $json =~ /\$json\$/;
		push @statements,
		  "SELECT result, count(*) FROM meter_track_batch(\$json\$$json\$json\$) GROUP BY 1;";
		$sent += @batch;
		@batch = ();
	}
}
close($csv);
is("$requests", '8819', 'the file has 8819 requests');

my %results;
for (split /\n/, ask(join("\n", @statements)))
{
	my ($result, $count) = split /\|/;
	$results{$result} += $count;
}
is_deeply(\%results, { accepted => 2 * $requests }, 'every element is accepted');
%results = ();
for (split /\n/, ask(join("\n", @statements[0 .. 1])))
{
	my ($result, $count) = split /\|/;
	$results{$result} += $count;
}
is_deeply(\%results, { duplicate => 2000 }, 'and sent again, is a duplicate');
is(ask('SELECT appended FROM meter_flush()'), 2 * $requests, 'all of them enter the log once');
ask('SELECT meter_rollup()');
is( ask(q{SELECT metric, sum(events), sum(quantity) FROM meter.usage_hourly
		WHERE tenant = 'azure' GROUP BY 1 ORDER BY 1}),
	"tokens_input|$requests|$input\ntokens_output|$requests|$output",
	'the sums of tokens are exact');
is( ask(q{SELECT month, metric, quantity FROM meter.usage_monthly WHERE tenant = 'azure' ORDER BY 2}),
	"2023-11-01|tokens_input|$input\n2023-11-01|tokens_output|$output",
	'also those of the month');

done_testing();

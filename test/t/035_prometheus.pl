# 035_prometheus.pl: a real Prometheus that scrapes meter by both exporters and by
# meter_metrics() itself.
#
# What Prometheus answers equals plain SQL over the raw events, whichever way it
# came, also after the server has begun anew and hours were computed anew.  The
# text is looked at by promtool, by Prometheus' own parser, and by a strict one
# here; the configurations are those of monitoring/prometheus, with other ports.
#
# The environment variables PROMETHEUS, PROMTOOL, POSTGRES_EXPORTER and SQL_EXPORTER
# name the programs; without the first two the test is skipped.
use strict;
use warnings;

use Cwd ();
use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP;
use MeterTest qw(ask session start_node $by_hand);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my ($prometheus, $promtool) = @ENV{qw(PROMETHEUS PROMTOOL)};
plan skip_all => 'no Prometheus' if !$prometheus || !$promtool;

my $monitoring = Cwd::realpath("$FindBin::RealBin/../../monitoring/prometheus");
my $tmp = $PostgreSQL::Test::Utils::tmp_check;

# --- the rules ---------------------------------------------------------------

sub promtool
{
	my ($input, @arguments) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $promtool, @arguments ], '<', \$input, '>', \$out, '2>', \$err);
	return ($? >> 8, $out . $err);
}

for my $check (
	[ qw(check rules --lint-fatal recording_rules.yml alerting_rules.yml) ],
	[ qw(check config prometheus.yml) ],
	[ qw(check config prometheus_sql.yml) ],
	[ qw(test rules rules_test.yml) ])
{
	my ($status, $output) = promtool('', map { /\.yml$/ ? "$monitoring/$_" : $_ } @$check);
	is($status, 0, "promtool @$check") or diag($output);
}

# --- the server and its events -----------------------------------------------

my $node = start_node('prometheus', $by_hand);
my ($host, $port) = ($node->host, $node->port);
ask(q{
	CREATE EXTENSION meter CASCADE;
	CREATE ROLE prometheus LOGIN;
	SELECT meter_grant('prometheus', 'analyst');
	SELECT meter_import_model_prices('{
		"gpt-4o-mini": {"litellm_provider": "openai", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07},
		"claude-x": {"litellm_provider": "anthropic", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05}}',
		'2000-01-01');
	INSERT INTO meter.metric (metric, kind) VALUES ('cpu_usage_cores', 'gauge'), ('memory_usage_bytes', 'gauge');
	INSERT INTO meter.tenant (tenant) VALUES ('acme'), ('globex'), ('quote"back\\slash');
	INSERT INTO meter.budget (tenant, amount) VALUES ('acme', 50), ('globex', 1000);
	INSERT INTO meter.rate_limit (tenant, per, max, kind) VALUES ('limited', 'month', 5, 'window');
	INSERT INTO meter.alert (rule, signal, tenant, severity, state, title, value, peak, threshold, started_at, measured_at)
	SELECT 'r', 'error_rate', 't' || n, 'critical', 'firing', 't', 1, 1, 1, now(), now() FROM generate_series(1, 3) AS n});

# So many of each tenant's requests, with all kinds of statuses and latencies, and
# calls of models; n makes each call of it another one.
sub track
{
	my ($n) = @_;
	ask(qq{
		SELECT setseed($n / 100.0);
		INSERT INTO meter.inbox (at, tenant, service, endpoint, method, status, latency_ms, cost)
		SELECT now() - interval '1 second', t, s, '/v1/' || s, m, (ARRAY[200, 201, 404, 429, 500, 503])[1 + (random() * 5)::int],
			exp(random() * 10 - 1), (random() / 10)::numeric(8, 6)
		FROM unnest(ARRAY['acme', 'globex', 'quote"back\\slash', 'sch\xc3\xb6n']) AS t, unnest(ARRAY['shop', 'mail']) AS s,
			unnest(ARRAY['GET', 'POST']) AS m, generate_series(1, 40 + $n);
		SELECT meter_track_llm('acme', p.provider, p.model, 100 * i, 10 + $n, cached_tokens => 5, service => 'ai',
			endpoint => '/v1/chat', status => 200, latency_ms => 100 * i)
		FROM (VALUES ('openai', 'gpt-4o-mini'), ('anthropic', 'claude-x')) AS p (provider, model), generate_series(1, 20) AS i;
		SELECT meter_track('acme', 'cpu_usage_cores', 2 + $n, service => 'ai'), meter_track('acme', 'memory_usage_bytes', 3e9, service => 'ai');
		SELECT meter_allow('limited') FROM generate_series(1, 8)});
	ask('SELECT meter_flush(); SELECT meter_rollup()');
	return;
}
track(1);

# --- a strict reader of OpenMetrics ------------------------------------------

# Dies where the text is not OpenMetrics 1.0 as its grammar and rules have it;
# returns the samples by name and labels.
sub read_openmetrics
{
	my ($text) = @_;
	my (%sample, %seen, $family, %told, %last_group, $bucket);
	my %suffixes = (counter => qr/^_total$/, gauge => qr/^$/, histogram => qr/^_(bucket|count|sum)$/);
	my $number = qr/[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[+-]?Inf|NaN/;

	$text =~ s/# EOF\n\z// or die 'does not end with # EOF';
	$text =~ /\n\z/ or die 'the last line is not whole';
	chomp $text;
	for my $line (split /\n/, $text, -1)
	{
		if ($line =~ /^# (TYPE|UNIT|HELP) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/)
		{
			my ($what, $name, $value) = ($1, $2, $3);
			if (!$family || $family->{name} ne $name)
			{
				die "$name is not together" if $seen{$name}++;
				$family = { name => $name };
				undef $bucket;
			}
			die "metadata of $name after its samples" if $family->{samples};
			die "two $what of $name" if exists $family->{$what};
			$family->{$what} = $value;
			die "unknown type of $name" if $what eq 'TYPE' && !$suffixes{$value};
			die "$name does not end with its unit" if $what eq 'UNIT' && $name !~ /_\Q$value\E$/;
			die "help of $name" if $what eq 'HELP' && $value =~ /\\(?![n\\"])/;
			die "$name is a counter by its name" if $what eq 'TYPE' && $value eq 'counter' && $name =~ /_total$/;
			next;
		}
		$line =~ /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[n"\\])*"(?:,(?!\}))?)+)\})? ($number)$/
		  or die "no sample: $line";
		my ($name, $labels, $value) = ($1, $2 // '', $3);
		die "sample of no family: $line" if !$family || index($name, $family->{name}) != 0;
		my $suffix = substr $name, length $family->{name};
		die "no type: $line" if !$family->{TYPE};
		die "suffix: $line" if $suffix !~ $suffixes{ $family->{TYPE} };
		$family->{samples}++;
		my %label;
		while ($labels =~ /\G([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?/g)
		{
			die "label $1 twice: $line" if exists $label{$1};
			$label{$1} = $2;
		}
		die "sample twice: $line" if exists $sample{$name}{$labels};
		$sample{$name}{$labels} = $value;
		die "negative: $line" if $family->{TYPE} ne 'gauge' && $value !~ /^[0-9.]/;

		# the samples of a histogram are together, and its buckets add up
		my $le = delete $label{le};
		my $group = join "\0", $family->{name}, map { "$_=$label{$_}" } sort keys %label;
		if (($last_group{name} // '') ne $group)
		{
			die "samples are not together: $line" if $told{$group}++;
			%last_group = (name => $group);
			undef $bucket;
		}
		next if $family->{TYPE} ne 'histogram';
		if ($suffix eq '_bucket')
		{
			my $bound = $le eq '+Inf' ? 9**9**9 : $le;
			die "bounds not canonical: $line" if $le ne '+Inf' && $le !~ /^\d+\.\d+$/;
			die "buckets: $line" if $bucket && ($bound <= $bucket->{bound} || $value < $bucket->{count});
			$bucket = { bound => $bound, count => $value };
		}
		else
		{
			die "no +Inf: $line" if !$bucket || $bucket->{bound} != 9**9**9;
			die "count differs from +Inf: $line" if $suffix eq '_count' && $value != $bucket->{count};
		}
	}
	return \%sample;
}

my $text = $node->safe_psql('postgres', 'SELECT meter_metrics()', extra_params => [ '-U', 'prometheus' ]) . "\n";
$text =~ s/\n+\z/\n/;
my $samples = eval { read_openmetrics($text) };
ok($samples, 'the text is OpenMetrics') or diag($@);
is(scalar(keys %{ $samples->{meter_requests_total} }), 10, 'with all of the series');
ok(exists $samples->{meter_requests_total}{'tenant="quote\"back\\\\slash",service="shop"'}, 'and labels escaped');
eval { read_openmetrics($_); 1 } and fail("a mistake is found: $_")
  for "# EOF", "meter_x 1\n# EOF\n", "# TYPE a counter\na 1\n# EOF\n", "# TYPE a gauge\na 1\na 2\n# EOF\n",
  qq{# TYPE a gauge\na{b="c\\d"} 1\n# EOF\n}, "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\n# EOF\n",
  qq{# TYPE h histogram\nh_bucket{le="1.0"} 2\nh_bucket{le="+Inf"} 1\nh_count 1\n# EOF\n};

# In promtool's older format counters have their help under another name, which is
# all that it has to say.
my ($status, $output) = promtool($text, 'check', 'metrics');
is(join("\n", grep { !/_total no help text$/ } split /\n/, $output), '', 'promtool has read it');
isnt($status, 1, 'without an error');

# --- the programs ------------------------------------------------------------

my @running;

END
{
	my $exit_code = $?;
	$_->kill_kill(grace => 5) for @running;
	$? = $exit_code;
}

sub start_program
{
	my ($name, @command) = @_;
	open my $log, '>', "$PostgreSQL::Test::Utils::log_path/$name.log" or die "$name.log: $!";
	my $run = IPC::Run::start(\@command, '<', \undef, '>', $log, '2>&1');
	push @running, $run;
	return;
}

my $http = HTTP::Tiny->new(timeout => 30);

sub wait_for_page
{
	my ($url, $pattern, $what) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	while (time < $until)
	{
		my $page = $http->get($url);
		return $page->{content} if $page->{success} && $page->{content} =~ $pattern;
		sleep 0.2;
	}
	die "timed out waiting for $what";
}

sub write_file
{
	my ($name, $content) = @_;
	open my $file, '>', "$tmp/$name" or die "$name: $!";
	print {$file} $content;
	close $file;
	return "$tmp/$name";
}

my %port = map { $_ => PostgreSQL::Test::Cluster::get_free_port() } qw(prometheus meter meter_sql meter_text);
my %jobs;

{
	local @ENV{qw(PGHOST PGPORT PGDATABASE)} = ($host, $port, 'postgres');
	# what a server says besides, as a warning about collations at each connection, is no metric
	local $ENV{PGOPTIONS} = '-c client_min_messages=debug2';
	start_program('serve_metrics', $^X, "$monitoring/serve_metrics.pl", "127.0.0.1:$port{meter_text}", '-U', 'prometheus');
	$jobs{meter_text} = "- job_name: meter_text\n  static_configs:\n  - targets: ['127.0.0.1:$port{meter_text}']\n";
}

# The scrape job of a file of monitoring/, of the exporter that listens here.
sub job_of
{
	my ($file, $listens) = @_;
	my $config = slurp_file("$monitoring/$file");
	$config =~ s/localhost:\d+/127.0.0.1:$listens/ or die "no target in $file";
	$config =~ /^scrape_configs:\n(.*)\z/ms or die "no jobs in $file";
	return $1;
}

if ($ENV{POSTGRES_EXPORTER})
{
	local $ENV{DATA_SOURCE_NAME} = "host=$host port=$port user=prometheus dbname=postgres";
	# of the collectors of its own, which are on by default, each version has others
	my $help = `$ENV{POSTGRES_EXPORTER} --help 2>&1`;
	my @without = map { "--no-$_" } $help =~ /^ *--(?:\[no-\])?(collector\.\w+)/mg;
	start_program('postgres_exporter', $ENV{POSTGRES_EXPORTER}, "--web.listen-address=127.0.0.1:$port{meter}",
		"--extend.query-path=$monitoring/postgres_exporter.yml", '--disable-default-metrics',
		'--disable-settings-metrics', @without);
	$jobs{meter} = job_of('prometheus.yml', $port{meter});
}
if ($ENV{SQL_EXPORTER})
{
	my $config = slurp_file("$monitoring/sql_exporter.yml");
	$config =~ s{postgres://prometheus\@localhost/app\?}{postgres://prometheus@/postgres?host=$host&port=$port&} or die;
	$config =~ s/interval: 15s/interval: 1s/ or die;
	start_program('sql_exporter', $ENV{SQL_EXPORTER}, '-config.file', write_file('sql_exporter.yml', $config),
		'-web.listen-address', "127.0.0.1:$port{meter_sql}");
	$jobs{meter_sql} = job_of('prometheus_sql.yml', $port{meter_sql});
}

wait_for_page("http://127.0.0.1:$port{meter_text}/metrics", qr/^meter_build_info/m, 'the server of metrics');
like($http->get("http://127.0.0.1:$port{meter_text}/metrics")->{headers}{'content-type'},
	qr{^application/openmetrics-text; version=1\.0\.0}, 'the text is served as OpenMetrics');
is($http->get("http://127.0.0.1:$port{meter_text}/other")->{status}, 404, 'and nothing else is');
is($http->post("http://127.0.0.1:$port{meter_text}/metrics")->{status}, 400, 'nor to other methods');
# who sends a request byte by byte keeps others waiting for two seconds, and not as long as he likes
{
	my $slow = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port{meter_text}") or die "cannot connect: $!";
	local $SIG{PIPE} = 'IGNORE';
	my $answer;
	for (1 .. 20)
	{
		syswrite $slow, 'G';
		last if IO::Select->new($slow)->can_read(0.5) && defined sysread($slow, $answer, 100);
	}
	like($answer, qr{^HTTP/1\.1 400 }, 'a request that does not end is no request');
}

if ($jobs{meter})
{
	my $page = wait_for_page("http://127.0.0.1:$port{meter}/metrics", qr/^meter_build_info/m, 'postgres_exporter');
	is(join("\n", $page =~ /^(pg_exporter_(?:user_queries_load|last_scrape)_error.*) 1$/mg), '', 'postgres_exporter has read all');
	($status, $output) = promtool($page, 'check', 'metrics');
	is(join("\n", grep { /meter_/ } split /\n/, $output), '', 'promtool finds nothing wrong with what it says');
}
if ($jobs{meter_sql})
{
	my $page = wait_for_page("http://127.0.0.1:$port{meter_sql}/metrics", qr/^sql_meter_build/m, 'sql_exporter');
	is(join("\n", $page =~ /^(sql_exporter_last_scrape_failed.*) [^0]$/mg), '', 'sql_exporter has read all');
}

my $config = write_file('prometheus.yml', "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n"
	  . "rule_files:\n- $monitoring/recording_rules.yml\n- $monitoring/alerting_rules.yml\n"
	  . "scrape_configs:\n" . join('', @jobs{ sort keys %jobs }));
($status, $output) = promtool('', 'check', 'config', $config);
is($status, 0, 'the configuration is valid') or diag($output);
start_program('prometheus', $prometheus, "--config.file=$config", "--storage.tsdb.path=$tmp/tsdb",
	"--web.listen-address=127.0.0.1:$port{prometheus}", '--storage.tsdb.retention.time=1d');
my $api = "http://127.0.0.1:$port{prometheus}/api/v1";
wait_for_page("http://127.0.0.1:$port{prometheus}/-/ready", qr/Ready/i, 'Prometheus');

# --- asking ------------------------------------------------------------------

# What a query answers: values by labels, "a=b c=d".
sub query
{
	my ($promql) = @_;
	my $page = $http->post_form("$api/query", { query => $promql });
	my $answer = decode_json($page->{content});
	die "$promql: $answer->{error}" if $answer->{status} ne 'success';
	my %value;
	for my $result (@{ $answer->{data}{result} })
	{
		my $metric = $result->{metric};
		my $labels = join ' ', map { "$_=$metric->{$_}" } sort keys %$metric;
		# as psql prints it
		utf8::encode($labels);
		$value{$labels} = $result->{value}[1];
	}
	return \%value;
}

# Waits until all jobs have been scraped as often again, twice to be sure that
# the exporter has read anew, too.
sub wait_for_scrapes
{
	my ($since) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	while (time < $until)
	{
		my $scrapes = query('count_over_time(up[1h])');
		my $up = query('up');
		return if keys %$scrapes == keys %jobs
			&& !grep({ $_ ne '1' } values %$up)
			&& !grep { $scrapes->{$_} < ($since->{$_} // 0) + 4 } keys %$scrapes;
		sleep 0.3;
	}
	my $targets = $http->get("$api/targets")->{content};
	die "timed out waiting for scrapes: $targets";
}

sub scrapes { return query('count_over_time(up[1h])'); }

# Looks until there is nothing wrong: an exporter that is slow may not have read
# anew when it was scraped.  Returns what is wrong in the end.
sub wrong_in_the_end
{
	my ($look) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	my @wrong;
	while ((@wrong = $look->()) && time < $until)
	{
		sleep 0.3;
	}
	return @wrong;
}

# Is this the one value that the query answers?
sub answers
{
	my ($promql, $expected, $what) = @_;
	my $answer;
	wrong_in_the_end(sub {
		$answer = query($promql)->{''} // '';
		return $answer eq $expected ? () : $answer;
	});
	return is($answer, $expected, $what);
}

# Rows of SQL, "labels|value", are what the query answers for each job.
sub same
{
	my ($what, $promql, $sql) = @_;
	my %expected = map { my ($labels, $value) = /^(.*)\|(.*)$/; ($labels => $value) } split /\n/, ask($sql);
	for my $job (sort keys %jobs)
	{
		(my $of_job = $promql) =~ s/JOB/job="$job"/g;
		my $answer;
		my @wrong = wrong_in_the_end(sub {
			$answer = query($of_job);
			return ((grep { !exists $expected{$_} || abs($answer->{$_} - $expected{$_}) > 1e-9 * (1 + abs $expected{$_}) } keys %$answer),
				(grep { !exists $answer->{$_} } keys %expected));
		});
		ok(%expected && !@wrong, "$what, by $job") or diag(explain({ wrong => \@wrong, answer => $answer, expected => \%expected }));
	}
	return;
}

# What counters have to say, by plain SQL over the raw events.
sub compare
{
	my ($when) = @_;
	same("requests by tenant and service $when", 'sum by (tenant, service) (meter_requests_total{JOB} > 0)',
		q{SELECT concat_ws(' ', 'service=' || service, 'tenant=' || tenant), count(*) FROM meter.event
			WHERE metric = 'api_requests' GROUP BY tenant, service});
	same("errors by reason $when", 'sum by (reason) (meter_errors_total{JOB})',
		q{SELECT 'reason=' || CASE WHEN status = 429 THEN 'refused' WHEN status < 500 THEN 'client' ELSE 'server' END, count(*)
			FROM meter.event WHERE metric = 'api_requests' AND status >= 400 GROUP BY 1});
	same("cost by endpoint $when", 'sum by (endpoint) (meter_endpoint_cost_total{JOB} > 0)',
		q{SELECT 'endpoint=' || endpoint, sum(cost) FROM meter.event WHERE cost IS NOT NULL GROUP BY endpoint});
	same("total cost $when", 'sum(meter_cost_total{JOB})', q{SELECT '', sum(cost) FROM meter.event});
	same("tokens by provider and model $when", 'sum by (provider, model) (meter_llm_tokens_total{JOB})',
		q{SELECT format('model=%s provider=%s', metadata ->> 'model', metadata ->> 'provider'), sum(quantity) FROM meter.event
			WHERE metric = 'llm_tokens' GROUP BY metadata ->> 'model', metadata ->> 'provider'});
	same("cost of models $when", 'sum by (model) (meter_llm_cost_total{JOB})',
		q{SELECT 'model=' || (metadata ->> 'model'), sum(cost) FROM meter.event WHERE metric = 'llm_requests' GROUP BY 1});
	same("count of latencies $when", 'sum by (service) (meter_endpoint_duration_seconds_count{JOB} > 0)',
		q{SELECT 'service=' || service, count(latency_ms) FROM meter.event WHERE metric = 'api_requests' AND latency_ms IS NOT NULL GROUP BY service});
	same("sum of latencies $when", 'sum(meter_endpoint_duration_seconds_sum{JOB})',
		q{SELECT '', sum(latency_ms) / 1000 FROM meter.event WHERE metric = 'api_requests'});

	# a value within 1 % of a bound may be on either side of it
	for my $job (sort keys %jobs)
	{
		my $right = '';
		wrong_in_the_end(sub {
			my $answer = query(qq{sum by (le) (meter_endpoint_duration_seconds_bucket{job="$job"})});
			my %count = map { /^le=(.*)$/ ? ($1 eq '+Inf' ? $1 : $1 + 0 => $answer->{$_}) : () } keys %$answer;
			return $right = 'none' if keys %count < 2;
			$right = ask("SELECT count(*) || ' right' FROM (VALUES " . join(', ', map { "('$_'::float8 * 1000, $count{$_})" } grep { $_ ne '+Inf' } keys %count)
				  . q{) AS b (bound, seen) CROSS JOIN LATERAL (
					SELECT count(*) FILTER (WHERE latency_ms <= bound / 1.01) AS low, count(*) FILTER (WHERE latency_ms <= bound / 0.99) AS high
					FROM meter.event WHERE metric = 'api_requests') AS e WHERE seen BETWEEN low AND high});
			return $right eq '13 right' ? () : $right;
		});
		is($right, '13 right', "buckets $when, by $job");
	}
	return;
}

wait_for_scrapes({});
compare('at first');

# each series of the text is there by the exporters, with the same value
my $volatile = 'meter_pipeline_.*(lag|flushes|timestamp).*';
sub by_job
{
	my %values;
	for my $job (keys %jobs)
	{
		my $series = query(qq{{__name__=~"meter_.+",__name__!~"$volatile",job="$job"}});

		# 1.0 in OpenMetrics is 1 in the older format
		$values{$job} = { map { my $labels = $_; $labels =~ s/ ?(?:instance|job)=\S+//g; $labels =~ s/(le=\d+)\.0\b/$1/; ($labels => $series->{$_}) }
			  keys %$series };
	}
	return %values;
}
my %by_job;
wrong_in_the_end(sub {
	%by_job = by_job();
	my %texts = map { my $series = $_; (join("\n", map { "$_ $series->{$_}" } sort keys %$series) => 1) } values %by_job;
	return keys %texts > 1 || exists $texts{''} ? 'others' : ();
});
cmp_ok(scalar keys %{ $by_job{meter_text} }, '>', 200, 'there are many series');
is_deeply($by_job{$_}, $by_job{meter_text}, "$_ tells the same as meter_metrics()") for grep { $_ ne 'meter_text' } keys %jobs;

same('spent of budgets', 'sum by (tenant) (meter_budget_spent{JOB})',
	q{SELECT 'tenant=' || tenant, sum(cost) FROM meter.event WHERE tenant IN ('acme', 'globex') GROUP BY tenant});
same('alerts', 'sum by (rule, severity) (meter_alerts_firing{JOB})', q{SELECT 'rule=r severity=critical', 3});
same('limits', 'sum(meter_limit_refused_total{JOB})', q{SELECT '', 3});
same('allowed calls', 'sum(meter_limit_allowed_total{JOB})', q{SELECT '', 5});
same('the log', 'sum(meter_pipeline_flushed_total{JOB})', q{SELECT '', count(*) FROM meter.event});
same('levels', 'sum by (metric) (meter_level_current{JOB})', q{SELECT * FROM (VALUES ('metric=cpu_usage_cores', 3), ('metric=memory_usage_bytes', 3e9)) AS v});

# --- more events, corrections, and a server that begins anew -----------------

my $seen = scrapes();
track(2);
wait_for_scrapes($seen);
compare('of two rollups');

# counters keep what was counted; the totals follow the correction
my $requests = 'sum(meter_requests_total{job="meter_text"})';
my $counted = ask(q{SELECT count(*) FROM meter.event WHERE metric = 'api_requests'});
ask(q{SELECT meter_correct(tenant, seq => seq, void => true) FROM meter.event
	WHERE metric = 'api_requests' AND superseded_by IS NULL ORDER BY seq LIMIT 10;
	SELECT meter_flush(); SELECT meter_rollup()});
is(ask(q{SELECT (SELECT count(*) FROM meter.event WHERE metric = 'api_requests' AND superseded_by IS NULL)
		- (SELECT sum(events) FROM meter.usage_hourly WHERE metric = 'api_requests')}), '0', 'the totals have followed the correction');
$seen = scrapes();
wait_for_scrapes($seen);
answers($requests, $counted, 'and no counter has become less');

$node->restart('immediate');
$seen = scrapes();
track(3);
wait_for_scrapes($seen);
answers($requests, ask(q{SELECT count(*) FROM meter.event WHERE metric = 'api_requests' AND corrects IS NULL}), 'after a restart they go on');
answers(qq{sum(resets(meter_requests_total{job="$_"}[1h]))}, 0, "and none of those of $_ has ever been reset") for sort keys %jobs;
cmp_ok(query('sum(resets(meter_pipeline_flushed_total[1h]))')->{''}, '>', 0, 'those of the shared memory have');

# --- the queries of the manual and the rules ---------------------------------

my @queries = map { split /\n\n/ } slurp_file("$FindBin::RealBin/../../doc/prometheus.md") =~ /^```promql\n(.*?)^```$/msg;
cmp_ok(scalar @queries, '>=', 16, 'the manual has queries');
for my $promql (@queries)
{
	my @lines = grep { !/^#/ } split /\n/, $promql;
	my $answer = eval { query(join "\n", @lines) };
	ok($answer && %$answer, "the manual's query answers: $lines[0]") or diag($@ || explain($answer));
}
for my $rule ('tenant:meter_requests:rate5m', 'tenant:meter_errors:ratio_rate5m', 'service:meter_endpoint_duration_seconds:p95_5m',
	'endpoint:meter_endpoint_cost:rate1h', 'provider_model:meter_llm_tokens:rate1h')
{
	cmp_ok(scalar keys %{ query($rule) }, '>', 0, "$rule is recorded");
}
my $alerts = query('count by (alertname) (ALERTS)');
ok($alerts->{'alertname=MeterAlert'}, 'what meter says is handed on') or diag(explain($alerts));

# a server that is away is told of as such
$node->stop('fast');
is($http->get("http://127.0.0.1:$port{meter_text}/metrics")->{status}, 503, 'without the server there is no answer but an error');

done_testing();

# 036_grafana.pl: the dashboards for Grafana.
#
# Each panel's, variable's and annotation's SQL is put together as Grafana's data
# source for PostgreSQL does it, with variables and macros, and run by the role of
# monitoring/grafana/role.sql, which only reads, on the traffic of the demo.  All
# give rows, of columns that fit the panel; figures of panels are those that plain
# SQL makes of the raw events; and no value of a variable gets out of its quotes.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use MeterTest qw(ask session start_node);
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $grafana = "$top/monitoring/grafana";

# nothing in the background: what panels show is as of one moment
my $node = start_node('grafana', "shared_preload_libraries = 'meter'\nmeter.flush_interval = 0\nmeter.rollup_interval = 0\nmax_worker_processes = 20\n");
ask('CREATE EXTENSION meter CASCADE');

sub run_file
{
	my ($file) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', undef, on_error_stop => 1, extra_params => [ '-f', $file ]);
	is($status, 0, "$file runs") or diag $stderr;
	return;
}

# --- what there is to be seen ----------------------------------------------------

run_file("$top/examples/demo/traffic.sql");
ask('SELECT meter_flush(); SELECT meter_rollup()');
run_file("$top/examples/demo/limit.sql");
# what an operator sets up besides, and one of each thing that should not happen
ask(q{
	INSERT INTO meter.api_version (version, announced_on, deprecated_on, sunset_on, successor) VALUES
		('v2', NULL, NULL, NULL, NULL), ('v1', current_date - 60, current_date - 10, current_date + 100, 'v2')
	ON CONFLICT DO NOTHING;
	INSERT INTO meter.slo (slo, target) VALUES ('api available', 99.5) ON CONFLICT DO NOTHING;
	INSERT INTO meter.budget (tenant, service, amount) VALUES (NULL, 'openai', 1000), ('acme', NULL, 0.01) ON CONFLICT DO NOTHING;
	INSERT INTO meter.gauge_limit (metric, max) VALUES ('storage_gb', 600) ON CONFLICT DO NOTHING;
	INSERT INTO meter.cost_rate (component, metric, aggregation, unit, rate) VALUES
		('storage', 'storage_gb', 'unit_hours', 'GB-hour', 0.0001), ('network', 'api_requests', 'count', 'request', 0.00001)
	ON CONFLICT DO NOTHING;
	SELECT meter_sample_storage();
	INSERT INTO meter.storage_sample (day, tenant, bytes) SELECT current_date - 14, NULL, 50000000 ON CONFLICT DO NOTHING;
	SELECT meter_create_tenants(ARRAY['red', 'blue']);
	CREATE TABLE tenant_blue.secret AS SELECT 42 AS answer});
session(q{
	SELECT meter_set_tenant('red');
	SET meter.isolation = enforce;
	SELECT * FROM tenant_blue.secret});
# a tenant with a name that is awkward in SQL, and responses of known sizes
my $odd = q{o'brien'; --};
ask(q{SELECT count(meter_track('o''brien''; --', service => 'api', endpoint => '/v2/report', method => 'GET', status => 200,
		latency_ms => i, user_id => 'u' || i % 7, metadata => jsonb_build_object('response_bytes', i * 100000),
		at => now() - interval '70 minutes')) FROM generate_series(1, 40) AS i;
	SELECT meter_track('acme', service => 'email', status => 202, cost => 0.02);
	SELECT meter_flush(); SELECT meter_rollup(); SELECT meter_evaluate_alerts()});
run_file("$grafana/role.sql");

my ($from, $to) = split /\|/, ask(q{SELECT to_char((now() - interval '3 days') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')});

# --- Grafana's part --------------------------------------------------------------

# ${name:sqlstring}, of one value or several; later releases escape " too.
sub sqlstring
{
	my (@values) = @_;
	return join ',', map { my $v = s/'/''/gr; $v =~ s/"/\\"/g; "'$v'" } @values;
}

# What allValue says goes in as it is; everything else by its format.
sub with_variables
{
	my ($sql, $variables, $interval) = @_;
	my %ms = (m => 60_000, h => 3_600_000, d => 86_400_000);
	my ($n, $unit) = $interval =~ /^(\d+)([mhd])$/;
	$sql =~ s/\$__interval_ms/$n * $ms{$unit}/ge;
	$sql =~ s/\$__interval/$interval/g;
	$sql =~ s{\$\{(\w+):sqlstring\}}{
		my $value = $variables->{$1} // die "there is no variable $1";
		ref $value eq 'SCALAR' ? $$value : sqlstring(ref $value ? @$value : $value)}ge;
	return $sql;
}

# The macros know nothing of parentheses in their arguments.
sub with_macros
{
	my ($sql) = @_;
	my %seconds = (m => 60, h => 3600, d => 86400);
	my %macro = (
		__timeFilter => sub { "$_[0] BETWEEN '$from' AND '$to'" },
		__timeFrom => sub { "'$from'" },
		__timeTo => sub { "'$to'" },
		__timeGroup => sub {
			my ($n, $unit) = ($_[1] // '') =~ /^'?(\d+)([mhd])'?$/ or die "error parsing interval";
			my $s = $n * $seconds{$unit};
			return "floor(extract(epoch from $_[0])/$s)*$s";
		});
	$macro{__timeGroupAlias} = sub { $macro{__timeGroup}->(@_) . ' AS "time"' };
	$sql =~ s{\$([_a-zA-Z0-9]+)\(([^)]*)\)(,?)}{
		my ($name, $comma) = ($1 eq '__timeGroup' && $3 ? '__timeGroupAlias' : $1, $3);
		my $expand = $macro{$name} // die "unknown macro $name";
		$expand->(map { s/^ +| +$//gr } split /,/, $2) . $comma}ge;
	return $sql;
}

# As the role that Grafana logs in as: columns with their types, rows, and errors.
sub query
{
	my ($sql) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres',
		"$sql\n\\gdesc\nSELECT COALESCE(json_agg(q), '[]') FROM (\n$sql\n) AS q;",
		on_error_stop => 0, extra_params => [ '-U', 'grafana' ]);
	my ($columns, $json) = $stdout =~ /^(.*?)\n?(\[.*\])$/s ? ($1, $2) : ($stdout, '[]');
	return { columns => [ map { [ split /\|/ ] } split /\n/, $columns ], rows => decode_json($json), errors => $stderr };
}

# --- the files -------------------------------------------------------------------

my %everything = (tenant => \"''", service => \"''");
my (%dashboards, %panel, %uids);
for my $file (sort glob "$grafana/*.json")
{
	my ($name) = $file =~ m{([^/]+)\.json$};
	open my $in, '<:raw', $file or die "$file: $!";
	my $dashboard = eval { local $/; decode_json(<$in>) };
	ok($dashboard, "$name is JSON") or diag($@), next;
	$dashboards{$name} = $dashboard;
	ok(!$uids{ $dashboard->{uid} }++ && $dashboard->{uid} =~ /^[a-z-]{1,40}$/ && length $dashboard->{title}
		  && !defined $dashboard->{id} && $dashboard->{schemaVersion} >= 39, "$name can be imported");
}
is(join(' ', sort keys %dashboards), 'api_analytics cost data_pipeline tenant_analytics', 'all four dashboards are there');

# Panels of a collapsed row are in the row, and laid out when it is opened.
sub check_layout
{
	my ($name, $panels, $ids) = @_;
	my @faults;
	my %taken;
	for my $panel (@$panels)
	{
		my $p = $panel->{gridPos};
		push @faults, "id $panel->{id} twice" if $ids->{ $panel->{id} }++;
		push @faults, "$panel->{title}: outside" if $p->{x} < 0 || $p->{x} + $p->{w} > 24 || $p->{w} < 1 || $p->{h} < 1;
		for my $x ($p->{x} .. $p->{x} + $p->{w} - 1)
		{
			for my $y ($p->{y} .. $p->{y} + $p->{h} - 1)
			{
				push @faults, "$panel->{title}: over another" if $taken{"$x $y"}++;
			}
		}
		push @faults, check_layout($name, $panel->{panels}, $ids) if $panel->{type} eq 'row';
	}
	return @faults;
}

sub all_panels
{
	my ($dashboard) = @_;
	return map { $_->{type} eq 'row' ? @{ $_->{panels} } : $_ } @{ $dashboard->{panels} };
}

my %numeric = map { $_ => 1 } 'smallint', 'integer', 'bigint', 'numeric', 'double precision', 'real';
my %shown = (%numeric, map { $_ => 1 } 'text', 'name', 'boolean', 'date', 'timestamp with time zone');

# What is wrong with the result of a panel's query, given its type and format.
sub misfits
{
	my ($panel, $target, $result) = @_;
	my @columns = @{ $result->{columns} };
	my @faults = map { "$_->[0] is a $_->[1]" } grep { !$shown{ $_->[1] } } @columns;
	push @faults, $result->{errors} if $result->{errors};
	push @faults, 'no rows' if !@{ $result->{rows} };
	if ($panel->{type} eq 'timeseries')
	{
		push @faults, "format $target->{format}" if $target->{format} ne 'time_series';
		my ($time) = grep { $_->[0] eq 'time' } @columns;
		push @faults, 'no column time' if !$time || !($numeric{ $time->[1] } || $time->[1] =~ /^timestamp/);
		my @labels = grep { $_->[1] eq 'text' } @columns;
		push @faults, 'labels: ' . @labels if @labels > 1 || (@labels && $labels[0][0] ne 'metric');
		push @faults, 'no values' if @columns - 1 - @labels < 1;
		push @faults, "$_->[0] is no value" for grep { $_->[0] !~ /^(?:time|metric)$/ && !$numeric{ $_->[1] } } @columns;
		my @times = map { $_->{time} } @{ $result->{rows} };
		push @faults, 'times are not in order'
		  if grep { $times[$_] =~ /^[\d.]+$/ ? $times[ $_ - 1 ] > $times[$_] : $times[ $_ - 1 ] gt $times[$_] } 1 .. $#times;
		my %seen;
		push @faults, 'a point is there twice' if grep { $seen{ join ' ', $_->{time}, $_->{metric} // '' }++ } @{ $result->{rows} };
	}
	elsif ($panel->{type} eq 'stat')
	{
		push @faults, 'not one value' if @columns != 1 || @{ $result->{rows} } != 1;
		push @faults, 'null' if grep { !defined } map { values %$_ } @{ $result->{rows} };
		push @faults, "$columns[0][0] is no number" if $panel->{options}{reduceOptions}{fields} eq '' && !$numeric{ $columns[0][1] };
	}
	elsif ($panel->{type} eq 'table')
	{
		push @faults, "format $target->{format}" if $target->{format} ne 'table';
		my %names = map { $_->[0] => 1 } @columns;
		push @faults, "there is no column $_"
		  for grep { !$names{$_} } map { $_->{matcher}{options} } @{ $panel->{fieldConfig}{overrides} };
	}
	else
	{
		push @faults, "type $panel->{type}";
	}
	return @faults;
}

my $source = { type => 'grafana-postgresql-datasource', uid => '${datasource}' };
for my $name (sort keys %dashboards)
{
	my $dashboard = $dashboards{$name};
	is(join(', ', check_layout($name, $dashboard->{panels}, {})), '', "$name: panels have ids of their own and do not overlap");

	# variables, each with those before it at "All", or the first of its values
	my %value = %everything;
	my @variables = @{ $dashboard->{templating}{list} };
	is($variables[0]{name} . ' ' . $variables[0]{type}, 'datasource datasource', "$name: the data source is a variable");
	for my $variable (@variables[ 1 .. $#variables ])
	{
		my @values;
		if ($variable->{type} eq 'custom')
		{
			@values = split /,/, $variable->{query};
		}
		else
		{
			is_deeply($variable->{datasource}, $source, "$name: variable $variable->{name} asks that source");
			my $result = query(with_macros(with_variables($variable->{query}, \%value, '1h')));
			is($result->{errors}, '', "$name: variable $variable->{name} can be asked");
			is(scalar @{ $result->{columns} }, 1, "$name: and has one column");
			@values = map { values %$_ } @{ $result->{rows} };
		}
		cmp_ok(scalar @values, '>', 0, "$name: variable $variable->{name} has values");
		if ($variable->{includeAll})
		{
			is($variable->{allValue}, q{''}, "$name: all of $variable->{name} is the empty string");
		}
		else
		{
			$value{ $variable->{name} } = $values[0];
		}
	}

	for my $annotation (@{ $dashboard->{annotations}{list} })
	{
		my $result = query(with_macros(with_variables($annotation->{target}{rawSql}, \%value, '1h')));
		is($result->{errors}, '', "$name: annotation $annotation->{name}");
		is_deeply([ map { $_->[0] } @{ $result->{columns} } ], [qw(time timeend text tags)], "$name: and its columns");
		cmp_ok(scalar @{ $result->{rows} }, '>', 0, "$name: and rows");
	}

	for my $panel (all_panels($dashboard))
	{
		ok(length $panel->{description} > 20, "$name: $panel->{title} says what it shows");
		$panel{"$name: $panel->{title}"} //= $panel;
		for my $target (@{ $panel->{targets} })
		{
			my $sql = $target->{rawSql};
			is_deeply([ $panel->{datasource}, $target->{datasource} ], [ $source, $source ], "$name: $panel->{title} asks that source");
			# what is of variables is quoted, and macros have no parentheses in them
			unlike($sql =~ s/\$\{\w+:sqlstring\}|\$__interval(?:_ms)?\b|\$__\w+\([^()]*\)//gr, qr/\$/,
				"$name: $panel->{title} quotes variables");
			my $result = query(with_macros(with_variables($sql, \%value, $panel->{interval} // '1h')));
			is(join(', ', misfits($panel, $target, $result)), '', "$name: $panel->{title} ($panel->{type}) has fitting rows");
			next if $panel->{type} ne 'timeseries';
			my ($n, $unit) = $panel->{interval} =~ /^(\d+)([mhd])$/;
			my $coarse = query(with_macros(with_variables($sql, \%value, 6 * $n . $unit)));
			is(join(', ', misfits($panel, $target, $coarse)), '', "$name: and with longer intervals");
		}
	}
}

# --- figures ---------------------------------------------------------------------

# Rows of a panel, with these values of variables.
sub panel
{
	my ($name, $variables, $interval) = @_;
	my $panel = $panel{$name} // die "there is no panel $name";
	my $result = query(with_macros(with_variables($panel->{targets}[0]{rawSql}, { %everything, %{ $variables // {} } }, $interval // '1h')));
	die $result->{errors} if $result->{errors};
	return $result->{rows};
}

# Rows of plain SQL over the events of the hours in the range, as JSON has them.
sub plain
{
	my ($sql) = @_;
	ask("SET timezone = 'UTC'; CREATE OR REPLACE VIEW raw AS SELECT *, date_trunc('hour', at, 'UTC') AS of_hour FROM meter.event
		WHERE superseded_by IS NULL AND date_trunc('hour', at, 'UTC') BETWEEN '$from' AND '$to'");
	return decode_json(ask("SET timezone = 'UTC'; SELECT COALESCE(json_agg(q), '[]') FROM ($sql) AS q"));
}

# Numbers as one text each, which do not depend on how many zeros a numeric has.
sub rounded
{
	my ($rows, $digits, @columns) = @_;
	my $text = sub { my ($v) = @_; !defined $v ? '' : $v =~ /^-?[\d.]+(?:e-?\d+)?$/ ? sprintf("%.${digits}f", $v) : $v };
	return [ map { my $row = $_; join '|', map { $text->($row->{$_}) } @columns } @$rows ];
}

for my $variables ({}, { tenant => 'acme' }, { tenant => [ 'globex', 'hooli' ], service => 'api' }, { tenant => $odd })
{
	my @tenants = ref $variables->{tenant} ? @{ $variables->{tenant} } : $variables->{tenant} // ();
	my $where = (@tenants ? ' AND tenant IN (' . sqlstring(@tenants) . ')' : '')
	  . ($variables->{service} ? ' AND service = ' . sqlstring($variables->{service}) : '');
	my $of = @tenants ? join ' and ', @tenants : 'all';
	my $requests = "FROM raw WHERE metric = 'api_requests'$where";

	is_deeply(panel('api_analytics: Requests', $variables), plain("SELECT count(*) AS requests $requests"), "requests of $of");
	is_deeply(rounded(panel('api_analytics: Error rate', $variables), 6, 'error_rate'),
		rounded(plain("SELECT 100.0 * count(*) FILTER (WHERE status >= 400) / count(*) AS error_rate $requests"), 6, 'error_rate'), "error rate of $of");
	my ($p95) = map { $_->{p95} } @{ panel('api_analytics: Latency, p95', $variables) };
	my ($exact) = map { $_->{p95} } @{ plain("SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_ms) AS p95 $requests") };
	cmp_ok(abs($p95 - $exact), '<=', 0.011 * $exact, "95th percentile of $of");
	is_deeply(
		rounded(panel('api_analytics: Requests by outcome', $variables, '6h'), 0, 'time', 'success', '4xx', '429', '5xx', 'other errors'),
		rounded(plain(qq{SELECT floor(extract(epoch FROM of_hour) / 21600) * 21600 AS time, count(*) FILTER (WHERE status < 400) AS success,
				count(*) FILTER (WHERE status BETWEEN 400 AND 499 AND status <> 429) AS "4xx", count(*) FILTER (WHERE status = 429) AS "429",
				count(*) FILTER (WHERE status >= 500) AS "5xx", 0 AS "other errors" $requests GROUP BY 1 ORDER BY 1}),
			0, 'time', 'success', '4xx', '429', '5xx', 'other errors'), "outcomes of $of by six hours");
	is_deeply(
		rounded(panel('api_analytics: Endpoints', $variables), 4, 'method', 'endpoint', 'requests', 'error_rate'),
		rounded(plain("SELECT method, endpoint, count(*) AS requests, 100.0 * count(*) FILTER (WHERE status >= 400) / count(*) AS error_rate
			$requests GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 50"), 4, 'method', 'endpoint', 'requests', 'error_rate'), "endpoints of $of");
	is_deeply(
		rounded(panel('cost: Cost by service', $variables, '1d'), 9, 'time', 'metric', 'value'),
		rounded(plain("SELECT floor(extract(epoch FROM of_hour) / 86400) * 86400 AS time, service AS metric, sum(cost) AS value FROM raw
			WHERE cost IS NOT NULL$where GROUP BY 1, 2 ORDER BY 1, 2"), 9, 'time', 'metric', 'value'), "cost of $of by day and service");
	is_deeply(
		rounded(panel('cost: In the range', $variables), 9, 'cost'),
		rounded(plain("SELECT COALESCE(sum(cost), 0) AS cost FROM raw WHERE true$where"), 9, 'cost'), "cost of $of");
}

# Rates of endpoints add up to the requests of the interval.
is_deeply(
	rounded(plain('SELECT extract(epoch FROM of_hour) AS time, count(*)::numeric AS requests FROM raw WHERE metric = \'api_requests\' GROUP BY 1 ORDER BY 1'), 0, 'time', 'requests'),
	do
	{
		my %sum;
		$sum{ $_->{time} } += 3600 * $_->{value} for @{ panel('api_analytics: Request rate by endpoint') };
		[ map { sprintf '%d|%.0f', $_, $sum{$_} } sort { $a <=> $b } keys %sum ];
	},
	'rates by endpoint are those of the log');
is_deeply(
	rounded(panel('tenant_analytics: Usage by tenant', { metric => 'llm_tokens' }), 0, 'time', 'metric', 'value'),
	rounded(plain("SELECT extract(epoch FROM of_hour) AS time, tenant AS metric, sum(quantity) AS value FROM raw WHERE metric = 'llm_tokens'
		GROUP BY 1, 2 ORDER BY 1, 2"), 0, 'time', 'metric', 'value'), 'tokens by tenant and hour');
is_deeply(
	rounded(panel('cost: Tokens by model', {}, '1d'), 0, 'time', 'metric', 'value'),
	rounded(plain("SELECT floor(extract(epoch FROM of_hour) / 86400) * 86400 AS time, metadata ->> 'model' AS metric, sum(quantity) AS value FROM raw
		WHERE metric = 'llm_tokens' GROUP BY 1, 2 ORDER BY 1, 2"), 0, 'time', 'metric', 'value'), 'tokens by model and day');
is_deeply(
	rounded(panel('cost: Total by day, week or month', { bucket => 'month' }), 6, 'cost'),
	rounded(plain("SELECT sum(cost) AS cost FROM meter.event WHERE superseded_by IS NULL AND cost IS NOT NULL
		AND at >= date_trunc('month', timestamptz '$from', 'UTC') GROUP BY date_trunc('month', at, 'UTC') ORDER BY date_trunc('month', at, 'UTC')"), 6, 'cost'), 'whole months');
is_deeply(
	panel('data_pipeline: Why they were rejected'),
	plain("SELECT source, tenant, sqlstate, reason, count(*) AS events, max(rejected_at) AS last FROM meter.rejected_event
		GROUP BY 1, 2, 3, 4 ORDER BY events DESC, source, tenant, sqlstate, reason"), 'what was rejected, and why');
# whoever rolls up, here no background worker
my ($rollup) = grep { $_->{job} eq 'rollup' } @{ panel('data_pipeline: Jobs') };
ok(defined $rollup->{last_run}, 'when the last rollup was');
# Users are kept by day: those of the days that the range touches, however short it is.
for my $since ($from, ask(qq{SELECT to_char((timestamptz '$to' - interval '1 second') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')}))
{
	my $whole = $from;
	$from = $since;
	my $users = panel('api_analytics: Users')->[0]{users};
	$from = $whole;
	is($users, ask("SELECT count(DISTINCT (tenant, user_id)) FROM meter.event WHERE metric = 'api_requests' AND user_id IS NOT NULL
			AND at >= date_trunc('day', timestamptz '$since', 'UTC')"), "users since $since");
}
is((panel('api_analytics: Sizes of responses')->[0]{largest}), 4000000, 'the largest response');
is((panel('api_analytics: Sizes of responses')->[0]{p95}), 3800000, 'and that of which 95 % are no larger');
is(scalar @{ panel('tenant_analytics: Violations') }, 1, 'the attempt to reach another tenant is there');
# of which more of the month has passed with each look
my $earlier = ask('SELECT expected FROM meter_project(NULL)');
my ($expected) = map { $_->{expected} } @{ panel('cost: Projected month') };
my ($low, $high) = sort { $a <=> $b } $earlier, ask('SELECT expected FROM meter_project(NULL)');
ok($expected >= 0.98 * $low && $expected <= 1.02 * $high, 'the projection is that of meter_project()')
  or diag "$expected is not from $low to $high";
my ($budget) = grep { ($_->{tenant} // '') eq 'acme' } @{ panel('cost: Budgets') };
is_deeply(rounded([$budget], 9, 'spent', 'percent', 'status'),
	rounded(plain(q{SELECT sum(cost) AS spent, round(100 * sum(cost) / 0.01, 2) AS percent, 'exceeded' AS status FROM meter.event
		WHERE tenant = 'acme' AND superseded_by IS NULL AND at >= date_trunc('month', now(), 'UTC')}), 9, 'spent', 'percent', 'status'),
	'what acme has spent of its budget');
# an hour's level of a tenant, from the samples themselves; the running hour goes on
my $running = ask("SELECT extract(epoch FROM date_trunc('hour', timestamptz '$to'))");
is_deeply(
	rounded([ grep { $_->{metric} eq 'acme' && $_->{time} < $running } @{ panel('tenant_analytics: Level by tenant', { gauge => 'storage_gb' }) } ], 4, 'time', 'value'),
	rounded(plain(qq{
		WITH sample AS (
			SELECT at, lead(at, 1, '$to') OVER (ORDER BY at) AS until, quantity FROM meter.event WHERE tenant = 'acme' AND metric = 'storage_gb'
		), hour AS (
			SELECT h AS from_at, h + interval '1 hour' AS to_at
			FROM generate_series(date_trunc('hour', timestamptz '$from') + interval '1 hour', timestamptz '$to' - interval '1 hour', interval '1 hour') AS h
		)
		SELECT extract(epoch FROM h.from_at) AS time, sum(quantity * extract(epoch FROM LEAST(until, to_at) - GREATEST(at, from_at)))
			/ sum(extract(epoch FROM LEAST(until, to_at) - GREATEST(at, from_at))) AS value
		FROM hour AS h JOIN sample AS s ON s.at < h.to_at AND s.until > h.from_at GROUP BY 1 ORDER BY 1}), 4, 'time', 'value'),
	'the level of storage is that of its samples');

# --- values that want to be more ---------------------------------------------------

# None is a tenant's name, so nothing may be found, and nothing may happen.
for my $value (q{' OR ''='}, q{acme' --}, q{'); DROP TABLE meter.plan; --}, q{\\'); SELECT 1; --}, q{acme\\}, q{'}, q{''}, q{" OR "1"="1},
	q{acme' UNION SELECT usename FROM pg_user; --}, q{$1}, q{${service}}, q{$$})
{
	is(panel('api_analytics: Requests', { tenant => $value })->[0]{requests}, undef, "no requests of $value");
	is_deeply(panel('cost: Endpoints', { tenant => 'acme', service => $value }), [], "no costs of service $value");
	is_deeply(panel('data_pipeline: Events by metric', { tenant => [ $value, $value ] }), [], "no events of several $value");
}
# Macros are expanded within values, too: that can end in an error, and in nothing else.
for my $value (q{$__timeFrom()}, q{$__timeFilter(tenant)}, q{$__timeFilter(' OR true OR ')}, q{$__timeGroup(' OR true --,1h)})
{
	my $rows = eval { panel('cost: Endpoints', { tenant => $value }) };
	ok(!defined $rows || @$rows == 0, "no costs of $value");
}

# And the role could not do more by any SQL.
for my $sql ('DELETE FROM meter.event', 'SELECT meter_flush()', q{SELECT meter_track('acme')}, 'UPDATE meter.budget SET amount = 1',
	'CREATE TABLE public.mine (x integer)', q{COPY meter.event TO PROGRAM 'true'}, 'SELECT * FROM tenant_blue.secret')
{
	my (undef, undef, $stderr) = $node->psql('postgres', "SET default_transaction_read_only = off; BEGIN; $sql; COMMIT",
		extra_params => [ '-U', 'grafana' ]);
	like($stderr, qr/ERROR:  (?:permission denied|must be superuser)/, "Grafana may not: $sql");
}
is(ask(q{SELECT count(*) FROM pg_auth_members WHERE member = 'grafana'::regrole}), 0, 'the role belongs to no other');

# --- provisioning ------------------------------------------------------------------

for my $file ('datasources/meter.yaml', 'dashboards/meter.yaml')
{
	open my $in, '<', "$grafana/provisioning/$file" or die "$file: $!";
	my $text = do { local $/; <$in> };
	like($text, qr/^apiVersion: 1$/m, "$file is of the first version");
	unlike($text, qr/\t/, 'YAML has no tabs');
	unlike($text, qr/password: (?!\$)/, 'no password is in it');
}
$node->stop;
done_testing();

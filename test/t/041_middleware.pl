# 041_middleware.pl: the middlewares of examples/middleware, in front of real APIs.
#
# Each of the small APIs beside them is started as its first lines say, and asked
# as a client would: what is admitted, what is refused and with which headers,
# what has become of errors, and what is in the log afterwards.  Then the
# database is stopped, and the API has to go on without limits.
#
# Where Node, Python or PHP is missing, or the packages that an example needs,
# that example is skipped.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP;
use MeterTest qw(ask start_node);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $examples = "$FindBin::RealBin/../../examples/middleware";
my $log = $PostgreSQL::Test::Utils::log_path;
my $tries = 10 * $PostgreSQL::Test::Utils::timeout_default;

# name, how it is started, how it is found out whether that can be, what it
# answers to a call that it accepts, the route of /api/users/42, and whether
# /api/fail is there
my @apis = (
	[ 'Express', [ 'node', 'server.js', 'express' ], [ 'node', '-e', 'require("pg"); require("express")' ], 202, '/api/users/:id', 1 ],
	[ 'Fastify', [ 'node', 'server.js', 'fastify' ], [ 'node', '-e', 'require("pg"); require("fastify")' ], 202, '/api/users/:id', 0 ],
	[ 'Node', [ 'node', 'server.js', 'http' ], [ 'node', '-e', 'require("pg")' ], 200, '/api/users/:id', 0 ],
	[ 'Laravel', [ 'php', '-S', '127.0.0.1:PORT', 'laravel.php' ],
		[ 'php', '-r', 'require "Illuminate/autoload.php"; new PDO("pgsql:host=$argv[1];port=$argv[2];dbname=postgres;user=api_meter");' ],
		202, '/api/users/{id}', 1 ],
	[ 'ASGI', [ '/usr/bin/python3', 'app.py', 'starlette' ],
		[ '/usr/bin/python3', '-c', 'import psycopg, psycopg_pool, starlette, uvicorn' ], 202, '/api/users/:id', 1 ],
	[ 'WSGI', [ '/usr/bin/python3', 'app.py', 'wsgi' ], [ '/usr/bin/python3', '-c', 'import psycopg, psycopg_pool' ],
		200, '/api/users/:id', 0 ]);

my $node = start_node('middleware', "shared_preload_libraries = 'meter'\n");
ask('CREATE EXTENSION meter CASCADE');
ask(slurp_file("$examples/setup.sql"));
# what comes back within the test must not matter
ask(q{UPDATE meter.rate_limit SET per = 'day' WHERE resource = 'POST /api/bulk'});
# nor that an answer takes long on a slow machine
ask(q{ALTER ROLE api_meter SET statement_timeout = '1min'});

$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';
# where Laravel keeps its cache
$ENV{TMPDIR} = PostgreSQL::Test::Utils::tempdir();

sub can_run
{
	my (@command) = @_;
	push @command, $node->host, $node->port if $command[0] eq 'php';
	my $output = '';
	return eval { IPC::Run::run([@command], '<', \undef, '>', \$output, '2>&1') } ? 1 : 0;
}

my %running;

END
{
	# their ends are not ours
	my $status = $?;
	$_->kill_kill(grace => 5) for values %running;
	$? = $status;
}

# Starts an API; returns where it listens once it answers.
sub start_api
{
	my ($name, @command) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	local ($ENV{PORT}, $ENV{PGUSER}) = ($port, 'api_meter');
	s/PORT/$port/ for @command;
	$running{$name} = IPC::Run::start([@command], '<', \undef, '>', "$log/$name.out", '2>', "$log/$name.err",
		init => sub { chdir $examples });
	my $client = HTTP::Tiny->new(timeout => 5);
	for (1 .. $tries)
	{
		return "http://127.0.0.1:$port" if $client->get("http://127.0.0.1:$port/health")->{status} != 599;
		usleep(100_000);
	}
	die "$name does not answer: " . slurp_file("$log/$name.err");
}

sub request
{
	my ($base, $method, $path, $tenant) = @_;
	return HTTP::Tiny->new(timeout => 20)
	  ->request($method, "$base$path", { headers => { 'X-Tenant' => $tenant, 'X-User' => 'ann' } });
}

my %base;
for my $api (@apis)
{
	my ($name, $start, $check, $accepted, $route, $can_fail) = @$api;
  SKIP:
	{
		skip "$name is not here", 1 if !can_run(@$check);
		my ($tenant, $other) = (lc $name, lc $name . ' 2');
		ask("INSERT INTO meter.tenant (tenant, plan) VALUES ('$other', 'free')");
		my $base = $base{$name} = start_api($name, @$start);

		# without limits until it has connected to the database, which it does not wait for long
		for (1 .. $tries)
		{
			last if exists request($base, 'POST', '/api/bulk', "$tenant 0")->{headers}{'x-ratelimit-limit'};
			usleep(100_000);
		}

		my @statuses = map { request($base, 'POST', '/api/bulk', $tenant)->{status} } 1 .. 6;
		is("@statuses", join(' ', ($accepted) x 5, 429), "$name: five calls are accepted, the sixth is refused");

		my $refused = request($base, 'POST', '/api/bulk', $tenant);
		my $headers = $refused->{headers};
		is($headers->{'x-ratelimit-limit'}, 5, 'with the limit in a header');
		like($headers->{'retry-after'}, qr/^1[67]\d{3}$/, 'and when to come back: a fifth of a day');
		like($headers->{'content-type'}, qr{^application/problem\+json}, 'its body is a problem');
		is(decode_json($refused->{content})->{rule}, '5 requests/day of POST /api/bulk', 'that names the rule');

		my $user = request($base, 'GET', '/api/users/42', $other);
		is($user->{status}, 200, 'another tenant is let through');
		is($user->{headers}{'x-quota-limit'}, 10000, 'and told its quota');
		is(request($base, 'GET', '/api/users/42', 'x' x 129)->{status}, 400, 'a tenant that cannot be counted is refused');
		is(request($base, 'GET', '/api/fail', $other)->{status}, 500, 'a fault of the API stays one') if $can_fail;

		my $expected = join "\n", sort "$tenant|POST|/api/bulk|$accepted|5", "$tenant|POST|/api/bulk|429|2",
		  "$other|GET|$route|200|1", $can_fail ? "$other|GET|/api/fail|500|1" : ();
		# events of requests come after their answers
		my $found = '';
		for (1 .. $tries)
		{
			$found = join "\n", sort split /\n/, ask(qq{SELECT tenant, method, endpoint, status, count(*)
				FROM meter.event WHERE tenant IN ('$tenant', '$other') GROUP BY 1, 2, 3, 4});
			last if $found eq $expected;
			usleep(100_000);
		}
		is($found, $expected, 'what was called is in the log');
	}
}

# Without a database, requests go on, and their events are in the API's own log.
$node->stop('immediate');
for my $api (@apis)
{
	my ($name) = @$api;
  SKIP:
	{
		skip "$name is not here", 1 if !$base{$name};
		my $answer = request($base{$name}, 'GET', '/api/users/42', 'hooli');
		is($answer->{status}, 200, "$name: without a database the API goes on");
		ok(!exists $answer->{headers}{'x-quota-limit'}, 'without limits');
		my $told = '';
		for (1 .. $tries)
		{
			$told = slurp_file("$log/$name.err") . slurp_file("$log/$name.out");
			last if $told =~ /lost/;
			usleep(100_000);
		}
		like($told, qr/lost \{.*"tenant": ?"hooli"/, 'and says what it could not track');
	}
}

done_testing();

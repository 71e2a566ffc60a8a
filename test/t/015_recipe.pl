# 015_recipe.pl: the middlewares of examples/middleware, as far as SQL goes.
#
# Their statements are taken out of the files and run as the role of setup.sql;
# the function for PostgREST is called in the transactions that PostgREST makes,
# with the same settings.  And what doc/recipes.md shows is what the files have.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use MeterTest qw(start_node wait_for_flush ask);
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $examples = "$top/examples/middleware";

my $node = start_node('recipe', "shared_preload_libraries = 'meter'\nlog_statement = none\n");

# What a session of a role prints: (what it returns, errors with SQLSTATE).
sub session_of
{
	my ($role, $sql) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql",
		on_error_stop => 0, extra_params => [ '-U', $role ]);
	return ($stdout, $stderr);
}

ask('CREATE EXTENSION meter CASCADE; CREATE ROLE web_anon; CREATE ROLE web_user;
	CREATE ROLE authenticator LOGIN NOINHERIT; GRANT web_anon, web_user TO authenticator');
ask(slurp_file("$examples/$_")) for qw(setup.sql postgrest.sql);

# The statements, with parameters as SQL has them

sub statements
{
	my ($file, $pattern) = @_;
	my $text = slurp_file("$examples/$file");
	my %found;

	while ($text =~ /$pattern/g)
	{
		my ($name, $sql) = ($1, $2);
		my $n = 0;
		$sql =~ s/%s|\?/'$' . ++$n/ge;
		$sql =~ s/\s+/ /g;
		$sql =~ s/^ | $//g;
		$found{$name} = $sql;
	}
	return \%found;
}

my $statement = statements('meter.js', qr/const (CHECK|TRACK) = `(.*?)`/s);
is(join(' ', sort keys %$statement), 'CHECK TRACK', 'meter.js has two statements');
is_deeply(statements('meter.py', qr/^(CHECK|TRACK) = """(.*?)"""/ms), $statement, 'meter.py has the same');
is_deeply(statements('Meter.php', qr/const (CHECK|TRACK) = <<<'SQL'\n(.*?)\n *SQL;/s),
	$statement, 'Meter.php has the same');
# with a time limit for a busy machine; the role's own is seen below
my $prepare = "SET statement_timeout = '60s'; PREPARE c AS $statement->{CHECK}; PREPARE t AS $statement->{TRACK};";

# The limit of setup.sql is 5 a minute of this endpoint.
my ($out, $errors) = session_of('api_meter',
	$prepare . q{EXECUTE c ('globex', 'POST /api/bulk', 'ann');} x 6
	. q{EXECUTE t ('globex', '/api/bulk', 'POST', 202, 1.5, 'ann');
		EXECUTE t ('globex', '/api/bulk', 'POST', 202, 1.5, NULL)});
my @rows = map { [ split /\|/, $_, 4 ] } grep { /\|/ } split /\n/, $out;
is($errors, '', 'the role api_meter may run the statements, prepared');
is(join(' ', map { "$_->[0]:$_->[1]" } @rows), 't:ok ' x 5 . 'f:rate', 'five calls are let through');
my $first = decode_json($rows[0][3]);
is("$first->{'X-RateLimit-Limit'} $first->{'X-RateLimit-Remaining'}", '5 4', 'with headers');
ok(!exists $first->{'Retry-After'}, 'which say nothing of a retry');
my $refused = decode_json($rows[5][3]);
like($refused->{'Retry-After'}, qr/^([1-9]|1[0-2])$/, 'the sixth has the header Retry-After');
is($rows[5][2], '5 requests/minute of POST /api/bulk', 'and the rule');

wait_for_flush();
is(ask(q{SELECT tenant, method, endpoint, status, latency_ms, user_id, quantity FROM meter.event ORDER BY seq}),
	"globex|POST|/api/bulk|429||ann|0\nglobex|POST|/api/bulk|202|1.5|ann|1\nglobex|POST|/api/bulk|202|1.5||1",
	'meter_check has tracked the refused call, and both are of the same endpoint');

($out) = session_of('api_meter', $prepare . q{EXECUTE c ('acme', 'GET /' || repeat('x', 5000), 'ann')});
like($out, qr/^t\|ok\|500 requests\/minute\|.*"X-Quota-Limit": "100000"/,
	'a path of any length can be asked for; the plan limits it');
($out, $errors) = session_of('api_meter', $prepare . q{EXECUTE c (repeat('x', 129), 'GET /', 'ann')});
like($errors, qr/ERROR:  22023:/, 'a name that is too long is an error of class 22');
($out, $errors) = session_of('api_meter', 'SHOW statement_timeout; SELECT count(*) FROM meter.event');
is($out, '1s', 'no statement of the role takes long');
like($errors, qr/ERROR:  42501:/, 'and it reads nothing');

ask(q{INSERT INTO meter.rate_limit (resource, per, max) VALUES ('GET /count', 'day', 1000);
	SELECT d.allowed, meter_headers(d) FROM meter_check('once', 'GET /count') AS d;
	SELECT (meter_check('often', 'GET /count')).*});
is(ask(q{SELECT tenant, allowed FROM meter.rate_limit_status WHERE resource = 'GET /count' ORDER BY tenant}),
	"often|15\nonce|1", 'the function is in FROM because .* would call it for each field');

# PostgREST

ask(q{CREATE SCHEMA api; CREATE TABLE api.orders (id integer); INSERT INTO api.orders VALUES (1);
	GRANT USAGE ON SCHEMA api TO web_anon, web_user; GRANT SELECT ON api.orders TO web_anon, web_user;
	INSERT INTO meter.rate_limit (resource, per, max) VALUES ('GET /orders', 'minute', 2)});

# A request: (rows of the main query, headers, errors).
sub request
{
	my ($role, $claims, $method, $path) = @_;
	my $mode = $method =~ /GET|HEAD/ ? 'READ ONLY' : 'READ WRITE';
	my $settings = join ', ', map { s/'/''/gr =~ s/^(\S+) (.*)$/set_config('$1', '$2', true)/sr }
	  'search_path "api", "public"', "role $role", "request.jwt.claims $claims", "request.method $method",
	  "request.path $path", 'request.headers {"host":"localhost"}', 'request.cookies {}';
	my ($stdout, $stderr) = session_of('authenticator', qq{
		START TRANSACTION ISOLATION LEVEL READ COMMITTED $mode;
		SELECT $settings \\g /dev/null
		SELECT "meter_hook"."pre_request"() \\g /dev/null
		SELECT count(*), nullif(current_setting('response.headers', true), '') FROM api.orders;
		COMMIT});
	my ($count, $headers) = split /\|/, $stdout, 2;
	return ($count, $headers ? decode_json($headers) : undef, $stderr);
}

my $ann = '{"role":"web_user","tenant":"acme","sub":"ann"}';
my ($count, $headers) = request('web_user', $ann, 'GET', '/orders');
is($count, 1, 'a request goes through');
is_deeply([ grep { ref ne 'HASH' || keys %$_ != 1 || ref +(values %$_)[0] } @$headers ],
	[], 'response.headers is an array of objects with one text each');
my %header = map { %$_ } @$headers;
is("$header{'X-RateLimit-Limit'} $header{'X-RateLimit-Remaining'} $header{'X-Quota-Limit'}",
	'2 1 100000', 'they are of the tenant and the endpoint');

($count) = request('web_user', $ann, 'HEAD', '/%6Frders');
is($count, 1, 'so does the same one written in another way');
($count, $headers, $errors) = request('web_user', $ann, 'GET', '/orders');
is($count, undef, 'the third does not');
my ($message, $detail) = $errors =~ /ERROR:  PGRST: (.*)\n.*DETAIL:  (.*)/;
$message = decode_json($message);
$detail = decode_json($detail);
is("$message->{code} $message->{message} $message->{details}",
	'PT429 rate limit exceeded 2 requests/minute of GET /orders', 'its body says why');
is($detail->{status}, 429, 'its status is 429');
like($detail->{headers}{'Retry-After'}, qr/^([1-9]|[12][0-9]|30)$/, 'and it has the header Retry-After');

($count) = request('web_anon', '{"role":"web_anon"}', 'POST', '/rpc/f');
is($count, 1, 'a request without a token is that of a tenant');
($count, $headers, $errors) =
  request('web_user', '{"tenant":"' . 'x' x 129 . '"}', 'GET', '/orders');
like($errors, qr/ERROR:  22023:/, 'a tenant that cannot be counted is refused');
($count, $headers, $errors) = session_of('authenticator', q{SET ROLE web_user; SELECT meter_track('acme')});
like($headers, qr/ERROR:  42501:/, 'who calls the API may call nothing of meter himself');

ask('REVOKE EXECUTE ON FUNCTION meter_check FROM meter_hook');
($count, $headers, $errors) = request('web_user', $ann, 'GET', '/orders');
is($count, 1, 'a fault of meter lets requests go on');
like($errors, qr/WARNING:  01000: meter: permission denied/, 'with a warning');

wait_for_flush();
is( ask(q{SELECT tenant, method, endpoint, status, user_id FROM meter.event
		WHERE endpoint IN ('/orders', '/rpc/f') ORDER BY seq}),
	"acme|GET|/orders||ann\nacme|HEAD|/orders||ann\nacme|GET|/orders|429|ann\nanonymous|POST|/rpc/f||",
	'all are tracked');

$node->stop;

# The languages, where they are installed

my @parsers = (
	[ 'node', 'node --check', 'meter.js', 'server.js' ],
	[ 'php', 'php -l', 'Meter.php', 'laravel.php' ],
	[ 'python3', q{python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())'}, 'meter.py', 'app.py' ]);
for my $parser (@parsers)
{
	my ($program, $command, @names) = @$parser;
  SKIP:
	{
		skip "there is no $program", scalar @names if system("$program --version >/dev/null 2>&1") != 0;
		is(system("$command '$examples/$_' >/dev/null"), 0, "$program can parse $_") for @names;
	}
}

# The page

sub squeezed
{
	my ($text) = @_;
	$text =~ s/^[ \t]+//mg;
	return $text;
}

my $files = join "\n", map { squeezed(slurp_file($_)) } glob "$examples/*";
my $page = slurp_file("$top/doc/recipes.md");
my $blocks = 0;
while ($page =~ /^```(js|php|python|sql)\n(.*?)^```$/msg)
{
	my ($language, $block) = ($1, $2);
	$blocks++;
	chomp $block;
	# A page can run a statement with parameters only as PREPARE
	$block =~ s/;\z// if $block =~ s/\APREPARE .* AS\b.*\n//;
	ok(index($files, squeezed($block)) >= 0, 'the page shows what is in a file: ' . (split /\n/, $block)[0]);
}
cmp_ok($blocks, '>=', 8, 'the page shows parts of the files');

done_testing();

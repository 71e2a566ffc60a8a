# 014_limit_restart.pl: limits across restarts, crashes, late starts and copies.
#
# What is taken of limits is in shared memory and, as it was when it was saved,
# in a file.  A clean restart gives nobody anything, so what is left afterwards
# is known but for the time it took, which is measured by the clock of the day.
# A crash gives no more than was taken since the last save, whose time is in the
# file; and what was tracked counts for quotas in any case, which is compared
# with plain SQL over the raw events.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use MeterTest qw(
  ask at_once close_session continue_process daytime_zone in_session kill_child kill_server
  ok_until open_session session start_again start_node start_script stop_process tell_session
  wait_for_flush wait_until
);
use List::Util qw(sum);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $clients = 8;
my $tempdir = PostgreSQL::Test::Utils::tempdir;

my $node = start_node('limits', q{
shared_preload_libraries = 'meter'
meter.flush_interval = 200
meter.rollup_interval = 0
meter.save_interval = 1
restart_after_crash = on
max_connections = 60
max_worker_processes = 20
autovacuum = off
log_statement = none
log_line_prefix = '%m [%p] %b '
max_wal_size = 1GB
}, allows_streaming => 1);
my $file = $node->data_dir . '/pg_meter/limits';
ask('CREATE EXTENSION meter CASCADE');
my $zone = daytime_zone();

# How many of so many calls are let through.
sub admitted
{
	my ($tenant, $resource, $calls, $where) = @_;
	return ask("SELECT count(*) FILTER (WHERE meter_allow('$tenant', '$resource')) FROM generate_series(1, $calls)",
		$where);
}

# Changes the configuration of a server that is down, or will be restarted or
# reloaded.
sub configure
{
	my (%settings) = @_;
	$node->adjust_conf('postgresql.conf', $_, $settings{$_}) for sort keys %settings;
	return;
}

sub write_file
{
	my ($path, $content) = @_;
	open my $handle, '>:raw', $path or die "$path: $!";
	print $handle $content;
	close $handle;
	return;
}

# When the file was saved, in seconds since 1970.
sub saved_at
{
	my ($us) = unpack 'q', substr(slurp_file($file), 24, 8);
	return $us / 1e6 + 946_684_800;
}

# --- a clean restart ---------------------------------------------------------

# Buckets that refill slowly, fast and never, of requests and cost, windows, of
# tenants and users, with short names and the longest.
my $long = 'n' x 128;
ask(qq{
	INSERT INTO meter.plan (plan) VALUES ('a');
	INSERT INTO meter.tenant (tenant, plan, time_zone) VALUES
		('t', NULL, '$zone'), ('planned', 'a', '$zone'), ('$long', NULL, '$zone');
	INSERT INTO meter.rate_limit (tenant, plan, resource, unit, per, max, burst, kind, per_user) VALUES
		(NULL, NULL, 'slow', 'requests', 'day', 86400, 1000, 'bucket', false),
		(NULL, NULL, 'slow', 'cost', 'hour', 7200, 5000, 'bucket', false),
		(NULL, NULL, 'slow', 'requests', 'hour', 3600, 900, 'bucket', true),
		(NULL, NULL, 'fast', 'requests', 'second', 1000, 1000, 'bucket', false),
		(NULL, NULL, 'never', 'requests', 'day', 0, 50, 'bucket', false),
		(NULL, NULL, 'window', 'requests', 'month', 1000, NULL, 'window', false),
		(NULL, NULL, 'window', 'cost', 'day', 1000, NULL, 'window', false),
		(NULL, NULL, 'window', 'requests', 'day', 300, NULL, 'window', true),
		(NULL, 'a', 'planned', 'requests', 'day', 0, 60, 'bucket', false),
		('t', NULL, 'own', 'requests', 'day', 0, 70, 'bucket', false);
	CREATE TABLE instant (name text, at timestamptz);
	SELECT count(meter_allow(t, 'slow', 1.5, u)), count(meter_allow(t, 'never')), count(meter_allow(t, 'fast')),
		count(meter_allow(t, 'window', 0.7, u))
	FROM unnest(ARRAY['t', '$long']) AS t, unnest(ARRAY['u', '$long']) AS u, generate_series(1, 200);
	SELECT count(meter_allow('planned', 'planned')) FROM generate_series(1, 25);
	SELECT count(meter_allow('t', 'own')) FROM generate_series(1, 80)});

# Notes the state under a name, and the times before and after.
sub note_state
{
	my ($name) = @_;
	ask(qq{
		INSERT INTO instant VALUES ('$name', clock_timestamp());
		CREATE TABLE state_$name AS
		SELECT s.*, r.max / CASE r.per WHEN 'second' THEN 1 WHEN 'hour' THEN 3600 ELSE 86400 END AS rate
		FROM meter.rate_limit_status AS s JOIN meter.rate_limit AS r ON r.id = s.rule_id;
		INSERT INTO instant VALUES ('$name', clock_timestamp())});
	return;
}

# Of each bucket and window, what it was and is: used and how much it can have
# refilled in between, at least and at most.
sub compare_states
{
	my ($first, $second) = @_;
	return "WITH t AS (
			SELECT extract(epoch FROM b.begin - a.end) - 0.00001 AS least, extract(epoch FROM b.end - a.begin) + 0.00001 AS most
			FROM (SELECT min(at) AS begin, max(at) AS end FROM instant WHERE name = '$first') AS a
			CROSS JOIN (SELECT min(at) AS begin, max(at) AS end FROM instant WHERE name = '$second') AS b)
		SELECT CASE kind WHEN 'window' THEN b.used = a.used AND b.reset_at = a.reset_at
			ELSE b.used BETWEEN GREATEST(a.used - rate * most, 0) AND GREATEST(a.used - rate * least, 0) END AS fits,
			b.allowed = a.allowed AND b.refused = a.refused AS counted
		FROM state_$first AS a FULL JOIN (
			SELECT tenant, user_id, rule_id, used, reset_at, allowed, refused FROM state_$second) AS b
			ON b.tenant = a.tenant AND b.user_id IS NOT DISTINCT FROM a.user_id AND b.rule_id = a.rule_id
		CROSS JOIN t";
}

note_state('first');
# those that refill fast may be full again by now
is(ask('SELECT count(*), count(*) FILTER (WHERE used = 0 AND rate < 1000), sum(allowed + refused) FROM state_first'), '22|0|6505',
	'there is something taken of each limit');
my $previous = 'first';
for my $mode ('fast', 'smart', 'again')
{
	$node->stop($mode eq 'again' ? 'fast' : $mode);
	$node->start;
	note_state($mode);
	is( ask("SELECT count(*), count(*) FILTER (WHERE fits), count(*) FILTER (WHERE counted) FROM ("
			  . compare_states($previous, $mode) . ') AS c'),
		'22|22|22', "restart, $mode: nobody has gained or lost anything, and all counts are there");
	$previous = $mode;
}
is( join(' ', map { admitted(@$_, 200) } [ 't', 'never' ], [ $long, 'never' ], [ 'planned', 'planned' ], [ 't', 'own' ]),
	'0 0 35 0', 'what is left is what was');
is(join(' ', map { admitted($_, 'window', 1000) } 't', $long), '600 600', 'of quotas, too');
is( ask(q{
		WITH c AS MATERIALIZED (
			SELECT count(*) FILTER (WHERE meter_allow('t', 'slow', 0.01, 'u')) AS n, clock_timestamp() AS at
			FROM generate_series(1, 1000))
		SELECT n BETWEEN floor(1000 - used) AND floor(1000 - used + extract(epoch FROM c.at - i.at))
		FROM c CROSS JOIN state_again CROSS JOIN (SELECT min(at) AS at FROM instant WHERE name = 'again') AS i
		WHERE tenant = 't' AND user_id IS NULL AND resource = 'slow' AND unit = 'requests'}),
	't', 'and of buckets that refill slowly');

# --- kill -9 -----------------------------------------------------------------

# Each client asks, and tracks what is let through; what it has printed is what
# it has got as an answer, and when.
ask(qq{
	INSERT INTO meter.tenant (tenant, time_zone) VALUES ('crash', '$zone'), ('full', '$zone');
	INSERT INTO meter.rate_limit (tenant, unit, per, max, burst, kind, per_user) VALUES
		('crash', 'requests', 'hour', 0, 1000000, 'bucket', false),
		('crash', 'requests', 'month', 1000000, NULL, 'window', false),
		('crash', 'cost', 'day', 1000000, NULL, 'window', false),
		('crash', 'requests', 'day', 1000000, NULL, 'window', true),
		('full', 'requests', 'day', 500, NULL, 'window', false)});
my $script = "$tempdir/ask.sql";
append_to_file($script, join '', map {
	"SELECT meter_allow('crash', '*', 0.25, :'user') AS ok, extract(epoch FROM clock_timestamp()) AS at \\gset
\\if :ok
SELECT meter_track('crash', user_id => :'user', cost => 0.25) AS nothing \\gset
\\endif
\\echo :at :ok
" } 1 .. 20_000);
# one that has asked so often stays to be killed
append_to_file($script, "SELECT pg_sleep(600) AS nothing \\gset\n");

sub used
{
	my ($unit, $per) = @_;
	return ask("SELECT COALESCE(sum(used), 0) FROM meter.rate_limit_status
		WHERE tenant = 'crash' AND unit = '$unit' AND per = '$per' AND user_id IS NULL");
}

my $runs = 0;

# Starts the clients and waits until so many more calls were let through.
sub start_load
{
	my ($calls) = @_;
	my $before = used('requests', 'hour');
	$runs++;
	my @load = map { start_script("client$_", $script, user => "u$_") } 1 .. $clients;
	wait_until("SELECT sum(used) >= $before + $calls FROM meter.rate_limit_status
		WHERE tenant = 'crash' AND unit = 'requests' AND per = 'hour'", 'the clients are at work');
	return @load;
}

# Waits for clients whose server is gone; returns the times of the calls that
# were let through.
sub finish_load
{
	my (@load) = @_;
	my @times;
	my $odd = '';
	for my $client (@load)
	{
		$client->{run}->finish;
		for (split /\n/, slurp_file($client->{output}))
		{
			if (/^([\d.]+) t$/) { push @times, $1 }
			else { $odd .= "$_\n" }
		}
		$odd .= join '', map { "$_\n" } grep { /ERROR/ } split /\n/, slurp_file($client->{errors});
	}
	is($odd, '', 'all calls were let through until the server was lost');
	return @times;
}

# Between the two calls of a client, and between the second and the end, one
# can be lost: so much may be counted and not be in the log, in each run.
sub check_quotas
{
	my ($when, $slack) = @_;
	my $tracked = ask(q{SELECT count(*) FROM meter.event WHERE tenant = 'crash' AND status IS NULL});
	cmp_ok($tracked, '>', 0, "$when: $tracked events are in the log");
	is( ask(q{SELECT sum(events), sum(cost) FROM meter.live WHERE tenant = 'crash'}),
		ask(q{SELECT count(*), sum(cost) FROM meter.event WHERE tenant = 'crash'}), "$when: as meter.live has it");
	for ([ 'requests', 'month', 1 ], [ 'cost', 'day', 0.25 ])
	{
		my ($unit, $per, $price) = @$_;
		my $more = used($unit, $per) / $price - $tracked;
		ok($more >= 0 && $more <= $slack, "$when: $unit of the $per are what was tracked")
		  or diag "used more: $more";
	}
	my $wrong = ask(qq{SELECT count(*) FROM (
			SELECT user_id, count(*) AS n FROM meter.event WHERE tenant = 'crash' GROUP BY 1) AS e
		FULL JOIN (SELECT user_id, used FROM meter.rate_limit_status
			WHERE tenant = 'crash' AND user_id IS NOT NULL) AS s USING (user_id)
		WHERE used IS NULL OR used < n OR used > n + $runs * ($slack > 0)::integer});
	is($wrong, '0', "$when: so is the quota of each user");
	return;
}

# Has each quota asked for, which starts it.
sub look
{
	ask(qq{SELECT count(meter_check('crash', '*', 0, 'u' || i)) FROM generate_series(1, $clients) AS i});
	return;
}

# Nothing but what was saved at the start; and a quota whose events all wait in
# the queue when the server is killed
configure('meter.save_interval' => 0, 'meter.flush_interval' => '1h');
$node->restart;
my @load = start_load(2000);
is( ask(q{SELECT count(*) FILTER (WHERE allowed) FROM (
		SELECT allowed, CASE WHEN allowed THEN meter_track('full') END
		FROM (SELECT meter_allow('full') AS allowed FROM generate_series(1, 600) OFFSET 0) AS c OFFSET 0) AS c}),
	'500', 'a quota is used up');
kill_server();
my @times = finish_load(@load);
start_again();
is(admitted('full', '*', 100), '0', 'after kill -9 it still is: what waited in the queue counts');
look();
ask('SELECT meter_flush()');
check_quotas('kill -9, not saved', 0);
is(used('requests', 'hour'), '0', 'without a save the bucket is as it was at the start');

# With saves
configure('meter.save_interval' => 1, 'meter.flush_interval' => 200);
$node->restart;
for my $round (1 .. 4)
{
	my $before = used('requests', 'hour');
	my $log_offset = -s $node->logfile;
	@load = start_load(1500 * $round);
	my $save = ask('SELECT saved_at FROM meter.limit_stats');
	wait_until("SELECT saved_at > '$save'::timestamptz FROM meter.limit_stats", 'all is saved again') if $round > 1;
	my $killed = $round % 2 ? 'the server' : 'a backend';

	# before, as a server that starts anew writes the file again
	my $saved_at = saved_at();
	if ($killed eq 'the server')
	{
		kill_server(postmaster_first => $round == 1);
		@times = finish_load(@load);
		start_again();
	}
	else
	{
		my $client = $round == 2 ? 1 : $clients;
		kill_child(ask("SELECT pid FROM pg_stat_activity WHERE application_name = 'client$client'"));
		@times = finish_load(@load);
	}
	look();
	wait_for_flush();
	check_quotas("kill -9 of $killed, round $round", $clients * $runs);
	my $saved = grep { $_ <= $saved_at } @times;
	my $used = used('requests', 'hour') - $before;
	note scalar(@times), " calls, $saved of them before the last save, $used of them known";
	ok($used >= $saved && $used <= @times + $clients,
		"I8, I9: kill -9 of $killed, round $round: nobody has gained more than what was taken since the last save")
	  or diag "used $used, saved $saved, all " . @times;
	unlike(slurp_file($node->logfile, $log_offset), qr/ignored file/, '... and the file was found whole');
}

# --- an immediate shutdown ---------------------------------------------------

# Of a server with a session that was stopped while it had a lock: nobody can
# get that any more, and nothing may wait for it.
{
	my $busy = open_session();
	my $other = open_session();
	my $pid = in_session($busy, 'SELECT pg_backend_pid()');
	in_session($other, 'SELECT 1');
	my $held = 0;
	chomp $pid;
	tell_session($busy, q{SELECT count(meter_allow('locked', 'fast')) FROM (SELECT generate_series(1, 2000000000)) AS s});
	wait_until("SELECT state = 'active' FROM pg_stat_activity WHERE pid = $pid", 'a session makes calls');
	for (1 .. 300)
	{
		stop_process($pid);
		tell_session($other, q{SELECT meter_allow('locked', 'fast')});

		# not asked of the server, which may need the same lock
		for (1 .. 1000)
		{
			$other->{run}->pump_nb;
			last if $other->{out} =~ /\(done\)/;
			usleep(1000);
		}
		$held = $other->{out} !~ /\(done\)/;
		last if $held;
		continue_process();
		usleep(500 + rand 2000);
	}
	note 'no session was caught with a lock' if !$held;
	my $log_offset = -s $node->logfile;
	my $stop = IPC::Run::start([ 'pg_ctl', '-D', $node->data_dir, '-m', 'immediate', 'stop' ], '>', \my $out, '2>&1');
	$node->wait_for_log(qr/received immediate shutdown request/, $log_offset);
	continue_process() if $held;
	ok($stop->finish, 'a server with a session that has a lock can be stopped at once');
	$node->_update_pid(0);
	unlike(slurp_file($node->logfile, $log_offset), qr/PANIC/, 'and does not panic');
	eval { $_->{run}->kill_kill } for $busy, $other;
	$node->start;
	like(ask(q{SELECT meter_allow('locked', 'fast')}), qr/^[tf]$/, 'it starts again');
}

# --- files that cannot be used -----------------------------------------------

# Of another cluster
my $stranger = PostgreSQL::Test::Cluster->new('stranger');
$stranger->init;
$stranger->append_conf('postgresql.conf', q{shared_preload_libraries = 'meter'});
$stranger->start;
ask(q{CREATE EXTENSION meter CASCADE;
	INSERT INTO meter.rate_limit (per, max, burst) VALUES ('day', 0, 5);
	SELECT meter_allow('full')}, $stranger);
$stranger->stop;
my $foreign = slurp_file($stranger->data_dir . '/pg_meter/limits');

sub changed
{
	my ($content, $offset, $bytes) = @_;
	substr $content, $offset, length $bytes, $bytes;
	return $content;
}

sub flipped
{
	my ($content, $offset) = @_;
	return changed($content, $offset, chr(255 ^ ord substr $content, $offset, 1));
}

my $torn = qr/It is incomplete or damaged\./;
my $kept = qr{The file is kept as "pg_meter/limits\.damaged"};
my $no_file = qr/It is not a file of limits\./;

for (
	[ 'cut short', $torn, sub { substr $_[0], 0, -20 } ],
	[ 'cut down to the header', $torn, sub { substr $_[0], 0, 60 } ],
	[ 'with a byte changed', $torn, sub { flipped($_[0], length($_[0]) / 2) } ],
	[ 'with more at the end', $torn, sub { $_[0] . 'x' } ],
	[ 'of another version', qr/It is from another version of meter\./, sub { changed($_[0], 12, pack 'L', 99) } ],
	[ 'of another byte order', qr/It is from a machine of another byte order\./,
		sub { changed($_[0], 8, scalar reverse substr $_[0], 8, 4) } ],
	[ 'of another system', qr/It belongs to another database system\./, sub { $foreign } ],
	[ 'that is empty', $no_file, sub { '' } ],
	[ 'that is rubbish', $no_file, sub { "This is no file of limits.\n" x 1000 } ])
{
	my ($what, $detail, $damage) = @$_;
	ask(q{SELECT count(meter_allow('t', 'never')), count(meter_allow('full')) FROM generate_series(1, 60)});
	$node->stop;
	my $bad = $damage->(slurp_file($file));
	write_file($file, $bad);
	unlink "$file.damaged";
	my $log_offset = -s $node->logfile;
	$node->start;
	my $log = slurp_file($node->logfile, $log_offset);
	like($log, qr{LOG:  ignored file "pg_meter/limits"\n.*DETAIL:  $detail\n.*HINT:  .*$kept},
		"a file $what is ignored, and that is logged");
	ok(-e "$file.damaged" && slurp_file("$file.damaged") eq $bad, '... and kept as it was');
	is(admitted('t', 'never', 60), '50', '... buckets begin anew');
	is(admitted('full', '*', 60), '0', '... and quotas do not');
}

# Without a file, and with one that cannot be read, and with one that was left
# half written
for my $what ('no file', 'a file that cannot be read', 'a file half written')
{
	$node->stop;
	unlink $file if $what eq 'no file';
	unlink "$file.damaged";
	chmod 0, $file if $what eq 'a file that cannot be read';
	write_file("$file.new", substr slurp_file($file), 0, 100) if $what eq 'a file half written';
	my $log_offset = -s $node->logfile;
	$node->start;
	my $log = slurp_file($node->logfile, $log_offset);
	if ($what eq 'a file that cannot be read')
	{
		like($log, qr{LOG:  could not open file "pg_meter/limits": Permission denied\n.*$kept}, "$what: the log says so");
	}
	else
	{
		unlike($log, qr{pg_meter/limits}, "$what: nothing to say");
	}
	is(admitted('t', 'never', 60), $what eq 'a file half written' ? '0' : '50', '... and calls are decided');
	is(admitted('full', '*', 60), '0', '... also by quotas');
	ok_until('SELECT saved_at IS NOT NULL FROM meter.limit_stats', '... and saved');
}

# A directory that cannot be written to
my $directory = $node->data_dir . '/pg_meter';
{
	my $log_offset = -s $node->logfile;
	chmod 0500, $directory;
	ask(q{SELECT meter_allow('t', 'slow')});
	$node->wait_for_log(qr{LOG:  could not write file "pg_meter/limits\.new": Permission denied}, $log_offset);
	is(ask(q{SELECT meter_allow('t', 'never')}), 'f', 'where nothing can be saved, calls are decided');
	$log_offset = -s $node->logfile;
	ok($node->stop('fast', fail_ok => 1), '... and the server can be stopped');
	like(slurp_file($node->logfile, $log_offset),
		qr{postmaster LOG:  could not write file "pg_meter/limits\.new": Permission denied}, '... which is logged');
	ok($node->start(fail_ok => 1), '... and started');
	is(ask(q{SELECT meter_allow('t', 'never')}), 'f', '... with what was saved before');
	chmod 0700, $directory;
	$node->restart;
	is(ask(q{SELECT meter_allow('t', 'never')}), 'f', 'nothing is lost when it can be written to again');
}

# --- a late start ------------------------------------------------------------

# Events of two months, many of them at the ends of days and months of zones
# that are not whole hours off, in the log and rolled up, in the log, and in the
# inbox; some of the first corrected.
configure('meter.flush_interval' => 0);
$node->reload;
ask('CREATE DATABASE late');
ask(q{ALTER DATABASE late SET meter.durability = commit; ALTER DATABASE late SET timezone = 'UTC'});

sub late
{
	my ($sql) = @_;
	return ask($sql, 'late');
}

late(q{
	CREATE EXTENSION meter CASCADE;
	INSERT INTO meter.tenant (tenant, time_zone) VALUES ('utc', 'UTC'), ('kolkata', 'Asia/Kolkata'),
		('kathmandu', 'Asia/Kathmandu'), ('new york', 'America/New_York'), ('kiribati', 'Pacific/Kiritimati'),
		('marquesas', 'Pacific/Marquesas');
	CREATE TABLE zone AS SELECT tenant, time_zone FROM meter.tenant UNION ALL SELECT 'nobody', 'UTC';
	CREATE TABLE candidate AS
	SELECT setseed(0.5) IS NULL AS nothing, row_number() OVER (ORDER BY i, tenant) AS id, i, tenant,
		CASE WHEN i % 5 = 3 THEN n - random() * interval '30 hours'
			WHEN i % 5 = 4 THEN n - random() * interval '40 days'
			ELSE date_trunc((ARRAY['month', 'day', 'hour'])[1 + i % 5], n) + CASE i % 3 WHEN 0 THEN interval '0'
				WHEN 1 THEN interval '-1 us' ELSE (random() - 0.5) * interval '80 min' END END AS local,
		time_zone, random() AS r
	FROM zone CROSS JOIN LATERAL (SELECT now() AT TIME ZONE time_zone AS n) AS l CROSS JOIN generate_series(1, 400) AS i;
	CREATE FUNCTION track_part(part integer) RETURNS bigint LANGUAGE sql AS $$
		SELECT count(meter_track(tenant, CASE WHEN id % 6 = 0 THEN 'tokens' ELSE 'api_requests' END,
			service => (ARRAY['openai', 'email', NULL])[1 + id % 3],
			method => (ARRAY['GET', 'POST', 'POST', NULL])[1 + id % 4],
			endpoint => (ARRAY['/api/v1/orders', '/api/bulk', '/other', NULL, '/api/bulk'])[1 + id % 5],
			status => (ARRAY[200, 200, 429, 500, NULL, 404, 200])[1 + id % 7],
			cost => CASE WHEN id % 11 > 0 THEN round(r::numeric, 4) END,
			user_id => (ARRAY['ann', 'bob', NULL, 'ann'])[1 + id % 4], idempotency_key => 'k' || id,
			at => LEAST(local AT TIME ZONE time_zone, now())))
		FROM candidate WHERE i % 4 = part $$;
	CREATE VIEW raw AS
	SELECT tenant, metric, at, status, cost, user_id, service, endpoint, method
	FROM meter.event WHERE superseded_by IS NULL
	UNION ALL
	SELECT tenant, COALESCE(metric, 'api_requests'), at, status, cost, user_id, service, endpoint, method
	FROM meter.inbox WHERE validated AND corrects IS NULL});

# Patterns, a resource that each describes, and the same in SQL
my @patterns = (
	[ '*', 'whatever', 'true' ],
	[ 'openai', 'openai', q{service = 'openai'} ],
	[ 'POST /api/*', 'POST /api/bulk', q{method = 'POST' AND endpoint LIKE '/api/%'} ],
	[ '/api/*', '/api/v1/orders', q{endpoint LIKE '/api/%'} ],
	[ '*', 'tokens', 'true', 'tokens' ]);
my $differences = q{SELECT count(*) FROM (
	(TABLE got EXCEPT TABLE expected) UNION ALL (TABLE expected EXCEPT TABLE got)) AS d};

# What hour it is in each zone, for what is compared to be so of one.
my $ends = q{SELECT string_agg(date_trunc('hour', clock_timestamp() AT TIME ZONE time_zone)::text, ' '
	ORDER BY tenant) FROM zone};

# Makes rules, which begin from what was tracked; compares them with plain SQL.
# Again if an hour or more has ended meanwhile.
sub check_late
{
	my ($when) = @_;
	for (@patterns)
	{
		my ($pattern, $resource, $condition, $metric) = @$_;
		my ($before, $rows, $different);
		$metric //= 'api_requests';
		do
		{
			$before = late($ends);
			($rows, $different) = split /\n/, late(qq{
				TRUNCATE meter.rate_limit;
				INSERT INTO meter.rate_limit (resource, unit, per, max, kind, per_user, metric)
				SELECT '$pattern', unit, per, 1000000, 'window', per_user, '$metric'
				FROM unnest(ARRAY['requests', 'cost']) AS unit, unnest(ARRAY['hour', 'day', 'month']) AS per,
					unnest(ARRAY[false, true]) AS per_user;
				CREATE TEMPORARY TABLE looked AS
				SELECT meter_check(tenant, '$resource', 0, u) FROM zone, unnest(ARRAY['ann', 'bob']) AS u;
				CREATE TEMPORARY TABLE got AS
				SELECT tenant, user_id, unit, per, reset_at, used FROM meter.rate_limit_status;
				CREATE TEMPORARY TABLE expected AS
				SELECT zone.tenant, of_user AS user_id, unit, per, ends AS reset_at, trim_scale(COALESCE(CASE unit
					WHEN 'requests' THEN count(e.*) FILTER (WHERE e.status IS DISTINCT FROM 429)
					ELSE sum(e.cost) END, 0)) AS used
				FROM zone CROSS JOIN unnest(ARRAY['hour', 'day', 'month']) AS per
				CROSS JOIN unnest(ARRAY['requests', 'cost']) AS unit
				CROSS JOIN unnest(ARRAY[NULL, 'ann', 'bob']) AS of_user
				CROSS JOIN LATERAL (SELECT date_trunc(per, now() AT TIME ZONE time_zone) AS local) AS l
				CROSS JOIN LATERAL (SELECT local AT TIME ZONE time_zone AS starts,
					(local + ('1 ' || per)::interval) AT TIME ZONE time_zone AS ends) AS w
				LEFT JOIN LATERAL (SELECT * FROM raw
					WHERE raw.tenant = zone.tenant AND metric = '$metric' AND at >= starts AND at < ends
					AND (of_user IS NULL OR user_id = of_user) AND $condition) AS e ON true
				GROUP BY zone.tenant, of_user, unit, per, ends;
				SELECT count(*) FROM got WHERE used > 0;
				$differences});
		} while late($ends) ne $before;
		is($different, '0', "$when: quotas of $pattern ($metric) are what plain SQL says");
		cmp_ok($rows, '>', 7 * 3, "... $rows of them have something used");
	}
	return;
}

# The tenants whose days begin with an hour; again if one has ended meanwhile
sub check_live
{
	my ($when) = @_;
	my ($before, $got, $expected);
	do
	{
		$before = late($ends);
		late(q{TRUNCATE meter.rate_limit;
			INSERT INTO meter.rate_limit (unit, per, max, kind) SELECT unit, per, 1000000, 'window'
			FROM unnest(ARRAY['requests', 'cost']) AS unit, unnest(ARRAY['day', 'month']) AS per});
		late(q{SELECT count(meter_check(tenant, '*', 0)) FROM zone});
		$got = late(q{
			SELECT tenant, unit, per, used FROM meter.rate_limit_status
			WHERE tenant IN ('utc', 'new york', 'kiribati', 'nobody') ORDER BY 1, 2, 3});
		$expected = late(q{
		SELECT tenant, unit, per,
			trim_scale(COALESCE(sum(CASE unit WHEN 'requests' THEN events - errors_429 ELSE cost END), 0))
		FROM zone CROSS JOIN unnest(ARRAY['day', 'month']) AS per CROSS JOIN unnest(ARRAY['requests', 'cost']) AS unit
		LEFT JOIN meter.live USING (tenant)
		WHERE tenant IN ('utc', 'new york', 'kiribati', 'nobody') AND metric = 'api_requests'
			AND hour >= date_trunc(per, now() AT TIME ZONE time_zone) AT TIME ZONE time_zone
			AND hour < (date_trunc(per, now() AT TIME ZONE time_zone) + ('1 ' || per)::interval) AT TIME ZONE time_zone
		GROUP BY 1, 2, 3 ORDER BY 1, 2, 3});
	} while late($ends) ne $before;
	is($got, $expected, "$when: and agree with meter.live");
	return;
}

late('SELECT track_part(0), track_part(1)');
check_late('all in the inbox');
late('SELECT meter_flush()');
late('SELECT meter_rollup()');
check_late('all rolled up');
late('SELECT track_part(2)');
late('SELECT meter_flush()');
late(q{INSERT INTO meter.inbox (tenant, at) SELECT tenant, now() FROM zone});
late('SELECT track_part(3)');
check_late('rolled up, in the log and in the inbox');
check_live('rolled up, in the log and in the inbox');

# Corrections of events that are rolled up, of those that are not, and one that
# waits; that flushes, so that something else has to wait again
late(q{SELECT count(meter_correct(tenant, idempotency_key => 'k' || id, cost => 1000 + i, void => i % 3 = 0))
	FROM candidate WHERE i % 20 IN (1, 2) AND i < 100});
late('SELECT meter_flush()');
late(q{SELECT count(meter_correct(tenant, idempotency_key => 'k' || id, cost => 7, status => 200))
	FROM candidate WHERE i % 20 = 16});
late(q{SELECT count(meter_track(tenant, service => 'openai', cost => 0.5, user_id => 'bob')) FROM zone});
is(late('SELECT count(*) > 0 FROM meter.inbox WHERE corrects IS NOT NULL'), 't', 'corrections wait');
check_late('with corrections');
check_live('with corrections');
late('SELECT meter_flush()');
check_late('with all corrections in the log');
late('SELECT meter_rollup()');
check_late('with all corrections rolled up');
check_live('with all corrections rolled up');

# Many sessions that begin the same quota at the same time
{
	my @pool = map { open_session('late') } 1 .. 16;
	for my $user ('NULL', q{'ann'})
	{
		my $by_user = $user eq 'NULL' ? 'false' : 'true';
		late(qq{TRUNCATE meter.rate_limit;
			INSERT INTO meter.rate_limit (per, max, kind, per_user)
			SELECT 'month', 100 + count(*), 'window', $by_user FROM raw
			WHERE tenant = 'kiribati' AND metric = 'api_requests' AND status IS DISTINCT FROM 429
				AND ($user IS NULL OR user_id = $user)
				AND at >= date_trunc('month', now() AT TIME ZONE 'Pacific/Kiritimati') AT TIME ZONE 'Pacific/Kiritimati'});
		my $calls = "SELECT count(*) FILTER (WHERE meter_allow('kiribati', '*', 1, $user)) FROM generate_series(1, 20)";
		is(sum(at_once(\@pool, $calls, 'late')), 100,
		  'sessions that begin a quota together have just what is left' . ($by_user eq 'true' ? ' of a user' : ''));
	}
	close_session($_) for @pool;
}

# --- the ends of days and months ---------------------------------------------

# Of every time zone, by trying the quarters of an hour to come: the first one
# with another date
late(q{
	TRUNCATE meter.rate_limit, meter.tenant;
	INSERT INTO meter.tenant (tenant, time_zone)
	SELECT name, name FROM pg_timezone_names WHERE name ~ '^[A-Z][a-z]+/' AND name !~ '[0-9]';
	INSERT INTO meter.rate_limit (resource, per, max, kind) VALUES
		('day', 'day', 5, 'window'), ('month', 'month', 5, 'window')});
my $quarter = 'SELECT floor(extract(epoch FROM clock_timestamp()) / 900)';
my ($mark, $zones, $wrong);
do
{
	$mark = late($quarter);
	($zones, $wrong) = split /\|/, late(q{
		WITH reset AS MATERIALIZED (
			SELECT tenant AS zone, (meter_check(tenant, 'day')).quota_reset AS day,
				(meter_check(tenant, 'month')).quota_reset AS month
			FROM meter.tenant
		), quarter AS MATERIALIZED (
			SELECT q FROM generate_series(date_trunc('hour', now()), now() + interval '34 days', '15 min') AS q
			WHERE q > now() AND (q < now() + interval '28 hours' OR extract(day FROM q) IN (1, 2)
				OR q + interval '24 hours' >= date_trunc('month', q) + interval '1 month')
		), expected AS (
			SELECT zone, min(q) FILTER (WHERE (q AT TIME ZONE zone)::date > (now() AT TIME ZONE zone)::date) AS day,
				min(q) FILTER (WHERE date_trunc('month', q AT TIME ZONE zone)
					> date_trunc('month', now() AT TIME ZONE zone)) AS month
			FROM reset CROSS JOIN quarter GROUP BY zone)
		SELECT count(*), count(*) FILTER (WHERE r.day <> e.day OR r.month <> e.month)
		FROM reset AS r JOIN expected AS e USING (zone)});
} while late($quarter) ne $mark;
cmp_ok($zones, '>', 300, "there are $zones time zones");
is($wrong, '0', 'in each the quota of a day and that of a month end at midnight');
# Days on which clocks change, in the last year: of 23 hours and of 25, at
# midnight, and by half an hour
late(q{
	SET meter.retention = 0;
	CREATE TABLE change AS
	SELECT zone, (at AT TIME ZONE zone)::date AS day, at FROM (
		SELECT zone, at, at AT TIME ZONE zone - at AT TIME ZONE 'UTC' AS shift,
			lag(at AT TIME ZONE zone - at AT TIME ZONE 'UTC') OVER (PARTITION BY zone ORDER BY at) AS shift_before
		FROM unnest(ARRAY['Europe/London', 'Africa/Cairo', 'America/Havana', 'America/Santiago',
				'Australia/Lord_Howe']) AS zone,
			generate_series(date_trunc('hour', now()) - interval '366 days', now(), '30 min') AS at) AS t
	WHERE shift <> shift_before;
	SELECT count(meter_track(zone, user_id => 'ann', cost => 0.1, at => change.at + n * interval '20 min 1 s'))
	FROM change, generate_series(-110, 110) AS n WHERE change.at + n * interval '20 min 1 s' <= now();
	SELECT meter_flush()});
cmp_ok(late('SELECT count(*) FROM change'), '>', 0, 'zones have changed their clocks');
for my $state ('in the log', 'rolled up')
{
	late('SET meter.retention = 0; SELECT meter_rollup()') if $state eq 'rolled up';
	is( late(q{
			SELECT count(*), count(*) FILTER (WHERE
				meter.quota_used(zone, '*', 'api_requests', 'requests', NULL, per, ends) IS DISTINCT FROM used
				OR meter.quota_used(zone, '*', 'api_requests', 'requests', 'ann', per, ends) IS DISTINCT FROM used
				OR meter.quota_used(zone, '*', 'api_requests', 'cost', NULL, per, ends) IS DISTINCT FROM used * 0.1) > 0
			FROM (SELECT DISTINCT zone, per, date_trunc(per, (day + d)::timestamp) AS local
				FROM change, generate_series(-1, 1) AS d, unnest(ARRAY['day', 'month']) AS per) AS w
			CROSS JOIN LATERAL (SELECT (local + ('1 ' || per)::interval) AT TIME ZONE zone AS ends) AS e
			CROSS JOIN LATERAL (SELECT count(*) AS used FROM meter.event
				WHERE tenant = zone AND at >= local AT TIME ZONE zone AND at < ends) AS u}) =~ /^(\d+)\|f$/ ? 1 : 0,
		1, "$state: days on which clocks change have what was tracked from midnight to midnight");
}

# --- a standby ---------------------------------------------------------------

configure('meter.flush_interval' => 200, 'max_prepared_transactions' => 0);
$node->restart;
ask(q{
	TRUNCATE meter.rate_limit; DELETE FROM meter.tenant; DELETE FROM meter.plan;
	INSERT INTO meter.plan (plan) VALUES ('a'), ('b');
	INSERT INTO meter.rate_limit (plan, resource, per, max, burst) VALUES
		(NULL, 'count', 'day', 0, 100), (NULL, 'change', 'hour', 5, NULL),
		('a', 'change', 'hour', 10, NULL), ('b', 'change', 'hour', 20, NULL);
	INSERT INTO meter.rate_limit (resource, per, max, kind) VALUES ('quota', 'month', 1000, 'window')});
ask(qq{INSERT INTO meter.tenant (tenant, plan, time_zone) VALUES ('s', 'a', '$zone');
	SELECT count(meter_allow('s', 'count')) FROM generate_series(1, 30);
	SELECT count(meter_track('s', service => 'quota')) FROM generate_series(1, 200)});
wait_for_flush();
ask(q{SELECT meter_allow('s', 'count')});
# the first one may have begun before the call, and there is none without a change
my $save;
for (1 .. 2)
{
	$save = ask('SELECT clock_timestamp()');
	ask(q{SELECT meter_allow('saved', 'change')});
	wait_until("SELECT saved_at > '$save' FROM meter.limit_stats", 'all is saved');
}
$node->backup('backup');
my $log_offset;

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;

sub on_standby
{
	my ($sql) = @_;
	return ask($sql, $standby);
}

sub replicate
{
	my ($sql) = @_;
	ask($sql);
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	return;
}

my $remaining = q{SELECT (meter_check('%s', 'count', 0)).remaining};
is(on_standby(sprintf $remaining, 's'), '69', 'a standby begins with what was saved on the primary');
my $records = 'SELECT wal_records, wal_bytes FROM pg_stat_wal';
my $wal = on_standby($records);
is( join(' ', map { admitted(@$_, 1000, $standby) } [ 's', 'count' ], [ 'new', 'count' ], [ 's', 'quota' ]),
	'69 100 800', 'and goes on with it, also with a new tenant and a quota');
is(on_standby(q{SELECT count(meter_refund('s', 'count')) FROM generate_series(1, 9)}), '9', 'something is given back');
is(on_standby(sprintf $remaining, 's'), '9', 'and there again');
is( on_standby(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT meter_allow('s', 'count'); ROLLBACK;
		SELECT used, refused FROM meter.rate_limit_status WHERE tenant = 's' AND resource = 'count'}),
	"t\n92|931", 'what was taken stays so');
like(session(q{SELECT meter_require('new', 'count')}, $standby), qr/ERROR:  PT429/, 'the error is the same');
is(on_standby('SELECT untracked FROM meter.limit_stats'), 931 + 900 + 200 + 1,
	'what is refused is counted, but not tracked');
is(on_standby($records), $wal, 'nothing was written');
is(ask(sprintf $remaining, 's'), '69', 'the primary knows nothing of it');

# Changes reach sessions in whatever they are at
my $limit_of = q{SELECT "limit" FROM meter_check('%s', 'change', 0)};
my @sessions = map { open_session($standby) } 1 .. 4;
in_session($sessions[1], 'BEGIN; SELECT FROM meter.plan WHERE false');
in_session($sessions[2], 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM meter.plan WHERE false');
in_session($sessions[3], q{SET plan_cache_mode = force_generic_plan;
	PREPARE p AS SELECT "limit" FROM meter_check($1, 'change', 0)});

sub limits
{
	my ($tenant) = @_;
	return join ' ',
	  (map { in_session($sessions[$_], $_ == 3 ? "EXECUTE p('$tenant')" : sprintf $limit_of, $tenant) =~ s/\n//r } 0 .. 3),
	  on_standby(sprintf $limit_of, $tenant);
}

is(limits('s'), '10 10 10 10 10', 'sessions of the standby have the limit of the plan');
for ([ q{UPDATE meter.rate_limit SET max = 11 WHERE plan = 'a'}, 11 ],
	[ q{UPDATE meter.tenant SET plan = 'b' WHERE tenant = 's'}, 20 ],
	[ q{INSERT INTO meter.rate_limit (tenant, resource, per, max) VALUES ('s', 'change', 'hour', 30)}, 30 ],
	[ q{UPDATE meter.rate_limit SET max = 31 WHERE tenant = 's'}, 31 ],
	[ q{DELETE FROM meter.rate_limit WHERE tenant = 's'}, 20 ],
	[ q{UPDATE meter.tenant SET plan = NULL}, 5 ],
	[ q{UPDATE meter.tenant SET plan = 'a'}, 11 ])
{
	my ($change, $limit) = @$_;
	replicate($change);
	is(limits('s'), join(' ', ($limit) x 5), "a change on the primary is in force on the standby: $change");
}
in_session($_, 'COMMIT') for @sessions[ 1, 2 ];

# Whoever asks first after the change, though another one has read the tenant
in_session($sessions[0], sprintf $limit_of, 'r');
in_session($sessions[1], sprintf $limit_of, 'r');
replicate(q{INSERT INTO meter.tenant (tenant, plan) VALUES ('r', 'a')});
is(in_session($sessions[1], sprintf $limit_of, 'r'), "11\n",
	'a session that has not read the tenant itself hears of a change');
replicate(q{UPDATE meter.tenant SET plan = 'b' WHERE tenant = 'r'});
is(on_standby(sprintf $limit_of, 'r'), '20', 'and so does a new one');
my $pid = in_session($sessions[0], 'SELECT pg_backend_pid()') + 0;
is(in_session($sessions[0], sprintf $limit_of, 'r'), "20\n", 'and the first one');
stop_process($pid);
replicate(q{UPDATE meter.tenant SET plan = 'a' WHERE tenant = 'r'; DO $$ BEGIN
	FOR i IN 1 .. 2000 LOOP CREATE TYPE junk AS ENUM (); DROP TYPE junk; END LOOP; END $$});
continue_process();
is(in_session($sessions[0], sprintf $limit_of, 'r'), "11\n", 'a session that has lost many messages trusts nothing');
close_session($_) for @sessions;

# Restarts of the standby
is(on_standby(sprintf $remaining, 's'), '8', 'before a restart of the standby');
$standby->restart;
is(on_standby(sprintf $remaining, 's'), '8', 'and after it nothing has changed');
on_standby(q{SELECT meter_allow('s', 'count')});
# the first one may have begun before the call
for (1 .. 2)
{
	$save = on_standby('SELECT clock_timestamp()');
	on_standby(sprintf $remaining, 's');
	wait_until("SELECT saved_at > '$save' FROM meter.limit_stats", 'the standby saves', $standby);
}
$standby->stop('immediate');
$standby->start;
is(on_standby(sprintf $remaining, 's'), '7', 'a crash of the standby loses nothing that was saved');

# A copy that is no standby, from the same backup
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'backup');
$copy->start;
is(ask(sprintf($remaining, 's'), $copy), '69', 'a copy begins with what was saved');
is(admitted('s', 'count', 100, $copy), '69', 'and goes on with it');
is(admitted('s', 'quota', 1000, $copy), '800', 'quotas as well');
$copy->stop;
unlike(slurp_file($_->logfile), qr/ignored file/, 'no file of ' . $_->name . ' was ignored') for $standby, $copy;

# Promotion.  One session has read what is known of a tenant, and does not hear
# of the last change any more.
my $old = open_session($standby);
my $open = open_session($standby);
in_session($old, sprintf $limit_of, 'q');
in_session($open, sprintf $limit_of, 'q');
replicate(q{INSERT INTO meter.tenant (tenant, plan) VALUES ('q', 'b')});
$node->stop;
$standby->promote;
is(on_standby(sprintf $limit_of, 'q'), '20', 'after promotion a new session knows of the last change');
is(in_session($open, sprintf $limit_of, 'q'), "20\n", 'so does one from before');
is(on_standby(sprintf $remaining, 's'), '7', 'what was taken on the standby is taken after promotion');
on_standby(q{UPDATE meter.tenant SET plan = 'a' WHERE tenant = 'q'});
is(in_session($_, sprintf $limit_of, 'q'), "11\n", 'changes reach sessions from before the promotion') for $open, $old;
is(on_standby(sprintf $limit_of, 'q'), '11', 'and new ones');
is(admitted('s', 'count', 50, $standby), '7', 'the rest can be taken');
wait_for_flush($standby);
is(on_standby(q{SELECT count(*) FROM meter.event WHERE tenant = 's' AND service = 'count' AND status = 429}), '43',
	'and what is refused is tracked now');
close_session($_) for $open, $old;
$standby->restart;
is(on_standby(sprintf $remaining, 's'), '0', 'I9: nothing comes back by a restart');
$standby->stop;

done_testing();

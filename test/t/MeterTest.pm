# MeterTest.pm: what the tests of whole servers share.
#
# The first server that start_node() makes is the one that all this works with.
# Where there is a last argument $where, it names another place: another server,
# or the name of a database of the first one, which is "postgres" otherwise.
#
#	start_node(NAME, SETTINGS)		makes and starts a server
#	ask(SQL), session(SQL)			run SQL: what it returns, all it prints
#	insist(SQL)						the same until it prints no error
#	wait_until(SQL, WHAT)			waits until it returns true
#	ok_until(SQL, WHAT)				the same as a test
#	wait_for_flush()				waits until no event waits any more
#	start_sql(NAME, SQL...)			a psql in the background
#	wait_for_session(SESSION, CONDITION, WHAT)	waits until that psql is so far
#	start_script(NAME, FILE)		a psql in the background that runs a file
#	start_clients(N, FILE, EVENTS)	several of these, which track events
#	open_session(), in_session(SESSION, SQL), close_session(SESSION)
#									a psql that is told what to do next
#	tell_session(SESSION, SQL), answer_of(SESSION)	the same in two steps
#	at_once(SESSIONS, SQL)			all of them run it at the same time
#	daytime_zone()					a time zone where no midnight is near
#	stop_process(PID), continue_process()	SIGSTOP, SIGCONT
#	kill_child(PID)					kill -9 of one of the server's processes
#	kill_server(), start_again()	kill -9 of all of them
#
# and texts of SQL: $by_hand, $log_is_whole, $wrong_totals, $flusher_sleeps.
package MeterTest;

use strict;
use warnings;

use Exporter qw(import);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT_OK = qw(
  answer_of
  ask
  at_once
  close_session
  continue_process
  daytime_zone
  in_session
  insist
  kill_child
  kill_server
  ok_until
  open_session
  session
  start_again
  start_clients
  start_node
  start_script
  start_sql
  stop_process
  tell_session
  wait_for_flush
  wait_for_session
  wait_until
  $by_hand
  $flusher_sleeps
  $log_is_whole
  $wrong_totals
);

my $node;

# --- servers -----------------------------------------------------------------

# Settings of a server that does nothing on its own: events go into the inbox,
# and stay there until somebody flushes.
our $by_hand = q{
shared_preload_libraries = 'meter'
meter.durability = commit
meter.flush_interval = 0
meter.rollup_interval = 0
};

# Makes a server and starts it.  What follows the settings is for its initdb.
sub start_node
{
	my ($name, $settings, %init) = @_;
	my $new = PostgreSQL::Test::Cluster->new($name);
	$new->init(%init);
	$new->append_conf('postgresql.conf', $settings);
	$new->start;
	$node //= $new;
	return $new;
}

# The server and the database that $where means.
sub place
{
	my ($where) = @_;
	return ref $where ? ($where, 'postgres') : ($node, $where // 'postgres');
}

# --- asking ------------------------------------------------------------------

# What SQL returns that must not fail.
sub ask
{
	my ($sql, $where) = @_;
	my ($on, $database) = place($where);
	return $on->safe_psql($database, $sql);
}

# What a session prints on both channels, errors with their SQLSTATE.
sub session
{
	my ($sql, $where) = @_;
	my ($on, $database) = place($where);
	my ($status, $stdout, $stderr) =
	  $on->psql($database, "\\set VERBOSITY verbose\n$sql", on_error_stop => 0);
	return "$stdout\n$stderr";
}

# What a session prints when SQL succeeds that is refused while there are
# others in a database.  The server waits up to 5 s for them to go; a busy
# machine may need more.
sub insist
{
	my ($sql) = @_;
	my ($result, $attempts) = ('ERROR', 0);
	$result = session($sql) while $result =~ /ERROR/ && $attempts++ < 20;
	note "$sql: needed $attempts attempts: $result" if $attempts > 1;
	return $result;
}

sub wait_until
{
	my ($sql, $what, $where) = @_;
	my ($on, $database) = place($where);
	$on->poll_query_until($database, $sql)
	  or die "timed out waiting until $what";
	return;
}

# As a test, without which those that follow make no sense.
sub ok_until
{
	my ($sql, $what, $where) = @_;
	my ($on, $database) = place($where);
	return ok($on->poll_query_until($database, $sql), $what)
	  || die "timed out: $what";
}

sub wait_for_flush
{
	my ($where) = @_;
	# what leaves the queue may go into the inbox, but not the other way round
	wait_until('SELECT queue_bytes = 0 FROM meter.stats', 'the queue is empty', $where);
	wait_until('SELECT NOT EXISTS (SELECT FROM meter.inbox)', 'the inbox is empty', $where);
	return;
}

# --- sessions in the background ----------------------------------------------

# Starts a psql under a name that pg_stat_activity shows.
sub run_psql
{
	my ($name, $options, @channels) = @_;
	return IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres') . " application_name=$name", @$options ],
		@channels);
}

# Starts one that runs SQL, each in a transaction of its own.  What it prints
# is in {output}; {run}->finish waits for its end and is true if all went well.
sub start_sql
{
	my ($name, @sql) = @_;
	my $session = { name => $name, output => '' };
	$session->{run} =
	  run_psql($name, [ map { ('-c', $_) } @sql ], '<', \undef, '>', \$session->{output}, '2>&1');
	return $session;
}

# Waits until what pg_stat_activity shows of a session meets a condition.
sub wait_for_session
{
	my ($session, $condition, $what) = @_;
	wait_until(
		"SELECT count(*) = 1 FROM pg_stat_activity
		WHERE application_name = '$session->{name}' AND $condition", $what);
	return;
}

my $scripts = 0;

# Starts one that runs a file, with variables, up to the first error.  What it
# prints goes into files, {output} and {errors}, since a pipe moves only while
# somebody reads it here.
sub start_script
{
	my ($name, $script, %variables) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/" . ++$scripts . "_$name";
	my $session = { name => $name, output => "$file.out", errors => "$file.err" };
	$session->{run} = run_psql(
		$name,
		[ (map { ('-v', "$_=$variables{$_}") } sort keys %variables), '-v', 'ON_ERROR_STOP=1', '-f', $script ],
		'<', \undef, '>', $session->{output}, '2>', $session->{errors});
	return $session;
}

my $loads = 0;

# Starts clients that run a file which tracks events; its variable "run" is
# another one for each.  Waits until all are at work and so many events have
# been tracked since the counters were zero.
sub start_clients
{
	my ($clients, $script, $events, %variables) = @_;
	$loads++;
	my @load = map { start_script("client$_", $script, run => "c${_}r$loads", %variables) } 1 .. $clients;
	wait_until("SELECT (SELECT count(*) = $clients FROM pg_stat_activity
			WHERE application_name LIKE 'client%' AND query LIKE '%meter_track%')
		AND (SELECT queued + fallbacks >= $events FROM meter.stats)", 'the clients are at work');
	return @load;
}

# Starts a session that stays, so that its transaction can be left open.
sub open_session
{
	my ($where) = @_;
	my ($on, $database) = place($where);
	my $session = { in => '', out => '' };
	$session->{timer} = IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	$session->{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $on->connstr($database) ],
		'<', \$session->{in}, '>', \$session->{out}, '2>&1', $session->{timer});
	return $session;
}

# Has it run SQL, without waiting for that.
sub tell_session
{
	my ($session, $sql) = @_;
	$session->{timer}->start($PostgreSQL::Test::Utils::timeout_default);
	$session->{out} = '';
	$session->{in} .= "$sql;\n\\echo (done)\n";
	$session->{run}->pump_nb while length $session->{in};
	return;
}

# What it has printed, when it is done.
sub answer_of
{
	my ($session) = @_;
	$session->{run}->pump until $session->{out} =~ s/\(done\)\n//;
	return $session->{out};
}

# Runs SQL in it and returns what it prints.
sub in_session
{
	my ($session, $sql) = @_;
	tell_session($session, $sql);
	return answer_of($session);
}

sub close_session
{
	my ($session) = @_;
	# which may have been idle for long
	$session->{timer}->start($PostgreSQL::Test::Utils::timeout_default);
	$session->{in} .= "\\q\n";
	$session->{run}->finish;
	return;
}

# Has sessions of one database run SQL at the same time: they begin when all are
# ready.  Returns what each prints.
sub at_once
{
	my ($sessions, $sql, $where) = @_;
	my $gate = open_session($where);
	in_session($gate, 'DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$');
	tell_session($_, "DO \$\$ BEGIN PERFORM pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1); END \$\$; $sql")
	  for @$sessions;
	wait_until('SELECT count(*) = ' . @$sessions . q{ FROM pg_locks
		WHERE locktype = 'advisory' AND classid = 0 AND objid = 1 AND NOT granted}, 'all are ready', $where);
	close_session($gate);
	return map { answer_of($_) } @$sessions;
}

# --- time --------------------------------------------------------------------

# A time zone where it is morning or afternoon now, so that neither a day nor a
# month ends there soon.
sub daytime_zone
{
	my ($where) = @_;
	return ask(q{SELECT (ARRAY['Asia/Tokyo', 'Europe/Moscow', 'America/Sao_Paulo', 'America/Anchorage'])
		[1 + extract(hour FROM now() AT TIME ZONE 'UTC')::integer / 6]}, $where);
}

# --- stopping and killing ----------------------------------------------------

my $stopped;

# Stops a process, and lets it go on.
sub stop_process
{
	($stopped) = @_;
	kill 'STOP', $stopped;
	return;
}

sub continue_process
{
	kill 'CONT', $stopped;
	undef $stopped;
	return;
}

END
{
	# a stopped process would not even see that the server shuts down
	kill 'CONT', $stopped if $stopped;
}

# kill -9 of a child: the postmaster then ends all others and starts anew.
sub kill_child
{
	my ($pid) = @_;
	my $log_offset = -s $node->logfile;
	die 'there is no process to kill' if $pid !~ /^\d+$/;
	kill(9, $pid) == 1 or die "could not kill process $pid: $!";
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $log_offset);
	# a psql that was refused reads no SQL, and who writes to it may die of that
	my $tries = 10 * $PostgreSQL::Test::Utils::timeout_default;
	until (eval { ($node->psql('postgres', 'SELECT true'))[0] == 0 })
	{
		die 'timed out waiting until the server has recovered' if $tries-- == 0;
		usleep(100_000);
	}
	return;
}

# Has the process ended?  In a container nobody may have collected it.
sub is_dead
{
	my ($pid) = @_;
	return 1 if !kill 0, $pid;
	open my $stat, '<', "/proc/$pid/stat" or return 0;
	return <$stat> =~ /\) Z/ ? 1 : 0;
}

# kill -9 of the postmaster and of all its children at once.  If the postmaster
# is not the last, some child may see that it has died and do a bit more.
sub kill_server
{
	my (%order) = @_;
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	my @pids = split /\n/, ask('SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
	$node->kill9 if $order{postmaster_first};
	kill 9, @pids;
	$node->kill9;
	for my $pid ($postmaster, @pids)
	{
		my $tries = 100 * $PostgreSQL::Test::Utils::timeout_default;
		usleep(10_000) while !is_dead($pid) && $tries-- > 0;
	}
	return;
}

# A child that began just before the kill is in no list.  It ends when it sees
# that the postmaster is dead, and until then nothing can start.
sub start_again
{
	my $tries = 10 * $PostgreSQL::Test::Utils::timeout_default;

	# a process that is dead but not collected would count as running
	unlink $node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	while (!$node->start(fail_ok => 1))
	{
		die 'the server does not start' if $tries-- == 0;
		usleep(100_000);
	}
	return;
}

# --- checking ----------------------------------------------------------------

# Is true when seq has no gaps and no repeats and all positions fit.
our $log_is_whole = q{
	SELECT (count(*) = count(DISTINCT seq) AND count(*) = COALESCE(max(seq), 0)
			AND COALESCE(min(seq), 1) = 1
			AND count(*) = COALESCE((SELECT last_seq FROM meter.log_position), 0))
		AND NOT EXISTS (
			(SELECT (at AT TIME ZONE 'UTC')::date, count(*), min(seq), max(seq)
			 FROM meter.event GROUP BY 1
			 EXCEPT SELECT day, events, first_seq, last_seq FROM meter.event_partition)
			UNION ALL
			(SELECT day, events, first_seq, last_seq FROM meter.event_partition
			 EXCEPT SELECT (at AT TIME ZONE 'UTC')::date, count(*), min(seq), max(seq)
			 FROM meter.event GROUP BY 1))
	FROM meter.event};

# How many groups have other totals than plain SQL over the raw events.
our $wrong_totals = q{
	WITH raw AS (
		SELECT date_trunc('hour', at, 'UTC') AS hour, tenant, metric, service, endpoint, method,
			CASE WHEN dimensions = '{}' THEN '{}' ELSE COALESCE(
				(SELECT jsonb_object_agg(d, metadata -> d) FROM unnest(dimensions) AS d
				 WHERE metadata -> d IS NOT NULL), '{}') END AS dims,
			count(*) AS events,
			count(*) FILTER (WHERE status >= 400) AS errors,
			count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS errors_4xx,
			count(*) FILTER (WHERE status >= 500) AS errors_5xx,
			count(*) FILTER (WHERE status = 429) AS errors_429,
			min(at) AS first_at, max(at) AS last_at,
			sum(quantity) AS quantity, min(quantity), max(quantity), sum(cost) AS cost,
			count(latency_ms) AS latencies, max(latency_ms) AS slowest,
			count(DISTINCT user_id) AS users
		FROM meter.event JOIN meter.metric USING (metric)
		WHERE superseded_by IS NULL GROUP BY 1, 2, 3, 4, 5, 6, 7
	), total AS (
		SELECT hour, tenant, metric, service, endpoint, method, dims, events, errors, errors_4xx,
			errors_5xx, errors_429, first_at, last_at, quantity, quantity_min, quantity_max, cost,
			COALESCE(meter_sketch_count(latency), 0), meter_sketch_max(latency),
			meter.users_count(users)
		FROM meter.usage_hourly
	), raw_user AS (
		SELECT (at AT TIME ZONE 'UTC')::date, tenant, metric, user_id, count(*),
			count(*) FILTER (WHERE status >= 400), sum(quantity), sum(cost)
		FROM meter.event WHERE superseded_by IS NULL AND user_id IS NOT NULL GROUP BY 1, 2, 3, 4
	), total_user AS (
		SELECT day, tenant, metric, user_id, sum(events)::bigint, sum(errors)::bigint, sum(quantity), sum(cost)
		FROM meter.usage_user_daily GROUP BY day, tenant, metric, user_id
	)
	SELECT (SELECT count(*) FROM (
			(SELECT * FROM raw EXCEPT ALL SELECT * FROM total)
			UNION ALL (SELECT * FROM total EXCEPT ALL SELECT * FROM raw)) AS d)
		+ (SELECT count(*) FROM (
			(SELECT * FROM raw_user EXCEPT ALL SELECT * FROM total_user)
			UNION ALL (SELECT * FROM total_user EXCEPT ALL SELECT * FROM raw_user)) AS d)};

# Is true when the flusher sleeps until something is urgent, where the interval
# is long.
our $flusher_sleeps = q{SELECT EXISTS (SELECT FROM pg_stat_activity JOIN meter.stats ON pid = flusher_pid
	WHERE backend_type = 'meter flusher' AND state = 'idle' AND wait_event_type = 'Extension'
		AND queue_bytes = 0 AND datname = current_database())};

1;

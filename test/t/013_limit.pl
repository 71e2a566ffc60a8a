# 013_limit.pl: limits under real concurrency.
#
# What limits admit is exact, so nothing here depends on how fast anything is.
# The sessions note before and after each call what time it is by the clock of
# the day, which is not the one that limits go by.  A call was decided between
# the two, and that is enough to tell whether too much was admitted in any
# interval, and whether each call that was refused had to be.  Where nothing is
# refilled, the numbers themselves are known.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(
  answer_of ask at_once close_session continue_process daytime_zone in_session insist ok_until
  open_session session start_node stop_process tell_session wait_for_flush wait_until
);
use List::Util qw(sum);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('limit', q{
shared_preload_libraries = 'meter'
meter.rollup_interval = 0
max_connections = 70
max_worker_processes = 20
autovacuum = off
log_statement = none
log_line_prefix = '%m [%p] %b '
});
ask('CREATE EXTENSION meter CASCADE');

my @pool = map { open_session() } 1 .. 16;

# How many of so many calls are let through.
sub admitted
{
	my ($tenant, $resource, $calls, $where) = @_;
	return ask("SELECT count(*) FILTER (WHERE meter_allow('$tenant', '$resource')) FROM generate_series(1, $calls)",
		$where);
}

# Do two queries return the same rows in the same order?
sub same_rows
{
	my ($got, $expected, $what) = @_;
	return is(ask($got), ask($expected), $what);
}

# --- a rate ------------------------------------------------------------------

# For each resource another rule, which holds for each of many tenants.
my %rate = (hot => [ 200, 50 ], many => [ 10, 5 ], paced => [ 200, 1 ]);
ask(join ';', map {
	"INSERT INTO meter.rate_limit (resource, per, max, burst) VALUES ('$_', 'second', $rate{$_}[0], $rate{$_}[1])"
} sort keys %rate);

ask(q{
	CREATE UNLOGGED TABLE call (
		resource text, key text, allowed boolean, before timestamptz, after timestamptz);

	-- Calls as fast as it can until a time.  Notes what is admitted, and some
	-- of what is refused; returns how many calls it has made.
	CREATE FUNCTION hammer(resource text, keys integer, until timestamptz) RETURNS bigint
	LANGUAGE plpgsql AS $$
	DECLARE
		key text;
		n bigint := 0;
		allowed boolean;
		before timestamptz;
		after timestamptz := '-infinity';
		noted text[] := '{}';
		ok boolean[] := '{}';
		befores timestamptz[] := '{}';
		afters timestamptz[] := '{}';
	BEGIN
		WHILE after < until LOOP
			key := resource || trunc(random() * keys);
			before := clock_timestamp();
			allowed := meter_allow(key, resource);
			after := clock_timestamp();
			n := n + 1;
			IF allowed OR n % 50 = 0 THEN
				noted := noted || key;
				ok := ok || allowed;
				befores := befores || before;
				afters := afters || after;
			END IF;
		END LOOP;
		INSERT INTO call SELECT resource, * FROM unnest(noted, ok, befores, afters);
		RETURN n;
	END $$;

	-- Calls at the rate: no sooner than that long after the call before.
	-- Returns how many calls it has made, and how many were refused.
	CREATE FUNCTION pace(key text, pause interval, until timestamptz) RETURNS text
	LANGUAGE plpgsql AS $$
	DECLARE
		n bigint := 0;
		refused bigint := 0;
		after timestamptz := '-infinity';
	BEGIN
		WHILE clock_timestamp() < until LOOP
			IF clock_timestamp() > after + pause THEN
				n := n + 1;
				refused := refused + (NOT meter_allow(key, 'paced'))::integer;
				after := clock_timestamp();
			ELSE
				PERFORM pg_sleep(0.0002);
			END IF;
		END LOOP;
		RETURN n || ' ' || refused;
	END $$;
});

{
	my @more = map { open_session() } 1 .. 20;
	my @all = (@pool, @more);
	in_session($_, 'SET meter.track_refused = off') for @all;
	my $until = ask(q{SELECT clock_timestamp() + interval '20 seconds'});
	tell_session($_, qq{SELECT hammer('hot', 1, '$until')}) for @all[ 0 .. 15 ];
	tell_session($_, qq{SELECT hammer('many', 1000, '$until')}) for @all[ 16 .. 31 ];
	tell_session($all[$_], qq{SELECT pace('paced$_', '5 ms 2 us', '$until')}) for 32 .. 35;
	my @answers = map { answer_of($_) } @all;
	note 'calls on one key: ', sum(@answers[ 0 .. 15 ]), ', on 1000: ', sum(@answers[ 16 .. 31 ]);
	my ($paced, $refused) = (0, 0);
	for (@answers[ 32 .. 35 ])
	{
		my ($n, $no) = split / /;
		$paced += $n;
		$refused += $no;
	}
	cmp_ok($paced, '>', 0, "callers at their rate have made $paced calls");
	is($refused, 0, 'none of which was refused');
	in_session($_, 'RESET meter.track_refused') for @pool;
	close_session($_) for @more;
}

# Times in seconds as numbers, and a sum along them:
#
# - A call admitted between before and after is in an interval for sure if
#   before and after are.  Of those with after up to b, the ones with before
#   earlier than a are not.  So at least (after <= b) - (before < a) are in the
#   interval from a to b, which must not be more than burst + rate * (b - a).
# - A refused call found less than one left.  So there is a time s, since when
#   more than burst - 1 + rate * (now - s) were admitted, of those that can
#   have been before it: at most (before <= its after) - (after < s).
#
# A microsecond or two are added, as both clocks are cut to whole ones.
ask(q{
	CREATE TABLE rule (resource text, rate float8, burst float8)} . join '', map {
	"; INSERT INTO rule VALUES ('$_', $rate{$_}[0], $rate{$_}[1])"
} sort keys %rate);
ask(q{
	CREATE TABLE verdict AS
	WITH c AS (
		SELECT call.*, rate, burst, extract(epoch FROM before - first)::float8 AS b,
			extract(epoch FROM after - first)::float8 AS a
		FROM call JOIN rule USING (resource) CROSS JOIN (SELECT min(before) AS first FROM call) AS f
	), point AS (
		SELECT resource, key, rate, burst, 'before' AS what, b AS t, b AS called_at,
			row_number() OVER (PARTITION BY key ORDER BY b) - 1 AS n
		FROM c WHERE allowed
		UNION ALL
		SELECT resource, key, rate, burst, 'after', a, b, row_number() OVER (PARTITION BY key ORDER BY a) - 1
		FROM c WHERE allowed
		UNION ALL
		SELECT resource, key, rate, burst, 'refused', a, b, NULL FROM c WHERE NOT allowed
	), line AS (
		SELECT *,
			min(n - rate * t) FILTER (WHERE what = 'before') OVER w AS least,
			max(rate * t - n) FILTER (WHERE what = 'after') OVER w AS most,
			count(*) FILTER (WHERE what = 'before') OVER w AS begun,
			count(*) FILTER (WHERE what = 'after') OVER w AS ended
		FROM point
		WINDOW w AS (PARTITION BY key ORDER BY t, what <> 'before' ROWS UNBOUNDED PRECEDING)
	)
	SELECT resource, key,
		count(*) FILTER (WHERE what = 'after') AS admitted,
		count(*) FILTER (WHERE what = 'refused') AS refused,
		max(n + 1 - rate * (t + 0.000002) - least - burst) FILTER (WHERE what = 'after') AS too_many,
		min(begun + GREATEST(most, rate * t - ended) - rate * (called_at - 0.000003) - (burst - 1))
			FILTER (WHERE what = 'refused') AS too_few,
		max(burst + rate * t) FILTER (WHERE what = 'after') AS possible
	FROM line GROUP BY resource, key});

is(ask('SELECT resource, count(*) FROM verdict WHERE admitted > 0 AND refused > 0 GROUP BY 1 ORDER BY 1'),
	"hot|1\nmany|1000", 'each key has had calls admitted and calls refused');
is(ask('SELECT count(*) FROM verdict WHERE too_many > 1e-6'), '0',
	'in no interval was more admitted than the burst and what the rate gives');
is(ask('SELECT count(*) FROM verdict WHERE too_few <= 0'), '0', 'no call was refused that had to be admitted');
note ask(q{SELECT resource, sum(admitted), min(part), max(part)
	FROM (SELECT *, round((admitted / possible)::numeric, 3) AS part FROM verdict) AS v
	GROUP BY 1 ORDER BY 1});

# --- no refill ---------------------------------------------------------------

ask(q{
	INSERT INTO meter.rate_limit (resource, per, max, burst) VALUES
		('thousand', 'day', 0, 1000), ('one', 'day', 0, 1), ('none', 'day', 0, 0)});
is( sum(at_once(\@pool, q{SELECT count(*) FILTER (WHERE meter_allow('t', 'thousand'))
		FROM generate_series(1, 500)})),
	1000, 'without a refill just the burst is admitted');
is( join(' ', at_once(\@pool, q{SELECT count(*) FILTER (WHERE meter_allow('t', 'thousand'))
		FROM generate_series(1, 100)})), join(' ', ("0\n") x 16), 'then nothing, to nobody');
is( sum(at_once(\@pool, q{SELECT count(*) FILTER (WHERE meter_allow('t' || i, 'one'))
		FROM generate_series(1, 200) AS i})),
	200, 'with a burst of one, one call for each of 200 tenants');
is( sum(at_once(\@pool, q{SELECT count(*) FILTER (WHERE meter_allow('t', 'none'))
		FROM generate_series(1, 100) AS i})),
	0, 'with a burst of nothing, none');
same_rows(q{SELECT sum(used), sum(allowed), sum(refused) FROM meter.rate_limit_status WHERE resource = 'one'},
	'SELECT 200, 200, 15 * 200', 'the status shows it');

# --- several rules at once ---------------------------------------------------

my $zone = daytime_zone();
ask(qq{
	INSERT INTO meter.tenant (tenant, time_zone) VALUES ('multi', '$zone');
	INSERT INTO meter.rate_limit (tenant, unit, per, max, burst, kind, per_user) VALUES
		('multi', 'requests', 'minute', 500, 100000, 'bucket', false),
		('multi', 'requests', 'hour', 0, 100000, 'bucket', false),
		('multi', 'requests', 'day', 1000, NULL, 'window', false),
		('multi', 'cost', 'day', 10000, NULL, 'window', false),
		('multi', 'cost', 'month', 1000000, NULL, 'window', false),
		('multi', 'requests', 'day', 200, NULL, 'window', true),
		('multi', 'cost', 'hour', 0, 500, 'bucket', true)});
ask('CREATE UNLOGGED TABLE admitted (user_id text, n bigint, calls bigint)');

# Every user but the first makes one call of sixteen; he makes nine.
my $race = q{
	WITH c AS MATERIALIZED (
		SELECT 'u' || CASE WHEN i % 16 < 8 THEN 0 ELSE i % 8 END AS user_id, i
		FROM generate_series(1, 400) AS i
	), d AS MATERIALIZED (
		SELECT user_id, meter_allow('multi', '*', 0.37, user_id) AS allowed FROM c)
	INSERT INTO admitted SELECT user_id, count(*) FILTER (WHERE allowed), count(*) FROM d GROUP BY 1};

# Each rule has exactly what was admitted; the one that refills, what it can
# have refilled less.
sub check_multi
{
	my ($when, $began) = @_;
	same_rows(
		q{SELECT r.unit, r.per, s.used FROM meter.rate_limit_status AS s JOIN meter.rate_limit AS r ON r.id = rule_id
			WHERE s.tenant = 'multi' AND NOT r.per_user AND r.per <> 'minute' ORDER BY 1, 2},
		q{SELECT unit, per, trim_scale(sum(n) * price) FROM admitted CROSS JOIN (VALUES
			('cost', 'day', 0.37), ('cost', 'month', 0.37), ('requests', 'day', 1), ('requests', 'hour', 1)
			) AS v (unit, per, price) GROUP BY unit, per, price ORDER BY 1, 2},
		"$when: the tenant's rules have exactly what was admitted");
	same_rows(
		q{SELECT s.user_id, r.unit, s.used FROM meter.rate_limit_status AS s JOIN meter.rate_limit AS r ON r.id = rule_id
			WHERE s.tenant = 'multi' AND r.per_user AND s.used > 0 ORDER BY 1, 2},
		q{SELECT user_id, unit, trim_scale(sum(n) * price) FROM admitted CROSS JOIN (VALUES
			('cost', 0.37), ('requests', 1)) AS v (unit, price) GROUP BY user_id, unit, price HAVING sum(n) > 0 ORDER BY 1, 2},
		"$when: so have its users' rules");
	is( ask(qq{SELECT used BETWEEN total - 500 / 60.0 * extract(epoch FROM clock_timestamp() - '$began')
				AND total
			FROM meter.rate_limit_status AS s CROSS JOIN (SELECT sum(n) AS total FROM admitted) AS a
			WHERE s.tenant = 'multi' AND user_id IS NULL AND per = 'minute'}),
		't', "$when: a rule that refills has no more, and no less than it can have refilled");
	is( ask(q{SELECT count(DISTINCT allowed), min(allowed) = (SELECT sum(n) FROM admitted)
			FROM meter.rate_limit_status WHERE tenant = 'multi' AND user_id IS NULL}),
		'1|t', "$when: each has counted the calls that were let through");
	return;
}

my $began = ask('SELECT clock_timestamp()');
at_once(\@pool, $race);
is(ask(q{SELECT sum(n) FROM admitted WHERE user_id = 'u0'}), '200', 'a user has used up his own quota');
is(ask(q{SELECT sum(n) FROM admitted WHERE user_id <> 'u0'}), '800',
	q{and the others what he has left of the tenant's});
check_multi('a quota and one by user are used up', $began);

# Now the cost of a day, with decimals that are no sum of 0.37
ask(q{
	UPDATE meter.rate_limit SET max = 100000 WHERE tenant = 'multi' AND unit = 'requests' AND kind = 'window';
	UPDATE meter.rate_limit SET max = 500 WHERE tenant = 'multi' AND unit = 'cost' AND per = 'day'});
at_once(\@pool, $race);
is(ask('SELECT sum(n) FROM admitted'), int(500 / 0.37), 'a limit of cost admits what fits into it');
check_multi('the cost of a day is used up', $began);

# A shadow decides for itself, and neither refuses nor holds back
ask(q{
	UPDATE meter.rate_limit SET max = 100000 WHERE tenant = 'multi' AND unit = 'cost' AND per = 'day';
	UPDATE meter.rate_limit SET mode = 'shadow', burst = 0.5 WHERE tenant = 'multi' AND unit = 'cost' AND per = 'hour'});
my $before = ask('SELECT sum(n) FROM admitted');
at_once(\@pool, $race);
is(ask('SELECT sum(n) FROM admitted') - $before, 16 * 400, 'a shadow that is full lets all through');
same_rows(
	q{SELECT used FROM meter.rate_limit_status
		WHERE tenant = 'multi' AND user_id IS NULL AND unit = 'cost' AND per = 'month'},
	'SELECT trim_scale(sum(n) * 0.37) FROM admitted', 'and others are charged as ever');

# Calls of many tenants' users, who have locks of their own, in all orders. What
# users may have is less than their tenants may.
ask(q{INSERT INTO meter.rate_limit (resource, per, max, burst, per_user) VALUES
	('crossed', 'day', 0, 12, true), ('crossed', 'day', 0, 40, false)});
my @crossed = at_once(\@pool, q{
	WITH c AS MATERIALIZED (
		SELECT 'c' || t AS tenant, 'u' || u AS user_id
		FROM generate_series(1, 50) AS t, generate_series(1, 3) AS u, generate_series(1, 16)
		ORDER BY random())
	SELECT count(*) FILTER (WHERE meter_allow(tenant, 'crossed', 1, user_id)) FROM c});
is(sum(@crossed), 50 * 3 * 12, 'of all users of many tenants, each has his calls');
same_rows(q{SELECT count(*), count(DISTINCT tenant), min(used), max(used)
		FROM meter.rate_limit_status WHERE resource = 'crossed' AND user_id IS NOT NULL},
	'SELECT 150, 50, 12, 12', 'and no more');
same_rows(q{SELECT count(*), min(used), max(used)
		FROM meter.rate_limit_status WHERE resource = 'crossed' AND user_id IS NULL},
	'SELECT 50, 36, 36', 'which their tenants have as well');

# --- what rolls back, and what is given back ---------------------------------

ask(q{
	INSERT INTO meter.rate_limit (tenant, per, max, burst) VALUES ('back', 'day', 0, 100);
	INSERT INTO meter.rate_limit (tenant, unit, per, max, burst) VALUES ('back', 'cost', 'day', 0, 50)});

sub used_of
{
	my ($tenant, $where) = @_;
	return ask("SELECT string_agg(used::text, ' ' ORDER BY unit DESC, per) FROM meter.rate_limit_status
		WHERE tenant = '$tenant' AND user_id IS NULL", $where);
}

session(q{
	BEGIN; SELECT meter_allow('back', '*', 1.5); ROLLBACK;
	BEGIN; SAVEPOINT s; SELECT meter_allow('back', '*', 1.5); ROLLBACK TO s; COMMIT;
	SELECT meter_allow('back', '*', 1.5), 1 / (i - i) FROM generate_series(1, 1) AS i;
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT count(meter_allow('back', '*', 1.5)) FROM generate_series(1, 3);
	ROLLBACK;
	BEGIN READ ONLY; SELECT meter_allow('back', '*', 1.5); ROLLBACK});
is(used_of('back'), '7 10.5', 'I7: a call stays charged whatever becomes of its transaction');
ask(q{BEGIN; SELECT meter_refund('back', '*', 1.5); ROLLBACK});
is(used_of('back'), '6 9', 'and so does what is given back');
at_once(\@pool, q{SELECT count(meter_refund('back', '*', 1.5)) FROM generate_series(1, 10)});
is(used_of('back'), '0 0', 'I7: no more is given back than was taken');
is( sum(at_once(\@pool, q{SELECT count(*) FILTER (WHERE meter_allow('back', '*', 0.25)) FROM generate_series(1, 20)})),
	100, 'the limit is what it was');
is( ask(q{SELECT count(*) FILTER (WHERE meter_allow('back', '*', 0)),
			count(*) FILTER (WHERE meter_allow('back', '*', 40))
		FROM generate_series(1, 100)}),
	'0|0', 'looks and calls that are refused');
is(used_of('back'), '100 25', 'change nothing');
is( ask(q{SELECT sum(refunds), sum(calls) FROM (
		SELECT count(meter_refund('back', '*', 0.25)) AS refunds, 0 AS calls FROM generate_series(1, 40)
		UNION ALL SELECT 0, count(*) FILTER (WHERE meter_allow('back', '*', 0.25)) FROM generate_series(1, 100)) AS x}),
	'40|40', 'what was given back can be taken again');

# --- I8: calls that are broken off ----------------------------------------------

# Errors after the k-th call of a statement, for k from 1 to 100, in each session
ask(q{INSERT INTO meter.rate_limit (tenant, unit, per, max, burst) VALUES ('cut', 'cost', 'day', 0, 1000000000)});
at_once(\@pool, q{DO $$ BEGIN
	FOR k IN 1 .. 100 LOOP
		BEGIN
			PERFORM meter_allow('cut'), 1 / (i - k) FROM generate_series(1, 100) AS i;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP; END $$});
is(used_of('cut'), @pool * 5050, 'I8: calls before an error are charged, and no others');

# Cancelled and ended wherever they are.  A timeout ends with the transaction
# that it has aborted, so that it cannot cancel another statement.
my $calls = q{SELECT count(meter_allow('cut')) FROM (SELECT generate_series(1, 2000000000)) AS s};
my $cancelled = sum(map { scalar(() = /canceling statement due to statement timeout/g) }
	  at_once(\@pool, join ';', map { "BEGIN; SET LOCAL statement_timeout = $_; $calls; ROLLBACK" } 3 .. 22));
is($cancelled, @pool * 20, 'I8: all statements were cancelled');
for (1 .. 5)
{
	my @ended = map { open_session() } 1 .. 4;
	tell_session($_, "SET application_name = 'ended'; $calls") for @ended;
	wait_until(q{SELECT count(*) = 4 FROM pg_stat_activity WHERE application_name = 'ended' AND state = 'active'
		AND query LIKE '%meter_allow%'}, 'sessions make calls');
	ask(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'ended'});
	wait_until(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'ended'}, 'they have ended');
	$_->{run}->finish for @ended;
}
my ($used_by_cut, $allowed_of_cut) = split /\|/, ask(q{SELECT used, allowed FROM meter.rate_limit_status WHERE tenant = 'cut'});
cmp_ok($used_by_cut, '>', @pool * 5050, 'I8: they have made calls');
is($allowed_of_cut, $used_by_cut, 'I8: what is used is what was let through');
my $rest = 1000000000 - $used_by_cut;
is( ask(qq{SET meter.track_refused = off;
		SELECT meter_allow('cut', '*', $rest + 1), meter_allow('cut', '*', $rest), meter_allow('cut', '*', 1)}),
	'f|t|f', 'I8: and the rest is left, exactly');
is( ask(q{SET statement_timeout = '60s';
		SELECT count(*), count(*) FILTER (WHERE meter_allow('after ' || i)) FROM generate_series(1, 2000) AS i}),
	'2000|2000', 'I8: no lock is left behind');
ask(q{SELECT sum(meter_reset_limit('after ' || i)) FROM generate_series(1, 2000) AS i});

# --- refused calls in the totals ---------------------------------------------

# All that was refused so far but by the sessions that did not track it: those
# of "thousand", "one", "none", of "multi" and of "back", where looks do not
# count.  And some of each form of a resource.
ask(q{
	INSERT INTO meter.rate_limit (tenant, per, max, burst) VALUES ('forms', 'day', 0, 0);
	BEGIN;
	SELECT meter_allow('forms', r, user_id => 'ann')
	FROM unnest(ARRAY['openai', '/api/v1', 'POST /api/bulk', '*', 'openai']) AS r;
	ROLLBACK});
for (1 .. 3)
{
	like(session(q{SELECT meter_require('forms', 'openai')}), qr/ERROR:  PT429: rate limit exceeded for "forms"/,
		'meter_require() raises PT429');
}
wait_for_flush();
ask('SELECT meter_rollup()');
same_rows(
	q{SELECT tenant, service, endpoint, method, sum(errors_429), sum(events), sum(quantity), sum(errors_4xx)
		FROM meter.usage_hourly WHERE tenant = 'forms' GROUP BY 1, 2, 3, 4 ORDER BY 2, 3, 4},
	q{VALUES ('forms', 'openai', NULL, NULL, 5, 5, 0, 5), ('forms', NULL, '/api/bulk', 'POST', 1, 1, 0, 1),
		('forms', NULL, '/api/v1', NULL, 1, 1, 0, 1), ('forms', NULL, NULL, NULL, 1, 1, 0, 1)
		ORDER BY 2, 3, 4},
	'a refused call is in the totals as a 429 that has used nothing');
is( ask(q{SELECT sum(errors_429) FROM meter.usage_hourly WHERE service = 'thousand'}),
	16 * 500 - 1000 + 16 * 100, 'those of many sessions are, exactly');
is(ask(q{SELECT sum(errors_429) FROM meter.usage_hourly WHERE service = 'one'}), 15 * 200, 'also of many tenants');
is(ask(q{SELECT sum(errors_429), sum(quantity), sum(events) FROM meter.usage_hourly WHERE tenant = 'multi'}),
	ask('SELECT sum(calls - n), 0, sum(calls - n) FROM admitted'), 'and those that one of several rules has refused');
is(ask(q{SELECT count(*) FROM meter.event WHERE user_id = 'u0' AND status = 429}),
	ask(q{SELECT sum(calls - n) FROM admitted WHERE user_id = 'u0'}), 'the log knows of which user');
is(ask('SELECT untracked, unmetered, refused_full FROM meter.limit_stats'), '0|0|0', 'none is missing');

# --- changes -----------------------------------------------------------------

# What sessions may be in the midst of, each with the query it asks with.
my $limit_of = q{SELECT "limit" FROM meter_check('%s', 'change', 0)};
my @states = (
	{ name => 'a session' },
	{ name => 'a long transaction', begin => 'BEGIN; SELECT FROM meter.plan WHERE false' },
	{
		name => 'a repeatable read transaction',
		begin => 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM meter.plan WHERE false'
	},
	{
		name => 'a serializable transaction',
		begin => 'BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY; SELECT FROM meter.plan WHERE false'
	},
	{
		name => 'a prepared statement',
		begin => q{SET plan_cache_mode = force_generic_plan;
			PREPARE limit_of AS SELECT "limit" FROM meter_check($1, 'change', 0)},
		ask => q{EXECUTE limit_of('%s')}
	});

sub limit_in
{
	my ($state, $tenant) = @_;
	chomp(my $answer = in_session($state->{session}, sprintf $state->{ask} // $limit_of, $tenant));
	return $answer;
}

# What all sessions say is the limit, among them one that is new.
sub limits
{
	my ($tenant) = @_;
	return join ' ', (map { limit_in($_, $tenant) } @states), ask(sprintf $limit_of, $tenant);
}

sub all_of
{
	my ($limit) = @_;
	return join ' ', ($limit) x (@states + 1);
}

# Each change of a tenant's limit, and what it is then.  Plan a has 10, b has
# 20, and who has none has 5.
my $more_tenants = q{FROM generate_series(1, 200) AS i};
my @changes = (
	[ 'a new tenant with a plan', q{INSERT INTO meter.tenant (tenant, plan) VALUES ('c', 'a')}, 10 ],
	[ 'another plan', q{UPDATE meter.tenant SET plan = 'b' WHERE tenant = 'c'}, 20 ],
	[ "a plan's rule", q{UPDATE meter.rate_limit SET max = 25 WHERE plan = 'b'}, 25 ],
	[ 'a rule of its own',
		q{INSERT INTO meter.rate_limit (tenant, resource, per, max) VALUES ('c', 'change', 'hour', 40)}, 40 ],
	[ 'a change of that', q{UPDATE meter.rate_limit SET max = 41, burst = 42 WHERE tenant = 'c'}, 42 ],
	[ 'that rule for another one', q{UPDATE meter.rate_limit SET tenant = 'd' WHERE tenant = 'c'}, 25 ],
	[ 'that rule again', q{UPDATE meter.rate_limit SET tenant = 'c', resource = 'ch*' WHERE tenant = 'd'}, 25 ],
	[ 'a more specific one', q{UPDATE meter.rate_limit SET resource = 'change' WHERE tenant = 'c'}, 42 ],
	[ 'no rule of its own', q{DELETE FROM meter.rate_limit WHERE tenant = 'c'}, 25 ],
	[ "another name of the plan", q{UPDATE meter.plan SET plan = 'b2' WHERE plan = 'b'}, 25 ],
	[ 'no plan', q{UPDATE meter.tenant SET plan = NULL WHERE tenant = 'c'}, 5 ],
	[ 'a plan with a multiplier', q{UPDATE meter.tenant SET plan = 'triple' WHERE tenant = 'c'}, 15 ],
	[ 'another multiplier', q{UPDATE meter.plan SET multiplier = 3.1 WHERE plan = 'triple'}, 16 ],
	[ 'many tenants at once', qq{INSERT INTO meter.tenant (tenant, plan) SELECT 'c' || i, 'b2' $more_tenants;
		UPDATE meter.tenant SET plan = 'a' WHERE tenant LIKE 'c%'}, 10 ],
	[ 'another name of the tenant', q{UPDATE meter.tenant SET tenant = 'e' WHERE tenant = 'c'}, 5 ],
	[ 'the name again', q{UPDATE meter.tenant SET tenant = 'c' WHERE tenant = 'e'}, 10 ],
	[ 'no rule for the plan', q{DELETE FROM meter.rate_limit WHERE plan = 'a'}, 5 ],
	[ 'no tenant', q{DELETE FROM meter.tenant WHERE tenant LIKE 'c%'}, 5 ],
	[ 'no rules at all', q{DELETE FROM meter.rate_limit}, '' ]);

# What is left of the sections before does not matter any more.
sub begin_changes
{
	ask(q{
		TRUNCATE meter.rate_limit, meter.tenant; DELETE FROM meter.plan;
		INSERT INTO meter.plan (plan, multiplier) VALUES ('a', 1), ('b', 1), ('triple', 3);
		INSERT INTO meter.rate_limit (plan, resource, per, max) VALUES
			(NULL, 'change', 'hour', 5), ('a', 'change', 'hour', 10), ('b', 'change', 'hour', 20)});
	for my $state (@states)
	{
		$state->{session} = open_session();
		in_session($state->{session}, $state->{begin}) if $state->{begin};
	}
	return open_session();
}

sub end_changes
{
	my ($changer) = @_;
	close_session($_->{session}) for @states;
	close_session($changer);
	return;
}

my $changer = begin_changes();
my $old = 5;
is(limits('c'), all_of($old), 'all sessions have the limit for all');
for (@changes)
{
	my ($what, $change, $new) = @$_;
	my $mine = sprintf $limit_of, 'c';

	is(in_session($changer, "BEGIN; $change; $mine"), "$new\n", "$what: in force for who has made the change");
	is(limits('c'), all_of($old), '... and for nobody else');
	is(in_session($changer, "ROLLBACK; $mine"), "$old\n", '... gone after ROLLBACK');
	is(in_session($changer, "BEGIN; SAVEPOINT s; $change; $mine; ROLLBACK TO s; $mine"), "$new\n$old\n",
		'... and after ROLLBACK TO');
	in_session($changer, 'COMMIT');
	is(limits('c'), all_of($old), '... for all');
	in_session($changer, $change);
	is(limits('c'), all_of($new), "$what: in force everywhere after the commit");
	is(in_session($changer, $mine), "$new\n", '... and there');
	$old = $new;
}
end_changes($changer);

# The default plan is a setting
$changer = begin_changes();
is(limits('c'), all_of(5), 'without a default plan, a tenant without a plan has the limit for all');
for my $plan ('a', 'b', '')
{
	ask("ALTER SYSTEM SET meter.default_plan = '$plan'");
	$node->reload;
	for my $state (@states)
	{
		1 until in_session($state->{session}, 'SHOW meter.default_plan') eq "$plan\n";
	}
	wait_until("SELECT current_setting('meter.default_plan') = '$plan'", 'the setting is read');
	is(limits('c'), all_of({ a => 10, b => 20, '' => 5 }->{$plan}), "default plan '$plan' in every session");
}
is(in_session($changer, q{SET meter.default_plan = 'b'; } . sprintf $limit_of, 'c'), "20\n",
	'it can be set for a session');
is(limits('c'), all_of(5), 'and is of that one only');
end_changes($changer);

# What is used stays when the limit changes, also the unit of time
ask(q{
	INSERT INTO meter.rate_limit (tenant, per, max, burst) VALUES ('kept', 'hour', 0, 100);
	SELECT count(meter_allow('kept')) FROM generate_series(1, 60);
	UPDATE meter.rate_limit SET burst = 200 WHERE tenant = 'kept'});
is(ask(q{SELECT remaining FROM meter_check('kept', '*', 0)}), '140', 'what was taken stays taken of a larger limit');
ask(q{UPDATE meter.rate_limit SET per = 'day' WHERE tenant = 'kept'});
is(ask(q{SELECT remaining FROM meter_check('kept', '*', 0)}), '140', 'of one for another time');
ask(qq{INSERT INTO meter.tenant (tenant, time_zone) VALUES ('kept', '$zone');
	UPDATE meter.rate_limit SET burst = NULL, max = 100, kind = 'window' WHERE tenant = 'kept'});
is(ask(q{SELECT quota_remaining FROM meter_check('kept', '*', 0)}), '40', 'of a quota');
ask(q{UPDATE meter.rate_limit SET burst = 70, max = 0, kind = 'bucket' WHERE tenant = 'kept'});
is(ask(q{SELECT remaining FROM meter_check('kept', '*', 0)}), '10', 'and of a bucket again');

# --- changes that race with calls --------------------------------------------

# Whatever it is that changes to and fro, with the limit of each state.  After
# the last change each session has to go by it.
my @toggles = (
	[ 'the plan of a tenant', q{UPDATE meter.tenant SET plan = '{}' WHERE tenant = 'race'}, a => 10, b => 20 ],
	[ 'a rule of a tenant', q{UPDATE meter.rate_limit SET tenant = '{}' WHERE max = 7}, race => 7, other => 10 ],
	[ 'a rule of a plan', q{UPDATE meter.rate_limit SET max = {} WHERE plan = 'a'}, 11 => 11, 12 => 12 ],
	[ 'many tenants', q{UPDATE meter.tenant SET plan = '{}'}, a => 11, b => 20 ]);
$changer = begin_changes();
ask(q{
	INSERT INTO meter.tenant (tenant, plan) SELECT 'r' || i, 'a' FROM generate_series(1, 100) AS i;
	INSERT INTO meter.tenant (tenant, plan) VALUES ('race', 'a');
	INSERT INTO meter.rate_limit (tenant, resource, per, max) VALUES ('other', 'change', 'hour', 7)});
for (@toggles)
{
	my ($what, $sql, %states) = @$_;
	my @names = sort keys %states;
	my $wrong = 0;
	my $seen = 0;
	for my $round (1 .. 8)
	{
		tell_session($_, q{SELECT string_agg(DISTINCT "limit"::text, ' ')
			FROM (SELECT (meter_check('race', 'change', 0))."limit" FROM generate_series(1, 5000) OFFSET 0) AS c}) for @pool;
		for my $i ($round .. $round + 20)
		{
			(my $change = $sql) =~ s/\{\}/$names[$i % 2]/g;
			in_session($changer, $change);
		}
		my $expected = $states{ $names[ $round % 2 ] };
		$seen += grep { / / } map { answer_of($_) } @pool;
		tell_session($_, sprintf $limit_of, 'race') for @pool;
		$wrong += grep { $_ ne "$expected\n" } map { answer_of($_) } @pool;
	}
	is($wrong, 0, "$what, changed in a race with calls: the last change counts");
	note "$seen statements have seen both";
}
end_changes($changer);

# --- parallel queries --------------------------------------------------------

my $force = ask(q{SELECT name FROM pg_settings WHERE name IN ('debug_parallel_query', 'force_parallel_mode')});
my $parallel = qq{SET $force = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 4;};
ask(qq{
	TRUNCATE meter.rate_limit, meter.tenant;
	CREATE TABLE big AS SELECT i, repeat('x', 100) AS filler FROM generate_series(1, 20000) AS i;
	ALTER TABLE big SET (parallel_workers = 4);
	ANALYZE big;
	INSERT INTO meter.tenant (tenant, time_zone) SELECT t || i, '$zone'
	FROM unnest(ARRAY['bucket', 'quota', 'own']) AS t, generate_series(0, 1) AS i;
	INSERT INTO meter.rate_limit (resource, per, max, burst) VALUES ('bucket', 'day', 0, 700);
	INSERT INTO meter.rate_limit (resource, per, max, kind) VALUES ('quota', 'day', 1000, 'window');
	INSERT INTO meter.rate_limit (tenant, per, max, burst) VALUES ('own0', 'day', 0, 600), ('own1', 'day', 0, 600);
	SELECT count(meter_track('quota' || i % 2, service => 'quota')) FROM generate_series(1, 600) AS i});
wait_for_flush();

# Calls for each row, in a query of which workers have done something.
sub in_parallel
{
	my ($sql, $settings) = @_;
	my $plan = ask("$parallel $settings;
		EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF) SELECT count(*) FILTER (WHERE $sql) FROM big");
	like($plan, qr/Partial Aggregate/, 'a plan that has workers call');
	my ($workers) = $plan =~ /Workers Launched: (\d+)/;
	return cmp_ok($workers // 0, '>', 0, 'there are workers');
}

for my $leader (0, 1)
{
	my $setting = 'SET parallel_leader_participation = ' . ($leader ? 'on' : 'off');
	for ([ 'bucket', 'of a tenant never seen', 700 ], [ 'own', 'with a rule of its own', 600 ],
		[ 'quota', 'with a quota that was used before', 1000 ])
	{
		my ($what, $who, $limit) = @$_;
		in_parallel(qq{meter_allow('$what$leader', '$what')}, $setting);
		is( ask("SELECT used, remaining FROM meter.rate_limit_status WHERE tenant = '$what$leader'"), "$limit|0",
			"$who: not more and not less is admitted");
		is( ask("SELECT allowed, refused FROM meter.rate_limit_status WHERE tenant = '$what$leader'"),
			$what eq 'quota' ? '700|19300' : $limit . '|' . (20000 - $limit), 'and all is counted');
		is(ask("$parallel SELECT count(*) FILTER (WHERE meter_allow('$what$leader', '$what')) FROM big"), '0',
			'another query finds nothing left');
	}
}

# Within a transaction that has changed the tenant: workers have its plan, too
is( ask(qq{
		INSERT INTO meter.plan (plan) VALUES ('small'), ('large');
		INSERT INTO meter.rate_limit (plan, resource, per, max, burst) VALUES
			('small', 'planned', 'day', 0, 300), ('large', 'planned', 'day', 0, 400);
		INSERT INTO meter.tenant (tenant, plan) VALUES ('planned', 'small');
		SELECT FROM meter_check('planned', 'planned', 0);
		$parallel SET parallel_leader_participation = off;
		BEGIN;
		UPDATE meter.tenant SET plan = 'large' WHERE tenant = 'planned';
		SELECT count(*) FILTER (WHERE meter_allow('planned', 'planned')) FROM big;
		ROLLBACK;
		SELECT count(*) FILTER (WHERE meter_allow('planned', 'planned')) FROM big}),
	"400\n300", 'workers go by what their transaction has changed');
cmp_ok(ask('SELECT untracked FROM meter.limit_stats'), '>', 0,
	'what parallel queries refuse is counted, but not tracked');

# --- several databases -------------------------------------------------------

my @databases = ('postgres', 'two', 'three');
for my $i (0 .. 2)
{
	ask("CREATE DATABASE $databases[$i]; ") if $i;
	ask(q{CREATE EXTENSION meter CASCADE}, $databases[$i]) if $i;
	ask('TRUNCATE meter.rate_limit RESTART IDENTITY; INSERT INTO meter.rate_limit (per, max, burst) VALUES (\'day\', 0, '
		  . 10 * ($i + 1) . ')', $databases[$i]);
}
is( join(' ', map { ask(q{SELECT min(id) || '/' || max(id) FROM meter.rate_limit}, $_) } @databases), '1/1 1/1 1/1',
	'three databases have a rule of the same number');
is(join(' ', map { admitted('same', '*', 100, $_) } @databases), '10 20 30',
	'and the same tenant, of which each keeps its own count');
my $state = q{SELECT used, refused FROM meter.rate_limit_status WHERE tenant = 'same'};
is(join(' ', map { ask($state, $_) } @databases), '10|90 20|80 30|70', 'and shows no other');
ask(q{SELECT meter_reset_limit('same')}, 'two');
is( join(' ', map { used_of('same', $_) } @databases), '10 0 30', 'setting one back leaves the others');

# What a database has goes with it, also if it was not used since the restart
my $blocks = 'SELECT blocks_used FROM meter.limit_stats';
$node->restart;
@pool = ();
my $held = ask($blocks);
ask('SELECT meter_allow(\'same\')', 'two');
insist("DROP DATABASE $_") for 'two', 'three';
ask(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'meter launcher'});
ok_until("SELECT blocks_used <= $held - 2 FROM meter.limit_stats", 'what dropped databases had is given back');
is(used_of('same'), '10', 'what others have is not');

# A new extension has nothing to do with the old one, however soon it comes, and
# also if the server was restarted before anybody has called
my $new_extension = q{
	DROP EXTENSION meter; CREATE EXTENSION meter;
	INSERT INTO meter.rate_limit (resource, per, max, burst)
	SELECT 'r' || i, 'day', 0, 5 FROM generate_series(1, 50) AS i};
my $ten_of_each = q{SELECT count(*) FILTER (WHERE meter_allow('same', 'r' || i))
	FROM generate_series(1, 50) AS i, generate_series(1, 10)};
my $witness = open_session();
for (1 .. 3)
{
	ask($new_extension);
	is(in_session($witness, $ten_of_each), "250\n",
		'what was taken of rules of an old extension is not taken of those of a new one');
}
close_session($witness);
ask($new_extension);
$node->restart;
is(ask($ten_of_each), '250', 'also after a restart');
is(ask('SELECT count(*), sum(used), sum(refused) FROM meter.rate_limit_status'), '50|250|250', 'there is nothing else');

# --- prepared transactions ---------------------------------------------------

# Then nobody is there at the commit who knows what has changed.
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$node->restart;
$changer = begin_changes();
$old = 5;
is(limits('c'), all_of($old), 'with prepared transactions, all sessions have the limit for all');
for (@changes[ 0 .. 7 ])
{
	my ($what, $change, $new) = @$_;
	my $mine = sprintf $limit_of, 'c';

	is(in_session($changer, "BEGIN; $change; $mine; PREPARE TRANSACTION 'x'"), "$new\n", "$what: seen by who prepares it");
	is(limits('c') . ' ' . in_session($changer, $mine), all_of($old) . " $old\n",
		'... and by nobody before it is committed');
	in_session($changer, q{ROLLBACK PREPARED 'x'});
	is(limits('c') . ' ' . in_session($changer, $mine), all_of($old) . " $old\n", '... or if it is not');
	in_session($changer, "BEGIN; $change; PREPARE TRANSACTION 'x'");
	in_session($changer, q{COMMIT PREPARED 'x'});
	# first one that has asked for nothing before
	is(ask(sprintf $limit_of, 'c'), $new, "$what: in force for a new session after COMMIT PREPARED");
	is(limits('c') . ' ' . in_session($changer, $mine), all_of($new) . " $new\n", '... and for all others');
	$old = $new;
}

# Only the first session has read what is known of the tenant; nobody has after
# the change
my $reader = open_session();
my $user = open_session();
is(in_session($reader, sprintf $limit_of, 'p'), "5\n", 'one session reads what is known of a tenant');
is(in_session($user, sprintf $limit_of, 'p'), "5\n", 'another uses it');
in_session($changer, q{BEGIN; INSERT INTO meter.tenant (tenant, plan) VALUES ('p', 'a'); PREPARE TRANSACTION 'x'});
in_session($changer, q{COMMIT PREPARED 'x'});
is(in_session($user, sprintf $limit_of, 'p'), "10\n", 'which hears of a change, too');

# So many messages that a session that could not listen meanwhile has lost them
my $pid = in_session($reader, 'SELECT pg_backend_pid()') + 0;
is(in_session($reader, sprintf $limit_of, 'p'), "10\n", 'and so does the first one');
stop_process($pid);
in_session($changer, q{BEGIN; UPDATE meter.tenant SET plan = 'triple' WHERE tenant = 'p'; PREPARE TRANSACTION 'x'});
in_session($changer, q{COMMIT PREPARED 'x'; DO $$ BEGIN
	FOR i IN 1 .. 2000 LOOP CREATE TYPE junk AS ENUM (); DROP TYPE junk; END LOOP; END $$});
continue_process();
is(in_session($reader, sprintf $limit_of, 'p'), "15\n", 'a session that has lost many messages trusts nothing');
close_session($_) for $reader, $user;
end_changes($changer);

# --- a full table ------------------------------------------------------------

$node->append_conf('postgresql.conf', "meter.limit_memory = '64kB'\nmeter.save_interval = 0");
my $log_offset = -s $node->logfile;
$node->stop;
unlink $node->data_dir . '/pg_meter/limits';
$node->start;
ask(q{
	TRUNCATE meter.rate_limit, meter.tenant;
	INSERT INTO meter.rate_limit (resource, per, max, burst) VALUES
		('keep', 'day', 0, 3), ('brief', 'second', 1000000, 1)});
my ($room) = ask('SELECT blocks FROM meter.limit_stats');
cmp_ok($room, '>', 100, 'there is room');
cmp_ok($room, '<', 600, 'but not for all');
my $ten_of_busy = q{SELECT count(*) FILTER (WHERE meter_allow('busy' || i % 50, 'keep'))
	FROM generate_series(1, 500) AS i};
is(ask($ten_of_busy), '150', 'fifty tenants use their limit up');
ask(q{
	CREATE TABLE decided (tenant text, reason text, allowed boolean);
	CREATE FUNCTION flood(name text, resource text, tenants integer) RETURNS void LANGUAGE sql AS $$
		INSERT INTO decided SELECT t, (d).reason, (d).allowed
		FROM (SELECT t, meter_check(t, resource) AS d FROM (
			SELECT name || i AS t FROM generate_series(1, tenants) AS i OFFSET 0) AS n OFFSET 0) AS c $$});
my $stats = 'SELECT evicted, unmetered, refused_full FROM meter.limit_stats';

# One tenant takes one block, and nobody is idle
ask(q{SET meter.on_full = allow; SELECT flood('a', 'keep', 1000)});
is(ask(q{SELECT reason, allowed, count(*) FROM decided GROUP BY 1, 2 ORDER BY 1}),
	'full|t|' . (1000 - $room + 50) . "\nok|t|" . ($room - 50), 'I9: for who comes later there is no room: let through');
is(ask($stats), '0|' . (1000 - $room + 50) . '|0', 'and counted as such');
ask(q{TRUNCATE decided; SET meter.on_full = deny; SELECT flood('b', 'keep', 1000)});
is(ask(q{SELECT reason, allowed, count(*) FROM decided GROUP BY 1, 2 ORDER BY 1}), 'full|f|1000', 'I9: or refused');
is(ask($stats), '0|' . (1000 - $room + 50) . '|1000', 'and counted, too');
is(ask($blocks), $room, 'all is in use');
like(session(q{SET meter.on_full = deny; SELECT meter_require('c', 'keep')}),
	qr/ERROR:  PT429: calls of "c" cannot be counted now\nHINT:  Retry after 1 second\.\n/, 'meter_require() says so');
is( ask(q{SET meter.on_full = deny;
		SELECT reason, retry_after, meter_headers(d) FROM meter_check('c', 'keep') AS d}),
	'full|00:00:01|{"Retry-After": "1", "X-RateLimit-Retry-After": "1"}',
	'and when to come back, as room is looked for once a second');
is( ask(q{SET meter.on_full = allow; SELECT allowed, retry_after FROM meter_check('c', 'keep')}), 't|',
	'who was let through need not');
my $uncounted = ask($stats);
ask(qq{SET meter.on_full = $_; SELECT meter_refund('c', 'keep'); SELECT FROM meter_check('c', 'keep', 0)}) for 'allow', 'deny';
is(ask($stats), $uncounted, 'who looks or gives back is no call without room');
is( ask(q{SELECT count(*) FILTER (WHERE meter_allow('a1', 'keep')) FROM generate_series(1, 10)}), '2',
	'who is in there is counted as ever');
is( scalar(() = slurp_file($node->logfile, $log_offset) =~ /there is no room to count the calls of more tenants/g), 1,
	'the log says it once');

# Some become idle, and make room: those set back, and those whose bucket is
# full again after a while
is(ask(q{SELECT sum(meter_reset_limit('a' || i)) FROM generate_series(1, 100) AS i}), '100', 'a hundred are set back');
ask(q{TRUNCATE decided; SELECT flood('d', 'brief', 100)});
is(ask(q{SELECT reason, count(*) FROM decided GROUP BY 1}), 'ok|100', 'so there is room for a hundred others');
is(ask('SELECT evicted FROM meter.limit_stats'), '100', 'that many have made room');
my $tries = 10 * $PostgreSQL::Test::Utils::timeout_default;
do
{
	ask(q{TRUNCATE decided; SELECT pg_sleep(0.5); SELECT flood('e', 'brief', 100)});
} while ask(q{SELECT count(*) FROM decided WHERE reason = 'ok'}) ne '100' && $tries-- > 0;
# and some of the new ones again, if not all of the old were full at once
cmp_ok(ask('SELECT evicted FROM meter.limit_stats'), '>=', 200, 'so do those whose limit is there again');
ask(q{SELECT flood('f' || i, 'brief', 100) FROM generate_series(1, 20) AS i});
is(ask($ten_of_busy), '0', 'I9: who has used his limit up has made room for nobody');
is(ask(q{SELECT count(*), sum(used) FROM meter.rate_limit_status WHERE tenant LIKE 'busy%'}), '50|150',
	'as the status shows');

# Users need room besides their tenant, and keep it in
ask(q{SELECT sum(meter_reset_limit('a' || i)) FROM generate_series(1, 1000) AS i;
	INSERT INTO meter.rate_limit (resource, per, max, burst, per_user) VALUES ('each', 'day', 0, 1, true)});
ask(q{CREATE TABLE by_user AS SELECT (d).allowed, (d).reason
	FROM (SELECT meter_check('team', 'each', user_id => 'u' || i) AS d FROM generate_series(1, 2000) AS i OFFSET 0) AS c});
is( ask(q{SELECT count(*) = (SELECT count(*) FROM meter.rate_limit_status WHERE tenant = 'team')
		FROM by_user WHERE reason = 'ok'}),
	't', 'of a tenant with more users than there is room for, some are counted');
is( ask(q{SELECT count(*) FILTER (WHERE meter_allow('team', 'each', user_id => 'u' || i))
			- (SELECT count(*) FROM by_user WHERE reason = 'full') FROM generate_series(1, 2000) AS i}),
	'0', 'and stay so');

$node->stop;
is( join("\n", grep { /(WARNING|PANIC)|meter \w+ (ERROR|FATAL)/ && !/terminating background worker/
			&& !/FATAL:  database (\d+|"\w+") does not exist/ }
		split /\n/, slurp_file($node->logfile)),
	'', 'nothing went wrong besides');

# --- without shared memory ---------------------------------------------------

my $plain = start_node('nopreload', '');
ask(q{CREATE EXTENSION meter CASCADE; INSERT INTO meter.rate_limit (per, max) VALUES ('day', 1);
	INSERT INTO meter.tenant (tenant, time_zone) VALUES ('t', 'Asia/Tokyo');
	UPDATE meter.tenant SET time_zone = 'UTC'}, $plain);
for my $call ('meter_check', 'meter_allow', 'meter_require', 'meter_refund', 'meter_reset_limit')
{
	like(session("SELECT $call('t')", $plain),
		qr/ERROR:  55000: limits need shared memory, which meter has only if it is preloaded\nHINT:  .*"shared_preload_libraries"/,
		"$call() needs the server to preload meter");
}
is(ask('SELECT count(*) FROM meter.rate_limit_status', $plain), '0', 'there is nothing in the status');
is(ask('SELECT blocks IS NULL, saved_at IS NULL FROM meter.limit_stats', $plain), 't|t', 'nor in the statistics');

# what starts a quota from the log is read, not compiled, however large the log is
my @plans = grep { /FROM meter\.event AS/ } split /NOTICE:/, session(q{
	LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
	SET auto_explain.log_level = notice; SET jit_above_cost = 0;
	\set VERBOSITY terse
	SELECT meter.quota_used('t', '*', 'api_requests', 'requests', 'ann', 'day', date_trunc('day', now(), 'UTC') + interval '1 day')}, $plain);
is(scalar @plans, 1, 'what a user has used of a quota is in the log');
unlike($plans[0], qr/JIT/, 'and to look for it is not compiled');
$plain->stop;

done_testing();

# 018_bill_close.pl: closing a month twice, at once, while usage comes, and killed.
#
# However a month is closed, each tenant has exactly one bill, right to the cent:
# all usage counts once, on the bill of its month or as a delta on a later one.
# What must be billed is computed by plain SQL from the raw events.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(answer_of ask at_once close_session in_session kill_child ok_until open_session session start_node start_sql
  tell_session wait_until $by_hand);
use PostgreSQL::Test::Utils;
use Test::More;

my $tenants = 1200;		# two transactions of a thousand at the most
my $node = start_node('close', "${by_hand}meter.retention = 0\nmeter.bill_grace = 0\ntimezone = UTC\nrestart_after_crash = on\n");

# 1000 calls and their storage cost what they cost; the first 100 calls do not
ask(q{
	CREATE EXTENSION meter CASCADE;
	INSERT INTO meter.plan (plan) VALUES ('basic');
	INSERT INTO meter.plan_version (plan, base_price) VALUES ('basic', 9.99);
	INSERT INTO meter.metric (metric) VALUES ('calls'), ('bytes');
	INSERT INTO meter.tenant (tenant, plan, started_on, tax_percent) SELECT 't' || i, 'basic', '2025-01-01', i % 3 * 10
		FROM generate_series(1, } . $tenants . q{) AS i;
	INSERT INTO meter.price (price, metric, model, params, included) VALUES
		('calls', 'calls', 'per_unit', '{"unit_amount": 0.0137}', 100), ('bytes', 'bytes', 'per_unit', '{"unit_amount": 0.333}', 0)});

# Usage of a month: one event for each tenant, and for some another.
sub use_it
{
	my ($month, $every) = @_;
	ask("INSERT INTO meter.inbox (tenant, metric, quantity, at)
		SELECT 't' || i, m, (i * 7919) % 5000 / 7, '$month'::timestamptz + i % 600 * interval '1 hour'
		FROM generate_series(1, $tenants) AS i, unnest(ARRAY['calls', 'bytes']) AS m WHERE i % $every = 0;
		SELECT meter_flush(); SELECT meter_rollup()");
	return;
}

# What is wrong with the bills of a month, all bills that are final or drafts
# taken together: "" is nothing.  Base prices and usage are compared by tenant,
# each with what its month must come to.
sub wrong_bills
{
	my ($month) = @_;
	return ask(qq{
		WITH must AS (
			SELECT t.tenant, 9.99 + round(GREATEST(COALESCE(sum(e.quantity) FILTER (WHERE e.metric = 'calls'), 0) - 100, 0) * 0.0137, 2)
				+ round(COALESCE(sum(e.quantity) FILTER (WHERE e.metric = 'bytes'), 0) * 0.333, 2) AS amount
			FROM meter.tenant AS t
			LEFT JOIN meter.event AS e ON e.tenant = t.tenant AND e.superseded_by IS NULL
				AND e.at >= '$month'::timestamp AND e.at < '$month'::timestamp + interval '1 month'
			GROUP BY t.tenant
		), billed AS (
			SELECT tenant, sum(l.amount) AS amount, count(DISTINCT (b.month, b.revision)) FILTER (WHERE b.month = '$month') AS bills
			FROM meter.bill AS b JOIN meter.bill_line AS l USING (tenant, month, revision)
			WHERE b.status <> 'void' AND l.for_month = '$month' AND l.kind <> 'tax'
			GROUP BY tenant
		), added AS (
			SELECT b.tenant, b.total, b.lines, b.subtotal, b.tax, sum(l.amount) AS amount, count(*) AS n,
				sum(l.amount) FILTER (WHERE l.kind <> 'tax') AS taxed
			FROM meter.bill AS b JOIN meter.bill_line AS l USING (tenant, month, revision)
			WHERE b.month = '$month' GROUP BY b.tenant, b.month, b.revision
		)
		SELECT m.tenant || ' must be ' || m.amount || ' and is ' || COALESCE(b.amount::text, 'missing')
		FROM must AS m LEFT JOIN billed AS b USING (tenant)
		WHERE (m.amount, 1) IS DISTINCT FROM (b.amount, b.bills)
		UNION ALL
		SELECT a.tenant || ' does not add up' FROM added AS a JOIN meter.tenant AS t USING (tenant)
		WHERE a.total <> a.amount OR a.lines <> a.n OR a.subtotal <> a.taxed OR a.tax <> round(a.taxed * t.tax_percent / 100, 2)
		LIMIT 5});
}

my $fingerprint = q{SELECT md5(string_agg(b::text, '' ORDER BY tenant, month, revision)) || md5((SELECT string_agg(l::text, '' ORDER BY tenant, month, revision, line)
	FROM meter.bill_line AS l)) FROM meter.bill AS b};

# Twice

use_it('2025-01-01', 1);
my $output = session(q{CALL meter_close_month('2025-01-01')});
like($output, qr/closing 2025-01: 1000 tenants, 1000 bills.*closing 2025-01: 1200 tenants, 1200 bills/s, 'it says how far it is');
is(wrong_bills('2025-01-01'), '', 'each tenant has one bill, right to the cent');
my $before = ask($fingerprint);
like(session(q{CALL meter_close_month('2025-01-01')}), qr/1200 tenants, 0 bills/, 'closing again makes no bills');
is(ask($fingerprint), $before, 'and changes none');

# In several sessions at once, also different months

use_it($_, 2) for '2025-02-01', '2025-03-01';
my @sessions = map { open_session() } 1 .. 3;
my @answers = at_once(\@sessions, q{CALL meter_close_month('2025-02-01')});
is(join('', map { /ERROR|WARNING/ ? $_ : '' } @answers), '', 'three sessions at once: none fails');
is(wrong_bills('2025-02-01'), '', 'three sessions at once: each tenant has one bill, right to the cent');
my $made = 0;
$made += $_ for map { /1200 tenants, (\d+) bills/ ? $1 : 0 } @answers;
is($made, $tenants, 'and has been made once');
# usage for February comes late meanwhile, and both months' successors are closed at once
use_it('2025-02-01', 5);
tell_session($sessions[0], q{CALL meter_close_month('2025-03-01')});
tell_session($sessions[1], q{CALL meter_close_month('2025-04-01')});
@answers = map { answer_of($_) } @sessions[ 0, 1 ];
is(join('', map { /ERROR|WARNING/ ? $_ : '' } @answers), '', 'two months at once: none fails');
is(wrong_bills($_), '', "two months at once: $_ is right to the cent") for '2025-02-01', '2025-03-01', '2025-04-01';

# While usage comes

use_it('2025-05-01', 1);
my $writer = start_sql('writer', q{DO $$
	DECLARE
		more integer := 5;
	BEGIN
		-- until some time after the bills are final
		FOR i IN 1 .. 10000 LOOP
			more := more - CASE WHEN (SELECT count(*) = 1200 FROM meter.bill WHERE month = '2025-05-01' AND status = 'final') THEN 1 ELSE 0 END;
			EXIT WHEN more = 0;
			INSERT INTO meter.inbox (tenant, metric, quantity, at)
			SELECT 't' || 1 + (i * 37 + j * 101) % 1200, CASE j % 2 WHEN 0 THEN 'calls' ELSE 'bytes' END, i + j, '2025-05-20'::timestamptz + j * interval '1 minute'
			FROM generate_series(1, 100) AS j;
			PERFORM meter_flush();
			COMMIT;
			PERFORM meter_rollup();
			COMMIT;
		END LOOP;
	END $$});
wait_until(q{SELECT count(*) > 100 FROM meter.event WHERE at >= '2025-05-20' AND at < '2025-05-21'}, 'usage comes');
ask(q{SET meter.bill_grace = '1000000d'; CALL meter_close_month('2025-05-01')});
cmp_ok(ask(q{SELECT count(DISTINCT position) FROM meter.bill WHERE month = '2025-05-01'}), '>', 1, 'usage came while drafts were made');
@answers = at_once([ @sessions[ 0, 1 ] ], q{CALL meter_close_month('2025-05-01')});
is(join('', map { /ERROR|WARNING/ ? $_ : '' } @answers), '', 'and while they became final');
ok($writer->{run}->finish, 'all usage has come') or diag $writer->{output};
cmp_ok(ask(q{SELECT count(*) FROM meter.usage_late AS l JOIN meter.bill AS b USING (tenant)
	WHERE b.month = '2025-05-01' AND l.seq > b.position AND l.day = '2025-05-20'}), '>', 0, 'some of it after the bill');
is(ask(q{SELECT count(*) FROM meter.bill WHERE month = '2025-05-01' AND status = 'final'}), $tenants, 'all bills are final');
ask(q{CALL meter_close_month('2025-06-01')});
is(wrong_bills('2025-05-01'), '', 'with the deltas of the next bills, all is right to the cent');
is(wrong_bills('2025-06-01'), '', 'and so are these');

# kill -9

use_it('2025-07-01', 1);
my $closing = open_session();
my $pid = in_session($closing, 'SELECT pg_backend_pid()') =~ s/\n//r;
# the second slice waits for a lock
in_session($sessions[2], q{BEGIN; SELECT FROM meter.tenant WHERE tenant = (SELECT max(tenant) FROM meter.tenant) FOR UPDATE});
tell_session($closing, q{CALL meter_close_month('2025-07-01')});
wait_until(q{SELECT count(*) = 1000 FROM meter.bill WHERE month = '2025-07-01'}, 'a slice is done');
wait_until("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid", 'the second waits');
is(ask(q{SELECT missing, final FROM meter.close_progress WHERE month = '2025-07-01'}), '200|1000', 'the view shows how far it is');
# while it waits: who has the lock goes with it
kill_child($pid);
eval { $sessions[2]{run}->kill_kill };
is(ask(q{SELECT count(*) FROM meter.bill WHERE month = '2025-07-01'}), '1000', 'after kill -9 what was done is there');
ask(q{CALL meter_close_month('2025-07-01')});
is(wrong_bills('2025-07-01'), '', 'and it goes on: each tenant has one bill, right to the cent');

# kill -9 where drafts are rated anew
use_it('2025-08-01', 2);
ask(q{SET meter.bill_grace = '1000000d'; CALL meter_close_month('2025-08-01')});
use_it('2025-08-01', 3);
my $killed = start_sql('killed', q{CALL meter_close_month('2025-08-01')}, 'SELECT pg_sleep(600)');
wait_until(q{SELECT count(*) >= 1000 FROM meter.bill WHERE month = '2025-08-01' AND status = 'final'}, 'a slice is done');
kill_child(ask(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'killed'}));
$killed->{run}->finish;
is(ask(q{SELECT count(*) FROM meter.bill WHERE month = '2025-08-01'}), $tenants, 'drafts survive a kill -9');
ask(q{CALL meter_close_month('2025-08-01')});
is(wrong_bills('2025-08-01'), '', 'and become final, right to the cent');

# A draft waits for the grace

ask(q{SET meter.bill_grace = '1000000d'; CALL meter_close_month('2025-09-01')});
is(ask(q{SELECT string_agg(DISTINCT status, ',') FROM meter.bill WHERE month = '2025-09-01'}), 'draft', 'within the grace bills are drafts');
use_it('2025-09-01', 1);
ask(q{CALL meter_close_month('2025-09-01')});
is(ask(q{SELECT string_agg(DISTINCT status, ',') FROM meter.bill WHERE month = '2025-09-01'}), 'final', 'after it they are final');
is(wrong_bills('2025-09-01'), '', 'with what came in between');

# Dump and restore

$before = ask($fingerprint);
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'bills are dumped');
ask('CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $node->connstr('restored'), $dump ], 'and restored');
is(ask("SET timezone = 'UTC'; $fingerprint", 'restored'), $before, 'they are the same');
like(session('UPDATE meter.bill_line SET amount = 0', 'restored'), qr/55000: bill of tenant .* is final/, 'and still do not change');
ask(q{CALL meter_close_month('2025-09-01')}, 'restored');
is(ask($fingerprint, 'restored'), $before, 'nor do they when the month is closed again');
# The server itself closes months where pg_cron does not

ask('CREATE DATABASE worker');
ask(q{CREATE EXTENSION meter CASCADE;
	INSERT INTO meter.plan (plan) VALUES ('basic');
	INSERT INTO meter.plan_version (plan, base_price) VALUES ('basic', 9.99);
	INSERT INTO meter.tenant (tenant, plan, started_on, created_at) SELECT 't' || i, 'basic', '2025-01-01', '2025-01-01' FROM generate_series(1, 1001) AS i}, 'worker');
ask(q{ALTER SYSTEM SET meter.rollup_interval = 1; ALTER SYSTEM SET meter.flush_interval = 100; ALTER SYSTEM SET meter.durability = buffered});
$node->restart;
ask(q{SELECT meter_track('t1', 'calls', 1)}, 'worker');
ok_until(q{SELECT count(*) = 1001 AND sum(total) = 1001 * 9.99 AND min(month) = date_trunc('month', now()) - interval '1 month' FROM meter.bill},
	'the worker closes the last month', 'worker');
is(ask('SELECT errors FROM meter.stats', 'worker'), '0', 'and has no error');

# A dump of a few rows at a time, so that bills come without some of their lines

ask(q{INSERT INTO meter.price (price, metric, model, params) VALUES ('calls', 'calls', 'per_unit', '{"unit_amount": 0.0137}');
	SET meter.bill_grace = 0; CALL meter_close_month('2025-01-01')}, 'worker');
$before = ask("SET timezone = 'UTC'; $fingerprint", 'worker');
$node->command_ok([ 'pg_dump', '--rows-per-insert=3', '-f', "$dump.sql", '-d', $node->connstr('worker') ], 'a dump can be made of rows');
ask('CREATE DATABASE rows TEMPLATE template0');
$node->command_ok([ 'psql', '-Xq1', '-v', 'ON_ERROR_STOP=1', '-o', "$dump.out", '-d', $node->connstr('rows'), '-f', "$dump.sql" ], 'and restored');
is(ask("SET timezone = 'UTC'; $fingerprint", 'rows'), $before, 'they are the same then, too');

$node->stop;
done_testing();

# 003_dump.pl: pg_dump and restore, ALTER EXTENSION, DROP EXTENSION.
#
# Usage is money, so a backup has to carry all of it: the log and its position,
# the positions of its readers, totals with their sketches and user sets,
# idempotency keys, metrics, what was rejected and what still waits in the
# inbox.  Partitions are made after CREATE EXTENSION and each has indexes of
# its own, which is where restores of such tables break.  And after the restore
# it must go on: seq continues, nothing is rolled up again, a known key is a
# repeat.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node $by_hand $wrong_totals);
use PostgreSQL::Test::Utils;
use Test::More;

my $tempdir = PostgreSQL::Test::Utils::tempdir;

my $node = start_node('dump', $by_hand);

# Something of everything

ask(q{
	CREATE ROLE app;
	CREATE ROLE analyst;
	CREATE EXTENSION meter CASCADE;
	SELECT meter_grant('app', 'app');
	SELECT meter_grant('analyst', 'analyst');
	INSERT INTO meter.metric (metric, kind, unit, dimensions, allow_negative, description)
	VALUES ('tokens', 'counter', 'token', '{model}', true, 'with a "quote"'),
		('storage', 'gauge', 'GB', '{}', false, NULL);

	SELECT count(meter_track('t' || i % 5, CASE WHEN i % 3 = 0 THEN 'tokens' ELSE 'api_requests' END,
		i % 7, service => CASE WHEN i % 4 > 0 THEN 'svc' END, endpoint => '/v1/e' || i % 9,
		method => 'GET', status => 200 + 100 * (i % 4), latency_ms => i * 0.37,
		user_id => 'u' || i % 400, cost => i * 0.01,
		metadata => jsonb_build_object('model', 'm' || i % 2, 'note', E'tab\t and \\ é'),
		idempotency_key => CASE WHEN i % 10 = 0 THEN 'k' || i END,
		request_id => 'r' || i, error_message => CASE WHEN i % 4 = 3 THEN 'failed' END,
		at => now() - i * interval '11 minutes'))
	FROM generate_series(1, 2000) AS i;
	SELECT count(meter_track('t' || i % 2, 'storage', i % 50, at => now() - i * interval '5 hours'))
	FROM generate_series(1, 100) AS i;
	SELECT meter_track('t0', idempotency_key => 'k10');		-- a repeat
	SELECT count(*) FROM meter_track_batch('[{"tenant": ""}, {"tenant": "t1", "status": 7}, 5]');
	SELECT meter_flush();
	SELECT meter_rollup();
	SELECT meter_correct('t0', idempotency_key => 'k100', quantity => 99);
	SELECT meter_correct('t0', idempotency_key => 'k200', void => true);
	SELECT meter_flush();
	SELECT meter_rollup();
	INSERT INTO meter.consumer (name, last_seq) VALUES ('export', 1234);
	SELECT meter_import_model_prices('{"m": {"litellm_provider": "p", "input_cost_per_token": 3e-05}}', '2024-01-01');
	UPDATE meter.metric SET description = 'changed by hand' WHERE metric = 'llm_tokens';

	-- what bills are made by: t0 has changed its plan, t1 will, t2 is cancelled, t3
	-- has returned, t4 has no history, t5 has no plan
	INSERT INTO meter.plan (plan) VALUES ('free'), ('pro'), ('unused');
	INSERT INTO meter.plan_version (plan, valid_from, base_price, currency, trial_days, min_amount, max_amount)
	VALUES ('pro', '2024-01-01', 19.90, 'EUR', 14, 5, NULL), ('pro', '2025-01-01', 29.90, 'EUR', 0, NULL, 1000.5);
	INSERT INTO meter.tenant (tenant, plan, time_zone, started_on, billing_anchor, currency, tax_percent, customer)
	SELECT 't' || i, CASE WHEN i < 5 THEN 'free' END, (ARRAY['UTC', 'Asia/Kolkata', 'America/New_York'])[1 + i % 3],
		CASE WHEN i <> 4 THEN date '2025-01-01' + i END, 1 + 6 * i, CASE WHEN i = 3 THEN 'JPY' END, i, 'cus_' || i
	FROM generate_series(0, 5) AS i;
	UPDATE meter.tenant SET plan = 'pro' WHERE tenant = 't0';
	SELECT meter_change_plan('t1', 'pro', current_date + 40);
	UPDATE meter.tenant SET status = 'cancelled' WHERE tenant IN ('t2', 't3');
	UPDATE meter.subscription SET valid_from = valid_from - 100 WHERE tenant = 't3' AND plan IS NULL;
	UPDATE meter.tenant SET status = 'active', plan = 'pro' WHERE tenant = 't3';
	INSERT INTO meter.price (price, plan, tenant, metric, dims, aggregation, percentile, model, params, included, valid_from, valid_to)
	VALUES ('tokens', NULL, NULL, 'tokens', '{"model": "m1"}', 'sum', NULL, 'per_unit', '{"unit_amount": "0.001"}', 0.5, '2024-01-01', '2025-06-01'),
		('tokens', NULL, NULL, 'tokens', '{"gone": "m1"}', 'sum', NULL, 'per_unit', '{"unit_amount": "0.002"}', 0.5, '2025-06-01', NULL),
		('tokens', 'pro', NULL, 'tokens', '{}', 'sum', NULL, 'per_unit', '{"unit_amount": "0.0005"}', 1000, '2025-01-01', NULL),
		('storage', NULL, 't0', 'storage', '{}', 'percentile', 95, 'graduated', '{"tiers": [{"up_to": 1, "unit_amount": 2}, {"unit_amount": 1}]}', 0, '2025-01-01', NULL);
	INSERT INTO meter.fx_rate (base, quote, valid_from, rate) VALUES ('EUR', 'JPY', '2025-01-01', 162.123456789);
	INSERT INTO meter.credit (tenant, amount, currency, expires_on, reason) VALUES ('t0', 12.34, 'EUR', '2030-01-01', 'with a "quote"');
	INSERT INTO meter.credit_use SELECT tenant, credit_id, '2025-02-01', 1, 2.34 FROM meter.credit;
	INSERT INTO meter.coupon (coupon, percent, amount, currency) VALUES ('SPRING', 10, NULL, NULL), ('FIVE', NULL, 5, 'EUR');
	INSERT INTO meter.tenant_coupon (tenant, coupon, valid_from, periods) VALUES ('t0', 'SPRING', '2025-02-01', 3);

	-- alerts that fire, are over and were changed; one that is built in and one that is not
	INSERT INTO meter.alert_rule (rule, signal, threshold, params) VALUES ('mine', 'error_rate', 1, '{"min_errors": 7}');
	UPDATE meter.alert_rule SET threshold = 77, enabled = false WHERE rule = (SELECT min(rule) FROM meter.alert_rule WHERE builtin);
	SELECT meter_silence('t9', reason => 'with a "quote"');
	INSERT INTO meter.incident (tenant, severity, title, opened_at) VALUES ('t0', 'critical', 'bad', now());
	INSERT INTO meter.incident_update (incident_id, n, tenant, at, kind) SELECT incident_id, 1, tenant, opened_at, 'fired' FROM meter.incident;
	INSERT INTO meter.alert (rule, signal, tenant, severity, state, title, value, peak, threshold, started_at, measured_at, incident_id, told)
	SELECT 'mine', 'error_rate', 't0', 'critical', state, 'bad', 5, 6, 1, now(), now(), incident_id, state
	FROM meter.incident, unnest(ARRAY['firing', 'resolved']) AS state;
	INSERT INTO meter.notification (tenant, severity, kind, signal, title, body, created_at) VALUES ('t0', 'info', 'e', 'error_rate', 'bad', '{"a": 1}', now());
	INSERT INTO meter.gauge_limit (metric, plan, tenant, max, max_metric, low_percent)
	VALUES ('storage', NULL, NULL, 10.5, NULL, 30), ('storage', 'pro', NULL, 20, NULL, 10), ('storage', NULL, 't0', NULL, 'storage_max', 30);
	INSERT INTO meter.health_threshold VALUES ('error_rate', NULL, 20), ('latency_avg', 100.5, NULL);
	INSERT INTO meter.storage_sample VALUES ('2025-01-01', NULL, 1000), ('2025-01-01', 't0', 100);

	-- in the log, not rolled up
	SELECT count(meter_track('t1', latency_ms => i, user_id => 'v' || i)) FROM generate_series(1, 20) AS i;
	SELECT meter_flush();
	-- in the inbox: checked, not checked, and one that will be refused
	SELECT meter_track('t2', idempotency_key => 'waiting', request_id => 'w1');
	INSERT INTO meter.inbox (tenant, idempotency_key, request_id) VALUES ('t2', 'waiting too', 'w2');
	INSERT INTO meter.inbox (tenant, status) VALUES ('t2', 999);
	SELECT count(*) FROM meter_maintain();
});

# What must be the same

my %contents = (
	'the log' => 'SELECT * FROM meter.event ORDER BY seq',
	'the end of the log' => 'SELECT * FROM meter.log_position',
	'the positions of consumers' => 'SELECT * FROM meter.consumer ORDER BY name',
	'the register of partitions' => 'SELECT * FROM meter.event_partition ORDER BY day',
	'idempotency keys' => 'SELECT * FROM meter.idempotency_key ORDER BY tenant, key',
	'metrics' => 'SELECT * FROM meter.metric ORDER BY metric',
	'prices of models' => 'SELECT * FROM meter.model_price ORDER BY model',
	'waiting events' => 'SELECT * FROM meter.inbox ORDER BY received_at',
	'rejected events' => 'SELECT * FROM meter.rejected_event ORDER BY rejected_at',
	'plans' => 'SELECT * FROM meter.plan ORDER BY plan',
	'versions of plans' => 'SELECT * FROM meter.plan_version ORDER BY plan, valid_from',
	'tenants' => 'SELECT * FROM meter.tenant ORDER BY tenant',
	'the history of plans' => 'SELECT * FROM meter.subscription ORDER BY tenant, valid_from',
	'prices' => 'SELECT * FROM meter.price ORDER BY price_id',
	'limits of gauges' => 'SELECT * FROM meter.gauge_limit ORDER BY gauge_limit_id',
	'thresholds of health' => 'SELECT * FROM meter.health_check ORDER BY 1',
	'samples of storage' => 'SELECT * FROM meter.storage_sample ORDER BY day, tenant',
	'exchange rates' => 'SELECT * FROM meter.fx_rate ORDER BY base, quote, valid_from',
	'credits' => 'SELECT * FROM meter.credit_balance ORDER BY tenant, credit_id',
	'coupons' => 'SELECT * FROM meter.coupon ORDER BY coupon',
	'coupons of tenants' => 'SELECT * FROM meter.tenant_coupon ORDER BY tenant, coupon',
	'rules of alerts' => q{SELECT * FROM meter.alert_rule ORDER BY rule},
	'alerts' => 'SELECT * FROM meter.alert ORDER BY alert_id',
	'incidents' => 'SELECT * FROM meter.incident JOIN meter.incident_update USING (incident_id)',
	'notifications' => 'SELECT * FROM meter.notification',
	'silences' => 'SELECT * FROM meter.silence',
	'who is billed for what, and when' => q{
		SELECT p.*::text FROM generate_series(timestamp '2025-01-01', '2027-06-01', '1 month') AS m,
			meter.billing_plan(m::date) AS p
		UNION ALL SELECT p.*::text FROM generate_series(timestamp '2025-01-01', '2027-06-01', '1 month') AS m,
			meter.billing_price(m::date) AS p
		ORDER BY 1},
	'hourly usage' => q{SELECT * FROM meter.usage_hourly
		ORDER BY hour, tenant, metric, service, endpoint, method, dims},
	'usage of users' => 'SELECT * FROM meter.usage_user_daily ORDER BY day, tenant, metric, user_id, dims',
	'late usage' => 'SELECT * FROM meter.usage_late ORDER BY tenant, day',
	'last samples of gauges' => q{SELECT * FROM meter.gauge_last
		ORDER BY tenant, metric, month, service, endpoint, method, dims},
	'percentiles and unique users by month' => q{SELECT month, tenant, metric, service, endpoint,
		dims, events, p50, p95, p99, latency, unique_users FROM meter.usage_monthly
		WHERE metric <> 'storage' ORDER BY 1, 2, 3, 4, 5, 6},
	'live totals' => q{SELECT tenant, metric, sum(events), sum(quantity), sum(cost)
		FROM meter.live GROUP BY 1, 2 ORDER BY 1, 2},
	'partitions, bounds and storage options' => q{SELECT c.oid::regclass, c.relispartition,
		pg_get_expr(c.relpartbound, c.oid), c.reloptions FROM pg_class AS c
		WHERE c.relnamespace = 'meter'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.relname},
	'indexes' => q{SELECT tablename, indexname, indexdef FROM pg_indexes
		WHERE schemaname = 'meter' ORDER BY 1, 2},
	'columns' => q{SELECT attrelid::regclass, attnum, attname, atttypid::regtype, attnotnull,
			attcollation, pg_get_expr(adbin, adrelid)
		FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid
		LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE c.relnamespace = 'meter'::regnamespace AND c.relkind IN ('r', 'p') AND attnum > 0
		ORDER BY c.relname, 2},
	'privileges' => q{SELECT p.oid::regprocedure::text, p.proacl::text FROM pg_proc AS p
			JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
			JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
		UNION ALL SELECT oid::regclass::text, relacl::text FROM pg_class
			WHERE relnamespace = 'meter'::regnamespace AND relkind IN ('r', 'v', 'p') AND NOT relispartition
		UNION ALL SELECT attrelid::regclass || '.' || attname, attacl::text FROM pg_attribute
			WHERE attrelid = 'meter.inbox'::regclass
		UNION ALL SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname = 'meter'
		ORDER BY 1});

sub contents_of
{
	my ($node, $database) = @_;
	# dumps keep numbers exactly; times are shown as of now in gauges only
	return { map { $_ => $node->safe_psql($database, $contents{$_}) } keys %contents };
}

my $original = contents_of($node, 'postgres');
isnt($original->{$_}, '', "there are $_") for sort keys %contents;
my $last = ask('SELECT last_seq FROM meter.log_position');
my $rolled = ask('SELECT sum(events) FROM meter.usage_hourly');
my $not_rolled = ask(q{SELECT count(*) FROM meter.event
	WHERE seq > (SELECT last_seq FROM meter.consumer WHERE name = 'rollup')});
is($not_rolled, '20', 'some of the log is not rolled up yet');
cmp_ok(ask(q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'meter.event'::regclass}),
	'>', 20, 'the log has many partitions');

# The first lines that are in one of two texts only.
sub difference
{
	my ($got, $expected) = @_;
	my %got = map { $_ => 1 } split /\n/, $got;
	my %expected = map { $_ => 1 } split /\n/, $expected;
	my @lines = ((map { "got: $_" } grep { !$expected{$_} } sort keys %got)[ 0 .. 9 ],
		(map { "expected: $_" } grep { !$got{$_} } sort keys %expected)[ 0 .. 9 ]);
	return join "\n", grep { defined } @lines;
}

# Restored, it is the same and goes on.
sub check_restored
{
	my ($node, $database, $how) = @_;
	my $do = sub { return $node->safe_psql($database, $_[0]) };
	my $restored = contents_of($node, $database);

	for my $what (sort keys %contents)
	{
		# too much to print all of it if it differs
		ok($restored->{$what} eq $original->{$what}, "$how: $what are the same")
		  or diag difference($restored->{$what}, $original->{$what});
	}

	my ($status, $out, $notice) = $node->psql($database, q{SELECT meter_track('t0', idempotency_key => 'k10')});
	like($notice, qr/recorded before/, "$how: a known key is still a repeat");
	($status, $out, $notice) = $node->psql($database, q{SELECT meter_track('t2', idempotency_key => 'waiting')});
	like($notice, qr/recorded before/, "$how: so is the key of a waiting event");

	is($do->(q{SELECT meter_track('t3', request_id => 'new'); SELECT meter_flush()}),
		"\n(3,0,1)", "$how: the waiting events and a new one are flushed");
	is( $do->(q{SELECT seq, request_id FROM meter.event ORDER BY seq DESC LIMIT 3}),
		($last + 3) . "|new\n" . ($last + 2) . "|w2\n" . ($last + 1) . '|w1',
		"$how: seq goes on");
	is($do->('SELECT meter_rollup()'), 23, "$how: what was not rolled up is, and nothing again");
	is($do->('SELECT sum(events) FROM meter.usage_hourly'),
		$rolled + 23, "$how: each event counts once");
	is($do->($wrong_totals), '0', "$how: all totals are those of the raw events");
	$do->(q{SELECT meter_correct('t0', idempotency_key => 'k300', quantity => 5);
		SELECT meter_flush(); SELECT meter_rollup()});
	is( $do->(q{SELECT count(*) FROM meter.event AS a JOIN meter.event AS e ON e.superseded_by = a.seq
			WHERE e.request_id = 'r300' AND a.quantity = 5}),
		'1', "$how: an event can be corrected");
	# where a day has begun since, storage is sampled again
	is($do->(q{SELECT count(*) FROM meter_maintain() WHERE action NOT IN ('created', 'sampled')}),
		'0', "$how: maintenance finds all in order");
	return;
}

# Custom format, into a new database

my $custom = "$tempdir/meter.dump";
$node->command_ok([ 'pg_dump', '-Fc', '-f', $custom, '-d', $node->connstr('postgres') ],
	'pg_dump makes a dump');
$node->safe_psql('postgres', 'CREATE DATABASE custom TEMPLATE template0');
$node->command_ok(
	[ 'pg_restore', '--exit-on-error', '-d', $node->connstr('custom'), $custom ],
	'pg_restore restores it without an error');
check_restored($node, 'custom', 'custom format');

# Plain format, into a new cluster

my $plain = "$tempdir/meter.sql";
$node->command_ok([ 'pg_dump', '-f', $plain, '-d', $node->connstr('postgres') ],
	'pg_dump makes a script');
my $other = start_node('restored', $by_hand);
$other->safe_psql('postgres', 'CREATE ROLE app; CREATE ROLE analyst');
$other->safe_psql('postgres', 'CREATE DATABASE plain TEMPLATE template0');
$other->command_ok(
	[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', "$tempdir/out", '-d', $other->connstr('plain'), '-f', $plain ],
	'psql runs it without an error');
check_restored($other, 'plain', 'plain format in another cluster');

# With several jobs at once

$other->safe_psql('postgres', 'CREATE DATABASE jobs TEMPLATE template0');
$other->command_ok(
	[ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $other->connstr('jobs'), $custom ],
	'pg_restore restores it with two jobs');
check_restored($other, 'jobs', 'two jobs');

# A dump of what was restored is the same again.
$node->command_ok([ 'pg_dump', '-s', '-f', "$tempdir/schema1.sql", '-d', $node->connstr('postgres') ],
	'pg_dump dumps the schema');
$other->safe_psql('postgres', 'CREATE DATABASE again TEMPLATE template0');
$other->command_ok(
	[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', "$tempdir/out", '-d', $other->connstr('again'), '-f', "$tempdir/schema1.sql" ],
	'the schema alone can be restored');
$other->command_ok([ 'pg_dump', '-s', '-f', "$tempdir/schema2.sql", '-d', $other->connstr('again') ],
	'and dumped again');
sub schema
{
	# pg_dump writes a random key into each dump
	return join '', grep { !/^\\(un)?restrict / } split /^/, slurp_file($_[0]);
}
is(schema("$tempdir/schema2.sql"), schema("$tempdir/schema1.sql"), 'both are the same');

# ALTER EXTENSION and \dx+

my ($version) = ask(q{SELECT extversion FROM pg_extension WHERE extname = 'meter'});
my ($status, $out, $err) = $node->psql('postgres', 'ALTER EXTENSION meter UPDATE');
is($status, 0, 'ALTER EXTENSION UPDATE succeeds');
like($err, qr/version "\Q$version\E" of extension "meter" is already installed/, 'it has nothing to do');
my $members = ask('\dx+ meter');
like($members, qr/^\s*$_$/m, "\\dx+ lists $_")
  for 'table meter\.event', 'view meter\.live', 'function meter_rollup\(\)', 'type meter_sketch', 'schema meter';
unlike($members, qr/_p20\d\d/, 'partitions are not members, so dumps carry them');
($status, $out, $err) = $node->psql('postgres', 'ALTER EXTENSION meter SET SCHEMA pg_catalog');
like($err, qr/does not support SET SCHEMA/, 'it cannot be moved to another schema');
($status, $out, $err) = $node->psql('postgres', 'DROP TABLE meter.event');
like($err, qr/extension meter requires it/, 'its tables cannot be dropped singly');

# DROP EXTENSION

# All there is in a database; the same as where the extension never was.
my $objects = q{
	SELECT 'class', oid::regclass::text FROM pg_class WHERE relkind NOT IN ('t', 'i')
	UNION ALL SELECT 'function', oid::regprocedure::text FROM pg_proc
	UNION ALL SELECT 'type', oid::regtype::text FROM pg_type WHERE typname !~ '^_?pg_toast'
	UNION ALL SELECT 'operator', oid::regoperator::text FROM pg_operator
	UNION ALL SELECT 'cast', castsource::regtype || ' to ' || casttarget::regtype FROM pg_cast
	UNION ALL SELECT 'schema', nspname FROM pg_namespace
	UNION ALL SELECT 'extension', extname FROM pg_extension
	UNION ALL SELECT 'trigger', tgname FROM pg_trigger
	UNION ALL SELECT 'initial privileges', objoid::text FROM pg_init_privs WHERE objoid >= 16384
		AND classoid = 'pg_proc'::regclass AND objoid::regprocedure::text ~ 'meter'
	ORDER BY 1, 2};
$node->safe_psql('postgres', 'CREATE DATABASE never TEMPLATE template0');
$node->safe_psql('never', 'CREATE EXTENSION hll');
my $never = $node->safe_psql('never', $objects);

for my $database ('postgres', 'custom')
{
	is(($node->psql($database, 'DROP EXTENSION meter CASCADE'))[0], 0, "it can be dropped in $database");
	my $left = $node->safe_psql($database, $objects);
	ok($left eq $never, "nothing of it is left in $database") or diag difference($left, $never);
	$node->safe_psql($database, 'CREATE EXTENSION meter');
	is($node->safe_psql($database, q{SELECT meter_track('t'); SELECT meter_flush(); SELECT meter_rollup()}),
		"\n(1,0,0)\n1", "it can be created anew in $database");
}

$other->stop;
$node->stop;
done_testing();

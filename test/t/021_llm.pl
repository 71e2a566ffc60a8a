# 021_llm.pl: calls of language models, on servers as they are in production.
#
# A call is one event with its cost, and its tokens are events of their own: all
# of them are there or none, also after a crash, when the queue is full, and
# when a call is repeated.  Prices are cached by each process: a change counts
# for every session's next call.  And what a real service has done costs what
# plain SQL makes of its log, to the last digit.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(answer_of ask close_session daytime_zone in_session kill_server ok_until open_session session start_again start_node tell_session
  wait_for_flush wait_until $log_is_whole $wrong_totals);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('llm', q{
shared_preload_libraries = 'meter'
timezone = 'UTC'
meter.retention = 0
meter.flush_interval = 200
meter.rollup_interval = 1
}, allows_streaming => 1);
ask('CREATE EXTENSION meter CASCADE');

# The formats' figures, and the prices that hold before and after a change.
my $list = q({
	"gpt-4": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 3e-05, "output_cost_per_token": 6e-05},
	"gpt-4o-mini": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07,
		"output_cost_per_token": 6e-07, "cache_read_input_token_cost": 7.5e-08}});
is(ask("SELECT string_agg(model || ' ' || action, ', ') FROM meter_import_model_prices('$list', '2023-01-01')"),
	'gpt-4 added, gpt-4o-mini added', 'prices are imported');

# What a session that stays says.
sub says
{
	my ($session, $sql) = @_;
	my $answer = in_session($session, $sql);
	chomp $answer;
	return $answer;
}

sub rolled_up
{
	wait_for_flush();
	wait_until('SELECT rollup_behind = 0 FROM meter.stats', 'all is rolled up');
	return;
}

# --- other sessions learn of a change with their next call --------------------

my @sessions = map { open_session() } 1, 2;
my $cost = q{SELECT meter_track_llm('sessions', 'openai', 'gpt-4', 1000, 100, at => '2024-06-01')};
is(says($_, $cost), '0.036', 'a session has read the price') for @sessions;
ask(q{UPDATE meter.model_price SET input_price = 0.00004 WHERE model = 'gpt-4'});
is(says($_, $cost), '0.046', 'and uses the new one after a change') for @sessions;

# also in a transaction whose snapshot is older
in_session($sessions[0], 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
ask(q{UPDATE meter.model_price SET input_price = 0.00003 WHERE model = 'gpt-4'});
is(says($sessions[0], $cost), '0.036', 'a change counts in a transaction that has begun before it');
in_session($sessions[0], 'COMMIT');

# what is not committed counts for its own session only
in_session($sessions[0], q{BEGIN; UPDATE meter.model_price SET input_price = 1 WHERE model = 'gpt-4'});
is(says($sessions[0], $cost), '1000.006', 'a change counts in its own transaction');
is(says($sessions[1], $cost), '0.036', 'and nowhere else before it is committed');
in_session($sessions[0], 'ROLLBACK');
is(says($sessions[0], $cost), '0.036', 'nor after it is rolled back');
is(ask(q{SELECT action FROM meter_import_model_prices('{"gpt-4": {"litellm_provider": "openai",
		"input_cost_per_token": 0.00001, "output_cost_per_token": 0.00003}}', '2024-01-01')}),
	'changed', 'an import changes a price from some time on');
is(says($_, $cost), '0.013', 'which is seen by the next call') for @sessions;
is( says($sessions[0], q{SELECT meter_track_llm('sessions', 'openai', 'gpt-4', 1000, 100, at => '2023-12-31 23:59')}),
	'0.036', 'a call of before is charged by the price of its time');

# of which currency the prices are, two sessions cannot decide at once
in_session($sessions[0], q{BEGIN; INSERT INTO meter.model_price (provider, model, input_price) VALUES ('p', 'usd', 1)});
$node->psql('postgres', q{SET lock_timeout = '200ms';
	INSERT INTO meter.model_price (provider, model, input_price) VALUES ('p', 'too', 1)}, stderr => \my $waited);
like($waited, qr/lock timeout/, 'writers of prices take turns');
in_session($sessions[0], 'ROLLBACK');

# nor do two imports of one list write it twice
my $import = q{SELECT action FROM meter_import_model_prices('{"new": {"litellm_provider": "p", "input_cost_per_token": 2}}', '2024-01-01')};
is(says($sessions[0], "BEGIN; $import"), 'added', 'an import writes a price');
tell_session($sessions[1], $import);
wait_until(q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND relation = 'meter.model_price'::regclass},
	'another one of the same list waits');
in_session($sessions[0], 'COMMIT');
is(answer_of($sessions[1]), "unchanged\n", 'and then finds it there');
close_session($_) for @sessions;

# --- a real service's log -----------------------------------------------------

SKIP:
{
	my $data = $ENV{METER_DATA};
	skip 'METER_DATA names no directory with the data', 1
	  unless defined $data && -r "$data/azure_llm_code.csv";

	ask(qq{
		CREATE TABLE csv (at timestamp, input bigint, output bigint);
		COPY csv FROM '$data/azure_llm_code.csv' WITH (FORMAT csv, HEADER);
		ALTER TABLE csv ADD COLUMN n integer GENERATED ALWAYS AS IDENTITY;
		GRANT SELECT ON csv TO PUBLIC});
	is(ask('SELECT count(*) FROM csv'), '8819', 'the file has 8819 requests');

	# one call a statement, as an application does it
	my $script = "SET timezone = 'UTC';\n" . ask(q{
		SELECT string_agg(format('SELECT meter_track_llm(%L, %L, %L, %s, %s, idempotency_key => %L, at => %L);',
			'azure ' || model, 'openai', model, input, output, model || n, at), E'\n' ORDER BY n)
		FROM csv, unnest(ARRAY['gpt-4', 'gpt-4o-mini']) AS model});
	my ($status, $returned, $errors) = $node->psql('postgres', $script);
	is($errors, '', 'all requests are tracked, as gpt-4 and as gpt-4o-mini');
	is(scalar(split /\n/, $returned), 2 * 8819, 'each call returns its cost');

	# and a part of it again
	my @again = (split /\n/, $script)[ 0 .. 2000 ];
	$node->safe_psql('postgres', join("\n", @again));
	rolled_up();
	# counted a moment after the queue is empty
	ok_until(q{SELECT duplicates = 2000 FROM meter.stats}, 'repeats are dropped');

	my $exact = q{
		SELECT 'gpt-4' AS model, sum(input * 0.00003 + output * 0.00006) AS cost, sum(input) AS input,
			sum(output) AS output FROM csv
		UNION ALL
		SELECT 'gpt-4o-mini', sum(input * 0.00000015 + output * 0.0000006), sum(input), sum(output) FROM csv};
	is( ask(qq{SELECT count(*) FROM (
			SELECT u.dims ->> 'model', sum(u.cost) AS cost FROM meter.usage_hourly AS u
			WHERE u.tenant = 'azure ' || (u.dims ->> 'model') AND metric = 'llm_requests' GROUP BY 1
			INTERSECT SELECT model, cost FROM ($exact) AS e) AS same}),
		'2', 'the cost of all calls equals plain SQL on the file to the last digit');
	is( ask(q{SELECT tenant, sum(events), sum(quantity) FROM meter.usage_hourly
			WHERE tenant ^@ 'azure' AND metric = 'llm_requests' GROUP BY 1 ORDER BY 1}),
		"azure gpt-4|8819|8819\nazure gpt-4o-mini|8819|8819", 'so does the number of calls');
	is( ask(qq{SELECT count(*) FROM (
			SELECT u.dims ->> 'model', u.dims ->> 'token_type', sum(u.quantity) FROM meter.usage_hourly AS u
			WHERE u.tenant = 'azure ' || (u.dims ->> 'model') AND metric = 'llm_tokens' GROUP BY 1, 2
			INTERSECT (SELECT model, 'input', input FROM ($exact) AS e
				UNION ALL SELECT model, 'output', output FROM ($exact) AS e)) AS same}),
		'4', 'and so do the tokens');

	# a price of bills for each kind of token, on the totals
	is( ask(qq{SELECT count(*) FROM (
			SELECT u.dims ->> 'model', sum(meter_charge('per_unit', jsonb_build_object('unit_amount', p.price), u.quantity))
			FROM meter.usage_monthly AS u JOIN (VALUES ('gpt-4', 'input', 0.00003), ('gpt-4', 'output', 0.00006),
				('gpt-4o-mini', 'input', 0.00000015), ('gpt-4o-mini', 'output', 0.0000006)) AS p(model, token_type, price)
				ON u.dims \@> jsonb_build_object('model', p.model, 'token_type', p.token_type)
			WHERE u.tenant ^\@ 'azure' AND u.metric = 'llm_tokens' GROUP BY 1
			INTERSECT SELECT model, cost FROM ($exact) AS e) AS same}),
		'2', 'charged by input and output tokens, the month costs the same');
	# and on a bill, by what the calls cost and by what their tokens do
	ask(q{
		INSERT INTO meter.tenant (tenant, started_on) VALUES ('azure gpt-4', '2023-11-01'), ('azure gpt-4o-mini', '2023-11-01');
		INSERT INTO meter.price (price, metric, model, params) VALUES ('calls', 'llm_requests', 'dynamic', '{}');
		INSERT INTO meter.price (price, tenant, metric, dims, model, params)
		SELECT token_type || ' tokens', 'azure ' || model, 'llm_tokens',
			jsonb_build_object('model', model, 'token_type', token_type), 'per_unit', jsonb_build_object('unit_amount', price)
		FROM (VALUES ('gpt-4', 'input', 0.00003), ('gpt-4', 'output', 0.00006),
			('gpt-4o-mini', 'input', 0.00000015), ('gpt-4o-mini', 'output', 0.0000006)) AS p(model, token_type, price);
		CALL meter_close_month('2023-11-01')});
	is( ask(qq{SELECT count(*) FROM (
			SELECT tenant, amount_exact, amount FROM meter.bill_line WHERE price = 'calls'
			INTERSECT SELECT 'azure ' || model, cost, round(cost, 2) FROM ($exact) AS e) AS same}),
		'2', 'the bills have the exact cost of all calls, to the last digit');
	is( ask(qq{SELECT count(*) FROM (
			SELECT tenant, sum(amount_exact) FROM meter.bill_line WHERE price LIKE '% tokens' GROUP BY 1
			INTERSECT SELECT 'azure ' || model, cost FROM ($exact) AS e) AS same}),
		'2', 'and so they have by input and output tokens');
	is(ask(q{SELECT count(*) FROM meter.bill WHERE status = 'final' AND tenant ^@ 'azure'}), '2', 'they are final');
	is(ask($log_is_whole), 't', 'the log is whole');
	is(ask($wrong_totals), '0', 'all totals are those of the raw events');
}

# --- all or nothing ------------------------------------------------------------

# Calls whose tokens are not all behind them.
my $torn = q{
	SELECT count(*) FROM (
		SELECT min(tokens) AS wanted, COALESCE(sum(quantity) FILTER (WHERE metric = 'llm_tokens'), 0) AS found
		FROM (SELECT metric, quantity,
				(metadata ->> 'input_tokens')::numeric + (metadata ->> 'output_tokens')::numeric AS tokens,
				count(*) FILTER (WHERE metric <> 'llm_tokens') OVER (ORDER BY seq) AS call
			FROM meter.event) AS e
		GROUP BY call) AS c
	WHERE wanted IS DISTINCT FROM found};

# waiting in the queue when the server dies
$node->append_conf('postgresql.conf', 'meter.flush_interval = 0');
$node->reload;
ask(q{SELECT count(meter_track_llm('crash', 'openai', 'gpt-4o-mini', 100 + i, i, i, idempotency_key => 'k' || i % 400))
	FROM generate_series(1, 500) AS i});
kill_server();
start_again();
ask('SELECT meter_flush()');
is(ask(q{SELECT count(*), count(DISTINCT idempotency_key) FROM meter.event
		WHERE tenant = 'crash' AND metric = 'llm_requests'}), '400|400',
	'calls that waited in the queue survive kill -9, and repeats among them are dropped');
is(ask($torn), '0', 'each with all its tokens');
is( ask(q{SELECT metadata ->> 'token_type', count(*), sum(quantity) FROM meter.event
		WHERE tenant = 'crash' AND metric = 'llm_tokens' GROUP BY 1 ORDER BY 1}),
	# i = 1 to 400: 100 tokens that were not cached, i cached, i out
	"cached|400|80200\ninput|400|40000\noutput|400|80200", 'which are those of the first calls with their keys');

# a transaction that is rolled back: the call has happened, or with commit it has not
ask(q{BEGIN; SELECT meter_track_llm('rolled back', 'openai', 'gpt-4', 1, 1); ROLLBACK;
	SET meter.durability = commit;
	BEGIN; SELECT meter_track_llm('rolled back', 'openai', 'gpt-4', 2, 2); ROLLBACK;
	SELECT meter_track_llm('kept', 'openai', 'gpt-4', 4, 4, idempotency_key => 'c');
	SELECT meter_flush()});
is(ask(q{SELECT tenant, metric, quantity FROM meter.event WHERE tenant IN ('rolled back', 'kept') ORDER BY seq}),
	"kept|llm_requests|1\nkept|llm_tokens|4\nkept|llm_tokens|4\n"
	. "rolled back|llm_requests|1\nrolled back|llm_tokens|1\nrolled back|llm_tokens|1",
	'a call is there with all its tokens or not at all');

# the flush finds the key in the hands of another session, and leaves the call as a whole
my $holder = open_session();
in_session($holder, q{SET meter.durability = commit; BEGIN;
	SELECT meter_track_llm('held', 'openai', 'gpt-4', 1, 1, idempotency_key => 'h')});
ask(q{SELECT meter_track_llm('held', 'openai', 'gpt-4', 5, 7, 3, idempotency_key => 'h'); SELECT meter_flush()});
is(ask(q{SELECT count(*) FROM meter.event WHERE tenant = 'held'}), '0', 'a call waits for another with the same key');
in_session($holder, 'ROLLBACK');
close_session($holder);
ask('SELECT meter_flush()');
is(ask(q{SELECT metric, quantity, metadata ->> 'token_type' FROM meter.event WHERE tenant = 'held' ORDER BY seq}),
	"llm_requests|1|\nllm_tokens|2|input\nllm_tokens|3|cached\nllm_tokens|7|output", 'and then enters the log with all its tokens');
is(ask($torn), '0', 'no call is torn');

# --- without a price ------------------------------------------------------------

like(session(q{SELECT meter_track_llm('zero', 'openai', 'gpt-99', 1, 1)}),
	qr/ERROR:  22023: there is no price for model "gpt-99" of provider "openai"/, 'a model without a price is an error');
ask('ALTER SYSTEM SET meter.unknown_model = zero');
$node->reload;
wait_until(q{SELECT current_setting('meter.unknown_model') = 'zero'}, 'the setting is changed');
is(ask(q{SELECT meter_track_llm('zero', 'openai', 'gpt-99', 1, 1)}), '0', 'or costs nothing');
ask('SELECT meter_flush(); SELECT meter_rollup()');
is(ask('SELECT tenant, provider, model, calls FROM meter.unknown_model'), 'zero|openai|gpt-99|1', 'and is reported');
ask('ALTER SYSTEM RESET meter.unknown_model');
$node->reload;

# --- corrections ---------------------------------------------------------------

# A call and its tokens have one key.  To find what is to be corrected reads one
# day once, however many days the log has; nor is the query compiled for each.
ask(q{SELECT meter_track_llm('fixed', 'openai', 'gpt-4', 1000, 100, idempotency_key => 'fix', at => '2024-06-02')});
my ($plan) = grep { /^Query Text: SELECT .* FROM meter\.event AS/m } split /NOTICE:/, session(q{
	LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
	SET auto_explain.log_level = notice; SET jit_above_cost = 0;
	\set VERBOSITY terse
	SELECT meter_correct('fixed', idempotency_key => 'fix', cost => 1)});
like($plan, qr/FROM meter\.idempotency_key/, 'the event is found by its key');
unlike($plan, qr/SubPlan|JIT/, 'and its day is read once');

# --- limits of cost --------------------------------------------------------------

# Of 1 a day, an estimate is taken before the call, and the rest given back after.
my $zone = daytime_zone();
ask(qq{INSERT INTO meter.tenant (tenant, time_zone) VALUES ('spender', '$zone');
	INSERT INTO meter.rate_limit (tenant, resource, unit, per, max, kind) VALUES ('spender', 'openai', 'cost', 'day', 1, 'window')});
is( ask(q{SELECT allowed, remaining FROM meter_check('spender', 'openai', cost => meter_llm_cost('openai', 'gpt-4', 4000, 20000))}),
	't|0.36', 'the estimate is taken');
ask(q{SELECT meter_refund('spender', 'openai', cost => meter_llm_cost('openai', 'gpt-4', 4000, 20000)
	- meter_track_llm('spender', 'openai', 'gpt-4', 4000, 1000))});
is(ask(q{SELECT remaining FROM meter_check('spender', 'openai', cost => 0)}), '0.93', 'and what was not used is given back');
is( ask(q{SELECT allowed FROM meter_check('spender', 'openai', cost => meter_llm_cost('openai', 'gpt-4', 4000, 40000))}),
	'f', 'a call that could cost more than is left is refused');

# --- a standby --------------------------------------------------------------------

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('llm_standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
for my $durability (qw(buffered commit))
{
	like(session("SET meter.durability = $durability; SELECT meter_track_llm('t', 'openai', 'gpt-4', 1, 1)", $standby),
		qr/ERROR:  25006: cannot execute meter_track_llm\(\) (during recovery|in a read-only transaction)/,
		"a standby says that it cannot track ($durability)");
}
my $there = q{SELECT meter_llm_cost('openai', 'gpt-4', 1000, 100)};
my $reader = open_session($standby);
is(says($reader, $there), '0.013', 'but it knows prices');
ask(q{UPDATE meter.model_price SET output_price = 1 WHERE model = 'gpt-4'});
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(says($reader, $there), '100.01', 'and their changes');
close_session($reader);
$standby->stop;

$node->stop;
done_testing();

# 007_privileges.pl: what each role may do, and hostile callers.
#
# Functions of the extension act with the rights of its owner.  So a role that
# may only track must gain nothing by it: it reads nothing, loosens no setting,
# and neither its search_path, with functions and operators of its own in front
# of pg_catalog's, nor objects in its temporary schema may change what the
# extension does or be executed by it.  The trap: everything in schema evil
# writes into a table, which must stay empty.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(start_node $by_hand);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('privileges', "${by_hand}log_statement = none");

# What SQL returns, or its error.
sub ask
{
	my ($sql, $user) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql",
		on_error_stop => 1, extra_params => [ '-U', $user // 'superuser' ]);
	return $stderr if $stderr =~ /ERROR|FATAL/;
	return $stdout;
}

# What becomes of each of many statements that a role runs one after the other,
# in one session: SQLSTATE and message.
sub outcomes
{
	my ($user, @statements) = @_;
	my ($status, $stdout) = $node->psql('postgres',
		"\\o /dev/null\n" . join('', map { "$_;\n\\echo :SQLSTATE: :LAST_ERROR_MESSAGE\n" } @statements),
		on_error_stop => 0, extra_params => [ '-U', $user ]);
	my @outcomes = map { s/^00000: .*/done/r } split /\n/, $stdout;
	die 'not every statement has one' if @outcomes != @statements;
	return @outcomes;
}

$node->safe_psql('postgres', 'CREATE ROLE superuser SUPERUSER LOGIN');
ask(q{
	CREATE EXTENSION meter CASCADE;
	CREATE ROLE app LOGIN;
	CREATE ROLE analyst LOGIN;
	CREATE ROLE admin LOGIN;
	CREATE ROLE nobody LOGIN;
	SELECT meter_grant('app', 'app');
	SELECT meter_grant('analyst', 'analyst');
	SELECT meter_grant('admin', 'admin');
	SELECT meter_track('acme', endpoint => '/v1/a', latency_ms => 10, user_id => 'ann', cost => 1,
		idempotency_key => 'k0');
	SELECT meter_flush();
	SELECT meter_rollup()});

# The catalog: what belongs to the extension

my $members = q{pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'meter'};
my $functions = qq{SELECT p.oid::regprocedure::text FROM pg_proc AS p
	WHERE p.oid IN (SELECT d.objid FROM $members AND d.classid = 'pg_proc'::regclass)};

cmp_ok(ask("SELECT count(*) FROM ($functions) AS f"), '>', 40, 'the extension has functions');
is(ask("$functions AND has_function_privilege('nobody', p.oid, 'EXECUTE')"),
	'', 'PUBLIC may execute none of them');
is( ask(q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'meter'::regnamespace
		AND relkind IN ('r', 'p', 'v')
		AND (has_table_privilege('nobody', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
			OR has_any_column_privilege('nobody', oid, 'SELECT, INSERT, UPDATE, REFERENCES'))}),
	'', 'PUBLIC may do nothing with its tables and views');
is(ask(q{SELECT has_schema_privilege('nobody', 'meter', 'USAGE, CREATE')}),
	'f', 'nor with its schema');
is( ask("SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM $members
		AND NOT (d.classid = 'pg_type'::regclass
			AND EXISTS (SELECT FROM pg_type AS t WHERE t.oid = d.objid AND (t.typrelid <> 0 OR t.typelem <> 0)))
		AND COALESCE(obj_description(d.objid, d.classid::regclass::text::name), '') = ''"),
	'', 'every object of the extension has a comment');
is( ask(qq{SELECT a.attrelid::regclass || '.' || a.attname FROM pg_attribute AS a
		JOIN pg_class AS c ON c.oid = a.attrelid
		WHERE a.attrelid IN (SELECT d.objid FROM $members AND d.classid = 'pg_class'::regclass)
		AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
		AND col_description(a.attrelid, a.attnum) IS NULL}),
	'', 'and so has every column of its tables');
is(ask("$functions AND p.prosecdef"), '', 'no function is SECURITY DEFINER');

# app: writes, and reads nothing

is(ask(q{SELECT meter_track('acme', endpoint => '/v1/b', idempotency_key => 'k1')}, 'app'), '', 'app can track');
is( ask(q{SELECT element, result FROM meter_track_batch('[{"tenant": "acme"}, {"tenant": "", "status": 200}]')}, 'app'),
	"1|accepted\n2|rejected", 'app can track a batch, also one with errors');
is(ask("COPY meter.inbox (tenant, status) FROM STDIN;\nacme\t200\n\\.\n", 'app'), '', 'app can COPY into the inbox');
is(ask(q{SELECT meter_normalize_endpoint('/a/17')}, 'app'), '/a/:id', 'app can normalise endpoints');
my $relations = q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'meter'::regnamespace
	AND relkind IN ('r', 'p', 'v') ORDER BY 1::regclass::text};
my @relations = split /\n/, ask($relations);
my @outcomes = outcomes('app', map { "SELECT * FROM $_" } @relations);
for my $relation (@relations)
{
	my $outcome = shift @outcomes;

	# what meter_headers() tells of
	next if $relation eq 'meter.api_version';
	like($outcome, qr/^42501: permission denied/, "app cannot read $relation");
}
is( ask(q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'meter'::regnamespace AND relkind IN ('r', 'p', 'v')
		AND (has_table_privilege('app', oid, 'UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
			OR has_any_column_privilege('app', oid, 'UPDATE, REFERENCES')
			OR oid <> 'meter.api_version'::regclass
				AND (has_table_privilege('app', oid, 'SELECT') OR has_any_column_privilege('app', oid, 'SELECT')))}),
	'', 'nor do anything else with it');
like(ask($_, 'app'), qr/42501: (permission denied|must be owner)/, "app is refused: $_")
  for q{INSERT INTO meter.inbox (tenant) VALUES ('acme') RETURNING tenant},
  q{INSERT INTO meter.inbox (tenant, validated) VALUES ('acme', true)},
  q{INSERT INTO meter.inbox (tenant, corrects) VALUES ('acme', 1)},
  q{INSERT INTO meter.inbox (tenant, voids) VALUES ('acme', true)},
  q{INSERT INTO meter.inbox (tenant, received_at) VALUES ('acme', now())},
  q{UPDATE meter.inbox SET tenant = 'other'},
  'TRUNCATE meter.inbox', 'BEGIN; LOCK TABLE meter.inbox IN ACCESS EXCLUSIVE MODE',
  'BEGIN; LOCK TABLE meter.event IN ACCESS SHARE MODE',
  'CREATE TABLE meter.mine ()', 'CREATE TABLE mine (LIKE meter.event)',
  'CREATE TRIGGER t BEFORE INSERT ON meter.inbox FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
  'CREATE INDEX ON meter.inbox (tenant)', 'ALTER TABLE meter.inbox OWNER TO app',
  'SELECT meter_flush()', 'SELECT meter_rollup()', 'SELECT meter_maintain()', 'SELECT meter_schedule()',
  q{SELECT meter_correct('acme', seq => 1, void => true)}, q{SELECT meter_grant('app', 'admin')},
  'SELECT * FROM meter.usage_tail()', 'SELECT meter_sketch_agg(1)';
is(ask(q{SELECT string_agg(name, ' ' ORDER BY name) FROM pg_settings
		WHERE name LIKE 'meter.%' AND context = 'user'}),
	'meter.durability meter.queue_timeout', 'these settings are everybody\'s own');
my @settings = split /\n/, ask(q{SELECT name FROM pg_settings WHERE name LIKE 'meter.%' AND context <> 'user'});
cmp_ok(scalar @settings, '>', 5, 'there are others');
@outcomes = outcomes('app', map { ("SET $_ TO DEFAULT", "SET $_ = '1'") } @settings);
for my $setting (@settings)
{
	my ($default, $one) = splice @outcomes, 0, 2;
	my $refused = qr/^(42501: permission denied to set|55P02:) parameter "\Q$setting\E"( cannot be changed.*)?$/;
	like($_, $refused, "app cannot set $setting") for $default, $one;
}

# nobody: nothing

like(ask($_, 'nobody'), qr/42501: permission denied/, "nobody is refused: $_")
  for q{SELECT meter_track('acme')}, q{SELECT meter_track_batch('[]')},
  q{INSERT INTO meter.inbox (tenant) VALUES ('acme')}, 'SELECT * FROM meter.usage_daily',
  q{SELECT meter_normalize_endpoint('/a')}, q{SELECT meter_sketch_agg(1)};

# analyst: reads everything, partitions through their parents, and writes nothing

# but of the inbox, which has no row security, only when its rows came
my @readable = grep { !/_p\d+$/ && !/\binbox$/ } split /\n/, ask($relations);
@outcomes = outcomes('analyst', map { "SELECT * FROM $_" } @readable);
is(shift @outcomes, 'done', "analyst can read $_") for @readable;
is(ask('SELECT count(received_at) >= 0 FROM meter.inbox', 'analyst'), 't', 'analyst can ask how long rows of the inbox wait');
is(ask(q{SELECT sum(events) FROM meter.live}, 'analyst'), '3', 'analyst sees live totals');
is(ask(q{SELECT meter_percentile(latency, 0.5) BETWEEN 9.9 AND 10.1, meter_sketch_count(latency)
		FROM meter.usage_hourly WHERE latency IS NOT NULL}, 'analyst'),
	't|1', 'analyst can ask for percentiles');
like(ask($_, 'analyst'), qr/42501: permission denied/, "analyst is refused: $_")
  for q{SELECT meter_track('acme')}, q{SELECT meter_track_batch('[]')},
  'SELECT tenant FROM meter.inbox', 'SELECT * FROM meter.inbox', q{INSERT INTO meter.inbox (tenant) VALUES ('acme')}, 'SELECT meter_flush()', 'SELECT meter_rollup()',
  q{SELECT meter_correct('acme', seq => 1, void => true)}, 'DELETE FROM meter.event',
  'UPDATE meter.usage_hourly SET events = 0', q{INSERT INTO meter.metric VALUES ('m')},
  q{SELECT meter_grant('analyst', 'admin')};

# tenant: reads its own rows of usage and bills, and nothing else

ask(q{CREATE ROLE customer LOGIN; SELECT meter_grant('customer', 'tenant');
	INSERT INTO meter.tenant (tenant, role_name) VALUES ('acme', 'customer');
	SELECT meter_track('other', endpoint => '/v1/a', user_id => 'bob');
	SELECT meter_flush(); SELECT meter_rollup()});
my @own = map { "meter.$_" } qw(alert api_version api_version_usage bill bill_line budget budget_block budget_crossing budget_now budget_period
  budget_spend budget_status credit credit_balance credit_use endpoint_stats event
  focus focus_provider focus_service gauge_hourly gauge_last gauge_level gauge_now metric notification request_growth service_daily subscription top_users usage_daily
  usage_hourly usage_monthly usage_part usage_user_daily);
my %own = map { $_ => 1 } @own;
@relations = grep { !/_p\d+$/ } split /\n/, ask($relations);
@outcomes = outcomes('customer', map { "SELECT * FROM $_" } @relations);
for my $relation (@relations)
{
	my $outcome = shift @outcomes;
	if (!$own{$relation})
	{
		like($outcome, qr/^42501: permission denied/, "a tenant cannot read $relation");
		next;
	}
	is($outcome, 'done', "a tenant can read $relation");
	next if $relation =~ /^meter\.(metric|api_version|focus_(provider|service))$/;
	my $tenant = $relation eq 'meter.focus' ? '"BillingAccountId"' : 'tenant';
	is(ask("SELECT count(*) FROM $relation WHERE $tenant <> 'acme'", 'customer'), '0', "and sees its own rows only of $relation");
}
is( ask(q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'meter'::regnamespace AND relkind IN ('r', 'p', 'v')
		AND (has_table_privilege('customer', oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
			OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0
				AND has_column_privilege('customer', attrelid, attnum, 'INSERT, UPDATE, REFERENCES')
				AND (attrelid, attname) <> ('meter.notification'::regclass, 'read_at')))}),
	'', 'and can do nothing else with any of them');
is(ask('SELECT string_agg(DISTINCT tenant, $$ $$ ORDER BY tenant) FROM meter.event'), 'acme other', 'there are others');
is(ask('SELECT DISTINCT tenant FROM meter.event', 'customer'), 'acme', 'of whom a tenant sees nothing');
ask(q{SELECT meter_track('other'); SELECT meter_track('acme'); SELECT meter_flush()});
is(ask('SELECT count(DISTINCT (usage).tenant) FROM meter.usage_tail()'), '2', 'of both something is not rolled up');
is(ask('SELECT DISTINCT (usage).tenant FROM meter.usage_tail()', 'customer'), 'acme', 'of which a tenant sees its own');
is(ask(q{SELECT count(*) FROM meter.usage_tail('other')}, 'customer'), '0', 'also if it asks for the other');
is(ask(q{SELECT sum(events) FROM meter_time_series('api_requests', now() - interval '1 day', now(), filter => '{"tenant": "other"}')}, 'customer'),
	'0', 'and nothing of it in a chart');
is( ask(qq{SELECT string_agg(DISTINCT p.proname, ' ' ORDER BY p.proname) FROM pg_proc AS p
		WHERE p.oid::regprocedure::text IN ($functions) AND has_function_privilege('customer', p.oid, 'EXECUTE')
		AND p.proname !~ '^(meter_sketch|users_|chart_|dashboard_|html)'}),
	'api_version_begins api_version_of api_version_status billing_day budget_bounds currency_digits export_latency known_time_zone '
	  . 'meter_api_version_usage meter_current_tenant meter_dashboard meter_endpoint_analytics meter_export meter_mark_read meter_normalize_endpoint '
	  . 'meter_percentile meter_time_series meter_top_users meter_usage_stats request_growth series_checked series_fits '
	  . 'series_starts severity_rank span_checked stats_grouping usage_span usage_tail visible_tenants', 'and may execute these functions');
is(ask(q{SELECT string_agg(DISTINCT l::jsonb ->> 'tenant', ' ') FROM meter_export('events', '-infinity', 'infinity', 'jsonl') AS l}, 'customer'),
	'acme', 'a tenant exports its own events');
is(ask(q{SELECT count(*) FROM meter_export('events', '-infinity', 'infinity', 'jsonl', 'other')}, 'customer'), '0', 'and none of another');
like(ask($_, 'customer'), qr/42501: permission denied/, "a tenant is refused: $_")
  for q{SELECT meter_track('acme')}, q{SELECT meter_check('acme')}, q{SELECT meter_set_tenant('other')},
  q{SELECT meter.sees_all_tenants()}, q{SELECT meter_dashboard(tenant => 'other')}, q{SELECT meter_bill('acme', '2026-01-01')},
  q{SELECT meter_export('costs', now() - interval '1 day', now())}, 'SELECT meter_isolation_audit()',
  'SELECT meter_evaluate_alerts()', q{SELECT meter_silence('acme')}, q{SELECT meter_grant('customer', 'analyst')},
  'SET ROLE analyst', q{INSERT INTO meter.inbox (tenant) VALUES ('acme')};
like(ask(q{SET meter.tenant = 'other'}, 'customer'), qr/permission denied to set parameter|cannot be set/,
	'and cannot set the context as a parameter');

# admin: everything the extension offers, but not past it

unlike(ask($_, 'admin'), qr/ERROR/, "admin can: $_")
  for q{SELECT meter_track('acme')}, 'SELECT meter_flush()', 'SELECT meter_rollup()',
  'SELECT meter_maintain()', q{SELECT meter_correct('acme', seq => 1, quantity => 1)},
  q{INSERT INTO meter.metric (metric) VALUES ('m')}, q{UPDATE meter.metric SET unit = 'u'},
  q{INSERT INTO meter.consumer (name) VALUES ('c')}, 'SELECT * FROM meter.live',
  'DELETE FROM meter.rejected_event', q{DELETE FROM meter.consumer WHERE name = 'c'};
like(ask($_, 'admin'), qr/42501: (permission denied|must be owner)/, "admin is refused: $_")
  for 'DELETE FROM meter.event', 'UPDATE meter.event SET quantity = 0', 'DELETE FROM meter.usage_hourly',
  'UPDATE meter.log_position SET last_seq = 0', 'DELETE FROM meter.idempotency_key',
  'DROP TABLE meter.event';
ask(q{SELECT meter_grant('nobody', 'app')}, 'admin');
like(ask(q{SELECT meter_track('acme')}, 'nobody'), qr/42501: permission denied/, 'admin cannot hand on his privileges');
like(ask(q{SELECT meter_grant('app', 'everything')}), qr/22023: unknown set of privileges/, 'there are four sets of privileges');
like(ask(q{SELECT meter_grant('no such role', 'app')}), qr/42704: role "no such role" does not exist/, 'only roles can be given any');

# The trap.  In schema evil is a function for every one of pg_catalog's that
# has such a name, and an operator for every one of these types.

ask(q{SELECT meter_flush(); SELECT meter_rollup(); CREATE ROLE mallory LOGIN;
	SELECT meter_grant('mallory', 'app'); CREATE SCHEMA evil AUTHORIZATION mallory;
	GRANT USAGE ON SCHEMA evil TO PUBLIC});
ask(q{
	CREATE TABLE evil.caught (who name, what text);
	GRANT ALL ON evil.caught TO PUBLIC;
	CREATE FUNCTION evil.spring(what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS
		'BEGIN INSERT INTO evil.caught VALUES (current_user, what); END';
	DO $do$
	DECLARE
		f record;
	BEGIN
		FOR f IN SELECT p.oid::regprocedure AS signature, proname, pg_get_function_arguments(p.oid) AS arguments,
				pg_get_function_result(p.oid) AS result
			FROM pg_proc AS p WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
			AND NOT prorettype = ANY (ARRAY['internal', 'trigger', 'cstring', 'language_handler']::regtype[])
			AND NOT 'internal'::regtype = ANY (proargtypes) AND NOT 'cstring'::regtype = ANY (proargtypes)
			AND provariadic = 0
			AND proname = ANY ('{now,clock_timestamp,transaction_timestamp,statement_timestamp,unnest,left,
				to_jsonb,jsonb_strip_nulls,jsonb_build_object,octet_length,array_to_string,array_position,
				cardinality,date_trunc,timezone,date_part,extract,float8,numeric,int8,text,round,lower,
				generate_series,format,set_config,current_setting,jsonb_concat,jsonb_delete,interval,
				numeric_add,int8pl,texteq,int8eq,timestamptz_pl_interval,date,timestamptz,bool,
				int8gt,int8le,timestamptz_ge,timestamptz_lt}'::text[])
		LOOP
			EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN'
				' PERFORM evil.spring(%L); RETURN%s; END $f$', f.proname, f.arguments, f.result,
				f.signature, CASE WHEN f.result LIKE 'SETOF%' THEN '' ELSE ' NULL' END);
		END LOOP;
		FOR f IN SELECT o.oid, oprname, oprleft::regtype AS l, oprright::regtype AS r,
				oprresult::regtype AS result
			FROM pg_operator AS o WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprkind = 'b'
			AND oprname = ANY ('{=,<>,<,<=,>,>=,+,-,*,/,||,->,~}'::text[])
			AND oprleft = ANY ('{text,name,int4,int8,numeric,float8,timestamptz,timestamp,date,interval,jsonb,bool}'::regtype[])
			AND oprright = ANY ('{text,name,int4,int8,numeric,float8,timestamptz,timestamp,date,interval,jsonb,bool,text[]}'::regtype[])
		LOOP
			EXECUTE format('CREATE FUNCTION evil.operator%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS'
				' $f$ BEGIN PERFORM evil.spring(%L); RETURN NULL; END $f$', f.oid, f.l, f.r, f.result,
				'operator on ' || f.l);
			EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.operator%s)',
				f.oprname, f.l, f.r, f.oid);
		END LOOP;
	END $do$;
	CREATE FUNCTION evil.add(bigint) RETURNS bigint LANGUAGE plpgsql AS
		$$ BEGIN PERFORM evil.spring('aggregate'); RETURN $1; END $$;
	CREATE FUNCTION evil.add(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS
		$$ BEGIN PERFORM evil.spring('aggregate'); RETURN $1; END $$;
	CREATE FUNCTION evil.add(numeric, numeric) RETURNS numeric LANGUAGE plpgsql AS
		$$ BEGIN PERFORM evil.spring('aggregate'); RETURN $1; END $$;
	CREATE AGGREGATE evil.count(*) (SFUNC = evil.add, STYPE = bigint);
	CREATE AGGREGATE evil.min(bigint) (SFUNC = evil.add, STYPE = bigint);
	CREATE AGGREGATE evil.max(bigint) (SFUNC = evil.add, STYPE = bigint);
	CREATE AGGREGATE evil.sum(bigint) (SFUNC = evil.add, STYPE = bigint);
	CREATE AGGREGATE evil.sum(numeric) (SFUNC = evil.add, STYPE = numeric);
}, 'mallory');
cmp_ok(ask(q{SELECT count(*) FROM pg_operator WHERE oprnamespace = 'evil'::regnamespace}),
	'>', 100, 'the trap has operators');
cmp_ok(ask(q{SELECT count(*) FROM pg_proc WHERE pronamespace = 'evil'::regnamespace}),
	'>', 100, 'and functions');

my $caught = q{SELECT DISTINCT who, what FROM evil.caught ORDER BY 1, 2};
ask(q{SET search_path = evil, pg_catalog; SELECT 1::bigint = 1::bigint; SELECT count(*) FROM (VALUES (1)) AS v;
	SELECT now()});
like(ask($caught), qr/superuser\|aggregate\nsuperuser\|now\(\)\nsuperuser\|operator on bigint/, 'the trap works');
ask('TRUNCATE evil.caught');

# Temporary objects with the names of ours, and of types
my $temporary = join '', map { "CREATE TEMP TABLE $_ (seq int, tenant int, last_seq int, metric int);\n" }
  qw(inbox event metric consumer log_position event_partition idempotency_key usage_hourly usage_batch
  user_batch usage_user_daily usage_late gauge_last rejected_event), '"text"', '"interval"', '"timestamptz"', '"date"', '"int8"';

my $two_days_ago = ask(q{SELECT now() - interval '2 days'});
my $expected = 0;
for my $path ('evil, pg_catalog', 'evil, pg_temp, pg_catalog, public', 'pg_temp, evil, pg_catalog',
	'evil, public, meter')
{
	# what an application may call
	my $prepare = "${temporary}SET search_path = $path;\n";
	is( ask($prepare . q{
			SELECT public.meter_track('victim', 'new metric of } . $path . q{', endpoint => '/v1/a?b=1',
				metadata => '{"password": "x"}', idempotency_key => 'once', cost => 0.25, latency_ms => 3,
				error_message => 'password=hunter2')}, 'mallory'),
		'', "search_path $path: an event is tracked");
	$expected++ if $expected == 0;		# the key is the same each time
	is( ask($prepare . qq!
			SELECT * FROM public.meter_track_batch('[{"tenant": "victim", "user_id": "eve", "at": "$two_days_ago"},
				{"tenant": "victim", "status": 1}, 7]')!, 'mallory'),
		"1|accepted||\n"
		  . "2|rejected|22003|status 1 is out of range: An HTTP status is between 100 and 599.\n"
		  . "3|rejected|22023|an event must be a JSON object: It is a number.",
		"search_path $path: a batch is tracked");
	is( ask($prepare . "COPY meter.inbox (tenant, idempotency_key, metric) FROM STDIN;\n"
			. "victim\t$path\tcopied\nvictim\t$path\tcopied\n\\.\n", 'mallory'),
		'', "search_path $path: rows are copied");

	# and the owner, with the same search_path
	is( ask($prepare . 'SELECT public.meter_flush()'), '(' . ($path eq 'evil, pg_catalog' ? 3 : 2) . ',1,0)',
		"search_path $path: the flush does as ever");
	$expected += 2;		# a batch of one, two rows with the same key
	is( ask($prepare . q{SELECT public.meter_correct('victim', idempotency_key => '} . $path . q{', quantity => 2);
			SELECT public.meter_flush()}),
		"\n(1,0,0)", "search_path $path: a correction is made");
	is(ask($prepare . 'SELECT public.meter_rollup()'), $path eq 'evil, pg_catalog' ? 4 : 3,
		"search_path $path: the rollup counts");
	unlike(ask("${prepare}SELECT * FROM $_"), qr/ERROR/, "search_path $path: $_ answers")
	  for 'meter.live', 'meter.usage_daily', 'meter.usage_monthly', 'meter.endpoint_stats', 'meter.service_daily',
	  'meter.top_users', 'meter.gauge_hourly', 'meter.gauge_level', 'meter.gauge_now', 'public.meter_maintain()',
	  q{meter.billing_usage('2026-03-01')}, q{meter.billing_usage_missing('2026-03-01')}, 'meter.usage_late',
	  'meter.storage_growth', 'meter.request_growth', 'meter.tenant_growth', 'meter.provisioning', 'meter.tenant_health',
	  'public.meter_health()', 'public.meter_sample_storage()', 'public.meter_forecast_storage()';
	ask($prepare . q{SELECT public.meter_grant('app', 'app')});

	# and a tenant, whose rows are chosen by an expression of ours
	is(ask("${prepare}SELECT tenant FROM $_ GROUP BY tenant", 'customer'), 'acme',
		"search_path $path: a tenant sees its own rows of $_")
	  for 'meter.event', 'meter.usage_daily', 'meter.endpoint_stats';

	# tenants: made, worked for, audited, dropped
	unlike(ask($prepare . $_), qr/ERROR/, "search_path $path: $_")
	  for q{SELECT public.meter_create_tenant('trap')},
	  q{SET meter.isolation = enforce; SELECT public.meter_set_tenant('trap'); SELECT public.meter_current_tenant();
		SELECT meter.visible_tenants(); SELECT count(*) FROM meter.usage_daily;
		SELECT public.meter_set_tenant(NULL)},
	  q{SELECT * FROM public.meter_adopt_tenants('nothing_%')}, 'SELECT * FROM public.meter_isolation_audit()',
	  'SELECT * FROM meter.isolation_rule', 'SELECT * FROM meter.tenant_schema', 'SELECT * FROM meter.isolation_summary',
	  q{SELECT public.meter_drop_tenant('trap', 'drop'); DELETE FROM meter.tenant WHERE tenant OPERATOR(pg_catalog.=) 'trap'},
	  q{SELECT public.meter_create_tenants(ARRAY['trap']); SELECT public.meter_drop_tenant('trap', 'archive');
		DELETE FROM meter.tenant WHERE tenant OPERATOR(pg_catalog.=) 'trap'; DROP OWNED BY tenant_trap; DROP ROLE tenant_trap};
}
is(ask($caught), '', 'nothing of the trap was ever executed');
is(ask(q{SELECT sum(events), sum(quantity) FROM meter.usage_hourly WHERE tenant = 'victim'}),
	$expected . '|' . ($expected + 4), 'the totals are right');
is(ask(q{SELECT sum(events), sum(quantity) FROM meter.live WHERE tenant = 'victim'}),
	$expected . '|' . ($expected + 4), 'and so are the live totals');
is( ask(q{SELECT count(*) FROM meter.event WHERE tenant = 'victim' AND metadata::text || error_message ~ 'hunter2|"x"'}),
	'0', 'credentials are masked');

# After a call, also a failed one, the caller is who he was

is( ask(q{
	SET search_path = evil, pg_catalog;
	DO $$
	BEGIN
		BEGIN
			PERFORM public.meter_track('');
		EXCEPTION WHEN null_value_not_allowed OR invalid_parameter_value OR OTHERS THEN
			RAISE INFO '%', SQLSTATE;
		END;
		PERFORM public.meter_track('victim');
	END $$;
	SELECT current_user, session_user, pg_catalog.current_setting('search_path');
	DELETE FROM evil.caught}, 'mallory'),
	'mallory|mallory|evil, pg_catalog', 'after calls that fail or succeed the caller is who he was');
like(ask(q{DO $$ BEGIN PERFORM meter_track(''); EXCEPTION WHEN OTHERS THEN NULL; END $$;
	SELECT * FROM meter.event}, 'mallory'), qr/42501: permission denied/, 'and has no more rights than before');
like(ask(q{SELECT meter_track('victim'); CREATE FUNCTION meter.f() RETURNS int LANGUAGE sql AS 'SELECT 1'}, 'mallory'),
	qr/42501: permission denied for schema meter/, 'he can put nothing into the schema meter');

$node->stop;
done_testing();

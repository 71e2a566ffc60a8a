# 028_injection.pl: text that looks like SQL, through every function that takes any.
#
# The functions are those of the catalog, so a later one is called, too.  Each
# argument that takes text gets, one at a time and all together, text that would
# be executed if it were pasted into a statement: then the sequence "sprung" is
# advanced, which no rollback undoes.  Text that is pasted but does not happen to
# be executed makes errors of syntax or of names that are not there, so these
# count as well.  The calls are a superuser's, who would be refused nothing.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node $by_hand);
use Test::More;

start_node('injection', $by_hand);
ask(q{
	CREATE EXTENSION meter CASCADE;
	SELECT meter_load_preset('tiered');
	CREATE ROLE victim;
	INSERT INTO meter.plan_version (plan, base_price) SELECT plan, 1 FROM meter.plan;
	SELECT meter_create_tenant('acme', plan => (SELECT min(plan) FROM meter.plan));
	SELECT meter_track('acme', endpoint => '/v1/a', user_id => 'ann', idempotency_key => 'k');
	SELECT meter_flush();
	SELECT meter_rollup();
	CREATE SEQUENCE sprung;
	CREATE TABLE answer (function text, argument text, payload text, sqlstate text, message text);
	CREATE TABLE payload (payload text)});
ask("INSERT INTO payload VALUES (\$p\$$_\$p\$)")
  for q{'; SELECT nextval('public.sprung'); --},
  q{'); SELECT nextval('public.sprung'); --},
  q{' || nextval('public.sprung') || '},
  q{\\' || nextval('public.sprung'); --},
  q{x"; SELECT nextval('public.sprung'); --},
  q{x"), nextval('public.sprung'); --},
  q{$$; SELECT nextval('public.sprung'); $$},
  q{nextval('public.sprung')},
  q{0) OR nextval('public.sprung') > (0},
  q{*/ SELECT nextval('public.sprung'); /*},
  q{%1$s %I %L %% %s};

# What makes calls go on past the checks: for arguments of these names a value
# that is right, and for all others one of their type.
ask(q{
	CREATE FUNCTION sample(argument text, type regtype) RETURNS text LANGUAGE sql AS $$
		SELECT CASE
			WHEN argument IN ('tenant', 'of_tenant') THEN quote_literal('acme')
			WHEN argument = 'tenants' OR argument = 'of_tenants' THEN quote_literal('{acme}')
			WHEN argument IN ('plan', 'new_plan', 'was_plan') THEN (SELECT quote_literal(min(p.plan)) FROM meter.plan AS p)
			WHEN argument IN ('metric', 'of_metric') THEN quote_literal('api_requests')
			WHEN argument IN ('currency', 'in_currency', 'base', 'quote') THEN quote_literal('USD')
			WHEN argument = 'model' THEN quote_literal('flat')
			WHEN argument = 'params' THEN quote_literal('{"amount": 5}')
			WHEN argument = 'preset' THEN quote_literal('tiered')
			WHEN argument = 'privileges' THEN quote_literal('app')
			WHEN argument = 'role' AND type <> 'oid'::regtype THEN quote_literal('victim')
			WHEN argument = 'mode' THEN quote_literal('drop')
			WHEN argument = 'min_severity' THEN quote_literal('info')
			WHEN argument = 'what' THEN quote_literal('usage_daily')
			WHEN argument = 'format' THEN quote_literal('csv')
			WHEN argument = 'reset' THEN quote_literal('epoch')
			WHEN argument = 'rounding' THEN quote_literal('none')
			WHEN argument = 'pattern' THEN quote_literal('tenant_%')
			WHEN argument = 'time_zone' THEN quote_literal('UTC')
			WHEN argument = 'idempotency_key' THEN quote_literal('k')
			WHEN argument IN ('token', 'role_name', 'schema_name', 'seq') THEN 'NULL'
			WHEN argument IN ('month', 'of_month') THEN quote_literal(date_trunc('month', now(), 'UTC')::date)
			WHEN type = 'jsonb'::regtype THEN quote_literal('{}')
			WHEN type = ANY ('{text[],name[],numeric[]}'::regtype[]) THEN quote_literal('{}')
			WHEN type = ANY ('{text,name}'::regtype[]) THEN quote_literal('plain')
			WHEN type = ANY ('{int4,int8,numeric,float8}'::regtype[]) THEN '1'
			WHEN type = 'bool'::regtype THEN 'false'
			WHEN type = 'interval'::regtype THEN quote_literal('1 hour')
			WHEN type = ANY ('{date,timestamptz}'::regtype[]) THEN quote_literal(now())
			ELSE 'NULL'
		END || '::' || type $$;
	CREATE FUNCTION loaded(payload text, type regtype) RETURNS text LANGUAGE sql AS $$
		SELECT format('%L::%s', CASE
			WHEN type = ANY ('{text[],name[]}'::regtype[]) THEN ARRAY[payload]::text
			WHEN type = 'jsonb'::regtype THEN jsonb_build_array(jsonb_build_object('tenant', payload,
				'metric', payload, 'endpoint', payload, payload, payload))::text
			ELSE payload END, type) $$;
	CREATE PROCEDURE battery(which regprocedure) LANGUAGE plpgsql AS $$
	DECLARE
		names text[];
		types regtype[];
		call text;
		shot record;
	BEGIN
		SELECT array_agg(p.proargnames[i + 1] ORDER BY i), array_agg(p.proargtypes[i] ORDER BY i)
		INTO names, types
		FROM pg_proc AS p, generate_series(0, p.pronargs - 1) AS i WHERE p.oid = which;
		-- "at" 0 is all arguments together
		FOR shot IN
			SELECT at, payload FROM generate_series(0, cardinality(types)) AS at, payload
			WHERE at = 0 OR types[at] = ANY ('{text,name,text[],name[],jsonb}'::regtype[])
		LOOP
			SELECT string_agg(CASE WHEN shot.at IN (0, i) AND types[i] = ANY ('{text,name,text[],name[],jsonb}'::regtype[])
				THEN loaded(shot.payload, types[i]) ELSE sample(names[i], types[i]) END, ', ' ORDER BY i)
			INTO call FROM generate_subscripts(types, 1) AS i;
			BEGIN
				EXECUTE format('SELECT count(f::text) FROM %s(%s) AS f', which::regproc, call);
				-- undone, so that all calls find the same
				RAISE SQLSTATE '00M01' USING MESSAGE = 'no error';
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO answer VALUES (which, COALESCE(names[shot.at], '*'), shot.payload, SQLSTATE, SQLERRM);
			END;
		END LOOP;
	END $$});

my $suspicious = q{sqlstate IN ('42601', '42703', '42P01', '42883', '42702', '3F000', '42P02', '22P02')
	OR sqlstate LIKE 'XX%' OR message LIKE '%format()%'};

# The battery finds what is pasted, in a literal, as a name and as a format

ask(q{
	CREATE FUNCTION pasted_literal(t text) RETURNS text LANGUAGE plpgsql AS
		$$ DECLARE r text; BEGIN EXECUTE 'SELECT ''' || t || '''' INTO r; RETURN r; END $$;
	CREATE FUNCTION pasted_name(t text) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN EXECUTE 'CREATE SCHEMA "' || t || '"'; END $$;
	CREATE FUNCTION pasted_format(t text) RETURNS text LANGUAGE plpgsql AS
		$$ BEGIN RETURN format(t); END $$});
for my $function (qw(pasted_literal pasted_name))
{
	my $before = ask('SELECT last_value FROM sprung');
	ask("CALL battery('$function(text)')");
	cmp_ok(ask('SELECT last_value FROM sprung'), '>', $before, "the battery gets at $function()");
}
ask("CALL battery('pasted_format(text)')");
cmp_ok(ask("SELECT count(*) FROM answer WHERE function LIKE 'pasted%' AND ($suspicious)"), '>', 5, 'and sees errors of pasted text');

# Now for ours

ask('TRUNCATE answer; ALTER SEQUENCE sprung RESTART');
my @functions = split /\n/, ask(q{
	SELECT p.oid::regprocedure FROM pg_proc AS p
	JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
	JOIN pg_language AS l ON l.oid = p.prolang
	WHERE p.prokind = 'f' AND l.lanname <> 'internal'
		AND NOT 'internal'::regtype = ANY (p.proargtypes) AND p.prorettype <> 'trigger'::regtype
		AND p.proargtypes::oid[] && '{text,name,text[],name[],jsonb}'::regtype[]::oid[]
	ORDER BY 1::text});
cmp_ok(scalar @functions, '>', 60, 'there are functions that take text');
for my $function (@functions)
{
	ask("CALL battery('$function')");
	is(ask('SELECT is_called FROM sprung'), 'f', "nothing is executed by $function");
	cmp_ok(ask("SELECT count(*) FROM answer WHERE function = '$function'"), '>=', 11, 'which was called');
}
is(ask("SELECT DISTINCT function, argument, sqlstate, message FROM answer WHERE $suspicious ORDER BY 1, 2"), '',
	'and no error is one of pasted text');
cmp_ok(ask(q{SELECT count(DISTINCT function) FROM answer WHERE sqlstate = '00M01'}), '>', @functions * 0.6,
	'most functions did their work with some');
is(ask(q{SELECT tenant || ' ' || status FROM meter.tenant}), 'acme active', 'the tenant is there as before');

done_testing();

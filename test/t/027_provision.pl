# 027_provision.pl: tenants made in bulk and by several sessions at once.
#
# A thousand tenants made in one call are told of as they are made, and the audit
# has nothing to say about them.  Of two sessions that make the same tenant at the
# same time, one does, and the other leaves nothing behind.  Who lacks the rights
# is told so.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask close_session in_session open_session session start_node tell_session answer_of wait_until $by_hand);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('provision', $by_hand);
ask(q{CREATE EXTENSION meter CASCADE; INSERT INTO meter.plan (plan) VALUES ('pro')});

my $told = session(q{SELECT meter_create_tenants(ARRAY(SELECT 'c' || g FROM generate_series(1, 1000) AS g), 'pro')});
is_deeply([ $told =~ /NOTICE:.* (\d+ of \d+) tenants made/g ], [ map { ($_ * 100) . ' of 1000' } 1 .. 10 ],
	'each hundred is told');
is(ask(q{SELECT count(*) FROM meter.tenant AS t JOIN pg_namespace AS n ON n.nspname = t.schema_name
	JOIN pg_roles AS r ON r.oid = n.nspowner AND r.rolname = t.role_name AND NOT r.rolcanlogin
	WHERE t.plan = 'pro'}), '1000', 'each has its schema and role');
# tables that the tenant makes itself are well made, too
ask(q{SET ROLE tenant_c1; CREATE TABLE tenant_c1.t (id int); CREATE FUNCTION tenant_c1.f() RETURNS int LANGUAGE sql RETURN 1});
is(ask('SELECT * FROM meter_isolation_audit()'), '', 'the audit finds nothing');

# Two sessions, other names for the schema: the second waits for the first.

my ($first, $second) = (open_session(), open_session());
in_session($first, q{BEGIN; SELECT meter_create_tenant('twice', schema_name => 'one', role_name => 'role_one');});
tell_session($second, q{SELECT meter_create_tenant('twice', schema_name => 'two', role_name => 'role_two');});
wait_until(q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted}, 'the second session waits');
in_session($first, 'COMMIT;');
answer_of($second);
close_session($first);
close_session($second);
is(ask(q{SELECT schema_name, role_name FROM meter.tenant WHERE tenant = 'twice'}), 'one|role_one', 'the first made it');
is(ask(q{SELECT count(*) FROM pg_namespace WHERE nspname = 'two'}), '0', 'the second made no schema');
is(ask(q{SELECT count(*) FROM pg_roles WHERE rolname = 'role_two'}), '0', 'and no role');

# Rights

ask(q{CREATE ROLE adm LOGIN; SELECT meter_grant('adm', 'admin'); CREATE ROLE nobody LOGIN});
my ($status, $out, $err) = $node->psql('postgres', q{SELECT meter_create_tenant('x')}, extra_params => [ '-U', 'adm' ]);
like($err, qr/permission denied to create role/, 'an admin without CREATEROLE is told what is missing');
($status, $out, $err) = $node->psql('postgres', q{SELECT meter_create_tenant('x')}, extra_params => [ '-U', 'nobody' ]);
like($err, qr/permission denied for function meter_create_tenant/, 'and nobody else may call it');
is(ask(q{SELECT count(*) FROM meter.tenant WHERE tenant = 'x'}), '0', 'nothing is half done');

# A thousand are dropped one after the other in one call

is(ask(q{SET client_min_messages = warning; SELECT count(meter_drop_tenant(tenant, 'drop')) FROM meter.tenant WHERE tenant ~ '^c\d+$'}),
	'1000', 'all are dropped');
is(ask(q{SELECT count(*) FROM pg_roles WHERE rolname LIKE 'tenant\_c%'}), '0', 'with their roles');
is(ask(q{SELECT count(*) FROM meter.tenant WHERE status = 'cancelled'}), '1000', 'and are cancelled');

done_testing();

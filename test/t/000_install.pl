# 000_install.pl: installing, removing and reinstalling the extension, with and
# without shared_preload_libraries.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node $by_hand);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('install', '');

# Runs SQL that must fail; returns the error.
sub refused
{
	my ($sql) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', $sql);
	isnt($status, 0, "refused: $sql");
	return $stderr;
}

# The version is in one file; the catalog must agree with it.
my $control = slurp_file('meter.control');
my ($version) = $control =~ /^default_version\s*=\s*'([^']+)'/m;

# Without preload
like(refused('CREATE EXTENSION meter'),
	qr/required extension "hll" is not installed/,
	'hll is required');

ask('CREATE SCHEMA meter');
like(refused('CREATE EXTENSION meter CASCADE'),
	qr/schema "meter" already exists/,
	'a foreign schema of the name meter is not taken over');
is(ask('SELECT count(*) FROM pg_extension WHERE extname = \'meter\''),
	'0', 'nothing of the failed installation stays');
ask('DROP SCHEMA meter; DROP EXTENSION IF EXISTS hll');

ask('CREATE EXTENSION meter CASCADE');
is(ask('SELECT extversion FROM pg_extension WHERE extname = \'meter\''),
	$version, 'the installed version is that of the control file');
is( ask(q{
		SELECT string_agg(p.oid::regprocedure::text, ', ')
		FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
		WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'meter')
		AND p.pronamespace <> 'meter'::regnamespace
		AND p.proname !~ '^meter_'}),
	'',
	'every function outside the schema meter is called meter_*');

# Remove, and install again with the functions in another schema
my $count_objects = q{
	SELECT (SELECT count(*) FROM pg_class) + (SELECT count(*) FROM pg_proc)
		+ (SELECT count(*) FROM pg_type) + (SELECT count(*) FROM pg_namespace)};
ask('DROP EXTENSION meter');
my $before = ask($count_objects);
ask('CREATE SCHEMA app; CREATE EXTENSION meter SCHEMA app');
is( ask(q{
		SELECT count(*) > 0 FROM pg_proc
		WHERE proname = 'meter_track' AND pronamespace = 'app'::regnamespace}),
	't',
	'functions go to the schema that CREATE EXTENSION names');
ask('DROP EXTENSION meter; DROP SCHEMA app');
is(ask($count_objects), $before, 'removal leaves nothing');

# With preload
$node->append_conf('postgresql.conf', $by_hand);
$node->restart;
ask('CREATE EXTENSION meter');
is(ask('SELECT count(*) FROM pg_extension WHERE extname = \'meter\''),
	'1', 'it installs when it is preloaded');
my ($status, $stdout, $stderr) = $node->psql('postgres', 'SET meter.no_such_setting = 1');
like($stderr, qr/invalid configuration parameter name/, 'the prefix meter is reserved');
ask('DROP EXTENSION meter');

$node->stop;
done_testing();

# 040_reference.pl: the manual says what is there.
#
# The pages of the reference are made anew from a database and have to be those
# in doc/; everything that they tell of has a comment that says something; and
# the links of all pages lead somewhere.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../../doc";
use File::Basename qw(dirname);
use MeterSource qw(page_of_object);
use MeterTest qw(ask start_node $by_hand);
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $made = PostgreSQL::Test::Utils::tempdir();

my $node = start_node('reference', $by_hand);
ask('CREATE EXTENSION meter CASCADE');

# --- the pages are those of the database -----------------------------------------

sub pages
{
	my ($directory) = @_;
	return sort map { s{^\Q$directory\E/}{}r } glob("$directory/reference.md"), glob("$directory/reference/*.md");
}

{
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATABASE} = 'postgres';
	ok(system($^X, "$top/doc/reference.pl", $made) == 0, 'the pages can be made');
}
is(ask(q{SELECT count(*) FROM pg_roles WHERE rolname LIKE 'meter_reference%'}), '0', 'no role is left of that');
is(join(' ', pages("$top/doc")), join(' ', pages($made)), 'they are the pages that are in doc');
for my $page (pages($made))
{
	my $same = -e "$top/doc/$page" && slurp_file("$top/doc/$page") eq slurp_file("$made/$page");
	ok($same, "doc/$page is what \"make reference\" makes");
	diag(qx(diff -u '$top/doc/$page' '$made/$page' | head -n 40)) if !$same;
}

# --- comments --------------------------------------------------------------------

# What is part of the extension: kind, name, and how it is described.  Partitions,
# indexes, and types of rows and arrays are described by what they belong to.
my $described = q{
	WITH member AS (
		SELECT d.classid, d.objid FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'meter')
	SELECT 'function' AS kind, p.oid::regprocedure::text AS name, p.proname::text AS word,
		obj_description(p.oid, 'pg_proc') AS comment
	FROM member JOIN pg_proc AS p ON p.oid = objid WHERE classid = 'pg_proc'::regclass
	UNION ALL SELECT 'relation', c.oid::regclass::text, c.relname, obj_description(c.oid, 'pg_class')
	FROM member JOIN pg_class AS c ON c.oid = objid
	WHERE classid = 'pg_class'::regclass AND c.relkind <> 'c' AND NOT c.relispartition
	UNION ALL SELECT 'column', c.oid::regclass || '.' || a.attname, a.attname, col_description(c.oid, a.attnum)
	FROM member JOIN pg_class AS c ON c.oid = objid JOIN pg_attribute AS a ON a.attrelid = c.oid
	WHERE classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL SELECT 'type', format_type(t.oid, NULL), t.typname, obj_description(t.oid, 'pg_type')
	FROM member JOIN pg_type AS t ON t.oid = objid WHERE classid = 'pg_type'::regclass
		AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid)
		AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
	UNION ALL SELECT 'operator', o.oid::regoperator::text, o.oprname, obj_description(o.oid, 'pg_operator')
	FROM member JOIN pg_operator AS o ON o.oid = objid WHERE classid = 'pg_operator'::regclass
	UNION ALL SELECT 'cast', k.oid::text, '', obj_description(k.oid, 'pg_cast')
	FROM member JOIN pg_cast AS k ON k.oid = objid WHERE classid = 'pg_cast'::regclass
	UNION ALL SELECT 'schema', n.nspname, n.nspname, obj_description(n.oid, 'pg_namespace')
	FROM member JOIN pg_namespace AS n ON n.oid = objid WHERE classid = 'pg_namespace'::regclass
	UNION ALL SELECT 'parameter', name, name, short_desc FROM pg_settings WHERE name LIKE 'meter.%'};

cmp_ok(ask("SELECT count(*) FROM ($described) AS d"), '>', 900, 'there is much to describe');
is(ask("SELECT kind || ' ' || name FROM ($described) AS d WHERE comment IS NULL ORDER BY 1"),
	'', 'all that can have a comment has one');
is( ask("SELECT kind || ' ' || name || ': ' || comment FROM ($described) AS d
	WHERE regexp_replace(lower(comment), '[^a-z]', '', 'g') = regexp_replace(lower(word), '[^a-z]', '', 'g')
		OR kind NOT IN ('column', 'operator') AND comment !~ '\\w \\w'
		OR length(comment) < 2 OR comment ~* 'todo|fixme|xxx|lorem'
	ORDER BY 1"),
	'', 'and it says more than the name');

# Functions that users call are explained in a page of their own.
is( join(' ', grep { !page_of_object($_) } split /\n/, ask(q{
		SELECT DISTINCT proname FROM pg_proc
		JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = pg_proc.oid AND d.deptype = 'e'
		JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'meter'
		WHERE pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype ORDER BY 1})),
	'', 'each function is of a page of doc');

# --- links -----------------------------------------------------------------------

# The anchors of a page, as they are made of its headings.
my %anchors;

sub anchors
{
	my ($file) = @_;
	return $anchors{$file} if $anchors{$file};
	my %found;
	my $text = slurp_file($file);
	$text =~ s/^```.*?^```$//gms;
	while ($text =~ /^#+ +(.+?) *$/gm)
	{
		my $anchor = lc $1;
		$anchor =~ s/\[([^\]]*)\]\([^)]*\)/$1/g;
		$anchor =~ s/[^\w\- ]//g;
		$anchor =~ s/ /-/g;
		my $n = $found{$anchor}++;
		$found{"$anchor-$n"} = 1 if $n > 0;
	}
	return $anchors{$file} = \%found;
}

my @nowhere;
my $links = 0;
for my $file ("$top/README.md", glob("$top/doc/*.md"), glob("$top/doc/reference/*.md"))
{
	my $text = slurp_file($file);
	$text =~ s/^```.*?^```$//gms;
	while ($text =~ /\]\(([^)\s]+)\)/g)
	{
		my ($target, $anchor) = split /#/, $1, 2;
		next if $target =~ /^[a-z]+:/;
		$links++;
		my $to = $target eq '' ? $file : dirname($file) . "/$target";
		push @nowhere, ($file =~ s{^\Q$top\E/}{}r) . ": $1"
		  if !-e $to || defined $anchor && !anchors($to)->{$anchor};
	}
}
cmp_ok($links, '>', 1000, 'there are many links');
is(join("\n", @nowhere), '', 'all of them lead somewhere');

done_testing();

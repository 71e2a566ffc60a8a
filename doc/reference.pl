#!/usr/bin/env perl
#
# doc/reference.pl DIRECTORY: write the pages of the reference into DIRECTORY.
#
# What the pages say is in the catalogs of a database that has the extension: it
# is asked with psql, which finds it by PGHOST and so on, as superuser, on a
# server that preloads meter.  The SQLSTATEs are read in the sources, see
# MeterSource.pm.
#
# The same version of meter makes the same pages on each version of PostgreSQL:
# all is sorted by bytes, and nothing that servers print in ways of their own is
# printed.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use MeterSource qw(condition meaning page_of_object page_of_room raised);

my $directory = shift or die "usage: reference.pl DIRECTORY\n";

# --- asking --------------------------------------------------------------------

# Who may do what is found out by granting it to roles that are never committed.
my @sets = qw(app tenant analyst admin);
my $ask = <<'SQL';
\set ON_ERROR_STOP 1
SET client_min_messages = error;
SET client_encoding = 'UTF8';
SET intervalstyle = 'postgres';
BEGIN;
SELECT nspname AS functions_schema FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace
WHERE extname = 'meter' \gset
SQL
for my $set (@sets)
{
	$ask .= qq{CREATE ROLE meter_reference_$set;
		SELECT :"functions_schema".meter_grant('meter_reference_$set', '$set') \\g /dev/null\n};
}
$ask .= <<'SQL';
SET search_path = pg_catalog, :"functions_schema";
CREATE TEMPORARY VIEW member AS
SELECT d.classid, d.objid FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'meter';
CREATE TEMPORARY VIEW grantee AS
SELECT s.name, s.place, 'meter_reference_' || s.name AS role
FROM unnest('{app,tenant,analyst,admin}'::text[]) WITH ORDINALITY AS s(name, place);

-- one row of JSON each
SELECT jsonb_build_object('functions', (SELECT jsonb_agg(f) FROM (
	SELECT n.nspname AS schema, p.proname AS name, p.oid::regprocedure::text AS signature, p.prokind AS kind,
		p.provolatile AS volatility, p.proparallel AS parallel, p.proisstrict AS strict, p.prosecdef AS definer,
		p.prorettype = 'trigger'::regtype AS is_trigger, p.proretset AS set,
		format_type(p.prorettype, NULL) AS returns, obj_description(p.oid, 'pg_proc') AS comment,
		(SELECT jsonb_agg(jsonb_build_object('name', quote_ident(p.proargnames[a.i]),
				'mode', COALESCE(p.proargmodes[a.i], 'i'), 'type', format_type(a.type, NULL),
				'default', pg_get_function_arg_default(p.oid, a.i::integer)) ORDER BY a.i)
			FROM unnest(COALESCE(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY AS a(type, i)) AS arguments,
		(SELECT jsonb_agg(g.name ORDER BY g.place) FROM grantee AS g
			WHERE has_function_privilege(g.role, p.oid, 'EXECUTE')) AS sets
	FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
	WHERE (('pg_proc'::regclass, p.oid)) IN (SELECT classid, objid FROM member)
	ORDER BY p.proname COLLATE "C", p.oid::regprocedure::text COLLATE "C") AS f));

SELECT jsonb_build_object('relations', (SELECT jsonb_agg(r) FROM (
	SELECT c.relname AS name, c.relkind AS kind, c.relrowsecurity AS row_security,
		obj_description(c.oid, 'pg_class') AS comment,
		(SELECT jsonb_agg(jsonb_build_object('name', quote_ident(a.attname), 'type', format_type(a.atttypid, a.atttypmod),
				'not_null', a.attnotnull, 'generated', a.attgenerated <> '', 'identity', a.attidentity <> '',
				'default', pg_get_expr(d.adbin, d.adrelid), 'comment', col_description(c.oid, a.attnum))
				ORDER BY a.attnum)
			FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
		(SELECT jsonb_agg(pg_get_constraintdef(k.oid) ORDER BY k.contype = 'f', k.contype = 'u',
				pg_get_constraintdef(k.oid) COLLATE "C")
			FROM pg_constraint AS k
			WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'f') AND k.conparentid = 0) AS keys,
		(SELECT jsonb_agg(jsonb_build_object('set', g.name, 'privilege', v.name,
				'whole', has_table_privilege(g.role, c.oid, v.name)) ORDER BY v.place, g.place)
			FROM grantee AS g, unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) WITH ORDINALITY AS v(name, place)
			WHERE CASE v.name WHEN 'DELETE' THEN has_table_privilege(g.role, c.oid, v.name)
				ELSE has_any_column_privilege(g.role, c.oid, v.name) END) AS sets
	FROM pg_class AS c
	WHERE (('pg_class'::regclass, c.oid)) IN (SELECT classid, objid FROM member)
	ORDER BY c.relname COLLATE "C") AS r));

SELECT jsonb_build_object('types', (SELECT jsonb_agg(r) FROM (
	SELECT n.nspname AS schema, t.typname AS name, t.typtype AS kind, obj_description(t.oid, 'pg_type') AS comment,
		(SELECT jsonb_agg(jsonb_build_object('name', quote_ident(a.attname), 'type', format_type(a.atttypid, a.atttypmod),
				'comment', col_description(t.typrelid, a.attnum)) ORDER BY a.attnum)
			FROM pg_attribute AS a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
		(SELECT format_type(g.rngsubtype, NULL) FROM pg_range AS g WHERE t.oid IN (g.rngtypid, g.rngmultitypid)) AS subtype
	FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
	WHERE (('pg_type'::regclass, t.oid)) IN (SELECT classid, objid FROM member)
		-- newer servers count row types and arrays in
		AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid)
		AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
	ORDER BY t.typname COLLATE "C") AS r));

SELECT jsonb_build_object('operators', (SELECT jsonb_agg(r) FROM (
	SELECT format('%s %s %s', format_type(o.oprleft, NULL), o.oprname, format_type(o.oprright, NULL)) AS name,
		format_type(o.oprresult, NULL) AS returns, obj_description(o.oid, 'pg_operator') AS comment
	FROM pg_operator AS o WHERE (('pg_operator'::regclass, o.oid)) IN (SELECT classid, objid FROM member)
	ORDER BY 1) AS r));

SELECT jsonb_build_object('casts', (SELECT jsonb_agg(r) FROM (
	SELECT format('%s AS %s', format_type(k.castsource, NULL), format_type(k.casttarget, NULL)) AS name,
		k.castcontext AS context, obj_description(k.oid, 'pg_cast') AS comment
	FROM pg_cast AS k WHERE (('pg_cast'::regclass, k.oid)) IN (SELECT classid, objid FROM member)
	ORDER BY 1) AS r));

SELECT jsonb_build_object('settings', (SELECT jsonb_agg(r) FROM (
	SELECT s.name, s.unit, s.vartype AS type, s.min_val AS low, s.max_val AS high, s.boot_val AS default,
		s.context, s.enumvals AS values, s.short_desc AS comment, s.extra_desc AS more
	FROM pg_settings AS s WHERE s.name LIKE 'meter.%' ORDER BY s.name COLLATE "C") AS r));
ROLLBACK;
SQL

my $sql_file = "$directory/.reference.sql";
write_file($sql_file, $ask);
my @lines = qx(psql -XAtq -f '$sql_file');
my $status = $?;
unlink $sql_file;
die "psql has failed\n" if $status != 0;
my %found = map { %{ JSON::PP->new->utf8->decode($_) } } @lines;
$found{$_} //= [] for qw(functions relations types operators casts settings);
die "there is no extension meter, or it is not preloaded\n" if !@{ $found{functions} } || !@{ $found{settings} };

# --- the pages' text ------------------------------------------------------------

sub write_file
{
	my ($name, $text) = @_;
	open my $file, '>:encoding(UTF-8)', $name or die "$name: $!\n";
	print $file $text;
	close $file or die "$name: $!\n";
	return;
}

# Text of a comment as Markdown.
sub prose
{
	my ($text) = @_;
	$text //= '';
	$text =~ s/&/&amp;/g;
	$text =~ s/</&lt;/g;
	$text =~ s/([\\`*_\[\]|])/\\$1/g;
	$text =~ s/(?<=\w)\\_(?=\w)/_/g;
	$text =~ s/\s*\n\s*/ /g;
	return $text;
}

sub code
{
	my ($text) = @_;
	return $text =~ /`/ ? "`` $text ``" : "`$text`";
}

# The same in a cell of a table.
sub cell
{
	my ($text) = @_;
	return code($text) =~ s/\|/\\|/gr;
}

# A default as somebody would write it.
sub plain_default
{
	my ($text) = @_;
	return if !defined $text;
	$text =~ s/^('(?:[^']|'')*'|NULL)::(?:"char"|[\w .]+)(?:\[\])?$/$1/;
	return $text;
}

sub list
{
	my @items = @_;
	return $items[0] // '' if @items < 2;
	my $last = pop @items;
	return join(', ', @items) . " and $last";
}

# The first sentence of a comment, or its first half.
sub gist
{
	my ($text) = @_;
	$text =~ s/\s*\n\s*/ /g;
	# a question is all that is needed
	return prose($1) if $text =~ /^([^.;:?]*\?)/;
	$text =~ s/(?:\.(?= |$)|: |; ).*$//s;
	$text =~ s/(?<=.{25}) \(.*$//s;
	return prose($text);
}

my $made = "<!-- Made by \"make reference\" from the comments in the database; do not edit. -->\n";

sub page_link
{
	my ($name, $up) = @_;
	my $page = page_of_object($name);
	return $page ? "[$page]($up$page)" : undef;
}

sub signature
{
	my ($function) = @_;
	my (@in, @out);
	for my $argument (@{ $function->{arguments} // [] })
	{
		my $default = plain_default($argument->{default});
		my $text = join ' ', grep { defined && length }
		  $argument->{mode} eq 'v' ? 'VARIADIC' : $argument->{mode} eq 'b' ? 'INOUT' : undef,
		  $argument->{name}, $argument->{type}, defined $default ? "DEFAULT $default" : undef;
		push @in, $text if $argument->{mode} =~ /[ivb]/;
		push @out, $text if $argument->{mode} =~ /[ot]/;
	}
	my $name = $function->{schema} eq 'meter' ? "meter.$function->{name}" : $function->{name};
	my $returns =
	    $function->{kind} eq 'p' ? ''
	  : @out > 1 || $function->{set} && @out ? ' -> ' . ($function->{set} ? 'TABLE' : 'RECORD') . wrapped(@out)
	  : ' -> ' . ($function->{set} ? 'SETOF ' : '') . $function->{returns};
	return ($function->{kind} eq 'p' ? 'CALL ' : '') . $name . wrapped(@in) . $returns;
}

sub wrapped
{
	my @items = @_;
	my $line = '(' . join(', ', @items) . ')';
	return length $line > 70 ? "(\n\t" . join(",\n\t", @items) . ')' : $line;
}

my %volatility = (i => 'immutable', s => 'stable', v => 'volatile');
my %kind_of_function = (a => 'aggregate', p => 'procedure', w => 'window function', f => 'function');

sub properties
{
	my ($function) = @_;
	my @sets = @{ $function->{sets} // [] };
	my @said = ($function->{is_trigger} ? 'trigger function' : $kind_of_function{ $function->{kind} });
	push @said, $volatility{ $function->{volatility} } if $function->{kind} eq 'f' && !$function->{is_trigger};
	push @said, 'NULL for a NULL argument' if $function->{strict} && $function->{kind} eq 'f' && !$function->{is_trigger};
	push @said, 'with the rights of its owner' if $function->{definer};
	push @said, $function->{is_trigger} ? () : @sets ? 'callable by ' . list(@sets) : 'callable by superusers and the owner only';
	return ucfirst(join '; ', @said) . '.';
}

# Functions of one name are one entry.
sub function_entries
{
	my ($up, @functions) = @_;
	my ($text, $last) = ('', '');
	for my $function (@functions)
	{
		my $name = $function->{name};
		$text .= "\n## $name\n" if $name ne $last;
		$text .= "\n```\n" . signature($function) . "\n```\n\n" . prose($function->{comment}) . "\n\n";
		my $page = page_link($name, $up);
		$text .= properties($function) . ($page ? " See $page." : '') . "\n";
		$last = $name;
	}
	return $text;
}

sub column_table
{
	my ($relation, $with_null) = @_;
	my $text = "\n| column | type | |\n|---|---|---|\n";
	for my $column (@{ $relation->{columns} })
	{
		my @said;
		my $default = plain_default($column->{default});
		push @said, 'not null' if $with_null && $column->{not_null} && !defined $default && !$column->{identity};
		push @said, 'generated' if $column->{generated} || $column->{identity};
		push @said, 'default ' . cell($default) if defined $default && !$column->{generated};
		my $comment = prose($column->{comment});
		my $said = @said ? ($comment eq '' ? '' : ' ') . '(' . join(', ', @said) . ')' : '';
		$text .= '| ' . cell($column->{name}) . ' | ' . cell($column->{type}) . " | $comment$said |\n";
	}
	return $text;
}

my %verb = (SELECT => 'read', INSERT => 'insert', UPDATE => 'update', DELETE => 'delete');

sub table_privileges
{
	my ($relation) = @_;
	my @said;
	for my $privilege (qw(SELECT INSERT UPDATE DELETE))
	{
		my @may = grep { $_->{privilege} eq $privilege } @{ $relation->{sets} // [] };
		next if !@may;
		push @said, "$verb{$privilege}: " . list(map { $_->{set} . ($_->{whole} ? '' : ' (some columns)') } @may);
	}
	my $text = @said ? ucfirst(join '; ', @said) . '.' : 'No set of privileges has it.';
	$text .= ' A tenant\'s role sees the rows of its tenant only.' if $relation->{row_security};
	return $text;
}

sub relation_entries
{
	my ($up, @relations) = @_;
	my $text = '';
	for my $relation (@relations)
	{
		my $is_table = $relation->{kind} ne 'v';
		$text .= "\n## meter.$relation->{name}\n\n" . prose($relation->{comment}) . "\n\n";
		my $page = page_link($relation->{name}, $up);
		$text .= table_privileges($relation) . ($page ? " See $page." : '') . "\n";
		$text .= column_table($relation, $is_table);
		my @keys = @{ $relation->{keys} // [] };
		$text .= "\nKeys: " . join('; ', map { code($_) } @keys) . ".\n" if @keys;
	}
	return $text;
}

# A number of some unit as SET takes it, in the largest unit that fits.
sub with_unit
{
	my ($number, $unit) = @_;
	my %larger = (ms => [ s => 1000 ], s => [ min => 60 ], min => [ h => 60 ], h => [ d => 24 ],
		kB => [ MB => 1024 ], MB => [ GB => 1024 ]);
	return $number if !$unit || $number !~ /^\d+$/;
	while ($number > 0 && $larger{$unit} && $number % $larger{$unit}[1] == 0)
	{
		($number, $unit) = ($number / $larger{$unit}[1], $larger{$unit}[0]);
	}
	return $number eq '0' ? 0 : "$number $unit";
}

my %context = (
	user => 'by anybody, in a session',
	superuser => 'by superusers, in a session',
	sighup => 'by a reload of the configuration',
	postmaster => 'by a restart of the server',
	backend => 'when a session starts',
	'superuser-backend' => 'by superusers, when a session starts',
	internal => 'not at all');

sub setting_entries
{
	my $text = '';
	for my $setting (@{ $found{settings} })
	{
		my $unit = $setting->{unit};
		my $default = $setting->{default} // '';
		my $range =
		    $setting->{type} eq 'enum' ? join ', ', map { code($_) } @{ $setting->{values} }
		  : $setting->{type} eq 'bool' ? '`on`, `off`'
		  : $setting->{type} eq 'string' ? 'text'
		  : ($setting->{type} eq 'real' ? 'number' : 'whole number') . ', from '
		  . with_unit($setting->{low}, $unit) . ($setting->{high} =~ /^2147483647$|e\+308$/ ? ' on' : ' to ' . with_unit($setting->{high}, $unit));
		$text .= "\n## $setting->{name}\n\n" . prose($setting->{comment});
		$text .= ' ' . prose($setting->{more}) if $setting->{more};
		$text .= "\n\n| | |\n|---|---|\n| values | $range |\n";
		$text .= "| unit, where none is given | $unit |\n" if $unit;
		$text .= '| default | ' . ($default eq '' ? 'empty' : code(with_unit($default, $unit))) . " |\n";
		$text .= "| changed | $context{$setting->{context}} |\n";
	}
	return $text;
}

sub type_entries
{
	my ($up) = @_;
	my $text = '';
	for my $type (@{ $found{types} })
	{
		my $name = $type->{schema} eq 'meter' ? "meter.$type->{name}" : $type->{name};
		my %kind = (b => 'base type', c => 'composite type', r => 'range', m => 'multirange',
			e => 'enum', d => 'domain');
		$text .= "\n## $name\n\n" . prose($type->{comment}) . "\n\n" . ucfirst $kind{ $type->{kind} };
		$text .= " of $type->{subtype}" if $type->{subtype};
		my $page = page_link($type->{name}, $up);
		$text .= $page ? ". See $page.\n" : ".\n";
		$text .= column_table($type, 0) if $type->{columns};
	}
	$text .= "\n## Operators\n\n| operator | returns | |\n|---|---|---|\n";
	$text .= '| ' . cell($_->{name}) . ' | ' . cell($_->{returns}) . ' | ' . prose($_->{comment}) . " |\n"
	  for @{ $found{operators} };
	$text .= "\n## Casts\n\n| cast | | |\n|---|---|---|\n";
	my %when = (i => 'implicit', a => 'in assignments', e => 'explicit');
	$text .= '| ' . cell("CAST ($_->{name})") . " | $when{$_->{context}} | " . prose($_->{comment}) . " |\n" for @{ $found{casts} };
	return $text;
}

sub error_entries
{
	my ($up) = @_;
	my %raised = raised();
	my $text = "\n| SQLSTATE | condition | when |\n|---|---|---|\n";
	for my $state (sort keys %raised)
	{
		$text .= "| [$state](#" . lc($state) . ") | " . condition($state) . ' | ' . meaning($state) . " |\n";
	}
	for my $state (sort keys %raised)
	{
		my %messages = %{ $raised{$state} };
		$text .= "\n## $state\n\n" . meaning($state) . "\n";
		$text .= "\n| message | see |\n|---|---|\n" if %messages;
		for my $message (sort keys %messages)
		{
			my %pages = map { $_ => 1 } grep { defined } map { page_of_room($_) } keys %{ $messages{$message} };
			$text .= '| ' . cell($message) . ' | ' . join(', ', map { "[$_]($up$_)" } sort keys %pages) . " |\n";
		}
	}
	return $text;
}

# --- the pages -----------------------------------------------------------------

my @functions = @{ $found{functions} };
my @public = grep { $_->{schema} ne 'meter' } @functions;
# what the server calls, and nobody else
my $inner = qr/^meter_sketch_(?:in|out|recv|send|eq|ne|agg_\w+)$/;
my @called = grep { !$_->{is_trigger} && $_->{name} !~ $inner } @public;
my @helpers = grep { $_->{schema} eq 'meter' || $_->{is_trigger} || $_->{name} =~ $inner } @functions;
my @tables = grep { $_->{kind} =~ /[rp]/ } @{ $found{relations} };
my @views = grep { $_->{kind} =~ /[vm]/ } @{ $found{relations} };

sub page
{
	my ($title, $introduction, $entries) = @_;
	return "$made\n# $title\n\n$introduction\n$entries";
}

my $sets = 'The sets of privileges (app, tenant, analyst, admin) are those of [meter_grant()](functions.md#meter_grant); a superuser may do all, and PUBLIC nothing.';
my %pages = (
	'functions' => page('Functions and procedures',
		"In alphabetical order. They are in the schema that the extension was created in, usually \`public\`, and are called without a schema where that is in \`search_path\`. $sets",
		function_entries('../', @called)),
	'helpers' => page('Helper functions',
		"What views, triggers, types and other functions call. Those in the schema \`meter\` are of use where their page says so, and may change with any version. $sets",
		function_entries('../', @helpers)),
	'tables' => page('Tables', "In alphabetical order, without partitions. $sets", relation_entries('../', @tables)),
	'views' => page('Views',
		"In alphabetical order. Where a column is not described, it is what the view's own description, or the column of the same name in the table it comes from, says. $sets",
		relation_entries('../', @views)),
	'types' => page('Types, operators and casts', 'Row types of tables are not listed.', type_entries('../')),
	'settings' => page('Parameters',
		'Parameters of the configuration: set in `postgresql.conf`, with `ALTER SYSTEM`, `ALTER DATABASE`, `ALTER ROLE` or `SET`, as far as the row *changed* lets. [setting.md](../setting.md) says what they are for and how to choose them.',
		setting_entries()),
	'errors' => page('SQLSTATEs',
		"What `meter` raises, with the messages as they are in the sources; \x{2026} is where a value is filled in; a few are warnings or messages of the server log. Besides these there are the errors of PostgreSQL itself, such as 23502, 23503, 23505, 23514 and 23P01 of rows that break a constraint of a table.",
		error_entries('../')));

mkdir "$directory/reference" or -d "$directory/reference" or die "$directory/reference: $!\n";
write_file("$directory/reference/$_.md", $pages{$_}) for sort keys %pages;

sub index_of
{
	my ($page, $prefix, @objects) = @_;
	my ($text, $last) = ("\n| | |\n|---|---|\n", '');
	for my $object (@objects)
	{
		next if $object->{name} eq $last;
		$last = $object->{name};
		# anchors are as GitHub makes them: without punctuation
		my $anchor = lc "$prefix$object->{name}" =~ s/[^\w-]//gr;
		$text .= "| [$prefix$object->{name}](reference/$page.md#$anchor) | " . gist($object->{comment}) . " |\n";
	}
	return $text;
}

write_file(
	"$directory/reference.md",
	page('Reference',
		'Every object, parameter and SQLSTATE. The pages behind the links have the whole of what is said here in short: arguments, columns, defaults, errors, and who may use what. Made from the comments in the database by `make reference`; a test compares.',
		  "\n## [Functions and procedures](reference/functions.md)\n" . index_of('functions', '', @called)
		. "\n## [Views](reference/views.md)\n" . index_of('views', 'meter.', @views)
		. "\n## [Tables](reference/tables.md)\n" . index_of('tables', 'meter.', @tables)
		. "\n## [Types, operators and casts](reference/types.md)\n"
		. index_of('types', '', map { { %$_, name => $_->{schema} eq 'meter' ? "meter.$_->{name}" : $_->{name} } } @{ $found{types} })
		. "\n## [Parameters](reference/settings.md)\n" . index_of('settings', '', @{ $found{settings} })
		. "\n## [SQLSTATEs](reference/errors.md)\n\n| | |\n|---|---|\n"
		. join('', map { "| [$_](reference/errors.md#" . lc($_) . ") | " . meaning($_) . " |\n" } sort keys %{ { raised() } })
		. "\n## [Helper functions](reference/helpers.md)\n\nWhat views, triggers, types and other functions call.\n"));

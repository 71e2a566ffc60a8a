# MeterSource.pm: what doc/reference.pl reads in the sources: which file makes an
# object, and which SQLSTATEs are raised, with which messages.
#
#	page_of_object(NAME)	the page of doc/ about an object, undef for none
#	page_of_room(ROOM)		the same of a source file, without its suffix
#	raised()				(SQLSTATE => {message => {room => 1}}) of all that is raised
#	meaning(SQLSTATE)		when it is raised
#	condition(SQLSTATE)		its name
package MeterSource;

use strict;
use warnings;

use Exporter qw(import);
use File::Basename qw(basename dirname);

our @EXPORT_OK = qw(condition meaning page_of_object page_of_room raised read_file);

my $top = dirname(__FILE__) . '/..';

sub read_file
{
	my ($name) = @_;
	open my $file, '<:encoding(UTF-8)', $name or die "$name: $!\n";
	local $/;
	return scalar <$file>;
}

# The page of a source, where it is neither called the same nor a part of it, as
# src/alert_rule.sql is of doc/alert.md.
my %page_of = (
	account => 'limit', account_file => 'limit', account_memory => 'limit', amount => 'charge', chart => 'dashboard',
	close => 'bill', delta => 'bill', dimension => 'metric', element => 'batch', event => 'track',
	event_row => 'track', focus => 'export', fold => 'rollup', gauge_limit => 'capacity', header => 'decision',
	html => 'dashboard', ignore => 'endpoint', late => 'rollup', launcher => 'worker', listen => 'violation',
	openmetrics => 'prometheus', openmetrics_text => 'prometheus', openmetrics_view => 'prometheus',
	owner => 'bill', partition => 'flush', query_mask => 'secret', rating => 'billing',
	recent => 'signal', refuse => 'limit', reject => 'flush', segment => 'aggregation', shared => 'setting',
	total => 'rollup', users => 'usage', waiting => 'flush', word => 'rule', writer => 'log');

# The source file that makes an object, and the messages of each SQLSTATE.
my (%source, %raised);
my %sources = map { $_ => read_file($_) } sort glob("$top/src/*.sql"), glob("$top/src/*.c"), glob("$top/src/core/*.c");

for my $file (grep { /\.sql$/ } sort keys %sources)
{
	my $room = basename($file, '.sql');
	while ($sources{$file} =~ /^CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|AGGREGATE|PROCEDURE|(?:UNLOGGED\s+)?TABLE|VIEW|TYPE)\s+
		(?:\@extschema\@|meter)\.(\w+)/gmx)
	{
		$source{$1} //= $room;
	}
}

sub page_of_room
{
	my ($room) = @_;
	my @pages = ($room, $page_of{$room} // ());
	push @pages, $room while $room =~ s/_[^_]*$//;
	for my $page (@pages)
	{
		# src/reference.c is of other references than these pages
		return "$page.md" if $page ne 'reference' && -e "$top/doc/$page.md";
	}
	return;
}

# The texts of a piece of C or SQL: string literals, those beside each other as one.
sub texts_of
{
	my ($code, $quote) = @_;
	my $literal = $quote eq '"' ? qr/"((?:[^"\\]|\\.)*)"/ : qr/'((?:[^']|'')*)'/;
	$code =~ s/$literal\s*(?=$quote)/$quote$1\x00/g if $quote eq '"';
	# what is filled in
	my $gap = "\x{2026}";
	$code =~ s/"\s*(?:U?INT64_FORMAT|PRI\w+)\s*"/$gap/g if $quote eq '"';
	my @texts;
	while ($code =~ /$literal/g)
	{
		my $text = $1;
		$text =~ s/\x00"//g;
		$text =~ s/''/'/g if $quote eq "'";
		$text =~ s/\\"/"/g;
		$text =~ s/%[-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?(?:l|ll|z|h)*[a-zA-Z]/$gap/g if $quote eq '"';
		$text =~ s/%/$gap/g if $quote eq "'";
		push @texts, $text if $text =~ /\w \S/ || $text =~ /\w/ && @texts == 0;
	}
	return @texts;
}

# What is in the brackets that begin at a position.
sub in_brackets
{
	my ($code, $at) = @_;
	my $depth = 0;
	pos($code) = $at;
	while ($code =~ /\G(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|([()])|[^"'()]+)/gc)
	{
		next if !defined $1;
		$depth += $1 eq '(' ? 1 : -1;
		return substr($code, $at + 1, pos($code) - $at - 2) if $depth == 0;
	}
	return substr $code, $at + 1;
}

my (%sqlstate_of_macro, %sqlstate_of_condition, %condition_of);

sub read_errcodes
{
	my $share = qx(${\ ($ENV{PG_CONFIG} // 'pg_config')} --sharedir);
	chomp $share;
	for (split /\n/, read_file("$share/errcodes.txt"))
	{
		my ($state, $kind, $macro, $condition) = /^([0-9A-Z]{5})\s+([EWS])\s+(ERRCODE_\w+)(?:\s+(\w+))?/ or next;
		$sqlstate_of_macro{$macro} = $state;
		$sqlstate_of_condition{$condition} //= $state if $condition;
		$condition_of{$state} //= $condition;
	}
	return;
}

# raise(STATE, ROOM, MESSAGE...)
sub raise
{
	my ($state, $room, @messages) = @_;
	$raised{$state} //= {};
	$raised{$state}{$_}{$room} = 1 for @messages;
	return;
}

sub read_raises
{
	for my $file (sort keys %sources)
	{
		my $code = $sources{$file};
		my $room = basename($file) =~ s/\.\w+$//r;

		if ($file =~ /\.c$/)
		{
			$code =~ s{/\*.*?\*/}{}gs;
			# SQLSTATEs that PostgreSQL does not have
			while ($code =~ /#define\s+(ERRCODE_\w+)\s+MAKE_SQLSTATE\(([^)]*)\)/g)
			{
				my ($macro, $letters) = ($1, $2);
				$sqlstate_of_macro{$macro} = join '', $letters =~ /'(.)'/g;
			}
			while ($code =~ /GUC_check_errcode\((ERRCODE_\w+)\);\s*GUC_check_errmsg\s*(?=\()/g)
			{
				raise($sqlstate_of_macro{$1}, $room, texts_of(in_brackets($code, pos $code), '"'));
			}
			while ($code =~ /\b(?:ereport|errsave|event_refuse)\s*(?=\()/g)
			{
				my $call = in_brackets($code, pos $code);
				my @macros = $call =~ /\b(ERRCODE_\w+)/g or next;
				my @messages;
				push @messages, texts_of(in_brackets($call, pos $call), '"') while $call =~ /\berrmsg\w*\s*(?=\()/g;
				# event_refuse(error, SQLSTATE, message, detail, hint)
				push @messages, (texts_of($call, '"'))[0] // () if $call !~ /\berrmsg/;
				for my $macro (@macros)
				{
					my $state = $sqlstate_of_macro{$macro} or die "$file: $macro is no SQLSTATE\n";
					raise($state, $room, @messages);
				}
			}
		}
		else
		{
			$code =~ s/^\s*--.*$//gm;
			while ($code =~ /\bRAISE\s+(EXCEPTION|WARNING|NOTICE|LOG|INFO)\s+((?:'(?:[^']|'')*'|[^;'])*)/g)
			{
				my ($level, $call) = ($1, $2);
				my @conditions = $call =~ /\bERRCODE\s*=\s*'(\w+)'/g;
				@conditions = ('raise_exception')
				  if !@conditions && $level eq 'EXCEPTION' && $call !~ /\bERRCODE\s*=/;
				push @conditions, $call =~ /\b(?:THEN|ELSE)\s+'(\w+_\w+)'/g if $call =~ /ERRCODE\s*=\s*CASE/;
				my @messages = texts_of($call =~ /^('(?:[^']|'')*')/ ? $1 : '', "'");
				@messages = grep { /\w/ } @messages;
				for my $condition (@conditions)
				{
					my $state = $sqlstate_of_condition{$condition} // ($condition =~ /^[0-9A-Z]{5}$/ ? $condition : undef)
					  or die "$file: $condition is no condition\n";
					raise($state, $room, @messages);
				}
			}
		}
	}
	return;
}

# When each is raised.  That of every SQLSTATE of the sources has to be here.
my %meaning = (
	'P0002' => 'There is no event, or no row, of what was named.',
	'0A000' => 'What was asked for is not supported, such as closing a month in a transaction that is not READ COMMITTED.',
	'22001' => 'A text is longer than its field may be.',
	'22003' => 'A number is out of its range.',
	'22004' => 'NULL was passed where a value is needed.',
	'22007' => 'A text is no date or time.',
	'22008' => 'A time is not within what can be recorded: too old, too far ahead, or infinite.',
	'22023' => 'An argument or a column has a value that means nothing, or that contradicts another one; the message names it.',
	'22P02' => 'A text is no value of the type that it is to be read as.',
	'22P03' => 'The binary form of a sketch is damaged.',
	'23503' => 'What a row refers to is not there.',
	'23514' => 'A row breaks a rule that concerns several rows.',
	'24000' => 'Something is called in a state of the session in which it cannot be.',
	'25001' => 'What was called commits, and so cannot be called within a transaction block or a function.',
	'25006' => 'The server is a standby, or the transaction is read-only, and what was called would write.',
	'2202E' => 'An array has the wrong shape.',
	'2BP01' => 'Something else depends on what is to be dropped.',
	'39P01' => 'A trigger function of the extension was attached to something that it is not for.',
	'40001' => 'The transaction has not seen what another one has committed meanwhile: repeat it.',
	'42501' => 'The role may not do this, or the statement reaches for what is another tenant\'s.',
	'42704' => 'What was named does not exist.',
	'42710' => 'Something of that name is there already.',
	'42P01' => 'A table of the extension is missing.',
	'42P06' => 'A schema of that name is there already.',
	'53000' => 'There is no room, and no other place either.',
	'53200' => 'There is not enough memory.',
	'53400' => 'A limit that the configuration sets is reached; a parameter named in the hint raises it.',
	'54000' => 'What was passed is larger than can be dealt with.',
	'55000' => 'The state of things does not allow it: a bill that is final, a server that does not preload `meter`, events that are not kept any more.',
	'55P03' => 'Another session holds what is needed.',
	'55P02' => 'The parameter is not set with SET; the hint names the function that sets it.',
	'PT429' => 'A limit refuses the call: `meter_require()`. PostgREST turns it into HTTP 429.',
	'XX000' => 'An invariant does not hold: a fault of `meter` or of the storage.',
	'XX001' => 'A file of the queue, the limits or a sketch is damaged.');

# All that is raised; dies if one has no meaning here, or a meaning is of none.
sub raised
{
	if (!%raised)
	{
		read_errcodes();
		read_raises();
		$meaning{$_} or die "doc/MeterSource.pm has no meaning of SQLSTATE $_\n" for sort keys %raised;
		$raised{$_} or die "nothing raises SQLSTATE $_, which doc/MeterSource.pm has\n" for sort keys %meaning;
	}
	return %raised;
}

sub meaning
{
	my ($state) = @_;
	return $meaning{$state};
}

sub condition
{
	my ($state) = @_;
	return $condition_of{$state} // ($state eq 'PT429' ? 'too_many_requests' : '');
}

sub page_of_object
{
	my ($name) = @_;
	return defined $source{$name} ? page_of_room($source{$name}) : undef;
}

1;

#!/usr/bin/env perl
#
# doc.pl: runs the examples of the manual, and compares what they print.
#
#	doc.pl [--update] [--jobs N] BINDIR WORK PAGE...
#
# In a page (README.md, doc/*.md) the ```sql blocks are run by psql, in order
# and in one session, and the ```text block that comes after one is what it
# prints.  Each page has a new server, with the extension in database "api";
# all servers believe that they were started on Tuesday, 2026-11-24, at 18:00
# UTC, by test/clock.c (the library made of it is named by CLOCK_LIB), so dates
# in outputs stay true.  Pages flush and roll up by hand, unless they say "worker".
#
# Comments of HTML in a page, each on a line of its own, tell of what differs:
#
#	<!-- run: WORD... -->	at the top; of these words
#		worker		the background worker flushes and rolls up
#		no-preload	the server does not preload the library
#		cron		the server preloads pg_cron, too
#		bare		there is no extension yet
#		name=value	a parameter of the server
#	<!-- set up: SQL -->	may go on for lines; run before what follows
#	<!-- not run: REASON -->	the next block of SQL is not run
#	<!-- varies: REASON -->	of the next output only the names of columns count
#	<!-- not output: REASON -->	the next text is not printed by the SQL above
#
# What does not count: blanks at the ends of lines, empty lines in a row, the
# empty result of a function that returns nothing, the seconds of times that are
# now, the random part of identifiers; and notices, and what functions say that
# they did, where the page leaves them out.  An error or a warning that a page
# does not show is a fault.  What is printed where no text follows is otherwise
# nobody's business.
#
# --update writes what was printed into the pages.
#
# Prints "ok N - PAGE" or "not ok N - PAGE" with what differs.
use strict;
use warnings;

use File::Path qw(make_path remove_tree);
use Getopt::Long qw(GetOptions);
use Time::HiRes qw(time);

my ($update, $jobs) = (0, 2);
GetOptions('update' => \$update, 'jobs=i' => \$jobs) && @ARGV >= 3
  or die "usage: doc.pl [--update] [--jobs N] BINDIR WORK PAGE...\n";
my ($bindir, $work, @pages) = @ARGV;

# 2026-11-24 18:00:00 UTC, in seconds since 1970
my $began = 1795543200;
my $library = $ENV{CLOCK_LIB} // '';
-r $library or die "doc.pl: CLOCK_LIB names no library\n";

# Where workers flush, a page sleeps for so long, which is plenty but for a busy
# machine: there this comes first, in one transaction after the other, since one
# that reads the log keeps the flusher from making a partition.
my $flushed = q{DO $flushed$ BEGIN
	FOR i IN 1 .. 600 LOOP
		EXIT WHEN (SELECT queue_bytes = 0 FROM meter.stats) AND NOT EXISTS (SELECT FROM meter.inbox);
		COMMIT;
		PERFORM pg_sleep(0.1);
	END LOOP;
END $flushed$;};
my $sleep = qr/^SELECT pg_sleep\(0\.5\)/m;

# What may be between blocks, by the words that begin the comments.
my $remark = qr/run|set up|not run|varies|not output/;

# --- pages --------------------------------------------------------------------

# A page as a list of pieces: {kind => 'prose' | 'sql' | 'text' | 'remark', ...},
# whose texts one after the other are the page.
sub pieces
{
	my ($page) = @_;
	my @pieces;
	while ($page =~ /\G(?:
		(?<block>^```(?<kind>[a-z]*)\n(?<body>.*?)^```\n)
		| (?<remark><!--\ (?<what>$remark)(?::\ (?<about>.*?))?\s-->\n)
		| (?<prose>.*?(?:\n|\z)))/gcxms)
	{
		my %found = %+;
		if (defined $found{block} && $found{kind} =~ /^(?:sql|text)$/)
		{
			push @pieces, { kind => $found{kind}, body => $found{body}, text => $found{block} };
		}
		elsif (defined $found{remark})
		{
			push @pieces,
			  { kind => 'remark', what => $found{what}, about => $found{about} // '',
				text => $found{remark} };
		}
		else
		{
			push @pieces, { kind => 'prose', text => $found{block} // $found{prose} };
		}
		last if pos($page) >= length($page);
	}
	return @pieces;
}

# Gives each block of SQL the output that is shown for it, and the remarks that
# are about them.  Returns the words of "run" and these blocks.  A text that no
# block has printed would not be compared with anything, so it needs a remark.
sub examples
{
	my @pieces = @_;
	my (%run, @examples, %remarks);
	for my $piece (@pieces)
	{
		if ($piece->{kind} eq 'remark')
		{
			if ($piece->{what} eq 'run')
			{
				$run{$_} = 1 for split ' ', $piece->{about};
			}
			elsif ($piece->{what} eq 'set up')
			{
				push @examples, { sql => "$piece->{about}\n", hidden => 1 };
			}
			else
			{
				$remarks{ $piece->{what} } = 1;
			}
		}
		elsif ($piece->{kind} eq 'sql')
		{
			push @examples, delete $remarks{'not run'} ? { left_out => 1 } : { sql => $piece->{body} };
		}
		elsif ($piece->{kind} eq 'text')
		{
			my ($varies, $other) = delete @remarks{ 'varies', 'not output' };
			next if $other;
			my $example = $examples[-1];
			die "no SQL has printed this, and there is no remark:\n$piece->{text}"
			  if !$example || $example->{hidden} || $example->{shown};
			$example->{shown} = $piece;
			$example->{varies} = $varies;
		}
	}
	return (\%run, grep { !$_->{left_out} } @examples);
}

# What counts of an output.
sub essence
{
	my ($text) = @_;
	$text =~ s/[ \t]+$//mg;
	# of functions that return nothing
	$text =~ s/^ +(?:meter_|pg_sleep|set_config)\w*\n-+\n\n\(1 row\)\n//mg;
	$text =~ s/\n{3,}/\n\n/g;
	$text =~ s/\A\n+//;
	$text =~ s/\n*\z/\n/;
	return $text eq "\n" ? '' : $text;
}

# A page may leave out notices, and what the functions that only do something
# return: results whose columns are all named like one of them, or "appended"
# (meter_flush's) or "tracked".
sub only_shown
{
	my ($printed, $shown) = @_;
	$printed =~ s{^(( .*)\n-[-+]*\n(?:.*\n)*?\(\d+\ rows?\)\n\n?)}{
		my ($result, $heading) = ($1, $2);
		(index($shown, $heading) < 0
			&& !grep { !/^\s*(?:meter_\w+|pg_sleep|appended|tracked)\s*$/ } split /\|/, $heading) ? '' : $result
	}xmge;
	$printed =~ s{^(NOTICE:.*\n)((?:(?:DETAIL|HINT):.*\n)*)}{index($shown, $1) < 0 ? '' : "$1$2"}mge;
	return essence($printed);
}

# The same without what is another in each run: the seconds of the present, and
# of what is told to the microsecond, and random numbers.
sub steady
{
	my ($text) = @_;
	my $changed = $text =~ s/(?<!\d)(\d\d:\d\d:)\d\d\.\d+/${1}SS/g;
	$changed += $text =~ s/(?<!\d)(18:0[01]:)\d\d(?!\d)/${1}SS/g;
	# until midnight, and in seconds since 1970
	$changed += $text =~ s/\b05:5[89]:\d\d(?:\.\d+)?|\b21[456]\d\d\b/MIDNIGHT/g;
	$changed += $text =~ s/\b17955432\d\d|\b1795543[34]\d\d\b/EPOCH/g;
	$text =~ s/ line \d+ at / line N at /g;
	$changed += $text =~ s/(row contains \()\d+,/${1}N,/g;
	$changed += $text =~ s/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/UUID/g;
	# and the widths of columns with them
	$text =~ s/ *\+$//mg, $text =~ s/ +/ /g, $text =~ s/-+/-/g, $text =~ s/ ?\| ?/|/g if $changed;
	return $text;
}

# What names columns: the lines before a line of dashes, and of records that are
# shown a column a line, what is left of the bar; and what errors say.
sub headings
{
	my ($text) = @_;
	my @headings;
	while ($text =~ /^(?:(.*)\n-[-+]*|(-\[ RECORD \d+ \]).*|(\w+) +\|(?: .*)?|(ERROR:.*))$/mg)
	{
		push @headings, join '|', map { s/^ +| +$//gr } split /\|/, $1 // $2 // $3 // $4;
	}
	return join "\n", @headings;
}

# --- servers ------------------------------------------------------------------

sub run_quietly
{
	my ($log, @command) = @_;
	my $pid = fork() // die "fork: $!\n";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $log;
		open STDERR, '>&', \*STDOUT;
		exec @command or exit 127;
	}
	waitpid $pid, 0;
	return $? == 0;
}

# The data directory that those of all pages are copies of, with the extension.
sub make_template
{
	my $log = "$work/template.log";
	# It is copied for each page, so it is made small: in segments of WAL, of which
	# all but the last go, and without the databases that no page needs.
	run_quietly($log, "$bindir/initdb", '-D', "$work/template", '-U', 'postgres', '-A', 'trust',
		'-E', 'UTF8', '--no-locale', '--no-sync', '--wal-segsize=1')
	  or die "doc.pl: initdb failed, see $log\n";
	open my $conf, '>>', "$work/template/postgresql.conf" or die "postgresql.conf: $!\n";
	print $conf <<'END';
listen_addresses = ''
port = 5432
fsync = off
max_worker_processes = 20
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
lc_messages = 'C'
END
	close $conf;
	start($work, "$work/template", "-k $work");
	run_sql($work, $log, 'postgres', 'CREATE DATABASE api');
	run_sql($work, $log, 'api', $_)
	  for 'CREATE EXTENSION meter CASCADE', 'DROP DATABASE postgres',
	  'ALTER DATABASE template0 IS_TEMPLATE false', 'DROP DATABASE template0', 'VACUUM ANALYZE';
	stop("$work/template", 'fast', $log);
	run_quietly($log, "$bindir/pg_resetwal", '-D', "$work/template")
	  or die "doc.pl: pg_resetwal failed, see $log\n";
	return;
}

# Starts the server of a data directory at that time; its log is in $place.
sub start
{
	my ($place, $data, $options) = @_;
	my $log = "$place/log";
	local %ENV = (
		%ENV,
		TZ => 'UTC',
		LD_PRELOAD => $library,
		CLOCK_OFFSET => sprintf('%.0f', ($began - time) * 1e6));
	run_quietly($log, "$bindir/pg_ctl", '-s', '-w', '-D', $data, '-l', $log, '-o', $options, 'start')
	  or die "the server did not start, see $log\n";
	return;
}

sub stop
{
	my ($data, $mode, $log) = @_;
	run_quietly($log, "$bindir/pg_ctl", '-s', '-w', '-D', $data, '-m', $mode, 'stop');
	return;
}

sub run_sql
{
	my ($socket, $log, $database, $sql) = @_;
	run_quietly($log, "$bindir/psql", '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $socket,
		'-U', 'postgres', '-d', $database, '-c', $sql)
	  or die "$sql failed, see $log\n";
	return;
}

sub settings
{
	my ($run, $place) = @_;
	my @libraries = (($run->{'no-preload'} ? () : 'meter'), ($run->{cron} ? 'pg_cron' : ()));
	my $settings = "unix_socket_directories = '$place'\n";
	$settings .= "shared_preload_libraries = '" . join(', ', @libraries) . "'\n";
	$settings .= "cron.database_name = 'api'\ncron.use_background_workers = on\n" if $run->{cron};
	$settings .= "meter.flush_interval = 0\nmeter.rollup_interval = 0\n"
	  if !$run->{worker} && !$run->{'no-preload'};
	$settings .= "$_\n" for grep { /=/ } keys %$run;
	return $settings;
}

sub start_server
{
	my ($run, $place) = @_;
	my $log = "$place/log";
	run_quietly($log, 'cp', '-a', "$work/template", "$place/data") or die "cp failed\n";
	open my $conf, '>>', "$place/data/postgresql.conf" or die "postgresql.conf: $!\n";
	print $conf settings($run, $place);
	close $conf;
	start($place, "$place/data", '');
	if ($run->{bare})
	{
		run_sql($place, $log, 'template1', $_) for 'DROP DATABASE api', 'CREATE DATABASE api';
	}
	return;
}

sub stop_server
{
	my ($place) = @_;
	stop("$place/data", 'immediate', "$place/log") if -e "$place/data/postmaster.pid";
	remove_tree("$place/data");
	return;
}

# --- a page -------------------------------------------------------------------

# Runs the blocks of SQL in one session, and puts into each what it printed.
sub run_examples
{
	my ($place, $worker, @examples) = @_;
	open my $in, '>', "$place/in" or die "in: $!\n";
	for my $n (0 .. $#examples)
	{
		my $sql = $examples[$n]{sql};
		$sql =~ s/(?=$sleep)/$flushed\n/g if $worker;
		print $in "\\echo \@\@\@ $n\n$sql\n";
	}
	print $in "\\echo \@\@\@ end\n";
	close $in;
	my $pid = fork() // die "fork: $!\n";
	if ($pid == 0)
	{
		open STDIN, '<', "$place/in";
		open STDOUT, '>', "$place/out";
		open STDERR, '>&', \*STDOUT;
		$ENV{PGTZ} = 'UTC';
		exec "$bindir/psql", '-X', '-q', '-h', $place, '-U', 'postgres', '-d', 'api' or exit 127;
	}
	waitpid $pid, 0;
	open my $out, '<', "$place/out" or die "out: $!\n";
	my $printed = do { local $/; <$out> };
	close $out;
	my (undef, @parts) = split /^\@\@\@ (\d+|end)\n/m, $printed;
	while (my ($n, $text) = splice @parts, 0, 2)
	{
		$examples[$n]{printed} = $text if $n ne 'end';
	}
	return;
}

# What is wrong with an example, or ''.
sub fault
{
	my ($example) = @_;
	return "psql has ended before this block\n" if !defined $example->{printed};
	my $printed = essence($example->{printed});
	if ($example->{hidden} || !$example->{shown})
	{
		return $printed =~ /^(?:ERROR|WARNING|FATAL|PANIC|invalid command)\b/m ? "an error that the page does not show:\n$printed" : '';
	}
	my $shown = essence($example->{shown}{body});
	$printed = $example->{essence} = only_shown($printed, $shown);
	return headings($printed) eq headings($shown) ? '' : "other columns than shown:\n$printed"
	  if $example->{varies};
	return '' if steady($printed) eq steady($shown);
	return difference($shown, $printed);
}

sub difference
{
	my ($shown, $printed) = @_;
	my @files = map { "$work/difference.$$.$_" } 'shown', 'printed';
	for my $n (0, 1)
	{
		open my $file, '>', $files[$n] or die "$files[$n]: $!\n";
		print $file ($n ? $printed : $shown);
		close $file;
	}
	my $difference = qx{diff -u --label shown --label printed '$files[0]' '$files[1]'};
	unlink @files;
	return $difference;
}

sub run_page
{
	my ($file) = @_;
	open my $page, '<', $file or die "$file: $!\n";
	my @pieces = pieces(do { local $/; <$page> });
	close $page;
	my ($run, @examples) = examples(@pieces);
	return '' if !@examples;
	my $place = "$work/p$$";
	make_path($place);
	my $faults = '';
	if (!eval { start_server($run, $place); run_examples($place, $run->{worker}, @examples); 1 })
	{
		$faults = $@;
	}
	stop_server($place);
	return $faults if $faults ne '';
	my ($n_faults, $written) = (0, 0);
	for my $n (0 .. $#examples)
	{
		my $fault = fault($examples[$n]);
		next if $fault eq '';
		$n_faults++;
		$faults .= "example " . ($n + 1) . ":\n$examples[$n]{sql}$fault\n";
		next if !$update || !$examples[$n]{shown} || !defined $examples[$n]{printed};
		$examples[$n]{shown}{text} = "```text\n" . $examples[$n]{essence} . "```\n";
		$written++;
	}
	if ($written)
	{
		open $page, '>', $file or die "$file: $!\n";
		print $page map { $_->{text} } @pieces;
		close $page;
		return "written:\n$faults" if $written == $n_faults;
	}
	return $faults;
}

# --- all pages ----------------------------------------------------------------

make_path($work);
make_template();
my (%running, %faults);
my @waiting = @pages;
while (@waiting || %running)
{
	if (@waiting && keys %running < $jobs)
	{
		my $file = shift @waiting;
		my $pid = fork() // die "fork: $!\n";
		if ($pid == 0)
		{
			my $faults = eval { run_page($file) } // "cannot run it: $@";
			open my $result, '>', "$work/result.$$" or exit 2;
			print $result $faults;
			close $result;
			exit 0;
		}
		$running{$pid} = $file;
		next;
	}
	my $pid = waitpid -1, 0;
	my $file = delete $running{$pid} // next;
	if (open my $result, '<', "$work/result.$pid")
	{
		local $/;
		$faults{$file} = <$result> // '';
		close $result;
	}
	else
	{
		$faults{$file} = "the run has ended without a result\n";
	}
}
my $n = 0;
for my $file (@pages)
{
	my $faults = $faults{$file};
	print $faults eq '' || $faults =~ /^written/ ? 'ok ' : 'not ok ', ++$n, " - $file\n";
	print "$faults" =~ s/^/# /mgr if $faults ne '';
}
exit((grep { $_ ne '' && $_ !~ /^written/ } values %faults) ? 1 : 0);

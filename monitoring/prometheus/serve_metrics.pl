#!/usr/bin/env perl
#
# serve_metrics.pl: meter_metrics() by HTTP, for Prometheus to scrape
#
#	serve_metrics.pl ADDRESS:PORT [PSQL_OPTION...]
#
# It answers GET /metrics with what the function returns, by a psql for each
# scrape, and anything that fails with 503 and psql's message.  The connection is
# psql's: its options, PGHOST, PGSERVICE and so on.  It serves one scrape at a time,
# has no encryption, and asks for no password: let it listen on localhost, or put a
# proxy before it.
use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

@ARGV or die "usage: $0 ADDRESS:PORT [PSQL_OPTION...]\n";
my ($address, @psql_options) = @ARGV;

my $listener = IO::Socket::INET->new(LocalAddr => $address, Listen => 16, ReuseAddr => 1)
  or die "cannot listen on $address: $!\n";
$SIG{PIPE} = 'IGNORE';
$SIG{TERM} = $SIG{INT} = sub { exit 0 };

# Whether psql has succeeded, and what it prints, or its message.  A server can
# warn of something at each connection, which is no part of the text.
sub run_psql
{
	open my $messages, '+>', undef or return (0, "cannot make a temporary file: $!\n");
	my $pid = open my $output, '-|';
	defined $pid or return (0, "cannot fork: $!\n");
	if ($pid == 0)
	{
		open STDERR, '>&', $messages;
		# in seconds, well below the timeout of a scrape
		$ENV{PGCONNECT_TIMEOUT} //= 5;
		$ENV{PGOPTIONS} = '-c statement_timeout=9s ' . ($ENV{PGOPTIONS} // '');
		$ENV{PGCLIENTENCODING} = 'UTF8';
		exec('psql', '-XAtqw', @psql_options, '-c', 'SELECT meter_metrics()')
		  or print STDERR "cannot run psql: $!\n";
		exit 1;
	}
	local $/;
	my $text = <$output> // '';
	close $output and return (1, $text);
	seek $messages, 0, 0;
	return (0, <$messages> // '');
}

# The first line of a request, if all of it comes within two seconds.
sub request
{
	my ($client) = @_;
	my $request = '';
	my $until = time + 2;
	while ($request !~ /\r?\n\r?\n/ && length $request < 16384)
	{
		my $left = $until - time;
		$left > 0 && IO::Select->new($client)->can_read($left) or return '';
		sysread($client, $request, 4096, length $request) or return '';
	}
	return $request =~ /\A([^\r\n]*)/ ? $1 : '';
}

sub answer
{
	my ($line) = @_;
	return ('400 Bad Request', 'text/plain', "GET /metrics, please\n") if $line !~ m{^GET \S+ HTTP/1\.[01]$};
	return ('404 Not Found', 'text/plain', "metrics are at /metrics\n") if $line !~ m{^GET /metrics(?:\?\S*)? };
	my ($ok, $text) = run_psql();
	# psql ends the last row by a line feed of its own
	return ('200 OK', 'application/openmetrics-text; version=1.0.0; charset=utf-8', $text)
	  if $ok && $text =~ s/(?<=\n# EOF\n)\n?\z//;
	return ('503 Service Unavailable', 'text/plain', $text);
}

while (1)
{
	my $client = $listener->accept or next;
	my ($status, $type, $text) = answer(request($client));
	print {$client} "HTTP/1.1 $status\r\nContent-Type: $type\r\nContent-Length: ", length $text,
	  "\r\nConnection: close\r\n\r\n", $text;
	close $client;
}

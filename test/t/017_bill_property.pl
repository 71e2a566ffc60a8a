# 017_bill_property.pl: random bills against a model of their own.
#
# Ten thousand tenants with random prices, plans, coupons, credits, currencies
# and usage are billed at once.  What each line of a bill must be is computed
# here, with fractions of whole numbers and without a division before the
# rounding, by the rules as they are written down and not as they are
# implemented.  Then usage comes late for some, and the next bills must carry
# what it makes of the model, less what was billed.
#
# SEED=n repeats a run.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MeterTest qw(ask start_node $by_hand);
use PostgreSQL::Test::Utils;
use Test::More;

my $tenants = 10_000;
my $seed = $ENV{SEED} // 20250301;
srand($seed);
note "SEED=$seed";

# --- fractions ---------------------------------------------------------------

# A fraction is [numerator, denominator], reduced, the denominator above 0.  The
# numbers are chosen so small that all stay within 64 bits, which is checked.

sub gcd
{
	my ($a, $b) = @_;
	($a, $b) = ($b, $a % $b) while $b;
	return $a;
}

sub fraction
{
	my ($n, $d) = @_;
	die 'a number is too large for the model' if abs($n) > 9e18 || abs($d) > 9e18;
	my $g = gcd(abs($n), $d) || 1;
	use integer;
	return [ $n / $g, $d / $g ];
}

# of a decimal number such as 12.50
sub of
{
	my ($text) = @_;
	my ($sign, $whole, $decimals) = $text =~ /^(-?)(\d+)(?:\.(\d+))?$/ or die "not a number: $text";
	$decimals //= '';
	return fraction("$sign$whole$decimals" + 0, 10**length $decimals);
}

my ($zero, $one) = ([ 0, 1 ], [ 1, 1 ]);
sub add { return fraction($_[0][0] * $_[1][1] + $_[1][0] * $_[0][1], $_[0][1] * $_[1][1]) }
sub neg { return [ -$_[0][0], $_[0][1] ] }
sub sub_ { return add($_[0], neg($_[1])) }
sub mul
{
	# crosswise first, so that the products stay small
	my ($p, $q) = (fraction($_[0][0], $_[1][1]), fraction($_[1][0], $_[0][1]));
	return fraction($p->[0] * $q->[0], $p->[1] * $q->[1]);
}
sub over { return mul($_[0], [ $_[1][1], $_[1][0] ]) }
sub cmp_ { return $_[0][0] * $_[1][1] <=> $_[1][0] * $_[0][1] }
sub least { return cmp_($_[0], $_[1]) < 0 ? $_[0] : $_[1] }
sub most { return cmp_($_[0], $_[1]) > 0 ? $_[0] : $_[1] }

# the largest whole number that is not above it
sub whole
{
	my ($n, $d) = @{ $_[0] };
	my $r = $n % $d;	# not negative, as the denominator is not
	use integer;
	return ($n - $r) / $d;
}

# rounded to so many decimals, halves away from zero
sub rounded
{
	my ($x, $digits) = @_;
	my $scaled = mul($x, [ 10**$digits, 1 ]);
	my $n = whole(add([ abs($scaled->[0]), $scaled->[1] ], [ 1, 2 ]));
	return fraction($x->[0] < 0 ? -$n : $n, 10**$digits);
}

sub rounded_up { return fraction(-whole(neg(mul($_[0], [ 10**$_[1], 1 ]))), 10**$_[1]) }
sub rounded_down { return fraction(whole(mul($_[0], [ 10**$_[1], 1 ])), 10**$_[1]) }

# as a decimal number with so many digits, which it must have
sub text
{
	my ($x, $digits) = @_;
	my $n = mul($x, [ 10**$digits, 1 ]);
	die 'not rounded' if $n->[1] != 1;
	my $sign = $n->[0] < 0 ? '-' : '';
	my $t = sprintf '%0*d', $digits + 1, abs $n->[0];
	substr($t, -$digits, 0) = '.' if $digits;
	return "$sign$t";
}

# --- random terms ------------------------------------------------------------

sub chance { return rand() < $_[0] }
sub pick { return $_[ rand @_ ] }
# a decimal number up to max with so many decimals
sub decimal { my ($max, $decimals) = @_; return sprintf '%.*f', $decimals, int(rand($max * 10**$decimals + 1)) / 10**$decimals }

my %digits = (USD => 2, EUR => 2, JPY => 0, KWD => 3);
my %rate = (USD => '1', EUR => '0.92', JPY => '150.25', KWD => '0.31');	# of a dollar

sub random_tiers
{
	my ($key, $max, $decimals) = @_;
	my ($bound, @tiers) = (0);
	for (1 .. 1 + int rand 4)
	{
		$bound += 1 + int rand 60;
		push @tiers, { up_to => $bound, unit => decimal($max, $decimals), flat => chance(0.5) ? decimal(20, 1) : 0 };
	}
	$tiers[-1]{up_to} = undef;
	return {
		tiers => \@tiers,
		json => '{"tiers": [' . join(', ', map {
			sprintf '{"up_to": %s, "%s": %s, "flat_amount": %s}', $_->{up_to} // 'null', $key, $_->{unit}, $_->{flat} } @tiers) . ']}' };
}

sub random_model
{
	my $model = pick(qw(flat per_unit graduated volume package graduated_percentage));
	my $terms;
	if ($model eq 'flat')
	{
		my $amount = decimal(90, 2);
		$terms = { amount => $amount, json => "{\"amount\": $amount}" };
	}
	elsif ($model eq 'per_unit')
	{
		my $amount = decimal(9, 3);
		$terms = { amount => $amount, json => "{\"unit_amount\": \"$amount\"}" };
	}
	elsif ($model eq 'package')
	{
		my ($size, $amount, $free) = (1 + int rand 30, decimal(50, 2), int rand 20);
		$terms = { size => $size, amount => $amount, free => $free,
			json => "{\"package_size\": $size, \"package_amount\": $amount, \"free_units\": $free}" };
	}
	else
	{
		$terms = random_tiers($model eq 'graduated_percentage' ? ('rate_percent', 20, 1) : ('unit_amount', 9, 2));
	}
	return { %$terms, model => $model };
}

# --- the model ---------------------------------------------------------------

sub charge
{
	my ($p, $q) = @_;
	my $model = $p->{model};
	return of($p->{amount}) if $model eq 'flat';
	return mul($q, of($p->{amount})) if $model eq 'per_unit';
	if ($model eq 'package')
	{
		my $paid = most($zero, sub_($q, of($p->{free})));
		return mul(rounded_up(over($paid, of($p->{size})), 0), of($p->{amount}));
	}
	my ($sum, $below) = ($zero, $zero);
	for my $tier (@{ $p->{tiers} })
	{
		my $top = defined $tier->{up_to} ? of($tier->{up_to}) : undef;
		my $holds = !defined $top || cmp_($q, $top) <= 0;
		my $unit = of($tier->{unit});
		$unit = over($unit, [ 100, 1 ]) if $model eq 'graduated_percentage';
		return add(mul($q, $unit), of($tier->{flat})) if $model eq 'volume' && $holds;
		next if $model eq 'volume';
		last if $below != $zero && cmp_($q, $below) <= 0;
		$sum = add($sum, add(mul(sub_($holds ? $q : $top, $below), $unit), of($tier->{flat})));
		$below = $top;
		last if $holds;
	}
	return $sum;
}

# the amount of a line for usage, in the bill's currency
sub usage_line
{
	my ($t, $p, $used) = @_;
	my $share = $p->{prorate} ? [ $t->{days}, 31 ] : $one;
	my $q = over($used, of($p->{divisor}));
	$q = rounded($q, $p->{rounding_digits}) if $p->{rounding} eq 'round';
	$q = rounded_up($q, $p->{rounding_digits}) if $p->{rounding} eq 'ceil';
	$q = rounded_down($q, $p->{rounding_digits}) if $p->{rounding} eq 'floor';
	$q = most($zero, sub_($q, mul(of($p->{included}), $share)));
	my $amount = charge($p, $q);
	$amount = mul($amount, $share) if $p->{model} eq 'flat';
	$amount = mul($amount, fraction(100 - $p->{discount}, 100));
	$amount = least($amount, mul(of($p->{max}), $share)) if defined $p->{max};
	$amount = most($amount, mul(of($p->{min}), $share)) if defined $p->{min};
	$amount = mul($amount, of($rate{ $t->{currency} })) if $p->{currency} ne $t->{currency};
	return rounded($amount, $digits{ $t->{currency} });
}

# the lines for the period, as [key, amount], given what was used
sub own_lines
{
	my ($t, $used) = @_;
	my $digits = $digits{ $t->{currency} };
	my $fx = of($rate{ $t->{currency} });
	my @lines;
	for my $s (@{ $t->{plans} })
	{
		next if $s->{plan}{base} == 0 || $s->{days} == 0;
		push @lines, [ "base $s->{plan}{name}", rounded(mul(mul(of($s->{plan}{base}), [ $s->{days}, 31 ]), $fx), $digits) ];
	}
	push @lines, [ "usage $_->{name}", usage_line($t, $_, $used) ] for @{ $t->{prices} };
	my $left = $zero;
	$left = add($left, $_->[1]) for @lines;

	# percentages, then amounts
	for my $c (sort { defined $b->{percent} <=> defined $a->{percent} || $a->{name} cmp $b->{name} } @{ $t->{coupons} })
	{
		my $off = defined $c->{percent} ? mul($left, fraction($c->{percent}, 100)) : least($left, mul(of($c->{amount}), $fx));
		push @lines, [ "coupon $c->{name}", neg(rounded($off, $digits)) ];
		$left = add($left, $lines[-1][1]);
	}
	my ($min, $max, $has_max) = ($zero, $zero, 1);
	for my $s (@{ $t->{plans} })
	{
		next if $s->{days} == 0;
		my $share = [ $s->{days}, 31 ];
		$min = add($min, mul(mul(of($s->{plan}{min} // 0), $share), $fx));
		$has_max = 0 if !defined $s->{plan}{max};
		$max = add($max, mul(mul(of($s->{plan}{max} // 0), $share), $fx));
	}
	if ($has_max && cmp_($left, $max) > 0)
	{
		push @lines, [ 'maximum', rounded(sub_($max, $left), $digits) ];
		$left = add($left, $lines[-1][1]);
	}
	push @lines, [ 'minimum', rounded(sub_($min, $left), $digits) ] if cmp_($left, $min) < 0;
	return grep { $_->[1][0] != 0 || $_->[0] =~ /^(usage|base)/ } @lines;
}

# credits, which are changed, and tax
sub last_lines
{
	my ($t, $left) = @_;
	my @lines;
	for my $c (@{ $t->{credits} })
	{
		my $used = least($left, $c->{left});
		next if $used->[0] <= 0;
		$c->{left} = sub_($c->{left}, $used);
		$left = sub_($left, $used);
		push @lines, [ "credit $c->{name}", neg($used) ];
	}
	my $tax = rounded(mul($left, fraction($t->{tax}, 100)), $digits{ $t->{currency} });
	push @lines, [ 'tax', $tax ] if $tax->[0] != 0;
	return @lines;
}

sub sum { my $s = $zero; $s = add($s, $_->[1]) for @_; return $s }

# --- the tenants -------------------------------------------------------------

my $node = start_node('property', "${by_hand}fsync = off\n");
ask('CREATE EXTENSION meter CASCADE');
my $directory = PostgreSQL::Test::Utils::tempdir;

my @plans = map {
	my $min = chance(0.4) ? decimal(90, 0) : undef;
	{ name => "plan$_", base => chance(0.3) ? 0 : decimal(99, 2), min => $min,
		max => chance(0.3) ? 90 + decimal(300, 0) : undef }
} 1 .. 12;
my @coupons = ((map { { name => "percent$_", percent => 5 * (1 + int rand 20) } } 1 .. 4),
	(map { { name => "amount$_", amount => decimal(30, 1) + 1 } } 1 .. 4));
my %copy;

sub row
{
	my ($table, @values) = @_;
	push @{ $copy{$table} }, join("\t", map { $_ // '\N' } @values) . "\n";
	return;
}

row('plan (plan)', $_->{name}), row('plan_version (plan, base_price, min_amount, max_amount)', @$_{qw(name base min max)}) for @plans;
row('coupon (coupon, percent, amount, currency)', @$_{qw(name percent amount)}, defined $_->{amount} ? 'USD' : undef) for @coupons;
row('fx_rate (base, quote, valid_from, rate)', 'USD', $_, '2025-01-01', $rate{$_}) for grep { $_ ne 'USD' } sort keys %rate;

my @all;
for my $i (1 .. $tenants)
{
	my $t = { name => sprintf('t%05d', $i), currency => pick(qw(USD USD EUR JPY KWD)), tax => pick(0, 0, 7, 20), used => $zero };
	my $start = chance(0.6) ? 1 : 1 + int rand 31;
	my $change = chance(0.3) ? $start + 1 + int rand(31 - $start + 1) : 32;
	my $end = chance(0.1) ? $change + 1 + int rand 3 : 32;
	$end = 32 if $end > 31;
	$change = 32 if $change > 31;
	my @mine = (pick(@plans), pick(@plans));
	$mine[1] = pick(@plans) while $mine[1] == $mine[0];
	my $first_end = $change < $end ? $change : $end;
	$t->{plans} = [ { plan => $mine[0], days => $first_end - $start }, $change < $end ? { plan => $mine[1], days => $end - $change } : () ];
	$t->{days} = $end - $start;
	$t->{end} = $end;

	row('tenant (tenant, plan, started_on, currency, tax_percent)', $t->{name}, $mine[0]{name}, "2025-03-$start", $t->{currency}, $t->{tax});
	row('subscription (tenant, valid_from, plan)', $t->{name}, "2025-03-$start", $mine[0]{name});
	row('subscription (tenant, valid_from, plan)', $t->{name}, "2025-03-$change", $mine[1]{name}) if $change < $end;
	row('subscription (tenant, valid_from, plan)', $t->{name}, "2025-03-$end", undef) if $end < 32;

	for my $n (1 .. pick(1, 1, 2))
	{
		my $min = chance(0.2) ? decimal(60, 1) : undef;
		my $p = { %{ random_model() }, name => "p$n", divisor => pick(1, 1, 1, 3, 7, 10), rounding => pick(qw(none none round ceil floor)),
			rounding_digits => pick(0, 0, 1), included => chance(0.4) ? decimal(40, 1) : 0, discount => chance(0.3) ? 5 * int rand 21 : 0,
			min => $min, max => chance(0.2) ? 60 + decimal(200, 1) : undef, prorate => chance(0.7) ? 1 : 0,
			currency => chance(0.5) ? 'USD' : $t->{currency} };
		row('price (tenant, price, metric, model, params, divisor, rounding, rounding_digits, included, discount_percent, min_amount, max_amount, prorate, currency)',
			$t->{name}, $p->{name}, 'units', @$p{qw(model json divisor rounding rounding_digits included discount min max)},
			$p->{prorate} ? 't' : 'f', $p->{currency});
		push @{ $t->{prices} }, $p;
	}
	for (1 .. pick(0, 1, 1, 2, 3))
	{
		my $q = decimal(200, 1);
		$t->{used} = add($t->{used}, of($q));
		row('inbox (tenant, metric, quantity, at)', $t->{name}, 'units', $q, sprintf '2025-03-%d %d:00:00Z', $start + int rand $t->{days}, rand 24);
	}
	$t->{coupons} = [ chance(0.2) ? pick(@coupons[ 0 .. 3 ]) : (), chance(0.2) ? pick(@coupons[ 4 .. 7 ]) : () ];
	row('tenant_coupon (tenant, coupon, valid_from)', $t->{name}, $_->{name}, '2025-01-01') for @{ $t->{coupons} };
	for my $n (1 .. pick(0, 0, 0, 1, 2))
	{
		my $amount = 1 + decimal(80, $digits{ $t->{currency} } ? 1 : 0);
		push @{ $t->{credits} }, { name => "c$n", left => of($amount) };
		row('credit (tenant, amount, currency, priority, reason)', $t->{name}, $amount, $t->{currency}, $n, "c$n");
	}
	push @all, $t;
}
# in the order of what refers to what
for my $table ('plan', 'plan_version', 'coupon', 'fx_rate', 'tenant', 'subscription', 'price', 'tenant_coupon', 'credit', 'inbox')
{
	for my $columns (grep { /^$table / } sort keys %copy)
	{
		append_to_file("$directory/$table", join '', @{ $copy{$columns} });
		ask("SET timezone = 'UTC'; SET meter.retention = 0; COPY meter.$columns FROM '$directory/$table'");
	}
}
my $roll = q{SET meter.retention = 0; SELECT meter_flush(); SELECT meter_rollup(); TRUNCATE meter.inbox};
ask("$roll; ANALYZE");

# --- March -------------------------------------------------------------------

# Bills by tenant: all lines in one text each.  They are the rows of a query for
# tenant, total, kind, price, amount, line.
sub bills
{
	my ($lines) = @_;
	my %bills;
	for (split /\n/, ask(qq{SELECT tenant, total, string_agg(concat_ws(' ', kind, price) || '=' || amount, ', ' ORDER BY line)
		FROM ($lines) AS l GROUP BY tenant, total}))
	{
		my ($tenant, $total, $text) = split /\|/;
		$bills{$tenant} = { total => $total, lines => $text // '' };
	}
	return \%bills;
}

sub shown { my $d = shift; return join ', ', map { "$_->[0]=" . text($_->[1], $d) } @_ }

# Tells of the first few that differ.
sub compare
{
	my ($what, $got, $expected) = @_;
	my @wrong = grep { ($got->{$_} // 'none') ne $expected->{$_} } sort keys %$expected;
	is(scalar @wrong, 0, $what) or diag map { "$_: " . ($got->{$_} // 'none') . "\n  model: $expected->{$_}\n" } @wrong[ 0 .. ($#wrong < 4 ? $#wrong : 4) ];
	return;
}

ask(q{SET meter.bill_grace = 0; CALL meter_close_month('2025-03-01')});
my $march = bills(q{SELECT b.tenant, b.total, l.kind, l.price, l.amount, l.line
	FROM meter.bill AS b LEFT JOIN meter.bill_line AS l USING (tenant, month, revision)});
is(scalar keys %$march, $tenants, "there are $tenants bills");
my (%lines, %totals, %kinds);
for my $t (@all)
{
	my @own = own_lines($t, $t->{used});
	my $left = sum(@own);
	my @lines = (@own, last_lines($t, $left));
	$t->{billed} = { map { @$_ } @own };
	$lines{ $t->{name} } = shown($digits{ $t->{currency} }, @lines);
	$totals{ $t->{name} } = text(sum(@lines), $digits{ $t->{currency} });
	$kinds{ $_->[0] =~ s/ .*//r }++ for @lines;
}
note join ', ', map { "$_: $kinds{$_}" } sort keys %kinds;
ok(!(grep { ($kinds{$_} // 0) < 100 } qw(base usage coupon maximum minimum credit tax)), 'there are lines of all kinds');
compare('each line is what the model says', { map { $_ => $march->{$_}{lines} } keys %$march }, \%lines);
compare('each total is what the model says', { map { $_ => $march->{$_}{total} } keys %$march }, \%totals);
is(ask(q{SELECT count(*) FROM meter.bill AS b WHERE b.total <> COALESCE((SELECT sum(l.amount) FROM meter.bill_line AS l
		WHERE (l.tenant, l.month, l.revision) = (b.tenant, b.month, b.revision)), 0)
	OR b.total <> b.subtotal + b.discount + b.credit + b.tax}), '0', 'lines always add up to the total');
is(ask(q{SELECT count(*) FROM meter.credit_balance WHERE "left" < 0}), '0', 'no credit is used more than there is');
is(ask(q{SELECT count(*) FROM meter.bill AS b WHERE credit <> -(SELECT COALESCE(sum(u.amount), 0) FROM meter.credit_use AS u WHERE u.tenant = b.tenant)}),
	'0', 'what bills have of credits is what was used');

# --- and what comes late -----------------------------------------------------

my @late = grep { $_->{end} == 32 && chance(0.1) } @all;
for my $t (@late)
{
	my $q = decimal(100, 1);
	$t->{used} = add($t->{used}, of($q));
	append_to_file("$directory/late", join("\t", $t->{name}, 'units', $q, '2025-03-31 23:59:59Z') . "\n");
}
ask("SET timezone = 'UTC'; SET meter.retention = 0; COPY meter.inbox (tenant, metric, quantity, at) FROM '$directory/late'; $roll");
my $april = bills(q{SELECT l.tenant, 0 AS total, 'delta ' || (l.details ->> 'of') AS kind, l.price, l.amount, l.line
	FROM meter.bill_rate('2025-04-01', ARRAY(SELECT DISTINCT tenant FROM meter.usage_late)) AS l WHERE l.kind = 'delta'});
my %deltas;
for my $t (@late)
{
	my %now = map { @$_ } own_lines($t, $t->{used});
	my @delta;
	for my $key (sort keys %{ { %now, %{ $t->{billed} } } })
	{
		my $delta = sub_($now{$key} // $zero, $t->{billed}{$key} // $zero);
		push @delta, [ "delta $key", $delta ] if $delta->[0] != 0;
	}
	$deltas{ $t->{name} } = join ', ', sort split /, /, shown($digits{ $t->{currency} }, @delta) if @delta;
}
cmp_ok(scalar(keys %deltas), '>', 300, 'there are bills with deltas');
is(scalar(grep { !exists $deltas{$_} } keys %$april), 0, 'no others have any');
compare('each delta is what the model says', { map { $_ => join(', ', sort split(/, /, $april->{$_}{lines})) } keys %$april }, \%deltas);

$node->stop;
done_testing();

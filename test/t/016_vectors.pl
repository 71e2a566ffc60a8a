# 016_vectors.pl: worked charges of other billing systems, to the last digit.
#
# charge_vectors.json has prices, usage and what it costs, from the public tests
# of two of them.  The file is not part of the project: METER_DATA names the
# directory that holds it, or VECTORS another file of the same form.
#
# Amounts are compared as numbers, exactly.  Where a charge is one step among
# others, these are written here in SQL, in the order of a bill's line:
# convert the unit, round the quantity, subtract what is included, price,
# discount, maximum, minimum, credits.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use MeterTest qw(ask close_session in_session open_session start_node $by_hand);
use PostgreSQL::Test::Utils;
use Scalar::Util qw(blessed);
use Test::More;

# Models that are not tested here, and why.
my %skip = (
	'agg_*' => 'aggregates events and charges nothing',
	alert_crossing => 'about alerts, not charges',
	flat_proration => 'which part of a period was served is found by the bill',
	graduated_prorated => 'depends on the order of events; not a model of meter',
	grant_burndown => 'burns grants and charges nothing',
	percentage => 'gives a total for several events; percentage_events has each of them',
	projection_linear => 'projects usage that is not there yet',
);

my $file = $ENV{VECTORS};
if (!$file)
{
	$file = ($ENV{METER_DATA} // '') . '/charge_vectors.json';
	plan skip_all => 'METER_DATA names no directory with charge_vectors.json' unless -r $file;
}

# JSON numbers stay as they are written
my $json = JSON::PP->new->allow_bignum;
my $vectors = $json->decode(slurp_file($file))->{vectors};
my $node = start_node('vectors', $by_hand);
ask('CREATE EXTENSION meter CASCADE');
my $session = open_session();

# What a query returns, all in one session as there are hundreds of them.
sub query
{
	my ($sql) = @_;
	my $output = in_session($session, $sql);
	die $output if $output =~ /^ERROR/m;
	chomp $output;
	return $output;
}

# --- a vector's values, each taken once ---------------------------------------

my ($properties, $usage, $expected, $compared);

sub is_number
{
	my ($value) = @_;
	return defined $value && !ref $value && $value =~ /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
}

# A number in SQL.
sub number
{
	my ($value) = @_;
	$value = "$value" if blessed($value) && ($value->isa('Math::BigInt') || $value->isa('Math::BigFloat'));
	die 'no number: ' . ($value // 'null') unless is_number($value);
	return "$value\::numeric";
}

# Of properties or usage; undef if it is not there.
sub take
{
	my ($from, $name) = @_;
	return delete $from->{$name};
}

sub take_number
{
	my ($from, $name) = @_;
	my $value = take($from, $name);
	return defined $value ? number($value) : undef;
}

sub array
{
	my ($values) = @_;
	return 'ARRAY[' . join(', ', map { number($_) } @$values) . ']::numeric[]';
}

sub value_of
{
	my ($sql) = @_;
	return query("SELECT trim_scale($sql)");
}

# --- prices -------------------------------------------------------------------

# Charge models of which a vector's model is one, alone or with more to it.
my @charge_models = qw(flat per_unit graduated_percentage graduated volume package percentage dynamic);

# What parameters are called in the file.
my %parameters = (
	flat => { amount => 'amount' },
	per_unit => { unit_amount => 'unit_amount' },
	graduated => { tiers => 'tiers' },
	volume => { tiers => 'tiers' },
	graduated_percentage => { tiers => 'tiers' },
	package => { map { $_ => $_ } qw(package_size package_amount free_units) },
	percentage => {
		rate_percent => 'rate_percent',
		fixed_amount => 'fixed_amount',
		free_events => 'free_events',
		free_amount => 'free_amount',
		per_txn_min => 'per_transaction_min_amount',
		per_txn_max => 'per_transaction_max_amount',
	},
	dynamic => { markup => 'markup' },
);

# Model and parameters as arguments in SQL.
sub price_of
{
	my ($model) = @_;
	my %params;
	while (my ($theirs, $ours) = each %{ $parameters{$model} })
	{
		my $value = take($properties, $theirs);
		$params{$ours} = $value if defined $value;
	}
	my $text = $json->encode(\%params);
	die 'quoting' if $text =~ /'/;
	return "'$model', '$text'";
}

# The charge, which its explanation has to add up to.
sub charge
{
	my ($price, $quantity) = @_;
	my ($amount, $explained) = split /\|/, query(
		"SELECT meter_charge($price, $quantity),
			(SELECT sum(amount) FROM meter_explain_charge($price, $quantity))");
	die "explained as $explained, not $amount" if value_of("$amount - $explained") ne '0';
	return $amount;
}

sub charge_events
{
	my ($price, $values) = @_;
	my $events = array($values);
	my ($amount, $explained) = split /\|/, query(
		"SELECT meter_charge_events($price, $events),
			(SELECT sum(amount) FROM meter_explain_charge_events($price, $events))");
	die "explained as $explained, not $amount" if value_of("$amount - $explained") ne '0';
	return $amount;
}

# --- the steps around a charge ------------------------------------------------

# Quantities are rounded to a number of decimals, which may be negative.
sub round_quantity
{
	my ($quantity, $function, $precision) = @_;
	my %functions = (round => 'round', ceil => 'ceil', ceiling => 'ceil', floor => 'floor');
	return $quantity if $function eq 'none';
	die "unknown rounding $function" if !$functions{$function};
	return "round($quantity, $precision)" if $function eq 'round';
	return "$functions{$function}($quantity * 10::numeric ^ $precision) / 10::numeric ^ $precision";
}

sub convert
{
	my ($quantity, $conversion) = @_;
	my %operators = (multiply => '*', divide => '/');
	my $operator = $operators{ take($conversion, 'operation') } // die 'unknown operation';
	my $factor = take_number($conversion, 'factor');
	my $rounding = take($conversion, 'rounding') // 'none';
	my $precision = take($conversion, 'precision') // 0;
	die 'unknown ' . join(', ', keys %$conversion) if %$conversion;
	return round_quantity("($quantity $operator $factor)", $rounding, $precision);
}

# The quantities before and after what is charged.
sub quantities
{
	if (exists $usage->{cumulative})
	{
		return (take_number($usage, 'previous_cumulative') // '0::numeric', take_number($usage, 'cumulative'));
	}
	my $before = take_number($usage, 'already_billed_quantity');
	my $quantity = take_number($usage, 'quantity');
	return (undef, $quantity) if !defined $before;
	return ($before, "($before + $quantity)");
}

# One line of a bill: the amount, and what the vector has besides.
sub line
{
	my ($model) = @_;
	my $price = price_of($model);
	my @quantities = quantities();
	my $conversion = take($properties, 'unit_conversion');
	my $included = take_number($properties, 'included');
	my $discount = take_number($properties, 'discount_percent') // 0;
	my $maximum = take_number($properties, 'maximum_amount');
	my $minimum = take_number($properties, 'minimum_amount');
	my $billed = take_number($usage, 'previously_billed_amount') // 0;
	my $credits = take($usage, 'credits') // [];

	# only the last line of a period is raised to the minimum, and a line that
	# is alone is the last
	my $is_final = take($properties, 'final_in_period') // !defined $quantities[0];

	# the only rule there is
	die 'no usage must cost the first flat_amount'
	  if !(take($properties, 'zero_usage_bills_first_flat') // 1);

	for my $quantity (grep { defined } @quantities)
	{
		$quantity = convert($quantity, {%$conversion}) if $conversion;
		$quantity = "greatest($quantity - $included, 0)" if $included;
	}
	my ($before, $after) = map { defined $_ ? charge($price, $_) : 0 } @quantities;
	my $gross = value_of("$after - $before");
	my $discounted = value_of("$gross * (1 - $discount / 100)");
	my $capped = defined $maximum ? value_of("least($discounted, $maximum - $billed)") : $discounted;
	my $true_up = defined $minimum && $is_final ? value_of("greatest($minimum - $billed - $capped, 0)") : 0;
	my $due = value_of("$capped + $true_up");
	my $credited = value_of(join(' + ', 0, map { number($_) } @$credits));

	my $amount = value_of("$due - least(greatest($due, 0), $credited)");
	compare('gross', $gross, take($expected, 'expected_gross'));
	compare('discount', value_of("$gross - $capped"), take($expected, 'expected_discount'));
	compare('unit_amount', "$amount / $quantities[1]", take($expected, 'unit_amount'));
	if (my $lines = take($expected, 'expected_lines'))
	{
		# of a line's tiers what is new, and the minimum as another line
		my $tiers = query(defined $quantities[0]
			? "SELECT trim_scale(a.amount - coalesce(b.amount, 0)) FROM meter_explain_charge($price, $quantities[1]) AS a
				LEFT JOIN meter_explain_charge($price, $quantities[0]) AS b USING (step)
				WHERE a.amount IS DISTINCT FROM b.amount ORDER BY step"
			: "SELECT trim_scale(amount) FROM meter_explain_charge($price, $quantities[1]) ORDER BY step");
		$compared++;
		is_deeply([ split(/\n/, $tiers), $true_up ne '0' ? $true_up : () ],
			[ map { value_of(number($_)) } @$lines ], "$expected->{id}: lines");
	}
	return $amount;
}

# --- models -------------------------------------------------------------------

# Each returns the amount, or undef if the vector is about something else,
# which it has then compared.
my %models = (
	per_unit_grouped => sub {
		my $price = price_of('per_unit');
		my $groups = take($usage, 'groups');
		my $in_groups = take($expected, 'expected_groups');
		take($properties, 'group_by');
		my %amounts = map { $_ => charge($price, number($groups->{$_})) } keys %$groups;
		compare("group $_", $amounts{$_}, $in_groups->{$_}) for sort keys %amounts;
		return value_of(join ' + ', values %amounts);
	},

	# the tier is that of one quantity, and another one is charged
	volume_prorated => sub {
		my $price = price_of('volume');
		my $full = take_number($usage, 'full_quantity');
		my $prorated = take_number($usage, 'prorated_quantity');
		return query("SELECT flat_amount + unit_amount * $prorated FROM meter_explain_charge($price, $full)");
	},

	percentage_events => \&events,
	percentage_min_max => \&events,

	# amounts come in the currency's minor unit
	dynamic_sum_precise_cents => sub {
		my $minor_units = take_number($properties, 'minor_units');
		my $quantity = take_number($usage, 'quantity');
		my $cost = take_number($usage, 'precise_total_amount_cents');
		my $amount = charge("'dynamic', jsonb_build_object('markup', 1 / $minor_units)", $cost);
		compare('unit_amount', "$amount / $quantity", take($expected, 'unit_amount'));
		return $amount;
	},
	dynamic_sum_precise_cents_rounded => sub {
		my $minor_units = take_number($properties, 'minor_units');
		my $digits = take($properties, 'round_to');
		take($usage, 'quantity');
		my $amount = charge_events("'dynamic', jsonb_build_object('markup', 1 / $minor_units)",
			take($usage, 'event_precise_cents'));
		return value_of("round($amount, $digits)");
	},

	included_quantity => sub {
		my $included = take_number($properties, 'included');
		my ($before, $after) = quantities();
		my $billable = "greatest($after - $included, 0) - greatest(" . ($before // 0) . " - $included, 0)";
		compare('billable quantity', $billable, take($expected, 'expected_billable_quantity'));
		compare('included', "$after - " . ($before // 0) . " - ($billable)",
			take($expected, 'expected_discount_applied'));
		return;
	},
	unit_conversion => sub {
		my $quantity = convert(take_number($usage, 'quantity'), $properties);
		compare('quantity', $quantity, take($expected, 'expected_quantity'));
		return;
	},
	unit_rounding => sub {
		my $quantity = round_quantity(take_number($usage, 'quantity'),
			take($properties, 'function'), take($properties, 'precision') // 0);
		compare('quantity', $quantity, take($expected, 'expected_quantity'));
		return;
	},

	# by days where the file counts them
	flat_proration_days => sub {
		my $amount = charge("'flat', jsonb_build_object('amount', " . take_number($properties, 'amount_cents') . ')', 1);
		my $precise = "$amount * " . take_number($usage, 'days_billed') . ' / ' . take_number($properties, 'period_days');
		return rounded_cents($precise);
	},
	min_true_up => sub {
		my $minimum = take_number($properties, 'minimum_cents') . ' * ' . take_number($usage, 'days') .
		  ' / ' . take_number($properties, 'period_days');
		return rounded_cents("greatest($minimum - " . take_number($usage, 'used_cents') . ', 0)');
	},
	coupon => sub {
		my $base = take_number($usage, 'base_cents');
		my $percent = take_number($properties, 'percent');
		my $used = take_number($properties, 'already_used_cents') // 0;
		return rounded_cents(defined $percent ? "$base * $percent / 100"
			: "least($base, " . take_number($properties, 'fixed_cents') . " - $used)");
	},
	tax => sub {
		my $rates = join ' + ', map { number($_) } @{ take($properties, 'rates_percent') };
		return rounded_cents(take_number($usage, 'amount_cents') . " * ($rates) / 100");
	},
);

sub events
{
	my $amount = charge_events(price_of('percentage'), take($usage, 'event_values'));
	my $tax = take($expected, 'tax_rate');
	compare('with tax', "round($amount * (1 + " . number($tax) . ' / 100), 2)',
		take($expected, 'expected_total_with_tax')) if defined $tax;
	return $amount;
}

sub rounded_cents
{
	my ($precise) = @_;
	my $theirs = take($expected, 'expected_precise_cents');

	# which is a binary fraction, and not exact
	if (defined $theirs)
	{
		my $difference = "abs($precise - " . number($theirs) . ')';
		$compared++;
		is(query("SELECT $difference < 1e-14 * " . number($theirs)), 't', "$expected->{id}: precise");
	}
	die 'not in cents' if take($expected, 'amount_unit') ne 'cents';
	return value_of("round($precise)");
}

sub compare
{
	my ($what, $sql, $theirs) = @_;
	return if !defined $theirs;
	$compared++;
	is(value_of($sql), value_of(number($theirs)), "$expected->{id}: $what");
	return;
}

# How a vector is charged: by a function of its own, or as one line of a charge
# model with whatever steps it has.
sub function_of
{
	my ($model) = @_;
	return $models{$model} if $models{$model};
	for my $charge_model (@charge_models)
	{
		return sub { return line($charge_model) }
		  if $model =~ /^\Q$charge_model\E(_incremental|_delta|_converted|_with_credits|)$/;
	}
	return;
}

sub reason_to_skip
{
	my ($model) = @_;
	for my $name (sort keys %skip)
	{
		my $pattern = quotemeta($name) =~ s/\\\*$/.*/r;
		return $skip{$name} if $model =~ /^$pattern$/;
	}
	return;
}

# --- the vectors --------------------------------------------------------------

cmp_ok(scalar @$vectors, '>', 0, 'there are vectors');
my ($run, %skipped) = (0);
for my $vector (@$vectors)
{
	my $model = $vector->{model};
	my $name = "$vector->{id}: $model";
	if (my $reason = reason_to_skip($model))
	{
		$skipped{$model}++;
	  SKIP: { skip "$name: $reason", 1 }
		next;
	}
	my $function = function_of($model);
	if (!$function)
	{
		fail("$name is a model that is neither known nor in the list of those to skip");
		next;
	}

	$expected = {%$vector};
	$properties = { %{ take($expected, 'properties') } };
	$usage = { %{ take($expected, 'usage') } };
	delete @$expected{qw(source_repo source_file model note independently_recomputed)};
	$run++;
	$compared = 0;
	my $amount = eval { $function->() };
	if ($@)
	{
		fail("$name: $@");
		next;
	}
	my $theirs = take($expected, 'expected_amount');
	if (defined $amount && defined $theirs)
	{
		$compared++;
		is(value_of($amount), value_of(number($theirs)), $name);
	}
	elsif (defined $amount || defined $theirs || !$compared)
	{
		fail("$name: nothing to compare with");
	}
	delete $expected->{id};
	my @left = sort keys %$properties, keys %$usage, keys %$expected;
	note("$name: not looked at: @left") if @left;
}
close_session($session);
note("$run of " . @$vectors . ' vectors computed; not: ' .
	  join(', ', map { "$_ ($skipped{$_})" } sort keys %skipped));

done_testing();

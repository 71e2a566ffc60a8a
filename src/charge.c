/*
 * charge.c
 *		What a quantity costs, and why.
 *
 * A charge is computed directly: the tier is searched for, and what the tiers
 * below it cost is known.  Its explanation goes through the tiers one by one,
 * so that a test can compare the two.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "charge.h"
#include "compat.h"

/*
 * A price that a call site has read.
 */
typedef struct KnownCharge
{
	MemoryContext context;		/* of what follows */
	Charge	   *charge;			/* NULL: not valid */
	Size		model_size;
	Size		params_size;
	char	   *model;
	Jsonb	   *params;			/* charge points into it */
} KnownCharge;

/*
 * Those of a call site, kept in fn_extra.  A statement that bills tenants goes
 * through the few prices of a plan again and again.
 */
#define KNOWN_CHARGES 16

typedef struct KnownCharges
{
	int			n;
	int			last;			/* found by the last call */
	KnownCharge known[KNOWN_CHARGES];
} KnownCharges;

/* --- arguments ---------------------------------------------------------- */

static bool
is_known(const KnownCharge *known, text *model, struct varlena *params)
{
	return known->charge != NULL &&
		known->model_size == VARSIZE_ANY_EXHDR(model) &&
		known->params_size == VARSIZE_ANY_EXHDR(params) &&
		memcmp(known->model, VARDATA_ANY(model), known->model_size) == 0 &&
		memcmp(VARDATA(known->params), VARDATA_ANY(params), known->params_size) == 0;
}

/* If this throws, the price stays invalid. */
static void
read_known(KnownCharge *known, MemoryContext parent, text *model,
		   struct varlena *params)
{
	MemoryContext old_context;

	known->charge = NULL;
	if (known->context == NULL)
		known->context = AllocSetContextCreate(parent, "meter charge",
											   ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(known->context);
	old_context = MemoryContextSwitchTo(known->context);

	known->model_size = VARSIZE_ANY_EXHDR(model);
	known->model = palloc(known->model_size);
	memcpy(known->model, VARDATA_ANY(model), known->model_size);
	known->params_size = VARSIZE_ANY_EXHDR(params);
	known->params = palloc(VARHDRSZ + known->params_size);
	SET_VARSIZE(known->params, VARHDRSZ + known->params_size);
	memcpy(VARDATA(known->params), VARDATA_ANY(params), known->params_size);
	known->charge = charge_read(model, known->params);
	MemoryContextSwitchTo(old_context);
}

/*
 * The price of this call, which most often is that of one before.  It is
 * recognised by its bytes, since the address says nothing about a value that
 * comes from a row.
 */
static const Charge *
charge_of_call(FunctionCallInfo fcinfo)
{
	KnownCharges *all = fcinfo->flinfo->fn_extra;
	text	   *model = PG_GETARG_TEXT_PP(0);
	struct varlena *params = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1));

	if (all == NULL)
		all = fcinfo->flinfo->fn_extra =
			MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(KnownCharges));

	/* prices come one after the other, or in turns in the same order */
	for (int i = 0; i < all->n; i++)
	{
		int			slot = (all->last + i) % all->n;

		if (is_known(&all->known[slot], model, params))
		{
			all->last = slot;
			return all->known[slot].charge;
		}
	}
	if (all->n < KNOWN_CHARGES)
		all->last = all->n++;
	else
		all->last = (all->last + 1) % KNOWN_CHARGES;
	read_known(&all->known[all->last], fcinfo->flinfo->fn_mcxt, model, params);
	return all->known[all->last].charge;
}

static void
check_quantity(Numeric quantity, const char *name)
{
	if (numeric_is_nan(quantity) || numeric_is_inf(quantity))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s must be a finite number", name)));
	if (charge_scale(quantity) > CHARGE_MAX_SCALE)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s has too many decimals", name),
				 errdetail("It has %d, at most %d are allowed.",
						   charge_scale(quantity), CHARGE_MAX_SCALE)));
}

/*
 * What is given back lowers a total that was billed before, and the difference
 * of two charges is the correction.  A total itself is never less than nothing.
 */
static Numeric
quantity_of_call(FunctionCallInfo fcinfo, const Charge *charge)
{
	Numeric		quantity = PG_GETARG_NUMERIC(2);

	check_quantity(quantity, "quantity");
	return charge_at_least_zero(charge, quantity);
}

/* --- models of a quantity ----------------------------------------------- */

/* The first tier that holds the quantity. */
static int
find_tier(const Charge *charge, Numeric quantity)
{
	int			low = 0;
	int			high = charge->ntiers - 1;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (charge_compare(quantity, charge->tiers[middle].up_to) <= 0)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static Numeric
lower_bound(const Charge *charge, int tier)
{
	return tier == 0 ? charge->zero : charge->tiers[tier - 1].up_to;
}

static Numeric
graduated_amount(const Charge *charge, Numeric quantity)
{
	int			i = find_tier(charge, quantity);
	const ChargeTier *tier = &charge->tiers[i];

	return charge_add(tier->start_amount,
					  charge_mul(charge_sub(quantity, lower_bound(charge, i)),
								 tier->unit_amount));
}

static Numeric
volume_amount(const Charge *charge, Numeric quantity)
{
	const ChargeTier *tier = &charge->tiers[find_tier(charge, quantity)];

	return charge_add(tier->flat_amount, charge_mul(quantity, tier->unit_amount));
}

/*
 * How many packages are begun.  A quotient would be rounded, and its ceiling
 * be one too low where little of a package is used.
 */
static Numeric
packages_of(const Charge *charge, Numeric quantity)
{
	Numeric		rest = charge_sub(quantity, charge->free_units);
	Numeric		packages;

	if (charge_compare(rest, charge->zero) <= 0)
		return charge->zero;
	packages = charge_call2(numeric_div_trunc, rest, charge->package_size);
	if (charge_compare(charge_call2(numeric_mod, rest, charge->package_size),
					   charge->zero) != 0)
		packages = charge_add(packages, int64_to_numeric(1));
	return packages;
}

/* --- the amount --------------------------------------------------------- */

static Numeric
amount_of(const Charge *charge, Numeric quantity)
{
	ChargeEvents events;

	switch (charge->model)
	{
		case CHARGE_FLAT:
			return charge->amount;
		case CHARGE_PER_UNIT:
		case CHARGE_DYNAMIC:
			return charge_mul(quantity, charge->unit_amount);
		case CHARGE_GRADUATED:
		case CHARGE_GRADUATED_PERCENTAGE:
			return graduated_amount(charge, quantity);
		case CHARGE_VOLUME:
			return volume_amount(charge, quantity);
		case CHARGE_PACKAGE:
			return charge_mul(packages_of(charge, quantity), charge->amount);
		case CHARGE_PERCENTAGE:
			charge_events_begin(&events, charge);
			charge_events_add(&events, quantity);
			return charge_events_amount(&events);
	}
	pg_unreachable();
}

/* Without zeros at the end, whatever the numbers were written like. */
static Datum
return_amount(Numeric amount)
{
	return NumericGetDatum(charge_trim(amount));
}

PG_FUNCTION_INFO_V1(meter_charge);

Datum
meter_charge(PG_FUNCTION_ARGS)
{
	const Charge *charge = charge_of_call(fcinfo);

	return return_amount(amount_of(charge, quantity_of_call(fcinfo, charge)));
}

PG_FUNCTION_INFO_V1(meter_charge_check);

Datum
meter_charge_check(PG_FUNCTION_ARGS)
{
	(void) charge_of_call(fcinfo);
	PG_RETURN_BOOL(true);
}

/* --- several events ----------------------------------------------------- */

/* After so many the memory used for them is freed. */
#define EVENTS_AT_ONCE 1024

/*
 * Those of the argument: of percentage each, of all other models their sum,
 * which is returned.
 */
static Numeric
events_of_call(FunctionCallInfo fcinfo, const Charge *charge, ChargeEvents *events)
{
	ArrayIterator it = array_create_iterator(PG_GETARG_ARRAYTYPE_P(2), 0, NULL);
	MemoryContext old_context = CurrentMemoryContext;
	MemoryContext context;
	Datum		value;
	bool		isnull;
	int			n = 0;

	charge_events_begin(events, charge);
	context = AllocSetContextCreate(old_context, "meter events",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	while (array_iterate(it, &value, &isnull))
	{
		Numeric		number;

		CHECK_FOR_INTERRUPTS();
		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("events must not contain null")));
		number = DatumGetNumeric(value);
		check_quantity(number, "value of an event");
		if (charge->model == CHARGE_PERCENTAGE)
			charge_events_add(events, number);
		else
			charge_sum_up(events, &events->value, number);
		if (++n % EVENTS_AT_ONCE == 0)
			MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	return charge_at_least_zero(charge, events->value);
}

PG_FUNCTION_INFO_V1(meter_charge_events);

Datum
meter_charge_events(PG_FUNCTION_ARGS)
{
	const Charge *charge = charge_of_call(fcinfo);
	ChargeEvents events;
	Numeric		sum = events_of_call(fcinfo, charge, &events);

	return return_amount(charge->model == CHARGE_PERCENTAGE ?
						 charge_events_amount(&events) : amount_of(charge, sum));
}

/* --- explanations ------------------------------------------------------- */

typedef struct Explanation
{
	const Charge *charge;
	ReturnSetInfo *rsinfo;
	int			steps;
} Explanation;

/* Columns of the result, in the order of charge.sql. */
enum
{
	STEP_STEP,
	STEP_LABEL,
	STEP_UNITS,
	STEP_UNIT_AMOUNT,
	STEP_FLAT_AMOUNT,
	STEP_AMOUNT,
	STEP_COLUMNS
};

static void
explain_begin(Explanation *explanation, FunctionCallInfo fcinfo, const Charge *charge)
{
	InitMaterializedSRF(fcinfo, 0);
	explanation->charge = charge;
	explanation->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	explanation->steps = 0;
}

static void
add_step(Explanation *explanation, const char *label, Numeric units,
		 Numeric unit_amount, Numeric flat_amount)
{
	Datum		values[STEP_COLUMNS];
	bool		nulls[STEP_COLUMNS] = {0};

	values[STEP_STEP] = Int32GetDatum(++explanation->steps);
	values[STEP_LABEL] = CStringGetTextDatum(label);
	values[STEP_UNITS] = return_amount(units);
	values[STEP_UNIT_AMOUNT] = NumericGetDatum(unit_amount);
	values[STEP_FLAT_AMOUNT] = return_amount(flat_amount);
	values[STEP_AMOUNT] =
		return_amount(charge_add(charge_mul(units, unit_amount), flat_amount));
	tuplestore_putvalues(explanation->rsinfo->setResult, explanation->rsinfo->setDesc,
						 values, nulls);
}

static void
add_tier(Explanation *explanation, int i, Numeric units)
{
	const Charge *charge = explanation->charge;
	const ChargeTier *tier = &charge->tiers[i];
	char	   *label;

	if (charge->ntiers == 1)
		label = "all";
	else if (i == 0)
		label = psprintf("up to %s", numeric_normalize(tier->up_to));
	else if (tier->up_to == NULL)
		label = psprintf("above %s", numeric_normalize(lower_bound(charge, i)));
	else
		label = psprintf("above %s up to %s",
						 numeric_normalize(lower_bound(charge, i)),
						 numeric_normalize(tier->up_to));
	add_step(explanation, label, units, tier->unit_amount, tier->flat_amount);
}

static void
explain_graduated(Explanation *explanation, Numeric quantity)
{
	const Charge *charge = explanation->charge;

	for (int i = 0; i < charge->ntiers; i++)
	{
		const ChargeTier *tier = &charge->tiers[i];
		Numeric		lower = lower_bound(charge, i);
		Numeric		upper = quantity;

		if (i > 0 && charge_compare(quantity, lower) <= 0)
			break;
		if (tier->up_to != NULL && charge_compare(tier->up_to, quantity) < 0)
			upper = tier->up_to;
		add_tier(explanation, i, charge_sub(upper, lower));
	}
}

static void
explain_package(Explanation *explanation, Numeric quantity)
{
	const Charge *charge = explanation->charge;
	Numeric		free_units = charge->free_units;

	if (charge_compare(free_units, charge->zero) > 0)
		add_step(explanation, "free units",
				 charge_compare(quantity, free_units) < 0 ? quantity : free_units,
				 charge->zero, charge->zero);
	add_step(explanation,
			 psprintf("packages of %s", numeric_normalize(charge->package_size)),
			 packages_of(charge, quantity), charge->amount, charge->zero);
}

static void
explain_events(Explanation *explanation, const ChargeEvents *events)
{
	const Charge *charge = explanation->charge;

	if (charge->free_events != NULL || charge->free_amount != NULL)
		add_step(explanation, "free", events->free_used, charge->zero, charge->zero);
	add_step(explanation, "rate", events->value, charge->unit_amount, charge->zero);
	if (charge_compare(charge->fixed_amount, charge->zero) > 0)
		add_step(explanation, "fixed amount of each event",
				 int64_to_numeric(events->paid), charge->fixed_amount, charge->zero);
	if (events->n_raised > 0)
		add_step(explanation, "events raised to the minimum",
				 int64_to_numeric(events->n_raised), charge->zero, events->raised);
	if (events->n_lowered > 0)
		add_step(explanation, "events lowered to the maximum",
				 int64_to_numeric(events->n_lowered), charge->zero, events->lowered);
}

static void
explain(Explanation *explanation, Numeric quantity)
{
	const Charge *charge = explanation->charge;
	ChargeEvents events;

	switch (charge->model)
	{
		case CHARGE_FLAT:
			add_step(explanation, "flat", quantity, charge->zero, charge->amount);
			break;
		case CHARGE_PER_UNIT:
			add_step(explanation, "per unit", quantity, charge->unit_amount, charge->zero);
			break;
		case CHARGE_DYNAMIC:
			add_step(explanation, "cost with markup", quantity, charge->unit_amount,
					 charge->zero);
			break;
		case CHARGE_GRADUATED:
		case CHARGE_GRADUATED_PERCENTAGE:
			explain_graduated(explanation, quantity);
			break;
		case CHARGE_VOLUME:
			add_tier(explanation, find_tier(charge, quantity), quantity);
			break;
		case CHARGE_PACKAGE:
			explain_package(explanation, quantity);
			break;
		case CHARGE_PERCENTAGE:
			charge_events_begin(&events, charge);
			charge_events_add(&events, quantity);
			explain_events(explanation, &events);
			break;
	}
}

PG_FUNCTION_INFO_V1(meter_explain_charge);

Datum
meter_explain_charge(PG_FUNCTION_ARGS)
{
	const Charge *charge = charge_of_call(fcinfo);
	Numeric		quantity = quantity_of_call(fcinfo, charge);
	Explanation explanation;

	explain_begin(&explanation, fcinfo, charge);
	explain(&explanation, quantity);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(meter_explain_charge_events);

Datum
meter_explain_charge_events(PG_FUNCTION_ARGS)
{
	const Charge *charge = charge_of_call(fcinfo);
	Explanation explanation;
	ChargeEvents events;
	Numeric		sum = events_of_call(fcinfo, charge, &events);

	explain_begin(&explanation, fcinfo, charge);
	if (charge->model == CHARGE_PERCENTAGE)
		explain_events(&explanation, &events);
	else
		explain(&explanation, sum);
	return (Datum) 0;
}

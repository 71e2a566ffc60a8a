/*
 * charge.h
 *		Charge models: what a quantity costs.
 *
 * charge_params.c makes a Charge of a model's name and its parameters, and
 * charge.c computes with it; events of the model percentage are added up by
 * charge_percentage.c.  All numbers are exact: of the operations of
 * numeric only those are used that round nothing, and CHARGE_MAX_SCALE keeps
 * products far below the scale at which multiplication would.
 */
#ifndef METER_CHARGE_H
#define METER_CHARGE_H

#include "utils/jsonb.h"
#include "utils/numeric.h"

/* As many decimals as a column of type numeric(p, s) can have. */
#define CHARGE_MAX_SCALE NUMERIC_MAX_SCALE

/* In the order of charge_models in charge_params.c. */
typedef enum ChargeModel
{
	CHARGE_FLAT,
	CHARGE_PER_UNIT,
	CHARGE_GRADUATED,
	CHARGE_VOLUME,
	CHARGE_PACKAGE,
	CHARGE_PERCENTAGE,
	CHARGE_GRADUATED_PERCENTAGE,
	CHARGE_DYNAMIC
} ChargeModel;

typedef struct ChargeTier
{
	Numeric		up_to;			/* inclusive; NULL: without bound */
	Numeric		unit_amount;
	Numeric		flat_amount;

	/* of graduated models: what all tiers below cost, and our flat_amount */
	Numeric		start_amount;
} ChargeTier;

/*
 * The price that a model and its parameters make.  What a model does not have
 * is NULL, and so is what may be left out and means "none".  Rates are parts
 * of one here, not of a hundred.
 */
typedef struct Charge
{
	ChargeModel model;

	Numeric		amount;			/* flat; of package that of a package */
	Numeric		unit_amount;	/* per_unit; rate, markup */
	Numeric		package_size;
	Numeric		free_units;

	/* percentage */
	Numeric		fixed_amount;
	Numeric		free_events;
	Numeric		free_amount;
	Numeric		min_amount;
	Numeric		max_amount;

	int			ntiers;
	ChargeTier *tiers;

	Numeric		zero;
} Charge;

/*
 * Read and check them.  The result is in the current memory context and may
 * point into params.
 */
extern Charge *charge_read(text *model, Jsonb *params);

static inline Numeric
charge_call2(PGFunction function, Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(function, NumericGetDatum(a),
											   NumericGetDatum(b)));
}

static inline int
charge_compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a),
											 NumericGetDatum(b)));
}

static inline Numeric
charge_trim(Numeric a)
{
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
											   NumericGetDatum(a)));
}

static inline int
charge_scale(Numeric a)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(a)));
}

/* numeric_add() and its like, with the types they have */
#define charge_add(a, b) charge_call2(numeric_add, a, b)
#define charge_sub(a, b) charge_call2(numeric_sub, a, b)
#define charge_mul(a, b) charge_call2(numeric_mul, a, b)

static inline Numeric
charge_at_least_zero(const Charge *charge, Numeric quantity)
{
	return charge_compare(quantity, charge->zero) < 0 ? charge->zero : quantity;
}

/*
 * ChargeEvents of the model percentage, added up in a way that has few parts and
 * still is the sum of the events' charges.
 */
typedef struct ChargeEvents
{
	const Charge *charge;
	MemoryContext context;		/* of the sums */
	int64		free_events;	/* how many are left */
	bool		free;			/* not all of the allowance is used up */
	Numeric		free_used;		/* of free_amount */
	Numeric		value;			/* that is charged by the rate */
	int64		paid;			/* events that were not free */
	int64		n_raised;
	Numeric		raised;			/* by how much in all, to the minimum */
	int64		n_lowered;
	Numeric		lowered;
} ChargeEvents;

extern void charge_events_begin(ChargeEvents *events, const Charge *charge);
extern void charge_events_add(ChargeEvents *events, Numeric value);
extern Numeric charge_events_amount(const ChargeEvents *events);

/* Add to a sum of theirs. */
extern void charge_sum_up(const ChargeEvents *events, Numeric *sum, Numeric value);

#endif							/* METER_CHARGE_H */

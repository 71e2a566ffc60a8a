/*
 * charge_percentage.c
 *		Events of the model percentage, each of which is charged by itself.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "charge.h"

void
charge_events_begin(ChargeEvents *events, const Charge *charge)
{
	memset(events, 0, sizeof(*events));
	events->charge = charge;
	events->context = CurrentMemoryContext;
	events->free_used = events->value = charge->zero;
	events->raised = events->lowered = charge->zero;
	events->free = charge->free_events != NULL || charge->free_amount != NULL;
	events->free_events = PG_INT64_MAX;
	if (charge->free_events != NULL &&
		charge_compare(charge->free_events, int64_to_numeric(PG_INT64_MAX)) < 0)
		events->free_events =
			DatumGetInt64(DirectFunctionCall1(numeric_int8,
											  NumericGetDatum(charge->free_events)));
}

/* Add to a sum that may hold the zero of the price, which is not ours. */
void
charge_sum_up(const ChargeEvents *events, Numeric *sum, Numeric value)
{
	MemoryContext old_context = MemoryContextSwitchTo(events->context);
	Numeric		old = *sum;

	*sum = charge_add(old, value);
	MemoryContextSwitchTo(old_context);
	if (old != events->charge->zero)
		pfree(old);
}

/*
 * The part of an event's value that is not free.  The allowance is used up by
 * the event that is the last free one, or that reaches the free amount; what
 * goes beyond that amount is charged.  NULL: the event is free.
 */
static Numeric
take_free(ChargeEvents *events, Numeric value)
{
	const Charge *charge = events->charge;
	Numeric		left;
	int			compared;

	if (!events->free)
		return value;
	if (events->free_events == 0 ||
		(charge->free_amount != NULL &&
		 charge_compare(events->free_used, charge->free_amount) >= 0))
	{
		events->free = false;
		return value;
	}
	events->free_events--;
	if (charge->free_amount == NULL)
	{
		charge_sum_up(events, &events->free_used, value);
		return NULL;
	}
	left = charge_sub(charge->free_amount, events->free_used);
	compared = charge_compare(value, left);
	charge_sum_up(events, &events->free_used, compared < 0 ? value : left);
	return compared <= 0 ? NULL : charge_sub(value, left);
}

static void
clamp(ChargeEvents *events, Numeric value)
{
	const Charge *charge = events->charge;
	Numeric		fee = charge_mul(value, charge->unit_amount);
	Numeric		amount = charge_add(fee, charge->fixed_amount);

	if (charge->min_amount != NULL && charge_compare(amount, charge->min_amount) < 0)
	{
		charge_sum_up(events, &events->raised, charge_sub(charge->min_amount, amount));
		events->n_raised++;
	}
	else if (charge->max_amount != NULL && charge_compare(amount, charge->max_amount) > 0)
	{
		charge_sum_up(events, &events->lowered, charge_sub(charge->max_amount, amount));
		events->n_lowered++;
	}
}

void
charge_events_add(ChargeEvents *events, Numeric value)
{
	const Charge *charge = events->charge;

	value = take_free(events, charge_at_least_zero(charge, value));
	if (value == NULL)
		return;
	events->paid++;
	charge_sum_up(events, &events->value, value);
	if (charge->min_amount != NULL || charge->max_amount != NULL)
		clamp(events, value);
}

Numeric
charge_events_amount(const ChargeEvents *events)
{
	const Charge *charge = events->charge;
	Numeric		fees = charge_mul(events->value, charge->unit_amount);
	Numeric		fixed = charge_mul(int64_to_numeric(events->paid), charge->fixed_amount);

	return charge_add(charge_add(fees, fixed),
					  charge_add(events->raised, events->lowered));
}

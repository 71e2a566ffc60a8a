/*
 * budget.h
 *		What was spent of budgets, and calls that are refused as it is all.
 */
#ifndef METER_BUDGET_H
#define METER_BUDGET_H

#include "datatype/timestamp.h"
#include "usage.h"

extern void budget_init(void);

/*
 * Of a rollup: with its position, before it writes; with rows that were
 * written under ROLLUP_HOURS; and at its end, with the hours that were computed
 * anew.
 */
extern void budget_begin(int64 after);
extern void budget_add(void);
extern void budget_finish(int64 upto, const UsageDirtySet *anew);

/*
 * Until when calls of a tenant for a resource are refused; 0 if they are not.
 * After AcceptInvalidationMessages().
 */
extern TimestampTz budget_blocked_until(const text *tenant, const text *resource);

#endif							/* METER_BUDGET_H */

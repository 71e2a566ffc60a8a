/*
 * openmetrics.h
 *		Running totals for monitoring systems.
 */
#ifndef METER_OPENMETRICS_H
#define METER_OPENMETRICS_H

#include "postgres.h"

/*
 * Of a rollup: with its position, before it writes; with rows that were
 * written under ROLLUP_HOURS; and at its end.  schema is that of meter's
 * functions.
 */
extern void openmetrics_begin(int64 after);
extern void openmetrics_add(const char *schema);
extern void openmetrics_finish(int64 upto);

#endif							/* METER_OPENMETRICS_H */

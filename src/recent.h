/*
 * recent.h
 *		The last hours of usage, by which alerts are measured.
 */
#ifndef METER_RECENT_H
#define METER_RECENT_H

#include "postgres.h"

/*
 * Of a rollup: add rows that were written under ROLLUP_HOURS, and at its end
 * make hours of what is older.  schema is that of meter's functions.
 */
extern void recent_add(const char *schema);
extern void recent_fold(void);

#endif							/* METER_RECENT_H */

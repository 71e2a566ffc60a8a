/*
 * rollup.h
 *		Reading the part of the log that is not rolled up yet.
 */
#ifndef METER_ROLLUP_H
#define METER_ROLLUP_H

#include "usage.h"

extern int64 rollup_position(bool read_only);
extern int64 rollup_log_end(bool read_only);
extern void rollup_scan(Usage *usage, int64 after, int64 upto, bool read_only);
extern void rollup_scan_dirty(Usage *usage, const UsageDirtySet *dirty,
							  int64 span, int64 upto, bool read_only);
extern void rollup_find_overlaps(Usage *usage, Tuplestorestate *hours,
								 bool read_only);

#endif							/* METER_ROLLUP_H */

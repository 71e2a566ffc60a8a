/*
 * rollup.h
 *		Reading and writing of the rollup.
 */
#ifndef METER_ROLLUP_H
#define METER_ROLLUP_H

#include "usage.h"
#include "utils/array.h"

/* The name of the rollup among the log's consumers. */
#define ROLLUP_CONSUMER "rollup"

/* The name under which rows of hours in the making are visible to SQL. */
#define ROLLUP_HOURS "usage_batch"

/* rollup_scan.c */
extern int64 rollup_select(const char *query, bool read_only);
extern int64 rollup_position(bool read_only);
extern int64 rollup_log_end(bool read_only);
extern void rollup_scan(Usage *usage, int64 after, int64 upto, text *tenant,
						bool read_only);
extern void rollup_scan_dirty(Usage *usage, const UsageDirtySet *dirty,
							  int64 span, int64 upto, bool read_only);
extern void rollup_register(const char *name, Oid relid,
							Tuplestorestate *rows);
extern bool rollup_has_gauges(Usage *usage);
extern void rollup_mark_selected(Usage *usage);
extern void rollup_find_overlaps(Usage *usage, Tuplestorestate *hours,
								 bool read_only);
extern ArrayType *dirty_tenants(const UsageDirty *dirty, int n);
extern ArrayType *dirty_starts(const UsageDirty *dirty, int n,
							   TimestampTz *min, TimestampTz *max);
extern int	dirty_compare(const void *a, const void *b);

#endif							/* METER_ROLLUP_H */

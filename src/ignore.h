/*
 * ignore.h
 *		Endpoints whose calls are not tracked.
 */
#ifndef METER_IGNORE_H
#define METER_IGNORE_H

#include "utils/guc.h"

/* What meter.ignore_endpoints says; NULL if it is empty. */
typedef struct IgnoreList IgnoreList;

extern IgnoreList *ignore_list;

extern bool ignore_check_setting(char **newval, void **extra,
								 GucSource source);
extern void ignore_assign_setting(const char *newval, void *extra);
extern bool ignore_matches(const text *endpoint);

/* Is it an endpoint that is not tracked?  It may be NULL. */
static inline bool
ignore_endpoint(const text *endpoint)
{
	return ignore_list != NULL && endpoint != NULL && ignore_matches(endpoint);
}

#endif							/* METER_IGNORE_H */

/*
 * utility.h
 *		Statements that are no queries, on their way to the server.
 */
#ifndef METER_UTILITY_H
#define METER_UTILITY_H

#include "tcop/utility.h"

#define UTILITY_PARAMETERS PlannedStmt *planned, const char *query, \
	bool read_only_tree, ProcessUtilityContext context, ParamListInfo params, \
	QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion
#define UTILITY_ARGUMENTS planned, query, read_only_tree, context, params, \
	environment, dest, completion

extern void utility_init(void);

/* Have the server execute it. */
extern void utility_run(UTILITY_PARAMETERS);

#endif							/* METER_UTILITY_H */

/*
 * listen.c
 *		Who may LISTEN to channel "meter".
 *
 * What is sent there tells about all tenants, as the tables do from which it
 * comes, so the same privilege is asked for.  PostgreSQL itself has none for
 * channels.
 */
#include "postgres.h"

#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

#include "listen.h"
#include "row_security.h"

#define CHANNEL "meter"

static ProcessUtility_hook_type next_utility = NULL;

static void
listen_utility(PlannedStmt *planned, const char *query, bool read_only_tree,
			   ProcessUtilityContext context, ParamListInfo params,
			   QueryEnvironment *environment, DestReceiver *dest,
			   QueryCompletion *completion)
{
	if (IsA(planned->utilityStmt, ListenStmt) &&
		strcmp(((ListenStmt *) planned->utilityStmt)->conditionname, CHANNEL) == 0 &&
		OidIsValid(get_extension_oid("meter", true)) &&
		!row_security_sees_all(GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to listen to channel \"%s\"", CHANNEL),
				 errdetail("What is sent there tells about all tenants."),
				 errhint("It is allowed to roles that may execute meter.sees_all_tenants(), as those in the sets analyst and admin of meter_grant().")));
	if (next_utility != NULL)
		next_utility(planned, query, read_only_tree, context, params,
					 environment, dest, completion);
	else
		standard_ProcessUtility(planned, query, read_only_tree, context, params,
								environment, dest, completion);
}

void
listen_init(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = listen_utility;
}

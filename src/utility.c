/*
 * utility.c
 *		Statements that are no queries, on their way to the server.
 *
 * One hook for all who look at them, so that those of which there are many, as
 * BEGIN and COMMIT, soon pass.
 */
#include "postgres.h"

#include "nodes/parsenodes.h"

#include "context.h"
#include "core/hot.h"
#include "guard.h"
#include "listen.h"
#include "utility.h"

static HOT_STATEMENT ProcessUtility_hook_type next_utility = NULL;

/*
 * Those that name and make nothing.
 */
static inline bool
is_harmless(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_TransactionStmt:
		case T_VariableShowStmt:
		case T_PrepareStmt:
		case T_DeallocateStmt:
		case T_ExecuteStmt:		/* its query is looked at as a query */
		case T_ClosePortalStmt:
		case T_DoStmt:
		case T_CallStmt:
			return true;
		case T_VariableSetStmt:
			return !context_is_reset_by(statement);
		default:
			return false;
	}
}

void
utility_run(UTILITY_PARAMETERS)
{
	next_utility(UTILITY_ARGUMENTS);
}

static void
look(UTILITY_PARAMETERS)
{
	Node	   *statement = planned->utilityStmt;
	bool		reset = context_is_reset_by(statement);

	if (IsA(statement, ListenStmt))
		listen_check((ListenStmt *) statement);
	guard_utility(UTILITY_ARGUMENTS);
	if (reset)
		context_reset();
}

HOT_PATH static void
utility(UTILITY_PARAMETERS)
{
	const char *outer_command = guard_utility_command;

	guard_forget_plan();
	if (!is_harmless(planned->utilityStmt))
		look(UTILITY_ARGUMENTS);
	else if (likely(outer_command == NULL))
		next_utility(UTILITY_ARGUMENTS);
	else
	{
		/* what is called from here are statements of their own */
		guard_utility_command = NULL;
		next_utility(UTILITY_ARGUMENTS);
		guard_utility_command = outer_command;
	}
}

void
utility_init(void)
{
	next_utility = ProcessUtility_hook != NULL ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = utility;
}

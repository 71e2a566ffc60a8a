/*
 * guard_executor.c
 *		The guard's eye on queries.
 *
 * A plan lists all relations that it depends on: those of its range table, the
 * views they came from, their children, and constants of type regclass, such as
 * the sequence in nextval('s').  ExecutorStart() is called for each execution,
 * also of a plan that was made under another context, of a query inside a
 * function, and for EXPLAIN.  ExecutorRun() is called again for each part of the
 * rows of a cursor, which may be fetched under another context.
 *
 * What has a range table but no plan (COPY of a table, the first check of a
 * foreign key) is seen when its permissions are checked.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "context.h"
#include "core/hot.h"
#include "guard.h"
#include "schema.h"
#include "setting.h"

static ExecutorStart_hook_type next_start = NULL;
static ExecutorRun_hook_type next_run = NULL;
static ExecutorCheckPerms_hook_type next_check = NULL;

/* The range table of a plan that was just looked at. */
static const List *looked_at = NULL;

/*
 * The query that was started last, and is about to run under the same context.
 * It is only compared: a query that has its address later is started first.
 */
static const QueryDesc *started = NULL;

void
guard_forget_plan(void)
{
	looked_at = NULL;
	started = NULL;
}

static const char *
command_of(const PlannedStmt *plan)
{
	if (guard_utility_command != NULL)
		return guard_utility_command;
	switch (plan->commandType)
	{
		case CMD_INSERT:
			return "INSERT";
		case CMD_UPDATE:
			return "UPDATE";
		case CMD_DELETE:
			return "DELETE";
		case CMD_MERGE:
			return "MERGE";
		default:
			return "SELECT";
	}
}

/*
 * A row of meter.inbox may be of any tenant, and nobody looks at it before the
 * flush.  So in a context they are tracked by functions only, which look, and
 * write without the executor.
 */
static void
look_at_inbox(Oid relid, const char *command)
{
	static Oid	other = InvalidOid; /* the last one that is not the inbox */

	if (relid == other || relid < FirstUnpinnedObjectId || context_tenant() == NULL)
		return;
	if (relid != get_relname_relid("inbox", get_namespace_oid("meter", true)))
	{
		other = relid;
		return;
	}
	guard_report(NULL, "table", "meter.inbox", command);
}

HOT_PATH static void
look_at_plan(const PlannedStmt *plan)
{
	const char *command = command_of(plan);
	ListCell   *cell;

	foreach(cell, plan->relationOids)
		guard_relation(lfirst_oid(cell), command);
	for (int i = compat_next_result(plan, 0); i > 0; i = compat_next_result(plan, i))
	{
		Oid			relid = rt_fetch(i, plan->rtable)->relid;

		if (plan->commandType != CMD_DELETE)
			guard_partitions(relid, command);
		if (plan->commandType == CMD_INSERT || plan->commandType == CMD_MERGE)
			look_at_inbox(relid, command);
	}
}

HOT_PATH static void
guard_start(QueryDesc *query, int flags)
{
	/* a parallel query's leader has looked at its plan */
	if (guard_active() && query->plannedstmt->commandType != CMD_UTILITY &&
		!(IsParallelWorker() && query->dest->mydest == DestTupleQueue))
	{
		look_at_plan(query->plannedstmt);
		if (unlikely(guard_explaining))
			guard_shown_plan(query->plannedstmt, "EXPLAIN",
							 "A role that is in meter.isolation_exempt_roles, or for which row security does not hold, can explain it.");
		looked_at = query->plannedstmt->rtable;
	}
	if (next_start != NULL)
		next_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
	started = query;
}

HOT_PATH static void
guard_run(COMPAT_EXECUTOR_RUN_PARAMETERS)
{
	if (started != query && guard_active() && query->plannedstmt->commandType != CMD_UTILITY &&
		!(IsParallelWorker() && query->dest->mydest == DestTupleQueue))
		look_at_plan(query->plannedstmt);
	started = NULL;
	if (next_run != NULL)
		next_run(COMPAT_EXECUTOR_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(COMPAT_EXECUTOR_RUN_ARGUMENTS);
}

/*
 * Without report it is asked only whether an error would be raised.
 */
HOT_PATH static bool
guard_check(COMPAT_CHECK_PERMS_PARAMETERS)
{
	bool		seen = looked_at != NULL && looked_at == range_table;
	const char *command = guard_utility_command != NULL ? guard_utility_command : "SELECT";

	looked_at = NULL;
	if (next_check != NULL && !next_check(COMPAT_CHECK_PERMS_ARGUMENTS))
		return false;
	if (!seen && guard_active() && !IsParallelWorker())
	{
		ListCell   *cell;

		foreach(cell, range_table)
		{
			RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);
			AclMode		required;

			if (entry->rtekind != RTE_RELATION)
				continue;
			if (!report)
			{
				Oid			schema = get_rel_namespace(entry->relid);

				if (setting_isolation == ISOLATION_ENFORCE &&
					guard_is_foreign(schema_tenant(schema)))
					return false;
				continue;
			}
			guard_relation(entry->relid, command);
			required = compat_required_perms(entry, COMPAT_CHECK_PERMS_INFOS);
			if (required & ACL_INSERT)
			{
				guard_partitions(entry->relid, command);
				look_at_inbox(entry->relid, command);
			}
		}
	}
	return true;
}

void
guard_executor_init(void)
{
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = guard_start;
	next_run = ExecutorRun_hook;
	ExecutorRun_hook = guard_run;
	next_check = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = guard_check;
}

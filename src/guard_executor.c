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

static HOT_STATEMENT ExecutorStart_hook_type next_start = NULL;
static HOT_STATEMENT ExecutorRun_hook_type next_run = NULL;
static HOT_STATEMENT ExecutorCheckPerms_hook_type next_check = NULL;

HOT_STATEMENT const List *guard_looked_at = NULL;
HOT_STATEMENT const QueryDesc *guard_started = NULL;

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

Oid
guard_inbox(void)
{
	return get_relname_relid("inbox", get_namespace_oid("meter", true));
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
	if (relid != guard_inbox())
	{
		other = relid;
		return;
	}
	guard_report(NULL, "table", "meter.inbox", command);
}

static void
look_at_plan(const PlannedStmt *plan)
{
	const char *command = command_of(plan);
	ListCell   *cell;

	foreach(cell, plan->relationOids)
		guard_relation(lfirst_oid(cell), command);
	for (int i = compat_next_result(plan, 0); i > 0; i = compat_next_result(plan, i))
	{
		Oid			relid = rt_fetch(i, plan->rtable)->relid;

		if (guard_is_plain(relid))
			continue;
		if (plan->commandType != CMD_DELETE)
			guard_partitions(relid, command);
		if (plan->commandType == CMD_INSERT || plan->commandType == CMD_MERGE || plan->hasModifyingCTE)
			look_at_inbox(relid, command);
	}
}

/*
 * Is there nothing in the plan but what was looked at before?
 */
static inline bool
is_known(const PlannedStmt *plan)
{
	bool		writes = plan->commandType != CMD_SELECT || plan->hasModifyingCTE;
	ListCell   *cell;

	foreach(cell, plan->relationOids)
		if (!guard_is_known(lfirst_oid(cell), writes))
		return false;
	return !guard_explaining;
}

/*
 * Is the query to be looked at, by who runs it and where?  A parallel query's
 * leader has looked at its plan.
 */
static bool
is_looked_at(const QueryDesc *query)
{
	return guard_active() && query->plannedstmt->commandType != CMD_UTILITY &&
		!(IsParallelWorker() && query->dest->mydest == DestTupleQueue);
}

static void
look_at_start(const QueryDesc *query)
{
	if (!is_looked_at(query))
		return;
	look_at_plan(query->plannedstmt);
	if (guard_explaining)
		guard_shown_plan(query->plannedstmt, "EXPLAIN",
						 "A role that is in meter.isolation_exempt_roles, or for which row security does not hold, can explain it.");
}

HOT_PATH static void
guard_start(QueryDesc *query, int flags)
{
	if (likely(setting_isolation != ISOLATION_OFF))
	{
		if (unlikely(!is_known(query->plannedstmt)))
			look_at_start(query);
		guard_looked_at = query->plannedstmt->rtable;
	}
	guard_started = query;
	next_start(query, flags);
}

static void
look_at_run(const QueryDesc *query)
{
	if (setting_isolation != ISOLATION_OFF && !is_known(query->plannedstmt) && is_looked_at(query))
		look_at_plan(query->plannedstmt);
}

HOT_PATH static void
guard_run(COMPAT_EXECUTOR_RUN_PARAMETERS)
{
	if (unlikely(guard_started != query))
		look_at_run(query);
	guard_started = NULL;
	next_run(COMPAT_EXECUTOR_RUN_ARGUMENTS);
}

/*
 * False only if there is no report and an error would be raised.
 */
static bool
look_at_permissions(COMPAT_CHECK_PERMS_PARAMETERS)
{
	const char *command = guard_utility_command != NULL ? guard_utility_command : "SELECT";
	ListCell   *cell;

	if (!guard_active() || IsParallelWorker())
		return true;
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
	return true;
}

HOT_PATH static bool
guard_check(COMPAT_CHECK_PERMS_PARAMETERS)
{
	bool		seen = guard_looked_at != NULL && guard_looked_at == range_table;

	guard_looked_at = NULL;
	if (next_check != NULL && !next_check(COMPAT_CHECK_PERMS_ARGUMENTS))
		return false;
	return likely(seen) || look_at_permissions(COMPAT_CHECK_PERMS_ARGUMENTS);
}

void
guard_executor_init(void)
{
	next_start = ExecutorStart_hook != NULL ? ExecutorStart_hook : standard_ExecutorStart;
	ExecutorStart_hook = guard_start;
	next_run = ExecutorRun_hook != NULL ? ExecutorRun_hook : standard_ExecutorRun;
	ExecutorRun_hook = guard_run;
	next_check = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = guard_check;
}

/*
 * guard_explain.c
 *		The guard's eye on plans that are shown.
 *
 * Row security hides rows from the result, and not from the plan: that tells how
 * many the planner expects for the name of a tenant, and EXPLAIN ANALYZE how many
 * a filter has removed.  So a plan is not shown to whom it would tell of rows of
 * other tenants.  A query in a function that EXPLAIN ANALYZE calls is not shown,
 * but its blocks and rows of write-ahead log are counted, so it is taken for one
 * that is.
 *
 * debug_print_plan, which everybody may set, sends the plan to a client that asks
 * for messages of the server's log.  It does so right after planning.
 *
 * Plans in the server's log, as of auto_explain, are nobody's business here.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "optimizer/planner.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "compat.h"
#include "context.h"
#include "core/hot.h"
#include "guard.h"
#include "row_security.h"
#include "schema.h"
#include "setting.h"

HOT_STATEMENT bool guard_explaining = false;

static HOT_STATEMENT planner_hook_type next_planner = NULL;

/*
 * Is this a table in which rows of other tenants are hidden from the user?  What
 * row security hides in a tenant's schema is that tenant's own.
 *
 * Children are read by the right to read their parent, and their own policies
 * do not count.  Who only inserts is shown nothing.
 */
static bool
hides_rows(RangeTblEntry *entry, List *infos)
{
	Oid			schema;
	Oid			own = get_namespace_oid("meter", true);

	if (entry->rtekind != RTE_RELATION || !OidIsValid(own) ||
		(compat_required_perms(entry, infos) & ~ACL_INSERT) == 0 ||
		check_enable_rls(entry->relid, compat_check_as_user(entry, infos), true) != RLS_ENABLED)
		return false;
	schema = get_rel_namespace(entry->relid);
	if (schema_tenant(schema) != NULL)
		return false;
	if (context_tenant() != NULL)
		return true;
	return (schema == own || setting_isolation_require_context) &&
		!row_security_sees_all(GetUserId());
}

static void
refuse(Oid relid, const char *shown_by, const char *hint)
{
	ObjectAddress object;
	char	   *type;
	char	   *identity;

	ObjectAddressSet(object, RelationRelationId, relid);
	type = getObjectTypeDescription(&object, false);
	identity = getObjectIdentity(&object, false);
	if (guard_record(NULL, type, identity, shown_by))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("access to %s %s is not allowed with %s", type, identity, shown_by),
				 errdetail("Row security hides rows of it, and a plan tells how many."),
				 errhint("%s", hint)));
}

void
guard_shown_plan(const PlannedStmt *plan, const char *shown_by, const char *hint)
{
	ListCell   *cell;

	foreach(cell, plan->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		if (hides_rows(entry, COMPAT_PLAN_PERMS_INFOS(plan)))
			refuse(entry->relid, shown_by, hint);
	}
}

HOT_PATH static PlannedStmt *
guard_plan(COMPAT_PLANNER_PARAMETERS)
{
	PlannedStmt *plan = next_planner(COMPAT_PLANNER_ARGUMENTS);

	if (unlikely(Debug_print_plan) && client_min_messages <= LOG && guard_active())
		guard_shown_plan(plan, "debug_print_plan",
						 "Set debug_print_plan to off, or client_min_messages to a level above \"log\".");
	return plan;
}

void
guard_explain_init(void)
{
	next_planner = planner_hook != NULL ? planner_hook : standard_planner;
	planner_hook = guard_plan;
}

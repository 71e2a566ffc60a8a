/*
 * compat.h
 *		Differences between PostgreSQL 15 and 19, kept out of all other files.
 *
 * Each shim has the shape of the newest server's call, so that the other
 * files hold no version tests.
 */
#ifndef METER_COMPAT_H
#define METER_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "nodes/plannodes.h"
#include "parser/parser.h"
#include "postmaster/bgworker.h"
#include "catalog/pg_proc.h"
#include "utils/acl.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "meter needs PostgreSQL 15 or later"
#endif

/* 16 moved the macros of varlena types out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18 has a keyword for functions that do not return, in front of them. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/*
 * Soft errors of type input functions came with 16 (ereturn); before, bad
 * input throws.
 */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#define METER_ESCONTEXT(fcinfo) ((fcinfo)->context)
#define METER_ERETURN(escontext, dummy, ...) \
	ereturn(escontext, dummy, __VA_ARGS__)
#else
#define METER_ESCONTEXT(fcinfo) NULL
#define METER_ERETURN(escontext, dummy, ...) \
	do { \
		(void) (escontext); \
		ereport(ERROR, __VA_ARGS__); \
		return dummy; \
	} while (0)
#endif

/* 18 has a magic block that names the module and its version. */
#if PG_VERSION_NUM >= 180000
#define METER_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "meter", .version = METER_VERSION)
#else
#define METER_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/*
 * Insert the index entries of a tuple already in the heap.  16 added
 * onlySummarizing; 19 folds the flags into one word.
 */
static inline void
compat_insert_index_tuples(ResultRelInfo *rri, TupleTableSlot *slot,
						   EState *estate)
{
#if PG_VERSION_NUM >= 190000
	list_free(ExecInsertIndexTuples(rri, estate, 0, slot, NIL, NULL));
#elif PG_VERSION_NUM >= 160000
	list_free(ExecInsertIndexTuples(rri, slot, estate, false, false, NULL,
									NIL, false));
#else
	list_free(ExecInsertIndexTuples(rri, slot, estate, false, false, NULL,
									NIL));
#endif
}

/* Reading a table, deleting a row and making a slot take flags since 19. */
#if PG_VERSION_NUM >= 190000
#define compat_beginscan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL, 0)
#define compat_tuple_delete(rel, tid, snapshot, failure) \
	table_tuple_delete(rel, tid, GetCurrentCommandId(true), 0, snapshot, \
					   InvalidSnapshot, true, failure)
#define compat_make_slot(desc, ops) MakeTupleTableSlot(desc, ops, 0)
#else
#define compat_beginscan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL)
#define compat_tuple_delete(rel, tid, snapshot, failure) \
	table_tuple_delete(rel, tid, GetCurrentCommandId(true), snapshot, \
					   InvalidSnapshot, true, failure, false)
#define compat_make_slot(desc, ops) MakeTupleTableSlot(desc, ops)
#endif

/*
 * Which entries of its range table a statement writes is a set since 19, and
 * was a list: the next one after this one (0 to begin), or a negative number.
 */
static inline int
compat_next_result(const PlannedStmt *plan, int after)
{
#if PG_VERSION_NUM >= 190000
	return bms_next_member(plan->resultRelationRelids, after);
#else
	int			next = -1;
	ListCell   *cell;

	foreach(cell, plan->resultRelations)
		if (lfirst_int(cell) > after && (next < 0 || lfirst_int(cell) < next))
		next = lfirst_int(cell);
	return next;
#endif
}

/*
 * 19 keeps the result of building a jsonb in the state, where before it was
 * the return value of each step.
 */
#if PG_VERSION_NUM >= 190000
#define compat_push_jsonb pushJsonbValue
#else
typedef struct JsonbInState
{
	JsonbParseState *parseState;
	JsonbValue *result;
} JsonbInState;

static inline void
compat_push_jsonb(JsonbInState *state, JsonbIteratorToken token,
				  JsonbValue *value)
{
	state->result = pushJsonbValue(&state->parseState, token, value);
}
#endif

/* What a setting keeps with its value is allocated by guc_malloc() since 16. */
static inline void *
compat_guc_malloc(size_t size)
{
#if PG_VERSION_NUM >= 160000
	return guc_malloc(LOG, size);
#else
	return malloc(size);
#endif
}

static inline void
compat_guc_free(void *memory)
{
#if PG_VERSION_NUM >= 160000
	guc_free(memory);
#else
	free(memory);
#endif
}

/*
 * What an extension's process waits for has a name since 17, and is the same
 * for all before.
 */
#if PG_VERSION_NUM >= 170000
#define compat_wait_event(name) WaitEventExtensionNew(name)
#else
#define compat_wait_event(name) ((uint32) PG_WAIT_EXTENSION)
#endif

/* Processes that DROP DATABASE may end came with 19. */
#ifdef BGWORKER_INTERRUPTIBLE
#define COMPAT_BGWORKER_INTERRUPTIBLE BGWORKER_INTERRUPTIBLE
#else
#define COMPAT_BGWORKER_INTERRUPTIBLE 0
#endif

/* What a range table's entries may do is in a list of its own since 16. */
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#define COMPAT_CHECK_PERMS_PARAMETERS List *range_table, List *infos, bool report
#define COMPAT_CHECK_PERMS_ARGUMENTS range_table, infos, report
#define COMPAT_CHECK_PERMS_INFOS infos
#else
#define COMPAT_CHECK_PERMS_PARAMETERS List *range_table, bool report
#define COMPAT_CHECK_PERMS_ARGUMENTS range_table, report
#define COMPAT_CHECK_PERMS_INFOS NIL
#endif

static inline AclMode
compat_required_perms(RangeTblEntry *entry, List *infos)
{
#if PG_VERSION_NUM >= 160000
	return entry->perminfoindex == 0 ? 0 :
		getRTEPermissionInfo(infos, entry)->requiredPerms;
#else
	return entry->requiredPerms;
#endif
}

/* Whose rights count for an entry of a plan's range table, if not the user's. */
#if PG_VERSION_NUM >= 160000
#define COMPAT_PLAN_PERMS_INFOS(plan) ((plan)->permInfos)
#else
#define COMPAT_PLAN_PERMS_INFOS(plan) NIL
#endif

static inline Oid
compat_check_as_user(RangeTblEntry *entry, List *infos)
{
#if PG_VERSION_NUM >= 160000
	return entry->perminfoindex == 0 ? InvalidOid :
		getRTEPermissionInfo(infos, entry)->checkAsUser;
#else
	return entry->checkAsUser;
#endif
}

/* The planner is told since 19 for which EXPLAIN it plans. */
#if PG_VERSION_NUM >= 190000
#define COMPAT_PLANNER_PARAMETERS Query *query, const char *text, int options, ParamListInfo params, struct ExplainState *explain
#define COMPAT_PLANNER_ARGUMENTS query, text, options, params, explain
#else
#define COMPAT_PLANNER_PARAMETERS Query *query, const char *text, int options, ParamListInfo params
#define COMPAT_PLANNER_ARGUMENTS query, text, options, params
#endif

/* That a query is run only once is no longer told to the executor since 18. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count
#define COMPAT_EXECUTOR_RUN_ARGUMENTS query, direction, count
#else
#define COMPAT_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define COMPAT_EXECUTOR_RUN_ARGUMENTS query, direction, count, execute_once
#endif

/* All kinds of objects share one function since 16. */
static inline bool
compat_may_execute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/*
 * All strings are standard ones since 19.  Before, a scanner can be told what
 * to take them for, and not to warn of a backslash.
 */
#if PG_VERSION_NUM >= 190000
#define compat_scan_strings(extra, standard) ((void) (standard))
#else
#define compat_scan_strings(extra, standard) \
	((extra)->escape_string_warning = false, \
	 (extra)->backslash_quote = BACKSLASH_QUOTE_ON, \
	 (extra)->standard_conforming_strings = (standard))
#endif

/* DecodeDateTime got an argument for details of errors with 16. */
static inline int
compat_decode_datetime(char **field, int *ftype, int nf, int *dtype,
					   struct pg_tm *tm, fsec_t *fsec, int *tzp)
{
#if PG_VERSION_NUM >= 160000
	DateTimeErrorExtra extra;

	return DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tzp, &extra);
#else
	return DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tzp);
#endif
}

#endif							/* METER_COMPAT_H */

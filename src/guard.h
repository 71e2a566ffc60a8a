/*
 * guard.h
 *		Keeping statements within the schema of the context's tenant.
 *
 * guard.c has what is the same for all of them, and each other file one of the
 * server's hooks.
 */
#ifndef METER_GUARD_H
#define METER_GUARD_H

#include "catalog/objectaddress.h"
#include "nodes/plannodes.h"
#include "tcop/utility.h"

#include "context.h"
#include "schema.h"
#include "utility.h"

extern void guard_init(void);

/* Have the server tell of what is to be looked at, from now on. */
extern void guard_assign_isolation(int newval, void *extra);

/* Is there something to look at, for this user? */
extern bool guard_active(void);

/*
 * Look at an object of a statement.  What is another tenant's is recorded, and
 * an error if meter.isolation is "enforce".
 */
extern void guard_relation(Oid relid, const char *command);
extern void guard_partitions(Oid relid, const char *command);
extern void guard_object(const ObjectAddress *object, const char *command);
extern void guard_schema(Oid schema, const char *command);
extern void guard_schema_name(const char *schema, const char *command);
extern void guard_report(const char *owner, const char *object_type,
						 const char *object, const char *command);

/* Only records it; true: an error is to follow. */
extern bool guard_record(const char *owner, const char *object_type,
						 const char *object, const char *command);

/*
 * Look at a plan that is shown, by what, and what to do instead.  Within EXPLAIN
 * those of all queries are, whose executor is started.
 */
extern bool guard_explaining;
extern void guard_shown_plan(const PlannedStmt *plan, const char *shown_by,
							 const char *hint);

/* Is it another's than the context's? */
extern bool guard_is_foreign(const char *owner);

/* OID of meter.inbox, or InvalidOid. */
extern Oid	guard_inbox(void);

/* Temporary relations: in whose context they were made. */
extern void guard_temporary_made(Oid relid);

/* Names of roles that are not looked at. */
extern bool guard_check_exempt(char **newval, void **extra, GucSource source);
extern void guard_assign_exempt(const char *newval, void *extra);

extern void guard_executor_init(void);
extern void guard_explain_init(void);
extern void guard_object_init(void);
extern void guard_utility(UTILITY_PARAMETERS);

/* The utility statement that is being executed, or NULL. */
extern const char *guard_utility_command;

/* What the current utility statement has made or altered: see guard_object.c. */
typedef struct GuardTouched GuardTouched;
extern GuardTouched *guard_touched_begin(void);
extern void guard_touched_check(const char *command);
extern void guard_touched_end(GuardTouched *outer);

/*
 * The range table of a plan that was just looked at: InitPlan() has it looked at
 * again.
 */
extern const List *guard_looked_at;

/*
 * The query that was started last, and is about to run under the same context.
 * It is only compared: a query that has its address later is started first.
 */
extern const struct QueryDesc *guard_started;

static inline void
guard_forget_plan(void)
{
	guard_looked_at = NULL;
	guard_started = NULL;
}

/*
 * Whose the relations are that were looked at last, by relid: until a relation,
 * a schema or meter.tenant changes.
 */
typedef struct KnownRelation
{
	Oid			relid;
	bool		plain;			/* its rows go nowhere else, nor into the log */
	const char *owner;			/* or NULL */
	uint64		owned_at;		/* context_changes when it was his */
} KnownRelation;

#define KNOWN_RELATIONS 64

extern KnownRelation guard_relations[KNOWN_RELATIONS];
extern uint64 guard_relations_at;	/* schema_changes of these */

static inline bool
guard_is_plain(Oid relid)
{
	const KnownRelation *known = &guard_relations[relid % KNOWN_RELATIONS];

	return known->relid == relid && known->plain && guard_relations_at == schema_changes;
}

/*
 * Is the relation known to be nobody's, or that of the explicit context's tenant?
 * Then it does not matter who asks and what for; and if it is to be written to,
 * too, for a plain one.
 */
static inline bool
guard_is_known(Oid relid, bool written)
{
	const KnownRelation *known = &guard_relations[relid % KNOWN_RELATIONS];

	return known->relid == relid && guard_relations_at == schema_changes &&
		(known->owner == NULL || known->owned_at == context_changes) &&
		(known->plain || !written);
}

#endif							/* METER_GUARD_H */

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

extern void guard_init(void);

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

/* Temporary relations: in whose context they were made. */
extern void guard_temporary_made(Oid relid);

/* Names of roles that are not looked at. */
extern bool guard_check_exempt(char **newval, void **extra, GucSource source);
extern void guard_assign_exempt(const char *newval, void *extra);

extern void guard_executor_init(void);
extern void guard_explain_init(void);
extern void guard_object_init(void);
extern void guard_utility_init(void);

/* The utility statement that is being executed, or NULL. */
extern const char *guard_utility_command;

/* What the current utility statement has made or altered: see guard_object.c. */
typedef struct GuardTouched GuardTouched;
extern GuardTouched *guard_touched_begin(void);
extern void guard_touched_check(const char *command);
extern void guard_touched_end(GuardTouched *outer);

/* The range table was looked at before InitPlan() has it looked at again. */
extern void guard_forget_plan(void);

#endif							/* METER_GUARD_H */

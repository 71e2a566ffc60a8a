/*
 * context.h
 *		The tenant for which a session works.
 */
#ifndef METER_CONTEXT_H
#define METER_CONTEXT_H

#include "nodes/nodes.h"

#include "event.h"

/*
 * The explicit context, "" if there is none, and how often it may have become
 * another one: by meter_set_tenant() or by the end of a transaction.
 */
extern bool context_explicit;
extern char *context_setting;
extern uint64 context_changes;

static inline bool
context_is_explicit(void)
{
	return context_explicit;
}

/* Begins a query: "member" are the roles that a role is, or belongs to. */
#define CONTEXT_MEMBER(role) \
	"WITH RECURSIVE member AS (" \
	" SELECT " role " AS role" \
	" UNION" \
	" SELECT m.roleid FROM member JOIN pg_auth_members AS m ON m.member = member.role) "

extern void context_define(void);

/*
 * The tenant's name, or NULL if there is no context: that of meter_set_tenant(),
 * or else the one tenant whose role the session's user is or belongs to.  Valid
 * until something can have changed it: not to be kept over a statement.
 */
extern const char *context_tenant(void);

/*
 * Does the context allow a call for this tenant?  Without one it allows all but
 * those for which the user may not work.
 */
extern bool context_allows(const text *tenant);

/* If it does not: a record of the violation, and what to tell; false. */
extern bool context_refuse(const text *tenant, const char *function,
						   EventError *error);

/*
 * What DISCARD ALL and RESET ALL have to do with it, after they were executed.
 */
extern bool context_is_reset_by(const Node *statement);
extern void context_reset(void);

/* Raises that, for a call of a function. */
extern void context_check(const text *tenant, Oid function);

#endif							/* METER_CONTEXT_H */

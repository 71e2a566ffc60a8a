/*
 * owner.h
 *		Running SQL of our own with the rights of the extension's owner.
 */
#ifndef METER_OWNER_H
#define METER_OWNER_H

#include "executor/spi.h"

/* What owner_begin() changed, for owner_end() to put back. */
typedef struct OwnerScope
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} OwnerScope;

extern void owner_begin(OwnerScope *scope);
extern void owner_end(OwnerScope *scope);

extern Oid	owner_relation(const char *name);

/* Have a function called at each invalidation of a relation, or with 0 of all. */
extern void owner_watch(void (*forget) (Oid relid));

/* Prepare sql once per session in *plan, with nargs parameters of types Oid. */
extern void owner_plan(SPIPlanPtr *plan, const char *sql, int nargs,...);

#endif							/* METER_OWNER_H */

/*
 * violation.h
 *		Recording attempts of a tenant's session to reach what is another's.
 */
#ifndef METER_VIOLATION_H
#define METER_VIOLATION_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

typedef struct Violation
{
	const char *command;		/* "SELECT", "COPY", "meter_track", ... */
	const char *tenant;			/* of the context, or NULL: there is none */
	const char *foreign_tenant; /* whose it is, or NULL: not known */
	const char *object_type;	/* as pg_identify_object() names it, or NULL */
	const char *object;			/* its identity, as pg_identify_object() has
								 * it, or NULL */
	bool		refused;		/* the statement is about to fail for it */
} Violation;

/*
 * Keeps it whatever becomes of the transaction.  Must not be called under a
 * lock; raises no error for what it cannot keep, but tells the server log.
 */
extern void violation_record(const Violation *violation);

/* What the flush does with one that was queued. */
extern void violation_store(TimestampTz at, Jsonb *violation);

#endif							/* METER_VIOLATION_H */

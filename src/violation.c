/*
 * violation.c
 *		Recording attempts of a tenant's session to reach what is another's.
 */
#include "postgres.h"

#include "violation.h"

void
violation_record(const Violation *violation)
{
	ereport(LOG_SERVER_ONLY,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("tenant isolation violation"),
			 errdetail_log("Command %s of tenant %s reached %s of tenant %s.",
						   violation->command,
						   violation->tenant != NULL ? violation->tenant : "(none)",
						   violation->object != NULL ? violation->object : "(none)",
						   violation->foreign_tenant),
			 errhidestmt(true)));
}

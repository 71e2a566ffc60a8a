/*
 * listen.c
 *		Who may LISTEN to channel "meter".
 *
 * What is sent there tells about all tenants, as the tables do from which it
 * comes, so the same privilege is asked for.  PostgreSQL itself has none for
 * channels.
 */
#include "postgres.h"

#include "commands/extension.h"
#include "miscadmin.h"

#include "listen.h"
#include "row_security.h"

#define CHANNEL "meter"

void
listen_check(const ListenStmt *listen)
{
	if (strcmp(listen->conditionname, CHANNEL) != 0 ||
		!OidIsValid(get_extension_oid("meter", true)) ||
		row_security_sees_all(GetUserId()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to listen to channel \"%s\"", CHANNEL),
			 errdetail("What is sent there tells about all tenants."),
			 errhint("It is allowed to roles that may execute meter.sees_all_tenants(), as those in the sets analyst and admin of meter_grant().")));
}

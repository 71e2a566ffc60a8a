/*
 * tenant.h
 *		What limits need to know of a tenant.
 */
#ifndef METER_TENANT_H
#define METER_TENANT_H

#include "account.h"
#include "fmgr.h"
#include "shared.h"

typedef struct TenantFacts
{
	uint32		plan;			/* hash of its name, or 0 */
	bool		default_plan;	/* it has none of its own */
	bool		own_rules;
	uint32		day_end;		/* minutes since 2000-01-01 UTC */
	uint32		month_end;
	int16		utc_offset;		/* minutes */

	/* for who would keep them: what they are from, and whether he may */
	bool		lasting;
	uint32		generation;
	uint64		changes;
	uint32		stamp;			/* 0: not kept */
} TenantFacts;

extern void tenant_init(void);

/* Before anything is asked of tenants, and when their relations may be others. */
extern void tenant_listen(SharedDatabase *database);

/* Not while a lock is held. */
extern void tenant_read(SharedDatabase *database, text *tenant,
						TenantFacts *facts);

/*
 * Keep them in the tenant's account, unless they may be older than its row;
 * and get them from there.  With the lock of its partition.
 */
extern void tenant_keep(SharedDatabase *database, Account *account,
						TenantFacts *facts);
extern bool tenant_kept(SharedDatabase *database, const Account *account,
						TenantFacts *facts);

/* Without a lock: from the account, or else from the tables. */
extern void tenant_look(SharedDatabase *database, text *tenant, uint32 hash,
						TenantFacts *facts);

/* Minutes since 2000-01-01 UTC, rounded down. */
static inline uint32
tenant_minutes(TimestampTz at)
{
	return at <= 0 ? 0 : (uint32) (at / USECS_PER_MINUTE);
}

#endif							/* METER_TENANT_H */

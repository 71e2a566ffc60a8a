/*
 * quota.h
 *		What was used of a calendar window before it was counted in memory.
 */
#ifndef METER_QUOTA_H
#define METER_QUOTA_H

#include "core/bucket.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "rule.h"

/* What a rule's window is to be started from. */
typedef struct QuotaSeed
{
	int32		rule;			/* its id, 0: none wanted yet */
	const Rule *what;			/* valid until the rules are read again, */
	const RuleSet *among;		/* as are those of the tenant */
	TimestampTz window_end;
	bool		found;
	bool		locked;			/* others wait for us to find it */
	uint32		hash;			/* of whose it is, for the lock */
	BucketAmount used;
} QuotaSeed;

/* Ask for a rule's, under any lock; then read it, without one. */
extern void quota_want(QuotaSeed *seed, const Rule *rule, const RuleSet *among,
					   TimestampTz window_end, uint32 tenant, text *user);
extern void quota_read(QuotaSeed *seed, text *tenant, text *user);
extern void quota_unlock(QuotaSeed *seed);

/*
 * Resources by which all windows of a tenant can be looked at, as texts: their
 * patterns.  A pattern is the resource for which no other one is more specific.
 */
extern List *quota_resources(text *tenant);

#endif							/* METER_QUOTA_H */

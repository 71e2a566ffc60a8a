/*
 * limit.h
 *		Deciding whether a call may go through.
 */
#ifndef METER_LIMIT_H
#define METER_LIMIT_H

#include "core/bucket.h"
#include "datatype/timestamp.h"
#include "rule.h"

/* In bytes: a resource is a route or a service, no document. */
#define LIMIT_MAX_RESOURCE 2048

typedef enum LimitAction
{
	LIMIT_TAKE,
	LIMIT_LOOK,					/* would a call be let through? */
	/* those below are of limits alone, whatever budgets refuse */
	LIMIT_STATUS,				/* how much is taken of what holds? */
	LIMIT_GIVE					/* a call was not made after all */
} LimitAction;

typedef struct LimitCall
{
	LimitAction action;
	text	   *tenant;
	text	   *resource;
	text	   *user;			/* or NULL */
	BucketAmount cost;
	uint32		hash;			/* of the tenant, by limit_begin() */
} LimitCall;

/* In the order of limit_reasons. */
typedef enum LimitReason
{
	LIMIT_OK,
	LIMIT_NO_RULE,
	LIMIT_RATE,
	LIMIT_QUOTA,
	LIMIT_TOO_COSTLY,
	LIMIT_FULL,
	LIMIT_BUDGET
} LimitReason;

extern const char *const limit_reasons[];

/* A rule that held for the call, and its bucket afterwards. */
typedef struct LimitHit
{
	const Rule *rule;
	Bucket		bucket;
	BucketAmount amount;		/* that the call takes */
	bool		admitted;
} LimitHit;

typedef struct LimitResult
{
	bool		allowed;
	LimitReason reason;
	int64		clock;			/* account_clock() */
	TimestampTz now;			/* by the calendar, if there are windows */
	TimestampTz blocked_until;	/* of LIMIT_BUDGET */
	int			n;
	LimitHit	hits[RULE_MAX_MATCHES];
	const RuleMatch *match;		/* all rules for the resource, also those for
								 * users; NULL if there was no room */
} LimitResult;

/*
 * With the tenant alone, at the very beginning: memory that limit_run() will
 * read is on its way while the rest of the call is looked at.
 */
extern void limit_begin(LimitCall *call);

extern void limit_run(const LimitCall *call, LimitResult *result);

/* The level that the use of a quota has reached: 80, 90, 95 or 100 %, or 0. */
extern int	limit_warning(const Bucket *bucket, const BucketLimit *limit);

/*
 * The time when a wait is over: infinity if it never is, or after all that the
 * calendar knows.
 */
static inline TimestampTz
limit_time_after(TimestampTz now, int64 wait)
{
	return wait == BUCKET_NEVER || wait >= END_TIMESTAMP - now ? DT_NOEND : now + wait;
}

#endif							/* METER_LIMIT_H */

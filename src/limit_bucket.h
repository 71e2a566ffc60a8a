/*
 * limit_bucket.h
 *		The bucket of a rule in an account, as it is now.
 */
#ifndef METER_LIMIT_BUCKET_H
#define METER_LIMIT_BUCKET_H

#include "account.h"
#include "rule.h"
#include "tenant.h"

/* By account_clock() and by the calendar; NULL if there is no room for one. */
extern AccountBucket *limit_bucket(Account *account, const Rule *rule,
								   int64 clock, TimestampTz now,
								   const TenantFacts *facts);

/* For AccountBucket.full_at, after something was taken. */
extern uint32 limit_full_at(const AccountBucket *bucket, const Rule *rule,
							int64 clock, TimestampTz now);

#endif							/* METER_LIMIT_BUCKET_H */

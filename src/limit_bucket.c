/*
 * limit_bucket.c
 *		The bucket of a rule in an account, as it is now.
 *
 * All of it is done under the lock of the account's partition.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "core/hot.h"
#include "limit_bucket.h"

static int64
window_end_of(RulePer per, TimestampTz now, const TenantFacts *facts)
{
	int64		period = rule_periods[per];
	int64		offset = facts->utc_offset * USECS_PER_MINUTE;
	int64		local = now + offset;
	int64		start;

	if (per == RULE_DAY)
		return facts->day_end * USECS_PER_MINUTE;
	if (per == RULE_MONTH)
		return facts->month_end * USECS_PER_MINUTE;
	start = local / period * period;
	if (start > local)
		start -= period;		/* before 2000 */
	return start + period - offset;
}

/*
 * The rule is of another kind or for another time than when the bucket was
 * last used: what was used stays, as far as it can be told.
 */
static void
convert_bucket(AccountBucket *bucket, const Rule *rule, int64 clock,
			   int64 window_end)
{
	Bucket	   *b = &bucket->bucket;

	if (!bucket->window && !rule->limit.window)
	{
		bucket_change_period(b, rule_periods[Min(bucket->per, RULE_MONTH)],
							 rule->limit.period);
		if (bucket->full_at <= clock / USECS_PER_SEC)
			b->level = 0;
	}
	else
	{
		BucketLimit before = {0};
		BucketAmount used = 0;

		/* unless that is over, or in a window that has begun before this one */
		before.unlimited = true;
		before.period = rule_periods[Min(bucket->per, RULE_MONTH)];
		before.window = bucket->window;
		if (bucket->full_at > clock / USECS_PER_SEC &&
			!(bucket->window && rule->limit.window && rule->per < bucket->per))
			used = bucket_used(b, &before);

		b->time = rule->limit.window ? window_end : clock;
		bucket_set_used(b, &rule->limit, used);
		bucket->seeded = bucket->reset = false; /* the log knows better */
	}
	bucket->per = rule->per;
	bucket->window = rule->limit.window;
}

/*
 * From when on the bucket is as good as none, rounded up to seconds.  Of an
 * unlimited one it does not matter what it has.
 */
HOT_PATH uint32
limit_full_at(const AccountBucket *bucket, const Rule *rule, int64 clock,
			  TimestampTz now)
{
	int64		seconds;

	if (rule->limit.window)
	{
		/* what says nothing can be started from the log again */
		if (bucket->bucket.level == 0 && !bucket->reset)
			return 0;
		seconds = (bucket->bucket.time - now) / USECS_PER_SEC;
	}
	else if (bucket->bucket.level == 0 || rule->unlimited)
		return 0;
	else
		seconds = bucket_refill_seconds(&bucket->bucket, &rule->limit);
	seconds += clock / USECS_PER_SEC + 2;
	return (uint32) Min(Max(seconds, 0), ACCOUNT_NEVER);
}

/*
 * A window that ends later than any could is of a time when the clock was
 * wrong.  Less is left to be, as a clock that goes to and fro must not begin
 * windows anew.
 */
static int64
latest_end(const Rule *rule, int64 window_end)
{
	return window_end + (rule->per == RULE_MONTH ? 31 : 1) * USECS_PER_DAY +
		2 * USECS_PER_HOUR;
}

/*
 * The bucket of a rule, up to date; NULL if there is no room for one.
 */
HOT_PATH AccountBucket *
limit_bucket(Account *account, const Rule *rule, int64 clock,
			 TimestampTz now, const TenantFacts *facts)
{
	AccountBucket *bucket = account_bucket(account_table, account, rule->id);
	int64		window_end = 0;
	int64		before;

	if (rule->limit.window)
		window_end = window_end_of(rule->per, now, facts);
	if (bucket == NULL)
	{
		bucket = account_make_bucket(account, rule->id);
		if (bucket == NULL)
			return NULL;
		bucket->per = rule->per;
		bucket->window = rule->limit.window;
		bucket->bucket.time = rule->limit.window ? window_end : clock;
	}
	else if (bucket->per != rule->per || bucket->window != rule->limit.window)
		convert_bucket(bucket, rule, clock, window_end);

	if (rule->limit.window && bucket->bucket.time > latest_end(rule, window_end))
		bucket->bucket.time = window_end;
	before = bucket->bucket.time;
	bucket_advance(&bucket->bucket, &rule->limit,
				   rule->limit.window ? now : clock, window_end);

	/* nothing can have been used of a window that has just begun */
	if (rule->limit.window && bucket->bucket.time != before)
	{
		bucket->seeded = true;
		bucket->reset = false;
	}
	return bucket;
}

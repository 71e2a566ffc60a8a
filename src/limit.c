/*
 * limit.c
 *		Deciding whether a call may go through.
 *
 * A call is decided under the locks of its tenant's account and, for rules by
 * user, its user's: all buckets of rules that hold for it are there, so that
 * all of them are charged or none.  Nothing that can fail, wait or read a table
 * is done meanwhile.  If something has to be found out
 * first, as of a tenant that is seen for the first time, the lock is given
 * back, it is found out, and the decision is tried again.
 *
 * What was decided stays whatever becomes of the caller's transaction, as the
 * call that it was about was let through.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "account.h"
#include "budget.h"
#include "clock.h"
#include "core/hot.h"
#include "limit.h"
#include "limit_bucket.h"
#include "plain.h"
#include "quota.h"
#include "setting.h"
#include "tenant.h"

/* after all others */
#include "server.h"

/* So many times the table is searched for room. */
#define MAX_EVICTIONS 3

/* Of a tenant's facts, in a call: a day may end while it is decided. */
#define MAX_READS 3

/*
 * So many times the rules are looked at for a change, in a call: no more where
 * a server is made to forget them all the time.
 */
#define MAX_ROUNDS 20

/* In minutes, with a change of the clock in autumn and then some. */
#define LONGEST_DAY (26 * 60)

const char *const limit_reasons[] = {
	[LIMIT_OK] = "ok",
	[LIMIT_NO_RULE] = "no_rule",
	[LIMIT_RATE] = "rate",
	[LIMIT_QUOTA] = "quota",
	[LIMIT_TOO_COSTLY] = "too_costly",
	[LIMIT_FULL] = "full",
	[LIMIT_BUDGET] = "budget",
};

/* What a try has come to. */
typedef enum Outcome
{
	DECIDED,
	NEEDS_FACTS,
	NEEDS_RULES,
	NEEDS_MATCH,
	NEEDS_SEED,
	NEEDS_USER,
	NEEDS_ROOM
} Outcome;

/* A decision in the making: what was found out for it. */
typedef struct Decision
{
	const LimitCall *call;
	SharedDatabase *database;
	AccountKey	key;			/* of the tenant */
	uint32		user_hash;
	bool		has_user_hash;
	bool		user_locked;	/* the lock of the user's account is held, too */
	bool		lock_user;		/* and is to be from the beginning */
	const char *resource;
	int			resource_length;
	TenantFacts facts;
	bool		has_facts;
	int			reads;			/* of the facts */
	int			evictions;		/* to make room */
	bool		no_room;		/* do without the buckets that are not there */
	const RuleSet *own;			/* rules of a tenant that cannot be remembered */
	RuleMatch  *own_match;
	const RuleSet *set;
	QuotaSeed	seed;
} Decision;

static SharedDatabase *
find_database(void)
{
	SharedDatabase *database = shared_database(true);

	if (unlikely(database == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases use meter"),
				 errdetail("There is shared memory for %d.", setting_max_databases),
				 errhint("Increase meter.max_databases and restart the server.")));
	return database;
}

/* --- one try ------------------------------------------------------------ */

static BucketAmount
amount_of(const LimitCall *call, const Rule *rule)
{
	if (!rule->cost)
		return BUCKET_UNIT;

	/* who looks wants to know whether there is anything left */
	return call->action == LIMIT_LOOK ? 1 : call->cost;
}

static bool
look_at_all(BucketUse *uses, int n)
{
	bool		allowed = true;

	for (int i = 0; i < n; i++)
	{
		uses[i].admitted = bucket_admits(uses[i].bucket, uses[i].limit, uses[i].amount);
		if (!uses[i].admitted && !uses[i].shadow)
			allowed = false;
	}
	return allowed;
}

/*
 * A refused call counts for the rules that have refused it, one that was let
 * through for all, and for shadows as they would have had it.
 */
HOT_PATH static void
count(AccountBucket **buckets, const BucketUse *uses, int n, bool allowed)
{
	for (int i = 0; i < n; i++)
	{
		if (uses[i].admitted)
			buckets[i]->allowed += allowed;
		else if (allowed || !uses[i].shadow)
			buckets[i]->refused++;
	}
}

HOT_PATH static void
act(const LimitCall *call, AccountBucket **buckets, BucketUse *uses, int n,
	LimitResult *result)
{
	switch (call->action)
	{
		case LIMIT_TAKE:
			result->allowed = bucket_take_all(uses, n);
			count(buckets, uses, n, result->allowed);
			break;
		case LIMIT_LOOK:
		case LIMIT_STATUS:
			result->allowed = look_at_all(uses, n);
			break;
		case LIMIT_GIVE:
			for (int i = 0; i < n; i++)
			{
				bucket_give(uses[i].bucket, uses[i].limit, uses[i].amount);
				uses[i].admitted = true;
			}
			result->allowed = true;
			break;
	}
	for (int i = 0; i < n; i++)
	{
		LimitHit   *hit = &result->hits[i];

		buckets[i]->full_at = limit_full_at(buckets[i], hit->rule, result->clock,
											result->now);
		hit->bucket = buckets[i]->bucket;
		hit->amount = uses[i].amount;
		hit->admitted = uses[i].admitted;
	}
	result->n = n;
	result->reason = n == 0 ? LIMIT_NO_RULE : LIMIT_OK;
	account_note_change();
}

/*
 * Only tried, as the tenant's lock is held: if somebody has it, both are taken
 * at the next try.
 */
HOT_PATH static bool
lock_user(Decision *decision)
{
	text	   *user = decision->call->user;

	if (!decision->has_user_hash)
		decision->user_hash =
			account_user_hash(account_hash(plain_data(user), plain_length(user)),
							  decision->key.hash);
	decision->has_user_hash = true;
	account_prefetch(account_table, decision->user_hash);
	if (!decision->user_locked)
		decision->user_locked = account_lock_also(decision->key.hash, decision->user_hash);
	return decision->user_locked;
}

/*
 * The account of the call's user; NULL if there is none, and no room for one or
 * it is not to be made.
 */
HOT_PATH static Account *
user_account(Decision *decision, Account *tenant, bool make)
{
	text	   *user = decision->call->user;
	AccountKey	key = decision->key;
	Account    *account;

	key.tenant = account_number(account_table, tenant);
	key.name = plain_data(user);
	key.length = plain_length(user);
	key.hash = decision->user_hash;
	account = account_find(account_table, &key);
	return account != NULL || !make ? account : account_make(&key);
}

/*
 * The rules, with the partition's lock: only those that are known already.
 */
HOT_PATH static Outcome
find_rules(Decision *decision, const TenantFacts *facts,
		   const RuleMatch **match)
{
	uint32		plan = facts->default_plan ? rule_default_plan() : facts->plan;

	if (unlikely(facts->own_rules && facts->stamp == 0))
	{
		decision->set = decision->own;
		*match = decision->own_match;
		return *match == NULL ? NEEDS_RULES : DECIDED;
	}
	decision->set = facts->own_rules ?
		rule_tenant_set(decision->key.hash, facts->stamp, plan) :
		rule_plan_set(plan);
	if (unlikely(decision->set == NULL))
	{
		decision->facts = *facts;
		return NEEDS_RULES;
	}
	*match = rule_known_match(decision->set, decision->resource,
							  decision->resource_length);
	return *match == NULL ? NEEDS_MATCH : DECIDED;
}

/*
 * Has what was used of a window before its bucket was made been added?  If not
 * and it was found out, add it.
 */
HOT_PATH static bool
is_seeded(Decision *decision, AccountBucket *bucket, const Rule *rule)
{
	QuotaSeed  *seed = &decision->seed;

	if (bucket->seeded || !rule->limit.window || rule->unlimited)
		return true;
	if (seed->found && seed->rule == rule->id &&
		seed->window_end == bucket->bucket.time)
	{
		if (bucket_used(&bucket->bucket, &rule->limit) < seed->used)
			bucket_set_used(&bucket->bucket, &rule->limit, seed->used);
		bucket->seeded = true;
		return true;
	}
	quota_want(seed, rule, decision->set, bucket->bucket.time, decision->key.hash,
			   decision->call->user);
	return false;
}

/*
 * Give back the buckets of rules that are not the tenant's any more.  Those of
 * another plan only once they are full: who changes to and fro between plans
 * finds what he has taken.
 */
COLD_PATH static void
drop_buckets(const RuleSet *set, Account *account, int64 clock)
{
	uint32		now = (uint32) (clock / USECS_PER_SEC);
	AccountBucket *bucket = NULL;

	while ((bucket = account_next_bucket(account_table, account, bucket)) != NULL)
		if (rule_find(set, bucket->rule) == NULL &&
			(bucket->full_at <= now || !rule_is_of_plan(bucket->rule)))
			bucket->rule = 0;
}

HOT_PATH static Outcome
decide_locked(Decision *decision, LimitResult *result)
{
	const LimitCall *call = decision->call;
	const RuleMatch *match = NULL;
	TenantFacts kept;
	TenantFacts *facts = &decision->facts;
	Account    *tenant = account_find(account_table, &decision->key);
	Account    *user = NULL;
	AccountBucket *buckets[RULE_MAX_MATCHES];
	BucketUse	uses[RULE_MAX_MATCHES];
	Outcome		outcome;
	bool		missing = false;
	bool		refused = false;	/* by the tenant's rules */
	int			n = 0;

	if (unlikely(decision->has_facts))
	{
		if (tenant == NULL)
			tenant = account_make(&decision->key);
		if (tenant == NULL)
			return NEEDS_ROOM;
		tenant_keep(decision->database, tenant, facts);
	}
	else
	{
		if (unlikely(tenant == NULL || !tenant_kept(decision->database, tenant, &kept)))
			return NEEDS_FACTS;
		facts = &kept;
	}
	outcome = find_rules(decision, facts, &match);
	if (unlikely(outcome != DECIDED))
		return outcome;
	if (unlikely(decision->has_facts) && facts->lasting && decision->own_match == NULL)
		drop_buckets(decision->set, tenant, result->clock);

	result->now = 0;
	result->match = match;
	if (match->windows)
	{
		uint32		minutes;

		result->now = clock_now();
		minutes = tenant_minutes(result->now);
		if (decision->reads < MAX_READS &&
			(minutes >= facts->day_end || facts->day_end - minutes > LONGEST_DAY))
			return NEEDS_FACTS;
	}
	for (int i = 0; i < match->n; i++)
	{
		const Rule *rule = match->rules[i];
		Account    *account = tenant;
		AccountBucket *bucket = NULL;

		if (i == match->n_tenant)
		{
			if (call->user == NULL)
				break;
			if (!lock_user(decision))
				return NEEDS_USER;

			/*
			 * Nothing is made for a user whose call is refused anyway.  But
			 * he may have to wait for longer by what there is.
			 */
			refused = call->action == LIMIT_TAKE && !look_at_all(uses, n);
			user = user_account(decision, tenant, !refused);
			if (refused && user == NULL)
				break;
		}
		if (i >= match->n_tenant)
			account = user;
		if (unlikely(refused) && account_bucket(account_table, account, rule->id) == NULL)
			continue;
		if (likely(account != NULL))
			bucket = limit_bucket(account, rule, result->clock, result->now,
								  facts);
		if (unlikely(bucket == NULL))
		{
			if (!decision->no_room)
				return NEEDS_ROOM;
			missing = true;
			continue;
		}
		if (unlikely(!is_seeded(decision, bucket, rule)))
			return NEEDS_SEED;
		buckets[n] = bucket;
		uses[n].bucket = &bucket->bucket;
		uses[n].limit = &rule->limit;
		uses[n].amount = amount_of(call, rule);
		uses[n].shadow = rule->mode == RULE_SHADOW;
		result->hits[n++].rule = rule;
	}
	if (unlikely(missing) && setting_on_full == ON_FULL_DENY && call->action != LIMIT_GIVE)
		return NEEDS_ROOM;
	act(call, buckets, uses, n, result);
	if (unlikely(missing) && result->allowed)
		result->reason = LIMIT_FULL;
	return DECIDED;
}

/* --- the whole ---------------------------------------------------------- */

/*
 * There is no room to count a call by all its rules, and nothing that could go
 * for it.
 */
COLD_PATH static void
report_full(bool allowed)
{
	pg_atomic_fetch_add_u64(allowed ? &account_shared->unmetered :
							&account_shared->unroomed, 1);
	if (pg_atomic_exchange_u32(&account_shared->reported, 1) == 0)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("there is no room to count the calls of more tenants and users"),
				 errdetail("Their calls are %s, as meter.on_full says.",
						   allowed ? "let through" : "refused"),
				 errhint("Increase meter.limit_memory and restart the server. This is said once; meter.limit_stats counts the calls.")));
}

/*
 * What a budget refuses takes nothing.
 */
static bool
refuse_by_budget(const LimitCall *call, LimitResult *result)
{
	result->blocked_until = budget_blocked_until(call->tenant, call->resource);
	if (result->blocked_until == 0)
		return false;
	result->n = 0;
	result->match = NULL;
	result->reason = LIMIT_BUDGET;
	result->allowed = false;
	return true;
}

COLD_PATH static void
decide_full(LimitResult *result)
{
	result->n = 0;
	result->match = NULL;
	result->reason = LIMIT_FULL;
	result->allowed = setting_on_full == ON_FULL_ALLOW;
}

COLD_PATH static void
read_own_rules(Decision *decision)
{
	TenantFacts *facts = &decision->facts;
	const RuleSet *set;

	set = rule_read_tenant_set(decision->key.name, decision->key.length,
							   facts->default_plan ? rule_default_plan() : facts->plan,
							   decision->key.hash, facts->stamp);
	if (facts->stamp != 0)
		return;
	decision->own = set;
	decision->own_match = palloc(sizeof(RuleMatch));
	rule_find_match(set, decision->resource, decision->resource_length,
					decision->own_match);
}

/*
 * Find out what a try has lacked.  False if it is room, and there will be none.
 */
COLD_PATH static bool
find_out(Decision *decision, Outcome outcome)
{
	const LimitCall *call = decision->call;

	CHECK_FOR_INTERRUPTS();
	switch (outcome)
	{
		case DECIDED:
			break;
		case NEEDS_FACTS:
			tenant_read(decision->database, call->tenant, &decision->facts);
			decision->has_facts = true;
			decision->reads++;
			decision->own_match = NULL;
			break;
		case NEEDS_RULES:
			read_own_rules(decision);
			break;
		case NEEDS_MATCH:
			rule_remember_match(decision->set, decision->resource,
								decision->resource_length);
			break;
		case NEEDS_SEED:
			quota_read(&decision->seed, call->tenant, call->user);
			break;
		case NEEDS_USER:
			decision->lock_user = true;
			break;
		case NEEDS_ROOM:
			if (decision->no_room)
				return false;
			if (decision->evictions++ == MAX_EVICTIONS || !account_evict())
				decision->no_room = true;
			break;
	}
	return true;
}

/*
 * Try once, with the locks that it takes.
 */
HOT_PATH static Outcome
decide(Decision *decision, LimitResult *result)
{
	Outcome		outcome;

	result->clock = account_clock();
	account_prefetch_rest(account_table, decision->key.hash);
	decision->user_locked = decision->lock_user;
	if (decision->lock_user)
		account_lock_both(decision->key.hash, decision->user_hash);
	else
		account_lock(decision->key.hash, LW_EXCLUSIVE);
	outcome = decide_locked(decision, result);
	if (decision->user_locked)
		account_unlock_both(decision->key.hash, decision->user_hash);
	else
		account_unlock(decision->key.hash);
	return outcome;
}

/*
 * Why a call was refused, by the rule that refuses it for longest.
 */
COLD_PATH static LimitReason
reason_of(const LimitResult *result)
{
	LimitReason reason = LIMIT_OK;

	for (int i = 0; i < result->n; i++)
	{
		const LimitHit *hit = &result->hits[i];

		if (hit->admitted || hit->rule->mode == RULE_SHADOW)
			continue;
		if (hit->amount > hit->rule->limit.capacity)
			return LIMIT_TOO_COSTLY;
		if (hit->rule->limit.window)
			reason = LIMIT_QUOTA;
		else if (reason == LIMIT_OK)
			reason = LIMIT_RATE;
	}
	return reason;
}

HOT_PATH void
limit_begin(LimitCall *call)
{
	if (account_table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("limits need shared memory, which meter has only if it is preloaded"),
				 errhint("Add meter to \"shared_preload_libraries\" and restart the server.")));
	call->hash = account_hash(plain_data(call->tenant), plain_length(call->tenant));
	account_prefetch(account_table, call->hash);
}

HOT_PATH void
limit_run(const LimitCall *call, LimitResult *result)
{
	Decision	decision;
	Outcome		outcome;
	int			rounds = 0;

	decision.call = call;
	decision.database = find_database();
	decision.key.hash = call->hash;
	decision.key.database = MyDatabaseId;
	decision.key.tenant = 0;
	decision.key.name = plain_data(call->tenant);
	decision.key.length = plain_length(call->tenant);
	decision.resource = plain_data(call->resource);
	decision.resource_length = (int) plain_length(call->resource);
	decision.has_user_hash = decision.lock_user = false;
	decision.has_facts = false;
	decision.reads = 0;
	decision.evictions = 0;
	decision.no_room = false;
	decision.own = NULL;
	decision.own_match = NULL;
	decision.set = NULL;
	decision.seed.rule = 0;
	decision.seed.found = decision.seed.locked = false;

	for (;;)
	{
		if (rounds++ < MAX_ROUNDS && rule_refresh())
			decision.own_match = NULL;
		if (rounds == 1 && call->action <= LIMIT_LOOK && refuse_by_budget(call, result))
			return;
		outcome = decide(&decision, result);
		if (likely(outcome == DECIDED))
			break;
		if (!find_out(&decision, outcome))
		{
			decide_full(result);
			break;
		}
	}
	if (unlikely(decision.seed.locked))
		quota_unlock(&decision.seed);
	if (unlikely(result->reason == LIMIT_FULL))
	{
		/* who looks or gives back takes nothing that had to be counted */
		if (call->action == LIMIT_TAKE)
			report_full(result->allowed);
	}
	else if (!result->allowed)
		result->reason = reason_of(result);
}

int
limit_warning(const Bucket *bucket, const BucketLimit *limit)
{
	static const int levels[] = {100, 95, 90, 80};
	BucketAmount used = bucket_used(bucket, limit);

	for (int i = 0; i < lengthof(levels); i++)
		if (used * 100 >= limit->capacity * levels[i])
			return levels[i];
	return 0;
}

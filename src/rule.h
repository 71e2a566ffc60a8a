/*
 * rule.h
 *		The rules of meter.rate_limit, as this process knows them.
 */
#ifndef METER_RULE_H
#define METER_RULE_H

#include "core/bucket.h"
#include "utils/guc.h"

/* In the order of the check on meter.rate_limit.per. */
typedef enum RulePer
{
	RULE_SECOND,
	RULE_MINUTE,
	RULE_HOUR,
	RULE_DAY,
	RULE_MONTH
} RulePer;

#define RULE_PERS 5

/* Whose the rule is: of two that are alike otherwise, the later one counts. */
typedef enum RuleOrigin
{
	RULE_BASE,
	RULE_PLAN,
	RULE_TENANT
} RuleOrigin;

typedef enum RuleMode
{
	RULE_ENFORCE,
	RULE_SOFT,					/* admits beyond the limit, with a warning */
	RULE_SHADOW
} RuleMode;

#define RULE_MODES 3

typedef struct Rule
{
	int32		id;
	BucketLimit limit;			/* of a soft one, unlimited */
	bool		unlimited;
	bool		cost;			/* counts cost, no requests */
	bool		per_user;
	RulePer		per;
	RuleMode	mode;
	RuleOrigin	origin;
	int			specificity;
	const char *pattern;
	const char *name;
	const char *metric;
	int64		since;			/* it is what it is, us since 2000-01-01 UTC */
} Rule;

/* One for each unit, period and per_user. */
#define RULE_MAX_MATCHES (2 * RULE_PERS * 2)

/* The rules that hold for a resource: first the tenant's, then its user's. */
typedef struct RuleMatch
{
	int			n;
	int			n_tenant;
	bool		windows;		/* any that the calendar ends */
	const Rule *rules[RULE_MAX_MATCHES];
} RuleMatch;

/* The rules that can hold for a tenant. */
typedef struct RuleSet
{
	uint32		plan;			/* hash of the plan's name, or 0 */
	int			n;
	Rule	   *rules;
	RuleMatch	all;			/* for resource *, which most calls are about */
} RuleSet;

extern const char *const rule_per_names[RULE_PERS];
extern const char *const rule_mode_names[RULE_MODES];
extern const int64 rule_periods[RULE_PERS];

extern void rule_init(void);
extern void rule_assign_default_plan(const char *newval, void *extra);
extern uint32 rule_default_plan(void);
extern uint32 rule_plan_hash(const char *plan, int length);

/*
 * Have the rules as they are now.  True if they were read: then what was got
 * before is not valid any more.  Not while a lock is held.
 */
extern bool rule_refresh(void);

/*
 * The rules of a plan, or those for all if there is no such plan; never NULL.
 */
extern const RuleSet *rule_plan_set(uint32 plan);

/*
 * Rules of a tenant that has some of its own.  The stamp is that of what is
 * known of the tenant, not 0; rule_tenant_set() gives NULL if none with it was
 * read.
 */
extern const RuleSet *rule_tenant_set(uint32 hash, uint32 stamp, uint32 plan);
extern const RuleSet *rule_read_tenant_set(const char *tenant, int length,
										   uint32 plan, uint32 hash,
										   uint32 stamp);

/*
 * The rules of a set for a resource.  Of a set that lasts as long as the rules
 * they are remembered for a while; rule_known_match() allocates nothing, and
 * gives NULL if they are not.
 */
extern const RuleMatch *rule_known_match(const RuleSet *set,
										 const char *resource, int length);
extern void rule_remember_match(const RuleSet *set, const char *resource,
								int length);
extern void rule_find_match(const RuleSet *set, const char *resource,
							int length, RuleMatch *match);

/*
 * Is it the first rule that counts, and not the second one, where the patterns
 * of both hold?
 */
extern bool rule_takes_from(const Rule *a, const Rule *b);

/* Of a set that will be gone, or with NULL of all. */
extern void rule_forget_matches(const RuleSet *set);

/* Is it a rule of a plan, or for all? */
extern bool rule_is_of_plan(int32 id);

/* A rule of the set by its id, or NULL. */
extern const Rule *rule_find(const RuleSet *set, int32 id);

#endif							/* METER_RULE_H */

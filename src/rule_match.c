/*
 * rule_match.c
 *		Which rules of a set hold for a resource.
 *
 * It is found by comparing the resource with the patterns, and remembered for
 * the resources that were asked for last.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/hot.h"
#include "core/pattern.h"
#include "rule.h"

/* A power of two. */
#define REMEMBERED_MATCHES 256

typedef struct RememberedMatch
{
	const RuleSet *set;
	uint32		hash;
	int			length;
	char	   *resource;
	RuleMatch	match;
} RememberedMatch;

static RememberedMatch matches[REMEMBERED_MATCHES];

static RememberedMatch *
remembered(const RuleSet *set, const char *resource, int length, uint32 *hash)
{
	*hash = hash_bytes((const unsigned char *) resource, length) ^
		(uint32) ((uintptr_t) set >> 4);
	return &matches[*hash % REMEMBERED_MATCHES];
}

static bool
is_any(const char *resource, int length)
{
	return length == 1 && *resource == '*';
}

HOT_PATH const RuleMatch *
rule_known_match(const RuleSet *set, const char *resource, int length)
{
	uint32		hash;
	RememberedMatch *place;

	if (is_any(resource, length))
		return &set->all;
	place = remembered(set, resource, length, &hash);
	if (place->set == set && place->hash == hash && place->length == length &&
		memcmp(place->resource, resource, length) == 0)
		return &place->match;
	return NULL;
}

/*
 * Of two rules that would limit the same thing, is the first one the one that
 * counts?  The more specific pattern wins; of the same pattern that of the
 * tenant before that of the plan before that for all.
 */
static bool
goes_first(const Rule *a, const Rule *b)
{
	if (a->specificity != b->specificity)
		return a->specificity > b->specificity;
	if (a->origin != b->origin)
		return a->origin > b->origin;
	return strcmp(a->pattern, b->pattern) < 0;
}

bool
rule_takes_from(const Rule *a, const Rule *b)
{
	return a->cost == b->cost && a->per == b->per && a->per_user == b->per_user &&
		goes_first(a, b);
}

void
rule_find_match(const RuleSet *set, const char *resource, int length,
				RuleMatch *match)
{
	const Rule *best[2][RULE_PERS][2] = {{{NULL}}};

	for (int i = 0; i < set->n; i++)
	{
		const Rule *rule = &set->rules[i];
		const Rule **first = &best[rule->cost][rule->per][rule->per_user];

		if (pattern_match(rule->pattern, strlen(rule->pattern), resource, length) &&
			(*first == NULL || goes_first(rule, *first)))
			*first = rule;
	}

	memset(match, 0, sizeof(*match));
	for (int per_user = 0; per_user < 2; per_user++)
	{
		for (int cost = 0; cost < 2; cost++)
			for (int per = 0; per < RULE_PERS; per++)
			{
				const Rule *rule = best[cost][per][per_user];

				if (rule == NULL)
					continue;
				match->rules[match->n++] = rule;
				match->windows |= rule->limit.window;
			}
		if (per_user == 0)
			match->n_tenant = match->n;
	}
}

void
rule_remember_match(const RuleSet *set, const char *resource, int length)
{
	uint32		hash;
	RememberedMatch *place = remembered(set, resource, length, &hash);
	char	   *copy = MemoryContextAlloc(TopMemoryContext, Max(length, 1));

	memcpy(copy, resource, length);
	if (place->resource != NULL)
		pfree(place->resource);
	place->resource = copy;
	place->length = length;
	place->hash = hash;
	place->set = set;
	rule_find_match(set, resource, length, &place->match);
}

/*
 * The set will be gone, or with NULL all.
 */
void
rule_forget_matches(const RuleSet *set)
{
	for (int i = 0; i < REMEMBERED_MATCHES; i++)
		if (set == NULL || matches[i].set == set)
			matches[i].set = NULL;
}

/* --- usage -------------------------------------------------------------- */

/*
 * Is usage what a pattern is about?  Its service, endpoint and method, any of
 * which may be null, are the arguments after the first one.
 */
static bool
matches_usage(text *pattern, FunctionCallInfo fcinfo)
{
	const char *p = VARDATA_ANY(pattern);
	int			n = VARSIZE_ANY_EXHDR(pattern);
	StringInfoData both;

	if (is_any(p, n))
		return true;
	for (int i = 1; i <= 2; i++)
	{
		text	   *value;

		if (PG_ARGISNULL(i))
			continue;
		value = PG_GETARG_TEXT_PP(i);
		if (pattern_match(p, n, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)))
			return true;
	}
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
		return false;
	initStringInfo(&both);
	appendStringInfo(&both, "%s %s", text_to_cstring(PG_GETARG_TEXT_PP(3)),
					 text_to_cstring(PG_GETARG_TEXT_PP(2)));
	return pattern_match(p, n, both.data, both.len);
}

PG_FUNCTION_INFO_V1(meter_resource_matches);

Datum
meter_resource_matches(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_BOOL(matches_usage(PG_GETARG_TEXT_PP(0), fcinfo));
}

PG_FUNCTION_INFO_V1(meter_resource_matches_any);

Datum
meter_resource_matches_any(PG_FUNCTION_ARGS)
{
	Datum	   *patterns;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT,
					  &patterns, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i] && matches_usage(DatumGetTextPP(patterns[i]), fcinfo))
			PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(false);
}

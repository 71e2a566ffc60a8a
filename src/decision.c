/*
 * decision.c
 *		The functions that decide about a call, and what they answer.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "amount.h"
#include "context.h"
#include "core/hot.h"
#include "event.h"
#include "limit.h"
#include "plain.h"
#include "refuse.h"

/* after all others */
#include "server.h"

/* What PostgREST makes HTTP status 429 of. */
#define ERRCODE_TOO_MANY_REQUESTS MAKE_SQLSTATE('P', 'T', '4', '2', '9')

/* Attributes of meter.decision, in the order of decision.sql. */
enum
{
	DECISION_ALLOWED,
	DECISION_RULE,
	DECISION_LIMIT,
	DECISION_REMAINING,
	DECISION_RESET_AT,
	DECISION_RETRY_AFTER,
	DECISION_QUOTA_LIMIT,
	DECISION_QUOTA_REMAINING,
	DECISION_QUOTA_RESET,
	DECISION_REASON,
	DECISION_WARNING,
	DECISION_UNIT,
	DECISION_PERIOD,
	DECISION_QUOTA_RULE,
	DECISION_QUOTA_PERIOD,
	DECISION_ATTRIBUTES
};

/* --- arguments ---------------------------------------------------------- */

HOT_PATH static text *
name_arg(FunctionCallInfo fcinfo, int n, const char *what, int longest)
{
	text	   *name;
	int			length;

	if (unlikely(PG_ARGISNULL(n)))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
	name = (text *) plain_packed(PG_GETARG_DATUM(n));
	length = (int) plain_length(name);
	if (unlikely(length == 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", what)));
	if (unlikely(length > longest))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is too long", what),
				 errdetail("It has %d bytes, at most %d are allowed.", length, longest)));
	return name;
}

static void
cost_arg(FunctionCallInfo fcinfo, int n, BucketAmount *cost)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("cost must not be null"),
				 errhint("0 looks without taking anything.")));
	switch (amount_from_numeric((Numeric) plain_aligned(PG_GETARG_DATUM(n)), cost))
	{
		case AMOUNT_OK:
			break;
		case AMOUNT_NO_NUMBER:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("cost must be a finite number")));
			break;
		case AMOUNT_NEGATIVE:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("cost must not be negative"),
					 errhint("meter_refund() gives something back.")));
			break;
		case AMOUNT_TOO_LARGE:
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("cost is too large"),
					 errdetail("It must not be above " INT64_FORMAT ".", BUCKET_MAX_UNITS)));
			break;
	}
}

/*
 * The arguments that all of them have: tenant, resource, cost, user_id.
 */
HOT_PATH static void
call_from_args(LimitCall *call, FunctionCallInfo fcinfo)
{
	call->tenant = name_arg(fcinfo, 0, "tenant", EVENT_MAX_TENANT);
	limit_begin(call);
	context_check(call->tenant, fcinfo->flinfo->fn_oid);
	call->resource = name_arg(fcinfo, 1, "resource", LIMIT_MAX_RESOURCE);
	cost_arg(fcinfo, 2, &call->cost);
	call->user = PG_ARGISNULL(3) ? NULL : name_arg(fcinfo, 3, "user_id", EVENT_MAX_USER);
	call->action = call->cost == 0 ? LIMIT_LOOK : LIMIT_TAKE;
}

HOT_PATH static void
decide(FunctionCallInfo fcinfo, LimitCall *call, LimitResult *result)
{
	call_from_args(call, fcinfo);
	limit_run(call, result);
	if (!result->allowed && call->action == LIMIT_TAKE)
		refuse_track(call, result);
}

/* --- answers ------------------------------------------------------------ */

/*
 * How long until the call would be let through by all; BUCKET_NEVER if it
 * never will.  Of memory that is full nobody knows when there will be room; it
 * is looked through once a second, so that it is no use to come back earlier.
 */
static int64
retry_after(const LimitResult *result)
{
	int64		longest = 0;

	if (result->reason == LIMIT_FULL)
		return USECS_PER_SEC;
	if (result->reason == LIMIT_BUDGET)
		return Max(result->blocked_until - GetCurrentTimestamp(), USECS_PER_SEC);
	for (int i = 0; i < result->n; i++)
	{
		const LimitHit *hit = &result->hits[i];
		int64		wait;

		if (hit->admitted || hit->rule->mode == RULE_SHADOW)
			continue;
		wait = bucket_retry_after(&hit->bucket, &hit->rule->limit, hit->amount,
								  hit->rule->limit.window ? result->now : result->clock);
		if (wait == BUCKET_NEVER)
			return BUCKET_NEVER;
		longest = Max(longest, wait);
	}
	return longest;
}

/*
 * What is left, and of requests only whole ones: a part of one is no call.
 */
static BucketAmount
left(const LimitHit *hit)
{
	BucketAmount capacity = hit->rule->limit.capacity;
	BucketAmount used = bucket_used(&hit->bucket, &hit->rule->limit);
	BucketAmount rest = used < capacity ? capacity - used : 0;

	return hit->rule->cost ? rest : rest / BUCKET_UNIT * BUCKET_UNIT;
}

/*
 * Of two rules, has the first one less left, as a part of its capacity?  One
 * that refuses the call comes before all that do not.
 */
static bool
is_tighter(const LimitHit *a, const LimitHit *b)
{
	double		ca = (double) a->rule->limit.capacity;
	double		cb = (double) b->rule->limit.capacity;

	if (a->admitted != b->admitted)
		return !a->admitted;
	return (double) left(a) * cb < (double) left(b) * ca;
}

/*
 * The rule of a kind that is closest to its end, or NULL.
 */
HOT_PATH static const LimitHit *
tightest(const LimitResult *result, bool window)
{
	const LimitHit *found = NULL;

	for (int i = 0; i < result->n; i++)
	{
		const LimitHit *hit = &result->hits[i];

		if (hit->rule->limit.window == window && !hit->rule->unlimited &&
			hit->rule->mode != RULE_SHADOW &&
			(found == NULL || is_tighter(hit, found)))
			found = hit;
	}
	return found;
}

static Datum
period_of(const Rule *rule)
{
	Interval   *period = palloc0(sizeof(Interval));

	if (rule->per == RULE_MONTH && rule->limit.window)
		period->month = 1;
	else if (rule->per >= RULE_DAY)
		period->day = (int32) (rule->limit.period / USECS_PER_DAY);
	else
		period->time = rule->limit.period;
	return IntervalPGetDatum(period);
}

static TimestampTz
reset_at(const LimitHit *hit, const LimitResult *result)
{
	if (hit->rule->limit.window)
		return hit->bucket.time;
	return limit_time_after(GetCurrentTimestamp(),
							bucket_reset_after(&hit->bucket, &hit->rule->limit,
											   result->clock));
}

static void
set(Datum *values, bool *nulls, int attribute, Datum value)
{
	values[attribute] = value;
	nulls[attribute] = false;
}

HOT_PATH static Datum
form_decision(FunctionCallInfo fcinfo, const LimitResult *result)
{
	const LimitHit *rate = tightest(result, false);
	const LimitHit *quota = tightest(result, true);
	const LimitHit *shown = rate != NULL ? rate : quota;
	Datum		values[DECISION_ATTRIBUTES];
	bool		nulls[DECISION_ATTRIBUTES];
	TupleDesc	desc;
	int64		wait;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != DECISION_ATTRIBUTES)
		elog(ERROR, "unexpected type of a decision");
	memset(nulls, true, sizeof(nulls));
	set(values, nulls, DECISION_ALLOWED, BoolGetDatum(result->allowed));
	set(values, nulls, DECISION_REASON,
		CStringGetTextDatum(limit_reasons[result->reason]));

	if (shown != NULL)
	{
		set(values, nulls, DECISION_RULE, CStringGetTextDatum(shown->rule->name));
		set(values, nulls, DECISION_LIMIT,
			NumericGetDatum(amount_to_numeric(shown->rule->limit.capacity)));
		set(values, nulls, DECISION_REMAINING,
			NumericGetDatum(amount_to_numeric(left(shown))));
		set(values, nulls, DECISION_RESET_AT,
			TimestampTzGetDatum(reset_at(shown, result)));
		set(values, nulls, DECISION_UNIT,
			CStringGetTextDatum(shown->rule->cost ? "cost" : "requests"));
		set(values, nulls, DECISION_PERIOD, period_of(shown->rule));
	}
	if (quota != NULL)
	{
		int			warning = limit_warning(&quota->bucket, &quota->rule->limit);

		set(values, nulls, DECISION_QUOTA_LIMIT,
			NumericGetDatum(amount_to_numeric(quota->rule->limit.capacity)));
		set(values, nulls, DECISION_QUOTA_REMAINING,
			NumericGetDatum(amount_to_numeric(left(quota))));
		set(values, nulls, DECISION_QUOTA_RESET,
			TimestampTzGetDatum(quota->bucket.time));
		set(values, nulls, DECISION_QUOTA_RULE, CStringGetTextDatum(quota->rule->name));
		set(values, nulls, DECISION_QUOTA_PERIOD, period_of(quota->rule));
		if (warning > 0)
			set(values, nulls, DECISION_WARNING, Int32GetDatum(warning));
	}
	if (!result->allowed)
	{
		wait = retry_after(result);
		if (wait != BUCKET_NEVER)
		{
			Interval   *interval = palloc0(sizeof(Interval));

			interval->time = wait;
			set(values, nulls, DECISION_RETRY_AFTER, IntervalPGetDatum(interval));
		}
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* --- functions ---------------------------------------------------------- */

PG_FUNCTION_INFO_V1(meter_check);

HOT_PATH Datum
meter_check(PG_FUNCTION_ARGS)
{
	LimitCall	call;
	LimitResult result;

	decide(fcinfo, &call, &result);
	PG_RETURN_DATUM(form_decision(fcinfo, &result));
}

PG_FUNCTION_INFO_V1(meter_allow);

HOT_PATH Datum
meter_allow(PG_FUNCTION_ARGS)
{
	LimitCall	call;
	LimitResult result;

	decide(fcinfo, &call, &result);
	PG_RETURN_BOOL(result.allowed);
}

/*
 * What is to be read by the one who called, so without names of others.
 */
COLD_PATH static void
throw(const LimitCall *call, const LimitResult *result)
{
	const LimitHit *rate = tightest(result, false);
	const LimitHit *quota = tightest(result, true);
	const LimitHit *hit = quota != NULL && !quota->admitted ? quota : rate;
	int64		wait = retry_after(result);
	int64		seconds = Max(wait / USECS_PER_SEC + (wait % USECS_PER_SEC > 0), 1);
	char	   *tenant = text_to_cstring(call->tenant);

	ereport(ERROR,
			(errcode(ERRCODE_TOO_MANY_REQUESTS),
			 result->reason == LIMIT_FULL ?
			 errmsg("calls of \"%s\" cannot be counted now", tenant) :
			 result->reason == LIMIT_BUDGET ?
			 errmsg("budget exceeded for \"%s\"", tenant) :
			 hit != NULL && hit->rule->limit.window ?
			 errmsg("quota exceeded for \"%s\"", tenant) :
			 errmsg("rate limit exceeded for \"%s\"", tenant),
			 hit != NULL ? errdetail("The limit is \"%s\".", hit->rule->name) : 0,
			 wait == BUCKET_NEVER ?
			 errhint("This call will not be let through at any time.") :
			 errhint_plural("Retry after " INT64_FORMAT " second.",
							"Retry after " INT64_FORMAT " seconds.",
							(unsigned long) seconds, seconds)));
}

PG_FUNCTION_INFO_V1(meter_require);

HOT_PATH Datum
meter_require(PG_FUNCTION_ARGS)
{
	LimitCall	call;
	LimitResult result;

	decide(fcinfo, &call, &result);
	if (!result.allowed)
		throw(&call, &result);
	PG_RETURN_DATUM(form_decision(fcinfo, &result));
}

PG_FUNCTION_INFO_V1(meter_refund);

Datum
meter_refund(PG_FUNCTION_ARGS)
{
	LimitCall	call;
	LimitResult result;

	call_from_args(&call, fcinfo);

	/* who looked has taken nothing */
	if (call.action == LIMIT_TAKE)
		call.action = LIMIT_GIVE;
	limit_run(&call, &result);
	PG_RETURN_VOID();
}

/*
 * quota_status.c
 *		meter.quota_state(): a tenant's quotas, for meter_quota().
 *
 * Asks the limiter for each pattern of a calendar window, without taking: so
 * what it says is what the next call will meet that no budget refuses, also of
 * a window that has not been used yet, and takes time by the rules of one tenant, not by tenants.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "amount.h"
#include "context.h"
#include "event.h"
#include "limit.h"
#include "quota.h"

/* Columns of meter.quota_state(), in the order of quota_status.sql. */
#define QUOTA_COLUMNS 10

static void
return_quota(ReturnSetInfo *rsinfo, const LimitHit *hit)
{
	const Rule *rule = hit->rule;
	Datum		values[QUOTA_COLUMNS];
	bool		nulls[QUOTA_COLUMNS] = {false};
	int			warning = rule->unlimited ? 0 :
	limit_warning(&hit->bucket, &rule->limit);

	values[0] = CStringGetTextDatum(rule->name);
	values[1] = CStringGetTextDatum(rule->pattern);
	values[2] = CStringGetTextDatum(rule->cost ? "cost" : "requests");
	values[3] = CStringGetTextDatum(rule_per_names[rule->per]);
	values[4] = BoolGetDatum(rule->per_user);
	values[5] = CStringGetTextDatum(rule_mode_names[rule->mode]);
	nulls[6] = rule->unlimited;
	if (!nulls[6])
		values[6] = NumericGetDatum(amount_to_numeric(rule->limit.capacity));
	values[7] = NumericGetDatum(amount_to_numeric(bucket_used(&hit->bucket, &rule->limit)));
	values[8] = TimestampTzGetDatum(hit->bucket.time);
	nulls[9] = warning == 0;
	values[9] = Int32GetDatum(warning);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
check_name(text *name, const char *what, int max)
{
	if (VARSIZE_ANY_EXHDR(name) == 0 || VARSIZE_ANY_EXHDR(name) > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have 1 to %d bytes", what, max)));
}

PG_FUNCTION_INFO_V1(meter_quota_state);

Datum
meter_quota_state(PG_FUNCTION_ARGS)
{
	LimitCall	call = {LIMIT_STATUS};
	ListCell   *cell;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant must not be null")));
	call.tenant = PG_GETARG_TEXT_PP(0);
	context_check(call.tenant, fcinfo->flinfo->fn_oid);
	call.user = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	check_name(call.tenant, "tenant", EVENT_MAX_TENANT);
	if (call.user != NULL)
		check_name(call.user, "user_id", EVENT_MAX_USER);
	InitMaterializedSRF(fcinfo, 0);
	limit_begin(&call);
	foreach(cell, quota_resources(call.tenant))
	{
		LimitResult result;

		CHECK_FOR_INTERRUPTS();
		call.resource = lfirst(cell);
		limit_run(&call, &result);
		for (int i = 0; i < result.n; i++)
		{
			const Rule *rule = result.hits[i].rule;

			/*
			 * a less specific rule that holds here, too, comes by its own
			 * pattern
			 */
			if (rule->limit.window &&
				strlen(rule->pattern) == VARSIZE_ANY_EXHDR(call.resource) &&
				memcmp(rule->pattern, VARDATA_ANY(call.resource), strlen(rule->pattern)) == 0)
				return_quota((ReturnSetInfo *) fcinfo->resultinfo, &result.hits[i]);
		}
	}
	return (Datum) 0;
}

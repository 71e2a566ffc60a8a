/*
 * alert.c
 *		meter_evaluate_alerts(): looking at all alerts, as the extension's owner.
 *
 * What is evaluated is SQL, in alert_evaluate.sql.  Who may call it need not be
 * able to write alerts, incidents and what is normal; but it tells of all
 * tenants, so it is for those only who see all.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "context.h"
#include "owner.h"
#include "row_security.h"

#define ALERT_COUNTS 4

PG_FUNCTION_INFO_V1(meter_evaluate_alerts);

Datum
meter_evaluate_alerts(PG_FUNCTION_ARGS)
{
	Oid			type = TIMESTAMPTZOID;
	Datum		at = PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0);
	char		null = PG_ARGISNULL(0) ? 'n' : ' ';
	Datum		values[ALERT_COUNTS];
	bool		nulls[ALERT_COUNTS];
	TupleDesc	desc;
	OwnerScope	scope;

	PreventCommandIfReadOnly("meter_evaluate_alerts()");
	PreventCommandIfParallelMode("meter_evaluate_alerts()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != ALERT_COUNTS)
		elog(ERROR, "unexpected type of what alerts come to");
	if (!superuser() &&
		(context_tenant() != NULL || !row_security_sees_all(GetUserId())))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("alerts cannot be evaluated by who does not see all tenants"),
				 errhint("Use a role with meter_grant(role, 'admin') in a session without a context: meter_set_tenant(NULL).")));
	owner_begin(&scope);
	if (SPI_execute_with_args("SELECT * FROM meter.alert_evaluate($1)", 1, &type, &at,
							  &null, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not evaluate alerts");
	/* all bigint, so passed by value */
	for (int i = 0; i < ALERT_COUNTS; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
								  i + 1, &nulls[i]);
	owner_end(&scope);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

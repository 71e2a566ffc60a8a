/*
 * bill.c
 *		meter_void_bill(): ending a bill that is final.
 *
 * A final bill refuses every UPDATE but this one.  What tells its trigger so is
 * a variable here, which nobody can set from SQL.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"

#include "context.h"
#include "owner.h"

static bool voiding = false;

PG_FUNCTION_INFO_V1(meter_bill_is_voided);

Datum
meter_bill_is_voided(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(voiding);
}

static void
execute_plan(SPIPlanPtr plan, Datum *values, int expected)
{
	int			result = SPI_execute_plan(plan, values, NULL, false, 0);

	if (result != expected)
		elog(ERROR, "could not void a bill: %s", SPI_result_code_string(result));
}

static Datum
argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return PG_GETARG_DATUM(number);
}

/* The month that a day is in, YYYY-MM. */
static char *
month_shown(DateADT day)
{
	int			year,
				month,
				mday;

	if (DATE_NOT_FINITE(day))
		return day < 0 ? "-infinity" : "infinity";
	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	return psprintf("%04d-%02d", year, month);
}

PG_FUNCTION_INFO_V1(meter_void_bill);

Datum
meter_void_bill(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr lock_plan = NULL;
	static SPIPlanPtr void_plan = NULL;
	static SPIPlanPtr credit_plan = NULL;
	OwnerScope	scope;
	Datum		values[3];
	uint64		voided;

	values[0] = argument(fcinfo, 0, "tenant");
	values[1] = argument(fcinfo, 1, "month");
	values[2] = argument(fcinfo, 2, "reason");
	if (strspn(text_to_cstring(DatumGetTextPP(values[2])), " \t\r\n") ==
		VARSIZE_ANY_EXHDR(DatumGetTextPP(values[2])))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reason must not be empty")));
	context_check(DatumGetTextPP(values[0]), fcinfo->flinfo->fn_oid);
	PreventCommandIfReadOnly("meter_void_bill()");
	PreventCommandIfParallelMode("meter_void_bill()");
	owner_begin(&scope);

	/* as who closes the month does, so that one waits for the other */
	owner_plan(&lock_plan,
			   "SELECT FROM meter.tenant WHERE tenant = $1 FOR NO KEY UPDATE",
			   1, TEXTOID);
	owner_plan(&void_plan,
			   "UPDATE meter.bill SET status = 'void', voided_at = pg_catalog.clock_timestamp(), "
			   "void_reason = $3 "
			   "WHERE tenant = $1 AND month = pg_catalog.date_trunc('month', $2::timestamp)::date "
			   "AND status <> 'void'",
			   3, TEXTOID, DATEOID, TEXTOID);
	owner_plan(&credit_plan,
			   "DELETE FROM meter.credit_use "
			   "WHERE tenant = $1 AND month = pg_catalog.date_trunc('month', $2::timestamp)::date",
			   2, TEXTOID, DATEOID);
	execute_plan(lock_plan, values, SPI_OK_SELECT);
	PG_TRY();
	{
		voiding = true;
		execute_plan(void_plan, values, SPI_OK_UPDATE);
		voided = SPI_processed;
	}
	PG_FINALLY();
	{
		voiding = false;
	}
	PG_END_TRY();
	if (voided == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("tenant \"%s\" has no bill for %s to void",
						text_to_cstring(DatumGetTextPP(values[0])),
						month_shown(DatumGetDateADT(values[1])))));
	execute_plan(credit_plan, values, SPI_OK_DELETE);
	owner_end(&scope);
	PG_RETURN_VOID();
}

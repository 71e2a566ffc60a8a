/*
 * close.c
 *		meter.close_next(): a slice of the closing of a month.
 *
 * The work is SQL (close.sql); this gives it the rights of the extension's
 * owner.  Whoever may close a month cannot write bills otherwise.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"

#include "owner.h"

PG_FUNCTION_INFO_V1(meter_close_next);

Datum
meter_close_next(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	Datum		run = PG_GETARG_DATUM(0);
	Datum		next;
	bool		isnull;

	PreventCommandIfReadOnly("meter_close_month()");
	PreventCommandIfParallelMode("meter_close_month()");
	owner_begin(&scope);
	owner_plan(&plan, "SELECT meter.close_slice($1)", 1, JSONBOID);
	if (SPI_execute_plan(plan, &run, NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not close a month");
	next = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						 &isnull);
	if (!isnull)
		next = SPI_datumTransfer(next, false, -1);
	owner_end(&scope);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(next);
}

/*
 * close.c
 *		Closing a month: meter.close_next(), a slice of it, and whether its
 *		caller can commit.
 *
 * The work is SQL (close.sql); this gives it the rights of the extension's
 * owner.  Whoever may close a month cannot write bills otherwise.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"

#include "owner.h"

PG_FUNCTION_INFO_V1(meter_close_can_commit);

/*
 * Called by a procedure, before it has done anything: an error if its COMMIT
 * would be one, which would not say what to do.
 */
Datum
meter_close_can_commit(PG_FUNCTION_ARGS)
{
	if (!SPI_inside_nonatomic_context())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run inside a transaction block",
						"meter_close_month()"),
				 errdetail("It commits after each thousand tenants, which nothing can within a transaction block, a function or a block with EXCEPTION."),
				 errhint("Call it as a statement of its own, outside of BEGIN and COMMIT; for psql, give it a -c of its own.")));
	PG_RETURN_VOID();
}

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

/*
 * health.c
 *		meter_health(): is the API well?
 *
 * A load balancer asks with few rights, and gets totals of all tenants that
 * tell of none; so it is read as the extension's owner.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "owner.h"

PG_FUNCTION_INFO_V1(meter_health);

/*
 * The query is planned anew each time, so that the plan has only those days of
 * the log that are asked for; compiling it would take longer than it runs.  And
 * endpoints are few, which the planner cannot know: it would sort all requests.
 */
Datum
meter_health(PG_FUNCTION_ARGS)
{
	OwnerScope	scope;
	Oid			type = TIMESTAMPTZOID;
	Datum		at;
	Datum		report;
	bool		isnull;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("at must not be null")));
	at = PG_GETARG_DATUM(0);
	if (TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(at)))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("at must not be infinite")));
	owner_begin(&scope);
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("enable_sort", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_execute_with_args("SELECT h FROM meter.health($1) AS h", 1, &type, &at,
							  NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not read meter.health");
	report = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	report = SPI_datumTransfer(report, false, -1);
	owner_end(&scope);
	return report;
}

/*
 * schedule.c
 *		meter_schedule(): background jobs, run by pg_cron; and what of the
 *		background worker's is therefore left to it.
 *
 * Everything runs as the calling user, since pg_cron runs a job as the user
 * who registered it.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "schedule.h"

typedef struct Job
{
	const char *name;
	int			schedule;		/* which argument of meter_schedule */
	const char *command;		/* %s stands for the functions' schema */
} Job;

/*
 * Flush and rollup are two jobs, since statements of one job are one
 * transaction: a flush would keep the log to itself while the rollup runs, and
 * be undone if that fails.
 */
static const Job jobs[] = {
	{"meter flush", 0, "SELECT %s.meter_flush()"},
	{"meter rollup", 0, "SELECT %s.meter_rollup()"},
	{"meter budgets", 0, "SELECT %s.meter_refresh_budgets()"},
	{"meter alerts", 0, "SELECT %s.meter_evaluate_alerts()"},
	{"meter outbox", 0, "SELECT %s.meter_outbox_fill()"},
	{"meter maintain", 1, "SELECT %s.meter_maintain()"},
	{"meter close", 2, "CALL %s.meter_close_month()"},
};

static const char *const schedule_names[] = {"rollup", "maintain", "close"};

static void
require_pg_cron(void)
{
	const char *cron_database;

	if (OidIsValid(get_extension_oid("pg_cron", true)))
		return;
	cron_database = GetConfigOption("cron.database_name", true, false);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("extension \"pg_cron\" is not installed in this database"),
			 cron_database == NULL ?
			 errhint("Add pg_cron to \"shared_preload_libraries\", set \"cron.database_name\" to \"%s\", restart the server and run CREATE EXTENSION pg_cron. Or let any other scheduler call meter_flush(), meter_rollup(), meter_refresh_budgets(), meter_evaluate_alerts(), meter_outbox_fill(), meter_maintain() and meter_close_month().",
					 get_database_name(MyDatabaseId)) :
			 errhint("pg_cron runs in database \"%s\". Run CREATE EXTENSION pg_cron here if that is this database; otherwise set \"cron.database_name\", or schedule meter_flush(), meter_rollup(), meter_refresh_budgets(), meter_evaluate_alerts(), meter_outbox_fill(), meter_maintain() and meter_close_month() there with cron.schedule_in_database().",
					 cron_database)));
}

PG_FUNCTION_INFO_V1(meter_schedule);

Datum
meter_schedule(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *schema = get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid));

	for (int i = 0; i < lengthof(schedule_names); i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", schedule_names[i])));
	}
	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	require_pg_cron();
	for (int i = 0; i < lengthof(jobs); i++)
	{
		Oid			types[3] = {TEXTOID, TEXTOID, TEXTOID};
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = CStringGetTextDatum(jobs[i].name);
		values[1] = PG_GETARG_DATUM(jobs[i].schedule);
		values[2] = CStringGetTextDatum(psprintf(jobs[i].command,
												 quote_identifier(schema)));
		if (SPI_execute_with_args("SELECT cron.schedule($1, $2, $3)",
								  3, types, values, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not schedule a job");
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(meter_unschedule);

Datum
meter_unschedule(PG_FUNCTION_ARGS)
{
	int32		removed = 0;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	require_pg_cron();
	for (int i = 0; i < lengthof(jobs); i++)
	{
		Oid			type = TEXTOID;
		Datum		name = CStringGetTextDatum(jobs[i].name);

		if (SPI_execute_with_args("SELECT cron.unschedule(j.jobid) FROM cron.job AS j "
								  "WHERE j.jobname OPERATOR(pg_catalog.=) $1 "
								  "AND j.username OPERATOR(pg_catalog.=) CURRENT_USER",
								  1, &type, &name, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not remove a job");
		removed += SPI_processed;
	}
	SPI_finish();
	PG_RETURN_INT32(removed);
}

/* --- what the background worker leaves to pg_cron ------------------------ */

/*
 * Does pg_cron, in this database, call that function?  The job has to be one
 * of a user who may.
 */
static bool
is_scheduled(const char *function, Oid oid)
{
	Oid			types[2] = {TEXTOID, OIDOID};
	Datum		values[2];
	bool		isnull;

	if (!OidIsValid(get_extension_oid("pg_cron", true)))
		return false;
	values[0] = CStringGetTextDatum(function);
	values[1] = ObjectIdGetDatum(oid);
	if (SPI_execute_with_args("SELECT EXISTS (SELECT FROM cron.job AS j "
							  "JOIN pg_catalog.pg_roles AS r ON r.rolname OPERATOR(pg_catalog.=) j.username "
							  "WHERE j.active AND j.database OPERATOR(pg_catalog.=) pg_catalog.current_database() "
							  "AND pg_catalog.strpos(j.command, $1) OPERATOR(pg_catalog.>) 0 "
							  "AND pg_catalog.has_function_privilege(r.oid, $2, 'EXECUTE'))",
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read cron.job");
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Our function or procedure of that name, with its name as SQL has it, in
 * whatever schema it is.
 */
static Oid
find_function(const char *function, char **name)
{
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum(function);
	bool		isnull;

	if (SPI_execute_with_args("SELECT p.oid, p.oid::pg_catalog.regproc::text "
							  "FROM pg_catalog.pg_proc AS p "
							  "JOIN pg_catalog.pg_depend AS d ON d.objid OPERATOR(pg_catalog.=) p.oid "
							  "AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass "
							  "AND d.deptype OPERATOR(pg_catalog.=) 'e' "
							  "JOIN pg_catalog.pg_extension AS e ON e.oid OPERATOR(pg_catalog.=) d.refobjid "
							  "AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass "
							  "WHERE e.extname OPERATOR(pg_catalog.=) 'meter' "
							  "AND p.proname OPERATOR(pg_catalog.=) $1",
							  1, &type, &value, NULL, true, 2) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not find %s()", function);
	*name = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	return DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
}

bool
schedule_has(const char *function)
{
	char	   *name;

	return is_scheduled(function, find_function(function, &name));
}

bool
schedule_call(const char *function)
{
	bool		call;
	char	   *name;
	Oid			oid;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	oid = find_function(function, &name);
	call = !is_scheduled(function, oid);
	if (call &&
		SPI_execute(psprintf("SELECT * FROM %s()", name), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not call %s()", function);
	SPI_finish();
	return call;
}

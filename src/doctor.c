/*
 * doctor.c
 *		meter_doctor(): what is misconfigured; and the part of it that only the
 *		server knows.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"

#include "owner.h"
#include "queue.h"
#include "row_security.h"
#include "setting.h"
#include "shared.h"

#define FINDING_COLUMNS 5
#define STATE_COLUMNS 7

PG_FUNCTION_INFO_V1(meter_doctor);

/*
 * It is read as the extension's owner, as analysts may ask, who do not see
 * pg_cron's jobs and most of the server's parameters.  Each query runs once:
 * compiling would take longer than it saves.
 */
Datum
meter_doctor(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	OwnerScope	scope;

	/* findings name tenants */
	if (row_security_tenants() != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("findings are for those who see all tenants"),
				 errhint("Call meter_doctor() with a role that meter_grant() gave the privileges of analyst or admin, without a tenant's context.")));
	InitMaterializedSRF(fcinfo, 0);
	owner_begin(&scope);
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_execute("SELECT f.* FROM meter.doctor() AS f", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.doctor");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[FINDING_COLUMNS];
		bool		nulls[FINDING_COLUMNS];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	owner_end(&scope);
	return (Datum) 0;
}

/*
 * Bytes that are free on the disk of the queues' files; false if the server
 * does not say.
 */
static bool
free_space(int64 *bytes)
{
	struct statvfs disk;

	if (statvfs(QUEUE_DIRECTORY, &disk) != 0 && statvfs(".", &disk) != 0)
		return false;
	*bytes = (int64) disk.f_bavail * (int64) disk.f_frsize;
	return true;
}

/*
 * Can this server compile queries?  jit may be on where it cannot; and
 * pg_jit_available() does not look while jit is off, as it is for meter_doctor().
 */
static bool
has_jit(void)
{
	struct stat file;

	return stat(psprintf("%s/%s%s", pkglib_path, jit_provider, DLSUFFIX), &file) == 0;
}

PG_FUNCTION_INFO_V1(meter_doctor_server);

Datum
meter_doctor_server(PG_FUNCTION_ARGS)
{
	Datum		values[STATE_COLUMNS];
	bool		nulls[STATE_COLUMNS] = {0};
	TupleDesc	desc;
	SharedDatabase *entry;
	struct stat file;
	int			databases = 0;
	int64		bytes = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (shared_available())
		for (int i = 0; (entry = shared_entry(i)) != NULL; i++)
			if (OidIsValid(entry->oid))
				databases++;
	values[0] = CStringGetTextDatum(METER_VERSION);
	values[1] = BoolGetDatum(shared_available());
	values[2] = Int32GetDatum(databases);
	values[3] = BoolGetDatum(shared_database(false) != NULL);
	nulls[4] = !free_space(&bytes);
	values[4] = Int64GetDatum(bytes);
	nulls[5] = stat(psprintf("%s/%u", QUEUE_DIRECTORY, MyDatabaseId), &file) != 0;
	values[5] = Int64GetDatum(nulls[5] ? 0 : (int64) file.st_size);
	values[6] = BoolGetDatum(has_jit());
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

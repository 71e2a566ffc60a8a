/*
 * storage.c
 *		How large the files of this database are.
 *
 * What the server offers opens each relation and so waits for whoever has it
 * locked, which a daily job over all tenants' tables must not do.  The names
 * and sizes of files tell the same, and are read without any lock.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "common/relpath.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/tuplestore.h"

/*
 * The relfilenode of a relation's file, which is named after it: one for each
 * fork and gigabyte, as 16384, 16384.1, 16384_vm.  InvalidOid for others.
 */
static Oid
filenode_of(const char *name)
{
	char	   *end;
	unsigned long number;

	if (*name < '1' || *name > '9')
		return InvalidOid;
	errno = 0;
	number = strtoul(name, &end, 10);
	if (errno != 0 || number > OID_MAX ||
		(*end != '\0' && *end != '.' && *end != '_'))
		return InvalidOid;
	return (Oid) number;
}

PG_FUNCTION_INFO_V1(meter_storage_files);

Datum
meter_storage_files(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *path = GetDatabasePath(MyDatabaseId, PG_GETARG_OID(0));
	DIR		   *dir;
	struct dirent *entry;

	InitMaterializedSRF(fcinfo, 0);
	dir = AllocateDir(path);

	/* a tablespace in which this database has nothing */
	if (dir == NULL && errno == ENOENT)
		return (Datum) 0;
	while ((entry = ReadDir(dir, path)) != NULL)
	{
		char		file[MAXPGPATH * 2];
		struct stat status;
		Oid			filenode = filenode_of(entry->d_name);
		Datum		values[2];
		bool		nulls[2] = {false, false};

		CHECK_FOR_INTERRUPTS();
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (stat(file, &status) < 0)
		{
			/* gone since */
			if (errno == ENOENT)
				continue;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not stat file \"%s\": %m", file)));
		}
		values[0] = ObjectIdGetDatum(filenode);
		nulls[0] = !OidIsValid(filenode);
		values[1] = Int64GetDatum(status.st_size);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	FreeDir(dir);
	return (Datum) 0;
}

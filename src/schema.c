/*
 * schema.c
 *		Whose schema is it?
 *
 * meter.tenant has the schemas by name, since names are what a dump carries.
 * What a session has found out about a schema it keeps until meter.tenant or a
 * schema changes.  It learns of a schema when it first meets it, so that the
 * number of tenants does not matter.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "core/hot.h"
#include "event.h"
#include "owner.h"
#include "schema.h"

typedef struct SchemaEntry
{
	Oid			schema;			/* the key */
	bool		owned;
	char		tenant[EVENT_MAX_TENANT + 1];
} SchemaEntry;

static HTAB *schemas = NULL;
static bool stale = false;		/* nothing in there is to be trusted */
HOT_STATEMENT uint64 schema_changes = 0;
HOT_STATEMENT bool schema_busy = false;
static Oid	tenant_relid = InvalidOid;

static void
schemas_forget(void)
{
	stale = true;
	schema_changes++;
}

static void
tenant_changed(Oid relid)
{
	if (!OidIsValid(relid) || !OidIsValid(tenant_relid) || relid == tenant_relid)
		schemas_forget();
}

static void
namespace_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	schemas_forget();
}

static void
make_table(void)
{
	HASHCTL		info = {0};

	if (schemas != NULL)
		hash_destroy(schemas);
	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(SchemaEntry);
	schemas = hash_create("meter schemas", 64, &info, HASH_ELEM | HASH_BLOBS);
	stale = false;
}

/*
 * Read whose schema it is into a buffer of EVENT_MAX_TENANT + 1; false if it is
 * nobody's.
 */
static bool
read_owner(const char *name, char *tenant)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	Datum		args[1];
	bool		owned;

	owner_begin(&scope);
	owner_plan(&plan, "SELECT tenant FROM meter.tenant WHERE schema_name = $1", 1, NAMEOID);
	args[0] = DirectFunctionCall1(namein, CStringGetDatum(name));
	if (SPI_execute_snapshot(plan, args, NULL,
							 IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot(),
							 InvalidSnapshot, true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.tenant");
	owned = SPI_processed > 0;
	if (owned)
		strlcpy(tenant, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
				EVENT_MAX_TENANT + 1);
	owner_end(&scope);
	return owned;
}

COLD_PATH static bool
find_owner(const char *name, char *tenant)
{
	bool		owned;
	Oid			meter = get_namespace_oid("meter", true);

	tenant_relid = OidIsValid(meter) ? get_relname_relid("tenant", meter) : InvalidOid;
	if (!OidIsValid(tenant_relid) || creating_extension)
		return false;
	schema_busy = true;
	PG_TRY();
	{
		owned = read_owner(name, tenant);
	}
	PG_FINALLY();
	{
		schema_busy = false;
	}
	PG_END_TRY();
	return owned;
}

HOT_PATH const char *
schema_tenant(Oid schema)
{
	SchemaEntry *entry;
	SchemaEntry found = {schema};
	char	   *name;

	if (schema < FirstUnpinnedObjectId || schema_busy)
		return NULL;
	if (unlikely(schemas == NULL || stale))
		make_table();
	entry = hash_search(schemas, &schema, HASH_FIND, NULL);
	if (likely(entry != NULL))
		return entry->owned ? entry->tenant : NULL;

	name = get_namespace_name(schema);
	if (name == NULL)
		return NULL;
	found.owned = find_owner(name, found.tenant);
	pfree(name);

	/*
	 * What was changed while it was read makes the table stale again, and
	 * what is entered now does not last.
	 */
	entry = hash_search(schemas, &schema, HASH_ENTER, NULL);
	*entry = found;
	return entry->owned ? entry->tenant : NULL;
}

/*
 * By the name of a schema that need not be there.
 */
const char *
schema_tenant_by_name(const char *schema)
{
	static char tenant[EVENT_MAX_TENANT + 1];

	if (schema_busy || !find_owner(schema, tenant))
		return NULL;
	return tenant;
}

void
schema_init(void)
{
	owner_watch(tenant_changed);
	CacheRegisterSyscacheCallback(NAMESPACEOID, namespace_changed, (Datum) 0);
}

/*
 * owner.c
 *		Running SQL of our own with the rights of the extension's owner.
 *
 * Roles that track or roll up have no privileges on meter's tables; they may
 * execute a function, and the function does exactly what it does as the
 * owner.  As with SECURITY DEFINER ... SET search_path = pg_catalog, pg_temp,
 * neither a search_path of the caller nor objects in its temporary schema can
 * change what our statements mean.
 *
 * An error inside a scope needs no clean-up here: (sub)transaction abort puts
 * back user, settings and SPI.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "owner.h"

/* Most parameters of a prepared statement. */
#define OWNER_MAX_ARGS 10

/*
 * The OID of table "name" in schema meter.
 */
Oid
owner_relation(const char *name)
{
	Oid			schema = get_namespace_oid("meter", true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"meter.%s\" does not exist", name),
				 errhint("Is the extension \"meter\" installed in this database?")));
	return relid;
}

static Oid
owner_role(void)
{
	HeapTuple	tuple = SearchSysCache1(RELOID,
										ObjectIdGetDatum(owner_relation("event")));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation meter.event");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Become the extension's owner with a safe search_path and connect to SPI.
 */
void
owner_begin(OwnerScope *scope)
{
	Oid			owner = owner_role();

	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	SetUserIdAndSecContext(owner,
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/*
 * Leave the scope.  Memory that SPI allocated is gone afterwards.
 */
void
owner_end(OwnerScope *scope)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}

/*
 * Must be called inside a scope, since the plan is made under its search_path.
 */
void
owner_plan(SPIPlanPtr *plan, const char *sql, int nargs,...)
{
	Oid			types[OWNER_MAX_ARGS];
	SPIPlanPtr	made;
	va_list		args;

	if (*plan != NULL)
		return;
	Assert(nargs <= OWNER_MAX_ARGS);
	va_start(args, nargs);
	for (int i = 0; i < nargs; i++)
		types[i] = va_arg(args, Oid);
	va_end(args);
	made = SPI_prepare(sql, nargs, types);
	if (made == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	if (SPI_keepplan(made) != 0)
		elog(ERROR, "SPI_keepplan failed");
	*plan = made;
}

/* --- invalidations ------------------------------------------------------ */

#define OWNER_MAX_WATCHERS 16

static void (*watchers[OWNER_MAX_WATCHERS]) (Oid relid);
static int	n_watchers = 0;

static void
owner_invalidated(Datum arg, Oid relid)
{
	for (int i = 0; i < n_watchers; i++)
		watchers[i] (relid);
}

/*
 * The server has room for few callbacks of all extensions together, so all of
 * ours share one.
 */
void
owner_watch(void (*forget) (Oid relid))
{
	if (n_watchers == 0)
		CacheRegisterRelcacheCallback(owner_invalidated, (Datum) 0);
	if (n_watchers == OWNER_MAX_WATCHERS)
		elog(ERROR, "too many caches");
	watchers[n_watchers++] = forget;
}

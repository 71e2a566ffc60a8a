/*
 * row_security.c
 *		Whose rows of meter's own tables a user sees.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "context.h"
#include "owner.h"
#include "row_security.h"

/*
 * The privilege on a function tells who may see all: it is given and taken
 * like any other, and a dump carries it.
 */
bool
row_security_sees_all(Oid user)
{
	oidvector  *none = buildoidvector(NULL, 0);
	Oid			function;

	if (superuser_arg(user))
		return true;
	function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
							   CStringGetDatum("sees_all_tenants"),
							   PointerGetDatum(none),
							   ObjectIdGetDatum(get_namespace_oid("meter", false)));
	return OidIsValid(function) && compat_may_execute(function, user);
}

#define OWN_QUERY \
	CONTEXT_MEMBER("$1") \
	"SELECT array_agg(t.tenant::text) FROM member JOIN pg_roles AS r ON r.oid = member.role" \
	" JOIN meter.tenant AS t ON t.role_name = r.rolname"

/*
 * The tenants whose role the user is, or belongs to.
 */
static ArrayType *
read_own(Oid user)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	OwnerScope	scope;
	Datum		args[1];
	Datum		value;
	ArrayType  *own;
	bool		isnull;

	owner_begin(&scope);
	owner_plan(&plan, OWN_QUERY, 1, OIDOID);
	args[0] = ObjectIdGetDatum(user);
	if (SPI_execute_snapshot(plan, args, NULL, GetActiveSnapshot(), InvalidSnapshot,
							 true, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not read meter.tenant");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	MemoryContextSwitchTo(caller);
	own = isnull ? construct_empty_array(TEXTOID) : DatumGetArrayTypePCopy(value);
	owner_end(&scope);
	return own;
}

bool
row_security_shows(ArrayType *tenants, const char *tenant, int length)
{
	ArrayIterator iterator;
	Datum		element;
	bool		isnull;
	bool		found = false;

	if (tenants == NULL)
		return true;
	iterator = array_create_iterator(tenants, 0, NULL);
	while (!found && array_iterate(iterator, &element, &isnull))
	{
		text	   *one = DatumGetTextPP(element);

		found = VARSIZE_ANY_EXHDR(one) == length &&
			memcmp(VARDATA_ANY(one), tenant, length) == 0;
	}
	array_free_iterator(iterator);
	return found;
}

/*
 * A context narrows what the user sees, and never widens it: whoever set it may
 * have become a tenant's role since, and that role sees its own rows only.  A
 * user of no tenant's role may work for any, and so sees that of the context.
 */
ArrayType *
row_security_tenants(void)
{
	Oid			user = GetUserId();
	const char *tenant;
	ArrayType  *own;
	Datum		element;

	if (superuser_arg(user))
		return NULL;
	tenant = context_tenant();
	if (tenant == NULL)
		return row_security_sees_all(user) ? NULL : read_own(user);

	/* reading may look at the context again */
	tenant = pstrdup(tenant);
	if (!row_security_sees_all(user))
	{
		own = read_own(user);
		if (ARR_NDIM(own) > 0 && !row_security_shows(own, tenant, strlen(tenant)))
			return construct_empty_array(TEXTOID);
	}
	element = CStringGetTextDatum(tenant);
	return construct_array(&element, 1, TEXTOID, -1, false, TYPALIGN_INT);
}

PG_FUNCTION_INFO_V1(meter_visible_tenants);

Datum
meter_visible_tenants(PG_FUNCTION_ARGS)
{
	ArrayType  *tenants = row_security_tenants();

	if (tenants == NULL)
		PG_RETURN_NULL();
	PG_RETURN_ARRAYTYPE_P(tenants);
}

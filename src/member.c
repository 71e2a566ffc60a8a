/*
 * member.c
 *		To which tenants' roles does the user belong?
 *
 * The user is the outer user, which SET ROLE changes and a SECURITY DEFINER
 * function does not.
 *
 * A role to which tenants' roles belong, such as meter_tenant, is no tenant's
 * itself.  Who has logged in as a tenant's and does SET ROLE to it is the
 * tenant's still; so then it is the session user that is asked about, and of
 * the tenants' roles those that belong to the outer user.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "context.h"
#include "core/hot.h"
#include "member.h"
#include "owner.h"

/* after all others */
#include "server.h"

/*
 * What is known is kept until a role, a membership or meter.tenant changes.
 */
static HOT_DATA Oid known_user = InvalidOid;	/* InvalidOid: nothing is kept */
static HOT_DATA Oid known_session = InvalidOid;
static HOT_DATA bool known_bound = false;	/* belongs to tenants' roles */
static char *known_tenant = NULL;	/* the only one of these, or NULL */
static Oid	known_member = InvalidOid;	/* who was asked about */
static Oid	known_group = InvalidOid;	/* the outer user, or InvalidOid for
										 * any */
static Oid	tenant_relid = InvalidOid;
HOT_STATEMENT bool member_busy = false;

/* Of a user who is bound: for which tenants was it asked, and may he work for them? */
typedef struct AskedTenant
{
	char		tenant[EVENT_MAX_TENANT + 1];	/* the key */
	bool		own;
} AskedTenant;

#define MAX_ASKED 1000

static HTAB *asked = NULL;

static void
forget_user(void)
{
	known_user = InvalidOid;
}

static void
tenant_changed(Oid relid)
{
	if (!OidIsValid(relid) || !OidIsValid(tenant_relid) || relid == tenant_relid)
		forget_user();
}

static void
role_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_user();
}

/*
 * All tenants whose role the member is, or belongs to by any path.
 */
#define OWN_QUERY \
	CONTEXT_MEMBER("$1") \
	"SELECT t.tenant FROM member JOIN pg_roles AS r ON r.oid = member.role" \
	" JOIN meter.tenant AS t ON t.role_name = r.rolname" \
	" WHERE ($2 = 0 OR pg_has_role(r.oid, $2, 'MEMBER'))"

/*
 * At most two are needed to tell.
 */
static void
read_own(Oid member, Oid group)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	Datum		args[2];
	char	   *name = NULL;

	known_member = member;
	known_group = group;
	known_bound = false;

	/* a superuser belongs to no one */
	if (superuser_arg(member))
		return;
	owner_begin(&scope);
	owner_plan(&plan, OWN_QUERY " LIMIT 2", 2, OIDOID, OIDOID);
	args[0] = ObjectIdGetDatum(member);
	args[1] = ObjectIdGetDatum(group);
	if (SPI_execute_snapshot(plan, args, NULL,
							 IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot(),
							 InvalidSnapshot, true, false, 2) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.tenant");
	known_bound = SPI_processed > 0;
	if (SPI_processed == 1)
		name = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (name != NULL)
		known_tenant = MemoryContextStrdup(TopMemoryContext, name);
	owner_end(&scope);
}

static void
read_user(Oid user, Oid session)
{
	if (known_tenant != NULL)
		pfree(known_tenant);
	known_tenant = NULL;
	if (asked != NULL)
		hash_destroy(asked);
	asked = NULL;

	/* an invalidation while it is read makes it be read again */
	known_user = user;
	known_session = session;
	read_own(user, InvalidOid);
	if (!known_bound && session != user && !superuser_arg(user))
		read_own(session, user);
}

static inline bool
is_known(void)
{
	return GetOuterUserId() == known_user && GetSessionUserId() == known_session;
}

COLD_PATH static bool
learn_user(void)
{
	Oid			schema;

	if (member_busy || !IsTransactionState())
		return false;
	schema = get_namespace_oid("meter", true);
	tenant_relid = OidIsValid(schema) ? get_relname_relid("tenant", schema) : InvalidOid;
	if (!OidIsValid(tenant_relid) || creating_extension)
		return false;
	member_busy = true;
	PG_TRY();
	{
		read_user(GetOuterUserId(), GetSessionUserId());
	}
	PG_CATCH();
	{
		forget_user();
		member_busy = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	member_busy = false;
	return true;
}

/*
 * Have known_bound and known_tenant be those of the outer user.  False if it
 * cannot be looked at now.
 */
static inline bool
know_user(void)
{
	return likely(is_known()) || learn_user();
}

/*
 * Is it the tenant of a role to which the user belongs?
 */
static bool
read_is_own(const text *tenant)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	Datum		args[3];
	bool		own;

	owner_begin(&scope);
	owner_plan(&plan, OWN_QUERY " AND t.tenant = $3", 3, OIDOID, OIDOID, TEXTOID);
	args[0] = ObjectIdGetDatum(known_member);
	args[1] = ObjectIdGetDatum(known_group);
	args[2] = PointerGetDatum(tenant);
	if (SPI_execute_snapshot(plan, args, NULL, GetLatestSnapshot(), InvalidSnapshot,
							 true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.tenant");
	own = SPI_processed > 0;
	owner_end(&scope);
	return own;
}

static bool
is_own(const text *tenant)
{
	AskedTenant *entry;
	char	   *name;
	bool		own;

	name = text_to_cstring(tenant);
	if (strlen(name) > EVENT_MAX_TENANT)
		return false;
	entry = asked == NULL ? NULL : hash_search(asked, name, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->own;
	member_busy = true;
	PG_TRY();
	{
		own = read_is_own(tenant);
	}
	PG_FINALLY();
	{
		member_busy = false;
	}
	PG_END_TRY();

	/* what has changed while it was read is not kept, nor are too many */
	if (!is_known())
		return own;
	if (asked != NULL && hash_get_num_entries(asked) >= MAX_ASKED)
	{
		hash_destroy(asked);
		asked = NULL;
	}
	if (asked == NULL)
	{
		HASHCTL		info = {0};

		info.keysize = EVENT_MAX_TENANT + 1;
		info.entrysize = sizeof(AskedTenant);
		asked = hash_create("meter tenants of the user", 64, &info, HASH_ELEM | HASH_STRINGS);
	}
	entry = hash_search(asked, name, HASH_ENTER, NULL);
	entry->own = own;
	pfree(name);
	return own;
}

/*
 * May the user work for the tenant?  One who belongs to no tenant's role may
 * for any.
 */
bool
member_may_work_for(const text *tenant)
{
	return member_is_free() || is_own(tenant);
}

HOT_PATH bool
member_is_free(void)
{
	return !know_user() || !known_bound;
}

const char *
member_tenant(void)
{
	return know_user() ? known_tenant : NULL;
}

void
member_init(void)
{
	owner_watch(tenant_changed);
	CacheRegisterSyscacheCallback(AUTHOID, role_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, role_changed, (Datum) 0);
}

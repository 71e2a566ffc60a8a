/*
 * guard.c
 *		Keeping statements within the schema of the context's tenant.
 *
 * An object in a tenant's schema is that tenant's, and all others are shared.
 * A session that works for a tenant, and reaches what is another tenant's, is
 * recorded and, with meter.isolation = enforce, stopped.  What a statement
 * reaches is seen by the server's hooks: guard_executor.c has those of queries,
 * guard_utility.c that of other statements, guard_object.c that of what these
 * make, alter and drop, and guard_explain.c looks at plans that are shown.
 *
 * Objects of the server itself (below FirstUnpinnedObjectId) are nobody's, but
 * for its statistics.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_statistic_ext_data.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "compat.h"
#include "context.h"
#include "core/hot.h"
#include "event.h"
#include "guard.h"
#include "member.h"
#include "owner.h"
#include "schema.h"
#include "setting.h"
#include "violation.h"

/* --- who is looked at --------------------------------------------------- */

static HOT_STATEMENT char *exempt_setting = NULL;

/* What is known of these two users; forgotten when a role is changed. */
static HOT_STATEMENT Oid known_session = InvalidOid;
static HOT_STATEMENT Oid known_outer = InvalidOid;
static HOT_STATEMENT bool known_exempt = false;

static void
forget_users(Datum arg, int cacheid, uint32 hashvalue)
{
	known_session = known_outer = InvalidOid;
}

bool
guard_check_exempt(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names = NIL;
	bool		good = SplitIdentifierString(copy, ',', &names);

	list_free(names);
	pfree(copy);
	if (!good)
		GUC_check_errdetail("List syntax is invalid.");
	return good;
}

void
guard_assign_exempt(const char *newval, void *extra)
{
	known_session = known_outer = InvalidOid;
}

static bool
is_exempt(Oid session, Oid outer)
{
	char	   *copy;
	List	   *names = NIL;
	ListCell   *cell;
	bool		exempt = false;

	if (session == known_session && outer == known_outer)
		return known_exempt;
	copy = pstrdup(exempt_setting);
	(void) SplitIdentifierString(copy, ',', &names);
	foreach(cell, names)
	{
		Oid			role = get_role_oid(lfirst(cell), true);

		if (OidIsValid(role) && (role == session || role == outer))
			exempt = true;
	}
	list_free(names);
	pfree(copy);
	known_session = session;
	known_outer = outer;
	known_exempt = exempt;
	return exempt;
}

HOT_PATH bool
guard_active(void)
{
	if (likely(setting_isolation == ISOLATION_OFF))
		return false;

	/* what is read to find out is not looked at, nor finds out more */
	return !schema_busy && !member_busy && !creating_extension && IsTransactionState() &&
		(likely(exempt_setting[0] == '\0') || !is_exempt(GetSessionUserId(), GetOuterUserId()));
}

HOT_PATH bool
guard_is_foreign(const char *owner)
{
	const char *tenant;

	if (owner == NULL)
		return false;
	tenant = context_tenant();
	if (tenant == NULL)
		return setting_isolation_require_context;
	return strcmp(tenant, owner) != 0;
}

/* --- telling ------------------------------------------------------------ */

bool
guard_record(const char *owner, const char *object_type, const char *object,
			 const char *command)
{
	const char *tenant = context_tenant();
	Violation	violation = {0};

	/* what is recorded may have it forgotten */
	violation.command = command;
	violation.tenant = tenant == NULL ? NULL : pstrdup(tenant);
	violation.foreign_tenant = owner;
	violation.object_type = object_type;
	violation.object = object;
	violation.refused = setting_isolation == ISOLATION_ENFORCE;
	violation_record(&violation);
	return violation.refused;
}

/*
 * The owner is not named to who must not know of him.
 */
void
guard_report(const char *owner, const char *object_type, const char *object,
			 const char *command)
{
	const char *shared = "It is shared by all tenants.";
	const char *tenant;

	if (!guard_record(owner, object_type, object, command))
		return;
	tenant = context_tenant();
	if (tenant == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("access to %s %s is not allowed without a tenant's context",
						object_type, object),
				 errdetail("%s", owner == NULL ? shared : "It belongs to a tenant."),
				 owner == NULL ? 0 : errhint("Call meter_set_tenant() first.")));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("access to %s %s is not allowed in the context of tenant \"%s\"",
					object_type, object, tenant),
			 errdetail("%s", owner == NULL ? shared : "It does not belong to this tenant.")));
}

static void
report_address(const char *owner, const ObjectAddress *object,
			   const char *command)
{
	char	   *type = getObjectTypeDescription(object, true);
	char	   *identity = getObjectIdentity(object, true);

	guard_report(owner, type != NULL ? type : "object",
				 identity != NULL ? identity : psprintf("%u", object->objectId),
				 command);
}

/* --- temporary relations ------------------------------------------------ */

typedef struct Temporary
{
	Oid			relid;			/* the key */
	char		tenant[EVENT_MAX_TENANT + 1];
} Temporary;

static HTAB *temporaries = NULL;

/*
 * Remember in whose context it was made.  One that was not made after all, or
 * was dropped, is not met again.
 */
void
guard_temporary_made(Oid relid)
{
	const char *tenant = context_tenant();
	Temporary  *entry;

	if (tenant == NULL)
		return;
	if (temporaries == NULL)
	{
		HASHCTL		info = {0};

		info.keysize = sizeof(Oid);
		info.entrysize = sizeof(Temporary);
		temporaries = hash_create("meter temporary relations", 64, &info,
								  HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(temporaries, &relid, HASH_ENTER, NULL);
	strlcpy(entry->tenant, tenant, sizeof(entry->tenant));
}

static const char *
temporary_owner(Oid relid)
{
	Temporary  *entry;

	if (temporaries == NULL)
		return NULL;
	entry = hash_search(temporaries, &relid, HASH_FIND, NULL);
	return entry == NULL ? NULL : entry->tenant;
}

/* --- objects ------------------------------------------------------------ */

/*
 * Statistics hold values of all tenants' tables, and so do the views on them.
 */
static void
look_at_statistics(Oid relid, const char *command)
{
	if (relid != StatisticRelationId && relid != StatisticExtDataRelationId)
		return;
	if (context_tenant() != NULL || setting_isolation_require_context)
		guard_report(NULL, "table",
					 relid == StatisticRelationId ? "pg_catalog.pg_statistic" :
					 "pg_catalog.pg_statistic_ext_data", command);
}

HOT_STATEMENT KnownRelation guard_relations[KNOWN_RELATIONS];
HOT_STATEMENT uint64 guard_relations_at = 0;
static uint64 relation_changes = 0; /* how often one changed */

static void
forget_relations(void)
{
	memset(guard_relations, 0, sizeof(guard_relations));
	guard_relations_at = schema_changes;
}

static const char *
find_relation_owner(Oid relid)
{
	KnownRelation *place = &guard_relations[relid % KNOWN_RELATIONS];
	uint64		changes = relation_changes;
	Oid			schema = get_rel_namespace(relid);
	bool		plain;
	const char *owner;

	if (isTempNamespace(schema))
		return temporary_owner(relid);
	plain = get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE && relid != guard_inbox();
	owner = schema_tenant(schema);

	/* what changes while it is found out is not to be kept */
	if (OidIsValid(schema) && !schema_busy && changes == relation_changes &&
		guard_relations_at == schema_changes)
	{
		place->relid = relid;
		place->plain = plain;
		place->owner = owner;
		place->owned_at = 0;
	}
	return owner;
}

static inline const char *
relation_owner(Oid relid)
{
	const KnownRelation *known = &guard_relations[relid % KNOWN_RELATIONS];

	if (unlikely(guard_relations_at != schema_changes))
		forget_relations();
	return likely(known->relid == relid) ? known->owner : find_relation_owner(relid);
}

/*
 * It is that of the context's tenant.  What an implicit context is can change
 * without our being told.
 */
static void
remember_owned(Oid relid, const char *owner)
{
	KnownRelation *known = &guard_relations[relid % KNOWN_RELATIONS];

	if (context_is_explicit() && known->relid == relid && known->owner == owner)
		known->owned_at = context_changes;
}

HOT_PATH void
guard_relation(Oid relid, const char *command)
{
	const char *owner;
	ObjectAddress object;

	if (relid < FirstUnpinnedObjectId)
	{
		look_at_statistics(relid, command);
		return;
	}
	owner = relation_owner(relid);
	if (likely(!guard_is_foreign(owner)))
	{
		if (owner != NULL)
			remember_owned(relid, owner);
		return;
	}
	ObjectAddressSet(object, RelationRelationId, relid);
	report_address(pstrdup(owner), &object, command);
}

void
guard_schema(Oid schema, const char *command)
{
	const char *owner = schema_tenant(schema);
	ObjectAddress object;

	if (!guard_is_foreign(owner))
		return;
	ObjectAddressSet(object, NamespaceRelationId, schema);
	report_address(pstrdup(owner), &object, command);
}

/*
 * By the name of a schema, which may be one of another database.
 */
void
guard_schema_name(const char *schema, const char *command)
{
	const char *owner = schema_tenant_by_name(schema);

	if (guard_is_foreign(owner))
		guard_report(pstrdup(owner), "schema", quote_identifier(schema), command);
}

/*
 * The relation on which a trigger, policy or rule is, or InvalidOid.  The
 * triggers of foreign keys are the constraint's, which may be another's.
 */
static Oid
relation_of(const ObjectAddress *object)
{
	AttrNumber	number;
	Relation	catalog;
	HeapTuple	tuple;
	Oid			relid = InvalidOid;

	switch (object->classId)
	{
		case TriggerRelationId:
			number = Anum_pg_trigger_tgrelid;
			break;
		case PolicyRelationId:
			number = Anum_pg_policy_polrelid;
			break;
		case RewriteRelationId:
			number = Anum_pg_rewrite_ev_class;
			break;
		default:
			return InvalidOid;
	}
	catalog = table_open(object->classId, AccessShareLock);
	tuple = get_catalog_object_by_oid(catalog, get_object_attnum_oid(object->classId),
									  object->objectId);
	if (HeapTupleIsValid(tuple) &&
		!(object->classId == TriggerRelationId &&
		  ((Form_pg_trigger) GETSTRUCT(tuple))->tgisinternal))
	{
		bool		isnull;

		relid = DatumGetObjectId(heap_getattr(tuple, number, RelationGetDescr(catalog), &isnull));
	}
	table_close(catalog, AccessShareLock);
	return relid;
}

/*
 * Any object: by its schema, if it is of a kind that has one, or by the
 * relation on which it is.
 */
void
guard_object(const ObjectAddress *object, const char *command)
{
	int			cache;
	Oid			schema;
	Oid			relid;
	const char *owner;

	if (object->objectId < FirstUnpinnedObjectId)
		return;
	if (object->classId == RelationRelationId)
	{
		guard_relation(object->objectId, command);
		return;
	}
	relid = relation_of(object);
	if (OidIsValid(relid))
	{
		guard_relation(relid, command);
		return;
	}
	if (object->classId == NamespaceRelationId)
	{
		guard_schema(object->objectId, command);
		return;
	}
	if (!is_objectclass_supported(object->classId))
		return;

	/* what a statement has made for itself is gone at its end */
	cache = get_object_catcache_oid(object->classId);
	if (cache < 0 || !SearchSysCacheExists1(cache, ObjectIdGetDatum(object->objectId)))
		return;
	schema = get_object_namespace(object);
	if (!OidIsValid(schema))
		return;
	owner = schema_tenant(schema);
	if (guard_is_foreign(owner))
		report_address(pstrdup(owner), object, command);
}

/* --- partitions --------------------------------------------------------- */

/*
 * Rows are routed to partitions that no plan names.  Of each partitioned table
 * that rows went to, those that are in other schemas are kept: mostly none.
 */
typedef struct Partitions
{
	Oid			relid;			/* the key */
	int			n;
	Oid		   *elsewhere;
} Partitions;

static HTAB *partitions = NULL;
static MemoryContext partitions_context = NULL;
static bool partitions_stale = false;

static void
relation_changed(Oid relid)
{
	partitions_stale = true;
	relation_changes++;
	forget_relations();
}

static void
make_partitions(void)
{
	HASHCTL		info = {0};

	if (partitions_context == NULL)
		partitions_context = AllocSetContextCreate(TopMemoryContext, "meter partitions",
												   ALLOCSET_SMALL_SIZES);
	partitions = NULL;
	MemoryContextReset(partitions_context);
	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(Partitions);
	info.hcxt = partitions_context;
	partitions = hash_create("meter partitions", 16, &info,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	partitions_stale = false;
}

COLD_PATH static Partitions *
find_partitions(Oid relid)
{
	Partitions *entry;
	Partitions	found = {relid};
	List	   *children;
	ListCell   *cell;
	Oid			schema;

	if (partitions == NULL || partitions_stale)
		make_partitions();
	entry = hash_search(partitions, &relid, HASH_FIND, NULL);
	if (entry != NULL)
		return entry;
	schema = get_rel_namespace(relid);
	children = find_all_inheritors(relid, NoLock, NULL);
	found.elsewhere = MemoryContextAlloc(partitions_context,
										 list_length(children) * sizeof(Oid));
	foreach(cell, children)
		if (get_rel_namespace(lfirst_oid(cell)) != schema)
		found.elsewhere[found.n++] = lfirst_oid(cell);
	list_free(children);
	entry = hash_search(partitions, &relid, HASH_ENTER, NULL);
	*entry = found;
	return entry;
}

HOT_PATH void
guard_partitions(Oid relid, const char *command)
{
	Partitions *entry;
	Oid		   *elsewhere;
	int			n;

	if (relid < FirstUnpinnedObjectId || get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return;
	entry = find_partitions(relid);
	n = entry->n;
	if (n == 0)
		return;

	/* telling of one may have the entry forgotten */
	elsewhere = palloc(n * sizeof(Oid));
	memcpy(elsewhere, entry->elsewhere, n * sizeof(Oid));
	for (int i = 0; i < n; i++)
		guard_relation(elsewhere[i], command);
	pfree(elsewhere);
}

/* --- start -------------------------------------------------------------- */

void
guard_init(void)
{
	DefineCustomStringVariable("meter.isolation_exempt_roles",
							   "Sets the roles whose statements may leave the schema of the context's tenant.",
							   "A list of names, separated by commas: of who has logged in, or of SET ROLE.",
							   &exempt_setting,
							   "",
							   PGC_SUSET, GUC_LIST_INPUT,
							   guard_check_exempt, guard_assign_exempt, NULL);
	schema_init();
	owner_watch(relation_changed);
	CacheRegisterSyscacheCallback(AUTHOID, forget_users, (Datum) 0);
}

/*
 * The server's hooks stay its own as long as nothing is to be looked at, so that
 * its statements cost what they do without us.
 */
void
guard_assign_isolation(int newval, void *extra)
{
	static bool hooked = false;

	if (hooked || newval == ISOLATION_OFF)
		return;
	guard_executor_init();
	guard_explain_init();
	guard_object_init();
	hooked = true;
}

/*
 * guard_object.c
 *		The guard's eye on what is made, altered, dropped and called.
 *
 * What is dropped or truncated is looked at before it is.  What was made or
 * altered is looked at when the statement is done: then the catalogs say where
 * it is and on what it depends, as a foreign key on the table that it refers
 * to, a view on what it reads and a partition on its parent.  An error then
 * takes the whole statement back.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "context.h"
#include "core/hot.h"
#include "guard.h"
#include "schema.h"
#include "setting.h"

static HOT_STATEMENT object_access_hook_type next_access = NULL;

typedef struct TouchedObject
{
	Oid			class;
	Oid			object;
	int			subid;			/* of a column's default, the column */
	bool		made;			/* and not only altered */
} TouchedObject;

/* Of one utility statement; statements may contain statements. */
struct GuardTouched
{
	GuardTouched *outer;
	MemoryContext context;
	TouchedObject *objects;
	int			n;
	int			room;
};

static GuardTouched *touched = NULL;

GuardTouched *
guard_touched_begin(void)
{
	GuardTouched *outer = touched;
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "meter touched objects",
												  ALLOCSET_SMALL_SIZES);

	touched = MemoryContextAllocZero(context, sizeof(GuardTouched));
	touched->context = context;
	touched->outer = outer;
	return outer;
}

void
guard_touched_end(GuardTouched *outer)
{
	while (touched != NULL && touched != outer)
	{
		GuardTouched *done = touched;

		touched = done->outer;
		MemoryContextDelete(done->context);
	}
}

static void
touch(Oid class, Oid object, int subid, bool made)
{
	if (touched == NULL || object < FirstUnpinnedObjectId)
		return;

	/* a statement comes to the same object again and again */
	for (int i = Max(0, touched->n - 8); i < touched->n; i++)
		if (touched->objects[i].class == class && touched->objects[i].object == object &&
			touched->objects[i].subid == subid)
			return;
	if (touched->n == touched->room)
	{
		touched->room = Max(16, 2 * touched->room);
		if (touched->objects == NULL)
			touched->objects = MemoryContextAlloc(touched->context,
												  touched->room * sizeof(TouchedObject));
		else
			touched->objects = repalloc_huge(touched->objects,
											 touched->room * sizeof(TouchedObject));
	}
	touched->objects[touched->n].class = class;
	touched->objects[touched->n].object = object;
	touched->objects[touched->n].subid = subid;
	touched->objects[touched->n].made = made;
	touched->n++;
}

/*
 * All that the object depends on.
 */
static void
look_at_references(const ObjectAddress *object, const char *command)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	ObjectAddress *references = NULL;
	int			n = 0;
	int			room = 0;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->classId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->objectId));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);

		if (row->refobjid < FirstUnpinnedObjectId)
			continue;
		if (n == room)
		{
			room = Max(16, 2 * room);
			references = references == NULL ? palloc(room * sizeof(ObjectAddress)) :
				repalloc(references, room * sizeof(ObjectAddress));
		}
		ObjectAddressSubSet(references[n], row->refclassid, row->refobjid, row->refobjsubid);
		n++;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	for (int i = 0; i < n; i++)
		guard_object(&references[i], command);
	if (references != NULL)
		pfree(references);
}

/*
 * Look at what the statement has made and altered.
 */
void
guard_touched_check(const char *command)
{
	if (touched == NULL || touched->n == 0 || !IsTransactionState() || !guard_active())
		return;
	CommandCounterIncrement();
	for (int i = 0; i < touched->n; i++)
	{
		TouchedObject *place = &touched->objects[i];
		ObjectAddress object;

		CHECK_FOR_INTERRUPTS();
		ObjectAddressSet(object, place->class, place->object);
		if (place->class == AttrDefaultRelationId)
		{
			/* its hook tells of the table, in the place of its own number */
			object.objectId = GetAttrDefaultOid(place->object, place->subid);
			if (!OidIsValid(object.objectId))
				continue;
		}
		if (place->class == RelationRelationId &&
			!OidIsValid(get_rel_namespace(place->object)))
			continue;			/* made only for the statement */
		if (place->made && place->class == RelationRelationId &&
			get_rel_persistence(object.objectId) == RELPERSISTENCE_TEMP &&
			isTempNamespace(get_rel_namespace(object.objectId)))
			guard_temporary_made(object.objectId);
		guard_object(&object, command);
		look_at_references(&object, command);
	}
}

static void
look_at_dropped(Oid class, Oid objid, int subid, int flags, const char *command)
{
	ObjectAddress object;

	if (flags & PERFORM_DELETION_INTERNAL)
		return;
	ObjectAddressSubSet(object, class, objid, subid);
	guard_object(&object, command);
}

/*
 * Does it tell how many rows or blocks of a table were read, also of rows that
 * row security has hidden, as EXPLAIN ANALYZE would?
 */
static bool
is_counter(Oid function)
{
	switch (function)
	{
		case F_PG_STAT_GET_TUPLES_RETURNED:
		case F_PG_STAT_GET_TUPLES_FETCHED:
		case F_PG_STAT_GET_BLOCKS_FETCHED:
		case F_PG_STAT_GET_BLOCKS_HIT:
		case F_PG_STAT_GET_XACT_TUPLES_RETURNED:
		case F_PG_STAT_GET_XACT_TUPLES_FETCHED:
		case F_PG_STAT_GET_XACT_BLOCKS_FETCHED:
		case F_PG_STAT_GET_XACT_BLOCKS_HIT:
			return true;
		default:
			return false;
	}
}

static void
look_at_counter(Oid function)
{
	if ((context_tenant() == NULL && !setting_isolation_require_context) ||
		has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		return;
	guard_report(NULL, "function", psprintf("pg_catalog.%s(oid)", get_func_name(function)),
				 "EXECUTE");
}

static void
look_at_access(ObjectAccessType access, Oid class, Oid objid, int subid, void *arg)
{
	ObjectAddress object;
	const char *command = guard_utility_command;

	if (!guard_active())
		return;
	switch (access)
	{
		case OAT_FUNCTION_EXECUTE:
			if (objid < FirstUnpinnedObjectId)
			{
				look_at_counter(objid);
				break;
			}
			if (!guard_is_foreign(schema_tenant(get_func_namespace(objid))))
				break;
			ObjectAddressSet(object, ProcedureRelationId, objid);
			guard_object(&object, "EXECUTE");
			break;
		case OAT_TRUNCATE:
			guard_relation(objid, "TRUNCATE TABLE");
			break;
		case OAT_DROP:
			look_at_dropped(class, objid, subid, ((ObjectAccessDrop *) arg)->dropflags,
							command != NULL ? command : "DROP");
			break;
		case OAT_POST_CREATE:
			touch(class, objid, class == AttrDefaultRelationId ? subid : 0, true);
			break;
		case OAT_POST_ALTER:
			if (class == InheritsRelationId)
			{
				touch(RelationRelationId, objid, 0, false);
				touch(RelationRelationId, ((ObjectAccessPostAlter *) arg)->auxiliary_id, 0, false);
			}
			else
				touch(class, objid, 0, false);
			break;
		default:
			break;
	}
}

HOT_PATH static void
guard_access(ObjectAccessType access, Oid class, Oid objid, int subid, void *arg)
{
	if (unlikely(next_access != NULL))
		next_access(access, class, objid, subid, arg);

	/* most are the server's functions, and those are nobody's */
	if (likely(access == OAT_FUNCTION_EXECUTE && objid < FirstUnpinnedObjectId &&
			   !is_counter(objid)))
		return;
	look_at_access(access, class, objid, subid, arg);
}

void
guard_object_init(void)
{
	next_access = object_access_hook;
	object_access_hook = guard_access;
}

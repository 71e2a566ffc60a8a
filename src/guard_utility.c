/*
 * guard_utility.c
 *		The guard's eye on statements that are no queries.
 *
 * Such a statement names what it works on, and is looked at before it takes
 * its locks.  What it makes and alters is looked at afterwards, and the
 * queries in it (EXPLAIN, CREATE TABLE AS, COPY) as all queries are.
 *
 * Two things that outlive the context in which they were made are remembered
 * here: cursors WITH HOLD have their rows already.  And meter.tenant follows
 * the names of schemas and roles.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/rel.h"

#include "compat.h"
#include "context.h"
#include "core/hot.h"
#include "event.h"
#include "guard.h"
#include "owner.h"
#include "utility.h"

HOT_STATEMENT const char *guard_utility_command = NULL;

/* --- names -------------------------------------------------------------- */

static void
look_at_name(const RangeVar *name, const char *command)
{
	Oid			relid;

	if (name == NULL)
		return;
	relid = RangeVarGetRelid(name, NoLock, true);
	if (OidIsValid(relid))
		guard_relation(relid, command);
}

static void
look_at_names(List *names, const char *command)
{
	ListCell   *cell;

	foreach(cell, names)
		look_at_name(lfirst_node(RangeVar, cell), command);
}

/* Names of schemas, as strings. */
static void
look_at_schemas(List *names, const char *command)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		Oid			schema = get_namespace_oid(strVal(lfirst(cell)), true);

		if (OidIsValid(schema))
			guard_schema(schema, command);
	}
}

/*
 * An object of any kind, as COMMENT has it.  It stays locked, as it would be by
 * the statement itself.
 */
static void
look_at_any(ObjectType type, Node *name, const char *command)
{
	Relation	relation = NULL;
	ObjectAddress object;

	/* these are in no schema */
	if (type == OBJECT_DATABASE || type == OBJECT_ROLE || type == OBJECT_TABLESPACE ||
		type == OBJECT_LARGEOBJECT)
		return;
	object = get_object_address(type, name, &relation, AccessShareLock, true);
	if (relation != NULL)
	{
		guard_relation(RelationGetRelid(relation), command);
		relation_close(relation, NoLock);
	}
	if (OidIsValid(object.objectId))
		guard_object(&object, command);
}

/* --- statements --------------------------------------------------------- */

static void
look_at_grant(const GrantStmt *grant, const char *command)
{
	ListCell   *cell;

	if (grant->targtype == ACL_TARGET_ALL_IN_SCHEMA)
	{
		look_at_schemas(grant->objects, command);
		return;
	}
	if (grant->targtype != ACL_TARGET_OBJECT)
		return;
	switch (grant->objtype)
	{
		case OBJECT_TABLE:
		case OBJECT_SEQUENCE:
			look_at_names(grant->objects, command);
			break;
		case OBJECT_SCHEMA:
			look_at_schemas(grant->objects, command);
			break;
		case OBJECT_FUNCTION:
		case OBJECT_PROCEDURE:
		case OBJECT_ROUTINE:
			foreach(cell, grant->objects)
				look_at_any(grant->objtype, lfirst(cell), command);
			break;
		case OBJECT_TYPE:
		case OBJECT_DOMAIN:
			foreach(cell, grant->objects)
				look_at_any(grant->objtype,
							(Node *) makeTypeNameFromNameList(lfirst(cell)), command);
			break;
		default:
			break;
	}
}

/*
 * A foreign table that is another tenant's table, if its server leads back here.
 */
static void
look_at_options(List *options, const char *command)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (option->arg != NULL && strcmp(option->defname, "schema_name") == 0)
			guard_schema_name(defGetString(option), command);
	}
}

static void
look_at_create(const CreateStmt *create, const char *command)
{
	ListCell   *cell;

	look_at_names(create->inhRelations, command);
	foreach(cell, create->tableElts)
	{
		Node	   *element = lfirst(cell);

		if (IsA(element, TableLikeClause))
			look_at_name(((TableLikeClause *) element)->relation, command);
	}
}

static void
look_at_alter(const AlterTableStmt *alter, const char *command)
{
	ListCell   *cell;

	look_at_name(alter->relation, command);
	foreach(cell, alter->cmds)
	{
		AlterTableCmd *step = lfirst_node(AlterTableCmd, cell);

		if (step->def == NULL)
			continue;
		if (IsA(step->def, RangeVar))
			look_at_name((RangeVar *) step->def, command);
		else if (IsA(step->def, PartitionCmd))
			look_at_name(((PartitionCmd *) step->def)->name, command);
		else if (IsA(step->def, Constraint))
			look_at_name(((Constraint *) step->def)->pktable, command);
		else if (step->subtype == AT_GenericOptions && IsA(step->def, List))
			look_at_options((List *) step->def, command);
	}
}

/*
 * The table of a name whose last part is a trigger's, policy's or rule's.
 */
static RangeVar *
table_of(List *name)
{
	return makeRangeVarFromNameList(list_truncate(list_copy(name), list_length(name) - 1));
}

/*
 * Before a drop is refused with a list of what depends on the object.
 */
static void
look_at_drop(const DropStmt *drop, const char *command)
{
	ListCell   *cell;

	foreach(cell, drop->objects)
	{
		switch (drop->removeType)
		{
			case OBJECT_SCHEMA:
				look_at_schemas(list_make1(lfirst(cell)), command);
				break;
			case OBJECT_TABLE:
			case OBJECT_SEQUENCE:
			case OBJECT_VIEW:
			case OBJECT_MATVIEW:
			case OBJECT_INDEX:
			case OBJECT_FOREIGN_TABLE:
				look_at_name(makeRangeVarFromNameList(lfirst_node(List, cell)), command);
				break;
			case OBJECT_FUNCTION:
			case OBJECT_PROCEDURE:
			case OBJECT_ROUTINE:
			case OBJECT_AGGREGATE:
			case OBJECT_TYPE:
			case OBJECT_DOMAIN:
				look_at_any(drop->removeType, lfirst(cell), command);
				break;
			case OBJECT_TRIGGER:
			case OBJECT_POLICY:
			case OBJECT_RULE:
				look_at_name(table_of(lfirst_node(List, cell)), command);
				break;
			case OBJECT_CAST:
				look_at_any(OBJECT_TYPE, linitial(lfirst_node(List, cell)), command);
				look_at_any(OBJECT_TYPE, lsecond(lfirst_node(List, cell)), command);
				break;
			default:
				break;
		}
	}
}

/*
 * What an ALTER statement names: a relation, or else an object of another kind.
 */
static void
look_at_target(const RangeVar *relation, ObjectType type, Node *object,
			   const char *command)
{
	if (relation != NULL)
		look_at_name(relation, command);
	else if (object == NULL)
		return;
	else if (type == OBJECT_SCHEMA)
		look_at_schemas(list_make1(object), command);
	else if ((type == OBJECT_TYPE || type == OBJECT_DOMAIN) && IsA(object, List))
		look_at_any(type, (Node *) makeTypeNameFromNameList((List *) object), command);
	else
		look_at_any(type, object, command);
}

static void
look_at_rename(const RenameStmt *rename, const char *command)
{
	if (rename->renameType == OBJECT_SCHEMA)
		look_at_schemas(list_make1(makeString(rename->subname)), command);
	else if (rename->renameType == OBJECT_DOMCONSTRAINT)
		look_at_target(NULL, OBJECT_DOMAIN, rename->object, command);
	else
		look_at_target(rename->relation, rename->renameType, rename->object, command);
}

static void
look_at_vacuum(const VacuumStmt *vacuum, const char *command)
{
	ListCell   *cell;

	foreach(cell, vacuum->rels)
		look_at_name(lfirst_node(VacuumRelation, cell)->relation, command);
}

static void
look_at_reindex(const ReindexStmt *reindex, const char *command)
{
	if (reindex->kind == REINDEX_OBJECT_SCHEMA)
		look_at_schemas(list_make1(makeString(pstrdup(reindex->name))), command);
	else
		look_at_name(reindex->relation, command);
}

static void
look_at_publication(List *objects, const char *command)
{
	ListCell   *cell;

	foreach(cell, objects)
	{
		PublicationObjSpec *object = lfirst_node(PublicationObjSpec, cell);

		if (object->pubtable != NULL)
			look_at_name(object->pubtable->relation, command);
		else if (object->pubobjtype == PUBLICATIONOBJ_TABLES_IN_SCHEMA)
			look_at_schemas(list_make1(makeString(object->name)), command);
	}
}

static void
look_at_default_privileges(const AlterDefaultPrivilegesStmt *alter,
						   const char *command)
{
	ListCell   *cell;

	foreach(cell, alter->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "schemas") == 0)
			look_at_schemas((List *) option->arg, command);
	}
}

/* --- cursors WITH HOLD -------------------------------------------------- */

typedef struct HeldCursor
{
	char		name[NAMEDATALEN];	/* the key */
	TimestampTz made_at;
	char		tenant[EVENT_MAX_TENANT + 1];
} HeldCursor;

static HTAB *held = NULL;

static void
remember_cursor(const DeclareCursorStmt *declare)
{
	const char *tenant = context_tenant();
	Portal		portal = GetPortalByName(declare->portalname);
	HeldCursor *entry;

	if (tenant == NULL || portal == NULL || !(declare->options & CURSOR_OPT_HOLD))
		return;
	if (held == NULL)
	{
		HASHCTL		info = {0};

		info.keysize = NAMEDATALEN;
		info.entrysize = sizeof(HeldCursor);
		held = hash_create("meter cursors", 16, &info, HASH_ELEM | HASH_STRINGS);
	}
	entry = hash_search(held, declare->portalname, HASH_ENTER, NULL);
	entry->made_at = portal->creation_time;
	strlcpy(entry->tenant, tenant, sizeof(entry->tenant));
}

static void
look_at_cursor(const char *name, const char *command)
{
	Portal		portal = GetPortalByName(name);
	HeldCursor *entry;

	if (held == NULL || portal == NULL)
		return;
	entry = hash_search(held, name, HASH_FIND, NULL);
	if (entry != NULL && entry->made_at == portal->creation_time &&
		guard_is_foreign(entry->tenant))
		guard_report(pstrdup(entry->tenant), "cursor", quote_identifier(name), command);
}

/* --- all statements ----------------------------------------------------- */

/*
 * What a statement names.
 */
static void
look_before(Node *statement, const char *command)
{
	switch (nodeTag(statement))
	{
		case T_LockStmt:
			look_at_names(((LockStmt *) statement)->relations, command);
			break;
		case T_GrantStmt:
			look_at_grant((GrantStmt *) statement, command);
			break;
		case T_AlterDefaultPrivilegesStmt:
			look_at_default_privileges((AlterDefaultPrivilegesStmt *) statement, command);
			break;
		case T_CommentStmt:
			look_at_any(((CommentStmt *) statement)->objtype,
						((CommentStmt *) statement)->object, command);
			break;
		case T_SecLabelStmt:
			look_at_any(((SecLabelStmt *) statement)->objtype,
						((SecLabelStmt *) statement)->object, command);
			break;
		case T_CreateStmt:
			look_at_create((CreateStmt *) statement, command);
			break;
		case T_CreateForeignTableStmt:
			look_at_create(&((CreateForeignTableStmt *) statement)->base, command);
			look_at_options(((CreateForeignTableStmt *) statement)->options, command);
			break;
		case T_ImportForeignSchemaStmt:
			guard_schema_name(((ImportForeignSchemaStmt *) statement)->remote_schema, command);
			break;
		case T_AlterTableStmt:
			look_at_alter((AlterTableStmt *) statement, command);
			break;
		case T_RenameStmt:
			look_at_rename((RenameStmt *) statement, command);
			break;
		case T_AlterObjectSchemaStmt:
			look_at_target(((AlterObjectSchemaStmt *) statement)->relation,
						   ((AlterObjectSchemaStmt *) statement)->objectType,
						   ((AlterObjectSchemaStmt *) statement)->object, command);
			break;
		case T_AlterOwnerStmt:
			look_at_target(((AlterOwnerStmt *) statement)->relation,
						   ((AlterOwnerStmt *) statement)->objectType,
						   ((AlterOwnerStmt *) statement)->object, command);
			break;
		case T_AlterObjectDependsStmt:
			look_at_target(((AlterObjectDependsStmt *) statement)->relation,
						   ((AlterObjectDependsStmt *) statement)->objectType,
						   ((AlterObjectDependsStmt *) statement)->object, command);
			break;
		case T_AlterExtensionContentsStmt:
			look_at_any(((AlterExtensionContentsStmt *) statement)->objtype,
						((AlterExtensionContentsStmt *) statement)->object, command);
			break;
		case T_DropStmt:
			look_at_drop((DropStmt *) statement, command);
			break;
		case T_IndexStmt:
			look_at_name(((IndexStmt *) statement)->relation, command);
			break;
		case T_RuleStmt:
			look_at_name(((RuleStmt *) statement)->relation, command);
			break;
		case T_CreateTrigStmt:
			look_at_name(((CreateTrigStmt *) statement)->relation, command);
			break;
		case T_CreatePolicyStmt:
			look_at_name(((CreatePolicyStmt *) statement)->table, command);
			break;
		case T_AlterPolicyStmt:
			look_at_name(((AlterPolicyStmt *) statement)->table, command);
			break;
		case T_AlterSeqStmt:
			look_at_name(((AlterSeqStmt *) statement)->sequence, command);
			break;
		case T_RefreshMatViewStmt:
			look_at_name(((RefreshMatViewStmt *) statement)->relation, command);
			break;
		case T_CreatePublicationStmt:
			look_at_publication(((CreatePublicationStmt *) statement)->pubobjects, command);
			break;
		case T_AlterPublicationStmt:
			look_at_publication(((AlterPublicationStmt *) statement)->pubobjects, command);
			break;
		case T_VacuumStmt:
			look_at_vacuum((VacuumStmt *) statement, command);
			break;
		case T_ReindexStmt:
			look_at_reindex((ReindexStmt *) statement, command);
			break;
#if PG_VERSION_NUM < 190000
		case T_ClusterStmt:
			look_at_name(((ClusterStmt *) statement)->relation, command);
			break;
#endif
		case T_FetchStmt:
			look_at_cursor(((FetchStmt *) statement)->portalname, command);
			break;
		default:
			break;
	}
}

/*
 * A schema or role that has another name now is the tenant's all the same.
 */
static void
follow_rename(const RenameStmt *rename)
{
	static SPIPlanPtr plans[2];
	bool		role = rename->renameType == OBJECT_ROLE;
	Oid			schema = get_namespace_oid("meter", true);
	OwnerScope	scope;
	Datum		args[2];

	if (!OidIsValid(schema) || !OidIsValid(get_relname_relid("tenant", schema)) ||
		creating_extension)
		return;
	owner_begin(&scope);
	owner_plan(&plans[role],
			   role ? "UPDATE meter.tenant SET role_name = $2 WHERE role_name = $1"
			   : "UPDATE meter.tenant SET schema_name = $2 WHERE schema_name = $1",
			   2, NAMEOID, NAMEOID);
	args[0] = DirectFunctionCall1(namein, CStringGetDatum(rename->subname));
	args[1] = DirectFunctionCall1(namein, CStringGetDatum(rename->newname));
	if (SPI_execute_plan(plans[role], args, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not update meter.tenant");
	owner_end(&scope);
}

void
guard_utility(UTILITY_PARAMETERS)
{
	Node	   *statement = planned->utilityStmt;
	const char *outer_command = guard_utility_command;
	bool		outer_explaining = guard_explaining;

	if (guard_active())
	{
		const char *command = CreateCommandName(statement);
		GuardTouched *outer;

		look_before(statement, command);
		outer = guard_touched_begin();
		guard_utility_command = command;
		guard_explaining |= IsA(statement, ExplainStmt);
		PG_TRY();
		{
			utility_run(UTILITY_ARGUMENTS);
			guard_touched_check(command);
		}
		PG_FINALLY();
		{
			guard_utility_command = outer_command;
			guard_explaining = outer_explaining;
			guard_touched_end(outer);
		}
		PG_END_TRY();
		if (IsA(statement, DeclareCursorStmt))
			remember_cursor((DeclareCursorStmt *) statement);
	}
	else
	{
		/* what is called from here are statements of their own */
		guard_utility_command = NULL;
		utility_run(UTILITY_ARGUMENTS);
		guard_utility_command = outer_command;
	}
	if (IsA(statement, RenameStmt) &&
		(((RenameStmt *) statement)->renameType == OBJECT_SCHEMA ||
		 ((RenameStmt *) statement)->renameType == OBJECT_ROLE))
		follow_rename((RenameStmt *) statement);
}

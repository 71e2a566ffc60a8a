/*
 * reference.c
 *		Foreign keys that a restore by several jobs can fill in any order.
 *
 * pg_restore -j fills tables at once, the largest first.  Of tables that it
 * has created it makes the foreign keys afterwards; those of an extension are
 * there before.  So a row may come before the one that it refers to.  All rows
 * of a table come by one COPY, however: what is referred to is either all
 * there or not at all.
 *
 * Hence these triggers in place of the foreign keys' own ones on the referring
 * side: they do the same, but let a row pass as long as there is nothing at
 * all in the table referred to.  What deletes and renames do is left to the
 * foreign keys.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "owner.h"

/* What the trigger is given. */
enum
{
	ARG_COLUMN,
	ARG_TABLE,
	ARG_KEY,
	ARG_CONSTRAINT,
	N_ARGS
};

/* The statements for a table that is referred to. */
typedef struct Referred
{
	char	   *table;
	SPIPlanPtr	find;			/* lock the row of key $1 */
	SPIPlanPtr	any;			/* is there a row at all? */
	struct Referred *next;
} Referred;

static Referred *all_referred = NULL;

static Referred *
find_referred(const char *table)
{
	Referred   *referred;

	for (referred = all_referred; referred != NULL; referred = referred->next)
		if (strcmp(referred->table, table) == 0)
			return referred;
	referred = MemoryContextAllocZero(TopMemoryContext, sizeof(Referred));
	referred->table = MemoryContextStrdup(TopMemoryContext, table);
	referred->next = all_referred;
	all_referred = referred;
	return referred;
}

static bool
returns_row(SPIPlanPtr plan, Datum *args)
{
	if (SPI_execute_plan(plan, args, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for what is referred to");
	return SPI_processed > 0;
}

/*
 * As a foreign key does it: as the owner, and with a lock on the row, so that
 * it cannot go before the one that refers to it is there.
 */
static bool
is_there(char **args, Datum key, Oid type)
{
	Referred   *referred = find_referred(args[ARG_TABLE]);
	const char *table = quote_identifier(args[ARG_TABLE]);
	const char *column = quote_identifier(args[ARG_KEY]);
	OwnerScope	scope;
	bool		found;

	owner_begin(&scope);
	owner_plan(&referred->find,
			   psprintf("SELECT FROM ONLY meter.%s AS r WHERE r.%s = $1 FOR KEY SHARE",
						table, column),
			   1, type);
	owner_plan(&referred->any, psprintf("SELECT FROM ONLY meter.%s LIMIT 1", table), 0);
	found = returns_row(referred->find, &key) || !returns_row(referred->any, NULL);
	owner_end(&scope);
	return found;
}

PG_FUNCTION_INFO_V1(meter_reference_check);

Datum
meter_reference_check(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	char	  **args;
	int			column;
	Form_pg_attribute attribute;
	Datum		key;
	Datum		before;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ||
		trigger->tg_trigger->tgnargs != N_ARGS)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"reference_check")));
	desc = RelationGetDescr(trigger->tg_relation);
	args = trigger->tg_trigger->tgargs;
	column = SPI_fnumber(desc, args[ARG_COLUMN]);
	if (column <= 0)
		elog(ERROR, "table \"%s\" has no column \"%s\"",
			 RelationGetRelationName(trigger->tg_relation), args[ARG_COLUMN]);

	attribute = TupleDescAttr(desc, column - 1);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		key = heap_getattr(trigger->tg_newtuple, column, desc, &isnull);
		if (isnull)
			return PointerGetDatum(NULL);
		before = heap_getattr(trigger->tg_trigtuple, column, desc, &isnull);
		if (!isnull && datumIsEqual(before, key, attribute->attbyval, attribute->attlen))
			return PointerGetDatum(NULL);
	}
	else
	{
		key = heap_getattr(trigger->tg_trigtuple, column, desc, &isnull);
		if (isnull)
			return PointerGetDatum(NULL);
	}

	if (!is_there(args, key, SPI_gettypeid(desc, column)))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("insert or update on table \"%s\" violates foreign key constraint \"%s\"",
						RelationGetRelationName(trigger->tg_relation),
						args[ARG_CONSTRAINT]),
				 errdetail("Key (%s)=(%s) is not present in table \"%s\".",
						   args[ARG_COLUMN],
						   SPI_getvalue(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
										trigger->tg_newtuple : trigger->tg_trigtuple,
										desc, column),
						   args[ARG_TABLE]),
				 errtableconstraint(trigger->tg_relation, args[ARG_CONSTRAINT])));
	return PointerGetDatum(NULL);
}

/*
 * users.c
 *		Sets of distinct users, to become hll values.
 *
 * The transition state of hll's own aggregate takes 128 kB whatever it holds,
 * too much for the tens of thousands of groups a rollup keeps in memory at a
 * time.  So a group collects the distinct hashes of its users, which are few
 * for most, and the hll value is made from them when the row is written, with
 * hll's own functions: the representation stays hll's affair.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "users.h"

/* Above this many, one call of the aggregate beats adding one by one. */
#define USERS_FEW 48

static void
lookup(FmgrInfo *info, char *schema, char *name, int nargs, Oid arg1, Oid arg2)
{
	Oid			args[2] = {arg1, arg2};
	Oid			function = LookupFuncName(list_make2(makeString(schema),
													 makeString(name)),
										  nargs, args, false);

	fmgr_info(function, info);
}

/*
 * Look up hll's functions in the schema of its type.
 */
void
users_library(UsersLibrary *library, Oid hll_type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(hll_type));
	char	   *schema;
	Oid			hash_type;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", hll_type);
	schema = get_namespace_name(((Form_pg_type) GETSTRUCT(tuple))->typnamespace);
	ReleaseSysCache(tuple);

	lookup(&library->hash_text, schema, "hll_hash_text", 2,
		   TEXTOID, INT4OID);
	lookup(&library->empty, schema, "hll_empty", 0, InvalidOid, InvalidOid);
	hash_type = get_func_rettype(library->hash_text.fn_oid);
	lookup(&library->add, schema, "hll_add", 2, hll_type, hash_type);
}

/*
 * The hash of a user's name, as hll_hash_text() gives it.
 */
int64
users_hash(UsersLibrary *library, Datum user_id)
{
	return DatumGetInt64(FunctionCall2(&library->hash_text, user_id,
									   Int32GetDatum(0)));
}

static bool
users_insert(int64 *slots, uint32 size, int64 hash)
{
	/* the hash's low bits are as good as any */
	uint32		at = (uint32) hash & (size - 1);

	while (slots[at] != 0)
	{
		if (slots[at] == hash)
			return false;
		at = (at + 1) & (size - 1);
	}
	slots[at] = hash;
	return true;
}

/*
 * Add a hash; memory comes from the current context, the same in all calls.
 */
void
users_add(Users *users, int64 hash)
{
	if (hash == 0)
	{
		users->has_zero = true;
		return;
	}
	if (4 * (users->n + 1) > 3 * users->size)
	{
		uint32		size = users->size == 0 ? 8 : 2 * users->size;
		int64	   *slots = palloc0(size * sizeof(int64));

		for (uint32 i = 0; i < users->size; i++)
			if (users->slots[i] != 0)
				users_insert(slots, size, users->slots[i]);
		if (users->slots != NULL)
			pfree(users->slots);
		users->slots = slots;
		users->size = size;
	}
	if (users_insert(users->slots, users->size, hash))
		users->n++;
}

void
users_merge(Users *users, const Users *other)
{
	users->has_zero |= other->has_zero;
	for (uint32 i = 0; i < other->size; i++)
		if (other->slots[i] != 0)
			users_add(users, other->slots[i]);
}

bool
users_empty(const Users *users)
{
	return users->n == 0 && !users->has_zero;
}

/*
 * The hll value of a set that is not empty.  Must be called within SPI.
 */
Datum
users_to_hll(UsersLibrary *library, const Users *users)
{
	Datum	   *hashes = palloc((users->n + 1) * sizeof(Datum));
	int			n = 0;
	Datum		result;
	bool		isnull;

	if (users->has_zero)
		hashes[n++] = Int64GetDatum(0);
	for (uint32 i = 0; i < users->size; i++)
		if (users->slots[i] != 0)
			hashes[n++] = Int64GetDatum(users->slots[i]);

	if (n <= USERS_FEW)
	{
		result = FunctionCall0Coll(&library->empty, InvalidOid);
		for (int i = 0; i < n; i++)
			result = FunctionCall2(&library->add, result, hashes[i]);
	}
	else
	{
		MemoryContext context = CurrentMemoryContext;
		Oid			type = INT8ARRAYOID;
		Datum		array = PointerGetDatum(construct_array(hashes, n, INT8OID, 8,
															FLOAT8PASSBYVAL,
															TYPALIGN_DOUBLE));

		if (SPI_execute_with_args("SELECT meter.users_of($1)", 1, &type, &array,
								  NULL, true, 1) != SPI_OK_SELECT ||
			SPI_processed != 1)
			elog(ERROR, "could not make a set of users");
		MemoryContextSwitchTo(context); /* SPI has left its own */
		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
							   &isnull);
		result = PointerGetDatum(PG_DETOAST_DATUM_COPY(result));
		SPI_freetuptable(SPI_tuptable);
	}
	pfree(hashes);
	return result;
}

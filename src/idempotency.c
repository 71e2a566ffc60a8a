/*
 * idempotency.c
 *		Claiming idempotency keys.
 *
 * A key belongs to the transaction that first inserts it; another session
 * that claims it meanwhile waits on the unique index until that transaction
 * ends and then finds a repeat or, after a rollback, a fresh key.  Keys of
 * one call are claimed in sorted order, so that two calls with the same keys
 * cannot deadlock.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "idempotency.h"
#include "owner.h"
#include "setting.h"

/* One distinct (tenant, key) of a call, and which of its events have it. */
typedef struct KeyClaim
{
	Event	   *event;
	int			index;			/* into events and claims */
	bool		fresh;
} KeyClaim;

static int
compare_text(const text *a, const text *b)
{
	int			la = VARSIZE_ANY_EXHDR(a);
	int			lb = VARSIZE_ANY_EXHDR(b);
	int			c = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(la, lb));

	return c != 0 ? c : la - lb;
}

static int
compare_key(const KeyClaim *a, const KeyClaim *b)
{
	int			c = compare_text(a->event->tenant, b->event->tenant);

	if (c == 0)
		c = compare_text(a->event->idempotency_key, b->event->idempotency_key);
	return c;
}

static int
compare_claim(const void *pa, const void *pb)
{
	const KeyClaim *a = pa;
	const KeyClaim *b = pb;
	int			c = compare_key(a, b);

	/* the first event of a call with the key is the one that counts */
	return c != 0 ? c : (a->index > b->index) - (a->index < b->index);
}

static ArrayType *
text_array(Datum *values, int n)
{
	return construct_array(values, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * Insert the first claim of each key; RETURNING names those that were new or
 * whose window had passed.
 */
static void
claim_first(KeyClaim *claims, int n)
{
	static SPIPlanPtr plan = NULL;
	Datum	   *tenants = palloc(n * sizeof(Datum));
	Datum	   *keys = palloc(n * sizeof(Datum));
	Datum	   *ats = palloc(n * sizeof(Datum));
	int		   *firsts = palloc(n * sizeof(int));
	TimestampTz now = GetCurrentTimestamp();
	int			nfirst = 0;
	Datum		args[5];

	for (int i = 0; i < n; i++)
	{
		if (i > 0 && compare_key(&claims[i - 1], &claims[i]) == 0)
			continue;
		firsts[nfirst] = i;
		tenants[nfirst] = PointerGetDatum(claims[i].event->tenant);
		keys[nfirst] = PointerGetDatum(claims[i].event->idempotency_key);
		ats[nfirst] = TimestampTzGetDatum(claims[i].event->at);
		nfirst++;
	}

	owner_plan(&plan,
			   "INSERT INTO meter.idempotency_key AS k (tenant, key, at, seen_at) "
			   "SELECT n.tenant, n.key, n.at, $4 "
			   "FROM unnest($1, $2, $3) WITH ORDINALITY AS n(tenant, key, at, i) "
			   "ORDER BY n.i "
			   "ON CONFLICT (tenant, key) DO UPDATE "
			   "SET seen_at = EXCLUDED.seen_at, at = EXCLUDED.at, repeats = 0 "
			   "WHERE k.seen_at < $5 "
			   "RETURNING tenant, key",
			   5, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID,
			   TIMESTAMPTZOID, TIMESTAMPTZOID);
	args[0] = PointerGetDatum(text_array(tenants, nfirst));
	args[1] = PointerGetDatum(text_array(keys, nfirst));
	args[2] = PointerGetDatum(construct_array(ats, nfirst, TIMESTAMPTZOID, 8,
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	args[3] = TimestampTzGetDatum(now);
	args[4] = TimestampTzGetDatum(now - setting_dedup_window * USECS_PER_MINUTE);
	if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not claim idempotency keys");

	for (uint64 row = 0, next = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		text	   *tenant = DatumGetTextPP(SPI_getbinval(tuple, desc, 1, &isnull));
		text	   *key = DatumGetTextPP(SPI_getbinval(tuple, desc, 2, &isnull));

		/* the rows come back in the order in which they went in */
		while (next < nfirst &&
			   (compare_text(claims[firsts[next]].event->tenant, tenant) != 0 ||
				compare_text(claims[firsts[next]].event->idempotency_key, key) != 0))
			next++;
		if (next == nfirst)
			elog(ERROR, "idempotency key was returned out of order");
		claims[firsts[next++]].fresh = true;
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Count the repeats that were dropped, on the key's row.
 */
static void
count_repeats(KeyClaim *claims, int n)
{
	static SPIPlanPtr plan = NULL;
	Datum	   *tenants = palloc(n * sizeof(Datum));
	Datum	   *keys = palloc(n * sizeof(Datum));
	int			nrepeats = 0;
	Datum		args[2];

	for (int i = 0; i < n; i++)
	{
		if (claims[i].fresh)
			continue;
		tenants[nrepeats] = PointerGetDatum(claims[i].event->tenant);
		keys[nrepeats] = PointerGetDatum(claims[i].event->idempotency_key);
		nrepeats++;
	}
	if (nrepeats == 0)
		return;

	owner_plan(&plan,
			   "UPDATE meter.idempotency_key AS k SET repeats = k.repeats + n.times "
			   "FROM (SELECT u.tenant, u.key, pg_catalog.count(*) AS times "
			   "      FROM unnest($1, $2) AS u(tenant, key) GROUP BY 1, 2) AS n "
			   "WHERE k.tenant = n.tenant AND k.key = n.key",
			   2, TEXTARRAYOID, TEXTARRAYOID);
	args[0] = PointerGetDatum(text_array(tenants, nrepeats));
	args[1] = PointerGetDatum(text_array(keys, nrepeats));
	if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not count repeated idempotency keys");
}

/*
 * Claim the idempotency keys of the events that have one, for the current
 * transaction, and say of each event whether it is a repeat.  Repeats are
 * counted.
 */
void
idempotency_claim(Event *const *events, int nevents, Claim *result)
{
	KeyClaim   *claims = palloc(nevents * sizeof(KeyClaim));
	int			n = 0;
	OwnerScope	scope;

	for (int i = 0; i < nevents; i++)
	{
		result[i] = CLAIM_FRESH;
		if (events[i]->idempotency_key == NULL)
			continue;
		claims[n].event = events[i];
		claims[n].index = i;
		claims[n].fresh = false;
		n++;
	}
	if (n == 0)
	{
		pfree(claims);
		return;
	}
	qsort(claims, n, sizeof(KeyClaim), compare_claim);
	owner_begin(&scope);
	claim_first(claims, n);
	count_repeats(claims, n);
	owner_end(&scope);
	for (int i = 0; i < n; i++)
		if (!claims[i].fresh)
			result[claims[i].index] = CLAIM_REPEAT;
	pfree(claims);
}

/*
 * fold.c
 *		The cap on groups per tenant and hour.
 *
 * A client that puts a session id into its endpoint would make a group, and a
 * row, of every call.  So a tenant's hour has at most
 * meter.max_groups_per_hour groups of its own; the events of any further group
 * are folded into a group with the same metric and dimensions whose service,
 * endpoint and method are (other), and counted in its column folded.  Should
 * the dimensions themselves run away, they are folded too, so that there are
 * never more than twice as many rows plus one per metric.
 *
 * Nothing is lost: totals per tenant and metric are what they would be without
 * the cap.  Groups that have a row keep it; among new ones, those with the most
 * events get theirs.  Gauges are left alone: the levels of different things
 * cannot be merged into the level of one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "setting.h"
#include "usage.h"

#define FOLD_NAME "(other)"

/* The groups of one tenant's hour, neighbours in the sorted groups. */
typedef struct FoldRun
{
	UsageHour **groups;
	int			ngroups;
	text	   *tenant;
	TimestampTz hour;
	int64		existing;		/* rows of the hour in meter.usage_hourly */
} FoldRun;

static uint32
key_prefix(const PackedKey *key)
{
	uint32		tenant_length;

	memcpy(&tenant_length, key->data, sizeof(tenant_length));
	return sizeof(tenant_length) + tenant_length + sizeof(int64);
}

static bool
same_run(const UsageHour *a, const UsageHour *b)
{
	uint32		n = key_prefix(&a->key);

	return n == key_prefix(&b->key) && memcmp(a->key.data, b->key.data, n) == 0;
}

static FoldRun *
fold_runs(UsageHour **groups, int ngroups, int *nruns)
{
	FoldRun    *runs = MemoryContextAllocHuge(CurrentMemoryContext,
											  Max(1, ngroups) * sizeof(FoldRun));
	int			n = 0;

	for (int i = 0; i < ngroups; i++)
	{
		const char *position = groups[i]->key.data;

		if (i > 0 && same_run(groups[i - 1], groups[i]))
		{
			runs[n - 1].ngroups++;
			continue;
		}
		runs[n].groups = &groups[i];
		runs[n].ngroups = 1;
		runs[n].tenant = (text *) key_get_varlena(&position);
		runs[n].hour = key_get_int64(&position);
		runs[n].existing = 0;
		n++;
	}
	*nruns = n;
	return runs;
}

/*
 * How many rows each tenant's hour has already.
 */
static void
fold_count_existing(FoldRun *runs, int nruns)
{
	static SPIPlanPtr plan = NULL;
	Datum	   *tenants = palloc(nruns * sizeof(Datum));
	Datum	   *hours = palloc(nruns * sizeof(Datum));
	MemoryContext context = CurrentMemoryContext;
	Datum		args[2];

	for (int i = 0; i < nruns; i++)
	{
		tenants[i] = PointerGetDatum(runs[i].tenant);
		hours[i] = TimestampTzGetDatum(runs[i].hour);
	}
	owner_plan(&plan,
			   "SELECT n.i, (SELECT pg_catalog.count(*) FROM meter.usage_hourly AS u "
			   "             WHERE u.tenant = n.tenant AND u.hour = n.hour) "
			   "FROM unnest($1, $2) WITH ORDINALITY AS n(tenant, hour, i)",
			   2, TEXTARRAYOID, TIMESTAMPTZARRAYOID);
	args[0] = PointerGetDatum(construct_array(tenants, nruns, TEXTOID, -1, false,
											  TYPALIGN_INT));
	args[1] = PointerGetDatum(construct_array(hours, nruns, TIMESTAMPTZOID, 8,
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count groups");
	MemoryContextSwitchTo(context); /* SPI has left its own */
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		int64		i = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));

		runs[i - 1].existing = DatumGetInt64(SPI_getbinval(tuple, desc, 2,
														   &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	pfree(tenants);
	pfree(hours);
}

/*
 * Mark the groups that have a row already.  Returns how many.
 */
static int
fold_keep_existing(Usage *usage, const FoldRun *run)
{
	static SPIPlanPtr plan = NULL;
	KeyBuffer  *key = &usage->window[0].hour_key;
	Datum		args[2];
	MemoryContext context = CurrentMemoryContext;
	int			nkept = 0;

	owner_plan(&plan,
			   "SELECT metric, service, endpoint, method, dims FROM meter.usage_hourly "
			   "WHERE tenant = $1 AND hour = $2",
			   2, TEXTOID, TIMESTAMPTZOID);
	args[0] = PointerGetDatum(run->tenant);
	args[1] = TimestampTzGetDatum(run->hour);
	if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read groups");
	MemoryContextSwitchTo(context);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		KeymapEntry *entry;

		key_reset(key);
		key_put_varlena(key, run->tenant);
		key_put_int64(key, run->hour);
		for (int column = 1; column <= 5; column++)
		{
			bool		isnull;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
											  SPI_tuptable->tupdesc, column,
											  &isnull);

			key_put_varlena(key, isnull ? NULL :
							PG_DETOAST_DATUM_PACKED(value));
		}
		entry = keymap_lookup(usage->hours, key->key);
		if (entry != NULL)
		{
			((UsageHour *) entry->value)->kept = true;
			nkept++;
		}
	}
	SPI_freetuptable(SPI_tuptable);
	return nkept;
}

static int
compare_events(const void *pa, const void *pb)
{
	const UsageHour *a = *(UsageHour *const *) pa;
	const UsageHour *b = *(UsageHour *const *) pb;

	if (a->kept != b->kept)
		return a->kept ? -1 : 1;
	return a->events > b->events ? -1 : a->events < b->events;
}

/*
 * The group that takes over what is in this one.  *room counts how many
 * groups may still be made for the sake of their dimensions.
 */
static UsageHour *
fold_target(Usage *usage, const FoldRun *run, const UsageHour *group,
			int64 *room)
{
	KeyBuffer  *key = &usage->window[0].hour_key;
	text	   *other = cstring_to_text(FOLD_NAME);
	const char *position = group->key.data;
	struct varlena *metric;
	struct varlena *dims;
	UsageHour  *target;
	bool		with_dims = true;

	pfree(key_get_varlena(&position));
	(void) key_get_int64(&position);
	metric = key_get_varlena(&position);
	for (int i = 0; i < 3; i++)
	{
		struct varlena *skipped = key_get_varlena(&position);

		if (skipped != NULL)
			pfree(skipped);
	}
	dims = key_get_varlena(&position);

	for (;;)
	{
		bool		known;

		key_reset(key);
		key_put_varlena(key, run->tenant);
		key_put_int64(key, run->hour);
		key_put_varlena(key, metric);
		for (int i = 0; i < 3; i++)
			key_put_varlena(key, other);
		key_put_varlena(key, dims);

		/* without dimensions there is one per metric, whatever the room */
		known = keymap_lookup(usage->hours, key->key) != NULL;
		if (known || !with_dims)
			break;
		if (*room > 0)
		{
			(*room)--;
			break;
		}
		with_dims = false;
		dims = (struct varlena *)
			DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
											   CStringGetDatum("{\"" FOLD_NAME "\": true}")));
	}
	target = usage_hour_group(usage, key, keymap_hash_key(key->key));
	target->kept = true;
	return target;
}

static void
fold_run(Usage *usage, FoldRun *run)
{
	int64		cap = setting_max_groups_per_hour;
	int64		room_for_groups;
	int64		room_for_dims;
	int			nkept = fold_keep_existing(usage, run);
	int			nfolded = 0;

	qsort(run->groups, run->ngroups, sizeof(UsageHour *), compare_events);
	room_for_groups = Max(0, cap - run->existing);
	room_for_dims = Max(0, 2 * cap - run->existing - room_for_groups);
	for (int i = nkept; i < run->ngroups; i++)
	{
		UsageHour  *group = run->groups[i];
		UsageHour  *target;

		CHECK_FOR_INTERRUPTS();
		if (group->gauge)
			continue;
		if (room_for_groups > 0)
		{
			room_for_groups--;
			continue;
		}
		target = fold_target(usage, run, group, &room_for_dims);
		if (target == group)
			continue;
		usage_hour_merge(target, group);
		keymap_delete(usage->hours, group->key);
		nfolded++;
	}
	if (nfolded > 0)
		ereport(LOG,
				(errmsg("%d groups of tenant \"%s\" in the hour of %s were folded into \"%s\"",
						nfolded, text_to_cstring(run->tenant),
						timestamptz_to_str(run->hour), FOLD_NAME),
				 errhint("Look for identifiers in its endpoints, or raise meter.max_groups_per_hour.")));
}

/*
 * Fold the groups beyond the cap.  Within an owner scope.
 */
void
usage_fold(Usage *usage)
{
	MemoryContext old = MemoryContextSwitchTo(usage->group_context);
	int			ngroups;
	int			nruns;
	UsageHour **groups = usage_sorted_hours(usage, &ngroups);
	FoldRun    *runs = fold_runs(groups, ngroups, &nruns);

	if (nruns > 0)
		fold_count_existing(runs, nruns);
	for (int i = 0; i < nruns; i++)
		if (runs[i].ngroups + runs[i].existing > setting_max_groups_per_hour)
			fold_run(usage, &runs[i]);
	MemoryContextSwitchTo(old);
}

/*
 * usage_user.c
 *		Groups by user and day, rows of meter.usage_user_daily.
 *
 * See usage.c.  These are exact, for lists of top users and for prices on
 * distinct users, where the hll sets of the hourly rows estimate.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "partition.h"
#include "usage.h"

/* Columns of meter.usage_user_daily, in the order of usage.sql. */
enum
{
	USER_DAY,
	USER_TENANT,
	USER_METRIC,
	USER_ID,
	USER_EVENTS,
	USER_ERRORS,
	USER_FIRST_AT,
	USER_LAST_AT,
	USER_QUANTITY,
	USER_COST,
	USER_COLUMNS
};

/*
 * Count an event for its user.  Runs in group_context.
 */
UsageUserDay *
usage_user_add(Usage *usage, const UsageEvent *event, bool is_error)
{
	KeyBuffer  *key = &usage->user_key;
	KeymapEntry *entry;
	UsageUserDay *group;
	bool		found;

	key_reset(key);
	key_put_varlena(key, event->tenant);
	key_put_int64(key, partition_day(event->at));
	key_put_varlena(key, event->metric);
	key_put_varlena(key, event->user_id);
	entry = keymap_insert(usage->user_days, key->key, &found);
	if (found)
		group = entry->value;
	else
	{
		group = palloc0(sizeof(UsageUserDay));
		group->key.length = key->key.length;
		group->key.data = palloc(key->key.length);
		memcpy(group->key.data, key->key.data, key->key.length);
		entry->key = group->key;
		entry->value = group;
		group->first_at = group->last_at = event->at;
		MemoryContextSwitchTo(usage->event_context);
		group->hash = users_hash(&usage->users_library,
								 PointerGetDatum(event->user_id));
		MemoryContextSwitchTo(usage->group_context);
	}
	group->events++;
	group->errors += is_error;
	group->first_at = Min(group->first_at, event->at);
	group->last_at = Max(group->last_at, event->at);
	(void) total_add(&group->quantity, event->quantity);
	if (event->cost != NULL)
		(void) total_add(&group->cost, event->cost);
	return group;
}

/*
 * Put the groups as rows of meter.usage_user_daily into store; as with
 * usage_put_hours(), they cannot be added to afterwards.
 */
void
usage_put_user_days(Usage *usage, Tuplestorestate *store, TupleDesc desc)
{
	keymap_iterator iterator;
	KeymapEntry *entry;

	keymap_start_iterate(usage->user_days, &iterator);
	while ((entry = keymap_iterate(usage->user_days, &iterator)) != NULL)
	{
		UsageUserDay *group = entry->value;
		const char *position = group->key.data;
		Datum		values[USER_COLUMNS];
		bool		isnull[USER_COLUMNS] = {false};
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(usage->event_context);
		old = MemoryContextSwitchTo(usage->event_context);
		values[USER_TENANT] = PointerGetDatum(key_get_varlena(&position));
		values[USER_DAY] = DateADTGetDatum(key_get_int64(&position));
		values[USER_METRIC] = PointerGetDatum(key_get_varlena(&position));
		values[USER_ID] = PointerGetDatum(key_get_varlena(&position));
		values[USER_EVENTS] = Int64GetDatum(group->events);
		values[USER_ERRORS] = Int64GetDatum(group->errors);
		values[USER_FIRST_AT] = TimestampTzGetDatum(group->first_at);
		values[USER_LAST_AT] = TimestampTzGetDatum(group->last_at);
		values[USER_QUANTITY] = NumericGetDatum(total_get(&group->quantity));
		values[USER_COST] = NumericGetDatum(total_get(&group->cost));
		isnull[USER_COST] = DatumGetPointer(values[USER_COST]) == NULL;
		MemoryContextSwitchTo(old);
		tuplestore_putvalues(store, desc, values, isnull);
	}
}

/*
 * usage_user.c
 *		Groups by user, day and dimensions, rows of meter.usage_user_daily.
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
	USER_DIMS,
	USER_EVENTS,
	USER_ERRORS,
	USER_FIRST_AT,
	USER_LAST_AT,
	USER_QUANTITY,
	USER_COST,
	USER_COLUMNS
};

/*
 * Make the key of the event's user, day and dimensions.
 */
void
usage_user_key(UsagePending *pending, const UsageEvent *event,
			   const Jsonb *dims)
{
	KeyBuffer  *key = &pending->user_key;

	key_put_varlena(key, event->tenant);
	key_put_int64(key, partition_day(event->at));
	key_put_varlena(key, event->metric);
	key_put_varlena(key, event->user_id);
	key_put_varlena(key, (const struct varlena *) dims);
	pending->user_hash = keymap_hash_key(key->key);
}

/*
 * Make a group.  The user's name is the fourth part of the key.
 */
static UsageUserDay *
user_day_make(Usage *usage, const UsagePending *event)
{
	UsageUserDay *group = palloc0(sizeof(UsageUserDay));
	const char *position;
	MemoryContext old;
	struct varlena *skipped;

	group->key.length = event->user_key.key.length;
	group->key.data = palloc(group->key.length);
	memcpy(group->key.data, event->user_key.key.data, group->key.length);
	group->first_at = group->last_at = event->at;

	old = MemoryContextSwitchTo(usage->event_context);
	position = group->key.data;
	skipped = key_get_varlena(&position);
	pfree(skipped);
	(void) key_get_int64(&position);
	skipped = key_get_varlena(&position);
	pfree(skipped);
	group->hash = users_hash(&usage->users_library,
							 PointerGetDatum(key_get_varlena(&position)));
	MemoryContextSwitchTo(old);
	return group;
}

/*
 * Count the events of the window for their users, and note the users' hashes.
 * Runs in group_context.
 */
void
usage_user_add_window(Usage *usage)
{
	for (int i = 0; i < usage->npending; i++)
		if (usage->window[i].user_key.key.length > 0)
			keymap_prefetch(usage->user_days, usage->window[i].user_hash);
	for (int i = 0; i < usage->npending; i++)
	{
		const KeymapEntry *entry = NULL;

		if (usage->window[i].user_key.key.length > 0)
			entry = keymap_guess(usage->user_days, usage->window[i].user_hash);
		if (entry == NULL)
			continue;
		keymap_prefetch_bytes(entry->key.data, entry->key.length);
		keymap_prefetch_bytes(entry->value, sizeof(UsageUserDay));
	}
	for (int i = 0; i < usage->npending; i++)
	{
		UsagePending *event = &usage->window[i];
		KeymapEntry *entry;
		UsageUserDay *group;
		bool		found;

		if (event->user_key.key.length == 0)
			continue;
		entry = keymap_insert_hash(usage->user_days, event->user_key.key,
								   event->user_hash, &found);
		if (!found)
		{
			group = user_day_make(usage, event);
			entry->key = group->key;
			entry->value = group;
		}
		group = entry->value;
		event->user = group->hash;
		group->events++;
		group->errors += event->is_error;
		group->first_at = Min(group->first_at, event->at);
		group->last_at = Max(group->last_at, event->at);
		(void) total_add(&group->quantity, event->quantity);
		if (event->cost != NULL)
			(void) total_add(&group->cost, event->cost);
	}
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
		values[USER_DIMS] = PointerGetDatum(key_get_varlena(&position));
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

/*
 * dirty.c
 *		The hours that must be computed anew from their events.
 *
 * See rollup.c for why there are such hours.  A set keeps its memory in the
 * context in which it was made.  Days whose usage changes late (late.c) are
 * kept in such a set, too.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "usage.h"

void
dirty_init(UsageDirtySet *set)
{
	memset(set, 0, sizeof(*set));
	set->context = CurrentMemoryContext;
	set->index = keymap_create(CurrentMemoryContext, 16, NULL);
}

static PackedKey
dirty_key(UsageDirtySet *set, const text *tenant, TimestampTz start)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);

	key_reset(&set->key);
	key_put_varlena(&set->key, tenant);
	key_put_int64(&set->key, start);
	MemoryContextSwitchTo(old);
	return set->key.key;
}

/*
 * Note that a tenant's hour must be computed anew.  What is returned is valid
 * until the next is noted.
 */
UsageDirty *
dirty_add(UsageDirtySet *set, const text *tenant, TimestampTz start,
		  bool corrected)
{
	PackedKey	key = dirty_key(set, tenant, start);
	bool		found;
	KeymapEntry *entry = keymap_insert(set->index, key, &found);
	MemoryContext old;
	UsageDirty *item;

	if (found)
	{
		item = &set->items[(intptr_t) entry->value];
		item->corrected |= corrected;
		return item;
	}
	old = MemoryContextSwitchTo(set->context);
	entry->key.data = palloc(key.length);
	memcpy(entry->key.data, key.data, key.length);
	entry->value = (void *) (intptr_t) set->n;
	if (set->n == set->size)
	{
		set->size = Max(16, 2 * set->size);
		set->items = set->items == NULL ?
			palloc(set->size * sizeof(UsageDirty)) :
			repalloc_huge(set->items, set->size * sizeof(UsageDirty));
	}
	item = &set->items[set->n++];
	item->tenant = cstring_to_text_with_len(VARDATA_ANY(tenant),
											VARSIZE_ANY_EXHDR(tenant));
	item->start = start;
	item->corrected = corrected;
	item->gauge = false;
	MemoryContextSwitchTo(old);
	return item;
}

bool
dirty_has(UsageDirtySet *set, const text *tenant, TimestampTz start)
{
	return set->n > 0 &&
		keymap_lookup(set->index, dirty_key(set, tenant, start)) != NULL;
}

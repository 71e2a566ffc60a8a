/*
 * usage_hour.c
 *		Groups by hour, rows of meter.usage_hourly.
 *
 * See usage.c.  A group's memory is in group_context; the totals in it are
 * exact (total.c), its latencies a sketch (sketch.c), its users a set of
 * hashes (users.c), and a gauge keeps every sample until its row is made,
 * since the time between them must be weighted in their order.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "sketch.h"
#include "usage.h"

/*
 * The group of a key with this keymap_hash(), made when there is none.
 */
UsageHour *
usage_hour_group(Usage *usage, const KeyBuffer *buffer, uint32 hash)
{
	bool		found;
	KeymapEntry *entry = keymap_insert_hash(usage->hours, buffer->key, hash,
											&found);
	UsageHour  *group;

	if (found)
		return entry->value;

	group = MemoryContextAllocZero(usage->group_context, sizeof(UsageHour));
	group->key.length = buffer->key.length;
	group->key.data = MemoryContextAlloc(usage->group_context,
										 buffer->key.length);
	memcpy(group->key.data, buffer->key.data, buffer->key.length);
	entry->key = group->key;
	entry->value = group;
	(void) sketch_init(&group->latency, SKETCH_DEFAULT_ACCURACY);
	return group;
}

static void
hour_add_sample(UsageHour *group, TimestampTz at, int64 seq, Numeric level)
{
	UsageSample *sample;

	if (group->nsamples == group->max_samples)
	{
		group->max_samples = Max(8, 2 * group->max_samples);
		group->samples = group->samples == NULL ?
			palloc(group->max_samples * sizeof(UsageSample)) :
			repalloc(group->samples, group->max_samples * sizeof(UsageSample));
	}
	sample = &group->samples[group->nsamples++];
	sample->at = at;
	sample->seq = seq;
	sample->level = NULL;
	total_replace(&sample->level, (PackedNumeric *) level);
}

static inline bool
numeric_less(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a),
											 NumericGetDatum(b))) < 0;
}

static void
hour_add_extreme(UsageHour *group, Numeric value)
{
	if (group->min == NULL || numeric_less(value, group->min))
		total_replace(&group->min, (PackedNumeric *) value);
	if (group->max == NULL || numeric_less(group->max, value))
		total_replace(&group->max, (PackedNumeric *) value);
}

/*
 * Note the quantity as the group's first or last if its event is.  Events of
 * the same instant are ordered by seq.
 */
static void
hour_add_ends(UsageHour *group, TimestampTz at, int64 seq,
			  const PackedNumeric *value)
{
	if (group->first == NULL || at < group->first_at ||
		(at == group->first_at && seq < group->first_seq))
	{
		total_replace(&group->first, value);
		group->first_at = at;
		group->first_seq = seq;
	}
	if (group->last == NULL || at > group->last_at ||
		(at == group->last_at && seq > group->last_seq))
	{
		total_replace(&group->last, value);
		group->last_at = at;
		group->last_seq = seq;
	}
}

static void
hour_add_status(UsageHour *group, const UsagePending *event)
{
	group->events++;
	group->errors += event->is_error;
	if (event->status >= 500)
		group->errors_5xx++;
	else if (event->status >= 400)
		group->errors_4xx++;
	if (event->status == 429)
		group->errors_429++;
}

/*
 * Make the key of the event's group.
 */
void
usage_hour_key(UsagePending *pending, const UsageEvent *event,
			   const Jsonb *dims)
{
	KeyBuffer  *key = &pending->hour_key;

	key_reset(key);
	key_put_varlena(key, event->tenant);
	key_put_int64(key, pending->hour);
	key_put_varlena(key, event->metric);
	key_put_varlena(key, event->service);
	key_put_varlena(key, event->endpoint);
	key_put_varlena(key, event->method);
	key_put_varlena(key, (const struct varlena *) dims);
	pending->hour_hash = keymap_hash_key(key->key);
}

static void
hour_add(Usage *usage, const UsagePending *event)
{
	UsageHour  *group = usage_hour_group(usage, &event->hour_key,
										 event->hour_hash);

	group->hour = event->hour;
	group->gauge = event->gauge;
	hour_add_status(group, event);
	if (total_add(&group->quantity, event->quantity))
		hour_add_extreme(group, group->quantity.repeated);
	hour_add_ends(group, event->at, event->seq, event->quantity);
	if (group->gauge)
		hour_add_sample(group, event->at, event->seq, group->quantity.repeated);
	if (event->cost != NULL)
		(void) total_add(&group->cost, event->cost);
	if (event->has_latency &&
		sketch_add(&group->latency, event->latency_ms, 1) != SKETCH_OK)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("latency_ms of event %lld cannot be counted",
						(long long) event->seq)));
	if (event->user_key.key.length > 0)
		users_add(&group->users, event->user);
}

/*
 * Count the events of the window in their hours.  Runs in group_context.
 *
 * Each round touches what the round before has asked for: the place in the
 * hash table, the key and the group it names, what hangs on the group.
 */
void
usage_hour_add_window(Usage *usage)
{
	for (int i = 0; i < usage->npending; i++)
		keymap_prefetch(usage->hours, usage->window[i].hour_hash);
	for (int i = 0; i < usage->npending; i++)
	{
		UsagePending *event = &usage->window[i];
		KeymapEntry *entry = keymap_guess(usage->hours, event->hour_hash);

		event->guess = entry == NULL ? NULL : entry->value;
		if (event->guess == NULL)
			continue;
		keymap_prefetch_bytes(event->guess, sizeof(UsageHour));
		keymap_prefetch_bytes(entry->key.data, entry->key.length);
	}
	for (int i = 0; i < usage->npending; i++)
	{
		const UsagePending *event = &usage->window[i];
		const UsageHour *group = event->guess;

		if (group == NULL)
			continue;
		__builtin_prefetch(group->quantity.repeated);
		__builtin_prefetch(group->last);
		if (event->cost != NULL)
			__builtin_prefetch(group->cost.repeated);
		if (event->user_key.key.length > 0 && group->users.size > 0)
			__builtin_prefetch(&group->users.slots[(uint32) event->user &
												   (group->users.size - 1)]);
		if (event->has_latency)
			sketch_prefetch(&group->latency, event->latency_ms);
	}
	for (int i = 0; i < usage->npending; i++)
		hour_add(usage, &usage->window[i]);
}

/*
 * Merge a group into another one of the same hour (fold.c).
 */
void
usage_hour_merge(UsageHour *group, UsageHour *other)
{
	group->hour = other->hour;
	group->gauge = other->gauge;
	group->events += other->events;
	group->errors += other->errors;
	group->errors_4xx += other->errors_4xx;
	group->errors_5xx += other->errors_5xx;
	group->errors_429 += other->errors_429;
	group->folded += other->events;
	total_merge(&group->quantity, &other->quantity);
	hour_add_extreme(group, other->min);
	hour_add_extreme(group, other->max);
	hour_add_ends(group, other->first_at, other->first_seq,
				  (PackedNumeric *) other->first);
	hour_add_ends(group, other->last_at, other->last_seq,
				  (PackedNumeric *) other->last);
	for (int i = 0; i < other->nsamples; i++)
		hour_add_sample(group, other->samples[i].at, other->samples[i].seq,
						other->samples[i].level);
	total_merge(&group->cost, &other->cost);
	users_merge(&group->users, &other->users);
	if (sketch_merge(&group->latency, &other->latency) != SKETCH_OK)
		elog(ERROR, "could not merge latencies");
}

static int
compare_sample(const void *pa, const void *pb)
{
	const UsageSample *a = pa;
	const UsageSample *b = pb;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/*
 * The level times the seconds it held, from the first sample to the last, in
 * exact decimals.
 */
static Numeric
usage_level_seconds(UsageHour *group)
{
	Datum		sum = NumericGetDatum(int64_to_numeric(0));
	Datum		micro = DirectFunctionCall3(numeric_in, CStringGetDatum("0.000001"),
											ObjectIdGetDatum(InvalidOid),
											Int32GetDatum(-1));

	qsort(group->samples, group->nsamples, sizeof(UsageSample), compare_sample);
	for (int i = 1; i < group->nsamples; i++)
	{
		int64		held = group->samples[i].at - group->samples[i - 1].at;
		Datum		factor = NumericGetDatum(int64_to_numeric(held));
		Datum		part = DirectFunctionCall2(numeric_mul,
											   NumericGetDatum(group->samples[i - 1].level),
											   factor);
		Datum		longer = DirectFunctionCall2(numeric_add, sum, part);

		CHECK_FOR_INTERRUPTS();
		pfree(DatumGetPointer(sum));
		pfree(DatumGetPointer(part));
		pfree(DatumGetPointer(factor));
		sum = longer;
	}
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul, sum, micro));
}

static int
compare_hour(const void *pa, const void *pb)
{
	const UsageHour *a = *(UsageHour *const *) pa;
	const UsageHour *b = *(UsageHour *const *) pb;
	int			c = memcmp(a->key.data, b->key.data,
						   Min(a->key.length, b->key.length));

	return c != 0 ? c : (int) a->key.length - (int) b->key.length;
}

/*
 * The groups by tenant and hour, which is nearly the order of the table's
 * index.
 */
UsageHour **
usage_sorted_hours(Usage *usage, int *n)
{
	UsageHour **groups = MemoryContextAllocHuge(CurrentMemoryContext,
												Max(1, usage->hours->members) * sizeof(UsageHour *));
	keymap_iterator iterator;
	KeymapEntry *entry;

	*n = 0;
	keymap_start_iterate(usage->hours, &iterator);
	while ((entry = keymap_iterate(usage->hours, &iterator)) != NULL)
		groups[(*n)++] = entry->value;
	qsort(groups, *n, sizeof(UsageHour *), compare_hour);
	return groups;
}

static void
put_varlena(Datum *values, bool *isnull, int column, struct varlena *value)
{
	values[column] = PointerGetDatum(value);
	isnull[column] = value == NULL;
}

static void
put_numeric(Datum *values, bool *isnull, int column, Numeric value)
{
	put_varlena(values, isnull, column, (struct varlena *) value);
}

static void
usage_hour_row(Usage *usage, UsageHour *group, Datum *values, bool *isnull)
{
	const char *position = group->key.data;

	memset(isnull, false, USAGE_HOURLY_COLUMNS);
	put_varlena(values, isnull, USAGE_TENANT, key_get_varlena(&position));
	values[USAGE_HOUR] = TimestampTzGetDatum(key_get_int64(&position));
	put_varlena(values, isnull, USAGE_METRIC, key_get_varlena(&position));
	put_varlena(values, isnull, USAGE_SERVICE, key_get_varlena(&position));
	put_varlena(values, isnull, USAGE_ENDPOINT, key_get_varlena(&position));
	put_varlena(values, isnull, USAGE_METHOD, key_get_varlena(&position));
	put_varlena(values, isnull, USAGE_DIMS, key_get_varlena(&position));
	values[USAGE_EVENTS] = Int64GetDatum(group->events);
	values[USAGE_SUCCESSES] = Int64GetDatum(group->events - group->errors);
	values[USAGE_ERRORS] = Int64GetDatum(group->errors);
	values[USAGE_ERRORS_4XX] = Int64GetDatum(group->errors_4xx);
	values[USAGE_ERRORS_5XX] = Int64GetDatum(group->errors_5xx);
	values[USAGE_ERRORS_429] = Int64GetDatum(group->errors_429);
	values[USAGE_FOLDED] = Int64GetDatum(group->folded);
	values[USAGE_FIRST_AT] = TimestampTzGetDatum(group->first_at);
	values[USAGE_LAST_AT] = TimestampTzGetDatum(group->last_at);
	values[USAGE_LAST_SEQ] = Int64GetDatum(group->last_seq);

	/* an event that still waits has no position, see live.c */
	isnull[USAGE_LAST_SEQ] = group->last_seq == PG_INT64_MAX;
	put_numeric(values, isnull, USAGE_QUANTITY, total_get(&group->quantity));
	put_numeric(values, isnull, USAGE_QUANTITY_MIN, group->min);
	put_numeric(values, isnull, USAGE_QUANTITY_MAX, group->max);
	put_numeric(values, isnull, USAGE_QUANTITY_FIRST, group->first);
	put_numeric(values, isnull, USAGE_QUANTITY_LAST, group->last);
	put_numeric(values, isnull, USAGE_QUANTITY_SECONDS,
				group->gauge ? usage_level_seconds(group) : NULL);
	put_numeric(values, isnull, USAGE_COST, total_get(&group->cost));
	put_varlena(values, isnull, USAGE_LATENCY,
				sketch_count(&group->latency) == 0 ? NULL :
				sketch_to_datum(&group->latency));
	isnull[USAGE_USERS] = users_empty(&group->users);
	if (!isnull[USAGE_USERS])
		values[USAGE_USERS] = users_to_hll(&usage->users_library, &group->users);
}

/*
 * Put the groups as rows of meter.usage_hourly into store.  Totals are settled
 * in the context of one row, so the groups cannot be added to afterwards.
 */
void
usage_put_hours(Usage *usage, Tuplestorestate *store, TupleDesc desc)
{
	int			n;
	UsageHour **groups = usage_sorted_hours(usage, &n);

	for (int i = 0; i < n; i++)
	{
		Datum		values[USAGE_HOURLY_COLUMNS];
		bool		isnull[USAGE_HOURLY_COLUMNS];
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(usage->event_context);
		old = MemoryContextSwitchTo(usage->event_context);
		usage_hour_row(usage, groups[i], values, isnull);
		MemoryContextSwitchTo(old);
		tuplestore_putvalues(store, desc, values, isnull);
	}
	pfree(groups);
}

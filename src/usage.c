/*
 * usage.c
 *		Aggregating events into rows of usage.
 *
 * One pass over the events fills two hash tables, groups by hour and groups
 * by user and day, whose content becomes rows of meter.usage_hourly and
 * meter.usage_user_daily.  The rollup merges these rows into the tables;
 * meter.live shows those of the events not rolled up yet.  So there is one
 * place that says what an hour of usage is.
 *
 * It is C and not SQL aggregates because of what it has to keep per group: a
 * sketch, a set of users, a gauge's samples, the first and the last quantity.
 * One table of our own holds all of them and is looked up once per event.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "dimension.h"
#include "owner.h"
#include "setting.h"
#include "usage.h"

/* Columns of a scan, in the order of USAGE_COLUMNS. */
enum
{
	SCAN_SEQ,
	SCAN_AT,
	SCAN_TENANT,
	SCAN_METRIC,
	SCAN_QUANTITY,
	SCAN_SERVICE,
	SCAN_ENDPOINT,
	SCAN_METHOD,
	SCAN_STATUS,
	SCAN_LATENCY_MS,
	SCAN_USER_ID,
	SCAN_COST,
	SCAN_METADATA,
	SCAN_FAILED,
	SCAN_CORRECTS,
	SCAN_IS_SUPERSEDED,
	SCAN_COLUMNS
};

/* Memory is looked at once per this many windows. */
#define USAGE_CHECK_EVERY 128

/* Receives the rows of a scan. */
typedef struct UsageReceiver
{
	DestReceiver pub;
	Usage	   *usage;
} UsageReceiver;

/*
 * Start aggregating, with nothing wanted yet.  Within an owner scope, in
 * whose memory all is kept.  function is any function of the extension: it
 * tells the schema the others are in.
 */
Usage *
usage_begin(Oid function)
{
	Usage	   *usage = palloc0(sizeof(Usage));
	Oid			hourly = owner_relation("usage_hourly");
	HASHCTL		ctl;

	usage->context = CurrentMemoryContext;
	usage->function = function;
	usage->group_context = AllocSetContextCreate(CurrentMemoryContext,
												 "meter usage groups",
												 ALLOCSET_DEFAULT_SIZES);
	usage->event_context = AllocSetContextCreate(CurrentMemoryContext,
												 "meter usage event",
												 ALLOCSET_DEFAULT_SIZES);

	/* our statements are short or scans; compiling them would cost more */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	users_library(&usage->users_library,
				  get_atttype(hourly, USAGE_USERS + 1));
	usage->no_dims = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														CStringGetDatum("{}")));
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = METRIC_MAX_LENGTH + 1;
	ctl.entrysize = sizeof(Metric);
	ctl.hcxt = usage->context;
	usage->metrics = hash_create("meter metrics of a batch", 32, &ctl,
								 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	dirty_init(&usage->dirty);
	dirty_init(&usage->late);
	usage->late_before = PG_INT64_MIN;
	usage_reset(usage);
	return usage;
}

/*
 * Forget the groups, but not the dirty hours.
 */
void
usage_reset(Usage *usage)
{
	MemoryContextReset(usage->group_context);
	usage->hours = keymap_create(usage->group_context, 1024, NULL);
	usage->user_days = keymap_create(usage->group_context, 1024, NULL);
}

/*
 * The metric of the event; most often the one of the event before.  A metric
 * is the same for all events of a batch, even if its row changes meanwhile.
 */
static void
usage_find_metric(Usage *usage, const struct varlena *name)
{
	char		key[METRIC_MAX_LENGTH + 1];
	uint32		length = Min(VARSIZE_ANY_EXHDR(name), METRIC_MAX_LENGTH);
	const Metric *known;
	Metric	   *metric;
	bool		found;

	if (usage->metric != NULL &&
		memcmp(usage->metric->name, VARDATA_ANY(name), length) == 0 &&
		usage->metric->name[length] == '\0')
		return;
	memcpy(key, VARDATA_ANY(name), length);
	key[length] = '\0';
	metric = hash_search(usage->metrics, key, HASH_ENTER, &found);
	usage->metric = metric;
	if (found)
		return;

	/* if its row was deleted, its events still count */
	memset(metric, 0, sizeof(Metric));
	strlcpy(metric->name, key, sizeof(metric->name));
	known = metric_lookup(key);
	if (known != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(usage->context);

		*metric = *known;
		for (int i = 0; i < known->ndimensions; i++)
			metric->dimensions[i] = pstrdup(known->dimensions[i]);
		MemoryContextSwitchTo(old);
	}
}

static bool
usage_read(UsageEvent *event, TupleTableSlot *slot)
{
	Datum	   *values = slot->tts_values;
	bool	   *isnull = slot->tts_isnull;

#define SCAN_POINTER(column) \
	(isnull[column] ? NULL : (struct varlena *) DatumGetPointer(values[column]))

	event->seq = DatumGetInt64(values[SCAN_SEQ]);
	event->at = DatumGetTimestampTz(values[SCAN_AT]);
	event->tenant = SCAN_POINTER(SCAN_TENANT);
	event->metric = SCAN_POINTER(SCAN_METRIC);
	event->quantity = SCAN_POINTER(SCAN_QUANTITY);
	event->service = SCAN_POINTER(SCAN_SERVICE);
	event->endpoint = SCAN_POINTER(SCAN_ENDPOINT);
	event->method = SCAN_POINTER(SCAN_METHOD);
	event->status = isnull[SCAN_STATUS] ? 0 : DatumGetInt32(values[SCAN_STATUS]);
	event->has_latency = !isnull[SCAN_LATENCY_MS];
	if (event->has_latency)
		event->latency_ms = DatumGetFloat8(values[SCAN_LATENCY_MS]);
	event->user_id = SCAN_POINTER(SCAN_USER_ID);
	event->cost = SCAN_POINTER(SCAN_COST);
	event->failed = DatumGetBool(values[SCAN_FAILED]);
	return !DatumGetBool(values[SCAN_IS_SUPERSEDED]);
}

static PackedNumeric *
copy_packed(const PackedNumeric *value)
{
	PackedNumeric *copy;

	if (value == NULL)
		return NULL;
	copy = palloc(VARSIZE_ANY(value));
	memcpy(copy, value, VARSIZE_ANY(value));
	return copy;
}

/*
 * Count the events in the window, and write the groups out if they take too
 * much memory.
 */
static void
usage_close_window(Usage *usage)
{
	MemoryContext old = MemoryContextSwitchTo(usage->group_context);

	if (usage->want_users)
		usage_user_add_window(usage);
	if (usage->want_hours)
		usage_hour_add_window(usage);
	MemoryContextSwitchTo(old);
	usage->npending = 0;
	MemoryContextReset(usage->event_context);

	if (usage->full != NULL && ++usage->windows % USAGE_CHECK_EVERY == 0 &&
		MemoryContextMemAllocated(usage->group_context, true) / 1024 >=
		setting_rollup_work_mem)
	{
		usage->full(usage, usage->full_arg);
		usage_reset(usage);
	}
}

/*
 * Take an event into the window.
 */
static void
usage_add_pending(Usage *usage, const UsageEvent *event, Datum metadata,
				  bool has_metadata)
{
	UsagePending *pending = &usage->window[usage->npending];
	MemoryContext old = MemoryContextSwitchTo(usage->event_context);
	Jsonb	   *dims = NULL;

	usage_find_metric(usage, event->metric);
	if (usage->metric->ndimensions > 0 && has_metadata)
		dims = dimension_extract(usage->metric, DatumGetJsonbP(metadata));
	pending->hour = usage_hour_of(event->at);
	pending->gauge = usage->metric->gauge;
	pending->is_error = usage_is_error(event);
	pending->seq = event->seq;
	pending->at = event->at;
	pending->status = event->status;
	pending->has_latency = event->has_latency;
	pending->latency_ms = event->latency_ms;
	pending->quantity = copy_packed(event->quantity);
	pending->cost = copy_packed(event->cost);

	/* the keys' room is used again by every window */
	MemoryContextSwitchTo(usage->context);
	if (dims == NULL)
		dims = usage->no_dims;
	usage_hour_key(pending, event, dims);
	key_reset(&pending->user_key);
	if (event->user_id != NULL)
	{
		usage_user_key(pending, event, dims);
		if (!usage->want_users)
		{
			MemoryContextSwitchTo(usage->event_context);
			pending->user = users_hash(&usage->users_library,
									   PointerGetDatum(event->user_id));
		}
	}
	MemoryContextSwitchTo(old);
	if (++usage->npending == USAGE_WINDOW)
		usage_close_window(usage);
}

static bool
usage_receive(TupleTableSlot *slot, DestReceiver *self)
{
	Usage	   *usage = ((UsageReceiver *) self)->usage;
	UsageEvent	event;
	bool		counts;

	slot_getallattrs(slot);
	counts = usage_read(&event, slot);

	/* what a correction changes cannot be taken out of a sketch: recompute */
	if (usage->keep_dirty && !slot->tts_isnull[SCAN_CORRECTS])
	{
		usage_find_metric(usage, event.metric);
		dirty_add(&usage->dirty, (text *) event.tenant, usage_hour_of(event.at),
				  true)->gauge |= usage->metric->gauge;

		/* till then a batch has each event once */
		if (DatumGetInt64(slot->tts_values[SCAN_CORRECTS]) <= usage->known_upto)
			counts = false;
	}
	if (counts)
		usage_add_pending(usage, &event, slot->tts_values[SCAN_METADATA],
						  !slot->tts_isnull[SCAN_METADATA]);
	return true;
}

static void
usage_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	if (typeinfo->natts != SCAN_COLUMNS)
		elog(ERROR, "a scan of usage must select USAGE_COLUMNS");
}

static void
usage_noop(DestReceiver *self)
{
}

/*
 * Aggregate the rows of a query that selects USAGE_COLUMNS.  With read_only
 * it sees what the active snapshot sees.
 */
void
usage_scan(Usage *usage, const char *query, int nargs, Oid *types,
		   Datum *values, bool read_only)
{
	UsageReceiver receiver = {
		.pub = {
			.receiveSlot = usage_receive,
			.rStartup = usage_startup,
			.rShutdown = usage_noop,
			.rDestroy = usage_noop,
			.mydest = DestNone,
		},
		.usage = usage,
	};
	SPIExecuteOptions options = {
		.read_only = read_only,
		.dest = &receiver.pub,
	};

	options.params = makeParamList(nargs);
	for (int i = 0; i < nargs; i++)
	{
		options.params->params[i].value = values[i];
		options.params->params[i].isnull = false;
		options.params->params[i].pflags = PARAM_FLAG_CONST;
		options.params->params[i].ptype = types[i];
	}
	if (SPI_execute_extended(query, &options) < 0)
		elog(ERROR, "could not read events: %s",
			 SPI_result_code_string(SPI_result));
	usage_close_window(usage);
}

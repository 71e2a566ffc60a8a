/*
 * setting.c
 *		The configuration parameters of meter, in alphabetical order.
 *
 * All that bound what a client can store or change what is counted are
 * PGC_SUSET: an application role must not be able to loosen them for itself.
 * A superuser hands one out with GRANT SET ON PARAMETER.
 */
#include "postgres.h"

#include <float.h>
#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "core/hot.h"
#include "core/ring.h"
#include "guard.h"
#include "ignore.h"
#include "rule.h"
#include "setting.h"

#define MINUTES_PER_DAY (24 * 60)

static const struct config_enum_entry durabilities[] = {
	{"buffered", DURABILITY_BUFFERED, false},
	{"commit", DURABILITY_COMMIT, false},
	{NULL, 0, false}
};

static const struct config_enum_entry full_actions[] = {
	{"allow", ON_FULL_ALLOW, false},
	{"deny", ON_FULL_DENY, false},
	{NULL, 0, false}
};

static const struct config_enum_entry isolations[] = {
	{"off", ISOLATION_OFF, false},
	{"log", ISOLATION_LOG, false},
	{"enforce", ISOLATION_ENFORCE, false},
	{NULL, 0, false}
};

static const struct config_enum_entry unknown_model_actions[] = {
	{"error", UNKNOWN_MODEL_ERROR, false},
	{"zero", UNKNOWN_MODEL_ZERO, false},
	{NULL, 0, false}
};

int			setting_bill_grace = 3 * MINUTES_PER_DAY;
HOT_DATA int setting_limit_memory = 64 * 1024;
HOT_DATA int setting_on_full = ON_FULL_ALLOW;
int			setting_save_interval = 10;
char	   *setting_default_plan = NULL;
HOT_DATA bool setting_track_refused = true;
int			setting_unknown_model = UNKNOWN_MODEL_ERROR;
HOT_STATEMENT int setting_isolation = ISOLATION_OFF;
HOT_STATEMENT bool setting_isolation_require_context = false;
HOT_DATA int setting_durability = DURABILITY_COMMIT;
double		setting_flush_cost_threshold = -1;
int			setting_flush_interval = 200;
int			setting_max_databases = 64;
HOT_DATA int setting_queue_size = 64 * 1024;
int			setting_queue_timeout = 100;
int			setting_rollup_interval = 60;
HOT_DATA int setting_retention = 90 * MINUTES_PER_DAY;
int			setting_dedup_window = 35 * MINUTES_PER_DAY;
HOT_DATA int setting_max_future_skew = 300;
int			setting_max_groups_per_hour = 10000;
int			setting_max_label_sets = 100;
int			setting_max_metrics = 10000;
int			setting_rollup_work_mem = 256 * 1024;
static char *ignore_setting = NULL; /* read through ignore.h */
HOT_DATA bool setting_strict_metrics = false;
HOT_DATA bool setting_normalize_endpoints = true;

/* A ring's size is a power of two. */
static bool
check_queue_size(int *newval, void **extra, GucSource source)
{
	int			size = RING_MIN_CAPACITY / 1024;

	while (size < *newval)
		size *= 2;
	*newval = size;
	return true;
}

/*
 * Those that only a server that preloads the library has: what they are about
 * is made when it starts.
 */
static void
define_preloaded(void)
{
	DefineCustomIntVariable("meter.flush_interval",
							"Sets how often the background worker moves queued events to the log.",
							"0 leaves it to calls of meter_flush().",
							&setting_flush_interval,
							200, 0, 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("meter.limit_memory",
							"Sets the shared memory for what tenants and users have taken of their limits.",
							NULL,
							&setting_limit_memory,
							64 * 1024, 64, MAX_KILOBYTES,
							PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("meter.max_databases",
							"Sets how many databases can have a queue of events.",
							NULL,
							&setting_max_databases,
							64, 1, 10000,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("meter.queue_size",
							"Sets the size of a database's queue of events.",
							"It is rounded up to a power of two.",
							&setting_queue_size,
							64 * 1024, 256, 8 * 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_KB,
							check_queue_size, NULL, NULL);

	DefineCustomIntVariable("meter.rollup_interval",
							"Sets how often the background worker rolls events up.",
							"0 leaves rollup, budgets, alerts, the outbox, maintenance and the closing of months to pg_cron or to calls of their functions.",
							&setting_rollup_interval,
							60, 0, 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("meter.save_interval",
							"Sets how often what was taken of limits is saved.",
							"0 saves it only when the server stops.",
							&setting_save_interval,
							10, 0, 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
}

/*
 * Define every parameter and reserve the prefix, so that a misspelt
 * meter.* name is an error instead of being ignored.
 */
void
setting_define(void)
{
	DefineCustomIntVariable("meter.bill_grace",
							"Sets how long after the end of its period a bill is a draft.",
							"Usage that is late counts as long as a bill is a draft.",
							&setting_bill_grace,
							3 * MINUTES_PER_DAY, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MIN,
							NULL, NULL, NULL);

	DefineCustomIntVariable("meter.dedup_window",
							"Sets how long an idempotency key stays unique for its tenant.",
							NULL,
							&setting_dedup_window,
							35 * MINUTES_PER_DAY, 1, INT_MAX,
							PGC_SUSET, GUC_UNIT_MIN,
							NULL, NULL, NULL);

	DefineCustomStringVariable("meter.default_plan",
							   "Sets the plan of tenants that have none of their own.",
							   "Empty for none: then only rules without a plan limit them.",
							   &setting_default_plan,
							   "",
							   PGC_SUSET, 0,
							   NULL, rule_assign_default_plan, NULL);

	DefineCustomEnumVariable("meter.durability",
							 "Sets where an event is when meter_track() returns.",
							 "In the queue, which survives the death of all processes (buffered), or in meter.inbox, in the caller's transaction (commit).",
							 &setting_durability,
							 process_shared_preload_libraries_in_progress ?
							 DURABILITY_BUFFERED : DURABILITY_COMMIT,
							 durabilities,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomRealVariable("meter.flush_cost_threshold",
							 "Sets the cost above which a queued event is flushed at once.",
							 "-1 lets all events wait for the next flush.",
							 &setting_flush_cost_threshold,
							 -1, -1, DBL_MAX,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("meter.ignore_endpoints",
							   "Sets the endpoints whose calls are not tracked.",
							   "A list of patterns, separated by commas, in which * is any text.",
							   &ignore_setting,
							   "",
							   PGC_SUSET, 0,
							   ignore_check_setting, ignore_assign_setting, NULL);

	DefineCustomEnumVariable("meter.isolation",
							 "Sets what becomes of statements that leave the schema of the context's tenant.",
							 "They are recorded in meter.isolation_violation (log), and refused besides (enforce).",
							 &setting_isolation,
							 ISOLATION_OFF,
							 isolations,
							 PGC_SUSET, 0,
							 NULL, guard_assign_isolation, NULL);

	DefineCustomBoolVariable("meter.isolation_require_context",
							 "Counts the use of any tenant's schema without a context as a violation.",
							 NULL,
							 &setting_isolation_require_context,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("meter.max_future_skew",
							"Sets how far ahead of the server's clock an event's time may be.",
							NULL,
							&setting_max_future_skew,
							300, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("meter.max_groups_per_hour",
							"Sets how many groups the rollup keeps per tenant and hour.",
							"Further groups are folded into one named (other), and the events in it are counted.",
							&setting_max_groups_per_hour,
							10000, 1, 1000000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("meter.max_label_sets",
							"Sets how many sets of labels of each kind monitoring is shown.",
							"What is counted of further sets goes to one named (other).",
							&setting_max_label_sets,
							100, 0, 100000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("meter.max_metrics",
							"Sets how many metrics may be registered by first use.",
							"Metrics inserted into meter.metric by hand are not limited.",
							&setting_max_metrics,
							10000, 0, 1000000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("meter.normalize_endpoints",
							 "Replaces identifiers in endpoints by :id and drops query strings.",
							 NULL,
							 &setting_normalize_endpoints,
							 true,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomEnumVariable("meter.on_full",
							 "Sets what becomes of a call when there is no room to count it.",
							 NULL,
							 &setting_on_full,
							 ON_FULL_ALLOW,
							 full_actions,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("meter.queue_timeout",
							"Sets how long meter_track() waits for room in a full queue.",
							"Then the event goes into meter.inbox, in the caller's transaction.",
							&setting_queue_timeout,
							100, 0, 3600 * 1000,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("meter.retention",
							"Sets how long raw events are kept.",
							"0 keeps them for ever.  Events older than this are refused.",
							&setting_retention,
							90 * MINUTES_PER_DAY, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MIN,
							NULL, NULL, NULL);

	DefineCustomIntVariable("meter.rollup_work_mem",
							"Sets the memory a rollup may use before it writes groups out.",
							NULL,
							&setting_rollup_work_mem,
							256 * 1024, 1024, MAX_KILOBYTES,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("meter.strict_metrics",
							 "Refuses events of metrics that are not in meter.metric.",
							 "When off, a metric is registered as a counter on first use.",
							 &setting_strict_metrics,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("meter.track_refused",
							 "Tracks calls that a limit refuses, with status 429.",
							 NULL,
							 &setting_track_refused,
							 true,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomEnumVariable("meter.unknown_model",
							 "Sets what becomes of a call of a language model that has no price.",
							 "It is refused (error), or recorded at cost 0 (zero).",
							 &setting_unknown_model,
							 UNKNOWN_MODEL_ERROR,
							 unknown_model_actions,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	if (process_shared_preload_libraries_in_progress)
		define_preloaded();
	MarkGUCPrefixReserved("meter");
}

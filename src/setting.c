/*
 * setting.c
 *		The configuration parameters of meter, in alphabetical order.
 *
 * All that bound what a client can store or change what is counted are
 * PGC_SUSET: an application role must not be able to loosen them for itself.
 * A superuser hands one out with GRANT SET ON PARAMETER.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "setting.h"

#define MINUTES_PER_DAY (24 * 60)

int			setting_retention = 90 * MINUTES_PER_DAY;
int			setting_dedup_window = 35 * MINUTES_PER_DAY;
int			setting_max_future_skew = 300;
int			setting_max_groups_per_hour = 10000;
int			setting_max_metrics = 10000;
int			setting_rollup_work_mem = 256 * 1024;
bool		setting_strict_metrics = false;
bool		setting_normalize_endpoints = true;

/*
 * Define every parameter and reserve the prefix, so that a misspelt
 * meter.* name is an error instead of being ignored.
 */
void
setting_define(void)
{
	DefineCustomIntVariable("meter.dedup_window",
							"Sets how long an idempotency key stays unique for its tenant.",
							NULL,
							&setting_dedup_window,
							35 * MINUTES_PER_DAY, 1, INT_MAX,
							PGC_SUSET, GUC_UNIT_MIN,
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

	MarkGUCPrefixReserved("meter");
}

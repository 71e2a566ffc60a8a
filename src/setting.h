/*
 * setting.h
 *		The meter.* configuration parameters, defined in setting.c.
 */
#ifndef METER_SETTING_H
#define METER_SETTING_H

/* Where an event is when meter_track() returns. */
typedef enum SettingDurability
{
	DURABILITY_BUFFERED,
	DURABILITY_COMMIT
} SettingDurability;

/* What becomes of a call for whose account there is no room. */
typedef enum SettingOnFull
{
	ON_FULL_ALLOW,
	ON_FULL_DENY
} SettingOnFull;

/* What becomes of a statement that leaves its tenant's schema. */
typedef enum SettingIsolation
{
	ISOLATION_OFF,
	ISOLATION_LOG,
	ISOLATION_ENFORCE
} SettingIsolation;

/* What becomes of a call of a language model that has no price. */
typedef enum SettingUnknownModel
{
	UNKNOWN_MODEL_ERROR,
	UNKNOWN_MODEL_ZERO
} SettingUnknownModel;

extern int	setting_bill_grace; /* minutes */
extern int	setting_durability;
extern int	setting_isolation;
extern bool setting_isolation_require_context;
extern int	setting_limit_memory;	/* kB */
extern int	setting_on_full;
extern int	setting_save_interval;	/* seconds, 0 = only at shutdown */
extern char *setting_default_plan;	/* "": none */
extern bool setting_track_refused;
extern int	setting_unknown_model;
extern double setting_flush_cost_threshold; /* below 0: off */
extern int	setting_flush_interval; /* ms, 0 = never */
extern int	setting_max_databases;
extern int	setting_queue_size; /* kB */
extern int	setting_queue_timeout;	/* ms */
extern int	setting_rollup_interval;	/* seconds, 0 = never */
extern int	setting_retention;	/* minutes, 0 = for ever */
extern int	setting_dedup_window;	/* minutes */
extern int	setting_max_future_skew;	/* seconds */
extern int	setting_max_groups_per_hour;
extern int	setting_max_label_sets;
extern int	setting_max_metrics;
extern int	setting_rollup_work_mem;	/* kB */
extern bool setting_strict_metrics;
extern bool setting_normalize_endpoints;

extern void setting_define(void);

#endif							/* METER_SETTING_H */

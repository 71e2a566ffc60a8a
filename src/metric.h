/*
 * metric.h
 *		The registry of metrics, cached in each backend.
 */
#ifndef METER_METRIC_H
#define METER_METRIC_H

/* Longest name of a metric in bytes, and most dimensions it may declare. */
#define METRIC_MAX_LENGTH 64
#define METRIC_MAX_DIMENSIONS 8

/* The metric of meter_track's default argument. */
#define METRIC_DEFAULT "api_requests"

typedef struct Metric
{
	char		name[METRIC_MAX_LENGTH + 1];	/* hash key */
	bool		gauge;			/* a level that holds until the next sample */
	bool		allow_negative;
	int			ndimensions;
	char	   *dimensions[METRIC_MAX_DIMENSIONS];	/* sorted as in jsonb */
} Metric;

extern void metric_init(void);
extern const Metric *metric_lookup(const char *name);
extern const Metric *metric_lookup_text(const text *name);
extern bool metric_can_register(void);
extern const Metric *metric_register(const char *name);
extern bool metric_is_builtin(const char *name);

#endif							/* METER_METRIC_H */

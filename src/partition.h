/*
 * partition.h
 *		Partitions of the log (by day) and of the rollups (by month).
 */
#ifndef METER_PARTITION_H
#define METER_PARTITION_H

#include "datatype/timestamp.h"
#include "utils/date.h"

/* A partitioned table of ours: what its partitions are like. */
typedef struct PartitionedTable
{
	const char *name;			/* in schema meter */
	bool		by_month;		/* else by day */
	bool		by_date;		/* key of type date, else timestamptz */
	bool		is_log;			/* read by consumers who never come back */
	const char *details;		/* statements that make indexes and the like;
								 * %1$s is the partition */
} PartitionedTable;

/* 0001-01-01, the first day whose partition has a name. */
#define PARTITION_FIRST_DAY (1721426 - POSTGRES_EPOCH_JDATE)

extern const PartitionedTable partition_event;
extern const PartitionedTable partition_usage_hourly;
extern const PartitionedTable partition_usage_user_daily;

/* The UTC day of a time, as days since 2000-01-01. */
extern DateADT partition_day(TimestampTz at);

/* The first day of the day's month, and of the month after. */
extern DateADT partition_month(DateADT day);
extern DateADT partition_next_month(DateADT day);

extern char *partition_name(const PartitionedTable *table, DateADT start);
extern bool partition_exists(const PartitionedTable *table, DateADT start);
extern Oid	partition_ensure(const PartitionedTable *table, DateADT start,
							 bool *created);

static inline TimestampTz
partition_start_time(DateADT start)
{
	return start * USECS_PER_DAY;
}

#endif							/* METER_PARTITION_H */

/*
 * flush.h
 *		Moving waiting events into the log.
 */
#ifndef METER_FLUSH_H
#define METER_FLUSH_H

/* What a flush did. */
typedef struct FlushResult
{
	int64		appended;
	int64		duplicates;
	int64		rejected;
} FlushResult;

extern void flush_waiting(FlushResult *result);

#endif							/* METER_FLUSH_H */

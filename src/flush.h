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
	int64		ignored;		/* by meter.ignore_endpoints */
	int64		deferred;		/* moved from the queue to the inbox */
	int64		left;			/* in the inbox, for want of a lock */
	uint64		discarded;		/* of an extension that was dropped */
	uint64		lost_bytes;		/* of the queue */
	bool		more;			/* waits in the queue */
} FlushResult;

extern void flush_waiting(bool with_inbox, bool in_parts, FlushResult *result);

/* flush_commit.c */
extern void flush_at_commit(uint64 release, const FlushResult *result);

#endif							/* METER_FLUSH_H */

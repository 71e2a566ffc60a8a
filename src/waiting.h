/*
 * waiting.h
 *		An event on its way from the queue or the inbox to the log.
 */
#ifndef METER_WAITING_H
#define METER_WAITING_H

#include "access/htup_details.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "event.h"

/* A row of more bytes is refused without being read (ours have some 12 kB). */
#define WAITING_MAX_ROW (64 * 1024)

typedef struct Waiting
{
	HeapTuple	row;			/* of meter.inbox, or NULL */
	HeapTupleHeader queued;		/* of the queue, or NULL */
	Size		size;			/* of its values, detoasted */
	Event		event;			/* of a queued row only its time, until
								 * waiting_read() */
	bool		is_read;
	bool		checked;		/* by meter_track() */
	bool		claimed;		/* its idempotency key is */
	bool		unreadable;		/* its content cannot be kept */
	bool		drop;
} Waiting;

/* Where those of the inbox come from. */
typedef struct Inbox
{
	Relation	relation;
	Snapshot	snapshot;
} Inbox;

extern void waiting_from_queue(Waiting *waiting, HeapTupleHeader row);
extern bool waiting_read(Waiting *waiting, const Inbox *inbox,
						 EventError *error);
extern bool waiting_might_wait(Waiting *waiting);
extern bool waiting_remove(Waiting *waiting, const Inbox *inbox);
extern Jsonb *waiting_to_json(const Waiting *waiting, const Inbox *inbox);
extern int	waiting_compare_day(const void *a, const void *b);

#endif							/* METER_WAITING_H */

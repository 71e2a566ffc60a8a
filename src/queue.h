/*
 * queue.h
 *		The queue of events between meter_track() and the log.
 */
#ifndef METER_QUEUE_H
#define METER_QUEUE_H

#include "access/htup_details.h"

#include "core/ring.h"
#include "event.h"

#define QUEUE_DIRECTORY "pg_meter"

/* What waits in the queue. */
typedef struct QueueState
{
	uint64		bytes;			/* waiting, with all overhead */
	uint64		capacity;
	TimestampTz oldest;			/* when the oldest was received, or 0 */
} QueueState;

/* A flush on its way through the queue. */
typedef struct QueueReader
{
	uint64		start;
	uint64		position;
	uint64		end;
	bool		more;			/* waits behind the end */
	uint64		drained[RING_MAX_EPOCHS];	/* position in each epoch, or 0 */
	Oid			row_type;
	uint64		discarded;		/* events of an extension that was dropped */
	uint64		lost_bytes;
} QueueReader;

extern void queue_init(void);
extern void queue_make_directory(void);
extern char *queue_path(Oid database);

extern bool queue_put(const Event *event, bool wait);
extern void queue_count_fallback(void);
extern bool queue_state(QueueState *state);
extern bool queue_waiting(void);
extern bool queue_replayed(void);

extern bool queue_read_begin(QueueReader *reader, bool in_parts);
extern HeapTupleHeader queue_read(QueueReader *reader);
extern void queue_read_end(QueueReader *reader);
extern void queue_release(uint64 position);

extern TupleDesc queue_row_desc(void);

/* Flags in the place of a queued row's position in the log. */
#define QUEUE_NEW_METRIC 1
#define QUEUE_CALL 2			/* its tokens are still to be appended */
#define QUEUE_VIOLATION 4		/* no event, but a violation of isolation */

#endif							/* METER_QUEUE_H */

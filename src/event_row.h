/*
 * event_row.h
 *		An event as a row of meter.event.
 */
#ifndef METER_EVENT_ROW_H
#define METER_EVENT_ROW_H

#include "access/htup_details.h"
#include "access/tupmacs.h"

#include "event.h"

/*
 * Columns of meter.event, in the order of log.sql.  Those of variable length,
 * from the tenant on, are at the same places in meter.inbox.
 */
enum
{
	EVENT_SEQ,
	EVENT_AT,
	EVENT_RECEIVED_AT,
	EVENT_LATENCY_MS,
	EVENT_CORRECTS,
	EVENT_SUPERSEDED_BY,
	EVENT_STATUS,
	EVENT_TENANT,
	EVENT_METRIC,
	EVENT_QUANTITY,
	EVENT_SERVICE,
	EVENT_ENDPOINT,
	EVENT_METHOD,
	EVENT_USER_ID,
	EVENT_COST,
	EVENT_METADATA,
	EVENT_IDEMPOTENCY_KEY,
	EVENT_REQUEST_ID,
	EVENT_ERROR_MESSAGE,
	EVENT_COLUMNS
};

/* Of a row with nulls, or with room for them, as event_row_form() makes it. */
#define EVENT_ROW_HEADER MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(EVENT_COLUMNS))

extern void event_row_check(TupleDesc desc);
extern void event_row_fill(Datum *values, bool *isnull, const Event *event,
						   int64 seq);
extern void event_row_fill_varlena(Datum *values, bool *isnull,
								   const Event *event);
extern HeapTupleHeader event_row_form(void *buffer, Size buffer_size, Oid type,
									  const Event *event, int64 seq);
extern void event_row_read(HeapTupleHeader row, TupleDesc desc, Event *event);
extern void event_row_read_varlena(const Datum *values, const bool *isnull,
								   Event *event);

/*
 * The first three columns are never null and of fixed width, so they are in
 * the same place in every row.
 */
static inline int64 *
event_row_fixed(HeapTupleHeader row)
{
	return (int64 *) ((char *) row + row->t_hoff);
}

static inline int64
event_row_seq(HeapTupleHeader row)
{
	return event_row_fixed(row)[EVENT_SEQ];
}

static inline void
event_row_set_seq(HeapTupleHeader row, int64 seq)
{
	event_row_fixed(row)[EVENT_SEQ] = seq;
}

static inline TimestampTz
event_row_at(HeapTupleHeader row)
{
	return event_row_fixed(row)[EVENT_AT];
}

static inline TimestampTz
event_row_received_at(HeapTupleHeader row)
{
	return event_row_fixed(row)[EVENT_RECEIVED_AT];
}

static inline bool
event_row_has(HeapTupleHeader row, int column)
{
	return (row->t_infomask & HEAP_HASNULL) == 0 ||
		!att_isnull(column, row->t_bits);
}

#endif							/* METER_EVENT_ROW_H */

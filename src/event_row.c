/*
 * event_row.c
 *		An event as a row of meter.event.
 *
 * The log's writer forms rows from events; the queue holds events as rows
 * already formed, which the flush only copies.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "core/hot.h"
#include "event_row.h"

/* after all others */
#include "server.h"

/* The length of a column in rows; -1: it varies. */
static inline int
length_of(int column)
{
	return column < EVENT_STATUS ? sizeof(int64) :
		column == EVENT_STATUS ? sizeof(int32) : -1;
}

/*
 * Is it the row type that this library was made for?
 */
void
event_row_check(TupleDesc desc)
{
	bool		expected = desc->natts == EVENT_COLUMNS;

	for (int i = 0; i < desc->natts && expected; i++)
		expected = TupleDescAttr(desc, i)->attlen == length_of(i);
	if (!expected)
		elog(ERROR, "meter.event does not have the expected columns");
}

static inline void
put(Datum *values, bool *isnull, int column, void *pointer)
{
	values[column] = PointerGetDatum(pointer);
	isnull[column] = pointer == NULL;
}

/*
 * The columns of variable length, of a row of meter.event or meter.inbox.
 */
HOT_PATH void
event_row_fill_varlena(Datum *values, bool *isnull, const Event *event)
{
	put(values, isnull, EVENT_TENANT, event->tenant);
	put(values, isnull, EVENT_METRIC, event->metric);
	put(values, isnull, EVENT_QUANTITY, event->quantity);
	put(values, isnull, EVENT_SERVICE, event->service);
	put(values, isnull, EVENT_ENDPOINT, event->endpoint);
	put(values, isnull, EVENT_METHOD, event->method);
	put(values, isnull, EVENT_USER_ID, event->user_id);
	put(values, isnull, EVENT_COST, event->cost);
	put(values, isnull, EVENT_METADATA, event->metadata);
	put(values, isnull, EVENT_IDEMPOTENCY_KEY, event->idempotency_key);
	put(values, isnull, EVENT_REQUEST_ID, event->request_id);
	put(values, isnull, EVENT_ERROR_MESSAGE, event->error_message);
}

/*
 * The columns of an event at a position of the log.
 */
HOT_PATH void
event_row_fill(Datum *values, bool *isnull, const Event *event, int64 seq)
{
	memset(isnull, false, EVENT_COLUMNS);
	values[EVENT_SEQ] = Int64GetDatum(seq);
	values[EVENT_AT] = TimestampTzGetDatum(event->at);
	values[EVENT_RECEIVED_AT] = TimestampTzGetDatum(event->received_at);
	values[EVENT_LATENCY_MS] = Float8GetDatum(event->latency_ms);
	isnull[EVENT_LATENCY_MS] = !event->has_latency;
	values[EVENT_CORRECTS] = Int64GetDatum(event->corrects);
	isnull[EVENT_CORRECTS] = event->corrects == 0;
	values[EVENT_SUPERSEDED_BY] = Int64GetDatum(seq);
	isnull[EVENT_SUPERSEDED_BY] = !event->voids;
	values[EVENT_STATUS] = Int32GetDatum(event->status);
	isnull[EVENT_STATUS] = !event->has_status;
	event_row_fill_varlena(values, isnull, event);
}

/*
 * A size that no row of these columns exceeds.
 */
static Size
most_of(const Datum *values, const bool *isnull)
{
	Size		size = EVENT_ROW_HEADER + EVENT_TENANT * sizeof(int64);

	for (int i = EVENT_TENANT; i < EVENT_COLUMNS; i++)
		if (!isnull[i])
			size += VARSIZE_ANY(DatumGetPointer(values[i])) + ALIGNOF_INT - 1;
	return size;
}

/*
 * Put a text, numeric or jsonb behind what a row has so far.
 */
static inline char *
put_varlena(char *p, const struct varlena *value)
{
	Size		size;

	Assert(!VARATT_IS_EXTERNAL(value) && !VARATT_IS_COMPRESSED(value));
	if (VARATT_CAN_MAKE_SHORT(value))
	{
		size = VARATT_CONVERTED_SHORT_SIZE(value);
		SET_VARSIZE_SHORT(p, size);
		hot_copy(p + 1, VARDATA(value), size - 1);
		return p + size;
	}
	if (!VARATT_IS_SHORT(value))
		while (p != (char *) INTALIGN(p))
			*p++ = 0;
	size = VARSIZE_ANY(value);
	hot_copy(p, value, size);
	return p + size;
}

/*
 * The row of an event that is not toasted, as a composite datum, in the buffer
 * or, if it is too large for that, in new memory.  It is what heap_form_tuple()
 * would make of event_row_fill()'s columns, but always with room for nulls.  By
 * hand, as a loop over a descriptor's columns is most of what a call costs.
 */
HOT_PATH HeapTupleHeader
event_row_form(void *buffer, Size buffer_size, Oid type, const Event *event,
			   int64 seq)
{
	Datum		values[EVENT_COLUMNS];
	bool		isnull[EVENT_COLUMNS];
	HeapTupleHeader row = buffer;
	uint32		there = 0;		/* a bit for each column that is not null */
	Size		most;
	char	   *p;

	event_row_fill(values, isnull, event, seq);
	most = most_of(values, isnull);
	if (most > buffer_size)
		row = palloc(most);

	/* whoever reads a row takes the bytes between its columns for zero */
	memset(row, 0, EVENT_ROW_HEADER);
	p = (char *) row + EVENT_ROW_HEADER;
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		if (isnull[i])
			continue;
		there |= (uint32) 1 << i;
		if (i < EVENT_STATUS)
		{
			*(int64 *) p = DatumGetInt64(values[i]);
			p += sizeof(int64);
		}
		else if (i == EVENT_STATUS)
		{
			*(int32 *) p = DatumGetInt32(values[i]);
			p += sizeof(int32);
		}
		else
			p = put_varlena(p, (struct varlena *) DatumGetPointer(values[i]));
	}
	for (int i = 0; i < BITMAPLEN(EVENT_COLUMNS); i++)
		row->t_bits[i] = (uint8) (there >> 8 * i);
	row->t_infomask = HEAP_HASVARWIDTH |
		(there + 1 < (uint32) 1 << EVENT_COLUMNS ? HEAP_HASNULL : 0);
	HeapTupleHeaderSetDatumLength(row, p - (char *) row);
	HeapTupleHeaderSetTypeId(row, type);
	HeapTupleHeaderSetTypMod(row, -1);
	ItemPointerSetInvalid(&row->t_ctid);
	HeapTupleHeaderSetNatts(row, EVENT_COLUMNS);
	row->t_hoff = EVENT_ROW_HEADER;
	return row;
}

static inline text *
get_text(const Datum *values, const bool *isnull, int column)
{
	return isnull[column] ? NULL : DatumGetTextPP(values[column]);
}

/*
 * The same columns' part of an event that is all zeros so far.  What is not
 * toasted points into the row.
 */
void
event_row_read_varlena(const Datum *values, const bool *isnull, Event *event)
{
	event->tenant = get_text(values, isnull, EVENT_TENANT);
	event->metric = get_text(values, isnull, EVENT_METRIC);
	if (!isnull[EVENT_QUANTITY])
		event->quantity = DatumGetNumeric(values[EVENT_QUANTITY]);
	event->service = get_text(values, isnull, EVENT_SERVICE);
	event->endpoint = get_text(values, isnull, EVENT_ENDPOINT);
	event->method = get_text(values, isnull, EVENT_METHOD);
	event->user_id = get_text(values, isnull, EVENT_USER_ID);
	if (!isnull[EVENT_COST])
		event->cost = DatumGetNumeric(values[EVENT_COST]);
	if (!isnull[EVENT_METADATA])
		event->metadata = DatumGetJsonbP(values[EVENT_METADATA]);
	event->idempotency_key = get_text(values, isnull, EVENT_IDEMPOTENCY_KEY);
	event->request_id = get_text(values, isnull, EVENT_REQUEST_ID);
	event->error_message = get_text(values, isnull, EVENT_ERROR_MESSAGE);
}

/*
 * The event of a row that is no amendment.  Its texts point into the row.
 */
void
event_row_read(HeapTupleHeader row, TupleDesc desc, Event *event)
{
	HeapTupleData tuple;
	Datum		values[EVENT_COLUMNS];
	bool		isnull[EVENT_COLUMNS];

	event_row_check(desc);
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	heap_deform_tuple(&tuple, desc, values, isnull);

	memset(event, 0, sizeof(*event));
	event->at = DatumGetTimestampTz(values[EVENT_AT]);
	event->has_at = true;
	event->received_at = DatumGetTimestampTz(values[EVENT_RECEIVED_AT]);
	event->has_latency = !isnull[EVENT_LATENCY_MS];
	if (event->has_latency)
		event->latency_ms = DatumGetFloat8(values[EVENT_LATENCY_MS]);
	event->has_status = !isnull[EVENT_STATUS];
	if (event->has_status)
		event->status = DatumGetInt32(values[EVENT_STATUS]);
	event_row_read_varlena(values, isnull, event);
}

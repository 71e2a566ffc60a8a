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
#include "plain.h"

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

StaticAssertDecl(EVENT_COLUMNS == EVENT_TENANT + EVENT_VALUES &&
				 EVENT_ENDPOINT == EVENT_TENANT + EVENT_VALUE(endpoint) &&
				 EVENT_ERROR_MESSAGE == EVENT_TENANT + EVENT_VALUE(error_message),
				 "an event's values are in the order of the columns");

/*
 * The columns of variable length, of a row of meter.event or meter.inbox.
 */
void
event_row_fill_varlena(Datum *values, bool *isnull, const Event *event)
{
	for (int i = 0; i < EVENT_VALUES; i++)
	{
		values[EVENT_TENANT + i] = PointerGetDatum(event->values[i]);
		isnull[EVENT_TENANT + i] = event->values[i] == NULL;
	}
}

/*
 * The columns of an event at a position of the log.
 */
void
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

/* Most bytes that put_varlena() adds to the value's own. */
#define MOST_ADDED (VARHDRSZ + ALIGNOF_INT - 1)

/*
 * Put a text, numeric or jsonb of this length behind what a row has so far.
 */
static inline char *
put_varlena(char *p, const struct varlena *value, Size length)
{
	if (length + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
	{
		SET_VARSIZE_SHORT(p, length + VARHDRSZ_SHORT);
		p += VARHDRSZ_SHORT;
	}
	else
	{
		while (p != (char *) INTALIGN(p))
			*p++ = 0;
		SET_VARSIZE(p, length + VARHDRSZ);
		p += VARHDRSZ;
	}
	hot_copy(p, plain_data(value), length);
	return p + length;
}

/*
 * In new memory, with room for all of it.
 */
static pg_noinline HeapTupleHeader
form_large(Oid type, const Event *event, int64 seq)
{
	Size		most = EVENT_ROW_HEADER + EVENT_TENANT * sizeof(int64);

	for (int i = 0; i < EVENT_VALUES; i++)
		if (event->values[i] != NULL)
			most += plain_length(event->values[i]) + MOST_ADDED;
	return event_row_form(palloc(most), most, type, event, seq);
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
	HeapTupleHeader row = buffer;
	const char *end = (char *) buffer + buffer_size;
	int64	   *fixed = (int64 *) ((char *) row + EVENT_ROW_HEADER);
	uint32		there;			/* a bit for each column that is not null */
	char	   *p;

	Assert(buffer_size >= EVENT_ROW_HEADER + EVENT_TENANT * sizeof(int64));

	/* whoever reads a row takes the bytes between its columns for zero */
	memset(row, 0, EVENT_ROW_HEADER);

	there = 1 << EVENT_SEQ | 1 << EVENT_AT | 1 << EVENT_RECEIVED_AT;
	*fixed++ = seq;
	*fixed++ = event->at;
	*fixed++ = event->received_at;
	if (event->has_latency)
	{
		there |= 1 << EVENT_LATENCY_MS;
		memcpy(fixed++, &event->latency_ms, sizeof(float8));
	}
	if (event->corrects != 0)
	{
		there |= 1 << EVENT_CORRECTS;
		*fixed++ = event->corrects;
	}
	if (event->voids)
	{
		there |= 1 << EVENT_SUPERSEDED_BY;
		*fixed++ = seq;
	}
	p = (char *) fixed;
	if (event->has_status)
	{
		there |= 1 << EVENT_STATUS;
		*(int32 *) p = event->status;
		p += sizeof(int32);
	}
	for (int i = 0; i < EVENT_VALUES; i++)
	{
		const struct varlena *value = event->values[i];
		Size		length;

		if (value == NULL)
			continue;
		length = plain_length(value);
		if (unlikely(length + MOST_ADDED > (Size) (end - p)))
			return form_large(type, event, seq);
		there |= 1 << (EVENT_TENANT + i);
		p = put_varlena(p, value, length);
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

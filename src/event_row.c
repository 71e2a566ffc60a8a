/*
 * event_row.c
 *		An event as a row of meter.event.
 *
 * The log's writer forms rows from events; the queue holds events as rows
 * already formed, which the flush only copies.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "event_row.h"

/*
 * Is it the row type that this library was made for?
 */
void
event_row_check(TupleDesc desc)
{
	if (desc->natts != EVENT_COLUMNS)
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
void
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

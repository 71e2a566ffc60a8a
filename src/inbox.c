/*
 * inbox.c
 *		Reading and writing rows of meter.inbox.
 *
 * Events that were checked at the call are marked validated, so that the
 * flush need not check them again and does not take their idempotency key,
 * claimed in the same transaction, for a repeat.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rls.h"
#include "utils/timestamp.h"

#include "inbox.h"
#include "owner.h"
#include "shared.h"
#include "writer.h"

StaticAssertDecl((int) INBOX_TENANT == (int) EVENT_TENANT,
				 "meter.inbox and meter.event end in the same columns");

static void
inbox_fill(TupleTableSlot *slot, const Event *event, bool validated)
{
	Datum	   *values = slot->tts_values;
	bool	   *isnull = slot->tts_isnull;

	if (slot->tts_tupleDescriptor->natts != INBOX_COLUMNS)
		elog(ERROR, "meter.inbox does not have the expected columns");
	memset(isnull, false, INBOX_COLUMNS);
	values[INBOX_RECEIVED_AT] = TimestampTzGetDatum(event->received_at);
	values[INBOX_AT] = TimestampTzGetDatum(event->at);
	values[INBOX_LATENCY_MS] = Float8GetDatum(event->latency_ms);
	isnull[INBOX_LATENCY_MS] = !event->has_latency;
	values[INBOX_CORRECTS] = Int64GetDatum(event->corrects);
	isnull[INBOX_CORRECTS] = event->corrects == 0;
	values[INBOX_STATUS] = Int32GetDatum(event->status);
	isnull[INBOX_STATUS] = !event->has_status;
	values[INBOX_VALIDATED] = BoolGetDatum(validated);
	values[INBOX_VOIDS] = BoolGetDatum(event->voids);
	event_row_fill_varlena(values, isnull, event);
}

/*
 * Append events to the inbox in the current transaction: validated if they
 * were checked and their idempotency keys are claimed.
 */
void
inbox_write(Event *const *events, int nevents, bool validated)
{
	Writer	   *writer = writer_open(owner_relation("inbox"));

	for (int i = 0; i < nevents; i++)
	{
		CHECK_FOR_INTERRUPTS();
		inbox_fill(writer_slot(writer), events[i], validated);
		writer_store(writer);
	}
	writer_close(writer);
	shared_wake_at_commit(true);
}

/*
 * The event of a deformed inbox row.  Its texts point into the row where they
 * are not toasted.
 */
void
inbox_read(const Datum *values, const bool *isnull, Event *event,
		   bool *validated)
{
	memset(event, 0, sizeof(*event));
	event->received_at = DatumGetTimestampTz(values[INBOX_RECEIVED_AT]);
	event->has_at = !isnull[INBOX_AT];
	if (event->has_at)
		event->at = DatumGetTimestampTz(values[INBOX_AT]);
	event->has_latency = !isnull[INBOX_LATENCY_MS];
	if (event->has_latency)
		event->latency_ms = DatumGetFloat8(values[INBOX_LATENCY_MS]);
	if (!isnull[INBOX_CORRECTS])
		event->corrects = DatumGetInt64(values[INBOX_CORRECTS]);
	event->has_status = !isnull[INBOX_STATUS];
	if (event->has_status)
		event->status = DatumGetInt32(values[INBOX_STATUS]);
	*validated = DatumGetBool(values[INBOX_VALIDATED]);
	event->voids = DatumGetBool(values[INBOX_VOIDS]);
	event_row_read_varlena(values, isnull, event);
}

PG_FUNCTION_INFO_V1(meter_inbox_filled);

/*
 * Statement trigger of meter.inbox, for rows that others write.
 */
Datum
meter_inbox_filled(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"meter_inbox_filled")));

	/* a restore, which has it off, is no use of the database */
	shared_wake_at_commit(row_security);
	return PointerGetDatum(NULL);
}

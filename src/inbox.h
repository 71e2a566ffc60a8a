/*
 * inbox.h
 *		Reading and writing rows of meter.inbox.
 */
#ifndef METER_INBOX_H
#define METER_INBOX_H

#include "event_row.h"

/* Columns of meter.inbox, in the order of inbox.sql. */
enum
{
	INBOX_RECEIVED_AT,
	INBOX_AT,
	INBOX_LATENCY_MS,
	INBOX_CORRECTS,
	INBOX_STATUS,
	INBOX_VALIDATED,
	INBOX_VOIDS,
	INBOX_TENANT,				/* and so on as in meter.event */
	INBOX_COLUMNS = EVENT_COLUMNS
};

extern void inbox_write(Event *const *events, int nevents, bool validated);
extern void inbox_read(const Datum *values, const bool *isnull, Event *event,
					   bool *validated);

#endif							/* METER_INBOX_H */

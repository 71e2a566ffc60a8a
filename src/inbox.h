/*
 * inbox.h
 *		Reading and writing rows of meter.inbox.
 */
#ifndef METER_INBOX_H
#define METER_INBOX_H

#include "event.h"

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
	INBOX_TENANT,
	INBOX_METRIC,
	INBOX_QUANTITY,
	INBOX_SERVICE,
	INBOX_ENDPOINT,
	INBOX_METHOD,
	INBOX_USER_ID,
	INBOX_COST,
	INBOX_METADATA,
	INBOX_IDEMPOTENCY_KEY,
	INBOX_REQUEST_ID,
	INBOX_ERROR_MESSAGE,
	INBOX_COLUMNS
};

extern void inbox_write(Event *const *events, int nevents, bool validated);
extern void inbox_read(const Datum *values, const bool *isnull, Event *event,
					   bool *validated);

#endif							/* METER_INBOX_H */

/*
 * reject.h
 *		Keeping events that were refused.
 */
#ifndef METER_REJECT_H
#define METER_REJECT_H

#include "event.h"

/* A larger event is kept without its content (bytes). */
#define REJECT_MAX_EVENT (64 * 1024)

/* Where a refused event was found. */
typedef enum RejectSource
{
	REJECT_INBOX,
	REJECT_BATCH,
	REJECT_QUEUE
} RejectSource;

extern void reject_store(RejectSource source, const EventError *error,
						 text *tenant, Jsonb *event);

#endif							/* METER_REJECT_H */

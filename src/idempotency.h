/*
 * idempotency.h
 *		Claiming idempotency keys.
 */
#ifndef METER_IDEMPOTENCY_H
#define METER_IDEMPOTENCY_H

#include "event.h"

/* What idempotency_claim() found for an event. */
typedef enum Claim
{
	CLAIM_FRESH,				/* no key, or the first with this key */
	CLAIM_REPEAT				/* the key was seen within the window */
} Claim;

extern void idempotency_claim(Event *const *events, int nevents, Claim *claims);

#endif							/* METER_IDEMPOTENCY_H */

/*
 * secret.h
 *		Masking credentials in values of SQL types.
 */
#ifndef METER_SECRET_H
#define METER_SECRET_H

#include "utils/jsonb.h"

/* Both return their argument itself when there is nothing to mask. */
extern text *secret_mask_text(text *t);
extern Jsonb *secret_mask_jsonb(Jsonb *j);

#endif							/* METER_SECRET_H */

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

/* Cut a text at a character boundary; it itself if it is not too long. */
extern text *secret_clip_text(text *t, int max_length);

#endif							/* METER_SECRET_H */

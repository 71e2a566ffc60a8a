/*
 * secret.h
 *		Finding and masking credentials in text that is about to be stored.
 */
#ifndef METER_CORE_SECRET_H
#define METER_CORE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* What a credential is replaced by. */
#define SECRET_MASK "***"

/* Does a key of this name (of a JSON object, a query parameter) hold a secret? */
extern bool secret_key(const char *key, size_t length);

/*
 * Does the text hold something that looks like a credential?  Cheap enough
 * for every event: most texts are refused by one pass without backtracking.
 */
extern bool secret_found(const char *text, size_t length);

/*
 * Copy text to out with every credential replaced by SECRET_MASK; returns the
 * length written.  out needs SECRET_MASKED_SIZE(length) bytes.
 */
#define SECRET_MASKED_SIZE(length) (4 * (length) + 4)
extern size_t secret_mask(const char *text, size_t length, char *out);

#endif							/* METER_CORE_SECRET_H */

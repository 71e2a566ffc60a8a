/*
 * endpoint.h
 *		Folding the endpoints of API calls into route templates.
 */
#ifndef METER_CORE_ENDPOINT_H
#define METER_CORE_ENDPOINT_H

#include <stddef.h>

/* Longest normalised endpoint in bytes; a longer one is cut at a character. */
#define ENDPOINT_MAX_LENGTH 512

/*
 * Write the normalised form of in[0..length) to out, which has room for
 * ENDPOINT_MAX_LENGTH bytes, and return its length (no terminating zero).
 */
extern size_t endpoint_normalize(const char *in, size_t length, char *out);

#endif							/* METER_CORE_ENDPOINT_H */

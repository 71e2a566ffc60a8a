/*
 * exact_copy.h
 *		A text on the heap and exactly as long as it is, so that the sanitizer
 *		sees who reads beyond it.
 */
#ifndef METER_EXACT_COPY_H
#define METER_EXACT_COPY_H

#include <stdlib.h>
#include <string.h>

static char *
exact_copy(const char *s, size_t length)
{
	char	   *copy = malloc(length > 0 ? length : 1);

	assert_non_null(copy);
	memcpy(copy, s, length);
	return copy;
}

#endif							/* METER_EXACT_COPY_H */

/*
 * hot.c
 *		What every call has of the C library.
 */
#include <string.h>

#include "core/hot.h"

HOT_DATA void *(*hot_copy) (void *to, const void *from, size_t size) = memcpy;

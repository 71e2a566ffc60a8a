/*
 * alloc.c
 *		The pure core's memory in the unit tests: malloc, aborting when there
 *		is none.  See src/core/alloc.h.
 */
#include <stdlib.h>

#include "core/alloc.h"

void *
core_alloc(size_t size)
{
	return core_realloc(NULL, size);
}

void *
core_realloc(void *ptr, size_t size)
{
	void	   *result = realloc(ptr, size > 0 ? size : 1);

	if (result == NULL)
		abort();
	return result;
}

void
core_free(void *ptr)
{
	free(ptr);
}

/*
 * alloc.c
 *		The pure core's memory, taken from PostgreSQL's memory contexts.
 *
 * See core/alloc.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "core/alloc.h"

void *
core_alloc(size_t size)
{
	return palloc(size);
}

void *
core_realloc(void *ptr, size_t size)
{
	return ptr == NULL ? palloc(size) : repalloc(ptr, size);
}

void
core_free(void *ptr)
{
	if (ptr != NULL)
		pfree(ptr);
}

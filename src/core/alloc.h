/*
 * alloc.h
 *		Memory for the pure core.
 *
 * The core holds no PostgreSQL code, so it asks for memory through these
 * three functions.  src/alloc.c maps them to palloc in the current memory
 * context (out of memory is then an ERROR and does not return); the unit
 * tests map them to malloc and abort.  So no caller checks for NULL.
 */
#ifndef METER_CORE_ALLOC_H
#define METER_CORE_ALLOC_H

#include <stddef.h>

extern void *core_alloc(size_t size);

/* ptr may be NULL; the memory stays in the context it was allocated in. */
extern void *core_realloc(void *ptr, size_t size);

/* ptr may be NULL. */
extern void core_free(void *ptr);

#endif							/* METER_CORE_ALLOC_H */

/*
 * account_memory.h
 *		The memory of the accounts of limits.
 *
 * A call reads accounts anywhere in the table, and with millions of them most
 * of its time goes into finding out where a page of memory is.  Huge pages
 * need no such search.  Where the server has those that the administrator has
 * set aside (huge_pages = on), the table is in them with the rest of the shared
 * memory.  Otherwise, unless huge_pages is off, it has a mapping of its own, for
 * which the kernel can be asked to join pages into huge ones
 * (MADV_COLLAPSE of Linux 6.1 and later).  That needs no setting, but is done
 * only if the kernel finds the memory, so nothing depends on it.
 */
#ifndef METER_ACCOUNT_MEMORY_H
#define METER_ACCOUNT_MEMORY_H

/* From the hook in which shared memory is asked for. */
extern void account_memory_request(Size size);

/*
 * From the hook in which it is set up.  The memory is aligned to at least
 * ACCOUNT_BLOCK, and zero.
 */
extern void *account_memory_get(Size size);

/*
 * Join the pages of the first so many bytes, those that are not yet, and not too
 * many in one call.
 */
extern void account_memory_join(Size size);

#endif							/* METER_ACCOUNT_MEMORY_H */

/*
 * hot.h
 *		What every call runs, and what one runs once in a while.
 *
 * A session that answers one call at a time finds caches and TLB filled by
 * other processes at each of them, so that what a call costs is not how many
 * instructions it has but over how many cache lines and pages they are spread.
 * So the compiler puts functions marked HOT_PATH next to each other, and those
 * marked COLD_PATH, as what reads a table for what is then remembered, far
 * from them.  And variables marked HOT_DATA, those that each call looks at, are
 * in a section of their own, on one page as long as no large array is among
 * them; HOT_STATEMENT those that each statement does.  HOT_CONST are tables that
 * never change.
 */
#ifndef METER_CORE_HOT_H
#define METER_CORE_HOT_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__GNUC__)
#define HOT_PATH __attribute__((hot))
#define COLD_PATH __attribute__((cold, noinline))
#else
#define HOT_PATH
#define COLD_PATH
#endif

/* the section's name is of a form that only ELF knows */
#if defined(__GNUC__) && defined(__ELF__)
#define HOT_DATA __attribute__((section("meter_hot")))
#define HOT_STATEMENT __attribute__((section("meter_hot_statement")))
#define HOT_CONST __attribute__((section("meter_hot_const")))
#else
#define HOT_DATA
#define HOT_STATEMENT
#define HOT_CONST
#endif

/*
 * memcpy(), whose address is among what a call looks at anyway, and not in the
 * linker's table.
 */
extern void *(*hot_copy) (void *to, const void *from, size_t size);

/*
 * strcmp() for so few bytes that the way to the C library is longer; see also
 * core/bytes.h.
 */
static inline bool
hot_same(const char *a, const char *b)
{
	for (; *a == *b; a++, b++)
		if (*a == '\0')
			return true;
	return false;
}

#endif							/* METER_CORE_HOT_H */

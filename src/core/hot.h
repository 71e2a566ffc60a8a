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
 * them.
 */
#ifndef METER_CORE_HOT_H
#define METER_CORE_HOT_H

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
#else
#define HOT_DATA
#endif

#endif							/* METER_CORE_HOT_H */

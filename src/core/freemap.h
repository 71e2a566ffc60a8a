/*
 * freemap.h
 *		Which of many numbers are free: a tree of bits.
 *
 * There is a bit for each number from 0 on, and above each word of 64 a bit
 * that says whether all of it are taken, and so on up to a single word.  So the
 * first number that is free at or after any other is found, and one taken or
 * given back, in as many steps as there are levels, of which there are at most
 * six.  Nothing is known of numbers beside their bits, which take an eighth of
 * a byte each and a 63rd more.
 *
 * The map lives in memory that its user provides, and takes no locks.
 */
#ifndef METER_CORE_FREEMAP_H
#define METER_CORE_FREEMAP_H

#include <stddef.h>
#include <stdint.h>

#define FREEMAP_LEVELS 6		/* 64^6 is more than 2^32 */

/* Found at the end of a map. */
#define FREEMAP_NONE UINT32_MAX

typedef struct Freemap
{
	uint32_t	n;				/* numbers */
	uint32_t	n_levels;
	uint32_t	level[FREEMAP_LEVELS];	/* its first word; that of the numbers
										 * is 0 */
} Freemap;

/* Of the words, which have to be aligned as such, in bytes. */
extern size_t freemap_size(uint32_t n);

/* At least one number; all are free. */
extern void freemap_init(Freemap *map, uint64_t *words, uint32_t n);

extern void freemap_take(const Freemap *map, uint64_t *words, uint32_t number);
extern void freemap_give(const Freemap *map, uint64_t *words, uint32_t number);

/* The first one that is free from a number on, or FREEMAP_NONE. */
extern uint32_t freemap_next(const Freemap *map, const uint64_t *words,
							 uint32_t number);

#endif							/* METER_CORE_FREEMAP_H */

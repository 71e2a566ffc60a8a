/*
 * freemap.c
 *		Which of many numbers are free: a tree of bits.
 *
 * A bit is set if the number, or all of the word below, is taken.  Bits beyond
 * the last one of a level are set, too, so that nobody finds them.
 */
#include <string.h>

#include "core/freemap.h"

#define WORD_BITS 64
#define TAKEN UINT64_MAX

static uint32_t
words_for(uint32_t bits)
{
	return bits / WORD_BITS + (bits % WORD_BITS > 0);
}

static uint64_t
bit_of(uint32_t number)
{
	return UINT64_C(1) << number % WORD_BITS;
}

size_t
freemap_size(uint32_t n)
{
	uint32_t	words = words_for(n);
	size_t		size = words;

	while (words > 1)
	{
		words = words_for(words);
		size += words;
	}
	return size * sizeof(uint64_t);
}

void
freemap_init(Freemap *map, uint64_t *words, uint32_t n)
{
	uint32_t	bits = n;
	uint32_t	first = 0;

	memset(map, 0, sizeof(*map));
	map->n = n;
	do
	{
		uint32_t	here = words_for(bits);

		map->level[map->n_levels++] = first;
		memset(&words[first], 0, here * sizeof(uint64_t));
		if (bits % WORD_BITS > 0)
			words[first + here - 1] = ~(bit_of(bits) - 1);
		first += here;
		bits = here;
	} while (bits > 1);
}

void
freemap_take(const Freemap *map, uint64_t *words, uint32_t number)
{
	for (uint32_t l = 0; l < map->n_levels; l++)
	{
		uint64_t   *word = &words[map->level[l] + number / WORD_BITS];

		*word |= bit_of(number);
		if (*word != TAKEN)
			break;
		number /= WORD_BITS;
	}
}

void
freemap_give(const Freemap *map, uint64_t *words, uint32_t number)
{
	for (uint32_t l = 0; l < map->n_levels; l++)
	{
		uint64_t   *word = &words[map->level[l] + number / WORD_BITS];
		uint64_t	before = *word;

		*word &= ~bit_of(number);
		if (before != TAKEN)
			break;
		number /= WORD_BITS;
	}
}

uint32_t
freemap_next(const Freemap *map, const uint64_t *words, uint32_t number)
{
	uint32_t	bits = map->n;
	uint32_t	l = 0;

	/* up, until there is one in the rest of a word, */
	for (;;)
	{
		uint64_t	word;

		if (l == map->n_levels || number >= bits)
			return FREEMAP_NONE;
		word = words[map->level[l] + number / WORD_BITS] | (bit_of(number) - 1);
		if (word != TAKEN)
		{
			number = number / WORD_BITS * WORD_BITS + (uint32_t) __builtin_ctzll(~word);
			break;
		}
		number = number / WORD_BITS + 1;
		bits = words_for(bits);
		l++;
	}

	/* and down again to the first one below */
	while (l-- > 0)
		number = number * WORD_BITS +
			(uint32_t) __builtin_ctzll(~words[map->level[l] + number]);
	return number;
}

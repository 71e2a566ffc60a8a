/*
 * bytes.h
 *		Looking at the bytes of short texts eight at a time, and their hash.
 *
 * No byte outside of the text is read: its last eight are looked at as one
 * word, though some of them belong to the word before as well, and those of a
 * text that is shorter are put together from its two ends.
 */
#ifndef METER_CORE_BYTES_H
#define METER_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The same byte eight times. */
#define BYTES_OF(c) (UINT64_C(0x0101010101010101) * (c))

static inline uint64_t
bytes_load(const char *s)
{
	uint64_t	word;

	memcpy(&word, s, sizeof(word));
	return word;
}

/*
 * All bytes of a text of 1 to 7, some of them twice, in an order that depends
 * on the length only; where they are not enough, blanks.
 */
static inline uint64_t
bytes_load_few(const char *s, size_t length)
{
	if (length >= 4)
	{
		uint32_t	first;
		uint32_t	last;

		memcpy(&first, s, sizeof(first));
		memcpy(&last, s + length - sizeof(last), sizeof(last));
		return (uint64_t) last << 32 | first;
	}
	return (BYTES_OF(' ') & ~UINT64_C(0xFFFFFF)) |
		(uint64_t) (unsigned char) s[length - 1] << 16 |
		(uint64_t) (unsigned char) s[length / 2] << 8 | (unsigned char) s[0];
}

/*
 * The place of the word after the one at i, of a text of 8 bytes and more that
 * does not end with it.
 */
static inline size_t
bytes_next(size_t i, size_t length)
{
	i += 8;
	return i < length - 8 ? i : length - 8;
}

static inline bool
bytes_equal(const char *a, const char *b, size_t length)
{
	if (length < 8)
		return length == 0 ||
			bytes_load_few(a, length) == bytes_load_few(b, length);
	for (size_t i = 0;; i = bytes_next(i, length))
	{
		if (bytes_load(a + i) != bytes_load(b + i))
			return false;
		if (length - i <= 8)
			return true;
	}
}

/*
 * Both halves of a product, which depend on all bits of both factors.
 */
static inline uint64_t
bytes_mix(uint64_t a, uint64_t b)
{
	unsigned	__int128 product = (unsigned __int128) a * b;

	return (uint64_t) (product >> 64) ^ (uint64_t) product;
}

/*
 * A hash that nobody can steer who does not know the seed, which has to be
 * random: the mixing of wyhash (https://github.com/wangyi-fudan/wyhash), here of
 * one word after the other.  The constants are random; the length is in it, as
 * words that overlap are those of one text only among those as long.
 */
static inline uint64_t
bytes_hash(const char *s, size_t length, uint64_t seed)
{
	uint64_t	factor = seed ^ UINT64_C(0xA0761D6478BD642F);
	uint64_t	hash = seed ^ length * UINT64_C(0xE7037ED1A0B428DB);

	if (length < 8)
		hash = bytes_mix(hash ^ (length > 0 ? bytes_load_few(s, length) : 0), factor);
	else
		for (size_t i = 0;; i = bytes_next(i, length))
		{
			hash = bytes_mix(hash ^ bytes_load(s + i), factor);
			if (length - i <= 8)
				break;
		}
	return bytes_mix(hash ^ UINT64_C(0x8EBC6AF09C88C6E3), factor);
}

/*
 * The highest bit of each byte of the word that is a control character of
 * ASCII.  Without the highest bits, nothing is carried from byte to byte.
 */
static inline uint64_t
bytes_controls(uint64_t word)
{
	uint64_t	low = word & BYTES_OF(0x7F);

	return ((low + BYTES_OF(0x80 - 0x7F)) | ~(low + BYTES_OF(0x80 - 0x20))) &
		~word & BYTES_OF(0x80);
}

/*
 * Is there anything but blanks in the text, and no control character?
 */
static inline bool
bytes_readable(const char *s, size_t length)
{
	uint64_t	word;
	uint64_t	controls = 0;
	uint64_t	others = 0;
	size_t		i = 0;

	if (length == 0)
		return false;
	word = length < 8 ? bytes_load_few(s, length) : bytes_load(s);
	for (;;)
	{
		controls |= bytes_controls(word);
		others |= word ^ BYTES_OF(' ');
		if (length - i <= 8 || length < 8)
			return controls == 0 && others != 0;
		i = bytes_next(i, length);
		word = bytes_load(s + i);
	}
}

#endif							/* METER_CORE_BYTES_H */

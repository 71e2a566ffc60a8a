/*
 * memo.h
 *		What became of short texts that come again and again.
 *
 * For a function of a text, the key, and of a number that says in which of
 * several ways it is done: what it made of a key is remembered, until another
 * one needs the place.
 */
#ifndef METER_CORE_MEMO_H
#define METER_CORE_MEMO_H

#include <stdbool.h>
#include <stddef.h>

/* Places; a power of two. */
#define MEMO_ENTRIES 64

/* Most bytes of a text and, if it is another one, of what became of it. */
#define MEMO_ROOM 125

/* Two cache lines at most; zeros are an entry of no text. */
typedef struct MemoEntry
{
	unsigned char length;		/* of the text; 0: none */
	unsigned char way;
	unsigned char result_length;	/* MEMO_SAME: the text itself */
	char		bytes[MEMO_ROOM];	/* the text and the result */
} MemoEntry;

#define MEMO_SAME 255

typedef struct Memo
{
	_Alignas(128) MemoEntry entries[MEMO_ENTRIES];
} Memo;

/*
 * What became of the text in this way, and its length; NULL if that is not
 * remembered.  It is the text itself, or it stays until the next memo_keep.
 */
extern const char *memo_find(const Memo *memo, const char *key, size_t length,
							 unsigned char way, size_t *result_length);

/*
 * Remember it, unless it is too long.
 */
extern void memo_keep(Memo *memo, const char *key, size_t length,
					  unsigned char way, const char *result,
					  size_t result_length);

#endif							/* METER_CORE_MEMO_H */

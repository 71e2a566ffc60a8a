/*
 * memo.c
 *		What became of short texts that come again and again.
 *
 * A text has one place, by its checksum, and the last one that came has it:
 * few texts that come often seldom meet there, and of those that come once
 * each drives out one other at most.
 */
#include <string.h>

#include "core/bytes.h"
#include "core/hot.h"
#include "core/memo.h"
#include "core/ring.h"

_Static_assert(sizeof(MemoEntry) == 128, "an entry is two cache lines");
_Static_assert((MEMO_ENTRIES & (MEMO_ENTRIES - 1)) == 0,
			   "places are the lowest bits of a checksum");

static inline size_t
place(const char *key, size_t length)
{
	return ring_crc32c(0, key, length) & (MEMO_ENTRIES - 1);
}

HOT_PATH const char *
memo_find(const Memo *memo, const char *key, size_t length,
		  unsigned char way, size_t *result_length)
{
	const MemoEntry *entry;

	if (length == 0 || length > MEMO_ROOM)
		return NULL;
	entry = &memo->entries[place(key, length)];
	if (entry->length != length || entry->way != way ||
		!bytes_equal(entry->bytes, key, length))
		return NULL;
	if (entry->result_length == MEMO_SAME)
	{
		*result_length = length;
		return key;
	}
	*result_length = entry->result_length;
	return entry->bytes + length;
}

void
memo_keep(Memo *memo, const char *key, size_t length, unsigned char way,
		  const char *result, size_t result_length)
{
	MemoEntry  *entry;
	bool		same;

	same = result_length == length && memcmp(result, key, length) == 0;
	if (length == 0 || length > MEMO_ROOM ||
		(!same && result_length > MEMO_ROOM - length))
		return;
	entry = &memo->entries[place(key, length)];
	entry->length = (unsigned char) length;
	entry->way = way;
	entry->result_length = same ? MEMO_SAME : (unsigned char) result_length;
	memcpy(entry->bytes, key, length);
	if (!same)
		memcpy(entry->bytes + length, result, result_length);
}

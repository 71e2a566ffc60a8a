/*
 * keymap.h
 *		A hash table from composite keys, packed into bytes, to groups.
 */
#ifndef METER_KEYMAP_H
#define METER_KEYMAP_H

#include "common/hashfn.h"

/* A composite key, packed by the key_put functions. */
typedef struct PackedKey
{
	char	   *data;
	uint32		length;
} PackedKey;

typedef struct KeymapEntry
{
	PackedKey	key;
	uint32		hash;
	char		status;
	void	   *value;
} KeymapEntry;

#define SH_PREFIX keymap
#define SH_ELEMENT_TYPE KeymapEntry
#define SH_KEY_TYPE PackedKey
#define SH_SCOPE extern
#define SH_DECLARE
#include "lib/simplehash.h"

/* The size of a cache line, or thereabouts. */
#define KEYMAP_LINE 64

static inline uint32
keymap_hash_key(PackedKey key)
{
	return hash_bytes((const unsigned char *) key.data, key.length);
}

/*
 * Ask for the place where a key of this hash is, and look what is there: the
 * entry is right but for collisions, so it is only good for asking for more.
 */
static inline void
keymap_prefetch(keymap_hash * map, uint32 hash)
{
	__builtin_prefetch(&map->data[hash & map->sizemask]);
}

static inline void
keymap_prefetch_bytes(const void *start, size_t length)
{
	for (size_t at = 0; at < length; at += KEYMAP_LINE)
		__builtin_prefetch((const char *) start + at);
}

static inline KeymapEntry *
keymap_guess(keymap_hash * map, uint32 hash)
{
	for (uint32 i = 0; i < 4; i++)
	{
		KeymapEntry *entry = &map->data[(hash + i) & map->sizemask];

		if (entry->status == 0)
			return NULL;
		if (entry->hash == hash)
			return entry;
	}
	return NULL;
}

/* Room for one key under construction. */
typedef struct KeyBuffer
{
	PackedKey	key;
	uint32		size;
} KeyBuffer;

#define KEY_NULL 0xFFFFFFFF

extern void key_reset(KeyBuffer *buffer);
extern void key_put_int64(KeyBuffer *buffer, int64 value);
extern void key_put_varlena(KeyBuffer *buffer, const struct varlena *value);

/* Reading a key from its start: pass the position on from call to call. */
extern int64 key_get_int64(const char **position);
extern struct varlena *key_get_varlena(const char **position);

#endif							/* METER_KEYMAP_H */

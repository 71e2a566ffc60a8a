/*
 * keymap.c
 *		A hash table from composite keys, packed into bytes, to groups.
 *
 * Grouping compares keys of seven columns once per event.  Packed into one
 * run of bytes, a key is hashed and compared in one call each, and it holds
 * all that is needed to write the group's row.
 */
#include "postgres.h"

#include "compat.h"
#include "keymap.h"

#define SH_PREFIX keymap
#define SH_ELEMENT_TYPE KeymapEntry
#define SH_KEY_TYPE PackedKey
#define SH_KEY key
#define SH_HASH_KEY(tb, k) keymap_hash_key(k)
#define SH_EQUAL(tb, a, b) \
	((a).length == (b).length && memcmp((a).data, (b).data, (a).length) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE extern
#define SH_DEFINE
#include "lib/simplehash.h"

static char *
key_room(KeyBuffer *buffer, uint32 length)
{
	char	   *at;

	if (buffer->key.length + length > buffer->size)
	{
		buffer->size = Max(2 * buffer->size, buffer->key.length + length + 512);
		buffer->key.data = buffer->key.data == NULL ? palloc(buffer->size) :
			repalloc(buffer->key.data, buffer->size);
	}
	at = buffer->key.data + buffer->key.length;
	buffer->key.length += length;
	return at;
}

void
key_reset(KeyBuffer *buffer)
{
	buffer->key.length = 0;
}

void
key_put_int64(KeyBuffer *buffer, int64 value)
{
	memcpy(key_room(buffer, sizeof(value)), &value, sizeof(value));
}

/*
 * Append a text or jsonb, or NULL.
 */
void
key_put_varlena(KeyBuffer *buffer, const struct varlena *value)
{
	uint32		length = value == NULL ? KEY_NULL : VARSIZE_ANY_EXHDR(value);
	uint32		bytes = value == NULL ? 0 : length;
	char	   *at = key_room(buffer, sizeof(length) + bytes);

	memcpy(at, &length, sizeof(length));
	if (bytes > 0)
		memcpy(at + sizeof(length), VARDATA_ANY(value), bytes);
}

int64
key_get_int64(const char **position)
{
	int64		value;

	memcpy(&value, *position, sizeof(value));
	*position += sizeof(value);
	return value;
}

/*
 * A copy of the text or jsonb, or NULL.
 */
struct varlena *
key_get_varlena(const char **position)
{
	uint32		length;
	struct varlena *value;

	memcpy(&length, *position, sizeof(length));
	*position += sizeof(length);
	if (length == KEY_NULL)
		return NULL;
	value = palloc(length + VARHDRSZ);
	SET_VARSIZE(value, length + VARHDRSZ);
	memcpy(VARDATA(value), *position, length);
	*position += length;
	return value;
}

/*
 * ring.c
 *		The event queue: writing and reading.
 *
 * See ring.h for the meaning; ring_file.c opens the file.
 *
 * Order of memory.  The writer stores the write position with release after
 * the record, and the reader loads it with acquire before reading one: it
 * sees complete records.  The reader stores the read position with release
 * after its last look at a record, and the writer loads it with acquire
 * before it overwrites that: the reader never sees a record change.  A side's
 * own position is ordered by the lock its callers hold.
 */
#include <string.h>
#include <sys/mman.h>

#include "core/hot.h"
#include "core/ring.h"

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && sizeof(long long) == 8,
			   "processes cannot share atomics that hide a lock");
_Static_assert(sizeof(RingRecord) == 8, "records are multiples of 8");

/*
 * CRC-32C.  Eight tables of 256 instead of one let the portable version take
 * eight bytes in a step.  They are made when the program or library is
 * loaded, since 2048 numbers are not good to read.
 */
static uint32_t crc_table[8][256];

#ifdef __x86_64__
static HOT_DATA bool has_sse42 = false;
#endif

__attribute__((constructor)) static void
make_crc_table(void)
{
#ifdef __x86_64__
	__builtin_cpu_init();
	has_sse42 = __builtin_cpu_supports("sse4.2");
#endif
	for (uint32_t i = 0; i < 256; i++)
	{
		uint32_t	crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? UINT32_C(0x82F63B78) : 0);
		crc_table[0][i] = crc;
	}
	for (int t = 1; t < 8; t++)
	{
		for (int i = 0; i < 256; i++)
			crc_table[t][i] = (crc_table[t - 1][i] >> 8) ^
				crc_table[0][crc_table[t - 1][i] & 0xFF];
	}
}

static inline uint32_t
little_endian(const unsigned char *p)
{
	return (uint32_t) p[0] | (uint32_t) p[1] << 8 |
		(uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

uint32_t
ring_crc32c_portable(uint32_t crc, const void *data, size_t size)
{
	const unsigned char *p = data;

	crc = ~crc;
	for (; size >= 8; size -= 8, p += 8)
	{
		uint32_t	low = little_endian(p) ^ crc;
		uint32_t	high = little_endian(p + 4);

		crc = crc_table[7][low & 0xFF] ^
			crc_table[6][(low >> 8) & 0xFF] ^
			crc_table[5][(low >> 16) & 0xFF] ^
			crc_table[4][low >> 24] ^
			crc_table[3][high & 0xFF] ^
			crc_table[2][(high >> 8) & 0xFF] ^
			crc_table[1][(high >> 16) & 0xFF] ^
			crc_table[0][high >> 24];
	}
	for (; size > 0; size--, p++)
		crc = (crc >> 8) ^ crc_table[0][(crc ^ *p) & 0xFF];
	return ~crc;
}

#ifdef __x86_64__
HOT_PATH __attribute__((target("sse4.2"))) static uint32_t
crc32c_sse42(uint32_t crc, const void *data, size_t size)
{
	const unsigned char *p = data;
	uint64_t	wide = (uint32_t) ~crc;

	for (; size >= 8; size -= 8, p += 8)
	{
		uint64_t	word;

		memcpy(&word, p, 8);
		wide = __builtin_ia32_crc32di(wide, word);
	}
	crc = (uint32_t) wide;
	for (; size > 0; size--, p++)
		crc = __builtin_ia32_crc32qi(crc, *p);
	return ~crc;
}
#endif

HOT_PATH uint32_t
ring_crc32c(uint32_t crc, const void *data, size_t size)
{
#ifdef __x86_64__
	/* A load and a test; a function pointer would be no faster. */
	if (has_sse42)
		return crc32c_sse42(crc, data, size);
#endif
	return ring_crc32c_portable(crc, data, size);
}

static inline uint64_t
offset_of(const Ring *ring, uint64_t position)
{
	return position & (ring->capacity - 1);
}

/* The bytes from position to the end of the ring. */
static inline uint64_t
bytes_to_end(const Ring *ring, uint64_t position)
{
	return ring->capacity - offset_of(ring, position);
}

/* The epoch of a piece that begins at position. */
static inline uint64_t
epoch_at(const Ring *ring, uint64_t position)
{
	uint32_t	i = ring->n_epochs - 1;

	while (i > 0 && ring->epoch[i].start > position)
		i--;
	return ring->epoch[i].epoch;
}

uint64_t
ring_epoch(const Ring *ring, uint64_t position)
{
	/* No epoch begins inside a record, and none is empty but the last. */
	return epoch_at(ring, position > 0 ? position - 1 : 0);
}

/*
 * Of a payload first, so that a writer can have computed that part before it
 * knows the position.
 */
static uint32_t
place_crc(const Ring *ring, uint64_t position, uint32_t length,
		  uint32_t payload_crc)
{
	uint64_t	covered[3] = {epoch_at(ring, position), position, length};

	return ring_crc32c(payload_crc, covered, sizeof(covered));
}

static uint32_t
piece_crc(const Ring *ring, uint64_t position, uint32_t length)
{
	uint32_t	crc = 0;

	if (!(length & RING_FILLER))
		crc = ring_crc32c(0, ring->data + offset_of(ring, position) +
						  sizeof(RingRecord), length);
	return place_crc(ring, position, length, crc);
}

void
ring_seal(const Ring *ring, uint64_t position, uint32_t length)
{
	RingRecord	record = {length, piece_crc(ring, position, length)};

	memcpy(ring->data + offset_of(ring, position), &record, sizeof(record));
}

RingPiece
ring_piece(const Ring *ring, uint64_t position, uint64_t end, uint64_t *size)
{
	uint64_t	offset = offset_of(ring, position);
	uint64_t	room = ring->capacity - offset;
	RingRecord	record;
	bool		filler;
	uint64_t	n;

	*size = sizeof(RingRecord);
	if (room > end - position)
		room = end - position;
	if (room < sizeof(RingRecord) ||
		offset + sizeof(RingRecord) > ring->available ||
		ring->n_epochs == 0 || position < ring->epoch[0].start)
		return RING_PIECE_BAD;
	memcpy(&record, ring->data + offset, sizeof(record));

	filler = (record.length & RING_FILLER) != 0;
	if (filler)
		n = ((uint64_t) (record.length & ~RING_FILLER) + 1) * 8;
	else
		n = ring_record_size(record.length);
	if (n > room)
		return RING_PIECE_BAD;
	if (!filler)
	{
		if (record.length > ring_max_payload(ring) ||
			offset + n > ring->available)
			return RING_PIECE_BAD;
		*size = n;
	}
	if (piece_crc(ring, position, record.length) != record.crc)
		return RING_PIECE_BAD;
	*size = n;
	return filler ? RING_PIECE_FILLER : RING_PIECE_RECORD;
}

uint64_t
ring_resync(const Ring *ring, uint64_t position, uint64_t end,
			uint64_t *budget)
{
	for (; position < end; position += 8)
	{
		uint64_t	size;

		if (ring_piece(ring, position, end, &size) != RING_PIECE_BAD)
			return position;
		if (*budget < size)
		{
			*budget = 0;
			return end;
		}
		*budget -= size;
	}
	return end;
}

/* Enough for whatever happens by accident, which is about the capacity. */
uint64_t
ring_resync_budget(const Ring *ring)
{
	return 4 * ring->capacity + (UINT64_C(64) << 20);
}

static inline uint64_t
write_position(const Ring *ring)
{
	return atomic_load_explicit(&ring->header->write_position,
								memory_order_acquire);
}

static inline uint64_t
read_position(const Ring *ring)
{
	return atomic_load_explicit(&ring->header->read_position,
								memory_order_acquire);
}

uint64_t
ring_write_position(const Ring *ring)
{
	return write_position(ring);
}

uint64_t
ring_read_position(const Ring *ring)
{
	return read_position(ring);
}

HOT_PATH uint64_t
ring_used(const Ring *ring)
{
	/* In this order, as the reader's must not pass the writer's. */
	uint64_t	read = read_position(ring);
	uint64_t	used = write_position(ring) - read;

	/* Both may have moved on in between. */
	return used <= ring->capacity ? used : ring->capacity;
}

/*
 * With half the ring for a record, the filler and the record always fit an
 * empty ring: the filler is shorter than the record.
 */
static inline size_t
max_payload_of(const Ring *ring)
{
	uint64_t	half = ring->capacity / 2 - sizeof(RingRecord);

	return half < RING_MAX_PAYLOAD ? (size_t) half : RING_MAX_PAYLOAD;
}

size_t
ring_max_payload(const Ring *ring)
{
	return max_payload_of(ring);
}

#ifdef MADV_POPULATE_WRITE
COLD_PATH static void
prepare(Ring *ring, uint64_t write)
{
	uint64_t	at;

	if (ring->prepared < write)
		ring->prepared = ring->prepared_from = write & ~(uint64_t) (RING_PREPARE - 1);
	at = offset_of(ring, ring->prepared);
	(void) madvise(ring->data + at,
				   RING_PREPARE < ring->capacity ? RING_PREPARE : ring->capacity,
				   MADV_POPULATE_WRITE);
	ring->prepared += RING_PREPARE;
	ring->prepared_all = ring->prepared - ring->prepared_from >= ring->capacity;
}
#endif

/*
 * Map what comes next in larger pieces than the page that a fault maps, and
 * before the caller has the lock that others wait for.  Only in the first
 * round of this process; what cannot be done so is left to the faults.
 */
HOT_PATH void
ring_prepare(Ring *ring)
{
#ifdef MADV_POPULATE_WRITE
	uint64_t	write = atomic_load_explicit(&ring->header->write_position,
											 memory_order_relaxed);

	if (!ring->prepared_all && write + RING_PREPARE / 2 > ring->prepared)
		prepare(ring, write);
#endif
}

HOT_PATH void *
ring_reserve(Ring *ring, size_t max_payload)
{
	uint64_t	write = atomic_load_explicit(&ring->header->write_position,
											 memory_order_relaxed);
	uint64_t	used = write - read_position(ring);
	uint64_t	room = bytes_to_end(ring, write);
	uint64_t	filler = 0;
	uint64_t	need;

	ring->reserved = 0;
	if (max_payload > max_payload_of(ring))
		return NULL;
	need = ring_record_size(max_payload);
	if (need > room)
		filler = room;

	/*
	 * Only a stray pointer makes positions that are unaligned or too far
	 * apart; then at least nothing is written outside of the ring.
	 */
	if (used > ring->capacity || filler + need > ring->capacity - used ||
		write % 8 != 0)
		return NULL;

	ring->reserved_at = write;
	ring->reserved_filler = filler;
	ring->reserved = need;
	return ring->data + offset_of(ring, write + filler) + sizeof(RingRecord);
}

bool
ring_publish(Ring *ring, size_t used)
{
	uint64_t	at = ring->reserved_at + ring->reserved_filler;

	/* A reservation is 8 or more, and used + 8 could overflow. */
	if (ring->reserved == 0 || used > ring->reserved - sizeof(RingRecord))
		return false;
	return ring_publish_summed(ring, used,
							   ring_crc32c(0, ring->data + offset_of(ring, at) +
										   sizeof(RingRecord), used));
}

HOT_PATH bool
ring_publish_summed(Ring *ring, size_t used, uint32_t payload_crc)
{
	uint64_t	position = ring->reserved_at;
	RingRecord	record;

	if (ring->reserved == 0 || used > ring->reserved - sizeof(RingRecord))
		return false;
	ring->reserved = 0;

	if (ring->reserved_filler > 0)
	{
		ring_seal(ring, position,
				  RING_FILLER | (uint32_t) (ring->reserved_filler / 8 - 1));
		position += ring->reserved_filler;
	}
	record.length = (uint32_t) used;
	record.crc = place_crc(ring, position, record.length, payload_crc);
	memcpy(ring->data + offset_of(ring, position), &record, sizeof(record));
	atomic_store_explicit(&ring->header->write_position,
						  position + ring_record_size(used),
						  memory_order_release);
	return true;
}

RingNext
ring_next(const Ring *ring, uint64_t *position, const void **payload,
		  size_t *length)
{
	uint64_t	read = atomic_load_explicit(&ring->header->read_position,
											memory_order_relaxed);
	uint64_t	write = ring_write_position(ring);

	if (*position == write)
		return RING_END;

	/* Compared by distance: outside, unsigned distances are huge. */
	if (write - read > ring->capacity || *position % 8 != 0 ||
		*position - read > write - read)
	{
		*position = *position < read ? read : write;
		return RING_CORRUPT;
	}

	while (*position != write)
	{
		uint64_t	size;
		uint64_t	budget;

		switch (ring_piece(ring, *position, write, &size))
		{
			case RING_PIECE_RECORD:
				{
					const unsigned char *at;
					RingRecord	record;

					at = ring->data + offset_of(ring, *position);
					memcpy(&record, at, sizeof(record));
					*payload = at + sizeof(record);
					*length = record.length;
					*position += size;
					return RING_RECORD;
				}
			case RING_PIECE_FILLER:
				*position += size;
				break;
			case RING_PIECE_BAD:
				budget = ring_resync_budget(ring);
				*position = ring_resync(ring, *position + 8, write, &budget);
				return RING_CORRUPT;
		}
	}
	return RING_END;
}

bool
ring_peek(const Ring *ring, const void **payload, size_t *length)
{
	uint64_t	position = ring_read_position(ring);
	RingNext	next;

	/* Damage, or a position that was released since, is passed over. */
	do
		next = ring_next(ring, &position, payload, length);
	while (next == RING_CORRUPT);
	return next == RING_RECORD;
}

bool
ring_release(Ring *ring, uint64_t position)
{
	uint64_t	read = atomic_load_explicit(&ring->header->read_position,
											memory_order_relaxed);

	if (position % 8 != 0 ||
		position - read > ring_write_position(ring) - read)
		return false;
	atomic_store_explicit(&ring->header->read_position, position,
						  memory_order_release);
	return true;
}

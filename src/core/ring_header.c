/*
 * ring_header.c
 *		The event queue: the first page of its file, but for the positions.
 *
 * See ring.h for the meaning of epochs.
 */
#include <string.h>

#include "core/ring_file.h"

_Static_assert(sizeof(RingConstants) == 512, "one sector");
_Static_assert(sizeof(RingHeader) == RING_HEADER_SIZE, "one page");
_Static_assert(offsetof(RingHeader, write_position) == 512 &&
			   offsetof(RingHeader, read_position) == 768 &&
			   offsetof(RingHeader, epochs) == 1024, "the format");

bool
ring_is_capacity(uint64_t capacity)
{
	return capacity >= RING_MIN_CAPACITY && capacity <= RING_MAX_CAPACITY &&
		(capacity & (capacity - 1)) == 0 && capacity <= SIZE_MAX / 2;
}

static uint32_t
constants_crc(const RingConstants *constants)
{
	return ring_crc32c(0, constants, offsetof(RingConstants, crc));
}

RingFinding
ring_check_constants(const RingConstants *constants,
					 uint64_t system_identifier)
{
	if (memcmp(constants->magic, RING_MAGIC, sizeof(constants->magic)) != 0)
		return RING_BAD_MAGIC;
	if (constants->byte_order == __builtin_bswap32(RING_BYTE_ORDER) &&
		constants->crc == __builtin_bswap32(constants_crc(constants)))
		return RING_OTHER_BYTE_ORDER;
	if (constants->byte_order != RING_BYTE_ORDER ||
		constants->crc != constants_crc(constants))
		return RING_BAD_HEADER;
	if (constants->version != RING_VERSION)
		return RING_OTHER_VERSION;
	if (constants->system_identifier != system_identifier)
		return RING_OTHER_SYSTEM;
	if (!ring_is_capacity(constants->capacity))
		return RING_BAD_HEADER;
	return RING_WHOLE;
}

void
ring_make_constants(RingConstants *constants, uint64_t capacity,
					uint64_t system_identifier)
{
	memset(constants, 0, sizeof(*constants));
	memcpy(constants->magic, RING_MAGIC, sizeof(constants->magic));
	constants->byte_order = RING_BYTE_ORDER;
	constants->version = RING_VERSION;
	constants->system_identifier = system_identifier;
	constants->capacity = capacity;
	constants->crc = constants_crc(constants);
}

static uint32_t
epochs_crc(const RingEpochs *epochs)
{
	return ring_crc32c(0, (const char *) epochs + sizeof(epochs->crc),
					   sizeof(*epochs) - sizeof(epochs->crc));
}

static bool
are_epochs(const RingEpochs *slot)
{
	if (slot->crc != epochs_crc(slot) ||
		slot->n < 1 || slot->n > RING_MAX_EPOCHS)
		return false;
	for (uint32_t i = 1; i < slot->n; i++)
	{
		if (slot->epoch[i].start <= slot->epoch[i - 1].start)
			return false;
	}
	return true;
}

bool
ring_load_epochs(Ring *ring)
{
	bool		found = false;

	for (int i = 0; i < 2; i++)
	{
		const RingEpochs *slot = &ring->header->epochs[i];

		if (!are_epochs(slot) ||
			(found && slot->sequence <= ring->epoch_sequence))
			continue;
		found = true;
		ring->epoch_slot = i;
		ring->epoch_sequence = slot->sequence;
		ring->n_epochs = slot->n;
		memcpy(ring->epoch, slot->epoch, sizeof(ring->epoch));
	}
	return found;
}

static void
store_epochs(Ring *ring)
{
	ring->epoch_sequence++;
	for (int i = 0; i < 2; i++)
	{
		/* The slot in force comes last, when the other one is complete. */
		RingEpochs *slot = &ring->header->epochs[ring->epoch_slot ^ 1 ^ i];

		slot->n = ring->n_epochs;
		slot->sequence = ring->epoch_sequence;
		memcpy(slot->epoch, ring->epoch, sizeof(slot->epoch));
		slot->crc = epochs_crc(slot);
		atomic_signal_fence(memory_order_seq_cst);
	}
}

bool
ring_begin_epoch(Ring *ring, uint64_t epoch)
{
	uint64_t	read = ring_read_position(ring);
	uint64_t	write = ring_write_position(ring);
	uint32_t	n = ring->n_epochs;
	uint32_t	old = 0;
	bool		begun = true;

	/*
	 * Epochs without a record in the file are forgotten: those that have
	 * begun at the write position, or behind it if the positions went back,
	 * and those before the read position.
	 */
	while (n > 0 && (read == write || ring->epoch[n - 1].start >= write))
		n--;
	while (old + 1 < n && ring->epoch[old + 1].start <= read)
		old++;
	n -= old;
	memmove(ring->epoch, ring->epoch + old, n * sizeof(RingEpoch));

	/*
	 * When the list is full the last epoch goes on.  This takes 64 openings
	 * that each leave records, none of which is ever drained.
	 */
	if (n == RING_MAX_EPOCHS)
		begun = false;
	else if (n == 0 || ring->epoch[n - 1].epoch != epoch)
	{
		ring->epoch[n].epoch = epoch;
		ring->epoch[n].start = write;
		n++;
	}
	memset(ring->epoch + n, 0, (RING_MAX_EPOCHS - n) * sizeof(RingEpoch));
	ring->n_epochs = n;
	store_epochs(ring);
	return begun;
}

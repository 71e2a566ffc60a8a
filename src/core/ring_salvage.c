/*
 * ring_salvage.c
 *		The event queue: what is whole in a file, and carrying that to another.
 *
 * Both go through the records in the same way, so that what the survey has
 * counted is what is carried.
 */
#include <string.h>

#include "core/ring_file.h"

/* The next record from *position on.  Adds to *lost what is damaged. */
static bool
next_record(const Ring *ring, uint64_t *position, uint64_t end,
			uint64_t *budget, uint64_t *lost, uint64_t *size)
{
	while (*position < end)
	{
		uint64_t	next;

		switch (ring_piece(ring, *position, end, size))
		{
			case RING_PIECE_RECORD:
				return true;
			case RING_PIECE_FILLER:
				*position += *size;
				break;
			case RING_PIECE_BAD:
				next = ring_resync(ring, *position + 8, end, budget);
				*lost += next - *position;
				*position = next;
				break;
		}
	}
	return false;
}

void
ring_survey(const Ring *ring, uint64_t wanted, RingSurvey *survey)
{
	uint64_t	position = ring_read_position(ring);
	uint64_t	end = ring_write_position(ring);
	uint64_t	budget = ring_resync_budget(ring);
	uint64_t	size;

	memset(survey, 0, sizeof(*survey));
	survey->first = end;
	survey->end = end;
	survey->fits = true;
	for (; next_record(ring, &position, end, &budget, &survey->lost, &size);
		 position += size)
	{
		if (survey->records++ == 0)
		{
			survey->first = position;
			survey->fits = end - position <= wanted;
		}
		if ((position & (wanted - 1)) + size > wanted)
			survey->fits = false;
	}
}

static void
fill_gap(Ring *ring, uint64_t from, uint64_t to)
{
	while (from < to)
	{
		uint64_t	n = ring->capacity - (from & (ring->capacity - 1));

		if (n > to - from)
			n = to - from;
		ring_seal(ring, from, RING_FILLER | (uint32_t) (n / 8 - 1));
		from += n;
	}
}

void
ring_carry(Ring *ring, const Ring *old, const RingSurvey *survey)
{
	uint64_t	position = survey->first;
	uint64_t	done = survey->first;
	uint64_t	budget = ring_resync_budget(old);
	uint64_t	lost = 0;
	uint64_t	size;

	/* All that is between records becomes filler. */
	while (next_record(old, &position, survey->end, &budget, &lost, &size))
	{
		fill_gap(ring, done, position);
		memcpy(ring->data + (position & (ring->capacity - 1)),
			   old->data + (position & (old->capacity - 1)), size);
		position += size;
		done = position;
	}
	fill_gap(ring, done, survey->end);
}

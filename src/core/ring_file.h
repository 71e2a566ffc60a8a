/*
 * ring_file.h
 *		The event queue: what its parts that open a file share.
 *
 * For ring_file.c, ring_header.c and ring_salvage.c only.
 */
#ifndef METER_CORE_RING_FILE_H
#define METER_CORE_RING_FILE_H

#include "core/ring.h"

/*
 * The header (ring_header.c)
 */

extern bool ring_is_capacity(uint64_t capacity);

/* RING_WHOLE, or what is the matter with them. */
extern RingFinding ring_check_constants(const RingConstants *constants,
										uint64_t system_identifier);

extern void ring_make_constants(RingConstants *constants, uint64_t capacity,
								uint64_t system_identifier);

/* From the header into the ring.  False if neither list is whole. */
extern bool ring_load_epochs(Ring *ring);

/*
 * Whatever is written from now on belongs to epoch.  False if the list is
 * full: then the last epoch goes on.
 */
extern bool ring_begin_epoch(Ring *ring, uint64_t epoch);

/*
 * The records (ring_salvage.c)
 */

/* What waits in a file. */
typedef struct RingSurvey
{
	uint64_t	records;
	uint64_t	lost;			/* bytes that are damaged */
	uint64_t	first;			/* where the first record is; or end */
	uint64_t	end;
	bool		fits;			/* the capacity wanted */
} RingSurvey;

extern void ring_survey(const Ring *ring, uint64_t wanted,
						RingSurvey *survey);

/*
 * Copy the records to their positions in another ring, whose epochs and
 * positions are set already.
 */
extern void ring_carry(Ring *ring, const Ring *old, const RingSurvey *survey);

#endif							/* METER_CORE_RING_FILE_H */

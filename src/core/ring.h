/*
 * ring.h
 *		The event queue: a byte ring in a file that every process maps.
 *
 * Writers append records, one reader at a time consumes them.  The file is
 * mapped MAP_SHARED, so what is published is in the kernel's page cache and
 * outlives every process; only the machine's death can lose it.  There are no
 * locks in here: callers let one writer at a time reserve and publish, and
 * one reader at a time release.  Writers and readers need no lock against
 * each other.  Nothing is allocated.
 *
 * Positions.  A position is a count of bytes that only grows; position p is
 * byte p mod capacity of the ring, and all positions of records are multiples
 * of 8.  What is between the read and the write position is waiting.  A
 * record is valid at one position only, since its checksum covers it.
 *
 * Publishing.  A record is complete, checksum and all, before the write
 * position is moved past it by one store.  So a writer that dies at any
 * moment before that store leaves nothing, and whatever it leaves behind the
 * write position is overwritten by the next one.  A record that does not fit
 * before the end of the ring is put at its start, and a filler in front of it
 * marks the rest as skipped; one store publishes both.
 *
 * Epochs.  Whoever drains the ring exactly once keeps, in the transaction
 * that stores the records, how far it came.  But the file can go back in
 * time behind that: a power failure leaves an older header page, a base
 * backup copies an older file.  Positions handed out before would then be
 * handed out again, and new records be taken for drained ones.  Hence every
 * opening of the file starts a new epoch at the write position, and the file
 * remembers the epochs of all records still in it.  How far the reader came
 * is a position *in an epoch*: a record that ends at p is drained if
 * p <= drained(ring_epoch(ring, p)), and not drained if that epoch is
 * unknown.  Checksums cover the epoch as well, so that bytes left by an
 * earlier one are never taken for records.
 *
 * What a damaged file does is described with ring_open.  The format is in
 * doc/ring.md and at the end of this file.
 */
#ifndef METER_CORE_RING_H
#define METER_CORE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A capacity is a power of two between these. */
#define RING_MIN_CAPACITY (UINT64_C(64) << 10)
#define RING_MAX_CAPACITY (UINT64_C(16) << 30)

#define RING_MAX_PATH 1024

/* As many openings can leave records in the file; see RingReport. */
#define RING_MAX_EPOCHS 64

typedef struct RingHeader RingHeader;

/* The records from position start on belong to this epoch. */
typedef struct RingEpoch
{
	uint64_t	epoch;
	uint64_t	start;
} RingEpoch;

/*
 * An open ring, as one process sees it: it stays valid over fork, and every
 * process has its own.  Threads can share it.
 */
typedef struct Ring
{
	RingHeader *header;
	unsigned char *data;
	uint64_t	capacity;
	uint64_t	available;		/* bytes of the ring that are in the file */
	size_t		mapped;			/* bytes, from header on */

	/* Of the writer who holds the lock: what ring_reserve gave. */
	uint64_t	reserved_at;
	uint64_t	reserved_filler;
	uint64_t	reserved;

	/* How far ring_prepare has come in this process. */
	uint64_t	prepared;
	uint64_t	prepared_from;
	bool		prepared_all;

	/* Oldest first, constant while the ring is open. */
	int			epoch_slot;		/* where in the header they are from */
	uint64_t	epoch_sequence;
	uint32_t	n_epochs;
	RingEpoch	epoch[RING_MAX_EPOCHS];
} Ring;

typedef enum RingOutcome
{
	RING_FAILED,				/* not open, but no record is lost */
	RING_CREATED,				/* there was no file */
	RING_REOPENED,				/* as it was left */
	RING_RESIZED,				/* all there, in a new file of the capacity
								 * wanted */
	RING_SALVAGED,				/* set aside; what was whole is in a new file */
	RING_REPLACED,				/* set aside; the new file is empty */
	RING_ATTACHED				/* by ring_attach */
} RingOutcome;

/* What is the matter with the file found; the worst of it. */
typedef enum RingFinding
{
	RING_WHOLE,
	RING_BAD_RECORDS,			/* records torn or overwritten */
	RING_BAD_SIZE,				/* shorter or longer than it should be */

	/* from here on no record can be told from rubbish */
	RING_BAD_MAGIC,				/* no ring file */
	RING_BAD_HEADER,
	RING_BAD_EPOCHS,
	RING_BAD_POSITIONS,

	/* from here on the file is sound, but not ours */
	RING_OTHER_BYTE_ORDER,
	RING_OTHER_VERSION,
	RING_OTHER_SYSTEM
} RingFinding;

typedef struct RingReport
{
	RingOutcome outcome;
	RingFinding finding;
	int			error;			/* errno where something failed */
	bool		capacity_kept;	/* the capacity is not the one wanted */
	bool		epoch_kept;		/* the list of epochs was full */
	uint64_t	records;		/* waiting */
	uint64_t	lost;			/* bytes that held records and are damaged */
	char		set_aside[RING_MAX_PATH];	/* "", or where the old file is */
	char		message[2 * RING_MAX_PATH + 512];	/* all this for the log */
} RingReport;

typedef enum RingNext
{
	RING_END,
	RING_RECORD,
	RING_CORRUPT
} RingNext;

/*
 * Open the ring in a file, or make one.  The system identifier tells whose
 * file it is; the epoch is a random number, unlike all before.  A caller who
 * must be the only one sees to that himself.
 *
 * The blocks of the file are really there afterwards, so that a full disk is
 * a failure of this function and not a SIGBUS later on.  All records waiting
 * are checked.  A file with anything wrong is never changed nor deleted, but
 * linked as path.damaged.N or, if it is another system's, path.foreign.N, and
 * replaced by a new one, in one step, into which all whole records are
 * carried with their positions, those after the damage too.  What the write
 * position has not passed is not a record, even if it looks whole: the caller
 * of its writer was never told that it is safe, and may have stored the event
 * elsewhere instead.
 *
 * Records are also carried into a new file if another capacity is wanted.
 * That fails, and the old capacity is kept, if they are too many or if one
 * would reach over the end of the smaller ring: records do not move, as their
 * positions are known outside.
 *
 * Returns false if report->outcome is RING_FAILED.  path.new is overwritten.
 */
extern bool ring_open(Ring *ring, const char *path, uint64_t capacity,
					  uint64_t system_identifier, uint64_t epoch,
					  RingReport *report);

/*
 * Map a file that another process has opened with ring_open and that has not
 * been opened again since: so does every backend when it first needs the
 * ring.  The file stays as it is.  In particular no epoch begins, which would
 * be one that those who are writing do not know of: they have the list as it
 * was when they mapped the file.  The capacity is the file's.
 *
 * Neither positions nor records are checked, as they may change meanwhile.
 * All else that ring_open would set a file aside for is a failure here, with
 * report->finding, and EINVAL for report->error.
 *
 * Returns false if report->outcome is RING_FAILED, else it is RING_ATTACHED.
 */
extern bool ring_attach(Ring *ring, const char *path,
						uint64_t system_identifier, RingReport *report);

/* Have all that is published on disk.  False with errno set if that fails. */
extern bool ring_sync(const Ring *ring);

extern void ring_close(Ring *ring);

/*
 * Where to write a payload of up to so many bytes, aligned to 8; NULL if
 * there is no room until the reader releases some.  Beyond ring_max_payload
 * there never is; up to it there is in an empty ring.  A reservation ends
 * with ring_publish or with the next one: nothing needs to be cancelled.
 */
extern void *ring_reserve(Ring *ring, size_t max_payload);

/*
 * Make a record of the first bytes of what is reserved.  False, with nothing
 * done, if that many are not.
 */
extern bool ring_publish(Ring *ring, size_t used);

/*
 * The same, with the checksum of these bytes from ring_crc32c(0, ...), for
 * who can compute it before others have to wait for him.
 */
extern bool ring_publish_summed(Ring *ring, size_t used, uint32_t payload_crc);

/*
 * For the same reason: have the kernel map the part of the ring that is
 * written next, in this process, at a time when nobody waits.
 */
extern void ring_prepare(Ring *ring);

/*
 * Read the record at *position and move *position past it.  The reader keeps
 * its own position, beginning at the read position.  The payload is in the
 * ring, aligned to 8, and stays until its space is released.
 *
 * On RING_CORRUPT *position is moved to the next whole record if one is found
 * with reasonable effort, else to the write position.  A position that none
 * can be is moved to the read position if it is before that, else to the
 * write position.
 */
extern RingNext ring_next(const Ring *ring, uint64_t *position,
						  const void **payload, size_t *length);

/*
 * The first record that waits, for those who are not the reader; false if
 * there is none.  Callers keep the writers out while they look at it.  The
 * reader may release it at any moment, for which ring_next would take the
 * position for a wrong one.
 */
extern bool ring_peek(const Ring *ring, const void **payload, size_t *length);

/*
 * Give the space up to position, one that ring_next came to, back to the
 * writers.  False, with nothing done, if it is not between the read and the
 * write position.
 */
extern bool ring_release(Ring *ring, uint64_t position);

extern uint64_t ring_write_position(const Ring *ring);
extern uint64_t ring_read_position(const Ring *ring);

/* Bytes waiting, with all overhead. */
extern uint64_t ring_used(const Ring *ring);

extern size_t ring_max_payload(const Ring *ring);

static inline uint64_t
ring_capacity(const Ring *ring)
{
	return ring->capacity;
}

/* The epoch of the record that ends at position. */
extern uint64_t ring_epoch(const Ring *ring, uint64_t position);

/*
 * CRC-32C of more bytes, given that of those before, which is 0 for none.
 * The second one is what runs where the processor has no instruction for it.
 */
extern uint32_t ring_crc32c(uint32_t crc, const void *data, size_t size);
extern uint32_t ring_crc32c_portable(uint32_t crc, const void *data,
									 size_t size);

/*
 * Below: for ring.c, ring_file.h and their tests only.
 */

#define RING_MAGIC "METRRING"
#define RING_BYTE_ORDER UINT32_C(0x0A0B0C0D)
#define RING_VERSION 1
#define RING_HEADER_SIZE 4096

/*
 * The first sector, constant.  In every version magic, byte_order, version
 * and crc are where they are here, and crc is of all that is before it.
 */
typedef struct RingConstants
{
	char		magic[8];
	uint32_t	byte_order;
	uint32_t	version;
	uint64_t	system_identifier;
	uint64_t	capacity;
	unsigned char unused[476];
	uint32_t	crc;
} RingConstants;

/*
 * The epochs, in two places with the same content.  They are written one
 * after the other, so that one is whole at any time; of two whole ones the
 * higher sequence counts.
 */
typedef struct RingEpochs
{
	uint32_t	crc;			/* of what follows */
	uint32_t	n;
	uint64_t	sequence;
	RingEpoch	epoch[RING_MAX_EPOCHS];
} RingEpochs;

/* The positions are far apart, so that neither side slows the other. */
struct RingHeader
{
	RingConstants constants;
	_Atomic uint64_t write_position;
	unsigned char unused1[256 - 8];
	_Atomic uint64_t read_position;
	unsigned char unused2[256 - 8];
	RingEpochs	epochs[2];
	unsigned char unused3[RING_HEADER_SIZE - 1024 - 2 * sizeof(RingEpochs)];
};

/*
 * What a record or filler begins with.  The payload follows, and zero to
 * seven bytes up to a multiple of 8.  The crc is of the payload, the epoch, the
 * position and the length (these as 8 bytes each).
 */
typedef struct RingRecord
{
	uint32_t	length;			/* of the payload; or RING_FILLER and the
								 * eighth of the filler's size, less 1 */
	uint32_t	crc;
} RingRecord;

#define RING_FILLER UINT32_C(0x80000000)

/* What ring_prepare maps at a time; a divisor of every capacity it is used for. */
#define RING_PREPARE (UINT64_C(1) << 20)

/* Keeps clear of RING_FILLER, and is the limit for a bytea anyway. */
#define RING_MAX_PAYLOAD ((size_t) 0x3FFFFFFF)

static inline uint64_t
ring_record_size(uint64_t payload)
{
	return (sizeof(RingRecord) + payload + 7) & ~UINT64_C(7);
}

typedef enum RingPiece
{
	RING_PIECE_BAD,
	RING_PIECE_RECORD,
	RING_PIECE_FILLER
} RingPiece;

/*
 * What is at position, if end is where the ring ends.  *size is its size if
 * it is whole, and the number of bytes looked at if not.
 */
extern RingPiece ring_piece(const Ring *ring, uint64_t position, uint64_t end,
							uint64_t *size);

/*
 * The first whole piece at or after position, or end.  *budget is how many
 * bytes may be looked at, and is reduced by what were: rubbish that looks
 * like the beginnings of long records must not keep us for hours.
 */
extern uint64_t ring_resync(const Ring *ring, uint64_t position, uint64_t end,
							uint64_t *budget);

extern uint64_t ring_resync_budget(const Ring *ring);

/* Write the beginning of a record or filler whose payload is there. */
extern void ring_seal(const Ring *ring, uint64_t position, uint32_t length);

#endif							/* METER_CORE_RING_H */

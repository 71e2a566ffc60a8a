/*
 * fuzz_ring.c
 *		libFuzzer entry over the opening of a queue file.
 *
 * The first byte of the input says what the rest is: the file itself, or
 * changes to a file with records in it, after which some of the checksums may
 * be made right again, as the fuzzer would not guess them.  Whatever the file
 * is, it must open, hold nothing that cannot be read, work, and be whole when
 * it is opened again.  Attaching to it without opening it first must do no
 * harm; afterwards it must work.
 *
 *		clang -g -O1 -std=gnu11 -fsanitize=fuzzer,address,undefined -Isrc \
 *			test/unit/fuzz_ring.c src/core/ring*.c
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/ring.h"

#define REQUIRE(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

#define CAPACITY RING_MIN_CAPACITY
#define FILE_SIZE (RING_HEADER_SIZE + CAPACITY)
#define SYSTEM 1

/* Bits of the first byte. */
#define RAW 1
#define FIX_CONSTANTS 2
#define FIX_EPOCHS 4
#define FIX_RECORDS 8
#define OTHER_CAPACITY 16
#define LONGER 32

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];
static unsigned char sample[FILE_SIZE];

static void
remove_files(void)
{
	static const char *const suffix[] = {"", ".new", ".damaged.1",
	".foreign.1"};

	for (int i = 0; i < 4; i++)
	{
		char		name[96];

		snprintf(name, sizeof(name), "%s%s", path, suffix[i]);
		unlink(name);
	}
}

/* Some laps, and records of all sizes in two epochs. */
static void
make_sample(void)
{
	Ring		ring;
	RingReport	report;
	FILE	   *f;

	snprintf(path, sizeof(path), "%s/meter_fuzz_ring_%d",
			 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
			 (int) getpid());
	atexit(remove_files);
	remove_files();
	REQUIRE(ring_open(&ring, path, CAPACITY, SYSTEM, 100, &report));
	for (size_t i = 0; i < 400; i++)
	{
		size_t		n = i * i % 1500;
		void	   *space = ring_reserve(&ring, n);

		if (space == NULL)
		{
			ring_release(&ring, ring_write_position(&ring));
			space = ring_reserve(&ring, n);
		}
		memset(space, (int) i, n);
		REQUIRE(ring_publish(&ring, n));
		if (i == 360)
		{
			ring_close(&ring);
			REQUIRE(ring_open(&ring, path, CAPACITY, SYSTEM, 101, &report));
		}
	}
	ring_close(&ring);
	f = fopen(path, "rb");
	REQUIRE(f != NULL && fread(sample, 1, FILE_SIZE, f) == FILE_SIZE);
	fclose(f);
	remove_files();
}

/* Make the checksums right that the fuzzer has no way to find. */
static void
fix(unsigned char *bytes, int flags)
{
	RingHeader *header = (RingHeader *) bytes;

	if (flags & FIX_CONSTANTS)
		header->constants.crc = ring_crc32c(0, bytes,
											offsetof(RingConstants, crc));
	for (int i = 0; i < 2 && (flags & FIX_EPOCHS); i++)
		header->epochs[i].crc = ring_crc32c(0, &header->epochs[i].n,
											sizeof(RingEpochs) - 4);
	if (flags & FIX_RECORDS)
	{
		uint64_t	position = atomic_load(&header->read_position);
		Ring		ring;

		/* As far as the chain of lengths makes sense. */
		memset(&ring, 0, sizeof(ring));
		ring.header = header;
		ring.data = bytes + RING_HEADER_SIZE;
		ring.capacity = CAPACITY;
		ring.available = CAPACITY;
		ring.n_epochs = header->epochs[0].n;
		if (ring.n_epochs < 1 || ring.n_epochs > RING_MAX_EPOCHS)
			return;
		memcpy(ring.epoch, header->epochs[0].epoch, sizeof(ring.epoch));
		for (int i = 0; i < 1000 && position % 8 == 0; i++)
		{
			uint64_t	at = position % CAPACITY;
			uint32_t	length;
			uint64_t	n;

			memcpy(&length, ring.data + at, 4);
			n = length & RING_FILLER ?
				((uint64_t) (length & ~RING_FILLER) + 1) * 8 :
				ring_record_size(length);
			if (n > CAPACITY - at)
				break;
			ring_seal(&ring, position, length);
			position += n;
		}
	}
}

/* Read all; returns how many. */
static uint64_t
read_all(const Ring *ring)
{
	uint64_t	position = ring_read_position(ring);
	uint64_t	n = 0;
	const void *payload;
	size_t		length;
	RingNext	next;

	while ((next = ring_next(ring, &position, &payload, &length)) != RING_END)
	{
		REQUIRE(next == RING_RECORD);
		REQUIRE(length <= ring_max_payload(ring));
		REQUIRE((const unsigned char *) payload + length <=
				ring->data + ring->capacity);

		/* So that the sanitizer sees it. */
		(void) ring_crc32c(0, payload, length);
		(void) ring_epoch(ring, position);
		n++;
	}
	REQUIRE(position == ring_write_position(ring));
	return n;
}

/* Nobody may do that, but it should be no catastrophe. */
static void
try_unopened(void)
{
	Ring		ring;
	RingReport	report;
	const void *payload;
	size_t		length;

	if (ring_attach(&ring, path, SYSTEM, &report))
	{
		REQUIRE(report.outcome == RING_ATTACHED);
		REQUIRE(report.finding == RING_WHOLE);
		if (ring_peek(&ring, &payload, &length))
			(void) ring_crc32c(0, payload, length);
		ring_close(&ring);
	}
	else
	{
		REQUIRE(report.outcome == RING_FAILED && report.error != 0);
		REQUIRE(report.message[0] != '\0' && ring.header == NULL);
	}
}

static void
try_file(uint64_t capacity)
{
	Ring		attached;
	Ring		ring;
	RingReport	report;
	uint64_t	n;
	void	   *space;

	REQUIRE(ring_open(&ring, path, capacity, SYSTEM, 102, &report));
	REQUIRE((report.finding == RING_WHOLE) == (report.set_aside[0] == '\0'));
	REQUIRE(report.capacity_kept == (ring_capacity(&ring) != capacity));
	n = read_all(&ring);
	REQUIRE(n == report.records);

	REQUIRE(ring_attach(&attached, path, SYSTEM, &report));
	REQUIRE(read_all(&attached) == n);
	space = ring_reserve(&attached, 20);
	if (space != NULL)
	{
		memset(space, 'x', 20);
		REQUIRE(ring_publish(&attached, 20));
		REQUIRE(read_all(&ring) == ++n);
	}
	ring_close(&attached);
	capacity = ring_capacity(&ring);
	ring_close(&ring);
	REQUIRE(ring_open(&ring, path, capacity, SYSTEM, 103, &report));
	REQUIRE(report.outcome == RING_REOPENED);
	REQUIRE(report.records == n && report.lost == 0);
	REQUIRE(read_all(&ring) == n);
	REQUIRE(ring_release(&ring, ring_write_position(&ring)));
	REQUIRE(ring_reserve(&ring, ring_max_payload(&ring)) != NULL);
	ring_close(&ring);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static _Alignas(RingHeader) unsigned char bytes[FILE_SIZE + 256];
	const uint8_t *contents = bytes;
	size_t		n = FILE_SIZE;
	int			flags;
	int			fd;

	if (path[0] == '\0')
		make_sample();
	if (size == 0)
		return 0;
	flags = data[0];
	data++;
	size--;
	if (flags & RAW)
	{
		contents = data;
		n = size;
	}
	else
	{
		memcpy(bytes, sample, FILE_SIZE);
		memset(bytes + FILE_SIZE, 0, 256);

		/* Two bytes of offset, in steps of 4, one of length, then bytes. */
		while (size >= 3)
		{
			size_t		at = (data[0] << 8 | data[1]) * 4 % FILE_SIZE;
			size_t		length = data[2] % 32;

			data += 3;
			size -= 3;
			if (length > size)
				length = size;
			if (length > FILE_SIZE - at)
				length = FILE_SIZE - at;

			/* Nothing after it: the file ends there. */
			if (length == 0 && size == 0)
				n = at;
			memcpy(bytes + at, data, length);
			data += length;
			size -= length;
		}
		fix(bytes, flags);
		if (flags & LONGER)
			n += 256;
	}

	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	REQUIRE(fd >= 0 && write(fd, contents, n) == (ssize_t) n);
	close(fd);
	try_unopened();
	try_file(flags & OTHER_CAPACITY ? 2 * CAPACITY : CAPACITY);
	remove_files();
	return 0;
}

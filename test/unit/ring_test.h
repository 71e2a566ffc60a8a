/*
 * ring_test.h
 *		What the tests of the event queue share: records and files.
 *
 * Record number n always has the same length and the same bytes, so that any
 * record can be told and checked by itself.  Each test begins with an empty
 * directory and the same random numbers.
 */
#ifndef METER_RING_TEST_H
#define METER_RING_TEST_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/ring.h"
#include "random.h"

#define KB UINT64_C(1024)
#define SYSTEM UINT64_C(7123456789012345678)
#define EPOCH UINT64_C(0xE0E0)
#define MAX_LENGTH 400

static char directory[64];
static char path[96];

/* 8 or more, as the number is in there. */
static inline size_t
length_of(uint64_t number)
{
	return 8 + next_of(&number) % (MAX_LENGTH - 8);
}

static inline void
fill_payload(unsigned char *payload, uint64_t number, size_t length)
{
	uint64_t	state = number;

	memcpy(payload, &number, 8);
	for (size_t i = 8; i < length; i++)
	{
		if (i % 8 == 0)
			next_of(&state);
		payload[i] = (unsigned char) (state >> (i % 8 * 8));
	}
}

/* Returns the number of the record. */
static inline uint64_t
check_payload(const void *payload, size_t length)
{
	unsigned char expected[MAX_LENGTH];
	uint64_t	number;

	assert_true(length >= 8 && length <= MAX_LENGTH);
	assert_int_equal((uintptr_t) payload % 8, 0);
	memcpy(&number, payload, 8);
	assert_int_equal(length, length_of(number));
	fill_payload(expected, number, length);
	assert_memory_equal(payload, expected, length);
	return number;
}

static inline bool
put(Ring *ring, uint64_t number)
{
	size_t		length = length_of(number);
	void	   *space = ring_reserve(ring, length);

	if (space == NULL)
		return false;
	fill_payload(space, number, length);
	assert_true(ring_publish(ring, length));
	return true;
}

static inline void
put_zeros(Ring *ring, size_t length)
{
	void	   *space = ring_reserve(ring, length);

	assert_non_null(space);
	memset(space, 0, length);
	assert_true(ring_publish(ring, length));
}

static inline uint64_t
take(const Ring *ring, uint64_t *position)
{
	const void *payload;
	size_t		length;

	assert_int_equal(ring_next(ring, position, &payload, &length),
					 RING_RECORD);
	return check_payload(payload, length);
}

static inline void
assert_end(const Ring *ring, uint64_t position)
{
	const void *payload;
	size_t		length;

	assert_int_equal(ring_next(ring, &position, &payload, &length), RING_END);
}

static inline void
reopen(Ring *ring, uint64_t capacity, uint64_t epoch, RingOutcome outcome)
{
	RingReport	report;

	ring_close(ring);
	if (!ring_open(ring, path, capacity, SYSTEM, epoch, &report))
		fail_msg("%s", report.message);
	assert_int_equal(report.outcome, outcome);
	assert_true(strlen(report.message) > 20);
}

/* Empty the ring and move its positions to an offset. */
static inline void
move_to(Ring *ring, uint64_t offset)
{
	uint64_t	capacity = ring_capacity(ring);

	assert_true(ring_release(ring, ring_write_position(ring)));
	for (;;)
	{
		uint64_t	at = ring_write_position(ring) % capacity;
		uint64_t	left = (offset + capacity - at) % capacity;

		if (left == 0)
			break;
		if (left > capacity - at)
			left = capacity - at;
		if (left > 1024)
			left = 1024;
		put_zeros(ring, left - 8);
		assert_true(ring_release(ring, ring_write_position(ring)));
	}
}

static inline unsigned char *
read_file(const char *name, size_t *size)
{
	FILE	   *f = fopen(name, "rb");
	unsigned char *bytes;

	if (f == NULL)
		fail_msg("%s: %s", name, strerror(errno));
	fseek(f, 0, SEEK_END);
	*size = (size_t) ftell(f);
	rewind(f);
	bytes = malloc(*size + 1);
	assert_int_equal(fread(bytes, 1, *size, f), *size);
	fclose(f);
	return bytes;
}

static inline void
write_file(const char *name, const void *bytes, size_t size)
{
	FILE	   *f = fopen(name, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, size, f), size);
	fclose(f);
}

static inline void
assert_file(const char *name, const void *bytes, size_t size)
{
	size_t		actual_size;
	unsigned char *actual = read_file(name, &actual_size);

	assert_int_equal(actual_size, size);
	assert_memory_equal(actual, bytes, size);
	free(actual);
}

static inline bool
file_exists(const char *suffix)
{
	char		name[128];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	return access(name, F_OK) == 0;
}

static inline int
remove_files(void **state)
{
	DIR		   *d = opendir(directory);
	struct dirent *entry;

	while ((entry = readdir(d)) != NULL)
	{
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(d), entry->d_name, 0);
	}
	closedir(d);
	random_state = 42;
	return 0;
}

/* The files are in memory if possible. */
static inline int
make_directory(void **state)
{
	snprintf(directory, sizeof(directory), "%s/meter_ring_XXXXXX",
			 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(directory) == NULL)
		fail_msg("%s: %s", directory, strerror(errno));
	snprintf(path, sizeof(path), "%s/queue", directory);
	return 0;
}

static inline int
remove_directory(void **state)
{
	remove_files(state);
	return rmdir(directory);
}

#define RING_TEST(name) cmocka_unit_test_setup(name, remove_files)
#define RUN_RING_TESTS(tests) \
	cmocka_run_group_tests(tests, make_directory, remove_directory)

#endif							/* METER_RING_TEST_H */

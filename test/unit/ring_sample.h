/*
 * ring_sample.h
 *		A queue file with records, for the tests of what becomes of a file
 *		that is changed.
 */
#ifndef METER_RING_SAMPLE_H
#define METER_RING_SAMPLE_H

#include "ring_test.h"

#define SAMPLE_SIZE (68 * KB)
#define MAX_RECORDS 1000

/* A file with records across the end, from number 100 on of another epoch. */
static unsigned char sample[SAMPLE_SIZE];
static uint64_t sample_read;
static uint64_t sample_write;
static int	sample_n;
static uint64_t sample_start[MAX_RECORDS];
static uint64_t sample_end[MAX_RECORDS];

/* Which of them the file had that was opened last. */
static bool kept[MAX_RECORDS];

static inline void
make_sample(void)
{
	Ring		ring = {0};
	unsigned char *bytes;
	size_t		size;

	remove_files(NULL);
	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	move_to(&ring, 40 * KB);
	sample_read = ring_read_position(&ring);
	sample_n = 0;
	for (;;)
	{
		const void *space = ring_reserve(&ring, length_of(sample_n));

		if (space == NULL || ring_used(&ring) > 50 * KB)
			break;
		assert_true(put(&ring, sample_n));
		sample_end[sample_n] = ring_write_position(&ring);
		sample_start[sample_n] = sample_end[sample_n] -
			ring_record_size(length_of(sample_n));
		sample_n++;
		if (sample_n == 100)
			reopen(&ring, 64 * KB, EPOCH + 1, RING_REOPENED);
	}
	sample_write = ring_write_position(&ring);
	ring_close(&ring);
	bytes = read_file(path, &size);
	assert_int_equal(size, SAMPLE_SIZE);
	memcpy(sample, bytes, SAMPLE_SIZE);
	free(bytes);
	remove_files(NULL);
}

static inline RingHeader *
header_of(unsigned char *bytes)
{
	return (RingHeader *) bytes;
}

static inline void
fix_constants(unsigned char *bytes)
{
	RingConstants *constants = &header_of(bytes)->constants;

	constants->crc = ring_crc32c(0, constants, 508);
}

static inline void
fix_epochs(unsigned char *bytes)
{
	for (int i = 0; i < 2; i++)
	{
		RingEpochs *epochs = &header_of(bytes)->epochs[i];

		epochs->crc = ring_crc32c(0, &epochs->n, sizeof(*epochs) - 4);
	}
}

/* In twice the space, of which the rest is zero. */
static inline unsigned char *
copy_sample(void)
{
	unsigned char *bytes = malloc(SAMPLE_SIZE * 2);

	memcpy(bytes, sample, SAMPLE_SIZE);
	memset(bytes + SAMPLE_SIZE, 0, SAMPLE_SIZE);
	return bytes;
}

/* Where a record's byte is in the file. */
static inline size_t
at_in_file(uint64_t position)
{
	return RING_HEADER_SIZE + position % (64 * KB);
}

/*
 * Open a file of these bytes; whatever they are, all that is read must be
 * records of the sample, in their places.  Sets kept and closes the ring.
 */
static inline void
open_damaged(const unsigned char *bytes, size_t size, uint64_t capacity,
			 RingReport *report)
{
	Ring		ring;
	uint64_t	position;
	int			last = -1;
	uint64_t	n = 0;

	write_file(path, bytes, size);
	if (!ring_open(&ring, path, capacity, SYSTEM, EPOCH + 99, report))
		fail_msg("%s", report->message);
	assert_true(strlen(report->message) > 20);
	assert_false(file_exists(".new"));
	if (report->finding != RING_WHOLE)
		assert_file(report->set_aside, bytes, size);
	else
		assert_string_equal(report->set_aside, "");

	memset(kept, 0, sizeof(kept));
	position = ring_read_position(&ring);
	while (n < report->records)
	{
		int			number = (int) take(&ring, &position);

		assert_true(number > last && number < sample_n);
		assert_int_equal(position, sample_end[number]);
		assert_int_equal(ring_epoch(&ring, position),
						 number < 100 ? EPOCH : EPOCH + 1);
		kept[number] = true;
		last = number;
		n++;
	}
	assert_end(&ring, position);

	/* It works, and is whole now. */
	if (ring_used(&ring) + MAX_LENGTH * 2 < ring_capacity(&ring))
	{
		assert_true(put(&ring, 777));
		reopen(&ring, ring_capacity(&ring), EPOCH + 100, RING_REOPENED);
		position = ring_read_position(&ring);
		for (; n > 0; n--)
			take(&ring, &position);
		assert_int_equal(take(&ring, &position), 777);
		assert_int_equal(ring_epoch(&ring, position), EPOCH + 99);
		assert_end(&ring, position);
	}
	ring_close(&ring);
	if (report->set_aside[0] != '\0')
		unlink(report->set_aside);
}

static inline int
count_kept(void)
{
	int			n = 0;

	for (int i = 0; i < sample_n; i++)
		n += kept[i];
	return n;
}

#endif							/* METER_RING_SAMPLE_H */

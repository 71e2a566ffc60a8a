/*
 * test_ring_damage.c
 *		The event queue: what is kept of a file that is damaged or foreign.
 */
#include "ring_sample.h"

static void
check_size(size_t size)
{
	unsigned char *bytes = copy_sample();
	RingReport	report;

	open_damaged(bytes, size, 64 * KB, &report);
	if (size == SAMPLE_SIZE)
		assert_int_equal(report.outcome, RING_REOPENED);
	else
	{
		assert_int_equal(report.finding, RING_BAD_SIZE);
		assert_int_equal(report.outcome,
						 size < RING_HEADER_SIZE ? RING_REPLACED :
						 RING_SALVAGED);
	}
	for (int i = 0; i < sample_n; i++)
	{
		size_t		end = at_in_file(sample_start[i]);

		end += sample_end[i] - sample_start[i];
		assert_int_equal(kept[i], size >= RING_HEADER_SIZE && end <= size);
	}
	if (count_kept() == sample_n)
		assert_int_equal(report.lost, 0);
	free(bytes);
}

static void
test_bad_size(void **state)
{
	make_sample();
	for (size_t size = 0; size <= SAMPLE_SIZE + 8192; size += 256)
	{
		check_size(size);
		if (size % 4096 == 0)
		{
			check_size(size + 1);
			check_size(size + 8);
			check_size(size + 4095);
		}
	}
	for (int i = 0; i < sample_n; i += 3)
	{
		check_size(at_in_file(sample_start[i]));
		check_size(at_in_file(sample_start[i]) + 1);
		check_size(at_in_file(sample_start[i]) + 7);
		check_size(at_in_file(sample_start[i]) + 8);
		check_size(at_in_file(sample_start[i]) - 1);
	}
	check_size(2 * SAMPLE_SIZE);
}

static void
test_bad_header(void **state)
{
	unsigned char *bytes;
	RingReport	report;

	make_sample();
	bytes = copy_sample();
	for (size_t i = 0; i < RING_HEADER_SIZE; i++)
	{
		unsigned char saved = bytes[i];

		bytes[i] ^= 1 << random_below(8);
		open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
		if (i < 512)
		{
			assert_int_equal(report.outcome, RING_REPLACED);
			assert_int_equal(report.finding,
							 i < 8 ? RING_BAD_MAGIC : RING_BAD_HEADER);
			assert_int_equal(count_kept(), 0);
		}
		else if ((i < 520 || (i >= 768 && i < 776)))
		{
			/* A position is nonsense, or it only costs what it skips. */
			assert_true(report.outcome == RING_REPLACED ||
						report.outcome == RING_SALVAGED);
		}
		else
		{
			/* Nothing is there, or there is a copy of it. */
			assert_int_equal(report.outcome, RING_REOPENED);
			assert_int_equal(count_kept(), sample_n);
		}
		bytes[i] = saved;
	}

	/* Both copies. */
	bytes[1030] ^= 1;
	bytes[1030 + sizeof(RingEpochs)] ^= 1;
	open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
	assert_int_equal(report.outcome, RING_REPLACED);
	assert_int_equal(report.finding, RING_BAD_EPOCHS);
	memset(bytes, 0, RING_HEADER_SIZE);
	open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
	assert_int_equal(report.finding, RING_BAD_MAGIC);
	free(bytes);

	/* Half of the header is from a time when these were released. */
	bytes = copy_sample();
	for (int i = 0; i < 2; i++)
	{
		RingEpochs *epochs = &header_of(bytes)->epochs[i];

		assert_int_equal(epochs->n, 2);
		epochs->epoch[0] = epochs->epoch[1];
		epochs->n = 1;
	}
	fix_epochs(bytes);
	open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
	assert_int_equal(report.outcome, RING_SALVAGED);
	assert_int_equal(report.finding, RING_BAD_RECORDS);
	assert_int_equal(count_kept(), sample_n - 100);
	header_of(bytes)->epochs[0].epoch[0].start = sample_write + 64;
	header_of(bytes)->epochs[1].epoch[0].start = sample_write + 64;
	fix_epochs(bytes);
	open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
	assert_int_equal(report.outcome, RING_SALVAGED);
	assert_int_equal(count_kept(), 0);
	free(bytes);

	/* Only the copy written first is new, and only half of it is there. */
	bytes = copy_sample();
	header_of(bytes)->epochs[0].sequence++;
	open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
	assert_int_equal(report.outcome, RING_REOPENED);
	assert_int_equal(count_kept(), sample_n);
	free(bytes);

	/* Not in order. */
	bytes = copy_sample();
	header_of(bytes)->epochs[0].epoch[1].start = 0;
	header_of(bytes)->epochs[1].epoch[1].start = 0;
	fix_epochs(bytes);
	open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
	assert_int_equal(report.finding, RING_BAD_EPOCHS);
	free(bytes);

	/* A capacity that cannot be, with a checksum that can. */
	bytes = copy_sample();
	for (uint64_t capacity = 0; capacity < 40; capacity++)
	{
		header_of(bytes)->constants.capacity = capacity < 20 ? capacity * 8 * KB :
			UINT64_C(1) << (capacity + 14);
		fix_constants(bytes);
		open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
		assert_int_equal(report.outcome == RING_REOPENED, capacity == 8);
	}
	free(bytes);
}

/* What is hit is gone, everything else is kept. */
static void
test_bad_records(void **state)
{
	RingReport	report;

	make_sample();
	for (int round = 0; round < 1500; round++)
	{
		unsigned char *bytes = copy_sample();
		bool		hit[MAX_RECORDS] = {false};
		int			flips = round % 2 ? 1 : (int) random_below(8) + 1;
		int			hits = 0;

		for (int k = 0; k < flips; k++)
		{
			uint64_t	offset = random_below(64 * KB);
			uint64_t	n = round % 5 == 0 ? random_below(9000) + 1 : 1;

			for (uint64_t i = offset; i < offset + n && i < 64 * KB; i++)
				bytes[RING_HEADER_SIZE + i] ^= 1 << random_below(8);
		}
		for (int i = 0; i < sample_n; i++)
		{
			size_t		at = at_in_file(sample_start[i]);

			hit[i] = memcmp(bytes + at, sample + at, 8 + length_of(i)) != 0;
			hits += hit[i];
		}
		open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
		for (int i = 0; i < sample_n; i++)
			assert_int_equal(kept[i], !hit[i]);
		if (hits > 0)
		{
			assert_int_equal(report.outcome, RING_SALVAGED);
			assert_int_equal(report.finding, RING_BAD_RECORDS);
			assert_true(report.lost >= (uint64_t) hits * 16);
		}
		free(bytes);
	}
}

static void
check_positions(uint64_t read, uint64_t write, RingOutcome outcome, int first,
				int n)
{
	unsigned char *bytes = copy_sample();
	RingReport	report;

	atomic_store(&header_of(bytes)->read_position, read);
	atomic_store(&header_of(bytes)->write_position, write);
	open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
	assert_int_equal(report.outcome, outcome);
	for (int i = 0; i < sample_n; i++)
		assert_int_equal(kept[i], i >= first && i < first + n);
	free(bytes);
}

static void
test_bad_positions(void **state)
{
	uint64_t	read;
	uint64_t	write;
	int			all;

	make_sample();
	read = sample_read;
	write = sample_write;
	all = sample_n;
	check_positions(read, write, RING_REOPENED, 0, all);
	check_positions(write, read, RING_REPLACED, 0, 0);
	check_positions(write + 8, write, RING_REPLACED, 0, 0);
	check_positions(read, read + 64 * KB + 8, RING_REPLACED, 0, 0);
	check_positions(read + 1, write, RING_REPLACED, 0, 0);
	check_positions(read, write + 4, RING_REPLACED, 0, 0);
	check_positions(0, UINT64_MAX - 7, RING_REPLACED, 0, 0);
	check_positions(UINT64_MAX - 7, 8, RING_REPLACED, 0, 0);
	check_positions(UINT64_MAX, UINT64_MAX, RING_REPLACED, 0, 0);
	check_positions(UINT64_MAX - 7, UINT64_MAX - 7, RING_REPLACED, 0, 0);
	check_positions(read + 256 * KB, write + 256 * KB, RING_SALVAGED, 0, 0);
	check_positions(write, write, RING_REOPENED, 0, 0);

	/* Possible ones only lose what they skip. */
	check_positions(read, read + 64 * KB, RING_SALVAGED, 0, all);
	check_positions(read - 8, write, RING_SALVAGED, 0, all);
	check_positions(sample_start[7], write, RING_REOPENED, 7, all - 7);
	check_positions(sample_start[7] + 8, write, RING_SALVAGED, 8, all - 8);
	check_positions(read, sample_end[7], RING_REOPENED, 0, 8);
	check_positions(read, sample_end[7] - 8, RING_SALVAGED, 0, 7);
}

static void
test_foreign(void **state)
{
	unsigned char *bytes;
	RingReport	report;
	Ring		ring;
	char		name[128];

	make_sample();
	bytes = copy_sample();
	header_of(bytes)->constants.version = 2;
	fix_constants(bytes);
	open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
	assert_int_equal(report.outcome, RING_REPLACED);
	assert_int_equal(report.finding, RING_OTHER_VERSION);
	assert_non_null(strstr(report.set_aside, ".foreign.1"));

	/* Another version's file may be of any size. */
	open_damaged(bytes, 5000, 64 * KB, &report);
	assert_int_equal(report.finding, RING_OTHER_VERSION);
	free(bytes);

	bytes = copy_sample();
	header_of(bytes)->constants.byte_order = 0x0D0C0B0A;
	header_of(bytes)->constants.version = 0x01000000;
	fix_constants(bytes);
	header_of(bytes)->constants.crc =
		__builtin_bswap32(header_of(bytes)->constants.crc);
	open_damaged(bytes, SAMPLE_SIZE, 64 * KB, &report);
	assert_int_equal(report.outcome, RING_REPLACED);
	assert_int_equal(report.finding, RING_OTHER_BYTE_ORDER);
	assert_non_null(strstr(report.set_aside, ".foreign.1"));
	free(bytes);

	/* Each one gets a name of its own. */
	for (int i = 1; i <= 3; i++)
	{
		write_file(path, sample, SAMPLE_SIZE);
		assert_true(ring_open(&ring, path, 64 * KB, SYSTEM + 1, EPOCH,
							  &report));
		assert_int_equal(report.outcome, RING_REPLACED);
		assert_int_equal(report.finding, RING_OTHER_SYSTEM);
		assert_int_equal(ring_used(&ring), 0);
		snprintf(name, sizeof(name), "%s.foreign.%d", path, i);
		assert_string_equal(report.set_aside, name);
		assert_non_null(strstr(report.message, name));
		ring_close(&ring);
	}
	for (int i = 1; i <= 3; i++)
	{
		snprintf(name, sizeof(name), "%s.foreign.%d", path, i);
		assert_file(name, sample, SAMPLE_SIZE);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TEST(test_bad_size),
		RING_TEST(test_bad_header),
		RING_TEST(test_bad_records),
		RING_TEST(test_bad_positions),
		RING_TEST(test_foreign),
	};

	return RUN_RING_TESTS(tests);
}

/*
 * test_ring_open.c
 *		The event queue: opening its file, changing its capacity, attaching to
 *		it, and failing to.
 */
#include "ring_sample.h"

#include <signal.h>
#include <sys/resource.h>

static void
test_epochs(void **state)
{
	Ring		ring = {0};
	RingReport	report;
	uint64_t	position;
	uint64_t	write;
	const void *payload;
	size_t		length;

	/* Each opening leaves records: all the epochs are known. */
	for (uint64_t i = 0; i < 60; i++)
	{
		reopen(&ring, 64 * KB, EPOCH + i, i ? RING_REOPENED : RING_CREATED);
		assert_true(put(&ring, 2 * i));
		assert_true(put(&ring, 2 * i + 1));

		/* These leave none, and are forgotten. */
		reopen(&ring, 64 * KB, 1000 + i, RING_REOPENED);
		reopen(&ring, 64 * KB, 2000 + i, RING_REOPENED);
	}
	position = ring_read_position(&ring);
	for (uint64_t i = 0; i < 120; i++)
	{
		assert_int_equal(take(&ring, &position), i);
		assert_int_equal(ring_epoch(&ring, position), EPOCH + i / 2);
		if (i == 99)
			assert_true(ring_release(&ring, position));
	}

	/* Released ones are forgotten, also through a change of capacity. */
	reopen(&ring, 128 * KB, 3000, RING_RESIZED);
	assert_int_equal(ring.n_epochs, 11);
	position = ring_read_position(&ring);
	for (uint64_t i = 100; i < 120; i++)
	{
		assert_int_equal(take(&ring, &position), i);
		assert_int_equal(ring_epoch(&ring, position), EPOCH + i / 2);
	}

	/* When the list is full, the last one goes on. */
	for (uint64_t i = 0; i < 100; i++)
	{
		ring_close(&ring);
		assert_true(ring_open(&ring, path, 128 * KB, SYSTEM, 4000 + i,
							  &report));
		assert_int_equal(report.epoch_kept, i >= 54);
		assert_true(put(&ring, 120 + i));
	}
	for (uint64_t i = 0; i < 100; i++)
	{
		assert_int_equal(take(&ring, &position), 120 + i);
		assert_int_equal(ring_epoch(&ring, position),
						 4000 + (i < 53 ? i : 53));
	}
	assert_true(ring_release(&ring, position));
	reopen(&ring, 128 * KB, EPOCH, RING_REOPENED);
	assert_int_equal(ring.n_epochs, 1);

	/*
	 * The power fails, and the positions go back: what was written behind
	 * them is not there, nor is it when the new ones come to its place.
	 */
	write = ring_write_position(&ring);
	for (int i = 0; i < 4; i++)
		put_zeros(&ring, 56);
	atomic_store(&ring.header->write_position, write);
	reopen(&ring, 128 * KB, EPOCH + 1, RING_REOPENED);
	put_zeros(&ring, 56);
	position = write;
	assert_int_equal(ring_next(&ring, &position, &payload, &length),
					 RING_RECORD);
	assert_int_equal(ring_epoch(&ring, position), EPOCH + 1);
	atomic_store(&ring.header->write_position, write + 4 * 64);
	assert_int_equal(ring_next(&ring, &position, &payload, &length),
					 RING_CORRUPT);
	assert_int_equal(position, write + 4 * 64);
	ring_close(&ring);

	/* The epoch of the opening was saved, the position was not. */
	remove_files(NULL);
	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	assert_true(put(&ring, 1));
	write = ring_write_position(&ring);
	assert_true(put(&ring, 2));
	reopen(&ring, 64 * KB, EPOCH + 1, RING_REOPENED);
	atomic_store(&ring.header->write_position, write);
	reopen(&ring, 64 * KB, EPOCH + 2, RING_REOPENED);
	assert_true(put(&ring, 3));
	position = 0;
	assert_int_equal(take(&ring, &position), 1);
	assert_int_equal(ring_epoch(&ring, position), EPOCH);
	assert_int_equal(take(&ring, &position), 3);
	assert_int_equal(ring_epoch(&ring, position), EPOCH + 2);
	ring_close(&ring);
}

static void
test_capacity(void **state)
{
	Ring		ring = {0};
	RingReport	report;
	uint64_t	position;
	unsigned char *bytes;

	make_sample();
	for (uint64_t capacity = 128 * KB; capacity <= 1024 * KB; capacity *= 2)
	{
		open_damaged(sample, SAMPLE_SIZE, capacity, &report);
		assert_int_equal(report.outcome, RING_RESIZED);
		assert_false(report.capacity_kept);
		assert_int_equal(count_kept(), sample_n);
	}

	/* Damaged and of another capacity. */
	bytes = copy_sample();
	bytes[at_in_file(sample_start[5]) + 10] ^= 1;
	open_damaged(bytes, SAMPLE_SIZE, 256 * KB, &report);
	assert_int_equal(report.outcome, RING_SALVAGED);
	assert_int_equal(count_kept(), sample_n - 1);
	free(bytes);

	/* Smaller: too many, then over the end, then neither. */
	remove_files(NULL);
	reopen(&ring, 256 * KB, EPOCH, RING_CREATED);
	move_to(&ring, 60 * KB);
	for (uint64_t i = 0; ring_used(&ring) < 100 * KB; i++)
		assert_true(put(&ring, i));
	ring_close(&ring);
	assert_true(ring_open(&ring, path, 64 * KB, SYSTEM, EPOCH, &report));
	assert_int_equal(report.outcome, RING_REOPENED);
	assert_true(report.capacity_kept);
	assert_non_null(strstr(report.message, "do not fit"));
	assert_int_equal(ring_capacity(&ring), 256 * KB);

	assert_true(ring_release(&ring, ring_write_position(&ring)));
	move_to(&ring, 64 * KB - 8);
	assert_true(put(&ring, 1));
	reopen(&ring, 64 * KB, EPOCH, RING_REOPENED);
	assert_int_equal(ring_capacity(&ring), 256 * KB);

	assert_true(ring_release(&ring, ring_write_position(&ring)));
	move_to(&ring, 64 * KB);
	assert_true(put(&ring, 2));
	assert_true(put(&ring, 3));
	reopen(&ring, 64 * KB, EPOCH, RING_RESIZED);
	assert_int_equal(ring_capacity(&ring), 64 * KB);
	position = ring_read_position(&ring);
	assert_int_equal(take(&ring, &position), 2);
	assert_int_equal(take(&ring, &position), 3);
	assert_end(&ring, position);

	/* A filler may reach over the end; it is cut. */
	reopen(&ring, 256 * KB, EPOCH, RING_RESIZED);
	assert_true(ring_release(&ring, ring_write_position(&ring)));
	move_to(&ring, 180 * KB);
	assert_true(put(&ring, 4));
	put_zeros(&ring, 100 * KB);
	assert_true(ring_release(&ring, ring_write_position(&ring)));
	assert_true(put(&ring, 5));
	reopen(&ring, 128 * KB, EPOCH, RING_RESIZED);
	position = ring_read_position(&ring);
	assert_int_equal(take(&ring, &position), 5);
	ring_close(&ring);
}

static void
assert_failure(const char *name, uint64_t capacity, int error)
{
	Ring		ring;
	RingReport	report;

	assert_false(ring_open(&ring, name, capacity, SYSTEM, EPOCH, &report));
	assert_int_equal(report.outcome, RING_FAILED);
	assert_int_equal(report.error, error);
	assert_non_null(strstr(report.message, strerror(error)));
	assert_null(ring.header);
	assert_false(file_exists(".new"));
}

static void
test_failures(void **state)
{
	char		name[2000];
	struct rlimit limit;
	struct rlimit old_limit;
	unsigned char *bytes;
	Ring		ring;
	RingReport	report;

	assert_failure(path, 0, EINVAL);
	assert_failure(path, 32 * KB, EINVAL);
	assert_failure(path, 96 * KB, EINVAL);
	assert_failure(path, 32 * 1024 * 1024 * KB, EINVAL);
	assert_failure(directory, 64 * KB, EISDIR);
	assert_failure("/nowhere/queue", 64 * KB, ENOENT);
	assert_failure("/dev/null", 64 * KB, EINVAL);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_failure(name, 64 * KB, ENAMETOOLONG);
	name[900] = '\0';
	assert_failure(name, 64 * KB, ENAMETOOLONG);

	/* No room: as good as a full disk, and easier to have. */
	make_sample();
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
	limit = old_limit;
	limit.rlim_cur = 100 * KB;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_failure(path, 256 * KB, EFBIG);
	assert_false(file_exists(""));

	/* A sound file goes on with its capacity. */
	open_damaged(sample, SAMPLE_SIZE, 256 * KB, &report);
	assert_int_equal(report.outcome, RING_REOPENED);
	assert_true(report.capacity_kept);
	assert_int_equal(report.error, EFBIG);
	assert_int_equal(count_kept(), sample_n);
	assert_false(file_exists(".new"));

	/* A damaged one stays as it is. */
	bytes = copy_sample();
	bytes[at_in_file(sample_start[5]) + 10] ^= 1;
	write_file(path, bytes, SAMPLE_SIZE);
	assert_failure(path, 256 * KB, EFBIG);
	assert_file(path, bytes, SAMPLE_SIZE);
	assert_false(file_exists(".damaged.1"));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
	assert_true(ring_open(&ring, path, 256 * KB, SYSTEM, EPOCH, &report));
	assert_int_equal(report.outcome, RING_SALVAGED);
	assert_true(file_exists(".damaged.1"));
	ring_close(&ring);

	/* A half-made file of an opening that died is in nobody's way. */
	snprintf(name, sizeof(name), "%s.new", path);
	write_file(name, bytes, 70000);
	write_file(path, sample, SAMPLE_SIZE);
	assert_true(ring_open(&ring, path, 256 * KB, SYSTEM, EPOCH, &report));
	assert_int_equal(report.outcome, RING_RESIZED);
	assert_int_equal(report.records, sample_n);
	ring_close(&ring);
	free(bytes);
}

/* Not a byte changes, and the epochs are those of the opening. */
static void
test_attach(void **state)
{
	Ring		opened = {0};
	Ring		ring;
	RingReport	report;
	unsigned char *bytes;
	size_t		size;
	uint64_t	position;
	const void *payload;
	size_t		length;

	reopen(&opened, 128 * KB, EPOCH, RING_CREATED);
	assert_true(put(&opened, 1));
	reopen(&opened, 128 * KB, EPOCH + 1, RING_REOPENED);
	assert_true(put(&opened, 2));
	bytes = read_file(path, &size);

	assert_true(ring_attach(&ring, path, SYSTEM, &report));
	assert_int_equal(report.outcome, RING_ATTACHED);
	assert_int_equal(report.finding, RING_WHOLE);
	assert_int_equal(report.error, 0);
	assert_non_null(strstr(report.message, path));
	assert_int_equal(ring_capacity(&ring), 128 * KB);
	assert_int_equal(ring.n_epochs, 2);
	position = ring_read_position(&ring);
	assert_int_equal(take(&ring, &position), 1);
	assert_int_equal(ring_epoch(&ring, position), EPOCH);
	assert_int_equal(take(&ring, &position), 2);
	assert_int_equal(ring_epoch(&ring, position), EPOCH + 1);
	assert_end(&ring, position);
	assert_true(ring_peek(&ring, &payload, &length));
	ring_close(&ring);
	assert_file(path, bytes, size);

	/* It is the same ring. */
	assert_true(ring_attach(&ring, path, SYSTEM, &report));
	assert_true(put(&ring, 3));
	assert_true(put(&opened, 4));
	assert_true(ring_release(&opened, position));
	assert_int_equal(ring_read_position(&ring), position);
	assert_int_equal(take(&opened, &position), 3);
	assert_int_equal(take(&ring, &position), 4);
	ring_close(&opened);
	ring_close(&ring);
	free(bytes);

	/* One list of epochs is enough. */
	make_sample();
	bytes = copy_sample();
	for (int i = 0; i < 2; i++)
	{
		header_of(bytes)->epochs[i].epoch[1].start ^= 8;
		write_file(path, bytes, SAMPLE_SIZE);
		assert_true(ring_attach(&ring, path, SYSTEM, &report));
		position = sample_start[0];
		assert_int_equal(take(&ring, &position), 0);
		ring_close(&ring);
		assert_file(path, bytes, SAMPLE_SIZE);
		header_of(bytes)->epochs[i].epoch[1].start ^= 8;
	}

	/* Records are left to those who read them. */
	bytes[at_in_file(sample_start[0]) + 8] ^= 1;
	write_file(path, bytes, SAMPLE_SIZE);
	assert_true(ring_attach(&ring, path, SYSTEM, &report));
	position = sample_start[0];
	assert_int_equal(ring_next(&ring, &position, &payload, &length),
					 RING_CORRUPT);
	assert_int_equal(take(&ring, &position), 1);
	ring_close(&ring);
	assert_file(path, bytes, SAMPLE_SIZE);
	free(bytes);
}

static void
assert_no_attach(const char *name, int error)
{
	Ring		ring;
	RingReport	report;

	assert_false(ring_attach(&ring, name, SYSTEM, &report));
	assert_int_equal(report.outcome, RING_FAILED);
	assert_int_equal(report.finding, RING_WHOLE);
	assert_int_equal(report.error, error);
	assert_non_null(strstr(report.message, strerror(error)));
	assert_null(ring.header);
}

/* It stays as it is: setting it aside is not for those who attach. */
static void
assert_refused(const unsigned char *bytes, size_t size, RingFinding finding,
			   const char *reason)
{
	Ring		ring;
	RingReport	report;

	write_file(path, bytes, size);
	assert_false(ring_attach(&ring, path, SYSTEM, &report));
	assert_int_equal(report.outcome, RING_FAILED);
	assert_int_equal(report.finding, finding);
	assert_int_equal(report.error, EINVAL);
	assert_non_null(strstr(report.message, path));
	assert_non_null(strstr(report.message, reason));
	assert_null(ring.header);
	assert_file(path, bytes, size);
	assert_false(file_exists(".new"));
	assert_false(file_exists(".damaged.1"));
	assert_false(file_exists(".foreign.1"));
}

static void
test_attach_refused(void **state)
{
	unsigned char *bytes;
	RingConstants *constants;
	char		name[128];

	assert_no_attach(path, ENOENT);
	assert_false(file_exists(""));
	snprintf(name, sizeof(name), "%s/nowhere/queue", directory);
	assert_no_attach(name, ENOENT);
	assert_no_attach(directory, EISDIR);
	assert_no_attach("/dev/null", EINVAL);

	make_sample();
	bytes = copy_sample();
	constants = &header_of(bytes)->constants;

	/* What the checksum of the constants covers, and itself. */
	for (size_t i = 0; i < sizeof(RingConstants); i++)
	{
		bytes[i] ^= 1 << random_below(8);
		assert_refused(bytes, SAMPLE_SIZE,
					   i < 8 ? RING_BAD_MAGIC : RING_BAD_HEADER,
					   i < 8 ? "is not a queue file" : "damaged header");
		memcpy(bytes, sample, sizeof(RingConstants));
	}

	/* With the right checksum. */
	constants->version++;
	fix_constants(bytes);
	assert_refused(bytes, SAMPLE_SIZE, RING_OTHER_VERSION, "another version");
	memcpy(bytes, sample, sizeof(RingConstants));
	constants->system_identifier++;
	fix_constants(bytes);
	assert_refused(bytes, SAMPLE_SIZE, RING_OTHER_SYSTEM,
				   "another database system");
	memcpy(bytes, sample, sizeof(RingConstants));
	constants->byte_order = __builtin_bswap32(RING_BYTE_ORDER);
	fix_constants(bytes);
	constants->crc = __builtin_bswap32(constants->crc);
	assert_refused(bytes, SAMPLE_SIZE, RING_OTHER_BYTE_ORDER,
				   "another byte order");
	memcpy(bytes, sample, sizeof(RingConstants));
	constants->capacity = 96 * KB;
	fix_constants(bytes);
	assert_refused(bytes, SAMPLE_SIZE, RING_BAD_HEADER, "damaged header");
	for (uint64_t capacity = 128 * KB; capacity <= RING_MAX_CAPACITY;
		 capacity *= 2)
	{
		constants->capacity = capacity;
		fix_constants(bytes);
		assert_refused(bytes, SAMPLE_SIZE, RING_BAD_SIZE, "shorter or longer");
	}
	memcpy(bytes, sample, sizeof(RingConstants));

	for (size_t size = 0; size <= 2 * SAMPLE_SIZE; size += 2 * KB)
	{
		if (size != SAMPLE_SIZE)
			assert_refused(bytes, size, RING_BAD_SIZE, "shorter or longer");
	}
	assert_refused(bytes, SAMPLE_SIZE - 1, RING_BAD_SIZE, "shorter or longer");
	assert_refused(bytes, SAMPLE_SIZE + 1, RING_BAD_SIZE, "shorter or longer");

	for (int i = 0; i < 2; i++)
		header_of(bytes)->epochs[i].sequence ^= 1;
	assert_refused(bytes, SAMPLE_SIZE, RING_BAD_EPOCHS, "epochs");
	for (int i = 0; i < 2; i++)
		header_of(bytes)->epochs[i].n = RING_MAX_EPOCHS + 1;
	fix_epochs(bytes);
	assert_refused(bytes, SAMPLE_SIZE, RING_BAD_EPOCHS, "epochs");
	free(bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TEST(test_epochs),
		RING_TEST(test_capacity),
		RING_TEST(test_failures),
		RING_TEST(test_attach),
		RING_TEST(test_attach_refused),
	};

	return RUN_RING_TESTS(tests);
}

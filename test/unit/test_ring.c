/*
 * test_ring.c
 *		The event queue: writing and reading, by a process alone.
 */
#include "ring_test.h"

#include <sys/stat.h>

static void
test_crc(void **state)
{
	unsigned char bytes[400];
	uint64_t	seed = 1;

	assert_int_equal(ring_crc32c(0, "123456789", 9), 0xE3069283);
	assert_int_equal(ring_crc32c_portable(0, "123456789", 9), 0xE3069283);
	assert_int_equal(ring_crc32c(0, "", 0), 0);

	/* RFC 3720, B.4 */
	memset(bytes, 0, 32);
	assert_int_equal(ring_crc32c(0, bytes, 32), 0x8A9136AA);
	memset(bytes, 0xFF, 32);
	assert_int_equal(ring_crc32c(0, bytes, 32), 0x62A8AB43);
	for (int i = 0; i < 32; i++)
		bytes[i] = (unsigned char) i;
	assert_int_equal(ring_crc32c(0, bytes, 32), 0x46DD794E);

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char) next_of(&seed);
	for (size_t from = 0; from < 9; from++)
	{
		for (size_t n = 0; from + n <= sizeof(bytes); n++)
		{
			uint32_t	crc = ring_crc32c(0, bytes + from, n);

			assert_int_equal(ring_crc32c_portable(0, bytes + from, n), crc);
			assert_int_equal(ring_crc32c(ring_crc32c(0, bytes + from, n / 3),
										 bytes + from + n / 3, n - n / 3),
							 crc);
		}
	}
}

static void
test_basic(void **state)
{
	Ring		ring;
	RingReport	report;
	uint64_t	position;
	struct stat st;

	assert_true(ring_open(&ring, path, 64 * KB, SYSTEM, EPOCH, &report));
	assert_int_equal(report.outcome, RING_CREATED);
	assert_int_equal(report.finding, RING_WHOLE);
	assert_int_equal(report.records, 0);
	assert_int_equal(ring_capacity(&ring), 64 * KB);
	assert_int_equal(ring_max_payload(&ring), 32 * KB - 8);
	assert_int_equal(ring_used(&ring), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 68 * KB);
	assert_int_equal(st.st_blocks * 512, 68 * KB);
	assert_false(file_exists(".new"));

	for (uint64_t i = 0; i < 100; i++)
		assert_true(put(&ring, i));
	position = ring_read_position(&ring);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(take(&ring, &position), i);
	assert_end(&ring, position);
	assert_int_equal(position, ring_write_position(&ring));
	assert_int_equal(ring_used(&ring), position);
	assert_true(ring_sync(&ring));

	/* Nothing is released by reading. */
	ring_close(&ring);
	assert_true(ring_open(&ring, path, 64 * KB, SYSTEM, EPOCH + 1, &report));
	assert_int_equal(report.outcome, RING_REOPENED);
	assert_int_equal(report.records, 100);
	assert_int_equal(report.lost, 0);
	position = ring_read_position(&ring);
	for (uint64_t i = 0; i < 50; i++)
		assert_int_equal(take(&ring, &position), i);
	assert_true(ring_release(&ring, position));
	reopen(&ring, 64 * KB, EPOCH + 2, RING_REOPENED);
	assert_int_equal(ring_read_position(&ring), position);
	for (uint64_t i = 50; i < 100; i++)
		assert_int_equal(take(&ring, &position), i);
	assert_end(&ring, position);
	ring_close(&ring);
	ring_close(&ring);
}

/* A record of every length at every distance from the end. */
static void
test_wrap(void **state)
{
	Ring		ring = {0};

	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	for (uint64_t before = 8; before <= 128; before += 8)
	{
		for (size_t length = 0; length <= 130; length++)
		{
			uint64_t	size = (8 + length + 7) / 8 * 8;
			uint64_t	position;
			uint64_t	start;
			unsigned char *space;
			const void *payload;
			size_t		got;

			move_to(&ring, 64 * KB - before);
			start = position = ring_write_position(&ring);
			space = ring_reserve(&ring, length);
			assert_non_null(space);
			memset(space, (int) length, length);
			assert_true(ring_publish(&ring, length));
			if (size > before)
				start += before;
			assert_ptr_equal(space, ring.data + start % (64 * KB) + 8);
			assert_int_equal(ring_write_position(&ring), start + size);
			put_zeros(&ring, 1);

			assert_int_equal(ring_next(&ring, &position, &payload, &got),
							 RING_RECORD);
			assert_ptr_equal(payload, space);
			assert_int_equal(got, length);
			for (size_t i = 0; i < length; i++)
				assert_int_equal(((const unsigned char *) payload)[i], length);
			assert_int_equal(position, start + size);
			assert_int_equal(ring_next(&ring, &position, &payload, &got),
							 RING_RECORD);
			assert_int_equal(got, 1);
			assert_end(&ring, position);
		}
	}
	ring_close(&ring);
}

static void
test_full(void **state)
{
	Ring		ring = {0};
	uint64_t	position;
	const void *payload;
	size_t		length;

	/* To the last byte. */
	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	move_to(&ring, 640);
	for (int i = 0; i < 1024; i++)
		put_zeros(&ring, 56);
	assert_int_equal(ring_used(&ring), 64 * KB);
	assert_null(ring_reserve(&ring, 0));
	assert_false(ring_publish(&ring, 0));
	reopen(&ring, 64 * KB, EPOCH + 1, RING_REOPENED);
	assert_int_equal(ring_used(&ring), 64 * KB);

	/* Reading makes no room, releasing does. */
	position = ring_read_position(&ring);
	assert_int_equal(ring_next(&ring, &position, &payload, &length),
					 RING_RECORD);
	assert_null(ring_reserve(&ring, 0));
	assert_true(ring_release(&ring, position));
	assert_null(ring_reserve(&ring, 57));
	put_zeros(&ring, 56);
	assert_null(ring_reserve(&ring, 0));
	for (int i = 0; i < 1024; i++)
		assert_int_equal(ring_next(&ring, &position, &payload, &length),
						 RING_RECORD);
	assert_end(&ring, position);

	/* The filler needs room, too. */
	assert_true(ring_release(&ring, position));
	move_to(&ring, 64 * KB - 64);
	for (int i = 0; i < 2; i++)
		put_zeros(&ring, 1016);
	assert_int_equal(ring_used(&ring), 64 + 2048);
	while (ring_used(&ring) < 63 * KB)
		put_zeros(&ring, 56);
	assert_null(ring_reserve(&ring, 1017));
	ring_close(&ring);
}

static void
test_large(void **state)
{
	Ring		ring = {0};
	size_t		most;

	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	most = ring_max_payload(&ring);
	assert_null(ring_reserve(&ring, most + 1));
	assert_null(ring_reserve(&ring, 64 * KB - 8));
	assert_null(ring_reserve(&ring, 64 * KB));
	assert_null(ring_reserve(&ring, SIZE_MAX));
	assert_null(ring_reserve(&ring, SIZE_MAX - 7));
	assert_null(ring_reserve(&ring, UINT32_MAX));

	/* The largest fits an empty ring wherever that stands. */
	for (uint64_t offset = 0; offset < 64 * KB; offset += 1000)
	{
		move_to(&ring, offset / 8 * 8);
		put_zeros(&ring, most);
	}

	/* Less than reserved, but never more. */
	move_to(&ring, 0);
	assert_non_null(ring_reserve(&ring, 100));
	assert_false(ring_publish(&ring, 105));
	assert_false(ring_publish(&ring, SIZE_MAX));
	assert_int_equal(ring_used(&ring), 0);
	assert_true(ring_publish(&ring, 0));
	assert_int_equal(ring_used(&ring), 8);
	assert_false(ring_publish(&ring, 0));

	/* What was reserved last counts. */
	assert_non_null(ring_reserve(&ring, 1000));
	assert_non_null(ring_reserve(&ring, 10));
	assert_false(ring_publish(&ring, 1000));
	assert_non_null(ring_reserve(&ring, 1000));
	assert_null(ring_reserve(&ring, most + 1));
	assert_false(ring_publish(&ring, 0));
	ring_close(&ring);
}

static void
test_release(void **state)
{
	Ring		ring = {0};
	uint64_t	position;
	uint64_t	read;
	uint64_t	write;
	const void *payload;
	size_t		length;

	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	move_to(&ring, 4096);
	for (uint64_t i = 0; i < 5; i++)
		assert_true(put(&ring, i));
	read = ring_read_position(&ring);
	write = ring_write_position(&ring);
	assert_false(ring_release(&ring, read - 8));
	assert_false(ring_release(&ring, read + 4));
	assert_false(ring_release(&ring, write + 8));
	assert_false(ring_release(&ring, 0));
	assert_false(ring_release(&ring, UINT64_MAX - 7));
	assert_int_equal(ring_read_position(&ring), read);
	assert_true(ring_release(&ring, read));

	/* Positions where none can be. */
	position = read - 8;
	assert_int_equal(ring_next(&ring, &position, &payload, &length),
					 RING_CORRUPT);
	assert_int_equal(position, read);

	/* There is a whole record, but its space may be overwritten any time. */
	position = read - 1024;
	assert_int_equal(ring_next(&ring, &position, &payload, &length),
					 RING_CORRUPT);
	assert_int_equal(position, read);
	position = write + 8;
	assert_int_equal(ring_next(&ring, &position, &payload, &length),
					 RING_CORRUPT);
	assert_int_equal(position, write);
	position = read + 4;
	assert_int_equal(ring_next(&ring, &position, &payload, &length),
					 RING_CORRUPT);
	assert_int_equal(position, write);

	/* Inside a record: to the next one. */
	position = read + 8;
	assert_int_equal(ring_next(&ring, &position, &payload, &length),
					 RING_CORRUPT);
	assert_int_equal(take(&ring, &position), 1);

	/* A stray write into a record, while the ring is in use. */
	ring.data[(position + 9) % (64 * KB)] ^= 1;
	assert_int_equal(ring_next(&ring, &position, &payload, &length),
					 RING_CORRUPT);
	assert_int_equal(take(&ring, &position), 3);

	/* And into a position: nothing is written, nothing found. */
	for (uint64_t bad = 1; bad < 64 * KB * 4; bad *= 3)
	{
		atomic_store(&ring.header->write_position, write + bad);
		if (bad > 64 * KB || bad % 8 != 0)
			assert_null(ring_reserve(&ring, 8));
		position = read;
		while (ring_next(&ring, &position, &payload, &length) != RING_END)
			;
	}
	ring_close(&ring);
}

/* A writer that dies before it has published leaves nothing. */
static void
test_unpublished(void **state)
{
	Ring		ring = {0};
	uint64_t	position;
	uint64_t	write;

	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	for (uint64_t i = 0; i < 10; i++)
		assert_true(put(&ring, i));
	fill_payload(ring_reserve(&ring, MAX_LENGTH), 10, MAX_LENGTH);
	reopen(&ring, 64 * KB, EPOCH, RING_REOPENED);
	assert_false(ring_publish(&ring, 8));
	position = ring_read_position(&ring);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(take(&ring, &position), i);
	assert_end(&ring, position);

	/* Not even if all was done but the last store. */
	write = ring_write_position(&ring);
	assert_true(put(&ring, 10));
	atomic_store(&ring.header->write_position, write);
	reopen(&ring, 64 * KB, EPOCH, RING_REOPENED);
	assert_end(&ring, position);

	/* And what comes next takes its place. */
	assert_true(put(&ring, 11));
	assert_int_equal(take(&ring, &position), 11);
	assert_end(&ring, position);
	ring_close(&ring);
}

/* What those see who are not the reader. */
static void
test_peek(void **state)
{
	Ring		ring = {0};
	uint64_t	position;
	uint64_t	old;
	const void *payload;
	size_t		length;

	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	assert_false(ring_peek(&ring, &payload, &length));
	for (uint64_t i = 0; i < 5; i++)
		assert_true(put(&ring, i));
	position = old = ring_read_position(&ring);
	for (uint64_t i = 0; i < 5; i++)
	{
		for (int twice = 0; twice < 2; twice++)
		{
			assert_true(ring_peek(&ring, &payload, &length));
			assert_int_equal(check_payload(payload, length), i);
		}
		assert_int_equal(take(&ring, &position), i);
		assert_true(ring_release(&ring, position));
	}
	assert_false(ring_peek(&ring, &payload, &length));

	/* This is why ring_next will not do. */
	assert_true(put(&ring, 5));
	assert_int_equal(ring_next(&ring, &old, &payload, &length), RING_CORRUPT);

	/* A filler comes first. */
	move_to(&ring, 64 * KB - 8);
	assert_true(put(&ring, 6));
	assert_true(put(&ring, 7));
	assert_true(ring_peek(&ring, &payload, &length));
	assert_int_equal(check_payload(payload, length), 6);

	/* Damage comes first, and then there is nothing else. */
	ring.data[10] ^= 1;
	assert_true(ring_peek(&ring, &payload, &length));
	assert_int_equal(check_payload(payload, length), 7);
	ring.data[ring_record_size(length_of(6)) + 10] ^= 1;
	assert_false(ring_peek(&ring, &payload, &length));
	ring_close(&ring);
}

/*
 * Against a model: a list of records with their positions, of which one
 * index says what is released and another what is read.
 */

typedef struct Expected
{
	uint64_t	number;
	uint64_t	start;
	uint64_t	end;
	uint64_t	epoch;
} Expected;

#define OPERATIONS 200000

static void
test_model(void **state)
{
	Expected   *model = malloc(OPERATIONS * sizeof(Expected));
	int			released = 0;
	int			seen = 0;
	int			n = 0;
	uint64_t	read = 0;
	uint64_t	write = 0;
	uint64_t	position = 0;
	uint64_t	capacity = 64 * KB;
	uint64_t	epoch = EPOCH;
	uint64_t	full = 0;
	uint64_t	kept_capacity = 0;
	uint64_t	resized = 0;
	Ring		ring = {0};

	reopen(&ring, capacity, epoch, RING_CREATED);
	for (int op = 0; op < OPERATIONS; op++)
	{
		/* Tides, so that the ring is often full and often empty. */
		uint64_t	writing = op / 10000 % 2 ? 650 : 350;
		uint64_t	choice = random_below(1000);

		assert_int_equal(ring_used(&ring), write - read);
		if (choice < writing)
		{
			size_t		length = length_of(n);
			size_t		asked = length + (random_below(3) == 0 ?
										  random_below(2000) : 0);
			uint64_t	need = (asked + 15) / 8 * 8;
			uint64_t	room = capacity - write % capacity;
			uint64_t	filler = need > room ? room : 0;
			void	   *space = ring_reserve(&ring, asked);

			if (write + filler + need - read > capacity)
			{
				assert_null(space);
				full++;
				continue;
			}
			assert_non_null(space);
			if (random_below(20) == 0)
				continue;
			fill_payload(space, n, length);
			assert_true(ring_publish(&ring, length));
			model[n].number = n;
			model[n].start = write + filler;
			model[n].end = write = model[n].start + (length + 15) / 8 * 8;
			model[n].epoch = epoch;
			n++;
			assert_int_equal(ring_write_position(&ring), write);
		}
		else if (choice < 920)
		{
			if (seen == n)
			{
				assert_end(&ring, position);
				continue;
			}
			assert_int_equal(take(&ring, &position), model[seen].number);
			assert_int_equal(position, model[seen].end);
			assert_int_equal(ring_epoch(&ring, position), model[seen].epoch);
			seen++;
		}
		else if (choice < 990)
		{
			released += (int) random_below(seen - released + 1);
			if (released > 0 && model[released - 1].end > read)
				read = model[released - 1].end;
			assert_true(ring_release(&ring, read));
			assert_int_equal(ring_read_position(&ring), read);
		}
		else
		{
			uint64_t	wanted = 64 * KB << random_below(3);
			bool		fits = true;

			for (int i = released; i < n; i++)
			{
				if (model[i].start % wanted + (model[i].end - model[i].start) >
					wanted)
					fits = false;
			}
			if (released < n && write - model[released].start > wanted)
				fits = false;
			if (random_below(4) == 0)
				wanted = capacity;
			if (random_below(5) != 0)
				epoch = next_random();
			if (wanted == capacity)
				reopen(&ring, wanted, epoch, RING_REOPENED);
			else if (fits)
			{
				reopen(&ring, wanted, epoch, RING_RESIZED);
				capacity = wanted;
				read = released < n ? model[released].start : write;
				resized++;
			}
			else
			{
				reopen(&ring, wanted, epoch, RING_REOPENED);
				kept_capacity++;
			}
			epoch = ring.epoch[ring.n_epochs - 1].epoch;
			assert_int_equal(ring_capacity(&ring), capacity);
			assert_int_equal(ring_read_position(&ring), read);
			assert_int_equal(ring_write_position(&ring), write);
			position = read;
			seen = released;
		}
	}
	assert_true(full > 100 && kept_capacity > 100 && resized > 100);
	assert_true(n > 50000 && write > 10000 * KB);
	ring_close(&ring);
	free(model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TEST(test_crc),
		RING_TEST(test_basic),
		RING_TEST(test_wrap),
		RING_TEST(test_full),
		RING_TEST(test_large),
		RING_TEST(test_release),
		RING_TEST(test_unpublished),
		RING_TEST(test_peek),
		RING_TEST(test_model),
	};

	return RUN_RING_TESTS(tests);
}

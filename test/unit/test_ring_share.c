/*
 * test_ring_share.c
 *		The event queue: threads and processes that share one, and what is
 *		left of it when they are killed.
 */
#include "ring_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define WRITERS 4
#define PER_WRITER 250000

static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct WriterThread
{
	Ring	   *ring;
	uint32_t	id;
} WriterThread;

static void *
write_many(void *arg)
{
	const WriterThread *writer = arg;
	uint64_t	state = writer->id;

	for (uint32_t i = 0; i < PER_WRITER; i++)
	{
		uint32_t	record[12] = {writer->id, i};
		size_t		length = 8 + next_of(&state) % 40;
		void	   *space;

		for (int k = 2; k < 12; k++)
			record[k] = i + k;
		for (;;)
		{
			pthread_mutex_lock(&write_lock);
			space = ring_reserve(writer->ring, length);
			if (space != NULL)
			{
				memcpy(space, record, length);
				ring_publish(writer->ring, length);
			}
			pthread_mutex_unlock(&write_lock);
			if (space != NULL)
				break;
			sched_yield();
		}
	}
	return NULL;
}

typedef struct PeekerThread
{
	const Ring *ring;
	_Atomic bool stop;
	uint64_t	seen;
	uint64_t	wrong;
} PeekerThread;

/* One that is not the reader; it may assert nothing, being no test. */
static void *
peek_many(void *arg)
{
	PeekerThread *peeker = arg;

	while (!atomic_load(&peeker->stop))
	{
		const void *payload;
		size_t		length;
		uint32_t	record[12];

		pthread_mutex_lock(&write_lock);
		if (ring_peek(peeker->ring, &payload, &length))
		{
			bool		right = length >= 8 && length <= sizeof(record);

			if (right)
			{
				memcpy(record, payload, length);
				for (size_t k = 2; k < length / 4; k++)
					right &= record[k] == record[1] + k;
			}
			peeker->seen++;
			peeker->wrong += !right;
		}
		pthread_mutex_unlock(&write_lock);
		sched_yield();
	}
	return NULL;
}

static void
test_threads(void **state)
{
	Ring		ring = {0};
	pthread_t	thread[WRITERS];
	WriterThread writer[WRITERS];
	pthread_t	peeker_thread;
	PeekerThread peeker = {.ring = &ring};
	uint64_t	seed[WRITERS];
	uint32_t	next[WRITERS] = {0};
	uint64_t	position;

	reopen(&ring, 256 * KB, EPOCH, RING_CREATED);
	for (uint32_t i = 0; i < WRITERS; i++)
	{
		writer[i].ring = &ring;
		writer[i].id = i;
		seed[i] = i;
		assert_int_equal(pthread_create(&thread[i], NULL, write_many,
										&writer[i]), 0);
	}
	assert_int_equal(pthread_create(&peeker_thread, NULL, peek_many, &peeker),
					 0);

	position = ring_read_position(&ring);
	for (uint64_t n = 0; n < (uint64_t) WRITERS * PER_WRITER;)
	{
		const void *payload;
		size_t		length;
		uint32_t	record[12];
		uint32_t	id;

		RingNext	result = ring_next(&ring, &position, &payload, &length);

		assert_int_not_equal(result, RING_CORRUPT);
		if (result == RING_END)
		{
			assert_true(ring_release(&ring, position));
			sched_yield();
			continue;
		}
		memcpy(record, payload, length);
		id = record[0];
		assert_true(id < WRITERS);
		assert_int_equal(record[1], next[id]);
		next[id]++;
		assert_int_equal(length, 8 + next_of(&seed[id]) % 40);
		for (size_t k = 2; k < length / 4; k++)
			assert_int_equal(record[k], record[1] + k);

		/* Only now, as the payload is in there. */
		if (++n % 64 == 0)
			assert_true(ring_release(&ring, position));
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	atomic_store(&peeker.stop, true);
	pthread_join(peeker_thread, NULL);
	assert_true(peeker.seen > 0);
	assert_int_equal(peeker.wrong, 0);
	assert_end(&ring, position);
	ring_close(&ring);
}

#define TURNS 1000

/* In a process that may assert nothing: is it the next record? */
static bool
is_next(const Ring *ring, uint64_t *position, uint64_t number)
{
	unsigned char expected[MAX_LENGTH];
	const void *payload;
	size_t		length;

	if (ring_next(ring, position, &payload, &length) != RING_RECORD ||
		length != length_of(number))
		return false;
	fill_payload(expected, number, length);
	return memcmp(payload, expected, length) == 0;
}

/* Read an even record, release it, publish the odd one after it. */
static bool
take_turns(int from, int to, const Ring *parent)
{
	Ring		ring;
	RingReport	report;
	uint64_t	position;
	char		turn;

	if (!ring_attach(&ring, path, SYSTEM, &report) ||
		ring.header == parent->header || ring.n_epochs != parent->n_epochs ||
		memcmp(ring.epoch, parent->epoch, sizeof(ring.epoch)) != 0)
		return false;
	position = ring_read_position(&ring);
	for (uint64_t i = 0; i < TURNS; i++)
	{
		size_t		length = length_of(2 * i + 1);
		void	   *space;

		if (read(from, &turn, 1) != 1 || !is_next(&ring, &position, 2 * i) ||
			ring_epoch(&ring, position) != EPOCH + 1 ||
			!ring_release(&ring, position))
			return false;
		space = ring_reserve(&ring, length);
		if (space == NULL)
			return false;
		fill_payload(space, 2 * i + 1, length);
		if (!ring_publish(&ring, length))
			return false;
		position = ring_write_position(&ring);
		if (write(to, &turn, 1) != 1)
			return false;
	}
	return true;
}

static void
test_attach(void **state)
{
	Ring		ring = {0};
	uint64_t	position;
	int			to_child[2];
	int			to_parent[2];
	int			status;
	char		turn = 0;
	pid_t		pid;

	/* With two epochs, one of which ends between the record and the rest. */
	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	assert_true(put(&ring, 2 * TURNS));
	reopen(&ring, 64 * KB, EPOCH + 1, RING_REOPENED);
	position = ring_read_position(&ring);
	assert_int_equal(take(&ring, &position), 2 * TURNS);
	assert_int_equal(ring_epoch(&ring, position), EPOCH);
	assert_true(ring_release(&ring, position));

	assert_int_equal(pipe(to_child), 0);
	assert_int_equal(pipe(to_parent), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
	{
		/* So that the end of the parent is the end of the pipe. */
		close(to_child[1]);
		close(to_parent[0]);
		alarm(60);
		_exit(take_turns(to_child[0], to_parent[1], &ring) ? 0 : 1);
	}
	close(to_child[0]);
	close(to_parent[1]);
	signal(SIGPIPE, SIG_IGN);
	for (uint64_t i = 0; i < TURNS; i++)
	{
		assert_true(put(&ring, 2 * i));
		position = ring_write_position(&ring);
		assert_int_equal(write(to_child[1], &turn, 1), 1);
		assert_int_equal(read(to_parent[0], &turn, 1), 1);
		assert_int_equal(ring_read_position(&ring), position);
		assert_int_equal(take(&ring, &position), 2 * i + 1);
		assert_int_equal(ring_epoch(&ring, position), EPOCH + 1);
		if (i < TURNS - 1)
			assert_true(ring_release(&ring, position));
	}
	assert_true(position > 4 * 64 * KB);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(to_child[1]);
	close(to_parent[0]);

	/* What the child has published last outlives both. */
	reopen(&ring, 64 * KB, EPOCH + 2, RING_REOPENED);
	position = ring_read_position(&ring);
	assert_int_equal(take(&ring, &position), 2 * TURNS - 1);
	assert_int_equal(ring_epoch(&ring, position), EPOCH + 1);
	assert_end(&ring, position);
	ring_close(&ring);
}

#define SLOTS 3

typedef struct Published
{
	pthread_mutex_t lock;
	_Atomic uint64_t published[SLOTS];
} Published;

/*
 * In a process that will be killed.  A record's number has the slot in the
 * lowest digit.
 */
static void
write_until_killed(Ring *ring, Published *shared, int slot)
{
	/* One is a child with its parent's ring, the next comes from outside. */
	if (slot % 2 == 1)
	{
		RingReport	report;

		ring_close(ring);
		if (!ring_attach(ring, path, SYSTEM, &report))
			_exit(1);
	}
	alarm(60);
	for (uint64_t i = atomic_load(&shared->published[slot]);;)
	{
		uint64_t	number = i * 10 + slot;
		size_t		length = length_of(number);
		void	   *space;

		if (pthread_mutex_lock(&shared->lock) == EOWNERDEAD)
			pthread_mutex_consistent(&shared->lock);
		space = ring_reserve(ring, length);
		if (space != NULL)
		{
			fill_payload(space, number, length);
			ring_publish(ring, length);

			/* Here the caller has returned. */
			atomic_store(&shared->published[slot], ++i);
		}
		pthread_mutex_unlock(&shared->lock);
	}
}

static pid_t
start_writer(Ring *ring, Published *shared, int slot)
{
	pid_t		pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
	{
		write_until_killed(ring, shared, slot);
		_exit(1);
	}
	return pid;
}

static void
kill_writer(pid_t pid)
{
	int			status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Read what there is; each slot's records must come in order. */
static void
read_slots(Ring *ring, uint64_t *position, uint64_t *next)
{
	while (*position != ring_write_position(ring))
	{
		uint64_t	number = take(ring, position);

		assert_true(number % 10 < SLOTS);
		assert_int_equal(number / 10, next[number % 10]);
		next[number % 10]++;
	}
}

/*
 * All that were told to the caller are there, and at most the one that was
 * published in the moment before the kill.
 */
static void
check_slot(Published *shared, int slot, uint64_t next)
{
	uint64_t	published = atomic_load(&shared->published[slot]);

	assert_true(next >= published && next <= published + 1);
	atomic_store(&shared->published[slot], next);
}

static void
test_kill(void **state)
{
	Ring		ring = {0};
	Published  *shared = mmap(NULL, sizeof(Published), PROT_READ | PROT_WRITE,
							  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attr;
	uint64_t	next[SLOTS] = {0};

	assert_ptr_not_equal(shared, MAP_FAILED);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&shared->lock, &attr);

	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	for (uint64_t round = 0; round < 100; round++)
	{
		int			writers = round % 2 == 0 ? 1 : SLOTS;
		uint64_t	position = ring_read_position(&ring);
		pid_t		pid[SLOTS];
		bool		release = round % 3 != 0;

		for (int i = 0; i < writers; i++)
			pid[i] = start_writer(&ring, shared, i);

		/* Kill single ones while the others go on, then all. */
		for (int k = 0; k < 4; k++)
		{
			struct timespec pause = {0, (long) random_below(2000000)};
			int			i = (int) random_below(writers);

			nanosleep(&pause, NULL);
			read_slots(&ring, &position, next);
			if (release)
				assert_true(ring_release(&ring, position));
			kill_writer(pid[i]);
			if (k == 3)
			{
				for (int j = 0; j < writers; j++)
				{
					if (j != i)
						kill_writer(pid[j]);
				}
				break;
			}
			read_slots(&ring, &position, next);
			check_slot(shared, i, next[i]);
			pid[i] = start_writer(&ring, shared, i);
		}

		/* All is there when the file is opened again, whole and in order. */
		if (!release)
			position = ring_read_position(&ring);
		else
			assert_true(ring_release(&ring, position));
		reopen(&ring, 64 * KB, EPOCH + 1 + round, RING_REOPENED);
		if (!release)
		{
			uint64_t	again[SLOTS];
			uint64_t	from = position;

			/* From the first one that was not released. */
			memcpy(again, next, sizeof(again));
			for (int i = 0; i < SLOTS; i++)
				again[i] = UINT64_MAX;
			while (from != ring_write_position(&ring))
			{
				uint64_t	number = take(&ring, &from);

				if (again[number % 10] != UINT64_MAX)
					assert_int_equal(number / 10, again[number % 10]);
				again[number % 10] = number / 10 + 1;
			}
			for (int i = 0; i < SLOTS; i++)
			{
				if (again[i] != UINT64_MAX)
				{
					assert_true(again[i] >= next[i]);
					next[i] = again[i];
				}
			}
			position = from;
		}
		else
			read_slots(&ring, &position, next);
		for (int i = 0; i < writers; i++)
			check_slot(shared, i, next[i]);
		assert_true(ring_release(&ring, position));
	}
	for (int i = 0; i < SLOTS; i++)
		assert_true(next[i] > 100);
	pthread_mutex_destroy(&shared->lock);
	munmap(shared, sizeof(Published));
	ring_close(&ring);
}

/* Opening, too, can be killed at any moment, also while it makes a file. */
static void
test_kill_opening(void **state)
{
	Ring		ring = {0};
	RingReport	report;

	reopen(&ring, 64 * KB, EPOCH, RING_CREATED);
	move_to(&ring, 8 * KB);
	for (uint64_t i = 0; i < 100; i++)
		assert_true(put(&ring, i));
	ring_close(&ring);
	for (uint64_t round = 0; round < 100; round++)
	{
		struct timespec pause = {0, (long) random_below(3000000)};
		pid_t		pid = fork();
		uint64_t	position;

		assert_true(pid >= 0);
		if (pid == 0)
		{
			alarm(60);
			for (uint64_t i = 0;; i++)
			{
				if (!ring_open(&ring, path, (64 * KB) << (i / 2 % 2), SYSTEM,
							   EPOCH + i, &report))
					_exit(1);
				ring_close(&ring);
			}
		}
		nanosleep(&pause, NULL);
		kill_writer(pid);
		if (!ring_open(&ring, path, 64 * KB, SYSTEM, round, &report))
			fail_msg("%s", report.message);
		assert_int_equal(report.finding, RING_WHOLE);
		assert_int_equal(report.records, 100);
		position = ring_read_position(&ring);
		for (uint64_t i = 0; i < 100; i++)
		{
			assert_int_equal(take(&ring, &position), i);
			assert_int_equal(ring_epoch(&ring, position), EPOCH);
		}
		assert_end(&ring, position);
		ring_close(&ring);
	}
	assert_false(file_exists(".damaged.1"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TEST(test_threads),
		RING_TEST(test_attach),
		RING_TEST(test_kill),
		RING_TEST(test_kill_opening),
	};

	return RUN_RING_TESTS(tests);
}

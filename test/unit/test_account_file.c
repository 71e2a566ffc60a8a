/*
 * test_account_file.c
 *		Accounts as bytes in a file: what comes back of them, and that nothing
 *		comes of a file that is not whole.
 *
 * Files are put together as the server does it, list by list.
 */
#include "account_test.h"

#include "core/account_file.h"
#include "core/ring.h"

#define SECOND INT64_C(1000000)
#define DAY (24 * 3600 * SECOND)
#define SYSTEM UINT64_C(7123456789012345678)
#define SAVED_AT (INT64_C(812345678) * SECOND + 9)
#define CLOCK (INT64_C(1234567) * SECOND + 891011)
#define BOOT "01234567-89ab-cdef-0123-456789abcdef"

/* What a record has besides names, as it is told in account_file.c. */
#define RECORD_HEAD 8
#define RECORD_BUCKET 56

static Model model;

/* The file that was made last, and the accounts in the order of its records. */
static unsigned char *file;
static size_t file_size;
static int	file_accounts[MAX_BLOCKS];
static int	n_file_accounts;

static void
put(const void *bytes, size_t size)
{
	file = realloc(file, file_size + size + 1);
	memcpy(file + file_size, bytes, size);
	file_size += size;
}

static void
put_byte(unsigned char byte)
{
	put(&byte, 1);
}

/* Its last four bytes are of all that is before them. */
static void
put_crc(void)
{
	uint32_t	crc = ring_crc32c(0, file, file_size);

	put(&crc, sizeof(crc));
}

static void
fix_crc(void)
{
	file_size -= sizeof(uint32_t);
	put_crc();
}

static void
begin_file(int64_t clock, bool clean)
{
	AccountFileHeader header;

	file_size = 0;
	account_file_header(&header, SYSTEM, SAVED_AT, clock, BOOT, clean,
						SAVED_AT - DAY);
	put(&header, sizeof(header));
}

static void
end_file(uint64_t accounts)
{
	AccountFileTrailer trailer = {0};

	trailer.accounts = accounts;
	put(&trailer, offsetof(AccountFileTrailer, crc));
	put_crc();
}

static void
make_file(int64_t clock, bool idle, bool clean)
{
	AccountTable *table = model.table;
	char	   *record = malloc(ACCOUNT_FILE_MAX_RECORD);

	begin_file(clock, clean);
	n_file_accounts = 0;
	for (uint32_t list = 0; list < table->n_lists; list++)
	{
		for (uint32_t n = account_first(table, list); n != 0;
			 n = account_next(table, list, n))
		{
			size_t		size = account_file_record(table,
												   account_at(table, n),
												   clock, idle, record);

			assert_true(size <= ACCOUNT_FILE_MAX_RECORD);
			if (size == 0)
				continue;
			put(record, size);
			for (int i = 0; i < MAX_BLOCKS; i++)
			{
				if (model.accounts[i].number == n)
					file_accounts[n_file_accounts++] = i;
			}
		}
	}
	end_file(n_file_accounts);
	free(record);
}

/* In memory of just its size. */
static AccountFileFinding
check(const void *bytes, size_t size, uint64_t system)
{
	unsigned char *copy = malloc(size > 0 ? size : 1);
	AccountFileFinding finding;

	if (size > 0)
		memcpy(copy, bytes, size);
	finding = account_file_check(size > 0 ? copy : copy + 1, size, system);
	free(copy);
	return finding;
}

static AccountFileFinding
check_file(void)
{
	return check(file, file_size, SYSTEM);
}

static AccountTable *
restore(uint32_t n_blocks, int64_t elapsed, int64_t clock,
		uint64_t *lost)
{
	AccountTable *table = new_table(n_blocks);
	unsigned char *copy = malloc(file_size);

	memcpy(copy, file, file_size);
	assert_int_equal(check_file(), ACCOUNT_FILE_WHOLE);
	*lost = account_file_restore(table, copy, file_size, elapsed, clock,
								 hash_of);
	free(copy);
	return table;
}

/* ---- A model, and what a restart makes of it ---- */

/* A time to save and one to restore, each by the clock of the buckets. */
typedef struct Restart
{
	int64_t		before;
	int64_t		elapsed;
	int64_t		after;
	bool		idle;
	bool		clean;
} Restart;

/* What should be there then, but for times, which are as they were. */
static Model expected;
static uint64_t expected_lost;

static void
random_bucket(AccountBucket *bucket, int64_t clock)
{
	uint32_t	now = (uint32_t) (clock / SECOND);

	bucket->bucket.level = (BucketAmount) next_random() << 60 | next_random();
	bucket->window = next_random() & 1;
	if (bucket->window)
		bucket->bucket.time = SAVED_AT + (int64_t) random_below(DAY);
	else
		bucket->bucket.time = clock + SECOND - (int64_t) random_below(DAY);
	bucket->allowed = random_below(3) == 0 ? next_random() >> 8 :
		random_below(2);
	bucket->refused = random_below(3) == 0 ? next_random() >> 8 :
		random_below(2);
	bucket->per = next_random() & 7;
	bucket->seeded = next_random() & 1;
	bucket->reset = next_random() & 1;
	switch (random_below(8))
	{
		case 0:
			bucket->full_at = ACCOUNT_NEVER;
			break;
		case 1:
			bucket->full_at = ACCOUNT_NEVER - 1 -
				(uint32_t) random_below(99999);
			break;
		case 2:
			bucket->full_at = 0;
			break;
		default:
			bucket->full_at = now - 3 + (uint32_t) random_below(10);
	}
}

static void
fill_model(uint32_t n_blocks, int64_t clock)
{
	char		name[ACCOUNT_MAX_NAME];
	int			n = 0;
	int			misses = 0;

	memset(&model, 0, sizeof(model));
	model.table = new_table(n_blocks);
	while (misses < 10)
	{
		size_t		length = make_name((int) random_below(40), name);
		uint32_t	database = 1 + (uint32_t) random_below(2);
		int			tenant = -1;
		ModelAccount *a = &model.accounts[n];
		int			rules = random_below(9) == 0 ? MAX_RULES : 5;

		/* The first one is a tenant. */
		if (n > 0 && random_below(4) > 0)
		{
			tenant = (int) random_below(n);
			while (model.accounts[tenant].tenant >= 0)
				tenant--;
			database = model.accounts[tenant].database;
		}
		if (model_find(&model, tenant, database, name, length) >= 0 ||
			!insert(&model, tenant, database, name, length))
		{
			misses++;
			continue;
		}
		n++;
		rules = (int) random_below(rules + 1);
		for (int i = 1; i <= rules; i++)
		{
			AccountBucket *bucket = add_bucket(&model, a, i * 50000000);

			if (bucket == NULL)
				break;
			random_bucket(bucket, clock);
			a->buckets[a->n_buckets - 1] = *bucket;
		}
	}
}

static bool
is_saved(const AccountBucket *bucket, const Restart *restart)
{
	bool		full = bucket->full_at != ACCOUNT_NEVER &&
	bucket->full_at * SECOND <= restart->before;

	return !full ||
		(restart->idle && (bucket->allowed > 0 || bucket->refused > 0));
}

/* Its place in what is expected; -1 if there is no room. */
static int
expect_account(uint32_t n_blocks, int tenant, const ModelAccount *like)
{
	int			i = model_find(&expected, tenant, like->database, like->name,
							   like->length);
	uint32_t	used = 0;
	ModelAccount *a;

	if (i >= 0)
		return i;
	for (i = 0; i < MAX_BLOCKS; i++)
	{
		a = &expected.accounts[i];
		if (a->number != 0)
			used += blocks_for(a->length, a->most);
	}
	if (used + blocks_for(like->length, 0) > n_blocks)
		return -1;
	for (i = 0; expected.accounts[i].number != 0; i++)
		;
	a = &expected.accounts[i];
	*a = *like;
	a->number = UINT32_MAX;		/* any, for now */
	a->tenant = tenant;
	a->n_users = a->n_buckets = a->most = 0;
	if (tenant >= 0)
		expected.accounts[tenant].n_users++;
	return i;
}

static bool
expect_bucket(uint32_t n_blocks, ModelAccount *a, const AccountBucket *bucket)
{
	uint32_t	used = 0;

	a->most++;
	for (int i = 0; i < MAX_BLOCKS; i++)
	{
		if (expected.accounts[i].number != 0)
			used += blocks_for(expected.accounts[i].length,
							   expected.accounts[i].most);
	}
	if (used > n_blocks)
	{
		a->most--;
		return false;
	}
	a->buckets[a->n_buckets++] = *bucket;
	return true;
}

/* What comes of the model when the file that was made is restored. */
static void
expect(uint32_t n_blocks, const Restart *restart)
{
	memset(&expected, 0, sizeof(expected));
	expected_lost = 0;
	for (int i = 0; i < n_file_accounts; i++)
	{
		const ModelAccount *from = &model.accounts[file_accounts[i]];
		int			to = from->tenant < 0 ? -1 :
		expect_account(n_blocks, -1, &model.accounts[from->tenant]);
		bool		fits = true;

		if (from->tenant < 0 || to >= 0)
			to = expect_account(n_blocks, to, from);
		fits = to >= 0;
		for (int j = 0; fits && j < from->n_buckets; j++)
		{
			if (is_saved(&from->buckets[j], restart))
				fits = expect_bucket(n_blocks, &expected.accounts[to],
									 &from->buckets[j]);
		}
		expected_lost += !fits;
	}
}

/* The time of an event by the clock after the restart. */
static int64_t
moved(int64_t time, const Restart *restart)
{
	return time - restart->before - restart->elapsed + restart->after;
}

static void
check_full_at(uint32_t full_at, uint32_t before, const Restart *restart)
{
	int64_t		saved = moved(restart->before, restart);
	int64_t		due = moved(before * SECOND, restart);

	if (before == ACCOUNT_NEVER)
		assert_int_equal(full_at, ACCOUNT_NEVER);
	else if (before * SECOND <= restart->before)
	{
		/* It was full when it was saved, whenever it became so. */
		assert_true(full_at * SECOND < (saved < 0 ? 0 : saved) + SECOND);
	}
	else
	{
		/* Never too early, and not much too late. */
		assert_true(full_at * SECOND >= due ||
					full_at == ACCOUNT_NEVER);
		assert_true(full_at * SECOND < (due < 0 ? 0 : due) + 2 * SECOND);
	}
}

static void
check_restored_account(AccountTable *table, ModelAccount *a,
					   const Restart *restart)
{
	AccountKey	key = key_of_account(&expected, a);
	Account    *account;
	AccountBucket *bucket = NULL;
	char		name[ACCOUNT_MAX_NAME];
	int			n = 0;

	account = account_find(table, &key);
	assert_non_null(account);
	a->number = account_number(table, account);
	assert_int_equal(account_name(table, account, name), a->length);
	assert_memory_equal(name, a->name, a->length);
	assert_int_equal(account->database, a->database);
	if (a->tenant < 0)
		assert_int_equal(account->tenant, a->n_users);
	else
		assert_int_equal(account->tenant,
						 expected.accounts[a->tenant].number);
	assert_int_equal(account->flags, a->tenant < 0 ? 0 : ACCOUNT_USER);
	assert_int_equal(account->stamp, 0);
	while ((bucket = account_next_bucket(table, account, bucket)) != NULL)
	{
		AccountBucket *same = model_bucket(a, bucket->rule);
		AccountBucket wanted;

		assert_non_null(same);
		n++;
		wanted = *same;
		if (!wanted.window)
			wanted.bucket.time = moved(wanted.bucket.time, restart);

		/* Calls may be missing, but not of what was set back meanwhile. */
		if (!restart->clean && !wanted.reset)
			wanted.seeded = false;
		check_full_at(bucket->full_at, wanted.full_at, restart);
		wanted.full_at = bucket->full_at;
		assert_same_bucket(bucket, &wanted);
	}
	assert_int_equal(n, a->n_buckets);
}

static void
check_restored(AccountTable *table, const Restart *restart)
{
	int			n = 0;

	/* Tenants, whose numbers are needed to find their users. */
	for (int i = 0; i < MAX_BLOCKS; i++)
	{
		ModelAccount *a = &expected.accounts[i];

		if (a->number != 0 && a->tenant < 0)
			check_restored_account(table, a, restart);
	}
	for (int i = 0; i < MAX_BLOCKS; i++)
	{
		ModelAccount *a = &expected.accounts[i];

		if (a->number != 0 && a->tenant >= 0)
			check_restored_account(table, a, restart);
	}

	/* And nothing else. */
	for (uint32_t list = 0; list < table->n_lists; list++)
	{
		for (uint32_t i = account_first(table, list); i != 0;
			 i = account_next(table, list, i))
			n++;
	}
	assert_int_equal(n, model_count(&expected));
	expected.table = table;
	assert_int_equal(table->n_free, model_free(&expected));
}

static void
run_restart(const Restart *restart)
{
	uint32_t	n_blocks = 1 + (uint32_t) random_below(MAX_BLOCKS);
	AccountTable *table;
	uint64_t	lost;

	fill_model(n_blocks, restart->before);
	make_file(restart->before, restart->idle, restart->clean);

	expect(n_blocks, restart);
	assert_int_equal(expected_lost, 0);
	table = restore(n_blocks, restart->elapsed, restart->after, &lost);
	assert_int_equal(lost, 0);
	check_restored(table, restart);
	free(table);

	/* Into less room, down to nearly none. */
	for (uint32_t n = n_blocks - 1; n > 0; n = n * 2 / 3)
	{
		expect(n, restart);
		table = restore(n, restart->elapsed, restart->after, &lost);
		assert_int_equal(lost, expected_lost);
		check_restored(table, restart);
		free(table);
	}
	free(model.table);
}

/* ---- What comes back ---- */

static void
test_restore(void **state)
{
	/* The machine went on; was started anew; or it is another one. */
	static const Restart restarts[] = {
		{CLOCK, 0, CLOCK, false, false},
		{CLOCK, 5 * SECOND, CLOCK + 5 * SECOND, false, false},
		{CLOCK, DAY + 7, CLOCK + DAY + 7, false, false},
		{CLOCK, 40 * SECOND, 20 * SECOND + 999999, false, false},
		{CLOCK, 365 * DAY + 1, 33 * SECOND, false, false},
		{CLOCK, 2 * SECOND, 5000 * DAY + 3, false, false},
		{CLOCK, 0, 0, false, false},
		{5 * SECOND - 1, 90 * SECOND, 95 * SECOND - 1, false, false},
	};

	for (int i = 0; i < 30; i++)
	{
		for (size_t j = 0; j < COUNT(restarts); j++)
		{
			Restart		restart = restarts[j];

			restart.idle = next_random() & 1;
			restart.clean = next_random() & 1;
			hash_mask = i % 5 == 0 ? 0 : UINT32_MAX;
			run_restart(&restart);
		}
	}
	for (int i = 0; i < 100; i++)
	{
		Restart		restart = {0};

		restart.before = (int64_t) random_below(100 * DAY) + 5 * SECOND;
		restart.elapsed = (int64_t) random_below(next_random() & 1 ?
												 100 * DAY : 10 * SECOND);
		restart.after = next_random() & 1 ?
			restart.before + restart.elapsed :
			(int64_t) random_below(100 * DAY);
		restart.idle = next_random() & 1;
		restart.clean = next_random() & 1;
		run_restart(&restart);
	}
}

/*
 * A token bucket goes on as if there had been no restart: the same is left of
 * it at the same time, and it is full when it says so.
 */
static void
test_refill(void **state)
{
	for (int i = 0; i < 3000; i++)
	{
		BucketLimit limit = {0};
		int64_t		before = 10 * DAY + (int64_t) random_below(DAY);
		int64_t		elapsed = (int64_t) random_below(random_below(2) ?
													 2 * DAY : 5 * SECOND);
		int64_t		after = random_below(2) ? before + elapsed :
		(int64_t) random_below(20 * DAY);
		int64_t		wait;
		ModelAccount *a = &model.accounts[0];
		AccountTable *table;
		AccountKey	key;
		AccountBucket *bucket;
		Bucket		lived;
		Bucket		restored;
		uint64_t	lost;

		limit.max = (BucketAmount) (1 + random_below(1000)) * BUCKET_UNIT;
		limit.capacity = limit.max;
		limit.period = 1 + (int64_t) random_below(DAY);
		memset(&model, 0, sizeof(model));
		model.table = new_table(1);
		assert_true(insert(&model, -1, 1, "tenant", 6));
		key = key_of_account(&model, a);
		bucket = add_bucket(&model, a, 1);
		bucket_advance(&bucket->bucket, &limit,
					   before - (int64_t) random_below(10 * SECOND), 0);
		bucket_take(&bucket->bucket, &limit,
					limit.capacity / 1000 * (1 + random_below(1000)));
		lived = bucket->bucket;

		/* The first second that begins when it is full, and no later one. */
		wait = bucket_reset_after(&lived, &limit, before);
		bucket->full_at = (uint32_t) ((before + wait + SECOND - 1) / SECOND);
		make_file(before, false, true);
		table = restore(1, elapsed, after, &lost);
		if (wait > 0)
		{
			assert_int_equal(n_file_accounts, 1);
			bucket = account_bucket(table, account_find(table, &key), 1);
			restored = bucket->bucket;
			bucket_advance(&restored, &limit, bucket->full_at * SECOND, 0);
			assert_true(bucket_is_full(&restored, &limit));

			restored = bucket->bucket;
			bucket_advance(&lived, &limit, before + elapsed, 0);
			bucket_advance(&restored, &limit, after, 0);
			assert_true(lived.level == restored.level);
			assert_int_equal(bucket_reset_after(&lived, &limit,
												before + elapsed),
							 bucket_reset_after(&restored, &limit, after));
		}
		free(table);
		free(model.table);
	}
}

/* Records may stand in any order, and twice; then the last one holds. */
static void
test_order(void **state)
{
	const Restart restart = {CLOCK, 3 * SECOND, CLOCK + 3 * SECOND, true, true};
	size_t		starts[MAX_BLOCKS + 1];

	for (int round = 0; round < 50; round++)
	{
		unsigned char *old;
		size_t		at = sizeof(AccountFileHeader);
		uint32_t	n_blocks = 1 + (uint32_t) random_below(MAX_BLOCKS);
		AccountTable *table;
		uint64_t	lost;

		fill_model(n_blocks, CLOCK);
		make_file(CLOCK, true, true);
		old = malloc(file_size);
		memcpy(old, file, file_size);
		for (int i = 0; i < n_file_accounts; i++)
		{
			const ModelAccount *a = &model.accounts[file_accounts[i]];

			starts[i] = at;
			at += RECORD_HEAD + a->length;
			if (a->tenant >= 0)
				at += model.accounts[a->tenant].length;
			for (int j = 0; j < a->n_buckets; j++)
				at += is_saved(&a->buckets[j], &restart) ? RECORD_BUCKET : 0;
		}
		starts[n_file_accounts] = at;
		assert_int_equal(at + sizeof(AccountFileTrailer), file_size);

		begin_file(CLOCK, true);
		for (int i = 0; i < 2 * n_file_accounts; i++)
		{
			/* Backwards, and then as they were. */
			int			n = i < n_file_accounts ? n_file_accounts - 1 - i :
			i - n_file_accounts;
			static unsigned char record[ACCOUNT_FILE_MAX_RECORD];
			size_t		size = starts[n + 1] - starts[n];

			memcpy(record, old + starts[n], size);

			/* What was counted, of the first bucket, is another number. */
			if (i < n_file_accounts)
			{
				const ModelAccount *a = &model.accounts[file_accounts[n]];
				size_t		names = a->length;

				if (a->tenant >= 0)
					names += model.accounts[a->tenant].length;
				memset(record + RECORD_HEAD + names + 24, 0x55, 16);
			}
			put(record, size);
		}
		end_file(2 * n_file_accounts);
		expect(n_blocks, &restart);
		table = restore(n_blocks, restart.elapsed, restart.after, &lost);
		assert_int_equal(lost, 0);
		check_restored(table, &restart);
		free(table);
		free(old);
		free(model.table);
	}
}

/* ---- What is written ---- */

static void
put_number(uint64_t number, int size)
{
	const uint16_t n16 = (uint16_t) number;
	const uint32_t n32 = (uint32_t) number;

	if (size == 2)
		put(&n16, 2);
	else if (size == 4)
		put(&n32, 4);
	else
		put(&number, 8);
}

static void
put_bucket(BucketAmount level, int64_t time, uint64_t allowed,
		   uint64_t refused, int32_t rule, uint32_t full_in, int per,
		   bool window, bool seeded, bool reset)
{
	put(&level, 16);
	put_number(time, 8);
	put_number(allowed, 8);
	put_number(refused, 8);
	put_number(rule, 4);
	put_number(full_in, 4);
	put_byte(per);
	put_byte(window);
	put_byte(seeded);
	put_byte(reset);
	put_number(0, 4);
}

/* To the byte, as a file has to be read by what comes after this version. */
static void
test_format(void **state)
{
	static const char user[ACCOUNT_NAME + 3] = "user";
	unsigned char *written;
	size_t		written_size;
	AccountBucket *bucket;

	memset(&model, 0, sizeof(model));
	model.table = new_table(20);
	assert_true(insert(&model, -1, 77, "tenant", 6));
	assert_true(insert(&model, 0, 77, user, sizeof(user)));
	assert_true(insert(&model, 0, 77, "unused", 6));

	/* All of them would be in one list: the last one is the first. */
	bucket = add_bucket(&model, &model.accounts[0], 5);
	bucket->bucket.level = ((BucketAmount) 3 << 64) + 4;
	bucket->bucket.time = CLOCK - 1000;
	bucket->allowed = 10;
	bucket->refused = 11;
	bucket->full_at = 1234567 + 60;
	bucket->per = 3;
	bucket = add_bucket(&model, &model.accounts[0], -6);
	bucket->bucket.time = SAVED_AT + 99;
	bucket->full_at = ACCOUNT_NEVER;
	bucket->window = true;
	bucket->seeded = true;
	bucket->reset = true;
	make_file(CLOCK, false, true);
	written = malloc(file_size);
	memcpy(written, file, file_size);
	written_size = file_size;

	file_size = 0;
	put("METRACCT", 8);
	put_number(0x0A0B0C0D, 4);
	put_number(1, 4);
	put_number(SYSTEM, 8);
	put_number(SAVED_AT, 8);
	put_number(CLOCK, 8);
	put(BOOT "\0\0\0", ACCOUNT_FILE_BOOT);
	put_number(1, 8);
	put_number(SAVED_AT - DAY, 8);
	assert_int_equal(file_size, 96);
	put_number(77, 4);
	put_number(2, 2);
	put_byte(6);
	put_byte(0);
	put("tenant", 6);
	put_bucket(((BucketAmount) 3 << 64) + 4, 1000, 10, 11, 5, 60, 3, false,
			   false, false);
	put_bucket(0, SAVED_AT + 99, 0, 0, -6, ACCOUNT_NEVER, 0, true, true,
			   true);
	put_number(1, 8);
	put_number(0, 4);
	put_crc();
	assert_int_equal(file_size, written_size);
	assert_memory_equal(file, written, written_size);
	free(written);

	/* A user's. */
	account_remove(model.table,
				   account_at(model.table, model.accounts[2].number));
	written = malloc(ACCOUNT_FILE_MAX_RECORD);
	bucket = add_bucket(&model, &model.accounts[1], 1);
	bucket->full_at = 1234568;
	bucket->bucket.time = CLOCK + 5;
	written_size = account_file_record(model.table,
									   account_at(model.table,
												  model.accounts[1].number),
									   CLOCK, false, written);
	file_size = 0;
	put_number(77, 4);
	put_number(1, 2);
	put_byte(6);
	put_byte(sizeof(user));
	put("tenant", 6);
	put(user, sizeof(user));
	put_bucket(0, -5, 0, 0, 1, 1, 0, false, false, false);
	assert_int_equal(file_size, written_size);
	assert_memory_equal(file, written, written_size);
	free(written);
	free(model.table);
}

static void
test_header(void **state)
{
	AccountFileHeader header;
	char		boot[ACCOUNT_FILE_BOOT + 20];

	memset(boot, 'b', sizeof(boot));
	boot[sizeof(boot) - 1] = '\0';
	memset(&header, 0xA5, sizeof(header));
	account_file_header(&header, SYSTEM, -5, 7, boot, false, -9);
	assert_int_equal(header.system_identifier, SYSTEM);
	assert_int_equal(header.saved_at, -5);
	assert_int_equal(header.clock, 7);
	assert_int_equal(header.clean, 0);
	assert_int_equal(header.counting_since, -9);
	assert_int_equal(strlen(header.boot), ACCOUNT_FILE_BOOT - 1);
	assert_memory_equal(header.boot, boot, ACCOUNT_FILE_BOOT - 1);
	account_file_header(&header, SYSTEM, -5, 7, "", true, 0);
	assert_int_equal(header.clean, 1);
	for (int i = 0; i < ACCOUNT_FILE_BOOT; i++)
		assert_int_equal(header.boot[i], 0);
}

/* Which buckets are written, and the greatest record. */
static void
test_record(void **state)
{
	static char long_name[ACCOUNT_MAX_NAME];
	char	   *record = malloc(ACCOUNT_FILE_MAX_RECORD);
	const uint32_t now = CLOCK / SECOND;
	AccountBucket *bucket;
	Account    *account;
	int			most = 0;

	memset(&model, 0, sizeof(model));
	model.table = new_table(2000);
	assert_true(insert(&model, -1, 1, long_name, sizeof(long_name)));
	assert_true(insert(&model, 0, 1, long_name, sizeof(long_name)));
	account = account_at(model.table, model.accounts[1].number);
	for (int idle = 0; idle < 2; idle++)
		assert_int_equal(account_file_record(model.table, account, CLOCK,
											 idle, record), 0);
	bucket = account_add_bucket(model.table, account, 1);
	for (int count = 0; count < 3; count++)
	{
		bucket->allowed = count == 1;
		bucket->refused = count == 2;
		for (uint32_t full_at = now - 2; full_at <= now + 2; full_at++)
		{
			bucket->full_at = full_at;
			for (int idle = 0; idle < 2; idle++)
				assert_int_equal(account_file_record(model.table, account,
													 CLOCK, idle, record),
								 full_at > now || (idle && count > 0) ?
								 8 + 128 + 128 + 56 : 0);
		}
		bucket->full_at = ACCOUNT_NEVER;
		assert_int_equal(account_file_record(model.table, account, CLOCK,
											 false, record),
						 8 + 128 + 128 + 56);
	}

	/* One more each, until it would be too large. */
	for (int rule = 2; rule <= 2000; rule++)
	{
		size_t		size;

		bucket = account_add_bucket(model.table, account, rule);
		assert_non_null(bucket);
		bucket->full_at = ACCOUNT_NEVER;
		size = account_file_record(model.table, account, CLOCK, false, record);
		if (8 + 128 + 128 + rule * 56 <= ACCOUNT_FILE_MAX_RECORD)
		{
			assert_int_equal(size, 8 + 128 + 128 + rule * 56);
			most = rule;
		}
		else
			assert_int_equal(size, 0);
	}

	/* Full ones do not count for that. */
	for (int rule = most + 1; rule <= 2000; rule++)
		account_bucket(model.table, account, rule)->full_at = now;
	begin_file(CLOCK, true);
	put(record, account_file_record(model.table, account, CLOCK, false,
									record));
	end_file(1);
	assert_int_equal(check_file(), ACCOUNT_FILE_WHOLE);
	free(record);
	free(model.table);
}

/* ---- What is no whole file ---- */

/* A tenant and two users, with names of all kinds and some buckets. */
static void
make_sample(void)
{
	static char name[ACCOUNT_MAX_NAME];

	memset(&model, 0, sizeof(model));
	model.table = new_table(20);
	assert_true(insert(&model, -1, 1, "tenant", 6));
	assert_true(insert(&model, 0, 1, "u", 1));
	assert_true(insert(&model, 0, 1, name, sizeof(name)));
	for (int i = 0; i < 3; i++)
	{
		for (int rule = 1; rule <= i + 1; rule++)
		{
			AccountBucket *bucket = add_bucket(&model, &model.accounts[i],
											   rule);

			random_bucket(bucket, CLOCK);
			bucket->full_at = ACCOUNT_NEVER;
		}
	}
	make_file(CLOCK, true, true);
	free(model.table);
	assert_int_equal(check_file(), ACCOUNT_FILE_WHOLE);
}

/*
 * What a check says of a file whose checksum is right may be anything, but if
 * it says that it is whole, it must be possible to restore it.
 */
static void
try_file(void)
{
	if (check_file() == ACCOUNT_FILE_WHOLE)
	{
		uint64_t	lost;
		AccountTable *table = restore(10, 1, CLOCK, &lost);

		for (uint32_t list = 0; list < table->n_lists; list++)
		{
			for (uint32_t n = account_first(table, list); n != 0;
				 n = account_next(table, list, n))
			{
				char		name[ACCOUNT_MAX_NAME];

				(void) account_name(table, account_at(table, n), name);
				(void) account_is_idle(table, account_at(table, n), 0);
			}
		}
		free(table);
	}
}

static void
test_truncated(void **state)
{
	make_sample();
	for (size_t size = 0; size < file_size; size++)
		assert_int_equal(check(file, size, SYSTEM),
						 size < 8 ? ACCOUNT_FILE_NONE : ACCOUNT_FILE_TORN);

	/* And a larger one, whose end may look like that of a file. */
	fill_model(60, CLOCK);
	make_file(CLOCK, true, false);
	free(model.table);
	assert_true(file_size > 4000);
	for (size_t size = 0; size < file_size; size++)
		assert_int_equal(check(file, size, SYSTEM),
						 size < 8 ? ACCOUNT_FILE_NONE : ACCOUNT_FILE_TORN);
}

static void
test_longer(void **state)
{
	size_t		size;

	make_sample();
	size = file_size;
	for (int byte = 0; byte < 256; byte++)
	{
		file_size = size;
		for (int i = 0; i < 100; i++)
		{
			put_byte(byte);
			assert_int_equal(check_file(), ACCOUNT_FILE_TORN);
		}
	}

	/* Twice the file. */
	file_size = size;
	file = realloc(file, 2 * size);
	memcpy(file + size, file, size);
	assert_int_equal(check(file, 2 * size, SYSTEM), ACCOUNT_FILE_TORN);
	assert_int_equal(check(file, size, SYSTEM), ACCOUNT_FILE_WHOLE);
}

static AccountFileFinding
finding_of(size_t at)
{
	if (at < offsetof(AccountFileHeader, byte_order))
		return ACCOUNT_FILE_NONE;
	if (at < offsetof(AccountFileHeader, version))
		return ACCOUNT_FILE_OTHER_BYTE_ORDER;
	if (at < offsetof(AccountFileHeader, system_identifier))
		return ACCOUNT_FILE_OTHER_VERSION;
	return ACCOUNT_FILE_TORN;
}

static void
test_flipped(void **state)
{
	make_sample();
	for (size_t i = 0; i < file_size; i++)
	{
		for (int bits = 1; bits < 256; bits++)
		{
			file[i] ^= bits;
			assert_int_equal(check_file(), finding_of(i));
			file[i] ^= bits;
		}
	}
	assert_int_equal(check_file(), ACCOUNT_FILE_WHOLE);

	/* With a checksum that is right. */
	for (size_t i = 0; i < file_size - sizeof(uint32_t); i++)
	{
		for (int bit = 0; bit < 8; bit++)
		{
			file[i] ^= 1 << bit;
			fix_crc();
			if (i < offsetof(AccountFileHeader, system_identifier))
				assert_int_equal(check_file(), finding_of(i));
			else if (i < offsetof(AccountFileHeader, saved_at))
				assert_int_equal(check_file(), ACCOUNT_FILE_OTHER_SYSTEM);
			else if (i >= file_size - sizeof(AccountFileTrailer) &&
					 i < file_size - sizeof(AccountFileTrailer) + 8)
				assert_int_equal(check_file(), ACCOUNT_FILE_TORN);
			else
				try_file();
			file[i] ^= 1 << bit;
		}
	}
	fix_crc();
	assert_int_equal(check_file(), ACCOUNT_FILE_WHOLE);
	for (int bit = 0; bit < 64; bit++)
		assert_int_equal(check(file, file_size, SYSTEM ^ UINT64_C(1) << bit),
						 ACCOUNT_FILE_OTHER_SYSTEM);
}

/* As a machine of the other byte order would have written it. */
static void
test_byte_order(void **state)
{
	static const size_t numbers[][2] = {
		{offsetof(AccountFileHeader, byte_order), 4},
		{offsetof(AccountFileHeader, version), 4},
		{offsetof(AccountFileHeader, system_identifier), 8},
		{offsetof(AccountFileHeader, clean), 8},
	};

	make_sample();
	for (size_t i = 0; i < COUNT(numbers); i++)
	{
		unsigned char *number = file + numbers[i][0];

		for (size_t j = 0; j < numbers[i][1] / 2; j++)
		{
			unsigned char byte = number[j];

			number[j] = number[numbers[i][1] - 1 - j];
			number[numbers[i][1] - 1 - j] = byte;
		}
	}
	assert_int_equal(check_file(), ACCOUNT_FILE_OTHER_BYTE_ORDER);
	fix_crc();
	assert_int_equal(check_file(), ACCOUNT_FILE_OTHER_BYTE_ORDER);
}

static void
put_head(uint32_t buckets, int tenant_length, int user_length)
{
	put_number(1, 4);
	put_number(buckets, 2);
	put_byte(tenant_length);
	put_byte(user_length);
}

static void
put_zeros(size_t n)
{
	static const char zeros[5000];

	put(zeros, n);
}

/* Records that are none, though the checksum is right. */
static void
test_bad_records(void **state)
{
	AccountTable *table;
	AccountKey	key = {0};
	AccountBucket *bucket;
	uint64_t	lost;

	begin_file(CLOCK, true);
	end_file(0);
	assert_int_equal(check_file(), ACCOUNT_FILE_WHOLE);
	table = restore(1, 0, CLOCK, &lost);
	assert_int_equal(lost, 0);
	assert_int_equal(table->n_free, 1);
	free(table);
	for (uint64_t bit = 1; bit != 0; bit <<= 1)
	{
		begin_file(CLOCK, true);
		end_file(bit);
		assert_int_equal(check_file(), ACCOUNT_FILE_TORN);
	}

	/* As much as is said, a byte less, and one more. */
	for (uint32_t buckets = 0; buckets < 3; buckets++)
	{
		for (int tenant = 1; tenant < 256; tenant++)
		{
			for (int user = 0; user < 256; user += 1 + user / 40 * 13)
			{
				size_t		size = tenant + user + buckets * RECORD_BUCKET;

				for (int more = -1; more <= 1; more++)
				{
					begin_file(CLOCK, true);
					put_head(buckets, tenant, user);
					put_zeros(size + more);
					end_file(1);
					assert_int_equal(check_file(),
									 more == 0 && tenant <= 128 && user <= 128 ?
									 ACCOUNT_FILE_WHOLE : ACCOUNT_FILE_TORN);
				}
			}
		}
	}

	/* More buckets than the rest of the file has. */
	for (uint32_t buckets = 2; buckets < 65536; buckets += 1 + buckets / 50)
	{
		begin_file(CLOCK, true);
		put_head(buckets, 1, 1);
		put_zeros(2 + RECORD_BUCKET);
		end_file(1);
		assert_int_equal(check_file(), ACCOUNT_FILE_TORN);
	}

	/* A trailer that begins in the header. */
	for (size_t size = 20; size < sizeof(AccountFileHeader) + 16; size++)
	{
		begin_file(CLOCK, false);
		put_zeros(16);
		file_size = size - sizeof(uint32_t);
		put_crc();
		assert_int_equal(check_file(), ACCOUNT_FILE_TORN);
	}

	/* A bucket of no rule takes no room. */
	begin_file(CLOCK, true);
	put_head(3, 1, 0);
	put_byte('t');
	put_bucket(1, 1, 1, 1, 0, 9, 0, false, false, false);
	put_bucket(2, 2, 2, 2, 5, 9, 0, false, false, false);
	put_bucket(3, 3, 3, 3, 0, 9, 0, false, false, false);
	end_file(1);
	table = restore(2, 0, CLOCK, &lost);
	assert_int_equal(lost, 0);
	assert_int_equal(table->n_free, 1);
	key.hash = hash_of("t", 1);
	key.database = 1;
	key.name = "t";
	key.length = 1;
	bucket = account_next_bucket(table, account_find(table, &key), NULL);
	assert_int_equal(bucket->rule, 5);
	assert_int_equal(bucket->allowed, 2);
	assert_null(account_next_bucket(table, account_find(table, &key), bucket));
	free(table);

	/* A part of a head, after a whole record. */
	for (size_t n = 1; n < RECORD_HEAD; n++)
	{
		begin_file(CLOCK, true);
		put_head(0, 1, 0);
		put_byte('t');
		put_zeros(n);
		end_file(1);
		assert_int_equal(check_file(), ACCOUNT_FILE_TORN);
		begin_file(CLOCK, true);
		put_head(0, 1, 0);
		put_byte('t');
		put_zeros(n);
		end_file(2);
		assert_int_equal(check_file(), ACCOUNT_FILE_TORN);
	}
}

static void
test_garbage(void **state)
{
	assert_int_equal(account_file_check(NULL, 0, SYSTEM), ACCOUNT_FILE_NONE);
	assert_int_equal(check("", 0, SYSTEM), ACCOUNT_FILE_NONE);
	assert_int_equal(check("METRACCT", 8, SYSTEM), ACCOUNT_FILE_TORN);
	assert_int_equal(check("METRQUEU", 8, SYSTEM), ACCOUNT_FILE_NONE);
	for (int i = 0; i < 20000; i++)
	{
		size_t		size = random_below(400);
		int			kind = (int) random_below(3);

		/* Nothing of a file, its first bytes, or its header. */
		begin_file(CLOCK, true);
		file_size = kind == 0 ? 0 : kind == 1 ? random_below(8) : file_size;
		while (size-- > 0)
			put_byte((unsigned char) next_random());
		if (kind == 2)
			assert_int_equal(check_file(), ACCOUNT_FILE_TORN);
		else if (file_size < 8 || memcmp(file, "METRACCT", 8) != 0)
			assert_int_equal(check_file(), ACCOUNT_FILE_NONE);
		else
			assert_int_not_equal(check_file(), ACCOUNT_FILE_WHOLE);
	}
	for (size_t size = 0; size < 5000; size++)
	{
		file_size = 0;
		put_zeros(size);
		assert_int_equal(check_file(), ACCOUNT_FILE_NONE);
	}
}

static int
free_file(void **state)
{
	free(file);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ACCOUNT_TEST(test_restore),
		ACCOUNT_TEST(test_refill),
		ACCOUNT_TEST(test_order),
		ACCOUNT_TEST(test_format),
		ACCOUNT_TEST(test_header),
		ACCOUNT_TEST(test_record),
		ACCOUNT_TEST(test_truncated),
		ACCOUNT_TEST(test_longer),
		ACCOUNT_TEST(test_flipped),
		ACCOUNT_TEST(test_byte_order),
		ACCOUNT_TEST(test_bad_records),
		ACCOUNT_TEST(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, free_file);
}

/*
 * test_account_place.c
 *		The table of accounts: how large it is, and where in it they are.
 */
#include "account_test.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/bytes.h"

/* ---- Hashes of users ---- */

/*
 * The lists and partitions of many hashes are as many as those of random
 * numbers: 8192 balls into 8192 lists leave e^-1 of them empty, and the fullest
 * one hardly ever has more than 12.
 */
static void
check_spread(const uint32_t *hashes, int n)
{
	static int	lists[8192];
	const AccountTable table = {.n_lists = COUNT(lists)};
	int			partitions[ACCOUNT_PARTITIONS] = {0};
	int			empty = 0;

	assert_int_equal(n, COUNT(lists));
	memset(lists, 0, sizeof(lists));
	for (int i = 0; i < n; i++)
	{
		lists[account_list(&table, hashes[i])]++;
		partitions[ACCOUNT_PARTITION(hashes[i])]++;
	}
	for (size_t i = 0; i < COUNT(lists); i++)
	{
		empty += lists[i] == 0;
		assert_true(lists[i] <= 12);
	}
	assert_true(empty > n * 0.34 && empty < n * 0.40);
	for (int i = 0; i < ACCOUNT_PARTITIONS; i++)
		assert_true(partitions[i] > 64 / 2 && partitions[i] < 64 * 2);
}

/*
 * Also users of one tenant, and those of one name: none has a list for itself,
 * and no partition has them all.
 */
static void
test_user_hashes(void **state)
{
	static uint32_t hashes[8192];
	const int	n = COUNT(hashes);

	for (int i = 0; i < n; i++)
		hashes[i] = account_user_hash((uint32_t) next_random(), 12345);
	check_spread(hashes, n);
	for (int i = 0; i < n; i++)
		hashes[i] = account_user_hash(12345, (uint32_t) next_random());
	check_spread(hashes, n);

	/* not even a tenant and a user of the same name are together */
	for (int i = 0; i < n; i++)
	{
		uint32_t	hash = (uint32_t) next_random();

		hashes[i] = account_user_hash(hash, hash);
	}
	check_spread(hashes, n);
}

/* ---- Sizes ---- */

static void
check_size(uint32_t n)
{
	size_t		size = account_table_size(n);

	assert_int_equal(size % ACCOUNT_BLOCK, 0);
	assert_true(size > (size_t) n * ACCOUNT_BLOCK);
	assert_int_equal(account_table_blocks(size), n);
	assert_int_equal(account_table_blocks(size + ACCOUNT_BLOCK - 1), n);
	if (n > ACCOUNT_PARTITIONS + 1)
		assert_int_equal(account_table_blocks(size - 1), n - 1);
	if (n < ACCOUNT_MAX_BLOCKS)
	{
		size_t		next = account_table_size(n + 1);

		assert_true(next >= size + ACCOUNT_BLOCK);
		assert_int_equal(account_table_blocks(next - 1), n);
	}
}

static void
test_size(void **state)
{
	/* the blocks of the smallest table are those that lists begin in */
	for (uint32_t n = 1; n <= ACCOUNT_PARTITIONS; n++)
		assert_int_equal(account_table_blocks(account_table_size(n)), ACCOUNT_PARTITIONS);
	for (uint32_t n = ACCOUNT_PARTITIONS + 1; n < 5000; n++)
		check_size(n);
	for (int bit = 8; bit <= 30; bit++)
	{
		check_size((UINT32_C(1) << bit) - 1);
		check_size(UINT32_C(1) << bit);
		if (bit < 30)
			check_size((UINT32_C(1) << bit) + 1);
	}
	for (int i = 0; i < 10000; i++)
		check_size(ACCOUNT_PARTITIONS + 1 +
				   (uint32_t) random_below(ACCOUNT_MAX_BLOCKS - ACCOUNT_PARTITIONS));

	/* At least one, and no more than there can be. */
	assert_int_equal(account_table_blocks(0), 1);
	assert_int_equal(account_table_blocks(account_table_size(1) - 1), 1);
	assert_int_equal(account_table_blocks(SIZE_MAX), ACCOUNT_MAX_BLOCKS);
}

/*
 * Header, bits and blocks are apart, and together fill what was asked for.  There
 * are blocks for the lists of all partitions, also if fewer may be used.
 */
static void
test_layout(void **state)
{
	for (uint32_t n = 1; n <= 2000; n = n * 5 / 4 + 1)
	{
		AccountTable *table = new_table(n);
		char	   *memory = (char *) table;
		char	   *blocks = (char *) account_at(table, 1);
		uint32_t	n_all = n < ACCOUNT_PARTITIONS ? ACCOUNT_PARTITIONS : n;

		assert_int_equal(table->n_blocks, n);
		assert_int_equal(table->n_lists % ACCOUNT_PARTITIONS, 0);
		assert_true(table->n_lists <= n_all);
		assert_true(table->n_lists + ACCOUNT_PARTITIONS > n_all);
		assert_true((char *) memory + table->lists_used >=
					memory + sizeof(AccountTable) + n / 8);
		assert_true(blocks >= memory + table->lists_used +
					(table->n_lists * ACCOUNT_BLOCK + 4095) / 4096);
		assert_int_equal((uintptr_t) blocks % ACCOUNT_BLOCK, 0);
		assert_int_equal((char *) account_at(table, n_all) + ACCOUNT_BLOCK - memory,
						 account_table_size(n));
		for (uint32_t i = 1; i <= n; i++)
		{
			assert_ptr_equal(account_at(table, i),
							 blocks + (i - 1) * ACCOUNT_BLOCK);
			assert_int_equal(account_number(table, account_at(table, i)), i);
		}

		/* They look where there may be nothing. */
		for (uint32_t hash = 0; hash < 300; hash++)
		{
			account_prefetch(table, hash * 2654435761u);
			account_prefetch_rest(table, hash * 2654435761u);
		}
		free(table);
	}
}

static size_t
pages_in_use(void *memory, size_t size)
{
	const size_t page = (size_t) sysconf(_SC_PAGESIZE);
	size_t		n = (size + page - 1) / page;
	unsigned char *in_use = malloc(n);
	size_t		n_in_use = 0;

	assert_non_null(in_use);
	assert_int_equal(mincore(memory, size, in_use), 0);
	for (size_t i = 0; i < n; i++)
		n_in_use += in_use[i] & 1;
	free(in_use);
	return n_in_use;
}

/*
 * A large table costs no more memory than a page for each account, also for who
 * walks through all lists, and for who looks for accounts that are not there one
 * for each place where they might be.
 */
static void
test_large(void **state)
{
	const uint32_t n = 1000000;
	const size_t size = account_table_size(n);
	const size_t page = (size_t) sysconf(_SC_PAGESIZE);
	const uint32_t some = 1000;
	void	   *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
							  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	AccountTable *table;
	AccountKey	key = {0};
	size_t		at_first;
	size_t		found = 0;
	size_t		elsewhere = 0;
	double		expected = 0;
	uint32_t	number;

	assert_true(size < (size_t) n * (ACCOUNT_BLOCK + 1));
	assert_ptr_not_equal(memory, MAP_FAILED);
	table = account_table_init(memory, n);
	at_first = pages_in_use(memory, size);
	assert_in_range(at_first * page, 1, n / 4);

	/* They take the same ones when they come again. */
	key.database = 1;
	key.name = (const char *) &number;
	key.length = sizeof(number);
	for (int round = 0; round < 3; round++)
	{
		for (number = 0; number < some; number++)
		{
			key.hash = hash_of(key.name, key.length);
			assert_non_null(account_insert(table, &key));
		}
		found = 0;
		for (uint32_t list = 0; list < table->n_lists; list++)
			found += account_first(table, list) != 0;
		assert_in_range(found, some - some / 50, some);
		for (number = 0; number < some; number++)
		{
			key.hash = hash_of(key.name, key.length);
			account_remove(table, account_find(table, &key));
		}
	}
	assert_in_range(pages_in_use(memory, size) - at_first, some / 2, some + some / 32);
	for (; number < 2 * some; number++)
	{
		key.hash = hash_of(key.name, key.length);
		assert_null(account_find(table, &key));
	}
	assert_in_range(pages_in_use(memory, size) - at_first, some,
					(1 + ACCOUNT_HOMES) * some + some / 32);

	/*
	 * All that there are.  Of those that come next to "used" accounts as many find
	 * their homes taken as three balls all hit one of them.
	 */
	for (number = 0; number < n; number++)
	{
		Account    *account;

		key.hash = (uint32_t) bytes_hash(key.name, key.length, 1);
		account = account_insert(table, &key);
		assert_non_null(account);
		elsewhere += !is_a_home(table, key.hash, account_number(table, account));
		expected += pow((double) number / n, ACCOUNT_HOMES);
		if (number % (n / 8) == n / 8 - 1)
			assert_true(fabs((double) elsewhere - expected) < 100 + expected / 50);
	}
	assert_int_equal(table->n_free, 0);
	assert_null(account_insert(table, &key));
	for (number = 0; number < n; number += 7)
	{
		char		name[ACCOUNT_MAX_NAME];
		Account    *account;

		key.hash = (uint32_t) bytes_hash(key.name, key.length, 1);
		account = account_find(table, &key);
		assert_non_null(account);
		assert_int_equal(account_name(table, account, name), sizeof(number));
		assert_memory_equal(name, &number, sizeof(number));
	}
	munmap(memory, size);
}

/* As told in account.h, in fractions. */
static uint32_t
expected_home(uint32_t hash, int home, uint32_t each)
{
	static const uint64_t mixers[] = {0, 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93};
	uint32_t	mixed = home == 0 ? hash : (uint32_t) (hash * mixers[home] / 0x100000000);

	return 1 + hash % 128 + 128 * (uint32_t) floor(mixed / 128 / 33554432.0 * each);
}

/*
 * An account is in the first of its homes that is free, else in the next block
 * after the first one that is free; and it is found wherever it is when others
 * have gone.
 */
static void
test_home(void **state)
{
	const uint32_t n = 1000;	/* and so 896 lists, 7 of each partition */
	AccountTable *table = new_table(n);
	AccountKey	key = {0};
	bool		taken[1001] = {false};
	uint32_t	numbers[1000];
	uint32_t	hashes[1000];

	key.database = 1;
	key.length = sizeof(key.hash);
	key.name = (const char *) &key.hash;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	block = 0;

		key.hash = hashes[i] = (uint32_t) (((i + 1) * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
		for (int home = ACCOUNT_HOMES - 1; home >= 0; home--)
		{
			uint32_t	number = expected_home(key.hash, home, 7);

			assert_in_range(number, 1, 896);
			assert_int_equal(account_home(table, key.hash, home), number);
			if (!taken[number])
				block = number;
		}
		if (block == 0)
			for (block = expected_home(key.hash, 0, 7); taken[block];)
				block = block % n + 1;
		taken[block] = true;
		numbers[i] = block;
		assert_int_equal(account_number(table, account_insert(table, &key)), block);
	}
	assert_null(account_insert(table, &key));

	/* What was given back is taken again. */
	for (uint32_t i = 0; i < n; i++)
	{
		Account    *account;

		key.hash = hashes[i];
		account = account_find(table, &key);
		assert_non_null(account);
		assert_int_equal(account_number(table, account), numbers[i]);
		account_remove(table, account);
		assert_null(account_find(table, &key));
		assert_int_equal(account_number(table, account_insert(table, &key)), numbers[i]);
	}

	/* Who stays is found. */
	for (uint32_t left = n; left > 0; left /= 2)
	{
		uint32_t	found = 0;

		for (uint32_t i = left / 2; i < left; i++)
		{
			key.hash = hashes[i];
			account_remove(table, account_find(table, &key));
		}
		for (uint32_t i = 0; i < n; i++)
		{
			key.hash = hashes[i];
			if (i >= left / 2)
				assert_null(account_find(table, &key));
			else
				assert_ptr_equal(account_find(table, &key), account_at(table, numbers[i]));
		}
		for (uint32_t list = 0; list < table->n_lists; list++)
			for (uint32_t number = account_first(table, list); number != 0;
				 number = account_next(table, list, number))
				found++;
		assert_int_equal(found, left / 2);
	}
	assert_int_equal(table->n_free, n);
	free(table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ACCOUNT_TEST(test_user_hashes),
		ACCOUNT_TEST(test_size),
		ACCOUNT_TEST(test_layout),
		ACCOUNT_TEST(test_home),
		ACCOUNT_TEST(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

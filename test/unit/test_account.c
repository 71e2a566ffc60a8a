/*
 * test_account.c
 *		The table of accounts: against a simple model, and at its bounds.
 */
#include "account_test.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/bytes.h"

#define NAMES 60
#define DATABASES 3

static Model model;

/* ---- Everything that can be asked of a table ---- */

static bool
is_a_home(const AccountTable *table, uint32_t hash, uint32_t number)
{
	for (int i = 0; i < ACCOUNT_HOMES; i++)
		if (account_home(table, hash, i) == number)
			return true;
	return false;
}

/* Whose are blocks, as a look through all lists tells. */
static void
check_lists(void)
{
	AccountTable *table = model.table;
	bool		seen[MAX_BLOCKS + 1] = {false};
	int			n_accounts = 0;

	for (uint32_t list = 0; list < table->n_lists; list++)
	{
		for (uint32_t n = account_first(table, list); n != 0;
			 n = account_next(table, list, n))
		{
			const Account *account = account_at(table, n);

			assert_true(n >= 1 && n <= table->n_blocks);
			assert_false(seen[n]);
			seen[n] = true;
			n_accounts++;
			if (is_a_home(table, account->hash, n))
				assert_int_equal(n, list + 1);
			else
				assert_int_equal(account_list(table, account->hash), list);

			/* Who has locked a list's partition has that of its accounts. */
			assert_int_equal(ACCOUNT_PARTITION(account->hash),
							 ACCOUNT_PARTITION(list));
		}
	}
	assert_int_equal(n_accounts, model_count(&model));
}

static void
check_buckets(ModelAccount *a, Account *account)
{
	AccountBucket *bucket = NULL;
	bool		seen[MAX_RULES + 1] = {false};
	int			n = 0;

	while ((bucket = account_next_bucket(model.table, account, bucket)) != NULL)
	{
		const AccountBucket *expected = model_bucket(a, bucket->rule);

		assert_non_null(expected);
		assert_false(seen[bucket->rule]);
		seen[bucket->rule] = true;
		assert_same_bucket(bucket, expected);
		assert_ptr_equal(account_bucket(model.table, account, bucket->rule),
						 bucket);
		n++;
	}
	assert_int_equal(n, a->n_buckets);
	for (int rule = 1; rule <= MAX_RULES; rule++)
	{
		if (!seen[rule])
			assert_null(account_bucket(model.table, account, rule));
	}
}

static void
check_idle(const ModelAccount *a, Account *account)
{
	/* Around the times that there are in buckets, see change_bucket(). */
	uint32_t	now = 1000 + (uint32_t) random_below(12);
	bool		idle = a->n_users == 0;

	if (random_below(10) == 0)
		now = UINT32_MAX - (uint32_t) random_below(2);
	for (int i = 0; i < a->n_buckets; i++)
	{
		if (now < a->buckets[i].full_at ||
			a->buckets[i].full_at == ACCOUNT_NEVER)
			idle = false;
	}
	assert_int_equal(account_is_idle(model.table, account, now), idle);
}

static void
check_account(ModelAccount *a)
{
	AccountKey	key = key_of_account(&model, a);
	Account    *account = account_find(model.table, &key);
	char	   *name = malloc(a->length);

	assert_non_null(account);
	assert_int_equal(account_number(model.table, account), a->number);
	assert_int_equal(account->hash, key.hash);
	assert_int_equal(account->database, a->database);
	assert_int_equal(account_name(model.table, account, name), a->length);
	assert_memory_equal(name, a->name, a->length);
	free(name);
	if (a->tenant < 0)
	{
		assert_int_equal(account->flags, 0);
		assert_int_equal(account->tenant, a->n_users);
	}
	else
	{
		const ModelAccount *tenant = &model.accounts[a->tenant];

		assert_int_equal(account->flags, ACCOUNT_USER);
		assert_int_equal(account->tenant, tenant->number);
	}
	assert_int_equal(account->plan, 0);
	assert_int_equal(account->stamp, 0);
	check_buckets(a, account);
	check_idle(a, account);
}

static void
check_absent(int tenant)
{
	char		name[ACCOUNT_MAX_NAME];

	for (int i = 0; i < NAMES; i++)
	{
		size_t		length = make_name(i, name);

		for (uint32_t database = 1; database <= DATABASES; database++)
		{
			AccountKey	key = key_of(&model, tenant, database, name, length);

			if (model_find(&model, tenant, database, name, length) < 0)
				assert_null(account_find(model.table, &key));
		}
	}
}

static void
check_all(void)
{
	assert_int_equal(model.table->n_free, model_free(&model));
	check_lists();
	for (int i = 0; i < MAX_BLOCKS; i++)
	{
		if (model.accounts[i].number != 0)
			check_account(&model.accounts[i]);
	}
	check_absent(-1);
}

/* ---- Random changes ---- */

/* NULL if there are none. */
static ModelAccount *
random_account(bool tenant)
{
	ModelAccount *chosen = NULL;
	int			n = 0;

	for (int i = 0; i < MAX_BLOCKS; i++)
	{
		ModelAccount *a = &model.accounts[i];

		if (a->number != 0 && (!tenant || a->tenant < 0) &&
			random_below(++n) == 0)
			chosen = a;
	}
	return chosen;
}

/* False if there was no room for it. */
static bool
insert_some(void)
{
	char		name[ACCOUNT_MAX_NAME];
	size_t		length = make_name((int) random_below(NAMES), name);
	uint32_t	database = 1 + (uint32_t) random_below(DATABASES);
	ModelAccount *a = random_below(3) > 0 ? random_account(true) : NULL;
	int			tenant = a == NULL ? -1 : (int) (a - model.accounts);

	if (a != NULL)
		database = a->database;
	if (model_find(&model, tenant, database, name, length) >= 0)
		return true;
	return insert(&model, tenant, database, name, length);
}

static void
change_bucket(ModelAccount *a, AccountBucket *bucket)
{
	bucket->bucket.level = (BucketAmount) next_random() << 60 | next_random();
	bucket->bucket.time = (int64_t) next_random();
	bucket->allowed = next_random() >> 8;
	bucket->refused = next_random();
	bucket->per = next_random() & 7;
	bucket->window = next_random() & 1;
	bucket->seeded = next_random() & 1;
	bucket->reset = next_random() & 1;
	bucket->full_at = random_below(20) == 0 ? ACCOUNT_NEVER :
		1000 + (uint32_t) random_below(10);
	*model_bucket(a, bucket->rule) = *bucket;
}

static bool
add_some_bucket(void)
{
	ModelAccount *a = random_account(false);
	int32_t		rule = 1 + (int32_t) random_below(MAX_RULES);
	AccountBucket *bucket;

	if (a == NULL || model_bucket(a, rule) != NULL)
		return true;
	bucket = add_bucket(&model, a, rule);
	if (bucket == NULL)
		return false;
	change_bucket(a, bucket);
	return true;
}

/* Change one, or free it as the server does when the rule is gone. */
static void
touch_some_bucket(bool drop)
{
	ModelAccount *a = random_account(false);
	AccountBucket *bucket;
	int			nth;

	if (a == NULL || a->n_buckets == 0)
		return;
	nth = (int) random_below(a->n_buckets);
	bucket = account_bucket(model.table, account_at(model.table, a->number),
							a->buckets[nth].rule);
	assert_non_null(bucket);
	if (!drop)
		change_bucket(a, bucket);
	else
	{
		bucket->rule = 0;
		a->buckets[nth] = a->buckets[--a->n_buckets];
	}
}

static void
remove_some(void)
{
	ModelAccount *a = random_account(false);

	if (a == NULL || a->n_users > 0)
		return;
	account_remove(model.table, account_at(model.table, a->number));
	assert_int_equal(account_at(model.table, a->number)->database, 0);
	if (a->tenant >= 0)
		model.accounts[a->tenant].n_users--;
	a->number = 0;
}

/* In so many of a hundred cases something is inserted; else it is removed. */
static bool
change_something(unsigned int insertions)
{
	bool		had_room = true;
	uint64_t	what = random_below(4);

	if (what == 0)
		touch_some_bucket(random_below(3) == 0);
	else if (random_below(100) >= insertions)
		remove_some();
	else if (what == 1)
		had_room = insert_some();
	else
		had_room = add_some_bucket();
	assert_int_equal(model.table->n_free, model_free(&model));
	return had_room;
}

/* Not one block more or less than there are, and each of them once. */
static void
check_each_block(void)
{
	AccountTable *table = model.table;
	bool		seen[MAX_BLOCKS + 1] = {false};
	char		name[16];

	assert_int_equal(table->n_free, table->n_blocks);
	for (uint32_t i = 0; i < table->n_lists; i++)
		assert_int_equal(account_first(table, i), 0);
	for (uint32_t i = 0; i < table->n_blocks; i++)
	{
		snprintf(name, sizeof(name), "%u", i);
		assert_true(insert(&model, -1, 9, name, strlen(name)));
	}
	assert_false(insert(&model, -1, 9, "x", 1));
	for (uint32_t i = 0; i < table->n_blocks; i++)
	{
		ModelAccount *a = &model.accounts[i];

		assert_true(a->number >= 1 && a->number <= table->n_blocks);
		assert_false(seen[a->number]);
		seen[a->number] = true;
		account_remove(table, account_at(table, a->number));
		a->number = 0;
	}
	assert_int_equal(table->n_free, table->n_blocks);
}

static void
run_sequence(uint32_t n_blocks)
{
	memset(&model, 0, sizeof(model));
	model.table = new_table(n_blocks);
	for (int round = 0; round < 3; round++)
	{
		int			refused = 0;

		/* Until it is full; then what just fits; then to and fro; then out. */
		for (int i = 0; refused < 20; i++)
		{
			refused += !change_something(95);
			if (i % 64 == 0)
				check_all();
		}
		for (int i = 0; model.table->n_free > 0; i++)
		{
			char		name[16];

			snprintf(name, sizeof(name), "%d", i);
			assert_true(insert(&model, -1, 8, name, strlen(name)));
		}
		check_all();
		for (uint32_t i = 0; i < 2 * n_blocks; i++)
		{
			(void) change_something(60);
			if (i % 64 == 0)
				check_all();
		}
		for (int i = 0; model_count(&model) > 0; i++)
		{
			(void) change_something(5);
			if (i % 64 == 0)
				check_all();
		}
		check_all();
		check_each_block();
	}
	free(model.table);
}

static void
test_model(void **state)
{
	static const uint32_t sizes[] = {1, 2, 3, 4, 7, 30, 127, 128, 129, 300};

	/* The second leaves few partitions, the third few lists of each. */
	static const uint32_t masks[] = {UINT32_MAX, ~(uint32_t) 0x7F, 0x3F, 1, 0};

	for (size_t mask = 0; mask < COUNT(masks); mask++)
	{
		hash_mask = masks[mask];
		for (size_t i = 0; i < COUNT(sizes); i++)
			run_sequence(sizes[i]);
		for (int i = 0; i < 10; i++)
			run_sequence(1 + (uint32_t) random_below(MAX_BLOCKS));
	}
}

/* ---- By example ---- */

/* Names of each length, with buckets before and after their rest is asked. */
static void
test_names(void **state)
{
	char		name[ACCOUNT_MAX_NAME];

	memset(&model, 0, sizeof(model));
	model.table = new_table(MAX_BLOCKS);
	for (size_t length = 1; length <= ACCOUNT_MAX_NAME; length++)
	{
		for (size_t i = 0; i < length; i++)
			name[i] = (char) (length + i * 7);
		assert_true(insert(&model, -1, 1, name, length));
		assert_int_equal(model.table->n_free,
						 MAX_BLOCKS - (length <= 32 ? 1 : 2));

		/* One byte more, one less, and each byte another. */
		for (size_t i = 0; i < length; i++)
		{
			AccountKey	key = key_of_account(&model, &model.accounts[0]);

			name[i] ^= 1;
			key.name = name;
			assert_null(account_find(model.table, &key));
			name[i] ^= 1;
			assert_non_null(account_find(model.table, &key));
			key.length = i;
			assert_null(account_find(model.table, &key));
		}
		for (int rule = 1; rule <= 6; rule++)
		{
			assert_non_null(add_bucket(&model, &model.accounts[0], rule));
			check_all();
		}
		assert_int_equal(model.table->n_free,
						 MAX_BLOCKS - (length <= 32 ? 4 : 5));
		account_remove(model.table,
					   account_at(model.table, model.accounts[0].number));
		model.accounts[0].number = 0;
		check_all();
	}
	free(model.table);
}

/* The same name is another account for another database, tenant or kind. */
static void
test_same_names(void **state)
{
	const char *name = "a name that is too long for just one block";
	size_t		length = strlen(name);
	uint32_t	numbers[6];

	memset(&model, 0, sizeof(model));
	model.table = new_table(20);
	hash_mask = 0;
	assert_true(insert(&model, -1, 1, name, length));
	assert_true(insert(&model, -1, 2, name, length));
	assert_true(insert(&model, -1, 1, "other", 5));
	assert_true(insert(&model, 0, 1, name, length));
	assert_true(insert(&model, 1, 2, name, length));
	assert_true(insert(&model, 2, 1, name, length));
	check_all();
	for (int i = 0; i < 6; i++)
	{
		numbers[i] = model.accounts[i].number;
		for (int j = 0; j < i; j++)
			assert_int_not_equal(numbers[i], numbers[j]);
	}
	assert_int_equal(account_at(model.table, numbers[0])->tenant, 1);
	assert_int_equal(account_at(model.table, numbers[1])->tenant, 1);
	assert_int_equal(account_at(model.table, numbers[2])->tenant, 1);

	/* The tenant's own goes last, and leaves the others alone. */
	account_remove(model.table, account_at(model.table, numbers[3]));
	model.accounts[3].number = 0;
	model.accounts[0].n_users = 0;
	check_all();
	account_remove(model.table, account_at(model.table, numbers[0]));
	model.accounts[0].number = 0;
	check_all();
	free(model.table);
}

/* A name of two blocks does not get half into the last one. */
static void
test_last_block(void **state)
{
	char		name[ACCOUNT_NAME + 1] = {0};

	memset(&model, 0, sizeof(model));
	model.table = new_table(3);
	assert_true(insert(&model, -1, 1, "first", 5));
	assert_true(insert(&model, 0, 1, "second", 6));
	assert_false(insert(&model, -1, 1, name, sizeof(name)));
	assert_false(insert(&model, 0, 1, name, sizeof(name)));
	assert_non_null(add_bucket(&model, &model.accounts[0], 1));
	assert_non_null(add_bucket(&model, &model.accounts[0], 2));
	assert_int_equal(model.table->n_free, 0);
	assert_false(insert(&model, 0, 1, "third", 5));

	/* What has room in blocks that are there has no need of others. */
	assert_non_null(add_bucket(&model, &model.accounts[0], 3));
	assert_non_null(add_bucket(&model, &model.accounts[1], 1));
	assert_null(add_bucket(&model, &model.accounts[0], 4));
	assert_null(add_bucket(&model, &model.accounts[1], 4));
	check_all();

	/* Nor has one that takes the place of another. */
	account_bucket(model.table, account_at(model.table, model.accounts[0].number),
				   2)->rule = 0;
	model.accounts[0].buckets[1] = model.accounts[0].buckets[2];
	model.accounts[0].n_buckets = 2;
	check_all();
	assert_non_null(add_bucket(&model, &model.accounts[0], 4));
	check_all();
	free(model.table);
}

static void
test_idle(void **state)
{
	Account    *tenant;
	Account    *user;

	memset(&model, 0, sizeof(model));
	model.table = new_table(10);
	assert_true(insert(&model, -1, 1, "tenant", 6));
	assert_true(insert(&model, 0, 1, "user", 4));
	tenant = account_at(model.table, model.accounts[0].number);
	user = account_at(model.table, model.accounts[1].number);

	/* Without buckets, but one is still referred to. */
	assert_true(account_is_idle(model.table, user, 0));
	assert_false(account_is_idle(model.table, tenant, UINT32_MAX));

	for (int rule = 1; rule <= 4; rule++)
		account_add_bucket(model.table, user, rule)->full_at = 10;
	for (int rule = 1; rule <= 4; rule++)
	{
		AccountBucket *bucket = account_bucket(model.table, user, rule);

		bucket->full_at = 100;
		assert_false(account_is_idle(model.table, user, 99));
		assert_true(account_is_idle(model.table, user, 100));
		assert_true(account_is_idle(model.table, user, 101));
		bucket->full_at = UINT32_MAX - 1;
		assert_false(account_is_idle(model.table, user, UINT32_MAX - 2));
		assert_true(account_is_idle(model.table, user, UINT32_MAX - 1));
		bucket->full_at = ACCOUNT_NEVER;
		assert_false(account_is_idle(model.table, user, UINT32_MAX));

		/* It is not asked of a free one. */
		bucket->rule = 0;
		assert_true(account_is_idle(model.table, user, 10));
		bucket->rule = rule;
		bucket->full_at = 10;
	}
	account_remove(model.table, user);
	assert_true(account_is_idle(model.table, tenant, 0));
	free(model.table);
}

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
 * walks through all lists.
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
		ACCOUNT_TEST(test_model),
		ACCOUNT_TEST(test_names),
		ACCOUNT_TEST(test_same_names),
		ACCOUNT_TEST(test_last_block),
		ACCOUNT_TEST(test_idle),
		ACCOUNT_TEST(test_user_hashes),
		ACCOUNT_TEST(test_size),
		ACCOUNT_TEST(test_layout),
		ACCOUNT_TEST(test_home),
		ACCOUNT_TEST(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

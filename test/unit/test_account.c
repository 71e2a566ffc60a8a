/*
 * test_account.c
 *		The table of accounts: against a simple model, and by example.
 */
#include "account_test.h"

#define NAMES 60
#define DATABASES 3

static Model model;

/* ---- Everything that can be asked of a table ---- */

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ACCOUNT_TEST(test_model),
		ACCOUNT_TEST(test_names),
		ACCOUNT_TEST(test_same_names),
		ACCOUNT_TEST(test_last_block),
		ACCOUNT_TEST(test_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

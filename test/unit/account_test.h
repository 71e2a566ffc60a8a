/*
 * account_test.h
 *		What the tests of accounts share: a table, and a model of what is in it.
 *
 * The model is a plain array.  What it knows of the table is how many blocks
 * an account takes, and nothing of lists, chains or the order of blocks.
 */
#ifndef METER_ACCOUNT_TEST_H
#define METER_ACCOUNT_TEST_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/account.h"
#include "random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define MAX_BLOCKS 400
#define MAX_RULES 40

typedef struct ModelAccount
{
	uint32_t	number;			/* in the table; 0: there is none */
	uint32_t	database;
	int			tenant;			/* the tenant's place in the model, or -1 */
	size_t		length;
	char		name[ACCOUNT_MAX_NAME];
	int			n_users;
	int			most;			/* buckets it has had at a time */
	int			n_buckets;
	AccountBucket buckets[MAX_RULES];
} ModelAccount;

typedef struct Model
{
	AccountTable *table;
	ModelAccount accounts[MAX_BLOCKS];
} Model;

/* Bits that hashes have: all to spread them, none for a single list. */
static uint32_t hash_mask = UINT32_MAX;

static inline uint32_t
hash_of(const char *name, size_t length)
{
	uint32_t	hash = 2166136261u;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char) name[i]) * 16777619;
	hash = (hash ^ hash >> 15) & hash_mask;
	return hash != 0 ? hash : 1;
}

static inline bool
is_a_home(const AccountTable *table, uint32_t hash, uint32_t number)
{
	for (int i = 0; i < ACCOUNT_HOMES; i++)
		if (account_home(table, hash, i) == number)
			return true;
	return false;
}

/*
 * A table in memory of just its size, that nobody has cleared.
 */
static inline AccountTable *
new_table(uint32_t n_blocks)
{
	size_t		size = account_table_size(n_blocks);
	void	   *memory = aligned_alloc(ACCOUNT_BLOCK, size);

	assert_non_null(memory);
	memset(memory, 0, size);
	return account_table_init(memory, n_blocks);
}

/*
 * One of the names.  Many are the beginning of another, or differ in the last
 * byte only, and all bytes are in there.
 */
static inline size_t
make_name(int number, char *name)
{
	static const unsigned char lengths[] = {1, 2, 35, 36, 37, 38, 100, 127, 128};
	uint64_t	state = number;
	uint64_t	bytes = number % 3;
	size_t		length = lengths[number / 2 % COUNT(lengths)];

	if (number % 2 == 0)
		length = 1 + next_of(&state) % ACCOUNT_MAX_NAME;
	if (bytes == 2)
		bytes = number;
	for (size_t i = 0; i < length; i++)
		name[i] = (char) next_of(&bytes);
	if (number % 5 == 0)
		name[length - 1] = (char) number;
	return length;
}

static inline AccountKey
key_of(const Model *model, int tenant, uint32_t database, const char *name,
	   size_t length)
{
	AccountKey	key = {0};

	key.hash = hash_of(name, length);
	key.database = database;
	key.name = name;
	key.length = length;
	if (tenant >= 0)
	{
		const ModelAccount *a = &model->accounts[tenant];

		key.tenant = a->number;
		key.hash = account_user_hash(key.hash, hash_of(a->name, a->length));
	}
	return key;
}

static inline AccountKey
key_of_account(const Model *model, const ModelAccount *a)
{
	return key_of(model, a->tenant, a->database, a->name, a->length);
}

/*
 * The first one has room for a bucket, and others for two.  What was there for
 * a bucket stays when the bucket is gone.
 */
static inline uint32_t
blocks_for(size_t name_length, int most_buckets)
{
	return 1 + (name_length > ACCOUNT_NAME) + most_buckets / 2;
}

static inline uint32_t
model_free(const Model *model)
{
	uint32_t	n = model->table->n_blocks;

	for (int i = 0; i < MAX_BLOCKS; i++)
	{
		const ModelAccount *a = &model->accounts[i];

		if (a->number != 0)
			n -= blocks_for(a->length, a->most);
	}
	return n;
}

static inline int
model_count(const Model *model)
{
	int			n = 0;

	for (int i = 0; i < MAX_BLOCKS; i++)
		n += model->accounts[i].number != 0;
	return n;
}

/* Its place in the model, or -1. */
static inline int
model_find(const Model *model, int tenant, uint32_t database,
		   const char *name, size_t length)
{
	for (int i = 0; i < MAX_BLOCKS; i++)
	{
		const ModelAccount *a = &model->accounts[i];

		if (a->number != 0 && a->tenant == tenant &&
			a->database == database && a->length == length &&
			memcmp(a->name, name, length) == 0)
			return i;
	}
	return -1;
}

static inline AccountBucket *
model_bucket(ModelAccount *a, int32_t rule)
{
	for (int i = 0; i < a->n_buckets; i++)
	{
		if (a->buckets[i].rule == rule)
			return &a->buckets[i];
	}
	return NULL;
}

/* To compare the table with, and that. */
static inline unsigned char *
copy_table(AccountTable *table)
{
	size_t		size = account_table_size(table->n_blocks);
	unsigned char *copy = malloc(size);

	memcpy(copy, table, size);
	return copy;
}

static inline void
assert_unchanged(AccountTable *table, unsigned char *copy)
{
	assert_memory_equal(table, copy, account_table_size(table->n_blocks));
	free(copy);
}

/*
 * Insert an account that is not there; false if there is no room, and then
 * nothing may have changed.
 */
static inline bool
insert(Model *model, int tenant, uint32_t database, const char *name,
	   size_t length)
{
	AccountKey	key = key_of(model, tenant, database, name, length);
	bool		fits = model_free(model) >= blocks_for(length, 0);
	unsigned char *before = fits ? NULL : copy_table(model->table);
	Account    *account;
	ModelAccount *a = model->accounts;

	assert_null(account_find(model->table, &key));
	account = account_insert(model->table, &key);
	if (!fits)
	{
		assert_null(account);
		assert_unchanged(model->table, before);
		return false;
	}
	assert_non_null(account);
	while (a->number != 0)
		a++;
	memset(a, 0, sizeof(*a));
	a->number = account_number(model->table, account);
	assert_ptr_equal(account_at(model->table, a->number), account);
	a->database = database;
	a->tenant = tenant;
	a->length = length;
	memcpy(a->name, name, length);
	if (tenant >= 0)
		model->accounts[tenant].n_users++;
	return true;
}

/* The same for a bucket that is not there. */
static inline AccountBucket *
add_bucket(Model *model, ModelAccount *a, int32_t rule)
{
	Account    *account = account_at(model->table, a->number);
	int			most = a->n_buckets < a->most ? a->most : a->n_buckets + 1;
	bool		fits = model_free(model) + blocks_for(0, a->most) >=
	blocks_for(0, most);
	unsigned char *before = fits ? NULL : copy_table(model->table);
	AccountBucket *bucket;

	assert_null(account_bucket(model->table, account, rule));
	bucket = account_add_bucket(model->table, account, rule);
	if (!fits)
	{
		assert_null(bucket);
		assert_unchanged(model->table, before);
		return NULL;
	}
	assert_non_null(bucket);
	assert_int_equal(bucket->rule, rule);
	assert_true(bucket->bucket.level == 0);
	assert_int_equal(bucket->bucket.time, 0);
	assert_int_equal(bucket->allowed, 0);
	assert_int_equal(bucket->refused, 0);
	assert_int_equal(bucket->per, 0);
	assert_int_equal(bucket->window, 0);
	assert_int_equal(bucket->seeded, 0);
	assert_int_equal(bucket->reset, 0);
	assert_int_equal(bucket->full_at, 0);
	a->buckets[a->n_buckets++] = *bucket;
	a->most = most;
	return bucket;
}

static inline void
assert_same_bucket(const AccountBucket *bucket, const AccountBucket *expected)
{
	assert_int_equal(bucket->rule, expected->rule);
	assert_true(bucket->bucket.level == expected->bucket.level);
	assert_int_equal(bucket->bucket.time, expected->bucket.time);
	assert_int_equal(bucket->allowed, expected->allowed);
	assert_int_equal(bucket->refused, expected->refused);
	assert_int_equal(bucket->per, expected->per);
	assert_int_equal(bucket->window, expected->window);
	assert_int_equal(bucket->seeded, expected->seeded);
	assert_int_equal(bucket->reset, expected->reset);
	assert_int_equal(bucket->full_at, expected->full_at);
}

/* Each test begins with the same random numbers, also after one that failed. */
static inline int
begin_test(void **state)
{
	random_state = 42;
	hash_mask = UINT32_MAX;
	return 0;
}

#define ACCOUNT_TEST(name) cmocka_unit_test_setup(name, begin_test)

#endif							/* METER_ACCOUNT_TEST_H */

/*
 * test_account_share.c
 *		The table of accounts, by several threads at once.
 *
 * Each has accounts of its own, whose state it knows, but they share partitions,
 * and blocks that one gives back are taken by another: as accounts, or as what
 * other accounts have besides.  They lock as the server does.
 */
#include "account_test.h"

#include <pthread.h>

#define THREADS 4
#define KEYS 150				/* of each thread; there is no room for all */
#define BLOCKS 700				/* and so 5 homes of each partition */
#define STEPS 200000

static AccountTable *shared;
static pthread_mutex_t partitions[ACCOUNT_PARTITIONS];
static pthread_mutex_t free_blocks = PTHREAD_MUTEX_INITIALIZER;

typedef struct Own
{
	bool		there;
	int			n_buckets;
	int64_t		level;			/* of each bucket */
} Own;

typedef struct Worker
{
	pthread_t	thread;
	uint64_t	random;
	int			number;
	int			inserted;
	int			wrong;			/* answers; no thread but the first can fail a
								 * test */
	Own			own[KEYS];
} Worker;

/* random.h's belongs to one thread */
static int
below(Worker *worker, int n)
{
	worker->random = worker->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (int) ((worker->random >> 33) % (uint64_t) n);
}

static void
check_account(Worker *worker, const Own *own, Account *account, const AccountKey *key)
{
	AccountBucket *bucket = NULL;
	char		name[ACCOUNT_MAX_NAME];
	int			n = 0;

	if ((account != NULL) != own->there)
	{
		worker->wrong++;
		return;
	}
	if (account == NULL)
		return;
	if (account_name(shared, account, name) != key->length ||
		memcmp(name, key->name, key->length) != 0)
		worker->wrong++;
	while ((bucket = account_next_bucket(shared, account, bucket)) != NULL)
	{
		n++;
		if (bucket->bucket.level != own->level || bucket->rule > own->n_buckets)
			worker->wrong++;
	}
	if (n != own->n_buckets)
		worker->wrong++;
}

static void
change_account(Worker *worker, Own *own, Account *account, const AccountKey *key)
{
	AccountBucket *bucket = NULL;

	if (account == NULL)
	{
		pthread_mutex_lock(&free_blocks);
		account = account_insert(shared, key);
		pthread_mutex_unlock(&free_blocks);
		*own = (Own) {account != NULL, 0, 0};
		worker->inserted += own->there;
	}
	else if (below(worker, 3) == 0)
	{
		pthread_mutex_lock(&free_blocks);
		account_remove(shared, account);
		pthread_mutex_unlock(&free_blocks);
		*own = (Own) {false, 0, 0};
	}
	else if (own->n_buckets < 5 && below(worker, 2) == 0)
	{
		pthread_mutex_lock(&free_blocks);
		bucket = account_add_bucket(shared, account, own->n_buckets + 1);
		pthread_mutex_unlock(&free_blocks);
		if (bucket != NULL)
		{
			bucket->bucket.level = own->level;
			own->n_buckets++;
		}
	}
	else
	{
		own->level++;
		while ((bucket = account_next_bucket(shared, account, bucket)) != NULL)
			bucket->bucket.level++;
	}
}

static void *
work(void *arg)
{
	Worker	   *worker = arg;

	for (int i = 0; i < STEPS; i++)
	{
		int			n = below(worker, KEYS);
		Own		   *own = &worker->own[n];
		char		name[ACCOUNT_MAX_NAME];
		AccountKey	key = {0};
		Account    *account;
		pthread_mutex_t *lock;

		/* every third name takes a block of its own */
		memset(name, 'n', sizeof(name));
		key.length = (size_t) snprintf(name, sizeof(name), "%d of %d ", n, worker->number);
		if (n % 3 == 0)
			key.length = 40 + (size_t) n % 60;
		key.name = name;
		key.database = 5;
		key.hash = hash_of(key.name, key.length);

		account_prefetch(shared, key.hash);
		(void) account_first(shared, account_list(shared, key.hash));
		account_prefetch_rest(shared, key.hash);
		lock = &partitions[ACCOUNT_PARTITION(key.hash)];
		pthread_mutex_lock(lock);
		account = account_find(shared, &key);
		check_account(worker, own, account, &key);
		change_account(worker, own, account, &key);
		pthread_mutex_unlock(lock);
	}
	return NULL;
}

static void
test_share(void **state)
{
	static Worker workers[THREADS];
	int			there = 0;
	int			found = 0;

	shared = new_table(BLOCKS);
	for (int i = 0; i < ACCOUNT_PARTITIONS; i++)
		pthread_mutex_init(&partitions[i], NULL);
	for (int i = 0; i < THREADS; i++)
	{
		workers[i].number = i;
		workers[i].random = next_random();
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
	{
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].wrong, 0);
		assert_true(workers[i].inserted > STEPS / 20);
		for (int n = 0; n < KEYS; n++)
			there += workers[i].own[n].there;
	}
	for (uint32_t list = 0; list < shared->n_lists; list++)
		for (uint32_t n = account_first(shared, list); n != 0;
			 n = account_next(shared, list, n))
			found++;
	assert_int_equal(found, there);
	free(shared);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ACCOUNT_TEST(test_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

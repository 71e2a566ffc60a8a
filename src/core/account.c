/*
 * account.c
 *		The table of what tenants and their users have taken of their limits.
 *
 * All blocks are homes and places where lists begin, but for a few at the end.
 * Which blocks are free is said by bits, not in the blocks, so that a large table
 * costs memory only as accounts come.
 */
#include <string.h>

#include "core/account.h"
#include "core/bytes.h"
#include "core/hot.h"

_Static_assert(sizeof(Account) == ACCOUNT_BLOCK, "an account is a block");
_Static_assert(sizeof(AccountTable) <= ACCOUNT_BLOCK, "so is the table's header");

/* A further block of an account; which kind it is says the flag. */
typedef struct More
{
	uint32_t	list;			/* as in an account's first block */
	uint32_t	no_hash;		/* 0, where that has its hash */
	uint32_t	next;
	uint32_t	has_buckets;	/* otherwise it has the rest of a name */
	union
	{
		AccountBucket buckets[2];
		char		name[ACCOUNT_BLOCK - 4 * sizeof(uint32_t)];
	}			u;
} More;

_Static_assert(sizeof(More) <= ACCOUNT_BLOCK, "and this");
_Static_assert(offsetof(Account, list) == 0 && offsetof(More, list) == 0,
			   "a list begins at the same place in all blocks");
_Static_assert(offsetof(Account, hash) == offsetof(More, no_hash),
			   "of any block it can be told whether it is a certain account's");
_Static_assert(ACCOUNT_MAX_NAME - ACCOUNT_NAME <= sizeof(((More *) 0)->u.name),
			   "a name takes one further block at most");

static More *
more_at(AccountTable *table, uint32_t number)
{
	return (More *) account_at(table, number);
}

/* --- the table ---------------------------------------------------------- */

/*
 * A partition has whole lists.  So there are that many, also of a table that may
 * use fewer blocks.
 */
static uint32_t
blocks_for_lists(uint32_t n_blocks)
{
	return n_blocks < ACCOUNT_PARTITIONS ? ACCOUNT_PARTITIONS : n_blocks;
}

static uint32_t
lists_for(uint32_t n_blocks)
{
	return blocks_for_lists(n_blocks) / ACCOUNT_PARTITIONS * ACCOUNT_PARTITIONS;
}

/*
 * The bits of free blocks come after the header; number 0 is none.  Then comes a
 * byte for so many lists as begin in a page of memory: were any of them used?  The
 * blocks begin with a page, if the table does.
 */
#define PAGE 4096
#define LISTS_IN_PAGE (PAGE / ACCOUNT_BLOCK)

static uint64_t *
map_of(AccountTable *table)
{
	return (uint64_t *) ((char *) table + ACCOUNT_BLOCK);
}

static size_t
lists_used_offset(uint32_t n_blocks)
{
	return ACCOUNT_BLOCK + freemap_size(n_blocks + 1);
}

static size_t
blocks_offset(uint32_t n_blocks)
{
	return (lists_used_offset(n_blocks) + lists_for(n_blocks) / LISTS_IN_PAGE + PAGE - 1) /
		PAGE * PAGE;
}

static unsigned char *
lists_used(AccountTable *table, uint32_t list)
{
	return (unsigned char *) table + table->lists_used + list / LISTS_IN_PAGE;
}

size_t
account_table_size(uint32_t n_blocks)
{
	return blocks_offset(n_blocks) + (size_t) blocks_for_lists(n_blocks) * ACCOUNT_BLOCK;
}

uint32_t
account_table_blocks(size_t size)
{
	uint32_t	low = 1;
	uint32_t	high = ACCOUNT_MAX_BLOCKS;

	while (low < high)
	{
		uint32_t	middle = low + (high - low + 1) / 2;

		if (account_table_size(middle) <= size)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

AccountTable *
account_table_init(void *memory, uint32_t n_blocks)
{
	AccountTable *table = memory;

	memset(table, 0, sizeof(*table));
	table->n_blocks = n_blocks;
	table->n_lists = lists_for(n_blocks);
	table->n_free = n_blocks;
	table->lists_used = lists_used_offset(n_blocks);
	table->blocks = blocks_offset(n_blocks) - ACCOUNT_BLOCK;
	freemap_init(&table->free, map_of(table), n_blocks + 1);
	freemap_take(&table->free, map_of(table), 0);
	return table;
}

uint32_t
account_number(AccountTable *table, const Account *account)
{
	return (uint32_t) (account - account_at(table, 0));
}

/* Others may be looking at it. */
static void
set_hash(Account *block, uint32_t hash)
{
	__atomic_store_n(&block->hash, hash, __ATOMIC_RELAXED);
}

/*
 * All of a block but the beginning of a list, which somebody else may be
 * changing.
 */
static void
clear_block(AccountTable *table, uint32_t number)
{
	Account    *block = account_at(table, number);

	set_hash(block, 0);
	memset(&block->next, 0, ACCOUNT_BLOCK - offsetof(Account, next));
}

/*
 * Take the first block that is free from one on; 0 if there is none at all.
 */
static uint32_t
take_block(AccountTable *table, uint32_t from)
{
	uint32_t	number;

	if (table->n_free == 0)
		return 0;
	number = freemap_next(&table->free, map_of(table), from);
	if (number == FREEMAP_NONE)
		number = freemap_next(&table->free, map_of(table), 1);
	table->n_free--;
	freemap_take(&table->free, map_of(table), number);
	clear_block(table, number);
	return number;
}

/*
 * Take a block for an account: the first of its homes that is free, or any.
 */
static uint32_t
take_home(AccountTable *table, uint32_t hash)
{
	for (int i = 0; i < ACCOUNT_HOMES; i++)
	{
		uint32_t	home = account_home(table, hash, i);

		if (freemap_next(&table->free, map_of(table), home) == home)
			return take_block(table, home);
	}
	return take_block(table, account_home(table, hash, 0));
}

static void
give_block(AccountTable *table, uint32_t number)
{
	clear_block(table, number);
	freemap_give(&table->free, map_of(table), number);
	table->n_free++;
}

/* --- names -------------------------------------------------------------- */

static const char *
rest_of_name(AccountTable *table, const Account *account)
{
	const More *more = NULL;

	for (uint32_t n = account->more; n != 0; n = more->next)
	{
		more = more_at(table, n);
		if (!more->has_buckets)
			return more->u.name;
	}
	return "";
}

HOT_PATH static bool
has_name(AccountTable *table, const Account *account, const AccountKey *key)
{
	if (account->name_length != key->length)
		return false;
	if (key->length <= ACCOUNT_NAME)
		return bytes_equal(account->name, key->name, key->length);
	return memcmp(account->name, key->name, ACCOUNT_NAME) == 0 &&
		memcmp(rest_of_name(table, account), key->name + ACCOUNT_NAME,
			   key->length - ACCOUNT_NAME) == 0;
}

/*
 * Copy the name, of at most ACCOUNT_MAX_NAME bytes, and return its length.
 */
size_t
account_name(AccountTable *table, const Account *account, char *name)
{
	size_t		length = account->name_length;

	if (length <= ACCOUNT_NAME)
		memcpy(name, account->name, length);
	else
	{
		memcpy(name, account->name, ACCOUNT_NAME);
		memcpy(name + ACCOUNT_NAME, rest_of_name(table, account),
			   length - ACCOUNT_NAME);
	}
	return length;
}

/* --- accounts ----------------------------------------------------------- */

static bool
is_user(const Account *account)
{
	return (account->flags & ACCOUNT_USER) != 0;
}

static uint32_t *
list_of(AccountTable *table, uint32_t hash)
{
	return &account_at(table, account_home(table, hash, 0))->list;
}

/* Is there an account in a block that is one of its homes?  It is in no list. */
static bool
is_home(AccountTable *table, uint32_t number)
{
	uint32_t	hash = account_block_hash(account_at(table, number));

	for (int i = 0; i < ACCOUNT_HOMES && hash != 0; i++)
		if (account_home(table, hash, i) == number)
			return true;
	return false;
}

/* Whoever only looks whether a list has anything has no lock. */
static void
set_link(uint32_t *link, uint32_t number)
{
	__atomic_store_n(link, number, __ATOMIC_RELAXED);
}

static void
note_use(AccountTable *table, uint32_t list)
{
	__atomic_store_n(lists_used(table, list), 1, __ATOMIC_RELAXED);
}

uint32_t
account_first(AccountTable *table, uint32_t list)
{
	uint32_t	begin = list + 1;

	if (!__atomic_load_n(lists_used(table, list), __ATOMIC_RELAXED))
		return 0;
	return is_home(table, begin) ? begin :
		__atomic_load_n(&account_at(table, begin)->list, __ATOMIC_RELAXED);
}

uint32_t
account_next(AccountTable *table, uint32_t list, uint32_t number)
{
	const Account *account = account_at(table, number);

	return number == list + 1 && is_home(table, number) ? account->list : account->next;
}

/* Of an account that has the hash. */
static inline bool
is_of_key(AccountTable *table, const Account *account, const AccountKey *key)
{
	return account->database == key->database &&
		(key->tenant != 0 ?
		 is_user(account) && account->tenant == key->tenant :
		 !is_user(account)) &&
		has_name(table, account, key);
}

HOT_PATH Account *
account_find(AccountTable *table, const AccountKey *key)
{
	Account    *account;

	for (int i = 0; i < ACCOUNT_HOMES; i++)
	{
		account = account_at(table, account_home(table, key->hash, i));
		if (account_block_hash(account) == key->hash && is_of_key(table, account, key))
			return account;
	}
	for (uint32_t n = *list_of(table, key->hash); n != 0; n = account->next)
	{
		account = account_at(table, n);
		if (account->hash == key->hash && is_of_key(table, account, key))
			return account;
	}
	return NULL;
}

Account *
account_insert(AccountTable *table, const AccountKey *key)
{
	bool		long_name = key->length > ACCOUNT_NAME;
	uint32_t	number;
	Account    *account;

	if (table->n_free < (long_name ? 2 : 1))
		return NULL;
	number = take_home(table, key->hash);
	account = account_at(table, number);
	set_hash(account, key->hash);
	account->database = key->database;
	account->name_length = (uint8_t) key->length;
	memcpy(account->name, key->name, long_name ? ACCOUNT_NAME : key->length);
	if (long_name)
	{
		account->more = take_block(table, number);
		memcpy(more_at(table, account->more)->u.name, key->name + ACCOUNT_NAME,
			   key->length - ACCOUNT_NAME);
	}
	if (key->tenant != 0)
	{
		account->flags = ACCOUNT_USER;
		account->tenant = key->tenant;
		__atomic_fetch_add(&account_at(table, key->tenant)->tenant, 1, __ATOMIC_RELAXED);
	}
	if (is_home(table, number))
		note_use(table, number - 1);
	else
	{
		uint32_t   *list = list_of(table, key->hash);

		account->next = *list;
		set_link(list, number);
		note_use(table, account_list(table, key->hash));
	}
	return account;
}

void
account_remove(AccountTable *table, Account *account)
{
	uint32_t	number = account_number(table, account);
	uint32_t	more = account->more;

	if (!is_home(table, number))
	{
		uint32_t   *link = list_of(table, account->hash);

		while (*link != number)
			link = &account_at(table, *link)->next;
		set_link(link, account->next);
	}
	if (is_user(account))
		__atomic_fetch_sub(&account_at(table, account->tenant)->tenant, 1, __ATOMIC_RELAXED);
	while (more != 0)
	{
		uint32_t	next = more_at(table, more)->next;

		give_block(table, more);
		more = next;
	}
	give_block(table, number);
}

/* --- buckets ------------------------------------------------------------ */

/*
 * The place after a bucket, or the first one; NULL after the last one.  Some
 * may be free.
 */
static AccountBucket *
next_place(AccountTable *table, Account *account, const AccountBucket *bucket)
{
	uint32_t	n = account->more;

	if (bucket == NULL)
		return &account->first;
	if (bucket != &account->first)
	{
		const char *block = (const char *) account_at(table, 0) +
		((const char *) bucket - (const char *) account_at(table, 0)) /
		ACCOUNT_BLOCK * ACCOUNT_BLOCK;
		More	   *more = (More *) block;

		if (bucket == &more->u.buckets[0])
			return &more->u.buckets[1];
		n = more->next;
	}
	while (n != 0 && !more_at(table, n)->has_buckets)
		n = more_at(table, n)->next;
	return n == 0 ? NULL : &more_at(table, n)->u.buckets[0];
}

/*
 * The bucket of a rule, or NULL.
 */
HOT_PATH AccountBucket *
account_bucket(AccountTable *table, Account *account, int32_t rule)
{
	AccountBucket *place = &account->first;

	while (place != NULL && place->rule != rule)
		place = next_place(table, account, place);
	return place;
}

/*
 * The bucket after one, or with NULL the first one; NULL at the end.
 */
AccountBucket *
account_next_bucket(AccountTable *table, Account *account,
					AccountBucket *bucket)
{
	do
		bucket = next_place(table, account, bucket);
	while (bucket != NULL && bucket->rule == 0);
	return bucket;
}

/*
 * Make a bucket for a rule that has none.
 */
AccountBucket *
account_add_bucket(AccountTable *table, Account *account, int32_t rule)
{
	AccountBucket *place = account_bucket(table, account, 0);

	if (place == NULL)
	{
		uint32_t	number = take_block(table, account_number(table, account));
		uint32_t   *link = &account->more;

		if (number == 0)
			return NULL;
		while (*link != 0)
			link = &more_at(table, *link)->next;
		*link = number;
		more_at(table, number)->has_buckets = 1;
		place = &more_at(table, number)->u.buckets[0];
	}
	memset(place, 0, sizeof(*place));
	place->rule = rule;
	return place;
}

bool
account_is_idle(AccountTable *table, Account *account, uint32_t now)
{
	AccountBucket *bucket = NULL;

	/* it may shrink meanwhile, see account_remove() */
	if (!is_user(account) &&
		__atomic_load_n(&account->tenant, __ATOMIC_RELAXED) != 0)
		return false;
	while ((bucket = account_next_bucket(table, account, bucket)) != NULL)
		if (bucket->full_at == ACCOUNT_NEVER || bucket->full_at > now)
			return false;
	return true;
}

/*
 * account.h
 *		The table of what tenants and their users have taken of their limits.
 *
 * A tenant, or a user of a tenant, has an account: a name, what was found out
 * about the tenant last, and a bucket for each rule that has counted a call.
 * Accounts live in memory of a fixed size that processes share, so they refer
 * to each other by number, and 0 is none.  The memory is divided into blocks
 * of 128 bytes.  The first block of an account has room for a name of
 * ACCOUNT_NAME bytes and for one bucket, and further ones are chained to it.
 *
 * An account has three homes, which are blocks that its hash gives, and is in the
 * first of them that was free: so the processor can fetch all of them at the same
 * time, and waits for memory once.  Far fewer accounts find three homes taken than
 * one (Azar et al., Balanced Allocations, 1994).  Those are elsewhere, each in a
 * list that begins in its first home, whatever else is in there.
 *
 * An account whose buckets are full says no more than one that is not there,
 * so its blocks may be taken for another.  A bucket knows when that will be.
 *
 * The table takes no locks.  It is divided into partitions by the hash: who
 * reads or writes an account, or its list, holds the lock of its partition, to
 * which its homes belong.  But in a home there may be a block of another
 * partition: of that nobody reads more than its hash, which is 0 unless it is an
 * account, and written at once.  A tenant's users are spread over all partitions,
 * so that millions of them are found as fast as one; who adds a user holds the
 * lock of its tenant's partition besides.  As long as a tenant has users its
 * account stays, so that the name in it can be read with the lock of a user's.
 * The map of free blocks has a lock of its own, which is taken last.
 */
#ifndef METER_CORE_ACCOUNT_H
#define METER_CORE_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/bucket.h"
#include "core/freemap.h"

#define ACCOUNT_BLOCK 128
#define ACCOUNT_NAME 32
#define ACCOUNT_MAX_NAME 128
#define ACCOUNT_PARTITIONS 128	/* a power of two */
#define ACCOUNT_MAX_BLOCKS (UINT32_C(1) << 30)

/* The time, in seconds, of what will never be full again. */
#define ACCOUNT_NEVER UINT32_MAX

/* A rule's bucket. */
typedef struct AccountBucket
{
	Bucket		bucket;
	uint64_t	allowed:56;		/* calls */
	uint64_t	per:3;			/* window of the rule when it was last used */
	uint64_t	window:1;		/* a calendar window, no token bucket */
	uint64_t	seeded:1;		/* what was used before is in it */
	uint64_t	reset:1;		/* a window that was set back: not to be
								 * started from the log again */
	uint64_t	refused;
	int32_t		rule;			/* 0: free */
	uint32_t	full_at;		/* s: from then on it is full, by the clock of
								 * the buckets */
} AccountBucket;

/* An account's first block. */
typedef struct Account
{
	uint32_t	list;			/* the first account of the list that begins
								 * here: not this account's, but under the
								 * lock of the list's partition */
	uint32_t	hash;			/* see account_block_hash() */
	uint32_t	next;			/* in its list, if it is in one */
	uint32_t	database;		/* 0: the block is not an account */
	uint32_t	tenant;			/* of a user: the tenant's account; of a
								 * tenant: number of its users' accounts,
								 * which grows with the lock of its partition
								 * only, but shrinks without */
	uint32_t	plan;			/* what was found out about a tenant */
	uint32_t	generation;		/* of what it was found out from */
	uint32_t	stamp;			/* differs each time; 0: nothing is known */
	uint32_t	day_end;		/* minutes since 2000-01-01 UTC */
	uint32_t	month_end;
	int16_t		utc_offset;		/* minutes to add to UTC */
	uint8_t		name_length;
	uint8_t		flags;
	uint32_t	more;			/* further blocks */
	char		name[ACCOUNT_NAME];
	AccountBucket first;
} Account;

#define ACCOUNT_USER 1			/* of a tenant, no tenant */
#define ACCOUNT_OWN_RULES 2		/* there are rules for just this tenant */
#define ACCOUNT_DEFAULT_PLAN 4	/* it has no plan of its own */

/* Whose account it is. */
typedef struct AccountKey
{
	uint32_t	hash;			/* not 0; of a user, made by
								 * account_user_hash() */
	uint32_t	database;
	uint32_t	tenant;			/* the account a user belongs to, or 0 */
	const char *name;
	size_t		length;			/* at most ACCOUNT_MAX_NAME */
} AccountKey;

typedef struct AccountTable
{
	uint32_t	n_blocks;		/* numbered from 1 */
	uint32_t	n_lists;		/* and homes; as many in each partition */
	uint32_t	n_free;			/* under the lock of the free blocks, as are */
	Freemap		free;			/* their bits */
	uint64_t	lists_used;		/* where these bytes begin, see
								 * account_first() */
	uint64_t	blocks;			/* where the block of number 0 would begin */
} AccountTable;

/*
 * How large a table of that many blocks is; how many blocks one of a size has,
 * at least one.  The memory has to be zero and aligned to ACCOUNT_BLOCK.
 */
extern size_t account_table_size(uint32_t n_blocks);
extern uint32_t account_table_blocks(size_t size);
extern AccountTable *account_table_init(void *memory, uint32_t n_blocks);

#define ACCOUNT_PARTITION(hash) ((hash) & (ACCOUNT_PARTITIONS - 1))

/* So many homes has an account. */
#define ACCOUNT_HOMES 3

/*
 * Users of many tenants may have the same name.
 */
static inline uint32_t
account_user_hash(uint32_t user, uint32_t tenant)
{
	uint32_t	mixed = tenant * UINT32_C(0x9E3779B1);
	uint32_t	hash = user ^ (mixed >> 15 | mixed << 17);

	return hash != 0 ? hash : 1;
}

/* The bits of free blocks, and what lists were used, are before the blocks. */
static inline Account *
account_at(AccountTable *table, uint32_t number)
{
	return (Account *) ((char *) table + table->blocks + (size_t) number * ACCOUNT_BLOCK);
}

/* Of any block, with whatever lock; see above. */
static inline uint32_t
account_block_hash(const Account *block)
{
	return __atomic_load_n(&block->hash, __ATOMIC_RELAXED);
}

/*
 * The number of a home, the first one being 0.  Blocks of one partition are as far
 * apart as there are partitions, and which of them it is says what the hash has
 * besides, mixed differently for each home: a fraction that is multiplied by how
 * many there are (Lemire, Fast Random Integer Generation in an Interval, 2019).
 */
static inline uint32_t
account_home(const AccountTable *table, uint32_t hash, int home)
{
	_Static_assert(ACCOUNT_HOMES == 3, "there is a mixer for each");

	/* in the code, as a table would be one more place to be fetched */
	uint64_t	mixer = home == 0 ? UINT64_C(1) << 32 :
		home == 1 ? UINT64_C(0x9E3779B97F4A7C15) : UINT64_C(0xD6E8FEB86659FD93);
	uint32_t	mixed = (uint32_t) (hash * mixer >> 32);
	uint64_t	fraction = mixed / ACCOUNT_PARTITIONS;
	uint64_t	each = table->n_lists / ACCOUNT_PARTITIONS;
	uint64_t	in_partition = fraction * each * ACCOUNT_PARTITIONS >> 32;

	return (uint32_t) in_partition * ACCOUNT_PARTITIONS + ACCOUNT_PARTITION(hash) + 1;
}

/* Lists are numbered from 0, as the blocks from 1 in which they begin. */
static inline uint32_t
account_list(const AccountTable *table, uint32_t hash)
{
	return account_home(table, hash, 0) - 1;
}

extern uint32_t account_number(AccountTable *table, const Account *account);

/*
 * Have the processor fetch what account_find() and account_bucket() will read: the
 * beginnings of the homes, and some work later the rest of them.  Neither needs a
 * lock, and neither waits to see where the account is: then it would be too late.
 *
 * Not all at once, as each line would look for its page in memory by itself.  And
 * always inlined, as the compiler sees a function that has no effect, and leaves
 * out its calls.
 */
static inline __attribute__((always_inline)) void
account_prefetch(AccountTable *table, uint32_t hash)
{
	_Static_assert(ACCOUNT_HOMES == 3, "all of them");

	__builtin_prefetch(account_at(table, account_home(table, hash, 0)));
	__builtin_prefetch(account_at(table, account_home(table, hash, 1)));
	__builtin_prefetch(account_at(table, account_home(table, hash, 2)));
}

static inline __attribute__((always_inline)) void
account_prefetch_rest(AccountTable *table, uint32_t hash)
{
	const char *rest = (const char *) account_at(table, 0) + ACCOUNT_BLOCK / 2;

	__builtin_prefetch(rest + (size_t) account_home(table, hash, 0) * ACCOUNT_BLOCK);
	__builtin_prefetch(rest + (size_t) account_home(table, hash, 1) * ACCOUNT_BLOCK);
	__builtin_prefetch(rest + (size_t) account_home(table, hash, 2) * ACCOUNT_BLOCK);
}

/*
 * The number of the first of the accounts that are in a list, or in the block where
 * it begins as one of their homes; and of the one after another of them; or 0.  So
 * every account is found by exactly one list, of its own partition.  Memory that
 * was never used is not looked at, as that would make the kernel provide it.  The
 * answer is sure only with the partition's lock.
 */
extern uint32_t account_first(AccountTable *table, uint32_t list);
extern uint32_t account_next(AccountTable *table, uint32_t list, uint32_t number);

/* With the partition's lock. */
extern Account *account_find(AccountTable *table, const AccountKey *key);
extern AccountBucket *account_bucket(AccountTable *table, Account *account,
									 int32_t rule);
extern AccountBucket *account_next_bucket(AccountTable *table,
										  Account *account,
										  AccountBucket *bucket);
extern size_t account_name(AccountTable *table, const Account *account,
						   char *name);

/* Is it full at that time, in seconds, and has no users with accounts? */
extern bool account_is_idle(AccountTable *table, Account *account,
							uint32_t now);

/*
 * With the partition's lock, to insert a user also that of its tenant's, and
 * that of the free blocks, which is held no longer than it takes to move a few
 * blocks.  NULL if there are no free blocks; then nothing has changed.
 * account_remove() is not for tenants with users.
 */
extern Account *account_insert(AccountTable *table, const AccountKey *key);
extern AccountBucket *account_add_bucket(AccountTable *table,
										 Account *account, int32_t rule);
extern void account_remove(AccountTable *table, Account *account);

#endif							/* METER_CORE_ACCOUNT_H */

/*
 * account.h
 *		The accounts of limits in the server's shared memory.
 */
#ifndef METER_ACCOUNT_H
#define METER_ACCOUNT_H

#include "core/account.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

typedef struct AccountShared
{
	slock_t		free_lock;		/* of the table's free blocks */
	uint64		seed;			/* of hashes, so that nobody can make them
								 * collide */
	TimestampTz counting_since; /* all calls since then are counted here */
	LWLockPadded *locks;
	pg_atomic_uint32 hand;		/* the list where eviction goes on */
	pg_atomic_uint32 searched;	/* s: when all lists had been looked through
								 * for nothing */
	pg_atomic_uint32 stamp;		/* the last one given to an account */

	/* since the server's start */
	pg_atomic_uint64 evicted;	/* accounts that made room for others */
	pg_atomic_uint64 unmetered; /* calls let through as there was no room */
	pg_atomic_uint64 unroomed;	/* calls refused for that */
	pg_atomic_uint64 untracked; /* refused calls that got into no log */
	pg_atomic_uint32 reported;	/* the table was found full, and that logged */
	pg_atomic_uint32 changed;	/* since it was last saved */
	slock_t		mutex;			/* for saved_at */
	TimestampTz saved_at;
} AccountShared;

/* NULL if the server does not preload the library. */
extern AccountTable *account_table;
extern AccountShared *account_shared;

extern void account_init(void);

/* Microseconds of a clock that all processes share and that never goes back. */
extern int64 account_clock(void);

extern uint32 account_hash(const char *name, size_t length);
extern uint32 account_new_stamp(void);

extern void account_lock(uint32 hash, LWLockMode mode);
extern void account_unlock(uint32 hash);

/*
 * Two partitions, which may be the same.  Who has one lock must not wait for
 * another, but can try to have both; or take both at once, in order.
 */
extern bool account_lock_also(uint32 held, uint32 hash);
extern void account_lock_both(uint32 hash, uint32 other);
extern void account_unlock_both(uint32 hash, uint32 other);

/* Something was taken or given back; costs a look. */
static inline void
account_note_change(void)
{
	if (pg_atomic_read_u32(&account_shared->changed) == 0)
		pg_atomic_write_u32(&account_shared->changed, 1);
}

/* With the lock of the partition; NULL if there is no room. */
extern Account *account_make(const AccountKey *key);
extern AccountBucket *account_make_bucket(Account *account, int32 rule);

/* Without any lock: free some blocks; false if none could be. */
extern bool account_evict(void);

/*
 * Call for each account, with the lock of its partition; true removes it.  One that
 * makes room and comes again meanwhile, with nothing taken, may be met twice or
 * not at all: what it takes from then on is a change after the visit.
 * What takes long goes into "between", or NULL, which is called without one.
 */
typedef bool (*AccountVisitor) (Account *account, void *arg);
extern void account_visit(LWLockMode mode, AccountVisitor visitor,
						  void (*between) (void *arg), void *arg);

/*
 * Put the table into huge pages, as account_memory.h says, once many of its pages
 * are in use.  It takes about a millisecond for two megabytes that are new, and is
 * not for more than some hundred at a time.
 */
extern void account_join_pages(void);

extern void account_forget_database(Oid database);

/* OIDs of the databases whose tenants have accounts. */
extern List *account_databases(void);

#endif							/* METER_ACCOUNT_H */

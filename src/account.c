/*
 * account.c
 *		The accounts of limits in the server's shared memory.
 *
 * The table is core/account.h's; here are its locks and the search for room.
 * A call takes the lock of its tenant's partition, for a rule by user that of
 * the user's as well, and under it for a moment the spinlock of the free blocks.
 */
#include "postgres.h"

#include <time.h>

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "account.h"
#include "account_file.h"
#include "account_memory.h"
#include "core/bytes.h"
#include "core/hot.h"
#include "setting.h"

/* after all others */
#include "server.h"

#define TRANCHE "meter_account"

/* So many accounts make room at a time. */
#define EVICT_ENOUGH 16

/* Pages are joined once one of so many blocks is used, and so most pages of 32. */
#define JOIN_FROM 128

HOT_DATA AccountTable *account_table = NULL;
HOT_DATA AccountShared *account_shared = NULL;

/* Copies of what never changes, away from what does. */
static HOT_DATA LWLockPadded *locks;
static HOT_DATA uint64 hash_seed;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* --- shared memory ------------------------------------------------------ */

static uint32
blocks(void)
{
	return account_table_blocks((Size) setting_limit_memory * 1024);
}

static void
account_request(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(AccountShared)));
	account_memory_request(account_table_size(blocks()));
	RequestNamedLWLockTranche(TRANCHE, ACCOUNT_PARTITIONS);
}

/*
 * After all other processes have ended.  Those that did not end by themselves,
 * as in an immediate shutdown, may have had locks: then the file stays as it
 * was saved last, as after a crash.
 */
static void
account_shutdown(int code, Datum arg)
{
	ControlFileData *control;
	bool		crc_ok;

	if (code != 0)
		return;
	control = get_controlfile(DataDir, &crc_ok);
	if (!crc_ok)
		ereport(LOG,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("what was taken of limits is not saved, as the control file is damaged")));
	else if (control->state == DB_SHUTDOWNED ||
			 control->state == DB_SHUTDOWNED_IN_RECOVERY)
		(void) account_file_save(true);
	pfree(control);
}

/* Again after a crash of a backend, when the accounts are what was saved. */
static void
account_startup(void)
{
	bool		found;
	void	   *memory;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	account_shared = ShmemInitStruct("meter accounts", sizeof(AccountShared), &found);
	memory = account_memory_get(account_table_size(blocks()));
	if (!found)
	{
		memset(account_shared, 0, sizeof(AccountShared));
		SpinLockInit(&account_shared->free_lock);
		SpinLockInit(&account_shared->mutex);
		if (!pg_strong_random(&account_shared->seed, sizeof(account_shared->seed)))
			account_shared->seed = (uint64) account_clock();
		account_shared->counting_since = GetCurrentTimestamp();
		account_shared->locks = GetNamedLWLockTranche(TRANCHE);
		pg_atomic_init_u32(&account_shared->hand, 0);
		pg_atomic_init_u32(&account_shared->searched, 0);
		pg_atomic_init_u32(&account_shared->stamp, 0);
		pg_atomic_init_u64(&account_shared->evicted, 0);
		pg_atomic_init_u64(&account_shared->unmetered, 0);
		pg_atomic_init_u64(&account_shared->unroomed, 0);
		pg_atomic_init_u64(&account_shared->untracked, 0);
		pg_atomic_init_u32(&account_shared->reported, 0);
		pg_atomic_init_u32(&account_shared->changed, 0);
		account_table = account_table_init(memory, blocks());
	}
	else
		account_table = memory;
	hash_seed = account_shared->seed;
	locks = account_shared->locks;
	LWLockRelease(AddinShmemInitLock);

	if (!IsUnderPostmaster)
	{
		on_shmem_exit(account_shutdown, (Datum) 0);
		account_file_load();
		account_join_pages();
	}
}

/*
 * While the server preloads the library.
 */
void
account_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = account_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = account_startup;
}

/* --- what all need ------------------------------------------------------ */

HOT_PATH int64
account_clock(void)
{
	struct timespec now;

	server.monotonic_clock(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

HOT_PATH uint32
account_hash(const char *name, size_t length)
{
	uint32		hash = (uint32) bytes_hash(name, length, hash_seed);

	return likely(hash != 0) ? hash : 1;
}

uint32
account_new_stamp(void)
{
	uint32		stamp;

	do
		stamp = pg_atomic_add_fetch_u32(&account_shared->stamp, 1);
	while (stamp == 0);
	return stamp;
}

HOT_PATH void
account_lock(uint32 hash, LWLockMode mode)
{
	LWLockAcquire(&locks[ACCOUNT_PARTITION(hash)].lock, mode);
}

HOT_PATH void
account_unlock(uint32 hash)
{
	LWLockRelease(&locks[ACCOUNT_PARTITION(hash)].lock);
}

HOT_PATH bool
account_lock_also(uint32 held, uint32 hash)
{
	return ACCOUNT_PARTITION(hash) == ACCOUNT_PARTITION(held) ||
		LWLockConditionalAcquire(&locks[ACCOUNT_PARTITION(hash)].lock, LW_EXCLUSIVE);
}

HOT_PATH void
account_lock_both(uint32 hash, uint32 other)
{
	uint32		first = Min(ACCOUNT_PARTITION(hash), ACCOUNT_PARTITION(other));
	uint32		second = Max(ACCOUNT_PARTITION(hash), ACCOUNT_PARTITION(other));

	account_lock(first, LW_EXCLUSIVE);
	if (second != first)
		account_lock(second, LW_EXCLUSIVE);
}

HOT_PATH void
account_unlock_both(uint32 hash, uint32 other)
{
	account_unlock(hash);
	if (ACCOUNT_PARTITION(other) != ACCOUNT_PARTITION(hash))
		account_unlock(other);
}

Account *
account_make(const AccountKey *key)
{
	Account    *account;

	SpinLockAcquire(&account_shared->free_lock);
	account = account_insert(account_table, key);
	SpinLockRelease(&account_shared->free_lock);
	return account;
}

AccountBucket *
account_make_bucket(Account *account, int32 rule)
{
	AccountBucket *bucket;

	SpinLockAcquire(&account_shared->free_lock);
	bucket = account_add_bucket(account_table, account, rule);
	SpinLockRelease(&account_shared->free_lock);
	return bucket;
}

static void
unmake(Account *account)
{
	SpinLockAcquire(&account_shared->free_lock);
	account_remove(account_table, account);
	SpinLockRelease(&account_shared->free_lock);
}

void
account_join_pages(void)
{
	uint32		used;

	SpinLockAcquire(&account_shared->free_lock);
	used = account_table->n_blocks - account_table->n_free;
	SpinLockRelease(&account_shared->free_lock);

	/* accounts are all over the table */
	if (used >= account_table->n_blocks / JOIN_FROM)
		account_memory_join(account_table_size(account_table->n_blocks));
}

/* --- walking through all ------------------------------------------------ */

/*
 * Visit the accounts of one list; returns how many were removed.
 */
static int
visit_list(uint32 list, LWLockMode mode, AccountVisitor visitor, void *arg)
{
	int			removed = 0;
	uint32		next;

	/* a look without the lock: most lists of a large table are empty */
	if (account_first(account_table, list) == 0)
		return 0;
	account_lock(list, mode);
	for (uint32 n = account_first(account_table, list); n != 0; n = next)
	{
		Account    *account = account_at(account_table, n);

		next = account_next(account_table, list, n);
		if (visitor(account, arg))
		{
			unmake(account);
			removed++;
		}
	}
	account_unlock(list);
	return removed;
}

void
account_visit(LWLockMode mode, AccountVisitor visitor,
			  void (*between) (void *arg), void *arg)
{
	for (uint32 list = 0; list < account_table->n_lists; list++)
	{
		CHECK_FOR_INTERRUPTS();
		if (between != NULL)
			between(arg);
		(void) visit_list(list, mode, visitor, arg);
	}
}

static bool
is_idle(Account *account, void *arg)
{
	return account_is_idle(account_table, account, *(uint32 *) arg);
}

/*
 * Look for accounts that say nothing, beginning where the last search ended,
 * until there are some or all lists were looked through; after that, not again
 * in the same second.  A tenant goes only after its users.
 */
bool
account_evict(void)
{
	uint32		now = (uint32) (account_clock() / 1000000);
	uint32		n = account_table->n_lists;
	int			removed = 0;

	if (pg_atomic_read_u32(&account_shared->searched) == now)
		return false;
	for (uint32 i = 0; i < n && removed < EVICT_ENOUGH; i++)
	{
		CHECK_FOR_INTERRUPTS();
		removed += visit_list(pg_atomic_fetch_add_u32(&account_shared->hand, 1) % n,
							  LW_EXCLUSIVE, is_idle, &now);
	}
	pg_atomic_fetch_add_u64(&account_shared->evicted, removed);
	if (removed == 0)
		pg_atomic_write_u32(&account_shared->searched, now);
	return removed > 0;
}

typedef struct Forget
{
	Oid			database;
	bool		users;
} Forget;

static bool
is_of_database(Account *account, void *arg)
{
	Forget	   *forget = arg;

	return account->database == forget->database &&
		((account->flags & ACCOUNT_USER) != 0) == forget->users &&
		(forget->users || account->tenant == 0);
}

/*
 * The database was dropped, or the extension in it.
 */
void
account_forget_database(Oid database)
{
	Forget		forget = {database, true};

	account_visit(LW_EXCLUSIVE, is_of_database, NULL, &forget);
	forget.users = false;
	account_visit(LW_EXCLUSIVE, is_of_database, NULL, &forget);
}

static bool
note_database(Account *account, void *arg)
{
	List	  **found = arg;

	*found = list_append_unique_oid(*found, account->database);
	return false;
}

List *
account_databases(void)
{
	List	   *found = NIL;

	account_visit(LW_SHARED, note_database, NULL, &found);
	return found;
}

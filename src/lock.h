/*
 * lock.h
 *		The advisory locks of meter.
 *
 * All are taken on behalf of the current transaction and held to its end, but
 * for those of quotas, which are held while what was used of one is read.
 * They are advisory locks of the database with a key that pg_advisory_lock()
 * cannot make, so that nobody else can take them; visible in pg_locks with
 * classid 1835365490 ("metr") and objsubid 3, or 4 for quotas.
 *
 * Lock order: LOCK_FLUSH, the row of a consumer, LOCK_PARTITION.  Who has the
 * lock of a quota takes no other of these, and who takes LOCK_MODEL_PRICE has
 * written prices and nothing else of ours.
 */
#ifndef METER_LOCK_H
#define METER_LOCK_H

#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"

#define LOCK_CLASS 0x6d657472	/* "metr" */

#define LOCK_FLUSH 1			/* the one writer of meter.event */
#define LOCK_PARTITION 2		/* the one maker of partitions */
#define LOCK_MODEL_PRICE 3		/* the one writer of meter.model_price */

/* 1 and 2 are what the functions of SQL use. */
#define LOCK_KIND_LOG 3
#define LOCK_KIND_QUOTA 4		/* what: a hash of whose it is */

static inline void
lock_set_tag(LOCKTAG *tag, uint32 what, int kind)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, LOCK_CLASS, what, kind);
}

static inline void
lock_until_commit(uint32 what)
{
	LOCKTAG		tag;

	lock_set_tag(&tag, what, LOCK_KIND_LOG);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * Lock a table exclusively without making others queue behind us, as a waiting
 * exclusive lock on meter.event would stop all who read or write it: try for
 * some seconds.  Returns whether the lock was had; it is held to commit.
 */
static inline bool
lock_patiently(Oid relid, int seconds)
{
	for (int i = 0; i <= 10 * seconds; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConditionalLockRelationOid(relid, AccessExclusiveLock))
			return true;
		pg_usleep(100000L);
	}
	return false;
}

#endif							/* METER_LOCK_H */

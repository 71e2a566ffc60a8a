/*
 * account_file.h
 *		Accounts as bytes in a file.
 *
 * A file is a header, a record for each account, and a trailer with their
 * number and a checksum of all that is before it.  A user's record names its
 * tenant, so that records may stand in any order.  Numbers are in the
 * machine's byte order, which the header tells.
 *
 * Times of token buckets are stored as ages, as the clock they are measured
 * by may begin anew; what has passed between saving and loading is added by
 * who loads.
 */
#ifndef METER_CORE_ACCOUNT_FILE_H
#define METER_CORE_ACCOUNT_FILE_H

#include "core/account.h"

#define ACCOUNT_FILE_BOOT 40	/* bytes for the name of a boot */

typedef struct AccountFileHeader
{
	char		magic[8];
	uint32_t	byte_order;
	uint32_t	version;
	uint64_t	system_identifier;
	int64_t		saved_at;		/* us since 2000-01-01 UTC, by the calendar */
	int64_t		clock;			/* us, by the clock of the buckets */
	char		boot[ACCOUNT_FILE_BOOT];	/* of the machine: while it lasts,
											 * that clock goes on */
	uint64_t	clean;			/* 1: nothing was taken after it was saved */
	int64_t		counting_since; /* us since 2000-01-01 UTC: all calls from
								 * then on are counted in it, if it is clean */
} AccountFileHeader;

typedef struct AccountFileTrailer
{
	uint64_t	accounts;
	uint32_t	unused;
	uint32_t	crc;			/* of all before */
} AccountFileTrailer;

extern void account_file_header(AccountFileHeader *header,
								uint64_t system_identifier, int64_t saved_at,
								int64_t clock, const char *boot, bool clean,
								int64_t counting_since);

/*
 * Write an account's record, in at most ACCOUNT_FILE_MAX_RECORD bytes; returns
 * its size, or 0 for one that says nothing (with idle, unless a call was
 * counted there) or has more buckets than a record takes.  With the lock of
 * the account's partition.
 */
#define ACCOUNT_FILE_MAX_RECORD (64 * 1024)
extern size_t account_file_record(AccountTable *table, Account *account,
								  int64_t clock, bool idle, void *record);

/* What a file is found to be. */
typedef enum AccountFileFinding
{
	ACCOUNT_FILE_WHOLE,
	ACCOUNT_FILE_NONE,			/* no such file, or not of this program */
	ACCOUNT_FILE_TORN,			/* or damaged */
	ACCOUNT_FILE_OTHER_BYTE_ORDER,
	ACCOUNT_FILE_OTHER_VERSION,
	ACCOUNT_FILE_OTHER_SYSTEM
} AccountFileFinding;

extern AccountFileFinding account_file_check(const void *file, size_t size,
											 uint64_t system_identifier);

/*
 * Put the accounts of a file that is whole into an empty table.  "hash" makes
 * the hash of a name.  "elapsed" (us) is what has passed since it was saved,
 * "clock" the time by the clock of the buckets.  Returns how many did not get
 * in for want of room.
 */
extern uint64_t account_file_restore(AccountTable *table, const void *file,
									 size_t size, int64_t elapsed,
									 int64_t clock,
									 uint32_t (*hash) (const char *, size_t));

#endif							/* METER_CORE_ACCOUNT_FILE_H */

/*
 * fuzz_account.c
 *		libFuzzer entry over the file of accounts.
 *
 * The first byte of the input says what the rest is: the file itself, or the
 * records between a header and a trailer that are right, as the fuzzer would
 * not guess a checksum.  Whatever the file is, it must be found whole if and
 * only if its records end where the trailer begins; then the accounts of it
 * must get into a small table as far as there is room, everything that is
 * asked of them must have an answer, they must come back when they are saved
 * and restored once more, and all of them must go.
 *
 *		clang -g -O1 -std=gnu11 -fsanitize=fuzzer,address,undefined -Isrc \
 *			test/unit/fuzz_account.c src/core/account*.c src/core/ring*.c
 */
#include <stdlib.h>
#include <string.h>

#include "core/account_file.h"
#include "core/ring.h"

#define REQUIRE(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

#define SYSTEM 1

/* Bits of the first byte. */
#define RAW 1
#define CUT 2					/* where the last whole record ends */
#define SHORT 4					/* records of few bytes stand for long ones */
#define ONE_LIST 8
#define FEW_LISTS 16
#define CLEAN 32
#define WRONG_NUMBER 64
#define IDLE 128

/* What a record has besides names, as it is told in account_file.c. */
#define RECORD_HEAD 8
#define RECORD_BUCKET 56
#define MAX_RECORDS 512

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t hash_mask;

static uint32_t
hash_of(const char *name, size_t length)
{
	uint32_t	hash = 2166136261u;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char) name[i]) * 16777619;
	hash = (hash ^ hash >> 15) & hash_mask;
	return hash != 0 ? hash : 1;
}

/* ---- A file ---- */

typedef struct Bytes
{
	unsigned char *data;
	size_t		size;
	size_t		room;
} Bytes;

static void
put(Bytes *bytes, const void *data, size_t size)
{
	if (bytes->size + size > bytes->room)
	{
		bytes->room = 2 * bytes->room + size;
		bytes->data = realloc(bytes->data, bytes->room);
	}
	if (size > 0)
		memcpy(bytes->data + bytes->size, data, size);
	bytes->size += size;
}

/* In memory of just its size, so that reading on is found out. */
static unsigned char *
copy_of(const Bytes *bytes)
{
	unsigned char *copy = malloc(bytes->size);

	if (bytes->size > 0)
		memcpy(copy, bytes->data, bytes->size);
	return copy;
}

static AccountFileFinding
check(const Bytes *bytes, uint64_t system)
{
	unsigned char *copy = copy_of(bytes);
	AccountFileFinding finding = account_file_check(copy, bytes->size, system);

	free(copy);
	return finding;
}

/* Where the last whole record ends, and how many there are. */
static size_t
whole_records(const unsigned char *data, size_t size, uint64_t *n)
{
	size_t		at = 0;

	*n = 0;
	while (size - at >= RECORD_HEAD)
	{
		uint16_t	buckets;
		size_t		tenant = data[at + 6];
		size_t		user = data[at + 7];
		size_t		end;

		memcpy(&buckets, data + at + 4, sizeof(buckets));
		end = at + RECORD_HEAD + tenant + user + buckets * RECORD_BUCKET;
		if (tenant > 128 || user > 128 || end > size)
			break;
		at = end;
		(*n)++;
	}
	return at;
}

/*
 * Make records of a few bytes each: the lengths and the first bytes of two
 * names, and a number of buckets, whose rules and times come from a byte.
 */
static void
put_short_records(Bytes *file, const uint8_t *data, size_t size)
{
	for (int i = 0; i < MAX_RECORDS && size >= 6; i++)
	{
		unsigned char head[RECORD_HEAD] = {1 + data[0] % 2};
		unsigned char name[256];
		uint16_t	n = data[5] % 80;

		memcpy(head + 4, &n, sizeof(n));
		head[6] = data[1] % 129;
		head[7] = data[2] % 129;
		put(file, head, sizeof(head));
		memset(name, 'n', sizeof(name));
		name[head[6] / 2] = data[3];
		put(file, name, head[6]);
		name[head[7] / 2] = data[4];
		put(file, name, head[7]);
		data += 6;
		size -= 6;
		for (int j = 0; j < n; j++)
		{
			unsigned char bucket[RECORD_BUCKET];
			int32_t		rule = j + 1;

			memset(bucket, j, sizeof(bucket));
			if (size > 0)
			{
				memset(bucket, data[0], sizeof(bucket));
				rule += data[0] / 16;
				data++;
				size--;
			}
			memcpy(bucket + 40, &rule, sizeof(rule));
			put(file, bucket, sizeof(bucket));
		}
	}
}

static void
end_file(Bytes *file, uint64_t accounts)
{
	AccountFileTrailer trailer = {0};

	trailer.accounts = accounts;
	put(file, &trailer, offsetof(AccountFileTrailer, crc));
	trailer.crc = ring_crc32c(0, file->data, file->size);
	put(file, &trailer.crc, sizeof(trailer.crc));
}

/* ---- A table ---- */

static AccountTable *
new_table(uint32_t n_blocks)
{
	void	   *memory = aligned_alloc(ACCOUNT_BLOCK,
									   account_table_size(n_blocks));

	REQUIRE(memory != NULL);
	memset(memory, 0, account_table_size(n_blocks));
	return account_table_init(memory, n_blocks);
}

static uint64_t
restore(AccountTable *table, const Bytes *file, int64_t elapsed, int64_t clock)
{
	unsigned char *copy = copy_of(file);
	uint64_t	lost;

	REQUIRE(account_file_check(copy, file->size, SYSTEM) == ACCOUNT_FILE_WHOLE);
	lost = account_file_restore(table, copy, file->size, elapsed, clock,
								hash_of);
	free(copy);
	return lost;
}

/* Ask everything about an account; returns the number of its blocks. */
static uint32_t
walk_account(AccountTable *table, Account *account, uint32_t now)
{
	char	   *name = malloc(ACCOUNT_MAX_NAME);
	AccountKey	key = {0};
	AccountBucket *bucket = NULL;
	uint32_t	n_buckets = 0;
	bool		idle = true;

	key.hash = account->hash;
	key.database = account->database;
	key.name = name;
	key.length = account_name(table, account, name);
	REQUIRE(key.length <= ACCOUNT_MAX_NAME);
	if (account->flags & ACCOUNT_USER)
	{
		const Account *tenant = account_at(table, account->tenant);

		key.tenant = account->tenant;
		REQUIRE(key.tenant >= 1 && key.tenant <= table->n_blocks);
		REQUIRE(!(tenant->flags & ACCOUNT_USER));
		REQUIRE(tenant->database == account->database);
		REQUIRE(key.hash == account_user_hash(hash_of(name, key.length),
											  tenant->hash));
	}
	else
	{
		REQUIRE(key.hash == hash_of(name, key.length));
		idle = account->tenant == 0;
	}
	REQUIRE(account_find(table, &key) == account);
	free(name);
	while ((bucket = account_next_bucket(table, account, bucket)) != NULL)
	{
		n_buckets++;
		REQUIRE(n_buckets <= 2 * table->n_blocks);
		REQUIRE(bucket->rule != 0);
		REQUIRE(account_bucket(table, account, bucket->rule) == bucket);
		if (bucket->full_at > now || bucket->full_at == ACCOUNT_NEVER)
			idle = false;
	}
	REQUIRE(account_is_idle(table, account, now) == idle);
	return 1 + (key.length > ACCOUNT_NAME) + n_buckets / 2;
}

static void
walk(AccountTable *table, int64_t clock)
{
	uint32_t	now = (uint32_t) (clock / 1000000);
	uint32_t	n_accounts = 0;
	uint32_t	n_users = 0;
	uint32_t	n_users_told = 0;
	uint32_t	n_blocks = 0;

	for (uint32_t list = 0; list < table->n_lists; list++)
	{
		for (uint32_t n = account_first(table, list); n != 0;
			 n = account_next(table, list, n))
		{
			Account    *account = account_at(table, n);

			REQUIRE(n <= table->n_blocks && ++n_accounts <= table->n_blocks);
			REQUIRE(n == list + 1 || account_list(table, account->hash) == list);
			n_blocks += walk_account(table, account, now);
			if (account->flags & ACCOUNT_USER)
				n_users++;
			else
				n_users_told += account->tenant;
		}
	}
	REQUIRE(n_users == n_users_told);
	REQUIRE(table->n_free == table->n_blocks - n_blocks);
}

/* Save all as the server does; returns how many. */
static uint64_t
save(AccountTable *table, int64_t clock, bool idle, Bytes *file)
{
	static unsigned char record[ACCOUNT_FILE_MAX_RECORD];
	AccountFileHeader header;
	uint64_t	n_accounts = 0;

	account_file_header(&header, SYSTEM, 0, clock, "boot", true, 0);
	put(file, &header, sizeof(header));
	for (uint32_t list = 0; list < table->n_lists; list++)
	{
		for (uint32_t n = account_first(table, list); n != 0;
			 n = account_next(table, list, n))
		{
			size_t		size = account_file_record(table,
												   account_at(table, n),
												   clock, idle, record);

			REQUIRE(size <= sizeof(record));
			put(file, record, size);
			n_accounts += size > 0;
		}
	}
	end_file(file, n_accounts);
	return n_accounts;
}

/* Users, and then their tenants. */
static void
remove_all(AccountTable *table)
{
	for (int flag = ACCOUNT_USER; flag >= 0; flag -= ACCOUNT_USER)
	{
		for (uint32_t list = 0; list < table->n_lists; list++)
		{
			uint32_t	next;

			for (uint32_t n = account_first(table, list); n != 0; n = next)
			{
				Account    *account = account_at(table, n);

				next = account_next(table, list, n);
				if ((account->flags & ACCOUNT_USER) == flag)
					account_remove(table, account);
			}
		}
	}
	for (uint32_t list = 0; list < table->n_lists; list++)
		REQUIRE(account_first(table, list) == 0);
	REQUIRE(table->n_free == table->n_blocks);
}

/* ---- Both ---- */

static void
try_whole_file(const Bytes *file, uint32_t n_blocks, int flags,
			   int64_t elapsed, int64_t clock)
{
	AccountTable *table = new_table(n_blocks);
	AccountTable *again = new_table(n_blocks);
	Bytes		saved = {0};

	(void) restore(table, file, elapsed, clock);
	walk(table, clock);
	(void) save(table, clock, (flags & IDLE) != 0, &saved);

	/* There was room for all of that. */
	REQUIRE(restore(again, &saved, 0, clock) == 0);
	walk(again, clock);
	remove_all(table);
	remove_all(again);
	free(saved.data);
	free(table);
	free(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AccountFileHeader header;
	AccountFileFinding finding;
	Bytes		file = {0};
	uint64_t	n_accounts;
	int			flags;
	uint32_t	n_blocks;
	int64_t		elapsed;
	int64_t		clock;
	size_t		records;
	size_t		whole;

	if (size < 18)
		return 0;
	flags = data[0];
	n_blocks = 1 + data[1] % 64;

	/* Neither is ever negative. */
	memcpy(&elapsed, data + 2, 8);
	memcpy(&clock, data + 10, 8);
	elapsed &= INT64_MAX;
	clock &= INT64_MAX;
	hash_mask = flags & ONE_LIST ? 0 : flags & FEW_LISTS ? 0xC0000003 : UINT32_MAX;
	data += 18;
	size -= 18;

	if (flags & RAW)
	{
		put(&file, data, size);
		if (check(&file, SYSTEM) == ACCOUNT_FILE_WHOLE)
			try_whole_file(&file, n_blocks, flags, elapsed, clock);
		free(file.data);
		return 0;
	}

	account_file_header(&header, SYSTEM, 0, 0, "boot", (flags & CLEAN) != 0, 0);
	put(&file, &header, sizeof(header));
	if (flags & SHORT)
		put_short_records(&file, data, size);
	else
		put(&file, data, size);
	records = file.size - sizeof(header);
	whole = whole_records(file.data + sizeof(header), records, &n_accounts);
	if (flags & CUT)
	{
		records = whole;
		file.size = sizeof(header) + whole;
	}
	if (flags & WRONG_NUMBER)
		n_accounts += (flags & IDLE) ? 1 : -1;
	end_file(&file, n_accounts);
	finding = check(&file, SYSTEM);
	REQUIRE(finding == (whole == records && !(flags & WRONG_NUMBER) ?
						ACCOUNT_FILE_WHOLE : ACCOUNT_FILE_TORN));
	REQUIRE(check(&file, SYSTEM + 1) ==
			ACCOUNT_FILE_OTHER_SYSTEM);
	if (finding == ACCOUNT_FILE_WHOLE)
		try_whole_file(&file, n_blocks, flags, elapsed, clock);
	free(file.data);
	return 0;
}

/*
 * account_file.c
 *		Accounts as bytes in a file.
 */
#include <string.h>

#include "core/account_file.h"
#include "core/ring.h"

#define MAGIC "METRACCT"
#define BYTE_ORDER_MARK UINT32_C(0x0A0B0C0D)
#define VERSION 1

/* A record: this, the tenant's name, the user's name, the buckets. */
typedef struct Record
{
	uint32_t	database;
	uint16_t	buckets;
	uint8_t		tenant_length;
	uint8_t		user_length;	/* 0: it is the tenant's */
} Record;

typedef struct RecordBucket
{
	unsigned char level[16];
	int64_t		time;			/* of a token bucket: its age */
	uint64_t	allowed;
	uint64_t	refused;
	int32_t		rule;
	uint32_t	full_in;		/* s, or ACCOUNT_NEVER */
	uint8_t		per;
	uint8_t		window;
	uint8_t		seeded;
	uint8_t		reset;
	uint8_t		unused[4];
} RecordBucket;

#define MAX_BUCKETS ((ACCOUNT_FILE_MAX_RECORD - sizeof(Record) - 2 * ACCOUNT_MAX_NAME) / \
					 sizeof(RecordBucket))

/* Two times can be further apart than a signed number says. */
static int64_t
time_between(int64_t from, int64_t to)
{
	return (int64_t) ((uint64_t) to - (uint64_t) from);
}

void
account_file_header(AccountFileHeader *header, uint64_t system_identifier,
					int64_t saved_at, int64_t clock, const char *boot,
					bool clean, int64_t counting_since)
{
	memset(header, 0, sizeof(*header));
	memcpy(header->magic, MAGIC, sizeof(header->magic));
	header->byte_order = BYTE_ORDER_MARK;
	header->version = VERSION;
	header->system_identifier = system_identifier;
	header->saved_at = saved_at;
	header->clock = clock;
	strncpy(header->boot, boot, sizeof(header->boot) - 1);
	header->clean = clean;
	header->counting_since = counting_since;
}

size_t
account_file_record(AccountTable *table, Account *account, int64_t clock,
					bool idle, void *record)
{
	uint32_t	now = (uint32_t) (clock / 1000000);
	Record		head = {0};
	char	   *p = (char *) record + sizeof(head);
	AccountBucket *bucket = NULL;

	head.database = account->database;
	if (account->flags & ACCOUNT_USER)
	{
		head.tenant_length = (uint8_t)
			account_name(table, account_at(table, account->tenant), p);
		p += head.tenant_length;
		head.user_length = (uint8_t) account_name(table, account, p);
		p += head.user_length;
	}
	else
	{
		head.tenant_length = (uint8_t) account_name(table, account, p);
		p += head.tenant_length;
	}
	while ((bucket = account_next_bucket(table, account, bucket)) != NULL)
	{
		RecordBucket saved = {0};
		bool		full = bucket->full_at != ACCOUNT_NEVER && bucket->full_at <= now;

		if (full && (!idle || bucket->allowed + bucket->refused == 0))
			continue;
		if (head.buckets == MAX_BUCKETS)
			return 0;
		memcpy(saved.level, &bucket->bucket.level, sizeof(saved.level));
		saved.time = bucket->window ? bucket->bucket.time :
			time_between(bucket->bucket.time, clock);
		saved.allowed = bucket->allowed;
		saved.refused = bucket->refused;
		saved.rule = bucket->rule;
		saved.full_in = bucket->full_at == ACCOUNT_NEVER ? ACCOUNT_NEVER :
			full ? 0 : bucket->full_at - now;
		saved.per = bucket->per;
		saved.window = bucket->window;
		saved.seeded = bucket->seeded;
		saved.reset = bucket->reset;
		memcpy(p, &saved, sizeof(saved));
		p += sizeof(saved);
		head.buckets++;
	}
	if (head.buckets == 0)
		return 0;
	memcpy(record, &head, sizeof(head));
	return (size_t) (p - (char *) record);
}

/* --- reading ------------------------------------------------------------ */

/*
 * Step over the record at *p; false if it does not end before the end.
 */
static bool
read_record(const char **p, const char *end, Record *head, const char **names,
			const char **buckets)
{
	size_t		size;

	if ((size_t) (end - *p) < sizeof(*head))
		return false;
	memcpy(head, *p, sizeof(*head));
	size = (size_t) head->tenant_length + head->user_length +
		head->buckets * sizeof(RecordBucket);
	if ((size_t) (end - *p) - sizeof(*head) < size ||
		head->tenant_length > ACCOUNT_MAX_NAME ||
		head->user_length > ACCOUNT_MAX_NAME)
		return false;
	*names = *p + sizeof(*head);
	*buckets = *names + head->tenant_length + head->user_length;
	*p += sizeof(*head) + size;
	return true;
}

AccountFileFinding
account_file_check(const void *file, size_t size, uint64_t system_identifier)
{
	AccountFileHeader header;
	AccountFileTrailer trailer;
	const char *p;
	const char *end;
	uint64_t	n = 0;
	Record		head;
	const char *names;
	const char *buckets;

	if (size < sizeof(header.magic) ||
		memcmp(file, MAGIC, sizeof(header.magic)) != 0)
		return ACCOUNT_FILE_NONE;
	if (size < sizeof(header) + sizeof(trailer))
		return ACCOUNT_FILE_TORN;
	memcpy(&header, file, sizeof(header));
	if (header.byte_order != BYTE_ORDER_MARK)
		return ACCOUNT_FILE_OTHER_BYTE_ORDER;
	if (header.version != VERSION)
		return ACCOUNT_FILE_OTHER_VERSION;
	p = (const char *) file + sizeof(header);
	end = (const char *) file + size - sizeof(trailer);
	memcpy(&trailer, end, sizeof(trailer));
	if (ring_crc32c(0, file, size - sizeof(trailer.crc)) != trailer.crc)
		return ACCOUNT_FILE_TORN;
	if (header.system_identifier != system_identifier)
		return ACCOUNT_FILE_OTHER_SYSTEM;
	while (p < end)
	{
		if (!read_record(&p, end, &head, &names, &buckets))
			return ACCOUNT_FILE_TORN;
		n++;
	}
	return n == trailer.accounts ? ACCOUNT_FILE_WHOLE : ACCOUNT_FILE_TORN;
}

static Account *
find_or_insert(AccountTable *table, const AccountKey *key)
{
	Account    *account = account_find(table, key);

	return account != NULL ? account : account_insert(table, key);
}

/*
 * So many seconds after a time, rounded up.  The time is before the clock has
 * begun if the machine was started anew meanwhile.
 */
static uint32_t
full_at(uint32_t full_in, int64_t clock)
{
	int64_t		at = clock / 1000000 + (clock % 1000000 > 0) + full_in;

	if (full_in == ACCOUNT_NEVER || at > ACCOUNT_NEVER)
		return ACCOUNT_NEVER;
	return at > 0 ? (uint32_t) at : 0;
}

static bool
restore_bucket(AccountTable *table, Account *account, const char *p,
			   int64_t elapsed, int64_t clock, bool clean)
{
	RecordBucket saved;
	AccountBucket *bucket;

	memcpy(&saved, p, sizeof(saved));
	if (saved.rule == 0)
		return true;
	bucket = account_bucket(table, account, saved.rule);
	if (bucket == NULL)
		bucket = account_add_bucket(table, account, saved.rule);
	if (bucket == NULL)
		return false;
	memcpy(&bucket->bucket.level, saved.level, sizeof(saved.level));
	bucket->bucket.time = saved.window ? saved.time :
		time_between(saved.time, clock - elapsed);
	bucket->allowed = saved.allowed;
	bucket->refused = saved.refused;
	bucket->per = saved.per;
	bucket->window = saved.window;
	bucket->seeded = saved.seeded && (clean || saved.reset);
	bucket->reset = saved.reset;
	bucket->full_at = full_at(saved.full_in, clock - elapsed);
	return true;
}

uint64_t
account_file_restore(AccountTable *table, const void *file, size_t size,
					 int64_t elapsed, int64_t clock,
					 uint32_t (*hash) (const char *, size_t))
{
	const char *p = (const char *) file + sizeof(AccountFileHeader);
	const char *end = (const char *) file + size - sizeof(AccountFileTrailer);
	uint64_t	lost = 0;
	AccountFileHeader header;
	Record		head;
	const char *names;
	const char *buckets;

	memcpy(&header, file, sizeof(header));
	while (p < end && read_record(&p, end, &head, &names, &buckets))
	{
		AccountKey	key = {0};
		Account    *account;
		bool		whole = true;

		key.hash = hash(names, head.tenant_length);
		key.database = head.database;
		key.name = names;
		key.length = head.tenant_length;
		account = find_or_insert(table, &key);
		if (account != NULL && head.user_length > 0)
		{
			key.tenant = account_number(table, account);
			key.name = names + head.tenant_length;
			key.length = head.user_length;
			key.hash = account_user_hash(hash(key.name, key.length), key.hash);
			account = find_or_insert(table, &key);
		}
		for (int i = 0; account != NULL && whole && i < head.buckets; i++)
			whole = restore_bucket(table, account,
								   buckets + i * sizeof(RecordBucket),
								   elapsed, clock, header.clean == 1);
		if (account == NULL || !whole)
			lost++;
	}
	return lost;
}

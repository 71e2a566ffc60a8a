/*
 * account_file.c
 *		Saving and restoring the accounts of limits.
 *
 * They are saved in pg_meter/limits when the server stops, and each
 * meter.save_interval, so that a restart gives nobody a fresh burst.  A file
 * is written under another name and renamed when it is whole and on disk.
 *
 * What was saved when the server stopped is all there is.  After an accident
 * calls have been counted that the file does not know: token buckets are as
 * they were when it was saved, and the counts of calendar windows are taken
 * from the log as well (quota.c) when they are next used.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account.h"
#include "account_file.h"
#include "core/account_file.h"
#include "core/ring.h"
#include "queue.h"
#include "setting.h"

#define FILE_NAME QUEUE_DIRECTORY "/limits"
#define NEW_NAME FILE_NAME ".new"
#define BAD_NAME FILE_NAME ".damaged"

#define BUFFER_SIZE (256 * 1024)

/* While the machine runs its monotonic clock goes on, whoever asks it. */
#define BOOT_FILE "/proc/sys/kernel/random/boot_id"

static void
read_boot(char *boot)
{
	FILE	   *file = fopen(BOOT_FILE, "r");

	memset(boot, 0, ACCOUNT_FILE_BOOT);
	if (file == NULL)
		return;
	if (fgets(boot, ACCOUNT_FILE_BOOT, file) == NULL)
		boot[0] = '\0';
	fclose(file);
}

/* --- saving ------------------------------------------------------------- */

typedef struct Writer
{
	int			fd;
	int			error;			/* errno of what failed, or 0 */
	char	   *buffer;
	size_t		used;
	uint32		crc;
	uint64		accounts;
	int64		clock;
	bool		idle;
} Writer;

static void
write_out(Writer *writer)
{
	size_t		done = 0;

	while (writer->error == 0 && done < writer->used)
	{
		ssize_t		n;

		errno = 0;
		n = write(writer->fd, writer->buffer + done, writer->used - done);
		if (n > 0)
			done += n;
		else if (n == 0 || errno != EINTR)
		{
			writer->error = errno != 0 ? errno : ENOSPC;
		}
	}
	writer->used = 0;
}

static void
put(Writer *writer, const void *data, size_t size)
{
	memcpy(writer->buffer + writer->used, data, size);
	writer->crc = ring_crc32c(writer->crc, data, size);
	writer->used += size;
}

/*
 * While no lock is held.
 */
static void
make_room(void *arg)
{
	Writer	   *writer = arg;

	if (writer->used > BUFFER_SIZE / 2)
		write_out(writer);
}

static bool
put_account(Account *account, void *arg)
{
	Writer	   *writer = arg;
	size_t		size;

	/* only a list of many long records gets that far */
	if (writer->used + ACCOUNT_FILE_MAX_RECORD > BUFFER_SIZE)
		write_out(writer);
	size = account_file_record(account_table, account, writer->clock,
							   writer->idle, writer->buffer + writer->used);
	if (size == 0)
		return false;
	writer->crc = ring_crc32c(writer->crc, writer->buffer + writer->used, size);
	writer->used += size;
	writer->accounts++;
	return false;
}

/*
 * Save all accounts; clean if no call can follow.  False if that fails, which
 * is logged; then the file before stays.
 */
bool
account_file_save(bool clean)
{
	Writer		writer = {0};
	AccountFileHeader header;
	AccountFileTrailer trailer = {0};
	char		boot[ACCOUNT_FILE_BOOT];

	if (MakePGDirectory(QUEUE_DIRECTORY) != 0 && errno != EEXIST)
		goto failed;
	writer.fd = BasicOpenFile(NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	if (writer.fd < 0)
		goto failed;
	writer.buffer = malloc(BUFFER_SIZE);
	if (writer.buffer == NULL)
	{
		close(writer.fd);
		errno = ENOMEM;
		goto failed;
	}
	(void) pg_atomic_exchange_u32(&account_shared->changed, 0);
	writer.clock = account_clock();
	writer.idle = clean;
	read_boot(boot);
	account_file_header(&header, GetSystemIdentifier(), GetCurrentTimestamp(),
						writer.clock, boot, clean, account_shared->counting_since);
	put(&writer, &header, sizeof(header));
	account_visit(LW_SHARED, put_account, make_room, &writer);
	if (writer.used + sizeof(trailer) > BUFFER_SIZE)
		write_out(&writer);
	trailer.accounts = writer.accounts;
	put(&writer, &trailer, offsetof(AccountFileTrailer, crc));
	trailer.crc = writer.crc;
	put(&writer, &trailer.crc, sizeof(trailer.crc));
	write_out(&writer);
	free(writer.buffer);
	if (writer.error == 0 && pg_fsync(writer.fd) != 0)
		writer.error = errno;
	if (writer.error != 0)
	{
		close(writer.fd);
		errno = writer.error;
		goto failed;
	}
	if (close(writer.fd) != 0)
		goto failed;
	if (durable_rename(NEW_NAME, FILE_NAME, LOG) != 0)
	{
		account_note_change();
		return false;
	}
	SpinLockAcquire(&account_shared->mutex);
	account_shared->saved_at = header.saved_at;
	SpinLockRelease(&account_shared->mutex);
	return true;

failed:
	account_note_change();
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not write file \"%s\": %m", NEW_NAME),
			 errdetail("What was taken of limits is lost if the server stops.")));
	(void) unlink(NEW_NAME);
	return false;
}

TimestampTz
account_file_keep(TimestampTz now, TimestampTz wake)
{
	static TimestampTz last = 0;
	TimestampTz due;

	if (last == 0)
		last = now;
	if (setting_save_interval == 0)
		return wake;
	due = TimestampTzPlusMilliseconds(last, setting_save_interval * INT64CONST(1000));
	if (due <= now)
	{
		if (pg_atomic_read_u32(&account_shared->changed) != 0)
		{
			pgstat_report_activity(STATE_RUNNING, "saving what was taken of limits");
			(void) account_file_save(false);
			pgstat_report_activity(STATE_IDLE, NULL);
		}
		last = now;
		due = TimestampTzPlusMilliseconds(last, setting_save_interval * INT64CONST(1000));
	}
	return Min(due, wake);
}

/* --- restoring ---------------------------------------------------------- */

static const char *const findings[] = {
	[ACCOUNT_FILE_NONE] = "It is not a file of limits.",
	[ACCOUNT_FILE_TORN] = "It is incomplete or damaged.",
	[ACCOUNT_FILE_OTHER_BYTE_ORDER] = "It is from a machine of another byte order.",
	[ACCOUNT_FILE_OTHER_VERSION] = "It is from another version of meter.",
	[ACCOUNT_FILE_OTHER_SYSTEM] = "It belongs to another database system.",
};

/*
 * The whole file, in memory of the current context; NULL if there is none.
 */
static char *
read_file(size_t *size)
{
	struct stat st;
	char	   *content;
	size_t		done = 0;
	int			fd = BasicOpenFile(FILE_NAME, O_RDONLY | PG_BINARY);

	if (fd < 0)
	{
		if (errno == ENOENT)
			return NULL;
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", FILE_NAME),
				 errhint("All limits begin anew, but for quotas, which are counted from the log. The file is kept as \"%s\".",
						 BAD_NAME)));

		/* what cannot be opened cannot be synced, nor replaced durably */
		if (rename(FILE_NAME, BAD_NAME) != 0)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not rename file \"%s\" to \"%s\": %m",
							FILE_NAME, BAD_NAME)));
		return NULL;
	}
	content = NULL;
	if (fstat(fd, &st) != 0)
		goto failed;
	errno = ENOMEM;
	content = malloc(Max(st.st_size, 1));
	if (content == NULL)
		goto failed;
	while (done < st.st_size)
	{
		ssize_t		n = read(fd, content + done, st.st_size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			goto failed;
		if (n == 0)
			break;
		done += n;
	}
	close(fd);
	*size = done;
	return content;

failed:
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not read file \"%s\": %m", FILE_NAME),
			 errhint("All limits begin anew, but for quotas, which are counted from the log. The file is kept as \"%s\".",
					 BAD_NAME)));
	close(fd);
	free(content);
	(void) durable_rename(FILE_NAME, BAD_NAME, LOG);
	return NULL;
}

/*
 * While the server starts: no other process is there.  Afterwards the file is
 * written again, as one that calls may have followed.
 */
void
account_file_load(void)
{
	size_t		size;
	char	   *content = read_file(&size);
	AccountFileFinding finding;

	if (content == NULL)
		return;
	finding = account_file_check(content, size, GetSystemIdentifier());
	if (finding != ACCOUNT_FILE_WHOLE)
	{
		ereport(LOG,
				(errmsg("ignored file \"%s\"", FILE_NAME),
				 errdetail_internal("%s", findings[finding]),
				 errhint("All limits begin anew, but for quotas, which are counted from the log. The file is kept as \"%s\".",
						 BAD_NAME)));
		(void) durable_rename(FILE_NAME, BAD_NAME, LOG);
	}
	else
	{
		AccountFileHeader header;
		char		boot[ACCOUNT_FILE_BOOT];
		int64		clock = account_clock();
		int64		elapsed;
		uint64		lost;

		memcpy(&header, content, sizeof(header));
		read_boot(boot);
		if (boot[0] != '\0' && strcmp(boot, header.boot) == 0)
			elapsed = clock - header.clock;
		else
			elapsed = GetCurrentTimestamp() - header.saved_at;
		lost = account_file_restore(account_table, content, size,
									Max(elapsed, 0), clock, account_hash);
		if (header.clean == 1 && lost == 0)
			account_shared->counting_since = header.counting_since;
		if (lost > 0)
			ereport(LOG,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("there is no room for " UINT64_FORMAT " tenants or users of file \"%s\"",
							lost, FILE_NAME),
					 errhint("Increase meter.limit_memory.")));

		/* what is said to be clean now must not be believed later */
		if (!account_file_save(false))
			(void) unlink(FILE_NAME);
	}
	free(content);
}

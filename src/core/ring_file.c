/*
 * ring_file.c
 *		The event queue: opening its file, replacing a damaged one, attaching.
 *
 * See ring.h for the meaning.  A file to be opened is looked at through a
 * read-only mapping.  If it is all right it becomes writable where it is.
 * Otherwise a new one is made as path.new, complete and on disk, before the
 * old one gets a second name and the new one is renamed over it.  So at any
 * moment path is one of the two, and dying in between only means that it is
 * done again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/ring_file.h"

/* Room for what is appended to a path. */
#define SUFFIX_ROOM 32
#define MAX_SET_ASIDE 100000

__attribute__((format(printf, 3, 4))) static bool
fail(RingReport *report, int error, const char *format,...)
{
	va_list		args;
	size_t		n;

	report->outcome = RING_FAILED;
	report->error = error;
	va_start(args, format);
	vsnprintf(report->message, sizeof(report->message), format, args);
	va_end(args);
	n = strlen(report->message);
	snprintf(report->message + n, sizeof(report->message) - n, ": %s",
			 strerror(error));
	return false;
}

__attribute__((format(printf, 2, 3))) static void
add_message(RingReport *report, const char *format,...)
{
	size_t		n = strlen(report->message);
	va_list		args;

	va_start(args, format);
	vsnprintf(report->message + n, sizeof(report->message) - n, format, args);
	va_end(args);
}

/*
 * Allocate the blocks of a file.  Where the file system has no way to do that
 * a fresh file gets them by being written; one that was there has been.
 */
static int
allocate(int fd, uint64_t size, bool fresh)
{
	static const char zeros[65536];
	int			error;

#ifdef __APPLE__
	error = EINVAL;
#else
	do
		error = posix_fallocate(fd, 0, (off_t) size);
	while (error == EINTR);
#endif
	if (error != EINVAL && error != EOPNOTSUPP)
		return error;
	if (!fresh)
		return 0;

	for (uint64_t done = 0; done < size;)
	{
		uint64_t	n = size - done;
		ssize_t		written;

		written = pwrite(fd, zeros, n < sizeof(zeros) ? n : sizeof(zeros),
						 (off_t) done);
		if (written > 0)
			done += written;
		else if (written == 0 || errno != EINTR)
			return written == 0 ? ENOSPC : errno;
	}
	return 0;
}

static bool
map(Ring *ring, int fd, uint64_t capacity, uint64_t available, int protection)
{
	void	   *base = mmap(NULL, RING_HEADER_SIZE + available, protection,
							MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return false;
	ring->header = base;
	ring->data = (unsigned char *) base + RING_HEADER_SIZE;
	ring->capacity = capacity;
	ring->available = available;
	ring->mapped = RING_HEADER_SIZE + available;
	return true;
}

/*
 * Make a file.  If old is not NULL, its records are carried over.  On failure
 * there is no such file and errno says why.
 */
static bool
make_file(Ring *ring, const char *path, uint64_t capacity,
		  uint64_t system_identifier, uint64_t epoch, const Ring *old,
		  const RingSurvey *survey, RingReport *report)
{
	int			fd;
	int			error;

	/* The umask decides whether the group may read, as it does in PGDATA. */
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0)
		return false;
	error = allocate(fd, RING_HEADER_SIZE + capacity, true);
	if (error == 0 &&
		!map(ring, fd, capacity, capacity, PROT_READ | PROT_WRITE))
		error = errno;
	if (error == 0)
	{
		if (old != NULL)
		{
			ring->n_epochs = old->n_epochs;
			memcpy(ring->epoch, old->epoch, sizeof(ring->epoch));
			atomic_init(&ring->header->read_position, survey->first);
			atomic_init(&ring->header->write_position, survey->end);
			ring_carry(ring, old, survey);
		}
		report->epoch_kept = !ring_begin_epoch(ring, epoch);
		ring_make_constants(&ring->header->constants, capacity,
							system_identifier);
		if (!ring_sync(ring) || fsync(fd) != 0)
			error = errno;
	}
	close(fd);
	if (error != 0)
	{
		ring_close(ring);
		unlink(path);
		errno = error;
		return false;
	}
	return true;
}

/* So that a rename survives a power failure.  Some file systems refuse. */
static bool
sync_directory(const char *path)
{
	char		directory[RING_MAX_PATH];
	char	   *slash;
	int			fd;
	int			result;

	snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	if (slash == NULL)
		strcpy(directory, ".");
	else
		slash[slash == directory ? 1 : 0] = '\0';
	fd = open(directory, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	result = fsync(fd);
	if (result != 0 && (errno == EINVAL || errno == EBADF))
		result = 0;
	close(fd);
	return result == 0;
}

/* Give the old file another name, and its own to the new one. */
static bool
replace_file(const char *path, const char *new_path, RingReport *report)
{
	const char *kind;
	int			error;

	kind = report->finding < RING_OTHER_BYTE_ORDER ? "damaged" : "foreign";
	if (report->finding != RING_WHOLE)
	{
		int			n = 0;
		int			result;

		do
		{
			n++;
			snprintf(report->set_aside, sizeof(report->set_aside),
					 "%s.%s.%d", path, kind, n);
			result = link(path, report->set_aside);
		} while (result != 0 && errno == EEXIST && n < MAX_SET_ASIDE);
		if (result != 0)
		{
			error = errno;
			report->set_aside[0] = '\0';
			return fail(report, error, "could not set aside file \"%s\"",
						path);
		}
	}
	if (rename(new_path, path) != 0)
	{
		error = errno;
		if (report->set_aside[0] != '\0')
			unlink(report->set_aside);
		report->set_aside[0] = '\0';
		return fail(report, error, "could not rename file \"%s\" to \"%s\"",
					new_path, path);
	}
	if (!sync_directory(path))
		return fail(report, errno, "could not sync the directory of \"%s\"",
					path);
	return true;
}

/*
 * See what a file is, and map it if its records can be read: ring->header is
 * NULL if not.  Positions and records are not looked at.
 */
static bool
map_file(Ring *ring, int fd, const char *path, uint64_t system_identifier,
		 int protection, RingReport *report)
{
	RingConstants constants;
	struct stat st;
	uint64_t	size;
	uint64_t	available;

	if (fstat(fd, &st) != 0)
		return fail(report, errno, "could not stat file \"%s\"", path);
	if (!S_ISREG(st.st_mode))
		return fail(report, EINVAL, "\"%s\" is not a regular file", path);
	size = (uint64_t) st.st_size;
	if (size < RING_HEADER_SIZE)
	{
		report->finding = RING_BAD_SIZE;
		return true;
	}
	errno = 0;
	if (pread(fd, &constants, sizeof(constants), 0) != sizeof(constants))
		return fail(report, errno != 0 ? errno : EIO,
					"could not read file \"%s\"", path);
	report->finding = ring_check_constants(&constants, system_identifier);
	if (report->finding != RING_WHOLE)
		return true;

	available = size - RING_HEADER_SIZE;
	if (available != constants.capacity)
		report->finding = RING_BAD_SIZE;
	if (available > constants.capacity)
		available = constants.capacity;
	if (!map(ring, fd, constants.capacity, available, protection))
		return fail(report, errno, "could not map file \"%s\"", path);
	if (!ring_load_epochs(ring))
	{
		report->finding = RING_BAD_EPOCHS;
		ring_close(ring);
	}
	return true;
}

/*
 * Map a file for reading and look at its records.  old->header is NULL if
 * they cannot be read.
 */
static bool
inspect_file(Ring *old, int fd, const char *path, uint64_t wanted,
			 uint64_t system_identifier, RingReport *report,
			 RingSurvey *survey)
{
	uint64_t	read;
	uint64_t	write;

	if (!map_file(old, fd, path, system_identifier, PROT_READ, report))
		return false;
	if (old->header == NULL)
		return true;

	read = ring_read_position(old);
	write = ring_write_position(old);
	if (read % 8 != 0 || write % 8 != 0 || write > INT64_MAX ||
		read > write || write - read > old->capacity)
	{
		report->finding = RING_BAD_POSITIONS;
		ring_close(old);
		return true;
	}

	ring_survey(old, wanted, survey);
	report->records = survey->records;
	report->lost = survey->lost;
	if (survey->lost > 0 && report->finding == RING_WHOLE)
		report->finding = RING_BAD_RECORDS;
	return true;
}

/* Go on with a file that is all right. */
static bool
use_file(Ring *ring, Ring *old, int fd, const char *path, uint64_t epoch,
		 RingReport *report)
{
	int			error;

	/* The file may have been copied without the blocks that are zero. */
	error = allocate(fd, old->mapped, false);
	if (error != 0)
		return fail(report, error, "could not allocate file \"%s\"", path);
	if (mprotect(old->header, old->mapped, PROT_READ | PROT_WRITE) != 0)
		return fail(report, errno, "could not map file \"%s\"", path);
	report->epoch_kept = !ring_begin_epoch(old, epoch);
	if (msync(old->header, RING_HEADER_SIZE, MS_SYNC) != 0 || fsync(fd) != 0)
		return fail(report, errno, "could not sync file \"%s\"", path);
	*ring = *old;
	memset(old, 0, sizeof(*old));
	return true;
}

static const char *
finding_text(RingFinding finding)
{
	switch (finding)
	{
		case RING_WHOLE:
			return "is whole";
		case RING_BAD_RECORDS:
			return "has damaged records";
		case RING_BAD_SIZE:
			return "is shorter or longer than it was made";
		case RING_BAD_MAGIC:
			return "is not a queue file";
		case RING_BAD_HEADER:
			return "has a damaged header";
		case RING_BAD_EPOCHS:
			return "has a damaged list of epochs";
		case RING_BAD_POSITIONS:
			return "has impossible positions";
		case RING_OTHER_BYTE_ORDER:
			return "is from a machine of another byte order";
		case RING_OTHER_VERSION:
			return "is in another version's format";
		case RING_OTHER_SYSTEM:
			return "belongs to another database system";
	}
	return "is in an unknown state";
}

/* All but failures, which have their message already. */
static void
write_message(RingReport *report, const Ring *ring, const char *path,
			  uint64_t wanted)
{
	unsigned long long capacity = ring->capacity;
	unsigned long long records = report->records;

	switch (report->outcome)
	{
		case RING_FAILED:
			return;
		case RING_CREATED:
			add_message(report, "created queue file \"%s\" of %llu bytes", path,
						capacity);
			break;
		case RING_REOPENED:
			add_message(report, "opened queue file \"%s\" with %llu records"
						" waiting", path, records);
			break;
		case RING_RESIZED:
			add_message(report, "changed queue file \"%s\" to %llu bytes, with"
						" %llu records waiting", path, capacity, records);
			break;
		case RING_ATTACHED:
			add_message(report, "attached to queue file \"%s\" of %llu bytes",
						path, capacity);
			break;
		case RING_SALVAGED:
			add_message(report, "queue file \"%s\" %s: kept %llu whole records,"
						" lost %llu bytes, set the old file aside as \"%s\"",
						path, finding_text(report->finding), records,
						(unsigned long long) report->lost, report->set_aside);
			break;
		case RING_REPLACED:
			add_message(report, "queue file \"%s\" %s: made a new one, set the"
						" old file aside as \"%s\"", path,
						finding_text(report->finding), report->set_aside);
			break;
	}
	if (report->error != 0)
		add_message(report, "; the capacity stays %llu bytes, as a file of %llu"
					" bytes could not be made: %s", capacity,
					(unsigned long long) wanted, strerror(report->error));
	else if (report->capacity_kept)
		add_message(report, "; the capacity stays %llu bytes, as the records"
					" waiting do not fit %llu", capacity,
					(unsigned long long) wanted);
	if (report->epoch_kept)
		add_message(report, "; no new epoch was begun, as records of %d are"
					" waiting", RING_MAX_EPOCHS);
}

bool
ring_open(Ring *ring, const char *path, uint64_t capacity,
		  uint64_t system_identifier, uint64_t epoch, RingReport *report)
{
	char		new_path[RING_MAX_PATH];
	Ring		old;
	RingSurvey	survey;
	bool		readable;
	bool		whole;
	bool		make;
	bool		done = false;
	int			fd;

	memset(ring, 0, sizeof(*ring));
	memset(report, 0, sizeof(*report));
	memset(&old, 0, sizeof(old));
	memset(&survey, 0, sizeof(survey));
	if (!ring_is_capacity(capacity))
		return fail(report, EINVAL, "a queue cannot have %llu bytes",
					(unsigned long long) capacity);
	if (strlen(path) >= RING_MAX_PATH - SUFFIX_ROOM)
		return fail(report, ENAMETOOLONG, "could not open a queue file");
	strcat(strcpy(new_path, path), ".new");

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return fail(report, errno, "could not open file \"%s\"", path);
	if (fd >= 0 && !inspect_file(&old, fd, path, capacity, system_identifier,
								 report, &survey))
	{
		close(fd);
		return false;
	}
	readable = old.header != NULL;
	whole = readable && report->finding == RING_WHOLE;
	report->capacity_kept = readable && old.capacity != capacity &&
		!survey.fits;
	make = !whole || (old.capacity != capacity && survey.fits);

	if (make)
	{
		if (fd < 0)
			report->outcome = RING_CREATED;
		else if (whole)
			report->outcome = RING_RESIZED;
		else
			report->outcome = readable ? RING_SALVAGED : RING_REPLACED;

		if (make_file(ring, new_path,
					  report->capacity_kept ? old.capacity : capacity,
					  system_identifier, epoch, readable ? &old : NULL,
					  &survey, report))
		{
			done = replace_file(path, new_path, report);
			if (!done)
			{
				unlink(new_path);
				ring_close(ring);
			}
		}
		else if (!whole)
			fail(report, errno, "could not make file \"%s\"", new_path);
		else
		{
			/* A full disk is no reason to do without a queue. */
			make = false;
			report->error = errno;
			report->capacity_kept = true;
		}
	}
	if (!make)
	{
		report->outcome = RING_REOPENED;
		done = use_file(ring, &old, fd, path, epoch, report);
	}

	ring_close(&old);
	if (fd >= 0)
		close(fd);
	write_message(report, ring, path, capacity);
	return done;
}

bool
ring_attach(Ring *ring, const char *path, uint64_t system_identifier,
			RingReport *report)
{
	bool		done;
	int			fd;

	memset(ring, 0, sizeof(*ring));
	memset(report, 0, sizeof(*report));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail(report, errno, "could not open file \"%s\"", path);
	done = map_file(ring, fd, path, system_identifier, PROT_READ | PROT_WRITE,
					report);
	close(fd);
	if (!done)
		return false;

	/* Putting it right is for ring_open, when nobody else has it mapped. */
	if (report->finding != RING_WHOLE)
	{
		ring_close(ring);
		report->error = EINVAL;
		add_message(report, "could not attach to queue file \"%s\": it %s",
					path, finding_text(report->finding));
		return false;
	}
	report->outcome = RING_ATTACHED;
	write_message(report, ring, path, ring->capacity);
	return true;
}

/* On every system with a unified page cache msync writes what fsync does. */
bool
ring_sync(const Ring *ring)
{
	return msync(ring->header, ring->mapped, MS_SYNC) == 0;
}

void
ring_close(Ring *ring)
{
	if (ring->header != NULL)
		munmap(ring->header, ring->mapped);
	memset(ring, 0, sizeof(*ring));
}

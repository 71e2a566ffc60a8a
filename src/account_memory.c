/*
 * account_memory.c
 *		The memory of the accounts of limits.
 */
#include "postgres.h"

#include <sys/mman.h>

#include "storage/ipc.h"
#include "storage/pg_shmem.h"
#include "storage/shmem.h"

#include "account_memory.h"
#include "core/account.h"

/* Since Linux 6.1; the C library's headers may be older. */
#if defined(__linux__) && !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25
#endif

#define HUGE_PAGE ((Size) 2 * 1024 * 1024)

/* In a call, as the launcher has other things to do. */
#define MAX_JOINED 256

#define IN_PAGES(size) TYPEALIGN(HUGE_PAGE, size)

/*
 * Processes that the postmaster forks have its mapping; where they are started
 * anew instead, they have only PostgreSQL's own shared memory.
 */
static bool
has_own_mapping(void)
{
#if defined(MADV_COLLAPSE) && !defined(EXEC_BACKEND)
	return huge_pages == HUGE_PAGES_TRY;
#else
	return false;
#endif
}

void
account_memory_request(Size size)
{
	if (!has_own_mapping())
		RequestAddinShmemSpace(add_size(size, ACCOUNT_BLOCK));
}

/*
 * A mapping that begins with a huge page, as only then the kernel can join its
 * pages: one of private memory finds the place.
 */
static void *
map_memory(Size size)
{
	char	   *place = mmap(NULL, size + HUGE_PAGE, PROT_NONE,
							 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char	   *memory = MAP_FAILED;

	if (place != MAP_FAILED)
	{
		memory = (char *) TYPEALIGN(HUGE_PAGE, place);
		memory = mmap(memory, size, PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	}
	if (memory == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes of shared memory for the limits of meter: %m",
						size),
				 errhint("Reduce meter.limit_memory.")));
	return memory;
}

/* In the postmaster and all that it has forked. */
static char *mapping = NULL;
static Size mapping_size = 0;

void *
account_memory_get(Size size)
{
	bool		found;

	if (!has_own_mapping())
		return (void *)
			TYPEALIGN(ACCOUNT_BLOCK,
					  ShmemInitStruct("meter account table",
									  add_size(size, ACCOUNT_BLOCK), &found));

	if (mapping == NULL)
	{
		mapping_size = IN_PAGES(size);
		mapping = map_memory(mapping_size);
	}
	/* after the crash of a backend, the postmaster still has what was in it */
	else if (madvise(mapping, mapping_size, MADV_REMOVE) != 0)
		memset(mapping, 0, mapping_size);
	return mapping;
}

void
account_memory_join(Size size)
{
#ifdef MADV_COLLAPSE
	static Size joined = 0;
	Size		end = Min(IN_PAGES(size), mapping_size);

	end = Min(end, joined + MAX_JOINED * HUGE_PAGE);

	/* what could not be joined this time is tried again the next time */
	while (joined < end &&
		   madvise(mapping + joined, HUGE_PAGE, MADV_COLLAPSE) == 0)
		joined += HUGE_PAGE;
#endif
}

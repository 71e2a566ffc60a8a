/*
 * server.c
 *		What each call needs of the server, next to each other.
 */
#define METER_SERVER_C

#include "postgres.h"

#include <dlfcn.h>

#include "core/hot.h"
#include "server.h"

HOT_DATA Server server = {
	.lwlock_acquire = LWLockAcquire,
	.lwlock_release = LWLockRelease,
	.accept_invalidation_messages = AcceptInvalidationMessages,
	.get_outer_user_id = GetOuterUserId,
	.get_session_user_id = GetSessionUserId,
	.detoast_datum = pg_detoast_datum,
	.detoast_datum_packed = pg_detoast_datum_packed,
	.get_current_timestamp = GetCurrentTimestamp,
	.is_in_parallel_mode = IsInParallelMode,
	.recovery_in_progress = RecoveryInProgress,
	.cstring_to_text_with_len = cstring_to_text_with_len,
	.text_to_cstring = text_to_cstring,
	.monotonic_clock = clock_gettime,
	.gettimeofday = gettimeofday,
	.interrupt_pending = &InterruptPending,
	.my_database_id = &MyDatabaseId,
	.parallel_worker_number = &ParallelWorkerNumber,
};

/*
 * The kernel's own function, of which there is a copy in each process: the C
 * library's one first looks at two pages of its own to find it.  While the server
 * loads the library.
 */
void
server_init(void)
{
#ifdef __linux__
	static const char *const names[] = {"__vdso_clock_gettime", "__kernel_clock_gettime"};
	void	   *kernel = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
	struct timespec now;

	for (int i = 0; i < lengthof(names) && kernel != NULL; i++)
	{
		__typeof__(&clock_gettime) clock = (__typeof__(&clock_gettime)) dlsym(kernel, names[i]);

		if (clock != NULL && clock(CLOCK_MONOTONIC, &now) == 0)
			server.monotonic_clock = clock;
	}
#endif
}

/*
 * server.c
 *		What each call needs of the server, next to each other.
 */
#define METER_SERVER_C

#include "postgres.h"

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
	.hash_bytes_extended = hash_bytes_extended,
	.clock_gettime = clock_gettime,
	.gettimeofday = gettimeofday,
	.interrupt_pending = &InterruptPending,
	.my_database_id = &MyDatabaseId,
	.parallel_worker_number = &ParallelWorkerNumber,
};

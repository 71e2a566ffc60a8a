/*
 * server.h
 *		What each call needs of the server, next to each other.
 *
 * The library's own table of the server's addresses, which the linker makes, has
 * hundreds of them in the order of a hash of their names, so that each of those
 * that a call needs costs a cache line.  A file that each call runs (core/hot.h)
 * includes this after all others, and has these from here.
 */
#ifndef METER_SERVER_H
#define METER_SERVER_H

#include <sys/time.h>
#include <time.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

typedef struct Server
{
	__typeof__(&LWLockAcquire) lwlock_acquire;
	__typeof__(&LWLockRelease) lwlock_release;
	__typeof__(&AcceptInvalidationMessages) accept_invalidation_messages;
	__typeof__(&GetOuterUserId) get_outer_user_id;
	__typeof__(&GetSessionUserId) get_session_user_id;
	__typeof__(&pg_detoast_datum) detoast_datum;
	__typeof__(&pg_detoast_datum_packed) detoast_datum_packed;
	__typeof__(&GetCurrentTimestamp) get_current_timestamp;
	__typeof__(&IsInParallelMode) is_in_parallel_mode;
	__typeof__(&RecoveryInProgress) recovery_in_progress;
	__typeof__(&cstring_to_text_with_len) cstring_to_text_with_len;
	__typeof__(&text_to_cstring) text_to_cstring;
	__typeof__(&clock_gettime) monotonic_clock; /* for CLOCK_MONOTONIC */
	__typeof__(&gettimeofday) gettimeofday;
	__typeof__(&InterruptPending) interrupt_pending;
	__typeof__(&MyDatabaseId) my_database_id;
	__typeof__(&ParallelWorkerNumber) parallel_worker_number;
} Server;

extern Server server;

extern void server_init(void);

#ifndef METER_SERVER_C
#define LWLockAcquire server.lwlock_acquire
#define LWLockRelease server.lwlock_release
#define AcceptInvalidationMessages server.accept_invalidation_messages
#define GetOuterUserId server.get_outer_user_id
#define GetSessionUserId server.get_session_user_id
#define pg_detoast_datum server.detoast_datum
#define pg_detoast_datum_packed server.detoast_datum_packed
#define GetCurrentTimestamp server.get_current_timestamp
#define IsInParallelMode server.is_in_parallel_mode
#define RecoveryInProgress server.recovery_in_progress
#define cstring_to_text_with_len server.cstring_to_text_with_len
#define text_to_cstring server.text_to_cstring
#define InterruptPending (*server.interrupt_pending)
#define MyDatabaseId (*server.my_database_id)
#define ParallelWorkerNumber (*server.parallel_worker_number)
#endif

#endif							/* METER_SERVER_H */

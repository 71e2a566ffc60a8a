/*
 * violation.c
 *		Recording attempts of a tenant's session to reach what is another's.
 *
 * The statement that was caught is about to be rolled back, and its violation
 * must stay.  So it goes into the queue of events, as an event with a flag of
 * its own, and the flush puts it into meter.isolation_violation and tells who
 * listens.  Where there is no queue, a background worker does the same, in a
 * transaction of its own, and is waited for.  The server log has it in any
 * case, and alone on a standby.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "owner.h"
#include "query_mask.h"
#include "queue.h"
#include "shared.h"
#include "violation.h"

#define MAX_QUERY 4096
#define METRIC "isolation_violation"

/*
 * Of one statement so many are recorded, the others only counted.  Calls have
 * a limit of their own: tenants that are not there can be named without end,
 * and must not hide what is done to those that are.
 */
#define MAX_OBJECTS 1000
#define MAX_CALLS 100

/* --- the same again ----------------------------------------------------- */

static uint64
hash_of(const Violation *violation)
{
	const char *parts[] = {violation->command, violation->tenant,
	violation->foreign_tenant, violation->object_type, violation->object};
	uint64		hash = 0;

	for (int i = 0; i < lengthof(parts); i++)
		hash = hash_combine64(hash, parts[i] == NULL ? 1 :
							  hash_bytes_extended((const unsigned char *) parts[i],
												  strlen(parts[i]), 0));
	return hash;
}

static HTAB *
make_known(void)
{
	HASHCTL		info = {0};

	info.keysize = info.entrysize = sizeof(uint64);
	return hash_create("meter violations", 64, &info, HASH_ELEM | HASH_BLOBS);
}

/*
 * Was the same recorded before, in the statement that the client has sent?  A
 * function may come to an object a million times.
 */
static bool
is_repeat(const Violation *violation)
{
	static TimestampTz statement = 0;
	static HTAB *known = NULL;
	static int	objects = 0;
	static int	calls = 0;
	int		   *n = violation->object != NULL ? &objects : &calls;
	int			limit = violation->object != NULL ? MAX_OBJECTS : MAX_CALLS;
	uint64		hash = hash_of(violation);

	if (known == NULL || statement != GetCurrentStatementStartTimestamp())
	{
		if (known != NULL)
			hash_destroy(known);
		known = NULL;
		known = make_known();
		statement = GetCurrentStatementStartTimestamp();
		objects = calls = 0;
	}
	if (hash_search(known, &hash, HASH_FIND, NULL) != NULL)
		return true;
	if (*n == limit + 1)
		return true;
	if (++*n > limit)
	{
		ereport(LOG_SERVER_ONLY,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("further isolation violations of the statement are only counted"),
				 errhidestmt(true), errhidecontext(true)));
		return true;
	}
	(void) hash_search(known, &hash, HASH_ENTER, NULL);
	return false;
}

static void
count(void)
{
	SharedDatabase *database = shared_available() ? shared_database(true) : NULL;

	if (database == NULL)
		return;
	LWLockAcquire(database->lock, LW_EXCLUSIVE);
	database->counters.violations++;
	LWLockRelease(database->lock);
}

/* --- what is recorded --------------------------------------------------- */

/*
 * What is called a tenant in a call is anything, of any length.  Longer ones
 * than there can be would not fit into a notification.
 */
static const char *
shorten(const char *tenant)
{
	if (tenant == NULL || strlen(tenant) <= EVENT_MAX_TENANT)
		return tenant;
	return pnstrdup(tenant, pg_mbcliplen(tenant, strlen(tenant), EVENT_MAX_TENANT));
}

static char *
client_address(void)
{
	LOCAL_FCINFO(fcinfo, 0);
	Datum		address;

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	address = inet_client_addr(fcinfo);
	return fcinfo->isnull ? NULL :
		DatumGetCString(DirectFunctionCall1(inet_out, address));
}

static void
put(JsonbInState *state, const char *key, const char *text)
{
	JsonbValue	value;

	if (text == NULL)
		return;
	value.type = jbvString;
	value.val.string.val = (char *) key;
	value.val.string.len = strlen(key);
	compat_push_jsonb(state, WJB_KEY, &value);
	value.val.string.val = (char *) text;

	value.val.string.len = strlen(text);
	compat_push_jsonb(state, WJB_VALUE, &value);
}

static Jsonb *
describe(const Violation *violation)
{
	JsonbInState state = {0};

	compat_push_jsonb(&state, WJB_BEGIN_OBJECT, NULL);
	put(&state, "role", GetUserNameFromId(GetSessionUserId(), true));
	put(&state, "tenant", violation->tenant);
	put(&state, "foreign_tenant", violation->foreign_tenant);
	put(&state, "object_type", violation->object_type);
	put(&state, "object", violation->object);
	put(&state, "command", violation->command);
	if (debug_query_string != NULL)
		put(&state, "query", query_mask(debug_query_string, MAX_QUERY));
	put(&state, "refused", violation->refused ? "true" : "false");
	put(&state, "client_address", client_address());
	if (application_name != NULL && application_name[0] != '\0')
		put(&state, "application_name", application_name);
	put(&state, "pid", psprintf("%d", MyProcPid));
	compat_push_jsonb(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

static void
log_violation(const Violation *violation)
{
	StringInfoData detail;

	initStringInfo(&detail);
	if (violation->tenant != NULL)
		appendStringInfo(&detail, "A session of tenant \"%s\"", violation->tenant);
	else
		appendStringInfoString(&detail, "A session without a context");
	if (violation->object == NULL)
		appendStringInfo(&detail, " called %s() for tenant \"%s\".", violation->command,
						 violation->foreign_tenant);
	else
	{
		appendStringInfo(&detail, " reached %s %s", violation->object_type, violation->object);
		if (violation->foreign_tenant != NULL)
			appendStringInfo(&detail, " of tenant \"%s\"", violation->foreign_tenant);
		appendStringInfo(&detail, " with %s.", violation->command);
	}
	ereport(LOG_SERVER_ONLY,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s isolation violation", violation->refused ? "refused" : "recorded"),
			 errdetail_log("%s", detail.data),
			 errhidestmt(true), errhidecontext(true)));
}

/* --- into the table ----------------------------------------------------- */

/*
 * Put one into meter.isolation_violation, and tell who listens.
 */
void
violation_store(TimestampTz at, Jsonb *violation)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	Datum		args[2];

	owner_begin(&scope);
	owner_plan(&plan,
			   "WITH stored AS ("
			   " INSERT INTO meter.isolation_violation AS v (at, role, tenant, foreign_tenant,"
			   "  object_type, object, command, query, refused, client_address,"
			   "  application_name, pid)"
			   " SELECT $1, $2->>'role', $2->>'tenant', $2->>'foreign_tenant',"
			   "  $2->>'object_type', $2->>'object', $2->>'command', $2->>'query',"
			   "  ($2->>'refused')::boolean, ($2->>'client_address')::inet,"
			   "  $2->>'application_name', ($2->>'pid')::integer"
			   " RETURNING v.*)"
			   "SELECT pg_notify('meter', jsonb_strip_nulls(jsonb_build_object("
			   " 'event', 'api.isolation.violation', 'at', s.at, 'role', s.role,"
			   " 'tenant', s.tenant, 'foreign_tenant', s.foreign_tenant,"
			   " 'object_type', s.object_type, 'object', left(s.object, 500),"
			   " 'command', s.command, 'refused', s.refused,"
			   " 'client_address', host(s.client_address)))::text) FROM stored AS s",
			   2, TIMESTAMPTZOID, JSONBOID);
	args[0] = TimestampTzGetDatum(at);
	args[1] = JsonbPGetDatum(violation);
	if (SPI_execute_plan(plan, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not store a violation");
	owner_end(&scope);
}

/* --- by the queue ------------------------------------------------------- */

static bool
store_by_queue(TimestampTz at, Jsonb *violation)
{
	SharedDatabase *database = shared_available() ? shared_database(true) : NULL;
	Event		event = {0};

	if (database == NULL)
		return false;
	event.received_at = event.at = at;
	event.has_at = true;
	event.violation = true;
	event.tenant = cstring_to_text("");
	event.metric = cstring_to_text(METRIC);
	event.quantity = int64_to_numeric(0);
	event.metadata = violation;
	if (!queue_put(&event, false))
		return false;
	shared_wake_flusher(database);
	return true;
}

/* --- by a worker -------------------------------------------------------- */

/* What the worker gets, before the violation itself. */
typedef struct WorkerTask
{
	Oid			database;
	TimestampTz at;
	bool		stored;			/* the worker has committed */
} WorkerTask;

extern PGDLLEXPORT void meter_violation_main(Datum arg);

static void
set_for_worker(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

void
meter_violation_main(Datum arg)
{
	dsm_segment *segment;
	WorkerTask *task;

	BackgroundWorkerUnblockSignals();
	segment = dsm_attach(DatumGetUInt32(arg));
	if (segment == NULL)
		return;					/* the server's end is near */

	/* it stays mapped over the transaction */
	dsm_pin_mapping(segment);
	task = dsm_segment_address(segment);
	BackgroundWorkerInitializeConnectionByOid(task->database, InvalidOid,
											  BGWORKER_BYPASS_ALLOWCONN);

	/* what the database has as defaults for others must not stop this */
	set_for_worker("lock_timeout", "1s");
	set_for_worker("default_transaction_isolation", "read committed");
	set_for_worker("default_transaction_read_only", "off");
	set_for_worker("synchronous_commit", "local");
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "recording an isolation violation");
	violation_store(task->at, (Jsonb *) ((char *) task + MAXALIGN(sizeof(WorkerTask))));
	PopActiveSnapshot();
	CommitTransactionCommand();
	task->stored = true;
	dsm_detach(segment);
}

/*
 * Waits for the worker.  False if there is none to be had, or if it failed.
 *
 * Nothing can cancel the waiting, which would take the violation away from the
 * worker, or with a statement_timeout of a millisecond let one session use up
 * all workers.  It is short, since the worker waits for no lock for long.
 */
static bool
store_by_worker(TimestampTz at, Jsonb *violation)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	dsm_segment *segment;
	WorkerTask *task;
	bool		stored = false;

	segment = dsm_create(MAXALIGN(sizeof(WorkerTask)) + VARSIZE(violation),
						 DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (segment == NULL)
		return false;
	task = dsm_segment_address(segment);
	task->database = MyDatabaseId;
	task->at = at;
	task->stored = false;
	memcpy((char *) task + MAXALIGN(sizeof(WorkerTask)), violation, VARSIZE(violation));

	snprintf(worker.bgw_name, BGW_MAXLEN, "meter isolation violation");
	snprintf(worker.bgw_type, BGW_MAXLEN, "meter isolation violation");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "meter", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "meter_violation_main",
			sizeof(worker.bgw_function_name));
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	worker.bgw_notify_pid = MyProcPid;
	if (RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		HOLD_INTERRUPTS();
		stored = WaitForBackgroundWorkerShutdown(handle) == BGWH_STOPPED && task->stored;
		RESUME_INTERRUPTS();
	}
	dsm_detach(segment);
	return stored;
}

/* --- recording ---------------------------------------------------------- */

void
violation_record(const Violation *violation)
{
	MemoryContext context;
	MemoryContext old;
	TimestampTz at = GetCurrentTimestamp();
	Jsonb	   *described;
	Violation	shortened = *violation;

	count();
	if (is_repeat(violation))
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "meter violation",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	shortened.tenant = shorten(violation->tenant);
	shortened.foreign_tenant = shorten(violation->foreign_tenant);
	log_violation(&shortened);
	if (!RecoveryInProgress())
	{
		described = describe(&shortened);
		if (!store_by_queue(at, described) && !store_by_worker(at, described))
			ereport(LOG_SERVER_ONLY,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("an isolation violation is in the server log only"),
					 errhint("Preload meter, increase \"max_worker_processes\", or mend what its worker has logged.")));
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

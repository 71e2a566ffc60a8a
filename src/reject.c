/*
 * reject.c
 *		Keeping events that were refused, in meter.rejected_event.
 *
 * Whoever could be told by an error was told; here is what arrived in bulk,
 * where one bad event must neither stop the others nor vanish.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "owner.h"
#include "reject.h"
#include "secret.h"

static const char *const sources[] = {
	[REJECT_INBOX] = "inbox",
	[REJECT_BATCH] = "batch",
	[REJECT_QUEUE] = "queue",
};

/*
 * Store one refused event as JSON, with credentials masked; without its
 * content if that is NULL or larger than REJECT_MAX_EVENT.
 */
void
reject_store(RejectSource source, const EventError *error, text *tenant,
			 Jsonb *event)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	Datum		args[5];
	char		nulls[6] = "     ";

	owner_begin(&scope);
	owner_plan(&plan,
			   "INSERT INTO meter.rejected_event "
			   "       (rejected_at, source, sqlstate, reason, tenant, event) "
			   "VALUES (pg_catalog.clock_timestamp(), $1, $2, $3, pg_catalog.left($4, 128), "
			   "        coalesce($5, '{}'))",
			   5, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID);
	args[0] = CStringGetTextDatum(sources[source]);
	args[1] = CStringGetTextDatum(unpack_sql_state(error->sqlstate));
	args[2] = CStringGetTextDatum(event_reason(error));
	args[3] = PointerGetDatum(tenant);
	if (tenant == NULL)
		nulls[3] = 'n';
	if (event == NULL || VARSIZE(event) > REJECT_MAX_EVENT)
		nulls[4] = 'n';
	else
		args[4] = JsonbPGetDatum(secret_mask_jsonb(event));
	if (SPI_execute_plan(plan, args, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not store a rejected event");
	owner_end(&scope);
}

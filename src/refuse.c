/*
 * refuse.c
 *		Tracking calls that a limit has refused.
 *
 * Such a call is an event of metric api_requests with status 429 and quantity
 * 0, since nothing was used.  It goes into the queue, whatever meter.durability
 * says, as it must not roll back with the caller; and it never waits for room
 * there, as refusing has to be cheap.  What gets into no log is counted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "account.h"
#include "event.h"
#include "ignore.h"
#include "queue.h"
#include "refuse.h"
#include "setting.h"

#define METRIC "api_requests"
#define TOO_MANY_REQUESTS 429

/*
 * A resource is "*", a route, a method and a route, or else a service.
 */
static void
set_resource(Event *event, text *resource)
{
	const char *p = VARDATA_ANY(resource);
	int			length = VARSIZE_ANY_EXHDR(resource);
	const char *blank = memchr(p, ' ', length);

	if (length == 1 && *p == '*')
		return;
	if (*p == '/')
		event->endpoint = resource;
	else if (blank != NULL && blank - p <= EVENT_MAX_METHOD && blank > p &&
			 blank + 1 < p + length && blank[1] == '/')
	{
		event->method = cstring_to_text_with_len(p, blank - p);
		event->endpoint = cstring_to_text_with_len(blank + 1, length - (blank + 1 - p));
	}
	else if (length <= EVENT_MAX_SERVICE)
		event->service = resource;
}

void
refuse_track(const LimitCall *call, const LimitResult *result)
{
	Event		event;
	EventError	error;

	if (!setting_track_refused)
		return;
	memset(&event, 0, sizeof(event));
	event.received_at = event.at = GetCurrentTimestamp();
	event.has_at = true;
	event.tenant = call->tenant;
	event.metric = cstring_to_text(METRIC);
	event.quantity = int64_to_numeric(0);
	event.has_status = true;
	event.status = TOO_MANY_REQUESTS;
	event.user_id = call->user;
	set_resource(&event, call->resource);

	if (IsInParallelMode() || RecoveryInProgress() ||
		!event_check(&event, event.at, false, &error))
		pg_atomic_fetch_add_u64(&account_shared->untracked, 1);
	else if (!event.ignored && !queue_put(&event, false))
		pg_atomic_fetch_add_u64(&account_shared->untracked, 1);
}

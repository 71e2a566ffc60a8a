/*
 * meter.c
 *		Module start: what happens when meter.so is loaded.
 *
 * The library is loaded by shared_preload_libraries or, in a session without
 * preload, by the first call of one of its functions.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "account.h"
#include "compat.h"
#include "budget.h"
#include "context.h"
#include "guard.h"
#include "member.h"
#include "metric.h"
#include "model_price.h"
#include "queue.h"
#include "rule.h"
#include "setting.h"
#include "shared.h"
#include "tenant.h"
#include "utility.h"
#include "worker.h"

/* after all others */
#include "server.h"

METER_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	server_init();
	context_define();
	guard_init();
	setting_define();
	member_init();
	utility_init();
	metric_init();
	queue_init();
	rule_init();
	budget_init();
	model_price_init();
	tenant_init();
	if (process_shared_preload_libraries_in_progress)
	{
		shared_init();
		account_init();
		launcher_init();
	}
}

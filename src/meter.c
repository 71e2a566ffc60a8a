/*
 * meter.c
 *		Module start: what happens when meter.so is loaded.
 *
 * The library is loaded by shared_preload_libraries or, in a session without
 * preload, by the first call of one of its functions.
 */
#include "postgres.h"

#include "fmgr.h"

#include "compat.h"
#include "metric.h"
#include "setting.h"

METER_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	setting_define();
	metric_init();
}

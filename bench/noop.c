/*
 * noop.c
 *		What a call costs by itself: functions that do nothing.
 *
 * bench/clients.sh builds it, gives each of them the arguments of the function
 * it stands for, and calls it as it calls that one: noop() for meter_track(),
 * noop_allow() for meter_allow().  It is no part of meter.so.
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(noop);

Datum
noop(PG_FUNCTION_ARGS)
{
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(noop_allow);

Datum
noop_allow(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}

/*
 * noop.c
 *		What a call costs by itself: a function that does nothing.
 *
 * bench/track.sh builds it, gives it the arguments of meter_track() and calls
 * it as it calls that one.  It is no part of meter.so.
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

/*
 * refuse.h
 *		Tracking calls that a limit has refused.
 */
#ifndef METER_REFUSE_H
#define METER_REFUSE_H

#include "limit.h"

extern void refuse_track(const LimitCall *call, const LimitResult *result);

#endif							/* METER_REFUSE_H */

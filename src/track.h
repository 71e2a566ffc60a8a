/*
 * track.h
 *		Recording events.
 */
#ifndef METER_TRACK_H
#define METER_TRACK_H

#include "event.h"

/* What became of an event. */
typedef enum TrackResult
{
	TRACK_ACCEPTED,
	TRACK_DUPLICATE,
	TRACK_IGNORED
} TrackResult;

extern void track_begin(const char *function);
extern void track_one(Event *event);
extern void track_store(Event *const *events, int n, TrackResult *results);

#endif							/* METER_TRACK_H */

/*
 * log.h
 *		Appending to the log of events.
 */
#ifndef METER_LOG_H
#define METER_LOG_H

#include "event.h"

typedef struct Log Log;

extern Log *log_begin(void);
extern bool log_append(Log *log, const Event *event, EventError *error);
extern void log_end(Log *log);
extern int64 log_appended(const Log *log);

#endif							/* METER_LOG_H */

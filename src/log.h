/*
 * log.h
 *		Appending to the log of events.
 */
#ifndef METER_LOG_H
#define METER_LOG_H

#include "access/htup_details.h"

#include "event.h"

typedef struct Log Log;

/* A point to which an aborted subtransaction takes the log back. */
typedef struct LogMark
{
	int64		last_seq;
	int			ndays;
	struct LogDay *days;
} LogMark;

extern Log *log_begin(void);
extern bool log_day_is_open(const Log *log, TimestampTz at);
extern bool log_check_day(const Log *log, const Event *event,
						  EventError *error);
extern bool log_append(Log *log, const Event *event, EventError *error);
extern void log_append_row(Log *log, HeapTupleHeader row);
extern void log_settle(Log *log);
extern LogMark log_mark(const Log *log);
extern void log_rewind(Log *log, const LogMark *mark);
extern void log_end(Log *log);
extern int64 log_appended(const Log *log);

/* Note that the database is in use, in an owner scope. */
extern void log_note_use(void);

/* Is it? */
extern bool log_in_use(void);

#endif							/* METER_LOG_H */

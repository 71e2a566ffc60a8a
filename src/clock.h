/*
 * clock.h
 *		The time, for what every call runs.
 */
#ifndef METER_CLOCK_H
#define METER_CLOCK_H

#include "datatype/timestamp.h"
#include "server.h"

/*
 * GetCurrentTimestamp(), without the way through the server's code; and of the
 * C library's functions this one has the shortest way to the kernel's clock.
 */
static inline TimestampTz
clock_now(void)
{
	struct timeval now;

	server.gettimeofday(&now, NULL);
	return ((TimestampTz) now.tv_sec -
			(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY) *
		USECS_PER_SEC + now.tv_usec;
}

#endif							/* METER_CLOCK_H */

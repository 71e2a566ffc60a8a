/*
 * clock.c: a library to preload, with which a process takes the time to be
 * CLOCK_OFFSET microseconds later than it is.
 *
 * It is for the servers of test/doc.pl.  Only the time of day is another; what
 * is measured, waited for and noted of files is not.  It keeps no state besides
 * the offset: a server forks from within signal handlers, which may interrupt
 * any of these functions, and its children go on from there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int	(*real_clock_gettime) (clockid_t clock, struct timespec *now);
static long long offset;

__attribute__((constructor)) static void
load(void)
{
	const char *value = getenv("CLOCK_OFFSET");

	*(void **) &real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	if (value != NULL)
		offset = strtoll(value, NULL, 10);
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result;
	long long	nanoseconds;

	/* another library's constructor may be before ours */
	if (real_clock_gettime == NULL)
		load();
	result = real_clock_gettime(clock, now);
	if (result != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
		return result;
	nanoseconds = now->tv_nsec + offset % 1000000 * 1000;
	now->tv_sec += offset / 1000000;
	if (nanoseconds < 0 || nanoseconds >= 1000000000)
	{
		now->tv_sec += nanoseconds < 0 ? -1 : 1;
		nanoseconds += nanoseconds < 0 ? 1000000000 : -1000000000;
	}
	now->tv_nsec = nanoseconds;
	return 0;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	(void) zone;
	if (clock_gettime(CLOCK_REALTIME, &precise) != 0)
		return -1;
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *now)
{
	struct timespec precise;

	if (clock_gettime(CLOCK_REALTIME, &precise) != 0)
		return -1;
	if (now != NULL)
		*now = precise.tv_sec;
	return precise.tv_sec;
}

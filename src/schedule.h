/*
 * schedule.h
 *		What pg_cron does of the background worker's work.
 */
#ifndef METER_SCHEDULE_H
#define METER_SCHEDULE_H

/*
 * Does pg_cron, in this database, call that function of ours?  Within SPI.
 */
extern bool schedule_has(const char *function);

/*
 * Call it, without arguments, unless pg_cron does; says whether it was called.
 */
extern bool schedule_call(const char *function);

#endif							/* METER_SCHEDULE_H */

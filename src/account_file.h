/*
 * account_file.h
 *		Saving and restoring the accounts of limits.
 */
#ifndef METER_ACCOUNT_FILE_H
#define METER_ACCOUNT_FILE_H

#include "datatype/timestamp.h"

extern bool account_file_save(bool clean);

/* Save if it is time to; returns when it is next, or "wake" if that is sooner. */
extern TimestampTz account_file_keep(TimestampTz now, TimestampTz wake);
extern void account_file_load(void);

#endif							/* METER_ACCOUNT_FILE_H */

/*
 * account_file.h
 *		Saving and restoring the accounts of limits.
 */
#ifndef METER_ACCOUNT_FILE_H
#define METER_ACCOUNT_FILE_H

extern bool account_file_save(bool clean);
extern void account_file_load(void);

#endif							/* METER_ACCOUNT_FILE_H */

/*
 * csv.h
 *		Fields of comma-separated values, as RFC 4180 has them.
 */
#ifndef METER_CSV_H
#define METER_CSV_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The most bytes that csv_quote() writes for a field of so many bytes, without
 * the terminating zero, of which there is none.
 */
#define CSV_MAX_QUOTED(length) (2 * (length) + 2)

extern size_t csv_quote(char *to, const char *field, size_t length);
extern bool csv_is_formula(const char *field, size_t length);

#endif							/* METER_CSV_H */

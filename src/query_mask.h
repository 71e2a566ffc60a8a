/*
 * query_mask.h
 *		The text of a query without what may be secret in it.
 */
#ifndef METER_QUERY_MASK_H
#define METER_QUERY_MASK_H

extern char *query_mask(const char *query, int limit);

#endif							/* METER_QUERY_MASK_H */

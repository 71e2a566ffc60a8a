/*
 * dimension.h
 *		The declared dimensions of an event.
 */
#ifndef METER_DIMENSION_H
#define METER_DIMENSION_H

#include "metric.h"
#include "utils/jsonb.h"

/* Longest dimension value in bytes; a longer one is cut. */
#define DIMENSION_MAX_LENGTH 128

extern Jsonb *dimension_extract(const Metric *metric, Jsonb *metadata);

#endif							/* METER_DIMENSION_H */

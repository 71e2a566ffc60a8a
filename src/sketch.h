/*
 * sketch.h
 *		The SQL type meter_sketch, for other C code.
 *
 * Between two datums a Sketch of core/sketch.h is worked with.  It allocates
 * in CurrentMemoryContext at its first value, and grows where it was first
 * allocated: keep it in one context, or switch before each call.
 */
#ifndef METER_SKETCH_H
#define METER_SKETCH_H

#include "core/sketch.h"

/* Raise the ERROR that belongs to a status, unless it is SKETCH_OK. */
extern void sketch_check(SketchStatus status);

/* A new meter_sketch in CurrentMemoryContext. */
extern struct varlena *sketch_to_datum(const Sketch *s);

/*
 * Make s from a meter_sketch, which may be toasted.  s need not be
 * initialised.
 */
extern void sketch_from_datum(Sketch *s, Datum value);

/* Merge a meter_sketch, which may be toasted, into dst. */
extern void sketch_merge_datum(Sketch *dst, Datum value);

#endif							/* METER_SKETCH_H */

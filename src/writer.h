/*
 * writer.h
 *		Appending many rows to one of the log's tables.
 */
#ifndef METER_WRITER_H
#define METER_WRITER_H

#include "executor/tuptable.h"

typedef struct Writer Writer;

extern Writer *writer_open(Oid relid);
extern TupleTableSlot *writer_slot(Writer *writer);
extern void writer_store(Writer *writer);
extern void writer_stored(Writer *writer);
extern void writer_close(Writer *writer);

#endif							/* METER_WRITER_H */

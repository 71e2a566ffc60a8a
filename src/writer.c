/*
 * writer.c
 *		Appending many rows to one of the log's tables.
 *
 * The inbox and the partitions of meter.event are local tables of our own
 * without triggers, foreign keys or generated columns, and they take every
 * event there is.  So rows go in as COPY puts them in (CopyMultiInsertBuffer
 * in the server's copyfrom.c): collected in slots, written a page at a time
 * with one WAL record, and then indexed.
 *
 * Rows count as written only after writer_close().
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "utils/rel.h"

#include "compat.h"
#include "writer.h"

#define WRITER_MAX_ROWS 1000

struct Writer
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *rri;
	BulkInsertState bulk;		/* made at the second batch of rows */
	MemoryContext context;		/* of all that outlives a call */
	CommandId	cid;
	int			nrows;
	TupleTableSlot *slots[WRITER_MAX_ROWS];
};

/*
 * Open a table for appending, in the current memory context.
 */
Writer *
writer_open(Oid relid)
{
	Writer	   *writer = palloc0(sizeof(Writer));

	writer->rel = table_open(relid, RowExclusiveLock);
	writer->estate = CreateExecutorState();
	writer->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->rri, writer->rel, 0, NULL, 0);
	ExecOpenIndices(writer->rri, false);
	writer->context = CurrentMemoryContext;
	writer->cid = GetCurrentCommandId(true);
	return writer;
}

static void
writer_flush(Writer *writer, bool more)
{
	if (writer->nrows == 0)
		return;
	if (more && writer->bulk == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->context);

		writer->bulk = GetBulkInsertState();
		MemoryContextSwitchTo(old);
	}

	if (writer->nrows == 1)
		table_tuple_insert(writer->rel, writer->slots[0], writer->cid, 0,
						   writer->bulk);
	else
		table_multi_insert(writer->rel, writer->slots, writer->nrows,
						   writer->cid, 0, writer->bulk);

	for (int i = 0; i < writer->nrows; i++)
	{
		if (writer->rri->ri_NumIndices > 0)
		{
			compat_insert_index_tuples(writer->rri, writer->slots[i],
									   writer->estate);
			ResetPerTupleExprContext(writer->estate);
		}
		ExecClearTuple(writer->slots[i]);
	}
	writer->nrows = 0;
}

/*
 * The slot for the next row.  The caller fills tts_values and tts_isnull with
 * values that live until writer_store(), which copies them.
 */
TupleTableSlot *
writer_slot(Writer *writer)
{
	TupleTableSlot *slot = writer->slots[writer->nrows];

	if (slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->context);

		slot = compat_make_slot(RelationGetDescr(writer->rel),
								table_slot_callbacks(writer->rel));
		slot->tts_tableOid = RelationGetRelid(writer->rel);
		writer->slots[writer->nrows] = slot;
		MemoryContextSwitchTo(old);
	}
	return slot;
}

/*
 * Take over the row whose values are in the slot that writer_slot() gave.
 */
void
writer_store(Writer *writer)
{
	TupleTableSlot *slot = writer->slots[writer->nrows];

	ExecStoreVirtualTuple(slot);
	ExecMaterializeSlot(slot);
	writer_stored(writer);
}

/*
 * Take over the row that is in the slot as a tuple of its own.
 */
void
writer_stored(Writer *writer)
{
	writer->nrows++;
	if (writer->nrows == WRITER_MAX_ROWS)
		writer_flush(writer, true);
}

/*
 * Write what is left and close the table, keeping the lock to commit.
 */
void
writer_close(Writer *writer)
{
	writer_flush(writer, false);
	if (writer->bulk != NULL)
	{
		FreeBulkInsertState(writer->bulk);
		table_finish_bulk_insert(writer->rel, 0);
	}
	for (int i = 0; i < WRITER_MAX_ROWS && writer->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->rri);
	table_close(writer->rel, NoLock);
	FreeExecutorState(writer->estate);
	pfree(writer);
}

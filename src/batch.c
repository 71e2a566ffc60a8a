/*
 * batch.c
 *		meter_track_batch(): recording a JSON array of events.
 *
 * Every element is read and checked (element.c), then all that are good are
 * stored together as meter_track() stores one (track.c).  The refused ones are
 * kept and reported.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#include "element.h"
#include "reject.h"
#include "setting.h"
#include "track.h"

/*
 * Read all elements of the array; a single object is an array of one.
 */
static Element *
read_elements(Jsonb *events, bool register_metric, int *nelements)
{
	Element    *elements;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			n = 0;

	if (JB_ROOT_IS_OBJECT(events))
	{
		elements = palloc(sizeof(Element));
		value.type = jbvBinary;
		value.val.binary.data = &events->root;
		value.val.binary.len = VARSIZE(events) - VARHDRSZ;
		element_read(&elements[0], &value, register_metric);
		*nelements = 1;
		return elements;
	}
	if (!JB_ROOT_IS_ARRAY(events) || JB_ROOT_IS_SCALAR(events))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("events must be a JSON array of objects")));

	elements = palloc_extended(Max(JB_ROOT_COUNT(events), 1) * sizeof(Element),
							   MCXT_ALLOC_HUGE);
	iterator = JsonbIteratorInit(&events->root);
	(void) JsonbIteratorNext(&iterator, &value, true);	/* begin of array */
	while ((token = JsonbIteratorNext(&iterator, &value, true)) == WJB_ELEM)
	{
		CHECK_FOR_INTERRUPTS();
		element_read(&elements[n++], &value, register_metric);
	}
	*nelements = n;
	return elements;
}

/*
 * Store what is good; returns the results of the valid ones, in their order.
 */
static TrackResult *
store_elements(Element *elements, int nelements)
{
	Event	  **valid = palloc(Max(nelements, 1) * sizeof(Event *));
	TrackResult *results = palloc0(Max(nelements, 1) * sizeof(TrackResult));
	int			nvalid = 0;

	for (int i = 0; i < nelements; i++)
		if (elements[i].valid)
			valid[nvalid++] = &elements[i].event;
	track_store(valid, nvalid, results);
	pfree(valid);
	return results;
}

static const char *const result_names[] = {
	[TRACK_ACCEPTED] = "accepted",
	[TRACK_DUPLICATE] = "duplicate",
	[TRACK_IGNORED] = "ignored",
};

PG_FUNCTION_INFO_V1(meter_track_batch);

Datum
meter_track_batch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		commit = setting_durability == DURABILITY_COMMIT;
	int			nelements;
	Element    *elements;
	TrackResult *results;

	track_begin("meter_track_batch()");
	InitMaterializedSRF(fcinfo, 0);
	elements = read_elements(PG_GETARG_JSONB_P(0), commit, &nelements);

	/* what can fail comes before the queue, which nothing is taken back from */
	for (int i = 0; i < nelements; i++)
		if (!elements[i].valid)
			reject_store(REJECT_BATCH, &elements[i].error,
						 element_tenant(elements[i].source),
						 elements[i].source);
	results = store_elements(elements, nelements);

	for (int i = 0; i < nelements; i++)
	{
		Element    *element = &elements[i];
		Datum		values[4] = {0};
		bool		nulls[4] = {false, false, true, true};

		CHECK_FOR_INTERRUPTS();
		values[0] = Int32GetDatum(i + 1);
		if (element->valid)
			values[1] = CStringGetTextDatum(result_names[*results++]);
		else
		{
			values[1] = CStringGetTextDatum("rejected");
			values[2] = CStringGetTextDatum(unpack_sql_state(element->error.sqlstate));
			values[3] = CStringGetTextDatum(event_reason(&element->error));
			nulls[2] = nulls[3] = false;
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

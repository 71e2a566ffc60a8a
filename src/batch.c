/*
 * batch.c
 *		meter_track_batch(): recording a JSON array of events.
 *
 * Every element is read and checked (element.c), then the idempotency keys of
 * all that are good are claimed in one statement, and what is no repeat goes
 * into the inbox at once.  The refused ones are kept and reported.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "element.h"
#include "idempotency.h"
#include "inbox.h"
#include "reject.h"

/*
 * Read all elements of the array; a single object is an array of one.
 */
static Element *
read_elements(Jsonb *events, int *nelements)
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
		element_read(&elements[0], &value);
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
		element_read(&elements[n++], &value);
	}
	*nelements = n;
	return elements;
}

/*
 * Store what is good and not a repeat; sets *claims for the valid ones, in
 * their order.
 */
static void
store_elements(Element *elements, int nelements, Claim *claims)
{
	Event	  **valid = palloc(Max(nelements, 1) * sizeof(Event *));
	int			nvalid = 0;
	int			nfresh = 0;

	for (int i = 0; i < nelements; i++)
		if (elements[i].valid)
			valid[nvalid++] = &elements[i].event;
	idempotency_claim(valid, nvalid, claims);
	for (int i = 0; i < nvalid; i++)
		if (claims[i] == CLAIM_FRESH)
			valid[nfresh++] = valid[i];
	if (nfresh > 0)
		inbox_write(valid, nfresh);
	pfree(valid);
}

PG_FUNCTION_INFO_V1(meter_track_batch);

Datum
meter_track_batch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			nelements;
	Element    *elements;
	Claim	   *claims;
	int			nvalid = 0;

	PreventCommandIfReadOnly("meter_track_batch()");
	PreventCommandIfParallelMode("meter_track_batch()");
	InitMaterializedSRF(fcinfo, 0);
	elements = read_elements(PG_GETARG_JSONB_P(0), &nelements);
	claims = palloc(Max(nelements, 1) * sizeof(Claim));
	store_elements(elements, nelements, claims);

	for (int i = 0; i < nelements; i++)
	{
		Element    *element = &elements[i];
		Datum		values[4] = {0};
		bool		nulls[4] = {false, false, true, true};

		CHECK_FOR_INTERRUPTS();
		values[0] = Int32GetDatum(i + 1);
		if (element->valid)
			values[1] = CStringGetTextDatum(claims[nvalid++] == CLAIM_FRESH ?
											"accepted" : "duplicate");
		else
		{
			values[1] = CStringGetTextDatum("rejected");
			values[2] = CStringGetTextDatum(unpack_sql_state(element->error.sqlstate));
			values[3] = CStringGetTextDatum(event_reason(&element->error));
			nulls[2] = nulls[3] = false;
			reject_store(REJECT_BATCH, &element->error,
						 element_tenant(element->source), element->source);
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

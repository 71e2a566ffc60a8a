/*
 * llm_token.c
 *		The tokens of calls of language models, as events of their own.
 *
 * Input and output tokens have prices of their own on bills, so they have to
 * be quantities in the totals.  But a call is one thing: it has one
 * idempotency key, and is stored as a whole or not at all.  So it is one event
 * all the way from meter_track_llm() to the log, and the flush, which appends
 * it, appends the tokens that its metadata tell of behind it, in the same
 * subtransaction.  That holds for each event of metric llm_requests, whichever
 * way it has come.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "llm_token.h"

/*
 * A number of tokens in the metadata; 0 if it is none.
 */
static int64
get_tokens(const Jsonb *metadata, const char *key)
{
	JsonbValue *value = getKeyJsonValueFromContainer((JsonbContainer *) &metadata->root,
													 key, strlen(key), NULL);
	Datum		number;

	if (value == NULL || value->type != jbvNumeric)
		return 0;
	number = NumericGetDatum(value->val.numeric);
	if (!DatumGetBool(DirectFunctionCall2(numeric_gt, number,
										  NumericGetDatum(int64_to_numeric(0)))) ||
		!DatumGetBool(DirectFunctionCall2(numeric_le, number,
										  NumericGetDatum(int64_to_numeric(PG_INT64_MAX)))) ||
		!DatumGetBool(DirectFunctionCall2(numeric_eq, number,
										  DirectFunctionCall2(numeric_trunc, number,
															  Int32GetDatum(0)))))
		return 0;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
}

static bool
is_key(const JsonbValue *key, const char *name)
{
	return key->val.string.len == strlen(name) &&
		memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

/*
 * The call's metadata, without its numbers of tokens, for tokens of a type.
 */
static Jsonb *
metadata_of(Jsonb *metadata, const char *type)
{
	JsonbInState state = {0};
	JsonbIterator *iterator = JsonbIteratorInit(&metadata->root);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	compat_push_jsonb(&state, WJB_BEGIN_OBJECT, NULL);
	(void) JsonbIteratorNext(&iterator, &value, true);	/* begin of object */
	while ((token = JsonbIteratorNext(&iterator, &key, true)) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (is_key(&key, LLM_INPUT) || is_key(&key, LLM_OUTPUT) ||
			is_key(&key, LLM_CACHED) || is_key(&key, LLM_CACHE_CREATION))
			continue;
		compat_push_jsonb(&state, WJB_KEY, &key);
		compat_push_jsonb(&state, WJB_VALUE, &value);
	}
	key.type = jbvString;
	key.val.string.val = LLM_TOKEN_TYPE;
	key.val.string.len = strlen(LLM_TOKEN_TYPE);
	value.type = jbvString;
	value.val.string.val = unconstify(char *, type);
	value.val.string.len = strlen(type);
	compat_push_jsonb(&state, WJB_KEY, &key);
	compat_push_jsonb(&state, WJB_VALUE, &value);
	compat_push_jsonb(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/*
 * Make the events of a checked call's tokens, at most LLM_TOKEN_TYPES, which
 * need no further check.  Latency, status and the error are of the call, and
 * so is the cost; the idempotency key is kept, to find them by, and is the
 * call's to claim.
 */
int
llm_tokens(const Event *call, Event *tokens)
{
	const char *types[LLM_TOKEN_TYPES] = {"input", "cached", "cache_creation", "output"};
	int64		quantities[LLM_TOKEN_TYPES];
	text	   *metric;
	int			n = 0;

	if (call->metadata == NULL)
		return 0;
	quantities[0] = get_tokens(call->metadata, LLM_INPUT);
	quantities[1] = get_tokens(call->metadata, LLM_CACHED);
	quantities[2] = get_tokens(call->metadata, LLM_CACHE_CREATION);
	quantities[3] = get_tokens(call->metadata, LLM_OUTPUT);

	/* meter_track_llm() has checked that; others may say what they like */
	quantities[1] = Min(quantities[1], quantities[0]);
	quantities[2] = Min(quantities[2], quantities[0] - quantities[1]);
	quantities[0] -= quantities[1] + quantities[2];

	metric = cstring_to_text(LLM_TOKENS);
	for (int i = 0; i < LLM_TOKEN_TYPES; i++)
	{
		Event	   *event;

		if (quantities[i] == 0)
			continue;
		event = &tokens[n++];
		*event = *call;
		event->metric = metric;
		event->quantity = int64_to_numeric(quantities[i]);
		event->cost = NULL;
		event->has_latency = event->has_status = false;
		event->error_message = NULL;
		event->metadata = metadata_of(call->metadata, types[i]);
	}
	return n;
}

PG_FUNCTION_INFO_V1(meter_tokens_of_call);

/*
 * The same for meter.live, of the calls that wait in the inbox.
 */
Datum
meter_tokens_of_call(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Event		tokens[LLM_TOKEN_TYPES];
	Event		call;
	int			n = 0;

	InitMaterializedSRF(fcinfo, 0);
	memset(&call, 0, sizeof(call));
	call.metadata = PG_GETARG_JSONB_P(0);
	if (JB_ROOT_IS_OBJECT(call.metadata))
		n = llm_tokens(&call, tokens);
	for (int i = 0; i < n; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = NumericGetDatum(tokens[i].quantity);
		values[1] = JsonbPGetDatum(tokens[i].metadata);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

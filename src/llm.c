/*
 * llm.c
 *		meter_track_llm(): recording a call of a language model, with its cost.
 *
 * The cost is computed here, from the cached prices (model_price.c), and the
 * call is one event, recorded as meter_track() does it (track.c).  Its tokens
 * become events of their own when it enters the log (llm_token.c).
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "context.h"
#include "event.h"
#include "llm_token.h"
#include "model_price.h"
#include "setting.h"
#include "track.h"

/* Arguments of meter_track_llm, in the order of llm.sql. */
enum
{
	ARG_TENANT,
	ARG_PROVIDER,
	ARG_MODEL,
	ARG_INPUT_TOKENS,
	ARG_OUTPUT_TOKENS,
	ARG_CACHED_TOKENS,
	ARG_SERVICE,
	ARG_ENDPOINT,
	ARG_METHOD,
	ARG_STATUS,
	ARG_LATENCY_MS,
	ARG_USER_ID,
	ARG_METADATA,
	ARG_IDEMPOTENCY_KEY,
	ARG_REQUEST_ID,
	ARG_ERROR_MESSAGE,
	ARG_AT,
	ARG_CACHE_CREATION_TOKENS
};

/* Arguments of meter_llm_cost. */
enum
{
	COST_ARG_PROVIDER,
	COST_ARG_MODEL,
	COST_ARG_INPUT_TOKENS,
	COST_ARG_OUTPUT_TOKENS,
	COST_ARG_CACHED_TOKENS,
	COST_ARG_AT,
	COST_ARG_CACHE_CREATION_TOKENS
};

#define TEXT_ARG(n) (PG_ARGISNULL(n) ? NULL : PG_GETARG_TEXT_PP(n))

/* What a call costs, and by whose price. */
typedef struct Call
{
	ModelTokens tokens;
	char	   *provider;		/* or NULL */
	char	   *model;
	Numeric		cost;
	bool		unpriced;
} Call;

/* --- arguments ---------------------------------------------------------- */

static int64
get_tokens(FunctionCallInfo fcinfo, int argument, const char *name)
{
	int64		tokens;

	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	tokens = PG_GETARG_INT64(argument);
	if (tokens < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s must not be negative", name),
				 errdetail("It is %lld.", (long long) tokens)));
	return tokens;
}

/*
 * The cached tokens are parts of the input tokens, as providers report them
 * or can be added up to.
 */
static void
read_tokens(ModelTokens *tokens, FunctionCallInfo fcinfo, int input, int output,
			int cached, int cache_creation)
{
	tokens->input = get_tokens(fcinfo, input, LLM_INPUT);
	tokens->output = get_tokens(fcinfo, output, LLM_OUTPUT);
	tokens->cached = get_tokens(fcinfo, cached, LLM_CACHED);
	tokens->cache_creation = get_tokens(fcinfo, cache_creation, LLM_CACHE_CREATION);
	if (tokens->cached > tokens->input ||
		tokens->cache_creation > tokens->input - tokens->cached)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cached tokens must be part of the input tokens"),
				 errdetail("There are %lld input tokens, %lld of them read from a cache and %lld written to it.",
						   (long long) tokens->input, (long long) tokens->cached,
						   (long long) tokens->cache_creation),
				 errhint("If the provider counts them apart, pass their sum as input_tokens.")));
}

/*
 * A name that can be in meter.model_price; NULL if it is absent or empty.
 */
static char *
get_name(text *value, const char *field, int max_length)
{
	int			length;
	const char *s;

	if (value == NULL || VARSIZE_ANY_EXHDR(value) == 0)
		return NULL;
	length = VARSIZE_ANY_EXHDR(value);
	s = VARDATA_ANY(value);
	if (length > max_length)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("%s is too long", field),
				 errdetail("It has %d bytes; at most %d are allowed.", length,
						   max_length)));
	for (int i = 0; i < length; i++)
		if ((unsigned char) s[i] < 0x20 || s[i] == 0x7f)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s contains a control character", field)));
	return text_to_cstring(value);
}

static void
read_names(Call *call, text *provider, text *model)
{
	call->provider = get_name(provider, LLM_PROVIDER, MODEL_MAX_PROVIDER);
	call->model = get_name(model, LLM_MODEL, MODEL_MAX_NAME);
	if (call->model == NULL)
		ereport(ERROR,
				(errcode(model == NULL ? ERRCODE_NULL_VALUE_NOT_ALLOWED :
						 ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(model == NULL ? "model must not be null" :
						"model must not be empty")));
}

/* --- cost --------------------------------------------------------------- */

/*
 * Why there is no price: the model is not known, not of that provider, not at
 * that time, or not for such tokens.
 */
pg_noreturn static void
throw_unpriced(const Call *call, const Model *model, TimestampTz at)
{
	char	   *detail = NULL;

	if (model->n_prices > 0 && model->prices[model->n_prices - 1].valid_from > at)
	{
		/* both are in the same place */
		char	   *first = pstrdup(timestamptz_to_str(model->prices[model->n_prices - 1].valid_from));

		detail = psprintf("Its prices begin at %s; the call is of %s.", first,
						  timestamptz_to_str(at));
	}
	else if (model->n_prices > 0)
		detail = pstrdup("At that time it has none for some of these tokens.");
	else if (call->provider != NULL)
	{
		const Model *other = model_lookup(NULL, call->model);

		if (other->providers != NULL)
			detail = psprintf("There are prices of a model of this name of %s.",
							  other->providers);
		else if (other->n_prices > 0)
			detail = psprintf("There are prices of a model of this name of \"%s\".",
							  other->provider);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 call->provider != NULL ?
			 errmsg("there is no price for model \"%s\" of provider \"%s\"",
					call->model, call->provider) :
			 errmsg("there is no price for model \"%s\"", call->model),
			 detail ? errdetail_internal("%s", detail) : 0,
			 errhint("Import prices with meter_import_model_prices(), insert into meter.model_price, or set meter.unknown_model to zero to record such calls at cost 0.")));
}

/*
 * Find the price and compute the cost.  Names become those of the price.
 */
static void
charge_call(Call *call, TimestampTz at)
{
	const Model *model = model_lookup(call->provider, call->model);
	const ModelPrice *price;

	if (model->providers != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("several providers have a model \"%s\"", call->model),
				 errdetail_internal("They are %s.", model->providers),
				 errhint("Name one of them as provider.")));
	price = model_price_at(model, at, call->tokens.input);
	call->cost = price == NULL ? NULL : model_price_cost(price, &call->tokens);
	if (call->cost != NULL)
	{
		call->provider = pstrdup(model->provider);
		call->model = pstrdup(model->name);
		return;
	}
	if (setting_unknown_model == UNKNOWN_MODEL_ERROR)
		throw_unpriced(call, model, at);
	call->cost = int64_to_numeric(0);
	call->unpriced = true;
}

PG_FUNCTION_INFO_V1(meter_llm_cost);

Datum
meter_llm_cost(PG_FUNCTION_ARGS)
{
	Call		call = {0};

	read_tokens(&call.tokens, fcinfo, COST_ARG_INPUT_TOKENS, COST_ARG_OUTPUT_TOKENS,
				COST_ARG_CACHED_TOKENS, COST_ARG_CACHE_CREATION_TOKENS);
	read_names(&call, TEXT_ARG(COST_ARG_PROVIDER), TEXT_ARG(COST_ARG_MODEL));
	charge_call(&call, PG_ARGISNULL(COST_ARG_AT) ? GetCurrentTimestamp() :
				PG_GETARG_TIMESTAMPTZ(COST_ARG_AT));
	PG_RETURN_NUMERIC(call.cost);
}

/* --- tracking ----------------------------------------------------------- */

static void
push_key(JsonbInState *state, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	compat_push_jsonb(state, WJB_KEY, &key);
}

static void
push_string(JsonbInState *state, const char *name, char *string)
{
	JsonbValue	value;

	push_key(state, name);
	value.type = jbvString;
	value.val.string.val = string;
	value.val.string.len = strlen(string);
	compat_push_jsonb(state, WJB_VALUE, &value);
}

static void
push_tokens(JsonbInState *state, const char *name, int64 tokens)
{
	JsonbValue	value;

	push_key(state, name);
	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(tokens);
	compat_push_jsonb(state, WJB_VALUE, &value);
}

static bool
is_ours(const JsonbValue *key)
{
	static const char *const names[] = {
		LLM_PROVIDER, LLM_MODEL, LLM_UNPRICED, LLM_INPUT, LLM_OUTPUT,
		LLM_CACHED, LLM_CACHE_CREATION
	};

	for (int i = 0; i < lengthof(names); i++)
		if (key->val.string.len == strlen(names[i]) &&
			memcmp(key->val.string.val, names[i], key->val.string.len) == 0)
			return true;
	return false;
}

/*
 * The caller's metadata and what we say of the call, which counts if both
 * have the same key.
 */
static Jsonb *
make_metadata(const Call *call, Jsonb *given)
{
	JsonbInState state = {0};

	compat_push_jsonb(&state, WJB_BEGIN_OBJECT, NULL);
	if (given != NULL)
	{
		JsonbIterator *iterator = JsonbIteratorInit(&given->root);
		JsonbValue	key;
		JsonbValue	value;

		(void) JsonbIteratorNext(&iterator, &value, true);	/* begin of object */
		while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
		{
			(void) JsonbIteratorNext(&iterator, &value, true);
			if (is_ours(&key))
				continue;
			compat_push_jsonb(&state, WJB_KEY, &key);
			compat_push_jsonb(&state, WJB_VALUE, &value);
		}
	}
	if (call->provider != NULL)
		push_string(&state, LLM_PROVIDER, call->provider);
	push_string(&state, LLM_MODEL, call->model);
	push_tokens(&state, LLM_INPUT, call->tokens.input);
	push_tokens(&state, LLM_OUTPUT, call->tokens.output);
	if (call->tokens.cached > 0)
		push_tokens(&state, LLM_CACHED, call->tokens.cached);
	if (call->tokens.cache_creation > 0)
		push_tokens(&state, LLM_CACHE_CREATION, call->tokens.cache_creation);
	if (call->unpriced)
	{
		JsonbValue	value;

		push_key(&state, LLM_UNPRICED);
		value.type = jbvBool;
		value.val.boolean = true;
		compat_push_jsonb(&state, WJB_VALUE, &value);
	}
	compat_push_jsonb(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

static void
event_from_args(Event *event, FunctionCallInfo fcinfo)
{
	memset(event, 0, sizeof(*event));
	event->received_at = GetCurrentTimestamp();
	event->at = PG_ARGISNULL(ARG_AT) ? event->received_at :
		PG_GETARG_TIMESTAMPTZ(ARG_AT);
	event->has_at = true;
	event->tenant = TEXT_ARG(ARG_TENANT);
	event->service = TEXT_ARG(ARG_SERVICE);
	event->endpoint = TEXT_ARG(ARG_ENDPOINT);
	event->method = TEXT_ARG(ARG_METHOD);
	event->has_status = !PG_ARGISNULL(ARG_STATUS);
	if (event->has_status)
		event->status = PG_GETARG_INT32(ARG_STATUS);
	event->has_latency = !PG_ARGISNULL(ARG_LATENCY_MS);
	if (event->has_latency)
		event->latency_ms = PG_GETARG_FLOAT8(ARG_LATENCY_MS);
	event->user_id = TEXT_ARG(ARG_USER_ID);
	event->metadata = PG_ARGISNULL(ARG_METADATA) ? NULL :
		PG_GETARG_JSONB_P(ARG_METADATA);
	event->idempotency_key = TEXT_ARG(ARG_IDEMPOTENCY_KEY);
	event->request_id = TEXT_ARG(ARG_REQUEST_ID);
	event->error_message = TEXT_ARG(ARG_ERROR_MESSAGE);
}

PG_FUNCTION_INFO_V1(meter_track_llm);

Datum
meter_track_llm(PG_FUNCTION_ARGS)
{
	Call		call = {0};
	Event		event;

	track_begin("meter_track_llm()");
	event_from_args(&event, fcinfo);
	context_check(event.tenant, fcinfo->flinfo->fn_oid);
	read_tokens(&call.tokens, fcinfo, ARG_INPUT_TOKENS, ARG_OUTPUT_TOKENS,
				ARG_CACHED_TOKENS, ARG_CACHE_CREATION_TOKENS);
	read_names(&call, TEXT_ARG(ARG_PROVIDER), TEXT_ARG(ARG_MODEL));
	charge_call(&call, event.at);
	event.metric = cstring_to_text(LLM_REQUESTS);
	event.quantity = int64_to_numeric(1);
	event.cost = call.cost;

	/* what is no object is left for the check to refuse */
	if (event.metadata == NULL || JB_ROOT_IS_OBJECT(event.metadata))
		event.metadata = make_metadata(&call, event.metadata);
	track_one(&event);
	PG_RETURN_NUMERIC(call.cost);
}

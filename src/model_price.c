/*
 * model_price.c
 *		Prices of language models, cached in each backend.
 *
 * Every tracked call of a model asks for its price, so the rows of
 * meter.model_price are cached by provider and model, all times of them: an
 * old call is charged by the prices of its time.  As for meter.metric, a
 * statement trigger on the table sends a relation cache invalidation, which
 * empties the cache of every backend before its next look-up, also on a
 * standby.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "lock.h"
#include "model_price.h"
#include "owner.h"

/*
 * So many models are remembered, also such as do not exist: clients may make
 * up any number of names.
 */
#define MAX_CACHED 1024

static HTAB *model_cache = NULL;
static MemoryContext model_context = NULL;
static Oid	model_relid = InvalidOid;

/* Counts invalidations, to notice one that arrives while rows are read. */
static uint64 model_generation = 0;

static void
model_forget(Oid relid)
{
	if (OidIsValid(relid) && relid != model_relid)
		return;
	model_generation++;
	model_cache = NULL;
	model_relid = InvalidOid;
	if (model_context != NULL)
		MemoryContextReset(model_context);
}

void
model_price_init(void)
{
	owner_watch(model_forget);
}

static void
make_cache(void)
{
	HASHCTL		ctl;

	/* may process invalidations, so it goes first */
	Oid			relid = owner_relation("model_price");

	if (model_context == NULL)
		model_context = AllocSetContextCreate(CacheMemoryContext,
											  "meter model prices",
											  ALLOCSET_SMALL_SIZES);
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(ModelKey);
	ctl.entrysize = sizeof(Model);
	ctl.hcxt = model_context;
	model_cache = hash_create("meter model prices", 64, &ctl,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	model_relid = relid;
}

/* --- reading ------------------------------------------------------------ */

static Numeric
get_price(HeapTuple row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? NULL : DatumGetNumericCopy(value);
}

/*
 * Fill the model from the rows that SPI has just read, in the current memory
 * context.  They come provider by provider.
 */
static void
read_rows(Model *model)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	StringInfoData providers;
	char	   *last = NULL;
	int			n_providers = 0;
	bool		isnull;

	model->provider = model->name = model->providers = NULL;
	model->n_prices = (int) SPI_processed;
	model->prices = NULL;
	if (SPI_processed == 0)
		return;
	initStringInfo(&providers);
	model->prices = palloc(SPI_processed * sizeof(ModelPrice));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		ModelPrice *price = &model->prices[i];
		char	   *provider = TextDatumGetCString(SPI_getbinval(row, desc, 1, &isnull));

		if (last == NULL || strcmp(provider, last) != 0)
			appendStringInfo(&providers, "%s\"%s\"",
							 n_providers++ == 0 ? "" : ", ", provider);
		last = provider;
		price->valid_from = DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull));
		price->above_tokens = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
		price->input = get_price(row, 5);
		price->output = get_price(row, 6);
		price->cached = get_price(row, 7);
		price->cache_creation = get_price(row, 8);
	}
	model->provider = last;
	model->name = TextDatumGetCString(SPI_getbinval(SPI_tuptable->vals[0],
													desc, 2, &isnull));
	if (n_providers > 1)
		model->providers = providers.data;
}

/*
 * Price lists write the models of some providers with the provider in front,
 * so that is a name of the model too, unless there is one without.
 */
#define MODEL_QUERY \
	"SELECT p.provider, p.model, p.valid_from, p.above_tokens, " \
	"trim_scale(p.input_price), trim_scale(p.output_price), " \
	"trim_scale(p.cached_price), trim_scale(p.cache_creation_price) " \
	"FROM meter.model_price AS p " \
	"WHERE p.model = COALESCE(" \
	"  (SELECT e.model FROM meter.model_price AS e " \
	"   WHERE e.model = $2 AND ($1 = '' OR e.provider = $1) LIMIT 1), $1 || '/' || $2) " \
	"AND ($1 = '' OR p.provider = $1) " \
	"ORDER BY p.provider, p.valid_from DESC, p.above_tokens DESC"

/*
 * The model of a provider or, with NULL, of whoever has it.  Names are no
 * longer than they may be.  Valid until the next catalog access.
 */
const Model *
model_lookup(const char *provider, const char *name)
{
	static SPIPlanPtr plan = NULL;
	static Model uncached;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	bool		in_parallel = IsInParallelMode();
	OwnerScope	scope;
	Datum		args[2];
	ModelKey	key;
	Model	   *model;
	uint64		generation;

	memset(&key, 0, sizeof(key));
	strlcpy(key.provider, provider != NULL ? provider : "", sizeof(key.provider));
	strlcpy(key.name, name, sizeof(key.name));

	/* so that a change counts from the next call on; costs next to nothing */
	AcceptInvalidationMessages();
	if (model_cache != NULL)
	{
		model = hash_search(model_cache, &key, HASH_FIND, NULL);
		if (model != NULL)
			return model;
		if (hash_get_num_entries(model_cache) >= MAX_CACHED)
			model_forget(InvalidOid);
	}

	owner_begin(&scope);
	owner_plan(&plan, MODEL_QUERY, 2, TEXTOID, TEXTOID);
	args[0] = CStringGetTextDatum(key.provider);
	args[1] = CStringGetTextDatum(key.name);

	/*
	 * Reading may itself bring an invalidation; then read again.  Not with
	 * the transaction's snapshot, but in a parallel query, which has no
	 * other; see metric_lookup().
	 */
	do
	{
		if (model_cache == NULL)
			make_cache();
		generation = model_generation;
		if (SPI_execute_snapshot(plan, args, NULL,
								 in_parallel ? GetActiveSnapshot() : GetLatestSnapshot(),
								 InvalidSnapshot, true, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not read meter.model_price");
	} while (generation != model_generation || model_cache == NULL);

	/* what is read into memory of its own first cannot be half an entry */
	old = MemoryContextSwitchTo(in_parallel ? caller : model_context);
	read_rows(&uncached);
	MemoryContextSwitchTo(old);
	uncached.key = key;
	model = &uncached;
	if (!in_parallel)
	{
		model = hash_search(model_cache, &key, HASH_ENTER, NULL);
		*model = uncached;
	}
	owner_end(&scope);
	return model;
}

/* --- charging ----------------------------------------------------------- */

/*
 * The price of the model for a call at that time with so many input tokens,
 * or NULL if there is none.
 */
const ModelPrice *
model_price_at(const Model *model, TimestampTz at, int64 input_tokens)
{
	const ModelPrice *latest = NULL;

	for (int i = 0; i < model->n_prices; i++)
	{
		const ModelPrice *price = &model->prices[i];

		if (price->valid_from > at)
			continue;
		if (latest == NULL)
			latest = price;
		if (price->valid_from != latest->valid_from)
			break;
		if (price->above_tokens == 0 || price->above_tokens < input_tokens)
			return price;
	}
	return NULL;
}

/*
 * Add tokens at a price to *cost.  False if there is no price for them.
 */
static bool
add_tokens(Numeric *cost, int64 tokens, Numeric price)
{
	Datum		amount;

	if (tokens == 0)
		return true;
	if (price == NULL)
		return false;
	amount = DirectFunctionCall2(numeric_mul,
								 NumericGetDatum(int64_to_numeric(tokens)),
								 NumericGetDatum(price));
	*cost = DatumGetNumeric(*cost == NULL ? amount :
							DirectFunctionCall2(numeric_add,
												NumericGetDatum(*cost), amount));
	return true;
}

/*
 * What the tokens of a call cost, exactly; NULL if there is no price for some
 * of them.
 */
Numeric
model_price_cost(const ModelPrice *price, const ModelTokens *tokens)
{
	Numeric		cost = NULL;

	if (!add_tokens(&cost, tokens->input - tokens->cached - tokens->cache_creation,
					price->input) ||
		!add_tokens(&cost, tokens->cached,
					price->cached != NULL ? price->cached : price->input) ||
		!add_tokens(&cost, tokens->cache_creation,
					price->cache_creation != NULL ? price->cache_creation : price->input) ||
		!add_tokens(&cost, tokens->output, price->output))
		return NULL;
	if (cost == NULL)
		return int64_to_numeric(0);
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
											   NumericGetDatum(cost)));
}

/* --- changes ------------------------------------------------------------ */

PG_FUNCTION_INFO_V1(meter_model_price_changed);

/*
 * Statement trigger of meter.model_price: make every backend read it again,
 * and wait for whoever else has written and not committed yet, whose rows the
 * check of currencies has to see.
 */
Datum
meter_model_price_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"meter_model_price_changed")));
	lock_until_commit(LOCK_MODEL_PRICE);
	CacheInvalidateRelcacheByRelid(RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation));
	return PointerGetDatum(NULL);
}

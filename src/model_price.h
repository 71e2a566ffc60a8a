/*
 * model_price.h
 *		Prices of language models, cached in each backend.
 */
#ifndef METER_MODEL_PRICE_H
#define METER_MODEL_PRICE_H

#include "datatype/timestamp.h"
#include "utils/numeric.h"

/* Longest names in bytes. */
#define MODEL_MAX_PROVIDER 64
#define MODEL_MAX_NAME 128

/* A row of meter.model_price; NULL is none. */
typedef struct ModelPrice
{
	TimestampTz valid_from;
	int64		above_tokens;
	Numeric		input;
	Numeric		output;
	Numeric		cached;
	Numeric		cache_creation;
} ModelPrice;

/* As it was asked for; the hash key of the cache. */
typedef struct ModelKey
{
	char		provider[MODEL_MAX_PROVIDER + 1];	/* "": any */
	char		name[MODEL_MAX_NAME + 1];
} ModelKey;

typedef struct Model
{
	ModelKey	key;
	char	   *provider;		/* as in meter.model_price, like the name */
	char	   *name;
	char	   *providers;		/* those that have it, if there are several */
	int			n_prices;		/* 0: there is no such model */
	ModelPrice *prices;			/* latest first, then highest first */
} Model;

/* The tokens of one call; the cached ones are among the input tokens. */
typedef struct ModelTokens
{
	int64		input;
	int64		output;
	int64		cached;
	int64		cache_creation;
} ModelTokens;

extern void model_price_init(void);
extern const Model *model_lookup(const char *provider, const char *name);
extern const ModelPrice *model_price_at(const Model *model, TimestampTz at,
										int64 input_tokens);
extern Numeric model_price_cost(const ModelPrice *price,
								const ModelTokens *tokens);

#endif							/* METER_MODEL_PRICE_H */

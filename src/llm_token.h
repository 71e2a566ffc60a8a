/*
 * llm_token.h
 *		The tokens of calls of language models, as events of their own.
 */
#ifndef METER_LLM_TOKEN_H
#define METER_LLM_TOKEN_H

#include "event.h"
#include "plain.h"

/* The metrics of calls and of their tokens. */
#define LLM_REQUESTS "llm_requests"
#define LLM_TOKENS "llm_tokens"

/* Keys of a call's metadata. */
#define LLM_PROVIDER "provider"
#define LLM_MODEL "model"
#define LLM_UNPRICED "unpriced"
#define LLM_INPUT "input_tokens"
#define LLM_OUTPUT "output_tokens"
#define LLM_CACHED "cached_tokens"
#define LLM_CACHE_CREATION "cache_creation_tokens"

/* The key of its tokens' metadata that says which tokens they are. */
#define LLM_TOKEN_TYPE "token_type"

/* Most events that a call's tokens are. */
#define LLM_TOKEN_TYPES 4

extern int	llm_tokens(const Event *call, Event *tokens);

/*
 * Is the event a call?  Its amendment is none: the tokens are there already.
 */
static inline bool
llm_is_call(const Event *event)
{
	return event->corrects == 0 && event->metric != NULL &&
		plain_length(event->metric) == sizeof(LLM_REQUESTS) - 1 &&
		memcmp(plain_data(event->metric), LLM_REQUESTS,
			   sizeof(LLM_REQUESTS) - 1) == 0;
}

#endif							/* METER_LLM_TOKEN_H */

/*
 * fuzz_text.c
 *		libFuzzer entry for the endpoint normaliser and the masking of secrets.
 *
 * Each input goes through both, in the order in which an event's endpoint
 * does, and through each alone.  What is checked is what callers rely on:
 * nothing beyond the bounds, and a result that does not change when it is
 * processed again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/endpoint.h"
#include "core/secret.h"

#define REQUIRE(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

/* An exact copy on the heap, so that reading past its end is noticed. */
static char *
copy(const char *s, size_t length)
{
	char	   *result = malloc(length > 0 ? length : 1);

	memcpy(result, s, length);
	return result;
}

static void
check_endpoint(const char *text, size_t length)
{
	char	   *once = malloc(ENDPOINT_MAX_LENGTH);
	char	   *twice = malloc(ENDPOINT_MAX_LENGTH);
	size_t		n = endpoint_normalize(text, length, once);
	char	   *again;

	REQUIRE(n <= ENDPOINT_MAX_LENGTH);
	again = copy(once, n);
	REQUIRE(endpoint_normalize(again, n, twice) == n);
	REQUIRE(memcmp(once, twice, n) == 0);
	free(again);
	free(twice);
	free(once);
}

static void
check_secret(const char *text, size_t length)
{
	char	   *once = malloc(SECRET_MASKED_SIZE(length));
	size_t		n = secret_mask(text, length, once);
	char	   *again;
	char	   *twice;

	REQUIRE(n <= SECRET_MASKED_SIZE(length));
	REQUIRE(secret_found(text, length) ||
			(n == length && memcmp(once, text, n) == 0));
	again = copy(once, n);
	twice = malloc(SECRET_MASKED_SIZE(n));
	REQUIRE(!secret_found(again, n));
	REQUIRE(secret_mask(again, n, twice) == n);
	REQUIRE(memcmp(again, twice, n) == 0);
	check_endpoint(again, n);
	free(twice);
	free(again);
	free(once);
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = copy((const char *) data, size);

	(void) secret_key(text, size);
	check_endpoint(text, size);
	check_secret(text, size);
	free(text);
	return 0;
}

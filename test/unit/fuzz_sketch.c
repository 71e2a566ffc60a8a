/*
 * fuzz_sketch.c
 *		libFuzzer entry over everything that reads a sketch from outside.
 *
 * Whatever is accepted must be canonical: it must come out as it went in,
 * and its answers must be in order.
 *
 *		clang -g -O1 -std=gnu11 -fsanitize=fuzzer,address,undefined -Isrc \
 *			test/unit/fuzz_sketch.c test/unit/alloc.c src/core/sketch*.c \
 *			src/core/exactsum.c -lm
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/sketch.h"

#define REQUIRE(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_answers(const Sketch *s)
{
	double		previous = -INFINITY;
	uint64_t	below;

	for (int i = 0; i <= 8; i++)
	{
		double		value;

		if (sketch_quantile(s, i / 8.0, &value) != SKETCH_OK)
		{
			REQUIRE(sketch_count(s) == 0);
			return;
		}
		REQUIRE(value >= previous && value >= s->min && value <= s->max);
		REQUIRE(sketch_count_below(s, value, &below) == SKETCH_OK);
		REQUIRE(below >= 1 && below <= sketch_count(s));
		previous = value;
	}
}

static void
check_packed(const Sketch *s, const uint8_t *expected, size_t expected_size)
{
	size_t		size = sketch_pack_size(s);
	uint8_t    *packed = core_alloc(size);

	sketch_pack(s, packed);
	REQUIRE(size == expected_size && memcmp(packed, expected, size) == 0);
	core_free(packed);
}

static void
try_binary(const uint8_t *data, size_t size)
{
	Sketch		s;
	Sketch		t;
	SketchStatus status = sketch_unpack(&s, data, size);

	if (status == SKETCH_OK)
	{
		check_packed(&s, data, size);
		check_answers(&s);
		REQUIRE(sketch_init(&t, s.accuracy) == SKETCH_OK);
		REQUIRE(sketch_merge_packed(&t, data, size) == SKETCH_OK);
		check_packed(&t, data, size);
		sketch_free(&t);
		sketch_free(&s);
	}

	/* Into something that has values already, and as often as it goes. */
	REQUIRE(sketch_init(&t, 0.01) == SKETCH_OK);
	for (int i = -20; i <= 20; i++)
		REQUIRE(sketch_add(&t, i * exp(i), 1) == SKETCH_OK);
	for (int i = 0; i < 3; i++)
	{
		if (sketch_merge_packed(&t, data, size) == SKETCH_OK)
			check_answers(&t);
	}
	sketch_free(&t);
}

static void
try_text(const char *text)
{
	Sketch		s;
	Sketch		t;
	size_t		error_at;
	char	   *again;
	size_t		size;
	uint8_t    *packed;

	if (sketch_from_text(&s, text, &error_at) != SKETCH_OK)
	{
		REQUIRE(error_at <= strlen(text));
		return;
	}
	check_answers(&s);

	again = sketch_to_text(&s);
	REQUIRE(sketch_from_text(&t, again, &error_at) == SKETCH_OK);
	core_free(again);

	size = sketch_pack_size(&s);
	packed = core_alloc(size);
	sketch_pack(&s, packed);
	check_packed(&t, packed, size);
	sketch_free(&t);
	REQUIRE(sketch_unpack(&t, packed, size) == SKETCH_OK);
	core_free(packed);
	sketch_free(&t);
	sketch_free(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = core_alloc(size + 1);

	memcpy(text, data, size);
	text[		size] = '\0';

	try_text(text);
	core_free(text);
	try_binary(data, size);
	return 0;
}

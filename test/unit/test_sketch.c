/*
 * test_sketch.c
 *		The percentile sketch against the sorted values themselves.
 *
 * METER_DATA names the directory that holds openstack_api.csv (real
 * latencies); without that file the one test that reads it is skipped.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/sketch.h"
#include "random.h"

/* In (0, 1]. */
static double
random_uniform(void)
{
	return ldexp((double) ((next_random() >> 11) + 1), -53);
}

static double
random_normal(void)
{
	return sqrt(-2 * log(random_uniform())) *
		cos(2 * 3.14159265358979323846 * random_uniform());
}

static double
random_any(void)
{
	double		magnitude = ldexp(1 + random_uniform(),
								  (int) (next_random() % 2046) - 1023);

	return next_random() % 2 ? magnitude : -magnitude;
}

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

static void
assert_same_double(double actual, double expected)
{
	assert_memory_equal(&actual, &expected, sizeof(double));
}

static void
make_empty(Sketch *s, double accuracy)
{
	assert_int_equal(sketch_init(s, accuracy), SKETCH_OK);
}

static void
make_sketch(Sketch *s, double accuracy, const double *value, int n)
{
	make_empty(s, accuracy);
	for (int i = 0; i < n; i++)
		assert_int_equal(sketch_add(s, value[i], 1), SKETCH_OK);
}

#define MAKE_SKETCH(s, accuracy, ...) \
	make_sketch(s, accuracy, (const double[]) {__VA_ARGS__}, \
				sizeof((const double[]) {__VA_ARGS__}) / sizeof(double))

static unsigned char *
pack(const Sketch *s, size_t *size)
{
	unsigned char *packed;

	*size = sketch_pack_size(s);
	packed = core_alloc(*size + 1);
	packed[*size] = 0xA5;
	sketch_pack(s, packed);
	assert_int_equal(packed[*size], 0xA5);
	return packed;
}

static void
assert_same_sketch(const Sketch *a, const Sketch *b)
{
	size_t		a_size;
	size_t		b_size;
	unsigned char *a_packed = pack(a, &a_size);
	unsigned char *b_packed = pack(b, &b_size);

	assert_int_equal(a_size, b_size);
	assert_memory_equal(a_packed, b_packed, a_size);
	core_free(a_packed);
	core_free(b_packed);
}

/* Through both outer forms and back nothing changes. */
static void
check_round_trip(const Sketch *s)
{
	Sketch		t;
	size_t		size;
	size_t		error_at;
	unsigned char *packed = pack(s, &size);
	char	   *text = sketch_to_text(s);

	assert_int_equal(sketch_unpack(&t, packed, size), SKETCH_OK);
	assert_same_sketch(&t, s);
	sketch_free(&t);
	make_empty(&t, s->accuracy);
	assert_int_equal(sketch_merge_packed(&t, packed, size), SKETCH_OK);
	assert_same_sketch(&t, s);
	sketch_free(&t);
	assert_int_equal(sketch_from_text(&t, text, &error_at), SKETCH_OK);
	assert_same_sketch(&t, s);
	sketch_free(&t);
	core_free(packed);
	core_free(text);
}

static const double quantiles[] = {0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99,
0.999, 1};

#define N_QUANTILES ((int) (sizeof(quantiles) / sizeof(quantiles[0])))

/*
 * The promise: every quantile within the accuracy of the order statistic
 * that percentile_disc picks, the extremes exact.  Sorts value.
 */
static void
check_accuracy(double *value, int n, double accuracy)
{
	Sketch		s;
	double		answer;
	uint64_t	below;

	make_sketch(&s, accuracy, value, n);
	qsort(value, n, sizeof(double), compare_doubles);

	for (int i = 0; i < N_QUANTILES; i++)
	{
		double		q = quantiles[i];
		int64_t		rank = (int64_t) ceil(q * n);
		double		truth = value[rank > 0 ? rank - 1 : 0];

		assert_int_equal(sketch_quantile(&s, q, &answer), SKETCH_OK);
		if (fabs(truth) < DBL_MIN)
			assert_true(fabs(answer - truth) < 2 * DBL_MIN);
		else
			assert_true(fabs(answer - truth) <= accuracy * fabs(truth));
		if (q == 0 || q == 1)
			assert_same_double(answer, truth);
		assert_true(answer >= value[0] && answer <= value[n - 1]);

		/* The count below is the inverse of the quantile. */
		assert_int_equal(sketch_count_below(&s, answer, &below), SKETCH_OK);
		assert_true((int64_t) below >= rank);
		assert_int_equal(sketch_count_below(&s, nextafter(answer, -INFINITY),
											&below), SKETCH_OK);
		assert_true((int64_t) below < rank || rank == 0);
	}

	assert_int_equal(sketch_count(&s), n);
	assert_int_equal(sketch_min(&s, &answer), SKETCH_OK);
	assert_same_double(answer, value[0]);
	assert_int_equal(sketch_max(&s, &answer), SKETCH_OK);
	assert_same_double(answer, value[n - 1]);
	check_round_trip(&s);
	sketch_free(&s);
}

static void
check_distribution(double (*draw) (void))
{
	const double accuracy[] = {SKETCH_MIN_ACCURACY, 0.001, 0.01, 0.05,
	SKETCH_MAX_ACCURACY};
	const int	size[] = {1, 2, 3, 10, 97, 1000, 20000};

	random_state = 7;
	for (int i = 0; i < 5; i++)
	{
		for (int j = 0; j < 7; j++)
		{
			double	   *value = core_alloc(size[j] * sizeof(double));

			for (int k = 0; k < size[j]; k++)
				value[k] = draw();
			check_accuracy(value, size[j], accuracy[i]);
			core_free(value);
		}
	}
}

static double
draw_uniform(void)
{
	return 100 * random_uniform();
}

static double
draw_lognormal(void)
{
	return exp(3.5 + random_normal());
}

static double
draw_exponential(void)
{
	return -20 * log(random_uniform()) + 0.0;
}

static double
draw_bimodal(void)
{
	return next_random() % 10 < 9 ? 5 + fabs(random_normal()) :
		3000 + 200 * random_normal();
}

static double
draw_negative(void)
{
	return -draw_lognormal();
}

static double
draw_mixed(void)
{
	return next_random() % 8 == 0 ? 0 : 50 * random_normal();
}

static double
draw_tiny(void)
{
	return (next_random() % 2 ? 1 : -1) *
		ldexp(random_uniform(), -1060 + (int) (next_random() % 60));
}

/* Right at the borders of the buckets, and beside them. */
static double
draw_border(void)
{
	double		border = pow(1.01 / 0.99, (int) (next_random() % 400) - 100);

	return border * (1 + ((int) (next_random() % 5) - 2) * DBL_EPSILON);
}

static void
test_uniform(void **state)
{
	check_distribution(draw_uniform);
}

static void
test_lognormal(void **state)
{
	check_distribution(draw_lognormal);
}

static void
test_exponential(void **state)
{
	check_distribution(draw_exponential);
}

static void
test_bimodal(void **state)
{
	check_distribution(draw_bimodal);
}

static void
test_signs(void **state)
{
	check_distribution(draw_negative);
	check_distribution(draw_mixed);
}

static void
test_tiny(void **state)
{
	check_distribution(draw_tiny);
}

static void
test_border(void **state)
{
	check_distribution(draw_border);
}

/* The whole range of doubles, and the largest of them. */
static void
test_huge(void **state)
{
	double		value[1000];

	random_state = 8;
	for (int round = 0; round < 20; round++)
	{
		for (int i = 0; i < 1000; i++)
			value[i] = random_any();
		value[0] = DBL_MAX;
		value[1] = -DBL_MAX;
		value[2] = DBL_MIN;
		value[3] = -DBL_MIN;
		check_accuracy(value, 1000, round % 2 ? 0.01 : 0.0001);
	}
	value[0] = value[1] = value[2] = DBL_MAX;
	check_accuracy(value, 3, 0.25);
}

/* Column latency_ms of a file of API calls. */
static int
read_latencies(double **value)
{
	const char *directory = getenv("METER_DATA");
	char		path[1024];
	char		line[4096];
	int			n = 0;
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/openstack_api.csv",
			 directory != NULL ? directory : "../shared/data");
	file = fopen(path, "r");
	if (file == NULL)
		return 0;
	*value = NULL;
	if (fgets(line, sizeof(line), file) == NULL)
		line[0] = '\0';
	while (fgets(line, sizeof(line), file) != NULL)
	{
		*value = core_realloc(*value, (n + 1) * sizeof(double));
		(*value)[n++] = strtod(strrchr(line, ',') + 1, NULL);
	}
	fclose(file);
	return n;
}

static void
test_real_latencies(void **state)
{
	double	   *value;
	int			n = read_latencies(&value);

	if (n == 0)
		skip();
	assert_true(n > 500);
	check_accuracy(value, n, 0.01);
	check_accuracy(value, n, 0.001);
	core_free(value);
}

/* Parts cut at random, merged in random order, are the whole. */
static void
test_merge(void **state)
{
	enum
	{
		N = 3000,
		PARTS = 12
	};
	double		value[N];
	double		(*draw[]) (void) = {draw_lognormal, draw_mixed, random_any,
	draw_tiny};

	random_state = 9;
	for (int round = 0; round < 80; round++)
	{
		double		accuracy = round % 3 ? 0.01 : 0.2;
		Sketch		whole;
		Sketch		part[PARTS];
		Sketch		from_packed;

		for (int i = 0; i < N; i++)
			value[i] = draw[round % 4] ();
		make_sketch(&whole, accuracy, value, N);
		shuffle(value, N);
		for (int i = 0; i < PARTS; i++)
			make_empty(&part[i], accuracy);
		for (int i = 0; i < N; i++)
		{
			/* uneven parts, the last one stays empty */
			int			p = (int) (next_random() % (PARTS - 1));

			p = p * (int) (next_random() % 2);
			assert_int_equal(sketch_add(&part[p], value[i], 1), SKETCH_OK);
		}

		make_empty(&from_packed, accuracy);
		for (int i = PARTS - 1; i >= 0; i--)
		{
			size_t		size;
			unsigned char *packed = pack(&part[i], &size);

			assert_int_equal(sketch_merge_packed(&from_packed, packed, size),
							 SKETCH_OK);
			core_free(packed);
		}
		assert_same_sketch(&from_packed, &whole);

		/* A tree of merges in random order. */
		for (int n = PARTS; n > 1; n--)
		{
			int			from = (int) (next_random() % n);
			Sketch		taken = part[from];

			part[from] = part[n - 1];
			part[n - 1] = taken;
			from = (int) (next_random() % (n - 1));
			assert_int_equal(sketch_merge(&part[from], &part[n - 1]),
							 SKETCH_OK);
			sketch_free(&part[n - 1]);
		}
		assert_same_sketch(&part[0], &whole);

		/* With itself, and once more by the number of times. */
		assert_int_equal(sketch_merge(&whole, &whole), SKETCH_OK);
		sketch_free(&part[0]);
		for (int i = 0; i < N; i++)
			assert_int_equal(sketch_add(&part[0], value[i], 2), SKETCH_OK);
		assert_same_sketch(&part[0], &whole);

		sketch_free(&part[0]);
		sketch_free(&from_packed);
		sketch_free(&whole);
	}
}

static void
test_merge_refused(void **state)
{
	Sketch		a;
	Sketch		b;
	Sketch		before;
	size_t		size;
	unsigned char *packed;

	make_empty(&a, 0.01);
	make_empty(&b, 0.02);
	make_empty(&before, 0.01);
	assert_int_equal(sketch_add(&a, 5, 3), SKETCH_OK);
	assert_int_equal(sketch_add(&b, 7, 1), SKETCH_OK);
	assert_int_equal(sketch_merge(&before, &a), SKETCH_OK);
	assert_int_equal(sketch_merge(&a, &b), SKETCH_ACCURACY_DIFFERS);
	packed = pack(&b, &size);
	assert_int_equal(sketch_merge_packed(&a, packed, size),
					 SKETCH_ACCURACY_DIFFERS);
	core_free(packed);
	assert_same_sketch(&a, &before);

	sketch_free(&b);
	make_empty(&b, 0.01);
	assert_int_equal(sketch_add(&b, -1, SKETCH_MAX_COUNT - 2), SKETCH_OK);
	check_round_trip(&b);
	assert_int_equal(sketch_merge(&a, &b), SKETCH_COUNT_OVERFLOW);
	packed = pack(&b, &size);
	assert_int_equal(sketch_merge_packed(&a, packed, size),
					 SKETCH_COUNT_OVERFLOW);
	core_free(packed);
	assert_same_sketch(&a, &before);

	assert_int_equal(sketch_add(&b, 1, 3), SKETCH_COUNT_OVERFLOW);
	assert_int_equal(sketch_add(&b, 1, 2), SKETCH_OK);
	assert_int_equal(sketch_count(&b), INT64_MAX);
	check_round_trip(&b);
	sketch_free(&a);
	sketch_free(&b);
	sketch_free(&before);
}

static void
test_refused(void **state)
{
	const double bad_accuracy[] = {NAN, INFINITY, 0, -0.01, 0.00009, 0.26, 1};
	Sketch		s;
	double		answer;
	uint64_t	below;

	for (int i = 0; i < 7; i++)
		assert_int_equal(sketch_init(&s, bad_accuracy[i]),
						 SKETCH_BAD_ACCURACY);

	make_empty(&s, 0.01);
	assert_int_equal(sketch_add(&s, NAN, 1), SKETCH_NOT_FINITE);
	assert_int_equal(sketch_add(&s, INFINITY, 1), SKETCH_NOT_FINITE);
	assert_int_equal(sketch_add(&s, -INFINITY, 0), SKETCH_NOT_FINITE);
	assert_int_equal(sketch_add(&s, 1, 0), SKETCH_OK);
	assert_int_equal(sketch_count(&s), 0);
	check_round_trip(&s);

	assert_int_equal(sketch_quantile(&s, 0.5, &answer), SKETCH_EMPTY);
	assert_int_equal(sketch_sum(&s, &answer), SKETCH_EMPTY);
	assert_int_equal(sketch_mean(&s, &answer), SKETCH_EMPTY);
	assert_int_equal(sketch_min(&s, &answer), SKETCH_EMPTY);
	assert_int_equal(sketch_max(&s, &answer), SKETCH_EMPTY);
	assert_int_equal(sketch_count_below(&s, 1, &below), SKETCH_OK);
	assert_int_equal(below, 0);

	assert_int_equal(sketch_add(&s, 1, 1), SKETCH_OK);
	assert_int_equal(sketch_quantile(&s, NAN, &answer), SKETCH_BAD_QUANTILE);
	assert_int_equal(sketch_quantile(&s, -1e-9, &answer),
					 SKETCH_BAD_QUANTILE);
	assert_int_equal(sketch_quantile(&s, nextafter(1, 2), &answer),
					 SKETCH_BAD_QUANTILE);
	assert_int_equal(sketch_count_below(&s, NAN, &below), SKETCH_NOT_FINITE);
	assert_int_equal(sketch_count_below(&s, INFINITY, &below), SKETCH_OK);
	assert_int_equal(below, 1);
	assert_int_equal(sketch_count_below(&s, -INFINITY, &below), SKETCH_OK);
	assert_int_equal(below, 0);
	sketch_free(&s);
}

static void
test_zero(void **state)
{
	const double one_way[] = {0.0, -0.0, 5e-324, -1e-310};
	const double other_way[] = {-1e-310, -0.0, 5e-324, 0.0};
	Sketch		a;
	Sketch		b;
	double		answer;
	uint64_t	below;

	make_sketch(&a, 0.01, one_way, 4);
	make_sketch(&b, 0.01, other_way, 4);
	assert_same_sketch(&a, &b);
	check_round_trip(&a);
	assert_int_equal(a.zero, 4);
	assert_int_equal(a.pos.n + a.neg.n, 0);
	assert_int_equal(sketch_quantile(&a, 0.5, &answer), SKETCH_OK);
	assert_same_double(answer, 0.0);
	assert_int_equal(sketch_sum(&a, &answer), SKETCH_OK);
	assert_same_double(answer, 5e-324 - 1e-310);
	assert_int_equal(sketch_count_below(&a, 0, &below), SKETCH_OK);
	assert_int_equal(below, 3);
	sketch_free(&a);
	sketch_free(&b);

	MAKE_SKETCH(&a, 0.01, -0.0);
	assert_int_equal(sketch_min(&a, &answer), SKETCH_OK);
	assert_same_double(answer, 0.0);
	sketch_free(&a);
}

static void
test_sum(void **state)
{
	Sketch		s;
	double		answer;

	MAKE_SKETCH(&s, 0.01, 1e308, 1, -1e308, 0.5);
	assert_int_equal(sketch_sum(&s, &answer), SKETCH_OK);
	assert_same_double(answer, 1.5);
	assert_int_equal(sketch_mean(&s, &answer), SKETCH_OK);
	assert_same_double(answer, 0.375);
	assert_int_equal(sketch_add(&s, DBL_MAX, 2), SKETCH_OK);
	assert_int_equal(sketch_sum(&s, &answer), SKETCH_SUM_OVERFLOW);
	assert_int_equal(sketch_mean(&s, &answer), SKETCH_OK);
	assert_same_double(answer, DBL_MAX / 3);
	check_round_trip(&s);
	sketch_free(&s);
}

/* Against counting the values themselves, as the header promises. */
static void
test_count_below(void **state)
{
	enum
	{
		N = 2000
	};
	double		value[N];
	Sketch		s;
	uint64_t	previous = 0;

	random_state = 10;
	for (int i = 0; i < N; i++)
		value[i] = draw_mixed();
	make_sketch(&s, 0.05, value, N);
	qsort(value, N, sizeof(double), compare_doubles);
	for (int i = -2000; i <= 2000; i++)
	{
		double		limit = i / 10.0;
		double		low = limit > 0 ? limit / 1.05 : limit / 0.95;
		double		high = limit > 0 ? limit / 0.95 : limit / 1.05;
		uint64_t	below;
		uint64_t	at_least = 0;
		uint64_t	at_most = 0;

		for (int j = 0; j < N; j++)
		{
			at_least += value[j] <= low;
			at_most += value[j] <= high;
		}
		assert_int_equal(sketch_count_below(&s, limit, &below), SKETCH_OK);
		assert_true(below >= at_least && below <= at_most);
		assert_true(below >= previous);
		previous = below;
	}
	assert_int_equal(previous, N);
	sketch_free(&s);
}

static void
test_size(void **state)
{
	Sketch		s;

	random_state = 11;
	make_empty(&s, 0.01);
	assert_true(sizeof(Sketch) <= 128);
	assert_true(sketch_pack_size(&s) <= 16);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(sketch_add(&s, draw_lognormal(), 1), SKETCH_OK);
	print_message("100000 log-normal values: %d buckets, %d bytes\n",
				  s.pos.n, (int) sketch_pack_size(&s));
	assert_true(sketch_pack_size(&s) < 2048);
	sketch_free(&s);
}

/* The bytes are a promise to everything stored: written out by hand. */
static void
test_format(void **state)
{
	const unsigned char expected[] = {
		1,						/* version */
		0x7B, 0x14, 0xAE, 0x47, 0xE1, 0x7A, 0x84, 0x3F, /* 0.01 */
		5,						/* zero */
		1, 67, 2,				/* negative: index -34, count 2 */
		3, 0,					/* positive: 3 buckets from index 0 */
		0,						/* count 1 */
		0xFE, 3,				/* index 1, count 256 */
		1, 107,					/* count 1, 2 to 109 are skipped */
		0, 0, 0, 0, 0, 0, 0xE0, 0xBF,	/* -0.5 */
		0, 0, 0, 0, 0, 0, 0x22, 0x40,	/* 9 */
		4, 0x86, 1,				/* 2 bytes from byte 134: bit 1072 */
		0x2C, 0x04				/* 267 at bit 1074 */
	};
	Sketch		s;
	size_t		size;
	unsigned char *packed;
	char	   *text;

	MAKE_SKETCH(&s, 0.01, 1, 9, 0, -0.5, -0.5);
	assert_int_equal(sketch_add(&s, 0, 4), SKETCH_OK);
	assert_int_equal(sketch_add(&s, 1.0078125, 256), SKETCH_OK);
	packed = pack(&s, &size);
	assert_int_equal(size, sizeof(expected));
	assert_memory_equal(packed, expected, size);
	core_free(packed);

	text = sketch_to_text(&s);

	assert_string_equal(text,
						"accuracy=0.01 count=265 zero=5 min=-0.5 max=9"
						" sum=0x10Bp0 neg=[-34:2] pos=[0:1,1:256,110:1]");
	core_free(text);
	sketch_free(&s);

	make_empty(&s, 0.25);
	text = sketch_to_text(&s);

	assert_string_equal(text, "accuracy=0.25 count=0");
	core_free(text);
	sketch_free(&s);
}

/* Refused, or else canonical: it packs to what it was read from. */
static void
check_bytes(const unsigned char *packed, size_t size)
{
	/* A copy of its own, so that a byte read beyond it is noticed. */
	unsigned char *copy = core_alloc(size);
	Sketch		s;
	Sketch		before;
	SketchStatus status;

	memcpy(copy, packed, size);
	if (sketch_unpack(&s, copy, size) == SKETCH_OK)
	{
		size_t		again_size;
		unsigned char *again = pack(&s, &again_size);

		assert_int_equal(again_size, size);
		assert_memory_equal(again, copy, size);
		core_free(again);
		sketch_free(&s);
	}

	/* A merge that is refused leaves no trace. */
	MAKE_SKETCH(&s, 0.01, -3, 0, 1, 7.5);
	MAKE_SKETCH(&before, 0.01, -3, 0, 1, 7.5);
	status = sketch_merge_packed(&s, copy, size);
	if (status != SKETCH_OK)
		assert_same_sketch(&s, &before);
	sketch_free(&s);
	sketch_free(&before);
	core_free(copy);
}

static void
test_malformed(void **state)
{
	random_state = 12;
	for (int kind = 0; kind < 8; kind++)
	{
		Sketch		s;
		Sketch		t;
		size_t		size;
		unsigned char *packed;

		make_empty(&s, 0.01);
		for (int i = 0; i < 1 + kind * 8; i++)
			assert_int_equal(sketch_add(&s, kind % 2 ? draw_lognormal() :
										draw_mixed(),
										1 + next_random() % 300), SKETCH_OK);
		packed = pack(&s, &size);

		for (size_t i = 0; i < size; i++)
		{
			assert_true(sketch_unpack(&t, packed, i) != SKETCH_OK);
			check_bytes(packed, i);
			for (int bit = 0; bit < 8; bit++)
			{
				packed[i] ^= 1 << bit;
				check_bytes(packed, size);
				packed[i] ^= 1 << bit;
			}
		}
		packed[size] = 0;
		assert_int_equal(sketch_unpack(&t, packed, size + 1),
						 SKETCH_TRAILING);

		for (int i = 0; i < 25000; i++)
		{
			unsigned char *copy = core_alloc(size + 1);
			int			changes = 1 + (int) (next_random() % 4);
			size_t		length = size - (next_random() % 8 == 0 ?
										 next_random() % size : 0);

			memcpy(copy, packed, size + 1);
			while (changes-- > 0)
				copy[next_random() % length] = next_random() % 3 ?
					(unsigned char) next_random() :
					(unsigned char) (0xFF * (next_random() % 2));
			check_bytes(copy, length);
			core_free(copy);
		}
		core_free(packed);
		sketch_free(&s);
	}
}

/* The text with a mark where the parser has to stop. */
static void
refuse_text(SketchStatus expected, const char *marked)
{
	size_t		expected_at = strcspn(marked, "!");
	char text[	200];
	Sketch		s;
	size_t		error_at;
	SketchStatus status;

	snprintf(text, sizeof(text), "%.*s%s", (int) expected_at, marked,
			 marked + expected_at + 1);
	status = sketch_from_text(&s, text, &error_at);
	if (status != expected || error_at != expected_at)
		fail_msg("\"%s\": status %d at %d", marked, status, (int) error_at);
}

#define ONE "accuracy=0.01 count=1 zero=0 min=1 max=1 sum=0x1p0 neg=[] pos=["

static void
test_text(void **state)
{
	Sketch		s;
	size_t		error_at;

	refuse_text(SKETCH_BAD_SYNTAX, "!");
	refuse_text(SKETCH_BAD_SYNTAX, "accuracy! 0.01");
	refuse_text(SKETCH_BAD_SYNTAX, "accuracy=!nan count=0");
	refuse_text(SKETCH_BAD_SYNTAX, "accuracy=! 0.01 count=0");
	refuse_text(SKETCH_BAD_ACCURACY, "accuracy=!0x1p-5 count=0");
	refuse_text(SKETCH_BAD_NUMBER, "accuracy=!1e999 count=0");
	refuse_text(SKETCH_BAD_NUMBER, "accuracy=!0.01.2 count=0");
	refuse_text(SKETCH_BAD_ACCURACY, "accuracy=!0.5 count=0");
	refuse_text(SKETCH_TRAILING, "accuracy=0.01 count=0! ");
	refuse_text(SKETCH_BAD_NUMBER, "accuracy=0.01 count=!00");
	refuse_text(SKETCH_BAD_SYNTAX, "accuracy=0.01 count=!-1");
	refuse_text(SKETCH_BAD_NUMBER,
				"accuracy=0.01 count=!9223372036854775808");
	refuse_text(SKETCH_BAD_SYNTAX, "accuracy=0.01 count=1!");
	refuse_text(SKETCH_TRAILING, ONE "0:1]! ");
	refuse_text(SKETCH_BAD_SYNTAX, ONE "0:1,!]");
	refuse_text(SKETCH_BAD_SYNTAX, ONE "0:1!");
	refuse_text(SKETCH_BAD_INDEX, ONE "0:1,!0:1]");
	refuse_text(SKETCH_BAD_COUNT, ONE "0:!0]");
	refuse_text(SKETCH_BAD_COUNT, ONE "0:2]!");
	refuse_text(SKETCH_BAD_NUMBER, ONE "!-0:1]");
	refuse_text(SKETCH_BAD_NUMBER, ONE "!2147483648:1]");
	refuse_text(SKETCH_BAD_INDEX, "accuracy=0.01 count=1 zero=0 min=!1 max=1"
				" sum=0x1p0 neg=[] pos=[40000:1]");
	refuse_text(SKETCH_BAD_EXTREMES, "accuracy=0.01 count=1 zero=0 min=!1"
				" max=1 sum=0x1p0 neg=[] pos=[2:1]");
	refuse_text(SKETCH_BAD_EXTREMES, "accuracy=0.01 count=1 zero=0 min=!1"
				" max=0.999 sum=0x1p0 neg=[] pos=[0:1]");
	refuse_text(SKETCH_BAD_SUM, "accuracy=0.01 count=1 zero=0 min=1 max=1"
				" sum=!0x3p-1 neg=[] pos=[0:1]");
	refuse_text(SKETCH_BAD_SUM, "accuracy=0.01 count=1 zero=0 min=1 max=1"
				" sum=!0x1p900 neg=[] pos=[0:1]");
	refuse_text(SKETCH_BAD_NUMBER, "accuracy=0.01 count=1 zero=0 min=1 max=1"
				" sum=!0x1p-1075 neg=[] pos=[0:1]");
	refuse_text(SKETCH_BAD_NUMBER, "accuracy=0.01 count=1 zero=0 min=1 max=1"
				" sum=!0x1p2000 neg=[] pos=[0:1]");
	refuse_text(SKETCH_BAD_SYNTAX, "accuracy=0.01 count=1 zero=0 min=1 max=1"
				" sum=0x!p0 neg=[] pos=[0:1]");

	/* What means the same is the same. */
	assert_int_equal(sketch_from_text(&s, "accuracy=1e-2 count=3 zero=1"
									  " min=-1.0 max=0 sum=-0x08p-2 neg=[0:2]"
									  " pos=[]", &error_at), SKETCH_OK);
	check_round_trip(&s);
	assert_int_equal(sketch_count(&s), 3);
	sketch_free(&s);
}

/*
 * Against the values themselves, within the accuracy; and the histogram of a
 * merge is the sum of the histograms, which sketch_count_below does not promise.
 */
static void
test_histogram(void **state)
{
	const double bound[] = {-INFINITY, -50, -0.5, 0, 0.01, 5, 10, 25, 100, INFINITY};
	const double edge[] = {9.99, 5, 20};
	const int	n = sizeof(bound) / sizeof(bound[0]);
	Sketch		whole;
	Sketch		part;
	uint64_t	count[10];
	uint64_t	sum[10] = {0};
	uint64_t	before[10] = {0};

	random_state = 11;
	assert_int_equal(sketch_init(&whole, 0.01), SKETCH_OK);
	for (int round = 0; round < 200; round++)
	{
		double		value[5];

		for (int i = 0; i < 5; i++)
			value[i] = next_random() % 9 == 0 ? 0 : exp(random_normal() * 3) *
				(next_random() % 4 == 0 ? -1 : 1);
		make_sketch(&part, 0.01, value, 5);
		sketch_histogram(&part, bound, n, count);
		for (int i = 0; i < n; i++)
		{
			uint64_t	low = 0;
			uint64_t	high = 0;

			/* above zero a value may be taken for one 1 % larger or smaller */
			for (int j = 0; j < 5; j++)
			{
				low += value[j] + fabs(value[j]) * 0.01 <= bound[i];
				high += value[j] - fabs(value[j]) * 0.01 <= bound[i];
			}
			assert_true(count[i] >= low && count[i] <= high);
			sum[i] += count[i];
		}
		assert_int_equal(sketch_merge(&whole, &part), SKETCH_OK);
		sketch_free(&part);
		sketch_histogram(&whole, bound, n, count);
		for (int i = 0; i < n; i++)
		{
			assert_int_equal(count[i], sum[i]);
			assert_true(count[i] >= before[i]);
			before[i] = count[i];
		}
		assert_int_equal(count[0], 0);
		assert_int_equal(count[n - 1], sketch_count(&whole));
	}
	sketch_free(&whole);

	/* a value next to a bound does not change sides as others come */
	assert_int_equal(sketch_init(&whole, 0.01), SKETCH_OK);
	for (int i = 0; i < 3; i++)
	{
		assert_int_equal(sketch_add(&whole, edge[i], 1), SKETCH_OK);
		sketch_histogram(&whole, bound, n, count);
		assert_true(count[6] >= before[6] || i == 0);
		before[6] = count[6];
	}
	sketch_free(&whole);

	assert_int_equal(sketch_init(&whole, 0.01), SKETCH_OK);
	sketch_histogram(&whole, bound, n, count);
	assert_int_equal(count[n - 1], 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uniform),
		cmocka_unit_test(test_lognormal),
		cmocka_unit_test(test_exponential),
		cmocka_unit_test(test_bimodal),
		cmocka_unit_test(test_signs),
		cmocka_unit_test(test_tiny),
		cmocka_unit_test(test_border),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_real_latencies),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_merge_refused),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_zero),
		cmocka_unit_test(test_sum),
		cmocka_unit_test(test_count_below),
		cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

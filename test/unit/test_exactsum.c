/*
 * test_exactsum.c
 *		Exact sums against __float128, which holds the sums made here without
 *		rounding and rounds them itself, and against cases known by hand.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/exactsum.h"
#include "random.h"

/* A double with a full mantissa, either sign, an exponent in [low, high). */
static double
random_double(int low, int high)
{
	double		mantissa = (double) (next_random() >> 11 | UINT64_C(1) << 52);
	int			exponent = low + (int) (next_random() % (high - low));

	return ldexp(next_random() % 2 ? mantissa : -mantissa, exponent - 52);
}

static void
assert_same_double(double actual, double expected)
{
	assert_memory_equal(&actual, &expected, sizeof(double));
}

static void
assert_same_sum(const ExactSum *a, const ExactSum *b)
{
	ExactSumCanon x;
	ExactSumCanon y;

	exactsum_canonical(a, &x);
	exactsum_canonical(b, &y);
	assert_int_equal(x.negative, y.negative);
	assert_int_equal(x.low, y.low);
	assert_int_equal(x.n, y.n);
	assert_memory_equal(x.digit, y.digit, x.n * sizeof(uint32_t));
	if (x.n > 0)
	{
		assert_true(x.digit[0] != 0);
		assert_true(x.digit[x.n - 1] != 0);
	}
}

static double
sum_of(const double *value, int n)
{
	ExactSum	s;
	double		result;

	exactsum_init(&s);
	for (int i = 0; i < n; i++)
		exactsum_add(&s, value[i], 1);
	result = exactsum_value(&s);
	exactsum_free(&s);
	return result;
}

#define SUM_OF(...) \
	sum_of((double[]) {__VA_ARGS__}, \
		   sizeof((double[]) {__VA_ARGS__}) / sizeof(double))

static void
test_known(void **state)
{
	double		tiny = 4.9406564584124654e-324;
	double		big = DBL_MAX;
	double		half_ulp = ldexp(1, 970);	/* of DBL_MAX */
	double		two53 = 9007199254740992.0; /* where the ulp becomes 2 */

	assert_same_double(SUM_OF(0.0), 0.0);
	assert_same_double(SUM_OF(-0.0), 0.0);
	assert_same_double(SUM_OF(1e308, 1, -1e308), 1.0);
	assert_same_double(SUM_OF(1, 1e308, -1e308, tiny, -1), tiny);
	assert_same_double(SUM_OF(0.1, 0.2, -0.3), ldexp(1, -55));
	assert_same_double(SUM_OF(tiny, tiny, tiny), 3 * tiny);
	assert_same_double(SUM_OF(-tiny, DBL_MIN), DBL_MIN - tiny);
	assert_same_double(SUM_OF(big, big, -big), big);

	/* Ties go to even, and anything beside a tie decides it. */
	assert_same_double(SUM_OF(two53, 1), two53);
	assert_same_double(SUM_OF(two53, 3), two53 + 4);
	assert_same_double(SUM_OF(two53, 1, tiny), two53 + 2);
	assert_same_double(SUM_OF(two53, 1, -tiny), two53);
	assert_same_double(SUM_OF(-two53, -1, -tiny), -two53 - 2);

	/* Half an ulp beyond the largest double is where infinity begins. */
	assert_same_double(SUM_OF(big, half_ulp), INFINITY);
	assert_same_double(SUM_OF(-big, -half_ulp), -INFINITY);
	assert_same_double(SUM_OF(big, half_ulp, -tiny), big);
	assert_same_double(SUM_OF(big, big), INFINITY);
}

static void
test_times(void **state)
{
	const uint64_t times[] = {0, 1, 2, 3, 1000, UINT64_C(0xFFFFFFFF),
	UINT64_C(0x100000001), UINT64_C(0x7FFFFFFFFFFFFFFF)};

	random_state = 1;
	for (int i = 0; i < 20000; i++)
	{
		double		value = random_double(-500, 500);
		uint64_t	n = times[i % 8];
		ExactSum	a;
		ExactSum	b;

		/* n * value is exact here: 53 + 63 bits would not be, 53 + 59 are */
		if (n > UINT64_C(1) << 59)
			n >>= 4;
		exactsum_init(&a);
		exactsum_add(&a, value, n);
		assert_same_double(exactsum_value(&a),
						   n == 0 ? 0.0 : (double) ((__float128) value * n));

		/* Doubling and adding comes to the same. */
		exactsum_init(&b);
		for (int bit = 63; bit >= 0; bit--)
		{
			exactsum_merge(&b, &b);
			if (n >> bit & 1)
				exactsum_add(&b, value, 1);
		}
		assert_same_sum(&a, &b);
		exactsum_free(&a);
		exactsum_free(&b);
	}
}

static void
test_largest(void **state)
{
	ExactSum	s;

	exactsum_init(&s);
	exactsum_add(&s, DBL_MAX, INT64_MAX);
	exactsum_add(&s, DBL_MAX, INT64_MAX);
	assert_same_double(exactsum_value(&s), INFINITY);
	exactsum_add(&s, -DBL_MAX, INT64_MAX);
	assert_same_double(exactsum_mean(&s, INT64_MAX), DBL_MAX);
	exactsum_add(&s, -DBL_MAX, INT64_MAX);
	exactsum_add(&s, -DBL_MAX, INT64_MAX);
	assert_same_double(exactsum_mean(&s, INT64_MAX), -DBL_MAX);
	exactsum_add(&s, 1, 1);
	exactsum_add(&s, DBL_MAX, INT64_MAX);
	assert_same_double(exactsum_value(&s), 1.0);
	exactsum_free(&s);
}

static void
test_model(void **state)
{
	random_state = 2;
	for (int round = 0; round < 20000; round++)
	{
		int			n = 1 + (int) (next_random() % 40);
		ExactSum	s;
		__float128	model = 0;
		double		mean;

		/* 53 + 40 + 6 bits: the model is exact. */
		exactsum_init(&s);
		for (int i = 0; i < n; i++)
		{
			double		value = random_double(-20, 20);

			exactsum_add(&s, value, 1);
			model += value;
		}
		assert_same_double(exactsum_value(&s), (double) model);

		/* No double is nearer to the quotient; the products are exact. */
		mean = exactsum_mean(&s, n);
		for (int side = -1; side <= 1; side += 2)
		{
			double		next = nextafter(mean, side * INFINITY);
			__float128	here = (__float128) mean * n - model;
			__float128	there = (__float128) next * n - model;

			assert_true((here < 0 ? -here : here) <=
						(there < 0 ? -there : there));
		}
		exactsum_free(&s);
	}
}

static void
test_order(void **state)
{
	enum
	{
		N = 500
	};
	double		value[N];
	ExactSum	whole;

	random_state = 3;
	for (int i = 0; i < N; i++)
		value[i] = random_double(-1074 + 52, 1023);

	exactsum_init(&whole);
	for (int i = 0; i < N; i++)
		exactsum_add(&whole, value[i], 1);

	for (int round = 0; round < 200; round++)
	{
		ExactSum	part[7];

		shuffle(value, N);
		for (int i = 0; i < 7; i++)
			exactsum_init(&part[i]);
		for (int i = 0; i < N; i++)
			exactsum_add(&part[next_random() % 7], value[i], 1);
		for (int i = 1; i < 7; i++)
			exactsum_merge(&part[0], &part[i]);
		assert_same_sum(&part[0], &whole);

		/* Taking everything away again leaves nothing. */
		for (int i = 0; i < N; i++)
			exactsum_add(&part[0], -value[i], 1);
		assert_same_double(exactsum_value(&part[0]), 0.0);
		for (int i = 0; i < 7; i++)
			exactsum_free(&part[i]);
	}
	exactsum_free(&whole);
}

/* More additions than a digit can hold without a carry. */
static void
test_carry(void **state)
{
	const int	n = 70 * 1000 * 1000;
	const double value = 2 - DBL_EPSILON;	/* all bits set */
	ExactSum	s;
	ExactSum	expected;

	exactsum_init(&s);
	exactsum_init(&expected);
	for (int i = 0; i < n; i++)
		exactsum_add(&s, value, 1);
	exactsum_add(&expected, value, n);
	assert_same_sum(&s, &expected);
	for (int i = 0; i < n; i++)
		exactsum_add(&s, -value, 1);
	for (int i = 0; i < n; i++)
		exactsum_add(&s, -value, 1);
	exactsum_free(&expected);
	exactsum_add(&expected, -value, n);
	assert_same_sum(&s, &expected);
	exactsum_free(&s);
	exactsum_free(&expected);
}

static void
test_words(void **state)
{
	random_state = 4;
	for (int round = 0; round < 2000; round++)
	{
		ExactSum	s;
		ExactSum	copy;
		ExactSumCanon canon;

		exactsum_init(&s);
		exactsum_init(&copy);
		for (int i = 0; i < 5; i++)
			exactsum_add(&s, random_double(-1074 + 52, 1023),
						 1 + next_random() % 1000);
		exactsum_canonical(&s, &canon);
		for (int i = 0; i < canon.n; i++)
			exactsum_add_word(&copy, canon.negative, 32 * (canon.low + i),
							  canon.digit[i]);
		assert_same_sum(&copy, &s);

		/* The bits one by one, from the top. */
		exactsum_free(&copy);
		for (int bit = exactsum_canon_bits(&canon) - 1; bit >= 0; bit--)
		{
			int			i = bit / 32 - canon.low;

			if (i >= 0 && canon.digit[i] >> (bit % 32) & 1)
				exactsum_add_word(&copy, canon.negative, bit, 1);
		}
		assert_same_sum(&copy, &s);
		exactsum_free(&s);
		exactsum_free(&copy);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_carry),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

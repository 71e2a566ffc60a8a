/*
 * test_forecast.c
 *		Forecasts: by hand, at the edges, and by simulation.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/forecast.h"
#include "random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- asking ------------------------------------------------------------- */

static ForecastQuestion
question(const double *history, int n, int horizon, ForecastMethod method)
{
	return (ForecastQuestion)
	{
		.history = history,.n = n,.season = 7,.horizon = horizon,.recent = -1,
			.last = 1,.method = method,.coverage = 0.8
	};
}

static Forecast
ask(const double *history, int n, int horizon, ForecastMethod method)
{
	ForecastQuestion q = question(history, n, horizon, method);
	Forecast	answer;

	forecast_answer(&q, &answer, NULL);
	return answer;
}

static void
assert_near(double value, double expected)
{
	if (fabs(value - expected) > 1e-9 * fmax(1, fabs(expected)))
		fail_msg("%.17g is not %.17g", value, expected);
}

static void
assert_sane(const ForecastRange *range, bool negative)
{
	assert_true(isfinite(range->low) && isfinite(range->expected) && isfinite(range->high));
	assert_true(range->low <= range->expected && range->expected <= range->high);
	assert_true(negative || range->low >= 0);
}

/* --- by hand ------------------------------------------------------------ */

static void
test_names(void **state)
{
	ForecastMethod method;

	for (int m = 0; m <= FORECAST_AUTO; m++)
	{
		assert_true(forecast_method_of_name(forecast_method_name((ForecastMethod) m), &method));
		assert_int_equal(method, m);
	}
	assert_string_equal(forecast_method_name(FORECAST_HOLT_WINTERS), "holt_winters");
	assert_false(forecast_method_of_name("", &method));
	assert_false(forecast_method_of_name("Auto", &method));
	assert_false(forecast_method_of_name("auto ", &method));
}

static void
test_run_rate(void **state)
{
	static const double history[] = {70, 10, 20, 30};
	ForecastQuestion q = question(history, 4, 5, FORECAST_RUN_RATE);
	ForecastRange steps[5];
	Forecast	answer;

	/* (70 + 10 + 20 + 30) / 4 = 32.5 a step */
	forecast_answer(&q, &answer, steps);
	assert_int_equal(answer.method, FORECAST_RUN_RATE);
	assert_near(answer.sum.expected, 162.5);
	for (int h = 0; h < 5; h++)
		assert_near(steps[h].expected, 32.5);

	/* of the last three, and half a step with 12: 72 / 3.5; 4.5 steps remain */
	q.recent = 3;
	q.running = 12;
	q.elapsed = 0.5;
	forecast_answer(&q, &answer, steps);
	assert_near(answer.sum.expected, 72 / 3.5 * 4.5);
	assert_near(steps[0].expected, 72 / 3.5);

	/* and of the last step only a quarter is asked for */
	q.last = 0.25;
	forecast_answer(&q, &answer, NULL);
	assert_near(answer.sum.expected, 72 / 3.5 * 3.75);

	/* the first step of a period: nothing but what is running */
	q.recent = 0;
	q.last = 1;
	q.elapsed = 0.25;
	forecast_answer(&q, &answer, NULL);
	assert_near(answer.sum.expected, 48 * 4.75);

	/* its first moment, of which nothing is known: the rate of all there is */
	q.running = 0;
	q.elapsed = 0;
	forecast_answer(&q, &answer, NULL);
	assert_near(answer.sum.expected, 162.5);

	/* all is over */
	q.horizon = 1;
	q.elapsed = 0.75;
	q.last = 0.75;
	q.running = 12;
	forecast_answer(&q, &answer, NULL);
	assert_near(answer.sum.expected, 0);
	assert_near(answer.sum.high, 0);
}

static void
test_seasonal(void **state)
{
	static const double history[] = {5, 1, 2, 3, 4, 5, 6, 7};
	ForecastRange steps[9];
	ForecastQuestion q = question(history, 8, 9, FORECAST_SEASONAL);
	Forecast	answer;

	forecast_answer(&q, &answer, steps);
	assert_int_equal(answer.method, FORECAST_SEASONAL);
	/* 1 to 7, and 1 and 2 again */
	assert_near(answer.sum.expected, 28 + 3);
	for (int h = 0; h < 9; h++)
		assert_near(steps[h].expected, h % 7 + 1);

	/* with a trend for sure it goes on: 2 a step are 14 a season */
	{
		double		rising[28];

		for (int t = 0; t < 28; t++)
			rising[t] = 100 + 2 * t;
		q = question(rising, 28, 9, FORECAST_SEASONAL);
		forecast_answer(&q, &answer, steps);
		for (int h = 0; h < 9; h++)
			assert_true(fabs(steps[h].expected - (156 + 2 * h)) < 0.01);
		q = question(history, 8, 9, FORECAST_SEASONAL);
	}

	/* not a season: it cannot be told */
	q.n = 6;
	forecast_answer(&q, &answer, NULL);
	assert_int_equal(answer.method, FORECAST_RUN_RATE);
	assert_near(answer.sum.expected, (5 + 1 + 2 + 3 + 4 + 5) / 6.0 * 9);
}

static void
test_average(void **state)
{
	double		history[35];
	ForecastQuestion q = question(history, 35, 14, FORECAST_AVERAGE);
	ForecastRange steps[14];
	Forecast	answer;

	/*
	 * of five seasons the last four: each step has 0, 1, 2, 3 more than its
	 * own
	 */
	for (int t = 0; t < 35; t++)
		history[t] = 10 * (t % 7) + (t < 7 ? 1000 : 2 * ((t / 7 - 1) % 4));
	/* four seasons: means of 0, 2, 4, 6 = 3 */
	forecast_answer(&q, &answer, steps);
	for (int h = 0; h < 14; h++)
		assert_near(steps[h].expected, 10 * (h % 7) + 3);
	/* (0 + 10 + ... + 60 + 7 * 3) * 2 */
	assert_near(answer.sum.expected, 462);
}

static void
test_line(void **state)
{
	double		history[30];
	double		effect[7] = {3, 1, -1, 0, 2, -2, -3};
	static const ForecastMethod methods[] = {
		FORECAST_LINEAR, FORECAST_HOLT_WINTERS, FORECAST_AUTO
	};

	for (int t = 0; t < 30; t++)
		history[t] = 50 + 2 * t + effect[t % 7];
	for (size_t i = 0; i < COUNT(methods); i++)
	{
		ForecastQuestion q = question(history, 30, 20, methods[i]);
		ForecastRange steps[20];
		Forecast	answer;
		double		sum = 0;

		forecast_answer(&q, &answer, steps);
		for (int h = 0; h < 20; h++)
		{
			double		expected = 50 + 2 * (30 + h) + effect[(30 + h) % 7];

			if (fabs(steps[h].expected - expected) > 0.01)
				fail_msg("%s: step %d is %g, not %g", forecast_method_name(methods[i]),
						 h, steps[h].expected, expected);
			sum += expected;
		}
		assert_true(fabs(answer.sum.expected - sum) < 0.1);
		/* nothing in it is uncertain */
		assert_true(answer.sum.high - answer.sum.low < 0.5);
		assert_true(answer.confident);
	}
}

/* Falling to nothing it stays there, and below only where it has been. */
static void
test_floor(void **state)
{
	double		history[28];
	Forecast	answer;

	for (int t = 0; t < 28; t++)
		history[t] = 280 - 10 * t;
	answer = ask(history, 28, 30, FORECAST_LINEAR);
	assert_near(answer.sum.expected, 0);
	assert_near(answer.sum.low, 0);
	for (int t = 0; t < 28; t++)
		history[t] -= 100;
	/* 280 - 100 - 10 * 28 = -100 is below all that was, which was -90 */
	answer = ask(history, 28, 30, FORECAST_LINEAR);
	assert_near(answer.sum.expected, -90 * 30);
}

static void
test_constant(void **state)
{
	double		history[60];

	for (int t = 0; t < 60; t++)
		history[t] = 42.5;
	for (int m = 0; m <= FORECAST_AUTO; m++)
		for (int n = 14; n <= 60; n++)
		{
			Forecast	answer = ask(history, n, 10, (ForecastMethod) m);

			assert_near(answer.sum.expected, 425);
			assert_near(answer.sum.low, 425);
			assert_near(answer.sum.high, 425);
			assert_true(answer.confident);
		}
}

/* --- edges -------------------------------------------------------------- */

static void
test_short(void **state)
{
	static const double history[] = {10, 14, 12};

	for (int m = 0; m <= FORECAST_AUTO; m++)
	{
		Forecast	answer = ask(history, 0, 30, (ForecastMethod) m);
		ForecastQuestion q;

		/* nothing is known: nothing is expected */
		assert_near(answer.sum.expected, 0);
		assert_near(answer.sum.high, 0);
		assert_int_equal(answer.method, FORECAST_RUN_RATE);
		assert_false(answer.confident);
		assert_true(answer.mase < 0);

		/* half a step with 5 of it: 10 a step, 29.5 of them */
		q = question(history, 0, 30, (ForecastMethod) m);
		q.running = 5;
		q.elapsed = 0.5;
		forecast_answer(&q, &answer, NULL);
		assert_near(answer.sum.expected, 295);
		assert_true(answer.sum.low < 50 && answer.sum.high > 500);

		/* a moment: no more than if it had been an hour */
		q.elapsed = 1e-9;
		forecast_answer(&q, &answer, NULL);
		assert_true(fabs(answer.sum.expected - 5 * 24 * 30) < 1e-3);

		for (int n = 1; n <= 3; n++)
		{
			answer = ask(history, n, 30, (ForecastMethod) m);
			assert_false(answer.confident);
			assert_sane(&answer.sum, false);
			if (m == FORECAST_AUTO || m == FORECAST_RUN_RATE)
				assert_near(answer.sum.expected, n == 1 ? 300 : 360);
			/* one step tells nothing of the next */
			assert_true(answer.sum.high > answer.sum.expected * 1.15);
			assert_true(answer.sum.low < answer.sum.expected * 0.85);
		}
	}
}

static void
test_zeros(void **state)
{
	double		history[60] = {0};
	Forecast	answer;

	for (int m = 0; m <= FORECAST_AUTO; m++)
	{
		answer = ask(history, 60, 30, (ForecastMethod) m);
		assert_near(answer.sum.expected, 0);
		assert_near(answer.sum.high, 0);
	}
	/* but for one day */
	history[40] = 60;
	answer = ask(history, 60, 30, FORECAST_AUTO);
	assert_sane(&answer.sum, false);
	assert_true(answer.sum.expected <= 100);
}

/* Seven weeks of 100 on weekdays and 40 at weekends, with a little noise. */
static void
weeks(double *history, int n)
{
	random_state = 11;
	for (int t = 0; t < n; t++)
		history[t] = (t % 7 >= 5 ? 40 : 100) + (double) random_below(9) - 4;
}

static void
test_spikes(void **state)
{
	double		history[49];
	Forecast	plain;
	Forecast	answer;

	weeks(history, 49);
	plain = ask(history, 49, 28, FORECAST_AUTO);
	/* 4 weeks of 5 * 100 + 2 * 40 */
	assert_true(fabs(plain.sum.expected - 4 * 580) < 0.03 * 4 * 580);

	/* one, of ten days' usage, is not expected again, whenever it was */
	for (int at = 0; at < 49; at++)
	{
		weeks(history, 49);
		history[at] += 1000;
		answer = ask(history, 49, 28, FORECAST_AUTO);
		if (fabs(answer.sum.expected / plain.sum.expected - 1) > 0.05)
			fail_msg("spike at %d: %g instead of %g", at, answer.sum.expected, plain.sum.expected);
	}

	/* nor is a correction, which may leave a day below nothing */
	for (int at = 0; at < 49; at++)
	{
		weeks(history, 49);
		history[at] -= 500;
		answer = ask(history, 49, 28, FORECAST_AUTO);
		if (fabs(answer.sum.expected / plain.sum.expected - 1) > 0.05)
			fail_msg("correction at %d: %g instead of %g", at, answer.sum.expected, plain.sum.expected);
	}

	/*
	 * of what is exact but for rounding, too: 50 + t / 3, and 0.1 on each
	 * third day of a week
	 */
	for (int at = 0; at < 49; at++)
	{
		double		sum = 0;

		for (int t = 0; t < 49 + 28; t++)
		{
			double		value = 50 + t / 3.0 + (t % 7 == 2 ? 0.1 : 0);

			if (t < 49)
				history[t] = value + (t == at ? 1000 : 0);
			else
				sum += value;
		}
		for (int m = FORECAST_LINEAR; m <= FORECAST_HOLT_WINTERS; m++)
		{
			answer = ask(history, 49, 28, (ForecastMethod) m);
			if (fabs(answer.sum.expected / sum - 1) > 0.05)
				fail_msg("%s, spike at %d: %g instead of %g", forecast_method_name((ForecastMethod) m),
						 at, answer.sum.expected, sum);
		}
	}

	/* one a week is: 4 * 1000 more in four weeks */
	weeks(history, 49);
	for (int w = 0; w < 7; w++)
		history[7 * w + w % 5] += 1000;
	answer = ask(history, 49, 28, FORECAST_AVERAGE);
	assert_true(fabs(answer.sum.expected - plain.sum.expected - 4000) < 400);

	/* and three days in a row are a new level, of which an average has a part */
	weeks(history, 49);
	for (int t = 42; t < 47; t++)
		history[t] += 1000;
	answer = ask(history, 49, 7, FORECAST_AVERAGE);
	/* 5000 in one week of four */
	assert_true(fabs(answer.sum.expected - 580 - 1250) < 60);
}

static void
test_extremes(void **state)
{
	static const double sizes[] = {
		DBL_MAX, 1e300, 1e154, 1, 1e-154, DBL_MIN, 5e-324
	};

	random_state = 5;
	for (size_t i = 0; i < COUNT(sizes); i++)
		for (int m = 0; m <= FORECAST_AUTO; m++)
			for (int n = 0; n <= 40; n++)
			{
				double		history[40];
				ForecastRange steps[12];
				ForecastQuestion q = question(history, n, 12, (ForecastMethod) m);
				Forecast	answer;
				bool		negative = n % 2 == 1;

				for (int t = 0; t < n; t++)
				{
					history[t] = sizes[i] * ((double) random_below(1001) / 1000);
					if (negative && random_below(3) == 0)
						history[t] = -history[t];
				}
				q.season = 1 + n % 8;
				q.coverage = n % 3 == 0 ? 0.999 : n % 3 == 1 ? 0.5 : 1e-6;
				q.elapsed = (n % 5) / 5.0;
				q.running = n % 5 == 0 ? 0 : history[n - 1] / 2;
				if (q.running < 0)
					q.running = 0;
				forecast_answer(&q, &answer, steps);
				assert_sane(&answer.sum, negative);
				assert_true(answer.method < FORECAST_AUTO);
				assert_true(isfinite(answer.mase));
				for (int h = 0; h < 12; h++)
					assert_sane(&steps[h], negative);
			}
}

/* In another unit it is the same, and so it is when asked again. */
static void
test_units(void **state)
{
	double		history[50];
	double		other[50];

	random_state = 3;
	for (int t = 0; t < 50; t++)
	{
		history[t] = (double) random_below(1000);
		other[t] = history[t] * 1024;
	}
	for (int m = 0; m <= FORECAST_AUTO; m++)
	{
		Forecast	one = ask(history, 50, 20, (ForecastMethod) m);
		Forecast	again = ask(history, 50, 20, (ForecastMethod) m);
		Forecast	large = ask(other, 50, 20, (ForecastMethod) m);

		assert_int_equal(one.method, large.method);
		assert_true(one.sum.low == again.sum.low && one.sum.high == again.sum.high);
		assert_true(one.sum.expected * 1024 == large.sum.expected);
		assert_true(one.sum.low * 1024 == large.sum.low);
		assert_true(one.sum.high * 1024 == large.sum.high);
	}
}

static void
test_intervals_nest(void **state)
{
	double		history[49];
	double		width = 0;

	weeks(history, 49);
	for (int percent = 10; percent < 100; percent += 10)
	{
		ForecastQuestion q = question(history, 49, 10, FORECAST_AUTO);
		Forecast	answer;

		q.coverage = percent / 100.0;
		forecast_answer(&q, &answer, NULL);
		assert_true(answer.sum.high - answer.sum.low > width);
		width = answer.sum.high - answer.sum.low;
	}
}

/* --- MASE --------------------------------------------------------------- */

/*
 * Of a series that repeats exactly, nothing beats the naive; of one that
 * alternates with another period, whatever knows the mean does.
 */
static void
test_mase(void **state)
{
	double		history[56];
	Forecast	answer;

	for (int t = 0; t < 56; t++)
		history[t] = (t % 7) * (t % 7);
	answer = ask(history, 56, 14, FORECAST_AUTO);
	assert_int_equal(answer.method, FORECAST_SEASONAL);
	/* 0 + 1 + 4 + ... + 36 = 91 */
	assert_near(answer.sum.expected, 182);
	assert_near(answer.sum.high, 182);

	/*
	 * 0 and 100 by turns: a season of 7 is always wrong by 100, the mean by
	 * 50
	 */
	for (int t = 0; t < 56; t++)
		history[t] = t % 2 * 100;
	answer = ask(history, 56, 7, FORECAST_RUN_RATE);
	assert_true(fabs(answer.mase - 0.5) < 0.01);
	answer = ask(history, 56, 7, FORECAST_AUTO);
	assert_true(answer.mase < 1);
	assert_true(fabs(answer.sum.expected - 350) < 50);

	/* auto never takes what does not beat the naive */
	random_state = 17;
	for (int i = 0; i < 200; i++)
	{
		for (int t = 0; t < 35; t++)
			history[t] = (double) random_below(100);
		answer = ask(history, 35, 14, FORECAST_AUTO);
		assert_true(answer.method == FORECAST_SEASONAL || (answer.mase >= 0 && answer.mase < 1));
	}
}

/* --- by simulation ------------------------------------------------------ */

#define SERIES 150
#define DAYS 60
#define MONTH 30

typedef enum Kind
{
	SEASONAL, TRENDED, BURSTY
} Kind;

static double
uniform(void)
{
	return ((double) (next_random() >> 11) + 0.5) / 9007199254740992.0;
}

static double
normal(void)
{
	double		radius = sqrt(-2 * log(uniform()));

	return radius * cos(2 * M_PI * uniform());
}

static void
generate(Kind kind, double *y)
{
	double		level = 100 + 900 * uniform();
	double		weekend = 0.3 + 0.5 * uniform();
	double		noise = 0.05 + 0.15 * uniform();
	double		slope = level * (0.01 + 0.02 * uniform()) * (uniform() < 0.25 ? -0.5 : 1);
	double		often = 0.05 + 0.1 * uniform();
	double		size = 3 + 5 * uniform();
	int			monday = (int) random_below(7);

	for (int t = 0; t < DAYS; t++)
	{
		double		week = (t + monday) % 7 >= 5 ? weekend : 1;

		if (kind == BURSTY)
			y[t] = level * (1 + 0.2 * normal()) +
				(uniform() < often ? level * size * (0.5 + uniform()) : 0);
		else
			y[t] = (level + (kind == TRENDED ? slope * t : 0)) * week * (1 + noise * normal());
		y[t] = fmax(y[t], 0);
	}
}

/*
 * The second month of two, forecast on its days 5, 10 and 20: is its sum within
 * the interval as often as is said, and is auto nearly as good as the best of
 * run rate, seasonal and Holt-Winters?
 */
static void
test_simulation(void **state)
{
	static const char *const names[] = {"seasonal", "trended", "bursty"};
	static const int days[] = {5, 10, 20};

	for (int kind = 0; kind < 3; kind++)
	{
		double		error[FORECAST_METHODS + 1] = {0};
		double		best;
		int			within = 0;
		double		percent;

		random_state = 100 + kind;
		for (int i = 0; i < SERIES; i++)
			for (size_t d = 0; d < COUNT(days); d++)
			{
				double		y[DAYS];
				double		before = 0;
				double		total = 0;

				generate((Kind) kind, y);
				for (int t = MONTH; t < DAYS; t++)
				{
					total += y[t];
					before += t < MONTH + days[d] ? y[t] : 0;
				}
				for (int m = 0; m <= FORECAST_AUTO; m++)
				{
					ForecastQuestion q = question(y, MONTH + days[d], MONTH - days[d], (ForecastMethod) m);
					Forecast	answer;

					if (m == FORECAST_RUN_RATE)
						q.recent = days[d];
					forecast_answer(&q, &answer, NULL);
					error[m] += fabs(before + answer.sum.expected - total) / total;
					if (m == FORECAST_AUTO)
						within += before + answer.sum.low <= total && total <= before + answer.sum.high;
				}
			}
		percent = 100.0 * within / (SERIES * COUNT(days));
		best = fmin(error[FORECAST_RUN_RATE], fmin(error[FORECAST_SEASONAL], error[FORECAST_HOLT_WINTERS]));
		print_message("%s: 80 %% interval has %.1f %%, auto %.3f of the best\n",
					  names[kind], percent, error[FORECAST_AUTO] / best);
		assert_true(percent >= 75 && percent <= 90);
		assert_true(error[FORECAST_AUTO] <= 1.1 * best);
	}
}

/*
 * Errors that follow each other.  If half of what is too much is made up for at
 * the next step (a moving average, e[t] - e[t - 1] / 2), the variance of a sum is
 * (1 - 1/2)^2 / (1 + 1/4) = 0.2 of what it would be if they were independent; if
 * a third of it stays (autoregression, x[t] = x[t - 1] / 3 + e[t]), it is
 * (1 + 1/3) / (1 - 1/3) = 2 of that.
 */
static void
test_dependent(void **state)
{
	static const char *const names[] = {"independent", "made up for", "staying"};
	double		width[3] = {0};

	for (int kind = 0; kind < 3; kind++)
	{
		int			within = 0;
		double		percent;

		random_state = 300;
		for (int i = 0; i < 4 * SERIES; i++)
		{
			double		y[DAYS];
			double		last = normal();
			double		kept = last / sqrt(1 - 1.0 / 9);
			double		total = 0;
			Forecast	answer;

			for (int t = 0; t < DAYS; t++)
			{
				double		e = normal();

				kept = kept / 3 + e;
				y[t] = 100 + 10 * (kind == 0 ? e : kind == 1 ? e - last / 2 : kept);
				last = e;
				total += t >= DAYS - 20 ? y[t] : 0;
			}
			answer = ask(y, DAYS - 20, 20, FORECAST_AUTO);
			within += answer.sum.low <= total && total <= answer.sum.high;
			width[kind] += (answer.sum.high - answer.sum.low) / (4 * SERIES);
		}
		percent = 100.0 * within / (4 * SERIES);
		print_message("%s: 80 %% interval has %.1f %%, and is %.0f wide\n", names[kind], percent, width[kind]);
		assert_true(percent >= 75 && percent <= 90);
	}
	assert_true(width[1] < 0.75 * width[0] && width[2] > 1.2 * width[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_run_rate),
		cmocka_unit_test(test_seasonal),
		cmocka_unit_test(test_average),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_floor),
		cmocka_unit_test(test_constant),
		cmocka_unit_test(test_short),
		cmocka_unit_test(test_zeros),
		cmocka_unit_test(test_spikes),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_intervals_nest),
		cmocka_unit_test(test_mase),
		cmocka_unit_test(test_simulation),
		cmocka_unit_test(test_dependent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * forecast.c
 *		Which method is asked, by back-testing, and how sure its answer is.
 *
 * See forecast.h.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/forecast.h"
#include "core/forecast_method.h"

#define FEWEST_STEPS 4			/* of less than that nothing is sure */
#define MAX_ORIGINS 12			/* of a back-test */
#define PATHS 1000				/* sums that are drawn */
#define DRAWN_STEPS 64			/* of more, a sum is as good as normal */
#define MAX_EXCESS 16.0			/* what one sum of a back-test may count */

/*
 * So many sums of a back-test that do not overlap weigh as much as the formula
 * for how errors grow.
 */
#define FORMULA_WEIGHT 2.0

/*
 * How many steps apart errors are looked at for what they have in common: a
 * season, but so many at least, and at most a part of the history.
 */
#define LEAST_LAGS 4
#define LAGS_PART 5
#define LEAST_RATIO 0.1			/* some is due to chance */

/* A method is not left for one that is better by less. */
#define MARGIN 0.85

/* The best of several is not quite as good as it looks: of variances. */
#define CHOSEN 1.3

static const char *const names[] = {
	"run_rate", "seasonal", "average", "linear", "holt_winters", "auto"
};

const char *
forecast_method_name(ForecastMethod method)
{
	return names[method];
}

bool
forecast_method_of_name(const char *name, ForecastMethod *method)
{
	for (int i = 0; i <= FORECAST_AUTO; i++)
		if (strcmp(name, names[i]) == 0)
		{
			*method = (ForecastMethod) i;
			return true;
		}
	return false;
}

/* --- random numbers ----------------------------------------------------- */

/* splitmix64 */
static uint64_t
next_random(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* In (0, 1). */
static double
next_uniform(uint64_t *state)
{
	return ((double) (next_random(state) >> 11) + 0.5) / 9007199254740992.0;
}

static double
next_normal(uint64_t *state)
{
	double		radius = sqrt(-2 * log(next_uniform(state)));

	return radius * cos(2 * M_PI * next_uniform(state));
}

/* How many standard deviations to each side of the mean have the coverage. */
static double
normal_quantile(double coverage)
{
	double		low = 0;
	double		high = 40;

	for (int i = 0; i < 100; i++)
	{
		double		middle = (low + high) / 2;

		if (erf(middle * M_SQRT1_2) < coverage)
			low = middle;
		else
			high = middle;
	}
	return (low + high) / 2;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Of sorted values. */
static double
quantile(const double *value, int n, double q)
{
	double		rank = q * (n - 1);
	int			i = (int) rank;

	return i + 1 < n ? value[i] + (rank - i) * (value[i + 1] - value[i]) : value[n - 1];
}

/* --- errors that follow each other -------------------------------------- */

/*
 * The variance of the sum of many steps' errors, in that which it would have if
 * they were independent: less than 1 if what is too much today is made up for
 * tomorrow, more if one day is like the next.
 *
 * It is the long-run variance, with Bartlett's weights (Newey and West 1987, "A
 * simple, positive semi-definite, heteroskedasticity and autocorrelation
 * consistent covariance matrix", Econometrica 55), by the variance.  Errors are
 * taken from their mean, which moves with them: its variance is the long-run one
 * by n, and so much is missing in each of the autocovariances.
 */
static double
sum_ratio(const double *error, int n, int season, int horizon)
{
	int			lags = season > LEAST_LAGS ? season : LEAST_LAGS;
	double		mean = 0;
	double		variance = 0;
	double		ratio = 1;

	if (lags > n / LAGS_PART)
		lags = n / LAGS_PART;
	if (lags > horizon - 1)
		lags = horizon - 1;
	if (lags < 1)
		return 1;
	for (int t = 0; t < n; t++)
		mean += error[t] / n;
	for (int t = 0; t < n; t++)
		variance += (error[t] - mean) * (error[t] - mean);
	if (variance <= 0)
		return 1;
	for (int k = 1; k <= lags; k++)
	{
		double		product = 0;

		for (int t = k; t < n; t++)
			product += (error[t] - mean) * (error[t - k] - mean);
		ratio += 2 * (1 - k / (lags + 1.0)) * product / variance;
	}
	return fmax(ratio * (n - 1) / (n - lags - 1), LEAST_RATIO);
}

/* --- back-testing ------------------------------------------------------- */

typedef struct Test
{
	int			origins;		/* from which the method was asked */
	double		mase;			/* below 0: not known */
	double		excess;			/* mean square of the errors of sums, in those
								 * that the method's formula tells */
	double		independent;	/* so many sums did not overlap */
} Test;

typedef struct Series
{
	const double *y;
	int			n;
	int			season;
	int			horizon;
	double		floor;			/* no forecast is below */
} Series;

static void
lift(double *step, int n, double floor)
{
	for (int h = 0; h < n; h++)
		if (step[h] < floor)
			step[h] = floor;
}

/* The points at which the history is cut off: the first, the last, and how many. */
static int
origins_of(const Series *s, int *first, int *last)
{
	int			shortest = (s->horizon < s->season ? s->horizon : s->season + 1) / 2;

	*first = s->n >= 3 * s->season ? 2 * s->season : s->season;
	if (*first < s->n / 2)
		*first = s->n / 2;
	if (*first < 2)
		*first = 2;
	*last = s->n - (shortest > 1 ? shortest : 1);
	if (*last < *first)
		return 0;
	return *last - *first + 1 < MAX_ORIGINS ? *last - *first + 1 : MAX_ORIGINS;
}

/* Of one method, or with auto of all. */
static void
back_test(const Series *s, ForecastMethod method, Test test[FORECAST_METHODS])
{
	int			first = 0;
	int			last = 0;
	int			origins = origins_of(s, &first, &last);
	int			longest = s->n - first < s->horizon ? s->n - first : s->horizon;
	double	   *step;
	double	   *spread;
	double	   *residual;
	double		error[FORECAST_METHODS] = {0};	/* mean, absolute, of steps */
	double		naive[FORECAST_METHODS] = {0};	/* and that of the naive */

	memset(test, 0, sizeof(Test) * FORECAST_METHODS);
	for (int m = 0; m < FORECAST_METHODS; m++)
		test[m].mase = -1;
	if (origins == 0)
		return;
	step = core_alloc(sizeof(double) * (size_t) longest);
	spread = core_alloc(sizeof(double) * (size_t) longest);
	residual = core_alloc(sizeof(double) * (size_t) s->n);
	for (int i = 0; i < origins; i++)
	{
		int			at = origins > 1 ? first + (int) ((long) (last - first) * i / (origins - 1)) : first;
		int			length = s->n - at < s->horizon ? s->n - at : s->horizon;
		double		naive_error = 0;

		for (int h = 0; h < length; h++)
			naive_error += fabs(s->y[at + h] - s->y[at - s->season + h % s->season]);
		for (int m = 0; m < FORECAST_METHODS; m++)
		{
			ForecastFit fit = {.step = step,.spread = spread,.residual = residual};
			double		sum = 0;
			double		variance;

			if ((method != FORECAST_AUTO && m != (int) method) ||
				at < forecast_method_needs((ForecastMethod) m, s->season))
				continue;
			forecast_method_fit((ForecastMethod) m, s->y, at, s->season, length, -1, 0, 0, &fit);
			lift(step, length, s->floor);
			for (int h = 0; h < length; h++)
			{
				sum += s->y[at + h] - step[h];
				error[m] += fabs(s->y[at + h] - step[h]) / length;
			}
			naive[m] += naive_error / length;
			test[m].origins++;
			test[m].independent = (double) (s->n - first) / longest;
			variance = fit.noise * spread[length - 1] *
				sum_ratio(residual, fit.n_residual, s->season, length);
			test[m].excess += variance > 0 ? fmin(sum * sum / variance, MAX_EXCESS) : 1;
		}
	}
	for (int m = 0; m < FORECAST_METHODS; m++)
		if (test[m].origins > 0)
		{
			test[m].excess /= test[m].origins;
			if (naive[m] > 0)
				test[m].mase = error[m] / naive[m];
			else if (error[m] == 0)
				test[m].mase = 1;
		}
	core_free(step);
	core_free(spread);
	core_free(residual);
}

static double
growth_of(const Test *test)
{
	return (test->excess * test->independent + FORMULA_WEIGHT) /
		(test->independent + FORMULA_WEIGHT);
}

/*
 * Of the methods that beat the seasonal naive, the one that should be least off
 * over the horizon, by its formula and by what the back-test made of that; what
 * it was off at single steps, of which there are many, counts too.  How errors
 * follow each other is too uncertain to choose by.  Where there is a trend for
 * sure, there is no use in methods that know none: in a back-test, which is
 * shorter than what is asked for, they may look well.
 */
static ForecastMethod
choose(const Series *s, const Test test[FORECAST_METHODS])
{
	/* the first ones hold unless another is clearly better */
	static const ForecastMethod order[] = {
		FORECAST_HOLT_WINTERS, FORECAST_LINEAR, FORECAST_AVERAGE, FORECAST_RUN_RATE
	};
	ForecastMethod best = FORECAST_SEASONAL;
	double		best_score = 0;
	double	   *step = core_alloc(sizeof(double) * (size_t) s->horizon);
	double	   *spread = core_alloc(sizeof(double) * (size_t) s->horizon);
	ForecastFit fit = {.step = step,.spread = spread};
	bool		trend;

	forecast_method_fit(FORECAST_LINEAR, s->y, s->n, s->season, s->horizon, -1, 0, 0, &fit);
	trend = fit.certainty >= FORECAST_SURE;
	for (int i = 0; i < (int) (sizeof(order) / sizeof(order[0])); i++)
	{
		const Test *t = &test[order[i]];
		double		score;

		/* judged at half as many points, it is not comparable */
		if (t->origins * 2 <= test[FORECAST_SEASONAL].origins || t->mase < 0 || t->mase >= 1 ||
			(trend && (order[i] == FORECAST_AVERAGE || order[i] == FORECAST_RUN_RATE)))
			continue;
		forecast_method_fit(order[i], s->y, s->n, s->season, s->horizon, -1, 0, 0, &fit);
		score = fit.noise * spread[s->horizon - 1] * growth_of(t) * t->mase * t->mase;
		if (best == FORECAST_SEASONAL || score < best_score * MARGIN)
		{
			best = order[i];
			best_score = score;
		}
	}
	core_free(step);
	core_free(spread);
	return best;
}

/* --- the interval ------------------------------------------------------- */

typedef struct Uncertainty
{
	double		noise;			/* variance of one step */
	double		growth;			/* what the back-test found, of what the
								 * formula tells: of variances */
	double		ratio;			/* of sums, as their errors are not
								 * independent */
	double	   *residual;		/* centered, with that variance */
	int			n_residual;
} Uncertainty;

static void
center(Uncertainty *u)
{
	double		mean = 0;
	double		variance = 0;

	for (int i = 0; i < u->n_residual; i++)
		mean += u->residual[i] / u->n_residual;
	for (int i = 0; i < u->n_residual; i++)
	{
		u->residual[i] -= mean;
		variance += u->residual[i] * u->residual[i] / u->n_residual;
	}
	if (variance <= 0)
	{
		u->n_residual = 0;
		return;
	}
	for (int i = 0; i < u->n_residual; i++)
		u->residual[i] *= sqrt(u->noise / variance);
}

/* What a sum of so many steps' noise, and so much error of the level, is off. */
static void
draw_sums(const Uncertainty *u, double steps, double level_variance, double coverage,
		  double *below, double *above)
{
	double	   *sum = core_alloc(sizeof(double) * PATHS);
	uint64_t	random = 1;
	int			draws = steps < DRAWN_STEPS ? (int) ceil(steps) : DRAWN_STEPS;
	double		weight = draws > 0 ? sqrt(steps / draws) : 0;

	for (int p = 0; p < PATHS; p++)
	{
		double		noise = 0;

		if (u->n_residual > 0)
			for (int d = 0; d < draws; d++)
				noise += u->residual[next_random(&random) % (uint64_t) u->n_residual];
		sum[p] = sqrt(u->growth * u->ratio) * (weight * noise + sqrt(level_variance) * next_normal(&random));
	}
	qsort(sum, PATHS, sizeof(double), compare);
	*below = quantile(sum, PATHS, (1 - coverage) / 2);
	*above = quantile(sum, PATHS, (1 + coverage) / 2);
	core_free(sum);
}

static void
range_of(ForecastRange *range, double expected, double below, double above, double floor)
{
	range->expected = fmax(expected, floor);
	range->low = fmin(fmax(expected + below, floor), range->expected);
	range->high = fmax(expected + above, range->expected);
}

/* Out of proportion again; what is too large for a double is the largest. */
static void
scale_range(ForecastRange *range, double scale)
{
	range->low = fmax(fmin(range->low * scale, DBL_MAX), -DBL_MAX);
	range->expected = fmax(fmin(range->expected * scale, DBL_MAX), -DBL_MAX);
	range->high = fmax(fmin(range->high * scale, DBL_MAX), -DBL_MAX);
}

/* --- the answer --------------------------------------------------------- */

void
forecast_answer(const ForecastQuestion *q, Forecast *answer, ForecastRange *steps)
{
	double	   *y = core_alloc(sizeof(double) * (size_t) (q->n > 0 ? q->n : 1));
	double	   *step = core_alloc(sizeof(double) * (size_t) q->horizon);
	double	   *spread = core_alloc(sizeof(double) * (size_t) q->horizon);
	double	   *residual = core_alloc(sizeof(double) * (size_t) (q->n > 0 ? q->n : 1));
	ForecastFit fit = {.step = step,.spread = spread,.residual = residual};
	Series		series = {.y = y,.n = q->n,.season = q->season,.horizon = q->horizon};
	Test		test[FORECAST_METHODS];
	Uncertainty u;
	double		scale = fabs(q->running);
	double		running;
	double		asked;			/* steps and parts of them */
	double		sum = 0;
	double		below;
	double		above;
	double		z = normal_quantile(q->coverage);

	/*
	 * values are at most 1 in size, so that no square is too large or too
	 * small
	 */
	for (int t = 0; t < q->n; t++)
		scale = fmax(scale, fabs(q->history[t]));
	if (scale == 0)
		scale = 1;
	for (int t = 0; t < q->n; t++)
	{
		y[t] = q->history[t] / scale;
		series.floor = fmin(series.floor, y[t]);
	}
	running = q->running / scale;
	series.floor = fmin(series.floor, running);

	answer->confident = q->n >= 2 * q->season && q->n >= FEWEST_STEPS;
	answer->method = q->method;
	if (q->method == FORECAST_AUTO ? !answer->confident :
		q->n < forecast_method_needs(q->method, q->season))
		answer->method = FORECAST_RUN_RATE;
	back_test(&series, answer->method, test);
	if (answer->method == FORECAST_AUTO)
		answer->method = choose(&series, test);
	answer->mase = test[answer->method].mase;
	/* a run rate was tested with all of the history */
	if (q->method == FORECAST_RUN_RATE && q->recent >= 0)
		answer->mase = -1;

	forecast_method_fit(answer->method, y, q->n, q->season, q->horizon,
						q->method == FORECAST_AUTO ? -1 : q->recent, running, q->elapsed, &fit);
	lift(step, q->horizon, series.floor);

	u.noise = fit.noise;
	if (!answer->confident)
	{
		/* for all that is known, days may be as different as they are large */
		double		level = fabs(step[0]);

		u.noise = (fit.noise * fit.n_residual + level * level) / (fit.n_residual + 1);
	}
	u.residual = residual;
	u.n_residual = fit.n_residual;
	u.growth = 1;
	u.ratio = answer->confident ? sum_ratio(residual, fit.n_residual, q->season, q->horizon) : 1;
	if (test[answer->method].origins > 0)
		u.growth = growth_of(&test[answer->method]) * (q->method == FORECAST_AUTO ? CHOSEN : 1);
	center(&u);

	asked = q->horizon - q->elapsed - (1 - q->last);
	if (asked < 0)
		asked = 0;
	for (int h = 0; h < q->horizon; h++)
		sum += step[h];
	sum -= q->elapsed * step[0] + (1 - q->last) * step[q->horizon - 1];
	if (asked == 0)
		sum = 0;
	draw_sums(&u, asked, u.noise * (u.n_residual > 0 ? 0 : asked) +
			  u.noise * (spread[q->horizon - 1] - q->horizon) * (asked / q->horizon) * (asked / q->horizon),
			  q->coverage, &below, &above);
	range_of(&answer->sum, sum, below, above, series.floor * asked);
	scale_range(&answer->sum, scale);

	if (steps != NULL)
	{
		double		noise_below = 0;
		double		noise_above = 0;
		double		before = 0;

		if (u.n_residual > 0)
		{
			qsort(u.residual, (size_t) u.n_residual, sizeof(double), compare);
			noise_below = fmin(quantile(u.residual, u.n_residual, (1 - q->coverage) / 2), 0);
			noise_above = fmax(quantile(u.residual, u.n_residual, (1 + q->coverage) / 2), 0);
		}
		else
			noise_above = -(noise_below = -z * sqrt(u.noise));
		for (int h = 0; h < q->horizon; h++)
		{
			/* what this step adds to the error that all share */
			double		shared = sqrt(u.noise * u.ratio * fmax(spread[h] - (h + 1), 0));
			double		level = z * (shared - before);
			double		growth = sqrt(u.growth);

			before = shared;
			range_of(&steps[h], step[h],
					 -growth * hypot(noise_below, level), growth * hypot(noise_above, level),
					 series.floor);
			scale_range(&steps[h], scale);
		}
	}
	core_free(y);
	core_free(step);
	core_free(spread);
	core_free(residual);
}

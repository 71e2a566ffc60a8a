/*
 * forecast_method.c
 *		Run rate, seasonal naive, average, line and Holt-Winters.
 *
 * See forecast.h for what they are.  Values are at most 1 in size here (see
 * forecast.c), so nothing overflows.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/forecast_method.h"

#define AVERAGE_SEASONS 4
#define LINE_ROUNDS 20
#define FLATTENING 1.5			/* see draw_line() */
#define SPIKES_RECUR 2			/* so many are to be expected again */
#define SPIKE_LENGTH 3			/* so many in a row are no spike */
#define SPIKE_DEVIATIONS 5.0	/* robust standard deviations */
#define MAD_TO_DEVIATION 1.4826 /* of a normal distribution */
#define ROUNDING 1e-9			/* less than that is no difference */
#define FEW 8					/* are sorted without qsort() */

/* An hour of a day: the rate of less than that is not known. */
#define LEAST_ELAPSED (1.0 / 24)

static int
min_int(int a, int b)
{
	return a < b ? a : b;
}

static double *
doubles(int n)
{
	return core_alloc(sizeof(double) * (size_t) (n > 0 ? n : 1));
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

double
forecast_median(double *value, int n)
{
	if (n > FEW)
		qsort(value, (size_t) n, sizeof(double), compare);
	else
		for (int i = 1; i < n; i++)
		{
			double		taken = value[i];
			int			at = i;

			for (; at > 0 && value[at - 1] > taken; at--)
				value[at] = value[at - 1];
			value[at] = taken;
		}
	return n % 2 == 1 ? value[n / 2] : (value[n / 2 - 1] + value[n / 2]) / 2;
}

static double
mean_of(const double *value, int n)
{
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += value[i];
	return n > 0 ? sum / n : 0;
}

int
forecast_method_needs(ForecastMethod method, int season)
{
	switch (method)
	{
		case FORECAST_SEASONAL:
		case FORECAST_AVERAGE:
			return season;
		case FORECAST_LINEAR:
			return season > 1 ? 2 * season : 2;
		case FORECAST_HOLT_WINTERS:
			return season > 1 ? 2 * season : 3;
		default:
			return 0;
	}
}

/* --- spikes ------------------------------------------------------------- */

/*
 * What is usual at a step: the median of the same step of the four nearest
 * seasons, each taken further by what a season usually adds.
 */
static double
usual(const double *y, int n, int season, double added, int at)
{
	double		near[4];
	int			found = 0;

	for (long off = 1; found < 4 && (at - off * season >= 0 || at + off * season < n); off++)
	{
		if (at - off * season >= 0)
			near[found++] = y[at - off * season] + off * added;
		if (found < 4 && at + off * season < n)
			near[found++] = y[at + off * season] - off * added;
	}
	return found > 2 ? forecast_median(near, found) : y[at];
}

/* Of the differences between seasons, as long as there are enough of them. */
static double
usually_added(const double *y, int n, int season)
{
	int			differences = n - season;
	double	   *difference;
	double		added;

	if (differences < season)
		return 0;
	difference = doubles(differences);
	for (int t = season; t < n; t++)
		difference[t - season] = y[t] - y[t - season];
	added = forecast_median(difference, differences);
	core_free(difference);
	return added;
}

double
forecast_clean(const double *y, int n, int season, double *out)
{
	double	   *off = doubles(n);
	double	   *size = doubles(n);
	double		bound;
	double		excess = 0;
	int			spikes = 0;
	double		added = usually_added(y, n, season);

	memcpy(out, y, sizeof(double) * (size_t) n);
	for (int t = 0; t < n; t++)
	{
		off[t] = y[t] - usual(y, n, season, added, t);
		size[t] = fabs(off[t]);
	}
	/* where most of it repeats exactly, all else is unusual */
	bound = ROUNDING;
	if (n > 0)
		bound = fmax(bound, SPIKE_DEVIATIONS * MAD_TO_DEVIATION * forecast_median(size, n));
	if (n >= 3)
	{
		for (int t = 0; t < n;)
		{
			int			end = t;

			while (end < n && fabs(off[end]) > bound && (off[end] > 0) == (off[t] > 0))
				end++;
			if (end - t < SPIKE_LENGTH)
				for (int i = t; i < end; i++)
				{
					out[i] = y[i] - off[i] + copysign(bound, off[i]);
					excess += y[i] - out[i];
				}
			if (end > t && end - t < SPIKE_LENGTH)
				spikes++;
			t = end > t ? end : t + 1;
		}
	}
	core_free(off);
	core_free(size);
	return spikes >= SPIKES_RECUR ? excess / n : 0;
}

/* --- run rate, seasonal naive and average ------------------------------- */

static void
fit_run_rate(const double *y, int n, int season, int horizon, int recent,
			 double running, double elapsed, ForecastFit *fit)
{
	int			taken = recent < 0 ? n : min_int(recent, n);
	double		steps = taken + elapsed;
	double		rate = 0;
	int			judged;

	if (steps > 0)
		rate = (mean_of(y + n - taken, taken) * taken + running) /
			(steps < LEAST_ELAPSED ? LEAST_ELAPSED : steps);
	else
		rate = mean_of(y, n);

	/* the noise is that of the last seasons, around their own mean */
	judged = min_int(n, AVERAGE_SEASONS * season);
	if (judged < taken)
		judged = taken;
	fit->n_residual = 0;
	fit->noise = 0;
	if (judged > 1)
	{
		double		mean = mean_of(y + n - judged, judged);

		for (int t = n - judged; t < n; t++)
			fit->noise += (y[t] - mean) * (y[t] - mean);
		fit->noise /= judged - 1;
		if (fit->residual != NULL)
			for (int t = n - judged; t < n; t++)
				fit->residual[fit->n_residual++] = y[t] - mean;
	}
	for (int h = 0; h < horizon; h++)
	{
		double		length = h + 1;

		fit->step[h] = rate;
		if (fit->spread != NULL)
			fit->spread[h] = length + length * length / (steps > 0.5 ? steps : 0.5);
	}
}

static void
fit_average(const double *y, int n, int season, int horizon, ForecastFit *fit)
{
	double	   *clean = doubles(n);
	double		excess = forecast_clean(y, n, season, clean);
	int			seasons = min_int(n / season, AVERAGE_SEASONS);
	int			first = n - seasons * season;
	int			freedom = (seasons - 1) * season;
	double	   *level = doubles(season);

	for (int s = 0; s < season; s++)
	{
		double		sum = 0;

		for (int k = 0; k < seasons; k++)
			sum += clean[first + k * season + s];
		level[s] = sum / seasons;
	}
	fit->n_residual = 0;
	fit->noise = 0;
	if (seasons > 1)
		for (int t = first; t < n; t++)
		{
			double		e = (excess != 0 ? y[t] - excess : clean[t]) - level[(t - first) % season];

			fit->noise += e * e;
			if (fit->residual != NULL)
				fit->residual[fit->n_residual++] = e * sqrt((double) seasons / (seasons - 1));
		}
	fit->noise = freedom > 0 ? fit->noise / freedom : 0;
	for (int h = 0; h < horizon; h++)
	{
		double		length = h + 1;

		fit->step[h] = level[h % season] + excess;
		if (fit->spread != NULL)
			fit->spread[h] = length + length * (length > season ? length : season) / ((double) seasons * season);
	}
	core_free(clean);
	core_free(level);
}

/* --- line --------------------------------------------------------------- */

typedef struct Line
{
	double		level;			/* in the middle of the history */
	double		slope;
	double		center;			/* the step that is the middle */
	double		weight;			/* sum of squared distances from it */
	double		noise;			/* variance */
	double		certainty;		/* the slope, in standard errors of it */
	double	   *effect;			/* of the steps of a season, their sum is 0 */
} Line;

/*
 * Effects of the steps of a season and the line around which they are, by
 * turns until they fit each other: least squares.  A slope that is not sure is
 * flattened, to none if it might as well be none: what is lost of a slope that
 * is there is less than what an imagined one would cost.
 */
static void
draw_line(const double *y, int n, int season, Line *line)
{
	int		   *count = core_alloc(sizeof(int) * (size_t) season);
	double		freedom = n - season - 1;

	line->center = (n - 1) / 2.0;
	line->weight = n * ((double) n * n - 1) / 12;
	memset(line->effect, 0, sizeof(double) * (size_t) season);
	for (int round = 0; round < (season > 1 ? LINE_ROUNDS : 1); round++)
	{
		double		product = 0;
		double		shift;

		line->level = 0;
		for (int t = 0, s = 0; t < n; t++)
		{
			product += (t - line->center) * (y[t] - line->effect[s]);
			line->level += y[t] - line->effect[s];
			s = s + 1 < season ? s + 1 : 0;
		}
		line->slope = product / line->weight;
		line->level /= n;
		if (season == 1)
			break;
		memset(line->effect, 0, sizeof(double) * (size_t) season);
		memset(count, 0, sizeof(int) * (size_t) season);
		for (int t = 0, s = 0; t < n; t++)
		{
			line->effect[s] += y[t] - line->level - line->slope * (t - line->center);
			count[s]++;
			s = s + 1 < season ? s + 1 : 0;
		}
		for (int s = 0; s < season; s++)
			line->effect[s] /= count[s];
		shift = mean_of(line->effect, season);
		for (int s = 0; s < season; s++)
			line->effect[s] -= shift;
	}
	line->noise = 0;
	for (int t = 0; t < n; t++)
	{
		double		e = y[t] - line->level - line->slope * (t - line->center) - line->effect[t % season];

		line->noise += e * e;
	}
	line->noise = freedom > 0 ? line->noise / freedom : 0;
	if (line->noise > 0)
	{
		line->certainty = fabs(line->slope) / sqrt(line->noise / line->weight);
		if (line->certainty > 0)
			line->slope *= fmax(1 - FLATTENING / (line->certainty * line->certainty), 0);
	}
	else
		line->certainty = line->slope != 0 ? HUGE_VAL : 0;
	core_free(count);
}

static void
fit_seasonal(const double *y, int n, int season, int horizon, ForecastFit *fit)
{
	int			differences = n - season;
	double		added = 0;		/* by a season */

	if (n >= forecast_method_needs(FORECAST_LINEAR, season))
	{
		double	   *clean = doubles(n);
		Line		line = {.effect = doubles(season)};

		forecast_clean(y, n, season, clean);
		draw_line(clean, n, season, &line);
		if (line.certainty >= FORECAST_SURE)
			added = line.slope * season;
		core_free(clean);
		core_free(line.effect);
	}
	fit->n_residual = 0;
	fit->noise = 0;
	for (int t = season; t < n; t++)
	{
		double		e = y[t] - y[t - season] - added;

		fit->noise += e * e;
		if (fit->residual != NULL)
			fit->residual[fit->n_residual++] = e * M_SQRT1_2;
	}
	/* the difference of two has the noise of both */
	fit->noise = differences > 0 ? fit->noise / differences / 2 : 0;
	for (int h = 0; h < horizon; h++)
	{
		double		length = h + 1;
		double		rounds = length / season;

		fit->step[h] = y[n - season + h % season] + added * (1 + h / season);
		/* each of the last season's errors is repeated in every round */
		if (fit->spread != NULL)
			fit->spread[h] = length + (rounds > 1 ? season * rounds * rounds : length);
	}
}

static void
fit_linear(const double *y, int n, int season, int horizon, ForecastFit *fit)
{
	double	   *clean = doubles(n);
	double		excess = forecast_clean(y, n, season, clean);
	double		freedom = n - season - 1;
	Line		line = {.effect = doubles(season)};

	draw_line(clean, n, season, &line);
	fit->certainty = line.certainty;
	fit->n_residual = 0;
	fit->noise = 0;
	for (int t = 0; t < n; t++)
	{
		double		e = (excess != 0 ? y[t] - excess : clean[t]) -
		line.level - line.slope * (t - line.center) - line.effect[t % season];

		fit->noise += e * e;
		if (fit->residual != NULL)
			fit->residual[fit->n_residual++] = e;
	}
	fit->noise = freedom > 0 ? fit->noise / freedom : 0;
	for (int h = 0; h < horizon; h++)
	{
		double		length = h + 1;
		double		away = n + h / 2.0 - line.center;	/* of the middle of the
														 * sum */

		fit->step[h] = line.level + line.slope * (n + h - line.center) +
			line.effect[(n + h) % season] + excess;
		if (fit->spread != NULL)
			fit->spread[h] = length + length * length * (1.0 / n + away * away / line.weight);
	}
	core_free(clean);
	core_free(line.effect);
}

/* --- Holt-Winters ------------------------------------------------------- */

typedef struct Smoothing
{
	double		alpha;			/* of the level */
	double		beta;			/* of the trend, as a part of alpha */
	double		gamma;			/* of the season */
	double		phi;			/* what is left of the trend after a step */
} Smoothing;

#define DAMPINGS 3

/* What phi may be. */
static const double dampings[DAMPINGS] = {1, 0.97, 0.85};

typedef struct State
{
	double		level;
	double		trend;
	double	   *effect;			/* of the steps of a season */
} State;

/* The state after the history, and the error of each step. */
static void
smooth(const double *y, int n, int season, const Smoothing *by, State *state, double *error)
{
	for (int t = 0; t < n; t++)
	{
		double	   *effect = &state->effect[t % season];
		double		trend = by->phi * state->trend;
		double		e = y[t] - state->level - trend - *effect;

		state->level += trend + by->alpha * e;
		state->trend = trend + by->alpha * by->beta * e;
		if (season > 1)
			*effect += by->gamma * (1 - by->alpha) * e;
		error[t] = e;
	}
}

/*
 * The sums of squared errors of smoothing with each of the dampings; all are
 * something above the limit if all would be.  Side by side, as each step has to
 * wait for the one before.
 */
static void
smooth_damped(const double *y, int n, int season, const Smoothing *by, const State *start,
			  double *effect, double limit, double sum[DAMPINGS])
{
	double		level[DAMPINGS];
	double		trend[DAMPINGS];
	double		to_trend = by->alpha * by->beta;
	double		to_effect = season > 1 ? by->gamma * (1 - by->alpha) : 0;
	bool		within = true;

	for (int p = 0; p < DAMPINGS; p++)
	{
		level[p] = start->level;
		trend[p] = start->trend;
		sum[p] = 0;
		for (int s = 0; s < season; s++)
			effect[s * DAMPINGS + p] = start->effect[s];
	}
	for (int t = 0, s = 0; t < n && within; t++)
	{
		within = false;
		for (int p = 0; p < DAMPINGS; p++)
		{
			double		damped = dampings[p] * trend[p];
			double		e = y[t] - level[p] - damped - effect[s * DAMPINGS + p];

			level[p] += damped + by->alpha * e;
			trend[p] = damped + to_trend * e;
			effect[s * DAMPINGS + p] += to_effect * e;
			sum[p] += e * e;
			within |= sum[p] <= limit;
		}
		s = s + 1 < season ? s + 1 : 0;
	}
}

/*
 * How an error now changes the sum of the next steps: the variance of a sum
 * follows from that exactly.
 */
static void
smoothing_spread(const Smoothing *by, const Line *line, int n, int season, int horizon, double *spread)
{
	double		changed = 1;	/* the sum of the first steps, by the first
								 * error */
	double		trend = 0;
	double		damping = 1;
	double		variance = 0;

	for (int h = 0; h < horizon; h++)
	{
		double		length = h + 1;
		double		away;

		if (h > 0)
		{
			damping *= by->phi;
			trend += damping;
			changed += by->alpha * (1 + by->beta * trend);
			if (season > 1 && h % season == 0)
				changed += by->gamma * (1 - by->alpha);
		}
		variance += changed * changed;

		/*
		 * and the state itself is known no better than a line through the
		 * history
		 */
		away = n + h / 2.0 - line->center;
		spread[h] = variance + length * length * (1.0 / n + away * away / line->weight);
	}
}

static void
fit_holt_winters(const double *y, int n, int season, int horizon, ForecastFit *fit)
{
	static const double alphas[] = {0.02, 0.06, 0.12, 0.25, 0.5};
	static const double betas[] = {0, 0.05, 0.2};
	static const double gammas[] = {0.02, 0.1, 0.3};
	double	   *clean = doubles(n);
	double	   *first = doubles(season);
	double	   *effect = doubles(season * DAMPINGS);
	double	   *error = doubles(n);
	double		excess = forecast_clean(y, n, season, clean);
	double		best = HUGE_VAL;
	double		freedom = n - season - 3;
	double		damping = 0;
	double		power = 1;
	Line		line = {.effect = first};
	State		start;
	State		state;
	Smoothing	by = {0};

	/* the line as it was before the first step */
	draw_line(clean, n, season, &line);
	start.trend = line.slope;
	start.level = line.level - line.slope * (line.center + 1);
	start.effect = first;
	for (int a = 0; a < 5; a++)
		for (int b = 0; b < 3; b++)
			for (int g = 0; g < (season > 1 ? 3 : 1); g++)
			{
				Smoothing	tried = {alphas[a], betas[b], gammas[g], 0};
				double		sum[DAMPINGS];

				smooth_damped(clean, n, season, &tried, &start, effect, best, sum);
				for (int p = 0; p < DAMPINGS; p++)
					/* of what fits as well, the calmer one, which comes first */
					if (sum[p] < best * 0.99)
					{
						best = sum[p];
						by = tried;
						by.phi = dampings[p];
					}
			}

	state = start;
	smooth(clean, n, season, &by, &state, error);
	fit->n_residual = 0;
	fit->noise = 0;
	for (int t = 0; t < n; t++)
	{
		double		e = error[t] + (excess != 0 ? y[t] - excess - clean[t] : 0);

		fit->noise += e * e;
		if (fit->residual != NULL)
			fit->residual[fit->n_residual++] = e;
	}
	fit->noise = freedom > 0 ? fit->noise / freedom : fit->noise / n;
	for (int h = 0; h < horizon; h++)
	{
		power *= by.phi;
		damping += power;
		fit->step[h] = state.level + damping * state.trend + state.effect[(n + h) % season] + excess;
	}
	if (fit->spread != NULL)
		smoothing_spread(&by, &line, n, season, horizon, fit->spread);
	core_free(clean);
	core_free(first);
	core_free(error);
	core_free(effect);
}

void
forecast_method_fit(ForecastMethod method, const double *y, int n, int season,
					int horizon, int recent, double running, double elapsed,
					ForecastFit *fit)
{
	switch (method)
	{
		case FORECAST_SEASONAL:
			fit_seasonal(y, n, season, horizon, fit);
			break;
		case FORECAST_AVERAGE:
			fit_average(y, n, season, horizon, fit);
			break;
		case FORECAST_LINEAR:
			fit_linear(y, n, season, horizon, fit);
			break;
		case FORECAST_HOLT_WINTERS:
			fit_holt_winters(y, n, season, horizon, fit);
			break;
		default:
			fit_run_rate(y, n, season, horizon, recent, running, elapsed, fit);
			break;
	}
}

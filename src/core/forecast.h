/*
 * forecast.h
 *		What comes next in a series of equal steps, such as daily usage, and how
 *		sure that is.
 *
 * Methods:
 *
 *	run_rate		every step is the mean of the last ones
 *	seasonal		every step is what it was a season before (seasonal naive) and,
 *					where there is a trend for sure, what a season adds
 *	average			every step is the mean of the same step of up to four seasons
 *	linear			a straight line, flattened as far as its slope is unsure, and
 *					the steps of a season around it
 *	holt_winters	exponential smoothing of level, trend and season, additive,
 *					beginning with that line, with the trend damped where that
 *					fits better
 *	auto			one of them, chosen by what it would have said in the past
 *
 * Average, linear and holt_winters go by a history without spikes: a value far
 * off the same step of other seasons is cut to what is still usual.  Spikes that
 * came twice or more are to be expected again: what was cut is then added, spread
 * over all steps.  Three or more in a row to the same side are a new level and
 * stay.
 *
 * Back-testing.  The history is cut off at several points, and each method is
 * asked for what follows.  Its MASE is the mean absolute error of its steps,
 * divided by that of the plain seasonal naive at the same steps.  auto takes none
 * whose MASE is 1 or more, but for seasonal where there is no other.  With less than two seasons of history there is nothing
 * to test: auto is the run rate of all there is, and not confident.
 *
 * The interval is that of the sum over the horizon, not of each step.  Errors of
 * a sum are noise, of which each step has its own, and an error of the level or
 * trend, which all steps share and which therefore grows with the horizon.  How
 * the second depends on the first is known for each method; how large both were
 * is taken from the back-test, and from that formula as far as there were too
 * few of them.  Noise of a step may be made up for by the next ones, or stay, so
 * that sums are off by less or more than if it were independent: that is
 * reckoned from the autocovariances of the errors.  The sum of noise is drawn from the errors there were, so that it
 * is as skewed as they are, with random numbers that are always the same.
 *
 * Every answer is finite, whatever the history.  No answer is below zero unless
 * the history is.
 */
#ifndef METER_CORE_FORECAST_H
#define METER_CORE_FORECAST_H

#include <stdbool.h>

/* Bounds of the arguments, by which time and memory are bounded. */
#define FORECAST_MAX_HISTORY 10000
#define FORECAST_MAX_HORIZON 10000
#define FORECAST_MAX_SEASON 1000

typedef enum ForecastMethod
{
	FORECAST_RUN_RATE,
	FORECAST_SEASONAL,
	FORECAST_AVERAGE,
	FORECAST_LINEAR,
	FORECAST_HOLT_WINTERS,
	FORECAST_AUTO
} ForecastMethod;

#define FORECAST_METHODS 5		/* without auto */

typedef struct ForecastQuestion
{
	const double *history;		/* oldest first, all finite */
	int			n;
	int			season;			/* steps of a season, 1 or more; 1: no season */
	int			horizon;		/* steps, 1 or more */
	int			recent;			/* the run rate is that of so many of the last
								 * steps; below 0 of all */
	double		running;		/* what the first step has had so far */
	double		elapsed;		/* part of the first step that is over, [0,
								 * 1): only the rest of it is asked for */
	double		last;			/* part of the last step that is asked for,
								 * (0, 1] */
	ForecastMethod method;
	double		coverage;		/* of the interval, (0, 1) */
} ForecastQuestion;

typedef struct ForecastRange
{
	double		low;
	double		expected;
	double		high;
} ForecastRange;

typedef struct Forecast
{
	ForecastMethod method;		/* that was used, never auto */
	bool		confident;		/* two seasons of history or more */
	double		mase;			/* of the method; below 0: not known */
	ForecastRange sum;			/* of what is asked for */
} Forecast;

/*
 * Answer a question.  steps has room for as many as the horizon, or is NULL;
 * they are whole steps, also the first and the last.
 */
extern void forecast_answer(const ForecastQuestion *question, Forecast *answer,
							ForecastRange *steps);

/* "run_rate" and so on. */
extern const char *forecast_method_name(ForecastMethod method);

/* False if there is none of that name. */
extern bool forecast_method_of_name(const char *name, ForecastMethod *method);

#endif							/* METER_CORE_FORECAST_H */

/*
 * forecast_method.h
 *		The methods of forecast.h, each by itself: inside of the core only.
 */
#ifndef METER_CORE_FORECAST_METHOD_H
#define METER_CORE_FORECAST_METHOD_H

#include "core/forecast.h"

/* A slope of so many standard errors is one. */
#define FORECAST_SURE 3.0

/*
 * What a method makes of a history.  Arrays belong to the caller.
 */
typedef struct ForecastFit
{
	double	   *step;			/* out: horizon values */
	double	   *spread;			/* out: variance of the error of the sum of
								 * the first h + 1 steps, in variances of the
								 * noise; or NULL */
	double	   *residual;		/* out: errors of the method in the history,
								 * at most n; or NULL */
	int			n_residual;		/* out */
	double		noise;			/* out: variance of the noise of one step */
	double		certainty;		/* out, of the line: the size of its slope, in
								 * standard errors of it */
} ForecastFit;

/* How many steps of history a method needs. */
extern int	forecast_method_needs(ForecastMethod method, int season);

/*
 * Fit and predict.  recent as in ForecastQuestion; the run rate counts running
 * and elapsed, too.  n must be what the method needs, or more.
 */
extern void forecast_method_fit(ForecastMethod method, const double *y, int n,
								int season, int horizon, int recent,
								double running, double elapsed,
								ForecastFit *fit);

/* --- shared by both files ----------------------------------------------- */

/* Reorders the values.  n is 1 or more. */
extern double forecast_median(double *value, int n);

/* A history without spikes; returns what was cut, per step, if they recur. */
extern double forecast_clean(const double *y, int n, int season, double *out);

#endif							/* METER_CORE_FORECAST_METHOD_H */

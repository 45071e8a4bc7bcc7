/* Statistics of results. All sums in double; no function keeps state; n is a number of values. A
 * quantity that its input does not determine (a standard error of one value) is NaN. */
#ifndef DUO_MEASURE_STATS_H
#define DUO_MEASURE_STATS_H

#include <stddef.h>
#include <stdint.h>

/* A number and its standard error. */
struct estimate {
    double value;
    double se;
};

/* Mean m = sum x / n and its standard error sqrt(sum (x - m)^2 / (n - 1)) / sqrt(n), as lm-eval's
 * mean_stderr. */
struct estimate stats_mean(const double *x, size_t n);

/* exp(m) of the windows' mean negative log-likelihoods (nats per token) and, by the delta method,
 * exp(m) * se(m). Windows of one length, so that m is the mean over tokens too. */
struct estimate stats_perplexity(const double *nll, size_t n);

/* Paired over the same windows, d_i = b_i - a_i:
 * difference exp(mean b) - exp(mean a), standard error by the delta method with the covariance:
 * that of the mean of exp(mean b) b_i - exp(mean a) a_i; log ratio log(ppl b / ppl a) = mean d. */
struct estimate stats_perplexity_difference(const double *a, const double *b, size_t n);
struct estimate stats_perplexity_log_ratio(const double *a, const double *b, size_t n);

/* Student's t: the half width in standard errors of a 95 % interval for a mean, by the expansion in
 * 1 / df about the normal quantile (Fisher and Cornish; Abramowitz and Stegun 26.7.5): within
 * 2e-3 of it at 3 degrees of freedom, 1e-4 from 6 on. Exact for 1 and 2; NaN for 0. */
double stats_student(size_t df);

/* McNemar's exact test on paired right-or-wrong answers (non-zero: right), e.g. a dense, b pruned.
 * Under the null hypothesis each discordant pair is gained or lost with probability 1/2, so
 * p = min(1, 2 P(X <= min(gained, lost))), X binomial(gained + lost, 1/2); 1 without such pairs.
 * McNemar 1947; exact form as in scipy.stats.binomtest. */
struct mcnemar {
    size_t gained; /* a wrong, b right */
    size_t lost;   /* a right, b wrong */
    double p;
};
struct mcnemar stats_mcnemar(const double *a, const double *b, size_t n);
double stats_mcnemar_p(size_t gained, size_t lost);

/* Percentile bootstrap of mean(b - a): n_resamples (0: 10000) draws of n pairs with replacement;
 * low and high are the quantiles (1 - level) / 2 and (1 + level) / 2 of their means. Resample k is
 * drawn from PCG32 with this seed and stream k: the result depends on the seed alone, not on the
 * threads. Efron and Tibshirani 1993, chapter 13. n == 0 gives NaN; n below 2^32. */
struct interval {
    double low, high;
};
struct interval stats_bootstrap(const double *a, const double *b, size_t n, size_t n_resamples,
                                double level, uint64_t seed);

/* Quantile by linear interpolation between order statistics at (n - 1) q (numpy's default);
 * x must be sorted. NaN for n == 0. */
double stats_quantile(const double *x, size_t n, double q);

/* Median, and the median of |x - median| without a scale factor. x may be in any order. */
double stats_median(const double *x, size_t n);
double stats_mad(const double *x, size_t n);

#endif

/* Statistics of timings: robust location and spread, when to stop, the ratio of two programs. Pure
 * functions over samples. A sample that is not finite and above 0 is not a time: what depends on it
 * is NaN, and so becomes null in a record.
 *
 * Robust: the spread is s = 1.4826 MAD, the standard deviation where samples are normal. The
 * standard error of a median of n samples is 1.2533 s / sqrt(n) (asymptotic, normal samples). Of
 * fewer than BENCH_FEW the MAD may be small by chance: there the standard deviation stands for s if
 * it is larger. */
#ifndef DUO_MEASURE_BENCH_H
#define DUO_MEASURE_BENCH_H

#include <stddef.h>

#include "harness/base/buf.h"
#include "harness/measure/stats.h"

#define BENCH_FEW 10

struct bench_stats {
    size_t n;
    double median, mad; /* in the samples' unit; MAD without a scale factor */
    double noise_pct;   /* 100 s / median */
    double error_pct;   /* 100 (standard error of the median) / median; NaN for one sample */
    size_t n_outliers;  /* |x - median| > 3 s */
    double drift_pct;   /* 100 (median of the later half / median of the earlier half - 1) */
};
void bench_stats(const double *x, size_t n, struct bench_stats *out);

/* How many times faster b is than a. Samples are pairs taken one after the other, a first in even
 * pairs and b first in odd ones, so that a steady drift cancels. value: the median of a[i] / b[i];
 * se: the standard error as above, of a[i] / b[i]; NaN for one pair. */
struct estimate bench_ratio(const double *a, const double *b, size_t n);

/* How much faster program b was than a in runs of their own: value log(median a / median b), se its
 * standard error. Neighbouring samples are alike (clocks, other work on the machine), which the
 * formula above does not see: of 16 samples or more the error of a run is not less than that of the
 * mean of the medians of 8 equal stretches. What stayed over a whole run it cannot know. NaN: not
 * times, or (se) fewer than 2 samples. */
struct estimate bench_change(const double *a, size_t n_a, const double *b, size_t n_b);

struct bench_limits {
    size_t min_samples; /* fewer are not called stable */
    size_t max_samples;
    double max_error_pct; /* stable: of every median and of every ratio to the first program */
    double seconds;       /* not more, but for BENCH_FEWEST samples */
};
#define BENCH_FEWEST 3
enum bench_stop {
    BENCH_GO_ON,
    BENCH_STABLE,  /* the errors are below the limit */
    BENCH_TIME,    /* the time or the samples were used up before */
    BENCH_NO_TIME, /* a sample is not a time: nothing can be said */
};
/* After n rounds over n_programs programs: x[p] has n samples of program p; program 0 is the one
 * that others are compared with. elapsed: seconds since the first. */
enum bench_stop bench_should_stop(const double *const *x, size_t n_programs, size_t n,
                                  double elapsed, const struct bench_limits *l);

/* "dual 50/50 ran 2.20 +- 0.01 times faster than dense (own GEMV; cuBLAS: 2.61)". `base` is the
 * faster baseline; other_name NULL: without the other. A ratio below 1 reads "ran 0.80 +- 0.01
 * times as fast as"; with as many digits as the error carries. Appends nothing where the ratio is
 * NaN. */
void bench_sentence(struct buf *out, const char *what, struct estimate ratio, const char *base_name,
                    const char *other_name, double other_ratio);

#endif

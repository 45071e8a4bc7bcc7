/* Statistics of timings. */
#include "harness/measure/bench.h"

#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"

#define MAD_TO_SIGMA 1.4826 /* 1 / the normal distribution's third quartile */
#define MEDIAN_ERROR 1.2533 /* sqrt(pi / 2) */

static int is_time(double x)
{
    return isfinite(x) && x > 0;
}

static int all_times(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_time(x[i]))
            return 0;
    return n > 0;
}

static double median_error(const double *x, size_t n)
{
    double s = MAD_TO_SIGMA * stats_mad(x, n);

    if (n < BENCH_FEW)
        s = fmax(s, stats_mean(x, n).se * sqrt((double)n));
    return n > 1 ? MEDIAN_ERROR * s / sqrt((double)n) : NAN;
}

void bench_stats(const double *x, size_t n, struct bench_stats *out)
{
    size_t half = n / 2;

    *out = (struct bench_stats){n, NAN, NAN, NAN, NAN, 0, NAN};
    if (!all_times(x, n))
        return;
    out->median = stats_median(x, n);
    out->mad = stats_mad(x, n);
    out->noise_pct = 100 * MAD_TO_SIGMA * out->mad / out->median;
    out->error_pct = 100 * median_error(x, n) / out->median;
    for (size_t i = 0; i < n; i++)
        out->n_outliers += fabs(x[i] - out->median) > 3 * MAD_TO_SIGMA * out->mad;
    if (half)
        out->drift_pct = 100 * (stats_median(x + n - half, half) / stats_median(x, half) - 1);
}

struct estimate bench_ratio(const double *a, const double *b, size_t n)
{
    struct estimate e = {NAN, NAN};
    double *ratio;

    if (!all_times(a, n) || !all_times(b, n))
        return e;
    ratio = xmalloc(n * sizeof(*ratio));
    for (size_t i = 0; i < n; i++)
        ratio[i] = a[i] / b[i];
    e.value = stats_median(ratio, n);
    e.se = median_error(ratio, n);
    free(ratio);
    return e;
}

#define STRETCHES 8

/* The relative standard error of the median of a run. */
static double run_error(const double *x, size_t n)
{
    double medians[STRETCHES], median = stats_median(x, n), se = median_error(x, n);

    if (n < 2 * STRETCHES)
        return se / median;
    for (size_t i = 0; i < STRETCHES; i++) {
        size_t from = i * n / STRETCHES;

        medians[i] = stats_median(x + from, (i + 1) * n / STRETCHES - from);
    }
    return fmax(se, stats_mean(medians, STRETCHES).se) / median;
}

struct estimate bench_change(const double *a, size_t n_a, const double *b, size_t n_b)
{
    struct estimate e = {NAN, NAN};

    if (!all_times(a, n_a) || !all_times(b, n_b))
        return e;
    e.value = log(stats_median(a, n_a) / stats_median(b, n_b));
    e.se = hypot(run_error(a, n_a), run_error(b, n_b));
    return e;
}

enum bench_stop bench_should_stop(const double *const *x, size_t n_programs, size_t n,
                                  double elapsed, const struct bench_limits *l)
{
    int stable = n >= l->min_samples;

    for (size_t p = 0; p < n_programs; p++)
        if (n && !is_time(x[p][n - 1]))
            return BENCH_NO_TIME;
    if (n < BENCH_FEWEST)
        return BENCH_GO_ON;
    for (size_t p = 0; p < n_programs && stable; p++) {
        struct estimate ratio = bench_ratio(x[0], x[p], n);
        struct bench_stats s;

        bench_stats(x[p], n, &s);
        stable =
            s.error_pct <= l->max_error_pct && 100 * ratio.se <= l->max_error_pct * ratio.value;
    }
    if (stable)
        return BENCH_STABLE;
    return elapsed >= l->seconds || n >= l->max_samples ? BENCH_TIME : BENCH_GO_ON;
}

void bench_sentence(struct buf *out, const char *what, struct estimate ratio, const char *base_name,
                    const char *other_name, double other_ratio)
{
    /* Two decimals, more where the error is smaller than they show. */
    int digits = isnan(ratio.se) || ratio.se >= 0.005 ? 2 : ratio.se >= 0.0005 ? 3 : 4;

    if (isnan(ratio.value))
        return;
    buf_addf(out, "%s ran %.*f", what, digits, ratio.value);
    if (!isnan(ratio.se))
        buf_addf(out, " +- %.*f", digits, ratio.se);
    buf_addf(out, " times %s dense (%s", ratio.value < 1 ? "as fast as" : "faster than", base_name);
    if (other_name && !isnan(other_ratio))
        buf_addf(out, "; %s: %.2f", other_name, other_ratio);
    buf_adds(out, ")\n");
}

/* Statistics of results. */
#include "harness/measure/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/rng.h"

struct estimate stats_mean(const double *x, size_t n)
{
    double sum = 0, squares = 0, mean;

    for (size_t i = 0; i < n; i++)
        sum += x[i];
    mean = n ? sum / (double)n : NAN;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    return (struct estimate){
        .value = mean,
        .se = n > 1 ? sqrt(squares / (double)(n - 1)) / sqrt((double)n) : NAN,
    };
}

struct estimate stats_perplexity(const double *nll, size_t n)
{
    struct estimate m = stats_mean(nll, n);

    return (struct estimate){.value = exp(m.value), .se = exp(m.value) * m.se};
}

struct estimate stats_perplexity_difference(const double *a, const double *b, size_t n)
{
    double ppl_a = exp(stats_mean(a, n).value), ppl_b = exp(stats_mean(b, n).value);
    double *d = xmalloc(n * sizeof(*d));
    struct estimate e;

    for (size_t i = 0; i < n; i++)
        d[i] = ppl_b * (b[i] - a[i]) + (ppl_b - ppl_a) * a[i]; /* exactly 0 for a == b */
    e = stats_mean(d, n);
    e.value = ppl_b - ppl_a;
    free(d);
    return e;
}

struct estimate stats_perplexity_log_ratio(const double *a, const double *b, size_t n)
{
    double *d = xmalloc(n * sizeof(*d));
    struct estimate e;

    for (size_t i = 0; i < n; i++)
        d[i] = b[i] - a[i];
    e = stats_mean(d, n);
    free(d);
    return e;
}

double stats_student(size_t df)
{
    double z = 1.959963984540054, q = z * z, n = (double)df;

    if (df == 0)
        return NAN;
    if (df == 1)
        return 12.706204736174694;
    if (df == 2)
        return 4.302652729749462;
    return z * (1 + (q + 1) / (4 * n) + ((5 * q + 16) * q + 3) / (96 * n * n) +
                (((3 * q + 19) * q + 17) * q - 15) / (384 * n * n * n) +
                ((((79 * q + 776) * q + 1482) * q - 1920) * q - 945) / (92160 * n * n * n * n));
}

/* The largest term of the tail by lgamma, the others by their ratio to the one above: no product
 * overflows, and what is dropped is below the last bit. */
double stats_mcnemar_p(size_t gained, size_t lost)
{
    double n = (double)gained + (double)lost, k = (double)(gained < lost ? gained : lost);
    double sum = 1, term = 1, log_first;
    int sign;

    if (gained == lost)
        return 1;
    log_first = lgamma_r(n + 1, &sign) - lgamma_r(k + 1, &sign) - lgamma_r(n - k + 1, &sign) -
                n * 0.6931471805599453;
    for (double i = k; i > 0 && term > 1e-18 * sum; i--) {
        term *= i / (n - i + 1);
        sum += term;
    }
    return fmin(1, 2 * exp(log_first) * sum);
}

struct mcnemar stats_mcnemar(const double *a, const double *b, size_t n)
{
    struct mcnemar m = {0};

    for (size_t i = 0; i < n; i++) {
        m.gained += a[i] == 0 && b[i] != 0;
        m.lost += a[i] != 0 && b[i] == 0;
    }
    m.p = stats_mcnemar_p(m.gained, m.lost);
    return m;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct interval stats_bootstrap(const double *a, const double *b, size_t n, size_t n_resamples,
                                double level, uint64_t seed)
{
    size_t n_means = n_resamples ? n_resamples : 10000;
    double *d = xmalloc(n * sizeof(*d)), *means = xmalloc(n_means * sizeof(*means));
    struct interval ci = {NAN, NAN};

    for (size_t i = 0; i < n; i++)
        d[i] = b[i] - a[i];
#pragma omp parallel for schedule(static) if (n * n_means > 100000)
    for (size_t k = 0; k < n_means; k++) {
        struct pcg32 g;
        double sum = 0;

        pcg32_init(&g, seed, k);
        for (size_t i = 0; i < n; i++)
            sum += d[pcg32_below(&g, (uint32_t)n)];
        means[k] = sum / (double)n;
    }
    if (n > 0) {
        qsort(means, n_means, sizeof(*means), compare_doubles);
        ci.low = stats_quantile(means, n_means, (1 - level) / 2);
        ci.high = stats_quantile(means, n_means, (1 + level) / 2);
    }
    free(means);
    free(d);
    return ci;
}

double stats_quantile(const double *x, size_t n, double q)
{
    double at = n ? (double)(n - 1) * q : 0;
    size_t i = (size_t)at;

    if (n == 0)
        return NAN;
    if (i + 1 >= n)
        return x[n - 1];
    return x[i] + (at - (double)i) * (x[i + 1] - x[i]);
}

double stats_median(const double *x, size_t n)
{
    double *sorted = xmalloc(n * sizeof(*sorted)), median;

    if (n)
        memcpy(sorted, x, n * sizeof(*x));
    qsort(sorted, n, sizeof(*sorted), compare_doubles);
    median = stats_quantile(sorted, n, 0.5);
    free(sorted);
    return median;
}

double stats_mad(const double *x, size_t n)
{
    double *d = xmalloc(n * sizeof(*d)), median = stats_median(x, n), mad;

    for (size_t i = 0; i < n; i++)
        d[i] = fabs(x[i] - median);
    mad = stats_median(d, n);
    free(d);
    return mad;
}

/* Statistics against values of scipy 1.17 and numpy, computed apart by the commands shown:
 *   from scipy import stats; import numpy as np
 *   a = np.array([((i*7919)%1000)/1000+2 for i in range(166)])
 *   b = a + np.array([((i*104729)%997)/2000 for i in range(166)]) */
#include "tests/test.h"

#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "harness/measure/stats.h"

#define N 166

static double a[N], b[N];

static void make_windows(void)
{
    for (int i = 0; i < N; i++) {
        a[i] = (double)(i * 7919 % 1000) / 1000 + 2;
        b[i] = a[i] + (double)((long)i * 104729 % 997) / 2000;
    }
}

/* a.mean(), stats.sem(a); x = np.array([1.]*1379 + [0.]*459); x.mean(), stats.sem(x) */
static void test_mean(void)
{
    struct estimate e = stats_mean(a, N);
    double x[1838] = {0}, one = 3;

    CHECK_NEAR(e.value, 2.4982228915662645, 1e-14);
    CHECK_NEAR(e.se, 0.022614675317655264, 1e-15);
    for (int i = 0; i < 1379; i++)
        x[i] = 1;
    e = stats_mean(x, 1838);
    CHECK_NEAR(e.value, 0.750272034820457, 1e-15);
    CHECK_NEAR(e.se, 0.01009923296986736, 1e-16);
    e = stats_mean(&one, 1);
    CHECK(e.value == 3 && isnan(e.se));
    e = stats_mean(&one, 0);
    CHECK(isnan(e.value) && isnan(e.se));
}

/* np.exp(a.mean()), np.exp(a.mean()) * stats.sem(a) */
static void test_perplexity(void)
{
    struct estimate e = stats_perplexity(a, N);

    CHECK_NEAR(e.value, 12.160863573406424, 1e-12);
    CHECK_NEAR(e.se, 0.27501398129488724, 1e-13);
}

/* A, B = np.exp(a.mean()), np.exp(b.mean()); B - A, stats.sem(B*b - A*a);
 * (b-a).mean(), stats.sem(b-a) */
static void test_paired_perplexity(void)
{
    struct estimate e = stats_perplexity_difference(a, b, N);

    CHECK_NEAR(e.value, 3.2741967514907824, 1e-12);
    CHECK_NEAR(e.se, 0.1867584337279003, 1e-13);
    e = stats_perplexity_log_ratio(a, b, N);
    CHECK_NEAR(e.value, 0.23841867469879519, 1e-14);
    CHECK_NEAR(e.se, 0.011332559063561684, 1e-15);
    e = stats_perplexity_difference(a, a, N);
    CHECK(e.value == 0 && e.se == 0);
}

/* stats.binomtest(gained, gained + lost).pvalue */
static void test_mcnemar(void)
{
    static const struct {
        size_t gained, lost;
        double p;
    } cases[] = {
        {0, 0, 1},
        {0, 1, 1},
        {0, 5, 0.0625},
        {3, 9, 0.14599609375},
        {10, 10, 1},
        {10, 11, 1},
        {5, 25, 0.0003249142318964005},
        {120, 180, 0.0006342200069283566},
        {1000, 1200, 2.1817026407914194e-05},
        {2400, 2600, 0.004883649737517494},
        {4000, 6042, 7.639010795941138e-93},
        {0, 2000, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        double p = stats_mcnemar_p(cases[i].gained, cases[i].lost);

        CHECK_NEAR(p, cases[i].p, 1e-9 * cases[i].p);
        CHECK(p == stats_mcnemar_p(cases[i].lost, cases[i].gained));
    }
}

static void test_mcnemar_counts(void)
{
    static const double dense[] = {1, 1, 1, 0, 0, 1, 0, 1}, pruned[] = {1, 0, 0, 1, 0, 0, 0, 0};
    struct mcnemar m = stats_mcnemar(dense, pruned, 8);

    CHECK(m.gained == 1 && m.lost == 4);
    CHECK_NEAR(m.p, 2 * (1 + 5) / 32., 1e-12);
}

/* Against the exact distribution of the mean of 3 draws from {0, 1, 5}, 27 equal cases: 0 and 5
 * have 1/27 > 2.5 % each, so the 95 % interval is all of it; 35 % is case 9.45 of the sorted 27,
 * one of the three 5/3, and 65 % is case 17.55, one of the three 7/3. */
static void test_bootstrap_exact(void)
{
    static const double zero[3] = {0, 0, 0}, d[3] = {0, 1, 5};
    struct interval ci = stats_bootstrap(zero, d, 3, 0, 0.95, 1);

    CHECK(ci.low == 0 && ci.high == 5);
    ci = stats_bootstrap(zero, d, 3, 0, 0.3, 1);
    CHECK_NEAR(ci.low, 5 / 3., 1e-12);
    CHECK_NEAR(ci.high, 7 / 3., 1e-12);
}

/* stats.bootstrap((b-a,), np.mean, n_resamples=200000, method='percentile', random_state=0) gives
 * [0.216355, 0.260617]; 10000 resamples leave an error of some 4e-4 */
static void test_bootstrap(void)
{
    struct interval ci = stats_bootstrap(a, b, N, 0, 0.95, 0), other;

    CHECK_NEAR(ci.low, 0.216355421686747, 1e-3);
    CHECK_NEAR(ci.high, 0.2606174698795181, 1e-3);
    other = stats_bootstrap(a, b, N, 10000, 0.95, 7);
    CHECK(other.low != ci.low);
#ifdef _OPENMP
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        other = stats_bootstrap(a, b, N, 0, 0.95, 0);
        CHECK(other.low == ci.low && other.high == ci.high);
    }
#endif
    ci = stats_bootstrap(a, b, 0, 0, 0.95, 0);
    CHECK(isnan(ci.low) && isnan(ci.high));
}

/* np.median(b), stats.median_abs_deviation(b), np.quantile(b, 0.3) */
static void test_order_statistics(void)
{
    static const double even[] = {4, 1, 3, 2};

    CHECK_NEAR(stats_median(b, N), 2.755, 1e-14);
    CHECK_NEAR(stats_mad(b, N), 0.239, 1e-14);
    CHECK(stats_median(even, 4) == 2.5 && stats_mad(even, 4) == 1);
    CHECK(even[0] == 4);
    CHECK(stats_median(even, 1) == 4 && stats_mad(even, 1) == 0 && isnan(stats_median(even, 0)));
    CHECK(stats_quantile((double[]){1, 2, 4}, 3, 0.75) == 3);
    CHECK(stats_quantile((double[]){1, 2, 4}, 3, 1) == 4);
}

int main(void)
{
    make_windows();
    RUN(test_mean);
    RUN(test_perplexity);
    RUN(test_paired_perplexity);
    RUN(test_mcnemar);
    RUN(test_mcnemar_counts);
    RUN(test_bootstrap_exact);
    RUN(test_bootstrap);
    RUN(test_order_statistics);
    return 0;
}

/* Comparison with the dense model. */
#include "harness/measure/paired.h"

#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/measure/stats.h"

#define LEVEL 0.95

void paired_accuracy(struct record *r, const double *dense, const double *pruned, size_t n,
                     uint64_t seed)
{
    struct mcnemar m = stats_mcnemar(dense, pruned, n);
    struct interval ci = stats_bootstrap(dense, pruned, n, 0, LEVEL, seed);
    double *d = xmalloc(n * sizeof(*d));
    struct estimate e;

    for (size_t i = 0; i < n; i++)
        d[i] = pruned[i] - dense[i];
    e = stats_mean(d, n);
    free(d);
    r->diff = e.value;
    r->diff_stderr = e.se;
    r->diff_low = ci.low;
    r->diff_high = ci.high;
    r->gained = (double)m.gained;
    r->lost = (double)m.lost;
    r->p_value = m.p;
}

void paired_perplexity(struct record *r, const double *dense, const double *pruned, size_t n)
{
    struct estimate diff = stats_perplexity_difference(dense, pruned, n);
    struct estimate ratio = stats_perplexity_log_ratio(dense, pruned, n);

    r->diff = diff.value;
    r->diff_stderr = diff.se;
    r->log_ratio = ratio.value;
    r->log_ratio_stderr = ratio.se;
}

int is_paired(const struct record *r)
{
    return !isnan(r->diff);
}

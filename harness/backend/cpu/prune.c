/* The optimal-brain-surgeon walk and the masks by score. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/backend/comm.h"
#include "harness/backend/cpu/cpu.h"

/* One block of columns [first, first + n) of all rows. */
struct walk {
    float *w;
    const float *u, *d, *coef;
    size_t rows, cols, first, n;
    const struct obs_options *opt;
    float threshold; /* S <= threshold is pruned; -INFINITY: none */
    float *err, *v;  /* rows x n: (w - q) / U_pp, and the value that D multiplies */
};

/* Marks in prune[0 .. m) the n smallest scores of one row's next m columns, lowest first. */
static void choose_nm(unsigned char *prune, const float *w, const float *coef, size_t n, size_t m)
{
    memset(prune, 0, m);
    for (size_t i = 0; i < n && i < m; i++) {
        size_t best = m;

        for (size_t j = 0; j < m; j++)
            if (!prune[j] && (best == m || w[j] * w[j] * coef[j] < w[best] * w[best] * coef[best]))
                best = j;
        prune[best] = 1;
    }
}

static void mark_row(const struct walk *k, const float *w, unsigned char *prune)
{
    for (size_t p = 0; p < k->n; p++)
        prune[p] = w[p] * w[p] * k->coef[k->first + p] <= k->threshold;
}

/* Columns left to right; each pruned weight's error moves to the columns on its right. */
static void walk_row(const struct walk *k, size_t row)
{
    float *w = k->w + row * k->cols + k->first;
    float *err = k->err + row * k->n, *v = k->v + row * k->n;
    unsigned char *prune = xmalloc(k->n + k->opt->nm_m);

    if (!k->opt->nm_m)
        mark_row(k, w, prune);
    for (size_t p = 0; p < k->n; p++) {
        const float *u = k->u + (k->first + p) * k->cols + k->first;
        const float *d = k->d ? k->d + (k->first + p) * k->cols + k->first : NULL;
        float before = w[p], q;

        if (k->opt->nm_m && p % k->opt->nm_m == 0)
            choose_nm(prune + p, w + p, k->coef + k->first + p, k->opt->nm_n,
                      k->n - p < k->opt->nm_m ? k->n - p : k->opt->nm_m);
        q = prune[p] ? 0 : before;
        err[p] = (before - q) / u[p];
        v[p] = k->opt->lazy_exact ? before : q;
        if (prune[p])
            for (size_t j = p; j < k->n; j++)
                w[j] -= err[p] * u[j];
        if (d)
            for (size_t j = p + 1; j < k->n; j++)
                w[j] += before * d[j];
        w[p] = q;
    }
    free(prune);
}

/* sort(S)[floor(numel s)] of n scores, and of those of all processes that share the matrix. */
static float threshold_of(const float *s, size_t n, double sparsity, struct comm *c)
{
    size_t n_all;
    float *all, t;

    if (!c)
        return cpu_kth_smallest(s, n, sparsity_index(n, sparsity));
    n_all = n * (size_t)c->size;
    all = xmalloc(n_all * sizeof(*all));
    c->all_gather(c, all, s, n * sizeof(*s));
    t = cpu_kth_smallest(all, n_all, sparsity_index(n_all, sparsity));
    free(all);
    return t;
}

/* The threshold over the block. */
static float block_threshold(const struct walk *k)
{
    size_t numel = k->rows * k->n;
    float *s, t;

    if (k->opt->sparsity <= 0 || k->opt->nm_m)
        return -INFINITY;
    s = xmalloc(numel * sizeof(*s));
    for (size_t r = 0; r < k->rows; r++)
        for (size_t p = 0; p < k->n; p++) {
            float w = k->w[r * k->cols + k->first + p];

            s[r * k->n + p] = w * w * k->coef[k->first + p];
        }
    t = threshold_of(s, numel, k->opt->sparsity, k->opt->comm);
    free(s);
    return t;
}

/* w[:, right of the block] -= err U - v D, in tiles of rows at fixed places. */
static void lazy_update(struct device *dev, const struct walk *k)
{
    const size_t tile = CPU_ROW_TILE;
    size_t right = k->first + k->n, m = k->cols - right;
    const float *u = k->u + k->first * k->cols + right;
    const float *d = k->d ? k->d + k->first * k->cols + right : NULL;

    if (m == 0)
        return;
#pragma omp parallel for schedule(dynamic) num_threads(cpu_threads(dev))
    for (size_t r = 0; r < k->rows; r += tile) {
        size_t n = k->rows - r < tile ? k->rows - r : tile;
        float *w = k->w + r * k->cols + right;

        cpu_sgemm(0, 0, n, m, k->n, -1, k->err + r * k->n, k->n, u, k->cols, 1, w, k->cols);
        if (d)
            cpu_sgemm(0, 0, n, m, k->n, 1, k->v + r * k->n, k->n, d, k->cols, 1, w, k->cols);
    }
}

void cpu_obs_prune(struct device *dev, struct tensor w, struct tensor u, struct tensor d,
                   struct tensor coef, const struct obs_options *opt)
{
    size_t block = opt->block < w.cols ? opt->block : w.cols;
    float *err = xmalloc(2 * w.rows * block * sizeof(*err));

    for (size_t first = 0; first < w.cols; first += block) {
        struct walk k = {w.data, u.data, d.data, coef.data, w.rows, w.cols,
                         first,  block,  opt,    0,         err,    err + w.rows * block};

        k.n = w.cols - first < block ? w.cols - first : block;
        k.threshold = block_threshold(&k);
#pragma omp parallel for num_threads(cpu_threads(dev))
        for (size_t r = 0; r < w.rows; r++)
            walk_row(&k, r);
        lazy_update(dev, &k);
    }
    free(err);
}

/* ---- masks without compensation */

struct scored {
    float score;
    int32_t col;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return x->col < y->col ? -1 : 1;
}

/* Zeroes the n smallest of w[0 .. m), lowest column first among equals. */
static void mask_run(float *w, const float *scale, size_t n, size_t m, struct scored *tmp)
{
    for (size_t j = 0; j < m; j++)
        tmp[j] = (struct scored){fabsf(w[j]) * (scale ? scale[j] : 1), (int32_t)j};
    qsort(tmp, m, sizeof(*tmp), by_score);
    for (size_t j = 0; j < n && j < m; j++)
        w[tmp[j].col] = 0;
}

static void mask_matrix(struct tensor w, const float *scale, double sparsity, struct comm *comm)
{
    size_t n = tensor_numel(w);
    float *s = xmalloc(n * sizeof(*s)), *d = w.data, t;

    for (size_t i = 0; i < n; i++)
        s[i] = fabsf(d[i]) * (scale ? scale[i % w.cols] : 1);
    t = threshold_of(s, n, sparsity, comm);
    for (size_t i = 0; i < n; i++)
        d[i] = s[i] <= t ? 0 : d[i];
    free(s);
}

void cpu_mask_smallest(struct device *dev, struct tensor w, struct tensor scale,
                       const struct mask_options *opt)
{
    const float *sc = scale.data;
    size_t k = w.cols, run = opt->nm_m ? opt->nm_m : k;

    if (!opt->per_row && !opt->nm_m) {
        if (opt->sparsity > 0)
            mask_matrix(w, sc, opt->sparsity, opt->comm);
        return;
    }
#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t r = 0; r < w.rows; r++) {
        struct scored *tmp = xmalloc(run * sizeof(*tmp));
        float *row = (float *)w.data + r * k;

        for (size_t j = 0; j < k; j += run) {
            size_t m = k - j < run ? k - j : run;

            mask_run(row + j, sc ? sc + j : NULL,
                     opt->nm_m ? opt->nm_n : sparsity_index(k, opt->sparsity), m, tmp);
        }
        free(tmp);
    }
}

size_t cpu_count_zeros(struct device *dev, struct tensor w)
{
    size_t n = 0;

    (void)dev;
    for (size_t i = 0; i < tensor_numel(w); i++)
        n += cpu_element(w, i) == 0;
    return n;
}

int cpu_all_finite(struct device *dev, struct tensor w)
{
    size_t bad = 0;

    (void)dev;
    for (size_t i = 0; i < tensor_numel(w); i++)
        bad += !isfinite(cpu_element(w, i));
    return bad == 0;
}

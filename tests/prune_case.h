/* What the tests of pruning share: random layer problems in double, their statistics on a device,
 * and METHOD sections 3 and 4 written a second time, slowly, from the text alone. Values are kept
 * representable in float, so that both sides see the same numbers. */
#ifndef DUO_TESTS_PRUNE_CASE_H
#define DUO_TESTS_PRUNE_CASE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "prune/pruners.h"
#include "tests/kernels.h"

/* One linear: t tokens (rows of x and dx), w is n x k. */
struct prune_case {
    size_t t, n, k;
    double *w, *x, *dx; /* dx = X~ - X */
};

static UNUSED double *random_doubles(struct pcg32 *g, size_t n, double scale)
{
    double *v = xmalloc(n * sizeof(*v));

    for (size_t i = 0; i < n; i++)
        v[i] = (float)(pcg32_normal(g) * scale);
    return v;
}

/* Inputs whose columns have different norms and are correlated; residual: size of dx. */
static UNUSED struct prune_case case_make(struct pcg32 *g, size_t n, size_t k, size_t t,
                                          double residual)
{
    struct prune_case c = {t,
                           n,
                           k,
                           random_doubles(g, n * k, 1),
                           random_doubles(g, t * k, 1),
                           random_doubles(g, t * k, residual)};

    for (size_t r = 0; r < t; r++)
        for (size_t j = k; j-- > 0;)
            c.x[r * k + j] = (float)((c.x[r * k + j] + 0.5 * c.x[r * k + (j * 5 + 1) % k]) *
                                     (0.5 + 0.25 * (double)((j * 7) % 5)));
    return c;
}

static UNUSED void case_release(struct prune_case *c)
{
    free(c->w);
    free(c->x);
    free(c->dx);
    *c = (struct prune_case){0};
}

/* out (k x k) = a^T b over t rows. */
static UNUSED void products(double *out, const double *a, const double *b, size_t t, size_t k)
{
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) {
            double v = 0;

            for (size_t r = 0; r < t; r++)
                v += a[r * k + i] * b[r * k + j];
            out[i * k + j] = v;
        }
}

/* ---- statistics on the device, sums over the tokens as the sweep gives them */

static UNUSED struct tensor put_doubles(struct device *dev, size_t rows, size_t cols,
                                        const double *v)
{
    float *f = xmalloc(rows * cols * sizeof(*f));
    struct tensor t;

    for (size_t i = 0; i < rows * cols; i++)
        f[i] = (float)v[i];
    t = put(dev, DTYPE_F32, rows, cols, f);
    free(f);
    return t;
}

static UNUSED struct layer_stats case_stats(struct device *dev, const struct prune_case *c)
{
    size_t k = c->k;
    double *m = xmalloc(k * k * sizeof(*m)), *v = xmalloc(k * sizeof(*v));
    struct layer_stats s = {.n_tokens = c->t};

    products(m, c->x, c->x, c->t, k);
    s.gram = put_doubles(dev, k, k, m);
    for (size_t j = 0; j < k; j++)
        v[j] = m[j * k + j];
    s.sum_squares = put_doubles(dev, 1, k, v);
    products(m, c->dx, c->dx, c->t, k);
    for (size_t j = 0; j < k; j++)
        v[j] = m[j * k + j];
    s.residual = put_doubles(dev, 1, k, v);
    products(m, c->dx, c->x, c->t, k);
    s.cross = put_doubles(dev, k, k, m);
    free(m);
    free(v);
    return s;
}

static UNUSED void stats_release(struct device *dev, struct layer_stats *s)
{
    device_tensor_free(dev, &s->gram);
    device_tensor_free(dev, &s->sum_squares);
    device_tensor_free(dev, &s->residual);
    device_tensor_free(dev, &s->cross);
}

/* Prunes a copy of c's weights with the method; *rc is its return value (may be NULL: must be 0).
 * The caller frees the result. */
static UNUSED float *case_prune(struct device *dev, const struct prune_case *c,
                                const struct pruner *method, const struct prune_options *o, int *rc)
{
    struct layer_stats stats = case_stats(dev, c);
    struct prune_job job = {.dev = dev,
                            .options = o,
                            .stats = &stats,
                            .n_w = 1,
                            .layer = 3,
                            .names = {"self_attn.q_proj"}};
    float *out;
    int got;

    job.w[0] = put_doubles(dev, c->n, c->k, c->w);
    got = pruner_run(method, &job);
    if (rc)
        *rc = got;
    else
        CHECK(got == 0);
    out = get(dev, job.w[0]);
    device_tensor_free(dev, &job.w[0]);
    stats_release(dev, &stats);
    return out;
}

/* ---- linear algebra as in a first-year book */

/* The inverse of a (k x k) by Gauss and Jordan with row pivots; a is destroyed. */
static UNUSED void invert(double *inverse, double *a, size_t k)
{
    for (size_t i = 0; i < k * k; i++)
        inverse[i] = i / k == i % k;
    for (size_t c = 0; c < k; c++) {
        size_t best = c;

        for (size_t r = c; r < k; r++)
            if (fabs(a[r * k + c]) > fabs(a[best * k + c]))
                best = r;
        for (size_t j = 0; j < k; j++) {
            double x = a[c * k + j], y = inverse[c * k + j];

            a[c * k + j] = a[best * k + j];
            a[best * k + j] = x;
            inverse[c * k + j] = inverse[best * k + j];
            inverse[best * k + j] = y;
        }
        for (size_t r = 0; r < k; r++) {
            double f = a[r * k + c] / a[c * k + c];

            if (r == c)
                continue;
            for (size_t j = 0; j < k; j++) {
                a[r * k + j] -= f * a[c * k + j];
                inverse[r * k + j] -= f * inverse[c * k + j];
            }
        }
    }
    for (size_t r = 0; r < k; r++)
        for (size_t j = 0; j < k; j++)
            inverse[r * k + j] /= a[r * k + r];
}

/* U upper triangular with a = U^T U, row by row. */
static UNUSED void upper_cholesky(double *u, const double *a, size_t k)
{
    memset(u, 0, k * k * sizeof(*u));
    for (size_t i = 0; i < k; i++)
        for (size_t j = i; j < k; j++) {
            double v = a[i * k + j];

            for (size_t l = 0; l < i; l++)
                v -= u[l * k + i] * u[l * k + j];
            u[i * k + j] = i == j ? sqrt(v) : v / u[i * k + i];
        }
}

/* ---- METHOD sections 3 and 4 in double */

struct slow_problem {
    size_t k, *order;
    double *u, *d, *coef; /* in the chosen order */
};

static UNUSED void slow_release(struct slow_problem *p)
{
    free(p->order);
    free(p->u);
    free(p->d);
    free(p->coef);
}

/* H, C, a over the tokens, dead columns made harmless, columns put in order, H damped. */
static UNUSED void slow_statistics(const struct prune_case *c, const struct prune_options *o,
                                   size_t *order, double *h, double *cross, double *a)
{
    size_t k = c->k;
    double *hn = xmalloc(2 * k * k * sizeof(*hn)), *cn = hn + k * k, mean = 0;

    products(hn, c->x, c->x, c->t, k);
    products(cn, c->dx, c->x, c->t, k);
    for (size_t i = 0; i < k * k; i++) {
        hn[i] /= (double)c->t;
        cn[i] /= (double)c->t;
    }
    for (size_t j = 0; j < k; j++) {
        if (hn[j * k + j] == 0)
            hn[j * k + j] = 1;
        mean += hn[j * k + j] / (double)k;
        order[j] = j;
    }
    for (size_t i = 1; o->order_act && i < k; i++) /* insertion sort, descending, stable */
        for (size_t j = i; j > 0; j--) {
            size_t q = order[j], p = order[j - 1];

            if (hn[q * k + q] > hn[p * k + p]) {
                order[j] = p;
                order[j - 1] = q;
            }
        }
    for (size_t i = 0; i < k; i++) {
        a[i] = 0;
        for (size_t r = 0; r < c->t; r++)
            a[i] += c->dx[r * k + order[i]] * c->dx[r * k + order[i]] / (double)c->t;
        for (size_t j = 0; j < k; j++) {
            h[i * k + j] = hn[order[i] * k + order[j]] + (i == j ? o->damp * mean : 0);
            cross[i * k + j] = cn[order[i] * k + order[j]];
        }
    }
    free(hn);
}

/* U, D and the scores' coefficients. */
static UNUSED struct slow_problem slow_open(const struct prune_case *c,
                                            const struct prune_options *o, double alpha)
{
    size_t k = c->k;
    struct slow_problem p = {k, xmalloc(k * sizeof(size_t)), xmalloc(k * k * sizeof(double)),
                             xcalloc(k * k, sizeof(double)), xmalloc(k * sizeof(double))};
    double *h = xmalloc(4 * k * k * sizeof(*h)), *cross = h + k * k, *inv = cross + k * k;
    double *q = inv + k * k, *a = xmalloc(k * sizeof(*a));

    slow_statistics(c, o, p.order, h, cross, a);
    invert(inv, h, k);
    upper_cholesky(p.u, inv, k);
    for (size_t i = 0; i < k; i++) /* Q = dX X^T U^T */
        for (size_t j = 0; j < k; j++) {
            q[i * k + j] = 0;
            for (size_t l = 0; l < k; l++)
                q[i * k + j] += cross[i * k + l] * p.u[j * k + l];
        }
    for (size_t i = 0; i < k; i++) {
        double b = 0, upp = p.u[i * k + i];

        for (size_t j = i + 1; j < k; j++) {
            b += q[i * k + j] * q[i * k + j];
            for (size_t l = i + 1; l <= j; l++) /* D = alpha triu(Q, 1) U */
                p.d[i * k + j] +=
                    o->correct == CORRECT_SCORE ? 0 : alpha * q[i * k + l] * p.u[l * k + j];
        }
        p.coef[i] = 1 / (upp * upp);
        if (o->correct != CORRECT_UPDATE)
            p.coef[i] += alpha * (a[i] - b + 2 * q[i * k + i] / upp);
    }
    free(h);
    free(a);
    return p;
}

static UNUSED int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* mask (n x k) of block [i1, i2): S <= sort(S)[int(numel s)] of the block-start weights. */
static UNUSED void slow_block_mask(char *mask, const double *w, const double *coef, size_t n,
                                   size_t k, size_t i1, size_t i2, double sparsity)
{
    size_t numel = n * (i2 - i1), at = 0;
    double *s = xmalloc(numel * sizeof(*s)), t;

    for (size_t r = 0; r < n; r++)
        for (size_t j = i1; j < i2; j++)
            s[at++] = w[r * k + j] * w[r * k + j] * coef[j];
    qsort(s, numel, sizeof(*s), by_double);
    t = s[(size_t)((double)numel * sparsity)];
    for (size_t r = 0; r < n; r++)
        for (size_t j = i1; j < i2; j++)
            mask[r * k + j] = w[r * k + j] * w[r * k + j] * coef[j] <= t;
    free(s);
}

/* mask of columns [p, p + m) of one row: its nm_n smallest scores. */
static UNUSED void slow_nm_mask(char *mask, const double *w, const double *coef, size_t p, size_t m,
                                size_t nm_n)
{
    for (size_t j = p; j < p + m; j++) {
        size_t smaller = 0;

        for (size_t l = p; l < p + m; l++)
            smaller += w[l] * w[l] * coef[l] < w[j] * w[j] * coef[j];
        mask[j] = smaller < nm_n;
    }
}

/* One block of columns as the text walks it, then the lazy update of those on its right. */
static UNUSED void slow_block(const struct slow_problem *q, const struct prune_options *o,
                              double *w, char *mask, size_t n, size_t i1, size_t i2)
{
    size_t k = q->k, width = i2 - i1;
    double *err = xmalloc(2 * n * width * sizeof(*err)), *v = err + n * width;

    if (!o->nm_m && o->sparsity > 0)
        slow_block_mask(mask, w, q->coef, n, k, i1, i2, o->sparsity);
    for (size_t p = i1; p < i2; p++)
        for (size_t r = 0; r < n; r++) {
            double *row = w + r * k, before, after;

            if (o->nm_m && (p - i1) % o->nm_m == 0)
                slow_nm_mask(mask + r * k, row, q->coef, p, o->nm_m, o->nm_n);
            before = row[p];
            after = mask[r * k + p] ? 0 : before;
            err[r * width + p - i1] = (before - after) / q->u[p * k + p];
            v[r * width + p - i1] = o->lazy_exact ? before : after;
            for (size_t j = p; j < i2; j++)
                row[j] -= err[r * width + p - i1] * q->u[p * k + j] - before * q->d[p * k + j];
            row[p] = after;
        }
    for (size_t r = 0; r < n; r++)
        for (size_t j = i2; j < k; j++)
            for (size_t p = i1; p < i2; p++)
                w[r * k + j] -= err[r * width + p - i1] * q->u[p * k + j] -
                                v[r * width + p - i1] * q->d[p * k + j];
    free(err);
}

/* The whole walk: pruned weights, n x k in the natural order; the caller frees them. */
static UNUSED double *slow_solve(const struct prune_case *c, const struct prune_options *o,
                                 double alpha)
{
    struct slow_problem q = slow_open(c, o, alpha);
    size_t n = c->n, k = c->k;
    double *w = xmalloc(n * k * sizeof(*w)), *out = xmalloc(n * k * sizeof(*out));
    char *mask = xcalloc(n * k, 1);

    for (size_t i = 0; i < n * k; i++) {
        int dead = 1;

        for (size_t r = 0; r < c->t; r++)
            dead &= c->x[r * k + q.order[i % k]] == 0;
        w[i] = dead ? 0 : c->w[i / k * k + q.order[i % k]];
    }
    for (size_t i1 = 0; i1 < k; i1 += o->block)
        slow_block(&q, o, w, mask, n, i1, i1 + o->block < k ? i1 + o->block : k);
    for (size_t i = 0; i < n * k; i++)
        out[i / k * k + q.order[i % k]] = w[i];
    slow_release(&q);
    free(w);
    free(mask);
    return out;
}

#endif

/* Least squares over the weights that pruning left, row by row. */
#include <stdlib.h>

#include "harness/backend/cpu/cpu.h"
#include "harness/base/error.h"

/* The state of conjugate gradients, n x k each but rz: residual c - w h and direction, both 0 where
 * w is pruned; rz: r (diag h)^-1 r^T of each row, rz[n + row] what it was at first. */
struct gradients {
    size_t n, k;
    unsigned char *kept;
    float *r, *p, *q;
    double *rz;
};

/* z = r / diag(h) in place of p, with p = z + beta p; returns r z^T. */
static double turn(const struct gradients *g, size_t row, const float *h, double beta)
{
    const float *r = g->r + row * g->k;
    float *p = g->p + row * g->k;
    double sum = 0;

    for (size_t j = 0; j < g->k; j++) {
        float z = r[j] / h[j * g->k + j];

        sum += (double)r[j] * z;
        p[j] = z + (float)beta * p[j];
    }
    return sum;
}

static double squares(const struct gradients *g, size_t row, const float *h)
{
    const float *r = g->r + row * g->k;
    double sum = 0;

    for (size_t j = 0; j < g->k; j++)
        sum += (double)r[j] * r[j] / h[j * g->k + j];
    return sum;
}

/* One row's step along p; q = p h. */
static void step(struct gradients *g, size_t row, float *w, const float *h)
{
    const unsigned char *kept = g->kept + row * g->k;
    float *r = g->r + row * g->k, *p = g->p + row * g->k, *q = g->q + row * g->k, length;
    double pq = 0, rz;

    for (size_t j = 0; j < g->k; j++)
        pq += kept[j] ? (double)p[j] * q[j] : 0;
    if (!(pq > 0) || !(g->rz[row] > REFIT_SOLVED * g->rz[g->n + row]))
        return;
    length = (float)(g->rz[row] / pq);
    for (size_t j = 0; j < g->k; j++) {
        if (kept[j]) {
            w[row * g->k + j] += length * p[j];
            r[j] -= length * q[j];
        }
    }
    rz = squares(g, row, h);
    turn(g, row, h, rz / g->rz[row]);
    g->rz[row] = rz;
}

void cpu_refit(struct device *dev, struct tensor w, struct tensor h, struct tensor c, size_t n_steps)
{
    size_t n = w.rows, k = w.cols, total = n * k;
    struct tensor p = device_tensor(dev, DTYPE_F32, n, k), q = device_tensor(dev, DTYPE_F32, n, k);
    struct gradients g = {n, k, xmalloc(total), xmalloc(total * sizeof(float)), p.data, q.data,
                          xmalloc(2 * n * sizeof(double))};
    float *wv = w.data;
    const float *cv = c.data;

    cpu_multiply(dev, q, w, h, 0);
#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t row = 0; row < n; row++) {
        for (size_t i = row * k; i < (row + 1) * k; i++) {
            g.kept[i] = wv[i] != 0;
            g.r[i] = g.kept[i] ? cv[i] - g.q[i] : 0;
            g.p[i] = 0;
        }
        g.rz[row] = g.rz[n + row] = turn(&g, row, h.data, 0);
    }
    for (size_t s = 0; s < n_steps; s++) {
        cpu_multiply(dev, q, p, h, 0);
#pragma omp parallel for num_threads(cpu_threads(dev))
        for (size_t row = 0; row < n; row++)
            step(&g, row, wv, h.data);
    }
    device_tensor_free(dev, &p);
    device_tensor_free(dev, &q);
    free(g.kept);
    free(g.r);
    free(g.rz);
}

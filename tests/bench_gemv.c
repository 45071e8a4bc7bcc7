/* make bench: one token's product with packed weights on the CPU, against the dense one of the same
 * shape and against reading as many bytes as that has, all interleaved. Prints the fastest of the
 * rounds, since on a shared machine the rest measures its other users, and the median of the
 * rounds' ratios beside it. A/B: per cent of zeros in the weights / in the input. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/measure/bench_run.h"

#define N_PROGRAMS BENCH_MAX_PROGRAMS

extern void openblas_set_num_threads(int n);

struct product {
    struct device *dev;
    struct packed w;
    struct tensor out, x, dense;
    struct bench_flush *flush;
};

static void run_gemv(void *arg)
{
    struct product *p = arg;

    p->dev->ops->decode->gemv(p->dev, p->out, p->x, &p->w, 0);
}

static void run_library(void *arg)
{
    struct product *p = arg;

    cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)p->dense.rows, (int)p->dense.cols, 1,
                p->dense.data, (int)p->dense.cols, p->x.data, 1, 0, p->out.data, 1);
}

static void run_read(void *arg)
{
    struct product *p = arg;

    p->dev->ops->read(p->dev, p->dense.data, tensor_nbytes(p->dense));
}

static void flush(void *arg)
{
    bench_flush(((struct product *)arg)->flush);
}

static const struct {
    const char *name;
    void (*run)(void *arg);
    enum packed_kind kind;
    int weights, inputs; /* per cent of zeros */
} cases[N_PROGRAMS] = {
    {"rows", run_gemv, PACKED_ROWS, 0, 0},
    {"reading", run_read, PACKED_ROWS, 0, 0},
    {"cblas_sgemv", run_library, PACKED_ROWS, 0, 0},
    {"columns", run_gemv, PACKED_COLUMNS, 0, 0},
    {"columns", run_gemv, PACKED_COLUMNS, 0, 50},
    {"nonzeros", run_gemv, PACKED_NONZEROS, 50, 0},
    {"nonzeros", run_gemv, PACKED_NONZEROS, 50, 50},
    {"nonzeros", run_gemv, PACKED_NONZEROS, 60, 60},
};

static void zero_some(struct pcg32 *g, struct tensor t, int per_cent)
{
    float *v = t.data;

    for (size_t i = 0; i < tensor_numel(t); i++)
        if ((int)pcg32_below(g, 100) < per_cent)
            v[i] = 0;
}

static void product_open(struct product *p, size_t i, struct tensor dense, struct tensor scratch)
{
    const struct backend *ops = p->dev->ops;
    struct tensor w = cases[i].weights ? scratch : dense;
    struct pcg32 g;

    pcg32_init(&g, i, 0);
    p->dense = dense;
    p->out = device_tensor(p->dev, DTYPE_F32, 1, dense.rows);
    p->x = device_tensor(p->dev, DTYPE_F32, 1, dense.cols);
    ops->fill_normal(p->dev, p->x, 1, 1, 0);
    zero_some(&g, p->x, cases[i].inputs);
    if (cases[i].weights) {
        memcpy(w.data, dense.data, tensor_nbytes(w));
        zero_some(&g, w, cases[i].weights);
    }
    ops->decode->pack(p->dev, &p->w, w, cases[i].kind);
}

static double fastest(const double *x, size_t n)
{
    double best = x[0];

    for (size_t i = 1; i < n; i++)
        best = x[i] < best ? x[i] : best;
    return best;
}

static void print(const struct bench_samples *s, const struct product *p, size_t i)
{
    struct estimate e = bench_ratio(s->ns[0], s->ns[i], s->n);
    double ns = fastest(s->ns[i], s->n), dense = fastest(s->ns[0], s->n);

    printf("  %-11s %2d/%-2d %9.1f us %6.2f GB/s, %.2f times dense (median %.2f +- %.2f)\n",
           cases[i].name, cases[i].weights, cases[i].inputs, ns / 1e3,
           (double)p->w.nbytes * (1 - cases[i].inputs / 100.0) / ns, dense / ns, e.value, e.se);
}

static void bench_shape(struct device *dev, size_t n, size_t k, int n_threads)
{
    const struct bench_limits limits = {20, 4000, 0.5, 8};
    struct tensor dense = device_tensor(dev, DTYPE_F32, n, k);
    struct tensor scratch = device_tensor(dev, DTYPE_F32, n, k);
    int large = tensor_nbytes(dense) > dev->ops->cache_nbytes(dev);
    struct product p[N_PROGRAMS];
    struct bench_program programs[N_PROGRAMS];
    struct bench_samples s;
    struct bench_flush f;

    bench_flush_open(&f, dev);
    dev->ops->fill_normal(dev, dense, 1, 0, 0);
    for (size_t i = 0; i < N_PROGRAMS; i++) {
        p[i] = (struct product){.dev = dev, .flush = &f};
        product_open(&p[i], i, dense, scratch);
        programs[i] = (struct bench_program){
            cases[i].name, large ? flush : NULL, cases[i].run, &p[i], 1, !large};
    }
    bench_run(&s, dev, programs, N_PROGRAMS, &limits);
    printf("%zu x %zu, %d thread%s, %zu rounds\n", n, k, n_threads, n_threads > 1 ? "s" : "", s.n);
    for (size_t i = 0; i < N_PROGRAMS; i++) {
        print(&s, &p[i], i);
        dev->ops->decode->packed_free(dev, &p[i].w);
        device_tensor_free(dev, &p[i].out);
        device_tensor_free(dev, &p[i].x);
    }
    fflush(stdout);
    bench_samples_release(&s);
    bench_flush_close(&f);
    device_tensor_free(dev, &dense);
    device_tensor_free(dev, &scratch);
}

int main(void)
{
    static const size_t shapes[][2] = {{4096, 4096}, {11008, 4096}, {256, 256}, {1376, 256}};

    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        struct device *dev;

        if (device_open(&dev, "cpu", n_threads))
            return 1;
        openblas_set_num_threads(n_threads);
        for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
            bench_shape(dev, shapes[i][0], shapes[i][1], n_threads);
        device_close(dev);
    }
    return 0;
}

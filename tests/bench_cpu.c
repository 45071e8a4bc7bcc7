/* make bench: how fast the CPU backend is, as ratios within one run, since machines are noisy.
 *
 *  - perplexity of the demo model against cblas_sgemm alone on the same shapes (linears, head, and
 *    the two products of attention, causal half), both in FLOP/s, interleaved, medians of 5;
 *  - DuoGPT pruning with 128 x 2048 ids against its own forward passes. */
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/rng.h"
#include "harness/cmd/cmd.h"
#include "harness/measure/perplexity.h"
#include "harness/measure/stats.h"
#include "harness/measure/sweep.h"

#define S 2048
#define ROUNDS 5

extern void openblas_set_num_threads(int n);

static double sgemm_seconds(size_t n_out, size_t k, size_t m)
{
    static float *buf[3];
    double start;

    for (int i = 0; i < 3; i++)
        if (!buf[i])
            buf[i] = xcalloc(S * 4096u, sizeof(float));
    start = now_seconds();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n_out, (int)k, 1, buf[0],
                (int)k, buf[1], (int)k, 0, buf[2], (int)n_out);
    return now_seconds() - start;
}

/* Seconds and FLOP of one window's products by OpenBLAS on all threads. */
static double window_sgemm(const struct llama_config *c, int threads, double *flop)
{
    size_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim, h = c->hidden;
    const size_t shape[][2] = {
        {q + 2 * kv, h}, {h, q}, {2 * c->intermediate, h}, {h, c->intermediate}};
    double t = 0;

    *flop = 0;
    openblas_set_num_threads(threads);
    for (size_t l = 0; l < c->n_layers; l++) {
        for (int i = 0; i < 4; i++) {
            t += sgemm_seconds(shape[i][0], shape[i][1], S);
            *flop += 2.0 * S * (double)(shape[i][0] * shape[i][1]);
        }
        for (size_t g = 0; g < c->n_heads; g++) { /* causal: half of S x S */
            t += sgemm_seconds(S / 2, c->head_dim, S) + sgemm_seconds(c->head_dim, S / 2, S);
            *flop += 2.0 * S * S * (double)c->head_dim;
        }
    }
    t += sgemm_seconds(c->n_vocab, h, S);
    *flop += 2.0 * S * (double)(c->n_vocab * h);
    openblas_set_num_threads(1);
    return t;
}

static void perplexity_rate(const struct model *m, const int32_t *ids, int threads)
{
    double own[ROUNDS], blas[ROUNDS], flop;
    struct session s;

    session_open(&s, m, S, S / KV_PAGE + 1, 0);
    for (int r = 0; r < ROUNDS; r++) {
        double nll[2] = {NAN, NAN}, start;

        blas[r] = (window_sgemm(&m->config, threads, &flop) +
                   window_sgemm(&m->config, threads, &flop)) /
                  2;
        start = now_seconds();
        if (perplexity_windows(&s, ids, 2, S, nll, NULL) != 0)
            exit(1);
        own[r] = (now_seconds() - start) / 2;
    }
    session_close(&s);
    printf("perplexity: %.0f tokens/s, %.1f GFLOP/s; cblas_sgemm alone %.1f GFLOP/s; ratio %.2f "
           "(target 0.60)\n",
           S / stats_median(own, ROUNDS), flop / stats_median(own, ROUNDS) / 1e9,
           flop / stats_median(blas, ROUNDS) / 1e9,
           stats_median(blas, ROUNDS) / stats_median(own, ROUNDS));
}

static void prune_rate(struct model *m, const int32_t *ids, size_t n)
{
    struct prune_options o = {.sparsity = 0.5, .act_sparsity = 0.5, .alpha = 0.125, .damp = 0.01,
                              .order_act = 1, .lazy_exact = 1, .block = 128};
    struct sweep_times t;

    if (sweep_prune(m, pruner_find("duogpt"), &o, ids, n, S, &t) != 0)
        exit(1);
    printf("duogpt, %zu x %d ids: %.1f s; forward passes %.1f, statistics %.1f, solving %.1f; "
           "ratio %.2f (target 3)\n",
           n, S, t.total, t.forward, t.statistics, t.solve, t.total / t.forward);
}

int main(void)
{
    size_t n = 128 * S;
    int32_t *ids = xmalloc(n * sizeof(*ids));
    char *dir = demo_dir(), path[4096];
    struct checkpoint c;
    struct device *dev;
    struct model m;
    struct pcg32 g;

    progress_quiet(1);
    snprintf(path, sizeof(path), "%s/model", dir ? dir : ".");
    if (device_open(&dev, "cpu", 0) || checkpoint_open(&c, path) ||
        model_open(&m, dev, &c, DTYPE_F32))
        return 1;
    pcg32_init(&g, 0, 0);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(3 + pcg32_below(&g, (uint32_t)c.config.n_vocab - 3));
    printf("%s\n", dev->ops->describe(dev));
    perplexity_rate(&m, ids, 2);
    prune_rate(&m, ids, 128);
    model_close(&m);
    checkpoint_close(&c);
    device_close(dev);
    free(ids);
    free(dir);
    return 0;
}

/* Timing whole decode steps: all layers, the head and the choice of the next token. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/measure/bench_work.h"
#include "harness/model/decode.h"
#include "harness/model/parallel.h"

/* Tokens that a sample decodes: the steps of a real sequence are queued one behind another, and so
 * are these. */
#define TOKENS 8

struct decoding {
    struct decoder d;
    size_t context;
};

static enum packed_kind kind_of(enum bench_path path)
{
    return path == PATH_NONZEROS  ? PACKED_NONZEROS
           : path == PATH_COLUMNS ? PACKED_COLUMNS
                                  : PACKED_ROWS;
}

/* Back to `context` tokens: those behind them in the cache are overwritten. */
static void rewind_to_context(void *arg)
{
    struct decoding *g = arg;
    struct device *dev = g->d.m->dev;
    int32_t position = (int32_t)g->context - 1;

    dev->ops->upload(dev, &g->d.cursor->position, &position, sizeof(position));
    g->d.n_tokens = g->context;
}

static void run_tokens(void *arg)
{
    decoder_generate(&((struct decoding *)arg)->d, TOKENS);
}

static int decoding_open(struct decoding *g, const struct bench_models *m, enum bench_path path,
                         size_t context, const int32_t *ids)
{
    const struct model *model = path <= PATH_LIBRARY ? m->dense : m->pruned;
    struct decode_options o = decode_options_of(kind_of(path), context + TOKENS);

    o.library = path == PATH_LIBRARY;
    g->context = context;
    if (decoder_open(&g->d, model, &o) != 0)
        return -1;
    decoder_prefill(&g->d, ids, context);
    return 0;
}

/* Per token: the packed weights whose input is kept, the head, and keys and values up to the middle
 * of a sample. */
static double bytes_moved(const struct decoding *g)
{
    const struct model *m = g->d.m;
    const struct llama_config *c = &m->config;
    double kv = 2 * (double)(c->n_layers * c->n_kv_heads * c->head_dim * dtype_size(m->dtype)) /
                (double)parallel_size(m);
    double sum = (double)g->d.head.nbytes + kv * ((double)g->context + TOKENS / 2.0);

    for (int i = 0; i < N_GROUPS; i++) {
        struct decode_group of;

        decoder_group(&g->d, (enum group)i, &of);
        sum += (double)of.nbytes * (of.n_kind[PACKED_ROWS] ? 1 : of.act_share);
    }
    return sum;
}

static int can_decode(const struct bench_models *m, size_t context)
{
    const struct decode_ops *ops = m->dense->dev->ops->decode;

    return ops && ops->gemv && ops->rmsnorm && ops->attention && ops->silu_mul && ops->sample &&
           context + TOKENS <= m->dense->config.max_positions;
}

int bench_decode(struct bench_outcome *out, const struct bench_models *m, const int32_t *ids,
                 size_t context)
{
    struct device *dev = m->dense->dev;
    struct decoding g[BENCH_MAX_PROGRAMS] = {0};
    struct bench_program programs[BENCH_MAX_PROGRAMS];
    size_t n = 0;

    *out = (struct bench_outcome){
        .task = "decode", .cache = "cold", .context = (double)context, .tokens = 1};
    if (!can_decode(m, context))
        return -1;
    if (config_n_params(&m->dense->config) * dtype_size(m->dense->dtype) <
        2 * dev->ops->cache_nbytes(dev))
        out->cache = "warm";
    if (!m->dense->store) {
        out->path[out->n_paths++] = PATH_OWN;
        out->path[out->n_paths++] = PATH_LIBRARY;
    }
    bench_add_sparse_paths(out, m, config_n_linear_params(&m->dense->config));
    if (!out->n_paths) /* streamed, and nothing to skip: a copy of the weights */
        out->path[out->n_paths++] = PATH_OWN;
    while (n < out->n_paths && decoding_open(&g[n], m, out->path[n], context, ids) == 0) {
        programs[n] = (struct bench_program){.name = bench_path_names[out->path[n]],
                                             .prepare = rewind_to_context,
                                             .run = run_tokens,
                                             .arg = &g[n],
                                             .units = TOKENS};
        out->bytes[n] = bytes_moved(&g[n]);
        n++;
    }
    if (n == out->n_paths)
        bench_run(&out->samples, dev, programs, n, &m->limits);
    for (size_t i = 0; i < n; i++)
        decoder_close(&g[i].d);
    return n == out->n_paths ? 0 : -1;
}

/* FLAP (An et al. 2024, arXiv 2312.11983): the input channels of o and down that fluctuate least,
 * score_j = Var(x_j) ||W_:,j||^2, standardised within each layer and kind so that all compare;
 * heads (a kv head with the query heads that read it) by the mean of their channels. The lowest go,
 * all layers together, counted by the parameters they take along; what they gave on average, W_:,j
 * mean(x_j), stays as a bias of o and down. */
#include <math.h>
#include <stdlib.h>

#include "harness/base/error.h"
#include "prune/pruners.h"

/* ---- statistics of the inputs of o and down */

struct flap_sums {
    struct device *dev;
    struct flap_channels *of; /* n_layers x 2: o, down */
};

/* Sums of x and x^2 over the rows, by the device in float32, added up here in double. */
static void add_sums(struct flap_sums *s, struct flap_channels *c, struct tensor x)
{
    struct device *dev = s->dev;
    struct tensor sum = device_tensor(dev, DTYPE_F32, 1, x.cols);
    struct tensor ones = device_tensor(dev, x.dtype, x.rows, 1);
    float *host = xmalloc(x.cols * sizeof(*host));

    dev->ops->fill(dev, ones, 1);
    dev->ops->zero(dev, sum.data, tensor_nbytes(sum));
    dev->ops->cross(dev, sum, ones, x);
    dev->ops->download(dev, host, sum.data, tensor_nbytes(sum));
    for (size_t j = 0; j < x.cols; j++)
        c->mean[j] += host[j];
    dev->ops->zero(dev, sum.data, tensor_nbytes(sum));
    dev->ops->sum_squares(dev, sum, x);
    dev->ops->download(dev, host, sum.data, tensor_nbytes(sum));
    for (size_t j = 0; j < x.cols; j++)
        c->score[j] += host[j];
    free(host);
    device_tensor_free(dev, &ones);
    device_tensor_free(dev, &sum);
}

static void add_attention(void *arg, size_t layer, struct tensor x)
{
    struct flap_sums *s = arg;

    add_sums(s, &s->of[2 * layer], x);
}

static void add_mlp(void *arg, size_t layer, struct tensor x)
{
    struct flap_sums *s = arg;

    add_sums(s, &s->of[2 * layer + 1], x);
}

/* Sums over n tokens to mean and score; w reads the channels. */
static void score_channels(struct device *dev, struct flap_channels *c, struct tensor w, double n)
{
    struct tensor squares = device_tensor(dev, DTYPE_F32, 1, w.cols);
    float *norm2 = xmalloc(w.cols * sizeof(*norm2));

    dev->ops->zero(dev, squares.data, tensor_nbytes(squares));
    dev->ops->sum_squares(dev, squares, w);
    dev->ops->download(dev, norm2, squares.data, tensor_nbytes(squares));
    for (size_t j = 0; j < w.cols; j++) {
        double var;

        c->mean[j] /= n;
        var = c->score[j] / n - c->mean[j] * c->mean[j];
        c->score[j] = (var > 0 ? var : 0) * norm2[j];
    }
    device_tensor_free(dev, &squares);
    free(norm2);
}

struct flap_channels *flap_measure(struct restructure_job *job)
{
    size_t n = job->m->config.n_layers;
    struct flap_sums s = {job->m->dev, xcalloc(2 * n, sizeof(*s.of))};
    struct windows_view view = {.arg = &s, .attention = add_attention, .mlp = add_mlp};

    for (size_t i = 0; i < 2 * n; i++) {
        const struct layer *l = &job->m->layers[i / 2];

        s.of[i].n = i % 2 ? l->down.cols : l->o.cols;
        s.of[i].mean = xcalloc(s.of[i].n, sizeof(double));
        s.of[i].score = xcalloc(s.of[i].n, sizeof(double));
    }
    windows_look(job, &view);
    for (size_t i = 0; i < 2 * n; i++) {
        const struct layer *l = &job->m->layers[i / 2];

        score_channels(job->m->dev, &s.of[i], i % 2 ? l->down : l->o,
                       (double)(job->n_windows * job->window));
    }
    return s.of;
}

void flap_release(struct flap_channels *c, size_t n_layers)
{
    for (size_t i = 0; i < 2 * n_layers; i++) {
        free(c[i].mean);
        free(c[i].score);
    }
    free(c);
}

/* ---- what goes */

struct unit {
    double score, cost; /* parameters */
    size_t of;          /* 2 layer: a kv head; 2 layer + 1: a neuron */
    size_t index;
};

/* x <- (x - mean) / standard deviation; all 0 where there is none. */
static void standardise(double *x, size_t n)
{
    double mean = 0, var = 0, sd;

    for (size_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        var += (x[i] - mean) * (x[i] - mean);
    sd = sqrt(var / (double)(n > 1 ? n - 1 : 1));
    for (size_t i = 0; i < n; i++)
        x[i] = sd > 0 ? (x[i] - mean) / sd : 0;
}

/* Units of one o or down to out; their number. span: channels of a unit. */
static size_t add_units(struct unit *out, struct flap_channels *c, size_t of, size_t span,
                        double cost)
{
    standardise(c->score, c->n);
    for (size_t i = 0; i < c->n / span; i++) {
        out[i] = (struct unit){0, cost, of, i};
        for (size_t j = 0; j < span; j++)
            out[i].score += c->score[i * span + j] / (double)span;
    }
    return c->n / span;
}

static int lower_first(const void *a, const void *b)
{
    const struct unit *x = a, *y = b;

    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    if (x->of != y->of)
        return x->of < y->of ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* keep[] of every unit but the lowest, whose parameters come as near to `target` as they do. */
static void choose(struct unit *u, size_t n, double target, unsigned char **keep)
{
    qsort(u, n, sizeof(*u), lower_first);
    for (size_t i = 0; i < n; i++) {
        keep[u[i].of][u[i].index] = target < u[i].cost / 2;
        target -= u[i].cost;
    }
}

/* Neurons left of a layer, to a convenient number. */
static void round_neurons(const struct flap_channels *c, unsigned char *keep)
{
    int32_t *index = xmalloc(c->n * sizeof(*index));
    size_t n = 0;

    for (size_t j = 0; j < c->n; j++)
        n += keep[j];
    n = width_near((double)n, c->n);
    largest_scores(c->score, c->n, n, index);
    for (size_t j = 0; j < c->n; j++)
        keep[j] = 0;
    for (size_t j = 0; j < n; j++)
        keep[index[j]] = 1;
    free(index);
}

/* ---- cutting */

/* The bias that stands for the channels that go: sum over them of W_:,j mean_j. */
static void compensate(struct model *m, struct tensor *bias, struct tensor w,
                       const struct flap_channels *c, const unsigned char *keep, size_t span)
{
    struct device *dev = m->dev;
    struct tensor mean = device_tensor(dev, DTYPE_F32, 1, c->n), w32 = w;
    float *host = xmalloc(c->n * sizeof(*host));

    for (size_t j = 0; j < c->n; j++)
        host[j] = keep[j / span] ? 0 : (float)c->mean[j];
    dev->ops->upload(dev, mean.data, host, tensor_nbytes(mean));
    if (w.dtype != DTYPE_F32) {
        w32 = device_tensor(dev, DTYPE_F32, w.rows, w.cols);
        dev->ops->convert(dev, w32, w);
    }
    *bias = device_tensor(dev, DTYPE_F32, 1, w.rows);
    dev->ops->multiply(dev, *bias, mean, w32, 1);
    if (w32.data != w.data)
        device_tensor_free(dev, &w32);
    device_tensor_free(dev, &mean);
    free(host);
}

static size_t indices_of(const unsigned char *keep, size_t n, int32_t *index)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i++)
        if (keep[i])
            index[at++] = (int32_t)i;
    return at;
}

static void cut_layer(struct restructure_job *job, size_t i, const struct flap_channels *c,
                      unsigned char *const *keep)
{
    struct model *m = job->m;
    struct layer *l = &m->layers[i];
    size_t nkv = l->shape.n_kv_heads, before = layer_attention_params(l) + layer_mlp_params(l), n;
    int32_t *index = xmalloc((nkv + l->intermediate) * sizeof(*index));

    n = indices_of(keep[2 * i], nkv, index);
    if (n < nkv)
        compensate(m, &l->o_bias, l->o, &c[2 * i], keep[2 * i], l->o.cols / nkv);
    layer_keep_heads(m, i, index, n);
    n = indices_of(keep[2 * i + 1], l->intermediate, index);
    if (n < l->intermediate)
        compensate(m, &l->down_bias, l->down, &c[2 * i + 1], keep[2 * i + 1], 1);
    layer_keep_neurons(m, i, index, n);
    progress_add(&job->progress,
                 (double)(before - layer_attention_params(l) - layer_mlp_params(l)));
    free(index);
}

static int restructure(struct restructure_job *job)
{
    const struct llama_config *k = &job->m->config;
    size_t n_layers = k->n_layers, nkv = k->n_kv_heads, span = k->n_heads / nkv * k->head_dim,
           n = 0;
    double head_cost = (double)(2 * (span + k->head_dim) * k->hidden);
    struct flap_channels *c = flap_measure(job);
    struct unit *u = xmalloc(n_layers * (nkv + k->intermediate) * sizeof(*u));
    unsigned char **keep = xcalloc(2 * n_layers, sizeof(*keep));

    for (size_t i = 0; i < n_layers; i++) {
        keep[2 * i] = xcalloc(nkv, 1);
        keep[2 * i + 1] = xcalloc(k->intermediate, 1);
        n += add_units(u + n, &c[2 * i], 2 * i, span, head_cost);
        n += add_units(u + n, &c[2 * i + 1], 2 * i + 1, 1, 3 * (double)k->hidden);
    }
    choose(u, n, job->options->sparsity * (double)config_n_linear_params(k), keep);
    for (size_t i = 0; i < n_layers; i++) {
        round_neurons(&c[2 * i + 1], keep[2 * i + 1]);
        cut_layer(job, i, c, keep);
    }
    for (size_t i = 0; i < 2 * n_layers; i++)
        free(keep[i]);
    free(keep);
    free(u);
    flap_release(c, n_layers);
    model_remove_empty_layers(job->m);
    return 0;
}

const struct pruner pruner_flap = {
    .name = "flap",
    .summary = "heads and neurons that fluctuate least, with biases for their mean",
    .needs = NEED_WINDOWS,
    .takes = TAKES_SPARSITY | TAKES_CALIB,
    .restructure = restructure,
};

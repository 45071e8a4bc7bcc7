/* Figures of each layer. */
#include "harness/measure/layer_probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

const char *const layer_metric_names[N_LAYER_METRICS] = {
    "zeros_q",  "zeros_k",    "zeros_v", "zeros_o",      "zeros_gate",
    "zeros_up", "zeros_down", "zeros",   "output_error", "stream_error",
};

/* ---- zeros */

static double source_numel(const struct llama_config *k, int linear)
{
    double h = (double)k->hidden, d = (double)k->head_dim;

    switch (linear) {
    case LINEAR_Q:
    case LINEAR_O:
        return h * d * (double)k->n_heads;
    case LINEAR_K:
    case LINEAR_V:
        return h * d * (double)k->n_kv_heads;
    default:
        return h * (double)k->intermediate;
    }
}

/* Of the source's weights, so that a linear that became smaller counts as one with zeros. A change
 * of basis beside it does not count. */
static void count_zeros(const struct model *m, size_t n_layers, double *out)
{
    for (size_t i = 0; i < LAYER_OUTPUT_ERROR * n_layers; i++)
        out[i] = 1;
    for (size_t i = 0; i < m->config.n_layers; i++) {
        size_t layer = m->layers[i].source;
        double left = 0, all = 0;

        for (int l = 0; l < N_LINEARS; l++) {
            double numel = source_numel(&m->source, l);
            double there =
                (double)(linear_numel(m, i, l) - linear_zeros(m, i, l));

            out[(size_t)(LAYER_ZEROS_FIRST + l) * n_layers + layer] = 1 - there / numel;
            left += there;
            all += numel;
        }
        out[LAYER_ZEROS * n_layers + layer] = 1 - left / all;
    }
}

/* ---- errors */

static void begin(struct session *s, const int32_t *ids, size_t n)
{
    batch_clear(&s->batch);
    batch_add(&s->batch, ids, n, -1);
    session_begin(s);
}

static float *stream_at(const struct layer_probe *p, size_t layer)
{
    return p->stream + layer * p->n_tokens * p->hidden;
}

static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (b ? (double)b[i] : 0);

        sum += d * d;
    }
    return sqrt(sum);
}

/* Mean over tokens of |got - want| / |want - from|; from NULL is 0. Tokens that a dense layer does
 * not move say nothing. */
static double mean_error(const struct layer_probe *p, const float *got, const float *want,
                         const float *from)
{
    double sum = 0;
    size_t n = 0;

    for (size_t t = 0; t < p->n_tokens; t++) {
        size_t at = t * p->hidden;
        double norm = distance(want + at, from ? from + at : NULL, p->hidden);

        if (norm > 0) {
            sum += distance(got + at, want + at, p->hidden) / norm;
            n++;
        }
    }
    return n ? sum / (double)n : 0;
}

/* What the model's layer i makes of x, on the host. */
static void run_layer(struct session *s, struct tensor x, size_t i, float *host)
{
    session_layers(s, x, i, i + 1);
    s->m->dev->ops->download(s->m->dev, host, x.data, tensor_nbytes(x));
}

static void measure_errors(const struct layer_probe *p, struct session *s, double *out)
{
    struct device *dev = s->m->dev;
    struct tensor own = device_tensor(dev, DTYPE_F32, p->n_tokens, p->hidden);
    struct tensor stream = device_tensor(dev, DTYPE_F32, p->n_tokens, p->hidden);
    float *got = xmalloc(tensor_nbytes(own)), *far = xmalloc(tensor_nbytes(own));
    size_t next = 0; /* of the model's layers */

    begin(s, p->ids, p->n_tokens);
    dev->ops->upload(dev, stream.data, stream_at(p, 0), tensor_nbytes(stream));
    memcpy(far, stream_at(p, 0), tensor_nbytes(stream));
    for (size_t i = 0; i < p->n_layers; i++) {
        const float *from = stream_at(p, i), *want = stream_at(p, i + 1);

        memcpy(got, from, tensor_nbytes(own));
        if (next < s->m->config.n_layers && s->m->layers[next].source == i) {
            dev->ops->upload(dev, own.data, from, tensor_nbytes(own));
            run_layer(s, own, next, got);
            run_layer(s, stream, next++, far);
        }
        out[LAYER_OUTPUT_ERROR * p->n_layers + i] = mean_error(p, got, want, from);
        out[LAYER_STREAM_ERROR * p->n_layers + i] = mean_error(p, far, want, NULL);
    }
    free(got);
    free(far);
    device_tensor_free(dev, &own);
    device_tensor_free(dev, &stream);
}

/* ---- */

void layer_probe_open(struct layer_probe *p, struct session *s, const int32_t *ids, size_t n)
{
    const struct llama_config *k = &s->m->config;
    struct device *dev = s->m->dev;
    struct tensor x;

    n = n < LAYER_PROBE_TOKENS ? n : LAYER_PROBE_TOKENS;
    n = n < s->max_rows ? n : s->max_rows;
    n = n < k->max_positions ? n : k->max_positions;
    *p = (struct layer_probe){.n_layers = k->n_layers, .hidden = k->hidden, .n_tokens = n};
    p->ids = xmalloc(n * sizeof(*ids));
    memcpy(p->ids, ids, n * sizeof(*ids));
    p->stream = xmalloc((k->n_layers + 1) * n * k->hidden * sizeof(float));
    x = device_tensor(dev, DTYPE_F32, n, k->hidden);
    begin(s, ids, n);
    session_embed(s, x);
    dev->ops->download(dev, p->stream, x.data, tensor_nbytes(x));
    for (size_t i = 0; i < k->n_layers; i++)
        run_layer(s, x, i, stream_at(p, i + 1));
    device_tensor_free(dev, &x);
}

void layer_probe_close(struct layer_probe *p)
{
    free(p->ids);
    free(p->stream);
    *p = (struct layer_probe){0};
}

void layer_probe_run(const struct layer_probe *p, struct session *s, double *out)
{
    count_zeros(s->m, p->n_layers, out);
    for (size_t i = LAYER_OUTPUT_ERROR * p->n_layers; i < N_LAYER_METRICS * p->n_layers; i++)
        out[i] = NAN;
    if (s->m->config.hidden == p->hidden)
        measure_errors(p, s, out);
}

double layer_probe_total(const struct llama_config *source, enum layer_metric metric,
                         const double *by_layer)
{
    double sum = 0;

    if (metric == LAYER_STREAM_ERROR)
        return by_layer[source->n_layers - 1];
    for (size_t i = 0; i < source->n_layers; i++)
        sum += by_layer[i];
    return sum / (double)source->n_layers;
}

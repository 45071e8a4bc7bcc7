/* Making a model smaller. */
#include "harness/model/reshape.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"

int reshape_check(const struct model *m)
{
    if (m->comm)
        return error("structured methods need the model on one device");
    return m->store ? error("structured methods need the weights on the device; these are in host "
                            "memory")
                    : 0;
}

size_t layer_attention_params(const struct layer *l)
{
    return layer_has_attention(l) ? tensor_numel(l->qkv) + tensor_numel(l->o) : 0;
}

size_t layer_mlp_params(const struct layer *l)
{
    return layer_has_mlp(l) ? tensor_numel(l->gate_up) + tensor_numel(l->down) : 0;
}

static void drop(struct model *m, struct tensor *t, size_t rows, size_t cols)
{
    device_tensor_free(m->dev, t);
    *t = (struct tensor){NULL, m->dtype, rows, cols};
}

void layer_remove_attention(struct model *m, size_t layer)
{
    struct layer *l = &m->layers[layer];

    drop(m, &l->qkv, 0, m->config.hidden);
    drop(m, &l->o, m->config.hidden, 0);
    drop(m, &l->norm1, 0, 0);
    l->shape.n_heads = l->shape.n_kv_heads = 0;
    layer_lay_linears(l);
    m->reshaped = 1;
}

void layer_remove_mlp(struct model *m, size_t layer)
{
    struct layer *l = &m->layers[layer];

    drop(m, &l->gate_up, 0, m->config.hidden);
    drop(m, &l->down, m->config.hidden, 0);
    drop(m, &l->norm2, 0, 0);
    l->intermediate = 0;
    layer_lay_linears(l);
    m->reshaped = 1;
}

void model_remove_empty_layers(struct model *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->config.n_layers; i++) {
        struct layer *l = &m->layers[i];

        if (layer_has_attention(l) || layer_has_mlp(l) || l->o_bias.data || l->down_bias.data)
            m->layers[n++] = *l;
        else
            layer_release(l, m->dev);
    }
    m->config.n_layers = n;
}

/* w <- w[rows, cols]; NULL: all of them. By way of float32, which keeps every type's values. */
static void keep(struct model *m, struct tensor *w, const int32_t *rows, size_t n_rows,
                 const int32_t *cols, size_t n_cols)
{
    struct device *dev = m->dev;
    struct tensor from = device_tensor(dev, DTYPE_F32, w->rows, w->cols);
    struct tensor to =
        device_tensor(dev, DTYPE_F32, rows ? n_rows : w->rows, cols ? n_cols : w->cols);

    dev->ops->convert(dev, from, *w);
    dev->ops->permute(dev, to, from, rows, cols);
    device_tensor_free(dev, &from);
    device_tensor_free(dev, w);
    *w = device_tensor(dev, m->dtype, to.rows, to.cols);
    dev->ops->convert(dev, *w, to);
    device_tensor_free(dev, &to);
}

/* Writes the rows of n heads, each `span` rows of width d, that begin at row `base`. */
static size_t head_rows(int32_t *out, const int32_t *heads, size_t n, size_t span, size_t base)
{
    for (size_t i = 0; i < n * span; i++)
        out[i] = (int32_t)(base + (size_t)heads[i / span] * span + i % span);
    return n * span;
}

void layer_keep_heads(struct model *m, size_t layer, const int32_t *heads, size_t n)
{
    struct layer *l = &m->layers[layer];
    size_t d = l->shape.head_dim, nkv = l->shape.n_kv_heads, at;
    size_t per = nkv ? l->shape.n_heads / nkv : 0; /* query heads of a kv head */
    int32_t *rows;

    if (n == nkv)
        return;
    if (n == 0) {
        layer_remove_attention(m, layer);
        return;
    }
    rows = xmalloc((per + 2) * n * d * sizeof(*rows));
    at = head_rows(rows, heads, n, per * d, 0);
    keep(m, &l->o, NULL, 0, rows, at);
    at += head_rows(rows + at, heads, n, d, nkv * per * d);
    at += head_rows(rows + at, heads, n, d, nkv * per * d + nkv * d);
    keep(m, &l->qkv, rows, at, NULL, 0);
    free(rows);
    l->shape.n_heads = n * per;
    l->shape.n_kv_heads = n;
    layer_lay_linears(l);
    m->reshaped = 1;
}

void layer_keep_neurons(struct model *m, size_t layer, const int32_t *neurons, size_t n)
{
    struct layer *l = &m->layers[layer];
    size_t all = l->intermediate;
    int32_t *rows;

    if (n == all)
        return;
    if (n == 0) {
        layer_remove_mlp(m, layer);
        return;
    }
    rows = xmalloc(2 * n * sizeof(*rows));
    for (size_t i = 0; i < n; i++) {
        rows[i] = neurons[i];
        rows[n + i] = (int32_t)all + neurons[i];
    }
    keep(m, &l->down, NULL, 0, neurons, n);
    keep(m, &l->gate_up, rows, 2 * n, NULL, 0);
    free(rows);
    l->intermediate = n;
    layer_lay_linears(l);
    m->reshaped = 1;
}

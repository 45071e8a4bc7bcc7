/* The weights of a model, rounded and written.
 *
 * A linear in the bitmask form is four tensors, each a multiple of its element size into the file:
 * the values that are not 0, one bit per weight, the shape, and where each row's values begin. They
 * are made one by one from the same weight, for the order in the file keeps them apart. */
#include "harness/model/save.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/model/bitmask.h"
#include "harness/model/safetensors_write.h"

#define NO_LAYER ((size_t)-1)

/* What an item of the file holds of its weight. */
enum part { PART_DENSE, PART_VALUES, PART_MASK, PART_SHAPE, PART_OFFSETS };

struct weight {
    char name[96]; /* without ".weight" */
    struct tensor t;
    size_t layer;
    enum { IS_MATRIX, IS_VECTOR, IS_LINEAR } kind;
    enum dtype dtype; /* in the file */
};

struct weights {
    struct weight *items;
    size_t n;
};

static const char *file_dtype(enum dtype t)
{
    return t == DTYPE_F32 ? "F32" : t == DTYPE_F16 ? "F16" : "BF16";
}

/* ---- every weight of a model */

static void add(struct weights *ws, const struct model *m, int dtype, size_t layer,
                const char *name, struct tensor t, int kind)
{
    struct weight *w = &ws->items[ws->n];
    char full[112];

    if (tensor_numel(t) == 0) /* the layer lacks it */
        return;
    ws->n++;
    *w = (struct weight){.t = t, .layer = layer, .kind = kind};
    if (layer == NO_LAYER)
        snprintf(w->name, sizeof(w->name), "%s", name);
    else
        snprintf(w->name, sizeof(w->name), "model.layers.%zu.%s", layer, name);
    snprintf(full, sizeof(full), "%s.weight", w->name);
    w->dtype =
        dtype == SAVE_AS_READ ? checkpoint_tensor_dtype(m->checkpoint, full) : (enum dtype)dtype;
}

static void add_layer(struct weights *ws, const struct model *m, int dtype, size_t i)
{
    const struct layer *l = &m->layers[i];

    add(ws, m, dtype, i, "input_layernorm", l->norm1, IS_VECTOR);
    for (int k = 0; k < N_LINEARS; k++) {
        if (k == LINEAR_GATE)
            add(ws, m, dtype, i, "post_attention_layernorm", l->norm2, IS_VECTOR);
        add(ws, m, dtype, i, l->linears[k].name, l->linears[k].w, IS_LINEAR);
    }
    add(ws, m, dtype, i, "self_attn.o_bias", l->o_bias, IS_VECTOR);
    add(ws, m, dtype, i, "mlp.down_bias", l->down_bias, IS_VECTOR);
    add(ws, m, dtype, i, "self_attn.basis", l->attention_basis, IS_MATRIX);
    add(ws, m, dtype, i, "mlp.basis", l->mlp_basis, IS_MATRIX);
}

static struct weights weights_of(const struct model *m, int dtype)
{
    struct weights ws = {0};

    ws.items = xcalloc(m->config.n_layers * (N_LINEARS + 6) + 3, sizeof(*ws.items));
    add(&ws, m, dtype, NO_LAYER, "model.embed_tokens", m->embed, IS_MATRIX);
    for (size_t i = 0; i < m->config.n_layers; i++)
        add_layer(&ws, m, dtype, i);
    add(&ws, m, dtype, NO_LAYER, "model.norm", m->norm, IS_VECTOR);
    if (m->head.data != m->embed.data)
        add(&ws, m, dtype, NO_LAYER, "lm_head", m->head, IS_MATRIX);
    return ws;
}

/* ---- rounding */

static int is_rounded(const struct weight *w)
{
    return w->dtype != w->t.dtype && w->dtype != DTYPE_F32;
}

static int rounds_linears(const struct weights *ws)
{
    for (size_t i = 0; i < ws->n; i++)
        if (ws->items[i].kind == IS_LINEAR && is_rounded(&ws->items[i]))
            return 1;
    return 0;
}

static int round_weight(const struct model *m, const struct weight *w)
{
    struct device *dev = m->dev;
    struct tensor t;
    int ok;

    if (!is_rounded(w))
        return 0;
    t = device_tensor(dev, w->dtype, w->t.rows, w->t.cols);
    dev->ops->convert(dev, t, w->t);
    ok = dev->ops->all_finite(dev, t);
    if (ok)
        dev->ops->convert(dev, w->t, t);
    device_tensor_free(dev, &t);
    return ok ? 0
              : error("tensor '%s.weight' has values beyond the range of %s: save as another "
                      "type, such as --save-dtype bf16",
                      w->name, dtype_name(w->dtype));
}

int save_round(struct model *m, int dtype)
{
    struct weights ws = weights_of(m, dtype);
    int rc = 0, streamed = m->store && rounds_linears(&ws);

    if (streamed && !layer_store_holds(m->store, m->config.n_layers - 1))
        rc = error("layers that host memory does not hold are saved in the type they are computed "
                   "in: --save-dtype %s",
                   dtype_name(m->dtype));
    if (streamed)
        layer_store_keep(m->store, NULL, NULL); /* its files are of what was pruned, not rounded */
    for (size_t i = 0; i < ws.n && rc == 0; i++) {
        const struct weight *w = &ws.items[i];

        if (streamed && w->layer != NO_LAYER)
            model_layer(m, w->layer);
        rc = round_weight(m, w);
        if (streamed && w->layer != NO_LAYER && ws.items[i + 1].layer != w->layer)
            model_layer_changed(m, w->layer);
    }
    free(ws.items);
    return rc;
}

/* ---- writing */

struct saver {
    const struct model *m;
    struct weights ws;
    struct st_item *items;
    size_t *weight_of; /* of each item */
    enum part *part;
    size_t n;
    void *host,
        *made; /* of the last item: the weight in its file's type, and what was made of it */
};

/* The weight in its file's type, in host memory. */
static struct tensor host_weight(struct saver *s, const struct weight *w)
{
    struct device *dev = s->m->dev;
    struct tensor t = w->t, host = {NULL, w->dtype, w->t.rows, w->t.cols};

    if (w->layer != NO_LAYER)
        model_layer(s->m, w->layer);
    free(s->host);
    host.data = s->host = xmalloc(tensor_nbytes(host));
    if (t.dtype != w->dtype) {
        t = device_tensor(dev, w->dtype, host.rows, host.cols);
        dev->ops->convert(dev, t, w->t);
    }
    dev->ops->download(dev, host.data, t.data, tensor_nbytes(host));
    if (t.data != w->t.data)
        device_tensor_free(dev, &t);
    return host;
}

static const void *get_item(void *arg, size_t i)
{
    struct saver *s = arg;
    struct tensor t = host_weight(s, &s->ws.items[s->weight_of[i]]);
    enum part part = s->part[i];

    free(s->made);
    s->made = part == PART_DENSE ? NULL : xmalloc(s->items[i].nbytes);
    switch (part) {
    case PART_DENSE:
        break;
    case PART_VALUES:
        bitmask_values(s->made, t);
        break;
    case PART_MASK:
        bitmask_bits(s->made, t);
        break;
    case PART_SHAPE:
        ((int64_t *)s->made)[0] = (int64_t)t.rows;
        ((int64_t *)s->made)[1] = (int64_t)t.cols;
        break;
    case PART_OFFSETS:
        bitmask_offsets(s->made, t);
        break;
    }
    return s->made ? s->made : t.data;
}

/* rows 0: a vector. */
static void add_item(struct saver *s, size_t weight, enum part part, const char *suffix,
                     const char *dtype, size_t rows, size_t cols)
{
    struct st_item *t = &s->items[s->n];

    snprintf(t->name, sizeof(t->name), "%s.%s", s->ws.items[weight].name, suffix);
    t->dtype = dtype;
    t->n_dims = rows ? 2 : 1;
    t->dims[0] = rows ? rows : cols;
    t->dims[1] = cols;
    t->nbytes = (rows ? rows : 1) * cols * safetensors_dtype_size(dtype);
    s->weight_of[s->n] = weight;
    s->part[s->n++] = part;
}

static void add_items(struct saver *s, size_t weight, enum save_format format)
{
    const struct weight *w = &s->ws.items[weight];
    const char *dtype = file_dtype(w->dtype);

    if (format == SAVE_DENSE || w->kind != IS_LINEAR) {
        add_item(s, weight, PART_DENSE, "weight", dtype, w->kind == IS_VECTOR ? 0 : w->t.rows,
                 w->t.cols);
        return;
    }
    add_item(s, weight, PART_SHAPE, "shape", "I64", 0, 2);
    add_item(s, weight, PART_OFFSETS, "row_offsets", "I64", 0, w->t.rows);
    add_item(s, weight, PART_VALUES, "compressed", dtype, 0, bitmask_count(host_weight(s, w)));
    add_item(s, weight, PART_MASK, "bitmask", "U8", w->t.rows, (w->t.cols + 7) / 8);
}

int save_is_llama(const struct model *m)
{
    const struct llama_config *k = &m->config, *was = &m->source;
    int same = k->hidden == was->hidden && k->eps == was->eps && !k->forms &&
               k->tied_head == (m->head.data == m->embed.data);

    for (size_t i = 0; i < k->n_layers && same; i++) {
        const struct layer *l = &m->layers[i];

        same = l->shape.n_heads == k->n_heads && l->shape.n_kv_heads == k->n_kv_heads &&
               l->intermediate == k->intermediate && !l->o_bias.data && !l->down_bias.data &&
               !l->attention_basis.data && !l->mlp_basis.data;
    }
    return same;
}

int save_weights(const struct model *m, const char *dir, const struct save_options *o)
{
    struct saver s = {.m = m};
    int rc;

    s.ws = weights_of(m, o->dtype);
    s.items = xcalloc(4 * s.ws.n, sizeof(*s.items));
    s.weight_of = xcalloc(4 * s.ws.n, sizeof(*s.weight_of));
    s.part = xcalloc(4 * s.ws.n, sizeof(*s.part));
    for (size_t i = 0; i < s.ws.n; i++)
        add_items(&s, i, o->format);
    rc = safetensors_write(dir, s.items, s.n, o->shard_nbytes, (struct st_source){get_item, &s});
    free(s.host);
    free(s.made);
    free(s.items);
    free(s.weight_of);
    free(s.part);
    free(s.ws.items);
    return rc;
}

size_t save_nbytes(const struct model *m, int dtype)
{
    struct weights ws = weights_of(m, dtype);
    size_t n = 0;

    for (size_t i = 0; i < ws.n; i++)
        n += tensor_numel(ws.items[i].t) * dtype_size(ws.items[i].dtype);
    free(ws.items);
    return n;
}

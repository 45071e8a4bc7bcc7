/* Loading a model onto a device. */
#include "harness/model/model.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/model/model_load.h"
#include "harness/model/parallel.h"
#include "harness/model/rope.h"

const char *const linear_names[N_LINEARS] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",
};

static const enum group linear_groups[N_LINEARS] = {
    GROUP_QKV, GROUP_QKV, GROUP_QKV, GROUP_O, GROUP_GATE_UP, GROUP_GATE_UP, GROUP_DOWN,
};

void layer_shape(struct layer *l, const struct model *m, size_t i)
{
    const struct llama_config *k = &m->config;
    struct layer_form f = config_layer(k, i);
    size_t q = f.n_heads * k->head_dim, kv = f.n_kv_heads * k->head_dim, n = parallel_size(m);

    l->qkv = (struct tensor){NULL, m->dtype, (q + 2 * kv) / n, k->hidden};
    l->o = (struct tensor){NULL, m->dtype, k->hidden / n, q};
    l->gate_up = (struct tensor){NULL, m->dtype, 2 * f.intermediate / n, k->hidden};
    l->down = (struct tensor){NULL, m->dtype, k->hidden / n, f.intermediate};
    l->shape = (struct attention_shape){f.n_heads / n, f.n_kv_heads / n, k->head_dim};
    l->intermediate = f.intermediate / n;
}

void layer_lay_linears(struct layer *l)
{
    size_t kv = l->shape.n_kv_heads * l->shape.head_dim, q = l->qkv.rows - 2 * kv;
    size_t m = l->gate_up.rows / 2;

    l->linears[LINEAR_Q].w = tensor_rows(l->qkv, 0, q);
    l->linears[LINEAR_K].w = tensor_rows(l->qkv, q, kv);
    l->linears[LINEAR_V].w = tensor_rows(l->qkv, q + kv, kv);
    l->linears[LINEAR_O].w = l->o;
    l->linears[LINEAR_GATE].w = tensor_rows(l->gate_up, 0, m);
    l->linears[LINEAR_UP].w = tensor_rows(l->gate_up, m, m);
    l->linears[LINEAR_DOWN].w = l->down;
}

void layer_merged(struct layer *l, struct tensor *all[4])
{
    all[0] = &l->qkv;
    all[1] = &l->o;
    all[2] = &l->gate_up;
    all[3] = &l->down;
}

/* Gives the merged tensors memory, of their own or in `block`, and lays the seven linears over
 * them. */
static void layer_alloc(struct layer *l, const struct model *m, size_t layer, char *block)
{
    struct tensor *all[4];

    layer_shape(l, m, layer);
    layer_merged(l, all);
    for (int i = 0; i < 4; i++)
        if (tensor_numel(*all[i]))
            all[i]->data = block ? block + store_offset(m, i)
                                 : m->dev->ops->alloc(m->dev, tensor_nbytes(*all[i]));
    for (int i = 0; i < N_LINEARS; i++) {
        l->linears[i].name = linear_names[i];
        l->linears[i].group = linear_groups[i];
    }
    layer_lay_linears(l);
    memset(l->rules, 0, sizeof(l->rules));
}

static void layer_free_weights(struct layer *l, struct device *dev)
{
    struct tensor *all[4];

    layer_merged(l, all);
    for (int i = 0; i < 4; i++)
        device_tensor_free(dev, all[i]);
}

void layer_release(struct layer *l, struct device *dev)
{
    struct tensor *const rest[] = {&l->norm1,     &l->norm2,           &l->o_bias,
                                   &l->down_bias, &l->attention_basis, &l->mlp_basis};

    layer_free_weights(l, dev);
    for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
        device_tensor_free(dev, rest[i]);
    for (int g = 0; g < N_GROUPS; g++)
        device_tensor_free(dev, &l->gates[g]);
}

static void load_rope(struct model *m)
{
    size_t n = m->config.max_positions, d = m->config.head_dim;
    float *table = xmalloc(n * d * sizeof(*table));

    rope_table(&m->config, n, table);
    m->cos_sin = device_tensor(m->dev, DTYPE_F32, n, d);
    m->dev->ops->upload(m->dev, m->cos_sin.data, table, n * d * sizeof(*table));
    free(table);
}

static int load_all(struct model *m)
{
    struct device *dev = m->dev;
    const struct llama_config *k = &m->config;
    size_t h = k->hidden;

    m->layers = xcalloc(k->n_layers, sizeof(*m->layers));
    m->checked = xcalloc(k->n_layers, 1);
    m->embed = device_tensor(dev, m->dtype, k->n_vocab, h);
    m->norm = device_tensor(dev, DTYPE_F32, 1, h);
    m->head = k->tied_head ? m->embed : device_tensor(dev, m->dtype, k->n_vocab, h);
    for (size_t i = 0; i < m->config.n_layers; i++) {
        struct layer *l = &m->layers[i];

        layer_alloc(l, m, i, m->store ? layer_store_place(m->store, i) : NULL);
        l->source = i;
        if (load_rest(m, i) != 0 || load_linears(m, i) != 0)
            return -1;
    }
    if (load_tensor(m, "model.embed_tokens.weight", m->embed) ||
        load_tensor(m, "model.norm.weight", m->norm) ||
        (!m->config.tied_head && load_tensor(m, "lm_head.weight", m->head)))
        return -1;
    return 0;
}

int model_open_from(struct model *m, struct device *dev, const struct model_source *src,
                    enum dtype dtype, enum residence residence)
{
    const struct llama_config *k = src->checkpoint ? &src->checkpoint->config : &src->config;

    if (src->comm && parallel_check(k, (size_t)src->comm->size) != 0)
        return -1;
    *m = (struct model){.dev = dev,
                        .comm = src->comm,
                        .config = *k,
                        .source = *k,
                        .dtype = dtype,
                        .checkpoint = src->checkpoint,
                        .seed = src->seed};
    if (k->forms && (src->comm || residence == RESIDENCE_STREAM)) {
        *m = (struct model){0};
        return error("%s: layers of different shapes are neither streamed nor shared by devices",
                     src->checkpoint->dir);
    }
    if (residence == RESIDENCE_STREAM ||
        (residence == RESIDENCE_AUTO && !k->forms && must_stream(m)))
        open_store(m, src->host_limit);
    m->n_act_zero = dev->ops->alloc(dev, N_GROUPS * sizeof(*m->n_act_zero));
    dev->ops->zero(dev, m->n_act_zero, N_GROUPS * sizeof(*m->n_act_zero));
    load_rope(m);
    if (load_all(m) == 0)
        return 0;
    model_close(m);
    return -1;
}

int model_open(struct model *m, struct device *dev, const struct checkpoint *c, enum dtype dtype)
{
    struct model_source src = {.checkpoint = c};

    return model_open_from(m, dev, &src, dtype, RESIDENCE_AUTO);
}

/* Everything that load_all made. */
static void unload(struct model *m)
{
    for (size_t i = 0; i < m->config.n_layers; i++) {
        struct tensor *all[4];

        layer_merged(&m->layers[i], all);
        for (int t = 0; t < 4 && m->store; t++)
            all[t]->data = NULL; /* the store's */
        layer_release(&m->layers[i], m->dev);
    }
    free(m->layers);
    free(m->checked);
    if (m->head.data != m->embed.data)
        device_tensor_free(m->dev, &m->head);
    device_tensor_free(m->dev, &m->embed);
    device_tensor_free(m->dev, &m->norm);
}

void model_close(struct model *m)
{
    if (!m->dev)
        return;
    layer_store_close(m->store); /* its thread may still look at the layers */
    unload(m);
    device_tensor_free(m->dev, &m->cos_sin);
    m->dev->ops->free(m->dev, m->n_act_zero);
    *m = (struct model){0};
}

/* Layers that are read each time were not seen when the model was opened. */
static void check_layer(const struct model *m, size_t i)
{
    char name[96];

    if (!m->checkpoint || m->checked[i] || layer_store_holds(m->store, i))
        return;
    for (int t = 0; t < N_LINEARS; t++) {
        linear_tensor_name(name, i, t);
        if (check_finite(m, name, m->layers[i].linears[t].w) != 0)
            exit(1);
    }
    m->checked[i] = 1;
}

const struct layer *model_layer(const struct model *m, size_t i)
{
    if (m->store) {
        layer_store_get(m->store, i);
        check_layer(m, i);
    }
    return &m->layers[i];
}

int model_layer_resume(const struct model *m, size_t i)
{
    return m->store ? layer_store_resume(m->store, i) : 0;
}

void model_layer_changed(const struct model *m, size_t i)
{
    if (m->store)
        layer_store_put(m->store, i);
}

int model_restore(struct model *m)
{
    if (m->reshaped) {
        unload(m);
        m->config = m->source;
        m->reshaped = 0;
        return load_all(m);
    }
    for (size_t i = 0; i < m->config.n_layers; i++)
        if (load_linears(m, i) != 0)
            return -1;
    return 0;
}

/* ---- rules */

const char *group_name(enum group g)
{
    static const char *const names[N_GROUPS] = {"qkv", "o", "gate_up", "down"};

    return names[g];
}

struct tensor layer_group(const struct layer *l, enum group g)
{
    return g == GROUP_QKV ? l->qkv : g == GROUP_O ? l->o : g == GROUP_DOWN ? l->down : l->gate_up;
}

/* The group's merged matrix of all devices together: a new tensor. */
static struct tensor whole_group(const struct model *m, const struct layer *l, enum group g)
{
    struct tensor part = layer_group(l, g), merged;
    size_t row = 0;

    merged = device_tensor(m->dev, part.dtype, part.rows * parallel_size(m), part.cols);
    for (int i = 0; i < N_LINEARS; i++) {
        struct tensor w = l->linears[i].w;

        if (l->linears[i].group != g)
            continue;
        m->comm->all_gather(m->comm, tensor_rows(merged, row, 0).data, w.data, tensor_nbytes(w));
        row += w.rows * parallel_size(m);
    }
    return merged;
}

/* gate = the norms of the columns of the group's merged matrix. */
static void column_norms(const struct model *m, struct tensor gate, const struct layer *l,
                         enum group g)
{
    struct device *dev = m->dev;
    float *host = xmalloc(gate.cols * sizeof(*host));

    dev->ops->zero(dev, gate.data, tensor_nbytes(gate));
    if (m->comm) { /* the rows one above the other as on one device: the sums have an order */
        struct tensor merged = whole_group(m, l, g);

        dev->ops->sum_squares(dev, gate, merged);
        device_tensor_free(dev, &merged);
    } else {
        dev->ops->sum_squares(dev, gate, layer_group(l, g));
    }
    dev->ops->download(dev, host, gate.data, tensor_nbytes(gate));
    for (size_t j = 0; j < gate.cols; j++)
        host[j] = sqrtf(host[j]);
    dev->ops->upload(dev, gate.data, host, tensor_nbytes(gate));
    free(host);
}

void model_set_rule(struct model *m, size_t layer, enum group g, enum act_kind kind,
                    double sparsity, float threshold)
{
    struct act_rule r = {
        .kind = kind, .sparsity = sparsity, .threshold = threshold, .n_zero = m->n_act_zero + g};

    if (kind == ACT_WINA) {
        const struct layer *l = model_layer(m, layer);
        struct tensor w = layer_group(l, g), *gate = &m->layers[layer].gates[g];

        if (gate->cols != w.cols) {
            device_tensor_free(m->dev, gate);
            *gate = device_tensor(m->dev, DTYPE_F32, 1, w.cols);
        }
        if (w.data)
            column_norms(m, *gate, l, g);
        r.gate = gate->data;
    }
    m->layers[layer].rules[g] = r;
}

void model_set_activation(struct model *m, enum act_kind kind, double sparsity)
{
    assert(kind != ACT_THRESHOLD);
    m->act_last_half = 0;
    for (size_t i = 0; i < m->config.n_layers; i++)
        for (int g = 0; g < N_GROUPS; g++)
            model_set_rule(m, i, (enum group)g, kind, sparsity, 0);
}

void layer_copy(struct layer *copy, const struct model *m, size_t layer)
{
    struct layer from = *model_layer(m, layer);
    struct tensor *src[4], *dst[4];

    layer_alloc(copy, m, layer, NULL);
    copy->norm1 = from.norm1;
    copy->norm2 = from.norm2;
    layer_merged(&from, src);
    layer_merged(copy, dst);
    for (int i = 0; i < 4; i++)
        m->dev->ops->copy(m->dev, dst[i]->data, src[i]->data, tensor_nbytes(*src[i]));
}

void layer_copy_free(struct layer *copy, const struct model *m)
{
    layer_free_weights(copy, m->dev);
}

size_t linear_numel(const struct model *m, size_t layer, int linear)
{
    return tensor_numel(m->layers[layer].linears[linear].w) * parallel_size(m);
}

/* In this device's part. */
static size_t zeros_here(const struct model *m, size_t layer, int linear)
{
    struct tensor w = model_layer(m, layer)->linears[linear].w;

    return tensor_numel(w) ? m->dev->ops->count_zeros(m->dev, w) : 0;
}

size_t linear_zeros(const struct model *m, size_t layer, int linear)
{
    return parallel_sum(m, zeros_here(m, layer, linear));
}

size_t model_n_linear_left(const struct model *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->config.n_layers; i++) {
        for (int l = 0; l < N_LINEARS; l++)
            n += tensor_numel(m->layers[i].linears[l].w) - zeros_here(m, i, l);
        n += tensor_numel(m->layers[i].attention_basis) + tensor_numel(m->layers[i].mlp_basis);
    }
    return parallel_sum(m, n);
}

size_t model_n_params_left(const struct model *m)
{
    size_t n = model_n_linear_left(m) + tensor_numel(m->embed) + tensor_numel(m->norm);

    if (m->head.data != m->embed.data)
        n += tensor_numel(m->head);
    for (size_t i = 0; i < m->config.n_layers; i++) {
        const struct layer *l = &m->layers[i];

        n += tensor_numel(l->norm1) + tensor_numel(l->norm2) + tensor_numel(l->o_bias) +
             tensor_numel(l->down_bias);
    }
    return n;
}

double model_zero_share(const struct model *m)
{
    double n = (double)config_n_linear_params(&m->source);

    return (n - (double)model_n_linear_left(m)) / n;
}

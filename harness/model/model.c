/* Loading a model onto a device. */
#include "harness/model/model.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/memory.h"
#include "harness/model/rope.h"
#include "harness/model/synthetic.h"

static const struct {
    const char *name;
    enum group group;
} linear_facts[N_LINEARS] = {
    {"self_attn.q_proj", GROUP_QKV},  {"self_attn.k_proj", GROUP_QKV},
    {"self_attn.v_proj", GROUP_QKV},  {"self_attn.o_proj", GROUP_O},
    {"mlp.gate_proj", GROUP_GATE_UP}, {"mlp.up_proj", GROUP_GATE_UP},
    {"mlp.down_proj", GROUP_DOWN},
};

/* Room that a model leaves on the device for running it, but a quarter at most: sessions, scratch,
 * the library's own. */
#define ROOM_TO_WORK ((size_t)4 << 30)

/* A checkpoint expands compressed tensors into memory that it has once. */
static pthread_mutex_t reading = PTHREAD_MUTEX_INITIALIZER;

static void make(const struct model *m, const char *name, struct tensor dst)
{
    struct device *dev = m->dev;

    if (strstr(name, "norm"))
        dev->ops->fill(dev, dst, 1);
    else
        dev->ops->fill_normal(dev, dst, SYNTHETIC_STDDEV, m->seed, synthetic_stream(name));
}

static int upload_named(const struct model *m, const char *name, struct tensor dst)
{
    struct device *dev = m->dev;
    struct tensor host, raw;

    if (checkpoint_tensor(m->checkpoint, name, dst.rows, dst.cols, &host) != 0)
        return -1;
    raw = device_tensor(dev, host.dtype, host.rows, host.cols);
    dev->ops->upload(dev, raw.data, host.data, tensor_nbytes(host));
    dev->ops->convert(dev, dst, raw);
    device_tensor_free(dev, &raw);
    return 0;
}

static int check_finite(const struct model *m, const char *name, struct tensor t)
{
    return m->dev->ops->all_finite(m->dev, t)
               ? 0
               : error("%s: tensor '%s' has values that are not finite%s", m->checkpoint->dir, name,
                       t.dtype == DTYPE_F16 ? " in f16" : "");
}

/* Fills dst with the named tensor of the model's source, converting on the device. */
static int load(const struct model *m, const char *name, struct tensor dst)
{
    int rc;

    if (!m->checkpoint) {
        make(m, name, dst);
        return 0;
    }
    pthread_mutex_lock(&reading);
    rc = upload_named(m, name, dst);
    pthread_mutex_unlock(&reading);
    return rc == 0 ? check_finite(m, name, dst) : -1;
}

static void linear_name(char out[96], size_t layer, int linear)
{
    snprintf(out, 96, "model.layers.%zu.%s.weight", layer, linear_facts[linear].name);
}

static int load_linears(const struct model *m, size_t layer)
{
    char name[96];

    if (m->store) {
        layer_store_forget(m->store, layer);
        if (!layer_store_holds(m->store, layer))
            return 0;
        layer_store_claim(m->store, layer);
    }
    for (int i = 0; i < N_LINEARS; i++) {
        linear_name(name, layer, i);
        if (load(m, name, m->layers[layer].linears[i].w) != 0)
            return -1;
    }
    if (m->store)
        layer_store_set(m->store, layer);
    return 0;
}

static int load_norms(const struct model *m, size_t layer)
{
    char name[96];

    snprintf(name, sizeof(name), "model.layers.%zu.input_layernorm.weight", layer);
    if (load(m, name, m->layers[layer].norm1) != 0)
        return -1;
    snprintf(name, sizeof(name), "model.layers.%zu.post_attention_layernorm.weight", layer);
    return load(m, name, m->layers[layer].norm2);
}

/* The four merged tensors of a layer of the source, without memory. */
static void layer_shape(struct layer *l, const struct model *m)
{
    const struct llama_config *k = &m->config;
    size_t q = k->n_heads * k->head_dim, kv = k->n_kv_heads * k->head_dim;

    l->qkv = (struct tensor){NULL, m->dtype, q + 2 * kv, k->hidden};
    l->o = (struct tensor){NULL, m->dtype, k->hidden, q};
    l->gate_up = (struct tensor){NULL, m->dtype, 2 * k->intermediate, k->hidden};
    l->down = (struct tensor){NULL, m->dtype, k->hidden, k->intermediate};
    l->shape = (struct attention_shape){k->n_heads, k->n_kv_heads, k->head_dim};
    l->intermediate = k->intermediate;
}

void layer_lay_linears(struct layer *l)
{
    size_t kv = l->shape.n_kv_heads * l->shape.head_dim, q = l->qkv.rows - 2 * kv;

    l->linears[LINEAR_Q].w = tensor_rows(l->qkv, 0, q);
    l->linears[LINEAR_K].w = tensor_rows(l->qkv, q, kv);
    l->linears[LINEAR_V].w = tensor_rows(l->qkv, q + kv, kv);
    l->linears[LINEAR_O].w = l->o;
    l->linears[LINEAR_GATE].w = tensor_rows(l->gate_up, 0, l->down.cols);
    l->linears[LINEAR_UP].w = tensor_rows(l->gate_up, l->down.cols, l->down.cols);
    l->linears[LINEAR_DOWN].w = l->down;
}

void layer_merged(struct layer *l, struct tensor *all[4])
{
    all[0] = &l->qkv;
    all[1] = &l->o;
    all[2] = &l->gate_up;
    all[3] = &l->down;
}

/* Where tensor i of a layer begins in its block of a store, and the block's bytes for i = 4. */
static size_t store_offset(const struct model *m, int i)
{
    struct layer l;
    struct tensor *all[4];
    size_t at = 0;

    layer_shape(&l, m);
    layer_merged(&l, all);
    for (int t = 0; t < i; t++)
        at += (tensor_nbytes(*all[t]) + 255) / 256 * 256;
    return at;
}

/* Gives the merged tensors memory, of their own or in `block`, and lays the seven linears over
 * them. */
static void layer_alloc(struct layer *l, const struct model *m, char *block)
{
    struct tensor *all[4];

    layer_shape(l, m);
    layer_merged(l, all);
    for (int i = 0; i < 4; i++)
        all[i]->data =
            block ? block + store_offset(m, i) : m->dev->ops->alloc(m->dev, tensor_nbytes(*all[i]));
    for (int i = 0; i < N_LINEARS; i++) {
        l->linears[i].name = linear_facts[i].name;
        l->linears[i].group = linear_facts[i].group;
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

/* Do the weights leave the device no room to work? A host is its own memory: never, unless it is
 * limited. */
static int must_stream(const struct model *m)
{
    size_t layers = m->config.n_layers * store_offset(m, 4);
    size_t ends =
        (m->config.tied_head ? 1 : 2) * m->config.n_vocab * m->config.hidden * dtype_size(m->dtype);
    size_t left = m->dev->ops->memory_free(m->dev);

    if (m->dev->ops->is_host && !m->dev->memory_limit)
        return 0;
    return layers + ends + (left / 4 < ROOM_TO_WORK ? left / 4 : ROOM_TO_WORK) > left;
}

/* ---- layers that host memory does not hold */

/* Both in host memory. */
static void convert_host(struct tensor dst, struct tensor src)
{
    const uint16_t *half = src.data;
    size_t n = tensor_numel(dst);

    if (dst.dtype == src.dtype) {
        memcpy(dst.data, src.data, tensor_nbytes(dst));
        return;
    }
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) {
        float v = src.dtype == DTYPE_F32   ? ((const float *)src.data)[i]
                  : src.dtype == DTYPE_F16 ? f16_to_f32(half[i])
                                           : bf16_to_f32(half[i]);

        if (dst.dtype == DTYPE_F32)
            ((float *)dst.data)[i] = v;
        else
            ((uint16_t *)dst.data)[i] = dst.dtype == DTYPE_F16 ? f32_to_f16(v) : f32_to_bf16(v);
    }
}

/* Fills a host's block with layer i of the checkpoint. */
static int read_layer(void *arg, size_t i, void *block)
{
    const struct model *m = arg;
    struct layer l;
    struct tensor *all[4], host;
    char name[96];
    int rc = 0;

    layer_shape(&l, m);
    layer_merged(&l, all);
    for (int t = 0; t < 4; t++)
        all[t]->data = (char *)block + store_offset(m, t);
    layer_lay_linears(&l);
    pthread_mutex_lock(&reading);
    for (int t = 0; t < N_LINEARS && rc == 0; t++) {
        struct tensor w = l.linears[t].w;

        linear_name(name, i, t);
        rc = checkpoint_tensor(m->checkpoint, name, w.rows, w.cols, &host);
        if (rc == 0)
            convert_host(w, host);
    }
    pthread_mutex_unlock(&reading);
    return rc;
}

/* Makes layer i of a synthetic model at its place. */
static void make_layer(void *arg, size_t i)
{
    const struct model *m = arg;
    char name[96];

    for (int t = 0; t < N_LINEARS; t++) {
        linear_name(name, i, t);
        make(m, name, m->layers[i].linears[t].w);
    }
}

/* As many layers as leave the host a quarter of its free memory, or fit the limit. */
static size_t n_held(const struct model *m, size_t host_limit)
{
    size_t nbytes = store_offset(m, 4), n = m->config.n_layers;
    size_t most = (host_limit ? host_limit : host_memory_free() / 4 * 3) / nbytes;

    if (most >= n)
        return n;
    return most > 3 ? most - 3 : 0; /* blocks through which the others pass */
}

static void open_store(struct model *m, size_t host_limit)
{
    struct layer_origin origin = {.arg = m};

    if (m->checkpoint)
        origin.read = read_layer;
    else
        origin.make = make_layer;
    m->store = layer_store_open(m->dev, m->config.n_layers, store_offset(m, 4),
                                n_held(m, host_limit), &origin);
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

        layer_alloc(l, m, m->store ? layer_store_place(m->store, i) : NULL);
        l->source = i;
        l->norm1 = device_tensor(dev, DTYPE_F32, 1, h);
        l->norm2 = device_tensor(dev, DTYPE_F32, 1, h);
        if (load_norms(m, i) != 0 || load_linears(m, i) != 0)
            return -1;
    }
    if (load(m, "model.embed_tokens.weight", m->embed) || load(m, "model.norm.weight", m->norm) ||
        (!m->config.tied_head && load(m, "lm_head.weight", m->head)))
        return -1;
    return 0;
}

int model_open_from(struct model *m, struct device *dev, const struct model_source *src,
                    enum dtype dtype, enum residence residence)
{
    const struct llama_config *k = src->checkpoint ? &src->checkpoint->config : &src->config;

    *m = (struct model){.dev = dev,
                        .config = *k,
                        .source = *k,
                        .dtype = dtype,
                        .checkpoint = src->checkpoint,
                        .seed = src->seed};
    if (residence == RESIDENCE_STREAM || (residence == RESIDENCE_AUTO && must_stream(m)))
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
        linear_name(name, i, t);
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

/* gate = the norms of w's columns. */
static void column_norms(const struct model *m, struct tensor gate, struct tensor w)
{
    struct device *dev = m->dev;
    float *host = xmalloc(gate.cols * sizeof(*host));

    dev->ops->zero(dev, gate.data, tensor_nbytes(gate));
    dev->ops->sum_squares(dev, gate, w);
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
        struct tensor w = layer_group(model_layer(m, layer), g), *gate = &m->layers[layer].gates[g];

        if (gate->cols != w.cols) {
            device_tensor_free(m->dev, gate);
            *gate = device_tensor(m->dev, DTYPE_F32, 1, w.cols);
        }
        if (w.data)
            column_norms(m, *gate, w);
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

    layer_alloc(copy, m, NULL);
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

size_t linear_zeros(const struct model *m, size_t layer, int linear)
{
    struct tensor w = model_layer(m, layer)->linears[linear].w;

    return tensor_numel(w) ? m->dev->ops->count_zeros(m->dev, w) : 0;
}

size_t model_n_linear_left(const struct model *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->config.n_layers; i++) {
        for (int l = 0; l < N_LINEARS; l++)
            n += tensor_numel(m->layers[i].linears[l].w) - linear_zeros(m, i, l);
        n += tensor_numel(m->layers[i].attention_basis) + tensor_numel(m->layers[i].mlp_basis);
    }
    return n;
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

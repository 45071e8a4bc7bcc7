/* Loading a model onto a device. */
#include "harness/model/model.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/model/rope.h"

static const struct {
    const char *name;
    enum group group;
} linear_facts[N_LINEARS] = {
    {"self_attn.q_proj", GROUP_QKV},   {"self_attn.k_proj", GROUP_QKV},
    {"self_attn.v_proj", GROUP_QKV},   {"self_attn.o_proj", GROUP_O},
    {"mlp.gate_proj", GROUP_GATE_UP},  {"mlp.up_proj", GROUP_GATE_UP},
    {"mlp.down_proj", GROUP_DOWN},
};

/* Copies one checkpoint tensor into dst, converting on the device. */
static int load(const struct model *m, const struct checkpoint *c, const char *name,
                struct tensor dst)
{
    struct device *dev = m->dev;
    struct tensor host, raw;
    int finite;

    if (checkpoint_tensor(c, name, dst.rows, dst.cols, &host) != 0)
        return -1;
    raw = device_tensor(dev, host.dtype, host.rows, host.cols);
    dev->ops->upload(dev, raw.data, host.data, tensor_nbytes(host));
    dev->ops->convert(dev, dst, raw);
    device_tensor_free(dev, &raw);
    finite = dev->ops->all_finite(dev, dst);
    if (!finite)
        return error("%s: tensor '%s' has values that are not finite%s", c->dir, name,
                     dst.dtype == DTYPE_F16 ? " in f16" : "");
    return 0;
}

static int load_linears(const struct model *m, const struct checkpoint *c, size_t layer)
{
    char name[96];

    for (int i = 0; i < N_LINEARS; i++) {
        struct linear *l = &m->layers[layer].linears[i];

        snprintf(name, sizeof(name), "model.layers.%zu.%s.weight", layer, l->name);
        if (load(m, c, name, l->w) != 0)
            return -1;
    }
    return 0;
}

static int load_norms(const struct model *m, const struct checkpoint *c, size_t layer)
{
    char name[96];

    snprintf(name, sizeof(name), "model.layers.%zu.input_layernorm.weight", layer);
    if (load(m, c, name, m->layers[layer].norm1) != 0)
        return -1;
    snprintf(name, sizeof(name), "model.layers.%zu.post_attention_layernorm.weight", layer);
    return load(m, c, name, m->layers[layer].norm2);
}

/* Allocates the four merged tensors and lays the seven linears over them. */
static void layer_alloc(struct layer *l, const struct model *m)
{
    const struct llama_config *k = &m->config;
    size_t q = k->n_heads * k->head_dim, kv = k->n_kv_heads * k->head_dim, h = k->hidden;
    size_t inter = k->intermediate;

    l->qkv = device_tensor(m->dev, m->dtype, q + 2 * kv, h);
    l->o = device_tensor(m->dev, m->dtype, h, q);
    l->gate_up = device_tensor(m->dev, m->dtype, 2 * inter, h);
    l->down = device_tensor(m->dev, m->dtype, h, inter);
    for (int i = 0; i < N_LINEARS; i++) {
        l->linears[i].name = linear_facts[i].name;
        l->linears[i].group = linear_facts[i].group;
    }
    l->linears[LINEAR_Q].w = tensor_rows(l->qkv, 0, q);
    l->linears[LINEAR_K].w = tensor_rows(l->qkv, q, kv);
    l->linears[LINEAR_V].w = tensor_rows(l->qkv, q + kv, kv);
    l->linears[LINEAR_O].w = l->o;
    l->linears[LINEAR_GATE].w = tensor_rows(l->gate_up, 0, inter);
    l->linears[LINEAR_UP].w = tensor_rows(l->gate_up, inter, inter);
    l->linears[LINEAR_DOWN].w = l->down;
    memset(l->rules, 0, sizeof(l->rules));
}

static void layer_free_weights(struct layer *l, struct device *dev)
{
    device_tensor_free(dev, &l->qkv);
    device_tensor_free(dev, &l->o);
    device_tensor_free(dev, &l->gate_up);
    device_tensor_free(dev, &l->down);
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

int model_open(struct model *m, struct device *dev, const struct checkpoint *c, enum dtype dtype)
{
    const struct llama_config *k = &c->config;

    *m = (struct model){.dev = dev, .config = *k, .dtype = dtype};
    m->shape = (struct attention_shape){k->n_heads, k->n_kv_heads, k->head_dim};
    m->layers = xcalloc(k->n_layers, sizeof(*m->layers));
    m->embed = device_tensor(dev, dtype, k->n_vocab, k->hidden);
    m->norm = device_tensor(dev, DTYPE_F32, 1, k->hidden);
    m->head = k->tied_head ? m->embed : device_tensor(dev, dtype, k->n_vocab, k->hidden);
    m->n_act_zero = dev->ops->alloc(dev, sizeof(*m->n_act_zero));
    dev->ops->zero(dev, m->n_act_zero, sizeof(*m->n_act_zero));
    load_rope(m);
    for (size_t i = 0; i < k->n_layers; i++) {
        layer_alloc(&m->layers[i], m);
        m->layers[i].norm1 = device_tensor(dev, DTYPE_F32, 1, k->hidden);
        m->layers[i].norm2 = device_tensor(dev, DTYPE_F32, 1, k->hidden);
        if (load_norms(m, c, i) || load_linears(m, c, i))
            goto fail;
    }
    if (load(m, c, "model.embed_tokens.weight", m->embed) || load(m, c, "model.norm.weight", m->norm) ||
        (!k->tied_head && load(m, c, "lm_head.weight", m->head)))
        goto fail;
    return 0;
fail:
    model_close(m);
    return -1;
}

void model_close(struct model *m)
{
    if (!m->dev)
        return;
    for (size_t i = 0; i < m->config.n_layers; i++) {
        layer_free_weights(&m->layers[i], m->dev);
        device_tensor_free(m->dev, &m->layers[i].norm1);
        device_tensor_free(m->dev, &m->layers[i].norm2);
    }
    free(m->layers);
    if (m->head.data != m->embed.data)
        device_tensor_free(m->dev, &m->head);
    device_tensor_free(m->dev, &m->embed);
    device_tensor_free(m->dev, &m->norm);
    device_tensor_free(m->dev, &m->cos_sin);
    m->dev->ops->free(m->dev, m->n_act_zero);
    *m = (struct model){0};
}

int model_restore(struct model *m, const struct checkpoint *c)
{
    for (size_t i = 0; i < m->config.n_layers; i++)
        if (load_linears(m, c, i) != 0)
            return -1;
    return 0;
}

void model_set_activation(struct model *m, enum act_kind kind, double sparsity)
{
    for (size_t i = 0; i < m->config.n_layers; i++)
        for (int g = 0; g < N_GROUPS; g++)
            m->layers[i].rules[g] = (struct act_rule){
                .kind = kind, .sparsity = sparsity, .n_zero = m->n_act_zero};
}

void layer_copy(struct layer *copy, const struct model *m, size_t layer)
{
    const struct layer *from = &m->layers[layer];
    const struct tensor src[] = {from->qkv, from->o, from->gate_up, from->down};
    struct tensor dst[4];

    layer_alloc(copy, m);
    copy->norm1 = from->norm1;
    copy->norm2 = from->norm2;
    dst[0] = copy->qkv;
    dst[1] = copy->o;
    dst[2] = copy->gate_up;
    dst[3] = copy->down;
    for (int i = 0; i < 4; i++)
        m->dev->ops->copy(m->dev, dst[i].data, src[i].data, tensor_nbytes(src[i]));
}

void layer_copy_free(struct layer *copy, const struct model *m)
{
    layer_free_weights(copy, m->dev);
}

size_t linear_zeros(const struct model *m, size_t layer, int linear)
{
    return m->dev->ops->count_zeros(m->dev, m->layers[layer].linears[linear].w);
}

double model_zero_share(const struct model *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->config.n_layers; i++)
        for (int l = 0; l < N_LINEARS; l++)
            n += linear_zeros(m, i, l);
    return (double)n / (double)config_n_linear_params(&m->config);
}

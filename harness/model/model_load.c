/* Reading, converting and making weights. */
#include "harness/model/model_load.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/memory.h"
#include "harness/base/procs.h"
#include "harness/model/parallel.h"
#include "harness/model/synthetic.h"

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

/* n_parts: dst is this device's part of so many, by rows. */
static int upload_named(const struct model *m, const char *name, struct tensor dst, size_t n_parts)
{
    struct device *dev = m->dev;
    struct tensor host, raw;

    if (checkpoint_tensor(m->checkpoint, name, dst.rows * n_parts, dst.cols, &host) != 0)
        return -1;
    if (n_parts > 1)
        host = parallel_part(m, host);
    raw = device_tensor(dev, host.dtype, host.rows, host.cols);
    dev->ops->upload(dev, raw.data, host.data, tensor_nbytes(host));
    dev->ops->convert(dev, dst, raw);
    device_tensor_free(dev, &raw);
    return 0;
}

/* A part of what one device would make. */
static void make_part(const struct model *m, const char *name, struct tensor dst)
{
    struct tensor whole;

    if (!m->comm) {
        make(m, name, dst);
        return;
    }
    whole = device_tensor(m->dev, dst.dtype, dst.rows * parallel_size(m), dst.cols);
    make(m, name, whole);
    m->dev->ops->copy(m->dev, dst.data, parallel_part(m, whole).data, tensor_nbytes(dst));
    device_tensor_free(m->dev, &whole);
}

int check_finite(const struct model *m, const char *name, struct tensor t)
{
    return m->dev->ops->all_finite(m->dev, t)
               ? 0
               : error("%s: tensor '%s' has values that are not finite%s", m->checkpoint->dir, name,
                       t.dtype == DTYPE_F16 ? " in f16" : "");
}

static int load_part(const struct model *m, const char *name, struct tensor dst, size_t n_parts)
{
    int rc;

    pthread_mutex_lock(&reading);
    rc = upload_named(m, name, dst, n_parts);
    pthread_mutex_unlock(&reading);
    return rc == 0 ? check_finite(m, name, dst) : -1;
}

int load_tensor(const struct model *m, const char *name, struct tensor dst)
{
    if (m->checkpoint)
        return load_part(m, name, dst, 1);
    make(m, name, dst);
    return 0;
}

/* Of a linear: the device's rows. */
static int load_linear(const struct model *m, const char *name, struct tensor dst)
{
    if (m->checkpoint)
        return load_part(m, name, dst, parallel_size(m));
    make_part(m, name, dst);
    return 0;
}

void linear_tensor_name(char out[96], size_t layer, int linear)
{
    snprintf(out, 96, "model.layers.%zu.%s.weight", layer, linear_names[linear]);
}

int load_linears(const struct model *m, size_t layer)
{
    char name[96];

    if (m->store) {
        layer_store_forget(m->store, layer);
        if (!layer_store_holds(m->store, layer))
            return 0;
        layer_store_claim(m->store, layer);
    }
    for (int i = 0; i < N_LINEARS; i++) {
        linear_tensor_name(name, layer, i);
        if (tensor_numel(m->layers[layer].linears[i].w) == 0)
            continue;
        if (load_linear(m, name, m->layers[layer].linears[i].w) != 0)
            return -1;
    }
    if (m->store)
        layer_store_set(m->store, layer);
    return 0;
}

int load_rest(const struct model *m, size_t layer)
{
    struct layer *l = &m->layers[layer];
    struct layer_form f = config_layer(&m->config, layer);
    size_t h = m->config.hidden;
    const struct {
        const char *name;
        struct tensor *t;
        size_t rows;
        int there;
        enum dtype dtype;
    } all[] = {
        {"input_layernorm", &l->norm1, 1, f.n_heads > 0, DTYPE_F32},
        {"post_attention_layernorm", &l->norm2, 1, f.intermediate > 0, DTYPE_F32},
        {"self_attn.o_bias", &l->o_bias, 1, f.o_bias, DTYPE_F32},
        {"mlp.down_bias", &l->down_bias, 1, f.down_bias, DTYPE_F32},
        {"self_attn.basis", &l->attention_basis, h, f.attention_basis, m->dtype},
        {"mlp.basis", &l->mlp_basis, h, f.mlp_basis, m->dtype},
    };
    char name[96];

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (!all[i].there)
            continue;
        snprintf(name, sizeof(name), "model.layers.%zu.%s.weight", layer, all[i].name);
        *all[i].t = device_tensor(m->dev, all[i].dtype, all[i].rows, h);
        if (load_tensor(m, name, *all[i].t) != 0)
            return -1;
    }
    return 0;
}

size_t store_offset(const struct model *m, int i)
{
    struct layer l;
    struct tensor *all[4];
    size_t at = 0;

    layer_shape(&l, m, 0); /* streamed layers are all alike */
    layer_merged(&l, all);
    for (int t = 0; t < i; t++)
        at += (tensor_nbytes(*all[t]) + 255) / 256 * 256;
    return at;
}

int must_stream(const struct model *m)
{
    size_t layers = config_n_linear_params(&m->config) * dtype_size(m->dtype) / parallel_size(m);
    size_t ends =
        (m->config.tied_head ? 1 : 2) * m->config.n_vocab * m->config.hidden * dtype_size(m->dtype);
    size_t left = parallel_least(m, m->dev->ops->memory_free(m->dev));

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

    layer_shape(&l, m, i);
    layer_merged(&l, all);
    for (int t = 0; t < 4; t++)
        all[t]->data = (char *)block + store_offset(m, t);
    layer_lay_linears(&l);
    pthread_mutex_lock(&reading);
    for (int t = 0; t < N_LINEARS && rc == 0; t++) {
        struct tensor w = l.linears[t].w;

        linear_tensor_name(name, i, t);
        rc = checkpoint_tensor(m->checkpoint, name, w.rows * parallel_size(m), w.cols, &host);
        if (rc == 0)
            convert_host(w, parallel_part(m, host));
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
        linear_tensor_name(name, i, t);
        make_part(m, name, m->layers[i].linears[t].w);
    }
}

/* As many layers as leave the host a quarter of its free memory, or fit the limit. */
static size_t n_held(const struct model *m, size_t host_limit)
{
    size_t nbytes = store_offset(m, 4), n = m->config.n_layers;
    size_t most =
        (host_limit ? host_limit : host_memory_free() / (size_t)procs_local_size() / 4 * 3) /
        nbytes;

    if (most >= n)
        return n;
    return most > 3 ? most - 3 : 0; /* blocks through which the others pass */
}

void open_store(struct model *m, size_t host_limit)
{
    struct layer_origin origin = {.arg = m};

    if (m->checkpoint)
        origin.read = read_layer;
    else
        origin.make = make_layer;
    m->store = layer_store_open(m->dev, m->config.n_layers, store_offset(m, 4),
                                n_held(m, host_limit), &origin);
}

/* Checkpoint folders. */
#include "harness/model/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/json.h"
#include "harness/base/sha256.h"
#include "harness/model/checkpoint_bitmask.h"

const struct st_tensor *checkpoint_find(const struct checkpoint *c, const char *name,
                                        const char **path)
{
    for (size_t s = 0; s < c->n_shards; s++) {
        const struct safetensors *st = &c->shards[s];
        size_t lo = 0, hi = st->n_tensors;

        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            int cmp = strcmp(st->tensors[mid].name, name);

            if (cmp == 0) {
                *path = st->path;
                return &st->tensors[mid];
            }
            if (cmp < 0)
                lo = mid + 1;
            else
                hi = mid;
        }
    }
    return NULL;
}

/* checkpoint_tensor() of what is stored as it is. */
static int plain_tensor(const struct checkpoint *c, const char *name, size_t rows, size_t cols,
                        struct tensor *out)
{
    const char *path;
    const struct st_tensor *t = checkpoint_find(c, name, &path);
    int vector = rows == 1 && t && t->n_dims == 1 && t->dims[0] == cols;
    int matrix = t && t->n_dims == 2 && t->dims[0] == rows && t->dims[1] == cols;

    if (!t)
        return error("%s: no tensor '%s'", c->dir, name);
    if (!vector && !matrix) {
        struct buf shape = {0};

        for (size_t i = 0; i < t->n_dims; i++)
            buf_addf(&shape, "%s%zu", i ? " x " : "", t->dims[i]);
        error("%s: tensor '%s' is %s, config.json says %zu x %zu", path, name, buf_str(&shape),
              rows, cols);
        buf_release(&shape);
        return -1;
    }
    if (t->dtype < 0)
        return error("%s: tensor '%s' is %s; duo reads F32, F16 and BF16", path, name,
                     t->dtype_name);
    *out = (struct tensor){(void *)t->data, (enum dtype)t->dtype, rows, cols};
    return 0;
}

int checkpoint_tensor(const struct checkpoint *c, const char *name, size_t rows, size_t cols,
                      struct tensor *out)
{
    return checkpoint_has_bitmask(c, name) ? checkpoint_read_bitmask(c, name, rows, cols, out)
                                           : plain_tensor(c, name, rows, cols, out);
}

/* The same, without reading it. */
static int check_tensor(const struct checkpoint *c, const char *name, size_t rows, size_t cols)
{
    struct tensor unused;

    return checkpoint_has_bitmask(c, name) ? checkpoint_check_bitmask(c, name, rows, cols)
                                           : plain_tensor(c, name, rows, cols, &unused);
}

/* The tensors of one decoder layer: "model.layers.N.", the name, ".weight". */
#define MAX_LAYER_TENSORS 13

struct wanted {
    const char *name;
    size_t rows, cols;
};

/* Their number. */
static size_t layer_tensors(const struct llama_config *k, size_t layer,
                            struct wanted out[MAX_LAYER_TENSORS])
{
    struct layer_form f = config_layer(k, layer);
    size_t q = f.n_heads * k->head_dim, kv = f.n_kv_heads * k->head_dim, n = 0;
    const struct wanted all[MAX_LAYER_TENSORS] = {
        {"input_layernorm", f.n_heads > 0, k->hidden},
        {"post_attention_layernorm", f.intermediate > 0, k->hidden},
        {"self_attn.q_proj", q, k->hidden},
        {"self_attn.k_proj", kv, k->hidden},
        {"self_attn.v_proj", kv, k->hidden},
        {"self_attn.o_proj", k->hidden, q},
        {"mlp.gate_proj", f.intermediate, k->hidden},
        {"mlp.up_proj", f.intermediate, k->hidden},
        {"mlp.down_proj", k->hidden, f.intermediate},
        {"self_attn.o_bias", (size_t)f.o_bias, k->hidden},
        {"mlp.down_bias", (size_t)f.down_bias, k->hidden},
        {"self_attn.basis", f.attention_basis ? k->hidden : 0, k->hidden},
        {"mlp.basis", f.mlp_basis ? k->hidden : 0, k->hidden},
    };

    for (size_t i = 0; i < MAX_LAYER_TENSORS; i++)
        if (all[i].rows && all[i].cols)
            out[n++] = all[i];
    return n;
}

static void layer_tensor_name(char out[96], size_t layer, const char *name)
{
    snprintf(out, 96, "model.layers.%zu.%s.weight", layer, name);
}

static int check_layer(const struct checkpoint *c, size_t layer)
{
    struct wanted want[MAX_LAYER_TENSORS];
    size_t n = layer_tensors(&c->config, layer, want);
    char name[96];

    for (size_t i = 0; i < n; i++) {
        layer_tensor_name(name, layer, want[i].name);
        if (check_tensor(c, name, want[i].rows, want[i].cols) != 0)
            return -1;
    }
    return 0;
}

/* Old checkpoints carry the rotary frequencies and tied heads; anything else is another model. */
static int is_ignored(const struct checkpoint *c, const char *name)
{
    const char *end = strstr(name, ".rotary_emb.inv_freq");

    return (end && strcmp(end, ".rotary_emb.inv_freq") == 0) ||
           (c->config.tied_head && strcmp(name, "lm_head.weight") == 0);
}

/* One of those that check_tensors calls for. */
static int is_wanted(const struct checkpoint *c, const char *name)
{
    struct wanted want[MAX_LAYER_TENSORS];
    char full[96];
    size_t layer, n;

    if (strcmp(name, "model.embed_tokens.weight") == 0 || strcmp(name, "model.norm.weight") == 0)
        return 1;
    if (sscanf(name, "model.layers.%4zu.", &layer) != 1)
        return strcmp(name, "lm_head.weight") == 0;
    n = layer < c->config.n_layers ? layer_tensors(&c->config, layer, want) : 0;
    for (size_t i = 0; i < n; i++) {
        layer_tensor_name(full, layer, want[i].name);
        if (strcmp(name, full) == 0)
            return 1;
    }
    return 0;
}

/* No shard holds what is of another architecture, or what an earlier one holds. */
static int check_shard(const struct checkpoint *c, const struct safetensors *st)
{
    for (size_t i = 0; i < st->n_tensors; i++) {
        const char *name = st->tensors[i].name, *path = "";
        char weight[128];

        /* A part of a compressed weight stands for it; one beside the weight itself is too much. */
        if (!(is_wanted(c, name) || (bitmask_weight_name(name, weight) && is_wanted(c, weight) &&
                                     checkpoint_has_bitmask(c, weight))) &&
            !is_ignored(c, name))
            return error("%s: tensor '%s' is not one of a LLaMA model of %zu layers", st->path,
                         name, c->config.n_layers);
        if (checkpoint_find(c, name, &path) != &st->tensors[i])
            return error("%s: tensor '%s' is also in %s", st->path, name, path);
    }
    return 0;
}

static int check_tensors(const struct checkpoint *c)
{
    const struct llama_config *k = &c->config;

    if (check_tensor(c, "model.embed_tokens.weight", k->n_vocab, k->hidden) ||
        check_tensor(c, "model.norm.weight", 1, k->hidden) ||
        (!k->tied_head && check_tensor(c, "lm_head.weight", k->n_vocab, k->hidden)))
        return -1;
    for (size_t i = 0; i < k->n_layers; i++)
        if (check_layer(c, i) != 0)
            return -1;
    for (size_t s = 0; s < c->n_shards; s++)
        if (check_shard(c, &c->shards[s]) != 0)
            return -1;
    return 0;
}

static int add_shard(struct checkpoint *c, const char *name)
{
    char *path = path_join(c->dir, name);
    int rc;

    c->shards = xrealloc(c->shards, (c->n_shards + 1) * sizeof(*c->shards));
    rc = safetensors_open(&c->shards[c->n_shards++], path);
    free(path);
    return rc;
}

/* Opens every file that the index names; then every name must be in the file that it is said to
 * be in. */
static int open_index(struct checkpoint *c, const char *path)
{
    cJSON *j = json_read(path);
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(j, "weight_map"), *v;
    int rc = -1;

    if (!j)
        return -1;
    if (!cJSON_IsObject(map)) {
        error("%s: no object 'weight_map'", path);
        goto out;
    }
    cJSON_ArrayForEach(v, map)
    {
        size_t s = 0;

        if (!cJSON_IsString(v) || strchr(v->valuestring, '/') || v->valuestring[0] == '.' ||
            !v->valuestring[0]) {
            error("%s: tensor '%s' names no file of this folder", path, v->string);
            goto out;
        }
        while (s < c->n_shards && strcmp(strrchr(c->shards[s].path, '/') + 1, v->valuestring) != 0)
            s++;
        if (s == c->n_shards && add_shard(c, v->valuestring) != 0)
            goto out;
    }
    cJSON_ArrayForEach(v, map)
    {
        const char *in = "no file";

        if (!checkpoint_find(c, v->string, &in) ||
            strcmp(strrchr(in, '/') + 1, v->valuestring) != 0) {
            error("%s: tensor '%s' should be in %s, is in %s", path, v->string, v->valuestring, in);
            goto out;
        }
    }
    rc = 0;
out:
    cJSON_Delete(j);
    return rc;
}

int checkpoint_open(struct checkpoint *c, const char *dir)
{
    char *single = path_join(dir, "model.safetensors");
    char *index = path_join(dir, "model.safetensors.index.json");
    int rc = -1;

    *c = (struct checkpoint){.dir = xstrdup(dir), .expanded = xcalloc(1, sizeof(void *))};
    if (config_read(&c->config, dir) != 0)
        goto out;
    if (file_exists(single))
        rc = add_shard(c, "model.safetensors");
    else if (file_exists(index))
        rc = open_index(c, index);
    else
        error("%s: neither model.safetensors nor model.safetensors.index.json is there", dir);
    if (rc == 0)
        rc = check_tensors(c);
out:
    free(single);
    free(index);
    if (rc != 0)
        checkpoint_close(c);
    return rc;
}

void checkpoint_close(struct checkpoint *c)
{
    for (size_t i = 0; i < c->n_shards; i++)
        safetensors_close(&c->shards[i]);
    if (c->expanded)
        free(*c->expanded);
    free(c->expanded);
    free(c->shards);
    free(c->dir);
    config_release(&c->config);
    *c = (struct checkpoint){0};
}

/* -1: not there, or none of duo's. */
static int dtype_of(const struct checkpoint *c, const char *name)
{
    const char *path;
    const struct st_tensor *t = checkpoint_find(c, name, &path);

    return t ? t->dtype : checkpoint_bitmask_dtype(c, name);
}

enum dtype checkpoint_dtype(const struct checkpoint *c)
{
    int t = dtype_of(c, "model.layers.0.self_attn.q_proj.weight");

    return (enum dtype)(t >= 0 ? t : dtype_of(c, "model.embed_tokens.weight"));
}

enum dtype checkpoint_tensor_dtype(const struct checkpoint *c, const char *name)
{
    int t = dtype_of(c, name);

    return t >= 0 ? (enum dtype)t : checkpoint_dtype(c);
}

static int by_name(const void *a, const void *b)
{
    const struct st_tensor *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

void checkpoint_sha256(const struct checkpoint *c, char out[65])
{
    const struct st_tensor **all = xmalloc(sizeof(*all));
    const struct llama_config *k = &c->config;
    struct buf text = {0};
    size_t n = 0;
    char(*hash)[65];

    for (size_t s = 0; s < c->n_shards; s++) {
        all = xrealloc(all, (n + c->shards[s].n_tensors) * sizeof(*all));
        for (size_t i = 0; i < c->shards[s].n_tensors; i++)
            all[n++] = &c->shards[s].tensors[i];
    }
    qsort(all, n, sizeof(*all), by_name);
    hash = xmalloc(n * sizeof(*hash));
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < n; i++)
        sha256_hex(all[i]->data, all[i]->nbytes, hash[i]);
    for (size_t i = 0; i < n; i++) {
        buf_addf(&text, "%s %s", all[i]->name, all[i]->dtype_name);
        for (size_t d = 0; d < all[i]->n_dims; d++)
            buf_addf(&text, " %zu", all[i]->dims[d]);
        buf_addf(&text, " %s\n", hash[i]);
    }
    buf_addf(&text, "%zu %zu %zu %zu %.9g %d %d %.17g %.17g %.17g %.17g %.17g\n", k->n_heads,
             k->n_kv_heads, k->head_dim, k->max_positions, (double)k->eps, k->tied_head,
             (int)k->rope.type, k->rope.theta, k->rope.factor, k->rope.low_freq_factor,
             k->rope.high_freq_factor, k->rope.original_max_positions);
    sha256_hex(buf_str(&text), text.n, out);
    buf_release(&text);
    free(hash);
    free(all);
}

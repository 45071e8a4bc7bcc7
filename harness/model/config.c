/* Strict reading of config.json. */
#include "harness/model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/json.h"

/* Positions times head_dim: a million positions of 128, which takes 1 GB of rotary angles. */
#define MOST_ANGLES ((size_t)1 << 27)

/* A size field in [1, max]; absent: fallback, if that is not 0. */
static int size_field(const cJSON *j, const char *key, const char *where, int64_t max,
                      size_t fallback, size_t *out)
{
    int64_t v = (int64_t)fallback;

    if ((fallback == 0 || json_has(j, key)) && json_int(j, key, where, 1, max, &v) != 0)
        return -1;
    *out = (size_t)v;
    return 0;
}

static int number_field(const cJSON *j, const char *key, const char *where, double fallback,
                        double *out)
{
    *out = fallback;
    if (!json_has(j, key))
        return 0;
    if (json_number(j, key, where, out) != 0)
        return -1;
    if (*out <= 0)
        return error("%s: field '%s' is not positive", where, key);
    return 0;
}

/* A token id; a list (LLaMA-3's eos) gives its first. */
static int id_field(const cJSON *j, const char *key, const char *where, int32_t *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(j, key);
    double d;

    *out = -1;
    if (cJSON_IsArray(v))
        v = cJSON_GetArrayItem(v, 0);
    if (!v || cJSON_IsNull(v))
        return 0;
    d = cJSON_IsNumber(v) ? v->valuedouble : -1;
    if (!(d >= 0 && d < 1e9 && d == (double)(int32_t)d))
        return error("%s: field '%s' is not a token id", where, key);
    *out = (int32_t)d;
    return 0;
}

static int refuse_true(const cJSON *j, const char *key, const char *where)
{
    int is_true = 0;

    if (json_has(j, key) && json_bool(j, key, where, &is_true) != 0)
        return -1;
    if (is_true)
        return error("%s: '%s' is true, which duo does not compute", where, key);
    return 0;
}

static int check_string(const cJSON *j, const char *key, const char *where, const char *want)
{
    const char *got = want;

    if (json_has(j, key) && json_string(j, key, where, &got) != 0)
        return -1;
    if (strcmp(got, want) != 0)
        return error("%s: '%s' is '%s'; duo computes '%s' only", where, key, got, want);
    return 0;
}

/* s: rope_scaling, rope_parameters, or NULL. */
static int read_scaling(struct llama_config *c, const cJSON *s, const char *where)
{
    const char *type = "default", *key = json_has(s, "rope_type") ? "rope_type" : "type";

    c->rope.type = ROPE_DEFAULT;
    if (json_has(s, key) && json_string(s, key, where, &type) != 0)
        return -1;
    if (strcmp(type, "default") == 0)
        return 0;
    if (strcmp(type, "linear") == 0)
        c->rope.type = ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0)
        c->rope.type = ROPE_LLAMA3;
    else
        return error("%s: rope type '%s' is not known; known: default, linear, llama3", where,
                     type);
    if (!json_has(s, "factor"))
        return error("%s: rope type '%s' needs 'factor'", where, type);
    if (number_field(s, "factor", where, 1, &c->rope.factor) ||
        number_field(s, "low_freq_factor", where, 1, &c->rope.low_freq_factor) ||
        number_field(s, "high_freq_factor", where, 4, &c->rope.high_freq_factor) ||
        number_field(s, "original_max_position_embeddings", where, 8192,
                     &c->rope.original_max_positions))
        return -1;
    if (c->rope.type == ROPE_LLAMA3 && c->rope.high_freq_factor <= c->rope.low_freq_factor)
        return error("%s: 'high_freq_factor' is not above 'low_freq_factor'", where);
    return 0;
}

static int read_rope(struct llama_config *c, const cJSON *j, const char *where)
{
    const cJSON *p = cJSON_GetObjectItemCaseSensitive(j, "rope_parameters");
    const cJSON *s = cJSON_GetObjectItemCaseSensitive(j, "rope_scaling");
    double partial;

    if (number_field(j, "rope_theta", where, 10000, &c->rope.theta) != 0)
        return -1;
    if (p && !cJSON_IsNull(p)) {
        if (!cJSON_IsObject(p))
            return error("%s: 'rope_parameters' is not an object", where);
        if (number_field(p, "rope_theta", where, c->rope.theta, &c->rope.theta) != 0)
            return -1;
        s = p;
    }
    if (s && !cJSON_IsNull(s) && !cJSON_IsObject(s))
        return error("%s: 'rope_scaling' is not an object", where);
    if (number_field(s, "partial_rotary_factor", where, 1, &partial) != 0)
        return -1;
    if (partial != 1)
        return error("%s: 'partial_rotary_factor' is %g; duo rotates whole heads only", where,
                     partial);
    return read_scaling(c, s, where);
}

static int read_sizes(struct llama_config *c, const cJSON *j, const char *where)
{
    double eps;

    if (size_field(j, "num_hidden_layers", where, 1024, 0, &c->n_layers) ||
        size_field(j, "hidden_size", where, 1 << 20, 0, &c->hidden) ||
        size_field(j, "intermediate_size", where, 1 << 22, 0, &c->intermediate) ||
        size_field(j, "num_attention_heads", where, 1 << 16, 0, &c->n_heads) ||
        size_field(j, "num_key_value_heads", where, 1 << 16, c->n_heads, &c->n_kv_heads) ||
        size_field(j, "vocab_size", where, 1 << 24, 0, &c->n_vocab) ||
        size_field(j, "max_position_embeddings", where, 1 << 24, 2048, &c->max_positions) ||
        number_field(j, "rms_norm_eps", where, 1e-6, &eps))
        return -1;
    c->eps = (float)eps;
    if (!(c->eps > 0 && isfinite(c->eps)))
        return error("%s: field 'rms_norm_eps' is %g, which is no positive float", where, eps);
    if (!json_has(j, "head_dim") && c->hidden % c->n_heads)
        return error("%s: hidden_size %zu is not a multiple of num_attention_heads %zu", where,
                     c->hidden, c->n_heads);
    if (size_field(j, "head_dim", where, 4096, c->hidden / c->n_heads, &c->head_dim) != 0)
        return -1;
    if (c->head_dim % 2)
        return error("%s: head_dim %zu is odd", where, c->head_dim);
    if (c->max_positions * c->head_dim > MOST_ANGLES)
        return error("%s: max_position_embeddings %zu times head_dim %zu is more than %zu: angles "
                     "that duo keeps in memory",
                     where, c->max_positions, c->head_dim, (size_t)MOST_ANGLES);
    if (c->n_heads % c->n_kv_heads)
        return error("%s: num_attention_heads %zu is not a multiple of num_key_value_heads %zu",
                     where, c->n_heads, c->n_kv_heads);
    return 0;
}

/* ---- duo's own form */

static int count_field(const cJSON *j, const char *key, const char *where, size_t most, size_t *out)
{
    int64_t v = 0;

    if (json_int(j, key, where, 0, (int64_t)most, &v) != 0)
        return -1;
    *out = (size_t)v;
    return 0;
}

static int flag_field(const cJSON *j, const char *key, const char *where, int *out)
{
    *out = 0;
    return json_has(j, key) ? json_bool(j, key, where, out) : 0;
}

static int read_form(struct layer_form *f, const struct llama_config *c, const cJSON *j,
                     const char *where)
{
    if (!cJSON_IsObject(j))
        return error("%s: not an object", where);
    if (count_field(j, "num_attention_heads", where, c->n_heads, &f->n_heads) ||
        count_field(j, "num_key_value_heads", where, c->n_kv_heads, &f->n_kv_heads) ||
        count_field(j, "intermediate_size", where, c->intermediate, &f->intermediate) ||
        flag_field(j, "o_bias", where, &f->o_bias) ||
        flag_field(j, "down_bias", where, &f->down_bias) ||
        flag_field(j, "attention_basis", where, &f->attention_basis) ||
        flag_field(j, "mlp_basis", where, &f->mlp_basis))
        return -1;
    if (!f->n_heads != !f->n_kv_heads || (f->n_heads && f->n_heads % f->n_kv_heads))
        return error("%s: %zu heads do not go with %zu heads of keys and values", where, f->n_heads,
                     f->n_kv_heads);
    return 0;
}

static int read_forms(struct llama_config *c, const cJSON *j, const char *where)
{
    const cJSON *all, *v;
    size_t n = 0;

    if (json_array(j, "duo_layers", where, &all) != 0)
        return -1;
    if (!json_has(j, "head_dim"))
        return error("%s: 'head_dim' is missing, which duo's own form states", where);
    if ((size_t)cJSON_GetArraySize(all) != c->n_layers)
        return error("%s: 'duo_layers' has %d layers, num_hidden_layers is %zu", where,
                     cJSON_GetArraySize(all), c->n_layers);
    c->forms = xcalloc(c->n_layers, sizeof(*c->forms));
    cJSON_ArrayForEach(v, all)
    {
        struct buf at = {0};
        int rc;

        buf_addf(&at, "%s: duo_layers %zu", where, n);
        rc = read_form(&c->forms[n++], c, v, buf_str(&at));
        buf_release(&at);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static int is_own_form(const cJSON *j)
{
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(j, "model_type");

    return cJSON_IsString(type) && strcmp(type->valuestring, OWN_MODEL_TYPE) == 0;
}

int config_parse(struct llama_config *c, const char *text, size_t nbytes, const char *where)
{
    cJSON *j = json_parse(text, nbytes, where);
    int rc = -1;

    *c = (struct llama_config){0};
    if (!j)
        return -1;
    if (!cJSON_IsObject(j)) {
        error("%s: not a JSON object", where);
        goto out;
    }
    if ((!is_own_form(j) && check_string(j, "model_type", where, "llama")) ||
        check_string(j, "hidden_act", where, "silu") || refuse_true(j, "attention_bias", where) ||
        refuse_true(j, "mlp_bias", where) || read_sizes(c, j, where) || read_rope(c, j, where) ||
        id_field(j, "bos_token_id", where, &c->bos) || id_field(j, "eos_token_id", where, &c->eos))
        goto out;
    if (json_has(j, "tie_word_embeddings") &&
        json_bool(j, "tie_word_embeddings", where, &c->tied_head) != 0)
        goto out;
    rc = is_own_form(j) ? read_forms(c, j, where) : 0;
out:
    if (rc != 0)
        config_release(c);
    cJSON_Delete(j);
    return rc;
}

int config_read(struct llama_config *c, const char *model_dir)
{
    char *path = path_join(model_dir, "config.json");
    struct buf text = {0};
    int rc = -1;

    *c = (struct llama_config){0};
    if (!dir_exists(model_dir))
        error("no model folder '%s'", model_dir);
    else if (file_read(path, &text) == 0)
        rc = config_parse(c, buf_str(&text), text.n, path);
    buf_release(&text);
    free(path);
    return rc;
}

void config_release(struct llama_config *c)
{
    free(c->forms);
    c->forms = NULL;
}

struct layer_form config_layer(const struct llama_config *c, size_t i)
{
    return c->forms ? c->forms[i]
                    : (struct layer_form){.n_heads = c->n_heads,
                                          .n_kv_heads = c->n_kv_heads,
                                          .intermediate = c->intermediate};
}

size_t config_n_linear_params(const struct llama_config *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_layers; i++) {
        struct layer_form f = config_layer(c, i);

        n += c->hidden * c->head_dim * (2 * f.n_heads + 2 * f.n_kv_heads) +
             3 * c->hidden * f.intermediate +
             c->hidden * c->hidden * (size_t)(f.attention_basis + f.mlp_basis);
    }
    return n;
}

size_t config_n_params(const struct llama_config *c)
{
    size_t n = config_n_linear_params(c) + c->hidden;

    for (size_t i = 0; i < c->n_layers; i++) {
        struct layer_form f = config_layer(c, i);

        n += c->hidden *
             ((f.n_heads > 0) + (f.intermediate > 0) + (size_t)(f.o_bias + f.down_bias));
    }
    return n + (c->tied_head ? 1 : 2) * c->n_vocab * c->hidden;
}

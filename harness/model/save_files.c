/* config.json and the files that go along. */
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/json.h"
#include "harness/base/json_edit.h"
#include "harness/model/save.h"

/* ---- config.json */

static int read_config(const struct model *m, struct buf *text)
{
    char *path = path_join(m->checkpoint->dir, "config.json");
    int rc = file_read(path, text);

    free(path);
    return rc;
}

static void set_number(struct buf *text, const char *key, size_t v)
{
    char s[32];

    snprintf(s, sizeof(s), "%zu", v);
    json_set_member(text, key, s);
}

/* Newer files call it "dtype". */
static void set_dtype(struct buf *text, const cJSON *config, int dtype)
{
    static const char *const names[] = {
        [DTYPE_F32] = "\"float32\"", [DTYPE_F16] = "\"float16\"", [DTYPE_BF16] = "\"bfloat16\""};

    if (dtype == SAVE_AS_READ)
        return;
    if (json_has(config, "dtype"))
        json_set_member(text, "dtype", names[dtype]);
    if (json_has(config, "torch_dtype") || !json_has(config, "dtype"))
        json_set_member(text, "torch_dtype", names[dtype]);
}

/* As the compressed-tensors library writes it for a model that is sparse and not quantised. */
static void set_bitmask(struct buf *text, double zero_share)
{
    struct buf v = {0};

    buf_addf(&v,
             "{\n    \"quant_method\": \"compressed-tensors\",\n"
             "    \"format\": \"dense\",\n"
             "    \"quantization_status\": \"compressed\",\n"
             "    \"config_groups\": {},\n    \"ignore\": [],\n"
             "    \"sparsity_config\": {\n      \"format\": \"sparse-bitmask\",\n"
             "      \"sparsity_structure\": \"unstructured\",\n"
             "      \"global_sparsity\": %.9g,\n      \"targets\": [\"Linear\"],\n"
             "      \"ignore\": [\"lm_head\"]\n    }\n  }",
             zero_share);
    json_set_member(text, "quantization_config", buf_str(&v));
    buf_release(&v);
}

static void add_form(struct buf *b, const struct layer *l)
{
    const struct {
        const char *name;
        int there;
    } parts[] = {{"o_bias", l->o_bias.data != NULL},
                 {"down_bias", l->down_bias.data != NULL},
                 {"attention_basis", l->attention_basis.data != NULL},
                 {"mlp_basis", l->mlp_basis.data != NULL}};

    buf_addf(b,
             "{\"num_attention_heads\": %zu, \"num_key_value_heads\": %zu, "
             "\"intermediate_size\": %zu",
             l->shape.n_heads, l->shape.n_kv_heads, l->intermediate);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].there)
            buf_addf(b, ", \"%s\": true", parts[i].name);
    buf_addc(b, '}');
}

/* What config.h says of duo's own form. */
static void set_own_form(struct buf *text, const struct model *m)
{
    struct buf v = {0};

    json_set_member(text, "model_type", "\"" OWN_MODEL_TYPE "\"");
    json_set_member(text, "architectures", "[\"DuoLlama\"]");
    set_number(text, "hidden_size", m->config.hidden);
    set_number(text, "head_dim", m->config.head_dim);
    json_set_member(text, "tie_word_embeddings", m->head.data == m->embed.data ? "true" : "false");
    buf_addf(&v, "%.9g", (double)m->config.eps);
    json_set_member(text, "rms_norm_eps", buf_str(&v));
    buf_release(&v);
    v = (struct buf){0};
    for (size_t i = 0; i < m->config.n_layers; i++) {
        buf_adds(&v, i ? ",\n    " : "[\n    ");
        add_form(&v, &m->layers[i]);
    }
    buf_adds(&v, "\n  ]");
    json_set_member(text, "duo_layers", buf_str(&v));
    buf_release(&v);
}

int save_config(const struct model *m, const char *dir, const struct save_options *o,
                double zero_share)
{
    struct buf text = {0};
    char *path = path_join(dir, "config.json");
    cJSON *config = NULL;
    int64_t n_layers;
    int rc = read_config(m, &text);

    if (rc == 0)
        config = json_parse(text.data, text.n, path);
    if (config && json_int(config, "num_hidden_layers", path, 1, 1 << 20, &n_layers) == 0) {
        set_dtype(&text, config, o->dtype);
        if ((size_t)n_layers != m->config.n_layers)
            set_number(&text, "num_hidden_layers", m->config.n_layers);
        if (!save_is_llama(m))
            set_own_form(&text, m);
        if (o->format == SAVE_BITMASK)
            set_bitmask(&text, zero_share);
        rc = file_write_atomic(path, text.data, text.n);
    } else {
        rc = -1;
    }
    cJSON_Delete(config);
    buf_release(&text);
    free(path);
    return rc;
}

/* ---- copies */

static int copy_if_there(const char *dir, const char *from, const char *name)
{
    char *src = path_join(from, name), *dst = path_join(dir, name);
    struct buf data = {0};
    int rc = 0;

    if (file_exists(src)) {
        rc = file_read(src, &data);
        if (rc == 0)
            rc = file_write_atomic(dst, buf_str(&data), data.n);
    }
    buf_release(&data);
    free(src);
    free(dst);
    return rc;
}

int save_companions(const char *dir, const char *from, const char *tokenizer)
{
    static const char *const of_model[] = {"generation_config.json", "LICENSE", "LICENSE.txt",
                                           "NOTICE", "USE_POLICY.md"};
    static const char *const of_tokenizer[] = {"tokenizer.model",
                                               "tokenizer.json",
                                               "tokenizer_config.json",
                                               "special_tokens_map.json",
                                               "vocab.json",
                                               "added_tokens.json",
                                               "merges.txt",
                                               "chat_template.jinja",
                                               "chat_template.json"};

    for (size_t i = 0; i < sizeof(of_model) / sizeof(of_model[0]); i++)
        if (copy_if_there(dir, from, of_model[i]) != 0)
            return -1;
    for (size_t i = 0; i < sizeof(of_tokenizer) / sizeof(of_tokenizer[0]); i++)
        if (copy_if_there(dir, tokenizer, of_tokenizer[i]) != 0)
            return -1;
    return 0;
}

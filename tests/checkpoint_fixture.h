/* Small checkpoints made on the fly, whole or spoiled, and errors counted line by line. */
#ifndef DUO_TESTS_CHECKPOINT_FIXTURE_H
#define DUO_TESTS_CHECKPOINT_FIXTURE_H

#include <sys/mman.h>
#include <unistd.h>

#include "harness/base/buf.h"
#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/json.h"
#include "harness/model/checkpoint.h"
#include "tests/test.h"

static char folder[] = "/tmp/duo-test-checkpoint-XXXXXX";

/* ---- errors: what is printed between the two calls must be one line, and be error_last() */

static int saved_stderr, capture;

static inline void capture_begin(void)
{
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    capture = memfd_create("stderr", 0);
    dup2(capture, STDERR_FILENO);
}

static inline int capture_end(void)
{
    char text[4096];
    ssize_t n;
    int lines = 0;

    fflush(stderr);
    n = pread(capture, text, sizeof(text), 0);
    for (ssize_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(capture);
    return lines;
}

/* expr is -1 with exactly one line on stderr, which holds `message`. */
#define FAILS(expr, message)                                                                       \
    do {                                                                                           \
        int rc_, lines_;                                                                           \
        capture_begin();                                                                           \
        rc_ = (expr);                                                                              \
        lines_ = capture_end();                                                                    \
        CHECK(rc_ == -1);                                                                          \
        CHECK(lines_ == 1);                                                                        \
        if (!strstr(error_last(), message))                                                        \
            CHECK_STR(error_last(), message);                                                      \
    } while (0)

static inline void write_file(const char *name, const void *data, size_t nbytes)
{
    char *path = path_join(folder, name);

    CHECK(file_write_atomic(path, data, nbytes) == 0);
    free(path);
}

static inline void remove_file(const char *name)
{
    char *path = path_join(folder, name);

    unlink(path);
    free(path);
}

/* ---- config.json: a good one, with the members of `change` put over it; "absent" takes one out */

#define GOOD_CONFIG                                                                                \
    "{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"num_hidden_layers\": 2, "             \
    "\"hidden_size\": 8, \"intermediate_size\": 12, \"num_attention_heads\": 2, "                  \
    "\"num_key_value_heads\": 1, \"vocab_size\": 10, \"max_position_embeddings\": 64, "            \
    "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"bos_token_id\": 1, "                       \
    "\"eos_token_id\": 2, \"tie_word_embeddings\": false, \"attention_bias\": false, "             \
    "\"rope_scaling\": null}"

static inline void write_config(const char *change)
{
    cJSON *j = cJSON_Parse(GOOD_CONFIG), *over = cJSON_Parse(change);
    char *text;

    CHECK(over != NULL);
    for (cJSON *v = over ? over->child : NULL; v; v = v->next) {
        cJSON_DeleteItemFromObjectCaseSensitive(j, v->string);
        if (!cJSON_IsString(v) || strcmp(v->valuestring, "absent") != 0)
            cJSON_AddItemToObject(j, v->string, cJSON_Duplicate(v, 1));
    }
    text = cJSON_Print(j);
    write_file("config.json", text, strlen(text));
    free(text);
    cJSON_Delete(j);
    cJSON_Delete(over);
}

/* ---- tensors */

struct made {
    char name[96];
    size_t rows, cols; /* rows 0: a vector */
};

struct model_parts {
    struct made t[64];
    size_t n;
    const char *dtype; /* "F32", "F16", "BF16" */
    const char *spoil; /* this tensor's fourth value becomes `value` */
    float value;
};

static inline void add_made(struct model_parts *m, const char *name, size_t rows, size_t cols)
{
    struct made *t = &m->t[m->n++];

    snprintf(t->name, sizeof(t->name), "%s", name);
    t->rows = rows;
    t->cols = cols;
}

/* The tensors that GOOD_CONFIG calls for. */
static inline struct model_parts good_parts(const char *dtype)
{
    static const struct {
        const char *name;
        size_t rows, cols;
    } layer[] = {
        {"input_layernorm", 0, 8},  {"post_attention_layernorm", 0, 8},
        {"self_attn.q_proj", 8, 8}, {"self_attn.k_proj", 4, 8},
        {"self_attn.v_proj", 4, 8}, {"self_attn.o_proj", 8, 8},
        {"mlp.gate_proj", 12, 8},   {"mlp.up_proj", 12, 8},
        {"mlp.down_proj", 8, 12},
    };
    struct model_parts m = {.dtype = dtype};
    char name[96];

    add_made(&m, "model.embed_tokens.weight", 10, 8);
    for (int l = 0; l < 2; l++)
        for (size_t i = 0; i < sizeof(layer) / sizeof(layer[0]); i++) {
            snprintf(name, sizeof(name), "model.layers.%d.%s.weight", l, layer[i].name);
            add_made(&m, name, layer[i].rows, layer[i].cols);
        }
    add_made(&m, "model.norm.weight", 0, 8);
    add_made(&m, "lm_head.weight", 10, 8);
    return m;
}

static inline struct made *find_made(struct model_parts *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->t[i].name, name) == 0)
            return &m->t[i];
    return NULL;
}

/* A value that depends on the tensor's name and the place, exact in every dtype. */
static inline float value_of(const struct model_parts *m, const struct made *t, size_t i)
{
    unsigned h = (unsigned)i * 7 + 1;

    if (m->spoil && strcmp(m->spoil, t->name) == 0 && i == 3)
        return m->value;
    for (const char *p = t->name; *p; p++)
        h = h * 31 + (unsigned char)*p;
    return (float)(h % 127) / 64 - 1;
}

static inline void add_value(struct buf *b, const char *dtype, float v)
{
    uint16_t half = strcmp(dtype, "F16") == 0 ? f32_to_f16(v) : f32_to_bf16(v);

    if (strcmp(dtype, "F32") == 0)
        buf_add(b, &v, 4);
    else
        buf_add(b, &half, 2);
}

/* 8 bytes of length, header, data. */
static inline void add_file(struct buf *file, const char *header, size_t n, const struct buf *data)
{
    for (int i = 0; i < 8; i++)
        buf_addc(file, (char)((uint64_t)n >> 8 * i));
    buf_add(file, header, n);
    buf_add(file, buf_str(data), data->n);
}

/* Tensors [first, end) as one safetensors file. */
static inline void write_shard(const struct model_parts *m, size_t first, size_t end,
                               const char *name)
{
    struct buf header = {0}, data = {0}, file = {0};

    buf_adds(&header, "{\"__metadata__\": {\"format\": \"pt\"}");
    for (size_t i = first; i < end; i++) {
        const struct made *t = &m->t[i];
        size_t n = (t->rows ? t->rows : 1) * t->cols, begin = data.n;

        for (size_t k = 0; k < n; k++)
            add_value(&data, m->dtype, value_of(m, t, k));
        buf_addf(&header, ", \"%s\": {\"dtype\": \"%s\", \"shape\": [", t->name, m->dtype);
        if (t->rows)
            buf_addf(&header, "%zu, ", t->rows);
        buf_addf(&header, "%zu], \"data_offsets\": [%zu, %zu]}", t->cols, begin, data.n);
    }
    buf_addc(&header, '}');
    add_file(&file, header.data, header.n, &data);
    write_file(name, file.data, file.n);
    buf_release(&header);
    buf_release(&data);
    buf_release(&file);
}

static inline void write_single(const struct model_parts *m)
{
    write_shard(m, 0, m->n, "model.safetensors");
}

/* Two shards, cut at tensor `cut`, and their index. shard_of NULL: the truth; else it names the
 * file that the index gives for tensor number `odd`. */
static inline void write_sharded(const struct model_parts *m, size_t cut, size_t odd,
                                 const char *shard_of)
{
    struct buf index = {0};

    write_shard(m, 0, cut, "a.safetensors");
    write_shard(m, cut, m->n, "b.safetensors");
    buf_adds(&index, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (size_t i = 0; i < m->n; i++)
        buf_addf(&index, "%s\"%s\": \"%s\"", i ? ", " : "", m->t[i].name,
                 shard_of && i == odd ? shard_of
                 : i < cut            ? "a.safetensors"
                                      : "b.safetensors");
    buf_adds(&index, "}}");
    write_file("model.safetensors.index.json", index.data, index.n);
    buf_release(&index);
}

static inline void remove_weights(void)
{
    static const char *const names[] = {"model.safetensors", "a.safetensors", "b.safetensors",
                                        "model.safetensors.index.json"};

    for (int i = 0; i < 4; i++)
        remove_file(names[i]);
}

#endif

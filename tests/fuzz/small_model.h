/* The smallest LLaMA checkpoint: one layer of one head, hidden size 2, four tokens. */
#ifndef DUO_TESTS_FUZZ_SMALL_MODEL_H
#define DUO_TESTS_FUZZ_SMALL_MODEL_H

#include "harness/base/buf.h"

static const char small_model_config[] =
    "{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"num_hidden_layers\": 1, "
    "\"hidden_size\": 2, \"intermediate_size\": 2, \"num_attention_heads\": 1, "
    "\"vocab_size\": 4, \"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": true}";

static const struct small_tensor {
    const char *name;
    size_t rows, cols;
} small_model_tensors[] = {
    {"model.embed_tokens.weight", 4, 2},
    {"model.norm.weight", 1, 2},
    {"model.layers.0.input_layernorm.weight", 1, 2},
    {"model.layers.0.post_attention_layernorm.weight", 1, 2},
    {"model.layers.0.self_attn.q_proj.weight", 2, 2},
    {"model.layers.0.self_attn.k_proj.weight", 2, 2},
    {"model.layers.0.self_attn.v_proj.weight", 2, 2},
    {"model.layers.0.self_attn.o_proj.weight", 2, 2},
    {"model.layers.0.mlp.gate_proj.weight", 2, 2},
    {"model.layers.0.mlp.up_proj.weight", 2, 2},
    {"model.layers.0.mlp.down_proj.weight", 2, 2},
};
#define SMALL_MODEL_TENSORS (sizeof(small_model_tensors) / sizeof(small_model_tensors[0]))

/* A safetensors file of tensors [first, end), in 16 bits, all zeros; the caller frees it. */
static inline char *small_model_file(size_t first, size_t end, size_t *nbytes)
{
    struct buf header = {0}, file = {0};
    size_t at = 0;

    buf_addc(&header, '{');
    for (size_t i = first; i < end; i++) {
        const struct small_tensor *t = &small_model_tensors[i];
        size_t next = at + 2 * t->rows * t->cols;

        buf_addf(&header, "%s\"%s\":{\"dtype\":\"F16\",\"shape\":", i > first ? "," : "", t->name);
        buf_addf(&header, t->rows == 1 ? "[%zu]" : "[%zu,2]", t->rows == 1 ? t->cols : t->rows);
        buf_addf(&header, ",\"data_offsets\":[%zu,%zu]}", at, next);
        at = next;
    }
    buf_addc(&header, '}');
    for (int i = 0; i < 8; i++)
        buf_addc(&file, (char)((uint64_t)header.n >> 8 * i));
    buf_add(&file, header.data, header.n);
    for (size_t i = 0; i < at; i++)
        buf_addc(&file, 0);
    buf_release(&header);
    *nbytes = file.n;
    return buf_detach(&file);
}

#endif

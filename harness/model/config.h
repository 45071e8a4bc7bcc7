/* config.json of a Hugging Face LLaMA checkpoint. */
#ifndef DUO_MODEL_CONFIG_H
#define DUO_MODEL_CONFIG_H

#include <stddef.h>
#include <stdint.h>

enum rope_type {
    ROPE_DEFAULT,
    ROPE_LINEAR, /* frequencies divided by factor */
    ROPE_LLAMA3, /* low frequencies divided by factor, the middle interpolated */
};

struct llama_config {
    size_t n_layers, hidden, intermediate, n_heads, n_kv_heads, head_dim, n_vocab;
    size_t max_positions; /* max_position_embeddings */
    float eps;            /* rms_norm_eps */
    int tied_head;        /* lm_head is the embedding */
    int32_t bos, eos;     /* -1: not stated */
    struct {
        enum rope_type type;
        double theta, factor, low_freq_factor, high_freq_factor;
        double original_max_positions;
    } rope;
};

/* Reads DIR/config.json: the LLaMA-2 and LLaMA-3 forms (rope_theta, rope_scaling) and the newer one
 * (rope_parameters). What duo does not compute (biases, another activation, another rope) is an
 * error, never ignored. 0, or error() naming the file and the field. */
int config_read(struct llama_config *c, const char *model_dir);

/* The same of a file's text; where: how a message begins. */
int config_parse(struct llama_config *c, const char *text, size_t nbytes, const char *where);

/* Parameters of the decoder's linears, and of the whole model. */
size_t config_n_linear_params(const struct llama_config *c);
size_t config_n_params(const struct llama_config *c);

#endif

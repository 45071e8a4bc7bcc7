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

/* What one layer has, in duo's own form. */
#define OWN_MODEL_TYPE "duo-llama"
struct layer_form {
    size_t n_heads, n_kv_heads, intermediate;          /* 0: no attention, no MLP */
    int o_bias, down_bias, attention_basis, mlp_basis; /* is it there (struct layer) */
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
    struct layer_form *forms; /* n_layers of them; NULL: a LLaMA, all layers alike. Whoever read the
                                 config owns it; copies of the struct borrow */
};

/* Reads DIR/config.json: the LLaMA-2 and LLaMA-3 forms (rope_theta, rope_scaling) and the newer one
 * (rope_parameters). What duo does not compute (biases, another activation, another rope) is an
 * error, never ignored. 0, or error() naming the file and the field.
 *
 * And duo's own form, of models whose layers differ: model_type "duo-llama", so that nobody takes it
 * for a LLaMA; the sizes are those of the largest layer, head_dim is stated, and "duo_layers" has an
 * object for each layer: num_attention_heads, num_key_value_heads, intermediate_size (0: not there),
 * and as far as true o_bias, down_bias, attention_basis, mlp_basis. Tensors are a LLaMA's, of the
 * layer's own sizes, none for what is not there (no norm either), and, N for the layer,
 *   model.layers.N.self_attn.o_bias.weight, mlp.down_bias.weight          h: added to the stream
 *   model.layers.N.self_attn.basis.weight, mlp.basis.weight    h x h: change of the stream's basis
 * before what the attention and the MLP give is added. */
int config_read(struct llama_config *c, const char *model_dir);

/* The same of a file's text; where: how a message begins. */
int config_parse(struct llama_config *c, const char *text, size_t nbytes, const char *where);

void config_release(struct llama_config *c);

/* What layer i has. */
struct layer_form config_layer(const struct llama_config *c, size_t i);

/* Parameters of the decoder's linears (changes of basis included), and of the whole model. */
size_t config_n_linear_params(const struct llama_config *c);
size_t config_n_params(const struct llama_config *c);

#endif

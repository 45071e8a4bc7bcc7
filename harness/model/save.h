/* Writing a model as a Hugging Face checkpoint: weights, config.json, and the files that go along
 * unchanged. */
#ifndef DUO_MODEL_SAVE_H
#define DUO_MODEL_SAVE_H

#include "harness/model/model.h"

enum save_format {
    SAVE_DENSE,   /* zeros are stored */
    SAVE_BITMASK, /* the decoder's linears in the "sparse-bitmask" form of compressed-tensors */
};

struct save_options {
    int dtype; /* enum dtype of every tensor, or SAVE_AS_READ: each one's own in the checkpoint */
    size_t shard_nbytes;
    enum save_format format;
};
#define SAVE_AS_READ (-1)

/* Rounds every weight of m, in place, to the type in which save_weights() will write it, so that
 * what is scored afterwards is what is saved. 0, or error() naming a tensor that the type cannot
 * hold (beyond f16's 65504). m was opened from a checkpoint. */
int save_round(struct model *m, int dtype);

/* An upper bound of the bytes that save_weights() will write: those of the dense form. */
size_t save_nbytes(const struct model *m, int dtype);

/* Is m a LLaMA: has it lost nothing but whole layers? Else its folder is of duo's own form
 * (config.h), which no other program reads. */
int save_is_llama(const struct model *m);

/* Writes the safetensors files of m to folder dir: safetensors_write.h. Values are converted to
 * their type in the file, to nearest even; after save_round() that changes none. 0 or error(). */
int save_weights(const struct model *m, const char *dir, const struct save_options *o);

/* Writes the checkpoint's config.json to dir, every byte as it was but for the members that differ:
 * torch_dtype (or dtype), num_hidden_layers, quantization_config (SAVE_BITMASK, with zero_share);
 * in duo's own form also what that differs in.
 * 0 or error(). */
int save_config(const struct model *m, const char *dir, const struct save_options *o,
                double zero_share);

/* Copies what goes along: the generation defaults and licence of model folder `from`, and the
 * tokenizer's files of folder `tokenizer`, as far as they are there. 0 or error(). */
int save_companions(const char *dir, const char *from, const char *tokenizer);

#endif

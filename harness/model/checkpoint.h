/* A Hugging Face LLaMA checkpoint folder: config.json and safetensors, single or sharded. */
#ifndef DUO_MODEL_CHECKPOINT_H
#define DUO_MODEL_CHECKPOINT_H

#include "harness/model/config.h"
#include "harness/model/safetensors.h"

struct checkpoint {
    char *dir;
    struct llama_config config;
    struct safetensors *shards;
    size_t n_shards;
    void **expanded; /* the last tensor that was not stored as it is */
};

/* Opens and checks everything: each tensor that the config calls for is there once, in F32, F16 or
 * BF16, in the right shape (a linear also in the form of checkpoint_bitmask.h); nothing is there that a LLaMA model does not have. Files are mapped
 * privately and never written. 0, or error() naming file and tensor. */
int checkpoint_open(struct checkpoint *c, const char *dir);
void checkpoint_close(struct checkpoint *c);

/* The rows x cols tensor of that name: a host view into the mapping, or, of a compressed linear, into
 * memory that the next call may change. 0, or error(). */
int checkpoint_tensor(const struct checkpoint *c, const char *name, size_t rows, size_t cols,
                      struct tensor *out);

/* What is stored under that name, and in which file; NULL if nothing is. No message. */
const struct st_tensor *checkpoint_find(const struct checkpoint *c, const char *name,
                                        const char **path);

/* The widest-used dtype: that of the first layer's q projection, of the embedding if it is gone. */
enum dtype checkpoint_dtype(const struct checkpoint *c);

/* Of one tensor, by name; where there is none, that of checkpoint_dtype(). */
enum dtype checkpoint_tensor_dtype(const struct checkpoint *c, const char *name);

/* SHA-256 over the model's content: name, dtype, shape and bytes of every tensor in the order of
 * names, and the config's numbers; the same for single and sharded files. 64 hex digits. */
void checkpoint_sha256(const struct checkpoint *c, char out[65]);

#endif

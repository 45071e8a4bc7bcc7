/* Writing safetensors: one file, or shards and their index, as Hugging Face names them. */
#ifndef DUO_MODEL_SAFETENSORS_WRITE_H
#define DUO_MODEL_SAFETENSORS_WRITE_H

#include <stddef.h>

/* A tensor to be written. */
struct st_item {
    char name[112];
    const char *dtype; /* as in the file: "F16", "I64", ... */
    size_t n_dims, dims[2];
    size_t nbytes; /* of dims and dtype */
};

/* Where the bytes come from: get() gives item i's, in host memory until its next call, or NULL
 * after error(). Items are asked for in the order in which they lie in the files. */
struct st_source {
    const void *(*get)(void *arg, size_t i);
    void *arg;
};

/* Bytes of one element of that type, 0 for a name that is not known. */
size_t safetensors_dtype_size(const char *dtype);

/* Writes DIR/model.safetensors, or, where all the data is more than shard_nbytes, files of at most
 * that much data each (a larger tensor has one of its own), model-00001-of-000NN.safetensors, and
 * model.safetensors.index.json. Items keep their order but for this: in a file those of larger
 * element types come first, so that every tensor lies at a multiple of its element size. Each file
 * is written to a temporary name, synced and renamed. 0 or error(); files written by then stay. */
int safetensors_write(const char *dir, const struct st_item *items, size_t n, size_t shard_nbytes,
                      struct st_source source);

#endif

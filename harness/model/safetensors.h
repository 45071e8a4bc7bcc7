/* The safetensors file format, parsed as hostile input. */
#ifndef DUO_MODEL_SAFETENSORS_H
#define DUO_MODEL_SAFETENSORS_H

#include <stddef.h>

#include "harness/base/file.h"
#include "harness/backend/tensor.h"

struct st_tensor {
    char *name;
    const char *dtype_name; /* as in the file: "F16", ... */
    int dtype;              /* enum dtype, or -1: one that duo does not compute with */
    size_t n_dims, dims[8];
    const void *data; /* into the mapping */
    size_t nbytes;
};

struct safetensors {
    char *path;
    struct file_map map; /* private: the file is never written */
    struct st_tensor *tensors;
    size_t n_tensors;
};

/* Checks the header's length, JSON, dtypes, shapes, and that the byte ranges follow each other
 * without overlap or gap to the end of the file. 0, or error() naming file and tensor. */
int safetensors_open(struct safetensors *st, const char *path);
void safetensors_close(struct safetensors *st);

/* Parses header text alone (for tests): nbytes of JSON, data_nbytes behind it. */
int safetensors_parse(struct safetensors *st, const char *header, size_t nbytes,
                      const unsigned char *data, size_t data_nbytes);

/* Parses a whole file in memory that outlives st (for fuzzing). st is zeroed but for its path. */
int safetensors_parse_file(struct safetensors *st, const unsigned char *bytes, size_t nbytes);

#endif

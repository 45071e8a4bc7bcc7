/* Matrices as the backends see them: a view without strides. */
#ifndef DUO_BACKEND_TENSOR_H
#define DUO_BACKEND_TENSOR_H

#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
};

/* Bytes of one element, and "f32", "f16", "bf16". */
size_t dtype_size(enum dtype t);
const char *dtype_name(enum dtype t);

/* Row-major rows x cols, rows contiguous. LLaMA's blocks are tokens x features (activations) or
 * n_out x n_in (weights). A view: whoever allocated `data` frees it. */
struct tensor {
    void *data; /* in the memory of the device that the tensor is used with */
    enum dtype dtype;
    size_t rows, cols;
};

static inline size_t tensor_numel(struct tensor t)
{
    return t.rows * t.cols;
}

static inline size_t tensor_nbytes(struct tensor t)
{
    return t.rows * t.cols * dtype_size(t.dtype);
}

/* Rows [first, first + n) of t. */
struct tensor tensor_rows(struct tensor t, size_t first, size_t n);

/* IEEE half and bfloat16 bits to float, exactly; and back, to nearest even. */
float f16_to_f32(uint16_t h);
float bf16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
uint16_t f32_to_bf16(float f);

#endif

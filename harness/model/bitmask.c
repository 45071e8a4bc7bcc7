/* Bitmask form. */
#include "harness/model/bitmask.h"

#include <string.h>

static int is_value(struct tensor w, size_t i)
{
    if (w.dtype == DTYPE_F32)
        return (((const uint32_t *)w.data)[i] & 0x7fffffffu) != 0;
    return (((const uint16_t *)w.data)[i] & 0x7fffu) != 0;
}

size_t bitmask_count(struct tensor w)
{
    size_t n = 0;

    for (size_t i = 0; i < tensor_numel(w); i++)
        n += (size_t)is_value(w, i);
    return n;
}

void bitmask_values(void *values, struct tensor w)
{
    size_t size = dtype_size(w.dtype);
    char *to = values;

    for (size_t i = 0; i < tensor_numel(w); i++)
        if (is_value(w, i)) {
            memcpy(to, (const char *)w.data + i * size, size);
            to += size;
        }
}

void bitmask_bits(uint8_t *bits, struct tensor w)
{
    size_t width = (w.cols + 7) / 8;

    memset(bits, 0, w.rows * width);
    for (size_t i = 0; i < w.rows; i++)
        for (size_t j = 0; j < w.cols; j++)
            if (is_value(w, i * w.cols + j))
                bits[i * width + j / 8] |= (uint8_t)(1u << j % 8);
}

void bitmask_offsets(int64_t *offsets, struct tensor w)
{
    int64_t n = 0;

    for (size_t i = 0; i < w.rows; i++) {
        offsets[i] = n;
        for (size_t j = 0; j < w.cols; j++)
            n += is_value(w, i * w.cols + j);
    }
}

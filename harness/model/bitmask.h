/* The "sparse-bitmask" form of the compressed-tensors library: of a matrix of n_out x n_in in host
 * memory, the values that are not 0, in order; one bit per element; and, per row, how many values
 * come before it. A negative zero is a zero. */
#ifndef DUO_MODEL_BITMASK_H
#define DUO_MODEL_BITMASK_H

#include <stdint.h>

#include "harness/backend/tensor.h"

/* Values that are not 0. */
size_t bitmask_count(struct tensor w);

/* values: bitmask_count() elements of w's type. */
void bitmask_values(void *values, struct tensor w);

/* bits: n_out rows of ceil(n_in / 8) bytes; column j is bit j % 8 of byte j / 8, 1 for a value. */
void bitmask_bits(uint8_t *bits, struct tensor w);

/* offsets: n_out numbers, offsets[0] = 0. */
void bitmask_offsets(int64_t *offsets, struct tensor w);

#endif

/* Weights as the CPU's gemv reads them: made by pack.c, read by gemv.c and by unpack.
 *
 * Rows are cut in blocks of `layout` (a multiple of 32, at most PACKED_MAX_ROWS), whose sums stay
 * in the first cache; the last block is shorter, its rows made up to a multiple of 8 by zeros.
 *
 *   PACKED_ROWS     the tensor
 *   PACKED_COLUMNS  data: for each block, for each column, the block's rows
 *   PACKED_NONZEROS data: for each block, for each column, the non-zeros, by ascending row, and 8
 *                   floats that nobody uses, because they are read 8 at a time;
 *                   index: a uint64_t for each block, the place of its first non-zero in data; then
 *                   for each block, for each column, a uint32_t, the place of the column's first
 *                   non-zero relative to the block's, and a bit for each of `layout` rows, set
 * where there is a non-zero: row r is bit r % 8 of byte r / 8
 *
 * Of a dense column of 2048 rows of which half are zero, 4096 of 8192 bytes remain, and 260 of
 * index.
 */
#ifndef DUO_BACKEND_CPU_PACKED_H
#define DUO_BACKEND_CPU_PACKED_H

#include <assert.h>

#include "harness/backend/cpu/cpu.h"

#define PACKED_MAX_ROWS 2048

static inline size_t packed_blocks(const struct packed *p)
{
    return (p->n_out + p->layout - 1) / p->layout;
}

/* Rows of block b, without and with those that make them up to a multiple of 8. */
static inline size_t packed_rows(const struct packed *p, size_t b)
{
    size_t left = p->n_out - b * p->layout;

    return left < p->layout ? left : p->layout;
}

static inline size_t packed_padded_rows(const struct packed *p, size_t b)
{
    return (packed_rows(p, b) + 7) / 8 * 8;
}

/* PACKED_COLUMNS: column c of block b. */
static inline float *packed_column(const struct packed *p, size_t b, size_t c)
{
    return (float *)p->data + b * p->layout * p->n_in + c * packed_padded_rows(p, b);
}

/* PACKED_NONZEROS: bytes of a column's entry in the index. */
static inline size_t packed_stride(const struct packed *p)
{
    return sizeof(uint32_t) + p->layout / 8;
}

/* The entry of column c of block b: the place, then the bits; and block b's first non-zero. */
static inline uint8_t *packed_entry(const struct packed *p, size_t b, size_t c)
{
    return (uint8_t *)p->index + packed_blocks(p) * sizeof(uint64_t) +
           (b * p->n_in + c) * packed_stride(p);
}

static inline float *packed_values(const struct packed *p, size_t b)
{
    return (float *)p->data + ((const uint64_t *)p->index)[b];
}

static inline uint32_t packed_first(const uint8_t *entry)
{
    uint32_t first;

    memcpy(&first, entry, sizeof(first));
    return first;
}

static inline int packed_has(const uint8_t *entry, size_t r)
{
    return entry[sizeof(uint32_t) + r / 8] >> r % 8 & 1;
}

#endif

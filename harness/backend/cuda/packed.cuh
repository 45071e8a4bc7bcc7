/* Layouts of packed weights on the GPU, shared by pack.cu and gemv_columns.cuh.
 *
 * Rows are cut into blocks of BLOCK_ROWS; the values of one column in one block of rows are a
 * segment, which is read as a whole or not at all. Segments follow each other column by column,
 * block after block, each a multiple of 16 bytes.
 *
 * PACKED_COLUMNS: a segment is the column's values, rows ascending, up to a whole 16 bytes (zeros);
 * all segments of a block are of one size.
 *
 * PACKED_NONZEROS: a segment is
 *     uint32 mask[4][8]    bit i of mask[j][q]: row 128 q + 32 j + i of the block is not zero
 *     uint16 start[4]      number of values before those of mask[j]
 *     T      values[]      the non-zeros in the order of the bits: by j, q, i
 * so that a lane that owns four rows of each mask[j][q] finds its values by counting bits of the
 * words mask[j] alone: 1.06 bits a position beside the values.
 *
 * Where segments lie is in tables, one for each panel of PANEL columns and block of rows: for each
 * group of 32 columns where its first segment begins (uint32), then for each column how far behind
 * that (uint16), both in units of 16 bytes, with one entry more to end the last segment. */
#ifndef DUO_BACKEND_CUDA_PACKED_CUH
#define DUO_BACKEND_CUDA_PACKED_CUH

#include "harness/backend/cuda/decode.cuh"

static constexpr unsigned BLOCK_ROWS = 1024, PANEL = 16384;
static constexpr unsigned MASK_NBYTES = BLOCK_ROWS / 8;
static constexpr unsigned HEAD_NBYTES = MASK_NBYTES + 8; /* before the values of a segment */

static inline unsigned n_row_blocks(size_t n_out)
{
    return n_blocks(n_out, BLOCK_ROWS);
}

/* Shape of a weight's tables. */
struct tables {
    unsigned cols;     /* of a panel, at most */
    unsigned n_groups; /* entries of 32 bits, a multiple of 4 */
    unsigned n_delta;  /* entries of 16 bits, a multiple of 8 */
    unsigned nbytes;   /* of one table */
    unsigned n_panels;
};

static inline struct tables tables_of(size_t n_in)
{
    struct tables t;

    t.cols = (unsigned)(n_in < PANEL ? n_in : PANEL);
    /* room to read eight columns and the one behind them, wherever the last one is */
    t.n_groups = ((t.cols + 8) / 32 + 1 + 3) / 4 * 4;
    t.n_delta = (t.cols / 8 + 2) * 8;
    t.nbytes = 4 * t.n_groups + 2 * t.n_delta;
    t.n_panels = n_in ? n_blocks(n_in, PANEL) : 0;
    return t;
}

/* The index of a packed weight: the tables (PACKED_NONZEROS), then for each block of rows a word
 * that gemv counts in and leaves 0, and one for the threshold it found last. */
static inline size_t tables_nbytes(const struct packed *p)
{
    struct tables t = tables_of(p->n_in);

    if (p->kind != PACKED_NONZEROS)
        return 0;
    return (size_t)t.nbytes * t.n_panels * n_row_blocks(p->n_out);
}

/* Values that a block's segment of PACKED_COLUMNS has room for. */
static __host__ __device__ inline unsigned segment_rows(unsigned n_out, unsigned block,
                                                        unsigned value_nbytes)
{
    unsigned rows = n_out - block * BLOCK_ROWS, per = 16 / value_nbytes;

    rows = rows < BLOCK_ROWS ? rows : BLOCK_ROWS;
    return (rows + per - 1) / per * per;
}

#endif

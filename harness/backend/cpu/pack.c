/* Packing weights for gemv, and back (layouts in packed.h). */
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/backend/cpu/packed.h"

#define TILE 16 /* columns that are turned at a time: a cache line of each row */
/* Not a power of 2: the columns of a tile would compete for the same lines of the cache. */
typedef float tile_column[PACKED_MAX_ROWS + 16];

/* As many blocks for each thread, and not more than it takes. */
static size_t rows_per_block(size_t n_out, size_t n_threads)
{
    size_t most = n_threads * PACKED_MAX_ROWS, n_blocks = n_threads * ((n_out + most - 1) / most);

    return (n_out + 32 * n_blocks - 1) / (32 * n_blocks) * 32;
}

/* Columns [c, c + n) of block b of w, turned: tile[i] is column c + i; -0 becomes +0. */
static void load_tile(tile_column tile[TILE], const struct packed *p, const float *w, size_t b,
                      size_t c, size_t n)
{
    size_t rows = packed_rows(p, b), padded = packed_padded_rows(p, b);

    for (size_t r = 0; r < padded; r++) {
        const float *row = w + (b * p->layout + r) * p->n_in + c;

        __builtin_prefetch(row + 24 * p->n_in); /* no processor foresees steps of whole rows */
        for (size_t i = 0; i < n; i++) {
            float v = r < rows ? row[i] : 0;

            tile[i][r] = v == 0 ? 0 : v;
        }
    }
}

static void store_tile(tile_column tile[TILE], const struct packed *p, float *w, size_t b, size_t c,
                       size_t n)
{
    for (size_t r = 0; r < packed_rows(p, b); r++)
        for (size_t i = 0; i < n; i++)
            w[(b * p->layout + r) * p->n_in + c + i] = tile[i][r];
}

static size_t tile_columns(const struct packed *p, size_t c)
{
    return p->n_in - c < TILE ? p->n_in - c : TILE;
}

/* ---- dense columns */

static void pack_columns(struct device *dev, struct packed *p, const float *w)
{
    p->nbytes = (p->n_out + 7) / 8 * 8 * p->n_in * sizeof(float);
    p->data = xalloc_aligned(p->nbytes);
#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t b = 0; b < packed_blocks(p); b++) {
        tile_column tile[TILE];

        for (size_t c = 0; c < p->n_in; c += TILE) {
            load_tile(tile, p, w, b, c, tile_columns(p, c));
            for (size_t i = 0; i < tile_columns(p, c); i++)
                memcpy(packed_column(p, b, c + i), tile[i],
                       packed_padded_rows(p, b) * sizeof(float));
        }
    }
}

static void unpack_columns_tile(tile_column tile[TILE], const struct packed *p, size_t b, size_t c)
{
    for (size_t i = 0; i < tile_columns(p, c); i++)
        memcpy(tile[i], packed_column(p, b, c + i), packed_rows(p, b) * sizeof(float));
}

/* ---- non-zeros */

/* Sets where each block's non-zeros begin; returns how many there are. */
static size_t place_blocks(struct device *dev, struct packed *p, const float *w)
{
    uint64_t *base = p->index, total = 0;

#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t b = 0; b < packed_blocks(p); b++) {
        const float *rows = w + b * p->layout * p->n_in;
        uint64_t n = 0;

        for (size_t i = 0; i < packed_rows(p, b) * p->n_in; i++)
            n += rows[i] != 0;
        base[b] = n;
    }
    for (size_t b = 0; b < packed_blocks(p); b++) {
        uint64_t n = base[b];

        base[b] = total;
        total += n;
    }
    return total;
}

static void pack_block(struct packed *p, const float *w, size_t b)
{
    tile_column tile[TILE];
    float *values = packed_values(p, b);
    uint32_t n = 0;

    for (size_t c = 0; c < p->n_in; c++) {
        uint8_t *entry = packed_entry(p, b, c);
        const float *column = tile[c % TILE];

        if (c % TILE == 0)
            load_tile(tile, p, w, b, c, tile_columns(p, c));
        memset(entry, 0, packed_stride(p));
        memcpy(entry, &n, sizeof(n));
        for (size_t r = 0; r < packed_rows(p, b); r++)
            if (column[r] != 0) {
                entry[sizeof(n) + r / 8] |= (uint8_t)(1 << r % 8);
                values[n++] = column[r];
            }
    }
}

static void pack_nonzeros(struct device *dev, struct packed *p, const float *w)
{
    size_t n_index = packed_blocks(p) * (sizeof(uint64_t) + p->n_in * packed_stride(p));

    assert(p->layout * p->n_in <= UINT32_MAX);
    p->index = xalloc_aligned(n_index);
    p->n_nonzero = place_blocks(dev, p, w);
    p->data = xalloc_aligned((p->n_nonzero + 8) * sizeof(float));
    memset((float *)p->data + p->n_nonzero, 0, 8 * sizeof(float));
    p->nbytes = n_index + p->n_nonzero * sizeof(float);
#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t b = 0; b < packed_blocks(p); b++)
        pack_block(p, w, b);
}

static void unpack_nonzeros_tile(tile_column tile[TILE], const struct packed *p, size_t b, size_t c)
{
    for (size_t i = 0; i < tile_columns(p, c); i++) {
        const uint8_t *entry = packed_entry(p, b, c + i);
        const float *v = packed_values(p, b) + packed_first(entry);

        for (size_t r = 0; r < packed_rows(p, b); r++)
            tile[i][r] = packed_has(entry, r) ? *v++ : 0;
    }
}

/* ---- the table's slots */

void cpu_pack(struct device *dev, struct packed *out, struct tensor w, enum packed_kind kind)
{
    assert(w.dtype == DTYPE_F32);
    *out = (struct packed){
        .kind = kind,
        .dtype = w.dtype,
        .n_out = w.rows,
        .n_in = w.cols,
        .layout = rows_per_block(w.rows, (size_t)cpu_threads(dev)),
    };
    if (kind == PACKED_NONZEROS) {
        pack_nonzeros(dev, out, w.data);
        return;
    }
    out->n_nonzero = tensor_numel(w) - cpu_count_zeros(dev, w);
    if (kind == PACKED_COLUMNS) {
        pack_columns(dev, out, w.data);
        return;
    }
    out->data = w.data;
    out->nbytes = tensor_nbytes(w);
}

static void unpack_rows(struct device *dev, float *w, const struct packed *p)
{
    const float *v = p->data;

#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t i = 0; i < p->n_out * p->n_in; i++)
        w[i] = v[i] == 0 ? 0 : v[i];
}

void cpu_unpack(struct device *dev, struct tensor w, const struct packed *p)
{
    assert(w.dtype == p->dtype && w.rows == p->n_out && w.cols == p->n_in);
    if (p->kind == PACKED_ROWS) {
        unpack_rows(dev, w.data, p);
        return;
    }
#pragma omp parallel for num_threads(cpu_threads(dev))
    for (size_t b = 0; b < packed_blocks(p); b++) {
        tile_column tile[TILE];

        for (size_t c = 0; c < p->n_in; c += TILE) {
            if (p->kind == PACKED_COLUMNS)
                unpack_columns_tile(tile, p, b, c);
            else
                unpack_nonzeros_tile(tile, p, b, c);
            store_tile(tile, p, w.data, b, c, tile_columns(p, c));
        }
    }
}

void cpu_packed_free(struct device *dev, struct packed *p)
{
    (void)dev;
    if (p->kind != PACKED_ROWS)
        xfree_aligned(p->data);
    xfree_aligned(p->index);
    *p = (struct packed){0};
}

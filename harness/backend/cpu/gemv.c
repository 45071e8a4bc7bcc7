/* One token's product with a packed weight (layouts in packed.h). What bounds it is the bytes of
 * the weights: each is read once. A processor that reads one run of memory does not use all of its
 * memory's rate, so several runs are read side by side: ROWS rows, or COLUMNS columns from
 * different parts of the matrix. A row's bits depend on its weights and on x alone: its products
 * are added in one order wherever blocks begin, COLUMNS of them before they meet the sum, which
 * halves the worst error.
 *
 * 4096 x 4096 on one core of a Zen 3 (32 KiB + 512 KiB of cache), A/B: per cent of zeros in weights
 * / input, times the speed of dense rows, which are read at 20 - 22 GB/s: columns 0/0 1.0,
 * 0/50 1.7; non-zeros 50/0 1.1, 50/50 1.5, 60/60 1.9. From the caches only instructions count,
 * about 1.5 for an element of the matrix: non-zeros 50/0 0.5, 50/50 0.75. What lost (columns 0/50,
 * non-zeros 50/50, 60/60): blocks of 256 rows, whose runs are too short (1.2, 1.1, 1.4);
 * neighbouring columns together, one run at 13 GB/s (1.0, 1.0, 1.5); 8 columns, short of registers
 * (1.2, 1.0, 1.3); asking ahead for all of a column instead of its first 128 bytes (50/0 loses a
 * fifth); 4 rows with two sums each (dense a twentieth slower). */
#include <stdlib.h>

#include "harness/base/error.h"
#include "harness/backend/cpu/packed.h"
#include "harness/backend/cpu/vec.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define ROWS 8
#define COLUMNS 4
#define PIECE (1 << 17) /* elements of w that are worth starting a thread for */

/* ---- rows */

/* Values p[0 .. n-1], n < 8, and zeros. */
static v8f load_some(const float *p, size_t n)
{
    float v[8] = {0};

    memcpy(v, p, n * sizeof(*p));
    return v8_load(v);
}

/* out[i] = or += w row i . x for n_rows (a constant) rows of k. */
ALWAYS_INLINE void dot_rows(float *out, const float *w, const float *x, size_t k, int n_rows,
                            int accumulate)
{
    v8f sum[ROWS] = {0};
    size_t j = 0;

    for (; j + 8 <= k; j += 8)
        for (int i = 0; i < n_rows; i++)
            sum[i] += v8_load(x + j) * v8_load(w + (size_t)i * k + j);
    if (j < k)
        for (int i = 0; i < n_rows; i++)
            sum[i] += load_some(x + j, k - j) * load_some(w + (size_t)i * k + j, k - j);
    for (int i = 0; i < n_rows; i++)
        out[i] = accumulate ? out[i] + v8_sum(sum[i]) : v8_sum(sum[i]);
}

static void gemv_rows(float *out, const float *x, const struct packed *w, int accumulate,
                      int n_threads)
{
#pragma omp parallel for num_threads(n_threads)
    for (size_t r = 0; r < w->n_out; r += ROWS) {
        const float *row = (const float *)w->data + r * w->n_in;

        if (r + ROWS <= w->n_out)
            dot_rows(out + r, row, x, w->n_in, ROWS, accumulate);
        else
            for (size_t i = 0; r + i < w->n_out; i++)
                dot_rows(out + r + i, row + i * w->n_in, x, w->n_in, 1, accumulate);
    }
}

/* ---- columns and non-zeros */

struct active {
    uint32_t column;
    float x;
};

/* The columns whose x is not zero, and one more, for whoever looks ahead. */
static size_t list_active(struct active *out, const float *x, size_t n)
{
    size_t k = 0;

    for (size_t c = 0; c < n; c++) {
        out[k] = (struct active){(uint32_t)c, x[c]};
        k += x[c] != 0;
    }
    out[k].column = 0;
    return k;
}

/* The processor does not foresee where the next column begins, but goes on from there by itself. */
ALWAYS_INLINE void ask_for(const float *column)
{
    __builtin_prefetch(column);
    __builtin_prefetch(column + 16);
}

/* sum += n (a constant) columns of block b: a[0], a[apart], ... */
ALWAYS_INLINE void add_columns(float *sum, const struct packed *w, size_t b, const struct active *a,
                               size_t apart, int n)
{
    size_t rows = packed_padded_rows(w, b);
    const float *v[COLUMNS];

    for (int i = 0; i < n; i++) {
        const struct active *at = a + (size_t)i * apart;

        v[i] = packed_column(w, b, at->column);
        ask_for(packed_column(w, b, at[1].column));
    }
    for (size_t r = 0; r < rows; r += 8) {
        v8f s = {0};

        for (int i = 0; i < n; i++)
            s += v8_set(a[(size_t)i * apart].x) * v8_load(v[i] + r);
        v8_store(sum + r, v8_load(sum + r) + s);
    }
}

/* For each byte of bits, for each of its 8 rows: which of the values that follow is the row's, with
 * the sign bit set; 0 where the bit is not set. */
static v8i lanes[256];

__attribute__((constructor)) static void fill_lanes(void)
{
    for (int m = 0; m < 256; m++)
        for (int i = 0, n = 0; i < 8; i++)
            lanes[m][i] = m >> i & 1 ? INT32_MIN | n++ : 0;
}

static const float *column_values(const struct packed *w, size_t b, const uint8_t *entry)
{
    return packed_values(w, b) + packed_first(entry);
}

ALWAYS_INLINE void add_nonzeros(float *sum, const struct packed *w, size_t b,
                                const struct active *a, size_t apart, int n)
{
    size_t groups = packed_padded_rows(w, b) / 8;
    const float *v[COLUMNS];
    const uint8_t *bits[COLUMNS];

    for (int i = 0; i < n; i++) {
        const struct active *at = a + (size_t)i * apart;
        const uint8_t *entry = packed_entry(w, b, at->column);

        v[i] = column_values(w, b, entry);
        bits[i] = entry + sizeof(uint32_t);
        ask_for(column_values(w, b, packed_entry(w, b, at[1].column)));
    }
    for (size_t g = 0; g < groups; g++) {
        v8f s = {0};

        for (int i = 0; i < n; i++) {
            uint8_t m = bits[i][g];
            v8f spread = __builtin_shuffle(v8_load(v[i]), lanes[m]);

            v[i] += __builtin_popcount(m);
            s += v8_set(a[(size_t)i * apart].x) * (v8f)((v8i)spread & (lanes[m] >> 31));
        }
        v8_store(sum + 8 * g, v8_load(sum + 8 * g) + s);
    }
}

ALWAYS_INLINE void add_some(float *sum, const struct packed *w, size_t b, const struct active *a,
                            size_t apart, int n)
{
    if (w->kind == PACKED_COLUMNS)
        add_columns(sum, w, b, a, apart, n);
    else
        add_nonzeros(sum, w, b, a, apart, n);
}

/* The active columns in COLUMNS parts side by side, then the few that are left. */
static void sum_block(float *sum, const struct packed *w, size_t b, const struct active *a,
                      size_t n_active)
{
    size_t part = n_active / COLUMNS;

    for (size_t i = 0; i < part; i++)
        add_some(sum, w, b, a + i, part, COLUMNS);
    for (size_t i = part * COLUMNS; i < n_active; i++)
        add_some(sum, w, b, a + i, 0, 1);
}

static void gemv_blocks(float *out, const float *x, const struct packed *w, int accumulate,
                        int n_threads)
{
    struct active *a = xmalloc((w->n_in + 1) * sizeof(*a));
    size_t n_active = list_active(a, x, w->n_in);

#pragma omp parallel for num_threads(n_threads)
    for (size_t b = 0; b < packed_blocks(w); b++) {
        float sum[PACKED_MAX_ROWS] __attribute__((aligned(64))), *o = out + b * w->layout;

        memset(sum, 0, packed_padded_rows(w, b) * sizeof(*sum));
        sum_block(sum, w, b, a, n_active);
        for (size_t r = 0; r < packed_rows(w, b); r++)
            o[r] = accumulate ? o[r] + sum[r] : sum[r];
    }
    free(a);
}

void cpu_gemv(struct device *dev, struct tensor out, struct tensor x, const struct packed *w,
              int accumulate)
{
    int n_threads = cpu_team(dev, w->n_out * w->n_in / PIECE);

    if (w->kind == PACKED_ROWS)
        gemv_rows(out.data, x.data, w, accumulate, n_threads);
    else
        gemv_blocks(out.data, x.data, w, accumulate, n_threads);
}

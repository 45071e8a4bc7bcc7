/* Dense products. The only file that sees OpenBLAS's BLAS.
 *
 * OpenBLAS gives a row of the result other bits when the number of rows changes, because its edge
 * kernels add in another order. In groups of CPU_ROW_GROUP rows only the main kernels run (12 rows
 * on AVX2, 16 or 24 on AVX-512 divide it), and each row gets the same bits in every place; so the
 * tail is padded. Columns are split at fixed places for the same reason. Threads take tiles. */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/backend/cpu/cpu.h"

#define TILE_ROWS (4 * CPU_ROW_GROUP)
#define TILE_COLS 512

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

void cpu_sgemm(int a_transposed, int b_transposed, size_t m, size_t n, size_t k, float alpha,
               const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
               size_t ldc)
{
    cblas_sgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans,
                b_transposed ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, alpha, a,
                (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

void cpu_rows_times(const float *x, size_t n_rows, size_t k, const float *w, size_t n, float beta,
                    float *out, size_t ldo, struct cpu_pad *pad)
{
    size_t whole = n_rows / CPU_ROW_GROUP * CPU_ROW_GROUP, tail = n_rows - whole;

    if (whole)
        cpu_sgemm(0, 1, whole, n, k, 1, x, k, w, k, beta, out, ldo);
    if (!tail)
        return;
    if (!pad->x) {
        pad->x = xalloc_aligned(CPU_ROW_GROUP * k * sizeof(float));
        pad->out = xalloc_aligned(CPU_ROW_GROUP * TILE_COLS * sizeof(float));
        memset(pad->x, 0, CPU_ROW_GROUP * k * sizeof(float));
    }
    memcpy(pad->x, x + whole * k, tail * k * sizeof(float));
    for (size_t r = 0; beta != 0 && r < tail; r++)
        memcpy(pad->out + r * n, out + (whole + r) * ldo, n * sizeof(float));
    if (beta != 0)
        memset(pad->out + tail * n, 0, (CPU_ROW_GROUP - tail) * n * sizeof(float));
    cpu_sgemm(0, 1, CPU_ROW_GROUP, n, k, 1, pad->x, k, w, k, beta, pad->out, n);
    for (size_t r = 0; r < tail; r++)
        memcpy(out + (whole + r) * ldo, pad->out + r * n, n * sizeof(float));
}

void cpu_linear(struct device *dev, struct tensor out, struct tensor x, struct tensor w,
                int accumulate)
{
    const float *xd = x.data, *wd = w.data;
    float *od = out.data, beta = accumulate ? 1 : 0;
    size_t k = x.cols, groups = (x.rows + CPU_ROW_GROUP - 1) / CPU_ROW_GROUP;
    size_t threads = (size_t)cpu_threads(dev);
    size_t tile = min_size(TILE_ROWS, (groups + threads - 1) / threads * CPU_ROW_GROUP);
    size_t n_row_tiles = tile ? (x.rows + tile - 1) / tile : 0;
    size_t n_col_tiles = (w.rows + TILE_COLS - 1) / TILE_COLS;

#pragma omp parallel num_threads(cpu_threads(dev))
    {
        struct cpu_pad pad = {0};

#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n_row_tiles * n_col_tiles; i++) {
            size_t r = i / n_col_tiles * tile, c = i % n_col_tiles * TILE_COLS;

            cpu_rows_times(xd + r * k, min_size(tile, x.rows - r), k, wd + c * k,
                           min_size(TILE_COLS, w.rows - c), beta, od + r * w.rows + c, w.rows,
                           &pad);
        }
        free(pad.x);
        free(pad.out);
    }
}

/* C += or = op(A) op(B) in tiles of fixed places, so that threads do not change bits. upper: only
 * tiles that touch the upper triangle. */
static void tiled(struct device *dev, struct tensor c, const float *a, size_t lda, int at,
                  const float *b, size_t ldb, int bt, size_t k, float beta, int upper)
{
    const size_t tile = 128;
    size_t mt = (c.rows + tile - 1) / tile, nt = (c.cols + tile - 1) / tile;

#pragma omp parallel for schedule(dynamic) num_threads(cpu_threads(dev))
    for (size_t t = 0; t < mt * nt; t++) {
        size_t i = t / nt * tile, j = t % nt * tile;

        if (!upper || j >= i)
            cpu_sgemm(at, bt, min_size(tile, c.rows - i), min_size(tile, c.cols - j), k, 1,
                      a + (at ? i : i * lda), lda, b + (bt ? j * ldb : j), ldb, beta,
                      (float *)c.data + i * c.cols + j, c.cols);
    }
}

void cpu_gram(struct device *dev, struct tensor h, struct tensor x)
{
    tiled(dev, h, x.data, x.cols, 1, x.data, x.cols, 0, x.rows, 1, 1);
}

void cpu_cross(struct device *dev, struct tensor c, struct tensor a, struct tensor b)
{
    tiled(dev, c, a.data, a.cols, 1, b.data, b.cols, 0, a.rows, 1, 0);
}

void cpu_multiply(struct device *dev, struct tensor c, struct tensor a, struct tensor b,
                  int b_transposed)
{
    tiled(dev, c, a.data, a.cols, 0, b.data, b.cols, b_transposed, a.cols, 0, 0);
}

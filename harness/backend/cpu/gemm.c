/* Dense products of calibration and pruning. The only file that sees OpenBLAS's BLAS. Threads take
 * tiles at fixed places, so that their number does not change a bit. */
#include <cblas.h>

#include "harness/backend/cpu/cpu.h"

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

/* C += or = op(A) op(B) in tiles of fixed places, so that threads do not change bits. upper: only
 * tiles that touch the upper triangle. */
static void tiled(struct device *dev, struct tensor c, const float *a, size_t lda, int at,
                  const float *b, size_t ldb, int bt, size_t k, float beta, int upper)
{
    const size_t tile = CPU_ROW_TILE;
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

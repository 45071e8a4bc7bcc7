/* Dense products: the only file that sees cuBLAS.
 *
 * linear must give a row the same bits whatever the number of rows. cuBLAS alone does not: it picks
 * another kernel, or splits the sum over k among blocks, when that number changes. Here the kernel
 * is chosen once per (n_out, n_in, types), for PLAN_ROWS rows and no workspace, without split-k or
 * any other reduction between blocks, and then serves every number of rows. Row-major out = x W^T is
 * column-major out^T = W x^T, so rows of x are columns of the product: each output element is one
 * block's walk over k in fixed steps, wherever in the tile its row lies, and neither alignment nor
 * leading dimensions change with the number of rows. check_kernels tests the bits.
 * Float32 runs on the FMA units (no TF32). */
#include <cublasLt.h>
#include <cublas_v2.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness/backend/cuda/device.cuh"

#define PLAN_ROWS 8192
#define MAX_CANDIDATES 32

struct plan {
    size_t n, k;
    enum dtype in, out;
    cublasLtMatmulDesc_t op;
    cublasLtMatmulAlgo_t algo;
};

struct gemm {
    cublasHandle_t blas;
    cublasLtHandle_t lt;
    struct plan *plans;
    size_t n_plans;
};

#define CUBLAS(call)                                                                               \
    do {                                                                                           \
        cublasStatus_t rc_ = (call);                                                               \
        if (rc_ != CUBLAS_STATUS_SUCCESS)                                                          \
            die("cuBLAS: %s: %s", #call, cublasGetStatusString(rc_));                              \
    } while (0)

static cudaDataType_t cuda_type(enum dtype t)
{
    return t == DTYPE_F32 ? CUDA_R_32F : t == DTYPE_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

struct gemm *gemm_open(cudaStream_t stream)
{
    struct gemm *g = (struct gemm *)xcalloc(1, sizeof(*g));

    CUBLAS(cublasCreate(&g->blas));
    CUBLAS(cublasSetStream(g->blas, stream));
    CUBLAS(cublasSetMathMode(g->blas, CUBLAS_DEFAULT_MATH)); /* float32 stays float32 */
    CUBLAS(cublasLtCreate(&g->lt));
    return g;
}

void gemm_close(struct gemm *g)
{
    for (size_t i = 0; i < g->n_plans; i++)
        CUBLAS(cublasLtMatmulDescDestroy(g->plans[i].op));
    free(g->plans);
    CUBLAS(cublasLtDestroy(g->lt));
    CUBLAS(cublasDestroy(g->blas));
    free(g);
}

const char *gemm_version(void)
{
    static char text[32];
    size_t v = cublasLtGetVersion();

    snprintf(text, sizeof(text), "cuBLAS %zu.%zu.%zu", v / 10000, v / 100 % 100, v % 100);
    return text;
}

/* ---- linear */

/* Largest power of two up to 16 that divides every row's start. */
static uint32_t row_alignment(size_t cols, enum dtype t)
{
    size_t nbytes = cols * dtype_size(t);
    uint32_t a = 16;

    while (nbytes % a)
        a /= 2;
    return a;
}

static bool sums_in_one_block(const cublasLtMatmulAlgo_t *algo)
{
    int32_t split = 1;
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
    size_t got;

    cublasLtMatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split,
                                         sizeof(split), &got);
    cublasLtMatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                                         sizeof(scheme), &got);
    return split <= 1 && scheme == CUBLASLT_REDUCTION_SCHEME_NONE;
}

/* W: n x k row-major = k x n column-major; x: k x t; out: n x t. */
struct layouts {
    cublasLtMatrixLayoutOpaque_t w, x, out;
};

static struct layouts layouts_of(const struct plan *p, size_t t)
{
    struct layouts l;

    CUBLAS(cublasLtMatrixLayoutInit(&l.w, cuda_type(p->in), p->k, p->n, (int64_t)p->k));
    CUBLAS(cublasLtMatrixLayoutInit(&l.x, cuda_type(p->in), p->k, t, (int64_t)p->k));
    CUBLAS(cublasLtMatrixLayoutInit(&l.out, cuda_type(p->out), p->n, t, (int64_t)p->n));
    return l;
}

static void plan_choose(struct gemm *g, struct plan *p)
{
    cublasLtMatmulHeuristicResult_t found[MAX_CANDIDATES];
    cublasLtMatmulPreferenceOpaque_t pref;
    cublasOperation_t trans = CUBLAS_OP_T;
    struct layouts l = layouts_of(p, PLAN_ROWS);
    uint32_t in = row_alignment(p->k, p->in), out = row_alignment(p->n, p->out);
    size_t no_workspace = 0;
    int n = 0;

    CUBLAS(cublasLtMatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CUBLAS(cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &trans,
                                          sizeof(trans)));
    CUBLAS(cublasLtMatmulPreferenceInit(&pref));
    CUBLAS(cublasLtMatmulPreferenceSetAttribute(&pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                &no_workspace, sizeof(no_workspace)));
    CUBLAS(cublasLtMatmulPreferenceSetAttribute(&pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                                &in, sizeof(in)));
    CUBLAS(cublasLtMatmulPreferenceSetAttribute(&pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                                &in, sizeof(in)));
    CUBLAS(cublasLtMatmulPreferenceSetAttribute(&pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                                                &out, sizeof(out)));
    CUBLAS(cublasLtMatmulPreferenceSetAttribute(&pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                                                &out, sizeof(out)));
    CUBLAS(cublasLtMatmulAlgoGetHeuristic(g->lt, p->op, &l.w, &l.x, &l.out, &l.out, &pref,
                                          MAX_CANDIDATES, found, &n));
    for (int i = 0; i < n; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS && sums_in_one_block(&found[i].algo)) {
            p->algo = found[i].algo;
            return;
        }
    die("cuBLAS: no kernel for a linear of %zu x %zu, %s to %s", p->n, p->k, dtype_name(p->in),
        dtype_name(p->out));
}

static const struct plan *plan_of(struct gemm *g, size_t n, size_t k, enum dtype in, enum dtype out)
{
    struct plan *p;

    for (size_t i = 0; i < g->n_plans; i++) {
        p = &g->plans[i];
        if (p->n == n && p->k == k && p->in == in && p->out == out)
            return p;
    }
    g->plans = (struct plan *)xrealloc(g->plans, (g->n_plans + 1) * sizeof(*g->plans));
    p = &g->plans[g->n_plans++];
    p->n = n;
    p->k = k;
    p->in = in;
    p->out = out;
    plan_choose(g, p);
    return p;
}

void cuda_linear(struct device *dev, struct tensor out, struct tensor x, struct tensor w,
                 int accumulate)
{
    struct gemm *g = cuda_dev(dev)->gemm;
    const struct plan *p;
    struct layouts l;
    float one = 1, beta = accumulate ? 1.0f : 0.0f;

    if (x.rows == 0)
        return;
    if (x.dtype != w.dtype)
        die("CUDA: linear of %s input and %s weight", dtype_name(x.dtype), dtype_name(w.dtype));
    p = plan_of(g, w.rows, w.cols, x.dtype, out.dtype);
    l = layouts_of(p, x.rows);
    CUBLAS(cublasLtMatmul(g->lt, p->op, &one, w.data, &l.w, x.data, &l.x, &beta, out.data, &l.out,
                          out.data, &l.out, &p->algo, NULL, 0, stream_of(dev)));
}

/* ---- statistics and pruning */

void gemm_f32(struct device *dev, int a_t, int b_t, size_t m, size_t n, size_t k, float alpha,
              const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
              size_t ldc)
{
    CUBLAS(cublasSgemm(cuda_dev(dev)->gemm->blas, a_t ? CUBLAS_OP_T : CUBLAS_OP_N,
                       b_t ? CUBLAS_OP_T : CUBLAS_OP_N, (int)m, (int)n, (int)k, &alpha, a, (int)lda,
                       b, (int)ldb, &beta, c, (int)ldc));
}

void gemm_solve_upper(struct device *dev, size_t m, size_t n, const double *r, size_t ldr,
                      double *b, size_t ldb)
{
    double one = 1;

    CUBLAS(cublasDtrsm(cuda_dev(dev)->gemm->blas, CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_UPPER,
                       CUBLAS_OP_N, CUBLAS_DIAG_NON_UNIT, (int)m, (int)n, &one, r, (int)ldr, b,
                       (int)ldb));
}

void cuda_multiply(struct device *dev, struct tensor c, struct tensor a, struct tensor b,
                   int b_transposed)
{
    /* column-major: C^T (p x m) = op(B)^T (p x n) A^T (n x m) */
    gemm_f32(dev, b_transposed, 0, c.cols, c.rows, a.cols, 1, (const float *)b.data, b.cols,
             (const float *)a.data, a.cols, 0, (float *)c.data, c.cols);
}

/* Row-major C (m x n, row stride ldc) += A^T B; A: t x m, B: t x n of row strides lda, ldb. */
static void accumulate_outer(struct device *dev, enum dtype type, size_t t, size_t m, size_t n,
                             const void *a, size_t lda, const void *b, size_t ldb, float *c,
                             size_t ldc)
{
    float one = 1;

    CUBLAS(cublasGemmEx(cuda_dev(dev)->gemm->blas, CUBLAS_OP_N, CUBLAS_OP_T, (int)n, (int)m, (int)t,
                        &one, b, cuda_type(type), (int)ldb, a, cuda_type(type), (int)lda, &one, c,
                        CUDA_R_32F, (int)ldc, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}

/* The upper triangle in panels of rows: panel i covers the columns from its diagonal on. */
void cuda_gram(struct device *dev, struct tensor h, struct tensor x)
{
    size_t k = x.cols, panel = (k / 8 + 127) / 128 * 128, e = dtype_size(x.dtype);

    if (x.rows == 0)
        return;
    panel = panel < 512 ? 512 : panel;
    for (size_t i = 0; i < k; i += panel) {
        const char *from = (const char *)x.data + i * e;

        accumulate_outer(dev, x.dtype, x.rows, k - i < panel ? k - i : panel, k - i, from, k, from,
                         k, (float *)h.data + i * k + i, k);
    }
}

void cuda_cross(struct device *dev, struct tensor c, struct tensor a, struct tensor b)
{
    if (a.dtype != b.dtype)
        die("CUDA: cross of %s and %s", dtype_name(a.dtype), dtype_name(b.dtype));
    if (a.rows)
        accumulate_outer(dev, a.dtype, a.rows, a.cols, b.cols, a.data, a.cols, b.data, b.cols,
                         (float *)c.data, c.cols);
}

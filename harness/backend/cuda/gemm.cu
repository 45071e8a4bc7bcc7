/* Dense products: the only file that sees cuBLAS.
 *
 * linear must give a row the same bits whatever the number of rows. cuBLAS alone does not: when
 * that number changes it may split the sum over k among blocks. Here a kernel is taken only if it
 * needs no workspace and no reduction between blocks. Row-major out = x W^T is column-major out^T =
 * W x^T, so rows of x are columns of the product: each output element is one block's walk over k in
 * fixed steps, wherever in the tile its row lies, and neither alignment nor leading dimensions
 * change with the number of rows. The first such kernel that cuBLAS proposes for (n_out, n_in,
 * types) and many rows defines the bits. Large weights are tuned once for few rows: each of
 * cuBLAS's proposals is run on random operands, and the fastest of those that give the first one's
 * bits, all of them, is kept. So the choice changes speed alone: on an H100 80GB with cuBLAS 13.1
 * all proposals for f16 agree, and one row of 4096 times 12288 x 4096 takes 38 us, not 60. For many
 * rows tuning gains nothing: the card is then held by its power limit (700 W, 1400 MHz), at 650 to
 * 700 TFLOP/s in f16. With normal operands and the card hot (8192 rows, four rounds of 40 ms, by
 * turns) the first proposal made 669 TFLOP/s for 12288 x 4096 (all eight: 608 - 669), 600 for 4096
 * x 4096 += f32 (532 - 612), 654 for 22016 x 4096 (637 - 677), 650 for 4096 x 11008 += f32 (575 -
 * 650). check_kernels tests the bits. Float32 runs on the FMA units (no TF32). */
#include <cublasLt.h>
#include <cublas_v2.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/backend/cuda/device.cuh"

#define MAX_PROPOSALS 16
#define TUNE_FROM ((size_t)1 << 21)    /* elements of a weight from which tuning pays */
#define TRIAL_OUTPUT ((size_t)1 << 26) /* elements of output that a trial makes at most */

#define MANY_ROWS 8192

/* Numbers of rows that kernels are tuned for; a batch takes the first that is not smaller, and a
 * larger one the kernel for MANY_ROWS. */
static const size_t tuned_rows[] = {16, 128, 1024};
#define N_TUNED (sizeof(tuned_rows) / sizeof(*tuned_rows))

/* out = x W^T, or x W if the weights lie the other way. */
struct problem {
    size_t n, k;
    enum dtype in, out;
    cublasOperation_t w_op;       /* T: weights n x k, row-major; N: k x n */
    uint32_t align_in, align_out; /* bytes that divide every row's start, at most 16 */
    bool operator==(const problem &) const = default;
};

struct plan {
    problem of;
    cublasLtMatmulDesc_t op;
    cublasLtMatmulAlgo_t first, tuned[N_TUNED];
    bool is_tuned[N_TUNED];
    signed char gated; /* gemm_gated */
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

/* The largest power of two up to 16 that divides the start of every row, at p and nbytes apart. */
static uint32_t alignment_of(const void *p, size_t nbytes)
{
    uint32_t a = 16;

    while (((uintptr_t)p | nbytes) % a)
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

/* Column-major. W: k x n (w_op T), or n x k; x: k x t; out: n x t. */
struct layouts {
    cublasLtMatrixLayoutOpaque_t w, x, out;
};

/* Row strides. */
struct strides {
    size_t w, x, out;
};

static struct strides dense_strides(const struct plan *p)
{
    return {p->of.w_op == CUBLAS_OP_T ? p->of.k : p->of.n, p->of.k, p->of.n};
}

static struct layouts layouts_of(const struct plan *p, size_t t, const struct strides &ld)
{
    bool t_w = p->of.w_op == CUBLAS_OP_T;
    struct layouts l;

    CUBLAS(cublasLtMatrixLayoutInit(&l.w, cuda_type(p->of.in), t_w ? p->of.k : p->of.n,
                                    t_w ? p->of.n : p->of.k, (int64_t)ld.w));
    CUBLAS(cublasLtMatrixLayoutInit(&l.x, cuda_type(p->of.in), p->of.k, t, (int64_t)ld.x));
    CUBLAS(cublasLtMatrixLayoutInit(&l.out, cuda_type(p->of.out), p->of.n, t, (int64_t)ld.out));
    return l;
}

/* cuBLAS's proposals for t rows that sum in one block, best first; returns how many. */
static int proposals(struct gemm *g, const struct plan *p, size_t t, cublasLtMatmulAlgo_t *out)
{
    cublasLtMatmulHeuristicResult_t found[MAX_PROPOSALS];
    cublasLtMatmulPreferenceOpaque_t pref;
    struct layouts l = layouts_of(p, t, dense_strides(p));
    size_t no_workspace = 0;
    int n = 0, kept = 0;

    CUBLAS(cublasLtMatmulPreferenceInit(&pref));
#define PREFER(what, value)                                                                        \
    CUBLAS(cublasLtMatmulPreferenceSetAttribute(&pref, CUBLASLT_MATMUL_PREF_##what, &value,        \
                                                sizeof(value)))
    PREFER(MAX_WORKSPACE_BYTES, no_workspace);
    PREFER(MIN_ALIGNMENT_A_BYTES, p->of.align_in);
    PREFER(MIN_ALIGNMENT_B_BYTES, p->of.align_in);
    PREFER(MIN_ALIGNMENT_C_BYTES, p->of.align_out);
    PREFER(MIN_ALIGNMENT_D_BYTES, p->of.align_out);
#undef PREFER
    CUBLAS(cublasLtMatmulAlgoGetHeuristic(g->lt, p->op, &l.w, &l.x, &l.out, &l.out, &pref,
                                          MAX_PROPOSALS, found, &n));
    for (int i = 0; i < n; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS && sums_in_one_block(&found[i].algo))
            out[kept++] = found[i].algo;
    return kept;
}

static struct plan *plan_of(struct gemm *g, const problem &of)
{
    cublasLtMatmulAlgo_t algos[MAX_PROPOSALS];
    struct plan *p;

    for (size_t i = 0; i < g->n_plans; i++)
        if (g->plans[i].of == of)
            return &g->plans[i];
    g->plans = (struct plan *)xrealloc(g->plans, (g->n_plans + 1) * sizeof(*g->plans));
    p = &g->plans[g->n_plans++];
    memset(p, 0, sizeof(*p));
    p->of = of;
    CUBLAS(cublasLtMatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CUBLAS(cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &of.w_op,
                                          sizeof(of.w_op)));
    if (proposals(g, p, MANY_ROWS, algos) == 0)
        die("cuBLAS: no kernel for a linear of %zu x %zu, %s to %s", p->of.n, p->of.k,
            dtype_name(p->of.in), dtype_name(p->of.out));
    p->first = algos[0];
    return p;
}

/* The plan for weights n x k whose rows lie side by side. */
static struct plan *linear_plan(struct gemm *g, size_t n, size_t k, enum dtype in, enum dtype out)
{
    return plan_of(g, {n, k, in, out, CUBLAS_OP_T, alignment_of(NULL, k * dtype_size(in)),
                       alignment_of(NULL, n * dtype_size(out))});
}

/* CUBLAS_STATUS_SUCCESS, or that the kernel does not take the problem. */
static cublasStatus_t run_strided(struct device *dev, const struct plan *p,
                                  const cublasLtMatmulAlgo_t *algo, void *out, const void *x,
                                  const void *w, size_t t, float alpha, float beta,
                                  const struct strides &ld)
{
    struct layouts l = layouts_of(p, t, ld);

    return cublasLtMatmul(cuda_dev(dev)->gemm->lt, p->op, &alpha, w, &l.w, x, &l.x, &beta, out,
                          &l.out, out, &l.out, algo, NULL, 0, stream_of(dev));
}

/* The same of rows side by side, with alpha 1. */
static cublasStatus_t run(struct device *dev, const struct plan *p,
                          const cublasLtMatmulAlgo_t *algo, void *out, const void *x, const void *w,
                          size_t t, float beta)
{
    return run_strided(dev, p, algo, out, x, w, t, 1, beta, dense_strides(p));
}

/* ---- tuning */

/* x: n values in (-1, 1), by a hash of their number */
template <typename T> __global__ void fill(T *x, size_t n)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        unsigned h = (unsigned)i * 2654435761u;

        h = (h ^ h >> 16) * 0x7feb352du;
        h = (h ^ h >> 15) * 0x846ca68bu;
        x[i] = from_f32<T>((float)(int)(h ^ h >> 16) * 0x1p-31f);
    }
}

/* *differ += words of a and b that differ, of n */
static __global__ void compare(unsigned *differ, const unsigned short *a, const unsigned short *b,
                               size_t n)
{
    unsigned d = 0;

    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x)
        d += a[i] != b[i];
    if (d)
        atomicAdd(differ, d);
}

void fill_trial(struct device *dev, struct tensor x)
{
    size_t n = tensor_numel(x);

    with_type(x.dtype, [&](auto z) {
        using T = decltype(z);

        fill<<<grid_for(dev, n, 256), 256, 0, stream_of(dev)>>>((T *)x.data, n);
    });
    LAUNCHED("fill");
}

bool same_words(struct device *dev, struct tensor a, struct tensor b)
{
    size_t n = tensor_nbytes(a) / 2;
    unsigned differ = 0, *d = (unsigned *)cuda_alloc(dev, sizeof(*d));

    cuda_zero(dev, d, sizeof(*d));
    compare<<<grid_for(dev, n, 256), 256, 0, stream_of(dev)>>>(d, (const unsigned short *)a.data,
                                                               (const unsigned short *)b.data, n);
    LAUNCHED("compare");
    cuda_download(dev, &differ, d, sizeof(differ));
    cuda_free(dev, d);
    return differ == 0;
}

signed char *gemm_gated(struct device *dev, size_t n, size_t k, enum dtype t)
{
    return &linear_plan(cuda_dev(dev)->gemm, n, k, t, t)->gated;
}

/* Operands of a trial of t rows; want: the first kernel's output. */
struct trial {
    size_t t, nbytes;
    void *x, *w, *want, *got;
    unsigned *differ;
    cudaEvent_t begin, end;
};

static void trial_open(struct device *dev, const struct plan *p, size_t rows, struct trial *tr)
{
    size_t e = dtype_size(p->of.in);

    tr->t = rows * p->of.n <= TRIAL_OUTPUT ? rows : TRIAL_OUTPUT / p->of.n + 1;
    tr->nbytes = tr->t * p->of.n * dtype_size(p->of.out);
    tr->x = cuda_alloc(dev, tr->t * p->of.k * e);
    tr->w = cuda_alloc(dev, p->of.n * p->of.k * e);
    tr->want = cuda_alloc(dev, tr->nbytes);
    tr->got = cuda_alloc(dev, tr->nbytes);
    tr->differ = (unsigned *)cuda_alloc(dev, sizeof(*tr->differ));
    fill_trial(dev, {tr->x, p->of.in, tr->t, p->of.k});
    fill_trial(dev, {tr->w, p->of.in, p->of.n, p->of.k});
    CU(cudaEventCreate(&tr->begin));
    CU(cudaEventCreate(&tr->end));
    CUBLAS(run(dev, p, &p->first, tr->want, tr->x, tr->w, tr->t, 0));
}

static void trial_close(struct device *dev, struct trial *tr)
{
    CU(cudaEventDestroy(tr->begin));
    CU(cudaEventDestroy(tr->end));
    cuda_free(dev, tr->x);
    cuda_free(dev, tr->w);
    cuda_free(dev, tr->want);
    cuda_free(dev, tr->got);
    cuda_free(dev, tr->differ);
}

/* Milliseconds of five runs, or infinite if the bits are not the first kernel's. */
static float trial_time(struct device *dev, const struct plan *p, const struct trial *tr,
                        const cublasLtMatmulAlgo_t *algo)
{
    unsigned differ = 0;
    float ms = 0;

    cuda_zero(dev, tr->got, tr->nbytes);
    cuda_zero(dev, tr->differ, sizeof(*tr->differ));
    if (run(dev, p, algo, tr->got, tr->x, tr->w, tr->t, 0) != CUBLAS_STATUS_SUCCESS)
        return INFINITY;
    compare<<<grid_for(dev, tr->nbytes / 2, 256), 256, 0, stream_of(dev)>>>(
        tr->differ, (const unsigned short *)tr->want, (const unsigned short *)tr->got,
        tr->nbytes / 2);
    LAUNCHED("compare");
    CU(cudaEventRecord(tr->begin, stream_of(dev)));
    for (int i = 0; i < 5; i++)
        CUBLAS(run(dev, p, algo, tr->got, tr->x, tr->w, tr->t, 0));
    CU(cudaEventRecord(tr->end, stream_of(dev)));
    cuda_download(dev, &differ, tr->differ, sizeof(differ));
    CU(cudaEventElapsedTime(&ms, tr->begin, tr->end));
    return differ ? INFINITY : ms;
}

static void tune(struct device *dev, struct plan *p, size_t bucket)
{
    cublasLtMatmulAlgo_t algos[MAX_PROPOSALS];
    float best = INFINITY, least[MAX_PROPOSALS];
    struct trial tr;
    int n;

    p->tuned[bucket] = p->first;
    p->is_tuned[bucket] = true;
    if (p->of.n * p->of.k < TUNE_FROM)
        return;
    n = proposals(cuda_dev(dev)->gemm, p, tuned_rows[bucket], algos);
    trial_open(dev, p, tuned_rows[bucket], &tr);
    for (int i = 0; i < 2 * n; i++) { /* two rounds: the card's clock moves */
        float ms = trial_time(dev, p, &tr, &algos[i % n]);

        least[i % n] = i < n || ms < least[i % n] ? ms : least[i % n];
    }
    for (int i = 0; i < n; i++)
        if (least[i] < best) {
            best = least[i];
            p->tuned[bucket] = algos[i];
        }
    trial_close(dev, &tr);
}

void cuda_linear(struct device *dev, struct tensor out, struct tensor x, struct tensor w,
                 int accumulate)
{
    const cublasLtMatmulAlgo_t *algo;
    struct plan *p;
    size_t i = 0;

    if (x.rows == 0)
        return;
    if (x.dtype != w.dtype)
        die("CUDA: linear of %s input and %s weight", dtype_name(x.dtype), dtype_name(w.dtype));
    p = linear_plan(cuda_dev(dev)->gemm, w.rows, w.cols, x.dtype, out.dtype);
    while (i < N_TUNED && x.rows > tuned_rows[i])
        i++;
    if (i < N_TUNED && !p->is_tuned[i])
        tune(dev, p, i);
    algo = i < N_TUNED ? &p->tuned[i] : &p->first;
    CUBLAS(run(dev, p, algo, out.data, x.data, w.data, x.rows, accumulate ? 1 : 0));
}

/* ---- statistics and pruning. gram and cross of f16 or bf16 run on the matrix units: a product of
 * two such numbers has at most 22 bits and is exact in float32, in which the sums are held; only
 * the additions round. Over the 2048 rows of a call that is at most 2048 * 2^-23 = 2.4e-4 of the
 * sum of magnitudes, about 5e-6 where errors go both ways. The inputs are rounded no further: they
 * are what the model itself multiplies; a residual (subtract) is rounded once more, to T, 2^-11 for
 * f16. Damping adds 1e-2 of the mean diagonal before the factor, which is taken in float64: a
 * thousand times the sums' rounding. Float32 inputs are multiplied on the FMA units. */

void gemm_rows(struct device *dev, int b_t, size_t rows, size_t n, size_t k, float alpha,
               const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
               size_t ldc)
{
    const size_t e = sizeof(float);
    uint32_t of_a = alignment_of(a, lda * e), of_b = alignment_of(b, ldb * e);
    struct plan *p =
        plan_of(cuda_dev(dev)->gemm, {n, k, DTYPE_F32, DTYPE_F32, b_t ? CUBLAS_OP_T : CUBLAS_OP_N,
                                      of_a < of_b ? of_a : of_b, alignment_of(c, ldc * e)});

    CUBLAS(run_strided(dev, p, &p->first, c, a, b, rows, alpha, beta, {ldb, lda, ldc}));
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
    gemm_rows(dev, b_transposed, c.rows, c.cols, a.cols, 1, (const float *)a.data, a.cols,
              (const float *)b.data, b.cols, 0, (float *)c.data, c.cols);
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

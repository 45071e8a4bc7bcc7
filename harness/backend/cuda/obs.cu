/* The optimal-brain-surgeon walk (METHOD sections 3 and 4; contract in backend.h).
 *
 * Per block of B columns: the threshold by radix select; the walk; then the lazy update of the
 * columns to the right as two f32 products. In the walk a warp owns ROWS rows, its lanes the
 * columns lane, lane + 32, ... of the block, in registers; step p broadcasts w[p] by shuffle and
 * updates the columns from p on with row p of U and D, read through L1: all warps read the same B x
 * B triangle. The loop over p is unrolled by registers, so that columns left of p's register cost
 * nothing.
 *
 * NVIDIA H100 80GB, f32, blocks of 128, with D, its products still by cublasSgemm: 4096 x 4096
 * 9.3 ms, 11008 x 4096 16.2 ms, 4096 x 11008 42.5 ms (23 TFLOP/s; the two products alone would take
 * 20 ms). The solving of a 70B layer takes as long with gemm_rows as it did then: 3.7 s. */
#include "harness/backend/cuda/device.cuh"

#define WARPS 4
#define ROWS 4
#define MAX_NM 32

struct walk {
    float *w;                  /* rows x ld; the block begins at column first */
    const float *u, *d, *coef; /* u, d: ld x ld; coef: ld; d NULL: no D term */
    float *err, *v;            /* rows x n: (w - q) / U_pp, and the value that D multiplies */
    const float *threshold;    /* NULL: nothing is pruned by threshold */
    unsigned rows, ld, first, n, nm_n, nm_m;
    int lazy_exact;
};

/* Marks in `prune` (bit c: the lane's column lane + 32 c) the nm_n smallest scores of the columns
 * [p, p + m) of the block, lowest column first among equals; s: m scores in shared memory. */
template <int C>
__device__ __forceinline__ unsigned mark_nm(const float (&w)[C], unsigned prune, const walk &k,
                                            unsigned p, float *s)
{
    const unsigned lane = threadIdx.x % 32, m = min(k.nm_m, k.n - p);

#pragma unroll
    for (int c = 0; c < C; c++) {
        unsigned j = lane + 32 * c - p;

        if (j < m)
            s[j] = score_of(w[c], k.coef[k.first + lane + 32 * c], 1);
    }
    __syncwarp();
#pragma unroll
    for (int c = 0; c < C; c++) {
        unsigned j = lane + 32 * c - p, rank = 0;

        if (j >= m)
            continue;
        for (unsigned i = 0; i < m; i++)
            rank += s[i] < s[j] || (s[i] == s[j] && i < j);
        prune |= rank < k.nm_n ? 1u << c : 0;
    }
    __syncwarp();
    return prune;
}

/* B <= 32 C columns. */
template <int C> __global__ void __launch_bounds__(32 * WARPS) walk_block(const walk k)
{
    __shared__ float scratch[WARPS][MAX_NM];
    const unsigned lane = threadIdx.x % 32;
    const unsigned row = (blockIdx.x * WARPS + threadIdx.x / 32) * ROWS;
    const float threshold = k.threshold ? *k.threshold : 0;
    float w[ROWS][C];
    unsigned prune[ROWS] = {};

#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int c = 0; c < C; c++) {
            unsigned j = lane + 32 * c;
            bool inside = row + r < k.rows && j < k.n;

            w[r][c] = inside ? k.w[(size_t)(row + r) * k.ld + k.first + j] : 0;
            if (k.threshold && inside && score_of(w[r][c], k.coef[k.first + j], 1) <= threshold)
                prune[r] |= 1u << c;
        }
#pragma unroll
    for (int pc = 0; pc < C; pc++)
        for (unsigned pl = 0; pl < 32; pl++) {
            const unsigned p = 32 * pc + pl;
            const size_t at = (size_t)(k.first + p) * k.ld + k.first;
            float u[C], d[C], err[ROWS], before[ROWS], u_pp;

            if (p >= k.n)
                break;
#pragma unroll
            for (int c = pc; c < C; c++) {
                bool right = lane + 32 * c < k.n && lane + 32 * c > p;

                u[c] = right ? k.u[at + lane + 32 * c] : 0;
                d[c] = right && k.d ? k.d[at + lane + 32 * c] : 0;
            }
            u_pp = k.u[at + p];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                bool zero;

                if (k.nm_m && p % k.nm_m == 0)
                    prune[r] = mark_nm<C>(w[r], prune[r], k, p, scratch[threadIdx.x / 32]);
                zero = __shfl_sync(~0u, prune[r], pl) >> pc & 1;
                before[r] = __shfl_sync(~0u, w[r][pc], pl);
                err[r] = zero ? before[r] / u_pp : 0;
#pragma unroll
                for (int c = pc; c < C; c++)
                    w[r][c] = w[r][c] - err[r] * u[c] + before[r] * d[c];
                if (lane == pl) {
                    w[r][pc] = zero ? 0 : before[r];
                    if (row + r < k.rows) {
                        k.err[(size_t)(row + r) * k.n + p] = err[r];
                        k.v[(size_t)(row + r) * k.n + p] = k.lazy_exact ? before[r] : w[r][pc];
                    }
                }
            }
        }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int c = 0; c < C; c++)
            if (row + r < k.rows && lane + 32 * c < k.n)
                k.w[(size_t)(row + r) * k.ld + k.first + lane + 32 * c] = w[r][c];
}

static void walk_launch(struct device *dev, const walk &k)
{
    unsigned blocks = n_blocks(k.rows, WARPS * ROWS);

    if (k.n <= 32)
        walk_block<1><<<blocks, 32 * WARPS, 0, stream_of(dev)>>>(k);
    else if (k.n <= 64)
        walk_block<2><<<blocks, 32 * WARPS, 0, stream_of(dev)>>>(k);
    else if (k.n <= 128)
        walk_block<4><<<blocks, 32 * WARPS, 0, stream_of(dev)>>>(k);
    else
        walk_block<8><<<blocks, 32 * WARPS, 0, stream_of(dev)>>>(k);
    LAUNCHED("obs_prune");
}

/* *t (device) = the threshold over the block; scratch: rows x n floats for each process that shares
 * the matrix. */
static void block_threshold(struct device *dev, float *t, const walk &k,
                            const struct obs_options *opt, float *scratch)
{
    struct comm *c = opt->comm;
    struct scores s = {k.w, k.coef, k.rows, k.ld, k.first, k.n, 1};

    if (c) {
        size_t part = (size_t)k.rows * k.n;
        float *mine = scratch + (size_t)c->rank * part;

        cuda_copy_columns(dev, {mine, DTYPE_F32, k.rows, k.n}, 0, {k.w, DTYPE_F32, k.rows, k.ld},
                          k.first, k.n);
        c->all_gather(c, scratch, mine, part * sizeof(*mine));
        s = {scratch, k.coef + k.first, s.rows * (size_t)c->size, k.n, 0, k.n, 1};
    }
    select_score(dev, t, &s, sparsity_index(s.rows * s.run, opt->sparsity));
}

/* w[:, right of the block] -= err U - v D */
static void lazy_update(struct device *dev, const walk &k)
{
    size_t right = k.first + k.n, m = k.ld - right, from = (size_t)k.first * k.ld + right;

    if (m == 0)
        return;
    gemm_rows(dev, 0, k.rows, m, k.n, -1, k.err, k.n, k.u + from, k.ld, 1, k.w + right, k.ld);
    if (k.d)
        gemm_rows(dev, 0, k.rows, m, k.n, 1, k.v, k.n, k.d + from, k.ld, 1, k.w + right, k.ld);
}

void cuda_obs_prune(struct device *dev, struct tensor w, struct tensor u, struct tensor d,
                    struct tensor coef, const struct obs_options *opt)
{
    size_t block = opt->block < w.cols ? opt->block : w.cols;
    float *scratch, *threshold, *shared = NULL;
    bool by_threshold = opt->sparsity > 0 && !opt->nm_m;

    if (block > 256 || opt->nm_m > MAX_NM)
        die("CUDA: blocks of %zu columns and N:M with M = %zu; at most 256 and %d are supported",
            block, opt->nm_m, MAX_NM);
    scratch = (float *)cuda_alloc(dev, 2 * w.rows * block * sizeof(*scratch));
    threshold = (float *)cuda_alloc(dev, sizeof(*threshold));
    if (opt->comm && by_threshold)
        shared = (float *)cuda_alloc(dev, (size_t)opt->comm->size * w.rows * block * sizeof(float));
    for (size_t first = 0; first < w.cols; first += block) {
        walk k = {};

        k.w = (float *)w.data;
        k.u = (const float *)u.data;
        k.d = (const float *)d.data;
        k.coef = (const float *)coef.data;
        k.err = scratch;
        k.v = scratch + w.rows * block;
        k.threshold = by_threshold ? threshold : NULL;
        k.rows = (unsigned)w.rows;
        k.ld = (unsigned)w.cols;
        k.first = (unsigned)first;
        k.n = (unsigned)(w.cols - first < block ? w.cols - first : block);
        k.nm_n = (unsigned)opt->nm_n;
        k.nm_m = (unsigned)opt->nm_m;
        k.lazy_exact = opt->lazy_exact;
        if (by_threshold)
            block_threshold(dev, threshold, k, opt, shared);
        walk_launch(dev, k);
        lazy_update(dev, k);
    }
    cuda_free(dev, scratch);
    cuda_free(dev, threshold);
    if (shared)
        cuda_free(dev, shared);
}

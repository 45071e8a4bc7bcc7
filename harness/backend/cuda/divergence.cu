/* Divergence of two models' next-token distributions, fused over the heads in slices of the
 * vocabulary, as logprob.cu does it: SLICE ids times CHUNK rows of both models' logits (f32, 32
 * MiB) are folded at once into a running state per row. One block per row and slice, 256 threads of
 * 16 logits of each model. Exponentials and sums are f64: a small divergence is a difference of
 * large terms. A row's bits depend on nothing but the row. */
#include "harness/backend/cuda/device.cuh"

#define SLICE 4096
#define CHUNK 1024
#define THREADS 256
#define EACH (SLICE / THREADS)

/* One model's softmax over the slices seen so far. */
struct side {
    unsigned long long best; /* ordered key of the maximum, then ~id: the lowest id among equals */
    double sum;              /* of e^(logit - max) */
};

struct row_state {
    struct side a, b;
    double cross; /* sum of e^(a - max a) (a - b) */
};

__device__ __forceinline__ double max_of(unsigned long long best)
{
    return key_value((unsigned)(best >> 32));
}

/* The best of the block's logits and of `best`; the thread's own in x. */
__device__ __forceinline__ unsigned long long block_best(unsigned long long best,
                                                         const vec<float, 8> (&x)[EACH / 8],
                                                         int first, int n,
                                                         unsigned long long *slots)
{
#pragma unroll
    for (int c = 0; c < EACH / 8; c++)
        for (int i = 0; i < 8; i++) {
            int j = (c * THREADS + (int)threadIdx.x) * 8 + i;

            if (j < n)
                best = max(best, (unsigned long long)ordered_key(x[c].v[i]) << 32 |
                                     (unsigned)~(first + j));
        }
    for (int o = 16; o; o >>= 1)
        best = max(best, __shfl_xor_sync(~0u, best, o));
    if (threadIdx.x % 32 == 0)
        slots[threadIdx.x / 32] = best;
    __syncthreads();
    for (int w = 0; w < THREADS / 32; w++)
        best = max(best, slots[w]);
    return best;
}

/* state: rows; a, b: rows x n */
static __global__ void fold(struct row_state *state, const float *a, const float *b, int first,
                            int n)
{
    __shared__ unsigned long long slots[2][THREADS / 32];
    __shared__ double sums[3][32];
    struct row_state *st = &state[blockIdx.x], old = {};
    const bool whole = n % 8 == 0;
    vec<float, 8> x[EACH / 8], y[EACH / 8];
    unsigned long long best_a, best_b;
    double ma, mb, sum_a = 0, sum_b = 0, cross = 0;

    if (first)
        old = *st;
#pragma unroll
    for (int c = 0; c < EACH / 8; c++) {
        int j = (c * THREADS + (int)threadIdx.x) * 8;

        x[c] = load8(a + (size_t)blockIdx.x * n, j, n, whole);
        y[c] = load8(b + (size_t)blockIdx.x * n, j, n, whole);
    }
    best_a = block_best(old.a.best, x, first, n, slots[0]);
    best_b = block_best(old.b.best, y, first, n, slots[1]);
    ma = max_of(best_a);
    mb = max_of(best_b);
#pragma unroll
    for (int c = 0; c < EACH / 8; c++)
        for (int i = 0; i < 8; i++)
            if ((c * THREADS + (int)threadIdx.x) * 8 + i < n) {
                double e = exp((double)x[c].v[i] - ma);

                sum_a += e;
                cross += e * ((double)x[c].v[i] - (double)y[c].v[i]);
                sum_b += exp((double)y[c].v[i] - mb);
            }
    sum_a = block_sum(sum_a, sums[0]);
    sum_b = block_sum(sum_b, sums[1]);
    cross = block_sum(cross, sums[2]);
    if (threadIdx.x == 0) {
        double fa = first ? exp(max_of(old.a.best) - ma) : 0;
        double fb = first ? exp(max_of(old.b.best) - mb) : 0;

        *st = {{best_a, old.a.sum * fa + sum_a},
               {best_b, old.b.sum * fb + sum_b},
               old.cross * fa + cross};
    }
}

/* All: rows. */
static __global__ void finish(double *kl, int32_t *same_top, const struct row_state *state,
                              int rows)
{
    int r = blockIdx.x * blockDim.x + threadIdx.x;

    if (r >= rows)
        return;
    const struct side &a = state[r].a, &b = state[r].b;
    kl[r] = state[r].cross / a.sum - (max_of(a.best) + log(a.sum)) + (max_of(b.best) + log(b.sum));
    same_top[r] = (unsigned)a.best == (unsigned)b.best;
}

void cuda_divergence(struct device *dev, double *kl, int32_t *same_top, struct tensor xa,
                     struct tensor head_a, struct tensor xb, struct tensor head_b)
{
    size_t most = xa.rows < CHUNK ? xa.rows : CHUNK;
    size_t widest = head_a.rows < SLICE ? head_a.rows : SLICE;
    struct row_state *state;
    float *a;

    if (xa.rows == 0)
        return;
    state = (struct row_state *)cuda_alloc(dev, most * sizeof(*state));
    a = (float *)cuda_alloc(dev, 2 * most * widest * sizeof(*a));
    for (size_t r = 0; r < xa.rows; r += most) {
        size_t rows = xa.rows - r < most ? xa.rows - r : most;

        for (size_t v = 0; v < head_a.rows; v += SLICE) {
            size_t n = head_a.rows - v < SLICE ? head_a.rows - v : SLICE;
            struct tensor out_a = {a, DTYPE_F32, rows, n};
            struct tensor out_b = {a + most * widest, DTYPE_F32, rows, n};

            cuda_linear(dev, out_a, tensor_rows(xa, r, rows), tensor_rows(head_a, v, n), 0);
            cuda_linear(dev, out_b, tensor_rows(xb, r, rows), tensor_rows(head_b, v, n), 0);
            fold<<<(unsigned)rows, THREADS, 0, stream_of(dev)>>>(
                state, (const float *)out_a.data, (const float *)out_b.data, (int)v, (int)n);
            LAUNCHED("divergence");
        }
        finish<<<n_blocks(rows, THREADS), THREADS, 0, stream_of(dev)>>>(kl + r, same_top + r, state,
                                                                        (int)rows);
        LAUNCHED("divergence");
    }
    cuda_free(dev, state);
    cuda_free(dev, a);
}

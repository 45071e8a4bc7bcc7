/* The input of a product by columns, made by every block of threads for itself: it takes less time
 * than a launch before the product, and the list of active columns comes from registers.
 *
 * Each thread has a run of 8 * per_thread columns; what is behind the last one is 0. The rule looks
 * at the whole row, so the row must fit: up to PANEL columns, a norm up to NORM_MOST a thread. The
 * same bits as decode_rows.cu, up to the order of the sum of squares. */
#ifndef DUO_BACKEND_CUDA_GEMV_INPUT_CUH
#define DUO_BACKEND_CUDA_GEMV_INPUT_CUH

#include "harness/backend/cuda/decode_rule.cuh"
#include "harness/backend/cuda/packed.cuh"

struct input_args {
    enum decode_input_kind kind; /* INPUT_ROW, INPUT_NORM */
    const void *x;               /* as in struct decode_input */
    const float *weight;         /* INPUT_NORM */
    float eps;
    struct row_rule rule;
    unsigned *guess; /* the last threshold; whatever it is, the result is the same */
};

static constexpr unsigned NORM_MOST = 2; /* times 8 columns a thread */
static constexpr unsigned WINDOW =
    512; /* magnitudes: an eighth to a quarter of an f16's, each way */

#ifdef __CUDACC__

template <typename T> struct input_shared {
    struct digits<T> digits;
    unsigned window[WINDOW], below;
    float sums[32];

    __device__ __forceinline__ void clear(void)
    {
        digits.clear();
        for (unsigned i = threadIdx.x; i < WINDOW; i += blockDim.x)
            window[i] = 0;
        if (threadIdx.x == 0)
            below = 0;
    }
};

/* N values from x[j] on; behind n: 0. From L2: x was written while this kernel was there. */
template <typename T, int N>
__device__ __forceinline__ void input_run(vec<T, N> &v, const T *x, unsigned j, unsigned n,
                                          bool whole)
{
#pragma unroll
    for (int i = 0; i < (int)sizeof(v) / 16; i++)
        ((uint4 *)&v)[i] = make_uint4(0, 0, 0, 0);
    if (whole) {
#pragma unroll
        for (int i = 0; i < (int)sizeof(v) / 16; i++)
            if (j < n)
                ((uint4 *)&v)[i] = __ldcg((const uint4 *)(x + j) + i);
    } else {
        for (unsigned i = 0; i < N; i++)
            if (j + i < n)
                v.v[i] = __ldcg(x + j + i);
    }
}

template <typename T> __device__ __forceinline__ bool is_whole(const T *x, unsigned n)
{
    return (size_t)x % 16 == 0 && n % 8 == 0;
}

/* Gains of a norm: before the wait. */
__device__ __forceinline__ void input_gains(vec<float, 8> (&g)[NORM_MOST],
                                            const struct input_args &in, unsigned n,
                                            unsigned per_thread)
{
    if (in.kind == INPUT_NORM)
#pragma unroll
        for (int p = 0; p < (int)NORM_MOST; p++)
            if (p < (int)per_thread)
                input_run(g[p], in.weight, (threadIdx.x * per_thread + p) * 8, n,
                          is_whole(in.weight, n));
}

template <typename T, int MOST>
__device__ __forceinline__ void
input_norm(vec<T, 8> (&v)[MOST], const vec<float, 8> (&g)[NORM_MOST], const struct input_args &in,
           unsigned n, unsigned per_thread, float *sums)
{
    const float *x = (const float *)in.x;
    vec<float, 8> y[NORM_MOST];
    float sum = 0, scale;

#pragma unroll
    for (int p = 0; p < (int)NORM_MOST; p++)
        if (p < (int)per_thread)
            input_run(y[p], x, (threadIdx.x * per_thread + p) * 8, n, is_whole(x, n));
#pragma unroll
    for (int p = 0; p < (int)NORM_MOST; p++)
        if (p < (int)per_thread)
#pragma unroll
            for (int i = 0; i < 8; i++)
                sum += y[p].v[i] * y[p].v[i];
    scale = 1.0f / sqrtf(block_sum(sum, sums) / (float)n + in.eps);
#pragma unroll
    for (int p = 0; p < (int)NORM_MOST; p++)
        if (p < (int)per_thread)
#pragma unroll
            for (int i = 0; i < 8; i++)
                v[p].v[i] = from_f32<T>(y[p].v[i] * scale * g[p].v[i]);
}

/* kth_of_row() of decode_rule.cuh where the threshold is near a guess, such as the token's before:
 * one pass counts every magnitude of a window around the guess, and how many are below it. Says
 * whether the threshold is in the window; the same in every thread. */
template <typename T, typename Each>
__device__ __forceinline__ bool kth_in_window(Each each, unsigned idx, unsigned guess,
                                              struct input_shared<T> *s, unsigned *t,
                                              unsigned *zeros)
{
    constexpr int PER = WINDOW / 32;
    const unsigned lane = threadIdx.x % 32, lo = guess > WINDOW / 2 ? guess - WINDOW / 2 : 0;
    unsigned below = 0, sum = 0, upto, at, before, count[PER];

    if (sizeof(T) != 2 || guess == 0)
        return false;
    each([&](T &x) {
        unsigned k = magnitude_of(x) - lo; /* wraps below lo */

        if (k < WINDOW)
            atomicAdd(&s->window[k], 1u);
        below += (int)k < 0;
    });
    below = __reduce_add_sync(~0u, below);
    if (lane == 0)
        atomicAdd(&s->below, below);
    __syncthreads();
    below = s->below;
#pragma unroll
    for (int i = 0; i < PER; i++) {
        count[i] = s->window[lane * PER + i];
        sum += count[i];
    }
    upto = warp_scan(sum);
    if (idx < below || idx >= below + __shfl_sync(~0u, upto, 31))
        return false;
    before = below + upto - sum;
    at = 0;
#pragma unroll
    for (int i = 0; i + 1 < PER; i++)
        if (at == (unsigned)i && before + count[i] <= idx) {
            before += count[i];
            at++;
        }
    sum = __ffs((int)__ballot_sync(~0u, idx < below + upto)) - 1; /* the lane that has it */
    *t = lo + __shfl_sync(~0u, lane * PER + at, (int)sum);
    *zeros = *t ? __shfl_sync(~0u, before, (int)sum) : s->window[0];
    return true;
}

/* The thread's columns of the input, with the rule applied; s: cleared, with a barrier since. */
template <typename T, int MOST>
__device__ __forceinline__ void
make_input(vec<T, 8> (&v)[MOST], const vec<float, 8> (&g)[NORM_MOST], const struct input_args &in,
           unsigned n, unsigned per_thread, unsigned guess, struct input_shared<T> *s)
{
    unsigned t, zeros;
    auto each = [&](auto f) {
#pragma unroll
        for (int p = 0; p < MOST; p++)
#pragma unroll
            for (int i = 0; i < 8; i++)
                if (p < (int)per_thread && (threadIdx.x * per_thread + p) * 8 + i < n)
                    f(v[p].v[i]);
    };

    if (in.kind == INPUT_NORM)
        input_norm<T, MOST>(v, g, in, n, per_thread, s->sums);
    else
#pragma unroll
        for (int p = 0; p < MOST; p++)
            if (p < (int)per_thread)
                input_run(v[p], (const T *)in.x, (threadIdx.x * per_thread + p) * 8, n,
                          is_whole((const T *)in.x, n));
    if (in.rule.kind == ACT_DENSE)
        return;
    if (in.rule.kind != ACT_TOPK || !kth_in_window<T>(each, in.rule.idx, guess, s, &t, &zeros))
        t = threshold_of_row<T>(each, in.rule, &s->digits, &zeros);
    if (blockIdx.x == 0 && threadIdx.x == 0) { /* one of the blocks */
        *in.guess = t;
        count_zeros(in.rule, zeros);
    }
    drop_below<T>(each, t);
}

#endif
#endif

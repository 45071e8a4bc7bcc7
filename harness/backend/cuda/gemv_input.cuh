/* The input of a product by columns, made by every block of threads for itself, where that takes
 * less time than a launch before the product.
 *
 * The row is made in shared memory, padded with zeros to a multiple of 8; each thread has a run of
 * per_thread vectors of 8 columns and goes over it in rolled loops: code that runs once in a launch
 * is read from memory, so a launch pays for its length. (All values in registers and everything
 * unrolled made 67 KB of code, and 4 us of what takes 1.) The rule looks at the whole row, so the
 * row must fit: up to PANEL columns, a norm up to NORM_MOST vectors a thread. The same bits as
 * decode_rows.cu, up to the order of the sum of squares. */
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

static constexpr unsigned NORM_MOST = 2; /* vectors of 8 columns a thread */
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

/* The row in shared memory, and this thread's run of it: vectors [first, end). */
template <typename T> struct input_row {
    vec<T, 8> *v;
    unsigned n, first, end;

    /* f(v[i]) for the run; the vectors may be changed if `stores`. */
    template <bool stores, typename F> __device__ __forceinline__ void each_vec(F f) const
    {
#pragma unroll 1
        for (unsigned i = first; i < end; i++) {
            vec<T, 8> x = v[i];

            f(x, i - first);
            if (stores)
                v[i] = x;
        }
    }
    template <bool stores, typename F> __device__ __forceinline__ void each(F f) const
    {
        each_vec<stores>([&](vec<T, 8> &x, unsigned) {
#pragma unroll
            for (int i = 0; i < 8; i++)
                f(x.v[i]);
        });
    }
    __device__ __forceinline__ unsigned n_pad(void) const
    {
        return 0u - n & 7;
    }
};

/* Eight values from x[j] on; behind n: 0. From L2: x was written while this kernel was there. */
template <typename T>
__device__ __forceinline__ vec<T, 8> input_vec(const T *x, unsigned j, unsigned n, bool whole)
{
    vec<T, 8> v;

    if (whole) {
#pragma unroll
        for (int i = 0; i < (int)sizeof(v) / 16; i++)
            ((uint4 *)&v)[i] = __ldcg((const uint4 *)(x + j) + i);
        return v;
    }
    for (unsigned i = 0; i < 8; i++)
        v.v[i] = j + i < n ? __ldcg(x + j + i) : T(0.0f);
    return v;
}

template <typename T> __device__ __forceinline__ bool is_whole(const T *x, unsigned n)
{
    return (size_t)x % 16 == 0 && n % 8 == 0;
}

/* Gains of a norm: before the wait. */
template <typename T>
__device__ __forceinline__ void input_gains(vec<float, 8> (&g)[NORM_MOST],
                                            const struct input_args &in,
                                            const struct input_row<T> &row)
{
    if (in.kind == INPUT_NORM)
#pragma unroll
        for (unsigned p = 0; p < NORM_MOST; p++)
            if (row.first + p < row.end)
                g[p] = input_vec(in.weight, 8 * (row.first + p), row.n, is_whole(in.weight, row.n));
}

template <typename T>
__device__ __forceinline__ void input_norm(const struct input_row<T> &row,
                                           const vec<float, 8> (&g)[NORM_MOST],
                                           const struct input_args &in, float *sums)
{
    const float *x = (const float *)in.x;
    const bool whole = is_whole(x, row.n);
    vec<float, 8> y[NORM_MOST];
    float sum = 0, scale;

#pragma unroll
    for (unsigned p = 0; p < NORM_MOST; p++)
        if (row.first + p < row.end) {
            y[p] = input_vec(x, 8 * (row.first + p), row.n, whole);
#pragma unroll
            for (int i = 0; i < 8; i++)
                sum += y[p].v[i] * y[p].v[i];
        }
    scale = 1.0f / sqrtf(block_sum(sum, sums) / (float)row.n + in.eps);
#pragma unroll
    for (unsigned p = 0; p < NORM_MOST; p++)
        if (row.first + p < row.end) {
            vec<T, 8> v;

#pragma unroll
            for (int i = 0; i < 8; i++)
                v.v[i] = 8 * (row.first + p) + i < row.n
                             ? from_f32<T>(y[p].v[i] * scale * g[p].v[i])
                             : T(0.0f);
            row.v[row.first + p] = v;
        }
}

/* kth_of_row() of decode_rule.cuh where the threshold is near a guess, such as the token's before:
 * one pass counts every magnitude of a window around the guess, and how many are below it. Says
 * whether the threshold is in the window; the same in every thread. */
template <typename T>
__device__ __forceinline__ bool kth_in_window(const struct input_row<T> &row, unsigned idx,
                                              unsigned guess, struct input_shared<T> *s,
                                              unsigned *t, unsigned *zeros)
{
    constexpr int PER = WINDOW / 32;
    const unsigned lane = threadIdx.x % 32, lo = guess > WINDOW / 2 ? guess - WINDOW / 2 : 0;
    unsigned below = 0, sum = 0, upto, at, before, count[PER];

    if (sizeof(T) != 2 || guess == 0)
        return false;
    row.template each<false>([&](T &x) {
        unsigned k = magnitude_of(x) - lo; /* wraps below lo */

        if (k < WINDOW) /* where lane k / PER finds it without conflicts */
            atomicAdd(&s->window[k % PER * 32 + k / PER], 1u);
        below += (int)k < 0;
    });
    below = __reduce_add_sync(~0u, below);
    if (lane == 0)
        atomicAdd(&s->below, below);
    __syncthreads();
    below = s->below;
#pragma unroll
    for (int i = 0; i < PER; i++) {
        count[i] = s->window[i * 32 + lane];
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

/* The rule on the row. What pads it is 0, below all others: it counts among the dropped. */
template <typename T>
__device__ __forceinline__ void input_rule(const struct input_row<T> &row,
                                           const struct input_args &in, unsigned guess,
                                           struct input_shared<T> *s)
{
    struct row_rule rule = in.rule;
    unsigned t, zeros;

    rule.idx += row.n_pad();
    if (rule.kind != ACT_TOPK || !kth_in_window<T>(row, rule.idx, guess, s, &t, &zeros))
        t = threshold_of_row<T>([&](auto f) { row.template each<false>(f); }, rule, &s->digits,
                                &zeros);
    if (blockIdx.x == 0 && threadIdx.x == 0) { /* one of the blocks */
        *in.guess = t;
        count_zeros(rule, zeros - row.n_pad());
    }
    drop_below<T>([&](auto f) { row.template each<true>(f); }, t);
}

/* The row, with the rule applied; every thread sees its own run of it. s: cleared, with a barrier
 * since. */
template <typename T>
__device__ __forceinline__ void
make_input(const struct input_row<T> &row, const vec<float, 8> (&g)[NORM_MOST],
           const struct input_args &in, unsigned guess, struct input_shared<T> *s)
{
    const bool whole = is_whole((const T *)in.x, row.n);

    if (in.kind == INPUT_NORM)
        input_norm<T>(row, g, in, s->sums);
    else
#pragma unroll 4
        for (unsigned i = row.first; i < row.end; i++)
            row.v[i] = input_vec((const T *)in.x, 8 * i, row.n, whole);
    if (in.rule.kind != ACT_DENSE)
        input_rule<T>(row, in, guess, s);
}

#endif
#endif
